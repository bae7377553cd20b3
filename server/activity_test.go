package server

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"scimbox/activity"
	"scimbox/scim"
	"scimbox/server/config"
	"scimbox/server/control"
)

// refusals returns what was refused, the newest first, when all of it is written.
func (r *running) refusals(t *testing.T) []activity.Event {
	t.Helper()
	if err := r.house.log.Sync(t.Context()); err != nil {
		t.Fatal(err)
	}
	p, err := r.house.Activity().List(t.Context(), activity.Query{Failed: true, Limit: 1000})
	if err != nil {
		t.Fatal(err)
	}
	return p.Events
}

// client asks the server's own control API.
func (r *running) client(t *testing.T) *control.Client {
	t.Helper()
	c, err := control.Connect(t.Context(), r.o.Config.Data, r.o.Version)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	return c
}

const userBody = `{"schemas":["urn:ietf:params:scim:schemas:core:2.0:User"],"userName":"bjensen@example.com","password":"sesame"}`

// Whatever refuses a request, it is told: who, what, why, and what to change.
func TestRefusals(t *testing.T) {
	s := start(t, func(c *config.Config) { c.Activity.Mask = config.List{"nickName"} })
	if resp, body := s.do(t, "POST", "/scim/v2/Users", userBody); resp.StatusCode != 201 {
		t.Fatal(body)
	}
	tok, _, _ := s.FirstToken()
	for _, c := range []struct {
		method, path, body string
		header             []string
		status             int
		op, says, advice   string
	}{
		{"POST", "/scim/v2/Users", userBody, nil, 409, "create", "first-start wanted to create the user bjensen@example.com and was refused: another User has this userName", `A user has the userName "bjensen@example.com"`},
		{"POST", "/scim/v2/Users", userBody, []string{"Accept-Encoding", "gzip"}, 409, "create", "first-start wanted", "Delete or rename"},
		{"GET", "/scim/v2/Users/nobody", "", nil, 404, "read", "asked for the user nobody", "Nothing needs to be changed"},
		{"GET", "/scim/v2/Users?filter=nickName+xx+%22Babs%22", "", nil, 400, "search", "searched for users and was refused", "filter cannot be read"},
		{"PATCH", "/scim/v2/Users/x", `{"Operations":[{"op":"replace","path":"nickName","value":"Babs"}]}`, nil, 404, "patch", "wanted to change", "Nothing"},
		{"POST", "/scim/v2/Users", strings.Repeat(" ", 70<<10) + "{", nil, 400, "create", "ends in the middle", "JSON"},
		{"POST", "/scim/v2/Users", strings.Repeat(" ", 2<<20), nil, 413, "create", "larger than", "[limits] body"},
		{"POST", "/Users", userBody, []string{"Authorization", ""}, 404, "other", "sent POST /Users and was refused", "Tenant URL is scheme and host of this server, and then /scim/v2"},
		{"GET", "/scim/v2/Users", "", []string{"Authorization", ""}, 401, "search", "Somebody at 127.0.0.1 was not let in: this request needs a token", "Secret Token"},
		{"GET", "/scim/v2/Users", "", []string{"Authorization", "Bearer " + s.secret[:len(s.secret)-1]}, 401, "search", "Somebody at 127.0.0.1 who names the token of first-start was not let in", "Copy the whole token"},
		{"POST", "/oauth/token", "grant_type=client_credentials&client_secret=sesame", []string{"Content-Type", "application/x-www-form-urlencoded", "Authorization", ""}, 401, "other", "was not let in: invalid_client", "scimbox client"},
	} {
		resp, body := s.do(t, c.method, c.path, c.body, c.header...)
		if resp.StatusCode != c.status {
			t.Fatalf("%s %s: %s\n%s", c.method, c.path, resp.Status, body)
		}
		v := s.refusals(t)[0]
		if v.Op != c.op || v.Refused.Status != c.status || !strings.Contains(v.Sentence, c.says) || !strings.Contains(v.Advice, c.advice) || v.Request != resp.Header.Get(requestIDHeader) {
			t.Errorf("%s %s\n%+v\n%+v", c.method, c.path, v, v.Refused)
		}
		if len(c.header) == 0 && (v.Refused.Token != tok.ID || v.Refused.TokenName != "first-start" || v.Tenant != "default") {
			t.Errorf("%s %s: whose is it? %+v", c.method, c.path, v.Refused)
		}
	}
	names, err := filepath.Glob(filepath.Join(s.o.Config.Data, activity.DirName, "*"))
	if err != nil || len(names) == 0 {
		t.Fatal(names, err)
	}
	for _, name := range names {
		data, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		for _, secret := range []string{"sesame", "Babs", s.secret[:40]} {
			if bytes.Contains(data, []byte(secret)) {
				t.Errorf("%s holds %s", name, secret)
			}
		}
	}

	status, err := s.client(t).Status(t.Context())
	if err != nil || len(status.Clients) != 1 {
		t.Fatalf("%+v, %v", status.Clients, err)
	}
	if k := status.Clients[0]; k.Name != "first-start" || k.Requests != 8 || k.Refused != 7 || k.Client != "127.0.0.1" || !strings.HasPrefix(k.Agent, "Go-http-client") {
		t.Errorf("%+v", k)
	}
}

