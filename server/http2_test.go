package server

import (
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"scimbox/scim"
	"scimbox/server/config"
	"scimbox/storage"
)

// frames is a client of HTTP/2 that sends what no decent client sends. Its methods return an error when the server has had enough.
type frames struct {
	net.Conn
	*http2.Framer
	headers bytes.Buffer
	pack    *hpack.Encoder
	sent    int // bytes
	stream  uint32
	polite  bool // pings are answered
}

// newFrames takes over a connection on which h2 was agreed, and sends the preface (RFC 9113 section 3.4).
func newFrames(c net.Conn) (*frames, error) {
	f := &frames{Conn: c, stream: 1}
	f.Framer = http2.NewFramer(countWriter{c, &f.sent}, c)
	f.AllowIllegalWrites = true
	f.pack = hpack.NewEncoder(&f.headers)
	if _, err := io.WriteString(c, http2.ClientPreface); err != nil {
		return nil, err
	}
	return f, f.WriteSettings()
}

type countWriter struct {
	w io.Writer
	n *int
}

func (c countWriter) Write(p []byte) (int, error) {
	*c.n += len(p)
	return c.w.Write(p)
}

// block packs the headers of a request.
func (f *frames) block(method, path string, more ...string) []byte {
	f.headers.Reset()
	pairs := append([]string{":method", method, ":scheme", "https", ":authority", "x", ":path", path}, more...)
	for i := 0; i < len(pairs); i += 2 {
		_ = f.pack.WriteField(hpack.HeaderField{Name: pairs[i], Value: pairs[i+1]}) // into memory
	}
	return f.headers.Bytes()
}

// open begins a request on the next stream.
func (f *frames) open(ends bool, block []byte) (stream uint32, err error) {
	stream, f.stream = f.stream, f.stream+2
	return stream, f.WriteHeaders(http2.HeadersFrameParam{StreamID: stream, BlockFragment: block, EndStream: ends, EndHeaders: true})
}

// told reads until the connection ends, and returns the codes of the errors that it was told.
func (f *frames) told() chan []http2.ErrCode {
	done := make(chan []http2.ErrCode, 1)
	go func() {
		var l []http2.ErrCode
		for {
			frame, err := f.ReadFrame()
			switch frame := frame.(type) {
			case *http2.GoAwayFrame:
				l = append(l, frame.ErrCode)
			case *http2.RSTStreamFrame:
				l = append(l, frame.ErrCode)
			case *http2.PingFrame:
				if f.polite && !frame.IsAck() {
					err = f.WritePing(true, frame.Data)
				}
			}
			if err != nil && !errors.As(err, new(http2.StreamError)) {
				done <- l
				return
			}
		}
	}()
	return done
}

// selfSigned is a certificate that nobody need trust.
func selfSigned() []tls.Certificate {
	maker := httptest.NewUnstartedServer(nil)
	maker.StartTLS()
	defer maker.Close()
	return maker.TLS.Certificates
}

