// SPDX-License-Identifier: Apache-2.0

package rules

import (
	"crypto/x509"
	"encoding/asn1"
	"slices"
	"time"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/rule"
)

func stapleRules() []rule.Rule { return []rule.Rule{badStaple(), missingStaple(), revokedStaple()} }

func revokedStaple() rule.Rule {
	return rule.Rule{
		Name:  "revoked-staple",
		Title: "Says itself that its certificate is revoked",
		About: "The endpoint sends a status from its issuer along, and that says revoked: every client that looks refuses it, and whoever had " +
			"it revoked may have known of a stolen key.",
		Severity:  tallystick.SeverityCritical,
		Citation:  "RFC 6960 section 2.2; RFC 6066 section 8",
		URL:       "https://www.rfc-editor.org/rfc/rfc6960#section-2.2",
		Effective: day(2013, time.June, 1),
		Do:        "Replace the certificate with one of a new key at once, and find out who had it revoked and why.",
		Check: func(s rule.Subject) []rule.Hit {
			return atEndpoints(&s, func(t *tallystick.TLSFacts) (string, tallystick.Severity) {
				if t.Staple != "revoked" {
					return "", 0
				}
				return "the OCSP response that it staples says revoked", 0
			})
		},
	}
}

func badStaple() rule.Rule {
	return rule.Rule{
		Name:  "bad-staple",
		Title: "Staples a status that is worth nothing",
		About: "The endpoint sends an OCSP response along that has expired, cannot be read or does not know the certificate. Strict clients " +
			"refuse the connection. An issuer that does not know its certificate is medium: it may not have issued it.",
		Severity:  tallystick.SeverityLow,
		Citation:  "RFC 6066 section 8; RFC 6960 section 4.2.2.1",
		URL:       "https://www.rfc-editor.org/rfc/rfc6066#section-8",
		Effective: day(2013, time.June, 1),
		Do:        "Let the server fetch the response anew and look into its log for why it does not, or turn stapling off.",
		Check: func(s rule.Subject) []rule.Hit {
			return atEndpoints(&s, judgeStaple)
		},
	}
}

func judgeStaple(t *tallystick.TLSFacts) (string, tallystick.Severity) {
	switch t.Staple {
	case "expired":
		return "the OCSP response that it staples has expired", 0
	case "malformed":
		return "the OCSP response that it staples cannot be read", 0
	case "unknown":
		return "the OCSP response that it staples says that the issuer does not know the certificate", tallystick.SeverityMedium
	}
	return "", 0
}

func missingStaple() rule.Rule {
	return rule.Rule{
		Name:  "missing-staple",
		Title: "Leaves out the status that its certificate promises",
		About: "The certificate says that its server always staples an OCSP response (must-staple), and the endpoint sends none that holds: " +
			"clients that heed it refuse the connection.",
		Severity:  tallystick.SeverityMedium,
		Citation:  "RFC 7633 section 4",
		URL:       "https://www.rfc-editor.org/rfc/rfc7633#section-4",
		Effective: day(2015, time.October, 1),
		Do:        "Turn stapling on at the server, or have the certificate issued again without the extension.",
		Check: func(s rule.Subject) []rule.Hit {
			return atEndpoints(&s, func(t *tallystick.TLSFacts) (string, tallystick.Severity) {
				if t.Staple == "" || t.Staple == "good" || t.Staple == "revoked" || !promisesStaple(s.Credential) {
					return "", 0
				}
				if t.Staple == "none" {
					return "the certificate promises an OCSP response, and none was sent", 0
				}
				return "the certificate promises an OCSP response, and the one that was sent is " + t.Staple, 0
			})
		},
	}
}

// statusRequest is the number of the TLS extension that asks for a staple (RFC
// 6066 section 8).
const statusRequest = 5

// tlsFeature is the extension of RFC 7633 section 4.
var tlsFeature = asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 1, 24}

// promisesStaple reads the extension from the certificate; one that a strict
// reader refuses promises nothing.
func promisesStaple(c *tallystick.Credential) bool {
	if c.Kind != tallystick.KindCertificate {
		return false
	}
	parsed, err := x509.ParseCertificate(c.Raw)
	if err != nil {
		return false
	}
	for _, extension := range parsed.Extensions {
		var features []int
		if extension.Id.Equal(tlsFeature) {
			rest, err := asn1.Unmarshal(extension.Value, &features)
			return err == nil && len(rest) == 0 && slices.Contains(features, statusRequest)
		}
	}
	return false
}
