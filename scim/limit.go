package scim

import (
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"slices"
	"strings"

	lru "github.com/hashicorp/golang-lru/v2"
)

// Limit is what a caller may see, each a list of names with commas between; the zero value is everything. A caller with a
// Limit changes nothing.
type Limit struct {
	Types      string // names of resource types; "" is all
	Attributes string // in attribute notation, such as "userName,name.givenName,emails"; "" is all
}

// keptViews bounds how many limits are compiled at a time. One is compiled in a millisecond.
const keptViews = 64

// newViews returns the cache of compiled limits.
func newViews() *lru.Cache[Limit, *Service] {
	c, err := lru.New[Limit, *Service](keptViews)
	if err != nil {
		panic(err) // only a size below 1 is refused
	}
	return c
}

// view returns the service for callers of a limit. It has schemas of its own, without what is not to be seen: a filter, a
// sort, a projection or a path that names a hidden attribute is bound to these, and so it is answered as one that no schema
// has. What is stored of it is dropped when a resource is read, before anybody compares, sorts or shows it.
func (s *Service) view(l Limit) *Service {
	if v, ok := s.views.Get(l); ok {
		return v
	}
	types := s.types.limited(l)
	v := &Service{
		store: s.store, types: types, whole: s.types, o: s.o, limit: l, index: map[*ResourceType][]indexedAttribute{},
		unknown: map[string]int64{}, marked: map[string]bool{}, cursors: s.cursors, walks: newWalks(),
	}
	for _, t := range types.ResourceTypes {
		v.index[t] = indexes(t)
	}
	s.views.Add(l, v)
	return v
}

func (s *Service) limited() bool { return s.limit != Limit{} }

// CheckLimit says what is wrong with a limit: a name that nothing has, or one that cannot be shown without telling more
// than it says.
func (t *Types) CheckLimit(l Limit) error {
	var shown []*ResourceType
	for _, name := range names(l.Types) {
		r := t.ByName(name)
		if r == nil {
			var known []string
			for _, r := range t.ResourceTypes {
				known = append(known, r.Name)
			}
			return fmt.Errorf("there is no resource type %s; there are %s", quote(name), strings.Join(known, ", "))
		}
		shown = append(shown, r)
	}
	if len(shown) == 0 {
		shown = t.ResourceTypes
	}
	for _, name := range names(l.Attributes) {
		var failed error
		found := false
		for _, r := range shown {
			path, err := BindAttr(r, name, BindOptions{})
			if err != nil {
				if failed == nil {
					failed = err
				}
				continue
			}
			if err := r.showable(path, names(l.Attributes)); err != nil {
				return err
			}
			found = true
		}
		if !found {
			return fmt.Errorf("%s", detailOf(failed))
		}
	}
	return nil
}

// showable says why an attribute cannot be shown by itself.
func (t *ResourceType) showable(p Path, all []string) error {
	a := p.target()
	switch {
	case a.Returned == ReturnedNever:
		return fmt.Errorf("%s is never shown to anybody", a.Path())
	case a.parent == t.metaAttr && (a.Name == "version" || a.Name == "lastModified"):
		return fmt.Errorf("%s would tell of changes of attributes that are not shown", a.Path())
	}
	// What follows from a reference: the display of a member, the displayName of a manager.
	if ref := a.parent; ref != nil && (ref.linked || ref.derived || ref.refers()) && !slices.Contains(referring, foldName(a.Name)) {
		for _, name := range all {
			if q, err := BindAttr(t, name, BindOptions{}); err == nil && (q.target() == ref || q.target() == ref.value()) {
				return nil
			}
		}
		return fmt.Errorf("%s belongs to a reference; name %s or %s as well", a.Path(), ref.value().Path(), ref.Path())
	}
	return nil
}

// referring are the sub-attributes that say which resource a reference is to. One without the others says it too.
var referring = []string{"value", "$ref", "type"}

