package activity

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"scimbox/storage"
)

var update = flag.Bool("update", false, "rewrite testdata/*.golden")

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(strings.Split(string(want), "\n"), strings.Split(got, "\n")); d != "" {
		t.Errorf("%s: read what has changed, and then go test ./activity -update\n%s", path, d)
	}
}

// clock is a time that tests move, beside the goroutine that writes.
type clock struct {
	mu sync.Mutex
	t  time.Time
}

// newClock begins today, because files have the time of the machine.
func newClock() *clock                        { return &clock{t: time.Now().UTC().Truncate(time.Second)} }
func (c *clock) now() time.Time               { return c.at(0) }
func (c *clock) pass(d time.Duration)         { c.mu.Lock(); defer c.mu.Unlock(); c.t = c.t.Add(d) }
func (c *clock) options() Options             { return Options{Clock: c.now, Base: "/scim/v2", Types: types} }
func (c *clock) at(d time.Duration) time.Time { c.mu.Lock(); defer c.mu.Unlock(); return c.t.Add(d) }

var types = map[string]string{"users": "User", "groups": "Group", "devices": "Device"}

func open(t *testing.T, dir string, o Options) *Log {
	t.Helper()
	l := Open(dir, o)
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
	return l
}

func settle(t *testing.T, l *Log) {
	t.Helper()
	if err := l.Sync(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func stored(t *testing.T, l *Log) []Entry {
	t.Helper()
	var list []Entry
	for e, err := range before(l.dir, ^uint64(0)) {
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, e)
	}
	return list
}

func refusedRequest(c *clock, i int) *Request {
	body := fmt.Appendf(nil, `{"userName":"u%d@example.com","password":"sesame-%d"}`, i, i)
	answer := fmt.Appendf(nil, `{"status":"409","scimType":"uniqueness","detail":"another User has this userName already; it must be unique (request q%d)"}`, i)
	return &Request{
		Time: c.now(), ID: fmt.Sprint("q", i), Token: "aaaaaaaaaaaa", TokenName: "entra", Tenant: "default", Client: "192.0.2.7",
		Method: "POST", Path: "/scim/v2/Users", Status: 409, Duration: 1500 * time.Microsecond, Agent: "test/1",
		Body: Body{body, int64(len(body))}, Answer: Body{answer, int64(len(answer))},
	}
}

func TestRefusedRequestsAreKept(t *testing.T) {
	dir, c := t.TempDir(), newClock()
	l := open(t, dir, c.options())
	l.Record(refusedRequest(c, 1))
	settle(t, l)
	got := stored(t, l)
	want := []Entry{{
		Seq: 1, Time: c.now(), Request: "q1", Token: "aaaaaaaaaaaa", TokenName: "entra", Tenant: "default", Client: "192.0.2.7",
		Method: "POST", Path: "/scim/v2/Users", Op: OpCreate, Type: "User", Name: "u1@example.com", Status: 409, ScimType: "uniqueness",
		Detail: "another User has this userName already; it must be unique", Millis: 1.5, Agent: "test/1",
		Body:   &Kept{Size: 50, JSON: json.RawMessage(`{"userName":"u1@example.com","password":"***"}`)},
		Answer: &Kept{Size: 124, JSON: json.RawMessage(`{"status":"409","scimType":"uniqueness","detail":"another User has this userName already; it must be unique (request q1)"}`)},
	}}
	want[0].Body.Size, want[0].Answer.Size = got[0].Body.Size, got[0].Answer.Size
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	for _, path := range []string{"activity", "activity/0000000000000001.jsonl"} {
		info, err := os.Stat(filepath.Join(dir, path))
		if err != nil {
			t.Fatal(err)
		}
		if info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s has mode %v; others may read it", path, info.Mode())
		}
	}
}

