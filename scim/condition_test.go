package scim

import (
	"strings"
	"testing"
)

func TestParseCondition(t *testing.T) {
	for _, c := range []struct {
		header string // values, separated by " | "; "-" = none
		holds  string // versions of 1 to 9 that it holds for
	}{
		{"-", ""},
		{"", ""},
		{" , ,", ""},
		{`W/"5"`, "5"},
		{`w/"5"`, "5"},
		{`"5"`, "5"},
		{`5`, "5"},
		{`W/5`, "5"},
		{` W/"5" `, "5"},
		{`W/"4", "5" ,6`, "456"},
		{`W/"4" | W/"5"`, "45"},
		{`"4""5"`, "45"},
		{`*`, "123456789"},
		{` * `, "123456789"},
		{`W/*`, ""},
		{`"x", *`, "123456789"},
		{`"*"`, ""},
		{`W/`, ""},
		{`W/W/"5"`, ""},
		{`"5`, ""},
		{`"4", "5`, "4"},
		{`5"`, ""},
		{`"05"`, ""},
		{`"+5"`, ""},
		{`" 5"`, ""},
		{`"5 "`, ""},
		{`W/"5"x`, "5"},
		{`*5`, ""},
		{`5*`, ""},
		{`"\"5"`, ""}, // a tag has no escapes (RFC 7232 section 2.3): \, and then nothing that is a tag
		{"\"5\x00\"", ""},
		{strings.Repeat(`"x",`, 5000) + `"5"`, "5"},
	} {
		var values []string
		if c.header != "-" {
			values = strings.Split(c.header, " | ")
		}
		got := parseCondition(values)
		var holds strings.Builder
		for v := uint64(1); v <= 9; v++ {
			if got.holds(v) {
				holds.WriteByte(byte('0' + v))
			}
		}
		if holds.String() != c.holds || got.given != (c.header != "-") {
			t.Errorf("%s: holds for %q, want %q; given = %t", clip(c.header), holds.String(), c.holds, got.given)
		}
	}
}

// If-Match and If-None-Match, by verb (RFC 7644 section 3.14, RFC 7232 sections 3.1 and 3.2).
func TestConditions(t *testing.T) {
	h := openHouse(t, Options{})
	u := h.user("ada", "")
	old := h.ask("GET", "/Users/"+u, "").etag()
	now := h.patch("/Users/"+u, `{"op":"add","path":"title","value":"Dr"}`).etag()
	if old == now || !strings.HasPrefix(now, `W/"`) {
		t.Fatalf("versions %s and %s", old, now)
	}
	const patch, put = `{"Operations":[{"op":"add","path":"title","value":"Mr"}]}`, `{"userName":"ada","title":"Ms"}`
	target := "/Users/" + u
	for _, c := range []struct {
		method, body, header string
		status               int
	}{
		{"GET", "", "If-None-Match: " + now, 304},
		{"GET", "", "If-None-Match: " + strings.TrimPrefix(now, "W/"), 304},
		{"GET", "", "If-None-Match: " + old + ", " + now, 304},
		{"GET", "", "If-None-Match: *", 304},
		{"GET", "", "If-None-Match: " + old, 200},
		{"GET", "", "If-None-Match: nonsense", 200},
		{"GET", "", "If-Match: " + now, 200},
		{"GET", "", "If-Match: " + old, 412},
		{"HEAD", "", "If-None-Match: " + now, 304},
		{"PATCH", patch, "If-Match: " + old, 412},
		{"PATCH", patch, "If-Match: nonsense", 412},
		{"PATCH", patch, `If-Match: ""`, 412},
		{"PATCH", patch, "If-None-Match: " + now, 412},
		{"PATCH", patch, "If-None-Match: *", 412},
		{"PUT", put, "If-Match: " + old, 412},
		{"PUT", put, "If-None-Match: *", 412},
		{"DELETE", "", "If-Match: " + old, 412},
		{"DELETE", "", "If-None-Match: *", 412},
	} {
		t.Run(c.method+" "+c.header, func(t *testing.T) {
			h := h.in(t)
			h.unchanged(func() {
				r := h.ask(c.method, target, c.body, c.header).want(c.status)
				if c.status == 304 && (r.etag() != now || len(r.body) > 0) {
					t.Errorf("304 with ETag %s and %q", r.etag(), r.body)
				}
				if c.status == 412 && c.method != "GET" && !strings.Contains(r.text("detail"), now) {
					t.Errorf("a 412 that does not say what the version is: %s", r.body)
				}
			})
		})
	}
	// And what goes through.
	tag := now
	for _, c := range []struct{ method, body, header string }{
		{"PATCH", patch, "If-Match: {}"}, {"PUT", put, "If-Match: W/\"99\", {}"}, {"PATCH", patch, "If-Match: *"},
		{"PUT", put, "If-None-Match: " + old}, {"PATCH", patch, ""}, {"PUT", put, "If-Match: {strong}"},
	} {
		header := strings.NewReplacer("{}", tag, "{strong}", strings.TrimPrefix(tag, "W/")).Replace(c.header)
		r := h.ask(c.method, target, c.body, header).want(200)
		if r.etag() == tag || r.text("meta", "version") != r.etag() {
			t.Errorf("%s %s: version %s after %s, meta.version %s", c.method, header, r.etag(), tag, r.text("meta", "version"))
		}
		tag = r.etag()
	}
	// A condition on what is not there is 404, and one on a collection nobody's business.
	h.ask("PATCH", "/Users/nobody", patch, "If-Match: *").refused(404, "")
	h.ask("DELETE", "/Users/nobody", "", "If-Match: "+tag).refused(404, "")
	h.ask("POST", "/Users", `{"userName":"ben"}`, "If-Match: "+old, "If-None-Match: *").want(201)
	h.ask("DELETE", target, "", "If-Match: "+tag).want(204)
}

// A list has a tag of its own, which is the same as long as the list is.
func TestListTags(t *testing.T) {
	h := openHouse(t, Options{})
	u := h.user("ada", "")
	first := h.ask("GET", "/Users", "").want(200)
	if first.etag() == "" {
		t.Fatal("a list without an ETag")
	}
	h.ask("GET", "/Users", "", "If-None-Match: "+first.etag()).want(304)
	h.ask("GET", "/Users?count=0", "", "If-None-Match: "+first.etag()).want(200)
	h.patch("/Users/"+u, `{"op":"add","path":"title","value":"Dr"}`)
	if r := h.ask("GET", "/Users", "", "If-None-Match: "+first.etag()).want(200); r.etag() == first.etag() {
		t.Error("another list has the same ETag")
	}
	h.ask("POST", "/Users/.search", `{"schemas":["`+findURN+`"]}`, "If-None-Match: *").want(200)
}
