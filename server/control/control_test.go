package control

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"scimbox/auth"
	"scimbox/storage"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func newBackend(t *testing.T) *Backend {
	t.Helper()
	store, err := storage.Open(t.Context(), storage.Memory(), storage.Options{})
	if err != nil {
		t.Fatal(err)
	}
	tokens := auth.New(store, auth.Options{Cost: 4, ValidPreset: func(name string) error {
		if name == "entra" {
			return nil
		}
		return errors.New("there is no such preset")
	}})
	t.Cleanup(func() {
		if err := errors.Join(tokens.Close(), store.Close()); err != nil {
			t.Error(err)
		}
	})
	return &Backend{
		Store: store, Tokens: tokens, Version: "1.2.3", Data: "data", TTL: 48 * time.Hour, Warn: 72 * time.Hour,
		Clock: time.Now, Logger: slog.New(slog.DiscardHandler),
	}
}

func newLocal(t *testing.T, b *Backend) *Client {
	t.Helper()
	c := Local(b)
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	return c
}

func TestLifeOfAToken(t *testing.T) {
	var log bytes.Buffer
	b := newBackend(t)
	b.Logger = slog.New(slog.NewTextHandler(&log, nil))
	c, ctx := newLocal(t, b), t.Context()

	if list, err := c.Tokens(ctx); err != nil || list == nil || len(list) != 0 {
		t.Fatalf("at first: %v, %v", list, err)
	}
	made, err := c.CreateToken(ctx, Create{Name: "entra", Tenant: "acme", Scope: auth.ScopeWrite, Preset: "entra"})
	if err != nil {
		t.Fatal(err)
	}
	if made.Tenant != "acme" || made.Preset != "entra" || made.Expires.Sub(made.Created) > 48*time.Hour+time.Second || made.Expires.Sub(made.Created) < 47*time.Hour {
		t.Errorf("made %+v", made.Token)
	}
	tok, err := b.Tokens.Verify(ctx, made.Secret, netip.MustParseAddr("127.0.0.1"))
	if err != nil || tok.ID != made.ID {
		t.Errorf("the secret opens %v, %v", tok, err)
	}

	list, err := c.Tokens(ctx)
	if err != nil || len(list) != 1 || list[0].ID != made.ID {
		t.Fatalf("list: %v, %v", list, err)
	}
	status, err := c.Status(ctx)
	if err != nil || status.Tokens != 1 || len(status.Expiring) != 1 || status.Server != nil || status.Version != "1.2.3" {
		t.Errorf("status: %+v, %v", status, err)
	}

	revoked, err := c.RevokeToken(ctx, "entra")
	if err != nil || revoked.ID != made.ID || revoked.Revoked.IsZero() {
		t.Fatalf("revoke: %+v, %v", revoked, err)
	}
	again, err := c.RevokeToken(ctx, made.ID)
	if err != nil || !again.Revoked.Equal(revoked.Revoked) {
		t.Errorf("revoke again: %+v, %v", again, err)
	}
	if _, err := b.Tokens.Verify(ctx, made.Secret, netip.MustParseAddr("127.0.0.1")); !errors.Is(err, auth.ErrRevoked) {
		t.Errorf("after revoking: %v", err)
	}
	if strings.Contains(log.String(), made.Secret) || !strings.Contains(log.String(), made.ID) {
		t.Errorf("the log holds the secret, or not the id:\n%s", &log)
	}
}

