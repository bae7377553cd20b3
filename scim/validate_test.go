package scim

import (
	"strings"
	"testing"
)

// acmeHouse has a user whose attributes of the acme extension are all assigned that a client can assign.
func acmeHouse(t *testing.T) (h *house, user string) {
	t.Helper()
	h = openHouseOn(t, newProbe(), acmeTypes(t), Options{})
	return h, h.user("ada", `"title":"Dr","`+acmeURN+`":`+acmeFull)
}

const acmeFull = `{"badge":"B1","origin":"north","contract":{"number":"C1","signed":"2026-01-01T00:00:00Z"},"awards":["x","y"],
	"desk":{"building":"A","serial":"S1","hidden":"h","asset":"a","pin":"1"},"keys":[{"value":"k","serial":"K1","pin":"1"}],
	"score":7,"trace":"t","notes":"n","token":"secret"}`

// acme returns what is stored of the acme extension, as it is shown when everything is asked for.
func (h *house) acme(user, path string) string {
	h.t.Helper()
	r := h.ask("GET", "/Users/"+user+"?attributes="+acmeURN+","+acmeURN+":notes,"+acmeURN+":desk.hidden", "").want(200)
	p := []any{acmeURN}
	for s := range strings.SplitSeq(path, ".") {
		p = append(p, s)
	}
	return r.text(p...)
}

// The table of validate.go, by POST.
func TestCharacteristicsByPOST(t *testing.T) {
	h, u := acmeHouse(t)
	for path, want := range map[string]string{
		"score":           "", // readOnly
		"origin":          "north",
		"contract.number": "C1",
		"awards":          `["x","y"]`,
		"desk.serial":     "S1",
		"token":           "", // never returned
		"desk.pin":        "",
		"notes":           "n",
		"desk.hidden":     "h",
	} {
		if got := h.acme(u, path); got != want {
			t.Errorf("%s: %q, want %q", path, got, want)
		}
	}
	for _, body := range []string{
		`{"schemas":["urn:example:params:scim:schemas:acme:2.0:Device"]}`,
		`{"schemas":["urn:example:params:scim:schemas:acme:2.0:Device"],"serial":" "}`,
		`{"schemas":["urn:example:params:scim:schemas:acme:2.0:Device"],"serial":"1","slots":[{"name":"a"},{"size":1}]}`,
	} {
		h.unchanged(func() { h.ask("POST", "/Devices", body).refused(400, InvalidValue) })
	}
	// What only the server assigns is left out unread, and however wrong it is.
	h.ask("POST", "/Users", `{"schemas":["`+UserURN+`"],"id":5,"meta":"x","groups":{"a":1},"userName":"ben","`+acmeURN+`":{"score":"many"}}`).want(201)
}

// By PUT.
func TestCharacteristicsByPUT(t *testing.T) {
	put := func(h *house, u, members string) *reply {
		return h.ask("PUT", "/Users/"+u, `{"schemas":["`+UserURN+`"],"userName":"ada"`+also(members)+`}`)
	}
	h, u := acmeHouse(t)
	r := put(h, u, `"id":"x","meta":{"created":"2020-01-01T00:00:00Z","version":"x"},"groups":[{"value":"x"}]`).want(200)
	if r.id() != u || r.text("meta", "created") == "2020-01-01T00:00:00Z" || r.at("groups") != nil || r.at("title") != nil {
		t.Errorf("%s", r.body)
	}
	// What was left out is gone, unless it is immutable.
	for path, want := range map[string]string{
		"badge": "", "notes": "", "desk.building": "", "keys": "", "trace": "",
		"origin": "north", "contract.number": "C1", "contract.signed": "2026-01-01T00:00:00Z", "awards": `["x","y"]`, "desk.serial": "S1",
	} {
		if got := h.acme(u, path); got != want {
			t.Errorf("%s: %q, want %q", path, got, want)
		}
	}
	// To repeat an immutable value is no change; another is refused.
	h.unchanged(func() {
		put(h, u, `"`+acmeURN+`":{"origin":"north","contract":{"number":"C1","signed":"2026-01-01T00:00:00Z"},"awards":["x","y"],"desk":{"serial":"S1"}}`).want(200)
		for _, members := range []string{
			`{"origin":"south"}`, `{"contract":{"number":"C2","signed":"2026-01-01T00:00:00Z"}}`, `{"contract":{"number":"C1"}}`,
			`{"awards":["x"]}`, `{"awards":["x","y","z"]}`, `{"desk":{"serial":"S2","building":"B"}}`,
		} {
			put(h, u, `"`+acmeURN+`":`+members).refused(400, WrongMutability)
		}
	})
	bare := h.user("ben", "")
	h.ask("PUT", "/Users/"+bare, `{"schemas":["`+UserURN+`"],"userName":"ben","`+acmeURN+`":{"origin":"first","desk":{"serial":"first"}}}`).want(200)
	if h.acme(bare, "origin") != "first" || h.acme(bare, "desk.serial") != "first" {
		t.Error("an immutable attribute cannot be given its first value")
	}
	h.unchanged(func() {
		h.ask("PUT", "/Users/"+u, `{"schemas":["`+UserURN+`"]}`).refused(400, InvalidValue)
		h.preset("standard").ask("PUT", "/Users/"+u, `{"schemas":["`+UserURN+`"],"userName":"ada","emails":[{"value":"a","primary":true},{"value":"b","primary":true}]}`).refused(400, InvalidValue)
	})
}

