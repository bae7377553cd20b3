package scim

import (
	"fmt"
	"net/url"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func (h *house) limited(types, attributes string) *house {
	return h.as(func(c *Caller) { c.ReadOnly, c.Limit = true, Limit{types, attributes} })
}

// make stores a resource under an id of the test's choice.
func (h *house) make(kind, id, body string) {
	h.t.Helper()
	n, err := parseJSON([]byte(body))
	if err != nil {
		h.t.Fatal(err)
	}
	t := h.service.types.ByName(kind)
	_, err = h.service.create(h.t.Context(), &call{caller: h.caller, q: quirksFor(h.caller, h.service.o), t: t, id: id, quiet: true}, n)
	if err != nil {
		h.t.Fatal(err)
	}
}

const limitedUser = `{"schemas":["` + UserURN + `","` + EnterpriseUserURN + `"],"externalId":"x1","userName":"mira","displayName":"Mira O","title":"Boss",
	"name":{"givenName":"Mira","familyName":"Osei"},"active":true,
	"emails":[{"value":"mira@example.com","type":"work","primary":true},{"value":"m@home.example","type":"home"}],
	"phoneNumbers":[{"value":"555","type":"work"}],"nickName":"m",
	"` + EnterpriseUserURN + `":{"employeeNumber":"17","department":"Risk","manager":{"value":"u0"}}}`

func limitedHouse(t testing.TB) *house {
	h := openHouse(t, Options{})
	h.make("User", "u0", `{"schemas":["`+UserURN+`"],"userName":"boss","displayName":"The Boss"}`)
	h.make("User", "u1", limitedUser)
	h.make("Group", "g1", `{"schemas":["`+GroupURN+`"],"displayName":"Risk team","externalId":"gx","members":[{"value":"u1","display":"Mimi"}]}`)
	return h
}

// What a limited caller sees of a resource is what was named, id, schemas, and where it lives.
func TestLimitShows(t *testing.T) {
	h := limitedHouse(t)
	const meta = `"meta":{"resourceType":"User","location":"https://scim.example/scim/v2/Users/u1"}`
	for attributes, want := range map[string]string{
		"userName":                        `{"schemas":["` + UserURN + `"],"id":"u1","userName":"mira",` + meta + `}`,
		"NAME.givenname":                  `{"schemas":["` + UserURN + `"],"id":"u1","name":{"givenName":"Mira"},` + meta + `}`,
		"name":                            `{"schemas":["` + UserURN + `"],"id":"u1","name":{"familyName":"Osei","givenName":"Mira"},` + meta + `}`,
		"emails.value":                    `{"schemas":["` + UserURN + `"],"id":"u1","emails":[{"value":"mira@example.com"},{"value":"m@home.example"}],` + meta + `}`,
		EnterpriseUserURN + ":department": `{"schemas":["` + UserURN + `","` + EnterpriseUserURN + `"],"id":"u1","` + EnterpriseUserURN + `":{"department":"Risk"},` + meta + `}`,
		EnterpriseUserURN + ":manager.value": `{"schemas":["` + UserURN + `","` + EnterpriseUserURN + `"],"id":"u1","` + EnterpriseUserURN +
			`":{"manager":{"value":"u0","$ref":"https://scim.example/scim/v2/Users/u0"}},` + meta + `}`,
		"externalId":   `{"schemas":["` + UserURN + `"],"id":"u1","externalId":"x1",` + meta + `}`,
		"groups.value": `{"schemas":["` + UserURN + `"],"id":"u1","groups":[{"value":"g1","$ref":"https://scim.example/scim/v2/Groups/g1","type":"direct"}],` + meta + `}`,
		"groups": `{"schemas":["` + UserURN + `"],"id":"u1","groups":[{"value":"g1","$ref":"https://scim.example/scim/v2/Groups/g1","display":"Risk team","type":"direct"}],` +
			meta + `}`,
		"no.such": `{"schemas":["` + UserURN + `"],"id":"u1",` + meta + `}`, // of a schema that has gone
	} {
		got := h.limited("", attributes).ask("GET", "/Users/u1", "").want(200)
		if string(got.body) != want {
			t.Errorf("%s\n got %s\nwant %s", attributes, got.body, want)
		}
		// Asking for everything by its name shows no more.
		if got := h.limited("", attributes).ask("GET", "/Users/u1?attributes=title,userName,emails,meta,externalId,groups,name,"+EnterpriseUserURN, ""); string(got.body) != want {
			t.Errorf("%s, asked for by name\n got %s\nwant %s", attributes, got.body, want)
		}
	}
	if got := string(h.limited("User", "groups").ask("GET", "/Users/u1", "").want(200).body); !strings.Contains(got, "Risk team") || strings.Contains(got, "$ref") {
		t.Errorf("groups, without the type Group: %s", got)
	}
	if got := string(h.limited("", "members.value").ask("GET", "/Groups/g1", "").want(200).body); !strings.Contains(got, `"members":[{"value":"u1","$ref":"https://scim.example/scim/v2/Users/u1","type":"User"}]`) {
		t.Errorf("members.value: %s", got)
	}
	if got := string(h.limited("User", "").ask("GET", "/Users/u1", "").want(200).body); !strings.Contains(got, `"title":"Boss"`) || strings.Contains(got, "version") {
		t.Errorf("all attributes of one type: %s", got)
	}
}

// A hidden attribute is answered, whatever asks for it, as one that no schema has.
func TestLimitHides(t *testing.T) {
	h := limitedHouse(t).limited("User", "userName,name.givenName,emails.value")
	const unknown = "qqqqqqqqqq"
	for _, hidden := range []string{"title", "displayName", "externalId", "nickName", "phoneNumbers", "meta.lastModified", "meta.version", "name.familyName", "emails.primary", "groups.value", "password"} {
		top, sub, isSub := strings.Cut(hidden, ".")
		other := unknown
		if isSub && (top == "name" || top == "emails" || top == "meta") {
			other = top + "." + unknown
		} else if isSub {
			other = unknown + "." + sub
		}
		for _, target := range []string{
			"/Users?filter=%s pr", `/Users?filter=%s eq "x"`, `/Users?filter=userName eq "mira" and %s eq "Boss"`, `/Users?filter=not (%s eq "x")`,
			"/Users?sortBy=%s", `/?filter=%s eq "Boss"`, "/?sortBy=%s", "/Users?attributes=%s", "/Users?excludedAttributes=%s", "/Users/u1?attributes=%s",
		} {
			a, b := h.ask("GET", fmt.Sprintf(target, hidden), ""), h.ask("GET", fmt.Sprintf(target, other), "")
			same := func(r *reply, name string) string {
				text := fmt.Sprint(r.status, " ", string(r.body))
				for _, part := range append(strings.Split(name, "."), name) {
					if part != top || part == name || top == "groups" {
						text = strings.ReplaceAll(text, part, "?")
					}
				}
				return text
			}
			if x, y := same(a, hidden), same(b, other); x != y && !strings.Contains(y, "did you mean") && !strings.Contains(x, "did you mean") {
				t.Errorf("%s\n hidden: %s\nunknown: %s", fmt.Sprintf(target, hidden), x, y)
			}
			if a.status == 400 && strings.Contains(string(a.body), "Boss\\\" is") {
				t.Errorf("%s: %s", target, a.body)
			}
		}
	}
	for _, target := range []string{"/Groups", "/Groups/g1", "/Groups/.search"} {
		x, y := h.ask("GET", target, ""), h.ask("GET", strings.Replace(target, "Groups", unknown, 1), "")
		if x.want(404); strings.ReplaceAll(string(x.body), "Groups", unknown) != string(y.body) {
			t.Errorf("%s: %s, and %s", target, x.body, y.body)
		}
	}
	// Suggestions name nothing that is hidden.
	if got := string(h.ask("GET", "/Users?filter=tilte eq \"x\"", "").want(400).body); strings.Contains(got, "title") {
		t.Errorf("a suggestion: %s", got)
	}
	// Discovery has what there is to be seen, and nothing else.
	all := string(h.ask("GET", "/Schemas", "").want(200).body) + string(h.ask("GET", "/ResourceTypes", "").want(200).body)
	for _, hidden := range []string{"title", "familyName", "phoneNumbers", GroupURN, "/Groups", EnterpriseUserURN, `"primary"`} {
		if strings.Contains(all, `"`+strings.Trim(hidden, `"`)+`"`) {
			t.Errorf("discovery tells of %s", hidden)
		}
	}
	for _, shown := range []string{"userName", "givenName", "emails"} {
		if !strings.Contains(all, `"`+shown+`"`) {
			t.Errorf("discovery does not tell of %s", shown)
		}
	}
	h.ask("GET", "/Schemas/"+GroupURN, "").want(404)
	// Nothing can be changed, whatever the token says.
	w := h.as(func(c *Caller) { c.ReadOnly = false })
	w.ask("POST", "/Users", `{"schemas":["`+UserURN+`"],"userName":"new"}`).want(403)
	w.ask("PATCH", "/Users/u1", `{"schemas":["`+patchURN+`"],"Operations":[{"op":"replace","path":"userName","value":"x"}]}`).want(403)
	w.ask("PUT", "/Users/u1", `{"schemas":["`+UserURN+`"],"userName":"new"}`).want(403)
	w.ask("DELETE", "/Users/u1", "").want(403)
	if got := w.ask("POST", "/Bulk", `{"schemas":["`+bulkURN+`"],"Operations":[{"method":"DELETE","path":"/Users/u1"}]}`); !strings.Contains(string(got.body), "403") {
		t.Errorf("bulk: %s", got.body)
	}
	h.ask("GET", "/Users/u1", "").want(200)
}

// The entity tag follows from what is shown.
func TestLimitETag(t *testing.T) {
	whole := limitedHouse(t)
	h := whole.limited("", "userName,title")
	patch := func(path, value string) {
		whole.ask("PATCH", "/Users/u1", `{"schemas":["`+patchURN+`"],"Operations":[{"op":"replace","path":"`+path+`","value":"`+value+`"}]}`).want(200)
	}
	first := h.ask("GET", "/Users/u1", "").want(200).header.Get("ETag")
	list := h.ask("GET", "/Users", "").want(200).header.Get("ETag")
	patch("nickName", "hidden")
	h.ask("GET", "/Users/u1", "", "If-None-Match: "+first).want(304)
	h.ask("GET", "/Users", "", "If-None-Match: "+list).want(304)
	h.ask("GET", "/Users/u1", "", "If-Match: "+first).want(200)
	patch("title", "shown")
	h.ask("GET", "/Users/u1", "", "If-None-Match: "+first).want(200)
	if got := string(h.ask("GET", "/Users/u1", "", "If-Match: "+first).want(412).body); strings.Contains(got, whole.ask("GET", "/Users/u1", "").header.Get("ETag")) {
		t.Errorf("the refusal tells the version: %s", got)
	}
	if own := whole.ask("GET", "/Users/u1", "").header.Get("ETag"); h.ask("GET", "/Users/u1", "", "If-None-Match: "+own).status != 200 {
		t.Error("the version of the record is known")
	}
}

func TestCheckLimit(t *testing.T) {
	types := builtinTypes(t)
	for l, want := range map[Limit]string{
		{}:                                     "",
		{"User", ""}:                           "",
		{"user,Group", "userName,displayName"}: "",
		{"", "emails,members,groups,manager"}:  "manager",
		{"", EnterpriseUserURN + ":manager"}:   "",
		{"", EnterpriseUserURN}:                "",
		{"", "meta,meta.created,externalId"}:   "",
		{"", "members.value,members.display"}:  "",
		{"", "members.display"}:                "members.value",
		{"", "groups.display"}:                 "groups.value",
		{"Users", ""}:                          "there are User, Group",
		{"Group", "userName"}:                  "userName",
		{"", "userNam"}:                        "userName",
		{"", "password"}:                       "never shown",
		{"", "meta.version"}:                   "changes of attributes",
		{"", "meta.lastModified"}:              "changes of attributes",
		{"", "userName eq"}:                    "name",
	} {
		err := types.CheckLimit(l)
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: %v, want %q", l, err, want)
		}
	}
}

