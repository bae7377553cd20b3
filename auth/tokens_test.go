package auth

import (
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"scimbox/storage"
)

func TestCreate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := openHouse(t, Options{})
		start := time.Now().UTC()
		tok, plain := h.create(Spec{Name: "  entra  ", Scope: ScopeRead})
		want := Token{
			ID: tok.ID, Name: "entra", Tenant: "default", Scope: ScopeRead,
			Created: start, Expires: start.Add(DefaultTTL), Version: 1,
		}
		if tok != want {
			t.Errorf("Create:\n got %+v\nwant %+v", tok, want)
		}
		if id, _, ok := parse(plain); !ok || id != tok.ID {
			t.Errorf("the plain text is of token %q, made was %q", id, tok.ID)
		}
		if got, err := h.Get(t.Context(), tok.ID); err != nil || got != want {
			t.Errorf("Get: %+v, %v", got, err)
		}
		got, err := h.Verify(t.Context(), plain, here)
		if err != nil || got != want {
			t.Errorf("Verify: %+v, %v", got, err)
		}
	})
}

func TestCreateRefuses(t *testing.T) {
	h := openHouse(t, Options{ValidPreset: func(name string) error {
		if name != "okta" {
			return errors.New("no such preset; known is okta")
		}
		return nil
	}})
	good := Spec{Name: "entra", Scope: ScopeWrite}
	tests := []struct {
		name, field string
		change      func(*Spec)
	}{
		{"no name", "name", func(s *Spec) { s.Name = " \t" }},
		{"long name", "name", func(s *Spec) { s.Name = strings.Repeat("ä", 101) }},
		{"control character", "name", func(s *Spec) { s.Name = "a\x1b[2Jb" }},
		{"zero byte", "name", func(s *Spec) { s.Name = "a\x00b" }},
		{"invalid UTF-8", "name", func(s *Spec) { s.Name = "a\xffb" }},
		{"a token as the name", "name", func(s *Spec) { s.Name = guess() }},
		{"tenant with capitals", "tenant", func(s *Spec) { s.Tenant = "Acme" }},
		{"the system's tenant", "tenant", func(s *Spec) { s.Tenant = systemTenant }},
		{"long tenant", "tenant", func(s *Spec) { s.Tenant = strings.Repeat("a", 64) }},
		{"a token as the tenant", "tenant", func(s *Spec) { s.Tenant = guess() }},
		{"no scope", "scope", func(s *Spec) { s.Scope = "" }},
		{"unknown scope", "scope", func(s *Spec) { s.Scope = "root" }},
		{"short life", "ttl", func(s *Spec) { s.TTL = time.Minute - 1 }},
		{"negative life", "ttl", func(s *Spec) { s.TTL = -time.Hour }},
		{"long life", "ttl", func(s *Spec) { s.TTL = MaxTTL + 1 }},
		{"no user's id", "user", func(s *Spec) { s.User = "a\x00b" }},
		{"a token as the user", "user", func(s *Spec) { s.User = guess() }},
		{"unknown preset", "preset", func(s *Spec) { s.Preset = "acme" }},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			spec := good
			tt.change(&spec)
			_, secret, err := h.Create(t.Context(), spec, admin)
			var wrong *SpecError
			if !errors.As(err, &wrong) || wrong.Field != tt.field {
				t.Errorf("error %v, want a SpecError of %s", err, tt.field)
			}
			if secret.Reveal() != "" {
				t.Error("a secret was made all the same")
			}
			if err != nil && holdsToken(err.Error()) {
				t.Errorf("the error shows a token: %v", err)
			}
		})
	}
	if n := len(h.list()); n != 0 {
		t.Errorf("%d tokens were made", n)
	}
	for _, ttl := range []time.Duration{MinTTL, MaxTTL} {
		if _, _, err := h.Create(t.Context(), Spec{Name: "x", Scope: ScopeWrite, TTL: ttl, Tenant: "a-1", Preset: "okta"}, admin); err != nil {
			t.Errorf("life %v: %v", ttl, err)
		}
	}
}

func TestListIsSorted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := openHouse(t, Options{})
		if got := h.list(); len(got) != 0 {
			t.Fatalf("a new store has tokens: %+v", got)
		}
		var want []string
		for _, name := range []string{"b", "a", "b", "ab", "b"} {
			tok, _ := h.create(Spec{Name: name})
			want = append(want, tok.ID)
			time.Sleep(time.Second)
		}
		if err := h.Revoke(t.Context(), want[4], admin); err != nil {
			t.Fatal(err)
		}
		want = []string{want[1], want[3], want[0], want[2], want[4]}
		var got []string
		for _, tok := range h.list() {
			got = append(got, tok.ID)
		}
		if !slices.Equal(got, want) {
			t.Errorf("got %v, want %v", got, want)
		}
	})
}

