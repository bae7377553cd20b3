package storage

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"
)

const (
	storeName  = "store"       // directory of the engine in a data directory
	asideName  = "store.aside" // what the engine would delete at its start, until it is known that nothing is missing
	sealAtMost = time.Second   // how far the seal may be behind; see sealer
)

// OpenDir opens the store of a data directory, which must exist; an empty one becomes an empty store. It is compared with its
// seal first. ErrLocked, *LostDataError, *DamageError and *FormatError say why it cannot be opened. ctx is for the opening
// alone.
func OpenDir(ctx context.Context, dir string, o Options) (*Store, error) {
	o = o.withDefaults()
	unlock, err := lockDirectory(dir)
	if err != nil {
		return nil, err
	}
	s, err := openDir(ctx, dir, o, unlock)
	if err != nil {
		return nil, errors.Join(err, unlock())
	}
	return s, nil
}

func openDir(ctx context.Context, dir string, o Options, unlock func() error) (*Store, error) {
	sealed, err := prepare(dir, o)
	if err != nil {
		return nil, err
	}
	engine, err := openBadger(filepath.Join(dir, storeName), o.Logger)
	if err != nil {
		return nil, errors.Join(err, bringBack(dir))
	}
	s, err := open(ctx, engine, o)
	if err == nil {
		err = s.meets(ctx, sealed, dir, o)
	}
	if err != nil {
		return nil, errors.Join(err, engine.Close(), bringBack(dir))
	}
	if err := os.RemoveAll(filepath.Join(dir, asideName)); err != nil {
		return nil, errors.Join(err, engine.Close())
	}
	sl := &sealer{dir: dir, store: s, engine: engine, dirty: make(chan struct{}, 1), stop: make(chan struct{}), done: make(chan struct{})}
	if err := sl.write(ctx); err != nil {
		return nil, errors.Join(err, engine.Close())
	}
	s.engine = &sealedEngine{badgerEngine: engine, sealer: sl, unlock: unlock}
	s.committed = sl.mark
	go sl.run()
	s.start()
	return s, nil
}

// prepare looks at a data directory before the engine does, and returns its seal. It refuses what the engine would open as
// less than was there, and puts aside what the engine would delete.
func prepare(dir string, o Options) (seal, error) {
	store := filepath.Join(dir, storeName)
	sealed, isSealed, err := readSeal(dir)
	var damage *DamageError
	if errors.As(err, &damage) && o.AcceptDataLoss {
		o.Logger.Warn("the seal cannot be read; a new one is made", "error", err)
		sealed, isSealed, err = seal{}, false, nil
	}
	if err != nil {
		return sealed, err
	}
	if err := bringBack(dir); err != nil {
		return sealed, err
	}
	lost := func(format string, args ...any) error {
		e := &LostDataError{dir, fmt.Sprintf(format, args...)}
		if o.AcceptDataLoss {
			o.Logger.Warn("data are missing and given up", "missing", e.Missing)
			return nil
		}
		return e
	}
	entries, err := os.ReadDir(store)
	if errors.Is(err, fs.ErrNotExist) {
		if sealed.Commits > 0 {
			if err := lost("there is no directory %s, and the seal knows of %d changes", store, sealed.Seq); err != nil {
				return sealed, err
			}
		}
		if !isSealed {
			// Before there is anything to be sealed: a store without a seal is then always one that has lost it.
			sealed = seal{Format: Format, Version: o.Version}
			if err := writeSeal(dir, sealed); err != nil {
				return sealed, err
			}
		}
		return sealed, os.Mkdir(store, 0o700)
	}
	if err != nil {
		return sealed, err
	}
	if !isSealed && len(entries) > 0 {
		if err := lost("there is a store and no %s beside it, so that nobody can tell whether the store is whole", SealName); err != nil {
			return sealed, err
		}
	}
	m, err := readManifest(store)
	if err != nil {
		return sealed, err
	}
	if !m.there && sealed.Commits > 0 {
		if err := lost("there is no file %s", filepath.Join(store, manifestName)); err != nil {
			return sealed, err
		}
	}
	return sealed, putAside(dir, sealed, m, lost)
}

