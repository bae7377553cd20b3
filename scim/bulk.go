package scim

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/google/uuid"

	"scimbox/storage"
)

// Bulk (RFC 7644 section 3.7). Operations are done one after another, each in a transaction of its own; POSTs that follow each
// other and refer to nothing wait for their commits together, in their order. One that refers
// to a bulkId whose resource is made later waits for it; where operations wait for each other in a circle, the first of
// them is done with the ids that the others are going to have.

const (
	bulkURN         = "urn:ietf:params:scim:api:messages:2.0:BulkRequest"
	bulkResponseURN = "urn:ietf:params:scim:api:messages:2.0:BulkResponse"
	bulkPrefix      = "bulkId:"
)

// bulkOp is one operation of a bulk request.
type bulkOp struct {
	place                         string // where it stands in the request, for errors
	method, bulkID, path, version string
	data                          *node
	t                             *ResourceType
	id                            string   // of the resource; of a POST, the one that it is going to have
	refs                          []string // bulkIds that it refers to

	done     bool
	status   int
	location string
	etag     string
	err      error
}

func (h *handler) bulk(q *request) error {
	if q.r.Method != http.MethodPost {
		return q.allow("POST")
	}
	data, err := q.bodyBytes(h.s.o.BulkMaxPayload)
	if err != nil {
		if e := explain(err); e.Status == http.StatusRequestEntityTooLarge {
			return &Error{Status: e.Status, Detail: fmt.Sprintf("the bulk request is larger than maxPayloadSize, %d bytes", h.s.o.BulkMaxPayload)}
		}
		return err
	}
	n, err := parseJSON(data)
	if err != nil {
		return err
	}
	ops, failOn, err := h.bulkRequest(q, n)
	if err != nil {
		return err
	}
	b := bulkRun{h: h, q: q, ops: ops, posts: map[string]*bulkOp{}, byID: map[string]*bulkOp{}, handedOut: map[*bulkOp][]*bulkOp{}}
	b.runAll(failOn)
	b.takeBack()
	if slices.ContainsFunc(ops, func(op *bulkOp) bool { return op.status == http.StatusTooManyRequests }) {
		q.w.Header().Set("Retry-After", retryAfter[http.StatusTooManyRequests])
	}
	b.tellRefusals()
	return q.write(http.StatusOK, b.response())
}

// BulkRefusal is an operation that was refused inside of a bulk request that is answered with 200.
type BulkRefusal struct {
	Method, Path string // the path as it would be in a request of its own
	Status       int
	Body, Answer []byte
}

type refusalsKey struct{}

// WithBulkRefusals returns a context by which tell learns of each operation of a bulk request that is refused, before the request is
// answered.
func WithBulkRefusals(ctx context.Context, tell func(BulkRefusal)) context.Context {
	return context.WithValue(ctx, refusalsKey{}, tell)
}

func (b *bulkRun) tellRefusals() {
	tell, ok := b.q.ctx.Value(refusalsKey{}).(func(BulkRefusal))
	if !ok {
		return
	}
	for _, op := range b.ops {
		if !op.done || op.err == nil {
			continue
		}
		r := BulkRefusal{Method: op.method, Path: BasePath + "/" + strings.TrimPrefix(op.path, "/"), Status: op.status, Answer: appendError(nil, explain(op.err), b.q.caller.Request)}
		if op.data != nil {
			r.Body = op.data.appendJSON(nil)
		}
		tell(r)
	}
}

