package console

import (
	"net/http"
	"strings"
	"time"

	"scimbox/auth"
)

// lightData is what the light shows.
type lightData struct {
	State  string // "waiting", "good" or "bad"
	Latest *seenRequest
	Others []seenRequest
}

type seenRequest struct {
	Request
	meaning
	Actor string // name of the token
	When  moment
	Event string // address of its page, "" if it has none
	Times int    // that there was one like it in a row
}

type connectData struct {
	URL    string
	HTTPS  bool
	Local  bool // the address is this machine's own
	Secret string
	Tokens []tokenRow // those in force that Entra can use
	Light  lightData
}

const maxArrivals = 6 // lines below the light

// lightMemory is how long ago a request may be that the light still shows.
const lightMemory = 24 * time.Hour

func (c *Console) lightOf(v *visit) (lightData, error) {
	d := lightData{State: "waiting"}
	names, err := c.actorNames(v.r.Context())
	if err != nil {
		return d, err
	}
	refused, err := c.reasons(v)
	if err != nil {
		return d, err
	}
	for _, q := range c.recent.last(v.tenant, maxRecent) {
		if v.now.Sub(q.Time) > lightMemory {
			break
		}
		why, kept := refused[q.ID]
		if kept && q.Detail == "" {
			q.Detail = why.Refused.Detail
		}
		s := seenRequest{q, explain(q, c.o.TenantURL()), names[q.Token], moment{q.Time, distance(q.Time, v.now)}, "", 1}
		if kept {
			s.Event = Path + "t/" + v.tenant + "/activity/" + why.ID
			if s.Generic {
				s.Fix = why.Advice
			}
		}
		if d.Latest == nil {
			d.Latest = &s
			d.State = "bad"
			if s.Good {
				d.State = "good"
			}
			continue
		}
		if n := len(d.Others); n > 0 && d.Others[n-1].Title == s.Title {
			d.Others[n-1].Times++ // a client that goes through hundreds of users is one line
			continue
		} else if n == maxArrivals {
			break
		}
		d.Others = append(d.Others, s)
	}
	return d, nil
}

// connect is the page that leads through the connection of Entra.
func (c *Console) connect(v *visit) error {
	d := connectData{URL: c.o.TenantURL()}
	d.HTTPS = strings.HasPrefix(d.URL, "https://")
	d.Local = strings.Contains(d.URL, "://127.0.0.1") || strings.Contains(d.URL, "://localhost") || strings.Contains(d.URL, "://[::1]")
	var err error
	if d.Light, err = c.lightOf(v); err != nil {
		return err
	}
	rows, err := c.tokenRows(v)
	if err != nil {
		return err
	}
	for _, t := range rows {
		if t.Active && t.Tenant == v.tenant && t.Scope == auth.ScopeWrite {
			d.Tokens = append(d.Tokens, t)
		}
	}
	return c.render(v, "connect", "Connect", d)
}

// light is the part of the page that the script asks for again and again.
func (c *Console) light(v *visit) error {
	if !v.partial {
		http.Redirect(v.w, v.r, Path+"t/"+v.tenant+"/connect", http.StatusSeeOther)
		return nil
	}
	d, err := c.lightOf(v)
	if err != nil {
		return err
	}
	return c.renderPart(v, "connect", "light", connectData{Light: d})
}

// connectToken makes a token as Entra needs it, without questions.
func (c *Console) connectToken(v *visit) error {
	return c.makeToken(v, auth.Spec{Name: "entra", Tenant: v.tenant, Scope: auth.ScopeWrite, Preset: "entra", TTL: c.o.TokenTTL}, Path+"t/"+v.tenant+"/connect")
}
