package storage

import (
	"bytes"
	"errors"
	"fmt"
	"iter"
	"time"
)

// Tx is one transaction of one tenant: a snapshot in View, and in Update what the committer is about to write. It must not
// be used after the function it was handed to has returned, nor by two goroutines at a time.
//
// Slices in what it returns (bodies, values, hits) are the caller's to keep, but not to change.
type Tx struct {
	store  *Store
	tenant string
	r      Reader
	w      Writer // nil in View
	origin Origin
	now    time.Time // of what it writes
	seq    uint64    // that the first Log of this transaction gets
	logged uint64
	wrote  int64 // bytes that the journal rows take

	sweeps sweepView
	dying  map[Ref]bool // deleted, and not all of their links are gone yet; nil = not looked up
	swept  int64        // sweeps that this transaction leaves behind
	last   *Record      // of an Update, the last one that Get has found, as long as its row is as it was
	void   error        // of the method that has stopped half-way
}

// Fork returns a transaction of the same snapshot for another goroutine, which must have ended before the function that t was handed to
// returns. It is nil in an Update, and where the engine's readers are for one goroutine.
func (t *Tx) Fork() *Tx {
	if s, ok := t.r.(Sharer); ok && t.w == nil {
		return &Tx{store: t.store, tenant: t.tenant, r: s.Share(), sweeps: t.sweeps}
	}
	return nil
}

// Pass tells the engine that from now on records are asked for one after the other, and not because anybody wants them again.
func (t *Tx) Pass() {
	if r, ok := t.r.(interface{ pass() }); ok {
		r.pass()
	}
}

// Tenant returns the tenant whose data the transaction sees.
func (t *Tx) Tenant() string { return t.tenant }

func (t *Tx) ref(kind, id string) Ref { return Ref{t.tenant, kind, id} }

// Get returns a record, or ErrNotFound. A row that is not as it was written is a *DamageError.
func (t *Tx) Get(kind, id string) (Record, error) {
	rec, err := t.get(kind, id, decodeRecord)
	if err == nil && t.w != nil {
		last := rec
		t.last = &last
	}
	return rec, err
}

// Bare is Get for somebody who does not ask for the terms: the record has none, whatever it can be found by.
func (t *Tx) Bare(kind, id string) (Record, error) {
	if t.w == nil {
		return t.get(kind, id, decodeBare)
	}
	rec, err := t.Get(kind, id) // whoever is about to write it asks for them next
	rec.Terms = nil
	return rec, err
}

// decoder is decodeRecord or decodeBare.
type decoder func(Ref, []byte) (Record, error)

func (t *Tx) get(kind, id string, decode decoder) (Record, error) {
	ref := t.ref(kind, id)
	if ref.check() != nil {
		return Record{}, ErrNotFound // what cannot be stored is not there
	}
	p, err := get(t.r, recordKey(ref))
	if err != nil {
		return Record{}, err
	}
	return decode(ref, p)
}

// before is Get for what is about to write the record: most have just read it.
func (t *Tx) before(kind, id string) (Record, error) {
	if last := t.last; last != nil && last.Kind == kind && last.ID == id {
		return *last, nil
	}
	return t.Get(kind, id)
}

// Records yields all records of a kind, in order of their ids. A record's body and terms are valid until the iteration goes on.
func (t *Tx) Records(kind string) iter.Seq2[Record, error] {
	return t.records(kind, decodeRecord, false)
}

// BareRecords is Records without the terms.
func (t *Tx) BareRecords(kind string) iter.Seq2[Record, error] {
	return t.records(kind, decodeBare, false)
}

// RecordsBackward is BareRecords from the last id to the first.
func (t *Tx) RecordsBackward(kind string) iter.Seq2[Record, error] {
	return t.records(kind, decodeBare, true)
}

func (t *Tx) records(kind string, decode decoder, backward bool) iter.Seq2[Record, error] {
	p := prefix(familyRecord, t.tenant, kind)
	return func(yield func(Record, error) bool) {
		for it, err := range t.r.Scan(Range{Start: p, End: successor(p), Reverse: backward}) {
			if err != nil {
				yield(Record{}, err)
				return
			}
			rec, err := decodeRow(it, t.ref(kind, string(it.Key[len(p):])), decode)
			if !yield(rec, err) || err != nil {
				return
			}
		}
	}
}

// decodeRow reads the row of the record ref.
func decodeRow(it Item, ref Ref, decode decoder) (Record, error) {
	if checkPart("id", ref.ID) != nil {
		return Record{}, &DamageError{describe(it.Key), errors.New("its key cannot be read")}
	}
	p, err := openRow(it.Key, it.Value)
	if err != nil {
		return Record{}, err
	}
	return decode(ref, p)
}

