package scim

import (
	"sync"

	lru "github.com/hashicorp/golang-lru/v2"

	"scimbox/storage"
)

// walks remembers how far clients have got in lists that they read page by page with startIndex, so that a page near the
// end costs no more than the first. What is remembered holds for one state of the store: after any change it is forgotten,
// and the next page counts its way from the start.
type walks struct {
	mu        sync.Mutex
	positions *lru.Cache[positionKey, walkPosition]
	lists     *lru.Cache[walkKey, walkList]
}

type walkKey struct {
	tenant, kind string
	what         string // field of an index, or fingerprint of a query
	descending   bool
}

// positionKey is a place where a page has ended: the next one begins there, however many clients are on their way through
// the same list. The place of at = -1 is where the latest one has ended.
type positionKey struct {
	walkKey
	at int
}

type walkPosition struct {
	seq  uint64
	at   int         // so many resources stand before
	last storage.Hit // and this is the last of them
}

type walkList struct {
	seq uint64
	ids []string
}

// What is remembered is bounded: 16 lists of at most 100,000 ids of 36 bytes are 80 MB at the very worst, and a list is
// only kept if it is longer than the page that was asked for, so that somebody may come for the rest.
const (
	keptPositions = 1024
	keptLists     = 16
	keptIDs       = 100_000
)

func newWalks() *walks {
	p, _ := lru.New[positionKey, walkPosition](keptPositions) // the only error is a size below 1
	l, _ := lru.New[walkKey, walkList](keptLists)
	return &walks{positions: p, lists: l}
}

// position returns a place in an index at or before the one where skip resources stand before.
func (w *walks) position(k walkKey, seq uint64, skip int) (at int, after *storage.Hit) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, at := range []int{skip, -1} {
		if p, ok := w.positions.Get(positionKey{k, at}); ok && p.seq == seq && p.at <= skip {
			return p.at, &p.last
		}
	}
	return 0, nil
}

func (w *walks) remember(k walkKey, seq uint64, at int, last storage.Hit) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.positions.Add(positionKey{k, at}, walkPosition{seq, at, last})
	w.positions.Add(positionKey{k, -1}, walkPosition{seq, at, last})
}

func (w *walks) list(k walkKey, seq uint64) ([]string, bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	l, ok := w.lists.Get(k)
	return l.ids, ok && l.seq == seq
}

func (w *walks) keep(k walkKey, seq uint64, ids []string, count int) {
	if len(ids) <= count || len(ids) > keptIDs {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.lists.Add(k, walkList{seq, ids})
}
