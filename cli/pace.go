package cli

import (
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"slices"
	"strings"
	"sync/atomic"
)

// The runtime collects garbage when the heap has doubled. While little is alive that is often, and costs reads a tenth of the
// processor; when the database merges tables much is alive for a moment, and twice as much is a lot. So how far the heap may
// grow is set anew after each collection (docs/decisions/0099-pace-of-the-collector.md).

const (
	// worthCollecting is how large the heap becomes at least before it is collected.
	worthCollecting = 128 << 20
	// heapGrowth is by how much, in percent of what is alive, a larger heap may grow: by mostGrowth at most, and by
	// leastGrowth percent in any case, so that a very large one does not do nothing but collect.
	heapGrowth  = 50
	mostGrowth  = 64 << 20
	leastGrowth = 12
)

// growth returns by how much of what is alive, in percent, the heap may grow until the next collection.
func growth(alive uint64) int {
	alive = max(alive, 1<<20)
	bytes := max(min(alive/100*heapGrowth, mostGrowth), alive/100*leastGrowth)
	if alive < worthCollecting {
		bytes = max(bytes, worthCollecting-alive)
	}
	return int(bytes * 100 / alive)
}

// pace sets the growth of the heap after each collection.
type pace struct {
	alive []metrics.Sample
	now   int // what the runtime has been told; 0 = nothing
	ended atomic.Bool
}

// keepPace begins to, until what it returns is called. Whoever starts the process and has said himself by GOGC what he wants
// is believed instead.
func keepPace(env []string) (end func()) {
	if slices.ContainsFunc(env, func(e string) bool { return strings.HasPrefix(e, "GOGC=") && e != "GOGC=" }) {
		return func() {}
	}
	p := &pace{alive: []metrics.Sample{{Name: "/gc/heap/live:bytes"}}}
	p.afterNext()
	return func() { p.ended.Store(true) }
}

// afterNext waits for the next collection: that is what finds out that an object is gone.
func (p *pace) afterNext() {
	object := new([64]byte)
	runtime.AddCleanup(object, func(p *pace) {
		if !p.ended.Load() {
			p.set()
			p.afterNext()
		}
	}, p)
}

func (p *pace) set() {
	metrics.Read(p.alive)
	percent := growth(p.alive[0].Value.Uint64())
	// To tell the runtime stops everything for a moment. A tenth more or less is not worth it.
	if d := percent - p.now; d*10 > p.now || -d*10 > p.now {
		p.now = percent
		debug.SetGCPercent(percent)
	}
}
