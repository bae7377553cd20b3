package cli

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"scimbox/server/config"
	"scimbox/server/control"
)

func (a *app) newActivity() *cobra.Command {
	var (
		q      control.ActivityQuery
		since  string
		follow bool
		limit  int
	)
	cmd := &cobra.Command{
		Use:   "activity",
		Short: "Show what clients did, what was refused to them, and what to change then",
		Long: `Lists what was changed and what was refused, the newest last: who, what, and of a refusal why and what to change in the
client's mapping. Changes come from the journal; refused requests are kept as [activity] says.

--follow goes on as things happen, until it is interrupted. Programs read one event on each line with --json; a refused
one has its request and answer in it, without secrets.`,
		Example: `  scimbox activity
  scimbox activity --failed --since 1d
  scimbox activity --follow
  scimbox activity --user bjensen@example.com --json`,
		Args: cobra.NoArgs,
		RunE: run(func(cmd *cobra.Command, _ []string) error {
			c, err := a.load(cmd, false)
			if err != nil {
				return err
			}
			now := time.Now()
			if since != "" {
				ago, err := config.ParseDuration(since)
				if err != nil {
					return &control.Error{Code: control.Invalid, Message: "--since: " + err.Error()}
				}
				q.Since = now.Add(-ago)
			}
			if limit < 1 {
				return &control.Error{Code: control.Invalid, Message: "--limit: it is a number of at least 1"}
			}
			return a.with(cmd.Context(), c.Config, access{}, func(client *control.Client) error {
				events, newest, err := collect(limit, q, func(q control.ActivityQuery) (control.ActivityPage, error) {
					return client.Activity(cmd.Context(), q)
				})
				if err != nil {
					return err
				}
				for _, v := range slices.Backward(events) {
					if err := a.printEvent(v); err != nil {
						return err
					}
				}
				if len(events) == 0 && !follow && !a.json {
					fmt.Fprintln(a.Stderr, "scimbox: nothing of that kind has happened")
				}
				if !follow {
					return nil
				}
				return client.Follow(cmd.Context(), q, newest, a.printEvent)
			})
		}),
	}
	f := cmd.Flags()
	f.BoolVar(&follow, "follow", false, "go on as things happen")
	f.BoolVar(&q.Failed, "failed", false, "only what was refused")
	f.StringVar(&since, "since", "", "`time` before now, such as 1h or 7d")
	f.StringVar(&q.Tenant, "tenant", "", "`name` of the tenant (default: all)")
	f.StringVar(&q.Token, "token", "", "`name` or id of a token")
	f.StringVar(&q.Resource, "user", "", "`id` or name of a user, or of another resource")
	f.StringVar(&q.Op, "op", "", "`operation`: create, replace, patch, delete, read, search ...")
	f.StringVar(&q.Text, "text", "", "`words` in the sentence, the path or the advice")
	f.IntVar(&limit, "limit", 50, "`number` of events at most")
	a.jsonFlag(cmd)
	for _, name := range []string{"since", "tenant", "token", "user", "op", "text", "limit"} {
		must(cmd.RegisterFlagCompletionFunc(name, cobra.NoFileCompletions))
	}
	return cmd
}

// collect asks for pages until there are enough events, and returns them, the newest first, and where following goes on.
func collect(limit int, q control.ActivityQuery, ask func(control.ActivityQuery) (control.ActivityPage, error)) ([]control.Event, control.Position, error) {
	var events []control.Event
	var newest control.Position
	for {
		q.Limit = min(limit-len(events), 500)
		p, err := ask(q)
		if err != nil {
			return nil, newest, err
		}
		if newest == (control.Position{}) {
			newest = p.Newest
		}
		events = append(events, p.Events...)
		if q.Before = p.Next; !p.More || len(events) >= limit {
			return events, newest, nil
		}
	}
}

func (a *app) printEvent(v control.Event) error {
	if a.json {
		return json.NewEncoder(a.Stdout).Encode(v)
	}
	_, err := fmt.Fprintf(a.Stdout, "%s  %s\n", v.Time.Local().Format("2006-01-02 15:04:05"), harmless(v.Sentence))
	if err == nil && v.Advice != "" {
		_, err = fmt.Fprintf(a.Stdout, "%s  > %s\n", strings.Repeat(" ", len("2006-01-02 15:04:05")), harmless(v.Advice))
	}
	return err
}

