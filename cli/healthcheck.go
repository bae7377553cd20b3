package cli

import (
	"context"
	"errors"
	"time"

	"github.com/spf13/cobra"

	"scimbox/server/control"
)

func (a *app) newHealthcheck() *cobra.Command {
	var (
		ready bool
		limit time.Duration
	)
	cmd := &cobra.Command{
		Use:   "healthcheck",
		Short: "Say by the exit code whether the server is alive",
		Long: `Asks the server that runs on the data directory, through its control socket, whether it is alive: 0 is yes, 1 is no.
It is what containers without a shell have for HEALTHCHECK, and needs no name, port or certificate.

With --ready it asks whether clients may be sent to the server now. A store that takes no changes because the disk is
almost full is alive and not ready; to start such a server anew does not help.`,
		Example: `  scimbox healthcheck
  scimbox healthcheck --ready --timeout 2s`,
		Args: cobra.NoArgs,
		RunE: run(func(cmd *cobra.Command, _ []string) error {
			c, err := a.load(cmd, false)
			if err != nil {
				return err
			}
			ctx, cancel := context.WithTimeout(cmd.Context(), limit)
			defer cancel()
			client, err := control.Connect(ctx, c.Data, a.Version)
			if err != nil {
				return err
			}
			wrong, err := client.Health(ctx, ready)
			if err == nil && wrong != "" {
				err = errors.New(wrong)
			}
			return errors.Join(err, client.Close())
		}),
	}
	cmd.Flags().BoolVar(&ready, "ready", false, "ask whether clients may be sent to it")
	cmd.Flags().DurationVar(&limit, "timeout", 5*time.Second, "how long to wait for the answer")
	return cmd
}
