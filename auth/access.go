package auth

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"scimbox/storage"
)

const (
	accessKind  = "access-token"
	clientField = "client" // term of an access token: id of its client, then the time of its end

	// AccessTTL is how long an access token lives, unless the secret that it was had with ends before.
	AccessTTL = time.Hour

	// maxAccess is how many access tokens are kept of one client. One more pushes out the one that ends first, which is of
	// no use any more to a client that asks for a new one before each request.
	maxAccess = 100

	// accessKept is how long an access token is remembered after its end. Its client is told that it has expired, which is
	// no failed attempt.
	accessKept = 24 * time.Hour
)

// accessRow is the body of an access token's record.
type accessRow struct {
	Client  string    `json:"client"`
	Secret  string    `json:"secret"` // id of the one that it was had with, and ends with
	Scope   Scope     `json:"scope"`
	Expires time.Time `json:"expires"`
	Hash    []byte    `json:"hash"` // SHA-256 of the secret part
}

func accessHash(secret string) []byte {
	sum := sha256.Sum256([]byte(secret))
	return sum[:]
}

// accessTerm orders the access tokens of a client by their ends.
func accessTerm(client string, end time.Time) []byte {
	return binary.BigEndian.AppendUint64([]byte(client), uint64(end.UnixMicro()))
}

// loadAccess returns the digest of an access token, with the Token that its requests are let in with. It is revoked with its
// client, and with the secret that it was had with.
func loadAccess(tx *storage.Tx, id string) (Token, []byte, error) {
	rec, err := tx.Get(accessKind, id)
	if err != nil {
		return Token{}, nil, err
	}
	var r accessRow
	if err := json.Unmarshal(rec.Body, &r); err != nil {
		return Token{}, nil, fmt.Errorf("access token %s cannot be read, so that it lets nobody in (scimbox check examines the store): %w", id, err)
	}
	tok, _, err := loadSecret(tx, r.Client, r.Secret)
	if errors.Is(err, storage.ErrNotFound) {
		// The secret is gone, or the client is; there is nothing left that could be shown of it.
		return Token{ID: r.Client, Revoked: rec.Modified, Expires: r.Expires}, r.Hash, nil
	}
	if err != nil {
		return Token{}, nil, err
	}
	if tok.Scope.CanWrite() {
		tok.Scope = r.Scope
	}
	tok.Created = rec.Created
	if r.Expires.Before(tok.Expires) {
		tok.Expires = r.Expires
	}
	return tok, r.Hash, nil
}

// grant is an access token as it is handed out.
type grant struct {
	Token
	secret Secret
}

// authenticate proves the secret of a client (RFC 6749 section 2.3.1). The errors are those of Verify; a client that is
// unknown costs what a wrong secret does.
func (t *Tokens) authenticate(ctx context.Context, client, presented string, from netip.Addr) (Token, credential, error) {
	c := credential{family: ofClient, client: client}
	var ok bool
	if c.id, c.secret, ok = ofClient.parse(presented); !ok {
		return Token{}, c, ErrMalformed
	}
	tok, err := t.verify(ctx, c, from)
	return tok, c, err
}

// issue makes an access token for a client whose secret was proven. It is stored before it is handed out, so that it
// survives a restart; nothing goes to the journal, because nothing that anybody sees has changed.
func (t *Tokens) issue(ctx context.Context, c credential, scope Scope) (grant, error) {
	id, plain := newID(), newPlain()
	var tok Token
	var pruned []string
	err := t.store.Update(ctx, systemTenant, storage.Origin{Actor: c.client}, func(tx *storage.Tx) error {
		// Once more, because it may have been revoked since.
		var err error
		if tok, _, err = loadSecret(tx, c.client, c.id); errors.Is(err, storage.ErrNotFound) || err == nil && !tok.Revoked.IsZero() {
			return ErrRevoked
		} else if err != nil {
			return err
		}
		stamp := tx.Stamp(storage.Stamp{})
		now := stamp.Created
		if !now.Before(tok.Expires) {
			return ErrExpired
		}
		tok.Created, tok.Scope = now, scope
		if end := now.Add(AccessTTL); end.Before(tok.Expires) {
			tok.Expires = end
		}
		if pruned, err = pruneAccess(tx, c.client, now); err != nil {
			return err
		}
		body, err := json.Marshal(accessRow{Client: c.client, Secret: c.id, Scope: scope, Expires: tok.Expires, Hash: accessHash(plain)}) // #nosec G117 -- the id of a secret, and the hash of what it opens
		if err != nil {
			return fmt.Errorf("encoding an access token: %w", err)
		}
		return tx.Put(storage.Record{
			Ref: storage.Ref{Tenant: systemTenant, Kind: accessKind, ID: id}, Stamp: stamp, Body: body,
			Terms: []storage.Term{{Field: clientField, Value: accessTerm(c.client, tok.Expires)}},
		})
	})
	if err != nil {
		return grant{}, fmt.Errorf("issuing an access token: %w", err)
	}
	t.forgetAccess(pruned)
	return grant{tok, newSecret(ofAccess.compose(id, plain))}, nil
}

// pruneAccess makes room for one more access token of a client: what ended a while ago goes, and then what ends first. It
// returns the ids of those.
func pruneAccess(tx *storage.Tx, client string, now time.Time) ([]string, error) {
	var ids []string // the first to end first
	old := 0
	before := string(accessTerm(client, now.Add(-accessKept)))
	for hit, err := range tx.Find(accessKind, clientField, storage.Prefix([]byte(client))) {
		if err != nil {
			return nil, err
		}
		if string(hit.Value) < before {
			old++
		}
		ids = append(ids, hit.ID)
	}
	ids = ids[:max(old, len(ids)-maxAccess+1, 0)]
	for _, id := range ids {
		if err := tx.Delete(accessKind, id); err != nil {
			return nil, err
		}
	}
	return ids, nil
}

// forgetAccess drops access tokens from memory that are not in the store any more. The journal, which says that a change is
// to be looked for, does not tell of them.
func (t *Tokens) forgetAccess(ids []string) {
	if len(ids) == 0 {
		return
	}
	for _, key := range t.access.Keys() {
		if e, ok := t.access.Peek(key); ok && slices.Contains(ids, e.id) {
			t.access.Remove(key)
		}
	}
}
