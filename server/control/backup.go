package control

import (
	"bufio"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"filippo.io/age"

	"scimbox/backup"
)

// What is known of backups.
type (
	Manifest = backup.Manifest // of one
	Restored = backup.Restored // what has become of one
	Backups  = backup.State    // of those that are made by themselves
	Backup   = backup.Done     // one of them
	// BackupFailure is one that could not be made.
	BackupFailure = backup.Failure
)

// BackupRequest asks for a backup.
type BackupRequest struct {
	Since     string `json:"since"`     // position of the backup that an increment is to build on, "" for everything
	Recipient string `json:"recipient"` // public key of age of who can read it, "" for everybody
}

// check returns who can read the backup, or what is wrong with the request.
func (b BackupRequest) check() ([]age.Recipient, error) {
	if b.Recipient == "" {
		return nil, nil
	}
	r, err := backup.ParseRecipient(b.Recipient)
	if err != nil {
		return nil, &Error{Invalid, err.Error()}
	}
	return []age.Recipient{r}, nil
}

// The answer to a request for a backup are messages: a letter, the length of what follows in 4 bytes, and that. It is JSON but for
// the backup itself.
const (
	messageData     = 'd' // the next piece of the backup
	messageProgress = 'p'
	messageDone     = 'm' // its manifest; the last one
	messageError    = 'e' // the last one; what came before is worth nothing
)

const maxMessage = 1 << 20

// messages writes the answer.
type messages struct {
	w     *bufio.Writer
	flush func() error
}

func (m *messages) send(kind byte, b []byte) error {
	head := binary.BigEndian.AppendUint32([]byte{kind}, uint32(len(b)))
	if _, err := m.w.Write(head); err != nil {
		return err
	}
	_, err := m.w.Write(b)
	return err
}

func (m *messages) json(kind byte, v any) error {
	b, err := json.Marshal(v)
	if err == nil {
		err = m.send(kind, b)
	}
	return errors.Join(err, m.w.Flush(), m.flush())
}

// Write sends a piece of the backup.
func (m *messages) Write(b []byte) (n int, err error) {
	for len(b) > 0 {
		piece := b[:min(len(b), maxMessage)]
		if err := m.send(messageData, piece); err != nil {
			return n, err
		}
		n, b = n+len(piece), b[len(piece):]
	}
	return n, nil
}

// backup answers with a backup while it is made.
func (h *handler) backup(w http.ResponseWriter, r *http.Request) error {
	var ask BackupRequest
	if err := decode(w, r, &ask); err != nil {
		return err
	}
	to, err := ask.check()
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", "application/octet-stream")
	out := &messages{bufio.NewWriterSize(w, 1<<16), http.NewResponseController(w).Flush}
	var last time.Time
	m, err := backup.Write(r.Context(), out, h.Store, backup.Options{
		Version: h.Version, Clock: h.Clock, Logger: h.Logger, Dir: h.Data, Files: h.BackupFiles,
		Recipients: to, Since: ask.Since,
		Progress: func(done, total int64) {
			if now := time.Now(); now.Sub(last) >= progressEvery {
				last = now
				_ = out.json(messageProgress, progress{done, total}) // who does not listen any more is found out by what comes next
			}
		},
	})
	switch {
	case r.Context().Err() != nil:
		return nil // nobody listens any more
	case err != nil:
		e := explain(err)
		if e.Code == Internal || e.Code == Damaged {
			h.Logger.Error("a backup failed", "error", err)
		}
		err = out.json(messageError, e)
	default:
		h.Logger.Info("backup made", "position", m.Position, "rows", m.Rows, "since", ask.Since, "encrypted", len(to) > 0)
		err = out.json(messageDone, m)
	}
	if err != nil {
		h.Logger.Debug("an answer to the command line was not written", "error", err)
	}
	return nil
}

// Backup has a backup written to w. It is one only if no error is returned. progress may be nil; it is called now and then with
// the number of rows written and expected.
func (c *Client) Backup(ctx context.Context, what BackupRequest, w io.Writer, progressed func(done, total int64)) (*backup.Manifest, error) {
	resp, err := c.send(ctx, http.MethodPost, "/v1/backup", what)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	in := bufio.NewReaderSize(resp.Body, 1<<16)
	head, body := make([]byte, 5), make([]byte, 0, 1<<16)
	for {
		if _, err := io.ReadFull(in, head); err != nil {
			return nil, wentAway(err)
		}
		n := binary.BigEndian.Uint32(head[1:])
		if n > maxMessage {
			return nil, errors.New("the server's answer cannot be read; run the scimbox that it was started from")
		}
		body = append(body[:0], make([]byte, n)...)
		if _, err := io.ReadFull(in, body); err != nil {
			return nil, wentAway(err)
		}
		switch head[0] {
		case messageData:
			if _, err := w.Write(body); err != nil {
				return nil, err
			}
		case messageProgress:
			var p progress
			if json.Unmarshal(body, &p) == nil && progressed != nil {
				progressed(p.Done, p.Total)
			}
		case messageDone:
			m := new(backup.Manifest)
			return m, json.Unmarshal(body, m)
		case messageError:
			e := new(Error)
			if err := json.Unmarshal(body, e); err != nil {
				return nil, err
			}
			return nil, e
		}
	}
}

func wentAway(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return errors.New("the server went away in the middle of the backup")
	}
	return fmt.Errorf("the server's answer: %w", err)
}

// explainBackup is explain for what is wrong with backups, nil for all else.
func explainBackup(err error) *Error {
	var (
		position  *backup.PositionError
		chain     *backup.ChainError
		key       *backup.KeyError
		directory *backup.DirectoryError
		exists    *backup.ExistsError
		corrupt   *backup.CorruptError
	)
	switch {
	case errors.As(err, &position), errors.As(err, &chain), errors.As(err, &key), errors.As(err, &directory), errors.As(err, &exists):
		return &Error{Invalid, err.Error()}
	case errors.As(err, &corrupt):
		return &Error{Damaged, err.Error()}
	}
	return nil
}

// Explain makes an Error of any error, for what is not done by way of a Client.
func Explain(err error) error {
	if err == nil {
		return nil
	}
	return explain(err)
}
