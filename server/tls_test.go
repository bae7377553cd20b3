package server

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"scimbox/scim"
	"scimbox/server/config"
	"scimbox/server/control"
	"scimbox/server/doctor"
	"scimbox/tlsconf/acmetest"
)

// outside is a client on the internet: it knows the server by its name, and trusts what it is told to.
type outside struct {
	t     *testing.T
	http  *http.Client
	base  string
	token string
}

func newOutside(t *testing.T, s *running, roots *x509.CertPool) *outside {
	t.Helper()
	transport := &http.Transport{
		ForceAttemptHTTP2: true, TLSClientConfig: &tls.Config{RootCAs: roots},
		DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			if strings.HasSuffix(address, ":80") {
				return new(net.Dialer).DialContext(ctx, network, s.doors[len(s.doors)-1].Addr().String())
			}
			return new(net.Dialer).DialContext(ctx, network, s.Address())
		},
	}
	t.Cleanup(transport.CloseIdleConnections)
	return &outside{t, &http.Client{Transport: transport, Timeout: 20 * time.Second}, s.TenantURL(), s.secret}
}

// ask sends a request as Entra does, and returns the answer's document.
func (c *outside) ask(method, path, body string, status int) map[string]any {
	c.t.Helper()
	r, err := http.NewRequestWithContext(c.t.Context(), method, c.base+path, strings.NewReader(body))
	if err != nil {
		c.t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+c.token)
	if body != "" {
		r.Header.Set("Content-Type", "application/scim+json; charset=utf-8")
	}
	answer, err := c.http.Do(r)
	if err != nil {
		c.t.Fatal(err)
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		c.t.Fatal(err)
	}
	if answer.StatusCode != status || answer.ProtoMajor != 2 {
		c.t.Fatalf("%s %s: %s %s, want %d by HTTP/2: %s", method, path, answer.Proto, answer.Status, status, text)
	}
	document := map[string]any{}
	if len(text) > 0 {
		if err := json.Unmarshal(text, &document); err != nil {
			c.t.Fatalf("%s %s: %v: %s", method, path, err, text)
		}
	}
	return document
}

// await waits until the server's log has a text. The log is not written to between two looks without a certificate having moved
// on, so that a look now and then is enough.
func await(t *testing.T, s *running, text string) {
	t.Helper()
	late := time.After(30 * time.Second)
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for !strings.Contains(s.log.String(), text) {
		select {
		case <-tick.C:
		case <-late:
			t.Fatalf("the log does not say %q:\n%s", text, s.log)
		}
	}
}

