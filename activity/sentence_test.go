package activity

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// Every sort of change, as the journal has it.
func TestSentencesOfChanges(t *testing.T) {
	c := newClock()
	j := newJournal(t, c)
	r := j.reader(nil)
	const (
		user, group, entra = "User", "Group", "aaaaaaaaaaaa"
		b                  = `"name":"bjensen@example.com"`
	)
	many := make([]string, 100)
	for i := range many {
		many[i] = fmt.Sprintf(`"x%d"`, i)
	}
	for _, e := range [][5]string{
		{entra, OpCreate, user, "u1", `{` + b + `}`},
		{entra, OpCreate, user, "u1", `{` + b + `,"changes":[{"path":"active","new":false}]}`},
		{entra, OpCreate, user, "u1", `{"name":""}`},
		{entra, OpCreate, group, "g1", `{"name":"Sales"}`},
		{entra, OpCreate, group, "g1", `{"name":"Sales","added":["u1","u2","u3"]}`},
		{entra, OpCreate, "Device", "d1", `{"name":"printer"}`},
		{entra, OpPatch, user, "u1", `{` + b + `,"changes":[{"path":"active","old":true,"new":false}]}`},
		{entra, OpReplace, user, "u1", `{` + b + `,"changes":[{"path":"active","new":false}]}`},
		{entra, OpPatch, user, "u1", `{` + b + `,"changes":[{"path":"active","old":false,"new":true}]}`},
		{entra, OpPatch, user, "u1", `{` + b + `,"changes":[{"path":"active","old":true,"new":false},{"path":"title","old":"Boss","new":"Retired"}]}`},
		{entra, OpPatch, user, "u1", `{` + b + `,"changes":[{"path":"active","old":true,"new":false},{"path":"title"},{"path":"nickName"}]}`},
		{entra, OpPatch, user, "u1", `{` + b + `,"changes":[{"path":"userName","old":"babs@example.com","new":"bjensen@example.com"}]}`},
		{entra, OpPatch, user, "u1", `{` + b + `,"changes":[{"path":"active","old":true,"new":false},{"path":"userName","old":"babs@example.com","new":"bjensen@example.com"}]}`},
		{entra, OpPatch, user, "u1", `{` + b + `,"changes":[{"path":"title","old":"Boss","new":"Manager"}]}`},
		{entra, OpPatch, user, "u1", `{` + b + `,"changes":[{"path":"title","new":"Boss"}]}`},
		{entra, OpPatch, user, "u1", `{` + b + `,"changes":[{"path":"title","old":"Boss"}]}`},
		{entra, OpPatch, user, "u1", `{` + b + `,"changes":[{"path":"emails","old":[{"value":"a"}],"new":[{"value":"b"}]}]}`},
		{entra, OpPatch, user, "u1", `{` + b + `,"changes":[{"path":"urn:ietf:params:scim:schemas:extension:enterprise:2.0:User:department","new":"Tours"}]}`},
		{entra, OpPatch, user, "u1", `{` + b + `,"changes":[{"path":"title","new":"Boss"},{"path":"nickName","new":"Babs"}]}`},
		{entra, OpPatch, user, "u1", `{` + b + `,"changes":[{"path":"title"},{"path":"nickName"},{"path":"locale"}]}`},
		{entra, OpPatch, user, "u1", `{` + b + `,"changes":[{"path":"title"},{"path":"nickName"},{"path":"locale"},{"path":"emails"}]}`},
		{entra, OpPatch, user, "u1", `{` + b + `,"changes":[{"path":"password"}]}`},
		{entra, OpReplace, user, "u1", `{` + b + `,"changes":[{"path":"password"},{"path":"title","new":"Boss"}]}`},
		{entra, OpPatch, user, "u1", `{` + b + `}`},
		{entra, OpPatch, user, "u1", `what a later program wrote`},
		{entra, OpPatch, group, "g1", `{"name":"Sales","added":["u1","u2","u3"]}`},
		{entra, OpPatch, group, "g1", `{"name":"Sales","added":["u1"]}`},
		{entra, OpPatch, group, "g1", `{"name":"Sales","added":["x1"]}`},
		{entra, OpPatch, group, "g1", `{"name":"Sales","removed":["u1"]}`},
		{entra, OpPatch, group, "g1", `{"name":"Sales","added":["u1","u2"],"removed":["x1"]}`},
		{entra, OpPatch, group, "g1", `{"name":"Sales","added":[` + strings.Join(many, ",") + `],"addedMore":900}`},
		{entra, OpPatch, group, "g1", `{"name":"Sales","changes":[{"path":"displayName","old":"Selling","new":"Sales"}]}`},
		{entra, OpReplace, group, "g1", `{"name":"Sales","changes":[{"path":"displayName","old":"Selling","new":"Sales"}],"added":["u1"],"removed":["u2"]}`},
		{entra, OpDelete, user, "u1", `{` + b + `}`},
		{entra, OpDelete, group, "g1", `{"name":"Sales"}`},
		{"bbbbbbbbbbbb", OpDelete, user, "u1", `{` + b + `}`},
		{"cccccccccccc", OpDelete, user, "u1", `{` + b + `}`},
		{"dddddddddddd", OpDelete, user, "u1", `{` + b + `}`},
		{entra, "hold", "$guard", "state", `{"name":"delete of the User u1"}`},
		{"local", "guard-approved", "$guard", "state", `{"tenant":"default"}`},
		{"local", "guard-approved", "$guard", "state", `{"tenant":"default","name":"for 1h0m0s"}`},
		{"local", "guard-rejected", "$guard", "state", `{"tenant":"default"}`},
		{"local", "guard-armed", "$guard", "state", `{"tenant":"default"}`},
		{"", OpDelete, user, "u1", `{` + b + `}`},
		{"local", OpCreate, "token", "aaaaaaaaaaaa", `{"name":"entra","tenant":"default"}`},
		{"local", "rotate", "token", "aaaaaaaaaaaa", `{"name":"entra","tenant":"default"}`},
		{"local", "revoke", "token", "aaaaaaaaaaaa", `{"name":"entra","tenant":"default"}`},
		{"local", OpCreate, "client", "aaaaaaaaaaaa", `{"name":"entra","tenant":"default"}`},
		{"local", "rotate", "client", "aaaaaaaaaaaa", `{"name":"entra","tenant":"default"}`},
		{"local", "revoke-secret", "client", "aaaaaaaaaaaa", `{"name":"entra","tenant":"default"}`},
		{"local", "adopt", "client", "aaaaaaaaaaaa", `{"name":"entra","tenant":"default"}`},
	} {
		tenant := "default"
		if e[0] == "local" {
			tenant = systemTenant
		}
		j.log(e[0], e[1], tenant, e[2], e[3], e[4])
	}
	p, err := r.List(t.Context(), Query{Limit: 1000})
	if err != nil {
		t.Fatal(err)
	}
	slices.Reverse(p.Events)
	var b2 strings.Builder
	for _, v := range p.Events {
		if v.Tenant != "default" {
			t.Errorf("%s is of the tenant %q", v.ID, v.Tenant)
		}
		fmt.Fprintln(&b2, v.Sentence)
	}
	golden(t, "changes.golden", b2.String())
}

