package backup

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"testing"
	"time"

	"scimbox/storage"
)

const benchUsers = 200_000

// BenchmarkBackup shows what a backup and its restore cost beside reading all rows, the least that there is to do:
//
//	go test ./backup -run '^$' -bench Backup -benchtime 1x
func BenchmarkBackup(b *testing.B) {
	root := b.TempDir()
	dir := filepath.Join(root, "data")
	if err := os.Mkdir(dir, 0o700); err != nil {
		b.Fatal(err)
	}
	s := openDir(b, dir)
	defer closeStore(b, s)
	benchPut(b, s, 0, benchUsers, 1)
	stats, err := s.Stats(b.Context())
	if err != nil {
		b.Fatal(err)
	}
	timed := func(what string, fn func() error) {
		b.Helper()
		begun := time.Now()
		if err := fn(); err != nil {
			b.Fatalf("%s: %v", what, err)
		}
		b.ReportMetric(time.Since(begun).Seconds(), what+"-s")
	}
	size := func(what, file string) {
		info, err := os.Stat(file)
		if err != nil {
			b.Fatal(err)
		}
		b.ReportMetric(float64(info.Size())/1e6, what+"-MB")
	}
	for b.Loop() {
		b.ReportMetric(float64(stats.DiskSize)/1e6, "store-MB")
		timed("read", func() error {
			return s.Snapshot(b.Context(), func(snap *storage.Snapshot) error {
				raw := 0
				for it, err := range snap.Rows() {
					if err != nil {
						return err
					}
					raw += len(it.Key) + len(it.Value)
				}
				b.ReportMetric(float64(raw)/1e6, "rows-MB")
				return nil
			})
		})
		full, increment := filepath.Join(root, "full"), filepath.Join(root, "increment")
		var m *Manifest
		save := func(file string, o Options) func() error {
			return func() error {
				return Save(file, func(w io.Writer) (err error) {
					m, err = Write(context.Background(), w, s, o)
					return err
				})
			}
		}
		timed("full", save(full, Options{Dir: dir}))
		size("full", full)
		b.ReportMetric(float64(m.Rows), "rows")
		since := m.Position
		benchPut(b, s, 0, 1000, benchUsers/1000) // a thousand of them, all over
		timed("increment", save(increment, Options{Dir: dir, Since: since}))
		size("increment", increment)
		if info, err := os.Stat(filepath.Join(dir, positionsName, since)); err == nil {
			b.ReportMetric(float64(info.Size())/1e6, "position-MB")
		}
		timed("restore", func() error {
			_, err := Restore(b.Context(), filepath.Join(root, "restored"), []string{full, increment}, RestoreOptions{})
			return err
		})
		timed("verify", func() error {
			_, err := Verify(b.Context(), []string{full, increment}, RestoreOptions{Temp: root})
			return err
		})
		for _, made := range []string{full, increment, filepath.Join(root, "restored")} {
			if err := os.RemoveAll(made); err != nil {
				b.Fatal(err)
			}
		}
	}
}

// benchPut puts n users, each so many numbers behind the one before, with the rows that users have.
func benchPut(b *testing.B, s *storage.Store, from, n, step int) {
	for done := 0; done < n; done += 500 {
		update(b, s, func(tx *storage.Tx) error {
			for i := range min(500, n-done) {
				no := from + (done+i)*step
				id := fmt.Sprintf("0199c0de-%04x-7%03x-8%03x-%012x", no>>12, no&0xfff, no*7919%0xfff, no*104729)
				name := fmt.Sprintf("given.family%d@example.com", no)
				var stamp storage.Stamp
				if old, err := tx.Get("User", id); err == nil {
					stamp = old.Stamp
				}
				stamp = tx.Stamp(stamp)
				body := fmt.Sprintf(`{"userName":%q,"externalId":"%032x","displayName":"Given Family %d","name":{"givenName":"Given","familyName":"Family %d"},"emails":[{"value":%q,"type":"work","primary":true}],"active":true,"title":"Engineer","version":%d}`, name, no*15485863, no, no, name, stamp.Version)
				err := tx.Put(storage.Record{Ref: user(id), Stamp: stamp, Body: []byte(body), Terms: []storage.Term{
					{Field: "id", Value: []byte(id)}, {Field: "username", Value: []byte(name), Unique: true}, {Field: "displayname", Value: fmt.Appendf(nil, "given family %d", no)},
					{Field: "externalid", Value: fmt.Appendf(nil, "%032x", no*15485863)}, {Field: "emails.value", Value: []byte(name)},
					{Field: "meta.lastmodified", Value: stamp.Modified.AppendFormat(nil, time.RFC3339Nano)},
				}})
				if err != nil {
					return err
				}
				if err := tx.Log(storage.Entry{Op: "create", Ref: user(id), Detail: fmt.Appendf(nil, `{"name":%q}`, name)}); err != nil {
					return err
				}
			}
			return nil
		})
	}
}
