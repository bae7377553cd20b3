package cli

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"runtime"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"scimbox/server"
	"scimbox/server/config"
)

func (a *app) newServe(hurry context.Context) *cobra.Command {
	var accept bool
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Run the server (what scimbox does without a command)",
		Long: `Serves SCIM until it is told to stop by SIGINT or SIGTERM; requests under way then have 7 seconds, and a second
signal cuts them off. SIGHUP reads the configuration again and takes over the level of the log, and looks for
a new certificate.

The first start makes the data directory and a token, and prints the token to standard output: once, whether or not
somebody watches, and never to the log. A supervisor that keeps standard output keeps the token with it; revoke it then
(scimbox token revoke ` + server.FirstTokenName + `) or make one beforehand with scimbox token create.`,
		Example: `  scimbox serve
  scimbox serve --listen 127.0.0.1:9000 --data /var/lib/scimbox
  scimbox serve --config /etc/scimbox/scimbox.toml`,
		Args: cobra.NoArgs,
		RunE: run(func(cmd *cobra.Command, _ []string) error {
			c, err := a.load(cmd, true)
			if err != nil {
				return err
			}
			return a.serve(cmd, hurry, c, accept)
		}),
	}
	listenFlag(cmd)
	acceptFlag(cmd, &accept)
	return cmd
}

func (a *app) serve(cmd *cobra.Command, hurry context.Context, c *config.Loaded, accept bool) error {
	ctx := cmd.Context()
	log, level, flush := server.NewLogger(a.Stderr, isTerminal(a.Stderr), c.Log)
	defer flush()
	setPlaces(a.Env)
	kept := setCollector(a.Env)
	defer runtime.KeepAlive(kept)
	soft := limitMemory(a.Env, os.DirFS("/"), int64(len(kept)))
	if soft > 0 {
		log.Info("memory is limited by the system; garbage is collected so that it suffices", "heap", soft)
	}
	s, err := server.Open(ctx, server.Options{Config: c.Config, Version: a.Version, Logger: log, AcceptDataLoss: accept, Memory: soft})
	if err != nil {
		return err
	}
	if err := a.banner(ctx, s, c); err != nil {
		_ = s.Close() // who reads no banner reads no error either, but the store is to be closed in order
		return fmt.Errorf("printing the start: %w; if that was the first one, make a token with scimbox token create", err)
	}
	log.Info("serving", "version", a.Version, "listen", s.Address(), "data", c.Data, "strict", c.SCIM.Strict)
	hangups := make(chan os.Signal, 1)
	signal.Notify(hangups, syscall.SIGHUP)
	defer close(hangups) // after Stop, nobody sends any more
	defer signal.Stop(hangups)
	go func() {
		for range hangups {
			done := s.Reloading()
			a.reload(cmd, c, log, level)
			s.ReloadCertificates(ctx)
			done()
		}
	}()
	err = s.Serve(ctx, hurry)
	log.Info("stopped")
	return err
}

// reload reads the configuration again and takes over what can change while the server runs.
func (a *app) reload(cmd *cobra.Command, running *config.Loaded, log *slog.Logger, level *slog.LevelVar) {
	next, err := a.load(cmd, true)
	if err != nil {
		for line := range strings.Lines(err.Error()) {
			log.Error("the configuration stays as it is", "problem", strings.TrimSpace(line))
		}
		return
	}
	level.Set(server.Level(next.Log))
	var later []string
	for _, key := range config.Changed(running.Config, next.Config) {
		if key != "log.level" {
			later = append(later, key)
		}
	}
	log.Info("configuration read again", "level", next.Log.Level, "after_restart", strings.Join(later, ","))
}
