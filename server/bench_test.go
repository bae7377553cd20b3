//go:build unix

package server

import (
	"bufio"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"scimbox/server/config"
)

// benchDoor is the whole handler of a server on a store on disk, with a log that goes to a file descriptor and is not kept.
type benchDoor struct {
	handler       http.Handler
	authorization string
	ids           []string
}

const benchUsers = 2_000

func newBenchDoor(b *testing.B) *benchDoor {
	b.Helper()
	null, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { null.Close() })
	c := config.Default()
	c.Listen, c.Data = "127.0.0.1:0", filepath.Join(b.TempDir(), "data")
	c.Limits.RequestsPerToken = 1_000_000 // looked at, and never reached
	c.Backup.Every = config.Duration{}
	logger, _, _ := NewLogger(null, false, c.Log)
	s, err := Open(b.Context(), Options{Config: c, Version: "1.2.3", Logger: logger})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		if err := s.Close(); err != nil {
			b.Error(err)
		}
	})
	_, secret, _ := s.FirstToken()
	d := &benchDoor{authorization: "Bearer " + secret.Reveal(), ids: make([]string, benchUsers)}
	if d.handler, err = s.handler(); err != nil {
		b.Fatal(err)
	}
	const together = 16
	done := make(chan struct{})
	for first := range together {
		go func() {
			defer func() { done <- struct{}{} }()
			for i := first; i < benchUsers; i += together {
				r := d.request("POST", "/Users", benchUser(i))
				w := httptest.NewRecorder()
				if d.handler.ServeHTTP(w, r); w.Code != http.StatusCreated {
					b.Errorf("POST: %d %s", w.Code, w.Body)
					return
				}
				loc := w.Header().Get("Location")
				d.ids[i] = loc[len(loc)-36:]
			}
		}()
	}
	for range together {
		<-done
	}
	if b.Failed() {
		b.FailNow()
	}
	return d
}

func benchUser(i int) string {
	return fmt.Sprintf(`{"schemas":["urn:ietf:params:scim:schemas:core:2.0:User","urn:ietf:params:scim:schemas:extension:enterprise:2.0:User"],`+
		`"userName":"user%[1]d@example.com","externalId":"ext-%[1]d","active":true,"displayName":"Person Number %[1]d","title":"Senior specialist",`+
		`"name":{"givenName":"Person","familyName":"Number %[1]d","formatted":"Person Number %[1]d"},`+
		`"emails":[{"type":"work","value":"user%[1]d@example.com","primary":true},{"type":"home","value":"home%[1]d@example.org"}],`+
		`"phoneNumbers":[{"type":"mobile","value":"+41 79 %07[1]d"}],`+
		`"urn:ietf:params:scim:schemas:extension:enterprise:2.0:User":{"employeeNumber":"%08[1]d","department":"Operations"}}`, i)
}

func (d *benchDoor) request(method, target, body string) *http.Request {
	r := httptest.NewRequest(method, "http://scim.example.com/scim/v2"+target, strings.NewReader(body))
	if body == "" {
		r.Body = http.NoBody
	}
	r.RemoteAddr = "127.0.0.1:50000"
	r.Header.Set("Authorization", d.authorization)
	r.Header.Set("User-Agent", "bench/1.0")
	return r
}

// one is a GET of a user, lookUp a search for one by userName, as Entra does it.
func (d *benchDoor) one(i int) string { return "/Users/" + d.ids[i*7919%benchUsers] }
func (d *benchDoor) lookUp(i int) string {
	return "/Users?filter=" + url.QueryEscape(`userName eq "user`+strconv.Itoa(i*7919%benchUsers)+`@example.com"`)
}

// discarded is an answer that nobody reads. It takes deadlines, as a connection does.
type discarded struct {
	header http.Header
	status int
	bytes  int
}

func (w *discarded) Header() http.Header             { return w.header }
func (w *discarded) WriteHeader(status int)          { w.status = status }
func (w *discarded) Write(p []byte) (int, error)     { w.bytes += len(p); return len(p), nil }
func (w *discarded) SetReadDeadline(time.Time) error { return nil }

