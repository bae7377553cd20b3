package server

import (
	"errors"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"syscall"
	"testing"

	"scimbox/server/control"
)

// nobody is a user who has nothing to do with the server.
const nobody = 65534

// asNobody calls fn as another user. Linux has users by the thread, and this one ends with fn.
func asNobody(t *testing.T, fn func() error) error {
	t.Helper()
	result := make(chan error)
	go func() {
		runtime.LockOSThread() // and never unlocked: nobody else gets this thread
		for _, c := range [][4]uintptr{{syscall.SYS_SETGROUPS}, {syscall.SYS_SETRESGID, nobody, nobody, nobody}, {syscall.SYS_SETRESUID, nobody, nobody, nobody}} {
			if _, _, err := syscall.RawSyscall(c[0], c[1], c[2], c[3]); err != 0 {
				result <- err
				return
			}
		}
		result <- fn()
	}()
	return <-result
}

// connects connects to a socket on the thread that it is called on.
func connects(path string) error {
	fd, err := syscall.Socket(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer func() { _ = syscall.Close(fd) }()
	return syscall.Connect(fd, &syscall.SockaddrUnix{Name: path})
}

// Another user of the machine cannot speak to the control socket, also where the directory was opened to everybody, files are made
// open by default, or somebody has left a socket that is; not now, and not after a restart.
func TestOtherUsers(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("only root can be somebody else")
	}
	had := syscall.Umask(0) // what is made is open unless it is made otherwise
	defer syscall.Umask(had)
	dir, err := os.MkdirTemp("", "scimbox") // and not t.TempDir, into which nobody else can look
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	o, log := options(t)
	o.Config.Data = filepath.Join(dir, "data")
	path := filepath.Join(o.Config.Data, control.SocketName)
	// That another user could, if it were not for the modes.
	open := filepath.Join(dir, "open.sock")
	l, err := net.Listen("unix", open)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if err := asNobody(t, func() error { return connects(open) }); err != nil {
		t.Fatalf("a socket that is open to everybody: %v", err)
	}
	for _, round := range []string{"the first start", "a restart", "a restart after a crash"} {
		s := serve(t, o, log)
		if info, err := os.Stat(o.Config.Data); err != nil || info.Mode().Perm() != 0o700 {
			t.Errorf("%s: the directory: %v, %v", round, info.Mode(), err)
		}
		refused := func(why string) {
			t.Helper()
			info, err := os.Stat(path)
			if err != nil || info.Mode().Perm() != 0o600 {
				t.Errorf("%s, %s: the socket: %v, %v", round, why, info.Mode(), err)
			}
			if err := asNobody(t, func() error { return connects(path) }); !errors.Is(err, syscall.EACCES) {
				t.Errorf("%s, %s: another user: %v", round, why, err)
			}
		}
		refused("as it is")
		if err := os.Chmod(o.Config.Data, 0o755); err != nil {
			t.Fatal(err)
		}
		refused("in a directory that was opened")
		files := 0
		err := filepath.WalkDir(o.Config.Data, func(file string, d os.DirEntry, err error) error {
			if err != nil || !d.Type().IsRegular() {
				return err
			}
			files++
			if err := asNobody(t, func() error { f, err := os.Open(file); return errors.Join(err, f.Close()) }); err == nil {
				t.Errorf("%s, in a directory that was opened: another user can read %s", round, file)
			}
			return nil
		})
		if err != nil || files == 0 {
			t.Errorf("%s: %d files, %v", round, files, err)
		}
		c, err := control.Connect(t.Context(), o.Config.Data, "1.2.3")
		if err != nil {
			t.Fatalf("%s: the owner: %v", round, err)
		}
		if err := c.Close(); err != nil {
			t.Error(err)
		}
		if err := s.stop(); err != nil {
			t.Error(err)
		}
		if _, err := os.Stat(path); !os.IsNotExist(err) {
			t.Errorf("%s: after the stop there is a socket: %v", round, err)
		}
		if round == "a restart" { // what a killed server, or somebody else, has left
			l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path})
			if err != nil {
				t.Fatal(err)
			}
			l.SetUnlinkOnClose(false)
			if err := errors.Join(os.Chmod(path, 0o777), l.Close()); err != nil {
				t.Fatal(err)
			}
		}
	}
}
