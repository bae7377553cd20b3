package storage

import (
	"bytes"
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"
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
	if o.Repair {
		select {
		case s.repairing <- struct{}{}:
			defer func() { <-s.repairing }()
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	c := &checker{s: s, o: o, reached: s.seq.Load()}
	err := s.view(ctx, func(r Reader) error {
		c.report, c.counted, c.dying, c.damaged, c.lastSeq = &Report{}, map[counted]int64{}, map[Ref]bool{}, map[string]bool{}, 0
		c.r = r
		return c.run()
	})
	if err != nil {
		return nil, err
	}
	if o.Repair {
		if err := c.repair(ctx); err != nil {
			return c.report, err
		}
	}
	return c.report, nil
}

type counted struct{ tenant, kind string }

type checker struct {
	s       *Store
	o       CheckOptions
	r       Reader
	report  *Report
	counted map[counted]int64
	dying   map[Ref]bool
	damaged map[string]bool // unique rows that were found to be damaged from a record that has the value
	reached uint64          // what the journal had reached before the snapshot was taken
	lastSeq uint64
	first   uint64 // that the journal is to begin with; 0 if the row that says so is damaged
}

func (c *checker) run() error {
	total, err := c.expected()
	if err != nil {
		return err
	}
	var damage *DamageError
	switch c.first, err = firstSeq(c.r); {
	case errors.As(err, &damage):
		c.first = 0
	case err != nil:
		return err
	default:
		c.lastSeq = c.first - 1
	}
	for it, err := range c.r.Scan(Range{Start: []byte{familySweep}, End: []byte{familySweep + 1}, KeysOnly: true}) {
		if err != nil {
			return err
		}
		if ref, ok := parseRef(it.Key); ok {
			c.dying[ref] = true
		}
	}
	for it, err := range c.r.Scan(Range{}) {
		if err != nil {
			return err
		}
		if c.report.Rows++; c.o.Progress != nil && c.report.Rows%1000 == 0 {
			c.o.Progress(c.report.Rows, total)
		}
		if err := c.row(Item{bytes.Clone(it.Key), bytes.Clone(it.Value)}); err != nil {
			return err
		}
	}
	if c.lastSeq < c.reached {
		c.found(Finding{Kind: BrokenJournal, Where: describe(journalKey(c.lastSeq)), Text: fmt.Sprintf("it is the last one, and there was a change %d; the records are not affected", c.reached)})
	}
	return c.counters()
}

// expected returns how many rows there are, if anybody wants to know.
func (c *checker) expected() (n int64, err error) {
	if c.o.Progress == nil {
		return 0, nil
	}
	for _, err := range c.r.Scan(Range{KeysOnly: true}) {
		if err != nil {
			return 0, err
		}
		n++
	}
	return n, nil
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
		if _, ok := split(it.Key, 2); ok {
			return nil // compared with what was counted, at the end
		}
	case familyIndex:
		if p, ok := split(it.Key, 2); ok {
			if _, err := openRow(it.Key, it.Value); err != nil {
				// Without it, the caller takes the terms for outdated and makes them anew.
				c.found(Finding{Kind: DamagedRow, Where: describe(it.Key), Text: damageText(err), repair: deleteRow(it.Key), tenant: p[0]})
			}
			return nil
		}
	case familySweep:
		if ref, ok := parseRef(it.Key); ok {
			if _, err := openRow(it.Key, it.Value); err != nil {
				c.found(Finding{Kind: DamagedRow, Where: describe(it.Key), Text: damageText(err), tenant: ref.Tenant, repair: func(tx *Tx) error {
					if _, err := tx.r.Get(it.Key); err != nil { // swept meanwhile
						return ignoreNotFound(err)
					}
					return set(tx.w, it.Key, nil)
				}})
			}
			return nil
		}
	case familyJournal:
		return c.journal(it)
	case familyMeta:
		if bytes.Equal(it.Key, journalFirstKey) {
			if c.first == 0 {
				c.found(Finding{Kind: DamagedRow, Where: describe(it.Key), Text: "it should say with which change the journal begins, and cannot be read", repair: firstAnew, tenant: anyTenant})
			}
			return nil
		}
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
	c.found(Finding{Kind: DamagedRow, Where: describe(it.Key), Text: damageText(err) + "; it has to come from a backup"})
	return nil
}

// damageText is what is wrong with a row, without the row's name, which stands beside it.
func damageText(err error) string {
	var d *DamageError
	if errors.As(err, &d) {
		return d.Err.Error()
	}
	return err.Error()
}

func ignoreNotFound(err error) error {
	if errors.Is(err, ErrNotFound) {
		return nil
	}
	return err
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
	f := Finding{Kind: MissingRow, Where: describe(k), tenant: rec.Tenant, repair: func(tx *Tx) error { return tx.restoreTerm(rec.Ref, t) }}
	v, err := c.r.Get(k)
	if errors.Is(err, ErrNotFound) {
		f.Text = fmt.Sprintf("%s %s has this value, and the row that finds it by it is not there", rec.Kind, rec.ID)
		c.found(f)
		return nil
	}
	if err != nil || !t.Unique {
		return err
	}
	owner, err := openRow(k, v)
	if err != nil {
		f.Kind, f.Text = DamagedRow, fmt.Sprintf("%s; %s %s has this value", damageText(err), rec.Kind, rec.ID)
		c.damaged[string(k)] = true
		c.found(f)
		return nil
	}
	if string(owner) == rec.ID {
		return nil
	}
	other, err := owns(c.r, Ref{rec.Tenant, rec.Kind, string(owner)}, t)
	if err != nil {
		return err
	}
	if other {
		f.Kind, f.repair = DoubleUnique, nil
		f.Text = fmt.Sprintf("%s %s and %s have the same value, which only one may have; change or delete one of them", rec.Kind, rec.ID, owner)
	} else {
		f.Text = fmt.Sprintf("%s %s has this value, and the row names %s, which has not", rec.Kind, rec.ID, owner)
	}
	c.found(f)
	return nil
}

// restoreTerm makes the row of a term anew if the record still has the term. A unique row that rightly names another record
// is left to it.
func (t *Tx) restoreTerm(ref Ref, term Term) error {
	now, err := t.Get(ref.Kind, ref.ID)
	if err != nil || !hasTerm(now.Terms, term) {
		return ignoreNotFound(err)
	}
	k := term.key(ref)
	if !term.Unique {
		return t.w.Set(k, nil)
	}
	owner, err := get(t.r, k)
	if err == nil && string(owner) != ref.ID {
		rightly, err := owns(t.r, Ref{ref.Tenant, ref.Kind, string(owner)}, term)
		if err != nil || rightly {
			return err
		}
	}
	return set(t.w, k, []byte(ref.ID))
}

// owns reports whether a record is there and has a term. One that is damaged may have it.
func owns(r Reader, ref Ref, t Term) (bool, error) {
	if ref.check() != nil {
		return false, nil
	}
	p, err := get(r, recordKey(ref))
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
	p, ok := splitRest(it.Key, 4)
	if ok {
		value, id, whole := parseTerm([]byte(p[3]))
		t := Term{Field: p[2], Value: value}
		if ok = whole; ok {
			return c.stray(it, Ref{p[0], p[1], string(id)}, t)
		}
	}
	c.found(Finding{Kind: StrayRow, Where: describe(it.Key), Text: "its key cannot be read", repair: deleteRow(it.Key), tenant: anyTenant})
	return nil
}

func (c *checker) unique(it Item) error {
	p, ok := splitRest(it.Key, 4)
	if !ok {
		c.found(Finding{Kind: StrayRow, Where: describe(it.Key), Text: "its key cannot be read", repair: deleteRow(it.Key), tenant: anyTenant})
		return nil
	}
	id, err := openRow(it.Key, it.Value)
	if err == nil {
		return c.stray(it, Ref{p[0], p[1], string(id)}, Term{Field: p[2], Value: []byte(p[3]), Unique: true})
	}
	if c.damaged[string(it.Key)] {
		return nil // the record that has the value has told it
	}
	c.found(Finding{Kind: DamagedRow, Where: describe(it.Key), Text: damageText(err) + "; no record that can be read has this value", tenant: p[0], repair: func(tx *Tx) error {
		if _, err := get(tx.r, it.Key); err == nil {
			return nil // another repair was first
		}
		return tx.w.Delete(it.Key)
	}})
	return nil
}

// stray looks for the record that a row is derived from.
func (c *checker) stray(it Item, ref Ref, t Term) error {
	has, err := owns(c.r, ref, t)
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
	f := Finding{Where: describe(it.Key), tenant: l.From.Tenant, repair: func(tx *Tx) error { return tx.mendLink(l) }}
	there, err := c.has(recordKey(l.From))
	if err != nil {
		return err
	}
	if !there {
		f.Kind, f.Text = StrayRow, fmt.Sprintf("it leads from %s %s, which is not there", l.From.Kind, l.From.ID)
		c.found(f)
		return nil
	}
	mirror := backlinkKey(l)
	if it.Key[0] == familyBacklink {
		mirror = linkKey(l)
	}
	if _, err := openRow(it.Key, it.Value); err != nil {
		f.Kind, f.Text = DamagedRow, damageText(err)
		if it.Key[0] == familyLink {
			f.Text += "; what is known of the link besides its two ends is lost"
		}
		c.found(f)
	}
	there, err = c.has(mirror)
	if err != nil || there {
		return err
	}
	f.Kind, f.Where, f.Text = MissingRow, describe(mirror), "the link is there, and its row from the other side is not"
	if it.Key[0] == familyBacklink {
		f.Kind, f.Where, f.Text = StrayRow, describe(it.Key), "its row from the other side says that there is a link, and the link is not there"
	}
	c.found(f)
	return nil
}

// mendLink makes the two rows of a link fit each other. The link's own row decides: without it, there is no link.
func (t *Tx) mendLink(l Link) error {
	if dying, err := t.isDying(l.From, l.To); err != nil || dying {
		return err
	}
	there, err := t.Has(l.From.Kind, l.From.ID)
	if err != nil {
		return err
	}
	p, err := get(t.r, linkKey(l))
	var d *DamageError
	switch {
	case !there, errors.Is(err, ErrNotFound):
		return t.dropEach([]Link{l})
	case errors.As(err, &d): // p is nil
	case err != nil:
		return err
	}
	l.Body = p
	return t.SetLink(l)
}

func (c *checker) has(key []byte) (bool, error) {
	_, err := c.r.Get(key)
	if errors.Is(err, ErrNotFound) {
		return false, nil
	}
	return err == nil, err
}

func (c *checker) journal(it Item) error {
	if len(it.Key) != 9 {
		c.found(Finding{Kind: StrayRow, Where: describe(it.Key), Text: "its key cannot be read", repair: deleteRow(it.Key), tenant: anyTenant})
		return nil
	}
	seq := binary.BigEndian.Uint64(it.Key[1:])
	if c.first == 0 && c.lastSeq == 0 {
		c.lastSeq = seq - 1 // nobody knows better
	}
	e, err := readEntry(it)
	if seq != c.lastSeq+1 && !(err == nil && e.Op == OpLoss && seq > c.lastSeq) { // a loss that was accepted is known
		text := fmt.Sprintf("the row before it is %d", c.lastSeq)
		if c.lastSeq < c.first {
			text = fmt.Sprintf("it is the first one, and should be %d", c.first)
		}
		c.found(Finding{Kind: BrokenJournal, Where: describe(it.Key), Text: text + "; changes are missing from the journal, the records are not affected"})
	}
	c.lastSeq = seq
	if err != nil {
		return c.damage(it, err)
	}
	return nil
}

// firstAnew writes down that the journal begins where it begins.
func firstAnew(tx *Tx) error {
	for it, err := range tx.r.Scan(Range{Start: []byte{familyJournal}, End: []byte{familyJournal + 1}, KeysOnly: true}) {
		if err != nil {
			return err
		}
		if len(it.Key) == 9 {
			return setNumber(tx.w, journalFirstKey, int64(binary.BigEndian.Uint64(it.Key[1:])))
		}
	}
	return tx.w.Delete(journalFirstKey)
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
		broken[k] = err != nil
		c.counted[k] += 0 // so that all are compared
	}
	for _, k := range slices.SortedFunc(maps.Keys(c.counted), func(a, b counted) int {
		return cmp.Or(strings.Compare(a.tenant, b.tenant), strings.Compare(a.kind, b.kind))
	}) {
		there := c.counted[k]
		if !broken[k] && said[k] == there {
			continue
		}
		f := Finding{Kind: WrongCount, Where: describe(counterKey(k.tenant, k.kind)), Text: fmt.Sprintf("it says %d, and there are %d", said[k], there), tenant: k.tenant}
		// Whoever counts moves the counter by as much as there is more or less, so that what it is wrong by stays the same.
		// Only a damaged one keeps everybody from counting.
		f.repair = func(tx *Tx) error { return tx.count(k.kind, there-said[k]) }
		if broken[k] {
			f.Text = fmt.Sprintf("it cannot be read; there are %d", there)
			f.repair = func(tx *Tx) error { return setNumber(tx.w, counterKey(k.tenant, k.kind), there) }
		}
		c.found(f)
	}
	return nil
}

// repair repairs what can be, each finding in a transaction of its own; many at a time, so that the committer can put them
// together.
func (c *checker) repair(ctx context.Context) error {
	var g errgroup.Group
	g.SetLimit(maxBatch)
	for i := range c.report.Findings {
		f := &c.report.Findings[i]
		if f.repair == nil {
			continue
		}
		g.Go(func() error {
			err := c.s.update(ctx, f.tenant, Origin{Actor: "local"}, f.repair)
			switch {
			case err == nil:
				f.Repaired = true
			case ctx.Err() != nil, errors.Is(err, ErrClosed), errors.Is(err, ErrUnknownOutcome):
				return fmt.Errorf("repairing %s: %w", f.Where, err)
			default:
				f.Text += "; it could not be repaired: " + err.Error()
			}
			return nil
		})
	}
	return g.Wait()
}
