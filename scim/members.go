package scim

import (
	"bytes"
	"fmt"
	"slices"
	"strings"

	"scimbox/storage"
)

// A group's members are links: a change of one writes two rows, however many there are, and a user's groups are the same
// links seen from the other side.

// linkField is the field of the links of a linked attribute.
func linkField(a *Attribute) string { return foldName(a.Name) }

// kinds returns the kinds of resource that a linked attribute may refer to, those of its $ref.
func (a *Attribute) kinds() []string { return a.byName["$ref"].ReferenceTypes }

// links is the linkSet of one resource inside one transaction.
type links struct {
	s    *Service
	tx   *storage.Tx
	from storage.Ref
	q    quirks
	// pending says which kind of resource an id is going to be, in a bulk request. May be nil.
	pending func(id string) (kind string, ok bool)
	work    *work // what the request may still do; nil = anything

	added, removed []string // ids, for the journal
	told           bool     // something else is said of one that was there
}

// changed says whether anything is different from before.
func (l *links) changed() bool { return len(l.added)+len(l.removed) > 0 || l.told }

func (l *links) find(a *Attribute, id string) (storage.Link, bool, error) {
	if id == "" {
		return storage.Link{}, false, nil
	}
	for _, kind := range a.kinds() {
		to := storage.Ref{Tenant: l.from.Tenant, Kind: kind, ID: id}
		link, err := l.tx.GetLink(l.from, linkField(a), to)
		if err == nil {
			return link, true, nil
		}
		if !isNotFound(err) {
			return storage.Link{}, false, err
		}
	}
	return storage.Link{}, false, nil
}

func (l *links) add(a *Attribute, elements []Value) error {
	for _, v := range elements {
		id := v.sub(a.value()).text
		if id == "" {
			return bad(InvalidValue, `a value of %q has no "value"; expected is the id of a %s`, a.Name, oneOf(a.kinds()))
		}
		if !validID(id) {
			return bad(InvalidValue, "%s cannot be an id of what %q refers to; an id has at most %d bytes, and none of them is zero", quote(id), a.Name, maxID)
		}
		if _, there, err := l.find(a, id); there || err != nil {
			if err != nil {
				return err
			}
			continue
		}
		to, known, err := l.target(a, v, id)
		if err != nil {
			return err
		}
		if !known {
			if l.q.dropMembers {
				continue
			}
			if l.s.o.UnknownMembers == "refuse" {
				return bad(InvalidValue, "%q names %s, and there is no %s with this id; make it first", a.Name, quote(id), oneOf(a.kinds()))
			}
		}
		if err := l.tx.SetLink(storage.Link{From: l.from, Field: linkField(a), To: to, Body: linkBody(a, v)}); err != nil {
			return err
		}
		l.added = append(l.added, id)
	}
	return nil
}

// target finds which kind of resource id is. Of a member that nobody knows the client's word is taken.
func (l *links) target(a *Attribute, v Value, id string) (to storage.Ref, known bool, err error) {
	to = storage.Ref{Tenant: l.from.Tenant, ID: id}
	for _, to.Kind = range a.kinds() {
		if known, err = l.tx.Has(to.Kind, id); known || err != nil {
			return to, known, err
		}
	}
	if l.pending != nil {
		if kind, ok := l.pending(id); ok {
			to.Kind = kind
			return to, true, nil
		}
	}
	to.Kind = a.kinds()[0]
	if said := v.sub(a.byName["type"]).text; slices.Contains(a.kinds(), said) {
		to.Kind = said
	}
	return to, false, nil
}

// linkBody keeps what the client said of a member and what nobody else knows: its display.
func linkBody(a *Attribute, v Value) []byte {
	o := &Object{}
	for _, f := range v.obj.fields {
		switch foldName(f.attr.Name) {
		case "value", "$ref", "type":
		default:
			o.Set(f.attr, f.value)
		}
	}
	if o.empty() {
		return nil
	}
	return o.appendJSON(nil)
}

func (l *links) remove(a *Attribute, id string) error {
	link, there, err := l.find(a, id)
	if err != nil || !there {
		return err
	}
	if _, err := l.tx.DeleteLink(l.from, link.Field, link.To); err != nil {
		return err
	}
	l.removed = append(l.removed, id)
	return nil
}

