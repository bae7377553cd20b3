package scim

import (
	"bytes"
	"iter"
	"slices"

	"scimbox/storage"
)

// A plan says where the resources that a filter may match are found. It is a hint: what it finds is compared with the
// filter itself, unless the plan is exact. The best lookup of an `and` is enough, an `or` needs one for each side.

// lookup finds resources of one type.
type lookup struct {
	rank  int  // of two lookups the lower one is taken
	exact bool // finds what the filter matches and nothing else, each once

	id     string        // rank 0: the resource of this id
	unique *termLookup   // rank 1: the resource that has a unique term
	member *memberLookup // rank 2: resources that refer to another
	terms  *termLookup   // rank 3, 4, 6: resources that have a term
	within *partLookup   // rank 5: resources that have a term with a text in it
	union  []lookup      // what any of them finds
	all    bool          // rank 9: every resource
	none   bool          // nothing at all
}

type termLookup struct {
	field string
	value []byte
	span  storage.TermRange
}

// partLookup goes through all terms of a field. That is still much less than all resources: a term is found without reading
// what it is a term of.
type partLookup struct {
	field string
	text  []byte // folded as the terms are
	last  bool   // at the end of them
}

// finds says whether a term may be that of a value that has the text: one that was cut off may have it behind the cut.
func (l *partLookup) finds(term []byte) bool {
	value := term[1:] // behind presentTerm
	if l.last {
		return bytes.HasSuffix(value, l.text) || cutOff(term)
	}
	return bytes.Contains(value, l.text) || cutOff(term)
}

// memberLookup follows links: to those that refer to the resource id by the linked attribute, or, for a derived
// attribute, to those that id refers to.
type memberLookup struct {
	attr *Attribute
	id   string
}

const (
	rankID = iota
	rankUnique
	rankMember
	rankEqual
	rankRange
	rankPart
	rankPresent
	rankAll = 9
)

var everything = lookup{rank: rankAll, all: true, exact: true}

// plan finds the best lookup for f, which may be nil.
func (s *Service) plan(t *ResourceType, f *Filter) lookup {
	if f == nil {
		return everything
	}
	switch f.Op {
	case OpAnd:
		best := lookup{rank: rankAll, all: true}
		for _, g := range f.Args {
			if l := s.plan(t, g); l.rank < best.rank {
				best = l
			}
		}
		best.exact = false
		return best
	case OpOr:
		u := lookup{exact: true}
		for _, g := range f.Args {
			l := s.plan(t, g)
			if l.all {
				return lookup{rank: rankAll, all: true}
			}
			u.rank, u.exact = max(u.rank, l.rank), u.exact && l.exact
			u.union = append(u.union, l)
		}
		return u
	case OpNot:
		return lookup{rank: rankAll, all: true}
	case OpValuePath:
		l := lookup{rank: rankAll, all: true}
		if len(f.Args) > 0 {
			l = s.plan(t, f.Args[0])
		}
		l.exact = l.exact && l.member != nil
		return l
	default:
		return s.planComparison(t, f)
	}
}

func (s *Service) planComparison(t *ResourceType, f *Filter) lookup {
	a, target := f.Path.Attr, f.Path.target()
	scan := lookup{rank: rankAll, all: true}
	if a == nil {
		return scan
	}
	if f.Op == OpEq && f.Value.kind == text {
		switch {
		case a == t.idAttr:
			return lookup{rank: rankID, id: f.Value.text, exact: true}
		case (a.linked || a.derived) && target == a.value():
			// What has a link is there, but a group may have members that nobody knows.
			return lookup{rank: rankMember, member: &memberLookup{a, f.Value.text}, exact: a.linked}
		}
	}
	i := slices.IndexFunc(s.index[t], func(x indexedAttribute) bool { return x.target == target })
	if i < 0 {
		return scan
	}
	x := s.index[t][i]
	span := func(r storage.TermRange, rank int, exact bool) lookup {
		return lookup{rank: rank, terms: &termLookup{field: x.field, span: r}, exact: exact}
	}
	if f.Op == OpPr {
		return span(storage.TermRange{From: []byte{presentTerm}, To: []byte{absentTerm}}, rankPresent, false)
	}
	if !f.Value.assigned() {
		return scan
	}
	if f.Op == OpEq && x.unique != "" {
		return lookup{rank: rankUnique, unique: &termLookup{field: x.unique, value: uniqueValue(target, f.Value)}, exact: true}
	}
	v := presentValue(target, f.Value)
	short := len(v) < 256 // longer ones may have been cut off
	open := []byte{absentTerm}
	switch f.Op {
	case OpEq:
		return span(storage.Exactly(v), rankEqual, short && target.Type != Decimal)
	case OpSw:
		if target.Type == String || target.Type == Reference {
			return span(storage.Prefix(v), rankRange, false)
		}
	case OpCo, OpEw:
		if target.Type == String || target.Type == Reference {
			return lookup{rank: rankPart, within: &partLookup{x.field, sortKey(target, f.Value), f.Op == OpEw}}
		}
	case OpGt, OpGe:
		return span(storage.TermRange{From: v, To: open}, rankRange, false)
	case OpLt, OpLe:
		// A term that was cut off stands before what it was cut from, so that the upper end is v and all that begins with it.
		return span(storage.TermRange{From: []byte{presentTerm}, To: storage.Prefix(v).To}, rankRange, false)
	}
	return scan
}

