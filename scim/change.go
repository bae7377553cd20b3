package scim

import (
	"slices"
	"unicode/utf8"

	"scimbox/storage"
)

// What a journal row says of a change: JSON for the people and programs that follow what a client did. It has no values
// of attributes that are never returned, and of long values only the beginning, because a journal is kept for years.

const (
	maxChanges      = 100 // attributes of one change
	maxChangeMember = 100 // members of one change
	maxChangeValue  = 512 // bytes of JSON of one value
)

// entry makes the journal row of a change of old to now; either is nil if there is none.
func entry(op string, ref storage.Ref, t *ResourceType, old, now *Object, l *links, secret bool) storage.Entry {
	b := append([]byte(nil), '{')
	label := now
	if label == nil {
		label = old
	}
	b = appendMember(b, "name", labelOf(t, label))
	c := changes{}
	if now != nil {
		if old == nil {
			old = &Object{}
		}
		c.compare(t, t.root, old, now)
	}
	if secret {
		c.list = append(c.list, []byte(`{"path":"password"}`))
	}
	if len(c.list) > 0 {
		b = append(b, `,"changes":[`...)
		for i, x := range c.list {
			if i > 0 {
				b = append(b, ',')
			}
			b = append(b, x...)
		}
		b = append(b, ']')
	}
	if l != nil {
		b = appendIDs(b, "added", l.added)
		b = appendIDs(b, "removed", l.removed)
	}
	return storage.Entry{Op: op, Ref: ref, Detail: append(b, '}')}
}

// labelOf is what a person calls a resource.
func labelOf(t *ResourceType, o *Object) string {
	for _, name := range []string{"userName", "displayName", "name"} {
		if a := t.root.sub(name); a != nil && a.Type == String {
			if v := o.Get(a); v.assigned() {
				return v.text
			}
		}
	}
	return ""
}

func appendMember(b []byte, name, v string) []byte {
	b = append(appendText(b, name), ':')
	return appendText(b, v)
}

func appendIDs(b []byte, name string, ids []string) []byte {
	if len(ids) == 0 {
		return b
	}
	b = append(b, `,"`+name+`":[`...)
	for i, id := range ids[:min(len(ids), maxChangeMember)] {
		if i > 0 {
			b = append(b, ',')
		}
		b = appendText(b, id)
	}
	b = append(b, ']')
	if more := len(ids) - maxChangeMember; more > 0 {
		b = append(b, `,"`+name+`More":`...)
		b = numberValue(itoa(more)).appendJSON(b)
	}
	return b
}

type changes struct{ list [][]byte }

func (c *changes) compare(t *ResourceType, a *Attribute, old, now *Object) {
	for _, s := range a.Sub {
		was, is := old.Get(s), now.Get(s)
		if len(c.list) >= maxChanges || was.equal(is) || s.parent.parent == nil && !s.extension && !t.stored(s) {
			continue
		}
		if s.Type == Complex && !s.MultiValued && s.Returned != ReturnedNever {
			c.compare(t, s, was.obj, is.obj)
			continue
		}
		b := appendMember([]byte{'{'}, "path", s.Path())
		b = appendChanged(b, "old", told(s, was))
		b = appendChanged(b, "new", told(s, is))
		c.list = append(c.list, append(b, '}'))
	}
}

// told returns what of a value may be told: nothing that is never returned, or was not when the schema still had it.
func told(a *Attribute, v Value) Value {
	if a.Returned == ReturnedNever {
		return Value{}
	}
	if a.Type != Complex {
		return v
	}
	v = v.Clone()
	for e := range v.each {
		e.obj.extra = nil
		e.obj.fields = slices.DeleteFunc(e.obj.fields, func(f field) bool { return f.attr.Returned == ReturnedNever })
	}
	return v
}

func appendChanged(b []byte, name string, v Value) []byte {
	if !v.assigned() {
		return b
	}
	b = append(b, `,"`+name+`":`...)
	j := v.appendJSON(nil)
	if len(j) <= maxChangeValue {
		return append(b, j...)
	}
	// No longer JSON of the value, but a text that begins like it.
	j = j[:maxChangeValue]
	for !utf8.Valid(j) {
		j = j[:len(j)-1]
	}
	return appendText(b, string(slices.Concat(j, []byte("…"))))
}
