package scim

import (
	"bytes"
	"cmp"
	"encoding/base64"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"scimbox/storage"
)

// Walks through many resources (RFC 9865). That cursors are bound to what they were made for, small walks with all that can
// happen meanwhile, and pages by startIndex are in paging_test.go.

// crowd puts n users into the store, faster than requests could, and returns their ids in order. Their names come in
// another order than their ids, and the number of each is the rest of a division of its name's number.
func (h *house) crowd(n int) []string {
	h.t.Helper()
	t := h.service.types.ByName("User")
	c := &call{caller: h.caller, t: t}
	if err := h.service.markIndexed(h.t.Context(), c); err != nil {
		h.t.Fatal(err)
	}
	ids := make([]string, n)
	for at := 0; at < n; at += 1000 {
		err := h.store.Update(h.t.Context(), h.caller.Tenant, c.origin(), func(tx *storage.Tx) error {
			stamp := tx.Stamp(storage.Stamp{})
			for i := at; i < min(at+1000, n); i++ {
				id := uuid.Must(uuid.NewV7()).String()
				ids[i] = id
				o, err := decodeBody(t, fmt.Appendf(nil, `{"userName":"user-%05d","title":"T%d"}`, i*7919%n, i%10))
				if err != nil {
					return err
				}
				ref := storage.Ref{Tenant: h.caller.Tenant, Kind: t.Name, ID: id}
				if err := h.service.put(tx, t, ref, stamp, o); err != nil {
					return err
				}
			}
			return tx.Log(storage.Entry{Op: "create", Ref: storage.Ref{Tenant: h.caller.Tenant, Kind: t.Name, ID: ids[at]}, Detail: []byte("{}")})
		})
		if err != nil {
			h.t.Fatal(err)
		}
	}
	return ids
}

// again is the house with a service that has just been started on the same store.
func (h *house) again(o Options) *house {
	h.t.Helper()
	c := *h
	o.PublicURL, o.Clock = "https://scim.example", h.clock.Now
	var err error
	if c.service, err = NewService(h.t.Context(), h.store, h.service.types, o); err != nil {
		h.t.Fatal(err)
	}
	c.handler = NewHandler(c.service)
	return &c
}

var (
	listedID   = regexp.MustCompile(`"id":"([^"]+)"`)
	listedNext = regexp.MustCompile(`"nextCursor":"([^"]+)"`)
)

// listed is a page of users as far as a walk needs to know it.
func (a *reply) listed() (ids []string, next string) {
	a.t.Helper()
	if bytes.Contains(a.body, []byte(`"previousCursor"`)) || bytes.Contains(a.body, []byte(`"startIndex"`)) {
		a.t.Errorf("%s", clip(string(a.body)))
	}
	for _, m := range listedID.FindAllSubmatch(a.body, -1) {
		ids = append(ids, string(m[1]))
	}
	if m := listedNext.FindSubmatch(a.body); m != nil {
		next = string(m[1])
	}
	return ids, next
}

