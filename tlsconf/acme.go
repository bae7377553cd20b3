package tlsconf

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/caddyserver/certmagic"
	"github.com/mholt/acmez/v3/acme"
)

// ACME says which authority is asked, and how.
type ACME struct {
	Directory string // URL of the authority's directory; "" = Let's Encrypt
	Staging   bool   // Let's Encrypt's test system, whose certificates nobody trusts
	Email     string // that the authority writes to, "" = none
	Roots     string // file of PEM certificates that the authority's own https is trusted by, "" = those of the system
	EABKeyID  string // external account binding (RFC 8555 section 7.3.4), "" = none
	EABKey    string // its HMAC key, base64url
	Profile   string // of certificate, where the authority offers several; "" = its default
	DNS       *DNS   // nil = HTTP-01 and TLS-ALPN-01
}

// URL returns the directory that is asked.
func (a ACME) URL() string {
	switch {
	case a.Directory != "":
		return a.Directory
	case a.Staging:
		return certmagic.LetsEncryptStagingCA
	}
	return certmagic.LetsEncryptProductionCA
}

// acmeSource serves what certmagic has obtained. It has a configuration and a cache of its own; certmagic's package defaults
// are not touched, so that whatever else in this program uses certmagic is not changed by us.
type acmeSource struct {
	o       Options
	storage *certmagic.FileStorage
	cache   *certmagic.Cache
	config  *certmagic.Config
	issuer  *certmagic.ACMEIssuer

	mu      sync.Mutex
	ctx     context.Context // of whoever asks the authority
	stop    context.CancelFunc
	problem string    // of the last attempt, "" if it was a success
	warned  time.Time // when the log was last told that there is no certificate
}

func openACME(o Options) (*acmeSource, error) {
	s := &acmeSource{o: o, storage: &certmagic.FileStorage{Path: filepath.Join(o.Dir, "acme")}}
	if err := os.MkdirAll(s.storage.Path, 0o700); err != nil {
		return nil, fmt.Errorf("the directory for certificates: %w", err)
	}
	// Whoever holds the data directory is alone in it, so that a lock in there is of a process that was killed, and certmagic
	// would wait ten seconds for it.
	if err := os.RemoveAll(filepath.Join(s.storage.Path, "locks")); err != nil {
		return nil, fmt.Errorf("removing locks of an earlier process: %w", err)
	}
	var roots *x509.CertPool
	if o.ACME.Roots != "" {
		text, err := os.ReadFile(o.ACME.Roots)
		if err != nil {
			return nil, fmt.Errorf("the roots of the authority: %w", err)
		}
		roots = x509.NewCertPool()
		if !roots.AppendCertsFromPEM(text) {
			return nil, fmt.Errorf("%s holds no certificates in PEM", o.ACME.Roots)
		}
	}
	log := bridge(o.Logger)
	s.cache = certmagic.NewCache(certmagic.CacheOptions{
		GetConfigForCert:   func(certmagic.Certificate) (*certmagic.Config, error) { return s.config, nil },
		RenewCheckInterval: o.Every, // 0 = 10 minutes
		Logger:             log,
	})
	s.config = certmagic.New(s.cache, certmagic.Config{
		Storage:           s.storage,
		DefaultServerName: o.Hostname, // for clients that send no name, such as those that come by address
		OnEvent:           s.event,
		Logger:            log,
	})
	template := certmagic.ACMEIssuer{
		CA:           o.ACME.URL(),
		Email:        o.ACME.Email,
		Agreed:       true, // the documentation says so
		Profile:      o.ACME.Profile,
		TrustedRoots: roots,
		Logger:       log,
	}
	if o.ACME.EABKeyID != "" {
		template.ExternalAccount = &acme.EAB{KeyID: o.ACME.EABKeyID, MACKey: o.ACME.EABKey}
	}
	if o.ACME.DNS != nil {
		solver, err := o.ACME.DNS.solver(log)
		if err != nil {
			s.cache.Stop()
			return nil, err
		}
		template.DNS01Solver = solver
	}
	s.issuer = certmagic.NewACMEIssuer(s.config, template)
	s.config.Issuers = []certmagic.Issuer{account{s.issuer}}
	s.ctx, s.stop = context.WithCancel(context.Background())
	return s, nil
}

// account is certmagic's issuer, for the account of our own configuration and no other.
//
// certmagic tells an authority which certificate a new one replaces, whenever the authority is the same; and an authority refuses an
// account that replaces the certificate of another one (RFC 9773 section 5). Whoever changes the address of the account, or
// its external binding, would never get a certificate again: certmagic's retries by the clock do not leave it out. It does so
// only for its own type of issuer, which this is not. An authority that counts certificates may then count a renewal; there is one
// name, and one renewal in weeks.
//
// Without an address of the configuration certmagic takes the one that was used last in this process, or before in the storage,
// and asks at standard input for one. This does not.
type account struct{ *certmagic.ACMEIssuer }

// PreCheck is called before each attempt.
func (a account) PreCheck(ctx context.Context, names []string, _ bool) error {
	if a.Email == "" {
		return nil
	}
	return a.ACMEIssuer.PreCheck(ctx, names, false)
}

