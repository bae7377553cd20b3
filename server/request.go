package server

import (
	"crypto/rand"
	"encoding/base32"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"time"

	"scimbox/scim"
	"scimbox/server/metrics"
)

const requestIDHeader = "X-Request-Id"

// observation is what is known of a request besides what it says itself: what the access log tells, on whose behalf it is made, and
// what has become of it. Inner handlers fill in what only they learn. All of it is one allocation and one value of the context,
// because each request pays for it.
type observation struct {
	id            string
	begin         time.Time
	token, tenant string
	name          string // of the token; for no log
	source        source
	caller        *scim.Caller // nil if nobody was let in, else &who
	who           scim.Caller
	refused       string // why nobody was let in
	tooFast       bool   // one of many that were too many, and not worth keeping
	exceeded      metrics.Rate
	operation     metrics.Operation
	shownID       [1]string // id, as the header of the answer has it

	ctx   requestContext
	out   writer // the answer as it is sent
	tap   tap    // the answer as it was before it was compressed
	inner writer // the same, which a panic may have interrupted
}

type observationKey struct{}

// observationOf returns the observation of a request that has come through observed.
func observationOf(r *http.Request) *observation {
	if c, ok := r.Context().(*requestContext); ok {
		return c.observation
	}
	if o, ok := r.Context().Value(observationKey{}).(*observation); ok {
		return o
	}
	return &observation{begin: time.Now(), source: sourceOf(r, nil)}
}

// observed gives a request its id and its time, and writes one line of log for it. The line holds no value of a query
// parameter, no body, and no part of a path that could be a name: filters and mistyped URLs hold personal data.
func (s *Server) observed(next http.Handler) http.Handler {
	limit := s.o.Config.Limits.RequestTimeout.Duration
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		begin := time.Now()
		o := &observation{id: requestID(r), begin: begin, source: sourceOf(r, s.trusted), out: writer{ResponseWriter: w}}
		o.shownID[0] = o.id
		w.Header()[requestIDHeader] = o.shownID[:]
		endWithChunks(w, r)
		// For the body alone, and anew for each request: a ReadTimeout would count from the headers of the first one.
		if r.Body != nil && r.Body != http.NoBody {
			if err := http.NewResponseController(w).SetReadDeadline(begin.Add(limit)); err != nil && !errors.Is(err, http.ErrNotSupported) {
				s.o.Logger.Warn("a request has no deadline for its body", "request", o.id, "error", err)
			}
		}
		o.ctx.begin(r.Context(), o, begin.Add(limit))
		defer o.ctx.finish()
		out := &o.out
		aborted := true
		s.metrics.Begin()
		r = r.WithContext(&o.ctx)
		defer func() {
			took := time.Since(begin)
			s.log(r, o, out, took, aborted)
			s.seen(r, o, out.code())
			s.measured(r, o, out.code(), took, aborted)
		}()
		next.ServeHTTP(out, r)
		aborted = false
	})
}

// endWithChunks lets no request follow one whose body came in chunks on the same connection of HTTP/1. If it had a length too, then
// something in between may have gone by that, and what it took for the end of the body is the beginning of a request that nobody
// has sent; RFC 9112 section 6.1 asks for the end of the connection. net/http drops the length, so that it cannot be seen here.
func endWithChunks(w http.ResponseWriter, r *http.Request) {
	if r.ProtoMajor == 1 && len(r.TransferEncoding) > 0 {
		w.Header().Set("Connection", "close")
	}
}

// accessMessage is the message of the line that each request has in the log.
const accessMessage = "request"

func (s *Server) log(r *http.Request, o *observation, out *writer, took time.Duration, aborted bool) {
	level := slog.LevelInfo
	switch {
	case out.status >= 500 || aborted:
		level = slog.LevelError
	case r.URL.Path == healthPath, r.URL.Path == readyPath, routine(r):
		level = slog.LevelDebug
	}
	handler, ctx := s.o.Logger.Handler(), r.Context()
	if !handler.Enabled(ctx, level) {
		return
	}
	var room [13]slog.Attr // as many as there can be
	attrs := append(room[:0],
		slog.String("request", o.id),
		slog.String("method", method(r.Method)),
		slog.String("path", loggedPath(r.URL.EscapedPath())),
		slog.Int("status", out.code()),
		slog.Int64("bytes", out.bytes),
		slog.Float64("ms", float64(took.Microseconds())/1000),
		slog.String("client", client(r)),
	)
	if names := loggedParameters(r.URL.RawQuery); names != "" {
		attrs = append(attrs, slog.String("query", names))
	}
	if o.token != "" {
		attrs = append(attrs, slog.String("token", o.token), slog.String("tenant", o.tenant))
	}
	if agent := loggedAgent(agentOf(r)); agent != "" {
		attrs = append(attrs, slog.String("agent", agent))
	}
	if trace := traceID(first(r.Header["Traceparent"])); trace != "" {
		attrs = append(attrs, slog.String("trace", trace))
	}
	if aborted {
		attrs = append(attrs, slog.Bool("aborted", true))
	}
	at := o.begin.Add(took)
	if ours, ok := handler.(*jsonHandler); ok && ours.request(at, level, attrs) {
		return
	}
	// By the handler and not by the logger, which would look for where in the source this is, and nobody shows that.
	line := slog.NewRecord(at, level, accessMessage, 0)
	line.AddAttrs(attrs...)
	_ = handler.Handle(ctx, line) // there is nowhere to tell that a log cannot be written
}

