package storage

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"iter"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"

	"github.com/dgraph-io/badger/v4"
	"github.com/dgraph-io/badger/v4/fb"
	"github.com/dgraph-io/badger/v4/options"
	"github.com/dgraph-io/badger/v4/pb"
	"github.com/dgraph-io/badger/v4/y"
	"github.com/klauspost/compress/snappy"
	"google.golang.org/protobuf/proto"
)

// maxBadgerValue is the largest value that stays in a table. Larger ones would go to Badger's value log, which serves
// damaged ones without an error.
const maxBadgerValue = 1<<20 - 1

// tableSize is how large a table file becomes, about, and blockSize a block of it before it is packed.
const (
	tableSize = 1 << 20
	blockSize = 8 << 10
)

// baseLevel is how large the level grows that tables in memory are merged into, and levelGrowth how many times as large each level is as
// the one above it. As soon as the lowest level has levelGrowth times the base level, Badger puts another level between the two, which each row
// is then merged through as well (docs/decisions/0101-a-larger-base-level.md, 0106-levels-of-six.md).
const (
	baseLevel   = 64 << 20
	levelGrowth = 6
)

type badgerEngine struct {
	db    *badger.DB
	dir   string
	files *mapped
	hot   *hotRows

	packed atomic.Pointer[packedRows] // nil until somebody calls keepRows

	// The engine numbers its commits itself. Where Badger does, whoever begins to read waits for the commit under way, which is
	// a disk sync away.
	mu      sync.Mutex
	last    uint64         // the last commit that is durable: what new readers see
	next    uint64         // the number of the next; numbers of commits that failed are not used again
	readers map[uint64]int // how many read what a commit has left

	listing sync.Mutex
	list    []uint64 // the tables in the manifest as it was when listed was said of it
	listed  fs.FileInfo
}

// badgerOptions are chosen for a small machine by measurement (docs/decisions/0012-engine-options.md). A table is built in
// memory, unpacked and packed, several at once: so tables are small, and on all levels of one size
// (docs/decisions/0098-memory-for-building-tables.md).
func badgerOptions(dir string, log badger.Logger) badger.Options {
	o := badger.DefaultOptions(dir).
		WithLogger(log).
		WithSyncWrites(true).
		WithChecksumVerificationMode(options.NoVerification). // verifyTables has done it, and survives what it finds
		WithValueThreshold(maxBadgerValue + 1).
		WithDetectConflicts(false). // there is one writer
		WithMetricsEnabled(false).
		WithMemTableSize(memTableSize).
		WithNumMemtables(2).
		WithNumCompactors(2).
		WithNumLevelZeroTables(6).
		WithNumLevelZeroTablesStall(12).
		WithBaseTableSize(tableSize).
		WithBaseLevelSize(baseLevel).
		WithLevelSizeMultiplier(levelGrowth).
		WithBlockCacheSize(20 << 20).
		WithBlockSize(blockSize).
		WithValueLogFileSize(1 << 20) // nothing is ever in it but its header
	o.TableSizeMultiplier = 1
	return o
}

// OpenBadger opens the engine alone in a directory, which it makes if there is none: without a seal, and without a look at
// the tables. It is for tests and measurements; OpenDir opens a store.
func OpenBadger(dir string) (Engine, error) { return openBadger(dir, slog.New(slog.DiscardHandler)) }

// openBadger opens the engine in a directory that exists, making it if the directory is empty. The tables that the manifest
// knows have been verified.
func openBadger(dir string, log *slog.Logger) (*badgerEngine, error) {
	return openBadgerWith(badgerOptions(dir, badgerLog{log}), dir)
}

// openBadgerToLook opens a copy of the engine in dir without what goes on by itself afterwards: tables are neither merged nor
// deleted. Errors speak of the original.
func openBadgerToLook(dir, original string, log *slog.Logger) (*badgerEngine, error) {
	// Without compactors nothing would ever make room again on the lowest level.
	return openBadgerWith(badgerOptions(dir, badgerLog{log}).WithNumCompactors(0).WithNumLevelZeroTablesStall(1<<20), original)
}

func openBadgerWith(o badger.Options, name string) (*badgerEngine, error) {
	log := slog.New(slog.DiscardHandler)
	if l, ok := o.Logger.(badgerLog); ok {
		log = l.log
	}
	files, err := newMapped(o.Dir, 2*o.MemTableSize, log)
	if err != nil {
		return nil, err
	}
	var db *badger.DB
	var last uint64
	err = files.unlessStuck(func() (err error) {
		if db, last, err = openManaged(o); err != nil {
			return errors.Join(err, files.close())
		}
		return nil
	})
	if err != nil {
		return nil, openError(name, err)
	}
	db.SetDiscardTs(last)
	return &badgerEngine{db: db, dir: o.Dir, files: files, hot: newHotRows(), last: last, next: last + 1, readers: map[uint64]int{}}, nil
}

