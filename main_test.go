package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"filippo.io/age"
	"github.com/rogpeppe/go-internal/testscript"

	"scimbox/server/control"
	"scimbox/storage"
)

var update = flag.Bool("update", false, "rewrite the expected texts in testdata/script")

// The test binary is also the program: scripts, and tests that need a process to kill, run it by its name.
func TestMain(m *testing.M) {
	// With the race detector each process would otherwise wait for a second before it ends.
	if os.Getenv("GORACE") == "" {
		if err := os.Setenv("GORACE", "atexit_sleep_ms=10"); err != nil {
			panic(err)
		}
	}
	testscript.Main(m, map[string]func(){"scimbox": main})
}

// Each script is a session at a terminal, in a directory of its own. Besides the commands of package testscript there are:
//
//	exits CODE COMMAND ...                run a command that ends with that exit code
//	await [DIRECTORY]                     wait for the server of a data directory (scimbox-data), and know $SERVER, $URL and $PID
//	http STATUS METHOD URL TOKEN [FILE]   send a request, print the body; the head of the answer is standard error
//	post STATUS URL CLIENT SECRET FORM    send a form with Basic credentials, print as http does
//	capture NAME REGEXP                   keep what the last standard output has of it, or of its group
//	freeport NAME                         keep the number of a port that nobody listens on
//	occupy NAME                           the same, but the test itself listens on it
//	hold DIRECTORY                        have the store of a data directory open until the session ends
//	signal NAME PID                       send SIGTERM, SIGHUP or SIGKILL
//	appears REGEXP FILE                   wait until a file that is being written has a match
//	agekey NAME FILE                      make a key of age: keep the public half, write the secret one
//	flip FILE                             change a bit in the middle of a file that a pattern names
//
// What is waited for is waited for with a limit, and never by sleeping as long as it usually takes.
func TestScript(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                "testdata/script",
		UpdateScripts:      *update,
		RequireUniqueNames: true,
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"exits":    scriptExits,
			"await":    scriptAwait,
			"http":     scriptHTTP,
			"post":     scriptPost,
			"capture":  scriptCapture,
			"freeport": scriptFreeport,
			"occupy":   scriptOccupy,
			"hold":     scriptHold,
			"signal":   scriptSignal,
			"appears":  scriptAppears,
			"flip":     scriptFlip,
			"agekey":   scriptAgeKey,
		},
	})
}

// patience is how long a script waits for what should be there in a moment, on a machine that has much else to do.
const patience = 30 * time.Second

func usage(ts *testscript.TestScript, neg, ok bool, how string) {
	if neg || !ok {
		ts.Fatalf("usage: %s", how)
	}
}

func scriptExits(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, neg, len(args) >= 2, "exits CODE COMMAND ...")
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	got, err := 0, ts.Exec(args[1], args[2:]...)
	var ended *exec.ExitError
	if errors.As(err, &ended) {
		got, err = ended.ExitCode(), nil
	}
	ts.Check(err)
	if got != want {
		ts.Fatalf("exit code %d, want %d", got, want)
	}
}

func scriptAwait(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, neg, len(args) <= 1, "await [DIRECTORY]")
	dir := "scimbox-data"
	if len(args) == 1 {
		dir = args[0]
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	for {
		status, err := ask(ctx, ts.MkAbs(dir))
		switch {
		case err == nil && status.Server != nil:
			ts.Setenv("URL", status.Server.TenantURL)
			ts.Setenv("SERVER", "http://"+status.Server.Listen)
			ts.Setenv("PID", strconv.Itoa(status.Server.PID))
			return
		case ctx.Err() != nil:
			ts.Fatalf("no server on %s: %v", dir, err)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

func ask(ctx context.Context, dir string) (control.Status, error) {
	c, err := control.Connect(ctx, dir, "dev")
	if err != nil {
		return control.Status{}, err
	}
	defer c.Close()
	return c.Status(ctx)
}

func scriptHTTP(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, neg, len(args) == 4 || len(args) == 5, "http STATUS METHOD URL TOKEN [FILE]")
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	var body io.Reader
	if len(args) == 5 {
		body = strings.NewReader(ts.ReadFile(args[4]))
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, args[1], args[2], body)
	ts.Check(err)
	if token := args[3]; token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	if body != nil {
		r.Header.Set("Content-Type", "application/scim+json")
	}
	send(ts, r, want)
}

func scriptPost(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, neg, len(args) == 5, "post STATUS URL CLIENT SECRET FORM")
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, args[1], strings.NewReader(args[4]))
	ts.Check(err)
	r.SetBasicAuth(args[2], args[3])
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	send(ts, r, want)
}

