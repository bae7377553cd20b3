package console

import (
	"bytes"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"strings"

	"scimbox/activity"
)

const eventsOnPage = 40

// eventRow is one event as a list shows it.
type eventRow struct {
	activity.Event
	URL     string
	When    moment
	Refusal bool
	Reason  string
	Target  string // address of the resource it is about, "" if there is none
}

type activityData struct {
	Path, Text, Type, Op, Token, About string
	Failed, All                        bool
	Rows                               []eventRow
	Types                              []string
	Next                               string
	First                              bool
	More                               bool // there may be more although the page is not full
	Live                               string
}

// activityOps are what the list can be narrowed to.
var activityOps = []string{activity.OpCreate, activity.OpPatch, activity.OpReplace, activity.OpDelete, activity.OpSearch, activity.OpRead, activity.OpBulk}

// Ops are the choices of the filter.
func (activityData) Ops() []string { return activityOps }

// activity is the list of what was done and what was refused, the latest first.
func (c *Console) activity(v *visit) error {
	ask := v.r.URL.Query()
	d := activityData{
		Path: Path + "t/" + v.tenant + "/activity", Text: ask.Get("q"), Type: ask.Get("type"), Op: ask.Get("op"), Token: ask.Get("token"), About: ask.Get("about"),
		Failed: ask.Get("failed") == "yes", All: ask.Get("all") == "yes", First: ask.Get("before") == "",
	}
	before, err := activity.ParsePosition(ask.Get("before"))
	if err != nil {
		return &problem{http.StatusBadRequest, "That did not work", "The place in the list cannot be read; begin at its first page."}
	}
	q := activity.Query{Tenant: v.tenant, Text: d.Text, Type: d.Type, Op: d.Op, Token: d.Token, Resource: d.About, Failed: d.Failed, Before: before, Limit: eventsOnPage, Scan: 20_000}
	if d.All {
		q.Tenant = "" // also what nobody knows the tenant of: who was not let in
	}
	p, err := c.o.Activity.List(v.r.Context(), q)
	if err != nil {
		return err
	}
	for _, t := range c.o.Service.Types().ResourceTypes {
		d.Types = append(d.Types, t.Name)
	}
	for _, e := range p.Events {
		d.Rows = append(d.Rows, c.eventRow(v, e))
	}
	ask.Del("before")
	d.Live = d.Path
	if kept := ask.Encode(); kept != "" {
		d.Live += "?" + kept
	}
	if p.More {
		ask.Set("before", p.Next.String())
		d.Next, d.More = d.Path+"?"+ask.Encode(), len(p.Events) < eventsOnPage
	}
	if v.partial {
		return c.renderPart(v, "activity", "events", d)
	}
	return c.render(v, "activity", "Activity", d)
}

func (c *Console) eventRow(v *visit, e activity.Event) eventRow {
	row := eventRow{Event: e, URL: Path + "t/" + v.tenant + "/activity/" + url.PathEscape(e.ID), When: moment{e.Time, distance(e.Time, v.now)}, Refusal: e.Kind == activity.KindRefusal}
	row.Sentence = cut(e.Sentence, 400)
	if e.Refused != nil {
		row.Reason = e.Refused.Detail
	}
	if t := c.o.Service.Types().ByName(e.Type); t != nil && e.Resource != "" && validTenant(e.Tenant) {
		row.Target = resourceURL(e.Tenant, t, e.Resource)
	}
	return row
}

type eventData struct {
	eventRow
	List          string
	Method, Path  string
	Request       *keptBody
	Answer        *keptBody
	Diffs         []diff
	Rest          int
	Joined, Left  []memberRow
	More          int
	Status        int
	ScimType      string
	Agent, Millis string
}

type memberRow struct{ Name, ID string }

// keptBody is what was kept of a body.
type keptBody struct {
	Text string
	Why  string
	Size string
	Cut  bool
}

const (
	maxBody    = 16 << 10 // of each body that a page shows
	maxMembers = 100
)

// event is the page of one event: the request, its answer, the reason, and what to change.
func (c *Console) event(v *visit) error {
	e, err := c.o.Activity.Get(v.r.Context(), v.r.PathValue("id"))
	if errors.Is(err, activity.ErrNoEvent) {
		return &problem{http.StatusNotFound, "There is nothing here", "There is no such event any more. Refused requests are kept for as long as [activity] keep says."}
	}
	if err != nil {
		return err
	}
	d := eventData{eventRow: c.eventRow(v, *e), List: Path + "t/" + v.tenant + "/activity", More: e.AddedMore + e.RemovedMore}
	for i, x := range e.Changes {
		if i == diffsShown {
			d.Rest = len(e.Changes) - i
			break
		}
		d.Diffs = append(d.Diffs, diff{x.Path, rawText(x.Old), rawText(x.New)})
	}
	d.Joined, d.Left = members(e.Added), members(e.Removed)
	if r := e.Refused; r != nil {
		d.Method, d.Path, d.Status, d.ScimType, d.Agent = r.Method, r.Path, r.Status, r.ScimType, r.Agent
		if r.Query != "" {
			d.Path += "?" + r.Query
		}
		d.Request, d.Answer = bodyOf(r.Body), bodyOf(r.Answer)
	}
	return c.render(v, "event", "Event "+e.ID, d)
}

func members(l []activity.Member) []memberRow {
	var rows []memberRow
	for _, m := range l[:min(len(l), maxMembers)] {
		rows = append(rows, memberRow{short(m.Name), m.ID})
	}
	return rows
}

func bodyOf(k *activity.Kept) *keptBody {
	if k == nil {
		return nil
	}
	b := &keptBody{Why: k.Why, Text: k.Start, Size: bytesOf(k.Size), Cut: k.Start != ""}
	if len(k.JSON) > 0 {
		var out bytes.Buffer
		if err := json.Indent(&out, k.JSON, "", "  "); err == nil {
			b.Text = out.String()
		} else {
			b.Text = string(k.JSON)
		}
	}
	if len(b.Text) > maxBody {
		b.Text, b.Cut = strings.ToValidUTF8(b.Text[:maxBody], ""), true
	}
	return b
}

// reasons are the refusals of the last minutes by the ids of their requests: what was answered, and what to change.
func (c *Console) reasons(v *visit) (map[string]activity.Event, error) {
	p, err := c.o.Activity.List(v.r.Context(), activity.Query{Failed: true, Limit: 50, Scan: 200})
	if err != nil {
		return nil, err
	}
	m := map[string]activity.Event{}
	for _, e := range p.Events {
		if e.Refused != nil {
			m[e.Request] = e
		}
	}
	return m, nil
}