// By PATCH.
func TestCharacteristicsByPATCH(t *testing.T) {
	h, u := acmeHouse(t)
	x := func(name string) string { return `"` + acmeURN + `:` + name + `"` }
	for _, op := range []string{
		`{"op":"add","path":` + x("score") + `,"value":1}`,
		`{"op":"replace","path":` + x("score") + `,"value":1}`,
		`{"op":"remove","path":` + x("score") + `}`,
		`{"op":"replace","value":{` + x("score") + `:1}}`,
		`{"op":"replace","path":` + x("origin") + `,"value":"south"}`,
		`{"op":"add","path":` + x("origin") + `,"value":"south"}`,
		`{"op":"remove","path":` + x("origin") + `}`,
		`{"op":"replace","path":` + x("origin") + `,"value":null}`,
		`{"op":"replace","value":{` + x("origin") + `:"south"}}`,
		`{"op":"replace","value":{"` + acmeURN + `":{"origin":"south"}}}`,
		`{"op":"replace","path":"` + acmeURN + `","value":{"origin":null}}`,
		`{"op":"remove","path":"` + acmeURN + `"}`,
		`{"op":"replace","path":` + x("contract") + `,"value":{"number":"C2"}}`,
		`{"op":"replace","path":` + x("contract.number") + `,"value":"C2"}`,
		`{"op":"add","path":` + x("contract.number") + `,"value":"C2"}`,
		`{"op":"remove","path":` + x("contract.signed") + `}`,
		`{"op":"remove","path":` + x("contract") + `}`,
		`{"op":"add","path":` + x("awards") + `,"value":["z"]}`,
		`{"op":"remove","path":` + x("awards") + `}`,
		`{"op":"remove","path":"` + acmeURN + `:awards[value eq \"x\"]"}`,
		`{"op":"replace","path":"` + acmeURN + `:awards[value eq \"x\"]","value":"z"}`,
		`{"op":"add","path":"` + acmeURN + `:awards[value eq \"z\"]","value":"z"}`,
		`{"op":"replace","path":` + x("desk.serial") + `,"value":"S2"}`,
		`{"op":"remove","path":` + x("desk.serial") + `}`,
		`{"op":"replace","path":` + x("desk") + `,"value":{"serial":"S2"}}`,
		`{"op":"remove","path":` + x("desk") + `}`,
		`{"op":"replace","path":"` + acmeURN + `:keys[value eq \"k\"].serial","value":"K2"}`,
		`{"op":"add","path":"` + acmeURN + `:keys[value eq \"k\"]","value":{"serial":"K2"}}`,
	} {
		t.Run(op, func(t *testing.T) {
			h := h.in(t)
			h.unchanged(func() {
				h.patch("/Users/"+u, `{"op":"replace","path":"title","value":"changed"}`, op).refused(400, WrongMutability)
			})
		})
	}
	// The value that is there already is no change, and what is beside an immutable part can be changed.
	h.unchanged(func() {
		h.patch("/Users/"+u, `{"op":"add","path":`+x("origin")+`,"value":"north"}`, `{"op":"replace","path":`+x("contract.number")+`,"value":"C1"}`,
			`{"op":"replace","path":`+x("contract")+`,"value":{"number":"C1"}}`, `{"op":"add","path":`+x("awards")+`,"value":["y"]}`,
			`{"op":"replace","path":`+x("desk")+`,"value":{"serial":"S1"}}`, `{"op":"add","path":`+x("desk")+`,"value":{}}`).want(200)
	})
	h.patch("/Users/"+u, `{"op":"replace","path":`+x("desk")+`,"value":{"building":"B","asset":null}}`, `{"op":"add","path":"`+acmeURN+`:keys[value eq \"k\"]","value":{"type":"t","serial":"K1"}}`).want(200)
	if h.acme(u, "desk.building") != "B" || h.acme(u, "desk.serial") != "S1" || h.acme(u, "desk.hidden") != "h" || h.acme(u, "desk.asset") != "" {
		t.Errorf("desk: %s", h.acme(u, "desk"))
	}
	// The first value is taken, in one operation and in several.
	bare := h.user("ben", "")
	h.patch("/Users/"+bare, `{"op":"add","value":{`+x("origin")+`:"first",`+x("contract")+`:{"number":"C9","signed":"2026-01-01T00:00:00Z"},`+x("awards")+`:["z"],`+x("desk.serial")+`:"S9"}}`).want(200)
	if h.acme(bare, "origin") != "first" || h.acme(bare, "contract.signed") == "" || h.acme(bare, "awards") != `["z"]` || h.acme(bare, "desk.serial") != "S9" {
		t.Errorf("%s", h.ask("GET", "/Users/"+bare, "").body)
	}
	// An extension without immutable values goes as a whole, and with it its URN.
	plain := h.user("cleo", `"`+acmeURN+`":{"badge":"B3","desk":{"building":"C"}}`)
	if r := h.patch("/Users/"+plain, `{"op":"remove","path":"`+acmeURN+`"}`).want(200); strings.Contains(string(r.body), acmeURN) {
		t.Errorf("%s", r.body)
	}
	d := h.ask("POST", "/Devices", `{"serial":"1","slots":[{"name":"a","size":1}]}`).want(201).id()
	h.unchanged(func() {
		h.patch("/Devices/"+d, `{"op":"remove","path":"serial"}`).refused(400, WrongMutability)
		h.patch("/Devices/"+d, `{"op":"replace","path":"serial","value":null}`).refused(400, InvalidValue)
		h.patch("/Devices/"+d, `{"op":"add","path":"slots","value":[{"size":2}]}`).refused(400, InvalidValue)
		h.patch("/Devices/"+d, `{"op":"remove","path":"slots[name eq \"a\"].name"}`).refused(400, InvalidValue)
	})
}

