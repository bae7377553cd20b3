package server

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"

	"scimbox/scim"
	"scimbox/server/control"
)

// resources answers what people ask about the resources, through the same door as clients: what a filter means, and what is
// never shown, is decided in package scim alone.
type resources struct {
	house *House

	mu      sync.Mutex
	service *scim.Service
	handler http.Handler
}

// resources returns the one of the house.
func (h *House) resources() *resources {
	h.once.Do(func() { h.res = &resources{house: h} })
	return h.res
}

// use is for a server, which has a service already.
func (r *resources) use(s *scim.Service) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.service, r.handler = s, scim.NewHandler(s)
}

// open makes a service if a command asks for resources and no server runs.
func (r *resources) open(ctx context.Context) (*scim.Service, http.Handler, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.service == nil {
		types, err := scim.NewTypes(r.house.o.Config.SCIM.Schemas)
		if err != nil {
			return nil, nil, err
		}
		if r.service, err = scim.NewService(ctx, r.house.Store, types, r.house.o.scimOptions()); err != nil {
			return nil, nil, err
		}
		r.handler = scim.NewHandler(r.service)
	}
	return r.service, r.handler, nil
}

// recorder is an answer in memory.
type recorder struct {
	head   http.Header
	status int
	body   bytes.Buffer
}

func (r *recorder) Header() http.Header { return r.head }
func (r *recorder) WriteHeader(status int) {
	if r.status == 0 {
		r.status = status
	}
}

func (r *recorder) Write(p []byte) (int, error) {
	r.WriteHeader(http.StatusOK)
	return r.body.Write(p)
}

// get asks package scim as a client with the scope read would. A refusal is a *control.Error.
func (r *resources) get(ctx context.Context, tenant, path string, q url.Values) ([]byte, error) {
	_, handler, err := r.open(ctx)
	if err != nil {
		return nil, err
	}
	ctx = scim.WithCaller(ctx, scim.Caller{Tenant: tenant, Actor: control.Origin.Actor, ReadOnly: true})
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, scim.BasePath+path+"?"+q.Encode(), nil)
	if err != nil {
		return nil, err
	}
	w := &recorder{head: http.Header{}}
	handler.ServeHTTP(w, req)
	if w.status == http.StatusOK {
		return w.body.Bytes(), nil
	}
	var e struct {
		Detail string `json:"detail"`
	}
	if err := json.Unmarshal(w.body.Bytes(), &e); err != nil {
		return nil, fmt.Errorf("package scim answers %d", w.status)
	}
	switch {
	case w.status == http.StatusNotFound:
		return nil, &control.Error{Code: control.NotFound, Message: e.Detail}
	case w.status < 500:
		return nil, &control.Error{Code: control.Invalid, Message: e.Detail}
	}
	return nil, errors.New(e.Detail)
}

// typeOf finds a resource type by its name, or by that of its endpoint.
func (r *resources) typeOf(ctx context.Context, name string) (*scim.Service, *scim.ResourceType, error) {
	s, _, err := r.open(ctx)
	if err != nil {
		return nil, nil, err
	}
	if t := s.Types().ByName(name); t != nil {
		return s, t, nil
	}
	if t := s.Types().ByEndpoint(name); t != nil {
		return s, t, nil
	}
	return nil, nil, &control.Error{Code: control.NotFound, Message: fmt.Sprintf("there is no resource type %q; scimbox status shows those that have resources", name)}
}

// linkless leaves out of an answer what may be a million values.
const linkless = "members,groups"

func (r *resources) list(ctx context.Context, q control.ResourceQuery) (*control.ResourceList, error) {
	_, t, err := r.typeOf(ctx, q.Type)
	if err != nil {
		return nil, err
	}
	v := url.Values{"cursor": {q.Cursor}, "excludedAttributes": {linkless}}
	if q.Count > 0 {
		v.Set("count", strconv.Itoa(q.Count))
	}
	if q.Filter != "" {
		v.Set("filter", q.Filter)
	}
	if q.SortBy != "" {
		v.Set("sortBy", q.SortBy)
	}
	body, err := r.get(ctx, q.Tenant, t.Endpoint, v)
	if err != nil {
		return nil, err
	}
	var l struct {
		TotalResults int64             `json:"totalResults"`
		NextCursor   string            `json:"nextCursor"`
		Resources    []json.RawMessage `json:"Resources"`
	}
	if err := json.Unmarshal(body, &l); err != nil {
		return nil, err
	}
	if l.Resources == nil {
		l.Resources = []json.RawMessage{}
	}
	return &control.ResourceList{Resources: l.Resources, Next: l.NextCursor, Total: l.TotalResults}, nil
}

