package scim

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"scimbox/storage"
)

// What is small and means much is refused once it has done as much as one request may, and the same on every machine: what is
// looked at here is how often, and never how long.

// families are the letters of all rows of the store.
const families = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"

// phones writes n values that are as short as can be, of phoneNumbers, which no index has.
func phones(n int) string {
	return series(n, func(i int) string { return fmt.Sprintf(`{"value":"e%d"}`, i) })
}

func series(n int, element func(i int) string) string {
	l := make([]string, n)
	for i := range l {
		l[i] = element(i)
	}
	return "[" + strings.Join(l, ",") + "]"
}

// times writes n operations.
func times(n int, op func(i int) string) string {
	return patchBody(strings.Trim(series(n, op), "[]"))
}

func always(s string) func(int) string { return func(int) string { return s } }

// largest are the filters of as many comparisons, or as deep, as are read.
var (
	manyOrs  = strings.TrimSuffix(strings.Repeat(`value eq "x" or `, maxFilterTerms), " or ")
	manyAnds = strings.TrimSuffix(strings.Repeat(`value ne "x" and `, maxFilterTerms), " and ")
	deepNots = strings.Repeat("not (", maxFilterDepth-2) + `value eq "x"` + strings.Repeat(")", maxFilterDepth-2)
)

// A PATCH, and a bulk request of them, looks at so many values and no more, whatever it says of a user with thousands of them or
// a group with thousands of members. Beyond that it is refused as a whole, and what is far from it is done.
func TestPatchWork(t *testing.T) {
	const most = changeWork / 10 // and resources a tenth as large as they can be: the work is the same, and ends sooner
	h := openHouse(t, Options{changeWork: most})
	user := "/Users/" + h.user("ada", `"phoneNumbers":`+phones(2000))
	group := "/Groups/" + h.group("all", strings.Split(strings.Trim(series(500, func(i int) string { return fmt.Sprint("m", i) }), "[]"), ",")...)
	for name, c := range map[string]struct{ target, body string }{
		"value paths":                     {user, times(10_000, always(`{"op":"replace","path":"phoneNumbers[value eq \"e1\"].type","value":"a"}`))},
		"value paths that select nothing": {user, times(10_000, always(`{"op":"remove","path":"phoneNumbers[value eq \"x\"]"}`))},
		"value paths of many or":          {user, times(250, always(`{"op":"remove","path":"phoneNumbers[`+strings.ReplaceAll(manyOrs, `"`, `\"`)+`]"}`))},
		"value paths of many and":         {user, times(200, always(`{"op":"replace","path":"phoneNumbers[`+strings.ReplaceAll(manyAnds, `"`, `\"`)+`].type","value":"a"}`))},
		"deep value paths":                {user, times(2500, always(`{"op":"remove","path":"phoneNumbers[`+strings.ReplaceAll(deepNots, `"`, `\"`)+`]"}`))},
		"paths of all values":             {user, times(10_000, always(`{"op":"replace","path":"phoneNumbers.type","value":"a"}`))},
		"values one by one": {user, times(15_000, func(i int) string {
			return fmt.Sprintf(`{"op":"add","path":"phoneNumbers","value":[{"value":"n%d"}]}`, i)
		})},
		"values that are removed":   {user, times(10_000, always(`{"op":"remove","path":"phoneNumbers","value":[{"type":"x"}]}`))},
		"values that nothing names": {user, times(1, always(`{"op":"remove","path":"phoneNumbers","value":`+series(10_000, func(i int) string { return fmt.Sprintf(`{"type":"t%d"}`, i) })+`}`))},
		"members by their names":    {group, times(10_000, always(`{"op":"remove","path":"members[display eq \"x\"]"}`))},
		"members, all of them":      {group, times(10_000, always(`{"op":"replace","path":"members[display eq \"x\" or value eq \"m1\"]","value":{"value":"m1"}}`))},
		"members by many names":     {group, times(50, always(`{"op":"remove","path":"members[`+strings.ReplaceAll(strings.ReplaceAll(manyOrs, "value", "display"), `"`, `\"`)+`]"}`))},
	} {
		t.Run(name, func(t *testing.T) {
			h := h.in(t)
			if len(c.body) > 1<<20 {
				t.Fatalf("the body has %d bytes and is refused for that", len(c.body))
			}
			reads := 0
			h.unchanged(func() {
				reads = h.probe.reads(families, func() { h.ask("PATCH", c.target, c.body).refused(413, "") })
			})
			if limit := most / rowWork * 2; reads > limit { // the last step may read a whole group
				t.Errorf("%d rows were read, expected are at most %d", reads, limit)
			}
		})
	}
	t.Run("bulk", func(t *testing.T) {
		h := h.in(t)
		op := `{"method":"PATCH","path":"` + user + `","data":` + times(1, always(`{"op":"remove","path":"phoneNumbers[value eq \"x\"]"}`)) + `}`
		r := h.ask("POST", "/Bulk", `{"schemas":["`+bulkURN+`"],"Operations":`+series(1000, always(op))+`}`).want(200)
		done := strings.Count(string(r.body), `"status":"204"`) + strings.Count(string(r.body), `"status":"200"`)
		if refused := strings.Count(string(r.body), `"status":"413"`) / 2; done == 0 || done+refused != 1000 || done > most/2000/3 {
			t.Errorf("%d were done and %d refused", done, refused)
		}
	})
	for name, c := range map[string]struct{ target, body string }{
		"one value path":         {user, times(1, always(`{"op":"replace","path":"phoneNumbers[value eq \"e1\"].type","value":"a"}`))},
		"as many values again":   {user, times(1, always(`{"op":"add","path":"phoneNumbers","value":`+phones(2001)+`}`))},
		"as many other values":   {user, times(1, always(`{"op":"replace","path":"phoneNumbers","value":`+phones(2000)+`}`))},
		"many that are named":    {user, times(1, always(`{"op":"remove","path":"phoneNumbers","value":`+phones(1000)+`}`))},
		"a member by its name":   {group, times(10, always(`{"op":"remove","path":"members[display eq \"x\"]"}`))},
		"members by their ids":   {group, times(10_000, func(i int) string { return fmt.Sprintf(`{"op":"remove","path":"members[value eq \"m%d\"]"}`, i) })},
		"members with the value": {group, times(1, always(`{"op":"add","path":"members","value":`+series(1000, func(i int) string { return fmt.Sprintf(`{"value":"m%d"}`, i) })+`}`))},
	} {
		t.Run(name, func(t *testing.T) {
			if r := h.in(t).preset("entra").ask("PATCH", c.target, c.body); r.status >= 400 {
				t.Errorf("refused with %d %s", r.status, r.body)
			}
		})
	}
}

