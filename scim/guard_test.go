package scim

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"scimbox/storage"
)

func guardedHouse(t testing.TB, g GuardOptions) *house {
	t.Helper()
	if g.Window == 0 {
		g.Window = time.Hour
	}
	return openHouse(t, Options{Guard: g})
}

func (h *house) users(n int) []string {
	h.t.Helper()
	var ids []string
	for i := range n {
		ids = append(ids, h.user(fmt.Sprintf("u%d", i), `"active":true`))
	}
	return ids
}

func (h *house) guardIs(state string, count int) GuardState {
	h.t.Helper()
	g, err := h.service.Guard(h.t.Context(), h.caller.Tenant)
	if err != nil {
		h.t.Fatal(err)
	}
	if g.State != state || g.Count != count {
		h.t.Fatalf("the guard is %s and has counted %d; expected is %s and %d", g.State, g.Count, state, count)
	}
	return g
}

func (h *house) decide(d GuardDecision) {
	h.t.Helper()
	if _, err := h.service.Decide(h.t.Context(), h.caller.Tenant, storage.Origin{Actor: "local"}, d); err != nil {
		h.t.Fatal(err)
	}
}

const disable = `{"op":"replace","path":"active","value":false}`

func (a *reply) held() {
	a.t.Helper()
	a.want(http.StatusTooManyRequests)
	if got := a.header.Get("Retry-After"); got != "900" {
		a.t.Errorf("%s: Retry-After is %q", a.asked, got)
	}
	if !strings.Contains(a.text("detail"), "scimbox guard approve") {
		a.t.Errorf("%s: %s", a.asked, a.text("detail"))
	}
}

// Each way to take something away counts what it takes away, and what takes nothing away counts nothing.
func TestGuardCounts(t *testing.T) {
	h := guardedHouse(t, GuardOptions{MaxChanges: 1000})
	u := h.users(12)
	g := h.group("all", u...)
	count := 0
	step := func(n int, a *reply) {
		t.Helper()
		if a.status >= 300 {
			t.Fatalf("%s: %d %s", a.asked, a.status, a.body)
		}
		count += n
		h.guardIs(GuardArmed, count)
	}
	patch := func(path string, ops ...string) *reply { return h.ask("PATCH", path, patchBody(ops...)) }
	step(0, h.ask("GET", "/Users/"+u[0], ""))
	step(0, patch("/Users/"+u[0], `{"op":"replace","path":"title","value":"x"}`))
	step(1, patch("/Users/"+u[0], disable))
	step(0, patch("/Users/"+u[0], disable))
	step(0, patch("/Users/"+u[0], `{"op":"replace","path":"active","value":true}`))
	step(1, patch("/Users/"+u[0], `{"op":"remove","path":"active"}`))
	step(1, patch("/Users/"+u[0], disable)) // who has not been said to be active may have been let in
	step(0, patch("/Users/"+u[0], `{"op":"remove","path":"active"}`))
	step(1, h.ask("PUT", "/Users/"+u[1], `{"schemas":["`+UserURN+`"],"userName":"u1","active":false}`))
	step(1, patch("/Users/"+u[2], `{"op":"replace","value":{"active":"False"}}`))
	step(0, patch("/Groups/"+g, `{"op":"add","path":"members","value":[{"value":"`+u[0]+`"}]}`))
	step(1, patch("/Groups/"+g, `{"op":"remove","path":"members[value eq \"`+u[0]+`\"]"}`))
	step(2, patch("/Groups/"+g, `{"op":"replace","path":"members","value":`+refs(u[1:10]...)+`}`))
	step(4, h.ask("PUT", "/Groups/"+g, `{"schemas":["`+GroupURN+`"],"displayName":"all","members":`+refs(u[1:6]...)+`}`))
	step(1, h.ask("POST", "/Bulk", `{"schemas":["`+bulkURN+`"],"Operations":[{"method":"DELETE","path":"/Users/`+u[1]+`"}]}`))
	step(1, h.ask("DELETE", "/Users/"+u[11], ""))
	step(5, h.ask("DELETE", "/Groups/"+g, "")) // u[2] to u[5], and itself
	// What fails takes nothing away.
	h.ask("DELETE", "/Users/"+u[11], "").want(404)
	h.ask("DELETE", "/Users/"+u[10], "", `If-Match: W/"1"`).want(412)
	h.guardIs(GuardArmed, count)
	// Nobody else's changes are counted.
	if g, err := h.service.Guard(t.Context(), "other"); err != nil || g.Count != 0 {
		t.Errorf("another tenant: %+v, %v", g, err)
	}
}

