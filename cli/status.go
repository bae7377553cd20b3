package cli

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"scimbox/server/control"
)

func (a *app) newStatus() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Show what runs, what is stored, and what needs attention",
		Long: `Shows the running server, how many resources each tenant has, which tokens end soon, and what clients have sent that
no schema has: attributes to be left out of the client's mapping, or to be added to the schemas.`,
		Example: `  scimbox status
  scimbox status --json`,
		Args: cobra.NoArgs,
		RunE: a.asks(func(cmd *cobra.Command, _ []string, client *control.Client) error {
			s, err := client.Status(cmd.Context())
			if err != nil {
				return err
			}
			if a.json {
				return a.printJSON(s)
			}
			return table(a.Stdout, statusRows(s, time.Now()))
		}),
	}
	a.jsonFlag(cmd)
	return cmd
}

func statusRows(s control.Status, now time.Time) [][]string {
	rows := [][]string{{"Server", "not running; this is scimbox " + s.Version}}
	if r := s.Server; r != nil {
		rows = [][]string{
			{"Server", fmt.Sprintf("scimbox %s, up for %s (process %d)", s.Version, span(now.Sub(r.Started)), r.PID)},
			{"Tenant URL", r.TenantURL},
			{"Listening on", r.Listen},
		}
		for i, c := range r.Certificates {
			rows = append(rows, certificateRows(i, c)...)
		}
		if r.MetricsURL != "" {
			rows = append(rows, []string{"Metrics", r.MetricsURL})
		}
		if r.Strict {
			rows = append(rows, []string{"Strict", "yes: clients get no tolerance"})
		}
	}
	if s.ReadOnly != "" {
		rows = append(rows, []string{"Read-only", s.ReadOnly})
	}
	for i, g := range s.Guards {
		rows = append(rows, []string{onlyFirst(i, "Guard"), g.Tenant + ": " + guardText(g, now)})
	}
	size := bytes(s.DiskBytes)
	if s.FreeBytes >= 0 {
		size += ", " + bytes(s.FreeBytes) + " free on the disk"
	}
	rows = append(rows,
		[]string{"Data", fmt.Sprintf("%s (%s)", s.Data, size)},
		[]string{"Changes", changes(s)},
		[]string{"Tokens", fmt.Sprintf("%d in force", s.Tokens)},
	)
	for _, d := range s.Expiring {
		rows = append(rows, []string{"", deadline(d, now)})
	}
	rows = append(rows, backupRows(s.Backups, now)...)
	rows = append(rows, contactRows(s.Clients, now)...)
	for i, t := range s.Tenants {
		rows = append(rows, []string{onlyFirst(i, "Tenants"), t.Name + ": " + resources(t.Resources)})
	}
	if len(s.Tenants) == 0 {
		rows = append(rows, []string{"Tenants", "no resources yet"})
	}
	if s.Server == nil {
		return rows
	}
	for i, u := range mostOften(s.Server.UnknownAttributes) {
		rows = append(rows, []string{onlyFirst(i, "Ignored"), fmt.Sprintf("%s (%s)", u.name, plural(u.n, "time"))})
	}
	return rows
}

// changes prints how many changes there were, and of how many the journal still knows.
func changes(s control.Status) string {
	n := strconv.FormatUint(s.JournalSeq, 10)
	if s.JournalBegin > 1 {
		n += fmt.Sprintf(", the journal has them from %d on", s.JournalBegin)
	}
	return n
}

// deadline says what ends when, and, of what has a successor, whether it is still used.
func deadline(d control.Deadline, now time.Time) string {
	what := d.ID
	if d.Client != "" {
		what = "secret " + d.ID + " of client " + d.Client
	}
	text := fmt.Sprintf("%s (%s) expires %s", d.Name, what, distance(d.Expires, now))
	switch {
	case d.Successor == "":
		return text
	case d.StillUsed():
		return text + "; rotated to " + d.Successor + ", and still used: " + used(d.LastUsed, d.LastAddress, now)
	}
	return text + "; rotated to " + d.Successor + ", and not used since"
}

// certificateRows are what a person is to know of a certificate.
func certificateRows(i int, c control.Certificate) [][]string {
	text := strings.Join(c.Names, ", ") + ": none yet"
	if !c.NotAfter.IsZero() {
		text = fmt.Sprintf("%s, by %s, until %s (%s left)", strings.Join(c.Names, ", "), c.Issuer, moment(c.NotAfter), plural(int64(c.DaysLeft), "day"))
	}
	rows := [][]string{{onlyFirst(i, "Certificate"), text}}
	if c.Problem != "" {
		rows = append(rows, []string{"", "attention: " + c.Problem})
	}
	return rows
}

func onlyFirst(i int, label string) string {
	if i == 0 {
		return label
	}
	return ""
}

// resources prints the counts of a tenant, in order of resource type.
func resources(counts map[string]int64) string {
	var l []string
	for kind, n := range counts {
		l = append(l, plural(n, strings.ToLower(kind)))
	}
	if len(l) == 0 {
		return "no resources"
	}
	slices.SortFunc(l, func(a, b string) int {
		_, x, _ := strings.Cut(a, " ")
		_, y, _ := strings.Cut(b, " ")
		return strings.Compare(y, x) // users before groups
	})
	return strings.Join(l, ", ")
}

type often struct {
	name string
	n    int64
}

// mostOften sorts counted names by their counts, and cuts the list where nobody reads on.
func mostOften(counts map[string]int64) []often {
	var l []often
	for name, n := range counts {
		l = append(l, often{name, n})
	}
	slices.SortFunc(l, func(a, b often) int { return cmp.Or(cmp.Compare(b.n, a.n), strings.Compare(a.name, b.name)) })
	return l[:min(len(l), 20)]
}
