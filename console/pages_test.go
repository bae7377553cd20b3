package console

import (
	"fmt"
	"html"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"scimbox/activity"
	"scimbox/auth"
	"scimbox/storage"
)

const maxPage = 100 << 10

// everyPage are the addresses of all pages of a house with a user and a group.
func everyPage(user, group, token string) []string {
	return []string{
		"/console/t/default/connect", "/console/t/default/mapping", "/console/t/default/users", "/console/t/default/users?q=a&active=no", "/console/t/default/groups",
		"/console/t/default/users/" + user, "/console/t/default/groups/" + group, "/console/t/default/groups/" + group + "/members?from=",
		"/console/tokens", "/console/tokens/" + token, "/console/tenants", "/console/health", "/console/backups", "/console/guard", "/console/guard/default",
		"/console/t/default/activity", "/console/t/default/activity?all=yes&failed=yes&q=a&type=User&op=create&token=x", "/console/t/default/activity/c1", "/console/t/default/activity/r1",
	}
}

// What clients send is text, wherever it is shown: in a page, in an attribute, in a link. Nothing of it becomes markup.
func TestHostileValues(t *testing.T) {
	h := openHouse(t, nil)
	const evil = `<script>alert(1)</script>'\"><img src=x onerror=alert(2)> javascript:alert(3) {{.Who}}`
	user := h.user("ada"+evil, `"displayName":"`+evil+`","externalId":"`+evil+`","title":"`+evil+`","emails":[{"value":"`+evil+`","type":"`+evil+`"}],"urn:example:params:scim:schemas:extension:acme:2.0:User":{"badge":"`+evil+`"}`)
	group := h.group(evil, user, `"><script>`[2:])
	h.client("default", "PATCH", "/Users/"+user, `{"schemas":["urn:ietf:params:scim:api:messages:2.0:PatchOp"],"Operations":[{"op":"replace","path":"title","value":"`+evil+`2"}]}`)
	tok, _ := h.token(auth.Spec{Name: strings.ReplaceAll(evil, `\"`, `"`), Scope: auth.ScopeWrite, Preset: "entra"})
	h.console.Observe(Request{Time: h.clock(), Method: "GET", Path: "/scim/<script>alert(4)</script>", Status: 404, Detail: `there is no endpoint "<script>alert(5)</script>"`, Agent: evil, Client: evil})
	h.refused(evil)
	b := h.signedIn()
	markup := regexp.MustCompile(`(?i)<script>|<img src=x|<[^>]*\son[a-z]+\s*=|href="javascript|<b>badge`)
	hits := 0
	for _, path := range append(everyPage(user, group, tok.ID), "/console/t/default/users?q=%3Cscript%3Ealert(6)%3C/script%3E%22%3E") {
		body := b.page(path)
		if m := markup.FindString(body); m != "" {
			t.Errorf("%s has %q", path, m)
		}
		if strings.Contains(html.UnescapeString(body), "alert(") {
			hits++
		}
	}
	if hits < 8 {
		t.Errorf("only %d pages show the values at all", hits)
	}
	b.header["X-Partial"] = "live"
	for _, path := range []string{"/console/t/default/connect/light", "/console/t/default/users"} {
		if m := markup.FindString(b.page(path)); m != "" {
			t.Errorf("part of %s has %q", path, m)
		}
	}
}

