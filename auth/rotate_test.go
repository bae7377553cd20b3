package auth

import (
	"encoding/json"
	"errors"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"scimbox/storage"
)

// rotate makes a successor and fails the test if that cannot be.
func (h *house) rotate(which string, overlap, ttl time.Duration) (old, fresh Token, plain string) {
	h.t.Helper()
	old, fresh, secret, err := h.Rotate(h.t.Context(), which, overlap, ttl, admin)
	if err != nil {
		h.t.Fatal(err)
	}
	return old, fresh, secret.Reveal()
}

// A successor works at once, beside the old one until the overlap ends, and is like it in everything.
func TestRotate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := openHouse(t, Options{})
		tok, first := h.create(Spec{Name: "entra", Tenant: "acme", Scope: ScopeRead, Preset: "okta", User: "u1", TTL: 90 * day})
		h.verify(first, nil)
		time.Sleep(time.Hour)
		old, fresh, second := h.rotate("entra", 7*day, 30*day)
		now := time.Now().UTC()
		if fresh.ID == tok.ID || fresh.Name != "entra" || fresh.Tenant != "acme" || fresh.Scope != ScopeRead || fresh.Preset != "okta" || fresh.User != "u1" || !fresh.Expires.Equal(now.Add(30*day)) || fresh.Successor != "" {
			t.Errorf("the successor is %+v", fresh)
		}
		if old.ID != tok.ID || old.Successor != fresh.ID || !old.Rotated.Equal(now) || !old.Expires.Equal(now.Add(7*day)) || !old.Revoked.IsZero() {
			t.Errorf("the old one is %+v", old)
		}
		h.verify(first, nil)
		h.verify(second, nil)
		time.Sleep(7*day - time.Microsecond)
		h.verify(first, nil)
		time.Sleep(time.Microsecond)
		h.verify(first, ErrExpired)
		h.verify(second, nil)
		rows := h.journal()
		if len(rows) != 3 || rows[1].Op != "create" || rows[1].Ref != tokenRef(fresh.ID) || rows[2].Op != "rotate" || rows[2].Ref != tokenRef(tok.ID) {
			t.Fatalf("the journal: %+v", rows)
		}
		var d detail
		if err := json.Unmarshal(rows[2].Detail, &d); err != nil || d.Successor != fresh.ID || !d.Expires.Equal(old.Expires) {
			t.Errorf("%s, %v", rows[2].Detail, err)
		}
		// By now the name is that of the successor, for all purposes.
		if got, err := h.Get(t.Context(), "entra"); err != nil || got.ID != fresh.ID {
			t.Errorf("entra is %+v, %v", got, err)
		}
	})
}

// An overlap makes no token live longer; without one the old one ends in the same moment.
func TestRotateEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := openHouse(t, Options{})
		tok, first := h.create(Spec{TTL: day})
		old, _, second := h.rotate(tok.ID, 7*day, 0)
		if !old.Expires.Equal(tok.Expires) {
			t.Errorf("the old one ended %v, and now %v", tok.Expires, old.Expires)
		}
		h.verify(first, nil)
		h.verify(second, nil)
		other := newHouse(t, h.store, Options{})
		other.verify(second, nil)
		old, _, third := h.rotate("entra", 0, 0)
		if old.Revoked.IsZero() {
			t.Errorf("without overlap: %+v", old)
		}
		h.verify(second, ErrRevoked)
		other.verify(second, ErrRevoked)
		h.verify(third, nil)
		h.verify(first, nil) // which was to work for its overlap
		if err := other.Close(); err != nil {
			t.Fatal(err)
		}
	})
}

// What a name means while two tokens have it, and what can be rotated again.
func TestRotateAgain(t *testing.T) {
	h := openHouse(t, Options{})
	tok, _ := h.create(Spec{})
	_, second, _ := h.rotate("entra", 7*day, 0)
	var lookup *LookupError
	if err := h.Revoke(t.Context(), "entra", admin); !errors.As(err, &lookup) || len(lookup.IDs) != 2 {
		t.Errorf("revoking one of two by the name: %v", err)
	}
	_, third, _ := h.rotate("entra", 7*day, 0) // the one without a successor
	if got, err := h.Get(t.Context(), second.ID); err != nil || got.Successor != third.ID {
		t.Errorf("the second: %+v, %v", got, err)
	}
	var wrong *SpecError
	if _, _, _, err := h.Rotate(t.Context(), tok.ID, 0, 0, admin); !errors.As(err, &wrong) || !strings.Contains(err.Error(), second.ID) {
		t.Errorf("the first again: %v", err)
	}
	for _, id := range []string{second.ID, third.ID} { // the successor is lost, so it is withdrawn, and made anew
		if err := h.Revoke(t.Context(), id, admin); err != nil {
			t.Fatal(err)
		}
	}
	if _, _, _, err := h.Rotate(t.Context(), second.ID, 0, 0, admin); !errors.As(err, &wrong) || !strings.Contains(err.Error(), "revoked") {
		t.Errorf("one that is revoked: %v", err)
	}
	if old, fresh, _ := h.rotate(tok.ID, day, 0); old.Successor != fresh.ID {
		t.Errorf("the first, whose successor was revoked: %+v", old)
	}
	if err := h.Revoke(t.Context(), tok.ID, admin); err != nil { // before the overlap ends
		t.Fatal(err)
	}
	if _, err := h.Get(t.Context(), "entra"); err != nil {
		t.Errorf("the name of the one that is left: %v", err)
	}
	for _, overlap := range []time.Duration{-time.Second, MaxTTL + 1} {
		if _, _, _, err := h.Rotate(t.Context(), "entra", overlap, 0, admin); !errors.As(err, &wrong) || wrong.Field != "overlap" {
			t.Errorf("overlap %v: %v", overlap, err)
		}
	}
	if _, _, _, err := h.Rotate(t.Context(), "nobody", 0, 0, admin); !errors.As(err, &lookup) {
		t.Errorf("nobody: %v", err)
	}
}

