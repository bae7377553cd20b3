package cli

import (
	"fmt"

	"github.com/spf13/cobra"

	"scimbox/server/control"
)

func (a *app) newCheck() *cobra.Command {
	var (
		repair bool
		may    access
	)
	cmd := &cobra.Command{
		Use:   "check",
		Short: "Compare every index, link and counter in the store with its records",
		Long: `Reads the whole store and compares everything that is derived with the records that it is derived from. It prints what
does not fit, and exits with 3 if any of that is left. With --repair what can be made anew is made anew; a record that
is itself damaged has to come from a backup.`,
		Example: `  scimbox check
  scimbox check --repair
  scimbox check --json`,
		Args: cobra.NoArgs,
		RunE: run(func(cmd *cobra.Command, _ []string) error {
			c, err := a.load(cmd, false)
			if err != nil {
				return err
			}
			return a.with(cmd.Context(), c.Config, may, func(client *control.Client) error {
				report, err := client.Check(cmd.Context(), repair, a.progress("checking"))
				if err != nil {
					return err
				}
				return a.printReport(report)
			})
		}),
	}
	cmd.Flags().BoolVar(&repair, "repair", false, "make anew what can be made anew")
	acceptFlag(cmd, &may.acceptDataLoss)
	a.jsonFlag(cmd)
	return cmd
}

func acceptFlag(cmd *cobra.Command, accept *bool) {
	cmd.Flags().BoolVar(accept, "accept-data-loss", false, "open the store although data are missing that its seal knows of; they are then given up")
}

func (a *app) printReport(r *control.Report) error {
	a.endProgress()
	left := r.Left()
	if a.json {
		if err := a.printJSON(r); err != nil {
			return err
		}
	} else {
		for _, f := range r.Findings {
			state := ""
			if f.Repaired {
				state = " (repaired)"
			}
			if _, err := fmt.Fprintf(a.Stdout, "%s: %s%s\n", f.Where, f.Text, state); err != nil {
				return err
			}
		}
		verdict := "everything fits together"
		if r.More > 0 {
			if _, err := fmt.Fprintf(a.Stdout, "and %d more, which are not listed and are not repaired by the same run\n", r.More); err != nil {
				return err
			}
		}
		switch n := int64(len(r.Findings)) + r.More; {
		case left > 0 && !r.Repaired:
			verdict = plural(left, "finding") + "; scimbox check --repair makes anew what can be made anew"
		case left > 0:
			verdict = plural(n, "finding") + fmt.Sprintf(", %d of them could not be repaired; restore a backup", left)
			if r.More > 0 {
				verdict = plural(n, "finding") + fmt.Sprintf(", %d of them not repaired; run scimbox check --repair again", left)
			}
		case n > 0:
			verdict = plural(n, "finding") + ", all repaired"
		}
		if _, err := fmt.Fprintf(a.Stdout, "%s examined: %s\n", plural(r.Examined, "row"), verdict); err != nil {
			return err
		}
	}
	if left > 0 {
		return errReported
	}
	return nil
}
