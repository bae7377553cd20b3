package scim

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/google/uuid"

	"scimbox/storage"
)

// Cursors (RFC 9865). Without sortBy a walk goes in the order of ids: a cursor says behind which id to go on, and whatever
// is created, changed or deleted meanwhile, what exists throughout comes exactly once, because ids never change. With
// sortBy a resource could move past the cursor in either direction, so that the order is written down when the walk
// begins, as a record that expires. In both cases a cursor survives a restart. It is encrypted and bound to tenant,
// endpoint and query, and grants nothing: every page is authorised by itself (section 5.2).

const (
	systemTenant = "$system"
	secretsKind  = "secret"
	cursorKeyID  = "cursor"
	walkKind     = "$walk"
	walkChunk    = 2000 // ids in one record
	maxSavedWalk = 64   // written-down walks of one tenant; a new one ends the oldest
)

type cursors struct {
	aead cipher.AEAD
	o    Options
}

// cursor is where a walk goes on.
type cursor struct {
	Expires int64  `json:"e"`           // Unix seconds
	Part    int    `json:"p,omitempty"` // index of the resource type
	After   string `json:"a,omitempty"` // go on behind this id
	Walk    string `json:"w,omitempty"` // or in this written-down order
	Offset  int    `json:"o,omitempty"` // from this place
	Total   int    `json:"t"`           // -1: not counted
}

// newCursors reads the key that cursors are sealed with from the store, or makes it.
func newCursors(ctx context.Context, store *storage.Store, o Options) (*cursors, error) {
	var key []byte
	ref := storage.Ref{Tenant: systemTenant, Kind: secretsKind, ID: cursorKeyID}
	read := func(tx *storage.Tx) error {
		rec, err := tx.Get(ref.Kind, ref.ID)
		key = append([]byte(nil), rec.Body...)
		return err
	}
	err := store.View(ctx, systemTenant, read)
	if isNotFound(err) {
		err = store.Update(ctx, systemTenant, storage.Origin{Actor: "local"}, func(tx *storage.Tx) error {
			if err := read(tx); !isNotFound(err) {
				return err
			}
			key = make([]byte, 32)
			if _, err := rand.Read(key); err != nil {
				return err
			}
			return tx.Put(storage.Record{Ref: ref, Stamp: tx.Stamp(storage.Stamp{}), Body: key})
		})
	}
	if err != nil {
		return nil, fmt.Errorf("the key that cursors are sealed with: %w", err)
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		return nil, err
	}
	return &cursors{aead: aead, o: o}, nil
}

// seal makes the text of a cursor, of URI-unreserved characters only (RFC 9865 section 2).
func (k *cursors) seal(c cursor, boundTo string) (string, error) {
	plain, err := json.Marshal(c)
	if err != nil {
		return "", err
	}
	nonce := make([]byte, k.aead.NonceSize())
	if _, err := rand.Read(nonce); err != nil {
		return "", err
	}
	return base64.RawURLEncoding.EncodeToString(k.aead.Seal(nonce, nonce, plain, []byte(boundTo))), nil
}

var errCursor = bad(InvalidCursor, "the cursor is none that this server made for this query; start again without a cursor's value")

func (k *cursors) open(text, boundTo string) (cursor, error) {
	var c cursor
	raw, err := base64.RawURLEncoding.DecodeString(text)
	if err != nil || len(raw) < k.aead.NonceSize() {
		return c, errCursor
	}
	n := k.aead.NonceSize()
	plain, err := k.aead.Open(nil, raw[:n], raw[n:], []byte(boundTo))
	if err != nil {
		return c, errCursor
	}
	if err := json.Unmarshal(plain, &c); err != nil {
		return c, errCursor
	}
	if k.o.Clock().Unix() >= c.Expires {
		return c, errExpired(k.o.CursorTimeout)
	}
	return c, nil
}

func errExpired(d time.Duration) error {
	return bad(ExpiredCursor, "the cursor has expired; cursors live %s ([scim] cursor_timeout). Start again without a cursor's value", d)
}

