package scim

import (
	"fmt"
	"slices"
	"strings"
)

// DataType is the type of an attribute (RFC 7643 section 2.3).
type DataType string

// The data types of RFC 7643 section 2.3.
const (
	String    DataType = "string"
	Boolean   DataType = "boolean"
	Decimal   DataType = "decimal"
	Integer   DataType = "integer"
	DateTime  DataType = "dateTime"
	Binary    DataType = "binary"
	Reference DataType = "reference"
	Complex   DataType = "complex"
)

// Mutability says who may change an attribute, and when (RFC 7643 section 7).
type Mutability string

// The mutability characteristics of RFC 7643 section 7.
const (
	ReadOnly  Mutability = "readOnly"
	ReadWrite Mutability = "readWrite"
	Immutable Mutability = "immutable"
	WriteOnly Mutability = "writeOnly"
)

// Returned says when an attribute is part of an answer (RFC 7643 section 7).
type Returned string

// The returned characteristics of RFC 7643 section 7.
const (
	ReturnedAlways  Returned = "always"
	ReturnedNever   Returned = "never"
	ReturnedDefault Returned = "default"
	ReturnedRequest Returned = "request"
)

// Uniqueness says over what an attribute's value is unique (RFC 7643 section 7).
type Uniqueness string

// The uniqueness characteristics of RFC 7643 section 7.
const (
	UniqueNone   Uniqueness = "none"
	UniqueServer Uniqueness = "server"
	UniqueGlobal Uniqueness = "global"
)

// Attribute is one attribute definition of a schema, with the characteristics of RFC 7643 section 2.2. It is read-only
// after the schema has been compiled, so that any number of goroutines may share it; two attributes are the same if and
// only if their pointers are.
type Attribute struct {
	Name            string
	Type            DataType
	Description     string
	MultiValued     bool
	Required        bool
	CaseExact       bool
	Mutability      Mutability
	Returned        Returned
	Uniqueness      Uniqueness
	CanonicalValues []string
	ReferenceTypes  []string
	Indexed         bool         // ours: filters and sorting on it are served by an index
	Sub             []*Attribute // sub-attributes of a complex attribute, in schema order

	parent *Attribute // complex attribute, extension or root that this one is a member of; nil for the root
	index  int        // position among the parent's Sub
	path   string     // see Path; "" before it is compiled
	byName map[string]*Attribute
	// spelled finds members by their names to the letter, which is how most are written.
	spelled map[string]*Attribute
	quoted  string   // the name as it stands in JSON before a value: "userName":
	stored  []string // what is quoted of each of Sub, unstored for one that is no part of a stored body
	schema  *Schema  // schema that defines it; nil for the common attributes of RFC 7643 section 3.1
	// demands says that something below a is required.
	demands bool
	// extension marks the member of a resource that holds the attributes of a schema extension; its Name is the URN.
	extension bool
	// linked marks an attribute whose values are links in the store and not part of the resource's body: Group.members,
	// and any attribute of a custom resource type that has the same form.
	linked bool
	// derived marks an attribute that is computed from other resources' links: User.groups.
	derived bool
	// open says that whoever sees a sees all of its value, as it is stored: nothing below a is hidden, asked for by itself, or
	// filled in from elsewhere.
	open bool
}

// Schema is a SCIM schema (RFC 7643 section 7).
type Schema struct {
	ID          string // URN, spelled as it was defined; compared without regard to case
	Name        string
	Description string
	Attributes  []*Attribute
}

// Extension is a schema extension of a resource type. Without the attributes that a Required extension demands no
// resource of the type can be stored (RFC 7643 section 6).
type Extension struct {
	Schema   *Schema
	Required bool
}

// ResourceType says where the resources of one type live and which schemas make them up (RFC 7643 section 6).
type ResourceType struct {
	ID          string
	Name        string
	Endpoint    string // with its leading slash, "/Users"
	Description string
	Schema      *Schema
	Extensions  []Extension

	// root is the complex attribute that a whole resource is a value of: the common attributes, those of Schema, and one
	// member for each extension.
	root *Attribute
	// hides says which of the common attributes, by their paths in lower case, the type does without; nil for none. See
	// Limit.
	hides func(common string) bool

	// The common attributes (RFC 7643 section 3.1), found often enough to be kept.
	schemasAttr, idAttr, externalIDAttr, metaAttr *Attribute
}

// URNs of the schemas that scimbox brings along, and of the resources that describe them.
const (
	UserURN           = "urn:ietf:params:scim:schemas:core:2.0:User"
	GroupURN          = "urn:ietf:params:scim:schemas:core:2.0:Group"
	EnterpriseUserURN = "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User"

	schemaURN       = "urn:ietf:params:scim:schemas:core:2.0:Schema"
	resourceTypeURN = "urn:ietf:params:scim:schemas:core:2.0:ResourceType"
	configURN       = "urn:ietf:params:scim:schemas:core:2.0:ServiceProviderConfig"
)

