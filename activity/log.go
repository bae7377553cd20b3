package activity

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"
)

// DirName is the directory of the refused requests in the data directory.
const DirName = "activity"

// Options tune a Log. The zero value of a field means its default.
type Options struct {
	Keep    time.Duration     // how long a refused request is kept; 30 days. Below 0: none are
	MaxSize int64             // bytes of all of them; 64 MiB
	Body    int64             // bytes of a body that are kept; below 0: none, 0: 8 KiB
	Mask    []string          // attributes whose values are not kept
	Base    string            // path that SCIM is below, such as "/scim/v2"
	Types   map[string]string // resource types by endpoint in lower case: "users": "User"
	Clock   func() time.Time
	Logger  *slog.Logger

	queue int // requests that may wait to be written; for tests
}

const (
	queueLen   = 256
	saveEvery  = time.Minute
	nameless   = 300 // refused requests without a token that are kept in a minute
	namelessOf = 30  // of them, from one address
)

// Log keeps refused requests and remembers when clients were there. Its methods may be called by any number of goroutines,
// and a nil Log keeps nothing.
type Log struct {
	dir      string
	keep     time.Duration
	keeper   keeper
	clock    func() time.Time
	log      *slog.Logger
	contacts *contacts
	writes   bool

	queue chan item
	stop  context.CancelFunc
	done  chan struct{}

	last       atomic.Uint64 // sequence of the last entry
	dropped    atomic.Int64
	suppressed atomic.Int64

	mu      sync.Mutex
	changed chan struct{} // closed when something was written
	size    int64
	minute  time.Time // that the counts below are of
	count   int
	from    map[string]int
}

type item struct {
	request *Request
	written chan<- struct{} // instead of a request: closed when all before it are written
}

// Open opens the log below a data directory for writing; one process at a time may. An error of the files does not keep a
// server from starting: the log then only remembers, and complains.
func Open(data string, o Options) *Log {
	l := newLog(data, o)
	l.writes = l.keep > 0
	var w *writer
	if l.writes {
		var err error
		w, err = openWriter(l.dir, l.keep, cmp.Or(max(o.MaxSize, 0), 64<<20))
		if err == nil {
			l.last.Store(w.next - 1)
			l.size = w.size()
			err = w.expire(l.clock())
		}
		if err != nil {
			l.log.Warn("refused requests cannot be kept", "error", err)
		}
	}
	ctx, stop := context.WithCancel(context.Background())
	l.stop = stop
	go l.run(ctx, w)
	return l
}

// Files returns the log below a data directory for reading alone.
func Files(data string, o Options) *Log {
	l := newLog(data, o)
	close(l.done)
	l.stop = func() {}
	return l
}

func newLog(data string, o Options) *Log {
	l := &Log{
		dir: filepath.Join(data, DirName), keep: cmp.Or(o.Keep, 30*24*time.Hour), clock: o.Clock, log: o.Logger,
		queue: make(chan item, cmp.Or(o.queue, queueLen)), done: make(chan struct{}), changed: make(chan struct{}),
		keeper: keeper{NewMask(o.Mask), max(cmp.Or(o.Body, 8<<10), 0), o.Base, o.Types},
		from:   map[string]int{},
	}
	if l.clock == nil {
		l.clock = time.Now
	}
	if l.log == nil {
		l.log = slog.New(slog.DiscardHandler)
	}
	var err error
	if l.contacts, err = readContacts(l.dir); err != nil {
		l.log.Warn("when clients were last here is not known", "error", err)
	}
	return l
}

// Close writes what waits to be written, and ends the log.
func (l *Log) Close() error {
	if l == nil {
		return nil
	}
	l.stop()
	<-l.done
	return nil
}

// Contact counts a request of a client, by the token that it was let in with.
func (l *Log) Contact(token, tenant, client, agent string, what Outcome) {
	if l != nil {
		l.contacts.note(token, tenant, client, agent, l.clock(), what)
	}
}

// Forget drops the contact of a token that was made for a moment and is gone.
func (l *Log) Forget(token string) {
	if l != nil {
		l.contacts.forget(token)
	}
}

// Contacts returns when which client was there, the latest first.
func (l *Log) Contacts() []Contact {
	if l == nil {
		return nil
	}
	return l.contacts.list()
}

// Keeps reports whether refused requests are kept at all, so that nobody collects them for nothing.
func (l *Log) Keeps() bool { return l != nil && l.writes }

