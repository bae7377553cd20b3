package storage

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
)

// checked is a store with a bit of everything, for damage to be planted in.
func checked(t *testing.T) (*Store, Engine) {
	t.Helper()
	e := Memory()
	s := openOn(t, e, Options{})
	u1, u2 := record("u1"), record("u2")
	u1.Terms = append(u1.Terms, Term{Field: "empty", Unique: true}, Term{Field: "empty"})
	putRecords(t, s, u1, u2, record("u3"))
	g := Record{Ref: group("g1"), Terms: []Term{{Field: "name", Value: []byte("all")}}}
	putRecords(t, s, g)
	update(t, s, func(tx *Tx) error {
		return errors.Join(
			tx.SetLink(Link{From: g.Ref, Field: "members", To: user("u1"), Body: []byte("what is known of u1")}),
			tx.SetLink(Link{From: g.Ref, Field: "members", To: user("u2")}))
	})
	if err := s.SetFingerprint(t.Context(), tenant, "User", "v1"); err != nil {
		t.Fatal(err)
	}
	wantClean(t, s)
	return s, e
}

func number(k []byte, n int64) string {
	return string(sealRow(k, binary.AppendVarint(nil, n)))
}

func TestCheckFindsAndRepairs(t *testing.T) {
	member := func(id string) Link { return Link{From: group("g1"), Field: "members", To: user(id)} }
	unique := func(id string) []byte { return uniqueKey(tenant, "User", "username", []byte(id)) }
	term := termKey(tenant, "User", "name", []byte("name of u1"), "u1")
	gone := Link{From: group("nobody"), Field: "members", To: user("u1")}

	for name, c := range map[string]struct {
		plant func(t *testing.T, s *Store, e Engine)
		want  []string // findings: the beginning of kind and place, and a part of the text
		stays int      // how many of them cannot be repaired
		after func(t *testing.T, s *Store)
	}{
		"a term row is missing": {
			plant: func(t *testing.T, s *Store, e Engine) { uproot(t, e, string(term)) },
			want:  []string{"missing row: an index row of name of User of tenant acme: User u1 has this value"},
			after: func(t *testing.T, s *Store) { wantRecord(t, s, record1()) },
		},
		"the only term row of an empty value is missing": {
			plant: func(t *testing.T, s *Store, e Engine) {
				uproot(t, e, string(termKey(tenant, "User", "empty", nil, "u1")))
			},
			want:  []string{"missing row: an index row of empty of User"},
			after: func(t *testing.T, s *Store) { wantRecord(t, s, record1()) },
		},
		"a term row of a value that the record has not": {
			plant: func(t *testing.T, s *Store, e Engine) {
				plant(t, e, string(termKey(tenant, "User", "name", []byte("stray"), "u1")), "")
			},
			want: []string{"stray row: an index row of name of User of tenant acme: it leads to User u1, which is not there or has no such value"},
		},
		"a term row of a record that is not there": {
			plant: func(t *testing.T, s *Store, e Engine) {
				plant(t, e, string(termKey(tenant, "User", "name", []byte("stray"), "nobody")), "")
			},
			want: []string{"stray row: an index row of name of User of tenant acme: it leads to User nobody"},
		},
		"a term row that cannot be read": {
			plant: func(t *testing.T, s *Store, e Engine) {
				plant(t, e, string(termPrefix(tenant, "User", "name"))+"no end", "")
			},
			want: []string{"stray row: an index row of name of User of tenant acme: its key cannot be read"},
		},
		"a unique row is missing": {
			plant: func(t *testing.T, s *Store, e Engine) { uproot(t, e, string(unique("u1"))) },
			want:  []string{"missing row: a unique row of username of User of tenant acme: User u1 has this value"},
			after: func(t *testing.T, s *Store) { wantRecord(t, s, record1()) },
		},
		"a unique row leads to nobody": {
			plant: func(t *testing.T, s *Store, e Engine) {
				k := unique("u9")
				plant(t, e, string(k), string(sealRow(k, []byte("nobody"))))
			},
			want: []string{"stray row: a unique row of username of User of tenant acme: it leads to User nobody"},
			after: func(t *testing.T, s *Store) {
				putRecords(t, s, record("u9")) // the value is free again
			},
		},
		"a unique row leads to nothing that could be an id": {
			plant: func(t *testing.T, s *Store, e Engine) {
				k := unique("u9")
				plant(t, e, string(k), string(sealRow(k, nil)))
			},
			want: []string{"stray row: a unique row of username of User of tenant acme: it leads to User ,"},
		},
		"a unique row leads to the wrong record": {
			plant: func(t *testing.T, s *Store, e Engine) {
				k := unique("u1")
				plant(t, e, string(k), string(sealRow(k, []byte("u2"))))
			},
			want: []string{
				"missing row: a unique row of username of User of tenant acme: User u1 has this value, and the row names u2, which has not",
				"stray row: a unique row of username of User of tenant acme: it leads to User u2",
			},
			after: func(t *testing.T, s *Store) { wantRecord(t, s, record1()); wantRecord(t, s, record("u2")) },
		},
		"a unique row is damaged": {
			plant: func(t *testing.T, s *Store, e Engine) { flip(t, e, unique("u1")) },
			want:  []string{"damaged row: a unique row of username of User of tenant acme: its checksum is"},
			after: func(t *testing.T, s *Store) { wantRecord(t, s, record1()) },
		},
		"a unique row that nobody has is damaged": {
			plant: func(t *testing.T, s *Store, e Engine) { plant(t, e, string(unique("u9")), "damage") },
			want:  []string{"damaged row: a unique row of username of User of tenant acme: its checksum is"},
			after: func(t *testing.T, s *Store) { putRecords(t, s, record("u9")) },
		},
		"two records have one unique value": {
			plant: func(t *testing.T, s *Store, e Engine) {
				r := record("u2")
				r.Terms[1].Value = []byte("u1")
				k := recordKey(r.Ref)
				plant(t, e, string(k), string(sealRow(k, appendRecord(nil, &r))))
				uproot(t, e, string(unique("u2")))
			},
			want:  []string{"double unique: a unique row of username of User of tenant acme: User u2 and u1 have the same value"},
			stays: 1,
		},
		"two records have one unique value, and its row is missing": {
			plant: func(t *testing.T, s *Store, e Engine) {
				r := record("u2")
				r.Terms[1].Value = []byte("u1")
				k := recordKey(r.Ref)
				plant(t, e, string(k), string(sealRow(k, appendRecord(nil, &r))))
				uproot(t, e, string(unique("u2")))
				uproot(t, e, string(unique("u1")))
			},
			want: []string{
				"missing row: a unique row of username of User of tenant acme: User u1 has this value",
				"missing row: a unique row of username of User of tenant acme: User u2 has this value",
			},
			stays: -1, // the row is there again and names one of them; a second Check tells of the other
		},
		"a link has no backlink": {
			plant: func(t *testing.T, s *Store, e Engine) { uproot(t, e, string(backlinkKey(member("u1")))) },
			want:  []string{"missing row: the members link from Group g1 to User u1 of tenant acme, seen from its end"},
			after: func(t *testing.T, s *Store) { wantMembers(t, s, "what is known of u1", "u1", "u2") },
		},
		"a backlink has no link": {
			plant: func(t *testing.T, s *Store, e Engine) { uproot(t, e, string(linkKey(member("u1")))) },
			want:  []string{"stray row: the members link from Group g1 to User u1 of tenant acme, seen from its end"},
			after: func(t *testing.T, s *Store) { wantMembers(t, s, "", "u2") },
		},
		"a link leads from a record that is gone": {
			plant: func(t *testing.T, s *Store, e Engine) {
				k, b := linkKey(gone), backlinkKey(gone)
				plant(t, e, string(k), string(sealRow(k, nil)))
				plant(t, e, string(b), string(sealRow(b, nil)))
			},
			want: []string{
				"stray row: the members link from Group nobody to User u1 of tenant acme, seen from its end: it leads from Group nobody, which is not there",
				"stray row: the members link from Group nobody to User u1 of tenant acme: it leads from Group nobody, which is not there",
			},
			after: func(t *testing.T, s *Store) { wantMembers(t, s, "what is known of u1", "u1", "u2") },
		},
		"a link row is damaged": {
			plant: func(t *testing.T, s *Store, e Engine) { flip(t, e, linkKey(member("u1"))) },
			want:  []string{"damaged row: the members link from Group g1 to User u1 of tenant acme: its checksum is"},
			after: func(t *testing.T, s *Store) { wantMembers(t, s, "", "u1", "u2") },
		},
		"a backlink row is damaged": {
			plant: func(t *testing.T, s *Store, e Engine) { flip(t, e, backlinkKey(member("u1"))) },
			want:  []string{"damaged row: the members link from Group g1 to User u1 of tenant acme, seen from its end: its checksum is"},
			after: func(t *testing.T, s *Store) { wantMembers(t, s, "what is known of u1", "u1", "u2") },
		},
		"a link row is damaged, and has no backlink": {
			plant: func(t *testing.T, s *Store, e Engine) {
				flip(t, e, linkKey(member("u1")))
				uproot(t, e, string(backlinkKey(member("u1"))))
			},
			want: []string{
				"damaged row: the members link from Group g1 to User u1 of tenant acme: its checksum is",
				"missing row: the members link from Group g1 to User u1 of tenant acme, seen from its end",
			},
			after: func(t *testing.T, s *Store) { wantMembers(t, s, "", "u1", "u2") },
		},
		"a link row that cannot be read": {
			plant: func(t *testing.T, s *Store, e Engine) {
				plant(t, e, string(prefix(familyLink, tenant, "Group", "g1")), "")
			},
			want: []string{`stray row: a row with the key "lacme`},
		},
		"a counter says too much": {
			plant: func(t *testing.T, s *Store, e Engine) {
				k := counterKey(tenant, "User")
				plant(t, e, string(k), number(k, 7))
			},
			want:  []string{"wrong count: the count of User of tenant acme: it says 7, and there are 3"},
			after: func(t *testing.T, s *Store) { wantCount(t, s, 3) },
		},
		"a counter is missing": {
			plant: func(t *testing.T, s *Store, e Engine) { uproot(t, e, string(counterKey(tenant, "User"))) },
			want:  []string{"wrong count: the count of User of tenant acme: it says 0, and there are 3"},
			after: func(t *testing.T, s *Store) { wantCount(t, s, 3) },
		},
		"a counter of nothing": {
			plant: func(t *testing.T, s *Store, e Engine) {
				k := counterKey(tenant, "Nothing")
				plant(t, e, string(k), number(k, 7))
			},
			want: []string{"wrong count: the count of Nothing of tenant acme: it says 7, and there are 0"},
		},
		"a counter is damaged": {
			plant: func(t *testing.T, s *Store, e Engine) { flip(t, e, counterKey(tenant, "User")) },
			want:  []string{"wrong count: the count of User of tenant acme: it cannot be read; there are 3"},
			after: func(t *testing.T, s *Store) { wantCount(t, s, 3) },
		},
		"a counter is no number": {
			plant: func(t *testing.T, s *Store, e Engine) {
				k := counterKey(tenant, "User")
				plant(t, e, string(k), string(sealRow(k, []byte("seven"))))
			},
			want:  []string{"wrong count: the count of User of tenant acme: it cannot be read; there are 3"},
			after: func(t *testing.T, s *Store) { wantCount(t, s, 3) },
		},
		"a counter whose key cannot be read": {
			plant: func(t *testing.T, s *Store, e Engine) { plant(t, e, "cacme", "") },
			want:  []string{`stray row: a row with the key "cacme"`},
		},
		"a record is damaged": {
			plant: func(t *testing.T, s *Store, e Engine) { flip(t, e, recordKey(user("u1"))) },
			want:  []string{"damaged row: User u1 of tenant acme: its checksum is"},
			stays: 1, // and its index rows are not taken for stray
		},
		"a record of another form": {
			plant: func(t *testing.T, s *Store, e Engine) {
				k := recordKey(user("u1"))
				plant(t, e, string(k), string(sealRow(k, []byte{recordVersion, 0})))
			},
			want:  []string{"damaged row: User u1 of tenant acme: its row ends in the middle; it has to come from a backup"},
			stays: 1,
		},
		"a record whose key cannot be read": {
			plant: func(t *testing.T, s *Store, e Engine) { plant(t, e, "racme\x00User", "") },
			want:  []string{`damaged row: a row with the key "racme`},
			stays: 1,
		},
		"a journal row is damaged": {
			plant: func(t *testing.T, s *Store, e Engine) { flip(t, e, journalKey(2)) },
			want:  []string{"damaged row: journal row 2: its checksum is"},
			stays: 1,
		},
		"a gap in the journal": {
			plant: func(t *testing.T, s *Store, e Engine) { uproot(t, e, string(journalKey(2))) },
			want:  []string{"broken journal: journal row 3: the row before it is 1; changes are missing from the journal"},
			stays: 1,
		},
		"the journal has no beginning": {
			plant: func(t *testing.T, s *Store, e Engine) { uproot(t, e, string(journalKey(1))) },
			want:  []string{"broken journal: journal row 2: it is the first one"},
			stays: 1,
		},
		"the journal has no end": {
			plant: func(t *testing.T, s *Store, e Engine) { uproot(t, e, string(journalKey(4))) },
			want:  []string{"broken journal: journal row 3: it is the last one, and there was a change 4"},
			stays: 1,
		},
		"a journal row whose key cannot be read": {
			plant: func(t *testing.T, s *Store, e Engine) { plant(t, e, "j1", "") },
			want:  []string{`stray row: a row with the key "j1"`},
		},
		"a fingerprint is damaged": {
			plant: func(t *testing.T, s *Store, e Engine) { flip(t, e, indexKey(tenant, "User")) },
			want:  []string{"damaged row: the index fingerprint of User of tenant acme: its checksum is"},
			after: func(t *testing.T, s *Store) {
				if f, err := s.Fingerprint(t.Context(), tenant, "User"); err != nil || f != "" {
					t.Errorf("the fingerprint is %q, %v, want none, so that the index is made anew", f, err)
				}
			},
		},
		"the number of commits is damaged": {
			plant: func(t *testing.T, s *Store, e Engine) { flip(t, e, commitKey) },
			want:  []string{"damaged row: the store's commit row: its checksum is"},
			stays: -1, // the next commit writes it anew
		},
		"a row of an unknown family": {
			plant: func(t *testing.T, s *Store, e Engine) { plant(t, e, "zebra", "stripes") },
			want:  []string{`stray row: a row with the key "zebra"`},
		},
		"an unknown meta row": {
			plant: func(t *testing.T, s *Store, e Engine) { plant(t, e, "mzebra", "stripes") },
			want:  []string{"stray row: the store's zebra row"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			s, e := checked(t)
			c.plant(t, s, e)
			found := check(t, s, false)
			got := names(found)
			if len(got) != len(c.want) {
				t.Fatalf("Check finds %d things, want %d:\n%s", len(got), len(c.want), strings.Join(got, "\n"))
			}
			for _, want := range c.want {
				if !slices.ContainsFunc(got, func(g string) bool { return strings.HasPrefix(g, want) }) {
					t.Errorf("Check does not find %q, but:\n%s", want, strings.Join(got, "\n"))
				}
			}
			for _, f := range found {
				if f.Repaired {
					t.Errorf("it was not asked to repair %s", f.Where)
				}
			}
			stays := 0
			for _, f := range check(t, s, true) {
				if !f.Repaired {
					stays++
				}
			}
			if c.stays < 0 {
				return
			}
			if stays != c.stays {
				t.Errorf("%d findings were not repaired, want %d", stays, c.stays)
			}
			if again := check(t, s, true); len(again) != c.stays {
				t.Errorf("a second Check finds %d things, want %d:\n%s", len(again), c.stays, strings.Join(names(again), "\n"))
			}
			if c.after != nil {
				c.after(t, s)
				if c.stays == 0 {
					wantClean(t, s)
				}
			}
		})
	}
}

