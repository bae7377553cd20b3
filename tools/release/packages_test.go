package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
)

// base is a Debian with nothing in it but what every Debian has, made once.
var base = sync.OnceValues(func() (string, error) {
	about, err := os.ReadFile("/etc/os-release")
	if err != nil {
		return "", err
	}
	suite := regexp.MustCompile(`(?m)^VERSION_CODENAME=(\w+)$`).FindSubmatch(about)
	if suite == nil {
		return "", fmt.Errorf("/etc/os-release names no version of Debian")
	}
	dir := filepath.Join(scratch, "debian")
	_, err = new(release).command(context.Background(), scratch, nil, "mmdebstrap", "--quiet", "--variant=essential", "--include=passwd", string(suite[1]), dir)
	return dir, err
})

// cleanRoot returns a copy of base.
func cleanRoot(t *testing.T) string {
	t.Helper()
	need(t, "mmdebstrap", "dpkg", "chroot")
	if os.Getuid() != 0 {
		t.Skip("only root can install into another root; .ci/run is run as root")
	}
	from, err := base()
	if err != nil {
		t.Fatal(err)
	}
	root := filepath.Join(t.TempDir(), "root")
	must(t, "cp", "-a", from, root)
	return root
}

// owner describes a file as "0640 root:scimbox".
func owner(t *testing.T, root, name string) string {
	t.Helper()
	info, err := os.Lstat(filepath.Join(root, name))
	if err != nil {
		return "missing"
	}
	s := info.Sys().(*syscall.Stat_t)
	return fmt.Sprintf("%04o %s:%s", info.Mode().Perm(), entry(t, root, "passwd", s.Uid), entry(t, root, "group", s.Gid))
}

// entry finds the name of a number in passwd or group of a root.
func entry(t *testing.T, root, file string, id uint32) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(root, "etc", file))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if f := strings.Split(strings.TrimSpace(line), ":"); len(f) > 2 && f[2] == fmt.Sprint(id) {
			return f[0]
		}
	}
	return fmt.Sprint(id)
}

// placed are the files that both packages put at the same place.
var placed = map[string]string{
	"/usr/bin/scimbox":                                   "0755 root:root",
	"/etc/scimbox/scimbox.toml":                          "0640 root:scimbox",
	"/var/lib/scimbox":                                   "0700 scimbox:scimbox",
	"/usr/lib/sysusers.d/scimbox.conf":                   "0644 root:root",
	"/usr/share/man/man1/scimbox.1.gz":                   "0644 root:root",
	"/usr/share/bash-completion/completions/scimbox":     "0644 root:root",
	"/usr/share/fish/vendor_completions.d/scimbox.fish":  "0644 root:root",
	"/usr/share/doc/scimbox/config.example.toml":         "0644 root:root",
	"/usr/share/doc/scimbox/docs/operating.md":           "0644 root:root",
	"/usr/share/doc/scimbox/THIRD-PARTY-LICENCES.txt.gz": "0644 root:root",
}

const (
	conf = "/etc/scimbox/scimbox.toml"
	data = "/var/lib/scimbox"
)

// inside runs scimbox in a root as its user, with an empty environment.
func inside(t *testing.T, root string, args ...string) (string, error) {
	t.Helper()
	return sh(t, "chroot", append([]string{"--userspec=scimbox:scimbox", root, "/usr/bin/env", "-i", "/usr/bin/scimbox"}, args...)...)
}

