package storage

import (
	"bytes"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// Bytes around the two that mean something in a key.
var nasty = rapid.SliceOfN(rapid.SampledFrom([]byte{0, 1, 2, 'a', 'b', 0xFE, 0xFF}), 0, 6)

func TestTermKeyKeepsOrder(t *testing.T) {
	id := rapid.StringMatching(`[a-c]{1,3}`)
	rapid.Check(t, func(t *rapid.T) {
		a, b := nasty.Draw(t, "a"), nasty.Draw(t, "b")
		i, j := id.Draw(t, "i"), id.Draw(t, "j")
		want := bytes.Compare(a, b)
		if want == 0 {
			want = strings.Compare(i, j)
		}
		if got := bytes.Compare(termKey("t", "User", "f", a, i), termKey("t", "User", "f", b, j)); got != want {
			t.Errorf("the rows of (%q, %q) and (%q, %q) compare as %d, want %d", a, i, b, j, got, want)
		}
	})
}

func TestTermKeyInBounds(t *testing.T) {
	// How Find bounds a range must agree with how values compare.
	rapid.Check(t, func(t *rapid.T) {
		value, bound := nasty.Draw(t, "value"), nasty.Draw(t, "bound")
		k := termKey("t", "User", "f", value, "1")
		start := appendEscaped(termPrefix("t", "User", "f"), bound)
		if got, want := bytes.Compare(k, start) >= 0, bytes.Compare(value, bound) >= 0; got != want {
			t.Errorf("the row of %q is behind the bound %q: %t, want %t", value, bound, got, want)
		}
		if got, want := in(k, Exactly(bound)), bytes.Equal(value, bound); got != want {
			t.Errorf("%q is exactly %q: %t, want %t", value, bound, got, want)
		}
		if got, want := in(k, Prefix(bound)), bytes.HasPrefix(value, bound); got != want {
			t.Errorf("%q begins with %q: %t, want %t", value, bound, got, want)
		}
	})
}

func in(k []byte, r TermRange) bool {
	p := termPrefix("t", "User", "f")
	end := successor(p)
	if len(r.To) > 0 {
		end = appendEscaped(bytes.Clone(p), r.To)
	}
	return bytes.Compare(k, appendEscaped(bytes.Clone(p), r.From)) >= 0 && bytes.Compare(k, end) < 0
}

func FuzzTermKey(f *testing.F) {
	for _, v := range []string{"", "a", "\x00", "\x00\x01", "\x00\xff", "\xff\x00", "a\x00b\x00", "\x00\x00\x00"} {
		f.Add([]byte(v), []byte("x"+v), "id")
	}
	f.Fuzz(func(t *testing.T, a, b []byte, id string) {
		if checkPart("id", id) != nil {
			return // no row has such an id
		}
		p := termPrefix("t", "User", "f")
		k := termKey("t", "User", "f", a, id)
		value, gotID, ok := parseTerm(k[len(p):])
		if !ok || !bytes.Equal(value, a) || string(gotID) != id {
			t.Errorf("the row of (%q, %q) is read as (%q, %q), %t", a, id, value, gotID, ok)
		}
		if got, want := bytes.Compare(k, termKey("t", "User", "f", b, id)), bytes.Compare(a, b); got != want {
			t.Errorf("the rows of %q and %q compare as %d, want %d", a, b, got, want)
		}
		// Whatever else is read as a row is one that would be written in the same way.
		if value, id, ok := parseTerm(b); ok && bytes.IndexByte(id, 0) < 0 {
			if again := termKey("t", "User", "f", value, string(id))[len(p):]; !bytes.Equal(again, b) {
				t.Errorf("%q is read as (%q, %q), which is written as %q", b, value, id, again)
			}
		}
	})
}

func TestParseIsInverse(t *testing.T) {
	part := rapid.StringMatching(`[a-c=·]{1,4}`)
	rapid.Check(t, func(t *rapid.T) {
		ref := func() Ref { return Ref{"t", part.Draw(t, "kind"), part.Draw(t, "id")} }
		r := ref()
		if got, ok := parseRef(recordKey(r)); !ok || got != r {
			t.Errorf("%v is read as %v, %t", r, got, ok)
		}
		if got, ok := parseRef(sweepKey(r)); !ok || got != r {
			t.Errorf("%v is read as %v, %t", r, got, ok)
		}
		l := Link{From: r, Field: part.Draw(t, "field"), To: ref()}
		for _, k := range [][]byte{linkKey(l), backlinkKey(l)} {
			got, ok := parseLink(k)
			if !ok || got.From != l.From || got.Field != l.Field || got.To != l.To {
				t.Errorf("%+v is read from %q as %+v, %t", l, k, got, ok)
			}
		}
	})
}

func TestParseRefuses(t *testing.T) {
	for _, k := range []string{"", "r", "r\x00\x00", "ra\x00b", "ra\x00b\x00", "ra\x00b\x00c\x00d", "r\x00b\x00c"} {
		if r, ok := parseRef([]byte(k)); ok {
			t.Errorf("%q is read as %v", k, r)
		}
	}
	for _, k := range []string{"", "l", "la\x00b\x00c\x00d\x00e", "la\x00b\x00c\x00d\x00e\x00f\x00g", "la\x00b\x00c\x00\x00e\x00f", "la\x00b\x00c\x00d\x00e\x00"} {
		if l, ok := parseLink([]byte(k)); ok {
			t.Errorf("%q is read as %v", k, l)
		}
	}
	for _, k := range []string{"", "a", "a\x00", "a\x00\x01", "a\x00\x02id", "\x00\xff", "\x00\xffid"} {
		if v, id, ok := parseTerm([]byte(k)); ok {
			t.Errorf("%q is read as (%q, %q)", k, v, id)
		}
	}
}

func TestSuccessor(t *testing.T) {
	for _, c := range []struct{ p, want string }{{"", ""}, {"a", "b"}, {"a\x00", "a\x01"}, {"a\xff", "b"}, {"\xff\xff", ""}, {"a\xfe\xff", "a\xff"}} {
		p := []byte(c.p)
		if got := successor(p); string(got) != c.want {
			t.Errorf("successor(%q) = %q, want %q", c.p, got, c.want)
		}
		if string(p) != c.p {
			t.Errorf("successor changes its argument %q to %q", c.p, p)
		}
	}
}

func TestCommonPrefix(t *testing.T) {
	// Whatever lies in a range begins with what Badger is told that all of it begins with.
	rapid.Check(t, func(t *rapid.T) {
		start, end, k := nasty.Draw(t, "start"), nasty.Draw(t, "end"), nasty.Draw(t, "key")
		in := bytes.Compare(k, start) >= 0 && (len(end) == 0 || bytes.Compare(k, end) < 0)
		if p := commonPrefix(start, end); in && !bytes.HasPrefix(k, p) {
			t.Errorf("%q lies between %q and %q and does not begin with %q", k, start, end, p)
		}
	})
	if got := commonPrefix([]byte("tacme\x00"), []byte("tacme\x01")); string(got) != "tacme\x00" {
		t.Errorf("the prefix of a tenant is %q", got)
	}
}

func TestKeysOfTenantsLieApart(t *testing.T) {
	// One tenant's name may begin with another's.
	var keys []string
	for _, tenant := range []string{"a", "aa", "a\x01", "a-"} {
		keys = append(keys, string(recordKey(Ref{tenant, "User", "z"})))
	}
	for i, tenant := range []string{"a", "aa", "a\x01", "a-"} {
		r := within(prefix(familyRecord, tenant))
		inside := slices.DeleteFunc(slices.Clone(keys), func(k string) bool {
			return k < string(r.Start) || k >= string(r.End)
		})
		if !slices.Equal(inside, keys[i:i+1]) {
			t.Errorf("the range of tenant %q has %q", tenant, inside)
		}
	}
}

func TestCheckPart(t *testing.T) {
	for _, c := range []struct {
		ref  Ref
		want string
	}{
		{Ref{"t", "k", "i"}, ""},
		{Ref{"", "k", "i"}, "the tenant is empty"},
		{Ref{"t", "", "i"}, "the kind is empty"},
		{Ref{"t", "k", ""}, "the id is empty"},
		{Ref{"t", "k", "a\x00b"}, "holds a zero byte"},
		{Ref{"t", "k", strings.Repeat("x", maxPart)}, ""},
		{Ref{"t", "k", strings.Repeat("x", maxPart+1)}, "has 513 bytes, more than 512"},
	} {
		err := c.ref.check()
		if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%.20q: %v, want %q", c.ref, err, c.want)
		}
	}
}

