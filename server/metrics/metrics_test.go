package metrics

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"go.uber.org/goleak"

	"scimbox/activity"
	"scimbox/auth"
	"scimbox/backup"
	"scimbox/server/control"
	"scimbox/storage"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var now = time.Date(2026, 11, 25, 9, 0, 0, 0, time.UTC)

// full is a state of which everything is shown.
func full() *State {
	return &State{
		Connections: Connections{3, 1}, Free: 5 << 30, Need: 352 << 20, Looks: true,
		Store: &storage.Stats{Seq: 90, First: 7, DiskSize: 1 << 20, Counts: map[string]map[string]int64{
			"default": {"User": 3, "Group": 1, "$password": 3}, "$system": {"token": 4},
		}},
		Certificates: []control.Certificate{{Mode: "acme", Names: []string{"scim.example.com"}, NotAfter: now.Add(time.Hour), Problem: "no answer"}},
		Deadlines: []auth.Deadline{
			{ID: "aaaaaaaaaaaa", Name: "entra", Tenant: "default", Expires: now.Add(48 * time.Hour)},
			{ID: "bbbbbbbbbbbb", Client: "cccccccccccc", Name: "gallery", Tenant: "acme", Expires: now.Add(72 * time.Hour)},
			{ID: "dddddddddddd", Name: "old", Tenant: "default", Expires: now.Add(96 * time.Hour), Successor: "aaaaaaaaaaaa", Rotated: now},
		},
		Contacts: []control.ClientContact{
			{Contact: activity.Contact{Token: "aaaaaaaaaaaa", Tenant: "default", Last: now, Rhythm: activity.Seconds{Duration: 40 * time.Minute}, Client: "192.0.2.7", Agent: "grace"}, Name: "entra", Overdue: true},
			{Contact: activity.Contact{Token: "eeeeeeeeeeee", Tenant: "default", Last: now}, Name: "revoked", Ended: true},
		},
		Backups:     backup.State{Kept: 2, Last: &backup.Done{Created: now, Size: 99}, Failure: &backup.Failure{At: now}, Failures: 4},
		BackupEvery: 24 * time.Hour, Activity: activity.Stats{Size: 8, Dropped: 2, Suppressed: 3}, Unknown: 6,
		Guards: []control.Guard{{Tenant: "default", State: "holding", Count: 498, Most: 500, Held: "delete of the User grace", Actor: "aaaaaaaaaaaa"}},
	}
}

// busy returns metrics of which every one has a value.
func busy(state *State) *Metrics {
	m := New(Options{Version: "1.2.3", State: func(context.Context) *State { return state }})
	m.Begin()
	m.Done(Create, 201, time.Millisecond)
	m.Refused(Wrong)
	m.Exceeded(PerToken)
	m.Commit(storage.Commit{Operations: 3, Took: time.Millisecond})
	m.Commit(storage.Commit{Operations: 1, Took: time.Millisecond, Failed: true})
	return m
}

// series returns what is shown, with the value of each, or the count if it is a histogram.
func series(t *testing.T, m *Metrics) map[string]float64 {
	t.Helper()
	families, err := m.registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]float64{}
	for _, f := range families {
		for _, one := range f.GetMetric() {
			key := f.GetName()
			for _, l := range one.GetLabel() {
				key += " " + l.GetName() + "=" + l.GetValue()
			}
			switch f.GetType() {
			case dto.MetricType_HISTOGRAM:
				all[key] = float64(one.GetHistogram().GetSampleCount())
			case dto.MetricType_COUNTER:
				all[key] = one.GetCounter().GetValue()
			default:
				all[key] = one.GetGauge().GetValue()
			}
		}
	}
	return all
}

