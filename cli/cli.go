// Package cli is the command line: one file per command, on top of packages server and server/control.
//
//	cli.go       Run, the flags that all commands share, exit codes
//	connect.go   a client of the running server, or of the store itself
//	print.go     tables, times and sizes for people; JSON for programs
//	COMMAND.go   one for each command: serve.go, token.go ...; banner.go is what serve greets with
//
// Results go to standard output, everything else to standard error. What a command does is done by the control API, so
// that it does the same beside a running server and without one.
package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"golang.org/x/term"

	"scimbox/server"
	"scimbox/server/config"
	"scimbox/server/control"
)

// The exit codes.
const (
	exitOK      = 0
	exitFailure = 1 // it was tried and did not work
	exitUsage   = 2 // a command line or a configuration that cannot be; nothing was done
	exitDamage  = 3 // stored data are damaged or missing, and are so still
	exitHeld    = 4 // another process holds the data; may work later
)

// Program is one call of the program.
type Program struct {
	Args    []string // without the program's name
	Env     []string // as os.Environ returns it
	Stdout  io.Writer
	Stderr  io.Writer
	Name    string // what a person has typed to get here, "scimbox" or "go run ."
	Version string
	Commit  string // "" if not known
}

// app is a Program at work.
type app struct {
	Program
	root *cobra.Command
	json bool
	file string // --config
}

// failure is an error of a command that was understood. What cobra finds is none: the command line is to blame for it.
type failure struct{ err error }

func (e *failure) Error() string { return e.err.Error() }
func (e *failure) Unwrap() error { return e.err }

// errReported ends a command whose output says everything; what is left to be told is the exit code.
var errReported = errors.New("reported")

// errUnwell does the same where nothing is wrong with the data.
var errUnwell = errors.New("reported as not well")

// Run runs a command and returns the exit code. ctx is ended by the wish to stop, hurry by a second one.
func Run(ctx, hurry context.Context, p Program) int {
	a := &app{Program: p}
	a.root = a.newRoot(hurry)
	a.root.SetArgs(p.Args)
	if p.Args == nil {
		a.root.SetArgs([]string{}) // nil means os.Args to cobra
	}
	a.root.SetOut(p.Stdout)
	a.root.SetErr(p.Stderr)
	cmd, err := a.root.ExecuteContextC(ctx)
	if err == nil {
		return exitOK
	}
	return a.report(cmd, err)
}

func (a *app) newRoot(hurry context.Context) *cobra.Command {
	serve := a.newServe(hurry)
	root := &cobra.Command{
		Use:   "scimbox",
		Short: "A SCIM 2.0 server in one binary",
		Long: `scimbox is a SCIM 2.0 server: identity providers such as Microsoft Entra ID create, change and remove users and
groups in it. Without a command it serves.

Exit codes
  0  done
  1  it did not work; standard error says why
  2  the command line or the configuration cannot be; nothing was done
  3  stored data are damaged or missing
  4  another process holds the data; try again later`,
		Example: `  scimbox
  scimbox serve --config scimbox.toml
  scimbox token create --name entra --scope write --preset entra
  scimbox status`,
		RunE:          serve.RunE,
		Version:       a.version().String(),
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	root.Flags().AddFlagSet(serve.Flags())
	flags := root.PersistentFlags()
	flags.StringVar(&a.file, "config", "", "configuration `file` (SCIMBOX_CONFIG)")
	flags.String("data", config.Default().Data, "data `directory` (SCIMBOX_DATA)")
	must(root.MarkPersistentFlagFilename("config", "toml"))
	must(root.MarkPersistentFlagDirname("data"))
	root.SetFlagErrorFunc(a.flagError)
	root.SetVersionTemplate("{{.Version}}\n")
	root.AddCommand(
		serve,
		a.newToken(),
		a.newClient(),
		a.newStatus(),
		a.newActivity(),
		a.newHistory(),
		a.newResources(users),
		a.newResources(groups),
		a.newGuard(),
		a.newAudit(),
		a.newCheck(),
		a.newBackup(),
		a.newRestore(),
		a.newConsole(),
		a.newHealthcheck(),
		a.newConfig(),
		a.newTLS(),
		a.newVersion(),
		a.newMan(),
		a.newDoctor(),
		a.newBench(),
		a.newProfile(),
	)
	root.InitDefaultCompletionCmd("completion") // before Execute, so that completing it works as well
	if completion, _, err := root.Find([]string{"completion"}); err == nil {
		completion.Example = "  source <(scimbox completion bash)"
	}
	root.InitDefaultHelpCmd()
	return root
}

// must is for mistakes in this package, which every call of the program would find.
func must(err error) {
	if err != nil {
		panic(err)
	}
}

// run makes a command of a function, so that its errors can be told from those of the command line.
func run(fn func(cmd *cobra.Command, args []string) error) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
		if err := fn(cmd, args); err != nil {
			return &failure{err}
		}
		return nil
	}
}

