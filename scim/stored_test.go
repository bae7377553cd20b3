package scim

import (
	"bytes"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-json-experiment/json/jsontext"
	"pgregory.net/rapid"

	"scimbox/storage"
)

// strangeSchema has what the schemas that scimbox brings along have not: every type, every characteristic of what is returned,
// and an extension of its own.
const strangeSchema = `{"schemas":[{"id":"urn:example:Thing","name":"Thing","attributes":[
	{"name":"label","type":"string"},
	{"name":"always","type":"string","returned":"always"},
	{"name":"asked","type":"string","returned":"request"},
	{"name":"never","type":"string","returned":"never","mutability":"writeOnly"},
	{"name":"count","type":"integer"},
	{"name":"share","type":"decimal"},
	{"name":"on","type":"boolean"},
	{"name":"tags","type":"string","multiValued":true},
	{"name":"place","type":"complex","subAttributes":[
		{"name":"street","type":"string"},{"name":"secret","type":"string","returned":"never"},{"name":"hint","type":"string","returned":"request"},
		{"name":"codes","type":"integer","multiValued":true},{"name":"kept","type":"string","returned":"always"}]},
	{"name":"parts","type":"complex","multiValued":true,"subAttributes":[
		{"name":"value","type":"string"},{"name":"type","type":"string"},{"name":"primary","type":"boolean"},{"name":"hidden","type":"string","returned":"never"}]},
	{"name":"owner","type":"complex","subAttributes":[
		{"name":"value","type":"string"},{"name":"$ref","type":"reference","referenceTypes":["User"]},{"name":"displayName","type":"string","mutability":"readOnly"}]}
]},{"id":"urn:example:Extra","name":"Extra","attributes":[
	{"name":"note","type":"string"},{"name":"always","type":"string","returned":"always"},{"name":"asked","type":"string","returned":"request"}]}],
"resourceTypes":[{"name":"Thing","endpoint":"/Things","schema":"urn:example:Thing","schemaExtensions":[{"schema":"urn:example:Extra","required":false}]}]}`

// drawStored draws JSON as it may stand in a store: of the right type mostly, of the type of an earlier schema sometimes, and
// with members that today's schema does not have.
func drawStored(t *rapid.T, a *Attribute) *node {
	if rapid.IntRange(0, 9).Draw(t, "off") == 0 {
		return drawJSON(t, 2)
	}
	if !a.MultiValued {
		return drawStoredSingle(t, a)
	}
	n := &node{kind: '['}
	for range rapid.IntRange(0, 3).Draw(t, "elements") {
		n.items = append(n.items, drawStoredSingle(t, a))
	}
	return n
}

func drawStoredSingle(t *rapid.T, a *Attribute) *node {
	switch a.Type {
	case Complex:
		n := &node{kind: '{'}
		for _, s := range a.Sub {
			if rapid.Bool().Draw(t, "has "+s.Name) {
				n.members = append(n.members, member{s.Name, drawStored(t, s)})
			}
		}
		if rapid.IntRange(0, 5).Draw(t, "unknown") == 0 {
			n.members = append(n.members, member{`odd "name"`, drawJSON(t, 2)})
		}
		return n
	case Boolean:
		return &node{kind: rapid.SampledFrom([]jsontext.Kind{'t', 'f'}).Draw(t, "flag")}
	case Integer, Decimal:
		return &node{kind: '0', text: rapid.SampledFrom([]string{"0", "-12", "1.50", "1e3", "12345678901234567890"}).Draw(t, "number")}
	default:
		return &node{kind: '"', text: rapid.SampledFrom([]string{"", "x", `q"uo\te`, "ü\u2028\x01", "{[,:]}", "<&>"}).Draw(t, "text")}
	}
}

func drawJSON(t *rapid.T, depth int) *node {
	switch k := rapid.IntRange(0, 5).Draw(t, "kind"); {
	case k == 0:
		return &node{kind: '"', text: "other"}
	case k == 1:
		return &node{kind: '0', text: "7"}
	case k == 2:
		return &node{kind: 't'}
	case k == 3 && depth > 0:
		return &node{kind: '[', items: []*node{drawJSON(t, depth-1), drawJSON(t, depth-1)}}
	case k == 4 && depth > 0:
		return &node{kind: '{', members: []member{{"street", drawJSON(t, depth-1)}, {"unknown", drawJSON(t, depth-1)}}}
	default:
		return &node{kind: 'n'}
	}
}

