package storage

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/maphash"
	"iter"
	"sync"
	"sync/atomic"

	"github.com/VictoriaMetrics/fastcache"
	"github.com/klauspost/compress/s2"
)

// Whoever looks a user up asks for two rows, what its userName names and its record, and then for the rows of its groups. Each is
// searched for through the engine's levels, in a block that mostly has to be unpacked, and that is a third of what an answer costs. A
// store of a hundred thousand users fits into some 40 MB of memory if its records are packed, which packedRows does: it keeps
// records, unique rows, and for each record the list of the rows that link to it, so that there is nothing to be searched for
// (docs/decisions/0108-rows-kept-packed.md).
//
// What a reader sees is the state after one commit. A row that is kept was read by the reader of a commit, and is forgotten when a later
// one writes it, before anybody can read what that leaves: so it is right for its reader and for all later ones. Somebody who has
// read it of an earlier state, and comes to keep it when a later commit has written it, is refused by what its stripe says.
//
// It is for any number of goroutines.
type packedRows struct {
	seed    maphash.Seed
	since   uint64 // commits up to this one may have been under way when the first row was kept
	rows    *fastcache.Cache
	stripes [packedStripes]packedStripe
	asked   [askedSlots]atomic.Uint32 // by which row a slot was asked for last
	packer  packer
}

const (
	packedStripes = 1 << 13
	askedSlots    = 1 << 16

	packedValue = 8 << 10 // how large a row or list may be, in bytes
	packedLeast = 128     // smaller ones are not packed
	packedHead  = 9       // the commit whose reader has read it, and the number of the dictionary that it is packed with, 0 = as it is
)

type packedStripe struct {
	mu      sync.Mutex
	written uint64 // the last commit that has written a row of this stripe
}

// RowMemoryUnit is what the memory for rows is a multiple of, in bytes: the cache has 512 rings of pieces of 64 KiB.
const RowMemoryUnit = 32 << 20

// newPackedRows returns one that takes some size bytes, rounded up to RowMemoryUnit. Nobody may use it before since is set.
func newPackedRows(size int64) (p *packedRows, err error) {
	defer func() {
		if cause := recover(); cause != nil {
			p, err = nil, fmt.Errorf("the system gives no memory for rows: %v", cause)
		}
	}()
	p = &packedRows{seed: maphash.MakeSeed(), rows: fastcache.New(int(size)), packer: packer{kinds: map[string]*samples{}}}
	// The cache asks the system for room once, when something is kept for the first time, and panics if there is none.
	p.rows.Set([]byte{0}, nil)
	return p, nil
}

// close gives the memory back to others of this process.
func (p *packedRows) close() {
	if p != nil {
		p.rows.Reset()
	}
}

func (p *packedRows) hash(key []byte) uint64 { return maphash.Bytes(p.seed, key) }

func (p *packedRows) stripe(key []byte) *packedStripe { return &p.stripes[p.hash(key)%packedStripes] }

// entries are what rows are read from the cache into.
var entries = sync.Pool{New: func() any { return new([]byte) }}

// get returns the value that is kept under a key for a reader of commit at, if there is one. It is the caller's.
func (p *packedRows) get(key []byte, at uint64) (value []byte, ok bool) {
	room, _ := entries.Get().(*[]byte)
	defer entries.Put(room)
	entry, ok := p.rows.HasGet((*room)[:0], key)
	*room = entry
	if !ok || len(entry) < packedHead || binary.BigEndian.Uint64(entry) > at {
		return nil, false
	}
	value = entry[packedHead:]
	if number := entry[packedHead-1]; number > 0 {
		value, err := p.packer.dicts[number].Load().Decode(nil, value)
		return value, err == nil
	}
	return bytes.Clone(value), true
}

// wanted says whether a row that is not kept is worth to be: it is if it was asked for not long ago. Of a store that does not fit, what is
// asked for once would only push others out.
func (p *packedRows) wanted(key []byte) bool {
	slot, mark := p.ask(key)
	if slot.Load() == mark {
		return true
	}
	slot.Store(mark)
	return false
}

func (p *packedRows) ask(key []byte) (slot *atomic.Uint32, mark uint32) {
	h := p.hash(key)
	return &p.asked[h%askedSlots], uint32(h>>32) | 1
}

// keep takes what a reader of commit at has read, and returns how many bytes that takes; 0 = it is not kept.
func (p *packedRows) keep(key, value []byte, at uint64) int {
	if len(value) > packedValue {
		return 0
	}
	number := byte(0)
	if len(value) >= packedLeast && isHot(key) {
		var dict *s2.Dict
		if number, dict = p.packer.dictionary(kindOf(key), value); dict == nil {
			return 0
		}
		value = dict.Encode(nil, value)
	}
	entry := append(binary.BigEndian.AppendUint64(make([]byte, 0, packedHead+len(value)), at), number)
	entry = append(entry, value...)
	s := p.stripe(key)
	s.mu.Lock()
	defer s.mu.Unlock()
	if max(s.written, p.since) > at {
		return 0 // it may be old already
	}
	p.rows.Set(key, entry)
	return len(key) + len(entry)
}

