package backup

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"filippo.io/age"

	"scimbox/storage"
)

// readOnly reads a backup and makes no store of it: the engine's goroutines do not belong into a bubble.
func readOnly(_ context.Context, files []string, o RestoreOptions) (*Restored, error) {
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
	for _, err := range b.rows() {
		if err != nil {
			return nil, err
		}
	}
	return &Restored{Manifest: *b.final}, nil
}

// keeperFor runs a Keeper in a bubble until stop is called.
func keeperFor(t *testing.T, s *storage.Store, p Plan, o Options) (k *Keeper, stop func()) {
	t.Helper()
	k = NewKeeper(s, p, o, storage.Options{})
	k.verify = readOnly
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); k.Run(ctx) }()
	return k, func() { cancel(); <-done }
}

func createdTimes(dir, store string) []string {
	var l []string
	for _, d := range listBackups(dir, store, time.Now()) {
		l = append(l, d.Created.Format("02T15:04"))
	}
	return l
}

// The clock of a bubble begins on 2000-01-01 at midnight.
func TestScheduleOutlivesRestarts(t *testing.T) {
	dir, data := filepath.Join(t.TempDir(), "backups"), t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		s, err := storage.Open(t.Context(), storage.Memory(), storage.Options{})
		if err != nil {
			t.Fatal(err)
		}
		defer closeStore(t, s)
		fill(t, s, 0, 10)
		p := Plan{Every: 24 * time.Hour, Keep: 3, Dir: dir}
		start := func() (*Keeper, func()) { return keeperFor(t, s, p, Options{Dir: data}) }
		want := func(l ...string) {
			t.Helper()
			synctest.Wait()
			if got := createdTimes(dir, s.ID()); !slices.Equal(got, l) {
				t.Fatalf("at %s there are %v, want %v", time.Now().UTC(), got, l)
			}
		}

		k, stop := start()
		time.Sleep(30 * time.Second)
		want()
		if st := k.State(); st.Last != nil || !st.Next.Equal(time.Now().Add(30*time.Second)) {
			t.Errorf("before the first one: %+v", st)
		}
		time.Sleep(30*time.Second + time.Millisecond)
		want("01T00:01")
		// A server that is started again every hour, for days.
		for range 50 {
			stop()
			time.Sleep(30 * time.Minute)
			_, stop = start()
			time.Sleep(30 * time.Minute)
		}
		want("03T00:01", "02T00:01", "01T00:01")
		stop()
		// One that was off for a week makes one at once, and the oldest goes.
		time.Sleep(7 * 24 * time.Hour)
		k, stop = start()
		want("10T02:01", "03T00:01", "02T00:01")
		if st := k.State(); st.Kept != 3 || st.Last.File != filepath.Join(dir, names(t, dir)[2]) || !st.Next.Equal(st.Last.Created.Add(24*time.Hour)) || st.Failure != nil {
			t.Errorf("%+v", st)
		}
		stop()
	})
}

// A clock that was ahead when a backup was made neither stops the schedule nor costs another backup its place.
func TestClockThatWasAhead(t *testing.T) {
	dir, data := t.TempDir(), t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		s, err := storage.Open(t.Context(), storage.Memory(), storage.Options{})
		if err != nil {
			t.Fatal(err)
		}
		defer closeStore(t, s)
		for _, name := range []string{"scimbox-20360101T000000Z-7.7-ID.backup", "scimbox-20370101T000000Z-8.8-ID.backup", "scimbox-19990101T000000Z-5.5-ID.backup", "scimbox-notes.backup", "mine-20000101T000000Z-7.7-ID.backup"} {
			writeFile(t, dir, strings.Replace(name, "ID", s.ID(), 1), "x")
		}
		_, stop := keeperFor(t, s, Plan{Every: time.Hour, Keep: 2, Dir: dir}, Options{Dir: data})
		time.Sleep(3*time.Hour + time.Minute)
		synctest.Wait()
		stop()
		if got := createdTimes(dir, s.ID()); !slices.Equal(got, []string{"01T03:00", "01T02:00"}) {
			t.Errorf("there are %v", got)
		}
		if got := names(t, dir); len(got) != 2+4 {
			t.Errorf("there are %v", got)
		}
	})
}

