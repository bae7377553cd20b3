package config

import (
	"crypto/tls"
	"encoding/base64"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"os"
	"regexp"
	"strings"
	"time"
)

// TLS is where the certificate comes from, and what is said by way of TLS.
type TLS struct {
	Mode        string   `toml:"mode"`        // "auto", "acme", "files", "self-signed" or "off"
	HTTPListen  string   `toml:"http_listen"` // address of plain HTTP beside it, "auto" or "off"
	HSTS        Duration `toml:"hsts"`        // how long browsers are to remember that there is https only; 0s = they are not told
	Certificate string   `toml:"certificate"` // file of the certificate with its chain, PEM; relative as Data
	Key         string   `toml:"key"`         // file of its key, PEM; relative as Data
	ACME        ACME     `toml:"acme"`
	DNS         DNS      `toml:"dns"`
}

// ACME is which authority is asked for a certificate, and by which account.
type ACME struct {
	Directory string `toml:"directory"`  // URL, "" = Let's Encrypt
	Staging   bool   `toml:"staging"`    // Let's Encrypt's test system
	Email     string `toml:"email"`      // that the authority writes to
	Roots     string `toml:"roots"`      // file of what the authority's https is trusted by, PEM; relative as Data
	EABKeyID  string `toml:"eab_key_id"` // external account binding
	EABKey    Secret `toml:"eab_key"`    // its HMAC key in base64url
	Profile   string `toml:"profile"`    // kind of certificate, "" = the authority's choice
}

// DNS is how the authority is shown that the name is ours where it cannot reach the server.
type DNS struct {
	Provider   string     `toml:"provider"`  // "" = it can
	Resolvers  List       `toml:"resolvers"` // name servers that are asked, none = those of the system
	Wait       Duration   `toml:"wait"`      // for the record to arrive
	Name       string     `toml:"name"`      // of the record, "" = _acme-challenge below the hostname
	RFC2136    RFC2136    `toml:"rfc2136"`
	Cloudflare Cloudflare `toml:"cloudflare"`
	Route53    Route53    `toml:"route53"`
	Azure      Azure      `toml:"azure"`
	Exec       Exec       `toml:"exec"`
}

// RFC2136 is a name server that takes dynamic updates.
type RFC2136 struct {
	Server    string `toml:"server"`   // host or host:port
	KeyName   string `toml:"key_name"` // of TSIG
	Key       Secret `toml:"key"`      // base64
	Algorithm string `toml:"algorithm"`
}

// Cloudflare is an account of Cloudflare's.
type Cloudflare struct {
	Token Secret `toml:"token"`
}

// Route53 is an account of Amazon's.
type Route53 struct {
	AccessKeyID     string `toml:"access_key_id"`
	SecretAccessKey Secret `toml:"secret_access_key"`
	SessionToken    Secret `toml:"session_token"`
	HostedZone      string `toml:"hosted_zone"` // id, "" = looked for
}

// Azure is a zone in Azure DNS, and who may change it.
type Azure struct {
	Subscription  string `toml:"subscription"`
	ResourceGroup string `toml:"resource_group"`
	Tenant        string `toml:"tenant"`
	ClientID      string `toml:"client_id"`
	ClientSecret  Secret `toml:"client_secret"` // "" = the managed identity of the machine
}

// Exec is a program of the operator.
type Exec struct {
	Program string `toml:"program"`
}

func defaultTLS() TLS {
	return TLS{
		Mode: "auto", HTTPListen: "auto",
		DNS: DNS{Resolvers: List{}, Wait: Duration{2 * time.Minute}, RFC2136: RFC2136{Algorithm: "hmac-sha256"}},
	}
}

// TLSMode returns the mode in effect: never "auto".
func (c *Config) TLSMode() string {
	switch {
	case c.TLS.Mode != "auto":
		return c.TLS.Mode
	case c.TLS.Certificate != "" || c.TLS.Key != "":
		return "files"
	case c.Hostname != "":
		return "acme"
	}
	return "off"
}