func TestGuardHolds(t *testing.T) {
	h := guardedHouse(t, GuardOptions{MaxChanges: 3})
	u := h.users(12)
	g := h.group("all", u...)
	for _, id := range u[:3] {
		h.ask("PATCH", "/Users/"+id, patchBody(disable)).want(200)
	}
	h.guardIs(GuardArmed, 3)
	h.ask("PATCH", "/Users/"+u[3], patchBody(disable, `{"op":"replace","path":"title","value":"half"}`)).held()
	if a := h.ask("GET", "/Users/"+u[3], ""); a.at("active") != true || a.at("title") != nil {
		t.Errorf("half of a held change was made: %s", a.body)
	}
	st := h.guardIs(GuardHolding, 3)
	if st.Actor != "tok" || st.Held != "patch of the User "+u[3] || st.Since.IsZero() {
		t.Errorf("%+v", st)
	}
	before := h.dump()
	h.ask("DELETE", "/Users/"+u[4], "").held()
	h.ask("DELETE", "/Groups/"+g, "").held()
	h.ask("PUT", "/Users/"+u[5], `{"schemas":["`+UserURN+`"],"userName":"u5","active":false}`).held()
	h.ask("PATCH", "/Groups/"+g, patchBody(`{"op":"remove","path":"members"}`)).held()
	if h.dump() != before {
		t.Error("something was written for a change that was held")
	}
	bulk := h.ask("POST", "/Bulk", `{"schemas":["`+bulkURN+`"],"Operations":[{"method":"DELETE","path":"/Users/`+u[6]+`"},{"method":"POST","bulkId":"b","path":"/Users","data":{"schemas":["`+UserURN+`"],"userName":"new"}}]}`).want(200)
	if bulk.text("Operations", 0, "status") != "429" || bulk.text("Operations", 1, "status") != "201" || bulk.header.Get("Retry-After") != "900" {
		t.Errorf("bulk: Retry-After %q, %s", bulk.header.Get("Retry-After"), bulk.body)
	}
	// Everything else goes on.
	h.ask("GET", "/Users", "").want(200)
	h.user("another", `"active":false`)
	h.ask("PATCH", "/Users/"+u[7], patchBody(`{"op":"replace","path":"title","value":"x"}`)).want(200)
	h.ask("PATCH", "/Groups/"+g, patchBody(`{"op":"add","path":"members","value":[{"value":"`+u[0]+`"}]}`)).want(204)
	other := h.tenant("other")
	other.ask("DELETE", "/Users/"+other.user("x", `"active":true`), "").want(204)
	// Time alone decides nothing.
	h.clock.add(48 * time.Hour)
	h.ask("DELETE", "/Users/"+u[4], "").held()
	ops := map[string]int{}
	entries, err := h.store.Journal(t.Context(), 0, 1000)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		ops[e.Op]++
	}
	if ops["hold"] != 1 {
		t.Errorf("the journal says %d times that the guard holds", ops["hold"])
	}
}

