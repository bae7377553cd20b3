package server

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"golang.org/x/crypto/bcrypt"

	"scimbox/auth"
	"scimbox/scim"
	"scimbox/server/config"
	"scimbox/server/control"
)

// The black-box cases of testdata/cases, run against real servers. A server is made for each configuration, and each case
// gets a tenant of its own, which is an empty store at little cost.

// offered are the features that a case may need, and what it may want switched on.
var offered = []string{"patch", "bulk", "sort", "etag", "filter", "cursor", "testext", "group", "enterprise", "nested"}

// believedWrong are cases that contradict the RFC's text, with what is expected instead: see
// docs/decisions/0030-cases-believed-wrong.md.
var believedWrong = map[string]string{}

// otherwise are the rfc cases to which the default settings answer otherwise, with the quirk that is the reason. They pass
// with strict = true.
var otherwise = map[string]string{
	"FLT-082": "bareWords",
	"PAT-069": "createsOnReplace",
	"PAT-071": "createsOnReplace",
	"PAT-110": "missingSchemas",
	"TYP-002": "missingSchemas",
	"TYP-018": "soleElements",
	"KEY-027": "missingSchemas",
	"KEY-069": "missingSchemas",
	"KEY-070": "missingSchemas",
	"KEY-082": "soleElements",
}

// caseServer is a server that cases are run against.
type caseServer struct {
	*running
	client  *http.Client
	tenants atomic.Int64
}

