package scim

import (
	"fmt"
	"net/url"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// find asks for the ids of one query, in words that are not yet escaped.
func (h *house) find(target, filter string) *reply {
	h.t.Helper()
	return h.ask("GET", target+"filter="+url.QueryEscape(filter), "").want(200)
}

// Each index is used: of 200 resources only those are looked at that the query finds, and of the index nothing else.
func TestIndexesAreUsed(t *testing.T) {
	h := openHouseOn(t, newProbe(), acmeTypes(t), Options{})
	const n = 200
	var ids []string
	for i := range n {
		ids = append(ids, h.user(fmt.Sprintf("user-%03d", i), fmt.Sprintf(
			`"displayName":"Name %03d","externalId":"X%03d","emails":[{"type":"work","value":"mail-%03d@x"},{"type":"home","value":"home-%03d@x"}],"%s":{"badge":"B%03d","level":%d,"weight":%d.5,"codes":["c%d","d%d"],"desk":{"building":"D%d"}}`,
			i, i, i, i, acmeURN, i, i, i, i, i, i)))
	}
	var groups []string
	for i := range 20 {
		groups = append(groups, h.group(fmt.Sprintf("Group %02d", i), ids[10*i], ids[10*i+1]))
	}
	late := h.ask("GET", "/Users/"+ids[197], "").text("meta", "lastModified")
	for _, q := range []struct {
		target, filter string
		want           int // resources found
		looks          int // reads of a record that each may take: to compare it, and to show it
	}{
		{"/Users?attributes=id&", `id eq "` + ids[5] + `"`, 1, 1},
		{"/Users?attributes=id&", `userName eq "USER-005"`, 1, 1},
		{"/Users?attributes=id&", `userName sw "user-00"`, 10, 2},
		{"/Users?attributes=id&", `userName gt "user-197"`, 2, 2},
		{"/Users?attributes=id&", `userName le "user-001"`, 2, 2},
		{"/Users?attributes=id&", `displayName eq "name 005"`, 1, 1},
		{"/Groups?excludedAttributes=members&", `displayName eq "group 05"`, 1, 1},
		{"/Groups?excludedAttributes=members&", `displayName sw "Group 1"`, 10, 2},
		{"/Users?attributes=id&", `externalId eq "X005"`, 1, 1},
		{"/Users?attributes=id&", `externalId eq "x005"`, 0, 0},
		{"/Users?attributes=id&", `emails.value eq "MAIL-005@x"`, 1, 1},
		{"/Users?attributes=id&", `emails eq "mail-005@x"`, 1, 1},
		{"/Users?attributes=id&", `emails[type eq "work" and value eq "mail-005@x"]`, 1, 2},
		{"/Users?attributes=id&", `emails[type eq "work"].value eq "mail-005@x"`, 1, 2},
		{"/Users?attributes=id&", `emails[type eq "work"].value eq "home-005@x"`, 0, 1},
		{"/Groups?excludedAttributes=members&", `members.value eq "` + ids[51] + `"`, 1, 1},
		{"/Groups?excludedAttributes=members&", `members eq "` + ids[51] + `"`, 1, 1},
		{"/Groups?excludedAttributes=members&", `members[value eq "` + ids[51] + `"]`, 1, 1},
		{"/Groups?excludedAttributes=members&", `members[value eq "` + ids[51] + `" and type eq "User"]`, 1, 2},
		{"/Groups?excludedAttributes=members&", `id eq "` + groups[5] + `" and members eq "` + ids[51] + `"`, 1, 2},
		{"/Users?attributes=id&", `groups.value eq "` + groups[5] + `"`, 2, 4},
		{"/Users?attributes=id&", `meta.lastModified gt "` + late + `"`, 2, 2},
		{"/Users?attributes=id&", `meta.lastModified ge "` + late + `" and title pr`, 0, 3},
		{"/Users?attributes=id&", `userName eq "user-001" or displayName eq "name 002" or emails.value eq "mail-003@x"`, 3, 2},
		{"/Users?attributes=id&", `userName eq "user-001" or userName eq "user-001"`, 1, 1},
		{"/Users?attributes=id&", `title pr and userName eq "user-001"`, 0, 1},
		{"/Users?attributes=id&", acmeURN + `:badge eq "B005"`, 1, 1},
		{"/Users?attributes=id&", acmeURN + `:level ge 198`, 2, 2},
		{"/Users?attributes=id&", acmeURN + `:weight lt 2`, 2, 2},
		{"/Users?attributes=id&", acmeURN + `:codes eq "d5"`, 1, 1},
		{"/Users?attributes=id&", acmeURN + `:desk.building eq "d5"`, 1, 1},
		{"/Users?attributes=id&", acmeURN + `:desk[building eq "d5"]`, 1, 2},
	} {
		t.Run(q.filter, func(t *testing.T) {
			h := h.in(t)
			var r *reply
			terms := h.probe.scans("t", func() {
				if looks := h.probe.reads("r", func() { r = h.find(q.target, q.filter) }); looks > max(q.want, 1)*q.looks+2 {
					t.Errorf("looked at %d records to find %d", looks, q.want)
				}
			})
			if r.total() != q.want || len(r.ids()) != q.want {
				t.Errorf("found %d, want %d", r.total(), q.want)
			}
			if terms > 2*q.want+4 {
				t.Errorf("read %d rows of indexes to find %d", terms, q.want)
			}
		})
	}
}

// A sorted page takes from the index what it shows.
func TestSortingUsesIndexes(t *testing.T) {
	h := openHouse(t, Options{})
	const n = 100
	for i := range n {
		name := ""
		if i%2 == 0 {
			name = fmt.Sprintf(`"displayName":"Name %03d"`, i*37%n)
		}
		h.user(fmt.Sprintf("user-%03d", i*7%n), name)
	}
	for _, q := range []struct{ sort, first, last string }{
		{"sortBy=userName", "user-000", "user-009"},
		{"sortBy=userName&sortOrder=descending", "user-099", "user-090"},
		{"sortBy=meta.lastModified", "user-000", "user-063"},
		{"sortBy=meta.lastModified&sortOrder=descending", "user-093", "user-030"},
		{"sortBy=displayName", "user-000", "user-098"},
		{"sortBy=externalId", "user-000", "user-063"}, // nobody has one: by id, which is the order of creation
		{"", "user-000", "user-063"},
	} {
		t.Run(q.sort, func(t *testing.T) {
			h := h.in(t)
			var r *reply
			if looks := h.probe.reads("r", func() { r = h.ask("GET", "/Users?count=10&"+q.sort, "").want(200) }); looks > 10 {
				t.Errorf("looked at %d records for a page of 10", looks)
			}
			if r.total() != n || r.text("Resources", 0, "userName") != q.first || r.text("Resources", 9, "userName") != q.last {
				t.Errorf("%d from %s to %s", r.total(), r.text("Resources", 0, "userName"), r.text("Resources", 9, "userName"))
			}
		})
	}
}

// An index is a hint: what it finds is compared with the whole value, and a value that is empty is none.
func TestIndexesAreHints(t *testing.T) {
	h := openHouse(t, Options{})
	a := h.user("a", fmt.Sprintf(`"displayName":%q,"emails":[{"value":%q}]`, longText+"1", longText+"1"))
	h.user("b", fmt.Sprintf(`"displayName":%q,"emails":[{"value":%q}]`, longText+"2", longText+"2"))
	c := h.preset("standard").user("c", `"displayName":"","emails":[{"value":""}]`)
	for filter, want := range map[string][]string{
		`displayName eq "` + longText + `1"`:                             {a},
		`emails.value eq "` + strings.ToUpper(longText) + `1"`:           {a},
		`displayName eq "` + longText + `"`:                              {},
		`displayName eq "` + longText + `1" or emails.value eq "nobody"`: {a},
		`displayName sw "` + longText + `1"`:                             {a},
		`displayName lt "` + longText + `2" and displayName gt "a"`:      {a},
		`not (displayName pr)`:                                           {c},
		`displayName pr and emails.value eq "` + longText + `1"`:         {a},
		`displayName eq ""`:                                              {c},
		`emails.value eq ""`:                                             {c},
	} {
		if r := h.find("/Users?", filter); r.total() != len(want) || !slices.Equal(r.ids(), want) {
			t.Errorf("%s: %d %q", clip(filter), r.total(), r.ids())
		}
	}
	for _, filter := range []string{"displayName pr", "emails.value pr", "emails pr"} {
		if r := h.find("/Users?", filter); r.total() != 2 || len(r.ids()) != 2 {
			t.Errorf("%s: %d %q", filter, r.total(), r.ids())
		}
	}
}

// What begins with the same 255 bytes has one term; its order is that of the whole values.
func TestSortingLongValues(t *testing.T) {
	h := openHouse(t, Options{})
	var want []string
	for i := range 30 {
		name := fmt.Sprintf("%s%02d", longText, i*7%30)
		h.user(name, "")
		want = append(want, name)
	}
	h.user("a", "")
	h.user("z", "")
	slices.Sort(want)
	want = append(append([]string{"a"}, want...), "z")
	for _, order := range []string{"ascending", "descending"} {
		var got []string
		for start := 1; start <= len(want); start += 7 {
			r := h.ask("GET", fmt.Sprintf("/Users?sortBy=userName&sortOrder=%s&count=7&startIndex=%d", order, start), "").want(200)
			l, _ := r.at("Resources").([]any)
			for _, u := range l {
				got = append(got, dig(u, "userName").(string))
			}
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s: %q", order, got)
		}
		slices.Reverse(want)
	}
}

func TestTooMany(t *testing.T) {
	h := openHouse(t, Options{MaxScan: 20})
	var ids []string
	for i := range 30 {
		ids = append(ids, h.user(fmt.Sprintf("user-%02d", i), `"title":"x"`))
	}
	for _, q := range []string{"filter=title eq \"x\"", "filter=not (userName pr)", "filter=userName pr", "sortBy=title", "filter=userName eq \"user-01\" or title pr", "filter=userName sw \"user\"", "filter=userName co \"07\"", "filter=userName ew \"07\" and title pr", "sortBy=title&cursor="} {
		h.unchanged(func() { h.ask("GET", "/Users?"+q, "").refused(400, TooMany) })
	}
	h.ask("POST", "/Users/.search", `{"schemas":["`+findURN+`"],"filter":"title pr"}`).refused(400, TooMany)
	for q, n := range map[string]int{
		"": 30, "sortBy=userName": 30, "filter=userName eq \"user-01\" and title pr": 1, "filter=userName sw \"user-1\" and title eq \"x\"": 10, "filter=id eq \"" + ids[3] + "\"": 1,
	} {
		if r := h.ask("GET", "/Users?"+q, "").want(200); r.total() != n {
			t.Errorf("%s: %d, want %d", q, r.total(), n)
		}
	}
	// A walk by cursor looks at a part of them with each page.
	for _, filter := range []string{`title+eq+"x"`, `userName+co+"user"`} {
		seen := h.walk("/Users?count=100&filter="+filter, nil)
		if slices.Sort(seen); !slices.Equal(seen, ids) {
			t.Errorf("%s: the walk met %d of 30", filter, len(seen))
		}
	}
}

// What a part of a text asks about an index is found there, without reading the resources that do not have it; of values that
// were cut off in the index, all are read.
func TestPartOfAnIndexedText(t *testing.T) {
	h := openHouse(t, Options{})
	long := strings.Repeat("x", 300)
	for i := range 50 {
		h.user(fmt.Sprintf("User-%02d@Example.com", i), fmt.Sprintf(`"emails":[{"type":"work","value":"Mail%02d@example.com"},{"type":"home","value":"home"}],"externalId":"Ext%d"`, i, i))
	}
	h.user("long-1", `"externalId":"`+long+`needle"`)
	h.user("long-2", `"externalId":"`+long+`"`)
	for filter, want := range map[string]struct{ found, reads int }{
		`userName co "R-07@EX"`:                             {1, 2}, // to compare, and to show
		`userName ew "3@example.COM"`:                       {5, 10},
		`emails[type eq "work" and value co "l17"]`:         {1, 2},
		`emails[type eq "home" and value co "l17"]`:         {0, 1},
		`emails co "mail4" and userName pr`:                 {10, 20},
		`externalId co "ext"`:                               {0, 2}, // caseExact
		`externalId co "t49"`:                               {1, 4},
		`externalId ew "needle"`:                            {1, 3},
		`userName co "R-07@EX" or emails.value ew "4@nope"`: {1, 2},
	} {
		var r *reply
		looks := h.probe.reads("r", func() { r = h.ask("GET", "/Users?filter="+filter, "").want(200) })
		if r.total() != want.found || looks != want.reads {
			t.Errorf("%s: %d found and %d records read, want %d and %d", filter, r.total(), looks, want.found, want.reads)
		}
	}
}

// A walk by startIndex meets everything once, and its last page costs no more than the first.
func TestStartIndexWalk(t *testing.T) {
	h := openHouse(t, Options{})
	const n, count = 300, 10
	for i := range n {
		h.user(fmt.Sprintf("user-%03d", i*11%n), fmt.Sprintf(`"title":"T%d"`, i%3))
	}
	for _, q := range []struct {
		query string
		total int
	}{
		{"", n}, {"sortBy=userName", n}, {"sortBy=userName&sortOrder=descending", n}, {"sortBy=title", n},
		{`filter=title eq "t1"`, n / 3}, {`filter=title eq "t1"&sortBy=userName`, n / 3}, {`filter=userName sw "user-1"`, 100},
	} {
		t.Run(q.query, func(t *testing.T) {
			h := h.in(t)
			var seen []string
			most := 0
			for start := 1; start <= q.total; start += count {
				reads := h.probe.reads("rt", func() {
					r := h.ask("GET", fmt.Sprintf("/Users?count=%d&startIndex=%d&%s", count, start, q.query), "").want(200)
					if r.total() != q.total || r.text("startIndex") != fmt.Sprint(start) || r.text("itemsPerPage") != fmt.Sprint(len(r.ids())) {
						t.Fatalf("%s", r.body)
					}
					seen = append(seen, r.ids()...)
				})
				if start > 1 {
					most = max(most, reads)
				}
			}
			slices.Sort(seen)
			if len(slices.Compact(seen)) != q.total {
				t.Errorf("met %d of %d", len(slices.Compact(seen)), q.total)
			}
			if most > 3*count {
				t.Errorf("a page behind the first read %d rows", most)
			}
			if r := h.ask("GET", fmt.Sprintf("/Users?startIndex=%d&%s", q.total+1, q.query), "").want(200); len(r.ids()) != 0 || r.total() != q.total {
				t.Errorf("behind the end: %s", r.body)
			}
		})
	}
}

// walk follows a cursor to its end and returns the ids that it has met. between is called before each page but the first.
func (h *house) walk(target string, between func()) (ids []string) {
	h.t.Helper()
	cursor := ""
	for range 1000 {
		r := h.ask("GET", target+"&cursor="+cursor, "").want(200)
		ids = append(ids, r.ids()...)
		if cursor = r.text("nextCursor"); cursor == "" {
			return ids
		}
		if strings.Trim(cursor, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~") != "" {
			h.t.Errorf("the cursor %q is not made of unreserved characters", cursor)
		}
		if between != nil {
			between()
		}
	}
	h.t.Fatal("the walk does not end")
	return nil
}

// A walk by cursor meets whatever exists throughout exactly once, whatever comes, goes and changes meanwhile (RFC 9865).
func TestCursorWalk(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		h := openHouse(t, Options{})
		defer h.close()
		live := map[string]bool{}
		n := 0
		create := func() string {
			n++
			id := h.user(fmt.Sprintf("user-%d", rapid.IntRange(0, 1000).Draw(rt, "name")*1000+n), fmt.Sprintf(`"title":"T","nickName":"%d"`, rapid.IntRange(0, 5).Draw(rt, "nick")))
			live[id] = true
			return id
		}
		for range rapid.IntRange(0, 25).Draw(rt, "users") {
			create()
		}
		throughout, fresh := map[string]bool{}, map[string]bool{}
		for id := range live {
			throughout[id] = true
		}
		ids := func() []string { return slices.Sorted(keys(live)) }
		between := func() {
			for range rapid.IntRange(0, 3).Draw(rt, "changes") {
				switch what := rapid.IntRange(0, 3).Draw(rt, "what"); {
				case what == 0:
					fresh[create()] = true
				case len(live) == 0:
				case what == 1:
					id := rapid.SampledFrom(ids()).Draw(rt, "deleted")
					h.ask("DELETE", "/Users/"+id, "").want(204)
					delete(live, id)
					delete(throughout, id)
				default: // moves it in every order
					id := rapid.SampledFrom(ids()).Draw(rt, "changed")
					h.patch("/Users/"+id, fmt.Sprintf(`{"op":"replace","path":"nickName","value":"%d"}`, rapid.IntRange(0, 5).Draw(rt, "nick"))).want(200)
				}
			}
		}
		query := rapid.SampledFrom([]string{"", "&filter=title eq \"t\"", "&filter=userName sw \"user\"", "&sortBy=nickName", "&sortBy=nickName&sortOrder=descending", "&sortBy=meta.lastModified&filter=title pr"}).Draw(rt, "query")
		seen := map[string]bool{}
		for _, id := range h.walk(fmt.Sprintf("/Users?count=%d%s", rapid.IntRange(1, 7).Draw(rt, "count"), query), between) {
			if seen[id] {
				rt.Fatalf("%s: met %s twice", query, id)
			}
			seen[id] = true
		}
		for id := range throughout {
			if !seen[id] {
				rt.Fatalf("%s: %s was there throughout and was not met", query, id)
			}
		}
	})
}

