// SPDX-License-Identifier: Apache-2.0

package tallystick_test

import (
	"testing"

	"github.com/tallystick/tallystick"
)

func TestHostsOfPlaces(t *testing.T) {
	for _, c := range []struct {
		place               tallystick.Place
		host, port, address string
	}{
		{"tls://127.1.0.7:8443", "127.1.0.7", "8443", "127.1.0.7"},
		{"ssh://[2001:db8::1]:22", "2001:db8::1", "22", "2001:db8::1"},
		{"tls://[::ffff:10.0.2.7]:443", "::ffff:10.0.2.7", "443", "10.0.2.7"},
		{"tls://[fe80::1%eth0]:443", "fe80::1%eth0", "443", "fe80::1%eth0"},
		{"metadata://idp.example/saml:1", "idp.example", "", ""},
		{"metadata://[::1]/saml", "::1", "", "::1"},
		{"tls://www.example.net:443", "www.example.net", "443", ""},
		{"file:///etc/ssl/a:b", "", "", ""}, {"metadata:///etc/saml", "", "", ""},
		{"tls://", "", "", ""}, {"odd", "", "", ""}, {"", "", "", ""},
	} {
		host, port := c.place.HostPort()
		if host != c.host || port != c.port {
			t.Errorf("%s is at %q, port %q; want %q, %q", c.place, host, port, c.host, c.port)
		}
		address, ok := c.place.Addr()
		if ok != (c.address != "") || ok && address.String() != c.address {
			t.Errorf("%s is at %v, %v; want %q", c.place, address, ok, c.address)
		}
	}
}
