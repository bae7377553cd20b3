package server

import (
	"bufio"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"scimbox/scim"
	"scimbox/server/config"
)

func TestRoutes(t *testing.T) {
	s := start(t, nil)
	for _, c := range []struct {
		method, path, header, value string
		status                      int
		says                        string
	}{
		{"GET", "/healthz", "Authorization", "", 200, "ok\n"},
		{"HEAD", "/healthz", "", "", 200, ""},
		{"POST", "/healthz", "", "", 405, "GET and HEAD"},
		{"GET", "/", "Authorization", "", 200, "Tenant URL    http://" + s.Address() + "/scim/v2\n"},
		{"GET", "/", "Host", "localhost:8080", 200, "Tenant URL"},
		{"GET", "/", "Host", "scim.example.com", 404, "nothing is here"},
		{"DELETE", "/", "", "", 405, "GET and HEAD"},
		{"GET", "/index.html", "", "", 404, "SCIM is at /scim/v2"},
		{"GET", "/scim", "", "", 404, "SCIM is at /scim/v2"},
		{"GET", "/scim/v2x", "", "", 404, "SCIM is at /scim/v2"},
		{"GET", "/Users", "", "", 404, "SCIM is at /scim/v2"},
		{"GET", "/scim/v2/Users", "", "", 200, `"totalResults":0`},
		{"GET", "/scim/v2/Users", "Authorization", "", 401, "urn:ietf:params:scim:api:messages:2.0:Error"},
		{"GET", "/scim/v2", "Authorization", "", 401, "urn:ietf:params:scim:api:messages:2.0:Error"},
		{"GET", "/scim/v2/ServiceProviderConfig", "Authorization", "", 200, "schemas"},
		{"GET", "/scim/v2/Nothings", "", "", 404, "urn:ietf:params:scim:api:messages:2.0:Error"},
	} {
		t.Run(c.method+c.path+c.value, func(t *testing.T) {
			header := []string{}
			if c.header != "" {
				header = append(header, c.header, c.value)
			}
			resp, body := s.do(t, c.method, c.path, "", header...)
			if resp.StatusCode != c.status || !strings.Contains(body, c.says) {
				t.Errorf("%s\n%s\nwant %d with %q", resp.Status, body, c.status, c.says)
			}
			if resp.Header.Get(requestIDHeader) == "" || resp.Header.Get("X-Content-Type-Options") != "nosniff" {
				t.Errorf("headers: %v", resp.Header)
			}
			if c.status == 401 && len(resp.Header.Values("Www-Authenticate")) == 0 {
				t.Error("no WWW-Authenticate")
			}
		})
	}
}

func TestRequestID(t *testing.T) {
	s := start(t, nil)
	for given, taken := range map[string]bool{
		"abc-123_X.y": true, "": false, "a b": false, strings.Repeat("x", 65): false, "scimbox_a": false, "ä": false,
	} {
		resp, body := s.do(t, "GET", "/scim/v2/Nothings", "", requestIDHeader, given)
		id := resp.Header.Get(requestIDHeader)
		if (id == given) != taken || id == "" {
			t.Errorf("%q: %q", given, id)
		}
		if !strings.Contains(body, "request "+id) {
			t.Errorf("the error does not name request %s: %s", id, body)
		}
		if !strings.Contains(s.log.String(), `"request":"`+id+`"`) {
			t.Errorf("the log does not name request %s", id)
		}
	}
	_, body := s.do(t, "GET", "/scim/v2/Users", "", "Authorization", "", requestIDHeader, "at-the-door")
	if !strings.Contains(body, "request at-the-door") {
		t.Errorf("a refusal does not name its request: %s", body)
	}
}

