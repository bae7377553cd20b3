package scim

import (
	"slices"
	"strings"
)

// projection says which attributes an answer shows (RFC 7644 section 3.9). The zero value shows those that are returned
// by default.
type projection struct {
	only     map[*Attribute]bool // named by attributes
	parts    map[*Attribute]bool // their parents: shown, but not as a whole
	without  map[*Attribute]bool // named by excludedAttributes
	holes    map[*Attribute]bool // their parents: not shown as a whole
	named    bool                // attributes was given
	assigned map[*Attribute]bool // set by the client in this request, which shows those of returned=request

	emptyMembers bool // see quirks
}

// newProjection binds the values of attributes and excludedAttributes. Names that nobody knows are left out, so that they
// show and hide nothing.
func newProjection(t *ResourceType, only, without []string, q quirks) (projection, error) {
	p := projection{emptyMembers: q.emptyMembers}
	if len(only) > 0 && len(without) > 0 {
		return p, bad(InvalidSyntax, "attributes and excludedAttributes are both given; RFC 7644 section 3.9 allows one of them")
	}
	var err error
	if len(only) > 0 {
		p.named = true
		p.only, p.parts, err = bindAllShown(t, only, q)
	} else if len(without) > 0 {
		p.without, p.holes, err = bindAllShown(t, without, q)
	}
	return p, err
}

// bindAllShown binds names of a projection: the attributes that they mean, and all that those are a part of.
func bindAllShown(t *ResourceType, names []string, q quirks) (named, above map[*Attribute]bool, err error) {
	named, above = map[*Attribute]bool{}, map[*Attribute]bool{}
	for _, name := range names {
		path, err := bindShown(t, name, q)
		if err != nil {
			return nil, nil, err
		}
		a := path.target()
		if a == nil {
			continue
		}
		named[a] = true
		for up := a.parent; up != nil; up = up.parent {
			above[up] = true
		}
	}
	return named, above, nil
}

// bindShown binds a name of a projection; the zero Path if it is to be left out.
func bindShown(t *ResourceType, name string, q quirks) (Path, error) {
	if sameName(name, t.Schema.ID) {
		return Path{}, nil
	}
	if q.foreignNames {
		name, _, _ = strings.Cut(name, "[") // emails[type eq "work"]: the whole attribute is more than enough
	}
	path, err := BindAttr(t, name, q.bindOptions())
	if err != nil {
		// RFC 7644 does not say what an unknown name means; over several types at once it is an everyday thing.
		return Path{}, nil
	}
	return path, nil
}

// shows says whether a is part of the answer, and whether all of it is. whole says that the attribute that it is a part
// of was asked for, or is shown by default, as a whole.
func (p *projection) shows(a *Attribute, whole bool) (show, all bool) {
	if whole && a.open && !p.named && p.without == nil {
		return true, true
	}
	show, all = p.rule(a, whole)
	if !show && a.extension && slices.ContainsFunc(a.Sub, func(s *Attribute) bool { return s.Returned == ReturnedAlways }) {
		return true, false // an extension is no attribute: what is always returned of it has nothing to hide behind
	}
	return show, all
}

// asStored says whether all of a value of a is shown as it is stored, where shows has said that it is shown.
func (p *projection) asStored(a *Attribute, all bool) bool {
	return all && a.open && !p.parts[a] && !p.holes[a]
}

func (p *projection) rule(a *Attribute, whole bool) (show, all bool) {
	switch {
	case a.Returned == ReturnedNever:
		return false, false
	case p.only[a]:
		return true, true
	case a.Returned == ReturnedAlways:
		return whole || a.parent.parent == nil || a.parent.extension || p.parts[a.parent], !p.parts[a]
	case p.parts[a]: // attributes may name what it is a part of, too
		return true, whole && a.Returned != ReturnedRequest
	case p.without[a]:
		return false, false
	case a.Returned == ReturnedRequest:
		return p.assigned[a] && (!p.named || whole && a.parent.parent != nil), true
	default:
		return whole, true
	}
}

// appendResource appends the JSON of a resource as a client is to see it.
func appendResource(b []byte, r *Resource, p *projection) ([]byte, error) {
	b = append(b, '{')
	start := len(b)
	for _, a := range r.Type.root.Sub {
		show, all := p.shows(a, !p.named)
		if !show {
			continue
		}
		if r.stored != nil && !a.linked && !a.derived {
			var err error
			if b, err = appendStored(b, start, r, a, p, all); err != nil {
				return nil, err
			}
			continue
		}
		v, err := r.Value(a)
		if err != nil {
			return nil, err
		}
		empty := !v.assigned() && p.emptyMembers && a.linked && all
		if !v.assigned() && !empty {
			continue
		}
		at := len(b)
		if at > start {
			b = append(b, ',')
		}
		b = append(b, a.quoted...)
		if empty {
			b = append(b, "[]"...)
			continue
		}
		var n int
		if b, n, err = appendShown(b, r, a, v, p, all); err != nil {
			return nil, err
		}
		if n == 0 {
			b = b[:at]
		}
	}
	return append(b, '}'), nil
}

// appendShown appends what is shown of a value and says how many values that were; if none, what it has appended is void.
func appendShown(b []byte, r *Resource, a *Attribute, v Value, p *projection, all bool) ([]byte, int, error) {
	switch v.kind {
	case list:
		b = append(b, '[')
		n := 0
		for _, e := range v.list {
			at := len(b)
			if n > 0 {
				b = append(b, ',')
			}
			var m int
			var err error
			if b, m, err = appendShown(b, r, a, e, p, all); err != nil {
				return nil, 0, err
			}
			if m == 0 {
				b = b[:at]
				continue
			}
			n++
		}
		return append(b, ']'), n, nil
	case object:
		if r.resolve != nil && a.refers() {
			var err error
			if v, err = r.resolve(a, v); err != nil {
				return nil, 0, err
			}
		}
		b = append(b, '{')
		n := 0
		for _, f := range v.obj.fields {
			show, whole := p.shows(f.attr, all)
			if !show {
				continue
			}
			at := len(b)
			if n > 0 {
				b = append(b, ',')
			}
			b = append(b, f.attr.quoted...)
			var m int
			var err error
			if b, m, err = appendShown(b, r, f.attr, f.value, p, whole); err != nil {
				return nil, 0, err
			}
			if m == 0 {
				b = b[:at]
				continue
			}
			n++
		}
		return append(b, '}'), n, nil
	default:
		return v.appendJSON(b), 1, nil
	}
}
