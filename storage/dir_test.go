package storage

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// tables is how many tables a filled directory has: each stop makes one of what is in memory. From three on the engine would
// merge them while a directory is copied, and no process that is killed ever leaves such a copy.
const tables = 2

func filledID(table, i int) string { return fmt.Sprintf("u%d-%02d", table, i) }

// filled returns a data directory whose store was stopped in an orderly way.
func filled(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for i := range tables {
		s := openAt(t, dir)
		fill(t, s, i)
		closeStore(t, s)
	}
	return dir
}

func fill(t *testing.T, s *Store, table int) {
	t.Helper()
	for i := range 20 {
		putRecords(t, s, record(filledID(table, i)))
	}
}

// crashed returns a data directory as it is left by a crash, with its last changes in the log of the table in memory.
// The seal knows of them.
func crashed(t *testing.T) string {
	t.Helper()
	dir := filled(t)
	s := openAt(t, dir)
	fill(t, s, tables)
	if err := s.engine.(*sealedEngine).sealer.write(t.Context()); err != nil {
		t.Fatal(err)
	}
	left := copyDir(t, dir)
	closeStore(t, s)
	logOf(t, left)
	return left
}

// wantWhole opens a directory and looks whether all that was acknowledged is there.
func wantWhole(t *testing.T, dir string, filledTables int) {
	t.Helper()
	s := openAt(t, dir)
	defer closeStore(t, s)
	for n := range filledTables {
		for i := range 20 {
			wantRecord(t, s, record(filledID(n, i)))
		}
	}
	if got, want := s.LastSeq(), uint64(filledTables*20); got != want {
		t.Errorf("the journal ends at %d, want %d", got, want)
	}
	wantClean(t, s)
	if _, err := os.Stat(filepath.Join(dir, trialName)); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the rehearsal's directory is left: %v", err)
	}
}

func TestCrashThenOpen(t *testing.T) {
	dir := crashed(t)
	wantWhole(t, dir, tables+1)
	wantWhole(t, dir, tables+1)
}

func TestCrashBeforeTheSeal(t *testing.T) {
	// The seal is behind: that must not keep anybody from what the store has more.
	dir := t.TempDir()
	s := openAt(t, dir)
	old, err := os.ReadFile(filepath.Join(dir, SealName))
	if err != nil {
		t.Fatal(err)
	}
	fill(t, s, 0)
	left := copyDir(t, dir)
	closeStore(t, s)
	write(t, filepath.Join(left, SealName), old)
	wantWhole(t, left, 1)
}

func TestCrashWhileOpening(t *testing.T) {
	dir := crashed(t)
	trial := filepath.Join(dir, trialName)
	if err := os.Mkdir(trial, 0o700); err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(trial, manifestName), []byte("half of it"))
	write(t, filepath.Join(dir, SealName+".new"), []byte("half of it"))
	wantWhole(t, dir, tables+1)
}

func TestFirstStartInterrupted(t *testing.T) {
	dir := t.TempDir()
	closeStore(t, openAt(t, dir))
	if err := os.RemoveAll(filepath.Join(dir, storeName)); err != nil {
		t.Fatal(err)
	}
	if err := writeSeal(dir, seal{Format: Format}); err != nil { // what is written before there is a store
		t.Fatal(err)
	}
	wantWhole(t, dir, 0)
}

func write(t *testing.T, path string, b []byte) {
	t.Helper()
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
}

// edit changes a file.
func edit(t *testing.T, path string, change func([]byte) []byte) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	write(t, path, change(b))
}

func flipAt(i int) func([]byte) []byte {
	return func(b []byte) []byte { b[i] ^= 0x10; return b }
}

func cutTo(n int) func([]byte) []byte { return func(b []byte) []byte { return b[:n] } }
func cutHalf(b []byte) []byte         { return b[:len(b)/2] }
func zero(b []byte) []byte            { clear(b); return b }
func zeroFirst(b []byte) []byte       { clear(b[:len(b)/2]); return b }
func zeroLast(b []byte) []byte        { clear(b[len(b)/2:]); return b }
func flipMiddle(b []byte) []byte      { b[len(b)/2] ^= 0x10; return b }

