package main

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// The image is built by a real builder from the Dockerfile as it is, and its program run as the user that it names, with
// the image's environment and nothing else. Only the image that the first stage begins with is a stand-in where no registry can be
// reached: a Debian with the Go of this machine.
func TestImage(t *testing.T) {
	need(t, "buildah", "mmdebstrap")
	if os.Getuid() != 0 {
		t.Skip("the builder unpacks a Debian, for which it has to be root; .ci/run is run as root")
	}
	state := t.TempDir()
	buildah := func(args ...string) []string {
		return append([]string{"--storage-driver", "vfs", "--root", filepath.Join(state, "images"), "--runroot", filepath.Join(state, "run")}, args...)
	}
	source := filepath.Join(t.TempDir(), "source")
	if err := checkout(source); err != nil {
		t.Fatal(err)
	}
	standIn(t, buildah, from(t, source))

	where := strings.Fields(must(t, "go", "env", "GOMODCACHE", "GOROOT", "GOCACHE"))
	must(t, "buildah", buildah("bud", "--isolation", "chroot", "--format", "docker", "--pull-never", "--layers=false",
		"--volume", filepath.Join(where[0], "cache", "download")+":/proxy:ro", "--volume", where[1]+":/usr/local/go:ro", "--volume", where[2]+":/cache",
		"--build-arg", "VERSION=0.1.0", "--build-arg", "COMMIT=abcdef", "--build-arg", "TARGETOS=linux", "--build-arg", "TARGETARCH=amd64",
		"--build-arg", "BUILDPLATFORM=linux/amd64",
		"--tag", "scimbox", source)...)

	var image struct {
		Docker struct {
			Config struct {
				User        string
				Env         []string
				Entrypoint  []string
				Cmd         []string
				Volumes     map[string]any
				Ports       map[string]any `json:"ExposedPorts"`
				StopSignal  string
				Healthcheck struct{ Test []string }
			} `json:"config"`
		}
	}
	if err := json.Unmarshal([]byte(must(t, "buildah", buildah("inspect", "--type", "image", "scimbox")...)), &image); err != nil {
		t.Fatal(err)
	}
	c := image.Docker.Config
	if c.User != "65532:65532" || c.StopSignal != "SIGTERM" || len(c.Volumes) != 1 || c.Volumes["/var/lib/scimbox"] == nil {
		t.Errorf("user %q, signal %q, volumes %v", c.User, c.StopSignal, c.Volumes)
	}
	if want := []string{"CMD", "/scimbox", "healthcheck"}; !slices.Equal(c.Healthcheck.Test, want) {
		t.Errorf("the health check is %v, want %v", c.Healthcheck.Test, want)
	}
	if !slices.Equal(c.Entrypoint, []string{"/scimbox"}) || !slices.Equal(c.Cmd, []string{"serve"}) {
		t.Errorf("it starts %v %v", c.Entrypoint, c.Cmd)
	}

	container := strings.TrimSpace(must(t, "buildah", buildah("from", "--pull-never", "scimbox")...))
	root := strings.TrimSpace(must(t, "buildah", buildah("mount", container)...))
	var files []string
	err := filepath.WalkDir(root, func(name string, e os.DirEntry, err error) error {
		if err == nil && !e.IsDir() {
			files = append(files, strings.TrimPrefix(name, root))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	// Nothing to get a foothold with: no shell, no package manager, no library.
	want := []string{"/etc/ssl/certs/ca-certificates.crt", "/scimbox", "/usr/share/doc/scimbox/LICENSE", "/usr/share/doc/scimbox/config.example.toml"}
	if !slices.Equal(files, want) {
		t.Errorf("the image holds %v, want %v", files, want)
	}
	// As the image says, and with no right that root has: user, environment, root directory.
	inside := func(args ...string) *exec.Cmd {
		cmd := exec.CommandContext(t.Context(), "/scimbox", args...)
		cmd.Env, cmd.Dir = append(slices.Clone(c.Env), "SCIMBOX_LISTEN=127.0.0.1:0"), "/"
		cmd.SysProcAttr = &syscall.SysProcAttr{Chroot: root, Credential: &syscall.Credential{Uid: 65532, Gid: 65532}}
		return cmd
	}
	if out, err := inside("version").CombinedOutput(); err != nil || !strings.HasPrefix(string(out), "scimbox 0.1.0 (commit abcdef, ") {
		t.Errorf("version: %v %s", err, out)
	}
	if out, err := inside("healthcheck").CombinedOutput(); err == nil {
		t.Errorf("nothing runs, and it is healthy: %s", out)
	}
	server := inside("serve")
	var log strings.Builder
	server.Stderr = &log
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	deadline := time.After(time.Minute)
	for inside("healthcheck").Run() != nil {
		select {
		case <-deadline:
			t.Errorf("the server does not become healthy:\n%s", &log)
			_ = server.Process.Kill()
		case <-time.After(50 * time.Millisecond):
			continue
		}
		break
	}
	if got := owner(t, root, "var/lib/scimbox"); got != "0700 65532:65532" {
		t.Errorf("the data directory is %s", got)
	}
	if err := server.Process.Signal(syscall.SIGTERM); err != nil {
		t.Error(err)
	}
	if err := server.Wait(); err != nil {
		t.Errorf("stopped by the image's signal: %v\n%s", err, &log)
	}
}

// from is the image that the Dockerfile begins with.
func from(t *testing.T, source string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(source, "Dockerfile"))
	if err != nil {
		t.Fatal(err)
	}
	m := regexp.MustCompile(`(?m)^FROM (?:--platform=\S+ )?(\S+) AS build$`).FindSubmatch(text)
	if m == nil {
		t.Fatal("the Dockerfile has no stage named build")
	}
	return string(m[1])
}

// standIn makes an image of that name from a Debian. Its Go is the one of this machine, with the modules and the cache that
// it has already: mounted, because the builder copies the whole image for each step.
func standIn(t *testing.T, buildah func(...string) []string, name string) {
	t.Helper()
	debian, err := base()
	if err != nil {
		t.Fatal(err)
	}
	container := strings.TrimSpace(must(t, "buildah", buildah("from", "scratch")...))
	root := strings.TrimSpace(must(t, "buildah", buildah("mount", container)...))
	must(t, "cp", "-a", debian+"/.", root)
	must(t, "mkdir", "-p", filepath.Join(root, "etc/ssl/certs"))
	must(t, "cp", "/etc/ssl/certs/ca-certificates.crt", filepath.Join(root, "etc/ssl/certs"))
	must(t, "buildah", buildah("config", "--env", "PATH=/usr/local/go/bin:/usr/sbin:/usr/bin:/sbin:/bin",
		"--env", "GOPROXY=file:///proxy", "--env", "GOCACHE=/cache", "--env", "GONOSUMDB=*", "--env", "GOFLAGS=-mod=mod", "--env", "GOTOOLCHAIN=local", container)...)
	must(t, "buildah", buildah("commit", "--format", "docker", "--rm", container, "docker.io/library/"+name)...)
}

// The Dockerfile is as hadolint wants it.
func TestDockerfile(t *testing.T) {
	need(t, "hadolint")
	if out, err := sh(t, "hadolint", "../../Dockerfile"); err != nil || strings.TrimSpace(out) != "" {
		t.Errorf("%v\n%s", err, out)
	}
}
