package scim

import (
	"iter"
	"slices"
	"strings"
)

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

// checkRequired refuses a resource that lacks what its schema requires. Text of nothing but blanks is as good as none. What
// before lacks already, which may be nil, is not asked of it: an attribute that has become required must not keep a user
// from being disabled.
func checkRequired(t *ResourceType, o, before *Object) error {
	var had []string
	for place, a := range lacks(t.root, o, "") {
		if before != nil {
			for place := range lacks(t.root, before, "") {
				had = append(had, place)
			}
			before = nil
		}
		switch {
		case slices.Contains(had, place):
		case a.extension:
			return bad(InvalidValue, "the schema extension %q is required of a %s, and none of its attributes has a value", place, t.Name)
		default:
			return bad(InvalidValue, "%q is required and has no value", place)
		}
	}
	return nil
}

// lacks yields what is required of o, a value of a, and has no value there, with its place.
func lacks(a *Attribute, o *Object, at string) iter.Seq2[string, *Attribute] {
	return func(yield func(string, *Attribute) bool) {
		for _, s := range a.Sub {
			if !s.Required && !s.demands {
				continue
			}
			if s.parent.parent == nil && (s.Name == "schemas" || s.Mutability == ReadOnly || s.linked) {
				continue // the server's own, or kept as links
			}
			v, place := o.Get(s), a.place(at, s.Name)
			none := !v.assigned() || v.kind == text && strings.TrimSpace(v.text) == "" || s.extension && len(v.obj.fields) == 0
			if s.Required && none && !yield(place, s) {
				return
			}
			if s.Type != Complex || none {
				continue
			}
			for e := range v.each {
				if e.kind != object {
					continue
				}
				for place, l := range lacks(s, e.obj, place) {
					if !yield(place, l) {
						return
					}
				}
			}
		}
	}
}

// takeOver gives o, the body of a PUT, what it cannot change of old: readOnly and immutable values, and those that
// today's schema does not know.
func takeOver(a *Attribute, old, o *Object, at string) error {
	o.keep(old.extra)
	for _, f := range old.fields {
		s, was, is := f.attr, f.value, o.Get(f.attr)
		place := a.place(at, s.Name)
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
		case s.Type == Complex && s.MultiValued:
			is.keepParts(was)
		}
	}
	return nil
}
