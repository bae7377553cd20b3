//go:build unix

package scim

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strconv"
	"sync/atomic"
	"syscall"
	"testing"

	"scimbox/storage"
)

// benchHouse is a service on a store on disk, with so many users of some 1.2 KB, as Entra's mapping makes them.
type benchHouse struct {
	handler http.Handler
	store   *storage.Store
	ids     []string
}

func newBenchHouse(b *testing.B, users int) *benchHouse {
	return newBenchHouseIn(b, b.TempDir(), users)
}

// benchService opens the store of a directory, until the end of the benchmark unless somebody closes it before, and a service on it.
func benchService(b *testing.B, dir string) (*storage.Store, *Service) {
	b.Helper()
	store, err := storage.OpenDir(b.Context(), dir, storage.Options{})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		if err := store.Close(); err != nil {
			b.Error(err)
		}
	})
	types, err := NewTypes("")
	if err != nil {
		b.Fatal(err)
	}
	service, err := NewService(b.Context(), store, types, Options{})
	if err != nil {
		b.Fatal(err)
	}
	return store, service
}

func newBenchHouseIn(b *testing.B, dir string, users int) *benchHouse {
	b.Helper()
	store, service := benchService(b, dir)
	h := &benchHouse{handler: NewHandler(service), store: store, ids: make([]string, users)}
	var next atomic.Int64
	done := make(chan struct{})
	for range 16 {
		go func() {
			defer func() { done <- struct{}{} }()
			for i := int(next.Add(1)) - 1; i < users; i = int(next.Add(1)) - 1 {
				w := h.ask(b, "POST", "/Users", benchUser(i), http.StatusCreated)
				loc := w.Header().Get("Location")
				h.ids[i] = loc[len(loc)-36:]
			}
		}()
	}
	for range 16 {
		<-done
	}
	return h
}

func benchUser(i int) string {
	return fmt.Sprintf(`{"schemas":["urn:ietf:params:scim:schemas:core:2.0:User","urn:ietf:params:scim:schemas:extension:enterprise:2.0:User"],`+
		`"userName":"user%[1]d@example.com","externalId":"ext-%[1]d","active":true,"displayName":"Person Number %[1]d","title":"Senior specialist",`+
		`"preferredLanguage":"de-CH","locale":"de-CH","timezone":"Europe/Zurich","userType":"Employee",`+
		`"name":{"givenName":"Person","familyName":"Number %[1]d","formatted":"Person Number %[1]d"},`+
		`"emails":[{"type":"work","value":"user%[1]d@example.com","primary":true},{"type":"home","value":"home%[1]d@example.org"}],`+
		`"phoneNumbers":[{"type":"mobile","value":"+41 79 %07[1]d"},{"type":"work","value":"+41 44 %07[1]d"}],`+
		`"addresses":[{"type":"work","streetAddress":"Bahnhofstrasse 1","locality":"Zürich","region":"ZH","postalCode":"8001","country":"CH"}],`+
		`"urn:ietf:params:scim:schemas:extension:enterprise:2.0:User":{"employeeNumber":"%08[1]d","costCenter":"CC-1","organization":"Example","department":"Operations"}}`, i)
}

func (h *benchHouse) ask(b *testing.B, method, target, body string, want int) *httptest.ResponseRecorder {
	r, err := http.NewRequestWithContext(context.Background(), method, "http://scim.example.com"+BasePath+target, bytes.NewReader([]byte(body)))
	if err != nil {
		b.Fatal(err)
	}
	w := httptest.NewRecorder()
	h.handler.ServeHTTP(w, r.WithContext(WithCaller(r.Context(), Caller{Tenant: "default", Actor: "bench", Client: "127.0.0.1", Request: "ABCDEFGHIJKLMNOP"})))
	if w.Code != want {
		b.Fatalf("%s %s: %d %s", method, target, w.Code, w.Body)
	}
	return w
}

const benchUsers = 10_000

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

func BenchmarkGet(b *testing.B) {
	h := newBenchHouse(b, benchUsers)
	b.ReportAllocs()
	defer spent(b)()
	for i := 0; b.Loop(); i++ {
		h.ask(b, "GET", "/Users/"+h.ids[i*7919%benchUsers], "", 200)
	}
}

func BenchmarkLookUp(b *testing.B) {
	h := newBenchHouse(b, benchUsers)
	b.ReportAllocs()
	defer spent(b)()
	for i := 0; b.Loop(); i++ {
		h.ask(b, "GET", "/Users?filter="+url.QueryEscape(`userName eq "user`+strconv.Itoa(i*7919%benchUsers)+`@example.com"`), "", 200)
	}
}

// BenchmarkScan is filters of which an index has a part of the values at most, and one that reads every record.
func BenchmarkScan(b *testing.B) {
	h := newBenchHouse(b, benchUsers)
	for name, filter := range map[string]string{
		"terms":   `emails[type eq "work" and value co "%d77@"]`,
		"records": `title co "specialist %d"`,
		"nested":  `addresses[type eq "work" and locality co "Bern%d"]`,
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			defer spent(b)()
			for i := 0; b.Loop(); i++ {
				h.ask(b, "GET", "/Users?filter="+url.QueryEscape(fmt.Sprintf(filter, i%100)), "", 200)
			}
		})
	}
}

func BenchmarkCreate(b *testing.B) {
	h := newBenchHouse(b, 0)
	var n atomic.Int64
	b.ReportAllocs()
	defer spent(b)()
	b.SetParallelism(32)
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			h.ask(b, "POST", "/Users", benchUser(int(n.Add(1))), 201)
		}
	})
}

func BenchmarkPatch(b *testing.B) {
	h := newBenchHouse(b, benchUsers)
	var n atomic.Int64
	b.ReportAllocs()
	defer spent(b)()
	b.SetParallelism(32)
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			i := int(n.Add(1))
			h.ask(b, "PATCH", "/Users/"+h.ids[i*7919%benchUsers], fmt.Sprintf(`{"schemas":["urn:ietf:params:scim:api:messages:2.0:PatchOp"],"Operations":[{"op":"Replace","path":"title","value":"T %d"}]}`, i), 200)
		}
	})
}