func openManaged(o badger.Options) (db *badger.DB, last uint64, err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		switch cause := recover().(type) {
		case nil:
		case error:
			err = fmt.Errorf("the engine panics while it is opened: %w", cause)
		default: // at some of what it cannot read
			err = fmt.Errorf("the engine panics while it is opened: %v", cause)
		}
	}()
	if db, err = badger.OpenManaged(o); err == nil {
		last = db.MaxVersion()
	}
	return db, last, err
}

// openError says what an error means that Badger cannot be opened for. Badger hands on the texts of causes alone.
func openError(name string, err error) error {
	if strings.Contains(err.Error(), "Cannot acquire directory lock") {
		return fmt.Errorf("%w: %w", ErrLocked, err)
	}
	for _, no := range notDamage {
		if strings.Contains(err.Error(), no.Error()) {
			return fmt.Errorf("opening the store in %s: %w", name, err)
		}
	}
	return &DamageError{"the store in " + name, fmt.Errorf("%w. It is left as it is; %s", err, wayBack)}
}

// notDamage is what the system says when files may be whole.
var notDamage = []error{
	syscall.EACCES, syscall.EPERM, syscall.EROFS, syscall.ENOSPC, syscall.EDQUOT, syscall.EMFILE, syscall.ENFILE, syscall.ENOMEM,
}

// View implements [Engine].
func (e *badgerEngine) View(ctx context.Context, fn func(Reader) error) error {
	if e.db.IsClosed() {
		return ErrClosed
	}
	r := &badgerReader{ctx: ctx, e: e, at: e.beginRead()}
	defer e.endRead(r.at)
	defer r.discard()
	return fn(r)
}

func (e *badgerEngine) beginRead() uint64 {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.readers[e.last]++
	return e.last
}

func (e *badgerEngine) endRead(at uint64) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.readers[at]--; e.readers[at] == 0 {
		delete(e.readers, at)
	}
}

// Update implements [Engine]. Writes are collected above a snapshot, which nobody else can make old, and handed to Badger
// at the end: its own read-write transactions allow one scan at a time.
func (e *badgerEngine) Update(ctx context.Context, fn func(Writer) error) error {
	if e.db.IsClosed() {
		return ErrClosed
	}
	at := e.beginRead()
	defer e.endRead(at)
	snapshot := &badgerReader{ctx: ctx, e: e, at: at, writes: true}
	defer snapshot.discard()
	o := newOverlay(snapshot)
	o.maxRows, o.maxBytes, o.maxValue = e.db.MaxBatchCount()-2, e.db.MaxBatchSize()-2*rowCost, maxBadgerValue
	if err := fn(o); err != nil || o.rows.len() == 0 {
		return err
	}
	txn := e.db.NewTransactionAt(at, true)
	defer txn.Discard()
	err := o.each(txn.Set, txn.Delete)
	if errors.Is(err, badger.ErrTxnTooBig) {
		return ErrTooLarge
	}
	if err != nil {
		return err
	}
	done, err := e.files.room(int64(o.rows.len()), o.bytes)
	if err != nil {
		return err
	}
	defer done()
	e.mu.Lock()
	commit := e.next
	e.next++
	e.mu.Unlock()
	packed := e.packed.Load()
	o.rows.ascend(nil, func(w writtenRow) bool {
		if isHot(w.key) {
			e.hot.wrote(w.key, commit)
		}
		if packed != nil {
			if key := keptBy(w.key); key != nil {
				packed.wrote(key, commit)
			}
		}
		return true
	})
	if err := txn.CommitAt(commit, nil); err != nil {
		return fmt.Errorf("%w: %w", ErrUnknownOutcome, err)
	}
	e.committed(commit)
	return nil
}

// committed shows a commit to new readers, and lets Badger forget what nobody reads any more.
func (e *badgerEngine) committed(commit uint64) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.last = commit
	oldest := commit
	for at := range e.readers {
		oldest = min(oldest, at)
	}
	e.db.SetDiscardTs(oldest)
}

// refuses returns why the engine takes no changes at the moment, nil if it does.
func (e *badgerEngine) refuses() error {
	done, err := e.files.room(0, 0)
	if err == nil {
		done()
	}
	return err
}

