package scim

import (
	"fmt"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"
)

// The service provider configuration tells what the server does, whatever it is set to.
func TestServiceProviderConfigTellsTheTruth(t *testing.T) {
	for _, o := range []Options{
		{},
		{DefaultResults: 3, MaxResults: 5, BulkMaxOperations: 2, BulkMaxPayload: 900, Password: "refuse", CursorTimeout: 10 * time.Minute},
		{Strict: true, MaxResults: 2, TokenEndpoint: "/oauth/token"},
	} {
		h := openHouse(t, o)
		for i := range 7 {
			h.ask("POST", "/Users", fmt.Sprintf(`{"schemas":[%q],"userName":"u%d"}`, UserURN, i)).want(201)
		}
		c := h.ask("GET", "/ServiceProviderConfig", "").want(200)
		number := func(path ...any) int {
			t.Helper()
			var n int
			if _, err := fmt.Sscan(c.text(path...), &n); err != nil {
				t.Fatalf("%v: %s", path, c.body)
			}
			return n
		}
		for _, feature := range []string{"patch", "bulk", "filter", "sort", "etag"} {
			if c.text(feature, "supported") != "true" {
				t.Errorf("%s: %s", feature, c.text(feature))
			}
		}
		// Pages.
		most, usual := number("filter", "maxResults"), number("pagination", "defaultPageSize")
		if number("pagination", "maxPageSize") != most {
			t.Errorf("two answers to one question: %s", c.body)
		}
		if n := len(h.ask("GET", "/Users?count=1000000", "").want(200).ids()); n != min(most, 7) {
			t.Errorf("maxResults is %d, and a page has %d", most, n)
		}
		if n := len(h.ask("GET", "/Users", "").want(200).ids()); n != min(usual, 7) {
			t.Errorf("defaultPageSize is %d, and a page has %d", usual, n)
		}
		if c.text("pagination", "index") != "true" || c.text("pagination", "cursor") != "true" || c.text("pagination", "defaultPaginationMethod") != "index" {
			t.Errorf("pagination: %s", c.text("pagination"))
		}
		if r := h.ask("GET", "/Users?count=1", "").want(200); r.at("nextCursor") != nil || r.at("startIndex") == nil {
			t.Errorf("a page without a cursor: %s", r.body)
		}
		cursor := h.ask("GET", "/Users?count=1&cursor=", "").want(200).text("nextCursor")
		h.clock.add(time.Duration(number("pagination", "cursorTimeout"))*time.Second - time.Second)
		h.ask("GET", "/Users?count=1&cursor="+cursor, "").want(200)
		// Bulk.
		ops := func(n int) string {
			return strings.TrimSuffix(strings.Repeat(`{"method":"DELETE","path":"/Users/x"},`, n), ",")
		}
		bulk := func(n int, pad string) *reply {
			return h.ask("POST", "/Bulk", `{"schemas":["`+bulkURN+`"],"Operations":[`+ops(n)+`]`+pad+`}`)
		}
		limit := number("bulk", "maxOperations")
		bulk(min(limit, 20), "").want(200)
		if r := bulk(limit+1, ""); r.status != 413 || !strings.Contains(r.text("detail"), fmt.Sprint(limit)) {
			t.Errorf("maxOperations is %d, and %d are %d %s", limit, limit+1, r.status, r.body)
		}
		size := number("bulk", "maxPayloadSize")
		if r := bulk(1, strings.Repeat(" ", size)); r.status != 413 || !strings.Contains(r.text("detail"), fmt.Sprint(size)) {
			t.Errorf("maxPayloadSize is %d: %d %s", size, r.status, r.body)
		}
		bulk(1, strings.Repeat(" ", size-len(`{"schemas":["`+bulkURN+`"],"Operations":[`+ops(1)+`]}`))).want(200)
		// Passwords.
		r := h.ask("POST", "/Users", `{"schemas":["`+UserURN+`"],"userName":"p","password":"secret"}`)
		if may := c.text("changePassword", "supported") == "true"; may != (r.status == 201) {
			t.Errorf("changePassword is %t, and a password is answered %d", may, r.status)
		}
		if may := strings.Contains(string(h.ask("GET", "/Schemas/"+UserURN, "").body), `"password"`); may != (r.status == 201) {
			t.Errorf("/Schemas has a password: %t", may)
		}
		// How to authenticate.
		l, _ := c.at("authenticationSchemes").([]any)
		var types []string
		primary := 0
		for _, s := range l {
			types = append(types, dig(s, "type").(string))
			if dig(s, "name") == "" || dig(s, "description") == "" {
				t.Errorf("scheme %v", s)
			}
			if dig(s, "primary") == true {
				primary++
			}
		}
		want := []string{"oauthbearertoken", "httpbasic"}
		if o.TokenEndpoint != "" {
			want = []string{"oauthbearertoken", "oauth2", "httpbasic"}
		}
		if !slices.Equal(types, want) || primary != 1 {
			t.Errorf("authenticationSchemes: %s", c.text("authenticationSchemes"))
		}
		if c.text("meta", "location") != "https://scim.example/scim/v2/ServiceProviderConfig" || c.text("meta", "resourceType") != "ServiceProviderConfig" {
			t.Errorf("meta: %s", c.text("meta"))
		}
	}
}

