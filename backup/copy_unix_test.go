//go:build unix

package backup

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"scimbox/storage"
)

// What copies of a data directory are worth that were made by other means than ours; docs/operating.md has the table.

const writeChild = "SCIMBOX_TEST_WRITE"

func init() { children[writeChild] = writeUntilKilled }

const (
	childWriters = 4
	ackedName    = "acked" // beside the data directory: a line for each record that is durable
)

// writeUntilKilled is a process that writes as fast as it can, enough for tables to be written and merged meanwhile, and makes a
// backup now and then.
func writeUntilKilled(dir string) {
	ctx := context.Background()
	fail := func(err error) {
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
	s, err := storage.OpenDir(ctx, filepath.Join(dir, "data"), storage.Options{})
	fail(err)
	acked, err := os.OpenFile(filepath.Join(dir, ackedName), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	fail(err)
	k := NewKeeper(s, Plan{Every: time.Hour, Keep: 10, Dir: filepath.Join(dir, "data", BackupsName)}, Options{Dir: filepath.Join(dir, "data")}, storage.Options{})
	var writers sync.WaitGroup
	for w := range childWriters {
		writers.Go(func() {
			for i := 0; ; i++ {
				id := fmt.Sprintf("w%d-%07d", w, i)
				fail(s.Update(ctx, tenant, storage.Origin{}, func(tx *storage.Tx) error { return put(tx, user(id), strings.Repeat(id, 2000)) }))
				_, err := acked.WriteString(id + "\n")
				fail(err)
			}
		})
	}
	for {
		_, err := k.Make(ctx, "")
		fail(err)
		fmt.Println("backup made")
	}
}

// startWriter starts such a process, and returns when it has made its first backup.
func startWriter(t *testing.T) (dir string, process *exec.Cmd) {
	t.Helper()
	dir = t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "data"), 0o700); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), writeChild+"="+dir)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if stderr.Len() > 0 {
			t.Errorf("the writing process: %s", &stderr)
		}
	})
	lines := bufio.NewReader(out)
	if _, err := lines.ReadString('\n'); err != nil {
		t.Fatalf("%v: %s", err, &stderr)
	}
	go func() { // it must not wait for us
		for {
			if _, err := lines.ReadString('\n'); err != nil {
				return
			}
		}
	}()
	return dir, cmd
}

// copied copies a directory as people do. cp complains of files that are gone when it comes to them, and people do not look.
func copied(t *testing.T, from string) (to string, complained bool) {
	t.Helper()
	to = filepath.Join(t.TempDir(), "copy")
	err := exec.Command("cp", "-a", from, to).Run()
	var ended *exec.ExitError
	if err != nil && !errors.As(err, &ended) {
		t.Fatal(err)
	}
	return to, err != nil
}

// ids returns which records of each writer there are, by number.
func ids(t *testing.T, s *storage.Store) (l [childWriters]map[int]bool) {
	t.Helper()
	for i := range l {
		l[i] = map[int]bool{}
	}
	for k := range rowsOf(t, s) {
		var w, i int
		if id, ok := strings.CutPrefix(k, "r"+tenant+"\x00User\x00"); ok {
			if _, err := fmt.Sscanf(id, "w%d-%d", &w, &i); err != nil {
				t.Fatal(err)
			}
			l[w][i] = true
		}
	}
	return l
}

// newestRestores restores the newest backup in a copy of a data directory.
func newestRestores(t *testing.T, copy string) {
	t.Helper()
	l := names(t, filepath.Join(copy, BackupsName)) // in the order of time
	l = slices.DeleteFunc(l, func(name string) bool { return !ourName.MatchString(name) })
	if len(l) == 0 {
		t.Fatalf("there is no backup in the copy: %v", names(t, copy))
	}
	r := restore(t, filepath.Join(t.TempDir(), "data"), []string{filepath.Join(copy, BackupsName, l[len(l)-1])}, RestoreOptions{})
	if r.Rows == 0 {
		t.Error("the backup in the copy is empty")
	}
}

// A copy of a running server is refused at its start, or found out by check, or whole but for its end. The backups in it restore.
func TestCopyOfARunningServer(t *testing.T) {
	dir, _ := startWriter(t)
	outcomes := map[string]int{}
	for range 5 {
		copy, complained := copied(t, filepath.Join(dir, "data"))
		newestRestores(t, copy)
		s, findings, err := openChecked(t, copy)
		outcome := "refused"
		switch {
		case err == nil && findings > 0:
			outcome = "found out by check"
		case err == nil:
			outcome = "whole"
			for w, have := range ids(t, s) {
				for i := range len(have) {
					if !have[i] {
						t.Errorf("check is silent, and record %d of writer %d is missing before %d others", i, w, len(have)-i)
						break
					}
				}
			}
		}
		if complained {
			outcome += ", and cp had complained"
		}
		outcomes[outcome]++
		if s != nil {
			closeStore(t, s)
		}
	}
	t.Logf("5 copies: %v", outcomes)
}

// A snapshot of one instant holds everything that was acknowledged. Here the process is halted for as long as the copy takes.
func TestCopyAtOneInstant(t *testing.T) {
	dir, cmd := startWriter(t)
	for range 3 {
		if err := cmd.Process.Signal(syscall.SIGSTOP); err != nil {
			t.Fatal(err)
		}
		var status syscall.WaitStatus
		if _, err := syscall.Wait4(cmd.Process.Pid, &status, syscall.WUNTRACED, nil); err != nil || !status.Stopped() {
			t.Fatalf("%v, %v", status, err)
		}
		acked, err := os.ReadFile(filepath.Join(dir, ackedName))
		if err != nil {
			t.Fatal(err)
		}
		copy, complained := copied(t, filepath.Join(dir, "data"))
		if err := cmd.Process.Signal(syscall.SIGCONT); err != nil {
			t.Fatal(err)
		}
		if complained {
			t.Error("cp complains of a directory that nobody changes")
		}
		newestRestores(t, copy)
		s, findings, err := openChecked(t, copy)
		if err != nil || findings > 0 {
			t.Fatalf("%v, %d findings", err, findings)
		}
		have := ids(t, s)
		for _, id := range strings.Fields(string(acked)) {
			var w, i int
			if _, err := fmt.Sscanf(id, "w%d-%d", &w, &i); err != nil {
				t.Fatal(err)
			}
			if !have[w][i] {
				t.Fatalf("%s was acknowledged and is not in the snapshot", id)
			}
		}
		t.Logf("%d acknowledged changes are all there", len(strings.Fields(string(acked))))
		closeStore(t, s)
	}
}

// A copy of a stopped server is the same.
func TestCopyOfAStoppedServer(t *testing.T) {
	dir := t.TempDir()
	s := openDir(t, dir)
	fill(t, s, 0, 2000)
	k := NewKeeper(s, Plan{Every: time.Hour, Keep: 1, Dir: filepath.Join(dir, BackupsName)}, Options{Dir: dir}, storage.Options{})
	if _, err := k.Make(t.Context(), ""); err != nil {
		t.Fatal(err)
	}
	want := rowsOf(t, s)
	closeStore(t, s)
	copy, complained := copied(t, dir)
	again, findings, err := openChecked(t, copy)
	if err != nil || findings > 0 || complained {
		t.Fatalf("%v, %d findings", err, findings)
	}
	defer closeStore(t, again)
	wantRows(t, want, rowsOf(t, again))
	newestRestores(t, copy)
}
