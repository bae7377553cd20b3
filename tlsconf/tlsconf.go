// Package tlsconf is where the server's certificate comes from, and how TLS is spoken with it.
//
//	tlsconf.go      Open, Start, Reload, Close; the versions and suites; what is told of certificates
//	acme.go         a certificate of an authority that speaks ACME (RFC 8555), by certmagic
//	files.go        a certificate in files, read again when they change
//	selfsigned.go   a certificate of an authority of our own, in the data directory
//	dns.go          the DNS-01 challenge, and where to find the five ways to set a record: rfc2136.go, cloudflare.go,
//	                route53.go (signed by sigv4.go), azure.go, exec.go
//	log.go          certmagic's log as ours
//
// A certificate that cannot be renewed is complained about and goes on being served: no failure of an authority ends the
// server or keeps it from starting.
package tlsconf

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/mholt/acmez/v3"
)

// The modes.
const (
	ModeACME       = "acme"        // from an authority, renewed by itself
	ModeFiles      = "files"       // from files that somebody else renews
	ModeSelfSigned = "self-signed" // from an authority of our own
)

// Options are where the certificate comes from.
type Options struct {
	Mode     string
	Hostname string // that the certificate is for
	Dir      string // where keys and certificates are kept; made if need be, for its owner alone
	Files    Files  // of ModeFiles
	ACME     ACME   // of ModeACME
	Logger   *slog.Logger
	Clock    func() time.Time // of ModeFiles and ModeSelfSigned; certmagic has its own

	// Every is how often files are looked at (default 10 s) and certificates are examined for renewal (10 min).
	Every time.Duration
}

// TLS holds the certificate that is served.
type TLS struct {
	o      Options
	source source

	mu      sync.Mutex
	running bool // between Start and Close
	stop    func()
	done    chan struct{}
}

// source is one of the modes.
type source interface {
	get(*tls.ClientHelloInfo) (*tls.Certificate, error)
	start(context.Context) // loads what there is and begins to look after it
	reload(context.Context)
	// certificate returns the one that is served, nil if there is none, and what is wrong with getting a new one.
	certificate() (leaf *x509.Certificate, problem string)
	close()
}

// Open prepares a mode. It fails if the certificate of ModeFiles cannot be used, or if nothing can be written in the
// directory; never because of a network.
func Open(o Options) (*TLS, error) {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Clock == nil {
		o.Clock = time.Now
	}
	t := &TLS{o: o}
	var err error
	switch o.Mode {
	case ModeACME:
		t.source, err = openACME(o)
	case ModeFiles:
		t.source, err = openFiles(o)
	case ModeSelfSigned:
		t.source, err = openSelfSigned(o)
	default:
		err = fmt.Errorf("there is no mode %q of TLS", o.Mode)
	}
	if err != nil {
		return nil, err
	}
	return t, nil
}