func (s *Service) searchByCursor(ctx context.Context, c *call, parts []part, q query, count int) (*page, error) {
	var endpoints []string
	for _, p := range parts {
		endpoints = append(endpoints, p.t.Endpoint)
	}
	boundTo := c.caller.Tenant + "\x00" + strings.Join(endpoints, ",") + "\x00" + fingerprintOf(q)
	if s.limited() {
		boundTo += "\x00" + s.limit.Types + "\x00" + s.limit.Attributes
	}
	at := cursor{Total: -1}
	begin := *q.cursor == ""
	if !begin {
		var err error
		if at, err = s.cursors.open(*q.cursor, boundTo); err != nil {
			return nil, err
		}
		if at.Part < 0 || at.Part >= len(parts) {
			return nil, errCursor
		}
	}
	var p *page
	var more bool
	var err error
	if q.sortBy != "" {
		p, more, err = s.sortedWalk(ctx, c, parts, q, count, &at, begin)
	} else {
		p, more, err = s.idWalk(ctx, c, parts, q, count, &at, begin)
	}
	if err != nil {
		return nil, err
	}
	p.total = at.Total
	if more {
		at.Expires = s.o.Clock().Add(s.o.CursorTimeout).Unix() + 1
		if p.next, err = s.cursors.seal(at, boundTo); err != nil {
			return nil, err
		}
	}
	return p, nil
}

// idWalk takes the next page in the order of ids, and moves at behind it.
func (s *Service) idWalk(ctx context.Context, c *call, parts []part, q query, count int, at *cursor, begin bool) (p *page, more bool, err error) {
	seq := s.store.LastSeq()
	from := *at
	err = s.store.View(ctx, c.caller.Tenant, func(tx *storage.Tx) error {
		p, more, *at = newPage(c.to), false, from
		if begin {
			if at.Total, err = s.countAll(tx, c, parts, seq, q, count); err != nil {
				return err
			}
		}
		examined := 0
		for ; at.Part < len(parts); at.Part, at.After = at.Part+1, "" {
			part := &parts[at.Part]
			for id, err := range s.following(tx, c, part, q, seq, at.After, count) {
				if err != nil {
					return err
				}
				if examined == s.o.MaxScan {
					more = true // perhaps; the next page will know
					return nil
				}
				if p.n == count {
					r, err := s.examine(tx, c, part, id)
					if err != nil && !(err == errWork && examined > 0) {
						return err
					}
					if r != nil || err != nil {
						more = true
						return nil
					}
				} else if err := s.show(tx, c, part, id, p); err == errWork && examined > 0 {
					more = true
					return nil
				} else if err != nil {
					return err
				}
				examined++
				at.After = id
			}
		}
		return nil
	})
	return p, more, err
}

// following yields the ids behind after that a query may match, in order: those that an index finds, or all if it finds
// too many.
func (s *Service) following(tx *storage.Tx, c *call, q *part, asked query, seq uint64, after string, count int) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		ids, ok, err := s.foundIDs(tx, c, q, asked, seq, count)
		if err != nil {
			yield("", err)
			return
		}
		if ok {
			at, there := slices.BinarySearch(ids, after)
			if there {
				at++
			}
			for _, id := range ids[at:] {
				if !yield(id, nil) {
					return
				}
			}
			return
		}
		span := storage.TermRange{}
		if after != "" {
			span.After = &storage.Hit{ID: after, Value: presentValue(q.t.idAttr, textValue(after))}
		}
		s.yieldTerms(tx, q.t, foldName(q.t.idAttr.Name), span, yield)
	}
}

// foundIDs returns the ids that the plan of a query finds, in order, and whether those are all that it may match. They are
// not compared with the filter here: a page of a walk is, and the next one begins with looking for them again if anything
// has changed.
func (s *Service) foundIDs(tx *storage.Tx, c *call, q *part, asked query, seq uint64, count int) (ids []string, ok bool, err error) {
	if q.plan.all {
		return nil, false, nil
	}
	matches := walkKey{c.caller.Tenant, q.t.Name, fingerprintOf(asked), false}
	found := matches
	found.what = "found " + matches.what
	for _, key := range []walkKey{matches, found} {
		if ids, ok := s.walks.list(key, seq); ok {
			return ids, true, nil
		}
	}
	looked := 0
	defer q.apart()()
	for id, err := range s.candidates(tx, q.t, q.plan, q.work) {
		if err == errManyTerms || err == errWork {
			return nil, false, nil // the walk goes by ids
		}
		if err != nil {
			return nil, false, err
		}
		if looked++; looked > s.o.MaxScan {
			return nil, false, nil
		}
		ids = append(ids, id)
	}
	slices.Sort(ids)
	ids = slices.Compact(ids)
	s.walks.keep(found, seq, ids, count)
	return ids, true, nil
}

// countable is how many resources are looked at to count the matches of a filter that no index helps with.
const countable = 10_000

