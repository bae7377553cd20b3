package tlsconf

import (
	"context"
	"fmt"
	"net"
	"strings"
	"time"

	"github.com/libdns/libdns"
	"github.com/miekg/dns"
)

// RFC2136 sets records by dynamic updates (RFC 2136) signed by TSIG (RFC 8945).
type RFC2136 struct {
	Server    string // primary name server of the zone, host or host:port
	KeyName   string // "" = updates are not signed
	Key       string // base64
	Algorithm string // "hmac-sha256" if empty
}

// AppendRecords adds records to a zone.
func (p *RFC2136) AppendRecords(ctx context.Context, zone string, records []libdns.Record) ([]libdns.Record, error) {
	return p.update(ctx, zone, records, (*dns.Msg).Insert)
}

// DeleteRecords removes records from a zone; others of the same name stay.
func (p *RFC2136) DeleteRecords(ctx context.Context, zone string, records []libdns.Record) ([]libdns.Record, error) {
	return p.update(ctx, zone, records, (*dns.Msg).Remove)
}

func (p *RFC2136) update(ctx context.Context, zone string, records []libdns.Record, change func(*dns.Msg, []dns.RR)) ([]libdns.Record, error) {
	m := new(dns.Msg).SetUpdate(dns.Fqdn(zone))
	if _, err := texts(zone, records, func(name, text string) error {
		change(m, []dns.RR{&dns.TXT{
			Hdr: dns.RR_Header{Name: dns.Fqdn(name), Rrtype: dns.TypeTXT, Class: dns.ClassINET, Ttl: uint32(recordTTL.Seconds())},
			Txt: []string{text},
		}})
		return nil
	}); err != nil {
		return nil, err
	}
	c := &dns.Client{Net: "tcp", Timeout: apiTimeout} // an answer that TCP brings has not been made up by a third
	if p.KeyName != "" {
		key, algorithm := dns.Fqdn(strings.ToLower(p.KeyName)), p.Algorithm
		if algorithm == "" {
			algorithm = "hmac-sha256"
		}
		c.TsigSecret = map[string]string{key: p.Key}
		m.SetTsig(key, dns.Fqdn(algorithm), 300, time.Now().Unix())
	}
	server := p.Server
	if _, _, err := net.SplitHostPort(server); err != nil {
		server = net.JoinHostPort(server, "53")
	}
	answer, _, err := c.ExchangeContext(ctx, m, server)
	if err != nil {
		return nil, fmt.Errorf("the update of zone %s at %s: %w", zone, server, err)
	}
	if answer.Rcode != dns.RcodeSuccess {
		return nil, fmt.Errorf("%s refuses the update of zone %s: %s", server, zone, dns.RcodeToString[answer.Rcode])
	}
	return records, nil
}
