package activity

import (
	"bytes"
	"errors"
	"io"
	"net/url"
	"regexp"
	"slices"
	"strings"

	"github.com/go-json-experiment/json/jsontext"
)

// masked stands for what is not kept.
const masked = "***"

// secrets are the names of members whose values nobody is to see again, in lower case and without _ and -.
var secrets = []string{
	"password", "newpassword", "oldpassword", "secret", "clientsecret", "token", "accesstoken", "refreshtoken", "idtoken",
	"authorization", "assertion", "clientassertion", "apikey", "credential", "credentials", "privatekey",
}

// Mask takes secrets, and the attributes that an operator has named, out of what clients sent.
type Mask struct{ names []string } // paths in lower case, "name.familyname"

// NewMask returns a mask of attributes: "name" takes all of it, "name.familyName" the one sub-attribute. Secrets are masked
// whether or not they are named.
func NewMask(attributes []string) *Mask {
	m := &Mask{}
	for _, a := range attributes {
		if a = plainPath(a); a != "" {
			m.names = append(m.names, a)
		}
	}
	return m
}

var brackets = regexp.MustCompile(`\[[^\]]*\]?`)

// plainPath is an attribute path in lower case, without its schema and without brackets.
func plainPath(p string) string {
	p = brackets.ReplaceAllString(strings.TrimSpace(p), "")
	if len(p) > 4 && strings.EqualFold(p[:4], "urn:") {
		p = p[strings.LastIndexByte(p, ':')+1:]
	}
	return strings.Trim(strings.ToLower(p), ". ")
}

func isSecret(name string) bool {
	name = strings.NewReplacer("_", "", "-", "").Replace(name[strings.LastIndexByte(name, '.')+1:])
	return slices.Contains(secrets, name)
}

// Hides reports whether the attribute of a path, or what it is a part of, is masked.
func (m *Mask) Hides(path string) bool {
	p := plainPath(path)
	if isSecret(p) {
		return true
	}
	return m.hidesPath(p)
}

func (m *Mask) hidesPath(plain string) bool {
	if m == nil || plain == "" {
		return false
	}
	// Wherever it stands: of an extension, or below another attribute. Rather too much than too little.
	return slices.ContainsFunc(m.names, func(n string) bool { return strings.Contains("."+plain+".", "."+n+".") })
}

// apply masks a tree in place and returns the texts that it has taken out.
func (m *Mask) apply(n *node) []string {
	var hidden []string
	m.walk(n, "", false, &hidden)
	return hidden
}

func (m *Mask) walk(n *node, at string, all bool, hidden *[]string) {
	switch n.kind {
	case '{':
		path := "" // of a PATCH operation
		if p := n.get("path"); p != nil && p.kind == '"' && (n.get("op") != nil || n.get("value") != nil) {
			path = p.text
		}
		for i, name := range n.names {
			child, below := n.items[i], strings.TrimPrefix(at+"."+plainPath(name), ".")
			hide := all || m.Hides(name) || m.Hides(below)
			switch fold := strings.ToLower(name); {
			case path != "" && fold == "value":
				below = plainPath(path)
				hide = all || m.Hides(path)
			case path != "" && fold == "path", fold == "filter" && child.kind == '"':
				child.text = m.filter(child.text, hidden)
				continue
			case fold == "schemas" && !all:
				continue
			}
			m.walk(child, below, hide, hidden)
			n.names[i] = scrub(name)
		}
	case '[':
		for _, e := range n.items {
			m.walk(e, at, all, hidden)
		}
	case 'n':
	case '"':
		if all {
			*hidden = append(*hidden, n.text)
			n.text = masked
			return
		}
		n.text = scrub(n.text)
	default:
		if all {
			*hidden = append(*hidden, n.text)
			n.kind, n.text = '"', masked
		}
	}
}

var quotedText = regexp.MustCompile(`"(?:[^"\\]|\\.)*"?`)

// filter masks the literals of a filter, or of the brackets of a path, that mentions what is masked.
func (m *Mask) filter(text string, hidden *[]string) string {
	text = scrub(text)
	if !m.mentioned(text) {
		return text
	}
	return quotedText.ReplaceAllStringFunc(text, func(q string) string {
		inner := strings.Trim(q, `"`)
		if m.Hides(inner) || inner == "" {
			return q // the name of the attribute is not its value
		}
		if hidden != nil {
			*hidden = append(*hidden, inner)
		}
		return `"` + masked + `"`
	})
}

// mentioned reports whether a text has the name of something masked in it.
func (m *Mask) mentioned(text string) bool {
	text = strings.ToLower(text)
	for _, n := range append([]string{"password"}, m.all()...) {
		if strings.Contains(text, n) {
			return true
		}
	}
	return false
}

func (m *Mask) all() []string {
	if m == nil {
		return nil
	}
	return m.names
}

