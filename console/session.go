package console

import (
	"cmp"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"sync"
	"time"

	"scimbox/auth"
)

const (
	sessionRest = 12 * time.Hour // without a page asked for, after which a session ends
	linkLife    = 15 * time.Minute
	maxSessions = 1000
	maxLinks    = 100

	cookieName       = "scimbox-console"
	secureCookieName = "__Host-scimbox-console"
)

// Actor is who the journal says has changed something, if somebody who came by a one-time link has.
const Actor = "console"

// session is somebody who is signed in. It is kept in memory alone: after a restart people sign in again, and a copy of the
// data directory opens no session.
type session struct {
	who   string // for the page
	actor string // for the journal
	token string // id of the token that it was begun with, "" for a link

	// guarded by sessions.mu
	seen   time.Time
	tenant string
	note   *note
}

// note is what the next page says, once: that something is done, or the secret that was just made.
type note struct {
	Text   string
	Token  string // id
	Secret string
}

// sessions are all sessions and one-time links, by the SHA-256 of what the browser holds: what is in memory is of no use to
// whoever reads it.
type sessions struct {
	now   func() time.Time
	mu    sync.Mutex
	all   map[[sha256.Size]byte]*session
	links map[[sha256.Size]byte]time.Time // until when
}

func newSessions(now func() time.Time) *sessions {
	return &sessions{now: now, all: map[[sha256.Size]byte]*session{}, links: map[[sha256.Size]byte]time.Time{}}
}

// newLink makes a one-time link's code.
func (s *sessions) newLink() (code string, until time.Time) {
	code, until = rand.Text(), s.now().Add(linkLife)
	s.mu.Lock()
	defer s.mu.Unlock()
	oldest, first := [sha256.Size]byte{}, time.Time{}
	for k, t := range s.links {
		if !s.now().Before(t) {
			delete(s.links, k)
		} else if first.IsZero() || t.Before(first) {
			oldest, first = k, t
		}
	}
	if len(s.links) >= maxLinks {
		delete(s.links, oldest)
	}
	s.links[sha256.Sum256([]byte(code))] = until
	return code, until
}

// use takes a code away and reports whether it was one.
func (s *sessions) use(code string) bool {
	k := sha256.Sum256([]byte(code))
	s.mu.Lock()
	defer s.mu.Unlock()
	until, ok := s.links[k]
	delete(s.links, k)
	return ok && s.now().Before(until)
}

// begin starts a session and returns what the cookie is to hold: always something new, so that nobody can have planted it.
func (s *sessions) begin(n *session) string {
	value := rand.Text()
	n.seen, n.tenant = s.now(), cmp.Or(n.tenant, "default")
	s.mu.Lock()
	defer s.mu.Unlock()
	oldest, first := [sha256.Size]byte{}, time.Time{}
	for k, o := range s.all {
		if s.rested(o) {
			delete(s.all, k)
		} else if first.IsZero() || o.seen.Before(first) {
			oldest, first = k, o.seen
		}
	}
	if len(s.all) >= maxSessions {
		delete(s.all, oldest)
	}
	s.all[sha256.Sum256([]byte(value))] = n
	return value
}

func (s *sessions) rested(n *session) bool { return s.now().Sub(n.seen) >= sessionRest }

// find returns the session of a cookie, nil if there is none. awake says that a person has asked: what the page asks by itself
// keeps no session from ending.
func (s *sessions) find(value string, awake bool) *session {
	if value == "" {
		return nil
	}
	k := sha256.Sum256([]byte(value))
	s.mu.Lock()
	defer s.mu.Unlock()
	n := s.all[k]
	if n == nil {
		return nil
	}
	if s.rested(n) {
		delete(s.all, k)
		return nil
	}
	if awake {
		n.seen = s.now()
	}
	return n
}

func (s *sessions) end(value string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.all, sha256.Sum256([]byte(value)))
}

func (s *sessions) tenantOf(n *session) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return n.tenant
}

func (s *sessions) setTenant(n *session, tenant string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	n.tenant = tenant
}

func (s *sessions) leaveNote(n *session, what *note) {
	s.mu.Lock()
	defer s.mu.Unlock()
	n.note = what
}

func (s *sessions) takeNote(n *session) *note {
	s.mu.Lock()
	defer s.mu.Unlock()
	what := n.note
	n.note = nil
	return what
}

// NewLink returns the path of a sign-in that works once, and until when.
func (c *Console) NewLink() (path string, until time.Time) {
	code, until := c.sessions.newLink()
	return Path + "sign-in?code=" + code, until
}

// cookieOf returns what the browser holds. Where the way is encrypted only a cookie counts that came by such a way: the other
// could have been planted by somebody in between.
func (c *Console) cookieOf(r *http.Request) string {
	name := cookieName
	if c.encrypted(r) {
		name = secureCookieName
	}
	k, err := r.Cookie(name)
	if err != nil {
		return ""
	}
	return k.Value
}

