package main

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const (
	mit    = "Permission is hereby granted, free of charge, to any person\nobtaining a copy ...\nTHE SOFTWARE IS PROVIDED ``AS IS'', WITHOUT WARRANTY"
	bsd2   = "Redistribution and use in source and binary forms, with or without\n// modification"
	bsd3   = bsd2 + "\nNeither the name ... may be used to endorse or promote products derived from this software"
	apache = "   Apache License\n   Version 2.0, January 2004"
	mpl    = "Mozilla Public License, version 2.0\n ... means either the GNU General Public License, Version 2.0, the GNU Lesser General Public License"
)

func TestIdentify(t *testing.T) {
	for _, test := range []struct {
		text string
		want []string
	}{
		{mit, []string{"MIT"}},
		{bsd2, []string{"BSD-2-Clause"}},
		{bsd3, []string{"BSD-3-Clause"}},
		{apache, []string{"Apache-2.0"}},
		{mpl, []string{"MPL-2.0"}},
		{bsd3 + "\n-----\n" + mit, []string{"MIT", "BSD-3-Clause"}},
		{"                    GNU GENERAL PUBLIC LICENSE\n Version 3", []string{"GPL"}},
		{"Business Source License 1.1", []string{"BUSL-1.1"}},
		{"All rights reserved.", nil},
	} {
		if got := identify(test.text); !slices.Equal(got, test.want) {
			t.Errorf("%.40q is %v, want %v", test.text, got, test.want)
		}
	}
}

// What may be linked is what the document says, and everything else stops a release.
func TestPolicy(t *testing.T) {
	p, err := readPolicy("../../docs/licences.md")
	if err != nil {
		t.Fatal(err)
	}
	p.named["example.com/read"] = []string{"MIT"}
	for _, test := range []struct{ path, text, fails string }{
		{"example.com/a", mit, ""},
		{"example.com/b", bsd3 + apache, ""},
		{"example.com/c", "GNU Affero General Public License", "does not permit it"},
		{"example.com/d", mit + "\nBusiness Source License", "BUSL-1.1"},
		{"example.com/e", "Ask me.", "enter the module in"},
		{"example.com/read", "Ask me.", ""},
	} {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, "LICENSE"), []byte(test.text), 0o600); err != nil {
			t.Fatal(err)
		}
		m := module{path: test.path, version: "v1.0.0"}
		err := m.read(dir, p)
		if test.fails == "" && err != nil || test.fails != "" && (err == nil || !strings.Contains(err.Error(), test.fails)) {
			t.Errorf("%s: %v, want %q", test.path, err, test.fails)
		}
	}
	if _, err := readPolicy("licences_test.go"); err == nil {
		t.Error("a document without the table permits everything")
	}
}

// Every module that is linked for any of the systems has a licence that may be linked: some are linked for one of them alone, and
// the archive that another test makes is that of Linux.
func TestLicencesOfAllTargets(t *testing.T) {
	allowed, err := readPolicy("../../docs/licences.md")
	if err != nil {
		t.Fatal(err)
	}
	source, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	r := release{source: source}
	for _, target := range targets {
		dirs, err := r.sources(t.Context(), target)
		if err != nil {
			t.Fatal(err)
		}
		for path, dir := range dirs {
			if path == "scimbox" {
				continue
			}
			m := module{path: path}
			if err := m.read(dir, allowed); err != nil {
				t.Errorf("%s: %v", target, err)
			}
		}
	}
}
