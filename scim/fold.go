package scim

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"strconv"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"golang.org/x/text/cases"
	"golang.org/x/text/unicode/norm"
	"golang.org/x/text/width"
)

// Values are compared in three places: by filters, by the store's index and where something has to be unique. All three
// go through this file, so that they cannot disagree about what is the same.

// KeyFormat names the rules by which Fold and sortKey make what is stored. It holds the edition of Unicode too:
// golang.org/x/text takes its tables by the version of Go, so that a new toolchain alone can change a key. Stored terms
// that were made by other rules are made anew at the next start.
const KeyFormat = "1 unicode " + norm.Version

// Fold returns what a text is compared by where case does not matter: full-width and half-width letters become plain ones
// and the case of letters is folded, in Unicode's form NFC. These are the steps of the PRECIS profile for user names (RFC
// 7613 section 3.2.2), but for three things that one would turn people away for: it refuses "John Smith", it keeps
// "straße" from "STRASSE", and it tells a sigma at the end of a word from others. What Unicode calls compatible is not the
// same: "x²" is not "x2". Fold(Fold(s)) is Fold(s).
func Fold(s string) string {
	if isASCII(s) {
		return foldName(s)
	}
	if folded, ok := foldLatin(s); ok {
		return folded
	}
	return foldAny(s)
}

// foldAny is Fold by the tables of Unicode, whatever the script.
func foldAny(s string) string {
	s = norm.NFC.String(width.Fold.String(s))
	return norm.NFC.String(foldCherokee(cases.Fold().String(s)))
}

// firstCombining is the first letter that Unicode composes with the one before it. Below it each is folded by itself.
const firstCombining = 0x300

// latin has foldAny of each letter below firstCombining. Those above ASCII are made once, with the tables of Unicode, which take
// thirty times as long for each name that has an umlaut in it.
var latin = sync.OnceValue(func() *[firstCombining]string {
	var t [firstCombining]string
	for r := range rune(firstCombining) {
		t[r] = foldAny(string(r))
	}
	return &t
})

// foldLatin is foldAny for texts in the letters of Western and Central Europe; ok is false for others.
func foldLatin(s string) (_ string, ok bool) {
	t := latin()
	var short [128]byte
	b := short[:0]
	for i, r := range s {
		switch {
		case r < utf8.RuneSelf:
			c := s[i]
			if 'A' <= c && c <= 'Z' {
				c += 'a' - 'A'
			}
			b = append(b, c)
		case r < firstCombining:
			b = append(b, t[r]...)
		default:
			return "", false
		}
	}
	if string(b) == s {
		return s, true
	}
	return string(b), true
}

// appendFolded appends Fold(s), and makes nothing else if s is ASCII.
func appendFolded(b []byte, s string) []byte {
	if !isASCII(s) {
		return append(b, Fold(s)...)
	}
	for i := range len(s) {
		b = append(b, lower(s[i]))
	}
	return b
}

// foldCherokee folds the one script that golang.org/x/text folds in both directions, so that small letters and capitals
// never meet: Unicode's CaseFolding.txt takes its small letters to capitals.
func foldCherokee(s string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case 0xAB70 <= r && r <= 0xABBF:
			return r - 0xAB70 + 0x13A0
		case 0x13F8 <= r && r <= 0x13FD:
			return r - 8
		}
		return r
	}, s)
}

func isASCII(s string) bool {
	for i := range len(s) {
		if s[i] >= 0x80 {
			return false
		}
	}
	return true
}

// equalFolded says whether Fold(s) is folded, and allocates nothing if s is ASCII, as most texts are.
func equalFolded(s, folded string) bool {
	if !isASCII(s) {
		return Fold(s) == folded
	}
	return len(s) == len(folded) && prefixFolded(s, folded)
}

// prefixFolded says whether Fold(s) begins with folded.
func prefixFolded(s, folded string) bool {
	if !isASCII(s) {
		return strings.HasPrefix(Fold(s), folded)
	}
	if len(s) < len(folded) {
		return false
	}
	for i := range len(folded) {
		if lower(s[i]) != folded[i] {
			return false
		}
	}
	return true
}

// containsFolded says whether Fold(s) contains folded.
func containsFolded(s string, folded []byte) bool {
	var short [256]byte
	if len(s) > len(short) || !isASCII(s) {
		return strings.Contains(Fold(s), string(folded))
	}
	return bytes.Contains(appendFolded(short[:0], s), folded)
}

var errDateTime = errors.New("no dateTime")

// parseDateTime reads an xsd:dateTime that has both a date and a time (RFC 7643 section 2.3.5). One without a time zone is
// taken for UTC. Years have four digits, and what is finer than a nanosecond is cut off.
func parseDateTime(s string) (time.Time, error) {
	// 2006-01-02T15:04:05, a fraction, a zone
	const form = "dddd-dd-ddTdd:dd:dd"
	if len(s) < len(form) {
		return time.Time{}, errDateTime
	}
	for i := range len(form) {
		if form[i] == 'd' && !isDigit(s[i]) || form[i] != 'd' && form[i] != s[i] {
			return time.Time{}, errDateTime
		}
	}
	two := func(i int) int { return int(s[i]-'0')*10 + int(s[i+1]-'0') }
	year, month, day := two(0)*100+two(2), two(5), two(8)
	hour, minute, second := two(11), two(14), two(17)
	rest := s[len(form):]
	nano := 0
	if strings.HasPrefix(rest, ".") {
		n := 1
		for scale := 100_000_000; n < len(rest) && isDigit(rest[n]); n, scale = n+1, scale/10 {
			nano += int(rest[n]-'0') * scale
		}
		if n == 1 {
			return time.Time{}, errDateTime
		}
		rest = rest[n:]
	}
	offset, ok := zoneOffset(rest)
	// 24:00:00 is the end of the day.
	endOfDay := hour == 24 && minute == 0 && second == 0 && nano == 0
	if !ok || year < 1 || month < 1 || month > 12 || day < 1 || day > daysIn(year, month) ||
		hour > 23 && !endOfDay || minute > 59 || second > 59 {
		return time.Time{}, errDateTime
	}
	return time.Date(year, time.Month(month), day, hour, minute-offset, second, nano, time.UTC), nil
}

