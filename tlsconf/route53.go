package tlsconf

import (
	"bytes"
	"context"
	"encoding/xml"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/libdns/libdns"
)

// Route53 sets records by Amazon's API.
type Route53 struct {
	AccessKeyID     string // of a user or role that may list hosted zones and change records of the zone
	SecretAccessKey string
	SessionToken    string // "" unless the key is a temporary one
	HostedZone      string // id of the zone, "" = it is looked for by its name
	endpoint        string // "" = Amazon's
}

// AppendRecords sets records. In Route 53 all texts of a name are one record, so that what is left over from an earlier
// attempt is replaced.
func (p *Route53) AppendRecords(ctx context.Context, zone string, records []libdns.Record) ([]libdns.Record, error) {
	return p.change(ctx, zone, records, "UPSERT")
}

// DeleteRecords removes records. One that is not there, or has another text, is gone already.
func (p *Route53) DeleteRecords(ctx context.Context, zone string, records []libdns.Record) ([]libdns.Record, error) {
	gone, err := p.change(ctx, zone, records, "DELETE")
	var refused *refusal
	if errors.As(err, &refused) && refused.status == http.StatusBadRequest && strings.Contains(refused.text, "InvalidChangeBatch") {
		return records, nil
	}
	return gone, err
}

type route53Change struct {
	XMLName xml.Name `xml:"https://route53.amazonaws.com/doc/2013-04-01/ ChangeResourceRecordSetsRequest"`
	Action  string   `xml:"ChangeBatch>Changes>Change>Action"`
	Name    string   `xml:"ChangeBatch>Changes>Change>ResourceRecordSet>Name"`
	Type    string   `xml:"ChangeBatch>Changes>Change>ResourceRecordSet>Type"`
	TTL     int      `xml:"ChangeBatch>Changes>Change>ResourceRecordSet>TTL"`
	Value   string   `xml:"ChangeBatch>Changes>Change>ResourceRecordSet>ResourceRecords>ResourceRecord>Value"`
}

func (p *Route53) change(ctx context.Context, zone string, records []libdns.Record, action string) ([]libdns.Record, error) {
	id, err := p.zone(ctx, zone)
	if err != nil {
		return nil, err
	}
	return texts(zone, records, func(name, text string) error {
		body, err := xml.Marshal(route53Change{Action: action, Name: name + ".", Type: "TXT", TTL: int(recordTTL.Seconds()), Value: `"` + text + `"`})
		if err != nil {
			return err
		}
		_, err = p.ask(ctx, http.MethodPost, "/2013-04-01/hostedzone/"+url.PathEscape(id)+"/rrset", append([]byte(xml.Header), body...))
		return err
	})
}

// zone returns the id of the public zone of a name.
func (p *Route53) zone(ctx context.Context, zone string) (string, error) {
	if p.HostedZone != "" {
		return strings.TrimPrefix(p.HostedZone, "/hostedzone/"), nil
	}
	answer, err := p.ask(ctx, http.MethodGet, "/2013-04-01/hostedzonesbyname?"+url.Values{"dnsname": {zone}}.Encode(), nil)
	if err != nil {
		return "", err
	}
	var list struct {
		Zones []struct {
			ID      string `xml:"Id"`
			Name    string
			Private bool `xml:"Config>PrivateZone"`
		} `xml:"HostedZones>HostedZone"`
	}
	if err := xml.Unmarshal(answer, &list); err != nil {
		return "", fmt.Errorf("the answer of Route 53: %w", err)
	}
	for _, z := range list.Zones {
		if strings.EqualFold(strings.TrimSuffix(z.Name, "."), strings.TrimSuffix(zone, ".")) && !z.Private {
			return strings.TrimPrefix(z.ID, "/hostedzone/"), nil
		}
	}
	return "", fmt.Errorf("there is no public zone %s in Route 53 that the key may list", zone)
}

func (p *Route53) ask(ctx context.Context, method, path string, body []byte) ([]byte, error) {
	endpoint := p.endpoint
	if endpoint == "" {
		endpoint = "https://route53.amazonaws.com"
	}
	r, err := http.NewRequestWithContext(ctx, method, endpoint+path, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	if body != nil {
		r.Header.Set("Content-Type", "text/xml")
	}
	// Route 53 is one for the whole world, and signed as if it were in this region.
	sigV4{p.AccessKeyID, p.SecretAccessKey, p.SessionToken, "us-east-1", "route53"}.sign(r, body, time.Now())
	return call(r, "Route 53")
}
