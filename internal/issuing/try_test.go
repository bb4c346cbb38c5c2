// SPDX-License-Identifier: Apache-2.0

package issuing_test

import (
	"net/netip"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tallystick/tallystick/internal/ca"
	"github.com/tallystick/tallystick/internal/issuing"
)

func TestParseNames(t *testing.T) {
	ips := cmp.Comparer(func(a, b netip.Addr) bool { return a == b })
	for _, c := range []struct {
		profile string
		words   []string
		want    ca.Names
	}{
		{"server", []string{"www.example.net", "2001:db8::1", "localhost"}, ca.Names{DNS: []string{"www.example.net", "localhost"}, IPs: []netip.Addr{netip.MustParseAddr("2001:db8::1")}}},
		{"client", []string{"CN=app one", "spiffe://example.net/app", "ops@example.net", "a.example.net"}, ca.Names{CommonName: "app one", URIs: []string{"spiffe://example.net/app"}, Emails: []string{"ops@example.net"}, DNS: []string{"a.example.net"}}},
		{"postgresql", []string{"reporting"}, ca.Names{CommonName: "reporting"}},
		{"pkinit", []string{"anna@EXAMPLE.NET"}, ca.Names{Principals: []string{"anna@EXAMPLE.NET"}}},
		{"ssh-host", []string{"db1.example.net", "10.0.0.7"}, ca.Names{Principals: []string{"db1.example.net", "10.0.0.7"}}},
		{"kdc", []string{"kdc.example.net", "krbtgt/EXAMPLE@EXAMPLE"}, ca.Names{DNS: []string{"kdc.example.net"}, Principals: []string{"krbtgt/EXAMPLE@EXAMPLE"}}},
	} {
		profiles := ca.BuiltInProfiles()
		p := profiles[slices.IndexFunc(profiles, func(p ca.Profile) bool { return p.Name == c.profile })]
		if d := cmp.Diff(c.want, issuing.ParseNames(p, c.words), ips); d != "" {
			t.Errorf("%s %q: %s", c.profile, c.words, d)
		}
	}
}
