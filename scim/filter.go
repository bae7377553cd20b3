package scim

import (
	"regexp"
	"strings"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"
)

// This file is the grammar of filters (RFC 7644 section 3.4.2.2, figure 1) and of the names in them. It knows no schema: a
// filter that parses may still mean nothing, which BindFilter finds out.

// Limits on a filter. Longer ones are refused before anything is done with them.
const (
	maxFilterLength = 8 << 10 // bytes
	maxFilterDepth  = 50      // parentheses and brackets inside each other
	maxFilterTerms  = 200     // comparisons
)

// Op is the operator of a node of a filter.
type Op uint8

// The operators of RFC 7644 section 3.4.2.2. OpValuePath is the condition in brackets that one value of a multi-valued
// attribute has to satisfy as a whole.
const (
	OpAnd Op = iota + 1
	OpOr
	OpNot
	OpValuePath
	OpPr
	OpEq
	OpNe
	OpCo
	OpSw
	OpEw
	OpGt
	OpGe
	OpLt
	OpLe
)

var opNames = [...]string{
	OpAnd: "and", OpOr: "or", OpNot: "not", OpValuePath: "[]", OpPr: "pr", OpEq: "eq", OpNe: "ne", OpCo: "co", OpSw: "sw",
	OpEw: "ew", OpGt: "gt", OpGe: "ge", OpLt: "lt", OpLe: "le",
}

// String returns the operator as filters have it, in lower case.
func (o Op) String() string { return opNames[o] }

// comparison finds the operator of an attribute expression by its name, without regard to case; 0 if there is none.
func comparison(name string) Op {
	for o := OpPr; o <= OpLe; o++ {
		if sameName(name, opNames[o]) {
			return o
		}
	}
	return 0
}

// FilterOptions are what ParseFilter accepts beyond the grammar; the zero value is the grammar. See quirks.
type FilterOptions struct {
	ValuePathSub    bool // emails[type eq "work"].value eq "x": read as emails[type eq "work" and value eq "x"]
	BareWords       bool // userName eq bjensen: text without quotes, up to a blank, parenthesis or bracket
	CapitalLiterals bool // active eq True: true, false and null in any case
}

// AttrPath is a name in attribute notation (RFC 7644 section 3.10) as it was written. Where the URI of a name ends only
// the schemas can tell, because "2.0" holds a dot and the URN of an extension alone has the form of an attribute's name.
// So a name with a colon is not taken apart here.
type AttrPath struct {
	Name string // "name"; or all of "urn:ietf:params:scim:schemas:core:2.0:User:name.familyName"
	Sub  string // "familyName", if Name is not qualified
}

// String returns the name as it was written.
func (a AttrPath) String() string {
	if a.Sub == "" {
		return a.Name
	}
	return a.Name + "." + a.Sub
}

// Expr is a parsed filter: a tree of operators. Parentheses are not part of it; the operands of an operator `and` are never
// `and` themselves, nor those of an `or`.
type Expr struct {
	Op   Op
	Attr AttrPath // of a comparison, pr, value path
	Args []*Expr  // operands of and, or: two at least; of not, of a value path: one

	value *node // of a comparison: a string, a number, true, false or null
	at    int   // offset in the filter, for errors
}

// String prints e in canonical form: operators in lower case, one blank between words, strings with no more escapes than
// JSON asks for, and parentheses where `and` and `or` meet, though `and` binds tighter. Parsing it gives the same filter.
func (e *Expr) String() string { return string(e.appendTo(nil, 0)) }

func (e *Expr) appendTo(b []byte, within Op) []byte {
	switch e.Op {
	case OpAnd, OpOr:
		if within != 0 {
			b = append(b, '(')
		}
		for i, a := range e.Args {
			if i > 0 {
				b = append(append(append(b, ' '), e.Op.String()...), ' ')
			}
			b = a.appendTo(b, e.Op)
		}
		if within != 0 {
			b = append(b, ')')
		}
		return b
	case OpNot:
		return append(e.Args[0].appendTo(append(b, "not ("...), 0), ')')
	case OpValuePath:
		return append(e.Args[0].appendTo(append(append(b, e.Attr.String()...), '['), 0), ']')
	}
	b = append(append(append(b, e.Attr.String()...), ' '), e.Op.String()...)
	if e.value == nil {
		return b
	}
	v := string(e.value.appendJSON(nil))
	return append(append(b, ' '), strings.ReplaceAll(v, "\ufffd", `\ufffd`)...)
}

