package scim

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"

	"scimbox/storage"
)

// Two goroutines read a long scan, and what they answer is what one would have answered, wherever they meet and whatever goes wrong.

// sharing is an engine whose readers are for several goroutines, and which tells of what scans of records do.
type sharing struct {
	storage.Engine

	mu     sync.Mutex
	shared int                                   // how often a second one was asked for
	before func(backward bool, key string) error // a row is yielded; may be nil, may panic
	ended  func(backward bool)                   // may be nil
}

func (e *sharing) View(ctx context.Context, fn func(storage.Reader) error) error {
	return e.Engine.View(ctx, func(r storage.Reader) error { return fn(sharedReader{r, e}) })
}

func (*sharing) Close() error { return nil } // the probe's engine is closed by nobody either

type sharedReader struct {
	storage.Reader
	e *sharing
}

func (r sharedReader) Share() storage.Reader {
	r.e.mu.Lock()
	defer r.e.mu.Unlock()
	r.e.shared++
	return r
}

func (r sharedReader) Scan(span storage.Range) iter.Seq2[storage.Item, error] {
	if len(span.Start) == 0 || span.Start[0] != 'r' {
		return r.Reader.Scan(span)
	}
	return func(yield func(storage.Item, error) bool) {
		if r.e.ended != nil {
			defer r.e.ended(span.Reverse)
		}
		for it, err := range r.Reader.Scan(span) {
			if r.e.before != nil && err == nil {
				err = r.e.before(span.Reverse, string(it.Key))
			}
			if !yield(it, err) || err != nil {
				return
			}
		}
	}
}

// sharingHouse is a service with n users on such an engine.
type sharingHouse struct {
	*Service
	engine *sharing
	store  *storage.Store
	t      *ResourceType
	ids    []string
}

func newSharingHouse(t *testing.T, n int, o Options) *sharingHouse {
	t.Helper()
	before := processors
	processors = func() int32 { return 2 } // also on a machine that has one
	t.Cleanup(func() { processors = before })
	e := &sharing{Engine: storage.Memory()}
	store, err := storage.Open(t.Context(), e, storage.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = store.Close() })
	types := builtinTypes(t)
	s, err := NewService(t.Context(), store, types, o)
	if err != nil {
		t.Fatal(err)
	}
	h := &sharingHouse{Service: s, engine: e, store: store, t: types.ByName("User")}
	for i := range n {
		name := fmt.Sprintf("u%03d", i)
		body, err := parseJSON([]byte(`{"userName":"` + name + `","title":"` + strings.Repeat(name+" ", 1+i%3) + `","phoneNumbers":` + phones(i%7) + `}`))
		if err != nil {
			t.Fatal(err)
		}
		c := h.call()
		a, err := s.create(t.Context(), &c, body)
		if err != nil {
			t.Fatal(err)
		}
		h.ids = append(h.ids, a.id)
	}
	slices.Sort(h.ids)
	return h
}

func (h *sharingHouse) call() call {
	c := call{caller: Caller{Tenant: "default", Actor: "tok"}, t: h.t, base: "https://scim.example" + BasePath}
	c.q = quirksFor(c.caller, h.o)
	c.shown, _ = newProjection(h.t, nil, nil, c.q)
	return c
}

// matches answers a query, by two goroutines if both is set, and returns how much of its work is left too.
func (h *sharingHouse) matches(t *testing.T, q query, steps int, both bool) (string, error) {
	t.Helper()
	h.o.shareAfter = 1
	if !both {
		h.o.shareAfter = 1 << 30
	}
	c := h.call()
	parts, err := h.bind(&c, []*ResourceType{h.t}, q)
	if err != nil {
		t.Fatal(err)
	}
	p := &parts[0]
	if steps > 0 {
		p.work.left = steps
	}
	var list []match
	err = h.store.View(t.Context(), "default", func(tx *storage.Tx) error {
		list, err = h.Service.matches(tx, &c, p, q.descending)
		return err
	})
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("%q, %d steps left, keys of %d bytes", list, p.work.left, p.keys), nil
}

// expect compares how often somebody was asked to help since it was called last.
func (h *sharingHouse) expect(t *testing.T, want int) {
	t.Helper()
	h.engine.mu.Lock()
	defer h.engine.mu.Unlock()
	if h.engine.shared != want {
		t.Errorf("%d were asked to help, want %d", h.engine.shared, want)
	}
	h.engine.shared = 0
}

func (h *sharingHouse) index(key string) int {
	at, ok := slices.BinarySearch(h.ids, key[strings.LastIndexByte(key, 0)+1:])
	if !ok {
		return -1
	}
	return at
}

