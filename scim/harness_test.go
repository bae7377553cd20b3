package scim

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"scimbox/storage"
)

// What the tests of protocol and service stand on: a service over an engine in memory, which counts what is read and
// fails when it is told to.

// house is one service with everything below it.
type house struct {
	t       testing.TB
	probe   *probe
	clock   *stoppedClock
	store   *storage.Store
	service *Service
	handler http.Handler
	caller  Caller // of the requests that name no other
}

// openHouse starts a service with the schemas that scimbox brings along. Its clock moves on only with each change, and
// its URL is https://scim.example.
func openHouse(t testing.TB, o Options) *house {
	return openHouseOn(t, newProbe(), builtinTypes(t), o)
}

// openHouseOn starts a service on an engine that may hold data already.
func openHouseOn(t testing.TB, p *probe, types *Types, o Options) *house {
	t.Helper()
	h, err := tryHouse(t, p, types, o)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func tryHouse(t testing.TB, p *probe, types *Types, o Options) (*house, error) {
	t.Helper()
	h := &house{t: t, probe: p, clock: &stoppedClock{now: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)}, caller: Caller{Tenant: "default", Actor: "tok"}}
	if o.PublicURL == "" {
		o.PublicURL = "https://scim.example"
	}
	if o.Clock == nil {
		o.Clock = h.clock.Now
	}
	var err error
	if h.store, err = storage.Open(t.Context(), p, storage.Options{Clock: h.clock.Now}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(h.close)
	if h.service, err = NewService(t.Context(), h.store, types, o); err != nil {
		return nil, err
	}
	h.handler = NewHandler(h.service)
	return h, nil
}

// close closes the store and leaves the engine as it is, so that another house can be opened on it. Whatever a test has
// done, everything derived must be as the records say, and no body may have a name twice.
func (h *house) close() {
	h.t.Helper()
	h.namesOnce()
	switch report, err := h.store.Check(context.Background(), storage.CheckOptions{}); {
	case errors.Is(err, storage.ErrClosed):
	case err != nil:
		h.t.Error(err)
	case len(report.Findings) > 0:
		h.t.Errorf("the store is not in order: %+v", report.Findings)
	}
	if err := h.store.Close(); err != nil {
		h.t.Error(err)
	}
}

// namesOnce looks at the names at the top of all bodies: a scan reads none of them behind what it looks for.
func (h *house) namesOnce() {
	h.t.Helper()
	ctx := context.Background()
	if h.service == nil {
		return
	}
	tenants, _ := h.store.Tenants(ctx) // a test may have closed it, or broken it
	for _, tenant := range tenants {
		_ = h.store.View(ctx, tenant, func(tx *storage.Tx) error {
			for _, typ := range h.service.types.ResourceTypes {
				for rec, err := range tx.BareRecords(typ.Name) {
					if err != nil {
						return err
					}
					if names := twice(rec.Body); names != "" {
						h.t.Errorf("the body of %s has %s twice: %.2000s", rec.ID, names, rec.Body)
					}
				}
			}
			return nil
		})
	}
}

// twice returns a name that stands twice at the top of a body, whatever the case of its letters; "" if none does.
func twice(body []byte) string {
	d := jsontext.NewDecoder(bytes.NewReader(body), jsontext.AllowDuplicateNames(true))
	if _, err := d.ReadToken(); err != nil {
		return ""
	}
	seen := map[string]bool{}
	for d.PeekKind() == '"' {
		t, err := d.ReadToken()
		if err != nil {
			return ""
		}
		name := foldName(t.String())
		if seen[name] {
			return name
		}
		seen[name] = true
		if d.SkipValue() != nil {
			return ""
		}
	}
	return ""
}

// stoppedClock is a clock that goes on by a millisecond whenever it is looked at.
type stoppedClock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *stoppedClock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(time.Millisecond)
	return c.now
}