func TestState(t *testing.T) {
	got := series(t, busy(full()))
	for key, want := range map[string]float64{
		"scimbox_requests_total code=201 operation=create":    1,
		"scimbox_requests_in_flight":                          0,
		"scimbox_commit_duration_seconds":                     1,
		"scimbox_commit_operations":                           1,
		"scimbox_commit_failures_total":                       1,
		"scimbox_authentication_failures_total reason=wrong":  1,
		"scimbox_rate_limited_total limit=requests_per_token": 1,

		"scimbox_connections_open": 3, "scimbox_connections_refused_total": 1,
		"scimbox_store_up": 1, "scimbox_journal_sequence": 90, "scimbox_journal_first_sequence": 7, "scimbox_store_size_bytes": 1 << 20,
		"scimbox_disk_free_bytes": 5 << 30, "scimbox_disk_free_needed_bytes": 352 << 20, "scimbox_read_only": 0,
		"scimbox_resources tenant=default type=User": 3, "scimbox_resources tenant=default type=Group": 1,
		"scimbox_certificate_expiry_timestamp_seconds mode=acme name=scim.example.com": float64(now.Add(time.Hour).Unix()),
		"scimbox_certificate_problem mode=acme name=scim.example.com":                  1,

		"scimbox_token_expiry_timestamp_seconds id=aaaaaaaaaaaa kind=token name=entra replaced=no tenant=default": float64(now.Add(48 * time.Hour).Unix()),
		"scimbox_token_expiry_timestamp_seconds id=bbbbbbbbbbbb kind=secret name=gallery replaced=no tenant=acme": float64(now.Add(72 * time.Hour).Unix()),
		"scimbox_token_expiry_timestamp_seconds id=dddddddddddd kind=token name=old replaced=yes tenant=default":  float64(now.Add(96 * time.Hour).Unix()),

		"scimbox_client_last_contact_timestamp_seconds name=entra tenant=default token=aaaaaaaaaaaa": float64(now.Unix()),
		"scimbox_client_rhythm_seconds name=entra tenant=default token=aaaaaaaaaaaa":                 2400,
		"scimbox_client_overdue name=entra tenant=default token=aaaaaaaaaaaa":                        1,

		"scimbox_backup_interval_seconds": 86400, "scimbox_backup_last_timestamp_seconds": float64(now.Unix()), "scimbox_backup_last_size_bytes": 99,
		"scimbox_backups_kept": 2, "scimbox_backup_failing": 1, "scimbox_backup_failures_total": 4,
		"scimbox_activity_size_bytes": 8, "scimbox_activity_dropped_total": 2, "scimbox_activity_suppressed_total": 3,
		"scimbox_unknown_attributes_total": 6, "scimbox_series_left_out": 0,
		"scimbox_guard_state state=holding tenant=default": 1, "scimbox_guard_state state=armed tenant=default": 0,
		"scimbox_guard_state state=rejected tenant=default": 0, "scimbox_guard_state state=approved tenant=default": 0,
		"scimbox_guard_changes tenant=default": 498, "scimbox_guard_changes_allowed tenant=default": 500,
	} {
		if v, ok := got[key]; !ok || v != want {
			t.Errorf("%s: %v (shown: %v), want %v", key, v, ok, want)
		}
	}
	for key := range got {
		for _, not := range []string{"$", "192.0.2.7", "grace", "revoked"} {
			if strings.Contains(key, not) {
				t.Errorf("%s has %q in it", key, not)
			}
		}
	}
}

// What is not known is not shown, so that nobody takes it for a 0.
func TestUnknownState(t *testing.T) {
	got := series(t, busy(&State{}))
	if v, ok := got["scimbox_store_up"]; !ok || v != 0 {
		t.Errorf("a store that cannot be read is up: %v, %v", v, ok)
	}
	for key := range got {
		for _, not := range []string{"journal", "disk_free", "store_size", "resources", "backup_last", "certificate", "token", "client", "guard"} {
			if strings.HasPrefix(key, "scimbox_"+not) {
				t.Errorf("%s is shown", key)
			}
		}
	}
}

