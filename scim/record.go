package scim

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"scimbox/storage"
)

// This file is where resources become records and come back. A record's body is the JSON of the attributes that belong
// to the resource itself: id and meta are the record's own, schemas follow from the data, and linked attributes are links.

// timeForm is how created and lastModified are written: always six digits, so that as text they sort as they do in time.
const timeForm = "2006-01-02T15:04:05.000000Z"

// stored says whether a top-level attribute is part of a record's body.
func (t *ResourceType) stored(a *Attribute) bool {
	return a != t.schemasAttr && a != t.idAttr && a != t.metaAttr && !a.linked && !a.derived && !a.secret()
}

// secret says whether only a hash of a's value is kept, in a record of its own: User.password, and the password of any other
// resource type.
func (a *Attribute) secret() bool {
	top := a.parent == nil || a.parent.parent == nil
	return top && a.Returned == ReturnedNever && a.Mutability == WriteOnly && sameName(a.Name, "password")
}

// encodeBody returns the body under which o is stored.
func encodeBody(t *ResourceType, o *Object) []byte { return encodeWith(t, o, nil) }

// encodeWith returns the body of o and of what was left alone of the same resource.
func encodeWith(t *ResourceType, o *Object, rest *stayed) []byte {
	size := 1024
	if rest != nil {
		size = len(rest.body.text) + 128
	}
	m := memberList{append(make([]byte, 0, size), '{'), true}
	fields := o.fields
	for _, a := range t.root.Sub {
		if len(fields) > 0 && fields[0].attr == a {
			v := fields[0].value
			fields = fields[1:]
			if t.stored(a) {
				m.begin(a.Name)
				m.b = v.appendJSON(m.b)
			}
		} else if raw := rest.raw(a); len(raw) > 0 {
			m.begin(a.Name)
			m.b = append(m.b, raw...)
		}
	}
	return m.end(o.extra)
}

// decodeBody reads a body. What today's schema does not know, or knows to be of another type, is kept as it is.
func decodeBody(t *ResourceType, body []byte) (*Object, error) {
	if o, end, ok := decodeStored(t.root, body, 0, nil); ok && end == len(body) {
		return o, nil
	}
	return decodeAny(t, body)
}

// decodeAny reads a body in any form of JSON.
func decodeAny(t *ResourceType, body []byte) (*Object, error) {
	n, err := readNode(jsontext.NewDecoder(bytes.NewReader(body)), 0)
	if err != nil {
		return nil, fmt.Errorf("the stored body of a %s is no JSON: %v", t.Name, err) // not %w: it is no client's error
	}
	return storedObject(t.root, n), nil
}

func storedObject(a *Attribute, n *node) *Object {
	o := &Object{fields: make([]field, 0, len(n.members))}
	for _, m := range n.members {
		if s := a.sub(m.name); s != nil && !s.linked && !s.derived && !s.secret() {
			if v, ok := storedValue(s, m.value); ok {
				o.Set(s, v)
				continue
			}
		}
		o.extra = append(o.extra, rawMember{m.name, m.value.appendJSON(nil)})
	}
	return o
}

func storedValue(a *Attribute, n *node) (Value, bool) {
	if !a.MultiValued {
		return storedSingle(a, n)
	}
	if n.kind != '[' {
		return Value{}, false
	}
	l := make([]Value, 0, len(n.items))
	for _, e := range n.items {
		v, ok := storedSingle(a, e)
		if !ok {
			return Value{}, false
		}
		if v.assigned() {
			l = append(l, v)
		}
	}
	return listValue(l), true
}

func storedSingle(a *Attribute, n *node) (Value, bool) {
	switch {
	case a.Type == Complex && n.kind == '{':
		return objectValue(storedObject(a, n)), true
	case a.Type == Boolean && (n.kind == 't' || n.kind == 'f'):
		return boolValue(n.kind == 't'), true
	case (a.Type == Integer || a.Type == Decimal) && n.kind == '0':
		return numberValue(n.text), true
	case a.Type != Complex && a.Type != Boolean && a.Type != Integer && a.Type != Decimal && n.kind == '"':
		return textValue(n.text), true
	}
	return Value{}, false
}

// load turns a record into a resource. What is linked is fetched from tx when it is asked for, so that the resource
// must not outlive the transaction unless those attributes are left alone. base is the URL that locations start with.
func (s *Service) load(tx *storage.Tx, t *ResourceType, rec storage.Record, base string) (*Resource, error) {
	return newExaminer(s, tx, t, base).load(rec)
}

// unattached is load without a transaction: what is linked has no values, and references are shown as they are stored.
func unattached(t *ResourceType, rec storage.Record, base string) (*Resource, error) {
	r := &Resource{Type: t, ID: rec.ID, Stamp: rec.Stamp, base: base}
	if stored, ok := takeApart(t, rec.Body); ok {
		r.stored = stored
		return r, nil
	}
	var err error
	if r.Object, err = decodeBody(t, rec.Body); err == nil {
		r.complete(base)
	}
	return r, err
}

