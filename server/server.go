// Package server puts the house together: configuration, store, tokens, protocol, HTTP, and the order in which they start
// and stop.
//
//	server.go      Open, Serve, Close: everything that a running server is
//	listen.go      the addresses that it listens on, and what is behind each
//	backup.go      backups by the clock, and the way back
//	store.go       the store and the tokens in it, as both the server and commands without one open them
//	tls.go         certificates: which, from where, and what is told of them
//	http.go        routes, and what they are wrapped in
//	forwarded.go   who has sent a request, behind proxies
//	oauth.go       the token endpoint of OAuth clients, and its metadata
//	connections.go how many connections there may be
//	health.go      whether it is alive, and ready
//	systemd.go     what a supervisor gives and is told
//	activity.go    what package activity is told of each request
//	resources.go   what people ask about resources
//	request.go     request id, deadlines, access log, panics
//	logged.go      what of a request may stand in the log
//	console.go     the web console: where it is, and what it is told
//	metrics.go     what is measured, and who may ask for it
//	logging.go     the logger, and its level
//	config/        what an operator has decided
//	control/       what the command line asks of a running server
package server

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"

	"scimbox/auth"
	"scimbox/console"
	"scimbox/scim"
	"scimbox/server/config"
	"scimbox/server/control"
	"scimbox/server/metrics"
	"scimbox/storage"
	"scimbox/tlsconf"
)

// shutdownGrace is how long requests under way may go on after the server has been told to stop.
// Supervisors wait 10 seconds in all before they kill, and the store has to be closed in them too.
const shutdownGrace = 7 * time.Second

// FirstTokenName is the name of the token that the first start makes.
const FirstTokenName = "first-start"

// Presets returns the client presets that a token can name.
func Presets() []string { return scim.Presets() }

// CheckToken says whether a token can be made, before a store is made for it.
func CheckToken(what control.Create) error { return what.Check(scim.ValidPreset) }

// CheckClient says whether a client can be made, before a store is made for it.
func CheckClient(what control.Create) error { return what.CheckClient(scim.ValidPreset) }

// TokenPath is where clients get their access tokens, below the address of the server.
const TokenPath = auth.TokenPath

// Options are what a server needs to know besides its configuration.
type Options struct {
	Config         config.Config
	Version        string           // of this program
	Logger         *slog.Logger     // nil = discard
	Clock          func() time.Time // nil = time.Now
	AcceptDataLoss bool             // open the store although its seal says that data are missing
	Memory         int64            // what the system lets the process have, in bytes; 0 = as much as there is

	openStore func(ctx context.Context, dir string, o storage.Options) (*storage.Store, error) // nil = storage.OpenDir
	freeSpace func(dir string) (int64, error)                                                  // on the disk, nil = as the system says
	tokenCost int                                                                              // bcrypt's for new tokens, 0 = that of package auth; tests make thousands of them
	tls       *tls.Config                                                                      // of the main listener, nil = plain HTTP
	redirect  string                                                                           // address of plain HTTP beside it, "" for none

	observe func(storage.Commit) // of the store; may be nil

	renewEvery time.Duration // how often certificates are examined, 0 = as package tlsconf does
}

func (o *Options) fill() {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.openStore == nil {
		o.openStore = storage.OpenDir
	}
	if o.Clock == nil {
		o.Clock = time.Now
	}
}

// Server is a running scimbox: opened by Open, then served by Serve, which closes it.
type Server struct {
	o       Options
	started time.Time
	trusted []netip.Prefix // proxies
	doors   []*door        // open from the beginning, that of SCIM first; they answer in Serve
	house   *House
	service *scim.Service
	tls     *tlsconf.TLS // nil = plain HTTP
	control *http.Server
	console *console.Console // nil = off
	local   *control.Client  // of the console
	metrics *metrics.Metrics // nil = off
	gate    *gate            // of all doors but that of the metrics; set by Serve

	contacts func(context.Context) ([]control.ClientContact, error)
	socket   net.Listener

	first       auth.Token
	firstSecret auth.Secret

	asked    atomic.Pointer[time.Time] // since when pulse waits for the store; nil = it does not
	stopping atomic.Bool

	closing sync.Once
	closed  error
}

