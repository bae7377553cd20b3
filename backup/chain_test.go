package backup

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"scimbox/storage"
	"scimbox/storage/storagetest"
)

// history does whatever happens to a store, with and without rows in the journal, and makes backups of it in between: one of
// everything and increments on it, or on one of those before.
type history struct {
	dir     string // of data
	out     string
	store   *storage.Store
	reopen  func(*storage.Store) *storage.Store
	chains  map[string][]string // by position
	latest  string              // position
	backups int
}

func (h *history) update(t *rapid.T, fn func(*storage.Tx) error) {
	err := h.store.Update(context.Background(), rapid.SampledFrom([]string{tenant, "$system"}).Draw(t, "tenant"), storage.Origin{}, fn)
	if err != nil {
		t.Fatal(err)
	}
}

func (h *history) id(t *rapid.T) string {
	return fmt.Sprintf("i%03d", rapid.IntRange(0, 120).Draw(t, "id"))
}

func (h *history) actions() map[string]func(*rapid.T) {
	value := rapid.StringN(0, 6, -1)
	return map[string]func(*rapid.T){
		"Put": func(t *rapid.T) {
			logged := rapid.Bool().Draw(t, "logged")
			first, n, kind := h.id(t), rapid.IntRange(1, 40).Draw(t, "n"), rapid.SampledFrom([]string{"User", "Group", "token", "use"}).Draw(t, "kind")
			body := value.Draw(t, "body")
			h.update(t, func(tx *storage.Tx) error {
				for i := range n {
					ref := storage.Ref{Tenant: tx.Tenant(), Kind: kind, ID: first + fmt.Sprint(i, "g", h.backups)} // never used again once deleted
					var stamp storage.Stamp
					if old, err := tx.Get(ref.Kind, ref.ID); err == nil {
						stamp = old.Stamp
					}
					terms := []storage.Term{{Field: "n", Value: []byte(body)}, {Field: "u", Value: []byte(ref.ID + body), Unique: true}}
					if err := tx.Put(storage.Record{Ref: ref, Stamp: tx.Stamp(stamp), Body: []byte(body), Terms: terms}); err != nil {
						return err
					}
					if logged {
						if err := tx.Log(storage.Entry{Op: "put", Ref: ref}); err != nil {
							return err
						}
					}
				}
				return nil
			})
		},
		"Delete": func(t *rapid.T) {
			kind, n := rapid.SampledFrom([]string{"User", "Group"}).Draw(t, "kind"), rapid.IntRange(1, 20).Draw(t, "n")
			h.update(t, func(tx *storage.Tx) error {
				var gone []string
				for hit, err := range tx.Find(kind, "n", storage.TermRange{}) {
					if err != nil {
						return err
					}
					if gone = append(gone, hit.ID); len(gone) == n {
						break
					}
				}
				for _, id := range gone {
					if err := tx.Delete(kind, id); err != nil {
						return err
					}
				}
				return nil
			})
		},
		"Link": func(t *rapid.T) {
			from, n, set := h.id(t), rapid.IntRange(1, 50).Draw(t, "n"), rapid.Bool().Draw(t, "set")
			body := []byte(value.Draw(t, "body"))
			h.update(t, func(tx *storage.Tx) error {
				if has, err := tx.Has("Group", from); err != nil {
					return err
				} else if !has {
					if err := tx.Put(storage.Record{Ref: storage.Ref{Tenant: tx.Tenant(), Kind: "Group", ID: from}, Terms: []storage.Term{{Field: "n"}}}); err != nil {
						return err
					}
				}
				for i := range n {
					l := storage.Link{From: storage.Ref{Tenant: tx.Tenant(), Kind: "Group", ID: from}, Field: "members", To: storage.Ref{Tenant: tx.Tenant(), Kind: "User", ID: fmt.Sprint(i)}, Body: body}
					if set {
						if err := tx.SetLink(l); err != nil {
							return err
						}
					} else if _, err := tx.DeleteLink(l.From, l.Field, l.To); err != nil {
						return err
					}
				}
				return nil
			})
		},
		"Fingerprint": func(t *rapid.T) {
			if err := h.store.SetFingerprint(context.Background(), tenant, "User", value.Draw(t, "fingerprint")); err != nil {
				t.Fatal(err)
			}
		},
		"Reopen": func(t *rapid.T) {
			if h.reopen != nil {
				h.store = h.reopen(h.store)
			}
		},
		"Backup": func(t *rapid.T) {
			o := Options{Dir: h.dir}
			if h.latest != "" && rapid.IntRange(0, 5).Draw(t, "increment") > 0 {
				known, err := knownPositions(h.dir)
				if err != nil {
					t.Fatal(err)
				}
				o.Since = h.latest
				if rapid.Bool().Draw(t, "branch") {
					o.Since = rapid.SampledFrom(known).Draw(t, "since")
				}
			}
			h.backups++
			file, m := written(t, h.store, filepath.Join(h.out, fmt.Sprint(h.backups)), o)
			files := []string{file}
			if o.Since != "" {
				files = append(append([]string{}, h.chains[o.Since]...), file)
			}
			h.chains[m.Position], h.latest = files, m.Position
			rows, err := rowsIn(files, RestoreOptions{})
			if err != nil {
				t.Fatalf("%d backups since %s: %v", len(files), o.Since, err)
			}
			wantRows(t, rowsOf(t, h.store), rows)
		},
	}
}