// Close implements [Engine]. A *SpaceError says that there was no room for the table that Badger makes of what it has in memory. The
// directory is then as after a crash, and this process keeps it until it ends. So it is after a *DamageError: closing merges tables.
func (e *badgerEngine) Close() error {
	e.packed.Load().close()
	return e.files.unlessStuck(func() error { return errors.Join(e.db.Close(), e.files.close()) })
}

// tables returns the ids of the tables that the engine knows and that its manifest durably has. Badger's own list reads something of
// each table where it is mapped, with a lock that it keeps for ever should that fail.
func (e *badgerEngine) tables() ([]uint64, error) {
	e.listing.Lock()
	defer e.listing.Unlock()
	f, err := os.OpenFile(filepath.Join(e.dir, manifestName), os.O_RDWR, 0) // syncing it asks for no less on some systems
	if err != nil {
		return nil, err
	}
	defer f.Close()
	for {
		info, err := f.Stat()
		if err != nil || e.listed != nil && os.SameFile(e.listed, info) && e.listed.Size() == info.Size() {
			return e.list, err
		}
		if err := f.Sync(); err != nil {
			return nil, err
		}
		if _, err := f.Seek(0, io.SeekStart); err != nil {
			return nil, err
		}
		m, _, err := badger.ReplayManifestFile(f, 0, badgerOptions(e.dir, nil))
		if err != nil {
			return nil, err
		}
		if now, err := f.Stat(); err != nil || now.Size() != info.Size() {
			continue // what has come since may not be durable
		}
		e.list, e.listed = slices.Sorted(maps.Keys(m.Tables)), info
	}
}

// DiskSize returns how many bytes the engine's files take on disk.
func (e *badgerEngine) DiskSize() (int64, error) {
	var n int64
	err := filepath.WalkDir(e.dir, func(_ string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return ignoreGone(err)
		}
		info, err := d.Info()
		if err != nil {
			return ignoreGone(err)
		}
		n += sizeOnDisk(info)
		return nil
	})
	return n, err
}

// ignoreGone forgives files that a compaction has removed meanwhile.
func ignoreGone(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// badgerReader reads what one commit has left.
type badgerReader struct {
	ctx context.Context
	e   *badgerEngine
	at  uint64
	own *badger.Txn // nil until something is asked of the engine that is not kept

	writes  bool // for the committer
	passing bool // for somebody who goes from record to record, and of whom nothing is learnt
}

func (r *badgerReader) txn() *badger.Txn {
	if r.own == nil {
		r.own = r.e.db.NewTransactionAt(r.at, false)
	}
	return r.own
}

func (r *badgerReader) discard() {
	if r.own != nil {
		r.own.Discard()
	}
}

// Share implements [Sharer]: nothing in a transaction of Badger changes that only reads.
func (r *badgerReader) Share() Reader {
	return &badgerReader{ctx: r.ctx, e: r.e, at: r.at, own: r.txn(), passing: r.passing}
}

// find is Get out of the engine.
func (r *badgerReader) find(key []byte) (value []byte, err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if cause := recover(); cause != nil {
			if err = faultOf(cause); err == nil {
				panic(cause)
			}
		}
	}()
	item, err := r.txn().Get(key)
	if errors.Is(err, badger.ErrKeyNotFound) {
		return nil, ErrNotFound
	}
	if err != nil {
		return nil, err
	}
	return valueOf(item)
}

// valueOf returns the value of an item, which Badger has copied out of its table already: that of Txn.Get nobody else has, that of an
// iterator is valid until it goes on.
func valueOf(item *badger.Item) (value []byte, err error) {
	err = item.Value(func(v []byte) error {
		value = v
		return nil
	})
	return value, err
}

