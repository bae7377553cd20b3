package scim

import (
	"encoding/base64"
	"fmt"
	"slices"
	"strings"
)

// decoder reads what a client sent, by the schema. It belongs to one request.
type decoder struct {
	t      *ResourceType
	q      quirks
	strict bool // unknown attributes are refused
	// unknown is told the name of each attribute that no schema has. May be nil.
	unknown func(name string)
	// specified gathers the attributes of returned=request that the client named, because they are answered to a write
	// that set them (RFC 7643 section 7). May be nil.
	specified map[*Attribute]bool
	// cleared is told which parts of a complex value the client unassigned: in a PATCH that is not the same as leaving
	// them out. May be nil.
	cleared func(a *Attribute)
}

// resource reads the body of a POST or PUT. What is readOnly is left out unread, as RFC 7644 sections 3.3 and 3.5.1 say.
func (d *decoder) resource(n *node) (*Object, error) {
	if n.kind != '{' {
		return nil, bad(InvalidSyntax, "the body is %s; expected is a JSON object, the %s", n.found(), d.t.Name)
	}
	if err := d.schemas(n); err != nil {
		return nil, err
	}
	o := &Object{fields: make([]field, 0, min(len(n.members), len(d.t.root.Sub)))}
	for _, m := range n.members {
		if sameName(m.name, "schemas") {
			continue
		}
		p, known, err := d.key(m.name)
		if err != nil {
			return nil, err
		}
		if !known {
			continue
		}
		if err := d.put(o, p, m.value, &whereabouts{name: m.name}); err != nil {
			return nil, err
		}
	}
	return o, nil
}

// key finds what a member of a resource's body, or of the value of a PATCH operation without a path, is about: an
// attribute, an extension, and also, because clients write them, "name.givenName" and "urn:...:User:department". A
// member that is not known is to be left out.
func (d *decoder) key(name string) (p Path, known bool, err error) {
	if a := d.t.root.sub(name); a != nil {
		if a.extension {
			return Path{Ext: a}, true, nil
		}
		return Path{Attr: a}, true, nil
	}
	if sameName(name, d.t.Schema.ID) {
		return Path{Attr: d.t.root}, true, nil
	}
	if strings.ContainsAny(name, ":.[") {
		if s, err := ParsePath(name); err == nil {
			if p, err := BindPath(d.t, s, d.q.bindOptions()); err == nil {
				return p, true, nil
			}
		}
	}
	return Path{}, false, d.foreign(name)
}

// foreign is what happens to an attribute that no schema has: it is counted and left out, or refused.
func (d *decoder) foreign(place string) error {
	if d.strict {
		return bad(InvalidSyntax, "%s is no attribute of a %s; the schemas are found at /Schemas", quote(place), d.t.Name)
	}
	if d.unknown != nil {
		d.unknown(d.t.Name + ":" + clip(place))
	}
	return nil
}

// whereabouts is where something stands in what a client sent. Errors and little else ask for its notation, so that it is put together
// only then.
type whereabouts struct {
	up   *whereabouts
	in   *Attribute // of a member: what up is the place of; nil for one of the resource
	name string     // of a member
	nth  int        // of an element, if name is ""
	path *Path      // of a PATCH operation, in place of all the others
}

// String returns the notation of p.
func (p *whereabouts) String() string {
	switch {
	case p.path != nil:
		return p.path.String()
	case p.up == nil:
		return p.name
	case p.name == "":
		return p.up.String() + "[" + itoa(p.nth) + "]"
	case p.in == nil:
		return p.up.String() + ":" + p.name
	default:
		return p.in.place(p.up.String(), p.name)
	}
}

func join(at, name string) string {
	if at == "" {
		return name
	}
	return at + "." + name
}

// place returns the notation of a member of a, which itself stands at at.
func (a *Attribute) place(at, name string) string {
	if a.extension {
		return at + ":" + name
	}
	return join(at, name)
}

