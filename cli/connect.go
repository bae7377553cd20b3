package cli

import (
	"context"
	"errors"
	"fmt"
	"log/slog"

	"github.com/spf13/cobra"

	"scimbox/server"
	"scimbox/server/config"
	"scimbox/server/control"
)

// access says what a command may do when no server runs.
type access struct {
	create         bool // make the store if there is none
	acceptDataLoss bool // open a store whose seal says that data are missing
}

// asks makes a command of what it asks a client, on data that are there.
func (a *app) asks(fn func(cmd *cobra.Command, args []string, client *control.Client) error) func(*cobra.Command, []string) error {
	return run(func(cmd *cobra.Command, args []string) error {
		c, err := a.load(cmd, false)
		if err != nil {
			return err
		}
		return a.with(cmd.Context(), c.Config, access{}, func(client *control.Client) error { return fn(cmd, args, client) })
	})
}

// with calls fn with a client: of the server that runs on the data directory, else of the store itself, which is opened for
// as long as fn runs.
func (a *app) with(ctx context.Context, c config.Config, may access, fn func(*control.Client) error) (err error) {
	client, err := control.Connect(ctx, c.Data, a.Version)
	switch {
	case err == nil:
		client.Other = func(version string) {
			fmt.Fprintf(a.Stderr, "scimbox: the running server is version %s, this is %s; commands may not fit it until it is restarted\n", version, a.Version)
		}
		defer func() { err = errors.Join(err, client.Close()) }()
		return fn(client)
	case !errors.Is(err, control.ErrNoServer):
		return err
	}
	there, err := server.HasStore(c.Data)
	switch {
	case err != nil:
		return fmt.Errorf("the data directory: %w", err)
	case !there && !may.create:
		return fmt.Errorf("there are no scimbox data in %s; start the server once, or name the data directory with --data or --config", c.Data)
	case !there:
		fmt.Fprintf(a.Stderr, "scimbox: there were no data in %s; a new store is made there\n", c.Data)
	}
	house, err := server.OpenHouse(ctx, server.Options{
		Config: c, Version: a.Version, AcceptDataLoss: may.acceptDataLoss,
		Logger: slog.New(slog.NewTextHandler(a.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn})),
	})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, house.Close()) }()
	client = control.Local(house.Backend())
	defer func() { err = errors.Join(err, client.Close()) }()
	return fn(client)
}
