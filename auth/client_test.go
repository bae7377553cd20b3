package auth

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"scimbox/storage"
)

// client makes a client, with the gaps in spec filled, and returns it with the plain text of its secret.
func (h *house) client(spec Spec) (Client, string) {
	h.t.Helper()
	if spec.Name == "" {
		spec.Name = "entra"
	}
	if spec.Scope == "" {
		spec.Scope = ScopeWrite
	}
	c, secret, err := h.CreateClient(context.Background(), spec, admin)
	if err != nil {
		h.t.Fatal(err)
	}
	return c, secret.Reveal()
}

// access asks for an access token and fails the test unless the outcome is want.
func (h *house) getAccess(client, secret string, want error) string {
	h.t.Helper()
	tok, c, err := h.authenticate(context.Background(), client, secret, here)
	var g grant
	if err == nil {
		g, err = h.issue(context.Background(), c, tok.Scope)
	}
	if !errors.Is(err, want) {
		h.t.Errorf("asking for an access token: %v, want %v", err, want)
	}
	return g.secret.Reveal()
}

func TestAccessToken(t *testing.T) {
	h := openHouse(t, Options{})
	c, secret := h.client(Spec{Tenant: "acme", Preset: "okta", User: "u1"})
	access := h.getAccess(c.ID, secret, nil)
	if !strings.HasPrefix(access, "scimbox_at_") || !holdsToken("x "+access) || !holdsToken(secret) || !strings.HasPrefix(secret, "scimbox_cs_") {
		t.Errorf("the forms are %s and %s", access, secret)
	}
	got := h.verify(access, nil)
	if got.ID != c.ID || got.Name != "entra" || got.Tenant != "acme" || got.Scope != ScopeWrite || got.Preset != "okta" || got.User != "u1" || got.Expires.Sub(got.Created) != AccessTTL {
		t.Errorf("the access token is %+v", got)
	}
	h.verify(secret, ErrClientSecret)
	h.verify(access[:len(access)-1]+"!", ErrMalformed)
	// The journal says who has made the client, and nothing of access tokens.
	if rows := h.journal(); len(rows) != 1 || rows[0].Op != "create" || rows[0].Ref != clientRef(c.ID) || strings.Contains(string(rows[0].Detail), "hash") {
		t.Errorf("the journal: %+v", rows)
	}
	list, err := h.Clients(t.Context())
	if err != nil || len(list) != 1 || list[0].LastUsed.IsZero() || len(list[0].Secrets) != 1 || list[0].Secrets[0].LastUsed.IsZero() {
		t.Errorf("after its use: %+v, %v", list, err)
	}
}

// Access tokens cost no bcrypt, wherever they come from; asking for one costs one comparison, known or not.
func TestAccessTokenHashesNothing(t *testing.T) {
	h := openHouse(t, Options{FailureBurst: 1000})
	c, secret := h.client(Spec{})
	var access string
	if n := h.hashes(func() { access = h.getAccess(c.ID, secret, nil) }); n != 1 {
		t.Errorf("the first: %d", n)
	}
	other := newHouse(t, h.store, Options{})
	defer other.Close()
	for name, fn := range map[string]func(){
		"another access token":     func() { h.getAccess(c.ID, secret, nil) },
		"use":                      func() { h.verify(access, nil); h.verify(access, nil) },
		"use after a start":        func() { other.Tokens.access.Purge(); other.verify(access, nil) },
		"a guess":                  func() { h.verify(ofAccess.compose(newID(), newPlain()), ErrUnknown) },
		"a guess at a known id":    func() { id, _, _ := ofAccess.parse(access); h.verify(ofAccess.compose(id, newPlain()), ErrUnknown) },
		"half a secret":            func() { h.getAccess(c.ID, secret[:40], ErrMalformed) },
		"use after it has changed": func() { h.client(Spec{Name: "more"}); h.verify(access, nil) },
	} {
		if n := h.hashes(fn) + other.hashed.Load(); n != 0 {
			t.Errorf("%s: %d comparisons", name, n)
		}
	}
	id, _, _ := ofClient.parse(secret)
	for name, fn := range map[string]func(){
		"an unknown client": func() { h.getAccess(newID(), secret, ErrUnknown) },
		"an unknown secret": func() { h.getAccess(c.ID, ofClient.compose(newID(), newPlain()), ErrUnknown) },
		"a wrong secret":    func() { h.getAccess(c.ID, ofClient.compose(id, newPlain()), ErrUnknown) },
	} {
		if n := h.hashes(fn); n != 1 {
			t.Errorf("%s: %d comparisons, want 1", name, n)
		}
	}
}

