package main

import (
	"cmp"
	"context"
	"debug/buildinfo"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// policy says which licences may be linked, and what a module has whose text is none of the usual ones.
type policy struct {
	file    string
	allowed []string            // SPDX ids
	named   map[string][]string // module -> its licences, where a person has read them
}

var (
	permitted = regexp.MustCompile(`(?m)^\| ([A-Za-z0-9.-]+) \| yes`)
	readBy    = regexp.MustCompile("(?m)^\\| `([^`]+)` \\| ([A-Za-z0-9. -]+?) \\|")
)

// readPolicy takes the tables of docs/licences.md, so that what people read and what is checked is the same.
func readPolicy(name string) (policy, error) {
	text, err := os.ReadFile(name)
	if err != nil {
		return policy{}, err
	}
	p := policy{file: name, named: map[string][]string{}}
	for _, m := range permitted.FindAllStringSubmatch(string(text), -1) {
		p.allowed = append(p.allowed, m[1])
	}
	for _, m := range readBy.FindAllStringSubmatch(string(text), -1) {
		p.named[m[1]] = strings.Split(m[2], " AND ")
	}
	if len(p.allowed) == 0 {
		return p, fmt.Errorf("%s has no table of licences that may be linked", name)
	}
	return p, nil
}

// module is one that is in a binary.
type module struct {
	path, version, sum string
	patched            bool // linked from a copy in our tree, with a patch

	licences []string // SPDX ids, all of which hold
	texts    []string // as the module has them, one for each file
}

// marks are phrases that a licence has and no other one of them. "!" before one: it has it not.
var marks = []struct {
	id    string
	words []string
}{
	{"Apache-2.0", []string{"apache license", "version 2.0, january 2004"}},
	{"Apache-2.0", []string{`licensed under the apache license, version 2.0`}},
	{"MPL-2.0", []string{"mozilla public license", "version 2.0"}},
	{"MIT", []string{"permission is hereby granted, free of charge, to any person obtaining a copy", "the software is provided \"as is\""}},
	{"BSD-3-Clause", []string{"redistribution and use in source and binary forms", "endorse or promote products derived"}},
	{"BSD-2-Clause", []string{"redistribution and use in source and binary forms", "!endorse or promote products derived"}},
	{"ISC", []string{"permission to use, copy, modify, and/or distribute this software for any purpose with or without fee"}},
	{"CC0-1.0", []string{"cc0 1.0 universal"}},
	{"Unlicense", []string{"this is free and unencumbered software released into the public domain"}},
	{"GPL", []string{"gnu general public license"}},
	{"AGPL", []string{"gnu affero general public license"}},
	{"LGPL", []string{"gnu lesser general public license"}},
	{"BUSL-1.1", []string{"business source license"}},
	{"SSPL-1.0", []string{"server side public license"}},
}

// identify says which licences a text is, or holds.
func identify(text string) []string {
	text = strings.Join(strings.Fields(strings.ToLower(strings.NewReplacer("“", `"`, "”", `"`, "``", `"`, "''", `"`).Replace(text))), " ")
	var ids []string
	for _, m := range marks {
		fits := !slices.ContainsFunc(m.words, func(w string) bool {
			without, not := strings.CutPrefix(w, "!")
			return strings.Contains(text, without) == not
		})
		if fits && !slices.Contains(ids, m.id) {
			ids = append(ids, m.id)
		}
	}
	if slices.Contains(ids, "MPL-2.0") { // it names the GNU licences as those that may be combined with it
		ids = slices.DeleteFunc(ids, func(id string) bool { return strings.HasSuffix(id, "GPL") })
	}
	return ids
}

// linked returns the modules in a binary and Go's own library, with their licences, and refuses those that may not be there.
func (r *release) linked(ctx context.Context, t target, binary string, allowed policy) ([]module, error) {
	info, err := buildinfo.ReadFile(binary)
	if err != nil {
		return nil, err
	}
	dirs, err := r.sources(ctx, t)
	if err != nil {
		return nil, err
	}
	all := []module{{path: "std", version: strings.TrimPrefix(info.GoVersion, "go")}}
	for _, d := range info.Deps {
		all = append(all, module{path: d.Path, version: d.Version, sum: d.Sum, patched: d.Replace != nil})
	}
	for i := range all {
		if err := all[i].read(dirs[all[i].path], allowed); err != nil {
			return nil, err
		}
	}
	slices.SortFunc(all, func(a, b module) int { return cmp.Compare(a.path, b.path) })
	return all, nil
}

// sources returns the directories of the modules that are linked for a system, and of Go's own library, "std".
func (r *release) sources(ctx context.Context, t target) (map[string]string, error) {
	env := []string{"CGO_ENABLED=0", "GOOS=" + t.os, "GOARCH=" + t.arch, "GOFLAGS=", "GOWORK=off"}
	list, err := r.command(ctx, r.source, env, "go", "list", "-deps", "-f", "{{with .Module}}{{.Path}}\t{{.Dir}}{{end}}", ".")
	if err != nil {
		return nil, err
	}
	goroot, err := r.command(ctx, r.source, nil, "go", "env", "GOROOT")
	if err != nil {
		return nil, err
	}
	dirs := map[string]string{"std": strings.TrimSpace(goroot)}
	for line := range strings.Lines(list) {
		if name, dir, ok := strings.Cut(strings.TrimSpace(line), "\t"); ok {
			dirs[name] = dir
		}
	}
	return dirs, nil
}

var licenceFile = regexp.MustCompile(`(?i)^(un)?licen[cs]e|^copying|^notice|^copyright`)

// read takes the licences of a module from its files.
func (m *module) read(dir string, allowed policy) error {
	if dir == "" {
		return fmt.Errorf("the go command does not know where the source of %s is", m.path)
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if e.IsDir() || !licenceFile.MatchString(e.Name()) {
			continue
		}
		text, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil {
			return err
		}
		m.texts = append(m.texts, string(text))
		for _, id := range identify(string(text)) {
			if !slices.Contains(m.licences, id) {
				m.licences = append(m.licences, id)
			}
		}
	}
	if named, ok := allowed.named[m.path]; ok {
		m.licences = named
	}
	slices.Sort(m.licences)
	if len(m.licences) == 0 {
		return fmt.Errorf("the licence of %s %s is none that is known here; read it, and enter the module in %s", m.path, m.version, allowed.file)
	}
	for _, id := range m.licences {
		if !slices.Contains(allowed.allowed, id) {
			return fmt.Errorf("%s %s has the licence %s, and %s does not permit it", m.path, m.version, id, allowed.file)
		}
	}
	return nil
}

// notices are the licences of everything that is linked, as most of them want to be passed on with a binary.
func notices(all []module) string {
	var b strings.Builder
	b.WriteString("Scimbox is under the Apache License 2.0. These are linked into it:\n")
	for _, m := range all {
		name := m.path
		if name == "std" {
			name = "Go and its standard library"
		}
		fmt.Fprintf(&b, "\n%s\n%s %s (%s)\n", strings.Repeat("=", 80), name, m.version, strings.Join(m.licences, " AND "))
		for _, text := range m.texts {
			fmt.Fprintf(&b, "\n%s\n", strings.TrimSpace(text))
		}
	}
	return b.String()
}
