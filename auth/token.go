package auth

import (
	"cmp"
	"encoding/json"
	"fmt"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"scimbox/storage"
)

// Where tokens live. SystemTenant is reserved by package storage: no token can name it.
const (
	systemTenant = "$system"
	tokenKind    = "token"
	useKind      = "token-use"
	warnedKind   = "token-warned"
	nameField    = "name" // every token has a name, so that this term also lists them all
)

// The lifetimes that a token may have. Every token expires.
const (
	MinTTL     = time.Minute
	MaxTTL     = 2 * 365 * 24 * time.Hour
	DefaultTTL = 180 * 24 * time.Hour
)

const (
	defaultTenant = "default"
	maxName       = 100 // characters
)

// Scope is what a token may do.
type Scope string

// The scopes. Each includes the one before it. Admin is the operator's: it also opens the console, which shows and changes all
// tenants and their tokens; as a SCIM client its holder sees the token's tenant and no other.
const (
	ScopeRead  Scope = "read"
	ScopeWrite Scope = "write"
	ScopeAdmin Scope = "admin"
)

// CanWrite reports whether the scope covers requests that change something.
func (s Scope) CanWrite() bool { return s == ScopeWrite || s == ScopeAdmin }

// Token is what is known of a token besides its secret. It holds nothing that must not be shown to an administrator. Times
// are UTC in microseconds, zero for what has not happened.
type Token struct {
	ID     string `json:"id"`
	Name   string `json:"name"`
	Tenant string `json:"tenant"` // the one that its requests see
	Scope  Scope  `json:"scope"`
	Preset string `json:"preset,omitempty"` // client preset of package scim, "" for the server's own choice
	User   string `json:"user,omitempty"`   // id of the User that /Me stands for, "" for none
	// Types and Attributes are all that is shown, "" for everything. Only a token of the scope read has them.
	Types      Names     `json:"types,omitempty"`
	Attributes Names     `json:"attributes,omitempty"`
	Created    time.Time `json:"created"`
	Expires    time.Time `json:"expires"` // the token is refused from this instant on
	// LastUsed is the last request that was let in. After a crash it may be up to a minute older than the truth.
	LastUsed    time.Time `json:"lastUsed,omitzero"`
	LastAddress string    `json:"lastAddress,omitempty"` // that it came from, "" for a unix socket
	Revoked     time.Time `json:"revoked,omitzero"`
	Successor   string    `json:"successor,omitempty"` // id of the token that Rotate has made in its place
	Rotated     time.Time `json:"rotated,omitzero"`    // when
	Version     uint64    `json:"version"`             // journal sequence of its last change
}

// Active reports whether the token is neither revoked nor, at now, expired.
func (t Token) Active(now time.Time) bool { return t.Revoked.IsZero() && now.Before(t.Expires) }

// Names is a list of names with commas between; in JSON it is an array. The zero value is no limit.
type Names string

// MarshalJSON implements [encoding/json.Marshaler].
func (n Names) MarshalJSON() ([]byte, error) { return json.Marshal(strings.Split(string(n), ",")) }

// UnmarshalJSON implements [encoding/json.Unmarshaler].
func (n *Names) UnmarshalJSON(b []byte) error {
	var l []string
	if err := json.Unmarshal(b, &l); err != nil {
		return err
	}
	*n = Names(strings.Join(l, ","))
	return nil
}

// tidy leaves out blanks and empty names.
func (n Names) tidy() Names {
	var l []string
	for name := range strings.SplitSeq(string(n), ",") {
		if name = strings.TrimSpace(name); name != "" {
			l = append(l, name)
		}
	}
	return Names(strings.Join(l, ","))
}

// Spec is what Create needs to know.
type Spec struct {
	Name   string        // for people, 1 to 100 characters; need not be unique
	Tenant string        // "" is "default"
	Scope  Scope         // has no default: an administrator says what a token may do
	TTL    time.Duration // MinTTL to MaxTTL, 0 is DefaultTTL
	Preset string        // client preset, "" for the server's own choice
	User   string        // id of the User that /Me stands for (RFC 7644 section 3.11), "" for none; need not exist

	// Types and Attributes limit what is shown, with the scope read; "" is everything.
	Types, Attributes Names
}

// SpecError says which part of a Spec cannot be, and what could.
type SpecError struct {
	Of      string // "client"; "" is a token
	Field   string // "name", "tenant", "scope", "ttl", "user" or "preset"
	Problem string
}

func (e *SpecError) Error() string { return cmp.Or(e.Of, tokenKind) + " " + e.Field + ": " + e.Problem }

// Check returns a *SpecError if Create would refuse the Spec. validPreset is that of Options, and may be nil.
func (s Spec) Check(validPreset func(name string) error) error {
	_, err := s.check(validPreset)
	return err
}

