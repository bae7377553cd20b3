package scim

import (
	"fmt"
	"slices"
	"sort"
	"strings"
)

// quirks are the deviations from the RFCs that a request is allowed. The zero value allows none. A quirk is asked only
// where the RFC's reading of a request fails, so that it can never change what a valid request means; the three that do
// change it say so, and are off unless an operator or a preset asks for them. Who sends what is told in docs/clients.
type quirks struct {
	textBooleans     bool // "True" for true: Entra's active, roles[primary eq "True"]
	emptyText        bool // "" unassigns: Entra's and the gallery's way to clear an attribute
	bareValues       bool // "x" for {"value": "x"}: Entra's manager, members as plain strings
	soleElements     bool // one value for a list of one (Rippling), and a list of one for a single value (manager)
	managerID        bool // {"managerId": "x"}: OneLogin's template
	foreignSchemas   bool // schemas names URNs of nobody's, or nothing at all: OneLogin's 1.1 template, Entra's group URN
	missingSchemas   bool // a message without its schemas member
	createsOnReplace bool // replace with a value path that matches nothing creates the element: Entra, every day
	lastPrimaryWins  bool // two primary values in one body: the last one stays primary (Entra)
	dottedURNs       bool // urn:...:User.manager: Entra's job from before December 2018
	bareExtensions   bool // manager for urn:...:User:manager
	bareWords        bool // filter values without quotes: old Postman collections
	capitalLiterals  bool // True and FALSE in filters
	complexValues    bool // manager eq "x", members eq "x": Entra's reference checks
	valuePathSubs    bool // emails[type eq "work"].value eq "x" in a filter: Entra's matching property
	removesListed    bool // remove with a list of values removes those, and pathless too (Entra's roles, WSO2, Salesforce)
	ownID            bool // a pathless PATCH that repeats the resource's own id (Okta, authentik)
	foreignNames     bool // names in attributes, excludedAttributes that no schema has

	// These change what a valid request means.
	unknownPaths      bool // a PATCH operation on an attribute that no schema has is left out instead of refused
	dropMembers       bool // members that no resource has the id of are left out
	singleReplaceAdds bool // replace members by exactly one value adds it (Microsoft's validator)

	// This changes an answer, into one that says the same (RFC 7643 section 2.5).
	emptyMembers bool // a group without members has "members": []: authentik refills one only if it sees the list
}

// tolerant is what a client is allowed unless its token's preset says otherwise. One Entra tenant sends several dialects
// to one endpoint, so that they are told apart by request and not by client.
var tolerant = quirks{
	textBooleans: true, emptyText: true, bareValues: true, soleElements: true, managerID: true, foreignSchemas: true,
	missingSchemas: true, createsOnReplace: true, lastPrimaryWins: true, dottedURNs: true, bareExtensions: true,
	bareWords: true, capitalLiterals: true, complexValues: true, valuePathSubs: true, removesListed: true, ownID: true, foreignNames: true,
}

// presets are the named sets of quirks that a token can be given.
var presets = map[string]quirks{
	"standard":  {},
	"auto":      tolerant,
	"entra":     tolerant.with(func(q *quirks) { q.unknownPaths = true }),
	"okta":      tolerant.with(func(q *quirks) { q.dropMembers = true }),
	"onelogin":  tolerant,
	"jumpcloud": tolerant,
	"google":    tolerant,
	"ping":      tolerant,
	"keycloak":  tolerant,
	"authentik": tolerant.with(func(q *quirks) { q.emptyMembers = true }),
	"rippling":  tolerant,
	"sailpoint": tolerant,
	"entra-validator": tolerant.with(func(q *quirks) {
		q.unknownPaths, q.singleReplaceAdds = true, true
	}),
}

func (q quirks) with(change func(*quirks)) quirks {
	change(&q)
	return q
}

// Presets returns the names of the presets, sorted.
func Presets() []string {
	var names []string
	for name := range presets {
		names = append(names, name)
	}
	sort.Strings(names)
	return names
}