// One line for each request, and in none of them what a client has said of a person, or a secret.
func TestAccessLog(t *testing.T) {
	s := start(t, nil)
	secrets := []string{"ada", "lovelace", "hunter2", s.secret, s.secret[len("scimbox_"):]}
	s.do(t, "GET", `/scim/v2/Users?filter=userName+eq+%22ada@lovelace.example%22&count=5&count=6&ada@lovelace=1&x%20y`, "",
		"User-Agent", "azure/1.0 (x) {ada@lovelace.example}", "Traceparent", "00-0123456789abcdef0123456789abcdef-0123456789abcdef-01")
	for _, path := range []string{
		"/scim/v2/Users/ada", "/scim/v2/Users/ada.lovelace", "/scim/v2/Users/ada@lovelace.example", "/ada/lovelace", "/scim/v2/ada@lovelace",
		"/scim/v2/Users/" + s.secret, "/" + s.secret, "/scim/v2/Users?" + s.secret, "/scim/v2/Users?token=" + s.secret, "/scim/v2/Users/%61da",
	} {
		s.do(t, "GET", path, "")
	}
	s.do(t, "GET", "/scim/v2/Users/01890a5d-ac96-774b-bcce-b302099a8057", "")
	s.do(t, "GET", "/scim/v2/Schemas/urn:ietf:params:scim:schemas:core:2.0:User", "")
	s.do(t, "GET", "/scim/v2/Devices", "")
	s.do(t, "POST", "/scim/v2/Users", `{"userName":"ada","password":"hunter2"}`, "Authorization", "Basic YWRhOmh1bnRlcjI=", "User-Agent", s.secret)
	s.do(t, "LOVELACE", "/scim/v2/Users", "")

	type line struct {
		Msg, Request, Method, Path, Query, Client, Token, Tenant, Agent, Trace string
		Status, Bytes                                                          int
		Ms                                                                     float64
	}
	var lines []line
	for text := range strings.Lines(s.log.String()) {
		for _, secret := range secrets {
			if strings.Contains(strings.ToLower(text), strings.ToLower(secret)) {
				t.Errorf("%q is in the log: %s", secret, text)
			}
		}
		var l line
		if err := json.Unmarshal([]byte(text), &l); err != nil {
			t.Fatalf("%v: %s", err, text)
		}
		if l.Msg == "request" {
			lines = append(lines, l)
		}
	}
	if len(lines) != 16 {
		t.Fatalf("%d lines for 16 requests:\n%s", len(lines), s.log)
	}
	first := lines[0]
	if first.Method != "GET" || first.Path != "/scim/v2/Users" || first.Query != "filter,count,*" || first.Status != 400 || first.Bytes == 0 ||
		first.Client != "127.0.0.1" || first.Tenant != "default" || len(first.Token) != 12 || first.Agent != "azure/1.0 (x)" || first.Trace != "0123456789abcdef0123456789abcdef" {
		t.Errorf("%+v", first)
	}
	want := []string{
		"/scim/v2/Users/*", "/scim/v2/Users/*", "/scim/v2/Users/*", "/*/*", "/scim/v2/*", "/scim/v2/Users/*", "/*", "/scim/v2/Users", "/scim/v2/Users", "/scim/v2/Users/*",
		"/scim/v2/Users/01890a5d-ac96-774b-bcce-b302099a8057", "/scim/v2/Schemas/urn:ietf:params:scim:schemas:core:2.0:User", "/scim/v2/Devices", "/scim/v2/Users", "/scim/v2/Users",
	}
	var got []string
	for _, l := range lines[1:] {
		got = append(got, l.Path)
	}
	if !slices.Equal(got, want) {
		t.Errorf("paths\n%q\nwant\n%q", got, want)
	}
	if last := lines[15]; last.Method != "other" {
		t.Errorf("method %q", last.Method)
	}
}

func TestHealthIsNotLoggedAtInfo(t *testing.T) {
	s := start(t, nil)
	s.do(t, "GET", "/healthz", "")
	if !strings.Contains(s.log.String(), `"level":"DEBUG","msg":"request"`) {
		t.Errorf("log: %s", s.log)
	}
}

