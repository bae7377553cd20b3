package backup

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"filippo.io/age"

	"scimbox/storage"
)

// Plan says when backups are made by themselves, and where they go.
type Plan struct {
	Every     time.Duration // 0 = never
	Keep      int           // how many are kept
	Dir       string        // a directory for them alone; made if there is none
	Recipient age.Recipient // who can read them; nil = everybody
}

const (
	firstAfter = time.Minute      // how long after a start the first backup of all is made
	tryAgain   = 10 * time.Minute // after one that has failed
	lookAgain  = 5 * time.Minute  // at the clock, which may have been set
	clockSkew  = time.Minute      // by which a backup may come from later than now
)

// Done is a backup that was verified.
type Done struct {
	File    string    `json:"file"`
	Created time.Time `json:"created"`
	Size    int64     `json:"size"` // bytes
}

// Failure is a backup that could not be made.
type Failure struct {
	At    time.Time `json:"at"`
	Error string    `json:"error"`
}

// State is how things are with scheduled backups.
type State struct {
	Dir      string    `json:"dir"`
	Every    string    `json:"every"`             // "" = never
	Kept     int       `json:"kept"`              // how many there are
	Last     *Done     `json:"last,omitempty"`    // the newest that was verified; nil if there is none
	Failure  *Failure  `json:"failure,omitempty"` // of the last try; nil if it did not fail
	Next     time.Time `json:"next,omitzero"`     // when the next is due; zero if none is
	Failures int64     `json:"failures"`          // since the start
}

// Keeper makes backups by the clock. Each is restored into a directory of its own and checked before it gets its name, and only
// then the oldest one goes.
type Keeper struct {
	store *storage.Store
	plan  Plan
	o     Options
	trial storage.Options // of what is restored to be verified

	verify func(context.Context, []string, RestoreOptions) (*Restored, error)

	started  time.Time
	mu       sync.Mutex
	failure  *Failure
	failures int64
}

// NewKeeper returns a Keeper, which does nothing before Run. Of o it takes all but Recipients, Since and Progress; trial is how
// stores are opened that are made to verify a backup.
func NewKeeper(s *storage.Store, p Plan, o Options, trial storage.Options) *Keeper {
	o = o.withDefaults()
	return &Keeper{store: s, plan: p, o: o, trial: trial, verify: Verify, started: o.Clock()}
}

// Run makes backups until ctx ends.
func (k *Keeper) Run(ctx context.Context) {
	if k.plan.Every <= 0 {
		return
	}
	k.clean()
	for {
		wait := k.due().Sub(k.o.Clock())
		if wait <= 0 {
			k.try(ctx)
			wait = 0
		}
		t := time.NewTimer(min(wait, lookAgain))
		select {
		case <-ctx.Done():
			t.Stop()
			return
		case <-t.C:
		}
	}
}

