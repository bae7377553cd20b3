package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"scimbox/bench"
)

// memoryGroup makes a control group that may have so many bytes of memory, and returns its directory and the name of the file in it that says
// whether a process was killed for want of memory.
func memoryGroup(t *testing.T, limit int) (dir, events string) {
	t.Helper()
	var errs []error
	for _, version := range []struct{ mount, limit, events string }{
		{"/sys/fs/cgroup/memory", "memory.limit_in_bytes", "memory.oom_control"},
		{"/sys/fs/cgroup", "memory.max", "memory.events"},
	} {
		dir, err := os.MkdirTemp(version.mount, "scimbox-test-")
		if err == nil {
			t.Cleanup(func() {
				if err := os.Remove(dir); err != nil {
					t.Error(err)
				}
			})
			err = os.WriteFile(filepath.Join(dir, version.limit), []byte(strconv.Itoa(limit)), 0o600)
		}
		if err == nil {
			return dir, filepath.Join(dir, version.events)
		}
		errs = append(errs, err)
	}
	t.Skip("cannot limit the memory of a process here: ", errors.Join(errs...))
	return "", ""
}

// A server under all the load that scimbox bench knows fits into a container of 512 MB, together with the smaller one that it is compared with and
// whatever else bench runs but itself: nothing is killed.
func TestServesIn512MB(t *testing.T) {
	group, events := memoryGroup(t, 512<<20)
	program, err := exec.LookPath("scimbox")
	if err != nil {
		t.Fatal(err)
	}
	inside := filepath.Join(t.TempDir(), "inside")
	script := fmt.Sprintf("#!/bin/sh\necho $$ >'%s/cgroup.procs' && exec '%s' \"$@\"\n", group, program)
	if err := os.WriteFile(inside, []byte(script), 0o700); err != nil {
		t.Fatal(err)
	}
	r, err := bench.Run(t.Context(), bench.Options{Users: 10_000, Duration: time.Second, Dir: t.TempDir(), Program: inside, Version: "dev"})
	if err != nil {
		t.Error(err)
	}
	for _, x := range r.Results {
		if x.Memory > 0 {
			t.Logf("%s: %d MB of its own at the most, %.0f/s", x.Name, x.Memory>>20, x.PerSecond)
		}
	}
	b, err := os.ReadFile(events)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(b), "oom_kill 0\n") {
		t.Errorf("the system has killed processes for want of memory:\n%s", b)
	}
}
