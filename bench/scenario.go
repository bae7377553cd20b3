package bench

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// smallStore is how many users the store has that everything is compared with that is to be the same at any size.
func smallStore(users int) int { return min(10_000, users/2) }

// leastUsers is with how many users there is anything to be measured.
const leastUsers = 1000

// turns is into how many pieces two things are cut that are compared, so that both meet the same minutes of the machine.
const turns = 5

// cycleConns is on how many connections a cycle of Entra is sent.
const cycleConns = 32

// bulkSize is how many users one bulk request creates.
const bulkSize = 500

// state is what scenarios hand on to those behind them.
type state struct {
	ids      []string // of all users
	large    string   // ids of groups
	little   string
	addition atomic.Int64 // users beyond those imported
	titles   atomic.Int64 // given to users, each another
}

var scenarios []scenario

type scenario struct {
	name    string
	measure func(ctx context.Context, r *run) error
}

func init() {
	s := &state{}
	scenarios = []scenario{
		{"binary", s.binary},
		{"idle", s.idle},
		{"token", s.token},
		{"slow disk", s.slow},
		{"small", s.small},
		{"import", s.importUsers},
		{"start", s.restart},
		{"read", s.read},
		{"look up", s.lookUp},
		{"create", s.create},
		{"change", s.change},
		{"members", s.members},
		{"pages", s.pages},
		{"filters", s.filters},
		{"scans", s.scans},
		{"mix", s.mix},
		{"check", s.check},
		{"churn", s.churn},
	}
}

const mib = 1 << 20

func megabytes(n int64) string { return fmt.Sprintf("%.0f MB", float64(n)/mib) }

func (s *state) binary(_ context.Context, r *run) error {
	info, err := os.Stat(r.Program)
	if err != nil {
		return err
	}
	r.add(Result{Name: "size of the program", Value: megabytes(info.Size()), Goal: "< 35 MB", Met: info.Size() < 35*mib})
	return nil
}

func (s *state) idle(ctx context.Context, r *run) error {
	if err := r.start(ctx, "data"); err != nil {
		return err
	}
	if n := r.server.memory(); n > 0 {
		r.add(Result{Name: "memory, idle and empty", Value: megabytes(n), Goal: "< 40 MB", Met: n < 40*mib})
	}
	return nil
}

// load creates the users from first to end by bulk requests, whose ids it puts into ids.
func load(ctx context.Context, c *child, conns int, ids []string, first, end int, progress func(done int)) error {
	var next atomic.Int64
	next.Store(int64(first))
	_, err := drive(ctx, c, conns, time.Hour, func(int, *rand.Rand) *request {
		from := int(next.Add(bulkSize)) - bulkSize
		if from >= end {
			return nil
		}
		progress(from)
		to := min(from+bulkSize, end)
		q := send(c, "POST", "/scim/v2/Bulk", bulkBody(from, to), 200)
		q.done = func(body []byte) { copy(ids[from:to], bulkIDs(body)) }
		return &q
	})
	if err != nil {
		return err
	}
	if i := slices.Index(ids[first:end], ""); i >= 0 {
		return fmt.Errorf("user %d was not created", first+i)
	}
	return nil
}

// importUsers creates all users by bulk requests.
func (s *state) importUsers(ctx context.Context, r *run) error {
	const conns = 4
	s.ids = make([]string, r.Users)
	var took [10]time.Duration // of each tenth
	var whole time.Duration
	for i := range took {
		begin := time.Now()
		err := load(ctx, r.server, conns, s.ids, r.Users*i/10, r.Users*(i+1)/10, func(done int) { r.part("import", float64(done)/float64(r.Users)) })
		if err != nil {
			return err
		}
		took[i] = time.Since(begin)
		whole += took[i]
	}
	rate := float64(r.Users) / whole.Seconds()
	x := Result{Name: fmt.Sprintf("import of %d users by Bulk", r.Users), Conns: conns, PerSecond: rate, Memory: r.server.peak(),
		Value: whole.Round(time.Second).String(), Goal: "1,000,000 in < 5 min", Met: rate > 1_000_000/300.0}
	if r.Users/10 >= 10*bulkSize { // or a tenth is over before it can be measured
		x.Limit, x.Ratio = "the last tenth beside the first", took[0].Seconds()/took[9].Seconds()
	}
	r.add(x)
	return nil
}

func bulkIDs(body []byte) (ids []string) {
	var answer struct {
		Operations []struct{ Location string }
	}
	if json.Unmarshal(body, &answer) != nil {
		return nil // the ids are then missing, and that is found
	}
	for _, op := range answer.Operations {
		ids = append(ids, op.Location[strings.LastIndexByte(op.Location, '/')+1:])
	}
	return ids
}

// idOf returns the id in the body of a resource.
func idOf(body []byte) string {
	var answer struct{ ID string }
	_ = json.Unmarshal(body, &answer) // "" then, which leads nowhere
	return answer.ID
}

func filterPath(filter string) string {
	return "/scim/v2/Users?filter=" + url.QueryEscape(filter)
}