// query masks the query of a URL and returns it unescaped as far as that can be read without doubt.
func (m *Mask) query(raw string) (string, []string) {
	var hidden []string
	var parts []string
	for pair := range strings.SplitSeq(raw, "&") {
		if pair == "" {
			continue
		}
		name, value, has := strings.Cut(pair, "=")
		plain, err := url.QueryUnescape(value)
		if err != nil {
			plain = value
		}
		switch {
		case isSecret(strings.ToLower(name)):
			plain = masked
		case strings.EqualFold(name, "filter"):
			plain = m.filter(plain, &hidden)
		default:
			plain = scrub(plain)
		}
		if has {
			name += "="
		}
		parts = append(parts, scrub(name)+plain)
	}
	return strings.Join(parts, "&"), hidden
}

// clipped is how many bytes of a value package scim repeats in a detail at most.
const clipped = 80

// told takes the values that were masked out of what the server has said about them.
func (m *Mask) told(text string, hidden []string) string {
	text = scrub(text)
	long := false
	for _, h := range hidden {
		if len(h) >= 2 {
			text = strings.ReplaceAll(text, h, masked)
		}
		long = long || len(h) > clipped && strings.Contains(text, h[:clipped/2])
	}
	if long || m.mentioned(text) && len(hidden) > 0 {
		text = m.quoted(text)
	}
	return text
}

// quoted masks what stands in quotes and is no name of what is masked.
func (m *Mask) quoted(text string) string {
	return quotedText.ReplaceAllStringFunc(text, func(q string) string {
		if inner := strings.Trim(q, `"`); inner == masked || plainName.MatchString(inner) && len(inner) < 40 {
			return q
		}
		return `"` + masked + `"`
	})
}

var plainName = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9.]*$`)

// node is a JSON value, with its members in the order in which they were sent.
type node struct {
	kind  byte // '{' '[' '"' '0' 't' 'n'
	text  string
	names []string
	items []*node
}

var errDeep = errors.New("the JSON is nested too deep")

const maxDepth = 64

// parseTree reads one JSON value. Duplicate members are taken as they come: a request that is refused for them is to be seen.
func parseTree(data []byte) (*node, error) {
	d := jsontext.NewDecoder(bytes.NewReader(data), jsontext.AllowDuplicateNames(true))
	n, err := readTree(d, 0)
	if err != nil {
		return nil, err
	}
	if _, err := d.ReadToken(); !errors.Is(err, io.EOF) {
		return nil, errors.New("the JSON goes on after its value")
	}
	return n, nil
}

func readTree(d *jsontext.Decoder, depth int) (*node, error) {
	if depth > maxDepth {
		return nil, errDeep
	}
	t, err := d.ReadToken()
	if err != nil {
		return nil, err
	}
	switch n := (&node{kind: byte(t.Kind())}); n.kind {
	case '{', '[':
		for d.PeekKind() != '}' && d.PeekKind() != ']' {
			if n.kind == '{' {
				name, err := d.ReadToken()
				if err != nil {
					return nil, err
				}
				n.names = append(n.names, name.String())
			}
			item, err := readTree(d, depth+1)
			if err != nil {
				return nil, err
			}
			n.items = append(n.items, item)
		}
		_, err := d.ReadToken()
		return n, err
	default:
		n.text = t.String()
		return n, nil
	}
}

// get returns a member without regard to case, nil if there is none.
func (n *node) get(name string) *node {
	if n == nil || n.kind != '{' {
		return nil
	}
	for i, m := range n.names {
		if strings.EqualFold(m, name) {
			return n.items[i]
		}
	}
	return nil
}

// name is what a person calls the resource of a body.
func (n *node) name() string {
	for _, a := range []string{"userName", "displayName", "name"} {
		if v := n.get(a); v != nil && v.kind == '"' && v.text != masked {
			return cut(v.text, 200)
		}
	}
	return ""
}

// at returns the text at a path of names, "" if there is none. Of an array it takes the first element.
func (n *node) at(path ...string) string {
	for _, p := range path {
		if n != nil && n.kind == '[' && len(n.items) > 0 {
			n = n.items[0]
		}
		n = n.get(p)
	}
	if n == nil || n.kind != '"' {
		return ""
	}
	return n.text
}

func (n *node) append(b []byte) []byte {
	switch n.kind {
	case '{', '[':
		b = append(b, n.kind)
		for i, item := range n.items {
			if i > 0 {
				b = append(b, ',')
			}
			if n.kind == '{' {
				b = append(appendQuoted(b, n.names[i]), ':')
			}
			b = item.append(b)
		}
		return append(b, n.kind+2) // } and ] are two behind { and [
	case '"':
		return appendQuoted(b, n.text)
	}
	return append(b, n.text...)
}

func appendQuoted(b []byte, s string) []byte {
	b, err := jsontext.AppendQuote(b, s)
	if err != nil {
		return append(b, `"`+masked+`"`...) // what is not UTF-8 has been refused by the decoder
	}
	return b
}
