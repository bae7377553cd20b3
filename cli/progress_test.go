package cli

import "testing"

func TestBar(t *testing.T) {
	for _, test := range []struct {
		done, total int64
		want        string
	}{
		{0, 100, "x [..............................]   0 %"},
		{50, 100, "x [###############...............]  50 %"},
		{99, 100, "x [#############################.]  99 %"},
		{100, 100, "x [##############################] 100 %"},
		{120, 100, "x [##############################] 100 %"}, // an estimate that was too low
		{0, 0, "x [##############################] 100 %"},
	} {
		if got := bar("x", test.done, test.total); got != test.want {
			t.Errorf("%d of %d: %s", test.done, test.total, got)
		}
	}
}
