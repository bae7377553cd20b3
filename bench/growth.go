package bench

import (
	"context"
	"encoding/json"
	"fmt"
	"net/url"
	"time"
)

// planned are filters that an index answers.
var planned = []struct {
	name   string
	filter func(i int) string
}{
	{"userName eq", func(i int) string { return fmt.Sprintf("userName eq %q", userName(i)) }},
	{"externalId eq", func(i int) string { return fmt.Sprintf("externalId eq %q", externalID(i)) }},
	{"emails.value eq", func(i int) string { return fmt.Sprintf("emails.value eq %q", userName(i)) }},
	{"displayName eq", func(i int) string { return fmt.Sprintf("displayName eq %q", displayName(i)) }},
	{"userName sw", func(i int) string { return fmt.Sprintf("userName sw %q", userName(i)[:11]) }},
	{"userName eq and active eq", func(i int) string { return fmt.Sprintf("userName eq %q and active eq true", userName(i)) }},
}

func (s *state) plannedTimes(ctx context.Context, r *run, n int) (map[string]time.Duration, error) {
	var kinds []func(int) request
	for _, p := range planned {
		kinds = append(kinds, func(i int) request { return get(r.server, filterPath(p.filter(i*7919%n))) })
	}
	samples, err := inTurns(ctx, r.server, 400, kinds...)
	if err != nil {
		return nil, err
	}
	times := map[string]time.Duration{}
	for k, p := range planned {
		times[p.name] = samples[k].at(0.5)
	}
	return times, nil
}

// unplanned are filters that no index answers: of one it has a part of what is asked for, the other has every record read.
var unplanned = []struct {
	name   string
	filter func(i int) string
}{
	{"filter with a part of a value", func(i int) string { return fmt.Sprintf(`emails[type eq "work" and value co "%02d@bench"]`, i) }},
	{"filter on what no index has", func(i int) string { return fmt.Sprintf(`title co "of the %dth rank"`, i) }},
}

// atSmall measures at 10,000 users.
func (s *state) atSmall(ctx context.Context, r *run) (err error) {
	if s.small, err = s.plannedTimes(ctx, r, smallStore(r.Users)); err != nil {
		return err
	}
	times, err := s.unplannedTimes(ctx, r, 30)
	if err != nil {
		return err
	}
	for i, x := range unplanned {
		p50 := times[i].at(0.5)
		s.small[x.name] = p50
		r.add(Result{Name: fmt.Sprintf("%s, %d users", x.name, smallStore(r.Users)), Conns: 1, P50: p50, P99: times[i].at(0.99), Goal: "< 15 ms", Met: p50 < 15*time.Millisecond})
	}
	return nil
}

func (s *state) unplannedTimes(ctx context.Context, r *run, n int) ([]*sample, error) {
	var kinds []func(int) request
	for _, x := range unplanned {
		kinds = append(kinds, func(i int) request { return get(r.server, filterPath(x.filter(i))) })
	}
	return inTurns(ctx, r.server, n, kinds...)
}

// scans looks whether a filter takes as long for each user as it did when there were few of them.
func (s *state) scans(ctx context.Context, r *run) error {
	samples, err := s.unplannedTimes(ctx, r, 5)
	if err != nil {
		return err
	}
	growth := float64(r.Users+int(s.addition.Load())) / float64(smallStore(r.Users))
	for i, x := range unplanned {
		p50 := samples[i].at(0.5)
		ratio := p50.Seconds() / s.small[x.name].Seconds() / growth
		r.add(Result{Name: x.name, Conns: 1, P50: p50, Limit: fmt.Sprintf("itself, %.3g times as many: %s", growth, Short(time.Duration(growth*float64(s.small[x.name])))),
			Ratio: ratio, Lower: true, Goal: "linear: <= 1.2", Met: ratio <= 1.2})
	}
	return nil
}

func (s *state) filters(ctx context.Context, r *run) error {
	times, err := s.plannedTimes(ctx, r, r.Users)
	if err != nil {
		return err
	}
	worst, ratio := "", 0.0
	for name, t := range times {
		if x := t.Seconds() / s.small[name].Seconds(); x > ratio {
			worst, ratio = name, x
		}
	}
	r.add(Result{Name: "filter by an index", Conns: 1, P50: times[worst], Value: "worst: " + worst,
		Limit: fmt.Sprintf("itself at %d users: %s", smallStore(r.Users), Short(s.small[worst])), Ratio: ratio, Lower: true, Goal: "<= 1.3", Met: ratio <= 1.3})
	return nil
}

