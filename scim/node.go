package scim

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/go-json-experiment/json/jsontext"
)

// maxDepth is how deep JSON may be nested. SCIM itself needs 6: Operations, operation, value, extension, attribute,
// sub-attribute.
const maxDepth = 32

// node is a JSON value as a client sent it: order, spelling and every digit are kept, because what they mean is decided
// by the schema and not by their looks.
type node struct {
	kind    jsontext.Kind // { [ " 0 t f n
	text    string        // of a string, unescaped; of a number, its JSON text
	members []member      // of an object
	items   []*node       // of an array
}

type member struct {
	name  string
	value *node
}

// parseJSON reads the one JSON value that data must be. Names that are the same, or differ only in case, within one
// object are refused: RFC 8259 leaves open what they mean, and SCIM names compare without regard to case.
func parseJSON(data []byte) (*node, error) {
	data = bytes.TrimPrefix(data, []byte("\ufeff"))
	if len(bytes.TrimSpace(data)) == 0 {
		return nil, bad(InvalidSyntax, "the request has no body; a JSON object is expected")
	}
	if n, ok := parse(data); ok {
		return n, nil
	}
	return readJSON(data)
}

// readJSON is parseJSON for what jsonParser does not take: it says what is wrong, and where.
func readJSON(data []byte) (*node, error) {
	d := jsontext.NewDecoder(bytes.NewReader(data))
	n, err := readNode(d, 0)
	if err != nil {
		return nil, err
	}
	if _, err := d.ReadToken(); err != io.EOF {
		return nil, bad(InvalidSyntax, "the body goes on after the JSON value, at byte %d; expected is one JSON value", d.InputOffset())
	}
	return n, nil
}

func readNode(d *jsontext.Decoder, depth int) (*node, error) {
	t, err := d.ReadToken()
	if err != nil {
		return nil, syntaxError(d, err)
	}
	n := &node{kind: t.Kind()}
	switch n.kind {
	case '"', '0':
		n.text = t.String()
	case '{', '[':
		if depth == maxDepth {
			return nil, bad(InvalidSyntax, "the JSON is nested deeper than %d levels, at byte %d", maxDepth, d.InputOffset())
		}
		if err := readMembers(d, n, depth); err != nil {
			return nil, err
		}
	}
	return n, nil
}

func readMembers(d *jsontext.Decoder, n *node, depth int) error {
	end := jsontext.Kind(']')
	if n.kind == '{' {
		end = '}'
	}
	var seen map[string]bool // only for objects of many members: most have few, and comparing those is cheaper
	for d.PeekKind() != end {
		if n.kind == '[' {
			v, err := readNode(d, depth+1)
			if err != nil {
				return err
			}
			n.items = append(n.items, v)
			continue
		}
		t, err := d.ReadToken()
		if err != nil {
			return syntaxError(d, err)
		}
		name := t.String()
		if hasMember(n.members, name, &seen) {
			return bad(InvalidSyntax, "the member %q stands twice in one object, at byte %d; names compare without regard to case", clip(name), d.InputOffset())
		}
		v, err := readNode(d, depth+1)
		if err != nil {
			return err
		}
		n.members = append(n.members, member{name, v})
	}
	_, err := d.ReadToken()
	return err
}

// manyMembers is how many members of an object are compared with each other, before their names are put into a map.
const manyMembers = 48

// hasMember says whether the members of an object have one of a name already. It is asked once for each, before it is added.
func hasMember(l []member, name string, seen *map[string]bool) bool {
	if *seen == nil && len(l) == manyMembers {
		*seen = make(map[string]bool, 4*manyMembers)
		for _, m := range l {
			(*seen)[foldName(m.name)] = true
		}
	}
	if *seen != nil {
		f := foldName(name)
		had := (*seen)[f]
		(*seen)[f] = true
		return had
	}
	return memberOf(l, name) != nil
}

func syntaxError(d *jsontext.Decoder, err error) error {
	var se *jsontext.SyntacticError
	if errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF) {
		return bad(InvalidSyntax, "the JSON ends in the middle, at byte %d", d.InputOffset())
	}
	if errors.As(err, &se) {
		what := "is no valid JSON"
		if se.Err != nil {
			what = strings.TrimPrefix(se.Err.Error(), "jsontext: ")
		}
		where := ""
		if p := string(se.JSONPointer); p != "" {
			where = fmt.Sprintf(" (in %s)", clip(p))
		}
		return bad(InvalidSyntax, "the body is no valid JSON at byte %d%s: %s", se.ByteOffset, where, what)
	}
	return bad(InvalidSyntax, "the body is no valid JSON")
}

// get returns the member of an object by its name, without regard to case; nil if there is none.
func (n *node) get(name string) *node { return memberOf(n.members, name) }

func memberOf(l []member, name string) *node {
	for i := range l {
		if sameName(l[i].name, name) {
			return l[i].value
		}
	}
	return nil
}

// sameName compares names as foldName does, without making anything.
func sameName(a, b string) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range len(a) {
		if a[i] != b[i] && lower(a[i]) != lower(b[i]) {
			return false
		}
	}
	return true
}

// lower is foldName for one byte.
func lower(c byte) byte {
	if 'A' <= c && c <= 'Z' {
		c += 'a' - 'A'
	}
	return c
}

// found describes n for an error: what was sent, without the value of a string, which may be a secret.
func (n *node) found() string {
	switch n.kind {
	case '{':
		return "an object"
	case '[':
		return "an array"
	case '"':
		return "a string"
	case '0':
		return "the number " + clip(n.text)
	case 't':
		return "true"
	case 'f':
		return "false"
	default:
		return "null"
	}
}

// textOf returns the text of a string, "" for anything else.
func textOf(n *node) string {
	if n == nil || n.kind != '"' {
		return ""
	}
	return n.text
}

// foundOr is found for what may be missing.
func foundOr(n *node, missing string) string {
	if n == nil {
		return missing
	}
	return n.found()
}

// appendJSON appends the JSON text of n.
func (n *node) appendJSON(b []byte) []byte {
	switch n.kind {
	case '{':
		b = append(b, '{')
		for i, m := range n.members {
			if i > 0 {
				b = append(b, ',')
			}
			b = append(appendText(b, m.name), ':')
			b = m.value.appendJSON(b)
		}
		return append(b, '}')
	case '[':
		b = append(b, '[')
		for i, e := range n.items {
			if i > 0 {
				b = append(b, ',')
			}
			b = e.appendJSON(b)
		}
		return append(b, ']')
	case '"':
		return appendText(b, n.text)
	case '0':
		return append(b, n.text...)
	case 't':
		return append(b, "true"...)
	case 'f':
		return append(b, "false"...)
	default:
		return append(b, "null"...)
	}
}

// appendText appends s as a JSON string. What is not UTF-8 becomes U+FFFD; nothing that came through parseJSON is.
func appendText(b []byte, s string) []byte {
	if !plainText(s) {
		b, _ = jsontext.AppendQuote(b, s)
		return b
	}
	b = append(append(b, '"'), s...)
	return append(b, '"')
}

// plainText says whether s is the same in JSON.
func plainText(s string) bool {
	for i := range len(s) {
		if c := s[i]; c < ' ' || c >= 0x7F || c == '"' || c == '\\' {
			return false
		}
	}
	return true
}

// clip shortens what a client sent for an error message.
func clip(s string) string {
	const most = 80
	if len(s) <= most {
		return s
	}
	cut := most
	for cut > 0 && s[cut]&0xC0 == 0x80 {
		cut--
	}
	return s[:cut] + "…"
}
