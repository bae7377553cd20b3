package storage

import (
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
