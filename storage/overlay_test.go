package storage

import (
	"errors"
	"fmt"
	"iter"
	"maps"
	"slices"
	"testing"
)

// below is what an overlay lies on in these tests.
func below(t *testing.T, rows ...string) Reader {
	t.Helper()
	e := Memory()
	err := e.Update(t.Context(), func(w Writer) error {
		for _, k := range rows {
			if err := w.Set([]byte(k), []byte("below")); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	rs, err := e.(*memory).snapshot()
	if err != nil {
		t.Fatal(err)
	}
	return memoryReader{t.Context(), rs}
}

func scanned(t *testing.T, r Reader, span Range) []string {
	t.Helper()
	var l []string
	for it, err := range r.Scan(span) {
		if err != nil {
			t.Fatal(err)
		}
		l = append(l, string(it.Key)+"="+string(it.Value))
	}
	return l
}

func TestOverlayMerges(t *testing.T) {
	o := newOverlay(below(t, "b", "d", "f"))
	for _, k := range []string{"a", "d", "e", "g"} {
		_ = o.Set([]byte(k), []byte("above"))
	}
	_ = o.Delete([]byte("f"))
	_ = o.Delete([]byte("x"))
	for _, c := range []struct {
		span Range
		want []string
	}{
		{Range{}, []string{"a=above", "b=below", "d=above", "e=above", "g=above"}},
		{Range{KeysOnly: true}, []string{"a=", "b=", "d=", "e=", "g="}},
		{Range{Start: []byte("b"), End: []byte("e")}, []string{"b=below", "d=above"}},
		{Range{Start: []byte("e")}, []string{"e=above", "g=above"}},
		{Range{End: []byte("b")}, []string{"a=above"}},
		{Range{Start: []byte("f"), End: []byte("g")}, nil},
		{Range{Start: []byte("g"), End: []byte("a")}, nil},
	} {
		if got := scanned(t, o, c.span); !slices.Equal(got, c.want) {
			t.Errorf("Scan(%q, %q) = %q, want %q", c.span.Start, c.span.End, got, c.want)
		}
		c.span.Reverse = true
		slices.Reverse(c.want)
		if got := scanned(t, o, c.span); !slices.Equal(got, c.want) {
			t.Errorf("Scan(%q, %q) in reverse = %q, want %q", c.span.Start, c.span.End, got, c.want)
		}
	}
}

func TestOverlayOnOverlay(t *testing.T) {
	// As in a batch: what one operation has written lies below the next one.
	first := newOverlay(below(t, "a", "b", "c"))
	_ = first.Delete([]byte("b"))
	_ = first.Set([]byte("c"), []byte("first"))
	second := newOverlay(first)
	_ = second.Set([]byte("b"), []byte("second"))
	_ = second.Delete([]byte("a"))
	if got, want := scanned(t, second, Range{}), []string{"b=second", "c=first"}; !slices.Equal(got, want) {
		t.Errorf("the second sees %q, want %q", got, want)
	}
	if got, want := scanned(t, first, Range{}), []string{"a=below", "c=first"}; !slices.Equal(got, want) {
		t.Errorf("the first sees %q, want %q", got, want)
	}
}

func TestOverlayHandsOnInOrder(t *testing.T) {
	o := newOverlay(below(t))
	for _, k := range []string{"c", "a", "b", "a"} {
		_ = o.Set([]byte(k), nil)
	}
	_ = o.Delete([]byte("b"))
	var got []string
	err := o.each(
		func(k, _ []byte) error { got = append(got, "set "+string(k)); return nil },
		func(k []byte) error { got = append(got, "delete "+string(k)); return nil })
	if want := []string{"set a", "delete b", "set c"}; err != nil || !slices.Equal(got, want) {
		t.Errorf("each hands on %q, %v, want %q", got, err, want)
	}
	n, mine := 0, errors.New("mine")
	err = o.each(func(_, _ []byte) error { n++; return mine }, nil)
	if err != mine || n != 1 {
		t.Errorf("each goes on for %d after an error and returns %v", n, err)
	}
}

func TestOverlayLimits(t *testing.T) {
	o := newOverlay(below(t))
	o.maxRows, o.maxBytes, o.maxValue = 3, 100, 50
	set := func(k string, n int) error { return o.Set([]byte(k), make([]byte, n)) }
	for i, c := range []struct {
		key  string
		size int
		ok   bool
	}{
		{"a", 51, false}, // a value
		{"a", 50, true},  // 63 bytes
		{"b", 25, false}, // 101
		{"b", 24, true},  // 100
		{"a", 10, true},  // in place of 50
		{"c", 27, true},  // 100
		{"d", 0, false},  // a fourth row
		{"c", 28, false},
		{"c", 0, true},
	} {
		err := set(c.key, c.size)
		if c.ok && err != nil || !c.ok && !errors.Is(err, ErrTooLarge) {
			t.Errorf("step %d: %s of %d bytes: %v, want it to be taken: %t", i, c.key, c.size, err, c.ok)
		}
	}
	if err := o.Delete([]byte("d")); !errors.Is(err, ErrTooLarge) {
		t.Errorf("a fourth row that is deleted: %v", err)
	}
	if got, want := len(scanned(t, o, Range{})), 3; got != want {
		t.Errorf("there are %d rows, want %d", got, want)
	}
}

type badScan struct{ Reader }

var errScan = errors.New("disk on fire")

func (badScan) Scan(Range) iter.Seq2[Item, error] {
	return func(yield func(Item, error) bool) {
		if yield(Item{Key: []byte("b")}, nil) {
			yield(Item{}, errScan)
		}
	}
}

func TestOverlayHandsErrorsOn(t *testing.T) {
	o := newOverlay(badScan{})
	_ = o.Set([]byte("a"), nil)
	_ = o.Set([]byte("z"), nil)
	var got []string
	for it, err := range o.Scan(Range{}) {
		got = append(got, fmt.Sprint(string(it.Key), err))
	}
	if want := []string{"a<nil>", "b<nil>", errScan.Error()}; !slices.Equal(got, want) {
		t.Errorf("Scan yields %q, want %q", got, want)
	}
}

// The rows of an overlay are the same in an array and in a tree, on the way from one to the other, and in an array that is used
// again.
func TestWrittenRows(t *testing.T) {
	var rows writtenRows
	for _, n := range []int{fewRows - 1, fewRows, fewRows + 1, 5 * fewRows, 3} {
		rows.reset()
		want := map[string]string{}
		for i := range 3 * n {
			k, v := fmt.Sprintf("%04d", i*7919%n), fmt.Sprint(i)
			rows.set(writtenRow{key: []byte(k), value: []byte(v)})
			want[k] = v
			if rows.len() != len(want) {
				t.Fatalf("%d rows: there are %d after step %d, want %d", n, rows.len(), i, len(want))
			}
		}
		keys := slices.Sorted(maps.Keys(want))
		for from, k := range keys {
			if got, ok := rows.get([]byte(k)); !ok || string(got.value) != want[k] {
				t.Errorf("%d rows: %s is %q, want %q", n, k, got.value, want[k])
			}
			var got []string
			rows.ascend([]byte(k), func(w writtenRow) bool {
				got = append(got, string(w.key))
				return true
			})
			if !slices.Equal(got, keys[from:]) {
				t.Errorf("%d rows: from %s on they are %q", n, k, got)
			}
		}
		if _, ok := rows.get([]byte("x")); ok {
			t.Errorf("%d rows: there is one that was not written", n)
		}
	}
}
