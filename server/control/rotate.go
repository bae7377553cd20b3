package control

import (
	"context"
	"net/http"
	"net/url"
	"time"

	"scimbox/auth"
)

// Rotate asks for a successor of a token or of a client's secret.
type Rotate struct {
	Overlap time.Duration `json:"overlap"` // nanoseconds that the predecessor stays for; 0 ends it now
	TTL     time.Duration `json:"ttl"`     // nanoseconds; 0 is the lifetime of the configuration
}

// Rotated is a new token that has taken the place of another, with the plain text that cannot be had again. It must be
// neither logged nor kept.
type Rotated struct {
	Created
	Predecessor auth.Token `json:"predecessor"`
}

// RotateToken makes a successor of the token that which names: by its id, or by its name, which is that of the one without a
// successor.
func (c *Client) RotateToken(ctx context.Context, which string, how Rotate) (Rotated, error) {
	if which == "" {
		return Rotated{}, &Error{Invalid, (&auth.LookupError{}).Error()}
	}
	return ask[Rotated](ctx, c, http.MethodPost, "/v1/tokens/"+url.PathEscape(which)+"/rotate", how)
}

func (h *handler) rotateToken(w http.ResponseWriter, r *http.Request) error {
	var how Rotate
	if err := decode(w, r, &how); err != nil {
		return err
	}
	if how.TTL == 0 {
		how.TTL = h.TTL
	}
	old, tok, secret, err := h.Tokens.Rotate(r.Context(), r.PathValue("which"), how.Overlap, how.TTL, Origin)
	if err != nil {
		return err
	}
	h.Logger.Info("token rotated", "token", old.ID, "name", old.Name, "successor", tok.ID, "expires", tok.Expires, "overlap", how.Overlap.String())
	h.answer(w, http.StatusCreated, Rotated{Created{tok, secret.Reveal()}, old})
	return nil
}
