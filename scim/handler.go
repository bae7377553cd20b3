package scim

import (
	"context"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync/atomic"

	"github.com/julienschmidt/httprouter"

	"scimbox/storage"
)

const (
	errorURN = "urn:ietf:params:scim:api:messages:2.0:Error"
	listURN  = "urn:ietf:params:scim:api:messages:2.0:ListResponse"
	findURN  = "urn:ietf:params:scim:api:messages:2.0:SearchRequest"

	scimJSON  = "application/scim+json"
	plainJSON = "application/json"
)

// handler is the HTTP door. httprouter cannot have /Users/.search beside /Users/:id, nor /Me beside /:type, so that it
// routes by method and the segments are looked at here.
type handler struct {
	s    *Service
	last atomic.Pointer[address] // of the last request; nil before the first
}

// address is what clients call this server by, and what locations start with because of it. url is the one of the options, or "".
type address struct{ url, scheme, host, base string }

// NewHandler returns the handler of everything below BasePath. It expects a Caller in each request's context, except for
// what Public lets through, and answers 401 without one. It never redirects: SCIM clients drop bodies and headers on
// the way.
func NewHandler(s *Service) http.Handler {
	h := &handler{s: s}
	r := httprouter.New()
	r.RedirectTrailingSlash, r.RedirectFixedPath, r.HandleMethodNotAllowed, r.HandleOPTIONS = false, false, false, false
	r.NotFound = http.HandlerFunc(h.outside) // and methods that nobody has heard of
	for _, m := range []string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"} {
		r.Handle(m, BasePath, h.routed)
		r.Handle(m, BasePath+"/*path", h.routed)
	}
	return r
}

// Public says whether a request may be answered without credentials: the service provider configuration, from which a
// client learns how to authenticate (RFC 7643 section 5).
func Public(r *http.Request) bool {
	seg := segments(r, nil)
	return (r.Method == http.MethodGet || r.Method == http.MethodHead) && len(seg) == 1 && sameName(seg[0], "ServiceProviderConfig")
}

// segments appends the decoded segments of the path below BasePath. Empty ones are dropped: a tenant URL that was
// entered with a slash at its end makes clients ask for //Users.
func segments(r *http.Request, seg []string) []string {
	escaped := r.URL.RawPath != "" // otherwise nothing is, but what may stand there as it is: no slash was in a segment
	path := r.URL.Path
	if escaped {
		path = r.URL.EscapedPath()
	}
	rest, ok := strings.CutPrefix(path, BasePath)
	if !ok {
		return nil
	}
	for rest != "" {
		var s string
		if s, rest, _ = strings.Cut(rest, "/"); s == "" {
			continue
		}
		if escaped {
			if u, err := url.PathUnescape(s); err == nil {
				s = u
			}
		}
		seg = append(seg, s)
	}
	return seg
}

// request is one HTTP request on its way through the handler.
type request struct {
	w      http.ResponseWriter
	r      *http.Request
	ctx    context.Context
	seg    []string
	params parameters
	call

	// What else it needs is made together with it.
	room   [2]string    // of seg; a path of a resource has no more
	given  [2]parameter // of params; more are rare
	steps  work         // what the call may do
	values [3]string    // of headers
	buffer *[]byte      // of the pool that the answer is put together in; nil = none
}

const (
	tagValue = iota
	locationValue
	lengthValue
)

// value returns a value of a header as the header has it.
func (q *request) value(i int, v string) []string {
	q.values[i] = v
	return q.values[i : i+1 : i+1]
}

func (h *handler) routed(w http.ResponseWriter, r *http.Request, _ httprouter.Params) { h.serve(w, r) }

func (h *handler) serve(w http.ResponseWriter, r *http.Request) {
	if err := h.dispatch(w, r); err != nil {
		h.fail(w, r, err)
	}
}

