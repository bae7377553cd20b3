package scim

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"io/fs"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"golang.org/x/crypto/bcrypt"

	"scimbox/storage"
)

// What a password is, and what is answered to those who ask for it, is in validate_test.go and conformance_test.go. Here it
// is looked for wherever it could have gone.

// logged is a log that goroutines may write to.
type logged struct {
	mu sync.Mutex
	bytes.Buffer
}

func (l *logged) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.Buffer.Write(p)
}

// Passwords are sent in every way that there is, right and wrong, to a store on disk, with everything logged that can be.
// Afterwards they are in no answer, no log, no journal row and no file; their hashes are in records of their own, and go
// with the users.
func TestPasswordsAreNowhere(t *testing.T) {
	dir := t.TempDir()
	log := &logged{}
	logger := slog.New(slog.NewJSONHandler(log, &slog.HandlerOptions{Level: slog.LevelDebug - 8}))
	open := func() *house {
		h := &house{t: t, clock: &stoppedClock{}, caller: Caller{Tenant: "default", Actor: "tok", Request: "req-1"}}
		var err error
		if h.store, err = storage.OpenDir(t.Context(), dir, storage.Options{Logger: logger}); err != nil {
			t.Fatal(err)
		}
		if h.service, err = NewService(t.Context(), h.store, builtinTypes(t), Options{PublicURL: "https://scim.example", Logger: logger}); err != nil {
			t.Fatal(err)
		}
		h.handler = NewHandler(h.service)
		return h
	}
	h := open()
	var said bytes.Buffer
	n := 0
	var passwords []string
	// ask sends a request in which {p} stands for a new password.
	ask := func(status int, method, target, body string) *reply {
		t.Helper()
		n++
		p := fmt.Sprintf("Pa55-%d-wörd %d", n, n*n+12345)
		if passwords = append(passwords, p); strings.Contains(body, `:{p}`) {
			p = fmt.Sprint(770_000_000_000+n, "000")
			passwords = append(passwords, p)
		}
		target = strings.ReplaceAll(target, "{p}", strings.ReplaceAll(url.QueryEscape(p), "+", "%20"))
		r := h.ask(method, target, strings.ReplaceAll(body, "{p}", p)).want(status)
		fmt.Fprintln(&said, r.header, string(r.body))
		return r
	}
	user := func(name, members string) string { return fmt.Sprintf(`{"userName":%q%s}`, name, also(members)) }
	u := ask(201, "POST", "/Users?attributes=password,userName", user("ada-of-the-log", `"password":"{p}"`)).id()
	target := "/Users/" + u
	gone := ask(201, "POST", "/Users", user("ben", `"`+UserURN+`":{"password":"{p}"}`)).id()
	ask(200, "PUT", target, user("ada-of-the-log", `"`+UserURN+`:password":"{p}"`))
	for _, op := range []string{
		`{"op":"add","path":"password","value":"{p}"}`, `{"op":"Replace","path":"` + UserURN + `:password","value":"{p}"}`, `{"op":"replace","value":{"password":"{p}"}}`,
		`{"op":"replace","value":{"` + UserURN + `:password":"{p}"}}`, `{"op":"remove","path":"password","value":"{p}"}`, `{"op":"add","path":"password","value":"{p}"}`,
	} {
		ask(200, "PATCH", target, patchBody(op))
	}
	ask(200, "POST", "/Bulk", bulkBody("", postUser("1", "cleo", `"password":"{p}"`), onResource("PATCH", target, patchBody(`{"op":"replace","path":"password","value":"{p}"}`)),
		onResource("PUT", target, user("ada-of-the-log", `"password":"{p}"`)), postUser("2", "cleo", `"password":"{p}"`), postUser("3", "", `"password":"{p}"`), onResource("PUT", "/Users/nobody", user("x", `"password":"{p}"`))))
	// What is refused is not repeated.
	for _, v := range []string{`["{p}"]`, `{"value":"{p}"}`, `:{p}`[1:], `true`, `{"{p}":1}`} {
		body := user("dan", `"password":`+v)
		if v == "{p}" {
			body = `{"userName":"dan","password":{p}}`
		}
		ask(400, "POST", "/Users", body)
		ask(400, "PUT", target, body)
		ask(400, "PATCH", target, patchBody(`{"op":"replace","path":"password","value":`+v+`}`))
		ask(400, "PATCH", target, patchBody(`{"op":"replace","value":{"password":`+v+`}}`))
	}
	for _, body := range []string{`{"userName":"dan","password":"{p}`, `{"userName":"dan","password":"{p}","password":"{p}"}`, `{"userName":"dan","password":"{p}" "x"}`} {
		ask(400, "POST", "/Users", body)
	}
	ask(409, "POST", "/Users", user("CLEO", `"password":"{p}"`))
	ask(409, "PUT", target, user("CLEO", `"password":"{p}"`))
	ask(400, "PATCH", target, patchBody(`{"op":"replace","path":"password","value":"{p}"}`, `{"op":"remove","path":"userName"}`))
	ask(404, "PUT", "/Users/nobody", user("dan", `"password":"{p}"`))
	// Who asks for it learns nothing, and what he asks is not repeated either.
	for _, filter := range []string{`password eq "{p}"`, `password ne "{p}"`, `password sw "{p}"`, `password co "{p}"`, `password gt "{p}"`, `not (password eq "{p}")`, `userName pr and password eq "{p}"`,
		UserURN + `:password eq "{p}"`, `password pr`, `password eq null`, `password eq "{p}`, `password {p}`, `password[value eq "{p}"]`} {
		ask(400, "GET", "/Users?filter="+strings.ReplaceAll(filter, "+", "%2B"), "").refused(400, InvalidFilter)
		ask(400, "POST", "/Users/.search", `{"schemas":["`+findURN+`"],"filter":`+quoted(filter)+`}`)
	}
	for _, query := range []string{"sortBy=password", "sortBy=" + UserURN + ":password"} {
		ask(400, "GET", "/Users?"+query, "").refused(400, InvalidValue)
		ask(400, "GET", "/Users?cursor=&"+query, "").refused(400, InvalidValue)
	}
	for _, query := range []string{"", "?attributes=password", "?attributes=" + UserURN + ":password", "?excludedAttributes=userName", "?attributes=" + UserURN} {
		ask(200, "GET", target+query, "")
		ask(200, "GET", "/Users"+query, "")
	}
	ask(200, "POST", "/Users/.search", `{"schemas":["`+findURN+`"],"attributes":["password","userName"]}`)
	ask(204, "DELETE", "/Users/"+gone, "")
	if strings.Contains(said.String(), `"password":`) {
		t.Errorf("an answer has a password")
	}
	entries, err := h.store.Journal(t.Context(), 0, 1000)
	if err != nil {
		t.Fatal(err)
	}
	changes := 0
	for _, e := range entries {
		fmt.Fprintf(&said, "%+v %s\n", e, e.Detail)
		changes += bytes.Count(e.Detail, []byte(`{"path":"password"}`))
	}
	if changes != 12 {
		t.Errorf("the journal tells of %d changes of a password", changes)
	}
	hashes := h.hashes()
	if len(hashes) != 2 || hashes["User/"+u] == nil { // ada and cleo
		t.Fatalf("%d hashes", len(hashes))
	}
	for id, hash := range hashes {
		if cost, err := bcrypt.Cost(hash); err != nil || cost != passwordCost {
			t.Errorf("%s: %q is no bcrypt of cost %d: %v", id, hash, passwordCost, err)
		}
		if bytes.Contains(said.Bytes(), hash) {
			t.Errorf("the hash of %s was told", id)
		}
	}
	h.close()
	h = open() // what was in a log of the engine is in its tables now
	if got := h.hashes(); len(got) != 2 || !bytes.Equal(got["User/"+u], hashes["User/"+u]) {
		t.Errorf("after a start there are %d hashes", len(got))
	}
	ask(204, "DELETE", target, "")
	if got := h.hashes(); len(got) != 1 {
		t.Errorf("a user is gone, and there are %d hashes", len(got))
	}
	h.close()
	nowhere(t, "the answers and the journal", said.Bytes(), passwords)
	nowhere(t, "the log", log.Bytes(), passwords)
	seen := false
	err = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		seen = seen || bytes.Contains(data, []byte("ada-of-the-log"))
		nowhere(t, path, data, passwords)
		return nil
	})
	if err != nil || !seen {
		t.Errorf("the files were not searched: %v", err)
	}
}

