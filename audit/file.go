package audit

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
)

// File is an audit file that is being continued.
type File struct {
	file *os.File
	v    Verifier
	rest []byte // of a line that an earlier run did not finish
	out  bytes.Buffer
}

// OpenFile opens a file, making it if there is none, and verifies what is in it. A *Problem says that it must not be continued.
func OpenFile(path string) (_ *File, err error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, f.Close())
		}
	}()
	a := &File{file: f}
	in := newLines(f)
	for {
		line, whole, err := in.next()
		switch {
		case err == io.EOF:
			return a, nil
		case err != nil:
			return nil, err
		case !whole:
			a.rest = bytes.Clone(line)
			continue
		}
		if err := a.v.Line(line); err != nil {
			return nil, err
		}
	}
}

// Summary returns what is in the file.
func (a *File) Summary() Summary { return a.v.Summary }

// Begun reports whether the file has its first line, so that there is something to continue.
func (a *File) Begun() bool { return a.v.line > 0 }

// Add writes the next line, which ends with a newline. The first one of a file that has begun is left out by the caller. What
// an earlier run has left of a line must be the beginning of this one.
func (a *File) Add(line []byte) error {
	rest := line
	if len(a.rest) > 0 {
		var ok bool
		if rest, ok = bytes.CutPrefix(line, a.rest); !ok {
			return &Problem{a.v.line + 1, "it was cut, and what is left of it is not what the journal has there"}
		}
		a.rest = nil
	}
	if err := a.v.Line(bytes.TrimSuffix(line, []byte("\n"))); err != nil {
		return err
	}
	a.out.Write(rest)
	if a.out.Len() < 1<<20 {
		return nil
	}
	return a.flush()
}

func (a *File) flush() error {
	_, err := a.out.WriteTo(a.file)
	return err
}

// End ends the run, if there was anything new or the run before was not ended, and sees to it that all is on the disk.
func (a *File) End() error {
	if !a.v.Ended {
		if err := a.Add(a.v.Chain.End(nil, a.v.Lines, a.v.Runs+1)); err != nil {
			return err
		}
	}
	if len(a.rest) > 0 {
		return &Problem{a.v.line + 1, "it was cut, and the journal has nothing that begins like it"}
	}
	if err := a.flush(); err != nil {
		return fmt.Errorf("writing the file: %w", err)
	}
	return a.file.Sync()
}

// Close closes the file.
func (a *File) Close() error { return a.file.Close() }
