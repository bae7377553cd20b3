package scim

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"sync"

	"github.com/google/uuid"
	lru "github.com/hashicorp/golang-lru/v2"

	"scimbox/storage"
)

// Service is SCIM without HTTP: each of its operations is one transaction on the store. It is safe for concurrent use.
type Service struct {
	store *storage.Store
	types *Types
	whole *Types // types, or of a view those of the service that it is a view of
	o     Options
	index map[*ResourceType][]indexedAttribute

	cursors *cursors
	walks   *walks
	limit   Limit // of a view
	views   *lru.Cache[Limit, *Service]

	mu      sync.Mutex
	unknown map[string]int64
	marked  map[string]bool // "<tenant>/<type>" whose fingerprint is known to be stored
}

// NewService returns a service for the resources of types in store. Records whose terms were made by other rules, because
// the schemas or the key format have changed since, are indexed anew before it returns; an error says which two
// resources stand in the way where an attribute has become unique.
func NewService(ctx context.Context, store *storage.Store, types *Types, o Options) (*Service, error) {
	s := &Service{
		store: store, types: types, whole: types, o: o.withDefaults(),
		index:   map[*ResourceType][]indexedAttribute{},
		unknown: map[string]int64{}, marked: map[string]bool{},
		walks: newWalks(), views: newViews(),
	}
	for _, t := range types.ResourceTypes {
		s.index[t] = indexes(t)
	}
	if err := s.reindex(ctx); err != nil {
		return nil, err
	}
	var err error
	if s.cursors, err = newCursors(ctx, store, s.o); err != nil {
		return nil, err
	}
	return s, nil
}

// UnknownAttributes returns how often clients have sent which attribute that no schema has, since the start.
func (s *Service) UnknownAttributes() map[string]int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return maps.Clone(s.unknown)
}

// countUnknown counts, under a bounded number of names: they are the client's to choose.
func (s *Service) countUnknown(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, ok := s.unknown[name]; !ok && len(s.unknown) >= 1000 {
		name = "others"
	}
	s.unknown[name]++
}

// call is what one operation needs to know of the request that asked for it.
type call struct {
	caller Caller
	q      quirks
	t      *ResourceType
	base   string     // URL that locations start with
	shown  projection // of the answer
	ifMatch,
	ifNoneMatch condition
	quiet bool   // the answer shows nothing of the resource
	id    string // that a new resource is to have, "" for a fresh one: bulk requests refer to what is yet to be made
	// pending says which kind of resource an id is going to be, in a bulk request. May be nil.
	pending func(id string) (kind string, ok bool)
	work    *work // of all changes of the request; nil = any

	to     []byte // empty; where the body of a read is put together. nil = a new one
	answer answer // of a read
}

// answer is what an operation on one resource came to.
type answer struct {
	id, location, etag string
	body               []byte // nil if quiet
	unchanged          bool   // a conditional GET: the client has this version
}

func (c *call) origin() storage.Origin {
	return storage.Origin{Actor: c.caller.Actor, Client: c.caller.Client, Request: c.caller.Request}
}

func (s *Service) decoder(c *call) decoder {
	c.shown.assigned = map[*Attribute]bool{}
	return decoder{t: c.t, q: c.q, strict: s.o.Strict, unknown: s.countUnknown, specified: c.shown.assigned}
}

// mayWrite is asked before everything that changes a resource, whatever door it comes through. Whoever authenticates
// requests judges them by method and path alone.
func (c *call) mayWrite() error {
	if c.caller.ReadOnly {
		return &Error{Status: http.StatusForbidden, Detail: "the token may only read; changes need one with the scope write"}
	}
	return nil
}

// create makes a resource from the body of a POST (RFC 7644 section 3.3).
func (s *Service) create(ctx context.Context, c *call, body *node) (*answer, error) {
	finish, err := s.beginCreate(ctx, c, body)
	if err != nil {
		return nil, err
	}
	return finish()
}

