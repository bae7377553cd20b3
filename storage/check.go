package storage

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
)

// CheckOptions say what Check does besides looking.
type CheckOptions struct {
	// Repair makes anew what is derived: index rows, unique rows, the other side of links, counters. A record that is itself
	// damaged, and a gap in the journal, cannot be made anew.
	Repair bool
	// Progress is called now and then with the number of rows examined and expected. May be nil.
	Progress func(done, total int64)
}

// Report is what Check has found.
type Report struct {
	Rows     int64     // examined
	Findings []Finding // at most maxFindings
	More     int64     // findings beyond those, which were neither listed nor repaired
}

// Kind says what sort of thing is wrong.
type Kind string

// The kinds of findings.
const (
	DamagedRow    Kind = "damaged row"    // its checksum or form is wrong
	StrayRow      Kind = "stray row"      // derived from nothing that is there
	MissingRow    Kind = "missing row"    // what should have been derived is not there
	WrongCount    Kind = "wrong count"    // a counter does not say how many there are
	DoubleUnique  Kind = "double unique"  // two records have what only one may have
	BrokenJournal Kind = "broken journal" // a sequence is missing
)

// Finding is one thing that is wrong.
type Finding struct {
	Kind     Kind
	Where    string // the row, in words
	Text     string
	Repaired bool

	repair func(*Tx) error // nil: cannot be repaired
	tenant string
}

// maxFindings bounds a report: somebody has to read it.
const maxFindings = 10_000

// Check reads the whole store, on one snapshot beside everything else, and compares what is derived with what it is derived
// from. A repair looks again at what it repairs, inside of a transaction of its own, because the store goes on meanwhile.
func (s *Store) Check(ctx context.Context, o CheckOptions) (*Report, error) {
	c := &checker{ctx: ctx, s: s, o: o, report: &Report{}, counted: map[counted]int64{}}
	err := s.view(ctx, func(r Reader) error {
		*c.report = Report{}
		clear(c.counted)
		c.r = r
		return c.run()
	})
	if err != nil {
		return nil, err
	}
	if o.Repair {
		if err := c.repair(); err != nil {
			return c.report, err
		}
	}
	return c.report, nil
}

type counted struct{ tenant, kind string }

type checker struct {
	ctx     context.Context
	s       *Store
	o       CheckOptions
	r       Reader
	report  *Report
	total   int64
	counted map[counted]int64
	dying   map[Ref]bool
	lastSeq uint64
}

func (c *checker) run() error {
	c.dying = map[Ref]bool{}
	for it, err := range c.r.Scan(Range{KeysOnly: true}) {
		if err != nil {
			return err
		}
		c.total++
		if it.Key[0] == familySweep {
			if ref, ok := parseRef(it.Key); ok {
				c.dying[ref] = true
			}
		}
	}
	for it, err := range c.r.Scan(Range{}) {
		if err != nil {
			return err
		}
		if c.report.Rows++; c.o.Progress != nil && c.report.Rows%1000 == 0 {
			c.o.Progress(c.report.Rows, c.total)
		}
		if err := c.row(Item{bytes.Clone(it.Key), bytes.Clone(it.Value)}); err != nil {
			return err
		}
	}
	return c.counters()
}

func (c *checker) found(f Finding) {
	if len(c.report.Findings) == maxFindings {
		c.report.More++
		return
	}
	c.report.Findings = append(c.report.Findings, f)
}

func (c *checker) row(it Item) error {
	switch it.Key[0] {
	case familyRecord:
		return c.record(it)
	case familyTerm:
		return c.term(it)
	case familyUnique:
		return c.unique(it)
	case familyLink, familyBacklink:
		return c.link(it)
	case familyCounter:
		return c.number(it, 2)
	case familyIndex, familySweep:
		_, err := openRow(it.Key, it.Value)
		return c.damage(it, err)
	case familyJournal:
		return c.journal(it)
	case familyMeta:
		if bytes.Equal(it.Key, formatKey) || bytes.Equal(it.Key, commitKey) {
			_, err := openRow(it.Key, it.Value)
			return c.damage(it, err)
		}
	}
	c.found(Finding{Kind: StrayRow, Where: describe(it.Key), Text: "nothing of this form belongs into the store", repair: deleteRow(it.Key), tenant: anyTenant})
	return nil
}

