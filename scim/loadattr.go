package scim

import (
	"slices"
	"strings"
)

// members reads the members of a JSON object and reports what is wrong with them.
type members struct {
	l    *loader
	p    *located
	what string // for messages: `attribute "device.value"`
}

// object checks that p is an object without members other than known.
func (l *loader) object(p *located, what string, known ...string) members {
	if p.kind != '{' {
		l.wrong(p.at, "%s is %s; expected is an object", what, p.found())
	}
	for _, m := range p.members {
		if !slices.Contains(known, m.name) {
			l.wrong(m.at, "%s: %s is no member%s", what, quote(m.name), didYouMean(m.name, known))
		}
	}
	return members{l, p, what}
}

func (o members) wrongType(p *located, name, expected string) {
	o.l.wrong(p.at, "%s: %q is %s; expected is %s", o.what, name, p.found(), expected)
}

// text returns a member that is a string; ok says that it is there, is one and is not empty.
func (o members) text(name string, required bool) (s string, ok bool) {
	switch p := o.p.get(name); {
	case p == nil && required:
		o.l.wrong(o.p.at, "%s: %q is missing", o.what, name)
	case p == nil:
	case p.kind != '"':
		o.wrongType(p, name, "a string")
	case required && p.text == "":
		o.l.wrong(p.at, "%s: %q is empty", o.what, name)
	default:
		return p.text, p.text != ""
	}
	return "", false
}

func (o members) boolean(name string) (value, given bool) {
	p := o.p.get(name)
	switch {
	case p == nil:
		return false, false
	case p.kind != 't' && p.kind != 'f':
		o.wrongType(p, name, "true or false")
		return false, false
	}
	return p.kind == 't', true
}

// texts returns the strings of a member that is a string or an array of strings, each once.
func (o members) texts(name string) []*located {
	p := o.p.get(name)
	if p == nil {
		return nil
	}
	items := p.items
	if p.kind == '"' {
		items = []*located{p}
	} else if p.kind != '[' {
		o.wrongType(p, name, "an array of strings")
		return nil
	}
	var l []*located
	for _, e := range items {
		switch {
		case e.kind != '"' || e.text == "":
			o.l.wrong(e.at, "%s: %q holds %s; expected are strings that are not empty", o.what, name, e.found())
		case slices.ContainsFunc(l, func(had *located) bool { return had.text == e.text }):
			o.l.wrong(e.at, "%s: %q holds %s twice", o.what, name, quote(e.text))
		default:
			l = append(l, e)
		}
	}
	return l
}

// objects returns the elements of a member that is an array of objects.
func (o members) objects(name string) []*located {
	p := o.p.get(name)
	if p == nil {
		return nil
	}
	if p.kind != '[' {
		o.wrongType(p, name, "an array of objects")
		return nil
	}
	for _, e := range p.items {
		if e.kind != '{' {
			o.l.wrong(e.at, "%s: %q holds %s; expected are objects", o.what, name, e.found())
		}
	}
	return slices.DeleteFunc(slices.Clone(p.items), func(e *located) bool { return e.kind != '{' })
}

// urns checks a "schemas" member: it may be left out, and names the schema of the resource that it stands in.
func (o members) urns(name, urn string) {
	for _, p := range o.texts(name) {
		if !sameName(p.text, urn) {
			o.l.wrong(p.at, "%s: %q names %s; expected is %q", o.what, name, quote(p.text), urn)
		}
	}
}

// word reads a member that is one of a few words.
func word[T ~string](o members, name string, words ...T) T {
	s, ok := o.text(name, false)
	if !ok {
		return ""
	}
	if slices.Contains(words, T(s)) {
		return T(s)
	}
	known := make([]string, len(words))
	for i, w := range words {
		known[i] = string(w)
	}
	end := "; expected is " + orList(known)
	if k := nearest(s, known); k != "" {
		end += ", and nearest is " + quote(k)
	}
	o.l.wrong(o.p.get(name).at, "%s: %q is %s%s", o.what, name, quote(s), end)
	return ""
}

