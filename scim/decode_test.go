package scim

import (
	"errors"
	"strings"
	"testing"
)

// What becomes of a body: how it is stored for a client that is allowed everything, and for one that keeps to the RFCs ("="
// is the same). An error is written as its scimType.
func TestDecode(t *testing.T) {
	types := acmeTypes(t)
	const base, ent, acme = `"schemas":["` + UserURN + `"],"userName":"a"`, EnterpriseUserURN, acmeURN
	for _, c := range []struct{ body, tolerant, standard string }{
		// Names in any case, values as they are.
		{`"TITLE":"Dr","name":{"GIVENNAME":"ß"}`, `"name":{"givenName":"ß"},"title":"Dr"`, "="},
		// Unassigned is unassigned (RFC 7643 section 2.5).
		{`"title":null,"emails":[],"name":{},"` + ent + `":{"department":null}`, ``, "="},
		{`"emails":[null,{},{"value":null},{"value":"x"}]`, `"emails":[{"value":"x"}]`, "="},
		{`"title":"","emails":[{"value":""}],"name":{"givenName":""}`, ``, `"name":{"givenName":""},"title":"","emails":[{"value":""}]`},
		{`"emails":""`, ``, InvalidValue},
		{`"name":""`, ``, InvalidValue},
		// The same value twice is one; under another type it is another.
		{`"emails":[{"value":"x","type":"work"},{"type":"work","value":"x"},{"value":"x"},{"value":"x","type":"home"}]`,
			`"emails":[{"value":"x","type":"work"},{"value":"x"},{"value":"x","type":"home"}]`, "="},
		// One primary.
		{`"emails":[{"value":"x","primary":true},{"value":"y","primary":true}]`, `"emails":[{"value":"x"},{"value":"y","primary":true}]`, InvalidValue},
		{`"emails":[{"primary":true},{"primary":true}]`, `"emails":[{"primary":true}]`, InvalidValue},
		{`"emails":[{},{"primary":true},{"value":"x","primary":true},null,{"value":"y","primary":true}]`, `"emails":[{"value":"x"},{"value":"y","primary":true}]`, InvalidValue},
		{`"emails":[{"value":"x","primary":false},{"value":"y","primary":false}]`, `"emails":[{"value":"x","primary":false},{"value":"y","primary":false}]`, "="},
		// Keys with dots and URNs.
		{`"name.givenName":"G","name":{"familyName":"F"}`, `"name":{"familyName":"F","givenName":"G"}`, "="},
		{`"name":{"familyName":"F"},"name.familyName":"G"`, `"name":{"familyName":"G"}`, "="},
		{`"` + UserURN + `:title":"Dr","` + UserURN + `:name.givenName":"G"`, `"name":{"givenName":"G"},"title":"Dr"`, "="},
		{`"` + UserURN + `":{"title":"Dr","id":"x"}`, `"title":"Dr"`, "="},
		{`"` + ent + `:department":"D","` + strings.ToUpper(ent) + `":{"costCenter":"C"}`, `"` + ent + `":{"costCenter":"C","department":"D"}`, "="},
		{`"` + ent + `:manager.value":"m"`, `"` + ent + `":{"manager":{"value":"m"}}`, "="},
		{`"` + ent + `":{"manager.value":"m"}`, `"` + ent + `":{"manager":{"value":"m"}}`, "="},
		{`"` + ent + `:manager":{"value":"m","displayName":"M"}`, `"` + ent + `":{"manager":{"value":"m"}}`, "="},
		{`"emails.value":"x"`, InvalidSyntax, InvalidSyntax},
		{`"emails[type eq \"work\"].value":"x"`, InvalidSyntax, InvalidSyntax},
		// Other forms of a value.
		{`"` + ent + `":{"manager":"m"}`, `"` + ent + `":{"manager":{"value":"m"}}`, InvalidValue},
		{`"` + ent + `":{"manager":[{"value":"m"}]}`, `"` + ent + `":{"manager":{"value":"m"}}`, InvalidValue},
		{`"` + ent + `":{"manager":["m"]}`, `"` + ent + `":{"manager":{"value":"m"}}`, InvalidValue},
		{`"` + ent + `":{"manager":[]}`, ``, InvalidValue},
		{`"` + ent + `":{"manager":{"managerId":"m"}}`, `"` + ent + `":{"manager":{"value":"m"}}`, ``},
		{`"emails":{"value":"x"}`, `"emails":[{"value":"x"}]`, InvalidValue},
		{`"emails":"x"`, `"emails":[{"value":"x"}]`, InvalidValue},
		{`"emails":["x"]`, `"emails":[{"value":"x"}]`, InvalidValue},
		{`"emails":[["x"]]`, InvalidValue, InvalidValue},
		{`"` + acme + `":{"codes":"x"}`, `"` + acme + `":{"codes":["x"]}`, InvalidValue},
		// Types (RFC 7643 section 2.3).
		{`"active":"TRUE"`, `"active":true`, InvalidValue},
		{`"active":"yes"`, InvalidValue, InvalidValue},
		{`"active":0`, InvalidValue, InvalidValue},
		{`"` + acme + `":{"level":5,"weight":1e400}`, `"` + acme + `":{"level":5,"weight":1e400}`, "="},
		{`"` + acme + `":{"level":5.0}`, InvalidValue, InvalidValue},
		{`"` + acme + `":{"level":5e0}`, InvalidValue, InvalidValue},
		{`"` + acme + `":{"level":"5"}`, InvalidValue, InvalidValue},
		{`"` + acme + `":{"level":-0,"weight":0.50}`, `"` + acme + `":{"level":-0,"weight":0.50}`, "="},
		{`"` + acme + `":{"level":123456789012345678901234567890}`, `"` + acme + `":{"level":123456789012345678901234567890}`, "="},
		{`"` + acme + `":{"weight":"1.5"}`, InvalidValue, InvalidValue},
		{`"` + acme + `":{"joined":"2026-01-31T13:45:00+02:00"}`, `"` + acme + `":{"joined":"2026-01-31T13:45:00+02:00"}`, "="},
		{`"` + acme + `":{"joined":"2026-01-31"}`, InvalidValue, InvalidValue},
		{`"` + acme + `":{"joined":"13:45:00"}`, InvalidValue, InvalidValue},
		{`"` + acme + `":{"joined":1769863500}`, InvalidValue, InvalidValue},
		{`"` + acme + `":{"photoKey":"AAEC_-8"}`, `"` + acme + `":{"photoKey":"AAEC_-8"}`, "="},
		{`"` + acme + `":{"photoKey":"A"}`, InvalidValue, InvalidValue},
		{`"` + acme + `":{"photoKey":"AA=="}`, `"` + acme + `":{"photoKey":"AA=="}`, "="},
		{`"` + acme + `":{"photoKey":"A A="}`, InvalidValue, InvalidValue},
		{`"profileUrl":"not a URL, and kept"`, `"profileUrl":"not a URL, and kept"`, "="},
		// What is the server's, and what is nobody's.
		{`"id":"x","meta":{"created":"x"},"groups":5,"` + acme + `":{"score":"x","shoeSize":1}`, ``, "="},
		{`"shoeSize":1,"name":{"shoe.size":1},"urn:example:x":{}`, ``, "="},
	} {
		for q, want := range map[string]string{"tolerant": c.tolerant, "standard": c.standard} {
			if want == "=" {
				want = c.tolerant
			}
			user := types.ByName("User")
			d := decoder{t: user, specified: map[*Attribute]bool{}}
			if q == "tolerant" {
				d.q = tolerant
			}
			n, err := parseJSON([]byte("{" + base + also(c.body) + "}"))
			if err != nil {
				t.Fatalf("%s: %v", c.body, err)
			}
			o, err := d.resource(n)
			var se *Error
			if errors.As(err, &se) {
				if se.Type != want || se.Status != 400 || se.Detail == "" {
					t.Errorf("%s, %s: %v, want %s", c.body, q, err, want)
				}
				continue
			}
			want = `{"userName":"a"` + also(want) + `}`
			if got := encodeBody(user, o); !sameJSON(got, []byte(want)) {
				t.Errorf("%s, %s:\ngot  %s\nwant %s", c.body, q, got, want)
			}
			sameWhenStored(t, user, o)
		}
	}
}

