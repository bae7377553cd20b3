package storage

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// fillChild names the directory in which this program, started again, writes until its standard input ends.
	fillChild = "SCIMBOX_FILL_CHILD"
	// fillBlindly lets it write to the last byte.
	fillBlindly = "SCIMBOX_FILL_BLINDLY"

	fillWriters = 8
)

// fillRecord is what belongs to an id; the parent knows it too. Nothing in it can be compressed.
func fillRecord(id string) Record {
	r := record(id)
	r.Body = make([]byte, 60_000)                                  // a disk is filled by bytes, and time is taken by commits
	_, _ = rand.NewChaCha8(sha256.Sum256([]byte(id))).Read(r.Body) // it always fills
	return r
}

// fillUntilToldToStop writes and says what becomes of it: ids that were acknowledged; "full" when no more is taken, after
// which everything that was acknowledged a moment ago can still be read; "room" when it goes on. Blindly it also says "still" each
// time that this was refused another 1000 times.
func fillUntilToldToStop(dir string) {
	signal.Ignore(syscall.SIGPIPE)
	o := Options{}
	if os.Getenv(fillBlindly) != "" {
		o.MinFree = -1
	}
	fail := func(err error) {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	s, err := OpenDir(context.Background(), dir, o)
	if err != nil {
		fail(err)
	}
	var stop, full atomic.Bool
	var refused atomic.Int64
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		stop.Store(true)
	}()
	var wg sync.WaitGroup
	for w := range fillWriters {
		wg.Go(func() {
			last := ""
			for i := 0; !stop.Load(); {
				id := fmt.Sprintf("%d-%d-%d", os.Getpid(), w, i)
				err := s.Update(context.Background(), tenant, Origin{}, func(tx *Tx) error {
					r := fillRecord(id)
					r.Stamp = tx.Stamp(Stamp{})
					return errors.Join(tx.Put(r), tx.Log(Entry{Op: "create", Ref: r.Ref}))
				})
				if err == nil {
					if full.CompareAndSwap(true, false) {
						fmt.Println("room")
					}
					fmt.Println(id)
					last = id
					i++
					continue
				}
				var short *SpaceError
				if !errors.As(err, &short) {
					fail(err)
				}
				if last != "" {
					err := s.View(context.Background(), tenant, func(tx *Tx) error { _, err := tx.Get("User", last); return err })
					if err != nil {
						fail(fmt.Errorf("reading on a full disk: %w", err))
					}
				}
				if full.CompareAndSwap(false, true) {
					fmt.Println("full")
				}
				if refused.Add(1)%1000 == 0 && o.MinFree < 0 {
					fmt.Println("still")
				}
				time.Sleep(time.Millisecond) // a client that comes again
			}
		})
	}
	wg.Wait()
	if err := s.Close(); err != nil {
		fail(err)
	}
	os.Exit(0)
}

// filling is the child and what it has said.
type filling struct {
	cmd    *exec.Cmd
	stdin  io.Closer
	stderr bytes.Buffer
	says   chan string // "full" and "room"
	ended  chan error

	mu  sync.Mutex
	ids []string
}

func startFilling(t *testing.T, dir string, env ...string) *filling {
	t.Helper()
	f := &filling{cmd: exec.Command(os.Args[0]), says: make(chan string, 1000), ended: make(chan error, 1)}
	f.cmd.Env = append(append(os.Environ(), fillChild+"="+dir), env...)
	f.cmd.Stderr = &f.stderr
	in, err := f.cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	f.stdin = in
	out, err := f.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := f.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.cmd.Process.Kill() })
	go func() {
		lines := bufio.NewReader(out)
		for {
			line, err := lines.ReadString('\n')
			if err != nil {
				break
			}
			switch line = strings.TrimSpace(line); line {
			case "full", "still", "room":
				f.says <- line
			default:
				f.mu.Lock()
				f.ids = append(f.ids, line)
				f.mu.Unlock()
			}
		}
		f.ended <- f.cmd.Wait()
	}()
	return f
}

// hear waits for what the child has to say.
func (f *filling) hear(t *testing.T, want string) {
	t.Helper()
	select {
	case got := <-f.says:
		if got != want {
			t.Fatalf("it says %q, want %q", got, want)
		}
	case err := <-f.ended:
		t.Fatalf("it has ended, and should say %q: %v\n%s", want, err, &f.stderr)
	case <-time.After(2 * time.Minute):
		t.Fatalf("it does not say %q", want)
	}
}

// hearAtLast waits until the child says something, whatever else it says before.
func (f *filling) hearAtLast(t *testing.T, want string) {
	t.Helper()
	for late := time.After(2 * time.Minute); ; {
		select {
		case got := <-f.says:
			if got == want {
				return
			}
		case err := <-f.ended:
			t.Fatalf("it has ended, and should say %q: %v\n%s", want, err, &f.stderr)
		case <-late:
			t.Fatalf("it does not say %q", want)
		}
	}
}

// goesOn waits until the child has made some changes more.
func (f *filling) goesOn(t *testing.T) {
	t.Helper()
	count := func() int {
		f.mu.Lock()
		defer f.mu.Unlock()
		return len(f.ids)
	}
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for before, late := count(), time.After(2*time.Minute); count() < before+2*fillWriters; {
		select {
		case <-tick.C:
		case err := <-f.ended:
			t.Fatalf("it has ended, and should go on: %v\n%s", err, &f.stderr)
		case <-late:
			t.Fatal("it does not go on")
		}
	}
}

