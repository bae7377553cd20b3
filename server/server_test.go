package server

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"scimbox/auth"
	"scimbox/scim"
	"scimbox/server/config"
	"scimbox/server/control"
)

func TestMain(m *testing.M) {
	// The cases wait for the disk and not for processors, and changes that wait together are made durable together.
	flag.Parse()
	given := false
	flag.Visit(func(f *flag.Flag) { given = given || f.Name == "test.parallel" })
	if !given {
		if err := flag.Set("test.parallel", "16"); err != nil {
			panic(err)
		}
	}
	goleak.VerifyTestMain(m,
		// certmagic's: one for each authority, as long as the process lives; and one that sees within seconds that its lock is gone.
		goleak.IgnoreTopFunction("github.com/caddyserver/certmagic.(*RingBufferRateLimiter).permit"),
		goleak.IgnoreAnyFunction("github.com/caddyserver/certmagic.keepLockfileFresh"),
	)
}

// buffer is a log that goroutines may write to.
type buffer struct {
	mu    sync.Mutex
	b     bytes.Buffer
	flush func() // of the logger that writes here; may be nil
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *buffer) String() string {
	if b.flush != nil {
		b.flush()
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// running is a server that answers, and what a test wants to know of it.
type running struct {
	*Server
	secret string // of the first token
	log    *buffer
	stop   func() error // waits for the end of Serve
	hurry  func()
}

// options returns those of a server in a directory of its own, on any port.
func options(t *testing.T) (Options, *buffer) {
	c, log := config.Default(), new(buffer)
	c.Listen, c.Data = "127.0.0.1:0", filepath.Join(t.TempDir(), "data")
	c.Limits.RequestsPerToken = 0 // tests are faster than clients
	logger, level, flush := NewLogger(log, false, c.Log)
	level.Set(slog.LevelDebug)
	log.flush = flush
	return Options{Config: c, Version: "1.2.3", Logger: logger}, log
}

func start(t *testing.T, change func(*config.Config)) *running {
	t.Helper()
	o, log := options(t)
	if change != nil {
		change(&o.Config)
	}
	return serve(t, o, log)
}

// serve opens a server and lets it serve until the test ends.
func serve(t *testing.T, o Options, log *buffer) *running {
	t.Helper()
	s, err := Open(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	_, secret, _ := s.FirstToken()
	ctx, cancel := context.WithCancel(context.Background())
	hurry, cut := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Serve(ctx, hurry) }()
	r := &running{Server: s, secret: secret.Reveal(), log: log, hurry: cut, stop: sync.OnceValue(func() error { cancel(); return <-done })}
	t.Cleanup(func() {
		if err := r.stop(); err != nil {
			t.Error(err)
		}
		cut()
		http.DefaultClient.CloseIdleConnections()
	})
	return r
}

// do sends a request with the first token, and returns the answer with its body read.
func (r *running) do(t *testing.T, method, path, body string, header ...string) (*http.Response, string) {
	t.Helper()
	q, err := http.NewRequestWithContext(t.Context(), method, "http://"+r.Address()+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	q.Header.Set("Authorization", "Bearer "+r.secret)
	q.Header.Set("Content-Type", "application/scim+json")
	for i := 0; i < len(header); i += 2 {
		if q.Header.Del(header[i]); header[i+1] != "" {
			q.Header.Set(header[i], header[i+1])
		}
	}
	if host := q.Header.Get("Host"); host != "" {
		q.Host = host
	}
	resp, err := http.DefaultClient.Do(q)
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

func TestFirstStart(t *testing.T) {
	o, log := options(t)
	s, err := Open(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	tok, secret, ok := s.FirstToken()
	if !ok || tok.Name != FirstTokenName || tok.Scope != auth.ScopeWrite || tok.Tenant != "default" {
		t.Errorf("first token: %+v, %v", tok, ok)
	}
	if life := tok.Expires.Sub(tok.Created); life < 179*24*time.Hour || life > 181*24*time.Hour {
		t.Errorf("it lives for %v", life)
	}
	if strings.Contains(log.String(), secret.Reveal()) {
		t.Error("the log holds the secret")
	}
	info, err := os.Stat(o.Config.Data)
	if err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("data directory: %v, %v", info.Mode(), err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Errorf("closing again: %v", err)
	}

	s, err = Open(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if tok, secret, ok := s.FirstToken(); ok || secret.Reveal() != "" {
		t.Errorf("the second start makes token %+v", tok)
	}
	if n, err := s.TokensInForce(t.Context()); n != 1 || err != nil {
		t.Errorf("%d tokens in force, %v", n, err)
	}
}

func TestNothingIsMadeIfTheAddressIsTaken(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	o, _ := options(t)
	o.Config.Listen = l.Addr().String()
	_, err = Open(t.Context(), o)
	var taken *AddressError
	if !errors.As(err, &taken) || !strings.Contains(err.Error(), "--listen") || !strings.Contains(err.Error(), o.Config.Listen) {
		t.Errorf("got %v", err)
	}
	if _, err := os.Stat(o.Config.Data); !os.IsNotExist(err) {
		t.Errorf("the data directory: %v", err)
	}
}

// What the configuration has let pass by name is judged by its address once more.
func TestPlainHTTPIsRefusedByAddress(t *testing.T) {
	o, _ := options(t)
	o.Config.Listen = "0.0.0.0:0"
	_, err := Open(t.Context(), o)
	if err == nil || !strings.Contains(err.Error(), "allow_plain_http") {
		t.Errorf("got %v", err)
	}
	if _, err := os.Stat(o.Config.Data); !os.IsNotExist(err) {
		t.Errorf("the data directory: %v", err)
	}
	o.Config.AllowPlainHTTP = true
	s, err := Open(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(s.LocalURL(), "http://127.0.0.1:") || strings.Contains(s.TenantURL(), "0.0.0.0") {
		t.Errorf("URLs: %s, %s", s.TenantURL(), s.LocalURL())
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}

func TestTwoServersOnOneDirectory(t *testing.T) {
	first := start(t, nil)
	o, _ := options(t)
	o.Config.Data = first.o.Config.Data
	for _, address := range []string{"127.0.0.1:0", first.Address()} {
		o.Config.Listen = address
		_, err := Open(t.Context(), o)
		var held *HeldError
		if !errors.As(err, &held) || !strings.Contains(err.Error(), "process") || !strings.Contains(err.Error(), first.Address()) {
			t.Errorf("%s: %v", address, err)
		}
	}
	if resp, _ := first.do(t, "GET", "/healthz", ""); resp.StatusCode != 200 {
		t.Errorf("the first one answers %s", resp.Status)
	}
}

// The control socket of a running server answers for it.
func TestControlSocket(t *testing.T) {
	s := start(t, func(c *config.Config) { c.PublicURL = "https://scim.example.com" })
	c, err := control.Connect(t.Context(), s.o.Config.Data, "1.2.3")
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	status, err := c.Status(t.Context())
	if err != nil || status.Server == nil || status.Server.PID != os.Getpid() || status.Server.Listen != s.Address() {
		t.Fatalf("%+v, %v", status, err)
	}
	if want := "https://scim.example.com/scim/v2"; status.Server.TenantURL != want {
		t.Errorf("tenant URL %s, want %s", status.Server.TenantURL, want)
	}
	made, err := c.CreateToken(t.Context(), control.Create{Name: "x", Scope: auth.ScopeRead})
	if err != nil {
		t.Fatal(err)
	}
	users := scim.BasePath + "/Users"
	if resp, _ := s.do(t, "GET", users, "", "Authorization", "Bearer "+made.Secret); resp.StatusCode != 200 {
		t.Errorf("a new token: %s", resp.Status)
	}
	if resp, _ := s.do(t, "POST", users, "{}", "Authorization", "Bearer "+made.Secret); resp.StatusCode != 403 {
		t.Errorf("it may read only: %s", resp.Status)
	}
	if _, err := c.RevokeToken(t.Context(), made.ID); err != nil {
		t.Fatal(err)
	}
	if resp, _ := s.do(t, "GET", users, "", "Authorization", "Bearer "+made.Secret); resp.StatusCode != 401 {
		t.Errorf("revoked: %s", resp.Status)
	}
}

// A command without a server does the same on the store itself.
func TestOpenHouse(t *testing.T) {
	o, _ := options(t)
	if there, err := HasStore(o.Config.Data); there || err != nil {
		t.Errorf("before: %v, %v", there, err)
	}
	h, err := OpenHouse(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	if there, err := HasStore(o.Config.Data); !there || err != nil {
		t.Errorf("after: %v, %v", there, err)
	}
	_, err = OpenHouse(t.Context(), o)
	var held *HeldError
	if !errors.As(err, &held) {
		t.Errorf("a second one: %v", err)
	}
	if err := h.Close(); err != nil {
		t.Error(err)
	}
}

func TestOthersCannotLookIn(t *testing.T) {
	o, log := options(t)
	if err := os.Mkdir(o.Config.Data, 0o755); err != nil {
		t.Fatal(err)
	}
	h, err := OpenHouse(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	if info, err := os.Stat(o.Config.Data); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	if !strings.Contains(log.String(), "others could look into") {
		t.Errorf("log: %s", log)
	}
}

// underWay sends the head of a request, and returns when its handler waits for the body "{".
func underWay(t *testing.T, s *running) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", s.Address())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	if _, err := io.WriteString(c, "POST "+scim.BasePath+"/Users HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nAuthorization: Bearer "+s.secret+"\r\nContent-Type: application/scim+json\r\nContent-Length: 1\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	const proceed = "HTTP/1.1 100 Continue\r\n\r\n"
	answer := make([]byte, len(proceed))
	if _, err := io.ReadFull(c, answer); err != nil || string(answer) != proceed {
		t.Fatalf("%q, %v", answer, err)
	}
	return c
}

// Requests under way finish; new ones are not taken.
func TestStopping(t *testing.T) {
	s := start(t, nil)
	c := underWay(t, s)
	stopped := make(chan error, 1)
	go func() { stopped <- s.stop() }()
	for { // until nobody listens any more
		c, err := net.Dial("tcp", s.Address())
		if err != nil {
			break
		}
		_ = c.Close()
	}
	select {
	case err := <-stopped:
		t.Fatalf("it has not waited: %v", err)
	default:
	}
	if _, err := io.WriteString(c, "{"); err != nil {
		t.Fatal(err)
	}
	if answer, err := io.ReadAll(c); err != nil || !strings.HasPrefix(string(answer), "HTTP/1.1 ") {
		t.Errorf("the request under way: %q, %v", answer, err)
	}
	if err := <-stopped; err != nil {
		t.Error(err)
	}
}

// A second wish to stop cuts off what is under way.
func TestStoppingInAHurry(t *testing.T) {
	s := start(t, nil)
	underWay(t, s)
	s.hurry()
	if err := s.stop(); err != nil {
		t.Error(err)
	}
	if !strings.Contains(s.log.String(), "cut off") {
		t.Errorf("log: %s", s.log)
	}
}
