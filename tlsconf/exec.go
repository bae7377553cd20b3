package tlsconf

import (
	"context"
	"fmt"
	"os/exec"
	"strings"
	"time"

	"github.com/libdns/libdns"
)

// Exec sets records by a program of the operator, for every DNS that has no API of the others: it is called as
//
//	PROGRAM present NAME TEXT
//	PROGRAM cleanup NAME TEXT
//
// where NAME is the whole name of the TXT record. No shell is between. Another exit code than 0 is a failure.
type Exec struct{ Program string }

// AppendRecords adds records to a zone.
func (p *Exec) AppendRecords(ctx context.Context, zone string, records []libdns.Record) ([]libdns.Record, error) {
	return texts(zone, records, func(name, text string) error { return p.run(ctx, "present", name, text) })
}

// DeleteRecords removes records from a zone.
func (p *Exec) DeleteRecords(ctx context.Context, zone string, records []libdns.Record) ([]libdns.Record, error) {
	return texts(zone, records, func(name, text string) error { return p.run(ctx, "cleanup", name, text) })
}

func (p *Exec) run(ctx context.Context, what, name, text string) error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, p.Program, what, name, text) // #nosec G204 -- what the configuration names, without a shell
	cmd.WaitDelay = time.Second                                  // a child that has inherited the output does not keep us
	out, err := cmd.CombinedOutput()
	if err != nil {
		said := strings.Join(strings.Fields(string(out)), " ")
		return fmt.Errorf("%s %s: %w: %s", p.Program, what, err, said[:min(len(said), 500)])
	}
	return nil
}
