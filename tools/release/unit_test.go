package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// need skips a test that a program is missing for. .ci/run installs them all and takes a skipped test for a failure.
func need(t *testing.T, programs ...string) {
	t.Helper()
	for _, p := range programs {
		if _, err := exec.LookPath(p); err != nil {
			t.Skipf("%s is not installed here; .ci/run installs it", p)
		}
	}
}

// sh runs a command and returns all that it prints.
func sh(t *testing.T, name string, args ...string) (string, error) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), name, args...)
	cmd.Env = append(os.Environ(), "LC_ALL=C", "SYSTEMD_PAGER=", "TERM=dumb", "PATH="+os.Getenv("PATH")+":/usr/sbin:/sbin")
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// must is for commands that are no question.
func must(t *testing.T, name string, args ...string) string {
	t.Helper()
	out, err := sh(t, name, args...)
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return out
}

const unitDir = "../../packaging/systemd"

// systemd understands every line of the units, and each unit that they name.
func TestUnitsAreUnderstood(t *testing.T) {
	need(t, "systemd-analyze")
	dir := t.TempDir()
	program := filepath.Join(dir, "scimbox")
	if err := os.WriteFile(program, []byte("#!/bin/sh\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	args := []string{"verify", "--man=no"}
	for _, unit := range units {
		text, err := os.ReadFile(filepath.Join(unitDir, unit))
		if err != nil {
			t.Fatal(err)
		}
		// The program is not installed where the test runs.
		placed := filepath.Join(dir, unit)
		if err := os.WriteFile(placed, []byte(strings.ReplaceAll(string(text), "/usr/bin/scimbox", program)), 0o644); err != nil {
			t.Fatal(err)
		}
		args = append(args, placed)
	}
	if out, err := sh(t, "systemd-analyze", args...); err != nil || strings.TrimSpace(out) != "" {
		t.Errorf("%v\n%s", err, out)
	}
}

// The service can do little more than it has to: 0 is nothing, 10 is all that root can do.
func TestUnitIsHardened(t *testing.T) {
	need(t, "systemd-analyze")
	out, err := sh(t, "systemd-analyze", "security", "--offline=true", "--no-pager", "--threshold=19", filepath.Join(unitDir, "scimbox.service"))
	if err != nil {
		t.Errorf("the exposure is 2.0 or more: %v\n%s", err, out)
	}
	if lines := strings.Split(strings.TrimSpace(out), "\n"); len(lines) > 0 {
		t.Log(lines[len(lines)-1])
	}
}

// What the unit says of the program is what the program does.
func TestUnitFitsTheProgram(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(unitDir, "scimbox.service"))
	if err != nil {
		t.Fatal(err)
	}
	program, err := os.ReadFile("../../cli/cli.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range []string{"exitUsage   = 2 ", "exitDamage  = 3 ", "exitHeld    = 4 "} {
		if !strings.Contains(string(program), line) {
			t.Errorf("cli.go has no %q; RestartPreventExitStatus in the unit is made of it", line)
		}
	}
	if !strings.Contains(string(text), "\nRestartPreventExitStatus=2 3 4\n") {
		t.Error("the unit starts again what cannot be helped by it")
	}
	if !strings.Contains(string(text), "\nStandardOutput=null\n") {
		t.Error("the token of a first start would be kept in the journal")
	}
}
