package storage

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// gate keeps the committer inside an operation until it is opened, so that others must wait and make one batch.
type gate struct {
	inside chan struct{} // closed when the committer is inside
	open   chan struct{}
	done   chan error
}

func closeGate(s *Store) *gate {
	g := &gate{make(chan struct{}), make(chan struct{}), make(chan error, 1)}
	go func() {
		g.done <- s.Update(context.Background(), tenant, Origin{}, func(*Tx) error {
			close(g.inside)
			<-g.open
			return nil
		})
	}()
	<-g.inside
	return g
}

// behind starts an operation that waits for the gate to be opened, after those that were started before it.
func (g *gate) behind(t *testing.T, s *Store, ctx context.Context, fn func(*Tx) error) <-chan error {
	t.Helper()
	done, n := make(chan error, 1), len(s.queue)
	go func() { done <- s.Update(ctx, tenant, Origin{}, fn) }()
	eventually(t, "an operation is in the queue", func() bool { return len(s.queue) > n })
	return done
}

func putUser(id string) func(*Tx) error {
	return func(tx *Tx) error {
		if err := tx.Put(record(id)); err != nil {
			return err
		}
		return tx.Log(Entry{Op: "create", Ref: user(id)})
	}
}

func wantErr(t *testing.T, what string, c <-chan error, want error) {
	t.Helper()
	if err := soon(t, what, c); !errors.Is(err, want) {
		t.Errorf("%s: %v, want %v", what, err, want)
	}
}

func TestManyShareACommit(t *testing.T) {
	e := &faulty{Engine: Memory()}
	s := openOn(t, e, Options{})
	g := closeGate(s)
	before := e.updates.Load()
	var all []<-chan error
	const n = maxBatch + 10
	for i := range n {
		all = append(all, g.behind(t, s, t.Context(), putUser(fmt.Sprintf("u%03d", i))))
	}
	close(g.open)
	for _, done := range all {
		wantErr(t, "an operation of a batch", done, nil)
	}
	wantErr(t, "the gate", g.done, nil)
	if got := e.updates.Load() - before; got != 2 {
		t.Errorf("%d operations that waited took %d commits, want 2", n, got)
	}
	if got := s.LastSeq(); got != n {
		t.Errorf("the journal ends at %d, want %d", got, n)
	}
	wantClean(t, s)
}

func TestFailureLeavesNoTrace(t *testing.T) {
	e := &faulty{Engine: Memory()}
	s := openOn(t, e, Options{})
	putRecords(t, s, record("ada"))
	g := closeGate(s)
	mine := errors.New("mine")
	var seen []uint64
	first := g.behind(t, s, t.Context(), putUser("u1"))
	failing := g.behind(t, s, t.Context(), func(tx *Tx) error {
		if err := putUser("u2")(tx); err != nil {
			return err
		}
		if err := tx.Delete("User", "u1"); err != nil { // which the one before has made
			return err
		}
		seen = append(seen, tx.Stamp(Stamp{}).Version)
		return mine
	})
	conflict := g.behind(t, s, t.Context(), func(tx *Tx) error {
		r := record("u3")
		r.Terms[1].Value = []byte("ada")
		_ = tx.Log(Entry{Op: "create", Ref: r.Ref})
		return tx.Put(r)
	})
	last := g.behind(t, s, t.Context(), func(tx *Tx) error {
		seen = append(seen, tx.Stamp(Stamp{}).Version)
		return putUser("u2")(tx) // as if the failing one had never been
	})
	before := e.updates.Load()
	close(g.open)
	wantErr(t, "the first", first, nil)
	wantErr(t, "the failing one", failing, mine)
	var c *ConflictError
	if err := soon(t, "the conflict", conflict); !errors.As(err, &c) || c.Owner != user("ada") || c.Field != "username" {
		t.Errorf("the conflict is answered with %v", err)
	}
	wantErr(t, "the last", last, nil)
	if n := e.updates.Load() - before; n > 1 {
		t.Errorf("they took %d commits, want 1", n)
	}
	if want := []uint64{3, 3}; !slices.Equal(seen, want) {
		t.Errorf("the failing one and the last one have the versions %d, want %d: a sequence is used up", seen, want)
	}
	entries, err := s.Journal(t.Context(), 0, 10)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, e := range entries {
		got = append(got, fmt.Sprint(e.Seq, e.Ref.ID))
	}
	if want := []string{"1ada", "2u1", "3u2"}; !slices.Equal(got, want) {
		t.Errorf("the journal is %q, want %q", got, want)
	}
	wantRecord(t, s, record("u1"))
	wantRecord(t, s, record("u2"))
	wantClean(t, s)
}

