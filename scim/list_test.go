package scim

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
)

// pages walks a list to its end and returns the ids in the order in which they came.
func (h *house) pages(kind string, q ListQuery, between func()) (ids []string, pages int) {
	h.t.Helper()
	t := h.service.types.ByName(kind)
	for {
		l, err := h.service.List(h.t.Context(), h.caller.Tenant, t, q)
		if err != nil {
			h.t.Fatal(err)
		}
		for _, b := range l.Resources {
			var r struct{ ID string }
			if err := json.Unmarshal(b, &r); err != nil {
				h.t.Fatal(err)
			}
			ids = append(ids, r.ID)
		}
		pages++
		if q.Cursor = l.Next; l.Next == "" {
			return ids, pages
		}
		if between != nil {
			between()
		}
	}
}

// Whatever is searched for, the pages hold everybody whose names, addresses or identifiers begin with it, once, and nobody else.
func TestListSearches(t *testing.T) {
	h := openHouse(t, Options{})
	no := false
	found := map[string][]string{} // by what is searched for
	names := []string{"ada", "Adele", "adam", "bob", "Bo", "zoë", "ADa2"}
	for i, name := range names {
		members := fmt.Sprintf(`"displayName":"%s %d","externalId":"Ext-%d","active":%t,"emails":[{"value":"bo%d@example.com"},{"value":"box%d@example.com","type":"home"}]`, []string{"Bo", "Ada"}[i%2], i, i, i%3 != 0, i, i)
		id := h.user(name, members)
		found["bo"] = append(found["bo"], id) // the addresses of all begin with it
		for _, q := range []string{"ada", "AD", "ext-", "Ext-", "zoe\u0308", "bo 4", id} {
			text := strings.ToLower(name + "\x00" + []string{"Bo", "Ada"}[i%2] + fmt.Sprintf(" %d", i))
			for _, part := range strings.Split(text, "\x00") {
				if strings.HasPrefix(part, strings.ToLower(q)) || q == "Ext-" || q == id || q == "zoe\u0308" && name == "zoë" {
					found[q] = append(found[q], id)
					break
				}
			}
		}
	}
	h.tenant("acme").user("ada", "")
	h.group("ada")
	found["nobody"] = nil
	for search, want := range found {
		for count := range 4 {
			got, _ := h.pages("User", ListQuery{Search: search, Count: count}, nil)
			slices.Sort(got)
			slices.Sort(want)
			if !slices.Equal(got, want) {
				t.Errorf("%q, %d on a page: %q, want %q", search, count, got, want)
			}
		}
	}
	off, _ := h.pages("User", ListQuery{Active: &no}, nil)
	if len(off) != 3 {
		t.Errorf("%d are not active, want 3", len(off))
	}
	if l, err := h.service.List(t.Context(), "default", h.service.types.ByName("User"), ListQuery{Cursor: "!"}); err == nil {
		t.Errorf("a cursor that is none: %+v", l)
	}
}

// Without a search everybody is listed by name, those who come and go while somebody turns the pages move nobody else, and
// no page costs more than its own rows, however deep it is.
func TestListWalks(t *testing.T) {
	h := openHouse(t, Options{})
	want := h.crowd(300)
	var got []string
	q, pages := ListQuery{Count: 10}, 0
	for pages == 0 || q.Cursor != "" {
		read := h.probe.reads("rt", func() {
			l, err := h.service.List(t.Context(), "default", h.service.types.ByName("User"), q)
			if err != nil {
				t.Fatal(err)
			}
			for _, b := range l.Resources {
				var r struct{ ID string }
				if err := json.Unmarshal(b, &r); err != nil {
					t.Fatal(err)
				}
				got = append(got, r.ID)
			}
			q.Cursor = l.Next
		})
		if read > 40 {
			t.Errorf("page %d has read %d rows", pages, read)
		}
		if pages++; pages < 20 {
			h.user(fmt.Sprintf("aa-early-%03d", pages), "")
			h.user(fmt.Sprintf("zz-late-%03d", pages), "")
		}
	}
	kept := slices.DeleteFunc(slices.Clone(got), func(id string) bool { return !slices.Contains(want, id) })
	slices.Sort(kept)
	slices.Sort(want)
	if !slices.Equal(kept, want) || len(got) != 300+19 {
		t.Errorf("%d of %d, and %d in all", len(kept), len(want), len(got))
	}
}

// A page ends when enough was looked at, and says so.
func TestListGivesUp(t *testing.T) {
	h := openHouse(t, Options{})
	h.crowd(maxLooked + 5)
	no := false
	l, err := h.service.List(t.Context(), "default", h.service.types.ByName("User"), ListQuery{Active: &no})
	if err != nil || !l.Partial || l.Next == "" || len(l.Resources) != 0 {
		t.Fatalf("%+v, %v", l, err)
	}
	last, err := h.service.List(t.Context(), "default", h.service.types.ByName("User"), ListQuery{Active: &no, Cursor: l.Next})
	if err != nil || last.Partial || last.Next != "" {
		t.Errorf("then %+v, %v", last, err)
	}
}

// One resource with what is linked to it, and members by pages.
func TestShow(t *testing.T) {
	h := openHouse(t, Options{})
	ada, bob := h.user("ada", `"displayName":"Ada L","password":"sesame"`), h.user("bob", `"active":false`)
	inner := h.group("Inner", ada, bob, "nobody-knows")
	outer := h.group("Outer", inner)
	users, groups := h.service.types.ByName("User"), h.service.types.ByName("Group")
	shown, err := h.service.Show(t.Context(), "default", users, ada)
	if err != nil {
		t.Fatal(err)
	}
	if len(shown.Groups) != 2 || shown.Groups[0].ID != inner || !shown.Groups[0].Direct || shown.Groups[1].ID != outer || shown.Groups[1].Direct || shown.Groups[0].Name != "Inner" || shown.Groups[0].Type != groups {
		t.Errorf("groups %+v", shown.Groups)
	}
	if s := string(shown.Body); strings.Contains(s, "sesame") || strings.Contains(s, `"groups"`) || !strings.Contains(s, `"Ada L"`) || shown.Stamp.Version == 0 {
		t.Errorf("%s", s)
	}
	if _, err := h.service.Show(t.Context(), "acme", users, ada); err == nil {
		t.Error("another tenant sees her")
	}
	var all []Related
	after, pages := "", 0
	for {
		l, next, err := h.service.Members(t.Context(), "default", groups, inner, "members", after, 2)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, l...)
		pages++
		if after = next; next == "" {
			break
		}
	}
	if len(all) != 3 || pages != 2 {
		t.Fatalf("%+v on %d pages", all, pages)
	}
	for _, m := range all {
		switch m.ID {
		case ada:
			if m.Name != "ada" || m.Display != "Ada L" || m.Off || m.Type != users {
				t.Errorf("%+v", m)
			}
		case bob:
			if !m.Off {
				t.Errorf("%+v", m)
			}
		default:
			if m.ID != "nobody-knows" || m.Name != "" {
				t.Errorf("%+v", m)
			}
		}
	}
	if _, _, err := h.service.Members(t.Context(), "default", users, ada, "emails", "", 2); err == nil {
		t.Error("emails are no members")
	}
}