// nowhere fails the test if data hold one of the passwords, or what one looks like when it is written otherwise.
func nowhere(t *testing.T, where string, data []byte, passwords []string) {
	t.Helper()
	for _, p := range passwords {
		b64 := base64.StdEncoding.EncodeToString([]byte(p))
		for _, form := range []string{p, url.QueryEscape(p), b64[:len(b64)-4], hex.EncodeToString([]byte(p)), strings.ToLower(p), strings.Split(p, " ")[0]} {
			if bytes.Contains(data, []byte(form)) {
				t.Errorf("%s: holds %q", where, form)
				return
			}
		}
	}
}

// hashes returns the stored hashes by the ids of their records.
func (h *house) hashes() map[string][]byte {
	h.t.Helper()
	all := map[string][]byte{}
	err := h.store.View(h.t.Context(), h.caller.Tenant, func(tx *storage.Tx) error {
		for hit, err := range tx.Find("User", "id", storage.TermRange{}) {
			if err != nil {
				return err
			}
			rec, err := tx.Get(secretKind, "User/"+hit.ID)
			if err == nil {
				all["User/"+hit.ID] = bytes.Clone(rec.Body)
			}
			if len(rec.Terms) > 0 {
				h.t.Errorf("a hash can be found by %v", rec.Terms)
			}
		}
		n, err := tx.Count(secretKind)
		if err == nil && n != int64(len(all)) {
			h.t.Errorf("%d records hold hashes, and %d belong to a user", n, len(all))
		}
		return err
	})
	if err != nil {
		h.t.Fatal(err)
	}
	return all
}

