package storage

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/dgraph-io/badger/v4"
	"github.com/dgraph-io/badger/v4/options"
)

// maxBadgerValue is the largest value that stays in a table. Larger ones would go to Badger's value log, which serves
// damaged ones without an error.
const maxBadgerValue = 1<<20 - 1

type badgerEngine struct {
	db  *badger.DB
	dir string
	log *badgerLog
}

// badgerOptions are chosen for a small machine by measurement (docs/decisions/0012-engine-options.md).
func badgerOptions(dir string, log badger.Logger) badger.Options {
	return badger.DefaultOptions(dir).
		WithLogger(log).
		WithSyncWrites(true).
		WithChecksumVerificationMode(options.OnTableRead).
		WithValueThreshold(maxBadgerValue + 1).
		WithDetectConflicts(false). // there is one writer
		WithMetricsEnabled(false).
		WithMemTableSize(16 << 20).
		WithNumMemtables(2).
		WithNumCompactors(2).
		WithNumLevelZeroTables(3).
		WithNumLevelZeroTablesStall(8).
		WithBlockCacheSize(32 << 20).
		WithValueLogFileSize(16 << 20) // nothing is ever in it but its header
}

// openBadger opens the engine in a directory that exists, making it if the directory is empty.
func openBadger(dir string, log *slog.Logger) (e *badgerEngine, err error) {
	l := &badgerLog{log: log}
	damaged := func(cause error) error {
		return &DamageError{"the store in " + dir, fmt.Errorf("%w. It is left as it is; restore a backup of the whole data directory", cause)}
	}
	defer func() {
		// Tables that were cut or zeroed make Badger panic.
		if cause := recover(); cause != nil {
			e, err = nil, damaged(fmt.Errorf("the engine panics while it is opened: %v", cause))
		}
	}()
	db, err := badger.Open(badgerOptions(dir, l))
	switch {
	case err == nil:
	case strings.Contains(err.Error(), "Cannot acquire directory lock"):
		return nil, fmt.Errorf("%w: %w", ErrLocked, err)
	case errors.Is(err, fs.ErrPermission), errors.Is(err, fs.ErrNotExist) && !strings.Contains(err.Error(), "table"):
		return nil, fmt.Errorf("opening the store in %s: %w", dir, err)
	default:
		return nil, damaged(err)
	}
	// Badger leaves out a table whose checksum is wrong, says so in its log, and goes on without what was in it.
	if left := l.ignored(); len(left) > 0 {
		return nil, errors.Join(damaged(fmt.Errorf("the checksum of %s is wrong", strings.Join(left, ", "))), db.Close())
	}
	return &badgerEngine{db, dir, l}, nil
}

// View implements [Engine].
func (e *badgerEngine) View(ctx context.Context, fn func(Reader) error) error {
	if e.db.IsClosed() {
		return ErrClosed
	}
	txn := e.db.NewTransaction(false)
	defer txn.Discard()
	return fn(badgerReader{ctx, txn})
}

// Update implements [Engine]. Writes are collected above a snapshot, which nobody else can make old, and handed to Badger
// at the end: its own read-write transactions allow one scan at a time.
func (e *badgerEngine) Update(ctx context.Context, fn func(Writer) error) error {
	if e.db.IsClosed() {
		return ErrClosed
	}
	snapshot := e.db.NewTransaction(false)
	defer snapshot.Discard()
	o := newOverlay(badgerReader{ctx, snapshot})
	o.maxRows, o.maxBytes, o.maxValue = e.db.MaxBatchCount()-2, e.db.MaxBatchSize()-2*rowCost, maxBadgerValue
	if err := fn(o); err != nil {
		return err
	}
	txn := e.db.NewTransaction(true)
	defer txn.Discard()
	err := o.each(txn.Set, txn.Delete)
	if errors.Is(err, badger.ErrTxnTooBig) {
		return ErrTooLarge
	}
	if err != nil {
		return err
	}
	if err := txn.Commit(); err != nil {
		return fmt.Errorf("%w: %w", ErrUnknownOutcome, err)
	}
	return nil
}

// Close implements [Engine].
func (e *badgerEngine) Close() error { return e.db.Close() }

// tables returns the ids of the tables that the engine knows.
func (e *badgerEngine) tables() []uint64 {
	infos := e.db.Tables()
	ids := make([]uint64, 0, len(infos))
	for _, t := range infos {
		ids = append(ids, t.ID)
	}
	slices.Sort(ids)
	return ids
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

type badgerReader struct {
	ctx context.Context
	txn *badger.Txn
}

// Get implements [Reader].
func (r badgerReader) Get(key []byte) ([]byte, error) {
	item, err := r.txn.Get(key)
	if errors.Is(err, badger.ErrKeyNotFound) {
		return nil, ErrNotFound
	}
	if err != nil {
		return nil, err
	}
	return item.ValueCopy(nil)
}

// Scan implements [Reader].
func (r badgerReader) Scan(span Range) iter.Seq2[Item, error] {
	return func(yield func(Item, error) bool) {
		o := badger.IteratorOptions{Reverse: span.Reverse}
		if !span.Reverse {
			o.Prefix = commonPrefix(span.Start, span.End) // lets Badger leave out tables
		}
		it := r.txn.NewIterator(o)
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
				err := item.Value(func(v []byte) error {
					value = v
					return nil
				})
				if err != nil {
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
	if string(successor(start)) == string(end) {
		return start
	}
	n := 0
	for n < len(start) && n < len(end) && start[n] == end[n] {
		n++
	}
	return start[:n]
}

// badgerLog takes over what Badger logs, and keeps what it says of tables that it leaves out.
type badgerLog struct {
	log *slog.Logger

	mu   sync.Mutex
	left []string
}

func (l *badgerLog) ignored() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.left
}

func (l *badgerLog) say(level slog.Level, format string, args ...any) {
	if !l.log.Enabled(context.Background(), level) {
		return
	}
	text := strings.TrimSpace(fmt.Sprintf(format, args...))
	l.log.Log(context.Background(), level, "engine", "says", text)
}

// Errorf implements [badger.Logger].
func (l *badgerLog) Errorf(format string, args ...any) {
	if rest, ok := strings.CutPrefix(fmt.Sprintf(format, args...), "Ignoring table "); ok {
		l.mu.Lock()
		l.left = append(l.left, filepath.Base(strings.TrimSpace(rest)))
		l.mu.Unlock()
	}
	l.say(slog.LevelError, format, args...)
}

// Warningf implements [badger.Logger].
func (l *badgerLog) Warningf(format string, args ...any) { l.say(slog.LevelWarn, format, args...) }

// Infof implements [badger.Logger]. What Badger thinks worth a line is not worth one of ours.
func (l *badgerLog) Infof(format string, args ...any) { l.say(slog.LevelDebug, format, args...) }

// Debugf implements [badger.Logger].
func (l *badgerLog) Debugf(format string, args ...any) { l.say(slog.LevelDebug, format, args...) }

// manifest is what Badger's MANIFEST says, read before Badger itself opens the directory and deletes what is not in it.
type manifest struct {
	there  bool
	tables map[uint64]bool
	newest uint64
}

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
		return manifest{}, &DamageError{path, err}
	}
	m := manifest{there: true, tables: map[uint64]bool{}}
	for id := range known.Tables {
		m.tables[id] = true
		m.newest = max(m.newest, id)
	}
	return m, nil
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
