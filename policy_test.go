package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"go/ast"
	gobuild "go/build"
	"go/parser"
	"go/token"
	"io"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// The rules of this repository that a compiler does not know. They are policy: a test that fails here asks for another
// change, or for a decision that is written down, and not for an exception.

// layers is the order of our packages: which of them each may import, and why no others. Tests may import more. The same
// is in a table of docs/architecture.md for people.
var layers = []struct{ pkg, may, why string }{
	{"main", "cli", "it turns signals and the environment into values and the result into an exit code, and the rest is in cli"},
	{"cli", "audit bench server server/config server/control server/doctor", "a command goes through the control API, so that it does the same beside a running server and without one"},
	{"bench", "auth scim storage server/control", "it measures a server in a process of its own, beside what the engine and a router do alone"},
	{"server", "activity auth backup console scim storage tlsconf server/config server/control server/metrics", "it puts the house together, for whoever starts it"},
	{"server/config", "auth backup scim", "what an operator has decided is judged before anything is opened; of these it asks what can be"},
	{"server/doctor", "scim server/control", "it looks at a server from outside, as a client does, and asks it what only it knows"},
	{"server/control", "activity audit auth backup storage", "commands ask about tokens, backups and the store, and do not speak SCIM"},
	{"server/metrics", "activity auth backup storage server/control", "it shows what the others know of themselves, and is asked by nobody but server"},
	{"activity", "storage", "it tells what the journal and refused requests say, in the words that they have"},
	{"audit", "storage", "it writes what the journal says, and proves it to whoever has no store"},
	{"console", "activity auth scim storage server/control", "it shows what they hold and asks status of the control API, as the command line does; who may see it is decided here, and where it is served in server"},
	{"auth", "storage", "the door does not know what is behind it"},
	{"backup", "storage", "it copies rows and does not know what they say"},
	{"scim", "storage", "who asks comes as a Caller in the context; the protocol does not know how a token is written"},
	{"tlsconf", "", "where a certificate comes from has nothing to do with what is served with it"},
	{"tlsconf/acmetest", "", "an authority for the tests of whoever has certificates"},
	{"storage", "", "the store knows bytes"},
	{"storage/storagetest", "storage", "it asks of an engine what the store relies on"},
}

// bans are the imports of other modules and of the standard library that are not to be. "x/..." is x and all below it.
var bans = []struct {
	what string // import path
	in   string // packages, by their path in this module
	but  string // packages and files that may nevertheless
	test bool   // tests must not either
	why  string
}{
	{"github.com/dgraph-io/badger/...", "...", "storage/badger.go", true, "another engine is to be one more file beside badger.go"},
	{"github.com/dgraph-io/ristretto/...", "...", "storage/mapped.go storage/blockmemory.go storage/blockmemory_test.go storage/buildmemory_unix.go storage/buildmemory_test.go storage/buildmemory_unix_test.go", true, "what belongs to Badger is known beside badger.go"},
	{"net/http/...", "storage/...", "", true, "the store knows bytes"},
	{"net/http/...", "cli main", "", false, "commands ask a control.Client"},
	{"encoding/json", "scim", "", false, "it takes duplicate members and bad UTF-8 without a word; jsontext refuses them"},
	{"encoding/json/v2", "...", "", true, "before Go 1.27 it is an experiment that means other things; go-json-experiment becomes it by itself"},
	{"encoding/json/jsontext", "...", "", true, "as encoding/json/v2"},
	{"math/rand/...", "auth server/... scim", "", false, "nobody is to guess a secret or an id: crypto/rand"},
	{"github.com/spf13/...", "...", "cli", true, "how commands and flags are written is known in one place"},
	{"github.com/pelletier/go-toml/...", "...", "server/config", true, "how a configuration is written is known in one place"},
	{"github.com/julienschmidt/httprouter", "...", "scim/handler.go bench/limit.go", true, "it redirects, and cannot route /Users/.search beside an id; handler.go knows how to live with that, and limit.go measures what it could do at best"},
	{"github.com/hashicorp/golang-lru/v2/expirable", "...", "", true, "its goroutine cannot be stopped"},
	{"github.com/caddyserver/certmagic/...", "...", "tlsconf", true, "how certificates are obtained is known in one place"},
	{"go.uber.org/zap/...", "...", "tlsconf", true, "the log is log/slog; tlsconf/log.go makes certmagic's log ours"},
	{"github.com/prometheus/...", "...", "server/metrics", false, "how figures are counted and shown is known in one place; its default registry is for everybody, and so for nobody"},
	{"expvar", "...", "", true, "it serves itself on the default mux as soon as it is imported"},
	{"net/http/pprof", "...", "", true, "as expvar"},
	{"log", "...", "server/control/handler.go", true, "the log is log/slog; handler.go needs the type for net/http"},
	{"C", "...", "", true, "scimbox is built without a C compiler"},
	{"unsafe", "...", "", true, "nothing here is worth it"},
	{"github.com/stretchr/testify/...", "...", "", true, "tests are written with testing, go-cmp and rapid"},
	{"go.uber.org/mock/...", "...", "", true, "nothing is mocked: storage.Memory is a real engine"},
	{"github.com/golang/mock/...", "...", "", true, "nothing is mocked: storage.Memory is a real engine"},
}

