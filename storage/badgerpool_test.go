package storage

import (
	"testing"
	"testing/synctest"

	"github.com/dgraph-io/ristretto/v2/z"
)

// What tables were built in is given back at once, and not two seconds after the last one was built.
func TestDrainPool(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		db := &struct{ allocPool *z.AllocatorPool }{z.NewAllocatorPool(8)}
		if !drainPool(db) {
			t.Fatal("the pool was not found")
		}
		for range 3 {
			a := db.allocPool.Get(1<<10, "test")
			db.allocPool.Return(a)
			synctest.Wait()
			if z.AllocatorFrom(a.Ref) != nil {
				t.Fatal("the pool keeps what was returned")
			}
		}
		db.allocPool.Release() // and what drains it ends, or the bubble would not
	})
}

// The pool is a field of Badger's that is not exported. An engine without it works, and takes twice the memory.
func TestPoolOfBadger(t *testing.T) {
	e, err := openBadgerWith(badgerOptions(t.TempDir(), nil), "")
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	if !drainPool(e.db) {
		t.Error("this version of Badger keeps its buffers somewhere else: see docs/decisions/0098-memory-for-building-tables.md")
	}
	for _, db := range []any{&struct{}{}, &struct{ allocPool int }{}, &struct{ allocPool *z.AllocatorPool }{}, &struct{ allocPool *struct{ allocCh chan int } }{new(struct{ allocCh chan int })}} {
		if drainPool(db) {
			t.Errorf("%T has no such pool", db)
		}
	}
}
