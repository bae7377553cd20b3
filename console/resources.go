package console

import (
	"encoding/json"
	"net/http"
	"net/url"
	"strings"
	"time"

	"scimbox/scim"
	"scimbox/storage"
)

const (
	listedOnPage  = 50
	membersOnPage = 50
)

// resourceRow is one line of a list.
type resourceRow struct {
	URL, Name, Second, Mail string
	Off                     bool
	Changed                 moment
}

type listData struct {
	Type     *scim.ResourceType
	Plural   string // "Users"
	Path     string
	Search   string
	Active   string // "yes", "no" or "" for both
	HasState bool   // the type has active
	Rows     []resourceRow
	Total    int64
	Next     string // address of the next page
	First    bool
	Partial  bool
}

// typeAt returns the resource type of the address.
func (c *Console) typeAt(v *visit) (*scim.ResourceType, error) {
	t := c.o.Service.Types().ByEndpoint(v.r.PathValue("endpoint"))
	if t == nil {
		return nil, errNoPage
	}
	return t, nil
}

// list is a page of the resources of a type.
func (c *Console) list(v *visit) error {
	t, err := c.typeAt(v)
	if err != nil {
		return err
	}
	ask := v.r.URL.Query()
	q := scim.ListQuery{Search: ask.Get("q"), Cursor: ask.Get("from"), Count: listedOnPage}
	d := listData{Type: t, Plural: strings.TrimPrefix(t.Endpoint, "/"), Path: Path + "t/" + v.tenant + "/" + endpointOf(t), Search: q.Search, First: q.Cursor == ""}
	for _, a := range t.Schema.Attributes {
		d.HasState = d.HasState || a.Name == "active" && a.Type == scim.Boolean
	}
	if on := ask.Get("active"); d.HasState && (on == "yes" || on == "no") {
		is := on == "yes"
		q.Active, d.Active = &is, on
	}
	l, err := c.o.Service.List(v.r.Context(), v.tenant, t, q)
	if err != nil {
		return err
	}
	d.Total, d.Partial = l.Total, l.Partial
	for _, body := range l.Resources {
		row, err := rowOf(v, t, body)
		if err != nil {
			return err
		}
		d.Rows = append(d.Rows, row)
	}
	if l.Next != "" {
		next := url.Values{"from": {l.Next}}
		if d.Search != "" {
			next.Set("q", d.Search)
		}
		if d.Active != "" {
			next.Set("active", d.Active)
		}
		d.Next = d.Path + "?" + next.Encode()
	}
	if v.partial {
		return c.renderPart(v, "list", "results", d)
	}
	return c.render(v, "list", d.Plural, d)
}

func rowOf(v *visit, t *scim.ResourceType, body []byte) (resourceRow, error) {
	var r struct {
		ID, UserName, DisplayName, Name any
		ExternalID                      string `json:"externalId"`
		Active                          *bool
		Emails                          []struct {
			Value   string
			Primary bool
		}
		Meta struct{ LastModified time.Time }
	}
	if err := json.Unmarshal(body, &r); err != nil {
		return resourceRow{}, err
	}
	id, _ := r.ID.(string)
	user, _ := r.UserName.(string)
	display, _ := r.DisplayName.(string)
	name, _ := r.Name.(string) // of custom types
	row := resourceRow{URL: resourceURL(v.tenant, t, id), Changed: moment{r.Meta.LastModified, distance(r.Meta.LastModified, v.now)}}
	names := unique([]string{user, display, name, r.ExternalID, id})
	for _, n := range names {
		switch {
		case n == "":
		case row.Name == "":
			row.Name = short(n)
		case row.Second == "" && n != id:
			row.Second = short(n)
		}
	}
	row.Off = r.Active != nil && !*r.Active
	for i, e := range r.Emails {
		if i == 0 || e.Primary {
			row.Mail = short(e.Value)
		}
	}
	return row, nil
}

// relatedRow is a resource at the other end of a link.
type relatedRow struct {
	scim.Related
	URL string // "" if nobody knows the resource
}

func rowsOf(tenant string, l []scim.Related) []relatedRow {
	rows := make([]relatedRow, len(l))
	for i, r := range l {
		rows[i] = relatedRow{Related: r}
		if r.Type != nil {
			rows[i].URL = resourceURL(tenant, r.Type, r.ID)
		}
	}
	return rows
}

// memberSet is a page of what a resource refers to by one attribute.
type memberSet struct {
	Attribute string
	Rows      []relatedRow
	Next      string // address of the next page
	First     bool
}

