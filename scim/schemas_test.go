package scim

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// Custom schemas at work: every characteristic with every type, attributes that are unique and indexed, and whole resource
// types. What a file may say is in load_test.go, and what becomes of records when it changes in keep_test.go and
// reindex_test.go.

const allURN = "urn:example:params:scim:schemas:extension:all:2.0:User"

// sample is two values of a data type, in JSON, and in filters unless they have none.
type sample struct{ one, two string }

var samples = map[DataType]sample{
	String:    {`"Müller & Söhne"`, `"other"`},
	Boolean:   {`true`, `false`},
	Decimal:   {`-1.50`, `2e3`},
	Integer:   {`-7`, `123456789012345678901234567890`},
	DateTime:  {`"2026-01-31T13:45:00+02:00"`, `"2027-12-31T23:59:59.999Z"`},
	Binary:    {`"c2NpbWJveA=="`, `"AAEC"`},
	Reference: {`"https://x.example/a?b#c"`, `"urn:example:z"`},
	Complex:   {`{"text":"a","many":["x","y"],"n":5}`, `{"text":"b"}`},
}

// combined is an attribute of the schema that has all combinations.
type combined struct {
	name       string
	typ        DataType
	many       bool
	mutability Mutability
	returned   Returned
	indexed    bool
}

// combinations are all that a schema file may have.
func combinations() (all []combined) {
	for typ := range samples {
		for _, many := range []bool{false, true} {
			for _, m := range []Mutability{ReadOnly, ReadWrite, Immutable, WriteOnly} {
				for _, r := range []Returned{ReturnedAlways, ReturnedDefault, ReturnedRequest, ReturnedNever} {
					if m == WriteOnly && r != ReturnedNever || m == ReadOnly && r == ReturnedNever {
						continue
					}
					c := combined{"", typ, many, m, r, typ != Complex && typ != Binary && r != ReturnedNever}
					c.name = fmt.Sprintf("%s_%t_%s_%s", typ, many, m, r)
					all = append(all, c)
				}
			}
		}
	}
	slices.SortFunc(all, func(a, b combined) int { return strings.Compare(a.name, b.name) })
	return all
}

func (c combined) definition() string {
	d := fmt.Sprintf(`{"name":%q,"type":%q,"multiValued":%t,"mutability":%q,"returned":%q,"indexed":%t`, c.name, c.typ, c.many, c.mutability, c.returned, c.indexed)
	switch c.typ {
	case Complex:
		d += `,"subAttributes":[{"name":"text"},{"name":"many","multiValued":true},{"name":"n","type":"integer"}]`
	case Reference:
		d += `,"referenceTypes":["external"]`
	}
	return d + "}"
}

func (c combined) value(second bool) string {
	v := samples[c.typ].one
	if second {
		v = samples[c.typ].two
	}
	if c.many {
		return "[" + v + "]"
	}
	return v
}

func extensionOf(urn string, attributes ...string) string {
	return `{"schemas":[{"id":"` + urn + `","extends":"User","attributes":[` + strings.Join(attributes, ",") + `]}]}`
}

func isJSON(t *testing.T, got any, want string) bool {
	t.Helper()
	b, err := json.Marshal(got)
	if err != nil {
		t.Fatal(err)
	}
	var v any
	d := json.NewDecoder(strings.NewReader(want))
	d.UseNumber()
	if err := d.Decode(&v); err != nil {
		t.Fatal(err)
	}
	w, err := json.Marshal(v)
	return err == nil && string(b) == string(w)
}

