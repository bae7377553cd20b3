package control

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log"
	"log/slog"
	"maps"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"scimbox/activity"
	"scimbox/auth"
	"scimbox/backup"
	"scimbox/storage"
)

// systemTenant is where package storage keeps what belongs to no customer.
const systemTenant = "$system"

// Backend is what the control API works on.
type Backend struct {
	Store   *storage.Store
	Tokens  *auth.Tokens
	Version string        // of this program
	Data    string        // data directory
	TTL     time.Duration // of tokens for which none is named
	Warn    time.Duration // before its expiry from which on a token is reported as expiring
	Clock   func() time.Time
	Logger  *slog.Logger

	// BackupFiles are the files and directories of the data directory that belong into a backup besides the store.
	BackupFiles []string
	// Backups tells of scheduled backups, nil if nobody knows.
	Backups func() backup.State

	// Server tells of the running server, nil if there is none.
	Server func() Server

	// Health says what is wrong with the running server, "" if nothing is; ready asks for more than being alive.
	Health func(ctx context.Context, ready bool) string

	Activity  *activity.Reader // nil tells of nothing
	Resources *Resources
	Guard     *GuardBackend // nil: there is none
	// Console makes a link into the web console, nil if there is none.
	Console func() ConsoleLink
}

func (b *Backend) errorLog() *log.Logger {
	return slog.NewLogLogger(b.Logger.Handler(), slog.LevelWarn)
}

// Origin is in whose name the command line changes something. There is no more to know: whoever may connect to the
// socket could also write the store's files.
var Origin = storage.Origin{Actor: "local"}

type handler struct {
	*Backend
	mux      *http.ServeMux
	stopping context.Context // done when the server is about to stop, and nobody is to be kept from that
}

// NewHandler returns the control API on b.
func NewHandler(b *Backend) http.Handler { return newHandler(context.Background(), b) }

func newHandler(stopping context.Context, b *Backend) http.Handler {
	h := &handler{b, http.NewServeMux(), stopping}
	for pattern, fn := range map[string]func(http.ResponseWriter, *http.Request) error{
		"GET /v1/status":                  h.status,
		"GET /v1/tokens":                  h.listTokens,
		"POST /v1/tokens":                 h.createToken,
		"POST /v1/tokens/{which}/rotate":  h.rotateToken,
		"DELETE /v1/tokens/{which}":       h.revokeToken,
		"POST /v1/rehearsals":             h.rehearse,
		"DELETE /v1/rehearsals/{id}":      h.endRehearsal,
		"GET /v1/clients":                 h.listClients,
		"POST /v1/clients":                h.createClient,
		"POST /v1/clients/{which}/rotate": h.rotateClient,
		"DELETE /v1/clients/{which}":      h.revokeClient,
		"POST /v1/check":                  h.check,
		"GET /v1/profile/{name}":          h.profile,
		"GET /v1/health":                  h.health,
		"POST /v1/backup":                 h.backup,

		"GET /v1/activity":               h.listActivity,
		"GET /v1/activity/follow":        h.followActivity,
		"GET /v1/history/{type}/{which}": h.history,
		"GET /v1/audit":                  h.exportAudit,
		"GET /v1/resources/{type}":       h.listResources,

		"GET /v1/resources/{type}/{which}": h.showResource,
		"GET /v1/members/{type}/{id}":      h.listMembers,
		"POST /v1/console":                 h.consoleLink,
		"GET /v1/guard":                    h.guards,
		"POST /v1/guard/{tenant}":          h.decideGuard,
	} {
		h.mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
			if err := fn(w, r); err != nil {
				h.fail(w, err)
			}
		})
	}
	h.mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		h.fail(w, &Error{NotFound, fmt.Sprintf("the server is version %s and does not know this command; run the scimbox that it was started from", b.Version)})
	})
	return h
}

// ServeHTTP lets nobody in who comes by way of a browser, before it looks at anything else.
func (h *handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Host != host || r.Header.Get("Origin") != "" || r.Header.Get("Referer") != "" || r.Header.Get("Sec-Fetch-Site") != "" {
		http.Error(w, "this is the door of the scimbox command line", http.StatusForbidden)
		return
	}
	w.Header().Set(versionHeader, h.Version)
	h.mux.ServeHTTP(w, r)
}

