package server

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"reflect"
	"slices"
	"strconv"
	"strings"
)

// Where in an answer a case looks, and when two JSON values are the same.

// decodeCase reads JSON with its numbers as they are written.
func decodeCase(data []byte) (any, error) {
	d := json.NewDecoder(bytes.NewReader(data))
	d.UseNumber()
	var v any
	if err := d.Decode(&v); err != nil {
		return nil, err
	}
	if d.More() {
		return nil, errors.New("something follows the JSON value")
	}
	return v, nil
}

// pathStep is one step of a path: a member, an index, the first element whose member has a value, or the length.
type pathStep struct {
	member, is string
	index      int
	kind       byte // m, i, = or #
}

// parsePath reads a path of either file: a.b, [0], [k=v], [urn:...], ["urn:..."] and #.
func parsePath(path string) ([]pathStep, error) {
	var steps []pathStep
	rest := path
	for rest != "" {
		if rest[0] == '[' {
			content, after, ok := strings.Cut(rest[1:], "]")
			if !ok || content == "" {
				return nil, fmt.Errorf("the path %q has an empty or open bracket", path)
			}
			s := pathStep{kind: 'm', member: content}
			if i, err := strconv.Atoi(content); err == nil {
				s = pathStep{kind: 'i', index: i}
			} else if name, ok := strings.CutPrefix(content, `"`); ok {
				if s.member, ok = strings.CutSuffix(name, `"`); !ok {
					return nil, fmt.Errorf("the path %q has an open quote", path)
				}
			} else if k, v, ok := strings.Cut(content, "="); ok {
				s = pathStep{kind: '=', member: k, is: v}
			}
			steps, rest = append(steps, s), after
		} else {
			end := strings.IndexAny(rest, ".[")
			if end < 0 {
				end = len(rest)
			}
			s := pathStep{kind: 'm', member: rest[:end]}
			switch s.member {
			case "":
				return nil, fmt.Errorf("the path %q has an empty step", path)
			case "#":
				s.kind = '#'
			}
			steps, rest = append(steps, s), rest[end:]
		}
		if after, ok := strings.CutPrefix(rest, "."); ok {
			if after == "" {
				return nil, fmt.Errorf("the path %q ends in a dot", path)
			}
			rest = after
		}
	}
	if len(steps) == 0 {
		return nil, errors.New("a path is empty")
	}
	return steps, nil
}

// resolvePath returns what is at path in v, nil for what is not there.
func resolvePath(v any, path string) (any, error) {
	steps, err := parsePath(path)
	if err != nil {
		return nil, err
	}
	for _, s := range steps {
		object, _ := v.(map[string]any)
		list, _ := v.([]any)
		switch s.kind {
		case 'm':
			v = object[s.member]
		case 'i':
			v = nil
			if s.index >= 0 && s.index < len(list) {
				v = list[s.index]
			}
		case '=':
			i := slices.IndexFunc(list, func(e any) bool {
				o, ok := e.(map[string]any)
				return ok && o[s.member] != nil && fmt.Sprint(o[s.member]) == s.is
			})
			v = nil
			if i >= 0 {
				v = list[i]
			}
		case '#':
			if v != nil && list == nil {
				return nil, fmt.Errorf("%s: there is no list to count", path)
			}
			v = json.Number(strconv.Itoa(len(list))) // absent and [] are one state
		}
	}
	return v, nil
}

// unassigned says whether v counts as absent: null and [] do (RFC 7643 section 2.5).
func unassigned(v any) bool {
	l, ok := v.([]any)
	return v == nil || ok && len(l) == 0
}

func keys(o map[string]any) []string {
	var l []string
	for k := range o {
		l = append(l, k)
	}
	slices.Sort(l)
	return l
}

func show(v any) string {
	if v == nil {
		return "nothing"
	}
	b, err := json.Marshal(v)
	if err != nil {
		return fmt.Sprint(v)
	}
	if len(b) > 300 {
		return string(b[:300]) + "..."
	}
	return string(b)
}

// equalJSON is deep equality; numbers are compared by value.
func equalJSON(a, b any) bool {
	switch x := a.(type) {
	case json.Number:
		y, ok := b.(json.Number)
		return ok && number(x) != nil && number(y) != nil && number(x).Cmp(number(y)) == 0
	case []any:
		y, ok := b.([]any)
		return ok && slices.EqualFunc(x, y, equalJSON)
	case map[string]any:
		y, ok := b.(map[string]any)
		if !ok || len(x) != len(y) {
			return false
		}
		for k, v := range x {
			if w, there := y[k]; !there || !equalJSON(v, w) {
				return false
			}
		}
		return true
	}
	return reflect.DeepEqual(a, b)
}

func number(v any) *big.Rat {
	n, ok := v.(json.Number)
	if !ok {
		return nil
	}
	r, ok := new(big.Rat).SetString(n.String())
	if !ok {
		return nil
	}
	return r
}
