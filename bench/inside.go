package bench

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"sync/atomic"
	"time"

	"scimbox/auth"
	"scimbox/scim"
	"scimbox/storage"
)

// What is measured inside of this process: a disk as slow as one likes and the check of a token alone are nothing that a server could be
// asked for over HTTP.

// answerTo is a response in memory.
type answerTo struct {
	header http.Header
	status int
	body   bytes.Buffer
}

func (w *answerTo) Header() http.Header         { return w.header }
func (w *answerTo) WriteHeader(status int)      { w.status = status }
func (w *answerTo) Write(p []byte) (int, error) { return w.body.Write(p) }

// asker asks package scim itself.
type asker struct {
	handler http.Handler
	ctx     context.Context
}

func newAsker(ctx context.Context, store *storage.Store) (*asker, error) {
	types, err := scim.NewTypes("")
	if err != nil {
		return nil, err
	}
	service, err := scim.NewService(ctx, store, types, scim.Options{Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		return nil, err
	}
	caller := scim.Caller{Tenant: "default", Actor: "bench0000000", Client: "127.0.0.1", Request: "ABCDEFGHIJKLMNOP"}
	return &asker{scim.NewHandler(service), scim.WithCaller(ctx, caller)}, nil
}

// ask sends a request and returns the body of the answer, which must be one of 2xx. It is safe for concurrent use.
func (a *asker) ask(method, path string, body []byte) ([]byte, error) {
	r, err := http.NewRequestWithContext(a.ctx, method, "http://"+host+path, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	w := &answerTo{header: http.Header{}}
	a.handler.ServeHTTP(w, r)
	if w.status > 299 {
		return nil, fmt.Errorf("%s %s: %d %s", method, path, w.status, &w.body)
	}
	return w.body.Bytes(), nil
}

// slowDisk is an engine on a disk that takes so long for each sync besides what it takes.
type slowDisk struct {
	storage.Engine
	takes time.Duration
}

func (e slowDisk) Update(ctx context.Context, fn func(storage.Writer) error) error {
	err := e.Engine.Update(ctx, fn)
	time.Sleep(e.takes)
	return err
}

// slow creates users on a disk that takes 5 ms for each sync, from 64 sides at a time and, in turns with it, from one: each of those pays
// for a sync of its own, as everybody would without one commit for all who wait.
func (s *state) slow(ctx context.Context, r *run) (err error) {
	const takes, writers = 5 * time.Millisecond, 64
	dir := filepath.Join(r.dir, "slow")
	if err := os.Mkdir(dir, 0o700); err != nil {
		return err
	}
	store, err := storage.OpenDir(ctx, dir, storage.Options{MinFree: -1, Between: func(e storage.Engine) storage.Engine { return slowDisk{e, takes} }})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	a, err := newAsker(ctx, store)
	if err != nil {
		return err
	}
	var n atomic.Int64
	create := func(writers int, d time.Duration, into *sample) error {
		begin := time.Now()
		x, err := inParallel(writers, func(int) (took []time.Duration, err error) {
			for err == nil && time.Since(begin) < d {
				from := time.Now()
				_, err = a.ask("POST", "/scim/v2/Users", userBody(int(n.Add(1))))
				took = append(took, time.Since(from))
			}
			return took, err
		})
		into.merge(x)
		return err
	}
	var all, alone sample
	for i := range turns {
		r.part("slow disk", float64(i)/turns)
		if err := errors.Join(create(writers, r.Duration/turns, &all), create(1, r.Duration/turns/4, &alone)); err != nil {
			return err
		}
	}
	x := all.result(Result{Name: "create on a disk with 5 ms a sync", Conns: writers, Limit: fmt.Sprintf("one at a time: %.0f/s", alone.perSecond()),
		Ratio: all.perSecond() / alone.perSecond(), Goal: ">= 1,500/s"}, 0)
	x.Met = x.PerSecond >= 1500
	r.add(x)
	return nil
}

// token checks a token that is known, beside the one thing that it cannot do without.
func (s *state) token(ctx context.Context, r *run) (err error) {
	store, err := storage.Open(ctx, storage.Memory(), storage.Options{})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	tokens := auth.New(store, auth.Options{Logger: slog.New(slog.DiscardHandler)})
	defer func() { err = errors.Join(err, tokens.Close()) }()
	_, secret, err := tokens.Create(ctx, auth.Spec{Name: "bench", Scope: auth.ScopeWrite}, storage.Origin{})
	if err != nil {
		return err
	}
	client := netip.MustParseAddr("127.0.0.1")
	presented := secret.Reveal()
	if _, err := tokens.Verify(ctx, presented, client); err != nil {
		return err
	}
	const times = 100_000
	var check, sum sample
	var before, after runtime.MemStats
	var allocations uint64
	for i := range turns {
		r.part("token", float64(i)/turns)
		runtime.ReadMemStats(&before)
		begin := time.Now()
		for range times {
			if _, err := tokens.Verify(ctx, presented, client); err != nil {
				return err
			}
		}
		check.took = append(check.took, time.Since(begin)/times)
		runtime.ReadMemStats(&after)
		allocations += after.Mallocs - before.Mallocs
		begin = time.Now()
		var digest [sha256.Size]byte
		for range times {
			digest = sha256.Sum256([]byte(presented))
		}
		runtime.KeepAlive(digest)
		sum.took = append(sum.took, time.Since(begin)/times)
	}
	each, alone := check.median(), sum.median()
	r.add(Result{Name: "check of a token that is known", P50: each, Value: fmt.Sprintf("%d allocations", allocations/(turns*times)),
		Limit: "SHA-256 of it: " + Short(alone), Ratio: each.Seconds() / alone.Seconds(), Lower: true,
		Goal: "< 1 µs, no allocation", Met: each < time.Microsecond && allocations < turns*times/100})
	return nil
}
