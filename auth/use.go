package auth

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"scimbox/storage"
)

const (
	useEvery  = time.Minute
	warnEvery = 24 * time.Hour
)

// use is what is remembered of a token's use. Entries come only from tokens whose record was found, so that guessing
// cannot fill the memory.
type use struct {
	last       atomic.Int64 // Unix microseconds, 0 = not used since the start
	written    int64        // last, as the store has it; only flushUses touches it
	complained atomic.Int64 // Unix microseconds of the last complaint in the log
}

func (t *Tokens) useOf(id string) *use {
	t.mu.Lock()
	defer t.mu.Unlock()
	u, ok := t.uses[id]
	if !ok {
		u = new(use)
		t.uses[id] = u
	}
	return u
}

// keep writes down uses every minute and warns of tokens about to expire every day, until ctx ends.
func (t *Tokens) keep(ctx context.Context) {
	defer close(t.done)
	uses, warnings := time.NewTicker(useEvery), time.NewTicker(warnEvery)
	defer uses.Stop()
	defer warnings.Stop()
	t.warnExpiring(ctx)
	for {
		select {
		case <-ctx.Done():
			return
		case <-warnings.C:
			t.warnExpiring(ctx)
		case <-uses.C:
			if err := t.flushUses(ctx); err != nil && ctx.Err() == nil {
				t.log.Warn("the last use of tokens could not be written, trying again in a minute", "error", err)
			}
		}
	}
}

// flushUses writes the last use of every token used since it was last written, all in one transaction and without a
// journal row. It is never called twice at a time.
func (t *Tokens) flushUses(ctx context.Context) error {
	due := make(map[string]int64)
	t.mu.Lock()
	for id, u := range t.uses {
		if last := u.last.Load(); last != u.written {
			due[id] = last
		}
	}
	t.mu.Unlock()
	if len(due) == 0 {
		return nil
	}
	err := t.store.Update(ctx, systemTenant, storage.Origin{Actor: "local"}, func(tx *storage.Tx) error {
		for id, last := range due {
			if err := putUse(tx, id, time.UnixMicro(last)); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("writing the last use of %d tokens: %w", len(due), err)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	for id, last := range due {
		t.uses[id].written = last
	}
	return nil
}

func putUse(tx *storage.Tx, id string, last time.Time) error {
	var prev storage.Stamp
	switch rec, err := tx.Get(useKind, id); {
	case err == nil:
		prev = rec.Stamp
	case !errors.Is(err, storage.ErrNotFound):
		return err
	}
	return tx.Put(storage.Record{
		Ref:   storage.Ref{Tenant: systemTenant, Kind: useKind, ID: id},
		Stamp: tx.Stamp(prev),
		Body:  last.UTC().AppendFormat(nil, time.RFC3339Nano),
	})
}

// read returns a token with its last use, from the store or from memory, whichever is later.
func (t *Tokens) read(tx *storage.Tx, id string) (Token, error) {
	rec, err := tx.Get(tokenKind, id)
	if err != nil {
		return Token{}, err
	}
	tok, _, err := decodeRow(rec)
	if err != nil {
		return Token{}, err
	}
	tok.LastUsed, err = t.lastUse(tx, id)
	return tok, err
}

// lastUse returns the last use of a token, a client or a client's secret, from the store or from memory, whichever is later;
// zero for none.
func (t *Tokens) lastUse(tx *storage.Tx, id string) (last time.Time, err error) {
	switch rec, err := tx.Get(useKind, id); {
	case err == nil:
		if last, err = time.Parse(time.RFC3339Nano, string(rec.Body)); err != nil {
			return time.Time{}, fmt.Errorf("the last use of %s cannot be read (scimbox check examines the store): %w", id, err)
		}
	case !errors.Is(err, storage.ErrNotFound):
		return time.Time{}, err
	}
	t.mu.Lock()
	u := t.uses[id]
	t.mu.Unlock()
	if u != nil {
		if at := u.last.Load(); at != 0 && time.UnixMicro(at).After(last) {
			last = time.UnixMicro(at).UTC()
		}
	}
	return last, nil
}

func (t *Tokens) warnExpiring(ctx context.Context) {
	if t.warnBefore <= 0 {
		return
	}
	now := t.now()
	list, err := t.Expiring(ctx, now, t.warnBefore)
	if err != nil {
		if ctx.Err() == nil {
			t.log.Warn("tokens could not be examined for their expiry", "error", err)
		}
		return
	}
	for _, tok := range list {
		used := "never"
		if !tok.LastUsed.IsZero() {
			used = tok.LastUsed.Format(time.RFC3339)
		}
		t.log.Warn("a token expires soon; make a new one with scimbox token create and give it to the client",
			"token", tok.ID, "name", tok.Name, "tenant", tok.Tenant, "expires", tok.Expires,
			"in", tok.Expires.Sub(now).Round(time.Minute).String(), "last_used", used)
	}
}
