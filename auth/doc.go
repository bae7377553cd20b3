// Package auth decides who may talk to the server: tokens, their life, and the door that asks for them.
//
//	secret.go      Secret, the plain text that cannot be printed by accident
//	form.go        scimbox_<id>_<secret><checksum>: how a token is written and recognised
//	token.go       Token, Spec, and the row that a token is kept as
//	tokens.go      Tokens: create, list, get, revoke
//	verify.go      from what was presented to a Token: cache, single flight, bcrypt
//	limit.go       failed attempts per client address
//	rotate.go      a successor for a token, while the old one still works
//	deadline.go    what ends when, and the warnings before it
//	client.go      OAuth clients and their secrets: create, list, rotate, revoke
//	access.go      access tokens: issue, keep, read
//	oauth.go       HTTP: the token endpoint (RFC 6749 section 4.4) and its metadata (RFC 8414)
//	use.go         last use: when, and from where
//	middleware.go  HTTP: Authorization in, Token in the context out (RFC 6750, RFC 7617, RFC 7644 section 2)
//
// A token is a record of kind "token" in the tenant "$system", whichever tenant it opens. Only a bcrypt digest of its
// secret is kept; the plain text exists in the answer of Create and in the requests of its owner. When a token was last
// used is no change of it: that time is a record of its own, of kind "token-use", without a journal row.
//
// An OAuth client (kind "client") has secrets, also kept as bcrypt digests, and gets access tokens of an hour with them (kind
// "access-token"). Those are rows with a SHA-256 of the token: they survive a restart, end with their client, and a stolen
// copy of the store holds nothing that opens the door.
//
// The journal sequence is what keeps the cache of verified tokens honest. An entry says at which sequence its token was
// read, and is read again as soon as the store is further on, so that a token revoked by whatever path is refused from
// the moment that the revocation is committed, while a quiet store is not asked at all.
package auth
