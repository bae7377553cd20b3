package storage

import (
	"cmp"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"
)

// Format is the number of the on-disk format that this program writes. A store of a later one is refused.
const Format = 2

// Options tune a Store. The zero value of a field means its default.
type Options struct {
	Clock   func() time.Time // nil = time.Now
	Logger  *slog.Logger     // nil = discard
	Version string           // of this program, written beside the format; "" = "dev"

	// AcceptDataLoss opens a data directory although its seal says that data are missing. What is missing is then given up.
	AcceptDataLoss bool

	// MinFree is how much room the disk of a data directory must have, in bytes: below it the store takes no changes, and is not
	// opened. 0 = DefaultMinFree, negative = whatever there is.
	MinFree int64
	// FreeSpace tells how much room there is; nil = as the system says.
	FreeSpace func(dir string) (int64, error)

	// Journal says how much of the journal is kept.
	Journal Retention

	// Between puts something between the store and its engine, such as a storagetest.Faulty; nil = nothing. OpenDir alone asks
	// for it: whoever opens an engine himself can do it himself.
	Between func(Engine) Engine

	// BeforeMigration is called with the store of a data directory of an earlier format before it is brought to that of this
	// program: the moment for a backup. An error of it leaves everything as it is. May be nil.
	BeforeMigration func(ctx context.Context, s *Store, from, to int) error

	// Observe is told of each commit, on the committer's goroutine before anybody who waits for it is answered: it must be
	// quick and must not call the Store. May be nil.
	Observe func(Commit)

	gaveUp     *bool             // set when AcceptDataLoss has given something up
	sweepLinks int               // links removed at a time when their record is deleted; 0 = sweepLinks. For tests
	migrations map[int]migration // nil = those that there are. For tests
}