// counting makes f count the comparisons that it really makes.
func counting(f *Filter, n *int) {
	if test := f.test; test != nil {
		f.test = func(v Value) bool { *n++; return test(v) }
	}
	for _, g := range f.Args {
		counting(g, n)
	}
}

// What is counted in advance is at least what is then done.
func TestPatchStepsAreComparisons(t *testing.T) {
	types := builtinTypes(t)
	user := types.ByName("User")
	o := resourceOf(t, user, `{"userName":"ada","phoneNumbers":`+phones(1000)+`}`).Object
	for _, where := range []string{`value eq "x"`, manyOrs, manyAnds, deepNots, `value eq "e1" and (type pr or not (value co "9"))`, `value co "` + strings.Repeat("ж", 1000) + `"`} {
		for _, n := range []int{1, 10, 20} {
			body, err := parseJSON([]byte(times(n, always(`{"op":"remove","path":`+quoted("phoneNumbers["+where+"]")+`}`))))
			if err != nil {
				t.Fatal(err)
			}
			d := patchDecoder{decoder: decoder{t: user, q: tolerant}}
			ops, err := d.decode(body)
			if err != nil {
				t.Fatal(err)
			}
			made := 0
			for i := range ops {
				counting(ops[i].path.Where, &made)
			}
			w := newWork(changeWork)
			e := editor{t: user, q: tolerant, object: o.Clone(), work: w}
			if err := e.applyAll(ops); err != nil && !errors.Is(err, errWork) {
				t.Fatal(err)
			}
			if steps := changeWork - w.left; made == 0 || made > steps || w.left >= 0 && steps > 3000*n*(1+maxFilterTerms) {
				t.Errorf("%.40s, %d times: %d comparisons, %d steps", where, n, made, steps)
			}
		}
	}
}

