package storage

import (
	"context"
	"errors"
	"os"
	"regexp"
	"strings"
	"testing"
)

// earlier makes a data directory of a format before the first, as there will be earlier ones one day.
func earlier(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	s := openAt(t, dir)
	putRecords(t, s, record("a"))
	err := s.engine.Update(t.Context(), func(w Writer) error {
		return set(w, formatKey, []byte(`{"format":0,"version":"0.1"}`))
	})
	if err != nil {
		t.Fatal(err)
	}
	closeStore(t, s)
	return dir
}

func openMigrating(t *testing.T, dir string, before func(context.Context, *Store, int, int) error, way migration) (*Store, error) {
	t.Helper()
	return OpenDir(t.Context(), dir, Options{BeforeMigration: before, migrations: map[int]migration{0: way, 1: migrations[1]}})
}

var marker = counterKey(tenant, "marker")

func mark(ctx context.Context, e Engine) error {
	return e.Update(ctx, func(w Writer) error { return setNumber(w, marker, 0) })
}

// Before a directory is brought to another format there is the moment for a backup, of everything as it was.
func TestMigration(t *testing.T) {
	dir, calls := earlier(t), 0
	before := func(ctx context.Context, s *Store, from, to int) error {
		calls++
		if from != 0 || to != Format {
			t.Errorf("from %d to %d", from, to)
		}
		return s.Snapshot(ctx, func(snap *Snapshot) error {
			rows := 0
			for it, err := range snap.Rows() {
				if err != nil {
					return err
				}
				if rows++; string(it.Key) == string(marker) {
					t.Error("it is begun before the backup")
				}
			}
			if snap.Format != 0 || rows < 5 {
				t.Errorf("format %d, %d rows", snap.Format, rows)
			}
			return nil
		})
	}
	for range 2 { // once is enough
		s, err := openMigrating(t, dir, before, mark)
		if err != nil {
			t.Fatal(err)
		}
		if n, version, err := s.format(t.Context()); err != nil || n != Format || version != "dev" {
			t.Errorf("format %d, version %s, %v", n, version, err)
		}
		if _, ok := dump(t, s.engine)[string(marker)]; !ok {
			t.Error("it was not made")
		}
		wantRecord(t, s, record("a"))
		wantClean(t, s)
		closeStore(t, s)
	}
	if calls != 1 {
		t.Errorf("%d backups", calls)
	}
}

func TestMigrationThatFails(t *testing.T) {
	dir := earlier(t)
	full := errors.New("no space left")
	began := false
	_, err := openMigrating(t, dir, func(context.Context, *Store, int, int) error { return full }, func(context.Context, Engine) error { began = true; return nil })
	if !errors.Is(err, full) || began || !strings.Contains(err.Error(), "Nothing was changed") {
		t.Errorf("without a backup: %v, begun: %v", err, began)
	}
	// Ended in the middle, it is done again, and the backup is made again, of what is there then.
	broken := errors.New("killed")
	backups := 0
	before := func(context.Context, *Store, int, int) error { backups++; return nil }
	_, err = openMigrating(t, dir, before, func(ctx context.Context, e Engine) error { return errors.Join(mark(ctx, e), broken) })
	if !errors.Is(err, broken) {
		t.Errorf("ended in the middle: %v", err)
	}
	s, err := openMigrating(t, dir, before, mark)
	if err != nil || backups != 2 {
		t.Fatalf("%v, %d backups", err, backups)
	}
	wantClean(t, s)
	closeStore(t, s)

	if _, err := OpenDir(t.Context(), earlier(t), Options{}); err == nil || !strings.Contains(err.Error(), "knows no way from format 0 to 1") {
		t.Errorf("a format without a way from it: %v", err)
	}
}

// From every format there has been there is a way on, and every family of rows has a name.
func TestFormatsAndFamilies(t *testing.T) {
	for n := 1; n < Format; n++ {
		if migrations[n] == nil {
			t.Errorf("there is no way from format %d to %d", n, n+1)
		}
	}
	source, err := os.ReadFile("keys.go")
	if err != nil {
		t.Fatal(err)
	}
	found := regexp.MustCompile(`(?m)^\tfamily\w+ += '(.)'$`).FindAllSubmatch(source, -1)
	for _, f := range found {
		if families[f[1][0]] == "" {
			t.Errorf("family %q has no name, and could not be copied", f[1])
		}
	}
	if len(found) != len(families) {
		t.Errorf("%d families, and names of %d", len(found), len(families))
	}
}
