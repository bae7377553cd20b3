package auth

import (
	"context"
	"encoding/base64"
	"errors"
	"net/http"
	"net/netip"
	"strconv"
	"strings"

	"scimbox/storage"
)

// MiddlewareOptions tell Middleware of the house it is the door of. The zero value asks everybody for a token and takes the
// client's address from the connection.
type MiddlewareOptions struct {
	// Public names the requests that need no token. Credentials that such a request has are examined all the same, so
	// that a person who tries out a token hears whether it works. nil = none.
	Public func(*http.Request) bool

	// WriteError writes the body of a refusal. The headers that this package sets are already in w.Header(). detail may be
	// shown to anybody. nil = http.Error.
	WriteError func(w http.ResponseWriter, r *http.Request, status int, scimType, detail string)

	// ClientAddr is where the request comes from, the client's address behind trusted proxies. nil = that of the connection.
	// Failures behind a proxy that is not trusted are all counted together.
	ClientAddr func(*http.Request) netip.Addr

	// Admit takes the token that a request is let in with, for a house that keeps what it knows of a request together. nil = the
	// token is in the context of the request, where FromContext finds it.
	Admit func(*http.Request, Token)

	Strict bool   // no tolerance for clients that leave the RFCs: the scheme must be named
	Realm  string // default "scimbox"
}

type contextKey struct{}

// FromContext returns the token that the request was let in with, unless MiddlewareOptions.Admit has taken it; ok is false for a
// public request without one.
func FromContext(ctx context.Context) (tok Token, ok bool) {
	tok, ok = ctx.Value(contextKey{}).(Token)
	return tok, ok
}

// Middleware lets requests with a token in force through to next, with the Token in their context or given to o.Admit, and
// answers all others.
//
// The token is taken from the Authorization header alone: as Bearer (RFC 6750 section 2.1), as the password of Basic with
// any user name (RFC 7617), or, unless o.Strict, by itself, as Okta's "HTTP Header" mode sends what is typed into its
// field. A token in the query string is not looked at.
//
//	400  several Authorization headers
//	401  no token, or none that is in force; two WWW-Authenticate headers say how to send one
//	403  the scope does not cover the request
//	429  too many failures from this address, with Retry-After
//	503  too many tokens are being verified, with Retry-After
func (t *Tokens) Middleware(next http.Handler, o MiddlewareOptions) http.Handler {
	if o.Public == nil {
		o.Public = func(*http.Request) bool { return false }
	}
	if o.WriteError == nil {
		o.WriteError = func(w http.ResponseWriter, _ *http.Request, status int, _, detail string) {
			http.Error(w, detail, status)
		}
	}
	if o.ClientAddr == nil {
		o.ClientAddr = connectionAddr
	}
	if o.Realm == "" {
		o.Realm = "scimbox"
	}
	realm := `realm="` + quoted(o.Realm) + `"`

	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		presented, err := credentials(r.Header, o.Strict)
		if errors.Is(err, errNone) && o.Public(r) {
			next.ServeHTTP(w, r)
			return
		}
		var tok Token
		if err == nil {
			tok, err = t.Verify(r.Context(), presented, o.ClientAddr(r))
		}
		if err == nil && !tok.Scope.CanWrite() && writes(r) {
			err = errScope
		}
		if err != nil {
			a := t.refusal(r, err)
			a.setHeaders(w.Header(), realm)
			o.WriteError(w, r, a.status, "", a.detail)
			return
		}
		if o.Admit != nil {
			o.Admit(r, tok)
		} else {
			r = r.WithContext(context.WithValue(r.Context(), contextKey{}, tok))
		}
		next.ServeHTTP(w, r)
	})
}

// quoted is s within the quotes of a challenge.
func quoted(s string) string { return strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(s) }

func connectionAddr(r *http.Request) netip.Addr {
	ap, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return netip.Addr{} // a unix socket
	}
	return ap.Addr()
}

// writes reports whether a request needs the scope write. A search by POST reads (RFC 7644 section 3.4.3).
func writes(r *http.Request) bool {
	switch r.Method {
	case http.MethodGet, http.MethodHead, http.MethodOptions:
		return false
	case http.MethodPost:
		return !strings.HasSuffix(strings.TrimSuffix(r.URL.Path, "/"), "/.search")
	}
	return true
}

var (
	errNone      = errors.New("no credentials")
	errSeveral   = errors.New("several Authorization headers")
	errMalformed = errors.New("credentials that cannot be read")
	errScope     = errors.New("insufficient scope")
)