// askAndThen asks a question 5,000 times, and does something to its stream at once.
func (f *frames) askAndThen(path, secret string, then func(id uint32) error) error {
	for range 5000 {
		id, err := f.open(true, f.block("GET", scim.BasePath+path, "authorization", "Bearer "+secret))
		if err == nil {
			err = then(id)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// floods are what is known to have brought servers down. Each sends until the server ends the connection, or all of it was taken.
var floods = []struct {
	name string
	ends bool // the server is to end it, before everything was sent
	send func(f *frames, secret, wrong string) error
	deaf bool // nothing of what the server says is read
}{
	{"rapid reset of questions (CVE-2023-44487)", false, func(f *frames, secret, _ string) error {
		return f.askAndThen("/Users?count=1", secret, func(id uint32) error { return f.WriteRSTStream(id, http2.ErrCodeCancel) })
	}, false},
	{"rapid reset of changes", false, func(f *frames, secret, _ string) error {
		for i := range 5000 {
			id, err := f.open(false, f.block("POST", scim.BasePath+"/Users", "authorization", "Bearer "+secret, "content-type", "application/scim+json"))
			if err == nil {
				err = f.WriteData(id, true, fmt.Appendf(nil, `{"schemas":["urn:ietf:params:scim:schemas:core:2.0:User"],"userName":"u%d"}`, i))
			}
			if err == nil && i%20 > 0 { // some are let through
				err = f.WriteRSTStream(id, http2.ErrCodeCancel)
			}
			if err != nil {
				return err
			}
		}
		return nil
	}, false},
	{"rapid reset of guesses", false, func(f *frames, _, wrong string) error {
		return f.askAndThen("/Users", wrong, func(id uint32) error { return f.WriteRSTStream(id, http2.ErrCodeCancel) })
	}, false},
	{"resets that the server is brought to send (CVE-2025-8671)", false, func(f *frames, secret, _ string) error {
		return f.askAndThen("/Users?count=1", secret, func(id uint32) error { return f.WriteWindowUpdate(id, 0) })
	}, false},
	{"more streams than were agreed on", false, func(f *frames, secret, _ string) error {
		for range 5000 {
			if _, err := f.open(false, f.block("POST", scim.BasePath+"/Users", "authorization", "Bearer "+secret)); err != nil {
				return err
			}
		}
		return nil
	}, false},
	{"headers without an end (CVE-2023-45288)", true, func(f *frames, _, _ string) error {
		block := slices.Clone(f.block("GET", scim.BasePath+"/Users", "x-a", strings.Repeat("a", 8<<10)))
		if err := f.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: block}); err != nil {
			return err
		}
		for range 20_000 {
			if err := f.WriteContinuation(1, false, block); err != nil {
				return err
			}
		}
		return nil
	}, false},
	{"empty continuations", false, func(f *frames, _, _ string) error {
		if err := f.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: f.block("GET", scim.BasePath+"/Users")}); err != nil {
			return err
		}
		for range 50_000 {
			if err := f.WriteContinuation(1, false, nil); err != nil {
				return err
			}
		}
		return nil
	}, false},
	{"headers that unpack to much (CVE-2016-6581)", false, func(f *frames, _, _ string) error {
		// One entry of 4 KB in the table, and then one byte for each time that it is meant.
		block := slices.Clone(f.block("GET", scim.BasePath+"/Users", "x-a", strings.Repeat("a", 4000)))
		for range 300 {
			bomb := append(slices.Clone(block), bytes.Repeat([]byte{0x80 | 62}, 15<<10)...)
			if _, err := f.open(true, bomb); err != nil {
				return err
			}
			block = f.block("GET", scim.BasePath+"/Users")
		}
		return nil
	}, false},
	{"many small headers", false, func(f *frames, _, _ string) error {
		for range 50 {
			var more []string
			for i := range 1500 {
				more = append(more, fmt.Sprintf("x%d", i), "")
			}
			if _, err := f.open(true, f.block("GET", scim.BasePath+"/Users", more...)); err != nil {
				return err
			}
		}
		return nil
	}, false},
	{"settings whose acknowledgement nobody reads (CVE-2019-9515)", false, func(f *frames, _, _ string) error {
		for range 50_000 {
			if err := f.WriteSettings(); err != nil {
				return err
			}
		}
		return nil
	}, true},
	{"pings (CVE-2019-9512)", false, func(f *frames, _, _ string) error {
		for range 20_000 {
			if err := f.WritePing(false, [8]byte{}); err != nil {
				return err
			}
		}
		return nil
	}, false},
	{"settings", false, func(f *frames, _, _ string) error {
		for range 20_000 {
			if err := f.WriteSettings(http2.Setting{ID: http2.SettingHeaderTableSize, Val: 1<<32 - 1}, http2.Setting{ID: http2.SettingInitialWindowSize, Val: 1<<31 - 1}); err != nil {
				return err
			}
		}
		return nil
	}, false},
	{"empty data (CVE-2019-9518)", false, func(f *frames, secret, _ string) error {
		id, err := f.open(false, f.block("POST", scim.BasePath+"/Users", "authorization", "Bearer "+secret))
		for range 20_000 {
			if err != nil {
				return err
			}
			err = f.WriteData(id, false, nil)
		}
		return err
	}, false},
	{"priorities and unknown frames (CVE-2019-9513)", false, func(f *frames, _, _ string) error {
		for i := range uint32(20_000) {
			err := f.WritePriority(2*i+1, http2.PriorityParam{StreamDep: 2*i + 3, Weight: byte(i)})
			if err == nil {
				err = f.WriteRawFrame(0xbb, 0xff, 2*i+1, []byte("x"))
			}
			if err != nil {
				return err
			}
		}
		return nil
	}, false},
}

