package storagetest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"

	"scimbox/storage"
)

func testGet(s *suite) {
	s.view(func(r storage.Reader) { s.get(r, "a", "(none)") })
	s.put("a", "1", "b", "2")
	s.view(func(r storage.Reader) {
		s.get(r, "a", "1")
		s.get(r, "b", "2")
		s.get(r, "ab", "(none)")
	})
	s.update(func(w storage.Writer) { s.must(w.Delete([]byte("a"))) })
	s.view(func(r storage.Reader) { s.get(r, "a", "(none)"); s.get(r, "b", "2") })
}

func testReplace(s *suite) {
	s.put("a", "1", "a", "2")
	s.view(func(r storage.Reader) { s.get(r, "a", "2") })
	s.put("a", "a longer value than before")
	s.put("a", "3")
	s.update(func(w storage.Writer) { s.must(w.Delete([]byte("z"))) })
	s.view(func(r storage.Reader) { s.scan(r, storage.Range{}, "a=3") })
}

func testEmptyValue(s *suite) {
	s.put("a", "", "b", "1")
	s.update(func(w storage.Writer) {
		s.must(w.Set([]byte("c"), nil))
		s.get(w, "c", "")
		s.get(w, "a", "")
	})
	s.view(func(r storage.Reader) {
		s.get(r, "a", "")
		s.get(r, "c", "")
		s.scan(r, storage.Range{}, "a=", "b=1", "c=")
	})
}

func testAnyBytes(s *suite) {
	long := strings.Repeat("k", 10_000)
	want := []string{"\x00", "\x00\x00", "\x00\xff", "a", "a\x00", "a\x00b", "a\xff", "b", long, "\xff", "\xff\x00", "\xff\xff"}
	var rows, all []string
	for _, k := range want {
		rows = append(rows, k, "value of "+k)
		all = append(all, k+"=value of "+k)
	}
	s.put(rows...)
	s.view(func(r storage.Reader) {
		for _, k := range want {
			s.get(r, k, "value of "+k)
		}
		s.scan(r, storage.Range{}, all...)
		slices.Reverse(all)
		s.scan(r, storage.Range{Reverse: true}, all...)
	})
}

func testOrder(s *suite) {
	s.put("b", "1", "a", "2")
	s.put("ab", "3", "aa", "4", "B", "5")
	want := []string{"B=5", "a=2", "aa=4", "ab=3", "b=1"}
	s.view(func(r storage.Reader) {
		s.scan(r, storage.Range{}, want...)
		slices.Reverse(want)
		s.scan(r, storage.Range{Reverse: true}, want...)
	})
}

func testBounds(s *suite) {
	s.put("a", "1", "b", "2", "bb", "3", "c", "4", "d", "5")
	for _, c := range []struct {
		r    storage.Range
		want []string
	}{
		{span("b", "d"), []string{"b=2", "bb=3", "c=4"}},
		{span("aa", "bz"), []string{"b=2", "bb=3"}},
		{span("b", "b\x00"), []string{"b=2"}},
		{span("b", "bb"), []string{"b=2"}},
		{span("", "b"), []string{"a=1"}},
		{span("c", ""), []string{"c=4", "d=5"}},
		{span("c", "\xff"), []string{"c=4", "d=5"}},
		{span("e", ""), nil},
		{span("", "a"), nil},
		{span("bc", "bd"), nil},
	} {
		s.view(func(r storage.Reader) {
			s.scan(r, c.r, c.want...)
			slices.Reverse(c.want)
			s.scan(r, reverse(c.r), c.want...)
		})
	}
}

func testNothingBetween(s *suite) {
	s.put("a", "1", "b", "2", "c", "3")
	check := func(r storage.Reader) {
		for _, span := range []storage.Range{span("b", "b"), span("c", "a"), span("\xff", "a"), span("b", "a\xff")} {
			s.scan(r, span)
			s.scan(r, reverse(span))
		}
	}
	s.view(check)
	s.update(func(w storage.Writer) {
		s.must(w.Set([]byte("bb"), nil))
		check(w)
	})
}