// show finds a resource by its id, or by its userName or displayName.
func (r *resources) show(ctx context.Context, tenant, resourceType, which string) (*control.Resource, error) {
	s, t, err := r.typeOf(ctx, resourceType)
	if err != nil {
		return nil, err
	}
	id := which
	shown, err := s.Show(ctx, tenant, t, id)
	var missing *scim.Error
	if errors.As(err, &missing) && missing.Status == http.StatusNotFound {
		ids := r.find(ctx, tenant, t.Name, naming(t.Name), which)
		switch len(ids) {
		case 0:
			return nil, &control.Error{Code: control.NotFound, Message: fmt.Sprintf("tenant %s has no %s with the id or the %s %q", tenant, t.Name, naming(t.Name), which)}
		case 1:
			id = ids[0]
			shown, err = s.Show(ctx, tenant, t, id)
		default:
			return nil, &control.Error{Code: control.Invalid, Message: fmt.Sprintf("%d resources have the %s %q; name one by its id: %s", len(ids), naming(t.Name), which, strings.Join(ids, ", "))}
		}
	}
	if err != nil {
		return nil, err
	}
	o := &control.Resource{
		Type: t.Name, ID: id, Resource: shown.Body, Created: shown.Stamp.Created, Modified: shown.Stamp.Modified,
		Groups: related(shown.Groups), MoreGroups: shown.More,
	}
	if len(shown.Members) > 0 {
		members, err := r.members(ctx, tenant, t.Name, id, "", 0)
		if err != nil {
			return nil, err
		}
		o.Members = members
	}
	return o, nil
}

func (r *resources) members(ctx context.Context, tenant, resourceType, id, after string, count int) (*control.Members, error) {
	s, t, err := r.typeOf(ctx, resourceType)
	if err != nil {
		return nil, err
	}
	l, next, err := s.Members(ctx, tenant, t, id, "members", after, count)
	var refused *scim.Error
	if errors.As(err, &refused) {
		code := control.Invalid
		if refused.Status == http.StatusNotFound {
			code = control.NotFound
		}
		return nil, &control.Error{Code: code, Message: refused.Detail}
	}
	return &control.Members{Members: related(l), Next: next}, err
}

func related(l []scim.Related) []control.Related {
	out := []control.Related{}
	for _, x := range l {
		o := control.Related{ID: x.ID, Name: x.Name, Display: x.Display, Direct: x.Direct, Inactive: x.Off}
		if x.Type != nil {
			o.Type = x.Type.Name
		}
		out = append(out, o)
	}
	return out
}

// naming is the attribute that people call a resource by.
func naming(resourceType string) string {
	if resourceType == "User" {
		return "userName"
	}
	return "displayName"
}

// name returns what a person calls a resource, "" if it is not there.
func (r *resources) name(ctx context.Context, tenant, resourceType, id string) string {
	types := []string{resourceType}
	if resourceType == "" {
		types = []string{"User", "Group"}
	}
	for _, name := range types {
		_, t, err := r.typeOf(ctx, name)
		if err != nil {
			continue
		}
		attribute := naming(t.Name)
		body, err := r.get(ctx, tenant, t.Endpoint+"/"+url.PathEscape(id), url.Values{"attributes": {attribute}})
		if err != nil {
			continue
		}
		var o map[string]any
		if json.Unmarshal(body, &o) != nil {
			continue
		}
		if text, ok := o[attribute].(string); ok {
			return text
		}
	}
	return ""
}

// find returns the ids of the resources that have a value, a few of them.
func (r *resources) find(ctx context.Context, tenant, resourceType, attribute, value string) []string {
	_, t, err := r.typeOf(ctx, resourceType)
	if err != nil {
		return nil
	}
	literal, err := json.Marshal(value)
	if err != nil {
		return nil
	}
	body, err := r.get(ctx, tenant, t.Endpoint, url.Values{"filter": {attribute + " eq " + string(literal)}, "attributes": {"id"}, "count": {"5"}})
	if err != nil {
		return nil // nothing that could be asked for, or nobody has it
	}
	var l struct {
		Resources []struct {
			ID string `json:"id"`
		} `json:"Resources"`
	}
	if json.Unmarshal(body, &l) != nil {
		return nil
	}
	var ids []string
	for _, o := range l.Resources {
		ids = append(ids, o.ID)
	}
	return ids
}

func (r *resources) backend() *control.Resources {
	return &control.Resources{List: r.list, Show: r.show, Members: r.members}
}
