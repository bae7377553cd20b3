package server

import (
	"cmp"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/klauspost/compress/gzhttp"

	"scimbox/auth"
	"scimbox/scim"
	"scimbox/server/config"
)

// writeGrace is what an answer may take beyond the request's own time: the answer that says so must still get out.
const writeGrace = 10 * time.Second

// newHTTP returns an HTTP server for a handler, with its limits.
func (s *Server) newHTTP(h http.Handler) *http.Server {
	l := s.o.Config.Limits
	return &http.Server{
		Handler:           h,
		ReadHeaderTimeout: l.HeaderTimeout.Duration,
		WriteTimeout:      l.RequestTimeout.Duration + writeGrace,
		IdleTimeout:       l.IdleTimeout.Duration,
		MaxHeaderBytes:    int(l.Header.Bytes),
		HTTP2: &http.HTTP2Config{
			MaxConcurrentStreams: l.Streams,
			SendPingTimeout:      l.IdleTimeout.Duration / 2, // to a client that has said nothing for so long, asking whether it is still there
			PingTimeout:          l.HeaderTimeout.Duration,
			WriteByteTimeout:     l.RequestTimeout.Duration + writeGrace,
		},
		ErrorLog: slog.NewLogLogger(s.o.Logger.Handler(), slog.LevelDebug), // what clients do to their connections
	}
}

// handler returns everything that is served, from the outside in: request id, deadlines and log; rate; compression; panics;
// token; SCIM. http.ServeMux would redirect //Users, and SCIM clients lose their bodies on the way.
func (s *Server) handler() (http.Handler, error) {
	zip, err := gzhttp.NewWrapper()
	if err != nil {
		return nil, err
	}
	compress := func(next http.Handler) http.Handler { return compressed(zip(next), next) }
	protocol := s.house.Tokens.Middleware(s.perToken(scim.NewHandler(s.service)), auth.MiddlewareOptions{
		Public:     scim.Public,
		WriteError: refuse,
		ClientAddr: clientAddr,
		Admit:      admit,
		Strict:     s.o.Config.SCIM.Strict,
	})
	protocol = compress(s.tapped(s.recovered(s.protected(protocol))))
	oauth := s.oauth()
	health, ready := s.recovered(http.HandlerFunc(s.health)), s.recovered(http.HandlerFunc(s.readiness))
	elsewhere := s.tapped(s.recovered(http.HandlerFunc(s.elsewhere)))
	pages := compress(s.recovered(s.console))
	inside := s.perAddress(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch path := r.URL.Path; {
		case path == scim.BasePath, strings.HasPrefix(path, scim.BasePath+"/"):
			protocol.ServeHTTP(w, r)
		case oauth(path) != nil:
			oauth(path).ServeHTTP(w, r)
		case s.consoleBeside() && inConsole(r):
			pages.ServeHTTP(w, r)
		default:
			elsewhere.ServeHTTP(w, r)
		}
	}))
	return s.observed(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header()["X-Content-Type-Options"] = nosniff
		observationOf(r).operation = s.operation(r)
		switch r.URL.Path {
		case healthPath:
			health.ServeHTTP(w, r)
		case readyPath:
			ready.ServeHTTP(w, r)
		default:
			inside.ServeHTTP(w, r)
		}
	})), nil
}

// Values of headers that are the same in each answer, so that they need not be made. Nobody changes them in place: http.Header.Set
// replaces, and Add has to copy.
var nosniff, byEncoding = []string{"nosniff"}, []string{"Accept-Encoding"}

// compressed serves a client that takes compressed answers by zip, and by plain those that say nothing of it. A cache in between
// has to know that it depends.
func compressed(zip, plain http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if len(r.Header["Accept-Encoding"]) > 0 {
			zip.ServeHTTP(w, r)
			return
		}
		w.Header()["Vary"] = byEncoding
		plain.ServeHTTP(w, r)
	})
}

