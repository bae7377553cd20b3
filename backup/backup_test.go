package backup

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"filippo.io/age"
	"github.com/google/go-cmp/cmp"

	"scimbox/storage"
)

func restore(t *testing.T, dir string, files []string, o RestoreOptions) *Restored {
	t.Helper()
	r, err := Restore(t.Context(), dir, files, o)
	if err != nil {
		t.Fatal(err)
	}
	s, findings, err := openChecked(t, dir)
	if err != nil || findings > 0 {
		t.Fatalf("the restored store: %v, %d findings", err, findings)
	}
	closeStore(t, s)
	return r
}

func TestRoundTrip(t *testing.T) {
	data, out := t.TempDir(), t.TempDir()
	s := openMemory(t)
	fill(t, s, 0, 3000)
	update(t, s, func(tx *storage.Tx) error {
		if err := put(tx, group("g"), "group"); err != nil {
			return err
		}
		return tx.SetLink(storage.Link{From: group("g"), Field: "members", To: user("u000001"), Body: []byte("b")})
	})
	writeFile(t, data, "tls/acme/cert.pem", "certificate")
	writeFile(t, data, "tls/empty", "")
	writeFile(t, data, "tls/locks/a.lock", "somebody is at work")
	writeFile(t, data, "other", "not asked for")
	writeFile(t, data, "one", "a single one")

	var steps [][2]int64
	o := Options{Version: "1.2.3", Dir: data, Files: []string{"tls", "one", "absent"}, Progress: func(done, total int64) { steps = append(steps, [2]int64{done, total}) }}
	file, m := written(t, s, filepath.Join(out, "a"), o)
	want := rowsOf(t, s)
	if n := int64(len(want)); m.Rows != n || len(steps) < 2 || steps[len(steps)-1] != [2]int64{n, n} {
		t.Errorf("%d rows, of which the manifest counts %d and the progress %v", n, m.Rows, steps)
	}
	if m.Counts[tenant]["User"] != 3000 || m.Families["record"] != 3001 || m.Families["link"] != 1 || m.Version != "1.2.3" || m.Seq != s.LastSeq() || m.Base != nil || m.Written != m.Chunks {
		t.Errorf("the manifest is %+v", m)
	}
	dir := filepath.Join(out, "restored", "data")
	var read [2]int64
	r := restore(t, dir, []string{file}, RestoreOptions{Progress: func(done, total int64) { read = [2]int64{done, total} }})
	if diff := cmp.Diff(*m, r.Manifest); diff != "" {
		t.Error(diff)
	}
	info, err := os.Stat(file)
	if err != nil || read != [2]int64{info.Size(), info.Size()} {
		t.Errorf("the progress ends with %v of %d bytes, %v", read, info.Size(), err)
	}
	if got := names(t, dir); !slices.Equal(got, []string{"one", "seal.json", "store", "tls"}) {
		t.Errorf("restored were %v", got)
	}
	if len(m.Files) != 3 {
		t.Errorf("beside the rows there are %v", m.Files)
	}
	for name, want := range map[string]string{"tls/acme/cert.pem": "certificate", "tls/empty": "", "one": "a single one"} {
		if got, err := os.ReadFile(filepath.Join(dir, name)); err != nil || string(got) != want {
			t.Errorf("%s is %q, %v", name, got, err)
		}
	}
	again := openDir(t, dir)
	wantRows(t, want, rowsOf(t, again))
	fill(t, again, 5000, 1) // it goes on
	closeStore(t, again)

	if v, err := Verify(t.Context(), []string{file}, RestoreOptions{Temp: out}); err != nil || v.Hash != m.Hash || v.Check.Rows != m.Rows {
		t.Errorf("Verify: %+v, %v", v, err)
	}
	if got := names(t, out); !slices.Equal(got, []string{"a", "restored"}) {
		t.Errorf("Verify has left %v", got)
	}
	if same, _, err := hashOfStore(t.Context(), s); err != nil || same != m.Hash {
		t.Errorf("the store's hash is %s, %v, and the backup's %s", same, err, m.Hash)
	}
}