func (h *handler) bulkRequest(q *request, n *node) (ops []*bulkOp, failOn int, err error) {
	if n.kind != '{' {
		return nil, 0, bad(InvalidSyntax, "the body is %s; expected is an object, the BulkRequest", n.found())
	}
	if err := checkMessage(n, bulkURN, q.q.missingSchemas); err != nil {
		return nil, 0, err
	}
	if f := n.get("failOnErrors"); f != nil && f.kind != 'n' {
		if failOn, err = strconv.Atoi(f.text); f.kind != '0' || err != nil || failOn < 1 {
			return nil, 0, bad(InvalidValue, `"failOnErrors" is %s; expected is an integer of at least 1`, f.found())
		}
	}
	list := n.get("Operations")
	if list == nil || list.kind != '[' {
		return nil, 0, bad(InvalidSyntax, `"Operations" is %s; expected is an array of operations`, foundOr(list, "missing"))
	}
	if most := h.s.o.BulkMaxOperations; len(list.items) > most {
		return nil, 0, &Error{Status: http.StatusRequestEntityTooLarge, Detail: fmt.Sprintf("the bulk request has %d operations, more than maxOperations, %d", len(list.items), most)}
	}
	declared := map[string]bool{}
	for i, e := range list.items {
		op := &bulkOp{}
		if op.err = op.read(h.s.types, e); op.err == nil && op.bulkID != "" {
			if declared[op.bulkID] {
				op.err = bad(InvalidValue, "the bulkId %s is used by an earlier operation already; it must be unique in the request", quote(op.bulkID))
			}
			declared[op.bulkID] = true
		}
		op.place = fmt.Sprintf("Operations[%d]", i)
		if op.method != "" {
			op.place += ", " + clip(op.method+" "+op.path)
		}
		ops = append(ops, op)
	}
	return ops, failOn, nil
}

// read reads one operation and what it refers to.
func (op *bulkOp) read(types *Types, n *node) error {
	if n.kind != '{' {
		return bad(InvalidSyntax, "it is %s; expected is an object", n.found())
	}
	for name, to := range map[string]*string{"method": &op.method, "bulkId": &op.bulkID, "path": &op.path, "version": &op.version} {
		v := n.get(name)
		if v == nil || v.kind == 'n' {
			continue
		}
		if v.kind != '"' {
			return wrong(name, v, "a string")
		}
		*to = v.text
	}
	op.method = strings.ToUpper(op.method)
	op.data = n.get("data")
	var seg []string
	for _, s := range strings.Split(op.path, "/") {
		if u, err := url.PathUnescape(s); err == nil && u != "" {
			seg = append(seg, u)
		}
	}
	if len(seg) > 0 {
		op.t = types.ByEndpoint(seg[0])
	}
	switch op.method {
	case "POST", "PUT", "PATCH", "DELETE":
	case "":
		return bad(InvalidSyntax, `"method" is missing; expected is POST, PUT, PATCH or DELETE`)
	default:
		return bad(InvalidSyntax, "the method %s is not possible in a bulk request; expected is POST, PUT, PATCH or DELETE", quote(op.method))
	}
	want := 2
	if op.method == "POST" {
		want = 1
	}
	if op.t == nil || len(seg) != want {
		form := "/Users/{id}"
		if want == 1 {
			form = "/Users"
		}
		return &Error{Status: http.StatusNotFound, Detail: fmt.Sprintf("the path %s is none that a %s can go to; expected is the form %s", quote(op.path), op.method, form)}
	}
	if op.method == "POST" {
		if op.bulkID == "" {
			return bad(InvalidSyntax, `"bulkId" is missing; a POST needs one, which nobody else in the request has`)
		}
		id, err := uuid.NewV7()
		if err != nil {
			return err
		}
		op.id = id.String()
	} else {
		op.id = seg[1]
		if ref, ok := strings.CutPrefix(op.id, bulkPrefix); ok {
			op.refs = append(op.refs, ref)
		}
	}
	if op.method != "DELETE" {
		if op.data == nil || op.data.kind != '{' {
			return bad(InvalidSyntax, `"data" is %s; a %s needs an object`, foundOr(op.data, "missing"), op.method)
		}
		eachReference(op.data, func(ref string) string {
			op.refs = append(op.refs, ref)
			return bulkPrefix + ref
		})
	}
	return nil
}

// bulkReference finds references inside of other text, where they end at the quote or bracket of what they stand in.
var bulkReference = regexp.MustCompile(`bulkId:[^"\\\s()\[\]]+`)

