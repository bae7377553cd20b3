package scim

import (
	"fmt"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
)

// Whatever a client sends, it is told in a SCIM error what is wrong with it, and the store is what it was before.

// besieged is a house with a user and a group, and doors that are about to be kicked in.
type besieged struct {
	*house
	user, group string // ids
}

func besiege(t *testing.T, o Options) *besieged {
	t.Helper()
	b := &besieged{house: openHouse(t, o)}
	b.user = b.house.user("ada", `"title":"Dr","emails":[{"type":"work","value":"ada@corp.example","primary":true}],"`+EnterpriseUserURN+`":{"department":"Risk"}`)
	b.group = b.house.group("Ops", b.user)
	return b
}

// refuses sends a request and fails the test unless it is refused and has changed nothing.
func (b *besieged) refuses(t *testing.T, status int, scimType, method, target, body string, header ...string) {
	t.Helper()
	h := b.in(t)
	h.unchanged(func() { h.ask(method, b.fill(target), b.fill(body), header...).refused(status, scimType) })
}

func (b *besieged) fill(s string) string {
	return strings.NewReplacer("{u}", b.user, "{g}", b.group).Replace(s)
}

// doors are the requests that have a body.
var doors = []struct{ method, target string }{
	{"POST", "/Users"}, {"PUT", "/Users/{u}"}, {"PATCH", "/Users/{u}"}, {"POST", "/Groups"}, {"PATCH", "/Groups/{g}"},
	{"POST", "/Users/.search"}, {"POST", "/.search"}, {"POST", "/Bulk"},
}

func TestBadJSON(t *testing.T) {
	b := besiege(t, Options{})
	deep := func(n int) string { return strings.Repeat(`{"a":`, n) + "1" + strings.Repeat("}", n) }
	for name, body := range map[string]string{
		"nothing":                       " ",
		"a brace":                       "{",
		"a bracket":                     "[",
		"ends in a name":                `{"userName`,
		"ends behind a name":            `{"userName":`,
		"ends in an array":              `{"emails":[1`,
		"no name":                       `{:1}`,
		"no value":                      `{"a":}`,
		"comma at the end":              `{"a":1,}`,
		"comma at the end of an array":  `{"a":[1,]}`,
		"no comma":                      `{"a":1 "b":2}`,
		"single quotes":                 `{'a':1}`,
		"name without quotes":           `{a:1}`,
		"comment":                       `{"a":1/**/}`,
		"half a word":                   `{"a":nul}`,
		"capital word":                  `{"a":True}`,
		"NaN":                           `{"a":NaN}`,
		"Infinity":                      `{"a":-Infinity}`,
		"leading zero":                  `{"a":01}`,
		"plus":                          `{"a":+1}`,
		"leading point":                 `{"a":.5}`,
		"trailing point":                `{"a":1.}`,
		"hexadecimal":                   `{"a":0x1F}`,
		"no exponent":                   `{"a":1e}`,
		"two values":                    `{"a":1} {"b":2}`,
		"behind the end":                `{"a":1}}`,
		"NUL behind the end":            "{\"a\":1}\x00",
		"NUL":                           "\x00",
		"NUL in a string":               "{\"userName\":\"a\x00b\"}",
		"control character":             "{\"userName\":\"a\nb\"}",
		"bad escape":                    `{"userName":"\x41"}`,
		"half an escape":                `{"userName":"\u00e"}`,
		"not UTF-8":                     "{\"userName\":\"\xff\"}",
		"overlong UTF-8":                "{\"userName\":\"\xc0\xaf\"}",
		"surrogate in UTF-8":            "{\"userName\":\"\xed\xa0\x80\"}",
		"name not UTF-8":                "{\"\xff\":1}",
		"UTF-16":                        "\xff\xfe{\x00}\x00",
		"byte order mark in the middle": `{"a":` + "\ufeff1}",
		"two byte order marks":          "\ufeff\ufeff{}",
		"high surrogate alone":          `{"userName":"\ud83d"}`,
		"low surrogate alone":           `{"userName":"\ude00"}`,
		"surrogates the wrong way":      `{"userName":"\ude00\ud83d"}`,
		"member twice":                  `{"userName":"a","userName":"b"}`,
		"member twice in another case":  `{"userName":"a","USERNAME":"b"}`,
		"member twice with escapes":     `{"userName":"a","user\u004eame":"b"}`,
		"member twice in an object":     `{"name":{"givenName":"a","GivenName":"b"}}`,
		"member twice, both null":       `{"title":null,"title":null}`,
		"member twice among many":       `{` + many(40) + `"M7":0}`,
		"nested deeply":                 deep(maxDepth + 1),
		"nested very deeply":            deep(100_000),
		"arrays nested very deeply":     strings.Repeat("[", 500_000),
		"an array":                      `[]`,
		"a string":                      `"userName"`,
		"a number":                      `5`,
		"null":                          `null`,
		"true":                          `true`,
	} {
		t.Run(name, func(t *testing.T) {
			for _, d := range doors {
				b.refuses(t, 400, InvalidSyntax, d.method, d.target, body)
			}
		})
	}
}