// Each attribute does what its characteristics say (RFC 7643 section 7): of what type ever it is, whoever asks for it.
func TestEveryCharacteristic(t *testing.T) {
	all := combinations()
	var defs, values []string
	for _, c := range all {
		defs, values = append(defs, c.definition()), append(values, quoted(c.name)+":"+c.value(false))
	}
	h := openHouseOn(t, newProbe(), typesWith(t, extensionOf(allURN, defs...)), Options{})
	made := h.ask("POST", "/Users", `{"userName":"ada","`+allURN+`":{`+strings.Join(values, ",")+`}}`).want(201)
	u := made.id()
	h.user("ben", "")
	get := func(query string) *reply { return h.ask("GET", "/Users/"+u+query, "").want(200) }
	plain, others, schema := get(""), get("?attributes=userName"), h.ask("GET", "/Schemas/"+allURN, "").want(200)
	without := get("?excludedAttributes=" + allURN)
	for i, c := range all {
		t.Run(c.name, func(t *testing.T) {
			h := h.in(t)
			path := allURN + ":" + c.name
			stored := c.mutability != ReadOnly
			shows := func(where string, r *reply, want bool) {
				t.Helper()
				v := r.at(allURN, c.name)
				if (v != nil) != want || want && !isJSON(t, v, c.value(false)) {
					t.Errorf("%s: %v, want it shown = %t", where, v, want)
				}
			}
			shows("the answer to POST", made, stored && c.returned != ReturnedNever)
			shows("GET", plain, stored && (c.returned == ReturnedAlways || c.returned == ReturnedDefault))
			shows("attributes=userName", others, stored && c.returned == ReturnedAlways)
			shows("without the extension", without, stored && c.returned == ReturnedAlways)
			shows("attributes=it", get("?attributes="+path), stored && c.returned != ReturnedNever)
			shows("excludedAttributes=it", get("?excludedAttributes="+path), stored && c.returned == ReturnedAlways)
			d := schema.at("attributes", i)
			for name, want := range map[string]any{"name": c.name, "type": string(c.typ), "multiValued": c.many, "mutability": string(c.mutability), "returned": string(c.returned)} {
				if dig(d, name) != want {
					t.Errorf("/Schemas says %s %v, want %v", name, dig(d, name), want)
				}
			}
			// A filter finds it unless it is never shown.
			for filter, n := range c.filters(path, stored) {
				r := h.ask("GET", "/Users?filter="+strings.NewReplacer("&", "%26", "+", "%2B", "#", "%23").Replace(filter), "")
				if c.returned == ReturnedNever {
					r.refused(400, InvalidFilter)
				} else if r.want(200); r.total() != n {
					t.Errorf("%s finds %d, want %d", filter, r.total(), n)
				}
			}
			replace := func(second bool) *reply {
				return h.patch("/Users/"+u, fmt.Sprintf(`{"op":"replace","path":%q,"value":%s}`, path, c.value(second)))
			}
			switch c.mutability {
			case ReadOnly:
				h.unchanged(func() {
					replace(false).refused(400, WrongMutability)
					h.patch("/Users/"+u, `{"op":"remove","path":`+quoted(path)+`}`).refused(400, WrongMutability)
				})
			case Immutable:
				h.unchanged(func() {
					replace(true).refused(400, WrongMutability)
					replace(false).want(200)
					h.patch("/Users/"+u, `{"op":"remove","path":`+quoted(path)+`}`).refused(400, WrongMutability)
				})
			default:
				seq := h.store.LastSeq()
				if replace(false).want(200); h.store.LastSeq() != seq {
					t.Error("the same value again is a change")
				}
				r := replace(true).want(200)
				if v := r.at(allURN, c.name); (v != nil) != (c.returned != ReturnedNever) || v != nil && !isJSON(t, v, c.replaced()) {
					t.Errorf("replaced: %v", v)
				}
				h.patch("/Users/"+u, `{"op":"remove","path":`+quoted(path)+`}`).want(200)
				if v := get("?attributes="+path).at(allURN, c.name); v != nil || strings.Contains(h.record(u), quoted(c.name)) {
					t.Errorf("removed: %v", v)
				}
			}
		})
	}
	// A PUT clears what it may, in one go.
	h.ask("PUT", "/Users/"+u, `{"userName":"ada"}`).want(200)
	rec := h.record(u)
	for _, c := range all {
		if kept := strings.Contains(rec, quoted(c.name)); kept != (c.mutability == Immutable) {
			t.Errorf("%s: after a PUT without it, kept = %t", c.name, kept)
		}
	}
	entries, err := h.store.Journal(t.Context(), 0, 1000)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		for _, c := range all {
			if c.returned != ReturnedNever {
				continue
			}
			// Its name may be told, and none of its values.
			if d := string(e.Detail); strings.Contains(d, c.name+`","old"`) || strings.Contains(d, c.name+`","new"`) || strings.Contains(d, c.name+`.`) {
				t.Errorf("the journal tells %s: %s", c.name, clip(d))
			}
		}
	}
}

// replaced is what is left when the second value replaces the first: of a complex value only what it names changes (RFC 7644
// section 3.5.2.3).
func (c combined) replaced() string {
	if c.typ == Complex && !c.many {
		return `{"text":"b","many":["x","y"],"n":5}`
	}
	return c.value(true)
}