// The life of the .deb on a machine: install, use, upgrade, remove, purge.
func TestDeb(t *testing.T) {
	root := cleanRoot(t)
	first := filepath.Join(release010(t), "scimbox-0.1.0-linux-amd64.deb")
	second := repacked(t, "0.2.0", "deb")

	out := must(t, "dpkg", "--root="+root, "--install", first)
	if !strings.Contains(out, "systemctl enable --now scimbox") {
		t.Errorf("the installation does not say what comes next:\n%s", out)
	}
	for name, want := range placed {
		if got := owner(t, root, name); got != want {
			t.Errorf("%s is %s, want %s", name, got, want)
		}
	}
	for _, name := range []string{"/lib/systemd/system/scimbox.service", "/lib/systemd/system/scimbox-https.socket", "/lib/systemd/system/scimbox-http.socket", "/usr/share/zsh/vendor-completions/_scimbox"} {
		if got := owner(t, root, name); got != "0644 root:root" {
			t.Errorf("%s is %s", name, got)
		}
	}
	if got := strings.TrimSpace(must(t, "dpkg-deb", "--field", first, "Maintainer")); got != keeper {
		t.Errorf("the maintainer is %q, want %q", got, keeper)
	}
	if out, err := inside(t, root, "version"); err != nil || !strings.HasPrefix(out, "scimbox 0.1.0 (") {
		t.Errorf("version: %v %s", err, out)
	}
	if out, err := inside(t, root, "config", "check", "--config", conf); err != nil || !strings.Contains(out, data) {
		t.Errorf("the configuration of the package: %v\n%s", err, out)
	}
	if out, err := inside(t, root, "token", "create", "--config", conf, "--name", "kept", "--scope", "read"); err != nil {
		t.Errorf("the first token: %v\n%s", err, out)
	}

	// An administrator's configuration outlives an upgrade, which asks nothing, and so do the data.
	edited := "data = \"/var/lib/scimbox\"\n[log]\nlevel = \"warn\"\n"
	if err := os.WriteFile(filepath.Join(root, conf), []byte(edited), 0o600); err != nil {
		t.Fatal(err)
	}
	must(t, "chmod", "0600", filepath.Join(root, conf))
	out = must(t, "dpkg", "--root="+root, "--install", second)
	if strings.Contains(out, "does not run yet") {
		t.Errorf("an upgrade speaks as if it were the first installation:\n%s", out)
	}
	if got, err := os.ReadFile(filepath.Join(root, conf)); err != nil || string(got) != edited {
		t.Errorf("the configuration after an upgrade: %v\n%s", err, got)
	}
	if got := owner(t, root, conf); got != "0600 root:scimbox" {
		t.Errorf("after an upgrade the configuration is %s, and an administrator had made it 0600", got)
	}
	must(t, "chmod", "0640", filepath.Join(root, conf))
	if out, err := inside(t, root, "token", "list", "--config", conf); err != nil || !strings.Contains(out, "kept") {
		t.Errorf("the data after an upgrade: %v\n%s", err, out)
	}

	must(t, "dpkg", "--root="+root, "--remove", "scimbox")
	if got := owner(t, root, "/usr/bin/scimbox"); got != "missing" {
		t.Errorf("the program is still there: %s", got)
	}
	if got := owner(t, root, conf); got != "0640 root:scimbox" {
		t.Errorf("the configuration after a removal: %s", got)
	}
	out = must(t, "dpkg", "--root="+root, "--purge", "scimbox")
	if !strings.Contains(out, "the data are kept in /var/lib/scimbox") || !strings.Contains(out, "rm -r /var/lib/scimbox && userdel scimbox") {
		t.Errorf("a purge does not say what is left:\n%s", out)
	}
	if got := owner(t, root, conf); got != "missing" {
		t.Errorf("the configuration after a purge: %s", got)
	}
	if got := owner(t, root, data+"/store"); !strings.HasSuffix(got, "scimbox:scimbox") {
		t.Errorf("the data after a purge: %s", got)
	}
}

// Nothing is left of an installation that was never used.
func TestDebUnused(t *testing.T) {
	root := cleanRoot(t)
	must(t, "dpkg", "--root="+root, "--install", filepath.Join(release010(t), "scimbox-0.1.0-linux-amd64.deb"))
	out := must(t, "dpkg", "--root="+root, "--purge", "scimbox")
	for _, name := range []string{data, "/etc/scimbox"} {
		if got := owner(t, root, name); got != "missing" {
			t.Errorf("%s is left: %s\n%s", name, got, out)
		}
	}
}