// ParseFilter reads a filter. An error is an *Error that says at which byte, counted from 0, the filter goes wrong.
func ParseFilter(s string, o FilterOptions) (*Expr, error) {
	p := filterParser{s: s, o: o, what: "filter", scimType: InvalidFilter}
	if err := p.check(); err != nil {
		return nil, err
	}
	if p.blanks(); p.at == len(s) {
		return nil, bad(InvalidFilter, `the filter is empty; expected is a comparison, such as userName eq "bjensen", or no filter at all`)
	}
	e, err := p.or()
	if err != nil {
		return nil, err
	}
	if p.blanks(); p.at < len(s) {
		return nil, p.fail(p.at, `found %s; expected is "and" or "or" after a blank, or the end`, p.next())
	}
	return e, nil
}

// filterParser reads filters, and the paths and names that are made of the same words.
type filterParser struct {
	s        string
	at       int
	o        FilterOptions
	what     string // "filter", "path": what s is, for errors
	scimType string // of errors
	depth    int
	terms    int
	inside   bool // the brackets of a value path
}

func (p *filterParser) fail(at int, format string, args ...any) error {
	return within("the "+p.what+", at byte "+itoa(at), bad(p.scimType, format, args...))
}

// check refuses what is too long or no text. U+FFFD is what programs put in the place of text that they could not decode,
// so that no filter can mean it; written as \ufffd it can.
func (p *filterParser) check() error {
	if len(p.s) > maxFilterLength {
		return bad(p.scimType, "the %s has %d bytes, more than %d", p.what, len(p.s), maxFilterLength)
	}
	for i, r := range p.s {
		if r == utf8.RuneError {
			return p.fail(i, "this is no UTF-8, or was none on its way here; expected is text in UTF-8")
		}
	}
	return nil
}

func (p *filterParser) blanks() {
	for p.at < len(p.s) && p.s[p.at] == ' ' {
		p.at++
	}
}

// peek returns the next byte; 0 at the end.
func (p *filterParser) peek() byte {
	if p.at < len(p.s) {
		return p.s[p.at]
	}
	return 0
}

// next describes what comes next, for errors: a word or a character, and nothing of a string, which may be a secret.
func (p *filterParser) next() string {
	switch rest := p.s[p.at:]; {
	case rest == "":
		return "the end"
	case rest[0] == '"':
		return "a string"
	default:
		n := strings.IndexFunc(rest, func(r rune) bool { return r > 0x7F || !isNameByte(byte(r)) })
		if n < 0 {
			n = len(rest)
		} else if n == 0 {
			_, n = utf8.DecodeRuneInString(rest)
		}
		return quote(rest[:n])
	}
}

// or reads terms of `and` that are joined by `or`, which binds less tightly.
func (p *filterParser) or() (*Expr, error) { return p.joined(OpOr, p.and) }

func (p *filterParser) and() (*Expr, error) { return p.joined(OpAnd, p.term) }

func (p *filterParser) joined(op Op, operand func() (*Expr, error)) (*Expr, error) {
	e, err := operand()
	if err != nil || !p.logical(op) {
		return e, err
	}
	all := &Expr{Op: op, at: e.at}
	for more := true; ; more = p.logical(op) {
		if e.Op == op { // it stood in parentheses that change nothing
			all.Args = append(all.Args, e.Args...)
		} else {
			all.Args = append(all.Args, e)
		}
		if !more {
			return all, nil
		}
		if e, err = operand(); err != nil {
			return nil, err
		}
	}
}

// logical reads `and` or `or`. A blank stands before it, and after it a blank or the parenthesis of a group; the grammar
// wants a blank there too.
func (p *filterParser) logical(op Op) bool {
	start := p.at
	p.blanks()
	end := p.at + len(op.String())
	if p.at == start || end > len(p.s) || !sameName(p.s[p.at:end], op.String()) || end < len(p.s) && p.s[end] != ' ' && p.s[end] != '(' {
		p.at = start
		return false
	}
	p.at = end
	return true
}

// term reads a group, a negation, a value path or an attribute expression.
func (p *filterParser) term() (*Expr, error) {
	p.blanks()
	start := p.at
	if p.peek() == '(' {
		return p.nested(')')
	}
	expected := `a comparison, such as userName eq "bjensen"`
	if p.inside {
		expected = `a comparison, such as type eq "work"`
	}
	name, err := p.name(expected)
	if err != nil {
		return nil, err
	}
	if sameName(name.Name, "not") && name.Sub == "" {
		// RFC 7644's grammar has "not(" and its examples "not (" (erratum 7319). An attribute may be called "not" too, but
		// no parenthesis follows that.
		after := p.at
		if p.blanks(); p.peek() == '(' {
			e, err := p.nested(')')
			if err != nil {
				return nil, err
			}
			return &Expr{Op: OpNot, Args: []*Expr{e}, at: start}, nil
		}
		p.at = after
	}
	if p.peek() == '[' {
		return p.valuePath(name, start)
	}
	return p.comparison(name, start)
}

