package scim

import (
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// The model knows nothing of schemas, bound paths or Values: it works on plain JSON and on three attributes, one of each
// shape, and says in the words of RFC 7644 section 3.5.2 what an operation makes of a document.

type doc = map[string]any

// modelOp is an operation in the form that the model understands; path() is its text.
type modelOp struct {
	op     string // add, replace, remove
	attr   string // title, name, emails, department; "" for none
	sub    string
	where  func(doc) bool // nil: no filter
	filter string
	fill   doc // what the filter says of a new element; nil if it does not say enough
	value  any
}

const modelExt = EnterpriseUserURN

func (m modelOp) path() string {
	p := m.attr
	if m.attr == "department" {
		p = modelExt + ":department"
	}
	if m.filter != "" {
		p += "[" + m.filter + "]"
	}
	if m.sub != "" {
		p += "." + m.sub
	}
	return p
}

func (m modelOp) json() doc {
	o := doc{"op": m.op}
	if p := m.path(); p != "" {
		o["path"] = p
	}
	if m.op != "remove" {
		o["value"] = m.value
	}
	return o
}

// modelApply returns the document after m, or false if the operation must be refused.
func modelApply(d doc, m modelOp, tolerant bool) (doc, bool) {
	d = copyDoc(d)
	switch m.attr {
	case "":
		if m.op == "remove" {
			return nil, false
		}
		// Each member by its own rule; the order does not matter for different attributes.
		v := m.value.(doc)
		for _, name := range slices.Sorted(maps.Keys(v)) {
			var ok bool
			if d, ok = modelApply(d, modelOp{op: m.op, attr: name, value: v[name]}, tolerant); !ok {
				return nil, false
			}
		}
		return d, true
	case "title", "department":
		if m.op == "remove" || m.value == nil {
			delete(d, m.attr)
		} else {
			d[m.attr] = m.value
		}
		return d, true
	case "name":
		n, _ := d["name"].(doc)
		n = copyDoc(n)
		switch {
		case m.sub != "" && (m.op == "remove" || m.value == nil):
			delete(n, m.sub)
		case m.sub != "":
			n[m.sub] = m.value
		case m.op == "remove" || m.value == nil:
			n = doc{}
		default:
			maps.Copy(n, m.value.(doc))
			maps.DeleteFunc(n, func(_ string, v any) bool { return v == nil }) // null unassigns
		}
		put(d, "name", n)
		return d, true
	}
	return modelEmails(d, m, tolerant)
}

func modelEmails(d doc, m modelOp, tolerant bool) (doc, bool) {
	var list []doc
	if l, ok := d["emails"].([]doc); ok {
		for _, e := range l {
			list = append(list, copyDoc(e))
		}
	}
	fresh := map[int]bool{}
	finish := func() (doc, bool) {
		onlyOnePrimary(list, fresh)
		list = slices.DeleteFunc(list, func(e doc) bool { return len(e) == 0 })
		if len(list) == 0 {
			delete(d, "emails")
		} else {
			d["emails"] = list
		}
		return d, true
	}
	appendNew := func(es []doc) {
		for _, e := range es {
			if !slices.ContainsFunc(list, func(x doc) bool { return reflect.DeepEqual(x, e) }) {
				fresh[len(list)] = true
				list = append(list, copyDoc(e))
			}
		}
	}
	if m.where == nil && m.sub == "" {
		values, _ := m.value.([]doc)
		switch m.op {
		case "remove":
			list = nil
		case "add":
			before := len(list)
			appendNew(values)
			if len(list) == before {
				return d, true
			}
		default:
			list, fresh = nil, map[int]bool{}
			appendNew(values)
			fresh = map[int]bool{}
		}
		return finish()
	}
	hit := false
	for i, e := range list {
		if m.where != nil && !m.where(e) {
			continue
		}
		hit = true
		was := e["primary"] == true
		list[i] = changedElement(e, m)
		if list[i]["primary"] == true && !was && m.where != nil {
			fresh[i] = true
		}
	}
	if hit {
		return finish()
	}
	switch {
	case m.op == "remove":
		return d, true
	case m.op == "replace" && !tolerant, m.where == nil && !tolerant:
		return nil, false
	case m.value == nil:
		return d, true
	case m.where != nil && m.fill == nil:
		return nil, false
	}
	e := copyDoc(m.fill)
	add := m
	add.op = "add"
	appendNew([]doc{changedElement(e, add)})
	if m.where == nil {
		fresh = map[int]bool{}
	}
	return finish()
}

func changedElement(e doc, m modelOp) doc {
	e = copyDoc(e)
	switch {
	case m.sub != "" && (m.op == "remove" || m.value == nil):
		delete(e, m.sub)
	case m.sub != "":
		e[m.sub] = m.value
	case m.op == "remove" || m.value == nil:
		return doc{}
	case m.op == "add":
		maps.Copy(e, m.value.(doc))
	default:
		e = copyDoc(m.value.(doc))
	}
	return e
}

// onlyOnePrimary clears all primaries but the last one that was just set, or the last one.
func onlyOnePrimary(list []doc, fresh map[int]bool) {
	keep := -1
	for i, e := range list {
		if e["primary"] == true {
			keep = i
		}
	}
	for i, e := range list {
		if e["primary"] == true && fresh[i] {
			keep = i
		}
	}
	for i, e := range list {
		if e["primary"] == true && i != keep {
			e["primary"] = false
		}
	}
}

func put(d doc, name string, v doc) {
	if len(v) == 0 {
		delete(d, name)
	} else {
		d[name] = v
	}
}

func copyDoc(d doc) doc {
	c := maps.Clone(d)
	if c == nil {
		c = doc{}
	}
	return c
}

func genEmail(t *rapid.T) doc {
	e := doc{}
	e["value"] = rapid.SampledFrom([]string{"a@x", "b@x", "c@x"}).Draw(t, "value")
	if rapid.Bool().Draw(t, "typed") {
		e["type"] = rapid.SampledFrom([]string{"work", "home"}).Draw(t, "type")
	}
	if rapid.IntRange(0, 3).Draw(t, "p") == 0 {
		e["primary"] = rapid.Bool().Draw(t, "primary")
	}
	return e
}

func genEmails(t *rapid.T) []doc {
	list := rapid.SliceOfN(rapid.Custom(genEmail), 0, 3).Draw(t, "emails")
	primary := false
	for _, e := range list { // a client that sends two primaries is another test's
		if e["primary"] == true && primary {
			delete(e, "primary")
		}
		primary = primary || e["primary"] == true
	}
	return list
}

func genName(t *rapid.T) doc {
	n := doc{}
	for _, s := range []string{"givenName", "familyName"} {
		if rapid.Bool().Draw(t, s) {
			n[s] = rapid.SampledFrom([]any{"A", "B", nil}).Draw(t, "part")
		}
	}
	return n
}

func genOp(t *rapid.T) modelOp {
	m := modelOp{op: rapid.SampledFrom([]string{"add", "replace", "remove"}).Draw(t, "op")}
	text := func() any { return rapid.SampledFrom([]any{"X", "Y", nil}).Draw(t, "text") }
	switch rapid.IntRange(0, 8).Draw(t, "shape") {
	case 0:
		m.attr, m.value = "title", text()
	case 1:
		m.attr, m.value = "department", text()
	case 2:
		m.attr, m.value = "name", genName(t)
	case 3:
		m.attr, m.sub, m.value = "name", "givenName", text()
	case 4:
		m.attr, m.value = "emails", genEmails(t)
	case 5:
		m.attr, m.sub, m.value = "emails", "type", rapid.SampledFrom([]any{"work", "home"}).Draw(t, "type")
	case 6:
		m.value = doc{"title": "P", "name": genName(t), "emails": genEmails(t)}
	default:
		m.attr = "emails"
		genFilter(t, &m)
		switch rapid.IntRange(0, 3).Draw(t, "sub") {
		case 0:
			m.value = genEmail(t)
		case 1:
			m.sub, m.value = "value", rapid.SampledFrom([]any{"a@x", "z@x", nil}).Draw(t, "v")
		case 2:
			m.sub, m.value = "type", rapid.SampledFrom([]any{"work", "other"}).Draw(t, "v")
		default:
			m.sub, m.value = "primary", rapid.Bool().Draw(t, "v")
		}
	}
	return m
}

func genFilter(t *rapid.T, m *modelOp) {
	typ := rapid.SampledFrom([]string{"work", "home"}).Draw(t, "want")
	switch rapid.IntRange(0, 3).Draw(t, "filter") {
	case 0:
		m.filter, m.fill = fmt.Sprintf("type eq %q", typ), doc{"type": typ}
		m.where = func(e doc) bool { return e["type"] == typ }
	case 1:
		m.filter, m.fill = fmt.Sprintf(`type eq %q and value eq "b@x"`, typ), doc{"type": typ, "value": "b@x"}
		m.where = func(e doc) bool { return e["type"] == typ && e["value"] == "b@x" }
	case 2:
		m.filter, m.fill = "primary eq true", doc{"primary": true}
		m.where = func(e doc) bool { return e["primary"] == true }
	default:
		m.filter = fmt.Sprintf(`type eq %q or value sw "c"`, typ)
		m.where = func(e doc) bool {
			v, _ := e["value"].(string)
			return e["type"] == typ || strings.HasPrefix(v, "c")
		}
	}
}

func TestPatchEqualsModel(t *testing.T) {
	types := builtinTypes(t)
	user := types.ByName("User")
	rapid.Check(t, func(t *rapid.T) {
		tolerantClient := rapid.Bool().Draw(t, "tolerant")
		q := quirks{}
		if tolerantClient {
			q = tolerant
		}
		start := doc{"title": "T", "name": doc{"givenName": "G"}, "emails": genEmails(t)}
		if len(start["emails"].([]doc)) == 0 {
			delete(start, "emails")
		}
		d := decoder{t: user, q: q, strict: true}
		body := copyDoc(start)
		body["schemas"] = []string{UserURN}
		object, err := d.resource(mustNode(t, body))
		if err != nil {
			t.Fatal(err)
		}
		// The body is stored as the decoder leaves it: the same element twice is one.
		want := modelStart(start)
		ops := rapid.SliceOfN(rapid.Custom(genOp), 1, 4).Draw(t, "ops")
		var list []any
		ok := true
		for _, m := range ops {
			list = append(list, m.json())
			if ok {
				want, ok = modelApply(want, m, tolerantClient)
			}
		}
		got, err := applyAll(user, q, object, mustNode(t, doc{"schemas": []string{patchURN}, "Operations": list}))
		if (err == nil) != ok {
			t.Fatalf("error %v, the model says ok = %t", err, ok)
		}
		if err != nil {
			return
		}
		if g, w := plain(user, got), canonical(want); g != w {
			t.Fatalf("got  %s\nwant %s", g, w)
		}
	})
}

func modelStart(d doc) doc {
	d = copyDoc(d)
	if l, ok := d["emails"].([]doc); ok {
		var kept []doc
		for _, e := range l {
			if !slices.ContainsFunc(kept, func(k doc) bool { return reflect.DeepEqual(k, e) }) {
				kept = append(kept, e)
			}
		}
		d["emails"] = kept
	}
	return d
}

func applyAll(t *ResourceType, q quirks, o *Object, body *node) (*Object, error) {
	d := patchDecoder{decoder{t: t, q: q, strict: true}, "id"}
	ops, err := d.decode(body)
	if err != nil {
		return nil, err
	}
	e := editor{t: t, q: q, object: o.Clone()}
	for i := range ops {
		if err := e.apply(&ops[i]); err != nil {
			return nil, err
		}
	}
	return e.object, nil
}

// plain is an object as sorted JSON with the department where the model has it.
func plain(t *ResourceType, o *Object) string {
	var d doc
	if err := json.Unmarshal(o.appendJSON(nil), &d); err != nil {
		panic(err)
	}
	if x, ok := d[modelExt].(doc); ok {
		maps.Copy(d, x)
		delete(d, modelExt)
	}
	return canonical(d)
}

func canonical(d doc) string {
	b, err := json.Marshal(d)
	if err != nil {
		panic(err)
	}
	return string(b)
}

func mustNode(t interface{ Fatal(...any) }, v any) *node {
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	n, err := parseJSON(b)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// builtinTypes are the schemas that scimbox brings along.
func builtinTypes(t testing.TB) *Types {
	t.Helper()
	types, err := NewTypes("")
	if err != nil {
		t.Fatal(err)
	}
	return types
}