func TestLintian(t *testing.T) {
	need(t, "lintian")
	deb := filepath.Join(release010(t), "scimbox-0.1.0-linux-amd64.deb")
	if out, err := sh(t, "lintian", "--allow-root", "--fail-on", "error,warning", "--info", deb); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

func TestRPM(t *testing.T) {
	need(t, "rpm")
	first := filepath.Join(release010(t), "scimbox-0.1.0-linux-amd64.rpm")
	for query, want := range map[string]string{
		"%{NAME} %{VERSION} %{ARCH} %{BUILDHOST}": "scimbox 0.1.0 x86_64 localhost",
		"%{PACKAGER}":         keeper,
		"[%{REQUIRENAME} ]":   "shadow-utils",
		"[%{RECOMMENDNAME} ]": "bash-completion",
	} {
		if got := must(t, "rpm", "-qp", "--nosignature", "--queryformat", query, first); !strings.Contains(got, want) {
			t.Errorf("%s is %q, want %q", query, got, want)
		}
	}
	// Noreplace: what an administrator has changed stays, and the new one is put beside it.
	files := strings.Split(must(t, "rpm", "-qp", "--nosignature", "--queryformat", `[%{FILENAMES} %{FILEMODES:perms} %{FILEUSERNAME}:%{FILEGROUPNAME} %{FILEFLAGS:fflags}\n]`, first), "\n")
	if !slices.Contains(files, conf+" -rw-r----- root:scimbox cn") {
		t.Errorf("the configuration is not as it should be:\n%s", strings.Join(files, "\n"))
	}

	root := cleanRoot(t)
	second := repacked(t, "0.2.0", "rpm")
	install := func(how, file string) string {
		return must(t, "rpm", "--root", root, "--nodeps", "--nosignature", how, file)
	}
	if out := install("-i", first); !strings.Contains(out, "systemctl enable --now scimbox") {
		t.Errorf("the installation does not say what comes next:\n%s", out)
	}
	for name, want := range placed {
		if got := owner(t, root, name); got != want {
			t.Errorf("%s is %s, want %s", name, got, want)
		}
	}
	if got := owner(t, root, "/usr/lib/systemd/system/scimbox.service"); got != "0644 root:root" {
		t.Errorf("the unit is %s", got)
	}
	if out, err := inside(t, root, "token", "create", "--config", conf, "--name", "kept", "--scope", "read"); err != nil {
		t.Errorf("the first token: %v\n%s", err, out)
	}
	edited := "data = \"/var/lib/scimbox\"\n[log]\nlevel = \"warn\"\n"
	if err := os.WriteFile(filepath.Join(root, conf), []byte(edited), 0o600); err != nil {
		t.Fatal(err)
	}
	install("-U", second)
	if got, err := os.ReadFile(filepath.Join(root, conf)); err != nil || string(got) != edited {
		t.Errorf("the configuration after an upgrade: %v\n%s", err, got)
	}
	if out, err := inside(t, root, "token", "list", "--config", conf); err != nil || !strings.Contains(out, "kept") {
		t.Errorf("the data after an upgrade: %v\n%s", err, out)
	}
	out := must(t, "rpm", "--root", root, "--nodeps", "-e", "scimbox")
	if !strings.Contains(out, "the data are kept in /var/lib/scimbox") {
		t.Errorf("a removal does not say what is left:\n%s", out)
	}
	if got := owner(t, root, data+"/store"); !strings.HasSuffix(got, "scimbox:scimbox") {
		t.Errorf("the data after a removal: %s", got)
	}
}

// repacked is a package of a later version, with the program of the first.
func repacked(t *testing.T, version, format string) string {
	t.Helper()
	release010(t)
	r := release{source: filepath.Join(scratch, "scimbox"), out: t.TempDir(), version: version, keeper: nobody, log: new(strings.Builder), temp: t.TempDir()}
	if err := r.when(t.Context()); err != nil {
		t.Fatal(err)
	}
	x := target{"linux", "amd64"}
	binary, err := r.build(t.Context(), x)
	if err != nil {
		t.Fatal(err)
	}
	texts := map[string]string{"scimbox.1": "", "scimbox.bash": "", "scimbox.zsh": "", "scimbox.fish": ""}
	if err := r.pack(t.Context(), x, format, binary, "", texts); err != nil {
		t.Fatal(err)
	}
	return filepath.Join(r.out, r.name(x)+"."+format)
}
