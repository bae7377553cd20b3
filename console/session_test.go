package console

import (
	"crypto/sha256"
	"net/http"
	"strings"
	"testing"
	"time"

	"scimbox/auth"
	"scimbox/storage"
)

const aPage = "/console/tokens"

// Nobody sees a page without having signed in, whatever it is and whether or not it exists.
func TestNobodyIsLetIn(t *testing.T) {
	h := openHouse(t, nil)
	id := h.user("ada", "")
	for _, path := range []string{"", "tokens", "tokens/x", "tenants", "health", "guard", "guard/default", "nothing", "t/default/connect", "t/default/connect/light", "t/default/mapping",
		"t/default/users", "t/default/users/" + id, "t/default/groups", "t/$system/users", "t/default/users/" + id + "/members"} {
		a := h.browser().get("/console/" + path)
		if a.status != 303 || a.header.Get("Location") != "/console/sign-in" || strings.Contains(a.body, "ada") {
			t.Errorf("%s: %d to %q\n%s", path, a.status, a.header.Get("Location"), a.body)
		}
	}
	b := h.browser()
	b.header["X-Partial"] = "live"
	if a := b.get("/console/t/default/connect/light"); a.status != 401 {
		t.Errorf("a part: %d", a.status)
	}
	for _, path := range []string{"tokens", "tokens/x/revoke", "t/default/connect/token", "guard/default/approve"} {
		if a := h.browser().post("/console/" + path); a.status != 303 || a.header.Get("Location") != "/console/sign-in" {
			t.Errorf("POST %s: %d", path, a.status)
		}
	}
	if list, err := h.tokens.List(t.Context()); err != nil || len(list) != 0 {
		t.Errorf("%v, %v", list, err)
	}
}

// A link opens the console once and for 15 minutes; looking at it does not use it up.
func TestLinks(t *testing.T) {
	h := openHouse(t, nil)
	path, until := h.console.NewLink()
	if until.Sub(h.clock()) > linkLife {
		t.Errorf("it lives until %s", until)
	}
	b := h.browser()
	for range 2 {
		if a := b.get(path); a.status != 200 || !strings.Contains(a.body, "Open the console") || len(b.cookies) != 0 {
			t.Fatalf("looked at: %d %v\n%s", a.status, b.cookies, a.body)
		}
	}
	_, code, _ := strings.Cut(path, "code=")
	if a := b.post("/console/sign-in", "code", code); a.status != 303 || a.header.Get("Location") != "/console/" {
		t.Fatalf("used: %d", a.status)
	}
	b.page(aPage)
	again := h.browser()
	if a := again.post("/console/sign-in", "code", code); a.status != 401 || len(again.cookies) != 0 || !strings.Contains(a.body, "has been used") {
		t.Errorf("used again: %d %v", a.status, again.cookies)
	}
	path, _ = h.console.NewLink()
	_, code, _ = strings.Cut(path, "code=")
	h.wait(linkLife)
	if a := again.post("/console/sign-in", "code", code); a.status != 401 {
		t.Errorf("too late: %d", a.status)
	}
	if a := again.post("/console/sign-in", "code", "GUESSED"); a.status != 401 {
		t.Errorf("guessed: %d", a.status)
	}
	for range 3 * maxLinks {
		path, _ = h.console.NewLink()
	}
	if n := len(h.console.sessions.links); n > maxLinks {
		t.Errorf("%d links are kept", n)
	}
	_, code, _ = strings.Cut(path, "code=")
	if a := again.post("/console/sign-in", "code", code); a.status != 303 {
		t.Errorf("the latest of many: %d", a.status)
	}
}

// What lies in memory opens nothing: neither what a cookie holds nor a link's code is kept as it is.
func TestSessionsAreHashed(t *testing.T) {
	h := openHouse(t, nil)
	b := h.signedIn()
	if _, ok := h.console.sessions.all[sha256.Sum256([]byte(b.cookies[cookieName]))]; !ok {
		t.Error("the session is not found by the hash of its cookie")
	}
	if strings.Contains(h.log.String(), b.cookies[cookieName]) {
		t.Error("the log has the cookie")
	}
}

