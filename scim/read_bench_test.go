//go:build unix

package scim

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net/http"
	"strconv"
	"testing"
)

var readUsers = flag.Int("read.users", 40_000, "users of BenchmarkRead; 40,000 are more than fit into the engine's cache")

// BenchmarkRead is what a request costs below HTTP: Service.get and Service.search, on a store that was closed and opened
// again, so that everything is in tables.
func BenchmarkRead(b *testing.B) {
	h := newReadHouse(b, *readUsers)
	user := h.types.ByName("User")
	run := func(name string, fn func(b *testing.B, i int)) {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			defer spent(b)()
			for i := 0; b.Loop(); i++ {
				fn(b, i*7919%len(h.ids))
			}
		})
	}
	get := func(ids []string, t *ResourceType) func(*testing.B, int) {
		return func(b *testing.B, i int) {
			c := h.call(t)
			if _, err := h.get(context.Background(), &c, ids[i%len(ids)]); err != nil {
				b.Fatal(err)
			}
		}
	}
	for i := range 3 * len(h.ids) { // meanwhile the engine merges what the opening has found, and fills its cache
		get(h.ids, user)(b, i*7919%len(h.ids))
	}
	run("get", get(h.ids, user))
	run("get-one", get(h.ids[:1], user))
	run("get-member", get(h.members, user))
	find := func(found int, filter func(i int) query) func(*testing.B, int) {
		return func(b *testing.B, i int) {
			c := h.call(user)
			p, err := h.search(context.Background(), &c, []*ResourceType{user}, filter(i))
			if err != nil {
				b.Fatal(err)
			}
			if found >= 0 && p.n != found {
				b.Fatalf("found %d", p.n)
			}
		}
	}
	by := func(form string) func(int) query {
		return func(i int) query {
			return query{filtered: true, filter: fmt.Sprintf(form, strconv.Itoa(i)), start: 1, count: -1}
		}
	}
	run("userName-eq", find(1, by(`userName eq "user%s@example.com"`)))
	run("userName-none", find(0, by(`userName eq "nobody%s@example.com"`)))
	run("externalId-eq", find(1, by(`externalId eq "ext-%s"`)))
	run("emails-eq", find(1, by(`emails.value eq "home%s@example.org"`)))
	run("emails-path", find(1, by(`emails[type eq "work" and value eq "user%s@example.com"]`)))
	run("displayName-sw", find(-1, by(`displayName sw "Person Number %s"`)))
	empty := ""
	run("page", find(100, func(int) query { return query{start: 1, count: 100, cursor: &empty} }))
	scan := by(`title co "%s"`)
	run("scan", func(b *testing.B, i int) {
		c := h.call(user)
		_, err := h.search(context.Background(), &c, []*ResourceType{user}, scan(i))
		var e *Error
		if err != nil && (!errors.As(err, &e) || e.Type != TooMany) {
			b.Fatal(err)
		}
	})
}

type readHouse struct {
	*Service
	ids, members []string
}

func (h *readHouse) call(t *ResourceType) call {
	c := call{caller: Caller{Tenant: "default"}, t: t, base: "https://scim.example.com" + BasePath}
	c.q = quirksFor(c.caller, h.o)
	c.shown, _ = newProjection(t, nil, nil, c.q)
	return c
}

func newReadHouse(b *testing.B, users int) *readHouse {
	dir := b.TempDir()
	first := newBenchHouseIn(b, dir, users)
	h := &readHouse{ids: first.ids, members: first.ids[:users/10]}
	for i := 0; i < len(h.members); i += 100 { // groups of 100, whose members are some of the users
		members := ""
		for j, id := range h.members[i:min(i+100, len(h.members))] {
			if j > 0 {
				members += ","
			}
			members += `{"value":"` + id + `"}`
		}
		first.ask(b, "POST", "/Groups", fmt.Sprintf(`{"schemas":["`+GroupURN+`"],"displayName":"Group %d","members":[%s]}`, i, members), http.StatusCreated)
	}
	if err := first.store.Close(); err != nil {
		b.Fatal(err)
	}
	_, h.Service = benchService(b, dir)
	return h
}
