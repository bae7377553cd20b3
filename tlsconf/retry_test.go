package tlsconf

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"log/slog"
	"math/big"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddyserver/certmagic"
)

// moody is an authority that is asked by a call, so that time can be turned forward: it notes when, and answers from a moment on.
// What lies on the network between certmagic and a real one is in acme_test.go.
type moody struct {
	begin   time.Time
	answers time.Duration // since begin

	mu    sync.Mutex
	asked []time.Duration // since begin
}

func (m *moody) IssuerKey() string { return "moody" }

func (m *moody) Issue(_ context.Context, csr *x509.CertificateRequest) (*certmagic.IssuedCertificate, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	now := time.Since(m.begin)
	m.asked = append(m.asked, now)
	if now < m.answers {
		return nil, errors.New("not today")
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	form := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), DNSNames: csr.DNSNames,
		NotBefore: time.Now(), NotAfter: time.Now().Add(90 * day), ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, form, form, csr.PublicKey, key)
	return &certmagic.IssuedCertificate{Certificate: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})}, err
}

// unlocked is a storage without locks. Those of files are written every five seconds, which in months is what a test is busy with.
type unlocked struct{ *certmagic.FileStorage }

func (unlocked) Lock(context.Context, string) error   { return nil }
func (unlocked) Unlock(context.Context, string) error { return nil }

// An authority that does not answer is asked again by the clock, soon at first, and without an end; nobody need do anything. So is
// one that does not renew, while the certificate that there is goes on being served.
func TestTriesAgain(t *testing.T) {
	minutes := func(all ...int) (l []time.Duration) {
		for _, m := range all {
			l = append(l, time.Duration(m)*time.Minute)
		}
		return l
	}
	for _, tt := range []struct {
		name    string
		answers time.Duration
		asked   []time.Duration // at first
		had     time.Duration   // that there is a certificate at the latest
	}{
		{"minutes.scim.test", 6 * time.Minute, minutes(0, 1, 3, 5, 10), 10 * time.Minute},
		{"hours.scim.test", 3 * time.Hour, minutes(0, 1, 3, 5, 10, 20, 30, 40, 60, 80, 100, 120, 150, 180), 3 * time.Hour},
		{"months.scim.test", 100 * day, minutes(0, 1, 3, 5, 10), 101 * day},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				log, m := newLog(), &moody{begin: time.Now(), answers: tt.answers}
				s, err := Open(Options{Mode: ModeACME, Hostname: tt.name, Dir: filepath.Join(t.TempDir(), "tls"), Logger: slog.New(log)})
				if err != nil {
					t.Fatal(err)
				}
				a := s.source.(*acmeSource)
				a.config.Issuers, a.config.Storage = []certmagic.Issuer{m}, unlocked{a.storage}
				s.Start(t.Context(), nil, nil)
				defer s.Close()
				served := func() bool {
					synctest.Wait()
					state, err := shake(t, s.Config(), &tls.Config{InsecureSkipVerify: true, ServerName: tt.name})
					return err == nil && state.PeerCertificates[0].NotAfter.After(time.Now())
				}
				time.Sleep(tt.answers - time.Second)
				if served() {
					t.Error("there is a certificate, of whom?")
				}
				if p := s.Certificates()[0].Problem; !strings.Contains(p, "not today") {
					t.Errorf("the status says %q", p)
				}
				time.Sleep(tt.had - tt.answers + 2*time.Second)
				if !served() {
					t.Fatalf("no certificate after %s; it was asked for at %v", tt.had, m.asked)
				}
				if p := s.Certificates()[0].Problem; p != "" {
					t.Errorf("the status still says %q", p)
				}
				if got := m.asked[:min(len(m.asked), len(tt.asked))]; !slices.Equal(got, tt.asked) {
					t.Errorf("asked at %v, want %v", got, tt.asked)
				}

				// From two thirds of its life on a new one is asked for, every ten minutes at the soonest, and at last there is one.
				m.mu.Lock()
				n := len(m.asked)
				m.answers = time.Since(m.begin) + 80*day
				m.mu.Unlock()
				time.Sleep(79 * day)
				synctest.Wait()
				tries := len(m.asked) - n
				if p := s.Certificates()[0].Problem; !served() || !strings.Contains(p, "not today") || tries < 50 || tries > 200 {
					t.Errorf("after 19 days without a renewal: %d tries, the status says %q", tries, p)
				}
				time.Sleep(2 * day)
				if p := s.Certificates()[0].Problem; !served() || p != "" || s.Certificates()[0].Left(time.Now()) < 88*day {
					t.Errorf("the certificate was not renewed: %+v", s.Certificates())
				}
			})
		})
	}
}
