package cli

import (
	"strings"
	"testing"
	"time"
)

const day = 24 * time.Hour

func TestSpan(t *testing.T) {
	for d, want := range map[time.Duration]string{
		0:                              "a moment",
		999 * time.Millisecond:         "a moment",
		time.Second:                    "1 second",
		1900 * time.Millisecond:        "1 second",
		2 * time.Second:                "2 seconds",
		59 * time.Second:               "59 seconds",
		time.Minute:                    "1 minute",
		61 * time.Second:               "1 minute",
		90 * time.Second:               "90 seconds", // 1 minute would be far off
		2 * time.Minute:                "2 minutes",
		time.Hour:                      "1 hour",
		61 * time.Minute:               "1 hour",
		90 * time.Minute:               "90 minutes",
		47 * time.Hour:                 "47 hours",
		2 * day:                        "2 days",
		180*day + 23*time.Hour:         "180 days",
		2 * 365 * day:                  "730 days",
		23*time.Hour + 59*time.Minute:  "23 hours",
		day + 2*time.Minute:            "1 day",
		day + 12*time.Hour:             "36 hours",
		119*time.Second + 999*1000_000: "119 seconds",
	} {
		if got := span(d); got != want {
			t.Errorf("span(%v) = %q, want %q", d, got, want)
		}
	}
}

func TestDistance(t *testing.T) {
	now := time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)
	for d, want := range map[time.Duration]string{
		0:                             "now",
		999 * time.Millisecond:        "now",
		-999 * time.Millisecond:       "now",
		-time.Second:                  "1 second ago",
		-3 * time.Minute:              "3 minutes ago",
		-200 * day:                    "200 days ago",
		time.Minute:                   "in 1 minute",
		time.Minute - time.Second/2:   "in 1 minute", // asked for a moment ago
		time.Hour - time.Second:       "in 1 hour",
		2*day - time.Second:           "in 2 days",
		180*day - time.Minute:         "in 180 days",
		180*day - 61*time.Minute:      "in 179 days",
		730*day - time.Second:         "in 730 days",
		30 * time.Second:              "in 30 seconds",
		20*time.Hour + 50*time.Minute: "in 21 hours",
		20*time.Hour + 30*time.Minute: "in 20 hours",
	} {
		if got := distance(now.Add(d), now); got != want {
			t.Errorf("distance of %v is %q, want %q", d, got, want)
		}
	}
}

func TestBytes(t *testing.T) {
	for n, want := range map[int64]string{
		0: "0 B", 999: "999 B", 1000: "0.977 KiB", 1 << 10: "1 KiB", 1536: "1.5 KiB", 999 << 10: "999 KiB", 1_023_700: "0.976 MiB", 1000 << 10: "0.977 MiB",
		1 << 20: "1 MiB", 12345678: "11.8 MiB", 5 << 30: "5 GiB", 3 << 40: "3 TiB", 2000 << 40: "2000 TiB",
	} {
		if got := bytes(n); got != want {
			t.Errorf("bytes(%d) = %q, want %q", n, got, want)
		}
	}
}

func TestPlural(t *testing.T) {
	for n, want := range map[int64]string{0: "0 rows", 1: "1 row", 2: "2 rows", 1_000_000: "1000000 rows"} {
		if got := plural(n, "row"); got != want {
			t.Errorf("plural(%d) = %q, want %q", n, got, want)
		}
	}
}

// Columns are aligned, and no line ends in blanks.
func TestTable(t *testing.T) {
	var b strings.Builder
	if err := table(&b, [][]string{{"ID", "NAME"}, {"k3jvq7m2xw4a", "Zoë"}, {"", "second line of the same"}}); err != nil {
		t.Fatal(err)
	}
	want := "ID            NAME\nk3jvq7m2xw4a  Zoë\n              second line of the same\n"
	if b.String() != want {
		t.Errorf("got\n%swant\n%s", b.String(), want)
	}
}

// Whatever a help text has in it comes out of man as it is written.
func TestRoff(t *testing.T) {
	for text, want := range map[string]string{
		"plain":            "plain",
		"--json":           `\-\-json`,
		`C:\data`:          `C:\edata`,
		".TP is a request": `\&.TP is a request`,
		"one\n'two":        "one\n\\&'two",
	} {
		if got := roff(text); got != want {
			t.Errorf("%q is written as %q, want %q", text, got, want)
		}
	}
}