// Whatever somebody sends on a connection of HTTP/2, others are answered beside it, it is over when the connection is, and what was
// changed by the way was changed as a whole. This machine is not held to a rate: what is seen here is what holds without it.
func TestHTTP2Floods(t *testing.T) {
	wrong := start(t, nil).secret // of somebody else, so that nothing but the digest tells
	o, log := options(t)
	o.tls = &tls.Config{Certificates: selfSigned(), MinVersion: tls.VersionTLS12}
	made := &counted{text: `"method":"POST","path":"/scim/v2/Users","status":201`} // all that is said would be more than what is held
	o.Logger = slog.New(slog.NewJSONHandler(made, nil))
	s := serve(t, o, log)
	secure := &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"h2"}}
	web := &http.Client{Timeout: 20 * time.Second, Transport: &http.Transport{ForceAttemptHTTP2: true, TLSClientConfig: secure}}
	defer web.CloseIdleConnections()
	ask := func(t *testing.T) string {
		t.Helper()
		r, err := http.NewRequestWithContext(t.Context(), "GET", "https://"+s.Address()+scim.BasePath+"/Users?count=0", nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Authorization", "Bearer "+s.secret)
		resp, err := web.Do(r)
		if err != nil {
			t.Fatalf("somebody else is not answered: %v", err)
		}
		defer resp.Body.Close()
		text, err := io.ReadAll(resp.Body)
		if err != nil || resp.StatusCode != 200 || resp.ProtoMajor != 2 {
			t.Fatalf("somebody else is answered with %s %v: %s", resp.Status, err, text)
		}
		return string(text)
	}
	ask(t)
	quiet, held := atRest()
	for _, flood := range floods {
		t.Run(flood.name, func(t *testing.T) {
			c, err := (&tls.Dialer{Config: secure}).DialContext(t.Context(), "tcp", s.Address())
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			if tc, ok := c.(*tls.Conn).NetConn().(*net.TCPConn); ok {
				_ = tc.SetReadBuffer(4 << 10) // else the machine reads megabytes for the deaf
			}
			_ = c.SetDeadline(time.Now().Add(time.Minute))
			f, err := newFrames(c)
			if err != nil {
				t.Fatal(err)
			}
			var told chan []http2.ErrCode
			if !flood.deaf {
				told = f.told()
			}
			sent := make(chan error, 1)
			go func() { sent <- flood.send(f, s.secret, wrong) }()
			var slowest time.Duration
			most, questions, ended := 0, 0, error(nil)
			for over := false; !over; questions++ {
				begin := time.Now()
				ask(t)
				slowest, most = max(slowest, time.Since(begin)), max(most, runtime.NumGoroutine())
				select {
				case ended = <-sent:
					over = true
				default:
				}
			}
			if slowest > 10*time.Second {
				t.Errorf("somebody else has waited for %s", slowest)
			}
			if limit := quiet + s.o.Config.Limits.Streams + 200; most > limit { // a flood that got through would make thousands
				t.Errorf("%d goroutines, %d before it", most, quiet)
			}
			if n := net.Error(nil); errors.As(ended, &n) && n.Timeout() {
				t.Fatalf("neither taken nor refused within a minute: %v", ended)
			}
			if flood.ends && ended == nil {
				t.Error("the server has taken all of it")
			}
			_ = c.Close()
			var codes []http2.ErrCode
			if told != nil {
				codes = <-told
			}
			t.Logf("%d KB sent, ended by %v, told %v; %d questions of somebody else, the slowest %s; %d goroutines, %d before",
				f.sent>>10, ended, slices.Compact(slices.Sorted(slices.Values(codes))), questions, slowest, most, quiet)
			calm(t, quiet, held)
		})
	}
	// What was reset in the middle was made as a whole or not at all, and there is as much as the log says.
	if text := ask(t); !strings.Contains(text, fmt.Sprintf(`"totalResults":%d,`, made.n.Load())) || made.n.Load() == 0 {
		t.Errorf("%d were made: %s", made.n.Load(), text)
	}
	report, err := s.house.Store.Check(t.Context(), storage.CheckOptions{})
	if err != nil || len(report.Findings) > 0 {
		t.Errorf("afterwards: %v, %+v", err, report)
	}
}

// counted counts the writes that have a text.
type counted struct {
	text string
	n    atomic.Int64
}

func (c *counted) Write(p []byte) (int, error) {
	if bytes.Contains(p, []byte(c.text)) {
		c.n.Add(1)
	}
	return len(p), nil
}

// atRest returns how many goroutines there are, and how much memory is in use.
func atRest() (goroutines int, held uint64) {
	var m runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m)
	return runtime.NumGoroutine(), m.HeapInuse + m.StackInuse
}

