//go:build !unix

package storage

import "io/fs"

// lockDirectory leaves it to the engine to keep other processes out.
func lockDirectory(string) (unlock func() error, err error) { return func() error { return nil }, nil }

// syncDirectory does nothing: these systems have no such thing.
func syncDirectory(string) error { return nil }

func sizeOnDisk(info fs.FileInfo) int64 { return info.Size() }