// Guesses at access tokens and at secrets of clients are counted like those at tokens.
func TestAccessTokenGuessesAreLimited(t *testing.T) {
	for name, guess := range map[string]func(h *house, client string) error{
		"access token": func(h *house, _ string) error {
			_, err := h.Verify(h.t.Context(), ofAccess.compose(newID(), newPlain()), here)
			return err
		},
		"secret": func(h *house, client string) error {
			_, _, err := h.authenticate(h.t.Context(), client, ofClient.compose(newID(), newPlain()), here)
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := openHouse(t, Options{FailureBurst: 3})
				c, _ := h.client(Spec{})
				for range 3 {
					if err := guess(h, c.ID); !errors.Is(err, ErrUnknown) {
						t.Errorf("a guess: %v", err)
					}
				}
				var limited *LimitError
				if err := guess(h, c.ID); !errors.As(err, &limited) {
					t.Errorf("the fourth: %v", err)
				}
			})
		})
	}
}

func TestAccessTokenEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := openHouse(t, Options{})
		c, secret := h.client(Spec{TTL: 3 * time.Hour})
		access := h.getAccess(c.ID, secret, nil)
		time.Sleep(time.Hour - time.Microsecond)
		h.verify(access, nil)
		time.Sleep(time.Microsecond)
		h.verify(access, ErrExpired)
		if lines := h.log.lines(t, "an expired client's access token was used"); len(lines) != 0 {
			t.Errorf("the log complains of what every client does: %v", lines)
		}
		h.getAccess(c.ID, secret, nil) // which does not make the old one unknown
		for range 30 {
			h.verify(access, ErrExpired)
		}
		// No access token outlives its secret.
		time.Sleep(time.Hour + 30*time.Minute)
		late := h.getAccess(c.ID, secret, nil)
		if tok := h.verify(late, nil); tok.Expires.Sub(tok.Created) != 30*time.Minute {
			t.Errorf("half an hour before the end of the secret: %v", tok.Expires.Sub(tok.Created))
		}
		time.Sleep(30 * time.Minute)
		h.verify(late, ErrExpired)
		h.getAccess(c.ID, secret, ErrExpired)
		if lines := h.log.lines(t, "an expired client secret was used"); len(lines) != 1 || lines[0]["token"] != c.ID {
			t.Errorf("the log: %v", lines)
		}
	})
}

// One client does not fill the store, and the newest of its access tokens are the ones that are kept.
func TestAccessTokensAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := openHouse(t, Options{})
		c, secret := h.client(Spec{})
		other, otherSecret := h.client(Spec{Name: "other"})
		kept := h.getAccess(other.ID, otherSecret, nil)
		count := func() int64 {
			stats, err := h.store.Stats(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			return stats.Counts[systemTenant][accessKind]
		}
		var all []string
		for range maxAccess + 20 {
			time.Sleep(time.Second)
			all = append(all, h.getAccess(c.ID, secret, nil))
			h.verify(all[len(all)-1], nil)
		}
		if n := count(); n != maxAccess+1 {
			t.Errorf("%d access tokens in the store", n)
		}
		h.verify(all[19], ErrUnknown) // though it was in memory
		h.verify(all[20], nil)
		h.verify(all[len(all)-1], nil)
		h.verify(kept, nil)
		// And those that have ended are gone a day later.
		time.Sleep(accessKept + 2*time.Hour)
		h.getAccess(c.ID, secret, nil)
		if n := count(); n != 2 {
			t.Errorf("a day later: %d", n)
		}
	})
}

