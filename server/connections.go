package server

import (
	"container/list"
	"crypto/tls"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"time"

	"scimbox/server/config"
)

// gate limits how many connections are open, at all doors together and from one address. When there is no room, the connection
// that has been idle for longest makes some; when none is idle, the new one is closed. Requests under way go on.
type gate struct {
	most, each int                   // connections, in all and from one address
	exempt     func(netip.Addr) bool // from the limit for one address: who speaks for many
	refused    func(n int, from string)

	mu      sync.Mutex
	open    int
	from    map[netip.Prefix]int
	idle    list.List // of *conn, the one that has been idle for longest first
	turned  int       // away since the last word about it
	away    int64     // in all
	silence time.Time // until which not to speak about it again
}

// neighbours are the addresses that count as one: an IPv6 client has a whole /64.
func neighbours(a netip.Addr) netip.Prefix {
	bits := a.BitLen()
	if a.Is6() {
		bits = 64
	}
	p, _ := a.Prefix(bits) // the zero Prefix for the zero Addr
	return p
}

// conn is a connection that has been let in.
type conn struct {
	net.Conn
	g    *gate
	key  netip.Prefix
	rest *list.Element // in idle, nil = not idle
	gone bool
}

// Close closes the connection and makes its room free.
func (c *conn) Close() error {
	c.g.leave(c)
	return c.Conn.Close()
}

// CloseWrite is for net/http, which ends an answer by it if the client still sends.
func (c *conn) CloseWrite() error {
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return nil
}

// gated is a listener behind a gate.
type gated struct {
	net.Listener
	g *gate
}

// Accept returns the next connection that there is room for.
func (l gated) Accept() (net.Conn, error) {
	for {
		c, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		if let := l.g.admit(c); let != nil {
			return let, nil
		}
		_ = c.Close()
	}
}

// admit returns c with its room, or nil if there is none.
func (g *gate) admit(c net.Conn) *conn {
	var addr netip.Addr
	if ap, err := netip.ParseAddrPort(c.RemoteAddr().String()); err == nil {
		addr = ap.Addr().Unmap().WithZone("")
	}
	key := neighbours(addr)
	counted := addr.IsValid() && !g.exempt(addr)

	g.mu.Lock()
	var leaves *conn
	switch {
	case counted && g.from[key] >= g.each:
		if leaves = g.longestIdle(func(c *conn) bool { return c.key == key }); leaves == nil {
			return g.refuse(addr)
		}
	case g.open >= g.most:
		if leaves = g.longestIdle(func(*conn) bool { return true }); leaves == nil {
			return g.refuse(addr)
		}
	}
	let := &conn{Conn: c, g: g}
	if counted {
		let.key = key
		g.from[key]++
	}
	g.open++
	g.mu.Unlock()
	if leaves != nil {
		_ = leaves.Conn.Close()
	}
	return let
}

// longestIdle takes a connection out of the count, so that it can be closed.
func (g *gate) longestIdle(is func(*conn) bool) *conn {
	for e := g.idle.Front(); e != nil; e = e.Next() {
		if c := e.Value.(*conn); is(c) {
			g.remove(c)
			return c
		}
	}
	return nil
}

// refuse speaks of it once a minute, and unlocks.
func (g *gate) refuse(addr netip.Addr) *conn {
	g.turned++
	g.away++
	n := 0
	if now := time.Now(); now.After(g.silence) {
		n, g.turned, g.silence = g.turned, 0, now.Add(time.Minute)
	}
	g.mu.Unlock()
	if n > 0 {
		g.refused(n, addr.String())
	}
	return nil
}

// figures returns how many connections are open, and how many there was no room for.
func (g *gate) figures() (open int, refused int64) {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.open, g.away
}

func (g *gate) leave(c *conn) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.remove(c)
}

func (g *gate) remove(c *conn) {
	if c.gone {
		return
	}
	c.gone = true
	if g.open--; c.key.IsValid() {
		if g.from[c.key]--; g.from[c.key] == 0 {
			delete(g.from, c.key)
		}
	}
	if c.rest != nil {
		g.idle.Remove(c.rest)
		c.rest = nil
	}
}

// state is http.Server.ConnState: it learns which connections are idle, that is, between two requests.
func (g *gate) state(nc net.Conn, state http.ConnState) {
	if t, ok := nc.(*tls.Conn); ok {
		nc = t.NetConn()
	}
	c, ok := nc.(*conn)
	if !ok {
		return
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	switch {
	case c.gone:
	case state == http.StateIdle && c.rest == nil:
		c.rest = g.idle.PushBack(c)
	case state != http.StateIdle && c.rest != nil:
		g.idle.Remove(c.rest)
		c.rest = nil
	}
}

// filesKept are the descriptors that the store and the rest need, which no connection may take. The store has one for each
// megabyte of its tables.
const filesKept = 4096

// newGate returns the gate of the configuration, or a narrower one if the process may not open as many files.
func (s *Server) newGate() *gate {
	most := s.o.Config.Limits.Connections
	if files := openFiles(); files > 0 && most > files-filesKept {
		narrow := max(files-filesKept, files/4)
		s.o.Logger.Warn("this process may open too few files for limits.connections; raise the limit (ulimit -n, LimitNOFILE=)",
			"connections", most, "files", files, "possible", narrow)
		most = narrow
	}
	return &gate{
		most: most, each: s.o.Config.Limits.ConnectionsPerAddress, from: map[netip.Prefix]int{},
		exempt: func(a netip.Addr) bool { return a.IsLoopback() || config.Within(s.trusted, a) },
		refused: func(n int, from string) {
			s.o.Logger.Warn("too many connections; new ones are closed", "refused", n, "latest", from)
		},
	}
}
