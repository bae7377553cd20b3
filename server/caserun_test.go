package server

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
)

// This file runs one case against a server.

// caseAnswer is what came back.
type caseAnswer struct {
	status int
	header http.Header
	body   []byte
	json   any // nil if the body is empty
}

func (a *caseAnswer) ok() bool { return a.status < 300 }

// caseRun is one run of one case in a tenant of its own.
type caseRun struct {
	client   *http.Client
	base     string // URL of the SCIM endpoint
	token    string
	unique   string
	labels   map[string]*caseAnswer
	problems []error

	endpoint, clientID, clientSecret string // of OAuth, "" unless the case requires it
}

func (r *caseRun) problem(format string, args ...any) {
	r.problems = append(r.problems, fmt.Errorf(format, args...))
}

// run runs a case and returns what is not as it expects.
func (r *caseRun) run(ctx context.Context, c *blackBox) []error {
	r.labels = map[string]*caseAnswer{}
	for i := range c.Setup {
		a := r.send(ctx, &c.Setup[i])
		if a != nil && !a.ok() {
			r.problem("setup %d: %s %s: %d %s", i, c.Setup[i].Method, c.Setup[i].Path, a.status, clipped(a.body))
		}
		if len(r.problems) > 0 {
			return r.problems // what follows would only say the same again
		}
	}
	a := r.requests(ctx, c)
	if a == nil {
		return r.problems
	}
	r.check("answer", a, &c.Expect)
	for i := range c.Expect.Then {
		t := &c.Expect.Then[i]
		switch t.If {
		case "":
		case "ok", "failed":
			if a.ok() != (t.If == "ok") {
				continue
			}
		default:
			r.problem("then %d: if is %q", i, t.If)
		}
		want := t.Expect
		if want == nil {
			want = &caseExpectation{Status: t.Status, JSON: t.JSON}
		}
		if b := r.send(ctx, &t.caseStep); b != nil {
			r.check(fmt.Sprintf("then %d (%s)", i, t.Path), b, want)
		}
	}
	return r.problems
}

// requests sends the request of a case and those that are to be sent at the same time, and returns the answer to it.
func (r *caseRun) requests(ctx context.Context, c *blackBox) *caseAnswer {
	if len(c.Concurrent) == 0 {
		return r.send(ctx, &c.Request)
	}
	var together sync.WaitGroup
	start := make(chan struct{})
	all := append([]caseStep{c.Request}, c.Concurrent...)
	runs := make([]caseRun, len(all))
	answers := make([]*caseAnswer, len(all))
	for i := range all {
		runs[i] = *r
		runs[i].labels, runs[i].problems = map[string]*caseAnswer{}, nil
		for k, v := range r.labels {
			runs[i].labels[k] = v
		}
		together.Go(func() {
			<-start
			answers[i] = runs[i].send(ctx, &all[i])
		})
	}
	close(start)
	together.Wait()
	for i, a := range answers {
		r.problems = append(r.problems, runs[i].problems...)
		if a != nil && a.status >= 500 {
			r.problem("concurrent request %d: %d %s", i, a.status, clipped(a.body))
		}
	}
	if c.Request.As != "" {
		r.labels[c.Request.As] = answers[0]
	}
	return answers[0]
}

// send sends one request; nil if it could not be.
func (r *caseRun) send(ctx context.Context, s *caseStep) *caseAnswer {
	q, err := r.request(ctx, s)
	if err != nil {
		r.problem("%s %s: %w", s.Method, s.Path, err)
		return nil
	}
	resp, err := r.client.Do(q)
	if err != nil {
		r.problem("%s %s: %w", s.Method, s.Path, err)
		return nil
	}
	defer resp.Body.Close()
	a := &caseAnswer{status: resp.StatusCode, header: resp.Header}
	if a.body, err = io.ReadAll(resp.Body); err != nil {
		r.problem("%s %s: reading the answer: %w", s.Method, s.Path, err)
		return nil
	}
	if len(a.body) > 0 {
		if a.json, err = decodeCase(a.body); err != nil {
			r.problem("%s %s: %d: the answer is no JSON: %v: %s", s.Method, s.Path, a.status, err, clipped(a.body))
			return nil
		}
	}
	r.manners(s, a)
	if s.As != "" {
		r.labels[s.As] = a
	}
	return a
}