// Record takes a refused request to be written, and does not wait for that. The bodies of r belong to the log from then on.
// Requests without a token are taken up to a number in each minute: anybody can send them.
func (l *Log) Record(r *Request) {
	if !l.Keeps() {
		return
	}
	if r.Token == "" && l.flooded(r.Client) {
		l.suppressed.Add(1)
		return
	}
	select {
	case l.queue <- item{request: r}:
	default:
		l.dropped.Add(1)
	}
}

// LeftOut counts n refused operations that are not recorded because the request that they came in had so many.
func (l *Log) LeftOut(n int) {
	if l.Keeps() {
		l.suppressed.Add(int64(n))
	}
}

func (l *Log) flooded(client string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if now := l.clock(); now.Sub(l.minute) >= time.Minute || now.Before(l.minute) {
		l.minute, l.count = now, 0
		clear(l.from)
	}
	if l.count++; l.count > nameless {
		return true // before anything is remembered of the client, of whom there may be any number
	}
	l.from[client]++
	return l.from[client] > namelessOf
}

// Stats are figures of a Log.
type Stats struct {
	Last       uint64 `json:"last"`       // sequence of the last entry
	Size       int64  `json:"size"`       // bytes
	Dropped    int64  `json:"dropped"`    // requests that could not be written, or not in time, since the start
	Suppressed int64  `json:"suppressed"` // requests without a token, and operations of bulk requests, beyond what is kept of them, since the start
}

// Stats returns the figures of the log.
func (l *Log) Stats() Stats {
	if l == nil {
		return Stats{}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return Stats{l.last.Load(), l.size, l.dropped.Load(), l.suppressed.Load()}
}

// Sync waits until all that was recorded before is written, or ctx ends.
func (l *Log) Sync(ctx context.Context) error {
	if !l.Keeps() {
		return nil
	}
	written := make(chan struct{})
	select {
	case l.queue <- item{written: written}:
	case <-l.done:
		return errors.New("the log is closed")
	case <-ctx.Done():
		return ctx.Err()
	}
	select {
	case <-written:
		return nil
	case <-l.done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// watch returns a channel that is closed when the next entries are written. Of a log that is only read it never is.
func (l *Log) watch() <-chan struct{} {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.changed
}

// run writes what Record has taken until ctx ends, and then what is left.
func (l *Log) run(ctx context.Context, w *writer) {
	defer close(l.done)
	save := time.NewTicker(saveEvery)
	defer save.Stop()
	var told int64
	tidy := func() {
		if w != nil {
			if err := w.expire(l.clock()); err != nil {
				l.log.Warn("old refused requests could not be removed", "error", err)
			}
			if err := l.contacts.save(l.dir); err != nil {
				l.log.Warn("when clients were last here could not be written", "error", err)
			}
		}
		if n := l.dropped.Load(); n > told {
			l.log.Warn("refused requests were not kept", "requests", n-told)
			told = n
		}
	}
	for {
		select {
		case it := <-l.queue:
			l.write(w, it)
		case <-save.C:
			tidy()
		case <-ctx.Done():
			for {
				select {
				case it := <-l.queue:
					l.write(w, it)
					continue
				default:
				}
				break
			}
			tidy()
			if w != nil {
				if err := w.close(); err != nil {
					l.log.Warn("refused requests may not be kept", "error", err)
				}
			}
			return
		}
	}
}

// write writes a request and those that wait behind it, up to a number.
func (l *Log) write(w *writer, it item) {
	var batch []Entry
	var waiting []chan<- struct{}
	for n := 0; ; n++ {
		if it.request != nil {
			batch = append(batch, l.keeper.entry(it.request))
		}
		if it.written != nil {
			waiting = append(waiting, it.written)
		}
		if n >= 63 {
			break
		}
		select {
		case it = <-l.queue:
			continue
		default:
		}
		break
	}
	if len(batch) > 0 {
		if w == nil {
			l.dropped.Add(int64(len(batch)))
		} else if err := w.write(batch, l.clock()); err != nil {
			l.dropped.Add(int64(len(batch)))
			l.log.Debug("refused requests could not be written", "error", err)
		} else {
			l.mu.Lock()
			l.last.Store(w.next - 1)
			l.size = w.size()
			close(l.changed)
			l.changed = make(chan struct{})
			l.mu.Unlock()
		}
	}
	for _, c := range waiting {
		close(c)
	}
}