// countAll counts what a walk will meet; -1 if that would cost too much.
func (s *Service) countAll(tx *storage.Tx, c *call, parts []part, seq uint64, q query, count int) (int, error) {
	total := 0
	for i := range parts {
		p := &parts[i]
		n, err := tx.Count(p.t.Name)
		if err != nil {
			return 0, err
		}
		if p.filter != nil {
			if p.plan.all && n > int64(min(countable, s.o.MaxScan)) {
				return -1, nil
			}
			again := p.apart()
			ids, err := s.matchingIDs(tx, c, p, false)
			again()
			if e := (*Error)(nil); errors.As(tooMuch(err), &e) && e.Type == TooMany { // which a walk does not mind
				return -1, nil
			}
			if err != nil {
				return 0, err
			}
			s.walks.keep(walkKey{c.caller.Tenant, p.t.Name, fingerprintOf(q), false}, seq, ids, count)
			n = int64(len(ids))
		}
		total += int(n)
	}
	return total, nil
}

// sortedWalk takes the next page of a walk whose order is written down, and writes it down first when it begins.
func (s *Service) sortedWalk(ctx context.Context, c *call, parts []part, q query, count int, at *cursor, begin bool) (*page, bool, error) {
	if begin {
		var order []place
		err := s.store.View(ctx, c.caller.Tenant, func(tx *storage.Tx) (err error) {
			order, err = s.wholeOrder(tx, c, parts, q)
			return err
		})
		if err != nil {
			return nil, false, err
		}
		at.Total = len(order)
		if len(order) > count {
			if at.Walk, err = s.saveWalk(ctx, c, order); err != nil {
				return nil, false, err
			}
		} else {
			var p *page
			err := s.store.View(ctx, c.caller.Tenant, func(tx *storage.Tx) error {
				p = newPage(c.to)
				for _, o := range order {
					if err := s.show(tx, c, &parts[o.part], o.id, p); err != nil {
						return err
					}
				}
				return nil
			})
			return p, false, err
		}
	}
	var p *page
	from := *at
	more := false
	var ends time.Time
	err := s.store.View(ctx, c.caller.Tenant, func(tx *storage.Tx) (err error) {
		p, more, *at = newPage(c.to), false, from
		if ends, err = s.walkEnds(tx, at.Walk); err != nil {
			return err
		}
		for {
			chunk, err := s.walkChunk(tx, at.Walk, at.Offset/walkChunk)
			if err != nil {
				return err
			}
			rest := chunk[min(at.Offset%walkChunk, len(chunk)):]
			for _, o := range rest {
				if o.part >= len(parts) {
					return errCursor
				}
				if p.n == count {
					// Only what is still there makes another page: the last one must not be empty (RFC 9865 section 2).
					r, err := s.examine(tx, c, &parts[o.part], o.id)
					if err != nil {
						return err
					}
					if r != nil {
						more = true
						return nil
					}
				} else if err := s.show(tx, c, &parts[o.part], o.id, p); err != nil {
					return err
				}
				at.Offset++
			}
			if len(chunk) < walkChunk {
				return nil
			}
		}
	})
	if err == nil && more && ends.Before(s.o.Clock().Add(s.o.CursorTimeout+walkGrace)) {
		err = s.keepWalk(ctx, c, at.Walk)
	}
	return p, more, err
}

// place is one resource of a written-down order.
type place struct {
	part int
	match
}

// wholeOrder returns everything that a sorted query matches, of all its resource types together.
func (s *Service) wholeOrder(tx *storage.Tx, c *call, parts []part, q query) ([]place, error) {
	var order []place
	for i := range parts {
		list, err := s.matches(tx, c, &parts[i], q.descending)
		if err != nil {
			return nil, err
		}
		for _, m := range list {
			order = append(order, place{i, m})
		}
	}
	if len(parts) > 1 {
		slices.SortFunc(order, func(a, b place) int { return a.compare(b.match, q.descending) })
	}
	return order, nil
}

// A written-down order is a record that says until when it is kept, and records of its pieces.

// walkTerm is the field that written-down orders are found by: when they end.
const walkTerm = "expires"

const walkGrace = time.Minute // that an order is kept beyond the cursors that lead into it

// walkHead is the record of an order that is kept from now on. Its cursors live a while from each page on, so that it is kept
// twice as long, and kept on when the second half begins.
func (s *Service) walkHead(tx *storage.Tx, walk string, had storage.Stamp) storage.Record {
	ends := s.o.Clock().Add(2*s.o.CursorTimeout + walkGrace)
	return storage.Record{
		Ref:   storage.Ref{Tenant: tx.Tenant(), Kind: walkKind, ID: walk},
		Stamp: tx.Stamp(had),
		Terms: []storage.Term{{Field: walkTerm, Value: timeKey(ends)}},
	}
}

