package scim

import (
	"bytes"
	"errors"
	"strings"
)

// Filter is a filter that is bound to a resource type: every name is an attribute, and every literal is a value of that
// attribute's type. Its answers are the only truth about what a query finds; an index is a hint.
//
// There are two truth values (RFC 7644 leaves it open). A comparison holds if some value of the attribute satisfies it,
// and so not for an attribute without a value; `ne` is the negation of `eq`, which means that no value is equal.
type Filter struct {
	Op    Op
	Path  Path      // of a comparison, pr, value path; also inside of a value path from the resource on
	Value Value     // what is compared with; unassigned for null
	Args  []*Filter // operands of and, or, not; the condition of a value path

	source *Expr

	// What follows from the rest, so that Match need not find it out for each resource.
	test     testFunc // of one value; nil if foreign
	negated  bool     // the comparison holds if no value passes the test
	point    string   // if not "", the only value of a linked attribute that matters is that with this id
	resolves bool     // part of the value follows from the resource that it refers to
	foreign  bool     // the resource type has no such attribute
	work     *work    // what is still to be done; nil = anything
}

// testFunc says whether one value of a filter's attribute satisfies its comparison.
type testFunc func(Value) bool

// String prints f in the notation of filters, with names as the client wrote them.
func (f *Filter) String() string { return f.source.String() }

// Match says whether f holds for r. An error is one of fetching r's links, or that there was too much to do.
func (f *Filter) Match(r *Resource) (bool, error) {
	switch f.Op {
	case OpAnd, OpOr:
		for _, g := range f.Args {
			if ok, err := g.Match(r); err != nil || ok == (f.Op == OpOr) {
				return ok, err
			}
		}
		return f.Op == OpAnd, nil
	case OpNot:
		ok, err := f.Args[0].Match(r)
		return !ok, err
	}
	v, err := f.value(r)
	if err != nil {
		return false, err
	}
	if !f.work.do(f.fetched(r, v)) {
		return false, errWork
	}
	holds := false
	if f.Op == OpValuePath {
		for e := range v.each {
			if holds = f.Args[0].MatchValue(e); holds {
				break
			}
		}
	} else {
		holds = f.holds(v)
	}
	if f.work.over() {
		return false, errWork // it has not looked at all values
	}
	return holds, nil
}

// MatchValue says whether f, the condition of a value path, holds for one value of its attribute.
func (f *Filter) MatchValue(v Value) bool {
	switch f.Op {
	case OpAnd, OpOr:
		for _, g := range f.Args {
			if ok := g.MatchValue(v); ok == (f.Op == OpOr) {
				return ok
			}
		}
		return f.Op == OpAnd
	case OpNot:
		return !f.Args[0].MatchValue(v)
	}
	return f.holds(v)
}

// value returns the value of the attribute that f is about.
func (f *Filter) value(r *Resource) (v Value, err error) {
	p := f.Path
	switch {
	case f.foreign:
		return Value{}, nil
	case p.Attr == nil:
		return r.own(p.Ext), nil
	case p.Ext != nil:
		v = r.own(p.Ext).sub(p.Attr)
	case f.point != "":
		v, err = r.linkedValue(p.Attr, f.point)
	default:
		v, err = r.Value(p.Attr)
	}
	if f.resolves && err == nil && r.resolve != nil && v.kind == object {
		return r.resolve(p.Attr, v)
	}
	return v, err
}

// holds says whether a comparison holds for the value of f.Path.Attr, or for one element of it.
func (f *Filter) holds(v Value) bool { return f.some(v) != f.negated }

func (f *Filter) some(v Value) bool {
	if f.foreign {
		return false
	}
	for e := range v.each {
		if f.Path.Sub != nil {
			e = e.sub(f.Path.Sub)
		}
		if !f.work.do(1) {
			return false
		}
		for s := range e.each {
			if len(s.text) >= textStep && !f.work.do(textWork(s.text)) {
				return false
			}
			if f.test(s) {
				return true
			}
		}
	}
	return false
}

