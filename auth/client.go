package auth

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"golang.org/x/crypto/bcrypt"

	"scimbox/storage"
)

// Where clients live: beside the tokens, in systemTenant.
const clientKind = "client"

// maxSecrets is how many secrets of one client are in force at a time: the one in use, its successor, and two more for those
// who lose a successor before it is entered.
const maxSecrets = 4

// Client is an OAuth 2.0 client that gets its access tokens by its own credentials (RFC 6749 section 4.4). Times are as
// those of Token.
type Client struct {
	ID         string    `json:"id"` // client_id
	Name       string    `json:"name"`
	Tenant     string    `json:"tenant"`           // the one that its requests see
	Scope      Scope     `json:"scope"`            // the widest that its access tokens have
	Preset     string    `json:"preset,omitempty"` // as that of Token
	User       string    `json:"user,omitempty"`   // as that of Token
	Types      Names     `json:"types,omitempty"`  // as those of Token
	Attributes Names     `json:"attributes,omitempty"`
	Created    time.Time `json:"created"`
	// LastUsed is the last request that was let in with an access token; see Token.LastUsed.
	LastUsed    time.Time      `json:"lastUsed,omitzero"`
	LastAddress string         `json:"lastAddress,omitempty"` // as that of Token
	Revoked     time.Time      `json:"revoked,omitzero"`
	Version     uint64         `json:"version"` // journal sequence of its last change
	Secrets     []ClientSecret `json:"secrets"` // the newest last; those that ended may be gone
}

// ClientSecret is what is known of a client's secret besides its plain text.
type ClientSecret struct {
	ID          string    `json:"id"` // the part of the secret that is not secret
	Created     time.Time `json:"created"`
	Expires     time.Time `json:"expires"`           // no access token is issued from this instant on, and none lives longer
	LastUsed    time.Time `json:"lastUsed,omitzero"` // the last access token that it was presented for
	LastAddress string    `json:"lastAddress,omitempty"`
}

// clientRow is the body of a client's record.
type clientRow struct {
	Name   string `json:"name"`
	Tenant string `json:"tenant"`
	Scope  Scope  `json:"scope"`
	Preset string `json:"preset,omitempty"`
	User   string `json:"user,omitempty"`
	limits
	Revoked time.Time   `json:"revoked,omitzero"`
	Secrets []secretRow `json:"secrets"`
}

type secretRow struct {
	ID      string    `json:"id"`
	Created time.Time `json:"created"`
	Expires time.Time `json:"expires"`
	Hash    string    `json:"hash"` // bcrypt of the secret part
}

func clientRef(id string) storage.Ref {
	return storage.Ref{Tenant: systemTenant, Kind: clientKind, ID: id}
}

func decodeClient(rec storage.Record) (Client, clientRow, error) {
	var r clientRow
	if err := json.Unmarshal(rec.Body, &r); err != nil {
		return Client{}, clientRow{}, fmt.Errorf("client %s cannot be read, so that it is let in no more (scimbox check examines the store; a new client is made by scimbox client create): %w", rec.ID, err)
	}
	c := Client{
		ID: rec.ID, Name: r.Name, Tenant: r.Tenant, Scope: r.Scope, Preset: r.Preset, User: r.User, Types: r.Types, Attributes: r.Attributes,
		Created: rec.Created, Revoked: r.Revoked, Version: rec.Version, Secrets: []ClientSecret{},
	}
	for _, s := range r.Secrets {
		c.Secrets = append(c.Secrets, ClientSecret{ID: s.ID, Created: s.Created, Expires: s.Expires})
	}
	return c, r, nil
}

