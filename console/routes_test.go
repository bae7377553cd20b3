package console

import (
	"maps"
	"slices"
	"strings"
	"testing"

	"scimbox/auth"
)

// changing are the routes that change something, and what a form of the console's own has in it so that they do.
var changing = map[string][]string{
	"POST /console/sign-in":                  {"token", "x"},
	"POST /console/sign-out":                 nil,
	"POST /console/t/{tenant}/connect/token": {"preset", "entra", "name", "made", "scope", "write", "days", "30"},
	"POST /console/tokens":                   {"name", "made", "tenant", "default", "scope", "write", "days", "30"},
	"POST /console/tokens/{id}/revoke":       nil,
	"POST /console/tokens/{id}/rotate":       {"overlap", "7"},
	"POST /console/guard/{which}/{decision}": nil,
}

// foreign is what requests say of themselves that no page of the console has sent.
var foreign = map[string]map[string]string{
	"another site":                   {"Sec-Fetch-Site": "cross-site", "Origin": "https://evil.example"},
	"another site, without its name": {"Sec-Fetch-Site": "cross-site", "Origin": ""},
	"a neighbour":                    {"Sec-Fetch-Site": "same-site", "Origin": "http://127.0.0.1:9999"},
	"an older browser":               {"Sec-Fetch-Site": "", "Origin": "https://evil.example"},
	"the same name without https":    {"Sec-Fetch-Site": "", "Origin": "http://127.0.0.1"},
	"a sandbox":                      {"Sec-Fetch-Site": "", "Origin": "null"},
	"a sandbox of another site":      {"Sec-Fetch-Site": "cross-site", "Origin": "null"},
	"nothing is said":                {"Sec-Fetch-Site": "", "Origin": ""},
	"a word that there is not":       {"Sec-Fetch-Site": "own", "Origin": "https://evil.example"},
	"its address as Referer alone":   {"Sec-Fetch-Site": "", "Origin": "", "Referer": "http://127.0.0.1:8080/console/"},
}

// routesOf are all of a console, each with an address that it answers at, but for an id.
func routesOf(h *house) map[string]string {
	fill := strings.NewReplacer("{tenant}", "default", "{file}", "console.css", "{endpoint}", "users", "{set}", "members", "{which}", "default", "{decision}", "approve", "{$}", "")
	all := map[string]string{}
	for _, pattern := range append(slices.Collect(maps.Keys(h.console.openRoutes())), slices.Collect(maps.Keys(h.console.pages()))...) {
		_, path, _ := strings.Cut(pattern, " ")
		all[pattern] = fill.Replace(path)
	}
	return all
}

