package metrics

import (
	"net/http"
	"strings"
)

// Operation is what a request asks for.
type Operation int

// The operations. What is none of SCIM, such as a page that is not there, is Other.
const (
	Other Operation = iota
	Get
	List
	Search
	Create
	Replace
	Patch
	Delete
	Bulk
	Discovery
	OAuth
	Console
	Health
	operations
)

var operationNames = [operations]string{
	"other", "get", "list", "search", "create", "replace", "patch", "delete", "bulk", "discovery", "oauth", "console", "health",
}

// OperationOf says what a request for a path below the base of SCIM asks for (RFC 7644 section 3.2). It goes by the form of the
// path alone: of which types there are resources does not matter, and so nobody can make up another operation.
func OperationOf(method, path string, filtered bool) Operation {
	first, rest, _ := strings.Cut(strings.TrimPrefix(path, "/"), "/")
	switch first {
	case "ServiceProviderConfig", "Schemas", "ResourceTypes":
		return Discovery
	case "Bulk":
		return Bulk
	}
	one := strings.Trim(rest, "/") != "" || first == "Me" // a resource, and not all of a type
	search := first == ".search" || strings.HasSuffix(rest, ".search")
	switch method {
	case http.MethodGet, http.MethodHead:
		switch {
		case one:
			return Get
		case filtered:
			return Search
		}
		return List
	case http.MethodPost:
		if search {
			return Search
		}
		return Create
	case http.MethodPut:
		return Replace
	case http.MethodPatch:
		return Patch
	case http.MethodDelete:
		return Delete
	}
	return Other
}