func TestRevokeClient(t *testing.T) {
	h := openHouse(t, Options{})
	c, secret := h.client(Spec{})
	access := h.getAccess(c.ID, secret, nil)
	h.verify(access, nil)
	other := newHouse(t, h.store, Options{}) // another that knows it already
	defer other.Close()
	other.verify(access, nil)
	for range 2 { // the second changes nothing
		if got, err := h.RevokeClient(t.Context(), "entra", admin); err != nil || got.Revoked.IsZero() {
			t.Fatal(got, err)
		}
	}
	h.verify(access, ErrRevoked)
	other.verify(access, ErrRevoked)
	h.getAccess(c.ID, secret, ErrRevoked)
	if rows := h.journal(); len(rows) != 2 || rows[1].Op != "revoke" {
		t.Errorf("the journal: %+v", rows)
	}
	if _, _, err := h.RotateClient(t.Context(), c.ID, 0, 0, admin); err == nil || !strings.Contains(err.Error(), "is revoked") {
		t.Errorf("rotating it: %v", err)
	}
}

// A token that is issued while its client is being revoked lets nobody in.
func TestRevokeClientWhileIssuing(t *testing.T) {
	h := openHouse(t, Options{})
	c, secret := h.client(Spec{})
	tok, cred, err := h.authenticate(t.Context(), c.ID, secret, here)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := h.RevokeClient(t.Context(), c.ID, admin); err != nil {
		t.Fatal(err)
	}
	if _, err := h.issue(t.Context(), cred, tok.Scope); !errors.Is(err, ErrRevoked) {
		t.Errorf("issue: %v", err)
	}
}

func TestRotateClient(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := openHouse(t, Options{})
		c, first := h.client(Spec{TTL: 30 * day})
		old := h.getAccess(c.ID, first, nil)
		rotate := func(overlap time.Duration) (Client, string) {
			t.Helper()
			c, secret, err := h.RotateClient(t.Context(), c.ID, overlap, 0, admin)
			if err != nil {
				t.Fatal(err)
			}
			return c, secret.Reveal()
		}
		c, second := rotate(7 * day)
		if len(c.Secrets) != 2 || !c.Secrets[0].Expires.Equal(time.Now().Add(7*day)) || !c.Secrets[1].Expires.Equal(time.Now().Add(DefaultTTL)) {
			t.Errorf("secrets: %+v", c.Secrets)
		}
		h.getAccess(c.ID, first, nil)
		h.getAccess(c.ID, second, nil)
		h.verify(old, nil)
		time.Sleep(time.Hour)
		// Which of the two is in use can be seen.
		h.getAccess(c.ID, second, nil)
		if c, err := h.GetClient(t.Context(), c.ID); err != nil || !c.Secrets[1].LastUsed.After(c.Secrets[0].LastUsed.Add(59*time.Minute)) {
			t.Errorf("last uses: %+v, %v", c, err)
		}
		// An overlap never makes a secret live longer.
		if c, _ = rotate(365 * day); !c.Secrets[0].Expires.Equal(time.Now().Add(7*day - time.Hour)) {
			t.Errorf("secrets: %+v", c.Secrets)
		}
		time.Sleep(7 * day)
		h.getAccess(c.ID, first, ErrExpired)
		last := h.getAccess(c.ID, second, nil)
		// Without overlap everything before ends, access tokens included.
		c, third := rotate(0)
		if len(c.Secrets) != 1 {
			t.Errorf("secrets: %+v", c.Secrets)
		}
		h.verify(last, ErrRevoked)
		h.getAccess(c.ID, second, ErrUnknown)
		h.getAccess(c.ID, third, nil)
		// There is an end to how many there are.
		for range maxSecrets - 1 {
			rotate(day)
		}
		if _, _, err := h.RotateClient(t.Context(), c.ID, day, 0, admin); err == nil || !strings.Contains(err.Error(), "--secret") {
			t.Errorf("secret number %d: %v", maxSecrets+1, err)
		}
		c, err := h.RevokeSecret(t.Context(), c.ID, third, admin)
		if err != nil || len(c.Secrets) != maxSecrets-1 {
			t.Errorf("after RevokeSecret: %+v, %v", c, err)
		}
		h.getAccess(c.ID, third, ErrUnknown)
		if _, err := h.RevokeSecret(t.Context(), c.ID, third, admin); err == nil || holdsToken(err.Error()) {
			t.Errorf("revoking it again: %v", err)
		}
	})
}