// log is the path of the log that has the last changes of a crashed directory.
func logOf(t *testing.T, dir string) string {
	t.Helper()
	l, err := logs(filepath.Join(dir, storeName))
	maps.DeleteFunc(l, func(_ string, size int64) bool { return size == 0 }) // the next one, which was made before it is needed
	if err != nil || len(l) != 1 {
		t.Fatalf("the logs are %v, %v", l, err)
	}
	for name := range l {
		return filepath.Join(dir, storeName, name)
	}
	return ""
}

// cutManifest cuts the MANIFEST short at the end of one of its records, so that it forgets tables.
func cutManifest(t *testing.T, dir string) {
	t.Helper()
	path := filepath.Join(dir, storeName, manifestName)
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	m, err := readManifest(filepath.Dir(path))
	if err != nil {
		t.Fatal(err)
	}
	for n := len(whole) - 1; n >= 8; n-- {
		write(t, path, whole[:n])
		less, err := readManifest(filepath.Dir(path))
		if err == nil && len(less.tables) == len(m.tables)-1 {
			continue // go on to the smallest that knows as many
		}
		if err == nil && len(less.tables) < len(m.tables)-1 {
			write(t, path, whole[:n+1])
			return
		}
	}
	t.Fatal("the MANIFEST has no record that could be cut off")
}

func firstTable(t *testing.T, dir string) string {
	t.Helper()
	l, err := tableFiles(filepath.Join(dir, storeName))
	if err != nil || len(l) == 0 {
		t.Fatalf("the tables are %d, %v", l, err)
	}
	return filepath.Join(dir, storeName, tableName(l[0]))
}