// The way of an operator: a hostname in the configuration, and from there to a directory that Entra has filled. What is said
// besides the hostname is what the internet is here: other ports, and another authority than Let's Encrypt.
func TestOperatorsPath(t *testing.T) {
	const name = "directory." + acmetest.Zone
	// Ports 443 and 80 are not ours here; the authority is told which are.
	var ports [2]net.Listener
	for i := range ports {
		var err error
		if ports[i], err = new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0"); err != nil {
			t.Fatal(err)
		}
	}
	ca := acmetest.Start(t, acmetest.Options{DNS: acmetest.StartDNS(t), TLS: ports[0].Addr(), HTTP: ports[1].Addr()})
	for _, l := range ports {
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
	}
	file := filepath.Join(t.TempDir(), "scimbox.toml")
	if err := os.WriteFile(file, fmt.Appendf(nil, `
hostname = %q
listen = %q
[tls]
http_listen = %q
hsts = "365d"
[tls.acme]
directory = %q
roots = %q
`, name, ports[0].Addr(), ports[1].Addr(), ca.Directory, ca.Roots), 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := config.Load(config.Options{File: file, Serving: true, Flags: map[string]string{"data": filepath.Join(t.TempDir(), "data")}})
	if err != nil {
		t.Fatal(err)
	}
	o, log := options(t)
	o.Config = c.Config
	// At first the authority does not answer. That keeps nobody from starting, and the doctor says what is wrong; when it does
	// answer, the operator need not wait for the next try.
	away := func(http.ResponseWriter, *http.Request) bool { panic(http.ErrAbortHandler) }
	ca.Intercept(away)
	s := serve(t, o, log)
	await(t, s, "no certificate could be obtained")
	see := doctor.Options{
		PublicURL: "https://" + name, Data: c.Data, ConfigFile: file, TLS: "acme", HTTP: true, Authority: Authority(c.Config), Roots: rootsOf(t, ca.Roots), Trust: ca.Issuers(t),
		// The internet: the name leads to a public address, and that to here.
		Resolve: func(_ context.Context, host string) ([]netip.Addr, error) {
			if host != name {
				return nil, &net.DNSError{Err: "no such host", Name: host, IsNotFound: true}
			}
			return []netip.Addr{netip.MustParseAddr("203.0.113.10")}, nil
		},
		Dial: func(ctx context.Context, address string) (net.Conn, error) {
			switch address {
			case "203.0.113.10:443":
				address = ports[0].Addr().String()
			case "203.0.113.10:80":
				address = ports[1].Addr().String()
			}
			return new(net.Dialer).DialContext(ctx, "tcp", address)
		},
		Own: func() ([]netip.Addr, error) { return nil, nil },
	}
	examine(t, see, map[string]string{
		"certificate": "FAIL no TLS is spoken at 203.0.113.10:443: tls: internal error; the server says: no certificate could be obtained yet, and clients are refused: ",
		"clock":       "WARN the authority that certificates come from cannot be reached, so that none can be renewed: ",
	})
	ca.Intercept(nil)
	s.ReloadCertificates(t.Context())
	await(t, s, "added certificate to cache")
	examine(t, see, map[string]string{
		"certificate":     "PASS for " + name + ", by Pebble Intermediate CA ",
		"http port":       "PASS ",
		"clock":           "PASS ",
		"test connection": "PASS https://" + name + "/scim/v2 answers as Entra wants it, ",
	})
	if want := "https://" + name + scim.BasePath; s.TenantURL() != want || s.LocalURL() != want {
		t.Errorf("Tenant URL %s, here %s, want %s", s.TenantURL(), s.LocalURL(), want)
	}

	entra := newOutside(t, s, ca.Issuers(t))
	filter := func(kind, more, text string) string {
		return "/" + kind + "?" + more + url.Values{"filter": {text}}.Encode()
	}
	total := func(document map[string]any, want float64) {
		t.Helper()
		if document["totalResults"] != want {
			t.Errorf("%v results, want %v: %v", document["totalResults"], want, document)
		}
	}
	// Test Connection
	const nobody = "7b0f5c2e-0d6a-4c55-9f0e-3f1f1b1a9c11"
	total(entra.ask("GET", filter("Users", "", `userName eq "`+nobody+`"`), "", 200), 0)
	total(entra.ask("GET", filter("Groups", "excludedAttributes=members&", `displayName eq "`+nobody+`"`), "", 200), 0)
	// A user: create, find, change, disable
	user := entra.ask("POST", "/Users", `{"schemas":["urn:ietf:params:scim:schemas:core:2.0:User","urn:ietf:params:scim:schemas:extension:enterprise:2.0:User"],
		"externalId":"8f3c6a0e","userName":"mira@example.com","active":true,"displayName":"Mira Osei","emails":[{"primary":true,"type":"work","value":"mira@example.com"}],
		"meta":{"resourceType":"User"},"roles":[],"urn:ietf:params:scim:schemas:extension:enterprise:2.0:User":{"department":"Risk"}}`, 201)
	id := user["id"].(string)
	if location := user["meta"].(map[string]any)["location"]; location != "https://"+name+"/scim/v2/Users/"+id {
		t.Errorf("the location is %v", location)
	}
	total(entra.ask("GET", filter("Users", "", `userName eq "MIRA@example.com"`), "", 200), 1)
	if changed := entra.ask("PATCH", "/Users/"+id, `{"schemas":["urn:ietf:params:scim:api:messages:2.0:PatchOp"],"Operations":[
		{"op":"Replace","path":"active","value":"False"},{"op":"Replace","path":"phoneNumbers[type eq \"mobile\"].value","value":"+49 555 0100"}]}`, 200); changed["active"] != false {
		t.Errorf("active is %v", changed["active"])
	}
	// A group and its members
	group := entra.ask("POST", "/Groups", `{"schemas":["urn:ietf:params:scim:schemas:core:2.0:Group"],"externalId":"1c2b7d2e","displayName":"Risk team"}`, 201)["id"].(string)
	entra.ask("PATCH", "/Groups/"+group, `{"schemas":["urn:ietf:params:scim:api:messages:2.0:PatchOp"],"Operations":[{"op":"Add","path":"members","value":[{"value":"`+id+`"}]}]}`, 204)
	if members := entra.ask("GET", "/Groups/"+group, "", 200)["members"].([]any); len(members) != 1 {
		t.Errorf("members: %v", members)
	}
	entra.ask("PATCH", "/Groups/"+group, `{"schemas":["urn:ietf:params:scim:api:messages:2.0:PatchOp"],"Operations":[{"op":"Remove","path":"members","value":[{"value":"`+id+`"}]}]}`, 204)
	entra.ask("DELETE", "/Users/"+id, "", 204)

	// A browser that comes without https is sent there, and told to come by https alone.
	answer, err := entra.http.Get("http://" + name + "/healthz")
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	if answer.StatusCode != 200 || answer.Request.URL.String() != "https://"+name+"/healthz" || answer.Header.Get("Strict-Transport-Security") != "max-age=31536000" {
		t.Errorf("%s from %s, %q", answer.Status, answer.Request.URL, answer.Header)
	}

	// What the operator is told, through the control socket.
	asked, err := control.Connect(t.Context(), c.Data, "1.2.3")
	if err != nil {
		t.Fatal(err)
	}
	defer asked.Close()
	status, err := asked.Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if l := status.Server.Certificates; len(l) != 1 || l[0].Names[0] != name || l[0].DaysLeft != 89 || l[0].Problem != "" || l[0].Mode != "acme" || !strings.Contains(l[0].Issuer, "Pebble") {
		t.Errorf("certificates: %+v", l)
	}
	if err := s.stop(); err != nil {
		t.Error(err)
	}
	examine(t, see, map[string]string{
		"server":    "FAIL no server runs on " + c.Data,
		"port":      "FAIL nothing answers at 203.0.113.10:443: ",
		"http port": "WARN 203.0.113.10:80 cannot be reached from here: ",
		"clock":     "PASS ",
	})

	// Everything is in the data directory: another start with it serves at once, although the authority is gone.
	ca.Intercept(away)
	orders := ca.Orders()
	o, log = options(t)
	o.Config = c.Config
	again := serve(t, o, log)
	entra = newOutside(t, again, ca.Issuers(t))
	entra.token = s.secret
	total(entra.ask("GET", filter("Groups", "", `displayName eq "Risk team"`), "", 200), 1)
	if ca.Orders() != orders {
		t.Error("the restart has asked for a certificate")
	}
	examine(t, see, map[string]string{
		"certificate":     "PASS for " + name,
		"clock":           "WARN the authority that certificates come from cannot be reached, so that none can be renewed: ",
		"test connection": "PASS ",
	})
}

