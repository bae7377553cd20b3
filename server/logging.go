package server

import (
	"context"
	"io"
	"log/slog"
	"math"
	"strconv"
	"sync"
	"time"

	"scimbox/server/config"
)

// NewLogger returns a logger as the configuration wants it, its level, which can be changed later, and what writes all that the
// logger still keeps, for the end. terminal says whether w is one.
func NewLogger(w io.Writer, terminal bool, c config.Log) (*slog.Logger, *slog.LevelVar, func()) {
	level := new(slog.LevelVar)
	level.Set(Level(c))
	o := &slog.HandlerOptions{Level: level}
	if c.Format == "text" || c.Format == "auto" && terminal {
		return slog.New(slog.NewTextHandler(w, o)), level, func() {}
	}
	out := &lines{w: w}
	return slog.New(&jsonHandler{slog.NewJSONHandler(out, o), out}), level, out.flush
}

// Level returns the level that the configuration names.
func Level(c config.Log) slog.Level {
	var l slog.Level
	if err := l.UnmarshalText([]byte(c.Level)); err != nil {
		return slog.LevelInfo // config has refused the others
	}
	return l
}

// jsonHandler writes the lines of requests as the handler of the standard library does, which it asks to write all others: those
// are few, and each request has one of its own.
type jsonHandler struct {
	slog.Handler
	out *lines
}

var linePool = sync.Pool{New: func() any { return new([]byte) }}

// Handle implements [slog.Handler].
func (h *jsonHandler) Handle(ctx context.Context, r slog.Record) error {
	if r.Message != accessMessage || r.Level >= slog.LevelError {
		return h.Handler.Handle(ctx, r)
	}
	buf, _ := linePool.Get().(*[]byte)
	defer linePool.Put(buf)
	line, ok := appendLine((*buf)[:0], r)
	*buf = line
	if !ok {
		return h.Handler.Handle(ctx, r)
	}
	return h.out.later(line)
}

// appendLine appends a record as slog.JSONHandler writes it. ok is false for one that has more in it than numbers and texts of
// plain ASCII.
func appendLine(b []byte, r slog.Record) (line []byte, ok bool) {
	if r.Time.IsZero() || r.Time.Year() < 0 || r.Time.Year() > 9999 || r.PC != 0 || !plainText(r.Message) {
		return b, false
	}
	b = append(b, `{"time":"`...)
	b = r.Time.AppendFormat(b, time.RFC3339Nano)
	b = append(append(b, `","level":"`...), r.Level.String()...)
	b = append(append(append(b, `","msg":"`...), r.Message...), '"')
	ok = true
	r.Attrs(func(a slog.Attr) bool {
		if ok = a.Key != "" && plainText(a.Key); !ok {
			return false
		}
		b = append(append(append(b, `,"`...), a.Key...), `":`...)
		switch v := a.Value; v.Kind() {
		case slog.KindString:
			if ok = plainText(v.String()); ok {
				b = append(append(append(b, '"'), v.String()...), '"')
			}
		case slog.KindInt64:
			b = strconv.AppendInt(b, v.Int64(), 10)
		case slog.KindFloat64:
			f := v.Float64()
			if ok = f == 0 && !math.Signbit(f) || f >= 1e-6 && f < 1e21; ok { // others have exponents, or are no JSON
				b = strconv.AppendFloat(b, f, 'f', -1, 64)
			}
		case slog.KindBool:
			b = strconv.AppendBool(b, v.Bool())
		default:
			ok = false
		}
		return ok
	})
	return append(b, '}', '\n'), ok
}

// plainText reports whether s is the same in JSON.
func plainText(s string) bool {
	for i := range len(s) {
		if c := s[i]; c < ' ' || c > '~' || c == '"' || c == '\\' {
			return false
		}
	}
	return true
}

const (
	latest   = 5 * time.Millisecond // that a line is kept before it is written
	mostKept = 32 << 10             // bytes that are kept
)

// lines writes lines, several at once when many come: a write is a system call, and if somebody reads the other end of a pipe, he is
// woken by each. A line that comes alone is written at once.
type lines struct {
	w io.Writer

	mu      sync.Mutex
	kept    []byte
	written time.Time // when there was last a write
	armed   bool      // a timer is going to write what is kept
}

// Write writes p, and before it what is kept.
func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.kept = append(l.kept, p...)
	return len(p), l.write()
}

// later writes line in a moment.
func (l *lines) later(line []byte) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.kept = append(l.kept, line...)
	if len(l.kept) >= mostKept || !l.armed && time.Since(l.written) >= latest {
		return l.write()
	}
	if !l.armed {
		l.armed = true
		time.AfterFunc(latest, l.flush)
	}
	return nil
}

// flush writes what is kept.
func (l *lines) flush() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.armed = false
	_ = l.write() // there is nowhere to tell that a log cannot be written
}

// write is called with the lock held: lines stay in their order.
func (l *lines) write() error {
	if len(l.kept) == 0 {
		return nil
	}
	_, err := l.w.Write(l.kept)
	l.kept, l.written = l.kept[:0], time.Now()
	return err
}
