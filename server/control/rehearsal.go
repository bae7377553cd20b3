package control

import (
	"context"
	"crypto/rand"
	"net/http"
	"net/url"
	"strings"

	"scimbox/auth"
)

// rehearsalTenant begins the name of a tenant that there is for one rehearsal, and holds nothing.
const rehearsalTenant = "doctor-"

// Rehearse makes a token with which a command can be a client of the server for a minute: it reads a tenant of its own that
// is empty. EndRehearsal takes it away again.
func (c *Client) Rehearse(ctx context.Context) (Created, error) {
	return ask[Created](ctx, c, http.MethodPost, "/v1/rehearsals", nil)
}

// EndRehearsal revokes the token of Rehearse and leaves nothing of it but rows of the journal.
func (c *Client) EndRehearsal(ctx context.Context, id string) error {
	resp, err := c.send(ctx, http.MethodDelete, "/v1/rehearsals/"+url.PathEscape(id), nil)
	if err != nil {
		return err
	}
	return resp.Body.Close()
}

func (h *handler) rehearse(w http.ResponseWriter, r *http.Request) error {
	ctx := r.Context()
	// A command that was killed has not taken its own away.
	all, err := h.Tokens.List(ctx)
	if err != nil {
		return err
	}
	for _, t := range all {
		if strings.HasPrefix(t.Tenant, rehearsalTenant) && !t.Active(h.Clock()) {
			if err := h.Tokens.Remove(ctx, t.ID, Origin); err != nil {
				return err
			}
			h.forgetContact(t.ID)
		}
	}
	tok, secret, err := h.Tokens.Create(ctx, auth.Spec{
		Name: "doctor", Tenant: rehearsalTenant + strings.ToLower(rand.Text()[:12]), Scope: auth.ScopeRead, TTL: auth.MinTTL, Preset: "entra",
	}, Origin)
	if err != nil {
		return err
	}
	h.answer(w, http.StatusCreated, Created{tok, secret.Reveal()})
	return nil
}

func (h *handler) endRehearsal(w http.ResponseWriter, r *http.Request) error {
	tok, err := h.Tokens.Get(r.Context(), r.PathValue("id"))
	if err != nil {
		return err
	}
	if !strings.HasPrefix(tok.Tenant, rehearsalTenant) {
		return &Error{Invalid, "token " + tok.ID + " is none of a rehearsal; scimbox token revoke ends it"}
	}
	if err := h.Tokens.Remove(r.Context(), tok.ID, Origin); err != nil {
		return err
	}
	h.forgetContact(tok.ID)
	w.WriteHeader(http.StatusNoContent)
	return nil
}

func (h *handler) forgetContact(token string) {
	if h.Activity != nil {
		h.Activity.Log.Forget(token)
	}
}
