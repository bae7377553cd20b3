package scim

import (
	"errors"
	"net/url"
	"slices"
	"strings"
)

// parameters are those of a query that mean something to us, each once, their names in lower case.
type parameters []parameter

type parameter struct{ name, value string }

// get returns the value of a parameter, "" if it is not given.
func (p parameters) get(name string) string {
	v, _ := p.lookUp(name)
	return v
}

func (p parameters) lookUp(name string) (value string, given bool) {
	for i := range p {
		if p[i].name == name {
			return p[i].value, true
		}
	}
	return "", false
}

// parseQuery appends to p what the query of a URL says, as url.ParseQuery reads it. A parameter that cannot be read is refused even
// if nobody knows it: it may be a filter in bad encoding, and a filter that is ignored returns everybody.
func parseQuery(p parameters, query string) (parameters, error) {
	for query != "" {
		var pair string
		if pair, query, _ = strings.Cut(query, "&"); pair == "" {
			continue
		}
		name, value, err := parsePair(pair)
		if err != nil {
			return nil, bad(InvalidSyntax, "the query of the URL is badly encoded: %s", clip(err.Error()))
		}
		folded, lists := foldName(name), false
		switch folded {
		case "filter", "sortby", "sortorder", "startindex", "count", "cursor":
		case "attributes", "excludedattributes":
			lists = true
		default:
			continue
		}
		i := slices.IndexFunc(p, func(x parameter) bool { return x.name == folded })
		switch {
		case i < 0:
			p = append(p, parameter{folded, value})
		case lists:
			p[i].value += "," + value
		default:
			return nil, bad(InvalidSyntax, "the parameter %s is given more than once", quote(name))
		}
	}
	return p, nil
}

func parsePair(pair string) (name, value string, err error) {
	if strings.Contains(pair, ";") {
		return "", "", errors.New("a semicolon separates nothing; write %3B for one")
	}
	name, value, _ = strings.Cut(pair, "=")
	if name, err = url.QueryUnescape(name); err != nil {
		return "", "", err
	}
	value, err = url.QueryUnescape(value)
	return name, value, err
}
