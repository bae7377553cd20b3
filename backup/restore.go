package backup

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"

	"filippo.io/age"

	"scimbox/storage"
)

// RestoreOptions say how a backup is read.
type RestoreOptions struct {
	Identities []age.Identity  // keys for backups that are encrypted
	Store      storage.Options // of the store that is made
	Stdin      io.Reader       // what the file "-" is

	// Temp is where Verify puts what it restores; "" is the system's directory for such.
	Temp string
	of   string // identity of the store that it is of, for the name of that directory; "" if nobody asks
	// Progress is called now and then with the number of bytes read and expected. May be nil.
	Progress func(done, total int64)
}

// Restored is what became of a backup.
type Restored struct {
	Manifest
	Check *storage.Report // of the store that it has become; nil if nobody has asked
}

// DirectoryError says that a directory is not one to restore into.
type DirectoryError struct {
	Dir   string
	Holds string // one of the names in it
}

func (e *DirectoryError) Error() string {
	return fmt.Sprintf("%s is not empty (it holds %s), and a backup is restored into an empty data directory alone; move it away, or name another one with --data", e.Dir, e.Holds)
}

// Restore makes a data directory of a backup of everything and of the increments on it, in their order. The directory must be
// empty, or is made. Rows are read back and compared, and the store is opened, before anything lies where a server would look for
// it; if anything fails, nothing is left. It is not checked: it has the rows that it had, and somebody waits for it.
func Restore(ctx context.Context, dir string, files []string, o RestoreOptions) (r *Restored, err error) {
	made, err := emptyDirectory(dir)
	if err != nil {
		return nil, err
	}
	stage := filepath.Join(dir, restoringName)
	if err := os.RemoveAll(stage); err != nil { // of one that was killed
		return nil, err
	}
	if err := os.Mkdir(stage, 0o700); err != nil {
		return nil, err
	}
	defer func() {
		err = errors.Join(err, os.RemoveAll(stage))
		if err != nil && made {
			err = errors.Join(err, unlessGone(os.Remove(dir)))
		}
	}()
	if r, err = restoreInto(ctx, stage, files, false, o); err != nil {
		return nil, err
	}
	return r, move(stage, dir)
}

// emptyDirectory sees to it that there is a directory with nothing in it.
func emptyDirectory(dir string) (made bool, err error) {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return true, os.MkdirAll(dir, 0o700)
	}
	for _, e := range entries {
		if e.Name() != restoringName && e.Name() != "lost+found" { // of an empty volume
			return false, &DirectoryError{dir, e.Name()}
		}
	}
	return false, err
}

// move moves what was restored to where it belongs. The seal comes last: a server that is started too early, or after a loss
// of power in the middle, finds a store without its seal, and refuses it.
func move(stage, dir string) (err error) {
	entries, err := os.ReadDir(stage)
	if err != nil {
		return err
	}
	slices.SortFunc(entries, func(a, b fs.DirEntry) int { return last(a.Name()) - last(b.Name()) })
	var moved []string
	defer func() {
		if err != nil {
			for _, path := range slices.Backward(moved) {
				err = errors.Join(err, os.RemoveAll(path))
			}
		}
	}()
	for _, e := range entries {
		to := filepath.Join(dir, e.Name())
		if err := mustNotExist(to); err != nil {
			return err
		}
		if e.Name() == storage.SealName {
			if err := syncDirectory(dir); err != nil {
				return err
			}
		}
		if err := os.Rename(filepath.Join(stage, e.Name()), to); err != nil {
			return err
		}
		moved = append(moved, to)
	}
	return syncDirectory(dir)
}

func last(name string) int {
	if name == storage.SealName {
		return 1
	}
	return 0
}

const verifyPrefix = "scimbox-verify-"

// Verify restores a backup into a directory of its own, reads it back, opens and checks it, and compares counts and hash with
// the manifest. The directory is removed. What the check has found is no error: it was in the store already.
func Verify(ctx context.Context, files []string, o RestoreOptions) (r *Restored, err error) {
	prefix := verifyPrefix
	if o.of != "" {
		prefix += o.of + "-"
	}
	dir, err := os.MkdirTemp(o.Temp, prefix)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	return restoreInto(ctx, dir, files, true, o)
}

