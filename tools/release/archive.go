package main

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
)

// file is one that an archive holds.
type file struct {
	name string // with / on every system
	mode fs.FileMode
	data []byte
}

// units are those of systemd, in packaging/systemd.
var units = []string{"scimbox.service", "scimbox-https.socket", "scimbox-http.socket"}

// documents are what of the repository goes with the binary; README.md links to them.
func (r *release) documents() ([]file, error) {
	var files []file
	for _, pattern := range []string{"README.md", "CHANGELOG.md", "LICENSE", "config.example.toml", "docs/*.md", "docs/clients/*.md"} {
		found, err := filepath.Glob(filepath.Join(r.source, filepath.FromSlash(pattern)))
		if err != nil {
			return nil, err
		}
		if len(found) == 0 {
			return nil, fmt.Errorf("there is no %s in %s", pattern, r.source)
		}
		for _, name := range found {
			data, err := os.ReadFile(name)
			if err != nil {
				return nil, err
			}
			within, err := filepath.Rel(r.source, name)
			if err != nil {
				return nil, err
			}
			files = append(files, file{filepath.ToSlash(within), 0o644, data})
		}
	}
	return files, nil
}

// archive writes the .tar.gz, or the .zip of Windows.
func (r *release) archive(t target, binary, notices string, texts map[string]string) error {
	program, err := os.ReadFile(binary)
	if err != nil {
		return err
	}
	files, err := r.documents()
	if err != nil {
		return err
	}
	files = append(files,
		file{filepath.Base(binary), 0o755, program},
		file{"THIRD-PARTY-LICENCES.txt", 0o644, []byte(notices)},
	)
	if t.os != "windows" {
		files = append(files, file{"scimbox.1", 0o644, []byte(texts["scimbox.1"])})
	}
	if t.os == "linux" {
		for _, unit := range units {
			data, err := os.ReadFile(filepath.Join(r.source, "packaging", "systemd", unit))
			if err != nil {
				return err
			}
			files = append(files, file{"systemd/" + unit, 0o644, data})
		}
	}
	slices.SortFunc(files, func(a, b file) int { return strings.Compare(a.name, b.name) })
	for i := range files {
		files[i].name = path.Join(r.name(t), files[i].name)
	}
	var packed bytes.Buffer
	if t.os == "windows" {
		if err := r.zip(&packed, files); err != nil {
			return err
		}
		return r.write(r.name(t)+".zip", packed.Bytes())
	}
	if err := r.tar(&packed, files); err != nil {
		return err
	}
	zipped, err := gzipped(packed.Bytes())
	if err != nil {
		return err
	}
	return r.write(r.name(t)+".tar.gz", zipped)
}

func (r *release) tar(w io.Writer, files []file) error {
	t := tar.NewWriter(w)
	for _, f := range files {
		err := t.WriteHeader(&tar.Header{
			Name: f.name, Size: int64(len(f.data)), Mode: int64(f.mode), ModTime: r.date, Uname: "root", Gname: "root", Format: tar.FormatUSTAR,
		})
		if err != nil {
			return err
		}
		if _, err := t.Write(f.data); err != nil {
			return err
		}
	}
	return t.Close()
}

func (r *release) zip(w io.Writer, files []file) error {
	z := zip.NewWriter(w)
	for _, f := range files {
		h := &zip.FileHeader{Name: f.name, Method: zip.Deflate, Modified: r.date}
		h.SetMode(f.mode)
		in, err := z.CreateHeader(h)
		if err != nil {
			return err
		}
		if _, err := in.Write(f.data); err != nil {
			return err
		}
	}
	return z.Close()
}

// gzipped has no name and no time in its head, as gzip -9n.
func gzipped(data []byte) ([]byte, error) {
	var b bytes.Buffer
	z, err := gzip.NewWriterLevel(&b, gzip.BestCompression)
	if err != nil {
		return nil, err
	}
	if _, err := z.Write(data); err != nil {
		return nil, err
	}
	if err := z.Close(); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}

// write makes a file of the release.
func (r *release) write(name string, data []byte) error {
	fmt.Fprintf(r.log, "  %s\n", name)
	return os.WriteFile(filepath.Join(r.out, name), data, 0o644)
}

// sums writes SHA256SUMS, for sha256sum --check.
func (r *release) sums() error {
	files, err := os.ReadDir(r.out) // in order of name
	if err != nil {
		return err
	}
	var b bytes.Buffer
	for _, f := range files {
		data, err := os.ReadFile(filepath.Join(r.out, f.Name()))
		if err != nil {
			return err
		}
		fmt.Fprintf(&b, "%x  %s\n", sha256.Sum256(data), f.Name())
	}
	return r.write("SHA256SUMS", b.Bytes())
}