func hashOfStore(ctx context.Context, s *storage.Store) (h string, n int64, err error) {
	err = s.Snapshot(ctx, func(snap *storage.Snapshot) error {
		h, n, err = hashOf(snap)
		return err
	})
	return h, n, err
}

// Every flipped bit and every cut is found, wherever it is, and nothing is left of a restore.
func TestEveryDamageIsFound(t *testing.T) {
	identity, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	quantum, err := age.GenerateHybridIdentity()
	if err != nil {
		t.Fatal(err)
	}
	data, out := t.TempDir(), t.TempDir()
	writeFile(t, data, "tls/key.pem", strings.Repeat("a key ", 200))
	s := openMemory(t)
	fill(t, s, 0, 2000)
	base, m := written(t, s, filepath.Join(out, "base"), Options{Dir: data})
	fill(t, s, 1900, 200)
	for _, test := range []struct {
		name string
		o    Options
		ids  []age.Identity
		on   []string
	}{
		{"plain", Options{}, nil, nil},
		{"encrypted", Options{Recipients: []age.Recipient{identity.Recipient()}}, []age.Identity{identity}, nil},
		{"encrypted against quantum computers", Options{Recipients: []age.Recipient{quantum.Recipient()}}, []age.Identity{quantum}, nil},
		{"increment", Options{Since: m.Position}, nil, []string{base}},
	} {
		t.Run(test.name, func(t *testing.T) {
			test.o.Dir, test.o.Files = data, []string{"tls"}
			file, _ := written(t, s, filepath.Join(t.TempDir(), "b"), test.o)
			o := RestoreOptions{Identities: test.ids}
			files := append(slices.Clone(test.on), file)
			rows, err := rowsIn(files, o)
			if err != nil {
				t.Fatal(err)
			}
			wantRows(t, rowsOf(t, s), rows)
			good, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			tried := 0
			try := func(what string, bad []byte) {
				t.Helper()
				tried++
				if err := os.WriteFile(file, bad, 0o600); err != nil {
					t.Fatal(err)
				}
				if err := drain(files, o); err == nil {
					t.Errorf("%s is not noticed", what)
				}
			}
			flip := func(at int, bit byte) []byte {
				b := bytes.Clone(good)
				b[at] ^= 1 << bit
				return b
			}
			for at := range min(len(good), 400) { // headers: every byte
				try(fmt.Sprintf("a flipped bit in byte %d", at), flip(at, byte(at)%8))
			}
			for at := max(0, len(good)-100); at < len(good); at++ { // and the end
				try(fmt.Sprintf("a flipped bit in byte %d", at), flip(at, byte(at)%8))
			}
			for kib := 0; kib < len(good); kib += 1 << 10 {
				at := min(kib+(kib>>10)*37%1024, len(good)-1)
				try(fmt.Sprintf("a flipped bit in byte %d", at), flip(at, byte(kib>>10)%8))
				try(fmt.Sprintf("a cut at %d", at), good[:at])
			}
			for _, cut := range []int{1, 2, 15, 16, 17, 20, 21, 22, 37, 50} {
				try(fmt.Sprintf("a cut of the last %d", cut), good[:len(good)-cut])
			}
			try("a byte more", append(bytes.Clone(good), 0))
			try("itself twice", append(bytes.Clone(good), good...))
			try("nothing", nil)
			t.Logf("%d bytes, %d damages", len(good), tried)

			dir := filepath.Join(t.TempDir(), "data")
			if err := os.WriteFile(file, flip(len(good)-200, 0), 0o600); err != nil {
				t.Fatal(err)
			}
			var corrupt *CorruptError
			if _, err := Restore(t.Context(), dir, files, o); !errors.As(err, &corrupt) || corrupt.File != file {
				t.Errorf("Restore: %v", err)
			}
			if _, err := os.Stat(dir); !errors.Is(err, os.ErrNotExist) {
				t.Errorf("a restore that failed has left something: %v", err)
			}
		})
	}
}

