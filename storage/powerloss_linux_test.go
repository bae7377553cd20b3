package storage

import (
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"
)

// The power goes while many write: what was acknowledged is there when it has come back, whole, with everything that is derived
// from it. SCIMBOX_POWER_ROUNDS says how often (docs/guarantees.md).
func TestPowerLoss(t *testing.T) {
	if !amongOwnMounts(t) {
		return
	}
	total := rounds("SCIMBOX_POWER_ROUNDS", 3)
	random := rand.New(rand.NewPCG(uint64(time.Now().UnixNano()), 0))
	disk := newImage(t, 1<<30)
	var dir string
	var acknowledged []string
	sum := 0
	for round := range total {
		if round%roundsPerStore == 0 {
			if dir != "" {
				if err := os.RemoveAll(dir); err != nil {
					t.Fatal(err)
				}
			}
			dir, acknowledged = filepath.Join(disk.dir, strconv.Itoa(round)), nil
			if err := os.Mkdir(dir, 0o700); err != nil {
				t.Fatal(err)
			}
			if err := syncDirectory(disk.dir); err != nil {
				t.Fatal(err)
			}
		}
		// With the power the process would be gone too. Here it goes on for a moment, and ext4 may tell it that a sync has
		// succeeded whose transaction was thrown away (jbd2_complete_transaction does not ask whether the journal was
		// aborted). So what counts is what was heard before.
		heard := 0
		got, err := killedAfter(t, dir, 50+random.IntN(400), func(p *os.Process, acknowledged int) error {
			heard = acknowledged
			return errors.Join(disk.powerOff(), p.Kill())
		})
		if err != nil {
			t.Fatalf("round %d: %v", round, err)
		}
		got = got[:heard]
		if _, err := os.ReadDir(dir); err == nil {
			if err := os.WriteFile(filepath.Join(dir, "after"), nil, 0o600); err == nil {
				t.Fatal("the disk can be written without power")
			}
		}
		disk.unmount(t)
		disk.mount(t)
		acknowledged = append(acknowledged, got...)
		sum += len(got)
		if wantAcknowledged(t, dir, acknowledged); t.Failed() {
			t.Fatalf("in round %d", round)
		}
	}
	t.Logf("%d rounds, %d acknowledged, none lost", total, sum)
}

// What a disk loses that was only written and not made durable: else TestPowerLoss would find nothing.
func TestPowerLossLoses(t *testing.T) {
	if !amongOwnMounts(t) {
		return
	}
	disk := newImage(t, 64<<20)
	name := filepath.Join(disk.dir, "written")
	if err := os.WriteFile(name, []byte("and not synced"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := disk.powerOff(); err != nil {
		t.Fatal(err)
	}
	disk.unmount(t)
	disk.mount(t)
	if _, err := os.Stat(name); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("what was never synced has survived: %v", err)
	}
}
