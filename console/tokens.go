package console

import (
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"time"

	"scimbox/auth"
	"scimbox/scim"
	"scimbox/storage"
)

// tokenRow is one token as a page shows it.
type tokenRow struct {
	auth.Token
	Active   bool
	Soon     bool // it ends within the time of warning
	State    string
	Ends     moment
	Used     moment
	Made     moment
	Late     bool   // its client has not come when it should have
	LateText string // and how the client usually comes
	Turned   moment // when it was rotated
	Straggle bool   // it was used after its successor was made
}

// warnTokens is how long before its end a token is pointed out.
const warnTokens = 30 * 24 * time.Hour

// rhythms are how often clients come by themselves, by preset. Entra's cycle is 40 minutes; others come when something
// has changed.
var rhythms = map[string]time.Duration{"entra": 40 * time.Minute}

func (c *Console) tokenRows(v *visit) ([]tokenRow, error) {
	list, err := c.o.Tokens.List(v.r.Context())
	if err != nil {
		return nil, err
	}
	rows := make([]tokenRow, len(list))
	for i, t := range list {
		rows[i] = rowOfToken(t, v.now)
	}
	slices.SortStableFunc(rows, func(a, b tokenRow) int {
		switch {
		case a.Active == b.Active:
			return 0
		case a.Active:
			return -1
		}
		return 1
	})
	return rows, nil
}

func rowOfToken(t auth.Token, now time.Time) tokenRow {
	row := tokenRow{
		Token: t, Active: t.Active(now), State: "in force",
		Ends: moment{t.Expires, distance(t.Expires, now)}, Used: moment{t.LastUsed, distance(t.LastUsed, now)}, Made: moment{t.Created, distance(t.Created, now)},
		Turned: moment{t.Rotated, distance(t.Rotated, now)}, Straggle: t.Successor != "" && t.LastUsed.After(t.Rotated),
	}
	switch {
	case !t.Revoked.IsZero():
		row.State = "revoked"
	case !row.Active:
		row.State = "expired"
	case t.Successor != "":
		row.State = "being replaced"
	case t.Expires.Sub(now) < warnTokens:
		row.Soon, row.State = true, "ends soon"
	}
	if every, ok := rhythms[t.Preset]; ok && row.Active && t.Successor == "" && !t.LastUsed.IsZero() {
		row.LateText = "comes every " + span(every)
		row.Late = now.Sub(t.LastUsed) > 2*every
	}
	return row
}

type tokensData struct {
	Rows    []tokenRow
	Clients []clientRow
	Presets []string
	Tenant  string
	Days    string
}

// tokens is the list of tokens, with the form for another one.
func (c *Console) tokens(v *visit) error {
	rows, err := c.tokenRows(v)
	if err != nil {
		return err
	}
	if len(rows) > maxTokenRows {
		rows = rows[:maxTokenRows] // those in force come first
	}
	ttl := c.o.TokenTTL
	if ttl == 0 {
		ttl = auth.DefaultTTL
	}
	clients, err := c.clientRows(v)
	if err != nil {
		return err
	}
	return c.render(v, "tokens", "Tokens", tokensData{rows, clients, scim.Presets(), v.tenant, strconv.Itoa(int(ttl / (24 * time.Hour)))})
}

const maxTokenRows = 150

// clientRow is one OAuth client as a page shows it.
type clientRow struct {
	ID, Name, Tenant string
	Scope            auth.Scope
	Secrets          []secretRow // those in force
	Revoked          bool
}

// secretRow is one secret of an OAuth client.
type secretRow struct {
	ID         string
	Ends, Used moment
}

// clientRows lists the OAuth clients, which get their tokens from /oauth/token.
func (c *Console) clientRows(v *visit) ([]clientRow, error) {
	list, err := c.o.Tokens.Clients(v.r.Context())
	if err != nil {
		return nil, err
	}
	var rows []clientRow
	for _, k := range list[:min(len(list), maxClientRows)] {
		row := clientRow{ID: k.ID, Name: k.Name, Tenant: k.Tenant, Scope: k.Scope, Revoked: !k.Revoked.IsZero()}
		for _, s := range k.Secrets {
			if v.now.Before(s.Expires) {
				row.Secrets = append(row.Secrets, secretRow{s.ID, moment{s.Expires, distance(s.Expires, v.now)}, moment{s.LastUsed, distance(s.LastUsed, v.now)}})
			}
		}
		rows = append(rows, row)
	}
	return rows, nil
}

