package main

import (
	"bytes"
	"flag"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	_ "github.com/dgraph-io/ristretto/v2/z" // so that go.mod here pins what was patched, and go.sum knows it
)

var update = flag.Bool("update", false, "make the copies of patched modules anew")

// patched are the modules that are linked with a patch: a copy of what a build needs of them, and the patch beside it.
var patched = []struct{ module, copy string }{{"github.com/dgraph-io/ristretto/v2", "../../third_party/ristretto"}}

// needed reports whether a file of a module is in its copy.
func needed(name string, text []byte) bool {
	dir, base := filepath.Split(name)
	switch dir {
	case "", "z/", "z/simd/": // of ristretto; the others are programs to try it
	default:
		return false
	}
	switch {
	case base == "LICENSE", name == "go.mod":
		return true
	case strings.HasSuffix(base, "_test.go"), bytes.Contains(text, []byte("//go:build ignore")):
		return false
	}
	return filepath.Ext(base) == ".go" || filepath.Ext(base) == ".s"
}

func files(t *testing.T, dir string, keep func(string, []byte) bool) map[string]string {
	t.Helper()
	all := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		name, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		text, err := os.ReadFile(path)
		if name = filepath.ToSlash(name); err == nil && keep(name, text) {
			all[name] = string(text)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// A copy of a module is the module that is pinned here, with its patch and nothing else, and the product asks for that version. With
// -update it becomes that.
func TestPatchedModules(t *testing.T) {
	for _, p := range patched {
		out, err := exec.CommandContext(t.Context(), "go", "list", "-m", "-f", "{{.Version}} {{.Dir}}", p.module).Output()
		if err != nil {
			t.Fatal(err)
		}
		version, dir, _ := strings.Cut(strings.TrimSpace(string(out)), " ")
		asked, err := os.ReadFile("../../go.mod")
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(string(asked), p.module+" "+version+"\n") {
			t.Errorf("go.mod of the product asks for another version of %s than %s, which tools/go.mod has", p.module, version)
		}
		patch, err := filepath.Abs(p.copy + ".patch")
		if err != nil {
			t.Fatal(err)
		}
		made := t.TempDir()
		for name, text := range files(t, dir, needed) {
			to := filepath.Join(made, name)
			if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(to, []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		apply := exec.CommandContext(t.Context(), "git", "apply", patch)
		apply.Dir, apply.Env = made, append(os.Environ(), "GIT_CEILING_DIRECTORIES="+filepath.Dir(made))
		if out, err := apply.CombinedOutput(); err != nil {
			t.Fatalf("the patch does not fit %s %s: %v\n%s", p.module, version, err, out)
		}
		all := func(string, []byte) bool { return true }
		want := files(t, made, all)
		if *update {
			if err := os.RemoveAll(p.copy); err != nil {
				t.Fatal(err)
			}
			if err := os.CopyFS(p.copy, os.DirFS(made)); err != nil {
				t.Fatal(err)
			}
		}
		got := files(t, p.copy, all)
		for name, text := range want {
			if got[name] != text {
				t.Errorf("%s/%s is not what the patch makes of %s %s", p.copy, name, p.module, version)
			}
		}
		for name := range got {
			if _, ok := want[name]; !ok {
				t.Errorf("%s/%s is not of %s %s, nor of the patch", p.copy, name, p.module, version)
			}
		}
	}
}
