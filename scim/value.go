package scim

import "slices"

// kind is the form of a Value. It follows from the attribute's type, and is kept so that a Value can be walked without it.
type kind uint8

const (
	none    kind = iota // unassigned: absent, null and [] are one state (RFC 7643 section 2.5)
	text                // string, dateTime, binary, reference: as the client wrote it
	number              // integer, decimal: the JSON text, so that no digit is lost
	boolean             //
	object              // complex
	list                // multi-valued
)

// Value is the value of one attribute, already of the attribute's type. The zero Value is "unassigned". Values are not
// shared between resources; Clone copies.
type Value struct {
	kind kind
	flag bool
	text string
	obj  *Object
	list []Value
}

// Text, Number, Bool, Complex values and lists of values; a list without elements and an Object without fields are
// "unassigned", as RFC 7643 section 2.5 says.

func textValue(s string) Value   { return Value{kind: text, text: s} }
func numberValue(s string) Value { return Value{kind: number, text: s} }
func boolValue(b bool) Value     { return Value{kind: boolean, flag: b} }
func objectValue(o *Object) Value {
	if o == nil || o.empty() {
		return Value{}
	}
	return Value{kind: object, obj: o}
}
func listValue(l []Value) Value {
	if len(l) == 0 {
		return Value{}
	}
	return Value{kind: list, list: l}
}

// assigned says whether v is a value at all.
func (v Value) assigned() bool { return v.kind != none }

// each yields the single values of v: its elements if it is a list, else v itself; nothing if v is unassigned.
func (v Value) each(yield func(Value) bool) {
	switch v.kind {
	case none:
	case list:
		for _, e := range v.list {
			if !yield(e) {
				return
			}
		}
	default:
		yield(v)
	}
}

// Clone returns a copy that shares nothing mutable with v.
func (v Value) Clone() Value {
	switch v.kind {
	case object:
		v.obj = v.obj.Clone()
	case list:
		l := make([]Value, len(v.list))
		for i, e := range v.list {
			l[i] = e.Clone()
		}
		v.list = l
	}
	return v
}

// Object is a complex value: the assigned members of a complex attribute, of an extension or of a whole resource.
type Object struct {
	fields []field // in schema order
	// extra holds members of a stored body that today's schema does not define, or not so, name and JSON text. They are never
	// shown and never lost: taking an attribute out of a custom schema and putting it back must not cost its values. Only a
	// new value of an attribute of that name takes their place.
	extra []rawMember
}

type field struct {
	attr  *Attribute
	value Value
}

type rawMember struct {
	name string
	text []byte
}

func (o *Object) empty() bool { return len(o.fields) == 0 && len(o.extra) == 0 }

func (o *Object) find(a *Attribute) (int, bool) {
	return slices.BinarySearchFunc(o.fields, a.index, func(f field, index int) int { return f.attr.index - index })
}

// all returns the assigned members of o, in schema order.
func (o *Object) all() []field {
	if o == nil {
		return nil
	}
	return o.fields
}

// Get returns the value of a, which must be a member of the attribute that o is a value of; unassigned if it has none.
func (o *Object) Get(a *Attribute) Value {
	if o == nil {
		return Value{}
	}
	if i, ok := o.find(a); ok {
		return o.fields[i].value
	}
	return Value{}
}

// Set assigns v to a; an unassigned v removes it.
func (o *Object) Set(a *Attribute, v Value) {
	if len(o.extra) > 0 && v.assigned() {
		o.extra = slices.DeleteFunc(slices.Clone(o.extra), func(m rawMember) bool { return sameName(m.name, a.Name) })
	}
	i, ok := o.find(a)
	switch {
	case ok && !v.assigned():
		o.fields = slices.Delete(o.fields, i, i+1)
	case ok:
		o.fields[i].value = v
	case v.assigned():
		o.fields = slices.Insert(o.fields, i, field{a, v})
	}
}

// keep adds extra members of another state of the same object, unless o has something of their names.
func (o *Object) keep(extra []rawMember) {
	for _, m := range extra {
		has := slices.ContainsFunc(o.fields, func(f field) bool { return sameName(f.attr.Name, m.name) }) ||
			slices.ContainsFunc(o.extra, func(x rawMember) bool { return sameName(x.name, m.name) })
		if !has {
			o.extra = append(o.extra, m)
		}
	}
}

// keepParts gives each element of the list v what the element of had that it is about has of extra members.
func (v Value) keepParts(had Value) Value {
	left := slices.DeleteFunc(slices.Clone(had.list), func(h Value) bool { return h.kind != object || len(h.obj.extra) == 0 })
	for _, e := range v.list {
		if i := slices.IndexFunc(left, func(h Value) bool { return e.kind == object && len(e.obj.fields) > 0 && describes(e, h) }); i >= 0 {
			e.obj.keep(left[i].obj.extra)
			left = slices.Delete(left, i, i+1)
		}
	}
	return v
}

// Clone returns a copy that shares nothing mutable with o.
func (o *Object) Clone() *Object {
	if o == nil {
		return nil
	}
	c := &Object{fields: make([]field, len(o.fields)), extra: slices.Clone(o.extra)}
	for i, f := range o.fields {
		c.fields[i] = field{f.attr, f.value.Clone()}
	}
	return c
}

// sub returns the value of the named member of a complex value; unassigned if v is not complex or has none.
func (v Value) sub(a *Attribute) Value {
	if v.kind != object || a == nil {
		return Value{}
	}
	return v.obj.Get(a)
}
