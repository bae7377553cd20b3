package storage

import (
	"bytes"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
)

func TestSealEveryFlippedBit(t *testing.T) {
	dir := t.TempDir()
	want := seal{Format: Format, Version: "1.2.3", Commits: 7, Seq: 5, Counts: map[string]map[string]int64{"a<b>&": {"User": 3}}}
	if err := writeSeal(dir, want); err != nil {
		t.Fatal(err)
	}
	got, ok, err := readSeal(dir)
	if err != nil || !ok || fmt.Sprint(got) != fmt.Sprint(want) {
		t.Fatalf("the seal is read as %+v, %t, %v, want %+v", got, ok, err, want)
	}
	path := filepath.Join(dir, SealName)
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for bit := range len(whole) * 8 {
		b := slices.Clone(whole)
		b[bit/8] ^= 1 << (bit % 8)
		// Some bits only change how the names of the two members are written, which is nothing.
		if got, err := parseSeal(b, path); !isDamage(err) && (err != nil || fmt.Sprint(got) != fmt.Sprint(want)) {
			t.Errorf("bit %d of %q flipped: %+v, %v", bit%8, whole[bit/8], got, err)
		}
	}
}

func TestSealCompare(t *testing.T) {
	s := seal{Commits: 5, Seq: 3, Counts: map[string]map[string]int64{"a": {"User": 2}}}
	for _, c := range []struct {
		commits, seq uint64
		users        int64
		want         string
	}{
		{5, 3, 2, ""}, {6, 3, 1, ""}, {6, 4, 9, ""},
		{4, 3, 2, "the store ends at commit 4"}, {0, 0, 0, "the store ends at commit 0"},
		{5, 2, 2, "the journal ends at change 2"}, {6, 2, 2, "the journal ends at change 2"},
		{5, 3, 1, "tenant a has 1 records"}, {5, 3, 3, "tenant a has 3 records"},
	} {
		got := s.compare(c.commits, c.seq, map[string]map[string]int64{"a": {"User": c.users}, "b": {"User": 1}})
		if (got == "") != (c.want == "") || !strings.HasPrefix(got, c.want) {
			t.Errorf("compare(%d, %d, %d) = %q, want %q", c.commits, c.seq, c.users, got, c.want)
		}
	}
}

func TestSealFollows(t *testing.T) {
	dir := t.TempDir()
	var log logBuffer
	s, err := OpenDir(t.Context(), dir, Options{Logger: slog.New(slog.NewTextHandler(&log, nil))})
	if err != nil {
		t.Fatal(err)
	}
	defer closeStore(t, s)
	commits := func() uint64 {
		sealed, _, err := readSeal(dir)
		if err != nil {
			t.Fatal(err)
		}
		return sealed.Commits
	}
	putRecords(t, s, record("u1"))
	putRecords(t, s, record("u2"))
	eventually(t, "the seal knows of both", func() bool { return commits() == 2 })

	// While it cannot be written, the store goes on; once it can, nobody need change anything for it to be.
	block := filepath.Join(dir, SealName+".new")
	mkdir(t, block)
	putRecords(t, s, record("u3"))
	eventually(t, "the log says that the seal cannot be written", func() bool { return strings.Contains(log.String(), "the seal could not be written") })
	if err := os.Remove(block); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the seal knows of the third", func() bool { return commits() == 3 })
}

// logBuffer is a buffer for a log that is read while it is written.
type logBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func TestSealIsNeverAhead(t *testing.T) {
	dir := t.TempDir()
	s := openAt(t, dir)
	putRecords(t, s, record("u1"))
	sl := s.engine.(*sealedEngine).sealer
	eventually(t, "the seal knows of it", func() bool { sealed, _, _ := readSeal(dir); return sealed.Commits == 1 })

	// As it is when a commit can be read and its outcome is not known.
	err := sl.engine.Update(t.Context(), func(w Writer) error { return setNumber(w, commitKey, 2) })
	if err != nil {
		t.Fatal(err)
	}
	s.fail(ErrUnknownOutcome)
	if err := sl.write(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if sealed, _, err := readSeal(dir); err != nil || sealed.Commits != 1 {
		t.Errorf("the seal knows of commit %d, %v, want 1: nobody knows whether the second is durable", sealed.Commits, err)
	}
	closeStore(t, openAt(t, dir))
}

func TestSealOfAStopIsKept(t *testing.T) {
	// To open and stop a store that nobody changes costs no seal, and no rehearsal.
	dir := filled(t)
	path := filepath.Join(dir, SealName)
	before, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	sealed, _, err := readSeal(dir)
	if err != nil || sealed.Manifest == 0 {
		t.Fatalf("the seal of an orderly stop is %+v, %v", sealed, err)
	}
	closeStore(t, openAt(t, dir))
	after, err := os.Stat(path)
	if err != nil || !os.SameFile(before, after) {
		t.Errorf("the seal was written again: %v", err)
	}

	s := openAt(t, dir)
	putRecords(t, s, record("u1"))
	eventually(t, "the seal knows of it", func() bool { sealed, _, err = readSeal(dir); return err == nil && sealed.Commits == tables*20+1 })
	if sealed.Manifest != 0 {
		t.Error("the seal of a running store says that the store has stopped")
	}
	closeStore(t, s)
}
