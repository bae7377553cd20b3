package main

import (
	"bytes"
	"fmt"
	"os"
	"slices"
	"strings"
)

// This file writes docs/conformance.md.

// runners are the tests that the cases are run by.
var runners = []string{"server.TestRFCCases", "server.TestRFCCasesByDefault", "server.TestOwnCases", "server.TestClientCases"}

func conformanceText(areas []area, e *evidence, further []blackBox) []byte {
	w := &bytes.Buffer{}
	fmt.Fprintf(w, "<!-- Made of %s by conformance_test.go; edit that, and then: %s -->\n\n", requirementsFile, updateDoc)
	writeIntroduction(w, e)
	writeSummary(w, areas)
	for _, a := range areas {
		writeArea(w, a)
	}
	writeQuirks(w, areas, e)
	ofRFCs, ofClients := apart(further)
	writeClients(w, e, ofClients)
	writeFurther(w, ofRFCs)
	return w.Bytes()
}

func writeIntroduction(w *bytes.Buffer, e *evidence) {
	own := 0
	for _, c := range e.cases {
		if strings.HasPrefix(c.ID, "OWN-") {
			own++
		}
	}
	fmt.Fprintf(w, `# Conformance

What RFC 7643 (schemas), 7644 (protocol) and 9865 (cursors) ask of a SCIM server, what scimbox makes of each point, and the
tests that show it. Levels are those of the RFCs; what belongs to a feature that is optional (PATCH, filters, sorting, bulk,
ETags, cursors) counts as if the feature were not, because scimbox announces all of them. The wording is ours.

Proofs are of two kinds:

- **Cases**, such as `+"`PAT-069`"+`: requests that are sent to a real server on loopback, with what has to come back. They are in
  [server/testdata/cases](../server/testdata/cases/README.md), one a line: %d of the RFCs, and %d with `+"`OWN-`"+` that
  go further into each of them. `+"`PAT-001..011`"+` stands for all that there are from the one to the other.
- **Go tests**, such as `+"`scim.TestFold`"+`: package, test, subtest. They show what no request can: concurrency, the store, the
  clock, schemas of one's own.

By default scimbox also accepts much that the RFCs do not have and clients send, [each deviation by name](#deviations). With
`+"`strict = true`"+` in the configuration, or for a token of the preset `+"`standard`"+`, it does not. All cases of the RFCs are run
against a strict server and against a default one, where %d of them are answered otherwise by a quirk
([which](decisions/0030-cases-believed-wrong.md)); most of ours are, too.

`+"```sh"+`
go test ./server -run Cases                    # all cases
go test ./server -run 'RFCCases/PAT-069'       # one, strict and by default
go test ./...                                  # all tests; fails if this page claims what no test shows
%s      # makes this page anew
`+"```"+`

A claim whose proof is not there, or is believed wrong or skipped, a deviation that no requirement names, and a page that is
out of date fail the tests. Cases that no requirement names are [at the end](#further-cases).

`, len(e.cases)-own, own, len(e.otherwise), updateDoc)
	if n := len(e.wrong); n > 0 {
		fmt.Fprintf(w, "Believed wrong, and run with another expectation: %d cases, which prove nothing here.\n\n", n)
	}
}

func writeSummary(w *bytes.Buffer, areas []area) {
	count := map[[2]string]int{}
	for _, a := range areas {
		for _, r := range a.requirements {
			count[[2]string{r.level, r.state}]++
			count[[2]string{"", r.state}]++
			count[[2]string{r.level, ""}]++
			count[[2]string{"", ""}]++
		}
	}
	w.WriteString("## Summary\n\n| |")
	for _, l := range levels {
		fmt.Fprintf(w, " %s |", l)
	}
	w.WriteString(" all | |\n| --- | ---: | ---: | ---: | ---: | --- |\n")
	row := func(title, state, means string) {
		fmt.Fprintf(w, "| %s |", title)
		for _, l := range append(slices.Clone(levels), "") {
			fmt.Fprintf(w, " %d |", count[[2]string{l, state}])
		}
		fmt.Fprintf(w, " %s |\n", means)
	}
	for _, s := range states {
		row(s.shown, s.name, s.means)
	}
	row("all", "", "")
	w.WriteString("\nNot met as asked, at the level MUST:\n\n")
	for _, a := range areas {
		var events []string
		for _, r := range a.requirements {
			switch {
			case r.level != "MUST" || r.state != "partly" && r.state != "not offered":
			case strings.HasPrefix(r.where, "9967"):
				events = append(events, r.id)
			default:
				fmt.Fprintf(w, "- %s, %s: %s %s\n", r.id, shownState(r), r.text, r.note)
			}
		}
		if len(events) > 0 {
			fmt.Fprintf(w, "- %s: RFC 9967, which is optional as a whole, is not offered\n", strings.Join(events, ", "))
		}
	}
	w.WriteString("\n")
}

func shownState(r *requirement) string {
	for _, s := range states {
		if s.name == r.state {
			return s.shown
		}
	}
	return r.state
}

var cellEscapes = strings.NewReplacer("|", `\|`, "*", `\*`)

func writeArea(w *bytes.Buffer, a area) {
	fmt.Fprintf(w, "## %s\n\n| id | level | RFC, section | asked | state | proof |\n| --- | --- | --- | --- | --- | --- |\n", a.title)
	for _, r := range a.requirements {
		asked := cellEscapes.Replace(r.text)
		if r.note != "" {
			asked += "<br>→ " + cellEscapes.Replace(r.note)
		}
		state := shownState(r)
		if len(r.differs) > 0 {
			state += "; by default " + coded(r.differs)
		}
		fmt.Fprintf(w, "| %s | %s | %s | %s | %s | %s |\n", r.id, r.level, r.where, asked, state, strings.Join(r.proofs, " "))
	}
	w.WriteString("\n")
}

