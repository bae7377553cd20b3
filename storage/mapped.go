package storage

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"slices"
	"sort"
	"sync"
	"sync/atomic"
	"time"

	"github.com/dgraph-io/ristretto/v2/z"
)

// Badger makes a file by giving it a length, maps it and writes into the map. The system looks for the blocks then, and where it
// finds none it ends the process by SIGBUS. So the files are made here instead, with the blocks that will be written
// (docs/decisions/0068-blocks-before-maps.md), and Badger never sees that making one has failed, because it does not survive
// that either:
//
//   - A file is waited for until there is room. A merge that is told that one of its tables could not be made leaves that out
//     and deletes those from which it was made.
//   - A log is made, and has room for what comes next, before Badger is given anything to write. Who has no room for that refuses
//     the change, of which nothing has been written then.

const (
	tableExt, logExt = ".sst", ".mem"

	headBlock     = 4096     // what is ever written of a value log and of the account of it: their beginning
	manifestRoom  = 64 << 10 // more than a change of the manifest takes
	fileRetry     = 200 * time.Millisecond
	logStep       = 64 << 10    // how much of a log is allocated at a time at least, and
	maxLogStep    = 4 << 20     // at most, if no single transaction needs more
	patience      = time.Second // of somebody who opens or closes
	rowLogCost    = 40          // what a row takes in a log besides its key and value, at most, and more
	commitLogCost = 256
)

// mapped are the files that an engine maps in its directory.
type mapped struct {
	dir     string
	log     *slog.Logger
	logSize int64

	mu        sync.Mutex
	current   spare                                   // the log that is written
	at        int64                                   // how far it may be written
	next      spare                                   // the one after it, if it was made
	nextName  string                                  // what that is called
	underWay  int64                                   // bytes of transactions that are being committed
	waiting   int                                     // files that cannot be made
	cause     error                                   // why not
	broken    error                                   // what nobody can mend but a new start
	damage    *DamageError                            // a file could not be read
	refuse    atomic.Pointer[func(what string) error] // of tests: a file that is to have blocks, or "sync" and a table
	stuck     chan struct{}                           // closed while a file is waited for, and when something is broken
	abandoned context.Context                         // ends when nobody is interested in it any more
	abandon   context.CancelFunc
	parked    chan struct{} // where Badger's goroutines are kept that must not go on: for ever, and until the end of a test
}

// spare is a file that has some of its blocks, and no length yet.
type spare struct {
	f         *os.File
	allocated int64
}

// area is where in memory a file is.
type area struct {
	from, to uintptr
	name     string
	owner    *mapped
}

// engines are those that are open in this process, and what they have mapped.
var engines = struct {
	sync.Mutex
	at    map[string]*mapped // by directory
	areas []area             // in order, apart from one another: there are as many as tables, and each that is opened is looked for
}{at: map[string]*mapped{}}

var openAsBadger, syncAsBadger = z.OpenMmapFile, z.Msync

func init() { z.OpenMmapFile, z.Msync = openMapped, syncMapped }

// newMapped takes a directory, in which Badger makes its logs so long.
func newMapped(dir string, logSize int64, log *slog.Logger) (*mapped, error) {
	m := &mapped{
		dir: filepath.Clean(dir), log: log, logSize: logSize,
		stuck: make(chan struct{}), parked: make(chan struct{}),
	}
	m.abandoned, m.abandon = context.WithCancel(context.Background())
	engines.Lock()
	defer engines.Unlock()
	if engines.at[m.dir] != nil {
		return nil, ErrLocked
	}
	engines.at[m.dir] = m
	return m, nil
}

// close gives the directory back, when Badger has closed its files or not made any.
func (m *mapped) close() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	var err error
	if m.next.f != nil {
		err = errors.Join(m.next.f.Close(), os.Remove(m.nextName))
		m.next = spare{}
	}
	engines.Lock()
	defer engines.Unlock()
	if engines.at[m.dir] == m {
		delete(engines.at, m.dir)
	}
	engines.areas = slices.DeleteFunc(engines.areas, func(a area) bool { return a.owner == m })
	return err
}

// unlessStuck opens or closes the engine. Should a table have to be waited for, that is not done for long, and it returns why:
// Badger is left where it is, the directory as by a crash, and somebody else may have it once this process has ended and with it
// Badger's lock.
func (m *mapped) unlessStuck(do func() error) error {
	m.mu.Lock()
	stuck, damage := m.stuck, m.damage
	m.mu.Unlock()
	if damage != nil {
		return damage
	}
	done := make(chan error, 1)
	go func() { done <- do() }()
	select {
	case err := <-done:
		return err
	case <-stuck:
	}
	select {
	case err := <-done:
		return err
	case <-time.After(patience):
	}
	m.abandon()
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.broken != nil {
		return m.broken
	}
	return m.full(m.cause)
}

