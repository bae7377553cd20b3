package scim

import (
	"encoding/json"
	"fmt"
	"math/big"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"scimbox/storage"
)

const acmeURN = "urn:example:params:scim:schemas:extension:acme:2.0:User"

// acmeTypes are the schemas of scimbox and testdata/schemas/acme.json, which has every data type and characteristic.
func acmeTypes(t testing.TB) *Types {
	t.Helper()
	types, err := NewTypes("testdata/schemas/acme.json")
	if err != nil {
		t.Fatal(err)
	}
	return types
}

// Values come from small pools, so that resources share them and filters hit them. The long ones begin with the same 255
// bytes and more, which is where a term is cut off.
var (
	longText = strings.Repeat("longer than a term ", 14)
	pools    = map[string][]string{
		"text":    {"a", "A", "ab", "Abc", "b", "B", "straße", "STRASSE", "É", "E\u0301", "Ｘ", "x", "a\u0000", " ", "zz", longText + "1", longText + "2", strings.ToUpper(longText) + "1", longText},
		"email":   {"a@x", "A@X", "b@x", "c@y", longText + "@x"},
		"type":    {"work", "Work", "home"},
		"integer": {"0", "-1", "1", "10", "9", "-10", "9007199254740993"},
		"decimal": {"0", "-0.5", "0.50", "0.5", "1e1", "10", "-3", "-3.25", "1" + strings.Repeat("0", 300), "0." + strings.Repeat("1", 300), "0." + strings.Repeat("1", 300) + "2"},
		"time":    {"2026-01-01T00:00:00Z", "2026-01-01T01:00:00+01:00", "2025-12-31T23:59:59.999999999Z", "1969-12-31T00:00:00Z", "0001-01-01T00:00:00Z", "2026-01-01T00:00:00.5Z"},
		"uri":     {"https://x.example/A", "https://x.example/a", "urn:x"},
	}
)

func from(t *rapid.T, pool string) string { return rapid.SampledFrom(pools[pool]).Draw(t, pool) }

// maybe draws a member of an object two times out of three.
func maybe(t *rapid.T, b *strings.Builder, name, json string) {
	if rapid.IntRange(0, 2).Draw(t, "has "+name) > 0 {
		fmt.Fprintf(b, ",%q:%s", name, json)
	}
}

func genUser(t *rapid.T, n int) string {
	var b strings.Builder
	fmt.Fprintf(&b, `{"schemas":[%q],"userName":%s`, UserURN, quoted(from(t, "text")+fmt.Sprint("-", n)))
	maybe(t, &b, "displayName", quoted(from(t, "text")))
	maybe(t, &b, "externalId", quoted(from(t, "text")))
	maybe(t, &b, "title", quoted(from(t, "text")))
	maybe(t, &b, "active", fmt.Sprint(rapid.Bool().Draw(t, "active")))
	var emails []string
	for i := range rapid.IntRange(0, 3).Draw(t, "emails") {
		emails = append(emails, fmt.Sprintf(`{"value":%s,"type":%q,"primary":%t}`, quoted(from(t, "email")), from(t, "type"), i == 1))
	}
	fmt.Fprintf(&b, `,"emails":[%s],%q:{"trace":"t"`, strings.Join(emails, ","), acmeURN)
	maybe(t, &b, "level", from(t, "integer"))
	maybe(t, &b, "weight", from(t, "decimal"))
	maybe(t, &b, "joined", quoted(from(t, "time")))
	maybe(t, &b, "remote", fmt.Sprint(rapid.Bool().Draw(t, "remote")))
	maybe(t, &b, "homepage", quoted(from(t, "uri")))
	maybe(t, &b, "codes", fmt.Sprintf("[%s,%s]", quoted(from(t, "text")), quoted(from(t, "text"))))
	maybe(t, &b, "desk", fmt.Sprintf(`{"building":%s}`, quoted(from(t, "text"))))
	b.WriteString("}}")
	return b.String()
}

// known are the attributes that are filtered and sorted by, and the pool of their values.
var known = []struct{ name, pool string }{
	{"userName", "text"}, {"displayName", "text"}, {"externalId", "text"}, {"title", "text"}, {"active", "bool"},
	{"emails.value", "email"}, {"emails.type", "type"}, {"emails", "email"}, {"meta.lastModified", "modified"}, {"meta.created", "modified"}, {"id", "id"},
	{"groups.value", "group"}, {"groups.display", "text"}, {"groups", "group"}, {"schemas", "uri"}, {"manager.value", "id"},
	{acmeURN + ":level", "integer"}, {acmeURN + ":weight", "decimal"}, {acmeURN + ":joined", "time"}, {acmeURN + ":remote", "bool"},
	{acmeURN + ":codes", "text"}, {acmeURN + ":homepage", "uri"}, {acmeURN + ":desk.building", "text"}, {acmeURN, "pr"},
}