// described is an attribute as /Schemas tells of it.
type described map[string]any

// attributesOf returns all attributes of a schema, by their path.
func attributesOf(r *reply) map[string]described {
	all := map[string]described{}
	var walk func(prefix string, l any)
	walk = func(prefix string, l any) {
		list, _ := l.([]any)
		for _, v := range list {
			a := described(v.(map[string]any))
			name := prefix + a["name"].(string)
			all[name] = a
			walk(name+".", a["subAttributes"])
		}
	}
	walk("", r.at("attributes"))
	return all
}

// Every attribute of every schema states each characteristic that its type has (RFC 7643 section 7).
func TestSchemasStateCharacteristics(t *testing.T) {
	h := openHouseOn(t, newProbe(), acmeTypes(t), Options{})
	list := h.ask("GET", "/Schemas", "").want(200)
	schemas, _ := list.at("Resources").([]any)
	if len(schemas) != 5 || list.total() != 5 {
		t.Fatalf("%d schemas", len(schemas))
	}
	known := map[string]bool{}
	for _, s := range schemas {
		id := dig(s, "id").(string)
		known[id] = true
		one := h.ask("GET", "/Schemas/"+id, "").want(200)
		if one.text("id") != id || one.text("meta", "location") != "https://scim.example/scim/v2/Schemas/"+id || one.text("meta", "resourceType") != "Schema" || one.text("schemas", 0) != schemaURN {
			t.Errorf("%s", one.body)
		}
		for name, a := range attributesOf(one) {
			typ, _ := a["type"].(string)
			want := []string{"multiValued", "mutability", "name", "required", "returned", "type"}
			switch typ {
			case "complex":
				want = append(want, "subAttributes")
			case "string", "reference", "binary":
				want = append(want, "caseExact", "uniqueness")
			case "integer", "decimal", "dateTime":
				want = append(want, "uniqueness")
			case "boolean":
			default:
				t.Errorf("%s %s: type %q", id, name, typ)
			}
			if typ == "reference" {
				want = append(want, "referenceTypes")
			}
			for _, c := range want {
				if _, ok := a[c]; !ok {
					t.Errorf("%s %s: no %s", id, name, c)
				}
			}
			for c, v := range a {
				if !slices.Contains(append(want, "description", "canonicalValues"), c) || v == nil || v == "" {
					t.Errorf("%s %s: %s is %v", id, name, c, v)
				}
			}
			if _, complex := a["subAttributes"]; complex && strings.Contains(name, ".") {
				t.Errorf("%s %s is complex within a complex attribute", id, name)
			}
		}
	}
	// Each schema of each resource type is there, and each resource type is found by itself.
	types := h.ask("GET", "/ResourceTypes", "").want(200)
	l, _ := types.at("Resources").([]any)
	var endpoints []string
	for _, rt := range l {
		if !known[dig(rt, "schema").(string)] {
			t.Errorf("no schema %v", dig(rt, "schema"))
		}
		exts, _ := dig(rt, "schemaExtensions").([]any)
		for _, e := range exts {
			if !known[dig(e, "schema").(string)] || dig(e, "required") == nil {
				t.Errorf("extension %v", e)
			}
		}
		endpoints = append(endpoints, dig(rt, "endpoint").(string))
		h.ask("GET", "/ResourceTypes/"+dig(rt, "id").(string), "").want(200)
		h.ask("GET", dig(rt, "endpoint").(string), "").want(200)
	}
	if !slices.Equal(endpoints, []string{"/Users", "/Groups", "/Devices"}) {
		t.Errorf("endpoints %q", endpoints)
	}
}

// What /Schemas says is what is enforced: each attribute of a User is tried, by what is told of it.
func TestSchemasTellWhatIsEnforced(t *testing.T) {
	h := openHouseOn(t, newProbe(), acmeTypes(t), Options{})
	n := 0
	for _, urn := range []string{UserURN, EnterpriseUserURN, acmeURN} {
		all := attributesOf(h.ask("GET", "/Schemas/"+urn, "").want(200))
		for name, a := range all {
			if a["type"] == "complex" || name == "userName" {
				continue
			}
			n++
			t.Run(urn[strings.LastIndexByte(urn, ':')+1:]+" "+name, func(t *testing.T) {
				top, _, nested := strings.Cut(name, ".")
				tryAttribute(t, h.in(t), urn, name, a, all[top], nested, n)
			})
		}
	}
	if n < 80 {
		t.Errorf("only %d attributes were tried", n)
	}
}

