package activity

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"scimbox/storage"
)

// What the journal does not keep any longer is not there, and is no error: lists end where it begins, and whoever follows from
// an old position goes on with what there is.
func TestTrimmedJournal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, err := storage.Open(t.Context(), storage.Memory(), storage.Options{Journal: storage.Retention{Keep: time.Hour}})
		if err != nil {
			t.Fatal(err)
		}
		c := newClock()
		c.t = time.Now()
		j := &journal{t, s, c}
		for i := range 300 {
			if i == 297 {
				time.Sleep(2 * time.Hour)
				c.t = time.Now()
			}
			j.log("aaaaaaaaaaaa", OpCreate, "default", "User", fmt.Sprint("u", i), fmt.Sprintf(`{"name":"c%d"}`, i))
		}
		time.Sleep(2 * time.Minute)
		synctest.Wait()
		r := j.reader(nil)
		p, err := r.List(t.Context(), Query{Tenant: "default", Limit: 100})
		if err != nil || len(p.Events) != 3 || p.Events[2].Name != "c297" {
			t.Errorf("%v: %+v", err, p)
		}
		if _, err := r.Get(t.Context(), "c1"); !errors.Is(err, ErrNoEvent) {
			t.Errorf("an event that is not kept: %v", err)
		}
		if v, err := r.Get(t.Context(), "c299"); err != nil || v.Name != "c298" {
			t.Errorf("%v: %+v", err, v)
		}
		var got []string
		enough := errors.New("enough")
		err = r.Follow(context.Background(), Query{Tenant: "default"}, Position{Change: 7}, func(v Event) error {
			if got = append(got, v.Name); len(got) == 3 {
				return enough
			}
			return nil
		})
		if !errors.Is(err, enough) || !slices.Equal(got, []string{"c297", "c298", "c299"}) {
			t.Errorf("%v: %q", err, got)
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
}