// protected refuses who speaks plain HTTP and is no proxy of ours. The token has crossed the network by then; the refusal
// is for the one who sets it up, before it becomes a habit.
func (s *Server) protected(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if s.unprotected(r) {
			refuse(w, r, http.StatusForbidden, "", "plain HTTP is accepted from the addresses in trusted_proxies alone, and "+connectionAddr(r).String()+
				" is none of them; use the https address of the proxy, or add this address if it is the proxy's")
			return
		}
		next.ServeHTTP(w, r)
	})
}

// admit keeps on whose behalf a request is made.
func admit(r *http.Request, tok auth.Token) {
	o := observationOf(r)
	o.token, o.name, o.tenant = tok.ID, tok.Name, tok.Tenant
	o.who = scim.Caller{
		Tenant: tok.Tenant, Actor: tok.ID, Client: client(r), Request: o.id, Preset: tok.Preset, ReadOnly: !tok.Scope.CanWrite(), User: tok.User,
		Limit: scim.Limit{Types: string(tok.Types), Attributes: string(tok.Attributes)},
	}
	o.caller = &o.who
}

// callerOf tells package scim on whose behalf a request is made. Without a token there is no caller; scim serves what is public
// then.
func callerOf(r *http.Request) (scim.Caller, bool) {
	if c := observationOf(r).caller; c != nil {
		return *c, true
	}
	return scim.Caller{}, false
}

// refuse writes the refusals of the door as the errors of the protocol behind it.
func refuse(w http.ResponseWriter, r *http.Request, status int, scimType, detail string) {
	observationOf(r).refused = detail
	writeError(w, r, &scim.Error{Status: status, Type: scimType, Detail: detail})
}

// writeError writes an error with the request's id, for those who have no caller in the context and must not have one.
func writeError(w http.ResponseWriter, r *http.Request, err error) {
	named := r.WithContext(scim.WithCaller(r.Context(), scim.Caller{Request: observationOf(r).id}))
	scim.WriteError(w, named, err)
}

// elsewhere answers everything outside of SCIM. A person who opens the address in a browser on this machine is told what is
// here.
func (s *Server) elsewhere(w http.ResponseWriter, r *http.Request) {
	host, _, err := net.SplitHostPort(r.Host)
	if err != nil {
		host = r.Host
	}
	if s.consoleBeside() && r.URL.Path == "/console" {
		toConsole(w, r)
		return
	}
	if r.URL.Path != "/" || !config.Loopback(host) {
		text(w, r, http.StatusNotFound, "404: nothing is here. SCIM is at "+scim.BasePath+"\n")
		return
	}
	if !readOnly(w, r) {
		return
	}
	if s.consoleBeside() && strings.Contains(r.Header.Get("Accept"), "text/html") {
		toConsole(w, r)
		return
	}
	text(w, r, http.StatusOK, fmt.Sprintf(`This is scimbox %s, a SCIM 2.0 server.

Tenant URL    %s
Secret token  shown at the first start; scimbox token create makes another
Health        %s
Console       %s

docs/entra.md tells how to connect Microsoft Entra ID, docs/clients how to connect others.
`, s.o.Version, s.TenantURL(), healthPath, cmp.Or(s.ConsoleURL(), "off")))
}

// readOnly refuses methods that make no sense where nothing can be changed.
func readOnly(w http.ResponseWriter, r *http.Request) bool {
	if r.Method == http.MethodGet || r.Method == http.MethodHead {
		return true
	}
	w.Header().Set("Allow", "GET, HEAD")
	text(w, r, http.StatusMethodNotAllowed, "405: only GET and HEAD are possible here\n")
	return false
}

func text(w http.ResponseWriter, r *http.Request, status int, body string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	if r.Method != http.MethodHead {
		_, _ = io.WriteString(w, body) // #nosec G705 -- a client that has gone away; plain text by its Content-Type, which nosniff holds browsers to
	}
}
