package scim

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"iter"
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
	Query   []byte `json:"q"`
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
		p, more, *at = &page{}, false, from
		if begin {
			if at.Total, err = s.countAll(tx, c, parts, seq, q); err != nil {
				return err
			}
		}
		examined := 0
		for ; at.Part < len(parts); at.Part, at.After = at.Part+1, "" {
			part := &parts[at.Part]
			for id, err := range s.following(tx, c, part, q, seq, at.After) {
				if err != nil {
					return err
				}
				if len(p.resources) == count || examined == s.o.MaxScan {
					r, err := s.examine(tx, c, part, id)
					if err != nil {
						return err
					}
					if r != nil || examined == s.o.MaxScan {
						more = true
						return nil
					}
					continue
				}
				examined++
				if err := s.show(tx, c, part, id, p); err != nil {
					return err
				}
				at.After = id
			}
		}
		return nil
	})
	return p, more, err
}

// following yields the ids behind after that a query may match, in order.
func (s *Service) following(tx *storage.Tx, c *call, q *part, asked query, seq uint64, after string) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		if !q.plan.all {
			key := walkKey{c.caller.Tenant, q.t.Name, fingerprintOf(asked), false}
			ids, ok := s.walks.list(key, seq)
			if !ok {
				var err error
				if ids, err = s.matches(tx, c, q, false); err != nil {
					yield("", err)
					return
				}
				s.walks.keep(key, seq, ids)
			}
			for _, id := range ids {
				if id > after && !yield(id, nil) {
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

// countable is how many resources are looked at to count the matches of a filter that no index helps with.
const countable = 10_000

// countAll counts what a walk will meet; -1 if that would cost too much.
func (s *Service) countAll(tx *storage.Tx, c *call, parts []part, seq uint64, q query) (int, error) {
	total := 0
	for i := range parts {
		p := &parts[i]
		n, err := tx.Count(p.t.Name)
		if err != nil {
			return 0, err
		}
		if p.filter != nil {
			if p.plan.all && n > countable {
				return -1, nil
			}
			ids, err := s.matches(tx, c, p, false)
			if err != nil {
				return 0, err
			}
			s.walks.keep(walkKey{c.caller.Tenant, p.t.Name, fingerprintOf(q), false}, seq, ids)
			n = int64(len(ids))
		}
		total += int(n)
	}
	return total, nil
}

// sortedWalk takes the next page of a walk whose order is written down, and writes it down first when it begins.
func (s *Service) sortedWalk(ctx context.Context, c *call, parts []part, q query, count int, at *cursor, begin bool) (*page, bool, error) {
	if begin {
		order, err := s.wholeOrder(ctx, c, parts, q)
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
				p = &page{}
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
	err := s.store.View(ctx, c.caller.Tenant, func(tx *storage.Tx) error {
		p, more, *at = &page{}, false, from
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
				if len(p.resources) == count {
					more = true
					return nil
				}
				if err := s.show(tx, c, &parts[o.part], o.id, p); err != nil {
					return err
				}
				at.Offset++
			}
			if len(chunk) < walkChunk {
				return nil
			}
		}
	})
	return p, more, err
}

// place is one resource of a written-down order.
type place struct {
	part int
	id   string
}

func (s *Service) wholeOrder(ctx context.Context, c *call, parts []part, q query) ([]place, error) {
	var order []place
	err := s.store.View(ctx, c.caller.Tenant, func(tx *storage.Tx) error {
		order = nil
		for i := range parts {
			ids, err := s.matches(tx, c, &parts[i], q.descending)
			if err != nil {
				return err
			}
			for _, id := range ids {
				order = append(order, place{i, id})
			}
		}
		return nil
	})
	return order, err
}

// walkTerm is the field that written-down walks are found by: their age.
const walkTerm = "expires"

// saveWalk writes an order down, and clears away walks that have expired or are too many.
func (s *Service) saveWalk(ctx context.Context, c *call, order []place) (string, error) {
	id, err := uuid.NewV7()
	if err != nil {
		return "", err
	}
	now := s.o.Clock()
	expires := timeKey(now.Add(s.o.CursorTimeout + time.Minute))
	err = s.store.Update(ctx, c.caller.Tenant, c.origin(), func(tx *storage.Tx) error {
		if err := clearWalks(tx, timeKey(now)); err != nil {
			return err
		}
		for n := 0; n*walkChunk <= len(order); n++ {
			chunk := order[n*walkChunk : min((n+1)*walkChunk, len(order))]
			var b []byte
			for _, o := range chunk {
				b = append(b, byte(o.part))
				b = append(append(b, o.id...), 0)
			}
			rec := storage.Record{
				Ref:   storage.Ref{Tenant: c.caller.Tenant, Kind: walkKind, ID: walkID(id.String(), n)},
				Stamp: tx.Stamp(storage.Stamp{}), Body: b,
				Terms: []storage.Term{{Field: walkTerm, Value: expires}},
			}
			if err := tx.Put(rec); err != nil {
				return err
			}
		}
		return nil
	})
	return id.String(), err
}

func walkID(walk string, n int) string { return fmt.Sprintf("%s/%06d", walk, n) }

func timeKey(t time.Time) []byte { return binary.BigEndian.AppendUint64(nil, uint64(t.UnixMilli())) }

func clearWalks(tx *storage.Tx, now []byte) error {
	var old []string
	live := map[string]bool{}
	var order []string
	for hit, err := range tx.Find(walkKind, walkTerm, storage.TermRange{}) {
		if err != nil {
			return err
		}
		if string(hit.Value) < string(now) {
			old = append(old, hit.ID)
			continue
		}
		walk, _, _ := strings.Cut(hit.ID, "/")
		if !live[walk] {
			live[walk] = true
			order = append(order, walk)
		}
	}
	ended := map[string]bool{}
	for len(order) >= maxSavedWalk {
		ended[order[0]] = true
		order = order[1:]
	}
	if len(ended) > 0 {
		for hit, err := range tx.Find(walkKind, walkTerm, storage.TermRange{From: now}) {
			if err != nil {
				return err
			}
			if walk, _, _ := strings.Cut(hit.ID, "/"); ended[walk] {
				old = append(old, hit.ID)
			}
		}
	}
	for _, id := range old {
		if err := tx.Delete(walkKind, id); err != nil && !isNotFound(err) {
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
		id, rest, ok := strings.Cut(b[1:], "\x00")
		if !ok {
			break
		}
		l = append(l, place{int(b[0]), id})
		b = rest
	}
	return l, nil
}
