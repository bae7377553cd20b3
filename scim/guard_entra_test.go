package scim

import (
	"fmt"
	"maps"
	"net/http"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"scimbox/storage/storagetest"
)

// directory is a tenant of Microsoft Entra ID, and what its provisioning service sends of it (docs/entra.md): each change of a
// cycle as a request of its own.
type directory struct {
	t      *rapid.T
	h      *house
	users  []string            // ids of those who are in scope
	groups []string            // ids
	in     map[string][]string // groups by their members
	gone   map[string]int      // users that were disabled, by the day on which they are deleted for good
	made   int
	taken  int // how much was taken away in all
}

// send sends a request of a cycle, which take some time each. The guard must not refuse it.
func (d *directory) send(method, path, body string) *reply {
	d.t.Helper()
	d.h.clock.add(40 * time.Millisecond)
	a := d.h.ask(method, path, body)
	if a.status == http.StatusTooManyRequests {
		g, err := d.h.service.Guard(d.h.t.Context(), "default")
		d.t.Fatalf("%s %s %s is held, with %d users and %d groups: %+v, %v", method, path, body, len(d.users), len(d.groups), g, err)
	}
	if a.status >= 300 {
		d.t.Fatalf("%s %s %s: %d %s", method, path, body, a.status, a.body)
	}
	return a
}

func (d *directory) some(of []string, name string) string {
	return rapid.SampledFrom(of).Draw(d.t, name)
}

func (d *directory) patch(path, op string) { d.send("PATCH", path, patchBody(op)) }

// joins provisions somebody, who may be one whose account is off already, into a few groups.
func (d *directory) joins() {
	d.made++
	active := rapid.SampledFrom([]string{"true", "true", "true", "false"}).Draw(d.t, "active")
	id := d.send("POST", "/Users", fmt.Sprintf(`{"schemas":["%s"],"externalId":"0a1b2c3d-%012d","userName":"user%d@example.com","active":%s,"displayName":"User %d"}`, UserURN, d.made, d.made, active, d.made)).id()
	d.users = append(d.users, id)
	if len(d.groups) > 0 {
		for range rapid.IntRange(0, 3).Draw(d.t, "memberships") {
			d.enters(id, d.some(d.groups, "group"))
		}
	}
}

func (d *directory) enters(user, group string) {
	if !slices.Contains(d.in[user], group) {
		d.patch("/Groups/"+group, `{"op":"Add","path":"members","value":[{"value":"`+user+`"}]}`)
		d.in[user] = append(d.in[user], group)
	}
}

func (d *directory) quits(user, group string) {
	if i := slices.Index(d.in[user], group); i >= 0 {
		d.patch("/Groups/"+group, `{"op":"Remove","path":"members","value":[{"value":"`+user+`"}]}`)
		d.in[user] = slices.Delete(d.in[user], i, i+1)
		d.taken++
	}
}

// leaves disables somebody who is deleted in Entra, takes them out of their groups, and deletes them for good after 30 days.
func (d *directory) leaves(day int) {
	i := rapid.IntRange(0, len(d.users)-1).Draw(d.t, "leaver")
	id := d.users[i]
	d.patch("/Users/"+id, `{"op":"Replace","path":"active","value":"False"}`)
	d.taken++
	for _, g := range slices.Clone(d.in[id]) {
		d.quits(id, g)
	}
	d.users = slices.Delete(d.users, i, i+1)
	d.gone[id] = day + 30
}

// cycle is one turn of provisioning on a day: up to half a percent of the users leave, one percent changes groups, and there is
// always one of each who may.
func (d *directory) cycle(day int) {
	upTo := func(n int, name string) int { return rapid.IntRange(0, n).Draw(d.t, name) }
	for _, id := range slices.Sorted(maps.Keys(d.gone)) {
		if d.gone[id] <= day {
			d.send("DELETE", "/Users/"+id, "")
			d.taken++
			delete(d.gone, id)
		}
	}
	for range upTo(2, "joiners") {
		d.joins()
	}
	for range upTo(4, "changes") { // of titles, names, managers
		user := d.some(d.users, "user")
		d.patch("/Users/"+user, fmt.Sprintf(`{"op":"Replace","path":"title","value":"Title %d"}`, upTo(9, "title")))
		d.patch("/Users/"+user, `{"op":"Add","path":"urn:ietf:params:scim:schemas:extension:enterprise:2.0:User:department","value":"Sales"}`)
		d.patch("/Users/"+user, `{"op":"Remove","path":"title"}`)
	}
	for range upTo(1, "enabled") { // somebody's account is switched on
		d.patch("/Users/"+d.some(d.users, "user"), `{"op":"Replace","path":"active","value":"True"}`)
	}
	for range upTo(1, "renamed") {
		d.patch("/Groups/"+d.some(d.groups, "group"), fmt.Sprintf(`{"op":"Replace","path":"displayName","value":"Group %d of day %d"}`, d.made, day))
		d.made++
	}
	for range upTo(max(1, len(d.users)/100), "movers") {
		user := d.some(d.users, "user")
		for _, g := range slices.Clone(d.in[user]) {
			d.quits(user, g)
		}
		d.enters(user, d.some(d.groups, "group"))
	}
	if len(d.users) > guardLeast {
		for range upTo(max(1, len(d.users)/200), "leavers") {
			d.leaves(day)
		}
	}
}

// An ordinary life with Entra never makes the guard hold: the initial import, then five weeks of cycles in the morning, 40 minutes
// apart, with joiners, leavers who are disabled and after 30 days deleted for good, people who change groups, titles and names,
// groups that are renamed.
func TestGuardLetsEntraThrough(t *testing.T) {
	storagetest.Rounds(t, 15)
	taken := 0
	rapid.Check(t, func(rt *rapid.T) {
		h := guardedHouse(t, defaultGuard).preset("entra")
		defer h.close()
		d := &directory{t: rt, h: h, in: map[string][]string{}, gone: map[string]int{}}
		for i := range rapid.IntRange(1, 6).Draw(rt, "groups") { // empty, and filled one by one
			d.groups = append(d.groups, d.send("POST", "/Groups", fmt.Sprintf(`{"schemas":["%s"],"externalId":"g-%d","displayName":"Group %d"}`, GroupURN, i, i)).id())
		}
		for range rapid.IntRange(guardLeast, 60).Draw(rt, "users") {
			d.joins()
		}
		if d.h.guardIs(GuardArmed, 0); d.taken != 0 {
			rt.Fatal("an import takes nothing away")
		}
		for day := range 35 {
			for range 3 {
				d.cycle(day)
				h.clock.add(40 * time.Minute)
			}
			h.clock.add(22 * time.Hour)
		}
		taken += d.taken
		h.guardIs(GuardArmed, 0) // the last cycle is further back than the window
	})
	if taken == 0 {
		t.Error("nothing was taken away in any of these lives")
	}
	t.Logf("%d changes that take something away", taken)
}