// restart measures the time from the start of the process to its first answer.
func (s *state) restart(ctx context.Context, r *run) error {
	if err := r.stop(); err != nil {
		return err
	}
	if err := r.start(ctx, "data"); err != nil {
		return err
	}
	size, err := diskSize(r.server.data)
	if err != nil {
		return err
	}
	r.add(Result{Name: "disk for each user, as imported", Value: fmt.Sprintf("%.0f B", float64(size)/float64(r.Users)), Goal: "< 4,096 B", Met: size < int64(r.Users)*4096})
	r.add(Result{Name: fmt.Sprintf("start with %d users, to the first answer", r.Users), P50: r.server.opened, Goal: "< 1 s", Met: r.server.opened < time.Second})
	return nil
}

// against measures reads beside a server that answers with the same bytes.
func (s *state) against(ctx context.Context, r *run, name, goal string, least float64, path func(r *rand.Rand) string) error {
	c, err := dial(r.server.addr)
	if err != nil {
		return err
	}
	defer c.Close()
	answer, err := c.whole(get(r.server, path(rand.New(rand.NewPCG(1, 1))))) // #nosec G404 -- the same request in each run
	if err != nil {
		return err
	}
	limit, err := startLimit(ctx, r.Program, answer)
	if err != nil {
		return err
	}
	conns := r.conns(16)
	var ours, best sample
	err = func() error {
		for i := range turns {
			r.part(name, float64(i)/turns)
			for _, side := range []struct {
				c *child
				s *sample
			}{{r.server, &ours}, {limit, &best}} {
				x, err := drive(ctx, side.c, conns, r.Duration/turns, func(_ int, rnd *rand.Rand) *request {
					q := get(side.c, path(rnd))
					return &q
				})
				if err != nil {
					return err
				}
				side.s.merge(x)
			}
		}
		return nil
	}()
	if err := errors.Join(err, limit.stop()); err != nil {
		return err
	}
	r.add(ours.result(Result{
		Name: name, Conns: conns, Memory: r.server.peak(), Limit: fmt.Sprintf("the same bytes from a router: %.0f/s", best.perSecond()),
		Ratio: ours.perSecond() / best.perSecond(), Goal: goal,
	}, least))
	return nil
}

func (s *state) read(ctx context.Context, r *run) error {
	return s.against(ctx, r, "GET /Users/{id}", ">= 0.70", 0.70, func(rnd *rand.Rand) string {
		return "/scim/v2/Users/" + s.ids[rnd.IntN(len(s.ids))]
	})
}

func (s *state) lookUp(ctx context.Context, r *run) error {
	return s.against(ctx, r, "GET /Users?filter=userName eq", ">= 0.50", 0.50, func(rnd *rand.Rand) string {
		return filterPath(fmt.Sprintf("userName eq %q", userName(rnd.IntN(len(s.ids)))))
	})
}

// againstEngine measures writes beside the engine, which is given the same rows.
func (s *state) againstEngine(ctx context.Context, r *run, name string, rows [][]write, next func(rnd *rand.Rand) *request) error {
	engine, err := openRaw(r.dir, "raw", rows)
	if err != nil {
		return err
	}
	conns := r.conns(together)
	var ours sample
	err = func() error {
		for i := range turns {
			r.part(name, float64(i)/turns)
			x, err := drive(ctx, r.server, conns, r.Duration/turns, func(_ int, rnd *rand.Rand) *request { return next(rnd) })
			if err != nil {
				return err
			}
			ours.merge(x)
			if err := engine.write(ctx, r.Duration/turns); err != nil {
				return err
			}
		}
		return nil
	}()
	if err := errors.Join(err, engine.engine.Close(), os.RemoveAll(filepath.Join(r.dir, "raw"))); err != nil {
		return err
	}
	r.add(ours.result(Result{
		Name: name, Conns: conns, Memory: r.server.peak(), Limit: fmt.Sprintf("the engine, %d at a time: %.0f/s", together, engine.perSecond()),
		Ratio: ours.perSecond() / engine.perSecond(), Goal: ">= 0.60",
	}, 0.60))
	return nil
}

// another returns the number of a user that has not been created yet.
func (s *state) another(r *run) int { return r.Users + int(s.addition.Add(1)) }

func (s *state) create(ctx context.Context, r *run) error {
	creates, _, err := rowsOf(ctx)
	if err != nil {
		return err
	}
	return s.againstEngine(ctx, r, "POST /Users, durable", creates, func(*rand.Rand) *request {
		q := send(r.server, "POST", "/scim/v2/Users", userBody(s.another(r)), 201)
		return &q
	})
}

func (s *state) change(ctx context.Context, r *run) error {
	_, patches, err := rowsOf(ctx)
	if err != nil {
		return err
	}
	return s.againstEngine(ctx, r, "PATCH of one attribute, durable", patches, func(rnd *rand.Rand) *request {
		q := send(r.server, "PATCH", "/scim/v2/Users/"+s.ids[rnd.IntN(len(s.ids))], patchBody("title", fmt.Sprint("Engineer ", s.titles.Add(1))), 200)
		return &q
	})
}

