package scim

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/crypto/bcrypt"

	"scimbox/storage"
)

// What RFC 7643, 7644 and 9865 ask and no black-box case can show: it takes a schema of its own, a look into the store, or
// another clock. conformance/requirements.txt names these tests.

const extURN = "urn:example:params:scim:schemas:extension:made:2.0:User"

// What a schema leaves out has the default of RFC 7643 section 2.2, in what is enforced and in what /Schemas tells.
func TestConformanceDefaults(t *testing.T) {
	h := openHouseOn(t, newProbe(), typesWith(t, `{"id":"`+extURN+`","attributes":[{"name":"plain"}]}`), Options{})
	for member, want := range map[string]any{
		"type": "string", "multiValued": false, "required": false, "caseExact": false, "mutability": "readWrite",
		"returned": "default", "uniqueness": "none",
	} {
		if got := h.ask("GET", "/Schemas/"+extURN, "").want(200).at("attributes", 0, member); got != want {
			t.Errorf("%s is %v, want %v", member, got, want)
		}
	}
	id := h.user("ada", `"`+extURN+`":{"plain":"Ab"}`) // readWrite, and a string
	h.user("ben", `"`+extURN+`":{"plain":"aB"}`)       // not unique
	h.user("zoe", "")                                  // not required
	if got := h.ask("GET", "/Users/"+id, "").text(extURN, "plain"); got != "Ab" {
		t.Errorf("returned is %q", got)
	}
	if n := h.find("/Users?", extURN+`:plain eq "AB"`).total(); n != 2 {
		t.Errorf("without regard to case there are %d", n)
	}
	h.patch("/Users/"+id, `{"op":"replace","path":"`+extURN+`:plain","value":"new"}`).want(200)
	h.patch("/Users/"+id, `{"op":"replace","path":"`+extURN+`:plain","value":["new"]}`).refused(400, InvalidValue)
}

// What no schema may say is refused when it is read.
func TestConformanceSchemaFile(t *testing.T) {
	for attribute, says := range map[string]string{
		`{"name":"a","type":"complex","subAttributes":[{"name":"b","type":"complex","subAttributes":[{"name":"c"}]}]}`: "cannot be complex",
		`{"name":"1a"}`:      "no attribute name",
		`{"name":"a b"}`:     "no attribute name",
		`{"name":"a.b"}`:     "no attribute name",
		`{"name":"a-b_c$1"}`: "",
		`{"name":"ref","type":"complex","subAttributes":[{"name":"value"},{"name":"$ref","type":"reference","referenceTypes":["User"]}]}`: "",
	} {
		file := filepath.Join(t.TempDir(), "schema.json")
		if err := os.WriteFile(file, []byte(`{"id":"`+extURN+`","attributes":[`+attribute+`]}`), 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := NewTypes(file)
		if says == "" && err == nil {
			continue
		}
		var wrong *SchemaFileError
		if says == "" || !errors.As(err, &wrong) || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %v, want %q", attribute, err, says)
		}
	}
}

// No resource is without an extension that its type requires, nor without what that extension requires.
func TestConformanceRequiredExtension(t *testing.T) {
	types := typesWith(t, `{"id":"`+extURN+`","extends":"User","extensionRequired":true,"attributes":[{"name":"badge","required":true},{"name":"desk"}]}`)
	h := openHouseOn(t, newProbe(), types, Options{})
	body := func(more string) string {
		return `{"schemas":["` + UserURN + `","` + extURN + `"],"userName":"ada"` + also(more) + `}`
	}
	id := h.ask("POST", "/Users", body(`"`+extURN+`":{"badge":"B1"}`)).want(201).id()
	h.unchanged(func() {
		for _, more := range []string{"", `"` + extURN + `":{}`, `"` + extURN + `":null`, `"` + extURN + `":{"desk":"D"}`} {
			h.ask("POST", "/Users", strings.Replace(body(more), "ada", "ben", 1)).refused(400, InvalidValue)
			h.ask("PUT", "/Users/"+id, body(more)).refused(400, InvalidValue)
		}
		for _, path := range []string{extURN, extURN + ":badge"} {
			if r := h.patch("/Users/"+id, `{"op":"remove","path":"`+path+`"}`).want(400); r.text("scimType") != WrongMutability && r.text("scimType") != InvalidValue {
				t.Errorf("removing %s: %s", path, r.body)
			}
		}
	})
	l, _ := h.ask("GET", "/ResourceTypes/User", "").want(200).at("schemaExtensions").([]any)
	if !slices.ContainsFunc(l, func(e any) bool { return dig(e, "schema") == extURN && dig(e, "required") == true }) {
		t.Errorf("/ResourceTypes/User does not say that it is required: %v", l)
	}
}

