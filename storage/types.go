package storage

import (
	"context"
	"iter"
	"time"
)

// Ref names one record: the tenant it belongs to, its kind ("User", "Group", "token") and its id, unique in the
// tenant. None of the three may hold a zero byte, and none may be empty.
type Ref struct{ Tenant, Kind, ID string }

// Stamp says when a record was made and last changed.
type Stamp struct {
	Created  time.Time // UTC, microseconds
	Modified time.Time // UTC, microseconds; strictly later than the Modified it follows
	Version  uint64    // journal sequence of the change that wrote the record; never used twice in a store
}

// Record is one stored resource. Body is opaque to the store. Terms are everything that the record can be found by; they
// are remembered in the record's row, so that the next Put can take the difference without knowing what a body means.
type Record struct {
	Ref
	Stamp
	Body  []byte
	Terms []Term
}

// Term is one value by which a record can be found: Value compares as bytes, so that scim encodes it to keep the order
// of the data type. A Unique term may belong to one record of the same kind and tenant at a time.
type Term struct {
	Field  string
	Value  []byte
	Unique bool
}

// Link is a directed edge between two records, stored as two rows so that it can be walked from either side. To need
// not exist. There is at most one link of a Field between two records; Body holds what else is known of it.
type Link struct {
	From  Ref
	Field string
	To    Ref
	Body  []byte
}

// Origin says on whose behalf a change is made; it goes into the journal row.
type Origin struct {
	Actor   string // token id, or "local" for the command line
	Client  string // network address of the client, "" for the command line
	Request string // request id
}

// Entry is one row of the journal.
type Entry struct {
	Seq    uint64    // set by the store: 1, 2, 3 ... without a gap (but see OpLoss), in the order of commit
	Time   time.Time // set by the store
	Origin           // set by the store from Update's argument
	Op     string    // create, replace, patch, delete, ...
	Ref    Ref
	Detail []byte // what changed: JSON written by the caller, without secrets
}

// Range is a span of keys: Start <= key < End; an empty End means no upper limit. If Start is not before End, there is
// nothing in it.
type Range struct {
	Start, End []byte
	Reverse    bool // from the last key of the span to the first
	KeysOnly   bool // Item.Value is nil; much cheaper
}

// Item is one row of a Scan. Key and Value are valid until the iteration goes on.
type Item struct{ Key, Value []byte }

// Engine is all that is asked of an ordered, transactional key-value engine. Keys are of any bytes, in the order of
// bytes.Compare, at least one and at most 10,000 of them; none begins with "!", which engines may keep for rows of their own.
// Values are of any bytes, also of none. Package storagetest tests whether an engine keeps to what is said here.
type Engine interface {
	// View runs fn on a consistent snapshot, of at least all that was durable when View was called, and returns fn's error as
	// it is. It may run beside any number of other Views and one Update.
	View(ctx context.Context, fn func(Reader) error) error
	// Update runs fn in a read-write transaction; nil means that all of its writes are durable. The Store never runs two at
	// a time. An error of fn is returned as it is and nothing was written. An error of the commit wraps ErrUnknownOutcome
	// unless the engine is certain that nothing was written. Writes beyond what one transaction takes make Set or
	// Delete return ErrTooLarge; what those were to write is then not in the transaction.
	Update(ctx context.Context, fn func(Writer) error) error
	// Close ends the engine. It is called when no View and no Update runs; afterwards they return ErrClosed. Closing again
	// does nothing.
	Close() error
}

// Reader reads one snapshot; it must not be used after the function it was handed to has returned.
type Reader interface {
	// Get returns the value of key, valid until the transaction ends, or ErrNotFound.
	Get(key []byte) ([]byte, error)
	// Scan yields the rows of r in key order, the transaction's own writes included. Several Scans may be open at a time,
	// and rows may be written while one is open; whether the Scan sees those is undefined. When ctx ends, a Scan of many
	// rows yields ctx's error and ends. An error is always the last thing that is yielded.
	Scan(r Range) iter.Seq2[Item, error]
}

// Sharer is what a Reader of a View can be besides: one whose snapshot several goroutines may read.
type Sharer interface {
	// Share returns a Reader of the same snapshot for another goroutine. It must not be used after the function that this one was
	// handed to has returned.
	Share() Reader
}

// Writer is a Reader that can also write.
type Writer interface {
	Reader
	Set(key, value []byte) error // both are copied or kept unchanged; the caller must not modify them
	Delete(key []byte) error     // of an absent key is no error
}
