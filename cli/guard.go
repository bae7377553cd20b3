package cli

import (
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"scimbox/server/control"
)

func (a *app) newGuard() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "guard",
		Short: "Decide about mass changes that are held back",
		Long: `With [guard] enabled = true, users that are deactivated, resources that are deleted and members that are removed are counted.
When there are more within a window than the configuration allows, all further ones are refused with 429, until somebody has
decided here. Reads, creations and other changes go on. docs/operating.md says more.`,
		Example: `  scimbox guard status
  scimbox guard approve --for 4h
  scimbox guard reject`,
		Args: cobra.ArbitraryArgs,
		RunE: a.group,
	}
	cmd.AddCommand(a.newGuardStatus(), a.newGuardApprove(),
		a.newGuardDecision("reject", "rejected", "Refuse what is held back, until the guard is armed anew",
			"Says that what is held back is not meant: it goes on being refused, until the guard is armed anew.",
			"what is taken away is refused until scimbox guard rearm"),
		a.newGuardDecision("rearm", "armed", "Let the guard count anew from nothing",
			"Ends a refusal, or an approval: the guard counts anew, and holds back what is too much from then on.",
			"it counts anew from nothing"))
	return cmd
}

func (a *app) newGuardStatus() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Show what the guard of each tenant does",
		Example: `  scimbox guard status
  scimbox guard status --json`,
		Args: cobra.NoArgs,
		RunE: a.asks(func(cmd *cobra.Command, _ []string, client *control.Client) error {
			list, err := client.Guards(cmd.Context())
			if err != nil {
				return err
			}
			if a.json {
				return a.printJSON(list)
			}
			rows := [][]string{{"TENANT", "STATE"}}
			for _, g := range list {
				rows = append(rows, []string{g.Tenant, guardText(g, time.Now())})
			}
			return table(a.Stdout, rows)
		}),
	}
	a.jsonFlag(cmd)
	return cmd
}

// guardText tells a person what a guard does.
func guardText(g control.Guard, now time.Time) string {
	switch g.State {
	case "holding":
		return fmt.Sprintf("HOLDS BACK what is taken away, since %s (%s): %s by token %s would have been too much; scimbox guard approve or reject decides",
			moment(g.Since), distance(g.Since, now), g.Held, g.Actor)
	case "rejected":
		return fmt.Sprintf("refuses what is taken away, as was decided, since %s (%s); scimbox guard rearm ends it", moment(g.Since), distance(g.Since, now))
	case "approved":
		text := fmt.Sprintf("lets everything through until %s (%s)", moment(g.Until), distance(g.Until, now))
		if g.Left > 0 {
			text += fmt.Sprintf(", or %s more", plural(int64(g.Left), "change"))
		}
		return text
	}
	if g.Problem != "" {
		return "what is taken away fails: " + g.Problem + "; scimbox guard rearm begins anew"
	}
	return fmt.Sprintf("armed: %d of %s in %s", g.Count, plural(int64(g.Most), "change"), guardWindow(g))
}

// guardWindow prints a window without the units of which it has none.
func guardWindow(g control.Guard) string {
	d, err := time.ParseDuration(g.Window)
	if err != nil {
		return g.Window
	}
	return span(d)
}

func (a *app) newGuardApprove() *cobra.Command {
	var during string
	d := control.GuardDecision{State: "approved"}
	cmd := a.guardCommand("approve", "Let mass changes through for a time",
		`Says that what is held back is meant: everything is let through for the time, or until so many changes were made, whichever
is first. Then the guard counts anew. Clients send again by themselves what was refused.`,
		`  scimbox guard approve
  scimbox guard approve --for 4h --changes 1200`,
		func(cmd *cobra.Command) (control.GuardDecision, string, error) {
			var err error
			d.For, err = lifetime("--for", during, "to have the guard count anew there is scimbox guard rearm")
			return d, "everything is let through", err
		})
	cmd.Flags().StringVar(&during, "for", "1h", "`time` to let everything through for, up to 7d")
	cmd.Flags().IntVar(&d.Changes, "changes", 0, "`number` of changes to let through at most; 0 is any")
	for _, name := range []string{"for", "changes"} {
		must(cmd.RegisterFlagCompletionFunc(name, cobra.NoFileCompletions))
	}
	return cmd
}

func (a *app) newGuardDecision(use, state, short, long, done string) *cobra.Command {
	return a.guardCommand(use, short, long, "  scimbox guard "+use+"\n  scimbox guard "+use+" --tenant acme",
		func(*cobra.Command) (control.GuardDecision, string, error) {
			return control.GuardDecision{State: state}, done, nil
		})
}

func (a *app) guardCommand(use, short, long, example string, decision func(*cobra.Command) (control.GuardDecision, string, error)) *cobra.Command {
	var tenant string
	cmd := &cobra.Command{
		Use: use, Short: short, Long: long, Example: example,
		Args: cobra.NoArgs,
		RunE: run(func(cmd *cobra.Command, _ []string) error {
			c, err := a.load(cmd, false)
			if err != nil {
				return err
			}
			d, done, err := decision(cmd)
			if err != nil {
				return err
			}
			return a.with(cmd.Context(), c.Config, access{}, func(client *control.Client) error {
				g, err := client.DecideGuard(cmd.Context(), tenant, d)
				if err != nil {
					return err
				}
				if a.json {
					return a.printJSON(g)
				}
				_, err = fmt.Fprintf(a.Stdout, "tenant %s: %s\n", g.Tenant, done)
				return err
			})
		}),
	}
	cmd.Flags().StringVar(&tenant, "tenant", "default", "`tenant` that is decided about")
	must(cmd.RegisterFlagCompletionFunc("tenant", cobra.NoFileCompletions))
	a.jsonFlag(cmd)
	return cmd
}