// beginCreate is create up to where it waits. Resources are made in the order in which they were begun; finish must be called.
func (s *Service) beginCreate(ctx context.Context, c *call, body *node) (finish func() (*answer, error), err error) {
	if err := c.mayWrite(); err != nil {
		return nil, err
	}
	d := s.decoder(c)
	o, err := d.resource(body)
	if err != nil {
		return nil, err
	}
	if err := checkRequired(c.t, o, nil); err != nil {
		return nil, err
	}
	hash, err := s.takeSecret(c.t, o)
	if err != nil {
		return nil, err
	}
	members, err := takeLinked(c.t, o)
	if err != nil {
		return nil, err
	}
	id := c.id
	if id == "" {
		u, err := uuid.NewV7()
		if err != nil {
			return nil, fmt.Errorf("making an id: %w", err)
		}
		id = u.String()
	}
	if err := s.markIndexed(ctx, c); err != nil {
		return nil, err
	}
	ref := storage.Ref{Tenant: c.caller.Tenant, Kind: c.t.Name, ID: id}
	// Here and not below: everybody else waits for the transaction.
	encoded, changed := encodeBody(c.t, o), changesOf(c.t, nil, o, hash != nil)
	var done storage.Record
	outcome := s.store.Submit(ctx, c.caller.Tenant, c.origin(), func(tx *storage.Tx) error {
		if err := s.uniqueName(tx, c, nil, o, ref.ID); err != nil {
			return err
		}
		stamp := tx.Stamp(storage.Stamp{})
		if err := s.putBody(tx, c.t, ref, stamp, o, nil, encoded); err != nil {
			return err
		}
		l := &links{s: s, tx: tx, from: ref, q: c.q, pending: c.pending}
		for a, v := range members {
			if err := l.add(a, v.list); err != nil {
				return err
			}
		}
		if hash != nil {
			if err := putSecret(tx, ref, stamp, hash); err != nil {
				return err
			}
		}
		if err := tx.Log(entry("create", ref, c.t, o, changed, l)); err != nil {
			return err
		}
		done = storage.Record{Ref: ref, Stamp: stamp, Body: encoded}
		return nil
	})
	return func() (*answer, error) {
		if err := outcome(); err != nil {
			return nil, err
		}
		// Its id is known to nobody else yet.
		alone := c.id == "" && len(members) == 0 && !refersToAny(o)
		return s.written(ctx, c, done, alone)
	}, nil
}

// replace makes a resource what the body of a PUT says (RFC 7644 section 3.5.1). What the body leaves out is cleared,
// except the password, which nobody can read back.
func (s *Service) replace(ctx context.Context, c *call, id string, body *node) (*answer, error) {
	if err := c.mayWrite(); err != nil {
		return nil, err
	}
	d := s.decoder(c)
	o, err := d.resource(body)
	if err != nil {
		return nil, s.missingFirst(ctx, c, id, err)
	}
	hash, err := s.takeSecret(c.t, o)
	if err != nil {
		return nil, err
	}
	members, err := takeLinked(c.t, o)
	if err != nil {
		return nil, err
	}
	return s.change(ctx, c, id, "replace", nil, func(e *edit) error {
		now := o.Clone()
		if err := takeOver(c.t.root, e.object, now, ""); err != nil {
			return err
		}
		e.object, e.hash = now, hash
		for _, a := range c.t.root.Sub {
			if !a.linked {
				continue
			}
			if a.Mutability == Immutable && !members[a].assigned() {
				continue
			}
			if err := e.links.replace(a, members[a].list); err != nil {
				return err
			}
		}
		return nil
	})
}

// patch applies the operations in the body of a PATCH, all or none (RFC 7644 section 3.5.2).
func (s *Service) patch(ctx context.Context, c *call, id string, body *node) (*answer, error) {
	if err := c.mayWrite(); err != nil {
		return nil, err
	}
	d := patchDecoder{s.decoder(c), id}
	ops, err := d.decode(body)
	if err != nil {
		return nil, s.missingFirst(ctx, c, id, err)
	}
	hash, forget, ops, err := s.takeSecretOps(ops)
	if err != nil {
		return nil, err
	}
	return s.change(ctx, c, id, "patch", c.t.looksAt(ops), func(e *edit) error {
		e.hash, e.forget = hash, forget
		ed := editor{t: c.t, q: c.q, object: e.object, links: e.links, work: c.work}
		if err := ed.applyAll(ops); err != nil {
			return err
		}
		e.object = ed.object
		return nil
	})
}