// However many tenants, tokens and clients there are, what is shown has an end; and resources are all counted.
func TestBoundedState(t *testing.T) {
	const many = 10_000
	s := full()
	s.Store.Counts, s.Deadlines, s.Contacts = map[string]map[string]int64{}, nil, nil
	for i := range many {
		name := fmt.Sprintf("t%05d", i)
		s.Store.Counts[name] = map[string]int64{"User": 1}
		s.Deadlines = append(s.Deadlines, auth.Deadline{ID: name, Name: name, Tenant: name, Expires: now.Add(time.Duration(i) * time.Hour)})
		s.Guards = append(s.Guards, control.Guard{Tenant: name, State: "armed", Count: i % 5, Most: 20})
		s.Contacts = append(s.Contacts, control.ClientContact{Contact: activity.Contact{Token: name, First: now.Add(time.Duration(i)), Last: now, Rhythm: activity.Seconds{Duration: 1}}})
	}
	s.Guards[778].State, s.Guards[779].State = "rejected", "holding"
	s.Store.Counts["t00777"]["User"] = 1000 // the largest is among those that are shown
	s.Certificates = append(s.Certificates, s.Certificates[0])
	got := series(t, busy(s))
	sum, n := 0.0, 0
	for key, v := range got {
		if strings.HasPrefix(key, "scimbox_resources ") {
			sum += v
		}
		if strings.HasPrefix(key, "scimbox_") {
			n++
		}
	}
	if sum != many+999 || got["scimbox_resources tenant=t00777 type=User"] != 1000 || got["scimbox_resources tenant="+others+" type=User"] != many-most {
		t.Errorf("%v resources, want %v; %v of others", sum, many+999, got["scimbox_resources tenant="+others+" type=User"])
	}
	if left := got["scimbox_series_left_out"]; left != 4*(many-most)+1+1 {
		t.Errorf("%v left out", left)
	}
	if n > 13*most {
		t.Errorf("%d series", n)
	}
	if _, ok := got["scimbox_token_expiry_timestamp_seconds id=t00000 kind=token name=t00000 replaced=no tenant=t00000"]; !ok {
		t.Error("the token that ends first is left out")
	}
	for _, key := range []string{"state=rejected tenant=t00777", "state=holding tenant=t00778", "state=holding tenant=default", "state=armed tenant=t00004"} {
		if got["scimbox_guard_state "+key] != 1 {
			t.Errorf("the guard that somebody should look at is left out: %s", key)
		}
	}
}

// A status that is none, and one of a client's own making, are one.
func TestStatuses(t *testing.T) {
	m := New(Options{State: func(context.Context) *State { return &State{} }})
	for _, code := range []int{0, -1, 99, 600, 1000, 200, 599} {
		m.Begin()
		m.Done(Other, code, 0)
	}
	got := series(t, m)
	for key, want := range map[string]float64{"0": 5, "200": 1, "599": 1} {
		if v := got["scimbox_requests_total code="+key+" operation=other"]; v != want {
			t.Errorf("%s: %v, want %v", key, v, want)
		}
	}
}

func TestOperations(t *testing.T) {
	for what, want := range map[string]Operation{
		"GET /Users": List, "GET /Users/": List, "HEAD /Groups": List, "GET /Users/1": Get, "HEAD /Users/1": Get, "GET /Me": Get, "GET ": List, "GET /": List,
		"GET /Users?": Search, "GET /Users/1?": Get, "POST /Users": Create, "POST /Users/.search": Search, "POST /.search": Search,
		"PUT /Users/1": Replace, "PATCH /Users/1": Patch, "PATCH /Me": Patch, "DELETE /Users/1": Delete, "POST /Bulk": Bulk,
		"GET /ServiceProviderConfig": Discovery, "GET /Schemas": Discovery, "GET /Schemas/urn:x": Discovery, "GET /ResourceTypes/User": Discovery,
		"OPTIONS /Users": Other, "ADA /Users": Other,
	} {
		method, path, _ := strings.Cut(what, " ")
		path, filtered := strings.CutSuffix(path, "?")
		if got := OperationOf(method, path, filtered); got != want {
			t.Errorf("%s: %s, want %s", what, operationNames[got], operationNames[want])
		}
	}
	for op, name := range operationNames {
		if name == "" {
			t.Errorf("operation %d has no name", op)
		}
	}
}

// Metrics that are off count nothing, at no cost to whoever counts.
func TestOff(t *testing.T) {
	var m *Metrics
	m.Begin()
	m.Done(Get, 200, time.Second)
	m.Refused(Wrong)
	m.Commit(storage.Commit{})
}

// exposed are the names of our metrics and their types.
func exposed(t *testing.T) map[string]string {
	t.Helper()
	families, err := busy(full()).registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]string{}
	for _, f := range families {
		if name := f.GetName(); strings.HasPrefix(name, namespace+"_") {
			all[name] = strings.ToLower(f.GetType().String())
		} else if !strings.HasPrefix(name, "go_") && !strings.HasPrefix(name, "process_") {
			t.Errorf("%s is neither ours nor of the process", name)
		}
	}
	return all
}

const docs = "../../docs/"

var row = regexp.MustCompile("(?m)^\\| `(scimbox_[a-z_]+)` \\| (counter|gauge|histogram) \\|([^|]*)\\|")

