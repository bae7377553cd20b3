//go:build unix

package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// child is a scimbox server in a process of its own, one that can be killed.
type child struct {
	cmd       *exec.Cmd
	tenantURL string
	token     string // of the first start, else ""
	log       *bytes.Buffer
}

// startChild runs scimbox serve and returns when it has greeted.
func startChild(t *testing.T, data, listen string) *child {
	t.Helper()
	cmd := exec.Command("scimbox", "serve", "--data", data, "--listen", listen)
	cmd.Env = append(os.Environ(), "SCIMBOX_LIMITS_REQUESTS_PER_TOKEN=0") // tests are faster than clients
	return startCommand(t, cmd)
}

// startCommand runs a command that becomes scimbox serve.
func startCommand(t *testing.T, cmd *exec.Cmd) *child {
	t.Helper()
	c := &child{cmd: cmd, log: new(bytes.Buffer)}
	c.cmd.Stderr = c.log
	out, err := c.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.cmd.Start(); err != nil {
		t.Fatalf("scimbox cannot be run: %v", err)
	}
	t.Cleanup(func() {
		_ = c.cmd.Process.Kill() // of a process that has ended, an error of no interest
		_ = c.cmd.Wait()
	})
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		fields := strings.Fields(lines.Text())
		if len(fields) == 3 && fields[0] == "Tenant" {
			c.tenantURL = fields[2]
		}
		if len(fields) == 3 && fields[0] == "Secret" {
			c.token = fields[2]
		}
		// The first start has more to say than every other; either ends with an empty line behind the data directory.
		if c.tenantURL != "" && len(fields) == 0 {
			go func() { _, _ = io.Copy(io.Discard, out) }()
			return c
		}
	}
	t.Fatalf("the server has ended without a greeting: %s", c.log)
	return nil
}

func (c *child) end(t *testing.T, sig syscall.Signal) {
	t.Helper()
	if err := c.cmd.Process.Signal(sig); err != nil {
		t.Fatal(err)
	}
	err := c.cmd.Wait()
	if sig != syscall.SIGKILL && err != nil {
		t.Fatalf("the server did not stop in order: %v\n%s", err, c.log)
	}
}

// Sixteen clients add 2,000 members each to one group, and the server is killed and started again in the middle, twice.
// What is in the group afterwards is what was acknowledged, all of it and nothing else, and nobody was ever told that it
// was his fault.
func TestMembersSurviveKill(t *testing.T) {
	const clients, each = 16, 2000
	data := filepath.Join(t.TempDir(), "data")
	server := startChild(t, data, "127.0.0.1:0")
	base, token := server.tenantURL, server.token
	listen := strings.TrimSuffix(strings.TrimPrefix(base, "http://"), "/scim/v2")

	web := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: clients}, Timeout: time.Minute}
	defer web.CloseIdleConnections()
	send := func(method, path, body string) (int, []byte, error) {
		r, err := http.NewRequestWithContext(t.Context(), method, base+path, strings.NewReader(body))
		if err != nil {
			return 0, nil, err
		}
		r.Header.Set("Authorization", "Bearer "+token)
		r.Header.Set("Content-Type", "application/scim+json")
		resp, err := web.Do(r)
		if err != nil {
			return 0, nil, err
		}
		defer resp.Body.Close()
		b, err := io.ReadAll(resp.Body)
		return resp.StatusCode, b, err
	}
	status, body, err := send("POST", "/Groups", `{"schemas":["urn:ietf:params:scim:schemas:core:2.0:Group"],"displayName":"everybody"}`)
	if err != nil || status != http.StatusCreated {
		t.Fatalf("creating the group: %d %v %s", status, err, body)
	}
	var group struct{ ID string }
	if err := json.Unmarshal(body, &group); err != nil {
		t.Fatal(err)
	}

	// up is closed while the server runs; a client whose connection breaks waits for the next one.
	var mu sync.Mutex
	up := make(chan struct{})
	close(up)
	running := func() chan struct{} {
		mu.Lock()
		defer mu.Unlock()
		return up
	}
	var acknowledged, broken atomic.Int64
	kill := make(chan struct{}, clients*each)
	member := func(client, n int) string { return fmt.Sprintf("member-%02d-%04d", client, n) }
	var wg sync.WaitGroup
	for client := range clients {
		wg.Go(func() {
			for n := range each {
				op := fmt.Sprintf(`{"schemas":["urn:ietf:params:scim:api:messages:2.0:PatchOp"],"Operations":[{"op":"Add","path":"members","value":[{"value":%q}]}]}`, member(client, n))
				for tries := 0; ; tries++ {
					status, body, err := send("PATCH", "/Groups/"+group.ID, op)
					if err == nil && status == http.StatusNoContent {
						break
					}
					if err == nil {
						t.Errorf("adding a member: %d %s", status, body)
						return
					}
					if tries == 1000 {
						t.Errorf("adding a member: %v", err)
						return
					}
					broken.Add(1)
					<-running() // whether it was kept is not known; adding it again is a success either way
				}
				acknowledged.Add(1)
				kill <- struct{}{}
			}
		})
	}
	done := make(chan struct{})
	go func() { wg.Wait(); close(done) }()
	for round := range 2 {
		for n := 0; n < clients*each/3; n++ {
			select {
			case <-kill:
			case <-done:
				t.Fatalf("the clients have ended before kill %d", round+1)
			}
		}
		mu.Lock()
		up = make(chan struct{})
		mu.Unlock()
		server.end(t, syscall.SIGKILL)
		server = startChild(t, data, listen)
		close(running())
	}
	<-done
	if broken.Load() == 0 {
		t.Error("no request was cut off by the kills")
	}
	status, body, err = send("GET", "/Groups/"+group.ID, "")
	if err != nil || status != http.StatusOK {
		t.Fatalf("reading the group: %d %v", status, err)
	}
	var got struct{ Members []struct{ Value string } }
	if err := json.Unmarshal(body, &got); err != nil {
		t.Fatal(err)
	}
	there := make(map[string]bool, len(got.Members))
	for _, m := range got.Members {
		there[m.Value] = true
	}
	if len(got.Members) != clients*each || len(there) != clients*each {
		t.Errorf("%d members, %d of them different; %d were acknowledged", len(got.Members), len(there), acknowledged.Load())
	}
	for client := range clients {
		for n := range each {
			if !there[member(client, n)] {
				t.Errorf("%s was acknowledged and is not there", member(client, n))
			}
		}
	}
	server.end(t, syscall.SIGTERM)
	if out, err := exec.Command("scimbox", "check", "--data", data).CombinedOutput(); err != nil {
		t.Errorf("scimbox check: %v\n%s", err, out)
	}
}
