package cli

import "runtime"

// A thread that waits for the disk keeps its place among those that run Go until the runtime notices, which takes up to 10 ms, and a
// goroutine that merges tables keeps its own for as long. With as many places as there are processors, requests wait behind both while a
// processor has nothing to do. Two places more leave it to the system, which shares the processors better
// (docs/decisions/0103-more-places-than-processors.md).

const (
	// morePlaces is how many threads more than there are processors may run Go at the same time.
	morePlaces = 2
	// manyPlaces is from how many on there are enough.
	manyPlaces = 8
)

// setPlaces lets more threads run Go than there are processors that this process may use. Whoever starts the process and has said by
// GOMAXPROCS how many he wants is believed instead.
func setPlaces(env []string) {
	if n := runtime.GOMAXPROCS(0); n < manyPlaces && !said(env, "GOMAXPROCS") {
		runtime.GOMAXPROCS(n + morePlaces)
	}
}
