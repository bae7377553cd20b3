package console_test

import (
	"bytes"
	"cmp"
	"context"
	_ "embed"
	"encoding/json"
	"flag"
	"fmt"
	"image"
	"image/color"
	"image/png"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"

	"scimbox/server"
	"scimbox/server/config"
)

var screenshots = flag.String("screenshots", "", "directory that TestFirstHour writes pictures of all pages to")

//go:embed testdata/axe/axe.min.js
var axe string

// chrome is a tab of a headless Chromium.
type chrome struct {
	t   *testing.T
	ctx context.Context

	mu   sync.Mutex
	said []string // by the browser's console: violations of the policy, exceptions
}

// openChrome starts a browser, or skips the test where there is none.
func openChrome(t *testing.T) *chrome {
	t.Helper()
	path := ""
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome"} {
		if p, err := exec.LookPath(name); err == nil {
			path = p
			break
		}
	}
	if path == "" {
		t.Skip("there is no Chromium here to try the console in (apt-get install chromium)")
	}
	alloc, stop := chromedp.NewExecAllocator(context.Background(), chromedp.ExecPath(path), chromedp.Headless, chromedp.NoSandbox, chromedp.DisableGPU,
		chromedp.NoFirstRun, chromedp.NoDefaultBrowserCheck, chromedp.UserDataDir(t.TempDir()),
		chromedp.Flag("disable-quic", true), chromedp.Flag("disable-background-networking", true), chromedp.Flag("disable-component-update", true),
		chromedp.Flag("disable-sync", true), chromedp.Flag("disable-dev-shm-usage", true), chromedp.Flag("hide-scrollbars", true), chromedp.Flag("force-device-scale-factor", "1"))
	ctx, cancel := chromedp.NewContext(alloc)
	c := &chrome{t: t, ctx: ctx}
	if err := chromedp.Do(ctx, chromedp.Navigate("about:blank")); err != nil {
		cancel()
		stop()
		t.Fatalf("Chromium does not start: %v", err)
	}
	done := make(chan struct{})
	messages := chromedp.Console(ctx)
	go func() {
		defer close(done)
		for m := range messages {
			if m.IsException() || m.Type == "error" || m.Source == "security" {
				c.mu.Lock()
				c.said = append(c.said, m.Text+" "+m.URL)
				c.mu.Unlock()
			}
		}
	}()
	t.Cleanup(func() {
		if err := chromedp.Cancel(ctx); err != nil {
			t.Logf("ending Chromium: %v", err)
		}
		cancel()
		stop()
		<-done
	})
	return c
}

// eval evaluates an expression in the page, through the debugger.
func eval[T any](c *chrome, expression string) T {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(c.ctx, time.Minute)
	defer cancel()
	v, err := chromedp.Run(ctx, chromedp.Evaluate[T](expression, chromedp.EvalAwaitPromise))
	if err != nil {
		c.t.Fatalf("%.200s: %v", expression, err)
	}
	return v
}

// open goes to an address.
func (c *chrome) open(address string) {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(c.ctx, time.Minute)
	defer cancel()
	if err := chromedp.Do(ctx, chromedp.Navigate(address)); err != nil {
		c.t.Fatalf("%s: %v", address, err)
	}
}

// until waits until an expression is true. The page may be on its way to another meanwhile.
func (c *chrome) until(expression string) {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(c.ctx, time.Minute)
	defer cancel()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		ok, err := chromedp.Run(ctx, chromedp.Evaluate[bool](`!!(`+expression+`)`))
		if err == nil && ok {
			return
		}
		select {
		case <-ctx.Done():
			c.t.Fatalf("it never came to be that %s: %v\nthe page says: %s", expression, err, eval[string](c, `location.href + " " + document.body.innerText`))
		case <-tick.C:
		}
	}
}

// shows waits until the page has a text.
func (c *chrome) shows(text string) {
	c.t.Helper()
	c.until(`document.body && document.body.innerText.includes(` + quoted(text) + `)`)
}

func quoted(s string) string {
	b, err := json.Marshal(s)
	if err != nil {
		panic(err)
	}
	return string(b)
}