func TestDescribe(t *testing.T) {
	l := Link{From: group("g1"), Field: "members", To: user("u1")}
	for _, c := range []struct {
		key  []byte
		want string
	}{
		{recordKey(user("u1")), "User u1 of tenant acme"},
		{linkKey(l), "the members link from Group g1 to User u1 of tenant acme"},
		{backlinkKey(l), "the members link from Group g1 to User u1 of tenant acme, seen from its end"},
		{counterKey(tenant, "User"), "the count of User of tenant acme"},
		{indexKey(tenant, "User"), "the index fingerprint of User of tenant acme"},
		{uniqueKey(tenant, "User", "username", []byte("ada@example.com")), "a unique row of username of User of tenant acme"},
		{termKey(tenant, "User", "name", []byte("ada"), "u1"), "an index row of name of User of tenant acme"},
		{sweepKey(group("g1")), "the sweep of Group g1 of tenant acme"},
		{journalKey(7), "journal row 7"},
		{formatKey, "the store's format row"},
		{[]byte("zebra"), `a row with the key "zebra"`},
		{nil, "a row without a key"},
	} {
		if got := describe(c.key); got != c.want {
			t.Errorf("describe(%q) = %q, want %q", c.key, got, c.want)
		}
	}
}

func TestLayout(t *testing.T) {
	// What stands on disk. Whoever changes one of these needs a new Format and a way from the old one.
	l := Link{From: group("g1"), Field: "members", To: user("u1")}
	for want, got := range map[string][]byte{
		"racme\x00User\x00u1":                           recordKey(user("u1")),
		"tacme\x00User\x00name\x00a\x00\xffb\x00\x01u1": termKey(tenant, "User", "name", []byte("a\x00b"), "u1"),
		"uacme\x00User\x00username\x00a\x00b":           uniqueKey(tenant, "User", "username", []byte("a\x00b")),
		"lacme\x00Group\x00g1\x00members\x00u1\x00User": linkKey(l),
		"bacme\x00User\x00u1\x00members\x00g1\x00Group": backlinkKey(l),
		"cacme\x00User":                     counterKey(tenant, "User"),
		"facme\x00User":                     indexKey(tenant, "User"),
		"dacme\x00Group\x00g1":              sweepKey(group("g1")),
		"j\x00\x00\x00\x00\x00\x00\x01\x02": journalKey(258),
		"mformat":                           formatKey,
		"mcommit":                           commitKey,
		"\x18\x11Y\x97payload":              sealRow([]byte("key"), []byte("payload")),
		"\x01\x02\x04\x03\x02\x00\x01f\x01v\x01\x01g\x02vwbody": appendRecord(nil, &Record{Stamp: Stamp{time.UnixMicro(1), time.UnixMicro(2), 3}, Body: []byte("body"), Terms: []Term{{"f", []byte("v"), false}, {"g", []byte("vw"), true}}}),
		"\x02\x02\x01a\x01c\x02r\x01o\x01t\x01k\x02i{}":         appendEntry(nil, &Entry{Time: time.UnixMicro(1), Origin: Origin{"a", "c", "r"}, Op: "o", Ref: Ref{"t", "k", "i"}, Detail: []byte("{}")}),
		"\x02\x02\x01a\x01c\x15\x08B\x10\x84!\x08B\x10\x84!\x01o\x01t\x01k!\x01#Eg\x89\xab\xcd\xef\x01#Eg\x89\xab\xcd\xef{}": appendEntry(nil, &Entry{Time: time.UnixMicro(1), Origin: Origin{"a", "c", "BBBBBBBBBBBBBBBB"},
			Op: "o", Ref: Ref{"t", "k", "01234567-89ab-cdef-0123-456789abcdef"}, Detail: []byte("{}")}),
	} {
		if string(got) != want {
			t.Errorf("it is written as %q, want %q", got, want)
		}
	}
	if Format != 2 {
		t.Error("the layout above is that of format 2")
	}
}