// first returns the first value of a header, "" if there is none: http.Header.Get for a name that is known to have its form, which Get
// would make of it for each request.
func first(values []string) string {
	if len(values) == 0 {
		return ""
	}
	return values[0]
}

func agentOf(r *http.Request) string { return first(r.Header["User-Agent"]) }

var knownMethods = []string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"}

// requestID takes the id that the client, or a proxy, has given the request, so that it can be found in their logs too; or
// makes one.
func requestID(r *http.Request) string {
	if id := first(r.Header[requestIDHeader]); wellFormedID(id) && !strings.Contains(id, "scimbox_") {
		return id
	}
	return newRequestID()
}

// randomIDs are ids that nobody has been given yet, one after the other. Many are made at once: to ask the system for randomness is
// most of what one costs.
type randomIDs struct{ left string }

const (
	idBytes  = 10 // 80 bits,
	idLength = 16 // which are so many characters of base32
)

var idPool = sync.Pool{New: func() any { return new(randomIDs) }}

func newRequestID() string {
	ids, _ := idPool.Get().(*randomIDs)
	defer idPool.Put(ids)
	if ids.left == "" {
		var random [64 * idBytes]byte
		_, _ = rand.Read(random[:]) // it never fails
		ids.left = base32.StdEncoding.EncodeToString(random[:])
	}
	id := ids.left[:idLength]
	ids.left = ids.left[idLength:]
	return id
}

func method(m string) string {
	if slices.Contains(knownMethods, m) {
		return m
	}
	return "other"
}

// recovered turns a panic into an internal error, of which the client learns the request's id and the log the rest. It
// stands inside of the compression, which would otherwise send what it has collected as if it were whole.
func (s *Server) recovered(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		out := &observationOf(r).inner
		out.ResponseWriter = w
		defer func() {
			cause := recover()
			if cause == nil {
				return
			}
			if cause == http.ErrAbortHandler {
				panic(cause)
			}
			s.o.Logger.Error("panic", "request", observationOf(r).id, "method", method(r.Method), "path", loggedPath(r.URL.EscapedPath()),
				"panic", fmt.Sprintf("%T", cause), "error", panicText(cause), "stack", string(debug.Stack()))
			if out.status != 0 {
				panic(http.ErrAbortHandler) // the client has read a success; only a broken connection can tell otherwise
			}
			clear(w.Header())
			w.Header().Set(requestIDHeader, observationOf(r).id)
			endWithChunks(w, r)
			w.Header().Set("X-Content-Type-Options", "nosniff")
			writeError(w, r, &scim.Error{Status: http.StatusInternalServerError, Detail: "internal error; the cause is in the server's log"})
		}()
		next.ServeHTTP(out, r)
	})
}

// panicText returns what a panic says of itself if the runtime or an error says it. A panic with any other value may hold
// what a client has sent; its type and the stack have to do.
func panicText(cause any) string {
	if err, ok := cause.(error); ok {
		return err.Error()
	}
	return ""
}

// writer remembers what has been answered.
type writer struct {
	http.ResponseWriter
	status int // 0 = nothing yet
	bytes  int64
}

// WriteHeader implements [http.ResponseWriter].
func (w *writer) WriteHeader(status int) {
	if w.status == 0 && status >= 200 {
		w.status = status
	}
	w.ResponseWriter.WriteHeader(status)
}

// Write implements [http.ResponseWriter].
func (w *writer) Write(p []byte) (int, error) {
	if w.status == 0 {
		w.status = http.StatusOK
	}
	n, err := w.ResponseWriter.Write(p)
	w.bytes += int64(n)
	return n, err
}

// Unwrap is for [http.ResponseController].
func (w *writer) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// code is the status that net/http sends for a handler that has sent none.
func (w *writer) code() int {
	if w.status == 0 {
		return http.StatusOK
	}
	return w.status
}
