package scim

import (
	"strings"
	"testing"
)

// Every refusal says where in the request, what was found and what is allowed, and by which name the request is found in the
// log. That the answers have the form of SCIM errors is checked for every one by the harness, and their wordings are in
// testdata/details.golden.
func TestRefusalsExplain(t *testing.T) {
	h := openHouse(t, Options{MaxBody: 5000, MaxScan: 3, UnknownMembers: "refuse"}).as(func(c *Caller) { c.Request = "req-7" })
	u := h.user("ada", `"title":"Dr","emails":[{"type":"work","value":"ada@corp.example"}]`)
	h.user("ben", "")
	g := h.group("Ops", u)
	for _, name := range []string{"c", "d", "e"} {
		h.user(name, `"title":"x"`)
	}
	const enterprise = EnterpriseUserURN
	place := func(op, path string) string { return `Operations[0], ` + op + ` "` + path + `": ` }
	for _, c := range []struct {
		method, target, body string
		status               int
		says                 []string
	}{
		// PATCH: the operation, its kind and its path.
		{"PATCH", "/Users/{u}", `{"op":"replace","path":"emails[type eq \"home\"].primary","value":"often"}`, 400, []string{place("replace", `emails[type eq \"home\"].primary`), "a string", "true or false"}},
		{"PATCH", "/Users/{u}", `{"op":"add","path":"title","value":"x"},{"op":"Replace","path":"name","value":5}`, 400, []string{`Operations[1], replace "name": `, "the number 5", "an object"}},
		{"PATCH", "/Users/{u}", `{"op":"replace","value":{"name":{"givenName":[]}}}`, 400, []string{`Operations[0], replace "name": "name.givenName" is an array; expected is a string`}},
		{"PATCH", "/Users/{u}", `{"op":"replace","value":{"name.givenName":true}}`, 400, []string{`Operations[0], replace "name.givenName": `, "is true"}},
		{"PATCH", "/Users/{u}", `{"op":"replace","value":{"` + enterprise + `":{"department":{}}}}`, 400, []string{`"` + enterprise + `:department" is an object; expected is a string`}},
		{"PATCH", "/Users/{u}", `{"op":"add","path":"` + enterprise + `:departement","value":"x"}`, 400, []string{place("add", enterprise+":departement"), `did you mean "department"?`}},
		{"PATCH", "/Users/{u}", `{"op":"add","path":"username.x","value":"x"}`, 400, []string{place("add", "username.x"), `"userName" is of the type "string" and has no sub-attributes`}},
		{"PATCH", "/Users/{u}", `{"op":"add","path":"emails[type eq \"work\"","value":"x"}`, 400, []string{place("add", "emails[...]"), "at byte 21", "found the end", `the "]" that closes byte 6`}},
		{"PATCH", "/Users/{u}", `{"op":"add","path":"emails[0]","value":"x"}`, 400, []string{place("add", "emails[...]"), "at byte 7", `found "0"`, `such as type eq "work"`}},
		{"PATCH", "/Users/{u}", `{"op":"remove","path":"id"}`, 400, []string{place("remove", "id"), "readOnly"}},
		{"PATCH", "/Users/{u}", `{"op":"remove","path":"userName"}`, 400, []string{place("remove", "userName"), "required"}},
		{"PATCH", "/Users/{u}", `{"op":"remove"}`, 400, []string{`Operations[0], remove: "path" is missing`}},
		{"PATCH", "/Users/{u}", `{"op":"add","path":"title"}`, 400, []string{place("add", "title"), `"value" is missing`}},
		{"PATCH", "/Users/{u}", `{"op":"move","path":"title"}`, 400, []string{`Operations[0]: "op" is "move"; expected is "add", "remove" or "replace"`}},
		{"PATCH", "/Users/{u}", `{"path":"title"}`, 400, []string{`Operations[0]: "op" is missing`}},
		{"PATCH", "/Users/{u}", `{"op":7}`, 400, []string{`Operations[0]: "op" is the number 7`}},
		{"PATCH", "/Users/{u}", `"title"`, 400, []string{"Operations[0]: it is a string; expected is an object with op, path and value"}},
		{"PATCH", "/Users/{u}", ``, 400, []string{`"Operations" is empty`}},
		{"PATCH", "/Users/{u}", `{"op":"add","path":"emails[value sw \"x\"].type","value":"y"}`, 400, []string{place("add", `emails[value sw \"x\"].type`), `no value of "emails" matches`, "eq terms"}},
		{"PATCH", "/Users/{u}", `{"op":"replace","path":"userName","value":"BEN"}`, 409, []string{"another User has this userName already"}},
		{"PATCH", "/Groups/{g}", `{"op":"replace","path":"members[value eq \"{u}\"].type","value":"Group"}`, 400, []string{`Operations[0], replace "members[value eq \"`, "immutable", "remove the value and add it anew"}},
		{"PATCH", "/Groups/{g}", `{"op":"add","path":"members","value":[{"value":"nobody"}]}`, 400, []string{place("add", "members"), `"members" names "nobody"`, "no User or Group"}},
		{"PATCH", "/Groups/{g}", `{"op":"add","path":"members","value":[{"display":"x"}]}`, 400, []string{place("add", "members"), `has no "value"`}},
		// Bodies.
		{"POST", "/Users", `{"userName":"x","emails":[{"value":"a"},{"value":5}]}`, 400, []string{`"emails[1].value" is the number 5; expected is a string`}},
		{"POST", "/Users", `{"userName":"x","` + enterprise + `":{"manager":{"value":[]}}}`, 400, []string{`"` + enterprise + `:manager.value" is an array; expected is a string`}},
		{"POST", "/Users", `{"userName":"x","x509Certificates":[{"value":"%%"}]}`, 400, []string{`"x509Certificates[0].value" is not base64`}},
		{"POST", "/Users", `{"name":{"givenName":"x"}}`, 400, []string{`"userName" is required`}},
		{"POST", "/Users", `{"schemas":["` + GroupURN + `"],"userName":"x"}`, 400, []string{GroupURN, UserURN}},
		{"POST", "/Users", `{"userName":"x",}`, 400, []string{"at byte 15", "no valid JSON"}},
		{"POST", "/Users", `{"userName":"x","UserName":"y"}`, 400, []string{`"UserName" stands twice`, "without regard to case"}},
		{"POST", "/Users", `{"userName":"x","title":"` + strings.Repeat("x", 5000) + `"}`, 413, []string{"larger than 5000 bytes"}},
		{"PUT", "/Users/{u}", `{"userName":"ben"}`, 409, []string{"userName", "case and width"}},
		{"POST", "/Groups", `{"displayName":"ops"}`, 409, []string{`displayName "ops"`, "group_names"}},
		// Queries.
		{"GET", "/Users?filter=userName eq bjensen\"", "", 400, []string{"the filter, at byte 12", "double quotes"}},
		{"GET", "/Users?filter=userName is \"x\"", "", 400, []string{"at byte 9", `"is" is no operator`, "eq, ne, co"}},
		{"GET", "/Users?filter=title pr and usrName eq \"x\"", "", 400, []string{"at byte 13", `did you mean "userName"?`}},
		{"GET", "/Users?filter=active gt true", "", 400, []string{`"active"`, "has no gt", "eq and ne"}},
		{"GET", "/Users?filter=meta.created gt \"today\"", "", 400, []string{`"meta.created"`, "2026-01-31T13:45:00Z"}},
		{"GET", "/Users?filter=title eq \"x\"", "", 400, []string{"more than 3 User resources", "userName, displayName", "max_scan"}},
		{"GET", "/Users?sortBy=name", "", 400, []string{"sortBy: ", `"name" is complex`, "name.formatted"}},
		{"GET", "/Users?sortOrder=up", "", 400, []string{`sortOrder is "up"`, "ascending or descending"}},
		{"GET", "/Users?startIndex=x", "", 400, []string{`startIndex is "x"`, "integer"}},
		{"GET", "/Users?cursor=&count=x", "", 400, []string{`count is "x"`, "integer"}},
		{"GET", "/Users?cursor=x", "", 400, []string{"start again"}},
		{"GET", "/Users?attributes=id&excludedAttributes=title", "", 400, []string{"attributes and excludedAttributes", "one of them"}},
		{"GET", "/Schemas?filter=x", "", 403, []string{"filter", "/Schemas"}},
		{"POST", "/Users/.search", `{"schemas":["` + findURN + `"],"count":"5"}`, 400, []string{`"count" is a string; expected is an integer`}},
		// Addresses and methods.
		{"GET", "/Users/nobody", "", 404, []string{`no User with the id "nobody"`}},
		{"GET", "/Gropus", "", 404, []string{`"/scim/v2/Gropus"`, "/ResourceTypes"}},
		{"GET", "/Schemas/urn:nobody", "", 404, []string{`no schema "urn:nobody"`}},
		{"GET", "/ResourceTypes/Usr", "", 404, []string{`did you mean "User"?`}},
		{"GET", "/v1/Users", "", 400, []string{`"v1"`, "v2"}},
		{"DELETE", "/Users", "", 405, []string{"DELETE", `"/scim/v2/Users"`, "GET, HEAD, POST"}},
		{"GET", "/Bulk", "", 405, []string{"GET", "POST"}},
		{"GET", "/Me", "", 501, []string{"/Users/{id}"}},
	} {
		name := c.method + " " + c.target + " " + clip(c.body)
		t.Run(name, func(t *testing.T) {
			h := h.in(t)
			fill := strings.NewReplacer("{u}", u, "{g}", g)
			body := fill.Replace(c.body)
			if c.method == "PATCH" {
				body = patchBody(body)
			}
			h.unchanged(func() {
				r := h.ask(c.method, fill.Replace(c.target), body).want(c.status)
				detail := r.text("detail")
				for _, s := range c.says {
					if !strings.Contains(detail, s) {
						t.Errorf("%s\ndoes not say %s", detail, s)
					}
				}
				if !strings.HasSuffix(detail, " (request req-7)") {
					t.Errorf("%s\ndoes not name the request", detail)
				}
				if c.method == "PATCH" && c.status == 400 && body != patchBody() && !strings.HasPrefix(detail, "Operations[") {
					t.Errorf("%s\ndoes not begin with the operation", detail)
				}
			})
		})
	}
	// The same for those who may not: also without a token, and with one that may only read.
	ro := h.as(func(c *Caller) { c.ReadOnly = true })
	if d := ro.ask("DELETE", "/Users/"+u, "").refused(403, "").text("detail"); !strings.Contains(d, "may only read") || !strings.Contains(d, "req-7") {
		t.Errorf("%s", d)
	}
	if d := ro.ask("PUT", "/Users/"+u, `{"userName":"ada"}`, `If-Match: "0"`).refused(403, "").text("detail"); !strings.Contains(d, "scope write") {
		t.Errorf("%s", d)
	}
	if d := h.ask("PUT", "/Users/"+u, `{"userName":"ada"}`, `If-Match: "0"`).refused(412, "").text("detail"); !strings.Contains(d, `version W/"`) || !strings.Contains(d, "If-Match") {
		t.Errorf("%s", d)
	}
	if d := h.ask("POST", "/Users", `{"userName":"x"}`, "Content-Type: text/xml").refused(415, "").text("detail"); !strings.Contains(d, `"text/xml"`) || !strings.Contains(d, scimJSON) {
		t.Errorf("%s", d)
	}
}

// What nobody's schema has is counted by its name, and never with a value that it was compared with.
func TestCountedNamesHoldNoValues(t *testing.T) {
	h := openHouse(t, Options{}).preset("entra")
	u := h.user("ada", "")
	h.patch("/Users/"+u, `{"op":"add","path":"shoes[brand eq \"s3cret\"].size","value":"s3cret"}`, `{"op":"replace","path":"`+EnterpriseUserURN+`:badge","value":"s3cret"}`).want(200)
	h.ask("POST", "/Users", `{"userName":"ben","shoes":[{"brand":"s3cret"}],"`+EnterpriseUserURN+`":{"badge":"s3cret"}}`).want(201)
	n := h.service.UnknownAttributes()
	for name, want := range map[string]int64{"User:shoes.size": 1, "User:" + EnterpriseUserURN + ":badge": 2, "User:shoes": 1} {
		if n[name] != want {
			t.Errorf("%s was counted %d times, want %d", name, n[name], want)
		}
		delete(n, name)
	}
	if len(n) > 0 {
		t.Errorf("counted is also %v", n)
	}
}
