package auth

import (
	"context"
	"crypto/sha256"
	"errors"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/time/rate"
)

func TestSourceOf(t *testing.T) {
	for client, want := range map[string]string{
		"192.0.2.1": "192.0.2.1", "::ffff:192.0.2.1": "192.0.2.1",
		"2001:db8:1:2:3:4:5:6": "2001:db8:1:2::", "2001:db8:1:2::1": "2001:db8:1:2::", "2001:db8:1:3::1": "2001:db8:1:3::",
		"fe80::1%eth0": "fe80::", "::1": "::",
	} {
		if got := sourceOf(netip.MustParseAddr(client)).String(); got != want {
			t.Errorf("%s counts as %s, want %s", client, got, want)
		}
	}
	if got := sourceOf(netip.Addr{}); got.IsValid() {
		t.Errorf("no address counts as %v", got)
	}
}

// guess makes n wrong attempts from an address and returns how many were compared and how many refused unseen.
func (h *house) guess(client netip.Addr, n int) (compared, refused int, wait time.Duration) {
	h.t.Helper()
	for range n {
		_, err := h.Verify(context.Background(), guess(), client)
		var limited *LimitError
		switch {
		case errors.Is(err, ErrUnknown):
			compared++
		case errors.As(err, &limited):
			refused++
			wait = limited.RetryAfter
		default:
			h.t.Fatal(err)
		}
	}
	return compared, refused, wait
}

func TestFailuresAreLimited(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := openHouse(t, Options{FailureBurst: 5, FailureEvery: 10 * time.Second})
		_, warm := h.create(Spec{})
		_, cold := h.create(Spec{})
		h.verify(warm, nil)

		var compared, refused int
		var wait time.Duration
		if n := h.hashes(func() { compared, refused, wait = h.guess(here, 100) }); n != 5 || compared != 5 || refused != 95 {
			t.Errorf("100 guesses: %d hashed, %d compared, %d refused; want 5, 5, 95", n, compared, refused)
		}
		if wait != 10*time.Second {
			t.Errorf("wait %v, want 10 s", wait)
		}
		if lines := h.log.lines(t, "too many failed tokens from one address, refusing more"); len(lines) != 1 || lines[0]["client"] != here.String() {
			t.Errorf("log: %v", lines)
		}

		h.verify(warm, nil) // somebody else's guessing does not lock out who is known
		var limited *LimitError
		if _, err := h.Verify(t.Context(), cold, here); !errors.As(err, &limited) {
			t.Errorf("a token that is not known yet: %v", err)
		}
		if _, err := h.Verify(t.Context(), cold, there); err != nil {
			t.Errorf("from elsewhere: %v", err)
		}
		h.verify(cold, nil) // and now it is known

		time.Sleep(wait - time.Millisecond)
		if compared, _, _ := h.guess(here, 1); compared != 0 {
			t.Error("Retry-After was longer than needed")
		}
		time.Sleep(time.Millisecond)
		if compared, refused, _ := h.guess(here, 3); compared != 1 || refused != 2 {
			t.Errorf("after Retry-After: %d compared, %d refused", compared, refused)
		}
		time.Sleep(time.Hour)
		if compared, _, _ := h.guess(here, 100); compared != 5 {
			t.Errorf("an hour later: %d compared, want the burst of 5", compared)
		}
	})
}

func TestFailuresAreCountedByNetwork(t *testing.T) {
	h := openHouse(t, Options{FailureBurst: 3, FailureEvery: time.Hour})
	for i, tt := range []struct {
		client   string
		compared int
	}{
		{"2001:db8::1", 2}, {"2001:db8::2", 1}, {"2001:db8::ffff:1", 0}, // one /64
		{"2001:db8:0:1::1", 2},
		{"192.0.2.1", 2}, {"::ffff:192.0.2.1", 1}, {"192.0.2.2", 2},
	} {
		if compared, _, _ := h.guess(netip.MustParseAddr(tt.client), 2); compared != tt.compared {
			t.Errorf("%d, %s: %d compared, want %d", i, tt.client, compared, tt.compared)
		}
	}
	if compared, _, _ := h.guess(netip.Addr{}, 4); compared != 3 {
		t.Errorf("without an address: %d compared, want 3", compared)
	}
}

func TestSuccessesAndMalformedTokensAreNotCounted(t *testing.T) {
	h := openHouse(t, Options{FailureBurst: 2, FailureEvery: time.Hour})
	for range 20 {
		_, plain := h.create(Spec{})
		h.verify(plain, nil)
		h.verify("mistyped", ErrMalformed)
	}
	if compared, _, _ := h.guess(here, 10); compared != 2 {
		t.Errorf("%d guesses are left of 2", compared)
	}
}

// A revoked token costs a comparison each time, so that a client that goes on with one is held back like a guesser.
func TestRevokedTokensAreCounted(t *testing.T) {
	h := openHouse(t, Options{FailureBurst: 3, FailureEvery: time.Hour})
	tok, plain := h.create(Spec{})
	if err := h.Revoke(t.Context(), tok.ID, admin); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		h.verify(plain, ErrRevoked)
	}
	var limited *LimitError
	if _, err := h.Verify(t.Context(), plain, here); !errors.As(err, &limited) {
		t.Errorf("the fourth time: %v", err)
	}
	if n := len(h.log.lines(t, "a revoked token was used")); n != 1 {
		t.Errorf("%d complaints", n)
	}
}