// eachReference calls fn for each reference to a bulkId in n and puts what fn returns in its place: strings that are
// nothing else, and those inside of a PATCH path, as in members[value eq "bulkId:x"].
func eachReference(n *node, fn func(ref string) string) {
	for _, m := range n.members {
		if m.value.kind == '"' && (sameName(m.name, "path") || sameName(m.name, "$ref")) {
			m.value.text = bulkReference.ReplaceAllStringFunc(m.value.text, func(s string) string { return fn(s[len(bulkPrefix):]) })
			continue
		}
		eachReference(m.value, fn)
	}
	for _, e := range n.items {
		eachReference(e, fn)
	}
	if ref, ok := strings.CutPrefix(n.text, bulkPrefix); ok && n.kind == '"' {
		n.text = fn(ref)
	}
}

// bulkRun is the state of one bulk request.
type bulkRun struct {
	h         *handler
	q         *request
	ops       []*bulkOp
	posts     map[string]*bulkOp    // by bulkId
	byID      map[string]*bulkOp    // the same by the ids that are announced
	begun     []func()              // finish what was begun and is not yet waited for
	handedOut map[*bulkOp][]*bulkOp // POSTs whose id was used before there was a resource, and who used it
}

func (b *bulkRun) runAll(failOn int) {
	for _, op := range b.ops {
		if op.method == "POST" && op.err == nil {
			b.posts[op.bulkID], b.byID[op.id] = op, op
		}
	}
	failed := 0
	defer b.finishAll()
	run := func(op *bulkOp) (stop bool) {
		if failOn == 0 && op.alone() {
			b.begin(op)
			return false
		}
		b.finishAll()
		b.run(op)
		if op.err != nil {
			failed++
		}
		return failOn > 0 && failed >= failOn
	}
	for {
		progress, first := false, (*bulkOp)(nil)
		held := map[string]bool{} // what operations that wait are about: later ones must not overtake them
		for _, op := range b.ops {
			if op.done {
				continue
			}
			if op.err == nil && (b.awaited(op) != nil || op.method != "POST" && held[b.target(op)]) {
				held[b.target(op)] = true
				if first == nil {
					first = op
				}
				continue
			}
			progress = true
			if run(op) {
				return
			}
		}
		switch {
		case first == nil:
			return
		case !progress:
			if run(b.inCircle(first)) {
				return
			}
		}
	}
}

// awaited returns a POST whose resource op refers to and which is still to be done, nil if there is none.
func (b *bulkRun) awaited(op *bulkOp) *bulkOp {
	for _, ref := range op.refs {
		if p := b.posts[ref]; p != nil && p != op && !p.done {
			return p
		}
	}
	return nil
}

// inCircle follows what op waits for until it comes round: one of the circle has to begin. It is a POST, since nobody waits
// for anything else.
func (b *bulkRun) inCircle(op *bulkOp) *bulkOp {
	seen := map[*bulkOp]bool{}
	for !seen[op] {
		seen[op] = true
		op = b.awaited(op)
	}
	return op
}

// target is what an operation is about: its resource.
func (b *bulkRun) target(op *bulkOp) string {
	if ref, ok := strings.CutPrefix(op.id, bulkPrefix); ok && b.posts[ref] != nil {
		return op.t.Name + " " + b.posts[ref].id
	}
	return op.t.Name + " " + op.id
}

// alone says whether op neither refers to another operation of the request nor looks at what else is in it.
func (op *bulkOp) alone() bool {
	return op.err == nil && op.method == "POST" && len(op.refs) == 0 && !op.t.hasLinks()
}

// atOnce is how many operations wait for their commits together.
const atOnce = 128

// begin starts a POST that is alone. Those behind it are begun before it is waited for.
func (b *bulkRun) begin(op *bulkOp) {
	op.done = true
	if len(b.begun) == atOnce {
		b.finishAll()
	}
	c := b.call(op)
	finish, err := b.h.s.beginCreate(b.q.ctx, c, op.data)
	b.begun = append(b.begun, func() {
		if op.err = err; err == nil {
			var a *answer
			if a, op.err = finish(); a != nil {
				op.location, op.etag = a.location, a.etag
			}
		}
		op.status = http.StatusCreated
		b.told(op)
	})
}

func (b *bulkRun) finishAll() {
	begun := b.begun
	b.begun = nil
	for _, finish := range begun {
		finish()
	}
}

func (b *bulkRun) run(op *bulkOp) {
	op.done = true
	if op.err == nil {
		op.err = b.resolve(op)
	}
	if op.err == nil {
		op.err = b.do(op)
	}
	b.told(op)
}

