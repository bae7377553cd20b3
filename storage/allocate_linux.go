package storage

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// allocate lets part of a file have its blocks, behind its end as well, without changing what can be read of it.
// errors.ErrUnsupported: the file system cannot be asked for that.
func allocate(f *os.File, at, n int64) error {
	c, err := f.SyscallConn()
	if err != nil {
		return err
	}
	var failed error
	err = c.Control(func(fd uintptr) {
		for failed = unix.EINTR; errors.Is(failed, unix.EINTR); {
			failed = unix.Fallocate(int(fd), unix.FALLOC_FL_KEEP_SIZE, at, n)
		}
	})
	if err = errors.Join(err, failed); err != nil {
		return &os.PathError{Op: "fallocate", Path: f.Name(), Err: err}
	}
	return nil
}
