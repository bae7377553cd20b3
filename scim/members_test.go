package scim

import (
	"fmt"
	"strings"
	"testing"
)

// What is filled in where resources refer to each other. That references go with what they refer to, groups in groups, and
// members that nobody knows are in service_test.go.

// Whatever a client says of a member, its type and $ref are those of the resource that it is; what only the client knows is
// kept, and of somebody whom nobody knows his word is taken.
func TestMembersAreFilledIn(t *testing.T) {
	h := openHouse(t, Options{})
	ada, ben := h.user("ada", `"displayName":"Ada"`), h.user("ben", "")
	inner := h.group("Inner")
	url := func(endpoint, id string) string { return "https://scim.example/scim/v2/" + endpoint + "/" + id }
	g := h.ask("POST", "/Groups", `{"displayName":"Outer","members":[{"value":"`+ada+`"},{"value":"`+inner+`","type":"User","$ref":"../Users/`+inner+`","display":"The inner"},
		{"value":"ghost"},{"value":"ghosts","type":"Group","$ref":"x"},{"value":"thing","type":"Device"}]}`).want(201).id()
	h.patch("/Groups/"+g, `{"op":"add","path":"members","value":[{"value":"`+ben+`","type":"Group","$ref":"http://elsewhere.example/Users/1"}]}`).want(204)
	want := map[string]string{
		ada:      url("Users", ada) + " User ",
		ben:      url("Users", ben) + " User ",
		inner:    url("Groups", inner) + " Group The inner",
		"ghost":  url("Users", "ghost") + " User ",
		"ghosts": url("Groups", "ghosts") + " Group ",
		"thing":  url("Users", "thing") + " User ",
	}
	l, _ := h.ask("GET", "/Groups/"+g, "").want(200).at("members").([]any)
	if len(l) != len(want) {
		t.Errorf("%d members", len(l))
	}
	for _, m := range l {
		id, display := dig(m, "value").(string), ""
		if d, ok := dig(m, "display").(string); ok {
			display = d
		}
		if got := fmt.Sprint(dig(m, "$ref"), " ", dig(m, "type"), " ", display); got != want[id] {
			t.Errorf("%s: %q, want %q", id, got, want[id])
		}
	}
	for filter, n := range map[string]int{
		`members.type eq "Group"`: 1, `members[type eq "User" and value eq "` + inner + `"]`: 0, `members[value eq "` + inner + `" and type eq "Group"]`: 1,
		`members.display eq "the inner"`: 1, `members.$ref eq "` + url("Users", ben) + `"`: 1,
	} {
		if got := h.find("/Groups?", filter).total(); got != n {
			t.Errorf("%s finds %d, want %d", filter, got, n)
		}
	}
	// Seen from the other side.
	if r := h.ask("GET", "/Users/"+ada, "").want(200); r.text("groups", 0, "value") != g || r.text("groups", 0, "$ref") != url("Groups", g) || r.text("groups", 0, "display") != "Outer" || r.text("groups", 0, "type") != "direct" {
		t.Errorf("%s", r.body)
	}
	h.patch("/Groups/"+g, `{"op":"replace","path":"displayName","value":"Renamed"}`).want(204)
	if r := h.ask("GET", "/Users/"+ada, "").want(200); r.text("groups", 0, "display") != "Renamed" {
		t.Errorf("%s", r.body)
	}
	// At another address of the server the references are there.
	moved := h.again(Options{})
	moved.service.o.PublicURL = "https://other.example"
	if r := moved.ask("GET", "/Groups/"+g, "").want(200); strings.Contains(string(r.body), "scim.example") || !strings.Contains(string(r.body), "https://other.example/scim/v2/Users/"+ada) {
		t.Errorf("%s", r.body)
	}
}

// Who says all of a group's members says also what they are called, if he says anything of it; an add of one who is there
// says nothing new.
func TestMembersAreCalled(t *testing.T) {
	h := openHouse(t, Options{})
	ada := h.user("ada", "")
	member := func(display string) string {
		if display != "" {
			display = `,"display":` + quoted(display)
		}
		return `[{"value":"` + ada + `"` + display + `}]`
	}
	g := h.ask("POST", "/Groups", `{"displayName":"Ops","members":`+member("Ada")+`}`).want(201).id()
	for _, c := range []struct {
		do   func(members string) *reply
		say  string
		want string
	}{
		{func(m string) *reply { return h.patch("/Groups/"+g, `{"op":"add","path":"members","value":`+m+`}`) }, "A", "Ada"},
		{func(m string) *reply {
			return h.patch("/Groups/"+g, `{"op":"replace","path":"members","value":`+m+`}`)
		}, "Ada L", "Ada L"},
		{func(m string) *reply {
			return h.ask("PUT", "/Groups/"+g, `{"displayName":"Ops","members":`+m+`}`)
		}, "Ada Lovelace", "Ada Lovelace"},
		{func(m string) *reply {
			return h.ask("PUT", "/Groups/"+g, `{"displayName":"Ops","members":`+m+`}`)
		}, "", "Ada Lovelace"},
		{func(m string) *reply {
			return h.ask("PUT", "/Groups/"+g, `{"displayName":"Ops","members":`+m+`}`)
		}, "Ada Lovelace", "Ada Lovelace"},
	} {
		was := h.ask("GET", "/Groups/"+g, "")
		if r := c.do(member(c.say)); r.status >= 300 {
			t.Fatalf("%d %s", r.status, r.body)
		}
		now := h.ask("GET", "/Groups/"+g, "").want(200)
		if got := now.text("members", 0, "display"); got != c.want || now.at("members", 1) != nil {
			t.Errorf("called %q, want %q", got, c.want)
		}
		if changed := now.text("members", 0, "display") != was.text("members", 0, "display"); changed != (now.etag() != was.etag()) {
			t.Errorf("%s: version %s after %s", c.say, now.etag(), was.etag())
		}
	}
}

