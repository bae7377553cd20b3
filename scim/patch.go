package scim

import (
	"errors"
	"strings"
)

// patchURN is the schema of a PATCH request (RFC 7644 section 3.5.2).
const patchURN = "urn:ietf:params:scim:api:messages:2.0:PatchOp"

type opKind string

const (
	opAdd     opKind = "add"
	opRemove  opKind = "remove"
	opReplace opKind = "replace"
)

// patchOp is one operation, bound to the schema: all that can be refused without the resource has been.
type patchOp struct {
	place string // where it stands in the request, "Operations[2]"
	kind  opKind
	path  Path
	value Value
	given bool // there was a value
}

// where names op in an error: `Operations[2], replace "name.givenName"`.
func (op *patchOp) where() string {
	return op.place + ", " + string(op.kind) + " " + quote(op.path.String())
}

// on is where for a path that is not bound yet, or is the name of one member of a value without a path; "" for none. What it
// compares with may be anything while it is not understood, and is not repeated.
func (op *patchOp) on(path string) string {
	if name, _, ok := strings.Cut(path, "["); ok {
		path = name + "[...]"
	}
	where := op.place + ", " + string(op.kind)
	if path != "" {
		where += " " + quote(path)
	}
	return where
}

// patchDecoder reads PATCH requests. id is that of the resource, for clients that repeat it.
type patchDecoder struct {
	decoder
	id string
}

// decode reads the body of a PATCH and binds every operation. An operation without a path becomes one for each
// attribute of its value.
func (d *patchDecoder) decode(n *node) ([]patchOp, error) {
	if n.kind != '{' {
		return nil, bad(InvalidSyntax, "the body is %s; expected is an object with schemas and Operations", n.found())
	}
	if err := checkMessage(n, patchURN, d.q.missingSchemas); err != nil {
		return nil, err
	}
	list := n.get("Operations")
	if list == nil || list.kind != '[' {
		return nil, bad(InvalidSyntax, `"Operations" is %s; expected is an array of operations`, foundOr(list, "missing"))
	}
	if len(list.items) == 0 {
		return nil, bad(InvalidSyntax, `"Operations" is empty; expected is at least one operation`)
	}
	var ops []patchOp
	for i, e := range list.items {
		more, err := d.operation("Operations["+itoa(i)+"]", e)
		if err != nil {
			return nil, err
		}
		ops = append(ops, more...)
	}
	return ops, nil
}

// checkMessage checks that schemas names the message that a body is (RFC 7644 section 3.1).
func checkMessage(n *node, urn string, mayMiss bool) error {
	s := n.get("schemas")
	if s == nil || s.kind == 'n' || s.kind == '[' && len(s.items) == 0 {
		if mayMiss {
			return nil
		}
		return bad(InvalidSyntax, `"schemas" is missing; expected is [%q]`, urn)
	}
	if s.kind == '[' {
		for _, e := range s.items {
			if e.kind == '"' && sameName(e.text, urn) {
				return nil
			}
		}
	}
	return bad(InvalidSyntax, `"schemas" does not name the message; expected is [%q]`, urn)
}

// operation reads one operation, which stands in the request at place. Errors name it as far as it could be read.
func (d *patchDecoder) operation(place string, n *node) ([]patchOp, error) {
	where := place
	refuse := func(err error) ([]patchOp, error) { return nil, within(where, err) }
	if n.kind != '{' {
		return refuse(bad(InvalidSyntax, "it is %s; expected is an object with op, path and value", n.found()))
	}
	name, path, value := n.get("op"), n.get("path"), n.get("value")
	if name == nil || name.kind != '"' {
		return refuse(bad(InvalidSyntax, `"op" is %s; expected is "add", "remove" or "replace"`, foundOr(name, "missing")))
	}
	op := patchOp{place: place, kind: opKind(foldName(name.text)), given: value != nil && value.kind != 'n'}
	if op.kind != opAdd && op.kind != opRemove && op.kind != opReplace {
		return refuse(bad(InvalidSyntax, `"op" is %s; expected is "add", "remove" or "replace"`, quote(name.text)))
	}
	where = op.on(textOf(path))
	if op.kind != opRemove && value == nil {
		return refuse(bad(InvalidValue, `"value" is missing; an operation without one can only be "remove"`))
	}
	if path == nil || path.kind == 'n' || d.q.emptied(path) {
		return d.pathless(op, value)
	}
	if path.kind != '"' {
		return refuse(bad(InvalidPath, `"path" is %s; expected is a string`, path.found()))
	}
	syntax, err := ParsePath(path.text)
	if err != nil {
		return refuse(err)
	}
	if op.path, err = BindPath(d.t, syntax, d.q.bindOptions()); err != nil {
		if d.q.unknownPaths && errors.Is(err, errUnknownName) {
			if d.unknown != nil {
				syntax.Where = nil // it compares with values, and only names are counted
				d.unknown(d.t.Name + ":" + clip(syntax.String()))
			}
			return nil, nil
		}
		return refuse(err)
	}
	where = op.where()
	ops, err := d.bind(op, value)
	if err == nil && op.path.Ext == nil && op.path.Attr == d.t.schemasAttr {
		ops, err = nil, d.schemasOp(op)
	}
	if err != nil {
		return refuse(err)
	}
	return ops, nil
}

