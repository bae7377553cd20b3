// Release builds all that a release consists of, into one directory:
//
//	make release VERSION=1.2.3
//	go -C tools run ./release -version 1.2.3
//
//	main.go       what is asked for, and the order in which it is made
//	build.go      the binaries
//	archive.go    tar.gz and zip with fixed times, SHA256SUMS
//	packages.go   .deb and .rpm: what is in them, and nfpm, which writes them
//	licences.go   the licences of everything that is linked, against docs/licences.md
//	sbom.go       the list of it for programs: CycloneDX
//
// The same commit gives the same bytes, wherever and whenever it is built with the same Go: paths, times, users and the
// name of the machine stay out of it. The date in everything is that of the commit.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/mail"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"
)

// targets are the systems that there are binaries for.
var targets = []target{
	{"linux", "amd64"}, {"linux", "arm64"}, {"darwin", "amd64"}, {"darwin", "arm64"}, {"windows", "amd64"},
}

type target struct{ os, arch string }

func (t target) String() string { return t.os + "/" + t.arch }

// release is one release on its way.
type release struct {
	source  string // directory of the product's go.mod
	out     string // directory that all goes to
	version string // semantic, without v
	keeper  string // whom the packages name as their maintainer
	commit  string // "" if not known
	date    time.Time
	log     io.Writer

	temp string // directory of what is not part of the release
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Stderr); err != nil {
		fmt.Fprintln(os.Stderr, "release:", err)
		os.Exit(1)
	}
}

// semver is what a version has to look like: rpm and deb sort by it.
var semver = regexp.MustCompile(`^\d+\.\d+\.\d+(-[0-9A-Za-z.-]+)?$`)

// nobody is the maintainer of packages that somebody has built for himself: the format wants an address, and .invalid is one that
// can be nobody's (RFC 2606 section 2).
const nobody = "whoever built this <nobody@scimbox.invalid>"

func run(ctx context.Context, args []string, log io.Writer) (err error) {
	r := release{log: log}
	var only, formats string
	flags := flag.NewFlagSet("release", flag.ContinueOnError)
	flags.SetOutput(log)
	flags.StringVar(&r.version, "version", "", "`version` without v, such as 1.2.3 (needed)")
	flags.StringVar(&r.source, "source", "..", "`directory` of the product's go.mod")
	flags.StringVar(&r.out, "out", "../dist", "`directory` to write to; must be empty or not exist")
	flags.StringVar(&r.keeper, "maintainer", nobody, "`\"NAME <ADDRESS>\"` of whoever answers for the packages")
	flags.StringVar(&only, "targets", "", "systems, such as linux/amd64,windows/amd64 (default: all)")
	flags.StringVar(&formats, "packages", "deb,rpm", "packages for Linux, \"\" for none")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if !semver.MatchString(r.version) {
		return fmt.Errorf("-version %q is no version; write three numbers, such as 1.2.3 or 1.2.3-rc.1", r.version)
	}
	if _, err := mail.ParseAddress(r.keeper); err != nil {
		return fmt.Errorf("-maintainer %q is no address (%w); write \"NAME <ADDRESS>\"", r.keeper, err)
	}
	wanted, err := choose(only)
	if err != nil {
		return err
	}
	if err := r.prepare(ctx); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(r.temp)) }()

	licences, err := readPolicy(filepath.Join(r.source, "docs", "licences.md"))
	if err != nil {
		return err
	}
	texts, err := r.texts(ctx)
	if err != nil {
		return err
	}
	for _, t := range wanted {
		if err := r.target(ctx, t, licences, texts, strings.FieldsFunc(formats, func(c rune) bool { return c == ',' })); err != nil {
			return fmt.Errorf("%s: %w", t, err)
		}
	}
	return r.sums()
}