// genFilterText draws a filter. world has what only the store knows: ids and times.
func genFilterText(t *rapid.T, world map[string][]string, depth int) string {
	if depth > 0 {
		switch rapid.IntRange(0, 4).Draw(t, "shape") {
		case 0:
			return "(" + genFilterText(t, world, depth-1) + " and " + genFilterText(t, world, depth-1) + ")"
		case 1:
			return "(" + genFilterText(t, world, depth-1) + " or " + genFilterText(t, world, depth-1) + ")"
		case 2:
			return "not (" + genFilterText(t, world, depth-1) + ")"
		}
	}
	switch rapid.IntRange(0, 9).Draw(t, "path") {
	case 0:
		op := rapid.SampledFrom([]string{"eq", "sw", "co", "gt"}).Draw(t, "operator")
		return fmt.Sprintf("emails[type eq %s and value %s %s]", quoted(from(t, "type")), op, quoted(from(t, "email")))
	case 1:
		return fmt.Sprintf("emails[type eq %s].value eq %s", quoted(from(t, "type")), quoted(from(t, "email")))
	case 2:
		return fmt.Sprintf("emails[value eq %s or not (type pr)]", quoted(from(t, "email")))
	case 3:
		return fmt.Sprintf("groups[value eq %s and type eq \"direct\"]", quoted(rapid.SampledFrom(world["group"]).Draw(t, "group")))
	}
	a := rapid.SampledFrom(known).Draw(t, "attribute")
	if a.pool == "pr" {
		return a.name + " pr"
	}
	op := genOperator(t, a.pool)
	if op == "pr" {
		return a.name + " pr"
	}
	if rapid.IntRange(0, 9).Draw(t, "null") == 0 {
		return a.name + rapid.SampledFrom([]string{" eq null", " ne null"}).Draw(t, "op")
	}
	pool := pools[a.pool]
	if w, ok := world[a.pool]; ok {
		pool = w
	}
	switch a.pool {
	case "bool":
		return a.name + " " + op + " " + fmt.Sprint(rapid.Bool().Draw(t, "value"))
	case "integer", "decimal":
		return a.name + " " + op + " " + rapid.SampledFrom(pool).Draw(t, "value")
	}
	v := rapid.SampledFrom(pool).Draw(t, "value")
	if a.name == "userName" {
		v += rapid.SampledFrom([]string{"", "-0", "-1", "-2"}).Draw(t, "number")
	}
	return a.name + " " + op + " " + quoted(v)
}

func genOperator(t *rapid.T, pool string) string {
	ops := []string{"eq", "eq", "eq", "ne", "co", "sw", "ew", "gt", "ge", "lt", "le", "pr"}
	switch pool {
	case "bool":
		ops = []string{"eq", "ne", "pr"}
	case "integer", "decimal":
		ops = []string{"eq", "ne", "gt", "ge", "lt", "le", "pr"}
	case "time", "modified":
		ops = []string{"eq", "ne", "gt", "ge", "lt", "le", "pr", "sw"}
	}
	return rapid.SampledFrom(ops).Draw(t, "operator")
}

// Whatever the plan, a query answers what comparing every resource with the filter answers, in the order of the values, and
// with an exact total.
func TestPlannedQueryEqualsFullScan(t *testing.T) {
	types := acmeTypes(t)
	rapid.Check(t, func(rt *rapid.T) {
		h := openHouseOn(t, newProbe(), types, Options{})
		defer h.close()
		h.t = t
		world := map[string][]string{"id": {"nobody"}, "group": {"nobody"}, "modified": {"2026-01-02T03:04:05Z"}}
		var users []string
		create := func() {
			r := h.ask("POST", "/Users", genUser(rt, len(users))).want(201)
			users = append(users, r.id())
			world["id"] = append(world["id"], r.id())
			world["modified"] = append(world["modified"], r.text("meta", "lastModified"))
		}
		for range rapid.IntRange(0, 8).Draw(rt, "users") {
			create()
		}
		for i := range rapid.IntRange(0, 3).Draw(rt, "groups") {
			members := rapid.SliceOfN(rapid.SampledFrom(append(world["id"], world["group"]...)), 0, 4).Draw(rt, "members")
			world["group"] = append(world["group"], h.group(fmt.Sprint("g", i), members...))
		}
		rt.Repeat(map[string]func(*rapid.T){
			"query": func(rt *rapid.T) { queryEqualsScan(rt, h, world) },
			"again": func(rt *rapid.T) { queryEqualsScan(rt, h, world) },
			"create": func(*rapid.T) {
				if len(users) < 12 {
					create()
				}
			},
			"delete": func(rt *rapid.T) {
				if len(users) > 0 {
					h.ask("DELETE", "/Users/"+rapid.SampledFrom(users).Draw(rt, "user"), "")
				}
			},
			"change": func(rt *rapid.T) {
				if len(users) > 0 {
					h.patch("/Users/"+rapid.SampledFrom(users).Draw(rt, "user"), fmt.Sprintf(`{"op":"replace","value":{"title":%s,"displayName":%s,"%s:level":%s}}`,
						quoted(from(rt, "text")), quoted(from(rt, "text")), acmeURN, from(rt, "integer")))
				}
			},
		})
	})
}

