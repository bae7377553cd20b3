package main

import (
	"context"
	"path/filepath"
)

// build compiles the binary of a system, once.
func (r *release) build(ctx context.Context, t target) (string, error) {
	name := "scimbox"
	if t.os == "windows" {
		name += ".exe"
	}
	binary := filepath.Join(r.temp, t.os+"-"+t.arch, name)
	flags := "-s -w -buildid= -X main.version=" + r.version
	if r.commit != "" {
		flags += " -X main.commit=" + r.commit
	}
	// -buildvcs=false: whether the tree has a file that git does not know is no property of the program. The commit is told
	// by -X. Nothing of this machine's settings may change what comes out, nor may a C library be needed to run it.
	_, err := r.command(ctx, r.source, []string{
		"CGO_ENABLED=0", "GOOS=" + t.os, "GOARCH=" + t.arch, "GOFLAGS=", "GOEXPERIMENT=", "GOAMD64=v1", "GOARM64=v8.0", "GOWORK=off",
	}, "go", "build", "-trimpath", "-buildvcs=false", "-ldflags", flags, "-o", binary, ".")
	return binary, err
}
