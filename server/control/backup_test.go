package control

import (
	"bytes"
	"context"
	"errors"
	"io"
	"strings"
	"testing"

	"scimbox/auth"
	"scimbox/backup"
	"scimbox/storage"
)

// A backup comes through as it was written, and what goes wrong comes as what it is: before its first byte, and behind it.
func TestBackup(t *testing.T) {
	b := newBackend(t)
	b.Data = t.TempDir()
	engine := storage.Memory()
	store, err := storage.Open(t.Context(), engine, storage.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = store.Close() })
	b.Store = store
	c, ctx := newLocal(t, b), t.Context()
	if _, err := c.CreateToken(ctx, Create{Name: "x", Scope: auth.ScopeRead}); err != nil {
		t.Fatal(err)
	}
	err = store.Update(ctx, "default", storage.Origin{}, func(tx *storage.Tx) error {
		for i := range 5000 {
			id := "u" + strings.Repeat("x", i%50) + string(rune('a'+i/50%26)) + strings.Repeat("y", i/1300)
			if err := tx.Put(storage.Record{Ref: storage.Ref{Tenant: "default", Kind: "User", ID: id}, Body: bytes.Repeat([]byte(id), 9)}); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	var got bytes.Buffer
	steps := 0
	m, err := c.Backup(ctx, BackupRequest{}, &got, func(int64, int64) { steps++ })
	if err != nil || steps == 0 || m.Version != "1.2.3" {
		t.Fatalf("%+v, %d steps, %v", m, steps, err)
	}
	v, err := backup.Verify(ctx, []string{"-"}, backup.RestoreOptions{Stdin: &got, Temp: t.TempDir()})
	if err != nil || v.Hash != m.Hash {
		t.Fatalf("%+v, %v", v, err)
	}

	fails := func(what BackupRequest, w io.Writer, code Code, text string) {
		t.Helper()
		_, err := c.Backup(ctx, what, w, nil)
		var e *Error
		if !errors.As(err, &e) || e.Code != code || !strings.Contains(e.Message, text) {
			t.Errorf("%+v: %v", what, err)
		}
	}
	got.Reset()
	fails(BackupRequest{Since: "99"}, &got, Invalid, "position 99 is not known")
	fails(BackupRequest{Recipient: "AGE-SECRET-KEY-1"}, &got, Invalid, "no public key")
	if got.Len() > 0 {
		t.Errorf("what cannot be begun has %d bytes", got.Len())
	}
	full := errors.New("no space left")
	if _, err := c.Backup(ctx, BackupRequest{}, writerFunc(func([]byte) (int, error) { return 0, full }), nil); !errors.Is(err, full) {
		t.Errorf("a disk that is full: %v", err)
	}
	broken, cancel := context.WithCancel(ctx)
	if _, err := c.Backup(broken, BackupRequest{}, writerFunc(func(b []byte) (int, error) { cancel(); return len(b), nil }), nil); !errors.Is(err, context.Canceled) {
		t.Errorf("one that is broken off: %v", err)
	}
	err = engine.Update(ctx, func(w storage.Writer) error { return w.Set([]byte("rdefault\x00User\x00zz"), []byte("damage")) })
	if err != nil {
		t.Fatal(err)
	}
	fails(BackupRequest{}, io.Discard, Damaged, "User zz of tenant default is damaged")
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(b []byte) (int, error) { return f(b) }
