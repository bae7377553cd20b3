package server

import (
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"pgregory.net/rapid"

	"scimbox/auth"
	"scimbox/server/config"
	"scimbox/server/control"
)

// handClock is set by hand.
type handClock struct{ ns atomic.Int64 }

func newHandClock() *handClock {
	c := new(handClock)
	c.ns.Store(time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC).UnixNano())
	return c
}

func (c *handClock) now() time.Time      { return time.Unix(0, c.ns.Load()).UTC() }
func (c *handClock) add(d time.Duration) { c.ns.Add(int64(d)) }

// asking from an address that is not of this machine, without a network.
func from(h http.Handler, address, method, target, token string, header ...string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, "http://scim.example.com"+target, nil)
	r.RemoteAddr = address
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

func rated(t *testing.T, change func(*config.Config)) (*running, http.Handler, *handClock) {
	t.Helper()
	o, log := options(t)
	clock := newHandClock()
	o.Clock = clock.now
	o.Config.AllowPlainHTTP = true
	change(&o.Config)
	s := serve(t, o, log)
	h, err := s.handler()
	if err != nil {
		t.Fatal(err)
	}
	return s, h, clock
}

func TestRequestsPerAddress(t *testing.T) {
	s, h, clock := rated(t, func(c *config.Config) {
		c.Limits.RequestsPerAddress, c.Limits.BurstPerAddress = 2, 3
		c.TrustedProxies = config.List{"192.0.2.9"}
	})
	const path = "/scim/v2/ServiceProviderConfig"
	for i := range 3 {
		if w := from(h, "192.0.2.1:1000", "GET", path, s.secret); w.Code != 200 {
			t.Fatalf("request %d is answered with %d", i, w.Code)
		}
	}
	// It is refused before anybody looks at a token, and wherever it goes.
	for _, target := range []string{path, "/oauth/token", "/nowhere", "/console/"} {
		w := from(h, "192.0.2.1:2000", "GET", target, "")
		if w.Code != 429 || w.Header().Get("Retry-After") != "1" {
			t.Fatalf("%s: %d, Retry-After %q: %s", target, w.Code, w.Header().Get("Retry-After"), w.Body)
		}
		if kind := w.Header().Get("Content-Type"); target == path && (!strings.HasPrefix(kind, "application/scim+json") || !strings.Contains(w.Body.String(), "urn:ietf:params:scim:api:messages:2.0:Error")) {
			t.Errorf("the refusal is no SCIM error: %s %s", kind, w.Body)
		}
	}
	for _, target := range []string{"/healthz", "/readyz"} {
		if w := from(h, "192.0.2.1:2000", "GET", target, ""); w.Code != 200 {
			t.Errorf("%s is limited: %d", target, w.Code)
		}
	}
	if w := from(h, "192.0.2.2:1000", "GET", path, s.secret); w.Code != 200 {
		t.Errorf("somebody else is answered with %d", w.Code)
	}
	// A proxy of ours passes on what others ask: they are limited, and it is not.
	for range 10 {
		if w := from(h, "192.0.2.9:1", "GET", path, s.secret); w.Code != 200 {
			t.Fatalf("the proxy is answered with %d", w.Code)
		}
	}
	if w := from(h, "192.0.2.9:1", "GET", path, s.secret, "X-Forwarded-For", "192.0.2.1"); w.Code != 429 {
		t.Errorf("a client behind the proxy is answered with %d", w.Code)
	}
	if w := from(h, "192.0.2.9:1", "GET", path, s.secret, "X-Forwarded-For", "192.0.2.3"); w.Code != 200 {
		t.Errorf("another client behind the proxy is answered with %d", w.Code)
	}
	// The addresses that one IPv6 subscriber has are one.
	for i, a := range []string{"[2001:db8::1]:1", "[2001:db8::2]:1", "[2001:db8::3:4]:1", "[2001:db8:0:0:ffff::]:1"} {
		if w := from(h, a, "GET", path, s.secret); (w.Code == 429) != (i == 3) {
			t.Errorf("%s: %d", a, w.Code)
		}
	}
	clock.add(time.Second)
	for i := range 3 {
		if w := from(h, "192.0.2.1:1000", "GET", path, s.secret); (w.Code == 429) != (i == 2) {
			t.Errorf("a second later request %d is answered with %d", i, w.Code)
		}
	}
	if n := strings.Count(s.log.String(), "requests are refused because there are too many"); n != 2 {
		t.Errorf("two addresses were limited, and the log says so %d times", n)
	}
}

