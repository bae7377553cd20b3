// Package storage keeps records, the terms by which they are found, and the links between them, on an ordered and
// transactional key-value engine. It knows bytes: what a body means, and how a term's value sorts, is the caller's business.
//
//	types.go      what is stored, and what an engine must promise
//	store.go      Store: open, read, stop; statistics and journal
//	journal.go    the journal: reading it, and how it is kept from growing for ever
//	commit.go     the one writer: how waiting operations become one transaction
//	tx.go         Tx: records, terms, links, counters inside a transaction
//	space.go      what is left of the disk, below which nothing is written
//	sweep.go      the links of a deleted record that had too many for one transaction
//	keys.go       how rows are named       row.go  how they are written
//	overlay.go    writes that are not yet in the engine, seen as if they were
//	memory.go     an engine in memory      badger.go  the engine on disk      hotrows.go  records that it has read a moment ago
//	packedrows.go  rows that it keeps packed in memory      keptreads.go  what readers are given of both
//	buildmemory_unix.go  where it has the memory from that it builds tables in
//	mapped.go     the files that the engine on disk maps, which have their blocks before it writes
//	dir.go        OpenDir: lock, seal, engine and store of a data directory      seal.go  the seal
//	logs.go       where its logs end, of a directory that is refused
//	tables.go     whether the engine's tables are whole, and what they are known again by
//	migrate.go    from one format of the rows to the next
//	loss.go      how a store that has lost changes goes on
//	snapshot.go  load.go   all rows of a store, and a store of all rows
//	check.go      compares everything derived with the records, and repairs it
//
// # On disk
//
// A key is a letter that names its family, and then parts that are separated by a zero byte, which no part can hold. In
// this table · stands for the zero byte, and T for a tenant.
//
//	family     key                                      value
//	record     r T·User·0192…                           stamp, terms, body
//	term       t T·User·username·<value>·0192…          (nothing)
//	unique     u T·User·=username·<value>               0192…  the id of the record that has it
//	link       l T·Group·0193…·members·0192…·User       body
//	backlink   b T·User·0192…·members·0193…·Group       (nothing)
//	counter    c T·User                                 how many records there are
//	index      f T·User                                 fingerprint of the rules by which its terms were made
//	sweep      d T·Group·0193…                          (nothing): deleted, some of its links are still there
//	journal    j <sequence, 8 bytes, big endian>        entry
//	meta       m format | commit | journal              format of this layout, who wrote it, which store it is | number of commits |
//	                                                    sequence of the first journal row that is kept
//
// The value of a term is escaped (0x00 becomes 0x00 0xFF) and ended by 0x00 0x01, so that rows sort by the value's bytes
// and then by id. A row that has a value begins it with a CRC-32C of key and value, which is verified whenever the row is
// read: the engine below serves damaged values without a word (docs/decisions/0011-row-checksums.md).
//
// # Promises
//
// Update returns nil only when all that it wrote is durable; what it refuses leaves no trace. Writes are done one after
// another by one goroutine, so that what an operation reads cannot change before it commits, counters are exact, and the
// journal has no gap. Reads see one snapshot and wait for nobody.
package storage
