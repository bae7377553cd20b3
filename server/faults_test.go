package server

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/bcrypt"

	"scimbox/auth"
	"scimbox/scim"
	"scimbox/server/control"
	"scimbox/storage"
	"scimbox/storage/storagetest"
)

// Everything that a client and an operator do is done on an engine that fails at one of its calls, at each of them in turn.
// What is there afterwards is what was answered with success, and of the rest nothing, or, where nobody can know, all or nothing.

// world is what there is, by name. It is the model too: steps say what they do to it.
type world struct {
	users  map[string]string          // userName -> title
	groups map[string]map[string]bool // displayName -> userNames of the members
	tokens map[string]bool            // name -> in force
}

func (w world) clone() world {
	c := world{maps.Clone(w.users), map[string]map[string]bool{}, maps.Clone(w.tokens)}
	for name, members := range w.groups {
		c.groups[name] = maps.Clone(members)
	}
	return c
}

func (w world) String() string {
	var l []string
	for name, title := range w.users {
		l = append(l, fmt.Sprintf("user %s %q", name, title))
	}
	for name, members := range w.groups {
		l = append(l, fmt.Sprintf("group %s %v", name, slices.Sorted(maps.Keys(members))))
	}
	for name, active := range w.tokens {
		l = append(l, fmt.Sprintf("token %s %v", name, active))
	}
	slices.Sort(l)
	return strings.Join(l, "\n")
}

// after is the world after some of the effects.
func (w world) after(effects []func(world), done func(i int) bool) world {
	c := w.clone()
	for i, effect := range effects {
		if done(i) {
			effect(c)
		}
	}
	return c
}

// talk is a conversation with a server whose engine can fail.
type talk struct {
	t       *testing.T
	server  *Server
	engine  *storagetest.Faulty
	handler http.Handler
	cli     *control.Client
	secret  string
	closed  bool
	ids     map[string]string // of what was made, by name
}

// said is what an operation was answered. A step has one operation, or as many as a bulk request.
type said struct {
	status int
	body   string // of a read; of a refusal, what it says
}

func (a said) ok() bool { return a.status >= 200 && a.status < 300 }