// What is left of a restore that fails, wherever it does, is nothing.
func TestRestoreLeavesNothing(t *testing.T) {
	out := t.TempDir()
	s := openMemory(t)
	fill(t, s, 0, 1000)
	file, _ := written(t, s, filepath.Join(out, "a"), Options{Dir: t.TempDir()})
	empty := filepath.Join(out, "empty")
	if err := os.Mkdir(empty, 0o700); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	_, err := Restore(ctx, empty, []string{file}, RestoreOptions{Progress: func(done, total int64) { cancel() }})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("a restore that was broken off: %v", err)
	}
	if got := names(t, empty); len(got) > 0 {
		t.Errorf("it has left %v", got)
	}
	// One that was killed has left something, which is in nobody's way.
	writeFile(t, empty, "restoring/store/MANIFEST", "half")
	restore(t, empty, []string{file}, RestoreOptions{})
	if got := names(t, empty); !slices.Equal(got, []string{"seal.json", "store"}) {
		t.Errorf("restored were %v", got)
	}
	var full *DirectoryError
	if _, err := Restore(t.Context(), empty, []string{file}, RestoreOptions{}); !errors.As(err, &full) {
		t.Errorf("a restore over a store: %v", err)
	}
	wantRows(t, rowsOf(t, s), func() map[string]string { s := openDir(t, empty); defer closeStore(t, s); return rowsOf(t, s) }())

	other := filepath.Join(out, "other")
	writeFile(t, other, "notes.txt", "mine")
	if _, err := Restore(t.Context(), other, []string{file}, RestoreOptions{}); !errors.As(err, &full) || full.Holds != "notes.txt" {
		t.Errorf("a restore into a directory of something else: %v", err)
	}
	if got := names(t, other); !slices.Equal(got, []string{"notes.txt"}) {
		t.Errorf("it has left %v", got)
	}
}

func TestChainsThatAreNone(t *testing.T) {
	out, data, elsewhere := t.TempDir(), t.TempDir(), t.TempDir()
	s := openMemory(t)
	fill(t, s, 0, 100)
	a, first := written(t, s, filepath.Join(out, "a"), Options{Dir: data})
	fill(t, s, 100, 100)
	b, second := written(t, s, filepath.Join(out, "b"), Options{Dir: data, Since: fmt.Sprint(first.Seq)})
	fill(t, s, 150, 100)
	c, _ := written(t, s, filepath.Join(out, "c"), Options{Dir: data, Since: second.Position})

	other := openMemory(t) // of another history, which has come to the same position
	fill(t, other, 500, 100)
	x, m := written(t, other, filepath.Join(out, "x"), Options{Dir: elsewhere})
	if m.Position != first.Position {
		t.Fatalf("positions %s and %s", m.Position, first.Position)
	}
	for _, test := range []struct {
		files []string
		want  string
	}{
		{[]string{b}, "name the backup of that position before it"},
		{[]string{c, b, a}, "name the backup of that position before it"},
		{[]string{a, c}, "which is named before it, is of position"},
		{[]string{a, a}, "builds on nothing"},
		{[]string{x, b}, "their rows differ"},
		{[]string{a, "-"}, "the first backup alone"},
	} {
		var chain *ChainError
		if _, err := rowsIn(test.files, RestoreOptions{Stdin: strings.NewReader("")}); !errors.As(err, &chain) || !strings.Contains(chain.Text, test.want) {
			t.Errorf("%v: %v", test.files, err)
		}
	}
	rows, err := rowsIn([]string{a, b, c}, RestoreOptions{})
	if err != nil {
		t.Fatal(err)
	}
	wantRows(t, rowsOf(t, s), rows)
	data1, err := os.Open(a)
	if err != nil {
		t.Fatal(err)
	}
	defer data1.Close()
	if _, err := rowsIn([]string{"-", b, c}, RestoreOptions{Stdin: data1}); err != nil {
		t.Errorf("the first one from standard input: %v", err)
	}
}