// missingFirst answers 404 rather than what is wrong with a body that is for nobody.
func (s *Service) missingFirst(ctx context.Context, c *call, id string, err error) error {
	missing := s.store.View(ctx, c.caller.Tenant, func(tx *storage.Tx) error {
		_, err := s.fetch(tx, c.t, id)
		return err
	})
	var e *Error
	if errors.As(missing, &e) && e.Status == http.StatusNotFound {
		return missing
	}
	return err
}

// edit is a resource that is being changed inside a transaction.
type edit struct {
	object *Object
	links  *links
	hash   []byte // of a new password
	forget bool   // the password goes
}

// change runs fn on a copy of a resource and stores what it makes of it. If that is what was there, nothing is written:
// neither version nor lastModified move (RFC 7644 section 3.5.2.1). fn looks at no other attributes than those that are named by
// their index; at all if looked is nil.
func (s *Service) change(ctx context.Context, c *call, id, op string, looked []bool, fn func(*edit) error) (*answer, error) {
	var done storage.Record
	spent := 0 // by a try that is made again
	if !c.work.over() {
		s.store.Ahead(ctx, c.caller.Tenant, c.t.Name, id)
	}
	err := s.update(ctx, c, func(tx *storage.Tx) error {
		if c.work.over() { // before more of it is read
			return c.work.refuse()
		}
		rec, err := s.toChange(tx, c, id)
		if err != nil {
			return err
		}
		old, rest, err := decodePartly(c.t, &rec, looked)
		if err != nil {
			return err
		}
		if c.work != nil {
			c.work.left += spent
			defer func(before int) { spent = before - c.work.left }(c.work.left)
		}
		if !c.work.do(old.weight() + rest.weight()) {
			return c.work.refuse()
		}
		e := &edit{object: old.Clone(), links: &links{s: s, tx: tx, from: rec.Ref, q: c.q, pending: c.pending, work: c.work}}
		if err := fn(e); err != nil {
			return err
		}
		before := old
		if op == "replace" {
			before = nil // a PUT says all of it
		}
		if err := checkRequired(c.t, e.object, before); err != nil {
			return err
		}
		if e.forget {
			if e.forget, err = hasSecret(tx, rec.Ref); err != nil {
				return err
			}
		}
		body := encodeWith(c.t, e.object, rest)
		done = storage.Record{Ref: rec.Ref, Stamp: rec.Stamp, Body: body}
		if string(body) == string(rec.Body) && !e.links.changed() && e.hash == nil && !e.forget {
			return nil
		}
		if err := s.uniqueName(tx, c, old, e.object, id); err != nil {
			return err
		}
		if err := s.guarded(tx, op, rec.Ref, deactivates(c.t, old, e.object)+len(e.links.removed)); err != nil {
			return err
		}
		stamp := tx.Stamp(rec.Stamp)
		if err := s.putBody(tx, c.t, rec.Ref, stamp, e.object, rest, body); err != nil {
			return err
		}
		switch {
		case e.hash != nil:
			err = putSecret(tx, rec.Ref, stamp, e.hash)
		case e.forget:
			err = deleteSecret(tx, rec.Ref)
		}
		if err != nil {
			return err
		}
		done.Stamp = stamp
		return tx.Log(entry(op, rec.Ref, c.t, e.object, changesOf(c.t, old, e.object, e.hash != nil || e.forget), e.links))
	})
	if err != nil {
		return nil, err
	}
	return s.written(ctx, c, done, false)
}

// toChange returns what a write is about to change, with its terms, if the request's preconditions hold.
func (s *Service) toChange(tx *storage.Tx, c *call, id string) (storage.Record, error) {
	rec, err := fetchBy(tx.Get, c.t, id)
	if err != nil {
		return rec, err
	}
	return rec, c.preconditions(rec.Version)
}

// delete removes a resource and its memberships (RFC 7644 section 3.6).
func (s *Service) delete(ctx context.Context, c *call, id string) error {
	if err := c.mayWrite(); err != nil {
		return err
	}
	return s.update(ctx, c, func(tx *storage.Tx) error {
		rec, err := s.toChange(tx, c, id)
		if err != nil {
			return err
		}
		old, err := decodeBody(c.t, rec.Body)
		if err != nil {
			return err
		}
		lost, err := s.losses(tx, c.t, rec.Ref)
		if err != nil {
			return err
		}
		if err := s.guarded(tx, "delete", rec.Ref, lost); err != nil {
			return err
		}
		if err := s.touchGroups(tx, rec.Ref); err != nil {
			return err
		}
		if err := tx.Delete(rec.Kind, rec.ID); err != nil {
			return err
		}
		if err := deleteSecret(tx, rec.Ref); err != nil {
			return err
		}
		return tx.Log(entry("delete", rec.Ref, c.t, old, changes{}, nil))
	})
}

