package storage

import (
	"context"
	"errors"
	"sync/atomic"
)

// A record may have more links than one transaction takes: a group of a million members. Deleting it removes the record and
// leaves a sweep row; the links go in pieces afterwards. As ids are never used again, a link from or to a record with a sweep
// row is one that is gone, and readers leave it out. The row is durable, so that a sweep goes on after a restart.

const (
	maxInlineLinks = 2000 // links removed in the transaction that deletes their record
	sweepPiece     = 2000 // links removed in one piece of a sweep
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

func (s *sweepState) look() sweepView { return sweepView{s.pending.Load(), s.begun.Load()} }

// isDying reports whether one of the records is deleted and its links are not all gone yet.
func (t *Tx) isDying(from, to Ref) (bool, error) {
	if t.dying == nil {
		now := t.store.sweeps.look()
		// A sweep that the snapshot knows of was pending before it was taken, or has begun since.
		if t.w == nil && t.sweeps.pending == 0 && now.begun == t.sweeps.begun || t.w != nil && now.pending == 0 && !t.swept {
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

// dropLinks removes at most n links from and to a record and reports whether those were all.
func (t *Tx) dropLinks(ref Ref, n int) (all bool, err error) {
	var gone []Link
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
			if len(gone) == n {
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

// sweep removes what deleted records have left, until nothing is left or ctx ends.
func (s *Store) sweep(ctx context.Context) error {
	for {
		ref, ok, err := s.nextSweep(ctx)
		if err != nil || !ok {
			return err
		}
		done := false
		err = s.update(ctx, ref.Tenant, Origin{}, func(tx *Tx) (err error) {
			if done, err = tx.dropLinks(ref, sweepPiece); err != nil || !done {
				return err
			}
			return tx.w.Delete(sweepKey(ref))
		})
		if err != nil {
			return err
		}
		if done {
			s.sweeps.pending.Add(-1)
		}
	}
}

func (s *Store) nextSweep(ctx context.Context) (ref Ref, ok bool, err error) {
	err = s.view(ctx, func(r Reader) error {
		for it, err := range r.Scan(Range{Start: []byte{familySweep}, End: []byte{familySweep + 1}, KeysOnly: true}) {
			if err != nil {
				return err
			}
			if ref, ok = parseRef(it.Key); !ok {
				return &DamageError{describe(it.Key), errors.New("its key cannot be read")}
			}
			return nil
		}
		return nil
	})
	return ref, ok, err
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
