package backup

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strconv"
)

// The types of frames; see doc.go.
const (
	frameHead     = 'H'
	frameFile     = 'F'
	frameRows     = 'R'
	frameDigests  = 'D' // of a position
	frameManifest = 'M'
	frameEnd      = 'E'
)

const (
	tagLen   = 16
	maxFrame = 32 << 20 // body; what a flipped bit in a length can make us reserve
)

const (
	backupMagic   = "scimbox backup "
	positionMagic = "scimbox position "
)

type frameWriter struct {
	w   *bufio.Writer
	sum [sha256.Size]byte
}

func newFrameWriter(w io.Writer, magic string) (*frameWriter, error) {
	line := magic + strconv.Itoa(Format) + "\n"
	f := &frameWriter{w: bufio.NewWriterSize(w, 1<<16), sum: sha256.Sum256([]byte(line))}
	_, err := f.w.WriteString(line)
	return f, err
}

func chain(sum *[sha256.Size]byte, head, body []byte) {
	h := sha256.New()
	h.Write(sum[:])
	h.Write(head)
	h.Write(body)
	h.Sum(sum[:0])
}

func (f *frameWriter) write(kind byte, body []byte) error {
	if len(body) > maxFrame {
		return fmt.Errorf("a frame of %d bytes is longer than a frame may be", len(body))
	}
	head := binary.BigEndian.AppendUint32([]byte{kind}, uint32(len(body)))
	chain(&f.sum, head, body)
	for _, b := range [][]byte{head, body, f.sum[:tagLen]} {
		if _, err := f.w.Write(b); err != nil {
			return err
		}
	}
	return nil
}

// end writes the last frame, and everything that was still in memory.
func (f *frameWriter) end() error {
	if err := f.write(frameEnd, nil); err != nil {
		return err
	}
	return f.w.Flush()
}

// frameReader reads frames. Its errors are *CorruptError and *FormatError.
type frameReader struct {
	r    *bufio.Reader
	name string // of the file
	at   int64
	sum  [sha256.Size]byte
}

var errNoBackup = errors.New("it is none, or its beginning was changed")

func newFrameReader(r io.Reader, name, magic string) (*frameReader, error) {
	f := &frameReader{r: bufio.NewReaderSize(r, 1<<16), name: name}
	line := make([]byte, 0, 32)
	for len(line) < cap(line) {
		c, err := f.r.ReadByte()
		if err != nil {
			return nil, f.corrupt(unexpected(err))
		}
		if line = append(line, c); c == '\n' {
			break
		}
	}
	number, ok := bytes.CutPrefix(bytes.TrimSuffix(line, []byte("\n")), []byte(magic))
	n, err := strconv.Atoi(string(number))
	if !ok || err != nil || n < 1 || string(line) != magic+strconv.Itoa(n)+"\n" {
		return nil, f.corrupt(errNoBackup)
	}
	if n > Format {
		return nil, &FormatError{File: name, What: "form", Found: n, Known: Format}
	}
	f.at, f.sum = int64(len(line)), sha256.Sum256(line)
	return f, nil
}

func (f *frameReader) corrupt(err error) error {
	var already *CorruptError
	if errors.As(err, &already) {
		return err
	}
	return &CorruptError{f.name, fmt.Errorf("at byte %d: %w", f.at, err)}
}

// unexpected says that what ends here should go on.
func unexpected(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

var (
	errTag    = errors.New("its checksum is wrong")
	errBehind = errors.New("something comes behind its end")
)

// next returns the next frame; the body is the caller's. The last one is frameEnd, and is returned only if nothing comes behind it.
func (f *frameReader) next() (kind byte, body []byte, err error) {
	head := make([]byte, 5)
	if _, err := io.ReadFull(f.r, head); err != nil {
		return 0, nil, f.corrupt(unexpected(err))
	}
	n := binary.BigEndian.Uint32(head[1:])
	if n > maxFrame {
		return 0, nil, f.corrupt(fmt.Errorf("a frame says that it has %d bytes", n))
	}
	body = make([]byte, int(n)+tagLen)
	if _, err := io.ReadFull(f.r, body); err != nil {
		return 0, nil, f.corrupt(unexpected(err))
	}
	body, tag := body[:n], body[n:]
	chain(&f.sum, head, body)
	if !bytes.Equal(tag, f.sum[:tagLen]) {
		return 0, nil, f.corrupt(errTag)
	}
	f.at += int64(len(head)) + int64(n) + tagLen
	if head[0] == frameEnd {
		// This also lets age read to the end, where alone it finds out whether what it has decrypted was cut.
		switch _, err := f.r.ReadByte(); {
		case err == nil:
			return 0, nil, f.corrupt(errBehind)
		case !errors.Is(err, io.EOF):
			return 0, nil, f.corrupt(err)
		}
	}
	return head[0], body, nil
}
