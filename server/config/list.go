package config

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// List is several texts: ["a", "b"] in the file, a,b in the environment. None of them is empty or holds a comma.
type List []string

// String prints the list as the environment has it.
func (l List) String() string { return strings.Join(l, ",") }

// parseList reads what String prints. Spaces around an entry are none of it, and a comma at the end begins none.
func parseList(text string) List {
	l := List{}
	for entry := range strings.SplitSeq(text, ",") {
		if entry = strings.TrimSpace(entry); entry != "" {
			l = append(l, entry)
		}
	}
	return l
}

// Prefixes returns the networks that the entries of a list name, each an address or a network such as 10.0.0.0/8.
func (l List) Prefixes() ([]netip.Prefix, error) {
	var all []netip.Prefix
	for _, entry := range l {
		p, err := prefix(entry)
		if err != nil {
			return nil, fmt.Errorf("%q %w", entry, err)
		}
		all = append(all, p)
	}
	return all, nil
}

func prefix(entry string) (netip.Prefix, error) {
	if a, err := netip.ParseAddr(entry); err == nil {
		if a.Zone() != "" {
			return netip.Prefix{}, errors.New("has a zone; leave it out, an address counts on every interface")
		}
		return netip.PrefixFrom(a.Unmap(), a.Unmap().BitLen()), nil
	}
	p, err := netip.ParsePrefix(entry)
	if err != nil {
		return netip.Prefix{}, errors.New("is neither an address nor a network; write such as 10.0.0.5, 10.0.0.0/8 or fd00::/8")
	}
	if a := p.Addr(); a.Is4In6() && p.Bits() >= 96 {
		p = netip.PrefixFrom(a.Unmap(), p.Bits()-96)
	}
	switch {
	case p.Bits() == 0:
		return netip.Prefix{}, errors.New("is everybody; name the proxies, or whoever connects could claim to be another client")
	case p != p.Masked():
		return netip.Prefix{}, fmt.Errorf("has bits behind its prefix; did you mean %s?", p.Masked())
	}
	return p, nil
}

// Within reports whether an address is in one of the networks, whatever its zone, and written as IPv6 or not.
func Within(networks []netip.Prefix, a netip.Addr) bool {
	a = a.Unmap().WithZone("")
	return slices.ContainsFunc(networks, func(p netip.Prefix) bool { return p.Contains(a) })
}
