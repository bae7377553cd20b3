package storage

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// benchRecord is a user as a provisioning client makes one: 1.5 KB, which compress to half, and five index rows.
func benchRecord(id string) Record {
	r := Record{Ref: user(id)}
	sum := sha256.Sum256([]byte(id))
	for len(r.Body) < 1500 {
		r.Body = hex.AppendEncode(r.Body, sum[:])
		sum[len(r.Body)%32]++
		sum[len(r.Body)/7%32] ^= byte(len(r.Body))
	}
	for _, field := range []string{"displayname", "externalid", "emails.value", "meta.lastmodified"} {
		r.Terms = append(r.Terms, Term{Field: field, Value: []byte(field + " of " + id)})
	}
	r.Terms = append(r.Terms, Term{Field: "username", Value: []byte(id + "@example.com"), Unique: true})
	return r
}

func benchStore(b *testing.B) *Store {
	b.Helper()
	s, err := OpenDir(b.Context(), b.TempDir(), Options{})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		if err := s.Close(); err != nil {
			b.Error(err)
		}
	})
	return s
}

func benchCreate(s *Store, id string) error {
	return s.Update(context.Background(), tenant, Origin{Actor: "t1"}, func(tx *Tx) error {
		r := benchRecord(id)
		r.Stamp = tx.Stamp(Stamp{})
		if err := tx.Put(r); err != nil {
			return err
		}
		return tx.Log(Entry{Op: "create", Ref: r.Ref, Detail: []byte(`{"userName":true}`)})
	})
}

