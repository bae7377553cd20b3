package control

import (
	"context"
	"net/http"
	"time"
)

// ConsoleLink is a link that opens the console, once. It must be neither logged nor kept.
type ConsoleLink struct {
	URL     string    `json:"url"`
	Expires time.Time `json:"expires"`
}

// ConsoleLink makes a link that opens the console of the running server.
func (c *Client) ConsoleLink(ctx context.Context) (ConsoleLink, error) {
	return ask[ConsoleLink](ctx, c, http.MethodPost, "/v1/console", nil)
}

func (h *handler) consoleLink(w http.ResponseWriter, _ *http.Request) error {
	switch {
	case h.Server == nil:
		return &Error{NotFound, "no server runs on these data, and the console is a part of it; start it first"}
	case h.Console == nil:
		return &Error{NotFound, "the console is off: set enabled = true below [console] in the configuration, and start the server again"}
	}
	h.Logger.Info("a link to the console was made")
	h.answer(w, http.StatusCreated, h.Console())
	return nil
}
