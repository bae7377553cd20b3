package storage

import (
	"sync"

	"github.com/dgraph-io/ristretto/v2/z"
)

// Each block of a table that is read, or merged, is unpacked into memory of its own. Badger says when nobody looks at it any more, which is what
// jemalloc would ask for; the next block is then unpacked into the same memory, instead of leaving eight kilobytes of garbage behind for
// each read that the cache has not (docs/decisions/0100-memory-for-blocks.md).

func init() { z.Calloc, z.Free = blockMemory, freeBlockMemory }

// blockTag is how Badger calls what blocks are unpacked into. Everything else that it asks for is made.
const blockTag = "Table.Decompress"

// blockRoom is what a block of the usual size takes, and blockLeast from when on one that is smaller may have as much.
const (
	blockRoom  = blockSize
	blockLeast = blockRoom / 2
)

var blocks = sync.Pool{New: func() any { return new([blockRoom]byte) }}

// blockMemory returns n bytes. Those of a block are whatever was there before: all of them are written at once.
func blockMemory(n int, tag string) []byte {
	if tag != blockTag || n < blockLeast || n > blockRoom {
		return make([]byte, n)
	}
	b, _ := blocks.Get().(*[blockRoom]byte)
	return b[:n]
}

// freeBlockMemory takes back what somebody does not need any more. All that has the size may be a block, whoever it is of.
func freeBlockMemory(b []byte) {
	if cap(b) == blockRoom {
		blocks.Put((*[blockRoom]byte)(b[:blockRoom]))
	}
}