// A password is in no row of the store, and a hash of it is; what cannot be read back is not lost by a PUT that leaves
// it out (RFC 7643 section 9.2, RFC 7644 section 5).
func TestConformancePasswords(t *testing.T) {
	const composed, decomposed = "Zoé-s3cret-1", "Zoe\u0301-s3cret-1"
	h := openHouse(t, Options{})
	hash := func(id string) string {
		t.Helper()
		var body []byte
		err := h.store.View(t.Context(), "default", func(tx *storage.Tx) error {
			rec, err := tx.Get(secretKind, secretID(storage.Ref{Kind: "User", ID: id}))
			body = bytes.Clone(rec.Body)
			return err
		})
		if err != nil && !isNotFound(err) {
			t.Fatal(err)
		}
		return string(body)
	}
	is := func(hash, password string) bool {
		sum := sha256.Sum256([]byte(password))
		return bcrypt.CompareHashAndPassword([]byte(hash), []byte(base64.RawStdEncoding.EncodeToString(sum[:]))) == nil
	}
	id := h.user("zoe", `"password":`+quoted(decomposed))
	first := hash(id)
	if !is(first, composed) {
		t.Error("the hash is not that of the password in the form NFC")
	}
	h.ask("PUT", "/Users/"+id, `{"schemas":["`+UserURN+`"],"userName":"zoe","title":"Dr"}`).want(200)
	if hash(id) != first {
		t.Error("a PUT without a password has changed it")
	}
	before := first
	for i, set := range []func(password string) *reply{
		func(p string) *reply {
			return h.ask("PUT", "/Users/"+id, `{"schemas":["`+UserURN+`"],"userName":"zoe","password":`+quoted(p)+`}`)
		},
		func(p string) *reply {
			return h.patch("/Users/"+id, `{"op":"replace","path":"password","value":`+quoted(p)+`}`)
		},
		func(p string) *reply {
			return h.ask("POST", "/Bulk", `{"schemas":["`+bulkURN+`"],"Operations":[{"method":"PATCH","path":"/Users/`+id+`","data":`+patchBody(`{"op":"replace","path":"password","value":`+quoted(p)+`}`)+`}]}`)
		},
	} {
		password := fmt.Sprintf("%s-%d", composed, i)
		if r := set(password).want(200); strings.Contains(string(r.body), "s3cret") {
			t.Errorf("the answer shows it: %s", r.body)
		}
		if now := hash(id); now == before {
			t.Errorf("%d: the password is the old one", i)
		} else {
			before = now
		}
	}
	if !is(before, fmt.Sprintf("%s-%d", composed, 2)) {
		t.Error("the hash is not that of the last password")
	}
	for _, trace := range []string{"s3cret", base64.StdEncoding.EncodeToString([]byte(composed))[:12]} {
		if strings.Contains(h.dump(), trace) {
			t.Errorf("%q is in the store", trace)
		}
	}
	h.patch("/Users/"+id, `{"op":"remove","path":"password"}`).want(200)
	if hash(id) != "" {
		t.Error("removed, and there is still a hash")
	}
}

