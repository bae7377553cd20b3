// Package config reads what an operator has decided: one TOML file, environment variables and command line flags, over
// defaults in code.
//
//	config.go    Config, its keys, units and defaults
//	units.go     Duration and Size, written with their unit
//	secret.go    Secret, which is printed nowhere
//	tls.go       TLS, and whether there can be a certificate
//	list.go      List, and the networks that one names
//	load.go      Load: defaults < file < environment < flags, where each value came from
//	file.go      TOML with the line and column of every problem
//	problem.go   Problem, and the list of all of them
//	nearest.go   what was meant by a key that does not exist
//	validate.go  what a value may be
//
// A start with wrong configuration is refused before anything is created, and all that is wrong is said at once.
package config

import "time"

// Config is the whole configuration. The toml tags are the keys; the environment variable of a key is SCIMBOX_ and its
// path in capitals, with _ between the parts. config.example.toml says for the operator what the comments here say.
type Config struct {
	// Hostname is the name that clients know this server by. It makes the server speak TLS, on port 443 unless Listen says another
	// address, and PublicURL https:// and the name; "" = plain HTTP.
	Hostname string `toml:"hostname"`
	// Listen is the address that clients connect to, host:port. Port 0 takes any that is free.
	Listen string `toml:"listen"`
	// Data is the data directory. A relative path counts from the directory of the file that says it, from the
	// working directory if it comes from anywhere else.
	Data string `toml:"data"`
	// PublicURL is the scheme and host that clients know this server by, such as https://scim.example.com. It goes into
	// the locations of resources; "" takes them from each request.
	PublicURL string `toml:"public_url"`
	// AllowPlainHTTP permits an address that is not loopback although tokens then cross the network in clear.
	AllowPlainHTTP bool `toml:"allow_plain_http"`
	// TrustedProxies are the addresses and networks of proxies in front: what they say of a client's address, scheme and host
	// is believed, and plain HTTP from them is accepted.
	TrustedProxies List `toml:"trusted_proxies"`

	SCIM    SCIM    `toml:"scim"`
	Storage Storage `toml:"storage"`
	Journal Journal `toml:"journal"`
	Backup  Backup  `toml:"backup"`
	TLS     TLS     `toml:"tls"`
	Limits  Limits  `toml:"limits"`
	Guard   Guard   `toml:"guard"`
	Tokens  Tokens  `toml:"tokens"`
	Console Console `toml:"console"`
	Metrics Metrics `toml:"metrics"`
	Log     Log     `toml:"log"`

	Activity Activity `toml:"activity"`
}

// Activity is what is kept of refused requests.
type Activity struct {
	Keep    Duration `toml:"keep"`     // how long; 0s = none are kept
	MaxSize Size     `toml:"max_size"` // of all of them
	Body    Size     `toml:"body"`     // of each request and answer; 0B = none is kept
	Mask    List     `toml:"mask"`     // attributes whose values are not kept
}

// Storage is what the store needs of the machine.
type Storage struct {
	MinFree Size `toml:"min_free"` // room on the disk below which no changes are taken; 0B = whatever there is
}

// SCIM is how the protocol is spoken. The words of scim.Options.
type SCIM struct {
	Strict            bool     `toml:"strict"`              // the RFCs to the letter for every client
	Password          string   `toml:"password"`            // "hash" or "refuse"
	GroupNames        string   `toml:"group_names"`         // "unique" or "free"
	UnknownMembers    string   `toml:"unknown_members"`     // "keep" or "refuse"
	SingleReplaceAdds bool     `toml:"single_replace_adds"` // replacing members by exactly one adds it
	DefaultResults    int      `toml:"default_results"`     // resources on a page when the client names no count
	MaxResults        int      `toml:"max_results"`         // resources on a page at most
	MaxScan           int      `toml:"max_scan"`            // resources that one query may examine
	CursorTimeout     Duration `toml:"cursor_timeout"`      // how long a cursor lives at least
	Schemas           string   `toml:"schemas"`             // file of custom schemas and resource types, "" for none; relative as Data
}

// Journal is how much is kept of what was changed, by whom and when.
type Journal struct {
	Keep    Duration `toml:"keep"`     // how old an entry may be; 0s = as old as it likes
	MaxSize Size     `toml:"max_size"` // of all entries, as they are written; 0B = any
}

// Backup is what backups are made by themselves.
type Backup struct {
	Every     Duration `toml:"every"`     // 0s = never
	Keep      int      `toml:"keep"`      // how many are kept
	Dir       string   `toml:"dir"`       // directory for them alone, "" for "backups" in the data directory; relative as Data
	Recipient string   `toml:"recipient"` // public key of age of who can read them, "" for everybody who can read the files
}

