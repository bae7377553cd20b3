package scim

import (
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

// Bulk (RFC 7644 section 3.7). Operations are done one after another, each in a transaction of its own. One that refers
// to a bulkId whose resource is made later waits for it; where operations wait for each other in a circle, the first of
// them is done with the ids that the others are going to have.

const (
	bulkURN         = "urn:ietf:params:scim:api:messages:2.0:BulkRequest"
	bulkResponseURN = "urn:ietf:params:scim:api:messages:2.0:BulkResponse"
	bulkPrefix      = "bulkId:"
)

// bulkOp is one operation of a bulk request.
type bulkOp struct {
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
	h.runBulk(q, ops, failOn)
	return q.write(http.StatusOK, h.bulkResponse(q, ops))
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
		return nil, 0, bad(InvalidSyntax, `"Operations" is missing; expected is an array of operations`)
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
		op.err = within(fmt.Sprintf("Operations[%d]", i), op.err)
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
		return &Error{Status: http.StatusNotFound, Detail: fmt.Sprintf("the path %s is none for a %s; expected is the form %s", quote(op.path), op.method, form)}
	}
	if op.method == "POST" {
		if op.bulkID == "" {
			return bad(InvalidSyntax, "a POST needs a bulkId")
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
			return bad(InvalidSyntax, `"data" is missing; a %s needs an object`, op.method)
		}
		eachReference(op.data, func(ref string) string {
			op.refs = append(op.refs, ref)
			return bulkPrefix + ref
		})
	}
	return nil
}

var bulkReference = regexp.MustCompile(`bulkId:([A-Za-z0-9._~-]+)`)

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

func (h *handler) runBulk(q *request, ops []*bulkOp, failOn int) {
	posts := map[string]*bulkOp{}
	for _, op := range ops {
		if op.method == "POST" && op.err == nil {
			posts[op.bulkID] = op
		}
	}
	b := bulkRun{h: h, q: q, posts: posts, handedOut: map[string]bool{}}
	failed := 0
	run := func(op *bulkOp) (stop bool) {
		b.run(op)
		if op.err != nil {
			failed++
		}
		return failOn > 0 && failed >= failOn
	}
	for {
		progress, waiting := false, (*bulkOp)(nil)
		for _, op := range ops {
			if op.done {
				continue
			}
			if op.err == nil && b.mustWait(op) {
				if waiting == nil {
					waiting = op
				}
				continue
			}
			progress = true
			if run(op) {
				return
			}
		}
		switch {
		case waiting == nil:
			return
		case !progress: // a circle: somebody has to begin
			if run(waiting) {
				return
			}
		}
	}
}

// bulkRun is the state of one bulk request.
type bulkRun struct {
	h         *handler
	q         *request
	posts     map[string]*bulkOp
	handedOut map[string]bool // bulkIds whose id was used before there was a resource
}

// mustWait says whether op refers to a resource that is still to be made.
func (b *bulkRun) mustWait(op *bulkOp) bool {
	return slices.ContainsFunc(op.refs, func(ref string) bool {
		p := b.posts[ref]
		return p != nil && p != op && !p.done
	})
}

func (b *bulkRun) run(op *bulkOp) {
	op.done = true
	if op.err == nil {
		op.err = b.resolve(op)
	}
	if op.err == nil {
		op.err = b.do(op)
	}
	if op.err != nil {
		e := explain(op.err)
		op.status = e.Status
		if e.Status >= 500 {
			b.h.s.o.Logger.Error("bulk operation failed", "request", b.q.caller.Request, "method", op.method, "path", op.path, "error", op.err)
		}
		if op.method == "POST" && b.handedOut[op.bulkID] {
			if err := b.h.s.forget(b.q, op.t, op.id); err != nil {
				b.h.s.o.Logger.Error("removing references to what a bulk request could not make", "request", b.q.caller.Request, "error", err)
			}
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
			if !p.done {
				b.handedOut[ref] = true
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

func (b *bulkRun) do(op *bulkOp) error {
	c := b.q.call
	c.t, c.quiet, c.id = op.t, true, ""
	c.ifNoneMatch, c.ifMatch = condition{}, condition{}
	c.pending = b.pending
	if op.version != "" {
		c.ifMatch = parseCondition([]string{op.version})
	}
	if op.method != "POST" {
		op.location = location(c.base, op.t, op.id)
	}
	var a *answer
	var err error
	s, ctx := b.h.s, b.q.ctx
	switch op.method {
	case "POST":
		c.id, c.ifMatch = op.id, condition{}
		a, err = s.create(ctx, &c, op.data)
		op.status = http.StatusCreated
	case "PUT":
		a, err = s.replace(ctx, &c, op.id, op.data)
		op.status = http.StatusOK
	case "PATCH":
		a, err = s.patch(ctx, &c, op.id, op.data)
		op.status = http.StatusOK
		if op.t.hasLinks() {
			op.status = http.StatusNoContent
		}
	case "DELETE":
		err = s.delete(ctx, &c, op.id)
		op.status = http.StatusNoContent
	}
	if a != nil {
		op.location, op.etag = a.location, a.etag
	}
	return err
}

// pending says which kind of resource an id is going to be.
func (b *bulkRun) pending(id string) (kind string, ok bool) {
	for _, p := range b.posts {
		if p.id == id && !p.done {
			return p.t.Name, true
		}
	}
	return "", false
}

func (h *handler) bulkResponse(q *request, ops []*bulkOp) []byte {
	b := []byte(`{"schemas":["` + bulkResponseURN + `"],"Operations":[`)
	n := 0
	for _, op := range ops {
		if !op.done {
			continue
		}
		if n++; n > 1 {
			b = append(b, ',')
		}
		b = appendMember(append(b, '{'), "method", op.method)
		add := func(name, v string) {
			if v != "" {
				b = appendMember(append(b, ','), name, v)
			}
		}
		add("bulkId", op.bulkID)
		add("location", op.location)
		add("version", op.etag)
		add("status", strconv.Itoa(op.status))
		if op.err != nil {
			b = append(b, `,"response":`...)
			b = appendError(b, explain(op.err), q.caller.Request)
		}
		b = append(b, '}')
	}
	return append(b, `]}`...)
}

// forget removes the links to a resource that was announced and never made.
func (s *Service) forget(q *request, t *ResourceType, id string) error {
	ref := storage.Ref{Tenant: q.caller.Tenant, Kind: t.Name, ID: id}
	return s.store.Update(q.ctx, q.caller.Tenant, q.origin(), func(tx *storage.Tx) error {
		if err := s.touchGroups(tx, ref); err != nil {
			return err
		}
		for _, g := range s.types.ResourceTypes {
			for _, a := range g.root.Sub {
				if !a.linked {
					continue
				}
				var gone []storage.Link
				for link, err := range tx.Backlinks(ref, linkField(a), "") {
					if err != nil {
						return err
					}
					gone = append(gone, link)
				}
				for _, link := range gone {
					if _, err := tx.DeleteLink(link.From, link.Field, link.To); err != nil {
						return err
					}
				}
			}
		}
		// The versions of those that referred to it have moved, and are those of a journal row.
		return tx.Log(entry("delete", ref, t, nil, nil, nil, false))
	})
}
