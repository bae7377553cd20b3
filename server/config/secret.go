package config

import (
	"fmt"
	"log/slog"
)

// Secret is a value that is printed nowhere: not by config check, not in a log.
type Secret string

const redacted = "(secret)"

// String says no more than whether there is one.
func (s Secret) String() string {
	if s == "" {
		return ""
	}
	return redacted
}

// Format keeps %q and the like from printing what String does not.
func (s Secret) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte(s.String())) }

// LogValue is for slog.
func (s Secret) LogValue() slog.Value { return slog.StringValue(s.String()) }

// MarshalText is for JSON.
func (s Secret) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// Reveal returns the value.
func (s Secret) Reveal() string { return string(s) }
