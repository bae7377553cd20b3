package cli

import (
	"testing"
)

func TestQuoted(t *testing.T) {
	for word, want := range map[string]string{
		"scimbox.toml": "scimbox.toml", "/var/lib/scimbox": "/var/lib/scimbox", "a-b_c+d:e@f%g": "a-b_c+d:e@f%g",
		"my data": "'my data'", "it's": `'it'\''s'`, "$HOME": "'$HOME'", "~": "'~'", "a;b": "'a;b'", "Zoë": "'Zoë'", "a\nb": "'a\nb'", "": "''",
	} {
		if got := quoted(word); got != want {
			t.Errorf("quoted(%q) = %s, want %s", word, got, want)
		}
	}
}

// Who has asked for plain text, or has a terminal that can do no more, gets it.
func TestColoured(t *testing.T) {
	for env, want := range map[string]bool{"": true, "NO_COLOR=1": false, "NO_COLOR=": true, "TERM=dumb": false, "TERM=xterm": true} {
		a := &app{Program: Program{Env: []string{"HOME=/", env}}}
		if got := a.coloured(); got != want {
			t.Errorf("%q: %v", env, got)
		}
	}
}

func TestPage(t *testing.T) {
	for bold, want := range map[bool]string{
		false: "  ready\n\n  Data          here\n\n    a    first\n    bcd  second\n",
		true:  "  \x1b[1mready\x1b[0m\n\n  Data          here\n\n    a    first\n    bcd  second\n",
	} {
		p := &page{bold: bold}
		p.line("%s", p.strong("ready"))
		p.line("")
		p.field("Data", "here")
		p.line("")
		p.pair("a", "first")
		p.pair("bcd", "second")
		p.flush()
		if got := p.String(); got != want {
			t.Errorf("bold %v:\n%q\nwant\n%q", bold, got, want)
		}
	}
}
