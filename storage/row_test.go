package storage

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"
)

func TestEveryFlippedBitIsFound(t *testing.T) {
	rec := record("u1")
	k := recordKey(rec.Ref)
	for name, payload := range map[string][]byte{
		"record": appendRecord(nil, &rec),
		"entry":  appendEntry(nil, &Entry{Op: "create", Ref: rec.Ref, Detail: []byte("{}")}),
		"number": {1},
		"empty":  nil,
	} {
		row := sealRow(k, payload)
		if got, err := openRow(k, row); err != nil || !bytes.Equal(got, payload) {
			t.Fatalf("%s: a whole row is read as %q, %v", name, got, err)
		}
		for bit := range len(row) * 8 {
			bad := bytes.Clone(row)
			bad[bit/8] ^= 1 << (bit % 8)
			if _, err := openRow(k, bad); !isDamage(err) {
				t.Errorf("%s: bit %d flipped: %v, want a DamageError", name, bit, err)
			}
		}
		for n := range len(row) {
			if _, err := openRow(k, row[:n]); !isDamage(err) {
				t.Errorf("%s: cut to %d of %d bytes: %v, want a DamageError", name, n, len(row), err)
			}
		}
		if _, err := openRow(recordKey(user("u2")), row); !isDamage(err) {
			t.Errorf("%s: under another key: %v, want a DamageError", name, err)
		}
	}
}

func TestDamageNamesTheRow(t *testing.T) {
	k := recordKey(user("u1"))
	_, err := openRow(k, sealRow(recordKey(user("u2")), []byte("x")))
	for _, want := range []string{"User u1 of tenant acme is damaged", "checksum"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("the error is %v, want %q in it", err, want)
		}
	}
	var d *DamageError
	if errors.As(err, &d) && errors.Unwrap(d) == nil {
		t.Error("a DamageError has no cause")
	}
}

func TestRecordRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		at := func(name string) time.Time {
			return time.UnixMicro(rapid.Int64Range(-1<<40, 1<<52).Draw(t, name)).UTC()
		}
		want := Record{Ref: user("u1"), Stamp: Stamp{at("created"), at("modified"), rapid.Uint64().Draw(t, "version")}, Body: nasty.Draw(t, "body")}
		for range rapid.IntRange(0, 3).Draw(t, "terms") {
			want.Terms = append(want.Terms, Term{rapid.String().Draw(t, "field"), nasty.Draw(t, "value"), rapid.Bool().Draw(t, "unique")})
		}
		row := appendRecord(nil, &want)
		got, err := decodeRecord(want.Ref, row)
		if diff := cmp.Diff(want, got, cmpopts.EquateEmpty()); err != nil || diff != "" {
			t.Errorf("%v (-want +got):\n%s", err, diff)
		}
		for cut := range len(row) - len(want.Body) {
			_, err := decodeRecord(want.Ref, row[:cut])
			if _, bare := decodeBare(want.Ref, row[:cut]); (err == nil) != (bare == nil) {
				t.Errorf("cut off after %d bytes: %v, without terms %v", cut, err, bare)
			}
		}
		want.Terms = nil
		got, err = decodeBare(want.Ref, row)
		if diff := cmp.Diff(want, got, cmpopts.EquateEmpty()); err != nil || diff != "" {
			t.Errorf("without terms: %v (-want +got):\n%s", err, diff)
		}
	})
}

const (
	packedUUID    = "0192f0c1-7a3b-7def-8a01-00ff10203040"
	packedRequest = "AZ27ABCDEFGHIJKL"
)

// Ids that are made here take half of what they take as text.
func TestEntryPacksIDs(t *testing.T) {
	e := Entry{Origin: Origin{Request: packedRequest}, Ref: Ref{"t", "k", packedUUID}}
	text := Entry{Origin: Origin{Request: packedRequest[1:]}, Ref: Ref{"t", "k", packedUUID[1:]}}
	if long, short := len(appendEntry(nil, &text)), len(appendEntry(nil, &e)); long-short != 15+35-10-16 {
		t.Errorf("%d bytes instead of %d", short, long)
	}
}

// A row of version 1, with all ids as text, is read as it was written.
func TestEntryOfVersion1(t *testing.T) {
	want := Entry{Seq: 7, Time: time.UnixMicro(1).UTC(), Origin: Origin{"t1", "192.0.2.1", packedRequest}, Op: "patch", Ref: Ref{"t", "k", packedUUID}, Detail: []byte(`{"a":1}`)}
	b := binary.AppendVarint([]byte{1}, want.Time.UnixMicro())
	for _, s := range []string{want.Actor, want.Client, want.Request, want.Op, want.Ref.Tenant, want.Ref.Kind, want.Ref.ID} {
		b = appendBytes(b, s)
	}
	got, err := decodeEntry(want.Seq, append(b, want.Detail...))
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
}

