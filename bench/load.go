package bench

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httputil"
	"slices"
	"sync"
	"time"
)

// request is one that is ready to be sent, and what it must be answered with.
type request struct {
	bytes  []byte
	status int                 // 0 = any of 2xx
	done   func(answer []byte) // called with the body; may be nil
}

const host = "scimbox.bench"

func get(c *child, path string) request {
	return request{bytes: fmt.Appendf(nil, "GET %s HTTP/1.1\r\nHost: %s\r\nAuthorization: Bearer %s\r\n\r\n", path, host, c.token), status: 200}
}

func send(c *child, method, path string, body []byte, status int) request {
	b := fmt.Appendf(nil, "%s %s HTTP/1.1\r\nHost: %s\r\nAuthorization: Bearer %s\r\nContent-Type: application/scim+json\r\nContent-Length: %d\r\n\r\n",
		method, path, host, c.token, len(body))
	return request{bytes: append(b, body...), status: status}
}

// conn is a connection on which one request follows the other.
type conn struct {
	net.Conn
	r *bufio.Reader
	b []byte
}

func dial(addr string) (*conn, error) {
	c, err := net.DialTimeout("tcp", addr, 10*time.Second)
	if err != nil {
		return nil, err
	}
	return &conn{Conn: c, r: bufio.NewReaderSize(c, 64<<10)}, nil
}

// ask sends a request and returns the answer, of which the body has not been read.
func (c *conn) ask(q request) (*http.Response, error) {
	if err := c.SetDeadline(time.Now().Add(time.Minute)); err != nil {
		return nil, err
	}
	if _, err := c.Write(q.bytes); err != nil {
		return nil, err
	}
	return http.ReadResponse(c.r, nil)
}

// whole sends a request and returns the answer, its head included.
func (c *conn) whole(q request) ([]byte, error) {
	resp, err := c.ask(q)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != q.status {
		return nil, fmt.Errorf("%d is not what was expected, %d", resp.StatusCode, q.status)
	}
	return httputil.DumpResponse(resp, true)
}

// do sends a request and reads the answer. The body is valid until the next call.
func (c *conn) do(q request) (status int, body []byte, err error) {
	resp, err := c.ask(q)
	if err != nil {
		return 0, nil, err
	}
	defer resp.Body.Close()
	if n := resp.ContentLength; n >= 0 {
		c.b = slices.Grow(c.b[:0], int(n))[:n]
		_, err = io.ReadFull(resp.Body, c.b)
	} else {
		c.b, err = io.ReadAll(resp.Body)
	}
	return resp.StatusCode, c.b, err
}

// must sends a request whose answer must be the expected one.
func (c *conn) must(q request) ([]byte, error) {
	status, body, err := c.do(q)
	if err != nil {
		return nil, err
	}
	if q.status != 0 && status != q.status || status < 200 || status > 299 {
		line, _, _ := bufio.NewReader(bytesOf(q.bytes)).ReadLine()
		return nil, fmt.Errorf("%s is answered with %d: %.300s", line, status, body)
	}
	if q.done != nil {
		q.done(body)
	}
	return body, nil
}

// sample is how long requests have taken.
type sample struct {
	took    []time.Duration // sorted
	seconds float64
}

func (s *sample) perSecond() float64 { return float64(len(s.took)) / s.seconds }

// at returns the quantile p of the latencies.
func (s *sample) at(p float64) time.Duration {
	if len(s.took) == 0 {
		return 0
	}
	return s.took[min(int(p*float64(len(s.took))), len(s.took)-1)]
}

// drive sends requests on so many connections for so long. next makes the next request of a connection; nil ends it.
func drive(ctx context.Context, c *child, conns int, d time.Duration, next func(conn int, r *rand.Rand) *request) (*sample, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	begin := time.Now()
	s, err := inParallel(conns, func(i int) ([]time.Duration, error) {
		took, err := driveOne(ctx, c, i, begin.Add(d), next)
		if err != nil {
			cancel()
		}
		return took, err
	})
	if err == nil && len(s.took) == 0 {
		err = ctx.Err()
	}
	return s, err
}

// inParallel runs one for n sides at the same time, and returns how long all that they did has taken, and the first error.
func inParallel(n int, one func(i int) ([]time.Duration, error)) (*sample, error) {
	var (
		mu    sync.Mutex
		all   []time.Duration
		first error
		wg    sync.WaitGroup
	)
	begin := time.Now()
	for i := range n {
		wg.Go(func() {
			took, err := one(i)
			mu.Lock()
			defer mu.Unlock()
			all = append(all, took...)
			if first == nil {
				first = err
			}
		})
	}
	wg.Wait()
	s := &sample{all, time.Since(begin).Seconds()}
	slices.Sort(s.took)
	return s, first
}

func driveOne(ctx context.Context, c *child, i int, until time.Time, next func(int, *rand.Rand) *request) (took []time.Duration, err error) {
	conn, err := dial(c.addr)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	r := rand.New(rand.NewPCG(1, uint64(i)))                               // #nosec G404 -- the same requests in each run
	for ctx.Err() == nil && (len(took) == 0 || time.Now().Before(until)) { // one at least, however busy the machine is
		q := next(i, r)
		if q == nil {
			return took, nil
		}
		begin := time.Now()
		if _, err := conn.must(*q); err != nil {
			return took, err
		}
		took = append(took, time.Since(begin))
	}
	return took, nil
}

// turn is one kind of request that is sent in turn with others, perhaps to another server.
type turn struct {
	c    *child
	next func(i int) request
}

// inTurns sends one request of each kind in turn, n times, on one connection to each server, and returns how long each kind took: whatever
// else the machine does meets all kinds alike.
func inTurns(ctx context.Context, n int, kinds ...turn) ([]*sample, error) {
	conns := map[*child]*conn{}
	samples := make([]*sample, len(kinds))
	for k, kind := range kinds {
		samples[k] = new(sample)
		if conns[kind.c] != nil {
			continue
		}
		c, err := dial(kind.c.addr)
		if err != nil {
			return nil, err
		}
		defer c.Close()
		conns[kind.c] = c
	}
	for i := range n {
		for k, kind := range kinds {
			if err := ctx.Err(); err != nil {
				return nil, err
			}
			q := kind.next(i)
			done := q.done
			q.done = nil // what is made of the answer is no part of the time
			begin := time.Now()
			body, err := conns[kind.c].must(q)
			if err != nil {
				return nil, err
			}
			samples[k].took = append(samples[k].took, time.Since(begin))
			if done != nil {
				done(body)
			}
		}
	}
	for _, s := range samples {
		for _, d := range s.took {
			s.seconds += d.Seconds()
		}
		slices.Sort(s.took)
	}
	return samples, nil
}

// merge adds what another turn has measured.
func (s *sample) merge(x *sample) {
	s.took = append(s.took, x.took...)
	slices.Sort(s.took)
	s.seconds += x.seconds
}

func (s *sample) median() time.Duration {
	slices.Sort(s.took)
	return s.at(0.5)
}

// result fills in what a sample says, and whether the ratio is good enough.
func (s *sample) result(r Result, least float64) Result {
	r.PerSecond, r.P50, r.P99 = s.perSecond(), s.at(0.5), s.at(0.99)
	r.Met = r.Ratio >= least
	return r
}

// Short prints a duration with three digits.
func Short(d time.Duration) string {
	switch {
	case d < 10*time.Microsecond:
		return d.String()
	case d < time.Millisecond:
		return d.Round(time.Microsecond).String()
	case d < time.Second:
		return d.Round(10 * time.Microsecond).String()
	}
	return d.Round(10 * time.Millisecond).String()
}
