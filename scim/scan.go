package scim

import (
	"runtime"
	"slices"
	"sync"
	"sync/atomic"

	"scimbox/storage"
)

// A filter that no index helps with has every record read. Where a processor has nothing else to do, two goroutines share that: the first
// begins at the first id and the second at the last, until they meet, so that each has half of the work wherever most ids are. The first
// alone says what is wrong: a record that the second cannot judge it leaves to the first, and ends. So answers and refusals are
// those of one goroutine (docs/decisions/0088-two-read-a-long-scan.md).

const (
	// shareAfter is how many records one goroutine reads before it looks for another. Fewer take some 2 ms.
	shareAfter = 1000
	// secondWork is how many steps the second may take for one record. What needs more is left to the first, which counts them all.
	secondWork = 100_000
	// secondYields is after how many records the second lets others run: it has only what is left over of the processors.
	secondYields = 64
)

// scanners are the goroutines of the process that read all records of a type, those of all services: whoever asks has one, and second ones
// there are as long as a processor is left for them.
var scanners atomic.Int32

// admitSecond counts one more scanner if there is a processor for it.
func admitSecond(processors int32) bool {
	for {
		n := scanners.Load()
		if n >= processors {
			return false
		}
		if scanners.CompareAndSwap(n, n+1) {
			return true
		}
	}
}

// fullScan reads all records of a type for a query.
type fullScan struct {
	s          *Service
	c          *call
	q          *part
	processors int32

	done  chan struct{} // closed when the second has ended; nil if there was none
	found []match       // by the second, the last id first; the first's when done is closed

	mu        sync.Mutex
	low, high string // the last id that the first has taken, and the second; "" = none
	over      bool   // the second is to end
	did       done   // by the second, and not counted by the first yet
}

// done is what was done: records that were read, steps that it took, bytes of keys to sort by.
type done struct{ records, steps, keys int }

func (d *done) add(o done) {
	d.records, d.steps, d.keys = d.records+o.records, d.steps+o.steps, d.keys+o.keys
}

// processors is how many goroutines may scan at the same time: more threads may run Go than there are processors. A variable for tests.
var processors = func() int32 { return int32(min(runtime.GOMAXPROCS(0), runtime.NumCPU(), 1<<10)) }

// matchesOfAll is matches for a filter that no index helps with: records are read as they lie beside each other.
func (s *Service) matchesOfAll(tx *storage.Tx, c *call, q *part, descending bool) ([]match, error) {
	scanners.Add(1)
	defer scanners.Add(-1)
	scan := &fullScan{s: s, c: c, q: q, processors: processors()}
	defer scan.end()
	list, err := scan.first(tx)
	if err != nil {
		return nil, err
	}
	slices.SortFunc(list, func(a, b match) int { return a.compare(b, descending && q.sort != nil) })
	return list, nil
}

// first reads from the first id on, and returns what both have found.
func (f *fullScan) first(tx *storage.Tx) (list []match, err error) {
	x := f.s.scanExaminer(tx, f.c, f.q)
	examined := 0
	for rec, err := range tx.BareRecords(f.q.t.Name) {
		if err != nil {
			return nil, err
		}
		if examined > 0 && examined%f.s.o.shareAfter == 0 && f.done == nil {
			f.share(tx, rec.ID)
		}
		ours, others := f.takeLow(rec.ID)
		if examined += others; !ours {
			break
		}
		if examined++; examined > f.s.o.MaxScan {
			return nil, f.s.tooMany(f.q)
		}
		m, ok, err := x.match(f.q, rec)
		if err != nil {
			return nil, err
		}
		if ok {
			list = append(list, m)
		}
	}
	if f.done == nil {
		return list, nil
	}
	<-f.done
	examined += f.count()
	switch {
	case examined > f.s.o.MaxScan:
		return nil, f.s.tooMany(f.q)
	case f.q.work.over():
		return nil, errWork
	}
	slices.Reverse(f.found)
	return append(list, f.found...), f.q.keysFit()
}

// share starts the second if there is a processor for it, unless there are more records than may be read: where the
// refusal comes is then for one alone to say. The first is at the record of id.
func (f *fullScan) share(tx *storage.Tx, id string) {
	if n, err := tx.Count(f.q.t.Name); err != nil || n > int64(f.s.o.MaxScan) || !admitSecond(f.processors) {
		return
	}
	other := tx.Fork()
	if other == nil {
		scanners.Add(-1)
		return
	}
	f.low, f.done = id, make(chan struct{})
	q := *f.q
	q.work, q.keys, q.x = newWork(secondWork), 0, nil
	q.filter = q.filter.clone()
	q.filter.counts(q.work)
	go f.second(other, &q)
}

// takeLow takes the record of an id for the first, unless the second has it. It returns how many the second has read since.
func (f *fullScan) takeLow(id string) (ours bool, others int) {
	if f.done == nil {
		return true, 0
	}
	for waited := false; ; waited = true {
		f.mu.Lock()
		others += f.count()
		if ours = f.high == "" || id < f.high; ours {
			f.low = id
		}
		f.mu.Unlock()
		if ours || waited {
			return ours, others
		}
		<-f.done // it may give back its last one
	}
}

// count counts what the second did as done by the query, and returns how many records that were. f.mu is held, or the second has
// ended.
func (f *fullScan) count() (others int) {
	f.q.work.do(f.did.steps)
	f.q.keys += f.did.keys
	others, f.did = f.did.records, done{}
	return others
}

// end ends the second, if it has not ended.
func (f *fullScan) end() {
	if f.done == nil {
		return
	}
	f.mu.Lock()
	f.over = true
	f.mu.Unlock()
	<-f.done
}

// second reads from the last id on. tx and q are its own.
func (f *fullScan) second(tx *storage.Tx, q *part) {
	defer close(f.done)
	defer scanners.Add(-1)
	var did done // and not told yet
	before, judging := "", false
	defer func() {
		_ = recover() // whatever it is, the first meets it too, where somebody answers for it
		f.mu.Lock()
		defer f.mu.Unlock()
		f.did.add(did)
		if judging {
			f.high = before
		}
	}()
	x, n := f.s.scanExaminer(tx, f.c, q), 0
	for rec, err := range tx.RecordsBackward(q.t.Name) {
		if err != nil {
			return
		}
		if before, judging = f.takeHigh(rec.ID, &did); !judging {
			return
		}
		q.work.left, q.keys = secondWork, 0
		m, ok, err := x.match(q, rec)
		if err != nil {
			return
		}
		judging = false
		did.add(done{1, secondWork - q.work.left, q.keys})
		if ok {
			f.found = append(f.found, m)
		}
		if n++; n%secondYields == 0 {
			runtime.Gosched()
		}
	}
}

// takeHigh takes the record of an id for the second, unless the first has it or the second is to end, and tells what it did before. It
// returns what it had taken last.
func (f *fullScan) takeHigh(id string, did *done) (had string, ours bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.did.add(*did)
	*did = done{}
	if f.over || id <= f.low || scanners.Load() > f.processors {
		return "", false
	}
	had, f.high = f.high, id
	return had, true
}
