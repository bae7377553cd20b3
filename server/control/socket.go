package control

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"syscall"
)

// maxSocketPath is what every system takes as the path of a unix socket: 108 bytes on Linux and 104 elsewhere, with a
// zero byte at the end.
const maxSocketPath = 103

// ErrNoServer says that nobody answers at the control socket of a data directory.
var ErrNoServer = errors.New("no server is running")

// Listen opens the control socket of a data directory, for its owner alone. A socket that somebody answers at is left alone
// and is an error; one that was left behind by a killed server is replaced. Close removes it. The caller holds the lock
// of the store, so that no two servers come here for the same directory.
func Listen(ctx context.Context, dir string) (net.Listener, error) {
	path := filepath.Join(dir, SocketName)
	switch info, err := os.Lstat(path); {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return nil, fmt.Errorf("the control socket: %w", err)
	case info.Mode()&fs.ModeSocket == 0:
		return nil, fmt.Errorf("%s is in the way of the control socket and is none itself; move it away", path)
	default:
		if c, err := dial(ctx, dir); err == nil {
			_ = c.Close()
			return nil, fmt.Errorf("somebody answers at %s: a server is running on this data directory", path)
		}
		if err := os.Remove(path); err != nil {
			return nil, fmt.Errorf("the control socket of an earlier server: %w", err)
		}
	}
	var l net.Listener
	err := throughShortPath(path, func(short string) (err error) {
		l, err = new(net.ListenConfig).Listen(ctx, "unix", short)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("the control socket %s: %w", path, err)
	}
	if err := os.Chmod(path, 0o600); err != nil {
		_ = l.Close()
		return nil, fmt.Errorf("the control socket: %w", err)
	}
	if u, ok := l.(*net.UnixListener); ok {
		u.SetUnlinkOnClose(false) // it would unlink the path that it was bound by
	}
	return &socket{l, path}, nil
}

// socket removes its file when it is closed.
type socket struct {
	net.Listener
	path string
}

func (s *socket) Close() error {
	// The file goes first: a client that finds one then always finds somebody who listens.
	err := os.Remove(s.path)
	if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	return errors.Join(err, s.Listener.Close())
}

// dial connects to the control socket of a data directory. ErrNoServer means that there is none, or nobody behind it.
func dial(ctx context.Context, dir string) (net.Conn, error) {
	path := filepath.Join(dir, SocketName)
	var c net.Conn
	err := throughShortPath(path, func(short string) (err error) {
		c, err = new(net.Dialer).DialContext(ctx, "unix", short)
		return err
	})
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) || errors.Is(err, syscall.ECONNREFUSED) {
		return nil, ErrNoServer
	}
	if err != nil {
		return nil, fmt.Errorf("the control socket %s: %w", path, err)
	}
	return c, nil
}

// throughShortPath calls fn with a path that leads to the same place and that the system takes for a socket. The longer
// ones go through a symbolic link to the directory, which is needed only while fn binds or connects: the socket itself
// lies where it belongs. Changing the working directory instead would change it for the whole process.
func throughShortPath(path string, fn func(short string) error) (err error) {
	if len(path) <= maxSocketPath {
		return fn(path)
	}
	dir, err := filepath.Abs(filepath.Dir(path))
	if err != nil {
		return err
	}
	if _, err := os.Stat(dir); err != nil {
		return err
	}
	temp, err := os.MkdirTemp("", "scimbox")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(temp)) }()
	link := filepath.Join(temp, "d")
	if err := os.Symlink(dir, link); err != nil {
		return err
	}
	short := filepath.Join(link, filepath.Base(path))
	if len(short) > maxSocketPath {
		return fmt.Errorf("%s is too long a path for a socket, and so is %s; set TMPDIR to a shorter one", path, short)
	}
	return fn(short)
}
