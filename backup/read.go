package backup

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"maps"
	"reflect"

	"filippo.io/age"
	"github.com/klauspost/compress/zstd"

	"scimbox/storage"
)

// The operations; see doc.go.
const (
	opRows = 'L'
	opCopy = 'C'
)

// maxPlain is more than a frame unpacks to: what a block may have, and one row more.
const maxPlain = 64 << 20

// reader reads a backup, and what it builds on while it goes on.
type reader struct {
	frames *frameReader
	zstd   *zstd.Decoder
	head   Manifest
	base   *reader                                                   // nil if it is whole by itself
	onFile func(name string, mode fs.FileMode, content []byte) error // may be nil

	ops    []byte
	copies uint64 // chunks of base that are still to be taken over
	at     uint64 // chunks of base that were read
	tally  *tally
	files  []File
	final  *Manifest // once the end is reached
}

// openReader reads the beginning of a backup. base is what it builds on, nil if nothing.
func openReader(r io.Reader, name string, ids []age.Identity, base *reader) (*reader, error) {
	plain, err := decrypt(r, name, ids)
	if err != nil {
		return nil, err
	}
	frames, err := newFrameReader(plain, name, backupMagic)
	if err != nil {
		return nil, err
	}
	b := &reader{frames: frames, base: base, tally: newTally()}
	kind, body, err := frames.next()
	if err != nil {
		return nil, err
	}
	if kind != frameHead {
		return nil, frames.corrupt(errOrder)
	}
	if err := json.Unmarshal(body, &b.head); err != nil {
		return nil, frames.corrupt(err)
	}
	if b.head.StoreFormat > storage.Format {
		return nil, &FormatError{name, "format", b.head.StoreFormat, storage.Format, b.head.Version}
	}
	if err := b.follows(); err != nil {
		return nil, err
	}
	b.zstd, err = zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(maxPlain))
	return b, err
}

// ChainError says that the backups of a chain do not follow one another.
type ChainError struct {
	File string
	Text string
}

func (e *ChainError) Error() string { return fmt.Sprintf("%s %s", e.File, e.Text) }

// follows says whether the backup builds on its base, as far as can be told without reading it.
func (b *reader) follows() error {
	name, on := b.frames.name, b.head.Base
	switch {
	case on == nil && b.base == nil:
		return nil
	case on == nil:
		return &ChainError{name, "is a backup of everything, and builds on nothing; name it alone, or first"}
	case b.base == nil:
		return &ChainError{name, "is an increment on position " + on.Position + "; name the backup of that position before it"}
	case on.Position != b.base.head.Position:
		return &ChainError{name, fmt.Sprintf("is an increment on position %s, and %s, which is named before it, is of position %s", on.Position, b.base.frames.name, b.base.head.Position)}
	}
	return nil
}

func (b *reader) close() {
	for ; b != nil; b = b.base {
		if b.zstd != nil {
			b.zstd.Close()
		}
	}
}

var (
	errOrder = errors.New("what comes here does not belong here")
	errOps   = errors.New("what is to be done with its rows cannot be read")
)

// next returns the chunks of what the backup is of, in order, and io.EOF when all were read and are what they should be.
func (b *reader) next() (chunk, error) {
	for {
		switch {
		case b.final != nil:
			return chunk{}, io.EOF
		case b.copies > 0:
			b.copies--
			c, err := b.ofBase()
			if err == nil {
				b.tally.add(c)
			}
			return c, err
		case len(b.ops) > 0:
			c, ok, err := b.op()
			if err != nil {
				return c, err
			}
			if ok {
				b.tally.add(c)
				return c, nil
			}
			continue
		}
		if err := b.frame(); err != nil {
			return chunk{}, err
		}
	}
}

func (b *reader) ofBase() (chunk, error) {
	c, err := b.base.next()
	if errors.Is(err, io.EOF) {
		return c, b.frames.corrupt(errors.New("it takes over more from what it builds on than that has"))
	}
	b.at++
	return c, err
}

