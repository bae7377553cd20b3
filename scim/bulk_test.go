package scim

import (
	"encoding/json"
	"fmt"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
)

// Bulk requests (RFC 7644 section 3.7). What one operation does is what the same request does by itself, so that nothing but
// the bulk is tested here: references, order, errors, limits.

// bulk sends operations, in JSON. members are those of the request beside them.
func (h *house) bulk(members string, ops ...string) *reply {
	h.t.Helper()
	return h.ask("POST", "/Bulk", bulkBody(members, ops...))
}

func bulkBody(members string, ops ...string) string {
	return `{"schemas":["` + bulkURN + `"],"Operations":[` + strings.Join(ops, ",") + `]` + also(members) + `}`
}

func postUser(bulkID, name, members string) string {
	return fmt.Sprintf(`{"method":"POST","path":"/Users","bulkId":%q,"data":{"schemas":["%s"],"userName":%q%s}}`, bulkID, UserURN, name, also(members))
}

func postGroup(bulkID, name string, members ...string) string {
	return fmt.Sprintf(`{"method":"POST","path":"/Groups","bulkId":%q,"data":{"schemas":["%s"],"displayName":%q,"members":%s}}`, bulkID, GroupURN, name, refs(members...))
}

// onResource is an operation on a resource that is there, or will be: its path ends in an id or in a bulkId.
func onResource(method, path, data string) string {
	if data != "" {
		data = `,"data":` + data
	}
	return `{"method":` + quoted(method) + `,"path":` + quoted(path) + data + `}`
}

// results returns the statuses of a bulk answer, in its order.
func (a *reply) results() string {
	a.t.Helper()
	l, _ := a.want(200).at("Operations").([]any)
	var s []string
	for _, r := range l {
		s = append(s, dig(r, "status").(string))
	}
	return strings.Join(s, " ")
}

// made returns the id of what an operation of a bulk has made.
func (a *reply) made(i int) string {
	a.t.Helper()
	location := a.text("Operations", i, "location")
	id := location[strings.LastIndexByte(location, '/')+1:]
	if id == "" {
		a.t.Fatalf("Operations[%d] has made nothing: %s", i, a.body)
	}
	return id
}

// failed fails the test unless an operation of a bulk has an error that says all of this.
func (a *reply) failed(i int, status string, said ...string) {
	a.t.Helper()
	r := a.at("Operations", i)
	detail, _ := dig(r, "response", "detail").(string)
	if dig(r, "status") != status || dig(r, "response", "status") != status || dig(r, "response", "schemas", 0) != errorURN {
		a.t.Errorf("Operations[%d]: want %s: %s", i, status, a.body)
	}
	for _, s := range said {
		if !strings.Contains(detail, s) {
			a.t.Errorf("Operations[%d]: %q does not say %q", i, detail, s)
		}
	}
}

