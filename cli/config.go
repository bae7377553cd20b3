package cli

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"scimbox/server/config"
)

func (a *app) newConfig() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "config",
		Short:   "Examine the configuration",
		Example: `  scimbox config check --config scimbox.toml`,
		RunE:    a.group,
	}
	cmd.AddCommand(a.newConfigCheck())
	return cmd
}

func (a *app) newConfigCheck() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "check",
		Short: "Say what is wrong with the configuration, or which values are in effect",
		Long: `Reads the configuration as serve would, file, environment and flags, and prints every value in effect and where it
comes from. If something is wrong it prints all that is, with its place, and exits with 2. Nothing is created and no
server is asked.`,
		Example: `  scimbox config check
  scimbox config check --config /etc/scimbox/scimbox.toml --json`,
		Args: cobra.NoArgs,
		RunE: run(func(cmd *cobra.Command, _ []string) error {
			c, err := a.load(cmd, true)
			if !a.json {
				if err != nil {
					return err
				}
				var rows [][]string
				for _, v := range c.Values() {
					rows = append(rows, []string{v.Key, v.Value, v.Source})
				}
				return table(a.Stdout, rows)
			}
			var problems config.Problems
			if err != nil && !errors.As(err, &problems) {
				return err
			}
			answer := struct {
				OK       bool            `json:"ok"`
				Problems config.Problems `json:"problems,omitempty"`
				Values   []config.Value  `json:"values,omitempty"`
			}{OK: err == nil, Problems: problems}
			if c != nil {
				answer.Values = c.Values()
			}
			if err := a.printJSON(answer); err != nil {
				return fmt.Errorf("printing: %w", err)
			}
			return err
		}),
	}
	listenFlag(cmd)
	a.jsonFlag(cmd)
	return cmd
}
