package z

// Not of ristretto: what scimbox puts its own functions in place of, before anything is opened. Badger creates and opens what it
// maps by OpenMmapFile, and calls Msync itself for new tables alone; MmapFile.Sync does not go through it.

// OpenMmapFile opens an existing file or creates a new one; see openMmapFile.
var OpenMmapFile = openMmapFile

// Msync makes durable what was written into a map.
var Msync = msync