func record1() Record {
	r := record("u1")
	r.Terms = append(r.Terms, Term{Field: "empty", Unique: true}, Term{Field: "empty"})
	return r
}

func wantCount(t *testing.T, s *Store, want int64) {
	t.Helper()
	view(t, s, func(tx *Tx) error {
		if n, err := tx.Count("User"); err != nil || n != want {
			t.Errorf("Count = %d, %v, want %d", n, err, want)
		}
		return nil
	})
}

func wantMembers(t *testing.T, s *Store, body string, want ...string) {
	t.Helper()
	view(t, s, func(tx *Tx) error {
		var got []string
		for l, err := range tx.Links(group("g1"), "members", "") {
			if err != nil {
				return err
			}
			got = append(got, l.To.ID)
			if l.To.ID == "u1" && string(l.Body) != body {
				t.Errorf("the link to u1 has the body %q, want %q", l.Body, body)
			}
		}
		if !slices.Equal(got, want) {
			t.Errorf("the members are %q, want %q", got, want)
		}
		for _, m := range []string{"u1", "u2"} {
			if l := fromIDs(t, tx.Backlinks(user(m), "members", "")); len(l) == 1 != slices.Contains(want, m) {
				t.Errorf("%s is a member of %q", m, l)
			}
		}
		return nil
	})
}