// A query makes so many comparisons and reads so many rows and no more, whatever it asks of users with thousands of values.
func TestQueryWork(t *testing.T) {
	h := openHouse(t, Options{MaxScan: 2000}) // of which there are 10,000 at least to count with
	most := h.service.queryWork().left
	for i := range 10 {
		h.user(fmt.Sprint("u", i), `"phoneNumbers":`+phones(2000)+`,"displayName":"d","emails":`+phones(120))
	}
	var groups []string
	for i := range 3 {
		groups = append(groups, h.group(fmt.Sprint("g", i), strings.Split(strings.Trim(series(5000, func(j int) string { return fmt.Sprint("m", j) }), "[]"), ",")...))
	}
	in := func(attr, filter string) string { return attr + "[" + filter + "]" }
	c := &call{caller: h.caller, q: tolerant}
	for name, q := range map[string]struct {
		kind, filter string
		refused      bool
	}{
		"one comparison":            {"User", `phoneNumbers.type eq "x"`, false},
		"a few":                     {"User", in("phoneNumbers", `type eq "x" or type eq "y" or primary eq true`), false},
		"many or":                   {"User", in("phoneNumbers", strings.ReplaceAll(manyOrs, "value", "type")), true}, // also of what has no such value
		"many or of values":         {"User", in("phoneNumbers", manyOrs), true},
		"many and":                  {"User", in("phoneNumbers", manyAnds), false}, // the first value is enough
		"many value paths":          {"User", strings.TrimSuffix(strings.Repeat(`not (phoneNumbers[type pr]) and `, 190), " and "), true},
		"deep":                      {"User", strings.ReplaceAll(deepNots, "value", "phoneNumbers.display"), false},
		"members":                   {"Group", `members.display eq "x"`, false},
		"members, many times":       {"Group", strings.TrimSuffix(strings.Repeat(`members.display eq "x" or `, 190), " or "), true},
		"members by an id":          {"Group", strings.TrimSuffix(strings.Repeat(`members.value eq "m1" or `, 190), " or "), false},
		"parts of an indexed text":  {"User", strings.TrimSuffix(strings.Repeat(`userName co "x" or `, 190), " or "), false},
		"parts of many texts":       {"User", strings.TrimSuffix(strings.Repeat(`emails.value co "xx" or `, 190), " or "), true},
		"members of members":        {"User", strings.TrimSuffix(strings.Repeat(`groups.value eq `+quoted(groups[0])+` or `, 120), " or "), true},
		"all that have some, often": {"User", strings.TrimSuffix(strings.Repeat(`displayName pr or `, 190), " or "), false},
	} {
		t.Run(name, func(t *testing.T) {
			parts, err := h.service.bind(c, []*ResourceType{h.service.types.ByName(q.kind)}, query{filtered: true, filter: q.filter})
			if err != nil {
				t.Fatal(err)
			}
			made := 0
			counting(parts[0].filter, &made)
			reads := h.probe.reads(families, func() {
				err = h.store.View(t.Context(), h.caller.Tenant, func(tx *storage.Tx) error {
					_, err := h.service.matches(tx, c, &parts[0], false)
					return err
				})
			})
			t.Logf("%d comparisons, %d rows, %d steps of %d", made, reads, most-parts[0].work.left, most)
			var e *Error
			refused := errors.Is(err, errWork) || errors.As(err, &e) && e.Type == TooMany || err == errManyTerms
			if err != nil && !refused || refused != q.refused {
				t.Errorf("refused is %t (%v), expected is %t", refused, err, q.refused)
			}
			if made > most || reads > most/rowWork*2 {
				t.Errorf("%d comparisons and %d rows, expected are at most %d and %d", made, reads, most, most/rowWork*2)
			}
			plural := map[string]string{"User": "/Users", "Group": "/Groups"}[q.kind]
			if r := h.in(t).ask("POST", plural+"/.search", `{"schemas":["`+findURN+`"],"filter":`+quoted(q.filter)+`}`); q.refused {
				r.refused(400, TooMany)
			} else {
				r.want(200)
			}
		})
	}
	// A walk by cursor does a part of it with each page, and comes to its end.
	if ids := h.walk("/Users?filter="+strings.ReplaceAll(`not (phoneNumbers[display eq "x" or type eq "y"])`, " ", "+"), nil); len(ids) != 10 {
		t.Errorf("the walk met %d of 10", len(ids))
	}
}

