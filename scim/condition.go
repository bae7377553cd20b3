package scim

import (
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
)

// condition is an If-Match or If-None-Match header (RFC 7644 section 3.14). Tags are compared weakly: SCIM's own examples
// send weak tags in If-Match, which the strong comparison of RFC 7232 would never let through.
type condition struct {
	given, any bool
	tags       []string // opaque parts, without W/ and quotes
}

// parseCondition reads the header's values. What is no list of tags matches nothing, so that a write that depends on
// it does not happen.
func parseCondition(values []string) condition {
	if len(values) == 0 {
		return condition{}
	}
	c := condition{given: true}
	rest := strings.Join(values, ",")
	for {
		rest = strings.TrimLeft(rest, " \t,")
		if rest == "" {
			return c
		}
		tagged := strings.TrimPrefix(strings.TrimPrefix(rest, "W/"), "w/")
		if !strings.HasPrefix(tagged, `"`) { // "*", or a tag that somebody forgot to quote
			var bare string
			bare, rest, _ = strings.Cut(rest, ",")
			if bare = strings.TrimSpace(bare); bare == "*" {
				c.any = true
				continue
			}
			c.tags = append(c.tags, strings.TrimPrefix(strings.TrimPrefix(bare, "W/"), "w/"))
			continue
		}
		rest = tagged
		tag, after, ok := strings.Cut(rest[1:], `"`)
		if !ok {
			return c
		}
		c.tags, rest = append(c.tags, tag), after
	}
}

// holds says whether version is one of those named.
func (c *condition) holds(version uint64) bool {
	return c.names(strconv.FormatUint(version, 10))
}

// names says whether tag, the opaque part of an entity tag, is one of those named.
func (c *condition) names(tag string) bool { return c.any || slices.Contains(c.tags, tag) }

// preconditions is asked before a write to a resource of this version.
func (c *call) preconditions(version uint64) error {
	if c.ifMatch.given && !c.ifMatch.holds(version) {
		return c.stale(version)
	}
	if c.ifNoneMatch.given && c.ifNoneMatch.holds(version) {
		return &Error{Status: http.StatusPreconditionFailed, Detail: fmt.Sprintf(
			"the resource exists in version %s, and If-None-Match asks that it does not", etag(version))}
	}
	return nil
}

func (c *call) stale(version uint64) error {
	return &Error{Status: http.StatusPreconditionFailed, Detail: fmt.Sprintf(
		"the resource is at version %s, which is none of those that If-Match, or version in a bulk request, names; read it and apply the change to what it is now", etag(version))}
}

func itoa(n int) string { return strconv.Itoa(n) }
