package config

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"scimbox/auth"
	"scimbox/backup"
	"scimbox/scim"
)

// wrong notes a problem where the value of the key came from.
func (l *loader) wrong(key, format string, args ...any) {
	l.problems = append(l.problems, l.origins[key].problem(key, key+": "+format, args...))
}

// validate says of each value, and of values that meet, whether they can be.
func (l *loader) validate() {
	l.listen("listen", l.Listen)
	l.beside("console.listen", l.Console.Listen, "leave it empty to have the console there")
	l.beside("metrics.listen", l.Metrics.Listen, "the metrics need one of their own")
	if own := l.Metrics.Listen; own != "" && own == l.Console.Listen && !strings.HasSuffix(own, ":0") {
		l.wrong("metrics.listen", "%s is the address of the console; the metrics need one of their own", own)
	}
	if l.Data == "" {
		l.wrong("data", "name a directory, such as ./scimbox-data")
	}
	l.publicURL()
	if _, err := l.TrustedProxies.Prefixes(); err != nil {
		l.wrong("trusted_proxies", "%v", err)
	}

	l.tls()

	l.oneOf("scim.password", l.SCIM.Password, "hash", "refuse")
	l.oneOf("scim.group_names", l.SCIM.GroupNames, "unique", "free")
	l.oneOf("scim.unknown_members", l.SCIM.UnknownMembers, "keep", "refuse")
	l.between("scim.default_results", l.SCIM.DefaultResults, 1, 100_000)
	l.between("scim.max_results", l.SCIM.MaxResults, 1, 100_000)
	if l.SCIM.DefaultResults > l.SCIM.MaxResults && l.SCIM.MaxResults > 0 {
		if _, asked := l.origins["scim.default_results"]; asked {
			l.wrong("scim.default_results", "%d is more than scim.max_results allows (%d)", l.SCIM.DefaultResults, l.SCIM.MaxResults)
		}
		l.SCIM.DefaultResults = l.SCIM.MaxResults
	}
	l.between("scim.max_scan", l.SCIM.MaxScan, 1, 1_000_000_000)
	l.lasting("scim.cursor_timeout", l.SCIM.CursorTimeout, time.Minute, 30*day)
	l.schemas()

	l.sized("storage.min_free", l.Storage.MinFree, 0, 1<<50)

	l.lasting("journal.keep", l.Journal.Keep, 0, 100*366*day)
	l.sized("journal.max_size", l.Journal.MaxSize, 0, 1<<50)

	l.backup()

	l.sized("limits.body", l.Limits.Body, 4<<10, 64<<20)
	l.sized("limits.bulk_body", l.Limits.BulkBody, 4<<10, 64<<20)
	l.between("limits.bulk_operations", l.Limits.BulkOperations, 1, 100_000)
	l.sized("limits.header", l.Limits.Header, 4<<10, 1<<20)
	l.lasting("limits.header_timeout", l.Limits.HeaderTimeout, 100*time.Millisecond, time.Hour)
	l.lasting("limits.request_timeout", l.Limits.RequestTimeout, time.Second, day)
	l.lasting("limits.idle_timeout", l.Limits.IdleTimeout, time.Second, day)
	l.between("limits.connections", l.Limits.Connections, 16, 1_000_000)
	l.between("limits.connections_per_address", l.Limits.ConnectionsPerAddress, 1, 1_000_000)
	l.between("limits.streams", l.Limits.Streams, 1, 10_000)
	l.between("limits.requests_per_token", l.Limits.RequestsPerToken, 0, 1_000_000)
	l.between("limits.burst_per_token", l.Limits.BurstPerToken, 1, 1_000_000)
	l.between("limits.requests_per_address", l.Limits.RequestsPerAddress, 0, 1_000_000)
	l.between("limits.burst_per_address", l.Limits.BurstPerAddress, 1, 1_000_000)

	l.between("guard.max_changes", l.Guard.MaxChanges, 0, 100_000_000)
	l.between("guard.max_percent", l.Guard.MaxPercent, 0, 100)
	l.lasting("guard.window", l.Guard.Window, time.Minute, 30*day)
	if l.Guard.Enabled && l.Guard.MaxChanges == 0 && l.Guard.MaxPercent == 0 {
		l.wrong("guard.enabled", "the guard has nothing to go by: set guard.max_changes or guard.max_percent, or both")
	}

	l.lasting("tokens.lifetime", l.Tokens.Lifetime, auth.MinTTL, auth.MaxTTL)
	for _, d := range l.Tokens.WarnBefore {
		l.lasting("tokens.warn_before", d, 0, auth.MaxTTL)
	}

	l.activity()

	l.oneOf("log.level", l.Log.Level, "debug", "info", "warn", "error")
	l.oneOf("log.format", l.Log.Format, "auto", "text", "json")
}

