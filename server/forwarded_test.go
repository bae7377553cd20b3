package server

import (
	"crypto/tls"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"

	"scimbox/scim"
	"scimbox/server/config"
)

var proxies = []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("fd00::/8"), netip.MustParsePrefix("fe80::/10")}

// request is one that comes from an address with headers, each "Name: value".
func requestFrom(remote string, headers ...string) *http.Request {
	r := httptest.NewRequest("GET", "http://inside:8080/scim/v2/Users", nil)
	r.RemoteAddr = remote
	for _, h := range headers {
		name, value, _ := strings.Cut(h, ":")
		r.Header.Add(name, strings.TrimSpace(value))
	}
	return r
}

func TestSource(t *testing.T) {
	const proxy = "10.0.0.1:4711"
	for _, tt := range []struct {
		name    string
		remote  string
		headers []string
		want    string // address scheme://host
	}{
		{"no proxy", "192.0.2.1:1", nil, "192.0.2.1 http://inside:8080"},
		{"somebody who claims to be one", "192.0.2.1:1", []string{"X-Forwarded-For: 198.51.100.7", "X-Forwarded-Proto: https", "X-Forwarded-Host: evil.example", "Forwarded: for=198.51.100.7;proto=https"}, "192.0.2.1 http://inside:8080"},
		{"a proxy that says nothing", proxy, nil, "10.0.0.1 http://inside:8080"},
		{"a scheme without an address", proxy, []string{"X-Forwarded-Proto: https"}, "10.0.0.1 http://inside:8080"},
		{"one hop", proxy, []string{"X-Forwarded-For: 198.51.100.7", "X-Forwarded-Proto: HTTPS", "X-Forwarded-Host: scim.example.com"}, "198.51.100.7 https://scim.example.com"},
		{"a lie before it", proxy, []string{"X-Forwarded-For: 203.0.113.1, 198.51.100.7"}, "198.51.100.7 http://inside:8080"},
		{"two proxies", proxy, []string{"X-Forwarded-For: 203.0.113.1, 198.51.100.7, 10.0.0.2"}, "198.51.100.7 http://inside:8080"},
		{"several headers are one list", proxy, []string{"X-Forwarded-For: 203.0.113.1", "X-Forwarded-For: 198.51.100.7", "X-Forwarded-For: 10.0.0.2"}, "198.51.100.7 http://inside:8080"},
		{"a scheme for each hop", proxy, []string{"X-Forwarded-For: 203.0.113.1, 198.51.100.7, 10.0.0.2", "X-Forwarded-Proto: http, https, http"}, "198.51.100.7 https://inside:8080"},
		{"one scheme for all", proxy, []string{"X-Forwarded-For: 198.51.100.7, 10.0.0.2", "X-Forwarded-Proto: https"}, "198.51.100.7 https://inside:8080"},
		{"a client that is one of us", proxy, []string{"X-Forwarded-For: 10.9.9.9, 10.0.0.2"}, "10.9.9.9 http://inside:8080"},
		{"IPv4 as IPv6", "[::ffff:10.0.0.1]:4711", []string{"X-Forwarded-For: ::ffff:198.51.100.7"}, "198.51.100.7 http://inside:8080"},
		{"a proxy on the link", "[fe80::1%eth0]:4711", []string{"X-Forwarded-For: fe80::2%eth1, 2001:db8::7"}, "2001:db8::7 http://inside:8080"},
		{"ports", proxy, []string{"X-Forwarded-For: 198.51.100.7:50000"}, "198.51.100.7 http://inside:8080"},
		{"ports of IPv6", proxy, []string{"X-Forwarded-For: [2001:db8::7]:50000, [fd00::1]"}, "2001:db8::7 http://inside:8080"},
		{"garbage where it counts", proxy, []string{"X-Forwarded-For: 198.51.100.7, unknown, 10.0.0.2", "X-Forwarded-Proto: https"}, "10.0.0.1 http://inside:8080"},
		{"garbage where it does not", proxy, []string{"X-Forwarded-For: <script>, 198.51.100.7"}, "198.51.100.7 http://inside:8080"},
		{"nothing at the end", proxy, []string{"X-Forwarded-For: 198.51.100.7,"}, "10.0.0.1 http://inside:8080"},
		{"a host that is none", proxy, []string{"X-Forwarded-For: 198.51.100.7", "X-Forwarded-Host: a/b@c", "X-Forwarded-Proto: javascript"}, "198.51.100.7 http://inside:8080"},
		{"RFC 7239", proxy, []string{`Forwarded: for=203.0.113.1, For="[2001:db8::7]:4711";Proto=https;host="scim.example.com:8443", for=10.0.0.2`}, "2001:db8::7 https://scim.example.com:8443"},
		{"RFC 7239 in several headers", proxy, []string{"Forwarded: for=203.0.113.1", "Forwarded: by=_x;for=198.51.100.7"}, "198.51.100.7 http://inside:8080"},
		{"RFC 7239, hidden", proxy, []string{"Forwarded: for=_gazonk;proto=https"}, "10.0.0.1 http://inside:8080"},
		{"RFC 7239, unknown", proxy, []string{"Forwarded: for=unknown"}, "10.0.0.1 http://inside:8080"},
		{"RFC 7239, a quote without an end", proxy, []string{`Forwarded: for="198.51.100.7`}, "10.0.0.1 http://inside:8080"},
		{"RFC 7239, twice", proxy, []string{"Forwarded: for=203.0.113.1;for=198.51.100.7"}, "10.0.0.1 http://inside:8080"},
		{"both, and they agree", proxy, []string{"X-Forwarded-For: 198.51.100.7", "Forwarded: for=198.51.100.7"}, "198.51.100.7 http://inside:8080"},
		{"both, and one is a lie", proxy, []string{"X-Forwarded-For: 203.0.113.1", "Forwarded: for=198.51.100.7"}, "10.0.0.1 http://inside:8080"},
		{"a unix socket", "@", []string{"X-Forwarded-For: 203.0.113.1"}, "invalid IP http://inside:8080"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := sourceOf(requestFrom(tt.remote, tt.headers...), proxies)
			if got := fmt.Sprintf("%s %s://%s", s.addr, s.scheme, s.host); got != tt.want {
				t.Errorf("got  %s\nwant %s", got, tt.want)
			}
		})
	}
	r := requestFrom("192.0.2.1:1")
	if r.TLS = new(tls.ConnectionState); sourceOf(r, proxies).scheme != "https" {
		t.Error("a connection with TLS is not https")
	}
}