// due returns when the next backup is to be made. It goes by what lies in the directory, so that a restart neither makes one
// more nor puts it off.
func (k *Keeper) due() time.Time {
	due := k.started.Add(min(firstAfter, k.plan.Every))
	if l := k.list(); len(l) > 0 {
		due = l[0].Created.Add(k.plan.Every)
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.failure != nil {
		again := k.failure.At.Add(min(tryAgain, k.plan.Every))
		if now := k.o.Clock(); k.failure.At.After(now.Add(clockSkew)) {
			again = now // the clock was set back
		}
		if again.After(due) {
			due = again
		}
	}
	return due
}

// try makes a backup and remembers how it went.
func (k *Keeper) try(ctx context.Context) {
	_, err := k.Make(ctx, "")
	if ctx.Err() != nil {
		return // the server stops
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.failure = nil
	if err != nil {
		k.failures++
		k.failure = &Failure{k.o.Clock().UTC().Truncate(time.Second), err.Error()}
		k.o.Logger.Error("a backup could not be made; it is tried again", "error", err, "in", min(tryAgain, k.plan.Every).String())
	}
}

// State returns how things are.
func (k *Keeper) State() State {
	s := StateOf(k.plan, k.store.ID(), k.o.Clock())
	if k.plan.Every > 0 {
		s.Next = k.due().UTC()
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	s.Failure, s.Failures = k.failure, k.failures
	return s
}

// StateOf returns what can be seen of the backups of a plan by looking at their directory. store is the identity of the store.
func StateOf(p Plan, store string, now time.Time) State {
	s := State{Dir: p.Dir}
	if p.Every > 0 {
		s.Every = p.Every.String()
	}
	l := listBackups(p.Dir, store, now)
	if s.Kept = len(l); s.Kept > 0 {
		s.Last = &l[0]
	}
	return s
}

// nameTime is how the time of a backup stands in its name.
const nameTime = "20060102T150405Z"

// The name of a scheduled backup ends with the identity of its store: several servers may have one directory for them, and what
// is in a backup that is encrypted cannot be asked.
var ourName = regexp.MustCompile(`^scimbox-(\d{8}T\d{6}Z)-\d+\.\d+-([0-9a-f]{8})\.backup$`)

func (k *Keeper) list() []Done { return listBackups(k.plan.Dir, k.store.ID(), k.o.Clock()) }

// listBackups returns the scheduled backups of a store in a directory, the newest first. Those of a clock that was ahead are left out: they
// would keep all others from being made, and from being kept.
func listBackups(dir, store string, now time.Time) []Done {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil // making one will tell why
	}
	var l []Done
	for _, e := range entries {
		m := ourName.FindStringSubmatch(e.Name())
		if m == nil || m[2] != store {
			continue
		}
		created, err := time.Parse(nameTime, m[1])
		if err != nil || created.After(now.Add(clockSkew)) {
			continue
		}
		if info, err := e.Info(); err == nil && info.Mode().IsRegular() {
			l = append(l, Done{filepath.Join(dir, e.Name()), created, info.Size()})
		}
	}
	slices.SortFunc(l, func(a, b Done) int {
		return cmp.Or(b.Created.Compare(a.Created), strings.Compare(b.File, a.File))
	})
	return l
}

// Make makes a backup now, verifies it, and removes the oldest if there are too many. name is what stands before the rest of
// its name; one that has a name is not counted and never removed.
func (k *Keeper) Make(ctx context.Context, name string) (path string, err error) {
	dir, begun := k.plan.Dir, time.Now()
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", err
	}
	var at string
	err = k.store.Snapshot(ctx, func(s *storage.Snapshot) error { at = position(s.Seq, s.Commits); return nil })
	if err != nil {
		return "", err
	}
	file := "scimbox-" + k.o.Clock().UTC().Format(nameTime) + "-" + at + "-" + k.store.ID() + ".backup"
	path = filepath.Join(dir, name+file)
	o, ids := k.o, []age.Identity(nil)
	if r := k.plan.Recipient; r != nil {
		beside, id, err := throwaway(r)
		if err != nil {
			return "", err
		}
		o.Recipients, ids = []age.Recipient{r, beside}, []age.Identity{id}
	}
	var m *Manifest
	err = save(path, func(w io.Writer) error {
		m, err = Write(ctx, &roomy{w: w, s: k.store}, k.store, o)
		return err
	}, func(temp string) error {
		r, err := k.verify(ctx, []string{temp}, RestoreOptions{Identities: ids, Store: k.trial, Temp: dir, of: k.store.ID()})
		switch {
		case err != nil:
			return fmt.Errorf("what was written does not restore: %w", err)
		case r.Hash != m.Hash:
			return errors.New("what was written restores as something else")
		case r.Findings() != "":
			return fmt.Errorf("the store does not fit together, and neither does its backup, which is not kept (scimbox check --repair mends what can be mended): %s", r.Findings())
		}
		return nil
	})
	if err != nil {
		return "", err
	}
	removed, err := k.removeOld(path)
	o.Logger.Info("backup made and verified", "file", path, "position", m.Position, "rows", m.Rows, "ms", time.Since(begun).Milliseconds(), "removed", removed)
	if err != nil {
		return path, fmt.Errorf("the backup was made, and an older one cannot be removed: %w", err)
	}
	return path, nil
}

// roomy is a file that grows as long as there is room on the disk for the store's own work: a backup that stops the server from
// taking changes would be a poor exchange.
type roomy struct {
	w       io.Writer
	s       *storage.Store
	unasked int // bytes that may be written before the next look
}

func (r *roomy) Write(b []byte) (int, error) {
	if r.unasked -= len(b); r.unasked <= 0 {
		r.unasked = 1 << 20
		if err := r.s.ReadOnly(); err != nil {
			return 0, err
		}
	}
	return r.w.Write(b)
}

// removeOld removes what is more than are to be kept, and never the one that was just made.
func (k *Keeper) removeOld(made string) (removed int, err error) {
	l := k.list()
	for _, old := range l[min(len(l), max(k.plan.Keep, 1)):] {
		if old.File == made {
			continue
		}
		if failed := os.Remove(old.File); failed != nil {
			err = errors.Join(err, unlessGone(failed))
			continue
		}
		removed++
	}
	return removed, err
}

// clean removes what a server of this store that was killed has left in the middle of a backup.
func (k *Keeper) clean() {
	entries, err := os.ReadDir(k.plan.Dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		k.o.Logger.Warn("the directory of backups cannot be read", "dir", k.plan.Dir, "error", err)
	}
	for _, e := range entries {
		half := strings.HasPrefix(e.Name(), ".") && strings.HasSuffix(e.Name(), ".partial") && strings.Contains(e.Name(), "-"+k.store.ID()+".backup.")
		if half || e.IsDir() && strings.HasPrefix(e.Name(), verifyPrefix+k.store.ID()+"-") {
			if err := os.RemoveAll(filepath.Join(k.plan.Dir, e.Name())); err != nil {
				k.o.Logger.Warn("what is left of a backup that was broken off cannot be removed", "error", err)
			}
		}
	}
}
