package storage

import (
	"encoding/base32"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
)

// A journal row is most of what a change leaves on disk, and of a row it is what packing makes no smaller: ids at random. Those of
// resources and of requests, when they are made here, are written as the bytes that their text stands for.

// entryVersion is the first byte of a journal row. Rows of version 1 have all ids as text.
const entryVersion = 2

// entrySize is how much appendEntry appends at most, if no part is longer than maxPart.
func entrySize(e *Entry) int {
	size := 1 + binary.MaxVarintLen64 + 7*binary.MaxVarintLen16
	for _, s := range []string{e.Actor, e.Client, e.Request, e.Op, e.Ref.Tenant, e.Ref.Kind, e.Ref.ID} {
		size += len(s)
	}
	return size + len(e.Detail)
}

func appendEntry(b []byte, e *Entry) []byte {
	b = append(b, entryVersion)
	b = binary.AppendVarint(b, e.Time.UnixMicro())
	b = appendBytes(b, e.Actor)
	b = appendBytes(b, e.Client)
	b = appendID(b, e.Request, base32ID)
	b = appendBytes(b, e.Op)
	b = appendBytes(b, e.Ref.Tenant)
	b = appendBytes(b, e.Ref.Kind)
	b = appendID(b, e.Ref.ID, uuidID)
	return append(b, e.Detail...)
}

// decodeEntry reads a journal row. The result shares no memory with payload.
func decodeEntry(seq uint64, payload []byte) (Entry, error) {
	r := rowReader{b: payload}
	e := Entry{Seq: seq}
	version := r.byte()
	if !r.bad && (version == 0 || version > entryVersion) {
		return e, &DamageError{describe(journalKey(seq)), fmt.Errorf("its row has version %d, and this program knows those up to %d", version, entryVersion)}
	}
	e.Time = r.time()
	text := func() string { return string(r.bytes()) }
	request, id := text, text
	if version > 1 {
		request, id = func() string { return r.id(base32ID) }, func() string { return r.id(uuidID) }
	}
	e.Actor, e.Client, e.Request, e.Op, e.Ref.Tenant, e.Ref.Kind, e.Ref.ID = text(), text(), request(), text(), text(), text(), id()
	if r.bad {
		return e, &DamageError{describe(journalKey(seq)), errors.New("its row ends in the middle")}
	}
	e.Detail = slices.Clone(r.b)
	return e, nil
}

// idForm is a form of ids in which a text stands for bytes.
type idForm struct {
	text, bytes int // lengths
	encode      func(text, b []byte)
	decode      func(b, text []byte) bool // false if it is no such text; one that encode makes another of may be taken for one
}

// base32ID is the form of the ids of requests, uuidID that of resources (RFC 9562 section 4).
var (
	base32ID = idForm{16, 10, base32.StdEncoding.Encode, func(b, text []byte) bool {
		n, err := base32.StdEncoding.Decode(b, text)
		return err == nil && n == len(b)
	}}
	uuidID = idForm{36, 16, encodeUUID, decodeUUID}
)

func encodeUUID(text, b []byte) {
	for i, part := range [5][2]int{{0, 4}, {4, 6}, {6, 8}, {8, 10}, {10, 16}} {
		if i > 0 {
			text[2*part[0]+i-1] = '-'
		}
		hex.Encode(text[2*part[0]+i:], b[part[0]:part[1]])
	}
}

func decodeUUID(b, text []byte) bool {
	for i, part := range [5][2]int{{0, 8}, {9, 13}, {14, 18}, {19, 23}, {24, 36}} {
		n, err := hex.Decode(b, text[part[0]:part[1]])
		if err != nil || i > 0 && text[part[0]-1] != '-' {
			return false
		}
		b = b[n:]
	}
	return true
}

// appendID appends an id: twice its length and itself, or twice the length of what it stands for and one more, and that.
func appendID(b []byte, id string, form idForm) []byte {
	if len(id) == form.text {
		var room [64]byte
		short, again := room[:form.bytes], room[form.bytes:][:form.text]
		if form.decode(short, []byte(id)) {
			if form.encode(again, short); string(again) == id { // capital letters would come back as small ones
				return append(append(b, byte(2*form.bytes+1)), short...)
			}
		}
	}
	return append(binary.AppendUvarint(b, 2*uint64(len(id))), id...)
}

func (r *rowReader) id(form idForm) string {
	n := r.uvarint()
	short := n%2 == 1
	b := r.take(n / 2)
	if !short {
		return string(b)
	}
	if len(b) != form.bytes {
		r.fail()
		return ""
	}
	text := make([]byte, form.text)
	form.encode(text, b)
	return string(text)
}