// candidates yields the ids that l finds. An id may come more than once, and in any order.
// It ends with errWork if finding them takes more than w.
func (s *Service) candidates(tx *storage.Tx, t *ResourceType, l lookup, w *work) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		s.yield(tx, t, l, w, func(id string, err error) bool {
			if err == nil && !w.do(rowWork) {
				err = errWork
			}
			return yield(id, err) && err == nil
		})
	}
}

func (s *Service) yield(tx *storage.Tx, t *ResourceType, l lookup, w *work, yield func(string, error) bool) bool {
	switch {
	case l.none:
		return true
	case l.union != nil:
		for _, u := range l.union {
			if !s.yield(tx, t, u, w, yield) {
				return false
			}
		}
		return true
	case l.unique != nil:
		id, err := l.unique.owner(tx, t)
		return id == "" && err == nil || yield(id, err)
	case l.member != nil:
		return s.yieldMembers(tx, t, l.member, w, yield)
	case l.terms != nil:
		return s.yieldTerms(tx, t, l.terms.field, l.terms.span, yield)
	case l.within != nil:
		return s.yieldParts(tx, t, l.within, w, yield)
	case l.all:
		return s.yieldTerms(tx, t, foldName(t.idAttr.Name), storage.TermRange{}, yield)
	default:
		if !validID(l.id) {
			return true
		}
		there, err := tx.Has(t.Name, l.id)
		if err != nil || there {
			return yield(l.id, err)
		}
		return true
	}
}

// owner returns the id of the resource that has the unique term, "" if none has.
func (l *termLookup) owner(tx *storage.Tx, t *ResourceType) (id string, err error) {
	id, err = tx.Unique(t.Name, l.field, l.value)
	if isNotFound(err) {
		return "", nil
	}
	return id, err
}

func (s *Service) yieldTerms(tx *storage.Tx, t *ResourceType, field string, span storage.TermRange, yield func(string, error) bool) bool {
	for row, err := range tx.FindRows(t.Name, field, span) {
		if !yield(string(row.ID), err) || err != nil {
			return false
		}
	}
	return true
}

func (s *Service) yieldParts(tx *storage.Tx, t *ResourceType, l *partLookup, w *work, yield func(string, error) bool) bool {
	looked := 0 // no more than a query may examine resources
	for row, err := range tx.FindRows(t.Name, l.field, storage.TermRange{From: []byte{presentTerm}, To: []byte{absentTerm}}) {
		if looked++; err == nil && looked > s.o.MaxScan {
			err = errManyTerms
		}
		if err == nil && !w.do(rowWork) {
			err = errWork
		}
		if err == nil && !l.finds(row.Value) {
			continue
		}
		if !yield(string(row.ID), err) || err != nil {
			return false
		}
	}
	return true
}

func (s *Service) yieldMembers(tx *storage.Tx, t *ResourceType, m *memberLookup, w *work, yield func(string, error) bool) bool {
	if !validID(m.id) {
		return true
	}
	if m.attr.derived {
		return s.yieldNested(tx, t, m, w, yield)
	}
	for _, kind := range m.attr.kinds() {
		to := storage.Ref{Tenant: tx.Tenant(), Kind: kind, ID: m.id}
		for link, err := range tx.Backlinks(to, linkField(m.attr), "") {
			if err == nil && link.From.Kind != t.Name {
				continue
			}
			if !yield(link.From.ID, err) || err != nil {
				return false
			}
		}
	}
	return true
}

// yieldNested yields the members of a group, and those of the groups that are its members: groups.value eq "id".
func (s *Service) yieldNested(tx *storage.Tx, t *ResourceType, m *memberLookup, w *work, yield func(string, error) bool) bool {
	seen := map[storage.Ref]bool{}
	var queue []storage.Ref
	for _, kind := range m.attr.kinds() {
		queue = append(queue, storage.Ref{Tenant: tx.Tenant(), Kind: kind, ID: m.id})
	}
	for len(queue) > 0 && len(seen) < maxGroups {
		from := queue[0]
		queue = queue[1:]
		g := s.whole.ByName(from.Kind)
		if g == nil || seen[from] {
			continue
		}
		seen[from] = true
		for _, a := range g.root.Sub {
			if !a.linked {
				continue
			}
			for link, err := range tx.Links(from, linkField(a), "") {
				if err == nil && !w.do(rowWork) {
					err = errWork
				}
				if err == nil && link.To.Kind != t.Name {
					queue = append(queue, link.To)
					continue
				}
				if !yield(link.To.ID, err) || err != nil {
					return false
				}
				if slices.Contains(m.attr.kinds(), link.To.Kind) {
					queue = append(queue, link.To)
				}
			}
		}
	}
	return true
}
