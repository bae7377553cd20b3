package cli

import (
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"scimbox/server"
	"scimbox/server/config"
	"scimbox/server/control"
)

func (a *app) newClient() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "client",
		Short: "Make, list, rotate and revoke OAuth 2.0 clients",
		Long: `A client has an id and a secret, and gets access tokens of one hour with them (OAuth 2.0 client credentials). Use it for
identity providers that ask for a token endpoint, a client id and a client secret; others get a token.

The token endpoint is ` + server.TokenPath + ` of the server, such as https://scim.example.com` + server.TokenPath + `. A secret
ends; a client is there until it is revoked, and several of its secrets can be in force at a time.`,
		Example: `  scimbox client create --name entra --scope write --preset entra
  scimbox client list`,
		RunE: a.group,
	}
	cmd.AddCommand(a.newClientCreate(), a.newClientList(), a.newClientRotate(), a.newClientRevoke())
	return cmd
}

func (a *app) newClientCreate() *cobra.Command {
	var (
		what control.Create
		ttl  string
	)
	cmd := &cobra.Command{
		Use:   "create --name NAME --scope read|write",
		Short: "Make a client and print its id and its secret",
		Long: `Makes a client. Two lines are printed to standard output, client_id=... and client_secret=...; the secret cannot be had
again. Without a running server the client is made in the store itself, which is made as well if there is none.`,
		Example: `  scimbox client create --name entra --scope write --preset entra
  eval "$(scimbox client create --name report --scope read --ttl 30d)"`,
		Args: cobra.NoArgs,
		RunE: run(func(cmd *cobra.Command, _ []string) error {
			c, err := a.load(cmd, false)
			if err != nil {
				return err
			}
			if what.TTL, err = lifetime("--ttl", ttl, "a secret that never works is not made"); err != nil {
				return err
			}
			if err := server.CheckClient(what); err != nil {
				return err
			}
			may := access{create: what.User == ""} // where there are no data there is no User either
			return a.with(cmd.Context(), c.Config, may, func(client *control.Client) error {
				made, err := client.CreateClient(cmd.Context(), what)
				if err != nil {
					return err
				}
				return a.printSecret(made, fmt.Sprintf("client %s (%s) for tenant %s, scope %s", made.ID, made.Name, made.Tenant, made.Scope))
			})
		}),
	}
	f := cmd.Flags()
	f.StringVar(&what.Name, "name", "", "what the client is for, such as entra")
	f.StringVar((*string)(&what.Scope), "scope", "", "widest `scope` of its access tokens, read or write")
	f.StringVar(&ttl, "ttl", "", "`lifetime` of the secret such as 30d or 26w, from 1m to 730d (default: tokens.lifetime)")
	f.StringVar(&what.Tenant, "tenant", "", "`name` of the tenant whose resources it opens (default: default)")
	f.StringVar((*string)(&what.Types), "types", "", "`names` of the resource types that it sees, such as User; with --scope read (default: all)")
	f.StringVar((*string)(&what.Attributes), "attributes", "", "`names` of the attributes that it sees, such as userName,name.givenName,emails.value; with --scope read (default: all)")
	f.StringVar(&what.User, "user", "", "`id` of the User that /Me stands for (default: none, and /Me answers 501)")
	f.StringVar(&what.Preset, "preset", "", "`client` whose deviations from the RFCs are tolerated (default: auto)")
	a.jsonFlag(cmd)
	must(cmd.MarkFlagRequired("name"))
	must(cmd.MarkFlagRequired("scope"))
	must(cmd.RegisterFlagCompletionFunc("scope", cobra.FixedCompletions([]cobra.Completion{"read", "write"}, cobra.ShellCompDirectiveNoFileComp)))
	must(cmd.RegisterFlagCompletionFunc("preset", cobra.FixedCompletions(server.Presets(), cobra.ShellCompDirectiveNoFileComp)))
	for _, name := range []string{"name", "ttl", "tenant", "user", "types", "attributes"} {
		must(cmd.RegisterFlagCompletionFunc(name, cobra.NoFileCompletions))
	}
	return cmd
}

// lifetime reads the value of a flag, "" for the default. A lifetime of none is refused with a reason.
func lifetime(flag, text, none string) (time.Duration, error) {
	if text == "" {
		return 0, nil
	}
	d, err := config.ParseDuration(text)
	if err != nil {
		return 0, &control.Error{Code: control.Invalid, Message: flag + ": " + err.Error()}
	}
	if d == 0 && none != "" {
		return 0, &control.Error{Code: control.Invalid, Message: flag + ": " + none}
	}
	return d, nil
}

// printSecret prints a client with its newest secret.
func (a *app) printSecret(made control.CreatedClient, what string) error {
	if a.json {
		return a.printJSON(made)
	}
	newest := made.Secrets[len(made.Secrets)-1]
	fmt.Fprintf(a.Stderr, "%s; this is the only time that the secret is shown, and it expires %s (%s). Token endpoint: %s of the server\n",
		what, moment(newest.Expires), distance(newest.Expires, time.Now()), server.TokenPath)
	_, err := fmt.Fprintf(a.Stdout, "client_id=%s\nclient_secret=%s\n", made.ID, made.Secret)
	return err
}

