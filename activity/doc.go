// Package activity tells what clients did and what was refused to them, as sentences that an operator reads.
//
//	log.go       Log: the refused requests, in files beside the store, written without holding up a request
//	segment.go   those files       entry.go  one line of them
//	mask.go      what must not be kept of a request: secrets, and the attributes that an operator has named
//	contact.go   when each token was last used, by whom, and how often it usually is
//	event.go     Event: a change of the journal, or a refused request
//	reader.go    Reader: both of them as one list, newest first, by pages      follow.go  and as they come
//	history.go   what has become of one resource
//	sentence.go  the sentence of an event
//	advice.go    what to change after a refusal
//
// What was done is in the journal of package storage, in the same transaction as the change itself. What was refused has
// changed nothing, so that it needs no such promise: it is kept in files of its own, bounded in size and age, and when they
// cannot be written it is dropped and counted (docs/decisions/0074-refused-requests-beside-the-store.md).
package activity