// docs/metrics.md lists what is shown: each metric with its type and its labels, and no other.
func TestDocumented(t *testing.T) {
	text, err := os.ReadFile(docs + "metrics.md")
	if err != nil {
		t.Fatal(err)
	}
	labels := map[string]string{}
	families, err := busy(full()).registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		var l []string
		for _, p := range f.GetMetric()[0].GetLabel() {
			l = append(l, "`"+p.GetName()+"`")
		}
		slices.Sort(l)
		labels[f.GetName()] = strings.Join(l, " ")
	}
	documented := map[string]bool{}
	all := exposed(t)
	for _, m := range row.FindAllStringSubmatch(string(text), -1) {
		name, kind := m[1], m[2]
		l := strings.Fields(strings.ReplaceAll(m[3], ",", ""))
		slices.Sort(l)
		switch {
		case documented[name]:
			t.Errorf("%s is listed twice", name)
		case all[name] == "":
			t.Errorf("%s is listed and not shown", name)
		case all[name] != kind || labels[name] != strings.Join(l, " "):
			t.Errorf("%s is listed as a %s with %q, and is a %s with %q", name, kind, l, all[name], labels[name])
		}
		documented[name] = true
	}
	for name := range all {
		if !documented[name] {
			t.Errorf("%s is shown and not listed", name)
		}
	}
}

var used = regexp.MustCompile(`scimbox_[a-z_]+`)

// What the dashboard and the alerts ask for is there.
func TestNamesInDashboardAndAlerts(t *testing.T) {
	all := exposed(t)
	for name, kind := range exposed(t) {
		if kind == "histogram" {
			for _, part := range []string{"_bucket", "_sum", "_count"} {
				all[name+part] = kind
			}
			delete(all, name)
		}
	}
	for _, file := range []string{docs + "alerts.yml", docs + "grafana/scimbox.json"} {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		names := used.FindAllString(string(text), -1)
		if len(names) < 10 {
			t.Errorf("%s asks for %d metrics", file, len(names))
		}
		for _, name := range names {
			if all[name] == "" {
				t.Errorf("%s asks for %s, which is not there", file, name)
			}
		}
	}
}

// The dashboard can be imported: it is JSON, its panels have queries and lie beside each other, and it names no data source of
// somebody's own.
func TestDashboard(t *testing.T) {
	text, err := os.ReadFile(docs + "grafana/scimbox.json")
	if err != nil {
		t.Fatal(err)
	}
	type place struct{ X, Y, W, H int }
	var d struct {
		Title, UID string
		Panels     []struct {
			ID          int
			Title, Type string
			Datasource  struct{ UID string }
			GridPos     place
			Targets     []struct{ Expr string }
		}
	}
	if err := json.Unmarshal(text, &d); err != nil {
		t.Fatal(err)
	}
	if d.Title == "" || d.UID == "" || len(d.Panels) < 10 {
		t.Errorf("%q %q with %d panels", d.Title, d.UID, len(d.Panels))
	}
	ids, taken := map[int]bool{}, map[[2]int]string{}
	for _, p := range d.Panels {
		if p.Title == "" || ids[p.ID] {
			t.Errorf("panel %d %q: no title, or its id is another's", p.ID, p.Title)
		}
		ids[p.ID] = true
		for x := p.GridPos.X; x < p.GridPos.X+p.GridPos.W; x++ {
			for y := p.GridPos.Y; y < p.GridPos.Y+p.GridPos.H; y++ {
				if other := taken[[2]int{x, y}]; other != "" || x >= 24 {
					t.Fatalf("%q lies over %q, or outside", p.Title, other)
				}
				taken[[2]int{x, y}] = p.Title
			}
		}
		if p.Type == "row" {
			continue
		}
		if p.Datasource.UID != "${datasource}" || len(p.Targets) == 0 {
			t.Errorf("%q asks %q for %d things", p.Title, p.Datasource.UID, len(p.Targets))
		}
		for _, q := range p.Targets {
			if !used.MatchString(q.Expr) && !strings.Contains(q.Expr, "process_") && !strings.Contains(q.Expr, "go_") {
				t.Errorf("%q asks for %q", p.Title, q.Expr)
			}
		}
	}
}

