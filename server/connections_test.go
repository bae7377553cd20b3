package server

import (
	"bufio"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"scimbox/scim"
	"scimbox/server/config"
)

// pipes is a listener whose connections are in memory, so that time can be turned forward.
type pipes struct {
	conns  chan net.Conn
	closed chan struct{}
}

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}
func (p *pipes) Close() error   { close(p.closed); return nil }
func (p *pipes) Addr() net.Addr { return &net.TCPAddr{IP: net.IPv4(192, 0, 2, 1), Port: 1} }

// addressed is a connection that says it comes from an address.
type addressed struct {
	net.Conn
	from string
}

func (a addressed) RemoteAddr() net.Addr {
	return net.TCPAddrFromAddrPort(netip.MustParseAddrPort(a.from))
}

// dial returns the client's end of a new connection.
func (p *pipes) dial(from string) net.Conn {
	client, server := net.Pipe()
	p.conns <- addressed{server, from}
	return client
}

// inBubble serves a handler with the limits of the configuration, in a bubble where time costs nothing.
func inBubble(t *testing.T, change func(*config.Limits), h http.Handler, fn func(t *testing.T, p *pipes, log *buffer)) {
	t.Helper()
	inSecureBubble(t, nil, change, h, fn)
}

// inSecureBubble is inBubble with TLS, unless that is nil.
func inSecureBubble(t *testing.T, secure *tls.Config, change func(*config.Limits), h http.Handler, fn func(t *testing.T, p *pipes, log *buffer)) {
	t.Helper()
	o, log := options(t)
	o.Config.Limits.Connections, o.Config.Limits.ConnectionsPerAddress = 16, 4
	if change != nil {
		change(&o.Config.Limits)
	}
	synctest.Test(t, func(t *testing.T) {
		s := &Server{o: o, trusted: proxies}
		p := &pipes{make(chan net.Conn), make(chan struct{})}
		d := &door{place{roleMain, "", "listen"}, p, s.newHTTP(s.observed(h))}
		d.http.TLSConfig = secure
		ended := make(chan error, 1)
		go func() { ended <- d.serve(s.newGate()) }()
		defer func() {
			if err := d.http.Close(); err != nil {
				t.Error(err)
			}
			if err := <-ended; !errors.Is(err, http.ErrServerClosed) {
				t.Error(err)
			}
		}()
		fn(t, p, log)
	})
}

// closes returns after which time the server has closed a connection, reading whatever it says before.
func closes(t *testing.T, c net.Conn) time.Duration {
	t.Helper()
	begin := time.Now()
	if _, err := io.Copy(io.Discard, c); err != nil {
		t.Error(err)
	}
	return time.Since(begin)
}

// A client that is slow, on purpose or not, has its connection for as long as the configuration says.
func TestSlowClients(t *testing.T) {
	reads := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, err := io.Copy(io.Discard, r.Body)
		fmt.Fprint(w, err)
	})
	t.Run("silent", func(t *testing.T) {
		inBubble(t, nil, reads, func(t *testing.T, p *pipes, _ *buffer) {
			if d := closes(t, p.dial("192.0.2.1:1")); d != 5*time.Second {
				t.Errorf("closed after %s", d)
			}
		})
	})
	t.Run("headers without an end", func(t *testing.T) {
		inBubble(t, nil, reads, func(t *testing.T, p *pipes, _ *buffer) {
			c, begin := p.dial("192.0.2.1:1"), time.Now()
			_, err := io.WriteString(c, "GET / HTTP/1.1\r\nHost: x\r\n")
			for err == nil {
				time.Sleep(time.Second)
				_, err = io.WriteString(c, "X: y\r\n")
			}
			if d := time.Since(begin); d > 7*time.Second {
				t.Errorf("closed after %s", d)
			}
		})
	})
	t.Run("a body without an end", func(t *testing.T) {
		inBubble(t, nil, reads, func(t *testing.T, p *pipes, _ *buffer) {
			c, begin := p.dial("192.0.2.1:1"), time.Now()
			go func() { _, _ = io.Copy(io.Discard, c) }()
			_, err := io.WriteString(c, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n")
			for err == nil {
				time.Sleep(time.Second)
				_, err = io.WriteString(c, "x")
			}
			if d := time.Since(begin); d < 60*time.Second || d > 63*time.Second {
				t.Errorf("closed after %s", d)
			}
		})
	})
	t.Run("an answer that is not read", func(t *testing.T) {
		var written time.Duration
		writes := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			begin, err := time.Now(), error(nil)
			for err == nil {
				_, err = io.WriteString(w, strings.Repeat("x", 1<<16))
			}
			written = time.Since(begin)
		})
		inBubble(t, nil, writes, func(t *testing.T, p *pipes, _ *buffer) {
			c := p.dial("192.0.2.1:1")
			if _, err := io.WriteString(c, "GET / HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
				t.Fatal(err)
			}
			time.Sleep(2 * time.Minute)
			if synctest.Wait(); written != 70*time.Second {
				t.Errorf("the answer was given up after %s", written)
			}
		})
	})
	t.Run("idle", func(t *testing.T) {
		inBubble(t, nil, reads, func(t *testing.T, p *pipes, _ *buffer) {
			c := p.dial("192.0.2.1:1")
			if _, err := io.WriteString(c, "GET / HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
				t.Fatal(err)
			}
			if d := closes(t, c); d != 2*time.Minute {
				t.Errorf("closed after %s", d)
			}
		})
	})
}