// filters are filters on an attribute, and how many users they find of two, of whom one has its first value or nobody has.
func (c combined) filters(path string, stored bool) map[string]int {
	has := 0
	if stored {
		has = 1
	}
	if c.typ == Complex {
		return map[string]int{path + " pr": has, path + `.text eq "A"`: has, path + `.many eq "y"`: has, path + `.n gt 4`: has, path + `[text eq "a" and n eq 5]`: has, path + `.text eq "b"`: 0}
	}
	one, two := samples[c.typ].one, samples[c.typ].two
	f := map[string]int{path + " pr": has, path + " eq " + one: has, path + " eq " + two: 0, path + " ne " + one: 2 - has, "not (" + path + " pr)": 2 - has}
	if c.typ != Boolean && c.typ != Binary {
		f[path+" ge "+one], f[path+" gt "+one] = has, 0
	}
	return f
}

// record returns the stored body of a user.
func (h *house) record(id string) string {
	h.t.Helper()
	for l := range strings.Lines(h.dump()) {
		if strings.HasPrefix(l, `"r`+`default\x00User\x00`+id) {
			return strings.ReplaceAll(l, `\"`, `"`)
		}
	}
	h.t.Fatalf("there is no record of %s", id)
	return ""
}

// What is indexed is found without a look at the others, and what is unique is refused to a second one, whatever its type and
// wherever it stands.
func TestIndexedAndUnique(t *testing.T) {
	var defs []string
	add := func(name, rest string) { defs = append(defs, fmt.Sprintf(`{"name":%q%s}`, name, rest)) }
	for _, typ := range []DataType{String, Decimal, Integer, DateTime, Reference} {
		refs := ""
		if typ == Reference {
			refs = `,"referenceTypes":["uri"]`
		}
		add("i_"+string(typ), fmt.Sprintf(`,"type":%q,"indexed":true%s`, typ, refs))
		add("u_"+string(typ), fmt.Sprintf(`,"type":%q,"uniqueness":"server"%s`, typ, refs))
		add("m_"+string(typ), fmt.Sprintf(`,"type":%q,"uniqueness":"global","multiValued":true%s`, typ, refs))
	}
	add("exact", `,"caseExact":true,"uniqueness":"server"`)
	add("c", `,"type":"complex","subAttributes":[{"name":"u","uniqueness":"server"},{"name":"i","indexed":true}]`)
	add("l", `,"type":"complex","multiValued":true,"subAttributes":[{"name":"value","uniqueness":"server"},{"name":"type"}]`)
	h := openHouseOn(t, newProbe(), typesWith(t, extensionOf(allURN, defs...)), Options{})
	const n = 40
	value := func(typ DataType, i int) string {
		switch typ {
		case Decimal:
			return fmt.Sprintf("%d.5", i)
		case Integer:
			return fmt.Sprint(i)
		case DateTime:
			return fmt.Sprintf(`"2026-01-01T00:00:%02dZ"`, i)
		case Reference:
			return fmt.Sprintf(`"https://x.example/%d"`, i)
		default:
			return fmt.Sprintf(`"Value %02d"`, i)
		}
	}
	members := func(i int) string {
		s := []string{fmt.Sprintf(`"exact":"E%d","c":{"u":"U%d","i":"I%d"},"l":[{"type":"a","value":"A%d"},{"type":"b","value":"B%d"}]`, i, i, i, i, i)}
		for _, typ := range []DataType{String, Decimal, Integer, DateTime, Reference} {
			v := value(typ, i)
			s = append(s, fmt.Sprintf(`"i_%s":%s,"u_%s":%s,"m_%s":[%s]`, typ, v, typ, v, typ, v))
		}
		return `"` + allURN + `":{` + strings.Join(s, ",") + `}`
	}
	var ids []string
	for i := range n {
		ids = append(ids, h.user(fmt.Sprint("u", i), members(i)))
	}
	taken := map[string]string{
		"u_string": `"VALUE 07"`, "u_decimal": "7.50", "u_integer": "7", "u_dateTime": `"2026-01-01T01:00:07+01:00"`, "u_reference": `"https://x.example/7"`,
		"m_string": `["new","ｖａｌｕｅ 07"]`, "m_integer": `[1000,7]`, "exact": `"E7"`, "c": `{"u":"u7"}`, "l": `[{"value":"new"},{"value":"b7","type":"other"}]`,
	}
	for name, v := range taken {
		t.Run("taken "+name, func(t *testing.T) {
			h := h.in(t)
			h.unchanged(func() {
				r := h.ask("POST", "/Users", `{"userName":"new","`+allURN+`":{"`+name+`":`+v+`}}`).refused(409, NotUnique)
				if d := r.text("detail"); !strings.Contains(d, allURN+":"+name) || strings.Contains(d, "case and width") != (strings.HasSuffix(name, "string") || name == "c" || name == "l") {
					t.Errorf("%s", d)
				}
				h.patch("/Users/"+ids[8], `{"op":"replace","path":"`+allURN+`:`+name+`","value":`+v+`}`).refused(409, NotUnique)
				h.patch("/Users/"+ids[7], `{"op":"add","path":"`+allURN+`:`+name+`","value":`+v+`}`, `{"op":"replace","path":"userName","value":"u8"}`).refused(409, NotUnique)
			})
			h.tenant("other").ask("POST", "/Users", `{"userName":"new `+name+`","`+allURN+`":{"`+name+`":`+v+`}}`).want(201)
		})
	}
	for name, v := range map[string]string{"exact": `"e7"`, "u_reference": `"HTTPS://x.example/7"`, "c": `{"i":"I7"}`, "i_string": `"Value 07"`, "u_integer": "-7"} {
		h.ask("POST", "/Users", `{"userName":"free `+name+`","`+allURN+`":{"`+name+`":`+v+`}}`).want(201)
	}
	for _, typ := range []DataType{String, Decimal, Integer, DateTime, Reference} {
		for filter, want := range map[string]int{
			"i_" + string(typ) + " eq " + value(typ, 11): 1, "u_" + string(typ) + " eq " + value(typ, 11): 1, "m_" + string(typ) + " eq " + value(typ, 11): 1,
			"i_" + string(typ) + " ge " + value(typ, 38) + " and i_" + string(typ) + " lt " + value(typ, 39): 1,
			"u_" + string(typ) + " le " + value(typ, 0):                                                      1,
		} {
			if typ == Reference && (strings.Contains(filter, " ge ") || strings.Contains(filter, " le ")) || filter == "u_integer le 0" {
				continue // an order of texts, and the one below zero
			}
			var r *reply
			if looks := h.probe.reads("r", func() { r = h.find("/Users?attributes=id&", allURN+":"+filter) }); looks > 4+2*want || r.total() != want {
				t.Errorf("%s: found %d, and looked at %d of %d", filter, r.total(), looks, n)
			}
		}
	}
	for _, filter := range []string{`:c.u eq "u11"`, `:c.i eq "i11"`, `:l.value eq "B11"`, `:l[value eq "b11"]`, `:exact eq "E11"`} {
		if looks := h.probe.reads("r", func() {
			if l := h.find("/Users?attributes=id&", allURN+filter).ids(); !slices.Equal(l, ids[11:12]) {
				t.Errorf("%s finds %q", filter, l)
			}
		}); looks > 4 {
			t.Errorf("%s: looked at %d", filter, looks)
		}
	}
	for _, sort := range []string{"i_integer", "u_dateTime", "i_decimal", "c.i"} {
		if looks := h.probe.reads("r", func() { h.ask("GET", "/Users?count=5&sortBy="+allURN+":"+sort, "").want(200) }); looks > 5 {
			t.Errorf("sorted by %s: looked at %d for a page of 5", sort, looks)
		}
	}
}