func keys(m map[string]bool) func(func(string) bool) {
	return func(yield func(string) bool) {
		for k := range m {
			if !yield(k) {
				return
			}
		}
	}
}

// A cursor belongs to one tenant, endpoint and query, and lives as long as it is said to.
func TestCursorIsBound(t *testing.T) {
	h := openHouse(t, Options{})
	for i := range 5 {
		h.user(fmt.Sprint("user-", i), "")
		h.tenant("other").user(fmt.Sprint("user-", i), "")
		h.group(fmt.Sprint("group-", i))
	}
	for _, sort := range []string{"", "&sortBy=userName"} {
		cursor := h.ask("GET", "/Users?count=2&cursor="+sort, "").want(200).text("nextCursor")
		h.tenant("other").ask("GET", "/Users?count=2&cursor="+cursor+sort, "").refused(400, InvalidCursor)
		h.ask("GET", "/Users?filter=userName pr&count=2&cursor="+cursor+sort, "").refused(400, InvalidCursor)
		h.ask("GET", "/Users?sortBy=id&count=2&cursor="+cursor, "").refused(400, InvalidCursor)
		h.ask("GET", "/Groups?count=2&cursor="+cursor+strings.ReplaceAll(sort, "userName", "displayName"), "").refused(400, InvalidCursor)
		flipped := []byte(cursor)
		flipped[len(flipped)/2] ^= 1
		h.ask("GET", "/Users?count=2&cursor="+string(flipped)+sort, "").refused(400, InvalidCursor)
		// Another count is another page of the same walk, and a restart does not end it.
		again := openHouseOn(t, h.probe, builtinTypes(t), Options{})
		if r := again.ask("GET", "/Users?count=100&cursor="+cursor+sort, "").want(200); len(r.ids()) != 3 || r.text("nextCursor") != "" {
			t.Errorf("%s", r.body)
		}
		again.close()
		h.clock.add(59 * 60 * 1e9)
		h.ask("GET", "/Users?count=2&cursor="+cursor+sort, "").want(200)
		h.clock.add(2 * 60 * 1e9)
		h.ask("GET", "/Users?count=2&cursor="+cursor+sort, "").refused(400, ExpiredCursor)
	}
}

