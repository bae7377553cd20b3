package tlsconf

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"
)

const day = 24 * time.Hour

// clock is a time that tests set.
type clock struct{ now time.Time }

func (c *clock) read() time.Time { return c.now }

func selfSignedAt(t *testing.T, dir, name string, c *clock) *TLS {
	t.Helper()
	s, err := Open(Options{Mode: ModeSelfSigned, Hostname: name, Dir: dir, Clock: c.read})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// shake does a handshake in memory, and returns what the client has seen.
func shake(t *testing.T, server, client *tls.Config) (tls.ConnectionState, error) {
	t.Helper()
	a, b := net.Pipe()
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		s := tls.Server(a, server)
		_ = s.HandshakeContext(t.Context())
		_, _ = s.Read(make([]byte, 1)) // until the client goes
		_ = a.Close()
	}()
	c := tls.Client(b, client)
	err := c.HandshakeContext(t.Context())
	state := c.ConnectionState()
	_ = b.Close()
	<-ended
	return state, err
}

// The authority of our own stays, across restarts and names; what it signs is renewed by itself, and trusted by its root alone.
func TestSelfSigned(t *testing.T) {
	dir, c := filepath.Join(t.TempDir(), "tls"), &clock{time.Date(2026, 11, 25, 12, 0, 0, 0, time.UTC)}
	if _, err := Root(dir); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a root that is not there: %v", err)
	}
	s := selfSignedAt(t, dir, "scim.corp.example", c)
	text, err := Root(dir)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(text) || bytes.Contains(text, []byte("PRIVATE")) {
		t.Fatalf("the root is %s", text)
	}
	private(t, dir)
	peer := func(s *TLS, name string) *x509.Certificate {
		t.Helper()
		state, err := shake(t, s.Config(), &tls.Config{RootCAs: roots, ServerName: name, Time: c.read})
		if err != nil {
			t.Fatalf("as %s: %v", name, err)
		}
		return state.PeerCertificates[0]
	}
	first := peer(s, "scim.corp.example")
	peer(s, "localhost")
	peer(s, "127.0.0.1")
	if _, err := shake(t, s.Config(), &tls.Config{ServerName: "scim.corp.example", Time: c.read}); err == nil {
		t.Error("trusted without its root")
	}

	c.now = c.now.Add(59 * day)
	if again := peer(s, "scim.corp.example"); again.SerialNumber.Cmp(first.SerialNumber) != 0 {
		t.Error("renewed too early")
	}
	c.now = c.now.Add(2 * day)
	if again := peer(s, "scim.corp.example"); again.SerialNumber.Cmp(first.SerialNumber) == 0 || !again.NotAfter.Equal(c.now.Add(90*day)) {
		t.Errorf("not renewed after two thirds of its life: to %s", again.NotAfter)
	}
	if got := s.Certificates()[0]; got.Problem != "" || got.Mode != ModeSelfSigned || !strings.Contains(got.Issuer, "scimbox") || got.Left(c.now) != 90*day {
		t.Errorf("it is told to be %+v", got)
	}

	other := selfSignedAt(t, dir, "10.1.2.3", c)
	peer(other, "10.1.2.3")
	if same, err := Root(dir); err != nil || !bytes.Equal(same, text) {
		t.Errorf("the root has changed: %v", err)
	}

	c.now = c.now.Add(9*365*day + 30*day)
	if got := other.Certificates()[0]; !strings.Contains(got.Problem, "the authority itself ends on") {
		t.Errorf("in the last year of the authority: %+v", got)
	}
	c.now = c.now.Add(2 * 365 * day)
	if got := other.Certificates()[0]; !strings.Contains(got.Problem, "expired") {
		t.Errorf("after its end: %+v", got)
	}
	if _, err := Open(Options{Mode: ModeSelfSigned, Hostname: "x", Dir: dir, Clock: c.read}); err == nil || !strings.Contains(err.Error(), "root.pem") {
		t.Errorf("a start after its end: %v", err)
	}
	if err := os.WriteFile(filepath.Join(dir, rootKey), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(Options{Mode: ModeSelfSigned, Hostname: "x", Dir: dir}); err == nil || !strings.Contains(err.Error(), "move both files away") {
		t.Errorf("a damaged authority: %v", err)
	}
}

// pairOf makes files of a certificate.
func pairOf(t *testing.T, dir, name string, c *clock) (certificate, key []byte) {
	t.Helper()
	s := selfSignedAt(t, filepath.Join(dir, "ca"), name, c)
	pair, err := s.source.get(nil)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(pair.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	for _, der := range pair.Certificate {
		certificate = append(certificate, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})...)
	}
	return certificate, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: secret})
}

