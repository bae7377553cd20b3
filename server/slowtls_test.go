package server

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"
	"testing/synctest"
	"time"
)

// TestSlowClients with TLS, where there are more ways to be slow: a handshake without an end, and HTTP/2, which has limits of its
// own for a connection on which nothing was asked yet.
func TestSlowClientsWithTLS(t *testing.T) {
	t.Parallel()
	maker := httptest.NewUnstartedServer(nil)
	maker.StartTLS()
	maker.Close()
	secure := &tls.Config{Certificates: maker.TLS.Certificates, NextProtos: []string{"h2", "http/1.1"}}
	reads := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, err := io.Copy(io.Discard, r.Body)
		fmt.Fprint(w, err)
	})
	// The certificate is not of the bubble's year.
	connect := func(t *testing.T, p *pipes, protocol string) *tls.Conn {
		t.Helper()
		c := tls.Client(p.dial("192.0.2.1:1"), &tls.Config{InsecureSkipVerify: true, NextProtos: []string{protocol}})
		if err := c.HandshakeContext(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got := c.ConnectionState().NegotiatedProtocol; got != protocol {
			t.Fatalf("%q is spoken", got)
		}
		return c
	}
	// until sends something each second until the connection is closed.
	until := func(c net.Conn, more string) time.Duration {
		go func() { _, _ = io.Copy(io.Discard, c) }()
		begin, err := time.Now(), error(nil)
		for err == nil {
			time.Sleep(time.Second)
			_, err = io.WriteString(c, more)
		}
		return time.Since(begin)
	}
	for _, tt := range []struct {
		name     string
		slow     func(t *testing.T, p *pipes) time.Duration // after which the connection was closed
		min, max time.Duration
	}{
		{"no handshake", func(t *testing.T, p *pipes) time.Duration { return closes(t, p.dial("192.0.2.1:1")) }, 5 * time.Second, 5 * time.Second},
		{"a handshake without an end", func(t *testing.T, p *pipes) time.Duration {
			c := p.dial("192.0.2.1:1")
			if _, err := c.Write([]byte{22, 3, 1, 2, 0, 1, 0, 1, 252}); err != nil { // a record of 512 bytes, and in it a ClientHello
				t.Fatal(err)
			}
			return until(c, "x")
		}, 5 * time.Second, 7 * time.Second},
		{"silent", func(t *testing.T, p *pipes) time.Duration { return closes(t, connect(t, p, "http/1.1")) }, 5 * time.Second, 5 * time.Second},
		{"headers without an end", func(t *testing.T, p *pipes) time.Duration {
			c := connect(t, p, "http/1.1")
			if _, err := io.WriteString(c, "GET / HTTP/1.1\r\nHost: x\r\n"); err != nil {
				t.Fatal(err)
			}
			return until(c, "X: y\r\n")
		}, 5 * time.Second, 7 * time.Second},
		{"a body without an end", func(t *testing.T, p *pipes) time.Duration {
			c := connect(t, p, "http/1.1")
			if _, err := io.WriteString(c, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n"); err != nil {
				t.Fatal(err)
			}
			return until(c, "x")
		}, 60 * time.Second, 63 * time.Second},
		{"HTTP/2, silent", func(t *testing.T, p *pipes) time.Duration { return closes(t, connect(t, p, "h2")) }, 5 * time.Second, 10 * time.Second},
		{"HTTP/2, no request", func(t *testing.T, p *pipes) time.Duration {
			c := connect(t, p, "h2")
			// The preface and empty settings (RFC 9113 section 3.4).
			if _, err := io.WriteString(c, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00"); err != nil {
				t.Fatal(err)
			}
			return closes(t, c)
		}, 60 * time.Second, 2*time.Minute + 10*time.Second},
		{"HTTP/2, headers without an end", func(t *testing.T, p *pipes) time.Duration {
			c := connect(t, p, "h2")
			// HEADERS of stream 1 with :method GET and no END_HEADERS, and then CONTINUATIONs of nothing.
			if _, err := io.WriteString(c, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00\x00\x00\x01\x01\x01\x00\x00\x00\x01\x82"); err != nil {
				t.Fatal(err)
			}
			return until(c, "\x00\x00\x00\x09\x00\x00\x00\x00\x01")
		}, 60 * time.Second, 2*time.Minute + 10*time.Second},
		{"HTTP/2, a body without an end", func(t *testing.T, p *pipes) time.Duration {
			web := &http.Transport{ForceAttemptHTTP2: true, DialTLSContext: func(context.Context, string, string) (net.Conn, error) { return connect(t, p, "h2"), nil }}
			defer web.CloseIdleConnections()
			body, more := io.Pipe()
			go func() {
				for err := error(nil); err == nil; {
					time.Sleep(time.Second)
					_, err = io.WriteString(more, "x")
				}
			}()
			begin := time.Now()
			r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "https://x/", body)
			if err != nil {
				t.Fatal(err)
			}
			if resp, err := web.RoundTrip(r); err == nil {
				_, _ = io.Copy(io.Discard, resp.Body)
				_ = resp.Body.Close()
			}
			_ = body.Close()
			return time.Since(begin)
		}, 60 * time.Second, 70 * time.Second},
	} {
		t.Run(tt.name, func(t *testing.T) {
			inSecureBubble(t, secure, nil, reads, func(t *testing.T, p *pipes, _ *buffer) {
				if d := tt.slow(t, p); d < tt.min || d > tt.max {
					t.Errorf("closed after %s, want %s to %s", d, tt.min, tt.max)
				}
				time.Sleep(2 * time.Second)
				synctest.Wait()
			})
		})
	}
}
