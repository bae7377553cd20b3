//go:build unix

package main

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// supervisor is what systemd is to a service: a socket that it listens on, and the words that it has heard.
type supervisor struct {
	conn  *net.UnixConn
	path  string
	heard []string
}

func newSupervisor(t *testing.T) *supervisor {
	t.Helper()
	dir, err := os.MkdirTemp("", "notify") // the path of a socket has to be short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	path := filepath.Join(dir, "s")
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return &supervisor{conn: conn, path: path}
}

// hear waits for a message with a line that begins like that, and returns it.
func (s *supervisor) hear(t *testing.T, line string) string {
	t.Helper()
	if err := s.conn.SetReadDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	b := make([]byte, 4096)
	for {
		n, err := s.conn.Read(b)
		if err != nil {
			t.Fatalf("waiting for %s: %v; heard %q", line, err, s.heard)
		}
		message := string(b[:n])
		s.heard = append(s.heard, message)
		for own := range strings.Lines(message) {
			if strings.HasPrefix(own, line) {
				return message
			}
		}
	}
}

// supervised returns a scimbox that is started as systemd starts a service: with these sockets from descriptor 3 on, and with
// its own process number in the environment.
func supervised(t *testing.T, names string, sockets []net.Listener, env []string, args ...string) *exec.Cmd {
	t.Helper()
	script := fmt.Sprintf(`LISTEN_PID=$$ LISTEN_FDS=%d LISTEN_FDNAMES=%s WATCHDOG_PID=$$ exec scimbox "$@"`, len(sockets), names)
	cmd := exec.Command("sh", append([]string{"-c", script, "sh", "serve", "--data", filepath.Join(t.TempDir(), "data")}, args...)...)
	cmd.Env = append(os.Environ(), env...)
	for _, l := range sockets {
		f, err := l.(*net.TCPListener).File()
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = f.Close() })
		cmd.ExtraFiles = append(cmd.ExtraFiles, f)
	}
	return cmd
}

func listenTCP(t *testing.T) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return l
}

// The whole conversation with a supervisor: ready when clients are answered, signs of life, a reload, the stop.
func TestSupervisor(t *testing.T) {
	s := newSupervisor(t)
	cmd := supervised(t, "", nil, []string{"NOTIFY_SOCKET=" + s.path, "WATCHDOG_USEC=300000"}, "--listen", "127.0.0.1:0")
	server := startCommand(t, cmd)
	if got := s.hear(t, "READY=1"); !strings.Contains(got, "STATUS=serving "+server.tenantURL) {
		t.Errorf("ready: %q", got)
	}
	for range 3 {
		s.hear(t, "WATCHDOG=1")
	}
	if err := cmd.Process.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	if got := s.hear(t, "RELOADING=1"); !strings.Contains(got, "\nMONOTONIC_USEC=") {
		t.Errorf("reload: %q", got)
	}
	s.hear(t, "READY=1")
	server.end(t, syscall.SIGTERM)
	s.hear(t, "STOPPING=1")
}

// Sockets that the supervisor listens on are taken by name, by port, or because there is no other.
func TestSocketsFromTheSupervisor(t *testing.T) {
	for _, tt := range []struct {
		name, names string
		n           int // sockets
		serving     int // that SCIM is found at
		unused      string
	}{
		{"by name", "metrics:http", 2, 1, "metrics"},
		{"alone, whatever its name is", "scimbox.socket", 1, 0, ""},
		{"alone, without a name", "", 1, 0, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var sockets []net.Listener
			for range tt.n {
				sockets = append(sockets, listenTCP(t))
			}
			server := startCommand(t, supervised(t, tt.names, sockets, nil, "--listen", "127.0.0.1:1")) // which needs a right
			address := sockets[tt.serving].Addr().String()
			if want := "http://" + address + "/scim/v2"; server.tenantURL != want {
				t.Errorf("Tenant URL %s, want %s", server.tenantURL, want)
			}
			answers(t, "http://"+address+"/healthz", 200)
			server.end(t, syscall.SIGTERM)
			if got := server.log.String(); strings.Contains(got, "is not used") != (tt.unused != "") || !strings.Contains(got, tt.unused) {
				t.Errorf("log: %s", got)
			}
		})
	}
	t.Run("by port", func(t *testing.T) {
		other, own := listenTCP(t), listenTCP(t)
		server := startCommand(t, supervised(t, "a:b", []net.Listener{other, own}, nil, "--listen", own.Addr().String()))
		answers(t, server.tenantURL+"/ServiceProviderConfig", 200)
		if want := "http://" + own.Addr().String() + "/scim/v2"; server.tenantURL != want {
			t.Errorf("Tenant URL %s, want %s", server.tenantURL, want)
		}
		server.end(t, syscall.SIGTERM)
	})
	t.Run("two of one name", func(t *testing.T) {
		sockets := []net.Listener{listenTCP(t), listenTCP(t)}
		server := startCommand(t, supervised(t, "http:http", sockets, nil))
		for _, l := range sockets {
			answers(t, "http://"+l.Addr().String()+"/readyz", 200)
		}
		server.end(t, syscall.SIGTERM)
	})
}

