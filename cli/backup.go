package cli

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"scimbox/bench"
	"scimbox/server"
	"scimbox/server/control"
)

func (a *app) newBackup() *cobra.Command {
	var ask control.BackupRequest
	cmd := &cobra.Command{
		Use:   "backup FILE",
		Short: "Write everything that is stored into one file",
		Long: `Writes the store as it is at this moment, tokens and certificates included, into a file that scimbox restore makes a data
directory of: beside a running server, which goes on, or without one. FILE is - for standard output. A file that is
there already is not replaced.

With --since it is an increment: it has what is not as it was at the position that an earlier backup has printed, and
is restored together with that one. With --recipient it is encrypted by age, and can be read with the secret key alone.
Nobody can read a token or a password out of a backup; but names and addresses, and the keys of certificates.`,
		Example: `  scimbox backup /backup/scimbox-$(date +%F).backup
  scimbox backup --since 1204.1250 /backup/scimbox-$(date +%F-%H).increment
  scimbox backup --recipient age1... - | ssh elsewhere 'cat > scimbox.backup'
  scimbox backup verify /backup/scimbox-2026-11-25.backup`,
		Args: cobra.ExactArgs(1),
		RunE: run(func(cmd *cobra.Command, args []string) error {
			if args[0] == "-" && isTerminal(a.Stdout) {
				return &control.Error{Code: control.Invalid, Message: "a backup is nothing for a terminal; name a file, or send standard output somewhere else"}
			}
			c, err := a.load(cmd, false)
			if err != nil {
				return err
			}
			return a.with(cmd.Context(), c.Config, access{}, func(client *control.Client) error {
				var m *control.Manifest
				size, begun := &counted{w: a.Stdout}, time.Now()
				write := func(w io.Writer) (err error) {
					size.w = w
					m, err = client.Backup(cmd.Context(), ask, size, a.progress("writing"))
					return err
				}
				if args[0] == "-" {
					err = write(a.Stdout)
				} else {
					err = server.SaveBackup(args[0], write)
				}
				a.endProgress()
				if err != nil {
					return err
				}
				return a.printBackup(args[0], ask.Recipient != "", size.n, time.Since(begun), m)
			})
		}),
	}
	cmd.Flags().StringVar(&ask.Since, "since", "", "write what has changed since this `position` of an earlier backup")
	cmd.Flags().StringVar(&ask.Recipient, "recipient", "", "encrypt to this public `key` of age")
	a.jsonFlag(cmd)
	cmd.AddCommand(a.newVerify())
	return cmd
}

// counted counts what is written.
type counted struct {
	w io.Writer
	n int64
}

func (c *counted) Write(b []byte) (int, error) {
	n, err := c.w.Write(b)
	c.n += int64(n)
	return n, err
}

func (a *app) printBackup(file string, encrypted bool, size int64, took time.Duration, m *control.Manifest) error {
	out := a.Stdout
	if file == "-" {
		out, file = a.Stderr, "to standard output" // the backup itself is the result
	}
	if a.json {
		e := json.NewEncoder(out)
		e.SetIndent("", "  ")
		return e.Encode(m)
	}
	of := plural(m.Rows, "row")
	if m.Base != nil {
		of = "an increment on position " + m.Base.Position
	}
	if encrypted {
		of += ", encrypted"
	}
	_, err := fmt.Fprintf(out, "wrote %s: %s, %s in %s; position %s\n", file, of, bytes(size), bench.Short(took), m.Position)
	return err
}

// restoring are the flags of what reads backups.
func (a *app) restoring(cmd *cobra.Command, r *server.RestoreOptions) {
	cmd.Flags().StringVar(&r.Identity, "identity", "", "`file` of the secret keys of age, for backups that are encrypted")
	must(cmd.MarkFlagFilename("identity"))
	a.jsonFlag(cmd)
}