// fail writes an error and logs what is nobody's business but the operator's.
func (h *handler) fail(w http.ResponseWriter, r *http.Request, err error) {
	e := explain(err)
	c, _ := h.caller(r)
	if e.Status >= 500 && e.Status != http.StatusNotImplemented {
		h.s.o.Logger.Error("request failed", "request", c.Request, "method", r.Method, "status", e.Status, "error", err)
	}
	writeError(w, r, e, c.Request)
}

func (h *handler) outside(w http.ResponseWriter, r *http.Request) {
	if rest, ok := strings.CutPrefix(r.URL.Path, BasePath); ok && (rest == "" || rest[0] == '/') {
		h.serve(w, r)
		return
	}
	h.fail(w, r, unknownEndpoint(r.URL.Path))
}

func unknownEndpoint(path string) error {
	return &Error{Status: http.StatusNotFound, Detail: fmt.Sprintf("there is no endpoint %s; resource types are listed at %s/ResourceTypes", quote(path), BasePath)}
}

// isVersion says whether a segment is a version of the protocol, such as v1.
func isVersion(s string) bool {
	return len(s) > 1 && s[0] == 'v' && strings.Trim(s[1:], "0123456789") == ""
}

// caller returns who sends a request: the one whom the options know, or the one in its context.
func (h *handler) caller(r *http.Request) (Caller, bool) {
	if h.s.o.Caller != nil {
		if c, ok := h.s.o.Caller(r); ok {
			return c, true
		}
	}
	return callerOf(r.Context())
}

func (h *handler) dispatch(w http.ResponseWriter, r *http.Request) error {
	caller, ok := h.caller(r)
	if !ok && !Public(r) {
		w.Header().Set("WWW-Authenticate", `Bearer realm="scimbox"`)
		return &Error{Status: http.StatusUnauthorized, Detail: "the request is not authenticated; send the header Authorization: Bearer <token>"}
	}
	if caller.Limit != (Limit{}) {
		if !h.s.limited() {
			return (&handler{s: h.s.view(caller.Limit)}).dispatch(w, r)
		}
		caller.ReadOnly = true
	}
	q := &request{w: w, r: r, ctx: r.Context(), call: call{
		caller: caller, q: quirksFor(caller, h.s.o), base: h.base(r),
		ifMatch: parseCondition(r.Header["If-Match"]), ifNoneMatch: parseCondition(r.Header["If-None-Match"]),
	}}
	var err error
	if q.params, err = parseQuery(q.given[:0], r.URL.RawQuery); err != nil {
		return err
	}
	q.steps = stepsOf(h.s.o.changeWork)
	q.work = &q.steps
	q.seg = segments(r, q.room[:0])
	seg := q.seg
	if len(seg) == 0 {
		return h.root(q)
	}
	name := foldName(seg[0])
	switch {
	case name == "serviceproviderconfig" || name == "resourcetypes" || name == "schemas":
		return h.discovery(q)
	case name == "bulk" && len(seg) == 1:
		return h.bulk(q)
	case name == ".search" && len(seg) == 1:
		return h.searchBody(q, h.s.types.ResourceTypes)
	case name == "me" && len(seg) == 1:
		return h.me(q)
	case isVersion(name):
		return bad(InvalidVers, "the protocol version %s is not supported; this server speaks v2, at %s", quote(seg[0]), BasePath)
	}
	t := h.s.types.byEndpoint[name]
	if t == nil || len(seg) > 2 {
		return unknownEndpoint(r.URL.Path)
	}
	q.t = t
	switch {
	case len(seg) == 1:
		return h.collection(q)
	case seg[1] == ".search":
		return h.searchBody(q, []*ResourceType{t})
	default:
		return h.resource(q, seg[1])
	}
}