// A resource without what its type requires of an extension is refused (RFC 7643 section 6).
func TestRequiredExtension(t *testing.T) {
	types := typesWith(t, `{"id":"urn:example:must:2.0:User","extends":"User","extensionRequired":true,"attributes":[{"name":"must","required":true},{"name":"may"}]}`)
	h := openHouseOn(t, newProbe(), types, Options{})
	for _, members := range []string{``, `,"urn:example:must:2.0:User":{}`, `,"urn:example:must:2.0:User":{"may":"x"}`, `,"urn:example:must:2.0:User":{"must":""}`} {
		h.ask("POST", "/Users", `{"userName":"a"`+members+`}`).refused(400, InvalidValue)
	}
	u := h.ask("POST", "/Users", `{"userName":"a","urn:example:must:2.0:User":{"must":"x"}}`).want(201).id()
	h.unchanged(func() {
		h.ask("PUT", "/Users/"+u, `{"userName":"a"}`).refused(400, InvalidValue)
		h.patch("/Users/"+u, `{"op":"remove","path":"urn:example:must:2.0:User:must"}`).refused(400, WrongMutability)
		h.patch("/Users/"+u, `{"op":"remove","path":"urn:example:must:2.0:User"}`).refused(400, WrongMutability)
	})
	if r := h.ask("GET", "/ResourceTypes/User", "").want(200); r.text("schemaExtensions", 1, "required") != "true" {
		t.Errorf("%s", r.body)
	}
}

// A password is taken and never comes back, in whatever way it is asked for; it is kept as a hash; a PUT without it leaves
// it; and to remove what is not there changes nothing.
func TestPassword(t *testing.T) {
	h := openHouse(t, Options{})
	const secret = "correct horse battery staple"
	u := h.user("ada", `"password":"`+secret+`"`)
	shown := func(r *reply) {
		t.Helper()
		if strings.Contains(string(r.body), "password") || strings.Contains(string(r.body), secret) {
			t.Errorf("%s: %s", r.asked, r.body)
		}
	}
	for _, target := range []string{"/Users/" + u, "/Users/" + u + "?attributes=password", "/Users?attributes=password,userName", "/Users/" + u + "?excludedAttributes=title"} {
		shown(h.ask("GET", target, "").want(200))
	}
	for _, filter := range []string{`password eq "` + secret + `"`, `password pr`, `password sw "c"`, `password ne null`, `not (password pr)`} {
		r := h.ask("GET", "/Users?filter="+filter, "")
		r.refused(400, InvalidFilter)
		if strings.Contains(string(r.body), secret) {
			t.Errorf("%s", r.body)
		}
	}
	has := func(want bool) {
		t.Helper()
		if got := strings.Contains(h.dump(), `r`+"default\\x00$password\\x00User/"+u); got != want {
			t.Errorf("there is a hash: %t", got)
		}
	}
	has(true)
	shown(h.ask("PUT", "/Users/"+u, `{"userName":"ada","title":"Dr"}`).want(200))
	has(true)
	h.unchanged(func() {
		h.patch("/Users/"+u, `{"op":"replace","path":"password","value":"other"}`, `{"op":"replace","path":"userName","value":null}`).refused(400, InvalidValue)
	})
	shown(h.patch("/Users/"+u, `{"op":"remove","path":"password"}`).want(200))
	has(false)
	h.unchanged(func() { h.patch("/Users/"+u, `{"op":"remove","path":"password"}`).want(200) })
	shown(h.patch("/Users/"+u, `{"op":"add","value":{"password":"`+secret+`"}}`).want(200))
	has(true)
	if strings.Contains(h.dump(), secret) {
		t.Error("the password is in the store")
	}
	h.ask("DELETE", "/Users/"+u, "").want(204)
	has(false)

	none := openHouse(t, Options{Password: "refuse"})
	none.unchanged(func() { none.ask("POST", "/Users", `{"userName":"ada","password":"x"}`).refused(400, InvalidValue) })
	none.ask("POST", "/Users", `{"userName":"ada"}`).want(201)
}
