package server

import (
	"math"
	"net/http"
	"net/netip"
	"strconv"
	"sync"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"
	"golang.org/x/time/rate"

	"scimbox/auth"
	"scimbox/server/config"
	"scimbox/server/metrics"
)

// rates are how many requests a second are taken from each token, or from each address. They keep one client from taking the
// machine from all others; what they allow is far above what an identity provider sends, because one that is answered with 429
// often puts its provisioning into quarantine (docs/decisions/0077-rates.md).
type rates[K comparable] struct {
	every rate.Limit
	burst int

	mu   sync.Mutex
	kept *lru.Cache[K, *bucket]
}

type bucket struct {
	left *rate.Limiter
	told time.Time // when a refusal was last logged
}

// keptRates is how many tokens or addresses are remembered. Those that are forgotten begin anew, so that it has to be far above
// the number of those who can have used up what they are allowed at the same time.
const keptRates = 10_000

// newRates returns nil, which takes everything, if there is no limit.
func newRates[K comparable](perSecond, burst int) *rates[K] {
	if perSecond == 0 {
		return nil
	}
	kept, err := lru.New[K, *bucket](keptRates)
	if err != nil {
		panic(err) // only a size below 1 is refused
	}
	return &rates[K]{every: rate.Limit(perSecond), burst: max(burst, 1), kept: kept}
}

// take takes a request of who. If it is one too many, wait is how long it has to wait, and first says that this is its first
// refusal in a minute.
func (l *rates[K]) take(who K, now time.Time) (wait time.Duration, first bool) {
	if l == nil {
		return 0, false
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	b, ok := l.kept.Get(who)
	if !ok {
		b = &bucket{left: rate.NewLimiter(l.every, l.burst)}
		l.kept.Add(who, b)
	}
	if b.left.AllowN(now, 1) {
		return 0, false
	}
	if now.Sub(b.told) >= time.Minute {
		b.told, first = now, true
	}
	return time.Duration((1 - b.left.TokensAt(now)) / float64(l.every) * float64(time.Second)), first
}

// tooFast refuses a request that is one too many.
func (s *Server) tooFast(w http.ResponseWriter, r *http.Request, wait time.Duration, first bool, whose, key string, perSecond int) {
	o := observationOf(r)
	o.tooFast, o.exceeded = !first, metrics.Rate(key)
	if first {
		s.o.Logger.Warn("requests are refused because there are too many; this is said once a minute", "request", o.id, "client", client(r),
			"token", o.token, "limit", "limits."+key, "requests_per_second", perSecond)
	}
	w.Header().Set("Retry-After", strconv.Itoa(max(1, int(math.Ceil(wait.Seconds())))))
	detail := "there are more than " + strconv.Itoa(perSecond) + " requests a second " + whose + "; wait as long as Retry-After says ([limits] " + key + ")"
	if r.URL.Path == auth.TokenPath {
		w.Header().Set("Content-Type", "application/json; charset=utf-8")
		w.Header().Set("Cache-Control", "no-store")
		w.WriteHeader(http.StatusTooManyRequests)
		_, _ = w.Write([]byte(`{"error":"temporarily_unavailable","error_description":"` + detail + `"}`)) // a client that has gone away
		return
	}
	refuse(w, r, http.StatusTooManyRequests, "", detail)
}

// perAddress holds a client to the rate of its address, before anything is done for it. This machine and proxies of ours are
// not held to one, but those whose requests they pass on are.
func (s *Server) perAddress(next http.Handler) http.Handler {
	l := s.o.Config.Limits
	addresses := newRates[netip.Prefix](l.RequestsPerAddress, l.BurstPerAddress)
	if addresses == nil {
		return next
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		from := clientAddr(r)
		if from.IsLoopback() || config.Within(s.trusted, from) {
			next.ServeHTTP(w, r)
			return
		}
		if wait, first := addresses.take(neighbours(from), s.o.Clock()); wait > 0 {
			s.tooFast(w, r, wait, first, "from this address", "requests_per_address", l.RequestsPerAddress)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// perToken holds a client to the rate of its token. A bulk request is one: its operations are done one after another, as if they
// had come one by one on one connection, and refusing it in the middle would help nobody.
func (s *Server) perToken(next http.Handler) http.Handler {
	l := s.o.Config.Limits
	tokens := newRates[string](l.RequestsPerToken, l.BurstPerToken)
	if tokens == nil {
		return next
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		o := observationOf(r)
		if o.caller == nil {
			next.ServeHTTP(w, r) // public, and held to the rate of its address
			return
		}
		if wait, first := tokens.take(o.token, s.o.Clock()); wait > 0 {
			s.tooFast(w, r, wait, first, "with this token", "requests_per_token", l.RequestsPerToken)
			return
		}
		next.ServeHTTP(w, r)
	})
}