func testKeysOnly(s *suite) {
	s.put("a", "1", "b", "2")
	check := func(r storage.Reader, keys ...string) {
		s.scan(r, storage.Range{KeysOnly: true}, keys...)
		slices.Reverse(keys)
		s.scan(r, storage.Range{KeysOnly: true, Reverse: true}, keys...)
	}
	s.view(func(r storage.Reader) { check(r, "a=", "b=") })
	s.update(func(w storage.Writer) {
		s.must(w.Set([]byte("c"), []byte("3")))
		check(w, "a=", "b=", "c=")
	})
}

func testStopScan(s *suite) {
	s.put("a", "1", "b", "2", "c", "3")
	s.view(func(r storage.Reader) {
		scan := r.Scan(storage.Range{})
		for range 2 {
			for it := range scan {
				if string(it.Key) != "a" {
					s.failf("a Scan begins with %q", it.Key)
				}
				break
			}
		}
		s.scan(r, storage.Range{}, "a=1", "b=2", "c=3")
	})
}

func testNestedScans(s *suite) {
	s.put("a", "1", "b", "2")
	check := func(r storage.Reader) {
		var got []string
		for outer, err := range r.Scan(storage.Range{}) {
			s.must(err)
			for inner, err := range r.Scan(storage.Range{Reverse: true, KeysOnly: true}) {
				s.must(err)
				got = append(got, string(outer.Key)+string(inner.Key))
			}
			got = append(got, string(outer.Key)+"="+string(outer.Value))
			s.get(r, "b", "2")
		}
		if want := []string{"ab", "aa", "a=1", "bb", "ba", "b=2"}; !slices.Equal(got, want) {
			s.failf("a Scan in a Scan yields %q, want %q", got, want)
		}
	}
	s.view(check)
	s.update(func(w storage.Writer) { check(w) })
	s.update(func(w storage.Writer) {
		s.must(w.Set([]byte("z"), nil))
		s.must(w.Delete([]byte("z")))
		check(w)
	})
}

func testOwnWrites(s *suite) {
	s.put("b", "old", "d", "old", "f", "old", "h", "old")
	s.update(func(w storage.Writer) {
		s.must(w.Set([]byte("a"), []byte("new")))
		s.must(w.Set([]byte("d"), []byte("new")))
		s.must(w.Set([]byte("e"), []byte("new")))
		s.must(w.Set([]byte("g"), []byte("new")))
		s.must(w.Delete([]byte("f")))
		s.must(w.Delete([]byte("g"))) // set and deleted again
		s.must(w.Delete([]byte("h")))
		s.must(w.Set([]byte("h"), []byte("new"))) // deleted and set again
		s.must(w.Set([]byte("i"), []byte("new")))
		for k, v := range map[string]string{"a": "new", "b": "old", "d": "new", "e": "new", "f": "(none)", "g": "(none)", "h": "new", "i": "new"} {
			s.get(w, k, v)
		}
		want := []string{"a=new", "b=old", "d=new", "e=new", "h=new", "i=new"}
		s.scan(w, storage.Range{}, want...)
		s.scan(w, span("b", "h"), "b=old", "d=new", "e=new")
		s.scan(w, reverse(span("b", "h")), "e=new", "d=new", "b=old")
		s.scan(w, reverse(span("d", "i")), "h=new", "e=new", "d=new")
		slices.Reverse(want)
		s.scan(w, storage.Range{Reverse: true}, want...)
	})
	s.view(func(r storage.Reader) {
		s.scan(r, storage.Range{}, "a=new", "b=old", "d=new", "e=new", "h=new", "i=new")
	})
}

func testWriteInScan(s *suite) {
	s.put("a", "1", "b", "2", "c", "3", "d", "4")
	var got []string
	s.update(func(w storage.Writer) {
		for it, err := range w.Scan(storage.Range{}) {
			s.must(err)
			k := string(it.Key)
			got = append(got, k+"="+string(it.Value))
			switch k {
			case "a":
				s.must(w.Delete([]byte("a")))
			case "b":
				s.must(w.Set([]byte("b"), []byte("new")))
			}
		}
	})
	if want := []string{"a=1", "b=2", "c=3", "d=4"}; !slices.Equal(got, want) {
		s.failf("the Scan yields %q, want %q", got, want)
	}
	s.view(func(r storage.Reader) { s.scan(r, storage.Range{}, "b=new", "c=3", "d=4") })
}