// anyTenant is the tenant of transactions that repair what belongs to none.
const anyTenant = "$system"

// damage turns a *DamageError into a finding that cannot be repaired.
func (c *checker) damage(it Item, err error) error {
	var d *DamageError
	if !errors.As(err, &d) {
		return err
	}
	c.found(Finding{Kind: DamagedRow, Where: describe(it.Key), Text: d.Err.Error() + "; it has to come from a backup"})
	return nil
}

func deleteRow(key []byte) func(*Tx) error {
	return func(tx *Tx) error { return tx.w.Delete(key) }
}

func (c *checker) record(it Item) error {
	ref, ok := parseRef(it.Key)
	if !ok {
		c.found(Finding{Kind: DamagedRow, Where: describe(it.Key), Text: "its key cannot be read; it has to come from a backup"})
		return nil
	}
	c.counted[counted{ref.Tenant, ref.Kind}]++
	p, err := openRow(it.Key, it.Value)
	if err != nil {
		return c.damage(it, err)
	}
	rec, err := decodeRecord(ref, p)
	if err != nil {
		return c.damage(it, err)
	}
	for _, t := range rec.Terms {
		if err := c.hasRow(rec, t); err != nil {
			return err
		}
	}
	return nil
}

// hasRow looks for the row of one of a record's terms.
func (c *checker) hasRow(rec Record, t Term) error {
	k := t.key(rec.Ref)
	v, err := c.r.Get(k)
	if err != nil && !errors.Is(err, ErrNotFound) {
		return err
	}
	restore := func(tx *Tx) error {
		now, err := tx.Get(rec.Kind, rec.ID)
		if errors.Is(err, ErrNotFound) || err == nil && !hasTerm(now.Terms, t) {
			return nil
		}
		if err != nil {
			return err
		}
		if t.Unique {
			return set(tx.w, k, []byte(rec.ID))
		}
		return tx.w.Set(k, nil)
	}
	what := fmt.Sprintf("%s %s has this value, and the row that finds it by it is not there", rec.Kind, rec.ID)
	if err != nil {
		c.found(Finding{Kind: MissingRow, Where: describe(k), Text: what, repair: restore, tenant: rec.Tenant})
		return nil
	}
	if !t.Unique {
		return nil
	}
	owner, err := openRow(k, v)
	switch {
	case err != nil || string(owner) == rec.ID: // what is damaged is told where the unique rows are examined
		return nil
	}
	other, err := c.owns(Ref{rec.Tenant, rec.Kind, string(owner)}, t)
	if err != nil {
		return err
	}
	if other {
		c.found(Finding{Kind: DoubleUnique, Where: describe(k),
			Text: fmt.Sprintf("%s %s and %s have the same value, which only one may have; change or delete one of them", rec.Kind, rec.ID, owner)})
		return nil
	}
	c.found(Finding{Kind: MissingRow, Where: describe(k), Text: fmt.Sprintf("%s %s has this value, and the row names %s, which has not", rec.Kind, rec.ID, owner), repair: restore, tenant: rec.Tenant})
	return nil
}

// owns reports whether a record is there and has a term. One that is damaged may have it.
func (c *checker) owns(ref Ref, t Term) (bool, error) {
	p, err := get(c.r, recordKey(ref))
	var d *DamageError
	switch {
	case errors.Is(err, ErrNotFound):
		return false, nil
	case errors.As(err, &d):
		return true, nil
	case err != nil:
		return false, err
	}
	rec, err := decodeRecord(ref, p)
	if errors.As(err, &d) {
		return true, nil
	}
	return err == nil && hasTerm(rec.Terms, t), err
}

func (c *checker) term(it Item) error {
	p, ok := split(it.Key, 4)
	if ok {
		value, id, whole := parseTerm([]byte(p[3]))
		t := Term{Field: p[2], Value: value}
		if ok = whole; ok {
			return c.stray(it, Ref{p[0], p[1], id}, t)
		}
	}
	c.found(Finding{Kind: StrayRow, Where: describe(it.Key), Text: "its key cannot be read", repair: deleteRow(it.Key), tenant: anyTenant})
	return nil
}

