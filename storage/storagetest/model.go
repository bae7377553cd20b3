package storagetest

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

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
