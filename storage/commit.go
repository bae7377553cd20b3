package storage

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"runtime/debug"
	"slices"
	"sync/atomic"
	"time"
)

// The committer is the one goroutine that writes. It takes the operations that wait, runs them one after another in one
// transaction of the engine, commits once, and answers them all: one disk sync for everybody who waits. Each operation
// writes into an overlay of its own, which is thrown away if it fails, so that it leaves nothing in the batch.

const (
	queueLen = 1024
	maxBatch = 128 // operations in one transaction
)

// operation is one Update on its way.
type operation struct {
	ctx    context.Context
	tenant string
	origin Origin
	fn     func(*Tx) error
	urgent bool // may have some of the room that is kept free
	state  atomic.Int32
	done   chan error // of capacity 1
}

// The states of an operation. The committer takes it or its caller withdraws it, whoever is first.
const (
	waiting int32 = iota
	taken
	withdrawn
)

// Update runs fn in a read-write transaction of the tenant, after those that came before and together with others that wait.
// nil means that all of its writes are durable; any error but ErrUnknownOutcome, that none was made. fn's own error is
// returned as it is. fn may run more than once, and must then start anew; it runs on the committer's goroutine and must
// neither wait for anything nor call the Store.
//
// If ctx ends while the operation still waits, nothing is written and ctx's error is returned; later it is too late.
func (s *Store) Update(ctx context.Context, tenant string, by Origin, fn func(*Tx) error) error {
	return s.update(ctx, tenant, by, fn)
}

// Submit is Update in two steps: it puts fn behind what was submitted before it, and outcome waits for what Update would have
// returned. Whoever has several changes to make submits all of them before he asks for the first outcome, and they are then
// made in this order and with few commits. outcome must be called once; a panic of fn comes out of it.
func (s *Store) Submit(ctx context.Context, tenant string, by Origin, fn func(*Tx) error) (outcome func() error) {
	op := &operation{ctx: ctx, tenant: tenant, origin: by, fn: fn}
	if err := s.submit(op); err != nil {
		return func() error { return err }
	}
	return op.outcome
}

// UpdateUrgently is Update of something small that must not wait until somebody has made room on the disk, such as that a token
// lets nobody in any more. It is done out of the room that is kept free, down to the last of it.
// Whoever calls it sees to it that nobody can call it without end.
func (s *Store) UpdateUrgently(ctx context.Context, tenant string, by Origin, fn func(*Tx) error) error {
	return s.do(&operation{ctx: ctx, tenant: tenant, origin: by, fn: fn, urgent: true})
}

func (s *Store) update(ctx context.Context, tenant string, by Origin, fn func(*Tx) error) error {
	return s.do(&operation{ctx: ctx, tenant: tenant, origin: by, fn: fn})
}

func (s *Store) do(op *operation) error {
	if err := s.submit(op); err != nil {
		return err
	}
	return op.outcome()
}

// submit hands an operation to the committer.
func (s *Store) submit(op *operation) error {
	if err := op.ctx.Err(); err != nil {
		return err
	}
	if err := checkPart("tenant", op.tenant); err != nil {
		return err
	}
	op.done = make(chan error, 1)
	if err := s.enter(); err != nil {
		return err
	}
	defer s.leave()
	select {
	case s.queue <- op:
		return nil
	case <-op.ctx.Done():
		return op.ctx.Err()
	}
}

// outcome waits for what has become of the operation.
func (op *operation) outcome() error {
	err := op.wait()
	var p *panicError
	if errors.As(err, &p) {
		panic(p) // where it belongs: on the caller's goroutine
	}
	return err
}

func (op *operation) wait() error {
	select {
	case err := <-op.done:
		return err
	case <-op.ctx.Done():
		if op.state.CompareAndSwap(waiting, withdrawn) {
			return op.ctx.Err()
		}
		return <-op.done
	}
}

// panicError is a panic of an operation, on its way from the committer to the operation's caller.
type panicError struct {
	cause any
	stack []byte
}

// Error names what has panicked, if it is an error: other values may hold what a client has sent.
func (p *panicError) Error() string {
	what := fmt.Sprintf("%T", p.cause)
	if err, ok := p.cause.(error); ok {
		what = err.Error()
	}
	return fmt.Sprintf("panic in a transaction: %s\n%s", what, p.stack)
}

// Commit is what there is to tell of one transaction that had something to write. Its operations may have come in one after the
// other and have waited for each other.
type Commit struct {
	Operations int           // that were done together, those that were refused included
	Took       time.Duration // from the beginning of the first operation until all were durable
	Failed     bool          // nothing was written, as far as is known
}

// tell tells the observer of a transaction that was begun at a time. One that had nothing to write, or more than any can hold,
// says nothing of the engine.
func (s *Store) tell(operations int, begun time.Time, err error) {
	if s.observe == nil || errors.Is(err, errNothing) || errors.Is(err, ErrTooLarge) {
		return
	}
	s.observe(Commit{Operations: operations, Took: time.Since(begun), Failed: err != nil})
}

// commitAll is the committer.
func (s *Store) commitAll() {
	defer close(s.committer)
	batch := make([]*operation, 0, maxBatch)
	for op := range s.queue {
		batch = s.gather(appendTaken(batch[:0], op))
		s.commit(batch)
	}
}