func TestGetByIDNameOrToken(t *testing.T) {
	h := openHouse(t, Options{})
	one, plain := h.create(Spec{Name: "one"})
	old, _ := h.create(Spec{Name: "rotated"})
	fresh, _ := h.create(Spec{Name: "rotated"})
	named, _ := h.create(Spec{Name: one.ID}) // a name that is somebody's id

	lookup := func(which, want string) {
		t.Helper()
		if got, err := h.Get(t.Context(), which); err != nil || got.ID != want {
			t.Errorf("Get(%q) = %s, %v; want %s", clip(which), got.ID, err, want)
		}
	}
	lookup(one.ID, one.ID)
	lookup("one", one.ID)
	lookup(" one ", one.ID)
	lookup(plain, one.ID)
	lookup(named.ID, named.ID)

	var ambiguous *LookupError
	if _, err := h.Get(t.Context(), "rotated"); !errors.As(err, &ambiguous) || len(ambiguous.IDs) != 2 || errors.Is(err, storage.ErrNotFound) {
		t.Errorf("of two: %v", err)
	} else if !strings.Contains(err.Error(), old.ID) || !strings.Contains(err.Error(), fresh.ID) {
		t.Errorf("the error does not name the two: %v", err)
	}
	if err := h.Revoke(t.Context(), "rotated", admin); !errors.As(err, &ambiguous) {
		t.Errorf("revoking one of two: %v", err)
	}
	if err := h.Revoke(t.Context(), old.ID, admin); err != nil {
		t.Fatal(err)
	}
	lookup("rotated", fresh.ID) // the only one that is not revoked
	if err := h.Revoke(t.Context(), "rotated", admin); err != nil {
		t.Fatal(err)
	}
	if _, err := h.Get(t.Context(), "rotated"); !errors.As(err, &ambiguous) || len(ambiguous.IDs) != 2 {
		t.Errorf("of two revoked: %v", err)
	}

	for _, which := range []string{"", "none", newID(), guess(), "x " + guess()} {
		for _, err := range []error{
			func() error { _, err := h.Get(t.Context(), which); return err }(),
			h.Revoke(t.Context(), which, admin),
		} {
			var lookup *LookupError
			if !errors.As(err, &lookup) || !errors.Is(err, storage.ErrNotFound) {
				t.Errorf("%q: %v", clip(which), err)
			} else if holdsToken(err.Error()) {
				t.Errorf("the error shows a token: %v", err)
			}
		}
	}
}

func TestJournal(t *testing.T) {
	h := openHouse(t, Options{})
	tok, plain := h.create(Spec{Tenant: "acme", Preset: "okta"})
	by := storage.Origin{Actor: "abc", Client: "192.0.2.9", Request: "r2"}
	for range 2 { // the second changes nothing
		if err := h.Revoke(t.Context(), tok.ID, by); err != nil {
			t.Fatal(err)
		}
	}
	rows := h.journal()
	if len(rows) != 2 {
		t.Fatalf("%d journal rows, want 2: %+v", len(rows), rows)
	}
	for i, want := range []struct {
		op string
		by storage.Origin
	}{{"create", admin}, {"revoke", by}} {
		got := rows[i]
		if got.Op != want.op || got.Origin != want.by || got.Ref != tokenRef(tok.ID) {
			t.Errorf("row %d: %+v", i, got)
		}
		var d detail
		if err := json.Unmarshal(got.Detail, &d); err != nil || d != (detail{Name: "entra", Tenant: "acme", Scope: ScopeWrite, Preset: "okta", Expires: tok.Expires}) {
			t.Errorf("row %d: %s, %v", i, got.Detail, err)
		}
		_, secret, _ := parse(plain)
		rec, _ := h.record(tokenKind, tok.ID)
		var r row
		if err := json.Unmarshal(rec.Body, &r); err != nil || r.Hash == "" {
			t.Fatal(err, rec.Body)
		}
		if s := string(got.Detail); strings.Contains(s, secret) || strings.Contains(s, r.Hash) {
			t.Errorf("row %d holds the secret or its digest: %s", i, s)
		}
	}
	if got, _ := h.Get(t.Context(), tok.ID); got.Revoked.IsZero() || got.Version != 2 || got.Active(time.Now()) {
		t.Errorf("after Revoke: %+v", got)
	}
}

// A record that cannot be read must say so; it must not let anybody in, nor make other tokens unusable.
func TestUnreadableRecord(t *testing.T) {
	h := openHouse(t, Options{})
	tok, plain := h.create(Spec{Name: "broken"})
	_, other := h.create(Spec{Name: "whole"})
	h.breakRecord(tok.ID)
	_, err := h.Verify(t.Context(), plain, here)
	if err == nil || !strings.Contains(err.Error(), tok.ID) || !strings.Contains(err.Error(), "scimbox check") {
		t.Errorf("Verify: %v", err)
	}
	if _, err := h.List(t.Context()); err == nil || !strings.Contains(err.Error(), tok.ID) {
		t.Errorf("List: %v", err)
	}
	if _, err := h.Verify(t.Context(), other, here); err != nil {
		t.Errorf("the other token: %v", err)
	}
}