// press clicks what a selector finds.
func (c *chrome) press(selector string) {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(c.ctx, time.Minute)
	defer cancel()
	if err := chromedp.Do(ctx, chromedp.Click(chromedp.CSS(selector))); err != nil {
		c.t.Fatalf("clicking %s: %v", selector, err)
	}
}

func (c *chrome) types(selector, text string) {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(c.ctx, time.Minute)
	defer cancel()
	if err := chromedp.Do(ctx, chromedp.SendKeys(chromedp.CSS(selector), text)); err != nil {
		c.t.Fatalf("typing into %s: %v", selector, err)
	}
}

// look chooses a colour scheme and a width.
func (c *chrome) look(scheme string, width, height int64) {
	c.t.Helper()
	if _, err := chromedp.Call(c.ctx, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{
		{Name: "prefers-color-scheme", Value: scheme}, {Name: "prefers-reduced-motion", Value: "reduce"},
	}}); err != nil {
		c.t.Fatal(err)
	}
	if err := chromedp.Do(c.ctx, chromedp.EmulateViewport(width, height)); err != nil {
		c.t.Fatal(err)
	}
}

// accessible lets axe-core examine the page, which is to find nothing.
func (c *chrome) accessible(where string) {
	c.t.Helper()
	type finding struct {
		ID    string `json:"id"`
		Help  string `json:"help"`
		Nodes []struct {
			HTML    string `json:"html"`
			Summary string `json:"failureSummary"`
		} `json:"nodes"`
	}
	if !eval[bool](c, `!!window.axe`) {
		eval[bool](c, axe+`;true`)
	}
	for _, f := range eval[[]finding](c, `axe.run(document, {resultTypes: ["violations"]}).then(r => r.violations)`) {
		for _, n := range f.Nodes[:min(len(f.Nodes), 3)] {
			c.t.Errorf("%s: %s (%s): %s\n%s", where, f.Help, f.ID, n.HTML, n.Summary)
		}
	}
}

// picture writes a picture of what can be seen of the page.
func (c *chrome) picture(name string) {
	c.t.Helper()
	if *screenshots == "" {
		return
	}
	shot, err := chromedp.Run(c.ctx, chromedp.CaptureScreenshot())
	if err != nil {
		c.t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(*screenshots, name+".png"), smaller(c.t, shot), 0o644); err != nil {
		c.t.Fatal(err)
	}
}

// smaller leaves a picture the 256 colours that it has most of, which nobody sees on such pages, at a third of the size.
func smaller(t *testing.T, shot []byte) []byte {
	t.Helper()
	whole, err := png.Decode(bytes.NewReader(shot))
	if err != nil {
		t.Fatal(err)
	}
	often := map[color.RGBA]int{}
	b := whole.Bounds()
	for y := b.Min.Y; y < b.Max.Y; y++ {
		for x := b.Min.X; x < b.Max.X; x++ {
			often[color.RGBAModel.Convert(whole.At(x, y)).(color.RGBA)]++
		}
	}
	colours := slices.SortedFunc(maps.Keys(often), func(a, b color.RGBA) int {
		return cmp.Or(often[b]-often[a], int(a.R)-int(b.R), int(a.G)-int(b.G), int(a.B)-int(b.B))
	})
	var palette color.Palette
	for _, k := range colours[:min(len(colours), 256)] {
		palette = append(palette, k)
	}
	index := map[color.RGBA]uint8{}
	for _, k := range colours {
		index[k] = uint8(palette.Index(k))
	}
	small := image.NewPaletted(b, palette)
	for y := b.Min.Y; y < b.Max.Y; y++ {
		for x := b.Min.X; x < b.Max.X; x++ {
			small.SetColorIndex(x, y, index[color.RGBAModel.Convert(whole.At(x, y)).(color.RGBA)])
		}
	}
	var out bytes.Buffer
	if err := (&png.Encoder{CompressionLevel: png.BestCompression}).Encode(&out, small); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// entra is a client that sends what Entra sends.
type entra struct {
	t     *testing.T
	url   string
	token atomic.Pointer[string]
}

func (e *entra) send(method, path, body string) (int, map[string]any) {
	e.t.Helper()
	r, err := http.NewRequestWithContext(e.t.Context(), method, e.url+path, strings.NewReader(body))
	if err != nil {
		e.t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+*e.token.Load())
	r.Header.Set("Content-Type", "application/scim+json")
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		e.t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		e.t.Fatal(err)
	}
	var answer map[string]any
	if len(text) > 0 && strings.Contains(resp.Header.Get("Content-Type"), "json") {
		if err := json.Unmarshal(text, &answer); err != nil {
			e.t.Fatalf("%s: %v", text, err)
		}
	}
	return resp.StatusCode, answer
}

