package cli

import (
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"testing"
	"time"
)

func TestGrowth(t *testing.T) {
	for _, c := range []struct {
		alive, goal uint64 // MiB
	}{
		{0, 128}, {1, 128}, {10, 128}, {64, 128}, {80, 128}, {90, 135}, {128, 192}, {200, 264}, {400, 464}, {1000, 1120}, {4000, 4480},
	} {
		alive := c.alive << 20
		goal := max(alive, 1<<20) * uint64(100+growth(alive)) / 100 >> 20
		if goal > c.goal || goal < c.goal-c.goal/50-1 { // whole percents
			t.Errorf("with %d MiB alive the heap may become %d MiB, want %d", c.alive, goal, c.goal)
		}
	}
}

// What the runtime is told follows what is alive, from one collection to the next.
func TestKeepPace(t *testing.T) {
	before := debug.SetGCPercent(100)
	defer debug.SetGCPercent(before)
	told := func() uint64 {
		s := []metrics.Sample{{Name: "/gc/gogc:percent"}}
		metrics.Read(s)
		return s[0].Value.Uint64()
	}
	becomes := func(what string, ok func(percent uint64) bool) {
		t.Helper()
		for begin := time.Now(); !ok(told()); runtime.Gosched() {
			if time.Since(begin) > time.Minute {
				t.Fatalf("%s: the runtime still has %d", what, told())
			}
			runtime.GC()
		}
	}
	end := keepPace([]string{"HOME=/", "GOGC="})
	becomes("with little alive", func(p uint64) bool { return p > 100 })
	much := make([]byte, 2*worthCollecting)
	becomes("with much alive", func(p uint64) bool { return p < heapGrowth })
	runtime.KeepAlive(much)
	becomes("with little alive again", func(p uint64) bool { return p > 100 })

	// Neither one that has ended nor one that was not wanted sets anything.
	end()
	defer keepPace([]string{"HOME=/", "GOGC=200"})()
	debug.SetGCPercent(77)
	for range 5 {
		cleaned := make(chan struct{})
		runtime.AddCleanup(new([64]byte), func(c chan struct{}) { close(c) }, cleaned)
		for waiting := true; waiting; {
			runtime.GC()
			select {
			case <-cleaned:
				waiting = false
			default:
			}
		}
	}
	if told() != 77 {
		t.Errorf("the runtime has %d, and nobody should have told it", told())
	}
}
