package control

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"

	"scimbox/auth"
)

// Client asks the control API. Errors that the other side answers with are *Error.
type Client struct {
	http    *http.Client
	version string
	close   func() error

	// Other is called with the version of the other side if it is not ours. May be nil.
	Other func(version string)
}

func newClient(dial func(context.Context) (net.Conn, error), version string) *Client {
	t := &http.Transport{
		DialContext:       func(ctx context.Context, _, _ string) (net.Conn, error) { return dial(ctx) },
		DisableKeepAlives: true, // commands ask once or twice; nothing is then left to be waited for
	}
	return &Client{http: &http.Client{Transport: t}, version: version, close: func() error { return nil }}
}

// Connect returns a client of the server that runs on a data directory, or ErrNoServer. version is that of this program.
func Connect(ctx context.Context, dir, version string) (*Client, error) {
	conn, err := dial(ctx, dir)
	if err != nil {
		return nil, err
	}
	if err := conn.Close(); err != nil {
		return nil, err
	}
	return newClient(func(ctx context.Context) (net.Conn, error) { return dial(ctx, dir) }, version), nil
}

// Close ends the client. Of the client that Local has returned it also ends the other side.
func (c *Client) Close() error { return c.close() }

// Status asks how things are.
func (c *Client) Status(ctx context.Context) (Status, error) {
	return ask[Status](ctx, c, http.MethodGet, "/v1/status", nil)
}

// Health returns what is wrong with the running server, "" if nothing is. ready asks whether clients may be sent to it, not
// only whether it is alive.
func (c *Client) Health(ctx context.Context, ready bool) (wrong string, err error) {
	answer, err := ask[struct {
		Wrong string `json:"wrong"`
	}](ctx, c, http.MethodGet, fmt.Sprintf("/v1/health?ready=%t", ready), nil)
	return answer.Wrong, err
}

// Tokens lists all tokens, also those expired and revoked, in order of name, creation, id.
func (c *Client) Tokens(ctx context.Context) ([]auth.Token, error) {
	return ask[[]auth.Token](ctx, c, http.MethodGet, "/v1/tokens", nil)
}

// CreateToken makes a token.
func (c *Client) CreateToken(ctx context.Context, what Create) (Created, error) {
	return ask[Created](ctx, c, http.MethodPost, "/v1/tokens", what)
}

// RevokeToken ends the token that which names, by its id or its name, for good, and returns it as it is then.
func (c *Client) RevokeToken(ctx context.Context, which string) (auth.Token, error) {
	if which == "" {
		return auth.Token{}, &Error{Invalid, (&auth.LookupError{}).Error()} // a path cannot end in nothing
	}
	return ask[auth.Token](ctx, c, http.MethodDelete, "/v1/tokens/"+url.PathEscape(which), nil)
}

// Check compares everything derived in the store with its records, and repairs it if asked to. progress may be nil; it is
// called now and then with the number of rows examined and expected.
func (c *Client) Check(ctx context.Context, repair bool, progress func(done, total int64)) (*Report, error) {
	resp, err := c.send(ctx, http.MethodPost, "/v1/check", map[string]bool{"repair": repair})
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	lines := json.NewDecoder(resp.Body)
	for {
		var e event
		if err := lines.Decode(&e); err != nil {
			if errors.Is(err, io.EOF) {
				err = errors.New("the server went away in the middle of the check")
			}
			return nil, err
		}
		switch {
		case e.Error != nil:
			return nil, e.Error
		case e.Report != nil:
			return e.Report, nil
		case e.Progress != nil && progress != nil:
			progress(e.Progress.Done, e.Progress.Total)
		}
	}
}

func ask[T any](ctx context.Context, c *Client, method, path string, body any) (answer T, err error) {
	resp, err := c.send(ctx, method, path, body)
	if err != nil {
		return answer, err
	}
	defer resp.Body.Close()
	if err := json.NewDecoder(resp.Body).Decode(&answer); err != nil {
		return answer, fmt.Errorf("the server's answer cannot be read: %w", err)
	}
	return answer, nil
}

// send returns a response of success, or an error.
func (c *Client) send(ctx context.Context, method, path string, body any) (*http.Response, error) {
	var payload io.Reader
	if body != nil {
		data, err := json.Marshal(body)
		if err != nil {
			return nil, err
		}
		payload = bytes.NewReader(data)
	}
	r, err := http.NewRequestWithContext(ctx, method, "http://"+host+path, payload)
	if err != nil {
		return nil, err
	}
	r.Header.Set(versionHeader, c.version)
	resp, err := c.http.Do(r)
	if err != nil {
		var u *url.Error
		if errors.As(err, &u) {
			err = u.Err // "Get http://scimbox.control/v1/status:" tells nobody anything
		}
		return nil, fmt.Errorf("the running server does not answer: %w", err)
	}
	if other := resp.Header.Get(versionHeader); other != "" && other != c.version && c.Other != nil {
		c.Other(other)
	}
	if resp.StatusCode < 300 {
		return resp, nil
	}
	defer resp.Body.Close()
	var failure struct {
		Error *Error `json:"error"`
	}
	text, err := io.ReadAll(io.LimitReader(resp.Body, 1<<16))
	if err != nil {
		return nil, fmt.Errorf("the server's answer cannot be read: %w", err)
	}
	if json.Unmarshal(text, &failure) != nil || failure.Error == nil {
		return nil, fmt.Errorf("the server answers %s: %s", resp.Status, bytes.TrimSpace(text))
	}
	return nil, failure.Error
}