func TestEntryRoundTrip(t *testing.T) {
	for _, want := range []Entry{
		{Seq: 7, Time: time.UnixMicro(1).UTC(), Origin: Origin{"t1", "192.0.2.1", "r1"}, Op: "patch", Ref: user("u1"), Detail: []byte(`{"a":1}`)},
		{Seq: 8, Time: time.UnixMicro(-1).UTC(), Ref: Ref{"t", "k", "i"}},
		{Seq: 9, Time: time.UnixMicro(2).UTC(), Origin: Origin{Request: packedRequest}, Ref: Ref{"t", "k", packedUUID}},
		// Looks like an id that is made here, and is none: every one has to come back as it was.
		{Seq: 9, Time: time.UnixMicro(2).UTC(), Origin: Origin{Request: strings.ToLower(packedRequest)}, Ref: Ref{"t", "k", strings.ToUpper(packedUUID)}},
		{Seq: 9, Time: time.UnixMicro(2).UTC(), Origin: Origin{Request: "0189018901890189"}, Ref: Ref{"t", "k", strings.ReplaceAll(packedUUID, "-", "0")}},
		{Seq: 9, Time: time.UnixMicro(2).UTC(), Origin: Origin{Request: "A\n" + packedRequest[2:]}, Ref: Ref{"t", "k", strings.ReplaceAll(packedUUID, "f", "g")}},
		{Seq: 9, Time: time.UnixMicro(2).UTC(), Origin: Origin{Request: packedUUID}, Ref: Ref{"t", "k", packedRequest}},
		{Seq: 9, Time: time.UnixMicro(2).UTC(), Origin: Origin{Request: strings.Repeat("x", 300)}, Ref: Ref{"t", "k", strings.Repeat("y", 300)}},
	} {
		b := appendEntry(nil, &want)
		if size := entrySize(&want); len(b) > size {
			t.Errorf("%d bytes, and at most %d were expected", len(b), size)
		}
		got, err := decodeEntry(want.Seq, b)
		clear(b) // it shares no memory
		if diff := cmp.Diff(want, got, cmpopts.EquateEmpty()); err != nil || diff != "" {
			t.Errorf("%v (-want +got):\n%s", err, diff)
		}
	}
}

func TestLaterRowVersion(t *testing.T) {
	_, err := decodeRecord(user("u1"), []byte{2})
	if !isDamage(err) || !strings.Contains(err.Error(), "version 2") {
		t.Errorf("a record of version 2: %v", err)
	}
	for _, version := range []byte{0, entryVersion + 1} {
		if _, err := decodeEntry(1, []byte{version}); !isDamage(err) || !strings.Contains(err.Error(), fmt.Sprint("version ", version)) {
			t.Errorf("an entry of version %d: %v", version, err)
		}
	}
}

func TestNumber(t *testing.T) {
	k := counterKey(tenant, "User")
	for _, bad := range [][]byte{nil, {0x80}, {2, 0}, bytes.Repeat([]byte{0xFF}, 11)} {
		if n, err := decodeNumber(k, bad); !isDamage(err) {
			t.Errorf("%x is read as %d, %v", bad, n, err)
		}
	}
}

func FuzzDecodeRecord(f *testing.F) {
	rec := record("u1")
	f.Add(appendRecord(nil, &rec))
	f.Add([]byte{recordVersion, 0, 0, 0, 0xFF, 0xFF, 0xFF, 0xFF, 0x0F})
	f.Add([]byte{recordVersion})
	f.Fuzz(func(t *testing.T, b []byte) {
		rec, err := decodeRecord(user("u1"), b)
		if err != nil {
			return
		}
		// What is read is what would be written.
		again, err := decodeRecord(user("u1"), appendRecord(nil, &rec))
		if diff := cmp.Diff(rec, again, cmpopts.EquateEmpty()); err != nil || diff != "" {
			t.Errorf("%v (-first +second):\n%s", err, diff)
		}
	})
}

func FuzzDecodeEntry(f *testing.F) {
	f.Add(appendEntry(nil, &Entry{Op: "create", Ref: user("u1"), Detail: []byte("{}")}))
	f.Add(appendEntry(nil, &Entry{Origin: Origin{Request: packedRequest}, Ref: Ref{"t", "k", packedUUID}}))
	f.Add([]byte{1, 0, 0xFF})
	f.Fuzz(func(t *testing.T, b []byte) {
		e, err := decodeEntry(1, b)
		if err != nil {
			return
		}
		again, err := decodeEntry(1, appendEntry(nil, &e))
		if diff := cmp.Diff(e, again, cmpopts.EquateEmpty()); err != nil || diff != "" {
			t.Errorf("%v (-first +second):\n%s", err, diff)
		}
	})
}
