package cli

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"

	"scimbox/activity"
	"scimbox/server/control"
)

// What clients have chosen must not move the cursor of the person who reads it, nor look like a line of ours.
func TestHarmless(t *testing.T) {
	for given, want := range map[string]string{
		"Bärbel Jensen":       "Bärbel Jensen",
		"a\nb\rc\td":          "a\uFFFDb\uFFFDc\uFFFDd",
		"\x1b[31mred\x1b[0m":  "\uFFFD[31mred\uFFFD[0m",
		"\u009b31m":           "\uFFFD31m",
		"a\u202Eb\u2028c\x7f": "a\uFFFDb\uFFFDc\uFFFD",
	} {
		if got := harmless(given); got != want {
			t.Errorf("%q becomes %q, want %q", given, got, want)
		}
	}
}

func TestFlat(t *testing.T) {
	list, err := flat(json.RawMessage(`{"schemas":["a"],"id":"1","name":{"familyName":"J"},"emails":[{"value":"x","primary":true},{"value":"y"}],"urn:x:2.0:User":{"n":1.50,"manager":{"value":"m"}}}`))
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, x := range list {
		got = append(got, x.path+"="+x.value)
	}
	want := []string{"schemas[0]=a", "id=1", "name.familyName=J", "emails[0].value=x", "emails[0].primary=true", "emails[1].value=y", "urn:x:2.0:User:n=1.50", "urn:x:2.0:User:manager.value=m"}
	if !slices.Equal(got, want) {
		t.Errorf("%q", got)
	}
	if _, err := flat(json.RawMessage(`{"a":`)); err == nil {
		t.Error("half a resource is shown")
	}
}

func TestContactRows(t *testing.T) {
	now := time.Date(2026, 11, 25, 9, 0, 0, 0, time.UTC)
	late := now.Add(-3 * time.Hour)
	rows := contactRows([]control.ClientContact{
		{Name: "entra", Overdue: true, Contact: control.Contact{Client: "192.0.2.7", Last: late, LastRefused: late, Rhythm: activity.Seconds{Duration: 40 * time.Minute}}},
		{Contact: control.Contact{Token: "aaaaaaaaaaaa", Client: "192.0.2.8", Last: now}},
		{Name: "old", Ended: true, Contact: control.Contact{Client: "192.0.2.9", Last: late}},
	}, now)
	want := [][]string{
		{"Clients", "entra: 3 hours ago from 192.0.2.7, usually every 40 minutes; it should have come by now; its last request was refused"},
		{"", "aaaaaaaaaaaa: now from 192.0.2.8"},
		{"", "old: 3 hours ago from 192.0.2.9; its token has ended or was replaced"},
	}
	if !slices.EqualFunc(rows, want, slices.Equal) {
		t.Errorf("%q", rows)
	}
}

func TestCollect(t *testing.T) {
	var asked []string
	pages := map[string]control.ActivityPage{
		"":      {Events: make([]control.Event, 500), More: true, Next: control.Position{Change: 9, Refusal: 1}, Newest: control.Position{Change: 99, Refusal: 9}},
		"c9.r1": {Events: nil, More: true, Next: control.Position{Change: 8, Refusal: 1}, Newest: control.Position{Change: 100, Refusal: 9}},
		"c8.r1": {Events: make([]control.Event, 3)},
	}
	events, newest, err := collect(1000, control.ActivityQuery{}, func(q control.ActivityQuery) (control.ActivityPage, error) {
		asked = append(asked, q.Before.String())
		return pages[q.Before.String()], nil
	})
	if err != nil || len(events) != 503 || newest.Change != 99 || strings.Join(asked, " ") != " c9.r1 c8.r1" {
		t.Errorf("%d events, %v, %v, asked for %q", len(events), newest, err, asked)
	}
}
