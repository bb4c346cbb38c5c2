// SPDX-License-Identifier: Apache-2.0

package rules

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"testing"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/rule"
)

// stapling is an endpoint whose certificate promises to staple.
func stapling(staple string, features ...int) func(testing.TB) rule.Subject {
	return func(t testing.TB) rule.Subject {
		value, err := asn1.Marshal(features)
		if err != nil {
			t.Fatal(err)
		}
		leaf := issue(t, nil, "leaf", server("example.org"), func(c *x509.Certificate) {
			c.ExtraExtensions = []pkix.Extension{{Id: tlsFeature, Value: value}}
		})
		return subject(leaf.Credential, served(leaf.Credential, tallystick.TLSFacts{Staple: staple}))
	}
}

func stapleFixtures() map[string]fixture {
	return map[string]fixture{
		"revoked-staple": {
			Firing:   accepting(tallystick.TLSFacts{Staple: "revoked"}),
			Silent:   accepting(tallystick.TLSFacts{Staple: "good"}),
			Evidence: "says revoked",
		},
		"bad-staple": {
			Firing:   accepting(tallystick.TLSFacts{Staple: "expired"}),
			Silent:   accepting(tallystick.TLSFacts{Staple: "none"}),
			Evidence: "has expired",
		},
		"missing-staple": {
			Firing:   stapling("none", 17, statusRequest),
			Silent:   stapling("none", 17),
			Evidence: "promises an OCSP response, and none was sent",
		},
	}
}

func TestStaples(t *testing.T) {
	for _, row := range []struct {
		staple       string
		bad, missing bool
	}{
		{"", false, false}, {"good", false, false}, {"revoked", false, false}, {"none", false, true},
		{"expired", true, true}, {"malformed", true, true}, {"unknown", true, true},
	} {
		s := stapling(row.staple, statusRequest)(t)
		if got := badStaple().Check(s) != nil; got != row.bad {
			t.Errorf("%q: bad is %v", row.staple, got)
		}
		if got := missingStaple().Check(s) != nil; got != row.missing {
			t.Errorf("%q: missing is %v", row.staple, got)
		}
	}
}

func TestSenselessPromisesOfStaples(t *testing.T) {
	if promisesStaple(&tallystick.Credential{Kind: tallystick.KindCertificate, Raw: []byte{0x30, 0x82}}) {
		t.Error("what is no certificate promises something")
	}
	leaf := issue(t, nil, "leaf", func(c *x509.Certificate) {
		c.ExtraExtensions = []pkix.Extension{{Id: tlsFeature, Value: []byte{0x05, 0x00}}}
	})
	if promisesStaple(leaf.Credential) {
		t.Error("an extension that is no list promises something")
	}
}
