package storage

import (
	"bytes"
	"context"
	"errors"
	"sync/atomic"
)

// A record may have more links than one transaction takes: a group of a million members. Deleting it removes the record and
// leaves a sweep row; the links go in pieces afterwards. As ids are never used again, a link from or to a record with a sweep
// row is one that is gone, and readers leave it out. The row is durable, so that a sweep goes on after a restart.

// What is removed in the transaction that deletes a record, and in one piece of a sweep. Bytes are those of the keys.
const (
	sweepLinks = 2000
	sweepBytes = 1 << 20
)

// sweepState lets readers know, without I/O, that there is nothing to leave out: almost always.
type sweepState struct {
	pending atomic.Int64
	begun   atomic.Uint64
}

// sweepView is what a transaction has seen of sweepState before its snapshot was taken.
type sweepView struct {
	pending int64
	begun   uint64
}

// begin is called before the rows of n sweeps are committed. pending first, and in look last: whoever sees the new begun, and is so not
// warned by its change, sees the sweep as pending too.
func (s *sweepState) begin(n int64) {
	s.pending.Add(n)
	s.begun.Add(1)
}

func (s *sweepState) look() sweepView {
	begun := s.begun.Load()
	return sweepView{pending: s.pending.Load(), begun: begun}
}

// isDying reports whether one of the records is deleted and its links are not all gone yet.
func (t *Tx) isDying(from, to Ref) (bool, error) {
	if t.dying == nil {
		now := t.store.sweeps.look()
		// A sweep that the snapshot knows of was pending before it was taken, or has begun since.
		if t.w == nil && t.sweeps.pending == 0 && now.begun == t.sweeps.begun || t.w != nil && now.pending == 0 && t.swept == 0 {
			return false, nil
		}
		dying := map[Ref]bool{}
		for it, err := range t.r.Scan(Range{Start: prefix(familySweep, t.tenant), End: successor(prefix(familySweep, t.tenant)), KeysOnly: true}) {
			if err != nil {
				return false, err
			}
			if ref, ok := parseRef(it.Key); ok {
				dying[ref] = true
			}
		}
		t.dying = dying
	}
	return t.dying[from] || t.dying[to], nil
}

// dropLinks removes links from and to a record, as many as go into one piece, and reports whether those were all.
func (t *Tx) dropLinks(ref Ref) (all bool, err error) {
	var gone []Link
	size := 0
	for _, family := range []byte{familyBacklink, familyLink} {
		span := within(prefix(family, ref.Tenant, ref.Kind, ref.ID))
		span.KeysOnly = true
		for it, err := range t.r.Scan(span) {
			if err != nil {
				return false, err
			}
			l, ok := parseLink(it.Key)
			if !ok {
				return false, &DamageError{describe(it.Key), errors.New("its key cannot be read")}
			}
			size += 2 * len(it.Key)
			if len(gone) == t.store.piece || size > sweepBytes {
				return false, t.dropEach(gone)
			}
			gone = append(gone, l)
		}
	}
	return true, t.dropEach(gone)
}

func (t *Tx) dropEach(gone []Link) error {
	for _, l := range gone {
		if err := t.w.Delete(linkKey(l)); err != nil {
			return err
		}
		if err := t.w.Delete(backlinkKey(l)); err != nil {
			return err
		}
	}
	return nil
}

// sweep removes what deleted records have left. What cannot be removed, because its rows are damaged, is passed over.
func (s *Store) sweep(ctx context.Context) error {
	var failed error
	from := []byte{familySweep}
	for {
		row, ref, err := s.nextSweep(ctx, from)
		if err != nil || row == nil {
			return errors.Join(failed, err)
		}
		from = append(row, 0)
		if err := s.sweepOne(ctx, ref); err != nil {
			failed = errors.Join(failed, err)
		}
		if ctx.Err() != nil {
			return failed
		}
	}
}

func (s *Store) sweepOne(ctx context.Context, ref Ref) error {
	for done := false; !done; {
		err := s.update(ctx, ref.Tenant, Origin{}, func(tx *Tx) (err error) {
			if done, err = tx.dropLinks(ref); err != nil || !done {
				return err
			}
			return tx.w.Delete(sweepKey(ref))
		})
		if err != nil {
			return err
		}
	}
	s.sweeps.pending.Add(-1)
	return nil
}

// nextSweep returns the first sweep row at or behind from whose key can be read, nil if there is none.
func (s *Store) nextSweep(ctx context.Context, from []byte) (row []byte, ref Ref, err error) {
	err = s.view(ctx, func(r Reader) error {
		row = nil
		for it, err := range r.Scan(Range{Start: from, End: []byte{familySweep + 1}, KeysOnly: true}) {
			if err != nil {
				return err
			}
			var ok bool
			if ref, ok = parseRef(it.Key); ok {
				row = bytes.Clone(it.Key)
				return nil
			}
		}
		return nil
	})
	return row, ref, err
}

// runSweeps sweeps whenever it is woken. It is the one goroutine that does.
func (s *Store) runSweeps(ctx context.Context) {
	defer close(s.sweeper)
	for {
		select {
		case <-ctx.Done():
			return
		case <-s.wake:
		}
		if err := s.sweep(ctx); err != nil && ctx.Err() == nil {
			s.log.Warn("links of deleted records could not be removed; nobody sees them, and it is tried again with the next one", "error", err)
		}
	}
}

func (s *Store) wakeSweeper() {
	select {
	case s.wake <- struct{}{}:
	default: // it is awake
	}
}
