// Scimbox is a SCIM 2.0 server in one binary: identity providers create, change and remove users and groups in it.
package main

import (
	"context"
	"os"
	"os/signal"
	"path/filepath"
	"regexp"
	"runtime/debug"
	"strings"
	"syscall"

	"scimbox/cli"
)

// version and commit are set by the linker for a release: -ldflags "-X main.version=1.2.3".
var version, commit string

func main() { os.Exit(run()) }

func run() int {
	stop, hurry := signals()
	v, c := build()
	return cli.Run(stop, hurry, cli.Program{
		Args: os.Args[1:], Env: os.Environ(), Stdout: os.Stdout, Stderr: os.Stderr, Name: name(os.Args[0]), Version: v, Commit: c,
	})
}

// signals returns a context that ends with the first wish to stop and one that ends with the second.
func signals() (stop, hurry context.Context) {
	stop, first := context.WithCancel(context.Background())
	hurry, second := context.WithCancel(context.Background())
	stops := make(chan os.Signal, 2)
	signal.Notify(stops, os.Interrupt, syscall.SIGTERM)
	go func() {
		<-stops
		first()
		<-stops
		second()
		<-stops
		os.Exit(1) // somebody is very sure
	}()
	return stop, hurry
}

// build returns the version and the commit that the program was built from.
func build() (v, c string) {
	v, c = version, commit
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return v, c
	}
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" {
			c = s.Value[:min(len(s.Value), 12)]
		}
	}
	// A release has a version that somebody has given it; what the go command makes up of a commit is none.
	if m := info.Main.Version; v == "" && m != "(devel)" && !strings.HasPrefix(m, "v0.0.0-") {
		v = strings.TrimPrefix(m, "v")
	}
	if v == "" {
		v = "dev"
	}
	return v, c
}

// runCache is the directory of a program that go run has kept from the last time.
var runCache = regexp.MustCompile(`/[0-9a-f]{64}-d/[^/]+$`)

// name returns what the person at the terminal has typed to get here, so that what we suggest can be pasted.
func name(program string) string {
	if strings.Contains(program, "go-build") || runCache.MatchString(filepath.ToSlash(program)) {
		return "go run ."
	}
	return program
}
