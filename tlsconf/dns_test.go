package tlsconf

import (
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/libdns/libdns"

	"scimbox/tlsconf/acmetest"
)

var challenge = []libdns.Record{libdns.RR{Name: "_acme-challenge.box", Type: "TXT", Data: "text-1_2", TTL: time.Minute}}

// provided is what was asked of a provider's API, one line for each request.
type provided struct {
	*httptest.Server
	mu  sync.Mutex
	all []string
}

// provide starts an API that answers as answers say, by method and path.
func provide(t *testing.T, check func(r *http.Request, body []byte) error, answers map[string]string) *provided {
	t.Helper()
	p := &provided{}
	p.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err == nil {
			err = check(r, body)
		}
		if err != nil {
			t.Errorf("%s %s: %v", r.Method, r.URL, err)
		}
		line := r.Method + " " + r.URL.RequestURI()
		p.mu.Lock()
		p.all = append(p.all, strings.TrimSpace(line+" "+string(body)))
		p.mu.Unlock()
		answer, ok := answers[line]
		if !ok {
			w.WriteHeader(http.StatusForbidden)
			answer = `{"error": "not  allowed\n"}`
		}
		_, _ = io.WriteString(w, answer)
	}))
	t.Cleanup(p.Close)
	return p
}

// asked returns the requests since the last call.
func (p *provided) asked() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	l := p.all
	p.all = nil
	return l
}

type wrong string

func (e wrong) Error() string { return string(e) }

