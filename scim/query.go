package scim

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"iter"
	"slices"
	"strings"

	"scimbox/storage"
)

// query is what a GET on a collection and a SearchRequest ask for (RFC 7644 sections 3.4.2 and 3.4.3, RFC 9865).
type query struct {
	filtered   bool // a filter was given; an empty one is none of the grammar, and must not find everything
	filter     string
	sortBy     string
	descending bool
	start      int // 1-based
	count      int // -1: not given
	cursor     *string

	attributes, excluded []string
}

// part is the share of one resource type in a query.
type part struct {
	t      *ResourceType
	filter *Filter
	sort   *Path
	plan   lookup
	shown  projection
	work   *work // of all parts together
	keys   int   // bytes of the keys that it was sorted by

	x        *examiner // of examine, once it was called
	examined int       // by it
}

// asking is what one query needs, made together.
type asking struct {
	page  page
	work  work
	parts [1]part // most queries are over one type
}

// search answers a query over one resource type or, at the root, over all of them.
func (s *Service) search(ctx context.Context, c *call, types []*ResourceType, q query) (*page, error) {
	a := &asking{work: s.queryWork()}
	parts, err := s.bindTo(a.parts[:0], &a.work, c, types, q)
	if err != nil {
		return nil, err
	}
	defer func() {
		for i := range parts {
			parts[i].release()
		}
	}()
	count := q.count
	if count < 0 {
		count = s.o.DefaultResults
	}
	count = min(count, s.o.MaxResults)
	if q.cursor != nil {
		p, err := s.searchByCursor(ctx, c, parts, q, count)
		return p, tooMuch(err)
	}
	p := &a.page
	p.start = max(q.start, 1)
	seq := s.store.LastSeq()
	err = s.store.View(ctx, c.caller.Tenant, func(tx *storage.Tx) error {
		p.empty(c.to)
		skip := p.start - 1
		if len(parts) > 1 && q.sortBy != "" { // resources of different types stand between each other
			return s.mergedPage(tx, c, parts, q, skip, count, p)
		}
		for i := range parts {
			total, err := s.pageOf(tx, c, &parts[i], q, seq, &skip, count, p)
			if err != nil {
				return err
			}
			p.total += total
		}
		return nil
	})
	return p, tooMuch(err)
}

// bind gives a query its meaning for each resource type. Where it spans several, what one of them does not have counts
// as unassigned there (RFC 7644 section 3.4.2.1), but nobody at all having it is a mistake.
func (s *Service) bind(c *call, types []*ResourceType, q query) ([]part, error) {
	w := s.queryWork()
	return s.bindTo(nil, &w, c, types, q)
}

// bindTo is bind that appends to parts, which are empty, and counts all they do in w.
func (s *Service) bindTo(parts []part, w *work, c *call, types []*ResourceType, q query) ([]part, error) {
	var e *Expr
	if q.filtered {
		var err error
		if e, err = ParseFilter(q.filter, c.q.filterOptions()); err != nil {
			return nil, err
		}
	}
	var foreign, unsortable error
	sortable := false
	for _, t := range types {
		p := part{t: t, plan: everything, work: w}
		var err error
		if p.shown, err = newProjection(t, q.attributes, q.excluded, c.q); err != nil {
			return nil, err
		}
		if e != nil {
			o := c.q.bindOptions()
			if p.filter, err = BindFilter(t, e, o); err != nil {
				foreign = err
				if len(types) == 1 {
					return nil, err
				}
				o.ForeignUnassigned = true
				if p.filter, err = BindFilter(t, e, o); err != nil {
					return nil, err
				}
			}
			p.filter.counts(w)
			p.plan = s.plan(t, p.filter)
		}
		if q.sortBy != "" {
			path, err := s.bindSort(t, q.sortBy, c.q)
			if err == nil {
				p.sort, sortable = &path, true
			} else {
				unsortable = err
			}
		}
		parts = append(parts, p)
	}
	if unsortable != nil && !sortable {
		return nil, unsortable
	}
	if foreign != nil && !slices.ContainsFunc(types, func(t *ResourceType) bool { return mentions(t, e, c.q) }) {
		return nil, foreign
	}
	return parts, nil
}

