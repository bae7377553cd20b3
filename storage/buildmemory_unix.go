//go:build unix

package storage

import (
	"github.com/dgraph-io/ristretto/v2/z"
	"golang.org/x/sys/unix"
)

// What tables are built in does not come from Go's heap. It is most of what a server takes under load, given back to the letter by
// whoever has written the table, and in pieces that double, of which the last is never full: so the collector, which knows it for
// alive, would let the heap grow by half of it, and all of it would be made zero first. The system gives pages to what is
// touched, and has them back at once (docs/decisions/0098-memory-for-building-tables.md).

func init() { z.AllocatorMemory, z.AllocatorFree = buildMemory, freeBuildMemory }

// buildLeast is from how many bytes on a piece is asked of the system.
const buildLeast = 1 << 16

func buildMemory(n int, tag string) []byte {
	if n >= buildLeast {
		if b, err := unix.Mmap(-1, 0, n, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE); err == nil {
			return b
		}
	}
	return z.Calloc(n, tag)
}

// freeBuildMemory takes back what buildMemory has given.
func freeBuildMemory(b []byte) {
	if len(b) < buildLeast || unix.Munmap(b) != nil { // it refuses what it has not mapped
		z.Free(b)
	}
}