func TestRefusedAtOpen(t *testing.T) {
	inStore := func(name string) func(t *testing.T, dir string) string {
		return func(_ *testing.T, dir string) string { return filepath.Join(dir, storeName, name) }
	}
	sealPath := func(_ *testing.T, dir string) string { return filepath.Join(dir, SealName) }
	change := func(path func(*testing.T, string) string, change func([]byte) []byte) func(*testing.T, string) {
		return func(t *testing.T, dir string) { edit(t, path(t, dir), change) }
	}
	remove := func(path func(*testing.T, string) string) func(*testing.T, string) {
		return func(t *testing.T, dir string) {
			if err := os.RemoveAll(path(t, dir)); err != nil {
				t.Fatal(err)
			}
		}
	}
	store := inStore("")
	const (
		lost    = "data are missing in"
		damaged = "is damaged"
		nothing = "Nothing was changed"
	)
	closed, killed := filled(t), crashed(t)
	for name, c := range map[string]struct {
		crashed bool
		harm    func(t *testing.T, dir string)
		want    []string // in the error
		accept  int      // records that are there with AcceptDataLoss; -1: it is refused all the same; -2: fewer than there were
	}{
		"MANIFEST deleted":                {false, remove(inStore(manifestName)), []string{lost, manifestName, nothing}, 0},
		"MANIFEST deleted after a crash":  {true, remove(inStore(manifestName)), []string{lost, manifestName, nothing}, -2},
		"MANIFEST cut at a record":        {false, cutManifest, []string{lost, manifestName + " does not know 000002.sst, which the seal knows", nothing}, -2},
		"MANIFEST cut, after a crash":     {true, cutManifest, []string{lost, manifestName + " does not know 000002.sst, which the seal knows", nothing}, -2},
		"MANIFEST cut within a record":    {false, change(inStore(manifestName), func(b []byte) []byte { return b[:len(b)-3] }), []string{lost, manifestName, nothing}, -2},
		"MANIFEST with only its head":     {false, change(inStore(manifestName), cutTo(16)), []string{lost, manifestName, nothing}, 0},
		"MANIFEST empty":                  {false, change(inStore(manifestName), cutTo(0)), []string{manifestName, damaged}, -1},
		"MANIFEST flipped":                {false, change(inStore(manifestName), flipMiddle), []string{manifestName, damaged}, -1},
		"table deleted":                   {false, remove(firstTable), []string{".sst", damaged, "not there", nothing}, -1},
		"table flipped":                   {false, change(firstTable, flipAt(100)), []string{".sst", damaged, nothing}, -1},
		"table flipped at its end":        {false, change(firstTable, func(b []byte) []byte { return flipAt(len(b) - 1)(b) }), []string{".sst", damaged, nothing}, -1},
		"table cut":                       {false, change(firstTable, cutHalf), []string{".sst", damaged, nothing}, -1},
		"table cut to a few bytes":        {false, change(firstTable, cutTo(3)), []string{".sst", damaged, nothing}, -1},
		"table empty":                     {false, change(firstTable, cutTo(0)), []string{".sst", damaged, nothing}, -1},
		"table zeroed":                    {false, change(firstTable, zero), []string{".sst", damaged, nothing}, -1},
		"table zeroed in its first half":  {false, change(firstTable, zeroFirst), []string{".sst", damaged, nothing}, -1},
		"table zeroed in its second half": {false, change(firstTable, zeroLast), []string{".sst", damaged, nothing}, -1},
		"table damaged, after a crash":    {true, change(firstTable, flipAt(100)), []string{".sst", damaged, nothing}, -1},
		"log deleted":                     {true, remove(logOf), []string{lost, "the store ends at commit 40, change 40, and its seal knows of commit 60, change 60", "store/00002.mem holds nothing", nothing}, 40},
		"log cut":                         {true, change(logOf, cutTo(2000)), []string{lost, "the store ends at commit 4", "store/00001.mem cannot be read from byte", nothing}, -2},
		"log empty":                       {true, change(logOf, cutTo(0)), []string{lost, "the store ends at commit 40", "store/00001.mem holds nothing", nothing}, 40},
		"log cut to a few bytes":          {true, change(logOf, cutTo(3)), []string{lost, "the store ends at commit 40", "store/00001.mem holds nothing", nothing}, 40},
		"log flipped":                     {true, change(logOf, flipAt(1000)), []string{lost, "the store ends at commit 4", "store/00001.mem cannot be read from byte 9", nothing}, -2},
		"log flipped at its beginning":    {true, change(logOf, flipAt(30)), []string{lost, "the store ends at commit 40", "store/00001.mem cannot be read from byte 20 on", nothing}, 40},
		"log zeroed":                      {true, change(logOf, zero), []string{lost, "the store ends at commit 40", "store/00001.mem holds nothing", nothing}, 40},
		"store deleted":                   {false, remove(store), []string{lost, "there is no directory", "store", "knows of 40 changes", nothing}, 0},
		"store empty":                     {false, func(t *testing.T, dir string) { remove(store)(t, dir); mkdir(t, store(t, dir)) }, []string{lost, manifestName, nothing}, 0},
		"seal deleted":                    {false, remove(sealPath), []string{lost, "no " + SealName, nothing}, 40},
		"seal empty":                      {false, change(sealPath, cutTo(0)), []string{SealName, damaged, nothing, "--accept-data-loss"}, 40},
		"seal cut":                        {false, change(sealPath, cutHalf), []string{SealName, damaged, nothing}, 40},
		"seal flipped":                    {false, change(sealPath, flipMiddle), []string{SealName, damaged, nothing}, 40},
		"seal flipped in its format":      {false, change(sealPath, func(b []byte) []byte { return []byte(strings.Replace(string(b), `"format":2`, `"format":9`, 1)) }), []string{SealName, damaged, nothing}, 40},
		"seal of a later format":          {false, laterSeal, []string{"format 3, written by scimbox 9.8.7", "run scimbox 9.8.7 or a later one"}, -1},
		"an older store":                  {false, olderStore, []string{lost, "the store ends at commit 20, change 20, and its seal knows of commit 40, change 40", nothing}, 20},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			whole, filledTables := closed, tables
			if c.crashed {
				whole, filledTables = killed, tables+1
			}
			dir := copyDir(t, whole)
			c.harm(t, dir)
			before := tree(t, dir)

			s, err := OpenDir(t.Context(), dir, Options{})
			if err == nil {
				closeStore(t, s)
				t.Fatal("it is opened")
			}
			for _, want := range c.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("the error is %q, want %q in it", err, want)
				}
			}
			var later *FormatError // of which nothing is damaged
			if !errors.As(err, &later) && !strings.Contains(err.Error(), "scimbox restore") {
				t.Errorf("the error does not tell the way back: %v", err)
			}
			if after := tree(t, dir); !maps.Equal(before, after) {
				t.Errorf("a refused directory was changed: it had %q and has %q", slices.Sorted(maps.Keys(before)), slices.Sorted(maps.Keys(after)))
			}

			accepted := copyDir(t, dir)
			s, err = OpenDir(t.Context(), accepted, Options{AcceptDataLoss: true})
			switch {
			case c.accept == -1 && err == nil:
				closeStore(t, s)
				t.Error("with AcceptDataLoss it is opened")
			case c.accept == -1:
			case err != nil:
				t.Errorf("with AcceptDataLoss: %v", err)
			default:
				// Counters and journal may tell of what is lost; all else can be made to fit what is there.
				check(t, s, true)
				for _, f := range check(t, s, false) {
					// What was lost in the middle, below a newer log, stays a finding; what was lost at the end was accepted.
					if f.Kind != BrokenJournal || f.Where == describe(journalKey(s.LastSeq())) {
						t.Errorf("Check after a repair: %s: %s: %s", f.Kind, f.Where, f.Text)
					}
				}
				wantNumberedAnew(t, s, uint64(filledTables*20))
				view(t, s, func(tx *Tx) error {
					n, err := tx.Count("User")
					if c.accept >= 0 && n != int64(c.accept) || c.accept < 0 && n >= int64(filledTables*20) {
						t.Errorf("with AcceptDataLoss there are %d records, want %d", n, c.accept)
					}
					return err
				})
				putRecords(t, s, record("after"))
				closeStore(t, s)
				closeStore(t, openAt(t, accepted)) // the loss was accepted once and for all
			}

			// Whoever puts back what was lost has everything again.
			for name, b := range tree(t, whole) {
				path := filepath.Join(dir, name)
				if have, err := os.ReadFile(path); err != nil || string(have) != b {
					mkdir(t, filepath.Dir(path))
					write(t, path, []byte(b))
				}
			}
			wantWhole(t, dir, filledTables)
		})
	}
}

