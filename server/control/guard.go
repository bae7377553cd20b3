package control

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"time"

	"scimbox/storage"
)

// GuardBackend is the guard against mass changes. Package scim is behind it.
type GuardBackend struct {
	Status func(context.Context) ([]Guard, error)
	Decide func(ctx context.Context, tenant string, by storage.Origin, d GuardDecision) (Guard, error)
}

// Guard is what the guard of a tenant knows.
type Guard struct {
	Tenant string `json:"tenant"`
	State  string `json:"state"` // one of GuardStates
	Count  int    `json:"count"` // changes in the window
	Most   int    `json:"most"`  // that may be
	Window string `json:"window"`

	// Of one that holds, or has been told to.
	Since time.Time `json:"since,omitzero"`
	Held  string    `json:"held,omitempty"`  // the first change that was
	Actor string    `json:"actor,omitempty"` // id of the token that it came with

	// Of one that lets everything through.
	Until time.Time `json:"until,omitzero"`
	Left  int       `json:"left,omitempty"` // changes; 0 = any number

	Problem string `json:"problem,omitempty"` // of one that cannot be read
}

// GuardStates are what a guard can do: count; refuse and wait for a decision; refuse as was decided; let everything through; and fail
// because its record cannot be read.
var GuardStates = []string{"armed", "holding", "rejected", "approved", "unreadable"}

// Urgency is how much a guard needs somebody: 2 waits for a person, 1 refuses or lets through as one has decided, 0 counts.
func (g Guard) Urgency() int {
	switch g.State {
	case "holding", "unreadable":
		return 2
	case "rejected", "approved":
		return 1
	}
	return 0
}

// MostUrgent orders guards by who needs somebody first, and then by who is nearest to it.
func MostUrgent(a, b Guard) int {
	return cmp.Or(cmp.Compare(b.Urgency(), a.Urgency()), cmp.Compare(b.Count, a.Count), cmp.Compare(a.Tenant, b.Tenant))
}

// GuardDecision is what a person decides about the guard of a tenant.
type GuardDecision struct {
	State   string        `json:"state"`             // approved, rejected or armed
	For     time.Duration `json:"for,omitempty"`     // nanoseconds, of an approval
	Changes int           `json:"changes,omitempty"` // of an approval, 0 = any number
}

// maxApproval is how long everything can be let through: what is approved for good is better switched off, where it is seen.
const maxApproval = 7 * 24 * time.Hour

func (d GuardDecision) check() error {
	switch {
	case d.State != "approved" && d.State != "rejected" && d.State != "armed":
		return &Error{Invalid, fmt.Sprintf("%q is no decision; there are approved, rejected and armed", d.State)}
	case d.State == "approved" && (d.For <= 0 || d.For > maxApproval):
		return &Error{Invalid, fmt.Sprintf("mass changes can be let through for up to %s, and not for %s; to have no guard, set [guard] enabled = false", maxApproval, d.For)}
	case d.Changes < 0:
		return &Error{Invalid, fmt.Sprintf("%d is no number of changes", d.Changes)}
	}
	return nil
}

// Order does what a person has decided about the guard of a tenant, if it is a decision and somebody is there whom it is about.
func (b *GuardBackend) Order(ctx context.Context, tenant string, by storage.Origin, d GuardDecision) (Guard, error) {
	if b == nil {
		return Guard{}, errNoGuard
	}
	if err := d.check(); err != nil {
		return Guard{}, err
	}
	known, err := b.Status(ctx)
	if err != nil {
		return Guard{}, err
	}
	if !slices.ContainsFunc(known, func(g Guard) bool { return g.Tenant == tenant }) {
		return Guard{}, &Error{NotFound, fmt.Sprintf("no tenant %q holds anything; scimbox guard status lists those that do", tenant)}
	}
	return b.Decide(ctx, tenant, by, d)
}

// Guards tells of the guards of all tenants.
func (c *Client) Guards(ctx context.Context) ([]Guard, error) {
	return ask[[]Guard](ctx, c, http.MethodGet, "/v1/guard", nil)
}

// DecideGuard does what a person has decided, and tells of the guard as it is then.
func (c *Client) DecideGuard(ctx context.Context, tenant string, d GuardDecision) (Guard, error) {
	return ask[Guard](ctx, c, http.MethodPost, "/v1/guard/"+url.PathEscape(tenant), d)
}

var errNoGuard = &Error{Invalid, "there is no guard against mass changes: set [guard] enabled = true and start the server again"}

func (h *handler) guards(w http.ResponseWriter, r *http.Request) error {
	if h.Guard == nil {
		return errNoGuard
	}
	list, err := h.Guard.Status(r.Context())
	if err != nil {
		return err
	}
	h.answer(w, http.StatusOK, list)
	return nil
}

func (h *handler) decideGuard(w http.ResponseWriter, r *http.Request) error {
	var d GuardDecision
	if err := decode(w, r, &d); err != nil {
		return err
	}
	g, err := h.Guard.Order(r.Context(), r.PathValue("tenant"), Origin, d)
	if err != nil {
		return err
	}
	h.answer(w, http.StatusOK, g)
	return nil
}
