package server

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"scimbox/server/config"
	"scimbox/server/control"
	"scimbox/storage"
)

const password = "correct horse battery staple"

// A backup holds everything, certificates included, and neither a token nor a password that anybody could read.
func TestBackupHoldsNoSecret(t *testing.T) {
	s := start(t, nil)
	data := s.o.Config.Data
	if err := os.MkdirAll(filepath.Join(data, "tls", "acme"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(data, "tls", "acme", "cert.pem"), []byte("a certificate"), 0o600); err != nil {
		t.Fatal(err)
	}
	body := `{"schemas":["urn:ietf:params:scim:schemas:core:2.0:User"],"userName":"mira@example.com","password":"` + password + `"}`
	if resp, text := s.do(t, "POST", "/scim/v2/Users", body); resp.StatusCode != 201 {
		t.Fatal(text)
	}
	c, err := control.Connect(t.Context(), data, "")
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	file := filepath.Join(t.TempDir(), "a.backup")
	err = SaveBackup(file, func(w io.Writer) error {
		_, err := c.Backup(t.Context(), control.BackupRequest{}, w, nil)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	o, _ := options(t)
	r, err := Restore(t.Context(), o, RestoreOptions{Files: []string{file}})
	if err != nil || r.Findings() != "" {
		t.Fatalf("%v, %s", err, r.Findings())
	}
	if b, err := os.ReadFile(filepath.Join(o.Config.Data, "tls", "acme", "cert.pem")); err != nil || string(b) != "a certificate" {
		t.Errorf("the certificate is %q, %v", b, err)
	}
	// What is compressed in the file is looked at as the rows that it becomes.
	plain, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	store, err := storage.OpenDir(t.Context(), o.Config.Data, storage.Options{})
	if err != nil {
		t.Fatal(err)
	}
	err = store.Snapshot(t.Context(), func(snap *storage.Snapshot) error {
		for it, err := range snap.Rows() {
			if err != nil {
				return err
			}
			plain = append(append(append(plain, it.Key...), '\n'), it.Value...)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := store.Close(); err != nil {
		t.Fatal(err)
	}
	_, secret, ok := strings.Cut(strings.TrimPrefix(s.secret, "scimbox_"), "_")
	if !ok || len(secret) < 50 {
		t.Fatalf("a token has another form than this test knows")
	}
	for what, text := range map[string]string{"the token": s.secret, "the secret of the token": secret, "the password": password} {
		if bytes.Contains(plain, []byte(text)) {
			t.Errorf("%s is in the backup", what)
		}
	}
	for _, text := range []string{"mira@example.com", FirstTokenName} {
		if !bytes.Contains(plain, []byte(text)) {
			t.Errorf("%s is not in the backup", text)
		}
	}
	// The token opens the restored server.
	again, err := Open(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	defer again.Close()
	if _, _, made := again.FirstToken(); made {
		t.Error("the restored server has made a first token")
	}
}

// overdue makes a store with a backup of long ago, so that the next one is made at once.
func overdue(t *testing.T, o Options) string {
	t.Helper()
	dir := filepath.Join(o.Config.Data, "backups")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	first, err := OpenHouse(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	old := filepath.Join(dir, "scimbox-20200101T000000Z-1.1-"+first.Store.ID()+".backup")
	if err := errors.Join(first.Close(), os.WriteFile(old, nil, 0o600)); err != nil {
		t.Fatal(err)
	}
	return old
}

// A running server makes what is due, tells of it, and stops in the middle of one without a trace.
func TestScheduledBackups(t *testing.T) {
	o, log := options(t)
	old := overdue(t, o)
	dir := filepath.Dir(old)
	o.Config.Backup.Keep = 1
	s := serve(t, o, log)
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for s.Backups().Last.File == old {
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("none was made: %+v\n%s", s.Backups(), log)
		}
	}
	c, err := control.Connect(ctx, o.Config.Data, "")
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	st, err := c.Status(ctx)
	if err != nil || st.Backups == nil || st.Backups.Last == nil || st.Backups.Failure != nil || st.Backups.Every == "" || st.Backups.Next.Sub(st.Backups.Last.Created) != 24*time.Hour {
		t.Errorf("%+v, %v", st.Backups, err)
	}
	if _, err := VerifyBackup(ctx, o, RestoreOptions{Files: []string{st.Backups.Last.File}}); err != nil {
		t.Error(err)
	}
	if err := s.stop(); err != nil {
		t.Fatal(err)
	}
	// By now the old one is gone, whether or not the server was still at it.
	h, err := OpenHouse(ctx, o)
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	if b := h.Backups(); b.Kept < 1 || !b.Next.IsZero() || b.Dir != dir {
		t.Errorf("without a server: %+v", b)
	}
}

func TestBackupDirectory(t *testing.T) {
	for _, test := range []struct{ dir, want string }{{"", filepath.Join("data", "backups")}, {"/elsewhere", "/elsewhere"}} {
		c := config.Default()
		c.Data, c.Backup.Dir = "data", test.dir
		if p, err := backupPlan(c); err != nil || p.Dir != test.want || p.Every != 24*time.Hour || p.Keep != 7 {
			t.Errorf("%q: %+v, %v", test.dir, p, err)
		}
	}
}

// Before the format of a store changes there is a backup, and none by the clock goes for it.
func TestBackupBeforeMigration(t *testing.T) {
	o, log := options(t)
	o.Logger = slog.New(slog.NewTextHandler(log, nil))
	o.fill()
	o.Config.Backup.Keep = 1
	h, err := OpenHouse(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	if _, err := h.keeper.Make(t.Context(), ""); err != nil {
		t.Fatal(err)
	}
	if err := o.beforeMigration(t.Context(), h.Store, 1, 2); err != nil {
		t.Fatal(err)
	}
	found, err := filepath.Glob(filepath.Join(o.Config.Data, "backups", "before-format-2-scimbox-*.backup"))
	if err != nil || len(found) != 1 || h.Backups().Kept != 1 {
		t.Fatalf("%v, %v, %+v", found, err, h.Backups())
	}
	if _, err := VerifyBackup(t.Context(), o, RestoreOptions{Files: found}); err != nil {
		t.Error(err)
	}
	if !strings.Contains(log.String(), "go back to format 1") {
		t.Errorf("the log:\n%s", log)
	}
}