func (c *stoppedClock) add(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// typesWith returns the schemas of scimbox and those of a file with this text.
func typesWith(t testing.TB, text string) *Types {
	t.Helper()
	file := filepath.Join(t.TempDir(), "schemas.json")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	types, err := NewTypes(file)
	if err != nil {
		t.Fatal(err)
	}
	return types
}

// reply is what a request was answered.
type reply struct {
	t      testing.TB
	asked  string
	status int
	header http.Header
	body   []byte
}

// as is the house seen by another caller.
func (h *house) as(change func(*Caller)) *house {
	c := *h
	change(&c.caller)
	return &c
}

// in is the house for a subtest.
func (h *house) in(t testing.TB) *house {
	c := *h
	c.t = t
	return &c
}

func (h *house) tenant(name string) *house { return h.as(func(c *Caller) { c.Tenant = name }) }
func (h *house) preset(name string) *house { return h.as(func(c *Caller) { c.Preset = name }) }

// ask sends a request: target is the path below BasePath, in which blanks and the like are not yet escaped, body is JSON or
// "", and header is "Name: value" lines. Whatever the answer is, it must have the form of one.
func (h *house) ask(method, target, body string, header ...string) *reply {
	h.t.Helper()
	r := httptest.NewRequest(method, BasePath+escaped(target), strings.NewReader(body))
	if body != "" {
		r.Header.Set("Content-Type", scimJSON)
	}
	for _, line := range header {
		name, value, _ := strings.Cut(line, ": ")
		r.Header.Set(name, value)
	}
	return h.serve(r)
}

func (h *house) serve(r *http.Request) *reply {
	h.t.Helper()
	w := httptest.NewRecorder()
	h.handler.ServeHTTP(w, r.WithContext(WithCaller(r.Context(), h.caller)))
	a := &reply{t: h.t, asked: r.Method + " " + r.URL.RequestURI(), status: w.Code, header: w.Result().Header, body: w.Body.Bytes()}
	a.wellFormed(r.Method)
	return a
}

// wellFormed checks what holds for every answer: JSON of the right type, a SCIM error where it is an error (RFC 7644 section
// 3.12), and no body where there must be none.
func (a *reply) wellFormed(method string) {
	a.t.Helper()
	switch {
	case a.status == http.StatusNoContent || a.status == http.StatusNotModified || method == http.MethodHead:
		if len(a.body) > 0 {
			a.t.Errorf("%s: %d with a body: %s", a.asked, a.status, a.body)
		}
		return
	case len(a.body) == 0:
		a.t.Errorf("%s: %d without a body", a.asked, a.status)
		return
	}
	if ct := a.header.Get("Content-Type"); ct != scimJSON && ct != plainJSON {
		a.t.Errorf("%s: %d with Content-Type %q", a.asked, a.status, ct)
	}
	if n := a.header.Get("Content-Length"); n != fmt.Sprint(len(a.body)) {
		a.t.Errorf("%s: Content-Length %q for %d bytes", a.asked, n, len(a.body))
	}
	if !json.Valid(a.body) {
		a.t.Errorf("%s: %d with a body that is no JSON: %s", a.asked, a.status, a.body)
	}
	if a.status < 400 {
		return
	}
	if a.text("schemas", 0) != errorURN || a.text("status") != fmt.Sprint(a.status) || a.text("detail") == "" {
		a.t.Errorf("%s: %d without a SCIM error: %s", a.asked, a.status, a.body)
	}
}

// want fails the test unless the answer has a status.
func (a *reply) want(status int) *reply {
	a.t.Helper()
	if a.status != status {
		a.t.Fatalf("%s: %d, want %d\n%s", a.asked, a.status, status, a.body)
	}
	return a
}

// refused fails the test unless the answer is an error with a status and a scimType.
func (a *reply) refused(status int, scimType string) *reply {
	a.t.Helper()
	a.want(status)
	if got := a.text("scimType"); got != scimType {
		a.t.Errorf("%s: scimType %q, want %q\n%s", a.asked, got, scimType, a.body)
	}
	return a
}

// at returns what stands in the body at a path of member names and indices; nil if nothing does.
func (a *reply) at(path ...any) any {
	a.t.Helper()
	var v any
	d := json.NewDecoder(bytes.NewReader(a.body))
	d.UseNumber()
	if err := d.Decode(&v); err != nil {
		a.t.Fatalf("%s: %v: %s", a.asked, err, a.body)
	}
	return dig(v, path...)
}

func dig(v any, path ...any) any {
	for _, p := range path {
		switch p := p.(type) {
		case string:
			m, _ := v.(map[string]any)
			v = m[p]
		case int:
			l, _ := v.([]any)
			if p >= len(l) {
				return nil
			}
			v = l[p]
		}
	}
	return v
}

// text returns what stands at a path as text, "" if nothing does.
func (a *reply) text(path ...any) string {
	a.t.Helper()
	v := a.at(path...)
	if v == nil {
		return ""
	}
	if s, ok := v.(string); ok {
		return s
	}
	b, err := json.Marshal(v)
	if err != nil {
		a.t.Fatal(err)
	}
	return string(b)
}

func (a *reply) id() string { a.t.Helper(); return a.text("id") }

func (a *reply) etag() string { return a.header.Get("ETag") }

// ids returns the ids of a list's resources.
func (a *reply) ids() []string {
	a.t.Helper()
	l, _ := a.at("Resources").([]any)
	ids := make([]string, 0, len(l))
	for _, r := range l {
		ids = append(ids, dig(r, "id").(string))
	}
	return ids
}

// total returns totalResults, -1 if there is none.
func (a *reply) total() int {
	a.t.Helper()
	n, ok := a.at("totalResults").(json.Number)
	if !ok {
		return -1
	}
	i, err := n.Int64()
	if err != nil {
		a.t.Fatal(err)
	}
	return int(i)
}

// user makes a user of a name and of whatever else members say, and returns its id.
func (h *house) user(name, members string) string {
	h.t.Helper()
	return h.ask("POST", "/Users", `{"schemas":["`+UserURN+`"],"userName":`+quoted(name)+also(members)+`}`).want(201).id()
}

// group makes a group with members, and returns its id.
func (h *house) group(name string, members ...string) string {
	h.t.Helper()
	return h.ask("POST", "/Groups", `{"schemas":["`+GroupURN+`"],"displayName":`+quoted(name)+`,"members":`+refs(members...)+`}`).want(201).id()
}

// patch sends operations, in JSON.
func (h *house) patch(target string, ops ...string) *reply {
	h.t.Helper()
	return h.ask("PATCH", target, patchBody(ops...))
}

func patchBody(ops ...string) string {
	return `{"schemas":["` + patchURN + `"],"Operations":[` + strings.Join(ops, ",") + `]}`
}

func also(members string) string {
	if members == "" {
		return ""
	}
	return "," + members
}

// refs writes ids as values of members.
func refs(ids ...string) string {
	l := make([]string, len(ids))
	for i, id := range ids {
		l[i] = `{"value":` + quoted(id) + `}`
	}
	return "[" + strings.Join(l, ",") + "]"
}

func quoted(s string) string {
	b, err := json.Marshal(s)
	if err != nil {
		panic(err)
	}
	return string(b)
}

// escaped escapes in a target what a person writes and a URL cannot hold.
func escaped(target string) string {
	var b strings.Builder
	for i := range len(target) {
		if c := target[i]; c <= ' ' || c >= 0x7F || strings.IndexByte("\"<>[]\\^`{|}#", c) >= 0 {
			fmt.Fprintf(&b, "%%%02X", c)
		} else {
			b.WriteByte(c)
		}
	}
	return b.String()
}

// dump writes out every row of the engine, for comparisons.
func (h *house) dump() string {
	h.t.Helper()
	var b strings.Builder
	err := h.probe.Engine.View(context.Background(), func(r storage.Reader) error {
		for it, err := range r.Scan(storage.Range{}) {
			if err != nil {
				return err
			}
			fmt.Fprintf(&b, "%q = %q\n", it.Key, it.Value)
		}
		return nil
	})
	if err != nil {
		h.t.Fatal(err)
	}
	return b.String()
}

// unchanged runs do and fails the test if a row of the store is not what it was before.
func (h *house) unchanged(do func()) {
	h.t.Helper()
	seq, before := h.store.LastSeq(), h.dump()
	do()
	if now := h.store.LastSeq(); now != seq {
		h.t.Errorf("the journal went from %d to %d", seq, now)
	}
	if after := h.dump(); after != before {
		h.t.Errorf("rows are different:\n%s", differing(before, after))
	}
}

func differing(before, after string) string {
	was := map[string]bool{}
	for l := range strings.Lines(before) {
		was[l] = true
	}
	var b strings.Builder
	for l := range strings.Lines(after) {
		if was[l] {
			delete(was, l)
			continue
		}
		b.WriteString("+ " + l)
	}
	for l := range was {
		b.WriteString("- " + l)
	}
	return b.String()
}

// probe is an engine that counts what is read of the one below, and fails when it is told to. It outlives the stores that
// are opened on it.
type probe struct {
	storage.Engine

	mu      sync.Mutex
	read    map[byte]int // rows that were read, by the letter of their family
	scanned map[byte]int // and of these, those that were come across in a scan
	fail    func() fault // asked at each commit; nil = none fails
}

// fault is what becomes of a commit.
type fault int

const (
	kept    fault = iota // it succeeds
	refused              // nothing is written, and the store is told so
	lost                 // nothing is written, and nobody knows
	hidden               // all is written, and nobody knows
)

var errFault = errors.New("the disk has failed, as the test has told it to")

func newProbe() *probe {
	return &probe{Engine: storage.Memory(), read: map[byte]int{}, scanned: map[byte]int{}}
}

// Close leaves the engine below open.
func (*probe) Close() error { return nil }

func (p *probe) count(key []byte, scan bool) {
	if len(key) == 0 {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.read[key[0]]++
	if scan {
		p.scanned[key[0]]++
	}
}

// reads runs do and returns how many rows of the families were read meanwhile.
func (p *probe) reads(families string, do func()) int { return p.counted(p.read, families, do) }

// scans runs do and returns how many rows of the families a scan came across meanwhile.
func (p *probe) scans(families string, do func()) int { return p.counted(p.scanned, families, do) }

func (p *probe) counted(in map[byte]int, families string, do func()) int {
	sum := func() (n int) {
		p.mu.Lock()
		defer p.mu.Unlock()
		for i := range len(families) {
			n += in[families[i]]
		}
		return n
	}
	before := sum()
	do()
	return sum() - before
}

// failing sets what becomes of commits from now on.
func (p *probe) failing(f func() fault) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.fail = f
}

func (p *probe) next() fault {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.fail == nil {
		return kept
	}
	return p.fail()
}

func (p *probe) View(ctx context.Context, fn func(storage.Reader) error) error {
	return p.Engine.View(ctx, func(r storage.Reader) error { return fn(countingReader{r, p}) })
}

func (p *probe) Update(ctx context.Context, fn func(storage.Writer) error) error {
	is := kept
	err := p.Engine.Update(ctx, func(w storage.Writer) error {
		if err := fn(countingWriter{w, countingReader{w, p}}); err != nil {
			return err
		}
		switch is = p.next(); is {
		case refused:
			return errFault
		case lost:
			return fmt.Errorf("%w: %w", storage.ErrUnknownOutcome, errFault)
		}
		return nil
	})
	if err == nil && is == hidden {
		return fmt.Errorf("%w: %w", storage.ErrUnknownOutcome, errFault)
	}
	return err
}

type countingReader struct {
	storage.Reader
	p *probe
}

func (r countingReader) Get(key []byte) ([]byte, error) {
	r.p.count(key, false)
	return r.Reader.Get(key)
}

func (r countingReader) Scan(span storage.Range) iter.Seq2[storage.Item, error] {
	return func(yield func(storage.Item, error) bool) {
		for it, err := range r.Reader.Scan(span) {
			r.p.count(it.Key, true)
			if !yield(it, err) {
				return
			}
		}
	}
}

type countingWriter struct {
	storage.Writer
	r countingReader
}

func (w countingWriter) Get(key []byte) ([]byte, error) { return w.r.Get(key) }

func (w countingWriter) Scan(span storage.Range) iter.Seq2[storage.Item, error] {
	return w.r.Scan(span)
}

// brokenBody is a request body that ends in an error.
type brokenBody struct{ io.Reader }

func (b brokenBody) Read(p []byte) (int, error) {
	n, err := b.Reader.Read(p)
	if errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return n, err
}