func TestGuardIsDecided(t *testing.T) {
	trip := func(t *testing.T) (*house, []string) {
		h := guardedHouse(t, GuardOptions{MaxChanges: 2})
		u := h.users(12)
		for i, id := range u[:3] {
			if a := h.ask("DELETE", "/Users/"+id, ""); (a.status == 429) != (i == 2) {
				t.Fatalf("deletion %d: %d", i, a.status)
			}
		}
		return h, u
	}
	t.Run("approved for a time", func(t *testing.T) {
		h, u := trip(t)
		h.decide(GuardDecision{State: GuardApproved, For: time.Hour})
		for _, id := range u[2:8] {
			h.ask("DELETE", "/Users/"+id, "").want(204)
		}
		h.guardIs(GuardApproved, 0)
		h.clock.add(time.Hour)
		h.guardIs(GuardArmed, 0)
		h.ask("DELETE", "/Users/"+u[8], "").want(204)
		h.ask("DELETE", "/Users/"+u[9], "").want(204)
		h.ask("DELETE", "/Users/"+u[10], "").held()
	})
	t.Run("approved for a number", func(t *testing.T) {
		h, u := trip(t)
		g := h.group("g", u[5:9]...)
		h.decide(GuardDecision{State: GuardApproved, For: time.Hour, Changes: 3})
		h.ask("DELETE", "/Users/"+u[2], "").want(204)
		h.ask("DELETE", "/Groups/"+g, "").held() // five are more than the two that are left
		h.guardIs(GuardHolding, 0)
		h.decide(GuardDecision{State: GuardApproved, For: time.Hour, Changes: 5})
		h.ask("DELETE", "/Groups/"+g, "").want(204)
		h.guardIs(GuardArmed, 0)
	})
	t.Run("rejected", func(t *testing.T) {
		h, u := trip(t)
		held := h.guardIs(GuardHolding, 2)
		h.decide(GuardDecision{State: GuardRejected})
		if g := h.guardIs(GuardRejected, 2); g.Since != held.Since || g.Held != held.Held || g.Actor != held.Actor {
			t.Errorf("what is refused is not what was held: %+v, %+v", g, held)
		}
		h.clock.add(100 * time.Hour)
		a := h.ask("DELETE", "/Users/"+u[2], "")
		a.held()
		if !strings.Contains(a.text("detail"), "an operator has refused") {
			t.Error(a.text("detail"))
		}
		h.decide(GuardDecision{State: GuardArmed})
		h.ask("DELETE", "/Users/"+u[2], "").want(204)
		// Before anything was held, because somebody knows what comes.
		h.decide(GuardDecision{State: GuardRejected})
		if g := h.guardIs(GuardRejected, 1); h.clock.Now().Sub(g.Since) > time.Minute || g.Held != "" {
			t.Errorf("since when it refuses: %+v", g)
		}
		h.ask("DELETE", "/Users/"+u[3], "").held()
	})
	t.Run("after a restart", func(t *testing.T) {
		h, u := trip(t)
		h.close()
		again := openHouseOn(t, h.probe, h.service.types, Options{Guard: GuardOptions{MaxChanges: 2, Window: time.Hour}})
		again.ask("DELETE", "/Users/"+u[2], "").held()
	})
	t.Run("counts over a restart", func(t *testing.T) {
		h := guardedHouse(t, GuardOptions{MaxChanges: 2})
		u := h.users(3)
		h.ask("DELETE", "/Users/"+u[0], "").want(204)
		h.ask("DELETE", "/Users/"+u[1], "").want(204)
		h.close()
		again := openHouseOn(t, h.probe, h.service.types, Options{Guard: GuardOptions{MaxChanges: 2, Window: time.Hour}})
		again.ask("DELETE", "/Users/"+u[2], "").held()
	})
}

func TestGuardWindowSlides(t *testing.T) {
	h := guardedHouse(t, GuardOptions{MaxChanges: 4})
	u := h.users(12)
	for _, id := range u[:8] { // one every 20 minutes: never more than four in an hour
		h.ask("DELETE", "/Users/"+id, "").want(204)
		h.clock.add(20 * time.Minute)
	}
	h.guardIs(GuardArmed, 2)
}

func TestGuardIsOffByDefault(t *testing.T) {
	h := openHouse(t, Options{})
	for _, id := range h.users(30) {
		h.ask("DELETE", "/Users/"+id, "").want(204)
	}
	if n, err := count(h, guardKind); n != 0 || err != nil {
		t.Errorf("the guard has written %d records although it is off: %v", n, err)
	}
}

func count(h *house, kind string) (n int64, err error) {
	err = h.store.View(h.t.Context(), h.caller.Tenant, func(tx *storage.Tx) error {
		n, err = tx.Count(kind)
		return err
	})
	return n, err
}

// The percentage is of the users of the tenant: neither of its other resources, nor of those whose account is on, nor of all tenants.
func TestGuardPercentOfUsers(t *testing.T) {
	h := guardedHouse(t, GuardOptions{MaxPercent: 30})
	u := h.users(100)
	for i := range 50 {
		h.group(fmt.Sprintf("g%d", i))
		h.tenant("other").user(fmt.Sprintf("o%d", i), `"active":true`)
		h.user(fmt.Sprintf("off%d", i), `"active":false`)
	}
	for i, id := range u {
		a := h.ask("PATCH", "/Users/"+id, patchBody(disable))
		if i < 45 {
			a.want(200)
		} else {
			a.held()
		}
	}
	if st := h.guardIs(GuardHolding, 45); st.Most != 45 {
		t.Errorf("%d may be, and 30%% of 150 users are 45", st.Most)
	}
}

