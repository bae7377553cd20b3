package storage

import "log/slog"

// OpenBadger opens the engine alone, for the suite of storagetest, which cannot be used from inside of this package.
func OpenBadger(dir string) (Engine, error) { return openBadger(dir, slog.New(slog.DiscardHandler)) }

// WithSweepLinks has records with more than n links swept after they are deleted.
func (o Options) WithSweepLinks(n int) Options { o.sweepLinks = n; return o }