func (l *loader) oneOf(key, value string, allowed ...string) {
	if slices.Contains(allowed, value) {
		return
	}
	hint := ""
	if best := Nearest(value, allowed); best != "" {
		hint = fmt.Sprintf("; did you mean %q?", best)
	}
	l.wrong(key, "%q is none of %s%s", value, strings.Join(allowed, ", "), hint)
}

func (l *loader) between(key string, n, least, most int) {
	if n < least || n > most {
		l.wrong(key, "%d is not between %d and %d", n, least, most)
	}
}

func (l *loader) lasting(key string, d Duration, least, most time.Duration) {
	if d.Duration < least || d.Duration > most {
		l.wrong(key, "%s is not between %s and %s", d, Duration{least}, Duration{most})
	}
}

func (l *loader) sized(key string, s Size, least, most int64) {
	if s.Bytes < least || s.Bytes > most {
		l.wrong(key, "%s is not between %s and %s", s, Size{least}, Size{most})
	}
}

// listen refuses an address that is none, and plain HTTP where others could listen in.
func (l *loader) listen(key, value string) {
	host, ok := l.address(key, value, "")
	if ok && !Loopback(host) && !l.Secured() && !l.PlainHTTP() {
		l.wrong(key, "%s", RefusePlainHTTP(value))
	}
}

// beside refuses an address of a listener of its own that is none, or that is not its own; instead says what to do then.
func (l *loader) beside(key, own, instead string) {
	switch {
	case own == "":
	case own == l.Listen && !strings.HasSuffix(own, ":0"):
		l.wrong(key, "%s is the address of SCIM; %s", own, instead)
	default:
		l.listen(key, own)
	}
}