func answers(t *testing.T, url string, status int) {
	t.Helper()
	web := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: patience}
	resp, err := web.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	if resp.StatusCode != status {
		t.Errorf("%s: %s", url, resp.Status)
	}
}

// halfway connects, and goes as far as halfwayOver.
func halfway(t *testing.T, c *child) net.Conn {
	t.Helper()
	conn, err := net.Dial("tcp", strings.TrimSuffix(strings.TrimPrefix(c.tenantURL, "http://"), "/scim/v2"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	halfwayOver(t, conn, c.token)
	return conn
}

// halfwayOver sends a request but for the last byte of its body, and returns when the server waits for that.
func halfwayOver(t *testing.T, conn net.Conn, token string) {
	t.Helper()
	body := `{"schemas":["urn:ietf:params:scim:schemas:core:2.0:User"],"userName":"last"}`
	fmt.Fprintf(conn, "POST /scim/v2/Users HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nAuthorization: Bearer %s\r\nContent-Type: application/scim+json\r\nContent-Length: %d\r\n\r\n", token, len(body))
	proceed := make([]byte, len("HTTP/1.1 100 Continue\r\n\r\n"))
	if _, err := io.ReadFull(conn, proceed); err != nil || !strings.Contains(string(proceed), "100 Continue") {
		t.Fatalf("%q, %v", proceed, err)
	}
	if _, err := io.WriteString(conn, body[:len(body)-1]); err != nil {
		t.Fatal(err)
	}
}

// A stop lets requests under way finish, closes the store in order, and ends with 0.
func TestGracefulStop(t *testing.T) {
	s := newSupervisor(t)
	cmd := supervised(t, "", nil, []string{"NOTIFY_SOCKET=" + s.path}, "--listen", "127.0.0.1:0")
	server := startCommand(t, cmd)
	conn := halfway(t, server)
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	s.hear(t, "STOPPING=1")
	if _, err := io.WriteString(conn, "}"); err != nil {
		t.Fatal(err)
	}
	if answer, err := io.ReadAll(conn); err != nil || !strings.HasPrefix(string(answer), "HTTP/1.1 201 ") {
		t.Errorf("the request under way: %q, %v", answer, err)
	}
	if err := cmd.Wait(); err != nil {
		t.Errorf("%v\n%s", err, server.log)
	}
}

// A request that never ends does not keep the server: the whole stop takes less than the 10 seconds after which supervisors
// kill. A second signal does not wait even for that.
func TestStopEnds(t *testing.T) {
	for _, twice := range []bool{false, true} {
		t.Run(fmt.Sprintf("twice=%t", twice), func(t *testing.T) {
			t.Parallel()
			s := newSupervisor(t)
			cmd := supervised(t, "", nil, []string{"NOTIFY_SOCKET=" + s.path}, "--listen", "127.0.0.1:0")
			server := startCommand(t, cmd)
			halfway(t, server)
			limit := time.AfterFunc(10*time.Second, func() { _ = cmd.Process.Kill() }) // as a supervisor does
			defer limit.Stop()
			if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
				t.Fatal(err)
			}
			s.hear(t, "STOPPING=1")
			if twice {
				if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
					t.Fatal(err)
				}
			}
			if err := cmd.Wait(); err != nil {
				t.Errorf("%v\n%s", err, server.log)
			}
			if got := server.log.String(); !strings.Contains(got, "cut off") || !strings.Contains(got, `"msg":"stopped"`) {
				t.Errorf("log: %s", got)
			}
		})
	}
}
