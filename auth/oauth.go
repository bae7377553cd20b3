package auth

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"time"

	"scimbox/storage"
)

// Where the OAuth server answers, below the address of the server (RFC 6749 section 3.2, RFC 8414 section 3).
const (
	TokenPath    = "/oauth/token" // #nosec G101 -- a path
	MetadataPath = "/.well-known/oauth-authorization-server"
)

// maxForm is what the body of a token request may have. A request that means something has 300 bytes.
const maxForm = 16 << 10

// Metadata returns the metadata of the OAuth server (RFC 8414 section 2); issuer is scheme and host of the server.
//
// response_types_supported is empty, and there although section 3.2 leaves out what is empty: section 2 requires the
// member, and clients that check the form of the document do too.
func Metadata(issuer string) ([]byte, error) {
	return json.Marshal(struct {
		Issuer        string   `json:"issuer"`
		TokenEndpoint string   `json:"token_endpoint"`
		Scopes        []Scope  `json:"scopes_supported"`
		ResponseTypes []string `json:"response_types_supported"`
		GrantTypes    []string `json:"grant_types_supported"`
		AuthMethods   []string `json:"token_endpoint_auth_methods_supported"`
	}{
		issuer, issuer + TokenPath, []Scope{ScopeRead, ScopeWrite}, []string{},
		[]string{"client_credentials"}, []string{"client_secret_basic", "client_secret_post"},
	})
}

// TokenEndpointOptions are those of MiddlewareOptions that the token endpoint needs.
type TokenEndpointOptions struct {
	ClientAddr func(*http.Request) netip.Addr // nil = that of the connection
	Realm      string                         // default "scimbox"

	// Granted is called with the token of the client whose request was granted, before it is answered. nil = nothing.
	Granted func(*http.Request, Token)
}

// oauthError is a refusal of RFC 6749 section 5.2.
type oauthError struct {
	status      int
	code        string
	description string // US-ASCII without " and \, for people
	retryAfter  int64  // seconds
}

func (e *oauthError) Error() string { return e.code + ": " + e.description }

func refused(status int, code, format string, args ...any) *oauthError {
	return &oauthError{status: status, code: code, description: fmt.Sprintf(format, args...)}
}

// TokenEndpoint issues access tokens to clients for their own credentials (RFC 6749 section 4.4): a POST of a form with
// grant_type=client_credentials and perhaps scope. The secret is taken from Basic (client_secret_basic), whose halves may be
// form-encoded as section 2.3.1 asks, or from the form (client_secret_post).
//
//	400  invalid_request, unsupported_grant_type, invalid_scope
//	401  invalid_client; of a secret that has expired it says so, to those who have it
//	429  temporarily_unavailable: too many failures from this address, with Retry-After
//	503  temporarily_unavailable: too many secrets are being verified
//
// unauthorized_client is not used: there is one grant, and each client may use it.
func (t *Tokens) TokenEndpoint(o TokenEndpointOptions) http.Handler {
	if o.ClientAddr == nil {
		o.ClientAddr = connectionAddr
	}
	if o.Realm == "" {
		o.Realm = "scimbox"
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Cache-Control", "no-store")
		h.Set("Pragma", "no-cache")
		h.Set("Content-Type", "application/json; charset=utf-8")
		g, err := t.grant(w, r, o.ClientAddr(r))
		if err != nil {
			e := t.oauthRefusal(r, err)
			if e.status == http.StatusMethodNotAllowed {
				h.Set("Allow", http.MethodPost)
			}
			if e.status == http.StatusUnauthorized {
				h.Set("WWW-Authenticate", `Basic realm="`+quoted(o.Realm)+`", charset="UTF-8"`)
			}
			if e.retryAfter > 0 {
				h.Set("Retry-After", strconv.FormatInt(e.retryAfter, 10))
			}
			t.writeOAuth(w, r, e.status, struct {
				Error       string `json:"error"`
				Description string `json:"error_description"`
			}{e.code, e.description})
			return
		}
		if o.Granted != nil {
			o.Granted(r, g.Token)
		}
		t.writeOAuth(w, r, http.StatusOK, struct {
			AccessToken string `json:"access_token"`
			TokenType   string `json:"token_type"`
			ExpiresIn   int64  `json:"expires_in"`
			Scope       Scope  `json:"scope"`
		}{g.secret.Reveal(), "Bearer", int64(g.Expires.Sub(g.Created) / time.Second), g.Scope})
	})
}

