package tlsconf

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddyserver/certmagic"

	"scimbox/tlsconf/acmetest"
)

var boxes atomic.Int64

// box is a server with a certificate, as package server makes one: its listeners are there before the certificate is.
type box struct {
	host        string // its own, because what certmagic has under way is the process's, by name
	https, http net.Listener
	dir         string
	log         *watchedLog
	*TLS
	stop func()
}

// watchedLog keeps the log, and lets tests wait for a line of it.
type watchedLog struct {
	slog.Handler
	mu   sync.Mutex
	text bytes.Buffer
	more chan struct{} // closed and replaced with each line
}

func newLog() *watchedLog {
	l := &watchedLog{more: make(chan struct{})}
	l.Handler = slog.NewTextHandler(l, &slog.HandlerOptions{Level: slog.LevelDebug})
	return l
}

func (l *watchedLog) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	close(l.more)
	l.more = make(chan struct{})
	return l.text.Write(p)
}

func (l *watchedLog) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

func (l *watchedLog) clear() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.text.Reset()
}

// await waits until the log has a line with all of these in it.
func (l *watchedLog) await(t *testing.T, parts ...string) {
	t.Helper()
	late := time.NewTimer(30 * time.Second)
	defer late.Stop()
	for {
		l.mu.Lock()
		text, more := l.text.String(), l.more
		l.mu.Unlock()
		for line := range strings.Lines(text) {
			if all(line, parts) {
				return
			}
		}
		select {
		case <-more:
		case <-late.C:
			t.Fatalf("no line with %q in the log", parts)
		}
	}
}

// obtained waits until there is a certificate to serve.
func (b *box) obtained(t *testing.T) {
	t.Helper()
	b.log.await(t, "a certificate was obtained", b.host, "renewal=false")
	b.log.await(t, "added certificate to cache")
}

func all(line string, parts []string) bool {
	for _, p := range parts {
		if !strings.Contains(line, p) {
			return false
		}
	}
	return true
}

func listen(t *testing.T, address string) net.Listener {
	t.Helper()
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// newBox listens. It serves when serve is called.
func newBox(t *testing.T) *box {
	log := newLog()
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("the log:\n%s", log)
		}
	})
	return &box{host: fmt.Sprintf("box%d.%s", boxes.Add(1), acmetest.Zone), https: listen(t, "127.0.0.1:0"), http: listen(t, "127.0.0.1:0"), dir: filepath.Join(t.TempDir(), "tls"), log: log, stop: func() {}}
}

// again listens on the same addresses after a stop, and keeps the directory.
func (b *box) again(t *testing.T) {
	t.Helper()
	b.stop()
	b.https, b.http = listen(t, b.https.Addr().String()), listen(t, b.http.Addr().String())
}

func (b *box) serve(t *testing.T, o Options) {
	t.Helper()
	o.Hostname, o.Dir, o.Logger = b.host, b.dir, slog.New(b.log)
	if o.Mode == "" {
		o.Mode = ModeACME
	}
	var err error
	if b.TLS, err = Open(o); err != nil {
		t.Fatal(err)
	}
	quiet := slog.NewLogLogger(slog.DiscardHandler, slog.LevelDebug)
	hello := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, r.Proto) })
	secure := &http.Server{Handler: hello, TLSConfig: b.Config(), ErrorLog: quiet, ReadHeaderTimeout: 10 * time.Second}
	plain := &http.Server{Handler: b.Challenges(http.NotFoundHandler()), ErrorLog: quiet, ReadHeaderTimeout: 10 * time.Second}
	b.Start(t.Context(), b.https.Addr(), b.http.Addr())
	var served sync.WaitGroup
	served.Go(func() { _ = secure.ServeTLS(b.https, "", "") })
	served.Go(func() { _ = plain.Serve(b.http) })
	b.stop = sync.OnceFunc(func() {
		_, _ = secure.Close(), plain.Close()
		served.Wait()
		b.Close()
	})
	t.Cleanup(b.stop)
}

// client returns one that trusts roots, and makes a connection of its own for each request.
func (b *box) client(roots *x509.CertPool) *http.Client {
	address := b.https.Addr().String()
	return &http.Client{Timeout: 20 * time.Second, Transport: &http.Transport{
		DisableKeepAlives: true, ForceAttemptHTTP2: true, TLSClientConfig: &tls.Config{RootCAs: roots},
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, network, address)
		},
	}}
}

