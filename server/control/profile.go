package control

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"runtime/pprof"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Profiles are the names that Profile takes.
var Profiles = []string{"cpu", "heap", "allocs", "goroutine", "mutex", "block"}

// maxProfile is for how long a server is watched at most: watching costs some of its speed.
const maxProfile = 5 * time.Minute

// Profile writes what a server spends its time or its memory on to w, in the form that go tool pprof reads. "cpu" watches for
// d first. The profile has names of functions, and nothing that anybody has stored.
func (c *Client) Profile(ctx context.Context, name string, d time.Duration, w io.Writer) error {
	resp, err := c.send(ctx, http.MethodGet, "/v1/profile/"+url.PathEscape(name)+"?seconds="+strconv.FormatFloat(d.Seconds(), 'f', -1, 64), nil)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	_, err = io.Copy(w, resp.Body)
	return err
}

func (h *handler) profile(w http.ResponseWriter, r *http.Request) error {
	name := r.PathValue("name")
	if !slices.Contains(Profiles, name) {
		return &Error{Invalid, fmt.Sprintf("there is no profile %q; there are %s", name, strings.Join(Profiles, ", "))}
	}
	w.Header().Set("Content-Type", "application/octet-stream")
	if name != "cpu" {
		return pprof.Lookup(name).WriteTo(w, 0)
	}
	seconds, err := strconv.ParseFloat(r.URL.Query().Get("seconds"), 64)
	d := time.Duration(seconds * float64(time.Second))
	if err != nil || d <= 0 || d > maxProfile {
		return &Error{Invalid, fmt.Sprintf("a processor can be watched for at most %s", maxProfile)}
	}
	if err := pprof.StartCPUProfile(w); err != nil {
		return &Error{Invalid, "somebody else is watching the processor already; try again later"}
	}
	defer pprof.StopCPUProfile()
	select {
	case <-time.After(d):
	case <-r.Context().Done():
	}
	return nil
}
