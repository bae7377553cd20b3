package main

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// docs/conformance.md claims what scimbox makes of each requirement of the RFCs. It is made of conformance/requirements.txt,
// and what that says is compared here with the cases and tests that there are, so that no claim outlives its proof.

const (
	requirementsFile = "conformance/requirements.txt"
	conformanceDoc   = "docs/conformance.md"
	updateDoc        = "go test . -run Conformance -update"
)

// requirement is an entry of requirementsFile, where its form is told.
type requirement struct {
	line            int
	id, level       string
	where           string // "7644 3.5.2; 7643 2.5"
	text, note      string
	state           string
	differs, proofs []string
}

type area struct {
	title        string
	requirements []*requirement
}

// states are those of requirementsFile, with the words for them.
var states = []struct{ name, shown, means string }{
	{"met", "met", "as it is asked, with every setting"},
	{"choice", "met by choice", "the RFC leaves it open, or says two things; what scimbox does stands below it"},
	{"strict", "met if strict", "met with `strict = true` and for tokens of the preset `standard`; by default more is accepted, by the quirks that are named"},
	{"default", "met by default", "not asked by the RFC, but needed by clients; refused with `strict = true`"},
	{"partly", "met in part", "what is missing stands below it"},
	{"not offered", "not offered", "the reason stands below it"},
}

var levels = []string{"MUST", "SHOULD", "MAY"}

var (
	requirementForm = regexp.MustCompile(`^([A-Z]+[0-9]+[a-z]?(?:-[A-Za-z]+)?) (\S+) (.+)$`)
	whereForm       = regexp.MustCompile(`^(design|\d{4} [\d.]+(; \d{4} [\d.]+)*)$`)
	rangeForm       = regexp.MustCompile(`^(.*-)(\d+)\.\.(\d+)$`)
	caseForm        = regexp.MustCompile(`^[A-Z][A-Z-]*-\d+(\.\.\d+)?$`)
)

// readRequirements reads requirementsFile, and says what is wrong with its form.
func readRequirements(text string) (areas []area, problems []string) {
	wrong := func(line int, format string, args ...any) {
		problems = append(problems, fmt.Sprintf("%s:%d: %s", requirementsFile, line, fmt.Sprintf(format, args...)))
	}
	var r *requirement
	for i, line := range strings.Split(text, "\n") {
		n := i + 1
		title, isArea := strings.CutPrefix(line, "== ")
		said, indented := strings.CutPrefix(line, "\t")
		switch {
		case line == "" || strings.HasPrefix(line, "#"):
		case isArea:
			areas, r = append(areas, area{title: title}), nil
		case !indented:
			m := requirementForm.FindStringSubmatch(line)
			if m == nil || len(areas) == 0 {
				wrong(n, "expected is an id, a level and a section, in an area")
				continue
			}
			r = &requirement{line: n, id: m[1], level: m[2], where: m[3]}
			last := &areas[len(areas)-1]
			last.requirements = append(last.requirements, r)
		case r == nil:
			wrong(n, "this belongs to no requirement")
		default:
			r.say(said)
		}
	}
	return areas, problems
}

// say adds a line to a requirement.
func (r *requirement) say(line string) {
	key, value, _ := strings.Cut(line, ": ")
	switch key {
	case "state":
		r.state = value
	case "note":
		r.note = strings.TrimSpace(r.note + " " + value)
	case "by default":
		r.differs = append(r.differs, strings.Fields(value)...)
	case "proof":
		r.proofs = append(r.proofs, strings.Fields(value)...)
	default:
		r.text = strings.TrimSpace(r.text + " " + line)
	}
}

// evidence is what claims are compared with.
type evidence struct {
	cases     []blackBox
	wrong     map[string]string // rfc cases that are run with another expectation: believedWrong of the runner
	otherwise map[string]string // rfc cases that a quirk answers otherwise by default, with the quirk
	tests     map[string]goTest // "scim.TestPatch"
	quirks    []quirk
	keys      map[string]bool // of the configuration
	clients   []clientCase
}

// blackBox is what is told here of a case of server/testdata/cases.
type blackBox struct {
	ID, Section string
	Settings    []string // own cases: "strict", "default" or a preset; none = strict and default
}