func TestBulkReferences(t *testing.T) {
	manager := func(ref string) string { return `"` + EnterpriseUserURN + `":{"manager":{"value":"` + ref + `"}}` }
	managerOf := func(h *house, u string) string {
		return h.ask("GET", "/Users/"+u, "").want(200).text(EnterpriseUserURN, "manager", "value")
	}
	for _, c := range []struct {
		name string
		ops  []string
		want string // statuses
		then func(h *house, r *reply)
	}{
		{"backward", []string{postUser("a", "ada", ""), postUser("b", "ben", manager("bulkId:a")), postGroup("g", "Ops", "bulkId:a", "bulkId:b")}, "201 201 201", func(h *house, r *reply) {
			if managerOf(h, r.made(1)) != r.made(0) || !slices.Equal(h.members(r.made(2)), sorted(r.made(0), r.made(1))) {
				h.t.Errorf("members %q", h.members(r.made(2)))
			}
		}},
		{"forward", []string{postGroup("g", "Ops", "bulkId:a", "bulkId:b"), postUser("b", "ben", manager("bulkId:a")), postUser("a", "ada", "")}, "201 201 201", func(h *house, r *reply) {
			if managerOf(h, r.made(1)) != r.made(2) || !slices.Equal(h.members(r.made(0)), sorted(r.made(2), r.made(1))) {
				h.t.Errorf("members %q", h.members(r.made(0)))
			}
		}},
		{"in a circle of groups", []string{postGroup("x", "X", "bulkId:y"), postGroup("y", "Y", "bulkId:z"), postGroup("z", "Z", "bulkId:x", "bulkId:z")}, "201 201 201", func(h *house, r *reply) {
			if !slices.Equal(h.members(r.made(0)), sorted(r.made(1))) || !slices.Equal(h.members(r.made(2)), sorted(r.made(0), r.made(2))) {
				h.t.Errorf("members of Z: %q", h.members(r.made(2)))
			}
			if typ := h.ask("GET", "/Groups/"+r.made(0), "").text("members", 0, "type"); typ != "Group" {
				h.t.Errorf("what is made later is a %s", typ)
			}
		}},
		{"in a circle of users", []string{postUser("a", "ada", manager("bulkId:b")), postUser("b", "ben", manager("bulkId:a")), postUser("c", "cleo", manager("bulkId:c"))}, "201 201 201", func(h *house, r *reply) {
			if managerOf(h, r.made(0)) != r.made(1) || managerOf(h, r.made(1)) != r.made(0) || managerOf(h, r.made(2)) != r.made(2) {
				h.t.Errorf("managers %s and %s", managerOf(h, r.made(0)), managerOf(h, r.made(1)))
			}
		}},
		{"in the path of an operation", []string{
			onResource("PATCH", "/Users/bulkId:a", patchBody(`{"op":"add","path":"title","value":"Dr"}`)),
			postUser("a", "ada", ""),
			onResource("PATCH", "/Groups/bulkId:g", patchBody(`{"op":"add","path":"members","value":[{"value":"bulkId:a"}]}`)),
			postGroup("g", "Ops"),
		}, "200 201 204 201", func(h *house, r *reply) {
			if title := h.ask("GET", "/Users/"+r.made(1), "").text("title"); title != "Dr" || !slices.Equal(h.members(r.made(3)), sorted(r.made(1))) {
				h.t.Errorf("title %q, members %q", title, h.members(r.made(3)))
			}
			if r.made(0) != r.made(1) {
				h.t.Errorf("the PATCH was of %s", r.made(0))
			}
		}},
		{"in the path of a PATCH operation", []string{
			postUser("Frau Müller/1", "mira", ""), postUser("b", "ben", ""),
			postGroup("g", "Ops", "bulkId:Frau Müller/1", "bulkId:b"),
			onResource("PATCH", "/Groups/bulkId:g", patchBody(`{"op":"remove","path":"members[value eq \"bulkId:b\"]"}`)),
			onResource("PATCH", "/Groups/bulkId:g", patchBody(`{"op":"remove","path":"members[value eq bulkId:Frau]"}`)),
		}, "201 201 201 204 400", func(h *house, r *reply) {
			if !slices.Equal(h.members(r.made(2)), sorted(r.made(0))) {
				h.t.Errorf("members %q", h.members(r.made(2)))
			}
			r.failed(4, "400", `"Frau"`)
		}},
		{"in the value of a PATCH", []string{
			postUser("a", "ada", ""), postUser("b", "ben", ""), postUser("c", "cleo", ""),
			onResource("PATCH", "/Users/bulkId:b", patchBody(`{"op":"add","path":"`+EnterpriseUserURN+`:manager","value":"bulkId:a"}`)),
			onResource("PATCH", "/Users/bulkId:c", patchBody(`{"op":"add","value":{"`+EnterpriseUserURN+`:manager":{"value":"bulkId:b"}}}`)),
			onResource("PUT", "/Users/bulkId:a", `{"schemas":["`+UserURN+`"],"userName":"ada","`+EnterpriseUserURN+`":{"manager":{"value":"bulkId:c","$ref":"../Users/bulkId:c"}}}`),
		}, "201 201 201 200 200 200", func(h *house, r *reply) {
			if managerOf(h, r.made(1)) != r.made(0) || managerOf(h, r.made(2)) != r.made(1) || managerOf(h, r.made(0)) != r.made(2) {
				h.t.Errorf("%s", r.body)
			}
			if ref := h.ask("GET", "/Users/"+r.made(0), "").text(EnterpriseUserURN, "manager", "$ref"); ref != "https://scim.example/scim/v2/Users/"+r.made(2) {
				h.t.Errorf("$ref %s", ref)
			}
		}},
		{"and a DELETE", []string{onResource("DELETE", "/Users/bulkId:a", ""), postGroup("g", "Ops", "bulkId:a"), postUser("a", "ada", "")}, "204 201 201", func(h *house, r *reply) {
			h.ask("GET", "/Users/"+r.made(2), "").refused(404, "")
		}},
		{"to nobody", []string{postGroup("g", "Ops", "bulkId:nobody"), onResource("DELETE", "/Users/bulkId:nobody", ""), postUser("a", "ada", "")}, "400 400 201", func(h *house, r *reply) {
			r.failed(0, "400", "Operations[0], POST /Groups: ", `"nobody"`)
			r.failed(1, "400", "Operations[1], DELETE /Users/bulkId:nobody: ", `"nobody"`)
			if r.at("Operations", 1, "location") != nil {
				h.t.Errorf("%s", r.body)
			}
		}},
		{"to what failed", []string{postUser("a", "", ""), postGroup("g", "Ops", "bulkId:a"), onResource("PATCH", "/Groups/bulkId:g", patchBody(`{"op":"add","path":"externalId","value":"x"}`))}, "400 400 400", func(h *house, r *reply) {
			r.failed(0, "400", `"userName" is required`)
			r.failed(1, "400", `the bulkId "a" failed`)
			r.failed(2, "400", `the bulkId "g" failed`)
			if n := h.ask("GET", "/Groups", "").total(); n != 0 {
				h.t.Errorf("%d groups", n)
			}
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := openHouse(t, Options{})
			r := h.bulk("", c.ops...)
			if got := r.results(); got != c.want {
				t.Fatalf("%s, want %s\n%s", got, c.want, r.body)
			}
			c.then(h, r)
			if strings.Contains(h.dump(), bulkPrefix) {
				t.Error("a reference was stored as it is")
			}
		})
	}
}