func (a *app) newVerify() *cobra.Command {
	var r server.RestoreOptions
	cmd := &cobra.Command{
		Use:   "verify FILE [INCREMENT...]",
		Short: "Restore a backup on trial and compare it with what it says of itself",
		Long: `Restores a backup, with the increments on it, into a directory that is removed afterwards; opens it, runs the same
examination as scimbox check, and compares the number of records and the hash of all rows. Neither a server nor its data
are touched. It exits with 3 if the backup is of no use, or if what is in it does not fit together.`,
		Example: `  scimbox backup verify /backup/scimbox-2026-11-25.backup
  scimbox backup verify --identity key.txt --temp /var/tmp monday.backup tuesday.increment`,
		Args: cobra.MinimumNArgs(1),
		RunE: run(func(cmd *cobra.Command, args []string) error {
			c, err := a.load(cmd, false)
			if err != nil {
				return err
			}
			begun := time.Now()
			r.Files, r.Stdin, r.Progress = args, os.Stdin, a.progress("verifying")
			v, err := server.VerifyBackup(cmd.Context(), a.serverOptions(c.Config), r)
			a.endProgress()
			if err != nil {
				return err
			}
			return a.printVerified(v, named(args), time.Since(begun))
		}),
	}
	a.restoring(cmd, &r)
	cmd.Flags().StringVar(&r.Temp, "temp", "", "`directory` with room for all data, on trial (default the system's for temporary files)")
	must(cmd.MarkFlagDirname("temp"))
	return cmd
}

// named are the files of a chain, as a person calls them.
func named(files []string) string {
	if files[0] == "-" {
		files = append([]string{"standard input"}, files[1:]...)
	}
	return strings.Join(files, " ")
}

// verifiedJSON is a verified backup for programs.
type verifiedJSON struct {
	control.Manifest
	Findings []control.Finding `json:"findings"`
}

// printVerified says what a backup has become on trial. Findings are what was wrong in the store already.
func (a *app) printVerified(r *control.Restored, files string, took time.Duration) error {
	v := verifiedJSON{r.Manifest, []control.Finding{}}
	for _, f := range r.Check.Findings {
		v.Findings = append(v.Findings, control.Finding{Kind: string(f.Kind), Where: f.Where, Text: f.Text})
	}
	if a.json {
		if err := a.printJSON(v); err != nil {
			return err
		}
	} else {
		for _, f := range v.Findings {
			if _, err := fmt.Fprintf(a.Stdout, "%s: %s\n", f.Where, f.Text); err != nil {
				return err
			}
		}
		if err := a.printRestored(r, files+" restores", took); err != nil {
			return err
		}
	}
	if r.Findings() != "" {
		fmt.Fprintln(a.Stderr, "scimbox: not everything fits together, and did not in the store that it was made of either; scimbox check --repair makes anew what can be made anew")
		return errReported
	}
	return nil
}

func (a *app) printRestored(r *control.Restored, what string, took time.Duration) error {
	_, err := fmt.Fprintf(a.Stdout, "%s: %s as of change %d, %s, written by scimbox %s; took %s\n", what, plural(r.Rows, "row"), r.Seq, r.Created.Local().Format(time.DateTime), r.Version, bench.Short(took))
	return err
}

// backupRows say for status how things are with scheduled backups.
func backupRows(b *control.Backups, now time.Time) [][]string {
	if b == nil {
		return nil
	}
	var said []string
	switch {
	case b.Last != nil:
		said = append(said, fmt.Sprintf("%s (%s), %d kept in %s", distance(b.Last.Created, now), bytes(b.Last.Size), b.Kept, b.Dir))
	case b.Every == "":
		said = append(said, "none are made by themselves ([backup] every)")
	case b.Next.IsZero():
		said = append(said, "none yet; a running server makes them in "+b.Dir)
	default:
		said = append(said, "none yet; the first is made "+distance(b.Next, now))
	}
	if f := b.Failure; f != nil {
		said = append(said, fmt.Sprintf("the last try failed %s: %s", distance(f.At, now), f.Error))
	}
	var rows [][]string
	for i, text := range said {
		rows = append(rows, []string{onlyFirst(i, "Backups"), text})
	}
	return rows
}