// calm waits until as little goes on as before, and fails if it does not within 20 seconds.
func calm(t *testing.T, goroutines int, held uint64) {
	t.Helper()
	late := time.After(20 * time.Second)
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		n, m := atRest()
		if n <= goroutines+8 && m <= held+64<<20 {
			return
		}
		select {
		case <-tick.C:
		case <-late:
			t.Fatalf("%d goroutines and %d MB, %d and %d MB before it", n, m>>20, goroutines, held>>20)
		}
	}
}

// A request that was reset is given up by whoever works on it, and no more are worked on than may be open: the client does not see
// them as open any more, but they are.
func TestResetRequestsEnd(t *testing.T) {
	t.Parallel()
	secure := &tls.Config{Certificates: selfSigned(), NextProtos: []string{"h2"}}
	var now, most, begun atomic.Int64
	waits := http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		begun.Add(1)
		n := now.Add(1)
		defer now.Add(-1)
		for m := most.Load(); n > m && !most.CompareAndSwap(m, n); m = most.Load() {
		}
		<-r.Context().Done() // as a long search does
		time.Sleep(time.Second)
	})
	const streams = 10
	inSecureBubble(t, secure, func(l *config.Limits) { l.Streams = streams }, waits, func(t *testing.T, p *pipes, _ *buffer) {
		c := tls.Client(p.dial("192.0.2.1:1"), &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"h2"}})
		f, err := newFrames(c)
		if err != nil {
			t.Fatal(err)
		}
		told := f.told()
		opened := 0
		for ; opened < 10_000 && err == nil; opened++ {
			var id uint32
			if id, err = f.open(true, f.block("GET", "/")); err == nil {
				err = f.WriteRSTStream(id, http2.ErrCodeCancel)
			}
		}
		codes := <-told
		_ = c.Close()
		time.Sleep(5 * time.Second)
		synctest.Wait()
		if most.Load() != streams {
			t.Errorf("%d were worked on at once, %d may be open", most.Load(), streams)
		}
		if n := now.Load(); n != 0 {
			t.Errorf("%d requests are still worked on", n)
		}
		if !slices.Contains(codes, http2.ErrCodeEnhanceYourCalm) || begun.Load() > 10*streams {
			t.Errorf("%d were opened, %d begun, and the client was told %v", opened, begun.Load(), codes)
		}
	})
}

// An answer that the client does not let out (a window of nothing, CVE-2019-9517) is given up as one that it does not read is.
func TestClosedWindow(t *testing.T) {
	t.Parallel()
	secure := &tls.Config{Certificates: selfSigned(), NextProtos: []string{"h2"}}
	var written atomic.Int64
	writes := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		begin, err := time.Now(), error(nil)
		for err == nil {
			_, err = io.WriteString(w, strings.Repeat("x", 1<<16))
		}
		written.Add(int64(time.Since(begin)))
	})
	inSecureBubble(t, secure, nil, writes, func(t *testing.T, p *pipes, _ *buffer) {
		c := tls.Client(p.dial("192.0.2.1:1"), &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"h2"}})
		f, err := newFrames(c)
		if err != nil {
			t.Fatal(err)
		}
		if err = f.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 0}); err != nil {
			t.Fatal(err)
		}
		for range 10 {
			if _, err = f.open(true, f.block("GET", "/")); err != nil {
				t.Fatal(err)
			}
		}
		f.polite = true
		told := f.told()
		time.Sleep(2 * time.Minute)
		synctest.Wait()
		if got := time.Duration(written.Load()); got != 10*70*time.Second {
			t.Errorf("ten answers were given up after %s together", got)
		}
		_ = c.Close()
		<-told
	})
}

// Answers to pings that nobody reads are not kept without an end.
func TestUnreadPings(t *testing.T) {
	t.Parallel()
	secure := &tls.Config{Certificates: selfSigned(), NextProtos: []string{"h2"}}
	inSecureBubble(t, secure, nil, http.NotFoundHandler(), func(t *testing.T, p *pipes, _ *buffer) {
		c := tls.Client(p.dial("192.0.2.1:1"), &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"h2"}})
		f, err := newFrames(c)
		pings := 0
		for ; pings < 100_000 && err == nil; pings++ {
			err = f.WritePing(false, [8]byte{})
		}
		if err == nil || pings < 1000 {
			t.Errorf("after %d pings: %v", pings, err)
		}
		_ = c.Close()
	})
}