// A server that keeps no passwords takes none, whatever they are sent in, and says so wherever it describes itself. What it
// kept before it was told to is still there when it keeps them again.
func TestPasswordsRefused(t *testing.T) {
	p := newProbe()
	h := openHouseOn(t, p, builtinTypes(t), Options{})
	u := h.user("ada", `"password":"first"`)
	h.close()
	h = openHouseOn(t, p, builtinTypes(t), Options{Password: "refuse"})
	h.unchanged(func() {
		for _, r := range []*reply{
			h.ask("POST", "/Users", `{"userName":"ben","password":"s3cret"}`),
			h.ask("PUT", "/Users/"+u, `{"userName":"ada","password":"s3cret"}`),
			h.patch("/Users/"+u, `{"op":"add","path":"password","value":"s3cret"}`),
			h.patch("/Users/"+u, `{"op":"add","value":{"title":"Dr","password":"s3cret"}}`),
		} {
			if d := r.refused(400, InvalidValue).text("detail"); !strings.Contains(d, `"password"`) || !strings.Contains(d, "[scim] password") || strings.Contains(d, "s3cret") {
				t.Errorf("%s", d)
			}
		}
		h.bulk("", postUser("1", "ben", `"password":"s3cret"`)).failed(0, "400", "Operations[0], POST /Users: ", `"password"`)
		// None is none.
		h.patch("/Users/"+u, `{"op":"add","path":"title","value":null}`).want(200)
	})
	h.ask("POST", "/Users", `{"userName":"ben","password":null}`).want(201)
	h.ask("PUT", "/Users/"+u, `{"userName":"ada","title":"Dr"}`).want(200)
	if c := h.ask("GET", "/ServiceProviderConfig", "").want(200); c.text("changePassword", "supported") != "false" {
		t.Errorf("%s", c.body)
	}
	if s := h.ask("GET", "/Schemas/"+UserURN, "").want(200); strings.Contains(string(s.body), `"password"`) {
		t.Error("/Schemas has a password")
	}
	h.close()
	h = openHouseOn(t, p, builtinTypes(t), Options{})
	if len(h.hashes()) != 1 {
		t.Error("the hash is gone")
	}
}

// The password of another resource type is kept in the same way.
func TestPasswordOfAnotherType(t *testing.T) {
	h := openHouseOn(t, newProbe(), typesWith(t, `{"schemas":[{"id":"urn:example:robot:2.0:Robot","attributes":[{"name":"name"},{"name":"PassWord","mutability":"writeOnly","returned":"never"}]}],
		"resourceTypes":[{"name":"Robot","endpoint":"/Robots","schema":"urn:example:robot:2.0:Robot"}]}`), Options{})
	const body = `{"schemas":["urn:example:robot:2.0:Robot"],"name":"R2","password":"s3cret-%d"}`
	id := h.ask("POST", "/Robots", fmt.Sprintf(body, 1)).want(201).id()
	h.ask("PUT", "/Robots/"+id, fmt.Sprintf(body, 2)).want(200)
	h.patch("/Robots/"+id, `{"op":"replace","path":"password","value":"s3cret-3"}`).want(200)
	if d := h.dump(); strings.Contains(d, "s3cret") || strings.Count(d, `$password\x00Robot/`+id) != 1 {
		t.Errorf("%s", d)
	}
	h.ask("DELETE", "/Robots/"+id, "").want(204)
	if strings.Contains(h.dump(), `$password\x00Robot/`) {
		t.Error("the hash stays")
	}
}
