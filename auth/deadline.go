package auth

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"scimbox/storage"
)

// lookEvery is how often the log is told of what ends soon.
const lookEvery = 10 * time.Minute

// Deadline is the end of a token, or of a secret of a client, that is in force.
type Deadline struct {
	ID      string    `json:"id"`               // of the token or the secret
	Client  string    `json:"client,omitempty"` // id of the client that the secret is of, "" for a token
	Name    string    `json:"name"`             // of the token or the client
	Tenant  string    `json:"tenant"`
	Created time.Time `json:"created"`
	Expires time.Time `json:"expires"`

	LastUsed    time.Time `json:"lastUsed,omitzero"`
	LastAddress string    `json:"lastAddress,omitempty"`

	// Successor is the id of a token or secret in force that takes its place, since Rotated; "" if there is none.
	Successor string    `json:"successor,omitempty"`
	Rotated   time.Time `json:"rotated,omitzero"`
}

// StillUsed reports whether somebody has come with it although it has a successor: a client that the new one was not given
// to.
func (d Deadline) StillUsed() bool { return d.Successor != "" && d.LastUsed.After(d.Rotated) }

// Deadlines returns the ends of all tokens and client secrets that are in force now, the next one first.
func (t *Tokens) Deadlines(ctx context.Context) ([]Deadline, error) {
	tokens, err := t.List(ctx)
	if err != nil {
		return nil, err
	}
	clients, err := t.Clients(ctx)
	if err != nil {
		return nil, err
	}
	now := t.now()
	active := map[string]bool{}
	for _, tok := range tokens {
		active[tok.ID] = tok.Active(now)
	}
	var list []Deadline
	for _, tok := range tokens {
		if !active[tok.ID] {
			continue
		}
		d := Deadline{
			ID: tok.ID, Name: tok.Name, Tenant: tok.Tenant, Created: tok.Created, Expires: tok.Expires,
			LastUsed: tok.LastUsed, LastAddress: tok.LastAddress,
		}
		if active[tok.Successor] {
			d.Successor, d.Rotated = tok.Successor, tok.Rotated
		}
		list = append(list, d)
	}
	for _, c := range clients {
		if !c.Revoked.IsZero() {
			continue
		}
		for i, s := range c.Secrets {
			if !now.Before(s.Expires) {
				continue
			}
			d := Deadline{
				ID: s.ID, Client: c.ID, Name: c.Name, Tenant: c.Tenant, Created: s.Created, Expires: s.Expires,
				LastUsed: s.LastUsed, LastAddress: s.LastAddress,
			}
			if newest := c.Secrets[len(c.Secrets)-1]; i < len(c.Secrets)-1 && now.Before(newest.Expires) {
				d.Successor, d.Rotated = newest.ID, c.Secrets[i+1].Created
			}
			list = append(list, d)
		}
	}
	slices.SortStableFunc(list, func(a, b Deadline) int { return a.Expires.Compare(b.Expires) })
	return list, nil
}

// Expiring returns those of Deadlines that are no further than within from now.
func (t *Tokens) Expiring(ctx context.Context, within time.Duration) ([]Deadline, error) {
	list, err := t.Deadlines(ctx)
	now := t.now()
	return slices.DeleteFunc(list, func(d Deadline) bool { return d.Expires.Sub(now) > within }), err
}

// due returns the time before the end at which d is to be warned of now, 0 for none yet. One that has a successor needs no
// warning unless it is still used, and then in the last part of the overlap.
func (d Deadline) due(now time.Time, before []time.Duration) time.Duration {
	left, life, last := d.Expires.Sub(now), d.Expires.Sub(d.Created), time.Duration(0)
	if d.Successor != "" {
		if !d.StillUsed() || len(before) == 0 {
			return 0
		}
		life = d.Expires.Sub(d.Rotated)
		last = min(before[0], life/2)
		before = []time.Duration{last}
	}
	for _, b := range before { // the shortest first
		if left <= b && (b < life || last != 0) {
			return b
		}
	}
	return 0
}

// warnExpiring tells the log of each deadline that has come near, once for each of the times before it. What was told is
// in the store, so that a restart does not tell it again.
func (t *Tokens) warnExpiring(ctx context.Context) {
	if len(t.warnBefore) == 0 {
		return
	}
	if err := t.warnAll(ctx); err != nil && ctx.Err() == nil {
		t.log.Warn("tokens could not be examined for their expiry", "error", err)
	}
}

func (t *Tokens) warnAll(ctx context.Context) error {
	list, err := t.Deadlines(ctx)
	if err != nil {
		return err
	}
	now := t.now()
	told := map[string][]byte{}
	var warn []Deadline
	err = t.store.View(ctx, systemTenant, func(tx *storage.Tx) error {
		for _, d := range list {
			due := d.due(now, t.warnBefore)
			if due == 0 {
				continue
			}
			switch rec, err := tx.Get(warnedKind, d.ID); {
			case err == nil && !sooner(rec.Body, d.Expires, due):
				continue
			case err != nil && !errors.Is(err, storage.ErrNotFound):
				return err
			}
			told[d.ID] = fmt.Appendf(nil, "%d %d", d.Expires.UnixMicro(), due)
			warn = append(warn, d)
		}
		return nil
	})
	if err != nil || len(warn) == 0 {
		return err
	}
	err = t.store.Update(ctx, systemTenant, storage.Origin{Actor: "local"}, func(tx *storage.Tx) error {
		for id, body := range told {
			if err := putQuietly(tx, warnedKind, id, body); err != nil {
				return err
			}
		}
		return nil
	})
	for _, d := range warn { // rather twice than never, if it could not be written down
		t.warn(d, now)
	}
	return err
}

// sooner reports whether a warning is due that was not given: told is the one before, of the same end or of another.
func sooner(told []byte, end time.Time, due time.Duration) bool {
	of, before, _ := strings.Cut(string(told), " ")
	at, err := strconv.ParseInt(before, 10, 64)
	return err != nil || of != strconv.FormatInt(end.UnixMicro(), 10) || due < time.Duration(at)
}

func (t *Tokens) warn(d Deadline, now time.Time) {
	used := "never"
	if !d.LastUsed.IsZero() {
		used = d.LastUsed.Format(time.RFC3339)
	}
	what, command := "token", "token"
	if d.Client != "" {
		what, command = "client secret", "client"
	}
	text := "a " + what + " expires soon; make its successor with scimbox " + command + " rotate and give it to the client"
	if d.Successor != "" {
		text = "a " + what + " that was rotated is still in use and expires soon; the client has not been given its successor, or not everywhere"
	}
	t.log.Warn(text, "token", cmp.Or(d.Client, d.ID), "id", d.ID, "name", d.Name, "tenant", d.Tenant, "expires", d.Expires,
		"in", d.Expires.Sub(now).Round(time.Minute).String(), "last_used", used, "last_client", d.LastAddress, "successor", d.Successor)
}
