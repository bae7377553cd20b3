package storage

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"os"
	"path/filepath"
)

// What goes into one transaction while rows are loaded: much less than an engine takes, so that any engine takes it.
const (
	loadRows  = 10_000
	loadBytes = 1 << 20
)

// Load writes rows, as [Snapshot.Rows] has yielded them, into an engine that has none. Each is verified, and their keys have to
// ascend. If it fails, what was written so far is worth nothing, and is for the caller to throw away.
func Load(ctx context.Context, engine Engine, rows iter.Seq2[Item, error]) error {
	err := engine.View(ctx, func(r Reader) error {
		empty, err := isEmpty(r)
		if err == nil && !empty {
			err = errors.New("storage: rows are loaded into an engine that is not empty")
		}
		return err
	})
	if err != nil {
		return err
	}
	return load(ctx, engine, rows, nil)
}

func load(ctx context.Context, engine Engine, rows iter.Seq2[Item, error], room *space) error {
	l := loader{engine: engine, room: room}
	for it, err := range rows {
		if err != nil {
			return err
		}
		if err := l.add(ctx, it); err != nil {
			return err
		}
	}
	return l.flush(ctx)
}

type loader struct {
	engine Engine
	room   *space // on the disk; nil if nobody looks
	batch  []Item
	bytes  int
	last   []byte // key of the last row
}

func (l *loader) add(ctx context.Context, it Item) error {
	if err := verifyRow(it); err != nil {
		return err
	}
	if l.last != nil && bytes.Compare(it.Key, l.last) <= 0 {
		return &DamageError{describe(it.Key), fmt.Errorf("it comes behind %s, and belongs before it", describe(l.last))}
	}
	size := len(it.Key) + len(it.Value)
	if len(l.batch) == loadRows || l.bytes+size > loadBytes {
		if err := l.flush(ctx); err != nil {
			return err
		}
	}
	own := Item{bytes.Clone(it.Key), bytes.Clone(it.Value)}
	l.batch, l.bytes, l.last = append(l.batch, own), l.bytes+size, own.Key
	return nil
}

func (l *loader) flush(ctx context.Context) error {
	if err := ctx.Err(); err != nil || len(l.batch) == 0 {
		return err
	}
	if err := l.room.enough(); err != nil {
		return err
	}
	err := l.engine.Update(ctx, func(w Writer) error {
		for _, it := range l.batch {
			if err := w.Set(it.Key, it.Value); err != nil {
				return err
			}
		}
		return nil
	})
	l.batch, l.bytes = nil, 0 // the engine may have kept them
	return err
}

// LoadDir makes the store of a data directory that has none from rows, with its seal, and hands what the engine has kept of
// them to verify before it is closed. If anything fails, no store is left. The directory must exist; other files in it are
// left alone. Rows of a later format are a *FormatError.
func LoadDir(ctx context.Context, dir string, rows iter.Seq2[Item, error], o Options, verify func(*Snapshot) error) (err error) {
	o = o.withDefaults()
	unlock, err := lockDirectory(dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, unlock()) }()
	store := filepath.Join(dir, storeName)
	for _, path := range []string{store, filepath.Join(dir, SealName)} {
		if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
			return errors.Join(fmt.Errorf("storage: %s is there already", path), err)
		}
	}
	if err := os.Mkdir(store, 0o700); err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.RemoveAll(filepath.Join(dir, SealName)), os.RemoveAll(store))
		}
	}()
	room := newSpace(dir, o)
	if err := room.enough(); err != nil {
		return err
	}
	engine, err := openBadger(store, o.Logger)
	if err != nil {
		return err
	}
	s := newStore(engine, o)
	sl := &sealer{dir: dir, store: s, engine: engine}
	var now seal
	err = func() error {
		if err := load(ctx, engine, rows, room); err != nil {
			return err
		}
		empty, err := s.readState(ctx)
		if err != nil {
			return err
		}
		if empty {
			return &DamageError{"the store", errors.New("there is not one row of it")}
		}
		if err := engine.View(ctx, func(r Reader) error { return snapshot(r, verify) }); err != nil {
			return err
		}
		now, err = sl.look(ctx)
		return err
	}()
	if err = errors.Join(err, engine.Close()); err != nil {
		return err
	}
	return errors.Join(sl.stopped(now), syncDirectory(store))
}