// loadDecoded is load for a resource that is decoded as a whole.
func (s *Service) loadDecoded(tx *storage.Tx, t *ResourceType, rec storage.Record, base string) (*Resource, error) {
	o, err := decodeBody(t, rec.Body)
	if err != nil {
		return nil, err
	}
	if s.limited() {
		o.trim()
	}
	r := &Resource{Type: t, ID: rec.ID, Stamp: rec.Stamp, Object: o}
	r.complete(base)
	r.attach(s, tx, base)
	return r, nil
}

// attach lets r fetch what is linked from tx, of which it sees the state that the transaction sees.
func (r *Resource) attach(s *Service, tx *storage.Tx, base string) {
	r.load = func(a *Attribute, id string) (Value, error) { return s.linkedValues(tx, r, a, id, base, nil) }
	r.resolve = func(a *Attribute, v Value) (Value, error) { return s.resolve(tx, a, v, base) }
}

func (s *Service) linkedValues(tx *storage.Tx, r *Resource, a *Attribute, id, base string, room *linkList) (Value, error) {
	ref := storage.Ref{Tenant: tx.Tenant(), Kind: r.Type.Name, ID: r.ID}
	if a.linked {
		return s.members(tx, ref, a, id, base)
	}
	return s.memberships(tx, ref, a, id, base, room)
}

// examiner loads one record after the other, and makes no more garbage of it than it must: a query that no index helps reads all
// records there are.
type examiner struct {
	s      *Service
	tx     *storage.Tx
	r      Resource
	stored storedBody
	links  *linkList // nil if links are rarely asked for

	// Of get, which has its transaction call a function that was made once.
	c    *call
	id   string
	view func(*storage.Tx) error // is read
}

func newExaminer(s *Service, tx *storage.Tx, t *ResourceType, base string) *examiner {
	x := &examiner{}
	x.r.load, x.r.resolve = x.linked, x.resolved
	x.begin(s, tx, t, base)
	return x
}

func (x *examiner) begin(s *Service, tx *storage.Tx, t *ResourceType, base string) {
	x.s, x.tx, x.r.Type, x.r.base = s, tx, t, base
}

// linked and resolved are what attach gives to a resource, of the one that was loaded last.
func (x *examiner) linked(a *Attribute, id string) (Value, error) {
	return x.s.linkedValues(x.tx, &x.r, a, id, x.r.base, x.links)
}

func (x *examiner) resolved(a *Attribute, v Value) (Value, error) {
	return x.s.resolve(x.tx, a, v, x.r.base)
}

// examiners are those that somebody has released: a request that reads one resource needs one for a moment, and it is large.
var examiners = sync.Pool{New: func() any {
	x := newExaminer(nil, nil, nil, "")
	x.links, x.view = newLinkList(), x.read
	return x
}}

// takeExaminer returns an examiner that has to be released when nobody needs its resource any more, or to be left to the
// collector.
func takeExaminer(s *Service, tx *storage.Tx, t *ResourceType, base string) *examiner {
	x, _ := examiners.Get().(*examiner)
	x.begin(s, tx, t, base)
	return x
}

// release gives x to the next one who takes one, who finds nothing in it but room. Neither x nor a resource of it may be used any more.
func (x *examiner) release() {
	spans, links, view := x.stored.spans, x.links, x.view
	clear(spans)
	links.forget()
	*x = examiner{r: Resource{load: x.r.load, resolve: x.r.resolve}, stored: storedBody{spans: spans[:0]}, links: links, view: view}
	examiners.Put(x)
}

// scanExaminer is examiner for a query that looks at all records and shows none of them.
func (s *Service) scanExaminer(tx *storage.Tx, c *call, q *part) *examiner {
	x := newExaminer(s, tx, q.t, c.base)
	x.stored.onlyAsked, x.stored.asked = true, q.asks()
	return x
}

// asks lists the top-level attributes of stored bodies that a query compares or sorts by; nil = any.
func (q *part) asks() []*Attribute {
	all, any := []*Attribute{}, false
	ask := func(p Path) {
		a := p.Attr
		if p.Ext != nil {
			a = p.Ext
		}
		switch {
		case a == nil || a.linked || a.derived || a == q.t.idAttr || a == q.t.metaAttr || slices.Contains(all, a):
		case a == q.t.schemasAttr: // follows from which extensions there are
			any = true
		default:
			all = append(all, a)
		}
	}
	var walk func(f *Filter)
	walk = func(f *Filter) {
		ask(f.Path)
		for _, g := range f.Args {
			walk(g)
		}
	}
	walk(q.filter)
	if q.sort != nil {
		ask(*q.sort)
	}
	if any {
		return nil
	}
	return all
}