// Secured reports whether TLS is spoken.
func (c *Config) Secured() bool { return c.TLSMode() != "off" }

// RedirectAddress returns the address of plain HTTP beside TLS, "" for none.
func (c *Config) RedirectAddress() string {
	host, port, err := net.SplitHostPort(c.Listen)
	switch {
	case !c.Secured(), c.TLS.HTTPListen == "off":
		return ""
	case c.TLS.HTTPListen != "auto":
		return c.TLS.HTTPListen
	case err == nil && port == "443":
		return net.JoinHostPort(host, "80")
	}
	return ""
}

// byHostname gives those values that nobody has chosen the ones that belong to a hostname. An address in the file that is the
// default all the same, because somebody has begun with a copy of the example, is not taken for a choice.
func (l *loader) byHostname() {
	l.Hostname = strings.ToLower(strings.TrimSuffix(l.Hostname, "."))
	if from := l.origins["listen"]; l.Secured() && l.Listen == Default().Listen && from.source == "" {
		l.Listen, l.origins["listen"] = ":443", origin{source: "default with a hostname"}
	}
	if l.Hostname != "" && l.PublicURL == "" && hostname(l.Hostname) == nil {
		host := l.Hostname
		if strings.Contains(host, ":") {
			host = "[" + host + "]"
		}
		l.PublicURL, l.origins["public_url"] = "https://"+host, origin{source: "made of hostname"}
	}
}