// jsonFlag gives a command its --json.
func (a *app) jsonFlag(cmd *cobra.Command) {
	cmd.Flags().BoolVar(&a.json, "json", false, "print JSON, for programs")
}

func listenFlag(cmd *cobra.Command) {
	cmd.Flags().String("listen", config.Default().Listen, "`address` to listen on, host:port; with a hostname :443 (SCIMBOX_LISTEN)")
}

// group runs when a command is called that has only subcommands.
func (a *app) group(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return cmd.Help()
	}
	text := fmt.Sprintf("unknown command %q for %q", args[0], cmd.CommandPath())
	var names []string
	for _, sub := range cmd.Commands() {
		names = append(names, sub.Name())
	}
	if near := config.Nearest(args[0], names); near != "" {
		text += "; did you mean " + near + "?"
	}
	return errors.New(text)
}

func (a *app) flagError(cmd *cobra.Command, err error) error {
	if errors.Is(err, pflag.ErrHelp) {
		return err
	}
	if given := cmd.Flags().Args(); cmd.HasParent() && cmd.HasSubCommands() && len(given) > 0 {
		return a.group(cmd, given) // the flag is that of a command whose name is mistyped
	}
	text := err.Error()
	var unknown *pflag.NotExistError
	if errors.As(err, &unknown) {
		var names []string
		cmd.Flags().VisitAll(func(f *pflag.Flag) { names = append(names, f.Name) })
		if near := config.Nearest(unknown.GetSpecifiedName(), names); near != "" {
			text += "; did you mean --" + near + "?"
		}
	}
	return errors.New(text)
}

// load reads the configuration that a command is called with.
func (a *app) load(cmd *cobra.Command, serving bool) (*config.Loaded, error) {
	given := map[string]string{}
	for _, name := range []string{"data", "listen"} {
		if f := cmd.Flags().Lookup(name); f != nil && f.Changed {
			given[name] = f.Value.String()
		}
	}
	return config.Load(config.Options{File: a.file, Env: a.Env, Flags: given, Serving: serving})
}

// report says what went wrong, and returns the exit code.
func (a *app) report(cmd *cobra.Command, err error) int {
	if errors.Is(err, errReported) {
		return exitDamage
	}
	if errors.Is(err, errUnwell) {
		return exitFailure
	}
	var (
		failed   *failure
		problems config.Problems
		answered *control.Error
		held     *server.HeldError
	)
	switch {
	case errors.As(err, &problems):
		for _, p := range problems {
			fmt.Fprintln(a.Stderr, p)
		}
		what := "nothing was started, nothing was created"
		if n := len(problems); n > 1 {
			what = fmt.Sprintf("%d problems; %s", n, what)
		}
		fmt.Fprintf(a.Stderr, "scimbox: %s\n", what)
		return exitUsage
	case !errors.As(err, &failed):
		// cobra puts its suggestions on lines of their own.
		text := strings.Join(strings.Fields(strings.ReplaceAll(err.Error(), "\n\nDid you mean this?\n", "; did you mean ")), " ")
		if strings.Contains(text, "; did you mean ") && !strings.HasSuffix(text, "?") {
			text += "?"
		}
		if strings.HasPrefix(text, "accepts ") || strings.HasPrefix(text, "requires at least ") { // cobra counts, and does not say of what
			text = "that is too little or too much; the command is " + cmd.UseLine()
		}
		fmt.Fprintf(a.Stderr, "scimbox: %s\nscimbox: see %s --help\n", text, cmd.CommandPath())
		return exitUsage
	}
	fmt.Fprintf(a.Stderr, "scimbox: %v\n", err)
	switch {
	case errors.As(err, &answered) && answered.Code == control.Invalid:
		return exitUsage
	case errors.As(err, &answered) && answered.Code == control.Damaged, control.IsDamage(err):
		return exitDamage
	case errors.As(err, &held):
		return exitHeld
	}
	return exitFailure
}

// isTerminal reports whether a person reads w.
func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}
