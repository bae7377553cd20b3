package console

import (
	"cmp"
	"maps"
	"slices"
	"strings"
	"time"

	"scimbox/server/control"
)

// check is one thing that is well, or not.
type check struct {
	Level string // "good", "warn" or "bad"
	Title string
	Text  string
}

type healthData struct {
	Status  control.Status
	Worst   string
	Checks  []check
	Disk    string
	Started moment
	Clients []tokenRow
	Unknown []counted
}

type counted struct {
	Name string
	N    int64
}

const maxUnknown = 30

// health is what there is to know of the server at a glance, and what to do about it.
func (c *Console) health(v *visit) error {
	s, err := c.o.Status(v.r.Context())
	if err != nil {
		return err
	}
	rows, err := c.tokenRows(v)
	if err != nil {
		return err
	}
	d := healthData{Status: s, Disk: bytesOf(s.DiskBytes), Worst: "good"}
	if s.Server != nil {
		d.Started = moment{s.Server.Started, distance(s.Server.Started, v.now)}
		for _, name := range slices.Sorted(maps.Keys(s.Server.UnknownAttributes)) {
			d.Unknown = append(d.Unknown, counted{short(name), s.Server.UnknownAttributes[name]})
		}
		slices.SortStableFunc(d.Unknown, func(a, b counted) int { return cmp.Compare(b.N, a.N) })
		d.Unknown = d.Unknown[:min(len(d.Unknown), maxUnknown)]
	}
	for _, t := range rows {
		if t.Active && len(d.Clients) < maxTokenRows {
			d.Clients = append(d.Clients, t)
		}
	}
	d.Checks = c.checks(s, d.Clients)
	for _, k := range d.Checks {
		if k.Level == "bad" || k.Level == "warn" && d.Worst == "good" {
			d.Worst = k.Level
		}
	}
	return c.render(v, "health", "Health", d)
}

func (c *Console) checks(s control.Status, clients []tokenRow) []check {
	presets := map[string]string{}
	for _, t := range clients {
		presets[t.ID] = t.Preset
	}
	l := []check{{"good", "Store", "It answers. " + plural(s.JournalSeq, "change") + " so far, " + bytesOf(s.DiskBytes) + " on disk in " + s.Data + "."}}
	switch url := c.o.TenantURL(); {
	case strings.HasPrefix(url, "https://"):
		l = append(l, check{"good", "Address", "Clients reach it at " + url + "."})
	default:
		l = append(l, check{"warn", "Address", url + " is not encrypted, and clients on other machines should not use it. Entra asks for https."})
	}
	if s.ReadOnly != "" {
		l = append(l, check{"bad", "Changes are refused", sentence(s.ReadOnly)})
	} else if s.FreeBytes > 0 {
		l = append(l, check{"good", "Disk", bytesOf(s.FreeBytes) + " are free."})
	}
	if s.Server != nil {
		for _, k := range s.Server.Certificates {
			names := strings.Join(k.Names[:min(len(k.Names), 10)], ", ")
			switch {
			case k.NotAfter.IsZero():
				l = append(l, check{"bad", "Certificate", "There is none for " + names + ". " + sentence(k.Problem)})
			case k.Problem != "":
				l = append(l, check{"warn", "Certificate", "Of " + names + ", " + plural(k.DaysLeft, "day") + " left. " + sentence(k.Problem)})
			default:
				l = append(l, check{"good", "Certificate", "Of " + names + ", " + plural(k.DaysLeft, "day") + " left."})
			}
		}
	}
	if b := s.Backups; b != nil {
		switch {
		case b.Failure != nil:
			l = append(l, check{"bad", "Backups", "The last one failed. " + sentence(b.Failure.Error)})
		case b.Every == "":
			l = append(l, check{"warn", "Backups", "None are made by the clock."})
		case b.Last == nil:
			l = append(l, check{"good", "Backups", "Every " + every(b.Every) + "; the first is yet to come."})
		default:
			l = append(l, check{"good", "Backups", "The newest is of " + b.Last.Created.UTC().Format("2006-01-02 15:04 UTC") + ", verified."})
		}
	}
	l = append(l, guardChecks(s.Guards)...)
	for _, k := range s.Clients {
		if k.Overdue && rhythms[presets[k.Token]] == 0 {
			l = append(l, check{"warn", "Client " + k.Name, "It was here last at " + k.Last.UTC().Format("2006-01-02 15:04 UTC") + " and usually comes every " + span(k.Rhythm.Duration) + "."})
		}
	}
	if len(clients) == 0 {
		l = append(l, check{"warn", "Tokens", "None is in force: no client can get in."})
	}
	fine := true
	for _, k := range s.Expiring {
		if k.Client != "" && k.Successor == "" {
			fine = false
			l = append(l, check{"warn", "Client secret of " + k.Name, "It ends on " + k.Expires.UTC().Format("2006-01-02") + ". Make the next one (scimbox client rotate) and give it to the client before that."})
		}
	}
	for _, t := range clients {
		if t.Soon {
			fine = false
			l = append(l, check{"warn", "Token " + t.Name, "It ends " + t.Ends.Ago + ". Make the next one and give it to the client before that."})
		}
	}
	if fine && len(clients) > 0 {
		l = append(l, check{"good", "Tokens", plural(len(clients), "token") + " in force, and none of them ends within 30 days."})
	}
	for _, t := range clients {
		if t.Late {
			l = append(l, check{"warn", "Client " + t.Name, "It was here " + t.Used.Ago + " and usually " + t.LateText + ". Look whether provisioning is stopped or in quarantine."})
		}
	}
	return l
}

