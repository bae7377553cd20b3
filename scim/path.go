package scim

import (
	"errors"
	"fmt"
	"strings"
)

// PathExpr is the path of a PATCH operation as it was written (RFC 7644 section 3.5.2, figure 7).
type PathExpr struct {
	Attr  AttrPath
	Where *Expr  // of a value path, nil without brackets
	Sub   string // the sub-attribute behind the brackets
}

// ParsePath reads the path of a PATCH operation. An error is an *Error of the type invalidPath, for what stands in brackets
// too, that says at which byte, counted from 0, the path goes wrong.
func ParsePath(s string) (PathExpr, error) {
	const expected = `an attribute, in the form title, name.familyName, emails[type eq "work"] or emails[type eq "work"].value`
	p := filterParser{s: s, what: "path", scimType: InvalidPath}
	if err := p.check(); err != nil {
		return PathExpr{}, err
	}
	start := p.at
	name, err := p.name(expected)
	if err != nil {
		return PathExpr{}, err
	}
	x := PathExpr{Attr: name}
	if p.peek() == '[' && name.Sub == "" {
		e, err := p.brackets(name, start)
		if err != nil {
			return PathExpr{}, err
		}
		x.Where = e.Args[0]
		if p.peek() == '.' {
			if x.Sub, err = p.subName(); err != nil {
				return PathExpr{}, err
			}
		}
	}
	if p.at < len(s) {
		return PathExpr{}, p.fail(p.at, "found %s; expected is the end of %s", p.next(), expected)
	}
	return x, nil
}

// String prints x as ParsePath reads it, with the filter in canonical form.
func (x PathExpr) String() string {
	s := x.Attr.String()
	if x.Where != nil {
		s += "[" + x.Where.String() + "]"
	}
	if x.Sub != "" {
		s += "." + x.Sub
	}
	return s
}

// Path leads from a resource to the values of an attribute: what a name in attribute notation, a PATCH path or a key of a
// resource means for one resource type.
type Path struct {
	Ext   *Attribute // the schema extension that Attr belongs to, nil for others
	Attr  *Attribute // nil for an extension as a whole
	Sub   *Attribute // a sub-attribute of Attr, nil for Attr itself
	Where *Filter    // which values of Attr are meant, nil for all
}

// String returns the notation of p, with names as the schemas spell them.
func (p Path) String() string {
	var b strings.Builder
	if p.Ext != nil {
		b.WriteString(p.Ext.Name)
		if p.Attr != nil {
			b.WriteByte(':')
		}
	}
	if p.Attr != nil {
		b.WriteString(p.Attr.Name)
	}
	if p.Where != nil {
		fmt.Fprintf(&b, "[%s]", p.Where)
	}
	if p.Sub != nil {
		b.WriteString("." + p.Sub.Name)
	}
	return b.String()
}

// BindOptions are what binding accepts beyond the RFCs; the zero value is the RFCs. See quirks.
type BindOptions struct {
	DotAfterURN   bool // urn:...:User.manager for urn:...:User:manager
	BareExtension bool // manager for urn:...:User:manager, if the resource type itself has no attribute of this name
	BooleanText   bool // primary eq "True": text is compared with booleans
	ComplexValue  bool // manager eq "x" means manager.value, as emails eq "x" means emails.value for everybody
	// ForeignUnassigned lets a filter name attributes that the resource type does not have: they count as unassigned. A
	// query over several resource types has to be read so (RFC 7644 section 3.4.2.1).
	ForeignUnassigned bool
}

// errUnknownName is the cause of an error about a name that no schema of a resource type has.
var errUnknownName = errors.New("no attribute of this name")

func unknownName(format string, args ...any) error {
	e := bad(InvalidPath, format, args...)
	e.Err = errUnknownName
	return e
}

// BindPath finds what the path of a PATCH operation means for resources of type t.
func BindPath(t *ResourceType, x PathExpr, o BindOptions) (Path, error) {
	p, err := bindAttrPath(t, x.Attr, o)
	if err != nil || x.Where == nil {
		return p, err
	}
	switch {
	case p.Attr == nil:
		return Path{}, bad(InvalidPath, "%s is a schema extension and has no values to choose from; name one of its attributes", quote(x.Attr.String()))
	case p.Sub != nil:
		return Path{}, bad(InvalidPath, "%s is a sub-attribute; brackets stand behind the attribute: %s[...]", quote(x.Attr.String()), p.Attr.Path())
	case !p.Attr.MultiValued:
		return Path{}, bad(InvalidPath, "%q has one value and not several to choose from; leave out the brackets", p.Attr.Path())
	}
	if x.Sub != "" {
		if p.Sub, err = p.Attr.named(x.Sub); err != nil {
			return Path{}, err
		}
	}
	b := binder{t: t, o: o, what: "path", scimType: InvalidPath}
	p.Where, err = b.filter(x.Where, &Path{Ext: p.Ext, Attr: p.Attr})
	if err != nil {
		return Path{}, err
	}
	return p, nil
}

