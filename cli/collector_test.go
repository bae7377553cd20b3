package cli

import (
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"testing"
)

func runtimeSays(name string) uint64 {
	s := []metrics.Sample{{Name: name}}
	metrics.Read(s)
	return s[0].Value.Uint64()
}

// However little is alive, the heap grows by a half of the reserve before it is collected, and nothing is taken for that.
func TestSetCollector(t *testing.T) {
	before := debug.SetGCPercent(100)
	defer debug.SetGCPercent(before)
	kept := setCollector([]string{"HOME=/", "GOGC="})
	for i := range kept {
		if i%(1<<20) == 0 && kept[i] != 0 {
			t.Fatal("the reserve was in use before") // and would have pages of its own then
		}
	}
	runtime.GC()
	goal, alive := runtimeSays("/gc/heap/goal:bytes"), runtimeSays("/gc/heap/live:bytes")
	if alive < reserve || alive > reserve+64<<20 || goal < alive+reserve/2 || goal > alive*8/5 {
		t.Errorf("%d MiB are alive, and the heap may become %d MiB", alive>>20, goal>>20)
	}
	runtime.KeepAlive(kept)
}

func TestSetCollectorAsTold(t *testing.T) {
	before := debug.SetGCPercent(77)
	defer debug.SetGCPercent(before)
	for _, told := range []string{"GOGC=200", "GOGC=off", "GOMEMLIMIT=1GiB"} {
		if setCollector([]string{"HOME=/", told}) != nil || runtimeSays("/gc/gogc:percent") != 77 {
			t.Errorf("%s is set, and the runtime has %d", told, runtimeSays("/gc/gogc:percent"))
		}
	}
}
