package scim

import (
	"fmt"
	"strings"
	"testing"
)

// Entity tags where condition_test.go does not look: lists and discovery, bulk requests, and what a version is the version of
// (RFC 7644 section 3.14).

// Everything that can be read has a tag, keeps it while it is the same, and need not be sent again to who has it.
func TestEverythingHasATag(t *testing.T) {
	h := openHouse(t, Options{})
	u := h.user("ada", "")
	g := h.group("Ops", u)
	for _, target := range []string{
		"/Users/" + u, "/Users/" + u + "?attributes=userName", "/Groups/" + g, "/Groups/" + g + "?excludedAttributes=members",
		"/Users", "/Groups", "/", "/Users?filter=userName eq \"ada\"", "/Users?filter=userName eq \"nobody\"", "/Users?count=0", "/Users?sortBy=userName&attributes=id",
		"/Users?cursor=", "/ServiceProviderConfig", "/Schemas", "/ResourceTypes", "/Schemas/" + UserURN, "/ResourceTypes/User",
	} {
		t.Run(target, func(t *testing.T) {
			h := h.in(t)
			first := h.ask("GET", target, "").want(200)
			tag := first.etag()
			if !strings.HasPrefix(tag, `W/"`) || !strings.HasSuffix(tag, `"`) || len(tag) < 5 {
				t.Fatalf("ETag %q", tag)
			}
			strong := strings.TrimPrefix(tag, "W/")
			for _, header := range []string{tag, strong, "*", ` "x", ` + tag, tag + `, W/"x"`, `"x",*`} {
				for _, method := range []string{"GET", "HEAD"} {
					r := h.ask(method, target, "", "If-None-Match: "+header).want(304)
					if r.etag() != tag || len(r.body) > 0 || r.header.Get("Content-Type") != "" || r.header.Get("Content-Length") != "" {
						t.Errorf("%s %s: %v %q", method, header, r.header, r.body)
					}
				}
			}
			for _, header := range []string{`W/"x"`, `"*"`, `x`, `,`, strong[:len(strong)-1], `"` + strings.Trim(strong, `"`) + `x"`} {
				if r := h.ask("GET", target, "", "If-None-Match: "+header).want(200); r.etag() != tag || string(r.body) != string(first.body) {
					t.Errorf("%s: %s", header, r.body)
				}
			}
			if r := h.ask("HEAD", target, "").want(200); r.etag() != tag {
				t.Errorf("HEAD: %s", r.etag())
			}
		})
	}
	// An error has none, and a search by POST is not conditional.
	for _, target := range []string{"/Users/nobody", "/Users?filter=x", "/Nothing"} {
		if r := h.ask("GET", target, "", "If-None-Match: *"); r.status < 400 || r.etag() != "" {
			t.Errorf("%s: %d %s", target, r.status, r.etag())
		}
	}
	h.ask("POST", "/Users/.search", `{"schemas":["`+findURN+`"]}`, "If-None-Match: *").want(200)
}

// Whatever a reader of a resource would see change moves its version, and nothing else does. The groups of a user are those
// groups' to tell, and a manager's name is his own: both are looked up when they are shown.
func TestWhatMovesAVersion(t *testing.T) {
	h := openHouse(t, Options{})
	boss := h.user("boss", `"displayName":"Boss"`)
	u := h.user("ada", `"`+EnterpriseUserURN+`":{"manager":{"value":"`+boss+`"}}`)
	g := h.group("Ops", boss)
	version := func(target string) string {
		r := h.ask("GET", target, "").want(200)
		if r.text("meta", "version") != r.etag() {
			t.Errorf("%s: meta.version %s, ETag %s", target, r.text("meta", "version"), r.etag())
		}
		return r.etag()
	}
	for _, c := range []struct {
		what        string
		do          func() *reply
		user, group bool // whose version moves
	}{
		{"a value", func() *reply { return h.patch("/Users/"+u, `{"op":"add","path":"title","value":"Dr"}`) }, true, false},
		{"the same value", func() *reply { return h.patch("/Users/"+u, `{"op":"add","path":"title","value":"Dr"}`) }, false, false},
		{"a PUT of what is there", func() *reply {
			return h.ask("PUT", "/Users/"+u, `{"schemas":["`+UserURN+`"],"userName":"ada","title":"Dr","`+EnterpriseUserURN+`":{"manager":{"value":"`+boss+`","displayName":"x"}}}`)
		}, false, false},
		{"a password", func() *reply { return h.patch("/Users/"+u, `{"op":"add","path":"password","value":"x"}`) }, true, false},
		{"no password", func() *reply { return h.patch("/Users/"+u, `{"op":"remove","path":"password"}`) }, true, false},
		{"no password again", func() *reply { return h.patch("/Users/"+u, `{"op":"remove","path":"password"}`) }, false, false},
		{"a member", func() *reply { return h.patch("/Groups/"+g, `{"op":"add","path":"members","value":`+refs(u)+`}`) }, false, true},
		{"the same member", func() *reply { return h.patch("/Groups/"+g, `{"op":"add","path":"members","value":`+refs(u)+`}`) }, false, false},
		{"who is no member leaves", func() *reply { return h.patch("/Groups/"+g, `{"op":"remove","path":"members","value":`+refs("x")+`}`) }, false, false},
		{"another name for the manager", func() *reply { return h.patch("/Users/"+boss, `{"op":"add","path":"displayName","value":"B"}`) }, false, false},
		{"a member goes", func() *reply { return h.ask("DELETE", "/Users/"+boss, "") }, false, true},
	} {
		user, group := version("/Users/"+u), version("/Groups/"+g)
		if r := c.do(); r.status >= 300 {
			t.Fatalf("%s: %d %s", c.what, r.status, r.body)
		}
		if moved := version("/Users/"+u) != user; moved != c.user {
			t.Errorf("%s: the version of the user moved = %t", c.what, moved)
		}
		if moved := version("/Groups/"+g) != group; moved != c.group {
			t.Errorf("%s: the version of the group moved = %t", c.what, moved)
		}
	}
}