// tryAttribute writes, reads, finds and changes one attribute.
func tryAttribute(t *testing.T, h *house, urn, name string, a, top described, nested bool, n int) {
	value := map[string]string{
		"string": quoted(fmt.Sprint("Value ", n)), "reference": quoted(fmt.Sprint("https://x.example/Value", n)), "binary": `"QUJD"`, "boolean": "true",
		"integer": fmt.Sprint(n), "decimal": fmt.Sprint(n, ".5"), "dateTime": `"2026-01-02T03:04:05Z"`,
	}[a["type"].(string)]
	topName, sub, _ := strings.Cut(name, ".")
	single := value
	switch {
	case nested && top["multiValued"] == true:
		value = fmt.Sprintf(`[{%q:%s}]`, sub, value)
	case nested:
		value = fmt.Sprintf(`{%q:%s}`, sub, value)
	case a["multiValued"] == true:
		value = "[" + value + "]"
	}
	member := fmt.Sprintf(`%q:%s`, topName, value)
	if urn != UserURN {
		member = fmt.Sprintf(`%q:{%s}`, urn, member)
	}
	users := 0
	post := func() *reply {
		users++
		return h.ask("POST", "/Users", fmt.Sprintf(`{"userName":"try-%d-%d",%s}`, n, users, member))
	}
	path := []any{}
	if urn != UserURN {
		path = append(path, urn)
	}
	path = append(path, topName)
	if nested {
		if top["multiValued"] == true {
			path = append(path, 0)
		}
		path = append(path, sub)
	} else if a["multiValued"] == true {
		path = append(path, 0)
	}
	full := urn + ":" + name
	r := post().want(201)
	id := r.id()
	readOnly := a["mutability"] == "readOnly" || top["mutability"] == "readOnly"
	// returned
	shown := h.ask("GET", "/Users/"+id, "").want(200).at(path...) != nil
	asked := h.ask("GET", "/Users/"+id+"?attributes="+full, "").want(200).at(path...) != nil
	switch {
	case readOnly:
		if shown {
			t.Error("readOnly, and a client has set it")
		}
	case a["returned"] == "never" || top["returned"] == "never":
		if shown || asked {
			t.Error("returned never, and it is")
		}
	case a["returned"] == "request":
		if shown || !asked || r.at(path...) == nil {
			t.Errorf("returned on request: shown %t, when asked for %t, to who has set it %t", shown, asked, r.at(path...) != nil)
		}
	default:
		if !shown || !asked {
			t.Errorf("returned %s: shown %t, when asked for %t", a["returned"], shown, asked)
		}
	}
	if a["returned"] == "always" && !nested && h.ask("GET", "/Users/"+id+"?attributes=userName", "").at(path...) == nil {
		t.Error("returned always, and it is not")
	}
	// mutability
	if !nested || top["multiValued"] != true {
		other := strings.NewReplacer("Value", "Other", "QUJD", "QUJE", "true", "false", "2026", "2027", fmt.Sprint(n), fmt.Sprint(n, "1")).Replace(single)
		if a["multiValued"] == true {
			other = "[" + other + "]"
		}
		changed := h.patch("/Users/"+id, fmt.Sprintf(`{"op":"replace","path":%q,"value":%s}`, full, other))
		if readOnly || a["mutability"] == "immutable" || top["mutability"] == "immutable" {
			changed.refused(400, WrongMutability)
		} else {
			changed.want(200)
		}
	}
	// uniqueness
	if a["uniqueness"] == "server" {
		h.patch("/Users/"+id, fmt.Sprintf(`{"op":"replace","path":%q,"value":%s}`, full, single)).want(200)
	}
	again := post()
	if (a["uniqueness"] == "server") != (again.status == 409) {
		t.Errorf("uniqueness %v, and the second one is %d", a["uniqueness"], again.status)
	}
	// caseExact
	filter := fmt.Sprintf("%s eq %s", full, strings.Replace(single, "Value", "vALUE", 1))
	switch {
	case a["returned"] == "never" || top["returned"] == "never":
		h.ask("GET", "/Users?filter="+filter, "").refused(400, InvalidFilter)
	case readOnly || !strings.Contains(single, "Value"):
		h.ask("GET", "/Users?filter="+filter, "").want(200)
	default:
		if found := h.ask("GET", "/Users?filter="+filter, "").want(200).total() > 0; found == (a["caseExact"] == true) {
			t.Errorf("caseExact %v, and found in another case: %t", a["caseExact"], found)
		}
	}
	// type, and whether there are several
	wrongs := []string{"[{}]", `{"x":[]}`}
	if a["type"] != "string" && a["type"] != "reference" {
		wrongs = append(wrongs, `"no such thing!"`)
	}
	if a["multiValued"] != true {
		wrongs = append(wrongs, "["+single+","+single+"]")
	}
	for _, w := range wrongs {
		body := fmt.Sprintf(`{"userName":"wrong-%d",%s}`, n, strings.Replace(member, single, w, 1))
		if r := h.ask("POST", "/Users", body); readOnly && r.status != 201 || !readOnly && r.status != 400 {
			t.Errorf("%s: %d %s", body, r.status, r.body)
		} else if r.status == 201 {
			h.ask("DELETE", "/Users/"+r.id(), "").want(204)
		}
	}
}

