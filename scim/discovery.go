package scim

import (
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
)

// discovery returns what a GET on /ServiceProviderConfig, /ResourceTypes or /Schemas is answered (RFC 7644 section 4): segments
// are those of the path below BasePath, base is the URL of BasePath. Paging, sorting and projection are ignored there, and
// a filter is refused, so that nobody takes a list for the answer to one; the RFC asks for both.
func discovery(types *Types, o Options, base string, segments []string, params parameters) ([]byte, error) {
	if _, filtered := params.lookUp("filter"); filtered {
		return nil, &Error{Status: http.StatusForbidden, Detail: fmt.Sprintf("a filter is not permitted on /%s, which is always answered whole (RFC 7644 section 4)", clip(segments[0]))}
	}
	return discoveryJSON(types, o.withDefaults(), base, segments)
}

func discoveryJSON(types *Types, o Options, base string, segments []string) ([]byte, error) {
	name, one := segments[0], ""
	if len(segments) == 2 {
		one = segments[1]
	}
	switch {
	case len(segments) > 2 || one != "" && sameName(name, "ServiceProviderConfig"):
		return nil, unknownEndpoint(BasePath + "/" + strings.Join(segments, "/"))
	case sameName(name, "ServiceProviderConfig"):
		return appendConfig(nil, o, base), nil
	case sameName(name, "ResourceTypes"):
		if one == "" {
			return listOf(len(types.ResourceTypes), func(b []byte, i int) []byte { return appendResourceType(b, types.ResourceTypes[i], base) }), nil
		}
		if t := types.ByName(one); t != nil {
			return appendResourceType(nil, t, base), nil
		}
		known := make([]string, len(types.ResourceTypes))
		for i, t := range types.ResourceTypes {
			known[i] = t.Name
		}
		return nil, &Error{Status: http.StatusNotFound, Detail: fmt.Sprintf("there is no resource type %s%s", quote(one), didYouMean(one, known))}
	default:
		if one == "" {
			return listOf(len(types.Schemas), func(b []byte, i int) []byte { return appendSchema(b, types.Schemas[i], o, base) }), nil
		}
		if s := types.Schema(one); s != nil {
			return appendSchema(nil, s, o, base), nil
		}
		known := make([]string, len(types.Schemas))
		for i, s := range types.Schemas {
			known[i] = s.ID
		}
		return nil, &Error{Status: http.StatusNotFound, Detail: fmt.Sprintf("there is no schema %s%s", quote(one), didYouMean(one, known))}
	}
}

// listOf is the ListResponse of n resources, all on one page.
func listOf(n int, resource func(b []byte, i int) []byte) []byte {
	b := append([]byte(nil), `{"schemas":["`+listURN+`"],"totalResults":`...)
	b = strconv.AppendInt(b, int64(n), 10)
	b = append(b, `,"itemsPerPage":`...)
	b = strconv.AppendInt(b, int64(n), 10)
	b = append(b, `,"startIndex":1,"Resources":[`...)
	for i := range n {
		if i > 0 {
			b = append(b, ',')
		}
		b = resource(b, i)
	}
	return append(b, ']', '}')
}

// jsonWriter writes the members of an object one after another.
type jsonWriter struct {
	b     []byte
	comma bool
}

func (w *jsonWriter) name(name string) {
	if w.comma {
		w.b = append(w.b, ',')
	}
	w.comma = true
	w.b = append(appendText(w.b, name), ':')
}

func (w *jsonWriter) text(name, v string) {
	w.name(name)
	w.b = appendText(w.b, v)
}

// optional leaves out what has no value: a null or an empty string would be one more thing for a client to stumble over.
func (w *jsonWriter) optional(name, v string) {
	if v != "" {
		w.text(name, v)
	}
}

func (w *jsonWriter) boolean(name string, v bool) {
	w.name(name)
	w.b = strconv.AppendBool(w.b, v)
}

func (w *jsonWriter) integer(name string, v int64) {
	w.name(name)
	w.b = strconv.AppendInt(w.b, v, 10)
}

func (w *jsonWriter) texts(name string, l []string) {
	if len(l) == 0 {
		return
	}
	w.name(name)
	for i, s := range l {
		w.b = append(w.b, "[,"[min(i, 1)])
		w.b = appendText(w.b, s)
	}
	w.b = append(w.b, ']')
}

func (w *jsonWriter) object(name string, write func(w *jsonWriter)) {
	if name != "" {
		w.name(name)
	} else if w.comma {
		w.b = append(w.b, ',')
	}
	w.b = append(w.b, '{')
	w.comma = false
	write(w)
	w.b = append(w.b, '}')
	w.comma = true
}

func (w *jsonWriter) array(name string, write func(w *jsonWriter)) {
	w.name(name)
	w.b = append(w.b, '[')
	w.comma = false
	write(w)
	w.b = append(w.b, ']')
	w.comma = true
}

func (w *jsonWriter) meta(resourceType, location string) {
	w.object("meta", func(w *jsonWriter) {
		w.text("resourceType", resourceType)
		w.text("location", location)
	})
}

func appendObject(b []byte, write func(w *jsonWriter)) []byte {
	w := &jsonWriter{b: b}
	w.object("", write)
	return w.b
}