// present says whether v is a value that is not empty (RFC 7644 table 3: pr).
func present(v Value) bool {
	switch v.kind {
	case text:
		return v.text != ""
	case object:
		for _, f := range v.obj.fields {
			if present(f.value) {
				return true
			}
		}
		return false
	case list:
		for _, e := range v.list {
			if present(e) {
				return true
			}
		}
		return false
	}
	return v.assigned()
}

// BindFilter finds what a filter means for resources of type t. An error is an *Error of the type invalidFilter that names
// what the filter cannot ask.
func BindFilter(t *ResourceType, e *Expr, o BindOptions) (*Filter, error) {
	return (&binder{t: t, o: o, what: "filter", scimType: InvalidFilter}).filter(e, nil)
}

// binder binds the nodes of one filter.
type binder struct {
	t        *ResourceType
	o        BindOptions
	what     string // "filter", or "path" for what stands in the brackets of a PATCH path
	scimType string // of errors
}

func (b *binder) refuse(e *Expr, format string, args ...any) error {
	return within("the "+b.what+", at byte "+itoa(e.at), bad(b.scimType, format, args...))
}

// filter binds e. in is the value path that e stands in the brackets of, nil for none.
func (b *binder) filter(e *Expr, in *Path) (*Filter, error) {
	f := &Filter{Op: e.Op, source: e}
	switch e.Op {
	case OpAnd, OpOr, OpNot:
		for _, a := range e.Args {
			g, err := b.filter(a, in)
			if err != nil {
				return nil, err
			}
			f.Args = append(f.Args, g)
		}
		return f, nil
	}
	var err error
	if f.Path, err = b.name(e, in); err != nil {
		if f.foreign = b.o.ForeignUnassigned && errors.Is(err, errUnknownName); !f.foreign {
			var se *Error
			errors.As(err, &se)
			return nil, b.refuse(e, "%s", se.Detail)
		}
	}
	for _, a := range []*Attribute{f.Path.Attr, f.Path.Sub} {
		if a != nil && a.Returned == ReturnedNever {
			return nil, b.refuse(e, "%q is never shown, and so nothing can be asked about it", a.Path())
		}
	}
	if e.Op == OpValuePath {
		return b.valuePath(f)
	}
	return b.comparison(f)
}

// name binds the name in e: from the resource on, or in brackets from the attribute that they belong to.
func (b *binder) name(e *Expr, in *Path) (Path, error) {
	if in == nil {
		return bindAttrPath(b.t, e.Attr, b.o)
	}
	p := *in
	var err error
	switch {
	case strings.IndexByte(e.Attr.Name, ':') >= 0:
		return Path{}, bad(InvalidFilter, "%s stands in brackets, where names have no URN", quote(e.Attr.String()))
	case p.Attr == nil:
		if p.Attr, err = p.Ext.named(e.Attr.Name); err != nil {
			return Path{}, err
		}
		return p.down(e.Attr.Sub)
	case e.Attr.Sub != "":
		return Path{}, bad(InvalidFilter, "%s stands in the brackets of %q; expected is the name of a sub-attribute alone", quote(e.Attr.String()), p.Attr.Path())
	case p.Attr.Type != Complex: // the RFC has no name for such a value; erratum 7122 proposes one
		if !sameName(e.Attr.Name, "value") {
			return Path{}, unknownName(`%q has simple values, which are called "value" in brackets, and not %s`, p.Attr.Path(), quote(e.Attr.Name))
		}
		return p, nil
	}
	return p.down(e.Attr.Name)
}