// nested reads what stands in parentheses or brackets, of which the opening one comes next.
func (p *filterParser) nested(end byte) (*Expr, error) {
	start := p.at
	if p.depth++; p.depth > maxFilterDepth {
		return nil, p.fail(p.at, "parentheses and brackets are nested deeper than %d levels", maxFilterDepth)
	}
	p.at++
	e, err := p.or()
	if err != nil {
		return nil, err
	}
	if p.blanks(); p.peek() != end {
		return nil, p.fail(p.at, `found %s; expected is "and" or "or" after a blank, or the %q that closes byte %d`, p.next(), string(end), start)
	}
	p.at++
	p.depth--
	return e, nil
}

// valuePath reads the brackets behind name, and where it is allowed a comparison of a sub-attribute behind them.
func (p *filterParser) valuePath(name AttrPath, start int) (*Expr, error) {
	e, err := p.brackets(name, start)
	if err != nil || p.peek() != '.' {
		return e, err
	}
	if !p.o.ValuePathSub {
		return nil, p.fail(p.at, `a filter compares inside of the brackets: %s[type eq "work" and value eq "x"]; only paths of PATCH go on behind them`, clip(name.Name))
	}
	at := p.at + 1
	sub, err := p.subName()
	if err != nil {
		return nil, err
	}
	c, err := p.comparison(AttrPath{Name: sub}, at)
	if err != nil {
		return nil, err
	}
	both := &Expr{Op: OpAnd, Args: []*Expr{e.Args[0], c}, at: e.Args[0].at}
	if e.Args[0].Op == OpAnd {
		both.Args = append(e.Args[0].Args[:len(e.Args[0].Args):len(e.Args[0].Args)], c)
	}
	e.Args[0] = both
	return e, nil
}

// brackets reads a value path, of which the name has been read.
func (p *filterParser) brackets(name AttrPath, start int) (*Expr, error) {
	switch {
	case p.inside:
		return nil, p.fail(p.at, "brackets inside of brackets: a sub-attribute has no sub-attributes")
	case name.Sub != "":
		return nil, p.fail(p.at, "%q is one value of each %q; brackets stand behind the name of an attribute: %s[...]", clip(name.String()), clip(name.Name), clip(name.Name))
	}
	p.inside = true
	e, err := p.nested(']')
	p.inside = false
	if err != nil {
		return nil, err
	}
	return &Expr{Op: OpValuePath, Attr: name, Args: []*Expr{e}, at: start}, nil
}

// comparison reads an attribute expression, of which the name has been read.
func (p *filterParser) comparison(name AttrPath, start int) (*Expr, error) {
	const operators = "eq, ne, co, sw, ew, pr, gt, ge, lt or le"
	if p.terms++; p.terms > maxFilterTerms {
		return nil, p.fail(start, "there are more than %d comparisons", maxFilterTerms)
	}
	if p.peek() != ' ' {
		return nil, p.fail(p.at, "found %s behind %s; expected is a blank and an operator: %s", p.next(), quote(name.String()), operators)
	}
	p.blanks()
	at := p.at
	for p.at < len(p.s) && isNameByte(p.s[p.at]) {
		p.at++
	}
	word := p.s[at:p.at]
	e := &Expr{Op: comparison(word), Attr: name, at: start}
	switch {
	case word == "":
		return nil, p.fail(at, "found %s; expected is an operator: %s", p.next(), operators)
	case e.Op == 0:
		return nil, p.fail(at, "%s is no operator; expected is %s", quote(word), operators)
	case e.Op == OpPr:
		return e, nil
	case p.peek() != ' ' && p.peek() != '"': // RFC 7644 section 3.5.2.2 has an example without the blank
		return nil, p.fail(p.at, "found %s behind %s; expected is a blank and a value", p.next(), quote(word))
	}
	p.blanks()
	var err error
	e.value, err = p.value()
	return e, err
}

// isNameByte says whether c may stand in an attribute's name, behind its first character (RFC 7643 section 2.1).
func isNameByte(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || isDigit(c) || c == '-' || c == '_' || c == '$'
}

