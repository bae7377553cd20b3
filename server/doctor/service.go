package doctor

import (
	"context"
	"fmt"
	"slices"

	"scimbox/server/control"
)

// server asks the running server how it is.
func (p *patient) server(ctx context.Context) {
	if p.Client == nil {
		p.find(Fail, fmt.Sprintf("no server runs on %s: %v", p.Data, p.Down),
			"start it (systemctl start scimbox, or "+p.Program+" serve); if it does not stay, its log says why (journalctl -u scimbox)", TenantURL)
		return
	}
	ctx, cancel := p.limited(ctx)
	defer cancel()
	s, err := p.Client.Status(ctx)
	if err != nil {
		p.find(Fail, fmt.Sprintf("the server does not answer at its control socket: %v", err), "look into its log (journalctl -u scimbox), and restart it", TenantURL)
		return
	}
	p.status = &s
	if s.Server == nil { // a store that a command has opened is no server
		p.find(Fail, "no server runs", "start it", TenantURL)
		return
	}
	if s.ReadOnly != "" {
		p.find(Fail, "the server takes no changes: "+s.ReadOnly, "do what it says; users and groups cannot be provisioned until then", "")
		return
	}
	p.pass(fmt.Sprintf("scimbox %s runs (process %d)", s.Version, s.Server.PID))
}

// guards looks whether somebody has to decide about mass changes: until then nobody can be deprovisioned. Where the guard is off
// there is nothing to say.
func (p *patient) guards(context.Context) {
	if p.status == nil || len(p.status.Guards) == 0 {
		return
	}
	quiet := true
	for _, g := range slices.SortedFunc(slices.Values(p.status.Guards), control.MostUrgent) {
		command := func(what string) string { return p.Program + " guard " + what + " --tenant " + g.Tenant }
		quiet = quiet && g.Urgency() == 0
		switch g.State {
		case "holding":
			p.find(Fail, fmt.Sprintf("tenant %s: what is deactivated, deleted or removed is held back since %s, because too much was: %s, with token %s", g.Tenant, g.Since.UTC().Format("2006-01-02 15:04 UTC"), g.Held, g.Actor),
				"look at "+p.Program+" activity, and decide: "+command("approve")+" if it is meant, "+command("reject")+" if not", "")
		case "unreadable":
			p.find(Fail, fmt.Sprintf("tenant %s: what is deactivated, deleted or removed fails: %s", g.Tenant, g.Problem), command("rearm"), "")
		case "rejected":
			p.find(Warn, fmt.Sprintf("tenant %s: what is deactivated, deleted or removed is refused since %s, as was decided", g.Tenant, g.Since.UTC().Format("2006-01-02 15:04 UTC")),
				"once its source is right: "+command("rearm"), "")
		case "approved":
			p.find(Warn, fmt.Sprintf("tenant %s: however much is deactivated, deleted or removed is let through until %s", g.Tenant, g.Until.UTC().Format("2006-01-02 15:04 UTC")),
				"nothing, if that is still meant; else "+command("rearm"), "")
		}
	}
	if quiet {
		p.pass("none is held back")
	}
}
