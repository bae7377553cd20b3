package cli

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"scimbox/server/control"
)

// shelf is one resource type as a person asks for it.
type shelf struct {
	command, resourceType, one string
	name                       string // attribute that people call one by
	columns                    []string
}

var (
	users  = shelf{"users", "User", "user", "userName", []string{"id", "userName", "displayName", "active", "externalId"}}
	groups = shelf{"groups", "Group", "group", "displayName", []string{"id", "displayName", "externalId"}}
)

func (a *app) newResources(s shelf) *cobra.Command {
	cmd := &cobra.Command{
		Use:   s.command,
		Short: fmt.Sprintf("List and show %s", s.command),
		Long: fmt.Sprintf(`Shows the %s that clients have made. What is changed is changed by clients; scimbox activity and scimbox history say
by whom and when.`, s.command),
		Example: fmt.Sprintf("  scimbox %s list\n  scimbox %s show %s", s.command, s.command, example(s)),
		RunE:    a.group,
	}
	cmd.AddCommand(a.newResourceList(s), a.newResourceShow(s))
	return cmd
}

func example(s shelf) string {
	if s.one == "user" {
		return "bjensen@example.com"
	}
	return "Sales"
}

func tenantFlag(cmd *cobra.Command, tenant *string) {
	cmd.Flags().StringVar(tenant, "tenant", "default", "`name` of the tenant")
	must(cmd.RegisterFlagCompletionFunc("tenant", cobra.NoFileCompletions))
}

func (a *app) newResourceList(s shelf) *cobra.Command {
	var (
		q     control.ResourceQuery
		limit int
	)
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List " + s.command + ", all or those that a filter finds",
		Long: fmt.Sprintf(`Lists %s, in the order of their ids unless --sort names an attribute. --filter takes a filter of SCIM (RFC 7644 section
3.4.2.2), as clients send it. Programs read the resources, one on each line, with --json.`, s.command),
		Example: fmt.Sprintf("  scimbox %[1]s list\n  scimbox %[1]s list --filter '%[2]s sw \"b\"'\n  scimbox %[1]s list --tenant acme --limit 10000 --json", s.command, s.name),
		Args:    cobra.NoArgs,
		RunE: run(func(cmd *cobra.Command, _ []string) error {
			c, err := a.load(cmd, false)
			if err != nil {
				return err
			}
			if limit < 1 {
				return &control.Error{Code: control.Invalid, Message: "--limit: it is a number of at least 1"}
			}
			q.Type = s.resourceType
			return a.with(cmd.Context(), c.Config, access{}, func(client *control.Client) error {
				rows := [][]string{headings(s.columns)}
				left := limit
				for {
					q.Count = min(left, 500)
					page, err := client.Resources(cmd.Context(), q)
					if err != nil {
						return err
					}
					for _, r := range page.Resources {
						if a.json {
							if _, err := fmt.Fprintf(a.Stdout, "%s\n", r); err != nil {
								return err
							}
							continue
						}
						rows = append(rows, cells(r, s.columns))
					}
					left -= len(page.Resources)
					if q.Cursor = page.Next; q.Cursor == "" || left <= 0 {
						break
					}
				}
				if !a.json {
					if err := table(a.Stdout, rows); err != nil {
						return err
					}
				}
				if q.Cursor != "" {
					fmt.Fprintf(a.Stderr, "scimbox: there are more; --limit shows more than %d\n", limit)
				}
				return nil
			})
		}),
	}
	f := cmd.Flags()
	f.StringVar(&q.Filter, "filter", "", fmt.Sprintf("`filter` of SCIM, such as '%s eq \"%s\"'", s.name, example(s)))
	f.StringVar(&q.SortBy, "sort", "", "`attribute` to sort by")
	f.IntVar(&limit, "limit", 100, "`number` that is listed at most")
	tenantFlag(cmd, &q.Tenant)
	a.jsonFlag(cmd)
	for _, name := range []string{"filter", "sort", "limit"} {
		must(cmd.RegisterFlagCompletionFunc(name, cobra.NoFileCompletions))
	}
	return cmd
}

func headings(columns []string) []string {
	var l []string
	for _, c := range columns {
		l = append(l, strings.ToUpper(c))
	}
	return l
}

// cells are the values of a resource that a table shows. Nothing in them moves the cursor or begins a line.
func cells(r json.RawMessage, columns []string) []string {
	var o map[string]any
	if err := json.Unmarshal(r, &o); err != nil {
		return []string{"?"}
	}
	var l []string
	for _, c := range columns {
		v, there := o[c]
		switch {
		case c == "active" && !there:
			l = append(l, "yes")
		case c == "active" && v == true:
			l = append(l, "yes")
		case c == "active":
			l = append(l, "no")
		case !there:
			l = append(l, "-")
		default:
			l = append(l, harmless(fmt.Sprint(v)))
		}
	}
	return l
}

