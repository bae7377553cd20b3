package server

import (
	"crypto/tls"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	"scimbox/auth"
	"scimbox/scim"
	"scimbox/server/config"
	"scimbox/server/control"
)

// measuring starts a server that shows its metrics.
func measuring(t *testing.T) *running {
	t.Helper()
	return start(t, func(c *config.Config) { c.Metrics.Listen = "127.0.0.1:0" })
}

// scrape reads the metrics as Prometheus does: every series by its name and labels.
func (r *running) scrape(t *testing.T) map[string]float64 {
	t.Helper()
	resp, err := http.Get(r.MetricsURL())
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != 200 {
		t.Fatalf("%s", resp.Status)
	}
	p := expfmt.NewTextParser(model.UTF8Validation)
	families, err := p.TextToMetricFamilies(resp.Body)
	if err != nil {
		t.Fatalf("what is shown cannot be read: %v", err)
	}
	all := map[string]float64{}
	for name, f := range families {
		for _, m := range f.GetMetric() {
			var labels []string
			for _, l := range m.GetLabel() {
				labels = append(labels, fmt.Sprintf("%s=%q", l.GetName(), l.GetValue()))
			}
			key := name
			if len(labels) > 0 {
				key += "{" + strings.Join(labels, ",") + "}"
			}
			switch f.GetType() {
			case dto.MetricType_COUNTER:
				all[key] = m.GetCounter().GetValue()
			case dto.MetricType_GAUGE:
				all[key] = m.GetGauge().GetValue()
			case dto.MetricType_HISTOGRAM:
				all[key+"_count"] = float64(m.GetHistogram().GetSampleCount())
			}
		}
	}
	return all
}

