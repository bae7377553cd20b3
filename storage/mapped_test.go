package storage

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
)

// mappedFiles are the files that the engine of a store maps.
func mappedFiles(s *Store) *mapped { return s.engine.(*sealedEngine).files }

// release lets an engine go on that was left behind, so that its goroutines end.
func release(t *testing.T, e *badgerEngine) {
	t.Helper()
	e.files.refuse.Store(nil)
	close(e.files.parked)
	if err := errors.Join(e.db.Close(), e.files.close()); err != nil {
		t.Error(err)
	}
	eventually(t, "the engine is closed", func() bool { return e.db.IsClosed() })
}

// refuseFiles lets the disk be full for what is said.
func refuseFiles(t *testing.T, m *mapped, refuses func(what string) bool) {
	refuse := func(what string) error {
		if refuses(what) {
			return &os.PathError{Op: "fallocate", Path: what, Err: syscall.ENOSPC}
		}
		return nil
	}
	m.refuse.Store(&refuse)
	t.Cleanup(func() { m.refuse.Store(nil) })
}

// smallEngine is one that has soon written and merged many tables.
func smallEngine(t *testing.T) *badgerEngine {
	t.Helper()
	e, err := openBadgerWith(badgerOptions(t.TempDir(), nil).WithMemTableSize(1<<20).WithValueThreshold(100<<10).WithNumLevelZeroTables(1), "")
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// setRow writes a row that takes much room, as soon as there is room.
func setRow(t *testing.T, e Engine, row int) {
	t.Helper()
	value := bytes.Repeat([]byte{byte(row)}, 64<<10)
	for i := range value { // nothing that could be compressed
		value[i] ^= byte(i * i * (i + row) >> 7)
	}
	eventually(t, fmt.Sprintf("row %d is written", row), func() bool {
		err := e.Update(t.Context(), func(w Writer) error { return w.Set(fmt.Appendf(nil, "row %03d", row), value) })
		if err != nil && !errors.Is(err, ErrReadOnly) {
			t.Fatal(err)
		}
		return err == nil
	})
}

// merged reports whether tables have been merged.
func merged(e *badgerEngine) bool {
	for _, info := range e.db.Tables() {
		if info.Level > 0 {
			return true
		}
	}
	return false
}

// Room for a table is refused every other time, those that come of merging others as well. Badger takes such a merge for done, and deletes what was
// merged: it must not come to know.
func TestTablesWaitForRoom(t *testing.T) {
	e := smallEngine(t)
	var asked atomic.Int64
	refuseFiles(t, e.files, func(what string) bool {
		return filepath.Ext(what) == tableExt && !strings.HasPrefix(what, "sync ") && asked.Add(1)%2 == 1
	})
	const rows = 100
	for row := range rows {
		setRow(t, e, row)
	}
	eventually(t, "tables are merged", func() bool { return merged(e) && e.refuses() == nil })
	if got := len(dump(t, e)); got != rows {
		t.Errorf("%d rows are left of %d", got, rows)
	}
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	if n := asked.Load() / 2; n < 5 {
		t.Errorf("only %d tables were refused", n)
	}
}

// Where there is no room for what is to be written, or for the next log, a change is refused before anything is written.
func TestLogWithoutRoom(t *testing.T) {
	s := openAt(t, t.TempDir())
	defer closeStore(t, s)
	putRecords(t, s, record("a"))
	full := true
	refuseFiles(t, mappedFiles(s), func(what string) bool { return full && filepath.Ext(what) == logExt })
	large := record("b")
	large.Body = bytes.Repeat([]byte("b"), 2*logStep)
	put := func(r Record) error {
		return s.Update(t.Context(), tenant, Origin{}, func(tx *Tx) error { r.Stamp = tx.Stamp(Stamp{}); return tx.Put(r) })
	}
	before := s.LastSeq()
	var short *SpaceError
	for range 3 {
		if err := put(large); !errors.As(err, &short) || !errors.Is(err, syscall.ENOSPC) && !strings.Contains(err.Error(), "no space left") {
			t.Fatalf("a change for which there is no room: %v", err)
		}
	}
	if s.LastSeq() != before {
		t.Error("a change was made")
	}
	wantRecord(t, s, record("a"))
	wantClean(t, s)
	full = false
	if err := put(large); err != nil || s.ReadOnly() != nil {
		t.Errorf("with room again: %v, %v", err, s.ReadOnly())
	}
	wantClean(t, s)
}

// While a table waits nothing is written, so that nobody has to wait with it; it is told once, and the store ends as after a crash.
func TestCloseWithoutRoom(t *testing.T) {
	dir := t.TempDir()
	var said logBuffer
	s, err := OpenDir(t.Context(), dir, Options{Logger: slog.New(slog.NewTextHandler(&said, nil))})
	if err != nil {
		t.Fatal(err)
	}
	defer release(t, s.engine.(*sealedEngine).badgerEngine)
	putRecords(t, s, record("a"))
	refuseFiles(t, mappedFiles(s), func(what string) bool { return filepath.Ext(what) == tableExt })
	if err := s.Close(); err != nil {
		t.Errorf("closing without room: %v", err)
	}
	for _, want := range []string{"a table cannot be written", "left as after a crash"} {
		if n := strings.Count(said.String(), want); n != 1 {
			t.Errorf("it is said %d times that %s:\n%s", n, want, &said)
		}
	}
	if _, err := openBadger(filepath.Join(dir, storeName), slog.New(slog.DiscardHandler)); !errors.Is(err, ErrLocked) {
		t.Errorf("what was left is open to somebody else in this process: %v", err)
	}
	again := openAt(t, copyDir(t, dir))
	wantRecord(t, again, record("a"))
	wantClean(t, again)
	closeStore(t, again)
}

// A table that cannot be made durable must not become part of the store, and cannot be tried again.
func TestSyncOfATableFails(t *testing.T) {
	e := smallEngine(t)
	defer release(t, e)
	refuseFiles(t, e.files, func(what string) bool { return strings.HasPrefix(what, "sync ") })
	set := func() error {
		return e.Update(t.Context(), func(w Writer) error { return w.Set([]byte("row"), make([]byte, 64<<10)) })
	}
	var err error
	for row := 0; row < 20 && err == nil; row++ { // more than a table in memory takes
		err = set()
	}
	eventually(t, "the table could not be synced", func() bool { return e.refuses() != nil })
	err = set()
	if !errors.Is(err, ErrUnknownOutcome) {
		t.Errorf("after a table could not be synced: %v, want ErrUnknownOutcome", err)
	}
	if len(e.db.Tables()) > 0 {
		t.Error("the table is part of the store")
	}
	if err := e.Close(); err == nil {
		t.Error("the engine closes as if nothing had been")
	}
}

// A table is cut while the store is open: whoever reads what is in it gets an error that names it, nothing is written any more, and
// the process goes on.
func TestCutTableUnderAReader(t *testing.T) {
	dir := filled(t)
	s := openAt(t, dir)
	defer release(t, s.engine.(*sealedEngine).badgerEngine)
	tables, err := filepath.Glob(filepath.Join(dir, storeName, "*"+tableExt))
	if err != nil || len(tables) < 2 {
		t.Fatalf("the tables are %q, %v", tables, err)
	}
	if err := os.Truncate(tables[0], 0); err != nil {
		t.Fatal(err)
	}
	read := func(id string) error {
		return s.View(t.Context(), tenant, func(tx *Tx) error { _, err := tx.Get("User", id); return err })
	}
	scan := func() error {
		return s.View(t.Context(), tenant, func(tx *Tx) error {
			for _, err := range tx.Records("User") {
				if err != nil {
					return err
				}
			}
			return nil
		})
	}
	wantDamage := func(what string, err error) {
		t.Helper()
		var damage *DamageError
		if !errors.As(err, &damage) || damage.Where != tables[0] {
			t.Errorf("%s: %v, want a DamageError of %s", what, err, tables[0])
		}
	}
	wantDamage("reading", read(filledID(0, 0)))
	wantDamage("listing", scan())
	wantDamage("the state of the store", s.ReadOnly())
	err = s.Update(t.Context(), tenant, Origin{}, func(tx *Tx) error { return tx.Log(Entry{Op: "create", Ref: user("x")}) })
	wantDamage("a change", err)
	if !errors.Is(err, ErrReadOnly) {
		t.Errorf("a change: %v, want ErrReadOnly", err)
	}
	wantDamage("closing", s.Close())
}

// What the manifest has is what Badger has.
func TestTablesOfTheManifest(t *testing.T) {
	e := smallEngine(t)
	defer e.Close()
	for row := range 60 {
		setRow(t, e, row)
	}
	eventually(t, "the manifest has what Badger has", func() bool {
		want := e.db.Tables()
		got, err := e.tables()
		if err != nil {
			t.Fatal(err)
		}
		known := map[uint64]bool{}
		for _, id := range got {
			known[id] = true
		}
		for _, info := range want {
			if !known[info.ID] {
				return false
			}
		}
		return len(want) > 1 && len(got) == len(want)
	})
}
