package console

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"scimbox/activity"
	"scimbox/auth"
	"scimbox/scim"
	"scimbox/server/control"
	"scimbox/storage"
)

// Path is where the console is.
const Path = "/console/"

// Options are what a console needs to know of the house. Those without a default must be given.
type Options struct {
	Store   *storage.Store
	Service *scim.Service
	Tokens  *auth.Tokens
	Status  func(context.Context) (control.Status, error)

	// Activity tells what was done and what was refused.
	Activity *activity.Reader

	// Guard is the guard against mass changes, nil if it is off.
	Guard *control.GuardBackend

	Version   string
	PublicURL string                       // scheme and host that browsers know the server by, "" if nobody has said
	TenantURL func() string                // what clients are configured with
	TokenTTL  time.Duration                // of a token for which none is named, 0 = that of package auth
	Client    func(r *http.Request) string // address of the client
	Request   func(r *http.Request) string // id of the request
	Clock     func() time.Time             // nil = time.Now
	Logger    *slog.Logger                 // nil = discard
}

// Console is an http.Handler of everything below Path.
type Console struct {
	o        Options
	sessions *sessions
	recent   *recent
	handler  http.Handler
}

// New returns a console.
func New(o Options) (*Console, error) {
	if o.Clock == nil {
		o.Clock = time.Now
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	c := &Console{o: o, sessions: newSessions(o.Clock), recent: newRecent()}
	mux := http.NewServeMux()
	for pattern, h := range c.openRoutes() {
		mux.HandleFunc(pattern, h)
	}
	for pattern, page := range c.pages() {
		mux.Handle(pattern, c.signedIn(page))
	}
	origin := http.NewCrossOriginProtection()
	if o.PublicURL != "" {
		if err := origin.AddTrustedOrigin(o.PublicURL); err != nil {
			return nil, fmt.Errorf("the console: %w", err)
		}
	}
	c.handler = secured(ofBrowsers(origin.Handler(mux)))
	return c, nil
}

// openRoutes are what is answered to whoever comes.
func (c *Console) openRoutes() map[string]http.HandlerFunc {
	return map[string]http.HandlerFunc{
		"GET /console/static/{file}": static,
		"GET /console/sign-in":       c.signInPage,
		"POST /console/sign-in":      c.signIn,
		"POST /console/sign-out":     c.signOut,
	}
}

// pages are what is answered to those who are signed in. What changes something is a POST, which other sites cannot make a browser
// send.
func (c *Console) pages() map[string]func(*visit) error {
	return map[string]func(*visit) error{
		"GET /console/{$}":                              c.home,
		"GET /console/t/{tenant}/connect":               c.connect,
		"GET /console/t/{tenant}/connect/light":         c.light,
		"POST /console/t/{tenant}/connect/token":        c.connectToken,
		"GET /console/t/{tenant}/mapping":               c.mapping,
		"GET /console/t/{tenant}/activity":              c.activity,
		"GET /console/t/{tenant}/activity/{id}":         c.event,
		"GET /console/t/{tenant}/{endpoint}":            c.list,
		"GET /console/t/{tenant}/{endpoint}/{id}":       c.resource,
		"GET /console/t/{tenant}/{endpoint}/{id}/{set}": c.members,
		"GET /console/tokens":                           c.tokens,
		"POST /console/tokens":                          c.createToken,
		"GET /console/tokens/{id}":                      c.token,
		"POST /console/tokens/{id}/revoke":              c.revokeToken,
		"POST /console/tokens/{id}/rotate":              c.rotateToken,
		"GET /console/guard":                            c.guards,
		"GET /console/guard/{which}":                    c.guard,
		"POST /console/guard/{which}/{decision}":        c.decideGuard,
		"GET /console/backups":                          c.backups,
		"GET /console/tenants":                          c.tenants,
		"GET /console/health":                           c.health,
		"GET /console/":                                 func(*visit) error { return errNoPage },
	}
}

// ServeHTTP implements [http.Handler].
func (c *Console) ServeHTTP(w http.ResponseWriter, r *http.Request) { c.handler.ServeHTTP(w, r) }

// secured sets what every answer has, also one that refuses. What is allowed is said by the kind: nothing inline, nothing of
// others, in nobody's frame.
func secured(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Security-Policy", "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'")
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("X-Frame-Options", "DENY") // for browsers that do not know frame-ancestors
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("Cross-Origin-Opener-Policy", "same-origin")
		h.Set("Cross-Origin-Resource-Policy", "same-origin")
		h.Set("Cache-Control", "no-store")
		r.Body = http.MaxBytesReader(w, r.Body, 64<<10)
		next.ServeHTTP(w, r)
	})
}

