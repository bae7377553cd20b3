package storage

// WithSweepLinks has records with more than n links swept after they are deleted.
func (o Options) WithSweepLinks(n int) Options { o.sweepLinks = n; return o }