// below reports whether a path is one of the patterns, or below one that ends in "/...".
func below(p, patterns string) bool {
	return slices.ContainsFunc(strings.Fields(patterns), func(pattern string) bool {
		parent, tree := strings.CutSuffix(pattern, "...")
		return p == pattern || tree && (p == strings.TrimSuffix(parent, "/") || strings.HasPrefix(p, parent))
	})
}

// pkg is what the go command says of a package.
type pkg struct {
	ImportPath, Dir, Name string

	GoFiles, CgoFiles, IgnoredGoFiles, TestGoFiles, XTestGoFiles []string
}

// name is the path of the package in this module, "main" for the root.
func (p pkg) name() string {
	name := strings.TrimPrefix(strings.TrimPrefix(p.ImportPath, "scimbox"), "/")
	if name == "" {
		return "main"
	}
	return name
}

// files are the files of the package for every system, those of tests included.
func (p pkg) files() []string {
	return slices.Concat(p.GoFiles, p.CgoFiles, p.IgnoredGoFiles, p.TestGoFiles, p.XTestGoFiles)
}

func isTest(file string) bool { return strings.HasSuffix(file, "_test.go") }

// goCommand returns what a go command prints.
func goCommand(t *testing.T, args ...string) []byte {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", args...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go %s: %v\n%s", strings.Join(args, " "), err, &stderr)
	}
	return out
}

func packages(t *testing.T) []pkg {
	t.Helper()
	var all []pkg
	d := json.NewDecoder(bytes.NewReader(goCommand(t, "list", "-json", "./...")))
	for {
		var p pkg
		if err := d.Decode(&p); errors.Is(err, io.EOF) {
			return all
		} else if err != nil {
			t.Fatal(err)
		}
		all = append(all, p)
	}
}

