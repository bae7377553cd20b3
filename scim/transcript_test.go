package scim

import (
	"flag"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/rogpeppe/go-internal/txtar"
)

var update = flag.Bool("update", false, "write down what the transcripts' requests are answered now; read the difference before you keep it")

// A transcript is a conversation with a server that is new and empty. Each request stands under "-- request --", or under
// "-- request, preset standard --" if it comes with a token of that preset, and what it was answered under "-- answer --".
// Ids, times, versions and cursors have names that they are given when they are first seen: {user1}, {time2}, {version3}. The
// same name is the same value, in requests too, so that an answer shows what has changed and what has not. The examples of
// the RFCs, in files that begin with rfc, are put to a server that is strict.
func TestTranscripts(t *testing.T) {
	files, err := filepath.Glob("testdata/transcripts/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatalf("there are no transcripts: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txtar"), func(t *testing.T) {
			a, err := txtar.ParseFile(file)
			if err != nil {
				t.Fatal(err)
			}
			said := rehearse(t, a, Options{Strict: strings.HasPrefix(filepath.Base(file), "rfc")})
			if *update {
				if err := os.WriteFile(file, txtar.Format(said), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			if len(said.Files) != len(a.Files) {
				t.Fatalf("%d sections, want %d: a request without its answer, or the other way round", len(a.Files), len(said.Files))
			}
			for i, f := range said.Files {
				if want := a.Files[i]; string(f.Data) != string(want.Data) {
					t.Errorf("request %d:\n%s\nis answered\n%s\nwant\n%s", i/2+1, a.Files[i-1].Data, f.Data, want.Data)
				}
			}
		})
	}
}

// rehearse sends the requests of a transcript and returns it with the answers that they have now.
func rehearse(t *testing.T, a *txtar.Archive, o Options) *txtar.Archive {
	h := openHouse(t, o)
	said := &txtar.Archive{Comment: a.Comment}
	n := newPlaceholders()
	for _, f := range a.Files {
		title, preset, _ := strings.Cut(f.Name, ", preset ")
		switch title {
		case "answer":
			continue
		case "request":
		default:
			t.Fatalf("section %q: expected is request or answer", f.Name)
		}
		method, target, header, body := readRequest(n.resolve(string(f.Data)))
		r := h.preset(preset).ask(method, target, body, header...)
		said.Files = append(said.Files, f, txtar.File{Name: "answer", Data: []byte(n.replace(written(t, r)))})
	}
	return said
}

func readRequest(text string) (method, target string, header []string, body string) {
	head, body, _ := strings.Cut(text, "\n\n")
	lines := strings.Split(strings.TrimSpace(head), "\n")
	method, target, _ = strings.Cut(lines[0], " ")
	return method, target, lines[1:], strings.TrimSpace(body)
}

// shownHeaders are those that a transcript shows. The Content-Type is always application/scim+json, and the ETag of a
// list is a digest.
var shownHeaders = []string{"Location", "ETag", "Allow"}

func written(t *testing.T, r *reply) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%d %s\n", r.status, http.StatusText(r.status))
	for _, name := range shownHeaders {
		v := r.header.Get(name)
		if v == "" || name == "ETag" && !versionForm.MatchString(v) {
			continue
		}
		fmt.Fprintf(&b, "%s: %s\n", name, v)
	}
	if len(r.body) > 0 {
		v := jsontext.Value(r.body)
		if err := v.Indent(jsontext.WithIndent("  ")); err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&b, "\n%s\n", v)
	}
	return b.String()
}

var (
	versionForm = regexp.MustCompile(`W/\\?"([0-9]+)\\?"`)
	idForm      = regexp.MustCompile(`(Users|Groups)/([0-9a-f]{8}-[0-9a-f-]{27})`)
	cursorForm  = regexp.MustCompile(`"nextCursor": "([A-Za-z0-9_-]+)"`)
	timeText    = regexp.MustCompile(`[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{6}Z`)
)

// names are the names that a transcript gives to values.
type placeholders struct {
	named map[string]string // value -> name, without its braces
	count map[string]int    // by the first part of the name
}

func newPlaceholders() *placeholders { return &placeholders{map[string]string{}, map[string]int{}} }

func (n *placeholders) of(kind, value string) string {
	name, ok := n.named[value]
	if !ok {
		n.count[kind]++
		name = fmt.Sprintf("%s%d", kind, n.count[kind])
		n.named[value] = name
	}
	return "{" + name + "}"
}

// replace puts names in the place of values.
func (n *placeholders) replace(text string) string {
	for _, m := range idForm.FindAllStringSubmatch(text, -1) {
		n.of(map[string]string{"Users": "user", "Groups": "group"}[m[1]], m[2])
	}
	for value, name := range n.named {
		if strings.Contains(value, "-") {
			text = strings.ReplaceAll(text, value, "{"+name+"}")
		}
	}
	for _, m := range cursorForm.FindAllStringSubmatch(text, -1) {
		text = strings.Replace(text, m[1], n.of("cursor", m[1]), 1)
	}
	text = timeText.ReplaceAllStringFunc(text, func(s string) string { return n.of("time", s) })
	return versionForm.ReplaceAllStringFunc(text, func(s string) string {
		v := versionForm.FindStringSubmatch(s)[1]
		return strings.Replace(s, v, n.of("version", v), 1)
	})
}

// resolve puts values in the place of names.
func (n *placeholders) resolve(text string) string {
	for value, name := range n.named {
		text = strings.ReplaceAll(text, "{"+name+"}", value)
	}
	return text
}

// Every quirk is shown at work, and next to it what becomes of the same request without it.
func TestEveryQuirkHasATranscript(t *testing.T) {
	for f := range reflect.TypeFor[quirks]().Fields() {
		file := "testdata/transcripts/quirk-" + kebab(f.Name) + ".txtar"
		a, err := txtar.ParseFile(file)
		if err != nil {
			t.Errorf("quirk %s: %v", f.Name, err)
			continue
		}
		standard := slices.ContainsFunc(a.Files, func(f txtar.File) bool { return f.Name == "request, preset standard" })
		if len(a.Comment) == 0 || !standard {
			t.Errorf("%s: it does not say whose quirk it is, or not what the preset standard makes of it", file)
		}
	}
}

// kebab writes bareURNs as bare-urns.
func kebab(name string) string {
	var b strings.Builder
	for i := range len(name) {
		c := name[i]
		if 'A' <= c && c <= 'Z' {
			if p := name[i-1]; 'a' <= p && p <= 'z' {
				b.WriteByte('-')
			}
			c += 'a' - 'A'
		}
		b.WriteByte(c)
	}
	return b.String()
}
