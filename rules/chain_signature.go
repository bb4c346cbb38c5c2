// SPDX-License-Identifier: Apache-2.0

package rules

import (
	"time"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/rule"
)

func weakChainSignature() rule.Rule {
	return rule.Rule{
		Name:  "weak-chain-signature",
		Title: "Sends a chain that was signed with a broken hash",
		About: "A certificate between the endpoint's own and the root is signed over MD2, MD5 or SHA-1. Current clients refuse such a chain; " +
			"for those that do not, somebody else may hold a certificate with the same signature. A root's signature over itself does not count.",
		Severity:  tallystick.SeverityHigh,
		Citation:  "RFC 8446 section 4.4.2.4; NIST SP 800-131A Rev. 2 section 9",
		URL:       "https://www.rfc-editor.org/rfc/rfc8446#section-4.4.2.4",
		Effective: day(2018, time.August, 1),
		Do:        "Send the newer certificate of the same issuer, if there is one; otherwise have the certificate issued by a CA whose chain has SHA-256 or better.",
		Check: func(s rule.Subject) []rule.Hit {
			return atChains(&s, judgeChainSignatures)
		},
	}
}

func judgeChainSignatures(_ *tallystick.Sighting, chain servedChain) (string, tallystick.Severity) {
	evidence, worst := "", tallystick.Severity(0)
	for i := range chain.extra {
		c := &chain.extra[i]
		hash, severity := brokenHash(c.Signature)
		if chain.above[i] && !isSelfSigned(c) && severity > worst {
			evidence, worst = subjectOf(c)+" is signed with "+hash+" by "+issuerOf(c), severity
		}
	}
	return evidence, worst
}