func queryEqualsScan(t *rapid.T, h *house, world map[string][]string) {
	q := query{start: rapid.IntRange(-1, 6).Draw(t, "startIndex"), count: rapid.IntRange(0, 6).Draw(t, "count"), attributes: []string{"id"}}
	if rapid.IntRange(0, 4).Draw(t, "filtered") > 0 {
		q.filtered, q.filter = true, genFilterText(t, world, 2)
	}
	if rapid.Bool().Draw(t, "sorted") {
		a := rapid.SampledFrom(known).Filter(func(a struct{ name, pool string }) bool {
			return a.pool != "pr" && a.pool != "group" && a.name != "groups.display"
		}).Draw(t, "sortBy")
		q.sortBy, q.descending = a.name, rapid.Bool().Draw(t, "descending")
	}
	c := &call{caller: h.caller, q: tolerant, base: "https://scim.example/scim/v2"}
	user := h.service.types.ByName("User")
	p, err := h.service.search(h.t.Context(), c, []*ResourceType{user}, q)
	if err != nil {
		t.Fatalf("%+v: %v", q, err)
	}
	var got []string
	var list []struct{ ID string }
	if err := json.Unmarshal(append(append([]byte("["), p.resources()...), ']'), &list); err != nil || len(list) != p.n {
		t.Fatalf("%d resources, and %d in %s: %v", p.n, len(list), p.resources(), err)
	}
	for _, v := range list {
		got = append(got, v.ID)
	}
	all := scan(t, h, c, user, q)
	from := min(max(q.start, 1)-1, len(all))
	want := all[from:min(from+q.count, len(all))]
	if p.total != len(all) || !slices.Equal(got, want) {
		parts, _ := h.service.bind(c, []*ResourceType{user}, q)
		t.Fatalf("%+v\nplan  %+v\nfound %d %q\nwant  %d %q", q, parts[0].plan, p.total, got, len(all), want)
	}
}

// scan is what a query is compared with: every record, compared with the filter and sorted by the values themselves.
func scan(t *rapid.T, h *house, c *call, typ *ResourceType, q query) (ids []string) {
	var filter *Filter
	if q.filtered {
		e, err := ParseFilter(q.filter, c.q.filterOptions())
		if err != nil {
			t.Fatal(err)
		}
		if filter, err = BindFilter(typ, e, c.q.bindOptions()); err != nil {
			t.Fatal(err)
		}
	}
	type found struct {
		id    string
		value Value
	}
	var list []found
	var by Path
	if q.sortBy != "" {
		var err error
		if by, err = h.service.bindSort(typ, q.sortBy, c.q); err != nil {
			t.Fatal(err)
		}
	}
	err := h.store.View(h.t.Context(), "default", func(tx *storage.Tx) error {
		for hit, err := range tx.Find(typ.Name, "id", storage.TermRange{}) {
			if err != nil {
				return err
			}
			rec, err := tx.Get(typ.Name, hit.ID)
			if err != nil {
				return err
			}
			r, err := h.service.loadDecoded(tx, typ, rec, c.base)
			if err != nil {
				return err
			}
			if filter != nil {
				if ok, err := filter.Match(r); err != nil || !ok {
					continue
				}
			}
			f := found{id: rec.ID}
			if q.sortBy != "" {
				f.value = firstOf(r, by)
			}
			list = append(list, f)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	slices.SortFunc(list, func(a, b found) int {
		if q.sortBy == "" {
			return strings.Compare(a.id, b.id)
		}
		n := compareValues(by.target(), a.value, b.value)
		if n == 0 {
			n = strings.Compare(a.id, b.id)
		}
		if q.descending {
			return -n
		}
		return n
	})
	for _, f := range list {
		ids = append(ids, f.id)
	}
	return ids
}

// firstOf is the value that a resource is sorted by (RFC 7644 section 3.4.2.3): the primary one, or the first.
func firstOf(r *Resource, p Path) Value {
	o := r.Object
	if p.Ext != nil {
		o = o.Get(p.Ext).obj
	}
	v := o.Get(p.Attr)
	if v.kind == list {
		first := v.list[0]
		for _, e := range v.list {
			if e.sub(p.Attr.sub("primary")).flag {
				first = e
				break
			}
		}
		v = first
	}
	if p.Sub != nil {
		v = v.sub(p.Sub)
	}
	return v
}

func compareValues(a *Attribute, v, w Value) int {
	if !v.assigned() || !w.assigned() {
		switch {
		case v.assigned():
			return -1
		case w.assigned():
			return 1
		}
		return 0
	}
	switch a.Type {
	case Boolean:
		return strings.Compare(fmt.Sprint(v.flag), fmt.Sprint(w.flag))
	case Integer, Decimal:
		x, _ := new(big.Rat).SetString(v.text)
		y, _ := new(big.Rat).SetString(w.text)
		return x.Cmp(y)
	case DateTime:
		x, _ := parseDateTime(v.text)
		y, _ := parseDateTime(w.text)
		return x.Compare(y)
	}
	if a.CaseExact {
		return strings.Compare(v.text, w.text)
	}
	return strings.Compare(Fold(v.text), Fold(w.text))
}
