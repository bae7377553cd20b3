package server

import (
	"regexp"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// What is written as loops is the same as what these expressions say, for texts that look like what is meant and a little off.
func TestLoggedIsWhatItSays(t *testing.T) {
	var (
		segment = regexp.MustCompile(`^([0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}|urn:[A-Za-z0-9.:]{1,100}|(?i:scim|v[0-9]|users|groups|schemas|resourcetypes|serviceproviderconfig|bulk|me|\.search|healthz|readyz|oauth|token|\.well-known|oauth-authorization-server|console|sign-in|sign-out|static|connect|light|mapping|activity|tokens|tenants|backups|health|t|rotate|revoke)|)$`)
		trace   = regexp.MustCompile(`^[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}$`)
		agent   = regexp.MustCompile(`^[A-Za-z0-9 ./;:,()+-]*`)
		id      = regexp.MustCompile(`^[A-Za-z0-9._-]{1,64}$`)
	)
	forms := []string{
		`[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}`, `urn:[A-Za-z0-9.:]{0,110}`, `(scim|v[0-9]|Users|GROUPS|\.search|me|)`,
		`[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}`, `[A-Za-z0-9 ./;:,()+-]{0,100}`, `[A-Za-z0-9._-]{0,70}`,
	}
	rapid.Check(t, func(t *rapid.T) {
		s := rapid.StringMatching(rapid.SampledFrom(forms).Draw(t, "form")).Draw(t, "text")
		if len(s) > 0 && rapid.Bool().Draw(t, "off") {
			i := rapid.IntRange(0, len(s)-1).Draw(t, "at")
			s = s[:i] + rapid.SampledFrom([]string{"", "é", "\n", "g", "A", "-", "@", "/"}).Draw(t, "odd") + s[i+1:]
		}
		if got, want := harmlessSegment(s), segment.MatchString(s); got != want {
			t.Errorf("segment %q: %v", s, got)
		}
		if got, want := traceID(s) != "", trace.MatchString(s); got != want {
			t.Errorf("trace %q: %v", s, got)
		}
		if got, want := wellFormedID(s), id.MatchString(s); got != want {
			t.Errorf("request id %q: %v", s, got)
		}
		want := agent.FindString(s)
		if got := loggedAgent(s); got != strings.TrimSpace(want[:min(len(want), 80)]) {
			t.Errorf("agent %q: %q", s, got)
		}
	})
}

func TestNewRequestID(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	for range 10_000 {
		id := newRequestID()
		if len(id) != 16 || !wellFormedID(id) || seen[id] {
			t.Fatalf("%q, after %d others", id, len(seen))
		}
		seen[id] = true
	}
}
