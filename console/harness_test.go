package console

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"scimbox/activity"
	"scimbox/auth"
	"scimbox/scim"
	"scimbox/server/control"
	"scimbox/storage"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const own = `{"schemas": [{"id": "urn:example:params:scim:schemas:extension:acme:2.0:User", "name": "Acme", "extends": "User",
	"attributes": [{"name": "badge", "description": "Number on the <b>badge</b>"}, {"name": "starts", "type": "dateTime"}]}]}`

// guardMost is how much may be taken away in a house before its guard holds the rest back.
const guardMost = 5

// house is a console with everything that it shows.
type house struct {
	t        *testing.T
	store    *storage.Store
	tokens   *auth.Tokens
	activity *activity.Log
	service  *scim.Service
	console  *Console
	scim     http.Handler
	log      *bytes.Buffer
	url      string            // tenant URL
	names    map[string]string // of resources by their ids

	mu  sync.Mutex
	now time.Time
}

func (h *house) clock() time.Time {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.now = h.now.Add(time.Millisecond)
	return h.now
}

func (h *house) wait(d time.Duration) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.now = h.now.Add(d)
}

func openHouse(t *testing.T, change func(*Options)) *house {
	t.Helper()
	h := &house{t: t, log: &bytes.Buffer{}, url: "https://scim.example.com/scim/v2", now: time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)}
	logger := slog.New(slog.NewTextHandler(h.log, nil))
	file := filepath.Join(t.TempDir(), "schemas.json")
	if err := os.WriteFile(file, []byte(own), 0o600); err != nil {
		t.Fatal(err)
	}
	types, err := scim.NewTypes(file)
	if err != nil {
		t.Fatal(err)
	}
	if h.store, err = storage.Open(t.Context(), storage.Memory(), storage.Options{Clock: h.clock}); err != nil {
		t.Fatal(err)
	}
	h.tokens = auth.New(h.store, auth.Options{Cost: 4, Clock: h.clock, ValidPreset: scim.ValidPreset, Logger: logger})
	if h.service, err = scim.NewService(t.Context(), h.store, types, scim.Options{Clock: h.clock, Logger: logger, Guard: scim.GuardOptions{MaxChanges: guardMost, Window: time.Hour}}); err != nil {
		t.Fatal(err)
	}
	guard := &control.GuardBackend{
		Status: func(ctx context.Context) ([]control.Guard, error) {
			var all []control.Guard
			for _, tenant := range []string{"acme", "default"} {
				g, err := h.service.Guard(ctx, tenant)
				if err != nil {
					return nil, err
				}
				all = append(all, control.Guard(g))
			}
			return all, nil
		},
		Decide: func(ctx context.Context, tenant string, by storage.Origin, d control.GuardDecision) (control.Guard, error) {
			g, err := h.service.Decide(ctx, tenant, by, scim.GuardDecision(d))
			return control.Guard(g), err
		},
	}
	backend := &control.Backend{Guard: guard, Store: h.store, Tokens: h.tokens, Version: "test", Data: "data", Clock: h.clock, Logger: logger, Server: func() control.Server {
		return control.Server{PID: 7, Started: h.clock(), Listen: "127.0.0.1:1", TenantURL: h.url, UnknownAttributes: h.service.UnknownAttributes()}
	}}
	local := control.Local(backend)
	t.Cleanup(func() {
		for _, err := range []error{local.Close(), h.tokens.Close(), h.store.Close()} {
			if err != nil {
				t.Error(err)
			}
		}
	})
	log := activity.Open(filepath.Join(t.TempDir(), "activity"), activity.Options{Clock: h.clock, Base: scim.BasePath, Types: map[string]string{"users": "User", "groups": "Group"}})
	h.activity = log
	t.Cleanup(func() {
		if err := log.Close(); err != nil {
			t.Error(err)
		}
	})
	o := Options{
		Activity: &activity.Reader{Store: h.store, Log: log, Clock: h.clock, Name: func(_ context.Context, _, _, id string) string {
			return h.names[id]
		}, Tokens: func(ctx context.Context) ([]activity.Who, error) {
			all, err := h.tokens.List(ctx)
			var l []activity.Who
			for _, t := range all {
				l = append(l, activity.Who{Token: t.ID, Name: t.Name, Preset: t.Preset})
			}
			return l, err
		}},
		Store: h.store, Service: h.service, Tokens: h.tokens, Status: local.Status, Guard: guard, Version: "test",
		TenantURL: func() string { return h.url }, Client: func(*http.Request) string { return "192.0.2.1" },
		Request: func(*http.Request) string { return "req-1" }, Clock: h.clock, Logger: logger,
	}
	if change != nil {
		change(&o)
	}
	if h.console, err = New(o); err != nil {
		t.Fatal(err)
	}
	h.scim = scim.NewHandler(h.service)
	return h
}