// Names of groups are unique where /Schemas says so.
func TestSchemasTellOfGroupNames(t *testing.T) {
	for _, c := range []struct {
		o      Options
		preset string
		unique bool
	}{
		{Options{}, "", true}, {Options{}, "entra", true}, {Options{}, "standard", false}, {Options{GroupNames: "free"}, "", false}, {Options{Strict: true}, "", false},
	} {
		h := openHouse(t, c.o).preset(c.preset)
		says := attributesOf(h.ask("GET", "/Schemas/"+GroupURN, "").want(200))["displayName"]["uniqueness"]
		body := `{"schemas":["` + GroupURN + `"],"displayName":"Ops"}`
		h.ask("POST", "/Groups", body).want(201)
		if is := h.ask("POST", "/Groups", body).status == 409; is != c.unique || (says == "server") != is {
			t.Errorf("%+v: /Schemas says %v, and a second one is refused: %t", c, says, is)
		}
	}
}

// What discovery answers to whom asks oddly (RFC 7644 section 4).
func TestDiscoveryRequests(t *testing.T) {
	h := openHouse(t, Options{})
	for _, path := range []string{"/Schemas", "/ResourceTypes", "/ServiceProviderConfig", "/Schemas/" + UserURN, "/ResourceTypes/User"} {
		want := h.ask("GET", path, "").want(200)
		for _, query := range []string{"?startIndex=2", "?count=0", "?sortBy=id", "?attributes=id", "?excludedAttributes=attributes", "?cursor=", "?x=y"} {
			if r := h.ask("GET", path+query, "").want(200); string(r.body) != string(want.body) {
				t.Errorf("%s%s is answered otherwise", path, query)
			}
		}
		h.ask("GET", path+`?filter=id eq "x"`, "").refused(403, "")
		h.ask("GET", path+`?FILTER=`, "").refused(403, "")
		h.ask("HEAD", path, "").want(200)
		for _, method := range []string{"POST", "PUT", "PATCH", "DELETE"} {
			h.unchanged(func() {
				if r := h.ask(method, path, `{}`); r.status != 405 || r.header.Get("Allow") != "GET, HEAD" {
					t.Errorf("%s %s: %d, Allow %q", method, path, r.status, r.header.Get("Allow"))
				}
			})
		}
		h.ask("GET", strings.ToLower(path), "").want(200)
		h.ask("GET", path+"/", "").want(200)
	}
	for _, path := range []string{"/Schemas/urn:x", "/ResourceTypes/Users", "/ResourceTypes/" + UserURN, "/ServiceProviderConfig/x", "/Schemas/" + UserURN + "/x", "/ServiceProviderConfigs", "/Schema"} {
		h.ask("GET", path, "").refused(404, "")
	}
	if d := h.ask("GET", "/ResourceTypes/Usre", "").text("detail"); !strings.Contains(d, `"User"`) {
		t.Errorf("no hint: %s", d)
	}
	// What a client may know before it has a token.
	for path, public := range map[string]bool{"/ServiceProviderConfig": true, "/serviceproviderconfig/": true, "/ServiceProviderConfig/x": false, "/Schemas": false, "/ResourceTypes": false, "/Users": false, "/": false} {
		r := httptest.NewRequest("GET", BasePath+path, nil)
		if Public(r) != public || Public(httptest.NewRequest("POST", BasePath+path, nil)) {
			t.Errorf("%s is public: %t", path, Public(r))
		}
		w := httptest.NewRecorder()
		h.handler.ServeHTTP(w, r)
		if public && w.Code != 200 || !public && (w.Code != 401 || w.Header().Get("WWW-Authenticate") == "") {
			t.Errorf("%s without a token: %d", path, w.Code)
		}
	}
}