func expect(t *testing.T, p *provided, want ...string) {
	t.Helper()
	if got := p.asked(); !reflect.DeepEqual(got, want) {
		t.Errorf("asked was\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

func TestCloudflare(t *testing.T) {
	const records = "/zones/z1/dns_records"
	api := provide(t, func(r *http.Request, _ []byte) error {
		if got := r.Header.Get("Authorization"); got != "Bearer the-token" {
			return wrong("Authorization: " + got)
		}
		return nil
	}, map[string]string{
		"GET /zones?name=corp.example": `{"success": true, "result": [{"id": "z1"}]}`,
		"GET /zones?name=none.example": `{"success": true, "result": []}`,
		"POST " + records:              `{"success": true, "result": {"id": "r1"}}`,
		"GET " + records + "?name=_acme-challenge.box.corp.example&type=TXT": `{"success": true, "result": [{"id": "r0", "content": "\"other\""}, {"id": "r1", "content": "\"text-1_2\""}]}`,
		"DELETE " + records + "/r1": `{"success": true}`,
	})
	p := &Cloudflare{Token: "the-token", endpoint: api.URL}
	if got, err := p.AppendRecords(t.Context(), "corp.example.", challenge); err != nil || len(got) != 1 {
		t.Errorf("%v, %v", got, err)
	}
	expect(t, api, "GET /zones?name=corp.example", "POST "+records+` {"type":"TXT","name":"_acme-challenge.box.corp.example","content":"\"text-1_2\"","ttl":60}`)
	if _, err := p.DeleteRecords(t.Context(), "corp.example.", challenge); err != nil {
		t.Error(err)
	}
	expect(t, api, "GET /zones?name=corp.example", "GET "+records+"?name=_acme-challenge.box.corp.example&type=TXT", "DELETE "+records+"/r1")
	if _, err := p.AppendRecords(t.Context(), "none.example.", challenge); err == nil || !strings.Contains(err.Error(), "Zone:Read") {
		t.Errorf("a zone that is not there: %v", err)
	}
	if _, err := p.AppendRecords(t.Context(), "forbidden.example.", challenge); err == nil || !strings.Contains(err.Error(), `403: {"error": "not allowed`) {
		t.Errorf("a refusal: %v", err)
	}
	if _, err := p.AppendRecords(t.Context(), "corp.example.", []libdns.Record{libdns.RR{Type: "A"}}); err == nil {
		t.Error("a record of another type was set")
	}
}

func TestRoute53(t *testing.T) {
	const list, change = "/2013-04-01/hostedzonesbyname?dnsname=corp.example.", "/2013-04-01/hostedzone/Z2/rrset"
	api := provide(t, func(r *http.Request, body []byte) error {
		// The signature is made again with the time that the request has.
		stamp, err := time.Parse("20060102T150405Z", r.Header.Get("X-Amz-Date"))
		if err != nil {
			return err
		}
		again, err := http.NewRequest(r.Method, "http://"+r.Host+r.URL.RequestURI(), nil)
		if err != nil {
			return err
		}
		if v := r.Header.Get("Content-Type"); v != "" {
			again.Header.Set("Content-Type", v)
		}
		sigV4{"AKIDEXAMPLE", "secret", "session", "us-east-1", "route53"}.sign(again, body, stamp)
		if got, want := r.Header.Get("Authorization"), again.Header.Get("Authorization"); got != want || r.Header.Get("X-Amz-Security-Token") != "session" {
			return wrong("signed " + got + ", want " + want)
		}
		return nil
	}, map[string]string{
		"GET " + list: `<?xml version="1.0"?><ListHostedZonesByNameResponse xmlns="https://route53.amazonaws.com/doc/2013-04-01/"><HostedZones>
			<HostedZone><Id>/hostedzone/Z1</Id><Name>corp.example.</Name><Config><PrivateZone>true</PrivateZone></Config></HostedZone>
			<HostedZone><Id>/hostedzone/Z2</Id><Name>corp.example.</Name><Config><PrivateZone>false</PrivateZone></Config></HostedZone>
			</HostedZones></ListHostedZonesByNameResponse>`,
		"POST " + change: `<ChangeResourceRecordSetsResponse/>`,
	})
	p := &Route53{AccessKeyID: "AKIDEXAMPLE", SecretAccessKey: "secret", SessionToken: "session", endpoint: api.URL}
	for action, do := range map[string]func() ([]libdns.Record, error){
		"UPSERT": func() ([]libdns.Record, error) { return p.AppendRecords(t.Context(), "corp.example.", challenge) },
		"DELETE": func() ([]libdns.Record, error) { return p.DeleteRecords(t.Context(), "corp.example.", challenge) },
	} {
		if got, err := do(); err != nil || len(got) != 1 {
			t.Errorf("%s: %v, %v", action, got, err)
		}
		expect(t, api, "GET "+list, "POST "+change+` <?xml version="1.0" encoding="UTF-8"?>`+"\n"+
			`<ChangeResourceRecordSetsRequest xmlns="https://route53.amazonaws.com/doc/2013-04-01/"><ChangeBatch><Changes><Change><Action>`+action+
			`</Action><ResourceRecordSet><Name>_acme-challenge.box.corp.example.</Name><Type>TXT</Type><TTL>60</TTL><ResourceRecords><ResourceRecord><Value>&#34;text-1_2&#34;</Value></ResourceRecord></ResourceRecords></ResourceRecordSet></Change></Changes></ChangeBatch></ChangeResourceRecordSetsRequest>`)
	}
	if _, err := p.AppendRecords(t.Context(), "forbidden.example.", challenge); err == nil || !strings.Contains(err.Error(), "Route 53 answers 403") {
		t.Errorf("a refusal: %v", err)
	}
	api.asked()
	p.HostedZone = "/hostedzone/Z2"
	if _, err := p.AppendRecords(t.Context(), "corp.example.", challenge); err != nil || len(api.asked()) != 1 {
		t.Errorf("with the id of the zone: %v", err)
	}
}

// The vectors are those that Amazon publishes: the suite aws-sig-v4-test-suite, and the example of its documentation.
func TestSigV4(t *testing.T) {
	const credentials = "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/"
	now := time.Date(2015, 8, 30, 12, 36, 0, 0, time.UTC)
	for _, tt := range []struct {
		name, method, url, service, contentType, want string
	}{
		{"get-vanilla", "GET", "https://example.amazonaws.com/", "service", "", "host;x-amz-date, Signature=5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31"},
		{"post-vanilla", "POST", "https://example.amazonaws.com/", "service", "", "host;x-amz-date, Signature=5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b"},
		{"get-vanilla-query-order-key-case", "GET", "https://example.amazonaws.com/?Param2=value2&Param1=value1", "service", "", "host;x-amz-date, Signature=b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500"},
		{"documentation", "GET", "https://iam.amazonaws.com/?Action=ListUsers&Version=2010-05-08", "iam", "application/x-www-form-urlencoded; charset=utf-8",
			"content-type;host;x-amz-date, Signature=5d672d79c15b13162d9279b0855cfba6789a8edb4c82c400e06b5924a6f2b5d7"},
	} {
		r, err := http.NewRequest(tt.method, tt.url, nil)
		if err != nil {
			t.Fatal(err)
		}
		if tt.contentType != "" {
			r.Header.Set("Content-Type", tt.contentType)
		}
		sigV4{"AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY", "", "us-east-1", tt.service}.sign(r, nil, now)
		if got, want := r.Header.Get("Authorization"), credentials+tt.service+"/aws4_request, SignedHeaders="+tt.want; got != want {
			t.Errorf("%s:\n%s, want\n%s", tt.name, got, want)
		}
	}
}

func TestAzure(t *testing.T) {
	const record = "/subscriptions/sub/resourceGroups/group/providers/Microsoft.Network/dnsZones/corp.example/TXT/_acme-challenge.box?api-version=2018-05-01"
	const signIn = "POST /tenant/oauth2/v2.0/token"
	const machine = "GET /metadata/identity/oauth2/token?api-version=2018-02-01&client_id=client&resource=https%3A%2F%2Fmanagement.azure.com%2F"
	api := provide(t, func(r *http.Request, _ []byte) error {
		switch {
		case strings.HasPrefix(r.URL.Path, "/subscriptions/") && r.Header.Get("Authorization") != "Bearer access":
			return wrong("Authorization: " + r.Header.Get("Authorization"))
		case strings.HasPrefix(r.URL.Path, "/metadata/") && r.Header.Get("Metadata") != "true":
			return wrong("no Metadata")
		}
		return nil
	}, map[string]string{
		signIn: `{"access_token": "access"}`, machine: `{"access_token": "access"}`,
		"PUT " + record: `{}`, "DELETE " + record: ``,
	})
	p := &Azure{Subscription: "sub", ResourceGroup: "group", Tenant: "tenant", ClientID: "client", ClientSecret: "s3cret", login: api.URL, management: api.URL, metadata: api.URL}
	credentials := signIn + " client_id=client&client_secret=s3cret&grant_type=client_credentials&scope=https%3A%2F%2Fmanagement.azure.com%2F.default"
	if got, err := p.AppendRecords(t.Context(), "corp.example.", challenge); err != nil || len(got) != 1 {
		t.Errorf("%v, %v", got, err)
	}
	expect(t, api, credentials, "PUT "+record+` {"properties":{"TTL":60,"TXTRecords":[{"value":["text-1_2"]}]}}`)
	p.ClientSecret = ""
	if _, err := p.DeleteRecords(t.Context(), "corp.example.", challenge); err != nil {
		t.Error(err)
	}
	expect(t, api, machine, "DELETE "+record)
	p.Subscription = "another"
	if _, err := p.DeleteRecords(t.Context(), "corp.example.", challenge); err == nil || !strings.Contains(err.Error(), "Azure DNS answers 403") {
		t.Errorf("a refusal: %v", err)
	}
}

func TestExec(t *testing.T) {
	dir := t.TempDir()
	program, said := filepath.Join(dir, "hook"), filepath.Join(dir, "said")
	if err := os.WriteFile(program, []byte("#!/bin/sh\nset -e\n[ \"$3\" != bad ] || { echo no such zone >&2; exit 3; }\nprintf '%s|' \"$@\" >> "+said+"\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	p := &Exec{Program: program}
	if _, err := p.AppendRecords(t.Context(), "corp.example.", challenge); err != nil {
		t.Fatal(err)
	}
	if _, err := p.DeleteRecords(t.Context(), "corp.example.", challenge); err != nil {
		t.Fatal(err)
	}
	if text, err := os.ReadFile(said); err != nil || string(text) != "present|_acme-challenge.box.corp.example|text-1_2|cleanup|_acme-challenge.box.corp.example|text-1_2|" {
		t.Errorf("called with %s, %v", text, err)
	}
	if _, err := p.AppendRecords(t.Context(), "corp.example.", []libdns.Record{libdns.RR{Name: "x", Type: "TXT", Data: "bad"}}); err == nil || !strings.Contains(err.Error(), "exit status 3: no such zone") {
		t.Errorf("a failure: %v", err)
	}
}

// Updates are signed; a name server that does not know the key refuses them, and is quoted.
func TestRFC2136(t *testing.T) {
	names := acmetest.StartDNS(t)
	p := &RFC2136{Server: names.Address, KeyName: acmetest.KeyName, Key: acmetest.Key, Algorithm: acmetest.Algorithm}
	for range 2 {
		if _, err := p.AppendRecords(t.Context(), acmetest.Zone+".", challenge); err != nil {
			t.Fatal(err)
		}
		if _, err := p.DeleteRecords(t.Context(), acmetest.Zone+".", challenge); err != nil {
			t.Fatal(err)
		}
	}
	name := "_acme-challenge.box." + acmetest.Zone
	if got, want := names.Changes(), []string{"+ " + name + " text-1_2", "- " + name + " text-1_2"}; !reflect.DeepEqual(got, append(want, want...)) {
		t.Errorf("changes: %q", got)
	}
	for why, p := range map[string]*RFC2136{
		"without a key":      {Server: names.Address},
		"with a wrong key":   {Server: names.Address, KeyName: acmetest.KeyName, Key: "d3Jvbmc="},
		"of an unknown name": {Server: names.Address, KeyName: "other", Key: acmetest.Key},
	} {
		if _, err := p.AppendRecords(t.Context(), acmetest.Zone+".", challenge); err == nil {
			t.Errorf("an update %s was taken", why)
		}
	}
	if _, err := p.AppendRecords(t.Context(), "other.test.", challenge); err == nil || !strings.Contains(err.Error(), "NOTZONE") {
		t.Errorf("another zone: %v", err)
	}
}
