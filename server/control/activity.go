package control

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"time"

	"scimbox/activity"
	"scimbox/auth"
)

// What is known of events, in the words of package activity.
type (
	Event         = activity.Event
	ActivityQuery = activity.Query
	ActivityPage  = activity.Page
	Position      = activity.Position
	Contact       = activity.Contact
	Member        = activity.Member
)

// ClientContact is when a client was here last, with what people call it.
type ClientContact struct {
	Contact
	Name    string `json:"name"`    // of its token, or of an OAuth client
	Ended   bool   `json:"ended"`   // nobody gets in with it any more, or its successor is used instead
	Overdue bool   `json:"overdue"` // it usually comes more often
}

// History is what was done with one resource, the newest first.
type History struct {
	ID string `json:"id"` // of the resource that was meant
	ActivityPage
}

// encodeQuery writes a query into the query of a URL.
func encodeQuery(q ActivityQuery) url.Values {
	v := url.Values{}
	set := func(name, value string) {
		if value != "" {
			v.Set(name, value)
		}
	}
	set("tenant", q.Tenant)
	set("token", q.Token)
	set("type", q.Type)
	set("resource", q.Resource)
	set("op", q.Op)
	set("text", q.Text)
	set("before", q.Before.String())
	if q.Failed {
		v.Set("failed", "true")
	}
	if q.Limit > 0 {
		v.Set("limit", strconv.Itoa(q.Limit))
	}
	for name, t := range map[string]time.Time{"since": q.Since, "until": q.Until} {
		if !t.IsZero() {
			v.Set(name, t.UTC().Format(time.RFC3339Nano))
		}
	}
	return v
}

const maxEvents = 1000 // on a page

func decodeQuery(v url.Values) (q ActivityQuery, err error) {
	q = ActivityQuery{
		Tenant: v.Get("tenant"), Token: v.Get("token"), Type: v.Get("type"), Resource: v.Get("resource"), Op: v.Get("op"), Text: v.Get("text"),
		Failed: v.Get("failed") == "true",
	}
	if q.Before, err = activity.ParsePosition(v.Get("before")); err != nil {
		return q, &Error{Invalid, err.Error()}
	}
	if s := v.Get("limit"); s != "" {
		if q.Limit, err = strconv.Atoi(s); err != nil || q.Limit < 1 || q.Limit > maxEvents {
			return q, &Error{Invalid, fmt.Sprintf("the limit is %q; it is a number from 1 to %d", s, maxEvents)}
		}
	}
	for name, t := range map[string]*time.Time{"since": &q.Since, "until": &q.Until} {
		if s := v.Get(name); s != "" {
			if *t, err = time.Parse(time.RFC3339Nano, s); err != nil {
				return q, &Error{Invalid, fmt.Sprintf("%s is %q, and no time", name, s)}
			}
		}
	}
	return q, nil
}

var errNoActivity = &Error{Internal, "nothing tells of the activity here"}

func (h *handler) listActivity(w http.ResponseWriter, r *http.Request) error {
	q, err := decodeQuery(r.URL.Query())
	if err != nil {
		return err
	}
	if h.Activity == nil {
		return errNoActivity
	}
	p, err := h.Activity.List(r.Context(), q)
	if err != nil {
		return err
	}
	h.answer(w, http.StatusOK, p)
	return nil
}

// followActivity answers with a line for each event, as they come, until the other side goes away or the server stops.
func (h *handler) followActivity(w http.ResponseWriter, r *http.Request) error {
	q, err := decodeQuery(r.URL.Query())
	if err != nil {
		return err
	}
	from, err := activity.ParsePosition(r.URL.Query().Get("from"))
	if err != nil {
		return &Error{Invalid, err.Error()}
	}
	if h.Activity == nil {
		return errNoActivity
	}
	if h.Server == nil {
		return &Error{Invalid, "no server is running on these data, so that there is nothing to follow"}
	}
	w.Header().Set("Content-Type", "application/x-ndjson")
	w.WriteHeader(http.StatusOK)
	out, flush := json.NewEncoder(w), http.NewResponseController(w)
	if err := flush.Flush(); err != nil {
		return nil // nobody is there
	}
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	defer context.AfterFunc(h.stopping, cancel)()
	err = h.Activity.Follow(ctx, q, from, func(v Event) error {
		return errors.Join(out.Encode(followed{Event: &v}), flush.Flush())
	})
	if ctx.Err() == nil {
		h.Logger.Error("following the activity failed", "error", err)
		if err := out.Encode(followed{Error: explain(err)}); err != nil {
			h.Logger.Debug("an answer to the command line was not written", "error", err)
		}
	}
	return nil
}