// members measures adding and removing a member of a group of everybody beside the same with a group of ten.
func (s *state) members(ctx context.Context, r *run) error {
	c, err := dial(r.server.addr)
	if err != nil {
		return err
	}
	defer c.Close()
	group := func(name string) (string, error) {
		body, err := c.must(send(r.server, "POST", "/scim/v2/Groups", fmt.Appendf(nil, `{"schemas":["urn:ietf:params:scim:schemas:core:2.0:Group"],"displayName":%q}`, name), 201))
		return idOf(body), err
	}
	if s.large, err = group("Everybody"); err != nil {
		return err
	}
	if s.little, err = group("Ten"); err != nil {
		return err
	}
	const atOnce = 1000
	for i := 0; i < len(s.ids); i += atOnce {
		r.part("members", 0.8*float64(i)/float64(len(s.ids)))
		if err := ctx.Err(); err != nil {
			return err
		}
		if _, err := c.must(send(r.server, "PATCH", "/scim/v2/Groups/"+s.large, membersBody(s.ids[i:min(i+atOnce, len(s.ids))]), 204)); err != nil {
			return err
		}
	}
	if _, err := c.must(send(r.server, "PATCH", "/scim/v2/Groups/"+s.little, membersBody(s.ids[:10]), 204)); err != nil {
		return err
	}
	changing := func(group string) func(int) request {
		return func(i int) request {
			return send(r.server, "PATCH", "/scim/v2/Groups/"+group, memberBody([]string{"Add", "Remove"}[i%2], fmt.Sprint("guest-", i/2)), 204)
		}
	}
	samples, err := inTurns(ctx, r.server, 1000, changing(s.little), changing(s.large))
	if err != nil {
		return err
	}
	little, large := samples[0].at(0.5), samples[1].at(0.5)
	ratio := large.Seconds() / little.Seconds()
	r.report.Serves.GroupSize = len(s.ids)
	r.add(Result{Name: fmt.Sprintf("one member of a group of %d", len(s.ids)), Conns: 1, P50: large, P99: samples[1].at(0.99), Memory: r.server.peak(),
		Limit: "a group of 10: " + Short(little), Ratio: ratio, Lower: true, Goal: "<= 1.2", Met: ratio <= 1.2})
	return nil
}

const pageSize = 100

// pages measures pages near the end beside the first ones, by index and by cursor.
func (s *state) pages(ctx context.Context, r *run) error {
	deep := max(1, len(s.ids)*99/100-60*pageSize)
	index := func(first int) func(int) request {
		return func(i int) request {
			return get(r.server, fmt.Sprintf("/scim/v2/Users?count=%d&startIndex=%d", pageSize, first+i*pageSize))
		}
	}
	samples, err := inTurns(ctx, r.server, 60, index(1), index(deep))
	if err != nil {
		return err
	}
	near, far := samples[0].at(0.5), samples[1].at(0.5)
	ratio := far.Seconds() / near.Seconds()
	r.add(Result{Name: "page of 100 at depth 99 %, startIndex", Conns: 1, P50: far, P99: samples[1].at(0.99), Limit: "the first pages: " + Short(near), Ratio: ratio, Lower: true, Goal: "<= 1.2", Met: ratio <= 1.2})

	c, err := dial(r.server.addr)
	if err != nil {
		return err
	}
	defer c.Close()
	cursor := ""
	first, last := new(sample), new(sample)
	pages := len(s.ids) / pageSize
	for i := range pages {
		if err := ctx.Err(); err != nil {
			return err
		}
		r.part("pages", float64(i)/float64(pages))
		begin := time.Now()
		body, err := c.must(get(r.server, fmt.Sprintf("/scim/v2/Users?count=%d&cursor=%s", pageSize, url.QueryEscape(cursor))))
		if err != nil {
			return err
		}
		switch took := time.Since(begin); {
		case i < min(60, pages/2):
			first.took = append(first.took, took)
		case i >= pages*99/100-min(60, pages/2):
			last.took = append(last.took, took)
		}
		var page struct{ NextCursor string }
		if err := json.Unmarshal(body, &page); err != nil {
			return err
		}
		if cursor = page.NextCursor; cursor == "" {
			break
		}
	}
	near, far = first.median(), last.median()
	ratio = far.Seconds() / near.Seconds()
	r.add(Result{Name: "page of 100 at depth 99 %, cursor", Conns: 1, P50: far, Limit: "the first pages: " + Short(near), Ratio: ratio, Lower: true, Goal: "<= 1.2", Met: ratio <= 1.2})
	return nil
}
