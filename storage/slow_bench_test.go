package storage

import (
	"context"
	"testing"
	"time"
)

// slowSync is a disk that takes so long for each commit besides.
type slowSync struct {
	Engine
	takes time.Duration
}

// Update implements [Engine].
func (e slowSync) Update(ctx context.Context, fn func(Writer) error) error {
	err := e.Engine.Update(ctx, fn)
	time.Sleep(e.takes)
	return err
}

// BenchmarkSlowDisk creates records by 64 writers on a disk that takes 5 ms for each commit, on top of what the commit takes by
// itself. The ratio is to one create for each of those commits.
func BenchmarkSlowDisk(b *testing.B) {
	const takes = 5 * time.Millisecond
	s, err := OpenDir(b.Context(), b.TempDir(), Options{MinFree: -1, Between: func(e Engine) Engine { return slowSync{e, takes} }})
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	before := s.commits.Load()
	b.ResetTimer()
	took := createBy(b, s, 64, b.N, "u")
	b.StopTimer()
	rate := float64(b.N) / took.Seconds()
	b.ReportMetric(rate, "creates/s")
	b.ReportMetric(rate*takes.Seconds(), "ratio")
	b.ReportMetric(float64(b.N)/float64(s.commits.Load()-before), "creates/commit")
}