// When and from where each token was used is known at once, and after a restart.
func TestLastAddress(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := openHouse(t, Options{})
		tok, plain := h.create(Spec{})
		c, secret := h.client(Spec{})
		from := netip.MustParseAddr("2001:db8::1:2")
		check := func(when string, h *house, want netip.Addr) {
			t.Helper()
			got, err := h.Get(t.Context(), tok.ID)
			if err != nil || got.LastAddress != want.String() || got.LastUsed.IsZero() {
				t.Errorf("%s: %+v, %v", when, got, err)
			}
		}
		h.verify(plain, nil) // from here
		check("at first", h, here)
		if _, err := h.Verify(t.Context(), plain, from); err != nil {
			t.Fatal(err)
		}
		check("from elsewhere", h, from) // and not its /64
		if _, err := h.Verify(t.Context(), plain, netip.MustParseAddr("::ffff:192.0.2.1")); err != nil {
			t.Fatal(err)
		}
		check("an IPv4 address in IPv6", h, here)
		access := h.getAccess(c.ID, secret, nil)
		if _, err := h.Verify(t.Context(), access, there); err != nil {
			t.Fatal(err)
		}
		time.Sleep(useEvery)
		synctest.Wait()
		again := newHouse(t, h.store, Options{})
		check("after a restart", again, here)
		if got, err := again.GetClient(t.Context(), c.ID); err != nil || got.LastAddress != there.String() || got.Secrets[0].LastAddress != here.String() {
			t.Errorf("the client: %+v, %v", got, err)
		}
		if err := again.Close(); err != nil {
			t.Fatal(err)
		}
	})
}

// before what is written of a use had an address, it was its time alone.
func TestUseWithoutAddress(t *testing.T) {
	h := openHouse(t, Options{})
	tok, _ := h.create(Spec{})
	at := time.Date(2026, 11, 1, 2, 3, 4, 5000, time.UTC)
	err := h.store.Update(t.Context(), systemTenant, admin, func(tx *storage.Tx) error { return putUse(tx, tok.ID, at, "") })
	if err != nil {
		t.Fatal(err)
	}
	if got, err := h.Get(t.Context(), tok.ID); err != nil || !got.LastUsed.Equal(at) || got.LastAddress != "" {
		t.Errorf("%+v, %v", got, err)
	}
}

func TestDeadlines(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := openHouse(t, Options{})
		late, _ := h.create(Spec{Name: "late", TTL: 100 * day})
		gone, _ := h.create(Spec{Name: "gone"})
		h.create(Spec{Name: "short", TTL: time.Minute})
		rotated, plain := h.create(Spec{Name: "rotated", TTL: 90 * day})
		h.verify(plain, nil)
		time.Sleep(time.Minute)
		_, fresh, _ := h.rotate("rotated", 7*day, 80*day)
		c, secret := h.client(Spec{Name: "client", TTL: 60 * day})
		if err := h.Revoke(t.Context(), gone.ID, admin); err != nil {
			t.Fatal(err)
		}
		list := func(want ...string) []Deadline {
			t.Helper()
			l, err := h.Deadlines(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			var ids []string
			for _, d := range l {
				ids = append(ids, d.ID)
			}
			if strings.Join(ids, " ") != strings.Join(want, " ") {
				t.Errorf("got %v, want %v", ids, want)
			}
			return l
		}
		l := list(rotated.ID, c.Secrets[0].ID, fresh.ID, late.ID)
		if l[0].Successor != fresh.ID || l[0].StillUsed() || l[1].Client != c.ID || l[1].Name != "client" || l[2].Successor != "" {
			t.Errorf("%+v", l)
		}
		time.Sleep(time.Second)
		h.verify(plain, nil)
		if d := list(rotated.ID, c.Secrets[0].ID, fresh.ID, late.ID)[0]; !d.StillUsed() || d.LastAddress != here.String() {
			t.Errorf("after its use: %+v", d)
		}
		if l, err := h.Expiring(t.Context(), 30*day); err != nil || len(l) != 1 || l[0].ID != rotated.ID {
			t.Errorf("in the next 30 days: %+v, %v", l, err)
		}
		// A successor that is revoked is none.
		if err := h.Revoke(t.Context(), fresh.ID, admin); err != nil {
			t.Fatal(err)
		}
		if d := list(rotated.ID, c.Secrets[0].ID, late.ID)[0]; d.Successor != "" || d.StillUsed() {
			t.Errorf("without its successor: %+v", d)
		}
		// Secrets of a client in the same way.
		c, _, err := h.RotateClient(t.Context(), c.ID, 3*day, 70*day, admin)
		if err != nil {
			t.Fatal(err)
		}
		if d := list(c.Secrets[0].ID, rotated.ID, c.Secrets[1].ID, late.ID)[0]; d.Successor != c.Secrets[1].ID || d.StillUsed() {
			t.Errorf("a secret: %+v", d)
		}
		time.Sleep(time.Second)
		h.getAccess(c.ID, secret, nil)
		if d := list(c.Secrets[0].ID, rotated.ID, c.Secrets[1].ID, late.ID)[0]; !d.StillUsed() {
			t.Errorf("a secret that is still used: %+v", d)
		}
		if _, err := h.RevokeClient(t.Context(), c.ID, admin); err != nil {
			t.Fatal(err)
		}
		list(rotated.ID, late.ID)
	})
}