// followed is a line of what followActivity answers.
type followed struct {
	Event *Event `json:"event,omitempty"`
	Error *Error `json:"error,omitempty"`
}

func (h *handler) history(w http.ResponseWriter, r *http.Request) error {
	q, err := decodeQuery(r.URL.Query())
	if err != nil {
		return err
	}
	if h.Activity == nil {
		return errNoActivity
	}
	whose := activity.Whose{Tenant: q.Tenant, Type: r.PathValue("type"), Which: r.PathValue("which")}
	p, id, err := h.Activity.History(r.Context(), whose, q)
	if err != nil {
		return err
	}
	if id == "" {
		return &Error{NotFound, fmt.Sprintf("tenant %s has no %s with the id or the name %q, and the journal knows none that was deleted", q.Tenant, whose.Type, whose.Which)}
	}
	h.answer(w, http.StatusOK, History{id, *p})
	return nil
}

// contacts tells when which client was here.
// Contacts returns when which client was here, the latest first.
func (b *Backend) Contacts(ctx context.Context) ([]ClientContact, error) {
	l := []ClientContact{}
	if b.Activity == nil {
		return l, nil
	}
	names, force, err := b.inForce(ctx)
	if err != nil {
		return nil, err
	}
	contacts, last := b.Activity.Log.Contacts(), map[string]time.Time{}
	for _, c := range contacts {
		last[c.Token] = c.Last
	}
	now := b.Clock()
	for _, c := range contacts {
		successor, in := force[c.Token]
		replaced := successor != "" && last[successor].After(c.Last)
		l = append(l, ClientContact{Contact: c, Name: names[c.Token], Ended: !in || replaced, Overdue: in && !replaced && c.Overdue(now)})
	}
	return l, nil
}

// inForce returns the names of all tokens and OAuth clients, and of those that can get in the token that is to take their place, ""
// for none.
func (b *Backend) inForce(ctx context.Context) (names, force map[string]string, err error) {
	names, force = map[string]string{}, map[string]string{}
	tokens, err := b.Tokens.List(ctx)
	if err != nil {
		return nil, nil, err
	}
	clients, err := b.Tokens.Clients(ctx)
	if err != nil {
		return nil, nil, err
	}
	now := b.Clock()
	for _, t := range tokens {
		if names[t.ID] = t.Name; t.Active(now) {
			force[t.ID] = t.Successor
		}
	}
	for _, c := range clients {
		names[c.ID] = c.Name
		if c.Revoked.IsZero() && slices.ContainsFunc(c.Secrets, func(s auth.ClientSecret) bool { return now.Before(s.Expires) }) {
			force[c.ID] = ""
		}
	}
	return names, force, nil
}

// Activity lists events, the newest first.
func (c *Client) Activity(ctx context.Context, q ActivityQuery) (ActivityPage, error) {
	return ask[ActivityPage](ctx, c, http.MethodGet, "/v1/activity?"+encodeQuery(q).Encode(), nil)
}

// History lists what was done with a resource: a User or another, by its id or its name, also one that is no more.
func (c *Client) History(ctx context.Context, resourceType, which string, q ActivityQuery) (History, error) {
	if which == "" {
		return History{}, &Error{Invalid, "whose history? Give an id or a userName"}
	}
	return ask[History](ctx, c, http.MethodGet, "/v1/history/"+url.PathEscape(resourceType)+"/"+url.PathEscape(which)+"?"+encodeQuery(q).Encode(), nil)
}

// Follow calls emit with each event behind a position, as they come, until ctx ends, which is no error, or the server does.
func (c *Client) Follow(ctx context.Context, q ActivityQuery, from Position, emit func(Event) error) error {
	v := encodeQuery(q)
	v.Set("from", from.String())
	resp, err := c.send(ctx, http.MethodGet, "/v1/activity/follow?"+v.Encode(), nil)
	if err != nil {
		if ctx.Err() != nil {
			return nil
		}
		return err
	}
	defer resp.Body.Close()
	lines := json.NewDecoder(resp.Body)
	for {
		var f followed
		err := lines.Decode(&f)
		switch {
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
			return errors.New("the server has stopped")
		case err != nil:
			return err
		case f.Error != nil:
			return f.Error
		case f.Event == nil:
			continue
		}
		if err := emit(*f.Event); err != nil {
			return err
		}
	}
}
