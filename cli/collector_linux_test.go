package cli

import (
	"os"
	"strconv"
	"strings"
	"testing"
)

// The reserve has no pages, also where the runtime had to write zeros into it.
func TestReserveTakesNothing(t *testing.T) {
	resident := func() int {
		b, err := os.ReadFile("/proc/self/statm")
		if err != nil {
			t.Fatal(err)
		}
		n, err := strconv.Atoi(strings.Fields(string(b))[1])
		if err != nil {
			t.Fatal(err)
		}
		return n * os.Getpagesize()
	}
	b := make([]byte, reserve)
	for i := range b {
		b[i] = 0
	}
	before := resident()
	untouched(b)
	if now := resident(); now > before-reserve/2 {
		t.Errorf("the process takes %d MiB, and %d before", now>>20, before>>20)
	}
	if b[0] != 0 || b[reserve-1] != 0 {
		t.Error("what comes back is not zero")
	}
}