// Start loads the certificate that there is, and begins to look after it. The addresses of the server are those that
// challenges of ACME arrive at, and must be listened on by now; http is nil if nothing listens without TLS.
func (t *TLS) Start(ctx context.Context, https, http net.Addr) {
	if a, ok := t.source.(*acmeSource); ok {
		a.listening(https, http)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.source.start(ctx)
	t.running = true
	ctx, t.stop = context.WithCancel(ctx)
	t.done = make(chan struct{})
	go t.remind(ctx)
}

// remindEvery is how often the log is told of what an operator has to see to.
const remindEvery = 12 * time.Hour

// remind tells the log of certificates that will not do for long. Who obtains them tells of each failure; but nobody else tells
// of a file that nobody renews.
func (t *TLS) remind(ctx context.Context) {
	defer close(t.done)
	ticker := time.NewTicker(remindEvery)
	defer ticker.Stop()
	for {
		for _, c := range t.Certificates() {
			if c.Problem != "" && !c.NotAfter.IsZero() {
				t.o.Logger.Warn("a certificate needs attention", "names", c.Names, "days_left", int(c.Left(t.o.Clock())/(24*time.Hour)), "not_after", c.NotAfter, "problem", c.Problem)
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

// Reload looks for a new certificate at once: files are read, and an authority that did not answer is asked again.
func (t *TLS) Reload(ctx context.Context) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.running {
		t.source.reload(ctx)
	}
}

// Close ends everything that Start has begun.
func (t *TLS) Close() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.running {
		t.stop()
		<-t.done
	}
	t.running = false
	t.source.close()
}

// suites are those of TLS 1.2; those of 1.3 cannot be chosen. All are authenticated encryption with forward secrecy. Microsoft
// Entra asks for ECDHE with AES-GCM or AES-CBC of 128 or 256 bits; of these CBC is left out, which nobody needs who speaks TLS
// 1.2 with GCM.
var suites = []uint16{
	tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
	tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
	tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
	tls.TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
	tls.TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
	tls.TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
}

// Config returns how TLS is spoken: versions 1.2 and 1.3, HTTP/2 where the client can. Go's servers never renegotiate.
func (t *TLS) Config() *tls.Config {
	c := &tls.Config{
		MinVersion:     tls.VersionTLS12,
		MaxVersion:     tls.VersionTLS13,
		CipherSuites:   suites,
		NextProtos:     []string{"h2", "http/1.1"},
		GetCertificate: t.source.get,
	}
	if t.o.Mode == ModeACME {
		c.NextProtos = append(c.NextProtos, acmez.ACMETLS1Protocol)
	}
	return c
}

// Challenges returns a handler that answers what an authority asks for without TLS, and hands everything else on.
func (t *TLS) Challenges(next http.Handler) http.Handler {
	if a, ok := t.source.(*acmeSource); ok {
		return a.issuer.HTTPChallengeHandler(next)
	}
	return next
}

// Certificate is what there is to know of a certificate. Without one the times are zero and Problem says why.
type Certificate struct {
	Mode      string    `json:"mode"`
	Names     []string  `json:"names"`
	Issuer    string    `json:"issuer,omitempty"`
	NotBefore time.Time `json:"notBefore,omitzero"`
	NotAfter  time.Time `json:"notAfter,omitzero"`
	Problem   string    `json:"problem,omitempty"` // what an operator has to see to, "" for nothing
}

// Left returns how long the certificate is still valid, 0 if it is not.
func (c Certificate) Left(now time.Time) time.Duration { return max(0, c.NotAfter.Sub(now)) }

// Certificates returns what is served. There is one for each name, also if it could not be had yet.
func (t *TLS) Certificates() []Certificate {
	leaf, problem := t.source.certificate()
	c := Certificate{Mode: t.o.Mode, Names: []string{t.o.Hostname}, Problem: problem}
	if leaf == nil {
		if c.Problem == "" {
			c.Problem = "there is no certificate yet; clients are refused until there is"
		}
		return []Certificate{c}
	}
	c.Names, c.Issuer, c.NotBefore, c.NotAfter = names(leaf), issuer(leaf), leaf.NotBefore, leaf.NotAfter
	now := t.o.Clock()
	switch left := c.NotAfter.Sub(now); {
	case left <= 0:
		c.Problem = join("it has expired, and clients refuse it", c.Problem)
	case now.Before(c.NotBefore):
		c.Problem = join("it is not valid yet; is the clock right?", c.Problem)
	case leaf.VerifyHostname(t.o.Hostname) != nil:
		c.Problem = join(fmt.Sprintf("it is not for %s, and clients refuse it", t.o.Hostname), c.Problem)
	case left < late(leaf):
		c.Problem = join("it should have been renewed by now", c.Problem)
	}
	return []Certificate{c}
}

// late is the time before the end of a certificate at which it should have been renewed: a sixth of its life, 15 days of 90,
// one day of 6. Those who renew by themselves do so at a third.
func late(leaf *x509.Certificate) time.Duration {
	return min(leaf.NotAfter.Sub(leaf.NotBefore)/6, 21*24*time.Hour)
}

func join(text, more string) string {
	if more == "" {
		return text
	}
	return text + "; " + more
}

func names(leaf *x509.Certificate) []string {
	l := append([]string{}, leaf.DNSNames...)
	for _, ip := range leaf.IPAddresses {
		l = append(l, ip.String())
	}
	return l
}

func issuer(leaf *x509.Certificate) string {
	i := leaf.Issuer
	if len(i.Organization) > 0 && i.CommonName != "" {
		return i.Organization[0] + ", " + i.CommonName
	}
	return i.String()
}
