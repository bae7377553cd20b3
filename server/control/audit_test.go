package control

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"scimbox/audit"
	"scimbox/storage"
)

func change(t *testing.T, s *storage.Store, ids ...string) {
	t.Helper()
	for _, id := range ids {
		err := s.Update(t.Context(), "default", storage.Origin{Actor: "local"}, func(tx *storage.Tx) error {
			return tx.Log(storage.Entry{Op: "create", Ref: storage.Ref{Tenant: "default", Kind: "User", ID: id}, Detail: []byte(`{"name":"` + id + `"}`)})
		})
		if err != nil {
			t.Fatal(err)
		}
	}
}

func export(t *testing.T, c *Client, from AuditFrom) (string, error) {
	t.Helper()
	var b bytes.Buffer
	err := c.Audit(t.Context(), from, func(line []byte) error { b.Write(line); return nil })
	return b.String(), err
}

// A journal that forgets its beginning goes on with the chain of a file that has it, and gives the same lines; where the file
// has a gap the command says which changes are gone.
func TestAuditOfATrimmedJournal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBackend(t)
		store, err := storage.Open(t.Context(), storage.Memory(), storage.Options{Journal: storage.Retention{Keep: time.Hour}})
		if err != nil {
			t.Fatal(err)
		}
		defer store.Close()
		b.Store = store
		c := Local(b)
		defer c.Close()

		empty, err := export(t, c, AuditFrom{})
		if s, _, wrong := audit.Verify(strings.NewReader(empty), ""); err != nil || wrong != nil || s.Lines != 0 || !s.Ended {
			t.Errorf("of an empty journal: %v, %v, %+v", err, wrong, s)
		}
		change(t, store, "u1", "u2", "u3", "u4")
		whole, err := export(t, c, AuditFrom{})
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * time.Hour)
		change(t, store, "u5", "u6")
		time.Sleep(2 * time.Minute)
		synctest.Wait()

		s, _, err := audit.Verify(strings.NewReader(whole), "")
		if err != nil || s.Seq != 4 {
			t.Fatalf("%+v, %v", s, err)
		}
		tail, err := export(t, c, AuditFrom{After: "4", Head: s.Head})
		if err != nil {
			t.Fatal(err)
		}
		lines := strings.SplitAfter(whole, "\n")
		more := strings.SplitAfter(tail, "\n")
		joined := strings.Join(lines[:5], "") + strings.Join(more[1:3], "")
		if v, _, err := audit.Verify(strings.NewReader(joined), ""); err != nil || v.Seq != 6 || v.Lines != 6 {
			t.Errorf("%+v, %v\n%s", v, err, joined)
		}

		var e *Error
		if _, err := export(t, c, AuditFrom{After: "2"}); !errors.As(err, &e) || e.Code != Invalid || !strings.Contains(err.Error(), "begins with change 5, so that 3 to 4 cannot be exported any more") {
			t.Errorf("behind a gap: %v", err)
		}
		late, err := export(t, c, AuditFrom{})
		if v, _, wrong := audit.Verify(strings.NewReader(late), ""); err != nil || wrong != nil || v.After != 4 || v.Seq != 6 || !v.Fresh {
			t.Errorf("from where the journal begins: %v, %v, %+v", err, wrong, v)
		}
		for _, from := range []AuditFrom{{After: "7"}, {After: "x"}, {After: "-1"}, {After: "4", Head: "x"}} {
			if _, err := export(t, c, from); !errors.As(err, &e) || e.Code != Invalid {
				t.Errorf("%+v: %v", from, err)
			}
		}
		stop := fmt.Errorf("enough")
		if err := c.Audit(t.Context(), AuditFrom{}, func([]byte) error { return stop }); !errors.Is(err, stop) {
			t.Errorf("%v", err)
		}
	})
}

func TestActivityQueries(t *testing.T) {
	c := newLocal(t, newBackend(t))
	now := time.Date(2026, 11, 25, 9, 0, 0, 5, time.UTC)
	q := ActivityQuery{
		Tenant: "a&b", Token: "t", Type: "User", Resource: "r", Op: "patch", Failed: true, Since: now, Until: now.Add(time.Hour), Text: "x y",
		Before: Position{Change: 3, Refusal: 4}, Limit: 7,
	}
	got, err := decodeQuery(encodeQuery(q))
	if err != nil || got != q {
		t.Errorf("%+v becomes %+v, %v", q, got, err)
	}
	var e *Error
	for name, wrong := range map[string]string{"limit": "1001", "before": "x", "since": "yesterday", "until": "1"} {
		if _, err := ask[ActivityPage](t.Context(), c, "GET", "/v1/activity?"+name+"="+wrong, nil); !errors.As(err, &e) || e.Code != Invalid {
			t.Errorf("%s=%s: %v", name, wrong, err)
		}
	}
	if _, err := c.History(t.Context(), "User", "", ActivityQuery{}); !errors.As(err, &e) || e.Code != Invalid {
		t.Errorf("whose history: %v", err)
	}
}
