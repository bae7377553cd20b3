package activity

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"strconv"
	"strings"
	"time"

	"scimbox/storage"
)

// systemTenant is where package storage keeps what belongs to no customer: tokens.
const systemTenant = "$system"

// Reader shows what was done and what was refused as one list. Fields other than Store may be nil; what they would have told
// is then left out.
type Reader struct {
	Store *storage.Store
	Log   *Log
	Mask  *Mask // of what the journal has, too
	Clock func() time.Time

	// Tokens returns all tokens. Of each Token, Name, Preset are filled in.
	Tokens func(context.Context) ([]Who, error)
	// Name returns what a person calls a resource, "" if there is none of the id. resourceType "" is any.
	Name func(ctx context.Context, tenant, resourceType, id string) string
	// Find returns the ids of the resources that have a value of an attribute.
	Find func(ctx context.Context, tenant, resourceType, attribute, value string) []string
}

// Query says which events are asked for. The zero value asks for all.
type Query struct {
	Tenant   string
	Token    string // id, or name
	Type     string // resource type, or "token"
	Resource string // id of the resource that was changed, or was added or removed as a member; of refusals also its name
	Op       string
	Failed   bool      // only what was refused
	Since    time.Time // not before
	Until    time.Time // before
	Text     string    // in the sentence, the path or the advice; case makes no difference

	Before Position // the zero Position: from the newest on
	Limit  int      // events on a page; 50
	Scan   int      // rows examined for one page; 100,000
}

// Position is a place between events: behind all changes below Change and all refusals below Refusal. It stays good for as
// long as the events do.
type Position struct{ Change, Refusal uint64 }

// String writes a position so that ParsePosition reads it.
func (p Position) String() string {
	if p == (Position{}) {
		return ""
	}
	return fmt.Sprintf("c%d.r%d", p.Change, p.Refusal)
}

// MarshalText implements [encoding.TextMarshaler].
func (p Position) MarshalText() ([]byte, error) { return []byte(p.String()), nil }

// UnmarshalText implements [encoding.TextUnmarshaler].
func (p *Position) UnmarshalText(b []byte) (err error) {
	*p, err = ParsePosition(string(b))
	return err
}

// ParsePosition reads what String has written; "" is the zero Position.
func ParsePosition(s string) (Position, error) {
	if s == "" {
		return Position{}, nil
	}
	c, r, ok := strings.Cut(s, ".")
	c, isC := strings.CutPrefix(c, "c")
	r, isR := strings.CutPrefix(r, "r")
	change, err := strconv.ParseUint(c, 10, 64)
	refusal, err2 := strconv.ParseUint(r, 10, 64)
	if !ok || !isC || !isR || err != nil || err2 != nil {
		return Position{}, fmt.Errorf("%q is no position in the activity; one looks like c120.r7", s)
	}
	return Position{change, refusal}, nil
}

// Page is a part of the list, the newest event first.
type Page struct {
	Events []Event  `json:"events"`
	Next   Position `json:"next,omitzero"` // Before of the next page
	More   bool     `json:"more"`          // there may be more, even if Events is short: so much was examined for one page
	Newest Position `json:"newest"`        // where Follow goes on
}

// lookups remembers what was looked up for the events of one page.
type lookups struct {
	ctx    context.Context
	r      *Reader
	tokens map[string]Who
	names  map[[3]string]string
}

func (r *Reader) lookups(ctx context.Context) (*lookups, error) {
	l := &lookups{ctx, r, map[string]Who{}, map[[3]string]string{}}
	if r.Tokens == nil {
		return l, nil
	}
	all, err := r.Tokens(ctx)
	for _, w := range all {
		l.tokens[w.Token] = w.labelled()
	}
	return l, err
}

func (l *lookups) knows(token string) bool { _, ok := l.tokens[token]; return ok }

func (l *lookups) who(token string) Who {
	if w, ok := l.tokens[token]; ok {
		return w
	}
	return Who{Token: token}.labelled()
}

func (l *lookups) name(tenant, resourceType, id string) string {
	attribute := "userName"
	if resourceType == "Group" {
		attribute = "displayName"
	}
	if l.r.Name == nil || id == "" || tenant == "" || l.r.Mask.Hides(attribute) {
		return ""
	}
	k := [3]string{tenant, resourceType, id}
	name, ok := l.names[k]
	if !ok {
		name = l.r.Name(l.ctx, tenant, resourceType, id)
		l.names[k] = name
	}
	return name
}

func (l *lookups) members(tenant string, ids []string) []Member {
	var list []Member
	for _, id := range ids {
		list = append(list, Member{id, l.name(tenant, "", id)})
	}
	return list
}

