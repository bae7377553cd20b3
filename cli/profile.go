package cli

import (
	"errors"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"scimbox/server/config"
	"scimbox/server/control"
)

func (a *app) newProfile() *cobra.Command {
	var duration string
	cmd := &cobra.Command{
		Use:   "profile " + strings.Join(control.Profiles, "|") + " FILE",
		Short: "Write what the running server spends its time and memory on",
		Long: `Asks the running server for a profile, for go tool pprof or for whoever helps you. It has names of functions and
numbers, and nothing that is stored. cpu watches the server for a while first, which costs it a few percent of its speed.`,
		Example: `  scimbox profile cpu cpu.pprof --duration 30s
  scimbox profile heap heap.pprof`,
		Args:      cobra.ExactArgs(2),
		ValidArgs: control.Profiles,
		RunE: run(func(cmd *cobra.Command, args []string) error {
			d, err := config.ParseDuration(duration)
			if err != nil {
				return &control.Error{Code: control.Invalid, Message: "--duration: " + err.Error()}
			}
			c, err := a.load(cmd, false)
			if err != nil {
				return err
			}
			client, err := control.Connect(cmd.Context(), c.Data, a.Version)
			if errors.Is(err, control.ErrNoServer) {
				return &control.Error{Code: control.NotFound, Message: "no server runs on " + c.Data + ", and only a running one has a profile"}
			}
			if err != nil {
				return err
			}
			defer client.Close()
			f, err := os.OpenFile(args[1], os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
			if err != nil {
				return err
			}
			return errors.Join(client.Profile(cmd.Context(), args[0], d, f), f.Close())
		}),
	}
	cmd.Flags().StringVar(&duration, "duration", (10 * time.Second).String(), "`time` that the processor is watched for")
	must(cmd.RegisterFlagCompletionFunc("duration", cobra.NoFileCompletions))
	return cmd
}