// A session ends after 12 hours in which no person has asked for anything; what a page asks by itself does not count.
func TestSessionsEnd(t *testing.T) {
	h := openHouse(t, nil)
	b := h.signedIn()
	for range 3 {
		h.wait(sessionRest - time.Minute)
		b.page(aPage)
	}
	live := func() int {
		b.header["X-Partial"] = "live"
		defer delete(b.header, "X-Partial")
		return b.get("/console/t/default/connect/light").status
	}
	for range 12 {
		h.wait(59 * time.Minute)
		if s := live(); s != 200 {
			t.Fatalf("the light: %d", s)
		}
	}
	h.wait(time.Hour)
	if s := live(); s != 401 {
		t.Errorf("the light, after 12 hours: %d", s)
	}
	if a := b.get(aPage); a.status != 303 {
		t.Errorf("after 12 hours: %d", a.status)
	}
	b = h.signedIn()
	b.post("/console/sign-out")
	if len(b.cookies) != 0 {
		t.Errorf("signed out, and %v", b.cookies)
	}
	b = h.signedIn()
	value := b.cookies[cookieName]
	b.post("/console/sign-out")
	b.cookies[cookieName] = value
	if a := b.get(aPage); a.status != 303 {
		t.Errorf("a copy of the cookie, after signing out: %d", a.status)
	}
	for range maxSessions + 10 {
		h.console.sessions.begin(&session{})
	}
	if n := len(h.console.sessions.all); n > maxSessions {
		t.Errorf("%d sessions are kept", n)
	}
}

// Signing in always makes a new session and ends the one before: a cookie that somebody has planted is worth nothing.
func TestFixation(t *testing.T) {
	h := openHouse(t, nil)
	b := h.browser()
	b.cookies[cookieName] = "PLANTED"
	path, _ := h.console.NewLink()
	_, code, _ := strings.Cut(path, "code=")
	b.post("/console/sign-in", "code", code)
	first := b.cookies[cookieName]
	if first == "PLANTED" || first == "" {
		t.Fatalf("the cookie is %q", first)
	}
	path, _ = h.console.NewLink()
	_, code, _ = strings.Cut(path, "code=")
	b.post("/console/sign-in", "code", code)
	if b.cookies[cookieName] == first {
		t.Error("the same session again")
	}
	old := h.browser()
	old.cookies[cookieName] = first
	if a := old.get(aPage); a.status != 303 {
		t.Errorf("the first session is alive: %d", a.status)
	}
}

// A token of the scope admin signs in, others do not, and its end is that of the session.
func TestSignInByToken(t *testing.T) {
	h := openHouse(t, nil)
	admin, plain := h.token(auth.Spec{Name: "me", Scope: auth.ScopeAdmin, Tenant: "acme", TTL: 10 * time.Hour})
	_, client := h.token(auth.Spec{Name: "entra", Scope: auth.ScopeWrite})
	b := h.browser()
	for name, c := range map[string]struct {
		token  string
		status int
		says   string
	}{
		"a client's": {client, 403, "its scope is write"},
		"half":       {plain[:20], 401, "not a complete token"},
		"nothing":    {"", 401, "not a complete token"},
		"of another": {"scimbox_aaaaaaaaaaaa_" + strings.Repeat("A", 59), 401, "not"},
	} {
		if a := b.post("/console/sign-in", "token", c.token); a.status != c.status || !strings.Contains(a.body, c.says) || len(b.cookies) != 0 || c.token != "" && strings.Contains(a.body, c.token) {
			t.Errorf("%s: %d\n%s", name, a.status, a.body)
		}
	}
	if a := b.post("/console/sign-in", "token", " "+plain+"\n"); a.status != 303 {
		t.Fatalf("%d %s", a.status, a.body)
	}
	if a := b.get("/console/"); a.header.Get("Location") != "/console/t/acme/connect" {
		t.Errorf("to %q, not to the token's tenant", a.header.Get("Location"))
	}
	b.page(aPage)
	if strings.Contains(h.log.String(), plain) {
		t.Error("the log has the token")
	}
	other := h.browser()
	other.post("/console/sign-in", "token", plain)
	if err := h.tokens.Revoke(t.Context(), admin.ID, storage.Origin{Actor: "local"}); err != nil {
		t.Fatal(err)
	}
	if a := other.get(aPage); a.status != 303 {
		t.Errorf("its token is revoked: %d", a.status)
	}
	_, plain = h.token(auth.Spec{Name: "me", Scope: auth.ScopeAdmin, TTL: time.Hour})
	b.post("/console/sign-in", "token", plain)
	b.page(aPage)
	h.wait(time.Hour)
	if a := b.get(aPage); a.status != 303 {
		t.Errorf("its token has expired: %d", a.status)
	}
	if a := b.post("/console/sign-in", "token", plain); a.status != 401 || !strings.Contains(a.body, "expired") {
		t.Errorf("expired: %d", a.status)
	}
	last := 0
	for range 40 {
		last = b.post("/console/sign-in", "token", guess(t, h)).status
	}
	if last != http.StatusTooManyRequests {
		t.Errorf("guessing goes on: %d", last)
	}
}