func TestIgnoredConflictIsNotCommitted(t *testing.T) {
	s := openMemory(t)
	putRecords(t, s, record("ada"))
	err := s.Update(t.Context(), tenant, Origin{}, func(tx *Tx) error {
		r := record("u2")
		r.Terms[1].Value = []byte("ada")
		_ = tx.Put(r) // has counted it, and written its first term
		if err := tx.Put(record("u3")); err == nil {
			t.Error("a void transaction goes on")
		}
		return nil
	})
	var c *ConflictError
	if !errors.As(err, &c) {
		t.Errorf("Update returns %v, want a ConflictError", err)
	}
	wantClean(t, s)
}

// small is an engine whose transactions take so many rows.
func small(rows int) *faulty {
	n := 0
	return &faulty{
		Engine: Memory(),
		begin:  func() { n = 0 },
		set: func(Writer, []byte) error {
			if n++; n > rows {
				return ErrTooLarge
			}
			return nil
		},
	}
}

// large writes so many records, and about as many rows.
func large(name string, records int) func(*Tx) error {
	return func(tx *Tx) error {
		for i := range records {
			if err := tx.Put(Record{Ref: user(fmt.Sprintf("%s-%d", name, i))}); err != nil {
				return err
			}
		}
		return tx.Log(Entry{Op: "create", Ref: user(name)})
	}
}

func TestTooLarge(t *testing.T) {
	for name, c := range map[string]struct {
		engine Engine
		huge   func(*Tx) error
	}{
		"rows":  {small(100), large("huge", 100)},
		"value": {Memory(), func(tx *Tx) error { return tx.Put(Record{Ref: user("huge"), Body: make([]byte, memoryValue)}) }},
	} {
		t.Run(name, func(t *testing.T) {
			s := openOn(t, c.engine, Options{})
			g := closeGate(s)
			first := g.behind(t, s, t.Context(), putUser("u1"))
			huge := g.behind(t, s, t.Context(), c.huge)
			last := g.behind(t, s, t.Context(), putUser("u2"))
			close(g.open)
			wantErr(t, "the first", first, nil)
			wantErr(t, "the one that is too large", huge, ErrTooLarge)
			wantErr(t, "the last", last, nil)
			if got := s.LastSeq(); got != 2 {
				t.Errorf("the journal ends at %d, want 2", got)
			}
			wantRecord(t, s, record("u1"))
			wantRecord(t, s, record("u2"))
			wantClean(t, s)
		})
	}
}

func TestTooLargeTogether(t *testing.T) {
	// Each fits alone, no two do.
	s := openOn(t, small(100), Options{})
	g := closeGate(s)
	const most = 90
	var all []<-chan error
	for i := range 4 {
		all = append(all, g.behind(t, s, t.Context(), large(fmt.Sprintf("l%d", i), most)))
	}
	all = append(all, g.behind(t, s, t.Context(), putUser("u1")))
	close(g.open)
	for _, done := range all {
		wantErr(t, "one that fits alone", done, nil)
	}
	view(t, s, func(tx *Tx) error {
		n, err := tx.Count("User")
		if want := int64(4*most + 1); n != want {
			t.Errorf("there are %d records, want %d", n, want)
		}
		return err
	})
	if got := s.LastSeq(); got != 5 {
		t.Errorf("the journal ends at %d, want 5", got)
	}
	wantClean(t, s)
}

func TestPanicReachesItsCaller(t *testing.T) {
	s := openMemory(t)
	g := closeGate(s)
	first := g.behind(t, s, t.Context(), putUser("u1"))
	n, told := len(s.queue), make(chan any, 1)
	go func() {
		defer func() { told <- recover() }()
		_ = s.Update(t.Context(), tenant, Origin{}, func(tx *Tx) error {
			_ = putUser("u2")(tx)
			panic(errors.New("a bug"))
		})
	}()
	eventually(t, "it is in the queue", func() bool { return len(s.queue) > n })
	last := g.behind(t, s, t.Context(), putUser("u3"))
	close(g.open)
	wantErr(t, "the first", first, nil)
	wantErr(t, "the last", last, nil)
	err, _ := soon(t, "the panic", told).(error)
	if err == nil || !strings.Contains(err.Error(), "a bug") || !strings.Contains(err.Error(), "TestPanicReachesItsCaller") {
		t.Errorf("the caller's panic is %v, want the cause and where it was", err)
	}
	view(t, s, func(tx *Tx) error {
		if has, err := tx.Has("User", "u2"); err != nil || has {
			t.Errorf("what panicked was written: %t, %v", has, err)
		}
		return nil
	})
	wantClean(t, s)
}

