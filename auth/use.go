package auth

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"sync/atomic"
	"time"

	"scimbox/storage"
)

const useEvery = time.Minute

// use is what is remembered of a token's use. Entries come only from tokens whose record was found, so that guessing
// cannot fill the memory.
type use struct {
	last       atomic.Int64 // Unix microseconds, 0 = not used since the start
	from       atomic.Pointer[netip.Addr]
	written    int64        // last, as the store has it; only flushUses touches it
	complained atomic.Int64 // Unix microseconds of the last complaint in the log
}

// note keeps that a request was let in. It is called for each, and costs two reads and a write.
func (u *use) note(now time.Time, from netip.Addr) {
	if p := u.from.Load(); p == nil || *p != from {
		kept := from // a parameter whose address is taken would be on the heap each time
		u.from.Store(&kept)
	}
	u.last.Store(now.UnixMicro())
}

// address is where the last request came from, "" if it had none or there was none.
func (u *use) address() string {
	if p := u.from.Load(); p != nil && p.IsValid() {
		return p.String()
	}
	return ""
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

// keep writes down uses every minute and looks for tokens about to expire every few, until ctx ends.
func (t *Tokens) keep(ctx context.Context) {
	defer close(t.done)
	uses, warnings := time.NewTicker(useEvery), time.NewTicker(lookEvery)
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
	type seen struct {
		last int64
		from string
	}
	due := make(map[string]seen)
	t.mu.Lock()
	for id, u := range t.uses {
		if last := u.last.Load(); last != u.written {
			due[id] = seen{last, u.address()}
		}
	}
	t.mu.Unlock()
	if len(due) == 0 {
		return nil
	}
	err := t.store.Update(ctx, systemTenant, storage.Origin{Actor: "local"}, func(tx *storage.Tx) error {
		for id, s := range due {
			if t.isRemoved(id) {
				continue
			}
			if err := putUse(tx, id, time.UnixMicro(s.last), s.from); err != nil {
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
	for id, s := range due {
		if u := t.uses[id]; u != nil {
			u.written = s.last
		}
	}
	return nil
}

// isRemoved is asked inside a transaction, of which there is one at a time: Remove is either over, and known here, or comes
// after.
func (t *Tokens) isRemoved(id string) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	_, ok := t.removed[id]
	return ok
}

// putUse writes a use: its time, and after a space the address if there is one.
func putUse(tx *storage.Tx, id string, last time.Time, from string) error {
	body := last.UTC().AppendFormat(nil, time.RFC3339Nano)
	if from != "" {
		body = append(append(body, ' '), from...)
	}
	return putQuietly(tx, useKind, id, body)
}

// putQuietly writes a record that is no change of anything that somebody decides: without a journal row.
func putQuietly(tx *storage.Tx, kind, id string, body []byte) error {
	var prev storage.Stamp
	switch rec, err := tx.Get(kind, id); {
	case err == nil:
		prev = rec.Stamp
	case !errors.Is(err, storage.ErrNotFound):
		return err
	}
	return tx.Put(storage.Record{
		Ref:   storage.Ref{Tenant: systemTenant, Kind: kind, ID: id},
		Stamp: tx.Stamp(prev),
		Body:  body,
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
	tok.LastUsed, tok.LastAddress, err = t.lastUse(tx, id)
	return tok, err
}

// lastUse returns the last use of a token, a client or a client's secret and where it came from, from the store or from
// memory, whichever is later; zero for none.
func (t *Tokens) lastUse(tx *storage.Tx, id string) (last time.Time, from string, err error) {
	switch rec, err := tx.Get(useKind, id); {
	case err == nil:
		var text string
		text, from, _ = strings.Cut(string(rec.Body), " ")
		if last, err = time.Parse(time.RFC3339Nano, text); err != nil {
			return time.Time{}, "", fmt.Errorf("the last use of %s cannot be read (scimbox check examines the store): %w", id, err)
		}
	case !errors.Is(err, storage.ErrNotFound):
		return time.Time{}, "", err
	}
	t.mu.Lock()
	u := t.uses[id]
	t.mu.Unlock()
	if u != nil {
		if at := u.last.Load(); at != 0 && time.UnixMicro(at).After(last) {
			last, from = time.UnixMicro(at).UTC(), u.address()
		}
	}
	return last, from, nil
}
