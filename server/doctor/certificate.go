package doctor

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"time"
)

const day = 24 * time.Hour

// certificate looks at the certificate as a client that has never seen it.
func (p *patient) certificate(ctx context.Context) {
	if p.via == "" || p.public.Scheme != "https" {
		return
	}
	state, err := p.handshake(ctx, &tls.Config{MinVersion: tls.VersionTLS12})
	if err != nil {
		p.broken = true
		found := fmt.Sprintf("no TLS is spoken at %s: %v", p.via, cause(err))
		if problem := p.problem(); problem != "" {
			found += "; the server says: " + problem
		}
		p.find(Fail, found, "if there is no certificate yet: let port 443 (or 80) be reached from outside, then scimbox status says how far it is", TenantURL)
		return
	}
	chain := state.PeerCertificates
	leaf, host, now := chain[0], p.public.Hostname(), p.Clock()
	others := x509.NewCertPool()
	for _, c := range chain[1:] {
		others.AddCert(c)
	}
	_, err = leaf.Verify(x509.VerifyOptions{DNSName: host, Roots: p.Trust, Intermediates: others, CurrentTime: now})
	left := leaf.NotAfter.Sub(now)
	p.trust = p.Trust
	if err != nil && p.Roots != nil {
		if _, private := leaf.Verify(x509.VerifyOptions{DNSName: host, Roots: p.Roots, Intermediates: others, CurrentTime: now}); private == nil {
			p.trust = p.Roots
			p.find(Warn, fmt.Sprintf("for %s, by %s, an authority of your own, valid until %s", host, leaf.Issuer.CommonName, leaf.NotAfter.UTC().Format("2006-01-02 15:04 MST")),
				"clients have to trust that authority: Entra's provisioning agent can be made to, Entra itself cannot", TenantURL)
			return
		}
	}
	if err != nil {
		p.broken = true
		found, fix := p.refused(err, leaf, len(chain), now)
		p.find(Fail, found, fix, TenantURL)
		return
	}
	text := fmt.Sprintf("for %s, by %s, valid for %d more days (until %s)", host, leaf.Issuer.CommonName, int(left/day), leaf.NotAfter.UTC().Format("2006-01-02 15:04 MST"))
	// Renewal is due when a third of the lifetime is left; half of that has gone by without one.
	if life := leaf.NotAfter.Sub(leaf.NotBefore); left < life/6 {
		p.find(Warn, text, "it should have been renewed by now: scimbox status and the log say what is in the way", TenantURL)
		return
	}
	if problem := p.problem(); problem != "" {
		p.find(Warn, text+"; "+problem, "see to it while the certificate is good: the log has each attempt", TenantURL)
		return
	}
	p.pass(text)
}

// problem is what the server says of its own certificate.
func (p *patient) problem() string {
	if p.status == nil || p.status.Server == nil {
		return ""
	}
	for _, c := range p.status.Server.Certificates {
		if c.Problem != "" {
			return c.Problem
		}
	}
	return ""
}

// refused says in other words than x509 why a client does not accept the certificate.
func (p *patient) refused(err error, leaf *x509.Certificate, sent int, now time.Time) (found, fix string) {
	var (
		name    x509.HostnameError
		unknown x509.UnknownAuthorityError
		invalid x509.CertificateInvalidError
	)
	switch {
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired && now.Before(leaf.NotBefore):
		return fmt.Sprintf("the certificate is not valid before %s", leaf.NotBefore.UTC()), "set the clock of this machine: timedatectl set-ntp true"
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		return fmt.Sprintf("the certificate has expired on %s", leaf.NotAfter.UTC().Format("2006-01-02 15:04 MST")), "renew it: scimbox status and the log say what is in the way"
	case errors.As(err, &name):
		return fmt.Sprintf("the certificate is for %v and not for %s", leaf.DNSNames, p.public.Hostname()), "get one for " + p.public.Hostname() + ", or correct hostname (public_url)"
	case errors.As(err, &unknown) && p.TLS == "self-signed":
		return "the certificate is of this server's own authority, which Entra does not trust", `use tls.mode = "acme" (or "files", with a certificate of a public authority)`
	case errors.As(err, &unknown) && sent == 1 && leaf.Issuer.String() != leaf.Subject.String():
		return fmt.Sprintf("the chain is not complete: the certificate of %q that has signed it is not sent along", leaf.Issuer.CommonName),
			"put the certificates of the intermediate authorities behind the server's own into the file tls.certificate (the authority's fullchain.pem)"
	case errors.As(err, &unknown):
		return fmt.Sprintf("the certificate is by %q, which is not trusted here", leaf.Issuer.CommonName), "Entra trusts public authorities alone: use a certificate of one (not staging, not one of your own)"
	}
	return fmt.Sprintf("clients do not accept the certificate: %v", err), "get another one"
}

// entraSuites are those that Entra's provisioning service offers with TLS 1.2 and that are worth offering; Go has the others
// of its list behind them.
var entraSuites = []uint16{
	tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384, tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
	tls.TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384, tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
}

// versions speaks TLS 1.2 as Entra does.
func (p *patient) versions(ctx context.Context) {
	if p.via == "" || p.public.Scheme != "https" || p.broken {
		return
	}
	state, err := p.handshake(ctx, &tls.Config{MinVersion: tls.VersionTLS12, MaxVersion: tls.VersionTLS12, CipherSuites: entraSuites}) // #nosec G402 -- asks as Entra does, with no later one
	if err != nil {
		p.find(Fail, fmt.Sprintf("TLS 1.2 is refused, with the suites that Entra offers: %v", cause(err)),
			"let the proxy in front allow TLS 1.2 with ECDHE and AES-GCM", TenantURL)
		return
	}
	p.pass("TLS 1.2 with " + tls.CipherSuiteName(state.CipherSuite))
}

// handshake returns what the other side has shown, whether or not it is to be trusted.
func (p *patient) handshake(ctx context.Context, c *tls.Config) (tls.ConnectionState, error) {
	ctx, cancel := p.limited(ctx)
	defer cancel()
	raw, err := p.Dial(ctx, p.via)
	if err != nil {
		return tls.ConnectionState{}, err
	}
	defer raw.Close()
	c.ServerName = p.public.Hostname()
	c.InsecureSkipVerify = true // #nosec G402 -- nothing is sent; the certificate is judged by certificate, which says more than an error does
	conn := tls.Client(raw, c)
	if err := conn.HandshakeContext(ctx); err != nil {
		return tls.ConnectionState{}, err
	}
	return conn.ConnectionState(), nil
}
