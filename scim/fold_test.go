package scim

import (
	"bytes"
	"cmp"
	"fmt"
	"math/big"
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"pgregory.net/rapid"
)

func TestFold(t *testing.T) {
	same := [][]string{
		{"bjensen", "BJensen", "BJENSEN", "ｂｊｅｎｓｅｎ", "ＢJensen"},
		{"straße", "STRASSE", "Strasse", "STRAẞE"},
		{"Σίσυφος", "ΣΊΣΥΦΟΣ", "σίσυφοσ"},
		{"ﾔﾏﾀﾞ", "ヤマダ", "ヤマタ\u3099"},
		{"é", "e\u0301", "É", "E\u0301"},
		{"Å", "A\u030a", "\u212b", "å"},
		{"ΐ", "\u0390", "\u03b9\u0308\u0301", "\u1fd3"},
		{"Ω", "\u2126", "ω"},
		{"ᾳ", "αι", "ΑΙ", "ᾼ"},
		{"Ünïcode User", "ÜNÏCODE USER", "u\u0308ni\u0308code user"},
		{"john smith", "John Smith"},
		{"", ""},
		{"ﬁx", "ﬁX", "FIX"}, // Unicode folds the case of a ligature so
		{"ᎣᏏᏲᏰ", "ꭳꮟᏺᏸ"},
		{"😀", "😀"},
		{"a\u0323\u0302", "a\u0302\u0323", "ậ", "Ậ"},
	}
	keys := map[string]int{}
	for i, class := range same {
		want := Fold(class[0])
		for _, s := range class {
			if got := Fold(s); got != want {
				t.Errorf("Fold(%q) = %q, and of %q it is %q", s, got, class[0], want)
			}
			if !equalFolded(s, want) || !prefixFolded(s, want) || !prefixFolded(s+"x", want) {
				t.Errorf("%q does not compare as %q", s, want)
			}
		}
		if j, ok := keys[want]; ok {
			t.Errorf("%q is the same as %q", class[0], same[j][0])
		}
		keys[want] = i
	}
	// What looks alike and is not: joining these would join two people.
	for _, pair := range [][2]string{
		{"jose", "josé"}, {"admin", "аdmin"}, {"i", "ı"}, {"x", " x"}, {"x²", "x2"}, {"a\u200db", "ab"}, {"ab", "a\u00adb"}, {"①", "1"},
	} {
		if Fold(pair[0]) == Fold(pair[1]) {
			t.Errorf("%q and %q are the same", pair[0], pair[1])
		}
	}
}

func TestFoldTwice(t *testing.T) {
	for r := rune(0); r < 0x20000; r++ {
		if unicode.In(r, unicode.Han, unicode.Hangul, unicode.Co, unicode.Cs) || r > 0xFFFF && !unicode.IsLetter(r) {
			continue
		}
		for _, s := range []string{string(r), "\u03b1" + string(r), string(r) + "\u0301", string(r) + "\u0345\u0323"} {
			if once := Fold(s); Fold(once) != once {
				t.Errorf("Fold(%+q) = %+q, and folded again %+q", s, once, Fold(once))
			}
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		s := rapid.String().Draw(t, "s")
		once := Fold(s)
		if Fold(once) != once {
			t.Fatalf("Fold(%+q) = %+q, and folded again %+q", s, once, Fold(once))
		}
		if !utf8.ValidString(once) {
			t.Fatalf("Fold(%+q) = %q is no UTF-8", s, once)
		}
	})
}

// What is folded letter by letter is what the tables of Unicode make of the whole text.
func TestFoldLatin(t *testing.T) {
	for r := range rune(firstCombining) {
		for _, s := range []string{string(r), "a" + string(r), string(r) + "B", "Ş" + string(r) + "ı"} {
			got, ok := foldLatin(s)
			if want := foldAny(s); !ok || got != want {
				t.Errorf("%+q folds to %+q, %t; by Unicode's tables to %+q", s, got, ok, want)
			}
		}
	}
	letters := rapid.RuneFrom(nil, &unicode.RangeTable{R16: []unicode.Range16{{Lo: 1, Hi: firstCombining - 1, Stride: 1}}, LatinOffset: 0})
	rapid.Check(t, func(t *rapid.T) {
		s := rapid.StringOf(letters).Draw(t, "s")
		if got, ok := foldLatin(s); !ok || got != foldAny(s) {
			t.Fatalf("%+q folds to %+q, %t; by Unicode's tables to %+q", s, got, ok, foldAny(s))
		}
	})
	for _, s := range []string{"e\u0301", "\xff", "ab\xc3", "ＡＢ", "Σίσυφος", "İ\u0307"} {
		if got, ok := foldLatin(s); ok {
			t.Errorf("%+q is folded to %+q letter by letter", s, got)
		}
	}
}

