// Package bench measures scimbox on the machine that it is to serve on: a scratch server in a process of its own, driven over
// HTTP, and beside each result the limit that the same machine has for the same work, measured in the same run.
//
//	bench.go      Options, Report, Run: the order of things
//	scenario.go   what is measured, one function each, and its goal
//	growth.go     of these, what is to cost the same however many users there are, beside a server with few
//	inside.go     what is measured without a server: a slow disk, the check of a token
//	limit.go      what the machine could do at best
//	child.go      the process that is measured: start, stop, memory
//	load.go       connections that send requests one after the other, and how long each took
//	people.go     users and groups as a provisioning client sends them
//
// Figures are worth something as ratios of one run: client, server and limit share the processors.
package bench

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"time"
)

// Options say how much is measured.
type Options struct {
	Users    int           // in the store while most is measured; 1,000 at least
	Conns    int           // connections for every scenario; 0 = what each scenario says
	Duration time.Duration // of each scenario
	Dir      string        // scratch directory is made in here; "" = the system's place for temporary files
	Program  string        // path of the scimbox that is measured
	Version  string        // of it

	// Progress is told what is being done, and how much of all has been done, 0 to 1. nil = nobody.
	Progress func(what string, done float64)
}

// Report is what was measured.
type Report struct {
	Version    string    `json:"version"`
	Time       time.Time `json:"time"`
	System     string    `json:"system"` // "linux/amd64"
	Processors int       `json:"processors"`
	Users      int       `json:"users"`
	Seconds    float64   `json:"seconds"` // of each scenario
	Results    []Result  `json:"results"` // in the order of measurement
	Serves     Serves    `json:"serves"`
}

// Result is one row of the table.
type Result struct {
	Name      string        `json:"name"`
	Conns     int           `json:"conns,omitempty"`
	PerSecond float64       `json:"perSecond,omitempty"` // operations; 0 where something else is measured
	P50       time.Duration `json:"p50,omitempty"`       // nanoseconds
	P99       time.Duration `json:"p99,omitempty"`
	Memory    int64         `json:"memory,omitempty"` // bytes of the server at its peak, file pages left out; 0 = not known here
	Value     string        `json:"value,omitempty"`  // what was measured if it is no rate: "212 MB"
	Limit     string        `json:"limit,omitempty"`  // what it is compared with, and its figure
	Ratio     float64       `json:"ratio,omitempty"`  // of the result and the limit
	Lower     bool          `json:"lower,omitempty"`  // whether a lower ratio is the better one
	Goal      string        `json:"goal,omitempty"`   // what was aimed at
	Met       bool          `json:"met"`              // true also where there is no goal
}

// Worse is a ratio that has got worse.
type Worse struct {
	Name     string
	Was, Now float64 // Now is 0 if it was not measured
}

// Compare returns what is worse in r than it was in an earlier report with as many users, by more than the part of it that is
// tolerated: 0.25 is a quarter. Ratios alone are compared; how fast two machines are says nothing of the program. One that says
// that something does not grow is worse only if it misses its goal too: between 0.8 and 1 there is nothing but chance. What is not
// measured any more is worse.
func (r *Report) Compare(earlier *Report, tolerated float64) (worse []Worse) {
	for _, was := range earlier.Results {
		if was.Ratio == 0 {
			continue
		}
		i := slices.IndexFunc(r.Results, func(x Result) bool { return x.Name == was.Name })
		if i < 0 {
			worse = append(worse, Worse{was.Name, was.Ratio, 0})
			continue
		}
		now := r.Results[i]
		if !now.Lower && now.Ratio < was.Ratio*(1-tolerated) || now.Lower && now.Ratio > was.Ratio*(1+tolerated) && !now.Met {
			worse = append(worse, Worse{was.Name, was.Ratio, now.Ratio})
		}
	}
	return worse
}

// Serves is what it comes down to for an operator.
type Serves struct {
	Users     int     `json:"users"`     // measured with
	GroupSize int     `json:"groupSize"` // of the largest group that was changed
	PerSecond float64 `json:"perSecond"` // requests of the mix that a provisioning cycle of Entra is
}

// entraRate is how many requests a second Entra sends to one application (CLIENTS.md; Microsoft's guide asks for at least that).
const entraRate = 25

// Times returns how many Entra tenants could send at full speed at the same time.
func (s Serves) Times() float64 { return s.PerSecond / entraRate }

// run is a measurement under way.
type run struct {
	Options
	dir    string
	report *Report
	server *child
	small  *child // with smallStore users, beside it
	steps  int    // of progress
	step   int
}

// Run measures. It takes some minutes and removes what it has made, also when ctx ends early. What was measured until an
// error is in the report that is returned with it.
func Run(ctx context.Context, o Options) (report *Report, err error) {
	if o.Users < leastUsers {
		return nil, fmt.Errorf("%d users are too few to measure with; there must be %d", o.Users, leastUsers)
	}
	if o.Progress == nil {
		o.Progress = func(string, float64) {}
	}
	dir, err := os.MkdirTemp(o.Dir, "scimbox-bench-")
	if err != nil {
		return nil, err
	}
	r := &run{Options: o, dir: dir, report: &Report{
		Version: o.Version, Time: time.Now().UTC().Truncate(time.Second), System: runtime.GOOS + "/" + runtime.GOARCH,
		Processors: runtime.NumCPU(), Users: o.Users, Seconds: o.Duration.Seconds(),
	}}
	defer func() {
		for _, c := range []*child{r.server, r.small} {
			if c != nil {
				err = errors.Join(err, c.kill())
			}
		}
		err = errors.Join(err, os.RemoveAll(dir))
	}()
	r.steps = len(scenarios)
	for _, s := range scenarios {
		o.Progress(s.name, float64(r.step)/float64(r.steps))
		if r.server != nil {
			r.server.peak() // what was before is another scenario's
		}
		if err := s.measure(ctx, r); err != nil {
			return r.report, fmt.Errorf("%s: %w", s.name, err)
		}
		r.step++
		if err := r.settle(ctx); err != nil {
			return r.report, err
		}
	}
	o.Progress("done", 1)
	return r.report, nil
}

// settle waits until what a scenario has left to be merged is merged, so that the next one is measured for itself, and says in the table
// how long that took.
func (r *run) settle(ctx context.Context) error {
	if r.server == nil {
		return nil
	}
	took, err := r.server.settle(ctx)
	if err == nil && took >= time.Second {
		r.add(Result{Name: "until that was merged", Value: took.Round(100 * time.Millisecond).String()})
	}
	return err
}

// part tells how far the scenario under way is.
func (r *run) part(what string, done float64) {
	r.Progress(what, (float64(r.step)+done)/float64(r.steps))
}

func (r *run) add(x Result) {
	if x.Goal == "" {
		x.Met = true
	}
	r.report.Results = append(r.report.Results, x)
}

func (r *run) conns(usual int) int {
	if r.Conns > 0 {
		return r.Conns
	}
	return usual
}

// start starts the server on the data directory of that name.
func (r *run) start(ctx context.Context, name string) (err error) {
	r.server, err = startServer(ctx, r.Program, r.Version, filepath.Join(r.dir, name))
	return err
}

// stop ends the server in order.
func (r *run) stop() error {
	c := r.server
	r.server = nil
	if c == nil {
		return nil
	}
	return c.stop()
}