func openMapped(name string, flag, size int) (*z.MmapFile, error) {
	engines.Lock()
	m := engines.at[filepath.Dir(name)]
	engines.Unlock()
	if m == nil {
		return openAsBadger(name, flag, size)
	}
	mf, err := m.open(name, flag, size)
	if mf != nil {
		m.located(name, mf.Data)
	}
	return mf, err
}

func (m *mapped) open(name string, flag, size int) (*z.MmapFile, error) {
	if info, err := os.Stat(name); err == nil && info.Size() > 0 || flag&os.O_CREATE == 0 {
		return openAsBadger(name, flag, size)
	}
	if mf, err := m.takeSpare(name, size); mf != nil || err != nil {
		return mf, err
	}
	for waited := false; ; waited = true {
		mf, err := m.create(name, flag, size)
		if err == nil {
			if waited {
				m.waited()
			}
			return mf, z.NewFile
		}
		m.wait(err, !waited)
		select {
		case <-m.abandoned.Done():
			<-m.parked
		case <-time.After(fileRetry):
		}
	}
}

// prepare makes the next log, or lets it have more blocks.
func (m *mapped) prepare(size int64) error {
	if m.next.f != nil {
		return m.grow(&m.next, size)
	}
	f, err := os.OpenFile(m.nextName, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	s := spare{f: f}
	if err := m.grow(&s, size); err != nil {
		return errors.Join(err, f.Close(), os.Remove(m.nextName))
	}
	m.next = s
	return nil
}

// grow sees to it that so much of the file has blocks.
func (m *mapped) grow(s *spare, size int64) error {
	if size <= s.allocated {
		return nil
	}
	if refuse := m.refuse.Load(); refuse != nil {
		if err := (*refuse)(s.f.Name()); err != nil {
			return err
		}
	}
	if filepath.Ext(s.f.Name()) == logExt {
		size = (size + logStep - 1) / logStep * logStep
	}
	err := allocate(s.f, s.allocated, size-s.allocated)
	if errors.Is(err, errors.ErrUnsupported) {
		err = writeZeros(s.f, s.allocated, size-s.allocated)
	}
	if err == nil {
		s.allocated = size
	}
	return err
}

// writeZeros is how a file gets blocks where the system cannot be asked for them.
func writeZeros(f *os.File, at, n int64) error {
	b := make([]byte, min(n, 1<<20))
	for end := at + n; at < end; at += int64(len(b)) {
		b = b[:min(int64(len(b)), end-at)]
		if _, err := f.WriteAt(b, at); err != nil {
			return err
		}
	}
	return nil
}

// mapFile gives a file its length and maps it.
func mapFile(f *os.File, size int) (*z.MmapFile, error) {
	if err := f.Truncate(int64(size)); err != nil {
		return nil, err
	}
	return z.OpenMmapFileUsing(f, 0, true)
}

// takeSpare hands a log out that was made before, or nil.
func (m *mapped) takeSpare(name string, size int) (*z.MmapFile, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.next.f == nil || m.next.f.Name() != name {
		return nil, nil
	}
	mf, err := mapFile(m.next.f, size)
	if err != nil {
		return nil, err
	}
	next := m.next
	m.next = spare{}
	return mf, m.isCurrent(next)
}

// isCurrent says which log is written from now on.
func (m *mapped) isCurrent(s spare) error {
	var id int
	if _, err := fmt.Sscanf(filepath.Base(s.f.Name()), "%d"+logExt, &id); err != nil {
		return err
	}
	m.nextName = filepath.Join(m.dir, fmt.Sprintf("%05d"+logExt, id+1))
	m.current, m.at = s, commitLogCost+m.underWay
	return z.NewFile
}

// create makes a file with the blocks that will be written.
func (m *mapped) create(name string, flag, size int) (_ *z.MmapFile, err error) {
	f, err := os.OpenFile(name, flag, 0o600)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, f.Close(), os.Remove(name))
		}
	}()
	s, n := spare{f: f}, int64(headBlock)
	switch filepath.Ext(name) {
	case tableExt:
		n = int64(size)
		// With a table the manifest is written, whose end Badger does not find again when that has failed half-way.
		if err := growManifest(filepath.Join(m.dir, manifestName)); err != nil {
			return nil, err
		}
	case logExt:
		n = logStep
	}
	if err := m.grow(&s, n); err != nil {
		return nil, err
	}
	mf, err := mapFile(f, size)
	if err == nil && filepath.Ext(name) == logExt {
		m.mu.Lock()
		defer m.mu.Unlock()
		if err := m.isCurrent(s); err != z.NewFile {
			return nil, err
		}
	}
	return mf, err
}

