package server

import (
	"net/http"

	"scimbox/auth"
)

// oauth returns the handler of a path of the OAuth server (RFC 6749, RFC 8414), nil for a path that is none of its. It is
// beside SCIM and not below it, because the metadata belong to the address as a whole.
func (s *Server) oauth() func(path string) http.Handler {
	token := s.tapped(s.recovered(s.protected(s.house.Tokens.TokenEndpoint(auth.TokenEndpointOptions{
		ClientAddr: clientAddr,
		Granted: func(r *http.Request, tok auth.Token) {
			o := observationOf(r)
			o.token, o.tenant = tok.ID, tok.Tenant
		},
	}))))
	metadata := s.recovered(http.HandlerFunc(s.oauthMetadata))
	return func(path string) http.Handler {
		switch path {
		case auth.TokenPath:
			return token
		case auth.MetadataPath:
			return metadata
		}
		return nil
	}
}

func (s *Server) oauthMetadata(w http.ResponseWriter, r *http.Request) {
	if !readOnly(w, r) {
		return
	}
	body, err := auth.Metadata(s.issuer(r))
	if err != nil {
		panic(err) // of texts, never
	}
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	if r.Method != http.MethodHead {
		_, _ = w.Write(body) // #nosec G705 -- a client that has gone away; JSON by its Content-Type, which nosniff holds browsers to
	}
}

// issuer is the address that clients know the server by.
func (s *Server) issuer(r *http.Request) string {
	if u := s.o.Config.PublicURL; u != "" {
		return u
	}
	scheme, host := base(r)
	return scheme + "://" + host
}
