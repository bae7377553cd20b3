package auth

import (
	"encoding/base64"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// door is Middleware in front of a handler that answers 200 with the id and the tenant of the token.
func (h *house) door(o MiddlewareOptions) http.Handler {
	if o.WriteError == nil {
		o.WriteError = func(w http.ResponseWriter, _ *http.Request, status int, scimType, detail string) {
			w.WriteHeader(status)
			fmt.Fprintf(w, "scim error %q %s", scimType, detail)
		}
	}
	return h.Middleware(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		tok, ok := FromContext(r.Context())
		fmt.Fprint(w, ok, " ", tok.ID, " ", tok.Tenant)
	}), o)
}

func request(method, target string, authorization ...string) *http.Request {
	r := httptest.NewRequest(method, target, nil)
	r.Header["Authorization"] = authorization
	if authorization == nil {
		r.Header.Del("Authorization")
	}
	return r
}

func basic(user, password string) string {
	return "Basic " + base64.StdEncoding.EncodeToString([]byte(user+":"+password))
}

const (
	basicChallenge = `Basic realm="scimbox", charset="UTF-8"`
	noToken        = `Bearer realm="scimbox"`
	badForm        = `Bearer realm="scimbox", error="invalid_token", error_description="not a complete token"`
	badToken       = `Bearer realm="scimbox", error="invalid_token", error_description="the token is not valid"`
	badBasic       = `Bearer realm="scimbox", error="invalid_token", error_description="the Basic credentials cannot be read"`
	oldToken       = `Bearer realm="scimbox", error="invalid_token", error_description="the token has expired"`
	narrowToken    = `Bearer realm="scimbox", error="insufficient_scope", error_description="the token may only read", scope="write"`
	manyHeaders    = `Bearer realm="scimbox", error="invalid_request", error_description="several Authorization headers"`
)

