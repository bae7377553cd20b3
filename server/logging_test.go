package server

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"scimbox/server/config"
)

// Whatever is logged, a line is the one that the standard library writes.
func TestLinesAreThoseOfTheStandardLibrary(t *testing.T) {
	t.Parallel()
	texts := rapid.OneOf(rapid.String(), rapid.StringMatching(`[ -~]{0,20}`), rapid.SampledFrom([]string{"", "<&>", `"`, `\`, "\u2028", "\x7f", "\xff", "é"}))
	rapid.Check(t, func(t *rapid.T) {
		var want, got bytes.Buffer
		options := &slog.HandlerOptions{Level: slog.LevelDebug}
		standard := slog.Handler(slog.NewJSONHandler(&want, options))
		logger, level, flush := NewLogger(&got, false, config.Log{Level: "debug", Format: "json"})
		level.Set(slog.LevelDebug)
		ours := logger.Handler()
		if rapid.IntRange(0, 9).Draw(t, "with") == 0 {
			with := []slog.Attr{slog.String("always", "there")}
			standard, ours = standard.WithAttrs(with).WithGroup("g"), ours.WithAttrs(with).WithGroup("g")
		}
		for range rapid.IntRange(1, 4).Draw(t, "lines") {
			message := accessMessage
			if rapid.IntRange(0, 3).Draw(t, "other message") == 0 {
				message = texts.Draw(t, "message")
			}
			at := time.Unix(rapid.Int64Range(-70_000_000_000, 300_000_000_000).Draw(t, "seconds"), rapid.Int64Range(0, 999_999_999).Draw(t, "nanoseconds"))
			at = at.In(time.FixedZone("", 60*rapid.IntRange(-720, 720).Draw(t, "zone")))
			if rapid.IntRange(0, 20).Draw(t, "no time") == 0 {
				at = time.Time{}
			}
			r := slog.NewRecord(at, slog.Level(rapid.IntRange(-4, 9).Draw(t, "level")), message, 0)
			for range rapid.IntRange(0, 13).Draw(t, "attributes") {
				key := texts.Draw(t, "key")
				switch rapid.IntRange(0, 8).Draw(t, "kind") {
				case 0:
					r.AddAttrs(slog.Int64(key, rapid.Int64().Draw(t, "number")))
				case 1:
					r.AddAttrs(slog.Float64(key, rapid.Float64().Draw(t, "float")))
				case 2:
					r.AddAttrs(slog.Float64(key, float64(rapid.Int32Range(0, 100_000_000).Draw(t, "µs"))/1000))
				case 3:
					r.AddAttrs(slog.Bool(key, rapid.Bool().Draw(t, "bool")))
				case 4:
					r.AddAttrs(slog.Any(key, io.EOF), slog.Duration(key, time.Second), slog.Time(key, at), slog.Any(key, nil))
				case 5:
					r.AddAttrs(slog.Group(key, slog.String("a", "b")), slog.Attr{})
				default:
					r.AddAttrs(slog.String(key, texts.Draw(t, "text")))
				}
			}
			if err, other := standard.Handle(t.Context(), r), writeLine(t.Context(), ours, r); (err == nil) != (other == nil) {
				t.Fatalf("%v, the standard library: %v", other, err)
			}
		}
		flush()
		if got.String() != want.String() {
			t.Fatalf("\n%s\nthe standard library writes\n%s", &got, &want)
		}
	})
}

// writeLine writes a record as Server.log does with that of a request.
func writeLine(ctx context.Context, h slog.Handler, r slog.Record) error {
	if ours, ok := h.(*jsonHandler); ok && r.Message == accessMessage {
		var attrs []slog.Attr
		r.Attrs(func(a slog.Attr) bool {
			attrs = append(attrs, a)
			return true
		})
		if ours.request(r.Time, r.Level, attrs) {
			return nil
		}
	}
	return h.Handle(ctx, r)
}

// A line of a request must not fall back to the standard library unseen: then it would cost what it did.
func TestLinesOfRequestsArePlain(t *testing.T) {
	t.Parallel()
	line, ok := new(jsonHandler).appendLine(nil, time.Now(), slog.LevelInfo, []slog.Attr{
		slog.String("path", "/scim/v2/Users/*"), slog.Int("status", 200), slog.Float64("ms", 0.412), slog.Bool("aborted", true)})
	if !ok {
		t.Errorf("not plain: %s", line)
	}
}

// What is remembered of a second is not that of another one, nor of one in another zone.
func TestSecondsOfLines(t *testing.T) {
	t.Parallel()
	zones := []*time.Location{time.Local, time.UTC, time.FixedZone("", 3600), time.FixedZone("", -5400)}
	rapid.Check(t, func(t *rapid.T) {
		h := new(jsonHandler)
		begin := rapid.Int64Range(-62_135_596_800, 253_402_300_790).Draw(t, "seconds")
		for range rapid.IntRange(1, 8).Draw(t, "lines") {
			n := rapid.OneOf(rapid.Int64Range(0, 999_999_999), rapid.SampledFrom([]int64{0, 1, 10, 100_000_000, 123_000_000, 999_999_999})).Draw(t, "nanoseconds")
			at := time.Unix(begin+rapid.Int64Range(0, 2).Draw(t, "later"), n).In(rapid.SampledFrom(zones).Draw(t, "zone"))
			line, ok := h.appendLine(nil, at, slog.LevelInfo, nil)
			if plain := !at.IsZero() && at.Year() >= 0 && at.Year() <= 9999; ok != plain {
				t.Fatalf("%v: %v", at, ok)
			}
			if want := `{"time":"` + at.Format(time.RFC3339Nano) + `",`; ok && !strings.HasPrefix(string(line), want) {
				t.Fatalf("%s, want %s", line, want)
			}
		}
	})
}

// writes is a writer that tells its writes apart.
type writes struct {
	mu  sync.Mutex
	all []string
}

func (w *writes) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.all = append(w.all, string(p))
	return len(p), nil
}

func (w *writes) String() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return strings.Join(w.all, "|")
}

// Lines that come fast are written together, after a moment; one that comes alone, and what is no line of a request, at once and in
// order.
func TestLinesAreWrittenTogether(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := new(writes)
		l := &lines{w: w}
		expect := func(what, want string) {
			t.Helper()
			synctest.Wait()
			if got := w.String(); got != want {
				t.Errorf("%s: %q, want %q", what, got, want)
			}
		}
		for _, line := range []string{"a", "b", "c"} {
			if err := l.later([]byte(line)); err != nil {
				t.Fatal(err)
			}
		}
		expect("at once", "a")
		time.Sleep(latest)
		expect("in a moment", "a|bc")
		time.Sleep(time.Hour)
		expect("nothing more", "a|bc")
		_ = l.later([]byte("d"))
		expect("alone", "a|bc|d")
		_ = l.later([]byte("e"))
		if _, err := l.Write([]byte("f")); err != nil {
			t.Fatal(err)
		}
		expect("another line", "a|bc|d|ef")
		_ = l.later([]byte("g"))
		l.flush()
		expect("the end", "a|bc|d|ef|g")
		time.Sleep(time.Hour)
		w.all = nil
		big := strings.Repeat("x", mostKept/4)
		for range 6 {
			_ = l.later([]byte(big))
		}
		expect("much", big+"|"+strings.Repeat(big, 4))
		time.Sleep(latest)
		expect("the rest", big+"|"+strings.Repeat(big, 4)+"|"+big)
	})
}
