package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// placements are what the two kinds of package have in different places.
var placements = map[string]map[string]string{
	"deb": {
		"USERADD": "passwd", "UNITS": "/lib/systemd/system", "ZSH": "/usr/share/zsh/vendor-completions",
		// tar knows no user that is not there yet: postinst gives the file to its group.
		"CONFIG_GROUP": "root",
		"PRE":          "", "POST": "postinst", "PREUN": "prerm", "POSTUN": "postrm",
	},
	"rpm": {
		"USERADD": "shadow-utils", "UNITS": "/usr/lib/systemd/system", "ZSH": "/usr/share/zsh/site-functions",
		"CONFIG_GROUP": "scimbox",
		"PRE":          "pre", "POST": "post", "PREUN": "preun", "POSTUN": "postun",
	},
}

// pack writes a package: the files are laid out in a directory, packaging/nfpm.yaml says where each goes.
func (r *release) pack(ctx context.Context, t target, format, binary, notices string, texts map[string]string) error {
	place, ok := placements[format]
	if !ok {
		return fmt.Errorf("there is no package of this kind, only deb and rpm")
	}
	stage := filepath.Join(r.temp, t.arch+"-"+format)
	if err := r.stage(stage, binary, notices, texts); err != nil {
		return err
	}
	values := map[string]string{
		"ARCH": t.arch, "VERSION": r.version, "MAINTAINER": strconv.Quote(r.keeper), "DATE": strconv.Quote(r.date.Format(time.RFC3339)), "STAGE": stage,
	}
	for key, value := range place {
		if strings.HasPrefix(key, "P") && value != "" {
			value = filepath.Join(r.source, "packaging", format, value)
		}
		values[key] = value
	}
	form, err := os.ReadFile(filepath.Join(r.source, "packaging", "nfpm.yaml"))
	if err != nil {
		return err
	}
	var unknown []string
	filled := os.Expand(string(form), func(key string) string {
		value, ok := values[key]
		if !ok {
			unknown = append(unknown, key)
		}
		return value
	})
	if len(unknown) > 0 {
		return fmt.Errorf("packaging/nfpm.yaml asks for %v, which nobody knows", unknown)
	}
	config := filepath.Join(r.temp, t.arch+"-"+format+".yaml")
	if err := os.WriteFile(config, []byte(filled), 0o644); err != nil {
		return err
	}
	name := r.name(t) + "." + format
	fmt.Fprintf(r.log, "  %s\n", name)
	_, err = r.command(ctx, filepath.Join(r.source, "tools"),
		[]string{"GOFLAGS=", "SOURCE_DATE_EPOCH=" + strconv.FormatInt(r.date.Unix(), 10)},
		"go", "tool", "nfpm", "package", "--config", config, "--packager", format, "--target", filepath.Join(r.out, name))
	return err
}

// stage lays out what a package is made of, all with the date of the release.
func (r *release) stage(dir, binary, notices string, texts map[string]string) error {
	files, err := r.documents()
	if err != nil {
		return err
	}
	add := func(name string, data []byte) { files = append(files, file{name, 0o644, data}) }
	sources := map[string]string{
		"scimbox":          binary,
		"scimbox.toml":     "packaging/scimbox.toml",
		"scimbox.sysusers": "packaging/scimbox.sysusers",
		"lintian":          "packaging/deb/lintian-overrides",
	}
	for _, unit := range units {
		sources[unit] = "packaging/systemd/" + unit
	}
	for name, from := range sources {
		if !filepath.IsAbs(from) {
			from = filepath.Join(r.source, filepath.FromSlash(from))
		}
		data, err := os.ReadFile(from)
		if err != nil {
			return err
		}
		add(name, data)
	}
	for name, text := range texts {
		add(name, []byte(text))
	}
	history, err := os.ReadFile(filepath.Join(r.source, "CHANGELOG.md"))
	if err != nil {
		return err
	}
	add("copyright", []byte(copyright))
	for name, data := range map[string][]byte{
		"scimbox.1.gz":    []byte(texts["scimbox.1"]),
		"CHANGELOG.md.gz": history,
		"licences.gz":     []byte(notices),
		"changelog.gz": fmt.Appendf(nil, "scimbox (%s) stable; urgency=medium\n\n  * See CHANGELOG.md.gz beside this file.\n\n -- %s  %s\n",
			debian(r.version), r.keeper, r.date.Format(time.RFC1123Z)),
	} {
		zipped, err := gzipped(data)
		if err != nil {
			return err
		}
		add(name, zipped)
	}
	for _, f := range files {
		name := filepath.Join(dir, filepath.FromSlash(f.name))
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(name, f.data, f.mode); err != nil {
			return err
		}
	}
	return filepath.WalkDir(dir, func(name string, _ os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		return os.Chtimes(name, r.date, r.date)
	})
}

// debian writes a version so that a release candidate comes before its release.
func debian(version string) string { return strings.Replace(version, "-", "~", 1) }

const copyright = `Copyright 2026 the scimbox authors
License: Apache-2.0, see /usr/share/common-licenses/Apache-2.0 on Debian, or https://www.apache.org/licenses/LICENSE-2.0

What is linked into the program keeps its own licence: THIRD-PARTY-LICENCES.txt.gz beside this file.
`
