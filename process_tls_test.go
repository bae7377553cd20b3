//go:build unix

package main

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"scimbox/tlsconf/acmetest"
)

// corp is a name that leads nowhere: clients of these tests are told the address.
const corp = "scim.corp.example"

// trusting returns what a client of an authority of the server's own is configured with: what scimbox tls root prints.
func trusting(t *testing.T, data string) *tls.Config {
	t.Helper()
	root, err := exec.Command("scimbox", "tls", "root", "--data", data).Output()
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(root) {
		t.Fatalf("no certificate: %q", root)
	}
	return &tls.Config{RootCAs: roots, ServerName: corp}
}

// The sockets of scimbox-https.socket and scimbox-http.socket are taken by their names, whichever ports they have: TLS is
// spoken at the one, and the way there is shown at the other.
func TestHTTPSSocketFromTheSupervisor(t *testing.T) {
	http80, https443 := listenTCP(t), listenTCP(t)
	data := filepath.Join(t.TempDir(), "data")
	server := startCommand(t, supervised(t, "http:https", []net.Listener{http80, https443},
		[]string{"SCIMBOX_HOSTNAME=" + corp, "SCIMBOX_TLS_MODE=self-signed"}, "--data", data))
	if want := "https://" + corp + "/scim/v2"; server.tenantURL != want {
		t.Errorf("Tenant URL %s, want %s", server.tenantURL, want)
	}
	web := &http.Client{
		Transport:     &http.Transport{DisableKeepAlives: true, ForceAttemptHTTP2: true, TLSClientConfig: trusting(t, data)},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Timeout:       patience,
	}
	ask := func(url string) *http.Response {
		t.Helper()
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Host = corp
		if strings.HasPrefix(url, "https:") {
			r.Header.Set("Authorization", "Bearer "+server.token)
		}
		answer, err := web.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		_ = answer.Body.Close()
		return answer
	}
	if a := ask("https://" + https443.Addr().String() + "/scim/v2/Users"); a.StatusCode != 200 || a.ProtoMajor != 2 {
		t.Errorf("%s %s", a.Proto, a.Status)
	}
	if a := ask("http://" + http80.Addr().String() + "/scim/v2/Users"); a.StatusCode != 308 || a.Header.Get("Location") != server.tenantURL+"/Users" {
		t.Errorf("%s to %q", a.Status, a.Header.Get("Location"))
	}
	server.end(t, syscall.SIGTERM)
	if got := server.log.String(); strings.Contains(got, "is not used") {
		t.Errorf("log: %s", got)
	}
}

// A program that the server starts has neither the sockets that the server was started with, nor is it told of any: it would
// take whatever it has at those numbers for them.
func TestSocketsAreNotInherited(t *testing.T) {
	dir := t.TempDir()
	program, seen := filepath.Join(dir, "record"), filepath.Join(dir, "seen")
	// The operator's program for DNS-01: called as soon as the authority wants to see a record.
	script := fmt.Sprintf("#!/bin/sh\n[ $1 = present ] || exit 0\nenv >%[1]s.new\nfor i in 3 4 5 6 7 8 9; do if (: <&$i) 2>/dev/null; then echo open=$i; fi; done >>%[1]s.new\nmv %[1]s.new %[1]s\nexit 1\n", seen)
	if err := os.WriteFile(program, []byte(script), 0o700); err != nil {
		t.Fatal(err)
	}
	names := acmetest.StartDNS(t)
	ca := acmetest.Start(t, acmetest.Options{DNS: names})
	file := filepath.Join(dir, "scimbox.toml")
	if err := os.WriteFile(file, fmt.Appendf(nil, "hostname = \"grandchild.%s\"\n[tls.acme]\ndirectory = %q\nroots = %q\n[tls.dns]\nprovider = \"exec\"\nresolvers = [%q]\n[tls.dns.exec]\nprogram = %q\n",
		acmetest.Zone, ca.Directory, ca.Roots, names.Address, program), 0o600); err != nil {
		t.Fatal(err)
	}
	server := startCommand(t, supervised(t, "https:http", []net.Listener{listenTCP(t), listenTCP(t)}, nil, "--config", file))
	text := appeared(t, seen)
	for line := range strings.Lines(text) {
		if strings.HasPrefix(line, "LISTEN_") || strings.HasPrefix(line, "open=") {
			t.Errorf("the program has %s", line)
		}
	}
	if !strings.Contains(text, "PATH=") {
		t.Errorf("the program has no environment at all: %q", text)
	}
	server.end(t, syscall.SIGTERM)
}

// appeared waits for a file, and returns what is in it.
func appeared(t *testing.T, name string) string {
	t.Helper()
	late := time.After(patience)
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		text, err := os.ReadFile(name)
		if err == nil {
			return string(text)
		}
		select {
		case <-tick.C:
		case <-late:
			t.Fatal(err)
		}
	}
}

// stopsInTime asks a server to stop, and fails if it has not done so in order before a supervisor would kill it.
func stopsInTime(t *testing.T, c *child) {
	t.Helper()
	limit := time.AfterFunc(10*time.Second, func() { _ = c.cmd.Process.Kill() })
	defer limit.Stop()
	c.end(t, syscall.SIGTERM)
	if got := c.log.String(); !strings.Contains(got, `"msg":"stopped"`) {
		t.Errorf("log: %s", got)
	}
}

// A stop does not wait for an authority: neither for its answer, nor for the next try.
func TestStopWhileACertificateIsAskedFor(t *testing.T) {
	for _, tt := range []struct {
		name  string
		hangs bool // up at once; else it says nothing
	}{
		{"an authority that says nothing", false},
		{"an authority that hangs up", true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			authority, called := listenTCP(t), make(chan struct{}, 100)
			go func() {
				for {
					conn, err := authority.Accept()
					if err != nil {
						return
					}
					if tt.hangs {
						_ = conn.Close()
					} else {
						defer conn.Close()
					}
					called <- struct{}{}
				}
			}()
			server := startCommand(t, supervised(t, "https:http", []net.Listener{listenTCP(t), listenTCP(t)}, []string{
				"SCIMBOX_HOSTNAME=" + corp, "SCIMBOX_TLS_ACME_DIRECTORY=https://" + authority.Addr().String() + "/dir",
			}))
			<-called
			stopsInTime(t, server)
		})
	}
}

// What TestStopEnds shows of plain HTTP holds with TLS: a request that never ends is cut off in time.
func TestStopEndsWithTLS(t *testing.T) {
	t.Parallel()
	data, socket := filepath.Join(t.TempDir(), "data"), listenTCP(t)
	server := startCommand(t, supervised(t, "https", []net.Listener{socket},
		[]string{"SCIMBOX_HOSTNAME=" + corp, "SCIMBOX_TLS_MODE=self-signed", "SCIMBOX_TLS_HTTP_LISTEN=off"}, "--data", data))
	conn, err := tls.Dial("tcp", socket.Addr().String(), trusting(t, data)) // without ALPN it is HTTP/1.1
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	halfwayOver(t, conn, server.token)
	stopsInTime(t, server)
	if got := server.log.String(); !strings.Contains(got, "cut off") {
		t.Errorf("log: %s", got)
	}
	if _, err := io.Copy(io.Discard, conn); err != nil && !strings.Contains(err.Error(), "reset") {
		t.Errorf("the connection that was cut off: %v", err)
	}
}