// schemasOp is what becomes of an operation on schemas: they follow from the data, so that there is nothing to do.
func (d *patchDecoder) schemasOp(op patchOp) error {
	if op.kind == opRemove {
		return bad(WrongMutability, "schemas is required; it follows from the attributes that have values")
	}
	return nil
}

// pathless expands an operation without a path: its value is an object, and each member is added or replaced by its own
// rule (RFC 7644 sections 3.5.2.1 and 3.5.2.3).
func (d *patchDecoder) pathless(op patchOp, value *node) ([]patchOp, error) {
	if op.kind == opRemove && !d.removesListed(value) {
		return nil, within(op.on(""), bad(NoTarget, `"path" is missing; a remove says what it removes`))
	}
	if value.kind != '{' {
		return nil, within(op.on(""), bad(InvalidValue, "the value of an operation without a path is %s; expected is an object of attributes", value.found()))
	}
	var ops []patchOp
	for _, m := range value.members {
		if d.skipped(m) {
			continue
		}
		p, err := d.pathKey(m.name)
		if err != nil {
			return nil, within(op.on(m.name), err)
		}
		if p == nil {
			continue
		}
		if p.Attr == d.t.root {
			if m.value.kind != '{' {
				return nil, within(op.on(""), wrong(m.name, m.value, "an object"))
			}
			more, err := d.pathless(op, m.value)
			if err != nil {
				return nil, err
			}
			ops = append(ops, more...)
			continue
		}
		o := op
		o.path = *p
		more, err := d.bind(o, m.value)
		if err != nil {
			return nil, within(op.on(m.name), err)
		}
		ops = append(ops, more...)
	}
	return ops, nil
}

// pathKey is decoder.key for PATCH, where value paths are keys too and an unknown name is an error of the path.
func (d *patchDecoder) pathKey(name string) (*Path, error) {
	if a := d.t.root.sub(name); a != nil && !a.extension {
		return &Path{Attr: a}, nil
	}
	if sameName(name, d.t.Schema.ID) {
		return &Path{Attr: d.t.root}, nil
	}
	syntax, err := ParsePath(name)
	if err == nil {
		var p Path
		if p, err = BindPath(d.t, syntax, d.q.bindOptions()); err == nil {
			return &p, nil
		}
	}
	// An unknown name is left out like any other. What looks like a value path and is none was meant to be one.
	if d.strict || strings.Contains(name, "[") && !errors.Is(err, errUnknownName) {
		return nil, err
	}
	return nil, d.foreign(name)
}

// skipped says whether a member of a pathless value is only a repetition of what the resource is.
func (d *patchDecoder) skipped(m member) bool {
	switch foldName(m.name) {
	case "schemas":
		return true
	case "id":
		return d.q.ownID && m.value.kind == '"' && m.value.text == d.id
	case "meta":
		return d.q.ownID
	}
	return false
}

// removesListed says whether the value of a remove without a path lists values to remove, as WSO2's and Salesforce's
// guides have it: {"members": [{"value": "id"}]}.
func (d *patchDecoder) removesListed(n *node) bool {
	if !d.q.removesListed || n == nil || n.kind != '{' || len(n.members) == 0 {
		return false
	}
	for _, m := range n.members {
		if a := d.t.root.sub(m.name); a == nil || !a.linked || m.value.kind != '[' || len(m.value.items) == 0 {
			return false
		}
	}
	return true
}

