package server

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"scimbox/server/config"
)

// Two servers that disagree about where a request ends let one client speak in another's name. Whatever has two meanings is
// refused, or the connection ends with it: in no case is the second request, which is hidden in the first, answered.
func TestSmuggling(t *testing.T) {
	s := start(t, nil)
	const smuggled = "GET /scim/v2/Users/smuggled HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer TOKEN\r\nConnection: close\r\n\r\n"
	post := func(headers, body string) string {
		return "POST /scim/v2/Users HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer TOKEN\r\nContent-Type: application/scim+json\r\n" + headers + "\r\n" + body
	}
	n := fmt.Sprint(len(smuggled))
	for name, c := range map[string]struct {
		request string
		status  string // of the first answer, "" = any but 2xx
	}{
		"length and chunks":              {post("Content-Length: "+n+"\r\nTransfer-Encoding: chunked\r\n", "0\r\n\r\n"+smuggled), ""},
		"chunks and length":              {post("Transfer-Encoding: chunked\r\nContent-Length: 4\r\n", "0\r\n\r\n"+smuggled), ""},
		"two lengths":                    {post("Content-Length: 0\r\nContent-Length: "+n+"\r\n", smuggled), "400"},
		"a list of lengths":              {post("Content-Length: 0, "+n+"\r\n", smuggled), "400"},
		"a signed length":                {post("Content-Length: +"+n+"\r\n", smuggled), "400"},
		"a negative length":              {post("Content-Length: -1\r\n", smuggled), "400"},
		"a hexadecimal length":           {post("Content-Length: 0x10\r\n", smuggled), "400"},
		"two encodings":                  {post("Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n", "0\r\n\r\n"+smuggled), ""},
		"an unknown encoding":            {post("Transfer-Encoding: xchunked\r\n", "0\r\n\r\n"+smuggled), "501"},
		"an encoding behind a tab":       {post("Transfer-Encoding:\tchunked, x\r\n", "0\r\n\r\n"+smuggled), "501"},
		"a space before the colon":       {post("Content-Length : "+n+"\r\n", smuggled), "400"},
		"a folded header":                {post("X-A: b\r\n Content-Length: "+n+"\r\n", ""), ""},
		"a header that begins folded":    {"GET /scim/v2/Users HTTP/1.1\r\n Host: x\r\n\r\n" + smuggled, "400"},
		"a zero byte in a header":        {post("X-A: a\x00b\r\n", smuggled), "400"},
		"a bare CR in a header":          {post("X-A: a\rContent-Length: 0\r\n", smuggled), "400"},
		"a chunk with a sign":            {post("Transfer-Encoding: chunked\r\n", "+0\r\n\r\n"+smuggled), ""},
		"a chunk that is too long":       {post("Transfer-Encoding: chunked\r\n", "fffffffffffffffff\r\n"+smuggled), ""},
		"a chunk that ends wrong":        {post("Transfer-Encoding: chunked\r\n", "1\r\n{XX0\r\n\r\n"+smuggled), ""},
		"two hosts":                      {"GET /scim/v2/Users HTTP/1.1\r\nHost: x\r\nHost: y\r\nConnection: close\r\n\r\n", "400"},
		"no host":                        {"GET /scim/v2/Users HTTP/1.1\r\nConnection: close\r\n\r\n", "400"},
		"a host that is none":            {"GET /scim/v2/Users HTTP/1.1\r\nHost: x y\r\nConnection: close\r\n\r\n", "400"},
		"two Authorizations":             {"GET /scim/v2/Users HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer TOKEN\r\nAuthorization: Bearer x\r\nConnection: close\r\n\r\n", "400"},
		"an Authorization by underscore": {"GET /scim/v2/Users HTTP/1.1\r\nHost: x\r\nAuthorization_: Bearer TOKEN\r\nConnection: close\r\n\r\n", "401"},
		"a token in the query":           {"GET /scim/v2/Users?access_token=TOKEN HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", "401"},
		"a method of two words":          {"GET /scim/v2/Users /x HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", "400"},
		"a request line that ends early": {"GET /scim/v2/Users\r\n\r\n", "400"},
		"another protocol":               {"GET /scim/v2/Users HTTP/3.0\r\nHost: x\r\nConnection: close\r\n\r\n", "505"},
		"CONNECT":                        {"CONNECT example.com:443 HTTP/1.1\r\nHost: example.com:443\r\nConnection: close\r\n\r\n", ""},
		"somebody else's URL":            {"GET http://169.254.169.254/latest/meta-data HTTP/1.1\r\nHost: 169.254.169.254\r\nConnection: close\r\n\r\n", "404"},
		"a compressed body":              {post("Content-Encoding: gzip\r\nContent-Length: 3\r\nConnection: close\r\n", "\x1f\x8b\x08"), ""},
	} {
		t.Run(name, func(t *testing.T) {
			answer := sent(t, s.Address(), strings.ReplaceAll(c.request, "TOKEN", s.secret))
			first, _, _ := strings.Cut(answer, "\r\n")
			if answer != "" && (!strings.HasPrefix(first, "HTTP/1.1 "+c.status) || c.status == "" && strings.HasPrefix(first, "HTTP/1.1 2")) {
				t.Errorf("answered with %q, expected is %s", first, c.status)
			}
			if strings.Contains(answer, "smuggled") || strings.Count(answer, "HTTP/1.1 ") > 1 {
				t.Errorf("the hidden request was answered:\n%s", answer)
			}
		})
	}
	if strings.Contains(s.log.String(), "Users/smuggled") || strings.Contains(s.log.String(), "latest/meta-data") {
		t.Error("the log has what was hidden, or a path that is not of this server")
	}
}

