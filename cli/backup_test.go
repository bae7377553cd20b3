package cli

import (
	"errors"
	"strings"
	"testing"
	"time"

	"scimbox/server/control"
	"scimbox/storage"
)

// What a verified backup is worth, for people and as an exit code.
func TestPrintVerified(t *testing.T) {
	m := control.Manifest{Rows: 7, Seq: 3, Version: "1.2.3", Created: time.Now()}
	a, out, errs := testApp()
	if err := a.printVerified(&control.Restored{Manifest: m, Check: &storage.Report{}}, "a b", 1500*time.Millisecond); err != nil || !strings.HasPrefix(out.String(), "a b restores: 7 rows as of change 3, ") || !strings.HasSuffix(out.String(), "; took 1.5s\n") || errs.Len() > 0 {
		t.Errorf("%v: %s%s", err, out, errs)
	}
	a, out, errs = testApp()
	found := &storage.Report{Findings: []storage.Finding{{Kind: storage.StrayRow, Where: "User 1", Text: "a row too many"}}}
	err := a.printVerified(&control.Restored{Manifest: m, Check: found}, "a", time.Second)
	if !errors.Is(err, errReported) || !strings.HasPrefix(out.String(), "User 1: a row too many\na restores: ") || !strings.Contains(errs.String(), "scimbox check --repair") {
		t.Errorf("%v: %s%s", err, out, errs)
	}
}

func TestBackupRows(t *testing.T) {
	now := time.Date(2026, 11, 25, 12, 0, 0, 0, time.UTC)
	for _, test := range []struct {
		b    *control.Backups
		want string
	}{
		{nil, ""},
		{&control.Backups{Dir: "d"}, "Backups none are made by themselves ([backup] every)"},
		{&control.Backups{Dir: "d", Every: "24h"}, "Backups none yet; a running server makes them in d"},
		{&control.Backups{Dir: "d", Every: "24h", Next: now.Add(30 * time.Second)}, "Backups none yet; the first is made in 30 seconds"},
		{&control.Backups{
			Dir: "d", Every: "24h", Kept: 3, Last: &control.Backup{Created: now.Add(-5 * time.Hour), Size: 2048},
			Failure: &control.BackupFailure{At: now.Add(-3 * time.Minute), Error: "no space left"},
		}, "Backups 5 hours ago (2 KiB), 3 kept in d\n the last try failed 3 minutes ago: no space left"},
	} {
		var l []string
		for _, row := range backupRows(test.b, now) {
			l = append(l, strings.Join(row, " "))
		}
		if got := strings.Join(l, "\n"); got != test.want {
			t.Errorf("%+v:\n%s\nwant\n%s", test.b, got, test.want)
		}
	}
}
