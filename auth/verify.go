package auth

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"

	"scimbox/storage"
)

// Why a presented token is refused. None of them says whether a token of that id exists, except to one who has proven that
// he knows its secret.
var (
	ErrMalformed    = errors.New("not a complete scimbox token")                  // wrong form or checksum: mistyped or cut short
	ErrClientSecret = errors.New("a client secret is no token")                   // it is for the token endpoint
	ErrUnknown      = errors.New("the token is unknown")                          // no such id, or another secret
	ErrExpired      = errors.New("the token has expired")                         // its secret is right
	ErrRevoked      = errors.New("the token has been revoked")                    // its secret is right; tell outsiders ErrUnknown
	ErrBusy         = errors.New("too many tokens are being verified; try again") // says nothing about the token
)

// errReplaced says that the token of a cache entry is not the one whose secret was proven.
var errReplaced = errors.New("auth: the token was replaced")

// credential is what was presented, taken apart.
type credential struct {
	family
	id, secret string
	client     string // id that the secret of a client was presented with
}

// key is what a credential is remembered by.
func (c credential) key() [sha256.Size]byte { return keyOf(c.client, c.compose(c.id, c.secret)) }

// keyOf is the key of the credential that was presented as plain, by a client if it is the secret of one. Two that are written
// differently have different keys.
func keyOf(client, plain string) [sha256.Size]byte {
	var room [192]byte // what is presented is shorter; on the stack, because each request comes here
	return sha256.Sum256(append(append(append(room[:0], client...), 0), plain...))
}

// entry is a token whose secret has been proven, by the digest of what was presented. It is not changed after it was made.
// That of an access token or of a client's secret has the Token that the client's requests are let in with.
type entry struct {
	credential // without the secret
	token      Token
	hash       []byte // bcrypt of the secret; SHA-256 of an access token's
	seq        uint64 // the store's journal sequence, taken before the token was read
	use        *use
}

// Verify returns the token whose plain text is presented, by a client at the given address, and notes its use. LastUsed of
// the result is not filled in.
//
// The errors are those named above, a *LimitError, that of ctx, or one of the store. bcrypt is computed at most once for
// as long as the token stays in the cache, and by one goroutine if many present it at once. Failures are not remembered,
// except as a number for each client address. One who is let in by the cache is not limited by anybody's failures.
func (t *Tokens) Verify(ctx context.Context, presented string, client netip.Addr) (Token, error) {
	c := credential{family: familyOf(presented)}
	if len(presented) == tokenLen+len(c.family) && c.family != ofClient {
		// What is remembered was taken apart when it was proven.
		key := keyOf("", presented)
		if e, warm := t.cacheOf(c.family).Get(key); warm {
			if tok, err := t.admit(ctx, key, e, client); !errors.Is(err, errReplaced) {
				return tok, err
			}
		}
	}
	var ok bool
	if c.id, c.secret, ok = c.parse(presented); !ok {
		return Token{}, ErrMalformed
	}
	if c.family == ofClient {
		return Token{}, ErrClientSecret
	}
	return t.verify(ctx, c, client)
}

func (t *Tokens) verify(ctx context.Context, c credential, client netip.Addr) (Token, error) {
	key, cache, source := c.key(), t.cacheOf(c.family), sourceOf(client)
	for {
		e, warm := cache.Get(key)
		if !warm {
			var err error
			if e, err = t.fly(ctx, key, c, source); err != nil {
				if limited := (*LimitError)(nil); errors.As(err, &limited) && limited.source != source {
					continue // the flight was refused for the sake of another address
				}
				return Token{}, err
			}
		}
		tok, err := t.admit(ctx, key, e, client)
		if errors.Is(err, errReplaced) {
			continue
		}
		return tok, err
	}
}

// cacheOf returns what is remembered of credentials of a family. Access tokens have a cache of their own: a client that asks
// for a new one before each request must not push out the tokens that cost bcrypt.
func (t *Tokens) cacheOf(f family) *lru.Cache[[sha256.Size]byte, *entry] {
	if f == ofAccess {
		return t.access
	}
	return t.cache
}

