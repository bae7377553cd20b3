package doctor

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"scimbox/auth"
	"scimbox/server/control"
	"scimbox/storage"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const hostname = "scim.example.com"

// issuer is an authority.
type issuer struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

// newIssuer makes an authority, of another one if by is not nil.
func newIssuer(t *testing.T, name string, by *issuer) *issuer {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	form := &x509.Certificate{
		SerialNumber: big.NewInt(now.UnixNano()), Subject: pkix.Name{CommonName: name}, NotBefore: now.Add(-1000 * day), NotAfter: now.Add(1000 * day),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	parent, signer := form, key
	if by != nil {
		parent, signer = by.cert, by.key
	}
	der, err := x509.CreateCertificate(rand.Reader, form, parent, &key.PublicKey, signer)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return &issuer{cert, key}
}

func (i *issuer) pool() *x509.CertPool {
	p := x509.NewCertPool()
	p.AddCert(i.cert)
	return p
}

// issue makes a certificate for a host, from and until so long from now.
func (i *issuer) issue(t *testing.T, host string, from, until time.Duration, chain ...*issuer) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	form := &x509.Certificate{
		SerialNumber: big.NewInt(now.UnixNano()), Subject: pkix.Name{CommonName: host}, DNSNames: []string{host}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: now.Add(from), NotAfter: now.Add(until), ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, form, i.cert, &key.PublicKey, i.key)
	if err != nil {
		t.Fatal(err)
	}
	c := tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
	for _, link := range chain {
		c.Certificate = append(c.Certificate, link.cert.Raw)
	}
	return c
}

// installation is one that is well, until a test does something to it.
type installation struct {
	Options
	t       *testing.T
	root    *issuer
	backend *control.Backend
	server  control.Server
	tls     *tls.Config
	answer  http.HandlerFunc // in front of the server, nil = passes on
	date    time.Time        // that the authority has, zero = the right one
	closed  map[string]error // addresses that do not answer
}

const away = "203.0.113.10" // where the name leads; all connections go to loopback in truth

func healthy(t *testing.T) *installation {
	t.Helper()
	store, err := storage.Open(t.Context(), storage.Memory(), storage.Options{})
	if err != nil {
		t.Fatal(err)
	}
	tokens := auth.New(store, auth.Options{Cost: 4})
	t.Cleanup(func() {
		if err := errors.Join(tokens.Close(), store.Close()); err != nil {
			t.Error(err)
		}
	})
	i := &installation{t: t, root: newIssuer(t, "Public Root", nil), closed: map[string]error{}}
	i.backend = &control.Backend{
		Store: store, Tokens: tokens, Version: "1", Data: "data", TTL: 90 * day, Clock: time.Now, Logger: slog.New(slog.DiscardHandler),
		Server: func() control.Server { return i.server },
	}
	i.guards(control.Guard{Tenant: "default", State: "armed", Most: 20})
	i.server = control.Server{PID: 7, Listen: "[::]:443"}
	i.tls = &tls.Config{Certificates: []tls.Certificate{i.root.issue(t, hostname, -10*day, 80*day)}}
	i.create("entra", auth.ScopeWrite, 90*day)
	dir := t.TempDir()
	file := filepath.Join(dir, "scimbox.toml")
	if err := errors.Join(os.WriteFile(file, nil, 0o600), os.Chmod(dir, 0o700)); err != nil {
		t.Fatal(err)
	}
	i.Options = Options{
		Data: dir, ConfigFile: file, PublicURL: "https://" + hostname, TLS: "acme", HTTP: true, Trust: i.root.pool(), Roots: i.root.pool(),
		Resolve: func(context.Context, string) ([]netip.Addr, error) {
			return []netip.Addr{netip.MustParseAddr(away)}, nil
		},
		Own:   func() ([]netip.Addr, error) { return nil, nil },
		Limit: 20 * time.Second,
	}
	return i
}

