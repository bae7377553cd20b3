package metrics

import (
	"cmp"
	"context"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"scimbox/activity"
	"scimbox/auth"
	"scimbox/backup"
	"scimbox/server/control"
	"scimbox/storage"
)

// most is how many tenants, tokens and clients are shown each. An operator makes them, and might make thousands.
const most = 200

// others is the tenant of the resources of those that are not shown. No tenant can be called so.
const others = "(others)"

// State is what is looked at when somebody asks. What is nil or empty is not shown.
type State struct {
	Connections Connections

	Store    *storage.Stats // nil = it could not be read
	Free     int64          // room on the disk of the data directory
	Need     int64          // below which no changes are taken
	Looks    bool           // whether anybody looks at the disk, so that Free and Need mean something
	ReadOnly bool           // changes are refused

	Certificates []control.Certificate
	Deadlines    []auth.Deadline // of tokens and client secrets in force
	Contacts     []control.ClientContact
	Backups      backup.State
	BackupEvery  time.Duration // 0 = none are made by themselves
	Activity     activity.Stats
	Guards       []control.Guard // of all tenants, nil = there is none
	Unknown      int64           // attributes that no schema has and clients have sent
}

// Connections are those to all listeners but that of the metrics.
type Connections struct {
	Open    int
	Refused int64 // since the start
}

// figure is one of the metrics that are looked at.
type figure struct {
	*prometheus.Desc
	kind prometheus.ValueType
}

func gauge(name, help string, labels ...string) figure {
	return figure{prometheus.NewDesc(namespace+"_"+name, help, labels, nil), prometheus.GaugeValue}
}

func count(name, help string) figure {
	return figure{prometheus.NewDesc(namespace+"_"+name, help, nil, nil), prometheus.CounterValue}
}

// figures are all that are looked at.
var figures = struct {
	open, refused                                                      figure
	up, sequence, first, size, free, need, readOnly, resources         figure
	certificate, problem, token, contact, rhythm, overdue              figure
	backupEvery, backupLast, backupSize, backupKept, failing, failures figure
	activitySize, dropped, suppressed, unknown                         figure
	guard, guardChanges, guardAllowed                                  figure
	left                                                               figure
}{
	open:    gauge("connections_open", "Open connections to all listeners but this one."),
	refused: count("connections_refused_total", "Connections that were closed because there were too many."),

	up:        gauge("store_up", "1 if the store could be read for this scrape, and does not owe an answer to a change for long."),
	sequence:  gauge("journal_sequence", "Sequence of the latest change."),
	first:     gauge("journal_first_sequence", "Sequence of the first change that the journal still has."),
	size:      gauge("store_size_bytes", "What the store takes on disk."),
	free:      gauge("disk_free_bytes", "Room on the disk of the data directory."),
	need:      gauge("disk_free_needed_bytes", "Room on the disk below which changes are refused."),
	readOnly:  gauge("read_only", "1 while changes are refused because the disk is almost full."),
	resources: gauge("resources", "Resources, by tenant and resource type.", "tenant", "type"),

	certificate: gauge("certificate_expiry_timestamp_seconds", "When a certificate ends. Missing until there is one.", "name", "mode"),
	problem:     gauge("certificate_problem", "1 if a certificate could not be obtained or renewed; scimbox status says why.", "name", "mode"),
	token:       gauge("token_expiry_timestamp_seconds", "When a token, or a secret of an OAuth client, ends. Only of those in force.", "kind", "id", "name", "tenant", "replaced"),
	contact:     gauge("client_last_contact_timestamp_seconds", "When a client was here last, by its token.", "token", "name", "tenant"),
	rhythm:      gauge("client_rhythm_seconds", "Usual time from one visit of a client to the next. Missing until it is known.", "token", "name", "tenant"),
	overdue:     gauge("client_overdue", "1 if a client has missed three of its usual times.", "token", "name", "tenant"),

	backupEvery: gauge("backup_interval_seconds", "How often a backup is made by itself; 0 for never."),
	backupLast:  gauge("backup_last_timestamp_seconds", "When the newest backup was made. Missing until there is one."),
	backupSize:  gauge("backup_last_size_bytes", "Size of the newest backup. Missing until there is one."),
	backupKept:  gauge("backups_kept", "Backups that there are."),
	failing:     gauge("backup_failing", "1 if the last try to make a backup failed; scimbox status says why."),
	failures:    count("backup_failures_total", "Tries to make a backup that failed."),

	activitySize: gauge("activity_size_bytes", "What the kept refused requests take on disk."),
	dropped:      count("activity_dropped_total", "Refused requests that could not be kept in time."),
	suppressed:   count("activity_suppressed_total", "Refused requests that were not kept because there were too many like them."),
	unknown:      count("unknown_attributes_total", "Attributes that clients have sent and no schema has; scimbox status says which."),

	guard:        gauge("guard_state", "1 for what the guard against mass changes does: armed, holding, rejected, approved or unreadable.", "tenant", "state"),
	guardChanges: gauge("guard_changes", "Users deactivated, resources deleted and members removed in the guard's window.", "tenant"),
	guardAllowed: gauge("guard_changes_allowed", "How many of them there may be.", "tenant"),

	left: gauge("series_left_out", "Tenants, tokens, clients and certificates that are not shown because there are too many."),
}

// all are the figures, for Describe.
func all() []figure {
	f := &figures
	return []figure{
		f.open, f.refused, f.up, f.sequence, f.first, f.size, f.free, f.need, f.readOnly, f.resources, f.certificate, f.problem, f.token,
		f.contact, f.rhythm, f.overdue, f.backupEvery, f.backupLast, f.backupSize, f.backupKept, f.failing, f.failures, f.activitySize, f.dropped,
		f.suppressed, f.unknown, f.guard, f.guardChanges, f.guardAllowed, f.left,
	}
}