// check fills in the defaults and returns a *SpecError for what cannot be.
func (s Spec) check(validPreset func(string) error) (Spec, error) {
	s.Name = strings.TrimSpace(s.Name)
	s.Tenant = cmp.Or(s.Tenant, defaultTenant)
	s.TTL = cmp.Or(s.TTL, DefaultTTL)
	wrong := func(field, format string, args ...any) (Spec, error) {
		return Spec{}, &SpecError{Field: field, Problem: fmt.Sprintf(format, args...)}
	}
	switch {
	case s.Name == "":
		return wrong("name", "is missing; say which system the token is for, such as entra")
	case holdsToken(s.Name):
		return wrong("name", "holds a token; names are shown in lists and logs")
	case !utf8.ValidString(s.Name) || strings.ContainsFunc(s.Name, func(r rune) bool { return !unicode.IsPrint(r) }):
		return wrong("name", "%q holds characters that cannot be printed", s.Name)
	case utf8.RuneCountInString(s.Name) > maxName:
		return wrong("name", "has %d characters; at most %d are allowed", utf8.RuneCountInString(s.Name), maxName)
	case !validTenant(s.Tenant):
		return wrong("tenant", "%q is not 1 to 63 characters of a-z, 0-9 and -", clip(s.Tenant))
	case s.Scope == "":
		return wrong("scope", "is missing; use %s, %s or %s", ScopeRead, ScopeWrite, ScopeAdmin)
	case s.Scope != ScopeRead && s.Scope != ScopeWrite && s.Scope != ScopeAdmin:
		return wrong("scope", "%q is unknown; use %s, %s or %s", clip(string(s.Scope)), ScopeRead, ScopeWrite, ScopeAdmin)
	case holdsToken(s.User) || strings.ContainsFunc(s.User, func(r rune) bool { return !unicode.IsPrint(r) }) || utf8.RuneCountInString(s.User) > maxName:
		return wrong("user", "%q is no id of a resource", clip(s.User))
	}
	if err := checkTTL(s.TTL); err != nil {
		return wrong("ttl", "%v", err)
	}
	if s.Types, s.Attributes = s.Types.tidy(), s.Attributes.tidy(); (s.Types != "" || s.Attributes != "") && s.Scope != ScopeRead {
		return wrong("limit", "types and attributes limit what is read; use them with the scope %s", ScopeRead)
	}
	if s.Preset != "" && validPreset != nil {
		if err := validPreset(s.Preset); err != nil {
			return wrong("preset", "%v", err)
		}
	}
	return s, nil
}

func checkTTL(ttl time.Duration) error {
	if ttl < MinTTL || ttl > MaxTTL {
		return fmt.Errorf("%v is outside of 1 minute to 2 years (730 days)", ttl)
	}
	return nil
}

func validTenant(s string) bool {
	return s != "" && len(s) <= 63 && !strings.ContainsFunc(s, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < '0' || r > '9') && r != '-'
	})
}

// clip makes what a person gave fit for an error message: short, and without a token in it.
func clip(s string) string {
	if holdsToken(s) {
		return redacted
	}
	if r := []rune(s); len(r) > maxName {
		return string(r[:maxName]) + "..."
	}
	return s
}

// limits are those of a Spec, in what is stored of a token or a client.
type limits struct {
	Types      Names `json:"types,omitempty"`
	Attributes Names `json:"attributes,omitempty"`
}

// row is the body of a token's record.
type row struct {
	Name   string `json:"name"`
	Tenant string `json:"tenant"`
	Scope  Scope  `json:"scope"`
	Preset string `json:"preset,omitempty"`
	User   string `json:"user,omitempty"`
	limits
	Expires   time.Time `json:"expires"`
	Revoked   time.Time `json:"revoked,omitzero"`
	Successor string    `json:"successor,omitempty"`
	Rotated   time.Time `json:"rotated,omitzero"`
	Hash      string    `json:"hash"` // bcrypt of the secret part, in its usual text form
}

func (r row) record(id string, stamp storage.Stamp) (storage.Record, error) {
	body, err := json.Marshal(r)
	if err != nil {
		return storage.Record{}, fmt.Errorf("encoding token %s: %w", id, err)
	}
	return storage.Record{
		Ref:   tokenRef(id),
		Stamp: stamp,
		Body:  body,
		Terms: []storage.Term{{Field: nameField, Value: []byte(r.Name)}},
	}, nil
}

// decodeRow reads a token's record. The results share no memory with it.
func decodeRow(rec storage.Record) (Token, row, error) {
	var r row
	if err := json.Unmarshal(rec.Body, &r); err != nil {
		return Token{}, row{}, fmt.Errorf("token %s cannot be read, so that it lets nobody in (scimbox check examines the store; a new token is made by scimbox token create): %w", rec.ID, err)
	}
	return Token{
		ID: rec.ID, Name: r.Name, Tenant: r.Tenant, Scope: r.Scope, Preset: r.Preset, User: r.User, Types: r.Types, Attributes: r.Attributes,
		Created: rec.Created, Expires: r.Expires, Revoked: r.Revoked, Successor: r.Successor, Rotated: r.Rotated, Version: rec.Version,
	}, r, nil
}

func tokenRef(id string) storage.Ref {
	return storage.Ref{Tenant: systemTenant, Kind: tokenKind, ID: id}
}

// detail is what the journal keeps of a change to a token.
type detail struct {
	Name   string `json:"name"`
	Tenant string `json:"tenant"`
	Scope  Scope  `json:"scope"`
	Preset string `json:"preset,omitempty"`
	User   string `json:"user,omitempty"`
	limits
	Expires   time.Time `json:"expires"`
	Successor string    `json:"successor,omitempty"`
}

func (r row) detail() ([]byte, error) {
	b, err := json.Marshal(detail{r.Name, r.Tenant, r.Scope, r.Preset, r.User, r.limits, r.Expires, r.Successor})
	if err != nil {
		return nil, fmt.Errorf("encoding the journal row of token %q: %w", r.Name, err)
	}
	return b, nil
}