func (t *Tokens) writeOAuth(w http.ResponseWriter, r *http.Request, status int, v any) {
	w.WriteHeader(status)
	if r.Method == http.MethodHead {
		return
	}
	if err := json.NewEncoder(w).Encode(v); err != nil {
		t.log.DebugContext(r.Context(), "an answer of the token endpoint was not written", "error", err)
	}
}

// grant reads a token request and answers it.
func (t *Tokens) grant(w http.ResponseWriter, r *http.Request, from netip.Addr) (grant, error) {
	form, err := tokenForm(w, r)
	if err != nil {
		return grant{}, err
	}
	id, secret, err := clientCredentials(r.Header, form)
	if err != nil {
		return grant{}, err
	}
	// Before the secret, so that what cannot be costs nothing.
	switch kind := form.Get("grant_type"); kind {
	case "client_credentials":
	case "":
		return grant{}, refused(http.StatusBadRequest, "invalid_request", "grant_type is missing; send grant_type=client_credentials")
	default:
		return grant{}, refused(http.StatusBadRequest, "unsupported_grant_type", "the only grant_type is client_credentials")
	}
	tok, c, err := t.authenticate(r.Context(), id, secret, from)
	if err != nil {
		return grant{}, err
	}
	scope, err := narrowed(tok.Scope, form.Get("scope"))
	if err != nil {
		return grant{}, err
	}
	return t.issue(r.Context(), c, scope)
}

// tokenForm reads the form of a token request. A parameter that is there twice, or in the URL, is refused (RFC 6749 sections
// 3.2 and 2.3.1): a proxy in front, or a log, may have seen another one than we do.
func tokenForm(w http.ResponseWriter, r *http.Request) (url.Values, error) {
	if r.Method != http.MethodPost {
		return nil, refused(http.StatusMethodNotAllowed, "invalid_request", "a token is asked for by POST (RFC 6749 section 3.2)")
	}
	query := r.URL.Query()
	for _, name := range []string{"grant_type", "client_id", "client_secret", "scope"} {
		if query.Has(name) {
			return nil, refused(http.StatusBadRequest, "invalid_request", "%s is in the URL; send it in the body (RFC 6749 section 2.3.1). A secret that was in a URL is to be replaced", name)
		}
	}
	const form = "application/x-www-form-urlencoded"
	if sent := r.Header.Get("Content-Type"); sent != "" {
		if kind, _, err := mime.ParseMediaType(sent); err != nil || kind != form {
			return nil, refused(http.StatusBadRequest, "invalid_request", "the Content-Type of a token request is %s (RFC 6749 section 4.4.2)", form)
		}
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxForm))
	var large *http.MaxBytesError
	switch {
	case errors.As(err, &large):
		return nil, refused(http.StatusRequestEntityTooLarge, "invalid_request", "a token request has at most %d bytes", maxForm)
	case err != nil:
		return nil, refused(http.StatusBadRequest, "invalid_request", "the body could not be read")
	}
	values, err := url.ParseQuery(string(body))
	if err != nil {
		return nil, refused(http.StatusBadRequest, "invalid_request", "the body is not of the form %s", form)
	}
	for name, v := range values {
		if len(v) > 1 {
			return nil, refused(http.StatusBadRequest, "invalid_request", "%s is given more than once (RFC 6749 section 3.2)", known(name))
		}
	}
	return values, nil
}

// known returns the name of a parameter if it is one of ours: no text of a client's goes into an answer.
func known(name string) string {
	switch name {
	case "grant_type", "client_id", "client_secret", "scope":
		return name
	}
	return "a parameter"
}