// The root has the resources of all types, sorted among each other (RFC 7644 section 3.4.2.1).
func TestRootQuery(t *testing.T) {
	h := openHouse(t, Options{})
	for i, name := range []string{"D", "B", "F"} {
		h.user(fmt.Sprint("user-", i), fmt.Sprintf(`"displayName":%q`, name))
	}
	h.user("nameless", "")
	for _, name := range []string{"E", "A", "C"} {
		h.group(name)
	}
	names := func(r *reply) string {
		var b strings.Builder
		l, _ := r.at("Resources").([]any)
		for _, v := range l {
			if s, ok := dig(v, "displayName").(string); ok {
				b.WriteString(s)
			} else {
				b.WriteString("-")
			}
		}
		return b.String()
	}
	for query, want := range map[string]string{
		"":                   "DBF-EAC",
		"sortBy=displayName": "ABCDEF-",
		"sortBy=displayName&sortOrder=descending":        "-FEDCBA",
		"sortBy=displayName&startIndex=3&count=3":        "CDE",
		"sortBy=userName&count=4":                        "-DBF",
		"startIndex=4&count=2":                           "-E",
		"filter=displayName gt \"b\"&sortBy=displayName": "CDEF",
		"filter=userName pr":                             "DBF-",
		"filter=members pr":                              "",
	} {
		r := h.ask("GET", "/?"+query, "").want(200)
		if got := names(r); got != want {
			t.Errorf("%s: %s, want %s", query, got, want)
		}
	}
	h.ask("GET", "/?filter=shoeSize pr", "").refused(400, InvalidFilter)
	h.ask("GET", "/?sortBy=shoeSize", "").refused(400, InvalidValue)
	var walked []string
	for _, sort := range []string{"", "&sortBy=displayName"} {
		if walked = h.walk("/?count=2"+sort, nil); len(walked) != 7 || len(slices.Compact(slices.Sorted(slices.Values(walked)))) != 7 {
			t.Errorf("the walk%s met %q", sort, walked)
		}
	}
}
