package scim

import (
	"bytes"
	"encoding/json"
	"slices"
	"strings"
	"testing"
)

// shape writes the names of an answer's members, without those of id, schemas and meta.
func shape(v any) string {
	switch v := v.(type) {
	case map[string]any:
		var l []string
		for name, m := range v {
			if s := shape(m); s != "" {
				name += s
			}
			name = strings.Replace(name, acmeURN, "acme", 1)
			l = append(l, strings.Replace(name, EnterpriseUserURN, "ent", 1))
		}
		slices.Sort(l)
		return "{" + strings.Join(l, " ") + "}"
	case []any:
		var l []string
		for _, e := range v {
			if s := shape(e); s != "" && !slices.Contains(l, s) {
				l = append(l, s)
			}
		}
		return strings.Join(l, "|")
	}
	return ""
}

func (a *reply) shape() string {
	a.t.Helper()
	v := a.at().(map[string]any)
	if _, ok := v["schemas"]; !ok {
		a.t.Errorf("%s: no schemas: %s", a.asked, a.body)
	}
	if _, ok := v["id"]; !ok {
		a.t.Errorf("%s: no id: %s", a.asked, a.body)
	}
	for _, name := range []string{"schemas", "id", "meta"} {
		delete(v, name)
	}
	return shape(v)
}

// What returned means, for each way to ask (RFC 7643 section 7, RFC 7644 section 3.9). A sub-attribute that is always
// returned is so wherever its attribute is.
func TestProjection(t *testing.T) {
	h := openHouseOn(t, newProbe(), acmeTypes(t), Options{})
	u := h.user("ada", `"title":"Dr","name":{"givenName":"A","familyName":"L"},"password":"secret","emails":[{"value":"a@x","type":"work","primary":true},{"value":"b@x","type":"home"}],"`+
		EnterpriseUserURN+`":{"department":"D","manager":{"value":"m"}},"`+acmeURN+`":{"badge":"B","trace":"t","notes":"n","token":"s","desk":{"building":"A","hidden":"h","asset":"a","pin":"p"},"keys":[{"value":"k","pin":"p"}]}`)
	const always = `acme{trace}`
	for query, want := range map[string]string{
		"":                                                              `{acme{badge desk{asset building} keys{value} trace} emails{primary type value}|{type value} ent{department manager{value}} name{familyName givenName} title userName}`,
		"attributes=userName":                                           `{` + always + ` userName}`,
		"attributes=USERNAME , title":                                   `{` + always + ` title userName}`,
		"attributes=id":                                                 `{` + always + `}`,
		"attributes=nobody":                                             `{` + always + `}`,
		"attributes=name":                                               `{` + always + ` name{familyName givenName}}`,
		"attributes=name.givenName":                                     `{` + always + ` name{givenName}}`,
		"attributes=name,name.givenName":                                `{` + always + ` name{familyName givenName}}`,
		"attributes=name.givenName,name":                                `{` + always + ` name{familyName givenName}}`,
		"attributes=emails.value":                                       `{` + always + ` emails{value}}`,
		"attributes=emails.primary":                                     `{` + always + ` emails{primary}}`,
		"attributes=phoneNumbers":                                       `{` + always + `}`,
		"attributes=password":                                           `{` + always + `}`,
		"attributes=" + UserURN + ":userName":                           `{` + always + ` userName}`,
		"attributes=" + UserURN + ":name.givenName":                     `{` + always + ` name{givenName}}`,
		"attributes=" + EnterpriseUserURN:                               `{` + always + ` ent{department manager{value}}}`,
		"attributes=" + EnterpriseUserURN + ":department":               `{` + always + ` ent{department}}`,
		"attributes=" + EnterpriseUserURN + ":manager.value":            `{` + always + ` ent{manager{value}}}`,
		"attributes=" + acmeURN:                                         `{acme{badge desk{asset building} keys{value} trace}}`,
		"attributes=" + acmeURN + ":notes":                              `{acme{notes trace}}`,
		"attributes=" + acmeURN + ":desk":                               `{acme{desk{asset building} trace}}`,
		"attributes=" + acmeURN + ":desk.hidden":                        `{acme{desk{asset hidden} trace}}`,
		"attributes=" + acmeURN + ":desk.pin," + acmeURN + ":token":     `{acme{desk{asset} trace}}`,
		"attributes=" + acmeURN + "," + acmeURN + ":desk.hidden":        `{acme{badge desk{asset building hidden} keys{value} trace}}`,
		"excludedAttributes=emails,name.familyName,ent,title":           `{acme{badge desk{asset building} keys{value} trace} ent{department manager{value}} name{givenName} userName}`,
		"excludedAttributes=" + EnterpriseUserURN + ",emails.value":     `{acme{badge desk{asset building} keys{value} trace} emails{primary type}|{type} name{familyName givenName} title userName}`,
		"excludedAttributes=id,schemas,userName,emails,name":            `{acme{badge desk{asset building} keys{value} trace} ent{department manager{value}} title}`,
		"excludedAttributes=" + acmeURN:                                 `{` + always + ` emails{primary type value}|{type value} ent{department manager{value}} name{familyName givenName} title userName}`,
		"excludedAttributes=" + acmeURN + ":trace," + acmeURN + ":desk": `{acme{badge keys{value} trace} emails{primary type value}|{type value} ent{department manager{value}} name{familyName givenName} title userName}`,
		"excludedAttributes=name.givenName,name.familyName":             `{acme{badge desk{asset building} keys{value} trace} emails{primary type value}|{type value} ent{department manager{value}} title userName}`,
	} {
		t.Run(query, func(t *testing.T) {
			h := h.in(t)
			one := h.ask("GET", "/Users/"+u+"?"+query, "").want(200)
			if got := one.shape(); got != want {
				t.Errorf("got  %s\nwant %s", got, want)
			}
			// A list, a search and every answer to a write show the same.
			list := h.ask("GET", "/Users?"+query, "").want(200)
			if b, _ := json.Marshal(list.at("Resources", 0)); !sameJSON(b, one.body) {
				t.Errorf("in a list %s\nalone %s", b, one.body)
			}
			search := map[string]any{"schemas": []string{findURN}}
			if name, value, ok := strings.Cut(query, "="); ok {
				search[name] = strings.Split(strings.ReplaceAll(value, " ", ""), ",")
			}
			body, _ := json.Marshal(search)
			found := h.ask("POST", "/Users/.search", string(body)).want(200)
			if b, _ := json.Marshal(found.at("Resources", 0)); !sameJSON(b, one.body) {
				t.Errorf("in a search %s\nalone %s", b, one.body)
			}
			patched := h.ask("PATCH", "/Users/"+u+"?"+query, patchBody(`{"op":"add","path":"title","value":"Dr"}`)).want(200)
			if !sameJSON(patched.body, one.body) {
				t.Errorf("after a PATCH %s\nalone %s", patched.body, one.body)
			}
		})
	}
}

