package backup

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"time"

	"filippo.io/age"
	"github.com/klauspost/compress/zstd"

	"scimbox/storage"
)

// Options say what is written, and to whom.
type Options struct {
	Version string           // of this program
	Clock   func() time.Time // nil = time.Now
	Logger  *slog.Logger     // nil = discard
	Dir     string           // data directory: of Files, and of the positions that increments build on
	Files   []string         // files and directories in it that belong into a backup, if they are there

	Recipients []age.Recipient // who can read it; none: everybody
	Since      string          // position that an increment builds on; "" for all

	// Progress is called now and then with the number of rows written and expected. May be nil.
	Progress func(done, total int64)
}

func (o Options) withDefaults() Options {
	if o.Clock == nil {
		o.Clock = time.Now
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return o
}

// blockBytes is how much is compressed at a time.
const blockBytes = 1 << 20

const progressRows = 4096

// Write writes a backup of a store as it is now. A *PositionError says that the increment that was asked for cannot be made;
// nothing was written then. If anything else fails, what was written is no backup, and is taken for none.
func Write(ctx context.Context, to io.Writer, s *storage.Store, o Options) (m *Manifest, err error) {
	o = o.withDefaults()
	w := &writer{o: o, ctx: ctx}
	if o.Since != "" {
		if w.base, err = findPosition(o.Dir, o.Since); err != nil {
			return nil, err
		}
	}
	if w.positions, err = newPositionWriter(o.Dir); err != nil {
		o.Logger.Warn("no increment can build on this backup, because its position cannot be written down", "error", err)
	}
	defer func() {
		if w.positions == nil {
			return
		}
		if err != nil {
			err = errors.Join(err, w.positions.discard())
		} else if kept := w.positions.keep(m); kept != nil {
			o.Logger.Warn("no increment can build on this backup, because its position cannot be written down", "error", kept)
		}
	}()
	var closer io.Closer
	if len(o.Recipients) > 0 {
		encrypted, err := age.Encrypt(to, o.Recipients...)
		if err != nil {
			return nil, err
		}
		to, closer = encrypted, encrypted
	}
	if err := s.Snapshot(ctx, func(snap *storage.Snapshot) error { return w.all(to, snap) }); err != nil {
		return nil, err
	}
	if closer != nil {
		if err := closer.Close(); err != nil {
			return nil, err
		}
	}
	return &w.m, nil
}

type writer struct {
	o         Options
	ctx       context.Context
	m         Manifest
	base      *state          // of an increment
	positions *positionWriter // nil if none can be written
	frames    *frameWriter
	zstd      *zstd.Encoder
	tally     *tally
	packed    []byte

	ops    []byte
	copied struct{ start, n uint32 } // of the base, not yet in ops
}

func (w *writer) all(to io.Writer, snap *storage.Snapshot) (err error) {
	w.m = Manifest{
		Format: Format, StoreFormat: snap.Format, Version: w.o.Version, Store: snap.Store, Created: w.o.Clock().UTC().Truncate(time.Second),
		Position: position(snap.Seq, snap.Commits), Seq: snap.Seq, Commits: snap.Commits, Counts: snap.Counts,
	}
	if w.base != nil {
		w.m.Base = &Base{w.base.Position, w.base.Hash}
	}
	// The reader has its own checksums.
	if w.zstd, err = zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1), zstd.WithEncoderCRC(false)); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, w.zstd.Close()) }()
	if w.frames, err = newFrameWriter(to, backupMagic); err != nil {
		return err
	}
	if err := w.json(frameHead, w.m); err != nil {
		return err
	}
	err = eachFile(w.o.Dir, w.o.Files, func(name string, mode fs.FileMode, content []byte) error {
		w.m.Files = append(w.m.Files, File{name, int64(len(content))})
		return w.compressed(frameFile, appendFile(nil, name, mode, content))
	})
	if err != nil {
		return fmt.Errorf("the files beside the store: %w", err)
	}
	if err := w.rows(snap); err != nil {
		return err
	}
	if err := w.json(frameManifest, w.m); err != nil {
		return err
	}
	return w.frames.end()
}

func (w *writer) json(kind byte, v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	return w.frames.write(kind, b)
}

func (w *writer) compressed(kind byte, b []byte) error {
	if err := w.ctx.Err(); err != nil {
		return err
	}
	w.packed = w.zstd.EncodeAll(b, w.packed[:0])
	return w.frames.write(kind, w.packed)
}

func (w *writer) rows(snap *storage.Snapshot) error {
	var total int64
	if w.o.Progress != nil {
		var err error
		if total, err = snap.Count(); err != nil {
			return err
		}
	}
	w.tally = newTally()
	w.m.Families = map[string]int64{}
	c := chunker{emit: w.chunk}
	var done int64
	for it, err := range snap.Rows() {
		if err == nil {
			err = c.add(it)
		}
		if err != nil {
			return err
		}
		w.m.Families[it.Family()]++
		if done++; w.o.Progress != nil && done%progressRows == 0 {
			w.o.Progress(done, total)
		}
	}
	if err := c.flush(); err != nil {
		return err
	}
	w.copies()
	if err := w.compressed(frameRows, w.ops); err != nil {
		return err
	}
	if w.o.Progress != nil {
		w.o.Progress(done, done)
	}
	w.m.Rows, w.m.Chunks, w.m.Hash = w.tally.rows, w.tally.chunks, w.tally.sum()
	return nil
}

func (w *writer) chunk(c chunk) error {
	w.tally.add(c)
	if w.positions != nil {
		if err := w.positions.add(c.digest); err != nil {
			w.o.Logger.Warn("no increment can build on this backup, because its position cannot be written down", "error", err)
			_ = w.positions.discard() // it is of no use either way
			w.positions = nil
		}
	}
	if w.base != nil {
		if at, ok := w.base.at[c.digest]; ok {
			w.copy(at)
			return nil
		}
	}
	w.copies()
	w.ops = append(w.ops, opRows)
	w.ops = binary.AppendUvarint(w.ops, uint64(c.n))
	w.ops = binary.AppendUvarint(w.ops, uint64(len(c.raw)))
	w.ops = append(w.ops, c.raw...)
	w.m.Written++
	if len(w.ops) < blockBytes {
		return nil
	}
	err := w.compressed(frameRows, w.ops)
	w.ops = w.ops[:0]
	return err
}

// copy takes a chunk over from the base. Chunks of both stand in the order of their keys, so that most follow one another.
func (w *writer) copy(at uint32) {
	if w.copied.n > 0 && w.copied.start+w.copied.n == at {
		w.copied.n++
		return
	}
	w.copies()
	w.copied.start, w.copied.n = at, 1
}

func (w *writer) copies() {
	if w.copied.n == 0 {
		return
	}
	w.ops = append(w.ops, opCopy)
	w.ops = binary.AppendUvarint(w.ops, uint64(w.copied.start))
	w.ops = binary.AppendUvarint(w.ops, uint64(w.copied.n))
	w.copied.n = 0
}
