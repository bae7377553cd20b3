package server

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// The runner must be able to fail.

const sampleAnswer = `{"schemas": ["urn:a:2.0", "urn:b"], "id": "7", "n": 2, "big": 12345678901234567890, "yes": true, "no": false, "none": null,
	"list": [], "text": "", "emails": [{"type": "home", "value": "h"}, {"type": "work", "value": "w", "primary": true}],
	"urn:b:2.0:User": {"department": "D", "manager": {"value": "m"}}, "name.givenName": "x",
	"meta": {"created": "2026-01-01T00:00:00.000001Z", "lastModified": "2026-01-01T01:00:00+00:30"}}`

func TestPathOfCase(t *testing.T) {
	answer, err := decodeCase([]byte(sampleAnswer))
	if err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{
		"id": `"7"`, "ID": "null", "schemas[1]": `"urn:b"`, "schemas[2]": "null", "schemas.#": "2", "list.#": "0", "nothing.#": "0",
		"emails[type=work].value": `"w"`, "emails[type=other].value": "null", "emails[primary=true].value": `"w"`, "emails[0].value": `"h"`,
		"[urn:b:2.0:User].department": `"D"`, `["urn:b:2.0:User"].manager.value`: `"m"`, `["name.givenName"]`: `"x"`, "name.givenName": "null",
		"id.value": "null", "none": "null", "big": "12345678901234567890",
	} {
		got, err := resolvePath(answer, path)
		if err != nil {
			t.Errorf("%s: %v", path, err)
		} else if b, _ := json.Marshal(got); string(b) != want {
			t.Errorf("%s: got %s, want %s", path, b, want)
		}
	}
	for _, path := range []string{"", ".", "a.", ".a", "a..b", "a[", "a[]", `a["b]`, "id.#"} {
		if got, err := resolvePath(answer, path); err == nil {
			t.Errorf("%q: got %v, want an error", path, got)
		}
	}
}

func TestMatchersOfCases(t *testing.T) {
	answer, err := decodeCase([]byte(sampleAnswer))
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ path, yes, no string }{
		{"id", `"7"`, `7`},
		{"n", `2.0`, `"2"`},
		{"n", `2`, `3`},
		{"yes", `true`, `"true"`},
		{"big", `12345678901234567890`, `12345678901234567891`},
		{"id", `{"$re": "^7$"}`, `{"$re": "^8"}`},
		{"nothing", `{"$absent": true}`, `null`},
		{"n", `{"$gte": 2}`, `{"$re": "2"}`},
		{"id", `{"$regex": "7"}`, `{"$regex": "["}`},
		{"id", `{"$re": "^(?!8)"}`, `{"$re": "^(?!.*7)"}`},
		{"id", `{"$re": "^(?!8$)7"}`, `{"$re": "^(?!8$)9"}`},
		{"text", `{"$re": "^$"}`, `{"$re": "."}`},
		{"schemas", `{"$has": "urn:b"}`, `{"$has": "urn:"}`},
		{"schemas", `{"$contains": "urn:b"}`, `{"$contains": "urn:B"}`},
		{"schemas", `["urn:a:2.0", "urn:b"]`, `["urn:b", "urn:a:2.0"]`},
		{"emails", `{"$has": {"type": "home", "value": "h"}}`, `{"$has": {"type": "home"}}`},
		{"emails[0]", `{"value": "h", "type": "home"}`, `{"value": "h"}`},
		{"id", `{"$any": ["8", "7"]}`, `{"$any": ["8", null]}`},
		{"nothing", `{"$any": [1, null]}`, `{"$any": [1]}`},
		{"list", `{"$any": [null]}`, `{"$any": []}`},
		{"id", `{"$oneOf": [{"$re": "7"}]}`, `{"$oneOf": "7"}`},
		{"id", `{"$type": "string"}`, `{"$type": "number"}`},
		{"n", `{"$type": "integer"}`, `{"$type": "string"}`},
		{"n", `{"$type": "number"}`, `{"$type": "boolean"}`},
		{"no", `{"$type": "boolean"}`, `{"$type": "array"}`},
		{"list", `{"$type": "array"}`, `{"$type": "object"}`},
		{"meta", `{"$type": "object"}`, `{"$type": "list"}`},
		{"nothing", `{"$exists": false}`, `{"$type": "string"}`},
		{"meta.lastModified", `{"$gt": "meta.created"}`, `{"$gt": "meta.lastModified"}`},
		{"meta.created", `{"$eq": "meta.created"}`, `{"$gt": "meta.lastModified"}`},
		{"n", `{"$eq": "n"}`, `{"$gt": "nothing"}`},
		{"id", `{"$eq": "id"}`, `{"$eq": "text"}`},
		{"id", `{"$exists": true}`, `{"$exists": false}`},
		{"none", `{"$exists": false}`, `{"$exists": true}`},
		{"none", `{"$absent": true}`, `{"$absent": false}`},
		{"list", `{"$absent": true}`, `{"$absent": "true"}`},
		{"text", `{"$empty": true}`, `{"$absent": true}`},
		{"list", `{"$empty": true}`, `{"$empty": false}`},
		{"id", `{"$empty": false}`, `{"$empty": true}`},
		{"schemas", `{"$len": 2}`, `{"$len": 1}`},
		{"list", `{"$len": 0}`, `{"$len": "0"}`},
		{"nothing", `{"$lenOrAbsent": 0}`, `{"$len": 0}`},
		{"schemas", `{"$lenOrAbsent": 2}`, `{"$lenOrAbsent": 0}`},
		{"n", `{"$gte": 2}`, `{"$gte": 3}`},
		{"n", `{"$gte": 1}`, `{"$gte": "1"}`},
		{"n", `{"$between": [1, 2]}`, `{"$between": [3, 4]}`},
		{"n", `{"$between": [2, 3]}`, `{"$between": [0, 1]}`},
		{"n", `2`, `{"$between": [2]}`},
		{"id", `"7"`, `{"$gte": 1}`},
		{"schemas[0]", `{"$caseEq": "URN:A:2.0"}`, `{"$caseEq": "URN:A"}`},
		{"id", `"7"`, `{"$nonsense": "7"}`},
		{"id", `"7"`, `{"$re": "7", "$type": "string"}`},
		{"id", `"7"`, `{"$re": 7}`},
	} {
		for want, should := range map[string]bool{c.yes: true, c.no: false} {
			w, err := decodeCase([]byte(want))
			if err != nil {
				t.Fatalf("%s: %v", want, err)
			}
			if err := matchAt(answer, c.path, w); (err == nil) != should {
				t.Errorf("%s %s: %v, should match: %v", c.path, want, err, should)
			}
		}
	}
}

