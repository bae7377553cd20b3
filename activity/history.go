package activity

import (
	"context"
	"regexp"
	"strings"

	"scimbox/storage"
)

var uniqueDetail = regexp.MustCompile(`has this (\S+) already`)

// Whose is the resource that a history is asked for.
type Whose struct {
	Tenant string
	Type   string
	Which  string // its id, or its userName or displayName, also one that it had when it was deleted
}

// History returns what was done with one resource, and refused, as a page of events: its creation, changes, memberships that
// came and went, and its deletion. The id that was meant is returned with it, "" if nobody has ever heard of the resource.
func (r *Reader) History(ctx context.Context, w Whose, q Query) (*Page, string, error) {
	id, err := r.resolve(ctx, w)
	if err != nil || id == "" {
		return &Page{Events: []Event{}}, "", err
	}
	q.Tenant, q.Resource = w.Tenant, id
	p, err := r.List(ctx, q)
	return p, id, err
}

// resolve finds the id of a resource: of one that is there, or else of the last one that had the name.
func (r *Reader) resolve(ctx context.Context, w Whose) (string, error) {
	attribute := "displayName"
	if w.Type == "User" {
		attribute = "userName"
	}
	if r.Find != nil {
		if r.Name != nil && r.Name(ctx, w.Tenant, w.Type, w.Which) != "" {
			return w.Which, nil
		}
		if ids := r.Find(ctx, w.Tenant, w.Type, attribute, w.Which); len(ids) > 0 {
			return ids[0], nil
		}
	}
	for e, err := range r.journal(ctx, r.Store.LastSeq()+1) {
		if err != nil {
			return "", err
		}
		if e.Ref.Tenant != w.Tenant || e.Ref.Kind != w.Type {
			continue
		}
		if e.Ref.ID == w.Which || strings.EqualFold(nameOf(e), w.Which) {
			return e.Ref.ID, nil
		}
	}
	return "", nil
}

func nameOf(e storage.Entry) string { return readDetail(e.Detail).Name }

// Sources says for each attribute that a history mentions which event set it last. events are of one resource, the newest
// first.
func Sources(events []Event, id string) map[string]Event {
	m := map[string]Event{}
	for _, v := range events {
		if v.Kind != KindChange || v.Resource != id {
			continue
		}
		for _, c := range v.Changes {
			if _, later := m[c.Path]; !later {
				m[c.Path] = v
			}
		}
	}
	return m
}
