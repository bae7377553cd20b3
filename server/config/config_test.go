package config

import (
	"bytes"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/pelletier/go-toml/v2"
	"github.com/rogpeppe/go-internal/txtar"
	"pgregory.net/rapid"
)

var update = flag.Bool("update", false, "rewrite the expected problems in testdata")

const example = "../../config.example.toml"

func write(t *testing.T, text string) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "scimbox.toml")
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

// The example documents every key, and says the defaults.
func TestExampleIsTheDefaults(t *testing.T) {
	data, err := os.ReadFile(example)
	if err != nil {
		t.Fatal(err)
	}
	var c Config
	d := toml.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	if err := d.Decode(&c); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(Default(), c); diff != "" {
		t.Errorf("the library reads other values than the defaults (-default +example):\n%s", diff)
	}

	l, err := Load(Options{File: example, Serving: true})
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range l.Values() {
		if !strings.HasPrefix(v.Source, example) {
			t.Errorf("%s is not in the example", v.Key)
		}
	}
	l.Data = Default().Data // a path of the file counts from the file
	if diff := cmp.Diff(Default(), l.Config); diff != "" {
		t.Errorf("Load reads other values than the defaults (-default +example):\n%s", diff)
	}
}

func TestDefaultsAreValid(t *testing.T) {
	l, err := Load(Options{})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(Default(), l.Config); diff != "" {
		t.Error(diff)
	}
}

// Each file of testdata has a configuration, perhaps an environment and flags, and all that is wrong with them.
func TestProblems(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txtar"), func(t *testing.T) {
			path, err := filepath.Abs(file)
			if err != nil {
				t.Fatal(err)
			}
			a, err := txtar.ParseFile(path)
			if err != nil {
				t.Fatal(err)
			}
			o, want := Options{Serving: true, Flags: map[string]string{}}, (*txtar.File)(nil)
			t.Chdir(t.TempDir())
			for i, f := range a.Files {
				switch f.Name {
				case "env":
					o.Env = strings.Split(strings.TrimSpace(string(f.Data)), "\n")
				case "flags":
					for line := range strings.Lines(string(f.Data)) {
						k, v, _ := strings.Cut(strings.TrimSpace(line), "=")
						o.Flags[k] = v
					}
				case "problems":
					want = &a.Files[i]
				default:
					o.File = "scimbox.toml"
					if err := os.WriteFile(f.Name, f.Data, 0o600); err != nil {
						t.Fatal(err)
					}
				}
			}
			before := listing(t)
			_, err = Load(o)
			var problems Problems
			if !errors.As(err, &problems) {
				t.Fatalf("error is %T (%v), want Problems", err, err)
			}
			if after := listing(t); after != before {
				t.Errorf("something was made: %s", after)
			}
			got := problems.Error() + "\n"
			if *update {
				want.Data = []byte(got)
				if err := os.WriteFile(path, txtar.Format(a), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			if diff := cmp.Diff(string(want.Data), got); diff != "" {
				t.Errorf("problems (-want +got):\n%s", diff)
			}
		})
	}
}

func listing(t *testing.T) string {
	t.Helper()
	entries, err := os.ReadDir(".")
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return strings.Join(names, " ")
}