// The experiment: 20,000 users, of whom 50 are deleted while they are walked through; others come, and change what they are
// sorted and found by; in the middle the service is started anew. No survivor is missing, and none comes twice.
func TestCursorExperiment(t *testing.T) {
	const users, deleted, count = 20_000, 50, 1000
	h := openHouse(t, Options{})
	ids := h.crowd(users)
	gone := map[string]bool{}
	for n, query := range []string{"", "&sortBy=userName", `&filter=userName sw "USER-"`, `&filter=title pr&sortBy=title&sortOrder=descending`} {
		seen := map[string]int{}
		before := len(gone)
		for pages, cursor := 0, ""; ; pages++ {
			r := h.ask("GET", fmt.Sprintf("/Users?attributes=id&count=%d&cursor=%s%s", count, cursor, query), "").want(200)
			page, next := r.listed()
			for _, id := range page {
				seen[id]++
			}
			if cursor = next; next == "" {
				break
			}
			if len(page) == 0 || len(page) > count {
				t.Fatalf("%s: a page of %d", query, len(page))
			}
			// What is deleted and changed lies before the cursor and behind it.
			for i := 0; i < 3 && len(gone) < before+deleted; i++ {
				if id := ids[(n*3001+pages*397+i*9973)%users]; !gone[id] {
					h.ask("DELETE", "/Users/"+id, "").want(204)
					gone[id] = true
				}
			}
			for i := range 3 {
				if id := ids[(n*1009+pages*811+i*6007)%users]; !gone[id] {
					h.patch("/Users/"+id, fmt.Sprintf(`{"op":"replace","path":"title","value":"T%d"}`, (pages+i)%10), fmt.Sprintf(`{"op":"replace","path":"userName","value":"user-%d-%d-%d"}`, 99999*(i%2), n, pages*3+i)).want(200)
				}
			}
			h.user(fmt.Sprintf("user-%d-new-%d", n, pages), `"title":"T0"`)
			if pages == 9 {
				h = h.again(Options{})
			}
		}
		missing, twice := 0, 0
		for _, id := range ids {
			if seen[id] == 0 && !gone[id] {
				missing++
			}
			if seen[id] > 1 {
				twice++
			}
		}
		if missing+twice > 0 {
			t.Errorf("%s: %d missing, %d twice", query, missing, twice)
		}
		if n := len(gone) - before; n < deleted {
			t.Errorf("%s: only %d were deleted", query, n)
		}
	}
}

// A page costs what it shows, wherever in the walk it stands: neither does the plan of a filter that finds nearly all make it
// cost more with each change, nor do other clients who are elsewhere in the same list.
func TestPagesCostTheSame(t *testing.T) {
	const users, count = 3000, 100
	h := openHouse(t, Options{})
	h.crowd(users)
	page := func(query string) (r *reply, records, terms int) {
		terms = h.probe.reads("t", func() {
			records = h.probe.reads("r", func() { r = h.ask("GET", "/Users?attributes=id&"+query, "").want(200) })
		})
		return r, records, terms
	}
	for _, query := range []string{"", "&sortBy=userName", "&sortBy=title", `&filter=userName sw "user"`, `&filter=title pr`} {
		cursor := page1(h, query, count)
		for n := 2; cursor != ""; n++ {
			r, records, _ := page(fmt.Sprintf("count=%d&cursor=%s%s", count, cursor, query))
			_, cursor = r.listed()
			if records > count+4 { // and one to know that there are more, and three of a written-down order
				t.Errorf("%s: page %d looked at %d records", query, n, records)
			}
			h.user(fmt.Sprintf("user-%s-%d", query, n), `"title":"T"`)
		}
	}
	total := h.ask("GET", "/Users?count=0", "").total()
	for _, query := range []string{"", "&sortBy=userName", "&sortBy=userName&sortOrder=descending", `&filter=userName sw "user"`, "&sortBy=title"} {
		page("startIndex=1&count=100" + query)
		for start := 1 + count; start+2*count < total; start += count {
			for _, at := range []int{start, total/2 + start%(total/4), max(1, total-start-count)} { // three clients
				if _, records, terms := page(fmt.Sprintf("startIndex=%d&count=%d%s", at, count, query)); at == start && (records > count || terms > count+1) {
					t.Fatalf("%s: the page at %d read %d records and %d rows of an index", query, at, records, terms)
				}
			}
		}
	}
}

func page1(h *house, query string, count int) string {
	h.t.Helper()
	_, next := h.ask("GET", fmt.Sprintf("/Users?attributes=id&count=%d&cursor=%s", count, query), "").want(200).listed()
	if next == "" {
		h.t.Fatalf("%s: one page", query)
	}
	return next
}