func testRollback(s *suite) {
	s.put("a", "1", "b", "2")
	mine := errors.New("mine")
	err := s.engine.Update(s.Context(), func(w storage.Writer) error {
		s.must(w.Set([]byte("a"), []byte("no")))
		s.must(w.Delete([]byte("b")))
		s.must(w.Set([]byte("c"), []byte("no")))
		return mine
	})
	if err != mine {
		s.failf("Update returns %v, and fn has returned %v", err, mine)
	}
	s.view(func(r storage.Reader) { s.scan(r, storage.Range{}, "a=1", "b=2") })
	s.update(func(w storage.Writer) { s.scan(w, storage.Range{}, "a=1", "b=2") })
}

func testViewError(s *suite) {
	mine := errors.New("mine")
	if err := s.engine.View(s.Context(), func(storage.Reader) error { return mine }); err != mine {
		s.failf("View returns %v, and fn has returned %v", err, mine)
	}
}

func testSnapshot(s *suite) {
	s.put("a", "1", "b", "2")
	s.view(func(before storage.Reader) {
		s.update(func(w storage.Writer) {
			s.must(w.Set([]byte("a"), []byte("new")))
			s.must(w.Delete([]byte("b")))
			s.must(w.Set([]byte("c"), []byte("3")))
			// Nobody else sees what is not committed.
			s.view(func(beside storage.Reader) { s.scan(beside, storage.Range{}, "a=1", "b=2") })
		})
		s.get(before, "a", "1")
		s.get(before, "b", "2")
		s.get(before, "c", "(none)")
		s.scan(before, storage.Range{}, "a=1", "b=2")
		s.view(func(after storage.Reader) {
			s.get(after, "a", "new")
			s.scan(after, storage.Range{}, "a=new", "c=3")
		})
	})
}

func testManyViews(s *suite) {
	// Two rows always have the same value. Whoever sees them differ has seen half of a transaction.
	s.put("x", "0", "y", "0")
	const readers = 4
	errs := make(chan error, readers)
	stop := make(chan struct{})
	for range readers {
		go func() {
			errs <- func() error {
				for {
					select {
					case <-stop:
						return nil
					default:
					}
					err := s.engine.View(context.Background(), func(r storage.Reader) error {
						x, err := r.Get([]byte("x"))
						if err != nil {
							return err
						}
						for it, err := range r.Scan(span("y", "")) {
							if err != nil {
								return err
							}
							if !bytes.Equal(it.Value, x) {
								return fmt.Errorf("x is %q and y is %q", x, it.Value)
							}
						}
						return nil
					})
					if err != nil {
						return err
					}
				}
			}()
		}()
	}
	for i := range 100 {
		v := fmt.Sprint(i)
		s.put("x", v, "y", v)
	}
	close(stop)
	for range readers {
		if err := <-errs; err != nil {
			s.failf("a View beside an Update: %v", err)
		}
	}
}

func testShare(s *suite) {
	s.put("a", "1", "b", "2", "c", "3")
	s.update(func(w storage.Writer) {
		if _, ok := w.(storage.Sharer); ok {
			s.failf("a Writer is one for several goroutines")
		}
	})
	s.view(func(r storage.Reader) {
		sharer, ok := r.(storage.Sharer)
		if !ok {
			return // nor need it be
		}
		s.put("b", "new", "d", "4")
		errs := make(chan error, 4)
		for i := range cap(errs) {
			r, reverse := sharer.Share(), i%2 == 0
			go func() {
				errs <- func() error {
					for range 200 {
						if b, err := r.Get([]byte("b")); err != nil || string(b) != "2" {
							return fmt.Errorf("b is %q, %v", b, err)
						}
						got := ""
						for it, err := range r.Scan(storage.Range{Reverse: reverse}) {
							if err != nil {
								return err
							}
							got += string(it.Key) + string(it.Value)
						}
						if got != "a1b2c3" && (got != "c3b2a1" || !reverse) {
							return fmt.Errorf("a Scan yields %q", got)
						}
					}
					return nil
				}()
			}()
		}
		for range 50 {
			s.scan(r, storage.Range{}, "a=1", "b=2", "c=3")
		}
		for range cap(errs) {
			if err := <-errs; err != nil {
				s.failf("several goroutines: %v", err)
			}
		}
	})
}