// putClient writes a client and its journal row, in which the secrets are ids with their ends.
func putClient(tx *storage.Tx, id string, r clientRow, prev storage.Stamp, op string) (Client, error) {
	body, err := json.Marshal(r)
	if err != nil {
		return Client{}, fmt.Errorf("encoding client %s: %w", id, err)
	}
	rec := storage.Record{
		Ref: clientRef(id), Stamp: tx.Stamp(prev), Body: body,
		Terms: []storage.Term{{Field: nameField, Value: []byte(r.Name)}},
	}
	c, _, err := decodeClient(rec)
	if err != nil {
		return Client{}, err
	}
	detail, err := json.Marshal(struct {
		Name   string `json:"name"`
		Tenant string `json:"tenant"`
		Scope  Scope  `json:"scope"`
		Preset string `json:"preset,omitempty"`
		User   string `json:"user,omitempty"`
		limits
		Secrets []ClientSecret `json:"secrets"`
	}{c.Name, c.Tenant, c.Scope, c.Preset, c.User, r.limits, c.Secrets})
	if err != nil {
		return Client{}, fmt.Errorf("encoding the journal row of client %s: %w", id, err)
	}
	if err := tx.Put(rec); err != nil {
		return Client{}, err
	}
	return c, tx.Log(storage.Entry{Op: op, Ref: rec.Ref, Detail: detail})
}

// newClientSecret makes a secret that ends after ttl, with what is kept of it.
func (t *Tokens) newClientSecret(ttl time.Duration) (secretRow, Secret, error) {
	id, plain := newID(), newPlain()
	hash, err := bcrypt.GenerateFromPassword([]byte(plain), t.cost)
	if err != nil {
		return secretRow{}, Secret{}, fmt.Errorf("hashing a new client secret: %w", err)
	}
	now := t.now().UTC().Truncate(time.Microsecond)
	return secretRow{ID: id, Created: now, Expires: now.Add(ttl), Hash: string(hash)}, newSecret(ofClient.compose(id, plain)), nil
}

// CheckClient returns a *SpecError if CreateClient would refuse the Spec.
func (s Spec) CheckClient(validPreset func(name string) error) error {
	_, err := s.checkClient(validPreset)
	return err
}

func (s Spec) checkClient(validPreset func(string) error) (Spec, error) {
	s, err := s.check(validPreset)
	if err == nil && s.Scope == ScopeAdmin {
		err = &SpecError{Field: "scope", Problem: "admin is for the person who runs the server, who has a token; use read or write"}
	}
	var wrong *SpecError
	if errors.As(err, &wrong) {
		return Spec{}, &SpecError{Of: clientKind, Field: wrong.Field, Problem: wrong.Problem}
	}
	return s, err
}

// CreateClient makes a client with one secret, whose plain text cannot be had again. TTL is the secret's: a client ends when
// it is revoked. A Spec that cannot be is a *SpecError.
func (t *Tokens) CreateClient(ctx context.Context, spec Spec, by storage.Origin) (Client, Secret, error) {
	spec, err := spec.checkClient(t.validPreset)
	if err != nil {
		return Client{}, Secret{}, err
	}
	if err := t.checkLimit(clientKind, spec); err != nil {
		return Client{}, Secret{}, err
	}
	s, plain, err := t.newClientSecret(spec.TTL)
	if err != nil {
		return Client{}, Secret{}, err
	}
	id := newID()
	r := clientRow{Name: spec.Name, Tenant: spec.Tenant, Scope: spec.Scope, Preset: spec.Preset, User: spec.User, limits: limits{spec.Types, spec.Attributes}, Secrets: []secretRow{s}}
	var c Client
	err = t.store.Update(ctx, systemTenant, by, func(tx *storage.Tx) error {
		taken, err := tx.Has(clientKind, id)
		if err != nil {
			return err
		}
		if taken {
			return fmt.Errorf("the random id %s is taken; nothing was changed, try again", id)
		}
		c, err = putClient(tx, id, r, storage.Stamp{}, "create")
		return err
	})
	if err != nil {
		return Client{}, Secret{}, fmt.Errorf("creating client %q: %w", spec.Name, err)
	}
	return c, plain, nil
}

