package server

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"scimbox/activity"
	"scimbox/auth"
	"scimbox/backup"
	"scimbox/scim"
	"scimbox/server/config"
	"scimbox/server/control"
	"scimbox/storage"
)

// House is the store and what lives in it whether or not a server runs.
type House struct {
	Store  *storage.Store
	Tokens *auth.Tokens
	o      Options

	log  *activity.Log // written by a server, else only read
	once sync.Once
	res  *resources

	keeper      *backup.Keeper
	stopBackups func() // nil: none are made by themselves
	stopKeeping func() // nil: no rows are kept in memory
}

// OpenHouse opens the store of the data directory, which it makes if there is none. An error says who holds the store, if
// somebody does.
func OpenHouse(ctx context.Context, o Options) (*House, error) {
	o.fill()
	return openHouse(ctx, o, nil)
}

// openHouse does the same; the log complains of tokens at the times warn before their expiry, nil = never.
func openHouse(ctx context.Context, o Options, warn []time.Duration) (*House, error) {
	if err := makeDirectory(o.Config.Data, o.Logger); err != nil {
		return nil, err
	}
	store, err := o.openStore(ctx, o.Config.Data, storage.Options{
		Clock: o.Clock, Logger: o.Logger, Version: o.Version, AcceptDataLoss: o.AcceptDataLoss,
		MinFree: minFree(o.Config), FreeSpace: o.freeSpace,
		Journal:         storage.Retention{Keep: o.Config.Journal.Keep.Duration, MaxSize: o.Config.Journal.MaxSize.Bytes},
		BeforeMigration: o.beforeMigration, Observe: o.observe,
	})
	if errors.Is(err, storage.ErrLocked) {
		return nil, held(ctx, o, err)
	}
	if err != nil {
		return nil, err
	}
	tokens := auth.New(store, auth.Options{
		Clock: o.Clock, Logger: o.Logger, ValidPreset: scim.ValidPreset, ValidLimit: validLimit(o.Config.SCIM.Schemas), WarnBefore: warn, Cost: o.tokenCost,
	})
	keeper, err := newKeeper(store, o)
	if err != nil {
		return nil, errors.Join(err, tokens.Close(), store.Close())
	}
	return &House{Store: store, Tokens: tokens, o: o, keeper: keeper, log: activity.Files(o.Config.Data, o.activityOptions(nil))}, nil
}

// serve makes it the house of a server, which answers clients through s and writes down what it refuses.
func (h *House) serve(s *scim.Service) {
	h.resources().use(s)
	h.log = activity.Open(h.o.Config.Data, h.o.activityOptions(s.Types()))
}

// rowMemory returns what rows of the store may take in memory, in bytes, where the system lets the process have limit, 0 = as much as there
// is: an eighth, and not more than all users of most stores need.
func rowMemory(limit int64) int64 {
	size := int64(2 * storage.RowMemoryUnit)
	if limit > 0 {
		size = min(size, limit/8)
	}
	return size / storage.RowMemoryUnit * storage.RowMemoryUnit
}

// keepRows begins to keep rows in memory, if there is room for any.
func (h *House) keepRows() {
	size := rowMemory(h.o.Memory)
	if size == 0 {
		return
	}
	h.stopKeeping = begin(func(ctx context.Context) {
		if err := h.Store.KeepRows(ctx, size); err != nil && ctx.Err() == nil {
			h.o.Logger.Warn("rows of the store could not be read ahead; each is read when it is asked for", "error", err)
		}
	})
}

// begin runs something beside everything else until its context ends, which stop does; it returns when that has returned.
func begin(what func(context.Context)) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		what(ctx)
	}()
	return func() { cancel(); <-done }
}

// minFree says how the configuration's words are the store's: nothing needed is a negative number there.
func minFree(c config.Config) int64 {
	if c.Storage.MinFree.Bytes == 0 {
		return -1
	}
	return c.Storage.MinFree.Bytes
}

// validLimit judges limits of tokens by the schemas of a file, which it reads only then.
func validLimit(schemas string) func(types, attributes string) error {
	return func(types, attributes string) error {
		all, err := scim.NewTypes(schemas)
		if err != nil {
			return err
		}
		return all.CheckLimit(scim.Limit{Types: types, Attributes: attributes})
	}
}