func send(ts *testscript.TestScript, r *http.Request, want int) {
	resp, err := http.DefaultClient.Do(r)
	ts.Check(err)
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	ts.Check(err)
	_, err = ts.Stdout().Write(text)
	ts.Check(err)
	fmt.Fprintln(ts.Stderr(), resp.Proto, resp.Status)
	ts.Check(resp.Header.Write(ts.Stderr()))
	if resp.StatusCode != want {
		ts.Fatalf("status %s, want %d\n%s", resp.Status, want, text)
	}
}

func scriptCapture(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, neg, len(args) == 2, "capture NAME REGEXP")
	re, err := regexp.Compile("(?m)" + args[1])
	ts.Check(err)
	found := re.FindStringSubmatch(ts.ReadFile("stdout"))
	if found == nil {
		ts.Fatalf("standard output has no %s", args[1])
	}
	ts.Setenv(args[0], found[len(found)-1])
}

func listen(ts *testscript.TestScript) (l net.Listener, port string) {
	l, err := new(net.ListenConfig).Listen(context.Background(), "tcp", "127.0.0.1:0")
	ts.Check(err)
	_, port, err = net.SplitHostPort(l.Addr().String())
	ts.Check(err)
	return l, port
}

func scriptFreeport(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, neg, len(args) == 1, "freeport NAME")
	l, port := listen(ts)
	ts.Check(l.Close())
	ts.Setenv(args[0], port)
}

func scriptOccupy(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, neg, len(args) == 1, "occupy NAME")
	l, port := listen(ts)
	ts.Defer(func() { _ = l.Close() })
	ts.Setenv(args[0], port)
}

func scriptHold(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, neg, len(args) == 1, "hold DIRECTORY")
	s, err := storage.OpenDir(context.Background(), ts.MkAbs(args[0]), storage.Options{})
	ts.Check(err)
	ts.Defer(func() { _ = s.Close() })
	ts.Setenv("PID", strconv.Itoa(os.Getpid()))
}

func scriptSignal(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, neg, len(args) == 2, "signal NAME PID")
	sig, ok := map[string]os.Signal{"TERM": syscall.SIGTERM, "HUP": syscall.SIGHUP, "KILL": syscall.SIGKILL}[args[0]]
	if !ok {
		ts.Fatalf("unknown signal %s", args[0])
	}
	pid, err := strconv.Atoi(args[1])
	ts.Check(err)
	p, err := os.FindProcess(pid)
	ts.Check(err)
	ts.Check(p.Signal(sig))
}

func scriptAppears(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, neg, len(args) == 2, "appears REGEXP FILE")
	re, err := regexp.Compile("(?m)" + args[0])
	ts.Check(err)
	for deadline := time.Now().Add(patience); ; time.Sleep(5 * time.Millisecond) {
		text := ts.ReadFile(args[1])
		if re.MatchString(text) {
			return
		}
		if time.Now().After(deadline) {
			ts.Fatalf("%s has no %s:\n%s", args[1], args[0], text)
		}
	}
}

func scriptFlip(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, neg, len(args) == 1, "flip FILE")
	names, err := filepath.Glob(ts.MkAbs(args[0]))
	ts.Check(err)
	if len(names) == 0 {
		ts.Fatalf("there is no %s", args[0])
	}
	data, err := os.ReadFile(names[0])
	ts.Check(err)
	data[len(data)/2] ^= 1
	ts.Check(os.WriteFile(names[0], data, 0o600))
}

func scriptAgeKey(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, neg, len(args) == 2, "agekey NAME FILE")
	key, err := age.GenerateX25519Identity()
	ts.Check(err)
	ts.Setenv(args[0], key.Recipient().String())
	ts.Check(os.WriteFile(ts.MkAbs(args[1]), []byte(key.String()+"\n"), 0o600))
}

func TestName(t *testing.T) {
	for typed, want := range map[string]string{
		"scimbox":           "scimbox",
		"./scimbox":         "./scimbox",
		"/opt/bin/scimbox":  "/opt/bin/scimbox",
		"../build/scimbox2": "../build/scimbox2",
		"/tmp/go-build1518467895/b001/exe/scimbox":                 "go run .",
		"/tmp/cache/c7/" + strings.Repeat("c7", 32) + "-d/scimbox": "go run .",
	} {
		if got := name(typed); got != want {
			t.Errorf("name(%q) = %q, want %q", typed, got, want)
		}
	}
}