func (a *app) newHistory() *cobra.Command {
	var (
		q            control.ActivityQuery
		resourceType string
		limit        int
	)
	cmd := &cobra.Command{
		Use:   "history ID|userName",
		Short: "Show what has become of one user, change by change",
		Long: `Lists everything that was done with a user, the newest last: which values were changed from what to what, by whom and
when, groups that he came into and left, what was refused, and his deletion. Somebody who was deleted is found by the
name that he had last.`,
		Example: `  scimbox history bjensen@example.com
  scimbox history --type Group Sales
  scimbox history bjensen@example.com --json`,
		Args: cobra.ExactArgs(1),
		RunE: run(func(cmd *cobra.Command, args []string) error {
			c, err := a.load(cmd, false)
			if err != nil {
				return err
			}
			if limit < 1 {
				return &control.Error{Code: control.Invalid, Message: "--limit: it is a number of at least 1"}
			}
			return a.with(cmd.Context(), c.Config, access{}, func(client *control.Client) error {
				which, id := args[0], ""
				events, _, err := collect(limit, q, func(q control.ActivityQuery) (control.ActivityPage, error) {
					h, err := client.History(cmd.Context(), resourceType, which, q)
					if err == nil {
						which, id = h.ID, h.ID // the next page is of the same one, whoever has the name then
					}
					return h.ActivityPage, err
				})
				if err != nil {
					return err
				}
				if a.json {
					return a.printJSON(struct {
						ID     string          `json:"id"`
						Events []control.Event `json:"events"`
					}{id, events})
				}
				for _, v := range slices.Backward(events) {
					if err := a.printChanges(v, id); err != nil {
						return err
					}
				}
				return nil
			})
		}),
		ValidArgsFunction: cobra.NoFileCompletions,
	}
	tenantFlag(cmd, &q.Tenant)
	cmd.Flags().StringVar(&resourceType, "type", "User", "resource `type`, such as Group")
	cmd.Flags().IntVar(&limit, "limit", 1000, "`number` of events at most")
	a.jsonFlag(cmd)
	for _, name := range []string{"type", "limit"} {
		must(cmd.RegisterFlagCompletionFunc(name, cobra.NoFileCompletions))
	}
	return cmd
}

// printChanges prints an event and, if it is one of the resource itself, each value before and after.
func (a *app) printChanges(v control.Event, id string) error {
	err := a.printEvent(v)
	line := func(format string, args ...any) {
		if err == nil {
			_, err = fmt.Fprintf(a.Stdout, "%s  %s\n", strings.Repeat(" ", len("2006-01-02 15:04:05")), harmless(fmt.Sprintf(format, args...)))
		}
	}
	if v.Resource != id {
		return err
	}
	for _, c := range v.Changes {
		switch {
		case c.Old == nil && c.New == nil:
			line("%s was set or taken away", c.Path) // what it was is told to nobody
		case c.Old == nil:
			line("%s: %s", c.Path, c.New)
		default:
			line("%s: %s -> %s", c.Path, c.Old, orNothing(c.New))
		}
	}
	members := func(sign string, l []control.Member, more int) {
		for _, m := range l {
			line("%s %s %s", sign, m.ID, m.Name)
		}
		if more > 0 {
			line("%s %d more", sign, more)
		}
	}
	members("+", v.Added, v.AddedMore)
	members("-", v.Removed, v.RemovedMore)
	return err
}

func orNothing(j json.RawMessage) string {
	if j == nil {
		return "(nothing)"
	}
	return string(j)
}

// contactRows tell when each client was here last.
func contactRows(l []control.ClientContact, now time.Time) [][]string {
	var rows [][]string
	for i, c := range l {
		name := c.Name
		if name == "" {
			name = c.Token
		}
		text := fmt.Sprintf("%s: %s from %s", harmless(name), distance(c.Last, now), c.Client)
		if r := c.Rhythm.Duration; r > 0 {
			text += ", usually every " + span(r)
		}
		if c.Ended {
			text += "; its token has ended or was replaced"
		}
		if c.Overdue {
			text += "; it should have come by now"
		}
		if c.LastRefused.Equal(c.Last) && !c.Last.IsZero() {
			text += "; its last request was refused"
		}
		rows = append(rows, []string{onlyFirst(i, "Clients"), text})
	}
	return rows[:min(len(rows), 20)]
}
