package scim

import (
	"cmp"
	"encoding/json"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"

	"scimbox/storage"
)

// together runs n calls of do at the same time and returns what they return.
func together[T any](n int, do func(i int) T) []T {
	all := make([]T, n)
	var wg sync.WaitGroup
	start := make(chan struct{})
	for i := range n {
		wg.Go(func() {
			<-start
			all[i] = do(i)
		})
	}
	close(start)
	wg.Wait()
	return all
}

func TestUserNameIsUnique(t *testing.T) {
	long := strings.Repeat("Ä", 300)
	for _, c := range []struct {
		a, b string
		same bool
	}{
		{"ada", "ada", true},
		{"ada", "ADA", true},
		{"straße", "STRASSE", true},
		{"ａｄａ", "Ada", true}, // full width
		{"Zoé", "ZOE\u0301", true},
		{"Σίσυφος", "ΣΊΣΥΦΟΣ", true},
		{"ｶﾞ", "ガ", true}, // half width
		{long + "x", strings.ToLower(long) + "X", true},
		{long + "x", long + "y", false},
		{"ada", "ada ", false},
		{"ﬁ", "fi", true},
		{"zoe", "zoé", false},
		{"ı", "i", false},
		{"a\u0000b", "a\u0000B", true},
		{"a\u0000b", "a", false},
		{"a\u0000\u0001", "a\u0000", false},
	} {
		t.Run(clip(c.a)+" and "+clip(c.b), func(t *testing.T) {
			h := openHouse(t, Options{})
			first := h.user(c.a, "")
			body := `{"schemas":["` + UserURN + `"],"userName":` + quoted(c.b) + `}`
			if !c.same {
				second := h.ask("POST", "/Users", body).want(201).id()
				h.ask("PUT", "/Users/"+second, `{"schemas":["`+UserURN+`"],"userName":`+quoted(c.a)+`}`).refused(409, NotUnique)
				return
			}
			h.unchanged(func() { h.ask("POST", "/Users", body).refused(409, NotUnique) })
			// One's own name in another spelling is no conflict, and what is shown is what was sent.
			if got := h.ask("PUT", "/Users/"+first, body).want(200).text("userName"); got != c.b {
				t.Errorf("shown is %q", got)
			}
			// A name is free when its owner has another one, or is gone.
			h.patch("/Users/"+first, `{"op":"replace","path":"userName","value":"other"}`).want(200)
			second := h.ask("POST", "/Users", body).want(201).id()
			h.ask("DELETE", "/Users/"+second, "").want(204)
			h.ask("POST", "/Users", body).want(201)
		})
	}
}

// Fifty clients create the same user at once: one of them has made it.
func TestConcurrentCreates(t *testing.T) {
	h := openHouse(t, Options{})
	h.user("somebody else", "")
	const n = 50
	names := []string{"mira@corp.example", "MIRA@corp.example", "Mira@Corp.Example", "ｍｉｒａ@corp.example"}
	seq := h.store.LastSeq()
	replies := together(n, func(i int) *reply {
		return h.ask("POST", "/Users", fmt.Sprintf(`{"schemas":[%q],"userName":%s}`, UserURN, quoted(names[i%len(names)])))
	})
	made := map[int]int{}
	id := ""
	for _, r := range replies {
		made[r.status]++
		if r.status == 201 {
			id = r.id()
		} else if r.text("scimType") != NotUnique {
			t.Errorf("%d %s", r.status, r.body)
		}
	}
	if made[201] != 1 || made[409] != n-1 {
		t.Errorf("answers: %v", made)
	}
	if l := h.find("/Users?", `userName eq "mira@CORP.example"`).ids(); !slices.Equal(l, []string{id}) {
		t.Errorf("found %q, made %s", l, id)
	}
	if got := h.store.LastSeq(); got != seq+1 {
		t.Errorf("%d journal rows for one change", got-seq)
	}
	st, err := h.store.Stats(t.Context())
	if err != nil || st.Counts["default"]["User"] != 2 {
		t.Errorf("counted %v, %v", st.Counts, err)
	}
}