var label = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$`)

// hostname says why a name is none of a host.
func hostname(name string) error {
	if _, err := netip.ParseAddr(name); err == nil {
		return nil
	}
	if strings.ContainsAny(name, ":/") {
		return fmt.Errorf("%q is more than a name; write it without scheme, port and path, such as scim.example.com", name)
	}
	if strings.HasPrefix(name, "*.") {
		return fmt.Errorf("%q stands for many names; write the one that clients use", name)
	}
	for part := range strings.SplitSeq(name, ".") {
		if !label.MatchString(part) || len(name) > 253 {
			return fmt.Errorf("%q is no name of a host; write one such as scim.example.com (names with other letters in their form xn--...)", name)
		}
	}
	return nil
}

// tls says whether there can be a certificate by what is configured.
func (l *loader) tls() {
	l.oneOf("tls.mode", l.TLS.Mode, "auto", "acme", "files", "self-signed", "off")
	l.lasting("tls.hsts", l.TLS.HSTS, 0, 2*365*day)
	if a := l.TLS.HTTPListen; a != "auto" && a != "off" {
		l.address("tls.http_listen", a, `; or "auto", or "off"`)
	}
	named := l.Hostname != ""
	if named {
		if err := hostname(l.Hostname); err != nil {
			l.wrong("hostname", "%v", err)
			named = false
		}
	} else if l.Secured() && l.TLSMode() != "auto" {
		key := "tls.mode"
		if l.TLS.Mode == "auto" {
			key = "tls.certificate"
		}
		l.wrong(key, "the name that clients use is missing; set hostname, such as hostname = \"scim.example.com\"")
	}
	switch l.TLSMode() {
	case "acme":
		l.acme(named)
	case "files":
		l.certificate()
	case "off":
		if l.TLS.Mode == "off" && len(l.TrustedProxies) == 0 {
			l.wrong("tls.mode", "without TLS there has to be a proxy that speaks it; name its address in trusted_proxies, such as trusted_proxies = [\"127.0.0.1\"]")
		}
	}
	l.dns()
}

func (l *loader) acme(named bool) {
	a := l.TLS.ACME
	if _, err := netip.ParseAddr(l.Hostname); named && err == nil {
		l.wrong("hostname", "%q is an address; an authority is asked for a name. Use the name, or tls.mode \"files\" or \"self-signed\"", l.Hostname)
	} else if named && a.Directory == "" && !strings.Contains(l.Hostname, ".") {
		l.wrong("hostname", "%q is no name on the internet, and Let's Encrypt gives it no certificate; use one such as scim.example.com, an authority of your own (tls.acme.directory), or tls.mode = \"self-signed\"", l.Hostname)
	}
	if a.Directory != "" {
		if u, err := url.Parse(a.Directory); err != nil || u.Scheme != "https" || u.Host == "" || u.User != nil {
			l.wrong("tls.acme.directory", "%q is no https URL of an ACME directory, such as https://ca.corp.example/acme/acme/directory", a.Directory)
		}
		if a.Staging {
			l.wrong("tls.acme.staging", "it is Let's Encrypt's, and tls.acme.directory names another authority; keep one of the two")
		}
	}
	if (a.EABKeyID == "") != (a.EABKey == "") {
		l.wrong("tls.acme.eab_key_id", "an external account has both eab_key_id and eab_key; the authority gives them out together")
	} else if _, err := base64.RawURLEncoding.DecodeString(strings.TrimRight(a.EABKey.Reveal(), "=")); err != nil {
		l.wrong("tls.acme.eab_key", "it is not in base64url (letters, digits, - and _)")
	}
	if a.Email != "" && !strings.Contains(a.Email, "@") {
		l.wrong("tls.acme.email", "%q is no address", a.Email)
	}
	if a.Roots != "" && l.serving {
		if _, err := os.ReadFile(a.Roots); err != nil {
			l.wrong("tls.acme.roots", "%s cannot be read: %v", a.Roots, cause(err))
		}
	}
}

func (l *loader) certificate() {
	t := l.TLS
	if t.Certificate == "" || t.Key == "" {
		l.wrong("tls.certificate", "both are needed: tls.certificate, the certificate with its chain, and tls.key")
		return
	}
	if !l.serving {
		return
	}
	for key, file := range map[string]string{"tls.certificate": t.Certificate, "tls.key": t.Key} {
		if _, err := os.ReadFile(file); err != nil {
			l.wrong(key, "%s cannot be read: %v", file, cause(err))
			return
		}
	}
	if _, err := tls.LoadX509KeyPair(t.Certificate, t.Key); err != nil {
		l.wrong("tls.certificate", "%s and %s are no certificate with its key in PEM: %v", t.Certificate, t.Key, err)
	}
}

func (l *loader) dns() {
	d := l.TLS.DNS
	l.lasting("tls.dns.wait", d.Wait, time.Second, time.Hour)
	if d.Provider == "" {
		return
	}
	l.oneOf("tls.dns.provider", d.Provider, "rfc2136", "cloudflare", "route53", "azure", "exec")
	need := func(key, value string) {
		if value == "" {
			l.wrong("tls.dns.provider", "%q needs tls.dns.%s.%s as well", d.Provider, d.Provider, key)
		}
	}
	switch d.Provider {
	case "rfc2136":
		p := d.RFC2136
		need("server", p.Server)
		l.oneOf("tls.dns.rfc2136.algorithm", p.Algorithm, "hmac-sha1", "hmac-sha224", "hmac-sha256", "hmac-sha384", "hmac-sha512")
		if (p.KeyName == "") != (p.Key == "") {
			l.wrong("tls.dns.rfc2136.key_name", "a key of TSIG has both key_name and key")
		} else if _, err := base64.StdEncoding.DecodeString(p.Key.Reveal()); err != nil {
			l.wrong("tls.dns.rfc2136.key", "it is not in base64")
		}
	case "cloudflare":
		need("token", d.Cloudflare.Token.Reveal())
	case "route53":
		need("access_key_id", d.Route53.AccessKeyID)
		need("secret_access_key", d.Route53.SecretAccessKey.Reveal())
	case "azure":
		need("subscription", d.Azure.Subscription)
		need("resource_group", d.Azure.ResourceGroup)
		if d.Azure.ClientSecret != "" {
			need("tenant", d.Azure.Tenant)
			need("client_id", d.Azure.ClientID)
		}
	case "exec":
		need("program", d.Exec.Program)
	}
}
