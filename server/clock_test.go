package server

import (
	"encoding/json"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"scimbox/server/config"
)

// The clock is set back by a day, and forward, while a client is at work: versions and times of change go on, cursors live as
// long as they were to at least, and a token is in force until its last moment, whatever day that is, and for a request that
// was let in before it.
func TestClockJumps(t *testing.T) {
	var offset atomic.Int64
	midnight := time.Date(2026, 12, 31, 24, 0, 0, 0, time.UTC)
	begin := midnight.Add(-48 * time.Hour)
	o, log := options(t)
	o.Clock = func() time.Time { return begin.Add(time.Duration(offset.Load())) }
	o.Config.Tokens.Lifetime = config.Duration{Duration: 48 * time.Hour}
	s := serve(t, o, log)
	type user struct {
		ID   string
		Meta struct {
			LastModified time.Time
			Version      string
		}
	}
	read := func(method, path, body string, status int) (u user, text string) {
		t.Helper()
		resp, text := s.do(t, method, "/scim/v2"+path, body)
		if resp.StatusCode != status {
			t.Fatalf("%s %s: %s\n%s", method, path, resp.Status, text)
		}
		if err := json.Unmarshal([]byte(text), &u); err != nil {
			t.Fatal(err)
		}
		return u, text
	}
	u, _ := read("POST", "/Users", `{"userName":"ada"}`, http.StatusCreated)
	read("POST", "/Users", `{"userName":"ben"}`, http.StatusCreated)
	_, page := read("GET", "/Users?count=1&cursor=", "", http.StatusOK)
	var walk struct{ NextCursor string }
	if err := json.Unmarshal([]byte(page), &walk); err != nil || walk.NextCursor == "" {
		t.Fatal(page)
	}
	for i, jump := range []time.Duration{-24 * time.Hour, -25 * time.Hour, 0, time.Second} {
		offset.Store(int64(jump))
		title := strings.Repeat("x", i+1)
		now, _ := read("PUT", "/Users/"+u.ID, `{"userName":"ada","title":"`+title+`"}`, http.StatusOK)
		if !now.Meta.LastModified.After(u.Meta.LastModified) || now.Meta.Version == u.Meta.Version {
			t.Errorf("the clock at %v: changed at %v, version %s, after %v, %s", jump, now.Meta.LastModified, now.Meta.Version, u.Meta.LastModified, u.Meta.Version)
		}
		u = now
		read("GET", "/Users?count=1&cursor="+url.QueryEscape(walk.NextCursor), "", http.StatusOK)
	}
	// At midnight of the last day of a year, not a moment sooner.
	for _, c := range []struct {
		before time.Duration
		status int
	}{{time.Microsecond, http.StatusOK}, {0, http.StatusUnauthorized}, {-time.Hour, http.StatusUnauthorized}} {
		offset.Store(int64(48*time.Hour - c.before))
		if resp, text := s.do(t, "GET", "/scim/v2/Users", ""); resp.StatusCode != c.status {
			t.Errorf("%v before the end: %s\n%s", c.before, resp.Status, text)
		}
	}
}
