package scim

import (
	"bytes"
	"io"
	"strings"

	"github.com/go-json-experiment/json/jsontext"
)

// jsonParser makes nodes of JSON as it should be, in one pass and with little to throw away: texts are parts of one string, and nodes
// and members come from arrays. It does not say what is wrong with JSON that is not as it should be: that is found out by readNode,
// which decides. What the parser takes, readNode takes too, and makes the same of it (FuzzParse).
type jsonParser struct {
	text string
	dec  *jsontext.Decoder // of text, which finds where a value ends and whether it is JSON

	// Arrays that what is made is taken from.
	nodes   []node
	members []member
	items   []*node
	// What stands in objects and arrays that have not ended yet.
	openMembers []member
	openItems   []*node
}

// parse returns the one value that text is; ok is false if it is not as it should be.
func parse(text []byte) (n *node, ok bool) {
	p := jsonParser{text: string(text), dec: jsontext.NewDecoder(bytes.NewBuffer(text), jsontext.AllowDuplicateNames(true))} // see hasMember
	if n, ok = p.value(0); !ok {
		return nil, false
	}
	_, err := p.dec.ReadToken()
	return n, err == io.EOF
}

// atOnce is how many nodes or members are made together: a value takes some sixteen bytes of text.
func (p *jsonParser) atOnce() int { return min(4+len(p.text)/16, 128) }

func (p *jsonParser) node(k jsontext.Kind) *node {
	if len(p.nodes) == 0 {
		p.nodes = make([]node, p.atOnce())
	}
	n := &p.nodes[0]
	p.nodes = p.nodes[1:]
	n.kind = k
	return n
}

// keep takes a copy of l from an array, which is made anew when it is used up.
func keep[T any](array *[]T, l []T, atOnce int) []T {
	if len(*array) < len(l) {
		*array = make([]T, max(atOnce, len(l)))
	}
	kept := (*array)[:len(l):len(l)]
	*array = (*array)[len(l):]
	copy(kept, l)
	return kept
}

func (p *jsonParser) value(depth int) (*node, bool) {
	switch k := p.dec.PeekKind(); k {
	case '{', '[':
		if depth == maxDepth {
			return nil, false
		}
		if _, err := p.dec.ReadToken(); err != nil {
			return nil, false
		}
		if k == '{' {
			return p.object(depth)
		}
		return p.array(depth)
	case '"':
		s, ok := p.string()
		n := p.node(k)
		n.text = s
		return n, ok
	case '0':
		s, ok := p.literal()
		n := p.node(k)
		n.text = s
		return n, ok
	default:
		_, ok := p.literal()
		return p.node(k), ok
	}
}

// literal reads a value that is no object or array, and returns where it stands in the text.
func (p *jsonParser) literal() (string, bool) {
	v, err := p.dec.ReadValue()
	if err != nil {
		return "", false
	}
	end := int(p.dec.InputOffset())
	return p.text[end-len(v) : end], true
}

func (p *jsonParser) string() (string, bool) {
	quoted, ok := p.literal()
	if !ok {
		return "", false
	}
	if strings.IndexByte(quoted, '\\') < 0 {
		return quoted[1 : len(quoted)-1], true
	}
	b, err := jsontext.AppendUnquote(nil, quoted)
	return string(b), err == nil
}

// ended reads the end of an object or array, if that comes next.
func (p *jsonParser) ended(k jsontext.Kind) bool {
	if p.dec.PeekKind() != k {
		return false
	}
	_, err := p.dec.ReadToken()
	return err == nil
}

func (p *jsonParser) object(depth int) (*node, bool) {
	n := p.node('{')
	open := len(p.openMembers)
	var seen map[string]bool
	for !p.ended('}') {
		if p.dec.PeekKind() != '"' {
			return nil, false
		}
		name, ok := p.string()
		if !ok || hasMember(p.openMembers[open:], name, &seen) {
			return nil, false
		}
		v, ok := p.value(depth + 1)
		if !ok {
			return nil, false
		}
		p.openMembers = append(p.openMembers, member{name, v})
	}
	n.members = keep(&p.members, p.openMembers[open:], p.atOnce())
	p.openMembers = p.openMembers[:open]
	return n, true
}

func (p *jsonParser) array(depth int) (*node, bool) {
	n := p.node('[')
	open := len(p.openItems)
	for !p.ended(']') {
		v, ok := p.value(depth + 1)
		if !ok {
			return nil, false
		}
		p.openItems = append(p.openItems, v)
	}
	n.items = keep(&p.items, p.openItems[open:], 4)
	p.openItems = p.openItems[:open]
	return n, true
}
