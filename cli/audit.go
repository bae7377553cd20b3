package cli

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"

	"github.com/spf13/cobra"

	"scimbox/audit"
	"scimbox/server/control"
)

func (a *app) newAudit() *cobra.Command {
	var from control.AuditFrom
	cmd := &cobra.Command{
		Use:   "audit [FILE]",
		Short: "Export the journal so that nobody can change it unnoticed",
		Long: `Writes the journal as lines of JSON of which each holds the hash of the one before. With a FILE, what is new since the last
time is added to it, and everything in it is verified before; run it every day, and more often than the journal forgets.
Without one, all goes to standard output.

The head that is printed at the end stands for all lines up to it. Keep it at another place: scimbox audit verify --head
then finds also a file that was cut off or written anew as a whole.`,
		Example: `  scimbox audit /var/log/scimbox/audit.jsonl
  scimbox audit verify /var/log/scimbox/audit.jsonl
  scimbox audit --since 1200 > part.jsonl`,
		Args: cobra.MaximumNArgs(1),
		RunE: run(func(cmd *cobra.Command, args []string) error {
			c, err := a.load(cmd, false)
			if err != nil {
				return err
			}
			if from.Head != "" && from.After == "" {
				return &control.Error{Code: control.Invalid, Message: "--head continues a chain, and --since says at which change"}
			}
			return a.with(cmd.Context(), c.Config, access{}, func(client *control.Client) error {
				if len(args) == 0 {
					return client.Audit(cmd.Context(), from, func(line []byte) error {
						_, err := a.Stdout.Write(line)
						return err
					})
				}
				return a.continueAudit(cmd, client, args[0], from)
			})
		}),
	}
	cmd.Flags().StringVar(&from.After, "since", "", "`number` of the change behind which a new file, or the output, begins (default: the first that there is)")
	cmd.Flags().StringVar(&from.Head, "head", "", "`hash` of the chain up to that change, from the end of another file")
	must(cmd.RegisterFlagCompletionFunc("since", cobra.NoFileCompletions))
	must(cmd.RegisterFlagCompletionFunc("head", cobra.NoFileCompletions))
	cmd.AddCommand(a.newAuditVerify())
	return cmd
}

// continueAudit adds to a file what is new.
func (a *app) continueAudit(cmd *cobra.Command, client *control.Client, path string, from control.AuditFrom) (err error) {
	f, err := audit.OpenFile(path)
	if err != nil {
		return a.unsound(path, err)
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	begun, before := f.Begun(), f.Summary()
	if begun {
		if from != (control.AuditFrom{}) {
			return &control.Error{Code: control.Invalid, Message: fmt.Sprintf("%s has been begun already; --since and --head are for a new file", path)}
		}
		from = control.AuditFrom{After: strconv.FormatUint(before.Seq, 10), Head: before.Head}
	}
	first := true
	var last []byte
	err = client.Audit(cmd.Context(), from, func(line []byte) error {
		if first && begun {
			first = false
			return nil
		}
		first = false
		// The last one ends the run of the answer, and that of the file is another.
		if last != nil {
			if err := f.Add(last); err != nil {
				return a.unsound(path, err)
			}
		}
		last = append([]byte(nil), line...)
		return nil
	})
	if err != nil {
		return err
	}
	if err := f.End(); err != nil {
		return a.unsound(path, err)
	}
	now := f.Summary()
	_, err = fmt.Fprintf(a.Stdout, "%s: %s new, %d in all, up to change %d\nhead %s\n", path, plural(now.Lines-before.Lines, "change"), now.Lines, now.Seq, now.Head)
	return err
}

// unsound is what a command says of a file that does not prove what it should.
func (a *app) unsound(path string, err error) error {
	var problem *audit.Problem
	if !errors.As(err, &problem) {
		return err
	}
	fmt.Fprintf(a.Stderr, "scimbox: %s, %v\nscimbox: the file cannot be relied on; keep it as it is, and compare it with a copy or the journal\n", path, problem)
	return errReported
}

func (a *app) newAuditVerify() *cobra.Command {
	var head string
	cmd := &cobra.Command{
		Use:   "verify FILE",
		Short: "Find out whether a line of an audit file was changed, or is missing",
		Long: `Reads an audit file and verifies that no line was changed, moved, added or taken out, and that the file ends where a run
ended. It needs neither server nor data. With --head it must have that head, at its end or on its way. Exit code 3 says
that the file cannot be relied on.`,
		Example: `  scimbox audit verify /var/log/scimbox/audit.jsonl
  scimbox audit verify --head 5d38…a94a audit.jsonl`,
		Args: cobra.ExactArgs(1),
		RunE: run(func(_ *cobra.Command, args []string) error {
			s, known, err := a.verifyFile(args[0], head)
			if err != nil {
				return a.unsound(args[0], err)
			}
			if a.json {
				if err := a.printJSON(s); err != nil {
					return err
				}
			} else {
				begins := fmt.Sprintf("begins behind change %d", s.After)
				if !s.Fresh {
					begins = fmt.Sprintf("continues the file that ended with change %d and the head %s", s.After, s.From)
				}
				fmt.Fprintf(a.Stdout, "%s: %s in %s, up to change %d; it %s\nhead %s\n", args[0], plural(s.Lines, "change"), plural(int64(s.Runs), "run"), s.Seq, begins, s.Head)
			}
			switch {
			case !s.Ended:
				fmt.Fprintf(a.Stderr, "scimbox: %s does not end with the end of a run: it was cut, or is being written; scimbox audit %s goes on with it\n", args[0], args[0])
				return errReported
			case !known:
				fmt.Fprintf(a.Stderr, "scimbox: %s never had the head %s: it was cut, or written anew\n", args[0], head)
				return errReported
			}
			return nil
		}),
	}
	cmd.Flags().StringVar(&head, "head", "", "`hash` that the file must have, now or earlier")
	must(cmd.RegisterFlagCompletionFunc("head", cobra.NoFileCompletions))
	a.jsonFlag(cmd)
	return cmd
}

// verifyFile verifies a file. known says whether it has, or once had, the head.
func (a *app) verifyFile(path, head string) (s audit.Summary, known bool, err error) {
	var in io.Reader = os.Stdin
	if path != "-" {
		f, err := os.Open(path)
		if err != nil {
			return s, false, err
		}
		defer f.Close()
		in = f
	}
	return audit.Verify(in, head)
}
