package server

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"scimbox/auth"
	"scimbox/server/config"
	"scimbox/server/control"
)

// marked is in everything that the other tenant has, and in nothing else.
const marked = "qzmarked"

// intruder is somebody who wants to see, or to change, what is another tenant's.
type intruder struct{ name, token string }

type isolated struct {
	*running
	h         http.Handler
	user      string // ids of the other tenant
	group     string
	version   string // ETag of the user
	cursor    string // of the other tenant's users
	owner     string // its token
	intruders []intruder
	locked    []intruder // whom nobody lets in
}

func (s *isolated) send(t *testing.T, method, target, token, body string, header ...string) *httptest.ResponseRecorder {
	t.Helper()
	r := httptest.NewRequest(method, "http://scim.example.com"+target, strings.NewReader(body))
	r.RemoteAddr = "192.0.2.1:1"
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	if body != "" {
		r.Header.Set("Content-Type", "application/scim+json")
	}
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	s.h.ServeHTTP(w, r)
	return w
}

func (s *isolated) made(t *testing.T, path, token, body string) map[string]any {
	t.Helper()
	w := s.send(t, "POST", "/scim/v2"+path, token, body)
	var v map[string]any
	if err := json.Unmarshal(w.Body.Bytes(), &v); err != nil || w.Code != 201 {
		t.Fatalf("POST %s: %d %s", path, w.Code, w.Body)
	}
	return v
}

func openIsolated(t *testing.T) *isolated {
	t.Helper()
	running, h, clock := rated(t, func(c *config.Config) { c.Limits.RequestsPerAddress = 0 })
	s := &isolated{running: running, h: h}
	c, err := control.Connect(t.Context(), s.o.Config.Data, s.o.Version)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	token := func(what control.Create) (control.Created, intruder) {
		t.Helper()
		made, err := c.CreateToken(t.Context(), what)
		if err != nil {
			t.Fatal(err)
		}
		return made, intruder{what.Name, made.Secret}
	}
	_, owner := token(control.Create{Name: "owner", Tenant: "victim", Scope: auth.ScopeWrite})
	s.owner = owner.token
	u := s.made(t, "/Users", s.owner, `{"schemas":["urn:ietf:params:scim:schemas:core:2.0:User"],"userName":"`+marked+`","externalId":"`+marked+`x","displayName":"`+marked+` d","emails":[{"value":"`+marked+`@example.com"}],"active":true}`)
	s.made(t, "/Users", s.owner, `{"schemas":["urn:ietf:params:scim:schemas:core:2.0:User"],"userName":"`+marked+`2"}`)
	s.user, _ = u["id"].(string)
	g := s.made(t, "/Groups", s.owner, `{"schemas":["urn:ietf:params:scim:schemas:core:2.0:Group"],"displayName":"`+marked+`","members":[{"value":"`+s.user+`"}]}`)
	s.group, _ = g["id"].(string)
	s.version = s.send(t, "GET", "/scim/v2/Users/"+s.user, s.owner, "").Header().Get("ETag")
	var page struct {
		NextCursor string `json:"nextCursor"`
	}
	if err := json.Unmarshal(s.send(t, "GET", "/scim/v2/Users?cursor&count=1", s.owner, "").Body.Bytes(), &page); err != nil || page.NextCursor == "" {
		t.Fatalf("no cursor: %v", err)
	}
	s.cursor = page.NextCursor

	_, writes := token(control.Create{Name: "write", Tenant: "intruder", Scope: auth.ScopeWrite})
	self := s.made(t, "/Users", writes.token, `{"schemas":["urn:ietf:params:scim:schemas:core:2.0:User"],"userName":"self"}`)
	id, _ := self["id"].(string)
	_, reads := token(control.Create{Name: "read", Tenant: "intruder", Scope: auth.ScopeRead})
	_, bound := token(control.Create{Name: "bound", Tenant: "intruder", Scope: auth.ScopeWrite, User: id})
	_, limited := token(control.Create{Name: "limited", Tenant: "intruder", Scope: auth.ScopeRead, Types: "User", Attributes: "userName"})
	client, err := c.CreateClient(t.Context(), control.Create{Name: "oauth", Tenant: "intruder", Scope: auth.ScopeWrite})
	if err != nil {
		t.Fatal(err)
	}
	basic := "Basic " + base64.StdEncoding.EncodeToString([]byte(client.ID+":"+client.Secret))
	w := s.send(t, "POST", "/oauth/token", "", "grant_type=client_credentials", "Content-Type", "application/x-www-form-urlencoded", "Authorization", basic)
	var grant struct {
		AccessToken string `json:"access_token"`
	}
	if err := json.Unmarshal(w.Body.Bytes(), &grant); err != nil || grant.AccessToken == "" {
		t.Fatalf("no access token: %d %s", w.Code, w.Body)
	}
	s.intruders = []intruder{writes, reads, bound, limited, {"oauth", grant.AccessToken}}

	// Tokens of the other tenant itself that are not in force open nothing either.
	revoked, was := token(control.Create{Name: "revoked", Tenant: "victim", Scope: auth.ScopeWrite})
	if _, err := c.RevokeToken(t.Context(), revoked.ID); err != nil {
		t.Fatal(err)
	}
	_, expired := token(control.Create{Name: "expired", Tenant: "victim", Scope: auth.ScopeWrite, TTL: time.Minute})
	clock.add(2 * time.Minute)
	s.locked = []intruder{{"nobody", ""}, was, expired, {"cut short", s.owner[:40]}, {"client secret", client.Secret}}
	return s
}

