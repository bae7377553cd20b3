package storage

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"os"
	"path/filepath"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	if dir := os.Getenv(crashChild); dir != "" {
		crashUntilKilled(dir)
	}
	if dir := os.Getenv(openChild); dir != "" {
		openAndTell(dir)
	}
	goleak.VerifyTestMain(m,
		// Badger leaves these behind where it refuses to open.
		goleak.IgnoreTopFunction("github.com/dgraph-io/badger/v4.(*DB).monitorCache"),
		goleak.IgnoreTopFunction("github.com/dgraph-io/ristretto/v2/z.(*AllocatorPool).freeupAllocators"))
}

const tenant = "acme"

func user(id string) Ref  { return Ref{tenant, "User", id} }
func group(id string) Ref { return Ref{tenant, "Group", id} }

func openMemory(t *testing.T) *Store { t.Helper(); return openOn(t, Memory(), Options{}) }

// openOn opens a store on an engine, to be closed when the test ends.
func openOn(t *testing.T, e Engine, o Options) *Store {
	t.Helper()
	s, err := Open(t.Context(), e, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	})
	return s
}

// openAt opens a data directory. The caller closes it.
func openAt(t *testing.T, dir string) *Store {
	t.Helper()
	s, err := OpenDir(t.Context(), dir, Options{})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func closeStore(t *testing.T, s *Store) {
	t.Helper()
	if err := s.Close(); err != nil {
		t.Fatalf("Close: %v", err)
	}
}

func update(t *testing.T, s *Store, fn func(*Tx) error) {
	t.Helper()
	if err := s.Update(t.Context(), tenant, Origin{}, fn); err != nil {
		t.Fatal(err)
	}
}

func view(t *testing.T, s *Store, fn func(*Tx) error) {
	t.Helper()
	if err := s.View(t.Context(), tenant, fn); err != nil {
		t.Fatal(err)
	}
}

// record makes a user with the terms that users have.
func record(id string) Record {
	return Record{Ref: user(id), Body: []byte("body of " + id), Terms: []Term{
		{Field: "name", Value: []byte("name of " + id)},
		{Field: "username", Value: []byte(id), Unique: true},
	}}
}

func putRecords(t *testing.T, s *Store, recs ...Record) {
	t.Helper()
	update(t, s, func(tx *Tx) error {
		for _, r := range recs {
			r.Stamp = tx.Stamp(Stamp{})
			if err := tx.Put(r); err != nil {
				return err
			}
			if err := tx.Log(Entry{Op: "create", Ref: r.Ref}); err != nil {
				return err
			}
		}
		return nil
	})
}

// wantRecord looks whether a record is there with all of its terms.
func wantRecord(t *testing.T, s *Store, want Record) {
	t.Helper()
	view(t, s, func(tx *Tx) error {
		got, err := tx.Get(want.Kind, want.ID)
		if err != nil {
			t.Errorf("%v: %v", want.Ref, err)
			return nil
		}
		if string(got.Body) != string(want.Body) || len(got.Terms) != len(want.Terms) {
			t.Errorf("%v is %+v, want %+v", want.Ref, got, want)
		}
		for _, term := range want.Terms {
			var err error
			id := ""
			if term.Unique {
				id, err = tx.Unique(want.Kind, term.Field, term.Value)
			} else {
				for hit, e := range tx.Find(want.Kind, term.Field, Exactly(term.Value)) {
					if err = e; hit.ID == want.ID {
						id = hit.ID
					}
				}
			}
			if err != nil || id != want.ID {
				t.Errorf("%v is not found by %s %q: %q, %v", want.Ref, term.Field, term.Value, id, err)
			}
		}
		return nil
	})
}

// wantClean looks whether Check is silent.
func wantClean(t *testing.T, s *Store) {
	t.Helper()
	for _, f := range check(t, s, false) {
		t.Errorf("Check: %s: %s: %s", f.Kind, f.Where, f.Text)
	}
}

func check(t *testing.T, s *Store, repair bool) []Finding {
	t.Helper()
	r, err := s.Check(t.Context(), CheckOptions{Repair: repair})
	if err != nil {
		t.Fatal(err)
	}
	return r.Findings
}

func ids(t *testing.T, seq iter.Seq2[Link, error], end func(Link) Ref) []string {
	t.Helper()
	var l []string
	for link, err := range seq {
		if err != nil {
			t.Fatal(err)
		}
		l = append(l, end(link).ID)
	}
	return l
}

func toIDs(t *testing.T, seq iter.Seq2[Link, error]) []string {
	return ids(t, seq, func(l Link) Ref { return l.To })
}

func fromIDs(t *testing.T, seq iter.Seq2[Link, error]) []string {
	return ids(t, seq, func(l Link) Ref { return l.From })
}

// dump returns all rows of an engine.
func dump(t *testing.T, e Engine) map[string]string {
	t.Helper()
	rows := map[string]string{}
	err := e.View(t.Context(), func(r Reader) error {
		for it, err := range r.Scan(Range{}) {
			if err != nil {
				return err
			}
			rows[string(it.Key)] = string(it.Value)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return rows
}

// faulty is an engine that does what it is told to do wrong.
type faulty struct {
	Engine
	updates atomic.Int64
	begin   func()                         // before an Update
	set     func(w Writer, k []byte) error // before a Set; nil to go on
	commit  func() error                   // before a commit; an error of it stands for the commit's
	after   func() error                   // after a commit
}

func (e *faulty) Update(ctx context.Context, fn func(Writer) error) error {
	e.updates.Add(1)
	if e.begin != nil {
		e.begin()
	}
	err := e.Engine.Update(ctx, func(w Writer) error {
		if err := fn(&faultyWriter{w, e}); err != nil {
			return err
		}
		if e.commit != nil {
			return e.commit()
		}
		return nil
	})
	if err == nil && e.after != nil {
		return e.after()
	}
	return err
}

type faultyWriter struct {
	Writer
	e *faulty
}

func (w *faultyWriter) Set(key, value []byte) error {
	if w.e.set != nil {
		if err := w.e.set(w.Writer, key); err != nil {
			return err
		}
	}
	return w.Writer.Set(key, value)
}

// soon returns when c is closed or has sent, and ends the test if that takes too long.
func soon[T any](t *testing.T, what string, c <-chan T) (v T) {
	t.Helper()
	select {
	case v = <-c:
	case <-time.After(20 * time.Second):
		t.Fatalf("waited for too long: %s", what)
	}
	return v
}

// eventually asks again until yes says yes. Between two questions it does a commit's worth of waiting and no sleeping.
func eventually(t *testing.T, what string, yes func() bool) {
	t.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	deadline := time.After(20 * time.Second)
	for !yes() {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("waited for too long: %s", what)
		}
	}
}

// copyDir copies a directory as it is at the moment.
func copyDir(t testing.TB, from string) string {
	t.Helper()
	to := t.TempDir()
	err := filepath.WalkDir(from, func(path string, d os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name, err := filepath.Rel(from, path)
		switch {
		case err != nil, name == ".":
			return err
		case d.IsDir():
			return os.Mkdir(filepath.Join(to, name), 0o700)
		}
		// The seal may be about to be replaced.
		if err := copySparse(filepath.Join(to, name), path); !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return to
}

// tree returns the names and contents of the files below a directory.
func tree(t *testing.T, dir string) map[string]string {
	t.Helper()
	files := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := os.ReadFile(path)
		name, _ := filepath.Rel(dir, path)
		files[name] = string(b)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

func names(l []Finding) []string {
	var s []string
	for _, f := range l {
		s = append(s, fmt.Sprintf("%s: %s: %s", f.Kind, f.Where, f.Text))
	}
	slices.Sort(s)
	return s
}

func isLost(err error) bool {
	var e *LostDataError
	return errors.As(err, &e)
}

func isDamage(err error) bool {
	var e *DamageError
	return errors.As(err, &e)
}

// plant writes a row past the store.
func plant(t *testing.T, e Engine, key, value string) {
	t.Helper()
	err := e.Update(t.Context(), func(w Writer) error { return w.Set([]byte(key), []byte(value)) })
	if err != nil {
		t.Fatal(err)
	}
}

// uproot deletes a row past the store.
func uproot(t *testing.T, e Engine, key string) {
	t.Helper()
	if err := e.Update(t.Context(), func(w Writer) error { return w.Delete([]byte(key)) }); err != nil {
		t.Fatal(err)
	}
}

// passTime lets the time of a synctest bubble pass, and whatever is due in it happen.
func passTime(d time.Duration) {
	time.Sleep(d) // of the bubble's clock: nobody waits
	synctest.Wait()
}
