// Package metrics counts what a server does, and shows it to Prometheus.
//
//	metrics.go    Metrics: what is counted while it happens, and the handler that shows all
//	operation.go  Operation: what a request asks for, of a list that clients cannot lengthen
//	state.go      State: what is looked at when somebody asks, and how it is shown
//
// What it shows has no personal data in it, and clients cannot make it grow: labels are names that an operator has given or that
// are written here (docs/decisions/0080-what-is-measured.md). docs/metrics.md is the list of all.
package metrics

import (
	"context"
	"log/slog"
	"net/http"
	"runtime"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"scimbox/storage"
)

const (
	// Path is where they are shown.
	Path = "/metrics"

	namespace = "scimbox"
	// scrapes is how many are answered at the same time. Each reads the counts of the store.
	scrapes = 4
	// patience is what one may take: Prometheus gives up after 10 seconds if it is told nothing else.
	patience = 10 * time.Second
)

// seconds are the buckets of times: from an answer out of memory to a disk that hangs.
var seconds = []float64{.0001, .00025, .0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10}

// together are the buckets of how many share a commit, up to the most that can.
var together = prometheus.ExponentialBuckets(1, 2, 8)

// Refusal is why somebody was not let in.
type Refusal string

// The refusals.
const (
	Without Refusal = "none"    // no credentials at all
	Wrong   Refusal = "wrong"   // a token or secret that is not known, or has ended
	Limited Refusal = "limited" // too many wrong ones before
)

// Rate is a limit of requests a second, by its key in the configuration.
type Rate string

// The rates.
const (
	PerToken   Rate = "requests_per_token"
	PerAddress Rate = "requests_per_address"
)

// Options say what is shown of a server besides what it counts.
type Options struct {
	Version string                           // of this program
	State   func(ctx context.Context) *State // what is asked of the rest of the house
	Logger  *slog.Logger
}

// Metrics are the figures of one server. The methods that count do nothing on nil.
type Metrics struct {
	registry *prometheus.Registry
	log      *slog.Logger

	requests [operations][statuses]atomic.Pointer[counter]
	counts   *prometheus.CounterVec
	took     [operations]prometheus.Observer
	inFlight prometheus.Gauge
	failures map[Refusal]prometheus.Counter
	exceeded map[Rate]prometheus.Counter

	commits    prometheus.Observer
	operations prometheus.Observer
	failed     prometheus.Counter
}

// counter has a name because an interface cannot be kept in an atomic.Pointer.
type counter struct{ prometheus.Counter }

// statuses are the codes that are told apart: those of three digits, and 0 for what is none.
const statuses = 600

