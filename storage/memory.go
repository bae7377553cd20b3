package storage

import (
	"context"
	"iter"
	"sync"

	"github.com/tidwall/btree"
)

// What one transaction takes in memory: as much as on disk (badger.go), so that what fits in a test fits there.
const (
	memoryRows  = 26_000
	memoryBytes = 2_500_000
	memoryValue = 1<<20 - 1
)

type memory struct {
	mu     sync.Mutex
	rows   *btree.Map[string, []byte]
	closed bool
}

// Memory returns an engine that keeps nothing beyond its own life: for tests, and as the oracle for other engines.
func Memory() Engine { return &memory{rows: new(btree.Map[string, []byte])} }

// snapshot returns the rows as they are now. Copying is lazy: the tree is shared until one side writes.
func (m *memory) snapshot() (*btree.Map[string, []byte], error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		return nil, ErrClosed
	}
	return m.rows.Copy(), nil
}

// View implements [Engine].
func (m *memory) View(ctx context.Context, fn func(Reader) error) error {
	rows, err := m.snapshot()
	if err != nil {
		return err
	}
	return fn(memoryReader{ctx, rows})
}

// Update implements [Engine].
func (m *memory) Update(ctx context.Context, fn func(Writer) error) error {
	rows, err := m.snapshot()
	if err != nil {
		return err
	}
	o := newOverlay(memoryReader{ctx, rows})
	o.maxRows, o.maxBytes, o.maxValue = memoryRows, memoryBytes, memoryValue
	if err := fn(o); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		return ErrClosed
	}
	return o.each(func(k, v []byte) error {
		m.rows.Set(string(k), v)
		return nil
	}, func(k []byte) error {
		m.rows.Delete(string(k))
		return nil
	})
}

// Close implements [Engine].
func (m *memory) Close() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.closed = true
	return nil
}

type memoryReader struct {
	ctx  context.Context
	rows *btree.Map[string, []byte]
}

// Share implements [Sharer]: nobody writes into a snapshot.
func (r memoryReader) Share() Reader { return r }

// Get implements [Reader].
func (r memoryReader) Get(key []byte) ([]byte, error) {
	if v, ok := r.rows.Get(string(key)); ok {
		return v, nil
	}
	return nil, ErrNotFound
}

// Scan implements [Reader].
func (r memoryReader) Scan(span Range) iter.Seq2[Item, error] {
	return func(yield func(Item, error) bool) {
		n := 0
		take := func(k string, v []byte) bool {
			if n++; n%scanCheck == 0 && r.ctx.Err() != nil {
				yield(Item{}, r.ctx.Err())
				return false
			}
			if span.KeysOnly {
				v = nil
			}
			return yield(Item{[]byte(k), v}, nil)
		}
		switch {
		case !span.Reverse:
			r.rows.Ascend(string(span.Start), func(k string, v []byte) bool {
				return (len(span.End) == 0 || k < string(span.End)) && take(k, v)
			})
		case len(span.End) == 0:
			r.rows.Reverse(func(k string, v []byte) bool { return k >= string(span.Start) && take(k, v) })
		default:
			r.rows.Descend(string(span.End), func(k string, v []byte) bool {
				return k >= string(span.Start) && (k == string(span.End) || take(k, v))
			})
		}
	}
}

// scanCheck is how many rows a scan goes on before it looks whether anybody is still waiting for it.
const scanCheck = 1024
