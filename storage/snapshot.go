package storage

import (
	"context"
	"errors"
	"iter"
)

// Snapshot is a whole store as it was at one moment, for whoever copies it: all rows of all tenants, in the order of their
// keys, without a word about the engine that they come from. It must not be used after the function it was handed to has
// returned.
type Snapshot struct {
	Store   string                      // its identity; "" if it was made before there were any
	Format  int                         // of the rows
	Seq     uint64                      // of the last journal row
	Commits uint64                      // number of the last commit: two states of one store differ in it
	Counts  map[string]map[string]int64 // records by tenant and kind

	r Reader
}

// Snapshot runs fn on all rows of the store, beside any number of other readers and the one writer. While it runs the engine
// keeps what has been replaced meanwhile. fn's error is returned as it is.
func (s *Store) Snapshot(ctx context.Context, fn func(*Snapshot) error) error {
	return s.view(ctx, func(r Reader) error { return snapshot(r, fn) })
}

func snapshot(r Reader, fn func(*Snapshot) error) error {
	f, err := checkFormat(r)
	if err != nil {
		return err
	}
	n, err := getNumber(r, commitKey)
	if err != nil {
		return err
	}
	s := &Snapshot{Store: f.Store, Format: f.Format, Commits: uint64(n), r: r}
	if s.Seq, err = lastSeq(r); err != nil {
		return err
	}
	if s.Counts, err = counts(r); err != nil {
		return err
	}
	return fn(s)
}

// Rows yields all rows in the order of their keys, each verified: a copy of damage would be kept for longer than what could
// mend it. A damaged row is a *DamageError, and the last thing that is yielded.
func (s *Snapshot) Rows() iter.Seq2[Item, error] {
	return func(yield func(Item, error) bool) {
		for it, err := range s.r.Scan(Range{}) {
			if err == nil {
				err = verifyRow(it)
			}
			if !yield(it, err) || err != nil {
				return
			}
		}
	}
}

// Count returns how many rows there are, for those who want to know how far they are.
func (s *Snapshot) Count() (n int64, err error) {
	for _, err := range s.r.Scan(Range{KeysOnly: true}) {
		if err != nil {
			return 0, err
		}
		n++
	}
	return n, nil
}

// families are the names of the families of rows by the first letter of their keys; see doc.go.
var families = map[byte]string{
	familyRecord: "record", familyTerm: "term", familyUnique: "unique", familyLink: "link", familyBacklink: "backlink",
	familyCounter: "counter", familyIndex: "index", familySweep: "sweep", familyJournal: "journal", familyMeta: "meta",
}

// Family names the family that a row belongs to, "" if this program knows none that it could be of.
func (it Item) Family() string {
	if len(it.Key) == 0 {
		return ""
	}
	return families[it.Key[0]]
}

// verifyRow says whether a row is of a known family and as it was written.
func verifyRow(it Item) error {
	switch {
	case it.Family() == "":
		return &DamageError{describe(it.Key), errors.New("it is of no family that this program knows")}
	case it.Key[0] != familyTerm:
		_, err := openRow(it.Key, it.Value)
		return err
	case len(it.Value) != 0:
		return &DamageError{describe(it.Key), errors.New("it has a value, and should have none")}
	}
	return nil
}
