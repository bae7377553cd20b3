package config

import (
	"errors"
	"fmt"
	"math"
	"math/big"
	"strconv"
	"strings"
	"time"
)

const (
	day  = 24 * time.Hour
	week = 7 * day
)

// Duration is a time.Duration written with its unit: "90s", "1h30m", "180d", "26w". It is a struct, so that a TOML integer
// cannot slip in as nanoseconds.
type Duration struct{ time.Duration }

// Size is a number of bytes written with its unit: "512B", "16KiB", "1MiB", "2GiB", or decimal "16kB", "1MB", "2GB".
type Size struct{ Bytes int64 }

type unit struct {
	name string
	size int64
}

// Longest name first where one ends in another; String takes the largest unit that leaves no rest.
var (
	timeUnits = []unit{
		{"w", int64(week)}, {"d", int64(day)}, {"h", int64(time.Hour)}, {"ms", int64(time.Millisecond)},
		{"m", int64(time.Minute)}, {"s", int64(time.Second)},
	}
	sizeUnits = []unit{
		{"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10}, {"GB", 1e9}, {"MB", 1e6}, {"kB", 1e3}, {"KB", 1e3}, {"B", 1},
	}
)

const (
	durationForm = `write a number and its unit: ms, s, m, h, d (24 hours) or w (7 days), such as "90s", "1h30m" or "180d"`
	sizeForm     = `write a number and its unit: B, KiB, MiB, GiB (or kB, MB, GB), such as "16KiB" or "1MiB"`
)

// ParseDuration reads a duration as Duration has it; a sequence of several units is added up. It is never negative.
func ParseDuration(s string) (time.Duration, error) {
	total := new(big.Rat) // exactly: a float64 loses nanoseconds after 104 days
	rest := s
	if rest == "" {
		return 0, fmt.Errorf("%q is no duration; %s", s, durationForm)
	}
	for rest != "" {
		n, u, r, err := quantity(rest, timeUnits)
		if err != nil {
			return 0, fmt.Errorf("%q %w; %s", s, err, durationForm)
		}
		total.Add(total, n.Mul(n, new(big.Rat).SetInt64(u)))
		rest = r
	}
	if total.Cmp(new(big.Rat).SetInt64(math.MaxInt64/2)) > 0 {
		return 0, fmt.Errorf("%q is longer than anything here can last", s)
	}
	// What is finer than a nanosecond is cut off.
	return time.Duration(new(big.Int).Quo(total.Num(), total.Denom()).Int64()), nil
}

// ParseSize reads a size as Size has it.
func ParseSize(s string) (int64, error) {
	n, u, rest, err := quantity(s, sizeUnits)
	if err == nil && rest != "" {
		err = errors.New("is no size")
	}
	if err != nil {
		return 0, fmt.Errorf("%q %w; %s", s, err, sizeForm)
	}
	bytes := n.Mul(n, new(big.Rat).SetInt64(u))
	if !bytes.IsInt() || !bytes.Num().IsInt64() {
		return 0, fmt.Errorf("%q is no whole number of bytes that anything has; %s", s, sizeForm)
	}
	return bytes.Num().Int64(), nil
}

// quantity takes a number and a unit off the front of s.
func quantity(s string, units []unit) (n *big.Rat, size int64, rest string, err error) {
	end := strings.IndexFunc(s, func(r rune) bool { return (r < '0' || r > '9') && r != '.' })
	if end < 0 {
		end = len(s)
	}
	n, ok := new(big.Rat).SetString(s[:end])
	if !ok {
		return nil, 0, "", errors.New("does not start with a number")
	}
	rest = strings.TrimLeft(s[end:], " ")
	if rest == "" {
		return nil, 0, "", errors.New("has no unit")
	}
	for _, u := range units {
		after, ok := strings.CutPrefix(rest, u.name)
		// "m" is the start of "ms" and of "month": a unit ends where the next number starts.
		if ok && (after == "" || after[0] == ' ' || after[0] >= '0' && after[0] <= '9') {
			return n, u.size, strings.TrimLeft(after, " "), nil
		}
	}
	return nil, 0, "", fmt.Errorf("has the unknown unit %q", strings.TrimRight(rest, "0123456789. "))
}

// UnmarshalText implements [encoding.TextUnmarshaler].
func (d *Duration) UnmarshalText(text []byte) (err error) {
	d.Duration, err = ParseDuration(string(text))
	return err
}

// MarshalText implements [encoding.TextMarshaler].
func (d Duration) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// String writes d so that ParseDuration reads it back, in the largest unit that fits.
func (d Duration) String() string {
	if d.Duration == 0 {
		return "0s"
	}
	n := int64(d.Duration)
	for _, name := range []string{"d", "h", "m", "s", "ms"} {
		for _, u := range timeUnits {
			if u.name == name && n%u.size == 0 {
				return strconv.FormatInt(n/u.size, 10) + name
			}
		}
	}
	return d.Duration.String()
}

// Times are several durations: ["30d", "7d"] in the file, 30d,7d in the environment. A duration alone is one of them, as it
// was written when there could be but one, and 0s, or an empty list, is none.
type Times []Duration

// parse reads what String prints.
func (t *Times) parse(text string) error {
	l := Times{}
	for _, entry := range parseList(text) {
		d, err := ParseDuration(entry)
		if err != nil {
			return err
		}
		if d != 0 {
			l = append(l, Duration{d})
		}
	}
	*t = l
	return nil
}

// String prints the times as the environment has them.
func (t Times) String() string {
	var l []string
	for _, d := range t {
		l = append(l, d.String())
	}
	return strings.Join(l, ",")
}

// Durations returns the times as package time has them.
func (t Times) Durations() []time.Duration {
	var l []time.Duration
	for _, d := range t {
		l = append(l, d.Duration)
	}
	return l
}

// Longest returns the longest of them, 0 of none.
func (t Times) Longest() (longest time.Duration) {
	for _, d := range t {
		longest = max(longest, d.Duration)
	}
	return longest
}

// UnmarshalText implements [encoding.TextUnmarshaler].
func (s *Size) UnmarshalText(text []byte) (err error) {
	s.Bytes, err = ParseSize(string(text))
	return err
}

// MarshalText implements [encoding.TextMarshaler].
func (s Size) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// String writes s so that ParseSize reads it back, in the largest binary unit that fits.
func (s Size) String() string {
	for _, u := range sizeUnits[:3] {
		if s.Bytes != 0 && s.Bytes%u.size == 0 {
			return strconv.FormatInt(s.Bytes/u.size, 10) + u.name
		}
	}
	return strconv.FormatInt(s.Bytes, 10) + "B"
}
