//go:build unix

package main

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"testing"

	"scimbox/bench"
)

// A short run measures everything that a long one does, finds the store whole afterwards, and leaves nothing behind.
func TestBench(t *testing.T) {
	dir := t.TempDir()
	cmd := exec.CommandContext(t.Context(), "scimbox", "bench", "--users", "1000", "--duration", "100ms", "--dir", dir, "--json")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("scimbox bench: %v\n%s", err, &stderr)
	}
	var r bench.Report
	if err := json.Unmarshal(out, &r); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	seen := map[string]bool{}
	for _, x := range r.Results {
		if seen[x.Name] {
			t.Errorf("%s is there twice", x.Name)
		}
		seen[x.Name] = true
		if x.PerSecond <= 0 && x.P50 <= 0 && x.Value == "" {
			t.Errorf("%s: nothing was measured", x.Name)
		}
		if x.Limit != "" && x.Ratio <= 0 {
			t.Errorf("%s has a limit and no ratio", x.Name)
		}
		if x.P99 != 0 && x.P99 < x.P50 {
			t.Errorf("%s: p50 %s, p99 %s", x.Name, x.P50, x.P99)
		}
	}
	for _, name := range []string{"GET /Users/{id}", "GET /Users?filter=userName eq", "POST /Users, durable", "PATCH of one attribute, durable", "mix of an Entra cycle, durable"} {
		if !seen[name] {
			t.Errorf("%s was not measured", name)
		}
	}
	if r.Serves.Users != 1000 || r.Serves.GroupSize != 1000 || r.Serves.PerSecond <= 0 {
		t.Errorf("it serves %+v", r.Serves)
	}
	left, err := os.ReadDir(dir)
	if err != nil || len(left) > 0 {
		t.Errorf("left behind: %v %v", left, err)
	}
}