// limited returns types and schemas with nothing in them but what a limit names, and what a resource cannot be without:
// schemas, id, meta.resourceType and meta.location. A name that nothing has any more shows nothing.
func (t *Types) limited(l Limit) *Types {
	shown, all := names(l.Types), l.Attributes == ""
	keep := map[string]bool{} // "<URN of the schema>:<path>", all in lower case; without URN of the common attributes
	var types []*ResourceType
	for _, r := range t.ResourceTypes {
		if len(shown) > 0 && !slices.ContainsFunc(shown, func(n string) bool { return sameName(n, r.Name) }) {
			continue
		}
		types = append(types, r)
		for _, name := range names(l.Attributes) {
			path, err := BindAttr(r, name, BindOptions{})
			if err != nil || r.showable(path, names(l.Attributes)) != nil {
				continue
			}
			a := path.target()
			keep[keptName(a)] = true
			if ref := a.parent; ref != nil && (ref.linked || ref.derived || ref.refers()) && slices.Contains(referring, foldName(a.Name)) {
				for _, n := range referring {
					if sub := ref.sub(n); sub != nil {
						keep[keptName(sub)] = true
					}
				}
			}
		}
	}
	reduced := map[*Schema]*Schema{}
	var schemas []*Schema
	reduce := func(s *Schema) *Schema {
		if r := reduced[s]; r != nil {
			return r
		}
		r := *s
		r.Attributes = nil
		for _, a := range s.Attributes {
			if a := reduceAttribute(a, foldName(s.ID)+":", all || keep[foldName(s.ID)], keep); a != nil {
				r.Attributes = append(r.Attributes, a)
			}
		}
		reduced[s] = &r
		return &r
	}
	var kept []*ResourceType
	for _, r := range types {
		k := &ResourceType{ID: r.ID, Name: r.Name, Endpoint: r.Endpoint, Description: r.Description, Schema: reduce(r.Schema)}
		for _, e := range r.Extensions {
			if x := reduce(e.Schema); len(x.Attributes) > 0 {
				k.Extensions = append(k.Extensions, Extension{x, e.Required})
			}
		}
		k.hides = func(common string) bool {
			switch common {
			case "schemas", "id", "meta", "meta.resourcetype", "meta.location":
				return false
			case "meta.version", "meta.lastmodified":
				return true
			case "meta.created":
				return !all && !keep["meta"] && !keep[common]
			}
			return !all && !keep[common]
		}
		kept = append(kept, k)
	}
	for _, s := range t.Schemas { // in their order
		if r := reduced[s]; r != nil && (len(r.Attributes) > 0 || slices.ContainsFunc(kept, func(k *ResourceType) bool { return k.Schema == r })) {
			schemas = append(schemas, r)
		}
	}
	view, err := newTypes(schemas, kept)
	if err != nil {
		panic(err) // a part of what is in order is in order
	}
	return view
}

// keptName is what an attribute of a compiled resource type is kept by.
func keptName(a *Attribute) string {
	switch {
	case a.extension:
		return foldName(a.Name)
	case a.schema == nil: // a common attribute
		return foldName(a.Path())
	}
	path := foldName(a.Name)
	for up := a.parent; up != nil && up.parent != nil && !up.extension; up = up.parent {
		path = foldName(up.Name) + "." + path
	}
	return foldName(a.schema.ID) + ":" + path
}

// reduceAttribute returns a copy of a with what is kept of it, nil if that is nothing.
func reduceAttribute(a *Attribute, before string, whole bool, keep map[string]bool) *Attribute {
	name := before + foldName(a.Name)
	whole = whole || keep[name]
	c := *a
	c.Sub = nil
	for _, s := range a.Sub {
		if s := reduceAttribute(s, name+".", whole, keep); s != nil {
			c.Sub = append(c.Sub, s)
		}
	}
	if !whole && len(c.Sub) == 0 {
		return nil
	}
	return &c
}

// trim drops what the type of o does not have, and what is nothing without it.
func (o *Object) trim() {
	o.extra = nil
	kept := o.fields[:0]
	for _, f := range o.fields {
		if f.value = f.value.trimmed(); f.value.assigned() {
			kept = append(kept, f)
		}
	}
	o.fields = kept
}

func (v Value) trimmed() Value {
	switch v.kind {
	case object:
		v.obj.trim()
		if v.obj.empty() {
			return Value{}
		}
	case list:
		kept := make([]Value, 0, len(v.list))
		for _, e := range v.list {
			if e = e.trimmed(); e.assigned() {
				kept = append(kept, e)
			}
		}
		return listValue(kept)
	}
	return v
}

// tagOf is the opaque part of an entity tag that follows from what is shown and from nothing else.
func tagOf(body []byte) string {
	return string(appendTag(nil, body))
}

func appendTag(b, body []byte) []byte {
	sum := sha256.Sum256(body)
	return base64.RawURLEncoding.AppendEncode(b, sum[:12])
}
