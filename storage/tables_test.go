package storage

import (
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func readSealOf(t *testing.T, dir string) seal {
	t.Helper()
	sealed, ok, err := readSeal(dir)
	if err != nil || !ok {
		t.Fatalf("the seal: %v, %v", ok, err)
	}
	return sealed
}

func manifestOf(t *testing.T, dir string) manifest {
	t.Helper()
	m, err := readManifest(filepath.Join(dir, storeName))
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func TestSealKnowsTables(t *testing.T) {
	dir := filled(t)
	m, sealed := manifestOf(t, dir), readSealOf(t, dir)
	if len(sealed.Sums) != len(m.tables) || len(m.tables) == 0 {
		t.Fatalf("the seal of a stopped store knows %d of %d tables", len(sealed.Sums), len(m.tables))
	}

	// What was found whole stays known while the store runs, and so after a crash.
	s := openAt(t, dir)
	fill(t, s, tables)
	if err := s.engine.(*sealedEngine).sealer.write(t.Context()); err != nil {
		t.Fatal(err)
	}
	if running := readSealOf(t, dir); running.Manifest != 0 || !maps.Equal(running.Sums, sealed.Sums) {
		t.Errorf("the seal of the running store knows %v, want %v", running.Sums, sealed.Sums)
	}
	closeStore(t, s)
	if stopped, m := readSealOf(t, dir), manifestOf(t, dir); len(stopped.Sums) != len(m.tables) {
		t.Errorf("the seal knows %d of %d tables", len(stopped.Sums), len(m.tables))
	}
	wantWhole(t, dir, tables+1)
}

func TestKnownTableIsNotTakenApart(t *testing.T) {
	dir := filled(t)
	m := manifestOf(t, dir)
	path := firstTable(t, dir)
	id, err := tableFiles(filepath.Join(dir, storeName))
	if err != nil {
		t.Fatal(err)
	}
	sum, _, err := verifyTable(path, m.tables[id[0]], tableSum{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if known := readSealOf(t, dir).Sums[id[0]]; known != sum {
		t.Fatalf("the seal knows the table by %v, and it has %v", known, sum)
	}
	edit(t, path, flipAt(100))
	if _, _, err := verifyTable(path, m.tables[id[0]], sum, nil); err == nil {
		t.Error("a table that does not fit its sum is taken")
	}
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	forged, _, err := sumOf(strings.NewReader(string(b)), nil, int64(len(b)))
	if err != nil {
		t.Fatal(err)
	}
	// Nobody forges a seal; this is how it shows that the sum was enough.
	if _, _, err := verifyTable(path, m.tables[id[0]], tableSum{sum.Size, forged}, nil); err != nil {
		t.Errorf("a table that fits its sum is taken apart: %v", err)
	}
}

func TestWrongSumOfAWholeTable(t *testing.T) {
	// The number of a table can be given again after a crash. What the seal says of the one before is worth nothing then.
	dir := filled(t)
	right := readSealOf(t, dir)
	wrong := right
	wrong.Sums = map[uint64]tableSum{}
	for id, sum := range right.Sums {
		wrong.Sums[id] = tableSum{sum.Size, sum.Sum + 1}
	}
	if err := writeSeal(dir, wrong); err != nil {
		t.Fatal(err)
	}
	wantWhole(t, dir, tables)
	if now := readSealOf(t, dir); !maps.Equal(now.Sums, right.Sums) {
		t.Errorf("the seal knows %v, want %v", now.Sums, right.Sums)
	}
}

func TestSealWithoutSums(t *testing.T) {
	// As programs have written it that knew none.
	dir := filled(t)
	old := readSealOf(t, dir)
	want := old.Sums
	old.Sums = nil
	if err := writeSeal(dir, old); err != nil {
		t.Fatal(err)
	}
	damaged := copyDir(t, dir)
	edit(t, firstTable(t, damaged), flipAt(100))
	if _, err := OpenDir(t.Context(), damaged, Options{}); !isDamage(err) {
		t.Errorf("OpenDir: %v, want a DamageError", err)
	}
	wantWhole(t, dir, tables)
	if now := readSealOf(t, dir); !maps.Equal(now.Sums, want) {
		t.Errorf("the seal knows %v, want %v", now.Sums, want)
	}
}

func TestStopThatHasNoTime(t *testing.T) {
	dir := filled(t)
	m, all := manifestOf(t, dir), readSealOf(t, dir).Sums
	ids, err := tableFiles(filepath.Join(dir, storeName))
	if err != nil {
		t.Fatal(err)
	}
	known := only(all, ids[:1])
	got, err := sumsOfStopped(filepath.Join(dir, storeName), m, known, -time.Second)
	if err != nil || !maps.Equal(got, known) {
		t.Errorf("sumsOfStopped: %v, %v, want %v", got, err, known)
	}
	got, err = sumsOfStopped(filepath.Join(dir, storeName), m, known, time.Hour)
	if err != nil || !maps.Equal(got, all) {
		t.Errorf("sumsOfStopped: %v, %v, want %v", got, err, all)
	}
}

func TestStopFindsDamage(t *testing.T) {
	// What a disk has made of a table since it was written is told when the store stops, and refused when it starts.
	dir := filled(t)
	old := readSealOf(t, dir)
	s := openAt(t, dir)
	sl := s.engine.(*sealedEngine).sealer
	sl.sums = nil // as if the tables had been made since the start
	harmed := firstTable(t, dir)
	edit(t, harmed, flipAt(100))
	err := s.Close()
	if !isDamage(err) || !strings.Contains(err.Error(), filepath.Base(harmed)) {
		t.Errorf("Close: %v, want a DamageError of %s", err, harmed)
	}
	sealed := readSealOf(t, dir)
	if len(sealed.Sums) != len(old.Sums)-1 || sealed.Commits != old.Commits || sealed.Manifest == 0 {
		t.Errorf("the seal is %+v, want that of a stop, which knows all but one table", sealed)
	}
	if _, err := OpenDir(t.Context(), dir, Options{}); !isDamage(err) || !strings.Contains(err.Error(), filepath.Base(harmed)) {
		t.Errorf("OpenDir: %v, want a DamageError of %s", err, harmed)
	}
}
