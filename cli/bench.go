package cli

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"scimbox/bench"
	"scimbox/server/config"
	"scimbox/server/control"
)

func (a *app) newBench() *cobra.Command {
	var (
		o        bench.Options
		duration string
		against  string
	)
	cmd := &cobra.Command{
		Use:   "bench",
		Short: "Measure what this machine can serve",
		Long: `Starts a scratch server on a scratch directory, fills it with users, sends it what identity providers send, and prints
how fast it was: beside each figure the limit that this machine has for the same work, measured at the same time, and
the ratio of the two. The data directory is not touched, nothing is sent to another machine, and everything that was made
is removed.

It takes some minutes with 100,000 users, keeps the machine busy, and needs about 2 KB on disk for each user. Measure on
the disk that is to serve, with --dir. docs/performance.md explains each row.

With --against it compares the ratios with those of an earlier run that --json has written, and exits with 1 if one of
them is more than a quarter worse.`,
		Example: `  scimbox bench
  scimbox bench --users 1000000 --dir /var/lib
  scimbox bench --users 10000 --duration 2s --json >before.json
  scimbox bench --users 10000 --duration 2s --against before.json`,
		Args: cobra.NoArgs,
		RunE: run(func(cmd *cobra.Command, _ []string) error {
			d, err := config.ParseDuration(duration)
			if err == nil && d < 100*time.Millisecond {
				err = fmt.Errorf("%s is too short to measure anything", d)
			}
			if err != nil {
				return &control.Error{Code: control.Invalid, Message: "--duration: " + err.Error()}
			}
			o.Duration, o.Version = d, a.Version
			var earlier *bench.Report
			if against != "" {
				if earlier, err = readReport(against); err != nil {
					return &control.Error{Code: control.Invalid, Message: "--against: " + err.Error()}
				}
				if earlier.Users != o.Users {
					return &control.Error{Code: control.Invalid, Message: fmt.Sprintf("--against: %s was measured with %d users and this is to be with %d; ratios compare only with as many: --users %[2]d", against, earlier.Users, o.Users)}
				}
			}
			if o.Program, err = os.Executable(); err != nil {
				return err
			}
			if isTerminal(a.Stderr) {
				o.Progress = a.benchProgress
			}
			report, err := bench.Run(cmd.Context(), o)
			if isTerminal(a.Stderr) {
				fmt.Fprint(a.Stderr, "\r\x1b[K")
			}
			if report == nil {
				return err
			}
			if a.json {
				err = errors.Join(err, a.printJSON(report))
			} else {
				err = errors.Join(err, a.printBench(report))
			}
			if err != nil || earlier == nil {
				return err
			}
			return compared(report, earlier)
		}),
	}
	f := cmd.Flags()
	f.IntVar(&o.Users, "users", 100_000, "`number` of users in the store")
	f.IntVar(&o.Conns, "conns", 0, "`number` of connections (default: what each row says)")
	f.StringVar(&duration, "duration", "10s", "`time` that each row is measured for")
	f.StringVar(&o.Dir, "dir", "", "`directory` to make the scratch directory in (default: that for temporary files)")
	f.StringVar(&against, "against", "", "`file` with the JSON of an earlier run to compare the ratios with")
	a.jsonFlag(cmd)
	must(cmd.MarkFlagFilename("against", "json"))
	must(cmd.MarkFlagDirname("dir"))
	for _, name := range []string{"users", "conns", "duration"} {
		must(cmd.RegisterFlagCompletionFunc(name, cobra.NoFileCompletions))
	}
	cmd.AddCommand(a.newBenchLimit())
	return cmd
}

func readReport(file string) (*bench.Report, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	r := new(bench.Report)
	if err := json.Unmarshal(data, r); err != nil || len(r.Results) == 0 {
		return nil, fmt.Errorf("%s is not what scimbox bench --json writes", file)
	}
	return r, nil
}

// compared is an error that names what has got more than a quarter worse.
func compared(now, earlier *bench.Report) error {
	var lines []string
	for _, w := range now.Compare(earlier, 0.25) {
		if w.Now == 0 {
			lines = append(lines, w.Name+" is not measured any more")
			continue
		}
		lines = append(lines, fmt.Sprintf("%s: the ratio was %.2f and is %.2f", w.Name, w.Was, w.Now))
	}
	if len(lines) == 0 {
		return nil
	}
	return fmt.Errorf("more than a quarter worse than in the earlier run: %s", strings.Join(lines, "; "))
}

// newBenchLimit is the other side of a comparison, in a process of its own as the server is in one.
func (a *app) newBenchLimit() *cobra.Command {
	var listen, answer string
	cmd := &cobra.Command{
		Use:     "limit",
		Short:   "Answer every request with the same bytes",
		Long:    "It is the other side of a comparison: scimbox bench starts it, and measures it as it measures the server.",
		Example: `  scimbox bench limit --listen 127.0.0.1:8081 --answer $'HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}'`,
		Hidden:  true,
		Args:    cobra.NoArgs,
		RunE: run(func(cmd *cobra.Command, _ []string) error {
			setPlaces(a.Env) // as the server has
			return bench.ServeLimit(cmd.Context(), listen, []byte(answer))
		}),
	}
	cmd.Flags().StringVar(&listen, "listen", "", "`address`")
	cmd.Flags().StringVar(&answer, "answer", "", "`bytes` of an answer of HTTP/1.1")
	return cmd
}

// benchProgress draws how far a measurement is.
func (a *app) benchProgress(what string, done float64) {
	const width = 30
	full := min(int(done*width), width)
	fmt.Fprintf(a.Stderr, "\r\x1b[K[%s%s] %3.0f %%  %s", strings.Repeat("=", full), strings.Repeat(" ", width-full), 100*done, what)
}

func (a *app) printBench(r *bench.Report) error {
	fmt.Fprintf(a.Stdout, "scimbox %s on %s, %s, %d users, %gs for each row\n\n", r.Version, r.System, plural(int64(r.Processors), "processor"), r.Users, r.Seconds)
	rows := [][]string{{"WORK", "CONNS", "PER SECOND", "P50", "P99", "MEMORY", "LIMIT IN THE SAME RUN", "RATIO", "GOAL", ""}}
	for _, x := range r.Results {
		row := []string{x.Name, number(x.Conns), "", took(x.P50), took(x.P99), "", x.Limit, "", x.Goal, ""}
		switch {
		case x.PerSecond > 0:
			row[2] = fmt.Sprintf("%.0f", x.PerSecond)
		case x.Value != "":
			row[2] = x.Value
		}
		if x.Memory > 0 {
			row[5] = bytes(x.Memory)
		}
		if x.Ratio > 0 {
			row[7] = fmt.Sprintf("%.2f", x.Ratio)
		}
		if !x.Met {
			row[9] = "missed"
		}
		rows = append(rows, row)
	}
	if err := table(a.Stdout, rows); err != nil {
		return err
	}
	if s := r.Serves; s.PerSecond > 0 {
		_, err := fmt.Fprintf(a.Stdout, "\nThis machine serves %d users, groups of %d members, and %.0f requests a second of the mix that Entra sends.\n"+
			"Entra sends at most some 25 a second to one application: room for %.0f such tenants at full speed.\n", s.Users, s.GroupSize, s.PerSecond, s.Times())
		return err
	}
	return nil
}

func number(n int) string {
	if n == 0 {
		return ""
	}
	return fmt.Sprint(n)
}

// took prints how long something has taken; nothing if that was not measured.
func took(d time.Duration) string {
	if d == 0 {
		return ""
	}
	return bench.Short(d)
}