// many writes n members.
func many(n int) string {
	var s strings.Builder
	for i := range n {
		fmt.Fprintf(&s, `"m%d":0,`, i)
	}
	return s.String()
}

// What looks bad and is not.
func TestOddJSON(t *testing.T) {
	b := besiege(t, Options{})
	for name, body := range map[string]string{
		"byte order mark":  "\ufeff" + `{"userName":"bom"}`,
		"blanks around":    " \r\n\t" + `{"userName":"blanks"}` + "\n\n",
		"surrogate pair":   `{"userName":"\ud83d\ude00"}`,
		"escaped NUL":      `{"userName":"nul\u0000nul"}`,
		"unknown and deep": `{"userName":"deep","x":` + strings.Repeat("[", maxDepth-2) + strings.Repeat("]", maxDepth-2) + `}`,
		"huge numbers":     `{"userName":"huge","x":1e999999999999,"y":` + strings.Repeat("9", 10_000) + `}`,
		"empty name":       `{"userName":"noname","":1}`,
		"long name":        `{"userName":"long","` + strings.Repeat("n", 100_000) + `":1}`,
		"many members":     `{"userName":"many",` + many(20_000) + `"title":"x"}`,
	} {
		t.Run(name, func(t *testing.T) {
			b := b.in(t)
			r := b.ask("POST", "/Users", body).want(201)
			got := b.ask("GET", "/Users/"+r.id(), "").want(200)
			if string(got.body) != string(r.body) {
				t.Errorf("made %s\nread %s", r.body, got.body)
			}
			name := quoted(r.text("userName"))
			if l := b.ask("GET", "/Users?filter="+url.QueryEscape("userName eq "+name), "").want(200).ids(); len(l) != 1 || l[0] != r.id() {
				t.Errorf("userName eq %s finds %q", name, l)
			}
		})
	}
}

func TestBadValues(t *testing.T) {
	b := besiege(t, Options{})
	const ext = `"` + EnterpriseUserURN + `":`
	for _, members := range []string{
		`"userName":5`, `"userName":true`, `"userName":{}`, `"userName":["x"]`, `"userName":[]`, `"userName":{"value":"x"}`,
		`"userName":null`, `"userName":""`, `"userName":"  \t"`, `"title":"no userName"`,
		`"userName":"x","active":"maybe"`, `"userName":"x","active":1`, `"userName":"x","active":["true"]`, `"userName":"x","active":{}`,
		`"userName":"x","name":"y"`, `"userName":"x","name":5`, `"userName":"x","name":["y"]`, `"userName":"x","name":{"givenName":{}}`,
		`"userName":"x","name":{"givenName":["y"]}`,
		`"userName":"x","emails":5`, `"userName":"x","emails":true`, `"userName":"x","emails":[5]`, `"userName":"x","emails":[["y"]]`,
		`"userName":"x","emails":[{"value":5}]`, `"userName":"x","emails":[{"value":{}}]`, `"userName":"x","emails":[{"primary":"yes"}]`,
		`"userName":"x","emails":[{"value":["y"]}]`,
		`"userName":"x","x509Certificates":[{"value":"%%%"}]`, `"userName":"x","x509Certificates":[{"value":"AAA=A"}]`,
		`"userName":"x","profileUrl":5`, `"userName":"x","externalId":5`,
		`"userName":"x",` + ext + `"y"`, `"userName":"x",` + ext + `[{}]`, `"userName":"x",` + ext + `{"department":5}`,
		`"userName":"x",` + ext + `{"manager":5}`, `"userName":"x",` + ext + `{"manager":{"value":5}}`,
		`"userName":"x",` + ext + `{"manager":[{"value":"a"},{"value":"b"}]}`,
		`"userName":"x","name.givenName":5`, `"userName":"x","` + UserURN + `":"y"`, `"userName":"x","` + UserURN + `:title":5`,
		`"userName":"x","password":5`,
	} {
		t.Run(members, func(t *testing.T) {
			body := `{"schemas":["` + UserURN + `"],` + members + `}`
			b.refuses(t, 400, InvalidValue, "POST", "/Users", body)
			b.refuses(t, 400, InvalidValue, "PUT", "/Users/{u}", body)
		})
	}
	for _, members := range []string{
		`"displayName":""`, `"displayName":null`, `"displayName":"x","members":5`, `"displayName":"x","members":[5]`,
		`"displayName":"x","members":[{"display":"y"}]`, `"displayName":"x","members":[{"value":"a\u0000b"}]`,
		`"displayName":"x","members":[{"value":"` + strings.Repeat("i", 257) + `"}]`, `"displayName":"x","members":[{"value":5}]`,
	} {
		t.Run(members, func(t *testing.T) {
			body := `{"schemas":["` + GroupURN + `"],` + members + `}`
			b.refuses(t, 400, InvalidValue, "POST", "/Groups", body)
			b.refuses(t, 400, InvalidValue, "PUT", "/Groups/{g}", body)
		})
	}
	for _, schemas := range []string{
		`"` + UserURN + `"`, `5`, `{}`, `true`, `[5]`, `[null]`, `["` + GroupURN + `"]`, `["` + UserURN + `",[]]`,
	} {
		t.Run("schemas "+schemas, func(t *testing.T) {
			b.refuses(t, 400, InvalidSyntax, "POST", "/Users", `{"schemas":`+schemas+`,"userName":"x"}`)
			b.refuses(t, 400, InvalidSyntax, "PUT", "/Users/{u}", `{"schemas":`+schemas+`,"userName":"x"}`)
		})
	}
}

