package main

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// checkout copies what git has of the product into a directory, as it is in the work tree, and without git.
func checkout(dir string) error {
	list, err := exec.Command("git", "-C", "../..", "ls-files", "-z").Output()
	if err != nil {
		return err
	}
	for name := range strings.SplitSeq(strings.TrimRight(string(list), "\x00"), "\x00") {
		data, err := os.ReadFile(filepath.Join("../..", name))
		if errors.Is(err, os.ErrNotExist) {
			continue // deleted and not committed
		}
		if err != nil {
			return err
		}
		to := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(to, data, 0o644); err != nil {
			return err
		}
	}
	return nil
}

// built makes a release for linux/amd64 in a directory of its own, once for all tests.
var built = sync.OnceValues(func() (string, error) {
	return releaseOf("scimbox", "0.1.0", "linux/amd64", "deb,rpm")
})

var scratch string // of the tests, removed by TestMain

func TestMain(m *testing.M) {
	os.Exit(func() int {
		var err error
		if scratch, err = os.MkdirTemp("", "release-test-"); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		defer os.RemoveAll(scratch)
		// Everything that is built here has one date, and it is not that of today.
		if err := os.Setenv("SOURCE_DATE_EPOCH", "1700000000"); err != nil {
			panic(err)
		}
		return m.Run()
	}())
}

// keeper answers for the packages of the tests.
const keeper = "Mira Osei <mira@example.com>"

// releaseOf makes a release from a copy of the source in a directory of that name.
func releaseOf(name, version, targets, packages string) (string, error) {
	source := filepath.Join(scratch, name)
	if _, err := os.Stat(source); err != nil {
		if err := checkout(source); err != nil {
			return "", err
		}
	}
	out := source + "-dist-" + version
	var log strings.Builder
	if err := run(context.Background(), []string{"-version", version, "-source", source, "-out", out, "-targets", targets, "-packages", packages, "-maintainer", keeper}, &log); err != nil {
		return "", fmt.Errorf("%w\n%s", err, &log)
	}
	return out, nil
}

func release010(t *testing.T) string {
	t.Helper()
	out, err := built()
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// Two builds of one commit, in two directories, with nothing in the cache of the second, give the same bytes.
func TestReproducible(t *testing.T) {
	first := release010(t)
	t.Setenv("GOCACHE", t.TempDir())
	t.Setenv("TZ", "Asia/Kathmandu")
	t.Setenv("HOME", t.TempDir())
	second, err := releaseOf("somewhere/else/with a longer name", "0.1.0", "linux/amd64", "deb,rpm")
	if err != nil {
		t.Fatal(err)
	}
	sums, err := os.ReadFile(filepath.Join(first, "SHA256SUMS"))
	if err != nil {
		t.Fatal(err)
	}
	if n := bytes.Count(sums, []byte("\n")); n != 4 {
		t.Errorf("SHA256SUMS has %d lines, want 4:\n%s", n, sums)
	}
	again, err := os.ReadFile(filepath.Join(second, "SHA256SUMS"))
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(sums, again) {
		t.Errorf("two builds differ:\n%s\n%s", sums, again)
	}
	for line := range strings.Lines(string(sums)) {
		sum, name, _ := strings.Cut(strings.TrimSpace(line), "  ")
		data, err := os.ReadFile(filepath.Join(first, name))
		if err != nil {
			t.Fatal(err)
		}
		if got := fmt.Sprintf("%x", sha256.Sum256(data)); got != sum {
			t.Errorf("%s has the hash %s, and SHA256SUMS says %s", name, got, sum)
		}
		for _, trace := range []string{scratch, os.Getenv("USER") + "@"} {
			if len(trace) > 1 && bytes.Contains(data, []byte(trace)) {
				t.Errorf("%s has %q in it", name, trace)
			}
		}
	}
}

func unpack(t *testing.T, name string) map[string]*tar.Header {
	t.Helper()
	f, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	if !z.ModTime.IsZero() || z.Name != "" {
		t.Errorf("the head of %s has a time or a name", name)
	}
	all := map[string]*tar.Header{}
	for r := tar.NewReader(z); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return all
		} else if err != nil {
			t.Fatal(err)
		}
		all[h.Name] = h
	}
}

