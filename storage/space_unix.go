//go:build linux || darwin || freebsd

package storage

import "golang.org/x/sys/unix"

// freeSpace returns how many bytes somebody who is not root can still write below a directory.
func freeSpace(dir string) (int64, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return 0, err
	}
	return int64(st.Bavail) * int64(st.Bsize), nil
}
