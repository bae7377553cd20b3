package storage

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

func TestTenantsAreIsolated(t *testing.T) {
	s := openMemory(t)
	ctx := t.Context()
	for _, tenant := range []string{"one", "two"} {
		err := s.Update(ctx, tenant, Origin{}, func(tx *Tx) error {
			rec := record("ada")
			rec.Tenant = tenant
			rec.Body = []byte(tenant)
			g := Ref{tenant, "Group", "g1"}
			return errors.Join(tx.Put(rec), tx.Put(Record{Ref: g}), tx.SetLink(Link{From: g, Field: "members", To: rec.Ref}), tx.Log(Entry{Op: "create", Ref: rec.Ref}))
		})
		if err != nil { // the same unique term, in another tenant
			t.Fatal(err)
		}
	}
	err := s.Update(ctx, "one", Origin{}, func(tx *Tx) error { return errors.Join(tx.Delete("User", "ada"), tx.Delete("Group", "g1")) })
	if err != nil {
		t.Fatal(err)
	}
	for tenant, want := range map[string]int64{"one": 0, "two": 1, "on": 0, "onetwo": 0} {
		err := s.View(ctx, tenant, func(tx *Tx) error {
			if n, err := tx.Count("User"); err != nil || n != want {
				t.Errorf("%s: Count = %d, %v, want %d", tenant, n, err, want)
			}
			var hits int64
			for range tx.Find("User", "name", TermRange{}) {
				hits++
			}
			if hits != want {
				t.Errorf("%s: Find yields %d, want %d", tenant, hits, want)
			}
			if _, err := tx.Unique("User", "username", []byte("ada")); (err == nil) != (want == 1) {
				t.Errorf("%s: Unique: %v", tenant, err)
			}
			if l := toIDs(t, tx.Links(Ref{"two", "Group", "g1"}, "members", "")); int64(len(l)) != want {
				t.Errorf("%s: Links of two's group yields %q", tenant, l)
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}

	for name, fn := range map[string]func(*Tx) error{
		"Put": func(tx *Tx) error { return tx.Put(Record{Ref: Ref{"two", "User", "eve"}}) },
		"SetLink": func(tx *Tx) error {
			return tx.SetLink(Link{From: Ref{"one", "Group", "g1"}, Field: "members", To: Ref{"two", "User", "ada"}})
		},
		"Log": func(tx *Tx) error { return tx.Log(Entry{Op: "create", Ref: Ref{"two", "User", "eve"}}) },
	} {
		if err := s.Update(ctx, "one", Origin{}, fn); err == nil {
			t.Errorf("%s of another tenant's is taken", name)
		}
	}
	err = s.Update(ctx, "one", Origin{}, func(tx *Tx) error {
		had, err := tx.DeleteLink(Ref{"two", "Group", "g1"}, "members", Ref{"two", "User", "ada"})
		if had {
			t.Error("another tenant's link was deleted")
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
	wantClean(t, s)
}

func TestStamp(t *testing.T) {
	now := time.Date(2026, 3, 1, 12, 0, 0, 123456789, time.FixedZone("", 3600))
	s := openOn(t, Memory(), Options{Clock: func() time.Time { return now }})
	put := func() (st Stamp) {
		update(t, s, func(tx *Tx) error {
			old, err := tx.Get("User", "u1")
			if err != nil && !errors.Is(err, ErrNotFound) {
				return err
			}
			st = tx.Stamp(old.Stamp)
			return errors.Join(tx.Put(Record{Ref: user("u1"), Stamp: st}), tx.Log(Entry{Op: "put", Ref: user("u1")}))
		})
		view(t, s, func(tx *Tx) error {
			if rec, err := tx.Get("User", "u1"); err != nil || rec.Stamp != st {
				t.Errorf("the record has the stamp %+v, %v, want %+v", rec.Stamp, err, st)
			}
			return nil
		})
		return st
	}
	created := time.Date(2026, 3, 1, 11, 0, 0, 123456000, time.UTC)
	if got, want := put(), (Stamp{created, created, 1}); got != want {
		t.Errorf("a new record: %+v, want %+v", got, want)
	}
	if got, want := put(), (Stamp{created, created.Add(time.Microsecond), 2}); got != want {
		t.Errorf("within the same microsecond: %+v, want %+v", got, want)
	}
	now = now.Add(time.Hour)
	if got, want := put(), (Stamp{created, created.Add(time.Hour), 3}); got != want {
		t.Errorf("an hour later: %+v, want %+v", got, want)
	}
	now = now.Add(-24 * time.Hour)
	if got, want := put(), (Stamp{created, created.Add(time.Hour + time.Microsecond), 4}); got != want {
		t.Errorf("after the clock was set back: %+v, want %+v", got, want)
	}
}

func TestViewCannotWrite(t *testing.T) {
	s := openMemory(t)
	view(t, s, func(tx *Tx) error {
		_, err := tx.DeleteLink(group("g"), "members", user("u"))
		for name, err := range map[string]error{
			"Put": tx.Put(record("u1")), "Delete": tx.Delete("User", "u1"), "Log": tx.Log(Entry{Ref: user("u1")}),
			"SetLink": tx.SetLink(Link{From: group("g"), Field: "members", To: user("u")}), "DeleteLink": err,
		} {
			if !errors.Is(err, ErrReadOnly) {
				t.Errorf("%s in a View: %v, want ErrReadOnly", name, err)
			}
		}
		return nil
	})
}

func TestTxRefuses(t *testing.T) {
	s := openMemory(t)
	long := strings.Repeat("x", maxPart+1)
	term := func(t Term) error {
		return s.Update(context.Background(), tenant, Origin{}, func(tx *Tx) error { return tx.Put(Record{Ref: user("u1"), Terms: []Term{t}}) })
	}
	for name, err := range map[string]error{
		"a field with a zero byte": term(Term{Field: "a\x00b"}),
		"no field":                 term(Term{}),
		"a long field":             term(Term{Field: long}),
		"a long value":             term(Term{Field: "f", Value: make([]byte, maxTermValue+1)}),
		"a link to nowhere": s.Update(t.Context(), tenant, Origin{}, func(tx *Tx) error {
			return tx.SetLink(Link{From: group("g"), Field: "members", To: user("")})
		}),
		"a link without a field": s.Update(t.Context(), tenant, Origin{}, func(tx *Tx) error {
			return tx.SetLink(Link{From: group("g"), To: user("u")})
		}),
	} {
		if err == nil {
			t.Errorf("%s is taken", name)
		}
	}
	if err := term(Term{Field: "f", Value: make([]byte, maxTermValue), Unique: true}); err != nil {
		t.Errorf("a term of the greatest length: %v", err)
	}
	// What cannot be stored is not there: no error, whatever a client asks for.
	view(t, s, func(tx *Tx) error {
		for _, id := range []string{"", "a\x00b", long} {
			if _, err := tx.Get("User", id); !errors.Is(err, ErrNotFound) {
				t.Errorf("Get(%.10q): %v, want ErrNotFound", id, err)
			}
			if has, err := tx.Has("User", id); err != nil || has {
				t.Errorf("Has(%.10q): %t, %v", id, has, err)
			}
			if l := toIDs(t, tx.Links(user(id), "members", "")); len(l) > 0 {
				t.Errorf("Links of %.10q: %q", id, l)
			}
		}
		return nil
	})
}

func TestStats(t *testing.T) {
	s := openMemory(t)
	putRecords(t, s, record("u1"), record("u2"), Record{Ref: group("g1")})
	update(t, s, func(tx *Tx) error { return tx.Delete("Group", "g1") })
	if err := s.Update(t.Context(), "beta", Origin{}, func(tx *Tx) error { return tx.Put(Record{Ref: Ref{"beta", "User", "u1"}}) }); err != nil {
		t.Fatal(err)
	}
	st, err := s.Stats(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if got, want := fmt.Sprint(st), "{3 1 map[acme:map[User:2] beta:map[User:1]] 0}"; got != want {
		t.Errorf("Stats = %s, want %s", got, want)
	}
	tenants, err := s.Tenants(t.Context())
	if err != nil || fmt.Sprint(tenants) != "[acme beta]" {
		t.Errorf("Tenants = %q, %v", tenants, err)
	}
}

func TestJournal(t *testing.T) {
	now := time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)
	s := openOn(t, Memory(), Options{Clock: func() time.Time { return now }})
	by := Origin{"t1", "192.0.2.1", "r1"}
	err := s.Update(t.Context(), tenant, by, func(tx *Tx) error {
		return tx.Log(Entry{Seq: 99, Time: now.Add(time.Hour), Origin: Origin{Actor: "somebody else"}, Op: "create", Ref: user("u1"), Detail: []byte("{}")})
	})
	if err != nil {
		t.Fatal(err)
	}
	l, err := s.Journal(t.Context(), 0, 1)
	if want := (Entry{1, now, by, "create", user("u1"), []byte("{}")}); err != nil || len(l) != 1 || fmt.Sprint(l[0]) != fmt.Sprint(want) {
		t.Errorf("the journal is %+v, %v, want %+v: the store sets Seq, Time and Origin", l, err, want)
	}
	for range 3 {
		update(t, s, func(tx *Tx) error {
			return errors.Join(tx.Log(Entry{Op: "patch", Ref: user("u1")}), tx.Log(Entry{Op: "patch", Ref: group("g1")}))
		})
	}
	for _, c := range []struct {
		after uint64
		limit int
		want  []uint64
	}{
		{0, 3, []uint64{1, 2, 3}}, {3, 3, []uint64{4, 5, 6}}, {6, 3, []uint64{7}}, {7, 3, nil}, {100, 3, nil},
		{0, 0, nil}, {0, -1, nil}, {0, 100, []uint64{1, 2, 3, 4, 5, 6, 7}}, {math.MaxUint64, 3, nil},
	} {
		l, err := s.Journal(t.Context(), c.after, c.limit)
		var got []uint64
		for _, e := range l {
			got = append(got, e.Seq)
		}
		if err != nil || !slices.Equal(got, c.want) {
			t.Errorf("Journal(%d, %d) = %d, %v, want %d", c.after, c.limit, got, err, c.want)
		}
	}
}

func TestFingerprint(t *testing.T) {
	s := openMemory(t)
	want := func(tenant, kind, want string) {
		t.Helper()
		if got, err := s.Fingerprint(t.Context(), tenant, kind); err != nil || got != want {
			t.Errorf("Fingerprint(%s, %s) = %q, %v, want %q", tenant, kind, got, err, want)
		}
	}
	want(tenant, "User", "")
	for _, f := range []string{"v1", "v2"} {
		if err := s.SetFingerprint(t.Context(), tenant, "User", f); err != nil {
			t.Fatal(err)
		}
		want(tenant, "User", f)
	}
	want(tenant, "Group", "")
	want("beta", "User", "")
	if err := s.SetFingerprint(t.Context(), tenant, "", "v1"); err == nil {
		t.Error("a fingerprint of no kind is taken")
	}
	if got := s.LastSeq(); got != 0 {
		t.Errorf("it has left %d journal rows", got)
	}
	wantClean(t, s)
}

func TestNewerFormat(t *testing.T) {
	e := Memory()
	b, _ := json.Marshal(formatRow{Format: Format + 1, Version: "9.8.7"})
	plant(t, e, string(formatKey), string(sealRow(formatKey, b)))
	_, err := Open(t.Context(), e, Options{})
	var f *FormatError
	if !errors.As(err, &f) || f.Found != Format+1 || f.Known != Format || !strings.Contains(err.Error(), "9.8.7") {
		t.Errorf("a newer format: %v, want a FormatError that names 9.8.7", err)
	}
	if err := e.View(t.Context(), func(Reader) error { return nil }); !errors.Is(err, ErrClosed) {
		t.Errorf("the engine is left open: %v", err)
	}
}

func TestOpenRefuses(t *testing.T) {
	for name, plantIn := range map[string]func(Engine){
		"data without a format":        func(e Engine) { plant(t, e, "rx", "") },
		"a format that is no JSON":     func(e Engine) { plant(t, e, string(formatKey), string(sealRow(formatKey, []byte("{")))) },
		"a format row that is damaged": func(e Engine) { plant(t, e, string(formatKey), "damage") },
		"a damaged number of commits": func(e Engine) {
			closeStoreKeepingEngine(t, e)
			plant(t, e, string(commitKey), "damage")
		},
		"a journal key that cannot be read": func(e Engine) {
			closeStoreKeepingEngine(t, e)
			plant(t, e, "j\xff", "")
		},
	} {
		e := Memory()
		plantIn(e)
		before := dump(t, e)
		s, err := Open(t.Context(), keepOpen{e}, Options{})
		if !isDamage(err) {
			t.Errorf("%s: %v, want a DamageError", name, err)
		}
		if err == nil {
			closeStore(t, s)
		}
		if after := dump(t, e); fmt.Sprint(after) != fmt.Sprint(before) {
			t.Errorf("%s: a refused store was written to", name)
		}
	}
}

// keepOpen is an engine that outlives its stores.
type keepOpen struct{ Engine }

func (keepOpen) Close() error { return nil }

// closeStoreKeepingEngine makes an engine a store with a record.
func closeStoreKeepingEngine(t *testing.T, e Engine) {
	t.Helper()
	s, err := Open(t.Context(), keepOpen{e}, Options{})
	if err != nil {
		t.Fatal(err)
	}
	putRecords(t, s, record("u1"))
	closeStore(t, s)
}

func TestReopenGoesOn(t *testing.T) {
	e := keepOpen{Memory()}
	for i := range 3 {
		s, err := Open(t.Context(), e, Options{})
		if err != nil {
			t.Fatal(err)
		}
		if got := s.LastSeq(); got != uint64(i) {
			t.Errorf("the store goes on at %d, want %d", got, i)
		}
		putRecords(t, s, record(fmt.Sprint("u", i)))
		wantClean(t, s)
		closeStore(t, s)
	}
}

func TestDamagedRowsAreErrors(t *testing.T) {
	e := Memory()
	s := openOn(t, e, Options{})
	l := Link{From: group("g1"), Field: "members", To: user("u1"), Body: []byte("x")}
	update(t, s, func(tx *Tx) error { return errors.Join(tx.Put(Record{Ref: group("g1")}), tx.SetLink(l)) })
	putRecords(t, s, record("u1"))
	for _, k := range [][]byte{recordKey(user("u1")), linkKey(l), backlinkKey(l), uniqueKey(tenant, "User", "username", []byte("u1")), counterKey(tenant, "User"), journalKey(1)} {
		flip(t, e, k)
	}
	view(t, s, func(tx *Tx) error {
		_, err := tx.Get("User", "u1")
		_, linkErr := tx.GetLink(l.From, l.Field, l.To)
		_, uniqueErr := tx.Unique("User", "username", []byte("u1"))
		_, countErr := tx.Count("User")
		for name, err := range map[string]error{"Get": err, "GetLink": linkErr, "Unique": uniqueErr, "Count": countErr} {
			if !isDamage(err) {
				t.Errorf("%s of a damaged row: %v, want a DamageError", name, err)
			}
		}
		for _, err := range tx.Links(l.From, "members", "") {
			if !isDamage(err) {
				t.Errorf("Links with a damaged row: %v", err)
			}
		}
		for _, err := range tx.Backlinks(l.To, "members", "") {
			if !isDamage(err) {
				t.Errorf("Backlinks with a damaged row: %v", err)
			}
		}
		return nil
	})
	if _, err := s.Journal(t.Context(), 0, 1); !isDamage(err) {
		t.Errorf("Journal with a damaged row: %v", err)
	}
	if _, err := s.Stats(t.Context()); !isDamage(err) {
		t.Errorf("Stats with a damaged counter: %v", err)
	}
	if err := s.Update(t.Context(), tenant, Origin{}, func(tx *Tx) error { return tx.Put(record("u1")) }); !isDamage(err) {
		t.Errorf("Put over a damaged record: %v, want a DamageError: its terms are not known", err)
	}
}

// flip flips a bit of a row.
func flip(t *testing.T, e Engine, key []byte) {
	t.Helper()
	v, ok := dump(t, e)[string(key)]
	if !ok {
		t.Fatalf("there is no row %s", describe(key))
	}
	b := []byte(v)
	b[len(b)/2] ^= 1
	plant(t, e, string(key), string(b))
}

func TestReturnedSlicesMayBeKept(t *testing.T) {
	s := openMemory(t)
	l := Link{From: group("g1"), Field: "members", To: user("u1"), Body: []byte("link")}
	update(t, s, func(tx *Tx) error { return errors.Join(tx.Put(Record{Ref: group("g1")}), tx.SetLink(l)) })
	putRecords(t, s, record("u1"), record("u2"))
	var kept []string
	var slices [][]byte
	keep := func(b []byte) { kept = append(kept, string(b)); slices = append(slices, b) }
	view(t, s, func(tx *Tx) error {
		for hit := range tx.Find("User", "name", TermRange{}) {
			keep(hit.Value)
		}
		for link := range tx.Links(l.From, "members", "") {
			keep(link.Body)
		}
		rec, err := tx.Get("User", "u1")
		keep(rec.Body)
		return err
	})
	update(t, s, func(tx *Tx) error {
		r := record("u1")
		r.Body = []byte("another")
		return errors.Join(tx.Put(r), tx.Delete("Group", "g1"))
	})
	for i, b := range slices {
		if string(b) != kept[i] {
			t.Errorf("%q has become %q", kept[i], b)
		}
	}
}

func TestContext(t *testing.T) {
	s := openMemory(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	called := atomic.Bool{}
	fn := func(*Tx) error { called.Store(true); return nil }
	_, journalErr := s.Journal(ctx, 0, 1)
	_, checkErr := s.Check(ctx, CheckOptions{Repair: true})
	for name, err := range map[string]error{
		"View": s.View(ctx, tenant, fn), "Update": s.Update(ctx, tenant, Origin{}, fn), "Journal": journalErr, "Check": checkErr,
	} {
		if !errors.Is(err, context.Canceled) {
			t.Errorf("%s after its context has ended: %v", name, err)
		}
	}
	if called.Load() {
		t.Error("fn was called")
	}
}
