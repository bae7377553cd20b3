package tlsconf

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"os"
	"sync"
	"time"
)

// Files are a certificate with its chain, and its key, both in PEM.
type Files struct{ Certificate, Key string }

// Load reads the pair. The error says what an operator has to do about it.
func (f Files) Load() (*tls.Certificate, error) {
	pair, _, err := f.load()
	return pair, err
}

func (f Files) load() (pair *tls.Certificate, content []byte, err error) {
	certificate, err := os.ReadFile(f.Certificate)
	if err != nil {
		return nil, nil, fmt.Errorf("reading the certificate: %w", err)
	}
	key, err := os.ReadFile(f.Key)
	if err != nil {
		return nil, nil, fmt.Errorf("reading the key of the certificate: %w", err)
	}
	content = bytes.Join([][]byte{certificate, key}, []byte{0})
	made, err := tls.X509KeyPair(certificate, key)
	if err != nil {
		return nil, content, fmt.Errorf("%s and %s are no certificate with its key in PEM: %w", f.Certificate, f.Key, err)
	}
	return &made, content, nil
}

// fileSource serves what is in files. They are compared by what is in them: whoever renews them may replace them, write into
// them, or turn a symbolic link, and times of modification are told apart by no more than a second on some systems.
type fileSource struct {
	o Options

	mu      sync.RWMutex
	pair    *tls.Certificate
	content []byte // of both files when they were last looked at
	problem string

	stop func()
	done chan struct{}
}

func openFiles(o Options) (*fileSource, error) {
	pair, content, err := o.Files.load()
	if err != nil {
		return nil, err
	}
	return &fileSource{o: o, pair: pair, content: content}, nil
}

func (s *fileSource) get(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.pair, nil
}

func (s *fileSource) start(ctx context.Context) {
	every := s.o.Every
	if every == 0 {
		every = 10 * time.Second
	}
	ctx, s.stop = context.WithCancel(ctx)
	s.done = make(chan struct{})
	go func() {
		defer close(s.done)
		ticker := time.NewTicker(every)
		defer ticker.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-ticker.C:
				s.reload(ctx)
			}
		}
	}()
}

// reload takes over a new pair. Connections keep what they were made with. A pair that cannot be used is complained about once,
// not at every look, and the old one stays: between the writing of two files they do not fit each other for a moment.
func (s *fileSource) reload(context.Context) {
	pair, content, err := s.o.Files.load()
	s.mu.Lock()
	defer s.mu.Unlock()
	if err != nil {
		if text := err.Error(); text != s.problem {
			s.problem = text
			s.o.Logger.Warn("the new certificate cannot be used; the old one stays", "error", err, "not_after", s.pair.Leaf.NotAfter)
		}
		return
	}
	s.problem = ""
	if bytes.Equal(content, s.content) {
		return
	}
	s.pair, s.content = pair, content
	s.o.Logger.Info("a new certificate is served", "names", names(pair.Leaf), "issuer", issuer(pair.Leaf), "not_after", pair.Leaf.NotAfter)
}

func (s *fileSource) certificate() (*x509.Certificate, string) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if s.problem != "" {
		return s.pair.Leaf, "a newer one cannot be used: " + s.problem
	}
	return s.pair.Leaf, ""
}

func (s *fileSource) close() {
	if s.stop != nil {
		s.stop()
		<-s.done
	}
}
