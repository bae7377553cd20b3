package activity

import (
	"context"
	"errors"
	"time"

	"scimbox/storage"
)

const (
	followEvery = 250 * time.Millisecond // the store says its last sequence, and does not call
	followBatch = 500
)

// Follow calls emit with each event from a position on that the query asks for, oldest first, and goes on as they come, until
// ctx ends or emit returns an error, which it returns. The zero Position follows from now on. Before, Limit and Scan of the
// query mean nothing here.
func (r *Reader) Follow(ctx context.Context, q Query, from Position, emit func(Event) error) error {
	if from == (Position{}) {
		var err error
		if from, err = r.now(); err != nil {
			return err
		}
	}
	tick := time.NewTicker(followEvery)
	defer tick.Stop()
	for {
		var written <-chan struct{}
		if r.Log != nil {
			written = r.Log.watch() // before looking, so that nothing comes in between unseen
		}
		more, err := r.follow(ctx, q, &from, emit)
		if err != nil {
			return err
		}
		if more {
			continue
		}
		for wait := true; wait; {
			select {
			case <-ctx.Done():
				return ctx.Err()
			case <-written:
				wait = false
			case <-tick.C:
				wait = r.Store.LastSeq() < from.Change
			}
		}
	}
}

// follow emits what there is behind a position, and moves it. more says that there was more than is read at once.
func (r *Reader) follow(ctx context.Context, q Query, from *Position, emit func(Event) error) (more bool, err error) {
	var rows []storage.Entry
	if r.Store.LastSeq() >= from.Change {
		rows, err = r.Store.Journal(ctx, from.Change-1, followBatch)
		var trimmed *storage.TrimmedError
		if errors.As(err, &trimmed) { // whoever was away for long goes on with what is kept
			from.Change = trimmed.First
			return true, nil
		}
		if err != nil {
			return false, err
		}
	}
	var refused []Entry
	if r.Log != nil && r.Log.keep > 0 && r.Log.last.Load() >= from.Refusal {
		if refused, err = after(r.Log.dir, from.Refusal-1, followBatch); err != nil {
			return false, err
		}
	}
	if len(rows)+len(refused) == 0 {
		return false, nil
	}
	more = len(rows) == followBatch || len(refused) == followBatch
	l, err := r.lookups(ctx)
	if err != nil {
		return false, err
	}
	f := r.filter(q, l)
	for len(rows)+len(refused) > 0 {
		var v Event
		var ok bool
		if len(refused) == 0 || len(rows) > 0 && !rows[0].Time.After(refused[0].Time) {
			v, ok = f.change(&rows[0])
			from.Change, rows = rows[0].Seq+1, rows[1:]
		} else {
			e := refused[0]
			v, ok = f.refusal(&e)
			from.Refusal, refused = e.Seq+1, refused[1:]
		}
		if ok {
			if err := emit(v); err != nil {
				return false, err
			}
		}
	}
	return more, nil
}