// growManifest lets the manifest have blocks behind its end.
func growManifest(name string) error {
	f, err := os.OpenFile(name, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if err := allocate(f, info.Size(), manifestRoom); !errors.Is(err, errors.ErrUnsupported) {
		return err
	}
	return nil
}

// wait remembers that a table cannot be made.
func (m *mapped) wait(cause error, first bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.cause = cause
	if !first {
		return
	}
	if m.waiting++; m.waiting == 1 {
		m.log.Error("a table cannot be written: changes are refused until it can, reads go on", "store", m.dir, "error", cause)
		if m.broken == nil {
			close(m.stuck)
		}
	}
}

func (m *mapped) waited() {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.waiting--; m.waiting == 0 {
		m.log.Info("the table is written: changes are taken again", "store", m.dir)
		if m.broken == nil {
			m.stuck = make(chan struct{})
		}
	}
}

// room sees to it that Badger can commit a transaction without asking the system for anything: into the log that it writes, or
// the next one. The caller says by done when it has.
func (m *mapped) room(rows, bytes int64) (done func(), err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	switch {
	case m.broken != nil:
		return nil, fmt.Errorf("%w: %w", ErrUnknownOutcome, m.broken)
	case m.damage != nil:
		return nil, fmt.Errorf("%w: %w", ErrReadOnly, m.damage)
	case m.waiting > 0:
		return nil, m.full(m.cause)
	}
	n := bytes + rows*rowLogCost + commitLogCost
	if err := m.prepare(m.underWay + n); err != nil {
		return nil, m.full(err)
	}
	if end := min(m.at+n, m.logSize); end > m.current.allocated {
		more := min(m.current.allocated, maxLogStep) // the more, the less often
		if err := m.grow(&m.current, min(max(end, m.current.allocated+more), m.logSize)); err != nil {
			return nil, m.full(err)
		}
	}
	m.at += n
	m.underWay += n
	return func() {
		m.mu.Lock()
		defer m.mu.Unlock()
		m.underWay -= n
	}, nil
}

// full is what becomes of a change for which there is no room.
func (m *mapped) full(cause error) error {
	free, err := freeSpace(m.dir)
	if err != nil {
		free = 0
	}
	return &SpaceError{Dir: m.dir, Free: free, Need: maxLogStep, Err: cause}
}

// syncMapped makes a new table durable. When that fails nobody knows what the disk has of it, and asking again is no help. Badger
// must not go on without it, and is not let go on at all.
func syncMapped(b []byte) error {
	err := syncAsBadger(b)
	a, ok := areaOf(reflect.ValueOf(b).Pointer())
	if ok && err == nil {
		if refuse := a.owner.refuse.Load(); refuse != nil {
			err = (*refuse)("sync " + a.name)
		}
	}
	if err == nil || !ok {
		return err
	}
	a.owner.breakDown(fmt.Errorf("writing %s: %w", a.name, err))
	<-a.owner.parked
	return err
}

func (m *mapped) breakDown(cause error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.broken != nil {
		return
	}
	m.broken = cause
	m.log.Error("a table cannot be written; nothing is lost, and the server has to be restarted", "store", m.dir, "error", cause)
	if m.waiting == 0 {
		close(m.stuck)
	}
}

// located remembers where a file is in memory.
func (m *mapped) located(name string, data []byte) {
	if len(data) == 0 {
		return
	}
	from := reflect.ValueOf(data).Pointer()
	to := from + uintptr(len(data))
	engines.Lock()
	defer engines.Unlock()
	first, end := areaFrom(from), areaFrom(to) // between them are those of files that are no more
	if end < len(engines.areas) && engines.areas[end].from < to {
		end++
	}
	engines.areas = slices.Replace(engines.areas, first, end, area{from, to, name, m})
}

// areaFrom returns the index of the first area that ends behind an address. The caller has locked engines.
func areaFrom(address uintptr) int {
	return sort.Search(len(engines.areas), func(i int) bool { return engines.areas[i].to > address })
}

func areaOf(address uintptr) (area, bool) {
	engines.Lock()
	defer engines.Unlock()
	if i := areaFrom(address); i < len(engines.areas) && engines.areas[i].from <= address {
		return engines.areas[i], true
	}
	return area{}, false
}

// faultOf returns what a panic says if it comes from a file that could not be read where it is mapped, because the disk fails or
// the file was cut: the system says so by a signal, which is a panic where debug.SetPanicOnFault was asked for. Else it is nil.
func faultOf(cause any) error {
	at, ok := cause.(interface {
		runtime.Error
		Addr() uintptr
	})
	if !ok {
		return nil
	}
	a, ok := areaOf(at.Addr())
	if !ok {
		return nil
	}
	damage := &DamageError{a.name, fmt.Errorf("the system cannot read it where it is mapped: the disk fails, or the file was cut short. Restart the server, which looks at all tables; %s", wayBack)}
	m := a.owner
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.damage == nil {
		m.damage = damage
		m.log.Error("a file of the store cannot be read: changes are refused, and whatever is in it is answered with an error", "file", a.name)
	}
	return damage
}
