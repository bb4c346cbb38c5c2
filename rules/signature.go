// SPDX-License-Identifier: Apache-2.0

package rules

import (
	"strings"
	"time"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/rule"
)

func signatureRules() []rule.Rule { return []rule.Rule{malformed(), weakSignature()} }

func weakSignature() rule.Rule {
	return rule.Rule{
		Name:  "weak-signature",
		Title: "Signed with a broken hash",
		About: "The certificate is signed over MD2, MD5 or SHA-1. Two certificates with the same such hash can be made, so the signature " +
			"does not show what the issuer signed. MD2 and MD5 are critical, and what nothing uses is low. A root's signature over itself is not judged, because nobody relies on it.",
		Severity:  tallystick.SeverityHigh,
		Citation:  "CA/Browser Forum TLS Baseline Requirements section 7.1.3.2; NIST SP 800-131A Rev. 2 section 9",
		URL:       "https://doi.org/10.6028/NIST.SP.800-131Ar2",
		Effective: day(2016, time.January, 1),
		Do:        "Have it issued again with SHA-256 or better, by an issuer whose own certificate has that too.",
		Check:     checkWeakSignature,
	}
}

func checkWeakSignature(s rule.Subject) []rule.Hit {
	c := s.Credential
	if c.Kind != tallystick.KindCertificate {
		return nil
	}
	hash, severity := brokenHash(c.Signature)
	if hash == "" || isAnchor(&s) {
		return nil
	}
	at := standingOf(&s)
	if c.IsCA && isSelfSigned(c) && !at.served {
		return nil
	}
	if at.idle() {
		severity = at.idleSeverity()
	}
	return one(severity, "signed with %s by %s", hash, issuerOf(c))
}

// brokenHash names the hash of a signature algorithm when it is broken.
func brokenHash(signature string) (string, tallystick.Severity) {
	switch {
	case strings.HasSuffix(signature, "sha1"), signature == "ssh-rsa", signature == "ssh-dss": // RFC 4253 section 6.6
		return "SHA-1", tallystick.SeverityHigh
	case strings.HasSuffix(signature, "md5"):
		return "MD5", tallystick.SeverityCritical
	case strings.HasSuffix(signature, "md2"):
		return "MD2", tallystick.SeverityCritical
	}
	return "", 0
}

// issuerOf names the issuer for evidence.
func issuerOf(c *tallystick.Credential) string {
	if c.Issuer == "" {
		return "an issuer without a name"
	}
	return c.Issuer
}

func malformed() rule.Rule {
	return rule.Rule{
		Name:  "malformed-certificate",
		Title: "Not a well-formed certificate",
		About: "A strict reader refuses the certificate. Some programs read it all the same, others stop, and two that read it may " +
			"understand different things.",
		Severity:  tallystick.SeverityMedium,
		Citation:  "RFC 5280 section 4.1",
		URL:       "https://www.rfc-editor.org/rfc/rfc5280#section-4.1",
		Effective: day(2008, time.May, 1),
		Do:        "Have it issued again by software that keeps to the standard.",
		Check:     checkMalformed,
	}
}

func checkMalformed(s rule.Subject) []rule.Hit {
	if s.Credential.Kind != tallystick.KindCertificate || s.Credential.ReadError == "" {
		return nil
	}
	severity := tallystick.SeverityMedium
	if standingOf(&s).idle() {
		severity = tallystick.SeverityInfo
	}
	return one(severity, "a strict reader says: %s", s.Credential.ReadError)
}