// match says whether a query matches a record, and where it stands in the query's order.
func (x *examiner) match(q *part, rec storage.Record) (m match, ok bool, err error) {
	r, err := x.load(rec)
	if err != nil {
		return m, false, err
	}
	if ok, err := q.filter.Match(r); !ok || err != nil {
		return m, false, err
	}
	m.id = rec.ID
	return m, true, q.key(r, &m)
}

// load is Service.load. The resource is valid until the next call.
func (x *examiner) load(rec storage.Record) (*Resource, error) {
	if x.s.limited() || !x.stored.take(x.r.Type, rec.Body) {
		return x.s.loadDecoded(x.tx, x.r.Type, rec, x.r.base)
	}
	x.r.ID, x.r.Stamp, x.r.stored, x.r.where = rec.ID, rec.Stamp, &x.stored, ""
	return &x.r, nil
}

// complete sets the attributes that are not part of the body: id, meta and schemas.
func (r *Resource) complete(base string) {
	t, o := r.Type, r.Object
	o.Set(t.idAttr, textValue(r.ID))
	o.Set(t.metaAttr, metaOf(t, r.ID, r.Stamp, base))
	o.Set(t.schemasAttr, schemasOf(t, o))
}

// metaOf returns meta, all of which follows from the record.
func metaOf(t *ResourceType, id string, stamp storage.Stamp, base string) Value {
	m := &Object{}
	for name, v := range map[string]string{
		"resourceType": t.Name,
		"created":      stamp.Created.UTC().Format(timeForm),
		"lastModified": stamp.Modified.UTC().Format(timeForm),
		"location":     location(base, t, id),
		"version":      etag(stamp.Version),
	} {
		if a := t.metaAttr.byName[foldName(name)]; a != nil {
			m.Set(a, textValue(v))
		}
	}
	return objectValue(m)
}

// schemasOf lists the schema of t and of those extensions that o has data of.
func schemasOf(t *ResourceType, o *Object) Value {
	l := []Value{textValue(t.Schema.ID)}
	for _, f := range o.fields {
		if f.attr.extension && len(f.value.obj.fields) > 0 {
			l = append(l, textValue(f.attr.Name))
		}
	}
	return listValue(l)
}

func location(base string, t *ResourceType, id string) string { return base + t.Endpoint + "/" + id }

// etag is the version of a resource, a weak entity tag: the same version is answered in several projections.
func etag(version uint64) string { return string(appendETag(nil, version)) }

func appendETag(b []byte, version uint64) []byte {
	return append(strconv.AppendUint(append(b, `W/"`...), version, 10), '"')
}

// Terms. A field is the attribute's path in lower case. Single-valued attributes have a term even if they have no value, so that
// walking an index in order meets every resource: RFC 7644 section 3.4.2.3 puts those without a value last, and first
// when descending, which is where `absent` stands. What is unique has a second term whose field starts with "=", because
// the value of an ordered term is cut off where it gets long.

const (
	presentTerm = 0x01
	absentTerm  = 0x02
)

// indexField returns the field of the terms of an attribute, "" if it is not indexed.
func indexField(a *Attribute) string {
	if a.Indexed || a.Uniqueness == UniqueServer || a.Uniqueness == UniqueGlobal {
		return foldName(a.Path())
	}
	return ""
}

// indexedAttribute is an attribute that terms are made of, and how to get there.
type indexedAttribute struct {
	path   Path
	target *Attribute
	field  string
	sorted bool   // single-valued, so that its terms are an order of the resources
	unique string // field of its unique terms, "" if it has none
}

// indexes lists what is indexed of t: what the schema says, meta.lastModified and id.
func indexes(t *ResourceType) []indexedAttribute {
	var l []indexedAttribute
	add := func(p Path, target *Attribute, sorted bool) {
		x := indexedAttribute{path: p, target: target, field: foldName(target.Path()), sorted: sorted}
		if target != t.idAttr && (target.Uniqueness == UniqueServer || target.Uniqueness == UniqueGlobal) {
			x.unique = "=" + x.field
		}
		l = append(l, x)
	}
	add(Path{Attr: t.idAttr}, t.idAttr, true)
	if modified := t.metaAttr.byName["lastmodified"]; modified != nil {
		add(Path{Attr: t.metaAttr, Sub: modified}, modified, true)
	}
	var walk func(ext *Attribute, list []*Attribute)
	walk = func(ext *Attribute, list []*Attribute) {
		for _, a := range list {
			switch {
			case a == t.idAttr || a == t.metaAttr || a == t.schemasAttr || a.linked || a.derived || a.secret():
			case a.extension:
				walk(a, a.Sub)
			case a.Type == Complex:
				for _, sub := range a.Sub {
					if indexField(sub) != "" {
						add(Path{Ext: ext, Attr: a, Sub: sub}, sub, !a.MultiValued && !sub.MultiValued)
					}
				}
			case indexField(a) != "":
				add(Path{Ext: ext, Attr: a}, a, !a.MultiValued)
			}
		}
	}
	walk(nil, t.root.Sub)
	return l
}

