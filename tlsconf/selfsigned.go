package tlsconf

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"sync"
	"time"
)

const (
	// RootName is the file below the directory that holds the certificate of our own authority, for clients to trust.
	RootName = "root.pem"
	rootKey  = "root-key.pem"

	rootLife = 10 * 365 * 24 * time.Hour
	leafLife = 90 * 24 * time.Hour
	skew     = time.Hour // that the clocks of clients may be behind
)

// Root returns the certificate of the authority in dir, in PEM. The error is fs.ErrNotExist if there is none.
func Root(dir string) ([]byte, error) {
	text, err := os.ReadFile(filepath.Join(dir, RootName))
	if err != nil {
		return nil, err
	}
	block, _ := pem.Decode(text)
	if block == nil {
		return nil, fmt.Errorf("%s holds no certificate", filepath.Join(dir, RootName))
	}
	return pem.EncodeToMemory(block), nil
}

// selfSigned serves certificates of an authority of its own. The authority is on disk, so that clients can go on trusting it;
// certificates are made when they are needed and in memory alone.
type selfSigned struct {
	o    Options
	root *x509.Certificate
	key  crypto.Signer

	mu   sync.Mutex
	pair *tls.Certificate
	fail string
}

func openSelfSigned(o Options) (*selfSigned, error) {
	if err := os.MkdirAll(o.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("the directory for certificates: %w", err)
	}
	s := &selfSigned{o: o}
	switch _, err := os.Lstat(filepath.Join(o.Dir, RootName)); {
	case errors.Is(err, fs.ErrNotExist):
		if err := makeRoot(o.Dir, o.Clock()); err != nil {
			return nil, fmt.Errorf("making the authority for certificates: %w", err)
		}
		o.Logger.Info("an authority for certificates was made; clients have to trust it", "file", filepath.Join(o.Dir, RootName))
	case err != nil:
		return nil, fmt.Errorf("the authority for certificates: %w", err)
	}
	root, err := Files{filepath.Join(o.Dir, RootName), filepath.Join(o.Dir, rootKey)}.Load()
	if err != nil {
		return nil, fmt.Errorf("the authority for certificates: %w; move both files away to have a new one made, which clients have to trust anew", err)
	}
	key, ok := root.PrivateKey.(crypto.Signer)
	if !ok || !root.Leaf.IsCA {
		return nil, fmt.Errorf("%s is no authority for certificates", filepath.Join(o.Dir, RootName))
	}
	s.root, s.key = root.Leaf, key
	if _, err := s.current(); err != nil {
		return nil, fmt.Errorf("making a certificate for %s: %w", o.Hostname, err)
	}
	return s, nil
}

// makeRoot makes the authority. The certificate is written last, because it is what says that there is one.
func makeRoot(dir string, now time.Time) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	template := &x509.Certificate{
		SerialNumber:          serial(),
		Subject:               pkix.Name{Organization: []string{"scimbox"}, CommonName: "scimbox root " + now.UTC().Format("2006-01-02")},
		NotBefore:             now.Add(-skew),
		NotAfter:              now.Add(rootLife),
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
		BasicConstraintsValid: true,
		IsCA:                  true,
		MaxPathLenZero:        true, // it signs no other authorities
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return err
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	if err := writeFile(filepath.Join(dir, rootKey), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private})); err != nil {
		return err
	}
	return writeFile(filepath.Join(dir, RootName), pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
}

// writeFile writes a file as a whole or not at all.
func writeFile(name string, data []byte) error {
	f, err := os.CreateTemp(filepath.Dir(name), ".new-*") // 0600
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	err = errors.Join(err, f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), name)
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	return nil
}

// current returns a certificate with at least a third of its life left, making it if there is none.
func (s *selfSigned) current() (*tls.Certificate, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.o.Clock()
	if s.pair != nil && now.Before(renewal(s.pair.Leaf)) {
		return s.pair, nil
	}
	pair, err := s.sign(now)
	if err != nil {
		if text := err.Error(); text != s.fail {
			s.fail = text
			s.o.Logger.Error("the certificate could not be renewed", "error", err)
		}
		if s.pair != nil {
			return s.pair, nil
		}
		return nil, err
	}
	s.pair, s.fail = pair, ""
	return pair, nil
}

// renewal is when a third of the life of a certificate is left.
func renewal(leaf *x509.Certificate) time.Time {
	return leaf.NotAfter.Add(-leaf.NotAfter.Sub(leaf.NotBefore) / 3)
}

func (s *selfSigned) sign(now time.Time) (*tls.Certificate, error) {
	end := now.Add(leafLife)
	if s.root.NotAfter.Before(end) {
		end = s.root.NotAfter
	}
	if !now.Before(end) {
		return nil, fmt.Errorf("the authority itself has expired; move %s and %s away and restart, and have clients trust the new one", RootName, rootKey)
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	// The names of this machine, too, so that it can be tried from where it runs.
	template := &x509.Certificate{
		SerialNumber: serial(),
		Subject:      pkix.Name{CommonName: s.o.Hostname},
		NotBefore:    now.Add(-skew),
		NotAfter:     end,
		KeyUsage:     x509.KeyUsageDigitalSignature,
		ExtKeyUsage:  []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		DNSNames:     []string{"localhost"},
		IPAddresses:  []net.IP{net.IPv4(127, 0, 0, 1), net.IPv6loopback},
	}
	if ip := net.ParseIP(s.o.Hostname); ip != nil {
		template.IPAddresses = append([]net.IP{ip}, template.IPAddresses...)
	} else {
		template.DNSNames = append([]string{s.o.Hostname}, template.DNSNames...)
	}
	der, err := x509.CreateCertificate(rand.Reader, template, s.root, key.Public(), s.key)
	if err != nil {
		return nil, err
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, err
	}
	return &tls.Certificate{Certificate: [][]byte{der, s.root.Raw}, PrivateKey: key, Leaf: leaf}, nil
}

// serial returns 128 random bits.
func serial() *big.Int { return new(big.Int).SetBytes(random(16)) }

func random(n int) []byte {
	b := make([]byte, n)
	_, _ = rand.Read(b) // never fails
	return b
}

func (s *selfSigned) get(*tls.ClientHelloInfo) (*tls.Certificate, error) { return s.current() }

func (s *selfSigned) start(context.Context) {}

func (s *selfSigned) reload(context.Context) {}

func (s *selfSigned) certificate() (*x509.Certificate, string) {
	pair, err := s.current()
	if err != nil {
		return nil, err.Error()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	problem := s.fail
	if left := s.root.NotAfter.Sub(s.o.Clock()); problem == "" && left < 365*24*time.Hour {
		problem = fmt.Sprintf("the authority itself ends on %s; move %s and %s away and restart, and have clients trust the new one",
			s.root.NotAfter.Format(time.DateOnly), RootName, rootKey)
	}
	return pair.Leaf, problem
}

func (s *selfSigned) close() {}
