package storage

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// The engine reads a log up to the first entry that is not as it was written, and takes that for its end: after a crash the last
// entry may be half of one. So nobody is told which file is to blame if the seal knows of more. What is here looks, once that is
// clear, for where the logs of a refused directory end.

// logHead is how long the head of a log is, logTail how long the checksum behind each entry.
const (
	logHead = 20
	logTail = crc32.Size
)

// logEnds says in words where the logs of a store end; "" if nothing can be said.
func logEnds(store string) string {
	sizes, err := logs(store)
	if err != nil {
		return ""
	}
	if len(sizes) == 0 {
		return "; there is no log of what came last (*.mem)"
	}
	var ends []string
	for _, name := range slices.Sorted(maps.Keys(sizes)) {
		path := filepath.Join(store, name)
		switch end, rest, err := logEnd(path); {
		case err != nil:
			ends = append(ends, err.Error())
		case rest:
			ends = append(ends, fmt.Sprintf("the log %s cannot be read from byte %d on", path, end))
		case end <= logHead:
			ends = append(ends, fmt.Sprintf("the log %s holds nothing", path))
		default:
			ends = append(ends, fmt.Sprintf("the log %s ends at byte %d", path, end))
		}
	}
	return "; " + strings.Join(ends, ", ")
}

// logEnd returns where the last whole entry of a log ends, and whether there is anything but zeros behind it.
func logEnd(path string) (end int64, rest bool, err error) {
	f, err := os.Open(path)
	if err != nil {
		return 0, false, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return 0, false, err
	}
	end = min(logHead, info.Size())
	r := bufio.NewReader(io.NewSectionReader(f, end, info.Size()-end))
	for {
		n, err := logEntry(r, info.Size()-end)
		if err != nil {
			return 0, false, err
		}
		if n == 0 {
			break
		}
		end += n
	}
	rest, err = anythingWritten(io.NewSectionReader(f, end, info.Size()-end))
	return end, rest, err
}

// logEntry reads one entry of a log of which so many bytes are left, and returns its length; 0 if there is none, or none that is as
// it was written. Its form is that of Badger's value.go: two bytes, the lengths of key and value and an end as varints, key, value, CRC-32C.
func logEntry(r *bufio.Reader, left int64) (int64, error) {
	const longest = 2 + 3*binary.MaxVarintLen64
	head, err := r.Peek(int(min(longest, left)))
	if err != nil {
		return 0, err
	}
	n := 2
	var lengths [3]uint64
	for i := range lengths {
		v, size := binary.Uvarint(head[min(n, len(head)):])
		if size <= 0 {
			return 0, nil
		}
		lengths[i], n = v, n+size
	}
	key, value := lengths[0], lengths[1]
	if key == 0 || key > 1<<16 || value > uint64(left) {
		return 0, nil
	}
	body := int64(n) + int64(key) + int64(value)
	if body+logTail > left {
		return 0, nil
	}
	sum := crc32.New(castagnoli)
	if _, err := io.CopyN(sum, r, body); err != nil {
		return 0, err
	}
	var want [logTail]byte
	if _, err := io.ReadFull(r, want[:]); err != nil {
		return 0, err
	}
	if binary.BigEndian.Uint32(want[:]) != sum.Sum32() {
		return 0, nil
	}
	return body + logTail, nil
}

// anythingWritten says whether there is a byte that is not 0: a log has its length before anything is written into it.
func anythingWritten(r io.Reader) (bool, error) {
	b := make([]byte, 1<<16)
	for {
		n, err := io.ReadFull(r, b)
		if slices.ContainsFunc(b[:n], func(c byte) bool { return c != 0 }) {
			return true, nil
		}
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			return false, nil
		}
		if err != nil {
			return false, err
		}
	}
}
