package scim

import (
	"context"
	"fmt"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"
)

// A step is a write, told the ids of what was made before.
type step struct {
	name string
	do   func(h *house, ids map[string]string) *reply
}

var script = []step{
	{"create user", func(h *house, ids map[string]string) *reply {
		r := h.ask("POST", "/Users", `{"userName":"ada","emails":[{"value":"ada@x"}]}`)
		ids["u"] = r.newID()
		return r
	}},
	{"create another", func(h *house, ids map[string]string) *reply {
		r := h.ask("POST", "/Users", `{"userName":"ben"}`)
		ids["v"] = r.newID()
		return r
	}},
	{"create group", func(h *house, ids map[string]string) *reply {
		r := h.ask("POST", "/Groups", `{"displayName":"Ops","members":`+refs(ids["u"], "x")+`}`)
		ids["g"] = r.newID()
		return r
	}},
	{"patch user", func(h *house, ids map[string]string) *reply {
		return h.patch("/Users/"+ids["u"], `{"op":"replace","value":{"userName":"ada2","title":"Dr","emails":[{"value":"ada2@x"}]}}`)
	}},
	{"put user", func(h *house, ids map[string]string) *reply {
		return h.ask("PUT", "/Users/"+ids["u"], `{"userName":"ada3","nickName":"A"}`)
	}},
	{"add members", func(h *house, ids map[string]string) *reply {
		return h.patch("/Groups/"+ids["g"], `{"op":"add","path":"members","value":`+refs(ids["v"], "y")+`}`, `{"op":"remove","path":"members[value eq \"x\"]"}`)
	}},
	{"rename group", func(h *house, ids map[string]string) *reply {
		return h.patch("/Groups/"+ids["g"], `{"op":"replace","value":{"displayName":"Dev"}}`)
	}},
	{"take the old name", func(h *house, ids map[string]string) *reply {
		r := h.ask("POST", "/Users", `{"userName":"ADA"}`)
		ids["w"] = r.newID()
		return r
	}},
	{"bulk", func(h *house, ids map[string]string) *reply {
		return h.ask("POST", "/Bulk", `{"schemas":["`+bulkURN+`"],"Operations":[{"method":"PATCH","path":"/Users/`+ids["w"]+`","data":`+patchBody(`{"op":"add","path":"title","value":"Mr"}`)+`}]}`)
	}},
	{"walk by cursor", func(h *house, ids map[string]string) *reply {
		return h.ask("GET", "/Users?sortBy=title&count=1&cursor=", "")
	}},
	{"delete user", func(h *house, ids map[string]string) *reply { return h.ask("DELETE", "/Users/"+ids["u"], "") }},
	{"delete group", func(h *house, ids map[string]string) *reply { return h.ask("DELETE", "/Groups/"+ids["g"], "") }},
}

// newID returns the id of what a POST has made, and one that nobody has if it was refused.
func (a *reply) newID() string {
	if a.status == 201 {
		return a.id()
	}
	return "not-made"
}

// Each commit of a script fails in turn. Whatever was answered with success is there afterwards, and what was not has left
// nothing.
func TestFailedCommits(t *testing.T) {
	plain := openHouse(t, Options{})
	commits := 0
	plain.probe.failing(func() fault { commits++; return kept })
	ids := map[string]string{}
	for _, s := range script {
		if r := s.do(plain, ids); r.status >= 300 {
			t.Fatalf("%s: %d %s", s.name, r.status, r.body)
		}
	}
	if commits < len(script) {
		t.Fatalf("%d commits for %d writes", commits, len(script))
	}
	for n := 1; n <= commits; n++ {
		h := openHouse(t, Options{})
		count, failed := 0, 0
		h.probe.failing(func() fault {
			if count++; count == n {
				failed++
				return refused
			}
			return kept
		})
		ids := map[string]string{}
		for _, s := range script {
			was, before := failed, h.dump()
			r := s.do(h, ids)
			after := h.dump()
			switch ok := r.status < 300 && r.text0("Operations", 0, "status") < "3"; {
			case failed > was && ok:
				t.Errorf("commit %d, %s: the commit failed, and the answer is %d", n, s.name, r.status)
			case failed > was && r.status >= 300 && r.status < 500:
				t.Errorf("commit %d, %s: the commit failed, and that is the client's fault: %d %s", n, s.name, r.status, r.body)
			case strings.Contains(string(r.body), errFault.Error()):
				t.Errorf("commit %d, %s: the cause is told to the client: %s", n, s.name, r.body)
			}
			// Some of a request's commits are about other things: that a kind has been indexed, and a walk.
			if r.status >= 400 && after != before && !onlyAside(before, after) {
				t.Errorf("commit %d, %s: %d, and the store has changed:\n%s", n, s.name, r.status, differing(before, after))
			}
			if failed > was { // and then it works
				if r := s.do(h, ids); r.status >= 300 {
					t.Errorf("commit %d, %s, the second time: %d %s", n, s.name, r.status, r.body)
				}
			}
		}
		if failed != 1 {
			t.Errorf("commit %d: %d failed", n, failed)
		}
		if got, want := h.world(), plain.world(); got != want {
			t.Errorf("commit %d: at the end\n%s\nwant\n%s", n, got, want)
		}
		h.close()
	}
}