// What is unique, taken and gone.
func TestConflicts(t *testing.T) {
	b := besiege(t, Options{})
	b.house.user("ben", "")
	b.house.group("Dev")
	user := func(name string) string { return `{"schemas":["` + UserURN + `"],"userName":` + quoted(name) + `}` }
	group := func(name string) string {
		return `{"schemas":["` + GroupURN + `"],"displayName":` + quoted(name) + `,"members":[{"value":"new"}]}`
	}
	b.refuses(t, 409, NotUnique, "POST", "/Users", user("BEN"))
	b.refuses(t, 409, NotUnique, "PUT", "/Users/{u}", user("ＢＥＮ"))
	b.refuses(t, 409, NotUnique, "PATCH", "/Users/{u}", patchBody(`{"op":"add","path":"title","value":"x"}`, `{"op":"replace","path":"userName","value":"ben"}`))
	b.refuses(t, 409, NotUnique, "POST", "/Groups", group("dev"))
	b.refuses(t, 409, NotUnique, "PUT", "/Groups/{g}", group("DEV"))
	b.refuses(t, 409, NotUnique, "PATCH", "/Groups/{g}", patchBody(`{"op":"add","path":"members","value":[{"value":"x"}]}`, `{"op":"replace","value":{"displayName":"Dev"}}`))
	for _, id := range []string{"nobody", "{g}", "{u}x", strings.Repeat("x", 5000), ".", "..", "%00", "%2F", "%FF"} {
		b.refuses(t, 404, "", "GET", "/Users/"+id, "")
		b.refuses(t, 404, "", "DELETE", "/Users/"+id, "")
		b.refuses(t, 404, "", "PUT", "/Users/"+id, user("x"))
		b.refuses(t, 404, "", "PATCH", "/Users/"+id, patchBody(`{"op":"add","path":"title","value":"x"}`))
		b.refuses(t, 404, "", "PATCH", "/Users/"+id, patchBody(`{"op":"add","path":"[[","value":"x"}`)) // what is wrong with it is nobody's business
	}
}

