package storage

import (
	"errors"
	"fmt"
	"testing"
)

// A record of many terms moves them as one of few does.
func TestManyTerms(t *testing.T) {
	s, err := Open(t.Context(), Memory(), Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	const n = 1000
	put := func(from int) {
		t.Helper()
		rec := Record{Ref: Ref{"default", "User", "u"}}
		for i := from; i < from+n; i++ {
			rec.Terms = append(rec.Terms, Term{Field: "f", Value: fmt.Appendf(nil, "%05d", i)}, Term{Field: "=f", Value: fmt.Appendf(nil, "%05d", i), Unique: true})
		}
		err := s.Update(t.Context(), "default", Origin{}, func(tx *Tx) error {
			rec.Stamp = tx.Stamp(Stamp{})
			return tx.Put(rec)
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, from := range []int{0, n / 2, n / 2, 5 * n} {
		put(from)
		err := s.View(t.Context(), "default", func(tx *Tx) error {
			i := from
			for hit, err := range tx.Find("User", "f", TermRange{}) {
				if err != nil {
					return err
				}
				if want := fmt.Sprintf("%05d", i); string(hit.Value) != want {
					return fmt.Errorf("found %s, want %s", hit.Value, want)
				}
				if id, err := tx.Unique("User", "=f", hit.Value); err != nil || id != "u" {
					return fmt.Errorf("unique %s: %q, %v", hit.Value, id, err)
				}
				i++
			}
			if i != from+n {
				return fmt.Errorf("%d terms, want %d", i-from, n)
			}
			return nil
		})
		if err != nil {
			t.Errorf("from %d: %v", from, err)
		}
	}
	if r, err := s.Check(t.Context(), CheckOptions{}); err != nil || len(r.Findings) != 0 {
		t.Errorf("%+v, %v", r, err)
	}
}

// What a transaction has read of a record is what it replaces, unless it has written the record since.
func TestTermsMoveWithinATransaction(t *testing.T) {
	s := openMemory(t)
	with := func(values ...string) Record {
		rec := Record{Ref: user("u1")}
		for _, v := range values {
			rec.Terms = append(rec.Terms, Term{Field: "f", Value: []byte(v)})
		}
		return rec
	}
	update := func(fn func(*Tx) error) {
		t.Helper()
		if err := s.Update(t.Context(), tenant, Origin{}, fn); err != nil {
			t.Fatal(err)
		}
	}
	get := func(tx *Tx, id string) error { _, err := tx.Get("User", id); return err }
	update(func(tx *Tx) error { return errors.Join(tx.Put(with("a", "b")), tx.Put(Record{Ref: user("u2")})) })
	update(func(tx *Tx) error {
		return errors.Join(get(tx, "u1"), tx.Put(with("b", "c")), tx.Put(with("d")), get(tx, "u1"), get(tx, "u2"), tx.Put(with("e")))
	})
	if r, err := s.Check(t.Context(), CheckOptions{}); err != nil || len(r.Findings) != 0 {
		t.Errorf("%+v, %v", r, err)
	}
	update(func(tx *Tx) error {
		return errors.Join(get(tx, "u2"), tx.Delete("User", "u2"), get(tx, "u1"), tx.Put(with("f")), tx.Delete("User", "u1"))
	})
	err := s.View(t.Context(), tenant, func(tx *Tx) error {
		for hit := range tx.Find("User", "f", TermRange{}) {
			t.Errorf("%s is left behind", hit.Value)
		}
		n, err := tx.Count("User")
		if n != 0 {
			t.Errorf("there are %d users", n)
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
}

// What several goroutines may read is a snapshot, and no transaction that writes.
func TestFork(t *testing.T) {
	s, err := Open(t.Context(), Memory(), Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	ref := Ref{"default", "User", "u"}
	err = s.Update(t.Context(), "default", Origin{}, func(tx *Tx) error {
		if tx.Fork() != nil {
			t.Error("a transaction that writes is shared")
		}
		return tx.Put(Record{Ref: ref, Stamp: tx.Stamp(Stamp{})})
	})
	if err != nil {
		t.Fatal(err)
	}
	err = s.View(t.Context(), "default", func(tx *Tx) error {
		other := tx.Fork()
		if err := s.Update(t.Context(), "default", Origin{}, func(tx *Tx) error { return tx.Delete("User", "u") }); err != nil {
			return err
		}
		there, err := other.Has("User", "u")
		if !there || other.Tenant() != "default" {
			t.Errorf("what is shared is another snapshot, of tenant %s", other.Tenant())
		}
		return errors.Join(err, other.Put(Record{Ref: ref}))
	})
	if !errors.Is(err, ErrReadOnly) {
		t.Errorf("writing into it: %v", err)
	}
}