// Groups of one name, and other races for something unique, at the same time.
func TestConcurrentRenames(t *testing.T) {
	h := openHouse(t, Options{})
	const n = 20
	var users, groups []string
	for i := range n {
		users = append(users, h.user(fmt.Sprint("u", i), ""))
		groups = append(groups, h.group(fmt.Sprint("g", i)))
	}
	won := func(l []*reply, ok int) (n int) {
		for _, r := range l {
			switch {
			case r.status == ok:
				n++
			case r.status != 409 || r.text("scimType") != NotUnique:
				t.Errorf("%s: %d %s", r.asked, r.status, r.body)
			}
		}
		return n
	}
	if w := won(together(n, func(i int) *reply {
		return h.patch("/Users/"+users[i], `{"op":"replace","path":"userName","value":"The One"}`)
	}), 200); w != 1 {
		t.Errorf("%d users have one name", w)
	}
	if w := won(together(n, func(i int) *reply {
		return h.patch("/Groups/"+groups[i], `{"op":"replace","value":{"displayName":"The One"}}`)
	}), 204); w != 1 {
		t.Errorf("%d groups have one name", w)
	}
	if r := h.ask("GET", "/Users?count=0", "").want(200); r.total() != n {
		t.Errorf("%d users", r.total())
	}
}

func TestGroupNames(t *testing.T) {
	group := func(name string) string {
		return `{"schemas":["` + GroupURN + `"],"displayName":` + quoted(name) + `}`
	}
	t.Run("unique", func(t *testing.T) {
		h := openHouse(t, Options{})
		a := h.group("Ops")
		long := h.group(longText + "1")
		h.group(longText + "2") // shares its term
		h.unchanged(func() {
			h.ask("POST", "/Groups", group("ＯＰＳ")).refused(409, NotUnique)
			h.ask("POST", "/Groups", group(strings.ToUpper(longText)+"2")).refused(409, NotUnique)
			h.ask("PUT", "/Groups/"+long, group("ops")).refused(409, NotUnique)
		})
		h.ask("PUT", "/Groups/"+a, group("OPS")).want(200)
		h.tenant("other").group("Ops")
		// Who keeps to the RFC may have two of a name. Whoever may not can still change everything but the name to a taken one.
		b := h.preset("standard").ask("POST", "/Groups", group("ops")).want(201).id()
		h.patch("/Groups/"+b, `{"op":"add","path":"members","value":[{"value":"x"}]}`).want(204)
		h.patch("/Groups/"+b, `{"op":"replace","path":"displayName","value":"oPs"}`).want(204)
		c := h.group("Other")
		h.patch("/Groups/"+c, `{"op":"replace","path":"displayName","value":"OPS"}`).refused(409, NotUnique)
		h.patch("/Groups/"+b, `{"op":"replace","path":"displayName","value":"ops 2"}`).want(204)
		h.patch("/Groups/"+a, `{"op":"add","path":"members","value":[{"value":"x"}]}`).want(204)
	})
	for name, o := range map[string]Options{"free": {GroupNames: "free"}, "strict": {Strict: true}} {
		t.Run(name, func(t *testing.T) {
			h := openHouse(t, o)
			h.ask("POST", "/Groups", group("Ops")).want(201)
			h.ask("POST", "/Groups", group("Ops")).want(201)
		})
	}
}

