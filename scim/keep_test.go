package scim

import (
	"strings"
	"testing"
)

// What becomes of stored values when the file of custom schemas changes: nothing is lost by a start, and nothing by what
// clients do who know only today's schemas. That attributes come and go at all is in reindex_test.go.

const keptURN = "urn:example:params:scim:schemas:extension:kept:2.0:User"

// under starts a house on the same data, with other attributes in the extension.
func under(t *testing.T, p *probe, attributes ...string) *house {
	t.Helper()
	return openHouseOn(t, p, typesWith(t, extensionOf(keptURN, attributes...)), Options{})
}

// kept returns the extension of a user as it is shown.
func (h *house) kept(u string) string {
	h.t.Helper()
	return h.ask("GET", "/Users/"+u, "").want(200).text(keptURN)
}

const (
	wholeA = `{"name":"a","type":"complex","subAttributes":[{"name":"x"},{"name":"y"}]}`
	halfA  = `{"name":"a","type":"complex","subAttributes":[{"name":"x"}]}`
	wholeL = `{"name":"l","type":"complex","multiValued":true,"subAttributes":[{"name":"value"},{"name":"type"},{"name":"y"},{"name":"pin","mutability":"writeOnly","returned":"never"}]}`
	halfL  = `{"name":"l","type":"complex","multiValued":true,"subAttributes":[{"name":"value"},{"name":"type"},{"name":"pin","mutability":"writeOnly","returned":"never"}]}`
	other  = `{"name":"other"}`
)

// Parts of values that no schema has any more survive what clients do to the rest: elements of lists keep theirs as long as
// there is an element of the same value.
func TestHiddenPartsAreKept(t *testing.T) {
	for _, c := range []struct {
		name, members string // what is there first
		do            func(h *house, u string)
		want          string // what is there when the schemas are back
	}{
		{"PUT of what is shown", `"a":{"x":"1","y":"2"},"l":[{"value":"v","y":"yv","pin":"p"},{"value":"w","type":"t","y":"yw"}]`, func(h *house, u string) {
			if got := h.kept(u); got != `{"a":{"x":"1"},"l":[{"value":"v"},{"type":"t","value":"w"}]}` {
				h.t.Errorf("shown is %s", got)
			}
			h.ask("PUT", "/Users/"+u, `{"userName":"ada","`+keptURN+`":`+h.kept(u)+`}`).want(200)
		}, `{"a":{"x":"1","y":"2"},"l":[{"value":"v","y":"yv"},{"type":"t","value":"w","y":"yw"}]}`},
		{"PUT of something else", `"a":{"x":"1","y":"2"},"l":[{"value":"v","y":"yv"},{"value":"w","y":"yw"}]`, func(h *house, u string) {
			h.ask("PUT", "/Users/"+u, `{"userName":"ada","`+keptURN+`":{"a":{"x":"3"},"l":[{"value":"new"},{"value":"w","type":"t"}]}}`).want(200)
		}, `{"a":{"x":"3","y":"2"},"l":[{"value":"new"},{"type":"t","value":"w","y":"yw"}]}`},
		{"PUT of nothing", `"a":{"x":"1","y":"2"},"gone":"g","l":[{"value":"v","y":"yv"}]`, func(h *house, u string) {
			h.ask("PUT", "/Users/"+u, `{"userName":"ada"}`).want(200)
			if got := h.kept(u); got != "" {
				h.t.Errorf("shown is %s", got)
			}
		}, `{"a":{"y":"2"},"gone":"g"}`},
		{"PATCH of a part", `"a":{"x":"1","y":"2"},"l":[{"value":"v","y":"yv"}]`, func(h *house, u string) {
			h.patch("/Users/"+u, `{"op":"replace","path":"`+keptURN+`:a","value":{"x":"3"}}`, `{"op":"add","path":"`+keptURN+`:l[value eq \"v\"].type","value":"t"}`, `{"op":"remove","path":"`+keptURN+`:a.x"}`).want(200)
		}, `{"a":{"y":"2"},"l":[{"type":"t","value":"v","y":"yv"}]}`},
		{"PATCH of a list", `"l":[{"value":"v","y":"yv"},{"value":"w","y":"yw"}]`, func(h *house, u string) {
			h.patch("/Users/"+u, `{"op":"replace","path":"`+keptURN+`:l","value":[{"value":"w"},{"value":"x"}]}`).want(200)
		}, `{"l":[{"value":"w","y":"yw"},{"value":"x"}]}`},
		{"PATCH of an element", `"l":[{"value":"v","y":"yv"}]`, func(h *house, u string) {
			h.patch("/Users/"+u, `{"op":"replace","path":"`+keptURN+`:l[value eq \"v\"]","value":{"value":"z"}}`).want(200)
		}, `{"l":[{"value":"z","y":"yv"}]}`},
		{"removal of elements", `"l":[{"value":"v","y":"yv"},{"value":"w","y":"yw"}]`, func(h *house, u string) {
			h.patch("/Users/"+u, `{"op":"remove","path":"`+keptURN+`:l[value eq \"v\"]"}`).want(200)
		}, `{"l":[{"value":"w","y":"yw"}]}`},
		{"removal of the extension", `"gone":"g","other":"o"`, func(h *house, u string) {
			h.patch("/Users/"+u, `{"op":"remove","path":"`+keptURN+`"}`).want(200)
			if r := h.ask("GET", "/Users/"+u, "").want(200); strings.Contains(string(r.body), keptURN) {
				h.t.Errorf("%s", r.body)
			}
			if n := h.find("/Users?", keptURN+" pr").total(); n != 0 {
				h.t.Errorf("%d users have the extension", n)
			}
		}, `{"gone":"g"}`},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := newProbe()
			h := under(t, p, wholeA, wholeL, other, `{"name":"gone"}`)
			u := h.user("ada", `"`+keptURN+`":{`+c.members+`}`)
			h.close()
			h = under(t, p, halfA, halfL, other)
			c.do(h, u)
			h.close()
			h = under(t, p, wholeA, wholeL, other, `{"name":"gone"}`)
			if got := h.kept(u); got != c.want {
				t.Errorf("got  %s\nwant %s", got, c.want)
			}
		})
	}
}

