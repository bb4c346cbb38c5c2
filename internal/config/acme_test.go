// SPDX-License-Identifier: Apache-2.0

package config_test

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/tallystick/tallystick/internal/config"
)

func TestACMEMistakes(t *testing.T) {
	for _, test := range []struct{ text, want string }{
		{"url: http://a.example", `issuing.acme.url: it is https:// and a host`},
		{"url: https://a.example/acme", `issuing.acme.url: it is https:// and a host`},
		{"terms: nowhere", `issuing.acme.terms: it is a URL`},
		{"profiles: [server, server]", `issuing.acme.profiles[1]: another profile is called server too`},
		{"allow: [10.0.0.0/8, everything]", `issuing.acme.allow[1]: it is a network such as 10.0.0.0/8, or an address`},
		{"resolver: dns.example", `issuing.acme.resolver: it is an address and a port`},
		{"challenges: [dns-02]", `issuing.acme.challenges[0]: it is one of http-01, dns-01, tls-alpn-01`},
		{"http_port: 70000", `issuing.acme.http_port: it is between 1 and 65535`},
		{"poll: 10s", `issuing.acme.poll: it is between 1m0s and 24h0m0s`},
		{"limits: {open_orders: -1}", `issuing.acme.limits.open_orders: it is between 1 and 9999`},
		{"limits: {bytes: 10}", `issuing.acme.limits.bytes: it is between 4096 and 1048576`},
	} {
		_, err := config.Parse("tally.yaml", []byte("issuing:\n  acme:\n    "+test.text+"\n"))
		if err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v; want %s", test.text, err, test.want)
		}
	}
}

func TestACMEAllow(t *testing.T) {
	c, err := config.Parse("tally.yaml", []byte("issuing: {acme: {allow: [10.1.2.3/8, 192.0.2.7, '2001:db8::/32']}}"))
	if err != nil {
		t.Fatal(err)
	}
	want := []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("192.0.2.7/32"), netip.MustParsePrefix("2001:db8::/32")}
	if diff := cmp.Diff(want, c.Issuing.ACME.AllowedNetworks(), cmpopts.EquateComparable(netip.Prefix{})); diff != "" {
		t.Error(diff)
	}
}
