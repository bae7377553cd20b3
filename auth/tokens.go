package auth

import (
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"
	"golang.org/x/crypto/bcrypt"
	"golang.org/x/sync/semaphore"
	"golang.org/x/sync/singleflight"
	"golang.org/x/time/rate"

	"scimbox/storage"
)

// Options tune Tokens. The zero value is what a server wants.
type Options struct {
	Clock       func() time.Time                     // nil = time.Now
	Logger      *slog.Logger                         // nil = discard
	ValidPreset func(string) error                   // says why a client preset cannot be; nil takes every name
	ValidLimit  func(types, attributes string) error // says why a token cannot be limited to these; nil takes every name

	// WarnBefore are the times before its expiry at which a token, or a secret of a client, is complained about in the log,
	// once each; nil = never. One that is longer than the token's whole life is passed over.
	WarnBefore []time.Duration

	// Cost is bcrypt's cost for new tokens, default 10. A failed attempt with an unknown id costs as much, so that a change
	// of Cost lets tokens of the old cost be told from unknown ones by the clock, until they are replaced.
	Cost int

	CacheSize    int           // verified tokens kept in memory, and as many access tokens, default 4,096
	Hashers      int           // bcrypt computations at a time, default half of the processors, at least 1
	Queue        int           // verifications that may wait for a hasher, default 64; more are told to come back
	FailureBurst int           // failed attempts that a client address has at once, default 20
	FailureEvery time.Duration // after which it has one more, default 3 s
	Sources      int           // client addresses whose failures are remembered, default 16,384
}

// Tokens are the tokens of one store. All methods may be called by any number of goroutines.
type Tokens struct {
	store       *storage.Store
	now         func() time.Time
	log         *slog.Logger
	validPreset func(string) error
	validLimit  func(types, attributes string) error
	warnBefore  []time.Duration // the shortest first
	cost        int
	compare     func(hash, secret []byte) error // bcrypt; tests count its calls
	dummy       []byte                          // hash that stands in for the one of an unknown id

	cache    *lru.Cache[[sha256.Size]byte, *entry] // tokens and client secrets, which cost bcrypt
	access   *lru.Cache[[sha256.Size]byte, *entry] // access tokens
	flights  singleflight.Group
	hashers  *semaphore.Weighted
	waiting  atomic.Int64
	queue    int64
	failures *limiter

	mu   sync.Mutex
	uses map[string]*use // by token id

	removed map[string]struct{} // ids of Remove since the start: few, each made by a person's command

	stop context.CancelFunc
	done chan struct{}
}

// New returns the tokens of store and starts the goroutine that writes down their last use. Close ends it, and must come
// before the store is closed.
func New(store *storage.Store, o Options) *Tokens {
	o.Cost = cmp.Or(o.Cost, bcrypt.DefaultCost)
	newCache := func() *lru.Cache[[sha256.Size]byte, *entry] {
		cache, err := lru.New[[sha256.Size]byte, *entry](cmp.Or(max(o.CacheSize, 0), 4096))
		if err != nil {
			panic(err) // only a size below 1 is refused
		}
		return cache
	}
	ctx, stop := context.WithCancel(context.Background())
	t := &Tokens{
		store:       store,
		now:         o.Clock,
		log:         o.Logger,
		validPreset: o.ValidPreset,
		validLimit:  o.ValidLimit,
		warnBefore:  slices.Sorted(slices.Values(o.WarnBefore)),
		cost:        o.Cost,
		compare:     bcrypt.CompareHashAndPassword,
		dummy:       dummyHash(o.Cost),
		cache:       newCache(),
		access:      newCache(),
		hashers:     semaphore.NewWeighted(int64(cmp.Or(max(o.Hashers, 0), max(1, min(runtime.GOMAXPROCS(0), runtime.NumCPU())/2)))),
		queue:       int64(cmp.Or(max(o.Queue, 0), 64)),
		failures: newLimiter(cmp.Or(max(o.Sources, 0), 16384),
			rate.Every(cmp.Or(max(o.FailureEvery, 0), 3*time.Second)), cmp.Or(max(o.FailureBurst, 0), 20)),
		uses:    make(map[string]*use),
		removed: make(map[string]struct{}),
		stop:    stop,
		done:    make(chan struct{}),
	}
	if t.now == nil {
		t.now = time.Now
	}
	if t.log == nil {
		t.log = slog.New(slog.DiscardHandler)
	}
	go t.keep(ctx)
	return t
}

