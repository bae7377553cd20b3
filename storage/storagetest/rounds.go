package storagetest

import (
	"flag"
	"strconv"
	"testing"
)

// Rounds sets how many examples rapid tries in a test, unless the command line does with -rapid.checks.
func Rounds(t *testing.T, n int) {
	const name = "rapid.checks"
	f, given := flag.Lookup(name), false
	flag.Visit(func(f *flag.Flag) { given = given || f.Name == name })
	if given {
		return
	}
	old := f.Value.String()
	if err := f.Value.Set(strconv.Itoa(n)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.Value.Set(old) })
}