func TestHeadersOfCases(t *testing.T) {
	got := http.Header{"Www-Authenticate": {"Bearer a", "Basic b"}, "Etag": {`W/"1"`}}
	for want, should := range map[string]bool{
		`{"WWW-Authenticate": "Basic"}`: true, `{"WWW-Authenticate": "^Basic"}`: false, `{"ETag": {"$regex": "1"}}`: true, `{"ETag": {"$regex": "2"}}`: false,
		`{"Allow": null}`: true, `{"ETag": null}`: false, `{"Allow": "."}`: false, `{"ETag": {"$foo": "1"}}`: false,
	} {
		w, err := decodeCase([]byte(want))
		if err != nil {
			t.Fatal(err)
		}
		if errs := matchHeaders(got, w.(map[string]any)); (len(errs) == 0) != should {
			t.Errorf("%s: %v", want, errs)
		}
	}
}

func TestFormOfCases(t *testing.T) {
	const good = `{"id": "A", "request": {"method": "GET", "path": "/x"}, "expect": {"status": [200]}}`
	if l, err := readCases([]byte(good + "\n\n" + strings.Replace(good, "A", "B", 1))); err != nil || len(l) != 2 {
		t.Errorf("%v, %v", l, err)
	}
	for _, bad := range []string{
		good + "\n" + good, `{"id": "A", "request": {"method": "GET", "path": "/x"}, "expect": {}}`, strings.Replace(good, `"id": "A", `, "", 1),
		strings.Replace(good, `"method"`, `"verb"`, 1), strings.Replace(good, `"status"`, `"body": 1, "status"`, 1), strings.Replace(good, `"id"`, `"skip": 1, "id"`, 1), "x",
	} {
		if l, err := readCases([]byte(bad)); err == nil {
			t.Errorf("%s: %v", bad, l)
		}
	}
}

