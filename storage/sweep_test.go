package storage

import (
	"context"
	"errors"
	"fmt"
	"testing"
)

// manyLinks makes a group with n members.
func manyLinks(t *testing.T, s *Store, g Ref, n int) {
	t.Helper()
	update(t, s, func(tx *Tx) error { return tx.Put(Record{Ref: g}) })
	for at := 0; at < n; {
		update(t, s, func(tx *Tx) error {
			for end := min(at+2000, n); at < end; at++ {
				if err := tx.SetLink(Link{From: g, Field: "members", To: user(fmt.Sprintf("u%06d", at))}); err != nil {
					return err
				}
			}
			return nil
		})
	}
}

// linkRows counts link and backlink rows, those of deleted records too.
func linkRows(t *testing.T, s *Store) (n int) {
	t.Helper()
	for _, family := range []byte{familyLink, familyBacklink, familySweep} {
		err := s.view(t.Context(), func(r Reader) error {
			for _, err := range r.Scan(Range{Start: []byte{family}, End: []byte{family + 1}, KeysOnly: true}) {
				if err != nil {
					return err
				}
				n++
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return n
}

func wantNoLinks(t *testing.T, s *Store, g Ref, members ...string) {
	t.Helper()
	view(t, s, func(tx *Tx) error {
		if l := toIDs(t, tx.Links(g, "members", "")); len(l) > 0 {
			t.Errorf("%v is deleted and has %d links", g, len(l))
		}
		for _, m := range members {
			if l := fromIDs(t, tx.Backlinks(user(m), "members", "")); len(l) > 0 {
				t.Errorf("%s is a member of %q, which is deleted", m, l)
			}
			if _, err := tx.GetLink(g, "members", user(m)); !errors.Is(err, ErrNotFound) {
				t.Errorf("the link to %s: %v, want ErrNotFound", m, err)
			}
		}
		return nil
	})
}

func TestSweep(t *testing.T) {
	const n = 5000
	s := openMemory(t)
	g, other := group("g1"), group("g2")
	manyLinks(t, s, g, n)
	update(t, s, func(tx *Tx) error {
		if err := tx.Put(Record{Ref: other}); err != nil {
			return err
		}
		return tx.SetLink(Link{From: other, Field: "members", To: user("u004999")})
	})
	update(t, s, func(tx *Tx) error {
		if err := tx.Delete("Group", "g1"); err != nil {
			return err
		}
		// At once, for the one who deletes ...
		if l := toIDs(t, tx.Links(g, "members", "")); len(l) > 0 {
			t.Errorf("the operation that has deleted it sees %d links", len(l))
		}
		if had, err := tx.DeleteLink(g, "members", user("u000001")); err != nil || had {
			t.Errorf("a link of the deleted group was there: %t, %v", had, err)
		}
		return nil
	})
	wantNoLinks(t, s, g, "u000000", "u004998") // ... and for everybody else.
	view(t, s, func(tx *Tx) error {
		if l := fromIDs(t, tx.Backlinks(user("u004999"), "members", "")); fmt.Sprint(l) != "[g2]" {
			t.Errorf("the member of another group is a member of %q", l)
		}
		return nil
	})
	eventually(t, "the links are gone", func() bool { return linkRows(t, s) == 2 })
	eventually(t, "nothing is pending", func() bool { return s.sweeps.pending.Load() == 0 })
	wantClean(t, s)
}

func TestSweepOfAUser(t *testing.T) {
	// The other end: a user in more groups than belong into one transaction.
	s := openOn(t, Memory(), Options{sweepLinks: 10})
	update(t, s, func(tx *Tx) error {
		for i := range 35 {
			g := group(fmt.Sprint("g", i))
			if err := errors.Join(tx.Put(Record{Ref: g}), tx.SetLink(Link{From: g, Field: "members", To: user("u1")})); err != nil {
				return err
			}
		}
		return tx.Put(Record{Ref: user("u1")})
	})
	update(t, s, func(tx *Tx) error { return tx.Delete("User", "u1") })
	view(t, s, func(tx *Tx) error {
		for i := range 35 {
			if l := toIDs(t, tx.Links(group(fmt.Sprint("g", i)), "members", "")); len(l) > 0 {
				t.Errorf("group %d has the deleted member %q", i, l)
			}
		}
		return nil
	})
	eventually(t, "the links are gone", func() bool { return linkRows(t, s) == 0 })
	wantClean(t, s)
}

func TestSweepSurvivesRestart(t *testing.T) {
	dir := t.TempDir()
	s, err := OpenDir(t.Context(), dir, Options{sweepLinks: 10})
	if err != nil {
		t.Fatal(err)
	}
	g := group("g1")
	manyLinks(t, s, g, 500)
	// The sweeper is ended before there is anything to sweep, as a crash would.
	s.stop()
	<-s.sweeper
	update(t, s, func(tx *Tx) error { return tx.Delete("Group", "g1") })
	if n := linkRows(t, s); n != 2*490+1 {
		t.Fatalf("%d rows are left to be swept, want %d", n, 2*490+1)
	}
	wantNoLinks(t, s, g, "u000499")
	wantClean(t, s) // what is about to go is no damage
	closeStore(t, s)

	s, err = OpenDir(t.Context(), dir, Options{sweepLinks: 10})
	if err != nil {
		t.Fatal(err)
	}
	defer closeStore(t, s)
	wantNoLinks(t, s, g, "u000000", "u000499")
	eventually(t, "the links are gone", func() bool { return linkRows(t, s) == 0 })
	wantClean(t, s)
}

func TestIDOfASweptRecord(t *testing.T) {
	s := openOn(t, Memory(), Options{sweepLinks: 10})
	manyLinks(t, s, group("g1"), 50)
	s.stop()
	<-s.sweeper
	update(t, s, func(tx *Tx) error { return tx.Delete("Group", "g1") })
	if err := s.Update(t.Context(), tenant, Origin{}, func(tx *Tx) error { return tx.Put(Record{Ref: group("g1")}) }); err == nil {
		t.Error("an id is used again while links of the old record are there; they would become the new one's")
	}
	if err := s.Update(t.Context(), tenant, Origin{}, func(tx *Tx) error { return tx.Put(Record{Ref: group("g2")}) }); err != nil {
		t.Error(err)
	}
}

func TestSweepPassesOverDamage(t *testing.T) {
	e := Memory()
	s := openOn(t, e, Options{sweepLinks: 10})
	for _, id := range []string{"g1", "g2"} {
		manyLinks(t, s, group(id), 50)
	}
	s.stop()
	<-s.sweeper
	update(t, s, func(tx *Tx) error { return errors.Join(tx.Delete("Group", "g2"), tx.Delete("Group", "g1")) })
	// A link whose key cannot be read, on the way of the first group's sweep.
	plant(t, e, string(prefix(familyLink, tenant, "Group", "g1"))+"members", "")
	if err := s.sweep(t.Context()); !isDamage(err) {
		t.Errorf("the sweep returns %v, want what it could not do", err)
	}
	if _, left := dump(t, e)[string(sweepKey(group("g2")))]; left {
		t.Error("the second group is not swept")
	}
	wantNoLinks(t, s, group("g1"), "u000049")
	for _, f := range check(t, s, true) {
		if !f.Repaired {
			t.Errorf("Check does not repair %+v", f)
		}
	}
	if err := s.sweep(t.Context()); err != nil {
		t.Error(err)
	}
	if n := linkRows(t, s); n != 0 {
		t.Errorf("%d rows are left after a repair and another sweep", n)
	}
}

func TestSweepViewOrder(t *testing.T) {
	// A reader that looks between the two steps of begin must take the sweep for pending, or notice later that it has begun.
	var st sweepState
	seen := st.look()
	st.pending.Add(1)
	between := st.look()
	st.begun.Add(1)
	if now := st.look(); seen.begun == now.begun || between.pending == 0 && between.begun == now.begun {
		t.Errorf("a reader before (%+v) or between (%+v) cannot tell that a sweep has begun (%+v)", seen, between, now)
	}
}

func TestReadersBesideSweeps(t *testing.T) {
	// Groups of 30 come and go. No reader ever sees a part of one.
	s := openOn(t, Memory(), Options{sweepLinks: 3})
	const members = 30
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 2)
	for range 2 {
		go func() {
			done <- func() error {
				for ctx.Err() == nil {
					err := s.View(t.Context(), tenant, func(tx *Tx) error {
						seen := map[string]int{}
						for m := range members {
							for l, err := range tx.Backlinks(user(fmt.Sprint("u", m)), "members", "") {
								if err != nil {
									return err
								}
								seen[l.From.ID]++
							}
						}
						for id, n := range seen {
							if n != members {
								return fmt.Errorf("group %s has %d of %d members", id, n, members)
							}
						}
						return nil
					})
					if err != nil {
						return err
					}
				}
				return nil
			}()
		}()
	}
	for i := range 100 {
		id := fmt.Sprint("g", i)
		update(t, s, func(tx *Tx) error {
			for m := range members {
				if err := tx.SetLink(Link{From: group(id), Field: "members", To: user(fmt.Sprint("u", m))}); err != nil {
					return err
				}
			}
			return tx.Put(Record{Ref: group(id)})
		})
		update(t, s, func(tx *Tx) error { return tx.Delete("Group", id) })
	}
	stop()
	for range 2 {
		if err := soon(t, "a reader", done); err != nil {
			t.Error(err)
		}
	}
	eventually(t, "all is swept", func() bool { return linkRows(t, s) == 0 })
	wantClean(t, s)
}
