package cli

import (
	"context"
	"crypto/x509"
	"fmt"
	"os"
	"time"

	"github.com/spf13/cobra"

	"scimbox/server"
	"scimbox/server/config"
	"scimbox/server/control"
	"scimbox/server/doctor"
)

func (a *app) newDoctor() *cobra.Command {
	var limit time.Duration
	cmd := &cobra.Command{
		Use:   "doctor",
		Short: "Look for what keeps clients from working, and say what to do about it",
		Long: `Looks at this installation as its first client will: the running server, who can read its data, room on the disk, the
name in DNS, the ports, the certificate and how long it is good, the clock, tokens that end soon; and at last it does
what Entra does when somebody presses Test Connection, through the public address, with a token of the moment for an
empty tenant, of which nothing is left.

Each line is PASS, WARN (it works, but not for long, or could not be looked at from here) or FAIL, and says what to do
and which field of Entra's form it concerns. It exits with 1 if anything fails. Run it as the user that scimbox runs as.`,
		Example: `  scimbox doctor
  scimbox doctor --config /etc/scimbox/scimbox.toml
  scimbox doctor --json`,
		Args: cobra.NoArgs,
		RunE: run(func(cmd *cobra.Command, _ []string) error {
			c, err := a.load(cmd, false)
			if err != nil {
				return err
			}
			o, err := a.symptoms(cmd.Context(), c)
			if err != nil {
				return err
			}
			o.Limit = limit
			if o.Client != nil {
				defer o.Client.Close()
			}
			found := doctor.Examine(cmd.Context(), o)
			if a.json {
				err = a.printJSON(found)
			} else {
				err = table(a.Stdout, findings(found))
			}
			if err == nil && doctor.Worst(found) == doctor.Fail {
				err = errUnwell
			}
			return err
		}),
	}
	cmd.Flags().DurationVar(&limit, "timeout", 5*time.Second, "how long to wait for each answer of the network")
	a.jsonFlag(cmd)
	return cmd
}

// symptoms are what the configuration says about what is to be looked at.
func (a *app) symptoms(ctx context.Context, c *config.Loaded) (doctor.Options, error) {
	o := doctor.Options{
		Program: a.Name, Data: c.Data, ConfigFile: c.File, PublicURL: c.PublicURL, MinFree: c.Storage.MinFree.Bytes,
		TLS: c.TLSMode(), HTTP: c.TLSMode() == "acme" && c.TLS.DNS.Provider == "" && c.RedirectAddress() != "",
	}
	if o.TLS == "acme" {
		o.Authority = server.Authority(c.Config)
		if file := c.TLS.ACME.Roots; file != "" {
			text, err := os.ReadFile(file)
			if err != nil {
				return o, fmt.Errorf("tls.acme.roots: %w", err)
			}
			o.Roots = x509.NewCertPool()
			if !o.Roots.AppendCertsFromPEM(text) {
				return o, fmt.Errorf("tls.acme.roots: %s holds no certificate in PEM", file)
			}
		}
	}
	o.Client, o.Down = control.Connect(ctx, c.Data, a.Version)
	return o, nil
}

// findings are the lines for a person: what was found, and below it what to do.
func findings(all []doctor.Finding) [][]string {
	var rows [][]string
	for _, f := range all {
		rows = append(rows, []string{string(f.Verdict), f.Check, f.Found})
		if f.Fix != "" {
			rows = append(rows, []string{"", "", "-> " + f.Fix})
		}
		if f.Field != "" {
			rows = append(rows, []string{"", "", "   in Entra: " + f.Field})
		}
	}
	return rows
}
