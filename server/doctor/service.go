package doctor

import (
	"context"
	"fmt"
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