// Nothing of one tenant can be read, found, changed, counted or run into by another.
func TestTenants(t *testing.T) {
	h := openHouse(t, Options{})
	a, b := h.tenant("a"), h.tenant("b")
	ua := a.user("ada", `"externalId":"x","emails":[{"value":"ada@x"}]`)
	ga := a.group("Ops", ua)
	ub := b.user("ADA", `"externalId":"x"`)
	before := h.dump()
	for _, path := range []string{"/Users/" + ua, "/Groups/" + ga, "/Users/" + ga} {
		b.ask("GET", path, "").refused(404, "")
		b.ask("DELETE", path, "").refused(404, "")
		b.patch(path, `{"op":"replace","path":"displayName","value":"x"}`).refused(404, "")
		b.ask("PUT", path, `{"schemas":[],"userName":"x","displayName":"x"}`).refused(404, "")
	}
	for _, q := range []string{`id eq "` + ua + `"`, `emails.value eq "ada@x"`, `groups.value eq "` + ga + `"`} {
		if n := b.find("/Users?", q).total(); n != 0 {
			t.Errorf("%s finds %d", q, n)
		}
	}
	if n := b.find("/Groups?", `members.value eq "`+ua+`" or displayName pr`).total(); n != 0 {
		t.Errorf("finds %d groups", n)
	}
	if l := b.ask("GET", "/Users", "").ids(); !slices.Equal(l, []string{ub}) {
		t.Errorf("lists %q", l)
	}
	if l := b.find("/Users?", `userName eq "ada" and externalId eq "x"`).ids(); !slices.Equal(l, []string{ub}) {
		t.Errorf("finds %q", l)
	}
	if after := h.dump(); after != before {
		t.Errorf("changed:\n%s", differing(before, after))
	}
	// The id of somebody in another tenant is one that nobody has.
	gb := b.group("Ops", ua)
	if n := a.find("/Groups?", `members.value eq "`+ua+`"`).ids(); !slices.Equal(n, []string{ga}) {
		t.Errorf("ada is a member of %q", n)
	}
	if got := a.ask("GET", "/Users/"+ua, "").at("groups"); len(got.([]any)) != 1 {
		t.Errorf("ada's groups: %v", got)
	}
	a.ask("DELETE", "/Users/"+ua, "").want(204)
	if got := b.ask("GET", "/Groups/"+gb, "").text("members", 0, "value"); got != ua {
		t.Errorf("the member of b's group is %q", got)
	}
}

// members returns the ids of a group's members.
func (h *house) members(group string) (ids []string) {
	h.t.Helper()
	l, _ := h.ask("GET", "/Groups/"+group, "").want(200).at("members").([]any)
	for _, m := range l {
		ids = append(ids, dig(m, "value").(string))
	}
	return ids
}

// groups returns a resource's groups as "name type", sorted.
func (h *house) groups(user string) string {
	h.t.Helper()
	var list []string
	l, _ := h.ask("GET", "/Users/"+user, "").want(200).at("groups").([]any)
	for _, g := range l {
		list = append(list, fmt.Sprint(dig(g, "display"), " ", dig(g, "type")))
	}
	slices.Sort(list)
	return strings.Join(list, ", ")
}

func TestDeleteRemovesMemberships(t *testing.T) {
	h := openHouse(t, Options{})
	ada, ben := h.user("ada", ""), h.user("ben", "")
	ops, dev, rest := h.group("Ops", ada, ben), h.group("Dev", ada), h.group("Rest", ben)
	all := h.group("All", ops, dev)
	was := map[string]string{}
	for _, g := range []string{ops, dev, rest, all} {
		was[g] = h.ask("GET", "/Groups/"+g, "").etag()
	}
	seq := h.store.LastSeq()
	h.ask("DELETE", "/Users/"+ada, "").want(204)
	if n := h.store.LastSeq(); n != seq+1 {
		t.Errorf("%d journal rows for one change", n-seq)
	}
	for g, want := range map[string]bool{ops: true, dev: true, rest: false, all: false} {
		r := h.ask("GET", "/Groups/"+g, "").want(200)
		if moved := r.etag() != was[g]; moved != want {
			t.Errorf("%s: version moved = %t", r.text("displayName"), moved)
		}
		if r.text("meta", "version") != r.etag() {
			t.Errorf("meta.version %s, ETag %s", r.text("meta", "version"), r.etag())
		}
	}
	if l := h.members(ops); !slices.Equal(l, []string{ben}) {
		t.Errorf("members of Ops: %q", l)
	}
	if l := h.members(dev); len(l) != 0 {
		t.Errorf("members of Dev: %q", l)
	}
	// Who has read the group before must read it again.
	h.ask("PATCH", "/Groups/"+ops, patchBody(`{"op":"remove","path":"members"}`), "If-Match: "+was[ops]).refused(412, "")
	// A group that goes is no member any more, and nobody's group.
	h.ask("DELETE", "/Groups/"+ops, "").want(204)
	if l := h.members(all); !slices.Equal(l, []string{dev}) {
		t.Errorf("members of All: %q", l)
	}
	if g := h.groups(ben); g != "Rest direct" {
		t.Errorf("groups of ben: %s", g)
	}
	if n := h.find("/Groups?", `members.value eq "`+ada+`" or members.value eq "`+ops+`"`).total(); n != 0 {
		t.Errorf("%d groups still have them", n)
	}
}

