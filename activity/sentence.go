package activity

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
)

// sentence tells an event to a person.
func (v *Event) sentence() string {
	if v.Kind == KindRefusal {
		return v.refused()
	}
	return v.Who.Label + " " + v.done()
}

// noun is what a resource of the event's type is called.
func noun(resourceType string) string {
	switch resourceType {
	case "User", "Group":
		return strings.ToLower(resourceType)
	case "client":
		return "OAuth client"
	case "":
		return "resource"
	}
	return resourceType
}

// called is the name of what the event is about, else its id.
func (v *Event) called() string {
	switch {
	case v.Name != "":
		return v.Name
	case v.Resource == "me":
		return "/Me"
	case v.Resource != "":
		return "the " + noun(v.Type) + " " + v.Resource
	}
	return "a " + noun(v.Type)
}

// theCalled is the same with its noun: the user bjensen@example.com.
func (v *Event) theCalled() string {
	if v.Name != "" {
		return "the " + noun(v.Type) + " " + v.Name
	}
	return v.called()
}

func (v *Event) done() string {
	switch v.Op {
	case OpCreate:
		made := "created "
		if v.Type == "token" || v.Type == "client" {
			made = "made "
		}
		s := made + v.theCalled()
		if n := len(v.Added) + v.AddedMore; n > 0 {
			s += " with " + count(n, "member")
		}
		if c := v.changed("active"); c != nil && string(c.New) == "false" {
			s += ", disabled"
		}
		return s
	case OpDelete:
		return "deleted " + v.theCalled()
	case OpPatch, OpReplace:
		return v.edited()
	case "hold":
		return "would have taken away too much, and the guard against mass changes holds it back: " + v.called()
	case "guard-approved":
		return strings.TrimSpace("let mass changes through " + v.Name) // for how long, and how many; at first nothing was said
	case "guard-rejected":
		return "refused further mass changes"
	case "guard-armed":
		return "armed the guard against mass changes anew"
	case "revoke":
		return "revoked " + v.theCalled()
	case "revoke-secret":
		return "revoked a secret of " + v.theCalled()
	case "rotate":
		if v.Type == "client" {
			return "made another secret for " + v.theCalled()
		}
		return "made a successor of " + v.theCalled()
	}
	return fmt.Sprintf("did %s with %s", v.Op, v.theCalled())
}

func (v *Event) changed(path string) *Change {
	for i := range v.Changes {
		if strings.EqualFold(v.Changes[i].Path, path) {
			return &v.Changes[i]
		}
	}
	return nil
}

// edited tells what a PATCH or a PUT has changed: first what decides about access, then names, then the rest.
func (v *Event) edited() string {
	var parts []string
	name := v.called()
	say := func(format string, of string) { // "of X" only the first time
		if len(parts) > 0 {
			of = ""
		}
		parts = append(parts, strings.TrimSpace(fmt.Sprintf(format, of)))
	}
	rest := slices.Clone(v.Changes)
	take := func(path string) *Change {
		for i := range rest {
			if strings.EqualFold(rest[i].Path, path) {
				c := rest[i]
				rest = slices.Delete(rest, i, i+1)
				return &c
			}
		}
		return nil
	}
	if c := take("active"); c != nil {
		verb := "enabled %s"
		if string(c.New) == "false" {
			verb = "disabled %s"
		}
		say(verb, name)
	}
	label := "userName"
	if v.Type != "User" {
		label = "displayName"
	}
	if c := take(label); c != nil {
		old, now := plain(c.Old), plain(c.New)
		switch {
		case old == "" || now == "" || old == masked || now == masked:
			rest = append(rest, *c)
		case len(parts) > 0:
			parts = append(parts, "renamed it from "+old)
		default:
			parts = append(parts, fmt.Sprintf("renamed %s to %s", old, now))
		}
	}
	if take("password") != nil {
		say("set the password %s", "of "+name)
	}
	if s := attributes(rest, len(parts) > 0); s != "" {
		if len(rest) == 1 {
			s = strings.Replace(s, "\x00", ofUnless(len(parts) > 0, name), 1)
			parts = append(parts, s)
		} else {
			say(s+" %s", "of "+name)
		}
	}
	first := len(parts) == 0
	if s := membership("added", "to", v.Added, v.AddedMore, name, first); s != "" {
		parts, first = append(parts, s), false
	}
	if s := membership("removed", "from", v.Removed, v.RemovedMore, name, first); s != "" {
		parts = append(parts, s)
	}
	switch n := len(parts); n {
	case 0:
		return "changed " + name
	case 1:
		return parts[0]
	default:
		return strings.Join(parts[:n-1], ", ") + " and " + parts[n-1]
	}
}

