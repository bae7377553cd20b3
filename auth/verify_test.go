package auth

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/crypto/bcrypt"

	"scimbox/storage"
)

// verify fails the test unless the outcome is want.
func (h *house) verify(plain string, want error) Token {
	h.t.Helper()
	tok, err := h.Verify(context.Background(), plain, here)
	if !errors.Is(err, want) {
		h.t.Errorf("Verify: %v, want %v", err, want)
	}
	if err != nil && tok != (Token{}) {
		h.t.Errorf("Verify gave a token away together with %v", err)
	}
	if err != nil && holdsToken(err.Error()) {
		h.t.Errorf("the error shows the token: %v", err)
	}
	return tok
}

func TestVerifyHashesOnce(t *testing.T) {
	h := openHouse(t, Options{})
	tok, plain := h.create(Spec{})
	if n := h.hashes(func() {
		for range 100 {
			if got := h.verify(plain, nil); got != tok {
				t.Fatalf("got %+v", got)
			}
		}
	}); n != 1 {
		t.Errorf("100 requests computed bcrypt %d times", n)
	}
	// Changes to the store make the token be read again, not hashed again.
	if n := h.hashes(func() {
		for range 5 {
			h.create(Spec{Name: "another"})
			h.verify(plain, nil)
		}
	}); n != 0 {
		t.Errorf("after changes to the store: %d more", n)
	}
}

func TestVerifySingleFlight(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := openHouse(t, Options{})
		_, plain := h.create(Spec{})
		unblock := h.block()
		var wg sync.WaitGroup
		for range 50 {
			wg.Go(func() { h.verify(plain, nil) })
		}
		synctest.Wait()
		if n := h.hashed.Load(); n != 1 {
			t.Errorf("50 requests at once compute bcrypt %d times", n)
		}
		unblock()
		wg.Wait()
		h.verify(plain, nil)
		if n := h.hashed.Load(); n != 1 {
			t.Errorf("in all %d times", n)
		}
	})
}

// An attempt costs one comparison of the same cost, whatever is wrong with it: time tells nobody whether an id exists.
func TestFailuresCostTheSame(t *testing.T) {
	h := openHouse(t, Options{Cost: bcrypt.MinCost + 1, FailureBurst: 1000})
	tok, good := h.create(Spec{})
	gone, revoked := h.create(Spec{})
	if err := h.Revoke(t.Context(), gone.ID, admin); err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name      string
		presented string
		want      error
	}{
		{"unknown id", guess(), ErrUnknown},
		{"wrong secret", compose(tok.ID, newPlain()), ErrUnknown},
		{"revoked", revoked, ErrRevoked},
		{"revoked and wrong", compose(gone.ID, newPlain()), ErrUnknown},
		{"right", good, nil},
	}
	for _, tt := range tests {
		n := h.hashes(func() { h.verify(tt.presented, tt.want) })
		if n != 1 {
			t.Errorf("%s: %d comparisons, want 1", tt.name, n)
		}
	}
	h.costs.Range(func(cost, _ any) bool {
		if cost != bcrypt.MinCost+1 {
			t.Errorf("a comparison of cost %v", cost)
		}
		return true
	})
	for _, tt := range tests[:4] {
		if n := h.hashes(func() { h.verify(tt.presented, tt.want); h.verify(tt.presented, tt.want) }); n != 2 {
			t.Errorf("%s: repeated twice, %d comparisons: the failure was remembered", tt.name, n)
		}
	}
	if n := h.hashes(func() {
		for _, s := range []string{"", "x", good[:len(good)-1], good + "A", prefix} {
			h.verify(s, ErrMalformed)
		}
	}); n != 0 {
		t.Errorf("malformed tokens: %d comparisons", n)
	}
}

// The comparison with the dummy must not let anybody in even if it succeeds.
func TestUnknownIDIsRefusedWhateverTheHashSays(t *testing.T) {
	h := openHouse(t, Options{})
	h.compare = func([]byte, []byte) error { return nil }
	h.verify(guess(), ErrUnknown)
	if h.cache.Len() != 0 {
		t.Error("and is in the cache")
	}
}

func TestExpiry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := openHouse(t, Options{})
		_, warm := h.create(Spec{TTL: time.Hour})
		_, cold := h.create(Spec{TTL: time.Hour})
		h.verify(warm, nil)
		time.Sleep(time.Hour - time.Microsecond)
		h.verify(warm, nil)
		time.Sleep(time.Microsecond)
		if n := h.hashes(func() { h.verify(warm, ErrExpired) }); n != 0 {
			t.Errorf("the expired token in the cache: %d computations", n)
		}
		// A client that goes on with an expired token for weeks must not keep the processor busy.
		if n := h.hashes(func() {
			for range 50 {
				h.verify(cold, ErrExpired)
			}
		}); n != 1 {
			t.Errorf("the expired token that was not: %d computations", n)
		}
		h.verify(cold[:len(cold)-1]+"!", ErrMalformed)
		if lines := h.log.lines(t, "an expired token was used"); len(lines) != 2 {
			t.Errorf("%d complaints about 2 expired tokens: %v", len(lines), lines)
		}
		time.Sleep(time.Hour)
		h.verify(cold, ErrExpired)
		if lines := h.log.lines(t, "an expired token was used"); len(lines) != 1 {
			t.Errorf("an hour later: %v", lines)
		}
	})
}