// restoreInto makes a data directory of an empty directory.
func restoreInto(ctx context.Context, dir string, files []string, check bool, o RestoreOptions) (r *Restored, err error) {
	b, opened, err := openChain(files, o)
	defer func() {
		b.close()
		for _, f := range opened {
			err = errors.Join(err, f.Close())
		}
	}()
	if err != nil {
		return nil, err
	}
	b.onFile = func(name string, mode fs.FileMode, content []byte) error { return placeFile(dir, name, mode, content) }
	err = storage.LoadDir(ctx, dir, b.rows(), o.Store, func(s *storage.Snapshot) error {
		// What the engine has made of the rows, and not what was handed to it.
		hash, rows, err := hashOf(s)
		if err == nil && (hash != b.final.Hash || rows != b.final.Rows || s.Seq != b.final.Seq || s.Commits != b.final.Commits) {
			err = fmt.Errorf("the store has not kept what it was given: %d rows with the hash %s, and there should be %d with %s", rows, hash, b.final.Rows, b.final.Hash)
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	r = &Restored{Manifest: *b.final}
	if err := syncTree(dir); err != nil {
		return nil, err
	}
	r.Check, err = tryOut(ctx, dir, r.Manifest, check, o.Store)
	return r, err
}

// openChain opens backups of which each builds on the one before, and returns the last.
func openChain(files []string, o RestoreOptions) (last *reader, opened []io.Closer, err error) {
	if len(files) == 0 {
		return nil, nil, errors.New("no backup is named")
	}
	p := &readProgress{report: o.Progress}
	for i, name := range files {
		var from io.Reader
		if name == "-" {
			if i > 0 || o.Stdin == nil {
				return last, opened, &ChainError{"-", "stands for standard input, which can be the first backup alone"}
			}
			from, name = o.Stdin, "from standard input"
		} else {
			f, err := os.Open(name)
			if err != nil {
				return last, opened, err
			}
			opened = append(opened, f)
			info, err := f.Stat()
			if err != nil {
				return last, opened, err
			}
			if info.IsDir() {
				return last, opened, &ChainError{name, "is a directory, and no backup; name the file"}
			}
			p.total += info.Size()
			from = f
		}
		next, err := openReader(countingReader{from, p}, name, o.Identities, last)
		if err != nil {
			return last, opened, err
		}
		last = next
	}
	return last, opened, nil
}

// tryOut opens a restored store, as a server will, and checks it if asked to.
func tryOut(ctx context.Context, dir string, m Manifest, check bool, o storage.Options) (report *storage.Report, err error) {
	s, err := storage.OpenDir(ctx, dir, o)
	if err != nil {
		return nil, fmt.Errorf("the restored store cannot be opened: %w", err)
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	stats, err := s.Stats(ctx)
	if err != nil {
		return nil, err
	}
	if stats.Seq != m.Seq || !sameCounts(stats.Counts, m.Counts) {
		return nil, fmt.Errorf("the restored store has change %d and the counts %v, and its manifest says %d and %v", stats.Seq, stats.Counts, m.Seq, m.Counts)
	}
	if !check {
		return nil, nil
	}
	return s.Check(ctx, storage.CheckOptions{})
}

func sameCounts(a, b map[string]map[string]int64) bool {
	return maps.EqualFunc(a, b, func(x, y map[string]int64) bool { return len(x) == 0 && len(y) == 0 || reflect.DeepEqual(x, y) })
}

type readProgress struct {
	report      func(done, total int64)
	done, total int64
}

type countingReader struct {
	io.Reader
	p *readProgress
}

func (r countingReader) Read(b []byte) (int, error) {
	n, err := r.Reader.Read(b)
	if r.p.done += int64(n); r.p.report != nil {
		r.p.report(r.p.done, max(r.p.total, r.p.done))
	}
	return n, err
}

// Findings names what the check has found, for a message.
func (r *Restored) Findings() string {
	if r.Check == nil || len(r.Check.Findings) == 0 {
		return ""
	}
	var l []string
	for _, f := range r.Check.Findings[:min(3, len(r.Check.Findings))] {
		l = append(l, f.Where+": "+f.Text)
	}
	return fmt.Sprintf("%d findings, such as %s", len(r.Check.Findings), strings.Join(l, "; "))
}