const rackFile = `{
  "schemas": [
    {"id": "urn:example:params:scim:schemas:acme:2.0:Rack", "name": "Rack", "description": "Holds devices and other racks.", "attributes": [
      {"name": "displayName", "required": true, "uniqueness": "server"},
      {"name": "members", "type": "complex", "multiValued": true, "subAttributes": [
        {"name": "value", "caseExact": true, "mutability": "immutable"}, {"name": "display"}, {"name": "slot", "type": "integer", "mutability": "immutable"},
        {"name": "$ref", "type": "reference", "referenceTypes": ["Device", "Rack"], "mutability": "immutable"},
        {"name": "type", "canonicalValues": ["Device", "Rack"], "mutability": "immutable"}]},
      {"name": "owner", "type": "complex", "subAttributes": [
        {"name": "value"}, {"name": "$ref", "type": "reference", "referenceTypes": ["User", "Group"]}, {"name": "displayName", "mutability": "readOnly"}]}]},
    {"id": "urn:example:params:scim:schemas:acme:2.0:Device", "name": "Device", "attributes": [
      {"name": "serial", "required": true, "caseExact": true, "uniqueness": "server"},
      {"name": "racks", "type": "complex", "multiValued": true, "mutability": "readOnly", "subAttributes": [
        {"name": "value", "mutability": "readOnly"}, {"name": "type", "mutability": "readOnly"}, {"name": "display", "mutability": "readOnly"},
        {"name": "$ref", "type": "reference", "referenceTypes": ["Rack"], "mutability": "readOnly"}]}]},
    {"id": "urn:example:params:scim:schemas:extension:acme:2.0:Any", "extends": ["User", "Device", "Rack"], "attributes": [{"name": "cost", "type": "decimal", "indexed": true}]}
  ],
  "resourceTypes": [
    {"name": "Rack", "endpoint": "/Racks", "description": "A rack", "schema": "urn:example:params:scim:schemas:acme:2.0:Rack"},
    {"name": "Device", "endpoint": "/Devices", "schema": "urn:example:params:scim:schemas:acme:2.0:Device"}
  ]
}`

