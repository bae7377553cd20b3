package backup

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"scimbox/storage"
)

// children are what this program does instead of testing when a variable names a directory.
var children = map[string]func(dir string){}

func TestMain(m *testing.M) {
	for name, run := range children {
		if dir := os.Getenv(name); dir != "" {
			run(dir)
		}
	}
	goleak.VerifyTestMain(m,
		// Badger leaves these behind where it refuses to open.
		goleak.IgnoreTopFunction("github.com/dgraph-io/badger/v4.(*DB).monitorCache"),
		goleak.IgnoreTopFunction("github.com/dgraph-io/ristretto/v2/z.(*AllocatorPool).freeupAllocators"))
}

const tenant = "acme"

func user(id string) storage.Ref  { return storage.Ref{Tenant: tenant, Kind: "User", ID: id} }
func group(id string) storage.Ref { return storage.Ref{Tenant: tenant, Kind: "Group", ID: id} }

// tester is what *testing.T and *rapid.T have in common.
type tester interface {
	Helper()
	Fatal(args ...any)
	Fatalf(format string, args ...any)
	Errorf(format string, args ...any)
}

func openMemory(t *testing.T) *storage.Store { t.Helper(); return openOn(t, storage.Memory()) }

func openOn(t *testing.T, e storage.Engine) *storage.Store {
	t.Helper()
	s, err := storage.Open(t.Context(), e, storage.Options{})
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

func openDir(t tester, dir string) *storage.Store {
	t.Helper()
	s, err := storage.OpenDir(context.Background(), dir, storage.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func closeStore(t tester, s *storage.Store) {
	t.Helper()
	if err := s.Close(); err != nil {
		t.Fatalf("Close: %v", err)
	}
}

func update(t tester, s *storage.Store, fn func(*storage.Tx) error) {
	t.Helper()
	if err := s.Update(context.Background(), tenant, storage.Origin{Actor: "t1"}, fn); err != nil {
		t.Fatal(err)
	}
}

func put(tx *storage.Tx, ref storage.Ref, body string) error {
	var stamp storage.Stamp
	if old, err := tx.Get(ref.Kind, ref.ID); err == nil {
		stamp = old.Stamp
	}
	err := tx.Put(storage.Record{Ref: ref, Stamp: tx.Stamp(stamp), Body: []byte(body), Terms: []storage.Term{
		{Field: "name", Value: []byte("name of " + body[:min(len(body), 100)])},
		{Field: "username", Value: []byte("name " + ref.ID), Unique: true},
	}})
	if err != nil {
		return err
	}
	return tx.Log(storage.Entry{Op: "put", Ref: ref})
}

// fill puts n users from a number on.
func fill(t tester, s *storage.Store, from, n int) {
	t.Helper()
	for ; n > 0; from, n = from+500, n-500 {
		update(t, s, func(tx *storage.Tx) error {
			for i := range min(n, 500) {
				if err := put(tx, user(fmt.Sprintf("u%06d", from+i)), strings.Repeat(fmt.Sprintf("body %d ", from+i), 5)); err != nil {
					return err
				}
			}
			return nil
		})
	}
}

// rowsOf returns all rows of a store.
func rowsOf(t tester, s *storage.Store) map[string]string {
	t.Helper()
	rows := map[string]string{}
	err := s.Snapshot(context.Background(), func(snap *storage.Snapshot) error {
		for it, err := range snap.Rows() {
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

// written makes a backup in a file and returns its path.
func written(t tester, s *storage.Store, path string, o Options) (string, *Manifest) {
	t.Helper()
	var b bytes.Buffer
	m, err := Write(context.Background(), &b, s, o)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, b.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	return path, m
}

// rowsIn returns the rows that a chain of backups stands for, without an engine.
func rowsIn(files []string, o RestoreOptions) (rows map[string]string, err error) {
	b, opened, err := openChain(files, o)
	defer func() {
		b.close()
		for _, f := range opened {
			_ = f.Close()
		}
	}()
	if err != nil {
		return nil, err
	}
	rows = map[string]string{}
	for it, err := range b.rows() {
		if err != nil {
			return nil, err
		}
		rows[string(it.Key)] = string(it.Value)
	}
	return rows, nil
}

// drain reads a chain of backups to its end.
func drain(files []string, o RestoreOptions) error {
	b, opened, err := openChain(files, o)
	defer func() {
		b.close()
		for _, f := range opened {
			_ = f.Close()
		}
	}()
	if err != nil {
		return err
	}
	for _, err := range b.rows() {
		if err != nil {
			return err
		}
	}
	return nil
}

func wantRows(t tester, want, got map[string]string) {
	t.Helper()
	if diff := cmp.Diff(want, got); diff != "" {
		t.Fatalf("the rows differ (-want +got):\n%s", diff[:min(len(diff), 4000)])
	}
}

// names returns the names of what lies in a directory.
func names(t tester, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	l := []string{}
	for _, e := range entries {
		l = append(l, e.Name())
	}
	return l
}

func writeFile(t tester, dir, name, content string) {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

// openChecked opens a data directory, if it can be, and examines it.
func openChecked(t *testing.T, dir string) (s *storage.Store, findings int, err error) {
	t.Helper()
	s, err = storage.OpenDir(t.Context(), dir, storage.Options{})
	if err != nil {
		return nil, 0, err
	}
	r, err := s.Check(t.Context(), storage.CheckOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return s, len(r.Findings), nil
}
