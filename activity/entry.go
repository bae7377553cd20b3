package activity

import (
	"encoding/json"
	"net/url"
	"regexp"
	"strings"
	"time"
	"unicode/utf8"
)

// Request is what a server has seen of a request that it refused.
type Request struct {
	Time      time.Time // when it came
	ID        string
	Token     string // id of the token that it was let in with, "" for none
	TokenName string
	Bulk      bool   // it was an operation of a bulk request that was itself accepted
	Claimed   string // id of a token that it named and was not let in with; anybody can write one
	Tenant    string
	Client    string // network address
	Method    string
	Path      string // as it was sent, escaped
	Query     string
	Agent     string
	Status    int
	Duration  time.Duration
	Body      Body
	Answer    Body
}

// Body is what was seen of a body.
type Body struct {
	Data []byte // all of it, or its beginning
	Size int64  // of all of it, as far as it was read or announced
}

// Entry is a refused request as it is kept. Nothing in it is a secret.
type Entry struct {
	Seq       uint64    `json:"seq"` // 1, 2, 3 ... in the order of writing
	Time      time.Time `json:"time"`
	Request   string    `json:"request"`
	Token     string    `json:"token,omitempty"`
	TokenName string    `json:"tokenName,omitempty"`
	Claimed   string    `json:"claimed,omitempty"`
	Tenant    string    `json:"tenant,omitempty"`
	Client    string    `json:"client"`
	Bulk      bool      `json:"bulk,omitempty"` // an operation of a bulk request, which was itself accepted
	Method    string    `json:"method"`
	Path      string    `json:"path"`
	Query     string    `json:"query,omitempty"`
	Op        string    `json:"op"`             // what it would have done: one of the Op constants
	Type      string    `json:"type,omitempty"` // resource type
	Resource  string    `json:"resource,omitempty"`
	Name      string    `json:"name,omitempty"` // userName or displayName that the request gave
	Status    int       `json:"status"`
	ScimType  string    `json:"scimType,omitempty"`
	Detail    string    `json:"detail"`
	Millis    float64   `json:"ms"`
	Agent     string    `json:"agent,omitempty"`
	Body      *Kept     `json:"body,omitempty"`
	Answer    *Kept     `json:"answer,omitempty"`
}

// Kept is what is kept of a body. One of JSON, Start and Why is set, and nothing of an empty body.
type Kept struct {
	Size  int64           `json:"size"`            // bytes that were sent
	JSON  json.RawMessage `json:"json,omitempty"`  // masked
	Start string          `json:"start,omitempty"` // of masked JSON that is longer than what is kept: its beginning
	Why   string          `json:"why,omitempty"`   // why nothing is kept
}

// What a request would have done.
const (
	OpCreate   = "create"
	OpReplace  = "replace"
	OpPatch    = "patch"
	OpDelete   = "delete"
	OpRead     = "read"     // one resource
	OpSearch   = "search"   // several
	OpBulk     = "bulk"     // several operations in one request
	OpDiscover = "discover" // what the server can do
	OpOther    = "other"    // nothing that SCIM has
)

const (
	maxText  = 2048 // bytes of a path, a query or a detail
	maxAgent = 200
)

// keeper makes entries of requests.
type keeper struct {
	mask  *Mask
	body  int64             // bytes of a body that are kept
	base  string            // path that SCIM is below
	types map[string]string // resource types by their endpoint, in lower case
}

func (k *keeper) entry(r *Request) Entry {
	e := Entry{
		Time: r.Time.UTC(), Request: r.ID, Token: r.Token, TokenName: r.TokenName, Claimed: r.Claimed, Tenant: r.Tenant, Client: r.Client, Bulk: r.Bulk,
		Method: cut(scrub(r.Method), 20), Path: cut(scrub(r.Path), maxText), Status: r.Status,
		Millis: float64(r.Duration.Microseconds()) / 1000, Agent: cut(scrub(r.Agent), maxAgent),
	}
	e.Op, e.Type, e.Resource = k.operation(r)
	e.Resource = cut(scrub(e.Resource), 200)

	body, tree, hidden := k.keep(r.Body)
	e.Body = body
	e.Name = tree.name()
	query, more := k.mask.query(r.Query)
	e.Query = cut(query, maxText)
	hidden = append(hidden, more...)
	e.ScimType, e.Detail = problem(r.Answer.Data, r.ID)
	e.Detail = cut(k.mask.told(e.Detail, hidden), maxText)
	answer, tree, _ := k.keep(r.Answer)
	if answer != nil && tree != nil {
		text := k.mask.told(string(tree.append(nil)), hidden)
		answer = kept(r.Answer.Size, text, k.body)
	}
	e.Answer = answer
	return e
}

