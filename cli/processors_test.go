package cli

import (
	"runtime"
	"testing"
)

func TestSetPlaces(t *testing.T) {
	before := runtime.GOMAXPROCS(0)
	defer runtime.GOMAXPROCS(before)
	for _, c := range []struct {
		env       []string
		have, get int
	}{
		{nil, 1, 3},
		{[]string{"HOME=/", "GOMAXPROCS="}, 2, 4},
		{nil, 7, 9},
		{nil, 8, 8},
		{[]string{"GOMAXPROCS=2"}, 2, 2},
	} {
		runtime.GOMAXPROCS(c.have)
		if setPlaces(c.env); runtime.GOMAXPROCS(0) != c.get {
			t.Errorf("with %q %d places become %d, want %d", c.env, c.have, runtime.GOMAXPROCS(0), c.get)
		}
	}
}
