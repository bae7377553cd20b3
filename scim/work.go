package scim

import (
	"errors"
	"fmt"
	"net/http"
)

// What is short can still mean much: an operation of 60 bytes looks at every email address of a user, and 10,000 of them fit into
// a body. So what one request makes the server do is counted, and ends. It is not measured in time, so that the same request is
// refused on every machine (docs/decisions/0086-work-is-counted.md).

const (
	// changeWork is how many steps the changes of one request may take, those of a bulk request together. Nobody else's change is
	// made meanwhile.
	changeWork = 10_000_000
	// perExamined is how many steps a query may take for each resource that it may examine: a filter of as many comparisons as
	// there may be, of attributes with one value.
	perExamined = maxFilterTerms

	rowWork  = 10       // steps that a row of the store counts for: a link, a term
	textStep = 16       // bytes of a text that one step looks at
	keyBytes = 64 << 20 // what the values that a query is sorted by may have together
	maxPage  = 64 << 20 // bytes of the resources on a page, unless it has one only
)

// work is what a request may still do. Nil counts nothing.
type work struct{ left, most int }

func stepsOf(most int) work { return work{most, most} }

func newWork(most int) *work {
	w := stepsOf(most)
	return &w
}

// do takes n steps and says whether there were as many.
func (w *work) do(n int) bool {
	if w == nil {
		return true
	}
	w.left -= n
	return w.left >= 0
}

// over says that more was done than may be.
func (w *work) over() bool { return w != nil && w.left < 0 }

// errManyTerms and errWork end a query that looks at too much. tooMuch says it to clients.
var (
	errManyTerms = errors.New("too many terms")
	errWork      = errors.New("too much work")
)

// queryWork is what one query may do.
func (s *Service) queryWork() work { return stepsOf(max(s.o.MaxScan, 10_000) * perExamined) }

// tooMuch refuses a query that has taken all its steps; other errors pass.
func tooMuch(err error) error {
	if errors.Is(err, errWork) {
		return bad(TooMany, "the query would compare too many values; use fewer comparisons, or add one by and that an index helps with, such as userName eq")
	}
	return err
}

// refuse refuses a PATCH or a bulk request that has taken all its steps.
func (w *work) refuse() error {
	return &Error{Status: http.StatusRequestEntityTooLarge, Err: errWork, Detail: fmt.Sprintf(
		"the operations would look at more than %d values of what they change, and nothing of it was made; send fewer at once, or name a member by its id: members[value eq \"...\"]", w.most)}
}

// apart begins an attempt that a query can do without, and returns what ends it: what it took is not the query's.
func (q *part) apart() (end func()) {
	left := q.work.left
	return func() { q.work.left = left }
}

// textWork is how many steps it takes to look at a text. Beyond ASCII each letter is folded by tables.
func textWork(s string) int {
	switch {
	case len(s) < textStep:
		return 1
	case isASCII(s):
		return 1 + len(s)/textStep
	}
	return len(s)
}

// weight is how many steps it takes to look at all of v.
func weight(v Value) int {
	n := 1
	switch v.kind {
	case text, number:
		n = textWork(v.text)
	case list:
		for _, e := range v.list {
			n += weight(e)
		}
	case object:
		n += v.obj.weight()
	}
	return n
}

func (o *Object) weight() int {
	n := 0
	for _, f := range o.fields {
		n += weight(f.value)
	}
	for _, m := range o.extra {
		n += 1 + len(m.text)/textStep
	}
	return n
}

// comparisons is how many there are in f.
func (f *Filter) comparisons() int {
	if len(f.Args) == 0 {
		return 1
	}
	n := 0
	for _, g := range f.Args {
		n += g.comparisons()
	}
	return n
}

// counts makes f count what it does in w.
func (f *Filter) counts(w *work) {
	f.work = w
	for _, g := range f.Args {
		g.counts(w)
	}
}

// clone returns a copy of f for another goroutine, that counts nothing.
func (f *Filter) clone() *Filter {
	g := *f
	g.work, g.Args = nil, make([]*Filter, len(f.Args))
	for i, a := range f.Args {
		g.Args[i] = a.clone()
	}
	return &g
}

// fetched is how many steps it took to get the value v that f is about from r.
func (f *Filter) fetched(r *Resource, v Value) int {
	p := f.Path
	switch a := p.Attr; {
	case f.foreign:
		return 1
	case p.Ext == nil && (a.linked || a.derived) && r.load != nil:
		return rowWork * (1 + len(v.list))
	case f.resolves:
		return 2 * rowWork
	case r.stored == nil:
		return 1
	case p.Ext != nil:
		return 1 + len(r.stored.raw(p.Ext))/textStep
	default:
		return 1 + len(r.stored.raw(a))/textStep
	}
}
