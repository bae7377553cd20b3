package control

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
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
	State  string `json:"state"` // armed, holding, rejected or approved
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
}

// Holds reports whether changes are refused.
func (g Guard) Holds() bool { return g.State == "holding" || g.State == "rejected" }

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
	if h.Guard == nil {
		return errNoGuard
	}
	if err := d.check(); err != nil {
		return err
	}
	tenant := r.PathValue("tenant")
	known, err := h.Guard.Status(r.Context())
	if err != nil {
		return err
	}
	for _, g := range known {
		if g.Tenant == tenant {
			g, err := h.Guard.Decide(r.Context(), tenant, Origin, d)
			if err != nil {
				return err
			}
			h.answer(w, http.StatusOK, g)
			return nil
		}
	}
	return &Error{NotFound, fmt.Sprintf("no tenant %q holds anything; scimbox guard status lists those that do", tenant)}
}
