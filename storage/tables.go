package storage

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
)

// A start looks at every byte of every table before the engine does. To take a table apart and compare the checksums of its
// blocks costs some two seconds a gigabyte; to see that its bytes are those of a table that was taken apart before, a tenth
// of it. So the seal remembers, of each table that was found whole, its length and a checksum of all its bytes. They do not
// decide anything but how a table is looked at: one that is not as it is remembered is taken apart
// (docs/decisions/0083-tables-known-by-a-sum.md).

// tableSum is what a table is known again by.
type tableSum struct {
	Size int64  `json:"size"`
	Sum  uint32 `json:"sum"` // CRC-32C of the file
}

const (
	tableWorkers = 2 // as many as the smallest machine has processors

	sumPiece = 256 << 10

	// verifyAtStop is for how long a stop looks at tables that were made since the start. What it has not come to is left to
	// the next start.
	verifyAtStop = 2 * time.Second
)

// verifyTables looks whether all the tables that the manifest knows are there and whole, and returns what they are known by.
func verifyTables(ctx context.Context, store string, m manifest, known map[uint64]tableSum) (map[uint64]tableSum, error) {
	sums, bad, err := eachTable(ctx, store, m, known)
	if err == nil && len(bad) > 0 {
		err = damagedTables(store, bad)
	}
	return sums, err
}

// eachTable verifies tables, and returns what the whole ones are known by, and what is wrong with others by their names. It
// ends early with ctx's error; what it returns then is true of those that it has come to.
func eachTable(ctx context.Context, store string, m manifest, known map[uint64]tableSum) (map[uint64]tableSum, map[string]error, error) {
	var (
		g    errgroup.Group
		mu   sync.Mutex
		sums = make(map[uint64]tableSum, len(m.tables))
		bad  = map[string]error{}
	)
	buffers := make(chan []byte, tableWorkers)
	for range tableWorkers {
		buffers <- nil
	}
	g.SetLimit(tableWorkers)
	for _, id := range slices.Sorted(maps.Keys(m.tables)) {
		g.Go(func() error {
			if err := ctx.Err(); err != nil {
				return err
			}
			buf := <-buffers
			sum, buf, err := verifyTable(filepath.Join(store, tableName(id)), m.tables[id], known[id], buf)
			buffers <- buf
			if errors.Is(err, fs.ErrNotExist) {
				err = errors.New("the file is not there")
			}
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				bad[tableName(id)] = err
				return nil
			}
			sums[id] = sum
			return nil
		})
	}
	return sums, bad, g.Wait()
}

func damagedTables(store string, bad map[string]error) error {
	names := slices.Sorted(maps.Keys(bad))
	what := names[0]
	if len(names) > 1 {
		what = fmt.Sprintf("%s, the first of %d (%s),", what, len(names), strings.Join(names, ", "))
	}
	return &DamageError{filepath.Join(store, what), fmt.Errorf("%w. Nothing was changed; %s. --accept-data-loss does not help here: what a table has lost cannot be told", bad[names[0]], wayBack)}
}

// verifyTable looks at a table, and returns what it is known by. buf is memory that is used and returned, for the next.
func verifyTable(path string, c compression, known tableSum, buf []byte) (tableSum, []byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return tableSum{}, buf, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return tableSum{}, buf, err
	}
	if known.Size > 0 && known.Size == info.Size() {
		var sum uint32
		if sum, buf, err = sumOf(f, buf, info.Size()); err != nil {
			return tableSum{}, buf, err
		}
		if sum == known.Sum {
			return known, buf, nil
		}
	}
	// What is taken apart and what the sum is of must be the same bytes: the system may have to read a file again.
	if buf, err = readAll(f, buf, info.Size()); err != nil {
		return tableSum{}, buf, err
	}
	if err := verifyTableIn(bytes.NewReader(buf), int64(len(buf)), c); err != nil {
		return tableSum{}, buf, err
	}
	return tableSum{int64(len(buf)), crc32.Checksum(buf, castagnoli)}, buf, nil
}

// sumOf sums a file in pieces that stay in the processor's cache, which is twice as fast as all of it at once.
func sumOf(f io.ReaderAt, buf []byte, size int64) (sum uint32, _ []byte, err error) {
	buf = slices.Grow(buf[:0], sumPiece)[:sumPiece]
	for at := int64(0); at < size; at += sumPiece {
		piece := buf[:min(sumPiece, size-at)]
		if _, err := f.ReadAt(piece, at); err != nil {
			return 0, buf, cutShort(err)
		}
		sum = crc32.Update(sum, castagnoli, piece)
	}
	return sum, buf, nil
}

func readAll(f io.ReaderAt, buf []byte, size int64) ([]byte, error) {
	buf = slices.Grow(buf[:0], int(size))[:size]
	_, err := f.ReadAt(buf, 0)
	return buf, cutShort(err)
}

// cutShort says what it means that a file ends before the length that it had a moment ago.
func cutShort(err error) error {
	if errors.Is(err, io.EOF) {
		return errors.New("it is cut short, or not a table")
	}
	return err
}

// sumsOfStopped returns what the tables of a store that has just stopped are known by. Those that it has no time for are left
// out. A table that is not whole is a *DamageError; the others are known all the same.
func sumsOfStopped(store string, m manifest, known map[uint64]tableSum, patience time.Duration) (map[uint64]tableSum, error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	rest := manifest{tables: map[uint64]compression{}}
	sums := map[uint64]tableSum{}
	for id, c := range m.tables {
		if sum, ok := known[id]; ok {
			sums[id] = sum
		} else {
			rest.tables[id] = c
		}
	}
	more, bad, err := eachTable(ctx, store, rest, nil)
	maps.Copy(sums, more)
	if len(bad) > 0 {
		return sums, damagedTables(store, bad)
	}
	if errors.Is(err, context.DeadlineExceeded) {
		err = nil
	}
	return sums, err
}

// only returns what is known of the tables of these ids.
func only(sums map[uint64]tableSum, ids []uint64) map[uint64]tableSum {
	var some map[uint64]tableSum
	for _, id := range ids {
		if sum, ok := sums[id]; ok {
			if some == nil {
				some = map[uint64]tableSum{}
			}
			some[id] = sum
		}
	}
	return some
}
