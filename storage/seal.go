package storage

import (
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"os"
	"path/filepath"
)

// The seal is a small file beside the engine that says what the engine is known to have kept. Badger drops the rest of a log
// whose first bad record it has met, and opens a directory whose MANIFEST was lost as an empty one, both without a word
// (docs/decisions/0010-the-seal.md). The seal is written after a commit and never before, so that a healthy engine always
// has at least what the seal says.

// SealName is the file of the seal in a data directory.
const SealName = "seal.json"

type seal struct {
	Format  int                         `json:"format"`
	Version string                      `json:"version"` // of the program that wrote it
	Commits uint64                      `json:"commits"`
	Seq     uint64                      `json:"seq"`
	Counts  map[string]map[string]int64 `json:"counts"` // records by tenant and kind, after commit number Commits
	Tables  []uint64                    `json:"tables"` // of the engine; others may have taken their place since

	// Manifest is the CRC-32C of the engine's manifest after an orderly stop, else 0.
	Manifest uint32 `json:"manifest"`

	// Sums are what those of Tables are known by that were found whole. A start believes none of them: a table that does not fit
	// is looked at more closely.
	Sums map[uint64]tableSum `json:"sums,omitempty"`
}

// sealFile is how a seal stands in its file. The checksum is over the bytes as they are written, so that it can be verified
// whatever a later format puts into them.
type sealFile struct {
	Seal json.RawMessage `json:"seal"`
	Sum  uint32          `json:"sum"` // CRC-32C
}

// readSeal returns the seal of a data directory; ok is false if it has none.
func readSeal(dir string) (s seal, ok bool, err error) {
	path := filepath.Join(dir, SealName)
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return s, false, nil
	}
	if err != nil {
		return s, false, err
	}
	s, err = parseSeal(b, path)
	return s, err == nil, err
}

func parseSeal(b []byte, path string) (s seal, err error) {
	var f sealFile
	if err := json.Unmarshal(b, &f); err != nil {
		return s, damagedSeal(path, err)
	}
	if crc32.Checksum(f.Seal, castagnoli) != f.Sum {
		return s, damagedSeal(path, errors.New("its checksum is wrong"))
	}
	if err := json.Unmarshal(f.Seal, &s); err != nil {
		return s, damagedSeal(path, err)
	}
	if s.Format > Format {
		return s, &FormatError{s.Format, Format, s.Version}
	}
	return s, nil
}

func damagedSeal(path string, cause error) error {
	return &DamageError{path, fmt.Errorf("%w. Nothing was changed; %s, or go on with what is there with --accept-data-loss", cause, wayBack)}
}

// writeSeal replaces the seal of a data directory. What was there before is there until the new one is durable.
func writeSeal(dir string, s seal) (err error) {
	inner, err := json.Marshal(s)
	if err != nil {
		return err
	}
	b, err := json.Marshal(sealFile{inner, crc32.Checksum(inner, castagnoli)})
	if err != nil {
		return err
	}
	path := filepath.Join(dir, SealName)
	f, err := os.OpenFile(path+".new", os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return fmt.Errorf("writing the seal: %w", err)
	}
	_, err = f.Write(append(b, '\n'))
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return fmt.Errorf("writing the seal: %w", err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		return fmt.Errorf("writing the seal: %w", err)
	}
	return syncDirectory(dir)
}

// compare returns what a store lacks of what its seal says, in words; "" if nothing.
func (s seal) compare(commits, seq uint64, have map[string]map[string]int64) string {
	switch {
	case commits < s.Commits:
		return fmt.Sprintf("the store ends at commit %d, change %d, and its seal knows of commit %d, change %d", commits, seq, s.Commits, s.Seq)
	case seq < s.Seq:
		return fmt.Sprintf("the journal ends at change %d, and the seal knows of change %d", seq, s.Seq)
	case commits > s.Commits:
		return "" // counts have changed since
	}
	for tenant, kinds := range s.Counts {
		for kind, n := range kinds {
			if got := have[tenant][kind]; got != n {
				return fmt.Sprintf("tenant %s has %d records of kind %s, and the seal knows of %d", tenant, got, kind, n)
			}
		}
	}
	return ""
}
