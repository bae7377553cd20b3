package cli

import (
	"github.com/spf13/cobra"

	"scimbox/server"
)

func (a *app) newTLS() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "tls",
		Short:   "Look after certificates",
		Example: `  scimbox tls root > scimbox-root.pem`,
		RunE:    a.group,
	}
	cmd.AddCommand(a.newTLSRoot())
	return cmd
}

func (a *app) newTLSRoot() *cobra.Command {
	return &cobra.Command{
		Use:   "root",
		Short: "Print the root certificate that clients have to trust (tls.mode self-signed)",
		Long: `Prints the root of the authority that the server has made for itself, in PEM, to standard output. Clients that trust it
trust the server's certificates, those of the future included; curl, for one, with --cacert. The key stays where it is.`,
		Example: `  scimbox tls root > scimbox-root.pem`,
		Args:    cobra.NoArgs,
		RunE: run(func(cmd *cobra.Command, _ []string) error {
			c, err := a.load(cmd, false)
			if err != nil {
				return err
			}
			// A file that is written once; no server need be asked.
			text, err := server.RootCertificate(c.Data)
			if err != nil {
				return err
			}
			_, err = a.Stdout.Write(text)
			return err
		}),
	}
}