// Every key can be set by its environment variable, directly and through a file, and environment wins over file,
// flags over both.
func TestEnvironment(t *testing.T) {
	schemas := write(t, `{"schemas": [{"id": "urn:example:params:scim:schemas:extension:acme:2.0:User", "name": "AcmeUser", "extends": "User", "attributes": [{"name": "badge"}]}]}`)
	// Some values only make sense beside others.
	beside := map[string][]string{
		"tls.dns.provider": {"SCIMBOX_TLS_DNS_CLOUDFLARE_TOKEN=x"},
		"tls.mode":         {"SCIMBOX_TRUSTED_PROXIES=10.0.0.5"},
		"tls.certificate":  {"SCIMBOX_HOSTNAME=scim.example.com", "SCIMBOX_TLS_MODE=files", "SCIMBOX_TLS_CERTIFICATE=a.pem", "SCIMBOX_TLS_KEY=b.pem"},
	}
	beside["tls.key"] = beside["tls.certificate"]
	for _, k := range keys {
		text := map[string]string{
			"tls.dns.provider": "cloudflare", "hostname": "Scim.example.com.", "tls.mode": "off", "tls.http_listen": "off", "tls.certificate": "cert.pem", "tls.key": "key.pem",
			"tls.acme.directory": "https://ca.example/directory", "tls.acme.email": "ops@example.com", "tls.dns.resolvers": "1.1.1.1", "tls.dns.rfc2136.algorithm": "hmac-sha512",
			"listen": "[::1]:9000", "trusted_proxies": " 10.0.0.0/8 , ::1,", "data": "elsewhere", "public_url": "https://scim.example.com",
			"scim.password": "refuse", "scim.group_names": "free", "scim.unknown_members": "refuse", "scim.default_results": "7",
			"scim.max_results": "101", "scim.max_scan": "5", "scim.cursor_timeout": "2h", "scim.schemas": schemas,
			"backup.keep": "3", "backup.dir": "elsewhere", "backup.recipient": "age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p",
			"limits.bulk_operations": "3", "limits.connections": "100", "limits.connections_per_address": "7", "limits.streams": "9", "guard.max_changes": "50", "guard.max_percent": "10", "limits.requests_per_token": "10", "limits.burst_per_token": "20", "limits.requests_per_address": "30", "limits.burst_per_address": "40", "tokens.warn_before": "20d, 2d", "log.level": "debug", "log.format": "json", "activity.mask": "name, emails.value",
			"console.enabled": "FALSE", "console.listen": "127.0.0.1:9001",
			"metrics.listen": "127.0.0.1:9090",
		}[k.path]
		if text == "" && strings.HasPrefix(k.path, "tls.") {
			text = "text"
		}
		if kind := reflect.TypeFor[Config]().FieldByIndex(k.index).Type; text == "" || kind != reflect.TypeFor[string]() && text == "text" {
			switch kind {
			case reflect.TypeFor[Secret]():
				text = "text"
			case reflect.TypeFor[bool]():
				text = "TRUE"
			case reflect.TypeFor[Duration]():
				text = "59m"
			case reflect.TypeFor[Size]():
				text = "99kB"
			default:
				t.Fatalf("no example value for %s", k.path)
			}
		}
		others := slices.DeleteFunc(slices.Clone(beside[k.path]), func(entry string) bool { return strings.HasPrefix(entry, k.env()+"=") })
		base, err := Load(Options{Env: beside[k.path]})
		if err != nil {
			t.Fatalf("beside %s: %v", k.env(), err)
		}
		direct, err := Load(Options{Env: append(others, k.env()+"="+text)})
		if err != nil {
			t.Fatalf("%s: %v", k.env(), err)
		}
		want := []string{k.path}
		if k.path == "hostname" {
			want = []string{"hostname", "listen", "public_url"}
		}
		if got := Changed(base.Config, direct.Config); !slices.Equal(got, want) {
			t.Errorf("%s changes %v, want %s", k.env(), got, want)
		}
		byFile, err := Load(Options{Env: append(others, k.env()+"_FILE="+write(t, text+"\n"))})
		if err != nil {
			t.Fatalf("%s_FILE: %v", k.env(), err)
		}
		if diff := cmp.Diff(direct.Config, byFile.Config); diff != "" {
			t.Errorf("%s_FILE reads other values:\n%s", k.env(), diff)
		}
	}

	l, err := Load(Options{
		Env:   []string{"SCIMBOX_CONFIG=" + write(t, "listen = \"127.0.0.1:1\"\ndata = \"f\"\n[log]\nlevel = \"warn\""), "SCIMBOX_LISTEN=127.0.0.1:2", "SCIMBOX_DATA=e", "SCIMBOX_LOG_LEVEL="},
		Flags: map[string]string{"listen": "127.0.0.1:3"},
	})
	if err != nil {
		t.Fatal(err)
	}
	if l.Listen != "127.0.0.1:3" || l.Data != "e" || l.Log.Level != "warn" {
		t.Errorf("flags, environment, file: got %q, %q, %q", l.Listen, l.Data, l.Log.Level)
	}
}

func TestPathsOfTheFile(t *testing.T) {
	file := write(t, `data = "data"`)
	l, err := Load(Options{File: file})
	if err != nil {
		t.Fatal(err)
	}
	if want := filepath.Join(filepath.Dir(file), "data"); l.Data != want {
		t.Errorf("data = %q, want %q", l.Data, want)
	}
}

func TestByteOrderMark(t *testing.T) {
	l, err := Load(Options{File: write(t, "\uFEFFlisten = \"127.0.0.1:1\"")})
	if err != nil || l.Listen != "127.0.0.1:1" {
		t.Errorf("got %v, %v", l, err)
	}
	_, err = Load(Options{File: write(t, "\xFF\xFEl\x00")})
	if err == nil || !strings.Contains(err.Error(), "UTF-8") {
		t.Errorf("UTF-16: %v", err)
	}
}