// Whatever was being written when the machine stopped, the entries before it are there, and the next one is whole.
func TestTornLastLine(t *testing.T) {
	c := newClock()
	dir := t.TempDir()
	l := open(t, dir, c.options())
	for i := range 3 {
		l.Record(refusedRequest(c, i))
	}
	settle(t, l)
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	path := segmentPath(l.dir, 1)
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	second := bytes.IndexByte(whole, '\n') + 1
	third := second + bytes.IndexByte(whole[second:], '\n') + 1
	for cutAt := second; cutAt <= len(whole); cutAt += 7 {
		if err := os.WriteFile(path, whole[:cutAt], 0o600); err != nil {
			t.Fatal(err)
		}
		l := Open(dir, c.options())
		l.Record(refusedRequest(c, 9))
		settle(t, l)
		var got []string
		for _, e := range stored(t, l) {
			got = append(got, e.Request)
		}
		want := []string{"q9", "q0"}
		if cutAt >= third {
			want = []string{"q9", "q1", "q0"}
		}
		if cutAt == len(whole) {
			want = []string{"q9", "q2", "q1", "q0"}
		}
		if !slices.Equal(got, want) {
			t.Fatalf("cut at byte %d of %d: %v, want %v", cutAt, len(whole), got, want)
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
	}
	// Blocks that were never written read as zeros.
	if err := os.WriteFile(path, append(bytes.Clone(whole[:second]), "\x00\x00\x00\n"...), 0o600); err != nil {
		t.Fatal(err)
	}
	if got := stored(t, l); len(got) != 1 || got[0].Request != "q0" {
		t.Errorf("with a line of zeros: %v", got)
	}
}

func TestSizeAndAge(t *testing.T) {
	dir, c := t.TempDir(), newClock()
	o := c.options()
	o.MaxSize, o.Keep = 300<<10, 24*time.Hour
	l := open(t, dir, o)
	for i := range 2000 {
		l.Record(refusedRequest(c, i))
		if i%100 == 99 {
			settle(t, l)
		}
	}
	var size int64
	list, err := segments(l.dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range list {
		size += s.size
	}
	if size > o.MaxSize+64<<10 || size < o.MaxSize/2 || len(list) < 3 {
		t.Errorf("%d bytes in %d files, and %d are allowed", size, len(list), o.MaxSize)
	}
	if got := stored(t, l); got[0].Request != "q1999" || got[0].Seq != 2000 {
		t.Errorf("the newest is %s, sequence %d", got[0].Request, got[0].Seq)
	}

	// Sequences go on although all files that had them are gone.
	c.pass(25 * time.Hour)
	l.Record(refusedRequest(c, 5000))
	settle(t, l)
	if got := stored(t, l); len(got) != 1 || got[0].Seq != 2001 {
		t.Errorf("after a day there are %d entries, the first is %d", len(got), got[0].Seq)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	l = open(t, dir, o)
	l.Record(refusedRequest(c, 5001))
	settle(t, l)
	if got := stored(t, l); got[0].Seq != 2002 {
		t.Errorf("after a restart the next sequence is %d", got[0].Seq)
	}
}

// A request never waits: what the disk does not take in time is dropped and counted.
func TestRecordNeverBlocks(t *testing.T) {
	c := newClock()
	o := c.options()
	o.queue = 4
	l := newLog(t.TempDir(), o) // whose goroutine does not run
	l.writes = true
	for i := range 10 {
		l.Record(refusedRequest(c, i))
	}
	if got := l.Stats().Dropped; got != 6 {
		t.Errorf("%d dropped, want 6", got)
	}
}

func TestUnwritableDirectory(t *testing.T) {
	dir, c := t.TempDir(), newClock()
	if err := os.WriteFile(filepath.Join(dir, DirName), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	var said bytes.Buffer
	o := c.options()
	o.Logger = slog.New(slog.NewTextHandler(&said, nil))
	l := open(t, dir, o)
	l.Record(refusedRequest(c, 1))
	settle(t, l)
	if l.Stats().Dropped != 1 || !strings.Contains(said.String(), "refused requests cannot be kept") {
		t.Errorf("%+v\n%s", l.Stats(), &said)
	}
}

func TestStrangersAreLimited(t *testing.T) {
	c := newClock()
	l := open(t, t.TempDir(), c.options())
	for i := range 100 {
		r := refusedRequest(c, i)
		r.Token = ""
		l.Record(r)
	}
	settle(t, l)
	if got := l.Stats(); got.Last != namelessOf || got.Suppressed != 100-namelessOf {
		t.Errorf("%+v", got)
	}
	for i := range 1000 { // from everywhere
		r := refusedRequest(c, i)
		r.Token, r.Client = "", fmt.Sprint("2001:db8::", i)
		l.Record(r)
		if i%50 == 0 {
			settle(t, l)
		}
	}
	if len(l.from) > nameless {
		t.Errorf("%d addresses are remembered", len(l.from))
	}
	c.pass(time.Minute)
	r := refusedRequest(c, 1)
	r.Token = ""
	l.Record(r)
	settle(t, l)
	if got := stored(t, l); !got[0].Time.Equal(c.now()) {
		t.Error("nobody is heard of in the next minute")
	}
}

func TestNothingIsKept(t *testing.T) {
	dir, c := t.TempDir(), newClock()
	o := c.options()
	o.Keep = -1
	l := open(t, dir, o)
	l.Record(refusedRequest(c, 1))
	l.Contact("aaaaaaaaaaaa", "default", "192.0.2.7", "x", Read)
	settle(t, l)
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(l.dir); !errors.Is(err, os.ErrNotExist) || l.Keeps() {
		t.Errorf("there is something: %v", err)
	}
	var none *Log
	none.Record(refusedRequest(c, 1))
	none.Contact("a", "b", "c", "d", Read)
	if none.Keeps() || none.Contacts() != nil || none.Stats() != (Stats{}) || none.Close() != nil {
		t.Error("a nil log does something")
	}
}

func TestContacts(t *testing.T) {
	dir, c := t.TempDir(), newClock()
	l := open(t, dir, c.options())
	for range 6 { // visits, 40 minutes apart, of three requests
		for range 3 {
			l.Contact("aaaaaaaaaaaa", "acme", "192.0.2.7", "Entra/1", Read)
			c.pass(10 * time.Second)
		}
		c.pass(40*time.Minute - 30*time.Second)
	}
	l.Contact("", "", "192.0.2.9", "nobody", Refused)
	l.Contact("aaaaaaaaaaaa", "acme", "192.0.2.8", "Entra/2", Refused)
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	got := Files(dir, c.options()).Contacts()
	if len(got) != 1 {
		t.Fatalf("%+v", got)
	}
	k := got[0]
	if k.Token != "aaaaaaaaaaaa" || k.Tenant != "acme" || k.Client != "192.0.2.8" || k.Agent != "Entra/2" || k.Requests != 19 || k.Reads != 18 ||
		k.Refused != 1 || k.Rhythm.Duration != 40*time.Minute || !k.Last.Equal(c.now()) || !k.LastRefused.Equal(c.now()) || len(k.Visits) != 7 {
		t.Errorf("%+v", k)
	}
	if k.Overdue(c.at(120*time.Minute)) || !k.Overdue(c.at(131*time.Minute)) {
		t.Error("overdue after three times its rhythm and ten minutes")
	}
	// They are written every minute, so that a crash loses no more.
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		l := Open(dir, Options{})
		l.Contact("aaaaaaaaaaaa", "acme", "192.0.2.7", "x", Read)
		time.Sleep(saveEvery + time.Second)
		synctest.Wait()
		if got := Files(dir, Options{}).Contacts(); len(got) != 1 {
			t.Errorf("after a minute: %+v", got)
		}
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
}

// journal is a store with what tests need of it.
type journal struct {
	t     *testing.T
	store *storage.Store
	clock *clock
}

func newJournal(t *testing.T, c *clock) *journal {
	t.Helper()
	s, err := storage.Open(t.Context(), storage.Memory(), storage.Options{Clock: c.now})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return &journal{t, s, c}
}

func (j *journal) log(actor, op, tenant, kind, id, detail string) {
	j.t.Helper()
	by := storage.Origin{Actor: actor, Client: "192.0.2.7", Request: "q-" + id}
	err := j.store.Update(context.Background(), tenant, by, func(tx *storage.Tx) error {
		return tx.Log(storage.Entry{Op: op, Ref: storage.Ref{Tenant: tenant, Kind: kind, ID: id}, Detail: []byte(detail)})
	})
	if err != nil {
		j.t.Fatal(err)
	}
}

func (j *journal) reader(l *Log) *Reader {
	return &Reader{
		Store: j.store, Log: l, Clock: j.clock.now, Mask: NewMask(nil),
		Tokens: func(context.Context) ([]Who, error) {
			return []Who{{Token: "aaaaaaaaaaaa", Name: "entra", Preset: "entra"}, {Token: "bbbbbbbbbbbb", Name: "Nightly", Preset: "okta"}, {Token: "cccccccccccc", Name: "report"}}, nil
		},
		Name: func(_ context.Context, _, resourceType, id string) string {
			return map[string]string{"u1": "bjensen@example.com", "u2": "jsmith@example.com", "g1": "Sales"}[id]
		},
		Find: func(_ context.Context, _, _, attribute, value string) []string {
			return map[string][]string{"userName=u1@example.com": {"u1"}, "userName=bjensen@example.com": {"u1"}}[attribute+"="+value]
		},
	}
}

func sentences(p *Page) []string {
	var l []string
	for _, v := range p.Events {
		l = append(l, v.Sentence)
	}
	return l
}

func TestOneList(t *testing.T) {
	c := newClock()
	j, l := newJournal(t, c), open(t, t.TempDir(), c.options())
	r := j.reader(l)
	for i := range 40 {
		c.pass(time.Second)
		if i%3 == 0 {
			l.Record(refusedRequest(c, i))
		} else {
			j.log("aaaaaaaaaaaa", OpCreate, "default", "User", fmt.Sprint("id", i), fmt.Sprintf(`{"name":"n%d"}`, i))
		}
	}
	settle(t, l)
	var all []Event
	for q := (Query{Limit: 7}); ; {
		p, err := r.List(t.Context(), q)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, p.Events...)
		if !p.More {
			break
		}
		if len(p.Events) != 7 {
			t.Fatalf("a page of %d events and more behind it", len(p.Events))
		}
		// Positions are texts on their way through an address line, and what comes meanwhile does not move them.
		if q.Before, err = ParsePosition(p.Next.String()); err != nil {
			t.Fatal(err)
		}
		c.pass(time.Second)
		j.log("local", OpCreate, "default", "User", fmt.Sprint("late", q.Before), `{"name":"late"}`)
	}
	if len(all) != 40 {
		t.Fatalf("%d events", len(all))
	}
	for i, v := range all {
		if want := 39 - i; want%3 == 0 && v.Request != fmt.Sprint("q", want) || want%3 != 0 && v.Name != fmt.Sprint("n", want) {
			t.Errorf("event %d is %+v", i, v)
		}
	}
	for _, v := range all {
		got, err := r.Get(t.Context(), v.ID)
		if err != nil || got.Sentence != v.Sentence {
			t.Errorf("%s is %+v, %v", v.ID, got, err)
		}
	}
	for _, id := range []string{"", "c", "r", "x1", "c0", "c999", "r999", "c-1", "cr1"} {
		if _, err := r.Get(t.Context(), id); !errors.Is(err, ErrNoEvent) && id != "cr1" {
			t.Errorf("%q: %v", id, err)
		}
	}
	if _, err := ParsePosition("c1"); err == nil {
		t.Error("c1 is taken for a position")
	}

	for name, test := range map[string]struct {
		q    Query
		want int
	}{
		"failed":           {Query{Failed: true}, 14},
		"token by name":    {Query{Token: "Entra"}, 40},
		"another token":    {Query{Token: "report"}, 0},
		"operation":        {Query{Op: OpDelete}, 0},
		"type":             {Query{Type: "user"}, 45},
		"another type":     {Query{Type: "Group"}, 0},
		"tenant":           {Query{Tenant: "acme"}, 0},
		"a resource":       {Query{Resource: "id4"}, 1},
		"by name":          {Query{Resource: "N4"}, 1},
		"of a refusal":     {Query{Resource: "u9@example.com"}, 1},
		"text":             {Query{Text: "ALREADY"}, 14},
		"text of a change": {Query{Text: "n31"}, 1},
		"since":            {Query{Since: c.at(-10 * time.Second)}, 11},
		"until":            {Query{Until: c.at(-10 * time.Second)}, 34},
	} {
		t.Run(name, func(t *testing.T) {
			test.q.Limit = 1000
			p, err := r.List(t.Context(), test.q)
			if err != nil || len(p.Events) != test.want {
				t.Errorf("%d events, %v, want %d: %q", len(p.Events), err, test.want, sentences(p))
			}
		})
	}

	// What is not found is not looked for forever in one go.
	p, err := r.List(t.Context(), Query{Text: "nowhere", Scan: 10})
	if err != nil || !p.More || len(p.Events) != 0 {
		t.Fatalf("%+v, %v", p, err)
	}
	if p, err = r.List(t.Context(), Query{Text: "n31", Before: p.Next}); err != nil || len(p.Events) != 1 {
		t.Errorf("%+v, %v", p, err)
	}
}

// What is masked in the activity is masked in what it shows of the journal, too.
func TestMaskedJournal(t *testing.T) {
	c := newClock()
	j := newJournal(t, c)
	j.log("aaaaaaaaaaaa", OpPatch, "default", "User", "u1",
		`{"name":"bjensen@example.com","changes":[{"path":"name.familyName","old":"Jensen","new":"Smith"},{"path":"title","new":"Boss"},{"path":"emails","new":[{"value":"b@example.com","type":"work"}]}]}`)
	r := j.reader(nil)
	r.Mask = NewMask([]string{"name", "emails.value", "userName"})
	p, err := r.List(t.Context(), Query{})
	if err != nil {
		t.Fatal(err)
	}
	b, err := json.Marshal(p.Events)
	if err != nil {
		t.Fatal(err)
	}
	for _, secret := range []string{"Jensen", "Smith", "b@example.com", "bjensen"} {
		if bytes.Contains(b, []byte(secret)) {
			t.Errorf("%s is shown: %s", secret, b)
		}
	}
	if !bytes.Contains(b, []byte("Boss")) || !bytes.Contains(b, []byte("work")) {
		t.Errorf("too much is masked: %s", b)
	}
}

func TestFollow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		c := newClock()
		o := c.options()
		o.Clock = time.Now
		l := Open(dir, o)
		s, err := storage.Open(t.Context(), storage.Memory(), storage.Options{})
		if err != nil {
			t.Fatal(err)
		}
		j := &journal{t, s, c}
		r := j.reader(l)
		c.t = time.Now()
		j.log("aaaaaaaaaaaa", OpCreate, "default", "User", "before", `{"name":"before"}`)
		ctx, cancel := context.WithCancel(t.Context())
		var got []string
		done := make(chan error, 1)
		go func() {
			done <- r.Follow(ctx, Query{Tenant: "default"}, Position{}, func(v Event) error {
				got = append(got, v.Name)
				return nil
			})
		}()
		synctest.Wait()
		for i := range 5 {
			time.Sleep(time.Second)
			c.t = time.Now()
			j.log("aaaaaaaaaaaa", OpCreate, "default", "User", fmt.Sprint("u", i), fmt.Sprintf(`{"name":"c%d"}`, i))
			j.log("aaaaaaaaaaaa", OpCreate, "acme", "User", fmt.Sprint("u", i), `{"name":"of another tenant"}`)
			time.Sleep(time.Second)
			c.t = time.Now()
			l.Record(refusedRequest(c, i))
			synctest.Wait()
		}
		time.Sleep(time.Second)
		synctest.Wait()
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
		want := []string{"c0", "u0@example.com", "c1", "u1@example.com", "c2", "u2@example.com", "c3", "u3@example.com", "c4", "u4@example.com"}
		if !slices.Equal(got, want) {
			t.Errorf("%q", got)
		}
		if err := errors.Join(l.Close(), s.Close()); err != nil {
			t.Error(err)
		}
	})
}