// Close writes down what is not yet written of the tokens' last use. The store must still be open.
func (t *Tokens) Close() error {
	t.stop()
	<-t.done
	err := t.flushUses(context.Background())
	if errors.Is(err, storage.ErrReadOnly) {
		// When tokens were last used since the last minute is no reason to end with an error.
		t.log.Warn("the last use of tokens could not be written and is lost", "error", err)
		return nil
	}
	return err
}

// dummyHash is a well-formed hash that no known password has; comparing with it costs what any comparison of that
// cost does.
func dummyHash(cost int) []byte {
	return fmt.Appendf(nil, "$2a$%02d$%s", cost, strings.Repeat(".", 53))
}

// Create makes a token and returns its plain text, which cannot be had again. A Spec that cannot be is a *SpecError.
func (t *Tokens) Create(ctx context.Context, spec Spec, by storage.Origin) (Token, Secret, error) {
	spec, err := spec.check(t.validPreset)
	if err != nil {
		return Token{}, Secret{}, err
	}
	if err := t.checkLimit("", spec); err != nil {
		return Token{}, Secret{}, err
	}
	id, plain, hash, err := t.newToken()
	if err != nil {
		return Token{}, Secret{}, err
	}
	r := row{
		Name: spec.Name, Tenant: spec.Tenant, Scope: spec.Scope, Preset: spec.Preset, User: spec.User, limits: limits{spec.Types, spec.Attributes},
		Expires: t.now().Add(spec.TTL).UTC().Truncate(time.Microsecond), Hash: hash,
	}
	var tok Token
	err = t.store.Update(ctx, systemTenant, by, func(tx *storage.Tx) error {
		tok, err = putNew(tx, id, r)
		return err
	})
	if err != nil {
		return Token{}, Secret{}, fmt.Errorf("creating token %q: %w", spec.Name, err)
	}
	return tok, newSecret(compose(id, plain)), nil
}

// checkLimit judges what a token or client is to be limited to, by the schemas that there are.
func (t *Tokens) checkLimit(of string, s Spec) error {
	if t.validLimit == nil || s.Types == "" && s.Attributes == "" {
		return nil
	}
	if err := t.validLimit(string(s.Types), string(s.Attributes)); err != nil {
		return &SpecError{Of: of, Field: "limit", Problem: err.Error()}
	}
	return nil
}

// newToken makes what only its owner will know of a token, and its digest.
func (t *Tokens) newToken() (id, plain, hash string, err error) {
	id, plain = newID(), newPlain()
	digest, err := bcrypt.GenerateFromPassword([]byte(plain), t.cost)
	if err != nil {
		return "", "", "", fmt.Errorf("hashing a new token: %w", err)
	}
	return id, plain, string(digest), nil
}

// putNew is put for a token that is not there yet.
func putNew(tx *storage.Tx, id string, r row) (Token, error) {
	taken, err := tx.Has(tokenKind, id)
	if err != nil {
		return Token{}, err
	}
	if taken {
		return Token{}, fmt.Errorf("the random id %s is taken; nothing was changed, try again", id)
	}
	return put(tx, id, r, storage.Stamp{}, "create")
}

// put writes a token and its journal row.
func put(tx *storage.Tx, id string, r row, prev storage.Stamp, op string) (Token, error) {
	rec, err := r.record(id, tx.Stamp(prev))
	if err != nil {
		return Token{}, err
	}
	what, err := r.detail()
	if err != nil {
		return Token{}, err
	}
	if err := tx.Put(rec); err != nil {
		return Token{}, err
	}
	if err := tx.Log(storage.Entry{Op: op, Ref: rec.Ref, Detail: what}); err != nil {
		return Token{}, err
	}
	tok, _, err := decodeRow(rec)
	return tok, err
}

