package scim

import (
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"
)

// jsonParser makes nodes of JSON as it should be, in one pass and with little to throw away: texts are parts of one string, and nodes
// and members come from arrays. It does not say what is wrong with JSON that is not as it should be: that is found out by readNode,
// which decides. What the parser takes, readNode takes too, and makes the same of it (FuzzParse).
type jsonParser struct {
	text string
	at   int

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
	if !utf8.Valid(text) {
		return nil, false
	}
	p := jsonParser{text: string(text)}
	if n, ok = p.value(0); !ok {
		return nil, false
	}
	p.blanks()
	return n, p.at == len(p.text)
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

func (p *jsonParser) blanks() {
	for p.at < len(p.text) {
		switch p.text[p.at] {
		case ' ', '\t', '\n', '\r':
			p.at++
		default:
			return
		}
	}
}

// next skips blanks and returns the byte that follows, 0 at the end.
func (p *jsonParser) next() byte {
	p.blanks()
	if p.at < len(p.text) {
		return p.text[p.at]
	}
	return 0
}

// taken skips c if it comes next.
func (p *jsonParser) taken(c byte) bool {
	if p.next() != c {
		return false
	}
	p.at++
	return true
}

func (p *jsonParser) value(depth int) (*node, bool) {
	switch c := p.next(); c {
	case '{', '[':
		if depth == maxDepth {
			return nil, false
		}
		p.at++
		if c == '{' {
			return p.object(depth)
		}
		return p.array(depth)
	case '"':
		s, ok := p.string()
		n := p.node('"')
		n.text = s
		return n, ok
	case 't':
		return p.node('t'), p.literal("true")
	case 'f':
		return p.node('f'), p.literal("false")
	case 'n':
		return p.node('n'), p.literal("null")
	default:
		from := p.at
		ok := p.number()
		n := p.node('0')
		n.text = p.text[from:p.at]
		return n, ok
	}
}

func (p *jsonParser) literal(word string) bool {
	end := p.at + len(word)
	if end > len(p.text) || p.text[p.at:end] != word {
		return false
	}
	p.at = end
	return true
}

// number skips a number (RFC 8259 section 6).
func (p *jsonParser) number() bool {
	digits := func() bool {
		from := p.at
		for p.at < len(p.text) && isDigit(p.text[p.at]) {
			p.at++
		}
		return p.at > from
	}
	is := func(c byte) bool {
		if p.at < len(p.text) && p.text[p.at] == c {
			p.at++
			return true
		}
		return false
	}
	is('-')
	if !is('0') && !digits() {
		return false
	}
	if is('.') && !digits() {
		return false
	}
	if is('e') || is('E') {
		if !is('+') {
			is('-')
		}
		return digits()
	}
	return true
}

// string reads a string that begins here. All of the text is UTF-8.
func (p *jsonParser) string() (string, bool) {
	from := p.at
	for i := from + 1; i < len(p.text); i++ {
		switch c := p.text[i]; {
		case c == '"':
			p.at = i + 1
			return p.text[from+1 : i], true
		case c == '\\':
			return p.escaped(from, i)
		case c < ' ':
			return "", false
		}
	}
	return "", false
}

// escaped is string for one that is escaped at i.
func (p *jsonParser) escaped(from, i int) (string, bool) {
	for ; i < len(p.text); i++ {
		switch p.text[i] {
		case '\\':
			i++
		case '"':
			p.at = i + 1
			b, err := jsontext.AppendUnquote(nil, p.text[from:p.at])
			return string(b), err == nil
		}
	}
	return "", false
}

func (p *jsonParser) object(depth int) (*node, bool) {
	n := p.node('{')
	if p.taken('}') {
		return n, true
	}
	open := len(p.openMembers)
	var seen map[string]bool
	for {
		if p.next() != '"' {
			return nil, false
		}
		name, ok := p.string()
		if !ok || !p.taken(':') || hasMember(p.openMembers[open:], name, &seen) {
			return nil, false
		}
		v, ok := p.value(depth + 1)
		if !ok {
			return nil, false
		}
		p.openMembers = append(p.openMembers, member{name, v})
		if p.taken('}') {
			break
		}
		if !p.taken(',') {
			return nil, false
		}
	}
	n.members = keep(&p.members, p.openMembers[open:], p.atOnce())
	p.openMembers = p.openMembers[:open]
	return n, true
}

func (p *jsonParser) array(depth int) (*node, bool) {
	n := p.node('[')
	if p.taken(']') {
		return n, true
	}
	open := len(p.openItems)
	for {
		v, ok := p.value(depth + 1)
		if !ok {
			return nil, false
		}
		p.openItems = append(p.openItems, v)
		if p.taken(']') {
			break
		}
		if !p.taken(',') {
			return nil, false
		}
	}
	n.items = keep(&p.items, p.openItems[open:], 4)
	p.openItems = p.openItems[:open]
	return n, true
}
