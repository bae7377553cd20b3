package storagetest

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"maps"
	"slices"
	"sync"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"

	"scimbox/storage"
)

// Clock is a clock that stands still until it is set.
type Clock struct {
	mu  sync.Mutex
	now time.Time
}

// Now returns what the clock shows.
func (c *Clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *Clock) set(t time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = t
}

// Store does random operations on a store and on maps that say what a store is, and compares the two after each step. open
// returns an empty store that runs by the clock. reopen closes it and opens what is left; nil if nothing is.
func Store(t *rapid.T, open func(*Clock) *storage.Store, reopen func(*storage.Store, *Clock) *storage.Store) {
	clock := &Clock{now: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)}
	m := &machine{clock: clock, store: open(clock), model: newModel()}
	defer func() {
		if err := m.store.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	}()
	actions := map[string]func(*rapid.T){
		"":         m.compare,
		"Update":   m.update,
		"Batch":    m.batch,
		"Panic":    m.panics,
		"Canceled": m.canceled,
		"Clock":    m.setClock,
		"Check":    m.check,
	}
	if reopen != nil {
		actions["Reopen"] = func(*rapid.T) { m.store = reopen(m.store, clock) }
	}
	t.Repeat(actions)
}

var (
	tenants = []string{"one", "two"}
	kinds   = []string{"User", "Group"}
	fields  = []string{"a", "ab"}
	values  = []string{"", "\x00", "\x00\x00", "\x00\x01", "a", "a\x00", "a\x00b", "a\xff", "b", "\xff", "\xff\xff"}
)

// model is what a store is, said with maps.
type model struct {
	records map[storage.Ref]storage.Record
	links   map[edge]string
	journal []storage.Entry
	used    int // ids that were used; none is used again
}

type edge struct {
	from  storage.Ref
	field string
	to    storage.Ref
}

func newModel() *model {
	return &model{records: map[storage.Ref]storage.Record{}, links: map[edge]string{}}
}

func (m *model) clone() *model {
	return &model{maps.Clone(m.records), maps.Clone(m.links), slices.Clone(m.journal), m.used}
}

func (m *model) refs(tenant string) []storage.Ref {
	return slices.SortedFunc(func(yield func(storage.Ref) bool) {
		for r := range m.records {
			if r.Tenant == tenant && !yield(r) {
				return
			}
		}
	}, compareRefs)
}

func compareRefs(a, b storage.Ref) int {
	return cmp.Or(cmp.Compare(a.Tenant, b.Tenant), cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.ID, b.ID))
}

// machine is the state of a test.
type machine struct {
	clock *Clock
	store *storage.Store
	model *model
}

// errGivenUp is what fn returns to have everything taken back.
var errGivenUp = errors.New("given up")

// step is one thing that an operation does. It returns what the caller hears of it.
type step interface {
	do(tx *storage.Tx) (string, error)
	model(m *model, at moment) (string, error)
}

// moment is when an operation runs.
type moment struct {
	now    time.Time
	seq    uint64 // of its first journal row
	origin storage.Origin
}

// operation is one Update.
type operation struct {
	tenant string
	origin storage.Origin
	steps  []step
	fail   bool // at the end
}

func (m *machine) drawOperation(t *rapid.T) operation {
	o := operation{tenant: rapid.SampledFrom(tenants).Draw(t, "tenant"), fail: rapid.IntRange(0, 5).Draw(t, "fail") == 0}
	o.origin = storage.Origin{Actor: rapid.SampledFrom([]string{"local", "t1"}).Draw(t, "actor"), Request: "r"}
	for range rapid.IntRange(1, 6).Draw(t, "steps") {
		o.steps = append(o.steps, m.drawStep(t, o.tenant))
	}
	return o
}