func TestPanicTellsNoValues(t *testing.T) {
	s := openMemory(t)
	defer func() {
		if err, _ := recover().(error); err == nil || strings.Contains(err.Error(), "secret") {
			t.Errorf("the panic is %v", err)
		}
	}()
	_ = s.Update(t.Context(), tenant, Origin{}, func(*Tx) error { panic("a secret") })
}

func TestCanceledWhileWaiting(t *testing.T) {
	s := openMemory(t)
	g := closeGate(s)
	ctx, cancel := context.WithCancel(t.Context())
	ran := false
	done := g.behind(t, s, ctx, func(tx *Tx) error { ran = true; return putUser("u1")(tx) })
	other := g.behind(t, s, t.Context(), putUser("u2"))
	cancel()
	wantErr(t, "the canceled one, while the committer is busy", done, context.Canceled)
	close(g.open)
	wantErr(t, "the other", other, nil)
	if ran {
		t.Error("the operation ran although its caller had been told that it did not")
	}
	if got := s.LastSeq(); got != 1 {
		t.Errorf("the journal ends at %d, want 1", got)
	}
}

func TestCanceledTooLate(t *testing.T) {
	s := openMemory(t)
	ctx, cancel := context.WithCancel(t.Context())
	err := s.Update(ctx, tenant, Origin{}, func(tx *Tx) error {
		cancel()
		return putUser("u1")(tx)
	})
	if err != nil {
		t.Errorf("an operation that had begun: %v", err)
	}
	wantRecord(t, s, record("u1"))
}

func TestCanceledWhileTheQueueIsFull(t *testing.T) {
	s := openMemory(t)
	g := closeGate(s)
	var wg sync.WaitGroup
	for range queueLen {
		wg.Go(func() { _ = s.Update(context.Background(), tenant, Origin{}, func(*Tx) error { return nil }) })
	}
	eventually(t, "the queue is full", func() bool { return len(s.queue) == queueLen })
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Update(ctx, tenant, Origin{}, putUser("u1")) }()
	cancel()
	wantErr(t, "one that does not even get into the queue", done, context.Canceled)
	close(g.open)
	wg.Wait()
	if got := s.LastSeq(); got != 0 {
		t.Errorf("the journal ends at %d, want 0", got)
	}
}

func TestCloseDoesWhatWaits(t *testing.T) {
	e := Memory()
	s, err := Open(t.Context(), e, Options{})
	if err != nil {
		t.Fatal(err)
	}
	g := closeGate(s)
	var all []<-chan error
	for i := range 10 {
		all = append(all, g.behind(t, s, t.Context(), putUser(fmt.Sprint("u", i))))
	}
	closed := make(chan error, 1)
	go func() { closed <- s.Close() }()
	eventually(t, "the store refuses new operations", func() bool {
		return errors.Is(s.View(t.Context(), tenant, func(*Tx) error { return nil }), ErrClosed)
	})
	wantErr(t, "an operation after Close", g.behindClosed(s), ErrClosed)
	close(g.open)
	for _, done := range all {
		wantErr(t, "an operation before Close", done, nil)
	}
	wantErr(t, "Close", closed, nil)
	if err := e.View(t.Context(), func(Reader) error { return nil }); !errors.Is(err, ErrClosed) {
		t.Errorf("the engine is not closed: %v", err)
	}
	if err := s.Close(); err != nil {
		t.Errorf("a second Close: %v", err)
	}
}

func (g *gate) behindClosed(s *Store) <-chan error {
	done := make(chan error, 1)
	go func() { done <- s.Update(context.Background(), tenant, Origin{}, putUser("late")) }()
	return done
}