func TestBadPatch(t *testing.T) {
	b := besiege(t, Options{})
	b.refuses(t, 400, InvalidSyntax, "PATCH", "/Users/{u}", `{"schemas":["`+UserURN+`"],"Operations":[{"op":"add","path":"title","value":"x"}]}`)
	b.refuses(t, 400, InvalidSyntax, "PATCH", "/Users/{u}", `{"schemas":"`+patchURN+`","Operations":[{"op":"add","path":"title","value":"x"}]}`)
	b.refuses(t, 400, InvalidSyntax, "PATCH", "/Users/{u}", `{"schemas":["`+patchURN+`"]}`)
	for _, ops := range []string{`null`, `{}`, `"x"`, `[]`} {
		b.refuses(t, 400, InvalidSyntax, "PATCH", "/Users/{u}", `{"schemas":["`+patchURN+`"],"Operations":`+ops+`}`)
	}
	for op, want := range map[string]string{
		`5`:                                      InvalidSyntax,
		`null`:                                   InvalidSyntax,
		`[]`:                                     InvalidSyntax,
		`{}`:                                     InvalidSyntax,
		`{"op":5,"path":"title","value":"x"}`:    InvalidSyntax,
		`{"op":null,"path":"title","value":"x"}`: InvalidSyntax,
		`{"op":"","path":"title","value":"x"}`:   InvalidSyntax,
		`{"op":"test","path":"title","value":"x"}`:                                        InvalidSyntax,
		`{"op":"add","path":"title"}`:                                                     InvalidValue,
		`{"op":"replace","path":"title"}`:                                                 InvalidValue,
		`{"op":"add"}`:                                                                    InvalidValue,
		`{"op":"add","value":"x"}`:                                                        InvalidValue,
		`{"op":"add","value":["x"]}`:                                                      InvalidValue,
		`{"op":"replace","value":5}`:                                                      InvalidValue,
		`{"op":"remove"}`:                                                                 NoTarget,
		`{"op":"remove","value":{"title":"x"}}`:                                           NoTarget,
		`{"op":"remove","path":null}`:                                                     NoTarget,
		`{"op":"add","path":5,"value":"x"}`:                                               InvalidPath,
		`{"op":"add","path":["title"],"value":"x"}`:                                       InvalidPath,
		`{"op":"add","path":{},"value":"x"}`:                                              InvalidPath,
		`{"op":"add","path":"shoeSize","value":"x"}`:                                      InvalidPath,
		`{"op":"remove","path":"shoeSize"}`:                                               InvalidPath,
		`{"op":"add","path":"name.shoeSize","value":"x"}`:                                 InvalidPath,
		`{"op":"add","path":"title.x","value":"x"}`:                                       InvalidPath,
		`{"op":"add","path":"emails[shoeSize eq 5].value","value":"x"}`:                   InvalidPath,
		`{"op":"add","path":"/title","value":"x"}`:                                        InvalidPath,
		`{"op":"add","path":"emails[0].value","value":"x"}`:                               InvalidPath,
		`{"op":"add","path":"emails[","value":"x"}`:                                       InvalidPath,
		`{"op":"add","path":"emails[type eq \"work\"","value":"x"}`:                       InvalidPath,
		`{"op":"add","path":"emails[type eq \"work\"].","value":"x"}`:                     InvalidPath,
		`{"op":"add","path":"emails[].value","value":"x"}`:                                InvalidPath,
		`{"op":"add","path":"emails[type eq \"work\"].value.x","value":"x"}`:              InvalidPath,
		`{"op":"add","path":"emails[type eq \"work\"].shoe","value":"x"}`:                 InvalidPath,
		`{"op":"add","path":"title[value eq \"x\"]","value":"x"}`:                         InvalidPath,
		`{"op":"add","path":".","value":"x"}`:                                             InvalidPath,
		`{"op":"add","path":"..","value":"x"}`:                                            InvalidPath,
		`{"op":"add","path":" ","value":"x"}`:                                             InvalidPath,
		`{"op":"add","path":"title nickName","value":"x"}`:                                InvalidPath,
		`{"op":"add","path":"title\u0000","value":"x"}`:                                   InvalidPath,
		`{"op":"add","path":"` + strings.Repeat("x", 100_000) + `","value":"x"}`:          InvalidPath,
		`{"op":"add","path":"` + strings.Repeat("emails[", 9) + `","value":"x"}`:          InvalidPath,
		`{"op":"add","path":"urn:x:y","value":"x"}`:                                       InvalidPath,
		`{"op":"add","path":"` + UserURN + `:","value":"x"}`:                              InvalidPath,
		`{"op":"add","path":"` + EnterpriseUserURN + `:shoe","value":"x"}`:                InvalidPath,
		`{"op":"add","path":"title","value":5}`:                                           InvalidValue,
		`{"op":"add","path":"title","value":{}}`:                                          InvalidValue,
		`{"op":"add","path":"title","value":["x"]}`:                                       InvalidValue,
		`{"op":"add","path":"name","value":"x"}`:                                          InvalidValue,
		`{"op":"add","path":"emails","value":5}`:                                          InvalidValue,
		`{"op":"add","path":"emails","value":[5]}`:                                        InvalidValue,
		`{"op":"add","path":"emails[type eq \"work\"].primary","value":"x"}`:              InvalidValue,
		`{"op":"add","path":"` + EnterpriseUserURN + `","value":"x"}`:                     InvalidValue,
		`{"op":"replace","path":"userName","value":null}`:                                 InvalidValue,
		`{"op":"replace","path":"userName","value":""}`:                                   InvalidValue,
		`{"op":"replace","value":{"userName":" "}}`:                                       InvalidValue,
		`{"op":"replace","value":{"userName":["x"]}}`:                                     InvalidValue,
		`{"op":"add","path":"id","value":"x"}`:                                            WrongMutability,
		`{"op":"replace","path":"meta.created","value":"2020-01-01T00:00:00Z"}`:           WrongMutability,
		`{"op":"remove","path":"groups"}`:                                                 WrongMutability,
		`{"op":"add","path":"groups","value":[{"value":"x"}]}`:                            WrongMutability,
		`{"op":"add","path":"groups[value eq \"x\"].display","value":"x"}`:                WrongMutability,
		`{"op":"remove","path":"userName"}`:                                               WrongMutability,
		`{"op":"remove","path":"schemas"}`:                                                WrongMutability,
		`{"op":"replace","value":{"id":"x"}}`:                                             WrongMutability,
		`{"op":"replace","value":{"groups":[]}}`:                                          WrongMutability,
		`{"op":"add","path":"` + EnterpriseUserURN + `:manager.displayName","value":"x"}`: WrongMutability,
		`{"op":"replace","path":"emails[value sw \"zz\"].display","value":"x"}`:           NoTarget,
		`{"op":"add","path":"emails[value sw \"zz\"].display","value":"x"}`:               NoTarget,
	} {
		t.Run(clip(op), func(t *testing.T) {
			b.refuses(t, 400, want, "PATCH", "/Users/{u}", patchBody(op))
			// And as the last of several, what those before it have done is undone.
			b.refuses(t, 400, want, "PATCH", "/Users/{u}", patchBody(
				`{"op":"replace","path":"title","value":"changed"}`, `{"op":"add","path":"emails","value":[{"value":"new@corp.example"}]}`, op))
		})
	}
	for op, want := range map[string]string{
		`{"op":"add","path":"members","value":5}`:                                                                InvalidValue,
		`{"op":"add","path":"members","value":[5]}`:                                                              InvalidValue,
		`{"op":"add","path":"members","value":[{"display":"x"}]}`:                                                InvalidValue,
		`{"op":"add","path":"members","value":[{"value":"x"},{"value":"a\u0000"}]}`:                              InvalidValue,
		`{"op":"replace","path":"members","value":[{"value":"x"},{"value":"` + strings.Repeat("x", 300) + `"}]}`: InvalidValue,
		`{"op":"replace","path":"members[value eq \"{u}\"].display","value":"x"}`:                                WrongMutability,
		`{"op":"remove","path":"members[value eq \"{u}\"].value"}`:                                               WrongMutability,
		`{"op":"add","path":"members.shoeSize","value":"x"}`:                                                     InvalidPath,
		`{"op":"remove","path":"members[value eq"}`:                                                              InvalidPath,
		`{"op":"remove","path":"displayName"}`:                                                                   WrongMutability,
		`{"op":"replace","path":"members[display eq \"x\"].value","value":"y"}`:                                  NoTarget,
	} {
		t.Run(clip(op), func(t *testing.T) {
			b.refuses(t, 400, want, "PATCH", "/Groups/{g}", patchBody(`{"op":"add","path":"members","value":[{"value":"new"}]}`, `{"op":"remove","path":"members[value eq \"{u}\"]"}`,
				`{"op":"add","path":"members","value":[{"value":"{u}"}]}`, op))
		})
	}
}