func (m *machine) drawStep(t *rapid.T, tenant string) step {
	ref := func(name string) storage.Ref {
		if l := m.model.refs(tenant); len(l) > 0 && rapid.IntRange(0, 3).Draw(t, "known") > 0 {
			return rapid.SampledFrom(l).Draw(t, name)
		}
		m.model.used++
		return storage.Ref{Tenant: tenant, Kind: rapid.SampledFrom(kinds).Draw(t, "kind"), ID: fmt.Sprintf("%03d", m.model.used)}
	}
	switch rapid.IntRange(0, 9).Draw(t, "step") {
	case 0, 1, 2, 3:
		p := put{ref: ref("put"), body: rapid.SampledFrom([]string{"", "body", "\x00"}).Draw(t, "body")}
		_, known := m.model.records[p.ref]
		p.isNew = !known
		for range rapid.IntRange(0, 4).Draw(t, "terms") {
			p.terms = append(p.terms, storage.Term{
				Field:  rapid.SampledFrom(fields).Draw(t, "field"),
				Value:  []byte(rapid.SampledFrom(values).Draw(t, "value")),
				Unique: rapid.IntRange(0, 3).Draw(t, "unique") == 0,
			})
		}
		return p
	case 4:
		return remove{ref("delete")}
	case 5, 6, 7:
		return setLink{edge{ref("from"), rapid.SampledFrom(fields).Draw(t, "field"), ref("to")}, rapid.SampledFrom([]string{"", "x"}).Draw(t, "body")}
	case 8:
		return removeLink{edge{ref("from"), rapid.SampledFrom(fields).Draw(t, "field"), ref("to")}}
	default:
		return logChange{ref("log"), rapid.SampledFrom([]string{"", "{}"}).Draw(t, "detail")}
	}
}

// do runs the operation in a transaction and returns what is heard of each step.
func (o *operation) do(tx *storage.Tx) (heard []string, err error) {
	for _, s := range o.steps {
		h, err := s.do(tx)
		heard = append(heard, h)
		if err != nil {
			return heard, err
		}
	}
	if o.fail {
		return heard, errGivenUp
	}
	return heard, nil
}

// apply does the same to the model, which it leaves alone if the operation fails.
func (m *model) apply(o *operation, now time.Time) (after *model, heard []string, err error) {
	after = m.clone()
	at := moment{now, uint64(len(m.journal) + 1), o.origin}
	for _, s := range o.steps {
		h, err := s.model(after, at)
		heard = append(heard, h)
		if err != nil {
			return m, heard, err
		}
	}
	if o.fail {
		return m, heard, errGivenUp
	}
	return after, heard, nil
}

// put stores a record. One that was known and has been deleted meanwhile is not made again: its id is used up.
type put struct {
	ref   storage.Ref
	isNew bool
	body  string
	terms []storage.Term
}

func (p put) do(tx *storage.Tx) (string, error) {
	old, err := tx.Get(p.ref.Kind, p.ref.ID)
	if err != nil && !errors.Is(err, storage.ErrNotFound) {
		return "", err
	}
	if err != nil && !p.isNew {
		return "no such record", nil
	}
	err = tx.Put(storage.Record{Ref: p.ref, Stamp: tx.Stamp(old.Stamp), Body: []byte(p.body), Terms: p.terms})
	return "put", err
}

func (p put) model(m *model, at moment) (string, error) {
	rec, there := m.records[p.ref]
	if !there && !p.isNew {
		return "no such record", nil
	}
	old := rec.Stamp
	for _, t := range p.terms {
		if t.Unique {
			if owner, ok := m.owner(p.ref, t); ok {
				return "put", &storage.ConflictError{Owner: owner, Field: t.Field}
			}
		}
	}
	s := storage.Stamp{Created: old.Created, Modified: at.now, Version: at.seq}
	if !s.Modified.After(old.Modified) {
		s.Modified = old.Modified.Add(time.Microsecond)
	}
	if s.Created.IsZero() {
		s.Created = s.Modified
	}
	m.records[p.ref] = storage.Record{Ref: p.ref, Stamp: s, Body: []byte(p.body), Terms: p.terms}
	return "put", nil
}

// owner returns which other record has a unique term.
func (m *model) owner(ref storage.Ref, t storage.Term) (storage.Ref, bool) {
	for r, rec := range m.records {
		if r != ref && r.Tenant == ref.Tenant && r.Kind == ref.Kind && slices.ContainsFunc(rec.Terms, func(o storage.Term) bool {
			return o.Unique && o.Field == t.Field && bytes.Equal(o.Value, t.Value)
		}) {
			return r, true
		}
	}
	return storage.Ref{}, false
}

// remove deletes a record. One that is not there is heard of, and no reason to give up.
type remove struct{ ref storage.Ref }

func (d remove) do(tx *storage.Tx) (string, error) {
	err := tx.Delete(d.ref.Kind, d.ref.ID)
	if errors.Is(err, storage.ErrNotFound) {
		return "not found", nil
	}
	return "deleted", err
}

