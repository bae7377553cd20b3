package cli

import (
	"runtime/debug"
	"slices"
	"strings"
)

// The runtime collects garbage when the heap has grown by a share of what is alive. While little is alive that is many times a
// second, and costs reads a tenth of the processor; when the database merges tables much is alive for a moment, and twice as much is
// a lot. So the share is a half, and of what is counted as alive a part is a piece of memory that nobody ever touches: the
// system gives it no page, and the collector never looks into it (docs/decisions/0099-pace-of-the-collector.md).

const (
	// reserve is how long the piece is: the heap then grows by 32 MiB at least until it is collected.
	reserve = 64 << 20
	// heapGrowth is by how much of what is alive and of the reserve the heap may grow, in percent.
	heapGrowth = 50
)

// setCollector sets how often garbage is collected, and returns the reserve, which has to be kept as long as that is to hold. Whoever
// starts the process and has said by GOGC or GOMEMLIMIT what he wants is believed instead, and nil is returned.
func setCollector(env []string) []byte {
	if said(env, "GOGC") || said(env, "GOMEMLIMIT") {
		return nil
	}
	debug.SetGCPercent(heapGrowth)
	b := make([]byte, reserve)
	untouched(b)
	return b
}

// said says whether a variable of the environment is set to anything.
func said(env []string, name string) bool {
	return slices.ContainsFunc(env, func(e string) bool { return strings.HasPrefix(e, name+"=") && e != name+"=" })
}
