package storagetest

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"sync"

	"scimbox/storage"
)

// Fault is what goes wrong with a call of an engine.
type Fault int

// The faults. Only Refused can happen to a call that is no commit.
const (
	Refused Fault = iota // the call fails, and nothing is written
	Lost                 // the commit fails, nobody knows whether it was made, and it was not
	Kept                 // the commit fails, nobody knows whether it was made, and it was
	Again                // the transaction meets a conflict: it is thrown away, and the engine runs it again
)

// AllFaults are all of them, for tests that go through them.
var AllFaults = []Fault{Refused, Lost, Kept, Again}

func (f Fault) String() string { return [...]string{"refused", "lost", "kept", "again"}[f] }

// ErrFault is the cause that a Faulty engine names.
var ErrFault = errors.New("a fault was asked for")

// Call is a call of an engine.
type Call string

// The calls.
const (
	View   Call = "View"
	Update Call = "Update"
	Get    Call = "Get"
	Scan   Call = "Scan"
	Set    Call = "Set"
	Delete Call = "Delete"
	Commit Call = "Commit"
)

// Faulty is an engine that counts its calls while it is armed, and makes one of them fail.
type Faulty struct {
	storage.Engine

	mu    sync.Mutex
	armed bool
	calls []Call // since it was armed
	call  Call   // of which one fails
	left  int    // how many of them go well before
	fault Fault
	fired bool
}

// Arm begins to count, and lets the nth call of a sort fail, from 1 on; 0 lets none.
func (e *Faulty) Arm(c Call, nth int, f Fault) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.armed, e.calls, e.call, e.left, e.fault, e.fired = true, nil, c, nth, f, false
}

// Disarm ends that, and returns which calls there were, and whether one has failed.
func (e *Faulty) Disarm() (calls []Call, fired bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.armed = false
	return e.calls, e.fired
}

// next counts a call and reports whether it is to fail.
func (e *Faulty) next(c Call) (Fault, bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if !e.armed {
		return 0, false
	}
	e.calls = append(e.calls, c)
	if c != e.call || e.left == 0 {
		return 0, false
	}
	e.left--
	e.fired = e.left == 0
	return e.fault, e.fired
}

func (e *Faulty) fails(c Call) error {
	if _, failed := e.next(c); failed {
		return fmt.Errorf("%w: %s", ErrFault, c)
	}
	return nil
}

// View implements [storage.Engine].
func (e *Faulty) View(ctx context.Context, fn func(storage.Reader) error) error {
	if err := e.fails(View); err != nil {
		return err
	}
	return e.Engine.View(ctx, func(r storage.Reader) error { return fn(faultyReader{r, e}) })
}

var errAgain = errors.New("a conflict was asked for")

// Update implements [storage.Engine].
func (e *Faulty) Update(ctx context.Context, fn func(storage.Writer) error) error {
	if err := e.fails(Update); err != nil {
		return err
	}
	kept := false
	once := func(w storage.Writer) error {
		if err := fn(faultyWriter{w, faultyReader{w, e}}); err != nil {
			return err
		}
		f, failed := e.next(Commit)
		switch {
		case !failed:
			return nil
		case f == Again:
			return errAgain
		case f == Kept:
			kept = true
			return nil
		case f == Lost:
			return fmt.Errorf("%w: %w", storage.ErrUnknownOutcome, ErrFault)
		}
		return ErrFault
	}
	err := e.Engine.Update(ctx, once)
	if errors.Is(err, errAgain) {
		err = e.Engine.Update(ctx, once)
	}
	if err == nil && kept {
		return fmt.Errorf("%w: %w", storage.ErrUnknownOutcome, ErrFault)
	}
	return err
}

type faultyReader struct {
	storage.Reader
	e *Faulty
}

// Get implements [storage.Reader].
func (r faultyReader) Get(key []byte) ([]byte, error) {
	if err := r.e.fails(Get); err != nil {
		return nil, err
	}
	return r.Reader.Get(key)
}

// Scan implements [storage.Reader]. It fails behind the first row, if there is one: whoever has begun must not take it for all.
func (r faultyReader) Scan(span storage.Range) iter.Seq2[storage.Item, error] {
	return func(yield func(storage.Item, error) bool) {
		failed := r.e.fails(Scan)
		for it, err := range r.Reader.Scan(span) {
			if !yield(it, err) {
				return
			}
			if failed != nil {
				break
			}
		}
		if failed != nil {
			yield(storage.Item{}, failed)
		}
	}
}

type faultyWriter struct {
	storage.Writer
	r faultyReader
}

// Get implements [storage.Reader].
func (w faultyWriter) Get(key []byte) ([]byte, error) { return w.r.Get(key) }

// Scan implements [storage.Reader].
func (w faultyWriter) Scan(span storage.Range) iter.Seq2[storage.Item, error] { return w.r.Scan(span) }

// Set implements [storage.Writer].
func (w faultyWriter) Set(key, value []byte) error {
	if err := w.r.e.fails(Set); err != nil {
		return err
	}
	return w.Writer.Set(key, value)
}

// Delete implements [storage.Writer].
func (w faultyWriter) Delete(key []byte) error {
	if err := w.r.e.fails(Delete); err != nil {
		return err
	}
	return w.Writer.Delete(key)
}