// every writes how often something is done, as people say it.
func every(s string) string {
	if d, err := time.ParseDuration(s); err == nil {
		return strings.TrimPrefix(span(d), "1 ")
	}
	return s
}

type backupsData struct {
	Every              string
	State              *control.Backups
	Failed, Last, Next moment
}

// backups is how things are with the backups that are made by the clock.
func (c *Console) backups(v *visit) error {
	s, err := c.o.Status(v.r.Context())
	if err != nil {
		return err
	}
	d := backupsData{State: s.Backups}
	if s.Backups != nil {
		d.Every = every(s.Backups.Every)
	}
	if b := s.Backups; b != nil {
		d.Next = moment{b.Next, distance(b.Next, v.now)}
		if b.Last != nil {
			d.Last = moment{b.Last.Created, distance(b.Last.Created, v.now)}
		}
		if b.Failure != nil {
			d.Failed = moment{b.Failure.At, distance(b.Failure.At, v.now)}
		}
	}
	return c.render(v, "backups", "Backups", d)
}

type tenantRow struct {
	Name      string
	Resources []counted
	Tokens    int
	Current   bool
}

// tenants lists the tenants, with what they hold.
func (c *Console) tenants(v *visit) error {
	s, err := c.o.Status(v.r.Context())
	if err != nil {
		return err
	}
	rows, err := c.tokenRows(v)
	if err != nil {
		return err
	}
	inForce := map[string]int{}
	for _, t := range rows {
		if t.Active {
			inForce[t.Tenant]++
		}
	}
	var l []tenantRow
	seen := map[string]bool{}
	for _, t := range s.Tenants {
		seen[t.Name] = true
		row := tenantRow{Name: t.Name, Tokens: inForce[t.Name], Current: t.Name == v.tenant}
		for _, rt := range c.o.Service.Types().ResourceTypes {
			row.Resources = append(row.Resources, counted{strings.ToLower(rt.Name), t.Resources[rt.Name]})
		}
		l = append(l, row)
	}
	for name, n := range inForce {
		if !seen[name] {
			l = append(l, tenantRow{Name: name, Tokens: n, Current: name == v.tenant})
		}
	}
	slices.SortFunc(l, func(a, b tenantRow) int { return strings.Compare(a.Name, b.Name) })
	if len(l) > maxTokenRows {
		l = l[:maxTokenRows]
	}
	return c.render(v, "tenants", "Tenants", l)
}
