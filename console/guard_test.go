package console

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"scimbox/auth"
	"scimbox/scim"
	"scimbox/storage"
)

// trip makes the guard of the tenant default hold, with a token of the name entra, and returns who is left.
func (h *house) trip() (left []string) {
	h.t.Helper()
	tok, _ := h.token(auth.Spec{Name: "entra <b>", Scope: auth.ScopeWrite, Preset: "entra"})
	var ids []string
	for i := range guardMost + 2 {
		ids = append(ids, h.user(fmt.Sprintf("user-%d", i), `"active":true`))
	}
	for i, id := range ids {
		r, w := httptest.NewRequest("DELETE", scim.BasePath+"/Users/"+id, nil), httptest.NewRecorder()
		h.scim.ServeHTTP(w, r.WithContext(scim.WithCaller(r.Context(), scim.Caller{Tenant: "default", Actor: tok.ID})))
		if held := w.Code == http.StatusTooManyRequests; held != (i >= guardMost) {
			h.t.Fatalf("deletion %d: %d %s", i, w.Code, w.Body)
		}
	}
	return ids[guardMost:]
}

func (h *house) guardIs(state string) {
	h.t.Helper()
	if g, err := h.service.Guard(h.t.Context(), "default"); err != nil || g.State != state {
		h.t.Fatalf("the guard is %s, want %s: %v", g.State, state, err)
	}
}

// The page of a guard says what was held first, by whom and since when, and takes the decision, in the name of whoever makes it.
func TestGuard(t *testing.T) {
	h := openHouse(t, nil)
	b := h.signedIn()
	if text := plainText(b.page("/console/guard")); !strings.Contains(text, "default armed 0 of 5 in the last hour") {
		t.Error(text)
	}
	left := h.trip()
	h.wait(3 * time.Hour)
	if text := plainText(b.page("/console/guard")); !strings.Contains(text, "default holds back 0 of 5") || strings.Index(text, "default") > strings.Index(text, "acme") {
		t.Errorf("who has to be decided about does not come first: %s", text)
	}
	text := plainText(b.page("/console/guard/default"))
	for _, want := range []string{"default holds back", "Since 3 hours ago", "Held first delete of the User " + left[0], "By entra <b> ,", "0 in the last hour, of 5 that may be"} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in %s", want, text)
		}
	}
	if text := plainText(b.page("/console/health")); !strings.Contains(text, "needs you") || !strings.Contains(text, "Mass changes in default : bad") || !strings.Contains(text, "delete of the User "+left[0]) {
		t.Errorf("health: %s", text)
	}
	if text := plainText(b.page("/console/guard/acme")); !strings.Contains(text, "acme armed") || strings.Contains(text, left[0]) {
		t.Errorf("another tenant's: %s", text)
	}

	for name, form := range map[string][]string{
		"no time": nil, "no duration": {"for", "soon"}, "for ever": {"for", "9999h"}, "the past": {"for", "-1h"},
		"no number": {"for", "1h", "changes", "many"}, "less than none": {"for", "1h", "changes", "-1"},
	} {
		if a := b.post("/console/guard/default/approve", form...); a.status != 400 || !strings.Contains(a.body, "Nothing was decided") {
			t.Errorf("%s: %d\n%s", name, a.status, a.body)
		}
	}
	for _, path := range []string{"/console/guard/nobody/approve", "/console/guard/$system/approve", "/console/guard/default/forget"} {
		if a := b.post(path, "for", "1h"); a.status != 404 {
			t.Errorf("%s: %d", path, a.status)
		}
	}
	h.guardIs(scim.GuardHolding)

	for _, step := range []struct {
		decision string
		form     []string
		state    string
		says     string
	}{
		{"reject", nil, scim.GuardRejected, "is refused, until the guard is armed anew"},
		{"approve", []string{"for", "4h", "changes", "12"}, scim.GuardApproved, "For 4 hours, or until 12 changes were made"},
		{"approve", []string{"for", "168h", "changes", ""}, scim.GuardApproved, "For 7 days everything is let through"},
		{"rearm", nil, scim.GuardArmed, "counts anew from nothing"},
	} {
		a := b.post("/console/guard/default/"+step.decision, step.form...)
		if a.status != 303 || a.header.Get("Location") != "/console/guard/default" {
			t.Fatalf("%s: %d\n%s", step.decision, a.status, a.body)
		}
		h.guardIs(step.state)
		if text := plainText(b.page("/console/guard/default")); !strings.Contains(text, step.says) {
			t.Errorf("%s: %s", step.decision, text)
		}
	}
	journal, err := h.store.Journal(t.Context(), 0, 1000)
	if err != nil {
		t.Fatal(err)
	}
	decided := 0
	for _, e := range journal {
		if strings.HasPrefix(e.Op, "guard-") {
			decided++
			if e.Actor != Actor || e.Client != "192.0.2.1" || e.Request != "req-1" {
				t.Errorf("%+v", e)
			}
		}
	}
	if decided != 4 {
		t.Errorf("the journal has %d decisions, want 4", decided)
	}
}