func mkdir(t *testing.T, dir string) {
	t.Helper()
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
}

func laterSeal(t *testing.T, dir string) {
	t.Helper()
	if err := writeSeal(dir, seal{Format: Format + 1, Version: "9.8.7"}); err != nil {
		t.Fatal(err)
	}
}

// olderStore puts a store in place that has stopped where the one of the directory was a table ago.
func olderStore(t *testing.T, dir string) {
	t.Helper()
	older := t.TempDir()
	for i := range tables - 1 {
		s := openAt(t, older)
		fill(t, s, i)
		closeStore(t, s)
	}
	if err := os.RemoveAll(filepath.Join(dir, storeName)); err != nil {
		t.Fatal(err)
	}
	if err := os.CopyFS(filepath.Join(dir, storeName), os.DirFS(filepath.Join(older, storeName))); err != nil {
		t.Fatal(err)
	}
}

func TestCountsOfTheSeal(t *testing.T) {
	// As many commits as the seal knows, but not as many records.
	dir := filled(t)
	e, err := OpenBadger(filepath.Join(dir, storeName))
	if err != nil {
		t.Fatal(err)
	}
	k := counterKey(tenant, "User")
	plant(t, e, string(k), number(k, 39))
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	_, err = OpenDir(t.Context(), dir, Options{})
	if !isLost(err) || !strings.Contains(err.Error(), "tenant acme has 39 records of kind User, and the seal knows of 40") {
		t.Errorf("OpenDir: %v", err)
	}
}