// sample puts what could stand there into a wording of details.golden.
func sample(wording string) string {
	wording = strings.NewReplacer(`" + prefix + "`, "scimbox_", `" + strconv.Itoa(tokenLen) + "`, "80").Replace(wording)
	verb := regexp.MustCompile(`%[a-z0-9]*`)
	n := 0
	return verb.ReplaceAllStringFunc(wording, func(v string) string {
		n++
		switch {
		case v == "%d":
			return "7"
		case v == "%q" || strings.HasPrefix(wording, v):
			return `"title"`
		case n == 2 && (strings.Contains(wording, "of a "+v) || strings.Contains(wording, "a "+v)):
			return "User"
		}
		return "something"
	})
}

// statusOf is the status that a detail comes with, near enough for its advice, which goes by words.
func statusOf(where, detail string) int {
	for _, s := range []struct {
		status int
		words  string
	}{
		{401, `token has expired|not valid on this server|not a complete|base64 of|needs a token|not authenticated`},
		{403, `may only read|a filter is not permitted`}, {405, `is not allowed on`}, {409, `another`}, {412, `is at version|exists in version`},
		{404, `there is no (\S+ with|endpoint|resource type|schema)`}, {413, `larger than|too large|more than max`}, {415, `is not supported; (expected|JSON|send)`},
		{429, `too many requests`}, {501, `bound to a User`}, {503, `in time|takes no changes|was ended|not known|cannot be shown`}, {500, `internal error|server's log`},
	} {
		if regexp.MustCompile(s.words).MatchString(detail) {
			return s.status
		}
	}
	return 400
}