// Two stores that differ only in what is hidden give the same answers, to the byte, whatever is asked.
func TestLimitLeaksNothing(t *testing.T) {
	const visible = "userName,name.givenName,emails.value,emails.type,active,groups,members.value," + EnterpriseUserURN + ":department"
	paths := []string{
		"userName", "name.givenName", "name.familyName", "name", "emails", "emails.value", "emails.type", "emails.primary", "active", "title", "displayName",
		"externalId", "id", "meta.lastModified", "meta.created", "meta.version", "meta.location", "groups", "groups.value", "groups.display", "members", "members.value", "members.display", "phoneNumbers.value",
		EnterpriseUserURN + ":department", EnterpriseUserURN + ":employeeNumber", EnterpriseUserURN, "manager", "schemas", "nothing", "password",
	}
	rapid.Check(t, func(rt *rapid.T) {
		pick := func(label string, from ...string) string { return rapid.SampledFrom(from).Draw(rt, label) }
		value := func(label string) string { return pick(label, "a", "b", "ab", "", "c@x.example") }
		user := func(name, given, email, dept string) func() string {
			shown := fmt.Sprintf(`"userName":%q,"active":true`, name)
			return func() string { // all of the rest is drawn anew for each of the two stores
				b := `{"schemas":["` + UserURN + `","` + EnterpriseUserURN + `"],` + shown
				b += fmt.Sprintf(`,"externalId":%q,"displayName":%q,"title":%q,"phoneNumbers":[{"value":%q}]`, value("externalId"), value("displayName"), value("title"), value("phone"))
				var name []string
				if given != "" {
					name = append(name, fmt.Sprintf(`"givenName":%q`, given))
				}
				if family := value("family"); family != "" {
					name = append(name, fmt.Sprintf(`"familyName":%q`, family))
				}
				b += `,"name":{` + strings.Join(name, ",") + `}`
				if email != "" {
					b += fmt.Sprintf(`,"emails":[{"value":%q,"type":"work","primary":%t},{"value":"z@x.example","type":"home","display":%q}]`, email, pick("primary", "1", "0") == "1", value("display"))
				} else if pick("hidden address", "1", "0") == "1" {
					b += `,"emails":[{"display":"hidden"}]`
				}
				return b + fmt.Sprintf(`,"%s":{"department":%q,"employeeNumber":%q}}`, EnterpriseUserURN, dept, value("number"))
			}
		}
		n := rapid.IntRange(1, 4).Draw(rt, "users")
		var houses [2]*house
		for i := range houses {
			houses[i] = openHouse(t, Options{MaxScan: 3})
		}
		for i := range n {
			body := user(fmt.Sprintf("%s%d", value("name"), i), value("given"), pick("email", "", "a@x.example", "b@x.example"), value("department"))
			for _, h := range houses {
				h.make("User", fmt.Sprintf("u%d", i), body())
			}
		}
		members := fmt.Sprintf(`[{"value":"u%d"%%s}]`, rapid.IntRange(0, n).Draw(rt, "member"))
		for _, h := range houses {
			display := ""
			if d := value("said of the member"); d != "" {
				display = fmt.Sprintf(`,"display":%q`, d)
			}
			h.make("Group", "g1", fmt.Sprintf(`{"schemas":["%s"],"displayName":"G","externalId":%q,"members":`+fmt.Sprintf(members, display)+`}`, GroupURN, value("gx")))
		}
		for range rapid.IntRange(0, 3).Draw(rt, "hidden changes") {
			houses[1].ask("PATCH", "/Users/u0", fmt.Sprintf(`{"schemas":["%s"],"Operations":[{"op":"replace","path":"title","value":%q}]}`, patchURN, value("new title")))
		}
		types := pick("types", "", "User", "Group,User")
		for i := range houses {
			houses[i] = houses[i].limited(types, visible).as(func(c *Caller) { c.User = "u0" })
		}
		var filter func(depth int) string
		filter = func(depth int) string {
			p := pick("path", paths...)
			switch k := rapid.IntRange(0, 5).Draw(rt, "kind"); {
			case k == 0:
				return p + " pr"
			case k == 1 && depth > 0:
				return "not (" + filter(depth-1) + ")"
			case k == 2 && depth > 0:
				return filter(depth-1) + pick("and", " and ", " or ") + filter(depth-1)
			case k == 3:
				return pick("list", "emails", "members", "phoneNumbers", "groups") + "[" + pick("sub", "value", "type", "primary", "display") + pick("op", " eq ", " co ") + fmt.Sprintf("%q", value("operand")) + "]"
			}
			return p + pick("op", " eq ", " ne ", " co ", " sw ", " gt ", " le ") + fmt.Sprintf("%q", pick("operand", "a", "b", "", "u0", "g1", "a@x.example", "2026-01-02T03:04:05Z"))
		}
		for range 12 {
			q := url.Values{}
			if pick("filtered", "1", "1", "0") == "1" {
				q.Set("filter", filter(2))
			}
			if pick("sorted", "1", "0") == "1" {
				q.Set("sortBy", pick("sortBy", paths...))
				q.Set("sortOrder", pick("order", "ascending", "descending"))
			}
			if s := pick("projection", "", "attributes", "excludedAttributes"); s != "" {
				q.Set(s, pick("projected", paths...)+","+pick("projected", paths...))
			}
			if c := pick("count", "", "1", "2"); c != "" {
				q.Set("count", c)
			}
			method, target, body := "GET", pick("target", "/Users", "/Users", "/", "/Groups", "/Users/u0", "/Me", "/Schemas", "/ResourceTypes", "/Groups/g1", "/Users/.search"), ""
			if target == "/Users/.search" {
				method = "POST"
				body = fmt.Sprintf(`{"schemas":["%s"],"filter":%q,"sortBy":%q}`, findURN, filter(1), pick("sortBy", paths...))
			} else if target != "/Schemas" && target != "/ResourceTypes" {
				target += "?" + strings.ReplaceAll(q.Encode(), "+", "%20")
			}
			cursor := method == "GET" && strings.HasPrefix(target, "/Users?") && pick("by cursor", "1", "0") == "1"
			var said [2]string
			for i, h := range houses {
				r, next := h.ask(method, target, body), ""
				if cursor {
					r = h.ask(method, target+"&cursor=", body)
					next, _ = r.at("nextCursor").(string)
				}
				said[i] = fmt.Sprint(r.status, " ", strings.ReplaceAll(string(r.body), next, "NEXT"))
				if next == "" {
					said[i] = fmt.Sprint(r.status, " ", r.header.Get("ETag"), " ", string(r.body))
				} else {
					r = h.ask(method, target+"&cursor="+next, body)
					last, _ := r.at("nextCursor").(string)
					if last == "" {
						last = "NONE"
					}
					said[i] += strings.ReplaceAll(string(r.body), last, "NEXT")
				}
			}
			if said[0] != said[1] {
				rt.Fatalf("%s %s %s\n%s\n%s", method, target, body, said[0], said[1])
			}
		}
	})
}