// Resource types of one's own have all that User and Group have: endpoints, references that are filled in and go with what
// they refer to, the other side of them, searches, bulk requests, discovery.
func TestResourceTypesOfOnesOwn(t *testing.T) {
	h := openHouseOn(t, newProbe(), typesWith(t, rackFile), Options{})
	const anyURN = "urn:example:params:scim:schemas:extension:acme:2.0:Any"
	types := h.ask("GET", "/ResourceTypes", "").want(200)
	if types.total() != 4 || h.ask("GET", "/ResourceTypes/Rack", "").text("schemaExtensions", 0, "schema") != anyURN || h.ask("GET", "/ResourceTypes/Device", "").text("endpoint") != "/Devices" {
		t.Errorf("%s", types.body)
	}
	if l := h.ask("GET", "/Schemas", "").want(200); l.total() != 6 || h.ask("GET", "/Schemas/urn:example:params:scim:schemas:acme:2.0:Rack", "").text("attributes", 1, "subAttributes", 3, "referenceTypes") != `["Device","Rack"]` {
		t.Errorf("%s", l.body)
	}
	u := h.user("ada", `"displayName":"Ada"`)
	d := h.ask("POST", "/Devices", `{"schemas":["urn:example:params:scim:schemas:acme:2.0:Device"],"serial":"S1","racks":[{"value":"x"}],"`+anyURN+`":{"cost":9.50}}`).want(201)
	if d.text("meta", "location") != "https://scim.example/scim/v2/Devices/"+d.id() || d.text("meta", "resourceType") != "Device" || d.at("racks") != nil || d.text("schemas", 1) != anyURN {
		t.Errorf("%s", d.body)
	}
	inner := h.ask("POST", "/Racks", `{"schemas":["urn:example:params:scim:schemas:acme:2.0:Rack"],"displayName":"Inner","members":[{"value":"`+d.id()+`","slot":3,"type":"Rack","$ref":"x"}],"owner":{"value":"`+u+`","displayName":"x"}}`).want(201)
	outer := h.ask("POST", "/Racks", `{"schemas":["urn:example:params:scim:schemas:acme:2.0:Rack"],"displayName":"Outer","members":[{"value":"`+inner.id()+`"}]}`).want(201)
	if m := inner.text("members", 0); !strings.Contains(m, `"$ref":"https://scim.example/scim/v2/Devices/`+d.id()) || !strings.Contains(m, `"slot":3`) || !strings.Contains(m, `"type":"Device"`) {
		t.Errorf("%s", inner.body)
	}
	if inner.text("owner", "displayName") != "Ada" || inner.text("owner", "$ref") != "https://scim.example/scim/v2/Users/"+u || outer.text("members", 0, "type") != "Rack" {
		t.Errorf("%s", inner.body)
	}
	racks := func() string {
		r := h.ask("GET", "/Devices/"+d.id(), "").want(200)
		l, _ := r.at("racks").([]any)
		var s []string
		for _, v := range l {
			s = append(s, fmt.Sprint(dig(v, "display"), " ", dig(v, "type")))
		}
		slices.Sort(s)
		return strings.Join(s, ", ")
	}
	if got := racks(); got != "Inner direct, Outer indirect" {
		t.Errorf("racks: %s", got)
	}
	for target, filter := range map[string]string{
		"/Devices?": `racks.value eq "` + outer.id() + `"`, "/Racks?": `members.value eq "` + d.id() + `"`, "/?": `members[value eq "` + d.id() + `" and slot eq 3]`,
		"/Racks?x&": `owner.displayName eq "ADA"`, "/?x&": anyURN + ":cost gt 9 and serial pr",
	} {
		if n := h.find(target, filter).total(); n != 1 {
			t.Errorf("%s %s finds %d", target, filter, n)
		}
	}
	h.ask("POST", "/Devices", `{"schemas":["urn:example:params:scim:schemas:acme:2.0:Device"],"serial":"S1"}`).refused(409, NotUnique)
	h.ask("POST", "/Racks", `{"schemas":["urn:example:params:scim:schemas:acme:2.0:Rack"],"displayName":"inner"}`).refused(409, NotUnique)
	h.ask("POST", "/Devices", `{"schemas":["`+UserURN+`"],"serial":"S2"}`).refused(400, InvalidSyntax)
	h.unchanged(func() {
		h.patch("/Devices/"+d.id(), `{"op":"add","path":"racks","value":[{"value":"`+outer.id()+`"}]}`).refused(400, WrongMutability)
		h.patch("/Racks/"+inner.id(), `{"op":"replace","path":"members[value eq \"`+d.id()+`\"].slot","value":4}`).refused(400, WrongMutability)
	})
	// In a circle, and out of it again.
	h.patch("/Racks/"+inner.id(), `{"op":"add","path":"members","value":`+refs(outer.id())+`}`).want(204)
	if got := racks(); got != "Inner direct, Outer indirect" {
		t.Errorf("racks in a circle: %s", got)
	}
	r := h.bulk("", `{"method":"POST","path":"/Racks","bulkId":"r","data":{"schemas":["urn:example:params:scim:schemas:acme:2.0:Rack"],"displayName":"New","members":[{"value":"bulkId:d"}],"owner":{"value":"bulkId:u"}}}`,
		`{"method":"POST","path":"/Devices","bulkId":"d","data":{"schemas":["urn:example:params:scim:schemas:acme:2.0:Device"],"serial":"S3"}}`, postUser("u", "ben", ""))
	if got := r.results(); got != "201 201 201" {
		t.Fatalf("%s\n%s", got, r.body)
	}
	if now := h.ask("GET", "/Racks/"+r.made(0), "").want(200); now.text("members", 0, "value") != r.made(1) || now.text("members", 0, "type") != "Device" || now.text("owner", "value") != r.made(2) {
		t.Errorf("%s", now.body)
	}
	was := h.ask("GET", "/Racks/"+inner.id(), "").etag()
	h.ask("DELETE", "/Devices/"+d.id(), "").want(204)
	if now := h.ask("GET", "/Racks/"+inner.id(), "").want(200); now.etag() == was || now.text("members", 0, "value") != outer.id() || now.at("members", 1) != nil {
		t.Errorf("%s", now.body)
	}
	h.ask("DELETE", "/Users/"+u, "").want(204)
	if now := h.ask("GET", "/Racks/"+inner.id(), "").want(200); now.text("owner", "value") != u || now.at("owner", "displayName") != nil {
		t.Errorf("the owner is gone, and what is known of him stays: %s", now.body)
	}
}

// The error of a file names it, and the line and the column of each fault; a server does not start with it.
func TestSchemaFileErrorsSayWhere(t *testing.T) {
	file := filepath.Join(t.TempDir(), "custom.json")
	text := "{\"schemas\": [{\n  \"id\": \"urn:example:x:2.0:User\", \"extends\": \"User\",\n  \"attributes\": [\n    {\"name\": \"a\", \"type\": \"strang\"},\n    {\"name\": \"b\", \"uniqueness\": \"local\"}\n]}]}\n"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := NewTypes(file)
	if err == nil {
		t.Fatal("it was taken")
	}
	for _, want := range []string{file + `:4:27: attribute "a": "type" is "strang"; expected is "string"`, file + `:5:33: attribute "b": "uniqueness" is "local"; expected is "none", "server" or "global"`} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%v\ndoes not say %s", err, want)
		}
	}
}