func (l *links) replace(a *Attribute, elements []Value) error {
	want := make(map[string]Value, len(elements))
	for _, v := range elements {
		want[v.sub(a.value()).text] = v
	}
	var gone, told []storage.Link
	for link, err := range l.tx.Links(l.from, linkField(a), "") {
		if err != nil {
			return err
		}
		if !l.work.do(rowWork) {
			return l.work.refuse()
		}
		v, stays := want[link.To.ID]
		if !stays {
			gone = append(gone, link)
			continue
		}
		// Of one that stays it may say more, or something else. That it says nothing takes nothing away.
		if body := linkBody(a, v); len(body) > 0 && !bytes.Equal(body, link.Body) {
			link.Body = body
			told = append(told, link)
		}
	}
	for _, link := range told {
		if err := l.tx.SetLink(link); err != nil {
			return err
		}
		l.told = true
	}
	for _, link := range gone {
		if _, err := l.tx.DeleteLink(l.from, link.Field, link.To); err != nil {
			return err
		}
		l.removed = append(l.removed, link.To.ID)
	}
	return l.add(a, elements)
}

func (l *links) all(a *Attribute) ([]Value, error) {
	v, err := l.s.members(l.tx, l.from, a, "", "")
	if err == nil && !l.work.do(rowWork*(1+len(v.list))) {
		err = l.work.refuse()
	}
	return v.list, err
}

// members returns the value of a linked attribute, or only the element that refers to id if id is not "".
func (s *Service) members(tx *storage.Tx, from storage.Ref, a *Attribute, id, base string) (Value, error) {
	if id != "" {
		l := links{s: s, tx: tx, from: from}
		link, there, err := l.find(a, id)
		if err != nil || !there {
			return Value{}, err
		}
		return listValue([]Value{s.linkValue(a, link, base)}), nil
	}
	var list []Value
	for link, err := range tx.Links(from, linkField(a), "") {
		if err != nil {
			return Value{}, err
		}
		list = append(list, s.linkValue(a, link, base))
	}
	return listValue(list), nil
}

// linkValue makes the value that a link stands for: value, $ref and type from where it leads, the rest as it was sent.
func (s *Service) linkValue(a *Attribute, l storage.Link, base string) Value {
	o := &Object{}
	if len(l.Body) > 0 {
		if n, err := parseJSON(bytes.Clone(l.Body)); err == nil {
			o = storedObject(a, n)
		}
	}
	o.Set(a.value(), textValue(l.To.ID))
	if t := s.types.ByName(l.To.Kind); t != nil {
		o.Set(a.byName["$ref"], textValue(location(base, t, l.To.ID)))
	}
	if typ := a.byName["type"]; typ != nil {
		o.Set(typ, textValue(l.To.Kind))
	}
	return objectValue(o)
}

// maxGroups bounds the walk through nested groups.
const maxGroups = 10_000

// memberships computes a derived attribute (RFC 7643 section 4.1.2, groups): the resources that refer to this one, and
// those that refer to them in turn. Only the element of id if id is not "". room is where links are kept meanwhile; nil = anywhere.
func (s *Service) memberships(tx *storage.Tx, to storage.Ref, a *Attribute, id, base string, room *linkList) (Value, error) {
	type step struct {
		ref    storage.Ref
		direct bool
	}
	var seen map[storage.Ref]bool
	var queue []step
	var list []Value
	for from := (step{to, true}); ; from, queue = queue[0], queue[1:] {
		for _, kind := range a.kinds() {
			for _, by := range s.whole.references[from.ref.Kind] {
				if by.from.Name != kind {
					continue
				}
				if room == nil {
					room = newLinkList()
				}
				links, err := room.by(tx, from.ref, linkField(by.attr))
				if err != nil {
					return Value{}, err
				}
				for _, link := range links {
					if link.From.Kind != kind || seen[link.From] || link.From == to {
						continue
					}
					if seen == nil { // most who are read have few groups, or none
						seen = map[storage.Ref]bool{}
					}
					seen[link.From] = true
					queue = append(queue, step{link.From, false})
					if id == "" || id == link.From.ID {
						v, err := s.membership(tx, by.from, a, link.From, from.direct, base)
						if err != nil {
							return Value{}, err
						}
						list = append(list, v)
					}
				}
			}
		}
		if len(queue) == 0 || len(seen) >= maxGroups {
			return listValue(list), nil
		}
	}
}

// linksBy returns the links of a field that lead to a resource.
func linksBy(tx *storage.Tx, to storage.Ref, field string) ([]storage.Link, error) {
	return newLinkList().by(tx, to, field)
}

// linkList collects links, and can be used again. The body of a loop would be made anew for each, with all that it knows.
type linkList struct {
	links []storage.Link
	err   error
	yield func(storage.Link, error) bool // is take
}