// attributes reads the attribute definitions of a schema, or the sub-attributes of the attribute parent.
func (l *loader) attributes(o members, name, parent string) []*Attribute {
	if o.p.get(name) == nil || len(o.p.get(name).items) == 0 && o.p.get(name).kind == '[' {
		o.l.wrong(o.p.at, "%s has no %q", o.what, name)
		return nil
	}
	var list []*Attribute
	for _, p := range o.objects(name) {
		a := l.attribute(p, parent)
		if a == nil {
			continue
		}
		if slices.ContainsFunc(list, func(b *Attribute) bool { return sameName(a.Name, b.Name) }) {
			l.wrong(p.get("name").at, "%s is defined twice; case makes no difference", o.sub(a.Name))
			continue
		}
		list = append(list, a)
	}
	return list
}

func (o members) sub(name string) string {
	if parent, ok := strings.CutPrefix(o.what, "attribute "); ok {
		return "attribute " + quote(join(strings.Trim(parent, `"`), name))
	}
	return "attribute " + quote(name)
}

// attribute reads one attribute definition (RFC 7643 section 7).
func (l *loader) attribute(p *located, parent string) *Attribute {
	shown := "without a name"
	if n := p.get("name"); n != nil {
		shown = quote(join(parent, n.text))
	}
	o := l.object(p, "attribute "+shown, "name", "type", "subAttributes", "multiValued", "description", "required",
		"canonicalValues", "caseExact", "mutability", "returned", "uniqueness", "referenceTypes", "indexed")
	a := &Attribute{}
	var ok bool
	if a.Name, ok = o.text("name", true); !ok {
		return nil
	}
	if !attributeForm.MatchString(a.Name) {
		l.wrong(p.get("name").at, `%s is no attribute name; expected is a letter, then letters, digits, "-", "_" and "$"`, quote(a.Name))
	}
	a.Type = word(o, "type", String, Boolean, Decimal, Integer, DateTime, Binary, Reference, Complex)
	a.Mutability = word(o, "mutability", ReadOnly, ReadWrite, Immutable, WriteOnly)
	a.Returned = word(o, "returned", ReturnedAlways, ReturnedNever, ReturnedDefault, ReturnedRequest)
	a.Uniqueness = word(o, "uniqueness", UniqueNone, UniqueServer, UniqueGlobal)
	a.Description, _ = o.text("description", false)
	a.MultiValued, _ = o.boolean("multiValued")
	a.Required, _ = o.boolean("required")
	a.CaseExact, _ = o.boolean("caseExact")
	a.Indexed, _ = o.boolean("indexed")
	for _, v := range o.texts("canonicalValues") {
		a.CanonicalValues = append(a.CanonicalValues, v.text)
	}
	for _, v := range o.texts("referenceTypes") {
		a.ReferenceTypes = append(a.ReferenceTypes, v.text)
		l.refs = append(l.refs, typeRef{v, v.text})
	}
	if a.Type == Complex && parent == "" {
		a.Sub = l.attributes(o, "subAttributes", a.Name)
	}
	a.setDefaults()
	o.checkForm(a, parent)
	o.checkCharacteristics(a)
	if a.Type == Complex {
		o.checkComplex(a, parent)
	}
	return a
}

// at returns where a member stands, or the object if it has none.
func (o members) at(member string) int {
	if p := o.p.get(member); p != nil {
		return p.at
	}
	return o.p.at
}

func (o members) refuse(member, format string, args ...any) {
	o.l.wrong(o.at(member), o.what+": "+format, args...)
}

