package storage

import (
	"testing"

	"github.com/dgraph-io/ristretto/v2/z"
)

// All tests run with blocks that are made useless as soon as Badger gives them back: whoever still looks at one reads
// rubbish, which the checksums of rows do not let pass.
func init() {
	free := z.Free // after the init of blockmemory.go, whose name comes first
	z.Free = func(b []byte) {
		if cap(b) == blockRoom {
			for i := range b[:blockRoom] {
				b[:blockRoom][i] = 0xDB
			}
		}
		free(b)
	}
}

// What is given back is given out again for blocks, and only for those.
func TestBlockMemory(t *testing.T) {
	for _, test := range []struct {
		n, room int
		tag     string
	}{
		{blockRoom, blockRoom, blockTag}, {blockLeast, blockRoom, blockTag}, {7000, blockRoom, blockTag},
		{blockRoom + 1, blockRoom + 1, blockTag}, {blockLeast - 1, blockLeast - 1, blockTag}, {7000, 7000, "other"}, {0, 0, blockTag},
	} {
		b := z.Calloc(test.n, test.tag)
		if len(b) != test.n || cap(b) != test.room {
			t.Errorf("%d bytes for %s: %d in %d", test.n, test.tag, len(b), cap(b))
		}
		z.Free(b)
	}
	b := z.Calloc(7000, blockTag)
	z.Free(b)
	if b[0] != 0xDB {
		t.Error("what was given back was not taken")
	}
	z.Free(nil)
	if n := testing.AllocsPerRun(1000, func() { z.Free(z.Calloc(7000, blockTag)) }); n >= 1 {
		t.Errorf("%v allocations for a block", n)
	}
}
