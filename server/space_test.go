package server

import (
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	"scimbox/auth"
	"scimbox/server/control"
)

// Where the disk is almost full changes are refused in the words of the protocol, reads go on, everybody is told why, and it
// ends by itself.
func TestAlmostFullDisk(t *testing.T) {
	var free atomic.Int64
	free.Store(1 << 40)
	o, log := options(t)
	o.freeSpace = func(string) (int64, error) { return free.Load(), nil }
	s := serve(t, o, log)
	made, body := s.do(t, "POST", "/scim/v2/Users", `{"userName":"ada"}`)
	if made.StatusCode != http.StatusCreated {
		t.Fatal(body)
	}
	status := func() control.Status {
		t.Helper()
		c, err := control.Connect(t.Context(), o.Config.Data, "1.2.3")
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		st, err := c.Status(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return st
	}
	if st := status(); st.ReadOnly != "" || st.FreeBytes != 1<<40 {
		t.Errorf("before: %q, %d", st.ReadOnly, st.FreeBytes)
	}
	operator, err := control.Connect(t.Context(), o.Config.Data, "1.2.3")
	if err != nil {
		t.Fatal(err)
	}
	defer operator.Close()
	leaked, err := operator.CreateToken(t.Context(), control.Create{Name: "leaked", Scope: auth.ScopeRead})
	if err != nil {
		t.Fatal(err)
	}
	free.Store(1 << 20)
	for _, c := range []struct{ method, path, body string }{
		{"POST", "/scim/v2/Users", `{"userName":"ben"}`},
		{"DELETE", made.Header.Get("Location")[strings.Index(made.Header.Get("Location"), "/scim/"):], ""},
	} {
		resp, body := s.do(t, c.method, c.path, c.body)
		if resp.StatusCode != http.StatusInsufficientStorage || resp.Header.Get("Retry-After") == "" ||
			!strings.Contains(body, "urn:ietf:params:scim:api:messages:2.0:Error") || !strings.Contains(body, "nothing was changed") {
			t.Errorf("%s: %s\n%s", c.method, resp.Status, body)
		}
		if strings.Contains(body, o.Config.Data) {
			t.Errorf("the client learns where the data are: %s", body)
		}
	}
	resp, body := s.do(t, "POST", "/scim/v2/Bulk", `{"schemas":["urn:ietf:params:scim:api:messages:2.0:BulkRequest"],"Operations":[{"method":"POST","path":"/Users","bulkId":"a","data":{"userName":"cleo"}}]}`)
	if resp.StatusCode != http.StatusOK || !strings.Contains(body, `"507"`) {
		t.Errorf("bulk: %s\n%s", resp.Status, body)
	}
	if resp, body := s.do(t, "GET", "/scim/v2/Users?filter=userName+eq+%22ada%22", ""); resp.StatusCode != http.StatusOK || !strings.Contains(body, `"totalResults":1`) {
		t.Errorf("reading: %s\n%s", resp.Status, body)
	}
	if st := status(); !strings.Contains(st.ReadOnly, "min_free") || !strings.Contains(st.ReadOnly, "1.0 MiB free") {
		t.Errorf("status says %q", st.ReadOnly)
	}
	if !strings.Contains(s.log.String(), "the disk is almost full") {
		t.Error("the log does not say why")
	}
	// A token that has leaked is ended all the same; a new one has to wait for room.
	if _, err := operator.RevokeToken(t.Context(), leaked.Token.ID); err != nil {
		t.Errorf("a token cannot be revoked on an almost full disk: %v", err)
	}
	if resp, _ := s.do(t, "GET", "/scim/v2/Users", "", "Authorization", "Bearer "+leaked.Secret); resp.StatusCode != http.StatusUnauthorized {
		t.Errorf("with a revoked token: %s", resp.Status)
	}
	if _, err := operator.CreateToken(t.Context(), control.Create{Name: "other", Scope: auth.ScopeRead}); err == nil {
		t.Error("a token is made on an almost full disk")
	}
	free.Store(1 << 40)
	if resp, body := s.do(t, "POST", "/scim/v2/Users", `{"userName":"ben"}`); resp.StatusCode != http.StatusCreated {
		t.Errorf("with room again: %s\n%s", resp.Status, body)
	}
	if st := status(); st.ReadOnly != "" {
		t.Errorf("afterwards: %q", st.ReadOnly)
	}
	free.Store(100 << 20) // what is written down at the end, such as when tokens were used, is then lost, and that is all
	if err := s.stop(); err != nil {
		t.Errorf("stopping on a full disk: %v", err)
	}
	if _, err := Open(t.Context(), o); err == nil || !strings.Contains(err.Error(), "min_free") {
		t.Errorf("starting on a full disk: %v", err)
	}
	free.Store(1 << 40)
	again := serve(t, o, log)
	again.secret = s.secret
	if _, body := again.do(t, "GET", "/scim/v2/Users", ""); !strings.Contains(body, `"totalResults":2`) {
		t.Errorf("after a restart: %s", body)
	}
}