// text0 is text of answers that may have no body.
func (a *reply) text0(path ...any) string {
	if len(a.body) == 0 {
		return ""
	}
	return a.text(path...)
}

// world writes what there is, by name.
func (h *house) world() string {
	h.t.Helper()
	var l []string
	users, _ := h.ask("GET", "/Users", "").want(200).at("Resources").([]any)
	for _, u := range users {
		l = append(l, fmt.Sprintf("user %v %v", dig(u, "userName"), dig(u, "title")))
	}
	groups, _ := h.ask("GET", "/Groups", "").want(200).at("Resources").([]any)
	for _, g := range groups {
		l = append(l, fmt.Sprintf("group %v", dig(g, "displayName")))
	}
	slices.Sort(l)
	return strings.Join(l, "\n")
}

// onlyAside says whether nothing has changed but which kinds are indexed, orders of walks, and the number of commits.
func onlyAside(before, after string) bool {
	for l := range strings.Lines(differing(before, after)) {
		if !strings.Contains(l, `"mcommit"`) && !strings.Contains(l, ` "f`) && !strings.Contains(l, "$walk") {
			return false
		}
	}
	return true
}

// Nobody knows what has become of a commit: the store closes itself, nobody is told of a success, and after a restart each
// change is there as a whole or not at all.
func TestUnknownCommits(t *testing.T) {
	for _, outcome := range []fault{lost, hidden} {
		for i := range script {
			h := openHouse(t, Options{})
			ids := map[string]string{}
			for _, s := range script[:i] {
				s.do(h, ids)
			}
			h.ask("POST", "/Devices", "") // nothing
			before := h.dump()
			h.probe.failing(func() fault { return outcome })
			r := script[i].do(h, ids)
			if ok := r.status < 300 && r.text0("Operations", 0, "status") < "3"; ok {
				t.Errorf("%s: %d, and nobody knows", script[i].name, r.status)
			}
			if r.status >= 300 && r.status != 503 {
				t.Errorf("%s: %d %s", script[i].name, r.status, r.body)
			}
			if r.status == 503 && (r.header.Get("Retry-After") == "" || !strings.Contains(r.text("detail"), "not known")) {
				t.Errorf("%s: %s", script[i].name, r.body)
			}
			h.probe.failing(nil)
			if r := h.ask("GET", "/Users", ""); r.status != 503 {
				t.Errorf("%s: afterwards %d", script[i].name, r.status)
			}
			if r := h.ask("POST", "/Users", `{"userName":"late"}`); r.status != 503 {
				t.Errorf("%s: afterwards %d", script[i].name, r.status)
			}
			h.close()
			if outcome == lost {
				if after := h.dump(); after != before {
					t.Errorf("%s: lost, and there is\n%s", script[i].name, differing(before, after))
				}
			}
			again := openHouseOn(t, h.probe, builtinTypes(t), Options{}) // which is checked when it closes
			again.ask("GET", "/Users", "").want(200)
			again.user("late", "")
			again.close()
		}
	}
}

// A client that gives up before its turn has changed nothing, and one that gives up when it is too late is not told that it
// has.
func TestCancelledRequests(t *testing.T) {
	h := openHouse(t, Options{})
	u := h.user("ada", "")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	h.unchanged(func() {
		for _, c := range []struct{ method, target, body string }{
			{"POST", "/Users", `{"userName":"ben"}`}, {"PATCH", "/Users/" + u, patchBody(`{"op":"add","path":"title","value":"x"}`)},
			{"DELETE", "/Users/" + u, ""}, {"GET", "/Users/" + u, ""}, {"GET", "/Users?sortBy=title&count=1&cursor=", ""},
		} {
			r := h.serve(httptest.NewRequest(c.method, BasePath+c.target, strings.NewReader(c.body)).WithContext(ctx))
			r.refused(503, "")
			if !strings.Contains(r.text("detail"), "nothing was changed") {
				t.Errorf("%s", r.body)
			}
		}
	})
	// The time of the request is over at the moment of the commit.
	late, expire := context.WithTimeout(t.Context(), time.Hour)
	defer expire()
	h.probe.failing(func() fault { expire(); return kept })
	r := h.serve(httptest.NewRequest("POST", BasePath+"/Users", strings.NewReader(`{"userName":"ben"}`)).WithContext(late))
	h.probe.failing(nil)
	r.want(201)
	if r.text("userName") != "ben" {
		t.Errorf("%s", r.body)
	}
}