// A conversation, and what is counted of it.
func TestMetricsCount(t *testing.T) {
	s := measuring(t)
	before := s.scrape(t)
	id := regexp.MustCompile(`"id":"([^"]*)"`)
	user := func(name string) string {
		return `{"schemas":["urn:ietf:params:scim:schemas:core:2.0:User"],"userName":"` + name + `","favouriteColour":"green"}`
	}
	_, body := s.do(t, "POST", "/scim/v2/Users", user("ada"))
	ada := "/scim/v2/Users/" + id.FindStringSubmatch(body)[1]
	const search = `{"schemas":["urn:ietf:params:scim:api:messages:2.0:SearchRequest"],"count":1}`
	for _, q := range []struct {
		method, path, body string
		header             []string
		status             int
	}{
		{"POST", "/scim/v2/Users", user("ada"), nil, 409},
		{"GET", ada, "", nil, 200},
		{"HEAD", ada, "", nil, 200},
		{"GET", "/scim/v2/Users", "", nil, 200},
		{"GET", "/scim/v2/Users?filter=userName+eq+%22ada%22", "", nil, 200},
		{"POST", "/scim/v2/.search", search, nil, 200},
		{"POST", "/scim/v2/Users/.search", search, nil, 200},
		{"PUT", ada, user("ada2"), nil, 200},
		{"PATCH", ada, `{"schemas":["urn:ietf:params:scim:api:messages:2.0:PatchOp"],"Operations":[{"op":"replace","path":"active","value":false}]}`, nil, 200},
		{"DELETE", ada, "", nil, 204},
		{"POST", "/scim/v2/Bulk", `{"schemas":["urn:ietf:params:scim:api:messages:2.0:BulkRequest"],"Operations":[]}`, nil, 200},
		{"GET", "/scim/v2/Schemas", "", nil, 200},
		{"GET", "/scim/v2/Users", "", []string{"Authorization", ""}, 401},
		{"GET", "/scim/v2/Users", "", []string{"Authorization", "Bearer nothing"}, 401},
		{"POST", "/oauth/token", "grant_type=client_credentials", []string{"Content-Type", "application/x-www-form-urlencoded", "Authorization", "Basic YTpi"}, 401},
		{"GET", "/healthz", "", nil, 200},
		{"GET", "/nothing", "", nil, 404},
	} {
		if resp, text := s.do(t, q.method, q.path, q.body, q.header...); resp.StatusCode != q.status {
			t.Fatalf("%s %s: %s %s", q.method, q.path, resp.Status, text)
		}
	}
	after := s.scrape(t)
	want := map[string]float64{
		`scimbox_requests_total{code="201",operation="create"}`:    1,
		`scimbox_requests_total{code="409",operation="create"}`:    1,
		`scimbox_requests_total{code="200",operation="get"}`:       2,
		`scimbox_requests_total{code="200",operation="list"}`:      1,
		`scimbox_requests_total{code="401",operation="list"}`:      2,
		`scimbox_requests_total{code="200",operation="search"}`:    3,
		`scimbox_requests_total{code="200",operation="replace"}`:   1,
		`scimbox_requests_total{code="200",operation="patch"}`:     1,
		`scimbox_requests_total{code="204",operation="delete"}`:    1,
		`scimbox_requests_total{code="200",operation="bulk"}`:      1,
		`scimbox_requests_total{code="200",operation="discovery"}`: 1,
		`scimbox_requests_total{code="401",operation="oauth"}`:     1,
		`scimbox_requests_total{code="200",operation="health"}`:    1,
		`scimbox_requests_total{code="404",operation="other"}`:     1,

		`scimbox_request_duration_seconds{operation="search"}_count`: 3,
		`scimbox_request_duration_seconds{operation="list"}_count`:   3,
		`scimbox_authentication_failures_total{reason="none"}`:       1,
		`scimbox_authentication_failures_total{reason="wrong"}`:      2,
		`scimbox_unknown_attributes_total`:                           3, // of the refused one too
		`scimbox_journal_sequence`:                                   4,
	}
	for key, n := range want {
		if got := after[key] - before[key]; got != n {
			t.Errorf("%s has grown by %v, want %v", key, got, n)
		}
	}
	for key, n := range after {
		if strings.HasPrefix(key, "scimbox_requests_total") && want[key] != n {
			t.Errorf("%s is %v, and nobody asked that", key, n)
		}
	}
	// Changes and the uses of tokens are written by the same committer, which also asks itself for signs of life.
	if commits := after["scimbox_commit_duration_seconds_count"] - before["scimbox_commit_duration_seconds_count"]; commits < 4 {
		t.Errorf("%v commits for 4 changes", commits)
	}
	if after["scimbox_commit_duration_seconds_count"] != after["scimbox_commit_operations_count"] || after["scimbox_commit_failures_total"] != 0 {
		t.Error("commits are counted in two ways that differ")
	}
	for key, n := range map[string]float64{
		"scimbox_requests_in_flight": 0, "scimbox_connections_open": 1, "scimbox_connections_refused_total": 0, "scimbox_store_up": 1, "scimbox_read_only": 0,
		"scimbox_backup_interval_seconds": 86400, "scimbox_backup_failing": 0, "scimbox_series_left_out": 0,
		`scimbox_client_overdue{name="first-start",tenant="default",token="` + s.first.ID + `"}`: 0,
	} {
		if got, ok := after[key]; !ok || got != n {
			t.Errorf("%s is %v (%v), want %v", key, got, ok, n)
		}
	}
	token := `scimbox_token_expiry_timestamp_seconds{id="` + s.first.ID + `",kind="token",name="first-start",replaced="no",tenant="default"}`
	if got := after[token]; int64(got) != s.first.Expires.Unix() {
		t.Errorf("the token ends at %v, want %v", got, s.first.Expires)
	}
	if free, need := after["scimbox_disk_free_bytes"], after["scimbox_disk_free_needed_bytes"]; free < need || need != 352<<20 {
		t.Errorf("free %v, needed %v", free, need)
	}
	_, _ = s.do(t, "POST", "/scim/v2/Users", user("grace"))
	if got := s.scrape(t)[`scimbox_resources{tenant="default",type="User"}`]; got != 1 {
		t.Errorf("%v users, want 1", got)
	}
}