// mentions says whether some attribute of e is one of t's.
func mentions(t *ResourceType, e *Expr, q quirks) bool {
	if e == nil {
		return false
	}
	if e.Attr.Name != "" {
		if _, err := BindAttr(t, e.Attr.String(), q.bindOptions()); err == nil {
			return true
		}
	}
	return slices.ContainsFunc(e.Args, func(a *Expr) bool { return mentions(t, a, q) })
}

func (s *Service) bindSort(t *ResourceType, name string, q quirks) (Path, error) {
	p, err := BindAttr(t, name, q.bindOptions())
	if err != nil {
		return p, &Error{Status: 400, Type: InvalidValue, Detail: fmt.Sprintf("sortBy: %s", detailOf(err)), Err: err}
	}
	a := p.target()
	if a.Type == Complex && p.Attr != nil && p.Sub == nil && p.Attr.MultiValued && p.Attr.value() != nil {
		p.Sub = p.Attr.value()
		a = p.Sub
	}
	switch {
	case a.Type == Complex:
		return p, bad(InvalidValue, "sortBy: %s is complex and has no order; name a sub-attribute, such as %s.%s", quote(name), a.Name, a.Sub[0].Name)
	case a.Returned == ReturnedNever:
		return p, bad(InvalidValue, "sortBy: %s is never shown, and so nothing can be sorted by it", quote(name))
	}
	return p, nil
}

// pageOf adds to p what one resource type has of it and returns how many resources of the type match.
func (s *Service) pageOf(tx *storage.Tx, c *call, q *part, asked query, seq uint64, skip *int, count int, p *page) (int, error) {
	if field, ok := s.order(q); ok && q.filter == nil {
		return s.orderedPage(tx, c, q, field, asked.descending, seq, skip, count, p)
	}
	if q.plan.id != "" || q.plan.unique != nil { // at most one, and no walk
		return s.onePage(tx, c, q, skip, count, p)
	}
	key := walkKey{c.caller.Tenant, q.t.Name, fingerprintOf(asked), asked.descending}
	ids, ok := s.walks.list(key, seq)
	if !ok {
		var err error
		if ids, err = s.matchingIDs(tx, c, q, asked.descending); err != nil {
			return 0, err
		}
		s.walks.keep(key, seq, ids, count)
	}
	for _, id := range ids[min(*skip, len(ids)):] {
		if p.n >= count {
			break
		}
		if err := s.show(tx, c, q, id, p); err != nil {
			return 0, err
		}
	}
	*skip = max(0, *skip-len(ids))
	return len(ids), nil
}

// onePage is pageOf for a plan that finds one resource or none.
func (s *Service) onePage(tx *storage.Tx, c *call, q *part, skip *int, count int, p *page) (int, error) {
	id := q.plan.id
	if q.plan.unique != nil {
		var err error
		if id, err = q.plan.unique.owner(tx, q.t); id == "" || err != nil {
			return 0, err
		}
	}
	r, err := s.examine(tx, c, q, id)
	if r == nil || err != nil {
		return 0, err
	}
	if *skip > 0 {
		*skip--
		return 1, nil
	}
	if p.n < count {
		return 1, showOn(p, r, q)
	}
	return 1, nil
}

// order returns the field of the index that has the resources of a query in their order, if there is one.
func (s *Service) order(q *part) (string, bool) {
	if q.sort == nil {
		return foldName(q.t.idAttr.Name), true
	}
	for _, x := range s.index[q.t] {
		if x.sorted && x.target == q.sort.target() {
			return x.field, true
		}
	}
	return "", false
}

// orderedPage takes a page straight from an index. Where the last page ended is remembered, so that the next one does not
// count its way there again.
func (s *Service) orderedPage(tx *storage.Tx, c *call, q *part, field string, descending bool, seq uint64, skip *int, count int, p *page) (int, error) {
	n, err := tx.Count(q.t.Name)
	if err != nil {
		return 0, err
	}
	total := int(n)
	if *skip >= total || count == p.n {
		*skip = max(0, *skip-total)
		return total, nil
	}
	key := walkKey{c.caller.Tenant, q.t.Name, field, descending}
	at, after := s.walks.position(key, seq, *skip)
	span := storage.TermRange{After: after, Reverse: descending && q.sort != nil}
	var last storage.Hit
	lastAt := 0
	for hit, err := range s.ordered(tx, c, q, field, span) {
		if err != nil {
			return 0, err
		}
		if at >= *skip {
			if p.n >= count {
				break
			}
			if err := s.show(tx, c, q, hit.ID, p); err != nil {
				return 0, err
			}
		}
		if at++; at > *skip && !cutOff(hit.Value) { // from one whose place in the index is another one's, no walk can go on
			lastAt, last = at, hit
		}
	}
	if last.ID != "" {
		s.walks.remember(key, seq, lastAt, last)
	}
	*skip = 0
	return total, nil
}