// valuePath binds the brackets of f.
func (b *binder) valuePath(f *Filter) (*Filter, error) {
	e, p := f.source, f.Path
	switch {
	case f.foreign:
		return f, nil
	case p.Sub != nil:
		return nil, b.refuse(e, "%q is a sub-attribute; brackets stand behind the attribute: %s[...]", p.Sub.Path(), p.Attr.Path())
	case p.Attr != nil && p.Attr.Type != Complex && !p.Attr.MultiValued:
		return nil, b.refuse(e, "%q has one simple value; compare it without brackets", p.Attr.Path())
	}
	inner, err := b.filter(e.Args[0], &p)
	if err != nil {
		return nil, err
	}
	if p.Attr == nil {
		// An extension is one object: there is nothing to choose, but without it nothing in the brackets holds.
		there := &Filter{Op: OpPr, Path: p, test: present, source: &Expr{Op: OpPr, Attr: e.Attr, at: e.at}}
		return &Filter{Op: OpAnd, Args: []*Filter{there, inner}, source: e}, nil
	}
	f.Args = []*Filter{inner}
	f.resolves = p.Attr.refers()
	all := f.Args
	if inner.Op == OpAnd {
		all = inner.Args
	}
	for _, g := range all {
		if g.Op == OpEq && g.point != "" {
			f.point = g.point // ne has one too, and holds for every other value
		}
	}
	return f, nil
}

// comparison binds a comparison or pr, of which the name has been bound.
func (b *binder) comparison(f *Filter) (*Filter, error) {
	e := f.source
	if e.Op == OpPr {
		f.test = present
		f.resolves = f.asksOther()
		return f, nil
	}
	if e.value.kind == 'n' {
		if e.Op != OpEq && e.Op != OpNe {
			return nil, b.refuse(e, "null has no order and no parts; it can be compared by eq and ne alone")
		}
		f.test, f.negated = present, e.Op == OpEq
		f.resolves = f.asksOther()
		return f, nil
	}
	f.negated = e.Op == OpNe
	if f.foreign {
		return f, nil
	}
	a := f.Path.target()
	if a.Type == Complex {
		v := a.value()
		if f.Path.Attr == nil || v == nil || !a.MultiValued && !b.o.ComplexValue {
			return nil, b.refuse(e, "%q is complex and can only be asked for by pr; name a sub-attribute: %s", a.Path(), orList(a.subNames()))
		}
		f.Path.Sub, a = v, v
	}
	if err := b.allowed(e, a); err != nil {
		return nil, err
	}
	var err error
	if f.Value, err = b.literal(e, a); err != nil {
		return nil, err
	}
	f.test = testOf(e.Op, a, f.Value)
	if top := f.Path.Attr; (top.linked || top.derived) && a == top.value() && a.CaseExact && (e.Op == OpEq || e.Op == OpNe) {
		f.point = f.Value.text
	}
	f.resolves = f.asksOther()
	return f, nil
}

// asksOther says whether f is about what is filled in from the resource that a reference names: manager.displayName.
func (f *Filter) asksOther() bool {
	a, sub := f.Path.Attr, f.Path.Sub
	return a != nil && sub != nil && a.refers() && sub != a.value()
}

// allowed refuses operators that an attribute's type has no meaning for (RFC 7644 table 3).
func (b *binder) allowed(e *Expr, a *Attribute) error {
	order := e.Op >= OpGt
	part := e.Op == OpCo || e.Op == OpSw || e.Op == OpEw
	switch a.Type {
	case Boolean, Binary:
		if order || part {
			return b.refuse(e, "%q is of the type %q, which has no %s; it can be compared by eq and ne, and asked for by pr", a.Path(), a.Type, e.Op)
		}
	case Integer, Decimal:
		if part {
			return b.refuse(e, "%q is a number, and %s compares text; there are eq, ne, gt, ge, lt, le and pr", a.Path(), e.Op)
		}
	}
	return nil
}

