// Package acmetest runs an authority that speaks ACME, letsencrypt/pebble, and a DNS for it to ask, on loopback. Tests get
// certificates from it as they would from an authority on the internet: nothing is simulated but the network.
//
//	acmetest.go   the authority, behind a proxy that counts, and gets in the way when it is told to
//	dns.go        name servers of a zone that can be changed by RFC 2136
//
// Pebble is a tool of tools/go.mod: the go command builds it once and keeps it in its cache.
package acmetest

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// Options are what an authority is like.
type Options struct {
	DNS      *DNS              // that names are looked up in
	HTTP     net.Addr          // where HTTP-01 challenges are looked for, instead of port 80; nil = nowhere
	TLS      net.Addr          // where TLS-ALPN-01 challenges are looked for, instead of port 443; nil = nowhere
	Validity time.Duration     // of certificates, 0 = 90 days
	Accounts map[string]string // external accounts, key id -> HMAC key in base64url; none is needed if there are none
	Blocked  []string          // names that it gives no certificates for
}

// CA is a running authority.
type CA struct {
	Directory string // URL that clients are configured with
	Roots     string // file of the certificate that the directory's https is trusted by

	management string
	client     *http.Client
	orders     atomic.Int64
	intercept  atomic.Pointer[func(http.ResponseWriter, *http.Request) bool]
}

// pebble returns the path of the program.
var pebble = sync.OnceValues(func() (string, error) {
	mod, err := exec.Command("go", "env", "GOMOD").Output()
	if err != nil {
		return "", fmt.Errorf("go env: %w", err)
	}
	tools := filepath.Join(filepath.Dir(strings.TrimSpace(string(mod))), "tools")
	var said bytes.Buffer
	cmd := exec.Command("go", "-C", tools, "tool", "-n", "pebble") // #nosec G204 -- for tests
	cmd.Stderr = &said
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("building pebble in %s: %w\n%s", tools, err, &said)
	}
	return strings.TrimSpace(string(out)), nil
})

// Start starts an authority that ends with the test.
func Start(t testing.TB, o Options) *CA {
	t.Helper()
	program, err := pebble()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	certificate, key := makeCertificate(t, dir)
	pair, err := tls.LoadX509KeyPair(certificate, key)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AddCert(pair.Leaf)
	c := &CA{
		Roots:  certificate,
		client: &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}, DisableKeepAlives: true}, Timeout: 10 * time.Second},
	}
	listen, management := freeAddress(t), freeAddress(t)
	c.management = "https://" + management

	validity := o.Validity
	if validity == 0 {
		validity = 90 * 24 * time.Hour
	}
	settings := map[string]any{
		"listenAddress": listen, "managementListenAddress": management, "certificate": certificate, "privateKey": key,
		"httpPort": port(o.HTTP), "tlsPort": port(o.TLS), "keyAlgorithm": "ecdsa", "domainBlocklist": o.Blocked,
		"profiles":                       map[string]any{"default": map[string]any{"description": "for tests", "validityPeriod": int(validity.Seconds())}},
		"externalAccountBindingRequired": len(o.Accounts) > 0, "externalAccountMACKeys": o.Accounts,
		"retryAfter": map[string]int{"authz": 1, "order": 1},
	}
	text, err := json.Marshal(map[string]any{"pebble": settings})
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "pebble.json")
	if err := os.WriteFile(file, text, 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(program, "-config", file, "-strict", "-dnsserver", o.DNS.Address) // #nosec G204 -- for tests
	cmd.Env = append(os.Environ(), "PEBBLE_VA_NOSLEEP=1", "PEBBLE_WFE_NONCEREJECT=5", "PEBBLE_AUTHZREUSE=0")
	log := &lockedBuffer{}
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		<-ended
		if t.Failed() {
			t.Logf("pebble has said:\n%s", log)
		}
	})
	c.await(t, ended)

	proxy := &httputil.ReverseProxy{
		Transport: c.client.Transport,
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(&url.URL{Scheme: "https", Host: listen})
			r.Out.Host = r.In.Host // of which pebble makes its addresses
		},
		ModifyResponse: func(answer *http.Response) error {
			if strings.HasPrefix(answer.Request.URL.Path, "/order-plz") && answer.StatusCode == http.StatusCreated {
				c.orders.Add(1)
			}
			return nil
		},
	}
	front := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if f := c.intercept.Load(); f != nil && (*f)(w, r) {
			return
		}
		proxy.ServeHTTP(w, r)
	}))
	front.TLS = &tls.Config{Certificates: []tls.Certificate{pair}}
	front.StartTLS()
	t.Cleanup(front.Close)
	c.Directory = front.URL + "/dir"
	return c
}

// await waits until the authority answers. It says nothing when it begins to, so that it is asked until it does.
func (c *CA) await(t testing.TB, ended chan error) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); ; {
		answer, err := c.client.Get(c.management + "/roots/0")
		if err == nil {
			_ = answer.Body.Close()
			return
		}
		select {
		case err := <-ended:
			ended <- err
			t.Fatalf("pebble has ended: %v", err)
		case <-time.After(20 * time.Millisecond):
		}
		if time.Now().After(deadline) {
			t.Fatalf("pebble does not answer: %v", err)
		}
	}
}

// Issuers returns what certificates of the authority are trusted by.
func (c *CA) Issuers(t testing.TB) *x509.CertPool {
	t.Helper()
	answer, err := c.client.Get(c.management + "/roots/0")
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(text) {
		t.Fatalf("no root in %q", text)
	}
	return pool
}

// Orders returns how many orders for a certificate it has taken.
func (c *CA) Orders() int { return int(c.orders.Load()) }

// Intercept has f look at every request first; it returns whether it has answered. nil ends that.
func (c *CA) Intercept(f func(http.ResponseWriter, *http.Request) bool) {
	if f == nil {
		c.intercept.Store(nil)
		return
	}
	c.intercept.Store(&f)
}

func port(a net.Addr) int {
	if t, ok := a.(*net.TCPAddr); ok {
		return t.Port
	}
	return 1 // nobody listens there
}

// freeAddress returns an address that nobody listens on.
func freeAddress(t testing.TB) string {
	t.Helper()
	l, err := new(net.ListenConfig).Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// makeCertificate makes the certificate that the authority's own https has.
func makeCertificate(t testing.TB, dir string) (certificate, key string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: "the authority's own https"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		BasicConstraintsValid: true, IsCA: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	certificate, key = filepath.Join(dir, "https.pem"), filepath.Join(dir, "https-key.pem")
	for name, block := range map[string]*pem.Block{certificate: {Type: "CERTIFICATE", Bytes: der}, key: {Type: "PRIVATE KEY", Bytes: secret}} {
		if err := os.WriteFile(name, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return certificate, key
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}
