package storage

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

func TestBadgerOptions(t *testing.T) {
	// What the promises of the package rest on, and what no test of a process that is killed would notice.
	o := badgerOptions("dir", nil)
	if !o.SyncWrites {
		t.Error("commits are not synced: a loss of power takes what was acknowledged")
	}
	if o.ValueThreshold <= maxBadgerValue {
		t.Errorf("values of %d bytes go to the value log, which has no checksums", o.ValueThreshold)
	}
}

func TestViewOutlivesMerging(t *testing.T) {
	// A reader keeps its snapshot while what it reads is overwritten so often that the engine merges its tables and forgets old
	// versions; but not those.
	small := badgerOptions(t.TempDir(), nil).WithMemTableSize(1 << 20).WithValueThreshold(100 << 10).WithNumLevelZeroTables(1)
	e, err := openBadgerWith(small, "")
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	const size = 64 << 10
	set := func(i int) {
		t.Helper()
		value := bytes.Repeat([]byte{byte(i)}, size)
		err := e.Update(t.Context(), func(w Writer) error {
			return errors.Join(w.Set(fmt.Appendf(nil, "row %d", i%4), value), w.Set([]byte("first"), fmt.Append(nil, i)))
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	set(0)
	err = e.View(t.Context(), func(old Reader) error {
		for i := 1; i < 100; i++ {
			set(i)
		}
		eventually(t, "tables were merged", func() bool {
			for _, info := range e.db.Tables() {
				if info.Level > 0 {
					return true
				}
			}
			return false
		})
		if v, err := old.Get([]byte("first")); err != nil || string(v) != "0" {
			t.Errorf("the reader sees %q, %v, want 0", v, err)
		}
		if _, err := old.Get([]byte("row 1")); !errors.Is(err, ErrNotFound) {
			t.Errorf("the reader sees a row that was set later: %v", err)
		}
		for it, err := range old.Scan(Range{Start: []byte("row")}) {
			if err != nil || string(it.Key) != "row 0" || len(it.Value) != size || it.Value[0] != 0 {
				t.Errorf("the reader's scan yields %q of %d bytes, %v", it.Key, len(it.Value), err)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(e.readers) != 0 {
		t.Errorf("after all have gone, %v read", e.readers)
	}
	set(100)
	if got, want := e.db.MaxVersion(), e.last; got != want {
		t.Errorf("the engine shows commit %d and has %d", want, got)
	}
}

func TestEngineGoesOnWithItsNumbers(t *testing.T) {
	dir := t.TempDir()
	for i := range 3 {
		e, err := openBadger(dir, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		if e.last != uint64(i) {
			t.Errorf("it goes on at %d, want %d", e.last, i)
		}
		plant(t, e, "a", fmt.Sprint(i))
		if got := dump(t, e)["a"]; got != fmt.Sprint(i) {
			t.Errorf("it has %q, want %d", got, i)
		}
		if err := e.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

func TestOpenBadgerErrors(t *testing.T) {
	o := badgerOptions(filepath.Join(t.TempDir(), "x"), nil).WithNumCompactors(1) // which Badger refuses
	if _, err := openBadgerWith(o, "the/store"); !isDamage(err) || !strings.Contains(err.Error(), "the/store") {
		t.Errorf("what Badger refuses is %v, want a DamageError that names the store", err)
	}
	for _, no := range []error{syscall.EACCES, syscall.ENOSPC, syscall.EMFILE} {
		if got := openError("the/store", fmt.Errorf("while opening err: %v", no)); isDamage(got) || !strings.Contains(got.Error(), no.Error()) {
			t.Errorf("%v is taken for damage: %v", no, got)
		}
	}
	if errors.Is(openError("x", fs.ErrClosed), ErrLocked) {
		t.Error("any error is taken for a lock")
	}
}

func TestLogTellsNoKeys(t *testing.T) {
	// The debug lines of the engine show keys, and keys hold what clients have sent.
	var log bytes.Buffer
	l := slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	dir := t.TempDir()
	s, err := OpenDir(t.Context(), dir, Options{Logger: l})
	if err != nil {
		t.Fatal(err)
	}
	putRecords(t, s, record("ada@example.com"))
	left := copyDir(t, dir)
	closeStore(t, s)
	s, err = OpenDir(context.Background(), left, Options{Logger: l}) // which reads the log of the table in memory
	if err != nil {
		t.Fatal(err)
	}
	closeStore(t, s)
	if strings.Contains(log.String(), "ada") {
		t.Errorf("the log tells of ada:\n%s", log.String())
	}
	if !strings.Contains(log.String(), "engine") {
		t.Error("the engine's own lines are not in the log")
	}
}