// putAside keeps a second name for the tables that the manifest does not know: Badger deletes them when it starts. After a
// crash there may be some that were not finished; a table that the seal knows and that is newer than everything in the
// manifest is one that the manifest has lost.
func putAside(dir string, sealed seal, m manifest, lost func(string, ...any) error) error {
	store, aside := filepath.Join(dir, storeName), filepath.Join(dir, asideName)
	ids, err := tableFiles(store)
	if err != nil {
		return err
	}
	var unknown []uint64
	for _, id := range ids {
		if m.tables[id] {
			continue
		}
		unknown = append(unknown, id)
		if id > m.newest && slices.Contains(sealed.Tables, id) {
			if err := lost("%s does not know the table %s, which the seal knows", filepath.Join(store, manifestName), tableName(id)); err != nil {
				return err
			}
		}
	}
	if len(unknown) == 0 {
		return nil
	}
	if err := os.Mkdir(aside, 0o700); err != nil {
		return err
	}
	for _, id := range unknown {
		if err := os.Link(filepath.Join(store, tableName(id)), filepath.Join(aside, tableName(id))); err != nil {
			return err
		}
	}
	return nil
}

// bringBack gives what was put aside its place again, if it is not there: the start that put it aside has failed.
func bringBack(dir string) error {
	store, aside := filepath.Join(dir, storeName), filepath.Join(dir, asideName)
	entries, err := os.ReadDir(aside)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, e := range entries {
		err := os.Link(filepath.Join(aside, e.Name()), filepath.Join(store, e.Name()))
		if err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
	}
	return os.RemoveAll(aside)
}

// meets compares an opened store with its seal.
func (s *Store) meets(ctx context.Context, sealed seal, dir string, o Options) error {
	return s.engine.View(ctx, func(r Reader) error {
		have, err := counts(r)
		if err != nil {
			return err
		}
		missing := sealed.compare(s.commits.Load(), s.seq.Load(), have)
		switch {
		case missing == "":
			return nil
		case o.AcceptDataLoss:
			o.Logger.Warn("data are missing and given up", "missing", missing)
			return nil
		}
		return &LostDataError{dir, missing}
	})
}

// sealer writes the seal while the store runs. A seal costs a disk sync of its own, so that it is not written for each
// commit: it may be behind by sealAtMost, and is up to date after Close.
type sealer struct {
	dir    string
	store  *Store
	engine *badgerEngine
	dirty  chan struct{} // of capacity 1
	stop   chan struct{}
	done   chan struct{} // closed when run has ended
}

// mark says that there is something new to seal. It is called by the committer and does not wait.
func (l *sealer) mark() {
	select {
	case l.dirty <- struct{}{}:
	default:
	}
}

func (l *sealer) run() {
	defer close(l.done)
	pause := time.NewTimer(0)
	defer pause.Stop()
	for {
		select {
		case <-l.stop:
			return
		case <-l.dirty:
		}
		select {
		case <-l.stop:
			return
		case <-pause.C:
		}
		if err := l.write(context.Background()); err != nil {
			l.store.log.Warn("the seal could not be written; it is tried again after the next change", "error", err)
		}
		pause.Reset(sealAtMost)
	}
}

func (l *sealer) write(ctx context.Context) error {
	sealed := seal{Format: Format, Version: l.store.version, Tables: l.engine.tables()}
	err := l.engine.View(ctx, func(r Reader) error {
		n, err := getNumber(r, commitKey)
		if err != nil {
			return err
		}
		sealed.Commits = uint64(n)
		if sealed.Seq, err = lastSeq(r); err != nil {
			return err
		}
		sealed.Counts, err = counts(r)
		return err
	})
	if err != nil {
		return err
	}
	return writeSeal(l.dir, sealed)
}

// sealedEngine is Badger with a seal and a lock, which end with it.
type sealedEngine struct {
	*badgerEngine
	sealer *sealer
	unlock func() error
}

// Close implements [Engine]. The store has ended its committer by now, so that nobody marks any more.
func (e *sealedEngine) Close() error {
	close(e.sealer.stop)
	<-e.sealer.done
	return errors.Join(e.sealer.write(context.Background()), e.badgerEngine.Close(), e.unlock())
}