// listening tells where challenges arrive. certmagic looks there whether somebody listens before it asks for a challenge, and
// would listen itself if nobody did. Ports of the internet that are forwarded to us, by a container or by systemd, are other
// ones here.
func (s *acmeSource) listening(https, http net.Addr) {
	if a, ok := https.(*net.TCPAddr); ok {
		s.issuer.AltTLSALPNPort = a.Port
		if !a.IP.IsUnspecified() {
			s.issuer.ListenHost = a.IP.String()
		}
	} else {
		s.issuer.DisableTLSALPNChallenge = true
	}
	if a, ok := http.(*net.TCPAddr); ok {
		s.issuer.AltHTTPPort = a.Port
	} else {
		s.issuer.DisableHTTPChallenge = true
	}
}

// start loads the certificate that was obtained earlier before it returns, so that no client is refused after a restart. The
// authority is asked in the background.
func (s *acmeSource) start(ctx context.Context) {
	s.mu.Lock()
	s.stop() // of nobody yet, or of an attempt that is waiting for its next try
	s.ctx, s.stop = context.WithCancel(context.WithoutCancel(ctx))
	ctx = s.ctx
	s.mu.Unlock()
	if _, err := s.config.CacheManagedCertificate(ctx, s.o.Hostname); err != nil && !errors.Is(err, fs.ErrNotExist) {
		s.o.Logger.Error("the stored certificate cannot be used; a new one is asked for", "error", err)
		if err := s.putAside(); err != nil {
			s.o.Logger.Error("and it could not be moved away", "error", err)
		}
	}
	if s.leaf() == nil {
		s.o.Logger.Info("asking for a certificate", "name", s.o.Hostname, "authority", s.issuer.CA)
	}
	go s.manage(ctx)
}

// patience is longer than certmagic tries to get a first certificate: 30 days.
const patience = 31 * 24 * time.Hour

// manage has certmagic look after the certificate. It never gives up renewing one, but does give up getting the first: a
// machine that waits for its name for longer than that is not to need a restart then.
func (s *acmeSource) manage(ctx context.Context) {
	for {
		if err := s.config.ManageAsync(ctx, []string{s.o.Hostname}); err != nil {
			s.o.Logger.Error("the certificate is not looked after", "error", err)
		}
		timer := time.NewTimer(patience)
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-timer.C:
		}
		if s.leaf() != nil {
			return
		}
	}
}

// putAside renames the files of a certificate that cannot be read. certmagic would neither use nor replace them.
func (s *acmeSource) putAside() error {
	dir := s.storage.Filename(certmagic.StorageKeys.CertsSitePrefix(s.issuer.IssuerKey(), s.o.Hostname))
	return os.Rename(dir, fmt.Sprintf("%s.unusable-%d", dir, time.Now().UnixNano()))
}

// reload asks again at once for what could not be had, whose next try may be hours away.
func (s *acmeSource) reload(ctx context.Context) {
	if s.leaf() == nil {
		s.start(ctx)
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.problem == "" {
		return
	}
	s.stop() // an attempt that waits for its next try holds the lock of the name
	s.ctx, s.stop = context.WithCancel(context.WithoutCancel(ctx))
	go func(ctx context.Context) {
		if err := s.config.RenewCertAsync(ctx, s.o.Hostname, false); err == nil {
			_ = s.cache.RenewManagedCertificates(ctx) // finds the new one in the storage and takes it over
		}
	}(s.ctx)
}

// event is told by certmagic what it does.
func (s *acmeSource) event(_ context.Context, event string, data map[string]any) error {
	switch event {
	case "cert_failed":
		text := fmt.Sprint(data["error"])
		s.mu.Lock()
		s.problem = text
		s.mu.Unlock()
		if leaf := s.leaf(); leaf != nil {
			s.o.Logger.Warn("the certificate could not be renewed; the old one is served, and it will be tried again",
				"name", s.o.Hostname, "days_left", int(time.Until(leaf.NotAfter)/(24*time.Hour)), "not_after", leaf.NotAfter, "error", text)
		} else {
			s.o.Logger.Warn("no certificate could be obtained; clients are refused, and it will be tried again", "name", s.o.Hostname, "error", text)
		}
	case "cert_obtained":
		s.mu.Lock()
		s.problem = ""
		s.mu.Unlock()
		s.o.Logger.Info("a certificate was obtained", "name", s.o.Hostname, "authority", data["issuer"], "renewal", data["renewal"])
	}
	return nil
}

// leaf returns the certificate that is served, the one that lasts longest, nil if there is none.
func (s *acmeSource) leaf() (leaf *x509.Certificate) {
	for _, c := range s.cache.AllMatchingCertificates(s.o.Hostname) {
		if leaf == nil || c.Leaf.NotAfter.After(leaf.NotAfter) {
			leaf = c.Leaf
		}
	}
	return leaf
}

func (s *acmeSource) get(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	c, err := s.config.GetCertificate(hello)
	if err != nil && s.leaf() == nil {
		s.refused()
	}
	return c, err
}

// refused tells the log, once a minute at most, why clients cannot connect.
func (s *acmeSource) refused() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if time.Since(s.warned) > time.Minute {
		s.warned = time.Now()
		s.o.Logger.Warn("a client was refused, because there is no certificate yet", "name", s.o.Hostname, "reason", s.problem)
	}
}

func (s *acmeSource) certificate() (*x509.Certificate, string) {
	leaf := s.leaf()
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.problem == "":
		return leaf, ""
	case leaf == nil:
		return nil, "no certificate could be obtained yet, and clients are refused: " + s.problem
	}
	return leaf, "it could not be renewed: " + s.problem
}

func (s *acmeSource) close() {
	s.mu.Lock()
	s.stop()
	s.mu.Unlock()
	s.cache.Stop()
}