func TestRequestsPerToken(t *testing.T) {
	s, h, clock := rated(t, func(c *config.Config) { c.Limits.RequestsPerToken, c.Limits.BurstPerToken = 1, 2 })
	c, err := control.Connect(t.Context(), s.o.Config.Data, s.o.Version)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	other, err := c.CreateToken(t.Context(), control.Create{Name: "other", Scope: auth.ScopeRead})
	if err != nil {
		t.Fatal(err)
	}
	addresses := []string{"192.0.2.1:1", "192.0.2.2:1", "192.0.2.3:1"} // of one token, which may come from anywhere
	for i, a := range addresses {
		w := from(h, a, "GET", "/scim/v2/Users", s.secret)
		if (w.Code == 429) != (i == 2) {
			t.Fatalf("request %d is answered with %d: %s", i, w.Code, w.Body)
		}
		if i == 2 && (w.Header().Get("Retry-After") != "1" || !strings.Contains(w.Body.String(), "requests_per_token")) {
			t.Errorf("Retry-After %q: %s", w.Header().Get("Retry-After"), w.Body)
		}
	}
	if w := from(h, addresses[0], "GET", "/scim/v2/Users", other.Secret); w.Code != 200 {
		t.Errorf("another token is answered with %d", w.Code)
	}
	// Whoever has the id of a token and not its secret cannot use up what its owner may ask for.
	clock.add(5 * time.Second)
	for range 5 {
		wrong := s.secret[:20] + strings.Repeat("a", len(s.secret)-20)
		if w := from(h, addresses[1], "GET", "/scim/v2/Users", wrong); w.Code != 401 {
			t.Fatalf("a wrong token is answered with %d", w.Code)
		}
	}
	if w := from(h, addresses[0], "GET", "/scim/v2/Users", s.secret); w.Code != 200 {
		t.Errorf("the owner is answered with %d", w.Code)
	}
}

func TestDefaultRatesAreAboveEntras(t *testing.T) {
	l := config.Default().Limits
	rapid.Check(t, func(t *rapid.T) {
		tokens, addresses := newRates[int](l.RequestsPerToken, l.BurstPerToken), newRates[netip.Prefix](l.RequestsPerAddress, l.BurstPerAddress)
		now := newHandClock().now()
		// 25 requests a second on the average, and up to twenty times as many for a second.
		for second := range 60 {
			n := rapid.IntRange(0, 500).Draw(t, "requests")
			for i := range n {
				at := now.Add(time.Duration(second)*time.Second + time.Duration(i)*time.Second/time.Duration(n))
				if wait, _ := tokens.take(1, at); wait != 0 {
					t.Fatalf("request %d of second %d has to wait for %v", i, second, wait)
				}
				if wait, _ := addresses.take(netip.Prefix{}, at); wait != 0 {
					t.Fatalf("by address, request %d of second %d has to wait for %v", i, second, wait)
				}
			}
		}
	})
}

// The rate of whoever keeps asking is what is configured, however he spreads his requests.
func TestRateIsHeld(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		every, burst := rapid.IntRange(1, 50).Draw(t, "every"), rapid.IntRange(1, 50).Draw(t, "burst")
		l, clock, taken := newRates[int](every, burst), newHandClock(), 0
		begin := clock.now()
		for range rapid.IntRange(1, 300).Draw(t, "requests") {
			clock.add(time.Duration(rapid.Int64Range(0, int64(100*time.Millisecond)).Draw(t, "pause")))
			wait, _ := l.take(1, clock.now())
			if wait < 0 {
				t.Fatalf("a wait of %v", wait)
			}
			if wait == 0 {
				taken++
			}
		}
		if most := float64(burst) + clock.now().Sub(begin).Seconds()*float64(every) + 1e-6; float64(taken) > most {
			t.Fatalf("%d requests were taken, and %.2f are allowed", taken, most)
		}
	})
}

func TestManyAddresses(t *testing.T) {
	l := newRates[int](1, 1)
	for i := range 3 * keptRates {
		l.take(i, time.Now())
	}
	if n := l.kept.Len(); n > keptRates {
		t.Errorf("%d are remembered", n)
	}
}

func BenchmarkRates(b *testing.B) {
	l := newRates[int](1_000_000, 1_000_000)
	for i := range keptRates {
		l.take(i, time.Now())
	}
	for i := 0; b.Loop(); i++ {
		l.take(i%keptRates, time.Now())
	}
}

// BenchmarkRatesOnTheWay is a GET of a user with and without rates.
func BenchmarkRatesOnTheWay(b *testing.B) {
	for name, n := range map[string]int{"without": 0, "with": 1_000_000} {
		b.Run(name, func(b *testing.B) {
			c := config.Default()
			c.Listen, c.Data, c.AllowPlainHTTP = "127.0.0.1:0", b.TempDir(), true
			c.Limits.RequestsPerToken, c.Limits.RequestsPerAddress, c.Limits.BurstPerToken, c.Limits.BurstPerAddress = n, n, 1_000_000, 1_000_000
			s, err := Open(b.Context(), Options{Config: c})
			if err != nil {
				b.Fatal(err)
			}
			defer s.Close()
			h, err := s.handler()
			if err != nil {
				b.Fatal(err)
			}
			_, secret, _ := s.FirstToken()
			for b.Loop() {
				if w := from(h, "192.0.2.1:1000", "GET", "/scim/v2/Users?count=1", secret.Reveal()); w.Code != 200 {
					b.Fatal(w.Code)
				}
			}
		})
	}
}
