package storage

import (
	"errors"
	"fmt"
)

// Conditions that callers branch on.
var (
	// ErrNotFound says that there is no such row or record.
	ErrNotFound = errors.New("storage: not found")
	// ErrTooLarge says that an operation has more writes than fit into one transaction, or a row that is larger than
	// the engine takes. Nothing of it was written.
	ErrTooLarge = errors.New("storage: too large for one transaction")
	// ErrUnknownOutcome says that a commit failed and that nobody knows whether it is durable.
	ErrUnknownOutcome = errors.New("storage: unknown outcome of a commit")
	// ErrReadOnly says that a write was tried where only reading is possible. Nothing was written.
	ErrReadOnly = errors.New("storage: read-only")
	// ErrClosed says that the store was closed, or has closed itself after a commit of unknown outcome.
	ErrClosed = errors.New("storage: closed")
	// ErrLocked says that another process has the data directory open.
	ErrLocked = errors.New("storage: the data directory is in use by another process")
)

// ConflictError says that a unique term belongs to another record.
type ConflictError struct {
	Owner Ref // the record that has it
	Field string
}

func (e *ConflictError) Error() string {
	return fmt.Sprintf("the unique term %q belongs to %s %s", e.Field, e.Owner.Kind, e.Owner.ID)
}

// DamageError says that stored data cannot be read as they were written.
type DamageError struct {
	Where string // a row, in words, or a file
	Err   error
}

func (e *DamageError) Error() string { return fmt.Sprintf("%s is damaged: %v", e.Where, e.Err) }

// Unwrap returns the cause.
func (e *DamageError) Unwrap() error { return e.Err }

// wayBack is what helps where files are damaged or missing.
const wayBack = "scimbox restore of the latest backup, or of a copy of the whole data directory, is the way back (docs/operating.md, When a start is refused)"

// LostDataError says that a data directory lacks what its seal knows to have been durable.
type LostDataError struct {
	Dir     string
	Missing string // what is not there, in words
}

func (e *LostDataError) Error() string {
	return fmt.Sprintf("data are missing in %s: %s. Nothing was changed; %s, or give up what is missing with --accept-data-loss", e.Dir, e.Missing, wayBack)
}

// FormatError says that a store was written in a format that this program does not know.
type FormatError struct {
	Found, Known int
	Version      string // of the program that wrote it
}

func (e *FormatError) Error() string {
	return fmt.Sprintf("the data have format %d, written by scimbox %s, and this program knows formats up to %d; run scimbox %s or a later one", e.Found, e.Version, e.Known, e.Version)
}