// The schemas member (RFC 7643 section 3).
func TestDecodeSchemas(t *testing.T) {
	user := builtinTypes(t).ByName("User")
	const u, e, g = `"` + UserURN + `"`, `"` + EnterpriseUserURN + `"`, `"` + GroupURN + `"`
	for _, c := range []struct {
		schemas            string
		tolerant, standard bool
	}{
		{`[` + u + `]`, true, true},
		{`[` + u + `,` + e + `]`, true, true},
		{`[` + e + `,` + u + `]`, true, true},
		{`["` + strings.ToUpper(UserURN) + `"]`, true, true},
		{`[` + u + `,` + u + `]`, true, false},
		{`[` + u + `,"` + strings.ToUpper(UserURN) + `"]`, true, false},
		{`[` + e + `]`, true, false},
		{`[]`, true, false},
		{`null`, true, false},
		{``, true, false},
		{`["urn:x"]`, true, false},
		{`[` + u + `,"urn:x"]`, true, false},
		{`[""]`, true, false},
		{`[` + g + `]`, false, false},
		{`[` + u + `,` + g + `]`, true, false},
		{u, false, false},
		{`[5]`, false, false},
		{`[null]`, false, false},
		{`{}`, false, false},
	} {
		body := `{"userName":"a"}`
		if c.schemas != "" {
			body = `{"schemas":` + c.schemas + `,"userName":"a"}`
		}
		for _, q := range []quirks{tolerant, {}} {
			n, err := parseJSON([]byte(body))
			if err != nil {
				t.Fatal(err)
			}
			d := decoder{t: user, q: q}
			_, err = d.resource(n)
			want := c.standard
			if q == tolerant {
				want = c.tolerant
			}
			if (err == nil) != want {
				t.Errorf("%s, %t: %v", body, q == tolerant, err)
			}
			if err != nil {
				clientError(t, err)
			}
		}
	}
}

func TestValidBase64(t *testing.T) {
	for s, want := range map[string]bool{
		"": true, "AA": true, "AA==": true, "AAA=": true, "AAAA": true, "_-8=": true, "+/8=": true, "_-8": true,
		"A": false, "AAAAA": false, "AA=": false, "AAA==": false, "====": false, "AAAA====": false, "=AAA": false, "A=AA": false, "AA ==": false,
		"AA\n==": false, "+_8=": false, "ÄÄ==": false,
	} {
		if got := validBase64(s); got != want {
			t.Errorf("%q: %t", s, got)
		}
	}
}