// Operations that are refused inside of a bulk request that is itself accepted are told one by one, in their order, as if each had been
// a request: with its own status, reason, body and advice, and without secrets. Those that are done are not told twice.
func TestBulkRefusals(t *testing.T) {
	s := start(t, func(c *config.Config) { c.Activity.Mask = config.List{"nickName"} })
	bulk := func(path string, ops ...string) string {
		t.Helper()
		resp, body := s.do(t, "POST", "/scim/v2"+path, `{"schemas":["urn:ietf:params:scim:api:messages:2.0:BulkRequest"],"Operations":[`+strings.Join(ops, ",")+`]}`)
		if resp.StatusCode != 200 {
			t.Fatalf("%s\n%s", resp.Status, body)
		}
		return resp.Header.Get(requestIDHeader)
	}
	id := bulk("/Bulk",
		`{"method":"POST","path":"/Users","bulkId":"a","data":{"userName":"ada"}}`,
		`{"method":"POST","path":"/Users","bulkId":"b","data":{"userName":"ADA","password":"sesame","nickName":"Babs"}}`,
		`{"method":"DELETE","path":"/Users/nobody"}`,
		`{"method":"PATCH","path":"Groups/none","data":{"Operations":[{"op":"add","path":"members","value":[{"value":"bulkId:b"}]}]}}`,
		`{"method":"GET","path":"/Users"}`,
	)
	tok, _, _ := s.FirstToken()
	got := s.refusals(t)
	want := []struct {
		op, path     string
		status       int
		scimType     string
		says, advice string
		hasBody      bool
	}{
		{"search", "/scim/v2/Users", 400, "invalidSyntax", "searched for users in a bulk request and was refused: Operations[4], GET /Users: the method", "", false},
		{"patch", "/scim/v2/Groups/none", 400, "invalidValue", "wanted to change the group none in a bulk request and was refused: Operations[3], PATCH Groups/none: the operation of the bulkId", "", true},
		{"delete", "/scim/v2/Users/nobody", 404, "", "wanted to delete the user nobody in a bulk request and was refused: Operations[2]", "Nothing needs to be changed", false},
		{"create", "/scim/v2/Users", 409, "uniqueness", "wanted to create the user ADA in a bulk request and was refused: Operations[1]", "Delete or rename", true},
	}
	if len(got) != len(want) {
		t.Fatalf("%d refusals, want %d: %+v", len(got), len(want), got)
	}
	for i, w := range want {
		v := got[i]
		if v.Op != w.op || v.Refused.Path != w.path || v.Refused.Status != w.status || v.Refused.ScimType != w.scimType || !strings.Contains(v.Sentence, w.says) || !strings.Contains(v.Advice, w.advice) || (v.Refused.Body != nil) != w.hasBody {
			t.Errorf("%+v\n%+v\nwant %+v", v, v.Refused, w)
		}
		if v.Request != id || v.Refused.Token != tok.ID || v.Tenant != "default" || !v.Refused.Bulk || v.Refused.Answer == nil {
			t.Errorf("whose is it? %+v", v.Refused)
		}
		text, err := json.Marshal(v)
		if err != nil || bytes.Contains(text, []byte("sesame")) || bytes.Contains(text, []byte("Babs")) {
			t.Errorf("%v: it has a secret: %s", err, text)
		}
	}
	// Of very many the first are kept, and it is known how many there were.
	var many []string
	for range bulkRefusals + 30 {
		many = append(many, `{"method":"DELETE","path":"/Users/nobody"}`)
	}
	bulk("/bulk/", many...)
	if n := len(s.refusals(t)) - len(want); n != bulkRefusals || s.house.log.Stats().Suppressed != 30 || s.house.log.Stats().Dropped != 0 {
		t.Errorf("%d are kept of %d, %+v", n, len(many), s.house.log.Stats())
	}
}