// New returns the metrics of a server, which are all 0.
func New(o Options) *Metrics {
	m := &Metrics{registry: prometheus.NewRegistry(), log: o.Logger, failures: map[Refusal]prometheus.Counter{}, exceeded: map[Rate]prometheus.Counter{}}
	if m.log == nil {
		m.log = slog.New(slog.DiscardHandler)
	}
	opts := func(name, help string) prometheus.Opts {
		return prometheus.Opts{Namespace: namespace, Name: name, Help: help}
	}
	histogram := func(name, help string, buckets []float64) prometheus.HistogramOpts {
		return prometheus.HistogramOpts{Namespace: namespace, Name: name, Help: help, Buckets: buckets}
	}

	m.counts = prometheus.NewCounterVec(prometheus.CounterOpts(opts("requests_total", "Requests that were answered, by what they asked for and the status.")), []string{"operation", "code"})
	took := prometheus.NewHistogramVec(histogram("request_duration_seconds", "Time from the headers of a request to the end of its answer.", seconds), []string{"operation"})
	for op, name := range operationNames {
		m.took[op] = took.WithLabelValues(name)
	}
	m.inFlight = prometheus.NewGauge(prometheus.GaugeOpts(opts("requests_in_flight", "Requests that are being answered.")))
	failures := prometheus.NewCounterVec(prometheus.CounterOpts(opts("authentication_failures_total", "Requests that nobody was let in with, by reason: none, wrong or limited.")), []string{"reason"})
	for _, r := range []Refusal{Without, Wrong, Limited} {
		m.failures[r] = failures.WithLabelValues(string(r))
	}
	exceeded := prometheus.NewCounterVec(prometheus.CounterOpts(opts("rate_limited_total", "Requests that were refused because there were too many in a second, by the limit.")), []string{"limit"})
	for _, r := range []Rate{PerToken, PerAddress} {
		m.exceeded[r] = exceeded.WithLabelValues(string(r))
	}
	commits := prometheus.NewHistogram(histogram("commit_duration_seconds", "Time from the beginning of a commit until it is durable.", seconds))
	shared := prometheus.NewHistogram(histogram("commit_operations", "Changes that shared a commit.", together))
	m.failed = prometheus.NewCounter(prometheus.CounterOpts(opts("commit_failures_total", "Commits that failed.")))
	m.commits, m.operations = commits, shared

	build := prometheus.NewGauge(prometheus.GaugeOpts{
		Namespace: namespace, Name: "build_info", Help: "Always 1; the labels say which program it is.",
		ConstLabels: prometheus.Labels{"version": o.Version, "goversion": runtime.Version()},
	})
	build.Set(1)
	m.registry.MustRegister(
		m.counts, took, m.inFlight, failures, exceeded, commits, shared, m.failed, build, &house{look: o.State},
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
	)
	return m
}

// Begin counts a request that has come; Done counts it when it is answered.
func (m *Metrics) Begin() {
	if m != nil {
		m.inFlight.Inc()
	}
}

// Done counts a request that was answered.
func (m *Metrics) Done(op Operation, status int, took time.Duration) {
	if m == nil {
		return
	}
	m.inFlight.Dec()
	m.took[op].Observe(took.Seconds())
	if status < 100 || status >= statuses {
		status = 0
	}
	// Looking for a counter by its labels takes as long as all the rest together.
	slot := &m.requests[op][status]
	c := slot.Load()
	if c == nil {
		c = &counter{m.counts.WithLabelValues(operationNames[op], strconv.Itoa(status))}
		slot.Store(c)
	}
	c.Inc()
}

// Refused counts a request that nobody was let in with.
func (m *Metrics) Refused(why Refusal) {
	if m != nil {
		m.failures[why].Inc()
	}
}

// Exceeded counts a request that was one too many.
func (m *Metrics) Exceeded(limit Rate) {
	if c := m.exceeded[limit]; c != nil {
		c.Inc()
	}
}

// Commit counts a commit of the store.
func (m *Metrics) Commit(c storage.Commit) {
	switch {
	case m == nil:
	case c.Failed:
		m.failed.Inc()
	default:
		m.commits.Observe(c.Took.Seconds())
		m.operations.Observe(float64(c.Operations))
	}
}

// Handler shows all of them at Path, and nothing else anywhere.
func (m *Metrics) Handler() http.Handler {
	show := promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{
		ErrorLog: complaints{m.log}, ErrorHandling: promhttp.ContinueOnError, MaxRequestsInFlight: scrapes, Timeout: patience,
	})
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Content-Type-Options", "nosniff")
		w.Header().Set("Cache-Control", "no-store")
		switch {
		case r.URL.Path != Path:
			http.Error(w, "404: nothing is here. The metrics are at "+Path, http.StatusNotFound)
		case r.Method != http.MethodGet && r.Method != http.MethodHead:
			w.Header().Set("Allow", "GET, HEAD")
			http.Error(w, "405: only GET and HEAD are possible here", http.StatusMethodNotAllowed)
		default:
			show.ServeHTTP(w, r)
		}
	})
}

// complaints is the log for package promhttp.
type complaints struct{ log *slog.Logger }

// Println implements promhttp.Logger.
func (c complaints) Println(v ...any) { c.log.Error("metrics could not be shown", "error", v) }