// openTalk opens a server on an engine, which open wraps around whatever it likes.
func openTalk(t *testing.T, o Options, open func(ctx context.Context, dir string, so storage.Options, between func(storage.Engine) storage.Engine) (*storage.Store, error)) *talk {
	t.Helper()
	k := &talk{t: t, engine: new(storagetest.Faulty), ids: map[string]string{}}
	o.Logger, o.tokenCost = slog.New(slog.DiscardHandler), bcrypt.MinCost
	o.Config.Journal.MaxSize.Bytes = 0 // nothing of its own accord
	o.openStore = func(ctx context.Context, dir string, so storage.Options) (*storage.Store, error) {
		return open(ctx, dir, so, func(e storage.Engine) storage.Engine { k.engine.Engine = e; return k.engine })
	}
	var err error
	if k.server, err = Open(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	if k.handler, err = k.server.handler(); err != nil {
		t.Fatal(err)
	}
	k.cli = control.Local(k.server.house.Backend())
	_, secret, _ := k.server.FirstToken()
	k.secret = secret.Reveal()
	return k
}

func (k *talk) close() {
	k.t.Helper()
	if k.closed {
		return
	}
	k.closed = true
	k.engine.Disarm()
	if err := errors.Join(k.cli.Close(), k.server.Close()); err != nil && !errors.Is(err, storage.ErrClosed) {
		k.t.Error(err)
	}
}

func (k *talk) ask(method, path, body string) said {
	k.t.Helper()
	r := httptest.NewRequestWithContext(k.t.Context(), method, scim.BasePath+path, strings.NewReader(body))
	r.RemoteAddr = "127.0.0.1:4321"
	r.Header.Set("Authorization", "Bearer "+k.secret)
	r.Header.Set("Content-Type", "application/scim+json")
	w := httptest.NewRecorder()
	k.handler.ServeHTTP(w, r)
	if strings.Contains(w.Body.String(), storagetest.ErrFault.Error()) {
		k.t.Errorf("%s %s: the cause is told to the client: %s", method, path, w.Body)
	}
	if w.Code == http.StatusServiceUnavailable && w.Header().Get("Retry-After") == "" {
		k.t.Errorf("%s %s: 503 without Retry-After", method, path)
	}
	return said{w.Code, w.Body.String()}
}

// post makes a resource and remembers its id.
func (k *talk) post(path, name, body string) []said {
	a := k.ask("POST", path, body)
	var made struct{ ID string }
	if a.ok() && json.Unmarshal([]byte(a.body), &made) == nil {
		k.ids[name] = made.ID
	}
	return []said{a}
}

func (k *talk) one(method, path, body string) []said { return []said{k.ask(method, path, body)} }

func (k *talk) patch(path, ops string) []said {
	return k.one("PATCH", path, patchOf(ops))
}

func patchOf(ops string) string {
	return `{"schemas":["urn:ietf:params:scim:api:messages:2.0:PatchOp"],"Operations":[` + ops + `]}`
}

func (k *talk) bulk(ops string) []said {
	a := k.ask("POST", "/Bulk", `{"schemas":["urn:ietf:params:scim:api:messages:2.0:BulkRequest"],"Operations":[`+ops+`]}`)
	if !a.ok() {
		return []said{a, a, a}
	}
	var answer struct {
		Operations []struct {
			Status, Location, BulkID string
			Response                 struct{ Detail string }
		}
	}
	if err := json.Unmarshal([]byte(a.body), &answer); err != nil {
		k.t.Fatal(err)
	}
	var l []said
	for _, op := range answer.Operations {
		status, err := strconv.Atoi(op.Status)
		if err != nil {
			k.t.Fatal(err)
		}
		if op.BulkID == "cleo" && op.Location != "" {
			k.ids["cleo"] = op.Location[strings.LastIndex(op.Location, "/")+1:]
		}
		l = append(l, said{status, op.Response.Detail})
	}
	return l
}

// command is what the command line was answered, in the manner of a request.
func command(err error) []said {
	if err != nil {
		return []said{{http.StatusInternalServerError, err.Error()}}
	}
	return []said{{http.StatusOK, ""}}
}

// step is a part of the conversation: what is done, and what each of its operations does to the world. One that has no effects
// is a read, and its answer is to be the same as ever, or a refusal.
type step struct {
	name    string
	do      func(k *talk) []said
	effects []func(w world)
}

var steps = []step{
	{"create ada", func(k *talk) []said {
		return k.post("/Users", "ada", `{"userName":"ada","emails":[{"value":"ada@x.example","type":"work"}],"externalId":"1"}`)
	}, []func(world){func(w world) { w.users["ada"] = "" }}},
	{"create ben", func(k *talk) []said {
		return k.post("/Users", "ben", `{"userName":"ben","title":"Mr"}`)
	}, []func(world){func(w world) { w.users["ben"] = "Mr" }}},
	{"create a group", func(k *talk) []said {
		return k.post("/Groups", "Ops", `{"displayName":"Ops","members":[{"value":"`+k.ids["ada"]+`"}]}`)
	}, []func(world){func(w world) { w.groups["Ops"] = map[string]bool{"ada": true} }}},
	{"patch a user", func(k *talk) []said {
		return k.patch("/Users/"+k.ids["ada"], `{"op":"replace","value":{"title":"Dr","emails":[{"value":"ada@y.example","type":"work"}]}}`)
	}, []func(world){func(w world) { w.users["ada"] = "Dr" }}},
	{"rename a user", func(k *talk) []said {
		return k.one("PUT", "/Users/"+k.ids["ben"], `{"userName":"benjamin","title":"Sir","externalId":"2"}`)
	}, []func(world){func(w world) { delete(w.users, "ben"); w.users["benjamin"] = "Sir" }}},
	{"change members", func(k *talk) []said {
		return k.patch("/Groups/"+k.ids["Ops"], `{"op":"add","path":"members","value":[{"value":"`+k.ids["ben"]+`"}]},{"op":"remove","path":"members[value eq \"`+k.ids["ada"]+`\"]"}`)
	}, []func(world){func(w world) { w.groups["Ops"] = map[string]bool{"benjamin": true} }}},
	{"make a token", func(k *talk) []said {
		_, err := k.cli.CreateToken(k.t.Context(), control.Create{Name: "second", Scope: auth.ScopeWrite})
		return command(err)
	}, []func(world){func(w world) { w.tokens["second"] = true }}},
	{"read one", func(k *talk) []said { return k.one("GET", "/Users/"+k.ids["ben"], "") }, nil},
	{"read all", func(k *talk) []said { return k.one("GET", "/Users?sortBy=userName", "") }, nil},
	{"find by name", func(k *talk) []said { return k.one("GET", "/Users?filter=userName+eq+%22ada%22", "") }, nil},
	{"find by part", func(k *talk) []said {
		return k.one("GET", "/Users?filter=title+co+%22i%22+and+emails.value+co+%22y%22+or+userName+sw+%22ben%22", "")
	}, nil},
	{"read a group", func(k *talk) []said {
		return k.one("GET", "/Groups?filter=members.value+eq+%22"+k.ids["ben"]+"%22", "")
	}, nil},
	{"walk", func(k *talk) []said { return k.one("GET", "/Users?cursor=&count=1", "") }, nil},
	{"walk in order", func(k *talk) []said { return k.one("GET", "/Users?cursor=&count=1&sortBy=title", "") }, nil},
	{"bulk", func(k *talk) []said {
		return k.bulk(`{"method":"POST","path":"/Users","bulkId":"cleo","data":{"userName":"cleo"}},` +
			`{"method":"PATCH","path":"/Groups/` + k.ids["Ops"] + `","data":` + patchOf(`{"op":"add","path":"members","value":[{"value":"`+k.ids["ada"]+`"}]}`) + `},` +
			`{"method":"DELETE","path":"/Users/` + k.ids["ben"] + `"}`)
	}, []func(world){
		func(w world) { w.users["cleo"] = "" },
		func(w world) { w.groups["Ops"]["ada"] = true },
		func(w world) { delete(w.users, "benjamin"); delete(w.groups["Ops"], "benjamin") },
	}},
	{"revoke the token", func(k *talk) []said {
		_, err := k.cli.RevokeToken(k.t.Context(), "second")
		return command(err)
	}, []func(world){func(w world) { w.tokens["second"] = false }}},
	{"delete a member", func(k *talk) []said { return k.one("DELETE", "/Users/"+k.ids["ada"], "") },
		[]func(world){func(w world) { delete(w.users, "ada"); delete(w.groups["Ops"], "ada") }}},
	{"delete the group", func(k *talk) []said { return k.one("DELETE", "/Groups/"+k.ids["Ops"], "") },
		[]func(world){func(w world) { delete(w.groups, "Ops") }}},
}

// look reads what there is, through the same doors, without a fault, and examines the store.
func (k *talk) look() world {
	k.t.Helper()
	w := world{map[string]string{}, map[string]map[string]bool{}, map[string]bool{}}
	type resource struct {
		ID, UserName, Title, DisplayName string
		Members                          []struct{ Value string }
	}
	names := map[string]string{}
	list := func(path string) []resource {
		a := k.ask("GET", path+"?count=1000", "")
		var l struct{ Resources []resource }
		if err := json.Unmarshal([]byte(a.body), &l); err != nil || !a.ok() {
			k.t.Fatalf("%s: %d %v %s", path, a.status, err, a.body)
		}
		return l.Resources
	}
	for _, r := range list("/Users") {
		w.users[r.UserName], names[r.ID] = r.Title, r.UserName
	}
	for _, r := range list("/Groups") {
		w.groups[r.DisplayName] = map[string]bool{}
		for _, m := range r.Members {
			name := names[m.Value]
			if name == "" {
				name = "nobody"
			}
			w.groups[r.DisplayName][name] = true
		}
	}
	tokens, err := k.cli.Tokens(k.t.Context())
	if err != nil {
		k.t.Fatal(err)
	}
	for _, tok := range tokens {
		if tok.Name != FirstTokenName {
			w.tokens[tok.Name] = tok.Active(time.Now())
		}
	}
	report, err := k.server.house.Store.Check(k.t.Context(), storage.CheckOptions{})
	if err != nil || len(report.Findings) > 0 {
		k.t.Errorf("Check: %v %+v", err, report)
	}
	return w
}

// volatile is what is another one each time that the same thing is asked: ids of requests, and cursors, which are sealed.
var volatile = regexp.MustCompile(`"nextCursor":"[^"]*"| \(request [^)]*\)`)

func stable(body string) string { return volatile.ReplaceAllString(body, "") }

// judge compares what was answered and what there is with what there was before.
func (k *talk) judge(s step, f storagetest.Fault, before world, got []said, body string) {
	k.t.Helper()
	if s.effects == nil {
		if got[0].ok() && stable(got[0].body) != stable(body) {
			k.t.Errorf("the read is answered with\n%s\nwant\n%s", got[0].body, body)
		}
	}
	known := make([]bool, len(got)) // that it was made
	open := make([]bool, len(got))  // nobody knows
	failed := false
	for i, a := range got {
		switch {
		case a.ok():
			known[i] = true
		case strings.Contains(a.body, "the change was made, but"):
			known[i], failed = true, true
		case a.status >= 500:
			open[i], failed = f == storagetest.Kept, true
		case !failed: // else an operation that refers to one that was not made is the client's fault
			k.t.Errorf("operation %d: the store has failed, and that is the client's fault: %d %s", i, a.status, a.body)
		}
	}
	if f == storagetest.Again && failed {
		k.t.Errorf("a conflict that was resolved is a failure: %v", got)
	}
	now := k.look().String()
	for pick := range 1 << len(s.effects) {
		possible := true
		for i := range s.effects {
			made := pick>>i&1 == 1
			possible = possible && (made == known[i] || open[i])
		}
		if possible && before.after(s.effects, func(i int) bool { return pick>>i&1 == 1 }).String() == now {
			return
		}
	}
	if s.effects == nil && before.String() == now {
		return
	}
	k.t.Errorf("answered %v, and there is\n%s\nbefore there was\n%s", got, now, before)
}

// rows are all that an engine holds.
func rows(t *testing.T, e storage.Engine) map[string]string {
	t.Helper()
	all := map[string]string{}
	err := e.View(t.Context(), func(r storage.Reader) error {
		for it, err := range r.Scan(storage.Range{}) {
			if err != nil {
				return err
			}
			all[string(it.Key)] = string(it.Value)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// outlives is an engine in memory that a store cannot close, so that another can be opened on it.
type outlives struct{ storage.Engine }

func (outlives) Close() error { return nil }

// inMemory opens a server on an engine that holds rows, which it then keeps.
func inMemory(t *testing.T, o Options, e storage.Engine) *talk {
	return openTalk(t, o, func(ctx context.Context, _ string, so storage.Options, between func(storage.Engine) storage.Engine) (*storage.Store, error) {
		return storage.Open(ctx, between(outlives{e}), so)
	})
}

func engineWith(t *testing.T, all map[string]string) storage.Engine {
	t.Helper()
	e := storage.Memory()
	err := e.Update(t.Context(), func(w storage.Writer) error {
		for k, v := range all {
			if err := w.Set([]byte(k), []byte(v)); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// faultsOf says what can go wrong with a call.
func faultsOf(c storagetest.Call) []storagetest.Fault {
	if c == storagetest.Commit {
		return storagetest.AllFaults
	}
	return []storagetest.Fault{storagetest.Refused}
}

// moment is the state before a step of a conversation in which nothing has gone wrong.
type moment struct {
	rows   map[string]string
	ids    map[string]string
	before world
	calls  []storagetest.Call // of the step
	body   string             // of the answer to a read
}

// faultless has the conversation once and returns each of its moments.
func faultless(t *testing.T, o Options) (moments []moment, secret string) {
	t.Helper()
	e := storage.Memory()
	k := inMemory(t, o, e)
	defer k.close()
	model := world{map[string]string{}, map[string]map[string]bool{}, map[string]bool{}}
	k.ask("GET", "/Users", "") // the token is known from now on
	for _, s := range steps {
		m := moment{rows: rows(t, e), ids: maps.Clone(k.ids), before: model.clone()}
		k.engine.Arm(storagetest.View, 0, storagetest.Refused)
		got := s.do(k)
		m.calls, _ = k.engine.Disarm()
		for _, a := range got {
			if !a.ok() {
				t.Fatalf("%s: %v", s.name, got)
			}
		}
		m.body = got[0].body
		for _, effect := range s.effects {
			effect(model)
		}
		if now := k.look().String(); now != model.String() {
			t.Fatalf("%s: there is\n%s\nwant\n%s", s.name, now, model)
		}
		moments = append(moments, m)
	}
	return moments, k.secret
}

// try does a step while a call of the engine fails, and judges it: on the same server, on one that is started anew if the store
// has closed itself, and then once more without a fault, as clients do.
func (m moment) try(t *testing.T, s step, arm func(*storagetest.Faulty), f storagetest.Fault, k *talk, again func() *talk) {
	t.Helper()
	k.t, k.ids = t, maps.Clone(m.ids)
	arm(k.engine)
	got := s.do(k)
	_, fired := k.engine.Disarm()
	if !fired {
		return // a token that is known asks for less
	}
	select {
	case <-k.server.house.Store.Failed():
		if f == storagetest.Refused || f == storagetest.Again {
			t.Error("the store has closed itself, and it is known what was kept")
		}
		if a := k.ask("GET", "/Users", ""); a.status != http.StatusServiceUnavailable {
			t.Errorf("a store that has closed itself answers %d", a.status)
		}
		ids, secret := k.ids, k.secret
		k = again()
		k.t, k.ids, k.secret = t, ids, secret
		defer k.close()
	default:
		if f == storagetest.Lost || f == storagetest.Kept {
			t.Error("nobody knows what was kept, and the store goes on")
		}
	}
	k.judge(s, f, m.before, got, m.body)
	if len(s.effects) > 1 || strings.Contains(got[0].body, "the change was made, but") {
		return
	}
	// What was made all the same is told apart by what is there: a name that is taken, a resource that is gone.
	for _, a := range s.do(k) {
		if !a.ok() && (f != storagetest.Kept || a.status != http.StatusConflict && a.status != http.StatusNotFound) && !got[0].ok() {
			t.Errorf("the second time it is %d %s", a.status, a.body)
		}
	}
	report, err := k.server.house.Store.Check(t.Context(), storage.CheckOptions{})
	if err != nil || len(report.Findings) > 0 {
		t.Errorf("Check after the second time: %v %+v", err, report)
	}
}

func TestEachCallFails(t *testing.T) {
	o, _ := options(t)
	moments, secret := faultless(t, o)
	tries := 0
	for i, s := range steps {
		nth := map[storagetest.Call]int{}
		for _, call := range moments[i].calls {
			nth[call]++
			for _, f := range faultsOf(call) {
				tries++
				e := engineWith(t, moments[i].rows)
				k := inMemory(t, o, e)
				k.secret = secret
				k.ask("GET", "/Schemas/none", "") // the token is known
				m := moments[i]
				t.Run(fmt.Sprintf("%s/%s %d %v", s.name, call, nth[call], f), func(t *testing.T) {
					m.try(t, s, func(e *storagetest.Faulty) { e.Arm(call, nth[call], f) }, f, k, func() *talk { k.close(); return inMemory(t, o, e) })
				})
				k.t = t
				k.close()
			}
		}
	}
	if tries < 300 {
		t.Errorf("%d tries", tries)
	}
	t.Logf("%d tries", tries)
}

// The same on disk, where an engine takes longer to open: each commit, and some of the other calls.
func TestEachCommitFailsOnDisk(t *testing.T) {
	o, _ := options(t)
	onDisk := func(t *testing.T) *talk {
		return openTalk(t, o, func(ctx context.Context, dir string, so storage.Options, between func(storage.Engine) storage.Engine) (*storage.Store, error) {
			so.Between = between
			return storage.OpenDir(ctx, dir, so)
		})
	}
	for i, s := range steps {
		faults := storagetest.AllFaults
		if s.effects == nil {
			faults = faults[:1]
		}
		for _, f := range faults {
			t.Run(fmt.Sprintf("%s/%v", s.name, f), func(t *testing.T) {
				if err := os.RemoveAll(o.Config.Data); err != nil {
					t.Fatal(err)
				}
				k := onDisk(t)
				k.ask("GET", "/Users", "")
				before := world{map[string]string{}, map[string]map[string]bool{}, map[string]bool{}}
				for _, earlier := range steps[:i] {
					for _, a := range earlier.do(k) {
						if !a.ok() {
							t.Fatalf("%s: %v", earlier.name, a)
						}
					}
					before = before.after(earlier.effects, func(int) bool { return true })
				}
				m := moment{ids: maps.Clone(k.ids), before: before}
				arm := func(e *storagetest.Faulty) { e.Arm(storagetest.Commit, 1, f) }
				if s.effects == nil { // it has no commit, or one that is about something else
					m.body = s.do(k)[0].body
					arm = func(e *storagetest.Faulty) {
						e.Arm([]storagetest.Call{storagetest.View, storagetest.Get, storagetest.Scan}[i%3], 1, f)
					}
				}
				m.try(t, s, arm, f, k, func() *talk { k.close(); return onDisk(t) })
				k.close()
			})
		}
	}
}