// What is no cursor of this tenant, endpoint and query gets one answer, whatever it is instead.
func TestForgedCursors(t *testing.T) {
	h := openHouse(t, Options{})
	h.crowd(30)
	h.tenant("other").crowd(30)
	said := ""
	for _, query := range []string{"", "&sortBy=displayName", "&filter=displayName pr or id pr"} {
		cursor := page1(h, query, 5)
		raw, err := base64.RawURLEncoding.DecodeString(cursor)
		if err != nil {
			t.Fatal(err)
		}
		tries := []string{
			"x", "AAAA", strings.Repeat("A", 12), strings.Repeat("A", 10_000), cursor[1:], cursor + "AAAA", strings.ToUpper(cursor), cursor[:len(cursor)-4], "-", "null", "0",
			page1(h.tenant("other"), query, 5), page1(h, "&sortOrder=descending", 5), page1(h, "&sortBy=title", 5), page1(h, `&filter=title pr or title pr`, 5),
		}
		for i := range raw {
			flipped := slices.Clone(raw)
			flipped[i] ^= 1 << (i % 8)
			tries = append(tries, base64.RawURLEncoding.EncodeToString(flipped))
		}
		for _, c := range tries {
			r := h.ask("GET", "/Users?count=5&cursor="+c+query, "").refused(400, InvalidCursor)
			if said = cmp.Or(said, r.text("detail")); r.text("detail") != said {
				t.Errorf("%s: %q, and another cursor was answered %q", clip(c), r.text("detail"), said)
			}
		}
		h.ask("GET", "/Groups?count=5&cursor="+cursor+query, "").refused(400, InvalidCursor)
		h.ask("GET", "/?count=5&cursor="+cursor+query, "").refused(400, InvalidCursor)
		h.ask("POST", "/Users/.search", `{"schemas":["`+findURN+`"],"cursor":`+quoted(cursor)+`,"filter":"title eq \"T1\""}`).refused(400, InvalidCursor)
		// Asked for in another way, or in another number, it is the same walk.
		h.ask("GET", "/Users?attributes=userName&count=7&cursor="+cursor+query, "").want(200)
		again, next := h.ask("GET", "/Users?count=5&cursor="+cursor+query, "").want(200).listed()
		repeated, _ := h.ask("GET", "/Users?count=5&cursor="+cursor+query, "").want(200).listed()
		if !slices.Equal(again, repeated) || len(again) != 5 || next == cursor {
			t.Errorf("%s: the same cursor gives %q and %q", query, again, repeated)
		}
	}
}

// A cursor lives for cursor_timeout from the page on that it came with, also if the walk as a whole takes longer and others
// begin theirs meanwhile.
func TestCursorTimeout(t *testing.T) {
	h := openHouse(t, Options{CursorTimeout: time.Minute})
	h.crowd(200)
	for _, query := range []string{"", "&sortBy=userName"} {
		cursor := page1(h, query, 20)
		for range 8 {
			h.clock.add(59 * time.Second)
			page1(h, "&sortBy=title", 20)
			_, cursor = h.ask("GET", "/Users?count=20&cursor="+cursor+query, "").want(200).listed()
		}
		h.clock.add(62 * time.Second)
		page1(h, "&sortBy=title", 20)
		if r := h.ask("GET", "/Users?count=20&cursor="+cursor+query, "").refused(400, ExpiredCursor); !strings.Contains(r.text("detail"), "1m0s") {
			t.Errorf("it does not say how long cursors live: %s", r.body)
		}
	}
	if n := h.ask("GET", "/ServiceProviderConfig", "").text("pagination", "cursorTimeout"); n != "60" {
		t.Errorf("cursorTimeout %s", n)
	}
}

