package server

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"golang.org/x/crypto/bcrypt"
	"golang.org/x/oauth2"
	"golang.org/x/oauth2/clientcredentials"

	"scimbox/auth"
	"scimbox/scim"
	"scimbox/server/control"
)

// oauthHouse is a running server with a client.
type oauthHouse struct {
	*running
	t      *testing.T
	client auth.Client
	secret string
}

func newOAuthHouse(t *testing.T, scope auth.Scope) *oauthHouse {
	t.Helper()
	o, _ := options(t)
	o.tokenCost = bcrypt.MinCost
	h := &oauthHouse{running: serve(t, o, nil), t: t}
	var secret auth.Secret
	var err error
	h.client, secret, err = h.house.Tokens.CreateClient(t.Context(), auth.Spec{Name: "entra", Tenant: "acme", Scope: scope, Preset: "entra"}, control.Origin)
	if err != nil {
		t.Fatal(err)
	}
	h.secret = secret.Reveal()
	return h
}

func (h *oauthHouse) endpoint() string { return "http://" + h.Address() + auth.TokenPath }

// get sends a GET with a token and returns the status.
func (h *oauthHouse) get(token string) int {
	h.t.Helper()
	return h.send("GET", "/Users", token, "")
}

func (h *oauthHouse) send(method, path, token, body string) int {
	h.t.Helper()
	r, err := http.NewRequestWithContext(h.t.Context(), method, h.LocalURL()+path, strings.NewReader(body))
	if err != nil {
		h.t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+token)
	r.Header.Set("Content-Type", "application/scim+json")
	w := httptest.NewRecorder()
	handler, err := h.handler()
	if err != nil {
		h.t.Fatal(err)
	}
	r.RequestURI = r.URL.RequestURI()
	r.RemoteAddr = "127.0.0.1:1"
	handler.ServeHTTP(w, r)
	return w.Code
}

// The client of golang.org/x/oauth2 gets in by Basic, by the body, and when it finds out by itself which of the two works.
func TestClientCredentials(t *testing.T) {
	h := newOAuthHouse(t, auth.ScopeWrite)
	for name, style := range map[string]oauth2.AuthStyle{
		"basic": oauth2.AuthStyleInHeader, "body": oauth2.AuthStyleInParams, "detected": oauth2.AuthStyleAutoDetect,
	} {
		t.Run(name, func(t *testing.T) {
			transport := &http.Transport{}
			defer transport.CloseIdleConnections()
			ctx := context.WithValue(t.Context(), oauth2.HTTPClient, &http.Client{Transport: transport})
			c := clientcredentials.Config{ClientID: h.client.ID, ClientSecret: h.secret, TokenURL: h.endpoint(), AuthStyle: style}
			tok, err := c.Token(ctx)
			if err != nil {
				t.Fatal(err)
			}
			if tok.Type() != "Bearer" || tok.Extra("expires_in") != 3600.0 || tok.Extra("scope") != "write" {
				t.Errorf("granted %q for %v s, scope %v", tok.Type(), tok.Extra("expires_in"), tok.Extra("scope"))
			}
			resp, err := c.Client(ctx).Get(h.LocalURL() + "/Users")
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			if resp.StatusCode != http.StatusOK {
				t.Errorf("with its access token: %s", resp.Status)
			}
		})
	}
	_, err := (&clientcredentials.Config{ClientID: h.client.ID, ClientSecret: h.secret[:len(h.secret)-1], TokenURL: h.endpoint()}).
		Token(context.WithValue(t.Context(), oauth2.HTTPClient, &http.Client{Transport: closing{}}))
	var refused *oauth2.RetrieveError
	if !errors.As(err, &refused) || refused.ErrorCode != "invalid_client" {
		t.Errorf("with half a secret: %v", err)
	}
}

// closing leaves no connection behind.
type closing struct{}

func (closing) RoundTrip(r *http.Request) (*http.Response, error) {
	t := &http.Transport{DisableKeepAlives: true}
	return t.RoundTrip(r)
}

// ask posts to the token endpoint.
func (h *oauthHouse) ask(header http.Header, query, body string) (status int, answer http.Header, v map[string]any) {
	h.t.Helper()
	r, err := http.NewRequestWithContext(h.t.Context(), "POST", h.endpoint()+query, strings.NewReader(body))
	if err != nil {
		h.t.Fatal(err)
	}
	r.Header = header
	resp, err := closing{}.RoundTrip(r)
	if err != nil {
		h.t.Fatal(err)
	}
	defer resp.Body.Close()
	if err := json.NewDecoder(resp.Body).Decode(&v); err != nil {
		h.t.Fatal(err)
	}
	return resp.StatusCode, resp.Header, v
}

func headers(pairs ...string) http.Header {
	h := http.Header{"Content-Type": {"application/x-www-form-urlencoded"}}
	for i := 0; i < len(pairs); i += 2 {
		if h.Del(pairs[i]); pairs[i+1] != "" {
			h.Add(pairs[i], pairs[i+1])
		}
	}
	return h
}

