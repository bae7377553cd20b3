package control

import (
	"cmp"
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"strconv"
	"time"
)

// Resources answer what commands ask about resources. Package scim is behind them; here nobody speaks SCIM.
type Resources struct {
	List    func(context.Context, ResourceQuery) (*ResourceList, error)
	Show    func(ctx context.Context, tenant, resourceType, which string) (*Resource, error)
	Members func(ctx context.Context, tenant, resourceType, id, after string, count int) (*Members, error)
}

// ResourceQuery asks for resources of a type.
type ResourceQuery struct {
	Tenant string
	Type   string
	Filter string // of SCIM; "" = all
	SortBy string
	Cursor string // ResourceList.Next of the page before
	Count  int    // on a page; 0 = the server's default
}

// ResourceList is a page of resources.
type ResourceList struct {
	Resources []json.RawMessage `json:"resources"` // as clients see them, without members and groups
	Next      string            `json:"next,omitempty"`
	Total     int64             `json:"total"` // that match
}

// Resource is one resource with what is around it.
type Resource struct {
	Type       string          `json:"type"`
	ID         string          `json:"id"`
	Resource   json.RawMessage `json:"resource"` // as clients see it, without members and groups
	Created    time.Time       `json:"created"`
	Modified   time.Time       `json:"modified"`
	Groups     []Related       `json:"groups"` // that it is a member of
	MoreGroups bool            `json:"moreGroups,omitempty"`
	Members    *Members        `json:"members,omitempty"` // the first ones; nil for a type that has none
}

// Members is a page of members.
type Members struct {
	Members []Related `json:"members"`
	Next    string    `json:"next,omitempty"` // after of the next page
}

// Related is a group, or a member.
type Related struct {
	Type     string `json:"type,omitempty"` // "" if nobody knows the resource
	ID       string `json:"id"`
	Name     string `json:"name,omitempty"` // userName or displayName
	Display  string `json:"display,omitempty"`
	Direct   bool   `json:"direct"`
	Inactive bool   `json:"inactive,omitempty"`
}

var errNoResources = &Error{Internal, "nothing tells of the resources here"}

const defaultTenant = "default"

func count(v url.Values) (int, error) {
	s := v.Get("count")
	if s == "" {
		return 0, nil
	}
	n, err := strconv.Atoi(s)
	if err != nil || n < 1 {
		return 0, &Error{Invalid, "the count is " + strconv.Quote(s) + "; it is a number of at least 1"}
	}
	return n, nil
}

func (h *handler) listResources(w http.ResponseWriter, r *http.Request) error {
	if h.Resources == nil {
		return errNoResources
	}
	v := r.URL.Query()
	n, err := count(v)
	if err != nil {
		return err
	}
	l, err := h.Resources.List(r.Context(), ResourceQuery{
		Tenant: cmp.Or(v.Get("tenant"), defaultTenant), Type: r.PathValue("type"), Filter: v.Get("filter"), SortBy: v.Get("sortBy"), Cursor: v.Get("cursor"), Count: n,
	})
	if err != nil {
		return err
	}
	h.answer(w, http.StatusOK, l)
	return nil
}

func (h *handler) showResource(w http.ResponseWriter, r *http.Request) error {
	if h.Resources == nil {
		return errNoResources
	}
	o, err := h.Resources.Show(r.Context(), cmp.Or(r.URL.Query().Get("tenant"), defaultTenant), r.PathValue("type"), r.PathValue("which"))
	if err != nil {
		return err
	}
	h.answer(w, http.StatusOK, o)
	return nil
}

func (h *handler) listMembers(w http.ResponseWriter, r *http.Request) error {
	if h.Resources == nil {
		return errNoResources
	}
	v := r.URL.Query()
	n, err := count(v)
	if err != nil {
		return err
	}
	m, err := h.Resources.Members(r.Context(), cmp.Or(v.Get("tenant"), defaultTenant), r.PathValue("type"), r.PathValue("id"), v.Get("after"), n)
	if err != nil {
		return err
	}
	h.answer(w, http.StatusOK, m)
	return nil
}

// Resources lists resources of a type, a page at a time.
func (c *Client) Resources(ctx context.Context, q ResourceQuery) (ResourceList, error) {
	v := url.Values{}
	for name, value := range map[string]string{"tenant": q.Tenant, "filter": q.Filter, "sortBy": q.SortBy, "cursor": q.Cursor} {
		if value != "" {
			v.Set(name, value)
		}
	}
	if q.Count > 0 {
		v.Set("count", strconv.Itoa(q.Count))
	}
	return ask[ResourceList](ctx, c, http.MethodGet, "/v1/resources/"+url.PathEscape(q.Type)+"?"+v.Encode(), nil)
}

// Resource shows the resource that which names, by its id, or its userName or displayName.
func (c *Client) Resource(ctx context.Context, tenant, resourceType, which string) (Resource, error) {
	if which == "" {
		return Resource{}, &Error{Invalid, "which one? Give an id or a name"}
	}
	return ask[Resource](ctx, c, http.MethodGet, "/v1/resources/"+url.PathEscape(resourceType)+"/"+url.PathEscape(which)+"?"+url.Values{"tenant": {tenant}}.Encode(), nil)
}

// Members lists members of a resource behind the id after, a page at a time.
func (c *Client) Members(ctx context.Context, tenant, resourceType, id, after string, n int) (Members, error) {
	v := url.Values{"tenant": {tenant}, "after": {after}}
	if n > 0 {
		v.Set("count", strconv.Itoa(n))
	}
	return ask[Members](ctx, c, http.MethodGet, "/v1/members/"+url.PathEscape(resourceType)+"/"+url.PathEscape(id)+"?"+v.Encode(), nil)
}