// guess is a well-formed token that nobody has: one of another house.
func guess(t *testing.T, h *house) string {
	t.Helper()
	tok, plain := h.token(auth.Spec{Name: "gone", Scope: auth.ScopeAdmin})
	if err := h.tokens.Revoke(t.Context(), tok.ID, storage.Origin{Actor: "local"}); err != nil {
		t.Fatal(err)
	}
	return plain
}

// Changes are taken from pages of the console's own alone.
func TestForeignPages(t *testing.T) {
	h := openHouse(t, func(o *Options) { o.PublicURL = "https://scim.example.com" })
	for name, c := range map[string]struct {
		header map[string]string
		status int
	}{
		"another site":        {map[string]string{"Sec-Fetch-Site": "cross-site", "Origin": "https://evil.example"}, 403},
		"a neighbour":         {map[string]string{"Sec-Fetch-Site": "same-site", "Origin": "http://127.0.0.1:9999"}, 403},
		"an older browser":    {map[string]string{"Sec-Fetch-Site": "", "Origin": "https://evil.example"}, 403},
		"nothing is said":     {map[string]string{"Sec-Fetch-Site": "", "Origin": ""}, 403},
		"a sandbox":           {map[string]string{"Sec-Fetch-Site": "", "Origin": "null"}, 403},
		"itself":              {nil, 303},
		"behind another name": {map[string]string{"Sec-Fetch-Site": "", "Origin": "https://scim.example.com"}, 303},
	} {
		b := h.signedIn()
		for k, v := range c.header {
			b.header[k] = v
		}
		a := b.post("/console/tokens", "name", name, "tenant", "default", "scope", "write", "days", "30")
		if a.status != c.status {
			t.Errorf("%s: %d, want %d\n%s", name, a.status, c.status, a.body)
		}
	}
	list, err := h.tokens.List(t.Context())
	if err != nil || len(list) != 2 {
		t.Errorf("%d tokens were made, want 2; %v", len(list), err)
	}
	// What changes something is no address that a link could lead to.
	b := h.signedIn()
	for _, path := range []string{"/console/sign-out", "/console/tokens/" + list[0].ID + "/revoke"} {
		if a := b.get(path); a.status != 404 && a.status != 405 {
			t.Errorf("GET %s: %d", path, a.status)
		}
	}
	if tok, err := h.tokens.Get(t.Context(), list[0].ID); err != nil || !tok.Revoked.IsZero() {
		t.Errorf("%+v, %v", tok, err)
	}
	b.page(aPage)
}

// A cookie says what browsers are to do with it: no script, no other site, and over https only by https.
func TestCookies(t *testing.T) {
	for name, c := range map[string]struct {
		base, public, forwarded string
		cookie                  string
	}{
		"this machine":           {"http://127.0.0.1:8080", "", "", cookieName},
		"https":                  {"https://scim.example.com", "", "", secureCookieName},
		"behind a proxy":         {"http://scim.example.com", "https://scim.example.com", "", secureCookieName},
		"behind another proxy":   {"http://10.0.0.1:8080", "", "https", secureCookieName},
		"beside the proxy":       {"http://127.0.0.1:8080", "https://scim.example.com", "", cookieName},
		"a proxy without a name": {"http://127.0.0.1:8080", "", "HTTPS", secureCookieName},
	} {
		h := openHouse(t, func(o *Options) { o.PublicURL = c.public })
		b := h.browser()
		b.base = c.base
		if c.forwarded != "" {
			b.header["X-Forwarded-Proto"] = c.forwarded
		}
		path, _ := h.console.NewLink()
		_, code, _ := strings.Cut(path, "code=")
		got := b.post("/console/sign-in", "code", code).header.Get("Set-Cookie")
		want := c.cookie + "=" + b.cookies[c.cookie] + "; Path=/; HttpOnly"
		if c.cookie == secureCookieName {
			want += "; Secure"
		}
		if want += "; SameSite=Strict"; got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
		b.page(aPage)
		if c.cookie == secureCookieName { // one that came without encryption does not count
			b.cookies[cookieName] = b.cookies[secureCookieName]
			delete(b.cookies, secureCookieName)
			if a := b.get(aPage); a.status != 303 {
				t.Errorf("%s: a cookie that anybody could have planted: %d", name, a.status)
			}
		}
	}
}