func TestCheckOfDamagedRecordIsNoFlood(t *testing.T) {
	// What is derived from a record that cannot be read is left alone: the record may come back from a backup.
	s, e := checked(t)
	flip(t, e, recordKey(user("u1")))
	check(t, s, true)
	rows := dump(t, e)
	for _, k := range [][]byte{termKey(tenant, "User", "name", []byte("name of u1"), "u1"), uniqueKey(tenant, "User", "username", []byte("u1"))} {
		if _, ok := rows[string(k)]; !ok {
			t.Errorf("a repair has removed %s", describe(k))
		}
	}
	wantCount(t, s, 3)
}

func TestRepairLooksAgain(t *testing.T) {
	// Between the snapshot and the repair, the store goes on: the repair must not bring back what has been deleted.
	s, e := checked(t)
	l := Link{From: group("g1"), Field: "members", To: user("u1")}
	uproot(t, e, string(termKey(tenant, "User", "name", []byte("name of u2"), "u2")))
	uproot(t, e, string(uniqueKey(tenant, "User", "username", []byte("u2"))))
	flip(t, e, uniqueKey(tenant, "User", "username", []byte("u3")))
	uproot(t, e, string(backlinkKey(l)))
	flip(t, e, linkKey(Link{From: group("g1"), Field: "members", To: user("u2")}))
	k := counterKey(tenant, "User")
	plant(t, e, string(k), number(k, 10))

	c := &checker{s: s, report: &Report{}, counted: map[counted]int64{}, dying: map[Ref]bool{}, damaged: map[string]bool{}}
	if err := s.view(t.Context(), func(r Reader) error { c.r = r; return c.run() }); err != nil {
		t.Fatal(err)
	}
	if len(c.report.Findings) < 6 {
		t.Fatalf("only %d findings", len(c.report.Findings))
	}
	update(t, s, func(tx *Tx) error {
		return errors.Join(tx.Delete("User", "u2"), tx.Delete("Group", "g1"), tx.Put(record("u4")), tx.Put(record("u5")))
	})
	if err := c.repair(t.Context()); err != nil {
		t.Fatal(err)
	}
	wantClean(t, s)
	wantCount(t, s, 4)
}