func TestClientRefuses(t *testing.T) {
	h := openHouse(t, Options{ValidPreset: func(string) error { return errors.New("there is no such preset") }})
	for field, spec := range map[string]Spec{
		"name": {Scope: ScopeRead}, "scope": {Name: "x", Scope: ScopeAdmin}, "tenant": {Name: "x", Scope: ScopeRead, Tenant: "A"},
		"ttl": {Name: "x", Scope: ScopeRead, TTL: time.Second}, "preset": {Name: "x", Scope: ScopeRead, Preset: "x"},
	} {
		_, _, err := h.CreateClient(t.Context(), spec, admin)
		var wrong *SpecError
		if !errors.As(err, &wrong) || wrong.Field != field || !strings.HasPrefix(err.Error(), "client "+field+": ") {
			t.Errorf("%s: %v", field, err)
		}
	}
	c, _ := h.client(Spec{})
	for _, d := range []time.Duration{-1, MaxTTL + 1} {
		var wrong *SpecError
		if _, _, err := h.RotateClient(t.Context(), c.ID, d, 0, admin); !errors.As(err, &wrong) || wrong.Field != "overlap" {
			t.Errorf("overlap %v: %v", d, err)
		}
	}
	if _, _, err := h.RotateClient(t.Context(), c.ID, 0, time.Second, admin); err == nil {
		t.Error("a secret of a second")
	}
	tok, _ := h.create(Spec{Name: "tok"})
	for _, which := range []string{"", "nobody", tok.ID, "tok"} {
		_, err := h.GetClient(t.Context(), which)
		if !errors.Is(err, storage.ErrNotFound) || !strings.Contains(err.Error(), "scimbox client list") {
			t.Errorf("GetClient(%q): %v", which, err)
		}
	}
}

func TestUnreadableClient(t *testing.T) {
	h := openHouse(t, Options{})
	c, secret := h.client(Spec{})
	access := h.getAccess(c.ID, secret, nil)
	id, _, _ := ofAccess.parse(access)
	breakIt := func(kind, id string) {
		err := h.store.Update(t.Context(), systemTenant, admin, func(tx *storage.Tx) error {
			rec, err := tx.Get(kind, id)
			if err != nil {
				return err
			}
			rec.Stamp, rec.Body = tx.Stamp(rec.Stamp), []byte("{")
			return errors.Join(tx.Put(rec), tx.Log(storage.Entry{Op: "replace", Ref: rec.Ref}))
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	breakIt(accessKind, id)
	for _, kind := range []string{accessKind, clientKind} {
		if kind == clientKind {
			access = h.getAccess(c.ID, secret, nil)
			breakIt(clientKind, c.ID)
		}
		_, err := h.Verify(t.Context(), access, here)
		if err == nil || !strings.Contains(err.Error(), "scimbox check") || errors.Is(err, ErrUnknown) {
			t.Errorf("%s: %v", kind, err)
		}
	}
}

// A client is deleted behind the back of Tokens, such as by a restored backup.
func TestAccessTokenOfNobody(t *testing.T) {
	h := openHouse(t, Options{})
	c, secret := h.client(Spec{})
	access := h.getAccess(c.ID, secret, nil)
	h.verify(access, nil)
	err := h.store.Update(t.Context(), systemTenant, admin, func(tx *storage.Tx) error {
		return errors.Join(tx.Delete(clientKind, c.ID), tx.Log(storage.Entry{Op: "delete", Ref: clientRef(c.ID)}))
	})
	if err != nil {
		t.Fatal(err)
	}
	h.verify(access, ErrRevoked)
	h.getAccess(c.ID, secret, ErrUnknown)
}

// No plain text is in the store, nor where a client is printed.
func TestClientSecretsAreNowhere(t *testing.T) {
	h := openHouse(t, Options{})
	c, secret := h.client(Spec{})
	access := h.getAccess(c.ID, secret, nil)
	_, plainSecret, _ := ofClient.parse(secret)
	id, plainAccess, _ := ofAccess.parse(access)
	var all strings.Builder
	for kind, id := range map[string]string{clientKind: c.ID, accessKind: id} {
		rec, ok := h.record(kind, id)
		if !ok {
			t.Fatalf("there is no %s %s", kind, id)
		}
		all.Write(rec.Body)
	}
	text, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	fmt.Fprintf(&all, "%+v %s %v %s", c, text, h.journal(), h.log)
	for _, plain := range []string{plainSecret, plainAccess} {
		if strings.Contains(all.String(), plain) {
			t.Errorf("a plain text is in %s", &all)
		}
	}
}
