package scim

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

const (
	tagURN      = "urn:example:tag:2.0:User"
	tagSchema   = `{"id":"` + tagURN + `","extends":"User","attributes":[{"name":"tag"%s},{"name":"level","type":"integer"%s}]}`
	indexedTag  = `,"indexed":true`
	uniqueTag   = `,"uniqueness":"server"`
	caseTag     = `,"indexed":true,"caseExact":true`
	indexedBoth = `,"indexed":true`
)

func tagTypes(t *testing.T, tag, level string) *Types {
	return typesWith(t, fmt.Sprintf(tagSchema, tag, level))
}

// taggedHouse has users whose tags are t0, T0, t1, T1 ...
func taggedHouse(t *testing.T, p *probe, types *Types, n int) (*house, []string) {
	h := openHouseOn(t, p, types, Options{})
	var ids []string
	for i := range n {
		tag := fmt.Sprintf("t%d", i/2)
		if i%2 == 1 {
			tag = strings.ToUpper(tag)
		}
		ids = append(ids, h.user(fmt.Sprint("u", i), fmt.Sprintf(`"%s":{"tag":%q,"level":%d}`, tagURN, tag, i)))
	}
	h.tenant("other").user("x", `"`+tagURN+`":{"tag":"t0"}`)
	return h, ids
}

// An attribute that becomes indexed is found by the index after the next start, in every tenant; one that ceases to be is found as
// before; and a start with the same rules writes nothing.
func TestReindex(t *testing.T) {
	p := newProbe()
	h, ids := taggedHouse(t, p, tagTypes(t, "", ""), 450) // more than one batch
	versions := h.ask("GET", "/Users/"+ids[7], "").etag()
	looks := func(h *house, filter string, want ...string) int {
		t.Helper()
		var got []string
		n := p.reads("r", func() { got = h.find("/Users?", filter).ids() })
		if !slices.Equal(got, want) {
			t.Errorf("%s finds %d, want %d", filter, len(got), len(want))
		}
		return n
	}
	byTag, byLevel := tagURN+`:tag eq "t7"`, tagURN+`:level eq 7`
	if n := looks(h, byTag, ids[14], ids[15]); n < len(ids) {
		t.Errorf("without an index: looked at %d", n)
	}
	h.close()
	for _, step := range []struct {
		tag, level string
		filter     string
		want       []string
		indexed    bool
	}{
		{indexedTag, "", byTag, ids[14:16], true},
		{indexedTag, indexedBoth, byLevel, ids[7:8], true},
		{caseTag, indexedBoth, byTag, ids[14:15], true},
		{indexedTag, "", byLevel, ids[7:8], false},
		{"", "", byTag, ids[14:16], false},
	} {
		h = openHouseOn(t, p, tagTypes(t, step.tag, step.level), Options{})
		if n := looks(h, step.filter, step.want...); n <= 2*len(step.want) != step.indexed {
			t.Errorf("%+v: looked at %d", step, n)
		}
		if got := h.ask("GET", "/Users/"+ids[7], "").etag(); got != versions {
			t.Errorf("indexing has moved the version from %s to %s", versions, got)
		}
		if n := h.tenant("other").find("/Users?", tagURN+`:tag eq "t0"`).total(); n != 1 {
			t.Errorf("in another tenant: %d", n)
		}
		before := h.dump()
		h.close()
		h = openHouseOn(t, p, tagTypes(t, step.tag, step.level), Options{})
		if after := h.dump(); after != before {
			t.Errorf("a start by the same rules has written:\n%s", clip(differing(before, after)))
		}
		h.close()
	}
}