func TestBodySizeAndType(t *testing.T) {
	b := besiege(t, Options{MaxBody: 2000, BulkMaxPayload: 3000})
	for _, d := range doors {
		limit := 2000
		if d.target == "/Bulk" {
			limit = 3000
		}
		for _, n := range []int{limit + 1, 10 * limit, 1 << 22} {
			b.refuses(t, 413, "", d.method, d.target, `{"userName":"`+strings.Repeat("x", n)+`"}`)
		}
		for _, ct := range []string{
			"text/plain", "application/xml", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "application/jsonp",
			"application/json; charset=latin1", "application/scim+json; charset=utf-16", "json", "/", ";", "application/json; charset", "application/json, text/plain",
		} {
			b.refuses(t, 415, "", d.method, d.target, `{"userName":"x"}`, "Content-Type: "+ct)
		}
		for _, ce := range []string{"gzip", "br", "gzip, identity"} {
			b.refuses(t, 415, "", d.method, d.target, `{"userName":"x"}`, "Content-Encoding: "+ce)
		}
		b.unchanged(func() {
			r := httptest.NewRequest(d.method, BasePath+b.fill(d.target), brokenBody{strings.NewReader(`{"userName":"x"}`)})
			b.serve(r).refused(400, InvalidSyntax)
		})
	}
	exactly := `{"userName":"just","title":"` + strings.Repeat("x", 2000-len(`{"userName":"just","title":""}`)) + `"}`
	b.ask("POST", "/Users", exactly).want(201)
	for i, ct := range []string{
		"application/json", "application/scim+json", "Application/SCIM+JSON; Charset=UTF-8", `application/json; charset="utf-8"`, "application/json; odata=verbose", "",
	} {
		b.ask("POST", "/Users", fmt.Sprintf(`{"userName":"ct%d"}`, i), "Content-Type: "+ct).want(201)
	}
	b.ask("POST", "/Users", `{"userName":"plain"}`, "Content-Encoding: identity").want(201)
}