// Has reports whether there is a record, without reading what it says.
func (t *Tx) Has(kind, id string) (bool, error) {
	ref := t.ref(kind, id)
	if ref.check() != nil {
		return false, nil
	}
	_, err := t.r.Get(recordKey(ref))
	if errors.Is(err, ErrNotFound) {
		return false, nil
	}
	return err == nil, err
}

// Count returns how many records of a kind there are. The number is exact.
func (t *Tx) Count(kind string) (int64, error) { return getNumber(t.r, counterKey(t.tenant, kind)) }

// Stamp returns the stamp of a record that this transaction writes and whose stamp was prev, the zero Stamp for a new one.
// Version is the sequence of the transaction's first journal row: whoever shows versions to clients must Log.
func (t *Tx) Stamp(prev Stamp) Stamp {
	s := Stamp{Created: prev.Created, Modified: t.now, Version: t.seq}
	if !s.Modified.After(prev.Modified) { // the clock may have been set back
		s.Modified = prev.Modified.Add(time.Microsecond)
	}
	if s.Created.IsZero() {
		s.Created = s.Modified
	}
	return s
}

func (t *Tx) writable() error {
	if t.w == nil {
		return fmt.Errorf("%w: this transaction is a View", ErrReadOnly)
	}
	return t.void
}

// Put stores a record in place of the one with its Ref, if there is one. A unique term that another record of the kind has is
// a *ConflictError; the transaction is then void, and Update fails whatever fn returns. Links are not touched. An id must not be used again after its record was
// deleted: what is left of the old one's links belongs to nobody.
func (t *Tx) Put(rec Record) error {
	if err := t.writable(); err != nil {
		return err
	}
	if err := rec.Ref.check(); err != nil {
		return err
	}
	if rec.Tenant != t.tenant {
		return fmt.Errorf("storage: a record of tenant %q in a transaction of tenant %q", rec.Tenant, t.tenant)
	}
	for _, term := range rec.Terms {
		if err := checkPart("field of a term", term.Field); err != nil {
			return err
		}
		if len(term.Value) > maxTermValue {
			return fmt.Errorf("storage: the value of the term %q has %d bytes, more than %d", term.Field, len(term.Value), maxTermValue)
		}
	}
	old, err := t.before(rec.Kind, rec.ID)
	t.last = nil
	switch {
	case errors.Is(err, ErrNotFound):
		if dying, err := t.isDying(rec.Ref, rec.Ref); err != nil {
			return err
		} else if dying { // its links would be taken for those of the one before
			return fmt.Errorf("storage: %s %s was deleted, and its id cannot be used again", rec.Kind, rec.ID)
		}
		if err := t.count(rec.Kind, 1); err != nil {
			return err
		}
	case err != nil:
		return err
	}
	t.void = t.moveTerms(rec.Ref, old.Terms, rec.Terms)
	if t.void == nil {
		t.void = setRecord(t.w, &rec)
	}
	return t.void
}

// moveTerms writes the difference between the terms that a record was stored under and those that it is to have.
func (t *Tx) moveTerms(ref Ref, old, now []Term) error {
	had, has := termSet(old), termSet(now)
	for _, o := range old {
		if !has(o) {
			if err := t.w.Delete(o.key(ref)); err != nil {
				return err
			}
		}
	}
	for _, n := range now {
		if had(n) {
			continue
		}
		if err := t.addTerm(ref, n); err != nil {
			return err
		}
	}
	return nil
}

// termSet returns a function that says whether a term is one of l. Most records have a handful of terms; one of a user with
// ten thousand addresses must not hold up the committer.
func termSet(l []Term) func(Term) bool {
	if len(l) <= 32 {
		return func(n Term) bool { return hasTerm(l, n) }
	}
	type name struct {
		unique       bool
		field, value string
	}
	set := make(map[name]bool, len(l))
	for _, t := range l {
		set[name{t.Unique, t.Field, string(t.Value)}] = true
	}
	return func(n Term) bool { return set[name{n.Unique, n.Field, string(n.Value)}] }
}

func (t *Tx) addTerm(ref Ref, n Term) error {
	k := n.key(ref)
	if !n.Unique {
		return t.w.Set(k, nil)
	}
	owner, err := get(t.r, k)
	switch {
	case err == nil && string(owner) != ref.ID:
		return &ConflictError{Ref{ref.Tenant, ref.Kind, string(owner)}, n.Field}
	case err != nil && !errors.Is(err, ErrNotFound):
		return err
	}
	return set(t.w, k, []byte(ref.ID))
}

