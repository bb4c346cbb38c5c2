// SPDX-License-Identifier: Apache-2.0

package scan_test

import (
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/internal/scan"
	"github.com/tallystick/tallystick/rule"
	"github.com/tallystick/tallystick/rules"
)

// One of two addresses still shows the certificate that was renewed.
func TestAnEndpointThatWasLeftBehind(t *testing.T) {
	now := time.Date(2026, time.November, 22, 12, 0, 0, 0, time.UTC)
	left := slices.DeleteFunc(rules.All(), func(r rule.Rule) bool { return r.Name != "old-certificate-left" })
	s := scan.New(scan.Options{Rules: left, Now: func() time.Time { return now }, Progress: silent{}})
	show := func(place tallystick.Place, position, issuedDaysAgo int, names ...string) {
		c := tallystick.Credential{
			ID: tallystick.FingerprintOf([]byte(string(place))), Kind: tallystick.KindCertificate, Issuer: "CN=CA", Names: names,
			NotBefore: now.AddDate(0, 0, -issuedDaysAgo), NotAfter: now.AddDate(0, 0, 90-issuedDaysAgo),
		}
		facts := tallystick.Facts{TLS: &tallystick.TLSFacts{Position: position}}
		if err := s.Saw(tallystick.Sighting{Credential: c, Place: place, Role: tallystick.RolePresents, Seen: now, Facts: facts}); err != nil {
			t.Fatal(err)
		}
	}
	show("tls://192.0.2.1:443", 0, 80, "www.example.org")
	show("tls://192.0.2.2:443", 0, 70, "mail.example.org")
	show("tls://192.0.2.3:443", 0, 5, "www.example.org")
	show("tls://192.0.2.4:443", 1, 5, "mail.example.org") // above somebody else's
	result, err := s.Judge(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	want := map[tallystick.Place][]string{
		"tls://192.0.2.1:443": {"old-certificate-left"}, "tls://192.0.2.2:443": nil, "tls://192.0.2.3:443": nil, "tls://192.0.2.4:443": nil,
	}
	if diff := cmp.Diff(want, broken(result)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