func choose(only string) ([]target, error) {
	if only == "" {
		return targets, nil
	}
	var wanted []target
	for name := range strings.SplitSeq(only, ",") {
		i := slices.IndexFunc(targets, func(t target) bool { return t.String() == name })
		if i < 0 {
			return nil, fmt.Errorf("-targets: there is no release for %q, only for %v", name, targets)
		}
		wanted = append(wanted, targets[i])
	}
	return wanted, nil
}

// prepare finds out what is built, and makes the directories.
func (r *release) prepare(ctx context.Context) (err error) {
	for _, dir := range []*string{&r.source, &r.out} {
		if *dir, err = filepath.Abs(*dir); err != nil {
			return err
		}
	}
	if err := r.when(ctx); err != nil {
		return err
	}
	if err := os.MkdirAll(r.out, 0o755); err != nil {
		return err
	}
	there, err := os.ReadDir(r.out)
	if err != nil {
		return err
	}
	if len(there) > 0 {
		return fmt.Errorf("%s is not empty (%s); a release is not mixed with another one: remove it, or name another -out", r.out, there[0].Name())
	}
	r.temp, err = os.MkdirTemp("", "scimbox-release-")
	return err
}

// when takes commit and date from git, or the date from SOURCE_DATE_EPOCH where there is no git.
func (r *release) when(ctx context.Context) error {
	seconds := os.Getenv("SOURCE_DATE_EPOCH")
	if out, err := r.command(ctx, r.source, nil, "git", "log", "-1", "--format=%H %ct"); err == nil {
		commit, at, _ := strings.Cut(strings.TrimSpace(out), " ")
		r.commit = commit[:min(len(commit), 12)]
		if seconds == "" {
			seconds = at
		}
	}
	n, err := strconv.ParseInt(seconds, 10, 64)
	if err != nil {
		return fmt.Errorf("%s is no git repository and SOURCE_DATE_EPOCH is not set: the date of the release is not known", r.source)
	}
	r.date = time.Unix(n, 0).UTC()
	return nil
}

// target makes everything for one system.
func (r *release) target(ctx context.Context, t target, allowed policy, texts map[string]string, formats []string) error {
	fmt.Fprintf(r.log, "%s\n", t)
	binary, err := r.build(ctx, t)
	if err != nil {
		return err
	}
	linked, err := r.linked(ctx, t, binary, allowed)
	if err != nil {
		return err
	}
	notices := notices(linked)
	if err := r.bom(t, binary, linked); err != nil {
		return err
	}
	if err := r.archive(t, binary, notices, texts); err != nil {
		return err
	}
	if t.os == "linux" {
		for _, format := range formats {
			if err := r.pack(ctx, t, format, binary, notices, texts); err != nil {
				return fmt.Errorf("%s: %w", format, err)
			}
		}
	}
	return nil
}

// texts are the files that the program writes about itself: they are the same for all systems.
func (r *release) texts(ctx context.Context) (map[string]string, error) {
	// The one that runs here, whichever it is, under the name that it will have.
	binary, err := r.build(ctx, target{runtime.GOOS, runtime.GOARCH})
	if err != nil {
		return nil, err
	}
	texts := map[string]string{}
	for name, args := range map[string][]string{
		"scimbox.1":    {"man"},
		"scimbox.bash": {"completion", "bash"},
		"scimbox.zsh":  {"completion", "zsh"},
		"scimbox.fish": {"completion", "fish"},
	} {
		if texts[name], err = r.command(ctx, r.temp, nil, binary, args...); err != nil {
			return nil, err
		}
	}
	return texts, nil
}

// command returns what a command prints to standard output.
func (r *release) command(ctx context.Context, dir string, env []string, name string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), env...)
	var out, complaints strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &complaints
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("%s %s: %w\n%s", name, strings.Join(args, " "), err, complaints.String())
	}
	return out.String(), nil
}

// name is what a file of the release begins with.
func (r *release) name(t target) string {
	return fmt.Sprintf("scimbox-%s-%s-%s", r.version, t.os, t.arch)
}