// touchGroups moves the version of every resource that refers to ref as a member: losing a member is a change of it.
func (s *Service) touchGroups(tx *storage.Tx, ref storage.Ref) error {
	links, err := s.linksTo(tx, ref)
	if err != nil {
		return err
	}
	seen := map[storage.Ref]bool{}
	for _, l := range links {
		seen[l.From] = true
	}
	delete(seen, ref)
	for from := range seen {
		t := s.types.ByName(from.Kind)
		if t == nil {
			continue // of a type that was taken out of the custom schemas, and shown to nobody
		}
		rec, err := tx.Get(from.Kind, from.ID)
		if err != nil {
			return err
		}
		o, err := decodeBody(t, rec.Body)
		if err != nil {
			return err
		}
		if err := s.put(tx, t, from, tx.Stamp(rec.Stamp), o); err != nil {
			return err
		}
	}
	return nil
}

// shownMore is what an answer usually has beyond the stored body: id, meta and schemas.
const shownMore = 512

// get reads one resource (RFC 7644 section 3.4.1).
func (s *Service) get(ctx context.Context, c *call, id string) (*answer, error) {
	x := takeExaminer(s, nil, c.t, c.base)
	defer x.release() // what is answered is a copy
	x.c, x.id = c, id
	err := s.store.View(ctx, c.caller.Tenant, x.view)
	return &c.answer, err
}

// read is what get does inside a transaction.
func (x *examiner) read(tx *storage.Tx) error {
	s, c, a := x.s, x.c, &x.c.answer
	x.tx = tx
	rec, err := s.fetch(tx, c.t, x.id)
	if err != nil {
		return err
	}
	r, err := x.load(rec)
	if err != nil {
		return err
	}
	*a = c.answerFor(r)
	if s.limited() {
		return s.getLimited(c, r, a)
	}
	if c.ifMatch.given && !c.ifMatch.holds(rec.Version) {
		return c.stale(rec.Version)
	}
	if c.ifNoneMatch.given && c.ifNoneMatch.holds(rec.Version) {
		a.unchanged = true
		return nil
	}
	a.body, err = appendResource(slices.Grow(c.to, len(rec.Body)+shownMore), r, &c.shown)
	return err
}

// getLimited is get for a caller with a Limit. The version of the record would tell of changes of what is hidden; so the
// entity tag is that of the text that is shown.
func (s *Service) getLimited(c *call, r *Resource, a *answer) (err error) {
	if a.body, err = appendResource(c.to, r, &c.shown); err != nil {
		return err
	}
	tag := tagOf(a.body)
	a.etag = `W/"` + tag + `"`
	if c.ifMatch.given && !c.ifMatch.names(tag) {
		return &Error{Status: http.StatusPreconditionFailed, Detail: fmt.Sprintf("the resource is at version %s, which is none of those that If-Match names", a.etag)}
	}
	a.unchanged = c.ifNoneMatch.given && c.ifNoneMatch.names(tag)
	return nil
}

// fetch reads a resource's record, without its terms.
func (s *Service) fetch(tx *storage.Tx, t *ResourceType, id string) (storage.Record, error) {
	return fetchBy(tx.Bare, t, id)
}

func fetchBy(read func(kind, id string) (storage.Record, error), t *ResourceType, id string) (storage.Record, error) {
	if !validID(id) {
		return storage.Record{}, notFound(t, id)
	}
	rec, err := read(t.Name, id)
	if isNotFound(err) {
		return rec, notFound(t, id)
	}
	return rec, err
}

func notFound(t *ResourceType, id string) error {
	return &Error{Status: http.StatusNotFound, Detail: fmt.Sprintf("there is no %s with the id %s", t.Name, quote(id))}
}

func isNotFound(err error) bool { return errors.Is(err, storage.ErrNotFound) }