// What is shown can be read by Prometheus and follows its conventions; the alerts are rules, and fire when they are to.
func TestPromtool(t *testing.T) {
	promtool, err := exec.LookPath("promtool")
	if err != nil {
		t.Skip("promtool is not installed (Debian: apt-get install prometheus); the alert rules were not tried")
	}
	w := httptest.NewRecorder()
	m := New(Options{State: func(context.Context) *State { return full() }})
	m.Commit(storage.Commit{Operations: 1})
	m.Handler().ServeHTTP(w, httptest.NewRequest("GET", Path, nil))
	ours := ""
	for line := range strings.Lines(w.Body.String()) {
		if strings.Contains(line, namespace+"_") {
			ours += line
		}
	}
	rules, err := filepath.Abs(docs + "alerts.yml")
	if err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{
		{"check", "metrics"}, {"check", "rules", rules}, {"check", "rules", dashboardRules(t)}, {"test", "rules", "testdata/alerts.yml"},
	} {
		cmd := exec.CommandContext(t.Context(), promtool, args...)
		cmd.Stdin = strings.NewReader(ours)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("promtool %s: %v\n%s", strings.Join(args, " "), err, out)
		}
	}
}

// dashboardRules writes what the dashboard asks for as rules, because promtool knows no dashboards.
func dashboardRules(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile(docs + "grafana/scimbox.json")
	if err != nil {
		t.Fatal(err)
	}
	var d struct {
		Panels []struct{ Targets []struct{ Expr string } }
	}
	if err := json.Unmarshal(text, &d); err != nil {
		t.Fatal(err)
	}
	type rule struct {
		Record string `json:"record"`
		Expr   string `json:"expr"`
	}
	var rules []rule
	for _, p := range d.Panels {
		for _, q := range p.Targets {
			rules = append(rules, rule{fmt.Sprintf("panel:%d", len(rules)), strings.ReplaceAll(q.Expr, "$__rate_interval", "5m")})
		}
	}
	type group struct {
		Name  string `json:"name"`
		Rules []rule `json:"rules"`
	}
	out, err := json.Marshal(map[string][]group{"groups": {{"dashboard", rules}}}) // JSON is YAML
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "dashboard.yml")
	if err := os.WriteFile(file, out, 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// Each rule has an example of when it fires and when it does not, and is known to those who are woken by it.
func TestEveryAlertIsTried(t *testing.T) {
	read := func(file string) string {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	examples, guide := read("testdata/alerts.yml"), read(docs+"metrics.md")
	alerts := regexp.MustCompile(`alert: (\w+)`).FindAllStringSubmatch(read(docs+"alerts.yml"), -1)
	if len(alerts) < 10 {
		t.Errorf("%d rules", len(alerts))
	}
	for _, a := range alerts {
		if !strings.Contains(examples, "alertname: "+a[1]+", exp_alerts: []") {
			t.Errorf("no example of a server that is well without %s", a[1])
		}
		if !strings.Contains(examples, `alertname="`+a[1]+`"`) && !strings.Contains(examples, "alertname: "+a[1]+"\n") {
			t.Errorf("no example that %s fires", a[1])
		}
		if !strings.Contains(guide, "`"+a[1]+"`") {
			t.Errorf("docs/metrics.md does not say what to do about %s", a[1])
		}
	}
}

// A scrape while another hangs is answered; too many are refused.
func TestManyScrapes(t *testing.T) {
	hang, inside := make(chan struct{}), make(chan struct{}, scrapes)
	m := New(Options{State: func(context.Context) *State { inside <- struct{}{}; <-hang; return &State{} }})
	h := m.Handler()
	codes := make(chan int, scrapes)
	for range scrapes {
		go func() {
			w := httptest.NewRecorder()
			h.ServeHTTP(w, httptest.NewRequest("GET", Path, nil))
			codes <- w.Code
		}()
	}
	for range scrapes {
		<-inside
	}
	w := httptest.NewRecorder()
	if h.ServeHTTP(w, httptest.NewRequest("GET", Path, nil)); w.Code != 503 {
		t.Errorf("one more: %d", w.Code)
	}
	close(hang)
	for range scrapes {
		if code := <-codes; code != 200 {
			t.Errorf("one that hung: %d", code)
		}
	}
}

// What is counted while requests are answered costs less than a microsecond of each; the least that a request takes is tens.
func BenchmarkRequest(b *testing.B) {
	m := New(Options{State: func(context.Context) *State { return &State{} }})
	b.ReportAllocs()
	for b.Loop() {
		m.Begin()
		m.Done(Patch, 200, 300*time.Microsecond)
	}
}

func BenchmarkCommit(b *testing.B) {
	m := New(Options{State: func(context.Context) *State { return &State{} }})
	b.ReportAllocs()
	for b.Loop() {
		m.Commit(storage.Commit{Operations: 3, Took: time.Millisecond})
	}
}

var _ prometheus.Collector = (*house)(nil)