func TestFoldAllocatesNothing(t *testing.T) {
	for _, s := range []string{"bjensen@corp.example", ""} {
		if n := testing.AllocsPerRun(100, func() { Fold(s) }); n > 0 {
			t.Errorf("Fold(%q) allocates %v times", s, n)
		}
	}
	if n := testing.AllocsPerRun(100, func() { equalFolded("BJensen@Corp.example", "bjensen@corp.example") }); n > 0 {
		t.Errorf("equalFolded allocates %v times", n)
	}
}

func TestParseDateTime(t *testing.T) {
	for s, want := range map[string]string{
		"2011-05-13T04:42:34Z":              "2011-05-13T04:42:34Z",
		"2011-05-13T04:42:34":               "2011-05-13T04:42:34Z",
		"2011-05-13T04:42:34.1Z":            "2011-05-13T04:42:34.1Z",
		"2015-10-10T14:38:21.8617979-07:00": "2015-10-10T21:38:21.8617979Z",
		"0001-01-03T00:00:00.0000000Z":      "0001-01-03T00:00:00Z",
		"9999-01-01T00:00:00.0000000Z":      "9999-01-01T00:00:00Z",
		"2020-02-29T23:59:59+14:00":         "2020-02-29T09:59:59Z",
		"2020-02-28T24:00:00Z":              "2020-02-29T00:00:00Z",
		"2011-05-13T04:42:34.123456789987Z": "2011-05-13T04:42:34.123456789Z",
		"2000-02-29T00:00:00-00:00":         "2000-02-29T00:00:00Z",
	} {
		got, err := parseDateTime(s)
		if err != nil || got.Format(time.RFC3339Nano) != want || got.Location() != time.UTC {
			t.Errorf("%s: %v, %v; want %s", s, got, err, want)
		}
	}
	for _, s := range []string{
		"", "2011-05-13", "2011-05-13Z", "04:42:34Z", "2011-05-13 04:42:34Z", "2011-05-13t04:42:34z", "2011-05-13T04:42Z",
		"2011-05-13T04:42:34.Z", "2011-05-13T04:42:34,5Z", "2011-05-13T4:42:34Z", "2011-13-13T04:42:34Z", "2011-00-13T04:42:34Z",
		"2011-02-29T04:42:34Z", "2011-05-00T04:42:34Z", "2011-05-13T25:42:34Z", "2011-05-13T24:00:01Z", "2011-05-13T24:00:00.1Z",
		"2011-05-13T04:60:34Z", "2011-05-13T04:42:60Z", "2011-05-13T04:42:34+1:00", "2011-05-13T04:42:34+14:01", "2011-05-13T04:42:34+01:60",
		"2011-05-13T04:42:34+0100", "2011-05-13T04:42:34ZZ", "0000-05-13T04:42:34Z", "-2011-05-13T04:42:34Z", "２011-05-13T04:42:34Z",
		"2011-05-13T04:42:34Z ", " 2011-05-13T04:42:34Z", "1305261754",
	} {
		if got, err := parseDateTime(s); err == nil {
			t.Errorf("%q is read as %v", s, got)
		}
	}
}

// byOrder checks that the keys of a's values are in the order in which the values are listed; those in one group are equal.
func byOrder(t *testing.T, a *Attribute, groups ...[]Value) {
	t.Helper()
	var last []byte
	for i, g := range groups {
		k := sortKey(a, g[0])
		if k == nil {
			t.Errorf("%v has no key", g[0])
		}
		for _, v := range g[1:] {
			if !bytes.Equal(sortKey(a, v), k) {
				t.Errorf("%s: %s and %s have different keys, %x and %x", a.Type, g[0].appendJSON(nil), v.appendJSON(nil), k, sortKey(a, v))
			}
		}
		if i > 0 && bytes.Compare(last, k) >= 0 {
			t.Errorf("%s: %s does not come before %s: %x, %x", a.Type, groups[i-1][0].appendJSON(nil), g[0].appendJSON(nil), last, k)
		}
		last = k
	}
}

func numbers(s ...string) (l []Value) {
	for _, n := range s {
		l = append(l, numberValue(n))
	}
	return l
}

func texts(s ...string) (l []Value) {
	for _, n := range s {
		l = append(l, textValue(n))
	}
	return l
}

