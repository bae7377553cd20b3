package bench

import (
	"context"
	"encoding/json"
	"fmt"
	"net/url"
	"path/filepath"
	"time"
)

// filtered is a filter that differs from request to request, of so many users.
type filtered struct {
	name   string
	filter func(i, users int) string
}

func (f filtered) request(c *child, users int) func(int) request {
	return func(i int) request { return get(c, filterPath(f.filter(i, users))) }
}

// anyOf spreads requests over all users.
func anyOf(i, users int) int { return i * 7919 % users }

// planned are filters that an index answers.
var planned = []filtered{
	{"userName eq", func(i, n int) string { return fmt.Sprintf("userName eq %q", userName(anyOf(i, n))) }},
	{"externalId eq", func(i, n int) string { return fmt.Sprintf("externalId eq %q", externalID(anyOf(i, n))) }},
	{"emails.value eq", func(i, n int) string { return fmt.Sprintf("emails.value eq %q", userName(anyOf(i, n))) }},
	{"displayName eq", func(i, n int) string { return fmt.Sprintf("displayName eq %q", displayName(anyOf(i, n))) }},
	{"userName sw", func(i, n int) string { return fmt.Sprintf("userName sw %q", userName(anyOf(i, n))[:11]) }},
	{"userName eq and active eq", func(i, n int) string { return fmt.Sprintf("userName eq %q and active eq true", userName(anyOf(i, n))) }},
}

// unplanned are filters that no index answers: of one it has a part of what is asked for, the other has every record read.
var unplanned = []filtered{
	{"filter with a part of a value", func(i, _ int) string { return fmt.Sprintf(`emails[type eq "work" and value co "%02d@bench"]`, i) }},
	{"filter on what no index has", func(i, _ int) string { return fmt.Sprintf(`title co "of the %dth rank"`, i) }},
}

// small starts a server with few users beside the one that is measured, and measures what has a goal for as many as that. It was
// stopped in between, so that it has its users in tables as the other one has most of them, and all of them are in one group as they are
// there.
func (s *state) small(ctx context.Context, r *run) (err error) {
	data := filepath.Join(r.dir, "small")
	c, err := startServer(ctx, r.Program, r.Version, data)
	if err != nil {
		return err
	}
	r.small = c
	users := smallStore(r.Users)
	ids := make([]string, users)
	if err := load(ctx, c, 1, ids, 0, users, func(done int) { r.part("small", float64(done)/float64(users)) }); err != nil {
		return err
	}
	if _, err := fullGroup(ctx, c, "Everybody", ids, func(int) {}); err != nil {
		return err
	}
	r.small = nil
	if err := c.stop(); err != nil {
		return err
	}
	if r.small, err = startServer(ctx, r.Program, r.Version, data); err != nil {
		return err
	}
	var kinds []turn
	for _, x := range unplanned {
		kinds = append(kinds, turn{r.small, x.request(r.small, users)})
	}
	times, err := inTurns(ctx, 30, kinds...)
	if err != nil {
		return err
	}
	for i, x := range unplanned {
		p50 := times[i].at(0.5)
		r.add(Result{Name: fmt.Sprintf("%s, %d users", x.name, users), Conns: 1, P50: p50, P99: times[i].at(0.99), Goal: "< 15 ms", Met: p50 < 15*time.Millisecond})
	}
	return nil
}

// besideSmall asks both servers in turns, n times, and returns how long each filter took with all users and with few.
func (r *run) besideSmall(ctx context.Context, n int, filters []filtered) (times, small []*sample, err error) {
	var kinds []turn
	for _, x := range filters {
		kinds = append(kinds, turn{r.server, x.request(r.server, r.Users)}, turn{r.small, x.request(r.small, smallStore(r.Users))})
	}
	samples, err := inTurns(ctx, n, kinds...)
	if err != nil {
		return nil, nil, err
	}
	for i := range filters {
		times, small = append(times, samples[2*i]), append(small, samples[2*i+1])
	}
	return times, small, nil
}

// scans looks whether a filter takes as long for each user as it does where there are few of them.
func (s *state) scans(ctx context.Context, r *run) error {
	times, small, err := r.besideSmall(ctx, 5, unplanned)
	if err != nil {
		return err
	}
	growth := float64(r.Users+int(s.addition.Load())) / float64(smallStore(r.Users))
	for i, x := range unplanned {
		p50, few := times[i].at(0.5), small[i].at(0.5)
		ratio := p50.Seconds() / few.Seconds() / growth
		r.add(Result{Name: x.name, Conns: 1, P50: p50, Limit: fmt.Sprintf("itself, %.3g times as many: %s", growth, Short(time.Duration(growth*float64(few)))),
			Ratio: ratio, Lower: true, Goal: "linear: <= 1.2", Met: ratio <= 1.2})
	}
	return nil
}