func sameJSON(a, b []byte) bool {
	read := func(b []byte) (v any, err error) {
		d := json.NewDecoder(bytes.NewReader(b))
		d.UseNumber()
		err = d.Decode(&v)
		return v, err
	}
	x, err := read(a)
	y, err2 := read(b)
	if err != nil || err2 != nil {
		return false
	}
	p, _ := json.Marshal(x)
	q, _ := json.Marshal(y)
	return bytes.Equal(p, q)
}

// What is returned on request is also answered to the write that has set it (RFC 7643 section 7).
func TestReturnedByRequestAfterWrites(t *testing.T) {
	h := openHouseOn(t, newProbe(), acmeTypes(t), Options{})
	r := h.ask("POST", "/Users", `{"userName":"ada","`+acmeURN+`":{"notes":"n","desk":{"building":"A"}}}`).want(201)
	if got := r.shape(); got != `{acme{desk{building} notes} userName}` {
		t.Errorf("POST: %s", got)
	}
	u := r.id()
	for _, c := range []struct{ method, query, body, want string }{
		{"PATCH", "", patchBody(`{"op":"add","path":"title","value":"Dr"}`), `{acme{desk{building}} title userName}`},
		{"PATCH", "", patchBody(`{"op":"replace","path":"` + acmeURN + `:notes","value":"n2"}`), `{acme{desk{building} notes} title userName}`},
		{"PATCH", "", patchBody(`{"op":"replace","value":{"` + acmeURN + `":{"desk":{"hidden":"h"}}}}`), `{acme{desk{building hidden}} title userName}`},
		{"PATCH", "?attributes=title", patchBody(`{"op":"replace","path":"` + acmeURN + `:notes","value":"n3"}`), `{title}`},
		{"PUT", "", `{"userName":"ada","` + acmeURN + `":{"notes":"n4"}}`, `{acme{notes} userName}`},
		{"GET", "", "", `{userName}`},
	} {
		if got := h.ask(c.method, "/Users/"+u+c.query, c.body).want(200).shape(); got != c.want {
			t.Errorf("%s%s %s:\ngot  %s\nwant %s", c.method, c.query, c.body, got, c.want)
		}
	}
}

// A PATCH of a group answers with it only if it is asked what to show.
func TestGroupPatchAnswers(t *testing.T) {
	h := openHouse(t, Options{})
	g := h.group("Ops", "a")
	op := patchBody(`{"op":"add","path":"members","value":[{"value":"b"}]}`)
	if r := h.ask("PATCH", "/Groups/"+g, op).want(204); r.etag() == "" || r.header.Get("Location") == "" {
		t.Errorf("headers %v", r.header)
	}
	for query, want := range map[string]string{
		"attributes=displayName":                      `{displayName}`,
		"attributes=members.value":                    `{members{value}}`,
		"excludedAttributes=members":                  `{displayName}`,
		"excludedAttributes=displayName,members.$ref": `{members{type value}}`,
	} {
		if got := h.ask("PATCH", "/Groups/"+g+"?"+query, op).want(200).shape(); got != want {
			t.Errorf("%s: %s, want %s", query, got, want)
		}
	}
}
