package scim

import (
	"embed"
	"errors"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
)

// The schemas and resource types that scimbox brings along: RFC 7643 section 8.7 with its errata
// (docs/decisions/0046-the-core-schemas.md), and what an index serves.
//
//go:embed schemas/*.json
var builtin embed.FS

// builtinFiles are the files of builtin in the order of /Schemas.
var builtinFiles = []string{"schemas/user.json", "schemas/group.json", "schemas/enterpriseuser.json", "schemas/resourcetypes.json"}

// NewTypes compiles the schemas and resource types that scimbox brings along, and those of schemaFile unless it is "".
// The form of the file is told in docs/schemas.md. If something is wrong with its contents the error is a
// *SchemaFileError that names every problem with its line.
func NewTypes(schemaFile string) (*Types, error) {
	l := &loader{extends: map[*ResourceType][]extensionRef{}, schemaAt: map[*Schema]*located{}}
	for _, name := range builtinFiles {
		data, err := builtin.ReadFile(name)
		if err != nil {
			return nil, err
		}
		if err := l.file(name, data); err != nil {
			return nil, err
		}
		if err := l.failed(); err != nil {
			return nil, err
		}
	}
	if err := l.resolve(); err != nil {
		return nil, err
	}
	for _, s := range l.schemas {
		l.brought = append(l.brought, s.ID)
	}
	if schemaFile != "" {
		data, err := os.ReadFile(schemaFile)
		if err != nil {
			return nil, fmt.Errorf("cannot read the custom schemas: %w", err)
		}
		if err := l.file(schemaFile, data); err != nil {
			return nil, err
		}
		if err := l.resolve(); err != nil {
			return nil, err
		}
	}
	return newTypes(l.schemas, l.types)
}

// loader gathers schemas and resource types, file by file: file reads one, resolve joins what its parts say of each other.
type loader struct {
	schemas []*Schema
	types   []*ResourceType
	brought []string // URNs that no file of an operator may define again

	// Of the file that is being read.
	name     string
	data     []byte
	problems []SchemaProblem
	schemaAt map[*Schema]*located
	extends  map[*ResourceType][]extensionRef
	bases    []baseRef
	refs     []typeRef
	wanted   []wantedBy
	broken   []brokenType
}

// extensionRef is a schemaExtensions entry whose schema may be defined later in the file.
type extensionRef struct {
	at       *located
	urn      string
	required bool
}

// baseRef is a resource type whose schema may be defined later in the file.
type baseRef struct {
	t   *ResourceType
	at  *located
	urn string
}

// typeRef is a mention of a resource type that may be defined later in the file.
type typeRef struct {
	at   *located
	name string
}

// brokenType is a resource type that was refused. What else the file says of it is not held against the file again.
type brokenType struct{ name, urn string }

// wantedBy is a schema that says itself which resource type it extends.
type wantedBy struct {
	typeRef
	schema   *Schema
	required bool
}

func (l *loader) wrong(at int, format string, args ...any) {
	line, column := lineColumn(l.data, at)
	l.problems = append(l.problems, SchemaProblem{line, column, fmt.Sprintf(format, args...)})
}

// failed returns the problems found so far as an error, nil if there are none.
func (l *loader) failed() error {
	if len(l.problems) == 0 {
		return nil
	}
	return &SchemaFileError{File: l.name, Problems: sortProblems(l.problems)}
}

// file reads one file: a single Schema resource, or an object of "schemas" and "resourceTypes". It returns an error if the
// file cannot be read at all; what else is wrong with it is gathered for failed and resolve.
func (l *loader) file(name string, data []byte) error {
	l.name, l.data, l.problems = name, data, nil
	l.bases, l.refs, l.wanted, l.broken = nil, nil, nil, nil
	clear(l.extends)
	root, err := readLocated(data)
	var pe *locatedError
	if errors.As(err, &pe) {
		l.wrong(pe.at, "%s", pe.text)
		return l.failed()
	}
	schemas := root.get("schemas")
	switch {
	case root.kind != '{':
		l.wrong(root.at, `the file is %s; expected is an object with "schemas" and "resourceTypes", or one Schema resource`, root.found())
	case root.get("attributes") != nil || root.get("id") != nil || schemas != nil && len(schemas.items) > 0 && schemas.items[0].kind == '"':
		l.schema(root, name != "" && !slices.Contains(builtinFiles, name))
	default:
		o := l.object(root, "the file", "schemas", "resourceTypes")
		for _, p := range o.objects("schemas") {
			l.schema(p, false)
		}
		for _, p := range o.objects("resourceTypes") {
			l.resourceType(p)
		}
		if schemas == nil && root.get("resourceTypes") == nil && len(l.problems) == 0 {
			l.wrong(root.at, `the file has neither "schemas" nor "resourceTypes", so that it says nothing`)
		}
	}
	return nil
}

