package storage

import (
	"bytes"
	"iter"

	"github.com/tidwall/btree"
)

// overlay is a Writer whose writes stay in memory until they are handed on, while its reads see them as if they had been
// made. An operation of a batch writes into one, so that what fails can be thrown away; and the engines make their
// transactions of one.
type overlay struct {
	below Reader
	rows  btree.Map[string, overlaid]

	// What one transaction takes; 0 = anything.
	maxRows, maxBytes, maxValue int64
	bytes                       int64
}

type overlaid struct {
	value   []byte
	deleted bool
}

func newOverlay(below Reader) *overlay { return &overlay{below: below} }

// rowCost is what a row counts against maxBytes besides its key and value.
const rowCost = 12

func (o *overlay) put(key []byte, v overlaid) error {
	if o.maxValue > 0 && int64(len(v.value)) > o.maxValue {
		return ErrTooLarge
	}
	had, there := o.rows.Get(string(key))
	n := o.bytes + int64(len(v.value))
	rows := int64(o.rows.Len())
	if there {
		n -= int64(len(had.value))
	} else {
		n += int64(len(key)) + rowCost
		rows++
	}
	if o.maxRows > 0 && rows > o.maxRows || o.maxBytes > 0 && n > o.maxBytes {
		return ErrTooLarge
	}
	o.bytes = n
	o.rows.Set(string(key), v)
	return nil
}

// Set implements [Writer].
func (o *overlay) Set(key, value []byte) error { return o.put(key, overlaid{value: value}) }

// Delete implements [Writer].
func (o *overlay) Delete(key []byte) error { return o.put(key, overlaid{deleted: true}) }

// Get implements [Reader].
func (o *overlay) Get(key []byte) ([]byte, error) {
	if v, ok := o.rows.Get(string(key)); ok {
		if v.deleted {
			return nil, ErrNotFound
		}
		return v.value, nil
	}
	return o.below.Get(key)
}

// each hands the writes on in the order of their keys.
func (o *overlay) each(set func(key, value []byte) error, del func(key []byte) error) (err error) {
	o.rows.Scan(func(k string, v overlaid) bool {
		if v.deleted {
			err = del([]byte(k))
		} else {
			err = set([]byte(k), v.value)
		}
		return err == nil
	})
	return err
}

// written returns the writes within r in the order in which r goes.
func (o *overlay) written(r Range) []writtenRow {
	var l []writtenRow
	if !r.Reverse {
		o.rows.Ascend(string(r.Start), func(k string, v overlaid) bool {
			if len(r.End) > 0 && k >= string(r.End) {
				return false
			}
			l = append(l, writtenRow{k, v})
			return true
		})
		return l
	}
	take := func(k string, v overlaid) bool {
		if k < string(r.Start) {
			return false
		}
		if len(r.End) == 0 || k < string(r.End) {
			l = append(l, writtenRow{k, v})
		}
		return true
	}
	if len(r.End) == 0 {
		o.rows.Reverse(take)
	} else {
		o.rows.Descend(string(r.End), take)
	}
	return l
}

type writtenRow struct {
	key string
	overlaid
}

// Scan implements [Reader]: it merges what is written, as it is now, with what lies below.
func (o *overlay) Scan(r Range) iter.Seq2[Item, error] {
	return func(yield func(Item, error) bool) {
		fresh := o.written(r)
		before := func(a string, b []byte) bool {
			if r.Reverse {
				return a > string(b)
			}
			return a < string(b)
		}
		emit := func(w writtenRow) bool {
			if w.deleted {
				return true
			}
			it := Item{Key: []byte(w.key)}
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
			if len(fresh) > 0 && bytes.Equal([]byte(fresh[0].key), it.Key) {
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