func TestNestedGroups(t *testing.T) {
	h := openHouse(t, Options{})
	ada := h.user("ada", "")
	inner := h.group("inner", ada)
	middle := h.group("middle", inner)
	outer := h.group("outer", middle, ada)
	if g := h.groups(ada); g != "inner direct, middle indirect, outer direct" {
		t.Errorf("groups: %s", g)
	}
	for group, n := range map[string]int{inner: 1, middle: 1, outer: 1} {
		if got := h.find("/Users?", `groups.value eq "`+group+`"`).total(); got != n {
			t.Errorf("members of %s: %d", group, got)
		}
	}
	// In circles, and a group in itself.
	h.patch("/Groups/"+inner, `{"op":"add","path":"members","value":`+refs(outer, inner)+`}`).want(204)
	if g := h.groups(ada); g != "inner direct, middle indirect, outer direct" {
		t.Errorf("groups in a circle: %s", g)
	}
	for _, q := range []string{`groups.value eq "` + middle + `"`, `groups[value eq "` + middle + `" and type eq "indirect"]`, `groups.display eq "MIDDLE"`, `groups pr`} {
		if l := h.find("/Users?", q).ids(); !slices.Equal(l, []string{ada}) {
			t.Errorf("%s finds %q", q, l)
		}
	}
	if n := h.find("/Users?", `groups[value eq "`+middle+`" and type eq "direct"]`).total(); n != 0 {
		t.Errorf("direct members of middle: %d", n)
	}
	r := h.ask("GET", "/Groups/"+outer, "").want(200)
	if r.text("members", 0, "type")+r.text("members", 1, "type") != "UserGroup" && r.text("members", 0, "type")+r.text("members", 1, "type") != "GroupUser" {
		t.Errorf("%s", r.body)
	}
	h.ask("DELETE", "/Groups/"+middle, "").want(204)
	if g := h.groups(ada); g != "inner direct, outer direct" {
		t.Errorf("groups without middle: %s", g)
	}
	h.ask("DELETE", "/Groups/"+inner, "").want(204)
	h.patch("/Groups/"+outer, `{"op":"remove","path":"members[type eq \"User\"]"}`).want(204)
	if g := h.groups(ada); g != "" {
		t.Errorf("groups at the end: %s", g)
	}
}

// Members that nobody knows are kept, wherever they are looked for, and count as members alone.
func TestUnknownMembers(t *testing.T) {
	h := openHouse(t, Options{})
	g := h.group("Ops", "ghost")
	if l := h.members(g); !slices.Equal(l, []string{"ghost"}) {
		t.Errorf("members: %q", l)
	}
	if n := h.find("/Groups?", `members.value eq "ghost"`).total(); n != 1 {
		t.Errorf("%d groups have a ghost", n)
	}
	if r := h.find("/Users?", `groups.value eq "`+g+`"`); r.total() != 0 || len(r.ids()) != 0 {
		t.Errorf("a ghost is a user: %s", r.body)
	}
	strict := openHouse(t, Options{UnknownMembers: "refuse"})
	ada := strict.user("ada", "")
	ops := strict.group("Ops", ada)
	strict.unchanged(func() {
		strict.ask("POST", "/Groups", `{"displayName":"Dev","members":[{"value":"ghost"}]}`).refused(400, InvalidValue)
		strict.patch("/Groups/"+ops, `{"op":"remove","path":"members"}`, `{"op":"add","path":"members","value":[{"value":"ghost"}]}`).refused(400, InvalidValue)
		strict.patch("/Groups/"+ops, `{"op":"remove","path":"members","value":[{"value":"ghost"}]}`).want(204)
	})
}