// Every answer, whatever its status, says what the browser may do with it. Nothing stands inline, and nothing is of another site.
func TestHeaders(t *testing.T) {
	h := openHouse(t, nil)
	user := h.user("ada", "")
	group := h.group("Ops", user)
	tok, _ := h.token(auth.Spec{Name: "entra", Scope: auth.ScopeWrite})
	h.refused("x")
	b := h.signedIn()
	inline := regexp.MustCompile(`(?i)<style|<[^>]*\sstyle\s*=|<script[^>]*>[^<]|<script(>|\s[^>]*src="https?:)|\son[a-z]+="|<link[^>]*href="(https?:)?//|src="(https?:)?//`)
	check := func(path string, a answer) {
		t.Helper()
		csp := a.header.Get("Content-Security-Policy")
		if !strings.HasPrefix(csp, "default-src 'none';") || !strings.Contains(csp, "frame-ancestors 'none'") || strings.Contains(csp, "unsafe") || strings.Contains(csp, "*") {
			t.Errorf("%s: policy %q", path, csp)
		}
		for name, want := range map[string]string{"X-Content-Type-Options": "nosniff", "X-Frame-Options": "DENY", "Referrer-Policy": "no-referrer"} {
			if got := a.header.Get(name); got != want {
				t.Errorf("%s: %s %q", path, name, got)
			}
		}
		if m := inline.FindString(a.body); m != "" && !strings.Contains(path, "static") {
			t.Errorf("%s has %q", path, m)
		}
	}
	for _, path := range append(everyPage(user, group, tok.ID), "/console/sign-in?code=x", "/console/nothing", "/console/t/default/users/nobody", "/console/") {
		a := b.get(path)
		check(path, a)
		if c := a.header.Get("Cache-Control"); c != "no-store" {
			t.Errorf("%s: Cache-Control %q", path, c)
		}
	}
	check("a refusal", h.browser().post("/console/sign-in", "code", "x"))
	b.header["Origin"] = "https://evil.example"
	b.header["Sec-Fetch-Site"] = "cross-site"
	check("a foreign page's", b.post("/console/tokens"))
	for name, file := range assets {
		a := h.browser().get("/console/static/" + name + "?" + file.hash)
		check("static "+name, a)
		if a.status != 200 || !strings.Contains(a.header.Get("Cache-Control"), "immutable") || a.header.Get("Content-Type") != file.kind {
			t.Errorf("%s: %d %v", name, a.status, a.header)
		}
		if a := h.browser().get("/console/static/" + name); a.header.Get("Cache-Control") != "no-store" {
			t.Errorf("%s without its hash: %v", name, a.header)
		}
		if strings.Contains(a.body, "http:") && name != "icon.svg" || strings.Contains(a.body, "https:") {
			t.Errorf("%s names another site", name)
		}
	}
	if a := h.browser().get("/console/static/../templates/layout.html"); a.status == 200 {
		t.Error("templates are served")
	}
}

// A page is never larger than 100 KB, whatever is on it.
func TestPageSizes(t *testing.T) {
	h := openHouse(t, nil)
	long := strings.Repeat("Ä", 400)
	var emails, ids []string
	for i := range 300 {
		emails = append(emails, fmt.Sprintf(`{"value":"a%d@example.com","type":"%s","display":"%s"}`, i, long, long))
	}
	user := h.user("ada", `"displayName":"`+long+`","title":"`+long+`","emails":[`+strings.Join(emails, ",")+`]`)
	for i := range 120 {
		ids = append(ids, h.user(fmt.Sprintf("user-%03d-%s", i, long), `"displayName":"`+long+`","emails":[{"value":"`+long+`"}]`))
	}
	group := h.group("Big "+long, append(ids, user)...)
	for i := range 150 {
		h.group(fmt.Sprintf("Group %d %s", i, long[:200]), user)
	}
	for i := range 60 {
		op := []string{"add", "remove"}[i%2]
		h.client("default", "PATCH", "/Users/"+user, fmt.Sprintf(`{"schemas":["urn:ietf:params:scim:api:messages:2.0:PatchOp"],"Operations":[{"op":"%s","path":"nickName","value":"%s"},{"op":"replace","path":"title","value":"%d %s"}]}`, op, long, i, long))
	}
	var tok auth.Token
	for i := range 200 {
		tok, _ = h.token(auth.Spec{Name: fmt.Sprintf("%d %s", i, long[:150]), Scope: auth.ScopeWrite, Tenant: fmt.Sprintf("tenant-%d", i), Preset: "entra"})
	}
	var rich []string
	for i := range 40 {
		rich = append(rich, fmt.Sprintf(`{"op":"replace","path":"%s","value":"%s"}`, []string{"title", "nickName", "profileUrl", "locale"}[i%4], long[:300]))
	}
	h.client("default", "PATCH", "/Users/"+user, `{"schemas":["urn:ietf:params:scim:api:messages:2.0:PatchOp"],"Operations":[`+strings.Join(rich, ",")+`]}`)
	for range 50 {
		h.console.Observe(Request{Time: h.clock(), Method: "GET", Path: "/Users/" + long, Status: 404, Detail: long + long, Agent: long})
	}
	for range 60 {
		h.refused(long + long)
	}
	b := h.signedIn()
	for _, path := range everyPage(user, group, tok.ID) {
		if n := len(b.page(path)); n > maxPage {
			t.Errorf("%s has %d bytes", path, n)
		}
	}
}

