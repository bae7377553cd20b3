package cli

import (
	"context"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"scimbox/server"
	"scimbox/server/config"
)

// banner greets. The first start shows the token that it has made; every other says where things are, and whether anybody
// can get in.
func (a *app) banner(ctx context.Context, s *server.Server, c *config.Loaded) error {
	b := &page{bold: isTerminal(a.Stdout) && a.coloured()}
	data, err := filepath.Abs(c.Data)
	if err != nil {
		return err
	}
	again := a.again(c)
	tok, secret, first := s.FirstToken()
	b.line("")
	b.line("%s is ready", b.strong("scimbox "+a.Version))
	b.line("")
	b.field("Tenant URL", b.strong(s.TenantURL()))
	if first {
		b.field("Secret token", b.strong(secret.Reveal()))
		b.field("", fmt.Sprintf("shown this once; expires %s (%s)", moment(tok.Expires), distance(tok.Expires, time.Now())))
	}
	if s.ConsoleURL() != "" {
		if first && s.Local() {
			b.field("Console", b.strong(s.ConsoleLink().URL))
			b.field("", "opens once, within 15 minutes")
		} else {
			b.field("Console", s.ConsoleURL())
		}
	}
	b.field("Data", data)
	b.line("")
	if first {
		b.line("Try it")
		b.line("  curl -H \"Authorization: Bearer %s\" %s/Users", secret.Reveal(), s.LocalURL())
		b.line("")
		b.line("Next")
		if s.ConsoleURL() != "" {
			b.pair(again+" console", "a link to the web console")
		}
		b.pair(again+" status", "what runs, what has arrived")
		b.pair(again+" token create --name entra --scope write --preset entra", "a token for each client")
		b.pair("docs/entra.md", "connect Microsoft Entra ID")
		b.pair("Ctrl-C", "stop; the data stay")
		b.flush()
		b.line("")
	} else if n, err := s.TokensInForce(ctx); err != nil {
		return err
	} else if n == 0 {
		b.line("No token is in force, so that nobody can get in. Make one:")
		b.line("  %s token create --name entra --scope write --preset entra", again)
		b.line("")
	}
	_, err = io.WriteString(a.Stdout, b.String())
	return err
}

// coloured reports whether the environment permits more than plain text (no-color.org).
func (a *app) coloured() bool {
	return !slices.ContainsFunc(a.Env, func(e string) bool {
		return strings.HasPrefix(e, "NO_COLOR=") && e != "NO_COLOR=" || e == "TERM=dumb"
	})
}

// again returns how this program is called for the same data, whatever the environment of the next terminal is.
func (a *app) again(c *config.Loaded) string {
	s, from := a.Name, c.Source("data")
	if a.file != "" {
		s += " --config " + quoted(a.file)
	}
	if said := a.file != "" && strings.HasPrefix(from, a.file+":"); !said && from != "default" {
		s += " --data " + quoted(c.Data)
	}
	return s
}

// quoted makes a word that a shell takes as one.
func quoted(s string) string {
	if s == "" || strings.ContainsFunc(s, func(r rune) bool {
		return !('a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9' || strings.ContainsRune("./_-+:@%", r))
	}) {
		return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
	}
	return s
}

// page is text that is printed at once.
type page struct {
	strings.Builder
	bold  bool
	pairs [][2]string
}

func (p *page) line(format string, args ...any) {
	if format == "" {
		_ = p.WriteByte('\n') // into memory
		return
	}
	fmt.Fprintf(p, "  "+format+"\n", args...)
}

func (p *page) strong(s string) string {
	if !p.bold {
		return s
	}
	return "\x1b[1m" + s + "\x1b[0m"
}

func (p *page) field(label, value string) { p.line("%-13s %s", label, value) }

func (p *page) pair(left, right string) { p.pairs = append(p.pairs, [2]string{left, right}) }

// flush prints the pairs, their right sides below each other.
func (p *page) flush() {
	width := 0
	for _, pair := range p.pairs {
		width = max(width, len(pair[0]))
	}
	for _, pair := range p.pairs {
		p.line("  %-*s  %s", width, pair[0], pair[1])
	}
	p.pairs = nil
}