// Whatever clients make up, the series are the same, and nothing of it is in a label.
func TestMetricsDoNotGrow(t *testing.T) {
	s := start(t, func(c *config.Config) {
		c.Metrics.Listen, c.AllowPlainHTTP, c.Limits.RequestsPerAddress, c.Limits.RequestsPerToken = "127.0.0.1:0", true, 0, 0
	})
	names := func() []string { return slices.Sorted(maps.Keys(s.scrape(t))) }
	h := s.main().http.Handler
	ask := func(method, path, agent, token string) {
		q, err := http.NewRequestWithContext(t.Context(), method, "http://127.0.0.1"+path, strings.NewReader(`{}`))
		if err != nil {
			t.Fatal(err)
		}
		q.RemoteAddr = "192.0.2.7:99" // of one who is soon refused
		q.Header.Set("User-Agent", agent)
		q.Header.Set("Content-Type", "application/scim+json")
		q.Header.Set("Authorization", "Bearer "+token)
		h.ServeHTTP(new(nowhere), q)
	}
	several := func(from, to int) {
		for i := from; i < to; i++ {
			n := "ada" + strconv.Itoa(i)
			ask([]string{"GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS", "ADA" + n}[i%8],
				[]string{"/scim/v2/Users/", "/scim/v2/", "/scim/v2/Users?filter=", "/", "/scim/v2/" + n + "/", "/console/", "/oauth/"}[i%7]+n, n,
				[]string{s.secret, n}[i/56%2])
		}
	}
	several(0, 1000)
	before := names()
	several(1000, 11_000)
	after := names()
	if !slices.Equal(before, after) {
		t.Errorf("10,000 requests have made series: %d before, %d after", len(before), len(after))
		for _, n := range after {
			if !slices.Contains(before, n) {
				t.Log(n)
			}
		}
	}
	for _, n := range after {
		if strings.Contains(n, "ada") {
			t.Errorf("what a client has said is in %s", n)
		}
	}
}

// nowhere is where answers go that nobody reads.
type nowhere struct{ h http.Header }

func (n *nowhere) Header() http.Header {
	if n.h == nil {
		n.h = http.Header{}
	}
	return n.h
}
func (*nowhere) Write(b []byte) (int, error) { return len(b), nil }
func (*nowhere) WriteHeader(int)             {}

// A listener of the metrics has nothing else, and the others have no metrics.
func TestMetricsDoor(t *testing.T) {
	s := measuring(t)
	base := strings.TrimSuffix(s.MetricsURL(), "/metrics")
	for _, path := range []string{"/", scim.BasePath + "/Users", "/console/", "/healthz", "/readyz", auth.TokenPath, "/metrics/", "//metrics", "/debug/pprof/"} {
		if resp, text := fetch(t, http.DefaultClient, "GET", base+path, "Authorization", "Bearer "+s.secret); resp.StatusCode != 404 {
			t.Errorf("%s: %s %s", path, resp.Status, text)
		}
	}
	if resp, _ := fetch(t, http.DefaultClient, "POST", base+"/metrics"); resp.StatusCode != 405 || resp.Header.Get("Allow") != "GET, HEAD" {
		t.Errorf("POST: %s", resp.Status)
	}
	if resp, text := fetch(t, http.DefaultClient, "HEAD", base+"/metrics"); resp.StatusCode != 200 || text != "" {
		t.Errorf("HEAD: %s %q", resp.Status, text)
	}
	if resp, text := s.do(t, "GET", "/metrics", ""); resp.StatusCode != 404 || strings.Contains(text, "scimbox_") {
		t.Errorf("beside SCIM: %s %s", resp.Status, text)
	}
	if got := s.scrape(t)[`scimbox_requests_total{code="404",operation="other"}`]; got != 1 {
		t.Errorf("%v requests were counted, want the one to the listener of SCIM", got)
	}
}

