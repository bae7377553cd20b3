package scim

import "strings"

// What a characteristic means for a verb is decided in three places, and they follow this table (RFC 7643 section 7,
// RFC 7644 sections 3.3, 3.5.1 and 3.5.2):
//
//	               POST               PUT                                  PATCH
//	readOnly       left out           left out, stored value kept          400 mutability
//	immutable      taken              equal or first, else 400 mutability  first value only, else 400 mutability
//	writeOnly      taken, not shown   taken, not shown                     taken, not shown
//	required gone  400 invalidValue   400 invalidValue                     400 invalidValue, mutability for remove
//	two primaries  400 invalidValue   400 invalidValue                     the last one wins
//
// decoder leaves out and refuses two primaries, takeOver is PUT's column, editor is PATCH's, checkRequired is for all.

// checkRequired refuses a resource that lacks what its schema requires. Text of nothing but blanks is as good as none.
func checkRequired(t *ResourceType, o *Object) error {
	if err := required(t.root, o, ""); err != nil {
		return err
	}
	for _, a := range t.root.Sub {
		if a.extension && a.Required && !o.Get(a).assigned() {
			return bad(InvalidValue, "the schema extension %q is required of a %s, and none of its attributes has a value", a.Name, t.Name)
		}
	}
	return nil
}

func required(a *Attribute, o *Object, at string) error {
	for _, s := range a.Sub {
		if s.parent.parent == nil && (s.Name == "schemas" || s.Mutability == ReadOnly || s.linked) {
			continue // the server's own, or kept as links
		}
		v := o.Get(s)
		if s.Required && !s.extension && (!v.assigned() || v.kind == text && strings.TrimSpace(v.text) == "") {
			return bad(InvalidValue, "%q is required and has no value", join(at, s.Name))
		}
		if s.Type != Complex || !v.assigned() {
			continue
		}
		for e := range v.each {
			if e.kind != object {
				continue
			}
			if err := required(s, e.obj, join(at, s.Name)); err != nil {
				return err
			}
		}
	}
	return nil
}

// takeOver gives o, the body of a PUT, what it cannot change of old: readOnly and immutable values, and those that
// today's schema does not know.
func takeOver(a *Attribute, old, o *Object, at string) error {
	o.extra = append(o.extra, old.extra...)
	for _, f := range old.fields {
		s, was, is := f.attr, f.value, o.Get(f.attr)
		place := join(at, s.Name)
		switch {
		case s.Mutability == ReadOnly:
			o.Set(s, was)
		case s.Mutability == Immutable && !is.assigned():
			o.Set(s, was)
		case s.Mutability == Immutable && !is.equal(was):
			return bad(WrongMutability, "%q is immutable: it has a value, which a PUT must repeat or leave out", place)
		case s.Type == Complex && !s.MultiValued && was.kind == object:
			if is.kind != object {
				// Nothing was sent: only what cannot go stays.
				is = Value{kind: object, obj: &Object{}}
			}
			if err := takeOver(s, was.obj, is.obj, place); err != nil {
				return err
			}
			o.Set(s, objectValue(is.obj))
		}
	}
	return nil
}
