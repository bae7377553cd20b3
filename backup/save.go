package backup

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
)

// partialName is what a backup is named until it is whole.
const partialName = ".*.partial" // the pattern of what stands behind its own

// Save makes a file of what write writes, for its owner alone: whole, durable and under its name, or not at all. A file that is
// there already is not replaced, because it may be what the new one builds on.
func Save(path string, write func(io.Writer) error) error {
	return save(path, write, func(string) error { return nil })
}

// save is Save of a file that is verified before it gets its name.
func save(path string, write func(io.Writer) error, verify func(path string) error) (err error) {
	if err := mustNotExist(path); err != nil {
		return err
	}
	dir := filepath.Dir(path)
	f, err := os.CreateTemp(dir, "."+filepath.Base(path)+partialName)
	if err != nil {
		var where *fs.PathError // of the file with the name that is made up
		if errors.As(err, &where) {
			err = where.Err
		}
		return fmt.Errorf("no backup can be written into the directory %s: %w", dir, err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, unlessGone(os.Remove(f.Name())))
		}
	}()
	err = write(f)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	if err := errors.Join(verify(f.Name()), mustNotExist(path)); err != nil {
		return err
	}
	if err := os.Rename(f.Name(), path); err != nil {
		return err
	}
	return syncDirectory(dir)
}

// ExistsError says that there is a file where a backup was to be written.
type ExistsError struct{ Path string }

func (e *ExistsError) Error() string {
	return fmt.Sprintf("%s is there already, and a backup does not replace another; choose another name, or move it away", e.Path)
}

func mustNotExist(path string) error {
	_, err := os.Lstat(path)
	if err == nil {
		return &ExistsError{path}
	}
	return unlessGone(err)
}

// syncDirectory makes durable which files a directory has.
func syncDirectory(dir string) error {
	if runtime.GOOS == "windows" { // which has no such thing
		return nil
	}
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// syncTree makes durable which files all directories at and below dir have.
func syncTree(dir string) error {
	return filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.IsDir() {
			return err
		}
		return syncDirectory(path)
	})
}
