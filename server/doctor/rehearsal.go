package doctor

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// aNobody is whom Entra's Test Connection asks for: a user who does not exist.
const aNobody = `userName eq "7b0f5c2e-0d6a-4c55-9f0e-3f1f1b1a9c11"`

// rehearsal does what Entra does when a person presses Test Connection, by the way that Entra takes: through the public
// address, proxy and certificate. The token is one of the moment, for a tenant that holds nothing.
func (p *patient) rehearsal(ctx context.Context) {
	if p.status == nil || p.via == "" || p.broken {
		return
	}
	made, err := p.Client.Rehearse(ctx)
	if err != nil {
		p.find(Fail, fmt.Sprintf("no token can be made to try with: %v", err), "do what it says", "")
		return
	}
	p.ask(ctx, made.Secret)
	// Also if the person has lost patience.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), p.Limit)
	defer cancel()
	if err := p.Client.EndRehearsal(ctx, made.ID); err != nil {
		p.find(Warn, fmt.Sprintf("the token %s of this test is still there: %v", made.ID, err), "it ends by itself within a minute; "+p.Program+" token revoke "+made.ID+" ends it now", "")
	}
}

func (p *patient) ask(ctx context.Context, secret string) {
	ctx, cancel := p.limited(ctx)
	defer cancel()
	tenant := p.tenantURL()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, tenant+"/Users?filter="+url.QueryEscape(aNobody), nil)
	if err != nil {
		p.find(Fail, fmt.Sprintf("%s is no address: %v", tenant, err), "correct hostname or public_url", TenantURL)
		return
	}
	r.Header.Set("Authorization", "Bearer "+secret)
	r.Header.Set("Accept", "application/scim+json")
	r.Header.Set("User-Agent", "scimbox doctor")
	client := &http.Client{
		Transport: &http.Transport{
			DialContext:       p.dialFor(p.via),
			TLSClientConfig:   &tls.Config{RootCAs: p.trust, Time: p.Clock, MinVersion: tls.VersionTLS12},
			DisableKeepAlives: true,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }, // Entra would lose its token on the way
	}
	began := time.Now()
	resp, err := client.Do(r)
	if err != nil {
		p.find(Fail, fmt.Sprintf("%s does not answer: %v", tenant, unwrapURL(err)), "look into the log of the server, and of the proxy if there is one", TenantURL)
		return
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, 1<<16))
	if err != nil {
		p.find(Fail, fmt.Sprintf("the answer breaks off: %v", err), "look into the log of the server, and of the proxy if there is one", TenantURL)
		return
	}
	if found, fix, field := judge(resp, body, tenant); found != "" {
		p.find(Fail, found, fix, field)
		return
	}
	text := fmt.Sprintf("%s answers as Entra wants it, after %d ms", tenant, time.Since(began).Milliseconds())
	if p.local {
		p.find(Warn, text+", asked at "+p.via, "what is in between (router, firewall) was not tried: press Test Connection in Entra", TenantURL)
		return
	}
	p.pass(text)
}

// judge says what is wrong with the answer, or nothing. Whatever comes of somebody else than scimbox is of a proxy.
func judge(resp *http.Response, body []byte, tenant string) (found, fix, field string) {
	kind := resp.Header.Get("Content-Type")
	ours := strings.HasPrefix(kind, "application/scim+json")
	switch status := resp.StatusCode; {
	case status >= 300 && status < 400:
		return fmt.Sprintf("%s leads on to %s (%s)", tenant, resp.Header.Get("Location"), resp.Status), "let the proxy pass requests on, without redirects; set public_url to the address at their end", TenantURL
	case status == http.StatusUnauthorized && ours:
		return "a token that is right is refused (401): Authorization does not arrive, or the address is that of another scimbox",
			"let the proxy pass on the header Authorization, and the name lead to this machine", SecretToken
	case status == http.StatusNotFound && !ours:
		return fmt.Sprintf("%s is not scimbox (404, %s)", tenant, kind), "let the proxy pass on everything below /scim/v2, with its path as it is", TenantURL
	case status == http.StatusTooManyRequests:
		return "the server has no answer for so many wrong tokens at once (429)", "wait a minute; if it stays, name the proxy in trusted_proxies, or all clients share one allowance", SecretToken
	case status >= 500:
		return fmt.Sprintf("%s answers %s", tenant, resp.Status), "look into the log of the server, and of the proxy: 502 to 504 are usually the proxy's", TenantURL
	case status != http.StatusOK:
		return fmt.Sprintf("%s answers %s", tenant, resp.Status), "look into the log of the server, and of the proxy if there is one", TenantURL
	case !ours:
		return fmt.Sprintf("%s answers with %q instead of application/scim+json: somebody else answers", tenant, kind), "let the proxy pass requests on and put no page of its own in between", TenantURL
	}
	var list struct {
		Total *int `json:"totalResults"`
	}
	if err := json.Unmarshal(body, &list); err != nil || list.Total == nil || *list.Total != 0 {
		return "the answer is no empty list: somebody changes answers on their way, or keeps old ones", "let the proxy pass bodies as they are, and cache nothing", TenantURL
	}
	return "", "", ""
}
