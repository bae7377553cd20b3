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

// entry makes the journal row of a change; labelled is what the resource was or is called by.
func entry(op string, ref storage.Ref, t *ResourceType, labelled *Object, c changes, l *links) storage.Entry {
	b := make([]byte, 0, len(c.b)+128)
	b = appendMember(append(b, '{'), "name", labelOf(t, labelled))
	if c.n > 0 {
		b = append(b, `,"changes":[`...)
		b = append(append(b, c.b...), ']')
	}
	if l != nil {
		b = appendIDs(b, "added", l.added)
		b = appendIDs(b, "removed", l.removed)
	}
	return storage.Entry{Op: op, Ref: ref, Detail: append(b, '}')}
}

// labels are the attributes that a resource is called by, the first that it has.
var labels = []string{"userName", "displayName", "name"}

// labelOf is what a person calls a resource.
func labelOf(t *ResourceType, o *Object) string {
	for _, name := range labels {
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

// changes are the attributes that differ between two states of a resource, as JSON objects with commas between them.
type changes struct {
	b []byte
	n int
}

// changesOf compares two states of a resource of type t; old is nil for a new one. secret says that its password has changed.
func changesOf(t *ResourceType, old, now *Object, secret bool) changes {
	c := changes{}
	if old == nil {
		c.b = make([]byte, 0, 1024) // all that a user has
	}
	c.compare(t, old, now)
	if secret {
		c.begin("password")
		c.b = append(c.b, '}')
	}
	return c
}

func (c *changes) begin(path string) {
	if c.n > 0 {
		c.b = append(c.b, ',')
	}
	c.n++
	c.b = appendMember(append(c.b, '{'), "path", path)
}

// compare compares two values of a complex attribute; nil is none.
func (c *changes) compare(t *ResourceType, old, now *Object) {
	had, has := old.all(), now.all()
	for len(had)+len(has) > 0 {
		var s *Attribute
		var was, is Value
		if len(has) == 0 || len(had) > 0 && had[0].attr.index <= has[0].attr.index {
			s, was, had = had[0].attr, had[0].value, had[1:]
		} else {
			s = has[0].attr
		}
		if len(has) > 0 && has[0].attr == s {
			is, has = has[0].value, has[1:]
		}
		if c.n >= maxChanges || was.equal(is) || s.parent.parent == nil && !s.extension && !t.stored(s) {
			continue
		}
		if s.Type == Complex && !s.MultiValued && s.Returned != ReturnedNever {
			c.compare(t, was.obj, is.obj)
			continue
		}
		c.begin(s.Path())
		c.b = appendChanged(c.b, "old", told(s, was))
		c.b = append(appendChanged(c.b, "new", told(s, is)), '}')
	}
}

// told returns what of a value may be told: nothing that is never returned, or was not when the schema still had it.
func told(a *Attribute, v Value) Value {
	if a.Returned == ReturnedNever {
		return Value{}
	}
	if a.Type != Complex || !v.assigned() || !hides(a, v) {
		return v
	}
	v = v.Clone()
	for e := range v.each {
		e.obj.extra = nil
		e.obj.fields = slices.DeleteFunc(e.obj.fields, func(f field) bool { return f.attr.Returned == ReturnedNever })
	}
	return v
}

// hides says whether a complex value has a part that must not be told.
func hides(a *Attribute, v Value) bool {
	for e := range v.each {
		if len(e.obj.extra) > 0 {
			return true
		}
	}
	return slices.ContainsFunc(a.Sub, func(s *Attribute) bool { return s.Returned == ReturnedNever })
}

func appendChanged(b []byte, name string, v Value) []byte {
	if !v.assigned() {
		return b
	}
	b = append(b, `,"`+name+`":`...)
	at := len(b)
	b = v.appendJSON(b)
	if len(b)-at <= maxChangeValue {
		return b
	}
	// No longer JSON of the value, but a text that begins like it.
	j := string(b[at : at+maxChangeValue])
	for !utf8.ValidString(j) {
		j = j[:len(j)-1]
	}
	return appendText(b[:at], j+"…")
}