// Clients returns all clients, also those revoked, in order of name, then of creation, then of id.
func (t *Tokens) Clients(ctx context.Context) ([]Client, error) {
	var list []Client
	err := t.store.View(ctx, systemTenant, func(tx *storage.Tx) error {
		for hit, err := range tx.Find(clientKind, nameField, storage.TermRange{}) {
			if err != nil {
				return err
			}
			c, err := t.readClient(tx, hit.ID)
			if err != nil {
				return err
			}
			list = append(list, c)
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("listing clients: %w", err)
	}
	slices.SortFunc(list, func(a, b Client) int {
		return cmp.Or(strings.Compare(a.Name, b.Name), a.Created.Compare(b.Created), strings.Compare(a.ID, b.ID))
	})
	return list, nil
}

// readClient returns a client with the last uses of it and of its secrets.
func (t *Tokens) readClient(tx *storage.Tx, id string) (Client, error) {
	rec, err := tx.Get(clientKind, id)
	if err != nil {
		return Client{}, err
	}
	c, _, err := decodeClient(rec)
	if err != nil {
		return Client{}, err
	}
	if c.LastUsed, c.LastAddress, err = t.lastUse(tx, id); err != nil {
		return Client{}, err
	}
	for i, s := range c.Secrets {
		if c.Secrets[i].LastUsed, c.Secrets[i].LastAddress, err = t.lastUse(tx, s.ID); err != nil {
			return Client{}, err
		}
	}
	return c, nil
}

// GetClient returns the client that which names: its id, or its name if it is the only one of that name that is not
// revoked. Otherwise the error is a *LookupError.
func (t *Tokens) GetClient(ctx context.Context, which string) (Client, error) {
	var c Client
	err := t.store.View(ctx, systemTenant, func(tx *storage.Tx) error {
		id, err := resolve(tx, clientKind, which, t.now())
		if err != nil {
			return err
		}
		c, err = t.readClient(tx, id)
		return err
	})
	return c, wrapUnlessLookup("reading a client", err)
}

// changeClient changes the client that which names. change returns the operation for the journal, "" if there is nothing to
// be changed. It does not wait for room on a disk that is almost full: this is how a secret that has leaked is ended.
func (t *Tokens) changeClient(ctx context.Context, which string, by storage.Origin, change func(id string, r *clientRow) (op string, err error)) (Client, error) {
	var c Client
	err := t.store.UpdateUrgently(ctx, systemTenant, by, func(tx *storage.Tx) error {
		id, err := resolve(tx, clientKind, which, t.now())
		if err != nil {
			return err
		}
		rec, err := tx.Get(clientKind, id)
		if err != nil {
			return err
		}
		_, r, err := decodeClient(rec)
		if err != nil {
			return err
		}
		op, err := change(id, &r)
		if err != nil {
			return err
		}
		if op != "" {
			if _, err := putClient(tx, id, r, rec.Stamp, op); err != nil {
				return err
			}
		}
		c, err = t.readClient(tx, id)
		return err
	})
	if err == nil {
		t.forget(c.ID)
	}
	return c, wrapUnlessLookup("changing a client", err)
}

// RevokeClient ends the client that which names for good, its secrets and its access tokens with it: once it has returned nil,
// none of them lets anybody in. Revoking a revoked client changes nothing and is no error.
func (t *Tokens) RevokeClient(ctx context.Context, which string, by storage.Origin) (Client, error) {
	return t.changeClient(ctx, which, by, func(_ string, r *clientRow) (string, error) {
		if !r.Revoked.IsZero() {
			return "", nil
		}
		r.Revoked = t.now().UTC().Truncate(time.Microsecond)
		return "revoke", nil
	})
}

// RevokeSecret ends one secret of a client at once, and the access tokens that were had with it. secret is its id, or the
// whole of it.
func (t *Tokens) RevokeSecret(ctx context.Context, which, secret string, by storage.Origin) (Client, error) {
	if id, _, ok := ofClient.parse(strings.TrimSpace(secret)); ok {
		secret = id
	}
	return t.changeClient(ctx, which, by, func(id string, r *clientRow) (string, error) {
		rest := slices.DeleteFunc(slices.Clone(r.Secrets), func(s secretRow) bool { return s.ID == secret })
		if len(rest) == len(r.Secrets) {
			return "", &SpecError{Of: clientKind, Field: "secret", Problem: fmt.Sprintf("client %s has no secret with the id %q (scimbox client list shows them)", id, clip(secret))}
		}
		r.Secrets = rest
		return "revoke-secret", nil
	})
}

// checkOverlap judges how long the predecessor of what was rotated is to stay: not at all, to MaxTTL.
func checkOverlap(kind string, overlap time.Duration) error {
	if overlap < 0 || overlap > MaxTTL {
		return &SpecError{Of: kind, Field: "overlap", Problem: fmt.Sprintf("%v is outside of 0 to 2 years (730 days)", overlap)}
	}
	return nil
}

// RotateClient gives the client that which names another secret, which works at once and ends after ttl (0 is DefaultTTL).
// Those that it has stay for as long as overlap, and never longer than they would have; without overlap they end now, and
// the access tokens that were had with them.
func (t *Tokens) RotateClient(ctx context.Context, which string, overlap, ttl time.Duration, by storage.Origin) (Client, Secret, error) {
	ttl = cmp.Or(ttl, DefaultTTL)
	if err := checkOverlap(clientKind, overlap); err != nil {
		return Client{}, Secret{}, err
	}
	if err := checkTTL(ttl); err != nil {
		return Client{}, Secret{}, &SpecError{Of: clientKind, Field: "ttl", Problem: err.Error()}
	}
	s, plain, err := t.newClientSecret(ttl)
	if err != nil {
		return Client{}, Secret{}, err
	}
	c, err := t.changeClient(ctx, which, by, func(id string, r *clientRow) (string, error) {
		if !r.Revoked.IsZero() {
			return "", &SpecError{Of: clientKind, Field: "rotation", Problem: fmt.Sprintf("%s is revoked and gets no other secret; make another client with scimbox client create", id)}
		}
		end := s.Created.Add(overlap)
		var kept []secretRow
		for _, old := range r.Secrets {
			if end.Before(old.Expires) {
				old.Expires = end
			}
			if s.Created.Before(old.Expires) {
				kept = append(kept, old)
			}
		}
		if len(kept) >= maxSecrets {
			return "", &SpecError{Of: clientKind, Field: "rotation", Problem: fmt.Sprintf("%s has %d secrets in force, and no more are possible; end one with scimbox client revoke %[1]s --secret ID", id, len(kept))}
		}
		r.Secrets = append(kept, s)
		return "rotate", nil
	})
	if err != nil {
		return Client{}, Secret{}, err
	}
	return c, plain, nil
}

// loadSecret returns the digest of one of a client's secrets, with the Token that stands for both.
func loadSecret(tx *storage.Tx, client, id string) (Token, []byte, error) {
	rec, err := tx.Get(clientKind, client)
	if err != nil {
		return Token{}, nil, err
	}
	c, r, err := decodeClient(rec)
	if err != nil {
		return Token{}, nil, err
	}
	for _, s := range r.Secrets {
		if s.ID == id {
			tok := c.token()
			tok.Created, tok.Expires = s.Created, s.Expires
			return tok, []byte(s.Hash), nil
		}
	}
	return Token{}, nil, storage.ErrNotFound
}

// token is what the requests of the client are let in with, but for its times.
func (c Client) token() Token {
	return Token{
		ID: c.ID, Name: c.Name, Tenant: c.Tenant, Scope: c.Scope, Preset: c.Preset, User: c.User, Types: c.Types, Attributes: c.Attributes,
		Created: c.Created, Revoked: c.Revoked, Version: c.Version,
	}
}
