package storage

import (
	"reflect"

	"github.com/dgraph-io/ristretto/v2/z"
)

// Badger keeps the memory that it has built tables in for the next ones: eight pieces, each as large as the largest table that
// was ever built in it, until nothing was built for two seconds. Under load that is most of what the process takes, and the
// collector lets the heap grow to a multiple of it. There is no option for it (docs/decisions/0098-memory-for-building-tables.md).

// drainPool takes each piece out of the pool of a *badger.DB as soon as it lies in there, so that it is garbage. It ends
// when the engine is closed, which closes the channel that the pool is. It reports whether there is such a pool; where there
// is none, in another version of Badger, nothing is done.
func drainPool(db any) bool {
	field := reflect.ValueOf(db).Elem().FieldByName("allocPool")
	if !field.IsValid() || field.Kind() != reflect.Pointer || field.IsNil() {
		return false
	}
	field = field.Elem().FieldByName("allocCh")
	if !field.IsValid() || field.Type() != reflect.TypeFor[chan *z.Allocator]() {
		return false
	}
	// Neither field is exported or ever changed. Nothing is written here; and receiving from a channel is what Badger does too.
	pool := *reflect.NewAt(field.Type(), field.Addr().UnsafePointer()).Interface().(*chan *z.Allocator)
	go func() {
		for a := range pool {
			a.Release()
		}
	}()
	return true
}
