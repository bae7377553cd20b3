package storage

import (
	"bytes"
	"iter"
	"slices"

	"github.com/tidwall/btree"
)

// overlay is a Writer whose writes stay in memory until they are handed on, while its reads see them as if they had been
// made. An operation of a batch writes into one, so that what fails can be thrown away; and the engines make their
// transactions of one. It keeps the keys and values that it is given.
type overlay struct {
	below Reader
	rows  writtenRows

	// What one transaction takes; 0 = anything.
	maxRows, maxBytes, maxValue int64
	bytes                       int64
}

func newOverlay(below Reader) *overlay { return &overlay{below: below} }

// rowCost is what a row counts against maxBytes besides its key and value.
const rowCost = 12

func (o *overlay) put(w writtenRow) error {
	if o.maxValue > 0 && int64(len(w.value)) > o.maxValue {
		return ErrTooLarge
	}
	if o.maxRows > 0 || o.maxBytes > 0 {
		n, rows := o.bytes+int64(len(w.value)), int64(o.rows.len())
		if had, there := o.rows.get(w.key); there {
			n -= int64(len(had.value))
		} else {
			n += int64(len(w.key)) + rowCost
			rows++
		}
		if o.maxRows > 0 && rows > o.maxRows || o.maxBytes > 0 && n > o.maxBytes {
			return ErrTooLarge
		}
		o.bytes = n
	}
	o.rows.set(w)
	return nil
}

// Set implements [Writer].
func (o *overlay) Set(key, value []byte) error { return o.put(writtenRow{key: key, value: value}) }

// Delete implements [Writer].
func (o *overlay) Delete(key []byte) error { return o.put(writtenRow{key: key, deleted: true}) }

// Get implements [Reader].
func (o *overlay) Get(key []byte) ([]byte, error) {
	if w, ok := o.rows.get(key); ok {
		if w.deleted {
			return nil, ErrNotFound
		}
		return w.value, nil
	}
	return o.below.Get(key)
}

// each hands the writes on in the order of their keys.
func (o *overlay) each(set func(key, value []byte) error, del func(key []byte) error) (err error) {
	o.rows.ascend(nil, func(w writtenRow) bool {
		if w.deleted {
			err = del(w.key)
		} else {
			err = set(w.key, w.value)
		}
		return err == nil
	})
	return err
}

// written returns the writes within r in the order in which r goes.
func (o *overlay) written(r Range) []writtenRow {
	var l []writtenRow
	o.rows.ascend(r.Start, func(w writtenRow) bool {
		if len(r.End) > 0 && bytes.Compare(w.key, r.End) >= 0 {
			return false
		}
		l = append(l, w)
		return true
	})
	if r.Reverse {
		slices.Reverse(l)
	}
	return l
}

// writtenRow is a row as it is to be.
type writtenRow struct {
	key, value []byte
	deleted    bool
}

// writtenRows are rows in the order of their keys. Most operations write some ten, for which an array is enough; it can be used
// again for the next one. A tree is for those that write thousands, and for whole batches.
type writtenRows struct {
	few  []writtenRow
	many *btree.BTreeG[writtenRow] // nil as long as they are few
}

// fewRows is how many rows stand in an array at most.
const fewRows = 32

func (w *writtenRows) len() int {
	if w.many != nil {
		return w.many.Len()
	}
	return len(w.few)
}

// reset forgets the rows and keeps their memory.
func (w *writtenRows) reset() { w.few, w.many = w.few[:0], nil }

func (w *writtenRows) find(key []byte) (int, bool) {
	return slices.BinarySearchFunc(w.few, key, func(r writtenRow, key []byte) int { return bytes.Compare(r.key, key) })
}

func (w *writtenRows) get(key []byte) (writtenRow, bool) {
	if w.many != nil {
		return w.many.Get(writtenRow{key: key})
	}
	if i, ok := w.find(key); ok {
		return w.few[i], true
	}
	return writtenRow{}, false
}

func (w *writtenRows) set(r writtenRow) {
	if w.many != nil {
		w.many.Set(r)
		return
	}
	i, ok := w.find(r.key)
	switch {
	case ok:
		w.few[i] = r
	case len(w.few) < fewRows:
		w.few = slices.Insert(w.few, i, r)
	default:
		w.many = btree.NewBTreeGOptions(func(a, b writtenRow) bool { return bytes.Compare(a.key, b.key) < 0 }, btree.Options{NoLocks: true})
		for _, f := range w.few {
			w.many.Load(f)
		}
		w.many.Set(r)
	}
}

// ascend calls fn with the rows from start on, until it returns false.
func (w *writtenRows) ascend(start []byte, fn func(writtenRow) bool) {
	if w.many != nil {
		w.many.Ascend(writtenRow{key: start}, fn)
		return
	}
	i, _ := w.find(start)
	for _, r := range w.few[i:] {
		if !fn(r) {
			return
		}
	}
}

// Scan implements [Reader]: it merges what is written, as it is now, with what lies below.
func (o *overlay) Scan(r Range) iter.Seq2[Item, error] {
	return func(yield func(Item, error) bool) {
		fresh := o.written(r)
		before := func(a, b []byte) bool {
			if r.Reverse {
				return bytes.Compare(a, b) > 0
			}
			return bytes.Compare(a, b) < 0
		}
		emit := func(w writtenRow) bool {
			if w.deleted {
				return true
			}
			it := Item{Key: w.key}
			if !r.KeysOnly {
				it.Value = w.value
			}
			return yield(it, nil)
		}
		for it, err := range o.below.Scan(r) {
			if err != nil {
				yield(Item{}, err)
				return
			}
			for len(fresh) > 0 && before(fresh[0].key, it.Key) {
				if !emit(fresh[0]) {
					return
				}
				fresh = fresh[1:]
			}
			if len(fresh) > 0 && bytes.Equal(fresh[0].key, it.Key) {
				w := fresh[0]
				fresh = fresh[1:]
				if !emit(w) {
					return
				}
				continue
			}
			if !yield(it, nil) {
				return
			}
		}
		for _, w := range fresh {
			if !emit(w) {
				return
			}
		}
	}
}