// A change of a group costs what is changed: of its members no row is looked at that was not named.
func TestMembersAreNotLoaded(t *testing.T) {
	h := openHouse(t, Options{})
	var ids []string
	for i := range 2000 {
		ids = append(ids, fmt.Sprintf("member-%04d", i))
	}
	g := h.group("Big", ids...)
	u := h.user("ada", "")
	h.patch("/Groups/"+g, `{"op":"add","path":"members","value":[{"value":"`+u+`"}]}`).want(204)
	for name, do := range map[string]func(){
		"rename": func() { h.patch("/Groups/"+g, `{"op":"replace","path":"displayName","value":"Big 2"}`).want(204) },
		"add":    func() { h.patch("/Groups/"+g, `{"op":"add","path":"members","value":[{"value":"new"}]}`).want(204) },
		"add again": func() {
			h.patch("/Groups/"+g, `{"op":"add","path":"members","value":[{"value":"member-0001"}]}`).want(204)
		},
		"remove by path": func() { h.patch("/Groups/"+g, `{"op":"remove","path":"members[value eq \"member-0002\"]"}`).want(204) },
		"remove by list": func() {
			h.patch("/Groups/"+g, `{"op":"remove","path":"members","value":[{"value":"member-0003"},{"value":"nobody"}]}`).want(204)
		},
		"get without":  func() { h.ask("GET", "/Groups/"+g+"?excludedAttributes=members", "").want(200) },
		"get a name":   func() { h.ask("GET", "/Groups/"+g+"?attributes=displayName", "").want(200) },
		"list without": func() { h.ask("GET", "/Groups?excludedAttributes=members", "").want(200) },
		"find by name": func() { h.find("/Groups?excludedAttributes=members&", `displayName sw "big"`) },
		"is a member":  func() { h.find("/Groups?excludedAttributes=members&", `id eq "`+g+`" and members eq "member-0009"`) },
		"is no member": func() { h.find("/Groups?excludedAttributes=members&", `id eq "`+g+`" and not (members eq "nobody")`) },
		"answer a name": func() {
			h.ask("PATCH", "/Groups/"+g+"?attributes=displayName", patchBody(`{"op":"add","path":"members","value":[{"value":"newer"}]}`)).want(200)
		},
	} {
		scanned := 0
		read := h.probe.reads("lb", func() { scanned = h.probe.scans("lb", do) })
		if scanned > 0 || read > 12 {
			t.Errorf("%s: read %d rows of links, %d of them in a scan", name, read, scanned)
		}
	}
	// And who belongs to such a group is not read from its members either.
	if n := h.probe.scans("lb", func() { h.ask("GET", "/Users/"+u, "").want(200) }); n > 2 {
		t.Errorf("a user's groups: scanned %d rows of links", n)
	}
}