func TestCloseWaitsForViews(t *testing.T) {
	s, err := Open(t.Context(), Memory(), Options{})
	if err != nil {
		t.Fatal(err)
	}
	inside, leave := make(chan struct{}), make(chan struct{})
	viewed, closed := make(chan error, 1), make(chan error, 1)
	go func() {
		viewed <- s.View(context.Background(), tenant, func(tx *Tx) error {
			close(inside)
			<-leave
			_, err := tx.Count("User")
			return err
		})
	}()
	<-inside
	go func() { closed <- s.Close() }()
	eventually(t, "the store refuses new readers", func() bool {
		return errors.Is(s.View(t.Context(), tenant, func(*Tx) error { return nil }), ErrClosed)
	})
	select {
	case <-closed:
		t.Error("Close does not wait for a reader")
	default:
	}
	close(leave)
	wantErr(t, "the reader", viewed, nil)
	wantErr(t, "Close", closed, nil)
}

func TestUnknownOutcomeEndsTheStore(t *testing.T) {
	e := &faulty{Engine: Memory()}
	s := openOn(t, e, Options{})
	putRecords(t, s, record("ada"))
	g := closeGate(s)
	first := g.behind(t, s, t.Context(), putUser("u1"))
	refused := g.behind(t, s, t.Context(), putUser("u1-again")) // refused because of the first, which may never have been
	e.after = func() error { return fmt.Errorf("%w: the disk is gone", ErrUnknownOutcome) }
	ada := func(tx *Tx) error { return tx.Delete("User", "nobody") }
	missing := g.behind(t, s, t.Context(), ada)
	close(g.open)
	wantErr(t, "the first", first, ErrUnknownOutcome)
	wantErr(t, "one of the same commit", refused, ErrUnknownOutcome)
	wantErr(t, "one that was refused on the grounds of that commit", missing, ErrUnknownOutcome)
	e.after = nil

	soon(t, "whoever runs the store is told", s.Failed())
	check := func(what string, err error) {
		t.Helper()
		if !errors.Is(err, ErrClosed) || !strings.Contains(err.Error(), "the disk is gone") || !strings.Contains(err.Error(), "restart") {
			t.Errorf("%s afterwards: %v, want ErrClosed with the cause and what to do", what, err)
		}
	}
	ctx := t.Context()
	check("Update", s.Update(ctx, tenant, Origin{}, putUser("u2")))
	check("View", s.View(ctx, tenant, func(*Tx) error { return nil }))
	_, err := s.Journal(ctx, 0, 1)
	check("Journal", err)
	_, err = s.Stats(ctx)
	check("Stats", err)
	_, err = s.Check(ctx, CheckOptions{})
	check("Check", err)
	if got := s.LastSeq(); got != 1 {
		t.Errorf("LastSeq is %d, want 1: only what is known to be durable", got)
	}
}

func TestFailedCommitThatWroteNothing(t *testing.T) {
	e := &faulty{Engine: Memory()}
	s := openOn(t, e, Options{})
	full := errors.New("no space")
	e.commit = func() error { return full }
	if err := s.Update(t.Context(), tenant, Origin{}, putUser("u1")); !errors.Is(err, full) {
		t.Errorf("Update returns %v, want the commit's error", err)
	}
	e.commit = nil
	if err := s.Update(t.Context(), tenant, Origin{}, putUser("u1")); err != nil { // it goes on
		t.Error(err)
	}
	if got := s.LastSeq(); got != 1 {
		t.Errorf("the journal ends at %d, want 1", got)
	}
	wantClean(t, s)
}

func TestFailedSet(t *testing.T) {
	for _, key := range []string{string(commitKey), string(recordKey(user("u1")))} {
		e := &faulty{Engine: Memory()}
		s := openOn(t, e, Options{})
		broken := errors.New("broken")
		e.set = func(_ Writer, k []byte) error {
			if string(k) == key {
				return broken
			}
			return nil
		}
		if err := s.Update(t.Context(), tenant, Origin{}, putUser("u1")); !errors.Is(err, broken) {
			t.Errorf("%q: Update returns %v, want the engine's error", key, err)
		}
		e.set = nil
		if err := s.Update(t.Context(), tenant, Origin{}, putUser("u1")); err != nil {
			t.Error(err)
		}
		wantClean(t, s)
	}
}