// holder says who has the value that was refused because somebody has it.
func (l *lookups) holder(e *Entry) string {
	if e.Status != 409 || l.r.Find == nil || e.Body == nil || e.Body.JSON == nil {
		return ""
	}
	attribute := "displayName"
	if m := uniqueDetail.FindStringSubmatch(e.Detail); m != nil {
		attribute = m[1]
	}
	tree, err := parseTree(e.Body.JSON)
	if err != nil {
		return ""
	}
	value := tree.at(strings.Split(attribute, ".")...)
	if value == "" {
		value = tree.patched(attribute)
	}
	if value == "" || value == masked {
		return ""
	}
	var list []string
	for _, id := range l.r.Find(l.ctx, e.Tenant, e.Type, attribute, value) {
		if id == e.Resource {
			continue
		}
		if name := l.name(e.Tenant, e.Type, id); name != "" && name != value {
			id = name + ", " + id
		}
		list = append(list, id)
	}
	if len(list) == 0 {
		return ""
	}
	return fmt.Sprintf("%s has the %s %q (id %s).", "A "+noun(e.Type), attribute, value, strings.Join(list, "; "))
}

// patched is the text that a PATCH gives an attribute.
func (n *node) patched(attribute string) string {
	ops := n.get("Operations")
	if ops == nil {
		return ""
	}
	for _, op := range ops.items {
		v := op.get("value")
		if p := op.get("path"); p != nil && strings.EqualFold(short(p.text), attribute) && v != nil && v.kind == '"' {
			return v.text
		}
		if s := v.at(strings.Split(attribute, ".")...); s != "" {
			return s
		}
	}
	return ""
}

// source is one of the two lists, from a place on, the newest first.
type source[T any] struct {
	next func() (T, error, bool)
	head *T
}

func newSource[T any](seq iter.Seq2[T, error]) (*source[T], func()) {
	next, stop := iter.Pull2(seq)
	return &source[T]{next: next}, stop
}

func (s *source[T]) peek() (*T, error) {
	if s.head == nil {
		v, err, ok := s.next()
		if err != nil || !ok {
			return nil, err
		}
		s.head = &v
	}
	return s.head, nil
}

const window = 256 // journal rows that are read at once

// journal yields the rows of the journal below a sequence, the newest first.
func (r *Reader) journal(ctx context.Context, below uint64) iter.Seq2[storage.Entry, error] {
	return func(yield func(storage.Entry, error) bool) {
		first, err := r.Store.FirstSeq(ctx)
		if err != nil {
			yield(storage.Entry{}, err)
			return
		}
		for top := below; top > first; {
			low := max(first, top-min(top, window))
			rows, err := r.Store.Journal(ctx, low-1, int(top-low))
			var trimmed *storage.TrimmedError
			if errors.As(err, &trimmed) { // meanwhile
				first = trimmed.First
				continue
			}
			if err != nil {
				yield(storage.Entry{}, err)
				return
			}
			for i := len(rows) - 1; i >= 0; i-- {
				if rows[i].Seq < top && !yield(rows[i], nil) {
					return
				}
			}
			top = low
		}
	}
}

// refusals yields the refused requests below a sequence that are not too old, the newest first.
func (r *Reader) refusals(below uint64) iter.Seq2[Entry, error] {
	if r.Log == nil || r.Log.keep <= 0 {
		return func(func(Entry, error) bool) {}
	}
	oldest := r.Log.clock().Add(-r.Log.keep)
	return func(yield func(Entry, error) bool) {
		for e, err := range before(r.Log.dir, below) {
			if err == nil && e.Time.Before(oldest) {
				return
			}
			if !yield(e, err) {
				return
			}
		}
	}
}

// now is the position behind the newest event.
func (r *Reader) now() (Position, error) {
	p := Position{Change: r.Store.LastSeq() + 1, Refusal: 1}
	for e, err := range r.refusals(^uint64(0)) {
		if err != nil {
			return p, err
		}
		p.Refusal = e.Seq + 1
		break
	}
	return p, nil
}

// List returns a page of events.
func (r *Reader) List(ctx context.Context, q Query) (*Page, error) {
	l, err := r.lookups(ctx)
	if err != nil {
		return nil, err
	}
	f := r.filter(q, l)
	limit, scan := q.Limit, q.Scan
	if limit <= 0 {
		limit = 50
	}
	if scan <= 0 {
		scan = 100_000
	}
	newest, err := r.now()
	if err != nil {
		return nil, err
	}
	from := q.Before
	if from == (Position{}) {
		from = newest
	}
	p := &Page{Events: []Event{}, Next: from, Newest: newest}
	changes, stop := newSource(r.journal(ctx, from.Change))
	defer stop()
	refused, stop2 := newSource(r.refusals(from.Refusal))
	defer stop2()
	for ; scan > 0; scan-- {
		c, err := changes.peek()
		if err != nil {
			return nil, err
		}
		if q.Failed || f.tooOld(c) {
			c = nil
		}
		e, err := refused.peek()
		if err != nil {
			return nil, err
		}
		if e != nil && e.Time.Before(q.Since) {
			e = nil
		}
		if c == nil && e == nil {
			return p, nil
		}
		if len(p.Events) == limit {
			p.More = true
			return p, nil
		}
		// Of two at the same time the refusal is the later one: a change is written before it is answered.
		if e == nil || c != nil && c.Time.After(e.Time) {
			p.Next.Change, changes.head = c.Seq, nil
			if v, ok := f.change(c); ok {
				p.Events = append(p.Events, v)
			}
			continue
		}
		p.Next.Refusal, refused.head = e.Seq, nil
		if v, ok := f.refusal(e); ok {
			p.Events = append(p.Events, v)
		}
	}
	p.More = true
	return p, ctx.Err()
}