// scan is Scan out of the engine.
func (r *badgerReader) scan(span Range) iter.Seq2[Item, error] {
	return func(give func(Item, error) bool) {
		giving := false
		yield := func(it Item, err error) bool {
			giving = true
			more := give(it, err)
			giving = false
			return more
		}
		defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
		defer func() {
			cause := recover()
			if cause == nil {
				return
			}
			err := faultOf(cause)
			if err == nil || giving { // a panic of whoever reads is his
				panic(cause)
			}
			yield(Item{}, err)
		}()
		o := badger.IteratorOptions{Reverse: span.Reverse}
		if !span.Reverse {
			o.Prefix = commonPrefix(span.Start, span.End) // lets Badger leave out tables
		}
		it := r.txn().NewIterator(o)
		defer it.Close()
		from := span.Start
		if span.Reverse {
			from = span.End
		}
		n := 0
		for it.Seek(from); it.Valid(); it.Next() {
			if n++; n%scanCheck == 0 && r.ctx.Err() != nil {
				yield(Item{}, r.ctx.Err())
				return
			}
			item := it.Item()
			key := item.Key()
			switch {
			case span.Reverse && len(span.End) > 0 && string(key) >= string(span.End):
				continue // End itself
			case span.Reverse && string(key) < string(span.Start), !span.Reverse && len(span.End) > 0 && string(key) >= string(span.End):
				return
			}
			var value []byte
			if !span.KeysOnly {
				var err error
				if value, err = valueOf(item); err != nil {
					yield(Item{}, err)
					return
				}
			}
			if !yield(Item{key, value}, nil) {
				return
			}
		}
	}
}

// commonPrefix returns what all keys of a range begin with.
func commonPrefix(start, end []byte) []byte {
	if len(end) == 0 {
		return nil
	}
	if last := len(start) - 1; last >= 0 && last == len(end)-1 && start[last] < 0xFF && end[last] == start[last]+1 && string(start[:last]) == string(end[:last]) {
		return start // the range of all keys that begin with it
	}
	n := 0
	for n < len(start) && n < len(end) && start[n] == end[n] {
		n++
	}
	return start[:n]
}

// badgerLog takes over what Badger logs.
type badgerLog struct{ log *slog.Logger }

func (l badgerLog) say(level slog.Level, format string, args ...any) {
	if l.log.Enabled(context.Background(), level) {
		l.log.Log(context.Background(), level, "engine", "says", strings.TrimSpace(fmt.Sprintf(format, args...)))
	}
}

// Errorf implements [badger.Logger].
func (l badgerLog) Errorf(format string, args ...any) { l.say(slog.LevelError, format, args...) }

// Warningf implements [badger.Logger].
func (l badgerLog) Warningf(format string, args ...any) { l.say(slog.LevelWarn, format, args...) }

// Infof implements [badger.Logger]. What Badger thinks worth a line is not worth one of ours.
func (l badgerLog) Infof(format string, args ...any) { l.say(slog.LevelDebug, format, args...) }

// Debugf implements [badger.Logger]. Such lines may show keys, and keys hold what clients have sent: they are dropped.
func (l badgerLog) Debugf(string, ...any) {}

// manifest is what Badger's MANIFEST says, read before Badger itself opens the directory and deletes what is not in it.
type manifest struct {
	there  bool
	tables map[uint64]compression
	names  map[uint64]bool // of tables that it has ever had, since it was last written anew
	sum    uint32
}

// compression is how the blocks of a table are packed.
type compression = options.CompressionType

const manifestName = badger.ManifestFilename

func readManifest(dir string) (manifest, error) {
	path := filepath.Join(dir, manifestName)
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return manifest{}, nil
	}
	if err != nil {
		return manifest{}, err
	}
	defer f.Close()
	known, _, err := badger.ReplayManifestFile(f, 0, badgerOptions(dir, nil))
	if err != nil {
		return manifest{}, &DamageError{path, fmt.Errorf("%w. Nothing was changed; %s", err, wayBack)}
	}
	m := manifest{there: true, tables: map[uint64]compression{}}
	for id, t := range known.Tables {
		m.tables[id] = t.Compression
	}
	b, err := os.ReadFile(path)
	if err != nil {
		return m, err
	}
	m.names, m.sum = manifestNames(b), crc32.Checksum(b, castagnoli)
	return m, nil
}

// manifestNames returns which tables a manifest has a word about. It has been read without an error before: after 8 bytes
// come records of a length, a checksum and what has changed, and the last one may be incomplete.
func manifestNames(b []byte) map[uint64]bool {
	names := map[uint64]bool{}
	for b = b[8:]; len(b) >= 8; {
		n := int(binary.BigEndian.Uint32(b))
		if n > len(b)-8 {
			break
		}
		var set pb.ManifestChangeSet
		if proto.Unmarshal(b[8:8+n], &set) != nil {
			break
		}
		for _, c := range set.Changes {
			names[c.Id] = true
		}
		b = b[8+n:]
	}
	return names
}

// tableFiles returns the ids of the table files in a directory.
func tableFiles(dir string) ([]uint64, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var ids []uint64
	for _, e := range entries {
		var id uint64
		if n, err := fmt.Sscanf(e.Name(), "%d.sst", &id); n == 1 && err == nil && tableName(id) == e.Name() {
			ids = append(ids, id)
		}
	}
	return ids, nil
}

