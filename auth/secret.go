package auth

import (
	"fmt"
	"io"
	"log/slog"
)

// redacted stands wherever a Secret would otherwise have been printed.
const redacted = "[redacted]"

// Secret is the plain text of a token. Package fmt with whatever verb, slog, encoding/json and everything that asks for
// text get "[redacted]"; only Reveal gives it away. The zero value is the empty text.
type Secret struct {
	// A pointer, because fmt calls no method on an unexported field of a struct and prints what lies in it: here, an address.
	plain *string
}

func newSecret(plain string) Secret { return Secret{&plain} }

// Reveal returns the plain text. Show it to the person who asked for the token, once, and keep it nowhere.
func (s Secret) Reveal() string {
	if s.plain == nil {
		return ""
	}
	return *s.plain
}

// String implements [fmt.Stringer] without the secret.
func (Secret) String() string { return redacted }

// Format implements [fmt.Formatter] without the secret, whatever the verb and the flags.
func (Secret) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, redacted) }

// LogValue implements [slog.LogValuer] without the secret.
func (Secret) LogValue() slog.Value { return slog.StringValue(redacted) }

// MarshalText implements [encoding.TextMarshaler] without the secret.
func (Secret) MarshalText() ([]byte, error) { return []byte(redacted), nil }

// MarshalJSON implements [encoding/json.Marshaler] without the secret.
func (Secret) MarshalJSON() ([]byte, error) { return []byte(`"` + redacted + `"`), nil }
