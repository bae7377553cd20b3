package scim

import "slices"

// editor applies operations to one resource. After an error the resource must be thrown away: that is how a PATCH is
// atomic.
type editor struct {
	t      *ResourceType
	q      quirks
	object *Object
	links  linkSet // values of linked attributes; nil if the type has none
	work   *work   // what may still be done; nil = anything
}

// looks counts that an operation looks times at everything in v.
func (e *editor) looks(times int, v Value) error {
	if !e.work.do(times * weight(v)) {
		return e.work.refuse()
	}
	return nil
}

// linkSet is where an editor finds the values of linked attributes: a group's members are rows of their own, and adding
// one must not read the others.
type linkSet interface {
	add(a *Attribute, elements []Value) error
	remove(a *Attribute, id string) error
	replace(a *Attribute, elements []Value) error
	all(a *Attribute) ([]Value, error)
}

// applyAll applies operations one after another; each sees what those before it have done.
func (e *editor) applyAll(ops []patchOp) error {
	for i := range ops {
		if err := e.apply(&ops[i]); err != nil {
			return within(ops[i].where(), err)
		}
	}
	return nil
}

// apply applies one operation (RFC 7644 section 3.5.2).
func (e *editor) apply(op *patchOp) error {
	p := op.path
	if p.Attr == nil {
		return e.extension(op)
	}
	if p.Attr.linked {
		return e.linked(op)
	}
	o := e.object
	if p.Ext != nil {
		x := o.Get(p.Ext)
		if x.kind != object {
			x = Value{kind: object, obj: &Object{}}
		}
		if err := e.attribute(x.obj, op); err != nil {
			return err
		}
		o.Set(p.Ext, objectValue(x.obj))
		return nil
	}
	return e.attribute(o, op)
}

// extension applies an operation whose path is a schema extension's URN, and which removes it: what is added or replaced
// are its attributes.
func (e *editor) extension(op *patchOp) error {
	x := op.path.Ext
	if a := fixed(e.object.Get(x), Value{}); a != nil {
		return immutable(a)
	}
	left := &Object{}
	if had := e.object.Get(x); had.kind == object {
		left.extra = had.obj.extra
	}
	e.object.Set(x, objectValue(left))
	return nil
}

// fixed returns an attribute that a client cannot change and that has another value in now than in had; nil if there is
// none. Only single values are looked into: elements of a list come and go.
func fixed(had, now Value) *Attribute {
	if had.kind != object {
		return nil
	}
	for _, f := range had.obj.fields {
		is := now.sub(f.attr)
		if (f.attr.Mutability == Immutable || f.attr.Mutability == ReadOnly) && !is.equal(f.value) {
			return f.attr
		}
		if a := fixed(f.value, is); a != nil {
			return a
		}
	}
	return nil
}

// immutable refuses to change a, which is immutable or readOnly, or to remove it together with what it is a part of.
func immutable(a *Attribute) error {
	return bad(WrongMutability, "%q is %s and has a value already, which can be neither changed nor removed", a.Path(), a.Mutability)
}

// attribute applies an operation to an attribute of o or to a part of it.
func (e *editor) attribute(o *Object, op *patchOp) error {
	a := op.path.Attr
	if a.Mutability != Immutable {
		return e.part(o, op)
	}
	had := o.Get(a).Clone()
	if err := e.looks(2, had); err != nil {
		return err
	}
	if err := e.part(o, op); err != nil {
		return err
	}
	if had.assigned() && !o.Get(a).equal(had) {
		return immutable(a)
	}
	return nil
}

func (e *editor) part(o *Object, op *patchOp) error {
	p := op.path
	switch {
	case p.Where != nil:
		return e.matching(o, op)
	case p.Sub != nil && p.Attr.MultiValued:
		return e.everyElement(o, op)
	case p.Sub != nil:
		c := o.Get(p.Attr)
		if c.kind != object {
			if op.kind == opRemove || !op.value.assigned() {
				return nil
			}
			c = Value{kind: object, obj: &Object{}}
		}
		if err := e.set(c.obj, p.Sub, op); err != nil {
			return err
		}
		o.Set(p.Attr, objectValue(c.obj))
		return nil
	default:
		return e.set(o, p.Attr, op)
	}
}

// set applies an operation to an attribute as a whole.
func (e *editor) set(o *Object, a *Attribute, op *patchOp) error {
	had := o.Get(a)
	now, err := e.changed(a, had, op)
	if err != nil {
		return err
	}
	if a.Mutability == Immutable && had.assigned() && !now.equal(had) {
		return immutable(a)
	}
	if f := fixed(had, now); f != nil {
		return immutable(f)
	}
	o.Set(a, now)
	if ref := a.parent.byName["$ref"]; ref != nil && a == a.parent.value() && !now.equal(had) {
		o.Set(ref, Value{}) // it named the old one
	}
	return nil
}