// A manager's name is his own: it is shown as it is now, whatever a client says it is; his id is kept although there is nobody
// of it, and counts again when there is.
func TestManager(t *testing.T) {
	h := openHouse(t, Options{})
	boss := h.user("boss", `"displayName":"The Boss"`)
	const path = EnterpriseUserURN + ":manager"
	with := func(manager string) string { return `"` + EnterpriseUserURN + `":{"manager":` + manager + `}` }
	u := h.user("ada", with(`{"value":"`+boss+`","displayName":"somebody else","$ref":"../Users/nobody"}`))
	shown := func() string {
		r := h.ask("GET", "/Users/"+u, "").want(200)
		return r.text(EnterpriseUserURN, "manager", "value") + " " + r.text(EnterpriseUserURN, "manager", "displayName") + " " + r.text(EnterpriseUserURN, "manager", "$ref")
	}
	is := func(want string) {
		t.Helper()
		if got := shown(); got != want {
			t.Errorf("the manager is %q, want %q", got, want)
		}
	}
	ref := " https://scim.example/scim/v2/Users/" + boss
	is(boss + " The Boss" + ref)
	h.patch("/Users/"+boss, `{"op":"replace","path":"displayName","value":"Boss II"}`).want(200)
	is(boss + " Boss II" + ref)
	for filter, n := range map[string]int{`.displayName eq "boss ii"`: 1, `.displayName eq "The Boss"`: 0, `.value eq "` + boss + `"`: 1, `.displayName pr`: 1, `[displayName sw "Boss"]`: 1} {
		if got := h.find("/Users?", path+filter).total(); got != n {
			t.Errorf("%s finds %d, want %d", filter, got, n)
		}
	}
	h.patch("/Users/"+boss, `{"op":"remove","path":"displayName"}`).want(200)
	is(boss + " " + ref)
	h.unchanged(func() {
		h.patch("/Users/"+u, `{"op":"replace","path":"`+path+`.displayName","value":"x"}`).refused(400, WrongMutability)
	})
	h.patch("/Users/"+u, `{"op":"replace","path":"`+path+`","value":{"value":"`+boss+`","displayName":"x"}}`).want(200)
	is(boss + " " + ref)
	// Somebody whom nobody knows, also when members have to be known.
	h.patch("/Users/"+u, `{"op":"replace","path":"`+path+`","value":{"value":"nobody","$ref":"https://hr.example/42"}}`).want(200)
	is("nobody  https://hr.example/42")
	h.patch("/Users/"+u, `{"op":"replace","path":"`+path+`.value","value":"`+boss+`"}`).want(200)
	is(boss + " " + ref)
	h.ask("DELETE", "/Users/"+boss, "").want(204)
	is(boss + "  ") // what it referred to is not there any more, and who it was is not forgotten
	strict := openHouse(t, Options{UnknownMembers: "refuse"})
	if r := strict.ask("POST", "/Users", `{"userName":"ada",`+with(`{"value":"nobody"}`)+`}`).want(201); r.text(EnterpriseUserURN, "manager", "value") != "nobody" {
		t.Errorf("%s", r.body)
	}
	// One's own manager, and managers of each other.
	h.patch("/Users/"+u, `{"op":"add","path":"displayName","value":"Ada"}`, `{"op":"add","path":"`+path+`","value":{"value":"`+u+`"}}`).want(200)
	is(u + " Ada https://scim.example/scim/v2/Users/" + u)
	h.patch("/Users/"+u, `{"op":"remove","path":"`+path+`"}`).want(200)
	is("  ")
}

// Groups in circles, of any length and with any number of ways through them, come to an end, for whoever is looked at, and
// wherever a filter begins.
func TestCirclesOfGroups(t *testing.T) {
	h := openHouse(t, Options{})
	u := h.user("ada", "")
	const n = 12
	var groups []string
	for i := range n {
		groups = append(groups, h.group(fmt.Sprintf("g%02d", i)))
	}
	for i, g := range groups { // each has all the others, and itself
		h.patch("/Groups/"+g, `{"op":"add","path":"members","value":`+refs(groups...)+`}`).want(204)
		if i == 3 {
			h.patch("/Groups/"+g, `{"op":"add","path":"members","value":`+refs(u)+`}`).want(204)
		}
	}
	l, _ := h.ask("GET", "/Users/"+u, "").want(200).at("groups").([]any)
	direct := 0
	for _, g := range l {
		if dig(g, "type") == "direct" {
			direct++
		}
	}
	if len(l) != n || direct != 1 {
		t.Errorf("%d groups, %d of them direct", len(l), direct)
	}
	for _, g := range groups {
		if got := h.find("/Users?", `groups.value eq "`+g+`"`).ids(); len(got) != 1 || got[0] != u {
			t.Errorf("members of %s: %q", g, got)
		}
	}
	if r := h.ask("GET", "/Groups/"+groups[0], "").want(200); len(r.at("members").([]any)) != n {
		t.Errorf("%s", r.body)
	}
	for _, g := range groups {
		h.ask("DELETE", "/Groups/"+g, "").want(204)
	}
	if r := h.ask("GET", "/Users/"+u, "").want(200); r.at("groups") != nil {
		t.Errorf("%s", r.body)
	}
}
