package server

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"syscall"

	"scimbox/scim"
	"scimbox/server/config"
)

// role is what clients find behind a listener.
type role string

const (
	roleMain     role = "main"     // SCIM and what belongs to it; with TLS if the server has a configuration of it
	roleConsole  role = "console"  // the web console alone, spoken to as the main ones are
	roleMetrics  role = "metrics"  // figures for Prometheus alone; plain HTTP on this machine, else spoken to as the main ones are
	roleRedirect role = "redirect" // plain HTTP beside it: a certificate authority's questions, and the way to https
)

// place is an address that is to be listened on.
type place struct {
	role    role
	address string // host:port
	key     string // of the configuration, that says the address
}

// door is a listener and what answers behind it.
type door struct {
	place
	net.Listener
	http *http.Server // set by equip
}

// places are all addresses to be listened on, that of SCIM first.
func (s *Server) places() []place {
	all := []place{{roleMain, s.o.Config.Listen, "listen"}}
	if c := s.o.Config.Console; c.Enabled && c.Listen != "" {
		all = append(all, place{roleConsole, c.Listen, "console.listen"})
	}
	if address := s.o.Config.Metrics.Listen; address != "" {
		all = append(all, place{roleMetrics, address, "metrics.listen"})
	}
	redirect := s.o.redirect
	if redirect == "" {
		redirect = s.o.Config.RedirectAddress()
	}
	if redirect != "" {
		all = append(all, place{roleRedirect, redirect, "tls.http_listen"})
	}
	return all
}

// secured reports whether the main listeners speak TLS. It is known before anything is opened; the certificates need not be.
func (s *Server) secured() bool { return s.o.tls != nil || s.o.Config.Secured() }

// listen opens all doors. Nobody is answered before serve.
func (s *Server) listen(ctx context.Context) error {
	sockets, err := passedSockets()
	if err != nil {
		return err
	}
	defer func() {
		for _, p := range sockets {
			s.o.Logger.Warn("a socket that the supervisor has passed on is not used; its name is to be http, https or that of a listener", "name", p.name, "address", p.Addr().String())
			_ = p.Close()
		}
	}()
	for _, p := range s.places() {
		found := s.claim(&sockets, p)
		if len(found) == 0 {
			l, err := new(net.ListenConfig).Listen(ctx, "tcp", p.address)
			if err != nil {
				failed := &AddressError{Address: p.address, Key: p.key, Err: err}
				if served := servedBy(ctx, s.o); served != "" {
					return &HeldError{s.o.Config.Data, served, failed} // started twice: the other program is ourselves
				}
				return failed
			}
			found = append(found, l)
		}
		for _, l := range found {
			s.doors = append(s.doors, &door{place: p, Listener: l})
		}
	}
	for _, d := range s.doors {
		// The configuration has been judged by the name of the host; this is what the name has turned out to be.
		if d.role != roleRedirect && !s.secured() && !d.local() && !s.o.Config.PlainHTTP() {
			return config.Problems{{Key: d.key, Text: config.RefusePlainHTTP(d.Addr().String())}}
		}
	}
	return nil
}

// equip puts an HTTP server behind each door. secure is what the main ones speak, nil = plain HTTP. challenges goes before
// the redirect, nil = nothing does.
func (s *Server) equip(secure *tls.Config, challenges func(next http.Handler) http.Handler) error {
	protocol, err := s.handler()
	if err != nil {
		return err
	}
	redirect := http.Handler(http.HandlerFunc(s.redirect))
	if challenges != nil {
		redirect = challenges(redirect)
	}
	redirect = s.observed(s.recovered(redirect))
	for _, d := range s.doors {
		switch d.role {
		case roleMain:
			d.http = s.newHTTP(s.strictly(protocol))
			d.http.TLSConfig = secure.Clone() // each server completes its own
		case roleConsole:
			d.http = s.newHTTP(s.consoleAlone())
			d.http.TLSConfig = secure.Clone()
		case roleMetrics:
			d.http = s.newHTTP(s.metricsAlone())
			if !d.local() {
				d.http.TLSConfig = secure.Clone()
			}
		case roleRedirect:
			d.http = s.newHTTP(redirect)
		}
	}
	return nil
}

// local reports whether the door is for this machine alone.
func (d *door) local() bool {
	a, ok := d.Addr().(*net.TCPAddr)
	return ok && a.IP.IsLoopback()
}

// serve answers at the door until its HTTP server is shut down.
func (d *door) serve(g *gate) error {
	through := gated{d.Listener, g}
	d.http.ConnState = g.state
	if d.http.TLSConfig != nil {
		return d.http.ServeTLS(through, "", "") // the certificates are the configuration's
	}
	return d.http.Serve(through)
}