// house shows a State. It implements prometheus.Collector.
type house struct {
	look func(ctx context.Context) *State
}

// Describe implements prometheus.Collector.
func (h *house) Describe(to chan<- *prometheus.Desc) {
	for _, f := range all() {
		to <- f.Desc
	}
}

// Collect implements prometheus.Collector.
func (h *house) Collect(to chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	h.look(ctx).show(func(f figure, v float64, labels ...string) {
		for i, l := range labels {
			labels[i] = strings.ToValidUTF8(l, "\uFFFD") // an exposition that is none would hide all the others
		}
		to <- prometheus.MustNewConstMetric(f.Desc, f.kind, v, labels...)
	})
}

type emit func(f figure, v float64, labels ...string)

func yes(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

func unix(t time.Time) float64 { return float64(t.UnixMilli()) / 1000 }

func (s *State) show(to emit) {
	f := &figures
	to(f.open, float64(s.Connections.Open))
	to(f.refused, float64(s.Connections.Refused))
	to(f.up, yes(s.Store != nil))
	to(f.readOnly, yes(s.ReadOnly))
	if s.Looks {
		to(f.free, float64(s.Free))
		to(f.need, float64(s.Need))
	}
	left := 0
	if s.Store != nil {
		to(f.sequence, float64(s.Store.Seq))
		to(f.first, float64(s.Store.First))
		to(f.size, float64(s.Store.DiskSize))
		left += s.showResources(to)
	}
	shown := map[string]bool{}
	for _, c := range s.Certificates {
		name := ""
		if len(c.Names) > 0 {
			name = c.Names[0]
		}
		if shown[name+c.Mode] { // two of a name would hide all that is shown
			left++
			continue
		}
		shown[name+c.Mode] = true
		if !c.NotAfter.IsZero() {
			to(f.certificate, unix(c.NotAfter), name, c.Mode)
		}
		to(f.problem, yes(c.Problem != ""), name, c.Mode)
	}
	left += s.showDeadlines(to) + s.showContacts(to) + s.showGuards(to)
	s.showBackups(to)
	to(f.activitySize, float64(s.Activity.Size))
	to(f.dropped, float64(s.Activity.Dropped))
	to(f.suppressed, float64(s.Activity.Suppressed))
	to(f.unknown, float64(s.Unknown))
	to(f.left, float64(left))
}

// showResources shows the tenants with the most resources, and the sum of the others.
func (s *State) showResources(to emit) (left int) {
	tenants := control.Tenants(*s.Store)
	sum := func(t control.Tenant) (n int64) {
		for _, k := range t.Resources {
			n += k
		}
		return n
	}
	slices.SortStableFunc(tenants, func(a, b control.Tenant) int { return cmp.Compare(sum(b), sum(a)) })
	rest := map[string]int64{}
	for i, t := range tenants {
		for kind, n := range t.Resources {
			if i < most {
				to(figures.resources, float64(n), t.Name, kind)
			} else {
				rest[kind] += n
			}
		}
	}
	for kind, n := range rest {
		to(figures.resources, float64(n), others, kind)
	}
	return max(0, len(tenants)-most)
}

// showDeadlines shows those that end first.
func (s *State) showDeadlines(to emit) (left int) {
	for i, d := range s.Deadlines {
		if i == most {
			return len(s.Deadlines) - most
		}
		kind := "token"
		if d.Client != "" {
			kind = "secret"
		}
		replaced := "no"
		if d.Successor != "" && !d.StillUsed() {
			replaced = "yes" // its end is what was wanted
		}
		to(figures.token, unix(d.Expires), kind, d.ID, d.Name, d.Tenant, replaced)
	}
	return 0
}

// showContacts shows the clients that may come, those that are known for longest: new ones do not push them out.
func (s *State) showContacts(to emit) (left int) {
	contacts := slices.DeleteFunc(slices.Clone(s.Contacts), func(c control.ClientContact) bool { return c.Ended })
	slices.SortFunc(contacts, func(a, b control.ClientContact) int {
		return cmp.Or(a.First.Compare(b.First), strings.Compare(a.Token, b.Token))
	})
	for i, c := range contacts {
		if i == most {
			return len(contacts) - most
		}
		to(figures.contact, unix(c.Last), c.Token, c.Name, c.Tenant)
		if c.Rhythm.Duration > 0 {
			to(figures.rhythm, c.Rhythm.Seconds(), c.Token, c.Name, c.Tenant)
		}
		to(figures.overdue, yes(c.Overdue), c.Token, c.Name, c.Tenant)
	}
	return 0
}

// showGuards shows those first that somebody has to decide about, and then those that are nearest to it.
func (s *State) showGuards(to emit) (left int) {
	guards := slices.SortedFunc(slices.Values(s.Guards), control.MostUrgent)
	for i, g := range guards {
		if i == most {
			return len(guards) - most
		}
		for _, state := range control.GuardStates {
			to(figures.guard, yes(g.State == state), g.Tenant, state)
		}
		to(figures.guardChanges, float64(g.Count), g.Tenant)
		to(figures.guardAllowed, float64(g.Most), g.Tenant)
	}
	return 0
}

func (s *State) showBackups(to emit) {
	f, b := &figures, s.Backups
	to(f.backupEvery, s.BackupEvery.Seconds())
	to(f.backupKept, float64(b.Kept))
	if b.Last != nil {
		to(f.backupLast, unix(b.Last.Created))
		to(f.backupSize, float64(b.Last.Size))
	}
	to(f.failing, yes(b.Failure != nil))
	to(f.failures, float64(b.Failures))
}
