package storage

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
)

// The families of rows; see doc.go.
const (
	familyRecord   = 'r'
	familyTerm     = 't'
	familyUnique   = 'u'
	familyLink     = 'l'
	familyBacklink = 'b'
	familyCounter  = 'c'
	familyIndex    = 'f'
	familySweep    = 'd'
	familyJournal  = 'j'
	familyMeta     = 'm'
)

// maxPart is how long a tenant, kind, id or field may be, and maxTermValue a term's value. Together they keep every key well
// below what engines take.
const (
	maxPart      = 512
	maxTermValue = 2048
)

// prefix makes the beginning of a key: every part is followed by a separator.
func prefix(family byte, parts ...string) []byte { return prefixWith(64, family, parts...) }

// prefixWith is prefix with room for so much behind it.
func prefixWith(room int, family byte, parts ...string) []byte {
	n := 1 + room
	for _, p := range parts {
		n += len(p) + 1
	}
	k := append(make([]byte, 0, n), family)
	for _, p := range parts {
		k = append(append(k, p...), 0)
	}
	return k
}

// key makes a whole key: the last part is not followed by a separator.
func key(family byte, parts ...string) []byte {
	k := prefixWith(0, family, parts...)
	return k[:len(k)-1]
}

func recordKey(r Ref) []byte                { return key(familyRecord, r.Tenant, r.Kind, r.ID) }
func sweepKey(r Ref) []byte                 { return key(familySweep, r.Tenant, r.Kind, r.ID) }
func counterKey(tenant, kind string) []byte { return key(familyCounter, tenant, kind) }
func indexKey(tenant, kind string) []byte   { return key(familyIndex, tenant, kind) }

func journalKey(seq uint64) []byte {
	return binary.BigEndian.AppendUint64([]byte{familyJournal}, seq)
}

var (
	formatKey = []byte("mformat")
	commitKey = []byte("mcommit")
	// journalFirstKey is the row with the sequence of the first journal row that is kept; there is none before any was removed.
	journalFirstKey = []byte("mjournal")
)

func linkKey(l Link) []byte {
	return key(familyLink, l.From.Tenant, l.From.Kind, l.From.ID, l.Field, l.To.ID, l.To.Kind)
}

func backlinkKey(l Link) []byte {
	return key(familyBacklink, l.To.Tenant, l.To.Kind, l.To.ID, l.Field, l.From.ID, l.From.Kind)
}

func uniqueKey(tenant, kind, field string, value []byte) []byte {
	return append(prefixWith(len(value), familyUnique, tenant, kind, field), value...)
}

func termPrefix(tenant, kind, field string) []byte { return prefix(familyTerm, tenant, kind, field) }

// The end of a term's value stands before every byte that could follow in a longer one: 0x00 0x01 before 0x00 0xFF, which is
// how a zero byte is written, and before all others.
const (
	escapeZero = 0xFF
	endOfValue = 0x01
)

func appendEscaped(k, value []byte) []byte {
	for {
		i := bytes.IndexByte(value, 0)
		if i < 0 {
			return append(k, value...)
		}
		k = append(append(k, value[:i]...), 0, escapeZero)
		value = value[i+1:]
	}
}

func termKey(tenant, kind, field string, value []byte, id string) []byte {
	k := prefixWith(len(value)+2+len(id), familyTerm, tenant, kind, field)
	k = append(appendEscaped(k, value), 0, endOfValue)
	return append(k, id...)
}

// parseTerm takes value and id out of what follows a term's prefix. Both share its memory, but for a value with a zero byte in it.
func parseTerm(rest []byte) (value, id []byte, ok bool) {
	for whole := true; ; whole = false {
		i := bytes.IndexByte(rest, 0)
		if i < 0 || i+1 == len(rest) {
			return nil, nil, false
		}
		part, mark := rest[:i:i], rest[i+1]
		rest = rest[i+2:]
		switch {
		case mark == endOfValue && whole:
			return part, rest, len(rest) > 0
		case mark == endOfValue:
			return append(value, part...), rest, len(rest) > 0
		case mark == escapeZero:
			value = append(append(value, part...), 0)
		default:
			return nil, nil, false
		}
	}
}