func TestOtherFilesOfTheEngine(t *testing.T) {
	// Nothing of ours is in them. Whatever is done to them, the store is whole or refused, and nothing crashes.
	whole := crashed(t)
	vlogs, err := filepath.Glob(filepath.Join(whole, storeName, "*.vlog"))
	if err != nil || len(vlogs) == 0 {
		t.Fatalf("the value logs are %q, %v", vlogs, err)
	}
	for _, name := range []string{filepath.Base(vlogs[len(vlogs)-1]), "DISCARD", "KEYREGISTRY"} {
		for how, change := range map[string]func([]byte) []byte{"deleted": nil, "cut": cutHalf, "empty": cutTo(0), "zeroed": zero, "flipped": flipAt(5)} {
			t.Run(name+" "+how, func(t *testing.T) {
				t.Parallel()
				dir := copyDir(t, whole)
				path := filepath.Join(dir, storeName, name)
				if change == nil {
					if err := os.Remove(path); err != nil {
						t.Fatal(err)
					}
				} else {
					edit(t, path, change)
				}
				s, err := OpenDir(t.Context(), dir, Options{})
				if err != nil {
					if !isDamage(err) {
						t.Errorf("OpenDir: %v, want a DamageError or none", err)
					}
					return
				}
				closeStore(t, s)
				wantWhole(t, dir, tables+1)
			})
		}
	}
}

func TestVerifyTable(t *testing.T) {
	dir := filled(t)
	m, err := readManifest(filepath.Join(dir, storeName))
	if err != nil {
		t.Fatal(err)
	}
	path := firstTable(t, dir)
	var id uint64
	if _, err := fmt.Sscanf(filepath.Base(path), "%d.sst", &id); err != nil {
		t.Fatal(err)
	}
	if _, _, err := verifyTable(path, m.tables[id], tableSum{}, nil); err != nil {
		t.Fatalf("a whole table: %v", err)
	}
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	verify := func(b []byte) error { return verifyTableIn(bytes.NewReader(b), int64(len(b)), m.tables[id]) }
	var unnoticed [][]byte
	for bit := range len(whole) * 8 {
		b := slices.Clone(whole)
		b[bit/8] ^= 1 << (bit % 8)
		if verify(b) == nil {
			unnoticed = append(unnoticed, b)
		}
	}
	// Compressed data say "again what was there so many bytes ago", and sometimes the same was there a bit further ago as
	// well. Such a flip does no harm.
	if len(unnoticed) > len(whole)*8/100 {
		t.Errorf("%d of %d flipped bits are not found", len(unnoticed), len(whole)*8)
	}
	for _, b := range unnoticed[:min(3, len(unnoticed))] {
		write(t, path, b)
		wantWhole(t, copyDir(t, dir), tables)
	}
	for n := 0; n < len(whole); n++ {
		if verify(whole[:n]) == nil {
			t.Errorf("cut to %d of %d bytes: not found", n, len(whole))
		}
	}
	t.Logf("%d flipped bits, of which %d do no harm, and %d cuts", len(whole)*8, len(unnoticed), len(whole))
}

func TestModes(t *testing.T) {
	dir := filled(t)
	for name, want := range map[string]fs.FileMode{SealName: 0o600, storeName: 0o700} {
		info, err := os.Stat(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		if got := info.Mode().Perm(); got != want {
			t.Errorf("%s has the mode %v, want %v", name, got, want)
		}
	}
}

func TestOpenDirWithoutDirectory(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "nothing")
	if _, err := OpenDir(t.Context(), dir, Options{}); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("OpenDir: %v, want fs.ErrNotExist", err)
	}
	if _, err := os.Stat(dir); !errors.Is(err, fs.ErrNotExist) {
		t.Error("it was made")
	}
}