// A change that is too large for one transaction is refused as a whole.
func TestTooLargeForOneTransaction(t *testing.T) {
	b := besiege(t, Options{MaxBody: 1 << 22})
	ids := make([]string, 15_000)
	for i := range ids {
		ids[i] = fmt.Sprintf("member-%d", i)
	}
	b.refuses(t, 413, "", "POST", "/Groups", `{"displayName":"Big","members":`+refs(ids...)+`}`)
	b.refuses(t, 413, "", "PATCH", "/Groups/{g}", patchBody(`{"op":"add","path":"members","value":`+refs(ids...)+`}`))
	b.refuses(t, 413, "", "POST", "/Users", `{"userName":"Big","title":"`+strings.Repeat("x", 1<<20)+`"}`)
}

func TestUnknownAttributes(t *testing.T) {
	bodies := []string{
		`"shoeSize":42`, `"name":{"shoeSize":42}`, `"emails":[{"value":"x","shoeSize":42}]`, `"urn:example:nobody:2.0:User":{"x":1}`,
		`"` + EnterpriseUserURN + `":{"shoeSize":42}`, `"` + EnterpriseUserURN + `:shoeSize":42`, `"` + UserURN + `":{"shoeSize":42}`,
		`"name.shoeSize":42`, `"$ref":"x"`,
	}
	t.Run("left out", func(t *testing.T) {
		b := besiege(t, Options{})
		for i, members := range bodies {
			r := b.ask("POST", "/Users", fmt.Sprintf(`{"schemas":[%q],"userName":"u%d",%s}`, UserURN, i, members)).want(201)
			if strings.Contains(string(r.body), "shoeSize") || strings.Contains(string(r.body), "nobody") {
				t.Errorf("%s: %s", members, r.body)
			}
			if !strings.Contains(members, `"$ref"`) {
				b.unchanged(func() {
					b.patch(b.fill("/Users/{u}"), `{"op":"add","value":{`+strings.ReplaceAll(members, `"value":"x",`, "")+`}}`)
				})
			}
		}
		if n := b.service.UnknownAttributes(); n["User:shoeSize"] == 0 || n["User:name.shoeSize"] == 0 {
			t.Errorf("counted: %v", n)
		}
		if strings.Contains(b.dump(), "shoeSize") {
			t.Error("something of it is in the store")
		}
	})
	t.Run("strict", func(t *testing.T) {
		b := besiege(t, Options{Strict: true})
		for _, members := range bodies {
			body := fmt.Sprintf(`{"schemas":[%q],"userName":"x",%s}`, UserURN, members)
			b.refuses(t, 400, InvalidSyntax, "POST", "/Users", body)
			b.refuses(t, 400, InvalidSyntax, "PUT", "/Users/{u}", body)
		}
		b.refuses(t, 400, InvalidPath, "PATCH", "/Users/{u}", patchBody(`{"op":"add","value":{"title":"x","shoeSize":42}}`))
		b.refuses(t, 400, InvalidSyntax, "PATCH", "/Users/{u}", patchBody(`{"op":"add","value":{"title":"x","name":{"shoeSize":42}}}`))
	})
}