// base is the URL that locations start with.
func (h *handler) base(r *http.Request) string {
	var a address
	if a.url = h.s.o.PublicURL; a.url == "" {
		a.scheme, a.host = "http", r.Host
		if h.s.o.Base != nil {
			a.scheme, a.host = h.s.o.Base(r)
		} else if r.TLS != nil {
			a.scheme = "https"
		}
	}
	// Clients call it the same again and again, so that most requests find it put together.
	if last := h.last.Load(); last != nil && last.url == a.url && last.scheme == a.scheme && last.host == a.host {
		return last.base
	}
	if a.url != "" {
		a.base = strings.TrimRight(a.url, "/") + BasePath
	} else {
		a.base = a.scheme + "://" + a.host + BasePath
	}
	kept := a
	h.last.Store(&kept)
	return a.base
}

// allow answers 405, or what OPTIONS asks for.
func (q *request) allow(methods string) error {
	q.w.Header().Set("Allow", methods)
	if q.r.Method == http.MethodOptions {
		q.w.WriteHeader(http.StatusNoContent)
		return nil
	}
	return &Error{Status: http.StatusMethodNotAllowed, Detail: fmt.Sprintf("%s is not allowed on %s; allowed: %s", q.r.Method, quote(q.r.URL.Path), methods)}
}

func (h *handler) root(q *request) error {
	if q.r.Method != http.MethodGet && q.r.Method != http.MethodHead {
		return q.allow("GET, HEAD")
	}
	return h.list(q, h.s.types.ResourceTypes)
}

func (h *handler) collection(q *request) error {
	switch q.r.Method {
	case http.MethodGet, http.MethodHead:
		return h.list(q, []*ResourceType{q.t})
	case http.MethodPost:
		body, err := q.body(h.s.o.MaxBody)
		if err != nil {
			return err
		}
		if err := q.project(); err != nil {
			return err
		}
		a, err := h.s.create(q.ctx, &q.call, body)
		if err != nil {
			return err
		}
		return q.answer(http.StatusCreated, a)
	default:
		return q.allow("GET, HEAD, POST")
	}
}

func (h *handler) resource(q *request, id string) error {
	if err := q.project(); err != nil {
		return err
	}
	switch q.r.Method {
	case http.MethodGet, http.MethodHead:
		q.takeRoom()
		a, err := h.s.get(q.ctx, &q.call, id)
		if err != nil {
			return err
		}
		if a.unchanged {
			q.w.Header()["Etag"] = q.value(tagValue, a.etag)
			q.w.WriteHeader(http.StatusNotModified)
			return nil
		}
		q.to = a.body
		return q.answer(http.StatusOK, a)
	case http.MethodPut:
		body, err := q.body(h.s.o.MaxBody)
		if err != nil {
			return err
		}
		a, err := h.s.replace(q.ctx, &q.call, id, body)
		if err != nil {
			return err
		}
		return q.answer(http.StatusOK, a)
	case http.MethodPatch:
		body, err := q.body(h.s.o.MaxBody)
		if err != nil {
			return err
		}
		// A group may have a million members: they are told only to a client that asks for attributes.
		q.quiet = q.t.hasLinks() && q.params.get("attributes") == "" && q.params.get("excludedattributes") == ""
		a, err := h.s.patch(q.ctx, &q.call, id, body)
		if err != nil {
			return err
		}
		if q.quiet {
			return q.answer(http.StatusNoContent, a)
		}
		return q.answer(http.StatusOK, a)
	case http.MethodDelete:
		if err := h.s.delete(q.ctx, &q.call, id); err != nil {
			return err
		}
		q.w.WriteHeader(http.StatusNoContent)
		return nil
	default:
		return q.allow("GET, HEAD, PUT, PATCH, DELETE")
	}
}

func (t *ResourceType) hasLinks() bool {
	for _, a := range t.root.Sub {
		if a.linked {
			return true
		}
	}
	return false
}

// me is the alias for the User that the token is bound to (RFC 7644 section 3.11).
func (h *handler) me(q *request) error {
	q.t = h.s.types.ByName("User")
	if q.caller.User == "" || q.t == nil {
		return &Error{Status: http.StatusNotImplemented, Detail: "the token is not bound to a User, so that there is no /Me for it; use /Users/{id}"}
	}
	return h.resource(q, q.caller.User)
}

