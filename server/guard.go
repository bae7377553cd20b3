package server

import (
	"context"
	"slices"
	"strings"

	"scimbox/scim"
	"scimbox/server/control"
	"scimbox/storage"
)

// guard returns what the configuration says of the guard against mass changes, in the words of package scim.
func (o *Options) guard() scim.GuardOptions {
	c := o.Config.Guard
	if !c.Enabled {
		return scim.GuardOptions{}
	}
	return scim.GuardOptions{MaxChanges: c.MaxChanges, MaxPercent: c.MaxPercent, Window: c.Window.Duration}
}

// guard returns what the control API asks about the guard, nil if there is none.
func (r *resources) guard() *control.GuardBackend {
	if !r.house.o.Config.Guard.Enabled {
		return nil
	}
	return &control.GuardBackend{Status: r.guards, Decide: r.decide}
}

// guards tells of the tenants that hold resources.
func (r *resources) guards(ctx context.Context) ([]control.Guard, error) {
	s, _, err := r.open(ctx)
	if err != nil {
		return nil, err
	}
	tenants, err := r.house.Store.Tenants(ctx)
	if err != nil {
		return nil, err
	}
	slices.Sort(tenants)
	list := []control.Guard{}
	for _, t := range tenants {
		if strings.HasPrefix(t, "$") { // nobody's: tokens
			continue
		}
		g, err := s.Guard(ctx, t)
		if err != nil {
			return nil, err
		}
		list = append(list, control.Guard(g))
	}
	return list, nil
}

// tellHeld says at a start what the log of the run before has said: that somebody has to decide.
func (s *Server) tellHeld(ctx context.Context) error {
	guard := s.house.resources().guard()
	if guard == nil {
		return nil
	}
	all, err := guard.Status(ctx)
	if err != nil {
		return err
	}
	for _, g := range all {
		switch g.State {
		case scim.GuardHolding:
			s.o.Logger.Warn("the guard against mass changes goes on holding back what is deactivated, deleted or removed until it is decided: scimbox guard approve, or scimbox guard reject",
				"tenant", g.Tenant, "since", g.Since, "token", g.Actor, "held", g.Held)
		case scim.GuardRejected:
			s.o.Logger.Warn("the guard against mass changes goes on refusing what is deactivated, deleted or removed, as was decided, until scimbox guard rearm", "tenant", g.Tenant, "since", g.Since)
		case scim.GuardUnreadable:
			s.o.Logger.Error("the guard against mass changes cannot be read, and what is deactivated, deleted or removed fails, until scimbox guard rearm", "tenant", g.Tenant, "error", g.Problem)
		}
	}
	return nil
}

func (r *resources) decide(ctx context.Context, tenant string, by storage.Origin, d control.GuardDecision) (control.Guard, error) {
	s, _, err := r.open(ctx)
	if err != nil {
		return control.Guard{}, err
	}
	g, err := s.Decide(ctx, tenant, by, scim.GuardDecision(d))
	return control.Guard(g), err
}