func (c *checker) unique(it Item) error {
	p, ok := split(it.Key, 4)
	if !ok {
		c.found(Finding{Kind: StrayRow, Where: describe(it.Key), Text: "its key cannot be read", repair: deleteRow(it.Key), tenant: anyTenant})
		return nil
	}
	t := Term{Field: p[2], Value: []byte(p[3]), Unique: true}
	id, err := openRow(it.Key, it.Value)
	if err != nil {
		// Who has it stands in a record as well: the row is made anew from there.
		tenant, kind := p[0], p[1]
		c.found(Finding{Kind: DamagedRow, Where: describe(it.Key), Text: "its checksum is wrong", tenant: tenant, repair: func(tx *Tx) error {
			return tx.restoreUnique(kind, t)
		}})
		return nil
	}
	return c.stray(it, Ref{p[0], p[1], string(id)}, t)
}

// restoreUnique finds the record that has a unique term and makes the row anew, or removes it if nobody has it.
func (t *Tx) restoreUnique(kind string, term Term) error {
	k := uniqueKey(t.tenant, kind, term.Field, term.Value)
	p := prefix(familyRecord, t.tenant, kind)
	for it, err := range t.r.Scan(within(p)) {
		if err != nil {
			return err
		}
		ref, ok := parseRef(it.Key)
		payload, err := openRow(it.Key, it.Value)
		if !ok || err != nil {
			continue
		}
		if rec, err := decodeRecord(ref, payload); err == nil && hasTerm(rec.Terms, term) {
			return set(t.w, k, []byte(ref.ID))
		}
	}
	return t.w.Delete(k)
}

// stray looks for the record that a row is derived from.
func (c *checker) stray(it Item, ref Ref, t Term) error {
	has, err := c.owns(ref, t)
	if err != nil || has {
		return err
	}
	c.found(Finding{Kind: StrayRow, Where: describe(it.Key), Text: fmt.Sprintf("it leads to %s %s, which is not there or has no such value", ref.Kind, ref.ID),
		tenant: ref.Tenant, repair: func(tx *Tx) error {
			rec, err := tx.Get(ref.Kind, ref.ID)
			if err != nil && !errors.Is(err, ErrNotFound) || hasTerm(rec.Terms, t) {
				return err
			}
			if t.Unique { // somebody else may have taken it meanwhile
				if id, err := tx.Unique(ref.Kind, t.Field, t.Value); err != nil || id != ref.ID {
					return err
				}
			}
			return tx.w.Delete(it.Key)
		}})
	return nil
}

// link compares the two rows of a link with each other, and with the record that the link belongs to.
func (c *checker) link(it Item) error {
	l, ok := parseLink(it.Key)
	if !ok {
		c.found(Finding{Kind: StrayRow, Where: describe(it.Key), Text: "its key cannot be read", repair: deleteRow(it.Key), tenant: anyTenant})
		return nil
	}
	if c.dying[l.From] || c.dying[l.To] {
		return nil // it is about to go
	}
	if _, err := openRow(it.Key, it.Value); err != nil {
		f := Finding{Kind: DamagedRow, Where: describe(it.Key), Text: "its checksum is wrong; what is known of the link besides is lost", tenant: l.From.Tenant}
		f.repair = func(tx *Tx) error { return tx.SetLink(Link{From: l.From, Field: l.Field, To: l.To}) }
		c.found(f)
		return nil
	}
	there, err := c.has(recordKey(l.From))
	if err != nil {
		return err
	}
	if !there {
		c.found(Finding{Kind: StrayRow, Where: describe(it.Key), Text: fmt.Sprintf("it leads from %s %s, which is not there", l.From.Kind, l.From.ID),
			tenant: l.From.Tenant, repair: func(tx *Tx) error {
				if has, err := tx.Has(l.From.Kind, l.From.ID); err != nil || has {
					return err
				}
				return tx.dropEach([]Link{l})
			}})
		return nil
	}
	mirror := backlinkKey(l)
	if it.Key[0] == familyBacklink {
		mirror = linkKey(l)
	}
	there, err = c.has(mirror)
	if err != nil || there {
		return err
	}
	c.found(Finding{Kind: MissingRow, Where: describe(mirror), Text: "only one of the two rows of this link is there",
		tenant: l.From.Tenant, repair: func(tx *Tx) error {
			// The link's own row decides: without it, there is none.
			if it.Key[0] == familyBacklink {
				return tx.w.Delete(it.Key)
			}
			if _, err := get(tx.r, it.Key); err != nil {
				if errors.Is(err, ErrNotFound) {
					return nil
				}
				return err
			}
			return set(tx.w, mirror, nil)
		}})
	return nil
}

