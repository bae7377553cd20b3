package storage

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"
)

// A full disk is survived (mapped.go), and nobody gets out of one without room: merging tables takes some before it gives some
// back. So the store takes no more changes while there is still room for all that the engine has yet to do with those it has
// (docs/decisions/0064-the-watermark.md).

const (
	// memTableSize is how much the engine collects in memory before it writes a table.
	memTableSize = 16 << 20
	// DefaultMinFree is how much room there has to be on the disk: what merging tables may take for a while, measured in
	// tables in memory.
	DefaultMinFree = 22 * memTableSize

	spaceEvery = time.Second // how often the disk is looked at when nothing is written
)

// SpaceError says that the disk has less room than the engine needs, so that nothing can be written. It is ErrReadOnly.
type SpaceError struct {
	Dir        string // the data directory
	Free, Need int64  // bytes
	Err        error  // what the system has said, if it was asked for room and had none; else nil
}

func (e *SpaceError) Error() string {
	if e.Err != nil {
		return fmt.Sprintf("the disk of %s is full: %v, with %s free. Nothing was changed; make room, or move the directory to a larger disk", e.Dir, e.Err, mebibytes(e.Free))
	}
	return fmt.Sprintf("the disk of %s has %s free, and the database needs %s ([storage] min_free) so that it cannot fail while it writes. Nothing was changed; make room, or move the directory to a larger disk", e.Dir, mebibytes(e.Free), mebibytes(e.Need))
}

// Unwrap returns ErrReadOnly.
func (e *SpaceError) Unwrap() error { return ErrReadOnly }

func mebibytes(n int64) string { return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20)) }

// space watches the room on a disk. The zero value, and nil, never find too little.
type space struct {
	dir  string
	need int64
	look func(dir string) (int64, error)
	log  *slog.Logger

	short atomic.Pointer[SpaceError] // nil = there is enough

	mu      sync.Mutex // one looks at a time
	failing bool       // the system has not answered the last time
}

func newSpace(dir string, o Options) *space {
	if o.MinFree < 0 {
		return nil
	}
	return &space{dir: dir, need: o.MinFree, look: o.FreeSpace, log: o.Logger}
}

// enough looks at the disk and returns a *SpaceError if there is too little room. Once there was too little, an eighth more is
// asked for, so that a store at the limit does not go to and fro with each change.
func (s *space) enough() error {
	if s == nil {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	free, err := s.look(s.dir)
	if err != nil {
		if !s.failing {
			s.log.Warn("nobody knows how much room there is on the disk; the server does not notice when it is full", "data", s.dir, "error", err)
		}
		s.failing = true
		return nil // whoever writes will find out
	}
	s.failing = false
	need, before := s.need, s.short.Load()
	if before != nil {
		need += need / 8
	}
	if free < need {
		short := &SpaceError{Dir: s.dir, Free: free, Need: need}
		s.short.Store(short)
		if before == nil {
			s.log.Error("the disk is almost full: changes are refused until there is room, reads go on", "data", s.dir, "free", free, "needed", need)
		}
		return short
	}
	if before != nil {
		s.short.Store(nil)
		s.log.Info("there is room on the disk again: changes are taken", "data", s.dir, "free", free)
	}
	return nil
}

// watch looks at the disk now and then, so that a store that nobody writes to knows that it could not, and forgets it again.
func (s *space) watch(ctx context.Context) {
	tick := time.NewTicker(spaceEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			_ = s.enough() // it remembers
		}
	}
}

// ReadOnly returns why the store takes no changes at the moment: a *SpaceError, or a *DamageError. nil means that it takes them.
func (s *Store) ReadOnly() error {
	if s.space != nil {
		if short := s.space.short.Load(); short != nil {
			return short
		}
	}
	if e, ok := s.engine.(interface{ refuses() error }); ok {
		return e.refuses()
	}
	return nil
}

// Free returns how much room the disk has, and below how much the store takes no changes; ok is false if it does not look.
func (s *Store) Free() (free, need int64, ok bool) {
	if s.space == nil {
		return 0, 0, false
	}
	free, err := s.space.look(s.space.dir)
	return free, s.space.need, err == nil
}
