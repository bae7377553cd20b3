package storage

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// openKeeping opens a store that keeps some of its journal, on the clock of a synctest bubble.
func openKeeping(t *testing.T, e Engine, keep Retention) *Store {
	t.Helper()
	s, err := Open(context.Background(), e, Options{Journal: keep})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// log writes n journal rows, each in a transaction of its own, together with records that the sequence is the version of.
func logMany(t *testing.T, s *Store, n int) {
	t.Helper()
	for range n {
		err := s.Update(context.Background(), tenant, Origin{Actor: "somebody"}, func(tx *Tx) error {
			r := Record{Ref: user("changing")}
			old, err := tx.Get(r.Kind, r.ID)
			if err != nil && !errors.Is(err, ErrNotFound) {
				return err
			}
			r.Stamp = tx.Stamp(old.Stamp)
			if r.Version <= old.Version {
				return fmt.Errorf("version %d follows %d", r.Version, old.Version)
			}
			return errors.Join(tx.Put(r), tx.Log(Entry{Op: "patch", Ref: r.Ref, Detail: []byte(`{"what":"something"}`)}))
		})
		if err != nil {
			t.Fatal(err)
		}
	}
}

// wantJournal looks whether the journal goes from first to last without a gap, and says so where somebody asks for more.
func wantJournal(t *testing.T, s *Store, first, last uint64) {
	t.Helper()
	if got, err := s.FirstSeq(context.Background()); err != nil || got != first {
		t.Errorf("the journal begins with %d, %v; want %d", got, err, first)
	}
	if got := s.LastSeq(); got != last {
		t.Errorf("it ends with %d, want %d", got, last)
	}
	next := first
	for {
		l, err := s.Journal(context.Background(), next-1, 100)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range l {
			if e.Seq != next {
				t.Fatalf("behind %d comes %d", next-1, e.Seq)
			}
			next++
		}
		if len(l) == 0 {
			break
		}
	}
	if next != last+1 {
		t.Errorf("the last row that can be read is %d, want %d", next-1, last)
	}
	for _, after := range []uint64{0, first - 2} {
		if first == 1 {
			break
		}
		var gone *TrimmedError
		if _, err := s.Journal(context.Background(), after, 1); !errors.As(err, &gone) || gone.First != first {
			t.Errorf("Journal(%d): %v", after, err)
		}
	}
	report, err := s.Check(context.Background(), CheckOptions{})
	if err != nil || len(report.Findings) > 0 {
		t.Errorf("Check: %v %+v", err, report)
	}
}

func TestTrimByAge(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := openKeeping(t, Memory(), Retention{Keep: 24 * time.Hour})
		logMany(t, s, 1200)
		passTime(23 * time.Hour)
		logMany(t, s, 300)
		wantJournal(t, s, 1, 1500)
		passTime(time.Hour + 2*trimEvery)
		wantJournal(t, s, 1201, 1500)
		// All of it is too old; the last row stays all the same, because the next one is numbered by it.
		passTime(100 * 24 * time.Hour)
		wantJournal(t, s, 1500, 1500)
		logMany(t, s, 1)
		passTime(2 * trimEvery)
		wantJournal(t, s, 1501, 1501)
		logMany(t, s, 2)
		wantJournal(t, s, 1501, 1503)
		closeStore(t, s)
	})
}

// A clock that was set back makes nothing old, and the rows behind one that looks young are kept.
func TestTrimWithAClockSetBack(t *testing.T) {
	var now atomic.Int64
	day := int64(24 * time.Hour)
	now.Store(100 * day)
	s := openOn(t, Memory(), Options{Clock: func() time.Time { return time.Unix(0, now.Load()) }})
	s.keep.Keep = 10 * 24 * time.Hour
	logMany(t, s, 5)
	now.Store(50 * day)
	logMany(t, s, 5)
	if err := s.trim(t.Context()); err != nil {
		t.Fatal(err)
	}
	wantJournal(t, s, 1, 10)
	now.Store(105 * day)
	logMany(t, s, 1)
	if err := s.trim(t.Context()); err != nil {
		t.Fatal(err)
	}
	wantJournal(t, s, 1, 11)
	now.Store(111 * day)
	if err := s.trim(t.Context()); err != nil {
		t.Fatal(err)
	}
	wantJournal(t, s, 11, 11)
}

// journalBytes is what the journal takes, counted by a test.
func journalBytes(t *testing.T, e Engine) (n int64) {
	t.Helper()
	for k, v := range dump(t, e) {
		if k[0] == familyJournal {
			n += int64(len(k) + len(v))
		}
	}
	return n
}

func TestTrimBySize(t *testing.T) {
	const most = 50_000
	synctest.Test(t, func(t *testing.T) {
		e := Memory()
		s := openKeeping(t, e, Retention{MaxSize: most})
		logMany(t, s, 3000)
		row := journalBytes(t, e) / 3000
		for range 3 {
			passTime(2 * trimEvery)
			if n := journalBytes(t, e); n > most || n < most-2*row {
				t.Errorf("the journal takes %d bytes, may take %d", n, most)
			}
			first, err := s.FirstSeq(context.Background())
			if err != nil {
				t.Fatal(err)
			}
			wantJournal(t, s, first, s.LastSeq())
			logMany(t, s, 700)
		}
		closeStore(t, s)
	})
}