func TestCheckBesideWriters(t *testing.T) {
	s := openOn(t, Memory(), Options{sweepLinks: 5})
	ctx, stop := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	for w := range 3 {
		wg.Go(func() {
			random := rand.New(rand.NewPCG(uint64(w), 1))
			for i := 0; ctx.Err() == nil; i++ {
				id := fmt.Sprintf("%d-%d", w, i%20)
				g := fmt.Sprintf("%d-%d", w, i)
				err := s.Update(context.Background(), tenant, Origin{}, func(tx *Tx) error {
					r := record(id)
					r.Terms[0].Value = fmt.Append(nil, i)
					if random.IntN(4) == 0 {
						if err := tx.Delete("User", id); err != nil && !errors.Is(err, ErrNotFound) {
							return err
						}
					} else if err := tx.Put(r); err != nil {
						return err
					}
					for m := range random.IntN(20) {
						if err := tx.SetLink(Link{From: group(g), Field: "members", To: user(fmt.Sprintf("m%d", m))}); err != nil {
							return err
						}
					}
					if err := tx.Put(Record{Ref: group(g)}); err != nil {
						return err
					}
					return tx.Log(Entry{Op: "x", Ref: user(id)})
				})
				if err == nil && i > 3 {
					err = s.Update(context.Background(), tenant, Origin{}, func(tx *Tx) error { return tx.Delete("Group", fmt.Sprintf("%d-%d", w, i-3)) })
				}
				if err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	for i := range 30 {
		if f := check(t, s, i%2 == 0); len(f) > 0 {
			t.Errorf("a false alarm: %q", names(f))
			break
		}
	}
	stop()
	wg.Wait()
	wantClean(t, s)
}

func TestCheckProgress(t *testing.T) {
	s := openMemory(t)
	update(t, s, func(tx *Tx) error {
		for i := range 1500 {
			if err := tx.Put(record(fmt.Sprint("u", i))); err != nil {
				return err
			}
		}
		return nil
	})
	var calls [][2]int64
	r, err := s.Check(t.Context(), CheckOptions{Progress: func(done, total int64) { calls = append(calls, [2]int64{done, total}) }})
	if err != nil {
		t.Fatal(err)
	}
	if r.Rows != 4503 { // record, term and unique row of each; counter, format and commit
		t.Errorf("%d rows were examined, want 4503", r.Rows)
	}
	if want := "[[1000 4503] [2000 4503] [3000 4503] [4000 4503]]"; fmt.Sprint(calls) != want {
		t.Errorf("Progress is called with %v, want %s", calls, want)
	}
}

func TestCheckIsBounded(t *testing.T) {
	e := Memory()
	s := openOn(t, e, Options{})
	err := e.Update(t.Context(), func(w Writer) error {
		for i := range maxFindings + 5 {
			if err := w.Set(fmt.Appendf(nil, "z%d", i), nil); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	r, err := s.Check(t.Context(), CheckOptions{Repair: true})
	if err != nil || len(r.Findings) != maxFindings || r.More != 5 {
		t.Fatalf("%d findings and %d more, %v", len(r.Findings), r.More, err)
	}
	if r, err = s.Check(t.Context(), CheckOptions{Repair: true}); err != nil || len(r.Findings) != 5 {
		t.Errorf("a second Check finds %d, %v, want the 5 that are left", len(r.Findings), err)
	}
}