func (h *handler) discovery(q *request) error {
	if q.r.Method != http.MethodGet && q.r.Method != http.MethodHead {
		return q.allow("GET, HEAD")
	}
	o := h.s.o
	if q.caller.Preset == "standard" {
		o.GroupNames = "free" // see uniqueName
	}
	body, err := discovery(h.s.types, o, q.base, q.seg, q.params)
	if err != nil {
		return err
	}
	return q.writeTagged(body)
}

// project compiles attributes and excludedAttributes of the query.
func (q *request) project() error {
	var err error
	q.shown, err = newProjection(q.t, names(q.params.get("attributes")), names(q.params.get("excludedattributes")), q.q)
	return err
}

func names(list string) []string {
	if list == "" {
		return nil
	}
	var l []string
	for n := range strings.SplitSeq(list, ",") {
		if n = strings.TrimSpace(n); n != "" {
			l = append(l, n)
		}
	}
	return l
}

// body reads and parses the request's body.
func (q *request) body(limit int64) (*node, error) {
	data, err := q.bodyBytes(limit)
	if err != nil {
		return nil, err
	}
	return parseJSON(data)
}

func (q *request) bodyBytes(limit int64) ([]byte, error) {
	if ct := q.r.Header.Get("Content-Type"); ct != "" {
		kind, p, err := mime.ParseMediaType(ct)
		if err != nil || kind != scimJSON && kind != plainJSON {
			return nil, &Error{Status: http.StatusUnsupportedMediaType, Detail: fmt.Sprintf("the Content-Type %s is not supported; expected is %s or %s", quote(ct), scimJSON, plainJSON)}
		}
		if cs := p["charset"]; cs != "" && foldName(cs) != "utf-8" {
			return nil, &Error{Status: http.StatusUnsupportedMediaType, Detail: fmt.Sprintf("the charset %s is not supported; JSON is UTF-8", quote(cs))}
		}
	}
	if ce := q.r.Header.Get("Content-Encoding"); ce != "" && !sameName(ce, "identity") { // RFC 7231 section 3.1.2.2
		return nil, &Error{Status: http.StatusUnsupportedMediaType, Detail: fmt.Sprintf("the Content-Encoding %s is not supported; send the body as it is", quote(ce))}
	}
	data, err := io.ReadAll(http.MaxBytesReader(q.w, q.r.Body, limit))
	var big *http.MaxBytesError
	if errors.As(err, &big) {
		return nil, &Error{Status: http.StatusRequestEntityTooLarge, Detail: fmt.Sprintf("the body is larger than %d bytes", limit)}
	}
	if err != nil {
		return nil, &Error{Status: http.StatusBadRequest, Type: InvalidSyntax, Detail: "the body could not be read to its end; send it again, whole", Err: err}
	}
	return data, nil
}

// answer writes an answer about one resource.
func (q *request) answer(status int, a *answer) error {
	h := q.w.Header()
	where := q.value(locationValue, a.location)
	h["Etag"], h["Location"] = q.value(tagValue, a.etag), where
	if a.body == nil {
		q.w.WriteHeader(status)
		return nil
	}
	if status == http.StatusOK {
		h["Content-Location"] = where
	}
	return q.write(status, a.body)
}

func (q *request) write(status int, body []byte) error {
	if writeJSON(q.w, q.r, status, body, q.value(lengthValue, strconv.Itoa(len(body)))) {
		q.giveRoom()
	}
	return nil
}