// Orders that were written down go with their cursors, and there are never more than 64 of a tenant's: then an old one makes
// room.
func TestWrittenOrdersAreBounded(t *testing.T) {
	h := openHouse(t, Options{CursorTimeout: time.Minute})
	h.crowd(50)
	const query = "&sortBy=userName"
	kept := func() int { return strings.Count(h.dump(), `r`+`default\x00`+walkKind) }
	first, second := page1(h, query, 20), page1(h, query, 20)
	for n := range maxSavedWalk + 5 {
		h.clock.add(time.Second)
		if n == 30 || n == 60 { // the first is still in use
			_, first = h.ask("GET", "/Users?count=5&cursor="+first+query, "").want(200).listed()
		}
		page1(h, query, 20)
		if k := kept(); k > 2*maxSavedWalk {
			t.Fatalf("%d records of orders", k)
		}
	}
	h.ask("GET", "/Users?count=5&cursor="+second+query, "").refused(400, ExpiredCursor)
	h.ask("GET", "/Users?count=5&cursor="+first+query, "").want(200)
	h.clock.add(10 * time.Minute)
	page1(h, query, 20)
	if k := kept(); k != 2 {
		t.Errorf("%d records of orders are left, want those of one", k)
	}
}

// An order of any length that may be looked through is written down, in pieces.
func TestLongOrder(t *testing.T) {
	h := openHouse(t, Options{MaxScan: 200_000})
	order := make([]place, 100_000)
	for i := range order {
		order[i].id = fmt.Sprintf("%036d", i)
	}
	walk, err := h.service.saveWalk(t.Context(), &call{caller: h.caller}, order)
	if err != nil {
		t.Fatal(err)
	}
	err = h.store.View(t.Context(), "default", func(tx *storage.Tx) error {
		at := 0
		for n := 0; ; n++ {
			chunk, err := h.service.walkChunk(tx, walk, n)
			if err != nil {
				return err
			}
			for _, p := range chunk {
				if p.id != order[at].id {
					t.Fatalf("%d: %s", at, p.id)
				}
				at++
			}
			if len(chunk) < walkChunk {
				break
			}
		}
		if at != len(order) {
			t.Errorf("%d of %d", at, len(order))
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}

// A query that finds more than may be looked at is walked through all the same, a part with each page.
func TestCursorBeyondMaxScan(t *testing.T) {
	h := openHouse(t, Options{MaxScan: 50})
	ids := h.crowd(180)
	for _, query := range []string{"", `&filter=userName sw "user"`, `&filter=title pr`, `&filter=userName sw "user" and title eq "T3"`, `&filter=title eq "T3"`} {
		r := h.ask("GET", "/Users?count=20&cursor="+query, "").want(200)
		if query != "" && r.total() != -1 {
			t.Errorf("%s: totalResults %d", query, r.total())
		}
		want := ids
		if strings.Contains(query, "T3") {
			want = nil
			for i := 3; i < len(ids); i += 10 {
				want = append(want, ids[i])
			}
		}
		var got []string
		for cursor, pages := "", 0; cursor != "" || pages == 0; pages++ {
			var page []string
			if looks := h.probe.reads("r", func() {
				page, cursor = h.ask("GET", "/Users?count=15&cursor="+cursor+query, "").want(200).listed()
			}); looks > 102 { // twice as many as may be looked at: to count, and to show
				t.Errorf("%s: page %d looked at %d records", query, pages, looks)
			}
			got = append(got, page...)
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s: met %d of %d", query, len(got), len(want))
		}
	}
	h.ask("GET", `/Users?count=20&cursor=&sortBy=title`, "").refused(400, TooMany)
	h.ask("GET", `/Users?count=20&filter=userName sw "user"`, "").refused(400, TooMany)
}

func TestCursorCount(t *testing.T) {
	h := openHouse(t, Options{DefaultResults: 7, MaxResults: 12})
	h.crowd(30)
	for _, query := range []string{"", "&sortBy=userName", "&filter=title pr"} {
		for count, want := range map[string]int{"": 7, "&count=": 7, "&count=5": 5, "&count=12": 12, "&count=1000": 12, "&count=0": 0, "&count=-5": 0} {
			r := h.ask("GET", "/Users?cursor="+count+query, "").want(200)
			ids, next := r.listed()
			if len(ids) != want || r.text("itemsPerPage") != fmt.Sprint(want) || next == "" || r.total() != 30 {
				t.Errorf("%s%s: %d, %s", count, query, len(ids), clip(string(r.body)))
			}
			// The walk goes on from there.
			ids, _ = h.ask("GET", "/Users?count=4&cursor="+next+query, "").want(200).listed()
			whole := h.ask("GET", "/Users?count=12&startIndex="+fmt.Sprint(want+1)+query, "").want(200).ids()
			if !slices.Equal(ids, whole[:4]) {
				t.Errorf("%s%s: goes on with %q, want %q", count, query, ids, whole[:4])
			}
		}
		for _, count := range []string{"x", "1.5", "1e3", "99999999999999999999", "+"} {
			h.ask("GET", "/Users?cursor=&count="+count+query, "").refused(400, InvalidCount)
		}
	}
	h.ask("POST", "/Users/.search", `{"schemas":["`+findURN+`"],"cursor":"","count":"5"}`).refused(400, InvalidCount)
	// Exactly full pages are not followed by an empty one; what is deleted last leaves none either.
	if got := len(h.walk("/Users?count=10&sortBy=userName", nil)); got != 30 {
		t.Errorf("met %d", got)
	}
	for _, query := range []string{"", "&sortBy=userName", "&filter=title pr"} {
		_, next := h.ask("GET", "/Users?count=10&cursor="+query, "").want(200).listed()
		_, next = h.ask("GET", "/Users?count=10&cursor="+next+query, "").want(200).listed()
		if ids, last := h.ask("GET", "/Users?count=10&cursor="+next+query, "").want(200).listed(); len(ids) != 10 || last != "" {
			t.Errorf("%s: the last page has %d and goes on to %q", query, len(ids), last)
		}
	}
	// In a body, and beside a startIndex, which then means nothing.
	r := h.ask("POST", "/Users/.search", `{"schemas":["`+findURN+`"],"cursor":"","count":5,"startIndex":20,"sortBy":"userName"}`).want(200)
	if ids, next := r.listed(); len(ids) != 5 || next == "" {
		t.Errorf("%s", clip(string(r.body)))
	}
	if r := h.ask("GET", "/Users?count=12&startIndex=3", "").want(200); r.at("nextCursor") != nil {
		t.Errorf("a page by startIndex has a cursor: %s", clip(string(r.body)))
	}
	// Who may read may walk, and a written-down order is no change.
	seq := h.store.LastSeq()
	h.as(func(c *Caller) { c.ReadOnly = true }).ask("GET", "/Users?count=5&cursor=&sortBy=title", "").want(http.StatusOK)
	if h.store.LastSeq() != seq {
		t.Error("a walk has moved the journal")
	}
}

// BenchmarkPages measures a page of 100 of 20,000 users near the beginning of a list and near its end. deep/first is how
// many times longer the second takes.
func BenchmarkPages(b *testing.B) {
	h := openHouse(b, Options{})
	h.crowd(20_000)
	const page = "/Users?count=100&attributes=id"
	for _, query := range []string{"", "&sortBy=userName", `&filter=userName sw "user"`} {
		first := page1(h, query, 100)
		deep := first
		for range 190 {
			_, deep = h.ask("GET", page+"&cursor="+deep+query, "").want(200).listed()
		}
		for _, start := range []string{"1", "18901"} { // those who read the next pages have read these
			h.ask("GET", page+"&startIndex="+start+query, "").want(200)
		}
		for by, places := range map[string][2]string{"startIndex": {"101", "19001"}, "cursor": {first, deep}} {
			b.Run(by+query, func(b *testing.B) {
				h := h.in(b)
				var spent [2]time.Duration
				for b.Loop() {
					for i, place := range places {
						begin := time.Now()
						h.ask("GET", page+"&"+by+"="+place+query, "").want(200)
						spent[i] += time.Since(begin)
					}
				}
				b.ReportMetric(float64(spent[1])/float64(spent[0]), "deep/first")
			})
		}
	}
}