// fragments are parts of details, which never stand alone.
var fragments = []string{"a string", "an object", "an integer", "an array of attribute names", `"an array of " + plural(a)`, "%s"}

// Every refusal that packages scim and auth know has a sentence, and an advice of its own.
func TestSentencesOfRefusals(t *testing.T) {
	f, err := os.Open("../scim/testdata/details.golden")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	c := newClock()
	r := newJournal(t, c).reader(nil)
	l, err := r.lookups(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	var known map[string]string
	if !*update {
		known = read(t, "refusals.golden")
	}
	for lines := bufio.NewScanner(f); lines.Scan(); {
		where, wording, ok := strings.Cut(lines.Text(), ": ")
		if !ok {
			t.Fatalf("a line of another form: %s", lines.Text())
		}
		// What is wrong with a schema file is told to the operator at the start, and to nobody else.
		if strings.HasPrefix(where, "load") || strings.HasPrefix(where, "locat") || strings.Contains(where, " unmarshal") || slices.Contains(fragments, wording) {
			continue
		}
		e := Entry{
			Seq: 1, Token: "aaaaaaaaaaaa", Tenant: "default", Client: "192.0.2.7", Method: "PATCH", Path: "/scim/v2/Users/u1",
			Op: OpPatch, Type: "User", Resource: "u1", Detail: sample(wording),
		}
		e.Status = statusOf(where, e.Detail)
		if e.Status == 401 || e.Status == 429 {
			e.Claimed, e.Token = e.Token, ""
		}
		v := r.refusal(l, &e)
		if _, sure := adviceFor(e.Status, e.Detail); !sure {
			t.Errorf("%s: no rule knows what to do about %q", where, e.Detail)
		}
		// A wording that has just been added is known to nobody yet; that a rule fits it is what counts.
		if want, ok := known[v.Sentence]; ok && want != v.Advice {
			t.Errorf("%s\ngot  %s\nwant %s", v.Sentence, v.Advice, want)
		}
		fmt.Fprintf(&b, "%s\n\t%s\n", v.Sentence, v.Advice)
	}
	if *update {
		golden(t, "refusals.golden", b.String())
	}
}

// read returns the advice for each sentence of a golden file.
func read(t *testing.T, name string) map[string]string {
	t.Helper()
	data, err := os.ReadFile("testdata/" + name)
	if err != nil {
		t.Fatal(err)
	}
	m := map[string]string{}
	lines := strings.Split(string(data), "\n")
	for i := 0; i+1 < len(lines); i += 2 {
		m[lines[i]] = strings.TrimPrefix(lines[i+1], "\t")
	}
	return m
}

// Each of what can be asked for, refused.
func TestSentencesOfOperations(t *testing.T) {
	c := newClock()
	r := newJournal(t, c).reader(nil)
	l, err := r.lookups(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	k := keeper{mask: NewMask(nil), body: 1000, base: "/scim/v2", types: types}
	var b strings.Builder
	for _, q := range []struct {
		method, path, body, token string
		status                    int
		detail                    string
	}{
		{"POST", "/scim/v2/Users", `{"userName":"bjensen@example.com"}`, "aaaaaaaaaaaa", 409, "another User has this userName already; it must be unique"},
		{"POST", "/scim/v2/Users", `{`, "aaaaaaaaaaaa", 400, "the body is no valid JSON"},
		{"POST", "/scim/v2/Groups", `{"displayName":"Sales"}`, "bbbbbbbbbbbb", 409, `another Group has the displayName "Sales" already`},
		{"PATCH", "/scim/v2/Users/u2", `{"Operations":[{"op":"replace","path":"userName","value":"bjensen@example.com"}]}`, "aaaaaaaaaaaa", 409, "another User has this userName already; it must be unique"},
		{"PATCH", "/scim/v2/Users/u2", `{"Operations":[{"op":"replace","value":{"userName":"bjensen@example.com"}}]}`, "aaaaaaaaaaaa", 409, "another User has this userName already; it must be unique"},
		{"PUT", "/scim/v2//Users/u1/", `{}`, "aaaaaaaaaaaa", 400, `"userName" is required and has no value`},
		{"PATCH", "/scim/v2/Groups/g1", `{}`, "aaaaaaaaaaaa", 400, `Operations[0]: "members" names "x", and there is no User or Group with this id; make it first`},
		{"DELETE", "/scim/v2/Users/0190%2d1", ``, "aaaaaaaaaaaa", 404, `there is no User with the id "0190-1"`},
		{"GET", "/scim/v2/Users/u1", ``, "cccccccccccc", 500, "internal error; the cause is in the server's log"},
		{"GET", "/scim/v2/Users/x", ``, "cccccccccccc", 404, `there is no User with the id "x"`},
		{"GET", "/scim/v2/Users", ``, "aaaaaaaaaaaa", 400, "found \"=\"; expected is an operator: eq"},
		{"POST", "/scim/v2/Devices/.search", `{}`, "aaaaaaaaaaaa", 503, "the request was ended before it was done; nothing was changed"},
		{"GET", "/scim/v2", ``, "aaaaaaaaaaaa", 400, "startIndex is \"x\"; expected is an integer, the first resource is 1"},
		{"POST", "/scim/v2/Bulk", `{}`, "aaaaaaaaaaaa", 413, "the bulk request is larger than maxPayloadSize, 1048576 bytes"},
		{"GET", "/scim/v2/Schemas/x", ``, "aaaaaaaaaaaa", 404, `there is no schema "x"`},
		{"GET", "/scim/v2/Me", ``, "aaaaaaaaaaaa", 501, "the token is not bound to a User, so that there is no /Me for it; use /Users/{id}"},
		{"GET", "/scim/v2/Printers", ``, "aaaaaaaaaaaa", 404, `there is no endpoint "/scim/v2/Printers"; resource types are listed at /scim/v2/ResourceTypes`},
		{"POST", "/Users", `{}`, "", 404, "404: nothing is here. SCIM is at /scim/v2"},
		{"GET", "/scim/v2/Users", ``, "", 401, "this request needs a token; send the header Authorization: Bearer <token>"},
		{"GET", "/scim/v2/Users", ``, "?aaaaaaaaaaaa", 401, "the token has expired; ask the operator of this server for a new one"},
		{"GET", "/scim/v2/Users", ``, "?zzzzzzzzzzzz", 401, "the token is not valid on this server; it may be of another server or withdrawn"},
		{"POST", "/scim/v2/Users", `{"userName":"x"}`, "aaaaaaaaaaaa", 507, "the server takes no changes at the moment; nothing was changed"},
		{"POST", "/scim/v2/Users", `{"userName":"x"}`, "aaaaaaaaaaaa", 429, "held for approval"},
		{"POST", "/scim/v2/Users", `{"userName":"x"}`, "aaaaaaaaaaaa", 418, ""},
	} {
		answer, err := json.Marshal(map[string]string{"detail": q.detail})
		if err != nil {
			t.Fatal(err)
		}
		token, claimed := q.token, ""
		if strings.HasPrefix(token, "?") {
			token, claimed = "", token[1:]
		}
		e := k.entry(&Request{
			Token: token, Claimed: claimed, Tenant: "default", Client: "192.0.2.7", Method: q.method, Path: q.path, Status: q.status,
			Body: Body{[]byte(q.body), 0}, Answer: Body{answer, 0},
		})
		v := r.refusal(l, &e)
		fmt.Fprintf(&b, "%s\n\t%s\n", v.Sentence, v.Advice)
	}
	golden(t, "operations.golden", b.String())
}