var (
	tags     = regexp.MustCompile(`<(/?)([a-z0-9]+)([^>]*)>`)
	ids      = regexp.MustCompile(`\sid="([^"]*)"`)
	voidTags = strings.Fields("meta link img input br hr")
)

// The bones of what a screen reader needs, for machines without a browser: elements that are closed, ids that are one of a
// kind, labels, one heading of the first level, a title of its own.
func TestBones(t *testing.T) {
	h := openHouse(t, nil)
	user := h.user("ada", `"emails":[{"value":"a@example.com"}]`)
	group := h.group("Ops", user)
	tok, _ := h.token(auth.Spec{Name: "entra", Scope: auth.ScopeWrite})
	h.refused("x")
	b := h.signedIn()
	titles := map[string]string{}
	bodies := map[string]string{"sign-in": h.browser().page("/console/sign-in"), "link": h.browser().page("/console/sign-in?code=x")}
	for _, path := range everyPage(user, group, tok.ID) {
		bodies[path] = b.page(path)
	}
	for path, body := range bodies {
		var open []string
		for _, m := range tags.FindAllStringSubmatch(body, -1) {
			switch {
			case m[1] == "" && !slices.Contains(voidTags, m[2]):
				open = append(open, m[2])
			case m[1] == "/":
				if len(open) == 0 || open[len(open)-1] != m[2] {
					t.Fatalf("%s: </%s> closes %v", path, m[2], open)
				}
				open = open[:len(open)-1]
			}
			if (m[2] == "input" || m[2] == "select") && m[1] == "" && !strings.Contains(m[3], `type="hidden"`) {
				id := ids.FindStringSubmatch(m[3])
				if id == nil || !strings.Contains(body, `<label for="`+id[1]+`"`) {
					t.Errorf("%s: no label for %s", path, m[0])
				}
			}
			if m[2] == "img" && !strings.Contains(m[3], "alt=") {
				t.Errorf("%s: %s says nothing to whoever cannot see it", path, m[0])
			}
		}
		if len(open) > 0 {
			t.Errorf("%s: not closed: %v", path, open)
		}
		seen := map[string]bool{}
		for _, m := range ids.FindAllStringSubmatch(body, -1) {
			if seen[m[1]] {
				t.Errorf("%s: the id %s stands twice", path, m[1])
			}
			seen[m[1]] = true
		}
		for _, m := range regexp.MustCompile(`aria-labelledby="([^"]*)"`).FindAllStringSubmatch(body, -1) {
			if !seen[m[1]] {
				t.Errorf("%s: labelled by %s, which is not there", path, m[1])
			}
		}
		if n := strings.Count(body, "<h1"); n != 1 {
			t.Errorf("%s: %d headings of the first level", path, n)
		}
		if !strings.HasPrefix(body, "<!doctype html>\n<html lang=\"en\">") || !strings.Contains(body, `name="viewport"`) || !strings.Contains(body, "<main ") {
			t.Errorf("%s: %.200s", path, body)
		}
		title := regexp.MustCompile(`<title>(.*)</title>`).FindStringSubmatch(body)[1]
		key := strings.Split(path, "?")[0]
		if other, ok := titles[title]; ok && other != key && title != "ada · scimbox" && title != "Ops · scimbox" && title != "Sign in · scimbox" {
			t.Errorf("%s and %s are both called %q", path, other, title)
		}
		titles[title] = key
	}
}