// Files are read again when their content changes; connections go on, and a pair that cannot be used changes nothing.
func TestFiles(t *testing.T) {
	dir, c := t.TempDir(), &clock{time.Now()}
	files := Files{filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")}
	put := func(certificate, key []byte) {
		t.Helper()
		if err := errors.Join(os.WriteFile(files.Certificate, certificate, 0o600), os.WriteFile(files.Key, key, 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	o := Options{Mode: ModeFiles, Hostname: "scim.corp.example", Files: files, Clock: c.read}
	if _, err := Open(o); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("files that are not there: %v", err)
	}
	certificate, key := pairOf(t, dir, "scim.corp.example", c)
	put(certificate, key)
	root, err := Root(filepath.Join(dir, "ca"))
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(root)
	next, nextKey := pairOf(t, dir, "scim.corp.example", c)

	synctest.Test(t, func(t *testing.T) {
		log := newLog()
		o.Logger = slog.New(log)
		s, err := Open(o)
		if err != nil {
			t.Fatal(err)
		}
		s.Start(t.Context(), nil, nil)
		defer s.Close()
		peer := func() *x509.Certificate {
			t.Helper()
			pair, err := s.Config().GetCertificate(nil)
			if err != nil {
				t.Fatal(err)
			}
			if len(pair.Certificate) == 0 || !bytes.Equal(pair.Certificate[0], pair.Leaf.Raw) || pair.PrivateKey == nil {
				t.Fatal("what is served is no whole pair")
			}
			return pair.Leaf
		}
		first := peer()

		put(next, key) // the first of the two files that somebody writes
		time.Sleep(time.Minute)
		synctest.Wait()
		if peer() != first {
			t.Error("a certificate is served without its key")
		}
		if got := s.Certificates()[0]; !strings.Contains(got.Problem, "a newer one cannot be used") || !got.NotAfter.Equal(first.NotAfter) {
			t.Errorf("the status says %+v", got)
		}
		if n := strings.Count(log.String(), "cannot be used"); n != 1 {
			t.Errorf("the log was told %d times in a minute", n)
		}

		put(next, nextKey)
		time.Sleep(10 * time.Second)
		synctest.Wait()
		if peer().SerialNumber.Cmp(first.SerialNumber) == 0 {
			t.Error("the new certificate is not served")
		}
		if got := s.Certificates()[0]; got.Problem != "" {
			t.Errorf("the status says %+v", got)
		}

		if err := os.Remove(files.Key); err != nil {
			t.Fatal(err)
		}
		s.Reload(t.Context())
		if got := s.Certificates()[0]; !strings.Contains(got.Problem, "key.pem") {
			t.Errorf("without a key the status says %+v", got)
		}
	})

	// A connection outlives the certificate that it began with.
	put(certificate, key)
	o.Logger = nil
	s, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	s.Start(t.Context(), nil, nil)
	defer s.Close()
	a, b := net.Pipe()
	server, client := tls.Server(a, s.Config()), tls.Client(b, &tls.Config{RootCAs: roots, ServerName: "scim.corp.example"})
	echoed := make(chan error, 1)
	go func() {
		defer a.Close()
		buffer := make([]byte, 5)
		for {
			if _, err := server.Read(buffer); err != nil {
				echoed <- err
				return
			}
			if _, err := server.Write(buffer); err != nil {
				echoed <- err
				return
			}
		}
	}()
	buffer := make([]byte, 5)
	for range 2 {
		if _, err := client.Write([]byte("hello")); err != nil {
			t.Fatal(err)
		}
		if _, err := client.Read(buffer); err != nil || string(buffer) != "hello" {
			t.Fatalf("%q, %v", buffer, err)
		}
		put(next, nextKey)
		s.Reload(t.Context())
	}
	_ = b.Close()
	<-echoed
}

// What is told of a certificate that nobody renews.
func TestCertificateProblems(t *testing.T) {
	dir, c := t.TempDir(), &clock{time.Now()}
	files := Files{filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")}
	certificate, key := pairOf(t, dir, "scim.corp.example", c)
	if err := errors.Join(os.WriteFile(files.Certificate, certificate, 0o600), os.WriteFile(files.Key, key, 0o600)); err != nil {
		t.Fatal(err)
	}
	start := c.now
	for _, tt := range []struct {
		name  string
		after time.Duration
		want  string
	}{
		{"scim.corp.example", 0, ""},
		{"scim.corp.example", 74 * day, ""},
		{"scim.corp.example", 76 * day, "should have been renewed"},
		{"scim.corp.example", 91 * day, "has expired"},
		{"scim.corp.example", -2 * day, "not valid yet"},
		{"other.corp.example", 0, "not for other.corp.example"},
	} {
		c.now = start.Add(tt.after)
		s, err := Open(Options{Mode: ModeFiles, Hostname: tt.name, Files: files, Clock: c.read})
		if err != nil {
			t.Fatal(err)
		}
		if got := s.Certificates()[0].Problem; got == "" != (tt.want == "") || !strings.Contains(got, tt.want) {
			t.Errorf("%s after %s: %q, want %q", tt.name, tt.after, got, tt.want)
		}
	}
}

// The log is reminded twice a day of a certificate that nobody renews.
func TestReminder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir, c := t.TempDir(), &clock{time.Now()}
		files := Files{filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")}
		certificate, key := pairOf(t, dir, "scim.corp.example", c)
		if err := errors.Join(os.WriteFile(files.Certificate, certificate, 0o600), os.WriteFile(files.Key, key, 0o600)); err != nil {
			t.Fatal(err)
		}
		log := newLog()
		s, err := Open(Options{Mode: ModeFiles, Hostname: "scim.corp.example", Files: files, Logger: slog.New(log), Every: time.Hour})
		if err != nil {
			t.Fatal(err)
		}
		s.Start(t.Context(), nil, nil)
		defer s.Close()
		count := func() int { synctest.Wait(); return strings.Count(log.String(), "a certificate needs attention") }
		if n := count(); n != 0 {
			t.Errorf("%d complaints of a new one", n)
		}
		time.Sleep(76 * day)
		if n := count(); n < 1 || n > 3 || !strings.Contains(log.String(), "days_left=14") {
			t.Errorf("%d complaints in the first day:\n%s", n, log)
		}
		time.Sleep(10 * day)
		if n := count(); n < 20 || n > 24 {
			t.Errorf("%d complaints in eleven days", n)
		}
	})
}

// Versions and suites. The clients here offer one each.
func TestProtocol(t *testing.T) {
	c := &clock{time.Now()}
	server := selfSignedAt(t, t.TempDir(), "scim.corp.example", c).Config()
	client := func(low, high uint16, suites ...uint16) error {
		_, err := shake(t, server, &tls.Config{InsecureSkipVerify: true, MinVersion: low, MaxVersion: high, CipherSuites: suites})
		return err
	}
	// The suites alone keep TLS 1.1 away; the version is to do so whatever they are.
	if client(tls.VersionTLS10, tls.VersionTLS11) == nil || server.MinVersion != tls.VersionTLS12 || server.MaxVersion != tls.VersionTLS13 {
		t.Error("TLS 1.1 is spoken")
	}
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		if err := client(version, version); err != nil {
			t.Errorf("%s: %v", tls.VersionName(version), err)
		}
	}
	// Microsoft Entra: ECDHE with AES-GCM of 128 and 256 bits.
	for _, suite := range []uint16{tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384} {
		if err := client(tls.VersionTLS12, tls.VersionTLS12, suite); err != nil {
			t.Errorf("%s: %v", tls.CipherSuiteName(suite), err)
		}
	}
	for _, suite := range tls.CipherSuites() {
		if slices.Contains(suite.SupportedVersions, tls.VersionTLS13) || strings.Contains(suite.Name, "_RSA_") {
			continue // not chosen by us; not for our key
		}
		if err := client(tls.VersionTLS12, tls.VersionTLS12, suite.ID); (err == nil) != slices.Contains(suites, suite.ID) {
			t.Errorf("%s: %v", suite.Name, err)
		}
	}
	for _, suite := range append(suites, server.CipherSuites...) {
		name := tls.CipherSuiteName(suite)
		if !strings.HasPrefix(name, "TLS_ECDHE_") || !strings.Contains(name, "_GCM_") && !strings.Contains(name, "POLY1305") {
			t.Errorf("%s is spoken", name)
		}
	}
	state, err := shake(t, server, &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"h2", "http/1.1"}})
	if err != nil || state.NegotiatedProtocol != "h2" {
		t.Errorf("spoken is %q: %v", state.NegotiatedProtocol, err)
	}
}