var sharedQueries = []query{
	{filtered: true, filter: `title co "u01"`},
	{filtered: true, filter: `not (title co "5")`, sortBy: "title"},
	{filtered: true, filter: `phoneNumbers.value eq "e3" or title ew "7 "`, sortBy: "title", descending: true},
	{filtered: true, filter: `title co "nobody"`},
}

// Wherever the two meet, everything is read once.
func TestSharedScanMeetsAnywhere(t *testing.T) {
	const n = 40
	h := newSharingHouse(t, n, Options{})
	for _, q := range sharedQueries {
		want, err := h.matches(t, q, 0, false)
		if err != nil {
			t.Fatal(err)
		}
		h.expect(t, 0)
		for stop := 2; stop <= n; stop++ { // the first goes there, and on when the second has ended
			ended := make(chan struct{})
			var once sync.Once
			h.engine.before = func(backward bool, key string) error {
				if !backward && h.index(key) == stop {
					<-ended
				}
				return nil
			}
			h.engine.ended = func(backward bool) {
				if backward {
					once.Do(func() { close(ended) })
				}
			}
			if got, err := h.matches(t, q, 0, true); err != nil || got != want {
				t.Errorf("%s, meeting at %d: %s, %v\nwant %s", q.filter, stop, got, err, want)
			}
			h.expect(t, 1)
		}
		h.engine.before, h.engine.ended = nil, nil
		for range 20 { // wherever it comes to
			if got, err := h.matches(t, q, 0, true); err != nil || got != want {
				t.Errorf("%s: %s, %v\nwant %s", q.filter, got, err, want)
			}
		}
		h.engine.shared = 0
	}
}

// Whatever goes wrong, and with whom of the two, is told as if there had been one.
func TestSharedScanFails(t *testing.T) {
	const n = 30
	h := newSharingHouse(t, n, Options{})
	q := sharedQueries[2]
	whole, err := h.matches(t, q, 1<<20, false)
	if err != nil {
		t.Fatal(err)
	}
	var left, keys int
	if _, err := fmt.Sscanf(whole[strings.LastIndex(whole, "],")+2:], "%d steps left, keys of %d bytes", &left, &keys); err != nil {
		t.Fatal(err)
	}
	all := 1<<20 - left
	broken := errors.New("broken")
	for range 300 {
		var bad []int // records that cannot be read
		for range rand.IntN(3) {
			bad = append(bad, rand.IntN(n))
		}
		steps := all - 1 + rand.IntN(2) // one too few, or just enough
		panics := rand.IntN(2) == 0
		h.engine.before = func(backward bool, key string) error {
			if !slices.Contains(bad, h.index(key)) {
				return nil
			}
			if backward && panics {
				panic("broken")
			}
			return fmt.Errorf("%w at %d", broken, h.index(key))
		}
		want, wantErr := h.matches(t, q, steps, false)
		got, err := h.matches(t, q, steps, true)
		if got != want || fmt.Sprint(err) != fmt.Sprint(wantErr) && !(errors.Is(err, errWork) && errors.Is(wantErr, broken)) {
			t.Errorf("%v broken, %d steps of %d: %s, %v\nwant %s, %v", bad, steps, all, got, err, want, wantErr)
		}
	}
}

// A record that is too much for the second, and one that nobody can decode, are left to the first.
func TestSharedScanGivesBack(t *testing.T) {
	h := newSharingHouse(t, 3, Options{})
	c := h.call()
	body, err := parseJSON([]byte(`{"userName":"many","phoneNumbers":` + phones(30_000) + `}`))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := h.create(t.Context(), &c, body); err != nil {
		t.Fatal(err)
	}
	q := query{filtered: true, filter: `phoneNumbers[type eq "x" or type eq "y" or type eq "z" or display eq "none"]`}
	want, err := h.matches(t, q, 0, false)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := h.matches(t, q, 0, true); err != nil || got != want {
		t.Errorf("%s, %v\nwant %s", got, err, want)
	}
	err = h.store.Update(t.Context(), "default", storage.Origin{}, func(tx *storage.Tx) error {
		rec, err := tx.Get("User", h.ids[2])
		rec.Body = []byte(`{"title":`)
		return errors.Join(err, tx.Put(rec))
	})
	if err != nil {
		t.Fatal(err)
	}
	_, wantErr := h.matches(t, q, 0, false)
	if _, err := h.matches(t, q, 0, true); wantErr == nil || fmt.Sprint(err) != fmt.Sprint(wantErr) {
		t.Errorf("%v, want %v", err, wantErr)
	}
}

