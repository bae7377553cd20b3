package storage

import (
	"context"
	"errors"
)

// OpLoss is the operation of the journal row with which a store goes on that has lost changes: its sequence is not the one behind
// that of the row before.
const OpLoss = "accept-data-loss"

// lossMargin is more changes than can have been made since the last seal, which is a second old, or a few if the disk is slow.
const lossMargin = 100_000

// goOnBehind numbers the next change behind all that a store which has lost some may have had, so that no version that a client
// has seen, and no position of a backup, comes to mean something else. What was the last is not known: the seal may be
// behind, so that a margin is left. A row of the journal tells of it.
func (s *Store) goOnBehind(ctx context.Context, sealed seal) error {
	known, commits := max(sealed.Seq, s.seq.Load()), max(sealed.Commits, s.commits.Load())
	err := s.engine.View(ctx, func(r Reader) error {
		for it, err := range r.Scan(Range{Start: []byte{familyRecord}, End: []byte{familyRecord + 1}}) {
			if err != nil {
				return err
			}
			ref, _ := parseRef(it.Key)
			rec, err := decodeRow(it, ref, decodeBare)
			var damage *DamageError
			if err != nil && !errors.As(err, &damage) { // check will find it
				return err
			}
			known = max(known, rec.Version)
		}
		return nil
	})
	if err != nil || known == 0 {
		return err
	}
	e := Entry{
		Seq: known + lossMargin, Time: s.now(), Origin: Origin{Actor: "local"}, Op: OpLoss,
		Ref: Ref{Tenant: anyTenant, Kind: "store", ID: s.id},
	}
	commits += lossMargin
	err = s.engine.Update(ctx, func(w Writer) error {
		return errors.Join(setNumber(w, commitKey, int64(commits)), set(w, journalKey(e.Seq), appendEntry(nil, &e)))
	})
	if err != nil {
		return err
	}
	s.log.Warn("changes are numbered anew, behind all that may have been lost", "last", s.seq.Load(), "next", e.Seq+1)
	s.seq.Store(e.Seq)
	s.commits.Store(commits)
	return nil
}
