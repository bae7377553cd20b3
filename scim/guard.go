package scim

import (
	"context"
	"errors"
	"iter"
	"net/http"
	"slices"
	"time"

	"github.com/go-json-experiment/json"

	"scimbox/storage"
)

// The guard against mass changes. A source that has lost its people, or a scope filter that was mistyped, takes the access of
// everybody away in minutes, and each request of that is a valid one. The guard counts what takes something away: users that are
// deactivated, resources that are deleted, members that are removed. When there is too much of it in a window, what would go
// further is refused until a person has decided; reads, creations and all other changes go on.
//
// It is decided inside the transaction, where it is known what a change really is, so that a change is made whole or not at all.
// What is counted is written with the change that it counts, in a record of its own (docs/decisions/0078-mass-changes.md).

// GuardOptions say how much may be taken away before somebody is asked; the zero value is never.
type GuardOptions struct {
	MaxChanges int           // in a window; 0 = any
	MaxPercent int           // of the tenant's users, in a window, and never fewer than 20 changes; 0 = any
	Window     time.Duration // more than 0 if one of the others is
}

const (
	guardKind = "$guard" // of the record; no resource type can have a name that begins with a dollar sign
	guardID   = "state"

	// guardLeast is how many changes no percentage is less than: in a small tenant the day on which two people leave would
	// else be a mass change.
	guardLeast = 20
	// guardSlots is how many parts of the window are counted apart, so that it slides.
	guardSlots = 12
	// guardRetry is after how many seconds a client is to ask again: a person has to decide meanwhile.
	guardRetry = 900
)

// GuardState is what the guard of a tenant knows.
type GuardState struct {
	Tenant string `json:"tenant"`
	State  string `json:"state"`
	Count  int    `json:"count"` // changes in the window
	Most   int    `json:"most"`  // that may be
	Window string `json:"window"`

	// Of one that holds.
	Since time.Time `json:"since,omitzero"`
	Held  string    `json:"held,omitempty"`  // the first change that was
	Actor string    `json:"actor,omitempty"` // id of the token that it came with

	// Of one that lets everything through.
	Until time.Time `json:"until,omitzero"`
	Left  int       `json:"left,omitempty"` // changes; 0 = any number

	Problem string `json:"problem,omitempty"` // of one that cannot be read
}

// The states of a guard.
const (
	GuardOff      = "off"      // it is not configured
	GuardArmed    = "armed"    // it counts
	GuardHolding  = "holding"  // it refuses, and waits for a decision
	GuardRejected = "rejected" // it refuses, as was decided, until it is armed again
	GuardApproved = "approved" // it lets everything through for a time

	// GuardUnreadable is one whose record cannot be read: what takes something away fails until it is armed again.
	GuardUnreadable = "unreadable"
)

// guardRow is the body of the record.
type guardRow struct {
	Slots []guardSlot `json:"slots,omitempty"`
	State string      `json:"state,omitempty"` // "" = armed
	Since time.Time   `json:"since,omitzero"`
	Held  string      `json:"held,omitempty"`
	Actor string      `json:"actor,omitempty"`
	Until time.Time   `json:"until,omitzero"`
	Left  int         `json:"left,omitempty"`
	Total bool        `json:"total,omitempty"` // Left is a limit
}

type guardSlot struct {
	Begin time.Time `json:"begin"`
	N     int       `json:"n"`
}

// heldError is the refusal of a change that would have been one too many. trip says that it is the first.
type heldError struct {
	trip bool
	what string
	n    int
	word string
}

func (e *heldError) Error() string { return "held by the guard: " + e.what }

// explain is what the client is told.
func (e *heldError) explain() *Error {
	if e.word == GuardRejected {
		return &Error{Status: http.StatusTooManyRequests, Err: e, Detail: "this change is held and nothing of it was made, because an operator has refused to have more deactivated, deleted or removed; scimbox guard approve or scimbox guard rearm ends that, and other changes go on"}
	}
	return &Error{Status: http.StatusTooManyRequests, Err: e, Detail: "this change is held and nothing of it was made, because too much was deactivated, deleted or removed within a short time; an operator decides with scimbox guard approve or scimbox guard reject, and other changes go on"}
}

func (o GuardOptions) on() bool { return o.MaxChanges > 0 || o.MaxPercent > 0 }

// most is how many changes there may be in a window in a tenant with so many users.
func (o GuardOptions) most(users int64) int {
	most := o.MaxChanges
	if o.MaxPercent > 0 {
		share := max(int(users*int64(o.MaxPercent)/100), guardLeast)
		if most == 0 || share < most {
			most = share
		}
	}
	return most
}

// count is the number of changes in the window that ends now. A slot from the future, after the clock was set back, counts.
func (g *guardRow) count(now time.Time, window time.Duration) int {
	n := 0
	for _, s := range g.Slots {
		if now.Sub(s.Begin) < window {
			n += s.N
		}
	}
	return n
}