// get asks for a page by the box's name and returns the certificate that it came with.
func (b *box) get(c *http.Client) (*x509.Certificate, error) {
	answer, err := c.Get("https://" + b.host + "/")
	if err != nil {
		return nil, err
	}
	defer answer.Body.Close()
	if _, err := io.Copy(io.Discard, answer.Body); err != nil {
		return nil, err
	}
	return answer.TLS.PeerCertificates[0], nil
}

// Every challenge ends in a certificate of a real authority. Its own https is trusted by a private root, and it takes only the
// account that it knows by external binding.
func TestObtain(t *testing.T) {
	t.Parallel()
	const id, key = "kid-1", "zWNDZM6eQGHWpSRTPal5eIUYFTu7EajVIoguysqZ9wG44nMEtx3MUAsUDkMTQ12W"
	for _, challenge := range []string{"http-01", "tls-alpn-01", "dns-01"} {
		t.Run(challenge, func(t *testing.T) {
			t.Parallel()
			names, b := acmetest.StartDNS(t), newBox(t)
			o := acmetest.Options{DNS: names, Accounts: map[string]string{id: key}}
			a := ACME{Email: "ops@scim.test", EABKeyID: id, EABKey: key}
			switch challenge { // the authority looks where it finds nothing but this one
			case "http-01":
				o.HTTP = b.http.Addr()
			case "tls-alpn-01":
				o.TLS = b.https.Addr()
			case "dns-01":
				a.DNS = &DNS{Provider: DNSRFC2136, Resolvers: []string{names.Address}, RFC2136: RFC2136{Server: names.Address, KeyName: acmetest.KeyName, Key: acmetest.Key}}
			}
			ca := acmetest.Start(t, o)
			a.Directory, a.Roots = ca.Directory, ca.Roots
			b.serve(t, Options{ACME: a})
			b.obtained(t)
			leaf, err := b.get(b.client(ca.Issuers(t)))
			if err != nil {
				t.Fatal(err)
			}
			if err := leaf.VerifyHostname(b.host); err != nil {
				t.Error(err)
			}
			c := b.Certificates()[0]
			if c.Problem != "" || !reflect.DeepEqual(c.Names, []string{b.host}) || !c.NotAfter.Equal(leaf.NotAfter) || !strings.Contains(c.Issuer, "Pebble") {
				t.Errorf("the certificate is told to be %+v", c)
			}
			if challenge == "dns-01" {
				if got := names.Changes(); len(got) != 2 || !strings.HasPrefix(got[0], "+ _acme-challenge."+b.host) || got[1][1:] != got[0][1:] {
					t.Errorf("changes of the zone: %q", got)
				}
			}
			for _, secret := range []string{key, acmetest.Key} {
				if strings.Contains(b.log.String(), secret) {
					t.Error("the log has a secret")
				}
			}
			private(t, b.dir)
		})
	}
}

// private fails if others may read something below dir.
func private(t *testing.T, dir string) {
	t.Helper()
	if err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err == nil && info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s may be read by others: %s", path, info.Mode())
		}
		return err
	}); err != nil {
		t.Error(err)
	}
}

// A certificate is replaced before its end, while clients come and go, and none of them notices.
func TestRenewUnderTraffic(t *testing.T) {
	t.Parallel()
	names, b := acmetest.StartDNS(t), newBox(t)
	ca := acmetest.Start(t, acmetest.Options{DNS: names, TLS: b.https.Addr(), HTTP: b.http.Addr(), Validity: 20 * time.Second})
	b.serve(t, Options{Every: 200 * time.Millisecond, ACME: ACME{Directory: ca.Directory, Roots: ca.Roots}})
	b.obtained(t)
	roots := ca.Issuers(t)
	first, err := b.get(b.client(roots))
	if err != nil {
		t.Fatal(err)
	}
	var requests atomic.Int64
	var clients sync.WaitGroup
	seen := make(chan *x509.Certificate, 4)
	for range cap(seen) {
		clients.Go(func() {
			c := b.client(roots)
			for {
				leaf, err := b.get(c)
				if err != nil {
					t.Errorf("request %d: %v", requests.Load(), err)
					seen <- nil
					return
				}
				requests.Add(1)
				if leaf.SerialNumber.Cmp(first.SerialNumber) != 0 {
					seen <- leaf
					return
				}
			}
		})
	}
	clients.Wait()
	for range cap(seen) {
		if leaf := <-seen; leaf != nil && !leaf.NotBefore.Before(first.NotAfter) {
			t.Errorf("the certificate to %s was renewed at %s", first.NotAfter, leaf.NotBefore)
		}
	}
	if ca.Orders() < 2 || requests.Load() < 100 {
		t.Errorf("%d orders, %d requests", ca.Orders(), requests.Load())
	}
	t.Logf("%d requests without a failure", requests.Load())
}