// statuses are the HTTP statuses of the codes.
var statuses = map[Code]int{Invalid: http.StatusBadRequest, NotFound: http.StatusNotFound, Damaged: http.StatusInternalServerError, Internal: http.StatusInternalServerError}

// explain is the one table from causes to codes.
func explain(err error) *Error {
	var (
		e      *Error
		spec   *auth.SpecError
		lookup *auth.LookupError
	)
	switch {
	case errors.As(err, &e):
		return e
	case explainBackup(err) != nil:
		return explainBackup(err)
	case errors.As(err, &spec):
		return &Error{Invalid, err.Error()}
	case errors.As(err, &lookup) && errors.Is(err, storage.ErrNotFound):
		return &Error{NotFound, err.Error()}
	case errors.As(err, &lookup):
		return &Error{Invalid, err.Error()}
	case IsDamage(err):
		return &Error{Damaged, err.Error()}
	}
	return &Error{Internal, err.Error()}
}

// IsDamage reports whether an error says that stored data are damaged or missing.
func IsDamage(err error) bool {
	var (
		damage *storage.DamageError
		lost   *storage.LostDataError
	)
	return errors.As(err, &damage) || errors.As(err, &lost)
}

func (h *handler) fail(w http.ResponseWriter, err error) {
	e := explain(err)
	if e.Code == Internal || e.Code == Damaged {
		h.Logger.Error("a command failed", "error", err)
	}
	h.answer(w, statuses[e.Code], struct {
		Error *Error `json:"error"`
	}{e})
}

func (h *handler) answer(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	if err := json.NewEncoder(w).Encode(v); err != nil {
		h.Logger.Debug("an answer to the command line was not written", "error", err)
	}
}

func decode(w http.ResponseWriter, r *http.Request, v any) error {
	d := json.NewDecoder(http.MaxBytesReader(w, r.Body, 1<<16))
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		return &Error{Invalid, fmt.Sprintf("the command cannot be read: %v", err)}
	}
	return nil
}

func (h *handler) status(w http.ResponseWriter, r *http.Request) error {
	ctx := r.Context()
	stats, err := h.Store.Stats(ctx)
	if err != nil {
		return fmt.Errorf("reading the counts: %w", err)
	}
	data, err := filepath.Abs(h.Data)
	if err != nil {
		return err
	}
	s := Status{Version: h.Version, Data: data, Tenants: Tenants(stats), JournalSeq: stats.Seq, JournalBegin: stats.First, DiskBytes: stats.DiskSize, FreeBytes: -1, Expiring: []auth.Deadline{}}
	all, err := h.Tokens.List(ctx)
	if err != nil {
		return err
	}
	now := h.Clock()
	for _, t := range all {
		if t.Active(now) {
			s.Tokens++
		}
	}
	expiring, err := h.Tokens.Expiring(ctx, h.Warn)
	if err != nil {
		return err
	}
	s.Expiring = append(s.Expiring, expiring...)
	if free, _, ok := h.Store.Free(); ok {
		s.FreeBytes = free
	}
	if err := h.Store.ReadOnly(); err != nil {
		s.ReadOnly = err.Error()
	}
	if s.Clients, err = h.Contacts(ctx); err != nil {
		return err
	}
	if h.Backups != nil {
		backups := h.Backups()
		s.Backups = &backups
	}
	if h.Guard != nil {
		if s.Guards, err = h.Guard.Status(ctx); err != nil {
			return err
		}
	}
	if h.Server != nil {
		running := h.Server()
		s.Server = &running
	}
	h.answer(w, http.StatusOK, s)
	return nil
}

func (h *handler) health(w http.ResponseWriter, r *http.Request) error {
	var answer struct {
		Wrong string `json:"wrong"`
	}
	if h.Health != nil {
		answer.Wrong = h.Health(r.Context(), r.URL.Query().Get("ready") == "true")
	}
	h.answer(w, http.StatusOK, answer)
	return nil
}

// Tenants returns what tenants hold, in order of their names, without what the house keeps for itself.
func Tenants(stats storage.Stats) []Tenant {
	list := []Tenant{}
	for name, counts := range stats.Counts {
		if name == systemTenant {
			continue
		}
		// What scim keeps for itself, such as hashes of passwords, is of a kind that no resource type can have.
		maps.DeleteFunc(counts, func(kind string, _ int64) bool { return strings.HasPrefix(kind, "$") })
		list = append(list, Tenant{name, counts})
	}
	slices.SortFunc(list, func(a, b Tenant) int { return strings.Compare(a.Name, b.Name) })
	return list
}