// filter is a Query at work.
type filter struct {
	r    *Reader
	q    Query
	l    *lookups
	ids  map[string]bool // tokens that are meant; nil = any
	text string
}

func (r *Reader) filter(q Query, l *lookups) *filter {
	f := &filter{r: r, q: q, l: l, text: strings.ToLower(q.Text)}
	if q.Token != "" {
		f.ids = map[string]bool{q.Token: true}
		for id, w := range l.tokens {
			if strings.EqualFold(w.Name, q.Token) {
				f.ids[id] = true
			}
		}
	}
	return f
}

func (f *filter) tooOld(c *storage.Entry) bool { return c != nil && c.Time.Before(f.q.Since) }

// inTime reports whether a time is asked for.
func (f *filter) inTime(t time.Time) bool {
	return !t.Before(f.q.Since) && (f.q.Until.IsZero() || t.Before(f.q.Until))
}

func (f *filter) change(e *storage.Entry) (Event, bool) {
	q := &f.q
	if q.Failed || !f.inTime(e.Time) || f.ids != nil && !f.ids[e.Actor] || q.Op != "" && q.Op != e.Op ||
		q.Type != "" && !strings.EqualFold(q.Type, e.Ref.Kind) {
		return Event{}, false
	}
	d := readDetail(e.Detail)
	tenant := e.Ref.Tenant
	if tenant == systemTenant {
		tenant = d.Tenant
	}
	if q.Tenant != "" && q.Tenant != tenant || q.Resource != "" && !d.about(e.Ref, q.Resource) && !strings.EqualFold(d.Name, q.Resource) {
		return Event{}, false
	}
	v := f.r.change(f.l, e, d)
	return v, f.says(&v)
}

func (f *filter) refusal(e *Entry) (Event, bool) {
	q := &f.q
	if !f.inTime(e.Time) || f.ids != nil && !f.ids[e.Token] && !f.ids[e.Claimed] || q.Op != "" && q.Op != e.Op ||
		q.Type != "" && !strings.EqualFold(q.Type, e.Type) || q.Tenant != "" && q.Tenant != e.Tenant {
		return Event{}, false
	}
	v := f.r.refusal(f.l, e)
	if q.Resource != "" && q.Resource != e.Resource && !strings.EqualFold(q.Resource, v.Name) {
		return Event{}, false
	}
	return v, f.says(&v)
}

func (f *filter) says(v *Event) bool {
	if f.text == "" {
		return true
	}
	where := []string{v.Sentence, v.Advice, v.Resource, v.Request, v.Client}
	if e := v.Refused; e != nil {
		where = append(where, e.Path, e.Query)
	}
	for _, s := range where {
		if strings.Contains(strings.ToLower(s), f.text) {
			return true
		}
	}
	return false
}

// ErrNoEvent says that there is no event of an id.
var ErrNoEvent = errors.New("there is no such event; it may have become too old")

// Get returns one event by its ID.
func (r *Reader) Get(ctx context.Context, id string) (*Event, error) {
	seq, err := strconv.ParseUint(strings.TrimLeft(id, "cr"), 10, 64)
	if err != nil || seq == 0 || len(id) < 2 {
		return nil, ErrNoEvent
	}
	l, err := r.lookups(ctx)
	if err != nil {
		return nil, err
	}
	switch id[0] {
	case 'c':
		rows, err := r.Store.Journal(ctx, seq-1, 1)
		var trimmed *storage.TrimmedError
		if errors.As(err, &trimmed) {
			return nil, ErrNoEvent
		}
		if err != nil {
			return nil, err
		}
		if len(rows) == 1 && rows[0].Seq == seq {
			v := r.change(l, &rows[0], readDetail(rows[0].Detail))
			return &v, nil
		}
	case 'r':
		for e, err := range r.refusals(seq + 1) {
			if err != nil {
				return nil, err
			}
			if e.Seq == seq {
				v := r.refusal(l, &e)
				return &v, nil
			}
			break
		}
	}
	return nil, ErrNoEvent
}
