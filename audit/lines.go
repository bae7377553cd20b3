package audit

import (
	"bufio"
	"errors"
	"fmt"
	"io"
)

// maxLine is longer than any line that a journal gives: a change has at most 100 values of 512 bytes and 200 ids.
const maxLine = 4 << 20

// lines reads lines and says whether each was ended.
type lines struct {
	r    *bufio.Reader
	line []byte
}

func newLines(r io.Reader) *lines { return &lines{r: bufio.NewReaderSize(r, 64<<10)} }

// next returns a line without its newline. whole is false for what stands behind the last one.
func (l *lines) next() (line []byte, whole bool, err error) {
	l.line = l.line[:0]
	for {
		part, err := l.r.ReadSlice('\n')
		l.line = append(l.line, part...)
		switch {
		case len(l.line) > maxLine:
			return nil, false, fmt.Errorf("a line has more than %d bytes; this is no audit file", maxLine)
		case err == nil:
			return l.line[:len(l.line)-1], true, nil
		case errors.Is(err, bufio.ErrBufferFull):
			continue
		case errors.Is(err, io.EOF) && len(l.line) > 0:
			return l.line, false, nil
		default:
			return nil, false, err
		}
	}
}