// everywhere says whether a case holds on a strict server and on a default one.
func (c blackBox) everywhere() bool {
	return c.Settings == nil || slices.Contains(c.Settings, "strict") && slices.Contains(c.Settings, "default")
}

type clientCase struct {
	Client, Level string
	Requires      []string
}

// goTest is a test or fuzz target.
type goTest struct {
	dir  string
	body *ast.BlockStmt
}

type quirk struct {
	name, says string
	byDefault  bool
}

// judge compares the claims with the evidence. further are the cases that no requirement names.
func judge(areas []area, e *evidence) (problems []string, further []blackBox) {
	known := map[string]blackBox{}
	for _, c := range e.cases {
		known[c.ID] = c
	}
	named, ids, bent := map[string]bool{}, map[string]int{}, map[string]bool{}
	for _, a := range areas {
		for _, r := range a.requirements {
			wrong := func(format string, args ...any) {
				problems = append(problems, fmt.Sprintf("%s:%d: %s: %s", requirementsFile, r.line, r.id, fmt.Sprintf(format, args...)))
			}
			if first := ids[r.id]; first > 0 {
				wrong("the id is taken by line %d", first)
			}
			ids[r.id] = r.line
			r.form(wrong)
			for _, q := range r.differs {
				bent[q] = true
				if !e.keys[q] && !slices.ContainsFunc(e.quirks, func(k quirk) bool { return k.name == q }) {
					wrong("there is no quirk and no key of the configuration %q", q)
				}
			}
			for _, p := range r.proofs {
				if !caseForm.MatchString(p) {
					if err := e.hasTest(p); err != nil {
						wrong("%v", err)
					}
					continue
				}
				l := casesOf(p, e.cases)
				if l == nil {
					wrong("%s: there is no such case, or none at an end of the range", p)
				}
				for _, id := range l {
					named[id] = true
					if _, is := e.wrong[id]; is {
						wrong("%s is believed wrong, and no proof", id)
					}
					if q := e.otherwise[id]; q != "" && !slices.Contains(r.differs, q) {
						wrong("%s is answered otherwise by default, which %q has to be named for", id, q)
					}
					if r.state == "met" && len(r.differs) == 0 && !known[id].everywhere() {
						wrong("%s is for %v alone, and so it is not met with every setting", id, known[id].Settings)
					}
				}
			}
		}
	}
	for _, q := range e.quirks {
		if !bent[q.name] {
			problems = append(problems, fmt.Sprintf("%s: no requirement names the quirk %s of scim/quirks.go", requirementsFile, q.name))
		}
	}
	for _, c := range e.cases {
		if !named[c.ID] {
			further = append(further, c)
		}
	}
	return problems, further
}

// form checks what a requirement says by itself.
func (r *requirement) form(wrong func(string, ...any)) {
	if !slices.Contains(levels, r.level) {
		wrong("its level is %q; expected is one of %v", r.level, levels)
	}
	if !whereForm.MatchString(r.where) {
		wrong(`its place is %q; expected is "7644 3.5.2", several with "; " between, or design`, r.where)
	}
	if r.text == "" {
		wrong("it does not say what is asked")
	}
	switch r.state {
	case "met":
	case "strict", "default":
		if len(r.differs) == 0 {
			wrong(`it does not name the quirk: "by default"`)
		}
	case "choice", "partly", "not offered":
		if r.note == "" {
			wrong("%s needs a note", r.state)
		}
	default:
		wrong("there is no state %q", r.state)
	}
	if r.state != "not offered" && len(r.proofs) == 0 {
		wrong("a %s that is %s needs a proof", r.level, r.state)
	}
}

// casesOf returns the cases that a proof names, nil if there are none, or none at an end of a range.
func casesOf(proof string, cases []blackBox) (ids []string) {
	m := rangeForm.FindStringSubmatch(proof)
	if m == nil {
		m = []string{"", "", "", ""}
		i := strings.LastIndexByte(proof, '-') + 1
		m[1], m[2], m[3] = proof[:i], proof[i:], proof[i:]
	}
	for _, c := range cases {
		if n, ok := strings.CutPrefix(c.ID, m[1]); ok && len(n) == len(m[2]) && m[2] <= n && n <= m[3] {
			ids = append(ids, c.ID)
		}
	}
	slices.Sort(ids)
	if len(ids) == 0 || ids[0] != m[1]+m[2] || ids[len(ids)-1] != m[1]+m[3] {
		return nil
	}
	return ids
}