// Each of these cases is about this server.
func TestRunOfCases(t *testing.T) {
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Etag", `W/"1"`)
		switch r.URL.Path {
		case "/ok":
			_, _ = w.Write([]byte(`{"id": "7 ü", "auth": "` + r.Header.Get("Authorization") + `", "meta": {"version": "W/\"1\""}}`))
		case "/none":
			w.WriteHeader(http.StatusNoContent)
		case "/echo/7 ü":
			_, _ = w.Write([]byte(`{"raw": "` + r.URL.EscapedPath() + `"}`))
		case "/liar":
			_, _ = w.Write([]byte(`{"meta": {"version": "W/\"2\""}}`))
		case "/broken":
			w.WriteHeader(http.StatusInternalServerError)
			_, _ = w.Write([]byte(`{"schemas": ["urn:ietf:params:scim:api:messages:2.0:Error"], "status": "500", "detail": "x"}`))
		case "/html":
			w.WriteHeader(http.StatusNotFound)
			_, _ = w.Write([]byte(`<html>`))
		case "/number":
			w.WriteHeader(http.StatusNotFound)
			_, _ = w.Write([]byte(`{"schemas": ["urn:ietf:params:scim:api:messages:2.0:Error"], "status": 404, "detail": "x"}`))
		default:
			w.WriteHeader(http.StatusBadRequest)
			_, _ = w.Write([]byte(`{"schemas": ["urn:ietf:params:scim:api:messages:2.0:Error"], "status": "400", "scimType": "noTarget", "detail": "x"}`))
		}
	}))
	defer web.Close()
	const get = `"request": {"method": "GET", "path": "/ok", "as": "a"}, `
	for text, should := range map[string]bool{
		get + `"expect": {"status": [200], "json": {"id": "7 ü"}, "absent": ["x"], "headers": {"ETag": "1"}}`: true,
		get + `"expect": {"status": [201]}`:                                                                                                              false,
		get + `"expect": {"status": [200], "json": {"id": "8"}}`:                                                                                         false,
		get + `"expect": {"status": [200], "json": {"$ifBody": {"id": "8"}}}`:                                                                            false,
		get + `"expect": {"status": [200], "json": {"$ifBody": {"id": "7 ü"}}}`:                                                                          true,
		get + `"expect": {"status": [200], "absent": ["id"]}`:                                                                                            false,
		get + `"expect": {"status": [200], "headers": {"ETag": "2"}}`:                                                                                    false,
		get + `"expect": {"status": [200], "json": {"auth": "Bearer secret"}}`:                                                                           true,
		get + `"expect": {"status": [200], "json": {"id": "{{b.id}}"}}`:                                                                                  false,
		get + `"expect": {"status": [200], "json": {"id": "{{a.id}}"}}`:                                                                                  true,
		get + `"expect": {"status": [200], "json": {"meta.version": "{{a.#etag}}"}}`:                                                                     true,
		get + `"expect": {"status": [200], "then": [{"method": "GET", "path": "/echo/{{a.id}}", "status": [200], "json": {"raw": "/echo/7%20%C3%BC"}}]}`: true,
		get + `"expect": {"status": [200], "then": [{"method": "GET", "path": "/none", "expect": {"status": [200]}}]}`:                                   false,
		get + `"expect": {"status": [200], "then": [{"method": "GET", "path": "/none"}]}`:                                                                false,
		get + `"expect": {"status": [200], "then": [{"method": "GET", "path": "/none", "if": "failed", "status": [1]}]}`:                                 true,
		get + `"expect": {"status": [200], "then": [{"method": "GET", "path": "/none", "if": "maybe", "status": [204]}]}`:                                false,
		`"setup": [{"method": "GET", "path": "/bad"}], ` + get + `"expect": {"status": [200]}`:                                                           false,
		`"setup": [{"method": "GET", "path": "/{{x.id}}"}], ` + get + `"expect": {"status": [200]}`:                                                      false,
		`"concurrent": [{"method": "GET", "path": "/broken"}], ` + get + `"expect": {"status": [200]}`:                                                   false,
		`"concurrent": [{"method": "GET", "path": "/bad"}], ` + get + `"expect": {"status": [200]}`:                                                      true,
		`"request": {"method": "GET", "path": "/bad"}, "expect": {"status": [400], "scimType": "noTarget"}`:                                              true,
		`"request": {"method": "GET", "path": "/bad"}, "expect": {"status": [400], "scimType": ["invalidPath", null]}`:                                   false,
		`"request": {"method": "GET", "path": "/none"}, "expect": {"status": [204], "json": {"$ifBody": {"id": "8"}}}`:                                   true,
		`"request": {"method": "GET", "path": "/liar"}, "expect": {"status": [200]}`:                                                                     false,
		`"request": {"method": "GET", "path": "/broken"}, "expect": {"status": [500]}`:                                                                   false,
		`"request": {"method": "GET", "path": "/html"}, "expect": {"status": [404]}`:                                                                     false,
		`"request": {"method": "GET", "path": "/number"}, "expect": {"status": [404]}`:                                                                   false,
		`"request": {"method": "GET", "path": "/ok", "headers": {"Authorization": null}}, "expect": {"status": [200], "json": {"auth": ""}}`:             true,
	} {
		l, err := readCases([]byte(`{"id": "A", ` + text + `}`))
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		r := &caseRun{client: web.Client(), base: web.URL, token: "secret", unique: "u"}
		if problems := r.run(context.Background(), l[0]); (len(problems) == 0) != should {
			t.Errorf("%s: %v, should pass: %v", text, problems, should)
		}
	}
}
