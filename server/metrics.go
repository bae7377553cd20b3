package server

import (
	"context"
	"net/http"
	"net/netip"
	"strings"
	"time"

	"scimbox/auth"
	"scimbox/scim"
	"scimbox/server/metrics"
)

// openMetrics begins to measure, if somebody is to see it.
func (s *Server) openMetrics() {
	if s.o.Config.Metrics.Listen == "" {
		return
	}
	s.metrics = metrics.New(metrics.Options{Version: s.o.Version, State: s.measurable, Logger: s.o.Logger})
	s.o.observe = s.metrics.Commit
}

// scrapers is how many connections whoever reads the metrics may have. They do not share those of clients: when these have taken
// all that there are, it has to be seen.
const scrapers = 16

// gateOf returns what limits the connections of a door.
func (s *Server) gateOf(d *door) *gate {
	if d.role != roleMetrics {
		return s.gate
	}
	return &gate{
		most: scrapers, each: scrapers, from: map[netip.Prefix]int{}, exempt: func(netip.Addr) bool { return true },
		refused: func(n int, from string) {
			s.o.Logger.Warn("too many connections for the metrics; new ones are closed", "refused", n, "latest", from)
		},
	}
}

// metricsAlone is what a listener of the metrics answers. Nobody is asked for a token, and nothing is counted.
func (s *Server) metricsAlone() http.Handler {
	show := s.metrics.Handler()
	return s.recovered(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if s.unprotected(r) {
			text(w, r, http.StatusForbidden, "403: plain HTTP is accepted from this machine and from the addresses in trusted_proxies alone\n")
			return
		}
		show.ServeHTTP(w, r)
	}))
}

// operation says what a request to the main listener asks for.
func (s *Server) operation(r *http.Request) metrics.Operation {
	switch path := r.URL.Path; {
	case path == scim.BasePath, strings.HasPrefix(path, scim.BasePath+"/"):
		return metrics.OperationOf(r.Method, path[len(scim.BasePath):], filtered(r.URL.RawQuery))
	case path == healthPath, path == readyPath:
		return metrics.Health
	case path == auth.TokenPath, path == auth.MetadataPath:
		return metrics.OAuth
	case s.consoleBeside() && inConsole(r):
		return metrics.Console
	}
	return metrics.Other
}

// measured counts a request that has been answered, or broken off.
func (s *Server) measured(r *http.Request, o *observation, status int, took time.Duration, aborted bool) {
	if s.metrics == nil {
		return
	}
	if aborted {
		status = 0
	}
	s.metrics.Done(o.operation, status, took)
	switch {
	case o.exceeded != "":
		s.metrics.Exceeded(o.exceeded)
	case o.token != "" || o.operation == metrics.Console: // let in, or asked to sign in
	case status == http.StatusTooManyRequests:
		s.metrics.Refused(metrics.Limited)
	case status == http.StatusUnauthorized && r.Header.Get("Authorization") == "" && o.operation != metrics.OAuth:
		s.metrics.Refused(metrics.Without)
	case status == http.StatusUnauthorized:
		s.metrics.Refused(metrics.Wrong)
	}
}

// measurable is what package metrics is told when somebody asks.
func (s *Server) measurable(ctx context.Context) *metrics.State {
	house := s.house
	st := &metrics.State{
		ReadOnly: house.Store.ReadOnly() != nil, Certificates: s.Certificates(), Backups: house.Backups(),
		BackupEvery: s.o.Config.Backup.Every.Duration, Activity: house.log.Stats(),
	}
	st.Connections.Open, st.Connections.Refused = s.gate.figures()
	st.Free, st.Need, st.Looks = house.Store.Free()
	for _, n := range s.service.UnknownAttributes() {
		st.Unknown += n
	}
	if err := s.measureStore(ctx, st); err != nil {
		s.o.Logger.Error("the store cannot be read for the metrics", "error", err)
		st.Store = nil
	}
	return st
}

// measureStore reads what is in the store.
func (s *Server) measureStore(ctx context.Context, st *metrics.State) error {
	if err := s.stuck(); err != nil {
		return err
	}
	stats, err := s.house.Store.Stats(ctx)
	if err != nil {
		return err
	}
	if backend := s.house.resources().guard(); backend != nil {
		if st.Guards, err = backend.Status(ctx); err != nil {
			return err
		}
	}
	if st.Deadlines, err = s.house.Tokens.Deadlines(ctx); err != nil {
		return err
	}
	st.Contacts, err = s.contacts(ctx)
	st.Store = &stats
	return err
}

// MetricsURL returns where Prometheus finds the metrics, "" if nothing is measured.
func (s *Server) MetricsURL() string {
	for _, d := range s.doors {
		if d.role == roleMetrics {
			scheme := "http"
			if s.secured() && !d.local() {
				scheme = "https"
			}
			return scheme + "://" + d.Addr().String() + metrics.Path
		}
	}
	return ""
}
