package scim

import (
	"errors"
	"fmt"
	"net/http"
)

// The scimType keywords of RFC 7644 table 9 and RFC 9865 section 2.1.
const (
	InvalidFilter   = "invalidFilter"
	TooMany         = "tooMany"
	NotUnique       = "uniqueness"
	WrongMutability = "mutability"
	InvalidSyntax   = "invalidSyntax"
	InvalidPath     = "invalidPath"
	NoTarget        = "noTarget"
	InvalidValue    = "invalidValue"
	InvalidVers     = "invalidVers"
	Sensitive       = "sensitive"
	InvalidCursor   = "invalidCursor"
	ExpiredCursor   = "expiredCursor"
	InvalidCount    = "invalidCount"
)

// Error is an answer that is not a success (RFC 7644 section 3.12). Detail is for the person who reads it: what was
// asked, what was found, what is allowed. Err is the cause; it goes to the log and never to the client.
type Error struct {
	Status int
	Type   string // scimType, "" where the RFC names none
	Detail string
	Err    error
}

func (e *Error) Error() string {
	if e.Type != "" {
		return fmt.Sprintf("%d %s: %s", e.Status, e.Type, e.Detail)
	}
	return fmt.Sprintf("%d: %s", e.Status, e.Detail)
}

func (e *Error) Unwrap() error { return e.Err }

// bad is a 400 with a scimType.
func bad(scimType, format string, args ...any) *Error {
	return &Error{Status: http.StatusBadRequest, Type: scimType, Detail: fmt.Sprintf(format, args...)}
}

// within puts a place ("Operations[2]") before the detail of a SCIM error, and leaves other errors alone.
func within(place string, err error) error {
	var e *Error
	if place == "" || !errors.As(err, &e) {
		return err
	}
	c := *e
	c.Detail = place + ": " + e.Detail
	return &c
}
