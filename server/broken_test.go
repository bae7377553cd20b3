package server

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"scimbox/storage"
)

// brokenDisk is an engine whose commits fail without saying what was kept, once it is broken.
type brokenDisk struct {
	storage.Engine
	broken bool
}

func (e *brokenDisk) Update(ctx context.Context, fn func(storage.Writer) error) error {
	if !e.broken {
		return e.Engine.Update(ctx, fn)
	}
	return fmt.Errorf("%w: input/output error", storage.ErrUnknownOutcome)
}

// A server whose store has closed itself ends with an error, so that a supervisor starts it again: nobody else could.
func TestServerEndsWithItsStore(t *testing.T) {
	o, _ := options(t)
	s, err := Open(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	disk := &brokenDisk{Engine: storage.Memory()}
	store, err := storage.Open(t.Context(), disk, storage.Options{})
	if err != nil {
		t.Fatal(err)
	}
	own := s.house.Store
	s.house.Store = store
	disk.broken = true
	err = store.Update(t.Context(), "default", storage.Origin{}, func(tx *storage.Tx) error {
		return tx.Put(storage.Record{Ref: storage.Ref{Tenant: "default", Kind: "User", ID: "1"}, Stamp: tx.Stamp(storage.Stamp{})})
	})
	if !errors.Is(err, storage.ErrUnknownOutcome) {
		t.Fatalf("the commit: %v", err)
	}
	if err := s.Serve(t.Context(), t.Context()); err == nil || !strings.Contains(err.Error(), "start the server again") {
		t.Errorf("serving ends with %v", err)
	}
	if err := own.Close(); err != nil {
		t.Error(err)
	}
}