func TestTarball(t *testing.T) {
	all := unpack(t, filepath.Join(release010(t), "scimbox-0.1.0-linux-amd64.tar.gz"))
	const dir = "scimbox-0.1.0-linux-amd64/"
	for _, name := range []string{
		"scimbox", "README.md", "LICENSE", "CHANGELOG.md", "config.example.toml", "docs/operating.md", "docs/entra.md", "docs/clients/README.md",
		"scimbox.1", "systemd/scimbox.service", "systemd/scimbox-https.socket", "systemd/scimbox-http.socket", "THIRD-PARTY-LICENCES.txt",
	} {
		if all[dir+name] == nil {
			t.Errorf("%s is missing", name)
		}
	}
	for name, h := range all {
		if !strings.HasPrefix(name, dir) {
			t.Errorf("%s is not below %s", name, dir)
		}
		if !h.ModTime.Equal(time.Unix(1700000000, 0)) || h.Uid != 0 || h.Uname != "root" {
			t.Errorf("%s is of %s and of user %d %s", name, h.ModTime, h.Uid, h.Uname)
		}
		want := int64(0o644)
		if name == dir+"scimbox" {
			want = 0o755
		}
		if h.Mode != want {
			t.Errorf("%s has the mode %o, want %o", name, h.Mode, want)
		}
	}
}

func TestZip(t *testing.T) {
	r := release{date: time.Unix(1700000000, 0).UTC()}
	files := []file{{"a/scimbox.exe", 0o755, []byte("program")}, {"a/README.md", 0o644, []byte("text")}}
	var one, two bytes.Buffer
	if err := errors.Join(r.zip(&one, files), r.zip(&two, files)); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(one.Bytes(), two.Bytes()) {
		t.Error("two archives of the same files differ")
	}
	z, err := zip.NewReader(bytes.NewReader(one.Bytes()), int64(one.Len()))
	if err != nil {
		t.Fatal(err)
	}
	if len(z.File) != 2 || z.File[0].Name != "a/scimbox.exe" || !z.File[0].Modified.Equal(r.date) || z.File[0].Mode() != 0o755 {
		t.Errorf("the archive holds %+v", z.File)
	}
}

// The list of what is linked has everything in it that the binary says of itself, with a licence.
func TestSBOM(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(release010(t), "scimbox-0.1.0-linux-amd64.cdx.json"))
	if err != nil {
		t.Fatal(err)
	}
	var b bom
	if err := json.Unmarshal(text, &b); err != nil {
		t.Fatal(err)
	}
	if b.Format != "CycloneDX" || b.Spec != "1.6" || b.Metadata.Timestamp != "2023-11-14T22:13:20Z" || b.Metadata.Component.Version != "0.1.0" {
		t.Errorf("head: %+v", b.Metadata)
	}
	var names []string
	refs := map[string]bool{}
	for _, c := range b.Components {
		names = append(names, c.Name)
		refs[c.Ref] = true
		if patched := slices.Contains(c.Properties, property{"scimbox:patched", "see third_party in the source"}); patched != (c.Name == "github.com/dgraph-io/ristretto/v2") {
			t.Errorf("%s: patched is %v", c.Name, patched)
		}
		if len(c.Licences) != 1 || c.Licences[0].Expression == "" || !strings.HasPrefix(c.PURL, "pkg:golang/") {
			t.Errorf("%s: %+v", c.Name, c)
		}
	}
	for _, name := range []string{"std", "github.com/dgraph-io/badger/v4", "golang.org/x/crypto", "github.com/spf13/cobra"} {
		if !slices.Contains(names, name) {
			t.Errorf("%s is linked and not listed: %v", name, names)
		}
	}
	for _, name := range []string{"pgregory.net/rapid", "go.uber.org/goleak"} {
		if slices.Contains(names, name) {
			t.Errorf("%s is for tests and is listed", name)
		}
	}
	for _, ref := range b.Dependencies[0].DependsOn {
		if !refs[ref] {
			t.Errorf("it depends on %s, which is not listed", ref)
		}
	}
}

// A release that cannot be is refused before anything is built.
func TestRefused(t *testing.T) {
	full := t.TempDir()
	if err := os.WriteFile(filepath.Join(full, "old.tar.gz"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		args []string
		says string
	}{
		{nil, "is no version"},
		{[]string{"-version", "v1.2.3"}, "is no version"},
		{[]string{"-version", "1.2.3", "-maintainer", "mira"}, "is no address"},
		{[]string{"-version", "1.2.3", "-targets", "plan9/mips"}, "there is no release"},
		{[]string{"-version", "1.2.3", "-source", "../..", "-out", full}, "is not empty"},
		{[]string{"-version", "1.2.3", "-source", full, "-out", filepath.Join(full, "x")}, "licences.md"},
	} {
		if err := run(t.Context(), test.args, io.Discard); err == nil || !strings.Contains(err.Error(), test.says) {
			t.Errorf("%v: %v, want %q", test.args, err, test.says)
		}
	}
}
