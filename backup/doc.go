// Package backup writes the whole store, and the files that belong to it, into one file, and makes a data directory of it
// again. What it writes knows nothing of the engine below the store.
//
//	doc.go        the form of a backup
//	manifest.go   Manifest: what a backup says of itself
//	frame.go      frames: no flipped bit and no cut is overlooked
//	chunk.go      rows in chunks, by which two states of a store are compared
//	write.go      Write: a store becomes a backup       encrypt.go  to whom it is encrypted
//	read.go       reader: a backup, and those that it builds on, become rows
//	restore.go    Restore and Verify
//	position.go   what increments build on              file.go  the files that are not rows
//	keeper.go     Keeper: backups by the clock          save.go  a file that is there as a whole or not at all
//
// # A backup
//
// A backup that is encrypted is a file of age (age-encryption.org/v1) whose content is what follows. It begins with the line
// "scimbox backup 1" and goes on with frames:
//
//	type   1 byte
//	length 4 bytes, big endian, of the body
//	body
//	tag    16 bytes: the beginning of SHA-256 of what the frame before had here in full, of type, length and body
//
// so that each tag vouches for everything before it. The types, in the order in which they come:
//
//	H  manifest, as far as it is known at the beginning; JSON
//	F  a file of the data directory that is no row: zstd of length of name, name, mode, content
//	R  rows: zstd of any number of operations
//	M  the whole manifest
//	E  nothing; the end. Nothing comes behind it
//
// Operations are, in the order of keys,
//
//	L  a chunk of rows: their number, their length, and for each row length of key, key, length of value, value
//	C  chunks of the backup that this one builds on: the number of the first, how many
//
// and numbers are unsigned varints. The bounds of chunks depend on the keys alone (chunk.go), so that a change in one place leaves
// all other chunks as they were. The hash of a chunk is SHA-256 of its rows, cut to 16 bytes, and the hash of the content
// SHA-256 of the hashes of all chunks: it says of two backups, or of a backup and a store, whether they hold the same rows.
package backup