func TestMiddleware(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := openHouse(t, Options{FailureBurst: 1000})
		write, w := h.create(Spec{Tenant: "acme"})
		read, ro := h.create(Spec{Scope: ScopeRead})
		all, rw := h.create(Spec{Scope: ScopeAdmin, Tenant: "acme"})
		gone, revoked := h.create(Spec{})
		_, expired := h.create(Spec{TTL: time.Minute})
		if err := h.Revoke(t.Context(), gone.ID, admin); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)

		asWrite, asRead := "true "+write.ID+" acme", "true "+read.ID+" default"
		const users = "/scim/v2/Users"
		tests := []struct {
			name      string
			r         *http.Request
			status    int
			body      string // all of it for 200
			challenge string // the Bearer one
		}{
			{"bearer", request("GET", users, "Bearer "+w), 200, asWrite, ""},
			{"bearer in lower case", request("POST", users, "bearer "+w), 200, asWrite, ""},
			{"bearer in upper case", request("POST", users, "BEARER   "+w+" "), 200, asWrite, ""},
			{"basic", request("POST", users, basic("anybody", w)), 200, asWrite, ""},
			{"basic without a user", request("POST", users, strings.Replace(basic("", w), "Basic", "bAsIc", 1)), 200, asWrite, ""},
			{"bare token", request("POST", users, w), 200, asWrite, ""},
			{"admin writes", request("POST", users, "Bearer "+rw), 200, "true " + all.ID + " acme", ""},

			{"nothing", request("GET", users), 401, "needs a token", noToken},
			{"empty header", request("GET", users, ""), 401, "needs a token", noToken},
			{"bearer without a token", request("GET", users, "Bearer "), 401, "needs a token", noToken},
			{"unknown scheme", request("GET", users, "Digest username=x"), 401, "needs a token", noToken},
			{"token in the query string", request("GET", users+"?access_token="+w), 401, "needs a token", noToken},
			{"a token of somebody else", request("GET", users, "Bearer eyJhbGciOiJIUzI1NiJ9.e30.x"), 401, "not a complete", badForm},
			{"cut short", request("GET", users, "Bearer "+w[:len(w)-1]), 401, "not a complete", badForm},
			{"bearer twice", request("GET", users, "Bearer Bearer "+w), 401, "not a complete", badForm},
			{"two in one header", request("GET", users, "Bearer "+w+", Bearer "+w), 401, "not a complete", badForm},
			{"bare token cut short", request("GET", users, w[:20]), 401, "not a complete", badForm},
			{"unknown", request("GET", users, "Bearer "+guess()), 401, "not valid", badToken},
			{"wrong secret", request("GET", users, "Bearer "+compose(write.ID, newPlain())), 401, "not valid", badToken},
			{"revoked", request("GET", users, "Bearer "+revoked), 401, "not valid", badToken},
			{"expired", request("GET", users, "Bearer "+expired), 401, "has expired", oldToken},
			{"basic, wrong secret", request("GET", users, basic("x", guess())), 401, "not valid", badToken},
			{"basic, token as the user", request("GET", users, basic(w, "")), 401, "not a complete", badForm},
			{"basic that is no base64", request("GET", users, "Basic !!"), 401, "not base64", badBasic},
			{"basic without a colon", request("GET", users, "Basic "+base64.StdEncoding.EncodeToString([]byte(w))), 401, "not base64", badBasic},
			{"two headers", request("GET", users, "Bearer "+w, "Bearer "+ro), 400, "several", manyHeaders},
			{"the same header twice", request("GET", users, "Bearer "+w, "Bearer "+w), 400, "several", manyHeaders},

			{"read: GET", request("GET", users, "Bearer "+ro), 200, asRead, ""},
			{"read: HEAD", request("HEAD", users, "Bearer "+ro), 200, asRead, ""},
			{"read: OPTIONS", request("OPTIONS", users, "Bearer "+ro), 200, asRead, ""},
			{"read: POST to .search", request("POST", users+"/.search", "Bearer "+ro), 200, asRead, ""},
			{"read: POST to .search of the root", request("POST", "/scim/v2/.search/?x=y", "Bearer "+ro), 200, asRead, ""},
			{"read: POST", request("POST", users, "Bearer "+ro), 403, "may only read", narrowToken},
			{"read: PUT", request("PUT", users+"/1", "Bearer "+ro), 403, "may only read", narrowToken},
			{"read: PATCH", request("PATCH", users+"/1", "Bearer "+ro), 403, "may only read", narrowToken},
			{"read: DELETE", request("DELETE", users+"/1", "Bearer "+ro), 403, "may only read", narrowToken},
			{"read: PATCH to .search", request("PATCH", users+"/.search", "Bearer "+ro), 403, "may only read", narrowToken},
			{"read: unknown method", request("PURGE", users, "Bearer "+ro), 403, "may only read", narrowToken},
			{"read: .search in the query string", request("POST", users+"?/.search", "Bearer "+ro), 403, "may only read", narrowToken},
			{"read: name that ends like .search", request("POST", users+"/x.search", "Bearer "+ro), 403, "may only read", narrowToken},
		}
		door := h.door(MiddlewareOptions{})
		for _, tt := range tests {
			got := httptest.NewRecorder()
			door.ServeHTTP(got, tt.r)
			body := got.Body.String()
			if got.Code != tt.status || tt.status == 200 && body != tt.body || !strings.Contains(body, tt.body) {
				t.Errorf("%s: %d %s, want %d %s", tt.name, got.Code, body, tt.status, tt.body)
			}
			if tt.status != 200 && !strings.HasPrefix(body, `scim error "" `) {
				t.Errorf("%s: the body was not written by WriteError: %s", tt.name, body)
			}
			var want []string
			if tt.challenge != "" {
				want = append(want, tt.challenge)
			}
			if tt.status == 401 {
				want = append(want, basicChallenge)
			}
			if challenge := got.Header()["Www-Authenticate"]; !slices.Equal(challenge, want) {
				t.Errorf("%s: WWW-Authenticate\n got %q\nwant %q", tt.name, challenge, want)
			}
			if holdsToken(fmt.Sprint(got.Header(), body)) {
				t.Errorf("%s: the answer shows the token", tt.name)
			}
		}
	})
}

func TestMiddlewareStrict(t *testing.T) {
	h := openHouse(t, Options{})
	_, plain := h.create(Spec{})
	door := h.door(MiddlewareOptions{Strict: true, Realm: `a "b" \c`})
	got := httptest.NewRecorder()
	door.ServeHTTP(got, request("GET", "/", plain))
	if want := `Bearer realm="a \"b\" \\c"`; got.Code != 401 || got.Header().Get("WWW-Authenticate") != want {
		t.Errorf("bare token: %d %v", got.Code, got.Header())
	}
	got = httptest.NewRecorder()
	door.ServeHTTP(got, request("GET", "/", "Bearer "+plain))
	if got.Code != 200 {
		t.Errorf("bearer: %d", got.Code)
	}
}