// Close closes what there is: first what makes backups, and the store last.
func (h *House) Close() error {
	if h.stopBackups != nil {
		h.stopBackups()
	}
	if h.stopKeeping != nil {
		h.stopKeeping()
	}
	return errors.Join(h.log.Close(), h.Tokens.Close(), h.Store.Close())
}

// Alive returns an error if the store cannot be read.
func (h *House) Alive(ctx context.Context) error {
	return h.Store.View(ctx, "default", func(*storage.Tx) error { return nil })
}

// Backend returns what the control API works on.
func (h *House) Backend() *control.Backend {
	return &control.Backend{
		Store: h.Store, Tokens: h.Tokens, Version: h.o.Version, Data: h.o.Config.Data,
		TTL: h.o.Config.Tokens.Lifetime.Duration, Warn: h.o.Config.Tokens.WarnBefore.Longest(),
		Clock: h.o.Clock, Logger: h.o.Logger, BackupFiles: backupFiles, Backups: h.Backups,
		Activity: h.Activity(), Resources: h.resources().backend(), Guard: h.resources().guard(),
	}
}

// HasStore reports whether a data directory holds a store, or the seal of one that is to be missed.
func HasStore(data string) (bool, error) {
	for _, name := range []string{"store", storage.SealName} {
		if _, err := os.Stat(filepath.Join(data, name)); err == nil || !errors.Is(err, fs.ErrNotExist) {
			return err == nil, err
		}
	}
	return false, nil
}

// makeDirectory makes the data directory, or sees to it that one that is there is its owner's alone.
func makeDirectory(dir string, log *slog.Logger) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("making the data directory: %w", err)
	}
	info, err := os.Stat(dir)
	if err != nil {
		return fmt.Errorf("the data directory: %w", err)
	}
	if mode := info.Mode().Perm(); mode&0o077 != 0 {
		if err := os.Chmod(dir, 0o700); err != nil { // #nosec G302 -- a directory
			// Volumes of containers often belong to somebody else. The files in it are private all the same.
			log.Warn("others may look into the data directory, and its mode could not be changed", "data", dir, "mode", mode.String(), "error", err)
			return nil
		}
		log.Info("others could look into the data directory; now they cannot", "data", dir, "was", mode.String())
	}
	return nil
}

// HeldError says that another process has the store open.
type HeldError struct {
	Data string
	Who  string
	Err  error
}

func (e *HeldError) Error() string { return fmt.Sprintf("%s is in use: %s", e.Data, e.Who) }

// Unwrap returns the cause.
func (e *HeldError) Unwrap() error { return e.Err }

// held finds out who has the store open.
func held(ctx context.Context, o Options, err error) error {
	if who := servedBy(ctx, o); who != "" {
		return &HeldError{o.Config.Data, who, err}
	}
	who := "another process holds it"
	// Badger writes the number of the process that locks the directory.
	if pid, failed := os.ReadFile(filepath.Join(o.Config.Data, "store", "LOCK")); failed == nil && len(strings.TrimSpace(string(pid))) > 0 {
		who = "process " + strings.TrimSpace(string(pid)) + " holds it"
	}
	return &HeldError{o.Config.Data, who + " and does not answer at the control socket: a command at work on the data, or a server that is starting or stopping; try again when it has finished", err}
}

// servedBy says which server runs on the data directory, or "" if none does.
func servedBy(ctx context.Context, o Options) string {
	ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	c, err := control.Connect(ctx, o.Config.Data, o.Version)
	if err != nil {
		return ""
	}
	defer c.Close()
	s, err := c.Status(ctx)
	if err != nil || s.Server == nil {
		return "a scimbox server holds it and does not answer; see its log, or end it"
	}
	return fmt.Sprintf("scimbox %s (process %d) has been serving it on %s since %s; stop it first, or use another data directory",
		s.Version, s.Server.PID, s.Server.Listen, s.Server.Started.Local().Format("2006-01-02 15:04:05"))
}