// BindAttr finds what a name in attribute notation (RFC 7644 section 3.10) means for resources of type t: an attribute, a
// sub-attribute, or a schema extension, by its URN, as a whole.
func BindAttr(t *ResourceType, name string, o BindOptions) (Path, error) {
	p := filterParser{s: name, what: "name", scimType: InvalidPath}
	if err := p.check(); err != nil {
		return Path{}, err
	}
	a, err := p.name("the name of an attribute, such as userName or name.familyName")
	if err != nil {
		return Path{}, err
	}
	if p.at < len(name) {
		return Path{}, p.fail(p.at, "found %s; expected is the end of the name", p.next())
	}
	return bindAttrPath(t, a, o)
}

func bindAttrPath(t *ResourceType, a AttrPath, o BindOptions) (Path, error) {
	if strings.IndexByte(a.Name, ':') >= 0 {
		return bindQualified(t, a.Name, o)
	}
	if top := t.root.sub(a.Name); top != nil && !top.extension {
		return Path{Attr: top}.down(a.Sub)
	}
	if o.BareExtension {
		for _, x := range t.root.Sub {
			if top := x.sub(a.Name); x.extension && top != nil {
				return Path{Ext: x, Attr: top}.down(a.Sub)
			}
		}
	}
	return Path{}, unknownName("%s is no attribute of a %s%s", quote(a.Name), t.Name, orSchemas(a.Name, t.root))
}

// bindQualified takes a name with a colon apart: the longest id of a schema that it begins with, and a name of that schema.
func bindQualified(t *ResourceType, name string, o BindOptions) (Path, error) {
	in, id := (*Attribute)(nil), ""
	consider := func(a *Attribute, s string) {
		if len(s) <= len(id) || len(name) < len(s) || !sameName(name[:len(s)], s) {
			return
		}
		if rest := name[len(s):]; rest == "" || rest[0] == ':' || rest[0] == '.' && o.DotAfterURN {
			in, id = a, s
		}
	}
	consider(t.root, t.Schema.ID)
	known := []string{t.Schema.ID}
	for _, a := range t.root.Sub {
		if a.extension {
			consider(a, a.Name)
			known = append(known, a.Name)
		}
	}
	if in == nil {
		return Path{}, unknownName("%s belongs to no schema of a %s; they are %s", quote(name), t.Name, andList(known))
	}
	var p Path
	if in != t.root {
		p.Ext = in
	}
	if len(name) == len(id) {
		if p.Ext == nil {
			return Path{}, bad(InvalidPath, "%s is the schema of a %s and no attribute; expected is a name behind it: %s:%s", quote(name), t.Name, t.Schema.ID, t.Schema.Attributes[0].Name)
		}
		return p, nil
	}
	top, sub, dotted := strings.Cut(name[len(id)+1:], ".")
	p.Attr = in.sub(top)
	if p.Attr == nil || p.Attr.extension {
		return Path{}, unknownName("%s is no attribute of the schema %q%s", quote(top), id, orSchemas(top, in))
	}
	if dotted && sub == "" {
		return Path{}, bad(InvalidPath, "%s ends with a dot; expected is the name of a sub-attribute", quote(name))
	}
	return p.down(sub)
}

// down goes on to a sub-attribute of p.Attr, unless name is "".
func (p Path) down(name string) (Path, error) {
	if name == "" {
		return p, nil
	}
	sub, err := p.Attr.named(name)
	if err != nil {
		return Path{}, err
	}
	p.Sub = sub
	return p, nil
}

// named finds a sub-attribute of a.
func (a *Attribute) named(name string) (*Attribute, error) {
	if s := a.sub(name); s != nil {
		return s, nil
	}
	if a.Type != Complex {
		return nil, unknownName("%q is of the type %q and has no sub-attributes, and so no %s", a.Path(), a.Type, quote(name))
	}
	return nil, unknownName("%s is no sub-attribute of %q%s", quote(name), a.Path(), didYouMean(clip(name), a.subNames()))
}

func (a *Attribute) subNames() []string {
	var names []string
	for _, s := range a.Sub {
		if !s.extension {
			names = append(names, s.Name)
		}
	}
	return names
}

// orSchemas is the end of a message on a name that a has not: what was meant, or else where to look.
func orSchemas(name string, a *Attribute) string {
	if k := nearest(clip(name), a.subNames()); k != "" {
		return fmt.Sprintf("; did you mean %q?", k)
	}
	return "; the schemas are found at /Schemas"
}

// andList writes `"a", "b" and "c"`.
func andList(names []string) string { return strings.ReplaceAll(orList(names), " or ", " and ") }
