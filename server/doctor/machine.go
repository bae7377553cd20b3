package doctor

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"runtime"
	"time"
)

// directory says whether others can look into the data.
func (p *patient) directory(context.Context) {
	info, err := os.Stat(p.Data)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		p.find(Fail, p.Data+" is not there", "start the server once, which makes it; or name the right directory (data in the configuration, --data)", "")
	case err != nil:
		p.find(Fail, fmt.Sprintf("%s cannot be looked at: %v", p.Data, err), "run this command as the user that scimbox runs as (sudo -u scimbox ...)", "")
	case runtime.GOOS != "windows" && info.Mode().Perm()&0o077 != 0:
		p.find(Fail, fmt.Sprintf("others can look into %s (%04o)", p.Data, info.Mode().Perm()), "chmod 0700 "+p.Data, "")
	default:
		p.pass(p.Data + " is closed to others")
	}
}

// configuration says whether others can read what may be secret in the configuration.
func (p *patient) configuration(context.Context) {
	if p.ConfigFile == "" {
		p.pass("no file; it is all in defaults, environment and flags")
		return
	}
	info, err := os.Stat(p.ConfigFile)
	switch {
	case err != nil:
		p.find(Fail, fmt.Sprintf("%s cannot be looked at: %v", p.ConfigFile, err), "run this command as the user that scimbox runs as", "")
	case runtime.GOOS != "windows" && info.Mode().Perm()&0o022 != 0:
		p.find(Fail, fmt.Sprintf("others can change %s (%04o)", p.ConfigFile, info.Mode().Perm()), "chmod 0640 "+p.ConfigFile, "")
	case runtime.GOOS != "windows" && info.Mode().Perm()&0o004 != 0:
		p.find(Warn, fmt.Sprintf("everybody on this machine can read %s (%04o)", p.ConfigFile, info.Mode().Perm()),
			"if there are secrets in it: chmod 0640 "+p.ConfigFile+", with the group that scimbox runs as", "")
	default:
		p.pass(p.ConfigFile + " can be read, and changed by its owner alone")
	}
}

// space compares what is free on the disk with what the server wants.
func (p *patient) space(context.Context) {
	if p.status == nil || p.status.FreeBytes < 0 {
		return // nobody has looked
	}
	// A day's growth of a busy store is well below this.
	const comfortable = 2 << 30
	free := p.status.FreeBytes
	text := fmt.Sprintf("%d MiB are free on the disk of %s", free>>20, p.Data)
	switch {
	case free < p.MinFree:
		p.find(Fail, text+fmt.Sprintf(", and below %d MiB no changes are taken", p.MinFree>>20), "make room on that disk; then changes are taken again by themselves", "")
	case free < p.MinFree+comfortable:
		p.find(Warn, text+fmt.Sprintf("; below %d MiB no changes are taken", p.MinFree>>20), "make room on that disk soon", "")
	default:
		p.pass(text)
	}
}

const (
	skewWarn = time.Minute
	skewFail = 5 * time.Minute // beyond it signed requests are refused by authorities and clouds
)

// clock compares the time with the one that a certificate authority has. It is asked because it has to be reached anyway, and
// because a wrong clock shows there first: certificates are not valid yet, or any more.
func (p *patient) clock(ctx context.Context) {
	if p.Authority == "" {
		return
	}
	ctx, cancel := p.limited(ctx)
	defer cancel()
	transport := &http.Transport{
		DialContext:       p.dialFor(""),
		TLSClientConfig:   &tls.Config{RootCAs: p.Roots, Time: p.Clock},
		DisableKeepAlives: true,
		Proxy:             http.ProxyFromEnvironment,
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, p.Authority, nil)
	if err != nil {
		p.find(Fail, fmt.Sprintf("%s is no address of an authority: %v", p.Authority, err), "correct tls.acme.directory", "")
		return
	}
	before := p.Clock()
	resp, err := (&http.Client{Transport: transport}).Do(r)
	if err != nil {
		p.find(Warn, fmt.Sprintf("the authority that certificates come from cannot be reached, so that none can be renewed: %v", unwrapURL(err)),
			"let this machine reach "+p.Authority+" (firewall, DNS, clock); with an authority of your own set tls.acme.roots", TenantURL)
		return
	}
	_ = resp.Body.Close()
	there, err := http.ParseTime(resp.Header.Get("Date"))
	if err != nil {
		p.find(Warn, p.Authority+" does not tell the time", "compare the clock of this machine by hand: date -u", "")
		return
	}
	skew := before.Sub(there)
	text := fmt.Sprintf("the clock differs by %s from that of %s", skew.Abs().Round(time.Second), r.URL.Host)
	const fix = "let the clock be set by the network: timedatectl set-ntp true"
	switch {
	case skew.Abs() > skewFail:
		p.find(Fail, text, fix, SecretToken)
	case skew.Abs() > skewWarn:
		p.find(Warn, text, fix, "")
	default:
		p.pass(text)
	}
}