func TestBadQueries(t *testing.T) {
	b := besiege(t, Options{})
	long := strings.Repeat("x", 9000)
	for query, want := range map[string]string{
		"filter=shoeSize eq 42":             InvalidFilter,
		"filter=name.shoeSize eq 42":        InvalidFilter,
		"filter=urn:example:nobody:x eq 42": InvalidFilter,
		"filter=":                           InvalidFilter, "filter=%20": InvalidFilter,
		"filter=userName":                           InvalidFilter,
		"filter=userName eq":                        InvalidFilter,
		"filter=userName is \"x\"":                  InvalidFilter,
		"filter=userName eq \"x":                    InvalidFilter,
		"filter=userName eq \"\\x\"":                InvalidFilter,
		"filter=userName eq \"\\ud800\"":            InvalidFilter,
		"filter=userName eq 5":                      InvalidFilter,
		"filter=userName eq [5]":                    InvalidFilter,
		"filter=userName eq {}":                     InvalidFilter,
		"filter=active eq \"maybe\"":                InvalidFilter,
		"filter=active gt true":                     InvalidFilter,
		"filter=meta.created gt \"yesterday\"":      InvalidFilter,
		"filter=name eq \"x\"":                      InvalidFilter,
		"filter=x509Certificates.value gt \"AAAA\"": InvalidFilter,
		"filter=password sw \"a\"":                  InvalidFilter,
		"filter=(userName pr":                       InvalidFilter,
		"filter=userName pr)":                       InvalidFilter,
		"filter=not userName pr":                    InvalidFilter,
		"filter=userName pr and":                    InvalidFilter,
		"filter=emails[type eq \"work\"":            InvalidFilter,
		"filter=emails[]":                           InvalidFilter,
		"filter=userName[value eq \"x\"]":           InvalidFilter,
		"filter=emails[emails[type pr]]":            InvalidFilter,
		"filter=%FF pr":                             InvalidFilter,
		"filter=userName eq \"%FF\"":                InvalidFilter,
		"filter=userName eq \"%00\"":                InvalidFilter,
		"filter=%00":                                InvalidFilter,
		"filter=" + long:                            InvalidFilter,
		"filter=" + strings.Repeat("(", 3000):       InvalidFilter,
		"filter=" + strings.Repeat("not (", 500) + "title pr" + strings.Repeat(")", 500): InvalidFilter,
		"filter=title pr" + strings.Repeat(" and title pr", 500):                         InvalidFilter,
		"filter=userName eq \"%zz\"":                                                     InvalidSyntax,
		"filter=title pr&x=%":                                                            InvalidSyntax,
		"%=x":                                                                            InvalidSyntax,
		"filter=title pr;x=1":                                                            InvalidSyntax,
		"filter=title pr&filter=title pr":                                                InvalidSyntax,
		"filter=title pr&FILTER=userName pr":                                             InvalidSyntax,
		"startIndex=1&startindex=2":                                                      InvalidSyntax,
		"count=1&count=1":                                                                InvalidSyntax,
		"attributes=title&excludedAttributes=userName":                                   InvalidSyntax,
		"startIndex=one":                                                                 InvalidValue,
		"startIndex=1.5":                                                                 InvalidValue,
		"startIndex=1e3":                                                                 InvalidValue,
		"startIndex=0x1":                                                                 InvalidValue,
		"startIndex=99999999999999999999":                                                InvalidValue,
		"startIndex=-99999999999999999999":                                               InvalidValue,
		"count=many":                                                                     InvalidValue,
		"count=1,2":                                                                      InvalidValue,
		"count=99999999999999999999":                                                     InvalidValue,
		"count=%00":                                                                      InvalidValue,
		"cursor=&count=many":                                                             InvalidCount,
		"cursor=nonsense":                                                                InvalidCursor,
		"cursor=" + strings.Repeat("A", 200):                                             InvalidCursor,
		"cursor=%00":                                                                     InvalidCursor,
		"sortBy=shoeSize":                                                                InvalidValue,
		"sortBy=name":                                                                    InvalidValue,
		"sortBy=password":                                                                InvalidValue,
		"sortBy=[":                                                                       InvalidValue,
		"sortBy=%FF":                                                                     InvalidValue,
		"sortBy=userName,title":                                                          InvalidValue,
		"sortBy=userName&sortOrder=up":                                                   InvalidValue,
		"sortOrder=" + long:                                                              InvalidValue,
	} {
		t.Run(clip(query), func(t *testing.T) { b.refuses(t, 400, want, "GET", "/Users?"+query, "") })
	}
	for query, n := range map[string]int{
		"startIndex=0": 1, "startIndex=-5": 1, "startIndex=9223372036854775807": 0, "startIndex=2": 0, "startIndex=": 1,
		"count=0": 0, "count=-1": 0, "count=9223372036854775807": 1, "count=": 1, "count=-9223372036854775808": 0,
		"x=1&x=2": 1, "aadOptscim062020": 1, "&&&": 1, "=": 1, "attributes=": 1, "attributes=shoeSize,,": 1,
		"attributes=%FF": 1, "attributes=[": 1, "attributes=" + long: 1, "excludedAttributes=" + strings.Repeat("a,", 4000): 1, "sortBy=": 1, "sortOrder=DESCENDING": 1,
		"attributes=userName&attributes=title": 1,
	} {
		t.Run(clip(query), func(t *testing.T) {
			b := b.in(t)
			b.unchanged(func() {
				r := b.ask("GET", "/Users?"+query, "").want(200)
				if len(r.ids()) != n || r.total() != 1 {
					t.Errorf("%s", r.body)
				}
			})
		})
	}
}