// client is a connection that asks, and can say whether it is still there.
type asking struct {
	net.Conn
	r *bufio.Reader
}

func (a asking) ask(t *testing.T) {
	t.Helper()
	if _, err := io.WriteString(a, "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	resp, err := http.ReadResponse(a.r, nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(io.Discard, resp.Body); err != nil || resp.StatusCode != 200 {
		t.Fatal(resp.Status, err)
	}
}

func (a asking) closed() bool {
	if err := a.SetReadDeadline(time.Now().Add(time.Millisecond)); err != nil {
		return true
	}
	_, err := a.r.Peek(1)
	return errors.Is(err, io.EOF)
}

func TestConnectionLimits(t *testing.T) {
	answers := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { _, _ = io.Copy(io.Discard, r.Body) })
	connect := func(p *pipes, from string) asking {
		c := p.dial(from)
		return asking{c, bufio.NewReader(c)}
	}
	busy := func(t *testing.T, a asking) {
		t.Helper()
		if _, err := io.WriteString(a, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
	}
	t.Run("from one address", func(t *testing.T) {
		inBubble(t, nil, answers, func(t *testing.T, p *pipes, log *buffer) {
			var own []asking
			for i := range 4 { // one after another, so that the first is idle for longest
				own = append(own, connect(p, fmt.Sprintf("[2001:db8::%d]:1", i)))
				own[i].ask(t)
				time.Sleep(time.Second)
			}
			other := connect(p, "[2001:db8:0:1::1]:1")
			other.ask(t)
			own[0].ask(t) // now it is the second
			next := connect(p, "[2001:db8::9]:1")
			next.ask(t)
			for i, c := range own {
				if got := c.closed(); got != (i == 1) {
					t.Errorf("connection %d is closed: %t", i, got)
				}
			}
			for _, c := range append(own[2:], own[0], next) {
				busy(t, c)
			}
			if late := connect(p, "[2001:db8::10]:1"); !late.closed() {
				t.Error("all four are at work, and a fifth was let in")
			}
			if late := connect(p, "[2001:db8::10]:1"); !late.closed() || strings.Count(log.String(), "too many connections") != 1 {
				t.Errorf("log: %s", log)
			}
			for _, c := range append(own[2:], own[0], next) {
				if c.closed() {
					t.Error("one at work was closed")
				}
			}
			if other.closed() {
				t.Error("somebody else was closed")
			}
			_ = next.Close() // who leaves makes room
			synctest.Wait()
			connect(p, "[2001:db8::11]:1").ask(t)
		})
	})
	t.Run("in all", func(t *testing.T) {
		inBubble(t, nil, answers, func(t *testing.T, p *pipes, _ *buffer) {
			var all []asking
			for range 16 { // a proxy speaks for many
				all = append(all, connect(p, "10.0.0.1:1"))
				all[len(all)-1].ask(t)
				synctest.Wait()
			}
			connect(p, "192.0.2.1:1").ask(t)
			synctest.Wait() // until the server knows that it is idle
			if !all[0].closed() || all[1].closed() {
				t.Error("the one that was idle for longest stays, or another goes")
			}
			for _, c := range all[1:] {
				busy(t, c)
			}
			connect(p, "192.0.2.2:1").ask(t) // instead of 192.0.2.1
			synctest.Wait()
			late := connect(p, "192.0.2.3:1")
			busy(t, late)
			if c := connect(p, "192.0.2.4:1"); !c.closed() {
				t.Error("all are at work, and one more was let in")
			}
		})
	})
}

func (g *gate) anyIdle() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.idle.Len() > 0
}

// As many idle connections as the process may have files for, up to 10,000: they cost memory and nothing else.
func TestIdleConnections(t *testing.T) {
	n := 10_000
	if files := openFiles(); files > 0 {
		n = min(n, max(files-2*filesKept, files/4)/2) // both ends are ours
	}
	if testing.Short() {
		n = min(n, 1000)
	}
	s := start(t, func(c *config.Config) { c.Limits.Connections, c.Limits.IdleTimeout.Duration = n, time.Hour })
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	conns := make([]asking, n)
	for i := range conns {
		c, err := net.Dial("tcp", s.Address())
		if err != nil {
			t.Fatalf("connection %d: %v", i, err)
		}
		conns[i] = asking{c, bufio.NewReaderSize(c, 16)}
		defer c.Close()
		conns[i].ask(t)
		for i == 0 && !s.gate.anyIdle() { // an answer is there a little before its connection is idle, and the next one must not be idle first
			runtime.Gosched()
		}
	}
	runtime.ReadMemStats(&after)
	each := (after.HeapInuse + after.StackInuse - before.HeapInuse - before.StackInuse) / uint64(n) >> 10
	if t.Logf("%d idle connections, %d KB each", n, each); each > 64 {
		t.Errorf("an idle connection costs %d KB", each)
	}
	if resp, text := s.do(t, "GET", scim.BasePath+"/Users", ""); resp.StatusCode != 200 {
		t.Errorf("beside them: %s %s", resp.Status, text)
	}
	if err := conns[0].SetReadDeadline(time.Now().Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(io.Discard, conns[0].r); err != nil {
		t.Errorf("the first was to make room: %v", err)
	}
	conns[n-1].ask(t)
	if strings.Contains(s.log.String(), "too many connections") {
		t.Error("somebody was turned away")
	}
}