// guards makes the guard against mass changes say something.
func (i *installation) guards(all ...control.Guard) {
	i.backend.Guard = &control.GuardBackend{Status: func(context.Context) ([]control.Guard, error) { return all, nil }}
}

func (i *installation) create(name string, scope auth.Scope, ttl time.Duration) auth.Token {
	i.t.Helper()
	tok, _, err := i.backend.Tokens.Create(i.t.Context(), auth.Spec{Name: name, Scope: scope, TTL: ttl}, control.Origin)
	if err != nil {
		i.t.Fatal(err)
	}
	return tok
}

func (i *installation) revokeAll() {
	i.t.Helper()
	all, err := i.backend.Tokens.List(i.t.Context())
	if err != nil {
		i.t.Fatal(err)
	}
	for _, tok := range all {
		if err := i.backend.Tokens.Revoke(i.t.Context(), tok.ID, control.Origin); err != nil {
			i.t.Fatal(err)
		}
	}
}

// scim answers as the server does, to whoever has a right token.
func (i *installation) scim(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "application/scim+json; charset=utf-8")
	secret, _ := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	tok, err := i.backend.Tokens.Verify(r.Context(), secret, netip.MustParseAddr("192.0.2.1"))
	if err != nil {
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	if r.URL.Path != "/scim/v2/Users" || r.URL.Query().Get("filter") != aNobody || !strings.HasPrefix(tok.Tenant, "doctor-") || tok.Scope != auth.ScopeRead {
		i.t.Errorf("the rehearsal asks %s as %+v", r.URL, tok)
	}
	fmt.Fprint(w, `{"schemas":["urn:ietf:params:scim:api:messages:2.0:ListResponse"],"totalResults":0}`)
}

// examine runs what is to be examined on loopback.
func (i *installation) examine() []Finding {
	i.t.Helper()
	front := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if i.answer != nil {
			i.answer(w, r)
			return
		}
		i.scim(w, r)
	}))
	front.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, 0)
	front.TLS = i.tls
	front.StartTLS()
	defer front.Close()
	authority := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !i.date.IsZero() {
			w.Header().Set("Date", i.date.UTC().Format(http.TimeFormat))
		}
	}))
	authority.Config.ErrorLog = front.Config.ErrorLog
	authority.TLS = &tls.Config{Certificates: []tls.Certificate{i.root.issue(i.t, "ca.example.com", -10*day, 80*day)}}
	authority.StartTLS()
	defer authority.Close()
	if i.Authority == "" {
		i.Authority = "https://ca.example.com/directory"
	}
	i.Dial = func(ctx context.Context, address string) (net.Conn, error) {
		if err := i.closed[address]; err != nil {
			return nil, err
		}
		to := front.Listener.Addr().String()
		if address == "ca.example.com:443" {
			to = authority.Listener.Addr().String()
		}
		return new(net.Dialer).DialContext(ctx, "tcp", to)
	}
	if i.Down == nil {
		i.Client = control.Local(i.backend)
		defer i.Client.Close()
	}
	return Examine(i.t.Context(), i.Options)
}

