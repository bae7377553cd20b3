package scim

import (
	"slices"
	"strconv"
	"sync"
)

// page is an answer to a query.
type page struct {
	total int // -1: not counted
	start int // 0: a cursor's page
	n     int // resources on it
	next  string

	// text is JSON of the resources with commas between them, behind room for what stands before them in a list: how many there are
	// is known at the end.
	text []byte
}

// headRoom is room for the beginning of a list whose cursor is not longer than usual.
const headRoom = 512

// empty empties a page. to is where it is to be put together; nil = anywhere.
func (p *page) empty(to []byte) {
	p.total, p.n, p.text = 0, 0, slices.Grow(to[:0], headRoom)[:headRoom]
}

func newPage(to []byte) *page {
	p := new(page)
	p.empty(to)
	return p
}

// resources returns JSON of the resources with commas between them.
func (p *page) resources() []byte { return p.text[headRoom:] }

// list returns the page as a ListResponse (RFC 7644 section 3.4.2). The page has nothing to do but to hold it then.
func (p *page) list() []byte {
	head := append(make([]byte, 0, headRoom), `{"schemas":["`+listURN+`"]`...)
	if p.total >= 0 {
		head = append(head, `,"totalResults":`...)
		head = strconv.AppendInt(head, int64(p.total), 10)
	}
	head = append(head, `,"itemsPerPage":`...)
	head = strconv.AppendInt(head, int64(p.n), 10)
	if p.start > 0 {
		head = append(head, `,"startIndex":`...)
		head = strconv.AppendInt(head, int64(p.start), 10)
	}
	if p.next != "" {
		head = append(append(append(head, `,"nextCursor":"`...), p.next...), '"')
	}
	head = append(head, `,"Resources":[`...)
	spare := headRoom - len(head)
	if spare < 0 {
		return slices.Concat(head, p.resources(), []byte("]}"))
	}
	p.text = append(p.text, "]}"...)
	copy(p.text[spare:], head)
	return p.text[spare:]
}

// showOn adds a resource to a page.
func showOn(p *page, r *Resource, q *part) error {
	size := shownMore
	if r.stored != nil {
		size += len(r.stored.text)
	}
	b := slices.Grow(p.text, size)
	if p.n > 0 {
		b = append(b, ',')
	}
	b, err := appendResource(b, r, &q.shown)
	if err != nil {
		return err
	}
	if len(b)-headRoom-p.n > maxPage && p.n > 0 { // without the commas
		return bad(TooMany, "the page would have more than %d bytes; ask for fewer resources with count, or leave out what is long with excludedAttributes", maxPage)
	}
	p.text = b
	p.n++
	return nil
}

// rooms are buffers that answers are put together in. One is given back when all of it was written without an error, so that nobody
// reads it any more: an io.Writer keeps nothing of what it is given, and the one of HTTP/2, which may go on with what it was given when
// its stream has ended, returns an error then. What is left in one of another's answer is never read, but written over: whoever takes
// it takes none of its length.
var rooms = sync.Pool{New: func() any { return new([]byte) }}

// mostRoom is how large one may be that is kept.
const mostRoom = 128 << 10

// takeRoom gives the call a buffer for its answer.
func (q *request) takeRoom() {
	q.buffer, _ = rooms.Get().(*[]byte)
	q.to = (*q.buffer)[:0]
}

// giveRoom gives it back, as the answer has left it in to.
func (q *request) giveRoom() {
	if q.buffer == nil || cap(q.to) > mostRoom {
		return
	}
	*q.buffer = q.to[:0]
	rooms.Put(q.buffer)
	q.buffer, q.to = nil, nil
}
