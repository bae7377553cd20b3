package scim

import (
	"bytes"
	"crypto/tls"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"scimbox/storage"
)

// Each method on each kind of endpoint: what is not offered is 405 and says what is (RFC 7231 section 6.5.5).
func TestRouting(t *testing.T) {
	h := openHouse(t, Options{})
	u, g := h.user("ada", ""), h.group("Ops")
	for _, c := range []struct{ path, allow string }{
		{"/Users", "GET, HEAD, POST"},
		{"/Groups", "GET, HEAD, POST"},
		{"/Users/" + u, "GET, HEAD, PUT, PATCH, DELETE"},
		{"/Groups/" + g, "GET, HEAD, PUT, PATCH, DELETE"},
		{"/Users/nobody", "GET, HEAD, PUT, PATCH, DELETE"},
		{"/Users/.search", "POST"},
		{"/Groups/.search", "POST"},
		{"/.search", "POST"},
		{"/Bulk", "POST"},
		{"/", "GET, HEAD"},
		{"", "GET, HEAD"},
		{"/Schemas", "GET, HEAD"},
		{"/ResourceTypes/User", "GET, HEAD"},
		{"/ServiceProviderConfig", "GET, HEAD"},
	} {
		offered := strings.Split(c.allow, ", ")
		for _, method := range []string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PROPFIND", "QUERY", "get"} {
			if slices.Contains(offered, method) {
				continue
			}
			for _, end := range []string{"", "/"} {
				h.unchanged(func() {
					r := h.ask(method, c.path+end, `{"userName":"x","displayName":"x"}`)
					want := 405
					if method == "OPTIONS" {
						want = 204
					}
					if r.status != want || r.header.Get("Allow") != c.allow {
						t.Errorf("%s %s: %d, Allow %q", method, c.path+end, r.status, r.header.Get("Allow"))
					}
				})
			}
		}
	}
	// What is offered is never a redirect, however the path is spelled.
	for _, path := range []string{"/Users", "/Users/", "//Users", "/users", "/Users?", "/Users/" + u + "/", "/.search", "/Users//.search/", "/", "//"} {
		for _, method := range []string{"GET", "POST", "PUT"} {
			if r := h.ask(method, path, `{"schemas":["`+findURN+`"]}`); r.status >= 300 && r.status < 400 || r.header.Get("Location") != "" && r.status != 200 && r.status != 201 {
				t.Errorf("%s %s: %d to %q", method, path, r.status, r.header.Get("Location"))
			}
		}
	}
}

// A POST to .search answers what a GET answers, and makes nothing.
func TestSearch(t *testing.T) {
	h := openHouse(t, Options{})
	for i := range 5 {
		h.user(fmt.Sprint("u", i), fmt.Sprintf(`"title":"T%d","emails":[{"value":"u%d@x"}]`, i%2, i))
	}
	h.group("Ops")
	for query, search := range map[string]string{
		"":                                     ``,
		"count=2":                              `"count":2`,
		"count=0":                              `"count":0`,
		"count=-3":                             `"count":-3`,
		"startIndex=2&count=2":                 `"startIndex":2,"count":2`,
		`filter=title eq "t1"`:                 `"filter":"title eq \"t1\""`,
		"sortBy=title&count=3":                 `"sortBy":"title","count":3`,
		"sortBy=userName&sortOrder=descending": `"sortBy":"userName","sortOrder":"Descending"`,
		"attributes=userName,emails.value":     `"attributes":["userName","emails.value"]`,
		"attributes=userName":                  `"attributes":"userName"`,
		"excludedAttributes=emails,meta":       `"excludedAttributes":["emails","meta"]`,
		"aadOptscim062020":                     `"aadOptscim062020":true`,
	} {
		for _, endpoint := range []string{"/Users", "/Groups", ""} {
			if endpoint == "/Groups" && (strings.Contains(query, "title") || strings.Contains(query, "userName")) {
				continue
			}
			h.unchanged(func() {
				get := h.ask("GET", endpoint+"/?"+query, "").want(200)
				post := h.ask("POST", endpoint+"/.search", `{"schemas":["`+findURN+`"]`+also(search)+`}`).want(200)
				if string(get.body) != string(post.body) || get.etag() != post.etag() {
					t.Errorf("%s: GET %s\nPOST %s", query, get.body, post.body)
				}
			})
		}
	}
	h.ask("POST", "/Users/.search?filter=shoeSize pr", `{"schemas":["`+findURN+`"]}`).want(200) // the query is not what is searched by
}

