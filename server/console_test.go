package server

import (
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"strings"
	"testing"
)

// A browser on this machine that opens the server's address is led to the console; a program is told what is here. Of the
// link's code, and of what the page asks by itself, the log has nothing to read.
func TestConsole(t *testing.T) {
	s := start(t, nil)
	base := "http://" + s.Address()
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	browser := &http.Client{Jar: jar, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	defer browser.CloseIdleConnections()
	ask := func(method, address string, form url.Values, header ...string) (*http.Response, string) {
		t.Helper()
		r, err := http.NewRequestWithContext(t.Context(), method, address, strings.NewReader(form.Encode()))
		if err != nil {
			t.Fatal(err)
		}
		if method == "POST" {
			r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
			r.Header.Set("Origin", base)
		}
		for i := 0; i < len(header); i += 2 {
			r.Header.Set(header[i], header[i+1])
		}
		resp, err := browser.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		return resp, string(body)
	}
	if r, _ := ask("GET", base+"/", nil, "Accept", "text/html,*/*"); r.StatusCode != 303 || r.Header.Get("Location") != "/console/" {
		t.Errorf("a browser at /: %d to %q", r.StatusCode, r.Header.Get("Location"))
	}
	if r, body := ask("GET", base+"/", nil); r.StatusCode != 200 || !strings.Contains(body, "Console       "+base+"/console/\n") {
		t.Errorf("a program at /: %d %s", r.StatusCode, body)
	}
	if r, _ := ask("GET", base+"/console", nil); r.StatusCode != 303 {
		t.Errorf("/console: %d", r.StatusCode)
	}
	link := s.ConsoleLink()
	_, code, _ := strings.Cut(link.URL, "code=")
	if r, body := ask("GET", link.URL, nil, "Accept-Encoding", "gzip"); r.StatusCode != 200 || r.Header.Get("X-Request-Id") == "" {
		t.Errorf("the link: %d %s", r.StatusCode, body)
	}
	if r, _ := ask("POST", base+"/console/sign-in", url.Values{"code": {code}}); r.StatusCode != 303 {
		t.Fatalf("sign-in: %d", r.StatusCode)
	}
	// What a client sends is seen by the light, and what opens the console opens no SCIM.
	if r, _ := ask("GET", s.TenantURL()+"/Users", nil); r.StatusCode != 401 {
		t.Errorf("SCIM with the cookie: %d", r.StatusCode)
	}
	if _, body := ask("GET", base+"/console/t/default/connect/light", nil, "X-Partial", "live"); !strings.Contains(body, "The request had no token") {
		t.Errorf("the light: %s", body)
	}
	if err := s.house.log.Sync(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, body := ask("GET", base+"/console/t/default/activity?all=yes", nil); !strings.Contains(body, "was not let in") {
		t.Errorf("activity: %s", body)
	}
	if r, body := ask("GET", base+"/console/health", nil); r.StatusCode != 200 || !strings.Contains(body, "scimbox 1.2.3, started") {
		t.Errorf("health: %d %s", r.StatusCode, body)
	}
	if err := s.stop(); err != nil {
		t.Error(err)
	}
	log := s.log.String()
	if strings.Contains(log, code) || !strings.Contains(log, `"path":"/console/sign-in"`) {
		t.Errorf("the log has the code, or not the path:\n%s", log)
	}
	for line := range strings.Lines(log) {
		if strings.Contains(line, "/connect/light") && !strings.Contains(line, `"level":"DEBUG"`) {
			t.Errorf("what a page asks by itself fills the log: %s", line)
		}
	}
}
