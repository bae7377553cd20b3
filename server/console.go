package server

import (
	"net/http"
	"net/url"
	"strings"

	"scimbox/console"
	"scimbox/scim"
	"scimbox/server/config"
	"scimbox/server/control"
	"scimbox/server/metrics"
)

// openConsole makes the web console, if there is to be one, and tells the control API how links into it are made.
func (s *Server) openConsole(b *control.Backend) error {
	if !s.o.Config.Console.Enabled {
		return nil
	}
	s.local = control.Local(b)
	var err error
	s.console, err = console.New(console.Options{
		Store: s.house.Store, Service: s.service, Tokens: s.house.Tokens, Status: s.local.Status, Activity: b.Activity, Guard: b.Guard,
		Version: s.o.Version, PublicURL: s.o.Config.PublicURL, TenantURL: s.TenantURL, TokenTTL: s.o.Config.Tokens.Lifetime.Duration,
		Client: client, Request: func(r *http.Request) string { return observationOf(r).id },
		Clock: s.o.Clock, Logger: s.o.Logger,
	})
	if err != nil {
		return err
	}
	b.Console = s.ConsoleLink
	return nil
}

// ConsoleURL returns where browsers find the console, "" if there is none.
func (s *Server) ConsoleURL() string {
	if s.console == nil {
		return ""
	}
	for _, d := range s.doors {
		if d.role == roleConsole {
			return s.scheme() + "://" + d.Addr().String() + console.Path
		}
	}
	return strings.TrimSuffix(s.TenantURL(), scim.BasePath) + console.Path
}

// ConsoleLink makes a link that opens the console, once.
func (s *Server) ConsoleLink() control.ConsoleLink {
	path, until := s.console.NewLink()
	return control.ConsoleLink{URL: strings.TrimSuffix(s.ConsoleURL(), console.Path) + path, Expires: until}
}

// Local reports whether browsers on this machine alone can reach the console, so that whoever reads the terminal is who opens it.
func (s *Server) Local() bool {
	u, err := url.Parse(s.ConsoleURL())
	return err == nil && config.Loopback(u.Hostname())
}

// consoleBeside reports whether the console is behind the same door as SCIM.
func (s *Server) consoleBeside() bool { return s.console != nil && s.o.Config.Console.Listen == "" }

// consoleAlone is what a listener of the console's own answers.
func (s *Server) consoleAlone() http.Handler {
	return s.observed(s.recovered(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		observationOf(r).operation = metrics.Console
		if !inConsole(r) {
			toConsole(w, r)
			return
		}
		s.console.ServeHTTP(w, r)
	})))
}

func inConsole(r *http.Request) bool { return strings.HasPrefix(r.URL.Path, console.Path) }

func toConsole(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path != "/" && r.URL.Path != strings.TrimSuffix(console.Path, "/") {
		text(w, r, http.StatusNotFound, "404: nothing is here. The console is at "+console.Path+"\n")
		return
	}
	http.Redirect(w, r, console.Path, http.StatusSeeOther)
}

// routine reports whether a request is one that a page of the console makes by itself, every few seconds.
func routine(r *http.Request) bool {
	return inConsole(r) && (r.Header.Get("X-Partial") == "live" || strings.HasPrefix(r.URL.Path, console.Path+"static/"))
}

// filtered reports whether a query has a filter, as clients write it.
func filtered(query string) bool {
	for pair := range strings.SplitSeq(query, "&") {
		if name, _, _ := strings.Cut(pair, "="); name == "filter" {
			return true
		}
	}
	return false
}

// seen tells the console of a request that has been answered.
func (s *Server) seen(r *http.Request, o *observation, status int) {
	if s.console == nil || inConsole(r) || r.URL.Path == healthPath {
		return
	}
	s.console.Observe(console.Request{
		Time: s.o.Clock(), ID: o.id, Method: r.Method, Path: r.URL.Path, Filtered: filtered(r.URL.RawQuery), Status: status, Detail: o.refused,
		Token: o.token, Tenant: o.tenant, Credentials: first(r.Header["Authorization"]) != "", Agent: agentOf(r), Client: o.source.client,
	})
}
