package z

// Not of ristretto: what scimbox puts its own functions in place of, before anything is opened. Badger creates and opens what it
// maps by OpenMmapFile, and calls Msync itself for new tables alone; MmapFile.Sync does not go through it. It builds tables in
// memory of Allocators, and an AllocatorPool keeps none of those for later: under load that was most of what the process took. Blocks of
// tables are unpacked into what Calloc gives (calloc_nojemalloc.go), and Free takes it back.

// OpenMmapFile opens an existing file or creates a new one; see openMmapFile.
var OpenMmapFile = openMmapFile

// Msync makes durable what was written into a map.
var Msync = msync

// AllocatorMemory is where an Allocator has its memory from, all of it zero, and AllocatorFree takes back what it does not need any
// more, whole as it was given.
var AllocatorMemory, AllocatorFree = Calloc, Free