func TestNoMode(t *testing.T) {
	if _, err := Open(Options{Mode: "automatic"}); err == nil || !strings.Contains(err.Error(), "automatic") {
		t.Errorf("a mode that is none: %v", err)
	}
}

// certmagic's log arrives as ours: names, levels, fields, and fields of a logger.
func TestLog(t *testing.T) {
	var out bytes.Buffer
	h := slog.NewTextHandler(&out, &slog.HandlerOptions{Level: slog.LevelDebug, ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
		if a.Key == slog.TimeKey {
			return slog.Attr{}
		}
		return a
	}})
	l := bridge(slog.New(h)).Named("obtain").With(zap.String("identifier", "scim.test"))
	l.Info("lock acquired", zap.Duration("after", time.Second))
	l.Warn("slow", zap.Strings("names", []string{"a", "b"}))
	l.Error("no", zap.Error(errors.New("refused")))
	want := `level=DEBUG msg="lock acquired" identifier=scim.test logger=certmagic.obtain after=1s
level=WARN msg=slow identifier=scim.test logger=certmagic.obtain names="[a b]"
level=ERROR msg=no identifier=scim.test logger=certmagic.obtain error=refused
`
	if out.String() != want {
		t.Errorf("got:\n%swant:\n%s", &out, want)
	}
	quiet := bridge(slog.New(slog.NewTextHandler(&out, nil)))
	out.Reset()
	quiet.Info("not wanted")
	if out.Len() > 0 || quiet.Core().Enabled(zap.DebugLevel) {
		t.Errorf("below the level: %s", &out)
	}
}