// An increment is as small as what has changed, and a position that is not known is refused.
func TestPositions(t *testing.T) {
	data := t.TempDir()
	s := openMemory(t)
	fill(t, s, 0, 5000)
	var all bytes.Buffer
	first, err := Write(t.Context(), &all, s, Options{Dir: data})
	if err != nil {
		t.Fatal(err)
	}
	fill(t, s, 17, 1)
	var some bytes.Buffer
	next, err := Write(t.Context(), &some, s, Options{Dir: data, Since: first.Position})
	if err != nil {
		t.Fatal(err)
	}
	if some.Len() > all.Len()/20 || next.Written > 12 {
		t.Errorf("one change of 5000 takes %d bytes in %d chunks, and everything %d", some.Len(), next.Written, all.Len())
	}
	want := func(asked, text string) {
		t.Helper()
		var b bytes.Buffer
		_, err := Write(t.Context(), &b, s, Options{Dir: data, Since: asked})
		var unknown *PositionError
		if !errors.As(err, &unknown) || !strings.Contains(err.Error(), text) || b.Len() > 0 {
			t.Errorf("since %q: %v", asked, err)
		}
	}
	want("12345", "known are "+next.Position+", "+first.Position+"); make a backup of everything, without --since")
	want("../x", "is not known")
	_ = s.SetFingerprint(t.Context(), tenant, "User", "x") // a commit that is no change
	if _, err := Write(t.Context(), io.Discard, s, Options{Dir: data}); err != nil {
		t.Fatal(err)
	}
	want(fmt.Sprint(next.Seq), "is more than one: ")
	for range keepPositions {
		fill(t, s, 17, 1)
		if _, err := Write(t.Context(), io.Discard, s, Options{Dir: data}); err != nil {
			t.Fatal(err)
		}
	}
	want(first.Position, "is not known, or not any more")
	if got := names(t, filepath.Join(data, positionsName)); len(got) != keepPositions {
		t.Errorf("kept are %v", got)
	}
	// One that is damaged is not built on.
	known, err := knownPositions(data)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(data, positionsName, known[0])
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for at := 0; at < len(b); at += max(1, len(b)/200) {
		bad := bytes.Clone(b)
		bad[at] ^= 4
		if err := os.WriteFile(path, bad, 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := Write(t.Context(), io.Discard, s, Options{Dir: data, Since: known[0]}); err == nil || !strings.Contains(err.Error(), "without --since") {
			t.Fatalf("a position with a flipped bit in byte %d: %v", at, err)
		}
	}
}

// A backup that fails leaves no position, and none can be made of a damaged store.
func TestFailedWrites(t *testing.T) {
	data := t.TempDir()
	e := storage.Memory()
	s := openOn(t, e)
	fill(t, s, 0, 3000)
	if _, err := Write(t.Context(), &limited{n: 1000}, s, Options{Dir: data}); !errors.Is(err, errFull) {
		t.Errorf("a backup to a full disk: %v", err)
	}
	out := t.TempDir()
	err := Save(filepath.Join(out, "a"), func(w io.Writer) error {
		_, err := Write(t.Context(), io.MultiWriter(w, &limited{n: 1000}), s, Options{Dir: data})
		return err
	})
	if !errors.Is(err, errFull) || len(names(t, out)) > 0 {
		t.Errorf("a backup to a full disk: %v, and it leaves %v", err, names(t, out))
	}
	err = e.Update(t.Context(), func(w storage.Writer) error { return w.Set([]byte("r"+tenant+"\x00User\x00u000007"), []byte("damage")) })
	if err != nil {
		t.Fatal(err)
	}
	var damage *storage.DamageError
	if _, err := Write(t.Context(), io.Discard, s, Options{Dir: data}); !errors.As(err, &damage) {
		t.Errorf("a backup of a damaged store: %v", err)
	}
	if got := names(t, filepath.Join(data, positionsName)); len(got) > 0 {
		t.Errorf("backups that failed have left the positions %v", got)
	}
}

var errFull = errors.New("no space left")

type limited struct{ n int }

func (l *limited) Write(b []byte) (int, error) {
	if l.n -= len(b); l.n < 0 {
		return 0, errFull
	}
	return len(b), nil
}

func TestSaveReplacesNothing(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "a")
	text := func(s string) func(io.Writer) error {
		return func(w io.Writer) error { _, err := io.WriteString(w, s); return err }
	}
	if err := Save(path, text("first")); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
	var exists *ExistsError
	if err := Save(path, text("second")); !errors.As(err, &exists) {
		t.Errorf("a second one: %v", err)
	}
	if b, err := os.ReadFile(path); err != nil || string(b) != "first" || len(names(t, dir)) != 1 {
		t.Errorf("%q, %v, %v", b, err, names(t, dir))
	}
}