// told makes the error of an operation what the client reads.
func (b *bulkRun) told(op *bulkOp) {
	if op.err != nil {
		e := explain(op.err)
		if op.status = e.Status; op.status >= 500 {
			b.h.s.o.Logger.Error("bulk operation failed", "request", b.q.caller.Request, "method", op.method, "error", op.err)
		}
		op.err = within(op.place, e)
		if op.method != "POST" && op.id != "" && !strings.HasPrefix(op.id, bulkPrefix) {
			op.location = location(b.q.base, op.t, op.id) // RFC 7644 section 3.7.3: everybody's but a failed POST's
		}
	}
}

// resolve puts ids in the place of the bulkIds that op refers to.
func (b *bulkRun) resolve(op *bulkOp) error {
	var failed error
	id := func(ref string) string {
		p := b.posts[ref]
		switch {
		case p == nil:
			failed = bad(InvalidValue, "no POST of this request has the bulkId %s", quote(ref))
		case p.done && p.err != nil:
			failed = bad(InvalidValue, "the operation of the bulkId %s failed, and this one refers to its resource", quote(ref))
		default:
			if !p.done && !slices.Contains(b.handedOut[p], op) {
				b.handedOut[p] = append(b.handedOut[p], op)
			}
			return p.id
		}
		return bulkPrefix + ref
	}
	if ref, ok := strings.CutPrefix(op.id, bulkPrefix); ok {
		op.id = id(ref)
	}
	if op.data != nil {
		eachReference(op.data, id)
	}
	return failed
}

// call is that of the whole request, as it is for one operation.
func (b *bulkRun) call(op *bulkOp) *call {
	c := b.q.call
	c.t, c.quiet, c.id = op.t, true, ""
	c.ifNoneMatch, c.ifMatch = condition{}, condition{}
	switch {
	case op.method == "POST":
		c.id = op.id
	case op.version != "":
		c.ifMatch = parseCondition([]string{op.version})
	}
	return &c
}

func (b *bulkRun) do(op *bulkOp) error {
	c := b.call(op)
	c.pending = b.pending
	var a *answer
	var err error
	s, ctx := b.h.s, b.q.ctx
	switch op.method {
	case "POST":
		a, err = s.create(ctx, c, op.data)
		op.status = http.StatusCreated
	case "PUT":
		a, err = s.replace(ctx, c, op.id, op.data)
		op.status = http.StatusOK
	case "PATCH":
		a, err = s.patch(ctx, c, op.id, op.data)
		op.status = http.StatusOK
		if op.t.hasLinks() {
			op.status = http.StatusNoContent
		}
	case "DELETE":
		err = s.delete(ctx, c, op.id)
		op.status, op.location = http.StatusNoContent, location(c.base, op.t, op.id)
	}
	if a != nil {
		op.location, op.etag = a.location, a.etag
	}
	return err
}

// pending says which kind of resource an id is going to be.
func (b *bulkRun) pending(id string) (kind string, ok bool) {
	if p := b.byID[id]; p != nil && !p.done {
		return p.t.Name, true
	}
	return "", false
}

func (b *bulkRun) response() []byte {
	out := []byte(`{"schemas":["` + bulkResponseURN + `"],"Operations":[`)
	n := 0
	for _, op := range b.ops {
		if !op.done {
			continue
		}
		if n++; n > 1 {
			out = append(out, ',')
		}
		out = appendMember(append(out, '{'), "method", op.method)
		add := func(name, v string) {
			if v != "" {
				out = appendMember(append(out, ','), name, v)
			}
		}
		add("bulkId", op.bulkID)
		add("location", op.location)
		add("version", op.etag)
		add("status", strconv.Itoa(op.status))
		if op.err != nil {
			out = append(out, `,"response":`...)
			out = appendError(out, explain(op.err), b.q.caller.Request)
		}
		out = append(out, '}')
	}
	return append(out, `]}`...)
}

