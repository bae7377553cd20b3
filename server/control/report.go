package control

import "scimbox/storage"

func newReport(found *storage.Report, repair bool) *Report {
	r := &Report{Examined: found.Rows, More: found.More, Repaired: repair, Findings: []Finding{}}
	for _, f := range found.Findings {
		r.Findings = append(r.Findings, Finding{Kind: string(f.Kind), Where: f.Where, Text: f.Text, Repaired: f.Repaired})
	}
	return r
}
