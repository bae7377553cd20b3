//go:build unix

package bench

import (
	"io/fs"
	"os"
	"syscall"
)

// interrupt asks a process to end in order.
func interrupt(p *os.Process) error { return p.Signal(syscall.SIGTERM) }

// occupied returns what a file takes on disk: of files that are mapped, much less than their size.
func occupied(info fs.FileInfo) int64 {
	if s, ok := info.Sys().(*syscall.Stat_t); ok {
		return s.Blocks * 512
	}
	return info.Size()
}
