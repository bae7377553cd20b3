//go:build unix

package server

import (
	"math"

	"golang.org/x/sys/unix"
)

// openFiles returns how many files this process may have open, 0 if as many as it likes or nobody knows. The Go runtime has
// raised the soft limit to the hard one.
func openFiles() int {
	var l unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &l); err != nil || uint64(l.Cur) > math.MaxInt32 {
		return 0
	}
	return int(l.Cur)
}