// credentials takes the token out of the Authorization header.
func credentials(h http.Header, strict bool) (string, error) {
	values := h["Authorization"]
	if len(values) > 1 {
		// Two doors that each read another of them would disagree about who is asking.
		return "", errSeveral
	}
	if len(values) == 0 {
		return "", errNone
	}
	value := strings.TrimSpace(values[0])
	scheme, rest, _ := strings.Cut(value, " ")
	rest = strings.TrimSpace(rest)
	switch {
	case strings.EqualFold(scheme, "Bearer"):
		if rest == "" {
			return "", errNone
		}
		return rest, nil
	case strings.EqualFold(scheme, "Basic"):
		pair, err := base64.StdEncoding.DecodeString(rest)
		if err != nil {
			return "", errMalformed
		}
		_, password, found := strings.Cut(string(pair), ":")
		if !found {
			return "", errMalformed
		}
		return password, nil
	case !strict && rest == "" && strings.HasPrefix(value, prefix):
		return value, nil
	}
	return "", errNone // an unknown scheme counts as none (RFC 6750 section 3.1)
}

// answer is a refusal as the client sees it.
type answer struct {
	status      int
	detail      string // for the person who reads the response
	code        string // error of the Bearer challenge (RFC 6750 section 3.1), "" for none
	description string // error_description
	scope       Scope  // the scope that was needed
	retryAfter  int64  // seconds
}

// refusal is the one table from the reason of a refusal to what the client may know of it.
func (t *Tokens) refusal(r *http.Request, err error) answer {
	var limited *LimitError
	switch {
	case errors.Is(err, errNone):
		return answer{status: http.StatusUnauthorized,
			detail: "this request needs a token; send the header Authorization: Bearer <token>"}
	case errors.Is(err, errSeveral):
		return answer{status: http.StatusBadRequest, code: "invalid_request", description: "several Authorization headers",
			detail: "the request has several Authorization headers; send one"}
	case errors.Is(err, errMalformed):
		return answer{status: http.StatusUnauthorized, code: "invalid_token", description: "the Basic credentials cannot be read",
			detail: "the Basic credentials are not base64 of <any name>:<token>"}
	case errors.Is(err, ErrMalformed):
		return answer{status: http.StatusUnauthorized, code: "invalid_token", description: "not a complete token",
			detail: "this is not a complete scimbox token: one starts with " + prefix + " and has " +
				strconv.Itoa(tokenLen) + " characters; copy it again, without spaces or line breaks"}
	case errors.Is(err, ErrClientSecret):
		return answer{status: http.StatusUnauthorized, code: "invalid_token", description: "a client secret is no token",
			detail: "this is the secret of an OAuth client: post it to the token endpoint (" + TokenPath + ") with the client id, and send the access token that comes back"}
	case errors.Is(err, ErrUnknown), errors.Is(err, ErrRevoked):
		return answer{status: http.StatusUnauthorized, code: "invalid_token", description: "the token is not valid",
			detail: "the token is not valid on this server; it may be of another server or withdrawn"}
	case errors.Is(err, ErrExpired):
		return answer{status: http.StatusUnauthorized, code: "invalid_token", description: "the token has expired",
			detail: "the token has expired; ask the operator of this server for a new one"}
	case errors.Is(err, errScope):
		return answer{status: http.StatusForbidden, code: "insufficient_scope", description: "the token may only read", scope: ScopeWrite,
			detail: "the token may only read; this request needs one with the scope write"}
	case errors.As(err, &limited):
		return answer{status: http.StatusTooManyRequests, retryAfter: limited.seconds(),
			detail: "too many requests with a wrong token came from this address; wait as long as Retry-After says"}
	case errors.Is(err, ErrBusy), errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded), errors.Is(err, storage.ErrClosed):
		return answer{status: http.StatusServiceUnavailable, retryAfter: 1,
			detail: "the token could not be verified in time; try again"}
	}
	t.log.ErrorContext(r.Context(), "a token could not be verified", "error", err)
	return answer{status: http.StatusInternalServerError, detail: "the token could not be verified; the server's log says why"}
}

func (a answer) setHeaders(h http.Header, realm string) {
	if a.retryAfter > 0 {
		h.Set("Retry-After", strconv.FormatInt(a.retryAfter, 10))
	}
	if a.status != http.StatusUnauthorized && a.code == "" {
		return
	}
	bearer := "Bearer " + realm
	if a.code != "" {
		bearer += `, error="` + a.code + `", error_description="` + a.description + `"`
	}
	if a.scope != "" {
		bearer += `, scope="` + string(a.scope) + `"`
	}
	h.Set("WWW-Authenticate", bearer)
	if a.status == http.StatusUnauthorized {
		h.Add("WWW-Authenticate", "Basic "+realm+`, charset="UTF-8"`)
	}
}