func startForCases(t *testing.T, change func(*config.Config)) *caseServer {
	t.Helper()
	o, _ := options(t)
	o.Logger = nil
	o.tokenCost = bcrypt.MinCost
	if change != nil {
		change(&o.Config)
	}
	transport := &http.Transport{MaxIdleConnsPerHost: 16}
	t.Cleanup(transport.CloseIdleConnections)
	return &caseServer{running: serve(t, o, nil), client: &http.Client{
		Transport:     transport,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

// problems runs a case in a new tenant with a token of the preset.
func (s *caseServer) problems(t *testing.T, c *blackBox, preset string) []error {
	t.Helper()
	n := s.tenants.Add(1)
	tenant := fmt.Sprintf("case-%d", n)
	_, secret, err := s.house.Tokens.Create(t.Context(), auth.Spec{Name: tenant, Tenant: tenant, Scope: auth.ScopeWrite, Preset: preset}, control.Origin)
	if err != nil {
		t.Fatal(err)
	}
	r := &caseRun{client: s.client, base: s.LocalURL(), token: secret.Reveal(), unique: fmt.Sprintf("u%d", n)}
	if slices.Contains(c.Requires, "oauth") {
		client, secret, err := s.house.Tokens.CreateClient(t.Context(), auth.Spec{Name: tenant, Tenant: tenant, Scope: auth.ScopeWrite, Preset: preset}, control.Origin)
		if err != nil {
			t.Fatal(err)
		}
		r.endpoint, r.clientID, r.clientSecret = "http://"+s.Address()+auth.TokenPath, client.ID, secret.Reveal()
	}
	return r.run(t.Context(), c)
}

// passes fails the test unless a case passes.
func (s *caseServer) passes(t *testing.T, c *blackBox, preset string) {
	t.Helper()
	for _, err := range s.problems(t, c, preset) {
		t.Error(err)
	}
	if t.Failed() {
		t.Logf("%s %s: %s%s", c.Level, c.Section+c.Source, c.Title, c.Note)
	}
}

func loadCases(t *testing.T, name string) []*blackBox {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("testdata", "cases", name))
	if err != nil {
		t.Fatal(err)
	}
	cases, err := readCases(data)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	if len(cases) == 0 {
		t.Fatalf("%s: there are no cases", name)
	}
	for _, c := range cases {
		for _, need := range c.Needs {
			if !slices.Contains(offered, need) {
				t.Errorf("%s needs %q, of which nobody has decided whether it is offered", c, need)
			}
		}
	}
	return cases
}

func strict(c *config.Config) {
	conformance(c)
	c.SCIM.Strict = true
}

// conformance adds the extension that cases with the need testext use.
func conformance(c *config.Config) {
	c.SCIM.Schemas = filepath.Join("testdata", "cases", "conformance-extension.json")
}

// Every rfc case passes with strict = true.
func TestRFCCases(t *testing.T) {
	s := startForCases(t, strict)
	cases := loadCases(t, "rfc_cases.jsonl")
	for id := range believedWrong {
		if !slices.ContainsFunc(cases, func(c *blackBox) bool { return c.ID == id }) {
			t.Errorf("believedWrong names %s, which is no case", id)
		}
	}
	for _, c := range cases {
		if instead, ok := believedWrong[c.ID]; ok {
			c.Expect = caseExpectation{}
			if err := json.Unmarshal([]byte(instead), &c.Expect); err != nil {
				t.Fatalf("believedWrong[%s]: %v", c.ID, err)
			}
		}
		t.Run(c.String(), func(t *testing.T) {
			t.Parallel()
			s.passes(t, c, "")
		})
	}
	t.Logf("%d cases, %d of them with another expectation", len(cases), len(believedWrong))
}

// With the default settings, too, except for those that a quirk answers otherwise; and those with the preset standard.
func TestRFCCasesByDefault(t *testing.T) {
	if testing.Short() {
		t.Skip("-short runs the rfc cases once, with strict = true")
	}
	s := startForCases(t, conformance)
	cases := loadCases(t, "rfc_cases.jsonl")
	for id := range otherwise {
		if !slices.ContainsFunc(cases, func(c *blackBox) bool { return c.ID == id }) {
			t.Errorf("otherwise names %s, which is no case", id)
		}
	}
	for _, c := range cases {
		if believedWrong[c.ID] != "" {
			continue
		}
		t.Run(c.String(), func(t *testing.T) {
			t.Parallel()
			quirk := otherwise[c.ID]
			if quirk == "" {
				s.passes(t, c, "")
				return
			}
			if len(s.problems(t, c, "")) == 0 {
				t.Errorf("it passes, though the quirk %s should be in its way", quirk)
			}
			s.passes(t, c, "standard")
		})
	}
	t.Logf("%d cases, %d of them answered otherwise by a quirk", len(cases), len(otherwise))
}

// acmePortal is the extension that client cases want registered.
const acmePortal = `{"schemas": ["urn:ietf:params:scim:schemas:core:2.0:Schema"],
	"id": "urn:ietf:params:scim:schemas:extension:AcmePortal:2.0:User", "name": "AcmePortalUser",
	"attributes": [{"name": "badge", "type": "string"}]}`

// Every client case passes with the default settings, and with the preset of its client.
func TestClientCases(t *testing.T) {
	file := filepath.Join(t.TempDir(), "acme.json")
	if err := os.WriteFile(file, []byte(acmePortal), 0o600); err != nil {
		t.Fatal(err)
	}
	plain := startForCases(t, nil)
	adding := startForCases(t, func(c *config.Config) { c.SCIM.SingleReplaceAdds = true })
	extended := startForCases(t, func(c *config.Config) { c.SCIM.Schemas = file })
	type run struct {
		s      *caseServer
		preset string
	}
	cases := loadCases(t, "client_requests.jsonl")
	for _, c := range cases {
		runs := []run{{plain, ""}, {plain, presetOf(t, c.Client)}}
		for _, what := range c.Requires {
			switch {
			case what == "schema:urn:ietf:params:scim:schemas:extension:AcmePortal:2.0:User":
				runs[0].s, runs[1].s = extended, extended
			case what == "profile:entra-replace-members-adds": // the switch for all clients, and the preset for one
				runs = []run{{adding, ""}, {plain, "entra-validator"}}
			case what == "concurrent", what == "header-token", what == "oauth": // always there
			default:
				t.Errorf("%s requires %q, of which nobody has decided what it is", c, what)
			}
		}
		for _, r := range slices.Compact(runs) {
			t.Run(strings.TrimSuffix(c.String()+"/"+r.preset, "/"), func(t *testing.T) {
				t.Parallel()
				r.s.passes(t, c, r.preset)
			})
		}
	}
	t.Logf("%d cases", len(cases))
}

// presetOf returns the preset that a client is given, "" for one that has none.
func presetOf(t *testing.T, client string) string {
	switch client {
	case "entra", "entra-flag", "entra-legacy", "entra-gallery", "entra-inbound":
		return "entra"
	case "entra-validator":
		return client
	case "aws-tools", "wso2":
		return ""
	}
	if scim.ValidPreset(client) != nil {
		t.Errorf("there is no preset for the client %q", client)
	}
	return client
}

// Our own cases, in the form of the rfc cases; settings says which servers they are for, or which presets on the default one.
func TestOwnCases(t *testing.T) {
	byDefault := startForCases(t, conformance)
	servers := map[string]*caseServer{"strict": startForCases(t, strict), "default": byDefault}
	for _, c := range loadCases(t, "own_cases.jsonl") {
		if len(c.Settings) == 0 {
			t.Errorf("%s names no settings", c)
		}
		for _, name := range c.Settings {
			s, preset := servers[name], ""
			if s == nil {
				s, preset = byDefault, name
			}
			if err := scim.ValidPreset(preset); err != nil {
				t.Errorf("%s: there are no settings %q, and %v", c, name, err)
				continue
			}
			t.Run(c.String()+"/"+name, func(t *testing.T) {
				t.Parallel()
				s.passes(t, c, preset)
			})
		}
	}
}

// What is larger than a limit is refused with 413, and the answer names the limit (RFC 7644 section 3.7.4).
func TestLimitsInCases(t *testing.T) {
	s := startForCases(t, func(c *config.Config) {
		c.Limits.Body, c.Limits.BulkBody, c.Limits.BulkOperations = config.Size{Bytes: 2000}, config.Size{Bytes: 3000}, 2
	})
	user := func(size int) string {
		return `{"schemas": ["` + scim.UserURN + `"], "userName": "x", "title": "` + strings.Repeat("x", size) + `"}`
	}
	bulk := func(operations int, padding int) string {
		return `{"schemas": ["urn:ietf:params:scim:api:messages:2.0:BulkRequest"], "Operations": [` +
			strings.Repeat(`{"method": "DELETE", "path": "/Users/x"},`, operations-1) + `{"method": "DELETE", "path": "/Users/` + strings.Repeat("x", padding) + `"}]}`
	}
	for name, c := range map[string]struct{ path, body, expect string }{
		"body":                {"/Users", user(2000), `{"status": [413], "json": {"status": "413", "detail": {"$re": "2000"}}}`},
		"search":              {"/Users/.search", user(2000), `{"status": [413], "json": {"detail": {"$re": "2000"}}}`},
		"body within":         {"/Users", user(1500), `{"status": [201]}`},
		"bulk":                {"/Bulk", bulk(1, 3000), `{"status": [413], "json": {"detail": {"$re": "maxPayloadSize, 3000"}}}`},
		"bulk within":         {"/Bulk", bulk(1, 200), `{"status": [200], "json": {"Operations[0].status": "404"}}`},
		"operations":          {"/Bulk", bulk(3, 1), `{"status": [413], "json": {"detail": {"$re": "maxOperations, 2"}}}`},
		"operations within":   {"/Bulk", bulk(2, 1), `{"status": [200], "json": {"Operations.#": 2}}`},
		"limits as announced": {"/Bulk", bulk(2, 1), `{"status": [200], "then": [{"method": "GET", "path": "/ServiceProviderConfig", "status": [200], "json": {"bulk": {"supported": true, "maxOperations": 2, "maxPayloadSize": 3000}}}]}`},
	} {
		t.Run(name, func(t *testing.T) {
			box := &blackBox{ID: name, Request: caseStep{Method: "POST", Path: c.path, Body: json.RawMessage(c.body)}}
			if err := json.Unmarshal([]byte(c.expect), &box.Expect); err != nil {
				t.Fatal(err)
			}
			s.passes(t, box, "")
		})
	}
}