// What is shown straight from a stored body is, to the byte, what is shown after decoding it, for any projection, and so is
// every value that a filter may ask for.
func TestStoredIsShownAsDecoded(t *testing.T) {
	types := typesWith(t, strangeSchema)
	h, err := tryHouse(t, newProbe(), types, Options{})
	if err != nil {
		t.Fatal(err)
	}
	boss := h.ask("POST", "/Users", `{"schemas":["`+UserURN+`"],"userName":"boss","displayName":"The Boss"}`).want(201).at("id").(string)
	stamp := storage.Stamp{Created: time.Unix(1, 0), Modified: time.Unix(2, 3000), Version: 4}
	apart := 0
	rapid.Check(t, func(t *rapid.T) {
		typ := types.ByName(rapid.SampledFrom([]string{"Thing", "User"}).Draw(t, "type"))
		doc := &node{kind: '{'}
		for _, a := range typ.root.Sub {
			if typ.stored(a) && rapid.IntRange(0, 2).Draw(t, "has "+a.Name) > 0 {
				doc.members = append(doc.members, member{a.Name, drawStored(t, a)})
			}
		}
		if rapid.IntRange(0, 3).Draw(t, "refers") == 0 && typ.Name == "Thing" {
			doc.members = slices.DeleteFunc(doc.members, func(m member) bool { return m.name == "owner" })
			doc.members = append(doc.members, member{"owner", &node{kind: '{', members: []member{{"value", &node{kind: '"', text: boss}}}}})
		}
		if rapid.IntRange(0, 3).Draw(t, "extra") == 0 {
			doc.members = append(doc.members, member{"gone", drawJSON(t, 2)})
		}
		rec := storage.Record{Ref: storage.Ref{Tenant: "default", Kind: typ.Name, ID: "0001"}, Stamp: stamp, Body: doc.appendJSON(nil)}
		p := drawProjection(t, typ)
		err := h.store.View(h.t.Context(), "default", func(tx *storage.Tx) error {
			decoded, err := h.service.loadDecoded(tx, typ, rec, "https://scim.example/scim/v2")
			if err != nil {
				return err
			}
			stored, err := h.service.load(tx, typ, rec, "https://scim.example/scim/v2")
			if err != nil {
				return err
			}
			if stored.stored == nil {
				return nil
			}
			apart++
			direct, err := decodeBody(typ, rec.Body)
			if err != nil {
				return err
			}
			any, err := decodeAny(typ, rec.Body)
			if err != nil {
				return err
			}
			if a, b := direct.appendJSON(nil), any.appendJSON(nil); !bytes.Equal(a, b) || !objectValue(direct).equal(objectValue(any)) {
				t.Fatalf("stored\n%s\ndecoded %s\nby way of nodes %s", rec.Body, a, b)
			}
			want, err := appendResource(nil, decoded, &p)
			if err != nil {
				return err
			}
			got, err := appendResource(nil, stored, &p)
			if err != nil {
				return err
			}
			if !bytes.Equal(got, want) {
				t.Fatalf("stored\n%s\nshown    %s\ndecoded  %s", rec.Body, got, want)
			}
			x := newExaminer(h.service, tx, typ, "https://scim.example/scim/v2")
			x.stored.onlyAsked = true
			for _, a := range typ.root.Sub {
				if a.linked || a.derived {
					continue
				}
				w := decoded.Object.Get(a)
				if v := stored.own(a); !v.equal(w) {
					t.Fatalf("stored\n%s\n%s is %s, decoded %s", rec.Body, a.Name, v.appendJSON(nil), w.appendJSON(nil))
				}
				for _, only := range [][]*Attribute{nil, {a}, {a, rapid.SampledFrom(typ.root.Sub).Draw(t, "asked")}} {
					if x.stored.asked = only; only != nil && a == typ.schemasAttr {
						continue
					}
					asked, err := x.load(rec)
					if err != nil {
						return err
					}
					if v := asked.own(a); !v.equal(w) {
						t.Fatalf("stored\n%s\n%s is %s where only that is asked for, decoded %s", rec.Body, a.Name, v.appendJSON(nil), w.appendJSON(nil))
					}
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	})
	if apart == 0 {
		t.Error("no body was taken apart")
	}
}

func drawProjection(t *rapid.T, typ *ResourceType) projection {
	var names []string
	for _, a := range typ.root.Sub {
		names = append(names, a.Path())
		for _, s := range a.Sub {
			names = append(names, s.Path())
			for _, x := range s.Sub {
				names = append(names, x.Path())
			}
		}
	}
	some := func() []string { return rapid.SliceOfN(rapid.SampledFrom(names), 0, 4).Draw(t, "names") }
	var only, without []string
	switch rapid.IntRange(0, 3).Draw(t, "projection") {
	case 1:
		only = some()
	case 2:
		without = some()
	}
	p, err := newProjection(typ, only, without, quirks{})
	if err != nil {
		t.Fatal(err)
	}
	if rapid.Bool().Draw(t, "assigned") {
		p.assigned = map[*Attribute]bool{}
		for _, a := range typ.root.Sub {
			p.assigned[a] = true
			for _, s := range a.Sub {
				p.assigned[s] = true
			}
		}
	}
	return p
}

// Every body that scimbox writes can be taken apart, and nothing that is cut off or not in its form can.
func TestTakeApart(t *testing.T) {
	typ := builtinTypes(t).ByName("User")
	body := `{"externalId":"x","userName":"a\"b\\","name":{"givenName":"é"},"active":true,"emails":[{"value":"a@b","primary":false}],"gone":{"a":[1,{"b":"]"}]}}`
	if b, ok := takeApart(typ, []byte(body)); !ok || b.value(typ.root.sub("userName")).text != `a"b\` {
		t.Errorf("%v", ok)
	}
	for i := range len(body) {
		if _, ok := takeApart(typ, []byte(body[:i])); ok {
			t.Errorf("taken apart, cut off: %s", body[:i])
		}
	}
	for _, odd := range []string{" " + body, body + " ", strings.Replace(body, ":", ": ", 1), strings.Replace(body, ",", " ,", 1), `[]`, `{"userName"}`, `{"userName":}`, `{"userName":"a","username":"b"}`, `{"userName":"a",}`} {
		if _, ok := takeApart(typ, []byte(odd)); ok {
			t.Errorf("taken apart: %s", odd)
		}
	}
	if _, ok := takeApart(typ, []byte(`{}`)); !ok {
		t.Error("an empty body cannot be taken apart")
	}
}

func TestAppendTime(t *testing.T) {
	check := func(at time.Time) {
		if got, want := string(appendTime(nil, at)), `"`+at.UTC().Format(timeForm)+`"`; got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
	for _, year := range []int{-1, 0, 9, 999, 9999, 10000} {
		check(time.Date(year, 12, 31, 23, 59, 59, 999999999, time.FixedZone("", 3600)))
	}
	rapid.Check(t, func(t *rapid.T) { check(time.UnixMicro(rapid.Int64Range(-1<<50, 1<<52).Draw(t, "at"))) })
}