// attempt is a request for something of another tenant. USER, GROUP and so on stand for what it names.
type attempt struct{ method, path, body, header string }

func attempts() []attempt {
	const (
		user  = `{"schemas":["urn:ietf:params:scim:schemas:core:2.0:User"],"userName":"taken over","manager":{"value":"USER"}}`
		group = `{"schemas":["urn:ietf:params:scim:schemas:core:2.0:Group"],"displayName":"taken over","members":[{"value":"USER"}]}`
		patch = `{"schemas":["urn:ietf:params:scim:api:messages:2.0:PatchOp"],"Operations":[{"op":"replace","path":"displayName","value":"taken over"}]}`
	)
	var all []attempt
	for _, m := range []string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"} {
		for path, body := range map[string]string{
			"/Users/USER": user, "/Groups/GROUP": group, "/Users/GROUP": user, "/Groups/USER": group, "/users/USER": user,
			"/Users/USER/groups": "", "/Users/..%2fUsers%2fUSER": "", "/Users/victim%00User%00USER": "", "/victim/Users/USER": "",
		} {
			switch m {
			case "PATCH":
				body = patch
			case "PUT", "POST":
			default:
				body = ""
			}
			for _, header := range []string{"", "If-Match: VERSION", "If-None-Match: VERSION", "If-None-Match: *", "X-Tenant: victim"} {
				all = append(all, attempt{m, path, body, header})
			}
		}
	}
	for _, filter := range []string{
		`userName eq "MARK"`, `userName sw "MA"`, `userName co "ARK"`, `externalId eq "MARKx"`, `id eq "USER"`, `emails.value eq "MARK@example.com"`,
		`displayName pr`, `not (userName eq "nobody")`, `meta.lastModified gt "2020-01-01T00:00:00Z"`, `groups.value eq "GROUP"`, `members.value eq "USER"`,
	} {
		q := url.QueryEscape(filter)
		for _, path := range []string{"/Users", "/Groups", ""} {
			all = append(all, attempt{"GET", path + "?filter=" + q, "", ""},
				attempt{"GET", path + "?count=0&filter=" + q, "", ""},
				attempt{"GET", path + "?sortBy=userName&filter=" + q, "", ""},
				attempt{"POST", path + "/.search", `{"schemas":["urn:ietf:params:scim:api:messages:2.0:SearchRequest"],"filter":` + fmt.Sprintf("%q", filter) + `}`, ""})
		}
	}
	for _, path := range []string{"/Users?cursor=CURSOR&count=1", "/Groups?cursor=CURSOR", "/Users?tenant=victim", "/Users", "/Groups", "/Me", "/Schemas", "/ResourceTypes", "/ServiceProviderConfig"} {
		all = append(all, attempt{"GET", path, "", ""})
	}
	bulk := func(op string) attempt {
		return attempt{"POST", "/Bulk", `{"schemas":["urn:ietf:params:scim:api:messages:2.0:BulkRequest"],"Operations":[` + op + `]}`, ""}
	}
	return append(all,
		bulk(`{"method":"DELETE","path":"/Users/USER"}`),
		bulk(`{"method":"PATCH","path":"/Groups/GROUP","data":`+patch+`}`),
		bulk(`{"method":"PUT","path":"/Users/USER","version":"VERSION","data":`+strings.Replace(user, "taken over", "self", 1)+`}`),
		bulk(`{"method":"POST","path":"/Groups","bulkId":"a","data":`+group+`}`),
		attempt{"PATCH", "/Me", patch, ""}, attempt{"DELETE", "/Me/USER", "", ""})
}

