package auth

import (
	"testing"
	"testing/synctest"
	"time"

	"scimbox/storage"
)

func (h *house) lastUsed(id string) time.Time {
	h.t.Helper()
	for _, tok := range h.list() {
		if tok.ID == id {
			return tok.LastUsed
		}
	}
	h.t.Fatalf("token %s is not listed", id)
	return time.Time{}
}

func TestLastUse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := openHouse(t, Options{})
		tok, plain := h.create(Spec{})
		if got := h.lastUsed(tok.ID); !got.IsZero() {
			t.Errorf("before its first use: %v", got)
		}
		time.Sleep(10 * time.Second)
		first := time.Now().UTC()
		h.verify(plain, nil)
		if got := h.lastUsed(tok.ID); !got.Equal(first) {
			t.Errorf("right after the use: %v, want %v", got, first)
		}
		if _, ok := h.record(useKind, tok.ID); ok {
			t.Error("the use was written at once; a request must not wait for the disk")
		}

		// Ten minutes of a request a second: no more than ten writes, none of them in the journal.
		writes := make(map[time.Time]bool)
		for range 600 {
			time.Sleep(time.Second)
			h.verify(plain, nil)
			synctest.Wait()
			if rec, ok := h.record(useKind, tok.ID); ok {
				writes[rec.Modified] = true
			}
		}
		if n := len(writes); n < 9 || n > 10 {
			t.Errorf("%d writes in ten minutes", n)
		}
		if n := h.store.LastSeq(); n != 1 {
			t.Errorf("%d journal rows, want only the creation", n)
		}
		if got, _ := h.Get(t.Context(), tok.ID); got.Version != 1 {
			t.Errorf("using a token changed it: %+v", got)
		}

		// Nothing is written while nothing is used.
		time.Sleep(2 * time.Minute)
		synctest.Wait()
		idle, _ := h.record(useKind, tok.ID)
		time.Sleep(time.Hour)
		synctest.Wait()
		if rec, _ := h.record(useKind, tok.ID); rec.Modified != idle.Modified {
			t.Error("an unused token was written")
		}
	})
}

func TestLastUseSurvivesClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := openHouse(t, Options{}) // keeps the store open
		first := newHouse(t, h.store, Options{})
		tok, plain := h.create(Spec{})
		time.Sleep(time.Second)
		used := time.Now().UTC()
		first.verify(plain, nil)
		time.Sleep(time.Second)
		if err := first.Close(); err != nil {
			t.Fatal(err)
		}
		if got := h.lastUsed(tok.ID); !got.Equal(used) {
			t.Errorf("after Close: %v, want %v", got, used)
		}
		if err := h.Revoke(t.Context(), tok.ID, admin); err != nil {
			t.Fatal(err)
		}
		if got := h.lastUsed(tok.ID); !got.Equal(used) {
			t.Errorf("after Revoke: %v, want %v", got, used)
		}
	})
}

func TestRefusedUseIsNoUse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := openHouse(t, Options{})
		tok, plain := h.create(Spec{TTL: time.Hour})
		time.Sleep(time.Hour)
		h.verify(plain, ErrExpired)
		h.verify(compose(tok.ID, newPlain()), ErrUnknown)
		if got := h.lastUsed(tok.ID); !got.IsZero() {
			t.Errorf("last used %v", got)
		}
	})
}

func TestFailedWriteOfUseIsRepeated(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store, err := storage.Open(t.Context(), storage.Memory(), storage.Options{})
		if err != nil {
			t.Fatal(err)
		}
		h := newHouse(t, store, Options{})
		_, plain := h.create(Spec{})
		h.verify(plain, nil)
		if err := store.Close(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * time.Minute)
		synctest.Wait()
		if n := len(h.log.lines(t, "the last use of tokens could not be written, trying again in a minute")); n != 2 {
			t.Errorf("%d warnings in two minutes", n)
		}
		if err := h.Close(); err == nil {
			t.Error("Close says nothing of the use that it could not write")
		}
	})
}