// The forms of names. What RFC 7643 section 2.1 allows in attribute names excludes "$ref", which RFC 7643 itself uses: a
// leading "$" is allowed.
var (
	urnForm       = regexp.MustCompile(`^(?i:urn):[A-Za-z0-9][A-Za-z0-9-]{0,31}:[A-Za-z0-9()+,\-.:=@;$_!*'%]+[A-Za-z0-9)]$`)
	attributeForm = regexp.MustCompile(`^[A-Za-z$][A-Za-z0-9$_-]*$`)
	typeNameForm  = regexp.MustCompile(`^[A-Z][A-Za-z0-9]*$`)
	endpointForm  = regexp.MustCompile(`^/[A-Za-z][A-Za-z0-9_-]*$`)
)

// takenEndpoints are those that RFC 7644 section 3.2 has another use for.
var takenEndpoints = []string{"/Schemas", "/ResourceTypes", "/ServiceProviderConfig", "/Bulk", "/Me"}

// takenNames are resource types of the protocol itself.
var takenNames = []string{"Schema", "ResourceType", "ServiceProviderConfig"}

// schema reads a Schema resource. alone says that it is the whole file, and then it extends User unless it says otherwise.
func (l *loader) schema(p *located, alone bool) {
	id := ""
	if n := p.get("id"); n != nil {
		id = n.text
	}
	o := l.object(p, "schema "+quote(id), "schemas", "id", "name", "description", "attributes", "meta", "extends", "extensionRequired")
	s := &Schema{}
	var ok bool
	if s.ID, ok = o.text("id", true); ok && !urnForm.MatchString(s.ID) {
		l.wrong(p.get("id").at, `%s is no URN; a schema's id has the form "urn:example:params:scim:schemas:extension:acme:2.0:User"`, quote(s.ID))
	}
	s.Name, _ = o.text("name", false)
	s.Description, _ = o.text("description", false)
	if s.Name == "" {
		s.Name = s.ID[strings.LastIndexByte(s.ID, ':')+1:]
	}
	o.urns("schemas", schemaURN)
	switch {
	case slices.ContainsFunc(l.brought, func(b string) bool { return sameName(b, s.ID) }):
		l.wrong(p.get("id").at, "the schema %s comes with scimbox and cannot be changed; an extension can add attributes to it", quote(s.ID))
		return
	case s.ID != "" && l.schemaByID(s.ID) != nil:
		l.wrong(p.get("id").at, "the schema %s is defined twice; case makes no difference", quote(s.ID))
		return
	}
	l.schemas = append(l.schemas, s)
	l.schemaAt[s] = p
	s.Attributes = l.attributes(o, "attributes", "")
	required, _ := o.boolean("extensionRequired")
	said := p.get("extends")
	for _, t := range o.texts("extends") {
		l.wanted = append(l.wanted, wantedBy{typeRef{t, t.text}, s, required})
	}
	switch {
	case said == nil && alone:
		l.wanted = append(l.wanted, wantedBy{typeRef{p, "User"}, s, required})
	case said == nil && p.get("extensionRequired") != nil:
		l.wrong(p.get("extensionRequired").at, `"extensionRequired" has a meaning only beside "extends"`)
	}
}

func (l *loader) schemaByID(id string) *Schema {
	for _, s := range l.schemas {
		if sameName(s.ID, id) {
			return s
		}
	}
	return nil
}