// Concurrent changes of one resource all take effect.
func TestConcurrentPatches(t *testing.T) {
	h := openHouse(t, Options{})
	const n = 50
	u, g := h.user("ada", ""), h.group("Ops")
	etags := map[string]bool{}
	for _, r := range together(n, func(i int) *reply {
		return h.patch("/Users/"+u, fmt.Sprintf(`{"op":"add","path":"emails","value":[{"value":"m%02d@x"}]}`, i), fmt.Sprintf(`{"op":"add","path":"%s","value":{"department":"%d"}}`, EnterpriseUserURN, i))
	}) {
		if etags[r.want(200).etag()] {
			t.Errorf("two changes have the version %s", r.etag())
		}
		etags[r.etag()] = true
	}
	r := h.ask("GET", "/Users/"+u, "").want(200)
	if l, _ := r.at("emails").([]any); len(l) != n {
		t.Errorf("%d addresses of %d", len(l), n)
	}
	var want []string
	for _, r := range together(2*n, func(i int) *reply {
		if i%2 == 0 {
			return h.patch("/Groups/"+g, fmt.Sprintf(`{"op":"add","path":"members","value":[{"value":"m%03d"},{"value":"gone%03d"}]}`, i, i), fmt.Sprintf(`{"op":"remove","path":"members[value eq \"gone%03d\"]"}`, i))
		}
		return h.patch("/Groups/"+g, `{"op":"add","path":"members","value":[{"value":"same"}]}`)
	}) {
		r.want(204)
	}
	for i := 0; i < 2*n; i += 2 {
		want = append(want, fmt.Sprintf("m%03d", i))
	}
	if got := h.members(g); !slices.Equal(got, append(want, "same")) {
		t.Errorf("members: %q", got)
	}
	// Of those who ask for one version, one gets it.
	won := 0
	tag := h.ask("GET", "/Users/"+u, "").etag()
	for _, r := range together(n, func(i int) *reply {
		return h.ask("PATCH", "/Users/"+u, patchBody(fmt.Sprintf(`{"op":"replace","path":"title","value":"%d"}`, i)), "If-Match: "+tag)
	}) {
		if r.status == 200 {
			won++
		} else {
			r.refused(412, "")
		}
	}
	if won != 1 {
		t.Errorf("%d of %d had the version that all asked for", won, n)
	}
}

