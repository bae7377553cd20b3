package server

import (
	"io"
	"log/slog"
	"math"
	"strconv"
	"sync"
	"sync/atomic"
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
	return slog.New(&jsonHandler{Handler: slog.NewJSONHandler(out, o), out: out}), level, out.flush
}

// Level returns the level that the configuration names.
func Level(c config.Log) slog.Level {
	var l slog.Level
	if err := l.UnmarshalText([]byte(c.Level)); err != nil {
		return slog.LevelInfo // config has refused the others
	}
	return l
}

// jsonHandler is the handler of the standard library, which writes all lines but those of requests: those are few, and each request
// has one of its own.
type jsonHandler struct {
	slog.Handler
	out    *lines
	second atomic.Pointer[second] // of the last line of a request; nil before the first
}

// request writes the line of a request, as the handler of the standard library would with a record of the same. It returns false, and
// has written nothing, if that one is to do it: a line of an error is written at once, and others may be of a form that is not ours to
// write.
func (h *jsonHandler) request(at time.Time, level slog.Level, attrs []slog.Attr) bool {
	if level >= slog.LevelError {
		return false
	}
	var room [512]byte // most lines are shorter, and stay on the stack
	line, ok := h.appendLine(room[:0], at, level, attrs)
	if ok {
		_ = h.out.later(line) // there is nowhere to tell that a log cannot be written
	}
	return ok
}

// appendLine appends the line of a request as slog.JSONHandler writes it. ok is false for one that has more in it than numbers and
// texts of plain ASCII.
func (h *jsonHandler) appendLine(b []byte, at time.Time, level slog.Level, attrs []slog.Attr) (line []byte, ok bool) {
	s := h.second.Load()
	if s == nil || s.unix != at.Unix() || s.zone != at.Location() {
		if at.IsZero() || at.Year() < 0 || at.Year() > 9999 {
			return b, false
		}
		s = secondOf(at)
		h.second.Store(s)
	}
	b = append(b, `{"time":"`...)
	b = s.append(b, at)
	b = append(append(b, `","level":"`...), level.String()...)
	b = append(b, `","msg":"`+accessMessage+`"`...)
	for i := range attrs {
		a := &attrs[i]
		if a.Key == "" || !plainText(a.Key) {
			return b, false
		}
		b = append(append(append(b, `,"`...), a.Key...), `":`...)
		ok = true
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
		if !ok {
			return b, false
		}
	}
	return append(b, '}', '\n'), true
}

// second is a second of the clock as times in it are written. Many lines have the same one.
type second struct {
	unix         int64
	zone         *time.Location
	text, behind string // what stands before the fraction and behind it
}

func secondOf(at time.Time) *second {
	return &second{at.Unix(), at.Location(), at.Format("2006-01-02T15:04:05"), at.Format("Z07:00")}
}

// append appends a time in the second, as Time.AppendFormat does by time.RFC3339Nano.
func (s *second) append(b []byte, at time.Time) []byte {
	b = append(b, s.text...)
	if n := at.Nanosecond(); n > 0 {
		digits := 9
		for ; n%10 == 0; digits-- {
			n /= 10
		}
		b = append(append(b, '.'), "000000000"[:digits]...)
		for i := len(b) - 1; n > 0; i-- {
			b[i] += byte(n % 10)
			n /= 10
		}
	}
	return append(b, s.behind...)
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
