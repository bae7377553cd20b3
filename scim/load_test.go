package scim

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"
)

// Files of custom schemas that are wrong: all problems are told at once, each with its line and column, in the order of the
// file. `go test -update` writes down what is told now.
func TestBadSchemaFiles(t *testing.T) {
	files, err := filepath.Glob("testdata/schemas/bad/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatalf("there are none: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txtar"), func(t *testing.T) {
			a, err := txtar.ParseFile(file)
			if err != nil || len(a.Files) != 2 {
				t.Fatalf("%v, %d sections", err, len(a.Files))
			}
			path := filepath.Join(t.TempDir(), "schemas.json")
			if err := os.WriteFile(path, a.Files[0].Data, 0o600); err != nil {
				t.Fatal(err)
			}
			_, err = NewTypes(path)
			var se *SchemaFileError
			if !errors.As(err, &se) || len(se.Problems) == 0 {
				t.Fatalf("taken as right: %v", err)
			}
			got := strings.ReplaceAll(err.Error(), path, "schemas.json") + "\n"
			if *update {
				a.Files[1].Data = []byte(got)
				if err := os.WriteFile(file, txtar.Format(a), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			if want := string(a.Files[1].Data); got != want {
				t.Errorf("got\n%s\nwant\n%s", got, want)
			}
			last := SchemaProblem{}
			for _, p := range se.Problems {
				if p.Line < last.Line || p.Line == last.Line && p.Column < last.Column || p.Line > strings.Count(string(a.Files[0].Data), "\n")+1 || p.Column < 1 || p.Text == "" {
					t.Errorf("%+v behind %+v", p, last)
				}
				last = p
			}
		})
	}
}

// Every problem that a file can have is found with it and not behind it: what is right beside what is wrong is not complained
// of.
func TestSchemaProblemsStandAlone(t *testing.T) {
	for _, c := range []struct{ attribute, says string }{
		{`{"name": "x", "type": "strnig"}`, `"string"`},
		{`{"nmae": "x"}`, `"name"`},
		{`{"name": "x", "type": "complex", "subAttributes": [{"name": "y", "type": "bool"}]}`, `"boolean"`},
		{`{"name": "x", "type": "reference", "referenceTypes": ["Groups"]}`, `"Group"`},
	} {
		text := fmt.Sprintf("{\n  \"id\": \"urn:example:x:2.0:User\",\n  \"attributes\": [\n    {\"name\": \"fine\"},\n    %s\n  ]\n}\n", c.attribute)
		file := filepath.Join(t.TempDir(), "s.json")
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := NewTypes(file)
		var se *SchemaFileError
		if !errors.As(err, &se) || se.File != file {
			t.Fatalf("%s: %v", c.attribute, err)
		}
		for _, p := range se.Problems {
			if p.Line != 5 {
				t.Errorf("%s: %v", c.attribute, err)
			}
		}
		if !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: no hint to %s: %v", c.attribute, c.says, err)
		}
	}
	if _, err := NewTypes(filepath.Join(t.TempDir(), "nowhere.json")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a file that is not there: %v", err)
	}
}

// Forms of a file that are right, and what they make.
func TestGoodSchemaFiles(t *testing.T) {
	schema, err := os.ReadFile("testdata/schemas/acme.json")
	if err != nil {
		t.Fatal(err)
	}
	h := openHouseOn(t, newProbe(), typesWith(t, string(schema)), Options{})
	// What /Schemas answers is a file that makes the same schema.
	body := h.ask("GET", "/Schemas/"+acmeURN, "").want(200).body
	again := openHouseOn(t, newProbe(), typesWith(t, string(body)), Options{})
	if got := again.ask("GET", "/Schemas/"+acmeURN, "").want(200).body; string(got) != string(body) {
		t.Errorf("got  %s\nwant %s", got, body)
	}
	for name, text := range map[string]string{
		"one schema":       `{"id":"urn:example:x:2.0:User","attributes":[{"name":"a"}]}`,
		"of two types":     `{"id":"urn:example:x:2.0:User","extends":["User","Group"],"attributes":[{"name":"a"}]}`,
		"by its type":      `{"schemas":[{"id":"urn:example:x:2.0:User","attributes":[{"name":"a"}]}],"resourceTypes":[{"name":"User","schemaExtensions":[{"schema":"URN:example:x:2.0:User"}]}]}`,
		"nulls":            `{"id":"urn:example:x:2.0:User","name":null,"attributes":[{"name":"a","type":null,"indexed":null}]}`,
		"byte by byte":     "{\r\n\t\"id\":\"urn:example:x:2.0:User\",\r\n\t\"attributes\":[{\"name\":\"a\"}]\r\n}\r\n",
		"enterprise twice": `{"schemas":[{"id":"urn:example:x:2.0:User","extends":"User","attributes":[{"name":"a"}]}],"resourceTypes":[{"name":"User","schemaExtensions":[{"schema":"` + EnterpriseUserURN + `","required":false}]}]}`,
	} {
		t.Run(name, func(t *testing.T) {
			h := openHouseOn(t, newProbe(), typesWith(t, text), Options{})
			r := h.ask("POST", "/Users", `{"userName":"ada","urn:example:x:2.0:User":{"a":"b"}}`).want(201)
			if r.text("urn:example:x:2.0:User", "a") != "b" {
				t.Errorf("%s", r.body)
			}
		})
	}
}
