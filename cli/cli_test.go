package cli

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/spf13/cobra"

	"scimbox/server/control"
)

// testApp returns an app and what it prints to standard output and standard error.
func testApp() (a *app, stdout, stderr *strings.Builder) {
	stdout, stderr = new(strings.Builder), new(strings.Builder)
	return &app{Program: Program{Stdout: stdout, Stderr: stderr, Name: "scimbox", Version: "1.2.3"}}, stdout, stderr
}

// The help of each command has an example, which begins with the program, and names flags that the command has.
func TestEveryCommandHasAnExample(t *testing.T) {
	a, _, _ := testApp()
	var walk func(*cobra.Command)
	walk = func(cmd *cobra.Command) {
		if cmd.Name() == "help" {
			return
		}
		if cmd.Short == "" || cmd.Example == "" || cmd.RunE == nil && cmd.Run == nil && !cmd.HasSubCommands() {
			t.Errorf("%s has no description or no example", cmd.CommandPath())
		}
		for line := range strings.Lines(cmd.Example) {
			if !strings.HasPrefix(line, "  ") || !strings.Contains(line, "scimbox") {
				t.Errorf("%s: the example %q does not show a call of scimbox, or is not indented", cmd.CommandPath(), line)
			}
			_, args, _ := strings.Cut(strings.TrimRight(line, ")\n"), "scimbox")
			shown, rest, err := cmd.Root().Find(strings.Fields(args))
			if err != nil {
				t.Errorf("%s: example %q: %v", cmd.CommandPath(), line, err)
				continue
			}
			for _, word := range rest {
				if name, ok := strings.CutPrefix(word, "--"); ok && shown.Flag(name) == nil {
					t.Errorf("%s: example %q: there is no %s", cmd.CommandPath(), line, word)
				}
			}
		}
		if cmd.Name() == "completion" {
			return // the shells below it are cobra's
		}
		for _, sub := range cmd.Commands() {
			walk(sub)
		}
	}
	walk(a.newRoot(t.Context()))
}

// What a check has found, for people.
func TestPrintReport(t *testing.T) {
	link := control.Finding{Kind: "link", Where: "User 1", Text: "no link back"}
	term := control.Finding{Kind: "term", Where: "User 2", Text: "no term userName", Repaired: true}
	for name, test := range map[string]struct {
		report control.Report
		want   string
		left   bool
	}{
		"clean":          {control.Report{Examined: 1}, "1 row examined: everything fits together\n", false},
		"clean repair":   {control.Report{Examined: 7, Repaired: true}, "7 rows examined: everything fits together\n", false},
		"found":          {control.Report{Examined: 7, Findings: []control.Finding{link}}, "User 1: no link back\n7 rows examined: 1 finding; scimbox check --repair makes anew what can be made anew\n", true},
		"repaired":       {control.Report{Examined: 7, Findings: []control.Finding{term}, Repaired: true}, "User 2: no term userName (repaired)\n7 rows examined: 1 finding, all repaired\n", false},
		"partly repired": {control.Report{Examined: 7, Findings: []control.Finding{link, term}, Repaired: true}, "User 1: no link back\nUser 2: no term userName (repaired)\n7 rows examined: 2 findings, 1 of them could not be repaired; restore a backup\n", true},
		"more":           {control.Report{Examined: 7, Findings: []control.Finding{link}, More: 3}, "User 1: no link back\nand 3 more, which are not listed and are not repaired by the same run\n7 rows examined: 4 findings; scimbox check --repair makes anew what can be made anew\n", true},
		"more repaired":  {control.Report{Examined: 7, Findings: []control.Finding{term}, More: 3, Repaired: true}, "User 2: no term userName (repaired)\nand 3 more, which are not listed and are not repaired by the same run\n7 rows examined: 4 findings, 3 of them not repaired; run scimbox check --repair again\n", true},
	} {
		t.Run(name, func(t *testing.T) {
			a, stdout, _ := testApp()
			err := a.printReport(&test.report)
			if got := errors.Is(err, errReported); got != test.left || err != nil && !got {
				t.Errorf("error: %v", err)
			}
			if stdout.String() != test.want {
				t.Errorf("got\n%swant\n%s", stdout, test.want)
			}
		})
	}
}

func TestEnds(t *testing.T) {
	now := time.Now()
	at := moment(now)
	for name, test := range map[string]struct {
		token control.Token
		want  string
	}{
		"in force": {control.Token{Expires: now.Add(3 * day)}, moment(now.Add(3*day)) + " (in 3 days)"},
		"expired":  {control.Token{Expires: now.Add(-3 * day)}, "expired " + moment(now.Add(-3*day)) + " (3 days ago)"},
		"just now": {control.Token{Expires: now}, "expired " + at + " (now)"},
		"revoked":  {control.Token{Expires: now.Add(-3 * day), Revoked: now}, "revoked " + at},
	} {
		if got := ends(test.token, now); got != test.want {
			t.Errorf("%s: %q, want %q", name, got, test.want)
		}
	}
}

func TestResources(t *testing.T) {
	for _, test := range []struct {
		counts map[string]int64
		want   string
	}{
		{nil, "no resources"},
		{map[string]int64{"Group": 1, "User": 2}, "2 users, 1 group"},
		{map[string]int64{"Device": 0}, "0 devices"},
	} {
		if got := resources(test.counts); got != test.want {
			t.Errorf("%v: %q, want %q", test.counts, got, test.want)
		}
	}
}

func TestMostOften(t *testing.T) {
	counts := map[string]int64{"User:b": 3, "User:a": 3, "User:z": 9}
	for i := range 30 {
		counts["User:"+strings.Repeat("x", i+1)] = 1
	}
	got := mostOften(counts)
	if len(got) != 20 || got[0] != (often{"User:z", 9}) || got[1].name != "User:a" || got[2].name != "User:b" {
		t.Errorf("got %v", got)
	}
}

// Exit codes of errors, however deep they lie.
func TestReport(t *testing.T) {
	for name, test := range map[string]struct {
		err  error
		want int
		says string
	}{
		"reported":     {&failure{errReported}, exitDamage, ""},
		"command line": {errors.New("unknown command"), exitUsage, "scimbox: unknown command\nscimbox: see scimbox status --help\n"},
		"invalid":      {&failure{&control.Error{Code: control.Invalid, Message: "token scope"}}, exitUsage, "scimbox: token scope\n"},
		"not found":    {&failure{&control.Error{Code: control.NotFound, Message: "no such token"}}, exitFailure, "scimbox: no such token\n"},
		"damaged":      {&failure{&control.Error{Code: control.Damaged, Message: "a row is damaged"}}, exitDamage, "scimbox: a row is damaged\n"},
		"internal":     {&failure{&control.Error{Code: control.Internal, Message: "disk on fire"}}, exitFailure, "scimbox: disk on fire\n"},
	} {
		t.Run(name, func(t *testing.T) {
			a, stdout, stderr := testApp()
			cmd, _, err := a.newRoot(t.Context()).Find([]string{"status"})
			if err != nil {
				t.Fatal(err)
			}
			if got := a.report(cmd, test.err); got != test.want || stderr.String() != test.says || stdout.Len() > 0 {
				t.Errorf("exit code %d, want %d; standard output %q, standard error %q", got, test.want, stdout, stderr)
			}
		})
	}
}
