package cli

import (
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"scimbox/server"
	"scimbox/server/control"
)

func (a *app) newToken() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "token",
		Short: "Make, list, rotate and revoke the tokens of clients",
		Long: `A token lets one client in: it names the tenant whose resources the client sees, whether it may write, and
when it ends. Its plain text is shown when it is made and never again. To replace one, rotate it and give
the successor to the client: both work for a while, and the list shows which of the two is in use.`,
		Example: `  scimbox token create --name entra --scope write --preset entra
  scimbox token list`,
		RunE: a.group,
	}
	cmd.AddCommand(a.newTokenCreate(), a.newTokenList(), a.newTokenRotate(), a.newTokenRevoke())
	return cmd
}

func (a *app) newTokenCreate() *cobra.Command {
	var (
		what control.Create
		ttl  string
	)
	cmd := &cobra.Command{
		Use:   "create --name NAME --scope read|write|admin",
		Short: "Make a token and print its plain text",
		Long: `Makes a token. Its plain text is all that is printed to standard output; it cannot be had again.

Without a running server the token is made in the store itself. If there is none yet it is made as well, and the first
start of the server then shows no token.`,
		Example: `  scimbox token create --name entra --scope write --preset entra
  scimbox token create --name report --scope read --ttl 30d --tenant acme
  scimbox token create --name phonebook --scope read --types User --attributes userName,name.givenName,emails.value
  TOKEN=$(scimbox token create --name test --scope write --ttl 1h)`,
		Args: cobra.NoArgs,
		RunE: run(func(cmd *cobra.Command, _ []string) error {
			c, err := a.load(cmd, false)
			if err != nil {
				return err
			}
			if what.TTL, err = lifetime("--ttl", ttl, "a token that never works is not made"); err != nil {
				return err
			}
			if err := server.CheckToken(what); err != nil {
				return err
			}
			may := access{create: what.User == ""} // where there are no data there is no User either
			return a.with(cmd.Context(), c.Config, may, func(client *control.Client) error {
				made, err := client.CreateToken(cmd.Context(), what)
				if err != nil {
					return err
				}
				if a.json {
					return a.printJSON(made)
				}
				fmt.Fprintf(a.Stderr, "token %s (%s) for tenant %s, scope %s, expires %s (%s); this is the only time that it is shown:\n",
					made.ID, made.Name, made.Tenant, made.Scope, moment(made.Expires), distance(made.Expires, time.Now()))
				_, err = fmt.Fprintln(a.Stdout, made.Secret)
				return err
			})
		}),
	}
	f := cmd.Flags()
	f.StringVar(&what.Name, "name", "", "what the token is for, such as entra")
	f.StringVar((*string)(&what.Scope), "scope", "", "read, write, or admin, which also opens the console")
	f.StringVar(&ttl, "ttl", "", "`lifetime` such as 1h, 30d or 26w, from 1m to 730d (default: tokens.lifetime)")
	f.StringVar(&what.Tenant, "tenant", "", "`name` of the tenant whose resources it opens (default: default)")
	f.StringVar((*string)(&what.Types), "types", "", "`names` of the resource types that it sees, such as User; with --scope read (default: all)")
	f.StringVar((*string)(&what.Attributes), "attributes", "", "`names` of the attributes that it sees, such as userName,name.givenName,emails.value; with --scope read (default: all)")
	f.StringVar(&what.User, "user", "", "`id` of the User that /Me stands for (default: none, and /Me answers 501)")
	f.StringVar(&what.Preset, "preset", "", "`client` whose deviations from the RFCs are tolerated (default: auto)")
	a.jsonFlag(cmd)
	must(cmd.MarkFlagRequired("name"))
	must(cmd.MarkFlagRequired("scope"))
	must(cmd.RegisterFlagCompletionFunc("scope", cobra.FixedCompletions([]cobra.Completion{"read", "write", "admin"}, cobra.ShellCompDirectiveNoFileComp)))
	must(cmd.RegisterFlagCompletionFunc("preset", cobra.FixedCompletions(server.Presets(), cobra.ShellCompDirectiveNoFileComp)))
	for _, name := range []string{"name", "ttl", "tenant", "user", "types", "attributes"} {
		must(cmd.RegisterFlagCompletionFunc(name, cobra.NoFileCompletions))
	}
	return cmd
}

