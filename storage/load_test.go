package storage

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// rowsOf returns all rows of a store, as they can be kept.
func rowsOf(t *testing.T, s *Store) []Item {
	t.Helper()
	var l []Item
	err := s.Snapshot(t.Context(), func(snap *Snapshot) error {
		for it, err := range snap.Rows() {
			if err != nil {
				return err
			}
			l = append(l, Item{slices.Clone(it.Key), slices.Clone(it.Value)})
		}
		n, err := snap.Count()
		if err == nil && n != int64(len(l)) {
			t.Errorf("Count says %d, and there are %d rows", n, len(l))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func yielded(rows []Item) iter.Seq2[Item, error] {
	return func(yield func(Item, error) bool) {
		for _, it := range rows {
			if !yield(it, nil) {
				return
			}
		}
	}
}

func rowMap(rows []Item) map[string]string {
	m := map[string]string{}
	for _, it := range rows {
		m[string(it.Key)] = string(it.Value)
	}
	return m
}

// stocked returns a store with more rows than one transaction has.
func stocked(t *testing.T) *Store {
	t.Helper()
	s := openMemory(t)
	for from := 0; from < 4000; from += 1000 {
		var l []Record
		for i := range 1000 {
			l = append(l, record(fmt.Sprintf("u%05d", from+i)))
		}
		putRecords(t, s, l...)
	}
	putRecords(t, s, Record{Ref: group("g")})
	update(t, s, func(tx *Tx) error { return tx.SetLink(Link{group("g"), "members", user("u00001"), []byte("b")}) })
	return s
}

func TestLoadMakesTheSameStore(t *testing.T) {
	rows := rowsOf(t, stocked(t))
	memory := Memory()
	if err := Load(t.Context(), memory, yielded(rows)); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(rowMap(rows), dump(t, memory)); diff != "" {
		t.Error(diff)
	}
	if err := Load(t.Context(), memory, yielded(rows)); err == nil || !strings.Contains(err.Error(), "not empty") {
		t.Errorf("rows are loaded on top of others: %v", err)
	}

	dir := t.TempDir()
	seen := map[string]string{}
	err := LoadDir(t.Context(), dir, yielded(rows), Options{}, func(s *Snapshot) error {
		for it, err := range s.Rows() {
			if err != nil {
				return err
			}
			seen[string(it.Key)] = string(it.Value)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(rowMap(rows), seen); diff != "" {
		t.Error(diff)
	}
	sealed, ok, err := readSeal(dir)
	if err != nil || !ok || sealed.Commits == 0 || sealed.Manifest == 0 || len(sealed.Tables) == 0 {
		t.Errorf("the seal of a loaded directory is %+v, %v, %v", sealed, ok, err)
	}
	s := openAt(t, dir)
	wantClean(t, s)
	if diff := cmp.Diff(rowMap(rows), rowMap(rowsOf(t, s))); diff != "" {
		t.Error(diff)
	}
	putRecords(t, s, record("later"))
	closeStore(t, s)
	if err := LoadDir(t.Context(), dir, yielded(rows), Options{}, func(*Snapshot) error { return nil }); err == nil {
		t.Error("rows are loaded into a directory that has a store")
	}
	s = openAt(t, dir)
	wantRecord(t, s, record("later"))
	closeStore(t, s)
}

// The seal of what was loaded is one that loss is noticed by.
func TestLoadedDirectoryIsSealed(t *testing.T) {
	dir := t.TempDir()
	if err := LoadDir(t.Context(), dir, yielded(rowsOf(t, stocked(t))), Options{}, func(*Snapshot) error { return nil }); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(dir, storeName, manifestName)); err != nil {
		t.Fatal(err)
	}
	if _, err := OpenDir(t.Context(), dir, Options{}); !isLost(err) {
		t.Errorf("a directory without its manifest: %v", err)
	}
}

func TestLoadRefuses(t *testing.T) {
	good := rowsOf(t, stocked(t))
	broken := errors.New("broken off")
	later := func() []Item {
		l := slices.Clone(good)
		i := slices.IndexFunc(l, func(it Item) bool { return string(it.Key) == string(formatKey) })
		l[i].Value = sealRow(formatKey, []byte(`{"format":99,"version":"9.9"}`))
		return l
	}
	ended, end := context.WithCancel(t.Context())
	for _, test := range []struct {
		name string
		rows iter.Seq2[Item, error]
		ctx  context.Context
		want func(error) bool
	}{
		{"a damaged value", yielded(append(slices.Clone(good[:10]), Item{[]byte("zz"), nil})), nil, isDamage},
		{"a row of no family", yielded([]Item{{[]byte("zz"), nil}}), nil, isDamage},
		{"a row without a key", yielded([]Item{{nil, nil}}), nil, isDamage},
		{"a flipped bit", yielded(append([]Item{{good[0].Key, append([]byte{good[0].Value[0] ^ 1}, good[0].Value[1:]...)}}, good[1:]...)), nil, isDamage},
		{"a row twice", yielded(append([]Item{good[0]}, good...)), nil, isDamage},
		{"rows in another order", yielded([]Item{good[1], good[0]}), nil, isDamage},
		{"no rows", yielded(nil), nil, isDamage},
		{"no row that says the format", yielded(good[:10]), nil, isDamage},
		{"a term with a value", yielded([]Item{{termKey(tenant, "User", "name", []byte("x"), "1"), []byte("x")}}), nil, isDamage},
		{"a later format", yielded(later()), nil, func(err error) bool { var e *FormatError; return errors.As(err, &e) && e.Version == "9.9" }},
		{"rows that break off", func(yield func(Item, error) bool) {
			for _, it := range good[:2500] {
				if !yield(it, nil) {
					return
				}
			}
			yield(Item{}, broken)
		}, nil, func(err error) bool { return errors.Is(err, broken) }},
		{"a context that ends", func(yield func(Item, error) bool) {
			for i, it := range good {
				if i == 100 {
					end()
				}
				if !yield(it, nil) {
					return
				}
			}
		}, ended, func(err error) bool { return errors.Is(err, context.Canceled) }},
	} {
		t.Run(test.name, func(t *testing.T) {
			ctx := t.Context()
			if test.ctx != nil {
				ctx = test.ctx
			}
			dir := t.TempDir()
			if err := os.WriteFile(filepath.Join(dir, "other"), nil, 0o600); err != nil {
				t.Fatal(err)
			}
			if err := LoadDir(ctx, dir, test.rows, Options{}, func(*Snapshot) error { return nil }); !test.want(err) {
				t.Errorf("LoadDir: %v", err)
			}
			if left := slices.Collect(maps.Keys(tree(t, dir))); len(left) != 1 {
				t.Errorf("a load that failed has left %v", left)
			}
		})
	}
	t.Run("rows that are not what was meant", func(t *testing.T) {
		dir := t.TempDir()
		if err := LoadDir(t.Context(), dir, yielded(good), Options{}, func(*Snapshot) error { return broken }); !errors.Is(err, broken) {
			t.Errorf("LoadDir: %v", err)
		}
		if left := tree(t, dir); len(left) > 0 {
			t.Errorf("a load that failed has left %d files", len(left))
		}
	})
}

// Damage is not copied.
func TestSnapshotRefusesDamage(t *testing.T) {
	e := Memory()
	s := openOn(t, e, Options{})
	putRecords(t, s, record("a"), record("b"))
	k := recordKey(user("a"))
	plant(t, e, string(k), dump(t, e)[string(k)]+"x")
	err := s.Snapshot(t.Context(), func(snap *Snapshot) error {
		for _, err := range snap.Rows() {
			if err != nil {
				return err
			}
		}
		return nil
	})
	if !isDamage(err) {
		t.Errorf("the copy of a damaged row: %v", err)
	}
}