// Which directories may become the data directory.
func TestDataDirectory(t *testing.T) {
	dir := t.TempDir()
	t.Chdir(dir)
	for _, d := range []string{"empty", "volume/lost+found", "used/store", "home/letters"} {
		if err := os.MkdirAll(d, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile("file", nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ data, problem string }{
		{"empty", ""},
		{"new", ""},
		{"new/and/deep", ""},
		{"volume", ""},
		{"used", ""},
		{"home", "--data: data: home holds other files (letters) and no scimbox data; name an empty directory, or one that does not exist yet"},
		{"file", "--data: data: file is a file; name a directory"},
		{"file/below", "--data: data: file/below cannot be looked at: not a directory"},
		{"", "--data: data: name a directory, such as ./scimbox-data"},
	} {
		_, err := Load(Options{Flags: map[string]string{"data": c.data}, Serving: true})
		got := ""
		if err != nil {
			got = err.Error()
		}
		if got != c.problem {
			t.Errorf("%q: %s\nwant %s", c.data, got, c.problem)
		}
	}
}

func TestUnwritableDirectory(t *testing.T) {
	t.Chdir(t.TempDir())
	if err := os.Mkdir("locked", 0o500); err != nil {
		t.Fatal(err)
	}
	if writable("locked") {
		t.Skip("this user may write anywhere")
	}
	for _, data := range []string{"locked", "locked/below"} {
		if _, err := Load(Options{Flags: map[string]string{"data": data}, Serving: true}); err == nil || !strings.Contains(err.Error(), "cannot be written by this user") {
			t.Errorf("%q: %v", data, err)
		}
	}
}

func TestLoopback(t *testing.T) {
	for host, want := range map[string]bool{
		"127.0.0.1": true, "127.8.8.8": true, "::1": true, "::ffff:127.0.0.1": true, "localhost": true, "LOCALHOST": true,
		"": false, "0.0.0.0": false, "::": false, "10.0.0.1": false, "example.com": false, "localhost.example.com": false,
	} {
		if got := Loopback(host); got != want {
			t.Errorf("Loopback(%q) = %v", host, got)
		}
	}
}

func TestUnits(t *testing.T) {
	for text, want := range map[string]time.Duration{
		"0s": 0, "90s": 90 * time.Second, "1h30m": 90 * time.Minute, "1.5h": 90 * time.Minute, "180d": 180 * day, "26w": 26 * week,
		"250ms": 250 * time.Millisecond, "1d 12h": 36 * time.Hour, "2 h": 2 * time.Hour,
	} {
		if got, err := ParseDuration(text); err != nil || got != want {
			t.Errorf("ParseDuration(%q) = %v, %v; want %v", text, got, err, want)
		}
	}
	for text, want := range map[string]int64{
		"0B": 0, "1KiB": 1024, "1 MiB": 1 << 20, "1.5MiB": 3 << 19, "2GiB": 2 << 30, "1kB": 1000, "1KB": 1000, "3MB": 3e6, "1GB": 1e9,
	} {
		if got, err := ParseSize(text); err != nil || got != want {
			t.Errorf("ParseSize(%q) = %v, %v; want %v", text, got, err, want)
		}
	}
	for _, text := range []string{"", "1", "h", "-1h", "+1h", "1y", "1 month", "1M", "1,5h", "1h-", "1e3s", "∞", "99999999w", "1..5s", "."} {
		if got, err := ParseDuration(text); err == nil {
			t.Errorf("ParseDuration(%q) = %v, want an error", text, got)
		}
	}
	for _, text := range []string{"", "1", "MiB", "-1MiB", "1mib", "1Mi", "1.0001KiB", "1MiB2KiB", "9e9GiB", "99999999999999GiB"} {
		if got, err := ParseSize(text); err == nil {
			t.Errorf("ParseSize(%q) = %v, want an error", text, got)
		}
	}
}

func TestUnitsPrintAsTheyAreRead(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		d := Duration{time.Duration(rapid.Int64Range(0, int64(1000*week)/1e6).Draw(t, "ms")) * time.Millisecond}
		if got, err := ParseDuration(d.String()); err != nil || got != d.Duration {
			t.Fatalf("%v is printed as %q and read as %v, %v", d.Duration, d, got, err)
		}
		s := Size{rapid.Int64Range(0, 1<<50).Draw(t, "bytes")}
		if got, err := ParseSize(s.String()); err != nil || got != s.Bytes {
			t.Fatalf("%d is printed as %q and read as %v, %v", s.Bytes, s, got, err)
		}
	})
}

func TestNearest(t *testing.T) {
	for given, want := range map[string]string{
		"listne": "listen", "lisen": "listen", "Listen": "listen", "max_results": "scim.max_results", "scim.max_result": "scim.max_results",
		"lifetime": "tokens.lifetime", "limits.bulkbody": "limits.bulk_body", "colour": "", "tsl.mode": "tls.mode",
	} {
		if got := Nearest(given, paths()); got != want {
			t.Errorf("Nearest(%q) = %q, want %q", given, got, want)
		}
	}
}

