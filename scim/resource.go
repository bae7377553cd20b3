package scim

import "scimbox/storage"

// Resource is one resource of a type. Its attributes are in Object, apart from the linked and derived ones (Group.members,
// User.groups) of a stored resource, which stay in the store until somebody asks for them.
type Resource struct {
	Type   *ResourceType
	ID     string
	Stamp  storage.Stamp
	Object *Object     // nil of one that is shown straight from its stored body
	stored *storedBody // valid until the transaction ends
	base   string      // URL that locations start with, of one that has stored
	where  string      // its location, once somebody has asked

	// load fetches the values of a linked or derived attribute, or only the one whose "value" is id if id is not "". It
	// is nil where Object holds these attributes too: in what a client sent.
	load func(a *Attribute, id string) (Value, error)
	// resolve fills in what follows from the resource that a reference names (manager.displayName). May be nil.
	resolve func(a *Attribute, v Value) (Value, error)
}

// Value returns the value of a top-level attribute or extension, fetching it if it is kept as links.
func (r *Resource) Value(a *Attribute) (Value, error) {
	if (a.linked || a.derived) && r.load != nil {
		return r.load(a, "")
	}
	return r.own(a), nil
}

// linkedValue is Value for a linked or derived attribute when only the element whose "value" is id matters: a point
// read instead of a million.
func (r *Resource) linkedValue(a *Attribute, id string) (Value, error) {
	if r.load != nil {
		return r.load(a, id)
	}
	return r.own(a), nil
}

// location is where the resource is found, by the URL that locations start with.
func (r *Resource) location(base string) string {
	if r.where == "" {
		r.where = location(base, r.Type, r.ID)
	}
	return r.where
}