// harmless is a text that a client has chosen, without what a terminal would obey.
func harmless(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r >= 0x7f && r < 0xa0 || r == '\u2028' || r == '\u2029' || r >= '\u202a' && r <= '\u202e' || r >= '\u2066' && r <= '\u2069' {
			return '\uFFFD'
		}
		return r
	}, s)
}

func (a *app) newResourceShow(s shelf) *cobra.Command {
	var (
		tenant  string
		members int
	)
	around := "the groups that it is a member of"
	if s.one == "group" {
		around = "its members"
	}
	cmd := &cobra.Command{
		Use:     "show ID|" + s.name,
		Short:   "Show one " + s.one + " with all attributes, and " + around,
		Long:    fmt.Sprintf("Shows all attributes of a %s that clients may see, and %s. It is named by its id or its %s.", s.one, around, s.name),
		Example: fmt.Sprintf("  scimbox %[1]s show %[2]s\n  scimbox %[1]s show 0192f3a1-7c1e-7b7e-9a7e-0f6d1c2b3a4d --json", s.command, example(s)),
		Args:    cobra.ExactArgs(1),
		RunE: a.asks(func(cmd *cobra.Command, args []string, client *control.Client) error {
			o, err := client.Resource(cmd.Context(), tenant, s.resourceType, args[0])
			if err != nil {
				return err
			}
			for m := o.Members; m != nil && m.Next != "" && len(m.Members) < members; {
				more, err := client.Members(cmd.Context(), tenant, s.resourceType, o.ID, m.Next, min(members-len(m.Members), 200))
				if err != nil {
					return err
				}
				m.Members, m.Next = append(m.Members, more.Members...), more.Next
			}
			if a.json {
				return a.printJSON(o)
			}
			rows, err := resourceRows(o)
			if err != nil {
				return err
			}
			return table(a.Stdout, rows)
		}),
		ValidArgsFunction: cobra.NoFileCompletions,
	}
	tenantFlag(cmd, &tenant)
	if s.one == "group" {
		cmd.Flags().IntVar(&members, "members", 50, "`number` of members that are shown at most")
		must(cmd.RegisterFlagCompletionFunc("members", cobra.NoFileCompletions))
	}
	a.jsonFlag(cmd)
	return cmd
}

// resourceRows are the attributes of a resource, one below the other, and what is around it.
func resourceRows(o control.Resource) ([][]string, error) {
	attributes, err := flat(o.Resource)
	if err != nil {
		return nil, err
	}
	var rows [][]string
	for _, x := range attributes {
		if !strings.HasPrefix(x.path, "schemas") {
			rows = append(rows, []string{x.path, x.value})
		}
	}
	related := func(label string, l []control.Related, more bool) {
		for i, x := range l {
			text := harmless(x.Name)
			switch {
			case x.Type == "":
				text = strings.TrimSpace(harmless(x.Display) + " (nobody knows it)")
			case x.Inactive:
				text += " (not active)"
			}
			if !x.Direct {
				text += " (by way of another)"
			}
			rows = append(rows, []string{onlyFirst(i, label), fmt.Sprintf("%s  %s", x.ID, text)})
		}
		if more {
			rows = append(rows, []string{"", "and more"})
		}
	}
	related("groups", o.Groups, o.MoreGroups)
	if m := o.Members; m != nil {
		related("members", m.Members, m.Next != "")
	}
	return rows, nil
}

type flatValue struct{ path, value string }

var errOddResource = errors.New("the server's answer is no resource")

// flat lists the simple values of a resource by their paths, in the order in which they stand.
func flat(r json.RawMessage) ([]flatValue, error) {
	d := json.NewDecoder(strings.NewReader(string(r)))
	d.UseNumber()
	var list []flatValue
	var walk func(path string, depth int) error
	walk = func(path string, depth int) error {
		t, err := d.Token()
		if err != nil {
			return errOddResource
		}
		switch t {
		case json.Delim('{'):
			for d.More() {
				name, err := d.Token()
				if err != nil {
					return errOddResource
				}
				below := harmless(fmt.Sprint(name))
				switch {
				case depth == 1 && strings.HasPrefix(path, "urn:"): // an extension
					below = path + ":" + below
				case path != "":
					below = path + "." + below
				}
				if err := walk(below, depth+1); err != nil {
					return err
				}
			}
			_, err = d.Token()
		case json.Delim('['):
			for i := 0; d.More(); i++ {
				if err := walk(fmt.Sprintf("%s[%d]", path, i), depth+1); err != nil {
					return err
				}
			}
			_, err = d.Token()
		default:
			list = append(list, flatValue{path, harmless(fmt.Sprint(t))})
		}
		return err
	}
	err := walk("", 0)
	return list, err
}