// After a restart the certificate that there is serves from the first handshake on, and the authority is not asked. A lock that a
// killed process has left behind delays nothing.
func TestRestart(t *testing.T) {
	t.Parallel()
	names, b := acmetest.StartDNS(t), newBox(t)
	ca := acmetest.Start(t, acmetest.Options{DNS: names, HTTP: b.http.Addr(), TLS: b.https.Addr()})
	o := Options{ACME: ACME{Directory: ca.Directory, Roots: ca.Roots}}
	b.serve(t, o)
	b.obtained(t)
	c := b.client(ca.Issuers(t))
	first, err := b.get(c)
	if err != nil {
		t.Fatal(err)
	}
	lock := filepath.Join(b.dir, "acme", "locks", "issue_cert_"+b.host+".lock")
	text, err := json.Marshal(map[string]time.Time{"created": time.Now(), "updated": time.Now()})
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := os.MkdirAll(filepath.Dir(lock), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(lock, text, 0o600); err != nil {
			t.Fatal(err)
		}
		b.again(t)
		b.serve(t, o)
		if _, err := os.Stat(lock); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("the lock of a dead process: %v", err)
		}
		leaf, err := b.get(c)
		if err != nil {
			t.Fatal(err)
		}
		if leaf.SerialNumber.Cmp(first.SerialNumber) != 0 {
			t.Error("the certificate is another one")
		}
	}
	if n := ca.Orders(); n != 1 {
		t.Errorf("%d certificates were asked for, want 1", n)
	}

	// Files that cannot be read are put aside, and the authority is asked.
	b.stop()
	found, err := filepath.Glob(filepath.Join(b.dir, "acme", "certificates", "*", b.host, b.host+".crt"))
	if err != nil || len(found) != 1 {
		t.Fatal(found, err)
	}
	if err := os.WriteFile(found[0], []byte("nothing"), 0o600); err != nil {
		t.Fatal(err)
	}
	b.again(t)
	b.log.clear()
	b.serve(t, o)
	b.log.await(t, "the stored certificate cannot be used")
	b.obtained(t)
}

// An authority that cannot be reached keeps nobody from starting; clients are refused, the status says why, and an operator
// who has mended it need not wait for the next try.
func TestUnreachable(t *testing.T) {
	t.Parallel()
	names, b := acmetest.StartDNS(t), newBox(t)
	ca := acmetest.Start(t, acmetest.Options{DNS: names, HTTP: b.http.Addr(), TLS: b.https.Addr()})
	ca.Intercept(func(http.ResponseWriter, *http.Request) bool { panic(http.ErrAbortHandler) })
	b.serve(t, Options{ACME: ACME{Directory: ca.Directory, Roots: ca.Roots}})
	if c := b.Certificates()[0]; c.Problem == "" || !c.NotAfter.IsZero() || c.Names[0] != b.host {
		t.Errorf("without a certificate it is told: %+v", c)
	}
	b.log.await(t, "no certificate could be obtained")
	b.log.await(t, "will retry")
	c := b.client(ca.Issuers(t))
	if _, err := b.get(c); err == nil {
		t.Fatal("a handshake without a certificate")
	}
	b.log.await(t, "a client was refused", "performing request")
	if c := b.Certificates()[0]; !strings.Contains(c.Problem, "no certificate could be obtained yet") {
		t.Errorf("the status says: %+v", c)
	}
	ca.Intercept(nil)
	b.Reload(t.Context())
	b.obtained(t)
	if _, err := b.get(c); err != nil {
		t.Error(err)
	}
	if c := b.Certificates()[0]; c.Problem != "" {
		t.Errorf("the status still says: %s", c.Problem)
	}
}