func basicAuth(id, secret string) string {
	return "Basic " + base64.StdEncoding.EncodeToString([]byte(id+":"+secret))
}

// Each refusal has the status, the code and the headers of RFC 6749 section 5.2, and tells nothing that was sent.
func TestTokenEndpoint(t *testing.T) {
	h := newOAuthHouse(t, auth.ScopeRead)
	id, secret := h.client.ID, h.secret
	good := basicAuth(id, secret)
	const grant = "grant_type=client_credentials"
	inBody := grant + "&client_id=" + id + "&client_secret=" + secret
	for name, tt := range map[string]struct {
		header      http.Header
		query, body string
		status      int
		code        string // "" is granted
	}{
		"Basic":                       {headers("Authorization", good), "", grant, 200, ""},
		"Basic, encoded":              {headers("Authorization", basicAuth(id, strings.ReplaceAll(secret, "_", "%5F"))), "", grant, 200, ""},
		"basic in small letters":      {headers("Authorization", "basic"+good[5:]), "", grant, 200, ""},
		"body":                        {headers(), "", inBody, 200, ""},
		"a charset":                   {headers("Content-Type", "application/x-www-form-urlencoded; charset=utf-8"), "", inBody, 200, ""},
		"no Content-Type":             {headers("Content-Type", ""), "", inBody, 200, ""},
		"JSON is accepted back":       {headers("Accept", "application/json"), "", inBody, 200, ""},
		"Basic and the id again":      {headers("Authorization", good), "", grant + "&client_id=" + id, 200, ""},
		"an empty secret beside it":   {headers("Authorization", good), "", grant + "&client_id=&client_secret=", 200, ""},
		"an unknown parameter":        {headers("Authorization", good), "", grant + "&resource=x&audience=y", 200, ""},
		"an empty scope":              {headers("Authorization", good), "", grant + "&scope=", 200, ""},
		"its scope":                   {headers("Authorization", good), "", grant + "&scope=read", 200, ""},
		"the flag of Entra":           {headers("Authorization", good), "?aadOptscim062020", grant, 200, ""},
		"more than its scope":         {headers("Authorization", good), "", grant + "&scope=read+write", 400, "invalid_scope"},
		"an unknown scope":            {headers("Authorization", good), "", grant + "&scope=canary", 400, "invalid_scope"},
		"admin":                       {headers("Authorization", good), "", grant + "&scope=admin", 400, "invalid_scope"},
		"no grant type":               {headers("Authorization", good), "", "", 400, "invalid_request"},
		"another grant type":          {headers("Authorization", good), "", "grant_type=authorization_code&code=canary", 400, "unsupported_grant_type"},
		"a password":                  {headers("Authorization", good), "", "grant_type=password", 400, "unsupported_grant_type"},
		"twice":                       {headers("Authorization", good), "", grant + "&" + grant, 400, "invalid_request"},
		"an unknown one twice":        {headers("Authorization", good), "", grant + "&canary=1&canary=2", 400, "invalid_request"},
		"in the URL":                  {headers(), "?" + inBody, "", 400, "invalid_request"},
		"the secret in the URL":       {headers(), "?client_secret=" + secret, grant + "&client_id=" + id, 400, "invalid_request"},
		"both ways":                   {headers("Authorization", good), "", inBody, 400, "invalid_request"},
		"two clients":                 {headers("Authorization", good), "", grant + "&client_id=canary", 400, "invalid_request"},
		"JSON":                        {headers("Content-Type", "application/json"), "", `{"grant_type": "client_credentials"}`, 400, "invalid_request"},
		"bad encoding":                {headers("Authorization", good), "", grant + "&x=%zz", 400, "invalid_request"},
		"too large":                   {headers("Authorization", good), "", grant + "&x=" + strings.Repeat("x", 20000), 413, "invalid_request"},
		"nobody":                      {headers(), "", grant, 401, "invalid_client"},
		"no secret":                   {headers(), "", grant + "&client_id=" + id, 401, "invalid_client"},
		"an assertion":                {headers(), "", grant + "&client_assertion_type=x&client_assertion=canary", 401, "invalid_client"},
		"Bearer":                      {headers("Authorization", "Bearer "+secret), "", grant, 401, "invalid_client"},
		"no base64":                   {headers("Authorization", "Basic canary!"), "", grant, 401, "invalid_client"},
		"no colon":                    {headers("Authorization", "Basic Y2FuYXJ5"), "", grant, 401, "invalid_client"},
		"half a secret":               {headers("Authorization", basicAuth(id, secret[:30])), "", grant, 401, "invalid_client"},
		"another client's":            {headers("Authorization", basicAuth("aaaaaaaaaaaa", secret)), "", grant, 401, "invalid_client"},
		"id and secret the wrong way": {headers("Authorization", basicAuth(secret, id)), "", grant, 401, "invalid_client"},
	} {
		t.Run(name, func(t *testing.T) {
			status, header, v := h.ask(tt.header, tt.query, tt.body)
			code, _ := v["error"].(string)
			if status != tt.status || code != tt.code {
				t.Errorf("%d %q, want %d %q: %v", status, code, tt.status, tt.code, v)
			}
			if header.Get("Cache-Control") != "no-store" || header.Get("Pragma") != "no-cache" || !strings.HasPrefix(header.Get("Content-Type"), "application/json") {
				t.Errorf("headers %v", header)
			}
			if challenge := header.Get("WWW-Authenticate"); (status == 401) != strings.HasPrefix(challenge, "Basic realm=") {
				t.Errorf("%d with the challenge %q", status, challenge)
			}
			if tt.code == "" {
				if token, _ := v["access_token"].(string); h.get(token) != 200 || v["token_type"] != "Bearer" || v["expires_in"] != 3600.0 || v["scope"] != "read" {
					t.Errorf("granted %v", v)
				}
				return
			}
			description, _ := v["error_description"].(string)
			if description == "" || strings.ContainsFunc(description, func(r rune) bool { return r < 0x20 || r > 0x7e || r == '"' || r == '\\' }) {
				t.Errorf("error_description %q", description)
			}
			if said := fmt.Sprint(v, header); strings.Contains(said, "canary") || strings.Contains(said, secret[30:]) {
				t.Errorf("the answer repeats what was sent: %s", said)
			}
		})
	}
	resp, err := closing{}.RoundTrip(mustRequest(t, h.endpoint()))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusMethodNotAllowed || resp.Header.Get("Allow") != "POST" {
		t.Errorf("GET: %s, Allow %q", resp.Status, resp.Header.Get("Allow"))
	}
}