// changed returns what becomes of the value had of a.
func (e *editor) changed(a *Attribute, had Value, op *patchOp) (Value, error) {
	v := op.value.Clone()
	if a.MultiValued && !e.work.do(2*weight(had)+weight(v)) {
		return had, e.work.refuse()
	}
	switch {
	case op.kind == opRemove && a.MultiValued && op.given && v.assigned() && e.q.removesListed:
		return e.without(had, v)
	case op.kind == opRemove:
		return Value{}, nil
	case !v.assigned() && op.kind == opAdd && a.MultiValued:
		return had, nil // adding nothing
	case !v.assigned():
		return Value{}, nil
	case a.MultiValued && op.kind == opAdd:
		return appended(a, had, v), nil
	case a.MultiValued:
		strange := 0 // elements that have more than the schema knows, each of which looks for the one that it is kept in
		for _, h := range had.list {
			if h.kind == object && len(h.obj.extra) > 0 {
				strange++
			}
		}
		if !e.work.do(strange * weight(v)) {
			return had, e.work.refuse()
		}
		return onePrimary(a, v.keepParts(had), nil), nil
	case a.Type == Complex && had.kind == object:
		return merged(a, had.Clone(), v), nil
	default:
		return v, nil
	}
}

// merged sets the sub-attributes that v has and leaves the others of had alone.
func merged(a *Attribute, had, v Value) Value {
	if had.kind != object {
		return v
	}
	if id, ref := a.value(), a.byName["$ref"]; id != nil && ref != nil && v.sub(id).assigned() && !v.sub(id).equal(had.sub(id)) {
		had.obj.Set(ref, Value{}) // it named the old one
	}
	for _, f := range v.obj.fields {
		had.obj.Set(f.attr, f.value)
	}
	return had
}

// appended adds the elements of v that had does not hold yet.
func appended(a *Attribute, had, v Value) Value {
	l := slices.Clone(had.list)
	holds := func(n Value) bool { return slices.ContainsFunc(l, n.equal) }
	var there map[string]bool
	if len(v.list) > 8 { // both lists can be long, and not everything is compared with everything
		there = make(map[string]bool, len(l)+len(v.list))
		for _, h := range l {
			there[h.identity()] = true
		}
		holds = func(n Value) bool { return there[n.identity()] }
	}
	fresh := map[int]bool{}
	for _, n := range v.list {
		if holds(n) {
			continue
		}
		if there != nil {
			there[n.identity()] = true
		}
		fresh[len(l)] = true
		l = append(l, n)
	}
	if len(fresh) == 0 {
		return had
	}
	for i := range l {
		l[i] = l[i].Clone()
	}
	return onePrimary(a, listValue(l), fresh)
}

// without leaves out the elements of had that an element of v describes: those that have all of its sub-attributes.
func (e *editor) without(had, v Value) (Value, error) {
	named := map[string]bool{} // by what is enough to tell one, as it mostly is
	var others []Value
	for _, d := range v.list {
		if n := d.name(); n.assigned() {
			named[n.identity()] = true
		} else {
			others = append(others, d)
		}
	}
	if err := e.looks(len(others), had); err != nil {
		return had, err
	}
	return listValue(slices.DeleteFunc(slices.Clone(had.list), func(h Value) bool {
		n := h.name()
		return n.assigned() && named[n.identity()] || slices.ContainsFunc(others, func(d Value) bool { return describes(d, h) })
	})), nil
}

// name is what tells an element of a list from others: its "value", or all of it if it is not complex. Unassigned if it has none.
func (v Value) name() Value {
	switch {
	case v.kind != object:
		return v
	case len(v.obj.fields) == 0:
		return Value{}
	}
	return v.sub(v.obj.fields[0].attr.parent.value())
}

// identity is the same for values that are equal, and for no others of an attribute.
func (v Value) identity() string {
	if v.kind == object && len(v.obj.extra) > 0 {
		v.obj = &Object{fields: v.obj.fields}
	}
	return string(v.appendJSON(nil))
}

func describes(d, h Value) bool {
	if n := d.name(); n.assigned() {
		return n.equal(h.name())
	}
	if h.kind != object {
		return false
	}
	for _, f := range d.obj.fields {
		if !f.value.equal(h.sub(f.attr)) {
			return false
		}
	}
	return true
}

