// SPDX-License-Identifier: Apache-2.0

package rules

import (
	"context"
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/rule"
	"github.com/tallystick/tallystick/rule/ruletest"
)

// A showingEstate is an estate of endpoints alone.
type showingEstate struct {
	fakeEstate
	shown []rule.Shown
}

func (e showingEstate) EachShown(_ context.Context, fn func(rule.Shown) error) error {
	for _, l := range e.shown {
		if err := fn(l); err != nil {
			return err
		}
	}
	return nil
}

// shows is an endpoint with a certificate for www.example.org that was issued
// some days before now and lives for 90.
func shows(place tallystick.Place, daysAgo int, edits ...func(*tallystick.Credential)) rule.Shown {
	c := &tallystick.Credential{
		ID: tallystick.Fingerprint(fmt.Sprintf("issued%03d", daysAgo)), Kind: tallystick.KindCertificate, Issuer: "CN=CA",
		Key: tallystick.Key{Algorithm: "ecdsa-p256"}, Names: []string{"www.example.org"},
		NotBefore: now.AddDate(0, 0, -daysAgo), NotAfter: now.AddDate(0, 0, 90-daysAgo),
	}
	for _, edit := range edits {
		edit(c)
	}
	return rule.Shown{Place: place, Certificate: c}
}

func shownFixtures() map[string]fixture {
	estate := func(shown ...rule.Shown) func(testing.TB) rule.Estate {
		return func(testing.TB) rule.Estate { return showingEstate{shown: shown} }
	}
	return map[string]fixture{
		"old-certificate-left": {
			FiringEstate: estate(shows("tls://192.0.2.7:443", 5), shows("tls://192.0.2.7:993", 70), shows("tls://192.0.2.8:443", 5)),
			SilentEstate: estate(shows("tls://192.0.2.7:443", 5), shows("tls://192.0.2.7:993", 40), shows("tls://192.0.2.8:443", 5)),
			Evidence: "tls://192.0.2.7:993 shows the certificate for www.example.org that ends on 2026-12-12; " +
				"tls://192.0.2.7:443 shows one that was issued on 2026-11-17",
		},
	}
}

func TestEndpointsThatWereNotLeft(t *testing.T) {
	const here, there = tallystick.Place("tls://192.0.2.7:443"), tallystick.Place("tls://192.0.2.8:443")
	for what, edit := range map[string]func(*tallystick.Credential){
		"another issuer":      func(c *tallystick.Credential) { c.Issuer = "CN=Other CA" },
		"another kind of key": func(c *tallystick.Credential) { c.Key.Algorithm = "rsa-2048" },
		"other names":         func(c *tallystick.Credential) { c.Names = []string{"www.example.org", "example.org"} },
		"a longer life":       func(c *tallystick.Credential) { c.NotAfter = now.AddDate(1, 0, 0) },
		"signs itself":        func(c *tallystick.Credential) { c.SelfIssued = true },
	} {
		estate := showingEstate{shown: []rule.Shown{shows(here, 5), shows(there, 70, edit)}}
		if hits := ruletest.Survey(t, oldCertificateLeft(), estate); hits != nil {
			t.Errorf("%s: %+v", what, hits)
		}
	}
	both := showingEstate{shown: []rule.Shown{shows(here, 5), shows(there, 70), shows(there, 5)}}
	if hits := ruletest.Survey(t, oldCertificateLeft(), both); hits != nil {
		t.Errorf("an endpoint that shows both: %+v", hits)
	}
}

// TestEndpointsBehindOneName sees two addresses of one name.
func TestEndpointsBehindOneName(t *testing.T) {
	fresh, old := shows("tls://www.example.org:443", 5), shows("tls://www.example.org:443", 70)
	fresh.Address, old.Address = "192.0.2.7", "192.0.2.8"
	other := shows("tls://mail.example.org:443", 80, func(c *tallystick.Credential) { c.Names = []string{"mail.example.org"} })
	var told []string
	for _, hit := range ruletest.Survey(t, oldCertificateLeft(), showingEstate{shown: []rule.Shown{other, old, fresh}}) {
		told = append(told, hit.Evidence)
	}
	want := []string{"tls://www.example.org:443 (192.0.2.8) shows the certificate for www.example.org that ends on 2026-12-12; " +
		"tls://www.example.org:443 (192.0.2.7) shows one that was issued on 2026-11-17"}
	if diff := cmp.Diff(want, told); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestTooManyEndpointsAreNotCompared(t *testing.T) {
	estate := showingEstate{shown: []rule.Shown{shows("tls://192.0.2.7:443", 5)}}
	for n := range mostShown {
		estate.shown = append(estate.shown, shows(tallystick.Place(fmt.Sprintf("tls://192.0.2.8:%d", n)), 70))
	}
	if hits := ruletest.Survey(t, oldCertificateLeft(), estate); hits != nil {
		t.Errorf("%d hits", len(hits))
	}
}
