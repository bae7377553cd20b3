package control

import (
	"testing"

	"scimbox/storage"
)

// What a report leaves out is counted, and is left to be repaired.
func TestReportOfMore(t *testing.T) {
	r := newReport(&storage.Report{Rows: 9, Findings: []storage.Finding{{Kind: storage.StrayRow, Repaired: true}, {Kind: storage.MissingRow}}, More: 5}, true)
	if r.Examined != 9 || r.More != 5 || r.Left() != 6 || len(r.Findings) != 2 || !r.Repaired {
		t.Errorf("%+v, %d left", r, r.Left())
	}
}