// saveWalk writes an order down, and clears away those that have ended or are too many.
func (s *Service) saveWalk(ctx context.Context, c *call, order []place) (string, error) {
	u, err := uuid.NewV7()
	if err != nil {
		return "", err
	}
	walk := u.String()
	write := func(fn func(tx *storage.Tx) error) error {
		return s.store.Update(ctx, c.caller.Tenant, c.origin(), fn)
	}
	err = write(func(tx *storage.Tx) error {
		if err := clearWalks(tx, timeKey(s.o.Clock())); err != nil {
			return err
		}
		return tx.Put(s.walkHead(tx, walk, storage.Stamp{}))
	})
	// A transaction takes some 60,000 ids; everybody else waits for it.
	for n := 0; err == nil && n*walkChunk <= len(order); n++ {
		chunk := order[n*walkChunk : min((n+1)*walkChunk, len(order))]
		var b []byte
		for _, o := range chunk {
			b = binary.AppendUvarint(b, uint64(o.part))
			b = append(append(b, o.id...), 0)
		}
		err = write(func(tx *storage.Tx) error {
			if _, err := s.walkEnds(tx, walk); err != nil { // it has made room for others already
				return err
			}
			ref := storage.Ref{Tenant: c.caller.Tenant, Kind: walkKind, ID: walkID(walk, n)}
			return tx.Put(storage.Record{Ref: ref, Stamp: tx.Stamp(storage.Stamp{}), Body: b})
		})
	}
	return walk, err
}

// walkEnds returns until when an order is kept. One that is gone has ended or made room for another.
func (s *Service) walkEnds(tx *storage.Tx, walk string) (time.Time, error) {
	rec, err := tx.Get(walkKind, walk)
	if isNotFound(err) || err == nil && len(rec.Terms) == 0 {
		return time.Time{}, errExpired(s.o.CursorTimeout)
	}
	if err != nil {
		return time.Time{}, err
	}
	return time.UnixMilli(int64(binary.BigEndian.Uint64(rec.Terms[0].Value))), nil
}

// keepWalk keeps an order on. One that has just made room for another is gone, which its next page will say.
func (s *Service) keepWalk(ctx context.Context, c *call, walk string) error {
	return s.store.Update(ctx, c.caller.Tenant, c.origin(), func(tx *storage.Tx) error {
		rec, err := tx.Get(walkKind, walk)
		if isNotFound(err) {
			return nil
		}
		if err != nil {
			return err
		}
		return tx.Put(s.walkHead(tx, walk, rec.Stamp))
	})
}

func walkID(walk string, n int) string { return fmt.Sprintf("%s/%06d", walk, n) }

func timeKey(t time.Time) []byte { return binary.BigEndian.AppendUint64(nil, uint64(t.UnixMilli())) }

// clearWalks removes the orders that have ended, and makes room for a new one.
func clearWalks(tx *storage.Tx, now []byte) error {
	var walks []string // the next to end first
	ended := 0
	for hit, err := range tx.Find(walkKind, walkTerm, storage.TermRange{}) {
		if err != nil {
			return err
		}
		if walks = append(walks, hit.ID); string(hit.Value) < string(now) {
			ended++
		}
	}
	for _, walk := range walks[:max(ended, len(walks)-maxSavedWalk+1)] {
		err := tx.Delete(walkKind, walk)
		for n := 0; err == nil; n++ {
			err = tx.Delete(walkKind, walkID(walk, n))
		}
		if !isNotFound(err) {
			return err
		}
	}
	return nil
}

// walkChunk reads one record of a written-down order. One that is gone has expired or made room for another.
func (s *Service) walkChunk(tx *storage.Tx, walk string, n int) ([]place, error) {
	rec, err := tx.Get(walkKind, walkID(walk, n))
	if isNotFound(err) {
		return nil, errExpired(s.o.CursorTimeout)
	}
	if err != nil {
		return nil, err
	}
	var l []place
	for b := string(rec.Body); len(b) > 1; {
		part, used := binary.Uvarint([]byte(b[:min(len(b), binary.MaxVarintLen32)]))
		if used <= 0 {
			break
		}
		id, rest, ok := strings.Cut(b[used:], "\x00")
		if !ok {
			break
		}
		l = append(l, place{int(part), match{id: id}})
		b = rest
	}
	return l, nil
}