func (s *state) filters(ctx context.Context, r *run) error {
	times, small, err := r.besideSmall(ctx, 400, planned)
	if err != nil {
		return err
	}
	worst, ratio := 0, 0.0
	for i := range planned {
		if x := times[i].at(0.5).Seconds() / small[i].at(0.5).Seconds(); x > ratio {
			worst, ratio = i, x
		}
	}
	r.add(Result{Name: "filter by an index", Conns: 1, P50: times[worst].at(0.5), Value: "worst: " + planned[worst].name,
		Limit: fmt.Sprintf("itself at %d users: %s", smallStore(r.Users), Short(small[worst].at(0.5))), Ratio: ratio, Lower: true, Goal: "<= 1.3", Met: ratio <= 1.3})
	return nil
}

// fullGroup creates a group with members, a thousand at a time, and returns its id.
func fullGroup(ctx context.Context, server *child, name string, ids []string, progress func(done int)) (string, error) {
	const atOnce = 1000
	c, err := dial(server.addr)
	if err != nil {
		return "", err
	}
	defer c.Close()
	body, err := c.must(send(server, "POST", "/scim/v2/Groups", fmt.Appendf(nil, `{"schemas":["urn:ietf:params:scim:schemas:core:2.0:Group"],"displayName":%q}`, name), 201))
	if err != nil {
		return "", err
	}
	id := idOf(body)
	for i := 0; i < len(ids); i += atOnce {
		progress(i)
		if err := ctx.Err(); err != nil {
			return "", err
		}
		if _, err := c.must(send(server, "PATCH", "/scim/v2/Groups/"+id, membersBody(ids[i:min(i+atOnce, len(ids))]), 204)); err != nil {
			return "", err
		}
	}
	return id, nil
}

// members measures adding and removing a member of a group of everybody beside the same with a group of ten.
func (s *state) members(ctx context.Context, r *run) error {
	var err error
	if s.large, err = fullGroup(ctx, r.server, "Everybody", s.ids, func(done int) { r.part("members", 0.8*float64(done)/float64(len(s.ids))) }); err != nil {
		return err
	}
	if s.little, err = fullGroup(ctx, r.server, "Ten", s.ids[:10], func(int) {}); err != nil {
		return err
	}
	changing := func(group string) func(int) request {
		return func(i int) request {
			return send(r.server, "PATCH", "/scim/v2/Groups/"+group, memberBody([]string{"Add", "Remove"}[i%2], fmt.Sprint("guest-", i/2)), 204)
		}
	}
	samples, err := inTurns(ctx, 1000, turn{r.server, changing(s.little)}, turn{r.server, changing(s.large)})
	if err != nil {
		return err
	}
	little, large := samples[0].at(0.5), samples[1].at(0.5)
	ratio := large.Seconds() / little.Seconds()
	r.report.Serves.GroupSize = len(s.ids)
	r.add(Result{Name: fmt.Sprintf("one member of a group of %d", len(s.ids)), Conns: 1, P50: large, P99: samples[1].at(0.99), Memory: r.server.peak(),
		Limit: "a group of 10: " + Short(little), Ratio: ratio, Lower: true, Goal: "<= 1.2", Met: ratio <= 1.2})
	return s.busyMix(ctx, r)
}

const (
	pageSize = 100
	walked   = 60 // pages that are measured
)

// pages measures pages near the end beside the first ones, by index and by cursor.
func (s *state) pages(ctx context.Context, r *run) error {
	deep := max(0, len(s.ids)*99/100-walked*pageSize)
	index := func(first int) func(int) request {
		return func(i int) request {
			return get(r.server, fmt.Sprintf("/scim/v2/Users?count=%d&startIndex=%d", pageSize, first+i*pageSize))
		}
	}
	samples, err := inTurns(ctx, walked, turn{r.server, index(1)}, turn{r.server, index(1 + deep)})
	if err != nil {
		return err
	}
	r.addPages("startIndex", samples)

	c, err := dial(r.server.addr)
	if err != nil {
		return err
	}
	defer c.Close()
	far := &walk{c: r.server}
	for i := range deep / pageSize {
		if err := ctx.Err(); err != nil {
			return err
		}
		r.part("pages", float64(i*pageSize)/float64(deep))
		if _, err := c.must(far.page(i)); err != nil {
			return err
		}
	}
	if samples, err = inTurns(ctx, walked, turn{r.server, (&walk{c: r.server}).page}, turn{r.server, far.page}); err != nil {
		return err
	}
	r.addPages("cursor", samples)
	return nil
}

func (r *run) addPages(how string, samples []*sample) {
	near, far := samples[0].at(0.5), samples[1].at(0.5)
	ratio := far.Seconds() / near.Seconds()
	r.add(Result{Name: "page of 100 at depth 99 %, " + how, Conns: 1, P50: far, P99: samples[1].at(0.99), Limit: "the first pages: " + Short(near),
		Ratio: ratio, Lower: true, Goal: "<= 1.2", Met: ratio <= 1.2})
}

// walk goes from page to page by cursors.
type walk struct {
	c      *child
	cursor string // of the next page
}

// page is the request for the next page.
func (w *walk) page(int) request {
	q := get(w.c, fmt.Sprintf("/scim/v2/Users?count=%d&cursor=%s", pageSize, url.QueryEscape(w.cursor)))
	q.done = func(body []byte) {
		var page struct{ NextCursor string }
		_ = json.Unmarshal(body, &page) // the walk then begins anew
		w.cursor = page.NextCursor
	}
	return q
}