// add counts n changes. Slots that no window can have any more are dropped.
func (g *guardRow) add(now time.Time, window time.Duration, n int) {
	g.Slots = slices.DeleteFunc(g.Slots, func(s guardSlot) bool { return now.Sub(s.Begin) >= window })
	if l := len(g.Slots); l > 0 && now.Sub(g.Slots[l-1].Begin) < window/guardSlots {
		g.Slots[l-1].N += n
		return
	}
	g.Slots = append(g.Slots, guardSlot{now, n})
}

// settle ends an approval whose time is over, and begins to count anew.
func (g *guardRow) settle(now time.Time) {
	if g.State == GuardApproved && (!now.Before(g.Until) || g.Total && g.Left <= 0) {
		*g = guardRow{}
	}
}

// judge decides about n changes, and counts them if they may be made.
func (g *guardRow) judge(now time.Time, o GuardOptions, most, n int) (word string, ok bool) {
	g.settle(now)
	switch g.State {
	case GuardHolding, GuardRejected:
		return g.State, false
	case GuardApproved:
		if g.Total {
			if g.Left < n {
				return GuardHolding, false
			}
			g.Left -= n
		}
		return GuardApproved, true
	}
	if g.count(now, o.Window)+n > most {
		return GuardHolding, false
	}
	g.add(now, o.Window, n)
	return GuardArmed, true
}

// unreadableError says that the record of a guard is damaged, or of a later version.
type unreadableError struct{ err error }

func (e *unreadableError) Error() string {
	return "the state of the guard against mass changes cannot be read: " + e.err.Error()
}

func (e *unreadableError) Unwrap() error { return e.err }

func loadGuard(tx *storage.Tx) (guardRow, storage.Stamp, error) {
	var g guardRow
	rec, err := tx.Get(guardKind, guardID)
	if isNotFound(err) {
		return g, storage.Stamp{}, nil
	}
	var damage *storage.DamageError
	if err != nil && !errors.As(err, &damage) {
		return g, rec.Stamp, err
	}
	if err == nil {
		err = json.Unmarshal(rec.Body, &g)
	}
	if err != nil {
		return g, rec.Stamp, &unreadableError{err}
	}
	return g, rec.Stamp, nil
}

func putGuard(tx *storage.Tx, g guardRow, old storage.Stamp) error {
	body, err := json.Marshal(g)
	if err != nil {
		return err
	}
	return tx.Put(storage.Record{Ref: storage.Ref{Tenant: tx.Tenant(), Kind: guardKind, ID: guardID}, Stamp: tx.Stamp(old), Body: body})
}

// guarded counts n changes as a part of the transaction that makes them, or refuses them.
func (s *Service) guarded(tx *storage.Tx, op string, ref storage.Ref, n int) error {
	if n == 0 || !s.o.Guard.on() {
		return nil
	}
	g, stamp, err := loadGuard(tx)
	if err != nil {
		return err
	}
	users, err := tx.Count("User")
	if err != nil {
		return err
	}
	before := g.State
	word, ok := g.judge(s.o.Clock(), s.o.Guard, s.o.Guard.most(users), n)
	if !ok {
		return &heldError{trip: before != GuardHolding && before != GuardRejected, what: op + " of the " + ref.Kind + " " + ref.ID, n: n, word: word}
	}
	return putGuard(tx, g, stamp)
}

// deactivates says whether a change takes the access of whoever the resource is: active was not false and is, or was true and
// is not.
func deactivates(t *ResourceType, old, now *Object) int {
	a := t.root.sub("active")
	if a == nil || a.Type != Boolean {
		return 0
	}
	was, is := old.Get(a), now.Get(a)
	yes := func(v Value) bool { return v.kind == boolean && v.flag }
	no := func(v Value) bool { return v.kind == boolean && !v.flag }
	if !no(was) && no(is) || yes(was) && !yes(is) {
		return 1
	}
	return 0
}

// losses is how much the deletion of a resource takes away: itself and its members. Nobody counts further than is needed.
func (s *Service) losses(tx *storage.Tx, t *ResourceType, ref storage.Ref) (int, error) {
	n := 1
	if !s.o.Guard.on() {
		return n, nil
	}
	users, err := tx.Count("User")
	if err != nil {
		return n, err
	}
	g, _, err := loadGuard(tx)
	if err != nil {
		return n, err
	}
	enough := s.o.Guard.most(users) + 1
	if g.State == GuardApproved && g.Total {
		enough = max(enough, g.Left+1)
	}
	for _, a := range t.root.Sub {
		if !a.linked {
			continue
		}
		next, stop := iter.Pull2(tx.Links(ref, linkField(a), ""))
		for {
			_, err, more := next()
			if !more || err != nil || n > enough {
				stop()
				if err != nil {
					return n, err
				}
				break
			}
			n++
		}
	}
	return n, nil
}

