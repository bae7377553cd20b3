package bench

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/julienschmidt/httprouter"

	"scimbox/storage"
)

// limitToken is as long as a token is, and opens nothing.
const limitToken = "limit_000000000000_00000000000000000000000000000000000000000000000000"

// ServeLimit serves limitHandler at an address until ctx ends. answer is one of HTTP/1.1, head and body.
func ServeLimit(ctx context.Context, listen string, answer []byte) error {
	handler, err := limitHandler(answer)
	if err != nil {
		return err
	}
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", listen)
	if err != nil {
		return err
	}
	server := &http.Server{Handler: handler, ReadHeaderTimeout: time.Minute}
	done := make(chan error, 1)
	go func() { done <- server.Serve(l) }()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
	}
	if err := errors.Join(server.Close(), <-done); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// limitHandler answers every GET with the same bytes: what is left of a SCIM server when it has to look for nothing, decide
// nothing, encode nothing and log nothing, and still routes by httprouter and compares the sum of a token, as a server has to that keeps none.
func limitHandler(answer []byte) (http.Handler, error) {
	resp, err := http.ReadResponse(bufio.NewReader(bytes.NewReader(answer)), nil)
	if err != nil {
		return nil, fmt.Errorf("the answer: %w", err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return nil, fmt.Errorf("the body of the answer: %w", err)
	}
	resp.Header.Del("Date") // net/http has its own
	known := sha256.Sum256([]byte(limitToken))
	r := httprouter.New()
	serve := func(w http.ResponseWriter, r *http.Request, _ httprouter.Params) {
		token, _ := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
		if sum := sha256.Sum256([]byte(token)); subtle.ConstantTimeCompare(sum[:], known[:]) != 1 {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		maps.Copy(w.Header(), resp.Header)
		w.WriteHeader(http.StatusOK)
		_, _ = w.Write(body) // a client that went away
	}
	r.GET("/scim/v2/Users", serve)
	r.GET("/scim/v2/Users/:id", serve)
	return r, nil
}

// write is one row that an operation writes; a nil value deletes it.
type write struct{ key, value []byte }

// recorder is an engine that remembers what each transaction writes.
type recorder struct {
	storage.Engine
	writes []write // of the last transaction
}

func (e *recorder) Update(ctx context.Context, fn func(storage.Writer) error) error {
	e.writes = nil
	return e.Engine.Update(ctx, func(w storage.Writer) error { return fn(recording{w, e}) })
}

type recording struct {
	storage.Writer
	e *recorder
}

func (w recording) Set(key, value []byte) error {
	w.e.writes = append(w.e.writes, write{bytes.Clone(key), append([]byte{}, value...)})
	return w.Writer.Set(key, value)
}

func (w recording) Delete(key []byte) error {
	w.e.writes = append(w.e.writes, write{bytes.Clone(key), nil})
	return w.Writer.Delete(key)
}

// together is how many operations the limit puts into one transaction: as many as there are connections.
const together = 64

// recorded is how many operations are recorded; afterwards their rows are written under other keys.
const recorded = 50 * together

// rowsOf returns what creating users writes, and what a PATCH of one attribute of each writes, as the real service does it.
func rowsOf(ctx context.Context) (creates, patches [][]write, err error) {
	engine := &recorder{Engine: storage.Memory()}
	store, err := storage.Open(ctx, engine, storage.Options{})
	if err != nil {
		return nil, nil, err
	}
	defer store.Close()
	a, err := newAsker(ctx, store)
	if err != nil {
		return nil, nil, err
	}
	for i := range recorded {
		body, err := a.ask("POST", "/scim/v2/Users", userBody(i))
		if err != nil {
			return nil, nil, err
		}
		creates = append(creates, engine.writes)
		if _, err := a.ask("PATCH", "/scim/v2/Users/"+idOf(body), patchBody("title", "Engineer "+strconv.Itoa(i))); err != nil {
			return nil, nil, err
		}
		patches = append(patches, engine.writes)
	}
	return creates, patches, nil
}

// raw is the engine alone, which is given rows.
type raw struct {
	engine storage.Engine
	rows   [][]write
	turn   uint32 // appended to keys, so that the same rows are new ones each time
	next   int
	done   int
	took   time.Duration
}

func openRaw(dir, name string, rows [][]write) (*raw, error) {
	e, err := storage.OpenBadger(filepath.Join(dir, name))
	if err != nil {
		return nil, err
	}
	return &raw{engine: e, rows: rows}, nil
}

// write writes the rows of operations for so long, 64 operations in a transaction with one sync.
func (w *raw) write(ctx context.Context, d time.Duration) error {
	begin := time.Now()
	for time.Since(begin) < d {
		err := w.engine.Update(ctx, func(tx storage.Writer) error {
			for range together {
				if err := w.one(tx); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
		w.done += together
	}
	w.took += time.Since(begin)
	return nil
}

func (w *raw) one(tx storage.Writer) error {
	for _, row := range w.rows[w.next] {
		key := fmt.Appendf(row.key[:len(row.key):len(row.key)], "%04x", w.turn)
		var err error
		if row.value == nil {
			err = tx.Delete(key)
		} else {
			err = tx.Set(key, row.value)
		}
		if err != nil {
			return err
		}
	}
	if w.next++; w.next == len(w.rows) {
		w.next = 0
		w.turn++
	}
	return nil
}

func (w *raw) perSecond() float64 { return float64(w.done) / w.took.Seconds() }