// foldName is how attribute names, URNs, operators and keywords are compared: ASCII letters without regard to case
// (RFC 7643 section 2.1). Names hold nothing but ASCII, so this is all the folding that they need.
func foldName(s string) string {
	for i := 0; i < len(s); i++ {
		if c := s[i]; 'A' <= c && c <= 'Z' {
			return asciiLower(s)
		}
	}
	return s
}

func asciiLower(s string) string {
	b := []byte(s)
	for i, c := range b {
		b[i] = lower(c)
	}
	return string(b)
}

// sub finds a sub-attribute, extension or top-level attribute by its name, without regard to case.
func (a *Attribute) sub(name string) *Attribute {
	if s := a.spelled[name]; s != nil {
		return s
	}
	return a.byName[foldName(name)]
}

// Path returns the attribute notation of a (RFC 7644 section 3.10): "name.givenName", and with its URN where a belongs
// to an extension.
func (a *Attribute) Path() string {
	if a.path != "" {
		return a.path
	}
	switch p := a.parent; {
	case p == nil || p.parent == nil && !p.extension: // top level
		return a.Name
	case p.extension:
		return p.Name + ":" + a.Name
	default:
		return p.Path() + "." + a.Name
	}
}

// readOnly says whether clients may not write a, itself or as part of a readOnly attribute.
func (a *Attribute) readOnly() bool {
	return a.Mutability == ReadOnly || a.parent != nil && a.parent.Mutability == ReadOnly
}

// value returns the sub-attribute that stands for the whole value of a multi-valued complex attribute ("emails co"
// means "emails.value co", RFC 7644 section 3.4.2.2), nil if there is none.
func (a *Attribute) value() *Attribute { return a.byName["value"] }

// setDefaults fills in what RFC 7643 section 2.2 says of characteristics that are not stated.
func (a *Attribute) setDefaults() {
	if a.Type == "" {
		a.Type = String
	}
	if a.Mutability == "" {
		a.Mutability = ReadWrite
	}
	if a.Returned == "" {
		a.Returned = ReturnedDefault
	}
	if a.Uniqueness == "" {
		a.Uniqueness = UniqueNone
	}
	if a.Type == Reference || a.Type == Binary {
		a.CaseExact = true // RFC 7643 sections 2.3.6 and 2.3.7
	}
	for _, s := range a.Sub {
		s.setDefaults()
	}
}

// compile links a's members to it. It copies nothing: an attribute belongs to one resource type, see clone.
func (a *Attribute) compile() {
	a.byName, a.spelled = make(map[string]*Attribute, len(a.Sub)), make(map[string]*Attribute, len(a.Sub))
	for i, s := range a.Sub {
		s.parent, s.index, s.path = a, i, ""
		s.path = s.Path()
		a.byName[foldName(s.Name)], a.spelled[s.Name] = s, s
		s.compile()
		a.demands = a.demands || s.Required || s.demands
	}
	a.quoted = string(append(appendText(nil, a.Name), ':'))
	a.stored = make([]string, len(a.Sub))
	for i, s := range a.Sub {
		if a.stored[i] = unstored; s.kept() {
			a.stored[i] = s.quoted
		}
	}
	a.open = (a.Returned == ReturnedDefault || a.Returned == ReturnedAlways) && !a.refers() &&
		!slices.ContainsFunc(a.Sub, func(s *Attribute) bool { return !s.open })
	if a.parent != nil && a.parent.parent == nil && a.refersToMany() {
		a.linked = a.Mutability != ReadOnly
		a.derived = a.Mutability == ReadOnly
	}
}

// refersToMany says whether a has the form of Group.members and User.groups: values that are resources, by "value" and a
// "$ref" to resource types alone.
func (a *Attribute) refersToMany() bool {
	if a.Type != Complex || !a.MultiValued {
		return false
	}
	var value, ref *Attribute
	for _, s := range a.Sub {
		switch foldName(s.Name) {
		case "value":
			value = s
		case "$ref":
			ref = s
		}
	}
	return value != nil && value.Type == String && ref != nil && ref.Type == Reference && len(ref.ReferenceTypes) > 0 &&
		!slices.Contains(ref.ReferenceTypes, "external") && !slices.Contains(ref.ReferenceTypes, "uri")
}

// clone copies a and its members, because a schema may be the extension of several resource types and each needs its
// own parent pointers.
func (a *Attribute) clone(schema *Schema) *Attribute {
	c := *a
	c.schema = schema
	c.Sub = make([]*Attribute, len(a.Sub))
	for i, s := range a.Sub {
		c.Sub[i] = s.clone(schema)
	}
	return &c
}

