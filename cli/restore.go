package cli

import (
	"log/slog"
	"os"
	"time"

	"github.com/spf13/cobra"

	"scimbox/server"
	"scimbox/server/config"
)

func (a *app) newRestore() *cobra.Command {
	var r server.RestoreOptions
	cmd := &cobra.Command{
		Use:   "restore FILE [INCREMENT...]",
		Short: "Make a data directory of a backup",
		Long: `Makes a data directory of a backup of everything and of the increments on it, in their order. The directory must be empty,
or is made: move what is there out of the way, and keep it until the server runs. FILE may be - for standard input.

Everything is read back and compared before it lies where a server would find it. If the backup is damaged, or anything
else fails, nothing is left. What was changed after the backup was made is not in it: let clients provision again.`,
		Example: `  scimbox restore scimbox-broken/backups/scimbox-20261125T000000Z-1204.1250-4c1f09ab.backup
  scimbox restore --data /var/lib/scimbox --identity key.txt monday.backup tuesday.increment`,
		Args: cobra.MinimumNArgs(1),
		RunE: run(func(cmd *cobra.Command, args []string) error {
			c, err := a.load(cmd, false)
			if err != nil {
				return err
			}
			begun := time.Now()
			r.Files, r.Stdin, r.Progress = args, os.Stdin, a.progress("restoring")
			done, err := server.Restore(cmd.Context(), a.serverOptions(c.Config), r)
			a.endProgress()
			if err != nil {
				return err
			}
			if a.json {
				return a.printJSON(done.Manifest)
			}
			return a.printRestored(done, "restored into "+c.Data, time.Since(begun))
		}),
	}
	a.restoring(cmd, &r)
	return cmd
}

// serverOptions are those of a command that does not talk to a server.
func (a *app) serverOptions(c config.Config) server.Options {
	return server.Options{
		Config: c, Version: a.Version,
		Logger: slog.New(slog.NewTextHandler(a.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn})),
	}
}