// Limits are what one client can ask of the server.
type Limits struct {
	Body           Size     `toml:"body"`            // of a request that is not a bulk request
	BulkBody       Size     `toml:"bulk_body"`       // of a bulk request
	BulkOperations int      `toml:"bulk_operations"` // in one bulk request
	Header         Size     `toml:"header"`          // of all headers of a request, the request line included
	HeaderTimeout  Duration `toml:"header_timeout"`  // from the first byte of a request to the end of its headers
	RequestTimeout Duration `toml:"request_timeout"` // from there to the end of the body, and of the work
	IdleTimeout    Duration `toml:"idle_timeout"`    // between two requests on one connection
	Connections    int      `toml:"connections"`     // open at once, to all listeners together

	ConnectionsPerAddress int `toml:"connections_per_address"` // of them from one address (IPv6: /64) that is no proxy of ours
	Streams               int `toml:"streams"`                 // requests at once on one connection of HTTP/2

	// Requests a second, on the average, and how many of them at once after a rest; 0 = any.
	RequestsPerToken   int `toml:"requests_per_token"`
	BurstPerToken      int `toml:"burst_per_token"`
	RequestsPerAddress int `toml:"requests_per_address"` // of one address (IPv6: /64) that is no proxy of ours
	BurstPerAddress    int `toml:"burst_per_address"`
}

// Guard is how much may be taken away before somebody is asked: users deactivated, resources deleted, members removed.
type Guard struct {
	Enabled    bool     `toml:"enabled"`
	MaxChanges int      `toml:"max_changes"` // in a window; 0 = any
	MaxPercent int      `toml:"max_percent"` // of the tenant's users, in a window; 0 = any
	Window     Duration `toml:"window"`
}

// Tokens is the life of tokens.
type Tokens struct {
	Lifetime   Duration `toml:"lifetime"`    // of a token for which none is named
	WarnBefore Times    `toml:"warn_before"` // times before its expiry at which a token is complained about, once each; none = never
}

// Console is the web console.
type Console struct {
	Enabled bool   `toml:"enabled"`
	Listen  string `toml:"listen"` // an address of its own, host:port; "" = beside SCIM
}

// Metrics is what is shown to Prometheus.
type Metrics struct {
	Listen string `toml:"listen"` // an address of its own, host:port; "" = nothing is measured
}

// Log is what is written to standard error.
type Log struct {
	Level  string `toml:"level"`  // "debug", "info", "warn" or "error"
	Format string `toml:"format"` // "auto" is text on a terminal and JSON elsewhere; "text", "json"
}

// Default returns the configuration of a start without any.
func Default() Config {
	return Config{
		Listen: "127.0.0.1:8080",
		Data:   "./scimbox-data",

		TrustedProxies: List{},
		SCIM: SCIM{
			Password:       "hash",
			GroupNames:     "unique",
			UnknownMembers: "keep",
			DefaultResults: 100,
			MaxResults:     1000,
			MaxScan:        100_000,
			CursorTimeout:  Duration{time.Hour},
		},
		Storage: Storage{MinFree: Size{352 << 20}},
		Journal: Journal{MaxSize: Size{1 << 30}},
		Backup:  Backup{Every: Duration{day}, Keep: 7},
		TLS:     defaultTLS(),
		Limits: Limits{
			Body:           Size{1 << 20},
			BulkBody:       Size{1 << 20},
			BulkOperations: 1000,
			Header:         Size{16 << 10},
			HeaderTimeout:  Duration{5 * time.Second},
			RequestTimeout: Duration{time.Minute},
			IdleTimeout:    Duration{2 * time.Minute},
			Connections:    4096,

			ConnectionsPerAddress: 256,
			Streams:               100,

			RequestsPerToken:   500,
			BurstPerToken:      1000,
			RequestsPerAddress: 1000,
			BurstPerAddress:    2000,
		},
		Guard: Guard{MaxChanges: 500, MaxPercent: 25, Window: Duration{time.Hour}},
		Tokens: Tokens{
			Lifetime:   Duration{180 * day},
			WarnBefore: Times{{30 * day}, {7 * day}, {day}},
		},
		Console: Console{Enabled: true},
		Log:     Log{Level: "info", Format: "auto"},

		Activity: Activity{Keep: Duration{30 * day}, MaxSize: Size{64 << 20}, Body: Size{8 << 10}, Mask: List{}},
	}
}