func TestMiddlewarePublic(t *testing.T) {
	h := openHouse(t, Options{})
	tok, plain := h.create(Spec{Scope: ScopeRead})
	door := h.door(MiddlewareOptions{Public: func(r *http.Request) bool { return r.URL.Path == "/public" }})
	for _, tt := range []struct {
		name   string
		r      *http.Request
		status int
		body   string
	}{
		{"without", request("GET", "/public"), 200, "false  "},
		{"with", request("GET", "/public", "Bearer "+plain), 200, "true " + tok.ID + " default"},
		{"with a scheme of somebody else", request("GET", "/public", "Negotiate x"), 200, "false  "},
		{"with a wrong one", request("GET", "/public", "Bearer "+guess()), 401, "not valid"},
		{"with two", request("GET", "/public", "Bearer "+plain, "Bearer "+plain), 400, "several"},
		{"elsewhere", request("GET", "/private"), 401, "needs a token"},
	} {
		got := httptest.NewRecorder()
		door.ServeHTTP(got, tt.r)
		if got.Code != tt.status || !strings.Contains(got.Body.String(), tt.body) {
			t.Errorf("%s: %d %s", tt.name, got.Code, got.Body)
		}
	}
}

func TestMiddlewareLimits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := openHouse(t, Options{FailureBurst: 2, FailureEvery: 90 * time.Second})
		_, plain := h.create(Spec{})
		client := here
		door := h.door(MiddlewareOptions{ClientAddr: func(*http.Request) netip.Addr { return client }})
		send := func(token string, status int, retryAfter string) {
			t.Helper()
			got := httptest.NewRecorder()
			door.ServeHTTP(got, request("GET", "/", "Bearer "+token))
			if got.Code != status || got.Header().Get("Retry-After") != retryAfter {
				t.Errorf("%d, Retry-After %q; want %d, %q", got.Code, got.Header().Get("Retry-After"), status, retryAfter)
			}
			if status == 429 && got.Header().Get("WWW-Authenticate") != "" {
				t.Error("429 asks for credentials")
			}
		}
		send(guess(), 401, "")
		send(guess(), 401, "")
		send(guess(), 429, "90")
		time.Sleep(500 * time.Millisecond)
		send(guess(), 429, "90") // rounded up: never too early
		send(plain, 429, "90")
		client = there
		send(plain, 200, "")
		client = here
		send(plain, 200, "")
		time.Sleep(90 * time.Second)
		send(guess(), 401, "")

		unblock := h.block()
		h.waiting.Store(h.queue)
		client = netip.Addr{}
		send(guess(), 503, "1")
		h.waiting.Store(0)
		unblock()
	})
}

func TestMiddlewareDefaults(t *testing.T) {
	h := openHouse(t, Options{FailureBurst: 1, FailureEvery: time.Hour})
	door := h.Middleware(http.NotFoundHandler(), MiddlewareOptions{})
	for _, tt := range []struct {
		remote string
		status int
	}{
		{"192.0.2.1:1234", 401}, {"192.0.2.1:4321", 429}, {"[2001:db8::1]:1", 401}, {"[2001:db8::2]:1", 429}, {"@", 401}, {"", 429},
	} {
		r := request("GET", "/", "Bearer "+guess())
		r.RemoteAddr = tt.remote
		got := httptest.NewRecorder()
		door.ServeHTTP(got, r)
		if got.Code != tt.status {
			t.Errorf("from %q: %d, want %d", tt.remote, got.Code, tt.status)
		}
	}
}

// What goes wrong inside is told to the log, and not to the client.
func TestMiddlewareHidesFaults(t *testing.T) {
	h := openHouse(t, Options{})
	tok, plain := h.create(Spec{})
	h.breakRecord(tok.ID)
	got := httptest.NewRecorder()
	h.door(MiddlewareOptions{}).ServeHTTP(got, request("GET", "/", "Bearer "+plain))
	if got.Code != 500 || strings.Contains(got.Body.String(), tok.ID) {
		t.Errorf("%d %s", got.Code, got.Body)
	}
	if lines := h.log.lines(t, "a token could not be verified"); len(lines) != 1 || !strings.Contains(fmt.Sprint(lines[0]["error"]), tok.ID) {
		t.Errorf("log: %v", lines)
	}
}
