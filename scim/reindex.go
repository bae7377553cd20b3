package scim

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"scimbox/storage"
)

// Terms are made by the rules of record.go. Beside them the store has the fingerprint of the rules that they were made by, for
// each type and tenant, so that a start finds out whether they are still the ones.

// reindex makes the terms of all records anew where the rules for them have changed.
func (s *Service) reindex(ctx context.Context) error {
	tenants, err := s.store.Tenants(ctx)
	if err != nil {
		return err
	}
	for _, tenant := range tenants {
		if strings.HasPrefix(tenant, "$") {
			continue
		}
		for _, t := range s.types.ResourceTypes {
			if err := s.reindexType(ctx, tenant, t); err != nil {
				return fmt.Errorf("indexing the %s resources of tenant %s anew: %w", t.Name, tenant, err)
			}
		}
	}
	return nil
}

// markIndexed notes, before the first resource of a type is stored in a tenant, by which rules its terms are made, so
// that the next start has nothing to index anew.
func (s *Service) markIndexed(ctx context.Context, c *call) error {
	key := c.caller.Tenant + "/" + c.t.Name
	s.mu.Lock()
	marked := s.marked[key]
	s.mu.Unlock()
	if marked {
		return nil
	}
	had, err := s.store.Fingerprint(ctx, c.caller.Tenant, c.t.Name)
	if err != nil {
		return err
	}
	if had == "" {
		if err := s.store.SetFingerprint(ctx, c.caller.Tenant, c.t.Name, s.fingerprint(c.t)); err != nil {
			return err
		}
	}
	s.mu.Lock()
	s.marked[key] = true
	s.mu.Unlock()
	return nil
}

// clash says which two resources keep an attribute from becoming unique.
func (s *Service) clash(t *ResourceType, id string, err error) error {
	var c *storage.ConflictError
	if !errors.As(err, &c) {
		return fmt.Errorf("%s %s: %w", t.Name, id, err)
	}
	return fmt.Errorf("%s %s and %s %s have the same %s, which is to be unique from now on: start with the schemas as they were, give one of them another value, and then change the schemas",
		t.Name, id, c.Owner.Kind, c.Owner.ID, s.uniquePath(t, c))
}

func (s *Service) reindexType(ctx context.Context, tenant string, t *ResourceType) error {
	want := s.fingerprint(t)
	had, err := s.store.Fingerprint(ctx, tenant, t.Name)
	if err != nil || had == want {
		return err
	}
	s.o.Logger.Info("indexing anew", "tenant", tenant, "type", t.Name)
	// Half of the records may be indexed by the new rules and half by the old ones when this is refused or interrupted, so
	// that neither fingerprint would be true.
	if had != "" {
		if err := s.store.SetFingerprint(ctx, tenant, t.Name, ""); err != nil {
			return err
		}
	}
	field := foldName(t.idAttr.Name)
	var after *storage.Hit
	for {
		n := 0
		next := after
		err := s.store.Update(ctx, tenant, storage.Origin{Actor: "local"}, func(tx *storage.Tx) error {
			n, next = 0, after
			var ids []string
			for hit, err := range tx.Find(t.Name, field, storage.TermRange{After: after}) {
				if err != nil {
					return err
				}
				ids = append(ids, hit.ID)
				next = &hit
				if len(ids) == 200 {
					break
				}
			}
			n = len(ids)
			for _, id := range ids {
				rec, err := tx.Get(t.Name, id)
				if err != nil {
					return err
				}
				o, err := decodeBody(t, rec.Body)
				if err != nil {
					return err
				}
				if err := s.put(tx, t, rec.Ref, rec.Stamp, o); err != nil {
					return s.clash(t, id, err)
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
		if n == 0 {
			return s.store.SetFingerprint(ctx, tenant, t.Name, want)
		}
		after = next
	}
}