// ofBrowsers refuses changes by whoever does not say where they come from. CrossOriginProtection lets those pass, because they
// are no browsers; but nothing else has business here.
func ofBrowsers(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		safe := r.Method == http.MethodGet || r.Method == http.MethodHead
		if !safe && r.Header.Get("Origin") == "" && r.Header.Get("Sec-Fetch-Site") == "" {
			http.Error(w, "403: the console is for browsers; programs use the command line or SCIM", http.StatusForbidden)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// visit is one request of somebody who is signed in.
type visit struct {
	w       http.ResponseWriter
	r       *http.Request
	s       *session
	now     time.Time
	tenant  string
	partial bool // the script asks for a part of a page
}

// signedIn lets a request through to a page if its cookie is that of a session, and takes others to the sign-in.
func (c *Console) signedIn(page func(*visit) error) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		partial := r.Header.Get("X-Partial") != ""
		s := c.sessions.find(c.cookieOf(r), !partial || r.Header.Get("X-Partial") == "typed")
		if s != nil && !c.stillAllowed(r.Context(), s) {
			c.sessions.end(c.cookieOf(r))
			s = nil
		}
		if s == nil {
			if partial {
				http.Error(w, "401: signed out", http.StatusUnauthorized)
				return
			}
			http.Redirect(w, r, Path+"sign-in", http.StatusSeeOther)
			return
		}
		v := &visit{w: w, r: r, s: s, now: c.o.Clock(), partial: partial, tenant: r.PathValue("tenant")}
		if v.tenant == "" {
			v.tenant = c.sessions.tenantOf(s)
		} else if !validTenant(v.tenant) {
			c.fail(v, errNoPage)
			return
		} else {
			c.sessions.setTenant(s, v.tenant)
		}
		if err := page(v); err != nil {
			c.fail(v, err)
		}
	})
}

// validTenant keeps what is nobody's, such as the tenant of tokens, out of the address line.
func validTenant(s string) bool {
	return s != "" && len(s) <= 63 && !strings.ContainsFunc(s, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < '0' || r > '9') && r != '-'
	})
}

// stillAllowed reports whether what a session was begun with is still in force.
func (c *Console) stillAllowed(ctx context.Context, s *session) bool {
	if s.token == "" {
		return true
	}
	t, err := c.o.Tokens.Get(ctx, s.token)
	return err == nil && t.Active(c.o.Clock()) && t.Scope == auth.ScopeAdmin
}

var errNoPage = &problem{http.StatusNotFound, "There is nothing here", "The address is that of no page, or of something that is gone."}

// problem is an error that a person is told.
type problem struct {
	Status int
	Title  string
	Text   string
}

func (p *problem) Error() string { return p.Title + ": " + p.Text }

// fail shows an error. What nobody has foreseen is in the log, and the page has the request's id to find it by.
func (c *Console) fail(v *visit, err error) {
	var p *problem
	var e *scim.Error
	switch {
	case errors.As(err, &p):
	case errors.As(err, &e) && e.Status < 500:
		p = &problem{e.Status, "That did not work", e.Detail}
		if e.Status == http.StatusNotFound {
			p.Title = "There is nothing here"
		}
	default:
		c.o.Logger.Error("a page of the console failed", "request", c.o.Request(v.r), "path", v.r.Pattern, "error", err)
		p = &problem{http.StatusInternalServerError, "That did not work", "The cause is in the server's log, in the line of request " + c.o.Request(v.r) + "."}
	}
	_ = c.renderStatus(v, p.Status, "problem", p.Title, p) // only of a page without an error it returns one
}

// home leads to the page that is of use now: as long as nobody has arrived, the one that helps them to.
func (c *Console) home(v *visit) error {
	n := int64(0)
	err := c.o.Store.View(v.r.Context(), v.tenant, func(tx *storage.Tx) (err error) {
		n, err = tx.Count("User")
		return err
	})
	if err != nil {
		return err
	}
	to := "connect"
	if n > 0 {
		to = "users"
	}
	http.Redirect(v.w, v.r, Path+"t/"+v.tenant+"/"+to, http.StatusSeeOther)
	return nil
}

// origin is in whose name a visit changes something.
func (c *Console) origin(v *visit) storage.Origin {
	return storage.Origin{Actor: v.s.actor, Client: c.o.Client(v.r), Request: c.o.Request(v.r)}
}