// panicking returns a server's wrappers around a handler of the test's.
func panicking(t *testing.T, h http.HandlerFunc) (*httptest.Server, *buffer) {
	log := new(buffer)
	s := &Server{o: Options{Config: config.Default(), Logger: slog.New(slog.NewJSONHandler(log, nil)), Clock: time.Now}}
	web := httptest.NewServer(s.observed(s.recovered(h)))
	t.Cleanup(web.Close)
	return web, log
}

func TestPanic(t *testing.T) {
	web, log := panicking(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("ETag", `W/"1"`)
		panic("ada@lovelace.example")
	})
	resp, err := http.Get(web.URL + "/scim/v2/Users")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	id := resp.Header.Get(requestIDHeader)
	if resp.StatusCode != 500 || !strings.Contains(string(body), "2.0:Error") || !strings.Contains(string(body), "request "+id) || resp.Header.Get("ETag") != "" {
		t.Errorf("%s %v\n%s", resp.Status, resp.Header, body)
	}
	if strings.Contains(string(body), "ada") || strings.Contains(log.String(), "ada@") {
		t.Errorf("what the panic said has come out:\n%s\n%s", body, log)
	}
	if l := log.String(); !strings.Contains(l, "TestPanic") || !strings.Contains(l, `"request":"`+id) || !strings.Contains(l, `"level":"ERROR","msg":"request"`) {
		t.Errorf("the log does not tell where: %s", l)
	}
}

// Half an answer cannot be taken back: the client must see that it is not whole.
func TestPanicInTheMiddle(t *testing.T) {
	for name, cause := range map[string]any{"panic": errors.New("boom"), "abort": http.ErrAbortHandler} {
		t.Run(name, func(t *testing.T) {
			web, log := panicking(t, func(w http.ResponseWriter, _ *http.Request) {
				fmt.Fprint(w, `{"Resources":[`)
				panic(cause)
			})
			resp, err := http.Get(web.URL + "/scim/v2/Users")
			if err == nil {
				_, err = io.ReadAll(resp.Body)
				_ = resp.Body.Close()
			}
			if err == nil {
				t.Error("the client has read a whole answer")
			}
			if strings.Contains(log.String(), "boom") != (name == "panic") || !strings.Contains(log.String(), `"aborted":true`) {
				t.Errorf("log: %s", log)
			}
		})
	}
}

func TestCompression(t *testing.T) {
	s := start(t, nil)
	large := scim.BasePath + "/Schemas"
	transport := &http.Transport{DisableCompression: true}
	defer transport.CloseIdleConnections()
	get := func(encoding string) (*http.Response, []byte) {
		t.Helper()
		q, err := http.NewRequestWithContext(t.Context(), "GET", "http://"+s.Address()+large, nil)
		if err != nil {
			t.Fatal(err)
		}
		q.Header.Set("Authorization", "Bearer "+s.secret)
		q.Header.Set("Accept-Encoding", encoding)
		resp, err := transport.RoundTrip(q)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		return resp, body
	}
	plain, text := get("gzip;q=0")
	if plain.Header.Get("Content-Encoding") != "" || plain.StatusCode != 200 {
		t.Fatalf("plain: %s %v", plain.Status, plain.Header)
	}
	packed, data := get("gzip")
	if packed.Header.Get("Content-Encoding") != "gzip" || len(data) >= len(text) {
		t.Fatalf("gzip: %v, %d bytes of %d", packed.Header, len(data), len(text))
	}
	z, err := gzip.NewReader(strings.NewReader(string(data)))
	if err != nil {
		t.Fatal(err)
	}
	if unpacked, err := io.ReadAll(z); err != nil || string(unpacked) != string(text) {
		t.Errorf("the two differ (%v)", err)
	}
}

// raw sends bytes and returns what comes back until the server closes the connection.
func raw(t *testing.T, address, request string) string {
	t.Helper()
	c, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := io.WriteString(c, request); err != nil {
		t.Fatal(err)
	}
	answer, err := io.ReadAll(c)
	if err != nil && len(answer) == 0 {
		t.Fatal(err)
	}
	return string(answer)
}

