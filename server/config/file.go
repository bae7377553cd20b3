package config

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/pelletier/go-toml/v2"
	"github.com/pelletier/go-toml/v2/unstable"
)

// file reads a TOML file. The library's own decoding ends at the first value of a wrong type, and we want all of them,
// with their lines; so its parser is walked for values and positions, and its decoder asked whether the document is TOML
// at all. Keys match in their exact case.
func (l *loader) file(name, given string) {
	data, err := os.ReadFile(name)
	if err != nil {
		l.problems = append(l.problems, Problem{Source: given, Text: fmt.Sprintf("cannot read %s: %v", name, cause(err))})
		return
	}
	l.File = name
	if bytes.HasPrefix(data, []byte{0xFF, 0xFE}) || bytes.HasPrefix(data, []byte{0xFE, 0xFF}) {
		l.problems = append(l.problems, Problem{File: name, Text: "the file is UTF-16; save it as UTF-8"})
		return
	}
	data = bytes.TrimPrefix(data, []byte("\uFEFF"))

	d := &document{loader: l, name: name}
	d.p.Reset(data)
	table, known := []string(nil), true
	for d.p.NextExpression() {
		switch e := d.p.Expression(); e.Kind {
		case unstable.Table, unstable.ArrayTable:
			table, known = d.header(e)
		case unstable.KeyValue:
			if known {
				d.keyValue(table, e)
			}
		default: // a comment
		}
	}
	var syntax *unstable.ParserError
	if errors.As(d.p.Error(), &syntax) {
		pos := d.p.Shape(d.p.Range(syntax.Highlight)).Start
		d.notTOML(origin{file: name, line: pos.Line, col: pos.Column}, syntax.Message)
	}
	var wrong *toml.DecodeError
	if err := toml.Unmarshal(data, new(map[string]any)); errors.As(err, &wrong) {
		line, col := wrong.Position()
		d.notTOML(origin{file: name, line: line, col: col}, wrong.Error())
	} else if err != nil {
		d.notTOML(origin{file: name}, err.Error())
	}
}

// notTOML notes what the library has against the document, unless something is noted of that place already.
func (d *document) notTOML(at origin, text string) {
	if !slices.ContainsFunc(d.problems, func(p Problem) bool { return p.Line == at.line && p.Column == at.col }) {
		d.wrong(at, "", "this is not TOML: %s", strings.TrimPrefix(text, "toml: "))
	}
}

type document struct {
	*loader
	name string
	p    unstable.Parser
}

func (d *document) at(n *unstable.Node) origin {
	pos := d.p.Shape(n.Raw).Start
	return origin{file: d.name, line: pos.Line, col: pos.Column}
}

func (d *document) wrong(from origin, key, format string, args ...any) {
	d.problems = append(d.problems, from.problem(key, format, args...))
}

func names(it unstable.Iterator) (path []string, first *unstable.Node) {
	for it.Next() {
		if first == nil {
			first = it.Node()
		}
		path = append(path, string(it.Node().Data))
	}
	return path, first
}

// header returns the path of a table. It is not known if something is wrong with it; its keys are then not complained
// about one by one.
func (d *document) header(e *unstable.Node) (path []string, known bool) {
	path, first := names(e.Key())
	name := strings.Join(path, ".")
	_, isKey := findKey(name)
	switch {
	case isKey:
		d.wrong(d.at(first), name, "%s is a value, not a table; write %s = ...", name, path[len(path)-1])
	case !slices.Contains(tables, name):
		hint := ""
		if best := Nearest(name, tables); best != "" {
			hint = "; did you mean [" + best + "]?"
		}
		d.wrong(d.at(first), name, "there is no table [%s]%s", name, hint)
	case e.Kind == unstable.ArrayTable:
		d.wrong(d.at(first), name, "[%s] is there once; write it with single brackets", name)
	default:
		return path, true
	}
	return path, false
}