// List returns all tokens, also those expired and revoked, in order of name, then of creation, then of id.
func (t *Tokens) List(ctx context.Context) ([]Token, error) {
	var list []Token
	err := t.store.View(ctx, systemTenant, func(tx *storage.Tx) error {
		for hit, err := range tx.Find(tokenKind, nameField, storage.TermRange{}) {
			if err != nil {
				return err
			}
			tok, err := t.read(tx, hit.ID)
			if err != nil {
				return err
			}
			list = append(list, tok)
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("listing tokens: %w", err)
	}
	slices.SortFunc(list, func(a, b Token) int {
		return cmp.Or(strings.Compare(a.Name, b.Name), a.Created.Compare(b.Created), strings.Compare(a.ID, b.ID))
	})
	return list, nil
}

// Get returns the token that which names: an id, a whole token, or a name. Of several tokens with the name it is the only
// one that is not revoked. Otherwise the error is a *LookupError.
func (t *Tokens) Get(ctx context.Context, which string) (Token, error) {
	var tok Token
	err := t.store.View(ctx, systemTenant, func(tx *storage.Tx) error {
		id, err := resolve(tx, tokenKind, which, t.now())
		if err != nil {
			return err
		}
		tok, err = t.read(tx, id)
		return err
	})
	return tok, wrapUnlessLookup("reading a token", err)
}

// Revoke ends the token that which names, as in Get, for good. Once Revoke has returned nil, no request is let in with the
// token, and none that is being verified at the time. Revoking a revoked token changes nothing and is no error. It does not wait
// for room on a disk that is almost full.
func (t *Tokens) Revoke(ctx context.Context, which string, by storage.Origin) error {
	var id string
	err := t.store.UpdateUrgently(ctx, systemTenant, by, func(tx *storage.Tx) (err error) {
		if id, err = resolve(tx, tokenKind, which, t.now()); err != nil {
			return err
		}
		rec, err := tx.Get(tokenKind, id)
		if err != nil {
			return err
		}
		tok, r, err := decodeRow(rec)
		if err != nil || !tok.Revoked.IsZero() {
			return err
		}
		r.Revoked = t.now().UTC().Truncate(time.Microsecond)
		_, err = put(tx, id, r, rec.Stamp, "revoke")
		return err
	})
	if id != "" {
		t.forget(id)
	}
	return wrapUnlessLookup("revoking a token", err)
}

// resolve finds the id of the token or the client that which names.
func resolve(tx *storage.Tx, kind, which string, now time.Time) (string, error) {
	which = strings.TrimSpace(which)
	if id, _, ok := parse(which); ok {
		which = id // somebody holds a leaked token in hand and wants it gone
	}
	if which == "" {
		return "", &LookupError{Kind: kind}
	}
	if isID(which) && len(which) == idLen {
		found, err := tx.Has(kind, which)
		if err != nil || found {
			return which, err
		}
	}
	var all, live []string
	for hit, err := range tx.Find(kind, nameField, storage.Exactly([]byte(which))) {
		if err != nil {
			return "", err
		}
		rec, err := tx.Get(kind, hit.ID)
		if err != nil {
			return "", err
		}
		past, err := isPast(rec, now)
		if err != nil {
			return "", err
		}
		all = append(all, hit.ID)
		if !past {
			live = append(live, hit.ID)
		}
	}
	switch {
	case len(live) == 1:
		return live[0], nil
	case len(live) == 0 && len(all) == 1:
		return all[0], nil
	case len(live) > 1:
		all = live
	}
	return "", &LookupError{Kind: kind, Given: clip(which), IDs: all}
}

// isPast reports whether nobody means a token or a client by its name any more: it is revoked, or was rotated and has ended
// since.
func isPast(rec storage.Record, now time.Time) (bool, error) {
	if rec.Kind == clientKind {
		c, _, err := decodeClient(rec)
		return !c.Revoked.IsZero(), err
	}
	tok, _, err := decodeRow(rec)
	return !tok.Revoked.IsZero() || tok.Successor != "" && !tok.Active(now), err
}

// LookupError says that no token, or more than one, is meant by what was given. It is storage.ErrNotFound if none is.
type LookupError struct {
	Kind  string // "token" or "client"
	Given string
	IDs   []string // those that have the name; none, or several
}

func (e *LookupError) Error() string {
	kind := cmp.Or(e.Kind, tokenKind)
	switch {
	case len(e.IDs) > 0:
		return fmt.Sprintf("%d %ss have the name %q; name one by its id: %s", len(e.IDs), kind, e.Given, strings.Join(e.IDs, ", "))
	case e.Given == "":
		return fmt.Sprintf("which %s? Give its id or its name (scimbox %[1]s list shows them)", kind)
	}
	return fmt.Sprintf("no %s has the id or the name %q (scimbox %[1]s list shows them)", kind, e.Given)
}

// Unwrap returns storage.ErrNotFound if no token is meant.
func (e *LookupError) Unwrap() error {
	if len(e.IDs) == 0 {
		return storage.ErrNotFound
	}
	return nil
}

func wrapUnlessLookup(doing string, err error) error {
	var lookup *LookupError
	if err == nil || errors.As(err, &lookup) {
		return err
	}
	return fmt.Errorf("%s: %w", doing, err)
}