// cutOff says whether a term may be shorter than the value that it was made of.
func cutOff(term []byte) bool { return len(term) == 1+maxTerm }

// ordered yields what an index finds in the order of the values. The index itself has those that begin with the same 255
// bytes in the order of their ids.
func (s *Service) ordered(tx *storage.Tx, c *call, q *part, field string, span storage.TermRange) iter.Seq2[storage.Hit, error] {
	return func(yield func(storage.Hit, error) bool) {
		var run []match // of one term
		var term []byte
		flush := func() bool {
			slices.SortFunc(run, func(a, b match) int { return a.compare(b, span.Reverse) })
			for _, m := range run {
				if !yield(storage.Hit{ID: m.id, Value: term}, nil) {
					return false
				}
			}
			run = run[:0]
			return true
		}
		for hit, err := range tx.Find(q.t.Name, field, span) {
			if err != nil {
				yield(hit, err)
				return
			}
			if len(run) > 0 && !bytes.Equal(hit.Value, term) && !flush() {
				return
			}
			if q.sort == nil || !cutOff(hit.Value) {
				if !yield(hit, nil) {
					return
				}
				continue
			}
			if len(run) == s.o.MaxScan {
				yield(hit, s.tooMany(q))
				return
			}
			r, err := s.examine(tx, c, q, hit.ID)
			if err != nil {
				yield(hit, err)
				return
			}
			m := match{id: hit.ID}
			if r != nil {
				if err := q.key(r, &m); err != nil {
					yield(hit, err)
					return
				}
			}
			run, term = append(run, m), hit.Value
		}
		flush()
	}
}

// mergedPage takes a page of a sorted query over several resource types.
func (s *Service) mergedPage(tx *storage.Tx, c *call, parts []part, q query, skip, count int, p *page) error {
	order, err := s.wholeOrder(tx, c, parts, q)
	if err != nil {
		return err
	}
	p.total = len(order)
	for _, o := range order[min(skip, len(order)):] {
		if p.n >= count {
			break
		}
		if err := s.show(tx, c, &parts[o.part], o.id, p); err != nil {
			return err
		}
	}
	return nil
}

// match is a resource that a query matches.
type match struct {
	id  string
	key []byte // of the value that it is sorted by; nil: no value, or no sorting
}

// compare is the order of a list: by key, those without one last, and then by id; all the other way round if descending
// (RFC 7644 section 3.4.2.3).
func (m match) compare(o match, descending bool) int {
	n := 0
	switch {
	case m.key == nil && o.key == nil:
	case m.key == nil:
		n = 1
	case o.key == nil:
		n = -1
	default:
		n = bytes.Compare(m.key, o.key)
	}
	if n == 0 {
		n = strings.Compare(m.id, o.id)
	}
	if descending {
		return -n
	}
	return n
}

// matchingIDs returns the ids of all resources that a query matches, in its order.
func (s *Service) matchingIDs(tx *storage.Tx, c *call, q *part, descending bool) ([]string, error) {
	list, err := s.matches(tx, c, q, descending)
	ids := make([]string, len(list))
	for i, m := range list {
		ids[i] = m.id
	}
	return ids, err
}