// Users are searched, filtered and paged; the address of a page is all that it needs.
func TestUsers(t *testing.T) {
	h := openHouse(t, nil)
	h.crowd(120)
	h.client("acme", "POST", "/Users", `{"schemas":["urn:ietf:params:scim:schemas:core:2.0:User"],"userName":"elsewhere@example.com"}`)
	b := h.signedIn()
	next := regexp.MustCompile(`<a class="next" href="([^"]*)"`)
	names := regexp.MustCompile(`>(user-\d{4}@example.com)</a>`)
	walk := func(path string) (all []string) {
		for path != "" {
			body := b.page(path)
			for _, m := range names.FindAllStringSubmatch(body, -1) {
				all = append(all, m[1])
			}
			path = ""
			if m := next.FindStringSubmatch(body); m != nil {
				path = html.UnescapeString(m[1])
			}
		}
		return all
	}
	if all := walk("/console/t/default/users"); len(all) != 120 || !slices.IsSorted(all) {
		t.Errorf("%d users, in order %t", len(all), slices.IsSorted(all))
	}
	if all := walk("/console/t/default/users?active=no"); len(all) != 24 {
		t.Errorf("%d are disabled, want 24", len(all))
	}
	if all := walk("/console/t/default/users?q=USER-001"); len(all) != 10 {
		t.Errorf("%d begin with user-001, want 10", len(all))
	}
	if all := walk("/console/t/default/users?q=person+11&active=yes"); len(all) != 9 {
		t.Errorf("%d begin with person 11 and are active, want 9", len(all))
	}
	if body := b.page("/console/t/default/users"); !strings.Contains(body, "120 in this tenant") || strings.Contains(body, "elsewhere") {
		t.Error("another number, or another tenant's")
	}
	if body := b.page("/console/t/acme/users"); !strings.Contains(body, "elsewhere@example.com") || strings.Contains(body, "user-0") {
		t.Error("the other tenant is not shown")
	}
	// The tenant that was looked at last is that of the pages that belong to none.
	if a := b.get("/console/"); a.header.Get("Location") != "/console/t/acme/users" {
		t.Errorf("to %s", a.header.Get("Location"))
	}
	b.header["X-Partial"] = "typed"
	if part := b.page("/console/t/default/users?q=user-0001"); strings.Contains(part, "<html") || !strings.Contains(part, "user-0001@example.com") {
		t.Errorf("part: %s", part)
	}
	delete(b.header, "X-Partial")
	for _, path := range []string{"/console/t/$system/users", "/console/t/default/nothing", "/console/t/A/users", "/console/t/%2e%2e/users", "/console/t/default/users/nobody", "/console/t/default/tokens/x"} {
		if a := b.get(path); a.status != 404 && a.status != 301 {
			t.Errorf("%s: %d", path, a.status)
		}
	}
	if a := b.get("/console/t/default/users?from=nonsense"); a.status != 400 || !strings.Contains(a.body, "first page") {
		t.Errorf("a place that is none: %d", a.status)
	}
}