func quote(s string) string { return fmt.Sprintf("%q", clip(s)) }

// put assigns a member's value where its key says.
func (d *decoder) put(o *Object, p Path, n *node, at *whereabouts) error {
	switch {
	case p.Attr == d.t.root: // the core URN as a container: its members are those of the resource
		if n.kind != '{' {
			return wrong(at.String(), n, "an object")
		}
		for _, m := range n.members {
			a := d.t.root.sub(m.name)
			if a == nil || a.extension {
				if err := d.foreign(at.String() + ":" + m.name); err != nil {
					return err
				}
				continue
			}
			if err := d.put(o, Path{Attr: a}, m.value, &whereabouts{up: at, name: m.name}); err != nil {
				return err
			}
		}
		return nil
	case p.Where != nil:
		return bad(InvalidSyntax, "%s: a value path has no meaning in a resource, only in a PATCH operation", quote(at.String()))
	case p.Attr == nil: // a whole extension
		v, err := d.value(p.Ext, n, at)
		if err != nil {
			return err
		}
		return d.merge(o, p.Ext, v)
	}
	if p.Ext != nil {
		x := o.Get(p.Ext)
		if !x.assigned() {
			x = Value{kind: object, obj: &Object{}}
		}
		if err := d.put(x.obj, Path{Attr: p.Attr, Sub: p.Sub}, n, at); err != nil {
			return err
		}
		o.Set(p.Ext, objectValue(x.obj))
		return nil
	}
	a := p.Attr
	if p.Sub != nil {
		if a.MultiValued {
			return bad(InvalidSyntax, "%s names a part of every value of a list; write the list out", quote(at.String()))
		}
		if a.readOnly() || p.Sub.readOnly() {
			return nil
		}
		v, err := d.value(p.Sub, n, at)
		if err != nil {
			return err
		}
		d.noteCleared(p.Sub, v, n)
		c := o.Get(a)
		if !c.assigned() {
			c = Value{kind: object, obj: &Object{}}
		}
		c.obj.Set(p.Sub, v)
		o.Set(a, objectValue(c.obj))
		return nil
	}
	if a.readOnly() {
		return nil
	}
	v, err := d.value(a, n, at)
	if err != nil {
		return err
	}
	return d.merge(o, a, v)
}

// merge assigns v, keeping what a dotted key beside it has assigned before.
func (d *decoder) merge(o *Object, a *Attribute, v Value) error {
	had := o.Get(a)
	if had.kind == object && v.kind == object {
		for _, f := range v.obj.fields {
			had.obj.Set(f.attr, f.value)
		}
		v = had
	}
	o.Set(a, v)
	return nil
}

// specify notes that the client named a.
func (d *decoder) specify(a *Attribute) {
	if d.specified != nil && a.Returned == ReturnedRequest {
		d.specified[a] = true
	}
}

// value reads n as a value of a. at is the place for errors.
func (d *decoder) value(a *Attribute, n *node, at *whereabouts) (Value, error) {
	d.specify(a)
	if n.kind == 'n' {
		return Value{}, nil
	}
	if !a.MultiValued {
		return d.single(a, n, at)
	}
	if d.q.emptied(n) {
		return Value{}, nil
	}
	items := n.items
	if n.kind != '[' {
		if items = d.q.soleElement(a, n); items == nil {
			return Value{}, wrong(at.String(), n, "an array of "+plural(a))
		}
	}
	l := make([]Value, 0, len(items))
	primary, bared := -1, false
	here := whereabouts{up: at}
	for i, e := range items {
		here.nth = i
		v, err := d.single(a, e, &here)
		if err != nil {
			return Value{}, err
		}
		if !v.assigned() {
			continue
		}
		if p := a.byName["primary"]; p != nil && v.sub(p).flag {
			if primary >= 0 && !d.q.lastPrimaryWins {
				return Value{}, bad(InvalidValue, "%s has more than one primary value, %d and %d; RFC 7643 section 2.4 allows one", quote(at.String()), primary, i)
			}
			if primary >= 0 {
				l[primary].obj.Set(p, Value{})
				bared = bared || l[primary].obj.empty()
			}
			primary = len(l)
		}
		// The same value twice carries no meaning, and RFC 7643 section 2.4 asks not to return it twice. Long lists are
		// those of members, which the links make unique.
		if !a.linked && len(l) < 64 && slices.ContainsFunc(l, v.equal) {
			continue
		}
		l = append(l, v)
	}
	if bared { // an element that said nothing but that it is primary
		l = slices.DeleteFunc(l, func(v Value) bool { return v.kind == object && v.obj.empty() })
	}
	return listValue(l), nil
}