func tableName(id uint64) string { return fmt.Sprintf("%06d.sst", id) }

// isLog reports whether a file is a log of a table in memory, which holds what is in no table file yet.
func isLog(name string) bool { return filepath.Ext(name) == ".mem" }

// verifyTableIn compares all checksums of a table. Badger would do it as well; but what it finds ends the process if the file was
// cut, zeroed, or is damaged where it is compressed, and else is left out with a line in the log.
//
// A table ends with its index, the index's length, the index's checksum and that one's length.
func verifyTableIn(f io.ReaderAt, end int64, c compression) (err error) {
	defer func() {
		if cause := recover(); cause != nil { // a number that leads out of what was read
			err = fmt.Errorf("its structure is broken: %v", cause)
		}
	}()
	before := func(n int64) ([]byte, error) {
		if n < 0 || n > end {
			return nil, errors.New("it is cut short, or not a table")
		}
		end -= n
		b := make([]byte, n)
		_, err := f.ReadAt(b, end)
		return b, err
	}
	beforeLength := func() ([]byte, error) {
		b, err := before(4)
		if err != nil {
			return nil, err
		}
		return before(int64(binary.BigEndian.Uint32(b)))
	}
	sum, err := beforeLength()
	if err != nil {
		return err
	}
	index, err := beforeLength()
	if err != nil {
		return err
	}
	if len(sum) == 0 || len(index) == 0 {
		return errors.New("it has no index")
	}
	if err := verifySum(index, sum); err != nil {
		return fmt.Errorf("its index: %w", err)
	}
	t := fb.GetRootAsTableIndex(index, 0)
	if t.OffsetsLength() == 0 {
		return errors.New("it has no blocks")
	}
	var at fb.BlockOffset
	var plain []byte
	blocks := blockReader{r: f, end: end}
	for i := range t.OffsetsLength() {
		t.Offsets(&at, i)
		if int64(at.Offset())+int64(at.Len()) > end {
			return fmt.Errorf("its block %d lies outside", i)
		}
		packed, err := blocks.read(int64(at.Offset()), int(at.Len()))
		if err != nil {
			return fmt.Errorf("its block %d: %w", i, err)
		}
		if plain, err = unpackBlock(plain[:cap(plain)], packed, c); err == nil {
			err = verifyBlock(plain)
		}
		if err != nil {
			return fmt.Errorf("its block %d: %w", i, err)
		}
	}
	return nil
}

// blockReader reads blocks, which lie behind one another, many at a time.
type blockReader struct {
	r   io.ReaderAt
	end int64
	at  int64 // where b comes from
	b   []byte
}

func (r *blockReader) read(at int64, n int) ([]byte, error) {
	if at < r.at || at+int64(n) > r.at+int64(len(r.b)) {
		size := min(int64(max(n, 1<<18)), r.end-at)
		r.b = slices.Grow(r.b[:0], int(size))[:size]
		r.at = at
		if _, err := r.r.ReadAt(r.b, at); err != nil {
			return nil, err
		}
	}
	return r.b[at-r.at:][:n], nil
}

// maxBlock is more than a block can hold: one value, and what little stands beside it.
const maxBlock = 8 << 20

// unpackBlock unpacks a block into dst if it is large enough.
func unpackBlock(dst, packed []byte, c compression) ([]byte, error) {
	switch c {
	case options.None:
		return append(dst[:0], packed...), nil
	case options.Snappy:
		n, err := snappy.DecodedLen(packed)
		if err == nil && n > maxBlock { // else a flipped bit could ask for gigabytes
			err = fmt.Errorf("it says that it has %d bytes", n)
		}
		if err != nil {
			return nil, err
		}
		return snappy.Decode(dst, packed)
	}
	return nil, fmt.Errorf("its compression %d is not one that this program uses", c)
}

// verifyBlock verifies a block, which ends with its checksum and that one's length.
func verifyBlock(b []byte) error {
	n := len(b) - 4
	length := int(binary.BigEndian.Uint32(b[n:]))
	return verifySum(b[:n-length], b[n-length:n])
}

func verifySum(data, sum []byte) error {
	var want pb.Checksum
	if err := proto.Unmarshal(sum, &want); err != nil {
		return fmt.Errorf("its checksum cannot be read: %w", err)
	}
	if y.VerifyChecksum(data, &want) != nil {
		return errors.New("its checksum is wrong")
	}
	return nil
}