// fly proves the secret, together with all others who present the same token now. The work goes on when ctx ends, because
// it is also theirs.
func (t *Tokens) fly(ctx context.Context, key [sha256.Size]byte, c credential, source netip.Addr) (*entry, error) {
	ch := t.flights.DoChan(string(key[:]), func() (any, error) {
		return t.prove(context.WithoutCancel(ctx), key, c, source)
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
func (t *Tokens) prove(ctx context.Context, key [sha256.Size]byte, c credential, source netip.Addr) (*entry, error) {
	if e, ok := t.cacheOf(c.family).Get(key); ok {
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

	e, err := t.load(ctx, c)
	known := err == nil
	if !known && !errors.Is(err, storage.ErrNotFound) {
		return nil, fmt.Errorf("verifying a token: %w", err)
	}
	var hash []byte
	if known {
		hash = e.hash
	}
	right, err := t.holds(ctx, c, hash)
	if err != nil {
		return nil, err
	}

	switch {
	case !known || !right:
		failed = true
		return nil, ErrUnknown
	case !e.token.Revoked.IsZero():
		failed = true
		t.complain(e, "a revoked "+e.what()+" was used", source)
		return nil, ErrRevoked
	}
	// An expired token is kept too: what is remembered is that its secret was right, and the clock does the rest.
	t.cacheOf(c.family).Add(key, e)
	return e, nil
}

// holds compares the secret of a credential with a digest, nil for that of one who is not there. An access token is random
// and lives for an hour, so that SHA-256 is enough for it; the others cost one bcrypt, known or not.
func (t *Tokens) holds(ctx context.Context, c credential, hash []byte) (bool, error) {
	if c.family == ofAccess {
		return subtle.ConstantTimeCompare(accessHash(c.secret), hash) == 1, nil
	}
	if hash == nil {
		hash = t.dummy
	}
	if t.waiting.Add(1) > t.queue {
		t.waiting.Add(-1)
		return false, ErrBusy
	}
	err := t.hashers.Acquire(ctx, 1)
	t.waiting.Add(-1)
	if err != nil {
		return false, err
	}
	defer t.hashers.Release(1)
	return t.compare(hash, []byte(c.secret)) == nil, nil
}

// admit lets the holder of a proven secret in if the token is in force at this moment.
func (t *Tokens) admit(ctx context.Context, key [sha256.Size]byte, e *entry, client netip.Addr) (Token, error) {
	cache := t.cacheOf(e.family)
	if t.store.LastSeq() != e.seq {
		fresh, err := t.load(ctx, e.credential)
		switch {
		case errors.Is(err, storage.ErrNotFound):
			cache.Remove(key)
			return Token{}, ErrUnknown
		case err != nil:
			return Token{}, fmt.Errorf("verifying a token: %w", err)
		case !slices.Equal(fresh.hash, e.hash):
			cache.Remove(key)
			return Token{}, errReplaced
		}
		e = fresh
		if e.token.Revoked.IsZero() {
			cache.Add(key, e)
		}
	}
	if !e.token.Revoked.IsZero() {
		cache.Remove(key)
		t.complain(e, "a revoked "+e.what()+" was used", client)
		return Token{}, ErrRevoked
	}
	now := t.now()
	if !now.Before(e.token.Expires) {
		if e.family != ofAccess { // of which every client gets a new one when this happens
			t.complain(e, "an expired "+e.what()+" was used", client)
		}
		return Token{}, ErrExpired
	}
	e.use.note(now, client.Unmap())
	return e.token, nil
}

func (c credential) what() string {
	switch c.family {
	case ofAccess:
		return "client's access token"
	case ofClient:
		return "client secret"
	}
	return "token"
}

// load reads what a credential names. The sequence is taken first, so that a change that the read misses is one that makes
// the entry old.
func (t *Tokens) load(ctx context.Context, c credential) (*entry, error) {
	c.secret = ""
	e := &entry{credential: c, seq: t.store.LastSeq()}
	used := c.id
	err := t.store.View(ctx, systemTenant, func(tx *storage.Tx) (err error) {
		switch c.family {
		case ofAccess:
			e.token, e.hash, err = loadAccess(tx, c.id)
			used = e.token.ID
		case ofClient:
			e.token, e.hash, err = loadSecret(tx, c.client, c.id)
		default:
			var rec storage.Record
			if rec, err = tx.Get(tokenKind, c.id); err != nil {
				return err
			}
			var r row
			e.token, r, err = decodeRow(rec)
			e.hash = []byte(r.Hash)
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	e.use = t.useOf(used)
	return e, nil
}

// forget drops what is remembered of a token, or of a client and its access tokens. That it is revoked is found without
// this, too; see admit.
func (t *Tokens) forget(id string) {
	for _, cache := range []*lru.Cache[[sha256.Size]byte, *entry]{t.cache, t.access} {
		for _, key := range cache.Keys() {
			if e, ok := cache.Peek(key); ok && e.token.ID == id {
				cache.Remove(key)
			}
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
	t.log.Warn(what, "token", e.token.ID, "name", e.token.Name, "tenant", e.token.Tenant, // #nosec G706 -- slog quotes what it writes
		"expires", e.token.Expires, "client", source)
}
