package cli

import (
	"math"
	"runtime/debug"
	"testing"
	"testing/fstest"
)

func TestGroupLimit(t *testing.T) {
	const v1, v2 = "sys/fs/cgroup/memory", "sys/fs/cgroup"
	for name, c := range map[string]struct {
		files map[string]string
		want  int64
	}{
		"another system":             {nil, 0},
		"no limit":                   {map[string]string{"proc/self/cgroup": "0::/\n"}, 0},
		"no limit, version 2":        {map[string]string{"proc/self/cgroup": "0::/a\n", v2 + "/a/memory.max": "max\n"}, 0},
		"no limit, version 1":        {map[string]string{"proc/self/cgroup": "4:memory:/\n", v1 + "/memory.limit_in_bytes": "9223372036854771712\n"}, 0},
		"version 2":                  {map[string]string{"proc/self/cgroup": "0::/a/b.service\n", v2 + "/a/b.service/memory.max": "536870912\n"}, 512 << 20},
		"version 2, a container":     {map[string]string{"proc/self/cgroup": "0::/\n", v2 + "/memory.max": "536870912\n"}, 512 << 20},
		"version 2, of a slice":      {map[string]string{"proc/self/cgroup": "0::/a/b\n", v2 + "/a/memory.max": "1000\n", v2 + "/a/b/memory.max": "2000\n"}, 1000},
		"version 1":                  {map[string]string{"proc/self/cgroup": "5:cpu:/x\n4:memory:/p/q\n0::/\n", v1 + "/p/q/memory.limit_in_bytes": "4096\n"}, 4096},
		"version 1, path of outside": {map[string]string{"proc/self/cgroup": "4:memory:/docker/123\n", v1 + "/memory.limit_in_bytes": "4096\n"}, 4096},
		"version 1, two controllers": {map[string]string{"proc/self/cgroup": "4:cpu,memory:/p\n", v1 + "/p/memory.limit_in_bytes": "4096\n"}, 4096},
		"nonsense":                   {map[string]string{"proc/self/cgroup": "x\n4:memory\n0::../../etc\n", v2 + "/memory.max": "much\n"}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			root := fstest.MapFS{}
			for name, text := range c.files {
				root[name] = &fstest.MapFile{Data: []byte(text)}
			}
			if got := groupLimit(root); got != c.want {
				t.Errorf("groupLimit = %d, want %d", got, c.want)
			}
		})
	}
}

func TestLimitMemory(t *testing.T) {
	before := debug.SetMemoryLimit(-1)
	defer debug.SetMemoryLimit(before)
	root := fstest.MapFS{
		"proc/self/cgroup":         {Data: []byte("0::/\n")},
		"sys/fs/cgroup/memory.max": {Data: []byte("1000000000\n")},
	}
	debug.SetMemoryLimit(math.MaxInt64)
	if got := limitMemory([]string{"GOMEMLIMIT=1GiB"}, root, 7); got != 0 || debug.SetMemoryLimit(-1) != math.MaxInt64 {
		t.Errorf("with GOMEMLIMIT: %d, and the runtime has %d", got, debug.SetMemoryLimit(-1))
	}
	if got := limitMemory([]string{"HOME=/"}, fstest.MapFS{}, 7); got != 0 || debug.SetMemoryLimit(-1) != math.MaxInt64 {
		t.Errorf("without a limit: %d, and the runtime has %d", got, debug.SetMemoryLimit(-1))
	}
	if got := limitMemory([]string{"HOME=/", "GOMEMLIMIT="}, root, 7); got != 600_000_000 || debug.SetMemoryLimit(-1) != got+7 {
		t.Errorf("with a limit: %d, and the runtime has %d, want 600000000 and 7 more", got, debug.SetMemoryLimit(-1))
	}
}