func (n Term) key(ref Ref) []byte {
	if n.Unique {
		return uniqueKey(ref.Tenant, ref.Kind, n.Field, n.Value)
	}
	return termKey(ref.Tenant, ref.Kind, n.Field, n.Value, ref.ID)
}

func hasTerm(l []Term, n Term) bool {
	for _, o := range l {
		if o.Unique == n.Unique && o.Field == n.Field && bytes.Equal(o.Value, n.Value) {
			return true
		}
	}
	return false
}

func (t *Tx) count(kind string, by int64) error {
	k := counterKey(t.tenant, kind)
	n, err := getNumber(t.r, k)
	if err != nil {
		return err
	}
	return setNumber(t.w, k, n+by)
}

// Delete removes a record, its terms, and all links that lead from or to it; ErrNotFound if there is none. If there are more
// links than belong into one transaction, the rest is removed by the store afterwards; until then nobody sees them.
func (t *Tx) Delete(kind, id string) error {
	if err := t.writable(); err != nil {
		return err
	}
	rec, err := t.before(kind, id)
	if err != nil {
		return err
	}
	t.last = nil
	t.void = t.remove(rec)
	return t.void
}

func (t *Tx) remove(rec Record) error {
	if err := t.moveTerms(rec.Ref, rec.Terms, nil); err != nil {
		return err
	}
	if err := t.w.Delete(recordKey(rec.Ref)); err != nil {
		return err
	}
	if err := t.count(rec.Kind, -1); err != nil {
		return err
	}
	done, err := t.dropLinks(rec.Ref)
	if err != nil || done {
		return err
	}
	t.swept, t.dying = t.swept+1, nil
	return set(t.w, sweepKey(rec.Ref), nil)
}

// Log writes a journal row. Seq, Time and Origin are filled in; Seq follows that of the row before without a gap.
func (t *Tx) Log(e Entry) error {
	if err := t.writable(); err != nil {
		return err
	}
	if err := e.Ref.check(); err != nil {
		return err
	}
	if e.Ref.Tenant != t.tenant {
		return fmt.Errorf("storage: a journal row of tenant %q in a transaction of tenant %q", e.Ref.Tenant, t.tenant)
	}
	e.Seq, e.Time, e.Origin = t.seq+t.logged, t.now, t.origin
	t.logged++
	key := journalKey(e.Seq)
	row := sealedIn(key, appendEntry(newRow(entrySize(&e)), &e))
	t.wrote += int64(len(key) + len(row))
	return t.w.Set(key, row)
}

// Hit is a record that has a term.
type Hit struct {
	ID    string
	Value []byte // of the term
}

// TermRange is a span of the values of a field: From <= value < To; an empty To means no upper limit. After goes on behind
// a hit of an earlier Find of the same range, in its direction; the hit need not exist any more.
type TermRange struct {
	From, To []byte
	After    *Hit
	Reverse  bool
}

// Exactly is the range of one value.
func Exactly(value []byte) TermRange {
	return TermRange{From: value, To: append(bytes.Clone(value), 0)}
}

// Prefix is the range of all values that begin with value.
func Prefix(value []byte) TermRange { return TermRange{From: value, To: successor(value)} }

// Find yields the records of a kind that have a term of the field in the range, in order of value and then of id, or in the
// reverse of both. A record with several such terms comes several times. Unique terms are found by Unique alone.
func (t *Tx) Find(kind, field string, r TermRange) iter.Seq2[Hit, error] {
	return func(yield func(Hit, error) bool) {
		for row, err := range t.FindRows(kind, field, r) {
			if err != nil {
				yield(Hit{}, err)
				return
			}
			if !yield(Hit{string(row.ID), bytes.Clone(row.Value)}, nil) {
				return
			}
		}
	}
}

// TermRow is what Find makes a Hit of.
type TermRow struct{ ID, Value []byte }

// FindRows is Find for somebody who goes through many terms and takes few: ID and Value are valid until the iteration goes on.
func (t *Tx) FindRows(kind, field string, r TermRange) iter.Seq2[TermRow, error] {
	p := termPrefix(t.tenant, kind, field)
	span := Range{Start: appendEscaped(bytes.Clone(p), r.From), End: successor(p), Reverse: r.Reverse, KeysOnly: true}
	if len(r.To) > 0 {
		span.End = appendEscaped(bytes.Clone(p), r.To)
	}
	if r.After != nil {
		at := termKey(t.tenant, kind, field, r.After.Value, r.After.ID)
		if r.Reverse {
			span.End = minKey(span.End, at)
		} else {
			span.Start = maxKey(span.Start, append(at, 0))
		}
	}
	return func(yield func(TermRow, error) bool) {
		for it, err := range t.r.Scan(span) {
			if err != nil {
				yield(TermRow{}, err)
				return
			}
			value, id, ok := parseTerm(it.Key[len(p):])
			if !ok {
				yield(TermRow{}, &DamageError{describe(it.Key), errors.New("its key cannot be read")})
				return
			}
			if !yield(TermRow{id, value}, nil) {
				return
			}
		}
	}
}

