package main

import (
	"go/ast"
	"go/parser"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// dials are the names by which Go code opens a connection to somewhere.
var dials = map[string][]string{
	"net":           {"Dial", "DialTimeout", "DialTCP", "DialUDP", "DialUnix", "DialIP", "Dialer"},
	"net/http":      {"Get", "Head", "Post", "PostForm", "Client", "DefaultClient", "Transport", "DefaultTransport"},
	"crypto/tls":    {"Dial", "DialWithDialer", "Dialer"},
	"net/smtp":      {"*"},
	"net/rpc":       {"*"},
	"os/exec":       {"Command", "CommandContext"},
	"net/textproto": {"Dial"},
}

// TestWhoConnectsToElsewhere: nothing that a client sends makes the server connect to anywhere (server-side request forgery),
// because no package that sees it can. A package that is added here has to say to whom it connects, and who chooses that.
func TestWhoConnectsToElsewhere(t *testing.T) {
	may := map[string]string{
		"tlsconf":          "authorities and name servers, which the operator names",
		"tlsconf/acmetest": "tests",
		"server/control":   "the socket in the data directory",
		"server/doctor":    "the server itself, and what its operator names",
		"bench":            "the process that it has started",
	}
	used := map[string]bool{}
	for _, p := range packages(t) {
		for _, file := range p.GoFiles {
			f := parse(t, p, file, parser.SkipObjectResolution)
			names := map[string]string{} // local name -> import path
			for _, i := range f.Imports {
				path := strings.Trim(i.Path.Value, `"`)
				local := filepath.Base(path)
				if i.Name != nil {
					local = i.Name.Name
				}
				names[local] = path
			}
			ast.Inspect(f, func(n ast.Node) bool {
				s, ok := n.(*ast.SelectorExpr)
				if !ok {
					return true
				}
				x, ok := s.X.(*ast.Ident)
				if !ok {
					return true
				}
				l := dials[names[x.Name]]
				if !slices.Contains(l, s.Sel.Name) && !slices.Contains(l, "*") {
					return true
				}
				used[p.name()] = true
				if may[p.name()] == "" {
					t.Errorf("%s/%s uses %s.%s; who connects to elsewhere is in the table of this test", p.name(), file, names[x.Name], s.Sel.Name)
				}
				return true
			})
		}
	}
	for name := range may {
		if !used[name] {
			t.Errorf("%s connects to nothing and may", name)
		}
	}
}
