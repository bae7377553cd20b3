package auth

import (
	"testing"
	"time"

	"golang.org/x/crypto/bcrypt"
)

// BenchmarkVerify compares a request whose token is known with one whose token is not, at the cost that a server uses. The
// ratio is how much less the known one costs.
func BenchmarkVerify(b *testing.B) {
	open := func(b *testing.B) (*house, string) {
		h := openHouse(b, Options{Cost: bcrypt.DefaultCost, FailureBurst: 1 << 30})
		_, plain := h.create(Spec{})
		return h, plain
	}
	b.Run("cold", func(b *testing.B) {
		h, plain := open(b)
		for b.Loop() {
			h.cache.Purge()
			h.verify(plain, nil)
		}
	})
	b.Run("warm", func(b *testing.B) {
		h, plain := open(b)
		start := time.Now()
		h.verify(plain, nil)
		cold := time.Since(start)
		b.ReportAllocs()
		for b.Loop() {
			h.verify(plain, nil)
		}
		b.ReportMetric(float64(cold)/(float64(b.Elapsed())/float64(b.N)), "cold/warm")
	})
	// What a warm check cannot do without.
	b.Run("SHA-256 alone", func(b *testing.B) {
		_, plain := open(b)
		b.ReportAllocs()
		for b.Loop() {
			keyOf("", plain)
		}
	})
	b.Run("warm in parallel", func(b *testing.B) {
		h, plain := open(b)
		h.verify(plain, nil)
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				h.verify(plain, nil)
			}
		})
	})
	b.Run("warm while the store changes", func(b *testing.B) {
		h, plain := open(b)
		h.verify(plain, nil)
		key := h.cache.Keys()[0]
		e, _ := h.cache.Peek(key)
		old := *e
		old.seq--
		for b.Loop() {
			h.cache.Add(key, &old)
			h.verify(plain, nil)
		}
	})
}
