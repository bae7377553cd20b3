package server

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// What lies in a data directory in which everything has happened that leaves something there is what docs/operating.md says, no
// more and no less, and all of it is its owner's alone.
func TestWhereEverythingIs(t *testing.T) {
	text, err := os.ReadFile(filepath.Join("..", "docs", "operating.md"))
	if err != nil {
		t.Fatal(err)
	}
	_, section, _ := strings.Cut(string(text), "\n## Data\n")
	section, _, _ = strings.Cut(section, "\n#")
	var documented []string
	for _, row := range regexp.MustCompile("(?m)^\\| `([^`]+)` \\|").FindAllStringSubmatch(section, -1) {
		documented = append(documented, row[1])
	}
	slices.Sort(documented)

	o, log := options(t)
	o.Config.Hostname, o.Config.TLS.Mode, o.Config.TLS.HTTPListen = "scim.corp.example", "self-signed", "off"
	overdue(t, o)
	s := serve(t, o, log)
	root, err := RootCertificate(o.Config.Data)
	if err != nil {
		t.Fatal(err)
	}
	entra := newOutside(t, s, poolOf(t, root))
	entra.ask("POST", "/Users", `{"schemas":["urn:ietf:params:scim:schemas:core:2.0:User"],"userName":"mira@example.com"}`, 201)
	entra.ask("POST", "/Users", `{"schemas":["urn:ietf:params:scim:schemas:core:2.0:User"],"userName":"mira@example.com"}`, 409)
	await(t, s, "backup made and verified")

	var found []string
	entries, err := os.ReadDir(o.Config.Data)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		name := e.Name()
		if e.IsDir() {
			name += "/"
		}
		found = append(found, name)
	}
	slices.Sort(found)
	if !slices.Equal(found, documented) {
		t.Errorf("the data directory has\n%q, and docs/operating.md says\n%q", found, documented)
	}
	if err := s.stop(); err != nil {
		t.Fatal(err)
	}
	if err := filepath.WalkDir(o.Config.Data, func(path string, e os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := e.Info()
		if err == nil && info.Mode().Perm()&0o077 != 0 && path == o.Config.Data {
			t.Errorf("others may look into %s: %s", path, info.Mode())
		}
		if err == nil && strings.HasSuffix(path, "key.pem") && info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %s", path, info.Mode())
		}
		return err
	}); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(filepath.Join(o.Config.Data, "control.sock")); !os.IsNotExist(err) {
		t.Errorf("the socket of a server that has stopped: %v", err)
	}
}