// A store that is opened again, after a stop or a crash, goes on where it was: sequences are not used twice, and the seal finds
// nothing missing. What the journal takes is counted anew.
func TestTrimmedThenOpened(t *testing.T) {
	dir := t.TempDir()
	s := openAt(t, dir)
	logMany(t, s, 30)
	closeStore(t, s)
	keep := Options{Journal: Retention{MaxSize: 1}}
	s, err := OpenDir(t.Context(), dir, keep)
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "the journal is trimmed", func() bool { first, _ := s.FirstSeq(t.Context()); return first == 30 })
	left := copyDir(t, dir) // as a crash leaves it
	closeStore(t, s)
	for _, dir := range []string{dir, left} {
		s := openAt(t, dir)
		wantJournal(t, s, 30, 30)
		logMany(t, s, 1)
		wantJournal(t, s, 30, 31)
		view(t, s, func(tx *Tx) error {
			if r, err := tx.Get("User", "changing"); err != nil || r.Version != 31 {
				t.Errorf("the version is %d, %v", r.Version, err)
			}
			return nil
		})
		closeStore(t, s)
	}
}

// pieces is an engine that knows how many rows the largest transaction has deleted.
type pieces struct {
	Engine
	most atomic.Int64
}

func (e *pieces) Update(ctx context.Context, fn func(Writer) error) error {
	return e.Engine.Update(ctx, func(w Writer) error {
		p := &countedDeletes{Writer: w}
		err := fn(p)
		e.most.Store(max(e.most.Load(), p.n))
		return err
	})
}

type countedDeletes struct {
	Writer
	n int64
}

func (w *countedDeletes) Delete(key []byte) error {
	w.n++
	return w.Writer.Delete(key)
}

// The journal goes in pieces, between the changes of others, who write all the while.
func TestTrimInPieces(t *testing.T) {
	e := &pieces{Engine: Memory()}
	s := openOn(t, e, Options{})
	logMany(t, s, 6*trimPiece)
	s.keep.MaxSize = 1
	done := make(chan error, 1)
	go func() { done <- s.trim(t.Context()) }()
	written := 0
	for ended := false; !ended; written++ {
		select {
		case err := <-done:
			if err != nil {
				t.Fatal(err)
			}
			ended = true
		default:
			logMany(t, s, 1)
		}
	}
	if e.most.Load() > trimPiece {
		t.Errorf("%d rows went at once, want at most %d", e.most.Load(), trimPiece)
	}
	if err := s.trim(t.Context()); err != nil {
		t.Fatal(err)
	}
	wantJournal(t, s, s.LastSeq(), s.LastSeq())
	if written < 2 {
		t.Errorf("%d changes were made meanwhile", written)
	}
}

// What is damaged in the journal goes with the rows around it, and keeps nothing else.
func TestTrimDamagedRows(t *testing.T) {
	e := Memory()
	s := openOn(t, e, Options{})
	logMany(t, s, 10)
	for _, seq := range []uint64{1, 4, 10} {
		plant(t, e, string(journalKey(seq)), "not a row")
	}
	s.keep.Keep = time.Nanosecond
	if err := s.trim(t.Context()); err != nil {
		t.Fatal(err)
	}
	if first, err := s.FirstSeq(t.Context()); err != nil || first != 10 {
		t.Errorf("it begins with %d, %v", first, err)
	}
	logMany(t, s, 1)
	s.keep = Retention{MaxSize: 1}
	if err := s.trim(t.Context()); err != nil {
		t.Fatal(err)
	}
	wantJournal(t, s, 11, 11)
}

// A journal that has lost its beginning is not taken for one that was trimmed.
func TestCheckTrimmedJournal(t *testing.T) {
	e := Memory()
	s := openOn(t, e, Options{})
	logMany(t, s, 10)
	s.keep.MaxSize = journalBytes(t, e) / 2
	if err := s.trim(t.Context()); err != nil {
		t.Fatal(err)
	}
	first, err := s.FirstSeq(t.Context())
	if err != nil || first < 4 || first > 7 {
		t.Fatalf("it begins with %d, %v", first, err)
	}
	whole := dump(t, e)
	uproot(t, e, string(journalKey(first)))
	if found := names(check(t, s, false)); len(found) != 1 || !strings.Contains(found[0], fmt.Sprintf("should be %d", first)) {
		t.Errorf("without its first row: %q", found)
	}
	plant(t, e, string(journalKey(first)), whole[string(journalKey(first))])
	plant(t, e, string(journalFirstKey), "not a number")
	if _, err := s.Journal(t.Context(), 0, 1); !isDamage(err) {
		t.Errorf("without knowing where it begins: %v", err)
	}
	if found := check(t, s, true); len(found) != 1 || !found[0].Repaired {
		t.Errorf("without knowing where it begins: %+v", found)
	}
	wantJournal(t, s, first, 10)
}

// Whoever follows the journal and is slow is told where to go on.
func TestFollowTrimmedJournal(t *testing.T) {
	s := openMemory(t)
	s.keep.MaxSize = 1000
	at, seen := uint64(0), 0
	for range 20 {
		logMany(t, s, 50)
		if err := s.trim(t.Context()); err != nil {
			t.Fatal(err)
		}
		l, err := s.Journal(t.Context(), at, 7)
		var gone *TrimmedError
		if errors.As(err, &gone) {
			if gone.First <= at+1 {
				t.Fatalf("behind %d it begins with %d", at, gone.First)
			}
			l, err = s.Journal(t.Context(), gone.First-1, 7)
			at = gone.First - 1
		}
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range l {
			if e.Seq != at+1 {
				t.Fatalf("behind %d comes %d", at, e.Seq)
			}
			at++
			seen++
		}
	}
	if seen < 50 {
		t.Errorf("%d rows were seen", seen)
	}
}