func TestHEAD(t *testing.T) {
	h := openHouse(t, Options{})
	u := h.user("ada", "")
	for _, path := range []string{"/Users", "/Users/" + u, "/Users/nobody", "/Users?filter=x", "/Schemas", "/", "/nowhere", "/Users?filter=title pr"} {
		get, head := h.ask("GET", path, ""), h.ask("HEAD", path, "")
		if head.status != get.status || len(head.body) > 0 {
			t.Errorf("%s: HEAD %d, GET %d", path, head.status, get.status)
		}
		for _, name := range []string{"Content-Type", "Content-Length", "ETag", "Location", "Content-Location"} {
			if head.header.Get(name) != get.header.Get(name) {
				t.Errorf("%s: %s is %q by HEAD and %q by GET", path, name, head.header.Get(name), get.header.Get(name))
			}
		}
	}
}

// application/scim+json, and application/json for who asks for that alone (RFC 7644 section 3.8).
func TestContentNegotiation(t *testing.T) {
	h := openHouse(t, Options{})
	for accept, want := range map[string]string{
		"":                                  scimJSON,
		"*/*":                               scimJSON,
		"application/scim+json":             scimJSON,
		"application/json":                  plainJSON,
		"Application/JSON;q=0.9":            plainJSON,
		"application/json, text/plain, */*": plainJSON,
		"application/json, application/scim+json":       scimJSON,
		"application/scim+json;q=0.1, application/json": scimJSON,
		"text/html":       scimJSON,
		"application/xml": scimJSON,
		"nonsense":        scimJSON,
	} {
		for path, status := range map[string]int{"/Users": 200, "/ServiceProviderConfig": 200, "/Users/nobody": 404, "/nowhere": 404} {
			r := h.ask("GET", path, "", "Accept: "+accept).want(status)
			if got := r.header.Get("Content-Type"); got != want {
				t.Errorf("%s, Accept %q: %s", path, accept, got)
			}
		}
	}
	// Several headers are one list.
	r := httptest.NewRequest("GET", BasePath+"/Users", nil)
	r.Header["Accept"] = []string{"application/json", "application/scim+json"}
	if got := h.serve(r).header.Get("Content-Type"); got != scimJSON {
		t.Errorf("two Accept headers: %s", got)
	}
}

// Headers and locations of answers about one resource (RFC 7644 sections 3.3 to 3.6).
func TestLocations(t *testing.T) {
	types := builtinTypes(t)
	for _, c := range []struct {
		public, host string
		tls          bool
		want         string
	}{
		{"https://scim.example", "other:8080", false, "https://scim.example/scim/v2"},
		{"https://scim.example/", "other:8080", false, "https://scim.example/scim/v2"},
		{"", "host.example:8080", false, "http://host.example:8080/scim/v2"},
		{"", "host.example", true, "https://host.example/scim/v2"},
	} {
		store, err := storage.Open(t.Context(), storage.Memory(), storage.Options{})
		if err != nil {
			t.Fatal(err)
		}
		s, err := NewService(t.Context(), store, types, Options{PublicURL: c.public})
		if err != nil {
			t.Fatal(err)
		}
		h := &house{t: t, store: store, service: s, handler: NewHandler(s), caller: Caller{Tenant: "default"}}
		t.Cleanup(h.close)
		ask := func(method, target, body string) *reply {
			r := httptest.NewRequest(method, BasePath+target, strings.NewReader(body))
			r.Host = c.host
			if c.tls {
				r.TLS = &tls.ConnectionState{}
			}
			return h.serve(r)
		}
		made := ask("POST", "/Users", `{"userName":"ada"}`).want(201)
		at := c.want + "/Users/" + made.id()
		check := func(r *reply, content string) {
			t.Helper()
			if r.header.Get("Location") != at || r.header.Get("Content-Location") != content || r.text("meta", "location") != at || r.etag() != r.text("meta", "version") {
				t.Errorf("%+v %s: %v, meta %s", c, r.asked, r.header, r.text("meta"))
			}
		}
		check(made, "")
		check(ask("GET", "/users/"+made.id()+"?x=y", "").want(200), at)
		check(ask("PUT", "/Users/"+made.id(), `{"userName":"ada","title":"x"}`).want(200), at)
		check(ask("PATCH", "/Users/"+made.id(), patchBody(`{"op":"add","path":"title","value":"y"}`)).want(200), at)
		g := ask("POST", "/Groups", `{"displayName":"Ops","members":`+refs(made.id())+`}`).want(201)
		if ref := g.text("members", 0, "$ref"); ref != at {
			t.Errorf("$ref %s", ref)
		}
		if ref := ask("GET", "/Users/"+made.id(), "").text("groups", 0, "$ref"); ref != c.want+"/Groups/"+g.id() {
			t.Errorf("$ref %s", ref)
		}
	}
}

