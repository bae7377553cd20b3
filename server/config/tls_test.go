package config

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"
)

// One hostname is a whole configuration.
func TestHostnameAlone(t *testing.T) {
	for _, tt := range []struct {
		text, mode, listen, redirect, public string
	}{
		{``, "off", "127.0.0.1:8080", "", ""},
		{`hostname = "SCIM.example.com"`, "acme", ":443", ":80", "https://scim.example.com"},
		{"hostname = \"scim.example.com\"\nlisten = \"127.0.0.1:8080\"", "acme", ":443", ":80", "https://scim.example.com"}, // a copy of the example
		{"hostname = \"scim.example.com\"\nlisten = \"10.0.0.5:443\"", "acme", "10.0.0.5:443", "10.0.0.5:80", "https://scim.example.com"},
		{"hostname = \"scim.example.com\"\nlisten = \":8443\"", "acme", ":8443", "", "https://scim.example.com"},
		{"hostname = \"scim.example.com\"\nlisten = \":8443\"\ntls.http_listen = \":8080\"", "acme", ":8443", ":8080", "https://scim.example.com"},
		{"hostname = \"scim.example.com\"\ntls.http_listen = \"off\"", "acme", ":443", "", "https://scim.example.com"},
		{"hostname = \"scim.example.com\"\npublic_url = \"https://scim.example.com:8443\"", "acme", ":443", ":80", "https://scim.example.com:8443"},
		{"hostname = \"scim\"\ntls.mode = \"self-signed\"", "self-signed", ":443", ":80", "https://scim"},
		{"hostname = \"fd00::1\"\ntls.mode = \"self-signed\"", "self-signed", ":443", ":80", "https://[fd00::1]"},
		{"hostname = \"scim\"\ntls = {certificate = \"a.pem\", key = \"b.pem\"}", "files", ":443", ":80", "https://scim"},
		{"hostname = \"scim.example.com\"\ntrusted_proxies = [\"127.0.0.1\"]\ntls.mode = \"off\"", "off", "127.0.0.1:8080", "", "https://scim.example.com"},
	} {
		l, err := Load(Options{File: write(t, tt.text)})
		if err != nil {
			t.Errorf("%s: %v", tt.text, err)
			continue
		}
		if got := []string{l.TLSMode(), l.Listen, l.RedirectAddress(), l.PublicURL}; fmt.Sprint(got) != fmt.Sprint([]string{tt.mode, tt.listen, tt.redirect, tt.public}) {
			t.Errorf("%s: %q", tt.text, got)
		}
	}
	l, err := Load(Options{Env: []string{"SCIMBOX_HOSTNAME=scim.example.com"}, Flags: map[string]string{"listen": "127.0.0.1:8080"}})
	if err != nil || l.Listen != "127.0.0.1:8080" {
		t.Errorf("a flag that says the default: %v, %v", l, err)
	}
}

// What cannot be, one by one.
func TestTLSProblems(t *testing.T) {
	const named = "hostname = \"scim.example.com\"\n"
	for text, want := range map[string]string{
		`hostname = "*.example.com"`:                                     "stands for many names",
		`hostname = "scim_box.example.com"`:                              "is no name of a host",
		`hostname = "scim.example.com:443"`:                              "is more than a name",
		`hostname = "scim"`:                                              "Let's Encrypt gives it no certificate",
		`hostname = "10.0.0.5"`:                                          "an authority is asked for a name",
		`tls.mode = "acme"`:                                              "tls.mode: the name that clients use is missing",
		`tls.certificate = "a.pem"`:                                      "tls.certificate: the name that clients use is missing",
		`tls.mode = "off"`:                                               "there has to be a proxy",
		named + `tls.mode = "files"`:                                     "both are needed",
		named + `tls.certificate = "none.pem"`:                           "both are needed",
		named + `tls = {certificate = "none.pem", key = "none-key.pem"}`: "cannot be read: no such file",
		named + `tls.acme.directory = "http://ca.example.com"`:           "no https URL",
		named + `tls.acme = {directory = "https://ca.example.com", staging = true}`:                                       "keep one of the two",
		named + `tls.acme.eab_key = "c2VjcmV0"`:                                                                           "both eab_key_id and eab_key",
		named + `tls.acme = {eab_key_id = "kid", eab_key = "not base64url!"}`:                                             "not in base64url",
		named + `tls.acme.email = "ops"`:                                                                                  "is no address",
		named + `tls.acme.roots = "none.pem"`:                                                                             "tls.acme.roots: ",
		named + `tls.dns.provider = "rfc2136"`:                                                                            "needs tls.dns.rfc2136.server",
		named + `tls.dns = {provider = "rfc2136", rfc2136 = {server = "ns", key_name = "k"}}`:                             "both key_name and key",
		named + `tls.dns = {provider = "rfc2136", rfc2136 = {server = "ns", key_name = "k", key = "?"}}`:                  "not in base64",
		named + `tls.dns = {provider = "rfc2136", rfc2136 = {server = "ns", algorithm = "hmac-md5"}}`:                     "hmac-sha256",
		named + `tls.dns.provider = "cloudflare"`:                                                                         "needs tls.dns.cloudflare.token",
		named + `tls.dns = {provider = "route53", route53 = {access_key_id = "A"}}`:                                       "needs tls.dns.route53.secret_access_key",
		named + `tls.dns = {provider = "azure", azure = {subscription = "s", resource_group = "g", client_secret = "x"}}`: "needs tls.dns.azure.tenant",
		named + `tls.dns.provider = "exec"`:                                                                               "needs tls.dns.exec.program",
	} {
		_, err := Load(Options{File: write(t, text), Serving: true, Flags: map[string]string{"data": t.TempDir()}})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s\n%v, want %q", text, err, want)
		}
	}
}

// A secret is printed nowhere, whoever prints it.
func TestSecrets(t *testing.T) {
	const secret = "dGhlLXNlY3JldA"
	l, err := Load(Options{Env: []string{
		"SCIMBOX_HOSTNAME=scim.example.com", "SCIMBOX_TLS_ACME_EAB_KEY_ID=kid", "SCIMBOX_TLS_ACME_EAB_KEY_FILE=" + write(t, secret+"\n"),
		"SCIMBOX_TLS_DNS_CLOUDFLARE_TOKEN=" + secret, "SCIMBOX_TLS_DNS_AZURE_CLIENT_SECRET=" + secret,
	}})
	if err != nil {
		t.Fatal(err)
	}
	if l.TLS.ACME.EABKey.Reveal() != secret {
		t.Error("the secret is not what the file says")
	}
	var out strings.Builder
	log := slog.New(slog.NewJSONHandler(&out, nil))
	log.Info("x", "config", l.Config, "key", l.TLS.ACME.EABKey)
	text, err := json.Marshal(l.Config)
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range l.Values() {
		out.WriteString(v.Key + "=" + v.Value + "\n")
	}
	fmt.Fprintf(&out, "%v %+v %#v %q %x %s", l.Config, l.Config, l.TLS.ACME.EABKey, l.TLS.ACME.EABKey, l.TLS.ACME.EABKey, text)
	if strings.Contains(out.String(), secret) || strings.Contains(out.String(), fmt.Sprintf("%x", secret)) {
		t.Errorf("a secret is printed:\n%s", &out)
	}
	if !strings.Contains(out.String(), "tls.acme.eab_key=(secret)\n") || !strings.Contains(out.String(), "tls.dns.route53.session_token=\n") {
		t.Errorf("it is not said which secrets there are:\n%s", &out)
	}
}