// In a bulk request version is an If-Match of its operation, and the headers of the request are about the request alone.
func TestBulkVersions(t *testing.T) {
	h := openHouse(t, Options{})
	u := h.user("ada", "")
	g := h.group("Ops", u)
	tag := h.ask("GET", "/Users/"+u, "").etag()
	group := h.ask("GET", "/Groups/"+g, "").etag()
	with := func(op, version string) string { return strings.Replace(op, "{", `{"version":`+quoted(version)+`,`, 1) }
	title := func(s string) string {
		return onResource("PATCH", "/Users/"+u, patchBody(`{"op":"add","path":"title","value":`+quoted(s)+`}`))
	}
	put := onResource("PUT", "/Users/"+u, `{"userName":"ada","title":"put"}`)
	h.unchanged(func() {
		for _, stale := range []string{`W/"99999"`, `"99999"`, "99999", `W/"`, "nonsense", group} {
			r := h.bulk("", with(title("x"), stale), with(put, stale), with(onResource("DELETE", "/Users/"+u, ""), stale))
			if got := r.results(); got != "412 412 412" {
				t.Errorf("%s: %s", stale, got)
			}
			r.failed(0, "412", "Operations[0], PATCH /Users/"+u, tag)
		}
		h.bulk("", with(title("x"), "99999"), with(onResource("DELETE", "/Users/nobody", ""), tag)).failed(1, "404")
		if r := h.bulk("", strings.Replace(title("x"), "{", `{"version":5,`, 1)); r.results() != "400" {
			t.Errorf("%s", r.body)
		}
	})
	r := h.ask("POST", "/Bulk", bulkBody("", with(title("a"), tag), with(title("b"), tag), with(title("c"), strings.TrimPrefix(tag, "W/")+`, *`), title("c"), with(postUser("b", "ben", ""), `"99999"`)), `If-Match: "x"`, "If-None-Match: *")
	if got := r.results(); got != "200 412 200 200 201" {
		t.Fatalf("%s\n%s", got, r.body)
	}
	now := h.ask("GET", "/Users/"+u, "").want(200)
	if now.text("title") != "c" || r.text("Operations", 2, "version") != now.etag() || r.text("Operations", 3, "version") != now.etag() || r.text("Operations", 0, "version") == now.etag() {
		t.Errorf("%s is at %s; %s", now.text("title"), now.etag(), r.body)
	}
	if r.at("Operations", 1, "version") != nil || r.text("Operations", 4, "version") == "" || r.header.Get("ETag") != "" {
		t.Errorf("%s", r.body)
	}
	// A version that the answer told is good for the next request, also of a group.
	made := h.bulk("", postGroup("g", "Dev", u)).want(200)
	h.ask("PATCH", "/Groups/"+made.made(0), patchBody(`{"op":"remove","path":"members"}`), "If-Match: "+made.text("Operations", 0, "version")).want(204)
}

// Of many who change what they have all read, one does.
func TestOneOfManyWins(t *testing.T) {
	h := openHouse(t, Options{})
	u := h.user("ada", "")
	tag := h.ask("GET", "/Users/"+u, "").etag()
	won := map[int]int{}
	for _, status := range together(20, func(i int) int {
		switch i % 3 {
		case 0:
			return h.ask("PATCH", "/Users/"+u, patchBody(fmt.Sprintf(`{"op":"add","path":"title","value":"%d"}`, i)), "If-Match: "+tag).status
		case 1:
			return h.ask("PUT", "/Users/"+u, fmt.Sprintf(`{"userName":"ada","title":"%d"}`, i), "If-Match: "+tag).status
		default:
			r := h.bulk("", strings.Replace(onResource("PATCH", "/Users/"+u, patchBody(fmt.Sprintf(`{"op":"add","path":"title","value":"%d"}`, i))), "{", `{"version":`+quoted(tag)+`,`, 1))
			if r.text("Operations", 0, "status") == "200" {
				return 200
			}
			return 412
		}
	}) {
		won[status]++
	}
	if won[200] != 1 || won[412] != 19 {
		t.Errorf("%v", won)
	}
}