// One who waits as long as he was told gets his attempt, to the nanosecond.
func TestWaitIsLongEnough(t *testing.T) {
	for every := time.Millisecond; every < time.Hour; every = every*5/3 + 7 {
		l := newLimiter(1, rate.Every(every), 2)
		now := time.Date(2026, 11, 24, 0, 0, 0, 0, time.UTC)
		for range 50 {
			now = now.Add(every / 7)
			a, wait, _ := l.enter(here, now)
			if wait > 0 {
				now = now.Add(wait)
				if a, wait, _ = l.enter(here, now); wait > 0 {
					t.Fatalf("every %v: %v more", every, wait)
				}
			}
			l.leave(a, now, true)
		}
	}
}

// Guesses made all at once are held against the allowance before their outcome is known.
func TestSimultaneousFailuresAreLimited(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := openHouse(t, Options{FailureBurst: 5, FailureEvery: time.Hour, Hashers: 100})
		unblock := h.block()
		var wg sync.WaitGroup
		var refused atomic.Int64
		for range 50 {
			wg.Go(func() {
				_, err := h.Verify(t.Context(), guess(), here)
				if limited := (*LimitError)(nil); errors.As(err, &limited) {
					refused.Add(1)
					if limited.RetryAfter <= 0 || limited.RetryAfter > time.Second {
						t.Errorf("wait %v, while nothing has failed yet", limited.RetryAfter)
					}
				} else if !errors.Is(err, ErrUnknown) {
					t.Error(err)
				}
			})
		}
		synctest.Wait()
		if n := h.hashed.Load(); n != 5 {
			t.Errorf("%d computations run, want 5", n)
		}
		unblock()
		wg.Wait()
		if n := refused.Load(); n != 45 {
			t.Errorf("%d of 50 were refused, want 45", n)
		}
	})
}

func TestHashersAreFew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := openHouse(t, Options{Hashers: 2, Queue: 3})
		_, warm := h.create(Spec{})
		_, cold := h.create(Spec{})
		h.verify(warm, nil)
		unblock := h.block()
		h.hashed.Store(0)
		var wg sync.WaitGroup
		var busy atomic.Int64
		for i := range 10 { // from ten addresses, so that none is limited
			wg.Go(func() {
				client := netip.AddrFrom4([4]byte{203, 0, 113, byte(i)})
				if _, err := h.Verify(t.Context(), guess(), client); errors.Is(err, ErrBusy) {
					busy.Add(1)
				} else if !errors.Is(err, ErrUnknown) {
					t.Error(err)
				}
			})
		}
		synctest.Wait()
		if running, waiting, turned := h.hashed.Load(), h.waiting.Load(), busy.Load(); running != 2 || waiting != 3 || turned != 5 {
			t.Errorf("%d run, %d wait, %d were turned away; want 2, 3, 5", running, waiting, turned)
		}
		h.verify(warm, nil) // is not in the queue
		h.verify(cold, ErrBusy)
		unblock()
		wg.Wait()
		h.verify(cold, nil)
		if n := h.waiting.Load(); n != 0 {
			t.Errorf("%d still wait", n)
		}
	})
}

// One who shares a flight must not be refused for what came from the address of the one who started it.
func TestLimitOfAnotherAddressIsNotShared(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := openHouse(t, Options{FailureBurst: 1, FailureEvery: time.Hour})
		_, plain := h.create(Spec{})
		gate := make(chan struct{})
		key := sha256.Sum256([]byte(plain))
		ch := h.flights.DoChan(string(key[:]), func() (any, error) {
			<-gate
			return (*entry)(nil), &LimitError{RetryAfter: time.Hour, source: sourceOf(there)}
		})
		done := make(chan struct{})
		go func() {
			defer close(done)
			h.verify(plain, nil)
		}()
		synctest.Wait()
		close(gate)
		<-done
		<-ch
	})
}

// One who hangs up does not spoil the verification for those who wait with him.
func TestFirstCallerHangsUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := openHouse(t, Options{Hashers: 1})
		_, plain := h.create(Spec{})
		unblock := h.block()
		go h.Verify(context.Background(), guess(), there) // has the one hasher, so that the others wait for it
		synctest.Wait()
		ctx, hangUp := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		wg.Go(func() {
			if _, err := h.Verify(ctx, plain, here); !errors.Is(err, context.Canceled) {
				t.Errorf("the first: %v", err)
			}
		})
		synctest.Wait()
		wg.Go(func() { h.verify(plain, nil) })
		synctest.Wait()
		hangUp()
		synctest.Wait()
		unblock()
		wg.Wait()
		if n := h.hashed.Load(); n != 2 {
			t.Errorf("%d computations, want one for the guess and one for the two", n)
		}
	})
}

func TestGuessingDoesNotFillTheMemory(t *testing.T) {
	h := openHouse(t, Options{Sources: 4})
	for i := range 32 {
		h.guess(netip.AddrFrom4([4]byte{203, 0, 113, byte(i)}), 1)
	}
	if n := h.failures.sources.Len(); n != 4 {
		t.Errorf("%d addresses are remembered, want 4", n)
	}
	if len(h.uses) != 0 || h.cache.Len() != 0 {
		t.Errorf("unknown tokens are remembered: %d uses, %d verified", len(h.uses), h.cache.Len())
	}
}