// Nothing is found where nothing is wrong, every check has been done, and nothing is left behind.
func TestHealthy(t *testing.T) {
	i := healthy(t)
	before, err := i.backend.Tokens.List(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	done := map[string]bool{}
	for _, f := range i.examine() {
		done[f.Check] = true
		if f.Verdict != Pass || f.Fix != "" || f.Field != "" {
			t.Errorf("%+v", f)
		}
	}
	for _, c := range checks {
		if !done[c.name] && c.name != "free space" { // nobody looks at the room of a store in memory
			t.Errorf("the check %q has found nothing at all", c.name)
		}
	}
	after, err := i.backend.Tokens.List(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if len(after) != len(before) {
		t.Errorf("a token is left: %+v", after)
	}
	stats, err := i.backend.Store.Stats(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for tenant := range stats.Counts {
		if strings.HasPrefix(tenant, "doctor-") {
			t.Errorf("tenant %s is left", tenant)
		}
	}
}

// Each thing that can be wrong is found, with what to do and which field of Entra's form it is about.
func TestFindings(t *testing.T) {
	refused := &net.OpError{Op: "dial", Err: os.NewSyscallError("connect", syscall.ECONNREFUSED)}
	answers := func(status int, kind, body string) func(*installation) {
		return func(i *installation) {
			i.answer = func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Content-Type", kind)
				if status/100 == 3 {
					w.Header().Set("Location", "https://login.example.com/")
				}
				w.WriteHeader(status)
				fmt.Fprint(w, body)
			}
		}
	}
	serves := func(make func(i *installation) tls.Certificate) func(*installation) {
		return func(i *installation) { i.tls.Certificates = []tls.Certificate{make(i)} }
	}
	resolves := func(err error, addresses ...string) func(*installation) {
		return func(i *installation) {
			i.Resolve = func(context.Context, string) ([]netip.Addr, error) {
				var all []netip.Addr
				for _, a := range addresses {
					all = append(all, netip.MustParseAddr(a))
				}
				return all, err
			}
		}
	}
	for _, test := range []struct {
		name    string
		change  func(i *installation)
		check   string
		verdict Verdict
		found   string
		fix     string
		field   string
	}{
		{"no server", func(i *installation) { i.Down = errors.New("nobody listens") }, "server", Fail, "nobody listens", "systemctl start scimbox", TenantURL},
		{"a store and no server", func(i *installation) { i.backend.Server = nil }, "server", Fail, "no server runs", "start it", TenantURL},

		{"no data", func(i *installation) { i.Data = filepath.Join(i.Data, "none") }, "data directory", Fail, "is not there", "start the server once", ""},
		{"open data", func(i *installation) { chmod(i.t, i.Data, 0o755) }, "data directory", Fail, "others can look into", "chmod 0700 ", ""},
		{"no configuration", func(i *installation) { i.ConfigFile += ".none" }, "configuration", Fail, "cannot be looked at", "as the user", ""},
		{"configuration for all to change", func(i *installation) { chmod(i.t, i.ConfigFile, 0o666) }, "configuration", Fail, "others can change", "chmod 0640 ", ""},
		{"configuration for all to read", func(i *installation) { chmod(i.t, i.ConfigFile, 0o644) }, "configuration", Warn, "everybody", "chmod 0640 ", ""},

		{"a guard that holds", func(i *installation) {
			i.guards(control.Guard{Tenant: "quiet", State: "armed"}, control.Guard{Tenant: "acme", State: "holding", Since: time.Now(), Held: "delete of the User 7", Actor: "aaaaaaaaaaaa"})
		}, "mass changes", Fail, "tenant acme: what is deactivated, deleted or removed is held back since", "scimbox guard approve --tenant acme if it is meant", ""},
		{"a guard that was told to", func(i *installation) { i.guards(control.Guard{Tenant: "acme", State: "rejected"}) }, "mass changes", Warn, "is refused since", "scimbox guard rearm --tenant acme", ""},
		{"a guard that lets through", func(i *installation) { i.guards(control.Guard{Tenant: "acme", State: "approved"}) }, "mass changes", Warn, "let through until", "rearm --tenant acme", ""},
		{"a guard that cannot be read", func(i *installation) {
			i.guards(control.Guard{Tenant: "acme", State: "unreadable", Problem: "no JSON"})
		}, "mass changes", Fail, "fails: no JSON", "scimbox guard rearm --tenant acme", ""},

		{"no name", func(i *installation) { i.PublicURL = "" }, "public address", Fail, "nobody has said", `hostname = "scim.example.com"`, TenantURL},
		{"an odd address", func(i *installation) { i.PublicURL = "https://%zz" }, "public address", Fail, "is no address", "public_url", TenantURL},
		{"plain http", func(i *installation) { i.PublicURL = "http://" + hostname }, "public address", Fail, "is not https", "set hostname", TenantURL},
		{"a number", func(i *installation) { i.PublicURL = "https://127.0.0.1" }, "public address", Warn, "is an address", "use a name", TenantURL},

		{"no such name", resolves(&net.DNSError{IsNotFound: true}), "dns", Fail, "has no address in DNS", "make an A record", TenantURL},
		{"no addresses", resolves(nil), "dns", Fail, "has no address in DNS", "make an A record", TenantURL},
		{"no name server", resolves(errors.New("server misbehaving")), "dns", Fail, "server misbehaving", "resolvectl status", TenantURL},
		{"a private address", resolves(nil, "10.0.0.5"), "dns", Warn, "10.0.0.5, which cannot be reached from the internet", "provisioning agent", TenantURL},
		{"a carrier's address", resolves(nil, "100.64.3.3"), "dns", Warn, "cannot be reached from the internet", "", TenantURL},

		{"nothing listens", func(i *installation) {
			i.closed[away+":443"], i.closed["127.0.0.1:443"] = refused, refused
		}, "port", Fail, "nothing answers at " + away + ":443: connect: connection refused", "port 443", TenantURL},
		{"behind a proxy nothing listens", func(i *installation) {
			i.TLS, i.closed[away+":443"] = "off", refused
		}, "port", Fail, "nothing answers", "proxy", TenantURL},
		{"this machine does not listen there", func(i *installation) {
			i.server.Listen = "127.0.0.1:8443"
			i.closed[away+":443"] = refused
			i.Own = func() ([]netip.Addr, error) { return []netip.Addr{netip.MustParseAddr(away)}, nil }
		}, "port", Fail, "is this machine, and nothing answers there", `listen = ":443"`, TenantURL},
		{"a router that does not lead back", func(i *installation) { i.closed[away+":443"] = context.DeadlineExceeded },
			"port", Warn, "no answer in time; the server itself answers at 127.0.0.1:443", "curl -I https://scim.example.com/healthz", TenantURL},
		{"and then the test is done at home", func(i *installation) { i.closed[away+":443"] = refused },
			"test connection", Warn, "answers as Entra wants it", "press Test Connection", TenantURL},
		{"one of two addresses", func(i *installation) {
			resolves(nil, away, "2001:db8::1")(i)
			i.closed["[2001:db8::1]:443"] = refused
		}, "port", Warn, "[2001:db8::1]:443 cannot be reached", "out of DNS", TenantURL},
		{"no port 80", func(i *installation) { i.closed[away+":80"] = refused }, "http port", Warn, away + ":80", "port 80", TenantURL},

		{"no certificate", func(i *installation) {
			i.tls.GetConfigForClient = func(*tls.ClientHelloInfo) (*tls.Config, error) { return nil, errors.New("none") }
			i.server.Certificates = []control.Certificate{{Problem: "the authority refuses: rate limited"}}
		}, "certificate", Fail, "rate limited", "scimbox status", TenantURL},
		{"expired", serves(func(i *installation) tls.Certificate { return i.root.issue(i.t, hostname, -90*day, -day) }),
			"certificate", Fail, "has expired on", "renew it", TenantURL},
		{"not valid yet", serves(func(i *installation) tls.Certificate { return i.root.issue(i.t, hostname, day, 90*day) }),
			"certificate", Fail, "is not valid before", "timedatectl", TenantURL},
		{"another name", serves(func(i *installation) tls.Certificate { return i.root.issue(i.t, "www.example.com", -day, 80*day) }),
			"certificate", Fail, "is for [www.example.com] and not for scim.example.com", "get one for scim.example.com", TenantURL},
		{"staging", serves(func(i *installation) tls.Certificate {
			return newIssuer(i.t, "(STAGING) Root", nil).issue(i.t, hostname, -day, 80*day, newIssuer(i.t, "beside", nil))
		}), "certificate", Fail, `is by "(STAGING) Root", which is not trusted`, "public authorities", TenantURL},
		{"half a chain", serves(func(i *installation) tls.Certificate {
			return newIssuer(i.t, "Intermediate", i.root).issue(i.t, hostname, -day, 80*day)
		}), "certificate", Fail, `the certificate of "Intermediate" that has signed it is not sent along`, "fullchain.pem", TenantURL},
		{"self-signed", func(i *installation) {
			i.TLS, i.Trust, i.Roots = "self-signed", x509.NewCertPool(), nil
		}, "certificate", Fail, "this server's own authority", `tls.mode = "acme"`, TenantURL},
		{"an authority of one's own", func(i *installation) { i.Trust = x509.NewCertPool() },
			"certificate", Warn, "an authority of your own", "provisioning agent", TenantURL},
		{"nobody renews", serves(func(i *installation) tls.Certificate { return i.root.issue(i.t, hostname, -80*day, 10*day+time.Hour) }),
			"certificate", Warn, "valid for 10 more days", "renewed by now", TenantURL},
		{"renewal fails", func(i *installation) {
			i.server.Certificates = []control.Certificate{{Problem: "no answer from the authority"}}
		},
			"certificate", Warn, "no answer from the authority", "while the certificate is good", TenantURL},
		{"only TLS 1.3", func(i *installation) { i.tls.MinVersion = tls.VersionTLS13 }, "tls", Fail, "TLS 1.2 is refused", "allow TLS 1.2", TenantURL},

		{"a wrong clock", func(i *installation) { i.date = time.Now().Add(-time.Hour) }, "clock", Fail, "differs by 1h0m", "timedatectl", SecretToken},
		{"a bad clock", func(i *installation) { i.date = time.Now().Add(2 * time.Minute) }, "clock", Warn, "differs by", "timedatectl", ""},
		{"no authority", func(i *installation) { i.closed["ca.example.com:443"] = refused }, "clock", Warn, "none can be renewed: connect: connection refused", "let this machine reach", TenantURL},
		{"no such authority", func(i *installation) { i.Authority = "https://%zz" }, "clock", Fail, "is no address of an authority", "tls.acme.directory", ""},

		{"no token", (*installation).revokeAll, "tokens", Fail, "no token in force that may write", "scimbox token create --name entra --scope write --preset entra", SecretToken},
		{"only to read", func(i *installation) { i.revokeAll(); i.create("report", auth.ScopeRead, 90*day) }, "tokens", Fail, "no token in force that may write", "", SecretToken},
		{"a token ends", func(i *installation) { i.create("old", auth.ScopeWrite, 3*day) }, "tokens", Warn, "token old (", "scimbox token rotate ", SecretToken},

		{"a token has ended", func(i *installation) {
			_, secret, err := i.backend.Tokens.Create(i.t.Context(), auth.Spec{Name: "acme's", Tenant: "acme", Scope: auth.ScopeWrite, TTL: 3 * time.Minute}, control.Origin)
			if err != nil {
				i.t.Fatal(err)
			}
			if _, err := i.backend.Tokens.Verify(i.t.Context(), secret.Reveal(), netip.MustParseAddr("192.0.2.1")); err != nil {
				i.t.Fatal(err)
			}
			i.Clock = func() time.Time { return time.Now().Add(4 * time.Minute) }
		}, "tokens", Fail, "was in use, and tenant acme has no other", `scimbox token create --name "acme's" --scope write --tenant acme`, SecretToken},

		{"redirects", answers(http.StatusFound, "text/html", ""), "test connection", Fail, "leads on to https://login.example.com/", "without redirects", TenantURL},
		{"the token is lost", func(i *installation) {
			i.answer = func(w http.ResponseWriter, r *http.Request) { r.Header.Del("Authorization"); i.scim(w, r) }
		}, "test connection", Fail, "refused (401)", "Authorization", SecretToken},
		{"another site", answers(http.StatusNotFound, "text/html", "nothing"), "test connection", Fail, "is not scimbox (404", "below /scim/v2", TenantURL},
		{"too many", answers(http.StatusTooManyRequests, "application/scim+json", ""), "test connection", Fail, "(429)", "trusted_proxies", SecretToken},
		{"a gateway", answers(http.StatusBadGateway, "text/html", ""), "test connection", Fail, "502 Bad Gateway", "proxy's", TenantURL},
		{"forbidden", answers(http.StatusForbidden, "text/html", ""), "test connection", Fail, "403 Forbidden", "proxy", TenantURL},
		{"a page", answers(http.StatusOK, "text/html", "<h1>It works</h1>"), "test connection", Fail, "somebody else answers", "no page of its own", TenantURL},
		{"a cache", answers(http.StatusOK, "application/scim+json", `{"totalResults":3}`), "test connection", Fail, "is no empty list", "cache nothing", TenantURL},
		{"breaks off", func(i *installation) {
			i.answer = func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Content-Length", "100")
				w.WriteHeader(http.StatusOK)
			}
		}, "test connection", Fail, "breaks off", "log of the server", TenantURL},
		{"no answer", func(i *installation) {
			i.answer = func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }
		}, "test connection", Fail, "does not answer", "log of the server", TenantURL},
	} {
		t.Run(test.name, func(t *testing.T) {
			i := healthy(t)
			test.change(i)
			all := i.examine()
			for _, f := range all {
				if f.Check == test.check && f.Verdict == test.verdict && strings.Contains(f.Found, test.found) && strings.Contains(f.Fix, test.fix) && f.Field == test.field {
					if f.Fix == "" {
						t.Errorf("nothing is said of what to do: %+v", f)
					}
					if test.verdict == Fail && Worst(all) != Fail {
						t.Error("the whole is not taken for a failure")
					}
					return
				}
			}
			t.Errorf("not found: %s %s %q %q %q in", test.verdict, test.check, test.found, test.fix, test.field)
			for _, f := range all {
				t.Errorf("  %+v", f)
			}
		})
	}
}

