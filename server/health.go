package server

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"

	"scimbox/server/control"
	"scimbox/storage"
)

// Two questions that need no token. Is it alive: if not, a restart may help. Is it ready: if not, clients are to be sent
// elsewhere, and a restart helps nobody.
const (
	healthPath = "/healthz"
	readyPath  = "/readyz"
)

// health says whether the server can answer requests, for load balancers and supervisors.
func (s *Server) health(w http.ResponseWriter, r *http.Request) {
	if !readOnly(w, r) {
		return
	}
	if err := s.alive(r.Context()); err != nil {
		s.o.Logger.Error("the store does not answer", "error", err)
		text(w, r, http.StatusServiceUnavailable, "the store does not answer; the server's log says why\n")
		return
	}
	text(w, r, http.StatusOK, "ok\n")
}

// pulseInterval is how often the store is asked for a sign of life if no watchdog wants to know more often.
const pulseInterval = 10 * time.Second

// hung is how long the store may owe an answer before the server counts as dead.
const hung = 30 * time.Second

// pulse asks again and again whether changes still get through, until ctx ends, and tells the watchdog only if they do. While
// it waits for an answer it tells nothing, so that a supervisor ends a process whose disk or store hangs.
func (s *Server) pulse(ctx context.Context, probe func(context.Context) error) {
	every := pulseInterval
	limit, err := daemon.SdWatchdogEnabled(false)
	if err != nil {
		s.o.Logger.Warn("the watchdog of the supervisor cannot be fed", "error", err)
	}
	if limit > 0 {
		every = min(every, limit/3)
	}
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	for {
		asked := time.Now()
		s.asked.Store(&asked)
		err := probe(ctx)
		s.asked.Store(nil)
		switch {
		case ctx.Err() != nil:
			return
		case err != nil:
			s.o.Logger.Error("the store does not answer", "error", err)
		case limit > 0:
			s.tell(daemon.SdNotifyWatchdog)
		}
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

// stuck returns an error if the store owes pulse an answer for too long.
func (s *Server) stuck() error {
	if asked := s.asked.Load(); asked != nil && time.Since(*asked) > hung {
		return fmt.Errorf("the store has not answered for %s", time.Since(*asked).Round(time.Second))
	}
	return nil
}

// readiness says whether clients are to be sent here: the store answers, takes changes, and the server is not about to stop.
func (s *Server) readiness(w http.ResponseWriter, r *http.Request) {
	if !readOnly(w, r) {
		return
	}
	if why := s.notReady(r.Context()); why != "" {
		text(w, r, http.StatusServiceUnavailable, why+"\n")
		return
	}
	text(w, r, http.StatusOK, "ok\n")
}

// notReady says why clients are not to be sent here now, "" if they are.
func (s *Server) notReady(ctx context.Context) string {
	if s.stopping.Load() {
		return "the server is stopping"
	}
	if err := s.alive(ctx); err != nil {
		return "the store does not answer; the server's log says why"
	}
	if s.house.Store.ReadOnly() != nil {
		return "the store takes no changes; scimbox status says why"
	}
	return ""
}

// alive returns an error if the store cannot be read, or does not come back from a change.
func (s *Server) alive(ctx context.Context) error {
	if err := s.stuck(); err != nil {
		return err
	}
	return s.house.Alive(ctx)
}

// healthOf answers scimbox healthcheck: what is wrong, "" if nothing is.
func (s *Server) healthOf(ctx context.Context, ready bool) string {
	if ready {
		return s.notReady(ctx)
	}
	if err := s.alive(ctx); err != nil {
		return err.Error()
	}
	return ""
}

// Responds returns when the store has come back from a change of nothing, which waits for the changes before it.
func (h *House) Responds(ctx context.Context) error {
	err := h.Store.Update(ctx, "default", control.Origin, func(*storage.Tx) error { return nil })
	if errors.Is(err, storage.ErrReadOnly) {
		return nil // it has refused, and so it answers
	}
	return err
}
