package server

import (
	"net"
	"net/http"
	"net/netip"
	"regexp"
	"strings"

	"scimbox/server/config"
)

// source is who has sent a request, and by which URL of ours.
type source struct {
	addr    netip.Addr // of the client; the zero Addr if its connection has none
	client  string     // the same for the log and the journal, or what the connection says of itself
	scheme  string     // "http" or "https"
	host    string     // with the port, as in a Host header
	proxied bool       // said by a proxy that is trusted
}

// sourceOf returns what the connection says, or, if it is that of a proxy in trusted, what the proxy says. Proxies append to
// what they were sent, and the client may have begun with a lie; so of a list of hops the last counts that is no proxy of
// ours. What cannot be read is not believed at all: then the connection is all that is known.
func sourceOf(r *http.Request, trusted []netip.Prefix) source {
	s := believed(r, trusted)
	if host, _, _ := strings.Cut(r.RemoteAddr, ":"); !s.proxied && s.addr.Is4() && strings.IndexByte(host, '.') > 0 {
		s.client = host // it is what String would make of it: an IPv4 address has one form
	} else if s.addr.IsValid() {
		s.client = s.addr.String()
	} else if host, _, err := net.SplitHostPort(r.RemoteAddr); err == nil {
		s.client = host
	} else {
		s.client = r.RemoteAddr
	}
	return s
}

func believed(r *http.Request, trusted []netip.Prefix) source {
	s := source{addr: connectionAddr(r), scheme: "http", host: r.Host}
	if r.TLS != nil {
		s.scheme = "https"
	}
	if !s.addr.IsValid() || !config.Within(trusted, s.addr) {
		return s
	}
	plain, ok := fromList(r.Header, trusted)
	standard, also := fromForwarded(r.Header, trusted)
	switch {
	case plain == nil && standard == nil, !ok, !also:
		return s
	case plain == nil:
		plain = standard
	case standard != nil && standard.addr != plain.addr:
		return s // the proxy writes one of the two, and the client has written the other
	}
	s.addr, s.proxied = plain.addr, true
	if plain.scheme == "http" || plain.scheme == "https" {
		s.scheme = plain.scheme
	}
	if hostForm.MatchString(plain.host) {
		s.host = plain.host
	}
	return s
}

// hostForm is a name or an address, with or without a port.
var hostForm = regexp.MustCompile(`^([A-Za-z0-9._-]{1,253}|\[[0-9A-Fa-f:.]{2,45}\])(:[0-9]{1,5})?$`)

func connectionAddr(r *http.Request) netip.Addr {
	ap, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return netip.Addr{}
	}
	return ap.Addr().Unmap().WithZone("")
}

// lastUntrusted returns the index of the hop that is the client: the last that is not trusted, or the first of all. ok is
// false if one cannot be read before it is found.
func lastUntrusted(hops []string, trusted []netip.Prefix) (i int, addr netip.Addr, ok bool) {
	for i = len(hops) - 1; i >= 0; i-- {
		if addr, ok = hop(hops[i]); !ok {
			return 0, netip.Addr{}, false
		}
		if i == 0 || !config.Within(trusted, addr) {
			break
		}
	}
	return i, addr, true
}

// hop reads an address, with or without a port; an IPv6 one with a port is in brackets.
func hop(text string) (netip.Addr, bool) {
	a, err := netip.ParseAddr(strings.TrimSuffix(strings.TrimPrefix(text, "["), "]"))
	if err != nil {
		var ap netip.AddrPort
		if ap, err = netip.ParseAddrPort(text); err != nil {
			return netip.Addr{}, false
		}
		a = ap.Addr()
	}
	return a.Unmap().WithZone(""), true
}

// fromList reads X-Forwarded-For and what belongs to it. It returns nil without one, and ok is false for one that cannot be
// read. Each proxy may have appended its scheme too, or the last one have replaced them all.
func fromList(h http.Header, trusted []netip.Prefix) (s *source, ok bool) {
	hops := members(h, "X-Forwarded-For")
	if len(hops) == 0 {
		return nil, true
	}
	i, addr, ok := lastUntrusted(hops, trusted)
	if !ok {
		return nil, false
	}
	at := func(name string) string {
		values := members(h, name)
		switch len(values) {
		case 0:
			return ""
		case len(hops):
			return values[i]
		}
		return values[len(values)-1]
	}
	return &source{addr: addr, scheme: strings.ToLower(at("X-Forwarded-Proto")), host: at("X-Forwarded-Host")}, true
}

// members returns the members of a header that may be there several times (RFC 9110 section 5.3).
func members(h http.Header, name string) []string {
	joined := strings.Join(h.Values(name), ",")
	if joined == "" {
		return nil
	}
	values := strings.Split(joined, ",")
	for i := range values {
		values[i] = strings.TrimSpace(values[i])
	}
	return values
}

// fromForwarded reads Forwarded (RFC 7239), as fromList does the other. A hop that is hidden, "unknown" or "_name", cannot
// be read.
func fromForwarded(h http.Header, trusted []netip.Prefix) (s *source, ok bool) {
	rest := strings.TrimSpace(strings.Join(h.Values("Forwarded"), ","))
	if rest == "" {
		return nil, true
	}
	elements, hops := []map[string]string{{}}, []string(nil)
	for rest != "" {
		m := forwardedPair.FindStringSubmatch(rest)
		if m == nil {
			return nil, false
		}
		name, value, last := strings.ToLower(m[1]), m[2], elements[len(elements)-1]
		if strings.HasPrefix(value, `"`) {
			value = quotedPair.ReplaceAllString(value[1:len(value)-1], "$1")
		}
		if _, twice := last[name]; twice {
			return nil, false
		}
		last[name] = value
		if rest = rest[len(m[0]):]; m[3] == "," {
			elements = append(elements, map[string]string{})
		} else if m[3] == "" && rest != "" {
			return nil, false
		}
	}
	for _, e := range elements {
		hops = append(hops, e["for"])
	}
	i, addr, ok := lastUntrusted(hops, trusted)
	if !ok {
		return nil, false
	}
	return &source{addr: addr, scheme: strings.ToLower(elements[i]["proto"]), host: elements[i]["host"]}, true
}

var (
	forwardedPair = regexp.MustCompile(`^[ \t]*([!#$%&'*+.^_|~0-9A-Za-z` + "`" + `-]+)=([!#$%&'*+.^_|~0-9A-Za-z` + "`" + `:\[\]-]+|"(?:[^"\\]|\\.)*")[ \t]*([;,]?)`)
	quotedPair    = regexp.MustCompile(`\\(.)`)
)

// unprotected reports whether a request has come over the network in clear from somebody who is no proxy of ours, although the
// operator has not permitted that.
func (s *Server) unprotected(r *http.Request) bool {
	if r.TLS != nil || s.o.Config.AllowPlainHTTP {
		return false
	}
	addr := connectionAddr(r)
	return !addr.IsLoopback() && !config.Within(s.trusted, addr)
}

// base returns the scheme and host that locations in the answer to a request start with.
func base(r *http.Request) (scheme, host string) {
	from := &observationOf(r).source
	return from.scheme, from.host
}

// clientAddr is the address that failed attempts are counted by.
func clientAddr(r *http.Request) netip.Addr { return observationOf(r).source.addr }

// client returns the address of the client for the log and the journal.
func client(r *http.Request) string { return observationOf(r).source.client }
