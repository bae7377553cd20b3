package activity

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Entries lie in files of lines, each named by the first sequence that may be in it. The last one is written to; the
// others are only ever read, and removed as a whole when they are too old or too many.

const suffix = ".jsonl"

// segment is one file.
type segment struct {
	first uint64
	path  string
	size  int64
	last  time.Time // when it was written last
}

func segmentPath(dir string, first uint64) string {
	return filepath.Join(dir, fmt.Sprintf("%016d%s", first, suffix))
}

// segments lists the files of a directory, the oldest first. Files of other names are nobody's business.
func segments(dir string) ([]segment, error) {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var l []segment
	for _, e := range entries {
		name, ok := strings.CutSuffix(e.Name(), suffix)
		first, err := strconv.ParseUint(name, 10, 64)
		if !ok || err != nil || len(name) != 16 {
			continue
		}
		info, err := e.Info()
		if errors.Is(err, fs.ErrNotExist) {
			continue // removed meanwhile
		}
		if err != nil {
			return nil, err
		}
		l = append(l, segment{first, filepath.Join(dir, e.Name()), info.Size(), info.ModTime()})
	}
	slices.SortFunc(l, func(a, b segment) int { return strings.Compare(a.path, b.path) })
	return l, nil
}

// lines yields the whole lines of a file. A last one without its end was being written when the machine stopped, or is
// being written now.
func lines(data []byte) [][]byte {
	end := bytes.LastIndexByte(data, '\n')
	if end < 0 {
		return nil
	}
	return bytes.Split(data[:end], []byte{'\n'})
}

// readLine reads an entry. A line that cannot be read, of a machine that lost its power, is left out.
func readLine(line []byte) (Entry, bool) {
	var e Entry
	if len(line) == 0 || line[0] != '{' || json.Unmarshal(line, &e) != nil || e.Seq == 0 {
		return e, false
	}
	return e, true
}

func readSegment(s segment) ([][]byte, error) {
	data, err := os.ReadFile(s.path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil // removed meanwhile
	}
	if err != nil {
		return nil, fmt.Errorf("reading refused requests: %w", err)
	}
	return lines(data), nil
}

// before yields the entries of a directory of a sequence below seq, the newest first.
func before(dir string, seq uint64) iter.Seq2[Entry, error] {
	return func(yield func(Entry, error) bool) {
		list, err := segments(dir)
		if err != nil {
			yield(Entry{}, err)
			return
		}
		for _, s := range slices.Backward(list) {
			if s.first >= seq {
				continue
			}
			all, err := readSegment(s)
			if err != nil {
				yield(Entry{}, err)
				return
			}
			for _, line := range slices.Backward(all) {
				if e, ok := readLine(line); ok && e.Seq < seq && !yield(e, nil) {
					return
				}
			}
		}
	}
}

// after returns at most limit entries of a directory of a sequence above seq, in order.
func after(dir string, seq uint64, limit int) ([]Entry, error) {
	list, err := segments(dir)
	if err != nil {
		return nil, err
	}
	var l []Entry
	for i, s := range list {
		if i+1 < len(list) && list[i+1].first <= seq+1 {
			continue
		}
		all, err := readSegment(s)
		if err != nil {
			return nil, err
		}
		for _, line := range all {
			if e, ok := readLine(line); ok && e.Seq > seq {
				if l = append(l, e); len(l) == limit {
					return l, nil
				}
			}
		}
	}
	return l, nil
}

// writer appends to the last file of a directory.
type writer struct {
	dir     string
	keep    time.Duration
	maxSize int64

	file   *os.File
	list   []segment // file's is the last
	next   uint64
	opened time.Time // of the first entry in file
}

// openWriter makes the directory if there is none, and cuts off what was written of a line when the machine stopped.
func openWriter(dir string, keep time.Duration, maxSize int64) (*writer, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	if err := os.Chmod(dir, 0o700); err != nil { // #nosec G302 -- a directory
		return nil, err
	}
	list, err := segments(dir)
	if err != nil {
		return nil, err
	}
	w := &writer{dir: dir, keep: keep, maxSize: maxSize, list: list, next: 1}
	if len(list) == 0 {
		return w, nil
	}
	last := &list[len(list)-1]
	w.next = max(last.first, 1)
	data, err := os.ReadFile(last.path)
	if err != nil {
		return nil, err
	}
	whole := int64(bytes.LastIndexByte(data, '\n') + 1)
	for _, line := range lines(data) {
		if e, ok := readLine(line); ok {
			w.next = max(w.next, e.Seq+1)
			if w.opened.IsZero() {
				w.opened = e.Time
			}
		}
	}
	if whole < last.size {
		if err := os.Truncate(last.path, whole); err != nil {
			return nil, err
		}
		last.size = whole
	}
	if w.file, err = os.OpenFile(last.path, os.O_WRONLY|os.O_APPEND, 0o600); err != nil {
		return nil, err
	}
	return w, nil
}

// write appends entries and gives them their sequences. What cannot be written leaves no line behind that a later one
// would be glued to.
func (w *writer) write(batch []Entry, now time.Time) error {
	if err := w.rotate(now); err != nil {
		return err
	}
	var b bytes.Buffer
	next := w.next
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	for i := range batch {
		batch[i].Seq = next
		next++
		if err := enc.Encode(&batch[i]); err != nil {
			return err
		}
	}
	cur := &w.list[len(w.list)-1]
	n, err := w.file.Write(b.Bytes())
	if err != nil {
		if n > 0 {
			err = errors.Join(err, w.file.Truncate(cur.size))
		}
		return err
	}
	cur.size, cur.last = cur.size+int64(n), now
	if w.opened.IsZero() {
		w.opened = now
	}
	w.next = next
	return nil
}

// rotate begins a new file if there is none, or if the last is large or old, so that what goes goes in small pieces.
func (w *writer) rotate(now time.Time) error {
	if w.file != nil {
		cur := w.list[len(w.list)-1]
		full := cur.size >= min(max(w.maxSize/16, 64<<10), 8<<20)
		old := cur.size > 0 && !w.opened.IsZero() && now.Sub(w.opened) > min(w.keep/8, 24*time.Hour)
		if !full && !old {
			return nil
		}
		if err := w.file.Close(); err != nil {
			return err
		}
		w.file = nil
	}
	path := segmentPath(w.dir, w.next)
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	if n := len(w.list); n == 0 || w.list[n-1].path != path {
		w.list = append(w.list, segment{first: w.next, path: path, last: now})
	}
	w.file, w.opened = f, time.Time{}
	return w.expire(now)
}

// expire removes the oldest files while they are too old or too many. The last one stays, because its name says which
// sequence comes next; if all in it is too old, a new one is begun.
func (w *writer) expire(now time.Time) error {
	if n := len(w.list); n > 0 && w.list[n-1].size > 0 && now.Sub(w.list[n-1].last) > w.keep && w.file != nil {
		if err := w.file.Close(); err != nil {
			return err
		}
		w.file = nil
		return w.rotate(now)
	}
	var total int64
	for _, s := range w.list {
		total += s.size
	}
	for len(w.list) > 1 && (total > w.maxSize || now.Sub(w.list[0].last) > w.keep) {
		if err := os.Remove(w.list[0].path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		total -= w.list[0].size
		w.list = w.list[1:]
	}
	return nil
}

func (w *writer) size() int64 {
	var total int64
	for _, s := range w.list {
		total += s.size
	}
	return total
}

func (w *writer) close() error {
	if w.file == nil {
		return nil
	}
	return w.file.Close()
}