// An attribute becomes unique if its values are, and the start says which resource is in the way if they are not. A refused
// start leaves a store that the old schemas serve as before, whichever indexes it was about to make and to drop.
func TestReindexUnique(t *testing.T) {
	p := newProbe()
	h, ids := taggedHouse(t, p, tagTypes(t, "", indexedBoth), 250)
	own := func(i int) {
		h.patch("/Users/"+ids[i], fmt.Sprintf(`{"op":"replace","path":"%s:tag","value":"only%d"}`, tagURN, i)).want(200)
	}
	last := len(ids) - 1
	for i := 1; i < last; i += 2 { // the two that have one tag are the last, when most are indexed by the new rules
		own(i)
	}
	h.close()
	for range 2 {
		_, err := tryHouse(t, p, tagTypes(t, uniqueTag, ""), Options{})
		if err == nil {
			t.Fatal("two users have one tag, and the start took it for unique")
		}
		if !strings.Contains(err.Error(), "User "+ids[last]) || !strings.Contains(err.Error(), "default") {
			t.Errorf("it does not say who: %v", err)
		}
	}
	h = openHouseOn(t, p, tagTypes(t, "", indexedBoth), Options{})
	for i, id := range ids {
		if l := h.find("/Users?", fmt.Sprintf("%s:level eq %d", tagURN, i)).ids(); !slices.Equal(l, []string{id}) {
			t.Fatalf("level %d finds %q after a refused start", i, l)
		}
	}
	own(last)
	h.close()
	h = openHouseOn(t, p, tagTypes(t, uniqueTag, ""), Options{})
	h.unchanged(func() {
		h.ask("POST", "/Users", `{"userName":"new","`+tagURN+`":{"tag":"ONLY1"}}`).refused(409, NotUnique)
		h.patch("/Users/"+ids[0], `{"op":"replace","path":"`+tagURN+`:tag","value":"t3"}`).refused(409, NotUnique)
	})
	if l := h.find("/Users?", tagURN+`:tag eq "T3"`).ids(); !slices.Equal(l, []string{ids[6]}) {
		t.Errorf("finds %q", l)
	}
}

// Attributes that are taken out of a schema, or become another type, keep their values, which are there again when the
// attributes are.
func TestSchemaComesAndGoes(t *testing.T) {
	p := newProbe()
	h := openHouseOn(t, p, acmeTypes(t), Options{})
	u := h.user("ada", `"`+acmeURN+`":{"badge":"B1","level":5,"desk":{"building":"A"},"keys":[{"value":"k","pin":"1"}]}`)
	d := h.ask("POST", "/Devices", `{"serial":"1","users":[{"value":"`+u+`"}]}`).want(201).id()
	want := h.ask("GET", "/Users/"+u, "").text(acmeURN)
	h.close()

	h = openHouseOn(t, p, builtinTypes(t), Options{})
	if r := h.ask("GET", "/Users/"+u, "").want(200); strings.Contains(string(r.body), "acme") {
		t.Errorf("%s", r.body)
	}
	h.ask("GET", "/Devices/"+d, "").refused(404, "")
	h.ask("GET", "/Users?filter="+acmeURN+":level eq 5", "").refused(400, InvalidFilter)
	h.patch("/Users/"+u, `{"op":"add","path":"title","value":"Dr"}`).want(200)
	h.ask("PUT", "/Users/"+u, `{"userName":"ada","nickName":"A"}`).want(200)
	gone := h.user("ben", "")
	h.close()

	h = openHouseOn(t, p, typesWith(t, `{"schemas":[{"id":"`+acmeURN+`","extends":"User","attributes":[{"name":"level"},{"name":"badge"},{"name":"desk"}]}]}`), Options{})
	if r := h.ask("GET", "/Users/"+u, "").want(200); r.text(acmeURN, "badge") != "B1" || r.at(acmeURN, "level") != nil || r.at(acmeURN, "desk") != nil {
		t.Errorf("of another type: %s", r.body)
	}
	h.close()

	h = openHouseOn(t, p, acmeTypes(t), Options{})
	if got := h.ask("GET", "/Users/"+u, "").text(acmeURN); got != want {
		t.Errorf("was %s\nis  %s", want, got)
	}
	if n := h.find("/Users?", acmeURN+":level eq 5").total(); n != 1 {
		t.Errorf("level eq 5 finds %d", n)
	}
	h.patch("/Devices/"+d, `{"op":"add","path":"users","value":[{"value":"`+gone+`"}]}`).want(204)
	h.close()

	// A user goes while nobody knows what a Device is.
	h = openHouseOn(t, p, builtinTypes(t), Options{})
	h.ask("DELETE", "/Users/"+gone, "").want(204)
	h.close()
	h = openHouseOn(t, p, acmeTypes(t), Options{})
	if r := h.ask("GET", "/Devices/"+d, "").want(200); r.text("users", 0, "value") != u || r.at("users", 1) != nil {
		t.Errorf("%s", r.body)
	}
}