func TestNothingToWrite(t *testing.T) {
	e := Memory()
	s := openOn(t, e, Options{})
	putRecords(t, s, record("ada"))
	before := dump(t, e)
	update(t, s, func(tx *Tx) error {
		_, err := tx.Get("User", "ada")
		return err
	})
	if after := dump(t, e); fmt.Sprint(after) != fmt.Sprint(before) {
		t.Error("an operation that writes nothing has written something")
	}
}

func TestAnswersAfterTheCommit(t *testing.T) {
	// However long a commit takes, nobody is answered before the engine has returned from it.
	synctest.Test(t, func(t *testing.T) {
		const long = time.Minute
		e := &faulty{Engine: Memory()}
		s, err := Open(t.Context(), e, Options{})
		if err != nil {
			t.Fatal(err)
		}
		defer closeStore(t, s)
		for name, slow := range map[string]*func() error{"before it is durable": &e.commit, "while it becomes so": &e.after} {
			*slow = func() error { time.Sleep(long); return nil }
			begun := time.Now()
			update(t, s, putUser(name))
			if d := time.Since(begun); d < long {
				t.Errorf("%s: answered after %v of %v", name, d, long)
			}
			*slow = nil
		}
	})
	// Whoever was answered can read what was written, and LastSeq is not announced before.
	s := openMemory(t)
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for j := range 50 {
				id := fmt.Sprintf("u%d-%d", i, j)
				if err := s.Update(t.Context(), tenant, Origin{}, putUser(id)); err != nil {
					t.Error(err)
					return
				}
				seq := s.LastSeq()
				err := s.View(t.Context(), tenant, func(tx *Tx) error {
					_, err := tx.Get("User", id)
					return err
				})
				if err != nil {
					t.Errorf("%s was acknowledged: %v", id, err)
				}
				l, err := s.Journal(t.Context(), seq-1, 1)
				if err != nil || len(l) != 1 || l[0].Seq != seq {
					t.Errorf("LastSeq says %d, and the journal has %+v, %v", seq, l, err)
				}
			}
		})
	}
	wg.Wait()
}

func TestBeginError(t *testing.T) {
	s, err := Open(t.Context(), Memory(), Options{})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.engine.Close(); err != nil {
		t.Fatal(err)
	}
	if err := s.Update(t.Context(), tenant, Origin{}, putUser("u1")); !errors.Is(err, ErrClosed) {
		t.Errorf("Update on a closed engine: %v", err)
	}
	closeStore(t, s)
}

func TestUpdateRefuses(t *testing.T) {
	s := openMemory(t)
	for _, bad := range []string{"", "a\x00b", strings.Repeat("x", maxPart+1)} {
		if err := s.Update(t.Context(), bad, Origin{}, func(*Tx) error { return nil }); err == nil {
			t.Errorf("tenant %.10q is taken", bad)
		}
	}
}

// What was submitted is done in the order in which it was submitted, and each has its own outcome.
func TestSubmit(t *testing.T) {
	s := openMemory(t)
	refused := errors.New("no")
	var outcomes []func() error
	for i := range 300 {
		outcomes = append(outcomes, s.Submit(t.Context(), tenant, Origin{}, func(tx *Tx) error {
			if i%10 == 9 {
				return refused
			}
			return tx.Log(Entry{Op: "create", Ref: user(fmt.Sprint(i))})
		}))
	}
	for i, outcome := range outcomes {
		if err := outcome(); (i%10 == 9) != errors.Is(err, refused) || i%10 != 9 && err != nil {
			t.Errorf("%d: %v", i, err)
		}
	}
	entries, err := s.Journal(t.Context(), 0, 1000)
	if err != nil || len(entries) != 270 {
		t.Fatalf("%d entries, %v", len(entries), err)
	}
	last := -1
	for _, e := range entries {
		n, err := strconv.Atoi(e.Ref.ID)
		if err != nil || n <= last {
			t.Errorf("%s comes behind %d", e.Ref.ID, last)
		}
		last = n
	}
	if err := s.Submit(t.Context(), "", Origin{}, func(*Tx) error { return nil })(); err == nil {
		t.Error("a tenant without a name can be written")
	}
	outcome := s.Submit(t.Context(), tenant, Origin{}, func(*Tx) error { panic("x") })
	func() {
		defer func() {
			if recover() == nil {
				t.Error("a panic did not come out of the outcome")
			}
		}()
		_ = outcome()
	}()
}
