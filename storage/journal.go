package storage

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"sync"
	"time"
)

// The journal has a row for each change, and would grow for ever. Rows are removed from its beginning, in small pieces that
// wait in the queue like every other operation, so that nobody waits for more than a few milliseconds. Which row is the first
// that is kept stands in a row of its own, which is how a journal that was trimmed can be told from one that has lost its
// beginning. The last row is never removed: what the next change is numbered by must not be forgotten
// (docs/decisions/0066-trimming-the-journal.md).

// Retention says how much of the journal is kept. The zero value keeps everything.
type Retention struct {
	Keep    time.Duration // how old a row may be; 0 = as old as it likes
	MaxSize int64         // how much all rows may take, in bytes as they are written; 0 = as much as they like
}

const (
	trimPiece = 500         // rows removed at a time
	trimEvery = time.Minute // how often somebody looks
)

// TrimmedError says that a part of the journal was asked for that is not kept any more.
type TrimmedError struct {
	First uint64 // the sequence of the first row that is
}

func (e *TrimmedError) Error() string {
	return fmt.Sprintf("the journal begins with change %d; what was before it is not kept any longer ([journal] keep, max_size)", e.First)
}

// firstSeq returns the sequence of the first journal row that is kept, 1 if none was ever removed.
func firstSeq(r Reader) (uint64, error) {
	n, err := getNumber(r, journalFirstKey)
	return uint64(max(n, 1)), err
}

// FirstSeq returns the sequence of the first journal row that is kept: Journal goes back to there, if anything was ever changed.
func (s *Store) FirstSeq(ctx context.Context) (first uint64, err error) {
	err = s.view(ctx, func(r Reader) error {
		first, err = firstSeq(r)
		return err
	})
	return first, err
}

// Journal returns at most limit entries of all tenants, those behind the sequence after, in order and without a gap. If the next
// one after it is not kept any longer, the error is a *TrimmedError.
func (s *Store) Journal(ctx context.Context, after uint64, limit int) ([]Entry, error) {
	var l []Entry
	err := s.view(ctx, func(r Reader) error {
		l = nil
		if after == math.MaxUint64 {
			return nil
		}
		first, err := firstSeq(r)
		if err != nil {
			return err
		}
		if after+1 < first {
			return &TrimmedError{first}
		}
		for it, err := range r.Scan(Range{Start: journalKey(after + 1), End: []byte{familyJournal + 1}}) {
			if err != nil || len(l) >= limit {
				return err
			}
			e, err := readEntry(it)
			if err != nil {
				return err
			}
			l = append(l, e)
		}
		return nil
	})
	return l, err
}

func readEntry(it Item) (Entry, error) {
	if len(it.Key) != 9 {
		return Entry{}, &DamageError{describe(it.Key), errors.New("its key cannot be read")}
	}
	p, err := openRow(it.Key, it.Value)
	if err != nil {
		return Entry{}, err
	}
	return decodeEntry(binary.BigEndian.Uint64(it.Key[1:]), p)
}

// journalSize is how much the journal takes: counted once, and then kept up to date.
type journalSize struct {
	mu      sync.Mutex
	counted bool
	bytes   int64
	seq     uint64 // of the last row that bytes knows of, or will know of when it is counted
}

// grew is told by the committer what was written.
func (j *journalSize) grew(seq uint64, bytes int64) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.seq = seq
	j.bytes += bytes
}

// shrank is told what was removed.
func (j *journalSize) shrank(bytes int64) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.bytes -= bytes
}

// count reads the whole journal, in pieces, and returns what it takes.
func (j *journalSize) count(ctx context.Context, s *Store) (int64, error) {
	j.mu.Lock()
	if j.counted {
		defer j.mu.Unlock()
		return j.bytes, nil
	}
	until := j.seq
	j.bytes = 0
	j.mu.Unlock()
	sum, from := int64(0), journalKey(0)
	for from != nil {
		err := s.view(ctx, func(r Reader) error {
			n, start := 0, from
			from = nil
			for it, err := range r.Scan(Range{Start: start, End: journalKey(until + 1)}) {
				if err != nil {
					return err
				}
				if n++; n > 10*trimPiece {
					from = bytes.Clone(it.Key)
					return nil
				}
				sum += int64(len(it.Key) + len(it.Value))
			}
			return nil
		})
		if err != nil {
			return 0, err
		}
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	j.bytes += sum
	j.counted = true
	return j.bytes, nil
}

// runTrims trims the journal now and then, until ctx ends.
func (s *Store) runTrims(ctx context.Context) {
	tick := time.NewTicker(trimEvery)
	defer tick.Stop()
	failing := false
	for {
		err := s.trim(ctx)
		if err != nil && ctx.Err() == nil && !failing {
			s.log.Warn("the journal could not be trimmed; it is tried again every minute", "error", err)
		}
		failing = err != nil
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// trim removes what is not to be kept.
func (s *Store) trim(ctx context.Context) error {
	removed := uint64(0)
	defer func() {
		if removed > 0 {
			s.log.Info("the journal was trimmed", "removed", removed)
		}
	}()
	for {
		p, err := s.nextTrim(ctx)
		if err != nil || p.rows == nil {
			return err
		}
		err = s.update(ctx, anyTenant, Origin{}, func(tx *Tx) error {
			for _, key := range p.rows {
				if err := tx.w.Delete(key); err != nil {
					return err
				}
			}
			return setNumber(tx.w, journalFirstKey, int64(p.first))
		})
		if err != nil {
			return err
		}
		s.journal.shrank(p.bytes)
		removed += uint64(len(p.rows))
	}
}

// trimmed is a piece of the journal that is to go.
type trimmed struct {
	rows  [][]byte // keys
	bytes int64
	first uint64 // sequence of what is then the first row
}

// nextTrim finds the next piece.
func (s *Store) nextTrim(ctx context.Context) (trimmed, error) {
	var size int64
	if s.keep.MaxSize > 0 {
		var err error
		if size, err = s.journal.count(ctx, s); err != nil {
			return trimmed{}, err
		}
	}
	old := time.Time{} // everything before it is
	if s.keep.Keep > 0 {
		old = s.now().Add(-s.keep.Keep)
	}
	var p trimmed
	err := s.view(ctx, func(r Reader) error {
		p = trimmed{}
		first, err := firstSeq(r)
		if err != nil {
			return err
		}
		last, err := lastSeq(r)
		if err != nil || last == 0 {
			return err
		}
		var seen trimmed // up to the row that is looked at; it goes into p if that one is to go
		for it, err := range r.Scan(Range{Start: journalKey(first), End: journalKey(last)}) {
			if err != nil {
				return err
			}
			if len(seen.rows) == trimPiece {
				return nil
			}
			tooMuch := s.keep.MaxSize > 0 && size-seen.bytes > s.keep.MaxSize
			e, err := readEntry(it)
			if err == nil && !tooMuch && !e.Time.Before(old) {
				return nil
			}
			seen.rows = append(seen.rows, bytes.Clone(it.Key))
			seen.bytes += int64(len(it.Key) + len(it.Value))
			if err == nil || tooMuch { // the age of a damaged row is that of the next one
				seen.first = binary.BigEndian.Uint64(it.Key[1:]) + 1
				p = seen
			}
		}
		return nil
	})
	return p, err
}
