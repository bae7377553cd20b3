package auth

import (
	"bytes"
	"context"
	"encoding/json"
	"log/slog"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/crypto/bcrypt"

	"scimbox/storage"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var (
	here  = netip.MustParseAddr("192.0.2.1")
	there = netip.MustParseAddr("198.51.100.7")
	admin = storage.Origin{Actor: "local", Request: "r1"}
)

// house is Tokens over a store in memory, with a count of bcrypt computations and a buffer for the log.
type house struct {
	*Tokens
	t       testing.TB
	store   *storage.Store
	hashed  atomic.Int64
	costs   sync.Map // of the hashes compared with
	blocked atomic.Pointer[chan struct{}]
	log     *syncBuffer
}

func openHouse(t testing.TB, o Options) *house {
	t.Helper()
	store, err := storage.Open(t.Context(), storage.Memory(), storage.Options{Clock: o.Clock})
	if err != nil {
		t.Fatal(err)
	}
	h := newHouse(t, store, o)
	t.Cleanup(func() {
		if err := h.Close(); err != nil {
			t.Error(err)
		}
		if err := store.Close(); err != nil {
			t.Error(err)
		}
	})
	return h
}

func newHouse(t testing.TB, store *storage.Store, o Options) *house {
	h := &house{t: t, store: store, log: new(syncBuffer)}
	if o.Cost == 0 {
		o.Cost = bcrypt.MinCost
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.NewJSONHandler(h.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	}
	h.Tokens = New(store, o)
	h.compare = func(hash, secret []byte) error {
		h.hashed.Add(1)
		if cost, err := bcrypt.Cost(hash); err == nil {
			h.costs.Store(cost, true)
		}
		if gate := h.blocked.Load(); gate != nil {
			<-*gate
		}
		return bcrypt.CompareHashAndPassword(hash, secret)
	}
	return h
}

// block makes all bcrypt computations wait until the returned function is called.
func (h *house) block() (unblock func()) {
	gate := make(chan struct{})
	h.blocked.Store(&gate)
	return sync.OnceFunc(func() { h.blocked.Store(nil); close(gate) })
}

// hashes returns the number of bcrypt computations that fn takes.
func (h *house) hashes(fn func()) int64 {
	before := h.hashed.Load()
	fn()
	return h.hashed.Load() - before
}

// create makes a token, with the gaps in spec filled.
func (h *house) create(spec Spec) (Token, string) {
	h.t.Helper()
	if spec.Name == "" {
		spec.Name = "entra"
	}
	if spec.Scope == "" {
		spec.Scope = ScopeWrite
	}
	tok, secret, err := h.Create(context.Background(), spec, admin)
	if err != nil {
		h.t.Fatal(err)
	}
	return tok, secret.Reveal()
}

func (h *house) list() []Token {
	h.t.Helper()
	list, err := h.List(context.Background())
	if err != nil {
		h.t.Fatal(err)
	}
	return list
}

func (h *house) journal() []storage.Entry {
	h.t.Helper()
	rows, err := h.store.Journal(context.Background(), 0, 1000)
	if err != nil {
		h.t.Fatal(err)
	}
	return rows
}

// record returns a record of the system tenant, and whether there is one.
func (h *house) record(kind, id string) (rec storage.Record, ok bool) {
	h.t.Helper()
	err := h.store.View(context.Background(), systemTenant, func(tx *storage.Tx) (err error) {
		if ok, err = tx.Has(kind, id); ok {
			rec, err = tx.Get(kind, id)
			rec.Body = bytes.Clone(rec.Body)
		}
		return err
	})
	if err != nil {
		h.t.Fatal(err)
	}
	return rec, ok
}

// edit changes the record of a token behind the back of Tokens; a nil change deletes it.
func (h *house) edit(id string, change func(*row)) {
	h.t.Helper()
	err := h.store.Update(context.Background(), systemTenant, admin, func(tx *storage.Tx) error {
		rec, err := tx.Get(tokenKind, id)
		if err != nil {
			return err
		}
		if change == nil {
			if err := tx.Delete(tokenKind, id); err != nil {
				return err
			}
			return tx.Log(storage.Entry{Op: "delete", Ref: tokenRef(id)})
		}
		var r row
		if err := json.Unmarshal(rec.Body, &r); err != nil {
			return err
		}
		change(&r)
		_, err = put(tx, id, r, rec.Stamp, "revoke")
		return err
	})
	if err != nil {
		h.t.Fatal(err)
	}
}

// breakRecord gives a token's record a body that cannot be read.
func (h *house) breakRecord(id string) {
	h.t.Helper()
	err := h.store.Update(context.Background(), systemTenant, admin, func(tx *storage.Tx) error {
		rec, err := tx.Get(tokenKind, id)
		if err != nil {
			return err
		}
		rec.Stamp, rec.Body = tx.Stamp(rec.Stamp), []byte("{")
		if err := tx.Put(rec); err != nil {
			return err
		}
		return tx.Log(storage.Entry{Op: "replace", Ref: rec.Ref})
	})
	if err != nil {
		h.t.Fatal(err)
	}
}

// guess returns a well-formed token that nobody made.
func guess() string { return compose(newID(), newPlain()) }

type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *syncBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *syncBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

// lines returns the log lines with the message, and forgets the whole log.
func (s *syncBuffer) lines(t testing.TB, msg string) (found []map[string]any) {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	for line := range bytes.Lines(s.b.Bytes()) {
		var m map[string]any
		if err := json.Unmarshal(line, &m); err != nil {
			t.Fatal(err)
		}
		if m["msg"] == msg {
			found = append(found, m)
		}
	}
	s.b.Reset()
	return found
}

const day = 24 * time.Hour