// client sends a SCIM request as a token of the tenant would, and returns the id of what is answered.
func (h *house) client(tenant, method, path, body string) string {
	h.t.Helper()
	r := httptest.NewRequest(method, scim.BasePath+path, strings.NewReader(body))
	w := httptest.NewRecorder()
	h.scim.ServeHTTP(w, r.WithContext(scim.WithCaller(r.Context(), scim.Caller{Tenant: tenant, Actor: "tok", Client: "198.51.100.7", Request: "scim-1", Preset: "entra"})))
	if w.Code >= 300 {
		h.t.Fatalf("%s %s: %d %s", method, path, w.Code, w.Body)
	}
	var o struct{ ID string }
	if w.Body.Len() > 0 {
		if err := json.Unmarshal(w.Body.Bytes(), &o); err != nil {
			h.t.Fatal(err)
		}
	}
	return o.ID
}

func (h *house) user(name, members string) string {
	h.t.Helper()
	if members != "" {
		members = "," + members
	}
	return h.client("default", "POST", "/Users", `{"schemas":["urn:ietf:params:scim:schemas:core:2.0:User"],"userName":"`+name+`"`+members+`}`)
}

func (h *house) group(name string, members ...string) string {
	h.t.Helper()
	var l []string
	for _, m := range members {
		l = append(l, `{"value":"`+m+`"}`)
	}
	return h.client("default", "POST", "/Groups", `{"schemas":["urn:ietf:params:scim:schemas:core:2.0:Group"],"displayName":"`+name+`","members":[`+strings.Join(l, ",")+`]}`)
}

// browser is a browser: it keeps cookies and says where it comes from.
type browser struct {
	h       *house
	base    string
	cookies map[string]string
	last    *http.Request
	header  map[string]string // of all requests
}

func (h *house) browser() *browser {
	return &browser{h: h, base: "http://127.0.0.1:8080", cookies: map[string]string{}, header: map[string]string{}}
}

type answer struct {
	status int
	header http.Header
	body   string
}

func (b *browser) do(method, target string, form url.Values) answer {
	b.h.t.Helper()
	var body io.Reader
	if form != nil {
		body = strings.NewReader(form.Encode())
	}
	r := httptest.NewRequest(method, b.base+target, body)
	if form != nil {
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	if method != "GET" {
		r.Header.Set("Origin", b.base)
		r.Header.Set("Sec-Fetch-Site", "same-origin")
	}
	for name, v := range b.header {
		r.Header.Set(name, v)
		if v == "" {
			r.Header.Del(name)
		}
	}
	for name, v := range b.cookies {
		r.AddCookie(&http.Cookie{Name: name, Value: v})
	}
	w := httptest.NewRecorder()
	b.last = r
	b.h.console.ServeHTTP(w, r)
	for _, k := range w.Result().Cookies() {
		b.cookies[k.Name] = k.Value
		if k.MaxAge < 0 {
			delete(b.cookies, k.Name)
		}
	}
	return answer{w.Code, w.Header(), w.Body.String()}
}

func (b *browser) get(target string) answer { b.h.t.Helper(); return b.do("GET", target, nil) }

// page gets a page that must be there.
func (b *browser) page(target string) string {
	b.h.t.Helper()
	a := b.get(target)
	if a.status != 200 {
		b.h.t.Fatalf("GET %s: %d to %s\n%s", target, a.status, a.header.Get("Location"), a.body)
	}
	return a.body
}

func (b *browser) post(target string, pairs ...string) answer {
	b.h.t.Helper()
	form := url.Values{}
	for i := 0; i < len(pairs); i += 2 {
		form.Set(pairs[i], pairs[i+1])
	}
	return b.do("POST", target, form)
}

// signedIn is a browser that has come by a link.
func (h *house) signedIn() *browser {
	h.t.Helper()
	b := h.browser()
	path, _ := h.console.NewLink()
	_, code, _ := strings.Cut(path, "code=")
	if a := b.post("/console/sign-in", "code", code); a.status != 303 || a.header.Get("Location") != "/console/" {
		h.t.Fatalf("sign-in: %d %s", a.status, a.body)
	}
	return b
}

func (h *house) token(spec auth.Spec) (auth.Token, string) {
	h.t.Helper()
	t, secret, err := h.tokens.Create(context.Background(), spec, storage.Origin{Actor: "local"})
	if err != nil {
		h.t.Fatal(err)
	}
	return t, secret.Reveal()
}

// crowd makes n users.
func (h *house) crowd(n int) {
	h.t.Helper()
	for i := range n {
		h.user(fmt.Sprintf("user-%04d@example.com", i), fmt.Sprintf(`"displayName":"Person %d","active":%t`, i, i%5 != 0))
	}
}