// Every change has its row in the journal, which says what was changed and no secret.
func TestJournal(t *testing.T) {
	h := openHouseOn(t, newProbe(), acmeTypes(t), Options{}).as(func(c *Caller) { c.Actor, c.Client, c.Request = "tok-1", "192.0.2.1", "req-1" })
	u := h.user("ada", `"password":"s3cret","`+acmeURN+`":{"token":"s3cret","desk":{"pin":"s3cret","building":"A"},"keys":[{"value":"k","pin":"s3cret"}]}`)
	g := h.group("Ops", u)
	h.patch("/Users/"+u, `{"op":"replace","path":"title","value":"Dr"}`, `{"op":"replace","path":"`+acmeURN+`:keys[value eq \"k\"].pin","value":"s3cret2"}`, `{"op":"replace","path":"password","value":"s3cret2"}`).want(200)
	h.patch("/Users/"+u, `{"op":"replace","path":"title","value":"Dr"}`).want(200) // no change
	h.patch("/Groups/"+g, `{"op":"add","path":"members","value":[{"value":"x"}]}`, `{"op":"remove","path":"members[value eq \"`+u+`\"]"}`).want(204)
	h.ask("PUT", "/Users/"+u, `{"schemas":["`+UserURN+`"],"userName":"ada2"}`).want(200)
	h.ask("DELETE", "/Users/"+u, "").want(204)
	entries, err := h.store.Journal(t.Context(), 0, 100)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for i, e := range entries {
		if e.Seq != uint64(i+1) || e.Actor != "tok-1" || e.Client != "192.0.2.1" || e.Request != "req-1" || e.Ref.Tenant != "default" {
			t.Errorf("%+v", e)
		}
		if strings.Contains(string(e.Detail), "s3cret") {
			t.Errorf("the journal holds a secret: %s", e.Detail)
		}
		var d struct {
			Name           string
			Added, Removed []string
			Changes        []struct {
				Path     string
				Old, New any
			}
		}
		if err := json.Unmarshal(e.Detail, &d); err != nil {
			t.Fatalf("%s: %v", e.Detail, err)
		}
		paths := make([]string, len(d.Changes))
		for i, c := range d.Changes {
			paths[i] = strings.TrimPrefix(c.Path, acmeURN+":")
		}
		slices.SortFunc(paths, cmp.Compare)
		got = append(got, fmt.Sprintf("%s %s %s %v +%d -%d", e.Op, e.Ref.Kind, d.Name, paths, len(d.Added), len(d.Removed)))
	}
	want := []string{
		"create User ada [desk.building desk.pin keys password token userName] +0 -0",
		"create Group Ops [displayName] +1 -0",
		"patch User ada [keys password title] +0 -0",
		"patch Group Ops [] +1 -1",
		"replace User ada2 [desk.building desk.pin keys title token userName] +0 -0",
		"delete User ada2 [] +0 -0",
	}
	if !slices.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// A token that may only read changes nothing, through whatever door.
func TestReadOnlyCaller(t *testing.T) {
	h := openHouse(t, Options{})
	u := h.user("ada", "")
	h.group("Ops", u)
	ro := h.as(func(c *Caller) { c.ReadOnly = true })
	h.unchanged(func() {
		ro.ask("POST", "/Users", `{"userName":"ben"}`).refused(403, "")
		ro.ask("PUT", "/Users/"+u, `{"userName":"ben"}`).refused(403, "")
		ro.patch("/Users/"+u, `{"op":"add","path":"title","value":"x"}`).refused(403, "")
		ro.ask("DELETE", "/Users/"+u, "").refused(403, "")
		r := ro.ask("POST", "/Bulk", `{"schemas":["`+bulkURN+`"],"Operations":[{"method":"POST","bulkId":"1","path":"/Users","data":{"userName":"ben"}},{"method":"DELETE","path":"/Users/`+u+`"}]}`).want(200)
		if r.text("Operations", 0, "status") != "403" || r.text("Operations", 1, "status") != "403" {
			t.Errorf("%s", r.body)
		}
		ro.ask("GET", "/Users/"+u, "").want(200)
		ro.ask("POST", "/Users/.search", `{"schemas":["`+findURN+`"]}`).want(200)
	})
}

// A PATCH leaves what it does not name as it was, and what that is found by.
func TestPatchKeepsTheRest(t *testing.T) {
	h := openHouse(t, Options{})
	id := h.user("ada", `"externalId":"x1","title":"T","emails":[{"value":"ada@x.example","type":"work"},{"value":"b@x.example"}],`+
		`"name":{"givenName":"Ada"},"urn:ietf:params:scim:schemas:extension:enterprise:2.0:User":{"department":"D","employeeNumber":"7"}`)
	bodyOf := func() string {
		t.Helper()
		var body string
		err := h.store.View(t.Context(), "default", func(tx *storage.Tx) error {
			rec, err := tx.Get("User", id)
			body = string(rec.Body)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		return body
	}
	before := bodyOf()
	for _, op := range []string{
		`{"op":"replace","path":"title","value":"New"}`,
		`{"op":"replace","path":"name.familyName","value":"L"}`,
		`{"op":"remove","path":"name.familyName"}`,
		`{"op":"replace","path":"title","value":"T"}`,
	} {
		if r := h.patch("/Users/"+id, op); r.status != 200 {
			t.Fatalf("%s: %d %s", op, r.status, r.body)
		}
		for _, filter := range []string{
			`userName eq "ADA"`, `externalId eq "x1"`, `emails.value eq "ada@x.example"`, `emails.value eq "b@x.example"`, `id eq "` + id + `"`,
		} {
			if r := h.ask("GET", "/Users?filter="+url.QueryEscape(filter), ""); !strings.Contains(string(r.body), `"totalResults":1`) {
				t.Errorf("after %s, %s finds %s", op, filter, r.body)
			}
		}
	}
	if after := bodyOf(); after != before {
		t.Errorf("before %s\nafter  %s", before, after)
	}
	if r := h.ask("POST", "/Users", `{"schemas":["`+UserURN+`"],"userName":"Ada"}`); r.status != 409 {
		t.Errorf("a second ada is answered with %d %s", r.status, r.body)
	}
	if r, err := h.store.Check(t.Context(), storage.CheckOptions{}); err != nil || len(r.Findings) > 0 {
		t.Errorf("%+v, %v", r, err)
	}
}