// Values that are not of the type that an attribute has today are kept and not shown, until somebody gives it a value of that
// type: then that is its value. A record never has two of one name.
func TestOtherTypes(t *testing.T) {
	for _, c := range []struct {
		was, is  string // definitions
		old, new string // values, in JSON
	}{
		{`{"name":"v"}`, `{"name":"v","type":"integer","indexed":true}`, `"text"`, `5`},
		{`{"name":"v","type":"integer","indexed":true}`, `{"name":"v","indexed":true}`, `5`, `"text"`},
		{`{"name":"v"}`, `{"name":"v","type":"boolean"}`, `"true"`, `true`},
		{`{"name":"v"}`, `{"name":"v","type":"complex","subAttributes":[{"name":"x"}]}`, `"text"`, `{"x":"1"}`},
		{`{"name":"v","type":"complex","subAttributes":[{"name":"x"}]}`, `{"name":"v","caseExact":true,"uniqueness":"server"}`, `{"x":"1"}`, `"text"`},
		{`{"name":"v"}`, `{"name":"v","multiValued":true,"indexed":true}`, `"text"`, `["a","b"]`},
		{`{"name":"v","multiValued":true}`, `{"name":"v"}`, `["a","b"]`, `"text"`},
		{`{"name":"V","uniqueness":"server"}`, `{"name":"v","type":"decimal"}`, `"text"`, `1.50`},
	} {
		t.Run(c.was+" to "+c.is, func(t *testing.T) {
			name := func(h *house, u string) string {
				r := h.ask("GET", "/Users/"+u, "").want(200)
				return r.text(keptURN, "v") + r.text(keptURN, "V")
			}
			p := newProbe()
			h := under(t, p, c.was, other)
			u := h.user("ada", `"`+keptURN+`":{"v":`+c.old+`,"other":"o"}`)
			stays := h.user("ben", `"`+keptURN+`":{"v":`+strings.Replace(c.old, "text", "text2", 1)+`}`)
			old := name(h, u)
			h.close()
			h = under(t, p, c.is, other)
			for _, id := range []string{u, stays} {
				if got := name(h, id); got != "" {
					t.Errorf("shown is %s", got)
				}
				h.patch("/Users/"+id, `{"op":"add","path":"title","value":"Dr"}`).want(200)
				h.ask("PUT", "/Users/"+id, `{"userName":"user-`+id+`","`+keptURN+`":{"other":"p"}}`).want(200)
			}
			if n := h.find("/Users?", keptURN+":v pr").total(); n != 0 {
				t.Errorf("%d users have a value", n)
			}
			h.patch("/Users/"+u, `{"op":"add","path":"`+keptURN+`:v","value":`+c.new+`}`).want(200)
			if got := name(h, u); got != strings.Trim(c.new, `"`) {
				t.Errorf("shown is %s, want %s", got, c.new)
			}
			if n := h.find("/Users?", keptURN+":v pr").total(); n != 1 {
				t.Errorf("%d users have a value", n)
			}
			h.close()
			h = under(t, p, c.was, other)
			if got := name(h, stays); got == "" || strings.Replace(got, "text2", "text", 1) != old {
				t.Errorf("of %s there is %s", old, got)
			}
			if got := name(h, u); got != "" {
				t.Errorf("a value of the other type is shown: %s", got)
			}
		})
	}
}

