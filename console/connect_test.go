package console

import (
	"net/netip"
	"strings"
	"testing"
	"time"
)

var netipAddr = netip.MustParseAddr("198.51.100.7")

// The light says what has arrived, and if something is wrong what it is and what to do about it.
func TestLight(t *testing.T) {
	ok := Request{Method: "GET", Path: "/scim/v2/Users", Filtered: true, Status: 200, Token: "tok", Tenant: "default", Credentials: true}
	with := func(change func(*Request)) Request {
		q := ok
		change(&q)
		return q
	}
	refused := func(status int, detail string) Request {
		return Request{Method: "GET", Path: "/scim/v2/Users", Status: status, Detail: detail, Credentials: true}
	}
	for name, c := range map[string]struct {
		q     Request
		state string
		says  []string
	}{
		"test connection":  {ok, "good", []string{"Connected", "what Test Connection sends", "answered with 200"}},
		"a user":           {with(func(q *Request) { q.Method, q.Status, q.Filtered = "POST", 201, false }), "good", []string{"Connected", "created below users"}},
		"no path":          {with(func(q *Request) { q.Path, q.Status, q.Token, q.Tenant = "/Users", 404, "", "" }), "bad", []string{"Tenant URL is not complete", "went to /Users", "https://scim.example.com/scim/v2"}},
		"another path":     {with(func(q *Request) { q.Path, q.Status, q.Token, q.Tenant = "/scim/Users", 404, "", "" }), "bad", []string{"Tenant URL is not complete"}},
		"path twice":       {with(func(q *Request) { q.Path, q.Status = "/scim/v2/scim/v2/Users", 404 }), "bad", []string{"has its path twice"}},
		"no token":         {with(func(q *Request) { q.Status, q.Token, q.Tenant, q.Credentials = 401, "", "", false }), "bad", []string{"had no token", "Secret Token"}},
		"wrong token":      {refused(401, "the token is not valid on this server"), "bad", []string{"The token was refused", "The token is not valid on this server."}},
		"may only read":    {refused(403, "the token may only read"), "bad", []string{"may not do this", "scope write"}},
		"http":             {with(func(q *Request) { q.Status, q.Token, q.Tenant, q.Credentials = 308, "", "", false }), "bad", []string{"came by http", "Tenant URL: https://"}},
		"http and a token": {refused(403, ""), "bad", []string{"came by http", "replace it"}},
		"guessing":         {refused(429, "too many"), "bad", []string{"Too many wrong tokens"}},
		"broken":           {with(func(q *Request) { q.Status, q.ID = 500, "abc" }), "bad", []string{"could not answer", "request abc"}},
		"taken":            {with(func(q *Request) { q.Status, q.Detail = 409, "another User has this userName already" }), "bad", []string{"same name", "Another User has this userName already."}},
		"unknown user":     {with(func(q *Request) { q.Path, q.Status = "/scim/v2/Users/x", 404 }), "bad", []string{"Restart provisioning"}},
		"odd value":        {with(func(q *Request) { q.Method, q.Status, q.Detail = "PATCH", 400, "active is a list" }), "bad", []string{"was refused", "Active is a list.", "mapping"}},
		"looking around": {with(func(q *Request) {
			q.Path, q.Token, q.Tenant, q.Filtered = "/scim/v2/ServiceProviderConfig", "", "", false
		}), "good", []string{"needs no token"}},
	} {
		t.Run(name, func(t *testing.T) {
			h := openHouse(t, nil)
			b := h.signedIn()
			if body := b.page("/console/t/default/connect"); !strings.Contains(body, `class="light waiting"`) || !strings.Contains(body, "Waiting for Test Connection") {
				t.Errorf("at first: %s", body)
			}
			c.q.Time = h.clock()
			h.console.Observe(c.q)
			b.header["X-Partial"] = "live"
			part := b.page("/console/t/default/connect/light")
			text := plainText("<main>" + part)
			if !strings.Contains(part, `class="light `+c.state+`"`) {
				t.Errorf("not %s: %s", c.state, text)
			}
			for _, want := range c.says {
				if !strings.Contains(text, want) {
					t.Errorf("no %q in: %s", want, text)
				}
			}
			h.wait(lightMemory + time.Minute)
			b = h.signedIn()
			b.header["X-Partial"] = "live"
			if part := b.page("/console/t/default/connect/light"); !strings.Contains(part, "waiting") {
				t.Errorf("a day later: %s", part)
			}
		})
	}
}