func (d remove) model(m *model, _ moment) (string, error) {
	if _, ok := m.records[d.ref]; !ok {
		return "not found", nil
	}
	delete(m.records, d.ref)
	maps.DeleteFunc(m.links, func(e edge, _ string) bool { return e.from == d.ref || e.to == d.ref })
	return "deleted", nil
}

// setLink sets a link if the record that it leads from is there. The other one was never deleted, because the links of deleted
// records go in their own time.
type setLink struct {
	edge
	body string
}

func (l setLink) do(tx *storage.Tx) (string, error) {
	from, err := tx.Has(l.from.Kind, l.from.ID)
	if err != nil || !from {
		return "no such record", err
	}
	if to, err := tx.Has(l.to.Kind, l.to.ID); err != nil || !to {
		return "no such record", err
	}
	return "set", tx.SetLink(storage.Link{From: l.from, Field: l.field, To: l.to, Body: []byte(l.body)})
}

func (l setLink) model(m *model, _ moment) (string, error) {
	for _, r := range []storage.Ref{l.from, l.to} {
		if _, ok := m.records[r]; !ok {
			return "no such record", nil
		}
	}
	m.links[l.edge] = l.body
	return "set", nil
}

type removeLink struct{ edge }

func (l removeLink) do(tx *storage.Tx) (string, error) {
	had, err := tx.DeleteLink(l.from, l.field, l.to)
	return fmt.Sprint(had), err
}

func (l removeLink) model(m *model, _ moment) (string, error) {
	_, had := m.links[l.edge]
	delete(m.links, l.edge)
	return fmt.Sprint(had), nil
}

type logChange struct {
	ref    storage.Ref
	detail string
}

func (c logChange) do(tx *storage.Tx) (string, error) {
	return "logged", tx.Log(storage.Entry{Op: "patch", Ref: c.ref, Detail: []byte(c.detail)})
}

func (c logChange) model(m *model, at moment) (string, error) {
	m.journal = append(m.journal, storage.Entry{
		Seq: uint64(len(m.journal) + 1), Time: at.now, Origin: at.origin, Op: "patch", Ref: c.ref, Detail: []byte(c.detail),
	})
	return "logged", nil
}

// run does an operation on the store; order is called whenever it runs, because it may run more than once.
func (m *machine) run(ctx context.Context, o *operation, order func()) (heard []string, err error) {
	err = m.store.Update(ctx, o.tenant, o.origin, func(tx *storage.Tx) (err error) {
		order()
		heard, err = o.do(tx)
		return err
	})
	return heard, err
}

// follow does to the model what was done to the store, and compares what was heard of it.
func (m *machine) follow(t *rapid.T, o *operation, heard []string, err error) {
	after, want, wantErr := m.model.apply(o, m.clock.Now())
	if !slices.Equal(heard, want) || !sameError(err, wantErr) {
		t.Fatalf("%+v\n is answered with %q, %v\n              want %q, %v", o, heard, err, want, wantErr)
	}
	after.used = m.model.used
	m.model = after
}

func sameError(a, b error) bool {
	var x, y *storage.ConflictError
	if errors.As(a, &x) && errors.As(b, &y) {
		return x.Field == y.Field && x.Owner == y.Owner
	}
	return errors.Is(a, b)
}

func (m *machine) update(t *rapid.T) {
	o := m.drawOperation(t)
	heard, err := m.run(context.Background(), &o, func() {})
	m.follow(t, &o, heard, err)
}

// batch runs several operations at once. Whatever order they have taken, it is as if they had been done one after another.
func (m *machine) batch(t *rapid.T) {
	type done struct {
		operation
		at    int // in the order in which they ran
		heard []string
		err   error
	}
	ops := make([]*done, rapid.IntRange(2, 12).Draw(t, "operations"))
	for i := range ops {
		ops[i] = &done{operation: m.drawOperation(t)}
	}
	n := 0 // of the committer, until all are done
	var wg sync.WaitGroup
	for _, o := range ops {
		wg.Go(func() {
			o.heard, o.err = m.run(context.Background(), &o.operation, func() { n++; o.at = n })
		})
	}
	wg.Wait()
	slices.SortFunc(ops, func(a, b *done) int { return cmp.Compare(a.at, b.at) })
	for _, o := range ops {
		m.follow(t, &o.operation, o.heard, o.err)
	}
}

