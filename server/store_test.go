package server

import (
	"testing"

	"scimbox/storage"
)

func TestRowMemory(t *testing.T) {
	for _, test := range []struct{ limit, units int64 }{
		{0, 2},
		{8 << 30, 2},
		{16 * storage.RowMemoryUnit, 2},
		{16*storage.RowMemoryUnit - 1, 1},
		{(512 << 20) / 100 * 60, 1}, // a container of 512 MB
		{8 * storage.RowMemoryUnit, 1},
		{8*storage.RowMemoryUnit - 1, 0},
		{1, 0},
	} {
		if got := rowMemory(test.limit); got != test.units*storage.RowMemoryUnit {
			t.Errorf("of %d bytes rows may have %d, want %d times %d", test.limit, got, test.units, storage.RowMemoryUnit)
		}
	}
}
