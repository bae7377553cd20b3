package tlsconf

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"github.com/libdns/libdns"
)

// Azure sets records by the API of Azure DNS. Without a client secret the managed identity of the machine is used.
type Azure struct {
	Subscription  string
	ResourceGroup string // of the zone
	Tenant        string // directory that the client is registered in
	ClientID      string // with the role DNS Zone Contributor on the zone; of a managed identity "" for the machine's own
	ClientSecret  string

	login, management, metadata string // "" = Microsoft's
}

// AppendRecords sets records. In Azure DNS all texts of a name are one record, so that what is left over from an earlier
// attempt is replaced.
func (p *Azure) AppendRecords(ctx context.Context, zone string, records []libdns.Record) ([]libdns.Record, error) {
	type value struct {
		Value []string `json:"value"`
	}
	type properties struct {
		TTL    int     `json:"TTL"`
		Values []value `json:"TXTRecords"`
	}
	return texts(zone, records, func(name, text string) error {
		body, err := json.Marshal(map[string]properties{"properties": {int(recordTTL.Seconds()), []value{{[]string{text}}}}})
		if err != nil {
			return err
		}
		return p.ask(ctx, http.MethodPut, zone, name, body)
	})
}

// DeleteRecords removes records. One that is not there is gone already.
func (p *Azure) DeleteRecords(ctx context.Context, zone string, records []libdns.Record) ([]libdns.Record, error) {
	return texts(zone, records, func(name, _ string) error {
		err := p.ask(ctx, http.MethodDelete, zone, name, nil)
		var refused *refusal
		if errors.As(err, &refused) && refused.status == http.StatusNotFound {
			return nil
		}
		return err
	})
}

const azureAPI = "https://management.azure.com"

func (p *Azure) ask(ctx context.Context, method, zone, name string, body []byte) error {
	token, err := p.token(ctx)
	if err != nil {
		return err
	}
	zone = strings.TrimSuffix(zone, ".")
	base := p.management
	if base == "" {
		base = azureAPI
	}
	relative := libdns.RelativeName(name, zone)
	r, err := http.NewRequestWithContext(ctx, method, base+"/subscriptions/"+url.PathEscape(p.Subscription)+"/resourceGroups/"+url.PathEscape(p.ResourceGroup)+
		"/providers/Microsoft.Network/dnsZones/"+url.PathEscape(zone)+"/TXT/"+url.PathEscape(relative)+"?api-version=2018-05-01", bytes.NewReader(body))
	if err != nil {
		return err
	}
	r.Header.Set("Authorization", "Bearer "+token)
	if body != nil {
		r.Header.Set("Content-Type", "application/json")
	}
	_, err = call(r, "Azure DNS")
	return err
}

// token returns an access token: by the client credentials grant (RFC 6749 section 4.4), or from the metadata service of the
// machine.
func (p *Azure) token(ctx context.Context) (string, error) {
	r, err := p.tokenRequest(ctx)
	if err != nil {
		return "", err
	}
	answer, err := call(r, "the sign-in of Azure")
	if err != nil {
		return "", err
	}
	var got struct {
		Token string `json:"access_token"`
	}
	if err := json.Unmarshal(answer, &got); err != nil || got.Token == "" {
		return "", fmt.Errorf("the sign-in of Azure has answered without a token")
	}
	return got.Token, nil
}

func (p *Azure) tokenRequest(ctx context.Context) (*http.Request, error) {
	if p.ClientSecret == "" {
		base := p.metadata
		if base == "" {
			base = "http://169.254.169.254"
		}
		ask := url.Values{"api-version": {"2018-02-01"}, "resource": {azureAPI + "/"}}
		if p.ClientID != "" {
			ask.Set("client_id", p.ClientID)
		}
		r, err := http.NewRequestWithContext(ctx, http.MethodGet, base+"/metadata/identity/oauth2/token?"+ask.Encode(), nil)
		if err != nil {
			return nil, err
		}
		r.Header.Set("Metadata", "true")
		return r, nil
	}
	base := p.login
	if base == "" {
		base = "https://login.microsoftonline.com"
	}
	form := url.Values{"grant_type": {"client_credentials"}, "client_id": {p.ClientID}, "client_secret": {p.ClientSecret}, "scope": {azureAPI + "/.default"}}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, base+"/"+url.PathEscape(p.Tenant)+"/oauth2/v2.0/token", strings.NewReader(form.Encode()))
	if err != nil {
		return nil, err
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	return r, nil
}