// keyValue takes over one line, or one member of an inline table.
func (d *document) keyValue(table []string, e *unstable.Node) {
	own, first := names(e.Key())
	path := slices.Concat(table, own)
	name := strings.Join(path, ".")
	value, from := e.Value(), d.at(first)
	if slices.Contains(tables, name) {
		if value.Kind != unstable.InlineTable {
			d.wrong(from, name, "%s is a table; write its keys below a line [%s]", name, name)
			return
		}
		for it := value.Children(); it.Next(); {
			d.keyValue(path, it.Node())
		}
		return
	}
	k, ok := findKey(name)
	if !ok {
		hint := ""
		if best := Nearest(name, paths()); best != "" {
			hint = fmt.Sprintf("; did you mean %s?", best)
		}
		d.wrong(from, name, "there is no key %s%s", name, hint)
		return
	}
	if value.Raw.Length > 0 {
		at := d.at(value)
		from.line, from.col = at.line, at.col
	}
	text, err := scalar(value, reflect.TypeFor[Config]().FieldByIndex(k.index).Type)
	if err != nil {
		d.wrong(from, k.path, "%s: %v", k.path, err)
		return
	}
	d.set(k, text, from)
}

// scalar returns the text of a value if TOML's type is what a field of type t is written as.
func scalar(n *unstable.Node, t reflect.Type) (string, error) {
	text := string(n.Data)
	switch {
	case t == reflect.TypeFor[List]():
		return list(n)
	case t == reflect.TypeFor[Times]() && n.Kind == unstable.Array:
		return list(n)
	case t == reflect.TypeFor[Times]() && n.Kind != unstable.String:
		return "", fmt.Errorf(`%s is no list of durations; write ["30d", "7d"]`, described(n))
	case t == reflect.TypeFor[Duration]() && n.Kind != unstable.String:
		return "", fmt.Errorf("%s is no duration; %s", described(n), durationForm)
	case t == reflect.TypeFor[Size]() && n.Kind != unstable.String:
		return "", fmt.Errorf("%s is no size; %s", described(n), sizeForm)
	case t.Kind() == reflect.Bool && n.Kind != unstable.Bool:
		return "", fmt.Errorf("%s is neither true nor false (they are written without quotes)", described(n))
	case t.Kind() == reflect.String && n.Kind != unstable.String:
		return "", fmt.Errorf("%s is no text; write it in quotes", described(n))
	case t.Kind() == reflect.Int && n.Kind != unstable.Integer:
		return "", fmt.Errorf("%s is no whole number (they are written without quotes)", described(n))
	case t.Kind() == reflect.Int:
		i, err := strconv.ParseInt(text, 0, 64) // TOML also has 0x10 and 1_000
		if err != nil {
			return "", fmt.Errorf("%s is too large a number", text)
		}
		return strconv.FormatInt(i, 10), nil
	}
	return text, nil
}

// list returns the text of a list of texts.
func list(n *unstable.Node) (string, error) {
	if n.Kind != unstable.Array {
		return "", fmt.Errorf(`%s is no list; write ["a", "b"]`, described(n))
	}
	var entries List
	for it := n.Children(); it.Next(); {
		entry := it.Node()
		if entry.Kind == unstable.Comment {
			continue
		}
		text := strings.TrimSpace(string(entry.Data))
		switch {
		case entry.Kind != unstable.String:
			return "", fmt.Errorf("%s in the list is no text; write it in quotes", described(entry))
		case text == "" || strings.Contains(text, ","):
			return "", fmt.Errorf("%q is no entry of a list; write each in quotes of its own", text)
		}
		entries = append(entries, text)
	}
	return entries.String(), nil
}

func described(n *unstable.Node) string {
	switch n.Kind {
	case unstable.Array:
		return "a list"
	case unstable.InlineTable:
		return "a table"
	case unstable.String:
		return strconv.Quote(string(n.Data))
	}
	return string(n.Data)
}