func (e *entra) must(method, path, body string) string {
	e.t.Helper()
	status, answer := e.send(method, path, body)
	if status >= 300 {
		e.t.Fatalf("%s %s: %d %v", method, path, status, answer)
	}
	id, _ := answer["id"].(string)
	return id
}

func (e *entra) test() int {
	e.t.Helper()
	status, _ := e.send("GET", "/Users?filter="+url.QueryEscape(`userName eq "7b0f5c2e-0d6a-4c55-9f0e-3f1f1b1a9c11"`), "")
	return status
}

func (e *entra) patch(path string, ops ...string) (int, map[string]any) {
	return e.send("PATCH", path, `{"schemas":["urn:ietf:params:scim:api:messages:2.0:PatchOp"],"Operations":[`+strings.Join(ops, ",")+`]}`)
}

var people = []struct{ name, given, family, title, department string }{
	{"adele.vance", "Adele", "Vance", "Retail Manager", "Retail"},
	{"alex.wilber", "Alex", "Wilber", "Marketing Assistant", "Marketing"},
	{"diego.siciliani", "Diego", "Siciliani", "HR Manager", "Human Resources"},
	{"grady.archie", "Grady", "Archie", "Designer", "R&D"},
	{"henrietta.mueller", "Henrietta", "Mueller", "Developer", "Engineering"},
	{"isaiah.langer", "Isaiah", "Langer", "Sales Rep", "Sales"},
	{"johanna.lorenz", "Johanna", "Lorenz", "Senior Engineer", "Engineering"},
	{"joni.sherman", "Joni", "Sherman", "Paralegal", "Legal"},
	{"lee.gu", "Lee", "Gu", "Director", "Manufacturing"},
	{"lidia.holloway", "Lidia", "Holloway", "Product Manager", "Engineering"},
	{"lynne.robbins", "Lynne", "Robbins", "Planner", "Retail"},
	{"megan.bowen", "Megan", "Bowen", "Marketing Manager", "Marketing"},
}

