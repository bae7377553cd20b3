package bench

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"scimbox/auth"
	"scimbox/server/control"
)

// child is a process of the program that is measured.
type child struct {
	cmd    *exec.Cmd
	data   string
	addr   string
	token  string
	opened time.Duration // from the start of the process to the first answer of 200

	most  atomic.Int64 // memory since peak was asked last
	done  chan struct{}
	ended sync.Once
}

// sampling is how often the memory of the process is looked at.
const sampling = 20 * time.Millisecond

// watch looks at the memory of the process until it has ended.
func (c *child) watch() {
	tick := time.NewTicker(sampling)
	defer tick.Stop()
	for {
		select {
		case <-c.done:
			return
		case <-tick.C:
			if n := c.memory(); n > c.most.Load() {
				c.most.Store(n)
			}
		}
	}
}

// peak returns the most memory that the process has had since peak was asked last; see memory.
func (c *child) peak() int64 { return max(c.most.Swap(0), c.memory()) }

// wait waits for the end of the process.
func (c *child) wait() error {
	err := c.cmd.Wait()
	c.ended.Do(func() { close(c.done) })
	return err
}

const patience = 2 * time.Minute // for a start with millions of users on a slow disk

// spawn starts the program with arguments and none of the settings of whoever measures. What it prints goes nowhere: each request
// writes its line, as it does for an operator, and nothing else of the machine is spent on reading it.
func spawn(program string, args ...string) (*child, error) {
	c := &child{cmd: exec.Command(program, args...), done: make(chan struct{})} // #nosec G204 -- this program itself
	for _, e := range os.Environ() {
		if !strings.HasPrefix(e, "SCIMBOX_") {
			c.cmd.Env = append(c.cmd.Env, e)
		}
	}
	c.cmd.Env = append(c.cmd.Env, settings...)
	if err := c.cmd.Start(); err != nil {
		return nil, err
	}
	go c.watch()
	return c, nil
}

// settings differ from the defaults where those would stand in the way of being measured: nobody is slowed down, a scan may go to its end,
// and the daily backup, which would first be made a minute after the start and be restored to be verified, does not fall into one
// scenario or another.
var settings = []string{"SCIMBOX_BACKUP_EVERY=0s", "SCIMBOX_SCIM_MAX_SCAN=100000000", "SCIMBOX_LIMITS_REQUESTS_PER_TOKEN=0", "SCIMBOX_LIMITS_REQUESTS_PER_ADDRESS=0"}

// startServer starts a server on a data directory, which it makes if there is none, and waits for its first answer.
func startServer(ctx context.Context, program, version, data string) (*child, error) {
	addr, err := freeAddress()
	if err != nil {
		return nil, err
	}
	begin := time.Now()
	c, err := spawn(program, "serve", "--data", data, "--listen", addr)
	if err != nil {
		return nil, err
	}
	c.data, c.addr = data, addr
	if err := c.answers(ctx, "/healthz"); err != nil {
		return nil, errors.Join(err, c.kill())
	}
	c.opened = time.Since(begin)
	client, err := control.Connect(ctx, data, version)
	if err != nil {
		return nil, errors.Join(err, c.kill())
	}
	defer client.Close()
	made, err := client.CreateToken(ctx, control.Create{Name: "bench", Scope: auth.ScopeWrite})
	if err != nil {
		return nil, errors.Join(err, c.kill())
	}
	c.token = made.Secret
	return c, nil
}

// startLimit starts the server that answers every request with the same answer.
func startLimit(ctx context.Context, program string, answer []byte) (*child, error) {
	addr, err := freeAddress()
	if err != nil {
		return nil, err
	}
	c, err := spawn(program, "bench", "limit", "--listen", addr, "--answer", string(answer))
	if err != nil {
		return nil, err
	}
	c.addr, c.token = addr, limitToken
	if err := c.answers(ctx, "/scim/v2/Users/x"); err != nil {
		return nil, errors.Join(err, c.kill())
	}
	return c, nil
}

// freeAddress returns an address that nobody listens on.
func freeAddress() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return l.Addr().String(), l.Close()
}

// answers waits until the process answers 200 to a GET.
func (c *child) answers(ctx context.Context, path string) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for {
		err := c.once(path)
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s does not answer: %w", filepath.Base(c.cmd.Path), err)
		case <-time.After(time.Millisecond):
		}
	}
}

func (c *child) once(path string) error {
	conn, err := dial(c.addr)
	if err != nil {
		return err
	}
	defer conn.Close()
	status, _, err := conn.do(get(c, path))
	if err == nil && status != 200 {
		err = fmt.Errorf("GET %s is answered with %d", path, status)
	}
	return err
}

// stop ends the process in order.
func (c *child) stop() error {
	if err := interrupt(c.cmd.Process); err != nil {
		return errors.Join(err, c.kill())
	}
	if err := c.wait(); err != nil {
		return fmt.Errorf("the server did not stop in order: %w", err)
	}
	return nil
}

// kill ends the process at once.
func (c *child) kill() error {
	err := c.cmd.Process.Kill()
	if errors.Is(err, os.ErrProcessDone) {
		err = nil
	}
	_ = c.wait() // its error says that it was killed
	return err
}

// settle waits until the process has nothing left to do, two minutes at most: what was written is merged for a while afterwards. It returns how
// long that took, 0 where the system does not tell what a process does.
func (c *child) settle(ctx context.Context) (time.Duration, error) {
	const look, idle = 500 * time.Millisecond, 0.04 // of one processor
	begin := time.Now()
	for before, ok := c.cpu(); ok && time.Since(begin) < patience; {
		select {
		case <-ctx.Done():
			return 0, ctx.Err()
		case <-time.After(look):
		}
		now, there := c.cpu()
		if now-before <= time.Duration(idle*float64(look)) {
			return time.Since(begin) - look, nil
		}
		before, ok = now, there
	}
	return time.Since(begin), nil
}

// clockTick is the unit of /proc/PID/stat; the kernel has told programs a hundredth of a second for as long as anybody looks.
const clockTick = 10 * time.Millisecond

// cpu returns how much processor time the process has used; ok is false if the system does not tell.
func (c *child) cpu() (used time.Duration, ok bool) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", c.cmd.Process.Pid))
	if err != nil {
		return 0, false
	}
	// Behind the name, in parentheses, which may hold anything: the state is field 3, and 14 and 15 are the ticks as user and system.
	fields := strings.Fields(string(b[strings.LastIndexByte(string(b), ')')+1:]))
	if len(fields) < 13 {
		return 0, false
	}
	for _, f := range fields[11:13] {
		n, err := strconv.ParseInt(f, 10, 64)
		if err != nil {
			return 0, false
		}
		used += time.Duration(n) * clockTick
	}
	return used, true
}

// memory returns the bytes of memory that are the process's own now, without pages of files, which the system takes back
// when it needs them. 0 means that the system does not tell.
func (c *child) memory() int64 {
	f, err := os.Open(fmt.Sprintf("/proc/%d/status", c.cmd.Process.Pid))
	if err != nil {
		return 0
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		if rest, ok := strings.CutPrefix(lines.Text(), "RssAnon:"); ok {
			n, err := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(rest), " kB"), 10, 64)
			if err != nil {
				return 0
			}
			return n << 10
		}
	}
	return 0
}

// diskSize returns what the files of a data directory take, in bytes.
func diskSize(dir string) (n int64, err error) {
	err = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		info, err := d.Info()
		if errors.Is(err, fs.ErrNotExist) {
			return nil // merged into another meanwhile
		}
		if err == nil {
			n += occupied(info)
		}
		return err
	})
	return n, err
}
