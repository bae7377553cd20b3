package storage

import (
	"reflect"
	"testing"

	"github.com/dgraph-io/ristretto/v2/z"
)

// What tables were built in is given back at once, and not two seconds after the last one was built.
func TestBuildMemoryIsNotKept(t *testing.T) {
	pool := z.NewAllocatorPool(8)
	defer pool.Release()
	for range 3 {
		a := pool.Get(1<<10, "test")
		pool.Return(a)
		if z.AllocatorFrom(a.Ref) != nil {
			t.Fatal("the pool keeps what was returned")
		}
	}
	pool.Return(nil)
}

// The pool is a field of Badger's that is not exported.
func TestPoolOfBadger(t *testing.T) {
	field, ok := reflect.TypeFor[badgerEngine]().FieldByName("db")
	if ok {
		field, ok = field.Type.Elem().FieldByName("allocPool")
	}
	if !ok || field.Type != reflect.TypeFor[*z.AllocatorPool]() {
		t.Error("this version of Badger keeps its buffers somewhere else: see docs/decisions/0098-memory-for-building-tables.md")
	}
}
