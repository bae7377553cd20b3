package storage

import (
	"encoding/base32"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"github.com/google/uuid"
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

// idForm is a form of ids in which a text stands for so many bytes.
type idForm struct {
	bytes  int
	encode func(b []byte) string
	decode func(text string) ([]byte, error) // also of texts that encode would not make
}

// base32ID is the form of the ids of requests, uuidID that of resources (RFC 9562 section 4).
var (
	base32ID = idForm{10, base32.StdEncoding.EncodeToString, base32.StdEncoding.DecodeString}
	uuidID   = idForm{16, func(b []byte) string { return uuid.UUID(b).String() }, func(text string) ([]byte, error) {
		u, err := uuid.Parse(text)
		return u[:], err
	}}
)

// appendID appends an id: twice its length and itself, or twice the length of what it stands for and one more, and that.
func appendID(b []byte, id string, form idForm) []byte {
	short, err := form.decode(id)
	if err == nil && len(short) == form.bytes && form.encode(short) == id { // capital letters would come back as small ones
		return append(append(b, byte(2*form.bytes+1)), short...)
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
	return form.encode(b)
}