// While a backup is made, others write: it is of one moment all the same.
func TestOneSnapshot(t *testing.T) {
	s := openMemory(t)
	fill(t, s, 0, 2000)
	want := rowsOf(t, s)
	file := filepath.Join(t.TempDir(), "a")
	err := Save(file, func(w io.Writer) error {
		begun := false
		_, err := Write(t.Context(), w, s, Options{Dir: t.TempDir(), Progress: func(int64, int64) {
			if !begun {
				begun = true
				fill(t, s, 1000, 2000)
			}
		}})
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	rows, err := rowsIn([]string{file}, RestoreOptions{})
	if err != nil {
		t.Fatal(err)
	}
	wantRows(t, want, rows)
}

func TestKeys(t *testing.T) {
	for _, bad := range []string{"", "age1", "age1x", "ssh-ed25519 AAAA", "AGE-SECRET-KEY-1QQ", "age1pq1x"} {
		if _, err := ParseRecipient(bad); err == nil {
			t.Errorf("%q is taken for a recipient", bad)
		}
	}
	mine, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	theirs, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	r, err := ParseRecipient(mine.Recipient().String())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := ParseIdentities(strings.NewReader(mine.String()[:20])); err == nil || strings.Contains(err.Error(), "SECRET") {
		t.Errorf("half of a secret key: %v", err)
	}
	ids, err := ParseIdentities(strings.NewReader("# mine\n" + mine.String() + "\n"))
	if err != nil {
		t.Fatal(err)
	}
	s := openMemory(t)
	fill(t, s, 0, 10)
	file, _ := written(t, s, filepath.Join(t.TempDir(), "a"), Options{Dir: t.TempDir(), Recipients: []age.Recipient{r}})
	if b, err := os.ReadFile(file); err != nil || bytes.Contains(b, []byte("scimbox backup")) {
		t.Errorf("it is not encrypted: %v", err)
	}
	if _, err := rowsIn([]string{file}, RestoreOptions{Identities: ids}); err != nil {
		t.Error(err)
	}
	var key *KeyError
	if _, err := rowsIn([]string{file}, RestoreOptions{}); !errors.As(err, &key) || key.Given {
		t.Errorf("without a key: %v", err)
	}
	if _, err := rowsIn([]string{file}, RestoreOptions{Identities: []age.Identity{theirs}}); !errors.As(err, &key) || !key.Given {
		t.Errorf("with another key: %v", err)
	}
}

// A backup of a later form, or with rows of a later format, is refused by name.
func TestLaterForms(t *testing.T) {
	var form *FormatError
	if _, err := openReader(strings.NewReader("scimbox backup 2\nwhatever"), "x", nil, nil); !errors.As(err, &form) || form.Found != 2 {
		t.Errorf("a later form: %v", err)
	}
	var b bytes.Buffer
	f, err := newFrameWriter(&b, backupMagic)
	if err != nil {
		t.Fatal(err)
	}
	w := writer{frames: f}
	if err := errors.Join(w.json(frameHead, Manifest{Format: 1, StoreFormat: storage.Format + 1, Version: "9.9"}), f.end()); err != nil {
		t.Fatal(err)
	}
	if _, err := openReader(&b, "x", nil, nil); !errors.As(err, &form) || form.Version != "9.9" || !strings.Contains(err.Error(), "run scimbox 9.9 or a later one") {
		t.Errorf("rows of a later format: %v", err)
	}
}

// A backup from somebody else writes nothing outside of the data directory, and nothing over the store.
func TestFilesStayInside(t *testing.T) {
	for name, want := range map[string]bool{
		"tls/a": true, "a": true, "tls/..a": true,
		"": false, ".": false, "..": false, "../a": false, "/etc/passwd": false, "tls/../../a": false, "tls/../a": false, "tls//a": false, "tls/": false,
		"store/MANIFEST": false, "Store/x": false, "seal.json": false, "backups/x": false, "positions/1.1": false, "control.sock": false, "restoring/x": false,
	} {
		if got := placeable(name); got != want {
			t.Errorf("placeable(%q) = %v", name, got)
		}
	}
}
