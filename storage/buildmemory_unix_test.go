//go:build unix

package storage

import (
	"errors"
	"slices"
	"testing"

	"github.com/dgraph-io/ristretto/v2/z"
	"golang.org/x/sys/unix"
)

// What an allocator has is zero when it comes and gone when it is released, once, however often that is asked for.
func TestBuildMemory(t *testing.T) {
	a := z.NewAllocator(1<<20, "test")
	b := a.Allocate(1 << 20)
	if slices.Max(b) != 0 {
		t.Error("it is not zero")
	}
	b[0], b[len(b)-1] = 1, 2
	if more := a.Allocate(3 << 20); len(more) != 3<<20 {
		t.Errorf("asked for more it gives %d bytes", len(more))
	}
	a.Release()
	if err := unix.Munmap(b[:len(b):len(b)]); !errors.Is(err, unix.EINVAL) {
		t.Errorf("what was released is still mapped: %v", err)
	}
	other := buildMemory(1<<20, "test") // may lie where the first one was
	a.Release()
	other[0] = 1
	freeBuildMemory(other)
	freeBuildMemory(buildMemory(100, "test"))
}