// zoneOffset reads the end of a dateTime: "", "Z" or "+hh:mm". It returns minutes.
func zoneOffset(s string) (minutes int, ok bool) {
	if s == "" || s == "Z" {
		return 0, true
	}
	if len(s) != 6 || s[0] != '+' && s[0] != '-' || s[3] != ':' || !isDigit(s[1]) || !isDigit(s[2]) || !isDigit(s[4]) || !isDigit(s[5]) {
		return 0, false
	}
	h, m := int(s[1]-'0')*10+int(s[2]-'0'), int(s[4]-'0')*10+int(s[5]-'0')
	if m > 59 || h*60+m > 14*60 {
		return 0, false
	}
	if s[0] == '-' {
		return -(h*60 + m), true
	}
	return h*60 + m, true
}

func daysIn(year, month int) int {
	return time.Date(year, time.Month(month)+1, 0, 0, 0, 0, 0, time.UTC).Day()
}

func isDigit(c byte) bool { return '0' <= c && c <= '9' }

// decodeBinary decodes base64 in either alphabet of RFC 4648, with padding or without (RFC 7643 section 2.3.6).
func decodeBinary(s string) ([]byte, bool) {
	t := strings.TrimRight(s, "=")
	if b, err := base64.RawStdEncoding.DecodeString(t); err == nil {
		return b, true
	}
	b, err := base64.RawURLEncoding.DecodeString(t)
	return b, err == nil
}

// sortKey returns a key for one single value of a: keys compare as bytes as the values do, and are the same if and only
// if the values are equal. It is never nil. What a schema of another day has left behind and today's cannot read comes
// last.
func sortKey(a *Attribute, v Value) []byte {
	return appendSortKey(make([]byte, 0, len(v.text)+1), a, v)
}

// appendSortKey appends sortKey to b.
func appendSortKey(b []byte, a *Attribute, v Value) []byte {
	switch a.Type {
	case Boolean:
		if v.flag {
			return append(b, 1)
		}
		return append(b, 0)
	case Integer, Decimal:
		return append(b, numberKey(v.text)...)
	case DateTime:
		t, err := parseDateTime(v.text)
		if err != nil {
			return append(append(b, 0xFF), v.text...)
		}
		b = binary.BigEndian.AppendUint64(b, uint64(t.Unix())^1<<63) // the sign first, so that the year 1 comes before 1970
		return binary.BigEndian.AppendUint32(b, uint32(t.Nanosecond()))
	case Binary:
		if k, ok := decodeBinary(v.text); ok {
			return append(b, k...)
		}
		return append(append(b, 0xFF), v.text...)
	default:
		if a.CaseExact {
			return append(b, v.text...)
		}
		return appendFolded(b, v.text)
	}
}

// maxTerm is how long the value of a term may be. A longer key is cut off, which keeps the order and makes the index a
// hint, as it is anyway.
const maxTerm = 255

// appendTerm appends sortKey cut to what a term may hold.
func appendTerm(b []byte, a *Attribute, v Value) []byte {
	n := len(b)
	b = appendSortKey(b, a, v)
	return b[:min(len(b), n+maxTerm)]
}

// What a number's key begins with.
const (
	negativeNumber = 0x00
	zeroNumber     = 0x01
	positiveNumber = 0x02
)

// maxExponent is how large the exponent of a number may be before it is taken for infinite: beyond it nothing but the
// digits tells numbers apart. The digits of a number fit in memory, so that only a written exponent comes near it.
const maxExponent = 100_000_000_000_000_000

// numberKey returns the key of a JSON number of any length: its sign, its exponent and then its digits, as in 0.123e5. Of
// 1, 1.0 and 1e0 the key is the same.
func numberKey(s string) []byte {
	negative := strings.HasPrefix(s, "-")
	mantissa, exponent := strings.TrimPrefix(s, "-"), int64(0)
	if i := strings.IndexAny(mantissa, "eE"); i >= 0 {
		exponent = readExponent(mantissa[i+1:])
		mantissa = mantissa[:i]
	}
	whole, fraction, _ := strings.Cut(mantissa, ".")
	digits := whole + fraction
	exponent += int64(len(whole))
	significant := strings.TrimLeft(digits, "0")
	exponent -= int64(len(digits) - len(significant))
	significant = strings.TrimRight(significant, "0")
	if significant == "" {
		return []byte{zeroNumber}
	}
	exponent = max(-maxExponent, min(exponent, maxExponent))
	b := append(make([]byte, 0, 10+len(significant)), positiveNumber)
	b = binary.BigEndian.AppendUint64(b, uint64(exponent)^1<<63)
	b = append(b, significant...)
	if negative { // the other way round, and the end of the digits comes after any digit
		for i := range b {
			b[i] = ^b[i]
		}
		b[0] = negativeNumber
		b = append(b, 0xFF)
	}
	return b
}

func readExponent(s string) int64 {
	if n, err := strconv.ParseInt(s, 10, 64); err == nil && -2*maxExponent < n && n < 2*maxExponent {
		return n
	}
	if strings.HasPrefix(s, "-") {
		return -2 * maxExponent
	}
	return 2 * maxExponent
}