// What was refused is there after a restart, and with no server at all.
func TestRefusalsStay(t *testing.T) {
	o, log := options(t)
	s := serve(t, o, log)
	s.do(t, "GET", "/scim/v2/Users/nobody", "")
	if err := s.stop(); err != nil {
		t.Fatal(err)
	}
	h, err := OpenHouse(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	c := control.Local(h.Backend())
	p, err := c.Activity(t.Context(), control.ActivityQuery{Failed: true})
	if err != nil || len(p.Events) != 1 || p.Events[0].Refused.Path != "/scim/v2/Users/nobody" {
		t.Errorf("%+v, %v", p, err)
	}
	var wrong *control.Error
	if err := c.Follow(t.Context(), control.ActivityQuery{}, control.Position{}, func(control.Event) error { return nil }); !errors.As(err, &wrong) || wrong.Code != control.Invalid {
		t.Errorf("following without a server: %v", err)
	}
	if err := errors.Join(c.Close(), h.Close()); err != nil {
		t.Fatal(err)
	}
	s = serve(t, o, log)
	s.secret = "wrong"
	s.do(t, "GET", "/scim/v2/Users", "")
	if got := s.refusals(t); len(got) != 2 || got[0].ID != "r2" {
		t.Errorf("%+v", got)
	}
}

func TestFollowThroughTheSocket(t *testing.T) {
	s := start(t, nil)
	c := s.client(t)
	p, err := c.Activity(t.Context(), control.ActivityQuery{})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	events := make(chan control.Event, 10)
	done := make(chan error, 1)
	go func() {
		done <- c.Follow(ctx, control.ActivityQuery{Tenant: "default"}, p.Newest, func(v control.Event) error { events <- v; return nil })
	}()
	s.do(t, "POST", "/scim/v2/Users", userBody)
	if v := <-events; v.Sentence != "first-start created the user bjensen@example.com" {
		t.Errorf("%+v", v)
	}
	s.do(t, "POST", "/scim/v2/Users", userBody)
	if v := <-events; v.Kind != activity.KindRefusal {
		t.Errorf("%+v", v)
	}
	// Whoever follows keeps nobody from stopping the server.
	begin := time.Now()
	if err := s.stop(); err != nil {
		t.Error(err)
	}
	if err := <-done; err == nil || !strings.Contains(err.Error(), "the server has stopped") {
		t.Errorf("%v after %s", err, time.Since(begin))
	}
}

func TestResourcesForPeople(t *testing.T) {
	s := start(t, nil)
	c, ctx := s.client(t), t.Context()
	ids := map[string]string{}
	add := func(path, body string) string {
		t.Helper()
		resp, answer := s.do(t, "POST", path, body)
		var o struct{ ID, UserName, DisplayName string }
		if err := json.Unmarshal([]byte(answer), &o); err != nil || resp.StatusCode != 201 {
			t.Fatalf("%s: %s, %v", resp.Status, answer, err)
		}
		ids[o.UserName+o.DisplayName] = o.ID
		return o.ID
	}
	id := add("/scim/v2/Users", userBody)
	for _, name := range []string{"a", "b", "c", "d"} {
		add("/scim/v2/Users", `{"schemas":["urn:ietf:params:scim:schemas:core:2.0:User"],"userName":"`+name+`@example.com"}`)
	}
	group := add("/scim/v2/Groups", `{"schemas":["urn:ietf:params:scim:schemas:core:2.0:Group"],"displayName":"Sales","members":[{"value":"`+id+`"},{"value":"unheard-of"}]}`)

	var names []string
	for q := (control.ResourceQuery{Type: "User", Count: 2}); ; {
		l, err := c.Resources(ctx, q)
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range l.Resources {
			var o struct{ UserName string }
			if err := json.Unmarshal(r, &o); err != nil {
				t.Fatal(err)
			}
			names = append(names, o.UserName)
		}
		if q.Cursor = l.Next; q.Cursor == "" {
			break
		}
	}
	if len(names) != 5 {
		t.Errorf("%q", names)
	}
	l, err := c.Resources(ctx, control.ResourceQuery{Type: "users", Filter: `userName sw "b"`})
	if err != nil || len(l.Resources) != 2 || bytes.Contains(l.Resources[0], []byte("assword")) {
		t.Errorf("%s, %v", l.Resources, err)
	}

	for _, which := range []string{id, "bjensen@example.com", "BJENSEN@example.com"} {
		o, err := c.Resource(ctx, "default", "User", which)
		if err != nil || o.ID != id || len(o.Groups) != 1 || o.Groups[0].Name != "Sales" || o.Members != nil || !bytes.Contains(o.Resource, []byte(`"bjensen@example.com"`)) {
			t.Errorf("%s: %+v, %v", which, o, err)
		}
	}
	o, err := c.Resource(ctx, "default", "Group", "Sales")
	if err != nil || o.ID != group || len(o.Members.Members) != 2 {
		t.Fatalf("%+v, %v", o, err)
	}
	m, err := c.Members(ctx, "default", "Group", group, "", 1)
	if err != nil || len(m.Members) != 1 || m.Next == "" {
		t.Errorf("%+v, %v", m, err)
	}
	for what, err := range map[string]error{
		"another tenant": func() error { _, err := c.Resource(ctx, "acme", "User", id); return err }(),
		"nobody":         func() error { _, err := c.Resource(ctx, "default", "User", "nobody"); return err }(),
		"no type":        func() error { _, err := c.Resources(ctx, control.ResourceQuery{Type: "Printer"}); return err }(),
	} {
		var e *control.Error
		if !errors.As(err, &e) || e.Code != control.NotFound {
			t.Errorf("%s: %v", what, err)
		}
	}
	var e *control.Error
	if _, err := c.Resources(ctx, control.ResourceQuery{Type: "User", Filter: "userName"}); !errors.As(err, &e) || e.Code != control.Invalid || !strings.Contains(err.Error(), "operator") {
		t.Errorf("%v", err)
	}
	h, err := c.History(ctx, "User", "bjensen@example.com", control.ActivityQuery{Tenant: "default"})
	if err != nil || h.ID != id || len(h.Events) != 2 || h.Events[0].Added[0].Name != "bjensen@example.com" {
		t.Errorf("%+v, %v", h, err)
	}
	if _, err := c.History(ctx, "User", "nobody", control.ActivityQuery{Tenant: "default"}); !errors.As(err, &e) || e.Code != control.NotFound {
		t.Errorf("%v", err)
	}
}

// BenchmarkTap is what the tap costs, around a handler that does nothing but read the body.
func BenchmarkTap(b *testing.B) {
	inner := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		w.WriteHeader(http.StatusOK)
	})
	for name, keep := range map[string]time.Duration{"without": -1, "counting": 0, "keeping": time.Hour} {
		b.Run(name, func(b *testing.B) {
			o := Options{Config: config.Default(), Version: "1.2.3"}
			o.Config.Listen, o.Config.Data = "127.0.0.1:0", filepath.Join(b.TempDir(), "data")
			o.Config.Activity.Keep.Duration = max(keep, 0)
			s, err := Open(b.Context(), o)
			if err != nil {
				b.Fatal(err)
			}
			defer s.Close()
			var h http.Handler = inner
			if keep >= 0 {
				h = s.tapped(inner)
			}
			seen := &observation{id: "q", token: "aaaaaaaaaaaa", tenant: "default"}
			body := strings.Repeat("x", 600)
			b.ReportAllocs()
			for b.Loop() {
				r := httptest.NewRequest("PATCH", scim.BasePath+"/Users/x", strings.NewReader(body))
				h.ServeHTTP(httptest.NewRecorder(), r.WithContext(context.WithValue(r.Context(), observationKey{}, seen)))
			}
		})
	}
}