type resourceData struct {
	Type       *scim.ResourceType
	Plural     string
	List       string // address of the list
	Around     string // address of all activity about it
	Name       string
	ID         string
	Off        bool
	HasState   bool
	Created    moment
	Changed    moment
	Attributes []attributeRow
	Groups     []relatedRow
	MoreGroups bool
	IsMember   bool // the type has groups
	Sets       []memberSet
	History    historyData
}

// resource is the page of one resource: what it has, where that came from, to whom it belongs, and what has happened to it.
func (c *Console) resource(v *visit) error {
	t, err := c.typeAt(v)
	if err != nil {
		return err
	}
	ctx, id := v.r.Context(), v.r.PathValue("id")
	shown, err := c.o.Service.Show(ctx, v.tenant, t, id)
	if err != nil {
		return c.gone(v, t, id, err)
	}
	d := resourceData{
		Type: t, Plural: strings.TrimPrefix(t.Endpoint, "/"), List: Path + "t/" + v.tenant + "/" + endpointOf(t), ID: id, MoreGroups: shown.More,
		Around:  Path + "t/" + v.tenant + "/activity?" + url.Values{"about": {id}}.Encode(),
		Created: moment{shown.Stamp.Created, distance(shown.Stamp.Created, v.now)},
		Changed: moment{shown.Stamp.Modified, distance(shown.Stamp.Modified, v.now)},
		Groups:  rowsOf(v.tenant, shown.Groups),
	}
	row, err := rowOf(v, t, shown.Body)
	if err != nil {
		return err
	}
	d.Name, d.Off = row.Name, row.Off
	if d.Attributes, d.HasState, err = attributesOf(t, shown.Body); err != nil {
		return err
	}
	for _, a := range t.Schema.Attributes {
		d.IsMember = d.IsMember || a.Name == "groups"
	}
	for _, name := range shown.Members {
		set, err := c.memberSet(v, t, id, name, "")
		if err != nil {
			return err
		}
		d.Sets = append(d.Sets, set)
	}
	changes, err := c.changesOf(ctx, storage.Ref{Tenant: v.tenant, Kind: t.Name, ID: id}, shown.Stamp.Version)
	if err != nil {
		return err
	}
	if d.History, err = c.historyOf(v, changes); err != nil {
		return err
	}
	tellOrigins(d.Attributes, d.History)
	d.History.cut()
	return c.render(v, "resource", d.Name, d)
}

type goneData struct {
	ID      string
	List    string
	Plural  string
	History historyData
}

// gone shows what has happened to a resource that is not there any more.
func (c *Console) gone(v *visit, t *scim.ResourceType, id string, cause error) error {
	changes, err := c.changesOf(v.r.Context(), storage.Ref{Tenant: v.tenant, Kind: t.Name, ID: id}, c.o.Store.LastSeq())
	if err != nil || len(changes) == 0 {
		return cause
	}
	d := goneData{ID: id, List: Path + "t/" + v.tenant + "/" + endpointOf(t), Plural: strings.TrimPrefix(t.Endpoint, "/")}
	if d.History, err = c.historyOf(v, changes); err != nil {
		return err
	}
	d.History.cut()
	return c.renderGone(v, d)
}

func (c *Console) renderGone(v *visit, d goneData) error {
	return c.renderStatus(v, http.StatusNotFound, "gone", "Deleted", d)
}

func (c *Console) memberSet(v *visit, t *scim.ResourceType, id, attribute, after string) (memberSet, error) {
	l, next, err := c.o.Service.Members(v.r.Context(), v.tenant, t, id, attribute, after, membersOnPage)
	if err != nil {
		return memberSet{}, err
	}
	set := memberSet{Attribute: attribute, Rows: rowsOf(v.tenant, l), First: after == ""}
	if next != "" {
		set.Next = resourceURL(v.tenant, t, id) + "/" + url.PathEscape(attribute) + "?" + url.Values{"from": {next}}.Encode()
	}
	return set, nil
}

type membersData struct {
	Name, URL string
	Set       memberSet
}

// members is a later page of what a resource refers to.
func (c *Console) members(v *visit) error {
	t, err := c.typeAt(v)
	if err != nil {
		return err
	}
	id := v.r.PathValue("id")
	shown, err := c.o.Service.Show(v.r.Context(), v.tenant, t, id)
	if err != nil {
		return err
	}
	row, err := rowOf(v, t, shown.Body)
	if err != nil {
		return err
	}
	d := membersData{Name: row.Name, URL: resourceURL(v.tenant, t, id)}
	if d.Set, err = c.memberSet(v, t, id, v.r.PathValue("set"), v.r.URL.Query().Get("from")); err != nil {
		return err
	}
	return c.render(v, "members", row.Name, d)
}