// clientCredentials takes id and secret of the client out of Authorization or the form, of which one is used (RFC 6749
// section 2.3). A client_id in the form is allowed beside Basic if it is the same.
func clientCredentials(h http.Header, form url.Values) (id, secret string, err error) {
	invalid := func(format string, args ...any) (string, string, error) {
		return "", "", refused(http.StatusBadRequest, "invalid_request", format, args...)
	}
	values := h["Authorization"]
	if len(values) > 1 {
		return invalid("the request has several Authorization headers; send one")
	}
	if form.Get("client_assertion") != "" || form.Get("client_assertion_type") != "" {
		return "", "", refused(http.StatusUnauthorized, "invalid_client", "client assertions are not supported; send client id and secret by Basic or in the body")
	}
	if len(values) == 0 || strings.TrimSpace(values[0]) == "" {
		id, secret = form.Get("client_id"), form.Get("client_secret")
		if id == "" || secret == "" {
			return "", "", refused(http.StatusUnauthorized, "invalid_client", "client id and secret are missing; send them by Basic, or as client_id and client_secret in the body")
		}
		return id, secret, nil
	}
	scheme, rest, _ := strings.Cut(strings.TrimSpace(values[0]), " ")
	if !strings.EqualFold(scheme, "Basic") {
		return "", "", refused(http.StatusUnauthorized, "invalid_client", "the token endpoint takes client id and secret by Basic, or in the body, and no other Authorization")
	}
	pair, err := base64.StdEncoding.DecodeString(strings.TrimSpace(rest))
	id, secret, found := strings.Cut(string(pair), ":")
	if err != nil || !found {
		return "", "", refused(http.StatusUnauthorized, "invalid_client", "the Basic credentials are not base64 of <client id>:<client secret>")
	}
	// Ids and secrets of ours are the same in both forms; a client may have encoded what was typed around them.
	for _, half := range []*string{&id, &secret} {
		if plain, err := url.QueryUnescape(*half); err == nil {
			*half = plain
		}
	}
	if form.Get("client_secret") != "" {
		return invalid("the client's secret is both in Authorization and in the body; send it once (RFC 6749 section 2.3)")
	}
	if other := form.Get("client_id"); other != "" && other != id {
		return invalid("Authorization and the body name different clients")
	}
	return id, secret, nil
}

// narrowed returns the scope of an access token: the client's, unless less was asked for (RFC 6749 section 3.3).
func narrowed(may Scope, asked string) (Scope, error) {
	var scope Scope
	for word := range strings.FieldsSeq(asked) {
		switch s := Scope(word); {
		case s != ScopeRead && s != ScopeWrite:
			return "", refused(http.StatusBadRequest, "invalid_scope", "a scope that was asked for is unknown; the scopes are read and write, and without one the token has that of the client")
		case s.CanWrite() && !may.CanWrite():
			return "", refused(http.StatusBadRequest, "invalid_scope", "the client may only read; the scope write was asked for")
		case scope == "" || s.CanWrite():
			scope = s
		}
	}
	if scope == "" {
		return may, nil
	}
	return scope, nil
}

// oauthRefusal is the one table from the reason of a refusal to what the client may know of it.
func (t *Tokens) oauthRefusal(r *http.Request, err error) *oauthError {
	var e *oauthError
	var limited *LimitError
	switch {
	case errors.As(err, &e):
		return e
	case errors.Is(err, ErrMalformed):
		return refused(http.StatusUnauthorized, "invalid_client", "this is not a complete client secret: one starts with %s and has %d characters; copy it again, without spaces or line breaks",
			prefix+string(ofClient), tokenLen+len(ofClient))
	case errors.Is(err, ErrExpired):
		return refused(http.StatusUnauthorized, "invalid_client", "the client secret has expired; ask the operator of this server for another one")
	case errors.Is(err, ErrUnknown), errors.Is(err, ErrRevoked):
		return refused(http.StatusUnauthorized, "invalid_client", "client id and secret do not belong together on this server; they may be of another server or withdrawn")
	case errors.As(err, &limited):
		e := refused(http.StatusTooManyRequests, "temporarily_unavailable", "too many requests with wrong secrets or tokens came from this address; wait as long as Retry-After says")
		e.retryAfter = limited.seconds()
		return e
	case errors.Is(err, ErrBusy), errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded), errors.Is(err, storage.ErrClosed):
		e := refused(http.StatusServiceUnavailable, "temporarily_unavailable", "the request could not be answered in time; try again")
		e.retryAfter = 1
		return e
	}
	t.log.ErrorContext(r.Context(), "an access token could not be issued", "error", err)
	return refused(http.StatusInternalServerError, "server_error", "the token could not be issued; the server's log says why")
}
