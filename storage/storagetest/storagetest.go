// Package storagetest tests whether a [storage.Engine] keeps to its contract. A failure prints the rule that is broken. Faulty is
// an engine that fails when it is told to, for tests of what stands on one.
package storagetest

import (
	"errors"
	"fmt"
	"slices"
	"testing"

	"scimbox/storage"
)

// Engine runs the suite. open returns a new and empty engine; it need not see to it that the engine is closed. reopen is for
// engines that keep what was written: it closes one and returns what is there when it is opened again. Other engines
// leave it nil.
func Engine(t *testing.T, open func(t *testing.T) storage.Engine, reopen func(t *testing.T, e storage.Engine) storage.Engine) {
	t.Helper()
	for _, c := range cases {
		if c.reopens && reopen == nil {
			continue // the engine keeps nothing
		}
		t.Run(c.name, func(t *testing.T) {
			s := &suite{T: t, rule: c.rule, engine: open(t)}
			if reopen != nil {
				s.reopen = func() { s.engine = reopen(t, s.engine) }
			}
			defer func() {
				if err := s.engine.Close(); err != nil {
					t.Errorf("Close: %v", err)
				}
			}()
			c.test(s)
		})
	}
}

type testCase struct {
	name    string
	rule    string // of the contract, as it is told to whoever has broken it
	reopens bool
	test    func(*suite)
}

var cases = []testCase{
	{"Get", "Get returns the value that was set last, and ErrNotFound for a key that is not there, was never there or was deleted.", false, testGet},
	{"Replace", "Set replaces the value of a key; Delete of an absent key is no error.", false, testReplace},
	{"EmptyValue", "A key may have a value of no bytes, which is not the same as having none.", false, testEmptyValue},
	{"AnyBytes", "Keys and values are of any bytes, 0x00 and 0xFF among them; keys may be 10,000 bytes long.", false, testAnyBytes},
	{"Order", "Scan yields keys in the order of bytes.Compare, or in the reverse of it.", false, testOrder},
	{"Bounds", "A Range begins with Start, if that is there, and ends before End; an empty End means no upper limit, and an empty Start none below.", false, testBounds},
	{"NothingBetween", "A Range whose Start is not before its End has nothing in it.", false, testNothingBetween},
	{"KeysOnly", "KeysOnly leaves Item.Value nil and changes nothing else; without it, values are the ones that Get returns.", false, testKeysOnly},
	{"StopScan", "A Scan may be ended before its end, and the same Scan may be run again from its beginning.", false, testStopScan},
	{"NestedScans", "Several Scans may be open at a time, in View and in Update.", false, testNestedScans},
	{"OwnWrites", "Get and Scan in an Update see what that Update has set and deleted, over what was there before, in either direction.", false, testOwnWrites},
	{"WriteInScan", "Rows may be set and deleted while a Scan is open; rows that are not touched are yielded once each.", false, testWriteInScan},
	{"Rollback", "An error of Update's fn is returned as it is, and nothing was written.", false, testRollback},
	{"ViewError", "An error of View's fn is returned as it is.", false, testViewError},
	{"Snapshot", "A View sees what was there when it began, whatever is written meanwhile; one that begins afterwards sees the new.", false, testSnapshot},
	{"ManyViews", "Any number of Views may run beside one another and one Update.", false, testManyViews},
	{"Share", "What Share returns sees the snapshot of the Reader that it came from, beside it and beside Updates; an Update has no such Reader.", false, testShare},
	{"TooManyRows", "If Set returns ErrTooLarge, fn may return it: then nothing was written.", false, testTooManyRows},
	{"AlmostTooLarge", "What Set has taken before it returned ErrTooLarge can be committed; what it refused is not in it.", false, testAlmostTooLarge},
	{"TooLargeValue", "A value that is larger than the engine takes makes Set return ErrTooLarge; one that it takes is returned whole.", false, testTooLargeValue},
	{"CanceledScan", "When ctx ends, a Scan of many rows yields ctx's error, as its last.", false, testCanceledScan},
	{"Random", "A Scan of any Range yields what a sorted map would, with and without writes of the same transaction.", false, testRandom},
	{"Closed", "After Close, View and Update return ErrClosed without calling fn, and Close does nothing.", false, testClosed},
	{"Reopen", "When Update has returned nil, its writes are there after the engine was closed and opened again, and what was deleted is not.", true, testReopen},
}

type suite struct {
	*testing.T
	rule   string
	engine storage.Engine
	reopen func()
}

func (s *suite) failf(format string, args ...any) {
	s.Helper()
	s.Errorf("%s\nThe rule: %s", fmt.Sprintf(format, args...), s.rule)
}

// must ends the test if an error is in the way that has nothing to do with its rule.
func (s *suite) must(err error) {
	s.Helper()
	if err != nil {
		s.Fatalf("%v\nThe rule: %s", err, s.rule)
	}
}

func (s *suite) view(fn func(storage.Reader)) {
	s.Helper()
	s.must(s.engine.View(s.Context(), func(r storage.Reader) error { fn(r); return nil }))
}

func (s *suite) update(fn func(storage.Writer)) {
	s.Helper()
	s.must(s.engine.Update(s.Context(), func(w storage.Writer) error { fn(w); return nil }))
}

// put sets rows in one Update: key, value, key, value ...
func (s *suite) put(rows ...string) {
	s.Helper()
	s.update(func(w storage.Writer) {
		for i := 0; i < len(rows); i += 2 {
			s.must(w.Set([]byte(rows[i]), []byte(rows[i+1])))
		}
	})
}

// get compares the value of a key; "(none)" means that there is none.
func (s *suite) get(r storage.Reader, key, want string) {
	s.Helper()
	v, err := r.Get([]byte(key))
	switch {
	case errors.Is(err, storage.ErrNotFound):
		v = []byte("(none)")
	case err != nil:
		s.failf("Get(%q): %v", key, err)
		return
	}
	if string(v) != want {
		s.failf("Get(%q) = %.100q, want %.100q", key, v, want)
	}
}

// rows returns what a Scan yields, as "key=value".
func (s *suite) rows(r storage.Reader, span storage.Range) []string {
	s.Helper()
	var l []string
	for it, err := range r.Scan(span) {
		if err != nil {
			s.failf("Scan(%s): %v", show(span), err)
			return l
		}
		if span.KeysOnly && it.Value != nil {
			s.failf("Scan(%s) yields the value %q", show(span), it.Value)
		}
		l = append(l, string(it.Key)+"="+string(it.Value))
	}
	return l
}

func (s *suite) scan(r storage.Reader, span storage.Range, want ...string) {
	s.Helper()
	if got := s.rows(r, span); !slices.Equal(got, want) {
		s.failf("Scan(%s)\n yields %.300q\n   want %.300q", show(span), got, want)
	}
}

func show(r storage.Range) string {
	return fmt.Sprintf("from %q to %q, Reverse %t, KeysOnly %t", r.Start, r.End, r.Reverse, r.KeysOnly)
}

func span(start, end string) storage.Range {
	return storage.Range{Start: []byte(start), End: []byte(end)}
}

func reverse(r storage.Range) storage.Range { r.Reverse = true; return r }