// Changes that come at once are counted one after another, so that no more of them are made than are allowed.
func TestGuardCountsTogether(t *testing.T) {
	const most = 7
	h := guardedHouse(t, GuardOptions{MaxChanges: most})
	u := h.users(60)
	answers := map[int]int{}
	for _, status := range together(len(u), func(i int) int { return h.ask("DELETE", "/Users/"+u[i], "").status }) {
		answers[status]++
	}
	if answers[http.StatusNoContent] != most || answers[http.StatusTooManyRequests] != len(u)-most {
		t.Errorf("answers: %v, and %d are allowed", answers, most)
	}
	h.guardIs(GuardHolding, most)
}

// What is counted is written with the change that it counts: neither is there without the other, whatever becomes of the commit.
func TestGuardCountsWithTheChange(t *testing.T) {
	h := guardedHouse(t, GuardOptions{MaxChanges: 2})
	u := h.users(4)
	commits := 0
	h.probe.failing(func() fault { commits++; return refused })
	h.unchanged(func() {
		if a := h.ask("DELETE", "/Users/"+u[0], ""); a.status < 500 {
			t.Errorf("a deletion that was not kept: %d", a.status)
		}
	})
	h.probe.failing(func() fault { commits++; return kept })
	h.guardIs(GuardArmed, 0)
	commits = 0
	h.ask("DELETE", "/Users/"+u[0], "").want(204)
	if commits != 1 {
		t.Errorf("a deletion and its count take %d commits", commits)
	}
	h.ask("DELETE", "/Users/"+u[1], "").want(204)
	// That it holds is not kept; what has been counted holds the next one all the same, and then it is.
	h.probe.failing(func() fault { return refused })
	h.unchanged(func() { h.ask("DELETE", "/Users/"+u[2], "").held() })
	h.probe.failing(nil)
	h.guardIs(GuardArmed, 2)
	h.ask("DELETE", "/Users/"+u[3], "").held()
	h.guardIs(GuardHolding, 2)
}

// A clock that was set back makes no room: what was counted in the future counts.
func TestGuardClockSetBack(t *testing.T) {
	h := guardedHouse(t, GuardOptions{MaxChanges: 2})
	u := h.users(3)
	h.ask("DELETE", "/Users/"+u[0], "").want(204)
	h.ask("DELETE", "/Users/"+u[1], "").want(204)
	h.clock.add(-24 * time.Hour)
	h.guardIs(GuardArmed, 2)
	h.ask("DELETE", "/Users/"+u[2], "").held()
}

// defaultGuard is what [guard] enabled = true means: TestGuardDefaults of package server compares it with the configuration.
var defaultGuard = GuardOptions{MaxChanges: 500, MaxPercent: 25, Window: time.Hour}

// A source that loses everybody takes the access of no more people than the guard allows, in whichever way and order it goes.
func TestGuardStopsEveryWipe(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		// 21 users are the fewest of whom not all can be gone: 20 changes are always allowed.
		h := guardedHouse(t, defaultGuard)
		u := h.users(rapid.IntRange(guardLeast+1, 60).Draw(rt, "users"))
		g := h.group("g", u[:rapid.IntRange(0, len(u)).Draw(rt, "members")]...)
		most := defaultGuard.most(int64(len(u)))
		way := rapid.SampledFrom([]string{"disable", "put", "delete", "bulk", "mixed"}).Draw(rt, "way")
		if rapid.Bool().Draw(rt, "group first") {
			h.ask("DELETE", "/Groups/"+g, "")
		}
		for _, id := range rapid.Permutation(u).Draw(rt, "order") {
			how := way
			if how == "mixed" {
				how = rapid.SampledFrom([]string{"disable", "put", "delete", "bulk"}).Draw(rt, "how")
			}
			switch how {
			case "disable":
				h.ask("PATCH", "/Users/"+id, patchBody(disable))
			case "put":
				h.ask("PUT", "/Users/"+id, `{"schemas":["`+UserURN+`"],"userName":"`+id+`","active":false}`)
			case "delete":
				h.ask("DELETE", "/Users/"+id, "")
			case "bulk":
				h.ask("POST", "/Bulk", `{"schemas":["`+bulkURN+`"],"Operations":[{"method":"DELETE","path":"/Users/`+id+`"}]}`)
			}
			h.clock.add(time.Duration(rapid.IntRange(0, 20).Draw(rt, "seconds")) * time.Second)
		}
		left := h.ask("GET", `/Users?filter=active eq true&count=0`, "").total()
		if gone := len(u) - left; gone > most {
			rt.Fatalf("%d of %d users are gone, and %d are allowed", gone, len(u), most)
		}
		if st, err := h.service.Guard(t.Context(), "default"); err != nil || st.State != GuardHolding {
			rt.Fatalf("the guard is %s after a wipe: %v", st.State, err)
		}
	})
}