// An authority that refuses is quoted. One that refuses a renewal does no harm to the certificate that there is, whose end is told
// of; ACME Renewal Information says that it is time long before the usual moment.
func TestRefused(t *testing.T) {
	t.Parallel()
	names, b := acmetest.StartDNS(t), newBox(t)
	ca := acmetest.Start(t, acmetest.Options{DNS: names, HTTP: b.http.Addr(), TLS: b.https.Addr()})
	var refusing, asked atomic.Bool
	ca.Intercept(func(w http.ResponseWriter, r *http.Request) bool {
		switch {
		case strings.Contains(r.URL.Path, "/renewalInfo/") && !asked.Swap(true): // only for the first certificate
			w.Header().Set("Content-Type", "application/json")
			w.Header().Set("Retry-After", "21600")
			now := time.Now()
			_ = json.NewEncoder(w).Encode(map[string]any{"suggestedWindow": map[string]time.Time{"start": now.Add(-2 * time.Hour), "end": now.Add(-time.Hour)}})
			return true
		case strings.HasPrefix(r.URL.Path, "/order-plz") && refusing.Load():
			w.Header().Set("Content-Type", "application/problem+json")
			w.WriteHeader(http.StatusTooManyRequests)
			_, _ = io.WriteString(w, `{"type":"urn:ietf:params:acme:error:rateLimited","detail":"too many certificates for scim.test"}`)
			return true
		case strings.HasPrefix(r.URL.Path, "/finalize-order"):
			refusing.Store(true) // from the next order on
		}
		return false
	})
	b.serve(t, Options{Every: 100 * time.Millisecond, ACME: ACME{Directory: ca.Directory, Roots: ca.Roots}})
	b.obtained(t)
	b.log.await(t, "the certificate could not be renewed", "days_left=89", "too many certificates")
	if !asked.Load() {
		t.Error("renewed without being told to")
	}
	first, err := b.get(b.client(ca.Issuers(t)))
	if err != nil {
		t.Fatal(err)
	}
	if c := b.Certificates()[0]; !strings.Contains(c.Problem, "too many certificates for scim.test") || c.Left(time.Now()) < 89*24*time.Hour {
		t.Errorf("the status says %+v", c)
	}
	refusing.Store(false)
	b.Reload(t.Context())
	b.log.await(t, "a certificate was obtained", "renewal=true")
	b.log.await(t, "replaced certificate in cache")
	if leaf, err := b.get(b.client(ca.Issuers(t))); err != nil || leaf.SerialNumber.Cmp(first.SerialNumber) == 0 {
		t.Errorf("the new certificate is not served: %v", err)
	}
	if c := b.Certificates()[0]; c.Problem != "" {
		t.Errorf("the status still says: %s", c.Problem)
	}
}

// Another account than the one that the certificate was obtained by gets the next one: operators change addresses. The authority
// would refuse it if it was told that the one is to replace the other.
func TestAnotherAccount(t *testing.T) {
	t.Parallel()
	names, b := acmetest.StartDNS(t), newBox(t)
	ca := acmetest.Start(t, acmetest.Options{DNS: names, HTTP: b.http.Addr(), TLS: b.https.Addr()})
	var asked atomic.Bool
	ca.Intercept(func(w http.ResponseWriter, r *http.Request) bool {
		if !strings.Contains(r.URL.Path, "/renewalInfo/") || asked.Swap(true) {
			return false
		}
		w.Header().Set("Content-Type", "application/json") // renew the first one soon
		w.Header().Set("Retry-After", "21600")
		now := time.Now()
		_ = json.NewEncoder(w).Encode(map[string]any{"suggestedWindow": map[string]time.Time{"start": now.Add(time.Second), "end": now.Add(3 * time.Second)}})
		return true
	})
	o := Options{ACME: ACME{Directory: ca.Directory, Roots: ca.Roots}}
	b.serve(t, o)
	b.obtained(t)
	b.again(t)
	b.log.clear()
	o.Every, o.ACME.Email = 100*time.Millisecond, "new@scim.test"
	b.serve(t, o)
	b.log.await(t, "new ACME account registered", "new@scim.test")
	b.log.await(t, "a certificate was obtained", "renewal=true")
	b.log.await(t, "replaced certificate in cache")
	if c := b.Certificates()[0]; c.Problem != "" {
		t.Errorf("the status says: %s", c.Problem)
	}
}