// ValidPreset returns an error that lists the presets unless name is one of them or "".
func ValidPreset(name string) error {
	if _, ok := presets[name]; ok || name == "" {
		return nil
	}
	return fmt.Errorf("there is no preset %q; there are %s", name, strings.Join(Presets(), ", "))
}

// quirksFor returns what a caller is allowed: nothing when the server is strict, else what its preset says.
func quirksFor(c Caller, o Options) quirks {
	if o.Strict {
		return quirks{}
	}
	q, ok := presets[c.Preset]
	if !ok {
		q = tolerant
	}
	if o.SingleReplaceAdds && c.Preset != "standard" {
		q.singleReplaceAdds = true
	}
	return q
}

func (q quirks) filterOptions() FilterOptions {
	return FilterOptions{ValuePathSub: q.valuePathSubs, BareWords: q.bareWords, CapitalLiterals: q.capitalLiterals}
}

func (q quirks) bindOptions() BindOptions {
	return BindOptions{
		DotAfterURN: q.dottedURNs, BareExtension: q.bareExtensions, BooleanText: q.textBooleans, ComplexValue: q.complexValues,
	}
}

// textBoolean reads "True" and "false" as the booleans that Entra and Keycloak mean by them.
func (q quirks) textBoolean(n *node) (value, ok bool) {
	if !q.textBooleans || n.kind != '"' {
		return false, false
	}
	switch foldName(n.text) {
	case "true":
		return true, true
	case "false":
		return false, true
	}
	return false, false
}

// emptied says whether n is the empty text by which Entra and OneLogin unassign an attribute.
func (q quirks) emptied(n *node) bool { return q.emptyText && n.kind == '"' && n.text == "" }

// bareValue turns "x" into {"value": "x"} for an attribute that has a sub-attribute of that name.
func (q quirks) bareValue(a *Attribute, n *node) *node {
	if !q.bareValues || n.kind != '"' || a.value() == nil || a.value().Type == Complex {
		return n
	}
	return &node{kind: '{', members: []member{{"value", n}}}
}

// soleElement takes one value for a list that holds only it.
func (q quirks) soleElement(a *Attribute, n *node) []*node {
	fits := n.kind == '{' && a.Type == Complex || n.kind == '"' && (a.Type != Complex || a.value() != nil)
	if !q.soleElements || !fits {
		return nil
	}
	return []*node{n}
}

// listForSingle takes the only element of a list for a single complex value: [{"value": "x"}] for a manager.
func (q quirks) listForSingle(a *Attribute, n *node) *node {
	if !q.soleElements || n.kind != '[' || a.Type != Complex || a.value() == nil {
		return n
	}
	switch len(n.items) {
	case 0:
		return &node{kind: 'n'}
	case 1:
		return n.items[0]
	}
	return n
}

// renamed finds the sub-attribute that OneLogin's template calls managerId.
func (q quirks) renamed(a *Attribute, name string) *Attribute {
	if q.managerID && sameName(name, a.Name+"Id") {
		return a.value()
	}
	return nil
}

// addsInstead says whether a replace of members by exactly one value is meant as an add (docs/clients/entra.md).
func (q quirks) addsInstead(a *Attribute, v Value) bool {
	return q.singleReplaceAdds && a.linked && len(v.list) == 1
}

// newElement makes the element that a value path describes, if it is described in full: by eq terms that are joined by
// and. `phoneNumbers[type eq "mobile"]` becomes {"type": "mobile"}.
func newElement(where *Filter) (Value, bool) {
	o := &Object{}
	if !fillFrom(o, where) {
		return Value{}, false
	}
	return objectValue(o), true
}

func fillFrom(o *Object, f *Filter) bool {
	switch f.Op {
	case OpAnd:
		return !slices.ContainsFunc(f.Args, func(g *Filter) bool { return !fillFrom(o, g) })
	case OpEq:
		a := f.Path.Sub
		if a == nil {
			a = f.Path.Attr
		}
		v := f.Value
		if a == nil || !v.assigned() || o.Get(a).assigned() || a.Type == Integer && strings.ContainsAny(v.text, ".eE") {
			return false
		}
		o.Set(a, v.Clone())
		return true
	}
	return false
}
