package backup

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// A position is the state of the store that a backup was made of. What a later backup needs to know of it to be an increment
// is kept in the data directory: the digests of all chunks, 16 bytes for some 16 rows.

// keepPositions is how many states an increment can build on.
const keepPositions = 10

// PositionError says that an increment cannot be made.
type PositionError struct {
	Asked string
	Known []string // the newest first
	Twice bool     // several of them begin with what was asked for
}

func (e *PositionError) Error() string {
	if e.Twice {
		return fmt.Sprintf("position %s is more than one: %s; name one of them in full", e.Asked, strings.Join(e.Known, ", "))
	}
	known := "none is known here"
	if len(e.Known) > 0 {
		known = "known are " + strings.Join(e.Known, ", ")
	}
	return fmt.Sprintf("position %s is not known, or not any more (%s); make a backup of everything, without --since, and build on its position from then on", e.Asked, known)
}

type positionHead struct {
	Position string    `json:"position"`
	Hash     string    `json:"hash"`
	Created  time.Time `json:"created"`
	Chunks   int64     `json:"chunks"`
}

// knownPositions returns the names of the positions of a data directory, the newest first.
func knownPositions(dir string) ([]string, error) {
	entries, err := os.ReadDir(filepath.Join(dir, positionsName))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	type made struct {
		name string
		at   time.Time
	}
	var l []made
	for _, e := range entries {
		var seq, commits uint64
		if n, _ := fmt.Sscanf(e.Name(), "%d.%d", &seq, &commits); n != 2 || position(seq, commits) != e.Name() {
			continue
		}
		if info, err := e.Info(); err == nil {
			l = append(l, made{e.Name(), info.ModTime()})
		}
	}
	slices.SortStableFunc(l, func(a, b made) int { return b.at.Compare(a.at) })
	var names []string
	for _, m := range l {
		names = append(names, m.name)
	}
	return names, err
}

// state is what is known of a position.
type state struct {
	positionHead
	at map[digest]uint32 // number of each chunk
}

// findPosition reads a position. asked is its name, or the change alone that it begins with if there is one such.
func findPosition(dir, asked string) (*state, error) {
	known, err := knownPositions(dir)
	if err != nil {
		return nil, err
	}
	var fit []string
	for _, name := range known {
		if name == asked || strings.HasPrefix(name, asked+".") {
			fit = append(fit, name)
		}
	}
	switch {
	case len(fit) == 0:
		return nil, &PositionError{Asked: asked, Known: known}
	case len(fit) > 1:
		return nil, &PositionError{Asked: asked, Known: fit, Twice: true}
	}
	path := filepath.Join(dir, positionsName, fit[0])
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	s, err := readPosition(f, path)
	var corrupt *CorruptError
	if errors.As(err, &corrupt) {
		return nil, fmt.Errorf("what was kept of position %s cannot be read (%w); make a backup of everything, without --since", fit[0], corrupt.Err)
	}
	return s, err
}

func readPosition(f *os.File, path string) (*state, error) {
	r, err := newFrameReader(f, path, positionMagic)
	if err != nil {
		return nil, err
	}
	s := &state{at: map[digest]uint32{}}
	for {
		kind, body, err := r.next()
		if err != nil {
			return nil, err
		}
		switch kind {
		case frameDigests:
			for ; len(body) >= digestLen; body = body[digestLen:] {
				s.at[digest(body[:digestLen])] = uint32(len(s.at))
			}
		case frameManifest:
			if err := json.Unmarshal(body, &s.positionHead); err != nil {
				return nil, r.corrupt(err)
			}
		case frameEnd:
			if int64(len(s.at)) != s.Chunks || s.Hash == "" {
				return nil, r.corrupt(fmt.Errorf("it has %d chunks, and should have %d", len(s.at), s.Chunks))
			}
			return s, nil
		default:
			return nil, r.corrupt(fmt.Errorf("a frame of type %q", kind))
		}
	}
}

// positionWriter writes down a position while a backup is made.
type positionWriter struct {
	dir     string // of the data
	file    *os.File
	w       *frameWriter
	digests []byte
}

func newPositionWriter(dir string) (p *positionWriter, err error) {
	if err := os.MkdirAll(filepath.Join(dir, positionsName), 0o700); err != nil {
		return nil, err
	}
	p = &positionWriter{dir: dir}
	if p.file, err = os.CreateTemp(filepath.Join(dir, positionsName), ".new-*"); err != nil {
		return nil, err
	}
	if p.w, err = newFrameWriter(p.file, positionMagic); err != nil {
		return nil, errors.Join(err, p.discard())
	}
	return p, nil
}

func (p *positionWriter) add(d digest) error {
	p.digests = append(p.digests, d[:]...)
	if len(p.digests) < 1<<16 {
		return nil
	}
	return p.flush()
}

func (p *positionWriter) flush() error {
	err := p.w.write(frameDigests, p.digests)
	p.digests = p.digests[:0]
	return err
}

// keep makes what was written a position, in place of the oldest if there are many. It need not survive a loss of power:
// one that is cut is found out when it is read.
func (p *positionWriter) keep(m *Manifest) error {
	head, err := json.Marshal(positionHead{m.Position, m.Hash, m.Created, m.Chunks})
	if err == nil {
		err = p.flush()
	}
	if err == nil {
		err = p.w.write(frameManifest, head)
	}
	if err == nil {
		err = p.w.end()
	}
	if err = errors.Join(err, p.file.Close()); err == nil {
		err = os.Rename(p.file.Name(), filepath.Join(p.dir, positionsName, m.Position))
	}
	if err != nil {
		return errors.Join(err, os.Remove(p.file.Name()))
	}
	known, err := knownPositions(p.dir)
	for len(known) > keepPositions {
		err = errors.Join(err, os.Remove(filepath.Join(p.dir, positionsName, known[len(known)-1])))
		known = known[:len(known)-1]
	}
	return err
}

func (p *positionWriter) discard() error {
	return errors.Join(p.file.Close(), os.Remove(p.file.Name()))
}
