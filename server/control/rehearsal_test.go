package control

import (
	"strings"
	"testing"
	"time"

	"scimbox/auth"
)

// A rehearsal takes its own token away, that of one before it which could not, and no other.
func TestRehearsal(t *testing.T) {
	b := newBackend(t)
	now := time.Now()
	b.Clock = func() time.Time { return now }
	c := newLocal(t, b)
	kept, err := c.CreateToken(t.Context(), Create{Name: "kept", Scope: auth.ScopeWrite})
	if err != nil {
		t.Fatal(err)
	}
	left, err := c.Rehearse(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if left.Scope != auth.ScopeRead || left.Expires.Sub(left.Created).Round(time.Second) != auth.MinTTL || !strings.HasPrefix(left.Tenant, rehearsalTenant) || left.Secret == "" {
		t.Errorf("made is %+v", left.Token)
	}
	now = now.Add(2 * auth.MinTTL)
	made, err := c.Rehearse(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if made.Tenant == left.Tenant {
		t.Errorf("two rehearsals are in tenant %s", made.Tenant)
	}
	if err := c.EndRehearsal(t.Context(), made.ID); err != nil {
		t.Fatal(err)
	}
	if err := c.EndRehearsal(t.Context(), kept.ID); err == nil || !strings.Contains(err.Error(), "is none of a rehearsal") {
		t.Errorf("a client's token: %v", err)
	}
	all, err := c.Tokens(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if len(all) != 1 || all[0].ID != kept.ID || !all[0].Revoked.IsZero() {
		t.Errorf("left are %+v", all)
	}
}
