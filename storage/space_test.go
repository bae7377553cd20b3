package storage

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
)

// disk is how much room a test says that there is.
type disk struct {
	free atomic.Int64
	err  atomic.Pointer[error]
}

func (d *disk) look(string) (int64, error) {
	if err := d.err.Load(); err != nil {
		return 0, *err
	}
	return d.free.Load(), nil
}

func openOnDisk(t *testing.T, dir string, d *disk, log *slog.Logger) (*Store, error) {
	t.Helper()
	return OpenDir(t.Context(), dir, Options{MinFree: 800 << 20, FreeSpace: d.look, Logger: log})
}

func TestSpace(t *testing.T) {
	dir, d := t.TempDir(), new(disk)
	var said strings.Builder
	log := slog.New(slog.NewTextHandler(&said, nil))
	d.free.Store(799 << 20)
	_, err := openOnDisk(t, dir, d, log)
	var short *SpaceError
	if !errors.As(err, &short) || short.Free != 799<<20 || short.Need != 800<<20 || short.Dir != dir {
		t.Fatalf("opening on a full disk: %v", err)
	}
	if len(tree(t, dir)) != 0 {
		t.Error("a refused start has left something")
	}
	d.free.Store(800 << 20)
	s, err := openOnDisk(t, dir, d, log)
	if err != nil {
		t.Fatal(err)
	}
	putRecords(t, s, record("a"))
	before := s.LastSeq()
	d.free.Store(799 << 20)
	write := func(id string) error {
		return s.Update(t.Context(), tenant, Origin{}, func(tx *Tx) error {
			return tx.Put(Record{Ref: user(id), Stamp: tx.Stamp(Stamp{})})
		})
	}
	for range 3 {
		if err := write("b"); !errors.As(err, &short) || !errors.Is(err, ErrReadOnly) {
			t.Fatalf("writing on a full disk: %v", err)
		}
	}
	if s.ReadOnly() == nil || s.LastSeq() != before {
		t.Error("the store does not say that it takes no changes, or took one")
	}
	wantRecord(t, s, record("a"))
	wantClean(t, s)
	d.free.Store(899 << 20) // enough, and not by as much as it takes to go back
	if err := write("b"); !errors.Is(err, ErrReadOnly) {
		t.Errorf("at the limit: %v", err)
	}
	d.free.Store(900 << 20)
	if err := write("b"); err != nil || s.ReadOnly() != nil {
		t.Errorf("with room again: %v, %v", err, s.ReadOnly())
	}
	if n := strings.Count(said.String(), "almost full"); n != 1 {
		t.Errorf("it is told %d times that the disk is full:\n%s", n, &said)
	}
	if n := strings.Count(said.String(), "room on the disk again"); n != 1 {
		t.Errorf("it is told %d times that there is room:\n%s", n, &said)
	}
	// Whether it can end in order, too, is asked of a real disk: TestFullDisk.
	closeStore(t, s)
	d.free.Store(1000 << 20)
	if s, err = openOnDisk(t, dir, d, log); err != nil {
		t.Fatal(err)
	}
	closeStore(t, s)
}

// What must not wait is done out of what is kept free, and takes nobody along who waits beside it.
func TestUrgentOnAFullDisk(t *testing.T) {
	d := new(disk)
	d.free.Store(1 << 40)
	var said strings.Builder
	s, err := openOnDisk(t, t.TempDir(), d, slog.New(slog.NewTextHandler(&said, nil)))
	if err != nil {
		t.Fatal(err)
	}
	putRecords(t, s, record("a"))
	change := func(id string, by func(context.Context, string, Origin, func(*Tx) error) error) error {
		return by(t.Context(), tenant, Origin{}, func(tx *Tx) error {
			r := Ref{tenant, "User", id}
			return errors.Join(tx.Put(Record{Ref: r, Stamp: tx.Stamp(Stamp{})}), tx.Log(Entry{Op: "create", Ref: r}))
		})
	}
	for _, free := range []int64{799 << 20, 0} {
		d.free.Store(free)
		if err := change("b", s.Update); !errors.Is(err, ErrReadOnly) {
			t.Errorf("%d free: a change that can wait: %v", free, err)
		}
		before := s.LastSeq()
		if err := change("c", s.UpdateUrgently); err != nil || s.LastSeq() != before+1 {
			t.Errorf("%d free: a change that cannot wait: %v, from change %d to %d", free, err, before, s.LastSeq())
		}
	}
	// In one batch.
	answers := make(chan error, 2)
	ops := make([]*operation, 0, 3)
	for _, urgent := range []bool{false, true, false} {
		ops = append(ops, &operation{tenant: tenant, urgent: urgent, done: answers, fn: func(tx *Tx) error { t.Error("it is run"); return nil }})
	}
	if left := s.admit(ops); len(left) != 1 || !left[0].urgent || len(answers) != 2 {
		t.Errorf("of three %d are left and %d answered", len(left), len(answers))
	}
	wantRecord(t, s, record("a"))
	wantClean(t, s)
	if s.ReadOnly() == nil || strings.Contains(said.String(), "room on the disk again") {
		t.Errorf("the store takes itself for writable:\n%s", &said)
	}
	d.free.Store(1 << 40)
	closeStore(t, s)
}

// What the system does not tell is no reason to refuse anything.
func TestSpaceUnknown(t *testing.T) {
	d := new(disk)
	failed := errors.New("no such call")
	d.err.Store(&failed)
	s, err := openOnDisk(t, t.TempDir(), d, nil)
	if err != nil {
		t.Fatal(err)
	}
	putRecords(t, s, record("a"), record("b"))
	if _, _, ok := s.Free(); ok || s.ReadOnly() != nil {
		t.Error("nobody knows, and the store does")
	}
	closeStore(t, s)
}

// Without a change to refuse, the store finds out by itself, in either direction.
func TestSpaceIsWatched(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := new(disk)
		d.free.Store(1000)
		s := newStore(Memory(), Options{MinFree: 800, FreeSpace: d.look}.withDefaults())
		s.space = newSpace("data", Options{MinFree: 800, FreeSpace: d.look}.withDefaults())
		if err := s.writeFormat(context.Background()); err != nil {
			t.Fatal(err)
		}
		s.start()
		for _, step := range []struct {
			free  int64
			short bool
		}{{799, true}, {850, true}, {1000, false}, {800, false}, {0, true}} {
			d.free.Store(step.free)
			passTime(2 * spaceEvery)
			if got := s.ReadOnly() != nil; got != step.short {
				t.Errorf("%d free: read-only is %v", step.free, got)
			}
		}
		closeStore(t, s)
	})
}

// The system's own figure, of the disk that the tests run on.
func TestFreeSpace(t *testing.T) {
	dir := t.TempDir()
	n, err := freeSpace(dir)
	if err != nil || n <= 0 {
		t.Fatalf("%d, %v", n, err)
	}
	if _, err := freeSpace(dir + "/nothing"); err == nil {
		t.Error("a directory that is not there has room")
	}
}
