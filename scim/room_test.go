package scim

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
)

// holding is a client that goes away in the middle of an answer, behind a writer that goes on with what it was given.
type holding struct {
	header http.Header
	held   []byte // as it was given
	copied []byte // as it was then
}

func (w *holding) Header() http.Header { return w.header }
func (w *holding) WriteHeader(int)     {}
func (w *holding) Write(p []byte) (int, error) {
	w.held, w.copied = p, bytes.Clone(p)
	return len(p) / 2, errors.New("gone")
}

// What requests have in common, such as buffers, shows nobody anything of another one's answer, however long the two are, and
// whatever becomes of them.
func TestAnswersAreNobodyElses(t *testing.T) {
	h := openHouse(t, Options{})
	lengths := []int{1, 3, 700, 5_000, 60_000, mostRoom + 1}
	ids, alone, tags := make([]string, len(lengths)), make([]string, len(lengths)), make([]string, len(lengths))
	mark := func(i int) string { return fmt.Sprintf("mark%dend", i) }
	by := func(i int) string { return "/Users?filter=" + url.QueryEscape(fmt.Sprintf("userName eq %q", mark(i))) }
	serve := func(w http.ResponseWriter, method, target string, header ...string) {
		r := httptest.NewRequestWithContext(WithCaller(t.Context(), h.caller), method, "https://"+header[0]+BasePath+target, nil)
		for i := 1; i < len(header); i += 2 {
			r.Header.Set(header[i], header[i+1])
		}
		h.handler.ServeHTTP(w, r)
	}
	for i, n := range lengths {
		ids[i] = h.user(mark(i), fmt.Sprintf(`"title":%q,"emails":[{"value":%q,"type":"work"}],"%s":{"department":%q}`,
			strings.Repeat(mark(i), n/len(mark(i))+1), mark(i)+"@example.com", EnterpriseUserURN, mark(i)))
	}
	for i := 1; i < len(ids); i += 2 {
		h.group("group of "+mark(i), ids[i])
	}
	host := func(i int) string { return mark(i) + ".example" }
	for i, id := range ids {
		w := httptest.NewRecorder()
		serve(w, "GET", "/Users/"+id, host(i))
		alone[i], tags[i] = w.Body.String(), w.Header().Get("ETag")
	}
	foreign := func(i int, s string) string {
		for j := range ids {
			if j != i && (strings.Contains(s, mark(j)) || strings.Contains(s, ids[j])) {
				return mark(j)
			}
		}
		return ""
	}
	var all sync.WaitGroup
	for g := range uint64(8) {
		all.Go(func() {
			rnd := rand.New(rand.NewPCG(1, g))
			var held []*holding
			for range 200 {
				i := rnd.IntN(len(ids))
				w := httptest.NewRecorder()
				want := ""
				switch rnd.IntN(8) {
				case 0:
					serve(w, "GET", "/Users/"+ids[i]+"?attributes=title", host(i))
				case 1:
					serve(w, "HEAD", "/Users/"+ids[i], host(i))
				case 2:
					serve(w, "GET", by(i), host(i))
					if !strings.HasSuffix(w.Body.String(), `"Resources":[`+alone[i]+"]}") {
						t.Errorf("the list of %s: %.3000s", mark(i), w.Body)
					}
				case 3:
					serve(w, "GET", by(len(ids)), host(i))
					want = `{"schemas":["urn:ietf:params:scim:api:messages:2.0:ListResponse"],"totalResults":0,"itemsPerPage":0,"startIndex":1,"Resources":[]}`
				case 4:
					serve(w, "GET", "/Users/"+ids[i], host(i), "If-None-Match", tags[i])
					if w.Code != http.StatusNotModified {
						t.Errorf("%d", w.Code)
					}
				case 5:
					serve(w, "GET", "/Users/"+mark(i)+"?count=1", host(i))
					if w.Code != http.StatusNotFound {
						t.Errorf("%d", w.Code)
					}
				case 6:
					gone := &holding{header: http.Header{}}
					serve(gone, "GET", []string{"/Users/" + ids[i], by(i)}[rnd.IntN(2)], host(i))
					held = append(held, gone)
					continue
				default:
					serve(w, "GET", "/Users/"+ids[i], host(i))
					want = alone[i]
				}
				if got := w.Body.String(); want != "" && got != want {
					t.Errorf("of %s: %.3000s\nwant %.3000s", mark(i), got, want)
				}
				if other := foreign(i, w.Body.String()+fmt.Sprint(w.Header())); other != "" {
					t.Errorf("%s is told of %s: %.3000s", mark(i), other, w.Body)
				}
			}
			for _, w := range held {
				if !bytes.Equal(w.held, w.copied) {
					t.Errorf("written over: %.3000s\nwas %.3000s", w.held, w.copied)
				}
			}
		})
	}
	all.Wait()
}

// An examiner that was released knows nothing of whom it has served.
func TestReleasedExaminer(t *testing.T) {
	h := openHouse(t, Options{})
	ada := h.user("ada", `"title":"Countess"`)
	h.group("Ops", ada)
	h.ask("GET", "/Users/"+ada, "").want(200)
	x := takeExaminer(nil, nil, nil, "")
	if x.r.ID != "" || x.r.where != "" || x.r.stored != nil || x.r.Object != nil || x.c != nil || x.id != "" || x.tx != nil || x.stored.text != nil || len(x.stored.spans) > 0 || len(x.links.links) > 0 {
		t.Errorf("%+v", x)
	}
	for _, s := range x.stored.spans[:cap(x.stored.spans)] {
		if s != (span{}) {
			t.Errorf("a span of a body: %+v", s)
		}
	}
	for _, l := range x.links.links[:cap(x.links.links)] {
		if l.From.ID != "" || l.To.ID != "" || l.Body != nil {
			t.Errorf("a link: %+v", l)
		}
	}
}
