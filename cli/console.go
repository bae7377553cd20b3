package cli

import (
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"scimbox/server/control"
)

func (a *app) newConsole() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "console",
		Short: "Print a link that opens the web console, once",
		Long: `Prints a link that signs a browser in to the console of the running server. It works once, within 15 minutes;
whoever has it gets in. The session ends after 12 hours in which nobody has asked for a page.`,
		Example: `  scimbox console
  scimbox console --json`,
		Args: cobra.NoArgs,
		RunE: a.asks(func(cmd *cobra.Command, _ []string, client *control.Client) error {
			link, err := client.ConsoleLink(cmd.Context())
			if err != nil {
				return err
			}
			if a.json {
				return a.printJSON(link)
			}
			fmt.Fprintf(a.Stderr, "opens the console once, until %s (%s):\n", moment(link.Expires), distance(link.Expires, time.Now()))
			_, err = fmt.Fprintln(a.Stdout, link.URL)
			return err
		}),
	}
	a.jsonFlag(cmd)
	return cmd
}
