package cli

import (
	"io/fs"
	"path"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
)

// A process that takes more memory than its control group may have is killed. The runtime collects garbage when the heap has
// doubled, wherever the limit is, unless it is told of one: then it collects more often as it comes near.

// heapShare is how much of the limit, in percent, the runtime may aim at. The rest is for what it does not count: the logs and
// tables that the database maps into memory and the system cannot drop before they are written.
const heapShare = 60

// limitMemory tells the runtime of the limit that the system has set this process, and returns what it may take; 0 = there is none, or
// whoever starts the process has said himself by GOMEMLIMIT what it may take. reserved is what the runtime counts and nobody uses, in
// bytes (see setCollector).
func limitMemory(env []string, root fs.FS, reserved int64) int64 {
	if said(env, "GOMEMLIMIT") {
		return 0
	}
	limit := groupLimit(root)
	if limit == 0 {
		return 0
	}
	soft := limit / 100 * heapShare
	debug.SetMemoryLimit(soft + reserved)
	return soft
}

// groupLimit returns how much memory the control groups of this process may have, in bytes; 0 = as much as there is. root is
// the root of the file system.
func groupLimit(root fs.FS) (least int64) {
	groups, err := fs.ReadFile(root, "proc/self/cgroup")
	if err != nil {
		return 0 // another system
	}
	for line := range strings.Lines(string(groups)) {
		// "0::/path" for version 2, "4:memory:/path" for version 1. In a container the path may be one of outside, and
		// the group is mounted as the root.
		parts := strings.SplitN(strings.TrimSpace(line), ":", 3)
		if len(parts) != 3 {
			continue
		}
		mount, name := "sys/fs/cgroup", "memory.max"
		switch {
		case parts[0] == "0" && parts[1] == "":
		case slices.Contains(strings.Split(parts[1], ","), "memory"):
			mount, name = "sys/fs/cgroup/memory", "memory.limit_in_bytes"
		default:
			continue
		}
		for dir := path.Clean("/" + parts[2]); ; dir = path.Dir(dir) { // a group is held by the limits of those above it too
			if n := readLimit(root, path.Join(mount, dir, name)); n > 0 && (least == 0 || n < least) {
				least = n
			}
			if dir == "/" {
				break
			}
		}
	}
	return least
}

// unlimited is about what version 1 says where there is no limit.
const unlimited = 1 << 60

func readLimit(root fs.FS, name string) int64 {
	b, err := fs.ReadFile(root, name)
	if err != nil {
		return 0
	}
	n, err := strconv.ParseInt(strings.TrimSpace(string(b)), 10, 64)
	if err != nil || n >= unlimited { // "max"
		return 0
	}
	return n
}
