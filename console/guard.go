package console

import (
	"cmp"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"scimbox/server/control"
)

// guardRow is the guard against mass changes of one tenant as a page shows it.
type guardRow struct {
	control.Guard
	Level  string // "good", "warn" or "bad"
	Word   string // what it does, in a word or two
	Window string // as people say it
	Since  moment
	Until  moment
	Who    string // name of the token that the first held change came with
	Token  string // its id, "" if it is none that has a page
}

// guardWords are what guards do, and how bad that is.
var guardWords = map[string]struct{ level, word string }{
	"armed": {"good", "armed"}, "approved": {"warn", "lets everything through"}, "rejected": {"warn", "refuses"},
	"holding": {"bad", "holds back"}, "unreadable": {"bad", "cannot be read"},
}

func rowOfGuard(v *visit, g control.Guard) guardRow {
	w := guardWords[g.State]
	return guardRow{
		Guard: g, Level: w.level, Word: w.word, Window: every(g.Window),
		Since: moment{g.Since, distance(g.Since, v.now)}, Until: moment{g.Until, distance(g.Until, v.now)},
	}
}

type guardsData struct {
	On   bool
	Rows []guardRow
	More int
}

// guards lists the guards of all tenants, those first about which somebody has to decide.
func (c *Console) guards(v *visit) error {
	d := guardsData{On: c.o.Guard != nil}
	if d.On {
		all, err := c.o.Guard.Status(v.r.Context())
		if err != nil {
			return err
		}
		slices.SortFunc(all, control.MostUrgent)
		d.More = max(0, len(all)-maxTokenRows)
		for _, g := range all[:len(all)-d.More] {
			d.Rows = append(d.Rows, rowOfGuard(v, g))
		}
	}
	return c.render(v, "guards", "Mass changes", d)
}

// guard is the page of one tenant's guard, where it is decided about. The tenant is not that of the visit: to look at it changes
// nothing about the other pages.
func (c *Console) guard(v *visit) error {
	if c.o.Guard == nil {
		return errNoPage
	}
	all, err := c.o.Guard.Status(v.r.Context())
	if err != nil {
		return err
	}
	i := slices.IndexFunc(all, func(g control.Guard) bool { return g.Tenant == v.r.PathValue("which") })
	if i < 0 {
		return errNoPage
	}
	row := rowOfGuard(v, all[i])
	names, err := c.actorNames(v.r.Context())
	if err != nil {
		return err
	}
	row.Who = cmp.Or(names[row.Actor], row.Actor)
	if t, err := c.o.Tokens.Get(v.r.Context(), row.Actor); err == nil && t.ID == row.Actor {
		row.Token = t.ID
	}
	return c.render(v, "guard", "Mass changes in "+row.Tenant, row)
}

// decideGuard does what somebody has decided, in their name.
func (c *Console) decideGuard(v *visit) error {
	which := v.r.PathValue("which")
	var d control.GuardDecision
	said := ""
	switch v.r.PathValue("decision") {
	case "approve":
		d.State = "approved"
		var err error
		if d.For, err = time.ParseDuration(v.r.PostFormValue("for")); err != nil {
			return notDecided("Choose for how long everything is let through.")
		}
		if n := strings.TrimSpace(v.r.PostFormValue("changes")); n != "" {
			if d.Changes, err = strconv.Atoi(n); err != nil {
				return notDecided("The number of changes is a number, or nothing for any.")
			}
		}
		said = "For " + span(d.For) + " everything is let through. The client sends again by itself what was held."
		if d.Changes > 0 {
			said = "For " + span(d.For) + ", or until " + plural(d.Changes, "change") + " were made, everything is let through. The client sends again by itself what was held."
		}
	case "reject":
		d.State, said = "rejected", "What is taken away is refused, until the guard is armed anew."
	case "rearm":
		d.State, said = "armed", "The guard counts anew from nothing."
	default:
		return errNoPage
	}
	if c.o.Guard == nil {
		return errNoPage
	}
	_, err := c.o.Guard.Order(v.r.Context(), which, c.origin(v), d)
	var told *control.Error
	switch {
	case errors.As(err, &told) && told.Code == control.NotFound:
		return errNoPage
	case errors.As(err, &told) && told.Code == control.Invalid:
		return notDecided(sentence(told.Message))
	case err != nil:
		return err
	}
	c.sessions.leaveNote(v.s, &note{Text: said})
	http.Redirect(v.w, v.r, Path+"guard/"+url.PathEscape(which), http.StatusSeeOther)
	return nil
}

func notDecided(text string) error {
	return &problem{http.StatusBadRequest, "Nothing was decided", text}
}

// guardChecks is what health says of the guards: of those that need somebody, or that none does.
func guardChecks(all []control.Guard) (l []check) {
	for _, g := range slices.SortedFunc(slices.Values(all), control.MostUrgent) {
		w := guardWords[g.State]
		switch g.State {
		case "holding":
			l = append(l, check{w.level, "Mass changes in " + g.Tenant, "Too much was taken away, and what goes further is held back until somebody decides, under Mass changes. The first was " + g.Held + "."})
		case "rejected":
			l = append(l, check{w.level, "Mass changes in " + g.Tenant, "What is taken away is refused, as was decided, until the guard is armed anew, under Mass changes."})
		case "approved":
			l = append(l, check{w.level, "Mass changes in " + g.Tenant, "Everything is let through until " + g.Until.UTC().Format("2006-01-02 15:04 UTC") + "."})
		case "unreadable":
			l = append(l, check{w.level, "Mass changes in " + g.Tenant, "What is taken away fails until the guard is armed anew, under Mass changes. " + sentence(g.Problem)})
		}
		if len(l) == maxTokenRows {
			return l
		}
	}
	if len(l) == 0 && len(all) > 0 {
		l = append(l, check{"good", "Mass changes", "None is held back."})
	}
	return l
}
