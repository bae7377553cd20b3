package server

import (
	"slices"
	"strings"

	"scimbox/scim"
)

// What of a request may stand in the log: nothing that could be a name of somebody. Each request comes through here, so that
// these are loops over bytes and not regular expressions, which took a tenth of the time that a GET takes.

func letter(c byte) bool { return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' }
func digit(c byte) bool  { return '0' <= c && c <= '9' }
func hex(c byte) bool    { return digit(c) || 'a' <= c && c <= 'f' }

// consists says whether s has between least and most bytes, all of the class.
func consists(s string, least, most int, class func(byte) bool) bool {
	if len(s) < least || len(s) > most {
		return false
	}
	for i := range len(s) {
		if !class(s[i]) {
			return false
		}
	}
	return true
}

// wellFormedID is a request id that is taken over from the client or a proxy.
func wellFormedID(s string) bool {
	return consists(s, 1, 64, func(c byte) bool { return letter(c) || digit(c) || c == '.' || c == '_' || c == '-' })
}

// traceID returns the trace id of a header Traceparent (W3C Trace Context), "" if it is none.
func traceID(s string) string {
	if len(s) != 55 || s[2] != '-' || s[35] != '-' || s[52] != '-' {
		return ""
	}
	for i := range len(s) {
		if i != 2 && i != 35 && i != 52 && !hex(s[i]) {
			return ""
		}
	}
	return s[3:35]
}

// words are those of SCIM and of our own endpoints.
var words = map[string]bool{
	"": true, "scim": true, "users": true, "groups": true, "schemas": true, "resourcetypes": true, "serviceproviderconfig": true,
	"bulk": true, "me": true, ".search": true, "healthz": true, "readyz": true, "oauth": true, "token": true, ".well-known": true,
	"oauth-authorization-server": true, "console": true, "sign-in": true, "sign-out": true, "static": true, "connect": true, "light": true,
	"mapping": true, "activity": true, "tokens": true, "tenants": true, "backups": true, "health": true, "t": true, "rotate": true, "revoke": true,
}

// harmlessSegment says whether a segment of a path is never a name of somebody: the id of a resource, the URN of a schema, or
// a word.
func harmlessSegment(s string) bool {
	switch {
	case words[s], isUUID(s):
		return true
	case len(s) == 2 && (s[0] == 'v' || s[0] == 'V') && digit(s[1]):
		return true
	case strings.HasPrefix(s, "urn:"):
		return consists(s[4:], 1, 100, func(c byte) bool { return letter(c) || digit(c) || c == '.' || c == ':' })
	}
	return words[strings.ToLower(s)]
}

func isUUID(s string) bool {
	if len(s) != 36 {
		return false
	}
	for i := range len(s) {
		switch i {
		case 8, 13, 18, 23:
			if s[i] != '-' {
				return false
			}
		default:
			if !hex(s[i]) {
				return false
			}
		}
	}
	return true
}

// endpointAt is which segment of a path names a resource type, perhaps a custom one.
var endpointAt = strings.Count(scim.BasePath, "/") + 1

// loggedPath returns a path with * for the segments that may hold what nobody should read in a log.
func loggedPath(path string) string {
	if len(path) > 512 {
		return "*"
	}
	typed := strings.HasPrefix(path, scim.BasePath+"/")
	if typed { // what most requests name: all of a type, or one by its id
		first, rest, _ := strings.Cut(path[len(scim.BasePath)+1:], "/")
		if consists(first, 1, 32, letter) && (rest == "" || isUUID(rest)) {
			return path
		}
	}
	var segments []string // once there is something to be hidden
	i := 0
	for s := range strings.SplitSeq(path, "/") {
		if !(typed && i == endpointAt && consists(s, 1, 32, letter)) && !harmlessSegment(s) {
			if segments == nil {
				segments = strings.Split(path, "/")
			}
			segments[i] = "*"
		}
		i++
	}
	if segments == nil {
		return path
	}
	return strings.Join(segments, "/")
}

// loggedParameters returns the names of the query parameters, each once, and * for those that are no names.
func loggedParameters(query string) string {
	if query == "" {
		return ""
	}
	var room [4]string
	names := room[:0]
	for pair := range strings.SplitSeq(query, "&") {
		name, _, _ := strings.Cut(pair, "=")
		if pair == "" {
			continue
		}
		if !consists(name, 1, 32, func(c byte) bool { return letter(c) || digit(c) }) {
			name = "*"
		}
		if !slices.Contains(names, name) {
			names = append(names, name)
		}
		if len(names) == 20 {
			break
		}
	}
	return strings.Join(names, ",")
}

// loggedAgent returns the start of a User-Agent that looks like one.
func loggedAgent(agent string) string {
	for i := range len(agent) {
		if c := agent[i]; i == 80 || !letter(c) && !digit(c) && !strings.ContainsRune(" ./;:,()+-", rune(c)) {
			agent = agent[:i]
			break
		}
	}
	return strings.TrimSpace(agent)
}