// beginsName says whether c may begin a name. A dollar sign may only because RFC 7643 itself has "$ref" (erratum 8924).
func beginsName(c byte) bool { return isNameByte(c) && !isDigit(c) && c != '-' && c != '_' }

// name reads a name in attribute notation.
func (p *filterParser) name(expected string) (AttrPath, error) {
	start := p.at
	if !beginsName(p.peek()) {
		return AttrPath{}, p.fail(p.at, "found %s; expected is %s", p.next(), expected)
	}
	qualified := false
	for ; p.at < len(p.s); p.at++ {
		c := p.s[p.at]
		if c == ':' {
			qualified = true
		}
		// The id of a schema may be any URI (RFC 7643 section 7).
		if !isNameByte(c) && c != '.' && !(qualified && strings.IndexByte(":/?#@!&'()*+,;=%~", c) >= 0) {
			break
		}
	}
	text := p.s[start:p.at]
	if last := text[len(text)-1]; last == '.' || last == ':' {
		return AttrPath{}, p.fail(p.at, "found %s behind %s; expected is a name", p.next(), quote(text))
	}
	if qualified {
		return AttrPath{Name: text}, nil
	}
	name, sub, dotted := strings.Cut(text, ".")
	if dotted && (strings.Contains(sub, ".") || !beginsName(sub[0])) {
		return AttrPath{}, p.fail(start, "%s is no attribute and sub-attribute; expected is the form name.familyName", quote(text))
	}
	return AttrPath{Name: name, Sub: sub}, nil
}

// subName reads the name of a sub-attribute and the dot before it.
func (p *filterParser) subName() (string, error) {
	p.at++
	start := p.at
	if beginsName(p.peek()) {
		for p.at < len(p.s) && isNameByte(p.s[p.at]) {
			p.at++
		}
	}
	if p.at == start {
		return "", p.fail(p.at, "found %s behind the dot; expected is the name of a sub-attribute", p.next())
	}
	return p.s[start:p.at], nil
}

// isControl says whether r is a character that may not stand in a string as it is.
func isControl(r rune) bool { return r < ' ' }

// value reads the value of a comparison, which is one of JSON (RFC 7644 section 3.4.2.2, figure 1: compValue).
func (p *filterParser) value() (*node, error) {
	const expected = "expected is a string in double quotes, a number, true, false or null"
	start := p.at
	if p.peek() == '"' {
		return p.text()
	}
	if n := strings.IndexAny(p.s[p.at:], ` ()[]"`); n >= 0 {
		p.at += n
	} else {
		p.at = len(p.s)
	}
	word := p.s[start:p.at]
	if word == "" {
		return nil, p.fail(start, "found %s; %s", p.next(), expected)
	}
	for _, k := range []string{"true", "false", "null"} {
		if word == k || p.o.CapitalLiterals && sameName(word, k) {
			return &node{kind: jsontext.Kind(k[0])}, nil
		}
	}
	switch c := word[0]; {
	case numberForm.MatchString(word):
		return &node{kind: '0', text: word}, nil
	case p.o.BareWords && (beginsName(c) || isDigit(c) || c >= utf8.RuneSelf) && p.peek() != '"' && !strings.ContainsFunc(word, isControl):
		return &node{kind: '"', text: word}, nil
	}
	return nil, p.fail(start, "found something that is not in double quotes; %s", expected)
}

// numberForm is the form of a number in JSON (RFC 8259 section 6).
var numberForm = regexp.MustCompile(`^-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?$`)

// text reads a string of JSON.
func (p *filterParser) text() (*node, error) {
	start := p.at
	escaped := false
	for i := start + 1; i < len(p.s); i++ {
		switch c := p.s[i]; {
		case c == '\\':
			escaped = true
			i++
		case c < ' ':
			return nil, p.fail(i, "a control character stands in a string; write it as \\u%04x", c)
		case c == '"':
			p.at = i + 1
			if !escaped {
				return &node{kind: '"', text: p.s[start+1 : i]}, nil
			}
			b, err := jsontext.AppendUnquote(nil, p.s[start:p.at])
			if err != nil {
				return nil, p.fail(start, `an escape in the string is none of JSON; there are \" \\ \/ \b \f \n \r \t, and \u with four hexadecimal digits, in pairs for surrogates`)
			}
			return &node{kind: '"', text: string(b)}, nil
		}
	}
	return nil, p.fail(start, "the string that begins here does not end")
}