// What the server refers to is below its own root, whatever a client has sent for it; what is the client's comes back as
// it was sent, and compares with case.
func TestConformanceReferences(t *testing.T) {
	h := openHouse(t, Options{})
	boss := h.user("boss", `"profileUrl":"../People/Ada"`)
	ada := h.user("ada", `"`+EnterpriseUserURN+`":{"manager":{"value":"`+boss+`","$ref":"../Users/elsewhere"}}`)
	g := h.ask("POST", "/Groups", `{"schemas":["`+GroupURN+`"],"displayName":"Ops","members":[{"value":"`+ada+`","$ref":"../Users/elsewhere"}]}`).want(201).id()
	const root = "https://scim.example/scim/v2"
	user := h.ask("GET", "/Users/"+ada, "").want(200)
	for got, want := range map[string]string{
		user.text(EnterpriseUserURN, "manager", "$ref"):                      root + "/Users/" + boss,
		user.text("groups", 0, "$ref"):                                       root + "/Groups/" + g,
		h.ask("GET", "/Groups/"+g, "").want(200).text("members", 0, "$ref"):  root + "/Users/" + ada,
		h.ask("GET", "/Users/"+boss, "").want(200).text("profileUrl"):        "../People/Ada",
		fmt.Sprint(h.find("/Users?", `profileUrl eq "../People/Ada"`).ids()): fmt.Sprint([]string{boss}),
		fmt.Sprint(h.find("/Users?", `profileUrl eq "../people/ada"`).ids()): "[]",
	} {
		if got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

// A country is kept as it was sent: it is not checked (RFC 7643 section 4.1.2 wants ISO 3166-1 alpha-2).
func TestConformanceCountry(t *testing.T) {
	h := openHouse(t, Options{Strict: true})
	for _, country := range []string{"DE", "United States"} {
		id := h.user("u-"+country, `"addresses":[{"type":"work","country":`+quoted(country)+`}]`)
		if got := h.ask("GET", "/Users/"+id, "").text("addresses", 0, "country"); got != country {
			t.Errorf("%q came back as %q", country, got)
		}
	}
}

// Cursors that are forged, of another tenant or of another query are refused in the same words, and walks that nobody
// ends do not pile up (RFC 9865 sections 5.2 and 5.3).
func TestConformanceCursors(t *testing.T) {
	h := openHouse(t, Options{})
	for i := range 3 {
		h.user(fmt.Sprint("user-", i), "")
		h.tenant("other").user(fmt.Sprint("user-", i), "")
	}
	next := func(h *house, query string) string {
		t.Helper()
		return h.ask("GET", "/Users?count=1&cursor="+query, "").want(200).text("nextCursor")
	}
	mine := next(h, "")
	if strings.Contains(mine, "user") || next(h, "") == mine {
		t.Errorf("%q can be read, or is the same each time", mine)
	}
	flipped := []byte(mine)
	flipped[len(flipped)/2] ^= 1
	words := map[string]bool{}
	for _, cursor := range []string{
		"nonsense", strings.Repeat("A", len(mine)), string(flipped), mine + "A", mine[:len(mine)-4], next(h.tenant("other"), ""), next(h, "&sortBy=userName"),
	} {
		words[h.ask("GET", "/Users?count=1&cursor="+cursor, "").refused(400, InvalidCursor).text("detail")] = true
	}
	if len(words) != 1 {
		t.Errorf("refused in different words: %v", words)
	}

	first := next(h, "&sortBy=userName")
	for range maxSavedWalk {
		mine = next(h, "&sortBy=userName")
	}
	h.ask("GET", "/Users?count=1&sortBy=userName&cursor="+first, "").refused(400, ExpiredCursor)
	h.ask("GET", "/Users?count=1&sortBy=userName&cursor="+mine, "").want(200)
	rows := len(h.dump())
	for range 2 * maxSavedWalk {
		next(h, "&sortBy=userName")
	}
	if now := len(h.dump()); now > rows+rows/10 {
		t.Errorf("the store has grown from %d to %d bytes", rows, now)
	}
}

// What is chosen where the RFCs leave it open, by the numbers of docs/conformance.md.
func TestConformanceChoices(t *testing.T) {
	for _, o := range []Options{{}, {Strict: true}} {
		h := openHouse(t, o)
		emails := `"emails":[{"type":"work","value":"w@x"},{"type":"home","value":"h@x"}]`
		t.Run("A5", func(t *testing.T) {
			h := h.in(t)
			id := h.user("a5", emails)
			h.patch("/Users/"+id, `{"op":"add","path":"emails.display","value":"D"}`).want(200)
			r := h.ask("GET", "/Users/"+id, "")
			if r.text("emails", 0, "display")+r.text("emails", 1, "display") != "DD" {
				t.Errorf("%s", r.body)
			}
			h.patch("/Users/"+id, `{"op":"remove","path":"photos.type"}`).want(200)
			for _, op := range []string{"add", "replace"} {
				r := h.patch("/Users/"+id, `{"op":"`+op+`","path":"photos.type","value":"photo"}`)
				if o.Strict {
					r.refused(400, NoTarget)
				} else if got := r.want(200).text("photos"); got != `[{"type":"photo"}]` {
					t.Errorf("%s: %s", op, got)
				}
			}
		})
		t.Run("A14", func(t *testing.T) {
			h := h.in(t)
			h.user("a14", "")
			for _, query := range []string{"count=0", "startIndex=1000", `filter=userName eq "nobody"`} {
				if r := h.ask("GET", "/Users?"+query, "").want(200); r.text("Resources") != "[]" {
					t.Errorf("%s: %s", query, r.body)
				}
			}
		})
		t.Run("A15", func(t *testing.T) {
			h := h.in(t)
			if r := h.ask("GET", "/Users?cursor=&count=-1", "").want(200); r.text("Resources") != "[]" {
				t.Errorf("%s", r.body)
			}
		})
		t.Run("A17", func(t *testing.T) {
			h := h.in(t)
			id := h.user("a17", "")
			was := h.ask("GET", "/Users/"+id, "").etag()
			g := h.group("a17", id)
			h.patch("/Groups/"+g, `{"op":"replace","path":"displayName","value":"a17 2"}`).want(204)
			r := h.ask("GET", "/Users/"+id, "").want(200)
			if r.etag() != was || r.text("groups", 0, "display") != "a17 2" {
				t.Errorf("the version went from %s to %s; %s", was, r.etag(), r.body)
			}
		})
		t.Run("A31", func(t *testing.T) {
			h := h.in(t)
			g := h.group("a31", h.user("a31", ""))
			h.patch("/Groups/"+g, `{"op":"replace","path":"members[value eq \"x\"].displayName","value":"x"}`).refused(400, InvalidPath)
		})
		t.Run("A32", func(t *testing.T) {
			h := h.in(t)
			id := h.user("a32", emails)
			h.patch("/Users/"+id, `{"op":"remove","path":"emails[type eq\"work\"]"}`).want(200)
			if r := h.ask("GET", "/Users/"+id, ""); r.text("emails", 0, "type") != "home" || r.at("emails", 1) != nil {
				t.Errorf("%s", r.body)
			}
		})
	}
}
