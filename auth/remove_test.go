package auth

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"scimbox/storage"
)

// Of a removed token there is nothing but the journal, and nobody gets in with it.
func TestRemove(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := openHouse(t, Options{})
		tok, plain := h.create(Spec{})
		other, otherPlain := h.create(Spec{Name: "other"})
		h.verify(plain, nil)
		time.Sleep(2 * time.Minute) // its use is written down
		synctest.Wait()
		if _, ok := h.record(useKind, tok.ID); !ok {
			t.Fatal("the use was not written")
		}
		h.verify(plain, nil) // and there is another one to be
		if err := h.Remove(t.Context(), tok.ID, admin); err != nil {
			t.Fatal(err)
		}
		h.verify(plain, ErrUnknown)
		time.Sleep(2 * time.Minute)
		synctest.Wait()
		for _, kind := range []string{tokenKind, useKind, warnedKind} {
			if _, ok := h.record(kind, tok.ID); ok {
				t.Errorf("a row %s is left", kind)
			}
		}
		if list := h.list(); len(list) != 1 || list[0].ID != other.ID {
			t.Errorf("left are %+v", list)
		}
		h.verify(otherPlain, nil)
		rows := h.journal()
		if last := rows[len(rows)-1]; last.Op != "delete" || last.Ref.ID != tok.ID || last.Actor != "local" {
			t.Errorf("the journal ends with %+v", last)
		}
		var lookup *LookupError
		if err := h.Remove(t.Context(), tok.ID, admin); !errors.As(err, &lookup) || !errors.Is(err, storage.ErrNotFound) {
			t.Errorf("removed twice: %v", err)
		}
	})
}

// The use of a token that is just being removed is not written after its end.
func TestRemovedIsNotUsed(t *testing.T) {
	h := openHouse(t, Options{})
	tok, plain := h.create(Spec{})
	h.verify(plain, nil)
	u := h.useOf(tok.ID)
	if err := h.Remove(t.Context(), tok.ID, admin); err != nil {
		t.Fatal(err)
	}
	h.mu.Lock()
	h.uses[tok.ID] = u // as if it had been taken before
	h.mu.Unlock()
	if err := h.flushUses(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, ok := h.record(useKind, tok.ID); ok {
		t.Error("the use of a removed token was written")
	}
}