func TestBadSearchRequests(t *testing.T) {
	b := besiege(t, Options{})
	for members, want := range map[string]string{
		`"filter":5`:              InvalidValue,
		`"filter":["title pr"]`:   InvalidValue,
		`"filter":""`:             InvalidFilter,
		`"filter":"title"`:        InvalidFilter,
		`"sortBy":5`:              InvalidValue,
		`"sortBy":"shoeSize"`:     InvalidValue,
		`"sortOrder":true`:        InvalidValue,
		`"sortOrder":"up"`:        InvalidValue,
		`"startIndex":"1"`:        InvalidValue,
		`"startIndex":1.5`:        InvalidValue,
		`"startIndex":1e400`:      InvalidValue,
		`"startIndex":[1]`:        InvalidValue,
		`"count":"5"`:             InvalidValue,
		`"count":{}`:              InvalidValue,
		`"count":5e0`:             InvalidValue,
		`"cursor":"","count":"5"`: InvalidCount,
		`"cursor":5`:              InvalidValue,
		`"cursor":"x"`:            InvalidCursor,
		`"attributes":5`:          InvalidValue,
		`"attributes":{}`:         InvalidValue,
		`"attributes":[5]`:        InvalidValue,
		`"attributes":["a"],"excludedAttributes":["b"]`: InvalidSyntax,
	} {
		t.Run(members, func(t *testing.T) {
			b.refuses(t, 400, want, "POST", "/Users/.search", `{"schemas":["`+findURN+`"],`+members+`}`)
		})
	}
	b.refuses(t, 400, InvalidSyntax, "POST", "/Users/.search", `{"filter":"title pr"}`)
	b.refuses(t, 400, InvalidSyntax, "POST", "/Users/.search", `{"schemas":["`+listURN+`"],"filter":"title pr"}`)
	for _, members := range []string{
		`"filter":null,"sortBy":null,"sortOrder":null,"startIndex":null,"count":null,"cursor":null,"attributes":null,"excludedAttributes":null`,
		`"startIndex":-5,"count":9223372036854775807`, `"unknown":[{}]`, `"FILTER":"title pr","Count":5`,
	} {
		t.Run(members, func(t *testing.T) {
			r := b.in(t).ask("POST", "/Users/.search", `{"schemas":["`+findURN+`"],`+members+`}`).want(200)
			if r.total() != 1 || len(r.ids()) != 1 || r.text("startIndex") != "1" {
				t.Errorf("%s", r.body)
			}
		})
	}
}

// Paths are taken as they are: nothing is cleaned, nobody is redirected, and what is not an endpoint is a SCIM error.
func TestPathTricks(t *testing.T) {
	b := besiege(t, Options{})
	nowhere := []string{
		"/Nobody", "/Users/{u}/x", "/Users/{u}/x/y", "/Users/../Groups", "/Users/../../etc/passwd", "/../Users", "/Users/{u}/..", "/./Users",
		"/Users/%2e%2e/Groups", "/Users%2F{u}", "/Users;x", "/Users;x/{u}", "/Users/{u};x", "/Users/{u}%2F", "/Users/{u}%00", "/Users/{u}%0d%0ax:y",
		"/Users/%7Bu%7D", "/Users/%25", "/Users%00", "/%00", "/%FF", "/Users/%C0%AF", "/" + strings.Repeat("x", 10_000), "/Users/" + strings.Repeat("y", 10_000),
		strings.Repeat("/Users", 1000), "/Schemas/x", "/ResourceTypes/Users", "/ServiceProviderConfig/x", "/Schemas/x/y", "/Users/.SEARCH", "/Users/search",
		"/%2esearch/x", "/Users/*", "/Users/ ", "/Users/'or'1'='1", "/$password/User%2F{u}", "/Users/$count",
	}
	for _, path := range nowhere {
		t.Run(clip(path), func(t *testing.T) {
			b.refuses(t, 404, "", "GET", path, "")
		})
	}
	for _, path := range []string{"/v1/Users", "/v3", "/V2/Users", "/v1"} {
		b.refuses(t, 400, InvalidVers, "GET", path, "")
	}
	for _, path := range []string{"/Users/{u}", "//Users/{u}", "/Users//{u}", "/Users/{u}/", "/Users/{u}//", "/users/{u}", "/USERS/{u}", "/%55sers/{u}", "/Users/{u}?", "/Users/{u}?&"} {
		t.Run(path, func(t *testing.T) {
			r := b.in(t).ask("GET", b.fill(path), "").want(200)
			if r.id() != b.user || r.text("meta", "location") != "https://scim.example/scim/v2/Users/"+b.user {
				t.Errorf("%s", r.body)
			}
		})
	}
	// An id that differs in case is another one.
	if upper := strings.ToUpper(b.user); upper != b.user {
		b.refuses(t, 404, "", "GET", "/Users/"+upper, "")
	}
	// Outside of SCIM there is nothing, and a prefix is no segment.
	for _, path := range []string{"/", "/scim", "/scim/", "/scim/v2Users", "/scim/v2%2FUsers", "/scim/v1/Users", "/scim//v2/Users", "/SCIM/v2/Users", "/scim/v2/../v2/Nobody"} {
		r := b.serve(httptest.NewRequest("GET", path, nil))
		if r.status != 404 {
			t.Errorf("%s: %d\n%s", path, r.status, r.body)
		}
	}
}