// bind checks what the path alone decides, and types the value. One operation becomes several where its value is of several
// attributes.
func (d *patchDecoder) bind(op patchOp, n *node) ([]patchOp, error) {
	p := op.path
	if a := p.Attr; a != nil && a.readOnly() || p.Sub != nil && p.Sub.readOnly() {
		return nil, bad(WrongMutability, "the attribute is readOnly; the server assigns it")
	}
	if a := p.Attr; a != nil && a.linked && p.Where == nil && p.Sub == a.value() {
		// members.value is another name for members: the id is all that there is to say of one.
		op.path.Sub, n = nil, asValues(n)
		p = op.path
	}
	target := p.target()
	if op.kind == opRemove && target.Required && p.Where == nil && (n == nil || !target.linked) {
		return nil, bad(WrongMutability, "the attribute is required and cannot be removed")
	}
	if n == nil {
		return []patchOp{op}, nil
	}
	if op.kind == opRemove && (!target.MultiValued || p.Where != nil) {
		op.given = false // Entra sends along what was there; a remove takes no value
		return []patchOp{op}, nil
	}
	d.specify(target)
	at := &whereabouts{path: &p}
	if target.Type == Complex && !target.MultiValued {
		n = d.q.listForSingle(target, n)
	}
	var err error
	switch {
	case n.kind == 'n':
	case p.Where != nil && p.Sub == nil:
		op.value, err = d.single(p.Attr, d.q.listForSingle(p.Attr, n), at)
		if err == nil && op.kind == opAdd && n.kind == '{' && !op.value.assigned() {
			return nil, nil // it adds nothing
		}
	case target.MultiValued && n.kind != '[' && !d.q.emptied(n):
		var v Value
		if v, err = d.single(target, n, at); err == nil && v.assigned() {
			op.value = listValue([]Value{v})
		}
	case target.Type == Complex && !target.MultiValued && target.Mutability != Immutable && !d.q.emptied(n):
		return d.parts(op, n)
	default:
		op.value, err = d.value(target, n, at)
	}
	if err != nil {
		return nil, err
	}
	return []patchOp{op}, nil
}

// asValues writes ids as values that have them.
func asValues(n *node) *node {
	switch {
	case n == nil:
	case n.kind == '"':
		return &node{kind: '{', members: []member{{"value", n}}}
	case n.kind == '[':
		l := make([]*node, len(n.items))
		for i, e := range n.items {
			l[i] = asValues(e)
		}
		return &node{kind: '[', items: l}
	}
	return n
}

// parts makes operations of their own of what an add or replace says of a complex attribute or of an extension. What it
// does not mention stays as it is (RFC 7644 sections 3.5.2.1 and 3.5.2.3), which is everything if it mentions nothing;
// null unassigns what it stands for and nothing else.
func (d *patchDecoder) parts(op patchOp, n *node) ([]patchOp, error) {
	target := op.path.target()
	var first, ops []patchOp
	part := func(a *Attribute, v Value) {
		o := op
		o.path, o.value = pathTo(a), v
		if a == a.parent.value() { // before $ref, which a change of it unassigns
			first = append(first, o)
		} else {
			ops = append(ops, o)
		}
	}
	if target.extension {
		// Its members are attributes of the resource, of which a PATCH may not name those that are readOnly. Sub-attributes of
		// a complex value are another thing: clients send manager.displayName back as they got it.
		for _, m := range n.members {
			if a := target.sub(m.name); a != nil && a.readOnly() {
				return nil, bad(WrongMutability, "%q is readOnly; the server assigns it", a.Name)
			}
		}
	}
	d.cleared = func(a *Attribute) { part(a, Value{}) }
	v, err := d.complex(target, n, &whereabouts{path: &op.path})
	d.cleared = nil
	if err != nil || v.kind != object {
		return append(first, ops...), err
	}
	for _, f := range v.obj.fields {
		if a := f.attr; a.Type == Complex && !a.MultiValued && a.Mutability != Immutable {
			for _, g := range f.value.obj.fields {
				part(g.attr, g.value)
			}
			continue
		}
		part(f.attr, f.value)
	}
	return append(first, ops...), nil
}

// pathTo returns the path of an attribute.
func pathTo(a *Attribute) Path {
	switch p := a.parent; {
	case a.extension:
		return Path{Ext: a}
	case p.parent == nil:
		return Path{Attr: a}
	case p.extension:
		return Path{Ext: p, Attr: a}
	default:
		whole := pathTo(p)
		whole.Sub = a
		return whole
	}
}

// target is the attribute whose values an operation on p has.
func (p Path) target() *Attribute {
	switch {
	case p.Sub != nil:
		return p.Sub
	case p.Attr != nil:
		return p.Attr
	default:
		return p.Ext
	}
}
