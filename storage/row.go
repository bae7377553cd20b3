package storage

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"maps"
	"sync"
	"sync/atomic"
	"time"
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

const sumLen = 4

func rowSum(key, payload []byte) uint32 {
	return crc32.Update(crc32.Checksum(key, castagnoli), castagnoli, payload)
}

// sealRow puts the checksum of key and payload before the payload. The key is part of it, so that a value that turns up
// under another key is found too.
func sealRow(key, payload []byte) []byte {
	return sealedIn(key, append(newRow(len(payload)), payload...))
}

// newRow returns the beginning of a value to which a payload of so many bytes is to be appended.
func newRow(size int) []byte { return make([]byte, sumLen, sumLen+size) }

// sealedIn puts the checksum into a value that newRow has begun.
func sealedIn(key, row []byte) []byte {
	binary.BigEndian.PutUint32(row, rowSum(key, row[sumLen:]))
	return row
}

// openRow verifies the checksum of a value and returns its payload, which shares its memory.
func openRow(key, value []byte) ([]byte, error) {
	if len(value) < sumLen {
		return nil, &DamageError{describe(key), errors.New("its value is too short to hold a checksum")}
	}
	payload := value[sumLen:]
	if want, have := binary.BigEndian.Uint32(value), rowSum(key, payload); want != have {
		return nil, &DamageError{describe(key), fmt.Errorf("its checksum is %08x and should be %08x", have, want)}
	}
	return payload, nil
}

// recordVersion is the first byte of a record's payload.
const recordVersion = 1

const flagUnique = 1

// setRecord writes the row of a record.
func setRecord(w Writer, r *Record) error {
	key := recordKey(r.Ref)
	size := 1 + 4*binary.MaxVarintLen64 + len(r.Body)
	for _, t := range r.Terms {
		size += 1 + 2*binary.MaxVarintLen16 + len(t.Field) + len(t.Value)
	}
	return w.Set(key, sealedIn(key, appendRecord(newRow(size), r)))
}

// appendRecord appends stamp, terms and body.
func appendRecord(b []byte, r *Record) []byte {
	b = append(b, recordVersion)
	b = binary.AppendVarint(b, r.Created.UnixMicro())
	b = binary.AppendVarint(b, r.Modified.UnixMicro())
	b = binary.AppendUvarint(b, r.Version)
	b = binary.AppendUvarint(b, uint64(len(r.Terms)))
	for _, t := range r.Terms {
		flags := byte(0)
		if t.Unique {
			flags = flagUnique
		}
		b = append(b, flags)
		b = appendBytes(b, t.Field)
		b = appendBytes(b, t.Value)
	}
	return append(b, r.Body...)
}

func appendBytes[T string | []byte](b []byte, s T) []byte {
	b = binary.AppendUvarint(b, uint64(len(s)))
	return append(b, s...)
}

// reader takes a payload apart; after the first thing that is not there, it returns nothing but zero values.
type rowReader struct {
	b   []byte
	bad bool
}

func (r *rowReader) fail() { r.b, r.bad = nil, true }

func (r *rowReader) uvarint() uint64 {
	v, n := binary.Uvarint(r.b)
	if n <= 0 {
		r.fail()
		return 0
	}
	r.b = r.b[n:]
	return v
}

func (r *rowReader) varint() int64 {
	v, n := binary.Varint(r.b)
	if n <= 0 {
		r.fail()
		return 0
	}
	r.b = r.b[n:]
	return v
}

func (r *rowReader) byte() byte {
	if len(r.b) == 0 {
		r.fail()
		return 0
	}
	c := r.b[0]
	r.b = r.b[1:]
	return c
}

func (r *rowReader) bytes() []byte { return r.take(r.uvarint()) }

func (r *rowReader) take(n uint64) []byte {
	if n > uint64(len(r.b)) {
		r.fail()
		return nil
	}
	s := r.b[:n:n]
	r.b = r.b[n:]
	return s
}

// skipTerm goes behind a term. The lengths of field and value mostly take a byte each.
func (r *rowReader) skipTerm() {
	if b := r.b; len(b) > 1 && b[1] < 0x80 {
		if at := 2 + int(b[1]); at < len(b) && b[at] < 0x80 {
			if end := at + 1 + int(b[at]); end <= len(b) {
				r.b = b[end:]
				return
			}
		}
	}
	r.byte()
	r.bytes()
	r.bytes()
}

func (r *rowReader) time() time.Time { return time.UnixMicro(r.varint()).UTC() }

// decodeRecord reads a record's payload. Body and the values of Terms share its memory.
func decodeRecord(ref Ref, payload []byte) (Record, error) { return decodeParts(ref, payload, true) }

// decodeBare is decodeRecord without the terms.
func decodeBare(ref Ref, payload []byte) (Record, error) { return decodeParts(ref, payload, false) }

func decodeParts(ref Ref, payload []byte, terms bool) (Record, error) {
	r := rowReader{b: payload}
	rec := Record{Ref: ref}
	if v := r.byte(); !r.bad && v != recordVersion {
		return rec, &DamageError{describe(recordKey(ref)), fmt.Errorf("its row has version %d, and this program knows %d", v, recordVersion)}
	}
	rec.Created, rec.Modified, rec.Version = r.time(), r.time(), r.uvarint()
	n := r.uvarint()
	if n > uint64(len(r.b)) {
		r.fail()
		n = 0
	}
	if terms {
		rec.Terms = make([]Term, 0, n)
	}
	for range n {
		if !terms {
			r.skipTerm()
			continue
		}
		flags, field, value := r.byte(), r.bytes(), r.bytes()
		rec.Terms = append(rec.Terms, Term{Unique: flags&flagUnique != 0, Field: fieldName(field), Value: value})
	}
	if r.bad {
		return rec, &DamageError{describe(recordKey(ref)), errors.New("its row ends in the middle")}
	}
	rec.Body = r.b
	return rec, nil
}

// fieldNames has the names of fields that were read, each once: there are few, and every record names some eight.
var fieldNames struct {
	sync.Mutex
	all atomic.Pointer[map[string]string]
}

const maxFieldNames = 1000

// fieldName returns b as a string, the same one each time.
func fieldName(b []byte) string {
	known := fieldNames.all.Load()
	if known != nil {
		if name, ok := (*known)[string(b)]; ok {
			return name
		}
	}
	fieldNames.Lock()
	defer fieldNames.Unlock()
	more := map[string]string{}
	if known = fieldNames.all.Load(); known != nil {
		if len(*known) >= maxFieldNames {
			return string(b)
		}
		maps.Copy(more, *known)
	}
	name := string(b)
	more[name] = name
	fieldNames.all.Store(&more)
	return name
}

// get reads a row and verifies it.
func get(r Reader, key []byte) ([]byte, error) {
	v, err := r.Get(key)
	if err != nil {
		return nil, err
	}
	return openRow(key, v)
}

func set(w Writer, key, payload []byte) error { return w.Set(key, sealRow(key, payload)) }

// getNumber reads a row that is a number, 0 if there is none.
func getNumber(r Reader, key []byte) (int64, error) {
	p, err := get(r, key)
	if errors.Is(err, ErrNotFound) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	return decodeNumber(key, p)
}

func decodeNumber(key, payload []byte) (int64, error) {
	n, used := binary.Varint(payload)
	if used != len(payload) || used <= 0 {
		return 0, &DamageError{describe(key), errors.New("it is no number")}
	}
	return n, nil
}

func setNumber(w Writer, key []byte, n int64) error {
	return set(w, key, binary.AppendVarint(nil, n))
}