// An access token does what its client may, in the client's tenant, and is narrower if that was asked for.
func TestAccessTokenIsItsClient(t *testing.T) {
	h := newOAuthHouse(t, auth.ScopeWrite)
	token := func(scope string) string {
		status, _, v := h.ask(headers("Authorization", basicAuth(h.client.ID, h.secret)), "", "grant_type=client_credentials&scope="+url.QueryEscape(scope))
		if status != 200 {
			t.Fatal(v)
		}
		return v["access_token"].(string)
	}
	user := func(name string) string { return `{"schemas":["` + scim.UserURN + `"],"userName":"` + name + `"}` }
	wide, narrow := token("read write"), token("read")
	if got := h.send("POST", "/Users", wide, user("a")); got != 201 {
		t.Errorf("write: %d", got)
	}
	if got := h.send("POST", "/Users", narrow, user("b")); got != 403 {
		t.Errorf("read: %d", got)
	}
	stats, err := h.house.Store.Stats(t.Context())
	if err != nil || stats.Counts["acme"]["User"] != 1 {
		t.Errorf("tenant acme has %v, %v", stats.Counts, err)
	}
	rows, err := h.house.Store.Journal(t.Context(), 0, 100)
	if err != nil || rows[len(rows)-1].Actor != h.client.ID {
		t.Errorf("the journal names %v, %v", rows, err)
	}
	// The secret itself opens nothing.
	if got := h.get(h.secret); got != 401 {
		t.Errorf("the secret as a token: %d", got)
	}
	if _, err := h.house.Tokens.RevokeClient(t.Context(), h.client.ID, control.Origin); err != nil {
		t.Fatal(err)
	}
	for _, tok := range []string{wide, narrow} {
		if got := h.get(tok); got != 401 {
			t.Errorf("after its client was revoked: %d", got)
		}
	}
}

func TestOAuthMetadata(t *testing.T) {
	for public, want := range map[string]string{"": "", "https://scim.example.com": "https://scim.example.com"} {
		o, _ := options(t)
		o.Config.PublicURL = public
		s := serve(t, o, nil)
		if want == "" {
			want = "http://" + s.Address()
		}
		resp, err := closing{}.RoundTrip(mustRequest(t, "http://"+s.Address()+auth.MetadataPath))
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		expect := fmt.Sprintf(`{"issuer":%q,"token_endpoint":%q,"scopes_supported":["read","write"],"response_types_supported":[],`+
			`"grant_types_supported":["client_credentials"],"token_endpoint_auth_methods_supported":["client_secret_basic","client_secret_post"]}`,
			want, want+"/oauth/token")
		if resp.StatusCode != 200 || string(body) != expect || !strings.HasPrefix(resp.Header.Get("Content-Type"), "application/json") {
			t.Errorf("%s %v\n%s\nwant\n%s", resp.Status, resp.Header, body, expect)
		}
	}
}

func mustRequest(t *testing.T, address string) *http.Request {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), "GET", address, nil)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// The token endpoint is announced where it is.
func TestOAuthIsAnnounced(t *testing.T) {
	o, _ := options(t)
	s := serve(t, o, nil)
	resp, err := closing{}.RoundTrip(mustRequest(t, s.LocalURL()+"/ServiceProviderConfig"))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil || !strings.Contains(string(body), `"type":"oauth2"`) || !strings.Contains(string(body), "POST /oauth/token") {
		t.Errorf("%s, %v", body, err)
	}
}