func sorted(ids ...string) []string { slices.Sort(ids); return ids }

// Operations on one resource keep their order although one of them has to wait, and somebody else's circle is not begun by
// those that only wait for it.
func TestBulkOrder(t *testing.T) {
	h := openHouse(t, Options{})
	g := h.group("Ops", "old")
	r := h.bulk("",
		onResource("PATCH", "/Groups/"+g, patchBody(`{"op":"add","path":"members","value":[{"value":"bulkId:a"}]}`)),
		onResource("PATCH", "/Groups/"+g, patchBody(`{"op":"remove","path":"members"}`)),
		onResource("PATCH", "/Groups/bulkId:x", patchBody(`{"op":"replace","path":"displayName","value":"New X"}`)),
		postGroup("x", "X", "bulkId:y"),
		postGroup("y", "Y", "bulkId:x"),
		postUser("a", "ada", ""),
		onResource("DELETE", "/Groups/"+g, ""),
		onResource("PATCH", "/Groups/"+g, patchBody(`{"op":"replace","path":"displayName","value":"Late"}`)),
	)
	if got := r.results(); got != "204 204 204 201 201 201 204 404" {
		t.Fatalf("%s\n%s", got, r.body)
	}
	r.failed(7, "404", "Operations[7], PATCH /Groups/"+g)
	if location := r.text("Operations", 7, "location"); location != "https://scim.example/scim/v2/Groups/"+g {
		t.Errorf("location of what failed: %q", location)
	}
	if name := h.ask("GET", "/Groups/"+r.made(3), "").text("displayName"); name != "New X" {
		t.Errorf("the group is named %q", name)
	}
	var order []string
	entries, err := h.store.Journal(t.Context(), 1, 100)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		var d struct{ Name string }
		if err := json.Unmarshal(e.Detail, &d); err != nil {
			t.Fatal(err)
		}
		order = append(order, e.Op+" "+d.Name)
	}
	if want := "create ada, patch Ops, patch Ops, delete Ops, create X, patch New X, create Y"; strings.Join(order, ", ") != want {
		t.Errorf("done were %s\nwant %s", strings.Join(order, ", "), want)
	}
}