// A backup that fails, or does not verify, costs no older one; it is tried again, and said.
func TestFailuresAreTold(t *testing.T) {
	dir, data := t.TempDir(), t.TempDir()
	var log bytes.Buffer
	synctest.Test(t, func(t *testing.T) {
		s, err := storage.Open(t.Context(), storage.Memory(), storage.Options{})
		if err != nil {
			t.Fatal(err)
		}
		defer closeStore(t, s)
		old := "scimbox-19991201T000000Z-5.5-" + s.ID() + ".backup"
		writeFile(t, dir, old, "old")
		writeFile(t, dir, ".scimbox-20000101T000000Z-7.7-"+s.ID()+".backup.123.partial", "half")
		writeFile(t, dir, ".before-format-2-scimbox-20000101T000000Z-7.7-"+s.ID()+".backup.123.partial", "half")
		writeFile(t, dir, "scimbox-verify-"+s.ID()+"-123/store/MANIFEST", "half")
		k := NewKeeper(s, Plan{Every: 24 * time.Hour, Keep: 1, Dir: dir}, Options{Dir: data, Logger: slog.New(slog.NewTextHandler(&log, nil))}, storage.Options{})
		tries := 0
		k.verify = func(ctx context.Context, files []string, o RestoreOptions) (*Restored, error) {
			if tries++; tries <= 2 {
				return nil, errors.New("the disk is full")
			}
			return readOnly(ctx, files, o)
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { defer close(done); k.Run(ctx) }()
		time.Sleep(time.Second)
		synctest.Wait()
		st := k.State()
		if st.Failure == nil || !strings.Contains(st.Failure.Error, "does not restore: the disk is full") || st.Failures != 1 || st.Last == nil || st.Kept != 1 {
			t.Errorf("after a failure: %+v", st)
		}
		if got := names(t, dir); !slices.Equal(got, []string{old}) {
			t.Errorf("after a failure there are %v", got)
		}
		time.Sleep(2 * tryAgain)
		synctest.Wait()
		st = k.State()
		if st.Failure != nil || st.Failures != 2 || tries != 3 || st.Kept != 1 || st.Last.Created.Year() != 2000 {
			t.Errorf("after %d tries: %+v", tries, st)
		}
		cancel()
		<-done
	})
	if text := log.String(); strings.Count(text, "level=ERROR") != 2 || strings.Count(text, "backup made and verified") != 1 {
		t.Errorf("the log:\n%s", text)
	}
}

// Several servers may have one directory for backups: each sees its own, counts its own, and leaves alone what the others have
// made, and are making.
func TestOneDirectoryForTwoStores(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		for _, recipient := range []bool{false, true} {
			p := Plan{Every: 24 * time.Hour, Keep: 2, Dir: dir}
			if recipient { // then nobody can ask the files
				id, err := age.GenerateX25519Identity()
				if err != nil {
					t.Fatal(err)
				}
				p.Recipient = id.Recipient()
			}
			var stores []*storage.Store
			for range 2 {
				s, err := storage.Open(t.Context(), storage.Memory(), storage.Options{})
				if err != nil {
					t.Fatal(err)
				}
				defer closeStore(t, s)
				fill(t, s, 0, 10)
				stores = append(stores, s)
			}
			if stores[0].ID() == stores[1].ID() {
				t.Fatal("two stores are one")
			}
			others := []string{".scimbox-20000101T000000Z-7.7-" + stores[1].ID() + ".backup.123.partial", "scimbox-verify-" + stores[1].ID() + "-123"}
			writeFile(t, dir, others[0], "half")
			writeFile(t, dir, others[1]+"/store/MANIFEST", "half")
			k, stop := keeperFor(t, stores[0], p, Options{Dir: t.TempDir()})
			time.Sleep(25 * time.Hour)
			synctest.Wait()
			if st := k.State(); st.Kept != 2 {
				t.Errorf("the first has %+v", st)
			}
			stop()
			for _, name := range others {
				if _, err := os.Stat(filepath.Join(dir, name)); err != nil {
					t.Errorf("the other's work was removed: %v", err)
				}
			}
			k, stop = keeperFor(t, stores[1], p, Options{Dir: t.TempDir()})
			if st := k.State(); st.Kept != 0 || st.Last != nil {
				t.Errorf("the second takes those of the first for its own: %+v", st)
			}
			time.Sleep(73 * time.Hour)
			synctest.Wait()
			stop()
			if a, b := createdTimes(dir, stores[0].ID()), createdTimes(dir, stores[1].ID()); len(a) != 2 || len(b) != 2 {
				t.Errorf("there are %v and %v", a, b)
			}
			for _, name := range others {
				if _, err := os.Stat(filepath.Join(dir, name)); !errors.Is(err, fs.ErrNotExist) {
					t.Errorf("%s is still there", name)
				}
			}
		}
	})
}

