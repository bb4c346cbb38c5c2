// SPDX-License-Identifier: Apache-2.0

package rules

import (
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/rule"
)

func TestListCountsTheRest(t *testing.T) {
	words := []string{"a", "b", "c", "d", "e"}
	var got []string
	for n := range 6 {
		got = append(got, list(words[:n]))
	}
	want := []string{"", "a", "a and b", "a, b and c", "a, b, c and 1 more", "a, b, c and 2 more"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// TestEvidenceIsBounded gives a certificate an issuer that somebody made long.
func TestEvidenceIsBounded(t *testing.T) {
	c := &tallystick.Credential{Kind: tallystick.KindCertificate, Issuer: "CN=" + strings.Repeat("é", 9999), Signature: "rsa-md5"}
	for _, hit := range checkWeakSignature(subject(c)) {
		if len(hit.Evidence) > 510 || !utf8.ValidString(hit.Evidence) {
			t.Errorf("%d bytes: %q", len(hit.Evidence), hit.Evidence)
		}
	}
}

// TestOneHitForAPlace has one place seen twice, worse the second time.
func TestOneHitForAPlace(t *testing.T) {
	c := &tallystick.Credential{Kind: tallystick.KindCertificate}
	s := subject(c,
		served(c, tallystick.TLSFacts{Protocols: []string{"tls1.0"}}),
		served(c, tallystick.TLSFacts{Protocols: []string{"ssl3"}}))
	want := []rule.Hit{{Place: endpoint, Evidence: "accepts ssl3", Severity: tallystick.SeverityHigh}}
	if diff := cmp.Diff(want, oldProtocol().Check(s)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// TestSelfSignedOnThisMachine is low: development servers listen there.
func TestSelfSignedOnThisMachine(t *testing.T) {
	c := issue(t, nil, "", server("localhost")).Credential
	for place, want := range map[tallystick.Place]tallystick.Severity{
		"tls://127.1.0.7:8443": tallystick.SeverityLow,
		"tls://[::1]:8443":     tallystick.SeverityLow,
		"tls://localhost:8443": tallystick.SeverityLow,
		"tls://192.0.2.7:8443": 0,
		"tls://192.0.2.7":      0,
	} {
		seen := served(c, tallystick.TLSFacts{})
		seen.Place = place
		hits := selfSigned().Check(subject(c, seen))
		if len(hits) != 1 || hits[0].Severity != want || !strings.Contains(hits[0].Evidence, "without a subject") {
			t.Errorf("%s: %+v, want one of severity %d", place, hits, want)
		}
	}
}
