package doctor

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strings"

	"scimbox/scim"
)

// address says whether there is an address at all that Entra could be given.
func (p *patient) address(context.Context) {
	if p.PublicURL == "" {
		p.find(Fail, "nobody has said by which address clients call this server", `set hostname = "scim.example.com" in the configuration (or public_url, if a proxy in front speaks TLS), and restart`, TenantURL)
		return
	}
	u, err := url.Parse(p.PublicURL)
	if err != nil {
		p.find(Fail, fmt.Sprintf("%q is no address: %v", p.PublicURL, err), "correct public_url", TenantURL)
		return
	}
	p.public = u
	if u.Scheme != "https" {
		p.find(Fail, p.PublicURL+" is not https, and Entra calls nothing else", "set hostname, or put a proxy that speaks TLS in front and set public_url to its https address", TenantURL)
		return
	}
	if _, err := netip.ParseAddr(u.Hostname()); err == nil {
		p.find(Warn, u.Hostname()+" is an address, and authorities on the internet certify names", "use a name: an A or AAAA record that leads to "+u.Hostname(), TenantURL)
		return
	}
	p.pass(p.tenantURL() + " is what clients are configured with")
}

func (p *patient) tenantURL() string { return p.PublicURL + scim.BasePath }

// name asks where the name leads.
func (p *patient) name(ctx context.Context) {
	if p.public == nil {
		return
	}
	host := p.public.Hostname()
	if a, err := netip.ParseAddr(host); err == nil {
		p.found = []netip.Addr{a}
		return
	}
	ctx, cancel := p.limited(ctx)
	defer cancel()
	found, err := p.Resolve(ctx, host)
	var dns *net.DNSError
	switch {
	case errors.As(err, &dns) && dns.IsNotFound, err == nil && len(found) == 0:
		p.find(Fail, host+" has no address in DNS", "make an A record (and AAAA, if the machine has IPv6) for "+host+" that leads to this machine's public address", TenantURL)
		return
	case err != nil:
		p.find(Fail, fmt.Sprintf("%s cannot be looked up: %v", host, err), "let this machine ask a name server (resolvectl status), and look whether the zone of "+host+" answers", TenantURL)
		return
	}
	for i := range found {
		found[i] = found[i].Unmap()
	}
	p.found = found
	list := joined(found)
	if !slices.ContainsFunc(found, public) {
		p.find(Warn, fmt.Sprintf("%s leads to %s, which cannot be reached from the internet", host, list),
			"if Entra is to call it directly, let the name lead to a public address; the provisioning agent of Entra can call it as it is", TenantURL)
		return
	}
	p.pass(host + " leads to " + list)
}

func public(a netip.Addr) bool {
	return a.IsGlobalUnicast() && !a.IsPrivate() && !netip.MustParsePrefix("100.64.0.0/10").Contains(a)
}

func joined(all []netip.Addr) string {
	var names []string
	for _, a := range all {
		names = append(names, a.String())
	}
	return strings.Join(names, ", ")
}