// What scanners ask for, and other tenants' clients, moves no light. The ring forgets what is old.
func TestLightIgnores(t *testing.T) {
	h := openHouse(t, nil)
	b := h.signedIn()
	for _, q := range []Request{
		{Method: "GET", Path: "/.env", Status: 404}, {Method: "GET", Path: "/", Status: 200}, {Method: "POST", Path: "/wp-login.php", Status: 404},
		{Method: "GET", Path: "/scim/v2/Users", Status: 200, Token: "x", Tenant: "acme", Credentials: true},
	} {
		q.Time = h.clock()
		h.console.Observe(q)
	}
	if body := b.page("/console/t/default/connect"); !strings.Contains(body, `class="light waiting"`) {
		t.Error("it has moved")
	}
	if body := b.page("/console/t/acme/connect"); !strings.Contains(body, `class="light good"`) {
		t.Error("it has not moved")
	}
	for range 5 * maxRecent {
		h.console.Observe(Request{Time: h.clock(), Path: "/Users", Status: 404})
	}
	if n := len(h.console.recent.ring); n > 2*maxRecent {
		t.Errorf("%d requests are kept", n)
	}
}

// Connect has what Entra asks for, makes a token of the right kind, and the sheet has the operator's own attributes.
func TestConnect(t *testing.T) {
	h := openHouse(t, nil)
	b := h.signedIn()
	body := b.page("/console/t/acme/connect")
	for _, want := range []string{`value="https://scim.example.com/scim/v2"`, "Tenant URL", "Secret Token", "Test Connection", "Provision on demand", "tenant <strong>acme</strong>"} {
		if !strings.Contains(body, want) {
			t.Errorf("no %q", want)
		}
	}
	if strings.Contains(body, "Entra needs an address that begins with https") {
		t.Error("a warning for nothing")
	}
	if a := b.post("/console/t/acme/connect/token"); a.status != 303 || a.header.Get("Location") != "/console/t/acme/connect" {
		t.Fatalf("%d", a.status)
	}
	body = b.page("/console/t/acme/connect")
	_, plain, _ := strings.Cut(body, `id="secret" type="text" readonly spellcheck="false" autocomplete="off" value="`)
	plain, _, _ = strings.Cut(plain, `"`)
	tok, err := h.tokens.Verify(t.Context(), plain, netipAddr)
	if err != nil || tok.Tenant != "acme" || tok.Preset != "entra" || !tok.Scope.CanWrite() || tok.Scope == "admin" {
		t.Errorf("%+v, %v", tok, err)
	}
	if body = b.page("/console/t/acme/connect"); strings.Contains(body, plain) || !strings.Contains(body, "In force for this tenant") {
		t.Error("it is shown twice, or not named")
	}
	h.url = "http://127.0.0.1:8080/scim/v2"
	if body = b.page("/console/t/acme/connect"); !strings.Contains(body, "can only be reached from this machine") {
		t.Error("no warning")
	}
	sheet := plainText(b.page("/console/t/acme/mapping"))
	for _, want := range []string{"userPrincipalName userName matching property", "objectId externalId", "urn:example:params:scim:schemas:extension:acme:2.0:User:starts DateTime no no", "members members"} {
		if !strings.Contains(sheet, want) {
			t.Errorf("no %q in %s", want, sheet)
		}
	}
}