// What changes something is changed by pages of the console alone, and looking changes nothing: asked of every route there is, so
// that a new one is asked too.
func TestEveryRouteIsGuarded(t *testing.T) {
	h := openHouse(t, nil)
	h.user("ada", "")
	routes := routesOf(h)
	for pattern := range changing {
		if routes[pattern] == "" {
			t.Errorf("%s is no route any more", pattern)
		}
	}
	for _, pattern := range slices.Sorted(maps.Keys(routes)) {
		t.Run(pattern, func(t *testing.T) {
			method, _, _ := strings.Cut(pattern, " ")
			tok, _ := h.token(auth.Spec{Name: pattern, Scope: auth.ScopeWrite})
			path, open := strings.ReplaceAll(routes[pattern], "{id}", tok.ID), h.console.openRoutes()[pattern] != nil
			b := h.signedIn()
			cookie, seq := b.cookies[cookieName], h.store.LastSeq()
			same := func(what string) {
				t.Helper()
				if now := h.store.LastSeq(); now != seq {
					t.Errorf("%s: something was changed", what)
				}
				if h.console.sessions.find(cookie, false) == nil || b.cookies[cookieName] != cookie {
					t.Errorf("%s: the session has ended, or another has begun", what)
				}
			}
			// Whatever a method is called, and whether or not the route has it.
			for name, header := range foreign {
				for _, m := range []string{"POST", "PUT", "PATCH", "DELETE"} {
					b.header = header
					a := b.do(m, path, map[string][]string{"name": {"planted"}})
					if a.status != 403 && a.status != 405 && a.status != 404 || m == "POST" && a.status != 403 {
						t.Errorf("%s, %s: %d", m, name, a.status)
					}
					same(m + ", " + name)
					framed(t, a)
				}
			}
			b.header = map[string]string{}
			switch form, known := changing[pattern]; {
			case method == "GET":
				for name, header := range foreign {
					b.header = header
					framed(t, b.get(path))
					same("GET, " + name)
				}
				if a := h.browser().get(path); !open && (a.status != 303 || a.header.Get("Location") != "/console/sign-in" || a.header.Get("Set-Cookie") != "") {
					t.Errorf("without a session: %d to %q", a.status, a.header.Get("Location"))
				}
			case method != "POST" || !known:
				t.Errorf("what changes something is a POST that stands in the table of this test")
			default:
				if a := h.browser().post(path, form...); !open && (a.status != 303 || a.header.Get("Location") != "/console/sign-in") {
					t.Errorf("without a session: %d to %q", a.status, a.header.Get("Location"))
				}
				same("without a session")
				// The table's forms do what they are for, so that what was refused above would have, too.
				a := b.post(path, form...)
				changed := h.store.LastSeq() != seq || h.console.sessions.find(cookie, false) == nil
				if asks := pattern == "POST /console/sign-in" || strings.Contains(pattern, "guard"); a.status == 403 || changed == asks {
					t.Errorf("by the console itself: %d, changed is %t\n%s", a.status, changed, a.body)
				}
				framed(t, a)
			}
		})
	}
}

// framed fails the test unless an answer can be shown in nobody's frame, run nobody's script, and be kept nowhere.
func framed(t *testing.T, a answer) {
	t.Helper()
	for name, want := range map[string]string{
		"Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
		"X-Frame-Options":         "DENY", "X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer",
		"Cross-Origin-Opener-Policy": "same-origin", "Cross-Origin-Resource-Policy": "same-origin",
	} {
		if got := a.header.Values(name); len(got) != 1 || got[0] != want {
			t.Errorf("%d with %s %q", a.status, name, got)
		}
	}
	if got := a.header.Get("Cache-Control"); !strings.Contains(got, "no-store") && !strings.Contains(got, "immutable") && !strings.Contains(got, "no-cache") {
		t.Errorf("%d with Cache-Control %q", a.status, got)
	}
	if got := a.header.Get("Access-Control-Allow-Origin"); got != "" {
		t.Errorf("%d with Access-Control-Allow-Origin %q", a.status, got)
	}
}

// Nobody can sign a browser in to somebody else's session (login CSRF): neither by a link that is opened, nor by a form of another
// site, with a code or a token that are good.
func TestNobodyElseSignsIn(t *testing.T) {
	h := openHouse(t, nil)
	_, plain := h.token(auth.Spec{Name: "evil", Scope: auth.ScopeAdmin})
	path, _ := h.console.NewLink()
	_, code, _ := strings.Cut(path, "code=")
	b := h.browser()
	for name, header := range foreign {
		b.header = header
		for _, form := range [][]string{{"code", code}, {"token", plain}} {
			if a := b.post("/console/sign-in", form...); a.status != 403 || len(b.cookies) != 0 {
				t.Errorf("%s: %d, %v", name, a.status, b.cookies)
			}
		}
		if a := b.get(path); a.status != 200 || len(b.cookies) != 0 {
			t.Errorf("%s, the link: %d, %v", name, a.status, b.cookies)
		}
	}
	b.header = map[string]string{}
	if a := b.post("/console/sign-in", "code", code); a.status != 303 || len(b.cookies) != 1 {
		t.Errorf("the code was used up by others: %d", a.status)
	}
}
