package scim

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/go-json-experiment/json/jsontext"
)

// SchemaFileError is everything that is wrong with a file of custom schemas and resource types, in the order of the
// file, so that the operator corrects it once and not once for each problem.
type SchemaFileError struct {
	File     string
	Problems []SchemaProblem
}

// SchemaProblem is one thing that is wrong: where (counted from 1, the column in bytes) and what, with what was expected.
type SchemaProblem struct {
	Line, Column int
	Text         string
}

// Error lists the problems, one a line, each in the form "file:line:column: what" that editors can jump to.
func (e *SchemaFileError) Error() string {
	var b strings.Builder
	for i, p := range e.Problems {
		if i > 0 {
			b.WriteByte('\n')
		}
		fmt.Fprintf(&b, "%s:%d:%d: %s", e.File, p.Line, p.Column, p.Text)
	}
	return b.String()
}

// located is a JSON value that knows where in its file it stands. Request bodies have no need of that: see node.
type located struct {
	at      int // offset of the value's first byte
	kind    jsontext.Kind
	text    string // of a string, unescaped; of a number, its JSON text
	members []locatedMember
	items   []*located
}

type locatedMember struct {
	name  string
	at    int // offset of the name
	value *located
}

// get returns the member of an object of exactly this name; nil if there is none or it is null, which means the same
// (RFC 7643 section 2.5).
func (p *located) get(name string) *located {
	for _, m := range p.members {
		if m.name == name && m.value.kind != 'n' {
			return m.value
		}
	}
	return nil
}

// found describes p for an error message, with its value: unlike a request's, it is no secret.
func (p *located) found() string {
	switch p.kind {
	case '{':
		return "an object"
	case '[':
		return "an array"
	case '"':
		return quote(p.text)
	case '0':
		return clip(p.text)
	case 't':
		return "true"
	case 'f':
		return "false"
	default:
		return "null"
	}
}

// locatedReader reads a file into located values.
type locatedReader struct {
	data []byte
	d    *jsontext.Decoder
}

// readLocated reads the one JSON value that data must be. An error is a *locatedError.
func readLocated(data []byte) (*located, error) {
	r := locatedReader{data, jsontext.NewDecoder(bytes.NewReader(data))}
	p, err := r.value(0)
	if err != nil {
		return nil, err
	}
	if at := r.next(); at < len(data) {
		return nil, &locatedError{at, "the file goes on after its JSON value; expected is one object"}
	}
	return p, nil
}

type locatedError struct {
	at   int
	text string
}

func (e *locatedError) Error() string { return e.text }

// next returns the offset at which the next token starts.
func (r *locatedReader) next() int {
	at := int(r.d.InputOffset())
	return at + len(r.data[at:]) - len(bytes.TrimLeft(r.data[at:], " \t\r\n,:"))
}

func (r *locatedReader) value(depth int) (*located, error) {
	p := &located{at: r.next()}
	if depth > maxDepth {
		return nil, &locatedError{p.at, fmt.Sprintf("the JSON is nested deeper than %d levels", maxDepth)}
	}
	t, err := r.d.ReadToken()
	if err != nil {
		return nil, r.syntax(err)
	}
	switch p.kind = t.Kind(); p.kind {
	case '"', '0':
		p.text = t.String()
	case '[':
		for r.d.PeekKind() != ']' {
			v, err := r.value(depth + 1)
			if err != nil {
				return nil, err
			}
			p.items = append(p.items, v)
		}
	case '{':
		for r.d.PeekKind() != '}' {
			m := locatedMember{at: r.next()}
			name, err := r.d.ReadToken()
			if err != nil {
				return nil, r.syntax(err)
			}
			m.name = name.String()
			if m.value, err = r.value(depth + 1); err != nil {
				return nil, err
			}
			p.members = append(p.members, m)
		}
	}
	if p.kind == '[' || p.kind == '{' {
		if _, err := r.d.ReadToken(); err != nil {
			return nil, r.syntax(err)
		}
	}
	return p, nil
}

func (r *locatedReader) syntax(err error) error {
	if errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF) {
		return &locatedError{len(bytes.TrimRight(r.data, " \t\r\n")), "the JSON ends in the middle; something is not closed"}
	}
	e := &locatedError{r.next(), "this is no valid JSON"}
	var se *jsontext.SyntacticError
	if errors.As(err, &se) {
		e.at = int(se.ByteOffset)
		if se.Err != nil {
			e.text += ": " + strings.TrimPrefix(se.Err.Error(), "jsontext: ")
		}
	}
	return e
}

// lineColumn turns an offset into the line and column that an editor shows.
func lineColumn(data []byte, at int) (line, column int) {
	before := data[:min(at, len(data))]
	return bytes.Count(before, []byte{'\n'}) + 1, len(before) - bytes.LastIndexByte(before, '\n')
}

// nearest returns the name among known that somebody who wrote name most probably meant; "" if none is like it.
func nearest(name string, known []string) string {
	best, least := "", max(2, len(name)/3)+1
	for _, k := range known {
		if n := editDistance(foldName(name), foldName(k)); n < least {
			best, least = k, n
		}
	}
	return best
}

// didYouMean is the end of a message on a name that is not known.
func didYouMean(name string, known []string) string {
	if k := nearest(name, known); k != "" {
		return fmt.Sprintf("; did you mean %q?", k)
	}
	return "; expected is " + orList(known)
}

// orList writes `"a", "b" or "c"`.
func orList(names []string) string {
	var b strings.Builder
	for i, n := range names {
		switch {
		case i == 0:
		case i == len(names)-1:
			b.WriteString(" or ")
		default:
			b.WriteString(", ")
		}
		fmt.Fprintf(&b, "%q", n)
	}
	return b.String()
}

// editDistance counts the letters to insert, drop or exchange that make b out of a.
func editDistance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost++
			}
			diagonal = row[j+1]
			row[j+1] = min(cost, row[j]+1, diagonal+1)
		}
	}
	return row[len(b)]
}

// sortProblems puts problems into the order of the file, each once.
func sortProblems(l []SchemaProblem) []SchemaProblem {
	slices.SortStableFunc(l, func(a, b SchemaProblem) int {
		if a.Line != b.Line {
			return a.Line - b.Line
		}
		return a.Column - b.Column
	})
	return slices.Compact(l)
}