// An authority that does not want this name, or this account, is quoted.
func TestUnwanted(t *testing.T) {
	t.Parallel()
	names := acmetest.StartDNS(t)
	for _, tt := range []struct {
		name string
		ca   acmetest.Options
		acme ACME
		want string
	}{
		{"name", acmetest.Options{Blocked: []string{acmetest.Zone}}, ACME{}, "rejectedIdentifier"},
		{"account", acmetest.Options{Accounts: map[string]string{"kid-1": "zWNDZM6eQGHWpSRTPal5eIUYFTu7EajVIoguysqZ9wG44nMEtx3MUAsUDkMTQ12W"}}, ACME{}, "externalAccountRequired"},
		{"key", acmetest.Options{Accounts: map[string]string{"kid-1": "zWNDZM6eQGHWpSRTPal5eIUYFTu7EajVIoguysqZ9wG44nMEtx3MUAsUDkMTQ12W"}},
			ACME{EABKeyID: "kid-1", EABKey: "b10lLJs8l1GPIzsLP0s6pMt8O0XVGnfTaCeROxQM0BIt2XrJMDHJZBM5NuQmQJQH"}, "unauthorized"},
		{"challenge", acmetest.Options{}, ACME{}, "error"}, // nobody listens where it looks
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			b := newBox(t)
			tt.ca.DNS = names
			ca := acmetest.Start(t, tt.ca)
			tt.acme.Directory, tt.acme.Roots = ca.Directory, ca.Roots
			b.serve(t, Options{ACME: tt.acme})
			b.log.await(t, "no certificate could be obtained", tt.want)
			if c := b.Certificates()[0]; !strings.Contains(c.Problem, tt.want) {
				t.Errorf("the status says: %+v", c)
			}
		})
	}
}

// What another part of the program does with certmagic is not changed by what we do.
func TestDefaultsUntouched(t *testing.T) {
	// Sequential tests run before the parallel ones go on, so these are as the package has them.
	config, acme := certmagic.Default, certmagic.DefaultACME
	a, err := Open(Options{Mode: ModeACME, Hostname: acmetest.Zone, Dir: filepath.Join(t.TempDir(), "tls"), ACME: ACME{Email: "ops@scim.test", Staging: true}})
	if err != nil {
		t.Fatal(err)
	}
	a.Close()
	if !reflect.DeepEqual(certmagic.Default.Storage, config.Storage) || certmagic.Default.Logger != config.Logger || certmagic.Default.Issuers != nil ||
		certmagic.Default.DefaultServerName != "" || certmagic.Default.OnEvent != nil {
		t.Error("certmagic.Default has changed")
	}
	if certmagic.DefaultACME.Email != acme.Email || certmagic.DefaultACME.CA != certmagic.LetsEncryptProductionCA || certmagic.DefaultACME.Agreed ||
		certmagic.DefaultACME.Logger != acme.Logger || certmagic.DefaultACME.TrustedRoots != nil {
		t.Error("certmagic.DefaultACME has changed")
	}
}

// Which authority is asked.
func TestDirectory(t *testing.T) {
	for _, tt := range []struct {
		a    ACME
		want string
	}{
		{ACME{}, "https://acme-v02.api.letsencrypt.org/directory"},
		{ACME{Staging: true}, "https://acme-staging-v02.api.letsencrypt.org/directory"},
		{ACME{Directory: "https://ca.corp.example/acme/acme/directory"}, "https://ca.corp.example/acme/acme/directory"},
	} {
		if got := tt.a.URL(); got != tt.want {
			t.Errorf("%+v: %s, want %s", tt.a, got, tt.want)
		}
	}
	dir := t.TempDir()
	if _, err := Open(Options{Mode: ModeACME, Hostname: acmetest.Zone, Dir: dir, ACME: ACME{Roots: filepath.Join(dir, "none.pem")}}); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("roots that are not there: %v", err)
	}
	if _, err := Open(Options{Mode: ModeACME, Hostname: acmetest.Zone, Dir: dir, ACME: ACME{DNS: &DNS{Provider: "bind"}}}); !errors.Is(err, errProvider) {
		t.Errorf("a provider that is none: %v", err)
	}
}
