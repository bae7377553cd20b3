package storage

import (
	"hash/maphash"
	"sync/atomic"
)

// Some records are asked for again and again: the groups that thousands of users are members of, whose names every answer about one of
// them shows, and the record that a client is about to change, which is looked for ahead (Store.Ahead). hotRows keeps the last ones that
// were read, so that the engine need not search its tables and unpack their blocks for them
// (docs/decisions/0105-rows-read-a-moment-ago.md).
//
// What a reader sees is the state after one commit, and what was kept may be of an earlier or a later one. It is the same row if no
// commit in between has written it, or another row of its slot: which commit was the last to do so is noted before anybody can begin to
// read what it has left.
//
// It is for any number of goroutines.
type hotRows struct {
	seed  maphash.Seed
	slots [hotSlots]hotSlot
}

// hotSlots is how many rows are kept, and hotValue how large one may be, in bytes: some 6 MB if all are users of the usual size.
const (
	hotSlots = 4096
	hotValue = 8 << 10
)

type hotSlot struct {
	written atomic.Uint64 // the last commit that has written a row of this slot
	row     atomic.Pointer[hotRow]
}

// hotRow is a row as the reader of a commit has seen it.
type hotRow struct {
	at    uint64
	key   string
	value []byte
}

func newHotRows() *hotRows { return &hotRows{seed: maphash.MakeSeed()} }

func (h *hotRows) slot(key []byte) *hotSlot {
	return &h.slots[maphash.Bytes(h.seed, key)%hotSlots]
}

// get returns the value that a row has for a reader of commit at, if it is known. It is shared, and nobody may change it.
func (h *hotRows) get(key []byte, at uint64) (value []byte, ok bool) {
	s := h.slot(key)
	row := s.row.Load() // before written: whoever kept it began to read when the commits up to row.at were noted there
	if row == nil || row.key != string(key) || s.written.Load() > min(at, row.at) {
		return nil, false
	}
	return row.value, true
}

// keep takes what a reader of commit at has read.
func (h *hotRows) keep(key, value []byte, at uint64) {
	if len(value) > hotValue {
		return
	}
	s := h.slot(key)
	if s.written.Load() > at {
		return // it may be old already
	}
	s.row.Store(&hotRow{at, string(key), value[:len(value):len(value)]}) // who appends to it gets memory of his own
}

// wrote notes that a commit writes a row, or deletes it. It must be called before anybody can read what the commit leaves.
func (h *hotRows) wrote(key []byte, commit uint64) {
	s := h.slot(key)
	for {
		last := s.written.Load()
		if last >= commit || s.written.CompareAndSwap(last, commit) {
			break
		}
	}
	if row := s.row.Load(); row != nil && row.key == string(key) {
		s.row.CompareAndSwap(row, nil) // its memory; nobody who begins now would take it
	}
}

// isHot says whether a row is of those that are kept. All others are found by scans, or written more often than read.
func isHot(key []byte) bool { return len(key) > 0 && key[0] == familyRecord }