func TestHistory(t *testing.T) {
	c := newClock()
	j, l := newJournal(t, c), open(t, t.TempDir(), c.options())
	r := j.reader(l)
	log := func(op, kind, id, detail string) {
		c.pass(time.Second)
		j.log("aaaaaaaaaaaa", op, "default", kind, id, detail)
	}
	log(OpCreate, "User", "u1", `{"name":"bjensen@example.com","changes":[{"path":"userName","new":"bjensen@example.com"},{"path":"title","new":"a"}]}`)
	log(OpCreate, "User", "u9", `{"name":"gone@example.com"}`)
	log(OpPatch, "Group", "g1", `{"name":"Sales","added":["u1","u9"]}`)
	log(OpPatch, "User", "u1", `{"name":"bjensen@example.com","changes":[{"path":"title","old":"a","new":"b"}]}`)
	log(OpDelete, "User", "u9", `{"name":"gone@example.com"}`)
	c.pass(time.Second)
	q := refusedRequest(c, 1)
	q.Method, q.Path, q.Body = "PATCH", "/scim/v2/Users/u1", Body{}
	l.Record(q)
	settle(t, l)

	p, id, err := r.History(t.Context(), Whose{"default", "User", "bjensen@example.com"}, Query{})
	if err != nil || id != "u1" || len(p.Events) != 4 {
		t.Fatalf("%q, %v: %q", id, err, sentences(p))
	}
	from := Sources(p.Events, id)
	if from["title"].ID != "c4" || from["userName"].ID != "c1" {
		t.Errorf("title comes from %s, userName from %s", from["title"].ID, from["userName"].ID)
	}
	// Somebody who was deleted has a history still, by his last name.
	p, id, err = r.History(t.Context(), Whose{"default", "User", "GONE@example.com"}, Query{})
	if err != nil || id != "u9" || len(p.Events) != 3 {
		t.Errorf("%q, %v: %q", id, err, sentences(p))
	}
	if p, id, err = r.History(t.Context(), Whose{"acme", "User", "gone@example.com"}, Query{}); err != nil || id != "" || len(p.Events) != 0 {
		t.Errorf("of another tenant: %q, %v: %q", id, err, sentences(p))
	}
}

func stringOf(t *testing.T, v any) string {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}