// onePrimary leaves one element primary: the last one, and of those that were just set if there are any (RFC 7644
// section 3.5.2: setting one clears the others).
func onePrimary(a *Attribute, v Value, fresh map[int]bool) Value {
	p := a.byName["primary"]
	if p == nil || a.Type != Complex {
		return v
	}
	keep, keepFresh := -1, false
	for i, e := range v.list {
		if e.sub(p).flag && (fresh[i] || !keepFresh) {
			keep, keepFresh = i, keepFresh || fresh[i]
		}
	}
	for i, e := range v.list {
		if i != keep && e.sub(p).flag {
			e.obj.Set(p, boolValue(false))
		}
	}
	return v
}

// matching applies an operation to the elements that a value path selects.
func (e *editor) matching(o *Object, op *patchOp) error {
	p := op.path
	had := o.Get(p.Attr)
	if err := e.looks(2+p.Where.comparisons(), had); err != nil {
		return err
	}
	l := slices.Clone(had.list)
	var hits []int
	for i, v := range l {
		if p.Where.MatchValue(v) {
			hits = append(hits, i)
		}
	}
	if len(hits) == 0 {
		return e.unmatched(o, op)
	}
	fresh := map[int]bool{}
	for _, i := range hits {
		v, err := e.element(l[i].Clone(), op)
		if err != nil {
			return err
		}
		if pr := p.Attr.byName["primary"]; p.Attr.Type == Complex && pr != nil && v.sub(pr).flag && !l[i].sub(pr).flag {
			fresh[i] = true
		}
		l[i] = v
	}
	now := onePrimary(p.Attr, listValue(cloneList(l)), fresh)
	o.Set(p.Attr, listValue(slices.DeleteFunc(now.list, func(v Value) bool { return !v.assigned() })))
	return nil
}

func cloneList(l []Value) []Value {
	c := make([]Value, len(l))
	for i, v := range l {
		c[i] = v.Clone()
	}
	return c
}

// element returns what an operation makes of one selected element; unassigned to remove it.
func (e *editor) element(v Value, op *patchOp) (Value, error) {
	sub := op.path.Sub
	switch {
	case sub != nil:
		if v.kind != object {
			return v, nil
		}
		if err := e.set(v.obj, sub, op); err != nil {
			return v, err
		}
		return objectValue(v.obj), nil
	case op.kind == opRemove || !op.value.assigned():
		return Value{}, nil
	case op.kind == opAdd && v.kind == object:
		for _, f := range op.value.obj.fields {
			if had := v.obj.Get(f.attr); f.attr.Mutability == Immutable && had.assigned() && !had.equal(f.value) {
				return v, immutable(f.attr)
			}
		}
		return merged(op.path.Attr, v, op.value.Clone()), nil
	default:
		now := op.value.Clone()
		if v.kind == object && now.kind == object {
			now.obj.keep(v.obj.extra)
		}
		return now, nil
	}
}

// unmatched is what happens when a value path selects nothing: remove has nothing to do, add creates the element that
// the filter describes, and so does replace where the client is known to mean it.
func (e *editor) unmatched(o *Object, op *patchOp) error {
	p := op.path
	if op.kind == opRemove {
		return nil
	}
	if op.kind == opReplace && !e.q.createsOnReplace {
		return bad(NoTarget, "no value of %q matches the filter; replace changes values that are there, use add for new ones", p.Attr.Name)
	}
	if !op.value.assigned() {
		return nil
	}
	v, ok := Value{}, false
	if p.Attr.Type == Complex {
		v, ok = newElement(p.Where)
	} else if op.value.assigned() {
		v, ok = op.value.Clone(), p.Sub == nil
	}
	if !ok {
		return bad(NoTarget, "no value of %q matches the filter, and only a filter of eq terms joined by and says what a new value is", p.Attr.Name)
	}
	if p.Attr.Type == Complex {
		var err error
		if v, err = e.element(v, &patchOp{place: op.place, kind: opAdd, path: p, value: op.value, given: true}); err != nil {
			return err
		}
	}
	if err := e.looks(1, o.Get(p.Attr)); err != nil {
		return err
	}
	o.Set(p.Attr, appended(p.Attr, o.Get(p.Attr), listValue([]Value{v})))
	return nil
}