// A user's page says what each value came with, to which groups they belong, and what has happened, also after the end.
func TestOneUser(t *testing.T) {
	h := openHouse(t, nil)
	id := h.user("ada@example.com", `"displayName":"Ada L","title":"Analyst","name":{"givenName":"Ada"},"emails":[{"value":"ada@example.com","type":"work","primary":true}],"urn:example:params:scim:schemas:extension:acme:2.0:User":{"badge":"77"}`)
	group := h.group("Engines", id)
	h.wait(3 * time.Hour)
	h.client("default", "PATCH", "/Users/"+id, `{"schemas":["urn:ietf:params:scim:api:messages:2.0:PatchOp"],"Operations":[{"op":"replace","path":"title","value":"Countess"},{"op":"replace","path":"active","value":false}]}`)
	h.wait(2 * time.Minute)
	b := h.signedIn()
	body := plainText(b.page("/console/t/default/users/" + id))
	for _, want := range []string{
		"ada@example.com disabled", "title Countess tok, 2 minutes ago", "name.givenName Ada tok, 3 hours ago", "emails ada@example.com work primary tok, 3 hours ago",
		"badge Acme 77 tok, 3 hours ago", "Groups Engines", "tok disabled ada@example.com 2 minutes ago", "title Analyst Countess", "tok created ada@example.com 3 hours ago",
		"from 198.51.100.7, request scim-1",
	} {
		if !strings.Contains(body, want) {
			t.Errorf("the page has no %q:\n%s", want, body)
		}
	}
	if body := plainText(b.page("/console/t/default/groups/" + group)); !strings.Contains(body, "ada@example.com Ada L disabled") || !strings.Contains(body, "tok created Engines") {
		t.Errorf("the group: %s", body)
	}
	h.user("somebody-else", "")
	if body := plainText(b.page("/console/t/default/activity?about=" + id)); !strings.Contains(body, "created the user ada@example.com") || !strings.Contains(body, "Engines") || strings.Contains(body, "somebody-else") {
		t.Errorf("all about her: %s", body)
	}
	h.crowd(60) // what came later does not hide what has happened to her
	if body := plainText(b.page("/console/t/default/users/" + id)); !strings.Contains(body, "tok created ada@example.com") {
		t.Errorf("later: %s", body)
	}
	h.client("default", "DELETE", "/Users/"+id, "")
	a := b.get("/console/t/default/users/" + id)
	if text := plainText(a.body); a.status != 404 || !strings.Contains(text, "tok deleted ada@example.com") || !strings.Contains(text, "tok created ada@example.com") {
		t.Errorf("deleted: %d %s", a.status, text)
	}
}

// A history of a group names who came and went: the only one in its sentence, several below it.
func TestGroupHistory(t *testing.T) {
	h := openHouse(t, nil)
	a, b2, c := h.user("ada", ""), h.user("bob", ""), h.user("cleo", "")
	h.names = map[string]string{a: "ada", b2: "bob", c: "cleo"}
	g := h.group("Ops")
	patch := func(op string) {
		h.client("default", "PATCH", "/Groups/"+g, `{"schemas":["urn:ietf:params:scim:api:messages:2.0:PatchOp"],"Operations":[`+op+`]}`)
	}
	patch(`{"op":"add","path":"members","value":[{"value":"` + a + `"}]}`)
	patch(`{"op":"add","path":"members","value":[{"value":"` + b2 + `"},{"value":"` + c + `"}]}`)
	patch(`{"op":"remove","path":"members[value eq \"` + a + `\"]"}`)
	text := plainText(h.signedIn().page("/console/t/default/groups/" + g))
	for _, want := range []string{"added ada to Ops", "added 2 members to Ops", "Which members", "removed ada from Ops"} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in %s", want, text)
		}
	}
	if strings.Count(text, "Which members") != 1 {
		t.Errorf("%s", text)
	}
}

// plainText is what a page says, without markup.
func plainText(body string) string {
	body = body[strings.Index(body, "<main"):]
	return strings.Join(strings.Fields(html.UnescapeString(regexp.MustCompile(`<[^>]*>`).ReplaceAllString(body, " "))), " ")
}

