package storage

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"sync"
	"time"
)

const (
	storeName  = "store"       // directory of the engine in a data directory
	trialName  = "store.trial" // what rehearse works on
	sealAtMost = time.Second   // how far the seal may be behind; see sealer
)

// OpenDir opens the store of a data directory, which must exist; an empty one becomes an empty store. It is compared with its
// seal first. ErrLocked, *SpaceError, *LostDataError, *DamageError and *FormatError say why it cannot be opened; the directory is then as
// it was. ctx is for the opening alone.
func OpenDir(ctx context.Context, dir string, o Options) (*Store, error) {
	o = o.withDefaults()
	unlock, err := lockDirectory(dir)
	if err != nil {
		return nil, err
	}
	quiet := o
	quiet.Logger = slog.New(slog.DiscardHandler) // whoever opens it tells
	if err := newSpace(dir, quiet).enough(); err != nil {
		return nil, errors.Join(err, unlock())
	}
	s, err := openDir(ctx, dir, o, unlock)
	if err != nil {
		return nil, errors.Join(err, unlock())
	}
	return s, nil
}

func openDir(ctx context.Context, dir string, o Options, unlock func() error) (*Store, error) {
	o.gaveUp = new(bool)
	sealed, sums, err := prepare(ctx, dir, o)
	if err != nil {
		return nil, err
	}
	store := filepath.Join(dir, storeName)
	if err := removeEmptyLogs(store); err != nil {
		return nil, err
	}
	engine, err := openBadger(store, o.Logger)
	if err != nil {
		return nil, err
	}
	s, err := openSealed(ctx, engine, sealed, dir, o)
	if err == nil && *o.gaveUp {
		err = s.goOnBehind(ctx, sealed)
	}
	if err != nil {
		return nil, errors.Join(err, engine.Close())
	}
	sl := &sealer{dir: dir, store: s, engine: engine, sums: sums, last: sealed, dirty: make(chan struct{}, 1), stop: make(chan struct{}), done: make(chan struct{})}
	if err := sl.write(ctx); err != nil {
		return nil, errors.Join(err, engine.Close())
	}
	s.engine = &sealedEngine{badgerEngine: engine, sealer: sl, unlock: unlock}
	if o.Between != nil {
		s.engine = o.Between(s.engine)
	}
	s.committed, s.space = sl.mark, newSpace(dir, o)
	go sl.run() // #nosec G118 -- it lives as long as the store, and not as its opening
	s.start()
	return s, nil
}

// openSealed reads the state of an opened engine, and makes an empty one a store, if that is what its seal lets expect.
func openSealed(ctx context.Context, engine Engine, sealed seal, dir string, o Options) (*Store, error) {
	s := newStore(engine, o)
	empty, err := s.readState(ctx)
	if errors.Is(err, errNoFormat) && o.AcceptDataLoss {
		// It was in what is lost. The seal has told that the format is one that this program knows.
		o.Logger.Warn("the row that says of which format the store is was lost; it is written anew")
		*o.gaveUp = true
		if err := s.writeFormatOf(ctx, cmp.Or(sealed.Format, Format)); err != nil {
			return nil, err
		}
		empty, err = s.readState(ctx)
	}
	if err != nil {
		return nil, err
	}
	if err := s.meets(ctx, sealed, dir, o); err != nil {
		return nil, err
	}
	if empty {
		return s, s.writeFormat(ctx)
	}
	if err := s.migrate(ctx, dir, o); err != nil {
		return nil, err
	}
	return s, s.identify(ctx)
}

