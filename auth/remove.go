package auth

import (
	"context"
	"errors"

	"scimbox/storage"
)

// Remove ends a token as Revoke does, and leaves nothing of it but rows of the journal: for tokens that were made by a
// program for a moment, which nobody is to find in a list. which is its id.
func (t *Tokens) Remove(ctx context.Context, id string, by storage.Origin) error {
	// From here on its last use is not written any more: a writer may be about to, and would write it after this.
	t.mu.Lock()
	delete(t.uses, id)
	t.removed[id] = struct{}{}
	t.mu.Unlock()
	err := t.store.UpdateUrgently(ctx, systemTenant, by, func(tx *storage.Tx) error {
		rec, err := tx.Get(tokenKind, id)
		if errors.Is(err, storage.ErrNotFound) {
			return &LookupError{Kind: tokenKind, Given: id}
		} else if err != nil {
			return err
		}
		_, r, err := decodeRow(rec)
		if err != nil {
			return err
		}
		what, err := r.detail()
		if err != nil {
			return err
		}
		for _, kind := range []string{tokenKind, useKind, warnedKind} {
			if err := tx.Delete(kind, id); err != nil && !(kind != tokenKind && errors.Is(err, storage.ErrNotFound)) {
				return err
			}
		}
		return tx.Log(storage.Entry{Op: "delete", Ref: rec.Ref, Detail: what})
	})
	t.forget(id)
	return wrapUnlessLookup("removing a token", err)
}
