package server

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"regexp"
	"strings"
	"sync"
	"time"

	"scimbox/activity"
	"scimbox/scim"
)

// maxTapped is how much of a body is collected. What is longer is not kept: nobody could tell what a secret in it is.
const maxTapped = 64 << 10

// bulkRefusals is how many refused operations of one bulk request are kept; of the others it is known how many there were.
const bulkRefusals = 100

// activityOptions are the configuration's words in those of package activity, where nothing is a negative number. types may be nil
// where nothing is written.
func (o *Options) activityOptions(types *scim.Types) activity.Options {
	c := o.Config.Activity
	a := activity.Options{
		Keep: orNone(c.Keep.Duration), MaxSize: c.MaxSize.Bytes, Body: orNone(c.Body.Bytes), Mask: c.Mask,
		Base: scim.BasePath, Types: map[string]string{}, Clock: o.Clock, Logger: o.Logger,
	}
	if types != nil {
		for _, t := range types.ResourceTypes {
			a.Types[strings.ToLower(strings.Trim(t.Endpoint, "/"))] = t.Name
		}
	}
	return a
}

func orNone[T ~int64](n T) T {
	if n == 0 {
		return -1
	}
	return n
}

// Activity returns what shows the journal and refused requests.
func (h *House) Activity() *activity.Reader {
	r := h.resources()
	return &activity.Reader{
		Store: h.Store, Log: h.log, Mask: activity.NewMask(h.o.Config.Activity.Mask), Clock: h.o.Clock,
		Tokens: func(ctx context.Context) ([]activity.Who, error) {
			all, err := h.Tokens.List(ctx)
			var l []activity.Who
			for _, t := range all {
				l = append(l, activity.Who{Token: t.ID, Name: t.Name, Preset: t.Preset})
			}
			if err != nil {
				return nil, err
			}
			clients, err := h.Tokens.Clients(ctx)
			for _, c := range clients {
				l = append(l, activity.Who{Token: c.ID, Name: c.Name, Preset: c.Preset})
			}
			return l, err
		},
		Name: r.name, Find: r.find,
	}
}

// tap collects what is to be told of a request: its body while it is read, and the answer if that is a refusal.
type tap struct {
	http.ResponseWriter
	status int
	answer *bytes.Buffer // of a refusal, else nil
	size   int64         // of the answer, if it is collected
}

// WriteHeader implements [http.ResponseWriter].
func (t *tap) WriteHeader(status int) {
	if t.status == 0 && status >= 200 {
		t.status = status
		if status >= 400 {
			t.answer = new(bytes.Buffer)
		}
	}
	t.ResponseWriter.WriteHeader(status)
}

// Write implements [http.ResponseWriter].
func (t *tap) Write(p []byte) (int, error) {
	if t.status == 0 {
		t.status = http.StatusOK
	}
	if t.answer != nil {
		t.size += int64(len(p))
		t.answer.Write(p[:min(len(p), maxTapped-t.answer.Len())])
	}
	return t.ResponseWriter.Write(p)
}

// Unwrap is for [http.ResponseController].
func (t *tap) Unwrap() http.ResponseWriter { return t.ResponseWriter }

// tee keeps the beginning of a body that somebody else reads.
type tee struct {
	io.ReadCloser
	kept *bytes.Buffer
	size int64
}

// Read implements [io.Reader].
func (t *tee) Read(p []byte) (int, error) {
	n, err := t.ReadCloser.Read(p)
	t.size += int64(n)
	t.kept.Write(p[:min(n, maxTapped-t.kept.Len())])
	return n, err
}

var buffers = sync.Pool{New: func() any { return new(bytes.Buffer) }}