const maxClientRows = 40

// createToken makes the token of the form.
func (c *Console) createToken(v *visit) error {
	f := v.r.PostFormValue
	days, err := strconv.Atoi(f("days"))
	if err != nil || days < 1 || days > 730 {
		return &problem{http.StatusBadRequest, "The token was not made", "Its life is a number of days from 1 to 730."}
	}
	spec := auth.Spec{Name: f("name"), Tenant: f("tenant"), Scope: auth.Scope(f("scope")), Preset: f("preset"), TTL: time.Duration(days) * 24 * time.Hour}
	return c.makeToken(v, spec, "")
}

// makeToken makes a token and leads to the page that shows it once: that of the token, or another.
func (c *Console) makeToken(v *visit, spec auth.Spec, to string) error {
	tok, secret, err := c.o.Tokens.Create(v.r.Context(), spec, c.origin(v))
	var wrong *auth.SpecError
	if errors.As(err, &wrong) {
		return &problem{http.StatusBadRequest, "The token was not made", sentence(wrong.Error())}
	}
	if err != nil {
		return err
	}
	c.o.Logger.Info("token created", "token", tok.ID, "name", tok.Name, "tenant", tok.Tenant, "scope", tok.Scope, "expires", tok.Expires, "by", v.s.actor)
	c.sessions.leaveNote(v.s, &note{Token: tok.ID, Secret: secret.Reveal(), Text: "The token " + tok.Name + " is made."})
	if to == "" {
		to = Path + "tokens/" + url.PathEscape(tok.ID)
	}
	http.Redirect(v.w, v.r, to, http.StatusSeeOther)
	return nil
}

// tokenAt returns the token of the address. Names are not looked for: a link must mean one token for ever.
func (c *Console) tokenAt(v *visit) (auth.Token, error) {
	id := v.r.PathValue("id")
	t, err := c.o.Tokens.Get(v.r.Context(), id)
	if err == nil && t.ID != id || errors.Is(err, storage.ErrNotFound) {
		return t, errNoPage
	}
	return t, err
}

// token is the page of one token.
func (c *Console) token(v *visit) error {
	t, err := c.tokenAt(v)
	if err != nil {
		return err
	}
	return c.render(v, "token", t.Name, rowOfToken(t, v.now))
}

// rotateToken makes a successor of a token, which works at once, and leaves the old one for as long as the form says.
func (c *Console) rotateToken(v *visit) error {
	t, err := c.tokenAt(v)
	if err != nil {
		return err
	}
	days, err := strconv.Atoi(v.r.PostFormValue("overlap"))
	if err != nil || days < 0 || days > 365 {
		return &problem{http.StatusBadRequest, "The token was not rotated", "The time in which both work is a number of days from 0 to 365."}
	}
	_, next, secret, err := c.o.Tokens.Rotate(v.r.Context(), t.ID, time.Duration(days)*24*time.Hour, c.o.TokenTTL, c.origin(v))
	var spec *auth.SpecError
	var lookup *auth.LookupError
	switch {
	case errors.As(err, &spec), errors.As(err, &lookup):
		return &problem{http.StatusBadRequest, "The token was not rotated", sentence(err.Error())}
	case err != nil:
		return err
	}
	c.o.Logger.Info("token rotated", "token", t.ID, "successor", next.ID, "name", t.Name, "by", v.s.actor)
	c.sessions.leaveNote(v.s, &note{Token: next.ID, Secret: secret.Reveal(), Text: "The successor of " + t.Name + " is made, and works already."})
	http.Redirect(v.w, v.r, Path+"tokens/"+url.PathEscape(next.ID), http.StatusSeeOther)
	return nil
}

// revokeToken ends a token.
func (c *Console) revokeToken(v *visit) error {
	t, err := c.tokenAt(v)
	if err != nil {
		return err
	}
	if err := c.o.Tokens.Revoke(v.r.Context(), t.ID, c.origin(v)); err != nil {
		return err
	}
	c.o.Logger.Info("token revoked", "token", t.ID, "name", t.Name, "by", v.s.actor)
	c.sessions.leaveNote(v.s, &note{Text: "The token " + t.Name + " is revoked. Nobody gets in with it any more."})
	http.Redirect(v.w, v.r, Path+"tokens", http.StatusSeeOther)
	return nil
}