func newHistory(t *rapid.T, temp string) (*history, func()) {
	root, err := os.MkdirTemp(temp, "")
	if err != nil {
		t.Fatal(err)
	}
	h := &history{dir: filepath.Join(root, "data"), out: root, chains: map[string][]string{}}
	if err := os.Mkdir(h.dir, 0o700); err != nil {
		t.Fatal(err)
	}
	return h, func() { _ = os.RemoveAll(root) }
}

// Whatever has happened: a backup of everything and the increments on it are the store, row for row.
func TestChainsMemory(t *testing.T) {
	storagetest.Rounds(t, 60)
	rapid.Check(t, func(rt *rapid.T) {
		h, done := newHistory(rt, t.TempDir())
		defer done()
		var err error
		if h.store, err = storage.Open(t.Context(), storage.Memory(), storage.Options{}); err != nil {
			rt.Fatal(err)
		}
		defer closeStore(rt, h.store)
		rt.Repeat(h.actions())
	})
}

// The same on disk, with the last chain restored to a data directory.
func TestChainsDirectory(t *testing.T) {
	storagetest.Rounds(t, 6)
	rapid.Check(t, func(rt *rapid.T) {
		h, done := newHistory(rt, t.TempDir())
		defer done()
		h.store = openDir(rt, h.dir)
		h.reopen = func(s *storage.Store) *storage.Store { closeStore(rt, s); return openDir(rt, h.dir) }
		defer func() { closeStore(rt, h.store) }()
		actions := h.actions()
		rt.Repeat(actions)
		actions["Backup"](rt)
		dir := filepath.Join(h.out, "restored")
		for _, try := range []func() (*Restored, error){
			func() (*Restored, error) { return Verify(t.Context(), h.chains[h.latest], RestoreOptions{Temp: h.out}) },
			func() (*Restored, error) { return Restore(t.Context(), dir, h.chains[h.latest], RestoreOptions{}) },
		} {
			r, err := try()
			if err != nil {
				rt.Fatal(err)
			}
			if found := r.Findings(); found != "" {
				rt.Error(found)
			}
		}
		again := openDir(rt, dir)
		defer closeStore(rt, again)
		wantRows(rt, rowsOf(rt, h.store), rowsOf(rt, again))
	})
}

// gate is an engine that lets nobody write any more once it is shut.
type gate struct {
	storage.Engine
	shut atomic.Bool
	open chan struct{}
}

func (g *gate) Update(ctx context.Context, fn func(storage.Writer) error) error {
	if g.shut.Load() {
		<-g.open
	}
	return g.Engine.Update(ctx, fn)
}