func connect(t *testing.T, address string) net.Conn {
	t.Helper()
	c, err := new(net.Dialer).DialContext(t.Context(), "tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// Of those who are refused before anybody looks at what they want it is counted why.
func TestMetricsOfLimits(t *testing.T) {
	s, h, _ := rated(t, func(c *config.Config) {
		c.Metrics.Listen = "127.0.0.1:0"
		c.Limits.RequestsPerAddress, c.Limits.BurstPerAddress, c.Limits.RequestsPerToken, c.Limits.BurstPerToken = 1, 30, 1, 2
	})
	elsewhere := start(t, nil).secret // a token that could be one
	for range 4 {                     // two of them too many for the token
		from(h, "192.0.2.1:1", "GET", "/scim/v2/Users", s.secret)
	}
	for range 31 { // one too many for the address, and before that too many wrong ones
		from(h, "192.0.2.2:1", "GET", "/scim/v2/Users", elsewhere)
	}
	got := s.scrape(t)
	for key, want := range map[string]float64{
		`scimbox_rate_limited_total{limit="requests_per_token"}`:   2,
		`scimbox_rate_limited_total{limit="requests_per_address"}`: 1,
		`scimbox_requests_total{code="200",operation="list"}`:      2,
	} {
		if got[key] != want {
			t.Errorf("%s is %v, want %v", key, got[key], want)
		}
	}
	wrong, limited := got[`scimbox_authentication_failures_total{reason="wrong"}`], got[`scimbox_authentication_failures_total{reason="limited"}`]
	if wrong != 20 || limited != 10 {
		t.Errorf("%v wrong and %v limited, want 20 and 10", wrong, limited)
	}
}

// The connections of clients are counted, and take none from whoever reads the metrics.
func TestMetricsWhenClientsHaveAllConnections(t *testing.T) {
	s := start(t, func(c *config.Config) { c.Metrics.Listen, c.Limits.Connections = "127.0.0.1:0", 16 })
	for range 16 {
		c := connect(t, s.Address())
		defer c.Close()
		if _, err := io.WriteString(c, "GET "); err != nil { // not idle
			t.Fatal(err)
		}
	}
	for s.scrape(t)["scimbox_connections_open"] != 16 { // they are let in one after the other
	}
	c := connect(t, s.Address())
	defer c.Close()
	if _, err := io.ReadAll(c); err != nil && !strings.Contains(err.Error(), "reset") {
		t.Fatal(err)
	}
	if got := s.scrape(t)["scimbox_connections_refused_total"]; got != 1 {
		t.Errorf("%v connections were refused, want 1", got)
	}
}

// With TLS the metrics are plain on this machine, and encrypted elsewhere.
func TestMetricsAndTLS(t *testing.T) {
	for address, scheme := range map[string]string{"127.0.0.1:0": "http://", "0.0.0.0:0": "https://"} {
		o, log := options(t)
		o.Config.Hostname, o.Config.TLS.Mode, o.Config.Metrics.Listen = "localhost", "self-signed", address
		o.Config.TLS.HTTPListen = "off"
		s := serve(t, o, log)
		if u := s.MetricsURL(); !strings.HasPrefix(u, scheme) {
			t.Errorf("%s: %s", address, u)
		}
		// The certificate is that of another name than the one dialled, which is no matter here.
		c, err := tls.Dial("tcp", s.doors[1].Addr().String(), &tls.Config{InsecureSkipVerify: true})
		if encrypted := err == nil; encrypted != (scheme == "https://") {
			t.Errorf("%s speaks TLS: %v", address, encrypted)
		}
		if err == nil {
			_ = c.Close()
		}
		if scheme == "http://" {
			ends := slices.Sorted(maps.Keys(s.scrape(t)))
			if !slices.Contains(ends, `scimbox_certificate_expiry_timestamp_seconds{mode="self-signed",name="localhost"}`) {
				t.Errorf("no certificate in %q", ends)
			}
		}
	}
}

// Plain HTTP where others can reach it is refused as it is for SCIM, and answered to nobody but proxies where they are named.
func TestMetricsPlainHTTP(t *testing.T) {
	o, _ := options(t)
	o.Config.Metrics.Listen = "0.0.0.0:0"
	if s, err := Open(t.Context(), o); err == nil || !strings.Contains(err.Error(), "metrics.listen") && !strings.Contains(err.Error(), "plain HTTP") {
		t.Errorf("%v, %v", s, err)
	}
	if _, err := os.Stat(o.Config.Data); !os.IsNotExist(err) {
		t.Errorf("the data directory: %v", err)
	}
	o.Config.TrustedProxies = config.List{"192.0.2.1"}
	s := serve(t, o, nil)
	for from, status := range map[string]int{"192.0.2.1:1": 200, "192.0.2.2:1": 403, "127.0.0.1:1": 200} {
		q, err := http.NewRequestWithContext(t.Context(), "GET", "/metrics", http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		q.RemoteAddr = from
		w := &recorded{}
		if s.doors[len(s.doors)-1].http.Handler.ServeHTTP(w, q); w.status != status {
			t.Errorf("from %s: %d, want %d", from, w.status, status)
		}
	}
}

type recorded struct {
	nowhere
	status int
}

func (r *recorded) WriteHeader(n int) { r.status = n }

func (r *recorded) Write(b []byte) (int, error) {
	if r.status == 0 {
		r.status = 200
	}
	return len(b), nil
}

// A client with an OAuth secret has a name and a rhythm like any other; one whose token was replaced is not missed.
func TestContactsOfAllWhoMayCome(t *testing.T) {
	var now atomic.Int64 // hours are added while the server looks at it
	now.Store(time.Date(2026, 11, 25, 9, 0, 0, 0, time.UTC).UnixNano())
	o, log := options(t)
	o.tokenCost, o.Clock = 4, func() time.Time { return time.Unix(0, now.Load()).UTC() }
	s := serve(t, o, log)
	ctx := t.Context()
	create := func(name string) auth.Token {
		tok, _, err := s.house.Tokens.Create(ctx, auth.Spec{Name: name, Scope: auth.ScopeWrite, TTL: 90 * 24 * time.Hour}, control.Origin)
		if err != nil {
			t.Fatal(err)
		}
		return tok
	}
	client, _, err := s.house.Tokens.CreateClient(ctx, auth.Spec{Name: "gallery", Scope: auth.ScopeWrite, TTL: 90 * 24 * time.Hour}, control.Origin)
	if err != nil {
		t.Fatal(err)
	}
	rotated, revoked := create("rotated"), create("revoked")
	for range 5 {
		for _, id := range []string{client.ID, rotated.ID, revoked.ID} {
			s.house.log.Contact(id, "default", "192.0.2.7", "x", 0)
		}
		now.Add(int64(40 * time.Minute))
	}
	_, successor, _, err := s.house.Tokens.Rotate(ctx, rotated.ID, 7*24*time.Hour, 90*24*time.Hour, control.Origin)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.house.Tokens.Revoke(ctx, revoked.ID, control.Origin); err != nil {
		t.Fatal(err)
	}
	now.Add(int64(5 * time.Hour))
	look := func() map[string]control.ClientContact {
		l, err := s.contacts(ctx)
		if err != nil {
			t.Fatal(err)
		}
		all := map[string]control.ClientContact{}
		for _, c := range l {
			all[c.Token] = c
		}
		return all
	}
	all := look()
	if c := all[client.ID]; c.Name != "gallery" || !c.Overdue || c.Ended {
		t.Errorf("the OAuth client: %+v", c)
	}
	if c := all[rotated.ID]; !c.Overdue || c.Ended {
		t.Errorf("a token whose successor nobody uses: %+v", c)
	}
	if c := all[revoked.ID]; c.Overdue || !c.Ended || c.Name != "revoked" {
		t.Errorf("a revoked token: %+v", c)
	}
	s.house.log.Contact(successor.ID, "default", "192.0.2.7", "x", 0)
	if c := look()[rotated.ID]; c.Overdue || !c.Ended {
		t.Errorf("a token whose successor is used: %+v", c)
	}
}

// A request that needs no disk, with and without somebody who measures.
func BenchmarkMeasured(b *testing.B) {
	for _, listen := range []string{"", "127.0.0.1:0"} {
		b.Run("measured="+strconv.FormatBool(listen != ""), func(b *testing.B) {
			c := config.Default()
			c.Listen, c.Data, c.Metrics.Listen = "127.0.0.1:0", b.TempDir()+"/data", listen
			c.Limits.RequestsPerToken, c.Activity.Keep = 0, config.Duration{} // what is refused and kept is another matter
			s, err := Open(b.Context(), Options{Config: c})
			if err != nil {
				b.Fatal(err)
			}
			defer s.Close()
			_, secret, _ := s.FirstToken()
			h := s.main().http.Handler
			q, err := http.NewRequestWithContext(b.Context(), "GET", "http://127.0.0.1/scim/v2/Users/none", http.NoBody)
			if err != nil {
				b.Fatal(err)
			}
			q.RemoteAddr = "127.0.0.1:1"
			q.Header.Set("Authorization", "Bearer "+secret.Reveal())
			for b.Loop() {
				h.ServeHTTP(new(nowhere), q)
			}
		})
	}
}