func minKey(a, b []byte) []byte {
	if bytes.Compare(a, b) < 0 {
		return a
	}
	return b
}

func maxKey(a, b []byte) []byte {
	if bytes.Compare(a, b) > 0 {
		return a
	}
	return b
}

// Unique returns the id of the record of a kind that has a unique term, or ErrNotFound.
func (t *Tx) Unique(kind, field string, value []byte) (id string, err error) {
	p, err := get(t.r, uniqueKey(t.tenant, kind, field, value))
	return string(p), err
}

func (l Link) check(tenant string) error {
	if err := l.From.check(); err != nil {
		return err
	}
	if err := l.To.check(); err != nil {
		return err
	}
	if l.From.Tenant != tenant || l.To.Tenant != tenant {
		return fmt.Errorf("storage: a link from tenant %q to tenant %q in a transaction of tenant %q", l.From.Tenant, l.To.Tenant, tenant)
	}
	return checkPart("field of a link", l.Field)
}

// SetLink stores a link, in place of the one of its Field between the two records if there is one.
func (t *Tx) SetLink(l Link) error {
	if err := t.writable(); err != nil {
		return err
	}
	if err := l.check(t.tenant); err != nil {
		return err
	}
	if err := set(t.w, linkKey(l), l.Body); err != nil {
		return err
	}
	return set(t.w, backlinkKey(l), nil)
}

// GetLink returns the link of a field between two records, or ErrNotFound.
func (t *Tx) GetLink(from Ref, field string, to Ref) (Link, error) {
	l := Link{From: from, Field: field, To: to}
	if l.check(t.tenant) != nil {
		return Link{}, ErrNotFound
	}
	var err error
	l.Body, err = get(t.r, linkKey(l))
	if err != nil {
		return Link{}, err
	}
	dying, err := t.isDying(from, to)
	if err != nil {
		return Link{}, err
	}
	if dying {
		return Link{}, ErrNotFound
	}
	return l, nil
}

// DeleteLink removes a link and reports whether there was one.
func (t *Tx) DeleteLink(from Ref, field string, to Ref) (bool, error) {
	if err := t.writable(); err != nil {
		return false, err
	}
	l, err := t.GetLink(from, field, to)
	if errors.Is(err, ErrNotFound) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	if err := t.w.Delete(linkKey(l)); err != nil {
		return false, err
	}
	return true, t.w.Delete(backlinkKey(l))
}

// Links yields the links of a field that lead from a record, in order of the id that they lead to; those behind the id
// after, if that is not "".
func (t *Tx) Links(from Ref, field, after string) iter.Seq2[Link, error] {
	return t.links(familyLink, from, field, after)
}

// Backlinks yields the links of a field that lead to a record, in order of the id that they come from; those behind the id
// after, if that is not "". Their Body is not filled in.
func (t *Tx) Backlinks(to Ref, field, after string) iter.Seq2[Link, error] {
	return t.links(familyBacklink, to, field, after)
}

func (t *Tx) links(family byte, of Ref, field, after string) iter.Seq2[Link, error] {
	return func(yield func(Link, error) bool) {
		if of.check() != nil || of.Tenant != t.tenant {
			return
		}
		span := within(prefix(family, of.Tenant, of.Kind, of.ID, field))
		if after != "" {
			span.Start = successor(prefix(family, of.Tenant, of.Kind, of.ID, field, after))
		}
		for it, err := range t.r.Scan(span) {
			if err != nil {
				yield(Link{}, err)
				return
			}
			l, err := readLink(it)
			if err != nil {
				yield(Link{}, err)
				return
			}
			dying, err := t.isDying(l.From, l.To)
			if err != nil {
				yield(Link{}, err)
				return
			}
			if !dying && !yield(l, nil) {
				return
			}
		}
	}
}

func readLink(it Item) (Link, error) {
	l, ok := parseLink(it.Key)
	if !ok {
		return l, &DamageError{describe(it.Key), errors.New("its key cannot be read")}
	}
	p, err := openRow(it.Key, it.Value)
	if len(p) > 0 {
		l.Body = bytes.Clone(p)
	}
	return l, err
}