func (l *loader) typeByName(name string) *ResourceType {
	for _, t := range l.types {
		if t.Name == name {
			return t
		}
	}
	return nil
}

func (l *loader) typeNames() []string {
	var names []string
	for _, t := range l.types {
		names = append(names, t.Name)
	}
	return names
}

// resourceType reads a ResourceType resource: a new type, or extensions for one that is there already.
func (l *loader) resourceType(p *located) {
	name := ""
	if n := p.get("name"); n != nil {
		name = n.text
	}
	o := l.object(p, "resource type "+quote(name), "schemas", "id", "name", "endpoint", "description", "schema", "schemaExtensions", "meta")
	o.urns("schemas", resourceTypeURN)
	name, ok := o.text("name", true)
	id, _ := o.text("id", false)
	if ok && id != "" && id != name {
		l.wrong(p.get("id").at, `the id of a resource type is its name, %s; leave "id" out`, quote(name))
	}
	t := l.typeByName(name)
	if t == nil {
		if t = l.newType(o, p, name); t == nil {
			return
		}
	} else {
		for member, is := range map[string]string{"endpoint": t.Endpoint, "schema": baseOf(t)} {
			if v, ok := o.text(member, false); ok && is != "" && !sameName(v, is) {
				l.wrong(p.get(member).at, "the %s of %s is %q and cannot be changed; an entry for a resource type that is there already can only add to its schemaExtensions", member, name, is)
			}
		}
	}
	for _, e := range o.objects("schemaExtensions") {
		x := l.object(e, o.what+": schemaExtensions", "schema", "required")
		urn, ok := x.text("schema", true)
		required, _ := x.boolean("required")
		if ok {
			l.extends[t] = append(l.extends[t], extensionRef{e.get("schema"), urn, required})
		}
	}
}

func baseOf(t *ResourceType) string {
	if t.Schema == nil {
		return ""
	}
	return t.Schema.ID
}

func (l *loader) newType(o members, p *located, name string) *ResourceType {
	t := &ResourceType{ID: name, Name: name}
	problems := len(l.problems)
	if name != "" && !typeNameForm.MatchString(name) {
		l.wrong(p.get("name").at, `%s is no name for a resource type; expected is a capital letter, then letters and digits, such as "Device"`, quote(name))
	}
	if slices.ContainsFunc(takenNames, func(n string) bool { return sameName(n, name) }) {
		l.wrong(p.get("name").at, "a resource type named %s is part of SCIM itself", quote(name))
	}
	var ok bool
	if t.Endpoint, ok = o.text("endpoint", true); ok {
		at := p.get("endpoint").at
		switch {
		case !endpointForm.MatchString(t.Endpoint):
			l.wrong(at, `%s is no endpoint; expected is a slash and one path segment, such as "/Devices"`, quote(t.Endpoint))
		case slices.ContainsFunc(takenEndpoints, func(e string) bool { return sameName(e, t.Endpoint) }):
			l.wrong(at, "the endpoint %s is part of SCIM itself", quote(t.Endpoint))
		}
	}
	for _, other := range l.types {
		if sameName(other.Name, name) {
			l.wrong(p.get("name").at, "the resource type %s differs from %q only in case", quote(name), other.Name)
		}
		if t.Endpoint != "" && sameName(other.Endpoint, t.Endpoint) {
			l.wrong(p.get("endpoint").at, "the endpoint %s belongs to the resource type %q already", quote(t.Endpoint), other.Name)
		}
	}
	t.Description, _ = o.text("description", false)
	urn, ok := o.text("schema", true)
	if ok {
		l.bases = append(l.bases, baseRef{t, p.get("schema"), urn})
	}
	if !ok || len(l.problems) > problems {
		l.broken = append(l.broken, brokenType{name, urn})
		return nil
	}
	l.types = append(l.types, t)
	return t
}