func chmod(t *testing.T, name string, mode os.FileMode) {
	t.Helper()
	if err := os.Chmod(name, mode); err != nil {
		t.Fatal(err)
	}
}

// What the server says of the disk and of changes.
func TestSpace(t *testing.T) {
	const mib = 1 << 20
	for _, test := range []struct {
		free int64
		want Verdict
	}{{100 * mib, Fail}, {500 * mib, Warn}, {50_000 * mib, Pass}} {
		p := &patient{Options: Options{MinFree: 352 * mib}, status: &control.Status{FreeBytes: test.free}}
		p.space(t.Context())
		if len(p.findings) != 1 || p.findings[0].Verdict != test.want {
			t.Errorf("%d bytes: %+v, want %s", test.free, p.findings, test.want)
		}
	}
	p := &patient{status: &control.Status{FreeBytes: -1}}
	if p.space(t.Context()); len(p.findings) != 0 {
		t.Errorf("nobody has looked: %+v", p.findings)
	}
}

// A token that a client has used to its end and that nobody has replaced.
func TestLately(t *testing.T) {
	now := time.Now()
	for _, test := range []struct {
		name           string
		expired, used  time.Duration // ago
		never, notable bool
	}{
		{"in use to its end", 2 * day, 2*day + time.Hour, false, true},
		{"long forgotten", 200 * day, 200 * day, false, false},
		{"not used any more before its end", 2 * day, 60 * day, false, false},
		{"never used", 2 * day, 0, true, false},
	} {
		tok := control.Token{Expires: now.Add(-test.expired), LastUsed: now.Add(-test.used)}
		if test.never {
			tok.LastUsed = time.Time{}
		}
		if got := lately(tok, now); got != test.notable {
			t.Errorf("%s: %v", test.name, got)
		}
	}
}
