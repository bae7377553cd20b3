// Package control is how the command line talks to the house: one small API, two doors.
//
//	control.go   what is asked and answered: Status, Created, Report, Error
//	handler.go   the side that answers, on a Backend
//	rotate.go    both sides of the rotation of tokens
//	rehearsal.go both sides of a token that a command makes for a moment, to be a client itself
//	clients.go   both sides of what is asked about OAuth clients
//	console.go   links into the web console
//	client.go    the side that asks
//	activity.go  resources.go  audit.go   both sides of what was done, of resources, and of the journal for auditors
//	backup.go    a backup on its way from one side to the other
//	socket.go    the door of a running server: a unix socket in the data directory
//	guard.go     both sides of the guard against mass changes
//	profile.go   what a server spends its time and memory on
//	local.go     the door without one: an in-memory listener in front of a store that the command has opened itself
//
// Commands are written once, against Client, and do not know which door they came through. The API is HTTP with JSON, for
// the two of them alone: it may change with every version, which both sides name in the header Scimbox-Version.
package control

import (
	"time"

	"scimbox/auth"
)

const (
	// SocketName is the file of the control socket in the data directory.
	SocketName = "control.sock"

	host          = "scimbox.control" // nothing that a browser could be made to ask for
	versionHeader = "Scimbox-Version"
)

// Status is what there is to know at a glance. What only a running server knows is in Server.
type Status struct {
	Version      string          `json:"version"`          // of the program that answers
	Data         string          `json:"data"`             // absolute path of the data directory
	Server       *Server         `json:"server,omitempty"` // nil if none runs and the command looks into the store itself
	Tenants      []Tenant        `json:"tenants"`          // in order of name; those that hold, or ever held, a resource
	JournalSeq   uint64          `json:"journalSeq"`       // sequence of the latest change
	JournalBegin uint64          `json:"journalBegin"`     // sequence of the first change that the journal still has
	DiskBytes    int64           `json:"diskBytes"`        // size of the store
	Tokens       int             `json:"tokens"`           // in force
	Expiring     []auth.Deadline `json:"expiring"`         // those of them, and of the secrets of OAuth clients, that end soon, the next one first

	Clients   []ClientContact `json:"clients"`           // when each was here last, the latest first
	FreeBytes int64           `json:"freeBytes"`         // room on the disk of the data directory; -1 if nobody looks
	ReadOnly  string          `json:"readOnly"`          // why changes are refused at the moment, "" if they are taken
	Backups   *Backups        `json:"backups,omitempty"` // made by the clock
	Guards    []Guard         `json:"guards,omitempty"`  // against mass changes, one for each tenant; none if it is off
}

// Server is what a running server says of itself.
type Server struct {
	PID       int       `json:"pid"`
	Started   time.Time `json:"started"`
	Listen    string    `json:"listen"`    // address that it listens on
	TenantURL string    `json:"tenantURL"` // what clients are configured with
	Strict    bool      `json:"strict"`

	MetricsURL string `json:"metricsURL,omitempty"` // where Prometheus finds the metrics, "" if nothing is measured

	// UnknownAttributes counts what clients have sent since the start and no schema has.
	UnknownAttributes map[string]int64 `json:"unknownAttributes"`

	Certificates []Certificate `json:"certificates,omitempty"` // none if it speaks plain HTTP
}

// Certificate is what clients see when they connect. Without one the times are zero, and Problem says why.
type Certificate struct {
	Mode      string    `json:"mode"` // "acme", "files", "self-signed"
	Names     []string  `json:"names"`
	Issuer    string    `json:"issuer,omitempty"`
	NotBefore time.Time `json:"notBefore,omitzero"`
	NotAfter  time.Time `json:"notAfter,omitzero"`
	DaysLeft  int       `json:"daysLeft"`          // whole days
	Problem   string    `json:"problem,omitempty"` // what is to be seen to, "" for nothing
}

// Tenant is how much a tenant holds.
type Tenant struct {
	Name      string           `json:"name"`
	Resources map[string]int64 `json:"resources"` // number by resource type: "User", "Group"
}

// Deadline is the end of a token or of a client's secret.
type Deadline = auth.Deadline

// Token is what is known of a token besides its secret.
type Token = auth.Token

// Scope is what a token may do.
type Scope = auth.Scope

// Names are names with commas between.
type Names = auth.Names

// Create asks for a token. TTL 0 is the lifetime of the configuration.
type Create struct {
	Name   string        `json:"name"`
	Tenant string        `json:"tenant"`
	Scope  auth.Scope    `json:"scope"`
	TTL    time.Duration `json:"ttl"` // nanoseconds
	Preset string        `json:"preset"`
	User   string        `json:"user"` // id of the User that /Me stands for, "" for none

	// Types and Attributes limit what is shown; "" is everything.
	Types      auth.Names `json:"types,omitempty"`
	Attributes auth.Names `json:"attributes,omitempty"`
}

func (c Create) spec() auth.Spec {
	return auth.Spec{Name: c.Name, Tenant: c.Tenant, Scope: c.Scope, TTL: c.TTL, Preset: c.Preset, User: c.User, Types: c.Types, Attributes: c.Attributes}
}

// CheckClient is Check for a client (CreateClient).
func (c Create) CheckClient(validPreset func(name string) error) error {
	if err := c.spec().CheckClient(validPreset); err != nil {
		return explain(err)
	}
	return nil
}

// Check returns the error that CreateToken would be answered with if the token cannot be, so that no store is made for it.
func (c Create) Check(validPreset func(name string) error) error {
	if err := c.spec().Check(validPreset); err != nil {
		return explain(err)
	}
	return nil
}

// Created is a new token, with the plain text that cannot be had again. It must be neither logged nor kept.
type Created struct {
	auth.Token
	Secret string `json:"secret"`
}

// Report is what an examination of the store has found.
type Report struct {
	Examined int64     `json:"examined"` // rows
	Findings []Finding `json:"findings"`
	More     int64     `json:"more"`     // findings beyond those, which were neither listed nor repaired
	Repaired bool      `json:"repaired"` // whether repair was asked for
}

// Finding is one thing that is wrong in the store.
type Finding struct {
	Kind     string `json:"kind"`
	Where    string `json:"where"`
	Text     string `json:"text"`
	Repaired bool   `json:"repaired"`
}

// Left returns how many findings have not been repaired.
func (r *Report) Left() int64 {
	n := r.More
	for _, f := range r.Findings {
		if !f.Repaired {
			n++
		}
	}
	return n
}

// Code says what kind of failure an Error is; the command line makes its exit code of it.
type Code string

// The codes.
const (
	Invalid  Code = "invalid"   // what was asked for cannot be
	NotFound Code = "not_found" // there is no such thing
	Damaged  Code = "damaged"   // the store is damaged; scimbox check says how
	Internal Code = "internal"  // everything else
)

// Error is an answer that is not a success. The message is for an operator and hides nothing but secrets.
type Error struct {
	Code    Code   `json:"code"`
	Message string `json:"message"`
}

func (e *Error) Error() string { return e.Message }
