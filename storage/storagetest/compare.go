package storagetest

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"

	gocmp "github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"

	"scimbox/storage"
)

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
			if got, err = tx.Bare(want.Kind, want.ID); err != nil {
				return err
			}
			want.Terms = nil
			same(t, "record without terms", got, want)
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
		if _, err := tx.Bare(ref.Kind, ref.ID); !errors.Is(err, storage.ErrNotFound) {
			t.Errorf("Bare(%v): %v, want ErrNotFound", ref, err)
		}
		for _, field := range fields {
			m.compareLinks(t, tx, ref, field)
		}
	}
	for _, kind := range kinds {
		for _, way := range []string{"Records", "BareRecords", "RecordsBackward"} {
			if err := m.compareRecords(t, tx, kind, way); err != nil {
				return err
			}
		}
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

// compareRecords compares what a way to go through records yields: all of a kind, whole, in order.
func (m *machine) compareRecords(t *rapid.T, tx *storage.Tx, kind, way string) error {
	records := map[string]func(string) iter.Seq2[storage.Record, error]{
		"Records": tx.Records, "BareRecords": tx.BareRecords, "RecordsBackward": tx.RecordsBackward,
	}[way]
	backward := way == "RecordsBackward"
	last, n := "", 0
	for rec, err := range records(kind) {
		if err != nil {
			return err
		}
		if n > 0 && (rec.ID > last) == backward || rec.ID == last {
			t.Errorf("%s(%s): %s comes behind %s", way, kind, rec.ID, last)
		}
		want, ok := m.model.records[rec.Ref]
		if !ok {
			t.Errorf("%s(%s) yields %v, which is not there", way, kind, rec.Ref)
			continue
		}
		if way != "Records" {
			want.Terms = nil
		}
		same(t, "record", rec, want)
		last, n = rec.ID, n+1
	}
	want := 0
	for ref := range m.model.records {
		if ref.Tenant == tx.Tenant() && ref.Kind == kind {
			want++
		}
	}
	if n != want {
		t.Errorf("%s(%s) yields %d, want %d", way, kind, n, want)
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