// prepare looks at a data directory before the engine does, and returns its seal and what its tables are known by. It refuses
// what the engine would open as less than was there, and what would end the process.
func prepare(ctx context.Context, dir string, o Options) (seal, map[uint64]tableSum, error) {
	store := filepath.Join(dir, storeName)
	if err := os.RemoveAll(filepath.Join(dir, trialName)); err != nil {
		return seal{}, nil, err
	}
	sealed, isSealed, err := readSeal(dir)
	var damage *DamageError
	if errors.As(err, &damage) && o.AcceptDataLoss {
		o.Logger.Warn("the seal cannot be read; a new one is made", "error", err)
		*o.gaveUp = true
		sealed, isSealed, err = seal{}, false, nil
	}
	if err != nil {
		return sealed, nil, err
	}
	entries, err := os.ReadDir(store)
	if errors.Is(err, fs.ErrNotExist) {
		if sealed.Commits > 0 {
			if err := lost(dir, o, "there is no directory %s, and the seal knows of %d changes", store, sealed.Seq); err != nil {
				return sealed, nil, err
			}
		}
		if !isSealed {
			// Before there is anything to be sealed: a store without a seal is then always one that has lost it.
			sealed = seal{Format: Format, Version: o.Version}
			if err := writeSeal(dir, sealed); err != nil {
				return sealed, nil, err
			}
		}
		return sealed, nil, os.Mkdir(store, 0o700)
	}
	if err != nil {
		return sealed, nil, err
	}
	if !isSealed && len(entries) > 0 {
		if err := lost(dir, o, "there is a store and no %s beside it, so that nobody can tell whether the store is whole", SealName); err != nil {
			return sealed, nil, err
		}
	}
	m, err := readManifest(store)
	if err != nil {
		return sealed, nil, err
	}
	if !m.there && sealed.Commits > 0 {
		if err := lost(dir, o, "there is no file %s", filepath.Join(store, manifestName)); err != nil {
			return sealed, nil, err
		}
	}
	sums, err := verifyTables(ctx, store, m, sealed.Sums)
	if err != nil {
		return sealed, nil, err
	}
	unknown, err := unknownTables(store, m)
	if err != nil {
		return sealed, nil, err
	}
	for _, id := range unknown {
		// After a crash there may be some that were not finished, or were to be deleted. This one was in the manifest once.
		if slices.Contains(sealed.Tables, id) && !m.names[id] {
			if err := lost(dir, o, "%s does not know %s, which the seal knows; it may have been cut short", filepath.Join(store, manifestName), tableName(id)); err != nil {
				return sealed, nil, err
			}
		}
	}
	sizes, err := logs(store)
	if err != nil {
		return sealed, nil, err
	}
	// After an orderly stop there are no logs, and the manifest and the tables that it names are all there is.
	stopped := len(sizes) == 0 && m.there && sealed.Manifest == m.sum
	if stopped || o.AcceptDataLoss || sealed.Commits == 0 {
		return sealed, sums, nil
	}
	return sealed, sums, rehearse(ctx, dir, sealed, m, sizes, o)
}

// lost is a *LostDataError, or nil and a line in the log if the loss is accepted.
func lost(dir string, o Options, format string, args ...any) error {
	e := &LostDataError{dir, fmt.Sprintf(format, args...)}
	if o.AcceptDataLoss {
		o.Logger.Warn("data are missing and given up; run scimbox check --repair", "missing", e.Missing)
		*o.gaveUp = true
		return nil
	}
	return e
}

// unknownTables returns the tables in a directory that its manifest does not know. The engine will delete them.
func unknownTables(store string, m manifest) ([]uint64, error) {
	ids, err := tableFiles(store)
	return slices.DeleteFunc(ids, func(id uint64) bool { _, known := m.tables[id]; return known }), err
}

// logs returns the logs of a store and how long they are.
func logs(store string) (map[string]int64, error) {
	entries, err := os.ReadDir(store)
	sizes := map[string]int64{}
	for _, e := range entries {
		if isLog(e.Name()) {
			info, err := e.Info()
			if err != nil {
				return nil, err
			}
			sizes[e.Name()] = info.Size()
		}
	}
	return sizes, err
}

// removeEmptyLogs removes logs that a loss of power has left without even a beginning: the engine cannot be opened with them.
func removeEmptyLogs(store string) error {
	sizes, err := logs(store)
	for name, size := range sizes {
		if size == 0 {
			err = errors.Join(err, os.Remove(filepath.Join(store, name)))
		}
	}
	return err
}

// rehearse opens a copy of the store and compares it with the seal. The engine does not forgive to be opened where something is
// missing: it deletes tables that the manifest does not know, and cuts logs where they cannot be read any more. A refused start
// must leave everything as it was, because somebody may yet find the missing file. The copy shares its tables with
// the original, which nobody changes.
func rehearse(ctx context.Context, dir string, sealed seal, m manifest, logs map[string]int64, o Options) (err error) {
	store, trial := filepath.Join(dir, storeName), filepath.Join(dir, trialName)
	if err := os.Mkdir(trial, 0o700); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(trial)) }()
	for id := range m.tables {
		from, to := filepath.Join(store, tableName(id)), filepath.Join(trial, tableName(id))
		if os.Link(from, to) == nil {
			continue
		}
		// Not every file system has links of this sort.
		if err := os.Symlink(filepath.Join("..", storeName, tableName(id)), to); err != nil {
			return err
		}
	}
	copied := []string{}
	for name, size := range logs {
		if size > 0 { // see removeEmptyLogs
			copied = append(copied, name)
		}
	}
	if m.there {
		copied = append(copied, manifestName)
	}
	for _, name := range copied {
		if err := copySparse(filepath.Join(trial, name), filepath.Join(store, name)); err != nil {
			return err
		}
	}
	engine, err := openBadgerToLook(trial, store, o.Logger)
	if err != nil {
		return err
	}
	s := newStore(engine, o)
	_, err = s.readState(ctx)
	if errors.Is(err, errNoFormat) {
		err = lost(dir, o, "the store does not say of which format it is, and the seal knows of %d changes", sealed.Seq)
	}
	if err == nil {
		err = s.meets(ctx, sealed, dir, o)
	}
	return errors.Join(err, engine.Close())
}