// literal makes what e compares with a value of a.
func (b *binder) literal(e *Expr, a *Attribute) (Value, error) {
	n := e.value
	switch a.Type {
	case Boolean:
		if n.kind == 't' || n.kind == 'f' {
			return boolValue(n.kind == 't'), nil
		}
		if v, ok := (quirks{textBooleans: b.o.BooleanText}).textBoolean(n); ok {
			return boolValue(v), nil
		}
	case Integer, Decimal:
		if n.kind == '0' {
			return numberValue(n.text), nil
		}
		return Value{}, b.refuse(e, "%q is compared with %s; expected is a number", a.Path(), n.found())
	case DateTime:
		if n.kind != '"' {
			break
		}
		if _, err := parseDateTime(n.text); err != nil && e.Op != OpCo && e.Op != OpSw && e.Op != OpEw {
			return Value{}, b.refuse(e, "%q is compared with text that is no dateTime; expected is the form 2026-01-31T13:45:00Z", a.Path())
		}
		return textValue(n.text), nil
	case Binary:
		if n.kind != '"' {
			break
		}
		if !validBase64(n.text) {
			return Value{}, b.refuse(e, "%q is compared with text that is not base64; expected is binary data in base64", a.Path())
		}
		return textValue(n.text), nil
	default:
		if n.kind == '"' {
			return textValue(n.text), nil
		}
	}
	return Value{}, b.refuse(e, "%q is compared with %s; expected is %s", a.Path(), n.found(), article(a))
}

// testOf returns the comparison of a's values with v, which is one of them. What can be made of v is made here, once.
func testOf(op Op, a *Attribute, v Value) testFunc {
	switch {
	case a.Type == Boolean:
		return func(w Value) bool { return w.flag == v.flag }
	case op == OpCo || op == OpSw || op == OpEw || a.Type == String || a.Type == Reference:
		if a.CaseExact {
			return testExact(op, v.text)
		}
		return testFolded(op, Fold(v.text))
	case a.Type == DateTime:
		at, _ := parseDateTime(v.text)
		return func(w Value) bool {
			t, err := parseDateTime(w.text)
			return err == nil && satisfies(op, t.Compare(at))
		}
	case a.Type == Binary:
		want, _ := decodeBinary(v.text)
		return func(w Value) bool {
			b, ok := decodeBinary(w.text)
			return ok && bytes.Equal(b, want)
		}
	default:
		key := numberKey(v.text)
		return func(w Value) bool { return satisfies(op, bytes.Compare(numberKey(w.text), key)) }
	}
}

// testExact compares text as it is.
func testExact(op Op, want string) testFunc {
	switch op {
	case OpEq, OpNe:
		return func(v Value) bool { return v.text == want }
	case OpCo:
		return func(v Value) bool { return strings.Contains(v.text, want) }
	case OpSw:
		return func(v Value) bool { return strings.HasPrefix(v.text, want) }
	case OpEw:
		return func(v Value) bool { return strings.HasSuffix(v.text, want) }
	default:
		return func(v Value) bool { return satisfies(op, strings.Compare(v.text, want)) }
	}
}

// testFolded compares text by Fold. A prefix is one of the folded text too: the index, which holds nothing else, then finds
// all that the comparison does.
func testFolded(op Op, want string) testFunc {
	switch op {
	case OpEq, OpNe:
		return func(v Value) bool { return equalFolded(v.text, want) }
	case OpCo:
		part := []byte(want)
		return func(v Value) bool { return containsFolded(v.text, part) }
	case OpSw:
		return func(v Value) bool { return prefixFolded(v.text, want) }
	case OpEw:
		return func(v Value) bool { return strings.HasSuffix(Fold(v.text), want) }
	default:
		return func(v Value) bool { return satisfies(op, strings.Compare(Fold(v.text), want)) }
	}
}

// satisfies says whether a value that compares with the literal as order says satisfies op. Ne is the negation of eq and
// is tested as such.
func satisfies(op Op, order int) bool {
	switch op {
	case OpGt:
		return order > 0
	case OpGe:
		return order >= 0
	case OpLt:
		return order < 0
	case OpLe:
		return order <= 0
	default:
		return order == 0
	}
}