// A group's members come by pages, all of them once, and its page shows the first.
func TestMembers(t *testing.T) {
	h := openHouse(t, nil)
	var members []string
	for i := range 120 {
		members = append(members, h.user(fmt.Sprintf("m-%03d", i), ""))
	}
	group := h.group("Everybody", members...)
	b := h.signedIn()
	seen := map[string]int{}
	path, pages := "/console/t/default/groups/"+group, 0
	for path != "" {
		body := b.page(path)
		for _, m := range regexp.MustCompile(`>(m-\d{3})</a>`).FindAllStringSubmatch(body, -1) {
			seen[m[1]]++
		}
		path, pages = "", pages+1
		if m := regexp.MustCompile(`<a class="next" href="([^"]*)"`).FindStringSubmatch(body); m != nil {
			path = html.UnescapeString(m[1])
		}
	}
	if len(seen) != 120 || pages != 3 {
		t.Errorf("%d members on %d pages", len(seen), pages)
	}
	for name, n := range seen {
		if n != 1 {
			t.Errorf("%s comes %d times", name, n)
		}
	}
	if a := b.get("/console/t/default/groups/" + group + "/displayName"); a.status != 400 {
		t.Errorf("members that are none: %d", a.status)
	}
}

// A token is made, shown once, used, and revoked, in the name of whoever does it.
func TestTokens(t *testing.T) {
	h := openHouse(t, nil)
	b := h.signedIn()
	a := b.post("/console/tokens", "name", "report", "tenant", "acme", "scope", "read", "preset", "", "days", "30")
	to := a.header.Get("Location")
	if a.status != 303 || !strings.HasPrefix(to, "/console/tokens/") {
		t.Fatalf("%d %s\n%s", a.status, to, a.body)
	}
	secret := regexp.MustCompile(`scimbox_[a-z2-7]{12}_[A-Z2-7]{59}`)
	shown := secret.FindString(b.page(to))
	if shown == "" || secret.MatchString(b.page(to)) {
		t.Errorf("shown %q, and again", shown)
	}
	if strings.Contains(h.log.String(), shown) {
		t.Error("the log has the token")
	}
	list, err := h.tokens.List(t.Context())
	if err != nil || len(list) != 1 || list[0].Name != "report" || list[0].Tenant != "acme" || list[0].Scope != auth.ScopeRead || list[0].Expires.Sub(list[0].Created) > 31*24*time.Hour {
		t.Fatalf("%+v, %v", list, err)
	}
	if a := b.post(to + "/revoke"); a.status != 303 || !strings.Contains(b.page("/console/tokens"), "Nobody gets in with it") {
		t.Errorf("revoke: %d", a.status)
	}
	journal, err := h.store.Journal(t.Context(), 0, 100)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range journal {
		if e.Ref.Kind == "token" && (e.Actor != Actor || e.Client != "192.0.2.1" || e.Request != "req-1") {
			t.Errorf("%+v", e)
		}
	}
	for name, form := range map[string][]string{
		"no name":      {"tenant", "acme", "scope", "read", "days", "30"},
		"other tenant": {"name", "x", "tenant", "$system", "scope", "read", "days", "30"},
		"other scope":  {"name", "x", "tenant", "acme", "scope", "root", "days", "30"},
		"for ever":     {"name", "x", "tenant", "acme", "scope", "read", "days", "731"},
		"no days":      {"name", "x", "tenant", "acme", "scope", "read", "days", ""},
	} {
		if a := b.post("/console/tokens", form...); a.status != 400 || !strings.Contains(a.body, "The token was not made") {
			t.Errorf("%s: %d\n%s", name, a.status, a.body)
		}
	}
	for _, path := range []string{"/console/tokens/report", "/console/tokens/nobody"} {
		if a := b.get(path); a.status != http.StatusNotFound {
			t.Errorf("%s: %d", path, a.status)
		}
	}
}