// compile builds the root attribute of t: the common attributes of RFC 7643 section 3.1, those of the schema, and a
// member for each extension.
func (t *ResourceType) compile() {
	t.root = &Attribute{Name: t.Name, Type: Complex, Mutability: ReadWrite, Returned: ReturnedDefault}
	common := commonAttributes()
	t.schemasAttr, t.idAttr, t.externalIDAttr, t.metaAttr = common[0], common[1], common[2], common[3]
	for _, a := range common[:3] {
		if t.hides == nil || !t.hides(foldName(a.Name)) {
			t.root.Sub = append(t.root.Sub, a)
		}
	}
	t.metaAttr.Sub = slices.DeleteFunc(t.metaAttr.Sub, func(a *Attribute) bool {
		return t.hides != nil && t.hides("meta."+foldName(a.Name))
	})
	for _, a := range t.Schema.Attributes {
		t.root.Sub = append(t.root.Sub, a.clone(t.Schema))
	}
	for _, e := range t.Extensions {
		x := &Attribute{
			Name: e.Schema.ID, Type: Complex, Mutability: ReadWrite, Returned: ReturnedDefault,
			Required: e.Required, schema: e.Schema, extension: true, Description: e.Schema.Description,
		}
		for _, a := range e.Schema.Attributes {
			x.Sub = append(x.Sub, a.clone(e.Schema))
		}
		t.root.Sub = append(t.root.Sub, x)
	}
	t.root.Sub = append(t.root.Sub, t.metaAttr)
	t.root.compile()
}

// commonAttributes returns fresh definitions of schemas, id, externalId and meta (RFC 7643 section 3.1).
func commonAttributes() []*Attribute {
	ro := func(name string, typ DataType, exact bool) *Attribute {
		return &Attribute{Name: name, Type: typ, CaseExact: exact, Mutability: ReadOnly, Returned: ReturnedDefault, Uniqueness: UniqueNone}
	}
	meta := ro("meta", Complex, false)
	meta.Description = "What the server knows of the resource: type, times, location and version."
	meta.Sub = []*Attribute{
		ro("resourceType", String, true), ro("created", DateTime, false), ro("lastModified", DateTime, false),
		ro("location", Reference, true), ro("version", String, true),
	}
	meta.Sub[3].ReferenceTypes = []string{"uri"}
	return []*Attribute{
		{Name: "schemas", Type: Reference, ReferenceTypes: []string{"uri"}, MultiValued: true, Required: true, CaseExact: false,
			Mutability: ReadWrite, Returned: ReturnedAlways, Uniqueness: UniqueNone, Description: "URNs of the schemas that the resource is made of."},
		{Name: "id", Type: String, CaseExact: true, Mutability: ReadOnly, Returned: ReturnedAlways, Uniqueness: UniqueServer,
			Description: "The server's name for the resource; never changed, never used again."},
		{Name: "externalId", Type: String, CaseExact: true, Mutability: ReadWrite, Returned: ReturnedDefault, Uniqueness: UniqueNone, Indexed: true,
			Description: "The client's name for the resource."},
		meta,
	}
}

// Types holds the compiled schemas and resource types of a server; read-only, safe for concurrent use.
type Types struct {
	Schemas       []*Schema       // in the order of /Schemas
	ResourceTypes []*ResourceType // in the order of /ResourceTypes: User first, Entra reads it so

	byEndpoint map[string]*ResourceType
	byName     map[string]*ResourceType
	bySchema   map[string]*Schema
	references map[string][]reference // to resources of a type, by its name
}

// reference is a linked attribute of a resource type.
type reference struct {
	from *ResourceType
	attr *Attribute
}

// ByEndpoint finds the resource type that lives at a path segment ("Users"), without regard to case; nil if none does.
func (t *Types) ByEndpoint(segment string) *ResourceType { return t.byEndpoint[foldName(segment)] }

// ByName finds a resource type by its name ("User"), without regard to case; nil if there is none.
func (t *Types) ByName(name string) *ResourceType { return t.byName[foldName(name)] }

// Schema finds a schema by its URN, without regard to case; nil if there is none.
func (t *Types) Schema(id string) *Schema { return t.bySchema[foldName(id)] }

func newTypes(schemas []*Schema, types []*ResourceType) (*Types, error) {
	t := &Types{
		Schemas: schemas, ResourceTypes: types,
		byEndpoint: map[string]*ResourceType{}, byName: map[string]*ResourceType{}, bySchema: map[string]*Schema{},
		references: map[string][]reference{},
	}
	for _, s := range schemas {
		if t.bySchema[foldName(s.ID)] != nil {
			return nil, fmt.Errorf("schema %q is defined twice", s.ID)
		}
		t.bySchema[foldName(s.ID)] = s
		for _, a := range s.Attributes {
			a.setDefaults()
		}
	}
	for _, r := range types {
		segment := foldName(strings.TrimPrefix(r.Endpoint, "/"))
		if t.byEndpoint[segment] != nil {
			return nil, fmt.Errorf("endpoint %q belongs to two resource types, %s and %s", r.Endpoint, t.byEndpoint[segment].Name, r.Name)
		}
		if t.byName[foldName(r.Name)] != nil {
			return nil, fmt.Errorf("resource type %q is defined twice", r.Name)
		}
		r.compile()
		t.byEndpoint[segment], t.byName[foldName(r.Name)] = r, r
		for _, a := range r.root.Sub {
			if !a.linked {
				continue
			}
			for _, kind := range a.kinds() {
				t.references[kind] = append(t.references[kind], reference{r, a})
			}
		}
	}
	return t, nil
}