// gather takes what waits besides. Whoever was answered a moment ago may be about to come again: they are let run as long as
// somebody comes of it, because the first of them would else pay for a commit of its own while all others wait for it. With 64
// writers this doubles the operations in a commit (docs/decisions/0002-one-committer.md).
func (s *Store) gather(batch []*operation) []*operation {
	for before := 0; before < len(batch); {
		before = len(batch)
		runtime.Gosched()
		for n := len(s.queue); n > 0 && len(batch) < maxBatch; n-- {
			op, ok := <-s.queue
			if !ok {
				return batch
			}
			batch = appendTaken(batch, op)
		}
	}
	return batch
}

func appendTaken(batch []*operation, op *operation) []*operation {
	if op.state.CompareAndSwap(waiting, taken) {
		return append(batch, op)
	}
	return batch
}

// commit does the operations and answers each.
func (s *Store) commit(ops []*operation) {
	for ops = s.admit(ops); len(ops) > 0; ops = s.admit(ops) {
		ops = ops[s.commitSome(ops):]
	}
}

// admit looks at the disk, answers those for whom it has no room, and returns the others.
func (s *Store) admit(ops []*operation) []*operation {
	if len(ops) == 0 || s.failed.Load() != nil {
		return ops
	}
	short := s.space.enough()
	if short == nil {
		return ops
	}
	return slices.DeleteFunc(ops, func(op *operation) bool {
		if op.urgent {
			return false
		}
		op.done <- short
		return true
	})
}

// Why an engine's transaction is given up although nothing is wrong.
var (
	errNothing = errors.New("storage: nothing to write")
	errSplit   = errors.New("storage: the next operation needs a transaction of its own")
)

// commitSome does the first of ops in one transaction and returns how many it has answered, at least one.
func (s *Store) commitSome(ops []*operation) int {
	if failed := s.failed.Load(); failed != nil {
		for _, op := range ops {
			op.done <- *failed
		}
		return len(ops)
	}
	b := &batch{s: s}
	begun := time.Now()
	err := s.engine.Update(context.Background(), func(w Writer) error { return b.run(w, ops) })
	if errors.Is(err, errSplit) {
		// The transaction is spoilt by half of an operation that was too large for what was left of it. Those before it
		// are done again without it, and it gets the next transaction to itself.
		b.giveUp()
		return s.commitSome(ops[:len(b.results)])
	}
	if len(b.results) == 0 { // not even the first could be begun
		b.results, b.first = []error{err}, 0
	}
	s.tell(len(b.results), begun, err)
	switch {
	case err == nil:
		s.commits.Store(b.commit)
		s.journal.grew(b.seq, b.wrote)
		s.seq.Store(b.seq)
		if b.sweeps > 0 {
			s.wakeSweeper()
		}
	case errors.Is(err, errNothing):
		err = nil
	default:
		b.giveUp()
		if errors.Is(err, ErrUnknownOutcome) {
			s.fail(err)
		}
	}
	for i, own := range b.results {
		var p *panicError
		if own == nil || err != nil && i > b.first && !errors.As(own, &p) {
			own = err // also of an operation that was refused because of what an earlier one has not written after all
		}
		ops[i].done <- own
	}
	if err == nil && s.committed != nil {
		s.committed()
	}
	return len(b.results)
}

// batch is the state of one transaction of the engine.
type batch struct {
	s       *Store
	results []error // of the operations that have run
	first   int     // index of the first that has written something
	seq     uint64  // of the last journal row
	wrote   int64   // bytes that the journal rows take
	commit  uint64
	sweeps  int64 // begun in this transaction
}

// giveUp takes back what was announced of a transaction that is not made.
func (b *batch) giveUp() {
	b.s.sweeps.pending.Add(-b.sweeps)
	b.sweeps = 0
}

func (b *batch) run(w Writer, ops []*operation) error {
	b.giveUp() // an engine may call again
	b.results, b.first, b.seq, b.wrote, b.commit = nil, len(ops), b.s.seq.Load(), 0, b.s.commits.Load()+1
	if err := setNumber(w, commitKey, int64(b.commit)); err != nil { // first, so that there is room for it
		return err
	}
	o := newOverlay(w)
	for _, op := range ops {
		o.rows.reset()
		tx := &Tx{store: b.s, tenant: op.tenant, r: o, w: o, origin: op.origin, now: b.s.now(), seq: b.seq + 1}
		err := call(op.fn, tx)
		if err == nil {
			err = tx.void
		}
		if err == nil && o.rows.len() > 0 {
			if err = o.each(w.Set, w.Delete); err != nil {
				if len(b.results) > 0 && errors.Is(err, ErrTooLarge) {
					return errSplit
				}
				b.results = append(b.results, err)
				return err
			}
			b.first = min(b.first, len(b.results))
			b.seq += tx.logged
			b.wrote += tx.wrote
			if tx.swept > 0 {
				b.s.sweeps.begin(tx.swept)
				b.sweeps += tx.swept
			}
		}
		b.results = append(b.results, err)
	}
	if b.first == len(ops) {
		return errNothing
	}
	return nil
}

func call(fn func(*Tx) error, tx *Tx) (err error) {
	defer func() {
		if cause := recover(); cause != nil {
			err = &panicError{cause, debug.Stack()}
		}
	}()
	return fn(tx)
}