// spent reports the processor time of an operation: unlike the time on the clock it is the same on a machine that has much
// else to do.
func spent(b *testing.B) func() {
	now := func() int64 {
		var u syscall.Rusage
		if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
			b.Fatal(err)
		}
		return u.Utime.Nano() + u.Stime.Nano()
	}
	begin := now()
	return func() { b.ReportMetric(float64(now()-begin)/1e3/float64(b.N), "cpu-µs/op") }
}

// BenchmarkDoor is all that a request costs but net/http.
func BenchmarkDoor(b *testing.B) {
	d := newBenchDoor(b)
	for _, kind := range []struct {
		name   string
		target func(int) string
	}{{"get", d.one}, {"filter", d.lookUp}} {
		b.Run(kind.name, func(b *testing.B) {
			requests := make([]*http.Request, benchUsers)
			for i := range requests {
				requests[i] = d.request("GET", kind.target(i), "")
			}
			b.ReportAllocs()
			defer spent(b)()
			for i := 0; b.Loop(); i++ {
				r := *requests[i%benchUsers]
				w := &discarded{header: http.Header{}}
				if d.handler.ServeHTTP(w, &r); w.status != http.StatusOK {
					b.Fatal(w.status)
				}
			}
		})
	}
}

// BenchmarkConnection is a request over one of 16 connections of the loopback interface that are kept: that of a server, and that of a
// handler that looks at one header and writes as many bytes. Both have the same client, whose time is in both.
func BenchmarkConnection(b *testing.B) {
	d := newBenchDoor(b)
	w := &discarded{header: http.Header{}}
	d.handler.ServeHTTP(w, d.request("GET", d.one(0), ""))
	body := make([]byte, w.bytes)
	limit := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != d.authorization {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		w.Header().Set("Content-Type", "application/scim+json")
		w.Header().Set("Content-Length", strconv.Itoa(len(body)))
		w.WriteHeader(http.StatusOK)
		_, _ = w.Write(body)
	})
	for _, kind := range []struct {
		name    string
		handler http.Handler
		target  func(int) string
	}{{"limit", limit, d.one}, {"get", d.handler, d.one}, {"filter", d.handler, d.lookUp}} {
		b.Run(kind.name, func(b *testing.B) {
			l, err := new(net.ListenConfig).Listen(b.Context(), "tcp", "127.0.0.1:0")
			if err != nil {
				b.Fatal(err)
			}
			server := &http.Server{Handler: kind.handler, ReadHeaderTimeout: time.Minute, ErrorLog: slog.NewLogLogger(slog.DiscardHandler, 0)}
			done := make(chan error, 1)
			go func() { done <- server.Serve(l) }()
			defer func() {
				_ = server.Close() // what the connections were doing does not matter any more
				<-done
			}()
			b.ReportAllocs()
			b.SetParallelism(16 / runtime.GOMAXPROCS(0))
			b.ResetTimer()
			defer spent(b)()
			b.RunParallel(func(pb *testing.PB) {
				c, err := net.Dial("tcp", l.Addr().String())
				if err != nil {
					b.Error(err)
					return
				}
				defer c.Close()
				in, buf := bufio.NewReaderSize(c, 64<<10), []byte(nil)
				for i := 0; pb.Next(); i++ {
					buf = fmt.Appendf(buf[:0], "GET /scim/v2%s HTTP/1.1\r\nHost: scim.example.com\r\nAuthorization: %s\r\n\r\n", kind.target(i), d.authorization)
					if _, err := c.Write(buf); err != nil {
						b.Error(err)
						return
					}
					if err := skipAnswer(in); err != nil {
						b.Error(err)
						return
					}
				}
			})
		})
	}
}

// skipAnswer reads an answer of 200 to its end.
func skipAnswer(in *bufio.Reader) error {
	line, err := in.ReadSlice('\n')
	if err != nil || !strings.Contains(string(line), " 200 ") {
		return fmt.Errorf("answered with %q: %w", line, err)
	}
	n := 0
	for len(line) > 2 {
		if line, err = in.ReadSlice('\n'); err != nil {
			return err
		}
		if length, ok := strings.CutPrefix(string(line), "Content-Length: "); ok {
			if n, err = strconv.Atoi(strings.TrimSpace(length)); err != nil {
				return err
			}
		}
	}
	_, err = in.Discard(n)
	return err
}