// sent sends bytes, says that there are no more, and returns what comes back.
func sent(t *testing.T, address, request string) string {
	t.Helper()
	c, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := io.WriteString(c, request); err != nil {
		return "" // closed in the middle
	}
	if err := c.(*net.TCPConn).CloseWrite(); err != nil {
		return ""
	}
	answer, _ := io.ReadAll(c) // a connection that was reset has said what it has to say
	return string(answer)
}

// Nothing that a header says makes another request of it.
func TestHeadersDoNotChangeTheRequest(t *testing.T) {
	s := start(t, nil)
	_, body := s.do(t, "POST", "/scim/v2/Users", `{"schemas":["urn:ietf:params:scim:schemas:core:2.0:User"],"userName":"bjensen"}`)
	id := between(body, `"id":"`, `"`)
	for _, h := range [][2]string{
		{"X-Http-Method-Override", "DELETE"}, {"X-Http-Method", "DELETE"}, {"X-Method-Override", "DELETE"}, {"X-Original-Url", "/scim/v2/Groups"},
		{"X-Rewrite-Url", "/healthz"}, {"X-Forwarded-Host", "evil.example"}, {"X-Forwarded-Proto", "https"}, {"X-Forwarded-Prefix", "/evil"},
		{"Forwarded", "host=evil.example"}, {"X-Host", "evil.example"},
	} {
		resp, got := s.do(t, "GET", "/scim/v2/Users/"+id, "", h[0], h[1])
		if resp.StatusCode != 200 || got != body {
			t.Errorf("%s: %s: %d %s", h[0], h[1], resp.StatusCode, got)
		}
	}
}

func between(s, before, after string) string {
	_, s, _ = strings.Cut(s, before)
	s, _, _ = strings.Cut(s, after)
	return s
}