// What is held at once for a page, and to sort by, has an end too.
func TestQueryMemory(t *testing.T) {
	h := openHouse(t, Options{})
	long := strings.Repeat("x", 1_000_000)
	n := keyBytes/len(long) + 2
	for i := range n {
		h.user(fmt.Sprintf("u%03d", i), `"title":"`+long+`"`)
	}
	h.ask("GET", "/Users?sortBy=title&count=1", "").refused(400, TooMany)
	h.ask("GET", "/Users?count=100", "").refused(400, TooMany)
	h.ask("GET", "/Users?count=100&cursor=", "").refused(400, TooMany)
	if ids := h.ask("GET", "/Users?count=100&excludedAttributes=title", "").want(200).ids(); len(ids) != n {
		t.Errorf("%d resources without the attribute, expected are %d", len(ids), n)
	}
	if ids := h.ask("GET", "/Users?count=10&sortBy=userName", "").want(200).ids(); len(ids) != 10 {
		t.Errorf("%d resources on a smaller page", len(ids))
	}
	if ids := h.ask("GET", `/Users?sortBy=title&filter=userName sw "u00"`, "").want(200).ids(); len(ids) != 10 || !slices.IsSorted(ids) {
		t.Errorf("%d resources that a filter has found", len(ids))
	}
}

// Filters and the paths of PATCH may be so long, so deep and of so many comparisons, and no more.
func TestFilterLimits(t *testing.T) {
	ors := func(n int) string { return strings.TrimSuffix(strings.Repeat("a pr or ", n), " or ") }
	nots := func(n int) string { return strings.Repeat("not (", n) + "a pr" + strings.Repeat(")", n) }
	bytes := func(n int) string { return `a eq "` + strings.Repeat("x", n-len(`a eq ""`)) + `"` }
	path := func(text string) error { _, err := ParsePath("a[" + text + "]"); return err }
	filter := func(text string) error { _, err := ParseFilter(text, FilterOptions{}); return err }
	for name, c := range map[string]struct {
		make       func(int) string
		parse      func(string) error
		most       int
		as, within string
	}{
		"comparisons":           {ors, filter, maxFilterTerms, InvalidFilter, "more than 200 comparisons"},
		"depth":                 {nots, filter, maxFilterDepth, InvalidFilter, "deeper than 50 levels"},
		"length":                {bytes, filter, maxFilterLength, InvalidFilter, "more than 8192"},
		"comparisons of a path": {ors, path, maxFilterTerms, InvalidPath, "more than 200 comparisons"},
		"depth of a path":       {nots, path, maxFilterDepth - 1, InvalidPath, "deeper than 50 levels"},
		"length of a path":      {bytes, path, maxFilterLength - len("a[]"), InvalidPath, "more than 8192"},
	} {
		t.Run(name, func(t *testing.T) {
			if err := c.parse(c.make(c.most)); err != nil {
				t.Errorf("%d: %v", c.most, err)
			}
			var e *Error
			for _, n := range []int{c.most + 1, 100 * c.most} {
				if err := c.parse(c.make(n)); !errors.As(err, &e) || e.Status != 400 || e.Type != c.as || n == c.most+1 && !strings.Contains(e.Detail, c.within) {
					t.Errorf("%d: %v", n, err)
				}
			}
		})
	}
}

// The order of a sorted walk may be one of more resource types than a byte counts.
func TestWalkOfManyTypes(t *testing.T) {
	h := openHouse(t, Options{})
	c := &call{caller: h.caller}
	want := []place{{0, match{id: "a"}}, {127, match{id: "b"}}, {128, match{id: "c"}}, {300, match{id: "d"}}}
	walk, err := h.service.saveWalk(t.Context(), c, want)
	if err != nil {
		t.Fatal(err)
	}
	var got []place
	err = h.store.View(t.Context(), h.caller.Tenant, func(tx *storage.Tx) (err error) {
		got, err = h.service.walkChunk(tx, walk, 0)
		return err
	})
	if err != nil || fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("%v, want %v; %v", got, want, err)
	}
}
