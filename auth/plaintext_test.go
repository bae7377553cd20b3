package auth

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"scimbox/storage"
)

// A token lives from its creation to its end in a store on disk, with everything logged that can be, and is used in all the
// right and wrong ways. Afterwards its plain text must be nowhere.
func TestPlainTextIsNowhere(t *testing.T) {
	dir := t.TempDir()
	var log syncBuffer
	logger := slog.New(slog.NewJSONHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug - 8}))
	store, err := storage.OpenDir(t.Context(), dir, storage.Options{Logger: logger})
	if err != nil {
		t.Fatal(err)
	}
	h := newHouse(t, store, Options{Logger: logger, WarnBefore: []time.Duration{MaxTTL}, FailureBurst: 3})
	var said bytes.Buffer // errors, answers, lists and the journal

	type kept struct {
		secret Secret
		tok    Token
	}
	var made []kept
	for i := range 3 {
		tok, secret, err := h.Create(t.Context(), Spec{Name: fmt.Sprint("client ", i), Scope: ScopeRead, TTL: time.Hour}, admin)
		if err != nil {
			t.Fatal(err)
		}
		made = append(made, kept{secret, tok})
	}
	door := h.Middleware(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		tok, _ := FromContext(r.Context())
		fmt.Fprintf(w, "%+v", tok)
		logger.Info("request", "token", tok)
	}), MiddlewareOptions{})
	send := func(authorization ...string) {
		for _, method := range []string{"GET", "POST"} {
			w := httptest.NewRecorder()
			door.ServeHTTP(w, request(method, "/scim/v2/Users", authorization...))
			fmt.Fprintln(&said, w.Header(), w.Body)
		}
	}
	for i, m := range made {
		plain := m.secret.Reveal()
		fmt.Fprintf(&said, "%v %+v %#v", m, m, m)
		logger.Info("made", "secret", m.secret, "kept", m)
		send("Bearer " + plain)
		send(basic("entra", plain))
		send(plain)
		send("Bearer "+plain, "Bearer "+plain)
		send("Bearer " + plain[:len(plain)-1])
		send("Basic " + plain)
		for range 5 {
			send("Bearer " + compose(newID(), plain[len(prefix)+idLen+1:][:secretLen]))
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		_, err := h.Verify(ctx, plain, there)
		fmt.Fprintln(&said, err)
		_, _, err = h.Create(t.Context(), Spec{Name: plain, Scope: ScopeRead}, admin)
		fmt.Fprintln(&said, err)
		_, err = h.Get(t.Context(), "token "+plain)
		fmt.Fprintln(&said, err)
		if i > 0 {
			fmt.Fprintln(&said, h.Revoke(t.Context(), plain, admin))
			send("Bearer " + plain)
		}
	}
	for _, v := range []any{h.list(), h.journal()} {
		if err := json.NewEncoder(&said).Encode(v); err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&said, "%+v", v)
	}
	traces := make(map[string][]byte) // what must not be found, by its name
	for _, m := range made {
		_, secret, _ := parse(m.secret.Reveal())
		for name, form := range map[string]string{
			"token":                 m.secret.Reveal(),
			"secret in base64":      base64.RawStdEncoding.EncodeToString([]byte(secret[:48])),
			"secret in hexadecimal": hex.EncodeToString([]byte(secret)),
		} {
			traces[name+" of "+m.tok.Name] = []byte(form)
		}
		for at := 0; at+13 <= secretLen; at += 13 { // no part of the secret longer than 24 characters is without one of these
			traces[fmt.Sprintf("secret of %s from %d", m.tok.Name, at)] = []byte(secret[at : at+13])
		}
	}
	scan := func() {
		t.Helper()
		look(t, "the log", strings.NewReader(log.String()), traces)
		look(t, "an error or an answer", bytes.NewReader(said.Bytes()), traces)
		proof := 0
		var ids [][]byte // of all: in a table a single one may be packed as the end of another
		for _, m := range made {
			ids = append(ids, []byte(m.tok.ID))
		}
		err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
			if err != nil || !d.Type().IsRegular() {
				return err
			}
			f, err := os.Open(path)
			if err != nil {
				return err
			}
			defer f.Close()
			proof += look(t, path, f, traces, ids...)
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		if proof == 0 {
			t.Error("no token id was found in the files: this test does not look where tokens are kept")
		}
	}
	scan() // as a power cut would leave it
	if err := h.Close(); err != nil {
		t.Fatal(err)
	}
	if err := store.Close(); err != nil {
		t.Fatal(err)
	}
	scan()

	store, err = storage.OpenDir(t.Context(), dir, storage.Options{Logger: logger})
	if err != nil {
		t.Fatal(err)
	}
	h = newHouse(t, store, Options{Logger: logger})
	h.verify(made[0].secret.Reveal(), nil)
	h.verify(made[1].secret.Reveal(), ErrRevoked)
	if err := h.Close(); err != nil {
		t.Fatal(err)
	}
	if err := store.Close(); err != nil {
		t.Fatal(err)
	}
	scan()
}

// look fails the test for every trace that is in r, and returns in how many places one of the proofs is. It reads piece
// by piece, because an open store has files of gigabytes that are holes for the most part.
func look(t *testing.T, place string, r io.Reader, traces map[string][]byte, proofs ...[]byte) (found int) {
	t.Helper()
	const overlap = 256 // longer than any trace
	buf := make([]byte, overlap+1<<20)
	zeros := make([]byte, len(buf))
	kept := 0
	for {
		n, err := io.ReadFull(r, buf[kept:])
		piece := buf[:kept+n]
		if !bytes.Equal(piece, zeros[:len(piece)]) {
			for name, trace := range traces {
				if bytes.Contains(piece, trace) {
					t.Errorf("the %s is in %s", name, place)
				}
			}
			for _, proof := range proofs {
				found += bytes.Count(piece, proof)
			}
		}
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			return found
		}
		if err != nil {
			t.Fatal(err)
		}
		kept = copy(buf, piece[len(piece)-overlap:])
	}
}
