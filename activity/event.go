package activity

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"scimbox/storage"
)

// Kind says what an Event is.
type Kind string

// The kinds.
const (
	KindChange  Kind = "change"  // something was changed; it is in the journal
	KindRefusal Kind = "refusal" // a request was refused, and changed nothing
)

// Event is something that a client, or an operator, has done or tried to do.
type Event struct {
	ID       string    `json:"id"` // "c" and the sequence in the journal, or "r" and that of a refused request
	Kind     Kind      `json:"kind"`
	Time     time.Time `json:"time"`
	Sentence string    `json:"sentence"`
	Who      Who       `json:"who"`
	Tenant   string    `json:"tenant,omitempty"` // of a request that was not let in: not known
	Client   string    `json:"client,omitempty"` // network address
	Request  string    `json:"request,omitempty"`
	Op       string    `json:"op"`                 // create, replace, patch, delete, revoke; of a refusal also read, search ...
	Type     string    `json:"type,omitempty"`     // resource type, or "token"
	Resource string    `json:"resource,omitempty"` // id
	Name     string    `json:"name,omitempty"`     // userName or displayName; of a deleted resource its last one

	Changes     []Change `json:"changes,omitempty"`
	Added       []Member `json:"added,omitempty"` // members
	Removed     []Member `json:"removed,omitempty"`
	AddedMore   int      `json:"addedMore,omitempty"` // beyond those of Added, which are 100 at most
	RemovedMore int      `json:"removedMore,omitempty"`

	Refused *Entry `json:"refused,omitempty"`
	Advice  string `json:"advice,omitempty"` // what to change so that it is not refused again
}

// Who is in whose name something was done.
type Who struct {
	Token  string `json:"token,omitempty"` // id
	Name   string `json:"name,omitempty"`  // of the token
	Preset string `json:"preset,omitempty"`
	Label  string `json:"label"` // what a sentence calls it: "Entra", "report", "The command line"
}

// Change is one attribute before and after. A value that was masked, or too long for the journal, is a text.
type Change struct {
	Path string          `json:"path"`
	Old  json.RawMessage `json:"old,omitempty"`
	New  json.RawMessage `json:"new,omitempty"`
}

// Member is somebody who was added or removed.
type Member struct {
	ID   string `json:"id"`
	Name string `json:"name,omitempty"` // today's, "" if not known
}

// detail is what packages scim and auth write into a journal row.
type detail struct {
	Name        string   `json:"name"`
	Tenant      string   `json:"tenant"` // of a token
	Changes     []Change `json:"changes"`
	Added       []string `json:"added"`
	Removed     []string `json:"removed"`
	AddedMore   int      `json:"addedMore"`
	RemovedMore int      `json:"removedMore"`
}

// readDetail reads what there is. A detail of a later program is one that says less.
func readDetail(b []byte) detail {
	var d detail
	if json.Unmarshal(b, &d) != nil {
		return detail{}
	}
	return d
}

// change makes the event of a journal row.
func (r *Reader) change(l *lookups, e *storage.Entry, d detail) Event {
	v := Event{
		ID: "c" + strconv.FormatUint(e.Seq, 10), Kind: KindChange, Time: e.Time, Who: l.who(e.Actor), Tenant: e.Ref.Tenant,
		Client: e.Client, Request: e.Request, Op: e.Op, Type: e.Ref.Kind, Resource: e.Ref.ID, Name: d.Name,
		AddedMore: d.AddedMore, RemovedMore: d.RemovedMore,
	}
	if v.Tenant == systemTenant {
		v.Tenant = d.Tenant
	}
	if r.Mask.Hides("userName") && v.Type == "User" || r.Mask.Hides("displayName") && v.Type == "Group" {
		v.Name = ""
	}
	for _, c := range d.Changes {
		v.Changes = append(v.Changes, Change{c.Path, r.shown(c.Path, c.Old), r.shown(c.Path, c.New)})
	}
	v.Added, v.Removed = l.members(v.Tenant, d.Added), l.members(v.Tenant, d.Removed)
	v.Sentence = v.sentence()
	return v
}

// shown masks a value of the journal, which keeps what it was given.
func (r *Reader) shown(path string, value json.RawMessage) json.RawMessage {
	switch {
	case value == nil:
		return nil
	case r.Mask.Hides(path):
		return json.RawMessage(`"` + masked + `"`)
	}
	tree, err := parseTree(value)
	if err != nil || r.Mask == nil || len(r.Mask.names) == 0 {
		return value
	}
	r.Mask.walk(tree, plainPath(path), false, new([]string))
	return tree.append(nil)
}

// refusal makes the event of a refused request.
func (r *Reader) refusal(l *lookups, e *Entry) Event {
	v := Event{
		ID: "r" + strconv.FormatUint(e.Seq, 10), Kind: KindRefusal, Time: e.Time, Tenant: e.Tenant, Client: e.Client,
		Request: e.Request, Op: e.Op, Type: e.Type, Resource: e.Resource, Name: e.Name, Refused: e,
	}
	switch {
	case e.Token != "":
		v.Who = l.who(e.Token)
		if v.Who.Name == "" {
			v.Who.Name = e.TokenName
		}
	case e.Claimed != "" && l.knows(e.Claimed):
		v.Who = l.who(e.Claimed)
		if strings.Contains(e.Detail, "token has expired") {
			break // which only those are told who have the right secret
		}
		v.Who.Label = fmt.Sprintf("Somebody at %s who names the token of %s", e.Client, v.Who.Label)
	default:
		v.Who.Label = "Somebody at " + e.Client
	}
	if v.Resource != "" && v.Resource != "me" {
		if name := l.name(v.Tenant, v.Type, v.Resource); name != "" {
			v.Name = name
		}
	}
	v.Advice = advise(e, v.Who)
	if held := l.holder(e); held != "" {
		v.Advice = held + " " + v.Advice
	}
	v.Sentence = v.sentence()
	return v
}

// products are the names that people know the clients of a preset by.
var products = map[string]string{
	"entra": "Entra", "entra-validator": "Entra's validator", "okta": "Okta", "onelogin": "OneLogin", "jumpcloud": "JumpCloud",
	"google": "Google", "ping": "Ping", "keycloak": "Keycloak", "authentik": "authentik", "rippling": "Rippling", "sailpoint": "SailPoint",
}

// labelled fills in what a sentence calls the owner of a token.
func (w Who) labelled() Who {
	product := products[w.Preset]
	switch {
	case w.Token == "local":
		w.Label = "The command line"
	case w.Token == "console":
		w.Label = "The console"
	case w.Token == "" && w.Name == "":
		w.Label = "scimbox"
	case product == "" && w.Name == "":
		w.Label = "The token " + w.Token
	case product == "":
		w.Label = w.Name
	case w.Name == "" || strings.EqualFold(w.Name, w.Preset) || strings.EqualFold(w.Name, product):
		w.Label = product
	default:
		w.Label = fmt.Sprintf("%s (%s)", product, w.Name)
	}
	return w
}

// about reports whether an event is about a resource, as itself or as a member that came or went.
func (d *detail) about(ref storage.Ref, id string) bool {
	return ref.ID == id || slices.Contains(d.Added, id) || slices.Contains(d.Removed, id)
}
