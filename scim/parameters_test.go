package scim

import (
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// A query is read as url.ParseQuery reads it, of which only those parameters are kept that mean something.
func TestQueryIsReadAsByTheStandardLibrary(t *testing.T) {
	t.Parallel()
	name := rapid.SampledFrom([]string{"filter", "Filter", "sortBy", "startIndex", "count", "attributes", "ATTRIBUTES", "excludedAttributes", "x", "", "f%69lter", "%zz", "a;b"})
	value := rapid.SampledFrom([]string{"", "1", "userName", "a+b", "a%20b", "%", "%C3%A9", "a=b", "a;b", "userName%2Cactive"})
	rapid.Check(t, func(t *rapid.T) {
		var pairs []string
		for range rapid.IntRange(0, 5).Draw(t, "n") {
			pair := name.Draw(t, "name")
			if rapid.Bool().Draw(t, "with a value") {
				pair += "=" + value.Draw(t, "value")
			}
			pairs = append(pairs, pair)
		}
		query := strings.Join(pairs, "&")
		got, err := parseQuery(nil, query)
		want, wrong := url.ParseQuery(query)
		several := map[string]int{} // values, by the name in lower case
		for n, v := range want {
			several[strings.ToLower(n)] += len(v)
		}
		refused := wrong != nil
		for n, count := range several {
			refused = refused || count > 1 && !strings.HasSuffix(n, "attributes") && slices.Contains([]string{"filter", "sortby", "startindex", "count"}, n)
		}
		if refused != (err != nil) {
			t.Fatalf("%q: %v, the standard library: %v", query, err, wrong)
		}
		if refused {
			return
		}
		for n, v := range want {
			folded := strings.ToLower(n)
			if several[folded] > 1 || folded == "" || folded == "x" {
				continue
			}
			if given, ok := got.lookUp(folded); !ok || given != v[0] {
				t.Fatalf("%q: %s is %q (%v), want %q", query, n, given, ok, v[0])
			}
		}
		for _, p := range got {
			if several[p.name] == 0 {
				t.Fatalf("%q: %s comes from nowhere", query, p.name)
			}
		}
	})
	if p, err := parseQuery(nil, "attributes=a&Attributes=b&attributes="); err != nil || p.get("attributes") != "a,b," {
		t.Errorf("lists of names that are given several times: %v, %v", p, err)
	}
	if p, err := parseQuery(nil, strings.Repeat("nobody=1&", 1000)); err != nil || len(p) > 0 {
		t.Errorf("parameters that mean nothing are kept: %d, %v", len(p), err)
	}
}

// Segments are the same whether or not the URL was written with escapes that it did not need.
func TestSegments(t *testing.T) {
	t.Parallel()
	for target, want := range map[string][]string{
		"/scim/v2":                   nil,
		"/scim/v2/":                  nil,
		"/scim/v2/Users":             {"Users"},
		"/scim/v2//Users/":           {"Users"},
		"/scim/v2/Users/a/b":         {"Users", "a", "b"},
		"/scim/v2/Users/a%2Fb":       {"Users", "a/b"},
		"/scim/v2/%55sers/a%20b":     {"Users", "a b"},
		"/scim/v2/Users/a%20b":       {"Users", "a b"},
		"/scim/v2/Users/a%2520b":     {"Users", "a%20b"},
		"/scim/v2/Users/%C3%A9":      {"Users", "é"},
		"/scim/v2/Schemas/urn:a%3Ab": {"Schemas", "urn:a:b"},
		"/elsewhere":                 nil,
	} {
		if got := segments(httptest.NewRequest("GET", target, nil), nil); !slices.Equal(got, want) {
			t.Errorf("%s: %q, want %q", target, got, want)
		}
	}
}