// copySparse copies a file and leaves holes where it is zero: a log is much longer than what was written into it.
func copySparse(to, from string) (err error) {
	r, err := os.Open(from)
	if err != nil {
		return err
	}
	defer r.Close()
	w, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, w.Close()) }()
	var size int64
	b := make([]byte, 1<<16)
	for {
		n, err := io.ReadFull(r, b)
		if slices.ContainsFunc(b[:n], func(c byte) bool { return c != 0 }) {
			if _, err := w.WriteAt(b[:n], size); err != nil {
				return err
			}
		}
		size += int64(n)
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			return w.Truncate(size)
		}
		if err != nil {
			return err
		}
	}
}

// meets compares an opened store with its seal.
func (s *Store) meets(ctx context.Context, sealed seal, dir string, o Options) error {
	return s.engine.View(ctx, func(r Reader) error {
		have, err := counts(r)
		if err != nil {
			return err
		}
		if missing := sealed.compare(s.commits.Load(), s.seq.Load(), have); missing != "" {
			return lost(dir, o, "%s%s", missing, logEnds(filepath.Join(dir, storeName)))
		}
		return nil
	})
}

// sealer writes the seal while the store runs. A seal costs a disk sync of its own, so that it is not written for each
// commit: it may be behind by sealAtMost, and is up to date after Close.
type sealer struct {
	dir    string
	store  *Store
	engine *badgerEngine
	sums   map[uint64]tableSum // what the tables are known by that were there at the start
	dirty  chan struct{}       // of capacity 1
	stop   chan struct{}
	done   chan struct{} // closed when run has ended

	mu   sync.Mutex // one writes at a time
	last seal       // what was written last
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
	failing := false
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
		err := l.write(context.Background())
		if err != nil {
			l.mark()
			if !failing {
				l.store.log.Warn("the seal could not be written; it is tried again every second", "error", err)
			}
		}
		failing = err != nil
		pause.Reset(sealAtMost)
	}
}

// write writes the seal, if it is another one than the last.
func (l *sealer) write(ctx context.Context) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	now, err := l.look(ctx)
	if err != nil {
		return err
	}
	last := l.last
	last.Manifest = 0
	if reflect.DeepEqual(now, last) || now.Commits > l.store.commits.Load() {
		// What can be read and was not announced is not known to be durable, and may never be. If it is, the committer marks.
		return nil
	}
	return l.put(now)
}

func (l *sealer) look(ctx context.Context) (seal, error) {
	now := seal{Format: Format, Version: l.store.version}
	var err error
	if now.Tables, err = l.engine.tables(); err != nil {
		return now, err
	}
	now.Sums = only(l.sums, now.Tables)
	err = l.engine.View(ctx, func(r Reader) error {
		n, err := getNumber(r, commitKey)
		if err != nil {
			return err
		}
		now.Commits = uint64(n)
		if now.Seq, err = lastSeq(r); err != nil {
			return err
		}
		now.Counts, err = counts(r)
		return err
	})
	return now, err
}

func (l *sealer) put(s seal) error {
	if err := writeSeal(l.dir, s); err != nil {
		return err
	}
	l.last = s
	return nil
}

// stopped writes the seal of a store that was stopped in an orderly way, when it was as it is in now. It does so before it
// looks at the tables that are new: whoever waits for the process may lose patience.
func (l *sealer) stopped(now seal) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	m, err := readManifest(l.engine.dir)
	if err != nil {
		return err
	}
	now.Manifest, now.Tables = m.sum, slices.Sorted(maps.Keys(m.tables))
	now.Sums = only(l.sums, now.Tables)
	if err := l.putNew(now); err != nil {
		return err
	}
	sums, damage := sumsOfStopped(l.engine.dir, m, l.sums, verifyAtStop)
	now.Sums = only(sums, now.Tables)
	return errors.Join(damage, l.putNew(now))
}

func (l *sealer) putNew(s seal) error {
	if reflect.DeepEqual(s, l.last) {
		return nil
	}
	return l.put(s)
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
	now, err := e.sealer.look(context.Background())
	err = errors.Join(err, e.badgerEngine.Close())
	var full *SpaceError
	if errors.As(err, &full) {
		// The engine would have written what it has in memory into a table. All of that is in the engine's log too, where the next
		// start finds it, as it does after a crash.
		e.sealer.store.log.Warn("the disk is full; the store is left as after a crash, which loses nothing, and the next start takes a little longer", "error", full)
		return e.unlock()
	}
	if err == nil && now.Commits == e.sealer.store.commits.Load() {
		err = e.sealer.stopped(now)
	}
	return errors.Join(err, e.unlock())
}