// The whole first hour, in a browser: first start, sign-in by the link, Connect with what goes wrong at first, an Entra
// conversation, users and groups, a refused request that is explained, a token that is rotated while the client goes on.
// axe-core looks at every page, in both colour schemes and at the width of a phone.
func TestFirstHour(t *testing.T) {
	c := openChrome(t)
	defer http.DefaultClient.CloseIdleConnections()
	cfg := config.Default()
	cfg.Limits.RequestsPerToken = 0 // the client whose token is rotated sends its requests without a pause
	cfg.Listen, cfg.Data, cfg.Storage.MinFree.Bytes = "127.0.0.1:0", filepath.Join(t.TempDir(), "data"), 0
	cfg.Guard.Enabled, cfg.Guard.MaxChanges = true, 10
	if *screenshots != "" {
		// Both stand in the pictures.
		cfg.Listen, cfg.Data = "127.0.0.1:8080", filepath.Join(os.TempDir(), "scimbox-data")
		if err := os.Mkdir(cfg.Data, 0o700); err != nil {
			t.Fatal(err)
		}
		defer os.RemoveAll(cfg.Data)
	}
	var log lockedBuffer
	s, err := server.Open(t.Context(), server.Options{Config: cfg, Version: "dev", Logger: slog.New(slog.NewTextHandler(&log, nil))})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- s.Serve(ctx, context.Background()) }()
	defer func() {
		stop()
		if err := <-served; err != nil {
			t.Error(err)
		}
	}()
	base := strings.TrimSuffix(s.ConsoleURL(), "/console/")
	c.look("light", 1180, 800)

	// Who opens the server's address without having signed in is told how to.
	c.open(base + "/")
	c.shows("scimbox console")
	c.everywhere("signin", base+"/console/sign-in")
	c.look("light", 1180, 800)

	// The link of the first start leads to Connect, without a click.
	c.open(s.ConsoleLink().URL)
	c.shows("Waiting for Test Connection")
	if got := eval[string](c, `document.getElementById("tenant-url").value`); got != s.TenantURL() {
		t.Errorf("Tenant URL %q", got)
	}
	if eval[string](c, `document.cookie`) != "" {
		t.Error("scripts can read the cookie")
	}

	// What goes wrong at first: the path is missing, then the token is wrong. The light says so by itself.
	e := &entra{t: t, url: base}
	wrong := "scimbox_aaaaaaaaaaaa_AAAAAAAA"
	e.token.Store(&wrong)
	e.test()
	c.shows("The Tenant URL is not complete")
	e.url = s.TenantURL()
	if status := e.test(); status != 401 {
		t.Fatalf("a wrong token: %d", status)
	}
	c.shows("The token was refused")
	c.until(`document.querySelector(".light.bad")`)
	c.picture("connect-refused-light")

	// Copy says that it has, the token is made here, and then the light turns green.
	c.press(`form[action$="/connect/token"] button`)
	c.until(`document.getElementById("secret")`)
	c.press(`[data-copy="secret"]`)
	c.until(`document.querySelector('[data-copy="secret"]').textContent === "Copied"`)
	token := eval[string](c, `document.getElementById("secret").value`)
	e.token.Store(&token)
	if status := e.test(); status != 200 {
		t.Fatalf("Test Connection: %d", status)
	}
	c.shows("This is what Test Connection sends")
	c.until(`document.querySelector(".light.good")`)
	if got := eval[string](c, `document.getElementById("said").textContent`); !strings.Contains(got, "Connected") {
		t.Errorf("a screen reader hears %q", got)
	}

	// The provisioning.
	ids := map[string]string{}
	for i, p := range people {
		ids[p.name] = e.must("POST", "/Users", fmt.Sprintf(`{"schemas":["urn:ietf:params:scim:schemas:core:2.0:User","urn:ietf:params:scim:schemas:extension:enterprise:2.0:User"],
			"externalId":"0a%02d4c55-9f0e-4f1f-8b1a-9c11%08d","userName":"%[3]s@example.com","active":true,"displayName":"%[4]s %[5]s","title":"%[6]s","name":{"givenName":"%[4]s","familyName":"%[5]s"},
			"emails":[{"type":"work","primary":true,"value":"%[3]s@example.com"}],"urn:ietf:params:scim:schemas:extension:enterprise:2.0:User":{"employeeNumber":"%[1]d","department":"%[7]s"}}`,
			i+1, i*7919, p.name, p.given, p.family, p.title, p.department))
	}
	var groups []string
	for _, name := range []string{"Engineering", "Everybody", "Marketing"} {
		groups = append(groups, e.must("POST", "/Groups", `{"schemas":["urn:ietf:params:scim:schemas:core:2.0:Group"],"displayName":"`+name+`"}`))
	}
	for i, p := range people {
		for _, g := range []int{1, map[string]int{"Engineering": 0, "Marketing": 2}[p.department]} {
			if g == 1 || p.department == "Engineering" || p.department == "Marketing" {
				if status, answer := e.patch("/Groups/"+groups[g], `{"op":"Add","path":"members","value":[{"value":"`+ids[p.name]+`"}]}`); status >= 300 {
					t.Fatalf("member %d: %d %v", i, status, answer)
				}
			}
		}
	}
	e.patch("/Users/"+ids["johanna.lorenz"], `{"op":"Replace","path":"title","value":"Principal Engineer"}`)
	e.patch("/Users/"+ids["lee.gu"], `{"op":"Replace","path":"active","value":"False"}`)
	if status, _ := e.patch("/Users/"+ids["joni.sherman"], `{"op":"Replace","path":"emails","value":7}`); status != 400 {
		t.Fatalf("the mapping of a number to emails: %d", status)
	}
	e.send("POST", "/Users", `{"schemas":["urn:ietf:params:scim:schemas:core:2.0:User"],"userName":"ADELE.VANCE@example.com"}`)

	// They have arrived: searched while one types, without another page.
	c.open(base + "/console/")
	c.shows("12 in this tenant")
	if got := eval[string](c, `location.pathname`); got != "/console/t/default/users" {
		t.Errorf("the first page is %s", got)
	}
	eval[bool](c, `window.samePage = true`)
	c.types("#q", "johanna")
	c.until(`document.querySelectorAll("#results tbody tr").length === 1 && location.search === "?q=johanna"`)
	if !eval[bool](c, `window.samePage === true`) {
		t.Error("typing has loaded another page")
	}
	c.press("#results tbody a")
	c.shows("changed title")
	c.shows("Principal Engineer")
	c.shows("Engineering")
	c.open(base + "/console/t/default/users?active=no")
	c.shows("lee.gu@example.com")
	c.until(`document.querySelectorAll("#results tbody tr").length === 1`)

	// The refused request is explained.
	c.open(base + "/console/t/default/activity?failed=yes")
	c.shows("was refused")
	c.press(`.events li:last-child a`)
	c.shows("What to change")
	c.shows("What was sent")
	refusal := eval[string](c, `location.pathname`)

	// The list of activity goes on by itself.
	c.open(base + "/console/t/default/activity")
	c.shows("created the user adele.vance@example.com")
	e.patch("/Users/"+ids["lee.gu"], `{"op":"Replace","path":"active","value":"True"}`)
	c.shows("Entra enabled")
	e.patch("/Users/"+ids["lee.gu"], `{"op":"Replace","path":"active","value":"False"}`)

	// The token is rotated while the client goes on: nothing that it sends is refused.
	failed := make(chan string, 1)
	calls, quit := new(atomic.Int64), make(chan struct{})
	go func() {
		defer close(failed)
		for {
			select {
			case <-quit:
				return
			default:
			}
			r, err := http.NewRequestWithContext(ctx, "GET", e.url+"/Users?count=1", nil)
			if err != nil {
				failed <- err.Error()
				return
			}
			r.Header.Set("Authorization", "Bearer "+*e.token.Load())
			resp, err := http.DefaultClient.Do(r)
			if err != nil {
				failed <- err.Error()
				return
			}
			_, _ = io.Copy(io.Discard, resp.Body)
			_ = resp.Body.Close()
			if resp.StatusCode != 200 {
				failed <- resp.Status
				return
			}
			calls.Add(1)
		}
	}()
	c.open(base + "/console/tokens")
	c.press(`table a[href^="/console/tokens/"]`)
	c.shows("Both work for")
	tokenPage := eval[string](c, `location.pathname`)
	c.press(`form[action$="/rotate"] button`)
	c.until(`document.getElementById("secret")`)
	next := eval[string](c, `document.getElementById("secret").value`)
	before := calls.Load()
	e.token.Store(&next)
	for calls.Load() < before+20 && len(failed) == 0 {
		c.open(base + tokenPage)
	}
	c.shows("being replaced")
	close(quit)
	if why, bad := <-failed; bad {
		t.Errorf("a call of the client failed: %s", why)
	}

	// A mass change is held back, and let through by whoever looks at what it is.
	everybody := func() int {
		status, _ := e.patch("/Groups/"+groups[1], `{"op":"Remove","path":"members"}`)
		return status
	}
	if status := everybody(); status != 429 {
		t.Fatalf("all members of a group are removed: %d", status)
	}
	c.open(base + "/console/health")
	c.shows("Mass changes in default")
	c.everywhere("guards", base+"/console/guard")
	c.everywhere("guard", base+"/console/guard/default")
	c.look("light", 1180, 800)
	c.open(base + "/console/guard")
	c.shows("holds back")
	c.press(`table a[href="/console/guard/default"]`)
	c.shows("patch of the Group " + groups[1])
	c.press(`section[aria-labelledby="approve"] summary`)
	c.accessible("guard, the confirmation")
	c.press(`form[action$="/approve"] button`)
	c.shows("For 1 hour everything is let through")
	if status := everybody(); status != 204 && status != 200 {
		t.Errorf("what was approved: %d", status)
	}
	c.press(`section[aria-labelledby="rearm"] summary`)
	c.press(`form[action$="/rearm"] button`)
	c.shows("counts anew from nothing")
	for _, name := range []string{"adele.vance", "lee.gu", "johanna.lorenz"} {
		e.patch("/Groups/"+groups[1], `{"op":"Add","path":"members","value":[{"value":"`+ids[name]+`"}]}`)
	}

	// Every page, for everybody.
	for _, p := range []struct{ name, path string }{
		{"connect", "/console/t/default/connect"}, {"mapping", "/console/t/default/mapping"}, {"users", "/console/t/default/users"},
		{"user", "/console/t/default/users/" + ids["johanna.lorenz"]}, {"groups", "/console/t/default/groups"}, {"group", "/console/t/default/groups/" + groups[0]},
		{"activity", "/console/t/default/activity"}, {"refusal", refusal}, {"tokens", "/console/tokens"}, {"token", tokenPage},
		{"tenants", "/console/tenants"}, {"backups", "/console/backups"}, {"health", "/console/health"}, {"nothing", "/console/nothing"},
	} {
		c.everywhere(p.name, base+p.path)
	}
	c.keyboard(base + "/console/t/default/users")

	// Signing out ends it, also for pages that are still open.
	c.open(base + "/console/t/default/connect")
	c.press(`form[action="/console/sign-out"] button`)
	c.shows("There is no password")
	c.open(base + "/console/tokens")
	c.shows("There is no password")

	c.mu.Lock()
	defer c.mu.Unlock()
	said := slices.DeleteFunc(c.said, func(s string) bool { return strings.Contains(s, "404") && strings.Contains(s, "/console/nothing") })
	if len(said) > 0 {
		t.Errorf("the browser complains: %q", said)
	}
	for _, secret := range []string{token, next} {
		if strings.Contains(log.String(), secret) {
			t.Error("the log has a token")
		}
	}
}