func (f *filling) end(t *testing.T) []string {
	t.Helper()
	if err := f.stdin.Close(); err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-f.ended:
		if err != nil {
			t.Fatalf("it has not ended in order: %v\n%s", err, &f.stderr)
		}
	case <-time.After(2 * time.Minute):
		t.Fatal("it does not end")
	}
	return f.ids
}

// occupy lets something else have part of a disk.
func occupy(t *testing.T, path string, size int64) {
	t.Helper()
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(unix.Fallocate(int(f.Fd()), 0, 0, size), f.Close()); err != nil {
		t.Fatal(err)
	}
}

// quiet waits until the engine has done what it had to do with the changes it has: until its files have been the same for a
// while.
func quiet(t *testing.T, store string) {
	t.Helper()
	look := func() string {
		var l strings.Builder
		entries, err := os.ReadDir(store)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			if info, err := e.Info(); err == nil {
				fmt.Fprintln(&l, e.Name(), info.Size(), info.ModTime())
			}
		}
		return l.String()
	}
	before, same := look(), 0
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(time.Minute); same < 30; {
		<-tick.C
		if now := look(); now == before {
			same++
		} else {
			before, same = now, 0
		}
		if time.Now().After(deadline) {
			t.Fatal("the engine does not come to rest")
		}
	}
}

// eachDisk runs a test on each sort of disk that can be full: in memory, and ext4 where that can be mounted.
func eachDisk(t *testing.T, size int64, test func(t *testing.T, dir string)) {
	t.Run("tmpfs", func(t *testing.T) { t.Parallel(); test(t, mountMemory(t, size)) })
	t.Run("ext4", func(t *testing.T) { t.Parallel(); test(t, newImage(t, size).dir) })
}

// The disk fills up under load, by our own work: changes are refused before the database meets the end of the disk, reads go
// on, the process lives, changes are taken again when there is room, and everything acknowledged is there. At the end something
// else takes all that is left, and still nothing happens to the process, which even stops in order.
func TestFullDisk(t *testing.T) {
	if !amongOwnMounts(t) {
		return
	}
	eachDisk(t, DefaultMinFree+160<<20, func(t *testing.T, mount string) {
		dir, other := filepath.Join(mount, "data"), filepath.Join(mount, "other")
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		occupy(t, other, 60<<20)
		f := startFilling(t, dir)
		f.hear(t, "full")
		if err := os.Remove(other); err != nil {
			t.Fatal(err)
		}
		f.hear(t, "room")
		f.hear(t, "full")
		quiet(t, filepath.Join(dir, storeName))
		free, err := freeSpace(mount)
		if err != nil {
			t.Fatal(err)
		}
		occupy(t, other, free-64<<10)
		ids := f.end(t)
		if _, err := OpenDir(t.Context(), dir, Options{}); !errors.Is(err, ErrReadOnly) {
			t.Errorf("opening on a full disk: %v", err)
		}
		if err := os.Remove(other); err != nil {
			t.Fatal(err)
		}
		s, err := OpenDir(t.Context(), dir, Options{MinFree: 50 << 20})
		if err != nil {
			t.Fatal(err)
		}
		for _, id := range ids {
			wantRecord(t, s, fillRecord(id))
		}
		wantClean(t, s)
		closeStore(t, s)
		t.Logf("%d changes acknowledged, none lost", len(ids))
	})
}

// Another program takes whatever room there is, to the last block, while tables are written and merged, and nothing looks at how
// much that is. Changes are refused, reads go on, the process lives; it goes on by itself when there is room, as often as that
// happens; and everything acknowledged is there.
func TestDiskTakenByAnother(t *testing.T) {
	if !amongOwnMounts(t) {
		return
	}
	const takings = 4
	eachDisk(t, 500<<20, func(t *testing.T, mount string) {
		dir := filepath.Join(mount, "data")
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		f := startFilling(t, dir, fillBlindly+"=yes")
		for range takings {
			giveBack := takeAll(t, filepath.Join(mount, "other"))
			f.hearAtLast(t, "still") // it may win some room from the other in between
			f.hearAtLast(t, "still")
			giveBack()
			f.goesOn(t)
		}
		giveBack := takeAll(t, filepath.Join(mount, "other"))
		f.hearAtLast(t, "still")
		ids := f.end(t)
		giveBack()
		roomy := t.TempDir()
		if out, err := exec.Command("cp", "-a", dir+"/.", roomy).CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		s := openAt(t, roomy)
		for _, id := range ids {
			wantRecord(t, s, fillRecord(id))
		}
		wantClean(t, s)
		closeStore(t, s)
		t.Logf("%d changes acknowledged, none lost", len(ids))
	})
}

// takeAll takes all room of a disk, and what becomes free later, until giveBack is called.
func takeAll(t *testing.T, path string) (giveBack func()) {
	t.Helper()
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		chunk := make([]byte, 4<<20)
		for n := len(chunk); ; {
			select {
			case <-stop:
				return
			default:
			}
			took, err := f.Write(chunk[:n])
			switch {
			case err == nil && n < len(chunk):
				n *= 2
			case err != nil && took == 0 && n > 512:
				n /= 2
			}
			_ = f.Sync() // what is written and has no block yet is taken too
		}
	}()
	return func() {
		close(stop)
		<-stopped
		if err := errors.Join(f.Close(), os.Remove(path)); err != nil {
			t.Error(err)
		}
	}
}
