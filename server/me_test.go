package server

import (
	"encoding/json"
	"strings"
	"testing"

	"scimbox/auth"
	"scimbox/server/control"
)

// A token that is bound to a User has a /Me, and no other token has (RFC 7644 section 3.11).
func TestMe(t *testing.T) {
	s := start(t, nil)
	_, body := s.do(t, "POST", "/scim/v2/Users", `{"schemas":["urn:ietf:params:scim:schemas:core:2.0:User"],"userName":"ada"}`)
	var ada struct{ ID string }
	if err := json.Unmarshal([]byte(body), &ada); err != nil || ada.ID == "" {
		t.Fatalf("%v: %s", err, body)
	}
	c, err := control.Connect(t.Context(), s.o.Config.Data, "1.2.3")
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := c.CreateToken(t.Context(), control.Create{Name: "x", Scope: auth.ScopeRead, User: "nobody"}); err == nil || !strings.Contains(err.Error(), `no User with the id "nobody"`) {
		t.Errorf("a token for nobody: %v", err)
	}
	if _, err := c.CreateToken(t.Context(), control.Create{Name: "x", Scope: auth.ScopeRead, User: ada.ID, Tenant: "acme"}); err == nil {
		t.Error("a token for a User of another tenant was made")
	}
	made, err := c.CreateToken(t.Context(), control.Create{Name: "ada", Scope: auth.ScopeWrite, User: ada.ID})
	if err != nil {
		t.Fatal(err)
	}
	as := []string{"Authorization", "Bearer " + made.Secret}
	resp, body := s.do(t, "GET", "/scim/v2/Me", "", as...)
	if location := "http://" + s.Address() + "/scim/v2/Users/" + ada.ID; resp.StatusCode != 200 || resp.Header.Get("Location") != location || !strings.Contains(body, `"userName":"ada"`) {
		t.Errorf("%s %v\n%s", resp.Status, resp.Header, body)
	}
	resp, body = s.do(t, "PATCH", "/scim/v2/Me", `{"schemas":["urn:ietf:params:scim:api:messages:2.0:PatchOp"],"Operations":[{"op":"add","path":"title","value":"Countess"}]}`, as...)
	if resp.StatusCode != 200 || !strings.Contains(body, "Countess") {
		t.Errorf("%s\n%s", resp.Status, body)
	}
	if resp, body := s.do(t, "GET", "/scim/v2/Me", ""); resp.StatusCode != 501 || !strings.Contains(body, "/Users/{id}") {
		t.Errorf("a token that is bound to nobody: %s\n%s", resp.Status, body)
	}
	if resp, _ := s.do(t, "DELETE", "/scim/v2/Me", "", as...); resp.StatusCode != 204 {
		t.Errorf("deleting: %s", resp.Status)
	}
	if resp, _ := s.do(t, "GET", "/scim/v2/Me", "", as...); resp.StatusCode != 404 {
		t.Errorf("when the User is gone: %s", resp.Status)
	}
}