// port connects to the public address. A router often does not lead back what it leads in from outside: then the server is
// asked at its own address, and what is in between cannot be judged from here.
func (p *patient) port(ctx context.Context) {
	if len(p.found) == 0 {
		return
	}
	port := p.public.Port()
	if port == "" {
		port = map[string]string{"https": "443", "http": "80"}[p.public.Scheme]
	}
	var silent []string
	var last error
	for _, a := range p.found {
		address := net.JoinHostPort(a.String(), port)
		if err := p.knock(ctx, address); err != nil {
			silent, last = append(silent, address), err
		} else if p.via == "" {
			p.via = address
		}
	}
	switch {
	case len(silent) == 0:
		p.pass(fmt.Sprintf("port %s can be reached from here at %s", port, joined(p.found)))
		return
	case p.via != "":
		p.find(Warn, fmt.Sprintf("%s cannot be reached from here: %v", strings.Join(silent, ", "), cause(last)),
			"let the server be reached there too, or take that address out of DNS: clients try any of them", TenantURL)
		return
	}
	listens := ""
	if p.status != nil && p.status.Server != nil {
		listens = localize(p.status.Server.Listen)
	}
	// What the port is here does not matter: a router, or a container's port, may make another one of it.
	if listens == "" || p.TLS == "off" || p.knock(ctx, listens) != nil {
		p.find(Fail, fmt.Sprintf("nothing answers at %s: %v", strings.Join(silent, ", "), cause(last)),
			fmt.Sprintf("let the server (or the proxy in front of it) listen on port %s, and let firewalls pass it", port), TenantURL)
		return
	}
	p.via, p.local = listens, true
	own, err := p.Own()
	if err == nil && slices.ContainsFunc(p.found, func(a netip.Addr) bool { return slices.Contains(own, a) }) {
		p.find(Fail, fmt.Sprintf("%s is this machine, and nothing answers there: %v; the server listens on %s", strings.Join(silent, ", "), cause(last), p.status.Server.Listen),
			fmt.Sprintf("let it listen on port %s of all addresses (listen = \":%s\"), and let the firewall of this machine pass it", port, port), TenantURL)
		return
	}
	p.find(Warn, fmt.Sprintf("%s cannot be reached from here: %v; the server itself answers at %s", strings.Join(silent, ", "), cause(last), listens),
		fmt.Sprintf("ask from outside: curl -I %s/healthz. If that fails, lead port %s of the router to this machine and let firewalls pass it; if it answers, all is well", p.PublicURL, port), TenantURL)
}

// httpPort connects to port 80, which an authority may ask at.
func (p *patient) httpPort(ctx context.Context) {
	if !p.HTTP || len(p.found) == 0 || p.local {
		return
	}
	for _, a := range p.found {
		address := net.JoinHostPort(a.String(), p.HTTPPort)
		if err := p.knock(ctx, address); err != nil {
			p.find(Warn, fmt.Sprintf("%s cannot be reached from here: %v", address, cause(err)),
				"let port 80 be reached too: the authority asks there, and falls back on port 443 otherwise", TenantURL)
			return
		}
	}
	p.pass("port " + p.HTTPPort + " can be reached from here")
}

func (p *patient) knock(ctx context.Context, address string) error {
	ctx, cancel := p.limited(ctx)
	defer cancel()
	conn, err := p.Dial(ctx, address)
	if err != nil {
		return err
	}
	return conn.Close()
}

// dialFor returns how a connection is made: to the given address whatever is asked for, or, if it is "", to what is.
func (p *patient) dialFor(via string) func(ctx context.Context, network, address string) (net.Conn, error) {
	return func(ctx context.Context, _, address string) (net.Conn, error) {
		if via != "" {
			address = via
		}
		return p.Dial(ctx, address)
	}
}

// localize makes an address that can be called of one that is listened on.
func localize(listen string) string {
	host, port, err := net.SplitHostPort(listen)
	if a, parsed := netip.ParseAddr(host); err == nil && (host == "" || parsed == nil && a.IsUnspecified()) {
		return net.JoinHostPort("127.0.0.1", port)
	}
	return listen
}

func ownAddresses() ([]netip.Addr, error) {
	all, err := net.InterfaceAddrs()
	var own []netip.Addr
	for _, a := range all {
		if n, ok := a.(*net.IPNet); ok {
			if ip, ok := netip.AddrFromSlice(n.IP); ok {
				own = append(own, ip.Unmap())
			}
		}
	}
	return own, err
}

// cause takes "dial tcp 192.0.2.1:443: connect:" off an error: the address is said beside it.
func cause(err error) error {
	var op *net.OpError
	if errors.Is(err, context.DeadlineExceeded) {
		return errors.New("no answer in time")
	}
	if errors.As(err, &op) {
		return op.Err
	}
	return err
}

func unwrapURL(err error) error {
	var u *url.Error
	if errors.As(err, &u) {
		return cause(u.Err)
	}
	return err
}