func TestSortKey(t *testing.T) {
	byOrder(t, &Attribute{Type: Decimal},
		numbers("-1e400"), numbers("-12345678901234567891"), numbers("-12345678901234567890", "-1234567890123456789e1"), numbers("-100", "-1e2"),
		numbers("-10"), numbers("-9.99"), numbers("-1.5"), numbers("-1.25"), numbers("-1", "-1.0", "-10e-1"), numbers("-0.1"), numbers("-1e-400"),
		numbers("0", "-0", "0.0", "0e9", "-0.00e-7"),
		numbers("1e-400", "0.1e-399"), numbers("0.01", "1E-2"), numbers("0.1"), numbers("1", "1.0", "1e0", "1E+0", "10e-1", "0.1e1", "1e0000000000000000000000000"),
		numbers("1.25"), numbers("1.5"), numbers("2"), numbers("9.99"), numbers("10", "1.0e1"), numbers("99"), numbers("100", "1e2"),
		numbers("12345678901234567890"), numbers("12345678901234567891"), numbers("1e400"), numbers("1e99999999999999999", "0.1e100000000000000000"),
	)
	byOrder(t, &Attribute{Type: Integer}, numbers("-5"), numbers("0"), numbers("5"), numbers("10"), numbers("50"), numbers("100"))
	byOrder(t, &Attribute{Type: DateTime},
		texts("0001-01-01T00:00:00+14:00"), texts("0001-01-01T00:00:00Z"), texts("1969-12-31T23:59:59Z"), texts("1969-12-31T23:59:59.5Z"), texts("1970-01-01T00:00:00Z"),
		texts("2020-01-01T11:00:00+02:00", "2020-01-01T09:00:00Z", "2020-01-01T09:00:00.000", "2020-01-01T01:00:00-08:00"),
		texts("2020-01-01T10:30:00+01:00"), texts("2020-01-01T09:30:00.0000001Z"), texts("9999-12-31T23:59:59Z"), texts("no time at all"))
	byOrder(t, &Attribute{Type: Boolean}, []Value{boolValue(false)}, []Value{boolValue(true)})
	byOrder(t, &Attribute{Type: Binary}, texts(""), texts("AAEC", "AAEC"), texts("+/8=", "-_8", "+/8"))
	byOrder(t, &Attribute{Type: String}, texts(""), texts("a", "A"), texts("a b"), texts("ab", "AB", "Ａb"), texts("é", "E\u0301"), texts("東京"))
	byOrder(t, &Attribute{Type: String, CaseExact: true}, texts(""), texts("A"), texts("AB"), texts("a"), texts("e\u0301"), texts("é"))
	byOrder(t, &Attribute{Type: Reference, CaseExact: true}, texts("https://X"), texts("https://x"))
	byOrder(t, &Attribute{Type: Reference}, texts("urn:A", "URN:a"), texts("urn:b"))
}

func TestTermOf(t *testing.T) {
	a := &Attribute{Type: String}
	long := strings.Repeat("É", 200)
	if k := appendTerm(nil, a, textValue(long)); len(k) != maxTerm || !bytes.HasPrefix([]byte(Fold(long)), k) {
		t.Errorf("a term of %d bytes: %q", len(k), k)
	}
	if k := appendTerm(nil, a, textValue("ABC")); string(k) != "abc" {
		t.Errorf("%q", k)
	}
	n := &Attribute{Type: Decimal}
	if k := appendTerm(nil, n, numberValue("1"+strings.Repeat("2", 500))); len(k) != maxTerm {
		t.Errorf("a term of %d bytes", len(k))
	}
}

func genNumber(t *rapid.T) string {
	s := rapid.StringMatching(`-?(0|[1-9][0-9]{0,30})(\.[0-9]{1,30})?([eE][+-]?[0-9]{1,2})?`).Draw(t, "number")
	return s
}

// The keys of numbers compare as the numbers do, and so do the terms, but that long ones may become equal.
func TestNumberOrder(t *testing.T) {
	a := &Attribute{Type: Decimal}
	rapid.Check(t, func(t *rapid.T) {
		x, y := genNumber(t), genNumber(t)
		if rapid.Bool().Draw(t, "same") {
			y = x
			if !strings.ContainsAny(x, "eE") {
				y = shifted(x, rapid.IntRange(-5, 5).Draw(t, "by"))
			}
		}
		if !numberForm.MatchString(x) || !numberForm.MatchString(y) {
			t.Fatalf("%s or %s is no number", x, y)
		}
		p, _ := new(big.Rat).SetString(x)
		q, _ := new(big.Rat).SetString(y)
		if got := bytes.Compare(sortKey(a, numberValue(x)), sortKey(a, numberValue(y))); got != p.Cmp(q) {
			t.Fatalf("%s and %s compare as %d, want %d", x, y, got, p.Cmp(q))
		}
	})
}

