package auth

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"scimbox/storage"
)

// Why a presented token is refused. None of them says whether a token of that id exists, except to one who has proven that
// he knows its secret.
var (
	ErrMalformed = errors.New("not a complete scimbox token")                  // wrong form or checksum: mistyped or cut short
	ErrUnknown   = errors.New("the token is unknown")                          // no such id, or another secret
	ErrExpired   = errors.New("the token has expired")                         // its secret is right
	ErrRevoked   = errors.New("the token has been revoked")                    // its secret is right; tell outsiders ErrUnknown
	ErrBusy      = errors.New("too many tokens are being verified; try again") // says nothing about the token
)

// errReplaced says that the token of a cache entry is not the one whose secret was proven.
var errReplaced = errors.New("auth: the token was replaced")

// entry is a token whose secret has been proven, by the digest of what was presented. It is not changed after it was made.
type entry struct {
	token Token
	hash  []byte
	seq   uint64 // the store's journal sequence, taken before the token was read
	use   *use
}

// Verify returns the token whose plain text is presented, by a client at the given address, and notes its use. LastUsed of
// the result is not filled in.
//
// The errors are those named above, a *LimitError, that of ctx, or one of the store. bcrypt is computed at most once for
// as long as the token stays in the cache, and by one goroutine if many present it at once. Failures are not remembered,
// except as a number for each client address. One who is let in by the cache is not limited by anybody's failures.
func (t *Tokens) Verify(ctx context.Context, presented string, client netip.Addr) (Token, error) {
	id, secret, ok := parse(presented)
	if !ok {
		return Token{}, ErrMalformed
	}
	key := sha256.Sum256([]byte(presented))
	source := sourceOf(client)
	for {
		e, warm := t.cache.Get(key)
		if !warm {
			var err error
			if e, err = t.fly(ctx, key, id, secret, source); err != nil {
				if limited := (*LimitError)(nil); errors.As(err, &limited) && limited.source != source {
					continue // the flight was refused for the sake of another address
				}
				return Token{}, err
			}
		}
		tok, err := t.admit(ctx, key, e, source)
		if errors.Is(err, errReplaced) {
			continue
		}
		return tok, err
	}
}

// fly proves the secret, together with all others who present the same token now. The work goes on when ctx ends, because
// it is also theirs.
func (t *Tokens) fly(ctx context.Context, key [sha256.Size]byte, id, secret string, source netip.Addr) (*entry, error) {
	ch := t.flights.DoChan(string(key[:]), func() (any, error) {
		return t.prove(context.WithoutCancel(ctx), key, id, secret, source)
	})
	select {
	case <-ctx.Done():
		return nil, ctx.Err()
	case r := <-ch:
		e, _ := r.Val.(*entry)
		return e, r.Err
	}
}

// prove compares the secret with the token's digest. Whether there is such a token makes no difference to its cost.
func (t *Tokens) prove(ctx context.Context, key [sha256.Size]byte, id, secret string, source netip.Addr) (*entry, error) {
	if e, ok := t.cache.Get(key); ok {
		return e, nil // a flight landed between our look into the cache and our own start
	}
	allowed, wait, first := t.failures.enter(source, t.now())
	if first {
		t.log.Warn("too many failed tokens from one address, refusing more", "client", source, "retry_after", wait.String())
	}
	if wait > 0 {
		return nil, &LimitError{RetryAfter: wait, source: source}
	}
	failed := false
	defer func() { t.failures.leave(allowed, t.now(), failed) }()

	e, err := t.load(ctx, id)
	known := err == nil
	if !known && !errors.Is(err, storage.ErrNotFound) {
		return nil, fmt.Errorf("verifying a token: %w", err)
	}
	hash := t.dummy
	if known {
		hash = e.hash
	}
	if t.waiting.Add(1) > t.queue {
		t.waiting.Add(-1)
		return nil, ErrBusy
	}
	err = t.hashers.Acquire(ctx, 1)
	t.waiting.Add(-1)
	if err != nil {
		return nil, err
	}
	err = t.compare(hash, []byte(secret))
	t.hashers.Release(1)

	switch {
	case !known || err != nil:
		failed = true
		return nil, ErrUnknown
	case !e.token.Revoked.IsZero():
		failed = true
		t.complain(e, "a revoked token was used", source)
		return nil, ErrRevoked
	}
	// An expired token is kept too: what is remembered is that its secret was right, and the clock does the rest.
	t.cache.Add(key, e)
	return e, nil
}

// admit lets the holder of a proven secret in if the token is in force at this moment.
func (t *Tokens) admit(ctx context.Context, key [sha256.Size]byte, e *entry, source netip.Addr) (Token, error) {
	if t.store.LastSeq() != e.seq {
		fresh, err := t.load(ctx, e.token.ID)
		switch {
		case errors.Is(err, storage.ErrNotFound):
			t.cache.Remove(key)
			return Token{}, ErrUnknown
		case err != nil:
			return Token{}, fmt.Errorf("verifying a token: %w", err)
		case !slices.Equal(fresh.hash, e.hash):
			t.cache.Remove(key)
			return Token{}, errReplaced
		}
		e = fresh
		if e.token.Revoked.IsZero() {
			t.cache.Add(key, e)
		}
	}
	if !e.token.Revoked.IsZero() {
		t.cache.Remove(key)
		t.complain(e, "a revoked token was used", source)
		return Token{}, ErrRevoked
	}
	now := t.now()
	if !now.Before(e.token.Expires) {
		t.complain(e, "an expired token was used", source)
		return Token{}, ErrExpired
	}
	e.use.last.Store(now.UnixMicro())
	return e.token, nil
}

// load reads the token of id. The sequence is taken first, so that a change that the read misses is one that makes the
// entry old.
func (t *Tokens) load(ctx context.Context, id string) (*entry, error) {
	e := &entry{seq: t.store.LastSeq()}
	err := t.store.View(ctx, systemTenant, func(tx *storage.Tx) error {
		rec, err := tx.Get(tokenKind, id)
		if err != nil {
			return err
		}
		tok, r, err := decodeRow(rec)
		e.token, e.hash = tok, []byte(r.Hash)
		return err
	})
	if err != nil {
		return nil, err
	}
	e.use = t.useOf(id)
	return e, nil
}

// forget drops what is remembered of a token. That it is revoked is found without this, too; see admit.
func (t *Tokens) forget(id string) {
	for _, key := range t.cache.Keys() {
		if e, ok := t.cache.Peek(key); ok && e.token.ID == id {
			t.cache.Remove(key)
		}
	}
}

// complain logs, at most once an hour for each token, that somebody with its secret was refused: behind it is a client
// that has stopped working, or a leak.
func (t *Tokens) complain(e *entry, what string, source netip.Addr) {
	now := t.now()
	last := e.use.complained.Load()
	if last != 0 && now.Sub(time.UnixMicro(last)) < time.Hour || !e.use.complained.CompareAndSwap(last, now.UnixMicro()) {
		return
	}
	t.log.Warn(what, "token", e.token.ID, "name", e.token.Name, "tenant", e.token.Tenant,
		"expires", e.token.Expires, "client", source)
}