// What a POST was to become is referred to before it is made; if it is not made, nobody goes on referring to it.
func TestBulkLeavesNoGhosts(t *testing.T) {
	taken := func(ref string) string {
		return `"` + EnterpriseUserURN + `":{"department":"Risk","manager":{"value":"bulkId:` + ref + `"}}`
	}
	for _, c := range []struct {
		name, members string
		ops           []string
		want          string
	}{
		{"a member fails", "", []string{postGroup("x", "X", "bulkId:y", "real"), postGroup("y", "Taken", "bulkId:x")}, "201 409"},
		{"a member of two fails", "", []string{postGroup("x", "X", "real", "bulkId:z"), postGroup("y", "Taken", "bulkId:x"), postGroup("z", "Z", "bulkId:y", "real")}, "201 409 400"},
		{"a manager fails", "", []string{postUser("x", "x", taken("y")), postUser("y", "taken", taken("x"))}, "201 409"},
		{"another stops it all", `"failOnErrors":1`, []string{postGroup("w", "Taken", "bulkId:x"), postGroup("x", "X", "bulkId:y", "real"), postGroup("y", "Y", "bulkId:x")}, "409 201"},
		{"and who referred is gone", "", []string{postGroup("x", "X", "bulkId:y"), onResource("DELETE", "/Groups/bulkId:x", ""), postGroup("y", "Taken", "bulkId:x")}, "201 204 409"},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := openHouse(t, Options{})
			h.group("Taken")
			h.user("taken", "")
			seq := h.store.LastSeq()
			r := h.bulk(c.members, c.ops...)
			if got := r.results(); got != c.want {
				t.Fatalf("%s, want %s\n%s", got, c.want, r.body)
			}
			for i, op := range r.at("Operations").([]any) {
				location, _ := dig(op, "location").(string)
				if location == "" || strings.Contains(c.want, "204") {
					continue
				}
				now := h.ask("GET", strings.TrimPrefix(location, "https://scim.example"+BasePath), "").want(200)
				if v := dig(op, "version"); v != now.etag() {
					t.Errorf("Operations[%d]: the answer says version %v, and it is %s", i, v, now.etag())
				}
				members, _ := now.at("members").([]any)
				for _, m := range members {
					if v, _ := dig(m, "value").(string); v != "real" {
						h.ask("GET", "/Groups/"+v, "").want(200)
					}
				}
				if dept := now.text(EnterpriseUserURN, "department"); strings.Contains(string(now.body), "manager") || now.id() == "" || dept == "" && members == nil {
					t.Errorf("%s", now.body)
				}
			}
			h.versionsAreInTheJournal(seq)
		})
	}
}

// versionsAreInTheJournal fails the test unless the version of each resource is the number of a row behind after: a version
// that was no row's would be given to somebody else again.
func (h *house) versionsAreInTheJournal(after uint64) {
	h.t.Helper()
	entries, err := h.store.Journal(h.t.Context(), 0, 1000)
	if err != nil {
		h.t.Fatal(err)
	}
	rows := map[string]bool{}
	for _, e := range entries {
		rows[etag(e.Seq)] = true
	}
	if len(entries) <= int(after) {
		h.t.Errorf("no row behind %d", after)
	}
	l, _ := h.ask("GET", "/", "").want(200).at("Resources").([]any)
	seen := map[string]any{}
	for _, r := range l {
		v := dig(r, "meta", "version").(string)
		if !rows[v] {
			h.t.Errorf("%v has version %s, which is no row of the journal", dig(r, "id"), v)
		}
		seen[v] = dig(r, "id")
	}
	// The next change has a version that nobody has.
	if v := h.ask("POST", "/Users", `{"userName":"next"}`).want(201).etag(); seen[v] != nil {
		h.t.Errorf("%v has the version %s of what was made after it", seen[v], v)
	}
}