// op does the next operation; ok says that it was a chunk.
func (b *reader) op() (c chunk, ok bool, err error) {
	op := b.ops[0]
	b.ops = b.ops[1:]
	number := func() (n uint64) {
		n, used := binary.Uvarint(b.ops)
		if used <= 0 {
			err = b.frames.corrupt(errOps)
			return 0
		}
		b.ops = b.ops[used:]
		return n
	}
	first, second := number(), number()
	switch {
	case err != nil:
		return c, false, err
	case op == opRows && second <= uint64(len(b.ops)) && first <= second:
		c = newChunk(int(first), b.ops[:second:second])
		b.ops = b.ops[second:]
		return c, true, nil
	case op == opCopy && b.base != nil && first >= b.at:
		for b.at < first {
			if _, err := b.ofBase(); err != nil {
				return c, false, err
			}
		}
		b.copies = second
		return c, false, nil
	}
	return c, false, b.frames.corrupt(errOps)
}

func (b *reader) frame() error {
	kind, body, err := b.frames.next()
	if err != nil {
		return err
	}
	switch kind {
	case frameRows:
		b.ops, err = b.unpack(body)
		return err
	case frameFile:
		plain, err := b.unpack(body)
		if err != nil {
			return err
		}
		name, mode, content, err := parseFile(plain)
		if err != nil {
			return b.frames.corrupt(err)
		}
		b.files = append(b.files, File{name, int64(len(content))})
		if b.onFile != nil {
			return b.onFile(name, mode, content)
		}
		return nil
	case frameManifest:
		return b.finish(body)
	}
	return b.frames.corrupt(errOrder)
}

func (b *reader) unpack(body []byte) ([]byte, error) {
	plain, err := b.zstd.DecodeAll(body, nil)
	if err != nil {
		return nil, b.frames.corrupt(err)
	}
	return plain, nil
}

// finish compares what was read with what the manifest says, to the end of this backup and of those that it builds on.
func (b *reader) finish(body []byte) error {
	var m Manifest
	if err := json.Unmarshal(body, &m); err != nil {
		return b.frames.corrupt(err)
	}
	kind, _, err := b.frames.next()
	if err != nil {
		return err
	}
	if kind != frameEnd || !reflect.DeepEqual(m.Base, b.head.Base) {
		return b.frames.corrupt(errOrder)
	}
	if b.base != nil {
		for {
			_, err := b.base.next()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				return err
			}
		}
		if is := b.base.final.Hash; is != m.Base.Hash {
			return &ChainError{b.frames.name, fmt.Sprintf("builds on another state of position %s than that in %s: their rows differ", m.Base.Position, b.base.frames.name)}
		}
	}
	if b.tally.rows != m.Rows || b.tally.chunks != m.Chunks || b.tally.sum() != m.Hash || !reflect.DeepEqual(b.files, m.Files) {
		return b.frames.corrupt(fmt.Errorf("it has %d rows in %d chunks and %d files that do not add up to what its manifest says: %d rows in %d chunks, %d files",
			b.tally.rows, b.tally.chunks, len(b.files), m.Rows, m.Chunks, len(m.Files)))
	}
	b.final = &m
	return nil
}

// rows yields the rows of what the backup is of. An error is the last thing that is yielded; without one all was as it
// should be.
func (b *reader) rows() iter.Seq2[storage.Item, error] {
	return func(yield func(storage.Item, error) bool) {
		families := map[string]int64{}
		for {
			c, err := b.next()
			if errors.Is(err, io.EOF) {
				if !maps.Equal(families, b.final.Families) {
					yield(storage.Item{}, b.frames.corrupt(fmt.Errorf("it has rows %v, and its manifest says %v", families, b.final.Families)))
				}
				return
			}
			if err != nil {
				yield(storage.Item{}, err)
				return
			}
			for it, ok := range c.rows() {
				if !ok {
					yield(storage.Item{}, b.frames.corrupt(errRows))
					return
				}
				families[it.Family()]++
				if !yield(it, nil) {
					return
				}
			}
		}
	}
}
