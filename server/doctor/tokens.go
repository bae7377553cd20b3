package doctor

import (
	"context"
	"fmt"
	"slices"
	"time"

	"scimbox/server/control"
)

// soon is how long before its end a token is spoken of: replacing one in Entra takes a person.
const soon = 30 * day

// tokens looks for clients that cannot get in, or will not for long.
func (p *patient) tokens(ctx context.Context) {
	if p.status == nil {
		return
	}
	ctx, cancel := p.limited(ctx)
	defer cancel()
	all, err := p.Client.Tokens(ctx)
	if err != nil {
		p.find(Fail, fmt.Sprintf("the tokens cannot be listed: %v", err), "scimbox check says what is wrong with the store", "")
		return
	}
	now := p.Clock()
	writers := 0
	for _, t := range all {
		if t.Active(now) && t.Scope.CanWrite() {
			writers++
		}
	}
	if writers == 0 {
		p.find(Fail, "there is no token in force that may write", p.Program+" token create --name entra --scope write --preset entra", SecretToken)
		return
	}
	quiet := true
	for _, t := range all {
		switch {
		case !t.Revoked.IsZero() || t.Successor != "":
			// Somebody has seen to it.
		case t.Active(now) && t.Expires.Sub(now) < soon:
			quiet = false
			p.find(Warn, fmt.Sprintf("token %s (%s) ends on %s, in %d days", t.Name, t.ID, t.Expires.UTC().Format("2006-01-02"), int(t.Expires.Sub(now)/day)),
				fmt.Sprintf("%s token rotate %s, and give the client the new one", p.Program, t.ID), SecretToken)
		case !t.Active(now) && lately(t, now) && !slices.ContainsFunc(all, func(o control.Token) bool { return o.Tenant == t.Tenant && o.Scope == t.Scope && o.Active(now) }):
			quiet = false
			p.find(Fail, fmt.Sprintf("token %s (%s) has expired on %s, was in use, and tenant %s has no other", t.Name, t.ID, t.Expires.UTC().Format("2006-01-02"), t.Tenant),
				fmt.Sprintf("%s token create --name %q --scope %s --tenant %s, and give it to the client", p.Program, t.Name, t.Scope, t.Tenant), SecretToken)
		}
	}
	if quiet {
		p.pass(fmt.Sprintf("%d in force that may write, none ends within %d days", writers, int(soon/day)))
	}
}

// lately reports whether a token was in use until its end, and that is not long ago.
func lately(t control.Token, now time.Time) bool {
	return !t.LastUsed.IsZero() && t.Expires.Sub(t.LastUsed) < 7*day && now.Sub(t.Expires) < 3*soon
}