func TestFailOnErrors(t *testing.T) {
	ops := []string{postUser("a", "ada", ""), postUser("b", "ADA", ""), postUser("c", "cleo", ""), onResource("DELETE", "/Users/nobody", ""), onResource("TRACE", "/Users/x", ""), postUser("d", "dan", "")}
	for members, want := range map[string]string{
		"":                    "201 409 201 404 400 201",
		`"failOnErrors":null`: "201 409 201 404 400 201",
		`"failOnErrors":1`:    "201 409",
		`"failOnErrors":2`:    "201 409 201 404",
		`"failOnErrors":3`:    "201 409 201 404 400",
		`"failOnErrors":4`:    "201 409 201 404 400 201",
		`"FailOnErrors":1`:    "201 409",
	} {
		h := openHouse(t, Options{})
		r := h.bulk(members, ops...)
		if got := r.results(); got != want {
			t.Errorf("%s: %s, want %s", members, got, want)
		}
		if r.at("failOnErrors") != nil {
			t.Errorf("%s", r.body)
		}
		if n := h.ask("GET", "/Users", "").total(); n != strings.Count(want, "201") {
			t.Errorf("%s: %d users", members, n)
		}
	}
	h := openHouse(t, Options{})
	h.unchanged(func() {
		for _, n := range []string{"0", "-1", "1.5", `"1"`, "true", "[]"} {
			h.bulk(`"failOnErrors":`+n, postUser("a", "ada", "")).refused(400, InvalidValue)
		}
	})
}

// Results stand in the order of the request, say what they must, and each operation is done by itself.
func TestBulkResults(t *testing.T) {
	h := openHouse(t, Options{})
	u := h.user("ada", `"title":"Dr"`)
	was := h.ask("GET", "/Users/"+u, "").etag()
	r := h.bulk("",
		onResource("PATCH", "/Users/"+u, patchBody(`{"op":"replace","path":"title","value":"changed"}`, `{"op":"replace","path":"id","value":"x"}`)),
		onResource("PATCH", "/Users/"+u, patchBody(`{"op":"add","path":"nickName","value":"A"}`)),
		onResource("PUT", "/Users/"+u, `{"schemas":["`+UserURN+`"],"userName":"ada","title":"Prof"}`),
		postUser("same", "ben", ""), postUser("same", "cleo", ""),
		`{"method":"POST","path":"/Users","data":{"userName":"dan"}}`,
		`{"method":"post","path":"/Users/","bulkId":"e","data":{"userName":"eve"}}`,
		`{"method":"PUT","path":"/Users/`+u+`"}`,
		`{"method":"PATCH","path":"/Users/`+u+`","data":[]}`,
		`{"method":"GET","path":"/Users/`+u+`"}`,
		`{"method":"DELETE","path":"/Users"}`,
		`{"method":"POST","path":"/Users/`+u+`","bulkId":"f","data":{}}`,
		`{"method":"POST","path":"/Bulk","bulkId":"g","data":{}}`,
		`{"method":5,"path":"/Users/`+u+`"}`, `{"path":"/Users"}`, `5`,
		onResource("DELETE", "/Users/"+u, ""),
	)
	if got, want := r.results(), "400 200 200 201 400 400 201 400 400 400 404 404 404 400 400 400 204"; got != want {
		t.Fatalf("%s\nwant %s\n%s", got, want, r.body)
	}
	for i, op := range r.at("Operations").([]any) {
		failed := dig(op, "response") != nil
		if status := dig(op, "status").(string); failed != (status >= "300") {
			t.Errorf("Operations[%d]: %s", i, r.body)
		}
		if failed && !strings.HasPrefix(dig(op, "response", "detail").(string), fmt.Sprintf("Operations[%d]", i)) {
			t.Errorf("Operations[%d]: the detail does not say where: %v", i, dig(op, "response", "detail"))
		}
		if method, location := dig(op, "method"), dig(op, "location"); (method == "PUT" || method == "PATCH") && location != "https://scim.example/scim/v2/Users/"+u {
			t.Errorf("Operations[%d]: location %v", i, location)
		}
	}
	r.failed(0, "400", "Operations[0], PATCH /Users/"+u+": Operations[1], replace \"id\": ", "readOnly")
	r.failed(4, "400", "Operations[4], POST /Users: ", `the bulkId "same"`)
	r.failed(5, "400", `"bulkId" is missing`)
	r.failed(7, "400", `"data" is missing`)
	r.failed(8, "400", `"data" is an array`)
	r.failed(9, "400", `"GET"`, "POST, PUT, PATCH or DELETE")
	r.failed(10, "404", `"/Users"`, "/Users/{id}")
	for i, id := range map[int]string{3: "same", 4: "same", 6: "e"} {
		if got := r.text("Operations", i, "bulkId"); got != id {
			t.Errorf("Operations[%d]: bulkId %q", i, got)
		}
	}
	if v := r.text("Operations", 1, "version"); v == "" || v == was || v == r.text("Operations", 2, "version") || r.at("Operations", 16, "version") != nil {
		t.Errorf("versions: %s", r.body)
	}
	if n := h.ask("GET", "/Users", "").total(); n != 2 { // ben and eve
		t.Errorf("%d users", n)
	}
}

