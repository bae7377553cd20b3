package server

import (
	"bytes"
	"encoding/json"
	"fmt"
)

// The form of a case. Both files of testdata/cases are read into one; what a case says besides is refused, so that nothing
// of it is passed over.

// blackBox is a case.
type blackBox struct {
	// Of rfc_cases.jsonl and own_cases.jsonl.
	ID, Area, Section, Title string
	Needs                    []string // features
	Settings                 []string // own cases: "strict", "default", or both

	// Of client_requests.jsonl.
	Client, Name, Source, Note, Relaxes string
	Requires                            []string // features or presets that are off by default
	Concurrent                          []caseStep

	Level   string
	Setup   []caseStep
	Request caseStep
	Expect  caseExpectation
}

// caseStep is one request. Path, Headers and Body hold {{label.path}} of earlier answers.
type caseStep struct {
	Method, Path, As string
	Headers          map[string]*string
	Body             json.RawMessage
}

type caseExpectation struct {
	Status   []int
	ScimType json.RawMessage
	JSON     json.RawMessage
	Absent   json.RawMessage
	Headers  json.RawMessage
	Then     []caseAfter
}

// caseAfter is a request afterwards; client_requests.jsonl has its expectation flat in it.
type caseAfter struct {
	caseStep
	If     string // "ok" or "failed": only if the request was
	Expect *caseExpectation
	Status []int
	JSON   json.RawMessage
}

// String is the name that a case goes by.
func (c *blackBox) String() string {
	if c.ID != "" {
		return c.ID
	}
	return c.Client + "/" + c.Name
}

// readCases reads a file of cases, one a line.
func readCases(data []byte) ([]*blackBox, error) {
	var cases []*blackBox
	seen := map[string]bool{}
	for i, line := range bytes.Split(data, []byte("\n")) {
		if len(bytes.TrimSpace(line)) == 0 {
			continue
		}
		d := json.NewDecoder(bytes.NewReader(line))
		d.DisallowUnknownFields()
		c := new(blackBox)
		if err := d.Decode(c); err != nil {
			return nil, fmt.Errorf("line %d: %w", i+1, err)
		}
		switch name := c.String(); {
		case name == "/" || seen[name]:
			return nil, fmt.Errorf("line %d: the name %q is missing or taken", i+1, name)
		case len(c.Expect.Status) == 0:
			return nil, fmt.Errorf("line %d: %s expects no status", i+1, name)
		default:
			seen[name] = true
		}
		cases = append(cases, c)
	}
	return cases, nil
}
