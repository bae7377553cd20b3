package main

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/url"
	"os"
	"strings"
	"time"
)

// The parts of CycloneDX 1.6 that say something about a Go binary.
type (
	bom struct {
		Schema       string       `json:"$schema"`
		Format       string       `json:"bomFormat"`
		Spec         string       `json:"specVersion"`
		Serial       string       `json:"serialNumber"`
		Version      int          `json:"version"`
		Metadata     metadata     `json:"metadata"`
		Components   []component  `json:"components"`
		Dependencies []dependency `json:"dependencies"`
	}
	metadata struct {
		Timestamp string    `json:"timestamp"`
		Component component `json:"component"`
	}
	component struct {
		Type       string     `json:"type"`
		Ref        string     `json:"bom-ref"`
		Name       string     `json:"name"`
		Version    string     `json:"version"`
		PURL       string     `json:"purl"`
		Hashes     []hash     `json:"hashes,omitempty"`
		Licences   []licence  `json:"licenses"`
		Properties []property `json:"properties,omitempty"`
	}
	hash struct {
		Algorithm string `json:"alg"`
		Content   string `json:"content"`
	}
	licence struct {
		Expression string `json:"expression"`
	}
	property struct {
		Name  string `json:"name"`
		Value string `json:"value"`
	}
	dependency struct {
		Ref       string   `json:"ref"`
		DependsOn []string `json:"dependsOn"`
	}
)

func purl(name, version string) string {
	if name == "std" {
		name = "stdlib"
	}
	return "pkg:golang/" + name + "@" + url.PathEscape(version)
}

// bom writes what a binary consists of.
func (r *release) bom(t target, binary string, linked []module) error {
	program, err := os.ReadFile(binary)
	if err != nil {
		return err
	}
	sum := sha256.Sum256(program)
	self := component{
		Type: "application", Name: "scimbox", Version: r.version,
		PURL:     fmt.Sprintf("pkg:generic/scimbox@%s?os=%s&arch=%s", r.version, t.os, t.arch),
		Hashes:   []hash{{"SHA-256", hex.EncodeToString(sum[:])}},
		Licences: []licence{{"Apache-2.0"}},
	}
	self.Ref = self.PURL
	if r.commit != "" {
		self.Properties = []property{{"scimbox:commit", r.commit}}
	}
	b := bom{
		Schema: "http://cyclonedx.org/schema/bom-1.6.schema.json", Format: "CycloneDX", Spec: "1.6", Version: 1,
		// A name of its own for each binary, and the same for the same one.
		Serial:   serial(sum),
		Metadata: metadata{r.date.Format(time.RFC3339), self},
	}
	on := dependency{Ref: self.Ref}
	for _, m := range linked {
		c := component{
			Type: "library", Name: m.path, Version: m.version, PURL: purl(m.path, m.version),
			Licences: []licence{{strings.Join(m.licences, " AND ")}},
		}
		c.Ref = c.PURL
		if m.sum != "" {
			c.Properties = []property{{"go:sum", m.sum}} // a hash of a list of hashes, and none of CycloneDX's kinds
		}
		if m.patched {
			c.Properties = append(c.Properties, property{"scimbox:patched", "see third_party in the source"})
		}
		b.Components = append(b.Components, c)
		on.DependsOn = append(on.DependsOn, c.Ref)
	}
	b.Dependencies = []dependency{on}
	text, err := json.MarshalIndent(b, "", "  ")
	if err != nil {
		return err
	}
	return r.write(r.name(t)+".cdx.json", append(text, '\n'))
}

// serial makes a UUID of version 8 (RFC 9562) of a hash.
func serial(sum [sha256.Size]byte) string {
	id := sum[:16]
	id[6] = id[6]&0x0f | 0x80
	id[8] = id[8]&0x3f | 0x80
	return fmt.Sprintf("urn:uuid:%x-%x-%x-%x-%x", id[0:4], id[4:6], id[6:8], id[8:10], id[10:16])
}