// What is restored to be verified takes as much room as the store. Where that is not there, neither the backup nor the trial is
// left, the older backup stays, and the store itself goes on.
func TestVerifyingStopsAtTheWatermark(t *testing.T) {
	const plenty = 1 << 40
	for _, at := range []struct {
		name  string
		looks int64 // of the trial's store at the disk before there is too little
	}{{"before it begins", 0}, {"in the middle", 2}} {
		t.Run(at.name, func(t *testing.T) {
			s := openMemory(t)
			fill(t, s, 0, 8000)
			dir := t.TempDir()
			k := NewKeeper(s, Plan{Every: time.Hour, Keep: 1, Dir: dir}, Options{Dir: t.TempDir()}, storage.Options{})
			older, err := k.Make(t.Context(), "")
			if err != nil {
				t.Fatal(err)
			}
			fill(t, s, 8000, 1)
			var looks int64
			k.trial.FreeSpace = func(in string) (int64, error) {
				if !strings.HasPrefix(filepath.Base(in), "scimbox-verify-"+s.ID()+"-") || filepath.Dir(in) != dir {
					t.Errorf("it is tried out in %s, which the next start does not know to remove", in)
				}
				if looks++; looks > at.looks {
					return 1 << 20, nil
				}
				return plenty, nil
			}
			_, err = k.Make(t.Context(), "")
			var short *storage.SpaceError
			if !errors.As(err, &short) || looks != at.looks+1 {
				t.Errorf("after %d looks: %v", looks, err)
			}
			if got := names(t, dir); !slices.Equal(got, []string{filepath.Base(older)}) {
				t.Errorf("there are %v", got)
			}
			fill(t, s, 9000, 1)
		})
	}
}

func TestNoSchedule(t *testing.T) {
	s := openMemory(t)
	k := NewKeeper(s, Plan{Dir: t.TempDir(), Keep: 1}, Options{Dir: t.TempDir()}, storage.Options{})
	k.Run(t.Context()) // returns
	if st := k.State(); st.Every != "" || !st.Next.IsZero() || st.Last != nil {
		t.Errorf("%+v", st)
	}
}

// For once, everything as it is in a server; and to a key of which the server has the public half alone.
func TestMakeVerifiesForReal(t *testing.T) {
	mine, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	quantum, err := age.GenerateHybridIdentity()
	if err != nil {
		t.Fatal(err)
	}
	e := storage.Memory()
	s := openOn(t, e)
	fill(t, s, 0, 100)
	for _, test := range []struct {
		to  age.Recipient
		ids []age.Identity
	}{{nil, nil}, {mine.Recipient(), []age.Identity{mine}}, {quantum.Recipient(), []age.Identity{quantum}}} {
		dir := t.TempDir()
		k := NewKeeper(s, Plan{Every: time.Hour, Keep: 1, Dir: dir, Recipient: test.to}, Options{Dir: t.TempDir()}, storage.Options{})
		path, err := k.Make(t.Context(), "")
		if err != nil {
			t.Fatal(err)
		}
		if got := names(t, dir); len(got) != 1 || filepath.Join(dir, got[0]) != path {
			t.Errorf("there are %v", got)
		}
		if _, err := Verify(t.Context(), []string{path}, RestoreOptions{Identities: test.ids}); err != nil {
			t.Error(err)
		}
		var key *KeyError
		if _, err := Verify(t.Context(), []string{path}, RestoreOptions{}); test.to != nil && !errors.As(err, &key) {
			t.Errorf("without the key: %v", err)
		}
		if named, err := k.Make(t.Context(), "before-format-2-"); err != nil || !strings.HasPrefix(filepath.Base(named), "before-format-2-scimbox-") {
			t.Errorf("%s, %v", named, err)
		}
		if got := names(t, dir); len(got) != 2 {
			t.Errorf("there are %v", got)
		}
	}

	// A store that does not fit together is not what to keep instead of an older backup.
	dir := t.TempDir()
	old := filepath.Join(dir, "scimbox-20000101T000000Z-5.5-"+s.ID()+".backup")
	if err := os.WriteFile(old, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	err = e.Update(t.Context(), func(w storage.Writer) error {
		return w.Delete([]byte("u" + tenant + "\x00User\x00username\x00name u000007"))
	})
	if err != nil {
		t.Fatal(err)
	}
	k := NewKeeper(s, Plan{Every: time.Hour, Keep: 1, Dir: dir}, Options{Dir: t.TempDir()}, storage.Options{})
	if _, err := k.Make(t.Context(), ""); err == nil || !strings.Contains(err.Error(), "scimbox check --repair") {
		t.Errorf("a store without one of its unique rows: %v", err)
	}
	if got := names(t, dir); !slices.Equal(got, []string{filepath.Base(old)}) {
		t.Errorf("there are %v", got)
	}
}
