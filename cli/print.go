package cli

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"
)

// printJSON prints v for programs.
func (a *app) printJSON(v any) error {
	e := json.NewEncoder(a.Stdout)
	e.SetIndent("", "  ")
	return e.Encode(v)
}

// table prints rows with their columns aligned.
func table(w io.Writer, rows [][]string) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, row := range rows {
		// A cell that is not ended is not aligned, so that the last column of a row pads nothing.
		if _, err := fmt.Fprintln(t, strings.Join(row, "\t")); err != nil {
			return err
		}
	}
	return t.Flush()
}

// moment prints a time to the minute, in the zone of the reader.
func moment(t time.Time) string { return t.Local().Format("2006-01-02 15:04") }

// span prints a duration in its largest unit of which it is two at least, or one very nearly, so that it is never far off.
func span(d time.Duration) string {
	const day = 24 * time.Hour
	for _, u := range []struct {
		size time.Duration
		name string
	}{{day, "day"}, {time.Hour, "hour"}, {time.Minute, "minute"}, {time.Second, "second"}} {
		if n := d / u.size; n >= 2 || n == 1 && (d%u.size)*50 < u.size || n == 1 && u.size == time.Second {
			return plural(int64(n), u.name)
		}
	}
	return "a moment"
}

func plural(n int64, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// distance prints how far a time is from now: "in 3 days", "5 hours ago".
func distance(t, now time.Time) string {
	switch d := t.Sub(now); {
	case d >= time.Second:
		// A moment is lost between asking for 90 days and looking at what was made; nobody wants to read 89.
		return "in " + span(d+min(d/100, time.Hour))
	case d <= -time.Second:
		return span(-d) + " ago"
	}
	return "now"
}

// bytes prints a size to three digits.
func bytes(n int64) string {
	units, f := []string{"B", "KiB", "MiB", "GiB", "TiB"}, float64(n)
	for f >= 999.5 && len(units) > 1 { // which three digits would round up to a fourth
		f, units = f/1024, units[1:]
	}
	switch {
	case units[0] == "B":
		return fmt.Sprintf("%d B", n)
	case f >= 999.5:
		return fmt.Sprintf("%.0f %s", f, units[0])
	}
	return fmt.Sprintf("%.3g %s", f, units[0])
}