// The log is told of each token at 30, 7 and 1 days before its end, once each, whatever restarts there are.
func TestWarnings(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		before := []time.Duration{7 * day, 30 * day, day}
		h := openHouse(t, Options{WarnBefore: before})
		const soon, secrets = "a token expires soon; make its successor with scimbox token rotate and give it to the client",
			"a client secret expires soon; make its successor with scimbox client rotate and give it to the client"
		long, _ := h.create(Spec{Name: "long", TTL: 100 * day})
		brief, _ := h.create(Spec{Name: "brief", TTL: 2 * day})
		h.create(Spec{Name: "test", TTL: time.Hour}) // of which nobody wants to hear
		c, _ := h.client(Spec{Name: "client", TTL: 50 * day})
		start := time.Now()
		told := map[string][]int{}
		for {
			synctest.Wait()
			for _, msg := range []string{soon, secrets} {
				log := h.log.String()
				for line := range strings.Lines(log) {
					var m map[string]any
					if err := json.Unmarshal([]byte(line), &m); err != nil {
						t.Fatal(err)
					}
					if m["msg"] == msg {
						if m["level"] != "WARN" || m["in"] == "" || m["last_used"] != "never" {
							t.Errorf("a person cannot read %s", line)
						}
						id := m["token"].(string)
						told[id] = append(told[id], int(time.Since(start)/day))
					}
				}
			}
			h.log.lines(t, "")
			if time.Since(start) > 101*day {
				break
			}
			time.Sleep(day / 2)
			if time.Since(start)%(5*day) == day/2 { // a restart
				again := newHouse(t, h.store, Options{WarnBefore: before})
				synctest.Wait()
				if s := again.log.String(); strings.Contains(s, "expires soon") {
					t.Errorf("a restart repeats: %s", s)
				}
				if err := again.Close(); err != nil {
					t.Fatal(err)
				}
			}
		}
		want := map[string][]int{long.ID: {70, 93, 99}, brief.ID: {1}, c.ID: {20, 43, 49}}
		if len(told) != len(want) {
			t.Errorf("told of %v", told)
		}
		for id, days := range want {
			if !slices.Equal(told[id], days) {
				t.Errorf("%s on the days %v, want %v", id, told[id], days)
			}
		}
	})
}

// One that was rotated is warned of if it is still used, and then shortly before its end.
func TestWarningsAfterRotation(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := openHouse(t, Options{WarnBefore: []time.Duration{30 * day, 7 * day, day}})
		const still = "a token that was rotated is still in use and expires soon; the client has not been given its successor, or not everywhere"
		used, plain := h.create(Spec{Name: "used", TTL: 200 * day})
		h.create(Spec{Name: "unused", TTL: 200 * day})
		brief, briefPlain := h.create(Spec{Name: "brief", TTL: 200 * day})
		h.rotate("used", 7*day, 300*day)
		h.rotate("unused", 7*day, 300*day)
		h.rotate("brief", 2*time.Hour, 300*day)
		time.Sleep(time.Minute)
		h.verify(plain, nil)
		h.verify(briefPlain, nil)
		time.Sleep(time.Hour + lookEvery)
		synctest.Wait()
		if lines := h.log.lines(t, still); len(lines) != 1 || lines[0]["token"] != brief.ID {
			t.Errorf("in the second half of an overlap of 2 hours: %v", lines)
		}
		time.Sleep(6*day - 2*time.Hour)
		synctest.Wait()
		if lines := h.log.lines(t, still); len(lines) != 0 {
			t.Errorf("early: %v", lines)
		}
		time.Sleep(2 * time.Hour)
		synctest.Wait()
		if lines := h.log.lines(t, still); len(lines) != 1 || lines[0]["token"] != used.ID || lines[0]["last_client"] != here.String() || lines[0]["successor"] == "" {
			t.Errorf("a day before the end: %v", lines)
		}
		time.Sleep(2 * day)
		synctest.Wait()
		if lines := h.log.lines(t, still); len(lines) != 0 {
			t.Errorf("afterwards: %v", lines)
		}
	})
}
