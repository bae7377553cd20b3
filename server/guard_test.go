package server

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"scimbox/scim"
	"scimbox/server/config"
	"scimbox/server/control"
)

// A guard that begins to hold is told of wherever an operator may look: once in the log, in the activity, in status and in the
// metrics; and again in the log of the next start, as long as nobody has decided.
func TestGuardTells(t *testing.T) {
	o, log := options(t)
	o.Config.Guard.Enabled, o.Config.Guard.MaxChanges, o.Config.Metrics.Listen = true, 1, "127.0.0.1:0"
	s := serve(t, o, log)
	id := regexp.MustCompile(`"id":"([^"]*)"`)
	var ids []string
	for _, name := range []string{"a", "b", "c"} {
		_, body := s.do(t, "POST", "/scim/v2/Users", `{"schemas":["urn:ietf:params:scim:schemas:core:2.0:User"],"userName":"`+name+`"}`)
		ids = append(ids, id.FindStringSubmatch(body)[1])
	}
	state := func(s *running, state string) float64 {
		return s.scrape(t)[`scimbox_guard_state{state="`+state+`",tenant="default"}`]
	}
	if state(s, "armed") != 1 || state(s, "holding") != 0 {
		t.Error("it is not armed")
	}
	for i, want := range []int{204, 429, 429} {
		if resp, body := s.do(t, "DELETE", "/scim/v2/Users/"+ids[i], ""); resp.StatusCode != want {
			t.Fatalf("deletion %d: %s %s", i, resp.Status, body)
		}
	}
	if state(s, "armed") != 0 || state(s, "holding") != 1 || s.scrape(t)[`scimbox_guard_changes{tenant="default"}`] != 1 || s.scrape(t)[`scimbox_guard_changes_allowed{tenant="default"}`] != 1 {
		t.Error("the metrics do not say that it holds, or what it has counted")
	}
	const begins = "the guard against mass changes holds back"
	if n := strings.Count(log.String(), begins); n != 1 {
		t.Errorf("the log says %d times that it holds", n)
	}
	for line := range strings.Lines(log.String()) {
		if strings.Contains(line, begins) && (!strings.Contains(line, `"level":"WARN"`) || !strings.Contains(line, "delete of the User "+ids[1]) || !strings.Contains(line, s.firstID())) {
			t.Errorf("the log says neither what was held nor for whom: %s", line)
		}
	}
	client, err := control.Connect(t.Context(), o.Config.Data, o.Version)
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	status, err := client.Status(t.Context())
	if err != nil || len(status.Guards) != 1 || status.Guards[0].State != "holding" || status.Guards[0].Held != "delete of the User "+ids[1] || status.Guards[0].Actor != s.firstID() {
		t.Errorf("status: %+v, %v", status.Guards, err)
	}
	entries, err := s.house.Store.Journal(t.Context(), 0, 1000)
	if err != nil {
		t.Fatal(err)
	}
	held := 0
	for _, e := range entries {
		if e.Op == "hold" && e.Actor == s.firstID() && e.Request != "" {
			held++
		}
	}
	if held != 1 {
		t.Errorf("the journal says %d times that it holds", held)
	}
	if err := s.stop(); err != nil {
		t.Fatal(err)
	}

	const on = "the guard against mass changes goes on holding back"
	if strings.Contains(log.String(), on) {
		t.Error("a start that holds nothing says that it does")
	}
	again := serve(t, o, log)
	if !strings.Contains(log.String(), on) || state(again, "holding") != 1 {
		t.Error("the next start does not say that somebody has to decide")
	}
}

// What the example's one line turns on is what docs/operating.md promises, and what the tests of package scim go by; and without
// it there is no guard.
func TestGuardDefaults(t *testing.T) {
	o := Options{Config: config.Default()}
	if got := o.guard(); got != (scim.GuardOptions{}) {
		t.Errorf("it is on by default: %+v", got)
	}
	text, err := os.ReadFile("../config.example.toml")
	if err != nil {
		t.Fatal(err)
	}
	section := strings.Index(string(text), "\n[guard]\n")
	on := string(text[:section]) + strings.Replace(string(text[section:]), "\nenabled = false\n", "\nenabled = true\n", 1)
	for name, text := range map[string]string{"the example's line": on, "a file of nothing else": "[guard]\nenabled = true\n"} {
		file := filepath.Join(t.TempDir(), "scimbox.toml")
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		l, err := config.Load(config.Options{File: file})
		if err != nil {
			t.Fatal(err)
		}
		o.Config = l.Config
		if got, want := o.guard(), (scim.GuardOptions{MaxChanges: 500, MaxPercent: 25, Window: time.Hour}); got != want {
			t.Errorf("%s: %+v, want %+v", name, got, want)
		}
	}
}

// firstID is the id of the token that the first start has made.
func (r *running) firstID() string {
	tok, _, _ := r.FirstToken()
	return tok.ID
}