// shifted writes x with an exponent.
func shifted(x string, by int) string {
	r, _ := new(big.Rat).SetString(x)
	ten := new(big.Rat).SetInt(new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(max(by, -by))), nil))
	if by < 0 {
		r.Mul(r, ten)
	} else {
		r.Quo(r, ten)
	}
	return fmt.Sprintf("%se%d", r.FloatString(40), by)
}

func TestDateTimeOrder(t *testing.T) {
	a := &Attribute{Type: DateTime}
	gen := rapid.Custom(func(t *rapid.T) time.Time {
		zone := time.FixedZone("", rapid.IntRange(-14*60, 14*60).Draw(t, "zone")*60)
		return time.Unix(rapid.Int64Range(-62_000_000_000, 253_000_000_000).Draw(t, "s"), int64(rapid.IntRange(0, 999_999_999).Draw(t, "ns"))).In(zone)
	})
	rapid.Check(t, func(t *rapid.T) {
		x, y := gen.Draw(t, "x"), gen.Draw(t, "y")
		if rapid.Bool().Draw(t, "same") {
			y = x.In(y.Location())
		}
		k, l := sortKey(a, textValue(x.Format(time.RFC3339Nano))), sortKey(a, textValue(y.Format(time.RFC3339Nano)))
		if bytes.Compare(k, l) != x.Compare(y) {
			t.Fatalf("%v and %v compare as %d", x, y, bytes.Compare(k, l))
		}
	})
}

// Cutting keys to terms keeps their order, and the term of what a text begins with begins the text's term: this is what the
// planner relies on. The texts are made of what composes and folds to something longer.
func TestTermsKeepOrder(t *testing.T) {
	letters := []rune("aAbßẞſﬁeéE\u0301\u0345\u0323\u3099ﾀタｂΣσςĳ１ \u212bİıǆ가ᄀ\u1161")
	word := rapid.Custom(func(t *rapid.T) string {
		s := string(rapid.SliceOfN(rapid.SampledFrom(letters), 0, 12).Draw(t, "letters"))
		return strings.Repeat(s, rapid.SampledFrom([]int{1, 1, 1, 40}).Draw(t, "times"))
	})
	rapid.Check(t, func(t *rapid.T) {
		a := &Attribute{Type: String, CaseExact: rapid.Bool().Draw(t, "exact")}
		x, y := textValue(word.Draw(t, "x")), textValue(word.Draw(t, "y"))
		order, cut := bytes.Compare(sortKey(a, x), sortKey(a, y)), bytes.Compare(appendTerm(nil, a, x), appendTerm(nil, a, y))
		if cut != 0 && cut != order {
			t.Fatalf("the keys of %+q and %+q compare as %d, the terms as %d", x.text, y.text, order, cut)
		}
		// A whole text and what it begins with: by letters, so that what is cut off may compose with what stays.
		runes := []rune(x.text)
		start := textValue(string(runes[:rapid.IntRange(0, len(runes)).Draw(t, "n")]))
		for _, lit := range []Value{start, y} {
			if testOf(OpSw, a, lit)(x) && !bytes.HasPrefix(appendTerm(nil, a, x), appendTerm(nil, a, lit)) {
				t.Fatalf("%+q begins with %+q, and its term not", x.text, lit.text)
			}
			for op, holds := range map[Op]func(int) bool{
				OpEq: func(n int) bool { return n == 0 }, OpGe: func(n int) bool { return n >= 0 }, OpLe: func(n int) bool { return n <= 0 },
				OpGt: func(n int) bool { return n > 0 }, OpLt: func(n int) bool { return n < 0 },
			} {
				if n := cmp.Compare(0, bytes.Compare(sortKey(a, lit), sortKey(a, x))); testOf(op, a, lit)(x) != holds(n) {
					t.Fatalf("%+q %s %+q is %t, and the keys compare as %d", x.text, op, lit.text, testOf(op, a, lit)(x), n)
				}
			}
		}
	})
}

func BenchmarkFold(b *testing.B) {
	for _, s := range []string{"bjensen@corp.example", "BJensen@Corp.example", "Jürgen Schröder", "Σίσυφος@corp.example"} {
		b.Run(s, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				Fold(s)
			}
		})
	}
}
