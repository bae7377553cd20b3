package auth

import (
	"fmt"
	"math"
	"net/netip"
	"sync"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"
	"golang.org/x/time/rate"
)

// LimitError refuses an attempt because too many failed before it from the same client address.
type LimitError struct {
	RetryAfter time.Duration // more than 0
	source     netip.Addr
}

func (e *LimitError) Error() string {
	return fmt.Sprintf("too many failed attempts from this address; try again in %d s", e.seconds())
}

// seconds is RetryAfter as HTTP wants it: whole, and not too short.
func (e *LimitError) seconds() int64 {
	return int64((e.RetryAfter + time.Second - 1) / time.Second)
}

// limiter allows each source a number of failures. Successes cost nothing, but attempts under way are held against the
// allowance until their outcome is known: otherwise any number of guesses made at the same time would count as none.
type limiter struct {
	mu      sync.Mutex
	sources *lru.Cache[netip.Addr, *allowance]
	every   rate.Limit
	burst   int
}

type allowance struct {
	failures *rate.Limiter
	running  int
	told     time.Time // when a refusal was last logged
}

func newLimiter(sources int, every rate.Limit, burst int) *limiter {
	cache, err := lru.New[netip.Addr, *allowance](sources)
	if err != nil {
		panic(err) // only a size below 1 is refused
	}
	return &limiter{sources: cache, every: every, burst: burst}
}

// sourceOf is what failures are counted by: one IPv4 address, or the /64 that one IPv6 subscriber has for himself. All
// clients without an address, such as those of a unix socket, are one source.
func sourceOf(client netip.Addr) netip.Addr {
	client = client.Unmap().WithZone("")
	if !client.Is6() {
		return client
	}
	p, err := client.Prefix(64)
	if err != nil {
		return client
	}
	return p.Addr()
}

// enter asks whether source may make an attempt. If it may, wait is 0 and leave must be called with the outcome. first
// says that this is the first refusal in a minute.
func (l *limiter) enter(source netip.Addr, now time.Time) (a *allowance, wait time.Duration, first bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	a, ok := l.sources.Get(source)
	if !ok {
		a = &allowance{failures: rate.NewLimiter(l.every, l.burst)}
		l.sources.Add(source, a)
	}
	left := a.failures.TokensAt(now)
	const rounding = 1e-9 // a token that has just come back is short of 1 by this much
	if left-float64(a.running) >= 1-rounding {
		a.running++
		return a, 0, false
	}
	if now.Sub(a.told) >= time.Minute {
		a.told, first = now, true
	}
	if left >= 1 {
		return nil, time.Second, first // only attempts under way are in the way
	}
	return nil, time.Duration(math.Ceil((1 - left) / float64(l.every) * float64(time.Second))), first
}

func (l *limiter) leave(a *allowance, now time.Time, failed bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	a.running--
	if failed {
		a.failures.ReserveN(now, 1)
	}
}