// takeBack takes back the ids that were used before there was a resource, where none was made in the end: nobody must go
// on referring to what never was. It is done although the request's time may be over.
func (b *bulkRun) takeBack() {
	for _, op := range b.ops {
		used := b.handedOut[op]
		if used == nil || op.done && op.err == nil {
			continue
		}
		tenant := b.q.caller.Tenant
		var by []storage.Ref
		for _, u := range used {
			if u.err == nil {
				by = append(by, storage.Ref{Tenant: tenant, Kind: u.t.Name, ID: u.id})
			}
		}
		now, err := b.h.s.forget(context.WithoutCancel(b.q.ctx), &b.q.call, storage.Ref{Tenant: tenant, Kind: op.t.Name, ID: op.id}, by)
		if err != nil {
			b.h.s.o.Logger.Error("removing references to what a bulk request could not make", "request", b.q.caller.Request, "error", err)
			continue
		}
		for _, u := range b.ops {
			if u.etag == "" {
				continue
			}
			if v, changed := now[storage.Ref{Tenant: tenant, Kind: u.t.Name, ID: u.id}]; changed {
				u.etag = etag(v)
			}
		}
	}
}

// forget removes the references to a resource that was announced and never made: links, and what the resources by have of
// it in their bodies. It returns the versions of those that it has changed.
func (s *Service) forget(ctx context.Context, c *call, gone storage.Ref, by []storage.Ref) (now map[storage.Ref]uint64, err error) {
	err = s.store.Update(ctx, gone.Tenant, c.origin(), func(tx *storage.Tx) error {
		now = map[storage.Ref]uint64{}
		links, err := s.linksTo(tx, gone)
		if err != nil {
			return err
		}
		all := slices.Clone(by)
		for _, l := range links {
			all = append(all, l.From)
		}
		for _, from := range all {
			if _, done := now[from]; done {
				continue
			}
			if err := s.forgetIn(tx, from, gone, now); err != nil {
				return err
			}
		}
		return nil
	})
	return now, err
}

// linksTo returns all links to a resource.
func (s *Service) linksTo(tx *storage.Tx, to storage.Ref) ([]storage.Link, error) {
	var l []storage.Link
	for _, t := range s.types.ResourceTypes {
		for _, a := range t.root.Sub {
			if !a.linked {
				continue
			}
			more, err := linksBy(tx, to, linkField(a))
			if err != nil {
				return nil, err
			}
			l = append(l, more...)
		}
	}
	return l, nil
}

// forgetIn removes the references that one resource has to gone, and notes its new version.
func (s *Service) forgetIn(tx *storage.Tx, from, gone storage.Ref, now map[storage.Ref]uint64) error {
	t := s.types.ByName(from.Kind)
	rec, err := tx.Get(from.Kind, from.ID)
	if isNotFound(err) || t == nil {
		return nil // it has been deleted meanwhile
	}
	if err != nil {
		return err
	}
	old, err := decodeBody(t, rec.Body)
	if err != nil {
		return err
	}
	l := &links{s: s, tx: tx, from: from}
	for _, a := range t.root.Sub {
		if a.linked {
			if err := l.remove(a, gone.ID); err != nil {
				return err
			}
		}
	}
	left := withoutID(objectValue(old.Clone()), gone.ID).obj
	if left == nil {
		left = &Object{}
	}
	if body := encodeBody(t, left); string(body) == string(rec.Body) && !l.changed() {
		return nil
	}
	stamp := tx.Stamp(rec.Stamp)
	if err := s.put(tx, t, from, stamp, left); err != nil {
		return err
	}
	now[from] = stamp.Version
	return tx.Log(entry("patch", from, t, left, changesOf(t, old, left, false), l))
}

// withoutID returns v without the values that are a reference to the resource of an id.
func withoutID(v Value, id string) Value {
	switch v.kind {
	case text:
		if v.text == id {
			return Value{}
		}
	case list:
		l := make([]Value, 0, len(v.list))
		for _, e := range v.list {
			if e = withoutID(e, id); e.assigned() {
				l = append(l, e)
			}
		}
		return listValue(l)
	case object:
		o := v.obj.Clone()
		for _, f := range v.obj.fields {
			if f.attr == f.attr.parent.value() && f.value.text == id {
				return Value{} // what else it says is about the resource that is not there
			}
			o.Set(f.attr, withoutID(f.value, id))
		}
		return objectValue(o)
	}
	return v
}