// wrote notes that a commit writes a row, or deletes it. It must be called before anybody can read what the commit leaves.
func (p *packedRows) wrote(key []byte, commit uint64) {
	s := p.stripe(key)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.written = max(s.written, commit)
	if p.rows.Has(key) {
		p.rows.Del(key)
		slot, mark := p.ask(key)
		slot.Store(mark) // whoever asks for it next has it kept again
	}
}

// A packer packs records with the words of others of their kind: all have the same names in them, and most of an organisation's users
// its domain, its town, and its departments.
type packer struct {
	dicts [1 + maxDictionaries]atomic.Pointer[s2.Dict] // by number; 0 is none

	mu    sync.Mutex
	kinds map[string]*samples
}

// samples are what the dictionary of a kind is made of.
type samples struct {
	number byte // of the dictionary
	text   []byte
	left   int
}

// maxDictionaries is how many kinds have a dictionary, and dictionarySamples how many records it is made of.
const (
	maxDictionaries   = 64
	dictionarySamples = 4
)

// dictionary returns the dictionary for a record of a kind, and its number; nil if there is none, or none yet.
func (p *packer) dictionary(kind, value []byte) (number byte, dict *s2.Dict) {
	p.mu.Lock()
	defer p.mu.Unlock()
	k := p.kinds[string(kind)]
	if k == nil {
		if len(p.kinds) == maxDictionaries {
			return 0, nil
		}
		k = &samples{number: byte(len(p.kinds) + 1), left: dictionarySamples}
		p.kinds[string(kind)] = k
	}
	if k.left > 0 {
		k.text = append(k.text, value...)
		if k.left--; k.left == 0 {
			p.dicts[k.number].Store(s2.MakeDict(k.text, nil))
			k.text = nil
		}
	}
	return k.number, p.dicts[k.number].Load()
}

// kindOf returns the kind of a record with a key.
func kindOf(key []byte) []byte {
	key = key[bytes.IndexByte(key, 0)+1:]
	if n := bytes.IndexByte(key, 0); n >= 0 {
		return key[:n]
	}
	return nil
}

// keptAlone says whether a row is kept under its own key.
func keptAlone(key []byte) bool { return isHot(key) || len(key) > 0 && key[0] == familyUnique }

// keptBy returns what a row that is written is kept under: its own key, or, of one that links to a record, what the keys of all those
// begin with. It is nil for rows that are not kept.
func keptBy(key []byte) []byte {
	switch {
	case keptAlone(key):
		return key
	case len(key) > 0 && key[0] == familyBacklink:
		return backlinksOf(key)
	}
	return nil
}

// backlinksOf returns what the keys of all rows begin with that link to the same record as the one with this key, or that a scan of
// some of them begins with; nil if that is not one record.
func backlinksOf(key []byte) []byte {
	end := 0
	for range 3 { // tenant, kind and id
		n := bytes.IndexByte(key[end:], 0)
		if n < 0 {
			return nil
		}
		end += n + 1
	}
	return key[:end:end]
}

// listOf returns what the list is kept under that has all rows of a span; nil if there is none.
func listOf(span Range) []byte {
	if span.KeysOnly || span.Reverse || len(span.Start) == 0 || span.Start[0] != familyBacklink {
		return nil
	}
	if of := backlinksOf(span.Start); of != nil && bytes.HasPrefix(span.End, of) {
		return of
	}
	return nil
}

// has says whether a key is one of a span that has an end.
func (span Range) has(key []byte) bool {
	return bytes.Compare(key, span.Start) >= 0 && bytes.Compare(key, span.End) < 0
}

// scanListed yields the rows of a span that are in a list of those whose keys begin with prefix.
func scanListed(list, prefix []byte, span Range, yield func(Item, error) bool) {
	key := bytes.Clone(prefix)
	for r := (rowReader{b: list}); len(r.b) > 0; {
		key = append(key[:len(prefix)], r.bytes()...)
		value := r.bytes()
		if span.has(key) && !yield(Item{key, value}, nil) {
			return
		}
	}
}

// scanAndKeep yields the rows of a span, and keeps the list of all whose keys begin with prefix.
func (p *packedRows) scanAndKeep(r *badgerReader, prefix []byte, span Range, yield func(Item, error) bool) {
	var list []byte
	for it, err := range r.scan(within(prefix)) {
		if err != nil {
			yield(it, err)
			return
		}
		if len(list) <= packedValue {
			list = appendListed(list, prefix, it)
		} else if bytes.Compare(it.Key, span.End) >= 0 {
			return // the list is too long, and nobody asks for the rest
		}
		if span.has(it.Key) && !yield(it, nil) {
			return
		}
	}
	p.keep(prefix, list, r.at)
}