func ofUnless(said bool, name string) string {
	if said {
		return ""
	}
	return " of " + name
}

// attributes tells which attributes were changed, of one also how; a zero byte stands where "of X" belongs.
func attributes(l []Change, also bool) string {
	var names []string
	for _, c := range l {
		names = append(names, short(c.Path))
	}
	switch n := len(names); {
	case n == 0:
		return ""
	case n > 3:
		return fmt.Sprintf("changed %d attributes", n)
	case n > 1:
		return "changed " + strings.Join(names[:n-1], ", ") + " and " + names[n-1]
	}
	old, now := value(l[0].Old), value(l[0].New)
	switch {
	case l[0].New == nil:
		return "removed " + names[0] + "\x00"
	case l[0].Old == nil && now != "":
		return "set " + names[0] + "\x00 to " + now
	case old != "" && now != "":
		return "changed " + names[0] + "\x00 from " + old + " to " + now
	}
	return "changed " + names[0] + "\x00"
}

// short is the path of an attribute without its schema.
func short(path string) string {
	if len(path) > 4 && strings.EqualFold(path[:4], "urn:") {
		return path[strings.LastIndexByte(path, ':')+1:]
	}
	return path
}

// plain is the text of a JSON string, "" if it is none.
func plain(j json.RawMessage) string {
	var s string
	if json.Unmarshal(j, &s) != nil {
		return ""
	}
	return s
}

// value is a simple value that fits into a sentence, "" for others.
func value(j json.RawMessage) string {
	if len(j) == 0 || len(j) > 64 || j[0] == '{' || j[0] == '[' {
		return ""
	}
	return string(j)
}

func membership(verb, where string, l []Member, more int, group string, first bool) string {
	n := len(l) + more
	if n == 0 {
		return ""
	}
	who := count(n, "member")
	if n == 1 && l[0].Name != "" {
		who = l[0].Name
	}
	if !first {
		return verb + " " + who
	}
	return verb + " " + who + " " + where + " " + group
}

func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// refused tells what somebody wanted, and why it was not done.
func (v *Event) refused() string {
	e := v.Refused
	reason := e.Detail
	if reason == "" {
		reason = strings.ToLower(http.StatusText(e.Status))
	}
	if e.Status == http.StatusUnauthorized || e.Status == http.StatusTooManyRequests && e.Token == "" {
		return fmt.Sprintf("%s was not let in: %s", v.Who.Label, reason)
	}
	outcome := "was refused"
	switch {
	case e.Status == http.StatusTooManyRequests, e.Status == http.StatusServiceUnavailable, e.Status == http.StatusInsufficientStorage:
		outcome = "was told to come back later"
	case e.Status >= 500 && e.Status != http.StatusNotImplemented:
		outcome = "met a failure of this server"
	}
	wanted := v.wanted()
	if e.Bulk {
		wanted += " in a bulk request"
	}
	return fmt.Sprintf("%s %s and %s: %s", v.Who.Label, wanted, outcome, reason)
}

func (v *Event) wanted() string {
	switch v.Op {
	case OpCreate:
		return "wanted to create " + v.theCalled()
	case OpReplace:
		return "wanted to replace " + v.called()
	case OpPatch:
		return "wanted to change " + v.called()
	case OpDelete:
		return "wanted to delete " + v.called()
	case OpRead:
		return "asked for " + v.called()
	case OpSearch:
		if v.Type == "" {
			return "searched"
		}
		return "searched for " + noun(v.Type) + "s"
	case OpBulk:
		return "sent a bulk request"
	case OpDiscover:
		return "asked what this server can do"
	}
	return fmt.Sprintf("sent %s %s", v.Refused.Method, v.Refused.Path)
}