// enough is where it is given up to find out what an engine takes.
const enough = 64 << 20

// fill sets rows of a size until the engine refuses one, and returns how many it has taken and that error.
func fill(w storage.Writer, size int) (n int, err error) {
	value := bytes.Repeat([]byte("v"), size)
	for ; n*(size+20) < enough; n++ {
		if err := w.Set(fmt.Appendf(nil, "row %09d", n), value); err != nil {
			return n, err
		}
	}
	return n, nil
}

func testTooManyRows(s *suite) {
	for _, size := range []int{1, 100, 100_000} {
		s.put("a", "1")
		err := s.engine.Update(s.Context(), func(w storage.Writer) error {
			n, err := fill(w, size)
			if err != nil && !errors.Is(err, storage.ErrTooLarge) {
				s.failf("row %d of %d bytes: %v", n, size, err)
			}
			return err
		})
		if err == nil {
			s.Skip("this engine takes as much as anybody could want")
		}
		if !errors.Is(err, storage.ErrTooLarge) {
			s.failf("Update returns %v, and fn has returned ErrTooLarge", err)
		}
		s.view(func(r storage.Reader) { s.scan(r, storage.Range{}, "a=1") })
		s.put("a", "1") // it goes on
	}
}

func testAlmostTooLarge(s *suite) {
	for _, size := range []int{0, 90, 7000} {
		taken, refused := 0, false
		s.update(func(w storage.Writer) {
			n, err := fill(w, size)
			taken, refused = n, errors.Is(err, storage.ErrTooLarge)
			if err != nil && !refused {
				s.failf("row %d of %d bytes: %v", n, size, err)
			}
			if refused {
				s.get(w, fmt.Sprintf("row %09d", n), "(none)")
			}
		})
		var n int
		s.view(func(r storage.Reader) { n = len(s.rows(r, storage.Range{KeysOnly: true})) })
		if n != taken {
			s.failf("%d rows are there; Set has taken %d of %d bytes", n, taken, size)
		}
		if !refused {
			return
		}
		// Away with them, as many at a time as go.
		for n > 0 {
			s.update(func(w storage.Writer) {
				for n > 0 && w.Delete(fmt.Appendf(nil, "row %09d", n-1)) == nil {
					n--
				}
			})
		}
		s.view(func(r storage.Reader) { s.scan(r, storage.Range{}) })
	}
}

func testTooLargeValue(s *suite) {
	largest := 0
	for size := 1 << 10; size <= enough; size *= 2 {
		for _, size := range []int{size - 1, size, size + 1} {
			value := strings.Repeat("v", size)
			err := s.engine.Update(s.Context(), func(w storage.Writer) error { return w.Set([]byte("large"), []byte(value)) })
			if errors.Is(err, storage.ErrTooLarge) {
				if largest == 0 {
					s.failf("the engine does not even take %d bytes", size)
				}
				s.view(func(r storage.Reader) {
					v, err := r.Get([]byte("large"))
					s.must(err)
					if len(v) != largest {
						s.failf("the value has %d bytes after one of %d was refused, want those %d of before", len(v), size, largest)
					}
				})
				return
			}
			s.must(err)
			largest = size
			s.view(func(r storage.Reader) { s.get(r, "large", value) })
		}
	}
}

