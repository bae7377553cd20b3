package tlsconf

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
)

// sigV4 signs a request as Amazon's APIs ask for (AWS Signature Version 4). Every header that the request has is signed, and
// Host.
type sigV4 struct{ id, key, session, region, service string }

func (s sigV4) sign(r *http.Request, body []byte, now time.Time) {
	stamp := now.UTC().Format("20060102T150405Z")
	day := stamp[:8]
	r.Header.Set("X-Amz-Date", stamp)
	if s.session != "" {
		r.Header.Set("X-Amz-Security-Token", s.session)
	}
	headers := map[string]string{"host": r.URL.Host}
	for name, values := range r.Header {
		var l []string
		for _, v := range values {
			l = append(l, strings.Join(strings.Fields(v), " "))
		}
		headers[strings.ToLower(name)] = strings.Join(l, ",")
	}
	var signed []string
	for name := range headers {
		signed = append(signed, name)
	}
	slices.Sort(signed)
	path := r.URL.EscapedPath()
	if path == "" {
		path = "/"
	}
	canonical := r.Method + "\n" + path + "\n" + query(r.URL.Query()) + "\n"
	for _, name := range signed {
		canonical += name + ":" + headers[name] + "\n"
	}
	names := strings.Join(signed, ";")
	canonical += "\n" + names + "\n" + digest(body)

	scope := day + "/" + s.region + "/" + s.service + "/aws4_request"
	key := []byte("AWS4" + s.key)
	for _, part := range []string{day, s.region, s.service, "aws4_request"} {
		key = mac(key, part)
	}
	signature := mac(key, "AWS4-HMAC-SHA256\n"+stamp+"\n"+scope+"\n"+digest([]byte(canonical)))
	r.Header.Set("Authorization", "AWS4-HMAC-SHA256 Credential="+s.id+"/"+scope+", SignedHeaders="+names+", Signature="+hex.EncodeToString(signature))
}

// query is the query in the order and with the escapes that are signed: RFC 3986's unreserved characters alone stay.
func query(values url.Values) string {
	escape := strings.NewReplacer("+", "%20", "%7E", "~").Replace
	var l []string
	for name, all := range values {
		for _, v := range all {
			l = append(l, escape(url.QueryEscape(name))+"="+escape(url.QueryEscape(v)))
		}
	}
	slices.Sort(l)
	return strings.Join(l, "&")
}

func mac(key []byte, text string) []byte {
	m := hmac.New(sha256.New, key)
	_, _ = m.Write([]byte(text)) // never fails
	return m.Sum(nil)
}

func digest(data []byte) string {
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}