// everyElement applies an operation to a sub-attribute of all values of a list: "emails.type" without a filter.
func (e *editor) everyElement(o *Object, op *patchOp) error {
	p := op.path
	had := o.Get(p.Attr)
	if err := e.looks(4, had); err != nil { // it copies all of them, and changes each
		return err
	}
	if !had.assigned() {
		switch {
		case op.kind == opRemove:
			return nil
		case !e.q.createsOnReplace:
			return bad(NoTarget, "%q has no values, and a path without a filter means those that are there; add whole values to %q", p.Attr.Name, p.Attr.Name)
		}
		had = listValue([]Value{{kind: object, obj: &Object{}}})
	}
	l := cloneList(had.list)
	for i := range l {
		v, err := e.element(l[i], op)
		if err != nil {
			return err
		}
		l[i] = v
	}
	l = slices.DeleteFunc(l, func(v Value) bool { return !v.assigned() })
	o.Set(p.Attr, onePrimary(p.Attr, listValue(l), nil))
	return nil
}

// linked applies an operation to an attribute that is kept as links. Values come and go; what is known of one never
// changes (RFC 7643 section 4.2: the sub-attributes of members are immutable).
func (e *editor) linked(op *patchOp) error {
	a, p := op.path.Attr, op.path
	id := a.value()
	if p.Sub != nil {
		return e.linkedSub(op)
	}
	elements := op.value.list
	if p.Where != nil {
		return e.linkedMatching(op)
	}
	switch op.kind {
	case opAdd:
		return e.links.add(a, elements)
	case opReplace:
		if e.q.addsInstead(a, op.value) {
			return e.links.add(a, elements)
		}
		return e.links.replace(a, elements)
	default:
		if !op.given {
			if a.Required {
				return bad(WrongMutability, "the attribute is required and cannot be removed")
			}
			return e.links.replace(a, nil)
		}
		// A remove with a list removes what is listed: the RFC's literal reading would empty the group (docs/clients/entra.md).
		for _, v := range elements {
			if err := e.links.remove(a, v.sub(id).text); err != nil {
				return err
			}
		}
		return nil
	}
}

// linkedMatching applies an operation with a value path to links. The path that everybody sends, value eq "id", needs no
// look at the other members.
func (e *editor) linkedMatching(op *patchOp) error {
	a, where := op.path.Attr, op.path.Where
	only, byID := eqValue(where, a.value())
	if op.kind == opRemove && byID {
		return e.links.remove(a, only)
	}
	members, err := e.links.all(a)
	if err != nil {
		return err
	}
	if !e.work.do(len(members) * where.comparisons()) {
		return e.work.refuse()
	}
	var hits []string
	for _, m := range members {
		if where.MatchValue(m) {
			hits = append(hits, m.sub(a.value()).text)
		}
	}
	switch {
	case op.kind == opRemove:
	case len(hits) == 0 && (op.kind == opAdd || e.q.createsOnReplace) && byID:
		return e.links.add(a, []Value{objectValue(&Object{fields: []field{{a.value(), textValue(only)}}})})
	case len(hits) == 0:
		return bad(NoTarget, "no value of %q matches the filter; replace changes values that are there, use add for new ones", a.Name)
	case op.kind == opAdd:
		return nil // they are there, and what is known of them is immutable
	}
	for _, id := range hits {
		if err := e.links.remove(a, id); err != nil {
			return err
		}
	}
	if op.kind == opReplace && op.value.assigned() {
		return e.links.add(a, []Value{op.value})
	}
	return nil
}

// linkedSub refuses to change what is known of a member, unless it is what is known already.
func (e *editor) linkedSub(op *patchOp) error {
	members, err := e.links.all(op.path.Attr)
	if err != nil {
		return err
	}
	if op.path.Where != nil && !e.work.do(len(members)*op.path.Where.comparisons()) {
		return e.work.refuse()
	}
	hit := false
	for _, m := range members {
		if op.path.Where != nil && !op.path.Where.MatchValue(m) {
			continue
		}
		hit = true
		if op.kind == opRemove || !m.sub(op.path.Sub).equal(op.value) {
			return bad(WrongMutability, "what is known of a value of %q is immutable; remove the value and add it anew", op.path.Attr.Name)
		}
	}
	if !hit && op.kind == opReplace {
		return bad(NoTarget, "no value of %q matches the path; replace changes values that are there, use add for new ones", op.path.Attr.Name)
	}
	return nil
}

// eqValue returns the text that f compares a with, if f is that one comparison.
func eqValue(f *Filter, a *Attribute) (string, bool) {
	if f == nil || f.Op != OpEq || a == nil || f.Value.kind != text {
		return "", false
	}
	if f.Path.Sub == a || f.Path.Sub == nil && f.Path.Attr == a {
		return f.Value.text, true
	}
	return "", false
}