// shut takes no more requests and waits for those under way until grace ends, when they are cut off.
func (d *door) shut(grace context.Context) (cut bool, err error) {
	if err = d.http.Shutdown(grace); err == nil {
		return false, nil
	}
	if cut = grace.Err() != nil; cut {
		err = nil
	}
	return cut, errors.Join(err, d.http.Close())
}

// redirect sends browsers to https. Whoever has sent more than the address of a page is refused: following would hide that
// a token has crossed the network in clear.
func (s *Server) redirect(w http.ResponseWriter, r *http.Request) {
	to := s.secureURL(r) + r.URL.RequestURI()
	w.Header().Set("X-Content-Type-Options", "nosniff")
	if r.Method != http.MethodGet && r.Method != http.MethodHead || r.Header.Get("Authorization") != "" {
		text(w, r, http.StatusForbidden, "403: plain HTTP is not spoken here; configure the client with "+s.secureURL(r)+
			scim.BasePath+", and replace the token: it has crossed the network unencrypted\n")
		return
	}
	w.Header().Set("Location", to)
	text(w, r, http.StatusPermanentRedirect, "308: "+to+"\n")
}

// secureURL returns the scheme and host that the main listener is reached by.
func (s *Server) secureURL(r *http.Request) string {
	if u := s.o.Config.PublicURL; u != "" {
		return u
	}
	host := r.Host
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	if host = strings.Trim(host, "[]"); strings.Contains(host, ":") {
		host = "[" + host + "]"
	}
	if a, ok := s.main().Addr().(*net.TCPAddr); ok && a.Port != 443 {
		host += ":" + strconv.Itoa(a.Port)
	}
	return (&url.URL{Scheme: "https", Host: host}).String()
}

// main returns the first of the doors to SCIM.
func (s *Server) main() *door { return s.doors[0] }

// Address returns the address that the server listens on for SCIM.
func (s *Server) Address() string { return s.main().Addr().String() }

func (s *Server) scheme() string {
	if s.secured() {
		return "https"
	}
	return "http"
}

// TenantURL returns what clients are configured with.
func (s *Server) TenantURL() string {
	if u := s.o.Config.PublicURL; u != "" {
		return u + scim.BasePath
	}
	if a, ok := s.main().Addr().(*net.TCPAddr); ok && a.IP.IsUnspecified() {
		if name, err := os.Hostname(); err == nil {
			return s.scheme() + "://" + net.JoinHostPort(name, strconv.Itoa(a.Port)) + scim.BasePath
		}
	}
	return s.scheme() + "://" + s.Address() + scim.BasePath
}

// LocalURL returns the tenant URL as it can be reached from this machine, whatever stands in front of the server. With a
// certificate that is by its name alone.
func (s *Server) LocalURL() string {
	if s.tls != nil {
		return s.TenantURL()
	}
	a, ok := s.main().Addr().(*net.TCPAddr)
	if ok && a.IP.IsUnspecified() {
		return s.scheme() + "://" + net.JoinHostPort("127.0.0.1", strconv.Itoa(a.Port)) + scim.BasePath
	}
	return s.scheme() + "://" + s.Address() + scim.BasePath
}

// AddressError says that the server cannot listen on the address that it is to listen on.
type AddressError struct {
	Address string
	Key     string // of the configuration
	Err     error
}

func (e *AddressError) Error() string {
	how := e.Key + " in the configuration or SCIMBOX_" + strings.ToUpper(strings.ReplaceAll(e.Key, ".", "_"))
	if errors.Is(e.Err, syscall.EADDRINUSE) {
		instead := how
		if e.Key == "listen" {
			instead = "--listen 127.0.0.1:8081, " + how
		}
		return fmt.Sprintf("%s is taken by another program; choose another address with %s, or end that program", e.Address, instead)
	}
	_, port, _ := net.SplitHostPort(e.Address)
	if n, err := strconv.Atoi(port); err == nil && n > 0 && n < 1024 && errors.Is(e.Err, syscall.EACCES) {
		return fmt.Sprintf("cannot listen on %s: ports below 1024 are not for every user. In a systemd unit write AmbientCapabilities=CAP_NET_BIND_SERVICE, "+
			"or let a socket unit listen; elsewhere run setcap cap_net_bind_service=+ep on the program; or choose a port from 1024 on with %s", e.Address, how)
	}
	if e.Key == "listen" {
		how = "--listen, " + how
	}
	return fmt.Sprintf("cannot listen on %s: %v; choose another address with %s", e.Address, reason(e.Err), how)
}

// Unwrap returns the cause.
func (e *AddressError) Unwrap() error { return e.Err }

// reason takes "listen tcp 127.0.0.1:80: bind:" off a network error.
func reason(err error) error {
	var sys *os.SyscallError
	if errors.As(err, &sys) {
		return sys.Err
	}
	var op *net.OpError
	if errors.As(err, &op) {
		return op.Err
	}
	return err
}
