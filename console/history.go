package console

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"scimbox/storage"
)

const (
	changesRead  = 200    // of one resource, for the origins of its values
	changesShown = 20     // of them on a page
	diffsShown   = 150    // of all changes on a page
	diffsOfOne   = 40     // of one change
	idsShown     = 20     // of members of one change, each way
	rowsRead     = 50_000 // of the journal, to find them
)

// changeRow is one change as a page shows it.
type changeRow struct {
	Seq      uint64
	When     moment
	Actor    string
	Sentence string // "disabled bjensen@example.com"
	Client   string
	Request  string
	Diffs    []diff
	Rest     int      // diffs that are not shown
	Added    []string // ids
	Removed  []string
	More     int // ids that the journal does not have
}

// Several says that the sentence does not name everybody who came or went.
func (r changeRow) Several() bool { return len(r.Added) > 1 || len(r.Removed) > 1 }

// diff is what has become of one attribute.
type diff struct{ Path, Old, New string }

type historyData struct {
	Rows []changeRow
	More int  // changes that are not shown
	All  bool // the journal was read to its begin
}

// cut leaves of a history what a page has room for.
func (h *historyData) cut() {
	diffs := 0
	for i := range h.Rows {
		row := &h.Rows[i]
		if i == changesShown || diffs > diffsShown {
			h.More += len(h.Rows) - i
			h.Rows = h.Rows[:i]
			return
		}
		if n := len(row.Diffs) - diffsOfOne; n > 0 {
			row.Diffs, row.Rest = row.Diffs[:diffsOfOne], n
		}
		diffs += len(row.Diffs)
		for _, l := range []*[]string{&row.Added, &row.Removed} {
			if n := len(*l) - idsShown; n > 0 {
				*l, row.More = (*l)[:idsShown], row.More+n
			}
		}
	}
}

// detail is what the journal says of a change (scim/change.go).
type detail struct {
	Name    string
	Changes []struct {
		Path     string
		Old, New json.RawMessage
	}
	Added, Removed         []string
	AddedMore, RemovedMore int
}

// changesOf returns the changes of a resource up to a sequence, the latest first. Whoever knows its version begins there,
// which for most resources is the one change that has made them. The journal is read backwards from there, in pieces that
// grow, and not further than rowsRead: who came to be ten million changes before the last of them has no history here.
func (c *Console) changesOf(ctx context.Context, ref storage.Ref, from uint64) ([]storage.Entry, error) {
	var l []storage.Entry
	piece := uint64(8)
	for end, read := from, uint64(0); end > 0 && read < rowsRead; piece = min(4*piece, 1000) {
		after := end - min(end, piece)
		entries, err := c.o.Store.Journal(ctx, after, int(end-after))
		if err != nil {
			return nil, fmt.Errorf("reading the journal: %w", err)
		}
		for _, e := range slices.Backward(entries) {
			if e.Ref != ref || e.Seq > from {
				continue
			}
			if l = append(l, e); len(l) == changesRead || e.Op == "create" {
				return l, nil
			}
		}
		read += end - after
		end = after
	}
	return l, nil
}

// actorNames are the names of tokens by their ids, and of those that are none.
func (c *Console) actorNames(ctx context.Context) (map[string]string, error) {
	list, err := c.o.Tokens.List(ctx)
	if err != nil {
		return nil, err
	}
	names := map[string]string{"local": "the command line", Actor: "the console"}
	for _, t := range list {
		names[t.ID] = t.Name
	}
	clients, err := c.o.Tokens.Clients(ctx)
	if err != nil {
		return nil, err
	}
	for _, k := range clients {
		names[k.ID] = k.Name
	}
	return names, nil
}