// OAuth clients are listed with their secrets, and one that ends is told of.
func TestOAuthClients(t *testing.T) {
	h := openHouse(t, nil)
	b := h.signedIn()
	client, _, err := h.tokens.CreateClient(t.Context(), auth.Spec{Name: "gallery <b>", Scope: auth.ScopeWrite, TTL: 5 * 24 * time.Hour}, storage.Origin{Actor: "local"})
	if err != nil {
		t.Fatal(err)
	}
	if text := plainText(b.page("/console/tokens")); !strings.Contains(text, "gallery <b> "+client.ID+" default write "+client.Secrets[0].ID+" ends in 5 days , last used never") {
		t.Error(text)
	}
	if _, err := h.tokens.RevokeClient(t.Context(), client.ID, storage.Origin{Actor: "local"}); err != nil {
		t.Fatal(err)
	}
	if text := plainText(b.page("/console/tokens")); !strings.Contains(text, "default write revoked") {
		t.Error(text)
	}
}

// A token is rotated: its successor is shown once, both work, and the page of the old one says whether it is still in use.
func TestRotate(t *testing.T) {
	h := openHouse(t, nil)
	b := h.signedIn()
	old, plain := h.token(auth.Spec{Name: "entra", Scope: auth.ScopeWrite, Preset: "entra"})
	a := b.post("/console/tokens/"+old.ID+"/rotate", "overlap", "7")
	to := a.header.Get("Location")
	if a.status != 303 || to == "/console/tokens/"+old.ID {
		t.Fatalf("%d %s\n%s", a.status, to, a.body)
	}
	next := regexp.MustCompile(`scimbox_[a-z2-7]{12}_[A-Z2-7]{59}`).FindString(b.page(to))
	if text := plainText(b.page("/console/tokens/" + old.ID)); !strings.Contains(text, "being replaced") || !strings.Contains(text, "was not used since") || strings.Contains(text, "Both work for") {
		t.Error(text)
	}
	h.wait(time.Hour)
	for _, secret := range []string{plain, next} {
		if tok, err := h.tokens.Verify(t.Context(), secret, netipAddr); err != nil || tok.Name != "entra" {
			t.Errorf("%+v, %v", tok, err)
		}
	}
	if text := plainText(b.page("/console/tokens/" + old.ID)); !strings.Contains(text, "still in use") || !strings.Contains(text, "just now from 198.51.100.7") {
		t.Error(text)
	}
	for _, overlap := range []string{"", "-1", "366", "x"} {
		if a := b.post("/console/tokens/"+old.ID+"/rotate", "overlap", overlap); a.status != 400 {
			t.Errorf("overlap %q: %d", overlap, a.status)
		}
	}
	if a := b.post("/console/tokens/"+old.ID+"/rotate", "overlap", "7"); a.status != 400 || !strings.Contains(a.body, "was not rotated") {
		t.Errorf("again: %d %s", a.status, a.body)
	}
}

// refused is a request that a client has sent in vain, with something in every place that can hold it.
func (h *house) refused(text string) {
	h.t.Helper()
	quoted := strings.ReplaceAll(strings.ReplaceAll(text, `\"`, `"`), `"`, `\"`)
	body := []byte(`{"schemas":["urn:ietf:params:scim:schemas:core:2.0:User"],"userName":"` + quoted + `","title":"` + quoted + `"}`)
	answer := []byte(`{"status":"400","scimType":"invalidValue","detail":"\"title\" is a list; expected is a string: ` + quoted + `"}`)
	h.activity.Record(&activity.Request{Time: h.clock(), ID: "req-9", Tenant: "default", Client: "198.51.100.7", Method: "POST", Path: "/scim/v2/Users", Query: "x=" + text,
		Agent: text, Status: 400, Body: activity.Body{Data: body, Size: int64(len(body))}, Answer: activity.Body{Data: answer, Size: int64(len(answer))}})
	if err := h.activity.Sync(h.t.Context()); err != nil {
		h.t.Fatal(err)
	}
}