func (s *Service) put(tx *storage.Tx, t *ResourceType, ref storage.Ref, stamp storage.Stamp, o *Object) error {
	return s.putBody(tx, t, ref, stamp, o, nil, encodeBody(t, o))
}

// putBody is put for an object that has been encoded already, together with what was left alone.
func (s *Service) putBody(tx *storage.Tx, t *ResourceType, ref storage.Ref, stamp storage.Stamp, o *Object, rest *stayed, body []byte) error {
	err := tx.Put(storage.Record{Ref: ref, Stamp: stamp, Body: body, Terms: s.terms(t, o, rest, ref.ID, stamp.Modified)})
	return s.taken(t, err)
}

func (c *call) answerFor(r *Resource) answer {
	var room [256]byte
	b := appendETag(room[:0], r.Stamp.Version)
	tag := len(b)
	both := string(append(append(append(append(b, c.base...), r.Type.Endpoint...), '/'), r.ID...)) // in one allocation
	r.where = both[tag:]
	return answer{id: r.ID, location: r.where, etag: both[:tag]}
}

// written answers for a resource that has just been stored. What belongs to it is told as it was stored; what is linked is
// read afterwards, so that the committer does not wait for it. That the request's time is over by now does not undo the
// change, and an error here must not say that nothing was changed. Of a resource that is alone, which refers to no other and that
// none refers to, nothing has to be read.
func (s *Service) written(ctx context.Context, c *call, rec storage.Record, alone bool) (*answer, error) {
	r, err := unattached(c.t, rec, c.base)
	a := c.answerFor(r)
	if c.quiet {
		return &a, nil
	}
	show := func() (err error) {
		a.body, err = appendResource(make([]byte, 0, len(rec.Body)+shownMore), r, &c.shown)
		return err
	}
	switch {
	case err != nil:
	case alone:
		err = show()
	default:
		err = s.store.View(context.WithoutCancel(ctx), c.caller.Tenant, func(tx *storage.Tx) error {
			r.attach(s, tx, c.base)
			return show()
		})
	}
	if err != nil {
		return nil, &Error{Status: http.StatusServiceUnavailable, Detail: "the change was made, but it cannot be shown; read the resource before sending it again", Err: err}
	}
	return &a, nil
}

// takeLinked takes the values of linked attributes out of what a client sent.
func takeLinked(t *ResourceType, o *Object) (map[*Attribute]Value, error) {
	taken := map[*Attribute]Value{}
	for _, a := range t.root.Sub {
		if !a.linked {
			continue
		}
		v := o.Get(a)
		o.Set(a, Value{})
		if a.Required && !v.assigned() {
			return nil, bad(InvalidValue, "%q is required and has no value", a.Name)
		}
		if v.assigned() {
			taken[a] = v
		}
	}
	return taken, nil
}

// uniqueName refuses a second group of a name, where that is asked for: Entra and Okta link a group by its name, and a
// second one would take its members (docs/clients/entra.md). Two that have the same name already, from a time when that was
// allowed, may be changed in every other way: a member who cannot be removed would keep his access. old is nil for a new one.
func (s *Service) uniqueName(tx *storage.Tx, c *call, old, o *Object, id string) error {
	a := c.t.root.sub("displayName")
	if s.o.GroupNames != "unique" || c.caller.Preset == "standard" || a == nil || indexField(a) == "" || !sameName(c.t.Schema.ID, GroupURN) {
		return nil
	}
	v := o.Get(a)
	if !v.assigned() || Fold(old.Get(a).text) == Fold(v.text) {
		return nil
	}
	for hit, err := range tx.Find(c.t.Name, indexField(a), storage.Exactly(presentValue(a, v))) {
		if err != nil {
			return err
		}
		if hit.ID == id {
			continue
		}
		// Long names share a term: only the name itself decides.
		name, err := s.displayName(tx, c.t, hit.ID)
		if err != nil {
			return err
		}
		if Fold(name) == Fold(v.text) {
			return &Error{Status: http.StatusConflict, Type: NotUnique, Detail: fmt.Sprintf(
				"another %s has the displayName %s already; case makes no difference ([scim] group_names = \"free\" allows it)", c.t.Name, quote(v.text))}
		}
	}
	return nil
}