// single reads one value of a: a itself, or an element if a is multi-valued.
func (d *decoder) single(a *Attribute, n *node, at *whereabouts) (Value, error) {
	if n.kind == 'n' {
		return Value{}, nil
	}
	if a.Type == Complex {
		return d.complex(a, n, at)
	}
	if d.q.emptied(n) {
		return Value{}, nil
	}
	switch a.Type {
	case Boolean:
		if n.kind == 't' || n.kind == 'f' {
			return boolValue(n.kind == 't'), nil
		}
		if b, ok := d.q.textBoolean(n); ok {
			return boolValue(b), nil
		}
	case Integer:
		if n.kind == '0' && !strings.ContainsAny(n.text, ".eE") {
			return numberValue(n.text), nil
		}
	case Decimal:
		if n.kind == '0' {
			return numberValue(n.text), nil
		}
	case DateTime:
		if n.kind == '"' {
			if _, err := parseDateTime(n.text); err == nil {
				return textValue(n.text), nil
			}
			return Value{}, bad(InvalidValue, "%s is no dateTime; expected is the form 2026-01-31T13:45:00Z", quote(at.String()))
		}
	case Binary:
		if n.kind == '"' {
			if validBase64(n.text) {
				return textValue(n.text), nil
			}
			return Value{}, bad(InvalidValue, "%s is not base64; expected is binary data in base64, as text", quote(at.String()))
		}
	default:
		if n.kind == '"' {
			return textValue(n.text), nil
		}
	}
	if a.Returned == ReturnedNever { // a number may be a secret as well
		return Value{}, bad(InvalidValue, "%s has a value of another type; expected is %s", quote(at.String()), article(a))
	}
	return Value{}, wrong(at.String(), n, article(a))
}

func (d *decoder) complex(a *Attribute, n *node, at *whereabouts) (Value, error) {
	if d.q.emptied(n) {
		return Value{}, nil
	}
	if !a.MultiValued {
		n = d.q.listForSingle(a, n)
	}
	n = d.q.bareValue(a, n)
	if n.kind == 'n' {
		return Value{}, nil
	}
	if n.kind != '{' {
		return Value{}, wrong(at.String(), n, article(a))
	}
	o := &Object{fields: make([]field, 0, min(len(n.members), len(a.Sub)))}
	here := whereabouts{up: at, in: a}
	for _, m := range n.members {
		here.name = m.name
		s := a.sub(m.name)
		if s == nil {
			s = d.q.renamed(a, m.name)
		}
		if s == nil && a.extension && strings.ContainsAny(m.name, ".") {
			// {"urn:...:User": {"manager.value": "x"}}
			name, sub, _ := strings.Cut(m.name, ".")
			if c := a.sub(name); c != nil && !c.MultiValued && c.sub(sub) != nil {
				if err := d.put(o, Path{Attr: c, Sub: c.sub(sub)}, m.value, &here); err != nil {
					return Value{}, err
				}
				continue
			}
		}
		if s == nil {
			if err := d.foreign(here.String()); err != nil {
				return Value{}, err
			}
			continue
		}
		if s.readOnly() {
			continue
		}
		v, err := d.value(s, m.value, &here)
		if err != nil {
			return Value{}, err
		}
		d.noteCleared(s, v, m.value)
		if err := d.merge(o, s, v); err != nil {
			return Value{}, err
		}
	}
	return objectValue(o), nil
}