// What was done and what was refused is told in sentences, can be narrowed in the address, and each has a page of its own.
func TestActivity(t *testing.T) {
	h := openHouse(t, nil)
	for i := range 60 {
		h.user(fmt.Sprintf("user-%02d", i), "")
	}
	h.refused("mira@example.com")
	h.client("acme", "POST", "/Users", `{"schemas":["urn:ietf:params:scim:schemas:core:2.0:User"],"userName":"elsewhere"}`)
	b := h.signedIn()
	text := plainText(b.page("/console/t/default/activity"))
	if !strings.Contains(text, "created the user user-59") || !strings.Contains(text, "mira@example.com") || strings.Contains(text, "user-02") || strings.Contains(text, "elsewhere") {
		t.Error(text)
	}
	if text := plainText(b.page("/console/t/default/activity?all=yes")); !strings.Contains(text, "elsewhere") {
		t.Error(text)
	}
	body := b.page("/console/t/default/activity?failed=yes")
	if text := plainText(body); !strings.Contains(text, "and was refused") || !strings.Contains(text, "mapping") || strings.Contains(text, "created the user user") {
		t.Error(text)
	}
	own := html.UnescapeString(regexp.MustCompile(`<a href="(/console/t/default/activity/r\d+)"`).FindStringSubmatch(body)[1])
	text = plainText(b.page(own))
	for _, want := range []string{"Why it was refused", "title", "What to change", "POST /scim/v2/Users", "400 invalidValue", "What was sent", `"userName": "mira@example.com"`, "What was answered", "req-9", "198.51.100.7"} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in %s", want, text)
		}
	}
	next := html.UnescapeString(regexp.MustCompile(`<a class="next" href="([^"]*)"`).FindStringSubmatch(b.page("/console/t/default/activity?type=User"))[1])
	if text := plainText(b.page(next)); !strings.Contains(text, "user-02") || strings.Contains(text, "user-59") {
		t.Errorf("earlier: %s", text)
	}
	for path, status := range map[string]int{"?before=x": 400, "/c999": 404, "/x": 404, "/r0": 404} {
		if a := b.get("/console/t/default/activity" + path); a.status != status {
			t.Errorf("%s: %d", path, a.status)
		}
	}
}

// Health says what needs somebody: a token that ends, a client that has not come, an address without encryption.
func TestHealth(t *testing.T) {
	h := openHouse(t, nil)
	b := h.signedIn()
	if text := plainText(b.page("/console/health")); !strings.Contains(text, "worth a look") || !strings.Contains(text, "no client can get in") {
		t.Error(text)
	}
	_, plain := h.token(auth.Spec{Name: "entra", Scope: auth.ScopeWrite, Preset: "entra"})
	if text := plainText(b.page("/console/health")); !strings.Contains(text, "all is well") || !strings.Contains(text, "entra default never") {
		t.Error(text)
	}
	if _, err := h.tokens.Verify(t.Context(), plain, netipAddr); err != nil {
		t.Fatal(err)
	}
	h.wait(70 * time.Minute)
	if text := plainText(b.page("/console/health")); strings.Contains(text, "late") || !strings.Contains(text, "comes every 40 minutes") {
		t.Error(text)
	}
	h.wait(70 * time.Minute)
	if text := plainText(b.page("/console/health")); !strings.Contains(text, "entra default 2 hours ago late") || !strings.Contains(text, "Look whether provisioning is stopped") {
		t.Error(text)
	}
	h.token(auth.Spec{Name: "short", Scope: auth.ScopeRead, TTL: 5 * 24 * time.Hour})
	h.url = "http://127.0.0.1:8080/scim/v2"
	if text := plainText(b.page("/console/health")); !strings.Contains(text, "Token short : warn It ends in 5 days") || !strings.Contains(text, "is not encrypted") {
		t.Error(text)
	}
}