// examine has the doctor look at the server of a data directory, if one runs, and at nothing but that. Findings begin as those that
// are wanted do, and all others are PASS.
func examine(t *testing.T, o doctor.Options, want map[string]string) {
	t.Helper()
	o.Client, o.Down = control.Connect(t.Context(), o.Data, "1.2.3")
	if o.Client != nil {
		defer o.Client.Close()
	}
	done := map[string]bool{}
	for _, f := range doctor.Examine(t.Context(), o) {
		done[f.Check] = true
		text, expected := string(f.Verdict)+" "+f.Found, want[f.Check]
		if f.Check == "free space" && f.Verdict != doctor.Fail {
			continue // that of the machine
		}
		if expected == "" {
			expected = string(doctor.Pass)
		}
		if !strings.HasPrefix(text, expected) {
			t.Errorf("%s: %s\nwant: %s", f.Check, text, expected)
		}
		if f.Verdict != doctor.Pass && f.Fix == "" {
			t.Errorf("%s does not say what to do: %s", f.Check, text)
		}
	}
	for check := range want {
		if !done[check] {
			t.Errorf("%s was not looked at", check)
		}
	}
}

func rootsOf(t *testing.T, file string) *x509.CertPool {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return poolOf(t, text)
}

// poolOf trusts what is in a text of PEM.
func poolOf(t *testing.T, text []byte) *x509.CertPool {
	t.Helper()
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(text) {
		t.Fatalf("no certificate in %q", text)
	}
	return pool
}