// An attribute that becomes one of links, or ceases to be, keeps what was stored in its other form.
func TestLinksComeAndGo(t *testing.T) {
	file := func(sub string) string {
		return `{"schemas":[{"id":"urn:example:x:2.0:Team","attributes":[{"name":"name"},{"name":"users","type":"complex","multiValued":true,"subAttributes":[{"name":"value"},{"name":"role"}` + sub + `]}]}],
			"resourceTypes":[{"name":"Team","endpoint":"/Teams","schema":"urn:example:x:2.0:Team"}]}`
	}
	const ref = `,{"name":"$ref","type":"reference","referenceTypes":["User"]}`
	p := newProbe()
	open := func(sub string) *house { return openHouseOn(t, p, typesWith(t, file(sub)), Options{}) }
	users := func(h *house, team string) string {
		r := h.ask("GET", "/Teams/"+team, "").want(200)
		return r.text("users", 0, "value") + " " + r.text("users", 0, "role")
	}
	h := open("")
	u := h.user("ada", "")
	team := h.ask("POST", "/Teams", `{"schemas":["urn:example:x:2.0:Team"],"name":"A","users":[{"value":"`+u+`","role":"plain"}]}`).want(201).id()
	h.close()
	h = open(ref)
	if got := users(h, team); got != " " {
		t.Errorf("shown as a link: %s", got)
	}
	h.patch("/Teams/"+team, `{"op":"replace","path":"name","value":"B"}`, `{"op":"add","path":"users","value":[{"value":"`+u+`","role":"linked"}]}`).want(204)
	if got := users(h, team); got != u+" linked" {
		t.Errorf("as a link: %s", got)
	}
	h.close()
	h = open("")
	if got := users(h, team); got != u+" plain" {
		t.Errorf("plain again: %s", got)
	}
	h.ask("PUT", "/Teams/"+team, `{"schemas":["urn:example:x:2.0:Team"],"name":"C","users":[{"value":"`+u+`","role":"plain"}]}`).want(200)
	h.close()
	h = open(ref)
	if got := users(h, team); got != u+" linked" {
		t.Errorf("linked again: %s", got)
	}
}