func (m *machine) panics(t *rapid.T) {
	o := m.drawOperation(t)
	defer func() {
		if recover() == nil {
			t.Fatal("a panic in an operation did not reach its caller")
		}
	}()
	_ = m.store.Update(context.Background(), o.tenant, o.origin, func(tx *storage.Tx) error {
		_, _ = o.do(tx)
		panic("here")
	})
}

func (m *machine) canceled(t *rapid.T) {
	o := m.drawOperation(t)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	_, err := m.run(ctx, &o, func() { t.Error("an operation runs whose caller has gone") })
	if !errors.Is(err, context.Canceled) {
		t.Fatalf("Update returns %v, want context.Canceled", err)
	}
}

func (m *machine) setClock(t *rapid.T) {
	m.clock.set(m.clock.Now().Add(time.Duration(rapid.IntRange(-3, 10).Draw(t, "by")) * time.Microsecond))
}

func (m *machine) check(t *rapid.T) {
	report, err := m.store.Check(context.Background(), storage.CheckOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range report.Findings {
		t.Errorf("Check: %s: %s: %s", f.Kind, f.Where, f.Text)
	}
}

// compare reads everything in every way and compares it with the model.
func (m *machine) compare(t *rapid.T) {
	ctx := context.Background()
	if got, want := m.store.LastSeq(), uint64(len(m.model.journal)); got != want {
		t.Fatalf("LastSeq = %d, want %d", got, want)
	}
	after := rapid.Uint64Range(0, uint64(len(m.model.journal))).Draw(t, "after")
	limit := rapid.IntRange(1, 5).Draw(t, "limit")
	entries, err := m.store.Journal(ctx, after, limit)
	if err != nil {
		t.Fatal(err)
	}
	want := m.model.journal[after:]
	same(t, "journal", entries, want[:min(limit, len(want))])

	stats, err := m.store.Stats(ctx)
	if err != nil {
		t.Fatal(err)
	}
	for _, tenant := range tenants {
		for _, kind := range kinds {
			n := int64(0)
			for r := range m.model.records {
				if r.Tenant == tenant && r.Kind == kind {
					n++
				}
			}
			if got := stats.Counts[tenant][kind]; got != n {
				t.Errorf("Stats: %d of %s, %s, want %d", got, tenant, kind, n)
			}
		}
		err := m.store.View(ctx, tenant, func(tx *storage.Tx) error { return m.compareTenant(t, tx) })
		if err != nil {
			t.Fatal(err)
		}
	}
}

func (m *machine) compareTenant(t *rapid.T, tx *storage.Tx) error {
	for _, want := range m.model.records {
		if want.Tenant == tx.Tenant() {
			has, err := tx.Has(want.Kind, want.ID)
			if err != nil || !has {
				t.Errorf("Has(%v) = %t, %v, want true", want.Ref, has, err)
			}
			got, err := tx.Get(want.Kind, want.ID)
			if err != nil {
				return err
			}
			same(t, "record", got, want)
		}
	}
	for _, ref := range m.model.refs(tx.Tenant()) {
		for _, field := range fields {
			m.compareLinks(t, tx, ref, field)
		}
	}
	ref := storage.Ref{Tenant: tx.Tenant(), Kind: rapid.SampledFrom(kinds).Draw(t, "kind"), ID: fmt.Sprintf("%03d", rapid.IntRange(0, m.model.used).Draw(t, "id"))}
	if _, there := m.model.records[ref]; !there {
		has, err := tx.Has(ref.Kind, ref.ID)
		if err != nil || has {
			t.Errorf("Has(%v) = %t, %v, want false", ref, has, err)
		}
		if _, err := tx.Get(ref.Kind, ref.ID); !errors.Is(err, storage.ErrNotFound) {
			t.Errorf("Get(%v): %v, want ErrNotFound", ref, err)
		}
		for _, field := range fields {
			m.compareLinks(t, tx, ref, field)
		}
	}
	for _, kind := range kinds {
		for _, field := range fields {
			if err := m.compareFind(t, tx, kind, field); err != nil {
				return err
			}
			for _, v := range values {
				owner, ok := m.model.owner(storage.Ref{Tenant: tx.Tenant(), Kind: kind}, storage.Term{Field: field, Value: []byte(v)})
				id, err := tx.Unique(kind, field, []byte(v))
				if ok && (err != nil || id != owner.ID) || !ok && !errors.Is(err, storage.ErrNotFound) {
					t.Errorf("Unique(%s, %s, %q) = %q, %v, want %q, %t", kind, field, v, id, err, owner.ID, ok)
				}
			}
		}
	}
	return nil
}

func (m *machine) compareLinks(t *rapid.T, tx *storage.Tx, ref storage.Ref, field string) {
	var out, in []storage.Link
	for e, body := range m.model.links {
		l := storage.Link{From: e.from, Field: e.field, To: e.to}
		if e.field == field && e.to == ref {
			in = append(in, l)
		}
		if l.Body = []byte(body); e.field == field && e.from == ref {
			out = append(out, l)
		}
	}
	slices.SortFunc(out, func(a, b storage.Link) int { return cmp.Or(cmp.Compare(a.To.ID, b.To.ID), compareRefs(a.To, b.To)) })
	slices.SortFunc(in, func(a, b storage.Link) int {
		return cmp.Or(cmp.Compare(a.From.ID, b.From.ID), compareRefs(a.From, b.From))
	})
	same(t, "links of "+ref.ID, collect(t, tx.Links(ref, field, "")), out)
	same(t, "backlinks of "+ref.ID, collect(t, tx.Backlinks(ref, field, "")), in)
	if len(out) > 0 {
		l := out[rapid.IntRange(0, len(out)-1).Draw(t, "link")]
		got, err := tx.GetLink(ref, field, l.To)
		if err != nil {
			t.Errorf("GetLink: %v", err)
		}
		same(t, "link", got, l)
		out = slices.DeleteFunc(out, func(o storage.Link) bool { return o.To.ID <= l.To.ID })
		same(t, "links after one", collect(t, tx.Links(ref, field, l.To.ID)), out)
	}
}

func (m *machine) compareFind(t *rapid.T, tx *storage.Tx, kind, field string) error {
	type hit = storage.Hit
	bound := rapid.SampledFrom(values)
	r := storage.TermRange{From: []byte(bound.Draw(t, "from")), To: []byte(bound.Draw(t, "to")), Reverse: rapid.Bool().Draw(t, "reverse")}
	switch rapid.IntRange(0, 3).Draw(t, "range") {
	case 0:
		r = storage.TermRange{Reverse: r.Reverse}
	case 1:
		r.From, r.To = storage.Exactly(r.From).From, storage.Exactly(r.From).To
	case 2:
		r.From, r.To = storage.Prefix(r.From).From, storage.Prefix(r.From).To
	}
	var want []hit
	for ref, rec := range m.model.records {
		if ref.Tenant != tx.Tenant() || ref.Kind != kind {
			continue
		}
		for i, term := range rec.Terms {
			again := slices.ContainsFunc(rec.Terms[:i], func(o storage.Term) bool {
				return !o.Unique && o.Field == term.Field && bytes.Equal(o.Value, term.Value)
			})
			in := bytes.Compare(term.Value, r.From) >= 0 && (len(r.To) == 0 || bytes.Compare(term.Value, r.To) < 0)
			if !term.Unique && term.Field == field && !again && in {
				want = append(want, hit{ID: ref.ID, Value: term.Value})
			}
		}
	}
	slices.SortFunc(want, func(a, b hit) int { return cmp.Or(bytes.Compare(a.Value, b.Value), cmp.Compare(a.ID, b.ID)) })
	if r.Reverse {
		slices.Reverse(want)
	}
	got := collect(t, tx.Find(kind, field, r))
	same(t, fmt.Sprintf("Find(%s, %s, %+v)", kind, field, r), got, want)
	if len(want) > 0 {
		i := rapid.IntRange(0, len(want)-1).Draw(t, "after")
		r.After = &want[i]
		same(t, "Find behind a hit", collect(t, tx.Find(kind, field, r)), want[i+1:])
	}
	return nil
}

func collect[T any](t *rapid.T, seq iter.Seq2[T, error]) []T {
	var l []T
	for v, err := range seq {
		if err != nil {
			t.Fatal(err)
		}
		l = append(l, v)
	}
	return l
}

func same(t *rapid.T, what string, got, want any) {
	t.Helper()
	if fmt.Sprintf("%q", got) == fmt.Sprintf("%q", want) {
		return // much faster than what follows
	}
	if diff := gocmp.Diff(want, got, cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("%s (-want +got):\n%s", what, diff)
	}
}
