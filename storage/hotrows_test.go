package storage

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
)

func hotEngine(t *testing.T) *badgerEngine {
	t.Helper()
	e, err := openBadgerWith(badgerOptions(t.TempDir(), nil).WithMemTableSize(1<<20).WithValueThreshold(100<<10), "")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := e.Close(); err != nil {
			t.Error(err)
		}
	})
	return e
}

// text of a record's row, "" if there is none.
func hotText(t *testing.T, r Reader, key []byte) string {
	t.Helper()
	v, err := r.Get(key)
	if err != nil && !errors.Is(err, ErrNotFound) {
		t.Fatal(err)
	}
	return string(v)
}

func TestHotRows(t *testing.T) {
	e, ctx := hotEngine(t), t.Context()
	key := recordKey(Ref{"t", "Group", "g"})
	write := func(value string) {
		t.Helper()
		err := e.Update(ctx, func(w Writer) error {
			if value == "" {
				return w.Delete(key)
			}
			return w.Set(key, []byte(value))
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	view := func(fn func(r Reader)) {
		t.Helper()
		if err := e.View(ctx, func(r Reader) error { fn(r); return nil }); err != nil {
			t.Fatal(err)
		}
	}
	sees := func(r Reader, want string) {
		t.Helper()
		if got := hotText(t, r, key); got != want {
			t.Errorf("the row is %q, want %q", got, want)
		}
	}
	known := func(want bool) {
		t.Helper()
		if _, ok := e.hot.get(key, e.last); ok != want {
			t.Errorf("the row is known: %v, want %v", ok, want)
		}
	}

	view(func(r Reader) { sees(r, "") })
	known(false)
	write("one")
	view(func(old Reader) {
		sees(old, "one")
		known(true)
		write("two")
		known(false)
		view(func(r Reader) { sees(r, "two") })
		known(true)
		sees(old, "one") // what a later reader has left is nothing for it
		sees(old, "one")
		view(func(r Reader) { sees(r, "two") }) // nor what it has left for a later one
	})
	if err := e.Update(ctx, func(w Writer) error { return w.Set([]byte("another"), nil) }); err != nil {
		t.Fatal(err)
	}
	view(func(r Reader) {
		sees(r, "two")
		known(true) // other rows may be written
	})
	refused := errors.New("refused")
	err := e.Update(ctx, func(w Writer) error { return errors.Join(w.Set(key, []byte("three")), refused) })
	if !errors.Is(err, refused) {
		t.Fatal(err)
	}
	view(func(r Reader) { sees(r, "two") })
	write("")
	known(false)
	view(func(r Reader) { sees(r, "") })

	// Nobody can change what others are given.
	write("four")
	view(func(r Reader) {
		v, err := r.Get(key)
		if err != nil {
			t.Fatal(err)
		}
		_ = append(v, "teen"...)
		v, err = r.Get(key)
		if err != nil || cap(v) != len(v) {
			t.Errorf("%q of %d bytes, %v: who appends to it writes where others read", v, cap(v), err)
		}
	})
	write(string(bytes.Repeat([]byte("x"), hotValue+1)))
	view(func(r Reader) { hotText(t, r, key) })
	known(false) // too large
}

// Rows that share a slot are not taken for each other, and what is written to one is not missed because of the other.
func TestHotRowsOfOneSlot(t *testing.T) {
	h := newHotRows()
	a := []byte("ra")
	b := a
	for i := 0; bytes.Equal(a, b) || h.slot(b) != h.slot(a); i++ {
		b = fmt.Appendf(nil, "r%d", i)
	}
	h.keep(a, []byte("a"), 1)
	if _, ok := h.get(b, 1); ok {
		t.Error("a row is taken for another one")
	}
	h.keep(b, []byte("b"), 1)
	if _, ok := h.get(a, 1); ok {
		t.Error("a row is taken for another one")
	}
	if v, ok := h.get(b, 1); !ok || string(v) != "b" {
		t.Errorf("%q, %v", v, ok)
	}
	h.wrote(b, 3)
	h.wrote(a, 2) // of a commit before
	h.keep(b, []byte("b of 2"), 2)
	if v, ok := h.get(b, 3); ok {
		t.Errorf("%q is of a commit before the last one", v)
	}
}

// besideWrites has three readers read, each of snapshots of their own, while so many transactions write.
func besideWrites(t *testing.T, e Engine, writes int, read func(Reader, *rand.Rand) error, write func(w Writer, rnd *rand.Rand, i int) error) {
	t.Helper()
	reading, stop := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	defer wg.Wait()
	defer stop()
	for reader := range 3 {
		wg.Go(func() {
			rnd := rand.New(rand.NewPCG(1, uint64(reader)))
			for reading.Err() == nil {
				if err := e.View(t.Context(), func(r Reader) error { return read(r, rnd) }); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	rnd := rand.New(rand.NewPCG(2, 2))
	for i := range writes {
		if err := e.Update(t.Context(), func(w Writer) error { return write(w, rnd, i) }); err != nil {
			t.Error(err)
			return
		}
	}
}

// However reads and writes fall together, a row is what a scan of the same snapshot says.
func TestHotRowsBesideWrites(t *testing.T) {
	const rows = 8
	key := func(i int) []byte { return recordKey(Ref{"t", "User", fmt.Sprint(i)}) }
	read := func(r Reader, rnd *rand.Rand) error {
		want := map[string]string{}
		scan := func() {
			for it, err := range r.Scan(within([]byte{familyRecord})) {
				if err != nil {
					t.Error(err)
					return
				}
				want[string(it.Key)] = string(it.Value)
			}
		}
		if rnd.IntN(2) == 0 { // else the rows are asked for first, when others may just be writing them
			scan()
		}
		got := map[string]string{}
		for range 4 * rows {
			k := key(rnd.IntN(rows))
			v, err := r.Get(k)
			if err != nil && !errors.Is(err, ErrNotFound) {
				return err
			}
			got[string(k)] = string(v)
		}
		scan()
		for k, v := range got {
			if v != want[k] {
				return fmt.Errorf("%s is %q, and %q in a scan of the same snapshot", describe([]byte(k)), v, want[k])
			}
		}
		return nil
	}
	besideWrites(t, hotEngine(t), 400, read, func(w Writer, rnd *rand.Rand, i int) error {
		for range 1 + rnd.IntN(3) {
			k := key(rnd.IntN(rows))
			if rnd.IntN(5) == 0 {
				if err := w.Delete(k); err != nil {
					return err
				}
				continue
			}
			if err := w.Set(k, fmt.Append(nil, i)); err != nil {
				return err
			}
			if got, err := w.Get(k); err != nil || string(got) != fmt.Sprint(i) {
				return fmt.Errorf("a writer sees %q of its own write, %w", got, err)
			}
		}
		return nil
	})
}

// What was read ahead of an Update is known when the committer asks for it.
func TestAhead(t *testing.T) {
	e, ctx := hotEngine(t), t.Context()
	s, err := Open(ctx, e, Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	rec := Record{Ref: Ref{"t", "User", "u"}, Body: []byte("{}")}
	err = s.Update(ctx, "t", Origin{}, func(tx *Tx) error {
		rec.Stamp = tx.Stamp(Stamp{})
		return errors.Join(tx.Put(rec), tx.Log(Entry{Op: "create", Ref: rec.Ref}))
	})
	if err != nil {
		t.Fatal(err)
	}
	known := func() bool {
		_, ok := e.hot.get(recordKey(rec.Ref), e.last)
		return ok
	}
	if known() {
		t.Error("a row is known that nobody has read since it was written")
	}
	s.Ahead(ctx, "t", "User", "nobody")
	s.Ahead(ctx, "t", "User", "")
	s.Ahead(ctx, "t", "User", "u")
	if !known() {
		t.Error("the row was read ahead, and is not known")
	}
}
