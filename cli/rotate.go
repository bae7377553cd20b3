package cli

import (
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"scimbox/server/control"
)

func (a *app) newTokenRotate() *cobra.Command {
	var overlap, ttl string
	cmd := &cobra.Command{
		Use:   "rotate ID|NAME",
		Short: "Make the successor of a token and print its plain text",
		Long: `Makes a token like the one that is named, in force at once. The old one works for the time of the overlap, and never
longer than it would have; with --overlap 0d it ends now.

A name is that of the newest token of that name; one that was rotated before is named by its id. The list shows when and
from where each of the two was used last.`,
		Example: `  scimbox token rotate entra
  scimbox token rotate k3jvq7m2xw4a --overlap 0d --ttl 90d
  scimbox token list`,
		Args: cobra.ExactArgs(1),
		RunE: run(func(cmd *cobra.Command, args []string) error {
			c, err := a.load(cmd, false)
			if err != nil {
				return err
			}
			var how control.Rotate
			if how.Overlap, err = lifetime("--overlap", overlap, ""); err != nil {
				return err
			}
			if how.TTL, err = lifetime("--ttl", ttl, "a token that never works is not made"); err != nil {
				return err
			}
			return a.with(cmd.Context(), c.Config, access{}, func(client *control.Client) error {
				made, err := client.RotateToken(cmd.Context(), args[0], how)
				if err != nil {
					return err
				}
				if a.json {
					return a.printJSON(made)
				}
				now, old := time.Now(), made.Predecessor
				end := "is revoked"
				if old.Revoked.IsZero() {
					end = fmt.Sprintf("works until %s (%s)", moment(old.Expires), distance(old.Expires, now))
				}
				fmt.Fprintf(a.Stderr, "token %s (%s) takes the place of %s, which %s; it expires %s (%s), and this is the only time that it is shown:\n",
					made.ID, made.Name, old.ID, end, moment(made.Expires), distance(made.Expires, now))
				_, err = fmt.Fprintln(a.Stdout, made.Secret)
				return err
			})
		}),
		ValidArgsFunction: a.completeTokens,
	}
	rotateFlags(cmd, &overlap, &ttl, "token")
	a.jsonFlag(cmd)
	return cmd
}

// rotateFlags gives a command the flags of a rotation.
func rotateFlags(cmd *cobra.Command, overlap, ttl *string, what string) {
	cmd.Flags().StringVar(overlap, "overlap", "7d", "`time` that the "+what+" it replaces stays in force for; 0d ends it now")
	cmd.Flags().StringVar(ttl, "ttl", "", "`lifetime` of the new "+what+" such as 30d or 26w, from 1m to 730d (default: tokens.lifetime)")
	for _, name := range []string{"overlap", "ttl"} {
		must(cmd.RegisterFlagCompletionFunc(name, cobra.NoFileCompletions))
	}
}
