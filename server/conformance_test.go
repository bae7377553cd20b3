package server

import (
	"encoding/json"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"scimbox/auth"
	"scimbox/server/control"
)

// A cursor grants nothing: each page is authorised by the token that asks for it, and what another tenant has got is worth
// as much as what somebody has made up (RFC 9865 section 5.2).
func TestConformanceCursorGrantsNothing(t *testing.T) {
	s := start(t, nil)
	for _, name := range []string{"ada", "ben", "zoe"} {
		if resp, body := s.do(t, "POST", "/scim/v2/Users", `{"schemas":["urn:ietf:params:scim:schemas:core:2.0:User"],"userName":"`+name+`"}`); resp.StatusCode != 201 {
			t.Fatalf("%s\n%s", resp.Status, body)
		}
	}
	c, err := control.Connect(t.Context(), s.o.Config.Data, "1.2.3")
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	token := func(name, tenant string) control.Created {
		made, err := c.CreateToken(t.Context(), control.Create{Name: name, Scope: auth.ScopeRead, Tenant: tenant})
		if err != nil {
			t.Fatal(err)
		}
		return made
	}
	mine, theirs := token("mine", "default"), token("theirs", "other")
	page := func(secret, cursor string) (*http.Response, map[string]any) {
		t.Helper()
		header := ""
		if secret != "" {
			header = "Bearer " + secret
		}
		resp, body := s.do(t, "GET", "/scim/v2/Users?count=1&cursor="+url.QueryEscape(cursor), "", "Authorization", header)
		var v map[string]any
		if err := json.Unmarshal([]byte(body), &v); err != nil {
			t.Fatalf("%v: %s", err, body)
		}
		return resp, v
	}
	resp, first := page(mine.Secret, "")
	cursor, _ := first["nextCursor"].(string)
	if resp.StatusCode != 200 || cursor == "" {
		t.Fatalf("%s %v", resp.Status, first)
	}
	words := func(v map[string]any) string { // without the request's id
		text, _, _ := strings.Cut(v["detail"].(string), " (request")
		return v["scimType"].(string) + ": " + text
	}
	resp, foreign := page(theirs.Secret, cursor)
	_, forged := page(theirs.Secret, "AAAA"+cursor[4:])
	if resp.StatusCode != 400 || words(foreign) != words(forged) {
		t.Errorf("another tenant's cursor: %s %v; a forged one: %v", resp.Status, foreign, forged)
	}
	if resp, v := page("", cursor); resp.StatusCode != 401 {
		t.Errorf("without a token: %s %v", resp.Status, v)
	}
	if resp, v := page(mine.Secret, cursor); resp.StatusCode != 200 || v["nextCursor"] == nil {
		t.Errorf("the second page: %s %v", resp.Status, v)
	}
	if _, err := c.RevokeToken(t.Context(), mine.ID); err != nil {
		t.Fatal(err)
	}
	if resp, v := page(mine.Secret, cursor); resp.StatusCode != 401 {
		t.Errorf("when the token is revoked: %s %v", resp.Status, v)
	}
}
