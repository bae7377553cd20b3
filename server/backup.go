package server

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"

	"filippo.io/age"

	"scimbox/backup"
	"scimbox/server/config"
	"scimbox/server/control"
	"scimbox/storage"
)

// backupFiles are the files and directories of the data directory that belong into a backup besides the store: certificates, and
// the accounts that they are had from.
var backupFiles = []string{"tls"}

// backupPlan says what the configuration wants of scheduled backups.
func backupPlan(c config.Config) (backup.Plan, error) {
	p := backup.Plan{Every: c.Backup.Every.Duration, Keep: c.Backup.Keep, Dir: cmp.Or(c.Backup.Dir, filepath.Join(c.Data, backup.BackupsName))}
	if c.Backup.Recipient == "" {
		return p, nil
	}
	var err error
	p.Recipient, err = backup.ParseRecipient(c.Backup.Recipient)
	return p, err
}

// newKeeper returns what makes scheduled backups of a store.
func newKeeper(s *storage.Store, o Options) (*backup.Keeper, error) {
	p, err := backupPlan(o.Config)
	if err != nil {
		return nil, err
	}
	return backup.NewKeeper(s, p, backup.Options{
		Version: o.Version, Clock: o.Clock, Logger: o.Logger, Dir: o.Config.Data, Files: backupFiles,
	}, trialOptions(o, nil)), nil
}

// trialOptions are those of a store that is made of a backup.
func trialOptions(o Options, log *slog.Logger) storage.Options {
	return storage.Options{Clock: o.Clock, Logger: log, Version: o.Version, MinFree: minFree(o.Config), FreeSpace: o.freeSpace}
}

// beforeMigration makes a backup of a store whose format is about to change. It is not counted as one by the clock, and stays until
// somebody removes it.
func (o Options) beforeMigration(ctx context.Context, s *storage.Store, from, to int) error {
	k, err := newKeeper(s, o)
	if err != nil {
		return err
	}
	file, err := k.Make(ctx, fmt.Sprintf("before-format-%d-", to))
	if err == nil {
		o.Logger.Warn("a backup was made, in case that the data have to go back to format "+strconv.Itoa(from), "file", file)
	}
	return err
}

// startBackups makes backups by the clock until the house is closed.
func (h *House) startBackups() {
	h.stopBackups = begin(h.keeper.Run)
}

// Backups tells how things are with scheduled backups: when the last one was made, and whether the last try has failed.
func (h *House) Backups() backup.State {
	if h.stopBackups == nil { // nobody makes any
		p, _ := backupPlan(h.o.Config) // the recipient was looked at when the house was opened
		return backup.StateOf(p, h.Store.ID(), h.o.Clock())
	}
	return h.keeper.State()
}

// Backups is House.Backups of a running server.
func (s *Server) Backups() backup.State { return s.house.Backups() }

// RestoreOptions say what is restored.
type RestoreOptions struct {
	Files    []string  // of everything, and then increments in their order; "-" is Stdin
	Identity string    // file of the secret keys of age, "" for none
	Temp     string    // directory for what is restored only to be verified; "" = the system's
	Stdin    io.Reader // may be nil
	Progress func(done, total int64)
}

func (r RestoreOptions) of(o Options) (backup.RestoreOptions, error) {
	o.fill()
	b := backup.RestoreOptions{Store: trialOptions(o, o.Logger), Stdin: r.Stdin, Temp: r.Temp, Progress: r.Progress}
	if r.Identity == "" {
		return b, nil
	}
	ids, err := identities(r.Identity)
	b.Identities = ids
	return b, err
}

func identities(file string) ([]age.Identity, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	ids, err := backup.ParseIdentities(f)
	if err != nil {
		return nil, &control.Error{Code: control.Invalid, Message: fmt.Sprintf("%s: %v", file, err)}
	}
	return ids, nil
}

// Restore makes a data directory, which must be empty or not be there, of a backup. Errors are *control.Error.
func Restore(ctx context.Context, o Options, r RestoreOptions) (*backup.Restored, error) {
	b, err := r.of(o)
	if err != nil {
		return nil, control.Explain(err)
	}
	restored, err := backup.Restore(ctx, o.Config.Data, r.Files, b)
	return restored, control.Explain(err)
}

// VerifyBackup restores a backup into a directory that is removed afterwards, and compares what has become of it with what the
// backup says of itself. Errors are *control.Error.
func VerifyBackup(ctx context.Context, o Options, r RestoreOptions) (*backup.Restored, error) {
	b, err := r.of(o)
	if err != nil {
		return nil, control.Explain(err)
	}
	verified, err := backup.Verify(ctx, r.Files, b)
	return verified, control.Explain(err)
}

// SaveBackup makes a file of what write writes: whole, durable and under its name, or not at all. Errors are *control.Error.
func SaveBackup(path string, write func(io.Writer) error) error {
	return control.Explain(backup.Save(path, write))
}
