package acmetest

import (
	"context"
	"net"
	"strings"
	"sync"
	"testing"

	"github.com/miekg/dns"
)

// The zone of the name servers, and the key that changes of it have to be signed with.
const (
	Zone      = "scim.test"
	KeyName   = "scimbox-update"
	Key       = "c2NpbWJveCB0ZXN0IGtleSBvZiB0aHJlZSBkb3plbiBieXRlcw=="
	Algorithm = "hmac-sha256"
)

// DNS is a name server for one zone. Every name in it has the address 127.0.0.1.
type DNS struct {
	Address string

	mu      sync.Mutex
	texts   map[string][]string // name -> texts
	changes []string
}

// StartDNS starts a name server that ends with the test.
func StartDNS(t testing.TB) *DNS {
	t.Helper()
	d := &DNS{texts: map[string][]string{}}
	packets, stream := listenBoth(t)
	d.Address = packets.LocalAddr().String()
	secrets := map[string]string{dns.Fqdn(KeyName): Key}
	for _, s := range []*dns.Server{{PacketConn: packets}, {Listener: stream}} {
		up := make(chan struct{})
		s.Handler, s.TsigSecret, s.NotifyStartedFunc = d, secrets, func() { close(up) }
		s.MsgAcceptFunc = func(dns.Header) dns.MsgAcceptAction { return dns.MsgAccept } // by itself it takes no updates
		go func() { _ = s.ActivateAndServe() }()
		<-up
		t.Cleanup(func() { _ = s.Shutdown() })
	}
	return d
}

// listenBoth listens on the same port for datagrams and for connections.
func listenBoth(t testing.TB) (net.PacketConn, net.Listener) {
	t.Helper()
	var lc net.ListenConfig
	for range 20 {
		packets, err := lc.ListenPacket(context.Background(), "udp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		if stream, err := lc.Listen(context.Background(), "tcp", packets.LocalAddr().String()); err == nil {
			return packets, stream
		}
		_ = packets.Close()
	}
	t.Fatal("there is no port that is free for both UDP and TCP")
	return nil, nil
}

// Changes returns what was changed: "+ name text" and "- name text".
func (d *DNS) Changes() []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return append([]string{}, d.changes...)
}

// ServeDNS answers one question or update.
func (d *DNS) ServeDNS(w dns.ResponseWriter, q *dns.Msg) {
	m := new(dns.Msg).SetReply(q)
	m.Authoritative = true
	if len(q.Question) != 1 {
		m.Rcode = dns.RcodeFormatError
	} else if q.Opcode == dns.OpcodeUpdate {
		m.Rcode = d.update(w, q)
		if sig := q.IsTsig(); sig != nil && w.TsigStatus() == nil {
			m.SetTsig(sig.Hdr.Name, sig.Algorithm, 300, int64(sig.TimeSigned))
		}
	} else {
		d.answer(m, q.Question[0])
	}
	_ = w.WriteMsg(m)
}

func (d *DNS) answer(m *dns.Msg, q dns.Question) {
	name := strings.ToLower(strings.TrimSuffix(q.Name, "."))
	if name != Zone && !strings.HasSuffix(name, "."+Zone) {
		m.Rcode = dns.RcodeNameError
		return
	}
	header := func(kind uint16) dns.RR_Header {
		return dns.RR_Header{Name: q.Name, Rrtype: kind, Class: dns.ClassINET, Ttl: 1}
	}
	switch {
	case q.Qtype == dns.TypeA:
		m.Answer = append(m.Answer, &dns.A{Hdr: header(dns.TypeA), A: net.IPv4(127, 0, 0, 1)})
	case q.Qtype == dns.TypeSOA && name == Zone:
		m.Answer = append(m.Answer, &dns.SOA{Hdr: header(dns.TypeSOA), Ns: "ns." + Zone + ".", Mbox: "admin." + Zone + ".", Serial: 1, Refresh: 60, Retry: 60, Expire: 60, Minttl: 1})
	case q.Qtype == dns.TypeTXT:
		d.mu.Lock()
		defer d.mu.Unlock()
		for _, text := range d.texts[name] {
			m.Answer = append(m.Answer, &dns.TXT{Hdr: header(dns.TypeTXT), Txt: []string{text}})
		}
	}
}

// update does what RFC 2136 section 3.4.2 says of adding a record and of removing one, if it is signed.
func (d *DNS) update(w dns.ResponseWriter, q *dns.Msg) int {
	if q.IsTsig() == nil || w.TsigStatus() != nil {
		return dns.RcodeRefused
	}
	if !strings.EqualFold(q.Question[0].Name, Zone+".") {
		return dns.RcodeNotZone
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, rr := range q.Ns {
		t, ok := rr.(*dns.TXT)
		if !ok {
			return dns.RcodeRefused
		}
		name, text := strings.ToLower(strings.TrimSuffix(t.Hdr.Name, ".")), strings.Join(t.Txt, "")
		switch t.Hdr.Class {
		case dns.ClassINET:
			d.texts[name] = append(d.texts[name], text)
			d.changes = append(d.changes, "+ "+name+" "+text)
		case dns.ClassNONE:
			var left []string
			for _, have := range d.texts[name] {
				if have != text {
					left = append(left, have)
				}
			}
			d.texts[name] = left
			d.changes = append(d.changes, "- "+name+" "+text)
		default:
			return dns.RcodeRefused
		}
	}
	return dns.RcodeSuccess
}