// A day of ordinary cycles, 40 minutes apart: in each up to half a percent of the users leave, each of whom is in three groups,
// one percent changes groups, and there is always one of each who may.
func TestGuardLetsOrdinaryCyclesThrough(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		users := rapid.IntRange(10, 4000).Draw(t, "users")
		var g guardRow
		now := time.Date(2026, 5, 4, 8, 0, 0, 0, time.UTC)
		for range 36 {
			leavers := rapid.IntRange(0, max(1, users/200)).Draw(t, "leavers")
			movers := rapid.IntRange(0, max(1, users/100)).Draw(t, "movers")
			var changes []int
			for range leavers {
				changes = append(changes, 1, 1, 1, 1)
			}
			for range movers {
				changes = append(changes, 1, 1, 1)
			}
			for i, n := range changes {
				at := now.Add(time.Duration(i) * 40 * time.Millisecond)
				if word, ok := g.judge(at, defaultGuard, defaultGuard.most(int64(users)), n); !ok {
					t.Fatalf("with %d users, %d leavers and %d movers the guard is %s", users, leavers, movers, word)
				}
			}
			users += leavers // as many come
			users -= leavers
			now = now.Add(40 * time.Minute)
		}
	})
}

// However changes are spread, no more are counted in any window than are allowed, give or take the slot at its beginning.
func TestGuardWindowProperty(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		o := GuardOptions{MaxChanges: rapid.IntRange(1, 50).Draw(t, "most"), Window: time.Hour}
		type made struct {
			at time.Time
			n  int
		}
		var g guardRow
		var all []made
		now := time.Date(2026, 5, 4, 8, 0, 0, 0, time.UTC)
		for range rapid.IntRange(1, 200).Draw(t, "changes") {
			now = now.Add(time.Duration(rapid.Int64Range(0, int64(10*time.Minute)).Draw(t, "pause")))
			n := rapid.IntRange(1, 5).Draw(t, "n")
			if _, ok := g.judge(now, o, o.most(100), n); ok {
				all = append(all, made{now, n})
			}
		}
		for i := range all {
			sum := 0
			for _, m := range all[i:] {
				if m.at.Sub(all[i].at) < o.Window-o.Window/guardSlots {
					sum += m.n
				}
			}
			if sum > o.MaxChanges {
				t.Fatalf("%d changes within %v, and %d are allowed", sum, o.Window, o.MaxChanges)
			}
		}
		if len(g.Slots) > guardSlots+1 {
			t.Fatalf("%d slots are kept", len(g.Slots))
		}
	})
}

func TestGuardMost(t *testing.T) {
	for _, c := range []struct {
		o     GuardOptions
		users int64
		want  int
	}{
		{GuardOptions{MaxChanges: 50}, 1_000_000, 50},
		{GuardOptions{MaxChanges: 5}, 3, 5},
		{GuardOptions{MaxPercent: 10}, 1000, 100},
		{GuardOptions{MaxPercent: 10}, 10, guardLeast},
		{defaultGuard, 100, 25},
		{defaultGuard, 1_000_000, 500},
	} {
		if got := c.o.most(c.users); got != c.want {
			t.Errorf("%+v of %d users: %d, expected is %d", c.o, c.users, got, c.want)
		}
	}
	if (GuardOptions{Window: time.Hour}).on() || !defaultGuard.on() {
		t.Error("on")
	}
}

// A guard whose record is damaged refuses rather than lets through, and can be armed anew.
func TestGuardThatCannotBeRead(t *testing.T) {
	h := guardedHouse(t, defaultGuard)
	u := h.users(1)
	err := h.store.Update(t.Context(), "default", storage.Origin{}, func(tx *storage.Tx) error {
		return tx.Put(storage.Record{Ref: storage.Ref{Tenant: "default", Kind: guardKind, ID: guardID}, Stamp: tx.Stamp(storage.Stamp{}), Body: []byte("{")})
	})
	if err != nil {
		t.Fatal(err)
	}
	h.ask("DELETE", "/Users/"+u[0], "").want(500)
	// It is told of as one that needs somebody, rather than hiding those of the other tenants.
	if g := h.guardIs(GuardUnreadable, 0); !strings.Contains(g.Problem, "cannot be read") {
		t.Errorf("%+v", g)
	}
	h.decide(GuardDecision{State: GuardArmed})
	h.ask("DELETE", "/Users/"+u[0], "").want(204)
}