// appendConfig appends the service provider configuration (RFC 7643 section 5, RFC 9865 section 4). Every member is
// always there: authentik and others take a missing one for a broken server.
func appendConfig(b []byte, o Options, base string) []byte {
	return appendObject(b, func(w *jsonWriter) {
		supported := func(name string, is bool) {
			w.object(name, func(w *jsonWriter) { w.boolean("supported", is) })
		}
		w.texts("schemas", []string{configURN})
		supported("patch", true)
		w.object("bulk", func(w *jsonWriter) {
			w.boolean("supported", true)
			w.integer("maxOperations", int64(o.BulkMaxOperations))
			w.integer("maxPayloadSize", o.BulkMaxPayload)
		})
		w.object("filter", func(w *jsonWriter) {
			w.boolean("supported", true)
			w.integer("maxResults", int64(o.MaxResults))
		})
		supported("changePassword", o.Password != "refuse")
		supported("sort", true)
		supported("etag", true)
		w.object("pagination", func(w *jsonWriter) {
			w.boolean("cursor", true)
			w.boolean("index", true)
			w.text("defaultPaginationMethod", "index")
			w.integer("defaultPageSize", int64(o.DefaultResults))
			w.integer("maxPageSize", int64(o.MaxResults))
			w.integer("cursorTimeout", int64(o.CursorTimeout.Seconds()))
		})
		w.array("authenticationSchemes", func(w *jsonWriter) {
			w.object("", func(w *jsonWriter) {
				w.text("type", "oauthbearertoken")
				w.text("name", "OAuth Bearer Token")
				w.text("description", "A token made with `scimbox token create`, sent as \"Authorization: Bearer <token>\"")
				w.text("specUri", "https://www.rfc-editor.org/info/rfc6750")
				w.boolean("primary", true)
			})
			if o.TokenEndpoint != "" {
				w.object("", func(w *jsonWriter) {
					w.text("type", "oauth2")
					w.text("name", "OAuth 2.0 Client Credentials")
					w.text("description", "An access token of one hour from POST "+o.TokenEndpoint+", sent as \"Authorization: Bearer <token>\"; for clients made with `scimbox client create`")
					w.text("specUri", "https://www.rfc-editor.org/info/rfc6749")
					w.boolean("primary", false)
				})
			}
			w.object("", func(w *jsonWriter) {
				w.text("type", "httpbasic")
				w.text("name", "HTTP Basic")
				w.text("description", "The same token as the password, with any user name")
				w.text("specUri", "https://www.rfc-editor.org/info/rfc7617")
				w.boolean("primary", false)
			})
		})
		w.meta("ServiceProviderConfig", base+"/ServiceProviderConfig")
	})
}

// appendResourceType appends a ResourceType resource (RFC 7643 section 6).
func appendResourceType(b []byte, t *ResourceType, base string) []byte {
	return appendObject(b, func(w *jsonWriter) {
		w.texts("schemas", []string{resourceTypeURN})
		w.text("id", t.ID)
		w.text("name", t.Name)
		w.text("endpoint", t.Endpoint)
		w.optional("description", t.Description)
		w.text("schema", t.Schema.ID)
		if len(t.Extensions) > 0 {
			w.array("schemaExtensions", func(w *jsonWriter) {
				for _, e := range t.Extensions {
					w.object("", func(w *jsonWriter) {
						w.text("schema", e.Schema.ID)
						w.boolean("required", e.Required)
					})
				}
			})
		}
		w.meta("ResourceType", base+"/ResourceTypes/"+t.ID)
	})
}

// appendSchema appends a Schema resource (RFC 7643 section 7). It tells what this server does, which depends on its
// options: without passwords there is no password, and where group names are unique displayName is.
func appendSchema(b []byte, s *Schema, o Options, base string) []byte {
	return appendObject(b, func(w *jsonWriter) {
		w.texts("schemas", []string{schemaURN})
		w.text("id", s.ID)
		w.optional("name", s.Name)
		w.optional("description", s.Description)
		w.array("attributes", func(w *jsonWriter) {
			for _, a := range s.Attributes {
				switch {
				case o.Password == "refuse" && a.secret():
					continue
				case o.GroupNames == "unique" && sameName(s.ID, GroupURN) && a.Name == "displayName":
					unique := *a
					unique.Uniqueness = UniqueServer
					a = &unique
				}
				a.describe(w)
			}
		})
		w.meta("Schema", base+"/Schemas/"+s.ID)
	})
}

// describe writes the characteristics of a, each that its type has: a complex attribute is neither unique nor in a case
// (erratum 6004), and a boolean is neither.
func (a *Attribute) describe(w *jsonWriter) {
	w.object("", func(w *jsonWriter) {
		w.text("name", a.Name)
		w.text("type", string(a.Type))
		if len(a.Sub) > 0 {
			w.array("subAttributes", func(w *jsonWriter) {
				for _, s := range a.Sub {
					s.describe(w)
				}
			})
		}
		w.boolean("multiValued", a.MultiValued)
		w.optional("description", a.Description)
		w.boolean("required", a.Required)
		w.texts("canonicalValues", a.CanonicalValues)
		if slices.Contains([]DataType{String, Reference, Binary}, a.Type) {
			w.boolean("caseExact", a.CaseExact)
		}
		w.text("mutability", string(a.Mutability))
		w.text("returned", string(a.Returned))
		if a.Type != Complex && a.Type != Boolean {
			w.text("uniqueness", string(a.Uniqueness))
		}
		w.texts("referenceTypes", a.ReferenceTypes)
	})
}