// Whatever a file holds, reading it ends in a configuration or in problems that have a place in it.
func FuzzFile(f *testing.F) {
	data, err := os.ReadFile(example)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(data)
	for _, s := range []string{"listen = [1,", "[scim]\nstrict = \"yes\"", "a.b.c = 1", "scim = {strict = true, x = {y = 1}}", "[[limits]]", "listen.x = 1", "[a.'b'.\"\\u0063\"]\n", "x = '''\n"} {
		f.Add([]byte(s))
	}
	dir := f.TempDir()
	f.Fuzz(func(t *testing.T, data []byte) {
		name := filepath.Join(dir, "scimbox.toml")
		if err := os.WriteFile(name, data, 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := Load(Options{File: name})
		var problems Problems
		if err != nil && !errors.As(err, &problems) {
			t.Fatalf("error is %T: %v", err, err)
		}
		for _, p := range problems {
			if p.Text == "" || p.File == "" && p.Source == "" {
				t.Errorf("a problem without a place or a text: %+v", p)
			}
		}
	})
}

func TestPrefixes(t *testing.T) {
	for entry, want := range map[string]string{
		"10.0.0.5": "10.0.0.5/32", "10.0.0.0/8": "10.0.0.0/8", "fd00::/8": "fd00::/8", "::1": "::1/128",
		"::ffff:10.0.0.5": "10.0.0.5/32", "::ffff:10.0.0.0/104": "10.0.0.0/8",
		"0.0.0.0/0": "", "::/0": "", "::ffff:0.0.0.0/96": "", "10.0.0.1/8": "", "fe80::1%eth0": "", "proxy.example.com": "", "10.0.0.0/33": "", "10.0.0": "",
	} {
		got, err := List{entry}.Prefixes()
		if want == "" {
			if err == nil || !strings.Contains(err.Error(), entry) {
				t.Errorf("%s: %v, %v; want an error that names it", entry, got, err)
			}
			continue
		}
		if err != nil || len(got) != 1 || got[0].String() != want {
			t.Errorf("%s: %v, %v; want %s", entry, got, err, want)
		}
	}
}

// A list is printed as the environment has it, and read from the file as it is printed.
func TestLists(t *testing.T) {
	for text, want := range map[string]List{
		`["10.0.0.5", "fd00::/8"]`:            {"10.0.0.5", "fd00::/8"},
		"[\n # the one\n '10.0.0.5', # it\n]": {"10.0.0.5"},
		`[]`:                                  {},
	} {
		l, err := Load(Options{File: write(t, "trusted_proxies = "+text)})
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		if diff := cmp.Diff(want, l.TrustedProxies); diff != "" {
			t.Errorf("%s: %s", text, diff)
		}
		again, err := Load(Options{Env: []string{"SCIMBOX_TRUSTED_PROXIES=" + l.TrustedProxies.String()}})
		if err != nil || again.TrustedProxies.String() != l.TrustedProxies.String() {
			t.Errorf("%s from the environment: %v, %v", text, again, err)
		}
	}
}

func TestActivity(t *testing.T) {
	for _, wrong := range []string{"KEEP=1s", "MAX_SIZE=1kB", "BODY=1B", "MASK=na me", "MASK=a.b.c", "MASK=emails[type eq work]"} {
		if _, err := Load(Options{Env: []string{"SCIMBOX_ACTIVITY_" + wrong}}); err == nil {
			t.Errorf("%s is taken", wrong)
		}
	}
	for _, right := range []string{"KEEP=0s", "BODY=0B", "MASK=urn:ietf:params:scim:schemas:extension:enterprise:2.0:User:department,name.familyName"} {
		if _, err := Load(Options{Env: []string{"SCIMBOX_ACTIVITY_" + right}}); err != nil {
			t.Errorf("%s: %v", right, err)
		}
	}
}

// The times of a warning are a list; one alone, as it was written before there were several, is one of them.
func TestTimes(t *testing.T) {
	for text, want := range map[string]string{
		`["30d", "7d", "1d"]`: "30d,7d,1d", `"14d"`: "14d", `"0s"`: "", `[]`: "", `"2d, 12h"`: "2d,12h", `["1w"]`: "7d",
	} {
		file := filepath.Join(t.TempDir(), "scimbox.toml")
		if err := os.WriteFile(file, []byte("[tokens]\nwarn_before = "+text+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		c, err := Load(Options{File: file})
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		if got := c.Tokens.WarnBefore.String(); got != want {
			t.Errorf("%s is %s, want %s", text, got, want)
		}
	}
	for _, text := range []string{"14", `["14"]`, `"soon"`, `["900d"]`, "true"} {
		file := filepath.Join(t.TempDir(), "scimbox.toml")
		if err := os.WriteFile(file, []byte("[tokens]\nwarn_before = "+text+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := Load(Options{File: file}); err == nil || !strings.Contains(err.Error(), "tokens.warn_before") {
			t.Errorf("%s: %v", text, err)
		}
	}
}