// fingerprint changes when records of t must be indexed anew.
func (s *Service) fingerprint(t *ResourceType) string {
	var b strings.Builder
	fmt.Fprintf(&b, "1/%s", KeyFormat)
	for _, x := range s.index[t] {
		fmt.Fprintf(&b, " %s:%s:%t:%t:%t", x.field, x.target.Type, x.target.CaseExact, x.sorted, x.unique != "")
	}
	sum := sha256.Sum256([]byte(b.String()))
	return fmt.Sprintf("%x", sum[:16])
}

// terms returns everything that a resource can be found by. What is left alone of it is found by the terms that it had.
func (s *Service) terms(t *ResourceType, o *Object, rest *stayed, id string, modified time.Time) []storage.Term {
	l := make([]storage.Term, 0, len(s.index[t])+2)
	for _, x := range s.index[t] {
		field := x.field
		n := 0
		each := func(v Value) {
			if !v.assigned() {
				return
			}
			n++
			l = append(l, storage.Term{Field: field, Value: presentValue(x.target, v)})
			if x.unique != "" {
				l = append(l, storage.Term{Field: x.unique, Value: uniqueValue(x.target, v), Unique: true})
			}
		}
		switch {
		case x.target == t.idAttr:
			each(textValue(id))
		case x.path.Attr == t.metaAttr:
			each(textValue(modified.UTC().Format(timeForm)))
		case rest.has(x.target):
			for _, had := range rest.terms {
				if had.Field == field || had.Unique && had.Field == x.unique {
					l = append(l, had)
				}
			}
			continue
		default:
			c := o
			if x.path.Ext != nil {
				c = o.Get(x.path.Ext).obj
			}
			for v := range c.Get(x.path.Attr).each {
				if x.path.Sub == nil {
					each(v)
					continue
				}
				for e := range v.sub(x.path.Sub).each {
					each(e)
				}
			}
		}
		if n == 0 && x.sorted {
			l = append(l, storage.Term{Field: field, Value: []byte{absentTerm}})
		}
	}
	return dedupe(l)
}

// dedupe drops terms that stand twice: two e-mail addresses may be the same but for their type.
func dedupe(l []storage.Term) []storage.Term {
	kept := l[:0]
	for i, t := range l {
		twice := false
		for _, k := range kept[max(0, len(kept)-8):] {
			if k.Field == t.Field && k.Unique == t.Unique && bytes.Equal(k.Value, t.Value) {
				twice = true
				break
			}
		}
		if !twice {
			kept = append(kept, l[i])
		}
	}
	return kept
}

// presentValue is the value of the ordered term of v.
func presentValue(a *Attribute, v Value) []byte {
	return appendTerm(append(make([]byte, 0, 1+len(v.text)+12), presentTerm), a, v)
}

// uniqueValue is the value of the unique term of v: nothing of it is cut off, long ones are hashed.
func uniqueValue(a *Attribute, v Value) []byte {
	k := appendSortKey(append(make([]byte, 0, 1+len(v.text)+12), 'v'), a, v)
	if len(k) <= 1+256 {
		return k
	}
	sum := sha256.Sum256(k[1:])
	return append([]byte{'h'}, sum[:]...)
}

// taken turns a unique term that another resource has into the error that the client reads.
func (s *Service) taken(t *ResourceType, err error) error {
	var c *storage.ConflictError
	if !errors.As(err, &c) {
		return err
	}
	alike := ""
	if a := s.uniqueAttribute(t, c); a != nil && !a.CaseExact && a.Type == String {
		alike = ", and case and width of letters make no difference"
	}
	return &Error{Status: 409, Type: NotUnique, Detail: fmt.Sprintf("another %s has this %s already; it must be unique%s", t.Name, s.uniquePath(t, c), alike), Err: err}
}

// uniqueAttribute returns the attribute that a conflict is about.
func (s *Service) uniqueAttribute(t *ResourceType, c *storage.ConflictError) *Attribute {
	for _, x := range s.index[t] {
		if x.unique == c.Field {
			return x.target
		}
	}
	return nil
}

func (s *Service) uniquePath(t *ResourceType, c *storage.ConflictError) string {
	if a := s.uniqueAttribute(t, c); a != nil {
		return a.Path()
	}
	return strings.TrimPrefix(c.Field, "=")
}