// What may not be read is refused without anybody's help, and a client that has gone away ends both.
func TestSharedScanEnds(t *testing.T) {
	h := newSharingHouse(t, 20, Options{MaxScan: 19})
	if _, err := h.matches(t, sharedQueries[0], 0, true); fmt.Sprint(err) != fmt.Sprint(h.tooMany(&part{t: h.t})) {
		t.Errorf("more than max_scan: %v", err)
	}
	h.expect(t, 0)
	h.o.MaxScan = 20
	if _, err := h.matches(t, sharedQueries[0], 0, true); err != nil {
		t.Errorf("as many as max_scan: %v", err)
	}
	h.expect(t, 1)
	gone := errors.New("gone")
	begun := make(chan struct{})
	h.engine.before = func(backward bool, key string) error {
		if backward {
			close(begun)
			runtime.Gosched()
			return gone
		}
		if h.index(key) == 3 {
			<-begun
			return gone
		}
		return nil
	}
	if _, err := h.matches(t, sharedQueries[0], 0, true); !errors.Is(err, gone) {
		t.Errorf("%v, want %v", err, gone)
	}
	if n := scanners.Load(); n != 0 {
		t.Errorf("%d are still counted", n)
	}
}

// There are no more than processors, and a second one goes when somebody else comes.
func TestSharedScanMakesRoom(t *testing.T) {
	h := newSharingHouse(t, 20, Options{})
	want, _ := h.matches(t, sharedQueries[0], 0, false)
	others := processors()
	scanners.Add(others - 1)
	if got, err := h.matches(t, sharedQueries[0], 0, true); err != nil || got != want {
		t.Errorf("%s, %v\nwant %s", got, err, want)
	}
	if n := scanners.Load(); n != others-1 {
		t.Errorf("%d are counted, want %d", n, others-1)
	}
	scanners.Add(1 - others)
	h.expect(t, 0)
	ended := make(chan struct{})
	h.engine.before = func(backward bool, key string) error {
		switch {
		case backward && h.index(key) == 15:
			scanners.Add(others)
		case backward && h.index(key) < 15:
			t.Errorf("the second goes on to %d", h.index(key))
		case !backward && h.index(key) == 2:
			<-ended
		}
		return nil
	}
	h.engine.ended = func(backward bool) {
		if backward {
			scanners.Add(-others)
			close(ended)
		}
	}
	if got, err := h.matches(t, sharedQueries[0], 0, true); err != nil || got != want {
		t.Errorf("%s, %v\nwant %s", got, err, want)
	}
	h.expect(t, 1)
}

// A scan reads of a body what the query asks about, and stops behind it.
func TestAsks(t *testing.T) {
	h := openHouse(t, Options{})
	for _, c := range []struct{ filter, sort, want string }{
		{`title co "x"`, "", "title"},
		{`title co "x" or not (nickName pr) and title pr`, "userName", "title nickName userName"},
		{`addresses[type eq "work" and locality co "B"]`, "name.familyName", "addresses name"},
		{EnterpriseUserURN + `:manager.displayName co "x"`, EnterpriseUserURN + ":department", EnterpriseUserURN},
		{EnterpriseUserURN + `[department eq "x"]`, "", EnterpriseUserURN},
		{`groups.display co "x" or meta.created gt "2026-01-01T00:00:00Z"`, "id", ""},
		{`schemas co "x" or title pr`, "", "any"},
		{`title pr`, "schemas", "any"},
	} {
		parts, err := h.service.bind(&call{caller: h.caller, q: tolerant}, []*ResourceType{h.service.types.ByName("User")}, query{filtered: true, filter: c.filter, sortBy: c.sort})
		if err != nil {
			t.Fatal(err)
		}
		var names []string
		asks := parts[0].asks()
		for _, a := range asks {
			names = append(names, a.Name)
		}
		if asks == nil {
			names = []string{"any"}
		}
		if got := strings.Join(names, " "); got != c.want {
			t.Errorf("%s by %q asks for %s, want %s", c.filter, c.sort, got, c.want)
		}
	}
	// Foreign attributes are asked of no body.
	e, err := ParseFilter(`members pr or title pr`, FilterOptions{})
	if err != nil {
		t.Fatal(err)
	}
	user := h.service.types.ByName("User")
	f, err := BindFilter(user, e, BindOptions{ForeignUnassigned: true})
	if err != nil {
		t.Fatal(err)
	}
	if asks := (&part{t: user, filter: f}).asks(); len(asks) != 1 || asks[0].Name != "title" {
		t.Errorf("%v", asks)
	}
}
