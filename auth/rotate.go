package auth

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"scimbox/storage"
)

// Rotate makes a successor of the token that which names: of the same name, tenant, scope, preset and user, in force at once
// and until ttl from now (0 is DefaultTTL). The old one stays for as long as overlap, never longer than it would have;
// without overlap it is revoked, in the same transaction.
//
// which is as in Get, but of several tokens of a name it is the one that has no successor yet. A token that has one is
// rotated again only after that was revoked: of two successors one would be forgotten.
func (t *Tokens) Rotate(ctx context.Context, which string, overlap, ttl time.Duration, by storage.Origin) (old, successor Token, secret Secret, err error) {
	ttl = cmp.Or(ttl, DefaultTTL)
	if err := checkOverlap(tokenKind, overlap); err != nil {
		return Token{}, Token{}, Secret{}, err
	}
	if err := checkTTL(ttl); err != nil {
		return Token{}, Token{}, Secret{}, &SpecError{Field: "ttl", Problem: err.Error()}
	}
	id, plain, hash, err := t.newToken()
	if err != nil {
		return Token{}, Token{}, Secret{}, err
	}
	refuse := func(format string, args ...any) error {
		return &SpecError{Field: "rotation", Problem: fmt.Sprintf(format, args...)}
	}
	var oldID string
	// Like a revocation it does not wait for room on a disk that is almost full: with no overlap it is one.
	err = t.store.UpdateUrgently(ctx, systemTenant, by, func(tx *storage.Tx) (err error) {
		if oldID, err = resolveNewest(tx, which, t.now()); err != nil {
			return err
		}
		rec, err := tx.Get(tokenKind, oldID)
		if err != nil {
			return err
		}
		tok, r, err := decodeRow(rec)
		if err != nil {
			return err
		}
		if !tok.Revoked.IsZero() {
			return refuse("%s is revoked and gets no successor; make another token with scimbox token create", oldID)
		}
		if tok.Successor != "" {
			next, err := tx.Get(tokenKind, tok.Successor)
			if err != nil && !errors.Is(err, storage.ErrNotFound) {
				return err
			}
			if err == nil {
				following, _, err := decodeRow(next)
				if err != nil {
					return err
				}
				if following.Revoked.IsZero() {
					return refuse("%s was rotated already, and its successor is %s; rotate that, or revoke it first", oldID, tok.Successor)
				}
			}
		}
		now := t.now().UTC().Truncate(time.Microsecond)
		fresh := r
		fresh.Expires, fresh.Hash, fresh.Successor, fresh.Rotated = now.Add(ttl), hash, "", time.Time{}
		if successor, err = putNew(tx, id, fresh); err != nil {
			return err
		}
		r.Successor, r.Rotated = id, now
		if end := now.Add(overlap); overlap == 0 {
			r.Revoked = now
		} else if end.Before(r.Expires) {
			r.Expires = end
		}
		if _, err := put(tx, oldID, r, rec.Stamp, "rotate"); err != nil {
			return err
		}
		old, err = t.read(tx, oldID)
		return err
	})
	if err != nil {
		return Token{}, Token{}, Secret{}, wrapUnlessLookup("rotating a token", err)
	}
	if overlap == 0 {
		t.forget(oldID)
	}
	return old, successor, newSecret(compose(id, plain)), nil
}

// resolveNewest is resolve, except that a token with a successor is not meant by its name.
func resolveNewest(tx *storage.Tx, which string, now time.Time) (string, error) {
	id, err := resolve(tx, tokenKind, which, now)
	var lookup *LookupError
	if !errors.As(err, &lookup) || len(lookup.IDs) == 0 {
		return id, err
	}
	var newest []string
	for _, id := range lookup.IDs {
		rec, err := tx.Get(tokenKind, id)
		if err != nil {
			return "", err
		}
		tok, _, err := decodeRow(rec)
		if err != nil {
			return "", err
		}
		if tok.Revoked.IsZero() && tok.Successor == "" {
			newest = append(newest, id)
		}
	}
	if len(newest) == 1 {
		return newest[0], nil
	}
	return "", &LookupError{Kind: tokenKind, Given: clip(strings.TrimSpace(which)), IDs: lookup.IDs}
}