// A deleted group whose members are still being removed is so in the backup too, and the restored store goes on with it; an
// increment made afterwards has none of them.
func TestSweeps(t *testing.T) {
	data, out := t.TempDir(), t.TempDir()
	g := &gate{Engine: storage.Memory(), open: make(chan struct{})}
	s := openOn(t, g)
	const members = 5000 // more than go with their group at once
	update(t, s, func(tx *storage.Tx) error { return put(tx, group("g"), "g") })
	for from := 0; from < members; from += 1000 {
		update(t, s, func(tx *storage.Tx) error {
			for i := range 1000 {
				if err := tx.SetLink(storage.Link{From: group("g"), Field: "members", To: user(fmt.Sprintf("u%05d", from+i))}); err != nil {
					return err
				}
			}
			return nil
		})
	}
	before, first := written(t, s, filepath.Join(out, "before"), Options{Dir: data})
	update(t, s, func(tx *storage.Tx) error {
		g.shut.Store(true) // behind this one
		return tx.Delete("Group", "g")
	})
	during, second := written(t, s, filepath.Join(out, "during"), Options{Dir: data, Since: first.Position})
	if second.Families["sweep"] != 1 || second.Families["link"] == 0 {
		t.Fatalf("nothing is left to be swept: %v", second.Families)
	}
	rows, err := rowsIn([]string{before, during}, RestoreOptions{})
	if err != nil {
		t.Fatal(err)
	}
	wantRows(t, rowsOf(t, s), rows)
	dir := filepath.Join(out, "data")
	restore(t, dir, []string{before, during}, RestoreOptions{})
	again := openDir(t, dir)
	swept(t, again)
	closeStore(t, again)

	close(g.open)
	swept(t, s)
	after, third := written(t, s, filepath.Join(out, "after"), Options{Dir: data, Since: second.Position})
	if third.Families["link"]+third.Families["backlink"] != 0 {
		t.Errorf("links are left: %v", third.Families)
	}
	if rows, err = rowsIn([]string{before, during, after}, RestoreOptions{}); err != nil {
		t.Fatal(err)
	}
	wantRows(t, rowsOf(t, s), rows)
}

// swept returns when a store has no sweep any more.
func swept(t *testing.T, s *storage.Store) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	for left := int64(1); left > 0; {
		if err := ctx.Err(); err != nil {
			t.Fatal("waited for too long")
		}
		m, err := Write(ctx, io.Discard, s, Options{Dir: t.TempDir()})
		if err != nil {
			t.Fatal(err)
		}
		left = m.Families["sweep"]
	}
}

// What is trimmed from the journal between two backups is gone from the increment too, and from what is restored of both.
func TestIncrementAcrossATrimmedJournal(t *testing.T) {
	data, out := t.TempDir(), t.TempDir()
	var files []string
	var want map[string]string
	var first uint64
	synctest.Test(t, func(t *testing.T) {
		s, err := storage.Open(t.Context(), storage.Memory(), storage.Options{Journal: storage.Retention{Keep: time.Hour}})
		if err != nil {
			t.Fatal(err)
		}
		defer closeStore(t, s)
		since := ""
		for i, pause := range []time.Duration{time.Minute, 40 * time.Minute, 40 * time.Minute, 2 * time.Hour} {
			fill(t, s, 1000*i, 1000)
			time.Sleep(pause)
			synctest.Wait()
			path, m := written(t, s, filepath.Join(out, fmt.Sprint(i)), Options{Dir: data, Since: since})
			files, since = append(files, path), m.Position
		}
		want = rowsOf(t, s)
		if first, err = s.FirstSeq(t.Context()); err != nil || first != s.LastSeq() {
			t.Fatalf("the journal has %d to %d, %v: nothing was trimmed before the last backup", first, s.LastSeq(), err)
		}
	})
	got, err := rowsIn(files, RestoreOptions{})
	if err != nil {
		t.Fatal(err)
	}
	wantRows(t, want, got)
	dir := filepath.Join(t.TempDir(), "restored")
	restore(t, dir, files, RestoreOptions{})
	s, findings, err := openChecked(t, dir)
	if err != nil || findings != 0 {
		t.Fatalf("%d findings, %v", findings, err)
	}
	defer closeStore(t, s)
	var trimmed *storage.TrimmedError
	if _, err := s.Journal(t.Context(), 0, 1); !errors.As(err, &trimmed) || trimmed.First != first {
		t.Errorf("the restored journal: %v", err)
	}
	if rows, err := s.Journal(t.Context(), first-1, 10); err != nil || len(rows) != 1 || rows[0].Seq != first {
		t.Errorf("the restored journal has %d rows, %v", len(rows), err)
	}
}
