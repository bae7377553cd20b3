package server

import (
	"fmt"
	"net"
	"slices"
	"strings"

	"github.com/coreos/go-systemd/v22/activation"
	"github.com/coreos/go-systemd/v22/daemon"
)

// What a supervisor gives a process, and is told by it, in the protocol of systemd (sd_listen_fds, sd_notify): listening
// sockets, so that nobody needs a right to low ports; that the server is ready, reloads, stops; and that it is not stuck.
// Without a supervisor nothing of this does anything.

// passed is a listening socket that the process was started with.
type passed struct {
	name string // FileDescriptorName= of the socket unit, or the unit's own
	net.Listener
}

// passedSockets takes the sockets over. The environment no longer speaks of them afterwards, so that no child takes them for
// its own.
func passedSockets() ([]passed, error) {
	var all []passed
	for _, f := range activation.Files(true) {
		l, err := net.FileListener(f) // a copy
		_ = f.Close()
		if err != nil {
			for _, p := range all {
				_ = p.Close()
			}
			return nil, fmt.Errorf("the socket %s that the supervisor has passed on cannot be listened on: %w; the socket unit is to have ListenStream= alone", f.Name(), reason(err))
		}
		all = append(all, passed{f.Name(), l})
	}
	return all, nil
}

// names are what the sockets of a role may be called.
func (s *Server) socketNames(r role) []string {
	switch {
	case r == roleRedirect, r == roleMain && !s.secured():
		return []string{"http", string(r)}
	case r == roleMain:
		return []string{"https", string(r)}
	}
	return []string{string(r)}
}

// claim takes the sockets for a place out of those that were passed on: by their names, else by the port of the
// configuration. SCIM takes a socket that is alone whatever it is called.
func (s *Server) claim(sockets *[]passed, p place) []net.Listener {
	var found []net.Listener
	take := func(is func(passed) bool) {
		*sockets = slices.DeleteFunc(*sockets, func(q passed) bool {
			if is(q) {
				found = append(found, q.Listener)
				return true
			}
			return false
		})
	}
	if take(func(q passed) bool { return slices.Contains(s.socketNames(p.role), q.name) }); found != nil {
		return found
	}
	_, port, _ := net.SplitHostPort(p.address)
	if take(func(q passed) bool {
		_, own, _ := net.SplitHostPort(q.Addr().String())
		return own == port && port != "0"
	}); found != nil {
		return found
	}
	if p.role == roleMain && len(*sockets) == 1 {
		take(func(passed) bool { return true })
	}
	return found
}

// tell informs the supervisor. The lines are those of sd_notify(3).
func (s *Server) tell(lines ...string) {
	if _, err := daemon.SdNotify(false, strings.Join(lines, "\n")); err != nil {
		s.o.Logger.Warn("the supervisor cannot be told how the server is", "error", err)
	}
}

func (s *Server) ready() {
	s.tell(daemon.SdNotifyReady, "STATUS=serving "+s.TenantURL()+" on "+s.Address())
}

// Reloading tells the supervisor that the configuration is read again; done is called when it has been.
func (s *Server) Reloading() (done func()) {
	s.tell(daemon.SdNotifyReloading, strings.TrimSpace(daemon.SdNotifyMonotonicUsec()), "STATUS=reading the configuration again")
	return s.ready
}