func (h *handler) listTokens(w http.ResponseWriter, r *http.Request) error {
	list, err := h.Tokens.List(r.Context())
	if err != nil {
		return err
	}
	if list == nil {
		list = []auth.Token{}
	}
	h.answer(w, http.StatusOK, list)
	return nil
}

func (h *handler) createToken(w http.ResponseWriter, r *http.Request) error {
	var c Create
	if err := decode(w, r, &c); err != nil {
		return err
	}
	if c.TTL == 0 {
		c.TTL = h.TTL
	}
	if err := h.knowsUser(r.Context(), c); err != nil {
		return err
	}
	tok, secret, err := h.Tokens.Create(r.Context(), c.spec(), Origin)
	if err != nil {
		return err
	}
	h.Logger.Info("token created", "token", tok.ID, "name", tok.Name, "tenant", tok.Tenant, "scope", tok.Scope, "expires", tok.Expires)
	h.answer(w, http.StatusCreated, Created{tok, secret.Reveal()})
	return nil
}

// knowsUser refuses a token for a User who is not there: an id that was mistyped would be found out much later, by a client.
func (h *handler) knowsUser(ctx context.Context, c Create) error {
	if c.User == "" {
		return nil
	}
	tenant := cmp.Or(c.Tenant, "default")
	known := false
	err := h.Store.View(ctx, tenant, func(tx *storage.Tx) (err error) {
		known, err = tx.Has("User", c.User)
		return err
	})
	if err == nil && !known {
		return &Error{Invalid, fmt.Sprintf("tenant %s has no User with the id %q; what a User's id is stands in the answer to a query, such as /Users?filter=userName eq \"bjensen\"", tenant, c.User)}
	}
	return err
}

func (h *handler) revokeToken(w http.ResponseWriter, r *http.Request) error {
	tok, err := h.Tokens.Get(r.Context(), r.PathValue("which"))
	if err != nil {
		return err
	}
	if err := h.Tokens.Revoke(r.Context(), tok.ID, Origin); err != nil {
		return err
	}
	h.Logger.Info("token revoked", "token", tok.ID, "name", tok.Name)
	// As it is now, which says when a token was revoked that had been before.
	if tok, err = h.Tokens.Get(r.Context(), tok.ID); err != nil {
		return fmt.Errorf("the change was made, but it cannot be shown: the token is revoked; %w", err)
	}
	h.answer(w, http.StatusOK, tok)
	return nil
}

// event is a line of the answer to a check: how far it is, and at last one of the others.
type event struct {
	Progress *progress `json:"progress,omitempty"`
	Report   *Report   `json:"report,omitempty"`
	Error    *Error    `json:"error,omitempty"`
}

type progress struct {
	Done  int64 `json:"done"`
	Total int64 `json:"total"`
}

const progressEvery = 100 * time.Millisecond

// check answers in lines while it goes on: it takes minutes on a large store, and ends when the client goes away.
func (h *handler) check(w http.ResponseWriter, r *http.Request) error {
	var ask struct {
		Repair bool `json:"repair"`
	}
	if err := decode(w, r, &ask); err != nil {
		return err
	}
	w.Header().Set("Content-Type", "application/x-ndjson")
	out, flush := json.NewEncoder(w), http.NewResponseController(w)
	say := func(e event) {
		if err := errors.Join(out.Encode(e), flush.Flush()); err != nil {
			h.Logger.Debug("an answer to the command line was not written", "error", err)
		}
	}
	var last time.Time
	found, err := h.Store.Check(r.Context(), storage.CheckOptions{Repair: ask.Repair, Progress: func(done, total int64) {
		if now := time.Now(); now.Sub(last) >= progressEvery {
			last = now
			say(event{Progress: &progress{done, total}})
		}
	}})
	switch {
	case errors.Is(err, context.Canceled) && r.Context().Err() != nil:
		return nil // nobody listens any more
	case err != nil:
		h.Logger.Error("a check failed", "error", err)
		say(event{Error: explain(err)})
		return nil
	}
	report := newReport(found, ask.Repair)
	h.Logger.Info("store checked", "findings", len(report.Findings), "left", report.Left(), "repair", ask.Repair)
	say(event{Report: report})
	return nil
}
