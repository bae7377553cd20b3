package tlsconf

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/caddyserver/certmagic"
	"github.com/libdns/libdns"
	"go.uber.org/zap"
)

// The providers of DNS.
const (
	DNSRFC2136    = "rfc2136"    // dynamic updates: BIND, Knot, PowerDNS, Windows DNS
	DNSCloudflare = "cloudflare" // its API
	DNSRoute53    = "route53"    // Amazon's API
	DNSAzure      = "azure"      // Azure DNS, by its API
	DNSExec       = "exec"       // a program of the operator
)

// DNS says how the record of a DNS-01 challenge (RFC 8555 section 8.4) is set.
type DNS struct {
	Provider   string
	RFC2136    RFC2136
	Cloudflare Cloudflare
	Route53    Route53
	Azure      Azure
	Exec       Exec

	// Resolvers are asked which zone the name is in, and whether the record has arrived; host or host:port. None: those of
	// the system, and the name servers of the zone.
	Resolvers []string
	// Wait is how long the record may take to arrive, 0 = 2 minutes.
	Wait time.Duration
	// Name is where the record is set if it is not _acme-challenge below the host name, which is then a CNAME to it.
	Name string
}

// provider sets and removes records.
type provider interface {
	libdns.RecordAppender
	libdns.RecordDeleter
}

var errProvider = errors.New("there is no such provider of DNS")

func (d *DNS) solver(log *zap.Logger) (*certmagic.DNS01Solver, error) {
	var p provider
	switch d.Provider {
	case DNSRFC2136:
		p = &d.RFC2136
	case DNSCloudflare:
		p = &d.Cloudflare
	case DNSRoute53:
		p = &d.Route53
	case DNSAzure:
		p = &d.Azure
	case DNSExec:
		p = &d.Exec
	default:
		return nil, fmt.Errorf("%w: %q", errProvider, d.Provider)
	}
	return &certmagic.DNS01Solver{DNSManager: certmagic.DNSManager{
		DNSProvider: p, TTL: recordTTL, PropagationTimeout: d.Wait, Resolvers: d.Resolvers, OverrideDomain: d.Name, Logger: log,
	}}, nil
}

// recordTTL is the life of the record in the caches of others. A minute is the least that Cloudflare takes.
const recordTTL = time.Minute

// texts calls fn for each record with its whole name, without the dot at its end, and its text; they are all TXT records.
func texts(zone string, records []libdns.Record, fn func(name, text string) error) ([]libdns.Record, error) {
	for i, r := range records {
		rr := r.RR()
		if rr.Type != "TXT" {
			return records[:i], fmt.Errorf("%s is a record of type %s, and only TXT can be set", rr.Name, rr.Type)
		}
		if err := fn(strings.TrimSuffix(libdns.AbsoluteName(rr.Name, zone), "."), rr.Data); err != nil {
			return records[:i], err
		}
	}
	return records, nil
}

// apiTimeout is what one request to a provider may take.
const apiTimeout = 30 * time.Second

// api is the client for providers. Their connections are not kept: the next request comes after weeks.
var api = &http.Client{Timeout: apiTimeout, Transport: &http.Transport{Proxy: http.ProxyFromEnvironment, DisableKeepAlives: true}}

// call sends a request to a provider and returns the body of a success. Of a refusal the error has the body, in which
// providers say what was wrong; none of them repeats the credentials in it.
func call(r *http.Request, provider string) ([]byte, error) {
	answer, err := api.Do(r)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", provider, err)
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(io.LimitReader(answer.Body, 1<<20))
	if err != nil {
		return nil, fmt.Errorf("%s: reading the answer: %w", provider, err)
	}
	if answer.StatusCode/100 != 2 {
		text := strings.Join(strings.Fields(string(body)), " ")
		return nil, &refusal{provider, answer.StatusCode, text[:min(len(text), 500)]}
	}
	return body, nil
}

// refusal is an answer of a provider that is none of success.
type refusal struct {
	provider string
	status   int
	text     string
}

func (e *refusal) Error() string {
	return fmt.Sprintf("%s answers %d: %s", e.provider, e.status, e.text)
}
