package activity

import (
	"fmt"
	"testing"
	"time"

	"scimbox/storage"
)

// BenchmarkHistory is the history of somebody whose changes are the first of a journal of 100,000: the whole journal is read.
func BenchmarkHistory(b *testing.B) {
	s, err := storage.OpenDir(b.Context(), b.TempDir(), storage.Options{})
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	for i := range 100 {
		err := s.Update(b.Context(), "default", storage.Origin{Actor: "aaaaaaaaaaaa", Client: "192.0.2.7", Request: "q"}, func(tx *storage.Tx) error {
			for j := range 1000 {
				e := storage.Entry{
					Op: OpPatch, Ref: storage.Ref{Tenant: "default", Kind: "User", ID: fmt.Sprintf("u%d-%d", i, j)},
					Detail: fmt.Appendf(nil, `{"name":"user%d@example.com","changes":[{"path":"title","old":"a","new":"b"},{"path":"active","old":true,"new":false}]}`, i*1000+j),
				}
				if err := tx.Log(e); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			b.Fatal(err)
		}
	}
	r := &Reader{Store: s, Clock: time.Now}
	for b.Loop() {
		p, err := r.List(b.Context(), Query{Resource: "u0-0", Scan: 1_000_000})
		if err != nil || len(p.Events) != 1 {
			b.Fatal(len(p.Events), err)
		}
	}
}
