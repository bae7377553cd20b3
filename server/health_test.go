package server

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"scimbox/server/control"
)

// While the store owes an answer, no watchdog is told that all is well, and after a while the server says so itself.
func TestPulse(t *testing.T) {
	t.Setenv("WATCHDOG_USEC", "15000000")
	t.Setenv("WATCHDOG_PID", "")
	synctest.Test(t, func(t *testing.T) {
		o, _ := options(t)
		s := &Server{o: o}
		ctx, cancel := context.WithCancel(t.Context())
		answer := make(chan error)
		var asked atomic.Int64
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			s.pulse(ctx, func(ctx context.Context) error {
				asked.Add(1)
				select {
				case err := <-answer:
					return err
				case <-ctx.Done():
					return ctx.Err()
				}
			})
		}()
		answer <- nil
		for range 2 { // a third of the watchdog's time later it asks again
			time.Sleep(5 * time.Second)
			answer <- nil
		}
		if synctest.Wait(); asked.Load() != 3 || s.stuck() != nil {
			t.Errorf("asked %d times, %v", asked.Load(), s.stuck())
		}
		time.Sleep(5*time.Second + hung)
		if err := s.stuck(); err != nil {
			t.Errorf("too early: %v", err)
		}
		time.Sleep(time.Second)
		if synctest.Wait(); asked.Load() != 4 || s.stuck() == nil {
			t.Errorf("a store that hangs: asked %d times, %v", asked.Load(), s.stuck())
		}
		answer <- errors.New("better late than never")
		if synctest.Wait(); s.stuck() != nil {
			t.Error(s.stuck())
		}
		cancel()
		<-ended
	})
}

// A watchdog hears of a store that answers and not of one that hangs or fails.
func TestWatchdogHearsTheTruth(t *testing.T) {
	dir, err := os.MkdirTemp("", "notify")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	path := filepath.Join(dir, "s")
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	t.Setenv("NOTIFY_SOCKET", path)
	t.Setenv("WATCHDOG_PID", "")
	t.Setenv("WATCHDOG_USEC", "30000")
	o, _ := options(t)
	s := &Server{o: o}
	ctx, cancel := context.WithCancel(t.Context())
	results, ended := []error{nil, errors.New("broken"), nil, nil}, make(chan struct{})
	hangs := make(chan struct{})
	go func() {
		defer close(ended)
		s.pulse(ctx, func(ctx context.Context) error {
			if len(results) == 0 {
				close(hangs)
				<-ctx.Done()
				return ctx.Err()
			}
			var err error
			err, results = results[0], results[1:]
			return err
		})
	}()
	<-hangs
	cancel()
	<-ended
	s.tell("END=1")
	var heard []string
	b := make([]byte, 100)
	for len(heard) == 0 || heard[len(heard)-1] != "END=1" {
		n, err := conn.Read(b)
		if err != nil {
			t.Fatal(err)
		}
		heard = append(heard, string(b[:n]))
	}
	if got := strings.Join(heard, " "); got != "WATCHDOG=1 WATCHDOG=1 WATCHDOG=1 END=1" {
		t.Errorf("heard %q: three answers were right", got)
	}
}

func TestReadiness(t *testing.T) {
	free := int64(1 << 40)
	o, log := options(t)
	o.freeSpace = func(string) (int64, error) { return free, nil }
	full := o
	full.freeSpace = func(string) (int64, error) { return 0, nil }
	full.Config.Data = filepath.Join(t.TempDir(), "data")

	s := serve(t, o, log)
	get := func(s *running, path string) (int, string) {
		w := httptest.NewRecorder()
		s.main().http.Handler.ServeHTTP(w, httptest.NewRequest(http.MethodGet, path, nil))
		return w.Code, w.Body.String()
	}
	if code, text := get(s, readyPath); code != 200 || text != "ok\n" {
		t.Errorf("%d %s", code, text)
	}
	client, err := control.Connect(t.Context(), o.Config.Data, "1.2.3")
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	for _, ready := range []bool{true, false} {
		if wrong, err := client.Health(t.Context(), ready); wrong != "" || err != nil {
			t.Errorf("ready %t: %q, %v", ready, wrong, err)
		}
	}
	long := time.Now().Add(-2 * hung)
	s.asked.Store(&long)
	for _, path := range []string{healthPath, readyPath} {
		if code, text := get(s, path); code != 503 || !strings.Contains(text, "does not answer") {
			t.Errorf("%s of a store that hangs: %d %s", path, code, text)
		}
	}
	if wrong, err := client.Health(t.Context(), false); err != nil || !strings.Contains(wrong, "has not answered for") {
		t.Errorf("%q, %v", wrong, err)
	}
	s.asked.Store(nil)
	s.stopping.Store(true)
	if code, text := get(s, readyPath); code != 503 || !strings.Contains(text, "stopping") {
		t.Errorf("stopping: %d %s", code, text)
	}
	if code, _ := get(s, healthPath); code != 200 {
		t.Errorf("a server that stops is alive: %d", code)
	}
}
