package console

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/base64"
	"fmt"
	"html/template"
	"net/http"
	"net/url"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"scimbox/scim"
)

//go:embed templates/*.html static/*
var files embed.FS

// assets are the static files with the hash that stands in their addresses: a browser keeps them until they change.
var assets = func() map[string]asset {
	m := map[string]asset{}
	entries, err := files.ReadDir("static")
	if err != nil {
		panic(err) // they are part of the program
	}
	kinds := map[string]string{".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8", ".svg": "image/svg+xml"}
	for _, e := range entries {
		data, err := files.ReadFile("static/" + e.Name())
		if err != nil {
			panic(err)
		}
		sum := sha256.Sum256(data)
		m[e.Name()] = asset{data, kinds[path.Ext(e.Name())], base64.RawURLEncoding.EncodeToString(sum[:9])}
	}
	return m
}()

type asset struct {
	data []byte
	kind string
	hash string
}

func static(w http.ResponseWriter, r *http.Request) {
	a, ok := assets[r.PathValue("file")]
	if !ok {
		http.NotFound(w, r)
		return
	}
	w.Header().Set("Content-Type", a.kind)
	if r.URL.RawQuery == a.hash {
		w.Header().Set("Cache-Control", "public, max-age=31536000, immutable")
	}
	_, _ = w.Write(a.data) // a browser that has gone away
}

// templates are the pages, each together with the layout. What html/template escapes by its context is everything that a
// client has ever sent.
var templates = func() map[string]*template.Template {
	layout := template.Must(template.New("layout.html").Funcs(template.FuncMap{
		"asset": func(name string) string { return Path + "static/" + name + "?" + assets[name].hash },
		"number": func(n any) string {
			s := fmt.Sprint(n)
			for i := len(s) - 3; i > 0; i -= 3 {
				s = s[:i] + "\u202f" + s[i:] // a narrow space
			}
			return s
		},
		"plural": plural,
		"short":  short,
		"link":   func(p *page, url, text string) navLink { return navLink{url, text, p.at(url)} },
		"field":  func(id, value string) copyField { return copyField{id, value} },
	}).ParseFS(files, "templates/layout.html"))
	m := map[string]*template.Template{}
	entries, err := files.ReadDir("templates")
	if err != nil {
		panic(err)
	}
	for _, e := range entries {
		if name, ok := strings.CutSuffix(e.Name(), ".html"); ok && name != "layout" {
			m[name] = template.Must(template.Must(layout.Clone()).ParseFS(files, "templates/"+e.Name()))
		}
	}
	return m
}()

type copyField struct{ ID, Value string }

// moment is a time as a page shows it: how long ago, and exactly.
type moment struct {
	T   time.Time
	Ago string
}

func (m moment) Exact() string { return m.T.UTC().Format("2006-01-02 15:04:05 UTC") }
func (m moment) ISO() string   { return m.T.UTC().Format(time.RFC3339) }
func (m moment) Never() bool   { return m.T.IsZero() }

// page is what the layout knows, around the data of one page.
type page struct {
	Title   string
	Tenant  string
	Tenants []string
	Types   []typeLink
	Extra   []typeLink // further pages of the tenant
	Backups bool       // there is a page of backups
	At      string     // path of the page
	Who     string     // "" = nobody is signed in
	Note    *note
	Version string
	Data    any

	now time.Time
}

// typeLink leads to the list of a resource type.
type typeLink struct{ Title, Endpoint string }

// navLink is a link of the navigation.
type navLink struct {
	URL, Text string
	Here      bool
}

// at says whether a link leads to the page that is shown, or to one above it.
func (p *page) at(url string) bool {
	return p.At == url || strings.HasPrefix(p.At, url+"/")
}

// maxTenants is how many tenants the switch offers; the page of tenants has all.
const maxTenants = 12

func (c *Console) render(v *visit, name, title string, data any) error {
	return c.renderStatus(v, http.StatusOK, name, title, data)
}

// renderPart renders one template of a page's file, for the script.
func (c *Console) renderPart(v *visit, name, part string, data any) error {
	var b bytes.Buffer
	if err := templates[name].ExecuteTemplate(&b, part, &page{Tenant: v.tenant, Data: data, now: v.now}); err != nil {
		return fmt.Errorf("the page %s: %w", name, err)
	}
	v.w.Header().Set("Content-Type", "text/html; charset=utf-8")
	_, _ = v.w.Write(b.Bytes()) // a browser that has gone away
	return nil
}