// resolve joins the resource types of the file to their schemas, and checks what needs all of them.
func (l *loader) resolve() error {
	used := map[*Schema]bool{}
	var ids []string
	for _, s := range l.schemas {
		ids = append(ids, s.ID)
	}
	for _, b := range l.bases {
		if b.t.Schema = l.schemaByID(b.urn); b.t.Schema == nil {
			l.wrong(b.at.at, "resource type %q: there is no schema %s%s", b.t.Name, quote(b.urn), didYouMean(b.urn, ids))
			continue
		}
		used[b.t.Schema] = true
		l.checkBase(b)
	}
	for _, w := range l.wanted {
		used[w.schema] = true
		t := l.typeByName(w.name)
		if t == nil {
			if l.isBroken(w.name) {
				continue
			}
			l.wrong(w.at.at, "schema %s extends %s, and there is no such resource type%s", quote(w.schema.ID), quote(w.name), didYouMean(w.name, l.typeNames()))
			continue
		}
		l.extend(t, w.at, w.schema, w.required)
	}
	for _, t := range l.types {
		for _, e := range l.extends[t] {
			s := l.schemaByID(e.urn)
			if s == nil {
				l.wrong(e.at.at, "resource type %q: there is no schema %s%s", t.Name, quote(e.urn), didYouMean(e.urn, ids))
				continue
			}
			used[s] = true
			l.extend(t, e.at, s, e.required)
		}
	}
	kinds := append([]string{"external", "uri"}, l.typeNames()...)
	for _, r := range l.refs {
		if !slices.Contains(kinds, r.name) && !l.isBroken(r.name) {
			l.wrong(r.at.at, "%s is no resource type%s", quote(r.name), didYouMean(r.name, kinds))
		}
	}
	for _, b := range l.broken {
		if s := l.schemaByID(b.urn); s != nil {
			used[s] = true
		}
	}
	for _, s := range l.schemas {
		if slices.Contains(builtinFiles, l.name) || slices.Contains(l.brought, s.ID) || s.ID == "" {
			continue
		}
		if !used[s] {
			l.wrong(l.schemaAt[s].at, `no resource type has the schema %s; name it in a resourceTypes entry, or say what it extends: "extends": "User"`, quote(s.ID))
		}
		l.checkPaths(s)
	}
	return l.failed()
}

func (l *loader) isBroken(name string) bool {
	return slices.ContainsFunc(l.broken, func(b brokenType) bool { return b.name == name })
}

// extend adds a schema extension to t, or changes whether it is required.
func (l *loader) extend(t *ResourceType, at *located, s *Schema, required bool) {
	if t.Schema == s {
		l.wrong(at.at, "%s is the schema of the resource type %q and cannot extend it too", quote(s.ID), t.Name)
		return
	}
	if slices.ContainsFunc(s.Attributes, func(a *Attribute) bool { return sameName(a.Name, "password") }) {
		l.wrong(at.at, `the schema %s has a "password", and extends %q: only that of a resource type's own schema is kept as a hash; take it out of the extension`, quote(s.ID), t.Name)
	}
	for i := range t.Extensions {
		if t.Extensions[i].Schema == s {
			t.Extensions[i].Required = required
			return
		}
	}
	t.Extensions = append(t.Extensions, Extension{s, required})
}

// checkBase refuses attributes that every resource has anyway (RFC 7643 section 3.1).
func (l *loader) checkBase(b baseRef) {
	for _, a := range b.t.Schema.Attributes {
		if a.Required && a.secret() {
			l.wrong(b.at.at, "resource type %q: %q of its schema is kept as a hash and cannot be required: a PUT leaves it out", b.t.Name, a.Name)
		}
		for _, c := range commonAttributes() {
			if sameName(a.Name, c.Name) {
				l.wrong(b.at.at, "resource type %q: its schema defines %q, which every resource has by RFC 7643 section 3.1; take it out of the schema", b.t.Name, a.Name)
			}
		}
	}
}

// checkPaths refuses a URN that could be read as an attribute of another schema: "urn:a:b" with an attribute "c" beside
// the schema "urn:a:b:c".
func (l *loader) checkPaths(s *Schema) {
	for _, other := range l.schemas {
		for _, a := range other.Attributes {
			if sameName(other.ID+":"+a.Name, s.ID) {
				l.wrong(l.schemaAt[s].get("id").at, "%s could be the schema or the attribute %q of the schema %q; choose another id", quote(s.ID), a.Name, other.ID)
			}
		}
	}
}