func parse(t *testing.T, p pkg, file string, mode parser.Mode) *ast.File {
	t.Helper()
	f, err := parser.ParseFile(token.NewFileSet(), filepath.Join(p.Dir, file), nil, mode)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// Who may import whom.
func TestImports(t *testing.T) {
	for _, p := range packages(t) {
		i := slices.IndexFunc(layers, func(l struct{ pkg, may, why string }) bool { return l.pkg == p.name() })
		if i < 0 {
			t.Errorf("package %s has no place in the order of packages: enter it there and in docs/architecture.md", p.name())
			continue
		}
		for _, file := range p.files() {
			for _, spec := range parse(t, p, file, parser.ImportsOnly).Imports {
				imported, err := strconv.Unquote(spec.Path.Value)
				if err != nil {
					t.Fatal(err)
				}
				where := path.Join(strings.TrimPrefix(p.ImportPath, "scimbox"), file)[1:]
				if ours, ok := strings.CutPrefix(imported, "scimbox/"); ok {
					if !isTest(file) && !slices.Contains(strings.Fields(layers[i].may), ours) {
						t.Errorf("%s imports %s, and %s may import of ours only %q: %s", where, ours, p.name(), layers[i].may, layers[i].why)
					}
					if ours == "cli" && p.name() != "main" {
						t.Errorf("%s imports cli, which is for main alone", where)
					}
					if isTest(file) && p.name() == "storage" && !below(ours, "storage/...") {
						t.Errorf("%s imports %s: %s", where, ours, layers[i].why)
					}
				}
				for _, b := range bans {
					if below(imported, b.what) && below(p.name(), b.in) && !below(p.name(), b.but) && !below(where, b.but) && (b.test || !isTest(file)) {
						t.Errorf("%s imports %s: %s", where, imported, b.why)
					}
				}
			}
		}
	}
}

// The map in docs/architecture.md shows the order of packages as it is.
func TestImportsAreDocumented(t *testing.T) {
	text, err := os.ReadFile("docs/architecture.md")
	if err != nil {
		t.Fatal(err)
	}
	documented := map[string]string{}
	for line := range strings.Lines(string(text)) {
		if cells := strings.Split(line, "|"); len(cells) == 5 && strings.HasPrefix(cells[1], " `") {
			tidy := strings.NewReplacer("`", "", ",", " ", "none", "").Replace
			names := strings.Fields(tidy(cells[3]))
			slices.Sort(names)
			documented[strings.TrimSpace(tidy(cells[1]))] = strings.Join(names, " ")
		}
	}
	for _, l := range layers {
		may := strings.Fields(l.may)
		slices.Sort(may)
		if got, ok := documented[l.pkg]; !ok || got != strings.Join(may, " ") {
			t.Errorf("docs/architecture.md says that %s imports %q; the order of packages says %q", l.pkg, got, may)
		}
	}
}

// go doc shows the comments of all files of a package one after the other, in an order that nobody has chosen.
func TestEveryPackageHasOneComment(t *testing.T) {
	for _, p := range packages(t) {
		var where []string
		for _, file := range p.files() {
			doc := parse(t, p, file, parser.PackageClauseOnly|parser.ParseComments).Doc.Text()
			switch {
			case doc == "":
				continue
			case isTest(file):
				t.Errorf("%s/%s: the comment above the package clause of a test is lost to go doc; put an empty line between", p.name(), file)
			case p.Name != "main" && !strings.HasPrefix(doc, "Package "+p.Name+" "):
				t.Errorf("%s/%s: the package comment does not begin with %q", p.name(), file, "Package "+p.Name)
			}
			where = append(where, file)
		}
		if len(where) != 1 {
			t.Errorf("package %s has %d package comments %v, want one", p.name(), len(where), where)
		}
	}
}

// With GOEXPERIMENT=jsonv2 and a Go before 1.27 the module go-json-experiment becomes an older draft of itself, with other
// struct tags: it would still compile, and mean something else.
func TestNoJSONExperiment(t *testing.T) {
	_, experiments, _ := strings.Cut(runtime.Version(), "X:")
	if slices.Contains(strings.Split(experiments, ","), "jsonv2") && !slices.Contains(gobuild.Default.ReleaseTags, "go1.27") {
		t.Errorf("%s: unset GOEXPERIMENT=jsonv2, or use Go 1.27", runtime.Version())
	}
}

// Whoever depends on this module, or installs it by its path, gets what is tested here: replace counts only in the main module. There
// is one, for a module without whose patch a full disk ends the process or loses data (docs/decisions/0068-blocks-before-maps.md);
// tools/release has the test that nothing else is in the copy.
func TestModuleFiles(t *testing.T) {
	type replace struct {
		Old, New struct{ Path, Version string }
	}
	for _, file := range []string{"go.mod", "tools/go.mod"} {
		var mod struct {
			Go        string
			Replace   []replace
			Exclude   []any
			Toolchain string
		}
		if err := json.Unmarshal(goCommand(t, "mod", "edit", "-json", file), &mod); err != nil {
			t.Fatal(err)
		}
		mod.Replace = slices.DeleteFunc(mod.Replace, func(r replace) bool {
			return file == "go.mod" && r.Old.Path == "github.com/dgraph-io/ristretto/v2" && r.New.Path == "./third_party/ristretto"
		})
		if len(mod.Replace) > 0 || len(mod.Exclude) > 0 || mod.Toolchain != "" {
			t.Errorf("%s has replace, exclude or toolchain lines: %+v", file, mod)
		}
	}
}

var (
	mdLink    = regexp.MustCompile(`\]\(([^)\s]+)\)`)
	mdHeading = regexp.MustCompile(`(?m)^#+ (.*)$`)
	notInSlug = regexp.MustCompile(`[^\p{L}\p{N} _-]`)
)

// slugs are what the headings of a document can be linked by.
func slugs(text []byte) []string {
	var l []string
	for _, h := range mdHeading.FindAllSubmatch(text, -1) {
		l = append(l, strings.ReplaceAll(notInSlug.ReplaceAllString(strings.ToLower(string(h[1])), ""), " ", "-"))
	}
	return l
}

// Links between documents lead to files and headings that are there.
func TestLinks(t *testing.T) {
	var documents []string
	for _, pattern := range []string{"*.md", "docs/*.md", "docs/*/*.md"} {
		found, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		documents = append(documents, found...)
	}
	for _, document := range documents {
		text, err := os.ReadFile(document)
		if err != nil {
			t.Fatal(err)
		}
		for _, link := range mdLink.FindAllSubmatch(text, -1) {
			target, heading, _ := strings.Cut(string(link[1]), "#")
			if strings.Contains(target, ":") {
				continue // another site
			}
			linked := text
			if target != "" {
				file := filepath.Join(filepath.Dir(document), target)
				if info, err := os.Stat(file); err != nil || info.IsDir() {
					if err != nil {
						t.Errorf("%s links to %s, which is not there", document, target)
					}
					continue
				}
				if linked, err = os.ReadFile(file); err != nil {
					t.Fatal(err)
				}
			}
			if heading != "" && !slices.Contains(slugs(linked), heading) {
				t.Errorf("%s links to a heading %s that is not there", document, link[1])
			}
		}
	}
}