var testForm = regexp.MustCompile(`^([a-z/]+\.(?:Test|Fuzz)\w+)(?:/(.+))?$`)

// hasTest says why a test cannot be a proof; nil if it can. Names of subtests are looked for among the texts in the test
// and the .txtar files of its package, where sessions and transcripts have theirs from.
func (e *evidence) hasTest(name string) error {
	m := testForm.FindStringSubmatch(name)
	if m == nil {
		return fmt.Errorf("%q is neither a case nor a test", name)
	}
	test, ok := e.tests[m[1]]
	if !ok {
		return fmt.Errorf("there is no test %s", m[1])
	}
	if skips(test.body) {
		return fmt.Errorf("%s is skipped", m[1])
	}
	if m[2] == "" {
		return nil
	}
	texts := map[string]bool{}
	ast.Inspect(test.body, func(n ast.Node) bool {
		if l, ok := n.(*ast.BasicLit); ok && l.Kind == token.STRING {
			text, _ := strconv.Unquote(l.Value) // the parser has read it
			texts[strings.ReplaceAll(text, " ", "_")] = true
		}
		return true
	})
	for sub := range strings.SplitSeq(m[2], "/") {
		files, err := filepath.Glob(filepath.Join(test.dir, "testdata", "*", sub+".txtar"))
		if !texts[sub] && (err != nil || files == nil) {
			return fmt.Errorf("%s has no subtest %q", m[1], sub)
		}
	}
	return nil
}

// skips says whether a test begins by skipping itself.
func skips(body *ast.BlockStmt) bool {
	if len(body.List) == 0 {
		return true
	}
	s, ok := body.List[0].(*ast.ExprStmt)
	if !ok {
		return false
	}
	call, ok := s.X.(*ast.CallExpr)
	if !ok {
		return false
	}
	f, ok := call.Fun.(*ast.SelectorExpr)
	return ok && strings.HasPrefix(f.Sel.Name, "Skip")
}

