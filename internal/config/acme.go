// SPDX-License-Identifier: Apache-2.0

package config

import (
	"fmt"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"time"
)

// challengeKinds are the ways to prove a name.
func challengeKinds() []string { return []string{"http-01", "dns-01", "tls-alpn-01"} }

// check notes what makes no sense about the ACME server.
func (a *ACME) check(d *decoder) {
	const at = "issuing.acme."
	if a.URL != "" && !isServerURL(a.URL) {
		d.wrong(at+"url", "it is https:// and a host, and a port if need be, such as https://acme.example.com")
	}
	for _, page := range []struct{ key, text string }{{"terms", a.Terms}, {"website", a.Website}} {
		if page.text != "" && !isPage(page.text) {
			d.wrong(at+page.key, "it is a URL that begins with https:// or http://")
		}
	}
	n := newNames()
	for i, profile := range a.Profiles {
		n.check(d, fmt.Sprintf("%sprofiles[%d]", at, i), "profile", profile)
	}
	for i, network := range a.Allow {
		if _, err := parseNetwork(network); err != nil {
			d.wrong(fmt.Sprintf("%sallow[%d]", at, i), "it is a network such as 10.0.0.0/8, or an address")
		}
	}
	if a.Resolver != "" {
		if _, err := netip.ParseAddrPort(a.Resolver); err != nil {
			d.wrong(at+"resolver", "it is an address and a port, such as 10.0.0.53:53")
		}
	}
	for i, kind := range a.Challenges {
		if !slices.Contains(challengeKinds(), kind) {
			d.wrong(fmt.Sprintf("%schallenges[%d]", at, i), "it is one of %s", strings.Join(challengeKinds(), ", "))
		}
	}
	a.checkNumbers(d, at)
}

// checkNumbers notes what is out of bounds; 0 is the default.
func (a *ACME) checkNumbers(d *decoder, at string) {
	for _, n := range []struct {
		key          string
		value, lo, h int
	}{
		{"http_port", a.HTTPPort, 1, 65535},
		{"tls_port", a.TLSPort, 1, 65535},
		{"limits.accounts_per_hour", a.Limits.AccountsPerHour, 1, 1_000_000},
		{"limits.orders_per_hour", a.Limits.OrdersPerHour, 1, 10_000_000},
		{"limits.open_orders", a.Limits.OpenOrders, 1, 9_999},
		{"limits.failures_per_hour", a.Limits.FailuresPerHour, 1, 1_000_000},
		{"limits.names", a.Limits.Names, 1, 1000},
		{"limits.bytes", a.Limits.Bytes, 4096, 1 << 20},
	} {
		if n.value != 0 && (n.value < n.lo || n.value > n.h) {
			d.wrong(at+n.key, "it is between %d and %d", n.lo, n.h)
		}
	}
	for _, n := range []struct {
		key          string
		value, lo, h time.Duration
	}{
		{"timeout", a.Timeout, time.Second, time.Minute},
		{"reuse", a.Reuse, time.Minute, 30 * 24 * time.Hour},
		{"poll", a.Poll, time.Minute, 24 * time.Hour},
	} {
		if n.value != 0 && (n.value < n.lo || n.value > n.h) {
			d.wrong(at+n.key, "it is between %s and %s", n.lo, n.h)
		}
	}
}

// isServerURL says whether a text is the beginning of URLs of an HTTPS server.
func isServerURL(text string) bool {
	u, err := url.Parse(text)
	return err == nil && u.Scheme == "https" && u.Hostname() != "" && u.Scheme+"://"+u.Host == text
}

func isPage(text string) bool {
	u, err := url.Parse(text)
	return err == nil && (u.Scheme == "https" || u.Scheme == "http") && u.Host != ""
}

// AllowedNetworks returns what Allow says.
func (a *ACME) AllowedNetworks() []netip.Prefix {
	var list []netip.Prefix
	for _, text := range a.Allow {
		if network, err := parseNetwork(text); err == nil { // check has seen to it
			list = append(list, network)
		}
	}
	return list
}

// parseNetwork reads a network, or an address as the network that holds nothing else.
func parseNetwork(text string) (netip.Prefix, error) {
	if address, err := netip.ParseAddr(text); err == nil && address.Zone() == "" {
		return netip.PrefixFrom(address, address.BitLen()), nil
	}
	network, err := netip.ParsePrefix(text)
	return network.Masked(), err
}
