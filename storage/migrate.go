package storage

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"fmt"
)

// A format that other programs cannot read has a number of its own (Format), and a way to it from the one before. Whoever opens
// a data directory of an earlier format goes that way, after somebody has had the chance to make a backup.

// migration makes rows of the next format of those of one, in as many transactions as it needs. It may be ended at any point, and
// is then done again from the beginning.
type migration func(ctx context.Context, e Engine) error

// migrations are the ways from each format to the next.
var migrations = map[int]migration{
	// Journal rows are shorter (entry.go). Those that are there stay as they are, and are read; what format 2 says is that a program that
	// knows format 1 alone cannot read the new ones.
	1: func(context.Context, Engine) error { return nil },
}

// migrate brings an opened store, which nobody uses yet, to the format of this program.
func (s *Store) migrate(ctx context.Context, dir string, o Options) error {
	ways := o.migrations
	if ways == nil {
		ways = migrations
	}
	from, version, err := s.format(ctx)
	if err != nil || from >= Format {
		return err
	}
	for n := from; n < Format; n++ {
		if ways[n] == nil {
			return fmt.Errorf("the data in %s have format %d, written by scimbox %s, and this program knows no way from format %d to %d; first run a version in between", dir, from, version, n, n+1)
		}
	}
	o.Logger.Warn("the data are brought to another format; earlier versions of scimbox will not open them any more", "data", dir, "from", from, "to", Format, "written_by", version)
	if o.BeforeMigration != nil {
		if err := o.BeforeMigration(ctx, s, from, Format); err != nil {
			return fmt.Errorf("the data in %s have to be brought from format %d to %d, which is not begun without a backup, and none could be made: %w. Nothing was changed", dir, from, Format, err)
		}
	}
	for n := from; n < Format; n++ {
		if err := ways[n](ctx, s.engine); err != nil {
			return fmt.Errorf("bringing the data in %s from format %d to %d: %w; the next start goes on, or restore the backup that was made before", dir, n, n+1, err)
		}
		if err := s.writeFormatOf(ctx, n+1); err != nil {
			return err
		}
	}
	_, err = s.readState(ctx)
	return err
}

// format returns the format of an opened store, and the program that wrote it.
func (s *Store) format(ctx context.Context) (n int, version string, err error) {
	var f formatRow
	err = s.engine.View(ctx, func(r Reader) error {
		b, err := get(r, formatKey)
		if err != nil {
			return err
		}
		return json.Unmarshal(b, &f)
	})
	return f.Format, f.Version, err
}

func (s *Store) writeFormatOf(ctx context.Context, n int) error {
	if s.id == "" {
		var id [4]byte
		_, _ = rand.Read(id[:]) // it never fails
		s.id = hex.EncodeToString(id[:])
	}
	b, err := json.Marshal(formatRow{n, s.version, s.id})
	if err != nil {
		return err
	}
	return s.engine.Update(ctx, func(w Writer) error { return set(w, formatKey, b) })
}