// changing is what differs between two answers to the same request: moments, versions, request ids, and ids of what was just made.
var changing = regexp.MustCompile(`\d{4}-\d\d-\d\dT[0-9:.]+Z|W/\\?"[0-9A-Za-z_-]+\\?"|\(request [A-Z0-9]+\)|[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[0-9a-f-]{17}|"nextCursor":"[^"]*"`)

var location = regexp.MustCompile(`/scim/v2/(Users|Groups)/[0-9a-f-]{36}`)

// Whoever is not of a tenant is answered about what it has as about what nobody has: every method and path, with ids, versions,
// cursors, names and members of the other tenant, for every sort of token. And nothing of it is changed.
func TestTenantsAreIsolated(t *testing.T) {
	s := openIsolated(t)
	whole := func() string {
		return s.send(t, "GET", "/scim/v2/Users", s.owner, "").Body.String() + s.send(t, "GET", "/scim/v2/Groups", s.owner, "").Body.String()
	}
	before := whole()
	fill := func(text, user, group, name, version, cursor string) string {
		return strings.NewReplacer("USER", user, "GROUP", group, "MARK", name, "VERSION", version, "CURSOR", cursor).Replace(text)
	}
	n := 0
	for _, who := range append(s.intruders, s.locked...) {
		for _, a := range attempts() {
			ask := func(user, group, name, version, cursor string) *httptest.ResponseRecorder {
				n++
				var header []string
				if h, v, ok := strings.Cut(a.header, ": "); ok {
					header = []string{h, fill(v, user, group, name, version, cursor)}
				}
				version = strings.ReplaceAll(version, `"`, `\"`)
				w := s.send(t, a.method, "/scim/v2"+fill(a.path, user, group, name, url.QueryEscape(version), cursor), who.token, fill(a.body, user, group, name, version, cursor), header...)
				// What has been made in the tenant of the intruder goes at once, so that the next attempt does not find it.
				if a.method == "POST" && !strings.Contains(a.path, ".search") || a.method == "PUT" {
					for _, made := range location.FindAllString(fmt.Sprint(w.Header())+w.Body.String(), -1) {
						s.send(t, "DELETE", made, s.intruders[0].token, "")
					}
				}
				return w
			}
			theirs := ask(s.user, s.group, marked, s.version, s.cursor)
			what := who.name + ": " + a.method + " " + a.path + " " + a.header + " " + a.body
			// What the intruder has said himself may be said back to him; all else of the tenant may not.
			said := fmt.Sprint(theirs.Header()) + theirs.Body.String()
			for _, secret := range []string{marked + "2", marked + " d", `"userName":"` + marked, `"displayName":"` + marked, `"externalId":"` + marked, `"victim"`} {
				if strings.Contains(said, secret) && !strings.Contains(a.path, "victim") {
					t.Errorf("%s: the answer has %q: %s", what, secret, said)
				}
			}
			if slices.Contains(s.locked, who) && theirs.Code < 400 && !public(a) {
				t.Errorf("%s: let in with %d", what, theirs.Code)
			}
			if strings.Contains(a.path, "cursor=") {
				if theirs.Code < 400 {
					t.Errorf("%s: a cursor of another tenant is answered with %d", what, theirs.Code)
				}
				continue // a cursor that nobody has made is not of the same form
			}
			const nobody, none = "019a0000-0000-7000-8000-000000000000", "019a0000-0000-7000-8000-000000000001"
			other := ask(nobody, none, "zqnobodyz"[:len(marked)], `W/"7"`, "x")
			same := func(w *httptest.ResponseRecorder, name string) string {
				return changing.ReplaceAllString(strings.ReplaceAll(w.Body.String(), name, "NAME"), "*")
			}
			if theirs.Code != other.Code || same(theirs, marked) != same(other, "zqnobodyz"[:len(marked)]) || theirs.Header().Get("ETag") != "" && theirs.Code >= 400 {
				t.Errorf("%s:\n%d %s\nand for what nobody has\n%d %s", what, theirs.Code, theirs.Body, other.Code, other.Body)
			}
		}
	}
	if after := whole(); after != before {
		t.Errorf("the other tenant was changed:\n%s\nit was\n%s", after, before)
	}
	t.Logf("%d requests", n)
}

func public(a attempt) bool {
	return strings.HasPrefix(a.path, "/ServiceProviderConfig") || strings.HasPrefix(a.path, "/Schemas") || strings.HasPrefix(a.path, "/ResourceTypes")
}
