// Package console is the web console: what an operator looks at in a browser.
//
//	console.go     New, routes, headers; what every request passes
//	session.go     sign-in by a one-time link or a token, sessions, sign-out
//	page.go        templates, what every page has, how times and numbers are written
//	connect.go     the steps in Entra's words, and the light that says what has arrived
//	recent.go      the last requests of clients, and what each of them means
//	mapping.go     which attribute of Entra goes where
//	resources.go   Users, Groups and other resource types: lists and single resources
//	attributes.go  the attributes of a resource in the order of its schema
//	history.go     changes as sentences and differences, from the journal
//	activity.go    what was done and what was refused, from package activity
//	tokens.go      tokens: make, show once, rotate, revoke
//	guard.go       the guard against mass changes: what it holds back, and the decision
//	health.go      store, tokens near their end, clients that are late; tenants, backups
//	templates/  static/    HTML, one style sheet, one script
//
// Pages are made here and work without a script; the script adds what needs one: a search that answers while one types, a
// light that turns by itself, buttons that copy. Nothing is loaded from anywhere else, nothing stands inline, and nothing
// of a page is kept by the browser. The console shows what the store holds to whoever is signed in, of all tenants: it is
// the operator's, and no client's.
package console