// operation says what a request asked for.
func (k *keeper) operation(r *Request) (op, resourceType, id string) {
	rest, ok := strings.CutPrefix(r.Path, k.base)
	if !ok || rest != "" && rest[0] != '/' {
		return OpOther, "", ""
	}
	var seg []string
	for s := range strings.SplitSeq(rest, "/") {
		if s == "" {
			continue
		}
		if u, err := url.PathUnescape(s); err == nil {
			s = u
		}
		seg = append(seg, s)
	}
	first := ""
	if len(seg) > 0 {
		first = strings.ToLower(seg[0])
	}
	switch {
	case len(seg) == 0, first == ".search":
		return OpSearch, "", ""
	case first == "bulk":
		return OpBulk, "", ""
	case first == "schemas", first == "resourcetypes", first == "serviceproviderconfig":
		return OpDiscover, "", ""
	case first == "me":
		resourceType, id = "User", "me"
	case k.types[first] == "" || len(seg) > 2:
		return OpOther, "", ""
	default:
		resourceType = k.types[first]
		if len(seg) == 2 {
			id = seg[1]
		}
	}
	switch {
	case id == ".search", id == "" && (r.Method == "GET" || r.Method == "HEAD"):
		return OpSearch, resourceType, ""
	case r.Method == "GET" || r.Method == "HEAD":
		op = OpRead
	case r.Method == "POST" && id == "":
		op = OpCreate
	case r.Method == "PUT" && id != "":
		op = OpReplace
	case r.Method == "PATCH" && id != "":
		op = OpPatch
	case r.Method == "DELETE" && id != "":
		op = OpDelete
	default:
		op = OpOther
	}
	return op, resourceType, id
}

// keep masks a body. hidden are the values that were taken out of it.
func (k *keeper) keep(b Body) (_ *Kept, tree *node, hidden []string) {
	size := max(b.Size, int64(len(b.Data)))
	switch {
	case size == 0:
		return nil, nil, nil
	case int64(len(b.Data)) < size:
		return &Kept{Size: size, Why: "it is too long to be examined for secrets"}, nil, nil
	}
	tree, err := parseTree(b.Data)
	if err != nil {
		return &Kept{Size: size, Why: "it is no JSON, so that it cannot be examined for secrets"}, nil, nil
	}
	hidden = k.mask.apply(tree)
	return kept(size, string(tree.append(nil)), k.body), tree, hidden
}

func kept(size int64, text string, limit int64) *Kept {
	switch {
	case limit <= 0:
		return &Kept{Size: size, Why: "bodies are not kept ([activity] body)"}
	case int64(len(text)) > limit:
		return &Kept{Size: size, Start: cut(text, int(limit))}
	}
	return &Kept{Size: size, JSON: json.RawMessage(text)}
}

// problem reads what an answer says of itself, without the request's id, which stands beside it.
func problem(answer []byte, request string) (scimType, detail string) {
	var e struct {
		ScimType string `json:"scimType"`
		Detail   string `json:"detail"`
		Error    string `json:"error"`             // OAuth, RFC 6749 section 5.2
		Describe string `json:"error_description"` //
	}
	if json.Unmarshal(answer, &e) != nil {
		line, _, _ := strings.Cut(string(answer), "\n")
		if !utf8.ValidString(line) {
			line = ""
		}
		return "", line
	}
	if e.Detail == "" && e.Error != "" {
		e.Detail = strings.TrimSuffix(e.Error+": "+e.Describe, ": ")
	}
	return e.ScimType, strings.TrimSuffix(e.Detail, " (request "+request+")")
}

// cut cuts a text at a limit, between two characters.
func cut(s string, most int) string {
	if len(s) <= most {
		return s
	}
	for most > 0 && !utf8.RuneStart(s[most]) {
		most--
	}
	return s[:most] + "…"
}

// tokenForm is the plain text of a token, whole or in part. It must not be kept wherever somebody has put it.
var tokenForm = regexp.MustCompile(`(scimbox_(?:at_|cs_)?[a-z2-7]{12}_)[A-Za-z0-9]*`)

// scrub takes tokens out of a text, and makes it UTF-8.
func scrub(s string) string {
	if strings.Contains(s, "scimbox_") {
		s = tokenForm.ReplaceAllString(s, "${1}"+masked)
	}
	return strings.ToValidUTF8(s, "\uFFFD")
}