// tapped tells package activity of each request. It stands inside of the compression, so that it sees texts, and outside of
// everything that refuses.
func (s *Server) tapped(next http.Handler) http.Handler {
	log := s.house.log
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		o := observationOf(r)
		o.tap.ResponseWriter = w
		if !log.Keeps() || r.Body == nil || r.Body == http.NoBody { // apart, for the sake of what a body needs
			next.ServeHTTP(&o.tap, r)
			s.contact(r, o, nil)
			return
		}
		kept, _ := buffers.Get().(*bytes.Buffer)
		kept.Reset()
		defer func() {
			if kept.Cap() <= maxTapped {
				buffers.Put(kept)
			}
		}()
		in := &tee{ReadCloser: r.Body, kept: kept}
		r.Body = in
		if r.Method != http.MethodPost || !bulk(r.URL.Path) {
			next.ServeHTTP(&o.tap, r)
			s.contact(r, o, in)
			return
		}
		var inBulk []scim.BulkRefusal
		r = r.WithContext(scim.WithBulkRefusals(r.Context(), func(b scim.BulkRefusal) { inBulk = append(inBulk, b) }))
		next.ServeHTTP(&o.tap, r)
		s.contact(r, o, in)
		if o.tap.status >= 400 {
			return
		}
		for _, b := range inBulk[:min(len(inBulk), bulkRefusals)] {
			q := s.toldRequest(r, o)
			q.Bulk, q.Method, q.Path, q.Status = true, b.Method, b.Path, b.Status
			q.Body, q.Answer = beginning(b.Body), beginning(b.Answer)
			log.Record(q)
		}
		log.LeftOut(max(0, len(inBulk)-bulkRefusals))
	})
}

// contact notes that a client was there, and what it was refused. in is what was kept of its body, nil if it has none.
func (s *Server) contact(r *http.Request, o *observation, in *tee) {
	log, out := s.house.log, &o.tap
	if out.status < 400 {
		log.Contact(o.token, o.tenant, o.source.client, agentOf(r), outcome(r))
		return
	}
	log.Contact(o.token, o.tenant, o.source.client, agentOf(r), activity.Refused)
	if !log.Keeps() || o.tooFast {
		return
	}
	q := s.toldRequest(r, o)
	q.Query, q.Answer = r.URL.RawQuery, activity.Body{Data: out.answer.Bytes(), Size: out.size}
	if o.token == "" {
		q.Claimed = claimed(r.Header.Get("Authorization"))
	}
	if in != nil {
		q.Body = activity.Body{Data: bytes.Clone(in.kept.Bytes()), Size: max(in.size, r.ContentLength)}
	}
	log.Record(q)
}

// toldRequest is what package activity is told of any request.
func (s *Server) toldRequest(r *http.Request, o *observation) *activity.Request {
	return &activity.Request{
		Time: s.o.Clock(), ID: o.id, Token: o.token, TokenName: o.name, Tenant: o.tenant, Client: o.source.client, Method: r.Method,
		Path: r.URL.EscapedPath(), Agent: agentOf(r), Status: o.tap.status, Duration: time.Since(o.begin),
	}
}

// bulk says whether a path is that of bulk requests.
func bulk(path string) bool {
	rest, ok := strings.CutPrefix(path, scim.BasePath)
	return ok && strings.EqualFold(strings.Trim(rest, "/"), "bulk")
}

// beginning is as much of a body as is looked at.
func beginning(data []byte) activity.Body {
	return activity.Body{Data: data[:min(len(data), maxTapped)], Size: int64(len(data))}
}

func outcome(r *http.Request) activity.Outcome {
	if r.Method == http.MethodGet || r.Method == http.MethodHead || r.Method == http.MethodPost && strings.HasSuffix(r.URL.Path, "/.search") {
		return activity.Read
	}
	return activity.Done
}

// tokenID is the part of a token that is no secret.
var tokenID = regexp.MustCompile(`(?:^|\s)scimbox_([a-z2-7]{12})_`)

// claimed returns the id of the token that somebody has sent who was not let in with it. Anybody could have written it.
func claimed(authorization string) string {
	if m := tokenID.FindStringSubmatch(authorization[:min(len(authorization), 200)]); m != nil {
		return m[1]
	}
	return ""
}