func TestOpenDirCanceled(t *testing.T) {
	dir := filled(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := OpenDir(ctx, dir, Options{}); !errors.Is(err, context.Canceled) {
		t.Errorf("OpenDir: %v, want context.Canceled", err)
	}
	wantWhole(t, dir, tables) // and the lock is free
}

// openChild is a process that tries to open a directory and prints what comes of it.
const openChild = "SCIMBOX_OPEN_CHILD"

func openAndTell(dir string) {
	s, err := OpenDir(context.Background(), dir, Options{})
	switch {
	case errors.Is(err, ErrLocked):
		fmt.Print("locked")
	case err != nil:
		fmt.Print(err)
	default:
		fmt.Print("opened", s.Close())
	}
	os.Exit(0)
}

func TestLocked(t *testing.T) {
	dir := t.TempDir()
	s := openAt(t, dir)
	other := func() string {
		t.Helper()
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), openChild+"="+dir)
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		return string(out)
	}
	if _, err := OpenDir(t.Context(), dir, Options{}); !errors.Is(err, ErrLocked) {
		t.Errorf("a second time in this process: %v, want ErrLocked", err)
	}
	if got := other(); got != "locked" {
		t.Errorf("in another process: %q, want ErrLocked", got)
	}
	// The engine by itself keeps others out as well, if somebody has it open under another name.
	if _, err := openBadger(filepath.Join(dir, storeName), s.log); !errors.Is(err, ErrLocked) {
		t.Errorf("the engine alone: %v, want ErrLocked", err)
	}
	putRecords(t, s, record("u1")) // and the one who has it goes on
	closeStore(t, s)
	if got := other(); got != "opened<nil>" {
		t.Errorf("after Close, in another process: %q", got)
	}
	s = openAt(t, dir)
	wantRecord(t, s, record("u1"))
	closeStore(t, s)
}

func TestDiskSize(t *testing.T) {
	dir := t.TempDir()
	s := openAt(t, dir)
	defer closeStore(t, s)
	fill(t, s, 0)
	st, err := s.Stats(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	// The log of the table in memory is 32 MiB long, and nearly all of it is a hole.
	if st.DiskSize < 1<<10 || st.DiskSize > 4<<20 {
		t.Errorf("DiskSize = %d", st.DiskSize)
	}
}

func TestCopySparse(t *testing.T) {
	dir := t.TempDir()
	for i, size := range []int{0, 1, 1 << 16, 1<<16 + 1, 3 << 16} {
		b := make([]byte, size)
		for j := range b {
			if j < 10 || j > 2<<16 {
				b[j] = byte(j)
			}
		}
		from, to := filepath.Join(dir, fmt.Sprint("from", i)), filepath.Join(dir, fmt.Sprint("to", i))
		write(t, from, b)
		if err := copySparse(to, from); err != nil {
			t.Fatal(err)
		}
		if got, err := os.ReadFile(to); err != nil || string(got) != string(b) {
			t.Errorf("%d bytes are copied as %d, %v", size, len(got), err)
		}
	}
}

// wantNumberedAnew wants a store that may have lost changes up to a sequence to go on behind it, and to say so in the journal.
func wantNumberedAnew(t *testing.T, s *Store, had uint64) {
	t.Helper()
	last := s.LastSeq()
	if last <= had || s.commits.Load() <= had {
		t.Errorf("it goes on behind change %d, commit %d, and there were %d", last, s.commits.Load(), had)
	}
	rows, err := s.Journal(t.Context(), last-1, 10)
	if err != nil || len(rows) != 1 || rows[0].Op != OpLoss || rows[0].Seq != last {
		t.Errorf("the journal ends with %+v, %v", rows, err)
	}
}