// update is Store.Update for what may be held. The refusal leaves no trace in the transaction that it ends, so that the guard is
// told to hold in one of its own: the next change is refused even if it is smaller, until somebody has decided.
func (s *Service) update(ctx context.Context, c *call, fn func(tx *storage.Tx) error) error {
	err := s.store.Update(ctx, c.caller.Tenant, c.origin(), fn)
	var held *heldError
	if !errors.As(err, &held) {
		return err
	}
	if held.trip {
		if err := s.hold(context.WithoutCancel(ctx), c, held); err != nil {
			// It holds all the same: what it has counted is too much for a change like this one.
			s.o.Logger.Error("the guard against mass changes cannot write down that it holds", "tenant", c.caller.Tenant, "error", err)
		}
	}
	return held.explain()
}

func (s *Service) hold(ctx context.Context, c *call, held *heldError) error {
	tripped := false
	err := s.store.Update(ctx, c.caller.Tenant, c.origin(), func(tx *storage.Tx) error {
		tripped = false
		g, stamp, err := loadGuard(tx)
		if err != nil || g.State == GuardHolding || g.State == GuardRejected {
			return err
		}
		tripped = true
		g.State, g.Since, g.Held, g.Actor = GuardHolding, s.o.Clock(), held.what, c.caller.Actor
		g.Until, g.Left, g.Total = time.Time{}, 0, false
		if err := tx.Log(guardEntry(tx, "hold", held.what)); err != nil {
			return err
		}
		return putGuard(tx, g, stamp)
	})
	if err == nil && tripped {
		s.o.Logger.Warn("the guard against mass changes holds back what is deactivated, deleted or removed until it is decided: scimbox guard approve, or scimbox guard reject",
			"tenant", c.caller.Tenant, "token", c.caller.Actor, "request", c.caller.Request, "held", held.what, "changes", held.n)
	}
	return err
}

func guardEntry(tx *storage.Tx, op, what string) storage.Entry {
	b := appendMember([]byte("{"), "name", what)
	return storage.Entry{Op: op, Ref: storage.Ref{Tenant: tx.Tenant(), Kind: guardKind, ID: guardID}, Detail: append(b, '}')}
}

// GuardDecision is what a person decides.
type GuardDecision struct {
	State   string        // GuardApproved, GuardRejected or GuardArmed
	For     time.Duration // of an approval
	Changes int           // of an approval, 0 = any number
}

// Decide does what a person has decided about the guard of a tenant.
func (s *Service) Decide(ctx context.Context, tenant string, by storage.Origin, d GuardDecision) (GuardState, error) {
	err := s.store.Update(ctx, tenant, by, func(tx *storage.Tx) error {
		g, stamp, err := loadGuard(tx)
		if err != nil {
			g = guardRow{} // a person decides, and what cannot be read is in nobody's way
		}
		what := ""
		switch d.State {
		case GuardApproved:
			what = "for " + d.For.String()
			if d.Changes > 0 {
				what += " or until " + itoa(d.Changes) + " were made"
			}
			g = guardRow{State: GuardApproved, Until: s.o.Clock().Add(d.For), Left: d.Changes, Total: d.Changes > 0}
		case GuardRejected:
			if g.State == GuardApproved {
				g = guardRow{}
			}
			g.State, what = GuardRejected, g.Held
			if g.Since.IsZero() {
				g.Since = s.o.Clock()
			}
		default:
			g = guardRow{}
		}
		if err := tx.Log(guardEntry(tx, "guard-"+d.State, what)); err != nil {
			return err
		}
		return putGuard(tx, g, stamp)
	})
	if err != nil {
		return GuardState{}, err
	}
	s.o.Logger.Info("the guard against mass changes was told what to do", "tenant", tenant, "by", by.Actor, "state", d.State)
	return s.Guard(ctx, tenant)
}

// Guard tells of the guard of a tenant.
func (s *Service) Guard(ctx context.Context, tenant string) (GuardState, error) {
	st := GuardState{Tenant: tenant, State: GuardOff}
	if !s.o.Guard.on() {
		return st, nil
	}
	err := s.store.View(ctx, tenant, func(tx *storage.Tx) error {
		users, err := tx.Count("User")
		if err != nil {
			return err
		}
		st.Most, st.Window = s.o.Guard.most(users), s.o.Guard.Window.String()
		g, _, err := loadGuard(tx)
		var unreadable *unreadableError
		if errors.As(err, &unreadable) {
			st.State, st.Problem = GuardUnreadable, err.Error()
			return nil
		}
		if err != nil {
			return err
		}
		now := s.o.Clock()
		g.settle(now)
		if st.State = g.State; g.State == "" {
			st.State = GuardArmed
		}
		st.Count = g.count(now, s.o.Guard.Window)
		st.Since, st.Held, st.Actor, st.Until, st.Left = g.Since, g.Held, g.Actor, g.Until, g.Left
		return nil
	})
	return st, err
}
