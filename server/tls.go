package server

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"path/filepath"
	"strconv"
	"time"

	"scimbox/server/config"
	"scimbox/server/control"
	"scimbox/tlsconf"
)

// certificateDir is where certificates lie in a data directory.
func certificateDir(data string) string { return filepath.Join(data, "tls") }

// RootCertificate returns the root of the authority of our own that belongs to a data directory, in PEM.
func RootCertificate(data string) ([]byte, error) {
	text, err := tlsconf.Root(certificateDir(data))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%s has no authority for certificates; the first start with tls.mode = \"self-signed\" makes one", data)
	}
	return text, err
}

// certificateOptions are those of package tlsconf that a configuration means.
func certificateOptions(o Options) tlsconf.Options {
	c := o.Config.TLS
	t := tlsconf.Options{
		Mode: o.Config.TLSMode(), Hostname: o.Config.Hostname, Dir: certificateDir(o.Config.Data), Logger: o.Logger, Clock: o.Clock, Every: o.renewEvery,
		Files: tlsconf.Files{Certificate: c.Certificate, Key: c.Key},
		ACME: tlsconf.ACME{
			Directory: c.ACME.Directory, Staging: c.ACME.Staging, Email: c.ACME.Email, Roots: c.ACME.Roots,
			EABKeyID: c.ACME.EABKeyID, EABKey: c.ACME.EABKey.Reveal(), Profile: c.ACME.Profile,
		},
	}
	if d := c.DNS; d.Provider != "" {
		t.ACME.DNS = &tlsconf.DNS{
			Provider: d.Provider, Resolvers: d.Resolvers, Wait: d.Wait.Duration, Name: d.Name,
			RFC2136:    tlsconf.RFC2136{Server: d.RFC2136.Server, KeyName: d.RFC2136.KeyName, Key: d.RFC2136.Key.Reveal(), Algorithm: d.RFC2136.Algorithm},
			Cloudflare: tlsconf.Cloudflare{Token: d.Cloudflare.Token.Reveal()},
			Route53: tlsconf.Route53{
				AccessKeyID: d.Route53.AccessKeyID, SecretAccessKey: d.Route53.SecretAccessKey.Reveal(),
				SessionToken: d.Route53.SessionToken.Reveal(), HostedZone: d.Route53.HostedZone,
			},
			Azure: tlsconf.Azure{
				Subscription: d.Azure.Subscription, ResourceGroup: d.Azure.ResourceGroup,
				Tenant: d.Azure.Tenant, ClientID: d.Azure.ClientID, ClientSecret: d.Azure.ClientSecret.Reveal(),
			},
			Exec: tlsconf.Exec{Program: d.Exec.Program},
		}
	}
	return t
}

// secure prepares certificates, if there are to be any, and puts an HTTP server behind each door. The data directory is ours
// by now.
func (s *Server) secure() (err error) {
	if !s.o.Config.Secured() {
		return s.equip(s.o.tls, nil)
	}
	if s.tls, err = tlsconf.Open(certificateOptions(s.o)); err != nil {
		return fmt.Errorf("certificates: %w", err)
	}
	return s.equip(s.tls.Config(), s.tls.Challenges)
}

// startCertificates begins to look after the certificates, when everybody who asks can be answered.
func (s *Server) startCertificates(ctx context.Context) {
	if s.tls == nil {
		return
	}
	var plain net.Addr
	for _, d := range s.doors {
		if d.role == roleRedirect {
			plain = d.Addr()
			break
		}
	}
	s.tls.Start(ctx, s.main().Addr(), plain)
}

// ReloadCertificates looks for new certificates at once: files are read, and an authority that has failed is asked again.
func (s *Server) ReloadCertificates(ctx context.Context) {
	if s.tls != nil {
		s.tls.Reload(ctx)
	}
}

// Certificates returns what is known of the certificates that are served, none if TLS is not spoken.
func (s *Server) Certificates() []control.Certificate {
	if s.tls == nil {
		return nil
	}
	now := s.o.Clock()
	var all []control.Certificate
	for _, c := range s.tls.Certificates() {
		all = append(all, control.Certificate{
			Mode: c.Mode, Names: c.Names, Issuer: c.Issuer, NotBefore: c.NotBefore, NotAfter: c.NotAfter,
			DaysLeft: int(c.Left(now) / (24 * time.Hour)), Problem: c.Problem,
		})
	}
	return all
}

// strictly tells browsers that there is https only (RFC 6797), if the configuration says so. It must not be said over plain
// HTTP (section 7.2), and a proxy in front says it itself.
func (s *Server) strictly(next http.Handler) http.Handler {
	age := s.o.Config.TLS.HSTS.Duration
	if age == 0 {
		return next
	}
	value := "max-age=" + strconv.FormatInt(int64(age/time.Second), 10)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.TLS != nil {
			w.Header().Set("Strict-Transport-Security", value)
		}
		next.ServeHTTP(w, r)
	})
}

// Authority returns the URL of the ACME directory that certificates come from.
func Authority(c config.Config) string {
	return tlsconf.ACME{Directory: c.TLS.ACME.Directory, Staging: c.TLS.ACME.Staging}.URL()
}