func (c *checker) has(key []byte) (bool, error) {
	_, err := c.r.Get(key)
	if errors.Is(err, ErrNotFound) {
		return false, nil
	}
	return err == nil, err
}

func (c *checker) number(it Item, parts int) error {
	_, ok := split(it.Key, parts)
	if !ok {
		c.found(Finding{Kind: StrayRow, Where: describe(it.Key), Text: "its key cannot be read", repair: deleteRow(it.Key), tenant: anyTenant})
	}
	return nil // compared with what was counted, at the end
}

func (c *checker) journal(it Item) error {
	e, err := readEntry(it)
	if err != nil {
		if len(it.Key) == 9 {
			c.lastSeq = binary.BigEndian.Uint64(it.Key[1:])
		}
		return c.damage(it, err)
	}
	if c.lastSeq != 0 && e.Seq != c.lastSeq+1 {
		c.found(Finding{Kind: BrokenJournal, Where: describe(it.Key), Text: fmt.Sprintf("the row before it is %d; changes are missing from the journal, the records are not affected", c.lastSeq)})
	}
	c.lastSeq = e.Seq
	return nil
}

// counters compares every counter with what was counted.
func (c *checker) counters() error {
	said := map[counted]int64{}
	broken := map[counted]bool{}
	for it, err := range c.r.Scan(Range{Start: []byte{familyCounter}, End: []byte{familyCounter + 1}}) {
		if err != nil {
			return err
		}
		p, ok := split(it.Key, 2)
		if !ok {
			continue
		}
		k := counted{p[0], p[1]}
		b, err := openRow(it.Key, it.Value)
		if err == nil {
			said[k], err = decodeNumber(it.Key, b)
		}
		if err != nil {
			broken[k] = true
		}
	}
	all := map[counted]bool{}
	for k := range said {
		all[k] = true
	}
	for k := range broken {
		all[k] = true
	}
	for k := range c.counted {
		all[k] = true
	}
	keys := make([]counted, 0, len(all))
	for k := range all {
		keys = append(keys, k)
	}
	slices.SortFunc(keys, func(a, b counted) int {
		return bytes.Compare(counterKey(a.tenant, a.kind), counterKey(b.tenant, b.kind))
	})
	for _, k := range keys {
		if !broken[k] && said[k] == c.counted[k] {
			continue
		}
		text := fmt.Sprintf("it says %d, and there are %d", said[k], c.counted[k])
		if broken[k] {
			text = fmt.Sprintf("its checksum is wrong; there are %d", c.counted[k])
		}
		c.found(Finding{Kind: WrongCount, Where: describe(counterKey(k.tenant, k.kind)), Text: text, tenant: k.tenant, repair: func(tx *Tx) error {
			return tx.recount(k.kind)
		}})
	}
	return nil
}

// recount makes a counter anew.
func (t *Tx) recount(kind string) error {
	n := int64(0)
	span := within(prefix(familyRecord, t.tenant, kind))
	span.KeysOnly = true
	for _, err := range t.r.Scan(span) {
		if err != nil {
			return err
		}
		n++
	}
	return setNumber(t.w, counterKey(t.tenant, kind), n)
}

// repair repairs what can be, each finding in a transaction of its own: the committer puts them together.
func (c *checker) repair() error {
	for i := range c.report.Findings {
		f := &c.report.Findings[i]
		if f.repair == nil {
			continue
		}
		err := c.s.update(c.ctx, f.tenant, Origin{Actor: "local"}, f.repair)
		var d *DamageError
		switch {
		case errors.As(err, &d):
			f.Text += "; it could not be repaired because " + d.Error()
		case err != nil:
			return fmt.Errorf("repairing %s: %w", f.Where, err)
		default:
			f.Repaired = true
		}
	}
	return nil
}
