package backup

import (
	"fmt"
	"time"
)

// Format is the number of the form of backups that this program writes. One of a later form is refused.
const Format = 1

// Manifest is what a backup says of itself.
type Manifest struct {
	Format      int       `json:"format"`          // of the backup
	StoreFormat int       `json:"storeFormat"`     // of the rows
	Version     string    `json:"version"`         // of the program that wrote it
	Store       string    `json:"store,omitempty"` // identity of the store; "" if it was made before there were any
	Created     time.Time `json:"created"`
	Position    string    `json:"position"` // what an increment is asked for by, to build on this one
	Seq         uint64    `json:"seq"`      // of the last change
	Commits     uint64    `json:"commits"`
	Base        *Base     `json:"base,omitempty"` // what it builds on; nil if it is whole by itself

	Counts map[string]map[string]int64 `json:"counts"` // records by tenant and kind

	// What follows is known at the end alone.
	Rows     int64            `json:"rows,omitempty"`     // of the store, whatever the backup itself has of them
	Families map[string]int64 `json:"families,omitempty"` // the same by family
	Chunks   int64            `json:"chunks,omitempty"`
	Written  int64            `json:"written,omitempty"` // chunks that are in this backup and not in what it builds on
	Hash     string           `json:"hash,omitempty"`    // of the content: hexadecimal
	Files    []File           `json:"files,omitempty"`
}

// Base names the state that an increment builds on.
type Base struct {
	Position string `json:"position"`
	Hash     string `json:"hash"`
}

// File is one that is in a backup beside the rows.
type File struct {
	Name string `json:"name"` // below the data directory, with slashes
	Size int64  `json:"size"`
}

// position names a state of a store: the last change, which people know, and the last commit, because not every commit is a
// change that is in the journal.
func position(seq, commits uint64) string { return fmt.Sprintf("%d.%d", seq, commits) }

// CorruptError says that a backup is not as it was written, and can be of no use.
type CorruptError struct {
	File string
	Err  error
}

func (e *CorruptError) Error() string {
	return fmt.Sprintf("the backup %s is damaged or cut short: %v. Nothing of it was kept; use another one", e.File, e.Err)
}

// Unwrap returns the cause.
func (e *CorruptError) Unwrap() error { return e.Err }

// FormatError says that a backup was written by a later program in a form that this one does not know.
type FormatError struct {
	File         string
	What         string // "form" of the backup, or "format" of the rows in it
	Found, Known int
	Version      string // of the program that wrote it, "" if that cannot be read
}

func (e *FormatError) Error() string {
	by, run := "", "a later version of scimbox"
	if e.Version != "" {
		by, run = ", written by scimbox "+e.Version, "scimbox "+e.Version+" or a later one"
	}
	return fmt.Sprintf("the backup %s has %s %d%s, and this program knows those up to %d; run %s", e.File, e.What, e.Found, by, e.Known, run)
}