// Who may decide: whoever is signed in to the console, by a link or with a token of the scope admin that is in force, from a page
// of the console. Nobody else, and no link that somebody is led to.
func TestWhoMayDecide(t *testing.T) {
	h := openHouse(t, nil)
	h.trip()
	admin, secret := h.token(auth.Spec{Name: "me", Scope: auth.ScopeAdmin})
	signedInBy := func(plain string) *browser {
		b := h.browser()
		b.post("/console/sign-in", "token", plain)
		return b
	}
	foreign := func(header map[string]string) *browser {
		b := h.signedIn()
		b.header = header
		return b
	}
	_, writer := h.token(auth.Spec{Name: "entra", Scope: auth.ScopeWrite})
	gone, ended := h.token(auth.Spec{Name: "former", Scope: auth.ScopeAdmin})
	former := signedInBy(ended)
	former.page(aPage)
	if err := h.tokens.Revoke(t.Context(), gone.ID, storage.Origin{Actor: "local"}); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		b      *browser
		status int
	}{
		"nobody":                   {h.browser(), 303},
		"a client's token":         {signedInBy(writer), 303},
		"a token that was revoked": {former, 303},
		"another site's page":      {foreign(map[string]string{"Sec-Fetch-Site": "cross-site", "Origin": "https://evil.example"}), 403},
		"a neighbour's page":       {foreign(map[string]string{"Sec-Fetch-Site": "same-site", "Origin": "http://127.0.0.1:9999"}), 403},
		"no browser":               {foreign(map[string]string{"Sec-Fetch-Site": "", "Origin": ""}), 403},
	} {
		for _, decision := range []string{"approve", "reject", "rearm"} {
			a := c.b.post("/console/guard/default/"+decision, "for", "1h")
			if a.status != c.status || a.status == 303 && a.header.Get("Location") != "/console/sign-in" {
				t.Errorf("%s: %s: %d to %q", name, decision, a.status, a.header.Get("Location"))
			}
			h.guardIs(scim.GuardHolding)
		}
	}
	b := signedInBy(secret)
	for _, decision := range []string{"approve", "reject", "rearm"} {
		if a := b.get("/console/guard/default/" + decision + "?for=1h"); a.status != 404 && a.status != 405 {
			t.Errorf("GET %s: %d", decision, a.status)
		}
	}
	h.guardIs(scim.GuardHolding)
	if a := b.post("/console/guard/default/approve", "for", "1h"); a.status != 303 {
		t.Errorf("an admin: %d %s", a.status, a.body)
	}
	h.guardIs(scim.GuardApproved)
	journal, err := h.store.Journal(t.Context(), 0, 1000)
	if err != nil {
		t.Fatal(err)
	}
	if last := journal[len(journal)-1]; last.Op != "guard-approved" || last.Actor != admin.ID {
		t.Errorf("%+v", last)
	}
}

// Without a guard the page says how to turn it on, and there is nothing to decide.
func TestGuardThatIsOff(t *testing.T) {
	h := openHouse(t, func(o *Options) { o.Guard = nil })
	b := h.signedIn()
	if text := plainText(b.page("/console/guard")); !strings.Contains(text, "It is off") || !strings.Contains(text, "[guard] enabled = true") {
		t.Error(text)
	}
	if a := b.get("/console/guard/default"); a.status != 404 {
		t.Errorf("a guard that is none: %d", a.status)
	}
	if a := b.post("/console/guard/default/rearm"); a.status != 404 {
		t.Errorf("a decision about none: %d", a.status)
	}
	h.guardIs(scim.GuardArmed)
}