func (a *app) newTokenList() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List all tokens, those that have ended included",
		Example: `  scimbox token list
  scimbox token list --json`,
		Args: cobra.NoArgs,
		RunE: a.asks(func(cmd *cobra.Command, _ []string, client *control.Client) error {
			list, err := client.Tokens(cmd.Context())
			if err != nil {
				return err
			}
			if a.json {
				return a.printJSON(list)
			}
			rows := [][]string{{"ID", "NAME", "TENANT", "SCOPE", "CREATED", "EXPIRES", "LAST USED"}}
			now := time.Now()
			for _, t := range list {
				rows = append(rows, []string{t.ID, t.Name, t.Tenant, scope(t.Scope, t.Types, t.Attributes), moment(t.Created), ends(t, now), used(t.LastUsed, t.LastAddress, now)})
			}
			return table(a.Stdout, rows)
		}),
	}
	a.jsonFlag(cmd)
	return cmd
}

// scope says what a token may do, and that it sees only a part.
func scope(s control.Scope, types, attributes control.Names) string {
	if types == "" && attributes == "" {
		return string(s)
	}
	return string(s) + " (limited)"
}

// ends says when a token ends, or that it has.
func ends(t control.Token, now time.Time) string {
	switch {
	case !t.Revoked.IsZero():
		return "revoked " + moment(t.Revoked)
	}
	end := expires(t.Expires, now)
	if t.Successor != "" {
		end += ", rotated to " + t.Successor
	}
	return end
}

func expires(end, now time.Time) string {
	text := fmt.Sprintf("%s (%s)", moment(end), distance(end, now))
	if !now.Before(end) {
		return "expired " + text
	}
	return text
}

// used says when something was last used, and from where.
func used(last time.Time, from string, now time.Time) string {
	switch {
	case last.IsZero():
		return "never"
	case from == "":
		return distance(last, now)
	}
	return distance(last, now) + " from " + from
}

func (a *app) newTokenRevoke() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "revoke ID|NAME",
		Short: "End a token for good, at once",
		Long: `Ends a token. No request is let in with it from the moment that the command returns. A token is named by its id, by
its name if only one token in force has it, or by its plain text, if somebody has found it where it should not be.`,
		Example: `  scimbox token revoke k3jvq7m2xw4a
  scimbox token revoke entra`,
		Args: cobra.ExactArgs(1),
		RunE: a.asks(func(cmd *cobra.Command, args []string, client *control.Client) error {
			t, err := client.RevokeToken(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			if a.json {
				return a.printJSON(t)
			}
			_, err = fmt.Fprintf(a.Stdout, "token %s (%s) is revoked\n", t.ID, t.Name)
			return err
		}),
		ValidArgsFunction: a.completeTokens,
	}
	a.jsonFlag(cmd)
	return cmd
}

// completeTokens offers the tokens in force.
func (a *app) completeTokens(cmd *cobra.Command, args []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
	return a.complete(cmd, args, func(client *control.Client) (l []cobra.Completion, err error) {
		list, err := client.Tokens(cmd.Context())
		for _, t := range list {
			if t.Active(time.Now()) {
				l = append(l, cobra.CompletionWithDesc(t.ID, t.Name))
			}
		}
		return l, err
	})
}

// complete offers what the running server has. Without one it offers nothing: a store is not opened because somebody
// presses a key.
func (a *app) complete(cmd *cobra.Command, args []string, offers func(*control.Client) ([]cobra.Completion, error)) ([]cobra.Completion, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	c, err := a.load(cmd, false)
	if err != nil {
		return nil, cobra.ShellCompDirectiveError
	}
	client, err := control.Connect(cmd.Context(), c.Data, a.Version)
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	defer client.Close()
	l, err := offers(client)
	if err != nil {
		return nil, cobra.ShellCompDirectiveError
	}
	return l, cobra.ShellCompDirectiveNoFileComp
}