// An authority of our own: clients that trust its root are let in, and nobody waits for anything.
func TestSelfSignedServer(t *testing.T) {
	s := start(t, func(c *config.Config) {
		c.Hostname, c.PublicURL, c.TLS.Mode = "scim.corp.example", "https://scim.corp.example", "self-signed"
	})
	if _, err := RootCertificate(t.TempDir()); err == nil || !strings.Contains(err.Error(), "self-signed") {
		t.Errorf("a root that is not there: %v", err)
	}
	root, err := RootCertificate(s.o.Config.Data)
	if err != nil {
		t.Fatal(err)
	}
	c := newOutside(t, s, poolOf(t, root))
	c.ask("GET", "/Users", "", 200)
	if l := s.Certificates(); len(l) != 1 || l[0].DaysLeft != 89 || l[0].Problem != "" {
		t.Errorf("certificates: %+v", l)
	}
	answer, err := c.http.Get("https://scim.corp.example/healthz")
	if err != nil {
		t.Fatal(err)
	}
	_ = answer.Body.Close()
	if answer.Header.Get("Strict-Transport-Security") != "" {
		t.Error("HSTS without having been asked for")
	}
	s.ReloadCertificates(t.Context())
}

// Files that are replaced are served on the next connection, after SIGHUP at the latest.
func TestFilesServer(t *testing.T) {
	maker := start(t, func(c *config.Config) { c.Hostname, c.TLS.Mode = "scim.corp.example", "self-signed" })
	dir := t.TempDir()
	certificate, key := filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	copyFile := func(from, to string) {
		t.Helper()
		text, err := os.ReadFile(from)
		if err == nil {
			err = os.WriteFile(to, text, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	copyFile(filepath.Join(maker.o.Config.Data, "tls", "root.pem"), certificate) // any pair will do
	copyFile(filepath.Join(maker.o.Config.Data, "tls", "root-key.pem"), key)
	s := start(t, func(c *config.Config) {
		c.Hostname, c.TLS.Certificate, c.TLS.Key = "scim.corp.example", certificate, key
	})
	peer := func() []byte {
		t.Helper()
		conn, err := (&tls.Dialer{Config: &tls.Config{InsecureSkipVerify: true}}).DialContext(t.Context(), "tcp", s.Address())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		return conn.(*tls.Conn).ConnectionState().PeerCertificates[0].Raw
	}
	first := peer()
	kept, err := (&tls.Dialer{Config: &tls.Config{InsecureSkipVerify: true}}).DialContext(t.Context(), "tcp", s.Address())
	if err != nil {
		t.Fatal(err)
	}
	defer kept.Close()
	if err := os.WriteFile(certificate, []byte("half a cert"), 0o600); err != nil {
		t.Fatal(err)
	}
	s.ReloadCertificates(t.Context())
	if !bytes.Equal(peer(), first) {
		t.Error("a broken certificate has replaced the old one")
	}
	if l := s.Certificates(); !strings.Contains(l[0].Problem, "cert.pem") {
		t.Errorf("certificates: %+v", l)
	}
	other := start(t, func(c *config.Config) { c.Hostname, c.TLS.Mode = "scim.corp.example", "self-signed" })
	copyFile(filepath.Join(other.o.Config.Data, "tls", "root.pem"), certificate)
	copyFile(filepath.Join(other.o.Config.Data, "tls", "root-key.pem"), key)
	s.ReloadCertificates(t.Context())
	if bytes.Equal(peer(), first) {
		t.Error("the new certificate is not served")
	}
	asking{kept, bufio.NewReader(kept)}.ask(t) // on the connection that was there before
}

// Who connects and says nothing does not get to keep the connection.
func TestHandshakeTimeout(t *testing.T) {
	s := start(t, func(c *config.Config) {
		c.Hostname, c.TLS.Mode, c.Limits.HeaderTimeout = "scim.corp.example", "self-signed", config.Duration{Duration: 100 * time.Millisecond}
	})
	conn, err := new(net.Dialer).DialContext(t.Context(), "tcp", s.Address())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.SetReadDeadline(time.Now().Add(20 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(io.Discard, conn); errors.Is(err, os.ErrDeadlineExceeded) {
		t.Error("a connection without a handshake is kept")
	}
}