// Whatever a client writes into the headers that its proxy appends to or passes on, it is counted under its own address or
// that of the proxy, and never under one that it has chosen.
func FuzzSource(f *testing.F) {
	for _, lie := range []string{"", "203.0.113.1", "10.0.0.9", "203.0.113.1, 10.0.0.9", `for="`, `for=203.0.113.1;a="`, "for=203.0.113.1,", `"`, `\`, ",", ";"} {
		f.Add(lie, lie, true)
		f.Add(lie, "for=203.0.113.1", false)
	}
	f.Fuzz(func(t *testing.T, list, standard string, appendsToList bool) {
		const client = "198.51.100.7"
		for _, joined := range []bool{true, false} {
			r := requestFrom("10.0.0.1:4711")
			add := func(name, lie, truth string) {
				switch {
				case truth == "" && lie == "":
				case truth == "":
					r.Header.Add(name, lie)
				case joined && lie != "":
					r.Header.Add(name, lie+", "+truth)
				default:
					r.Header[name] = []string{lie, truth}
				}
			}
			if appendsToList {
				add("X-Forwarded-For", list, client)
				add("Forwarded", standard, "")
			} else {
				add("X-Forwarded-For", list, "")
				add("Forwarded", standard, "for="+client+";proto=https")
			}
			s := sourceOf(r, proxies)
			if a := s.addr.String(); a != client && a != "10.0.0.1" {
				t.Errorf("%v: the client is taken for %s", r.Header, a)
			}
			if s.host != "inside:8080" && !hostForm.MatchString(s.host) {
				t.Errorf("%v: host %q", r.Header, s.host)
			}
		}
	})
}

// What a proxy says reaches everything that asks: locations, the log, the journal, the limit for wrong tokens.
func TestBehindAProxy(t *testing.T) {
	s := start(t, func(c *config.Config) { c.TrustedProxies = config.List{"127.0.0.1"} })
	from := func(addr string) []string {
		return []string{"X-Forwarded-For", addr, "X-Forwarded-Proto", "https", "X-Forwarded-Host", "scim.example.com"}
	}
	resp, text := s.do(t, "POST", scim.BasePath+"/Users", `{"schemas":["urn:ietf:params:scim:schemas:core:2.0:User"],"userName":"x"}`, from("198.51.100.7")...)
	var user struct{ Meta struct{ Location string } }
	if err := json.Unmarshal([]byte(text), &user); err != nil {
		t.Fatal(err)
	}
	want := "https://scim.example.com/scim/v2/Users/"
	if resp.StatusCode != 201 || !strings.HasPrefix(user.Meta.Location, want) || !strings.HasPrefix(resp.Header.Get("Location"), want) {
		t.Errorf("%s, Location %s: %s", resp.Status, resp.Header.Get("Location"), text)
	}
	if !strings.Contains(s.log.String(), `"client":"198.51.100.7"`) {
		t.Errorf("log: %s", s.log)
	}
	journal, err := s.house.Store.Journal(t.Context(), 0, 100)
	if err != nil {
		t.Fatal(err)
	}
	if last := journal[len(journal)-1]; last.Client != "198.51.100.7" {
		t.Errorf("journal: %+v", last)
	}

	unknown := start(t, nil).secret
	wrong := func(addr string) int {
		resp, _ := s.do(t, "GET", scim.BasePath+"/Users", "", append(from(addr), "Authorization", "Bearer "+unknown)...)
		return resp.StatusCode
	}
	for range 100 {
		if wrong("203.0.113.1") == http.StatusTooManyRequests {
			if got := wrong("203.0.113.2"); got != http.StatusUnauthorized {
				t.Errorf("another client: %d", got)
			}
			return
		}
	}
	t.Error("a client may try as often as it likes")
}

// With proxies named, plain HTTP is for them and this machine.
func TestPlainHTTPFromOthers(t *testing.T) {
	s := start(t, func(c *config.Config) { c.TrustedProxies = config.List{"10.0.0.0/8"} })
	allowed := start(t, func(c *config.Config) {
		c.TrustedProxies, c.AllowPlainHTTP = config.List{"10.0.0.0/8"}, true
	})
	for _, tt := range []struct {
		s            *running
		remote, path string
		status       int
	}{
		{s, "10.0.0.1:1", "/Users", 200},
		{s, "127.0.0.1:1", "/Users", 200},
		{s, "[::1]:1", "/Users", 200},
		{s, "192.0.2.1:1", "/Users", 403},
		{s, "192.0.2.1:1", "/ServiceProviderConfig", 403},
		{allowed, "192.0.2.1:1", "/Users", 200},
	} {
		r := httptest.NewRequest("GET", scim.BasePath+tt.path, nil)
		r.RemoteAddr = tt.remote
		r.Header.Set("Authorization", "Bearer "+tt.s.secret)
		r.Header.Set("X-Forwarded-For", "127.0.0.1") // says nothing
		w := httptest.NewRecorder()
		tt.s.main().http.Handler.ServeHTTP(w, r)
		if w.Code != tt.status {
			t.Errorf("%s from %s: %d, want %d: %s", tt.path, tt.remote, w.Code, tt.status, w.Body)
		}
		if w.Code == 403 && (!strings.Contains(w.Body.String(), "trusted_proxies") || !strings.Contains(w.Body.String(), `"scimType"`) && !strings.Contains(w.Body.String(), "urn:ietf:params:scim:api:messages:2.0:Error")) {
			t.Errorf("the refusal: %s", w.Body)
		}
	}
	r := httptest.NewRequest("GET", "/healthz", nil)
	r.RemoteAddr = "192.0.2.1:1"
	w := httptest.NewRecorder()
	if s.main().http.Handler.ServeHTTP(w, r); w.Code != 200 {
		t.Errorf("health: %d", w.Code)
	}
}