func TestRevoke(t *testing.T) {
	paths := map[string]func(t *testing.T, h *house, id string) error{
		"by Revoke": func(t *testing.T, h *house, id string) error {
			err := h.Revoke(t.Context(), id, admin)
			if h.cache.Len() != 0 {
				t.Error("the token is still in memory")
			}
			return err
		},
		"by another Tokens of the same store": func(t *testing.T, h *house, id string) error {
			other := newHouse(t, h.store, Options{})
			defer other.Close()
			return other.Revoke(t.Context(), id, admin)
		},
		"behind its back": func(t *testing.T, h *house, id string) error {
			h.edit(id, func(r *row) { r.Revoked = time.Now() })
			return nil
		},
	}
	for name, revoke := range paths {
		t.Run(name, func(t *testing.T) {
			h := openHouse(t, Options{})
			tok, plain := h.create(Spec{})
			h.verify(plain, nil)
			if err := revoke(t, h, tok.ID); err != nil {
				t.Fatal(err)
			}
			h.verify(plain, ErrRevoked)
			if h.cache.Len() != 0 {
				t.Error("a revoked token is in the cache")
			}
		})
	}
}

// Between reading the token and the end of its comparison lies all of bcrypt, time enough to revoke it.
func TestRevokeDuringVerification(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := openHouse(t, Options{})
		tok, plain := h.create(Spec{})
		unblock := h.block()
		done := make(chan struct{})
		go func() {
			defer close(done)
			h.verify(plain, ErrRevoked)
		}()
		synctest.Wait()
		if err := h.Revoke(t.Context(), tok.ID, admin); err != nil {
			t.Fatal(err)
		}
		unblock()
		<-done
		h.verify(plain, ErrRevoked)
	})
}

func TestTokenReplacedInTheStore(t *testing.T) {
	h := openHouse(t, Options{})
	tok, plain := h.create(Spec{})
	h.verify(plain, nil)
	h.edit(tok.ID, func(r *row) { r.Scope, r.Tenant = ScopeRead, "acme" })
	if got := h.verify(plain, nil); got.Scope != ScopeRead || got.Tenant != "acme" || got.Version == tok.Version {
		t.Errorf("the change was not seen: %+v", got)
	}
	hash, err := bcrypt.GenerateFromPassword([]byte(newPlain()), bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	h.edit(tok.ID, func(r *row) { r.Hash = string(hash) })
	if n := h.hashes(func() { h.verify(plain, ErrUnknown) }); n != 1 {
		t.Errorf("another secret: %d comparisons", n)
	}
	_, plain = h.create(Spec{Name: "deleted"})
	deleted := h.verify(plain, nil)
	h.edit(deleted.ID, nil)
	h.verify(plain, ErrUnknown)
	if h.cache.Len() != 0 {
		t.Errorf("%d entries are left in the cache", h.cache.Len())
	}
}

func TestCacheIsBounded(t *testing.T) {
	h := openHouse(t, Options{CacheSize: 2})
	var plain []string
	for range 3 {
		_, p := h.create(Spec{})
		plain = append(plain, p)
		h.verify(p, nil)
	}
	if n := h.cache.Len(); n != 2 {
		t.Errorf("%d tokens in a cache of 2", n)
	}
	if n := h.hashes(func() { h.verify(plain[2], nil) }); n != 0 {
		t.Error("the last one used was dropped")
	}
	if n := h.hashes(func() { h.verify(plain[0], nil) }); n != 1 {
		t.Error("the first one used was not dropped")
	}
}

func TestVerifyWithTheStoreClosed(t *testing.T) {
	store, err := storage.Open(t.Context(), storage.Memory(), storage.Options{})
	if err != nil {
		t.Fatal(err)
	}
	h := newHouse(t, store, Options{})
	_, plain := h.create(Spec{})
	if err := h.Close(); err != nil {
		t.Fatal(err)
	}
	if err := store.Close(); err != nil {
		t.Fatal(err)
	}
	h.verify(plain, storage.ErrClosed)
	if got, ok := h.failures.sources.Peek(here); !ok || got.failures.TokensAt(time.Now()) != 20 || got.running != 0 {
		t.Errorf("a fault of the store was counted against the client: %+v", got)
	}
}

func TestRace(t *testing.T) {
	h := openHouse(t, Options{FailureBurst: 1 << 20, Queue: 1 << 20, CacheSize: 3})
	var wg sync.WaitGroup
	for i := range 4 {
		tok, plain := h.create(Spec{Name: fmt.Sprint("client ", i)})
		revoked := make(chan struct{})
		for range 3 {
			wg.Go(func() {
				for range 40 {
					before := false
					select {
					case <-revoked:
						before = true
					default:
					}
					_, err := h.Verify(t.Context(), plain, here)
					if before && !errors.Is(err, ErrRevoked) {
						t.Errorf("after Revoke had returned: %v", err)
					}
					if err != nil && !errors.Is(err, ErrRevoked) {
						t.Error(err)
					}
				}
			})
		}
		wg.Go(func() {
			for range 5 {
				_, err := h.Verify(t.Context(), guess(), there)
				if !errors.Is(err, ErrUnknown) {
					t.Error(err)
				}
				h.list()
				h.create(Spec{Name: "more"})
			}
			if err := h.Revoke(t.Context(), tok.ID, admin); err != nil {
				t.Error(err)
			}
			close(revoked)
			h.verify(plain, ErrRevoked)
		})
	}
	wg.Wait()
}

func TestWarmVerifyAllocatesNothing(t *testing.T) {
	// Each request comes here, and none of what it would leave behind is of use to anybody.
	h := openHouse(t, Options{})
	_, plain := h.create(Spec{})
	client := netip.MustParseAddr("192.0.2.1")
	ctx := t.Context()
	verify := func() {
		if _, err := h.Verify(ctx, plain, client); err != nil {
			t.Fatal(err)
		}
	}
	verify()
	if n := testing.AllocsPerRun(100, verify); n != 0 {
		t.Errorf("a token that is known costs %v allocations", n)
	}
}