// Bodies that are small and mean much are refused, and the server goes on.
func TestBombs(t *testing.T) {
	s := start(t, func(c *config.Config) { c.Limits.RequestTimeout = config.Duration{Duration: 20 * time.Second} })
	user := func(members string) string {
		return `{"schemas":["urn:ietf:params:scim:schemas:core:2.0:User"],"userName":"u"` + members + `}`
	}
	patch := func(ops string) string {
		return `{"schemas":["urn:ietf:params:scim:api:messages:2.0:PatchOp"],"Operations":[` + ops + `]}`
	}
	search := func(filter string) string {
		return `{"schemas":["urn:ietf:params:scim:api:messages:2.0:SearchRequest"],"filter":` + quote(filter) + `}`
	}
	var zipped bytes.Buffer
	z := gzip.NewWriter(&zipped)
	_, _ = z.Write(make([]byte, 10<<20))
	_ = z.Close()
	for name, c := range map[string]struct {
		method, path, body string
		header             []string
		status             int
	}{
		"a MiB of brackets":     {"POST", "/Users", strings.Repeat("[", 1<<20), nil, 400},
		"a MiB of braces":       {"POST", "/Users", strings.Repeat(`{"a":`, 1<<20/5), nil, 400},
		"more than a MiB":       {"POST", "/Users", user(`,"title":"` + strings.Repeat("x", 1<<20) + `"`), nil, 413},
		"depth in an attribute": {"POST", "/Users", user(`,"name":` + strings.Repeat(`{"givenName":`, 1000) + `1` + strings.Repeat("}", 1000)), nil, 400},
		"a name twice":          {"POST", "/Users", user(`,"userName":"v"`), nil, 400},
		"a name in two cases":   {"POST", "/Users", user(`,"USERNAME":"v"`), nil, 400},
		"no UTF-8":              {"POST", "/Users", user(`,"title":"` + "\xff\xfe" + `"`), nil, 400},
		"half a surrogate":      {"POST", "/Users", user(`,"title":"\ud800"`), nil, 400},
		"a huge exponent":       {"POST", "/Users", user(`,"active":1e999999999`), nil, 400},
		"two values":            {"POST", "/Users", user("") + user(""), nil, 400},
		"a compressed body":     {"POST", "/Users", zipped.String(), []string{"Content-Encoding", "gzip"}, 415},
		"a deep filter":         {"POST", "/Users/.search", search(strings.Repeat("(", 4000) + `userName pr` + strings.Repeat(")", 4000)), nil, 400},
		"a filter of nots":      {"POST", "/Users/.search", search(strings.Repeat("not (", 1000) + `userName pr` + strings.Repeat(")", 1000)), nil, 400},
		"a long filter":         {"POST", "/Users/.search", search(strings.Repeat(`userName eq "x" or `, 5000) + `userName pr`), nil, 400},
		"a deep path":           {"PATCH", "/Users/x", patch(`{"op":"remove","path":` + quote("emails["+strings.Repeat("(", 4000)+`value pr`+strings.Repeat(")", 4000)+"]") + `}`), nil, 400},
		"a deep value":          {"PATCH", "/Users/x", patch(`{"op":"add","value":` + strings.Repeat(`[`, 5000) + strings.Repeat(`]`, 5000) + `}`), nil, 400},
	} {
		t.Run(name, func(t *testing.T) {
			resp, body := s.do(t, c.method, "/scim/v2"+c.path, c.body, c.header...)
			if resp.StatusCode != c.status && !(c.path == "/Users/x" && resp.StatusCode == 404) {
				t.Errorf("answered with %d, expected is %d: %.300s", resp.StatusCode, c.status, body)
			}
			if len(body) > 4096 {
				t.Errorf("the refusal has %d bytes", len(body))
			}
		})
	}
	if resp, body := s.do(t, "GET", "/scim/v2/Users?count=0", ""); resp.StatusCode != 200 || !strings.Contains(body, `"totalResults":0`) {
		t.Errorf("afterwards: %d %s", resp.StatusCode, body)
	}
}

func quote(s string) string {
	b, _ := json.Marshal(s) // of a string, never an error
	return string(b)
}

// Nobody writes a line of log that is not ours: each line stays one JSON object, and none has what was sent.
func TestLogInjection(t *testing.T) {
	s := start(t, nil)
	const evil = `x\n{"level":"ERROR","msg":"INJECTED"}\u001b[31m","msg":"INJECTED`
	for _, e := range []string{"INJECTED\x1b[31m", `INJECTED","level":"ERROR`, "INJECTED\t{}", "INJECTED%0d%0a{}", "INJECTED\u2028\u202e"} {
		for _, h := range []string{"User-Agent", "X-Request-Id", "X-Forwarded-For", "Traceparent", "Referer", "Content-Type", "If-Match", "Origin", "Accept"} {
			request := "GET /scim/v2/Users/INJECTED%0d%0ax?INJECTED%0a=1&filter=INJECTED%0a HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer " + s.secret + "\r\n" + h + ": " + e + "\r\nConnection: close\r\n\r\n"
			sent(t, s.Address(), request)
		}
		sent(t, s.Address(), "GET / HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer "+e+"\r\nConnection: close\r\n\r\n")
		sent(t, s.Address(), "INJECTED /scim/v2/Users HTTP/1.1\r\nHost: "+e+"\r\nConnection: close\r\n\r\n")
	}
	s.do(t, "POST", "/scim/v2/Users", `{"schemas":["urn:ietf:params:scim:schemas:core:2.0:User"],"userName":"`+evil+`","`+evil+`":1}`)
	s.do(t, "PATCH", "/scim/v2/Users/x", `{"schemas":["`+evil+`"],"Operations":[{"op":"`+evil+`"}]}`)
	for _, line := range strings.Split(strings.TrimSpace(s.log.String()), "\n") {
		var v map[string]any
		if err := json.Unmarshal([]byte(line), &v); err != nil || v["time"] == nil {
			t.Errorf("a line of log is not ours: %q", line)
		}
		// A User-Agent is shown up to its first odd character, and net/http says what of a request it could not read.
		delete(v, "agent")
		if v["level"] == "DEBUG" {
			continue
		}
		if text := fmt.Sprint(v); strings.Contains(text, "INJECTED") || strings.ContainsAny(text, "\x1b\r\n") {
			t.Errorf("a line of log has what a client sent: %s", line)
		}
	}
}
