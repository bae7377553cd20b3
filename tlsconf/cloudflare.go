package tlsconf

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"github.com/libdns/libdns"
)

// Cloudflare sets records by Cloudflare's API.
type Cloudflare struct {
	Token    string // of the API, with the permissions Zone:Read and DNS:Edit for the zone
	endpoint string // "" = Cloudflare's
}

type cloudflareRecord struct {
	ID      string `json:"id,omitempty"`
	Type    string `json:"type"`
	Name    string `json:"name"`
	Content string `json:"content"`
	TTL     int    `json:"ttl"`
}

// AppendRecords adds records to a zone.
func (p *Cloudflare) AppendRecords(ctx context.Context, zone string, records []libdns.Record) ([]libdns.Record, error) {
	path, err := p.records(ctx, zone)
	if err != nil {
		return nil, err
	}
	return texts(zone, records, func(name, text string) error {
		// Texts are in quotes, as in a zone file; Cloudflare complains of those that are not.
		return p.ask(ctx, http.MethodPost, path, cloudflareRecord{Type: "TXT", Name: name, Content: `"` + text + `"`, TTL: int(recordTTL.Seconds())}, nil)
	})
}

// DeleteRecords removes records from a zone; others of the same name stay.
func (p *Cloudflare) DeleteRecords(ctx context.Context, zone string, records []libdns.Record) ([]libdns.Record, error) {
	path, err := p.records(ctx, zone)
	if err != nil {
		return nil, err
	}
	return texts(zone, records, func(name, text string) error {
		var there []cloudflareRecord
		if err := p.ask(ctx, http.MethodGet, path+"?"+url.Values{"type": {"TXT"}, "name": {name}}.Encode(), nil, &there); err != nil {
			return err
		}
		for _, r := range there {
			if strings.Trim(r.Content, `"`) != text {
				continue
			}
			if err := p.ask(ctx, http.MethodDelete, path+"/"+url.PathEscape(r.ID), nil, nil); err != nil {
				return err
			}
		}
		return nil
	})
}

// records returns the path of the records of a zone.
func (p *Cloudflare) records(ctx context.Context, zone string) (string, error) {
	zone = strings.TrimSuffix(zone, ".")
	var zones []struct{ ID string }
	if err := p.ask(ctx, http.MethodGet, "/zones?"+url.Values{"name": {zone}}.Encode(), nil, &zones); err != nil {
		return "", err
	}
	if len(zones) == 0 {
		return "", fmt.Errorf("there is no zone %s in Cloudflare that the token may read; it needs the permissions Zone:Read and DNS:Edit for it", zone)
	}
	return "/zones/" + url.PathEscape(zones[0].ID) + "/dns_records", nil
}

func (p *Cloudflare) ask(ctx context.Context, method, path string, body, result any) error {
	endpoint := p.endpoint
	if endpoint == "" {
		endpoint = "https://api.cloudflare.com/client/v4"
	}
	var data []byte
	if body != nil {
		var err error
		if data, err = json.Marshal(body); err != nil {
			return err
		}
	}
	r, err := http.NewRequestWithContext(ctx, method, endpoint+path, bytes.NewReader(data))
	if err != nil {
		return err
	}
	r.Header.Set("Authorization", "Bearer "+p.Token)
	r.Header.Set("Content-Type", "application/json")
	answer, err := call(r, "Cloudflare")
	if err != nil || result == nil {
		return err
	}
	if err := json.Unmarshal(answer, &struct{ Result any }{result}); err != nil {
		return fmt.Errorf("the answer of Cloudflare: %w", err)
	}
	return nil
}
