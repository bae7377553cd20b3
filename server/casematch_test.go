package server

import (
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"time"
)

// What a case expects of an answer. Everything that is not understood is a problem, so
// that a misspelled matcher cannot let a case pass.

// matchAt compares what is at path in answer with what a case expects there.
func matchAt(answer any, path string, want any) error {
	got, err := resolvePath(answer, path)
	if err != nil {
		return err
	}
	if err := match(answer, got, want); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return nil
}

// matcher is one of the $words. arg is what the case gives it, answer the whole answer, for those that name another path.
type matcher func(answer, got, arg any) error

var matchers map[string]matcher // filled below: some of them call match

func init() {
	matchers = map[string]matcher{
		"$any": matchAny, "$oneOf": matchAny,
		"$re": matchRegexp, "$regex": matchRegexp,
		"$has": matchHas, "$contains": matchHas,
		"$type":        matchType,
		"$gt":          matchGreater,
		"$eq":          matchEqualTo,
		"$exists":      matchExists,
		"$absent":      func(_, got, arg any) error { return matchFlag(unassigned(got), got, arg, "absent") },
		"$empty":       func(_, got, arg any) error { return matchFlag(empty(got), got, arg, "empty") },
		"$len":         func(_, got, arg any) error { return matchLen(got, arg, false) },
		"$lenOrAbsent": func(_, got, arg any) error { return matchLen(got, arg, true) },
		"$gte":         func(_, got, arg any) error { return matchBetween(got, arg, nil) },
		"$between":     matchRange,
		"$caseEq":      matchFolded,
	}
}

// match compares one value; got is nil for what is absent.
func match(answer, got, want any) error {
	o, ok := want.(map[string]any)
	isMatcher := ok && slices.ContainsFunc(keys(o), func(k string) bool { return strings.HasPrefix(k, "$") && k != "$ref" })
	if isMatcher {
		if len(o) != 1 {
			return fmt.Errorf("a matcher has one member, this one has %s", strings.Join(keys(o), ", "))
		}
		for name, arg := range o {
			m := matchers[name]
			if m == nil {
				return fmt.Errorf("there is no matcher %s", name)
			}
			return m(answer, got, arg)
		}
	}
	if want == nil {
		return fmt.Errorf("null is no expectation; use absent or $absent")
	}
	if !equalJSON(got, want) {
		return fmt.Errorf("got %s, want %s", show(got), show(want))
	}
	return nil
}

func matchAny(answer, got, arg any) error {
	l, ok := arg.([]any)
	if !ok || len(l) == 0 {
		return errors.New("$any wants a list")
	}
	for _, want := range l {
		if want == nil && unassigned(got) || want != nil && match(answer, got, want) == nil {
			return nil
		}
	}
	return fmt.Errorf("got %s, want any of %s", show(got), show(arg))
}

func matchRegexp(_, got, arg any) error {
	pattern, ok := arg.(string)
	if !ok {
		return errors.New("$re wants a string")
	}
	s, ok := got.(string)
	if !ok {
		return fmt.Errorf("got %s, want a string like %s", show(got), pattern)
	}
	return matchPattern(s, pattern)
}

// matchPattern matches s with a regular expression. Go has no negative lookahead; the one form that the cases use,
// ^(?!x)y, is taken apart: s must match ^y and must not match ^x.
func matchPattern(s, pattern string) error {
	unwanted := ""
	yes := pattern
	if rest, ok := strings.CutPrefix(pattern, "^(?!"); ok {
		var after string
		if unwanted, after, ok = strings.Cut(rest, ")"); !ok {
			return fmt.Errorf("%s cannot be read", pattern)
		}
		yes = "^" + after
	}
	re, err := regexp.Compile(yes)
	if err != nil {
		return err
	}
	if !re.MatchString(s) {
		return fmt.Errorf("got %q, want something like %s", s, pattern)
	}
	if unwanted == "" {
		return nil
	}
	if re, err = regexp.Compile("^(?:" + unwanted + ")"); err != nil {
		return err
	}
	if re.MatchString(s) {
		return fmt.Errorf("got %q, want something like %s", s, pattern)
	}
	return nil
}

func matchHas(answer, got, arg any) error {
	l, ok := got.([]any)
	if !ok || !slices.ContainsFunc(l, func(e any) bool { return match(answer, e, arg) == nil }) {
		return fmt.Errorf("got %s, want a list with %s", show(got), show(arg))
	}
	return nil
}