// writeJSON writes body as application/scim+json, or as application/json where the client asks for that and nothing
// else will do (OneLogin). A client that has gone away is nobody's error; written is false then. length is that of the body, as the
// header has it.
func writeJSON(w http.ResponseWriter, r *http.Request, status int, body []byte, length []string) (written bool) {
	h := w.Header()
	kind := scimValue
	if accept := foldName(strings.Join(r.Header["Accept"], ",")); strings.Contains(accept, plainJSON) && !strings.Contains(accept, scimJSON) {
		kind = plainValue
	}
	h["Content-Type"] = kind
	h["Content-Length"] = length
	w.WriteHeader(status)
	if r.Method == http.MethodHead {
		return true
	}
	n, err := w.Write(body) // #nosec G705 -- JSON by its Content-Type, which nosniff holds browsers to
	return err == nil && n == len(body)
}

// Values of headers that are always the same. Nobody changes them in place: http.Header.Set replaces, and Add has to copy.
var scimValue, plainValue = []string{scimJSON}, []string{plainJSON}

// explain turns any error into the one that the client reads. Causes that are not the client's stay out of it.
func explain(err error) *Error {
	var (
		e     *Error
		short *storage.SpaceError
	)
	switch {
	case errors.As(err, &e):
		return e
	case errors.As(err, &short):
		return &Error{Status: http.StatusInsufficientStorage, Detail: "the server's disk is almost full and no changes are taken until there is room again; nothing was changed", Err: err}
	case errors.Is(err, storage.ErrTooLarge):
		return &Error{Status: http.StatusRequestEntityTooLarge, Detail: "the change is too large for one transaction and nothing of it was made; send it in parts", Err: err}
	case errors.Is(err, storage.ErrUnknownOutcome):
		return &Error{Status: http.StatusServiceUnavailable, Detail: "it is not known whether the change was made; read the resource before sending it again", Err: err}
	case errors.Is(err, storage.ErrReadOnly):
		return &Error{Status: http.StatusServiceUnavailable, Detail: "the server takes no changes at the moment; nothing was changed", Err: err}
	case errors.Is(err, storage.ErrClosed), errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return &Error{Status: http.StatusServiceUnavailable, Detail: "the request was ended before it was done; nothing was changed", Err: err}
	default:
		return &Error{Status: http.StatusInternalServerError, Detail: "internal error; the cause is in the server's log", Err: err}
	}
}

// retryAfter is after how many seconds it may be worth while to ask again: a server that starts is there soon, somebody who
// makes room on a disk takes longer, and so does somebody who is to decide about a mass change.
var retryAfter = map[int]string{http.StatusTooManyRequests: strconv.Itoa(guardRetry), http.StatusServiceUnavailable: "5", http.StatusInsufficientStorage: "60"}

// WriteError writes err as a SCIM error (RFC 7644 section 3.12). An error that is no *Error is an internal one, of which
// the client learns nothing.
func WriteError(w http.ResponseWriter, r *http.Request, err error) {
	c, _ := callerOf(r.Context())
	writeError(w, r, explain(err), c.Request)
}

func writeError(w http.ResponseWriter, r *http.Request, e *Error, request string) {
	if after := retryAfter[e.Status]; after != "" && w.Header().Get("Retry-After") == "" {
		w.Header().Set("Retry-After", after)
	}
	w.Header().Del("ETag")
	w.Header().Set("Cache-Control", "no-store")
	body := appendError(nil, e, request)
	writeJSON(w, r, e.Status, body, []string{strconv.Itoa(len(body))})
}

// appendError appends the body of an error. The request id lets the person who reads it find the line in the log.
func appendError(b []byte, e *Error, request string) []byte {
	b = append(b, `{"schemas":["`+errorURN+`"],"status":"`...)
	b = append(strconv.AppendInt(b, int64(e.Status), 10), '"')
	if e.Type != "" {
		b = append(b, `,"scimType":`...)
		b = appendText(b, e.Type)
	}
	detail := e.Detail
	if request != "" {
		detail += " (request " + request + ")"
	}
	b = append(b, `,"detail":`...)
	return append(appendText(b, detail), '}')
}