func (c *Console) renderStatus(v *visit, status int, name, title string, data any) error {
	p := &page{Title: title, At: v.r.URL.Path, Version: c.o.Version, Data: data, now: v.now}
	if v.s != nil {
		p.Tenant, p.Who, p.Note = v.tenant, v.s.who, c.sessions.takeNote(v.s)
		if !validTenant(p.Tenant) {
			p.Tenant = c.sessions.tenantOf(v.s)
		}
		all, err := c.o.Store.Tenants(v.r.Context())
		if err != nil && status == http.StatusOK {
			return err
		}
		for _, t := range all {
			if validTenant(t) && t != p.Tenant && len(p.Tenants) < maxTenants {
				p.Tenants = append(p.Tenants, t)
			}
		}
		for _, t := range c.o.Service.Types().ResourceTypes {
			p.Types = append(p.Types, typeLink{strings.TrimPrefix(t.Endpoint, "/"), endpointOf(t)})
		}
		p.Extra, p.Backups = []typeLink{{"Activity", "activity"}}, true
	}
	var b bytes.Buffer
	if err := templates[name].ExecuteTemplate(&b, "layout.html", p); err != nil {
		c.o.Logger.Error("a page of the console cannot be shown", "page", name, "request", c.o.Request(v.r), "error", err)
		http.Error(v.w, "500: the page cannot be shown; the server's log says why", http.StatusInternalServerError)
		return nil
	}
	v.w.Header().Set("Content-Type", "text/html; charset=utf-8")
	v.w.WriteHeader(status)
	_, _ = v.w.Write(b.Bytes())
	return nil
}

func endpointOf(t *scim.ResourceType) string {
	return strings.ToLower(strings.TrimPrefix(t.Endpoint, "/"))
}

// resourceURL is where the page of a resource is.
func resourceURL(tenant string, t *scim.ResourceType, id string) string {
	return Path + "t/" + tenant + "/" + endpointOf(t) + "/" + url.PathEscape(id)
}

// distance says how far a time is from now.
func distance(t, now time.Time) string {
	if t.IsZero() {
		return "never"
	}
	switch d := t.Sub(now); {
	case d >= time.Second:
		return "in " + span(d+min(d/100, time.Hour)) // of 90 days that were asked for a moment ago nobody wants to read 89
	case d > -time.Second:
		return "just now"
	default:
		return span(-d) + " ago"
	}
}

// span is a duration in its largest unit of which there are two, or one.
func span(d time.Duration) string {
	for _, u := range []struct {
		size time.Duration
		name string
	}{{24 * time.Hour, "day"}, {time.Hour, "hour"}, {time.Minute, "minute"}, {time.Second, "second"}} {
		if n := int64(d / u.size); n >= 2 || n == 1 && (d%u.size)*5 < u.size || n == 1 && u.size == time.Second {
			return plural(n, u.name)
		}
	}
	return "a moment"
}

func plural(n any, what string) string {
	s := fmt.Sprint(n)
	if s == "1" {
		return "1 " + what
	}
	return s + " " + what + "s"
}

// bytesOf writes a size in the unit that leaves it short.
func bytesOf(n int64) string {
	units := []string{"B", "KiB", "MiB", "GiB", "TiB"}
	f := float64(n)
	i := 0
	for ; f >= 1024 && i < len(units)-1; i++ {
		f /= 1024
	}
	if i == 0 || f >= 10 {
		return strconv.FormatFloat(f, 'f', 0, 64) + " " + units[i]
	}
	return strconv.FormatFloat(f, 'f', 1, 64) + " " + units[i]
}

const maxText = 240

// short cuts off a text that would fill a page.
func short(s string) string {
	r := []rune(s)
	if len(r) <= maxText {
		return s
	}
	return string(r[:maxText]) + "…"
}

// unique returns the elements of a list once, in its order.
func unique(l []string) []string {
	var u []string
	for _, s := range l {
		if !slices.Contains(u, s) {
			u = append(u, s)
		}
	}
	return u
}