// gather reads the evidence.
func gather(t *testing.T) *evidence {
	t.Helper()
	e := &evidence{tests: map[string]goTest{}, keys: map[string]bool{}}
	for _, name := range []string{"rfc_cases.jsonl", "own_cases.jsonl"} {
		e.cases = append(e.cases, readLines[blackBox](t, name)...)
	}
	e.clients = readLines[clientCase](t, "client_requests.jsonl")

	runner := parseGo(t, "server/cases_test.go")
	e.wrong, e.otherwise = mapOf(t, runner, "believedWrong"), mapOf(t, runner, "otherwise")
	e.quirks = quirksOf(parseGo(t, "scim/quirks.go"))
	if len(e.quirks) == 0 {
		t.Fatal("scim/quirks.go: there are no quirks")
	}
	config, err := os.ReadFile("config.example.toml")
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range regexp.MustCompile(`(?m)^([a-z_]+) = `).FindAllSubmatch(config, -1) {
		e.keys[string(m[1])] = true
	}
	err = filepath.WalkDir(".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || name != "." && d.IsDir() && (d.Name()[0] == '.' || d.Name() == "testdata") {
			return cmp.Or(err, fs.SkipDir)
		}
		if !strings.HasSuffix(name, "_test.go") {
			return nil
		}
		pkg := path.Dir(filepath.ToSlash(name))
		if pkg == "." {
			pkg = "main"
		}
		for _, decl := range parseGo(t, name).Decls {
			if f, ok := decl.(*ast.FuncDecl); ok && f.Recv == nil && testForm.MatchString("x."+f.Name.Name) {
				e.tests[pkg+"."+f.Name.Name] = goTest{filepath.Dir(name), f.Body}
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func readLines[T any](t *testing.T, name string) (list []T) {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("server", "testdata", "cases", name))
	if err != nil {
		t.Fatal(err)
	}
	for line := range bytes.Lines(data) {
		var v T
		if err := json.Unmarshal(line, &v); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		list = append(list, v)
	}
	return list
}

func parseGo(t *testing.T, name string) *ast.File {
	t.Helper()
	f, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.ParseComments|parser.SkipObjectResolution)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// literal returns what a variable of a file is set to; nil if there is no such variable.
func literal(f *ast.File, name string) *ast.CompositeLit {
	for _, decl := range f.Decls {
		g, ok := decl.(*ast.GenDecl)
		if !ok || g.Tok != token.VAR {
			continue
		}
		for _, s := range g.Specs {
			v := s.(*ast.ValueSpec)
			if len(v.Values) == 1 && v.Names[0].Name == name {
				l, _ := v.Values[0].(*ast.CompositeLit)
				return l
			}
		}
	}
	return nil
}

// mapOf returns a map of texts that a variable is set to.
func mapOf(t *testing.T, f *ast.File, name string) map[string]string {
	t.Helper()
	l := literal(f, name)
	if l == nil {
		t.Fatalf("there is no map %s in the runner of the cases", name)
	}
	m := map[string]string{}
	for _, e := range l.Elts {
		kv := e.(*ast.KeyValueExpr)
		key, err := strconv.Unquote(kv.Key.(*ast.BasicLit).Value)
		if err != nil {
			t.Fatal(err)
		}
		m[key] = "?"
		if v, ok := kv.Value.(*ast.BasicLit); ok {
			if m[key], err = strconv.Unquote(v.Value); err != nil {
				t.Fatal(err)
			}
		}
	}
	return m
}

// quirksOf returns the fields of the struct quirks with their comments, and which of them are in tolerant.
func quirksOf(f *ast.File) (list []quirk) {
	on := map[string]bool{}
	if l := literal(f, "tolerant"); l != nil {
		for _, e := range l.Elts {
			on[e.(*ast.KeyValueExpr).Key.(*ast.Ident).Name] = true
		}
	}
	ast.Inspect(f, func(n ast.Node) bool {
		s, ok := n.(*ast.TypeSpec)
		if !ok || s.Name.Name != "quirks" {
			return true
		}
		for _, field := range s.Type.(*ast.StructType).Fields.List {
			for _, name := range field.Names {
				list = append(list, quirk{name.Name, strings.TrimSpace(field.Comment.Text()), on[name.Name]})
			}
		}
		return false
	})
	return list
}

// What docs/conformance.md claims has its proofs, and the document is what it is made of.
func TestConformance(t *testing.T) {
	text, err := os.ReadFile(requirementsFile)
	if err != nil {
		t.Fatal(err)
	}
	e := gather(t)
	areas, problems := readRequirements(string(text))
	more, further := judge(areas, e)
	for _, p := range append(problems, more...) {
		t.Error(p)
	}
	for _, name := range runners {
		if err := e.hasTest(name); err != nil {
			t.Error(err)
		}
	}
	doc := conformanceText(areas, e, further)
	for _, link := range regexp.MustCompile(`\]\(([^)#]+)`).FindAllSubmatch(doc, -1) {
		if !exists(filepath.Join("docs", string(link[1]))) {
			t.Errorf("%s: there is no %s", conformanceDoc, link[1])
		}
	}
	if *update {
		if err := os.WriteFile(conformanceDoc, doc, 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if is, err := os.ReadFile(conformanceDoc); err != nil || !bytes.Equal(is, doc) {
		t.Errorf("%s is out of date (%v); make it anew and look at the difference: %s", conformanceDoc, err, updateDoc)
	}
}

// A claim without its proof is found.
func TestConformanceIsJudged(t *testing.T) {
	body := parseSource(t, `package p; func f() { t.Run("a case", nil); t.Log("x") }`)
	e := &evidence{
		cases: []blackBox{{ID: "A-001"}, {ID: "A-003"}, {ID: "A-004", Settings: []string{"strict"}}, {ID: "B-001"}, {ID: "OWN-X-001"}},
		wrong: map[string]string{"B-001": ""}, otherwise: map[string]string{"A-003": "q"},
		tests: map[string]goTest{
			"p.TestA":    {"nowhere", body},
			"p.TestSkip": {"nowhere", parseSource(t, `package p; func f() { t.Skip("later") }`)},
		},
		quirks: []quirk{{name: "q"}}, keys: map[string]bool{"strict": true},
	}
	const head = "== Area\nM1 MUST 7643 2.1\n\tAsked.\n"
	for said, want := range map[string]string{
		"\tstate: met\n\tby default: q\n\tproof: A-001..004 OWN-X-001 p.TestA p.TestA/a_case":                        "",
		"\tstate: not offered\n\tby default: q strict\n\tnote: Why.":                                                 "",
		"\tstate: met\n\tby default: q\n":                                                                            "a MUST that is met needs a proof",
		"\tstate: met\n\tby default: q\n\tproof: A-002":                                                              "A-002: there is no such case",
		"\tstate: met\n\tby default: q\n\tproof: A-001..002":                                                         "A-001..002: there is no such case",
		"\tstate: met\n\tby default: q\n\tproof: B-001":                                                              "B-001 is believed wrong",
		"\tstate: choice\n\tnote: x\n\tproof: A-003":                                                                 "A-003 is answered otherwise by default",
		"\tstate: met\n\tproof: A-004":                                                                               "A-004 is for [strict] alone",
		"\tstate: met\n\tby default: q\n\tproof: p.TestB":                                                            "there is no test p.TestB",
		"\tstate: met\n\tby default: q\n\tproof: p.TestA/b":                                                          `p.TestA has no subtest "b"`,
		"\tstate: met\n\tby default: q\n\tproof: p.TestSkip":                                                         "p.TestSkip is skipped",
		"\tstate: met\n\tby default: q\n\tproof: nonsense":                                                           `"nonsense" is neither a case nor a test`,
		"\tstate: met\n\tby default: r\n\tproof: p.TestA":                                                            `there is no quirk and no key of the configuration "r"`,
		"\tstate: strict\n\tproof: p.TestA":                                                                          "does not name the quirk",
		"\tstate: partly\n\tby default: q\n\tproof: p.TestA":                                                         "partly needs a note",
		"\tstate: done\n\tby default: q\n\tproof: p.TestA":                                                           `there is no state "done"`,
		"\tstate: met\n\tproof: p.TestA":                                                                             "no requirement names the quirk q",
		"\tstate: met\n\tby default: q\n\tproof: p.TestA\nM1 MAY 7643 2.1\n\tAgain.\n\tstate: met\n\tproof: p.TestA": "the id is taken by line 2",
		"\tstate: met\n\tby default: q\n\tproof: p.TestA\nM2 NEVER somewhere\n\tstate: met\n\tproof: p.TestA":        "its level is",
		"\tstate: met\n\tby default: q\n\tproof: p.TestA\nnonsense":                                                  "expected is an id",
	} {
		areas, problems := readRequirements(head + said)
		more, _ := judge(areas, e)
		problems = append(problems, more...)
		all := strings.Join(problems, "\n")
		if want == "" && all != "" || !strings.Contains(all, want) {
			t.Errorf("%s\n%s\nwant %q", said, all, want)
		}
	}
	areas, _ := readRequirements(head + "\tstate: met\n\tby default: q\n\tproof: A-001..003")
	_, further := judge(areas, e)
	var ids []string
	for _, c := range further {
		ids = append(ids, c.ID)
	}
	if want := []string{"A-004", "B-001", "OWN-X-001"}; !slices.Equal(ids, want) {
		t.Errorf("further cases are %q, want %q", ids, want)
	}
	if got := strings.Join(inRanges([]string{"A-001", "A-002", "A-003", "A-005", "B-006"}), " "); got != "A-001..003 A-005 B-006" {
		t.Errorf("in ranges: %s", got)
	}
	if got := slices.Sorted(maps.Keys(e.tests)); len(got) != 2 {
		t.Errorf("tests: %q", got)
	}
}

func parseSource(t *testing.T, source string) *ast.BlockStmt {
	t.Helper()
	f, err := parser.ParseFile(token.NewFileSet(), "", source, parser.SkipObjectResolution)
	if err != nil {
		t.Fatal(err)
	}
	return f.Decls[0].(*ast.FuncDecl).Body
}
