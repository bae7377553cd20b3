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

func (r *resources) decide(ctx context.Context, tenant string, by storage.Origin, d control.GuardDecision) (control.Guard, error) {
	s, _, err := r.open(ctx)
	if err != nil {
		return control.Guard{}, err
	}
	g, err := s.Decide(ctx, tenant, by, scim.GuardDecision(d))
	return control.Guard(g), err
}
