package storage

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"os/signal"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// crashChild names the directory in which this program, started again, commits until it is killed.
const crashChild = "SCIMBOX_CRASH_CHILD"

const crashWriters = 16

// crashUntilKilled commits from many goroutines and writes the id of each record that was acknowledged to stdout.
func crashUntilKilled(dir string) {
	signal.Ignore(syscall.SIGPIPE) // the parent decides when it ends
	s, err := OpenDir(context.Background(), dir, Options{})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	run := fmt.Sprintf("%016x", rand.Uint64())
	var wg sync.WaitGroup
	for w := range crashWriters {
		wg.Go(func() {
			for i := 0; ; i++ {
				id := fmt.Sprintf("%s-%d-%d", run, w, i)
				err := s.Update(context.Background(), tenant, Origin{Actor: "crash"}, func(tx *Tx) error { return crashStep(tx, id) })
				if err != nil {
					fmt.Fprintln(os.Stderr, err)
					os.Exit(1)
				}
				fmt.Fprintln(os.Stdout, id)
			}
		})
	}
	wg.Wait()
}

// crashRecord is what belongs to an id; the parent knows it too.
func crashRecord(id string) Record {
	r := record(id)
	r.Body = bytes.Repeat([]byte(id), 40) // about what a user takes, so that tables fill up
	return r
}

func crashStep(tx *Tx, id string) error {
	r := crashRecord(id)
	r.Stamp = tx.Stamp(Stamp{})
	if err := errors.Join(tx.Put(r), tx.SetLink(Link{From: group("all"), Field: "members", To: r.Ref}), tx.Log(Entry{Op: "create", Ref: r.Ref})); err != nil {
		return err
	}
	if has, err := tx.Has("Group", "all"); err != nil || has {
		return err
	}
	return tx.Put(Record{Ref: group("all")})
}

// roundsPerStore is how many rounds a store lives through before a new one is begun: everything that it ever acknowledged is
// looked for after each round.
const roundsPerStore = 20

// The process is killed in the middle of its work, again and again: what was acknowledged is there, whole, with everything that
// is derived from it. SCIMBOX_CRASH_ROUNDS says how often (docs/guarantees.md).
func TestKill(t *testing.T) {
	total := rounds("SCIMBOX_CRASH_ROUNDS", 5)
	random := rand.New(rand.NewPCG(uint64(time.Now().UnixNano()), 0))
	var dir string
	var acknowledged []string
	sum := 0
	for round := range total {
		if round%roundsPerStore == 0 {
			dir, acknowledged = t.TempDir(), nil
		}
		got, err := killedAfter(t, dir, 50+random.IntN(400), func(p *os.Process, _ int) error { return p.Kill() })
		if err != nil {
			t.Fatalf("round %d: %v", round, err)
		}
		acknowledged = append(acknowledged, got...)
		sum += len(got)
		if wantAcknowledged(t, dir, acknowledged); t.Failed() {
			t.Fatalf("in round %d", round)
		}
	}
	t.Logf("%d rounds, %d acknowledged, none lost", total, sum)
}

// rounds is how often a test that repeats itself does: as often as a variable of the environment says, or as it has to be each
// time that the tests are run.
func rounds(variable string, short int) int {
	if n, err := strconv.Atoi(os.Getenv(variable)); err == nil {
		return n
	}
	return short
}

// killedAfter runs the child until it has acknowledged so many records, ends it by kill, and returns all that it has
// acknowledged; those first, of which kill was told.
func killedAfter(t *testing.T, dir string, n int, kill func(p *os.Process, acknowledged int) error) (ids []string, err error) {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), crashChild+"="+dir)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	late := time.AfterFunc(30*time.Second, func() { _ = cmd.Process.Kill() })
	defer late.Stop()
	lines := bufio.NewReader(out)
	killed := false
	for {
		line, err := lines.ReadString('\n')
		if errors.Is(err, io.EOF) {
			break // half a line is half an acknowledgement, which is none
		}
		if err != nil {
			return ids, err
		}
		ids = append(ids, strings.TrimSpace(line))
		if len(ids) >= n && !killed {
			killed = true
			if err := kill(cmd.Process, len(ids)); err != nil {
				return ids, err
			}
		}
	}
	_ = cmd.Wait() // killed
	if !killed {
		return ids, fmt.Errorf("the child has ended by itself: %s", stderr.String())
	}
	return ids, nil
}

func wantAcknowledged(t *testing.T, dir string, want []string) {
	t.Helper()
	s := openAt(t, dir)
	defer closeStore(t, s)
	for _, id := range want {
		wantRecord(t, s, crashRecord(id))
	}
	view(t, s, func(tx *Tx) error {
		for _, id := range want {
			if _, err := tx.GetLink(group("all"), "members", user(id)); err != nil {
				t.Errorf("the link to %s: %v", id, err)
			}
		}
		return nil
	})
	entries := map[string]bool{}
	for after := uint64(0); ; {
		l, err := s.Journal(t.Context(), after, 1000)
		if err != nil {
			t.Fatal(err)
		}
		if len(l) == 0 {
			break
		}
		for _, e := range l {
			entries[e.Ref.ID] = true
		}
		after = l[len(l)-1].Seq
	}
	for _, id := range want {
		if !entries[id] {
			t.Errorf("%s is not in the journal", id)
		}
	}
	wantClean(t, s)
}