// address says whether a value is host:port; hint is what else it could be.
func (l *loader) address(key, value, hint string) (host string, ok bool) {
	host, port, err := net.SplitHostPort(value)
	if err != nil {
		l.wrong(key, "%q is no address; write host:port, such as 127.0.0.1:8080%s", value, hint)
		return "", false
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || strconv.FormatUint(n, 10) != port {
		l.wrong(key, "%q is no port; it is a number from 0 (any that is free) to 65535", port)
		return "", false
	}
	return host, true
}

// PlainHTTP reports whether plain HTTP is spoken on an address that others can reach.
func (c *Config) PlainHTTP() bool { return c.AllowPlainHTTP || len(c.TrustedProxies) > 0 }

// Loopback reports whether a host, as it stands in a listen address, can be reached from this machine alone.
func Loopback(host string) bool {
	if ip, err := netip.ParseAddr(host); err == nil {
		return ip.Unmap().IsLoopback()
	}
	return strings.EqualFold(host, "localhost")
}

// RefusePlainHTTP says why a server does not start at an address, and what to do about it.
func RefusePlainHTTP(address string) string {
	return fmt.Sprintf("refusing plain HTTP on %s, because tokens and personal data would cross the network unencrypted: listen on 127.0.0.1 and put a proxy that speaks TLS in front, or, if the proxy is on another machine, name its address in trusted_proxies (SCIMBOX_TRUSTED_PROXIES); where the whole network is trusted, set allow_plain_http = true (SCIMBOX_ALLOW_PLAIN_HTTP=true)", address)
}

func (l *loader) publicURL() {
	if l.PublicURL == "" {
		return
	}
	u, err := url.Parse(l.PublicURL)
	shown := l.PublicURL
	if err == nil {
		shown = u.Redacted() // somebody may have put a password into it
	}
	switch {
	case err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "":
		l.wrong("public_url", "%q is no URL of a server; write scheme and host, such as https://scim.example.com", shown)
	case u.User != nil || u.RawQuery != "" || u.Fragment != "" || strings.Trim(u.Path, "/") != "":
		l.wrong("public_url", "%q has more than scheme and host; write %s://%s (clients find SCIM below it at %s)", shown, u.Scheme, u.Host, scim.BasePath)
	default:
		l.PublicURL = strings.TrimRight(l.PublicURL, "/")
	}
}

// schemas takes over the problems of the file of custom schemas, so that they too are all said at once.
func (l *loader) schemas() {
	if l.SCIM.Schemas == "" {
		return
	}
	_, err := scim.NewTypes(l.SCIM.Schemas)
	var wrong *scim.SchemaFileError
	switch {
	case errors.As(err, &wrong):
		for _, p := range wrong.Problems {
			l.problems = append(l.problems, Problem{Key: "scim.schemas", File: wrong.File, Line: p.Line, Column: p.Column, Text: p.Text})
		}
	case err != nil:
		l.wrong("scim.schemas", "%v", err)
	}
}

func (l *loader) backup() {
	if l.Backup.Every.Duration != 0 {
		l.lasting("backup.every", l.Backup.Every, time.Minute, 365*day)
	}
	l.between("backup.keep", l.Backup.Keep, 1, 10_000)
	if r := l.Backup.Recipient; r != "" {
		if _, err := backup.ParseRecipient(r); err != nil {
			l.wrong("backup.recipient", "%v", err)
		}
	}
}

// ours are the names by which a data directory is recognised.
var ours = []string{"store", "seal.json", "control.sock", "activity"}

// directory says whether the data directory is there, or can be made, and is ours to use. The server makes it private to its
// user, which must not happen to a directory of something else.
func (l *loader) directory() {
	if l.Data == "" {
		return
	}
	info, err := os.Stat(l.Data)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		l.parent()
		return
	case err != nil:
		l.wrong("data", "%s cannot be looked at: %v", l.Data, cause(err))
		return
	case !info.IsDir():
		l.wrong("data", "%s is a file; name a directory", l.Data)
		return
	case !writable(l.Data):
		l.wrong("data", "%s cannot be written by this user (%s); change its owner, or name another directory", l.Data, info.Mode().Perm())
		return
	}
	entries, err := os.ReadDir(l.Data)
	if err != nil {
		l.wrong("data", "%s cannot be read: %v", l.Data, cause(err))
		return
	}
	var foreign string
	for _, e := range entries {
		if slices.Contains(ours, e.Name()) {
			return
		}
		if e.Name() != "lost+found" { // of an empty volume
			foreign = e.Name()
		}
	}
	if foreign != "" {
		l.wrong("data", "%s holds other files (%s) and no scimbox data; name an empty directory, or one that does not exist yet", l.Data, foreign)
	}
}

// parent says whether the data directory could be made.
func (l *loader) parent() {
	dir := filepath.Dir(filepath.Clean(l.Data))
	for {
		info, err := os.Stat(dir)
		switch {
		case errors.Is(err, fs.ErrNotExist) && dir != filepath.Dir(dir):
			dir = filepath.Dir(dir)
			continue
		case err != nil:
			l.wrong("data", "%s cannot be made, because %s cannot be looked at: %v", l.Data, dir, cause(err))
		case !info.IsDir():
			l.wrong("data", "%s cannot be made, because %s is a file", l.Data, dir)
		case !writable(dir):
			l.wrong("data", "%s cannot be made, because %s cannot be written by this user", l.Data, dir)
		}
		return
	}
}