func (a *app) newClientList() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List all clients with their secrets, those that have ended included",
		Long: `Lists the clients, and below each its secrets: when an access token was last asked for with each of them tells which
of two secrets is still in use.`,
		Example: `  scimbox client list
  scimbox client list --json`,
		Args: cobra.NoArgs,
		RunE: a.asks(func(cmd *cobra.Command, _ []string, client *control.Client) error {
			list, err := client.Clients(cmd.Context())
			if err != nil {
				return err
			}
			if a.json {
				return a.printJSON(list)
			}
			return table(a.Stdout, clientRows(list, time.Now()))
		}),
	}
	a.jsonFlag(cmd)
	return cmd
}

func clientRows(list []control.OAuthClient, now time.Time) [][]string {
	rows := [][]string{{"ID", "NAME", "TENANT", "SCOPE", "CREATED", "EXPIRES", "LAST USED"}}
	for _, c := range list {
		state := ""
		if !c.Revoked.IsZero() {
			state = "revoked " + moment(c.Revoked)
		}
		rows = append(rows, []string{c.ID, c.Name, c.Tenant, scope(c.Scope, c.Types, c.Attributes), moment(c.Created), state, used(c.LastUsed, c.LastAddress, now)})
		for _, s := range c.Secrets {
			end := state
			if end == "" {
				end = expires(s.Expires, now)
			}
			rows = append(rows, []string{s.ID, "  secret", "", "", moment(s.Created), end, used(s.LastUsed, s.LastAddress, now)})
		}
	}
	return rows
}

func (a *app) newClientRotate() *cobra.Command {
	var overlap, ttl string
	cmd := &cobra.Command{
		Use:   "rotate ID|NAME",
		Short: "Give a client another secret, and print it",
		Long: `Gives a client another secret, which works at once. The one that it has works for the time of the overlap, and never
longer than it would have; with --overlap 0d it ends now, and every access token that was had with it.`,
		Example: `  scimbox client rotate entra
  scimbox client rotate k3jvq7m2xw4a --overlap 0d --ttl 90d`,
		Args: cobra.ExactArgs(1),
		RunE: run(func(cmd *cobra.Command, args []string) error {
			c, err := a.load(cmd, false)
			if err != nil {
				return err
			}
			var how control.Rotate
			if how.Overlap, err = lifetime("--overlap", overlap, ""); err != nil {
				return err
			}
			if how.TTL, err = lifetime("--ttl", ttl, "a secret that never works is not made"); err != nil {
				return err
			}
			return a.with(cmd.Context(), c.Config, access{}, func(client *control.Client) error {
				made, err := client.RotateClient(cmd.Context(), args[0], how)
				if err != nil {
					return err
				}
				return a.printSecret(made, fmt.Sprintf("client %s (%s) has another secret; %s", made.ID, made.Name, predecessors(made.Secrets, time.Now())))
			})
		}),
		ValidArgsFunction: a.completeClients,
	}
	rotateFlags(cmd, &overlap, &ttl, "secret")
	a.jsonFlag(cmd)
	return cmd
}

// predecessors says until when the secrets before the newest one are in force.
func predecessors(secrets []control.ClientSecret, now time.Time) string {
	var l []string
	for _, s := range secrets[:len(secrets)-1] {
		l = append(l, fmt.Sprintf("%s until %s (%s)", s.ID, moment(s.Expires), distance(s.Expires, now)))
	}
	if len(l) == 0 {
		return "no other is in force"
	}
	return "in force besides: " + strings.Join(l, ", ")
}

func (a *app) newClientRevoke() *cobra.Command {
	var secret string
	cmd := &cobra.Command{
		Use:   "revoke ID|NAME",
		Short: "End a client for good, at once, with its access tokens; or one of its secrets",
		Long: `Ends a client, all of its secrets and all of its access tokens. No request is let in with them from the moment that the
command returns. With --secret only that secret ends, and the access tokens that were had with it.`,
		Example: `  scimbox client revoke entra
  scimbox client revoke entra --secret q4nzk2w7ha3x`,
		Args: cobra.ExactArgs(1),
		RunE: a.asks(func(cmd *cobra.Command, args []string, client *control.Client) error {
			ended, err := client.RevokeClient(cmd.Context(), args[0], secret)
			switch {
			case err != nil:
				return err
			case a.json:
				return a.printJSON(ended)
			case secret != "":
				_, err = fmt.Fprintf(a.Stdout, "a secret of client %s (%s) is revoked; it has %s\n", ended.ID, ended.Name, plural(int64(len(ended.Secrets)), "other secret"))
			default:
				_, err = fmt.Fprintf(a.Stdout, "client %s (%s) is revoked\n", ended.ID, ended.Name)
			}
			return err
		}),
		ValidArgsFunction: a.completeClients,
	}
	cmd.Flags().StringVar(&secret, "secret", "", "`id` of the one secret to end, as scimbox client list shows it")
	a.jsonFlag(cmd)
	must(cmd.RegisterFlagCompletionFunc("secret", cobra.NoFileCompletions))
	return cmd
}

// completeClients offers the clients of the running server, as completeTokens does tokens.
func (a *app) completeClients(cmd *cobra.Command, args []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
	return a.complete(cmd, args, func(client *control.Client) (l []cobra.Completion, err error) {
		list, err := client.Clients(cmd.Context())
		for _, c := range list {
			if c.Revoked.IsZero() {
				l = append(l, cobra.CompletionWithDesc(c.ID, c.Name))
			}
		}
		return l, err
	})
}
