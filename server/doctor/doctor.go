// Package doctor looks at an installation the way its first client will, and says what to do about what it finds.
//
//	doctor.go       Examine: the list of checks, what they find, and how they share what they have learned
//	service.go      the running server and its store
//	machine.go      data directory, room on the disk, clock
//	network.go      the public address: name, ports
//	certificate.go  the certificate, as a client sees it
//	tokens.go       what clients get in with
//	rehearsal.go    Entra's Test Connection, done here
//
// Every check has a time limit, changes nothing, and goes on with what the ones before it have found out: who has no address
// is not asked for a certificate.
package doctor

import (
	"context"
	"crypto/x509"
	"net"
	"net/netip"
	"net/url"
	"time"

	"scimbox/server/control"
)

// Verdict is how a check has ended.
type Verdict string

// The verdicts.
const (
	Pass Verdict = "PASS"
	Warn Verdict = "WARN" // it works, and will not go on working, or could not be looked at from here
	Fail Verdict = "FAIL" // clients cannot work
)

// The fields of the form Admin Credentials in Entra's portal.
const (
	TenantURL   = "Tenant URL"
	SecretToken = "Secret Token"
)

// Finding is what one check has found.
type Finding struct {
	Check   string  `json:"check"`
	Verdict Verdict `json:"verdict"`
	Found   string  `json:"found"`
	Fix     string  `json:"fix,omitempty"`        // what to do; "" if nothing is to be done
	Field   string  `json:"entraField,omitempty"` // what is concerned of what is typed into Entra's portal
}

// Options say what is to be looked at. What is asked of the network can be answered by tests.
type Options struct {
	Client     *control.Client // of the running server, nil if none runs
	Down       error           // why there is none
	Program    string          // what a person has typed to run this program, for the commands in a fix
	Data       string          // data directory
	ConfigFile string          // "" for none
	PublicURL  string          // scheme and host that clients use, "" if nobody has said
	MinFree    int64           // bytes on the disk below which the server takes no changes, 0 = whatever there is
	TLS        string          // where the certificate comes from: "acme", "files", "self-signed"; "off" is in front of the server
	HTTP       bool            // whether the authority asks, or may ask, on port 80
	Authority  string          // URL of the ACME directory, "" if none is asked
	Roots      *x509.CertPool  // of the authority's own https, nil = those of the system

	Limit    time.Duration // of each question to the network; 0 = 5 s
	Clock    func() time.Time
	Resolve  func(ctx context.Context, host string) ([]netip.Addr, error)
	Dial     func(ctx context.Context, address string) (net.Conn, error)
	Own      func() ([]netip.Addr, error) // addresses of this machine
	Trust    *x509.CertPool               // that clients trust, nil = that of the system
	HTTPPort string                       // "80"
}

func (o *Options) fill() {
	if o.Limit == 0 {
		o.Limit = 5 * time.Second
	}
	if o.Clock == nil {
		o.Clock = time.Now
	}
	if o.Resolve == nil {
		o.Resolve = func(ctx context.Context, host string) ([]netip.Addr, error) {
			return net.DefaultResolver.LookupNetIP(ctx, "ip", host)
		}
	}
	if o.Dial == nil {
		o.Dial = func(ctx context.Context, address string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "tcp", address)
		}
	}
	if o.Own == nil {
		o.Own = ownAddresses
	}
	if o.HTTPPort == "" {
		o.HTTPPort = "80"
	}
	if o.Program == "" {
		o.Program = "scimbox"
	}
}

// checks in the order in which they are done: what one has learned the next ones use.
var checks = []struct {
	name string
	run  func(*patient, context.Context)
}{
	{"server", (*patient).server},
	{"data directory", (*patient).directory},
	{"configuration", (*patient).configuration},
	{"free space", (*patient).space},
	{"mass changes", (*patient).guards},
	{"public address", (*patient).address},
	{"dns", (*patient).name},
	{"port", (*patient).port},
	{"http port", (*patient).httpPort},
	{"certificate", (*patient).certificate},
	{"tls", (*patient).versions},
	{"clock", (*patient).clock},
	{"tokens", (*patient).tokens},
	{"test connection", (*patient).rehearsal},
}

// patient is an installation under examination.
type patient struct {
	Options
	check    string // that is under way
	findings []Finding

	status *control.Status // of the running server, nil if there is none
	public *url.URL        // nil if there is none that could be called
	found  []netip.Addr    // that the name leads to
	via    string          // address, host:port, at which something answers for public, "" if nothing does
	local  bool            // via is the server's own address, because nothing answers at the public one
	broken bool            // the certificate is none that a client accepts
	trust  *x509.CertPool  // by which it has been accepted
}

func (p *patient) find(v Verdict, found, fix, field string) {
	if v == Pass {
		fix, field = "", ""
	}
	p.findings = append(p.findings, Finding{p.check, v, found, fix, field})
}

func (p *patient) pass(found string) { p.find(Pass, found, "", "") }

// Examine does all checks, and returns what they have found in their order.
func Examine(ctx context.Context, o Options) []Finding {
	o.fill()
	p := &patient{Options: o}
	for _, c := range checks {
		p.check = c.name
		c.run(p, ctx)
	}
	return p.findings
}

// Worst returns the worst verdict among findings.
func Worst(all []Finding) Verdict {
	worst := Pass
	for _, f := range all {
		if f.Verdict == Fail || f.Verdict == Warn && worst == Pass {
			worst = f.Verdict
		}
	}
	return worst
}

// limited is ctx for one question.
func (p *patient) limited(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(ctx, p.Limit)
}
