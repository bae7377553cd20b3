//go:build unix

package cli

import "golang.org/x/sys/unix"

// untouched gives the pages of memory that nobody has written to back to the system. The runtime has made it zero by writing to it if
// some of it was in use before, which depends on what the start of the process was like.
func untouched(b []byte) {
	_ = unix.Madvise(b, unix.MADV_DONTNEED) // or it keeps them, and takes more memory
}
