package storage

import (
	"errors"
	"testing"
)

// The observer is told of each transaction that wrote something or should have, and of how many operations shared it.
func TestObserve(t *testing.T) {
	var told []Commit // of the committer's goroutine; whoever is answered comes after it
	e := &faulty{Engine: Memory()}
	s := openOn(t, e, Options{Observe: func(c Commit) {
		if c.Took <= 0 {
			t.Errorf("%+v took no time", c)
		}
		c.Took = 0
		told = append(told, c)
	}})
	next := func() Commit {
		t.Helper()
		if len(told) != 1 {
			t.Fatalf("told %+v, want one", told)
		}
		c := told[0]
		told = nil
		return c
	}

	told = nil // what the opening has written
	update := func(fn func(*Tx) error) error { return s.Update(t.Context(), tenant, Origin{}, fn) }
	if err := update(putUser("a")); err != nil {
		t.Fatal(err)
	}
	if c := next(); c != (Commit{Operations: 1}) {
		t.Errorf("one change: %+v", c)
	}

	g := closeGate(s) // writes nothing, and is the first of no batch
	first := g.behind(t, s, t.Context(), putUser("b"))
	refused := g.behind(t, s, t.Context(), func(*Tx) error { return errors.New("no") })
	last := g.behind(t, s, t.Context(), putUser("c"))
	close(g.open)
	wantErr(t, "the gate", g.done, nil)
	wantErr(t, "a change", first, nil)
	wantErr(t, "another", last, nil)
	if err := soon(t, "a refused one", refused); err == nil {
		t.Error("it was not refused")
	}
	if c := next(); c != (Commit{Operations: 3}) {
		t.Errorf("three that waited: %+v", c)
	}

	if err := update(func(*Tx) error { return nil }); err != nil || len(told) != 0 {
		t.Errorf("a change of nothing: %v, told %+v", err, told)
	}
	e.set = func(Writer, []byte) error { return ErrTooLarge }
	if err := update(putUser("d")); !errors.Is(err, ErrTooLarge) || len(told) != 0 {
		t.Errorf("a change that is too large: %v, told %+v", err, told)
	}
	e.set = nil
	e.commit = func() error { return errors.New("the disk has failed") }
	if err := update(putUser("e")); err == nil {
		t.Error("a commit that fails is acknowledged")
	}
	if c := next(); c != (Commit{Operations: 1, Failed: true}) {
		t.Errorf("a commit that fails: %+v", c)
	}
	e.commit = nil
}