func appendListed(list, prefix []byte, it Item) []byte {
	return appendBytes(appendBytes(list, it.Key[len(prefix):]), it.Value)
}

// warmRows is how many rows are read at a time to be kept: in between, the engine may forget what was replaced meanwhile.
const warmRows = 1000

// perRecord is what a record takes that is kept with its unique rows and the list of what links to it, about, in bytes.
const perRecord = 600

// warm keeps what there is room for in size bytes, and leaves some for those that come later: all records with what belongs to them, or as many
// of each thousand, so that none are slower than others because of when they were made.
func (e *badgerEngine) warm(ctx context.Context, p *packedRows, size int64) error {
	share := 1.0
	err := e.View(ctx, func(r Reader) error {
		all, err := counts(r)
		records := int64(0)
		for _, kinds := range all {
			for _, n := range kinds {
				records += n
			}
		}
		if records > 0 {
			share = float64(size) / float64(records*perRecord)
		}
		return err
	})
	for _, family := range []byte{familyUnique, familyRecord} {
		room := size / 5
		if family == familyRecord {
			room = size / 10 * 7
		}
		for from := []byte{family}; from != nil && room > 0 && err == nil; {
			err = e.View(ctx, func(r Reader) (err error) {
				var took int64
				from, took, err = p.warmPiece(r.(*badgerReader), Range{Start: from, End: []byte{family + 1}}, share)
				room -= took
				return err
			})
			err = errors.Join(err, ctx.Err())
		}
	}
	return err
}

// warmPiece keeps a share of the first rows of a span. It returns where the next piece begins, nil if there is none, and what was taken, in bytes.
func (p *packedRows) warmPiece(r *badgerReader, span Range, share float64) (next []byte, took int64, err error) {
	var lists *backlinkLists // of records
	if isHot(span.Start) {
		lists = newBacklinkLists(r, span.Start)
		defer lists.stop()
	}
	n := 0
	for it, err := range r.scan(span) {
		if err != nil {
			return nil, took, err
		}
		if n++; n > warmRows {
			return bytes.Clone(it.Key), took, nil
		}
		id := it.Key[bytes.LastIndexByte(it.Key, 0)+1:]
		if lists == nil { // a unique row, which leads to the record
			id = it.Value[min(sumLen, len(it.Value)):]
		}
		if float64(uint32(p.hash(id))) >= share*(1<<32) {
			continue
		}
		took += int64(p.keep(it.Key, it.Value, r.at))
		if lists == nil {
			continue
		}
		of := backlinksTo(it.Key)
		list, err := lists.to(of)
		if err != nil {
			return nil, took, err
		}
		took += int64(p.keep(of, list, r.at)) // none if it is too long
	}
	return nil, took, nil
}

// backlinkLists are the lists of what links to each record, in the order of the records.
type backlinkLists struct {
	next func() (Item, error, bool)
	stop func()

	link Item // the first that was not looked at; there is none if more is false
	err  error
	more bool
}

// newBacklinkLists begins with what links to the record with a key, or to the first one behind it.
func newBacklinkLists(r *badgerReader, record []byte) *backlinkLists {
	l := &backlinkLists{}
	l.next, l.stop = iter.Pull2(r.scan(Range{Start: backlinksTo(record), End: []byte{familyBacklink + 1}}))
	l.link, l.err, l.more = l.next()
	return l
}

// to returns the list of the rows whose keys begin with prefix. It must not be asked for what comes before an earlier one.
func (l *backlinkLists) to(prefix []byte) (list []byte, err error) {
	for ; l.more && l.err == nil; l.link, l.err, l.more = l.next() {
		if bytes.HasPrefix(l.link.Key, prefix) {
			list = appendListed(list, prefix, l.link)
		} else if bytes.Compare(l.link.Key, prefix) > 0 {
			break
		}
	}
	return list, l.err
}

// backlinksTo returns what the keys of all rows begin with that link to the record with a key.
func backlinksTo(record []byte) []byte {
	of := append(make([]byte, 0, len(record)+1), familyBacklink)
	return append(append(of, record[1:]...), 0)
}

// keepRows is [Store.KeepRows].
func (e *badgerEngine) keepRows(ctx context.Context, size int64) error {
	if size -= size % RowMemoryUnit; size <= 0 {
		return fmt.Errorf("storage: rows are to be kept in less than %d bytes, which is the least that they take", RowMemoryUnit)
	}
	p, err := newPackedRows(size)
	if err != nil {
		return err
	}
	e.mu.Lock()
	p.since = e.next - 1 // whoever commits with a later number finds it
	e.packed.Store(p)
	e.mu.Unlock()
	return e.warm(ctx, p, size)
}