// cycle sends what a provisioning cycle of Entra asks: 60 % look-ups, 20 % PATCH, 10 % members, 5 % GET, 4 % POST, 1 % DELETE.
func (s *state) cycle(ctx context.Context, r *run) (*sample, error) {
	var mu sync.Mutex
	var created []string
	return drive(ctx, r.server, r.conns(cycleConns), r.Duration, func(_ int, rnd *rand.Rand) *request {
		i := rnd.IntN(len(s.ids))
		var q request
		switch p := rnd.IntN(100); {
		case p < 60:
			q = get(r.server, filterPath(fmt.Sprintf("userName eq %q", userName(i))))
		case p < 80:
			q = send(r.server, "PATCH", "/scim/v2/Users/"+s.ids[i], patchBody("title", fmt.Sprint("Manager ", s.titles.Add(1))), 200)
		case p < 90:
			group := []string{s.large, s.little}[rnd.IntN(2)]
			q = send(r.server, "PATCH", "/scim/v2/Groups/"+group, memberBody([]string{"Add", "Remove"}[rnd.IntN(2)], s.ids[i]), 204)
		case p < 95:
			q = get(r.server, "/scim/v2/Users/"+s.ids[i])
		case p == 99:
			mu.Lock()
			defer mu.Unlock()
			if k := len(created); k > 0 {
				q = send(r.server, "DELETE", "/scim/v2/Users/"+created[k-1], nil, 204)
				created = created[:k-1]
				break
			}
			fallthrough
		default:
			q = send(r.server, "POST", "/scim/v2/Users", userBody(s.another(r)), 201)
			q.done = func(body []byte) {
				id := idOf(body)
				mu.Lock()
				defer mu.Unlock()
				created = append(created, id)
			}
		}
		return &q
	})
}

// mix measures a cycle when what was before it is merged.
func (s *state) mix(ctx context.Context, r *run) error {
	x, err := s.cycle(ctx, r)
	if err != nil {
		return err
	}
	memory := r.server.peak()
	y := x.result(Result{Name: "mix of an Entra cycle, durable", Conns: r.conns(cycleConns), Memory: memory, Goal: ">= 10,000/s, p99 < 25 ms"}, 0)
	y.Met = y.PerSecond >= 10_000 && y.P99 < 25*time.Millisecond
	r.add(y)
	if memory > 0 {
		r.add(Result{Name: "memory under the mix", Value: megabytes(memory), Goal: "< 300 MB", Met: memory < 300*mib})
	}
	r.report.Serves.Users, r.report.Serves.PerSecond = r.Users, y.PerSecond
	return nil
}

// busyMix measures a cycle right behind a group of everybody, whose rows are merged meanwhile: the worst time for one.
func (s *state) busyMix(ctx context.Context, r *run) error {
	r.server.peak()
	x, err := s.cycle(ctx, r)
	if err == nil {
		r.add(x.result(Result{Name: "mix of an Entra cycle, right behind that group", Conns: r.conns(cycleConns), Memory: r.server.peak()}, 0))
	}
	return err
}

// check ends the server and compares everything in the store with its records.
func (s *state) check(ctx context.Context, r *run) error {
	data := r.server.data
	if err := r.stop(); err != nil {
		return err
	}
	out, err := exec.CommandContext(ctx, r.Program, "check", "--data", data).CombinedOutput() // #nosec G204 -- this program itself
	if err != nil {
		return fmt.Errorf("after the load the store is not whole: %w: %s", err, out)
	}
	return nil
}

// churn changes each user twenty times, in a store of its own, and looks what that takes on disk.
func (s *state) churn(ctx context.Context, r *run) error {
	const times, conns = 20, 64
	users := min(20_000, r.Users/5/bulkSize*bulkSize+bulkSize) // with fewer, tables that are yet to be merged weigh more than users
	if err := r.start(ctx, "churn"); err != nil {
		return err
	}
	ids := make([]string, users)
	if err := load(ctx, r.server, 1, ids, 0, users, func(int) {}); err != nil {
		return err
	}
	var next atomic.Int64
	_, err := drive(ctx, r.server, conns, time.Hour, func(int, *rand.Rand) *request {
		i := int(next.Add(1)) - 1
		if i >= users*times {
			return nil
		}
		r.part("churn", float64(i)/float64(users*times))
		q := send(r.server, "PATCH", "/scim/v2/Users/"+ids[i%users], patchBody("title", fmt.Sprint("Engineer ", i)), 200)
		return &q
	})
	if err != nil {
		return err
	}
	data := r.server.data
	if err := r.stop(); err != nil {
		return err
	}
	size, err := diskSize(data)
	if err != nil {
		return err
	}
	each := float64(size) / float64(users)
	r.add(Result{Name: "disk for each user, each changed 20 times", Value: fmt.Sprintf("%.0f B", each), Goal: "< 4,096 B", Met: each < 4096})
	return nil
}