// encrypted reports whether the browser has come by https, as far as can be known. A proxy's header is believed here: whoever
// makes it up gets a cookie that his browser does not send.
func (c *Console) encrypted(r *http.Request) bool {
	if r.TLS != nil || strings.EqualFold(r.Header.Get("X-Forwarded-Proto"), "https") {
		return true
	}
	u, err := url.Parse(c.o.PublicURL)
	return err == nil && u.Scheme == "https" && strings.EqualFold(u.Host, r.Host)
}

func (c *Console) setCookie(w http.ResponseWriter, r *http.Request, value string) {
	k := &http.Cookie{Name: cookieName, Value: value, Path: "/", HttpOnly: true, SameSite: http.SameSiteStrictMode}
	if c.encrypted(r) {
		k.Name, k.Secure = secureCookieName, true
	}
	if value == "" {
		k.MaxAge = -1
	}
	http.SetCookie(w, k)
}

type signInData struct {
	Code  string
	Error string
}

// signInPage shows the sign-in. A link's code is not used yet: mail programs and messengers open links by themselves, and
// would use it up.
func (c *Console) signInPage(w http.ResponseWriter, r *http.Request) {
	code := r.URL.Query().Get("code")
	if code == "" && c.sessions.find(c.cookieOf(r), true) != nil {
		http.Redirect(w, r, Path, http.StatusSeeOther)
		return
	}
	c.showSignIn(w, r, http.StatusOK, signInData{Code: code})
}

func (c *Console) showSignIn(w http.ResponseWriter, r *http.Request, status int, d signInData) {
	_ = c.renderStatus(&visit{w: w, r: r, now: c.o.Clock()}, status, "signin", "Sign in", d) // without a session it returns no error
}

// signIn begins a session by the code of a one-time link or by a token of the scope admin.
func (c *Console) signIn(w http.ResponseWriter, r *http.Request) {
	if code := r.PostFormValue("code"); code != "" {
		if !c.sessions.use(code) {
			c.o.Logger.Warn("a sign-in link was refused", "request", c.o.Request(r), "client", c.o.Client(r))
			c.showSignIn(w, r, http.StatusUnauthorized, signInData{Error: "This link has been used, or is older than 15 minutes. Make another: scimbox console"})
			return
		}
		c.begin(w, r, &session{who: "by a one-time link", actor: Actor})
		return
	}
	tok, status, why := c.verify(r)
	if status != 0 {
		c.o.Logger.Warn("a sign-in by token was refused", "request", c.o.Request(r), "client", c.o.Client(r), "status", status)
		c.showSignIn(w, r, status, signInData{Error: why})
		return
	}
	c.begin(w, r, &session{who: "with the token " + tok.Name, actor: tok.ID, token: tok.ID, tenant: tok.Tenant})
}

// verify returns the token that was typed in, or the status and the reason of its refusal.
func (c *Console) verify(r *http.Request) (tok auth.Token, status int, why string) {
	addr, _ := netip.ParseAddr(c.o.Client(r)) // the zero one counts as an address of its own
	tok, err := c.o.Tokens.Verify(r.Context(), strings.TrimSpace(r.PostFormValue("token")), addr)
	var limited *auth.LimitError
	switch {
	case err == nil && tok.Scope != auth.ScopeAdmin:
		return tok, http.StatusForbidden, "This token is a client's: its scope is " + string(tok.Scope) + ". The console opens with one of the scope admin: scimbox token create --name me --scope admin"
	case err == nil:
		return tok, 0, ""
	case errors.Is(err, auth.ErrMalformed):
		return tok, http.StatusUnauthorized, "This is not a complete token. Copy it again, from scimbox_ to its end."
	case errors.Is(err, auth.ErrExpired):
		return tok, http.StatusUnauthorized, "This token has expired."
	case errors.Is(err, auth.ErrUnknown), errors.Is(err, auth.ErrRevoked):
		return tok, http.StatusUnauthorized, "This token is not valid on this server."
	case errors.As(err, &limited):
		return tok, http.StatusTooManyRequests, "Too many wrong tokens came from your address. Wait for " + limited.RetryAfter.Round(time.Second).String() + "."
	case errors.Is(err, auth.ErrBusy):
		return tok, http.StatusServiceUnavailable, "The server is busy. Try again."
	}
	c.o.Logger.Error("a sign-in failed", "request", c.o.Request(r), "error", err)
	return tok, http.StatusInternalServerError, "The token could not be verified. The server's log says why."
}

func (c *Console) begin(w http.ResponseWriter, r *http.Request, s *session) {
	c.sessions.end(c.cookieOf(r))
	c.setCookie(w, r, c.sessions.begin(s))
	c.o.Logger.Info("signed in to the console", "request", c.o.Request(r), "client", c.o.Client(r), "actor", s.actor)
	http.Redirect(w, r, Path, http.StatusSeeOther)
}

func (c *Console) signOut(w http.ResponseWriter, r *http.Request) {
	c.sessions.end(c.cookieOf(r))
	c.setCookie(w, r, "")
	http.Redirect(w, r, Path+"sign-in", http.StatusSeeOther)
}
