package main

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

var (
	testName   = regexp.MustCompile("`((?:Test|Fuzz)[A-Za-z0-9_]+)`")
	testsTable = regexp.MustCompile(`^\| `)
)

// Every sentence of docs/guarantees.md and docs/security.md that promises something, which is a row of a table, names the tests
// behind it, and they are there.
func TestGuaranteesHaveTests(t *testing.T) {
	for _, page := range []string{"docs/guarantees.md", "docs/security.md"} {
		t.Run(filepath.Base(page), func(t *testing.T) { haveTests(t, page) })
	}
}

func haveTests(t *testing.T, page string) {
	text, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	there := map[string]bool{}
	err = filepath.WalkDir(".", func(path string, d os.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(path, "_test.go") {
			return err
		}
		b, err := os.ReadFile(path)
		for _, m := range regexp.MustCompile(`(?m)^func ((?:Test|Fuzz)[A-Za-z0-9_]+)\(`).FindAllSubmatch(b, -1) {
			there[string(m[1])] = true
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	promises, named := 0, 0
	for line := range strings.Lines(string(text)) {
		tests := testName.FindAllStringSubmatch(line, -1)
		for _, m := range tests {
			named++
			if !there[m[1]] {
				t.Errorf("%s names %s, and there is no such test", page, m[1])
			}
		}
		if !testsTable.MatchString(line) || strings.HasPrefix(line, "| ---") || strings.HasPrefix(line, "| promise") || strings.HasPrefix(line, "| what") {
			continue
		}
		if promises++; len(tests) == 0 {
			t.Errorf("%s promises without a test: %s", page, strings.TrimSpace(line))
		}
	}
	if promises < 20 || named < promises {
		t.Errorf("%d promises and %d tests: the form of the page has changed", promises, named)
	}
}
