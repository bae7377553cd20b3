package config

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// Problem is one thing that is wrong, where it is, and what would be right.
type Problem struct {
	Key    string `json:"key,omitempty"` // the key it is about, such as scim.max_results; "" if it is about none
	File   string `json:"file,omitempty"`
	Line   int    `json:"line,omitempty"`   // from 1; 0 if the problem is not in the file
	Column int    `json:"column,omitempty"` // from 1, in bytes
	Source string `json:"source,omitempty"` // the environment variable or the flag, if not the file
	Text   string `json:"problem"`
}

func (p Problem) String() string {
	switch {
	case p.Line > 0:
		return fmt.Sprintf("%s:%d:%d: %s", p.File, p.Line, p.Column, p.Text)
	case p.File != "":
		return p.File + ": " + p.Text
	case p.Source != "":
		return p.Source + ": " + p.Text
	}
	return p.Text
}

// Problems is the error of a configuration that cannot be: all that is wrong with it, in the order of the file, then of
// the environment, then of the flags.
type Problems []Problem

func (l Problems) Error() string {
	var b strings.Builder
	for i, p := range l {
		if i > 0 {
			b.WriteByte('\n')
		}
		b.WriteString(p.String())
	}
	return b.String()
}

// sort puts what is wrong in files first, in the order in which they are read; what is of the environment and the flags
// stays in its order.
func (l Problems) sort() {
	slices.SortStableFunc(l, func(a, b Problem) int {
		if (a.Line > 0) != (b.Line > 0) {
			return cmp.Compare(b.Line, a.Line)
		}
		return cmp.Or(cmp.Compare(a.File, b.File), cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column))
	})
}