// The limits are those of the service provider configuration, and the answer to more names them (section 3.7.4).
func TestBulkLimits(t *testing.T) {
	h := openHouse(t, Options{BulkMaxOperations: 3, BulkMaxPayload: 2000})
	c := h.ask("GET", "/ServiceProviderConfig", "").want(200)
	if c.text("bulk", "maxOperations") != "3" || c.text("bulk", "maxPayloadSize") != "2000" {
		t.Errorf("%s", c.body)
	}
	ops := func(n int) (l []string) {
		for i := range n {
			l = append(l, fmt.Sprintf(`{"method":"POST","path":"/Users","bulkId":"%d","data":{"userName":"u%d"}}`, i, i))
		}
		return l
	}
	h.unchanged(func() {
		if r := h.bulk("", ops(4)...).refused(413, ""); !strings.Contains(r.text("detail"), "4 operations") || !strings.Contains(r.text("detail"), "maxOperations, 3") {
			t.Errorf("%s", r.body)
		}
		filled := bulkBody(`"x":"`+strings.Repeat("x", 2000-len(bulkBody(`"x":""`, ops(1)...))+1)+`"`, ops(1)...)
		if r := h.ask("POST", "/Bulk", filled).refused(413, ""); !strings.Contains(r.text("detail"), "maxPayloadSize, 2000 bytes") {
			t.Errorf("%s", r.body)
		}
		// A length that is not told beforehand makes no difference.
		q := httptest.NewRequest("POST", BasePath+"/Bulk", brokenBody{strings.NewReader(filled)})
		q.ContentLength = -1
		h.serve(q).refused(413, "")
	})
	filled := bulkBody(`"x":"`+strings.Repeat("x", 2000-len(bulkBody(`"x":""`, ops(3)...)))+`"`, ops(3)...)
	if got := h.ask("POST", "/Bulk", filled).results(); got != "201 201 201" {
		t.Errorf("exactly as much as is allowed: %s", got)
	}
	if got := h.bulk("").results(); got != "" {
		t.Errorf("no operations: %s", got)
	}
	h.unchanged(func() {
		h.ask("POST", "/Bulk", `{"schemas":["`+bulkURN+`"]}`).refused(400, InvalidSyntax)
		h.ask("POST", "/Bulk", `{"schemas":["`+bulkURN+`"],"Operations":{}}`).refused(400, InvalidSyntax)
		h.ask("POST", "/Bulk", `{"schemas":["`+patchURN+`"],"Operations":[]}`).refused(400, InvalidSyntax)
		h.ask("GET", "/Bulk", "").refused(405, "")
	})
}

