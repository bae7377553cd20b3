package backup

import (
	"archive/zip"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"scimbox/storage"
)

var fixture = flag.Bool("fixture", false, "write the fixture of the format that this program writes, if there is none")

// Every format that was ever written is kept in testdata: a data directory, a backup of it and an increment, which this program
// opens, restores and checks. A new format gets its own by go test ./backup -run Formats -fixture, before it is released, and the
// others stay as they are.
func TestFormats(t *testing.T) {
	for n := 1; n <= storage.Format; n++ {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			at := filepath.Join("testdata", fmt.Sprintf("format%d", n))
			if _, err := os.Stat(at); *fixture && errors.Is(err, fs.ErrNotExist) && n == storage.Format {
				writeFixture(t, at)
			}
			dir := filepath.Join(t.TempDir(), "data")
			unzip(t, filepath.Join(at, "data.zip"), dir)
			s, findings, err := openChecked(t, dir)
			if err != nil || findings > 0 {
				t.Fatalf("%v, %d findings", err, findings)
			}
			defer closeStore(t, s)
			wantFixture(t, s, n)
			want := rowsOf(t, s)

			full, increment := filepath.Join(at, "full.backup"), filepath.Join(at, "since.increment")
			for _, chain := range [][]string{{full}, {full, increment}} {
				to := filepath.Join(t.TempDir(), "data")
				r := restore(t, to, chain, RestoreOptions{})
				if r.StoreFormat != n {
					t.Errorf("it has rows of format %d", r.StoreFormat)
				}
				if len(chain) == 1 {
					continue
				}
				if b, err := os.ReadFile(filepath.Join(to, "tls", "cert.pem")); err != nil || string(b) != "certificate" {
					t.Errorf("the certificate is %q, %v", b, err)
				}
				again := openDir(t, to)
				got := rowsOf(t, again)
				if n == 1 {
					// Stores of this format had no identity at first. Each gets one when it is opened, the copy another one.
					if s.ID() == "" || again.ID() == "" || s.ID() == again.ID() {
						t.Errorf("the stores are %q and %q", s.ID(), again.ID())
					}
					got["mformat"] = want["mformat"]
				}
				if diff := cmp.Diff(want, got); diff != "" {
					t.Errorf("the data directory and the backup of it differ:\n%s", diff)
				}
				closeStore(t, again)
			}
		})
	}
}

const fixtureUsers = 30

// Ids that journal rows of format 2 have as bytes.
const (
	packedRequest = "AZ27ABCDEFGHIJKL"
	packedID      = "0192f0c1-7a3b-7def-8a01-00ff10203040"
)

// writeFixture makes a store with rows of every family but sweeps, which do not last.
func writeFixture(t *testing.T, at string) {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "data")
	writeFile(t, dir, "tls/cert.pem", "certificate")
	if err := os.MkdirAll(at, 0o755); err != nil {
		t.Fatal(err)
	}
	s := openDir(t, dir)
	fill(t, s, 0, fixtureUsers)
	update(t, s, func(tx *storage.Tx) error {
		if err := put(tx, group("g"), "group"); err != nil {
			return err
		}
		for i := range 5 {
			if err := tx.SetLink(storage.Link{From: group("g"), Field: "members", To: user(fmt.Sprintf("u%06d", i)), Body: []byte("b")}); err != nil {
				return err
			}
		}
		return nil
	})
	err := s.Update(t.Context(), tenant, storage.Origin{Request: packedRequest}, func(tx *storage.Tx) error {
		return tx.Log(storage.Entry{Op: "packed", Ref: user(packedID)})
	})
	if err != nil {
		t.Fatal(err)
	}
	o := Options{Version: "fixture", Dir: dir, Files: []string{"tls"}}
	_, m := written(t, s, filepath.Join(at, "full.backup"), o)
	if err := s.SetFingerprint(t.Context(), tenant, "User", "rules"); err != nil {
		t.Fatal(err)
	}
	update(t, s, func(tx *storage.Tx) error {
		if err := put(tx, user("u000002"), "changed"); err != nil {
			return err
		}
		if err := tx.Log(storage.Entry{Op: "delete", Ref: user("u000003")}); err != nil {
			return err
		}
		return tx.Delete("User", "u000003")
	})
	o.Since = m.Position
	written(t, s, filepath.Join(at, "since.increment"), o)
	closeStore(t, s)
	if err := os.RemoveAll(filepath.Join(dir, positionsName)); err != nil {
		t.Fatal(err)
	}
	f, err := os.Create(filepath.Join(at, "data.zip"))
	if err != nil {
		t.Fatal(err)
	}
	z := zip.NewWriter(f)
	if err := errors.Join(z.AddFS(os.DirFS(dir)), z.Close(), f.Close()); err != nil {
		t.Fatal(err)
	}
}

// wantFixture looks whether a store is the one that writeFixture makes, or has made for a format, by what can be asked of it.
func wantFixture(t *testing.T, s *storage.Store, format int) {
	t.Helper()
	journal, err := s.Journal(t.Context(), 0, 1000)
	if err != nil || len(journal) < fixtureUsers {
		t.Errorf("%d journal rows, %v", len(journal), err)
	}
	packed := slices.ContainsFunc(journal, func(e storage.Entry) bool {
		return e.Op == "packed" && e.Request == packedRequest && e.Ref == user(packedID)
	})
	if packed != (format > 1) {
		t.Errorf("the ids of a journal row are there: %v", packed)
	}
	err = s.View(t.Context(), tenant, func(tx *storage.Tx) error {
		if n, err := tx.Count("User"); err != nil || n != fixtureUsers-1 {
			t.Errorf("%d users, %v", n, err)
		}
		if rec, err := tx.Get("User", "u000002"); err != nil || string(rec.Body) != "changed" || len(rec.Terms) != 2 || rec.Created.IsZero() {
			t.Errorf("%+v, %v", rec, err)
		}
		if id, err := tx.Unique("User", "username", []byte("name u000007")); err != nil || id != "u000007" {
			t.Errorf("%q, %v", id, err)
		}
		if _, err := tx.Get("User", "u000003"); !errors.Is(err, storage.ErrNotFound) {
			t.Errorf("a user who was deleted: %v", err)
		}
		members := 0
		for _, err := range tx.Links(group("g"), "members", "") {
			if err != nil {
				return err
			}
			members++
		}
		if members != 4 {
			t.Errorf("%d members", members)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if rules, err := s.Fingerprint(t.Context(), tenant, "User"); err != nil || rules != "rules" {
		t.Errorf("%q, %v", rules, err)
	}
}

func unzip(t *testing.T, file, to string) {
	t.Helper()
	z, err := zip.OpenReader(file)
	if err != nil {
		t.Fatal(err)
	}
	defer z.Close()
	for _, f := range z.File {
		if f.FileInfo().IsDir() {
			continue
		}
		r, err := f.Open()
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(r)
		if err := errors.Join(err, r.Close()); err != nil {
			t.Fatal(err)
		}
		writeFile(t, to, filepath.FromSlash(f.Name), string(b))
	}
}
