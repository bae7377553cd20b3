package backup

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Names in a data directory. What the store and its seal hold comes from the rows; what else stands here is made anew.
const (
	// BackupsName is the directory of scheduled backups, unless the configuration names another.
	BackupsName   = "backups"
	positionsName = "positions"
	restoringName = "restoring" // what is being restored, until it is whole
)

var notFiles = []string{"store", "store.trial", "seal.json", "seal.json.new", "control.sock", BackupsName, positionsName, restoringName}

// maxFile is far more than a certificate or an account has.
const maxFile = 16 << 20

// eachFile calls fn with the regular files at and below the names, which are relative to a data directory.
func eachFile(dir string, names []string, fn func(name string, mode fs.FileMode, content []byte) error) error {
	for _, top := range names {
		root := filepath.Join(dir, filepath.FromSlash(top))
		err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
			if err != nil {
				return unlessGone(err)
			}
			if strings.HasSuffix(path, ".lock") { // of who is at work on what is beside it, and not of the restored directory
				return nil
			}
			info, err := os.Stat(path) // of what a symbolic link leads to
			if err != nil || !info.Mode().IsRegular() {
				return unlessGone(err)
			}
			if info.Size() > maxFile {
				return fmt.Errorf("%s has %d bytes, more than a file beside the store may have in a backup", path, info.Size())
			}
			content, err := os.ReadFile(path) // #nosec G122 -- a directory that is ours alone, mode 0700
			if err != nil {
				return unlessGone(err)
			}
			name, err := filepath.Rel(dir, path)
			if err != nil {
				return err
			}
			return fn(filepath.ToSlash(name), info.Mode().Perm(), content)
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// unlessGone forgives a file that is not there, or not any more.
func unlessGone(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

func appendFile(b []byte, name string, mode fs.FileMode, content []byte) []byte {
	b = binary.AppendUvarint(b, uint64(len(name)))
	b = append(b, name...)
	b = binary.AppendUvarint(b, uint64(mode))
	return append(b, content...)
}

var errFile = errors.New("a file in it cannot be read")

func parseFile(b []byte) (name string, mode fs.FileMode, content []byte, err error) {
	n, used := binary.Uvarint(b)
	if used <= 0 || n > uint64(len(b)-used) {
		return "", 0, nil, errFile
	}
	name, b = string(b[used:][:n]), b[used+int(n):]
	m, used := binary.Uvarint(b)
	if used <= 0 || m > 0o777 {
		return "", 0, nil, errFile
	}
	if !placeable(name) {
		return "", 0, nil, fmt.Errorf("it has a file %q, which does not belong into a data directory", name)
	}
	return name, fs.FileMode(m), b[used:], nil
}

// placeable reports whether a file of a backup may be written: within the data directory, and not over what is the store's.
func placeable(name string) bool {
	local := filepath.FromSlash(name)
	top, _, _ := strings.Cut(name, "/")
	return filepath.IsLocal(local) && filepath.ToSlash(filepath.Clean(local)) == name && name != "." &&
		!slices.ContainsFunc(notFiles, func(n string) bool { return strings.EqualFold(n, top) })
}

// placeFile writes a file of a backup below a directory. Nobody but the owner gets more than the file had.
func placeFile(dir, name string, mode fs.FileMode, content []byte) error {
	path := filepath.Join(dir, filepath.FromSlash(name))
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode|0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(content)
	return errors.Join(err, f.Sync(), f.Close())
}