// checkForm checks which members go with which data type (RFC 7643 sections 2.2, 2.3 and 7).
func (o members) checkForm(a *Attribute, parent string) {
	switch {
	case a.Type == Complex && parent != "":
		o.refuse("type", "a sub-attribute cannot be complex (RFC 7643 section 2.3.8, erratum 8415)")
	case a.Type != Complex && o.p.get("subAttributes") != nil:
		o.refuse("subAttributes", `only attributes of the type "complex" have subAttributes; this one is of the type %q`, a.Type)
	}
	if a.CaseExact && a.Type != String && a.Type != Reference && a.Type != Binary {
		o.refuse("caseExact", "a value of the type %q has no case", a.Type)
	}
	if len(a.CanonicalValues) > 0 && a.Type != String && a.Type != Reference {
		o.refuse("canonicalValues", "canonicalValues are strings, and values are of the type %q", a.Type)
	}
	switch {
	case a.Type == Reference && len(a.ReferenceTypes) == 0:
		o.refuse("referenceTypes", `a reference says what it refers to; add "referenceTypes": ["external"], ["uri"] or names of resource types`)
	case a.Type != Reference && len(a.ReferenceTypes) > 0:
		o.refuse("referenceTypes", `only attributes of the type "reference" have referenceTypes; this one is of the type %q`, a.Type)
	}
	if sameName(a.Name, "$ref") && a.Type != Reference {
		o.refuse("type", `"$ref" is of the type "reference" (RFC 7643 section 2.4)`)
	}
	if parent != "" && sameName(a.Name, "primary") && (a.Type != Boolean || a.MultiValued) {
		o.refuse("type", `"primary" is a single boolean (RFC 7643 section 2.4)`)
	}
}

// checkCharacteristics checks which characteristics go together.
func (o members) checkCharacteristics(a *Attribute) {
	unique := a.Uniqueness != UniqueNone
	hidden := a.Returned == ReturnedNever || a.Mutability == WriteOnly
	switch {
	case unique && a.Type == Complex:
		o.refuse("uniqueness", "a complex attribute cannot be unique (RFC 7643 erratum 6004); one of its sub-attributes can")
	case unique && a.Type == Boolean:
		o.refuse("uniqueness", "two values cannot be unique; a boolean has no others")
	case unique && hidden:
		o.refuse("uniqueness", "what is never shown cannot be unique: a refused value would tell that somebody has it")
	}
	switch {
	case a.Indexed && (a.Type == Complex || a.Type == Binary):
		o.refuse("indexed", "an attribute of the type %q cannot be indexed", a.Type)
	case a.Indexed && hidden:
		o.refuse("indexed", "what is never shown cannot be indexed: the index would hold it in the clear")
	}
	if a.Required && a.Mutability == ReadOnly {
		o.refuse("required", "what is readOnly cannot be required: no client could give it")
	}
	if a.Mutability == WriteOnly && a.Returned != ReturnedNever {
		o.refuse("mutability", `what is writeOnly is never shown; add "returned": "never" (RFC 7643 section 7)`)
	}
	if a.Mutability == ReadOnly && a.Returned == ReturnedNever {
		o.refuse("returned", "what is readOnly and never returned cannot be of use to anybody")
	}
}

// checkComplex checks what a complex attribute and its sub-attributes say together.
func (o members) checkComplex(a *Attribute, parent string) {
	if parent != "" {
		return
	}
	for i, s := range a.Sub {
		so := members{o.l, subPlace(o.p, s, i), "attribute " + quote(a.Name+"."+s.Name)}
		if a.Returned == ReturnedNever && (s.Indexed || s.Uniqueness != UniqueNone) {
			so.refuse("indexed", "%q is never shown, and so its sub-attributes cannot be indexed or unique", a.Name)
		}
		if a.refersToMany() && (s.Indexed || s.Uniqueness != UniqueNone) {
			so.refuse("indexed", "%q refers to resources; it is found by its value at once, and nothing else of it is indexed or unique", a.Name)
		}
	}
	if !a.refersToMany() {
		return
	}
	if a.Required {
		o.refuse("required", "an attribute that refers to many resources cannot be required: they come and go with those resources")
	}
	if a.Mutability != ReadWrite && a.Mutability != ReadOnly {
		o.refuse("mutability", `an attribute that refers to many resources is "readWrite", or "readOnly" to show who refers to this one`)
	}
}

// subPlace finds where a sub-attribute is defined.
func subPlace(p *located, s *Attribute, i int) *located {
	if l := p.get("subAttributes"); l != nil {
		for _, e := range l.items {
			if n := e.get("name"); n != nil && n.text == s.Name {
				return e
			}
		}
		if i < len(l.items) {
			return l.items[i]
		}
	}
	return p
}
