package scim

import (
	"bytes"
	"fmt"
	"go/ast"
	"go/parser"
	"go/printer"
	"go/token"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// The details of errors are what an administrator sees of this program when his client does not get through. Their wordings
// are gathered from the source and kept in testdata/details.golden, so that each is read before it is changed or added:
//
//	what was found, what is allowed, and where, in plain words;
//	no value of a secret, and none that is stored.

// wordingAt are the functions that make details, and which of their arguments is the wording.
var wordingAt = map[string]int{
	"bad": 1, "wrong": 2, "unknownName": 0, // functions
	".refuse": 1, ".fail": 1, ".wrong": 1, ".wrongType": 2, // methods
}

func TestDetails(t *testing.T) {
	var lines []string
	for _, dir := range []string{".", "../auth"} {
		names, err := filepath.Glob(dir + "/*.go")
		if err != nil || len(names) == 0 {
			t.Fatalf("%s: %v", dir, err)
		}
		for _, name := range names {
			if strings.HasSuffix(name, "_test.go") {
				continue
			}
			l, err := wordings(name)
			if err != nil {
				t.Fatal(err)
			}
			lines = append(lines, l...)
		}
	}
	slices.Sort(lines)
	got := strings.Join(slices.Compact(lines), "\n") + "\n"
	const golden = "testdata/details.golden"
	if *update {
		if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("wordings have changed; read them, and then go test ./scim -run TestDetails -update; an advice for each is in activity/advice.go: go test ./activity -update\n%s", differing(string(want), got))
	}
}

// wordings returns the wordings in a file, each behind the file and the function that it is in.
func wordings(name string) ([]string, error) {
	files := token.NewFileSet()
	f, err := parser.ParseFile(files, name, nil, parser.SkipObjectResolution)
	if err != nil {
		return nil, err
	}
	var lines []string
	for _, d := range f.Decls {
		in := "-"
		if fn, ok := d.(*ast.FuncDecl); ok {
			in = fn.Name.Name
		}
		ast.Inspect(d, func(n ast.Node) bool {
			var e ast.Expr
			switch n := n.(type) {
			case *ast.CallExpr:
				if at, ok := wordingAt[called(n)]; ok && at < len(n.Args) {
					e = n.Args[at]
				}
			case *ast.KeyValueExpr:
				if k, ok := n.Key.(*ast.Ident); ok && (k.Name == "Detail" || k.Name == "detail") {
					e = n.Value
				}
			case *ast.CompositeLit:
				if id, ok := n.Type.(*ast.Ident); ok && id.Name == "locatedError" {
					e = n.Elts[1]
				}
			}
			if w, ok := wording(files, e); ok {
				lines = append(lines, fmt.Sprintf("%s %s: %s", filepath.ToSlash(strings.TrimPrefix(name, "../")), in, w))
			}
			return true
		})
	}
	return lines, nil
}

// called names the function that is called, with a dot before a method's.
func called(c *ast.CallExpr) string {
	switch f := c.Fun.(type) {
	case *ast.Ident:
		return f.Name
	case *ast.SelectorExpr:
		return "." + f.Sel.Name
	}
	return ""
}

// wording returns the text of e, or its source if it is put together; ok says that there is text in it at all.
func wording(files *token.FileSet, e ast.Expr) (w string, ok bool) {
	if c, is := e.(*ast.CallExpr); is && called(c) == ".Sprintf" {
		e = c.Args[0]
	}
	if l, is := e.(*ast.BasicLit); is && l.Kind == token.STRING {
		w, err := strconv.Unquote(l.Value)
		return w, err == nil
	}
	if e == nil {
		return "", false
	}
	ast.Inspect(e, func(n ast.Node) bool {
		l, is := n.(*ast.BasicLit)
		ok = ok || is && l.Kind == token.STRING
		return true
	})
	var b bytes.Buffer
	if err := printer.Fprint(&b, files, e); err != nil {
		return "", false
	}
	return strings.Join(strings.Fields(b.String()), " "), ok
}