func testCanceledScan(s *suite) {
	const rows = 10_000
	s.update(func(w storage.Writer) {
		for i := range rows {
			s.must(w.Set(fmt.Appendf(nil, "row %09d", i), nil))
		}
	})
	for _, way := range []storage.Range{{}, {Reverse: true}, {KeysOnly: true}} {
		ctx, cancel := context.WithCancel(s.Context())
		var n int
		var last error
		err := s.engine.View(ctx, func(r storage.Reader) error {
			for _, err := range r.Scan(way) {
				if last != nil {
					s.failf("Scan goes on after an error")
				}
				if last = err; err == nil {
					n++
				}
				cancel()
			}
			return nil
		})
		cancel()
		s.must(err)
		if !errors.Is(last, context.Canceled) || n == rows {
			s.failf("a Scan (%s) has yielded %d of %d rows and then %v", show(way), n, rows, last)
		}
	}
}

func testRandom(s *suite) {
	random := rand.New(rand.NewPCG(1, 2)) // #nosec G404 -- a test that does the same in each run
	key := func() string {
		k := make([]byte, 1+random.IntN(3))
		for i := range k {
			k[i] = "\x00\x01ab\xfe\xff"[random.IntN(6)]
		}
		return string(k)
	}
	model := map[string]string{}
	compare := func(r storage.Reader, model map[string]string) {
		for range 10 {
			span := storage.Range{Reverse: random.IntN(2) == 0, KeysOnly: random.IntN(2) == 0}
			if random.IntN(4) > 0 {
				span.Start = []byte(key())
			}
			if random.IntN(4) > 0 {
				span.End = []byte(key())
			}
			var want []string
			for _, k := range slices.Sorted(maps.Keys(model)) {
				if k >= string(span.Start) && (len(span.End) == 0 || k < string(span.End)) {
					v := model[k]
					if span.KeysOnly {
						v = ""
					}
					want = append(want, k+"="+v)
				}
			}
			if span.Reverse {
				slices.Reverse(want)
			}
			s.scan(r, span, want...)
			k := key()
			if v, ok := model[k]; ok {
				s.get(r, k, v)
			} else {
				s.get(r, k, "(none)")
			}
		}
	}
	for round := range 50 {
		fail := errors.New("given up")
		if random.IntN(4) > 0 {
			fail = nil
		}
		inside := maps.Clone(model)
		err := s.engine.Update(s.Context(), func(w storage.Writer) error {
			for i := range random.IntN(20) {
				k := key()
				if random.IntN(3) == 0 {
					s.must(w.Delete([]byte(k)))
					delete(inside, k)
				} else {
					v := fmt.Sprintf("%d.%d", round, i)
					s.must(w.Set([]byte(k), []byte(v)))
					inside[k] = v
				}
			}
			compare(w, inside)
			return fail
		})
		if err != fail {
			s.failf("Update returns %v, want %v", err, fail)
		}
		if fail == nil {
			model = inside
		}
		s.view(func(r storage.Reader) { compare(r, model) })
		if s.reopen != nil && round%20 == 19 {
			s.reopen()
		}
	}
}

func testClosed(s *suite) {
	s.put("a", "1")
	s.must(s.engine.Close())
	called := false
	if err := s.engine.View(s.Context(), func(storage.Reader) error { called = true; return nil }); !errors.Is(err, storage.ErrClosed) {
		s.failf("View returns %v, want ErrClosed", err)
	}
	if err := s.engine.Update(s.Context(), func(storage.Writer) error { called = true; return nil }); !errors.Is(err, storage.ErrClosed) {
		s.failf("Update returns %v, want ErrClosed", err)
	}
	if called {
		s.failf("fn was called")
	}
	if err := s.engine.Close(); err != nil {
		s.failf("a second Close returns %v", err)
	}
}

func testReopen(s *suite) {
	s.put("a", "1", "b", "2", "c", "3")
	s.update(func(w storage.Writer) { s.must(w.Delete([]byte("b"))) })
	s.reopen()
	s.view(func(r storage.Reader) { s.scan(r, storage.Range{}, "a=1", "c=3") })
	s.put("a", "new", "d", "4")
	s.reopen()
	s.reopen()
	s.view(func(r storage.Reader) { s.scan(r, storage.Range{}, "a=new", "c=3", "d=4") })
}