func (c *Console) historyOf(v *visit, entries []storage.Entry) (historyData, error) {
	var h historyData
	names, err := c.actorNames(v.r.Context())
	if err != nil {
		return h, err
	}
	for _, e := range entries {
		var d detail
		if err := json.Unmarshal(e.Detail, &d); err != nil {
			d = detail{} // of another version; that something has happened is worth showing all the same
		}
		row := changeRow{
			Seq: e.Seq, When: moment{e.Time, distance(e.Time, v.now)}, Actor: names[e.Actor], Client: e.Client, Request: e.Request,
			Added: c.called(v, d.Added), Removed: c.called(v, d.Removed), More: d.AddedMore + d.RemovedMore,
		}
		if row.Actor == "" {
			row.Actor = e.Actor
		}
		if len(row.Added) == 1 {
			d.Added = row.Added
		}
		if len(row.Removed) == 1 {
			d.Removed = row.Removed
		}
		row.Sentence = sentenceOf(e, d)
		for _, x := range d.Changes {
			row.Diffs = append(row.Diffs, diff{x.Path, rawText(x.Old), rawText(x.New)})
		}
		h.Rows = append(h.Rows, row)
	}
	h.All = len(entries) > 0 && entries[len(entries)-1].Op == "create"
	return h, nil
}

// called returns what people call the resources of these ids today; of those that nobody knows the id itself, and no more than
// a page shows.
func (c *Console) called(v *visit, ids []string) []string {
	if c.o.Activity.Name == nil {
		return ids
	}
	l := slices.Clone(ids)
	for i, id := range l[:min(len(l), idsShown)] {
		if name := c.o.Activity.Name(v.r.Context(), v.tenant, "", id); name != "" {
			l[i] = short(name)
		}
	}
	return l
}

func rawText(raw json.RawMessage) string {
	if len(raw) == 0 {
		return ""
	}
	return cut(textOf(raw), 160)
}

// sentenceOf says what a change was, without who has made it.
func sentenceOf(e storage.Entry, d detail) string {
	name := d.Name
	if name == "" {
		name = e.Ref.ID
	}
	name = short(name)
	added, removed := len(d.Added)+d.AddedMore, len(d.Removed)+d.RemovedMore
	switch {
	case e.Op == "create":
		return "created " + name
	case e.Op == "delete":
		return "deleted " + name
	case e.Op == "revoke":
		return "revoked " + name
	}
	for _, x := range d.Changes {
		if x.Path != "active" {
			continue
		}
		if string(x.New) == "false" {
			return "disabled " + name
		}
		if string(x.Old) == "false" {
			return "enabled " + name
		}
	}
	var parts []string
	if added > 0 {
		parts = append(parts, "added "+some(added, d.Added)+" to "+name)
	}
	if removed > 0 {
		parts = append(parts, "removed "+some(removed, d.Removed)+" from "+name)
	}
	if n := len(d.Changes); n > 0 && len(parts) == 0 {
		var paths []string
		for _, x := range d.Changes[:min(n, 3)] {
			p := x.Path
			if i := strings.LastIndex(p, ":"); i >= 0 {
				p = p[i+1:]
			}
			paths = append(paths, p)
		}
		s := "changed " + strings.Join(paths, ", ")
		if n > 3 {
			s += fmt.Sprintf(" and %d more", n-3)
		}
		return s + " of " + name
	}
	if len(parts) == 0 {
		return "changed " + name
	}
	return strings.Join(parts, " and ")
}

// some names a member if it is one, and else says how many there are.
func some(n int, names []string) string {
	if n == 1 && len(names) == 1 {
		return short(names[0])
	}
	return plural(n, "member")
}

// tellOrigins says of each attribute which change its value came with.
func tellOrigins(rows []attributeRow, h historyData) {
	for i := range rows {
		for _, change := range h.Rows {
			if slices.ContainsFunc(change.Diffs, func(d diff) bool { return d.Path == rows[i].Path }) {
				rows[i].By, rows[i].When, rows[i].Seq = change.Actor, change.When, change.Seq
				break
			}
		}
	}
}
