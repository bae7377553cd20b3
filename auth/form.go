package auth

import (
	"crypto/rand"
	"encoding/base32"
	"encoding/binary"
	"hash/crc32"
	"strings"
)

// A token is written
//
//	scimbox_k3jvq7m2xw4a_<52 characters of secret><7 characters of checksum>
//
// The prefix lets secret scanners find leaks (scimbox_(at_|cs_)?[a-z2-7]{12}_[A-Z2-7]{59}). The id is public: lists, logs and the
// journal name a token by it, and it finds the one record to compare with. The secret is 260 bits; at 52 characters it stays
// below the 72 bytes that bcrypt reads. The checksum, a CRC-32 of everything before it, refuses a token that was mistyped
// or cut short without any hashing; it is no protection against somebody who computes it, and is not meant to be.
//
// An access token of OAuth is written the same with scimbox_at_ before the id, and the secret of a client with scimbox_cs_, so
// that which of the three was presented is known before anything is looked up.
const (
	prefix      = "scimbox_"
	idLen       = 12
	secretLen   = 52
	checksumLen = 7 // 32 bits in base 32
	tokenLen    = len(prefix) + idLen + 1 + secretLen + checksumLen
)

// family is what stands between the prefix and the id.
type family string

const (
	ofToken  family = ""
	ofAccess family = "at_"
	ofClient family = "cs_"
)

var base32Text = base32.StdEncoding.WithPadding(base32.NoPadding)

// newID returns 60 random bits. Lower case, so that the eye tells an id from a secret.
func newID() string { return strings.ToLower(rand.Text()[:idLen]) }

func newPlain() string { return rand.Text() + rand.Text() }

// compose writes the token that parse takes apart.
func compose(id, secret string) string { return ofToken.compose(id, secret) }

func (f family) compose(id, secret string) string {
	body := prefix + string(f) + id + "_" + secret
	sum := checksum(body)
	return body + string(sum[:])
}

// parse takes a presented token apart. ok is false for everything that no token can look like, and costs no hashing.
func parse(presented string) (id, secret string, ok bool) { return ofToken.parse(presented) }

// parse takes apart what compose has written for the same family.
func (f family) parse(presented string) (id, secret string, ok bool) {
	start := prefix + string(f)
	if len(presented) != tokenLen+len(f) || !strings.HasPrefix(presented, start) {
		return "", "", false
	}
	body, sum := presented[:len(presented)-checksumLen], presented[len(presented)-checksumLen:]
	id, secret, _ = strings.Cut(body[len(start):], "_")
	if len(id) != idLen || !isID(id) || !isSecret(secret) {
		return "", "", false
	}
	want := checksum(body)
	return id, secret, sum == string(want[:])
}

// familyOf says what a presented credential claims to be.
func familyOf(presented string) family {
	for _, f := range []family{ofAccess, ofClient} {
		if strings.HasPrefix(presented, prefix+string(f)) {
			return f
		}
	}
	return ofToken
}

func checksum(body string) [checksumLen]byte {
	var raw [4]byte
	var text [checksumLen]byte
	binary.BigEndian.PutUint32(raw[:], crc32.ChecksumIEEE([]byte(body)))
	base32Text.Encode(text[:], raw[:])
	return text
}

func isID(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool { return (r < 'a' || r > 'z') && (r < '2' || r > '7') })
}

func isSecret(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool { return (r < 'A' || r > 'Z') && (r < '2' || r > '7') })
}

// holdsToken reports whether s holds a token or the better part of one, so that it must be neither stored nor printed.
func holdsToken(s string) bool {
	for {
		_, rest, found := strings.Cut(s, prefix)
		if !found {
			return false
		}
		rest = rest[len(familyOf(prefix+rest)):]
		if len(rest) > idLen && rest[idLen] == '_' && isID(rest[:idLen]) {
			return true
		}
		s = rest
	}
}