func newLinkList() *linkList {
	l := &linkList{}
	l.yield = l.take
	return l
}

func (l *linkList) take(link storage.Link, err error) bool {
	if err != nil {
		l.err = err
		return false
	}
	l.links = append(l.links, link)
	return true
}

// by is linksBy. What it returns is valid until the next call.
func (l *linkList) by(tx *storage.Tx, to storage.Ref, field string) ([]storage.Link, error) {
	l.links, l.err = l.links[:0], nil
	tx.Backlinks(to, field, "")(l.yield)
	if l.err != nil {
		return nil, l.err
	}
	return l.links, nil
}

// mostLinks is for how many links a list keeps room.
const mostLinks = 64

// forget makes it as it was made, but for the room.
func (l *linkList) forget() {
	if l.err = nil; cap(l.links) > mostLinks {
		l.links = nil
	}
	clear(l.links[:cap(l.links)])
	l.links = l.links[:0]
}

func (s *Service) membership(tx *storage.Tx, g *ResourceType, a *Attribute, group storage.Ref, direct bool, base string) (Value, error) {
	o := &Object{fields: make([]field, 0, len(a.Sub))}
	set := func(name, v string) {
		if sub := a.byName[name]; sub != nil && v != "" {
			o.Set(sub, textValue(v))
		}
	}
	set("value", group.ID)
	if s.types.ByName(g.Name) != nil {
		set("$ref", location(base, g, group.ID))
	}
	if direct {
		set("type", "direct")
	} else {
		set("type", "indirect")
	}
	name, err := s.displayName(tx, g, group.ID)
	if err != nil {
		return Value{}, err
	}
	set("display", name)
	return objectValue(o), nil
}

// displayName returns the displayName of a resource, "" if there is none.
func (s *Service) displayName(tx *storage.Tx, t *ResourceType, id string) (string, error) {
	name, _, err := s.displayNameOf(tx, t, id)
	return name, err
}

// displayNameOf is displayName, and says whether there is such a resource.
func (s *Service) displayNameOf(tx *storage.Tx, t *ResourceType, id string) (name string, there bool, err error) {
	rec, err := tx.Bare(t.Name, id)
	if isNotFound(err) {
		return "", false, nil
	}
	if err != nil {
		return "", false, err
	}
	a := t.root.sub("displayName")
	if a == nil {
		return "", true, nil
	}
	if b, ok := takeApart(t, rec.Body); ok {
		return b.value(a).text, true, nil
	}
	o, err := decodeBody(t, rec.Body)
	if err != nil {
		return "", true, err
	}
	return o.Get(a).text, true, nil
}

// refers says whether a is a single complex value that refers to another resource by its id: manager. Its displayName and
// $ref follow from that resource, if there is one.
func (a *Attribute) refers() bool {
	ref := a.byName["$ref"]
	return a.Type == Complex && !a.MultiValued && a.value() != nil && ref != nil && len(ref.ReferenceTypes) > 0
}

// refersToAny says whether o has a value that resolve would look at.
func refersToAny(o *Object) bool {
	return slices.ContainsFunc(o.fields, func(f field) bool {
		return f.attr.refers() || f.attr.extension && refersToAny(f.value.obj)
	})
}

// resolve fills in what follows from the resource that a reference names.
func (s *Service) resolve(tx *storage.Tx, a *Attribute, v Value, base string) (Value, error) {
	id := v.sub(a.value()).text
	if id == "" || !validID(id) {
		return v, nil
	}
	for _, kind := range a.kinds() {
		t := s.whole.ByName(kind)
		if t == nil {
			continue
		}
		name, there, err := s.displayNameOf(tx, t, id)
		if err != nil {
			return v, err
		}
		if !there {
			continue
		}
		v = v.Clone()
		if s.types.ByName(kind) != nil {
			v.obj.Set(a.byName["$ref"], textValue(location(base, t, id)))
		}
		if d := a.sub("displayName"); d != nil && d.readOnly() && name != "" {
			v.obj.Set(d, textValue(name))
		}
		break
	}
	return v, nil
}

const maxID = 256 // bytes

// validID says whether id can be a part of a key; clients send anything.
func validID(id string) bool {
	return id != "" && len(id) <= maxID && strings.IndexByte(id, 0) < 0
}

func oneOf(kinds []string) string {
	switch len(kinds) {
	case 0:
		return "resource"
	case 1:
		return kinds[0]
	default:
		return fmt.Sprintf("%s or %s", kinds[0], kinds[1])
	}
}