func TestErrors(t *testing.T) {
	c, ctx := newLocal(t, newBackend(t)), t.Context()
	for range 2 {
		if _, err := c.CreateToken(ctx, Create{Name: "twin", Scope: auth.ScopeRead}); err != nil {
			t.Fatal(err)
		}
	}
	create := func(what Create) func() error {
		return func() error { _, err := c.CreateToken(ctx, what); return err }
	}
	revoke := func(which string) func() error {
		return func() error { _, err := c.RevokeToken(ctx, which); return err }
	}
	for name, test := range map[string]struct {
		do   func() error
		code Code
		says string
	}{
		"no name":        {create(Create{Scope: auth.ScopeRead}), Invalid, "token name"},
		"no scope":       {create(Create{Name: "x"}), Invalid, "read, write or admin"},
		"unknown preset": {create(Create{Name: "x", Scope: auth.ScopeRead, Preset: "x"}), Invalid, "no such preset"},
		"short life":     {create(Create{Name: "x", Scope: auth.ScopeRead, TTL: time.Second}), Invalid, "1 minute"},
		"other tenant":   {create(Create{Name: "x", Scope: auth.ScopeRead, Tenant: "$system"}), Invalid, "tenant"},
		"no such token":  {revoke("nobody"), NotFound, "nobody"},
		"odd name":       {revoke("a/b?c#d"), NotFound, "a/b?c#d"},
		"two tokens":     {revoke("twin"), Invalid, "2 tokens"},
		"which":          {revoke(""), Invalid, "which token"},
		"no such path":   {func() error { _, err := ask[Status](ctx, c, "GET", "/v9/backup", nil); return err }, NotFound, "version 1.2.3"},
		"a later client": {func() error {
			_, err := ask[Created](ctx, c, "POST", "/v1/tokens", map[string]any{"color": 1})
			return err
		}, Invalid, "color"},
	} {
		t.Run(name, func(t *testing.T) {
			var e *Error
			if err := test.do(); !errors.As(err, &e) || e.Code != test.code || !strings.Contains(e.Message, test.says) {
				t.Errorf("got %v (%+v), want %s with %q", err, e, test.code, test.says)
			}
		})
	}
}

func TestCheck(t *testing.T) {
	c := newLocal(t, newBackend(t))
	report, err := c.Check(t.Context(), true, func(done, total int64) {})
	if err != nil || report.Left() != 0 || report.Findings == nil || !report.Repaired {
		t.Errorf("%+v, %v", report, err)
	}
}

// A page that a browser shows must not reach the control API, not even from an address that resolves to here.
func TestNoBrowsers(t *testing.T) {
	h := NewHandler(newBackend(t))
	for name, change := range map[string]func(*http.Request){
		"host":     func(r *http.Request) { r.Host = "evil.example" },
		"origin":   func(r *http.Request) { r.Header.Set("Origin", "null") },
		"referer":  func(r *http.Request) { r.Header.Set("Referer", "http://evil.example") },
		"metadata": func(r *http.Request) { r.Header.Set("Sec-Fetch-Site", "none") },
	} {
		r := httptest.NewRequest("GET", "http://"+host+"/v1/status", nil)
		change(r)
		w := httptest.NewRecorder()
		if h.ServeHTTP(w, r); w.Code != http.StatusForbidden {
			t.Errorf("%s: %d", name, w.Code)
		}
	}
}

func TestOtherVersion(t *testing.T) {
	b := newBackend(t)
	c := newLocal(t, b)
	var other string
	c.Other = func(v string) { other = v }
	if _, err := c.Status(t.Context()); err != nil || other != "" {
		t.Errorf("same version: %q, %v", other, err)
	}
	c.version = "1.2.2"
	if _, err := c.Status(t.Context()); err != nil || other != "1.2.3" {
		t.Errorf("other version: %q, %v", other, err)
	}
}

// serve runs the control API on the socket of dir until the test ends.
func serve(t *testing.T, dir string) net.Listener {
	t.Helper()
	l, err := Listen(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	b := newBackend(t)
	b.Server = func() Server { return Server{PID: 7, UnknownAttributes: map[string]int64{"x": 1}} }
	s := NewServer(b)
	done := make(chan error)
	go func() { done <- s.Serve(l) }()
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		<-done
	})
	return l
}