func (o Options) withDefaults() Options {
	if o.Clock == nil {
		o.Clock = time.Now
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.FreeSpace == nil {
		o.FreeSpace = freeSpace
	}
	o.Version = cmp.Or(o.Version, "dev")
	o.MinFree = cmp.Or(o.MinFree, DefaultMinFree)
	o.sweepLinks = cmp.Or(o.sweepLinks, sweepLinks)
	return o
}

// Store keeps the records of any number of tenants in one engine. It is safe for concurrent use.
type Store struct {
	engine  Engine
	id      string // see ID
	clock   func() time.Time
	log     *slog.Logger
	version string
	piece   int // links removed at a time

	seq     atomic.Uint64 // of the last journal row that is durable
	commits atomic.Uint64 // number of the last commit

	queue   chan *operation // those that wait for the committer
	closing sync.RWMutex
	closed  bool
	views   sync.WaitGroup        // whoever is inside the store, except for the committer
	failed  atomic.Pointer[error] // why the store has closed itself
	broken  chan struct{}         // closed with it

	keep    Retention
	journal journalSize
	space   *space // of the disk; nil if nobody looks

	background sync.WaitGroup // goroutines that end when stop is called
	committer  chan struct{}  // closed when it has ended
	sweeps     sweepState
	wake       chan struct{}
	sweeper    chan struct{} // closed when it has ended
	stop       context.CancelFunc
	repairing  chan struct{} // holds an item while a Check repairs: two would do it twice

	committed func()       // called after each commit; may be nil
	observe   func(Commit) // may be nil
}

// Open returns a store on an engine, which it closes when it is closed, and also if Open fails. An empty engine becomes an
// empty store. A format of a later program is a *FormatError. ctx is for the opening alone.
func Open(ctx context.Context, engine Engine, o Options) (*Store, error) {
	s := newStore(engine, o.withDefaults())
	empty, err := s.readState(ctx)
	if err == nil && empty {
		err = s.writeFormat(ctx)
	} else if err == nil {
		err = s.identify(ctx)
	}
	if err != nil {
		return nil, errors.Join(err, engine.Close())
	}
	s.start()
	return s, nil
}

func newStore(engine Engine, o Options) *Store {
	return &Store{
		engine: engine, clock: o.Clock, log: o.Logger, version: o.Version, piece: o.sweepLinks, keep: o.Journal, observe: o.Observe,
		queue: make(chan *operation, queueLen), committer: make(chan struct{}),
		wake: make(chan struct{}, 1), sweeper: make(chan struct{}), repairing: make(chan struct{}, 1), broken: make(chan struct{}),
	}
}

// start starts the goroutines of an opened store.
func (s *Store) start() {
	ctx, stop := context.WithCancel(context.Background())
	s.stop = stop
	s.journal.seq = s.seq.Load()
	if s.keep != (Retention{}) {
		s.background.Go(func() { s.runTrims(ctx) })
	}
	go s.commitAll()
	go s.runSweeps(ctx)
	if s.space != nil {
		s.background.Go(func() { s.space.watch(ctx) })
	}
	if s.sweeps.pending.Load() > 0 {
		s.wakeSweeper()
	}
}

// formatRow says which format a store has, which program made it, and which store it is.
type formatRow struct {
	Format  int    `json:"format"`
	Version string `json:"version"`
	Store   string `json:"store,omitempty"`
}

func (s *Store) writeFormat(ctx context.Context) error { return s.writeFormatOf(ctx, Format) }

// identify gives a store an identity that has none, because it was made before there were any.
func (s *Store) identify(ctx context.Context) error {
	if s.id != "" {
		return nil
	}
	n, _, err := s.format(ctx)
	if err != nil {
		return err
	}
	return s.writeFormatOf(ctx, n)
}

// ID names the store: 8 characters, 0-9 and a-f, by which its files can be told from those of another. What is restored from a backup
// of it, and a copy of its directory, are the same store.
func (s *Store) ID() string { return s.id }

// readState reads what the store goes on from. An engine without a row is empty.
func (s *Store) readState(ctx context.Context) (empty bool, err error) {
	err = s.engine.View(ctx, func(r Reader) error {
		s.sweeps.pending.Store(0)
		empty, err = isEmpty(r)
		if err != nil || empty {
			return err
		}
		f, err := checkFormat(r)
		if err != nil {
			return err
		}
		s.id = f.Store
		n, err := getNumber(r, commitKey)
		if err != nil {
			return err
		}
		s.commits.Store(uint64(n))
		last, err := lastSeq(r)
		if err != nil {
			return err
		}
		s.seq.Store(last)
		for _, err := range r.Scan(Range{Start: []byte{familySweep}, End: []byte{familySweep + 1}, KeysOnly: true}) {
			if err != nil {
				return err
			}
			s.sweeps.pending.Add(1)
		}
		return nil
	})
	return empty, err
}

func isEmpty(r Reader) (bool, error) {
	for _, err := range r.Scan(Range{KeysOnly: true}) {
		return false, err
	}
	return true, nil
}

var errNoFormat = errors.New("it holds data and does not say of which format")

// checkFormat reads the row that says which store this is, and of a format that this program knows.
func checkFormat(r Reader) (f formatRow, err error) {
	b, err := get(r, formatKey)
	if errors.Is(err, ErrNotFound) {
		return f, &DamageError{"the store", errNoFormat}
	}
	if err != nil {
		return f, err
	}
	if err := json.Unmarshal(b, &f); err != nil {
		return f, &DamageError{describe(formatKey), err}
	}
	if f.Format > Format {
		return f, &FormatError{f.Format, Format, f.Version}
	}
	return f, nil
}

// lastSeq returns the sequence of the last journal row, 0 if there is none.
func lastSeq(r Reader) (uint64, error) {
	for it, err := range r.Scan(Range{Start: []byte{familyJournal}, End: []byte{familyJournal + 1}, Reverse: true, KeysOnly: true}) {
		if err != nil {
			return 0, err
		}
		if len(it.Key) != 9 {
			return 0, &DamageError{describe(it.Key), errors.New("its key cannot be read")}
		}
		return binary.BigEndian.Uint64(it.Key[1:]), nil
	}
	return 0, nil
}

// Close ends the store and its engine: operations that wait are done first, and reads under way finish. Closing a closed
// store does nothing.
func (s *Store) Close() error {
	s.closing.Lock()
	if s.closed {
		s.closing.Unlock()
		return nil
	}
	s.closed = true
	s.stop()
	s.closing.Unlock()
	<-s.sweeper
	s.background.Wait()
	s.views.Wait() // also for those who are about to put an operation into the queue
	close(s.queue)
	<-s.committer
	return s.engine.Close()
}

// enter keeps the store from being closed until leave is called.
func (s *Store) enter() error {
	s.closing.RLock()
	defer s.closing.RUnlock()
	if s.closed {
		return ErrClosed
	}
	if failed := s.failed.Load(); failed != nil {
		return *failed
	}
	s.views.Add(1)
	return nil
}

func (s *Store) leave() { s.views.Done() }

// fail closes the store to everybody but Close.
func (s *Store) fail(cause error) {
	err := fmt.Errorf("%w by itself, because it is not known what the engine has kept: %w; restart the server", ErrClosed, cause)
	if s.failed.CompareAndSwap(nil, &err) {
		s.log.Error("a commit failed; the store answers nothing more until the server is restarted", "error", cause)
		close(s.broken)
	}
}

// Failed returns a channel that is closed when the store has closed itself, because a commit has failed and nobody knows
// what the engine has kept of it. Only opening the store anew finds out.
func (s *Store) Failed() <-chan struct{} { return s.broken }

// View runs fn on a snapshot of the tenant's data, beside any number of other readers and the one writer. fn's error is
// returned as it is.
func (s *Store) View(ctx context.Context, tenant string, fn func(*Tx) error) error {
	seen := s.sweeps.look()
	return s.view(ctx, func(r Reader) error {
		return fn(&Tx{store: s, tenant: tenant, r: r, sweeps: seen})
	})
}

// Ahead reads a record that an Update is about to ask for, on the goroutine of whoever calls it: the engine may then know the row when
// the committer comes to it, for whom everybody else waits. Whether there is one, and what is wrong with it, is for the Update to find.
func (s *Store) Ahead(ctx context.Context, tenant, kind, id string) {
	ref := Ref{tenant, kind, id}
	if ref.check() != nil {
		return
	}
	_ = s.view(ctx, func(r Reader) error {
		if r, ok := r.(interface{ ahead(key []byte) }); ok {
			r.ahead(recordKey(ref))
		}
		return nil
	})
}

// KeepRows has an engine on disk keep rows in size bytes of memory from now on, rounded down to RowMemoryUnit, so that they need not be
// searched for. It reads as many as there is room for, beside everybody else, and returns when it has, or ctx's error when that ends; what was
// read until then is kept. An error of its own says why none are. It is called once; other engines have all in memory anyway.
func (s *Store) KeepRows(ctx context.Context, size int64) error {
	keeper, ok := s.engine.(interface {
		keepRows(context.Context, int64) error
	})
	if !ok {
		return nil
	}
	if err := s.enter(); err != nil {
		return err
	}
	defer s.leave()
	return keeper.keepRows(ctx, size)
}

func (s *Store) view(ctx context.Context, fn func(Reader) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := s.enter(); err != nil {
		return err
	}
	defer s.leave()
	return s.engine.View(ctx, fn)
}

func (s *Store) now() time.Time { return s.clock().UTC().Truncate(time.Microsecond) }

// LastSeq returns the sequence of the last change that is durable. It is not announced before the change can be read.
func (s *Store) LastSeq() uint64 { return s.seq.Load() }

// Stats are the figures of a store.
type Stats struct {
	Seq      uint64                      // of the last change
	First    uint64                      // of the first that the journal still has, if there is any
	Counts   map[string]map[string]int64 // records by tenant and kind; kinds of which there are none are left out
	DiskSize int64                       // bytes that the engine takes on disk; 0 if it does not know
}

// Stats returns the figures of the store.
func (s *Store) Stats(ctx context.Context) (Stats, error) {
	st := Stats{}
	err := s.view(ctx, func(r Reader) (err error) {
		if st.Seq, err = lastSeq(r); err != nil {
			return err
		}
		if st.First, err = firstSeq(r); err != nil {
			return err
		}
		st.Counts, err = counts(r)
		return err
	})
	if err != nil {
		return st, err
	}
	if sized, ok := s.engine.(interface{ DiskSize() (int64, error) }); ok {
		st.DiskSize, err = sized.DiskSize()
	}
	return st, err
}

// counts reads all counters. Tenants that once had a record are in it even if they have none left.
func counts(r Reader) (map[string]map[string]int64, error) {
	all := map[string]map[string]int64{}
	for it, err := range r.Scan(Range{Start: []byte{familyCounter}, End: []byte{familyCounter + 1}}) {
		if err != nil {
			return nil, err
		}
		p, ok := split(it.Key, 2)
		if !ok {
			return nil, &DamageError{describe(it.Key), errors.New("its key cannot be read")}
		}
		b, err := openRow(it.Key, it.Value)
		if err != nil {
			return nil, err
		}
		n, err := decodeNumber(it.Key, b)
		if err != nil {
			return nil, err
		}
		if all[p[0]] == nil {
			all[p[0]] = map[string]int64{}
		}
		if n != 0 {
			all[p[0]][p[1]] = n
		}
	}
	return all, nil
}

// Tenants returns the tenants that have, or have had, a record, in order.
func (s *Store) Tenants(ctx context.Context) ([]string, error) {
	var l []string
	err := s.view(ctx, func(r Reader) error {
		l = nil
		for it, err := range r.Scan(Range{Start: []byte{familyCounter}, End: []byte{familyCounter + 1}, KeysOnly: true}) {
			if err != nil {
				return err
			}
			if p, ok := split(it.Key, 2); ok && (len(l) == 0 || l[len(l)-1] != p[0]) {
				l = append(l, p[0])
			}
		}
		return nil
	})
	return l, err
}

// Fingerprint returns what SetFingerprint has stored for a kind of a tenant, "" if nothing.
func (s *Store) Fingerprint(ctx context.Context, tenant, kind string) (string, error) {
	var p []byte
	err := s.view(ctx, func(r Reader) (err error) {
		p, err = get(r, indexKey(tenant, kind))
		return err
	})
	if errors.Is(err, ErrNotFound) {
		return "", nil
	}
	return string(p), err
}

// SetFingerprint stores by which rules the terms of a kind are made. The caller compares it at the next start.
func (s *Store) SetFingerprint(ctx context.Context, tenant, kind, fingerprint string) error {
	if err := (Ref{tenant, kind, "-"}).check(); err != nil {
		return err
	}
	return s.update(ctx, tenant, Origin{}, func(tx *Tx) error {
		return set(tx.w, indexKey(tenant, kind), []byte(fingerprint))
	})
}