// matches returns all resources that a query matches, in its order.
func (s *Service) matches(tx *storage.Tx, c *call, q *part, descending bool) ([]match, error) {
	if q.plan.all && q.filter != nil {
		return s.matchesOfAll(tx, c, q, descending)
	}
	var list []match
	seen := map[string]bool{}
	examined := 0
	for id, err := range s.candidates(tx, q.t, q.plan, q.work) {
		if err == errManyTerms {
			return nil, s.tooMany(q)
		}
		if err != nil {
			return nil, err
		}
		if seen[id] {
			continue
		}
		if examined++; examined > s.o.MaxScan {
			return nil, s.tooMany(q)
		}
		seen[id] = true
		m := match{id: id}
		if !q.plan.exact || q.sort != nil {
			r, err := s.examine(tx, c, q, id)
			if err != nil {
				return nil, err
			}
			if r == nil {
				continue
			}
			if err := q.key(r, &m); err != nil {
				return nil, err
			}
		}
		list = append(list, m)
	}
	slices.SortFunc(list, func(a, b match) int { return a.compare(b, descending && q.sort != nil) })
	return list, nil
}

func (s *Service) tooMany(q *part) error {
	var indexed []string
	for _, x := range s.index[q.t] {
		indexed = append(indexed, x.target.Path())
	}
	for _, a := range q.t.root.Sub {
		if a.linked || a.derived {
			indexed = append(indexed, a.value().Path())
		}
	}
	return bad(TooMany, "the query would examine more than %d %s resources; filter by an indexed attribute (%s), or raise [scim] max_scan", s.o.MaxScan, q.t.Name, strings.Join(indexed, ", "))
}

// fewExamined is from how many resources on a query goes through them instead of looking one up.
const fewExamined = 4

// examine returns the resource of an id if it matches the query, else nil. It is valid until the next call.
func (s *Service) examine(tx *storage.Tx, c *call, q *part, id string) (*Resource, error) {
	if q.examined++; q.examined >= fewExamined {
		tx.Pass()
	}
	rec, err := tx.Bare(q.t.Name, id)
	if isNotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	if q.x == nil {
		q.x = takeExaminer(s, tx, q.t, c.base)
	}
	q.x.tx = tx
	r, err := q.x.load(rec)
	if err != nil {
		return nil, err
	}
	if q.filter != nil {
		if ok, err := q.filter.Match(r); !ok || err != nil {
			return nil, err
		}
	}
	return r, nil
}

// release gives back what examine has taken: the query is over.
func (q *part) release() {
	if q.x != nil {
		q.x.release()
		q.x = nil
	}
}

// show adds the resource of an id to a page, if it is still what the query matches: an index is only a hint.
func (s *Service) show(tx *storage.Tx, c *call, q *part, id string, p *page) error {
	r, err := s.examine(tx, c, q, id)
	if err != nil || r == nil {
		return err
	}
	return showOn(p, r, q)
}

// sortValue is the key that a resource is sorted by: of several values the primary one, else the first (RFC 7644
// section 3.4.2.3); nil if it has none.
func sortValue(r *Resource, p Path) []byte {
	var v Value
	if p.Ext != nil {
		v = r.own(p.Ext).sub(p.Attr)
	} else {
		v, _ = r.Value(p.Attr)
	}
	if v.kind == list {
		first := v.list[0]
		if primary := p.Attr.byName["primary"]; primary != nil {
			for _, e := range v.list {
				if e.sub(primary).flag {
					first = e
				}
			}
		}
		v = first
	}
	if p.Sub != nil {
		v = v.sub(p.Sub)
		for e := range v.each {
			v = e
			break
		}
	}
	if !v.assigned() {
		return nil
	}
	return sortKey(p.target(), v)
}

// key sets the key that r is sorted by, if the query is sorted. All of them are held at once.
func (q *part) key(r *Resource, m *match) error {
	if q.sort == nil {
		return nil
	}
	m.key = sortValue(r, *q.sort)
	q.keys += len(m.key)
	return q.keysFit()
}

// keysFit refuses a query whose keys are too long together.
func (q *part) keysFit() error {
	if q.keys > keyBytes {
		return bad(TooMany, "the values of %q have more than %d bytes together, too many to sort by; use a filter that finds fewer resources", q.sort.String(), keyBytes)
	}
	return nil
}

// fingerprintOf tells queries apart whose pages must not be mixed up.
func fingerprintOf(q query) string {
	sum := sha256.Sum256([]byte(q.filter + "\x00" + foldName(q.sortBy) + "\x00" + fmt.Sprint(q.descending)))
	return string(sum[:16])
}

func detailOf(err error) string {
	if e, ok := err.(*Error); ok {
		return e.Detail
	}
	return err.Error()
}
