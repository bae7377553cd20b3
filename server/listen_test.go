package server

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"scimbox/scim"
)

// secured starts a server with TLS and a redirect beside it, and returns a client that trusts it.
func secured(t *testing.T) (*running, *http.Client) {
	t.Helper()
	o, log := options(t)
	o.redirect = "127.0.0.1:0"
	certificate := httptest.NewUnstartedServer(nil)
	certificate.StartTLS()
	certificate.Close()
	o.tls = &tls.Config{Certificates: certificate.TLS.Certificates, MinVersion: tls.VersionTLS12}
	roots := x509.NewCertPool()
	roots.AddCert(certificate.Certificate())
	transport := &http.Transport{ForceAttemptHTTP2: true, TLSClientConfig: &tls.Config{RootCAs: roots, ServerName: "example.com", MinVersion: tls.VersionTLS12}}
	s := serve(t, o, log)
	t.Cleanup(transport.CloseIdleConnections) // before the server stops
	return s, &http.Client{Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
}

func fetch(t *testing.T, c *http.Client, method, url string, header ...string) (*http.Response, string) {
	t.Helper()
	q, err := http.NewRequestWithContext(t.Context(), method, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(header); i += 2 {
		q.Header.Set(header[i], header[i+1])
	}
	resp, err := c.Do(q)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp, string(text)
}

// A server with TLS speaks HTTP/2 at one door and shows the way there at the other.
func TestDoors(t *testing.T) {
	s, c := secured(t)
	if want := "https://" + s.Address() + scim.BasePath; s.TenantURL() != want || s.LocalURL() != want {
		t.Errorf("URLs: %s, %s, want %s", s.TenantURL(), s.LocalURL(), want)
	}
	resp, text := fetch(t, c, "GET", s.TenantURL()+"/Users", "Authorization", "Bearer "+s.secret)
	if resp.StatusCode != 200 || resp.Proto != "HTTP/2.0" {
		t.Errorf("%s %s: %s", resp.Proto, resp.Status, text)
	}
	plain := "http://" + s.doors[1].Addr().String()
	_, port, _ := net.SplitHostPort(s.Address())
	for _, tt := range []struct {
		method, path, token string
		status              int
		want                string
	}{
		{"GET", "/scim/v2/Users?x=%2F", "", 308, "https://127.0.0.1:" + port + "/scim/v2/Users?x=%2F"},
		{"HEAD", "/", "", 308, "https://127.0.0.1:" + port + "/"},
		{"GET", "//elsewhere.example/", "", 308, "https://127.0.0.1:" + port + "//elsewhere.example/"},
		{"GET", "/scim/v2/Users", s.secret, 403, ""},
		{"POST", "/scim/v2/Users", "", 403, ""},
	} {
		header := []string{}
		if tt.token != "" {
			header = []string{"Authorization", "Bearer " + tt.token}
		}
		resp, text := fetch(t, c, tt.method, plain+tt.path, header...)
		if resp.StatusCode != tt.status || resp.Header.Get("Location") != tt.want {
			t.Errorf("%s %s: %s to %q: %s", tt.method, tt.path, resp.Status, resp.Header.Get("Location"), text)
		}
		if tt.status == 403 && !strings.Contains(text, "https://") {
			t.Errorf("%s %s does not say where to: %s", tt.method, tt.path, text)
		}
	}
	if strings.Contains(s.log.String(), s.secret) {
		t.Error("the log has the token")
	}
}

// What goes before the redirect, for a certificate authority, is asked first.
func TestChallengesBeforeRedirect(t *testing.T) {
	s, c := secured(t)
	if err := s.stop(); err != nil {
		t.Fatal(err)
	}
	if err := s.equip(s.o.tls, func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if strings.HasPrefix(r.URL.Path, "/.well-known/acme-challenge/") {
				_, _ = io.WriteString(w, "proof")
				return
			}
			next.ServeHTTP(w, r)
		})
	}); err != nil {
		t.Fatal(err)
	}
	w := httptest.NewServer(s.doors[1].http.Handler)
	defer w.Close()
	if _, text := fetch(t, c, "GET", w.URL+"/.well-known/acme-challenge/x"); text != "proof" {
		t.Errorf("challenge: %q", text)
	}
	if resp, _ := fetch(t, c, "GET", w.URL+"/"); resp.StatusCode != 308 {
		t.Errorf("everything else: %s", resp.Status)
	}
}

// An error of an address says what to do about it.
func TestAddressErrors(t *testing.T) {
	denied := &net.OpError{Op: "listen", Err: syscall.EACCES}
	for _, tt := range []struct {
		err  AddressError
		want []string
		not  string
	}{
		{AddressError{"0.0.0.0:443", "listen", denied}, []string{"0.0.0.0:443", "CAP_NET_BIND_SERVICE", "socket unit", "setcap"}, "taken"},
		{AddressError{"0.0.0.0:8443", "listen", denied}, []string{"permission denied", "--listen"}, "setcap"},
		{AddressError{"127.0.0.1:80", "metrics.listen", &net.OpError{Err: syscall.EADDRINUSE}}, []string{"taken", "metrics.listen", "SCIMBOX_METRICS_LISTEN"}, "--listen"},
	} {
		for _, want := range tt.want {
			if !strings.Contains(tt.err.Error(), want) {
				t.Errorf("%q does not say %q", tt.err.Error(), want)
			}
		}
		if strings.Contains(tt.err.Error(), tt.not) {
			t.Errorf("%q says %q", tt.err.Error(), tt.not)
		}
		if !errors.Is(&tt.err, tt.err.Err) {
			t.Errorf("%v has lost its cause", &tt.err)
		}
	}
}

// A stop waits for requests of HTTP/2 as well, on connections that are told to go.
func TestStoppingWithTLS(t *testing.T) {
	s, c := secured(t)
	c.Transport.(*http.Transport).ExpectContinueTimeout = time.Minute
	body, last := io.Pipe()
	begun := make(chan struct{})
	ctx := httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{Got100Continue: func() { close(begun) }})
	q, err := http.NewRequestWithContext(ctx, "POST", s.TenantURL()+"/Users", body)
	if err != nil {
		t.Fatal(err)
	}
	q.Header.Set("Expect", "100-continue")
	q.Header.Set("Authorization", "Bearer "+s.secret)
	q.Header.Set("Content-Type", "application/scim+json")
	answered := make(chan error, 1)
	go func() {
		resp, err := c.Do(q)
		if err == nil {
			_, err = io.Copy(io.Discard, resp.Body)
			_ = resp.Body.Close()
			if resp.StatusCode != 201 || resp.Proto != "HTTP/2.0" {
				err = errors.Join(err, fmt.Errorf("%s %s", resp.Proto, resp.Status))
			}
		}
		answered <- err
	}()
	<-begun
	stopped := make(chan error, 1)
	go func() { stopped <- s.stop() }()
	for !s.stopping.Load() {
		runtime.Gosched()
	}
	if _, err := io.WriteString(last, `{"schemas":["urn:ietf:params:scim:schemas:core:2.0:User"],"userName":"last"}`); err != nil {
		t.Fatal(err)
	}
	_ = last.Close()
	if err := <-answered; err != nil {
		t.Errorf("the request under way: %v", err)
	}
	if err := <-stopped; err != nil {
		t.Error(err)
	}
}
