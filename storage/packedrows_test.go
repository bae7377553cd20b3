package storage

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
)

// keepingEngine keeps rows from the beginning.
func keepingEngine(t *testing.T) (*badgerEngine, *packedRows) {
	t.Helper()
	e := hotEngine(t)
	if err := e.keepRows(t.Context(), 32<<20); err != nil {
		t.Fatal(err)
	}
	return e, e.packed.Load()
}

func setRows(t *testing.T, e Engine, rows ...string) {
	t.Helper()
	err := e.Update(t.Context(), func(w Writer) error {
		for _, row := range rows {
			end := strings.LastIndexByte(row, '=')
			if err := w.Set([]byte(row[:end]), []byte(row[end+1:])); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// listed is what a scan of what links to a record by a field says.
func listed(t *testing.T, r Reader, prefix string) string {
	t.Helper()
	var l []string
	for it, err := range r.Scan(within([]byte(prefix))) {
		if err != nil {
			t.Fatal(err)
		}
		l = append(l, string(it.Key)+"="+string(it.Value))
	}
	return strings.Join(l, " ")
}

const (
	keptRecord = "rt\x00User\x00u"
	keptUnique = "ut\x00User\x00=username\x00anna"
	keptLinks  = "bt\x00User\x00u\x00"
)

// A row is kept when it is asked for a second time, and not for longer than it stays as it is.
func TestPackedRows(t *testing.T) {
	for _, test := range []struct{ name, key, under string }{
		{"record", keptRecord, keptRecord},
		{"unique", keptUnique, keptUnique},
		{"links", keptLinks + "members\x00g\x00Group", keptLinks},
	} {
		t.Run(test.name, func(t *testing.T) {
			e, p := keepingEngine(t)
			kept := func() bool {
				_, ok := p.get([]byte(test.under), e.last)
				return ok
			}
			see := func(r Reader, want string) {
				t.Helper()
				got := ""
				if test.key == test.under {
					got = hotText(t, r, []byte(test.key))
				} else {
					got = strings.TrimPrefix(listed(t, r, keptLinks+"members\x00"), test.key+"=")
				}
				if got != want {
					t.Errorf("the row is %.20q, want %.20q", got, want)
				}
			}
			view := func(fn func(r Reader)) {
				t.Helper()
				if err := e.View(t.Context(), func(r Reader) error { fn(r); return nil }); err != nil {
					t.Fatal(err)
				}
			}
			setRows(t, e, test.key+"=one")
			view(func(r Reader) { see(r, "one") })
			if kept() {
				t.Error("a row is kept that was asked for once")
			}
			view(func(r Reader) { see(r, "one") })
			if !kept() {
				t.Error("a row that was asked for twice is not kept")
			}
			view(func(old Reader) {
				setRows(t, e, test.key+"=two")
				if kept() {
					t.Error("a row is kept that was written")
				}
				see(old, "one")
				see(old, "one")
				if kept() {
					t.Error("a row is kept of a state that is gone")
				}
				view(func(r Reader) { see(r, "two") })
				if !kept() {
					t.Error("a row that had been kept is not kept again")
				}
				see(old, "one") // what later readers keep is nothing for it
			})
			setRows(t, e, "another=row")
			if !kept() {
				t.Error("another row was written, and this one is forgotten")
			}
			refused := errors.New("refused")
			if err := e.Update(t.Context(), func(w Writer) error { return errors.Join(w.Set([]byte(test.key), nil), refused) }); !errors.Is(err, refused) {
				t.Fatal(err)
			}
			view(func(r Reader) { see(r, "two") })
			if err := e.Update(t.Context(), func(w Writer) error { return w.Delete([]byte(test.key)) }); err != nil {
				t.Fatal(err)
			}
			view(func(r Reader) { see(r, ""); see(r, "") })
			large := strings.Repeat("x", packedValue+1)
			setRows(t, e, test.key+"="+large)
			view(func(r Reader) { see(r, large); see(r, large) })
			if kept() {
				t.Error("a row is kept that is too large")
			}
		})
	}
}

// A row that links to a record is kept in its list alone, whoever asks for it by its key.
func TestPackedLinkByItsKey(t *testing.T) {
	e, _ := keepingEngine(t)
	link := keptLinks + "members\x00g\x00Group"
	for _, value := range []string{"one", "two", "three"} {
		setRows(t, e, link+"="+value)
		err := e.View(t.Context(), func(r Reader) error {
			for range 3 {
				if got := hotText(t, r, []byte(link)); got != value {
					t.Errorf("the row is %q, want %q", got, value)
				}
				if got := listed(t, r, keptLinks+"members\x00"); got != link+"="+value {
					t.Errorf("the list is %q, want %q", got, value)
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
}

// Of a list that is too long to be kept all is seen, and no more than was asked for.
func TestPackedLongList(t *testing.T) {
	e, p := keepingEngine(t)
	var rows []string
	for i := range 400 {
		rows = append(rows, fmt.Sprintf("%smembers\x00g%03d\x00Group=%d", keptLinks, i, i), fmt.Sprintf("%sowners\x00g%03d\x00Group=%d", keptLinks, i, i))
	}
	setRows(t, e, rows...)
	slices.Sort(rows)
	for field, want := range map[string][]string{"members": rows[:400], "owners": rows[400:], "none": nil} {
		err := e.View(t.Context(), func(r Reader) error {
			for range 3 {
				if got := listed(t, r, keptLinks+field+"\x00"); got != strings.Join(want, " ") {
					t.Errorf("by %s link %d bytes of rows, want %d", field, len(got), len(strings.Join(want, " ")))
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if _, ok := p.get([]byte(keptLinks), e.last); ok {
		t.Error("a list is kept that is too long")
	}
}

// Of somebody who goes from record to record nothing is learnt, but what is kept he is given.
func TestPassing(t *testing.T) {
	e, p := keepingEngine(t)
	link := keptLinks + "members\x00g\x00Group"
	setRows(t, e, keptRecord+"=one", keptUnique+"=two", link+"=three")
	see := func(r Reader) {
		t.Helper()
		for range 3 {
			got := []string{hotText(t, r, []byte(keptRecord)), hotText(t, r, []byte(keptUnique)), listed(t, r, keptLinks+"members\x00")}
			if want := []string{"one", "two", link + "=three"}; !slices.Equal(got, want) {
				t.Errorf("%q, want %q", got, want)
			}
		}
	}
	for _, passing := range []bool{true, false, true} {
		err := e.View(t.Context(), func(r Reader) error {
			tx := &Tx{r: r}
			if passing {
				tx.Pass()
				if forked := tx.Fork(); !forked.r.(*badgerReader).passing {
					t.Error("who helps him is believed to look something up")
				}
			}
			before := []bool{}
			for _, key := range []string{keptRecord, keptUnique, keptLinks} {
				_, ok := p.get([]byte(key), e.last)
				before = append(before, ok)
			}
			see(r)
			for i, key := range []string{keptRecord, keptUnique, keptLinks} {
				if _, ok := p.get([]byte(key), e.last); ok != (before[i] || !passing) {
					t.Errorf("%q is kept: %v, though passing is %v", key, ok, passing)
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	new(Tx).Pass() // of an engine that has all in memory
}

// What links to a record is kept together, by whatever field, and nobody sees more of it than was asked for.
func TestPackedListsOfSeveralFields(t *testing.T) {
	e, p := keepingEngine(t)
	members, owners := keptLinks+"members\x00", keptLinks+"owners\x00"
	setRows(t, e, members+"g1\x00Group=1", members+"g2\x00Group=2", owners+"g1\x00Group=3", "bt\x00User\x00v\x00members\x00g1\x00Group=4")
	err := e.View(t.Context(), func(r Reader) error {
		for range 3 {
			for prefix, want := range map[string]string{
				members:                          members + "g1\x00Group=1 " + members + "g2\x00Group=2",
				owners:                           owners + "g1\x00Group=3",
				keptLinks + "none\x00":           "",
				"bt\x00User\x00v\x00members\x00": "bt\x00User\x00v\x00members\x00g1\x00Group=4",
				"bt\x00User\x00w\x00members\x00": "",
			} {
				if got := listed(t, r, prefix); got != want {
					t.Errorf("%q links by %q, want %q", got, prefix, want)
				}
			}
			// Behind one of them, to the one before it, and both from the end.
			span := within([]byte(members))
			span.Start = successor([]byte(members + "g1\x00"))
			for it, err := range r.Scan(span) {
				if err != nil || string(it.Value) != "2" {
					t.Errorf("%q, %v, want the second", it.Value, err)
				}
			}
			span = within([]byte(members))
			span.Reverse = true
			last := ""
			for it := range r.Scan(span) {
				last += string(it.Value)
			}
			if last != "21" {
				t.Errorf("from the end they are %q", last)
			}
			for it := range r.Scan(within([]byte(members))) {
				if string(it.Value) == "2" {
					t.Error("a scan goes on that nobody wants any more")
				}
				break
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, of := range []string{keptLinks, "bt\x00User\x00v\x00", "bt\x00User\x00w\x00"} {
		if _, ok := p.get([]byte(of), e.last); !ok {
			t.Errorf("what links to %q is not kept", of)
		}
	}
}

// Records are packed with the words of others of their kind.
func TestPackedRecords(t *testing.T) {
	e, p := keepingEngine(t)
	body := func(kind string, i int) string {
		return fmt.Sprintf("%s %d lives in Bahnhofstrasse %d, 8001 Zürich, and works for the Department of operations and measurement of Bench Industries AG%s", kind, i, i, strings.Repeat(".", 60))
	}
	var rows []string
	for i := range 20 {
		for _, kind := range []string{"User", "Device"} {
			rows = append(rows, fmt.Sprintf("rt\x00%s\x00%03d=%s", kind, i, body(kind, i)))
		}
		rows = append(rows, fmt.Sprintf("rt\x00Group\x00%03d=short %d", i, i))
	}
	setRows(t, e, rows...)
	took := 0
	for range 2 {
		for _, row := range rows {
			key, want, _ := strings.Cut(row, "=")
			took += p.keep([]byte(key), []byte(want), e.last)
		}
	}
	for _, row := range rows {
		key, want, _ := strings.Cut(row, "=")
		if got, ok := p.get([]byte(key), e.last); !ok || string(got) != want {
			t.Errorf("%q is kept as %q, %v; want %q", key, got, ok, want)
		}
	}
	if size := len(strings.Join(rows, "")); took > size { // twice each, but for those that a dictionary was made of
		t.Errorf("%d bytes are kept of %d", took, 2*size)
	}
	for i := range maxDictionaries + 10 {
		key := fmt.Appendf(nil, "rt\x00Kind%d\x00u", i)
		for range dictionarySamples {
			p.keep(key, []byte(body("Kind", i)), e.last)
		}
		got, ok := p.get(key, e.last)
		if want := i < maxDictionaries-2; ok != want || ok && string(got) != body("Kind", i) { // two kinds have one already
			t.Errorf("of kind %d %q is kept: %v, want %v", i, got, ok, want)
		}
	}
}

// What there is when somebody begins to keep rows is read at once: users, what their names lead to, and what links to them.
func TestKeepRows(t *testing.T) {
	e, ctx := hotEngine(t), t.Context()
	s, err := Open(ctx, e, Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	const users = 2*warmRows + 10
	group := Ref{"t", "Group", "g"}
	for from := 0; from < users; from += 100 {
		err := s.Update(ctx, "t", Origin{}, func(tx *Tx) error {
			for i := from; i < min(from+100, users); i++ {
				ref := Ref{"t", "User", fmt.Sprintf("%06d", i)}
				rec := Record{Ref: ref, Stamp: tx.Stamp(Stamp{}), Body: []byte(`{"userName":"` + ref.ID + `"}`),
					Terms: []Term{{Field: "=username", Value: []byte(ref.ID), Unique: true}}}
				if err := errors.Join(tx.Put(rec), tx.Log(Entry{Op: "create", Ref: ref})); err != nil {
					return err
				}
				if i%3 == 0 {
					nobody := Ref{"t", "User", ref.ID + "x"} // a client may have named somebody who is not there
					err := errors.Join(tx.SetLink(Link{From: group, Field: "members", To: ref}), tx.SetLink(Link{From: group, Field: "members", To: nobody}))
					if err != nil {
						return err
					}
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := s.KeepRows(ctx, 64<<20); err != nil {
		t.Fatal(err)
	}
	p := e.packed.Load()
	err = e.View(ctx, func(r Reader) error {
		n := map[byte]int{}
		for it, err := range r.Scan(Range{}) {
			if err != nil {
				return err
			}
			if of := keptBy(it.Key); of != nil && it.Key[0] != familyBacklink {
				n[it.Key[0]]++
				if v, ok := p.get(it.Key, e.last); !ok || !bytes.Equal(v, it.Value) {
					t.Errorf("%s is kept as %q, %v; it is %q", describe(it.Key), v, ok, it.Value)
				}
			}
		}
		if want := map[byte]int{familyRecord: users, familyUnique: users}; !maps.Equal(n, want) {
			t.Errorf("there are %v, want %v", n, want)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for i := range users {
		of := prefix(familyBacklink, "t", "User", fmt.Sprintf("%06d", i))
		var want []byte
		if i%3 == 0 {
			want = appendListed(nil, of, Item{append(of, "members\x00g\x00Group"...), sealRow(append(of, "members\x00g\x00Group"...), nil)})
		}
		if list, ok := p.get(of, e.last); !ok || !bytes.Equal(list, want) {
			t.Errorf("what links to %d is kept as %q, %v; want %q", i, list, ok, want)
		}
	}
	// Of more than there is room for, some of all are kept, and of each all that a look-up asks for.
	p, err = newPackedRows(64 << 20)
	if err != nil {
		t.Fatal(err)
	}
	if err := e.warm(ctx, p, users*perRecord/4); err != nil {
		t.Fatal(err)
	}
	kept := [2]int{}
	for i := range users {
		id := fmt.Sprintf("%06d", i)
		_, unique := p.get(uniqueKey("t", "User", "=username", []byte(id)), e.last)
		_, record := p.get(recordKey(Ref{"t", "User", id}), e.last)
		_, list := p.get(prefix(familyBacklink, "t", "User", id), e.last)
		if unique != record || record != list {
			t.Errorf("of user %d are kept: the unique row %v, the record %v, the list %v", i, unique, record, list)
		}
		if record {
			kept[2*i/users]++
		}
	}
	if kept[0] < users/2/6 || kept[0] > users/2/3 || kept[1] < users/2/6 || kept[1] > users/2/3 {
		t.Errorf("of the first and the second half of %d users %d are kept, want a quarter of each", users, kept)
	}
	if err := s.KeepRows(ctx, RowMemoryUnit-1); err == nil {
		t.Error("rows are kept in less than they take")
	}
	stopped, stop := context.WithCancel(ctx)
	stop()
	if err := s.KeepRows(stopped, 64<<20); !errors.Is(err, context.Canceled) {
		t.Errorf("whoever stops it hears %v", err)
	}
}

// However reads and writes fall together, rows and lists are what a scan of the same snapshot says that keeps nothing.
func TestPackedRowsBesideWrites(t *testing.T) {
	e := hotEngine(t)
	const users, groups, writes = 6, 3, 400
	record := func(i int) []byte { return recordKey(Ref{"t", "User", fmt.Sprint(i)}) }
	unique := func(i int) []byte { return uniqueKey("t", "User", "=username", fmt.Append(nil, i)) }
	link := func(i, g int) []byte {
		return backlinkKey(Link{From: Ref{"t", "Group", fmt.Sprint(g)}, Field: "members", To: Ref{"t", "User", fmt.Sprint(i)}})
	}
	read := func(r Reader, rnd *rand.Rand) error {
		got := map[string]string{}
		for range 40 {
			i := rnd.IntN(users)
			if n := rnd.IntN(3); n < 2 {
				k := [][]byte{record(i), unique(i)}[n]
				v, err := r.Get(k)
				if err != nil && !errors.Is(err, ErrNotFound) {
					return err
				}
				got[string(k)] = string(v)
				continue
			}
			of := prefix(familyBacklink, "t", "User", fmt.Sprint(i), "members")
			list := ""
			for it, err := range r.Scan(within(of)) {
				if err != nil {
					return err
				}
				list += " " + string(it.Key) + "=" + string(it.Value)
			}
			got[string(of)] = list
		}
		want := map[string]string{}
		for it, err := range r.(*badgerReader).scan(Range{}) {
			if err != nil {
				return err
			}
			if it.Key[0] != familyBacklink {
				want[string(it.Key)] = string(it.Value)
				continue
			}
			of := string(it.Key[:bytes.LastIndex(it.Key, []byte("members\x00"))+len("members\x00")])
			want[of] += " " + string(it.Key) + "=" + string(it.Value)
		}
		for k, v := range got {
			if v != want[k] {
				return fmt.Errorf("%q is %q, and %q in a scan of the same snapshot", k, v, want[k])
			}
		}
		return nil
	}
	var keeping sync.WaitGroup
	besideWrites(t, e, writes, read, func(w Writer, rnd *rand.Rand, i int) error {
		if i == writes/4 { // in the middle of it all
			keeping.Go(func() {
				if err := e.keepRows(t.Context(), RowMemoryUnit); err != nil {
					t.Error(err)
				}
			})
		}
		for range 1 + rnd.IntN(3) {
			k := [][]byte{record(rnd.IntN(users)), unique(rnd.IntN(users)), link(rnd.IntN(users), rnd.IntN(groups))}[rnd.IntN(3)]
			if rnd.IntN(4) == 0 {
				if err := w.Delete(k); err != nil {
					return err
				}
			} else if err := w.Set(k, fmt.Append(nil, i, strings.Repeat("x", i%200))); err != nil {
				return err
			}
		}
		return nil
	})
	keeping.Wait()
}
