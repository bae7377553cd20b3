package bench

import (
	"bytes"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"scimbox/scim"
	"scimbox/storage"
)

// BenchmarkChurn makes users, changes each of them twenty times, and reports what one takes on disk after an orderly stop. It
// goes through the protocol without a network, so that rows are what a server writes. SCIMBOX_CHURN_DIR keeps the store to
// be looked at.
func BenchmarkChurn(b *testing.B) {
	const users, times, conns = 5000, 20, 64
	for b.Loop() {
		dir := os.Getenv("SCIMBOX_CHURN_DIR")
		if dir == "" {
			dir = b.TempDir()
		}
		imported := churned(b, dir, users, 0, conns)
		changed := churned(b, dir, users, times, conns)
		again := churned(b, dir, users, times, conns)
		b.ReportMetric(float64(imported)/users, "B/user-imported")
		b.ReportMetric(float64(changed)/users, "B/user-changed")
		b.ReportMetric(float64(again)/users, "B/user-changed-again")
	}
}

// churned opens a store, makes the users that are not there or changes each so many times, stops it, and returns how much it
// takes on disk.
func churned(b *testing.B, dir string, users, times, conns int) int64 {
	b.Helper()
	store, err := storage.OpenDir(b.Context(), dir, storage.Options{MinFree: -1})
	if err != nil {
		b.Fatal(err)
	}
	types, err := scim.NewTypes("")
	if err != nil {
		b.Fatal(err)
	}
	service, err := scim.NewService(b.Context(), store, types, scim.Options{})
	if err != nil {
		b.Fatal(err)
	}
	h := scim.NewHandler(service)
	var request atomic.Int64
	ask := func(method, path string, body []byte) *httptest.ResponseRecorder {
		r := httptest.NewRequest(method, "http://scim.example.com"+scim.BasePath+path, bytes.NewReader(body))
		id := fmt.Sprintf("%016X", uint64(request.Add(1))*0x9E3779B97F4A7C15) // as random as those that a server makes
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r.WithContext(scim.WithCaller(r.Context(), scim.Caller{Tenant: "default", Actor: "k7WqJm2x", Client: "192.0.2.17", Request: id})))
		if w.Code >= 300 {
			b.Errorf("%s %s: %d %s", method, path, w.Code, w.Body)
		}
		return w
	}
	each := func(n int, do func(i int)) {
		var next atomic.Int64
		var wg sync.WaitGroup
		for range conns {
			wg.Go(func() {
				for i := int(next.Add(1)) - 1; i < n; i = int(next.Add(1)) - 1 {
					do(i)
				}
			})
		}
		wg.Wait()
	}
	if times == 0 {
		each(users, func(i int) { ask(http.MethodPost, "/Users", userBody(i)) })
	} else {
		ids := make([]string, 0, users)
		err := store.View(b.Context(), "default", func(tx *storage.Tx) error {
			for rec, err := range tx.Records("User") {
				if err != nil {
					return err
				}
				ids = append(ids, strings.Clone(rec.ID))
			}
			return nil
		})
		if err != nil {
			b.Fatal(err)
		}
		each(users*times, func(i int) {
			ask(http.MethodPatch, "/Users/"+ids[i%users], patchBody("title", fmt.Sprint("Engineer ", i)))
		})
	}
	if err := store.Close(); err != nil {
		b.Fatal(err)
	}
	size, err := diskSize(dir)
	if err != nil {
		b.Fatal(err)
	}
	return size
}