// No client can hold a connection by being slow with its headers, or by saying nothing.
func TestSlowHeaders(t *testing.T) {
	s := start(t, func(c *config.Config) {
		c.Limits.HeaderTimeout = config.Duration{Duration: 50 * time.Millisecond}
		c.Limits.IdleTimeout = config.Duration{Duration: 50 * time.Millisecond}
	})
	if got := raw(t, s.Address(), "GET /healthz HTTP/1.1\r\nHost: x\r\nX-Slow: "); strings.Contains(got, "200 OK") {
		t.Errorf("headers that never end: %q", got)
	}
	if got := raw(t, s.Address(), "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"); !strings.Contains(got, "200 OK") {
		t.Errorf("an idle connection: %q", got)
	}
}

// Nor with its body; and work that takes too long is told to end.
func TestSlowBody(t *testing.T) {
	s := &Server{o: Options{Config: config.Default(), Logger: slog.New(slog.DiscardHandler), Clock: time.Now}}
	s.o.Config.Limits.RequestTimeout.Duration = 50 * time.Millisecond
	type outcome struct{ read, ctx error }
	ended := make(chan outcome, 1)
	web := httptest.NewServer(s.observed(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		_, err := io.ReadAll(r.Body)
		<-r.Context().Done()
		ended <- outcome{err, r.Context().Err()}
	})))
	defer web.Close()
	raw(t, strings.TrimPrefix(web.URL, "http://"), "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{")
	if got := <-ended; !errors.Is(got.read, os.ErrDeadlineExceeded) || got.ctx == nil {
		t.Errorf("reading the body: %v; the context: %v", got.read, got.ctx)
	}
}

// The deadline of a request is its own: a connection may live longer than one request may take.
func TestDeadlineIsPerRequest(t *testing.T) {
	const limit = 40 * time.Millisecond
	s := start(t, func(c *config.Config) { c.Limits.RequestTimeout = config.Duration{Duration: limit} })
	c, err := net.Dial("tcp", s.Address())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	in := bufio.NewReader(c)
	for begin := time.Now(); time.Since(begin) < 3*limit; {
		if _, err := io.WriteString(c, "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
		resp, err := http.ReadResponse(in, nil)
		if err != nil {
			t.Fatalf("after %v: %v", time.Since(begin), err)
		}
		if _, err := io.Copy(io.Discard, resp.Body); err != nil || resp.StatusCode != 200 {
			t.Fatalf("after %v: %s, %v", time.Since(begin), resp.Status, err)
		}
	}
}

func TestLargeHeader(t *testing.T) {
	s := start(t, func(c *config.Config) { c.Limits.Header = config.Size{Bytes: 4 << 10} })
	// net/http adds 4 KiB of its own to the limit.
	if got := raw(t, s.Address(), "GET /healthz HTTP/1.1\r\nHost: x\r\nX-Large: "+strings.Repeat("x", 16<<10)+"\r\n\r\n"); !strings.HasPrefix(got, "HTTP/1.1 431") {
		t.Errorf("got %.80q", got)
	}
}

func TestLoggedPath(t *testing.T) {
	for path, want := range map[string]string{
		"/scim/v2//Users/": "/scim/v2//Users/", "/scim/v2/users/.SEARCH": "/scim/v2/users/.SEARCH", "/scim/v2/Bulk": "/scim/v2/Bulk",
		"/scim/v2/v2/Users": "/scim/v2/v2/Users", "/scim/v2/Users/01890A5D-AC96-774B-BCCE-B302099A8057": "/scim/v2/Users/*",
		"/" + strings.Repeat("a/", 300): "*", "*": "*", "": "",
	} {
		if got := loggedPath(path); got != want {
			t.Errorf("%q: %q, want %q", path, got, want)
		}
	}
}
