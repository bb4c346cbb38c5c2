// SPDX-License-Identifier: Apache-2.0

package metadata

import (
	"bufio"
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/driver/drivertest"
)

// fuzzed reads a document and tests what every document must give: sightings
// that hold together, or a miss, within bounds of words.
func fuzzed(t *testing.T, read func(l *look) error) {
	sink := &drivertest.Recorder{}
	l := &look{now: func() time.Time { return now }, sink: sink}
	err := read(l)
	var told *lookError
	if err != nil && !errors.As(err, &told) {
		t.Errorf("an error without a word: %v", err)
	}
	for _, s := range sink.Sightings {
		if tallystick.FingerprintOf(s.Credential.Raw) != s.Credential.ID || tallystick.KeyIDOf(s.Credential.Key.SPKI) != s.Credential.Key.ID || s.Place == "" {
			t.Errorf("a sighting that does not hold together: %+v", s)
		}
	}
	for _, m := range sink.Misses {
		if m.Error == "failed" || len(m.Detail) > 400 {
			t.Errorf("a miss that says little: %+v", m)
		}
	}
}

const fuzzPlace = tallystick.Place("metadata://host/x")

func FuzzSAML(f *testing.F) {
	f.Add(entity("https://a", keyDescriptorOf("signing", x509Data([]byte{48, 0}))))
	f.Add(entity("x", keyDescriptorOf("", "<ds:KeyValue><ds:RSAKeyValue><ds:Modulus>AQAB</ds:Modulus><ds:Exponent>AQAB</ds:Exponent></ds:RSAKeyValue></ds:KeyValue>")))
	f.Add(entity("x", keyDescriptorOf("", `<dsig11:ECKeyValue><dsig11:NamedCurve URI="urn:oid:1.2.3"/><dsig11:PublicKey>BAAA</dsig11:PublicKey></dsig11:ECKeyValue>`)))
	f.Add(`<EntitiesDescriptor xmlns="urn:oasis:names:tc:SAML:2.0:metadata">` + entity("a") + entity("b") + `</EntitiesDescriptor>`)
	f.Add(laughs)
	f.Fuzz(func(t *testing.T, text string) {
		fuzzed(t, func(l *look) error {
			return l.saml(context.Background(), fuzzPlace, bufio.NewReader(strings.NewReader(text)))
		})
	})
}

func FuzzOpenID(f *testing.F) {
	f.Add(`{"jwks_uri":"https://a/b"}`)
	f.Add(`{"keys":[{"kty":"RSA","n":"AQAB","e":"AQAB","use":"sig","kid":"a","x5c":["MAA="]}]}`)
	f.Add(`{"keys":[{"kty":"EC","crv":"P-256","x":"AAAA","y":"AAAA","d":"AA"},{"kty":"OKP","crv":"Ed25519","x":"AA"},{"kty":"AKP","alg":"ML-DSA-44","pub":"AA"},{"kty":"oct","k":"AA"}]}`)
	f.Fuzz(func(t *testing.T, text string) {
		fuzzed(t, func(l *look) error {
			_, err := l.openID(fuzzPlace, strings.NewReader(text))
			return err
		})
	})
}