// An attribute that becomes required is asked of whoever makes a resource or says all of it. Who changes another part of one
// that lacks it is not refused, or users could not be disabled any more; what is there cannot be removed.
func TestBecomingRequired(t *testing.T) {
	p := newProbe()
	h := under(t, p, `{"name":"a"},{"name":"l","type":"complex","multiValued":true,"subAttributes":[{"name":"value"},{"name":"type"}]}`)
	without := h.user("ada", `"`+keptURN+`":{"l":[{"type":"t"}]}`)
	with := h.user("ben", `"`+keptURN+`":{"a":"x","l":[{"value":"v","type":"t"}]}`)
	h.close()
	h = openHouseOn(t, p, typesWith(t, `{"schemas":[{"id":"`+keptURN+`","extends":"User","extensionRequired":true,"attributes":[{"name":"a","required":true},{"name":"l","type":"complex","multiValued":true,"subAttributes":[{"name":"value","required":true},{"name":"type"}]}]}]}`), Options{})
	if got := h.kept(without); got != `{"l":[{"type":"t"}]}` {
		t.Errorf("shown is %s", got)
	}
	h.patch("/Users/"+without, `{"op":"replace","path":"active","value":false}`).want(200)
	h.unchanged(func() {
		h.ask("POST", "/Users", `{"userName":"new"}`).refused(400, InvalidValue)
		r := h.ask("PUT", "/Users/"+without, `{"userName":"ada","`+keptURN+`":{"l":[{"value":"v"}]}}`).refused(400, InvalidValue)
		if d := r.text("detail"); !strings.Contains(d, `"`+keptURN+`:a" is required`) {
			t.Errorf("%s", d)
		}
		h.patch("/Users/"+without, `{"op":"replace","path":"userName","value":" "}`).refused(400, InvalidValue)
		for _, op := range []string{`{"op":"remove","path":"` + keptURN + `:a"}`, `{"op":"remove","path":"` + keptURN + `"}`} {
			h.patch("/Users/"+with, op).refused(400, WrongMutability)
		}
		for _, op := range []string{`{"op":"replace","path":"` + keptURN + `:a","value":null}`, `{"op":"replace","path":"` + keptURN + `","value":{"a":""}}`,
			`{"op":"add","path":"` + keptURN + `:l","value":[{"type":"t"}]}`, `{"op":"remove","path":"` + keptURN + `:l[value eq \"v\"].value"}`} {
			if r := h.patch("/Users/"+with, op); r.status != 400 {
				t.Errorf("%s: %d %s", op, r.status, r.body)
			}
		}
	})
	h.patch("/Users/"+without, `{"op":"add","path":"`+keptURN+`:a","value":"x"}`).want(200)
	h.unchanged(func() {
		h.patch("/Users/"+without, `{"op":"replace","path":"`+keptURN+`:a","value":""}`).refused(400, InvalidValue)
	})
}

// An attribute that is to be unique and is not keeps the server from starting, with both resources named; the data are what
// they were, and serve the schemas as they were.
func TestBecomingUnique(t *testing.T) {
	p := newProbe()
	h := under(t, p, wholeL, other)
	first := h.user("ada", `"`+keptURN+`":{"l":[{"value":"x"},{"value":"Same"}]}`)
	second := h.user("ben", `"`+keptURN+`":{"l":[{"value":"sAME"}]}`)
	want := h.kept(first)
	h.close()
	unique := typesWith(t, extensionOf(keptURN, strings.Replace(wholeL, `{"name":"value"}`, `{"name":"value","uniqueness":"server"}`, 1), other))
	for range 2 {
		_, err := tryHouse(t, p, unique, Options{})
		if err == nil {
			t.Fatal("it starts")
		}
		for _, said := range []string{first, second, keptURN + ":l.value", "tenant default"} {
			if !strings.Contains(err.Error(), said) {
				t.Errorf("%v\ndoes not say %s", err, said)
			}
		}
		if strings.Contains(strings.ToLower(err.Error()), "same\"") {
			t.Errorf("it tells a value: %v", err)
		}
	}
	h = under(t, p, wholeL, other)
	if got := h.kept(first); got != want {
		t.Errorf("got %s\nwant %s", got, want)
	}
	h.patch("/Users/"+second, `{"op":"replace","path":"`+keptURN+`:l[value eq \"same\"].value","value":"else"}`).want(200)
	h.close()
	h = openHouseOn(t, p, unique, Options{})
	h.patch("/Users/"+second, `{"op":"add","path":"`+keptURN+`:l","value":[{"value":"SAME"}]}`).refused(409, NotUnique)
}