// split takes a key apart into n parts.
func split(k []byte, n int) ([]string, bool) {
	p, ok := splitRest(k, n)
	if !ok || p[n-1] == "" || strings.Contains(p[n-1], "\x00") {
		return nil, false
	}
	return p, true
}

// splitRest takes a key apart into n-1 parts and all that is left, which may be anything.
func splitRest(k []byte, n int) ([]string, bool) {
	if len(k) == 0 {
		return nil, false
	}
	p := strings.SplitN(string(k[1:]), "\x00", n)
	if len(p) != n || slices.Contains(p[:n-1], "") {
		return nil, false
	}
	return p, true
}

// parseLink reads the key of a link or backlink.
func parseLink(k []byte) (l Link, ok bool) {
	p, ok := split(k, 6)
	if !ok {
		return l, false
	}
	here, there := Ref{p[0], p[1], p[2]}, Ref{p[0], p[5], p[4]}
	l.Field = p[3]
	if k[0] == familyLink {
		l.From, l.To = here, there
	} else {
		l.From, l.To = there, here
	}
	return l, true
}

func parseRef(k []byte) (Ref, bool) {
	p, ok := split(k, 3)
	if !ok {
		return Ref{}, false
	}
	return Ref{p[0], p[1], p[2]}, true
}

// successor returns the first key behind all that begin with p.
func successor(p []byte) []byte {
	s := bytes.Clone(p)
	for len(s) > 0 {
		if s[len(s)-1]++; s[len(s)-1] != 0 {
			return s
		}
		s = s[:len(s)-1]
	}
	return nil
}

// within is the range of all keys that begin with p.
func within(p []byte) Range { return Range{Start: p, End: successor(p)} }

func checkPart(what, s string) error {
	switch {
	case s == "":
		return fmt.Errorf("storage: the %s is empty", what)
	case len(s) > maxPart:
		return fmt.Errorf("storage: the %s has %d bytes, more than %d", what, len(s), maxPart)
	case strings.IndexByte(s, 0) >= 0:
		return fmt.Errorf("storage: the %s %q holds a zero byte", what, s)
	}
	return nil
}

func (r Ref) check() error {
	if err := checkPart("tenant", r.Tenant); err != nil {
		return err
	}
	if err := checkPart("kind", r.Kind); err != nil {
		return err
	}
	return checkPart("id", r.ID)
}

// describe names a row for a person.
func describe(k []byte) string {
	if len(k) == 0 {
		return "a row without a key"
	}
	switch k[0] {
	case familyRecord:
		if r, ok := parseRef(k); ok {
			return fmt.Sprintf("%s %s of tenant %s", r.Kind, r.ID, r.Tenant)
		}
	case familyLink, familyBacklink:
		if l, ok := parseLink(k); ok {
			side := ""
			if k[0] == familyBacklink {
				side = ", seen from its end"
			}
			return fmt.Sprintf("the %s link from %s %s to %s %s of tenant %s%s", l.Field, l.From.Kind, l.From.ID, l.To.Kind, l.To.ID, l.From.Tenant, side)
		}
	case familyCounter:
		if p, ok := split(k, 2); ok {
			return fmt.Sprintf("the count of %s of tenant %s", p[1], p[0])
		}
	case familyIndex:
		if p, ok := split(k, 2); ok {
			return fmt.Sprintf("the index fingerprint of %s of tenant %s", p[1], p[0])
		}
	case familyUnique:
		if p, ok := splitRest(k, 4); ok {
			return fmt.Sprintf("a unique row of %s of %s of tenant %s", p[2], p[1], p[0])
		}
	case familyTerm:
		if p, ok := splitRest(k, 4); ok {
			return fmt.Sprintf("an index row of %s of %s of tenant %s", p[2], p[1], p[0])
		}
	case familySweep:
		if r, ok := parseRef(k); ok {
			return fmt.Sprintf("the sweep of %s %s of tenant %s", r.Kind, r.ID, r.Tenant)
		}
	case familyJournal:
		if len(k) == 9 {
			return fmt.Sprintf("journal row %d", binary.BigEndian.Uint64(k[1:]))
		}
	case familyMeta:
		return fmt.Sprintf("the store's %s row", k[1:])
	}
	return fmt.Sprintf("a row with the key %q", k)
}
