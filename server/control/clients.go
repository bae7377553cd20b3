package control

import (
	"context"
	"fmt"
	"net/http"
	"net/url"

	"scimbox/auth"
)

// OAuthClient is what is known of an OAuth client besides its secrets.
type OAuthClient = auth.Client

// ClientSecret is what is known of one of its secrets.
type ClientSecret = auth.ClientSecret

// CreatedClient is a client with the plain text of its newest secret, which cannot be had again. It must be neither logged
// nor kept.
type CreatedClient struct {
	auth.Client
	Secret string `json:"secret"`
}

// Clients lists all clients, also those revoked, in order of name, creation, id.
func (c *Client) Clients(ctx context.Context) ([]auth.Client, error) {
	return ask[[]auth.Client](ctx, c, http.MethodGet, "/v1/clients", nil)
}

// CreateClient makes a client with a secret that ends after the TTL.
func (c *Client) CreateClient(ctx context.Context, what Create) (CreatedClient, error) {
	return ask[CreatedClient](ctx, c, http.MethodPost, "/v1/clients", what)
}

// RotateClient gives the client that which names, by its id or its name, another secret.
func (c *Client) RotateClient(ctx context.Context, which string, how Rotate) (CreatedClient, error) {
	if which == "" {
		return CreatedClient{}, whichClient()
	}
	return ask[CreatedClient](ctx, c, http.MethodPost, "/v1/clients/"+url.PathEscape(which)+"/rotate", how)
}

// RevokeClient ends a client for good, or only one of its secrets if secret is the id of one, and returns it as it is then.
func (c *Client) RevokeClient(ctx context.Context, which, secret string) (auth.Client, error) {
	if which == "" {
		return auth.Client{}, whichClient()
	}
	path := "/v1/clients/" + url.PathEscape(which)
	if secret != "" {
		path += "?secret=" + url.QueryEscape(secret)
	}
	return ask[auth.Client](ctx, c, http.MethodDelete, path, nil)
}

func whichClient() error { return &Error{Invalid, (&auth.LookupError{Kind: "client"}).Error()} }

func (h *handler) listClients(w http.ResponseWriter, r *http.Request) error {
	list, err := h.Tokens.Clients(r.Context())
	if err != nil {
		return err
	}
	if list == nil {
		list = []auth.Client{}
	}
	h.answer(w, http.StatusOK, list)
	return nil
}

func (h *handler) createClient(w http.ResponseWriter, r *http.Request) error {
	var what Create
	if err := decode(w, r, &what); err != nil {
		return err
	}
	if what.TTL == 0 {
		what.TTL = h.TTL
	}
	if err := h.knowsUser(r.Context(), what); err != nil {
		return err
	}
	c, secret, err := h.Tokens.CreateClient(r.Context(), what.spec(), Origin)
	if err != nil {
		return err
	}
	h.Logger.Info("client created", "client", c.ID, "name", c.Name, "tenant", c.Tenant, "scope", c.Scope, "expires", c.Secrets[0].Expires)
	h.answer(w, http.StatusCreated, CreatedClient{c, secret.Reveal()})
	return nil
}

func (h *handler) rotateClient(w http.ResponseWriter, r *http.Request) error {
	var how Rotate
	if err := decode(w, r, &how); err != nil {
		return err
	}
	if how.TTL == 0 {
		how.TTL = h.TTL
	}
	c, secret, err := h.Tokens.RotateClient(r.Context(), r.PathValue("which"), how.Overlap, how.TTL, Origin)
	if err != nil {
		return err
	}
	newest := c.Secrets[len(c.Secrets)-1]
	h.Logger.Info("client secret rotated", "client", c.ID, "name", c.Name, "secret_id", newest.ID, "expires", newest.Expires, "overlap", how.Overlap.String())
	h.answer(w, http.StatusCreated, CreatedClient{c, secret.Reveal()})
	return nil
}

func (h *handler) revokeClient(w http.ResponseWriter, r *http.Request) error {
	ctx, which := r.Context(), r.PathValue("which")
	if secret := r.URL.Query().Get("secret"); secret != "" {
		c, err := h.Tokens.RevokeSecret(ctx, which, secret, Origin)
		if err != nil {
			return err
		}
		h.Logger.Info("client secret revoked", "client", c.ID, "name", c.Name, "secrets", fmt.Sprint(len(c.Secrets)))
		h.answer(w, http.StatusOK, c)
		return nil
	}
	c, err := h.Tokens.RevokeClient(ctx, which, Origin)
	if err != nil {
		return err
	}
	h.Logger.Info("client revoked", "client", c.ID, "name", c.Name)
	h.answer(w, http.StatusOK, c)
	return nil
}
