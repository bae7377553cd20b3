package activity

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"
)

const (
	contactsName = "contacts.json"
	visitGap     = 5 * time.Minute // without a request, after which the next one begins another visit
	maxVisits    = 12
	maxContacts  = 10_000
)

// Contact is when a client was there, by its token. Identity providers come at a rhythm: Entra works for some minutes every
// 40, and what is between is no outage.
type Contact struct {
	Token       string    `json:"token"`
	Tenant      string    `json:"tenant"`
	First       time.Time `json:"first"`
	Last        time.Time `json:"last"`
	LastRefused time.Time `json:"lastRefused,omitzero"`
	Client      string    `json:"client"` // address of the last request
	Agent       string    `json:"agent"`  // its User-Agent
	Requests    int64     `json:"requests"`
	Reads       int64     `json:"reads"`   // of them, answered with what was asked for
	Refused     int64     `json:"refused"` // of them
	// Visits are the beginnings of the last visits, the oldest first: requests with no more than 5 minutes between them are
	// one visit.
	Visits []time.Time `json:"visits"`
	// Rhythm is the usual time from one visit to the next, the median of the last ones; 0 until there have been four.
	Rhythm Seconds `json:"rhythmSeconds"`
}

// Seconds is a duration that is written as a number of seconds.
type Seconds struct{ time.Duration }

// MarshalJSON implements [json.Marshaler].
func (s Seconds) MarshalJSON() ([]byte, error) { return json.Marshal(int64(s.Duration / time.Second)) }

// UnmarshalJSON implements [json.Unmarshaler].
func (s *Seconds) UnmarshalJSON(b []byte) error {
	var n int64
	err := json.Unmarshal(b, &n)
	s.Duration = time.Duration(n) * time.Second
	return err
}

// Overdue reports whether the client should have come by now: three of its usual times have passed, and 10 minutes.
func (c Contact) Overdue(now time.Time) bool {
	return c.Rhythm.Duration > 0 && now.Sub(c.Last) > 3*c.Rhythm.Duration+10*time.Minute
}

func rhythm(visits []time.Time) Seconds {
	if len(visits) < 4 {
		return Seconds{}
	}
	var gaps []time.Duration
	for i := 1; i < len(visits); i++ {
		gaps = append(gaps, visits[i].Sub(visits[i-1]))
	}
	slices.Sort(gaps)
	return Seconds{gaps[len(gaps)/2].Truncate(time.Second)}
}

// Outcome is how a request ended, for the count of its client.
type Outcome int

// The outcomes.
const (
	Done    Outcome = iota // changed, or would have
	Read                   // answered with what was asked for
	Refused                // 4xx and 5xx
)

// contacts remembers the contacts of all tokens in memory.
type contacts struct {
	mu  sync.RWMutex
	all map[string]*contact
}

type contact struct {
	mu sync.Mutex
	Contact
	agent string // as it was sent
}

// note counts a request. It is called for each one, and takes two short locks.
func (c *contacts) note(token, tenant, client, agent string, now time.Time, what Outcome) {
	if token == "" {
		return
	}
	c.mu.RLock()
	x := c.all[token]
	c.mu.RUnlock()
	if x == nil {
		c.mu.Lock()
		if x = c.all[token]; x == nil {
			if len(c.all) >= maxContacts {
				c.mu.Unlock()
				return
			}
			x = &contact{Contact: Contact{Token: token, Tenant: tenant, First: now.UTC()}}
			c.all[token] = x
		}
		c.mu.Unlock()
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	if now.Sub(x.Last) > visitGap {
		x.Visits = append(x.Visits, now.UTC())
		if n := len(x.Visits); n > maxVisits {
			x.Visits = slices.Clone(x.Visits[n-maxVisits:])
		}
	}
	x.Last = now.UTC()
	x.Requests++
	switch what {
	case Read:
		x.Reads++
	case Refused:
		x.Refused++
		x.LastRefused = x.Last
	}
	x.Client = client
	if x.agent != agent {
		x.agent, x.Agent = agent, cut(scrub(agent), maxAgent)
	}
}

// forget drops what is known of a token that there is no more.
func (c *contacts) forget(token string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.all, token)
}

// list returns all contacts, the latest first.
func (c *contacts) list() []Contact {
	c.mu.RLock()
	l := make([]Contact, 0, len(c.all))
	for _, x := range c.all {
		x.mu.Lock()
		one := x.Contact
		one.Visits = slices.Clone(one.Visits)
		x.mu.Unlock()
		one.Rhythm = rhythm(one.Visits)
		l = append(l, one)
	}
	c.mu.RUnlock()
	slices.SortFunc(l, func(a, b Contact) int {
		if n := b.Last.Compare(a.Last); n != 0 {
			return n
		}
		return strings.Compare(a.Token, b.Token)
	})
	return l
}

// readContacts reads what an earlier server has remembered. A file that cannot be read is begun anew: it holds nothing that
// does not come again with the next request.
func readContacts(dir string) (*contacts, error) {
	c := &contacts{all: map[string]*contact{}}
	data, err := os.ReadFile(filepath.Join(dir, contactsName))
	if errors.Is(err, fs.ErrNotExist) {
		return c, nil
	}
	if err != nil {
		return c, err
	}
	var l []Contact
	if err := json.Unmarshal(data, &l); err != nil {
		return c, fmt.Errorf("%s cannot be read: %w", filepath.Join(dir, contactsName), err)
	}
	for _, one := range l {
		c.all[one.Token] = &contact{Contact: one}
	}
	return c, nil
}

// save writes the contacts in place of the file of before, as a whole.
func (c *contacts) save(dir string) error {
	data, err := json.Marshal(c.list())
	if err != nil {
		return err
	}
	path := filepath.Join(dir, contactsName)
	if err := os.WriteFile(path+".new", data, 0o600); err != nil {
		return err
	}
	return os.Rename(path+".new", path)
}
