package storage_test

import (
	"testing"

	"scimbox/storage"
	"scimbox/storage/storagetest"
)

func TestMemoryEngine(t *testing.T) {
	storagetest.Engine(t, func(*testing.T) storage.Engine { return storage.Memory() }, nil)
}

func TestBadgerEngine(t *testing.T) {
	dirs := map[storage.Engine]string{}
	open := func(t *testing.T, dir string) storage.Engine {
		e, err := storage.OpenBadger(dir)
		if err != nil {
			t.Fatal(err)
		}
		dirs[e] = dir
		return e
	}
	storagetest.Engine(t,
		func(t *testing.T) storage.Engine { return open(t, t.TempDir()) },
		func(t *testing.T, e storage.Engine) storage.Engine {
			if err := e.Close(); err != nil {
				t.Fatal(err)
			}
			return open(t, dirs[e])
		})
}
