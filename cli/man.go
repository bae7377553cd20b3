package cli

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

func (a *app) newMan() *cobra.Command {
	return &cobra.Command{
		Use:   "man",
		Short: "Print the manual page",
		Long:  "Prints the manual page scimbox(1), which has the help of every command on one page. Packages install it.",
		Example: `  scimbox man | man -l -
  scimbox man > /usr/local/share/man/man1/scimbox.1`,
		Args: cobra.NoArgs,
		RunE: run(func(*cobra.Command, []string) error {
			_, err := fmt.Fprint(a.Stdout, a.manual())
			return err
		}),
	}
}

// manual is the help of all commands in the language of man pages: man(7). It has no date, so that it is the same for
// each build of a version.
func (a *app) manual() string {
	var m manual
	m.line(`.TH SCIMBOX 1 "" ` + roff("scimbox "+a.Program.Version))
	m.section("NAME")
	short := a.root.Short
	m.line(roff("scimbox - " + strings.ToLower(short[:1]) + short[1:]))
	m.section("SYNOPSIS")
	m.line(`\fBscimbox\fR [command] [flags]`)
	m.section("DESCRIPTION")
	about, codes, _ := strings.Cut(a.root.Long, "\n\nExit codes\n")
	m.text(about)
	m.text("Results go to standard output, everything else to standard error. Commands work beside a running server and without one.")
	m.section("OPTIONS")
	m.text("These go with every command.")
	m.flags(a.root.PersistentFlags())
	m.section("COMMANDS")
	m.commands(a.root)
	m.section("EXIT STATUS")
	m.text(codes)
	m.section("ENVIRONMENT")
	m.text("Every key of the configuration has a variable that wins over the file: SCIMBOX_LISTEN for listen, SCIMBOX_SCIM_STRICT for strict below [scim]. " +
		"SCIMBOX_LISTEN_FILE names a file that holds the value. SCIMBOX_CONFIG names the configuration file.")
	m.section("FILES")
	m.item("/etc/scimbox/scimbox.toml", "configuration of the packages")
	m.item("/var/lib/scimbox", "data of the packages; ./scimbox-data elsewhere")
	m.item("/usr/share/doc/scimbox", "every key of the configuration with its unit and default; how to operate scimbox and to connect clients")
	m.section("EXAMPLES")
	m.text(a.root.Example)
	return m.String()
}

// manual is a page being written.
type manual struct{ strings.Builder }

func (m *manual) line(s string)       { _, _ = m.WriteString(s + "\n") } // into memory
func (m *manual) section(name string) { m.line(".SH " + name) }

func (m *manual) item(term, text string) {
	m.line(".TP")
	m.line(`\fB` + roff(term) + `\fR`)
	m.line(roff(text))
}

// text writes paragraphs. Lines that begin with two spaces stay as they are: commands, tables.
func (m *manual) text(s string) {
	for paragraph := range strings.SplitSeq(s, "\n\n") {
		if !strings.HasPrefix(paragraph, "  ") {
			m.line(".PP")
			m.line(roff(paragraph))
			continue
		}
		m.line(".PP\n.nf")
		m.line(roff(paragraph))
		m.line(".fi")
	}
}

// commands writes the commands below one, those that only group others left out.
func (m *manual) commands(of *cobra.Command) {
	for _, c := range of.Commands() {
		switch {
		case c.Name() == "help" || c.Hidden:
		case c.HasSubCommands() && c.Name() != "completion":
			m.commands(c)
		default:
			m.command(c)
		}
	}
}

func (m *manual) command(c *cobra.Command) {
	use := c.UseLine()
	if c.Name() == "completion" {
		use = "scimbox completion bash|zsh|fish|powershell"
	}
	m.line(".SS " + roff(strings.TrimSuffix(use, " [flags]")))
	if c.Long != "" && c.Name() != "completion" {
		m.text(c.Long)
	} else {
		m.text(c.Short + ".")
	}
	m.flags(c.LocalNonPersistentFlags())
	if c.Example != "" {
		m.text(c.Example)
	}
}

func (m *manual) flags(set *pflag.FlagSet) {
	set.VisitAll(func(f *pflag.Flag) {
		if f.Hidden || f.Name == "help" {
			return
		}
		kind, text := pflag.UnquoteUsage(f)
		term := "--" + f.Name
		if kind != "" {
			term += " " + kind
		}
		if f.DefValue != "" && f.DefValue != "false" {
			text += " (default: " + f.DefValue + ")"
		}
		m.item(term, text)
	})
}

// roff writes a text so that it is one: a backslash begins an escape, a dot at the beginning of a line a request, and a bare
// minus is a hyphen, which nobody could paste into a terminal.
func roff(s string) string {
	s = strings.NewReplacer(`\`, `\e`, "-", `\-`).Replace(s)
	lines := strings.Split(s, "\n")
	for i, l := range lines {
		if strings.HasPrefix(l, ".") || strings.HasPrefix(l, "'") {
			lines[i] = `\&` + l
		}
	}
	return strings.Join(lines, "\n")
}