func matchType(_, got, arg any) error {
	is := false
	switch arg {
	case "string":
		_, is = got.(string)
	case "number":
		_, is = got.(json.Number)
	case "integer":
		r := number(got)
		is = r != nil && r.IsInt()
	case "boolean":
		_, is = got.(bool)
	case "array":
		_, is = got.([]any)
	case "object":
		_, is = got.(map[string]any)
	default:
		return fmt.Errorf("$type does not know %s", show(arg))
	}
	if !is {
		return fmt.Errorf("got %s, want a value of type %s", show(got), arg)
	}
	return nil
}

// another returns the value at the path that a matcher names.
func another(answer, arg any) (any, error) {
	path, ok := arg.(string)
	if !ok {
		return nil, fmt.Errorf("expected is a path, not %s", show(arg))
	}
	v, err := resolvePath(answer, path)
	if err == nil && v == nil {
		err = fmt.Errorf("there is nothing at %s to compare with", path)
	}
	return v, err
}

func matchGreater(answer, got, arg any) error {
	than, err := another(answer, arg)
	if err != nil {
		return err
	}
	greater := false
	a, isText := got.(string)
	b, areTexts := than.(string)
	if isText && areTexts {
		s, err := time.Parse(time.RFC3339Nano, a)
		t, err2 := time.Parse(time.RFC3339Nano, b)
		greater = a > b
		if err == nil && err2 == nil {
			greater = s.After(t)
		}
	} else if x, y := number(got), number(than); x != nil && y != nil {
		greater = x.Cmp(y) > 0
	}
	if !greater {
		return fmt.Errorf("got %s, want more than %s at %s", show(got), show(than), arg)
	}
	return nil
}

func matchEqualTo(answer, got, arg any) error {
	other, err := another(answer, arg)
	if err == nil && !equalJSON(got, other) {
		err = fmt.Errorf("got %s, want %s as at %s", show(got), show(other), arg)
	}
	return err
}

func matchExists(_, got, arg any) error { return matchFlag(got != nil, got, arg, "there") }

func matchFlag(is bool, got, arg any, what string) error {
	want, ok := arg.(bool)
	if !ok {
		return fmt.Errorf("expected is true or false, not %s", show(arg))
	}
	if is != want {
		return fmt.Errorf("got %s; whether it is %s should be %v", show(got), what, want)
	}
	return nil
}

// empty says whether v holds nothing: an empty text and an object without members do not either.
func empty(v any) bool {
	o, ok := v.(map[string]any)
	return unassigned(v) || v == "" || ok && len(o) == 0
}

func matchLen(got, arg any, orAbsent bool) error {
	want := number(arg)
	if want == nil {
		return fmt.Errorf("expected is a number, not %s", show(arg))
	}
	l, ok := got.([]any)
	if got == nil && orAbsent {
		return nil
	}
	if !ok || want.Cmp(new(big.Rat).SetInt64(int64(len(l)))) != 0 {
		return fmt.Errorf("got %s, want a list of %s", show(got), show(arg))
	}
	return nil
}

func matchRange(_, got, arg any) error {
	l, ok := arg.([]any)
	if !ok || len(l) != 2 {
		return fmt.Errorf("$between wants two numbers, not %s", show(arg))
	}
	return matchBetween(got, l[0], l[1])
}

func matchBetween(got, low, high any) error {
	if number(low) == nil || high != nil && number(high) == nil {
		return fmt.Errorf("%s and %s are no bounds", show(low), show(high))
	}
	n := number(got)
	if n == nil || n.Cmp(number(low)) < 0 || high != nil && n.Cmp(number(high)) > 0 {
		return fmt.Errorf("got %s, want a number from %s to %s", show(got), show(low), show(high))
	}
	return nil
}

func matchFolded(_, got, arg any) error {
	a, ok := got.(string)
	b, ok2 := arg.(string)
	if !ok || !ok2 || !strings.EqualFold(a, b) {
		return fmt.Errorf("got %s, want %s in any case", show(got), show(arg))
	}
	return nil
}

// matchHeaders compares headers: a regular expression or a matcher for each, null for one that must not be there.
func matchHeaders(got http.Header, want map[string]any) []error {
	var errs []error
	for _, name := range keys(want) {
		var value any
		if v := got.Values(name); len(v) > 0 {
			value = strings.Join(v, ", ")
		}
		var err error
		switch w := want[name].(type) {
		case nil:
			if value != nil {
				err = fmt.Errorf("got %s, want none", show(value))
			}
		case string:
			err = matchRegexp(nil, value, w)
		default:
			err = match(nil, value, w)
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("header %s: %w", name, err))
		}
	}
	return errs
}
