package backup

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"hash"
	"hash/crc32"
	"iter"

	"scimbox/storage"
)

// Rows are compared in chunks, because a digest for each would be as long as most rows are. A chunk ends before a row whose
// key says so, whatever stands around it: where rows come and go, the chunks behind find their bounds again.

const (
	chunkMask  = 15       // a chunk ends before one row in 16
	chunkBytes = 64 << 10 // and when it has this much, so that one that is compared is never long
	digestLen  = 16
)

type digest [digestLen]byte

type chunk struct {
	digest digest
	n      int    // rows
	raw    []byte // the rows, as they stand in a backup
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func bound(key []byte) bool { return crc32.Checksum(key, castagnoli)&chunkMask == 0 }

func newChunk(n int, raw []byte) chunk {
	sum := sha256.Sum256(raw)
	return chunk{digest(sum[:digestLen]), n, raw}
}

// chunker makes chunks of rows.
type chunker struct {
	n    int
	raw  []byte
	emit func(chunk) error // the chunk is valid until it returns
}

func (c *chunker) add(it storage.Item) error {
	if c.n > 0 && (bound(it.Key) || len(c.raw) >= chunkBytes) {
		if err := c.flush(); err != nil {
			return err
		}
	}
	c.raw = binary.AppendUvarint(c.raw, uint64(len(it.Key)))
	c.raw = append(c.raw, it.Key...)
	c.raw = binary.AppendUvarint(c.raw, uint64(len(it.Value)))
	c.raw = append(c.raw, it.Value...)
	c.n++
	return nil
}

func (c *chunker) flush() error {
	if c.n == 0 {
		return nil
	}
	err := c.emit(newChunk(c.n, c.raw))
	c.n, c.raw = 0, c.raw[:0]
	return err
}

var errRows = errors.New("its rows cannot be read")

// rows yields the rows of a chunk; false if it cannot be read.
func (c chunk) rows() iter.Seq2[storage.Item, bool] {
	return func(yield func(storage.Item, bool) bool) {
		rest := c.raw
		field := func() (b []byte, ok bool) {
			n, used := binary.Uvarint(rest)
			if used <= 0 || n > uint64(len(rest)-used) {
				return nil, false
			}
			b, rest = rest[used:][:n:n], rest[used+int(n):]
			return b, true
		}
		for range c.n {
			key, ok := field()
			value, too := field()
			if !ok || !too {
				yield(storage.Item{}, false)
				return
			}
			if !yield(storage.Item{Key: key, Value: value}, true) {
				return
			}
		}
		if len(rest) > 0 {
			yield(storage.Item{}, false)
		}
	}
}

// tally counts what goes through a backup, and makes its hash.
type tally struct {
	rows, chunks int64
	hash         hash.Hash
}

func newTally() *tally { return &tally{hash: sha256.New()} }

func (t *tally) add(c chunk) {
	t.rows += int64(c.n)
	t.chunks++
	t.hash.Write(c.digest[:])
}

func (t *tally) sum() string { return hex.EncodeToString(t.hash.Sum(nil)) }

// hashOf returns the hash of all rows of a snapshot, and how many there are.
func hashOf(s *storage.Snapshot) (string, int64, error) {
	t := newTally()
	c := chunker{emit: func(c chunk) error { t.add(c); return nil }}
	for it, err := range s.Rows() {
		if err == nil {
			err = c.add(it)
		}
		if err != nil {
			return "", 0, err
		}
	}
	if err := c.flush(); err != nil {
		return "", 0, err
	}
	return t.sum(), t.rows, nil
}