// /Me is the User that the token is bound to (RFC 7644 section 3.11).
func TestMe(t *testing.T) {
	h := openHouse(t, Options{})
	u := h.user("ada", "")
	for _, method := range []string{"GET", "PUT", "PATCH", "DELETE", "POST"} {
		h.unchanged(func() { h.ask(method, "/Me", `{"userName":"x"}`).refused(501, "") })
	}
	me := h.as(func(c *Caller) { c.User = u })
	if r := me.ask("GET", "/Me", "").want(200); r.id() != u || r.header.Get("Location") != "https://scim.example/scim/v2/Users/"+u {
		t.Errorf("%v %s", r.header, r.body)
	}
	if r := me.patch("/Me", `{"op":"add","path":"title","value":"Dr"}`).want(200); r.text("title") != "Dr" {
		t.Errorf("%s", r.body)
	}
	me.ask("GET", "/Me/x", "").refused(404, "")
	me.ask("DELETE", "/Me", "").want(204)
	me.ask("GET", "/Me", "").refused(404, "")
}

// What is the server's fault is told to the operator and not to the client.
func TestInternalErrors(t *testing.T) {
	var log bytes.Buffer
	h := openHouse(t, Options{Logger: slog.New(slog.NewTextHandler(&log, nil))}).as(func(c *Caller) { c.Request = "req-7" })
	u := h.user("ada@corp.example", `"title":"s3cret title"`)
	// A bit flips on the disk.
	err := h.probe.Engine.Update(t.Context(), func(w storage.Writer) error {
		key := []byte("rdefault\x00User\x00" + u)
		v, err := w.Get(key)
		if err != nil {
			return err
		}
		v = bytes.Clone(v)
		v[len(v)-3] ^= 4
		return w.Set(key, v)
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ method, target, body string }{
		{"GET", "/Users/" + u, ""}, {"GET", "/Users", ""}, {"GET", "/Users?filter=title pr", ""}, {"DELETE", "/Users/" + u, ""},
		{"PUT", "/Users/" + u, `{"userName":"x"}`}, {"PATCH", "/Users/" + u, patchBody(`{"op":"add","path":"title","value":"x"}`)},
	} {
		log.Reset()
		r := h.ask(c.method, c.target, c.body).refused(500, "")
		if d := r.text("detail"); !strings.Contains(d, "internal error") || !strings.Contains(d, "req-7") || strings.Contains(d, "checksum") || strings.Contains(d, u) {
			t.Errorf("%s %s: %s", c.method, c.target, d)
		}
		if l := log.String(); !strings.Contains(l, "req-7") || !strings.Contains(l, "checksum") || strings.Contains(l, "s3cret") || strings.Contains(l, "ada@corp") {
			t.Errorf("%s %s: log %s", c.method, c.target, l)
		}
	}
	// What is the client's is in no log, and every error names the request.
	log.Reset()
	for _, r := range []*reply{h.ask("GET", "/Users/nobody", "").want(404), h.ask("POST", "/Users", "{").want(400), h.ask("TRACE", "/Users", "").want(405), h.ask("GET", "/Me", "").want(501)} {
		if !strings.Contains(r.text("detail"), "req-7") {
			t.Errorf("%s", r.body)
		}
	}
	if log.Len() > 0 {
		t.Errorf("log: %s", log.String())
	}
	h.store.Close() // and with it the damage, which is not this test's business at the end
	r := h.ask("GET", "/Users", "").refused(503, "")
	if r.header.Get("Retry-After") == "" {
		t.Error("a 503 without Retry-After")
	}
}

// Without a caller nothing is answered but how to become one.
func TestUnauthenticated(t *testing.T) {
	h := openHouse(t, Options{})
	h.user("ada", "")
	for _, c := range []struct{ method, path string }{
		{"GET", "/Users"}, {"POST", "/Users"}, {"GET", "/"}, {"POST", "/Bulk"}, {"GET", "/Me"}, {"DELETE", "/Users/x"}, {"OPTIONS", "/Users"}, {"TRACE", "/Users"}, {"GET", "/nowhere"}, {"POST", "/ServiceProviderConfig"},
	} {
		w := httptest.NewRecorder()
		h.handler.ServeHTTP(w, httptest.NewRequest(c.method, BasePath+c.path, strings.NewReader("{")))
		if w.Code != http.StatusUnauthorized || !strings.HasPrefix(w.Header().Get("WWW-Authenticate"), "Bearer ") || !strings.Contains(w.Body.String(), errorURN) {
			t.Errorf("%s %s: %d %v %s", c.method, c.path, w.Code, w.Header(), w.Body)
		}
	}
}