// Open listens, and then opens everything that a server needs, making the data directory and the first token if there are
// none. Clients are let in by Serve; until then they wait. Nothing is created if the address cannot be had. ctx is for
// the opening alone.
func Open(ctx context.Context, o Options) (*Server, error) {
	o.fill()
	s := &Server{o: o, started: o.Clock()}
	if err := s.open(ctx); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

func (s *Server) open(ctx context.Context) (err error) {
	if s.trusted, err = s.o.Config.TrustedProxies.Prefixes(); err != nil {
		return fmt.Errorf("trusted_proxies: %w", err)
	}
	if err := s.listen(ctx); err != nil {
		return err
	}
	s.gate = s.newGate()
	s.openMetrics()
	if s.house, err = openHouse(ctx, s.o, s.o.Config.Tokens.WarnBefore.Durations()); err != nil {
		return err
	}
	types, err := scim.NewTypes(s.o.Config.SCIM.Schemas)
	if err != nil {
		return err
	}
	if s.service, err = scim.NewService(ctx, s.house.Store, types, s.o.scimOptions()); err != nil {
		return err
	}
	s.house.serve(s.service)
	backend := s.house.Backend()
	backend.Server, backend.Health, s.contacts = s.status, s.healthOf, backend.Contacts
	s.control = control.NewServer(backend)
	if s.socket, err = control.Listen(ctx, s.o.Config.Data); err != nil {
		return err
	}
	if err = s.openConsole(backend); err != nil {
		return err
	}
	if err = s.secure(); err != nil {
		return err
	}
	if err = s.tellHeld(ctx); err != nil {
		return err
	}
	s.house.keepRows()
	s.house.startBackups()
	// Last, because a secret that was made and then not shown is lost.
	return s.firstStart(ctx)
}

func (o *Options) scimOptions() scim.Options {
	c := o.Config
	return scim.Options{
		Strict:            c.SCIM.Strict,
		Password:          c.SCIM.Password,
		GroupNames:        c.SCIM.GroupNames,
		UnknownMembers:    c.SCIM.UnknownMembers,
		SingleReplaceAdds: c.SCIM.SingleReplaceAdds,
		DefaultResults:    c.SCIM.DefaultResults,
		MaxResults:        c.SCIM.MaxResults,
		MaxScan:           c.SCIM.MaxScan,
		CursorTimeout:     c.SCIM.CursorTimeout.Duration,
		BulkMaxOperations: c.Limits.BulkOperations,
		BulkMaxPayload:    c.Limits.BulkBody.Bytes,
		MaxBody:           c.Limits.Body.Bytes,
		PublicURL:         c.PublicURL,
		Guard:             o.guard(),
		Base:              base,
		Caller:            callerOf,
		TokenEndpoint:     auth.TokenPath,
		Clock:             o.Clock,
		Logger:            o.Logger,
	}
}

// firstStart makes a token if there has never been one: a server that nobody can get into is of no use, and one that
// anybody can is worse.
func (s *Server) firstStart(ctx context.Context) error {
	all, err := s.house.Tokens.List(ctx)
	if err != nil || len(all) > 0 {
		return err
	}
	s.first, s.firstSecret, err = s.house.Tokens.Create(ctx, auth.Spec{
		Name: FirstTokenName, Scope: auth.ScopeWrite, TTL: s.o.Config.Tokens.Lifetime.Duration,
	}, control.Origin)
	return err
}

// FirstToken returns the token that this start has made, with its plain text, which is to be shown once; ok is false if
// there were tokens already.
func (s *Server) FirstToken() (tok auth.Token, secret auth.Secret, ok bool) {
	return s.first, s.firstSecret, s.first.ID != ""
}

// TokensInForce returns the number of tokens that clients can get in with now.
func (s *Server) TokensInForce(ctx context.Context) (int, error) {
	all, err := s.house.Tokens.List(ctx)
	n := 0
	for _, t := range all {
		if t.Active(s.o.Clock()) {
			n++
		}
	}
	return n, err
}

func (s *Server) status() control.Server {
	return control.Server{
		PID: os.Getpid(), Started: s.started, Listen: s.Address(), TenantURL: s.TenantURL(), Strict: s.o.Config.SCIM.Strict,
		MetricsURL: s.MetricsURL(), UnknownAttributes: s.service.UnknownAttributes(), Certificates: s.Certificates(),
	}
}

// Serve answers requests until ctx ends, lets those under way finish, and closes the server. A second wish to stop, which
// the caller turns into the end of hurry, cuts them off.
func (s *Server) Serve(ctx, hurry context.Context) error {
	s.startCertificates(ctx)
	servers := len(s.doors) + 1
	done := make(chan error, servers)
	for _, d := range s.doors {
		go func() { done <- d.serve(s.gateOf(d)) }()
	}
	go func() { done <- s.control.Serve(s.socket) }()
	beating, still := context.WithCancel(context.Background())
	silent := make(chan struct{})
	go func() { defer close(silent); s.pulse(beating, s.house.Responds) }()
	s.ready()

	var failed, broken error
	select {
	case <-ctx.Done():
		s.o.Logger.Info("stopping", "grace", shutdownGrace.String())
	case failed = <-done:
		done <- failed // the other goroutines are waited for below, and so is this one
	case <-s.house.Store.Failed():
		// The next start finds out what was kept. Whoever supervises the process starts it again because it fails.
		broken = errors.New("the store has closed itself after a commit that failed; start the server again, and what was acknowledged is there")
	}
	s.stopping.Store(true)
	s.tell(daemon.SdNotifyStopping, "STATUS=waiting for requests under way")
	grace, cancel := context.WithTimeout(hurry, shutdownGrace)
	defer cancel()
	err := s.shut(grace)
	if closed := s.control.Shutdown(grace); closed != nil {
		err = errors.Join(err, s.control.Close())
	}
	for range servers {
		if served := <-done; !errors.Is(served, http.ErrServerClosed) {
			err = errors.Join(err, fmt.Errorf("serving ended by itself: %w", served))
		}
	}
	still()
	<-silent
	return errors.Join(broken, err, s.Close())
}

// shut closes all doors at once: who comes to one of them while another still waits for its last requests is let in no more.
func (s *Server) shut(grace context.Context) error {
	errs := make(chan error, len(s.doors))
	for _, d := range s.doors {
		go func() {
			cut, err := d.shut(grace)
			if cut {
				s.o.Logger.Warn("requests under way were cut off", "listener", d.role)
			}
			errs <- err
		}()
	}
	var all error
	for range s.doors {
		all = errors.Join(all, <-errs)
	}
	return all
}

// Close releases what Open has taken, in the reverse order. Serve calls it; it is there for those who do not get that far.
func (s *Server) Close() error {
	s.closing.Do(func() {
		var errs []error
		for _, d := range s.doors {
			errs = append(errs, unlessClosed(d.Close()))
		}
		if s.tls != nil {
			s.tls.Close()
		}
		if s.socket != nil {
			errs = append(errs, unlessClosed(s.socket.Close()))
		}
		if s.local != nil {
			errs = append(errs, s.local.Close())
		}
		if s.house != nil {
			errs = append(errs, s.house.Close())
		}
		s.closed = errors.Join(errs...)
	})
	return s.closed
}

func unlessClosed(err error) error {
	if errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}
