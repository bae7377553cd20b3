package storage_test

import (
	"os"
	"testing"

	"pgregory.net/rapid"

	"scimbox/storage"
	"scimbox/storage/storagetest"
)

// Records with more links than this are swept.
const fewLinks = 2

func TestModelMemory(t *testing.T) {
	storagetest.Rounds(t, 100)
	rapid.Check(t, func(rt *rapid.T) {
		storagetest.Store(rt, func(c *storagetest.Clock) *storage.Store {
			s, err := storage.Open(t.Context(), storage.Memory(), storage.Options{Clock: c.Now}.WithSweepLinks(fewLinks))
			if err != nil {
				rt.Fatal(err)
			}
			return s
		}, nil)
	})
}

func TestModelDirectory(t *testing.T) { testModelDirectory(t, 12, false) }

// A store that keeps rows in memory is the same store.
func TestModelKeepingRows(t *testing.T) { testModelDirectory(t, 12, true) }

func testModelDirectory(t *testing.T, rounds int, keeps bool) {
	storagetest.Rounds(t, rounds)
	rapid.Check(t, func(rt *rapid.T) {
		dir, err := os.MkdirTemp(t.TempDir(), "")
		if err != nil {
			rt.Fatal(err)
		}
		defer os.RemoveAll(dir)
		open := func(c *storagetest.Clock) *storage.Store {
			s, err := storage.OpenDir(t.Context(), dir, storage.Options{Clock: c.Now}.WithSweepLinks(fewLinks))
			if err != nil {
				rt.Fatal(err)
			}
			if keeps {
				if err := s.KeepRows(t.Context(), 32<<20); err != nil {
					rt.Fatal(err)
				}
			}
			return s
		}
		storagetest.Store(rt, open, func(s *storage.Store, c *storagetest.Clock) *storage.Store {
			if err := s.Close(); err != nil {
				rt.Fatal(err)
			}
			return open(c)
		})
	})
}