// createBy creates n records from so many writers and returns how long it took.
func createBy(b *testing.B, s *Store, writers, n int, name string) time.Duration {
	b.Helper()
	var next atomic.Int64
	var wg sync.WaitGroup
	start := time.Now()
	for range writers {
		wg.Go(func() {
			for i := next.Add(1); i <= int64(n); i = next.Add(1) {
				if err := benchCreate(s, fmt.Sprintf("%s-%09d", name, i)); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	return time.Since(start)
}

func BenchmarkUpdate(b *testing.B) {
	for _, writers := range []int{1, 16, 64} {
		b.Run(fmt.Sprintf("writers=%d", writers), func(b *testing.B) {
			s := benchStore(b)
			b.ResetTimer()
			took := createBy(b, s, writers, b.N, "u")
			b.ReportMetric(float64(b.N)/took.Seconds(), "creates/s")
		})
	}
}

// rawRows returns the rows of a create, as the store writes them.
func rawRows(id string, seq uint64) (rows []Item) {
	r := benchRecord(id)
	add := func(k, payload []byte) { rows = append(rows, Item{k, sealRow(k, payload)}) }
	add(recordKey(r.Ref), appendRecord(nil, &r))
	for _, t := range r.Terms {
		if t.Unique {
			add(t.key(r.Ref), []byte(id))
		} else {
			rows = append(rows, Item{t.key(r.Ref), nil})
		}
	}
	add(counterKey(tenant, "User"), []byte{1})
	add(journalKey(seq), appendEntry(nil, &Entry{Op: "create", Ref: r.Ref, Detail: []byte(`{"userName":true}`)}))
	return rows
}

// BenchmarkAgainstRaw compares 64 writers with the engine alone, which is given the same rows, 64 creates in a transaction.
// Both take turns, so that whatever else the machine does meets both.
func BenchmarkAgainstRaw(b *testing.B) {
	const together, turn = 64, 1024
	s := benchStore(b)
	e, err := OpenBadger(filepath.Join(b.TempDir()))
	if err != nil {
		b.Fatal(err)
	}
	defer e.Close()
	var store, raw time.Duration
	done := 0
	for b.Loop() {
		store += createBy(b, s, together, turn, fmt.Sprintf("turn%06d", done))
		start := time.Now()
		for i := 0; i < turn; i += together {
			err := e.Update(b.Context(), func(w Writer) error {
				for j := range together {
					for _, row := range rawRows(fmt.Sprintf("turn%06d-%09d", done, i+j), uint64(done*turn+i+j)) {
						if err := w.Set(row.Key, row.Value); err != nil {
							return err
						}
					}
				}
				return nil
			})
			if err != nil {
				b.Fatal(err)
			}
		}
		raw += time.Since(start)
		done++
	}
	n := float64(done * turn)
	b.ReportMetric(n/store.Seconds(), "store-creates/s")
	b.ReportMetric(n/raw.Seconds(), "raw-creates/s")
	b.ReportMetric(raw.Seconds()/store.Seconds(), "ratio")
}

func BenchmarkRead(b *testing.B) {
	s := benchStore(b)
	const n = 20_000
	createBy(b, s, 64, n, "u")
	id := func(i int) string { return fmt.Sprintf("u-%09d", 1+i*7919%n) }
	b.Run("Get", func(b *testing.B) {
		for i := 0; b.Loop(); i++ {
			err := s.View(b.Context(), tenant, func(tx *Tx) error { _, err := tx.Get("User", id(i)); return err })
			if err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("Unique", func(b *testing.B) {
		for i := 0; b.Loop(); i++ {
			err := s.View(b.Context(), tenant, func(tx *Tx) error {
				_, err := tx.Unique("User", "username", []byte(id(i)+"@example.com"))
				return err
			})
			if err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("Find=1", func(b *testing.B) {
		for i := 0; b.Loop(); i++ {
			err := s.View(b.Context(), tenant, func(tx *Tx) error {
				hits := 0
				for _, err := range tx.Find("User", "externalid", Exactly([]byte("externalid of "+id(i)))) {
					if hits++; err != nil {
						return err
					}
				}
				if hits != 1 {
					return fmt.Errorf("%d hits", hits)
				}
				return nil
			})
			if err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("Find=100", func(b *testing.B) {
		for i := 0; b.Loop(); i++ {
			err := s.View(b.Context(), tenant, func(tx *Tx) error {
				hits := 0
				for _, err := range tx.Find("User", "displayname", TermRange{From: []byte("displayname of " + id(i%100))}) {
					if err != nil {
						return err
					}
					if hits++; hits == 100 {
						break
					}
				}
				return nil
			})
			if err != nil {
				b.Fatal(err)
			}
		}
	})
}

// BenchmarkReadBesideWriters measures how long a Get takes that comes at any time while others write, one in half a millisecond.
// Gets one after another would hide what it is about: most of them would come where there is nothing to wait for.
func BenchmarkReadBesideWriters(b *testing.B) {
	s := benchStore(b)
	createBy(b, s, 64, 1000, "u")
	ctx, stop := context.WithCancel(b.Context())
	var wg sync.WaitGroup
	for w := range 16 {
		wg.Go(func() {
			for i := 0; ctx.Err() == nil; i++ {
				if err := benchCreate(s, fmt.Sprintf("w%d-%09d", w, i)); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	tick := time.NewTicker(500 * time.Microsecond)
	defer tick.Stop()
	var took []time.Duration
	for i := 0; b.Loop(); i++ {
		<-tick.C
		start := time.Now()
		err := s.View(b.Context(), tenant, func(tx *Tx) error {
			_, err := tx.Get("User", fmt.Sprintf("u-%09d", 1+i%1000))
			return err
		})
		if err != nil {
			b.Fatal(err)
		}
		took = append(took, time.Since(start))
	}
	stop()
	wg.Wait()
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)/2].Microseconds()), "median-us")
	b.ReportMetric(float64(took[len(took)*99/100].Microseconds()), "p99-us")
}

func BenchmarkAddMember(b *testing.B) {
	for _, members := range []int{10, 100_000} {
		b.Run(fmt.Sprintf("members=%d", members), func(b *testing.B) {
			s := benchStore(b)
			g := group("g1")
			link := func(i int) Link { return Link{From: g, Field: "members", To: user(fmt.Sprintf("u%09d", i))} }
			for at := 0; at < members; at += 5000 {
				err := s.Update(b.Context(), tenant, Origin{}, func(tx *Tx) error {
					for i := at; i < min(at+5000, members); i++ {
						if err := tx.SetLink(link(i)); err != nil {
							return err
						}
					}
					return tx.Put(Record{Ref: g})
				})
				if err != nil {
					b.Fatal(err)
				}
			}
			for i := members; b.Loop(); i++ {
				err := s.Update(b.Context(), tenant, Origin{}, func(tx *Tx) error {
					if _, err := tx.GetLink(g, "members", link(i).To); err == nil {
						return fmt.Errorf("%d is a member already", i)
					}
					return tx.SetLink(link(i))
				})
				if err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkDeleteGroup measures how long the deletion of a group takes to be answered, and until its links are gone.
func BenchmarkDeleteGroup(b *testing.B) {
	for _, members := range []int{1000, 100_000} {
		b.Run(fmt.Sprintf("members=%d", members), func(b *testing.B) {
			s := benchStore(b)
			var answered, gone time.Duration
			n := 0
			for ; b.Loop(); n++ {
				g := group(fmt.Sprint("g", n))
				for at := 0; at < members; at += 5000 {
					err := s.Update(b.Context(), tenant, Origin{}, func(tx *Tx) error {
						for i := at; i < min(at+5000, members); i++ {
							if err := tx.SetLink(Link{From: g, Field: "members", To: user(fmt.Sprintf("u%09d", i))}); err != nil {
								return err
							}
						}
						return tx.Put(Record{Ref: g})
					})
					if err != nil {
						b.Fatal(err)
					}
				}
				start := time.Now()
				if err := s.Update(b.Context(), tenant, Origin{}, func(tx *Tx) error { return tx.Delete("Group", g.ID) }); err != nil {
					b.Fatal(err)
				}
				answered += time.Since(start)
				for s.sweeps.pending.Load() > 0 {
					time.Sleep(time.Millisecond)
				}
				gone += time.Since(start)
			}
			b.ReportMetric(float64(answered.Microseconds())/float64(n)/1000, "answered-ms")
			b.ReportMetric(float64(gone.Microseconds())/float64(n)/1000, "gone-ms")
		})
	}
}

// BenchmarkOpenDir opens a store of 20,000 users that was stopped, and one that was not.
func BenchmarkOpenDir(b *testing.B) {
	dir := b.TempDir()
	s, err := OpenDir(b.Context(), dir, Options{})
	if err != nil {
		b.Fatal(err)
	}
	createBy(b, s, 64, 20_000, "u")
	if err := s.engine.(*sealedEngine).sealer.write(b.Context()); err != nil {
		b.Fatal(err)
	}
	killed := copyDir(b, dir)
	if err := s.Close(); err != nil {
		b.Fatal(err)
	}
	for name, dir := range map[string]string{"stopped": dir, "killed": killed} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				b.StopTimer()
				again := copyDir(b, dir)
				b.StartTimer()
				s, err := OpenDir(b.Context(), again, Options{})
				if err != nil {
					b.Fatal(err)
				}
				b.StopTimer()
				if err := s.Close(); err != nil {
					b.Fatal(err)
				}
				b.StartTimer()
			}
		})
		for how, known := range map[string]bool{"verify": false, "verify known tables": true} {
			b.Run(name+"/"+how, func(b *testing.B) { benchVerify(b, dir, known) })
		}
	}
}

func benchVerify(b *testing.B, dir string, again bool) {
	store := filepath.Join(dir, storeName)
	m, err := readManifest(store)
	if err != nil {
		b.Fatal(err)
	}
	sums, err := verifyTables(b.Context(), store, m, nil)
	if err != nil {
		b.Fatal(err)
	}
	total := int64(0)
	for _, sum := range sums {
		total += sum.Size
	}
	if !again {
		sums = nil
	}
	b.SetBytes(total)
	for b.Loop() {
		if _, err := verifyTables(b.Context(), store, m, sums); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkRow(b *testing.B) {
	r := benchRecord("u1")
	k, payload := recordKey(r.Ref), appendRecord(nil, &r)
	row := sealRow(k, payload)
	b.Run("seal", func(b *testing.B) {
		b.SetBytes(int64(len(row)))
		for b.Loop() {
			sealRow(k, payload)
		}
	})
	b.Run("open", func(b *testing.B) {
		b.SetBytes(int64(len(row)))
		for b.Loop() {
			if _, err := openRow(k, row); err != nil {
				b.Fatal(err)
			}
		}
	})
}

func BenchmarkSeal(b *testing.B) {
	dir := b.TempDir()
	sl := seal{Format: Format, Commits: 1, Tables: make([]uint64, 100), Counts: map[string]map[string]int64{tenant: {"User": 1, "Group": 1}}}
	for b.Loop() {
		if err := writeSeal(dir, sl); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkOverlay sets a row and scans ten, above a number of rows that are not yet committed.
func BenchmarkOverlay(b *testing.B) {
	for _, pending := range []int{10, 1000, 25_000} {
		b.Run(fmt.Sprintf("pending=%d", pending), func(b *testing.B) {
			m := Memory().(*memory)
			rows, err := m.snapshot()
			if err != nil {
				b.Fatal(err)
			}
			o := newOverlay(memoryReader{b.Context(), rows})
			row := func(i int) []byte { return fmt.Appendf(nil, "row %09d", i) }
			for i := range pending {
				if err := o.Set(row(i), nil); err != nil {
					b.Fatal(err)
				}
			}
			for i := 0; b.Loop(); i++ {
				at := i * 7919 % pending
				if err := o.Set(row(at), nil); err != nil {
					b.Fatal(err)
				}
				for _, err := range o.Scan(Range{Start: row(at), End: row(at + 10)}) {
					if err != nil {
						b.Fatal(err)
					}
				}
			}
		})
	}
}
