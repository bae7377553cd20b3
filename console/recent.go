package console

import (
	"fmt"
	"net/http"
	"regexp"
	"strings"
	"sync"
	"time"

	"scimbox/scim"
)

// Request is one request of a client that has been answered.
type Request struct {
	Time          time.Time
	ID            string // of the request
	Method, Path  string // the path as it was sent
	Filtered      bool   // it had a filter
	Status        int
	Detail        string // what the answer said, if it was a refusal
	Token, Tenant string // "" if nobody was let in
	Credentials   bool   // it had an Authorization header
	Agent, Client string
}

const maxRecent = 300

// recent are the last requests of clients, in memory: what the light on the Connect page goes by.
type recent struct {
	mu   sync.Mutex
	ring []Request // the latest last
}

func newRecent() *recent { return &recent{} }

// Observe notes a request of a client. Those that have nothing to do with SCIM are not noted: scanners ask for everything.
func (c *Console) Observe(q Request) {
	if !concernsSCIM(q) {
		return
	}
	q.Path, q.Agent, q.Detail = cut(q.Path, 200), cut(q.Agent, 120), cut(q.Detail, 500)
	c.recent.mu.Lock()
	defer c.recent.mu.Unlock()
	if len(c.recent.ring) >= 2*maxRecent {
		c.recent.ring = append(c.recent.ring[:0], c.recent.ring[len(c.recent.ring)-maxRecent:]...)
	}
	c.recent.ring = append(c.recent.ring, q)
}

func cut(s string, n int) string {
	if len(s) <= n {
		return s
	}
	return strings.ToValidUTF8(s[:n], "") + "…"
}

var likeSCIM = regexp.MustCompile(`(?i)/(scim|users|groups|schemas|resourcetypes|serviceproviderconfig)(/|$)`)

func concernsSCIM(q Request) bool { return q.Credentials || likeSCIM.MatchString(q.Path) }

// last returns the latest requests that concern a tenant, the latest first: its own, and those of which nobody knows whose
// they are because they were refused.
func (r *recent) last(tenant string, n int) []Request {
	r.mu.Lock()
	defer r.mu.Unlock()
	var l []Request
	for i := len(r.ring) - 1; i >= 0 && len(l) < n; i-- {
		if q := r.ring[i]; q.Tenant == "" || q.Tenant == tenant {
			l = append(l, q)
		}
	}
	return l
}

// meaning is what a request says to somebody who sets up a connection.
type meaning struct {
	Good  bool
	Title string
	Text  string
	Fix   string // what to do; "" if nothing
	// Generic says that whoever looks closer knows a better Fix.
	Generic bool
}

// explain says what a request means. url is the tenant URL as it is to be entered.
func explain(q Request, url string) meaning {
	rest, below := strings.CutPrefix(q.Path, scim.BasePath)
	below = below && (rest == "" || rest[0] == '/')
	switch {
	case q.Status < 300 && q.Method == http.MethodGet && q.Filtered:
		return meaning{Good: true, Title: "Connected: a search was answered", Text: "This is what Test Connection sends. The address and the token are right."}
	case q.Status >= 300 && q.Status < 400, q.Status == http.StatusForbidden && q.Token == "" && q.Detail == "":
		return meaning{Title: "The request came by http", Text: "This server speaks https, and sends whoever comes by http there. A token that came this way has crossed the network unencrypted: replace it.", Fix: "Enter as Tenant URL: " + url}
	case q.Status < 400 && q.Token == "":
		return meaning{Good: true, Title: "Somebody has asked what this server can do", Text: "That needs no token, so that it says nothing about yours yet.", Fix: "Go on with Test Connection."}
	case q.Status < 400:
		return meaning{Good: true, Title: "Connected: " + doing(q), Text: "The address and the token are right."}
	case !below:
		fix := "Enter as Tenant URL: " + url
		text := fmt.Sprintf("The request went to %s. SCIM is at %s and below.", short(q.Path), scim.BasePath)
		return meaning{Title: "The Tenant URL is not complete", Text: text, Fix: fix}
	case q.Status == http.StatusUnauthorized && !q.Credentials:
		return meaning{Title: "The request had no token", Text: "Nothing was entered as Secret Token, or a proxy has taken the Authorization header away.", Fix: "Enter the token as Secret Token, and save. Entra sends a token of its own as long as the field is empty."}
	case q.Status == http.StatusUnauthorized:
		return meaning{Title: "The token was refused", Text: sentence(q.Detail), Fix: "Copy the token again, whole and without the word Bearer, or make another one here."}
	case q.Status == http.StatusForbidden:
		return meaning{Title: "The token may not do this", Text: sentence(q.Detail), Fix: "Entra needs a token of the scope write. Make one here."}
	case q.Status == http.StatusTooManyRequests:
		return meaning{Title: "Too many wrong tokens came from this address", Text: sentence(q.Detail), Fix: "Wait for a minute, and then try again with the right token."}
	case q.Status == http.StatusNotFound && strings.Contains(strings.ToLower(rest), "/scim"):
		return meaning{Title: "The Tenant URL has its path twice", Text: "The request went to " + short(q.Path) + ".", Fix: "Enter as Tenant URL: " + url}
	case q.Status == http.StatusNotFound && resourcePath.MatchString(rest):
		return meaning{Title: "A resource was asked for that is not here", Text: sentence(q.Detail), Fix: "If it was deleted here, Restart provisioning in Entra matches everybody anew."}
	case q.Status == http.StatusNotFound:
		return meaning{Title: "There is no such endpoint", Text: sentence(q.Detail), Fix: "Enter as Tenant URL: " + url}
	case q.Status == http.StatusConflict:
		return meaning{Generic: true, Title: "Two cannot have the same name", Text: sentence(q.Detail), Fix: "Find the other one here, and change it, or let Entra match it by its matching property."}
	case q.Status >= 500:
		return meaning{Title: "The server could not answer", Text: sentence(q.Detail), Fix: "The server's log has the cause, in the line of request " + q.ID + "."}
	}
	return meaning{Generic: true, Title: "A request was refused", Text: sentence(q.Detail), Fix: "Correct the attribute mapping that the message names."}
}

var resourcePath = regexp.MustCompile(`(?i)^/(users|groups)/[^/]+$`)

func doing(q Request) string {
	things := "resources"
	if m := likeSCIM.FindStringSubmatch(strings.TrimPrefix(q.Path, "/scim")); m != nil {
		things = strings.ToLower(m[1])
	}
	switch q.Method {
	case http.MethodPost:
		return "something was created below " + things
	case http.MethodPatch, http.MethodPut:
		return "something was changed below " + things
	case http.MethodDelete:
		return "something was deleted below " + things
	}
	return "a client has read " + things
}

// sentence makes a sentence of what an answer said.
func sentence(s string) string {
	if s == "" {
		return ""
	}
	s = strings.ToUpper(s[:1]) + s[1:]
	if !strings.HasSuffix(s, ".") && !strings.HasSuffix(s, ")") {
		s += "."
	}
	return s
}