func coded(names []string) string { return "`" + strings.Join(names, "`, `") + "`" }

func writeQuirks(w *bytes.Buffer, areas []area, e *evidence) {
	bends := map[string][]string{}
	for _, a := range areas {
		for _, r := range a.requirements {
			for _, q := range r.differs {
				bends[q] = append(bends[q], r.id)
			}
		}
	}
	w.WriteString(`## Deviations

What a server that is not strict does otherwise. Quirks are fields of ` + "`quirks`" + ` in [scim/quirks.go](../scim/quirks.go), and
[clients/](clients/README.md) says who needs them. Those that are on by default are asked only where the RFC's reading of a
request has failed; the others change what a valid request means, and a preset or a setting has to ask for them. Each has a
transcript that shows it at work, and what the same request is answered to the letter.

| quirk | | by default | touches |
| --- | --- | --- | --- |
`)
	for _, q := range e.quirks {
		on := "off"
		if q.byDefault {
			on = "on"
		}
		name := "`" + q.name + "`"
		if file := "scim/testdata/transcripts/quirk-" + kebab(q.name) + ".txtar"; exists(file) {
			name = fmt.Sprintf("[%s](../%s)", name, file)
		}
		fmt.Fprintf(w, "| %s | %s | %s | %s |\n", name, cellEscapes.Replace(q.says), on, strings.Join(bends[q.name], ", "))
	}
	w.WriteString("\nBesides, keys of the configuration by which a server differs from a strict one:\n\n")
	for key := range bends {
		if !e.keys[key] {
			delete(bends, key)
		}
	}
	for _, key := range sortedKeys(bends) {
		fmt.Fprintf(w, "- `%s`: %s\n", key, strings.Join(bends[key], ", "))
	}
	w.WriteString("\n")
}

func exists(name string) bool {
	_, err := os.Stat(name)
	return err == nil
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

func sortedKeys[V any](m map[string]V) []string {
	var l []string
	for k := range m {
		l = append(l, k)
	}
	slices.Sort(l)
	return l
}

// apart parts cases on what the RFCs say from those on what clients send.
func apart(cases []blackBox) (ofRFCs []blackBox, ofClients []string) {
	for _, c := range cases {
		if c.Section != "" && '0' <= c.Section[0] && c.Section[0] <= '9' {
			ofRFCs = append(ofRFCs, c)
		} else {
			ofClients = append(ofClients, c.ID)
		}
	}
	return ofRFCs, ofClients
}

func writeClients(w *bytes.Buffer, e *evidence, own []string) {
	type counts struct{ must, should, may int }
	clients := map[string]*counts{}
	for _, c := range e.clients {
		n := clients[c.Client]
		if n == nil {
			n = &counts{}
			clients[c.Client] = n
		}
		switch c.Level {
		case "must":
			n.must++
		case "should":
			n.should++
		default:
			n.may++
		}
	}
	w.WriteString(`## Clients

Requests that real clients send, with what they need back: server/testdata/cases/client_requests.jsonl. They are run against
a server with the default settings, without a preset and with that of the client, and prove nothing about the RFCs.

| client | must | should | may |
| --- | ---: | ---: | ---: |
`)
	for _, name := range sortedKeys(clients) {
		n := clients[name]
		fmt.Fprintf(w, "| %s | %d | %d | %d |\n", name, n.must, n.should, n.may)
	}
	if len(own) > 0 {
		fmt.Fprintf(w, "\nOur own cases of what clients send, each with the presets that it names: %s.\n", strings.Join(inRanges(own), " "))
	}
	w.WriteString("\n")
}

// writeFurther lists the cases that no requirement names, by section, so that none is lost.
func writeFurther(w *bytes.Buffer, further []blackBox) {
	w.WriteString("## Further cases\n\n")
	if len(further) == 0 {
		w.WriteString("None: each case is named above.\n")
		return
	}
	w.WriteString("Run like the others, and named by no requirement above.\n\n| RFC, section | cases |\n| --- | --- |\n")
	sections := map[string][]string{}
	for _, c := range further {
		sections[c.Section] = append(sections[c.Section], c.ID)
	}
	for _, s := range sortedKeys(sections) {
		fmt.Fprintf(w, "| %s | %s |\n", s, strings.Join(inRanges(sections[s]), " "))
	}
}

// inRanges writes A-001 A-002 A-003 as A-001..003.
func inRanges(ids []string) (list []string) {
	ids = slices.Sorted(slices.Values(ids))
	for i := 0; i < len(ids); {
		cut := strings.LastIndexByte(ids[i], '-') + 1
		j := i
		for j+1 < len(ids) && follows(ids[j], ids[j+1]) {
			j++
		}
		if j > i {
			list = append(list, ids[i]+".."+ids[j][cut:])
		} else {
			list = append(list, ids[i])
		}
		i = j + 1
	}
	return list
}

// follows says whether b is the id behind a.
func follows(a, b string) bool {
	cut := strings.LastIndexByte(a, '-') + 1
	if len(a) != len(b) || a[:cut] != b[:cut] {
		return false
	}
	var m, n int
	_, err := fmt.Sscan(strings.TrimLeft(a[cut:], "0")+" "+strings.TrimLeft(b[cut:], "0"), &m, &n)
	return err == nil && n == m+1
}