func (r *caseRun) request(ctx context.Context, s *caseStep) (*http.Request, error) {
	path, err := r.fill(s.Path, percent)
	if err != nil {
		return nil, err
	}
	address := r.base + path
	if s.Path == "{{token_endpoint}}" {
		address = r.endpoint
	}
	body := s.Body
	if len(body) > 0 && body[0] == '"' { // sent verbatim
		var text string
		if err := json.Unmarshal(body, &text); err != nil {
			return nil, err
		}
		text, err = r.fill(text, verbatim)
		body = json.RawMessage(text)
	} else {
		var text string
		text, err = r.fill(string(body), escaped)
		body = json.RawMessage(text)
	}
	if err != nil {
		return nil, err
	}
	q, err := http.NewRequestWithContext(ctx, s.Method, address, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	if address != r.endpoint { // which takes the client's own credentials alone
		q.Header.Set("Authorization", "Bearer "+r.token)
	}
	if s.Body != nil {
		q.Header.Set("Content-Type", "application/scim+json")
	}
	for name, v := range s.Headers {
		if q.Header.Del(name); v == nil || *v == "" {
			continue
		}
		text, err := r.fill(*v, verbatim)
		if err != nil {
			return nil, err
		}
		q.Header.Set(name, text)
	}
	return q, nil
}

// manners checks what holds for every answer: an error is a SCIM error (RFC 7644 section 3.12), and a resource says in its
// headers what it says of itself (section 3.14, RFC 7643 section 3.1).
func (r *caseRun) manners(s *caseStep, a *caseAnswer) {
	say := func(format string, args ...any) {
		r.problem("%s %s: %d: %s", s.Method, s.Path, a.status, fmt.Sprintf(format, args...))
	}
	if len(a.body) == 0 {
		if a.status >= 400 && s.Method != http.MethodHead {
			say("an error without a body")
		}
		return
	}
	switch {
	case a.status == http.StatusNoContent || a.status == http.StatusNotModified:
		say("it has a body")
	case a.status >= 500 && a.status != http.StatusNotImplemented:
		say("%s", clipped(a.body))
	case a.status >= 400:
		for path, want := range map[string]any{
			"schemas": []any{"urn:ietf:params:scim:api:messages:2.0:Error"},
			"status":  strconv.Itoa(a.status),
			"detail":  map[string]any{"$re": `\S`},
		} {
			if err := matchAt(a.json, path, want); err != nil {
				say("its error is none of SCIM's: %v", err)
			}
		}
	case a.header.Get("Etag") != "":
		if v, _ := resolvePath(a.json, "meta.version"); v != nil && v != a.header.Get("Etag") {
			say("meta.version is %v, ETag %s", v, a.header.Get("Etag"))
		}
	}
	if v, _ := resolvePath(a.json, "meta.location"); a.status == http.StatusCreated && v != nil && v != a.header.Get("Location") {
		say("meta.location is %v, Location %s", v, a.header.Get("Location"))
	}
}

// check compares an answer with what is expected of it.
func (r *caseRun) check(what string, a *caseAnswer, want *caseExpectation) {
	problem := func(err error) { r.problem("%s: %d: %w\n\t%s", what, a.status, err, clipped(a.body)) }
	if !slices.Contains(want.Status, a.status) {
		problem(fmt.Errorf("want status %v", want.Status))
		return
	}
	if want.ScimType != nil && a.status >= 400 {
		if err := scimTypeIs(a.json, want.ScimType); err != nil {
			problem(err)
		}
	}
	headers, err := r.expected(want.Headers)
	if err != nil {
		problem(err)
		return
	}
	for _, err := range matchHeaders(a.header, headers) {
		problem(err)
	}
	members, err := r.expected(want.JSON)
	if err != nil {
		problem(err)
		return
	}
	noBody := len(a.body) == 0
	if ifBody, ok := members["$ifBody"].(map[string]any); ok && !noBody {
		delete(members, "$ifBody")
		for k, v := range ifBody {
			members[k] = v
		}
	} else if ok {
		delete(members, "$ifBody")
	}
	var absent []string
	if err := r.decode(want.Absent, &absent); err != nil {
		problem(err)
	}
	if noBody {
		if len(members) > 0 && a.status != http.StatusNoContent {
			problem(errors.New("there is no body"))
		}
		return
	}
	for _, path := range keys(members) {
		if err := matchAt(a.json, path, members[path]); err != nil {
			problem(err)
		}
	}
	for _, path := range absent {
		if v, err := resolvePath(a.json, path); err != nil {
			problem(err)
		} else if !unassigned(v) {
			problem(fmt.Errorf("%s: got %s, want nothing", path, show(v)))
		}
	}
}

// scimTypeIs compares the scimType of an error: want is one keyword, or a list of which null stands for none.
func scimTypeIs(answer any, want json.RawMessage) error {
	v, err := decodeCase(want)
	if err != nil {
		return err
	}
	if _, ok := v.([]any); !ok {
		v = []any{v}
	}
	return matchAt(answer, "scimType", map[string]any{"$any": v})
}

// expected fills in an object of expectations and decodes it.
func (r *caseRun) expected(raw json.RawMessage) (map[string]any, error) {
	var o map[string]any
	return o, r.decode(raw, &o)
}

func (r *caseRun) decode(raw json.RawMessage, to any) error {
	if raw == nil {
		return nil
	}
	text, err := r.fill(string(raw), escaped)
	if err != nil {
		return err
	}
	d := json.NewDecoder(strings.NewReader(text))
	d.UseNumber()
	return d.Decode(to)
}

var placeholder = regexp.MustCompile(`\{\{([^{}]+)\}\}`)

// fill puts values in the place of {{placeholders}}, written as the place needs them.
func (r *caseRun) fill(text string, as func(string) string) (string, error) {
	var failed error
	text = placeholder.ReplaceAllStringFunc(text, func(s string) string {
		v, err := r.value(s[2 : len(s)-2])
		if err != nil {
			failed = err
		}
		return as(v)
	})
	return text, failed
}

func (r *caseRun) value(name string) (string, error) {
	switch name {
	case "uniq":
		return r.unique, nil
	case "token":
		return r.token, nil
	case "basic":
		return base64.StdEncoding.EncodeToString([]byte("user:" + r.token)), nil
	case "token_endpoint":
		return r.endpoint, nil
	case "client_id":
		return r.clientID, nil
	case "client_secret":
		return r.clientSecret, nil
	case "client_basic":
		return base64.StdEncoding.EncodeToString([]byte(r.clientID + ":" + r.clientSecret)), nil
	}
	label, path, _ := strings.Cut(name, ".")
	a := r.labels[label]
	if a == nil {
		return "", fmt.Errorf("{{%s}}: there is no answer %q", name, label)
	}
	var v any
	var err error
	switch path {
	case "#etag", "#location":
		if h := a.header.Get(path[1:]); h != "" {
			v = h
		}
	default:
		v, err = resolvePath(a.json, path)
	}
	if err == nil && v == nil {
		err = fmt.Errorf("{{%s}}: the answer %q does not have it: %s", name, label, clipped(a.body))
	}
	return fmt.Sprint(v), err
}

func verbatim(s string) string { return s }

func percent(s string) string { return strings.ReplaceAll(url.QueryEscape(s), "+", "%20") }

// escaped is s as a part of a JSON string.
func escaped(s string) string {
	b, _ := json.Marshal(s) // of a string, never an error
	return string(b[1 : len(b)-1])
}

func clipped(b []byte) string { return string(b[:min(len(b), 600)]) }