// A token that may only read gets nothing done by a bulk, whatever else is wrong with the operations.
// POSTs that wait for their commits together are done in the order of the request: of two that cannot both be, the first is,
// whatever stands between them, and what follows sees all of them.
func TestBulkTogether(t *testing.T) {
	h := openHouse(t, Options{})
	var ops, names []string
	var want []string
	for i := range 300 {
		name := fmt.Sprintf("user-%03d", i%250)
		ops = append(ops, postUser(fmt.Sprint("u", i), name, fmt.Sprintf(`"title":"%d"`, i)))
		if i < 250 {
			names, want = append(names, name), append(want, "201")
		} else {
			want = append(want, "409")
		}
	}
	ops = append(ops, postGroup("g", "everybody", "bulkId:u0", "bulkId:u249"), onResource("DELETE", "/Users/bulkId:u1", ""), postUser("again", "user-001", ""), onResource("PATCH", "/Users/bulkId:u260", `{"schemas":["`+patchURN+`"],"Operations":[{"op":"replace","path":"title","value":"x"}]}`))
	want = append(want, "201", "204", "201", "400")
	seq := h.store.LastSeq()
	r := h.bulk("", ops...)
	if got := r.results(); got != strings.Join(want, " ") {
		t.Errorf("got  %s\nwant %s", got, strings.Join(want, " "))
	}
	entries, err := h.store.Journal(t.Context(), seq, 1000)
	if err != nil {
		t.Fatal(err)
	}
	for i, name := range names {
		if e := entries[i]; e.Op != "create" || e.Ref.ID != r.made(i) || !strings.Contains(string(e.Detail), name) {
			t.Errorf("change %d is %s of %s, want the creation of %s", i, e.Op, e.Detail, name)
		}
	}
	h.ask("GET", "/Users/"+r.made(0), "").want(200)
	h.ask("GET", "/Users/"+r.made(1), "").refused(404, "")
	if n := h.ask("GET", "/Users", "").want(200).total(); n != 250 {
		t.Errorf("there are %d users, want 250", n)
	}
}

func TestBulkReadOnly(t *testing.T) {
	h := openHouse(t, Options{})
	u := h.user("ada", "")
	ro := h.as(func(c *Caller) { c.ReadOnly = true })
	h.unchanged(func() {
		r := ro.bulk("", postUser("a", "ben", ""), postGroup("g", "Ops", "bulkId:h"), postGroup("h", "Dev", "bulkId:g"),
			onResource("PATCH", "/Users/"+u, patchBody(`{"op":"add","path":"nobody","value":"x"}`)), onResource("DELETE", "/Users/nobody", ""))
		if got := r.results(); got != "403 403 400 403 403" {
			t.Errorf("%s\n%s", got, r.body)
		}
		r.failed(0, "403", "Operations[0], POST /Users: ", "scope write")
	})
}

// The answer to a bulk of a thousand operations that all wait for the last one does not take the square of their number.
func TestBulkOfMany(t *testing.T) {
	h := openHouse(t, Options{})
	var ops []string
	for i := range 999 {
		ops = append(ops, postUser(fmt.Sprint(i), fmt.Sprint("user-", i), `"`+EnterpriseUserURN+`":{"manager":{"value":"bulkId:`+fmt.Sprint((i+1)%999)+`"}}`))
	}
	ops = append(ops, onResource("PATCH", "/Users/bulkId:500", patchBody(`{"op":"add","path":"title","value":"Dr"}`)))
	r := h.bulk("", ops...)
	if got := r.results(); strings.Count(got, "201") != 999 || !strings.HasSuffix(got, "200") {
		t.Fatalf("%s", got)
	}
	for _, i := range []int{0, 500, 998} {
		if m := h.ask("GET", "/Users/"+r.made(i), "").text(EnterpriseUserURN, "manager", "value"); m != r.made((i+1)%999) {
			t.Errorf("the manager of %d is %s", i, m)
		}
	}
}