// noteCleared notes that n unassigns a. An object without members says nothing of a's parts and unassigns none.
func (d *decoder) noteCleared(a *Attribute, v Value, n *node) {
	if d.cleared != nil && !v.assigned() && n.kind != '{' {
		d.cleared(a)
	}
}

// schemas checks the schemas member of a resource (RFC 7643 section 3): the base schema, once, and extensions of the
// resource type. Which extensions a resource has is decided by the data, so that nothing of it is kept.
func (d *decoder) schemas(n *node) error {
	list := n.get("schemas")
	none := list == nil || list.kind == 'n' || list.kind == '[' && len(list.items) == 0
	if none && d.q.missingSchemas {
		return nil
	}
	if list == nil || list.kind == 'n' {
		return bad(InvalidSyntax, `"schemas" is missing; a %s names at least %q`, d.t.Name, d.t.Schema.ID)
	}
	if list.kind != '[' {
		return bad(InvalidSyntax, `"schemas" is %s; expected is an array of URNs`, list.found())
	}
	base, others := false, ""
	seen := map[string]bool{}
	for _, e := range list.items {
		if e.kind != '"' {
			return bad(InvalidSyntax, `"schemas" holds %s; expected are URNs`, e.found())
		}
		urn := foldName(e.text)
		if seen[urn] && !d.q.foreignSchemas {
			return bad(InvalidSyntax, `"schemas" names %s twice`, quote(e.text))
		}
		seen[urn] = true
		switch {
		case urn == foldName(d.t.Schema.ID):
			base = true
		case slices.ContainsFunc(d.t.Extensions, func(x Extension) bool { return foldName(x.Schema.ID) == urn }):
		case strings.HasPrefix(urn, "urn:ietf:params:scim:schemas:core:2.0:") || !d.q.foreignSchemas:
			others = e.text
		}
	}
	switch {
	case others != "" && (!base || !d.q.foreignSchemas):
		return bad(InvalidSyntax, `"schemas" names %s, which is no schema of a %s; expected are %q and its extensions`, quote(others), d.t.Name, d.t.Schema.ID)
	case len(list.items) == 0:
		return bad(InvalidSyntax, `"schemas" is empty; a %s names at least %q`, d.t.Name, d.t.Schema.ID)
	case !base && !d.q.foreignSchemas:
		return bad(InvalidSyntax, `"schemas" does not name %q, the schema of a %s`, d.t.Schema.ID, d.t.Name)
	}
	return nil
}

func wrong(at string, n *node, expected string) error {
	return bad(InvalidValue, "%s is %s; expected is %s", quote(at), n.found(), expected)
}

// article names what a single value of a must be.
func article(a *Attribute) string {
	switch a.Type {
	case Complex:
		return "an object"
	case Integer:
		return "an integer, without fraction and exponent"
	case Decimal:
		return "a number"
	case DateTime:
		return "a dateTime, as text"
	case Binary:
		return "binary data in base64, as text"
	case Boolean:
		return "true or false"
	case Reference:
		return "a URI, as text"
	default:
		return "a string"
	}
}

func plural(a *Attribute) string {
	switch a.Type {
	case Complex:
		return "objects"
	case Integer, Decimal:
		return "numbers"
	case Boolean:
		return "booleans"
	default:
		return "strings"
	}
}

// validBase64 accepts both alphabets of RFC 4648, with padding or without (RFC 7643 section 2.3.6).
func validBase64(s string) bool {
	t := strings.TrimRight(s, "=")
	if len(s)-len(t) > 2 || len(s) != len(t) && len(s)%4 != 0 {
		return false
	}
	if _, err := base64.RawStdEncoding.DecodeString(t); err == nil {
		return true
	}
	_, err := base64.RawURLEncoding.DecodeString(t)
	return err == nil
}