// everywhere opens a page in both colour schemes and at the width of a phone.
func (c *chrome) everywhere(name, address string) {
	c.t.Helper()
	for _, scheme := range []string{"light", "dark"} {
		c.look(scheme, 1180, 800)
		c.open(address)
		c.until(`document.readyState === "complete"`)
		c.accessible(name + ", " + scheme)
		if name != "nothing" {
			c.picture(name + "-" + scheme)
		}
	}
	c.look("light", 360, 740)
	c.open(address)
	c.until(`document.readyState === "complete"`)
	if wide := eval[int](c, `document.scrollingElement.scrollWidth`); wide > 360 {
		c.t.Errorf("%s is %d wide on a phone of 360", name, wide)
	}
	c.accessible(name + ", phone")
	if name == "users" || name == "connect" {
		c.picture(name + "-phone")
	}
}

// keyboard goes through a page by the tab key: everything that can be done is reached, in order, and can be seen to be.
func (c *chrome) keyboard(address string) {
	c.t.Helper()
	c.look("light", 1180, 800)
	c.open(address)
	var stops []string
	for range 30 {
		if err := chromedp.Do(c.ctx, chromedp.KeyEvent("\t")); err != nil {
			c.t.Fatal(err)
		}
		if eval[bool](c, `document.activeElement === document.body`) {
			break // once around
		}
		stops = append(stops, eval[string](c, `(document.activeElement.innerText || document.activeElement.id || document.activeElement.tagName).split("\n")[0]`))
		if o := eval[string](c, `getComputedStyle(document.activeElement).outlineStyle`); o == "none" {
			c.t.Errorf("the focus on %s cannot be seen", stops[len(stops)-1])
		}
	}
	at := -1
	for _, want := range []string{"Skip to the page", "scimbox", "Tenant default", "Connect", "Users", "Groups", "Activity", "Tokens", "Health", "Sign out", "q", "All", "adele.vance@example.com"} {
		i := slices.Index(stops, want)
		if i <= at {
			c.t.Errorf("the tab key comes to %q as number %d, behind %d: %q", want, i, at, stops)
		}
		at = i
	}
}

// lockedBuffer is a log that several goroutines write.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}