func TestSocket(t *testing.T) {
	long := filepath.Join(t.TempDir(), strings.Repeat("d", 100), strings.Repeat("e", 100))
	if err := os.MkdirAll(long, 0o700); err != nil {
		t.Fatal(err)
	}
	temp := t.TempDir()
	t.Setenv("TMPDIR", temp)
	for name, dir := range map[string]string{"short": t.TempDir(), "long": long} {
		t.Run(name, func(t *testing.T) {
			if _, err := Connect(t.Context(), dir, "1"); !errors.Is(err, ErrNoServer) {
				t.Fatalf("before: %v", err)
			}
			l := serve(t, dir)
			info, err := os.Lstat(filepath.Join(dir, SocketName))
			if err != nil || info.Mode() != fs.ModeSocket|0o600 {
				t.Errorf("socket: %v, %v", info.Mode(), err)
			}
			c, err := Connect(t.Context(), dir, "1.2.3")
			if err != nil {
				t.Fatal(err)
			}
			if s, err := c.Status(t.Context()); err != nil || s.Server == nil || s.Server.PID != 7 || s.Server.UnknownAttributes["x"] != 1 {
				t.Errorf("%+v, %v", s, err)
			}
			if _, err := Listen(t.Context(), dir); err == nil || !strings.Contains(err.Error(), "a server is running") {
				t.Errorf("a second one: %v", err)
			}
			if err := l.Close(); err != nil {
				t.Error(err)
			}
			if _, err := os.Lstat(filepath.Join(dir, SocketName)); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("after: %v", err)
			}
			if _, err := Connect(t.Context(), dir, "1"); !errors.Is(err, ErrNoServer) {
				t.Errorf("after: %v", err)
			}
			if left, err := os.ReadDir(temp); err != nil || len(left) != 0 {
				t.Errorf("left in the temporary directory: %v, %v", left, err)
			}
		})
	}
}

func TestSocketLeftBehind(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, SocketName)
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	l.SetUnlinkOnClose(false) // as after kill -9
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := Connect(t.Context(), dir, "1"); !errors.Is(err, ErrNoServer) {
		t.Errorf("nobody is behind it: %v", err)
	}
	serve(t, dir)
	if c, err := Connect(t.Context(), dir, "1"); err != nil {
		t.Error(err)
	} else if err := c.Close(); err != nil {
		t.Error(err)
	}
}

func TestSomethingElseInTheWay(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, SocketName)
	if err := os.WriteFile(path, []byte("letters"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Listen(t.Context(), dir); err == nil || !strings.Contains(err.Error(), "in the way") {
		t.Errorf("got %v", err)
	}
	if data, err := os.ReadFile(path); err != nil || string(data) != "letters" {
		t.Errorf("the file was touched: %q, %v", data, err)
	}
}

// A server that says something else than this API is reported as such.
func TestStrangeAnswers(t *testing.T) {
	for name, test := range map[string]struct {
		answer http.HandlerFunc
		says   string
	}{
		"text":     {func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "gone fishing", 500) }, "gone fishing"},
		"nonsense": {func(w http.ResponseWriter, _ *http.Request) { _ = json.NewEncoder(w).Encode(1) }, "cannot be read"},
		"nothing":  {func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, "does not answer"},
	} {
		t.Run(name, func(t *testing.T) {
			p := newPipe()
			s := &http.Server{Handler: test.answer}
			done := make(chan error)
			go func() { done <- s.Serve(p) }()
			c := newClient(p.dial, "1")
			if _, err := c.Status(t.Context()); err == nil || !strings.Contains(err.Error(), test.says) {
				t.Errorf("got %v, want %q", err, test.says)
			}
			if err := s.Close(); err != nil {
				t.Error(err)
			}
			<-done
			ctx, cancel := context.WithCancel(t.Context())
			cancel()
			if _, err := c.Status(ctx); err == nil {
				t.Error("a closed server answers")
			}
		})
	}
}
