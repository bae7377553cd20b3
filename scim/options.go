package scim

import (
	"context"
	"log/slog"
	"net/http"
	"time"
)

// BasePath is the path that every SCIM endpoint is found below. The version segment stands directly before the endpoint
// (RFC 7644 section 3.13).
const BasePath = "/scim/v2"

// Options are the choices that an operator makes for all clients; the zero value of a field means its default.
type Options struct {
	Strict            bool          // the RFCs to the letter for every client: presets are off
	Password          string        // what becomes of User.password: "hash" (default) keeps a hash, "refuse" answers 400
	GroupNames        string        // "unique" (default): a second group of a displayName is 409; "free": as RFC 7643 permits
	UnknownMembers    string        // "keep" (default) members that no resource has the id of, or "refuse" them with 400
	SingleReplaceAdds bool          // a replace of a group's members by exactly one value adds it instead
	DefaultResults    int           // resources on a page when the client names no count; 100
	MaxResults        int           // resources on a page at most; 1000
	MaxScan           int           // resources that one query may examine before it is refused as tooMany; 100,000
	CursorTimeout     time.Duration // how long a cursor lives at least; 1 h
	BulkMaxOperations int           // operations in a bulk request at most; 1000
	BulkMaxPayload    int64         // size of a bulk request in bytes; 1 MiB
	MaxBody           int64         // size of any other request body in bytes; 1 MiB
	PublicURL         string        // scheme and host that clients know this server by; "" takes them from each request
	TokenEndpoint     string        // path of the OAuth token endpoint beside SCIM, for /ServiceProviderConfig; "" is none
	Guard             GuardOptions  // against mass changes
	Clock             func() time.Time
	Logger            *slog.Logger

	// Base returns the scheme and host of a request behind proxies, without PublicURL. nil = what the connection says.
	Base func(*http.Request) (scheme, host string)
	// Caller returns who sends a request. One that it does not know is that of the Caller in its context. nil = it knows none.
	Caller func(*http.Request) (Caller, bool)

	changeWork int // steps that the changes of one request may take; see work.go
	shareAfter int // records that one goroutine reads before another helps; see scan.go
}

func (o Options) withDefaults() Options {
	positive := func(n *int, byDefault int) {
		if *n <= 0 {
			*n = byDefault
		}
	}
	bytes := func(n *int64, byDefault int64) {
		if *n <= 0 {
			*n = byDefault
		}
	}
	positive(&o.MaxResults, 1000)
	positive(&o.DefaultResults, 100)
	o.DefaultResults = min(o.DefaultResults, o.MaxResults)
	positive(&o.MaxScan, 100_000)
	positive(&o.changeWork, changeWork)
	positive(&o.shareAfter, shareAfter)
	positive(&o.BulkMaxOperations, 1000)
	bytes(&o.BulkMaxPayload, 1<<20)
	bytes(&o.MaxBody, 1<<20)
	if o.CursorTimeout <= 0 {
		o.CursorTimeout = time.Hour
	}
	if o.Password == "" {
		o.Password = "hash"
	}
	if o.GroupNames == "" {
		o.GroupNames = "unique"
	}
	if o.Strict {
		o.GroupNames = "free"
	}
	if o.UnknownMembers == "" {
		o.UnknownMembers = "keep"
	}
	if o.Clock == nil {
		o.Clock = time.Now
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return o
}

// Caller says who sends a request. Whoever authenticates the request puts it into the request's context.
type Caller struct {
	Tenant   string // whose resources
	Actor    string // id of the token, for the journal
	Client   string // network address, for the journal
	Request  string // request id, for the journal and for error details
	Preset   string // which client's deviations to tolerate; "" is auto
	ReadOnly bool   // may change nothing
	User     string // id of the User that the token is bound to, for /Me; "" for none
	Limit    Limit  // what it may see; the zero value is everything
}

type callerKey struct{}

// WithCaller returns a context that carries c.
func WithCaller(ctx context.Context, c Caller) context.Context {
	return context.WithValue(ctx, callerKey{}, c)
}

func callerOf(ctx context.Context) (Caller, bool) {
	c, ok := ctx.Value(callerKey{}).(Caller)
	return c, ok
}
