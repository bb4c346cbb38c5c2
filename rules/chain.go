// SPDX-License-Identifier: Apache-2.0

package rules

import (
	"slices"
	"time"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/rule"
)

func chainRules() []rule.Rule {
	return []rule.Rule{caAsLeaf(), incompleteChain(), overlongChain(), selfSigned(), unorderedChain(), weakChainSignature()}
}

// A servedChain is what one endpoint sent. Certificates are tied by names and
// key identifiers alone: these rules are about how a server is set up, not
// about whom to believe.
type servedChain struct {
	leaf  *tallystick.Credential
	extra []tallystick.Credential // in the order of the wire
	// above says for each of extra whether it is on a way up from the leaf.
	above []bool
}

// mostExtra bounds the work on a chain that means harm: no honest server sends
// more, and what lies beyond it is overlong in any case.
const mostExtra = 32

// atChains is atPlaces for the chains that endpoints sent with the credential.
func atChains(s *rule.Subject, judge func(*tallystick.Sighting, servedChain) (string, tallystick.Severity)) []rule.Hit {
	if s.Credential.Kind != tallystick.KindCertificate {
		return nil
	}
	return atPlaces(s, func(seen *tallystick.Sighting) (string, tallystick.Severity) {
		if !isServed(seen) || len(seen.Chain) < len(seen.TLS.Chain)-1 {
			return "", 0 // not an endpoint's own, or the chain was not loaded
		}
		return judge(seen, chainOf(s.Credential, seen.Chain))
	})
}

func chainOf(leaf *tallystick.Credential, extra []tallystick.Credential) servedChain {
	extra = extra[:min(len(extra), mostExtra)]
	chain := servedChain{leaf: leaf, extra: extra, above: make([]bool, len(extra))}
	if isSelfSigned(leaf) {
		return chain
	}
	for below := []*tallystick.Credential{leaf}; len(below) > 0; below = below[1:] {
		for i := range extra {
			if !chain.above[i] && issued(&extra[i], below[0]) && extra[i].ID != leaf.ID {
				chain.above[i] = true
				below = append(below, &extra[i])
			}
		}
	}
	return chain
}

// issued says whether issuer's name and key identifier are those that
// subject names as its issuer's (RFC 5280 sections 4.1.2.4 and 4.2.1.1).
func issued(issuer, subject *tallystick.Credential) bool {
	return issuer.Subject == subject.Issuer &&
		(issuer.SubjectKeyID == "" || subject.AuthorityKeyID == "" || issuer.SubjectKeyID == subject.AuthorityKeyID)
}

func incompleteChain() rule.Rule {
	return rule.Rule{
		Name:  "incomplete-chain",
		Title: "Leaves out intermediate certificates",
		About: "The endpoint does not send the certificates between its own and the root. Browsers may have them from elsewhere; " +
			"most other programs refuse the connection. It is low when nothing is known about the issuer, which may then be a private root.",
		Severity:  tallystick.SeverityMedium,
		Citation:  "RFC 8446 section 4.4.2",
		URL:       "https://www.rfc-editor.org/rfc/rfc8446#section-4.4.2",
		Effective: day(2018, time.August, 1),
		Do:        "Configure the server with the full chain as its issuer delivers it; if the issuer is a private root, let Tallystick read that root.",
		Check: func(s rule.Subject) []rule.Hit {
			if isSelfSigned(s.Credential) {
				return nil
			}
			return atChains(&s, func(seen *tallystick.Sighting, chain servedChain) (string, tallystick.Severity) {
				if seen.TLS.Evidence == tallystick.EvidenceVerified {
					return "", 0 // this machine verified what was sent
				}
				return judgeComplete(chain, s.Issuers)
			})
		},
	}
}

// judgeComplete looks for a certificate of the chain that is a root or that a
// known root issued.
func judgeComplete(chain servedChain, issuers []*tallystick.Credential) (string, tallystick.Severity) {
	top := chain.leaf
	reached := []*tallystick.Credential{chain.leaf}
	for i := range chain.extra {
		if chain.above[i] {
			top = &chain.extra[i]
			reached = append(reached, top)
		}
	}
	for _, c := range reached {
		if isSelfSigned(c) || slices.ContainsFunc(issuers, func(root *tallystick.Credential) bool {
			return isSelfSigned(root) && issued(root, c)
		}) {
			return "", 0
		}
	}
	for _, missing := range issuers {
		if !isSelfSigned(missing) && issued(missing, top) {
			return "does not send " + missing.Subject + ", which issued " + top.Subject, 0
		}
	}
	if top != chain.leaf {
		return "", 0 // a private root need not be known here, and need not be sent
	}
	return "sends no certificate of its issuer " + issuerOf(top) + ", and none is known here", tallystick.SeverityLow
}

func unorderedChain() rule.Rule {
	return rule.Rule{
		Name:      "unordered-chain",
		Title:     "Sends its chain out of order",
		About:     "A certificate comes before the one that it certifies. TLS 1.2 requires the order, and small clients do not sort.",
		Severity:  tallystick.SeverityLow,
		Citation:  "RFC 5246 section 7.4.2; RFC 8446 section 4.4.2",
		URL:       "https://www.rfc-editor.org/rfc/rfc5246#section-7.4.2",
		Effective: day(2008, time.August, 1),
		Do:        "Put the server's own certificate first and then each issuer after what it issued.",
		Check: func(s rule.Subject) []rule.Hit {
			return atChains(&s, judgeOrder)
		},
	}
}

func judgeOrder(_ *tallystick.Sighting, chain servedChain) (string, tallystick.Severity) {
	for i := range chain.extra {
		if !chain.above[i] || issued(&chain.extra[i], chain.leaf) {
			continue
		}
		early := true
		for j := range i {
			early = early && !(chain.above[j] && issued(&chain.extra[i], &chain.extra[j]))
		}
		if early {
			return "sends " + chain.extra[i].Subject + " before what it issued", 0
		}
	}
	return "", 0
}

func overlongChain() rule.Rule {
	return rule.Rule{
		Name:  "overlong-chain",
		Title: "Sends certificates that nobody needs",
		About: "The endpoint sends the root, which clients have or do not believe, or certificates that have nothing to do with its own. " +
			"That costs every handshake bytes; unrelated ones (low) are often the remains of an older chain.",
		Severity:  tallystick.SeverityInfo,
		Citation:  "RFC 8446 section 4.4.2; RFC 5246 section 7.4.2",
		URL:       "https://www.rfc-editor.org/rfc/rfc8446#section-4.4.2",
		Effective: day(2018, time.August, 1),
		Do:        "Remove from the server's chain file what is not between its certificate and the root.",
		Check: func(s rule.Subject) []rule.Hit {
			return atChains(&s, judgeLength)
		},
	}
}

func judgeLength(_ *tallystick.Sighting, chain servedChain) (string, tallystick.Severity) {
	root := ""
	for i := range chain.extra {
		c := &chain.extra[i]
		twice := slices.ContainsFunc(chain.extra[:i], func(other tallystick.Credential) bool { return other.ID == c.ID })
		switch {
		case twice || c.ID == chain.leaf.ID:
			return "sends " + c.Subject + " twice", tallystick.SeverityLow
		case !chain.above[i]:
			return "sends " + c.Subject + ", which is not above its certificate", tallystick.SeverityLow
		case isSelfSigned(c):
			root = c.Subject
		}
	}
	if root == "" {
		return "", 0
	}
	return "sends the root " + root, 0
}

func selfSigned() rule.Rule {
	return rule.Rule{
		Name:  "self-signed",
		Title: "Serves a self-signed certificate",
		About: "An endpoint's certificate vouches for itself: clients either refuse it or were told not to check, and then anybody can stand " +
			"between. It is low on this machine's own addresses. Roots in trust stores are self-signed by nature and not meant.",
		Severity:  tallystick.SeverityMedium,
		Citation:  "NIST SP 800-52 Rev. 2 section 3.2",
		URL:       "https://doi.org/10.6028/NIST.SP.800-52r2",
		Effective: day(2019, time.August, 29),
		Do:        "Have a certificate issued by a CA that the clients trust, if need be one of your own.",
		Check: func(s rule.Subject) []rule.Hit {
			if !isSelfSigned(s.Credential) {
				return nil
			}
			return atPlaces(&s, func(seen *tallystick.Sighting) (string, tallystick.Severity) {
				switch {
				case !isServed(seen):
					return "", 0
				case isLoopback(seen.Place):
					return "serves a certificate that signs itself, as " + subjectOf(s.Credential), tallystick.SeverityLow
				}
				return "serves a certificate that signs itself, as " + subjectOf(s.Credential), 0
			})
		},
	}
}

func caAsLeaf() rule.Rule {
	return rule.Rule{
		Name:  "ca-as-leaf",
		Title: "A CA certificate in the place of a leaf",
		About: "A server shows a certificate that may issue others. Its private key lies on that server, and who takes it can issue " +
			"certificates for any name to all who trust it. It is low for a self-signed one, which only those trust who were told to.",
		Severity:  tallystick.SeverityMedium,
		Citation:  "RFC 5280 section 4.2.1.9; CA/Browser Forum TLS Baseline Requirements section 7.1.2.7.8",
		URL:       "https://www.rfc-editor.org/rfc/rfc5280#section-4.2.1.9",
		Effective: day(2008, time.May, 1),
		Do:        "Issue the server a certificate of its own with CA:FALSE, and move the CA's key off the server.",
		Check: func(s rule.Subject) []rule.Hit {
			if !s.Credential.IsCA || s.Credential.Kind != tallystick.KindCertificate {
				return nil
			}
			severity := tallystick.Severity(0)
			if isSelfSigned(s.Credential) {
				severity = tallystick.SeverityLow
			}
			return atPlaces(&s, func(seen *tallystick.Sighting) (string, tallystick.Severity) {
				if !isServed(seen) && !isConfiguredLeaf(seen) {
					return "", 0
				}
				return "shown as a server's own certificate: " + subjectOf(s.Credential), severity
			})
		},
	}
}

// subjectOf names a certificate for evidence.
func subjectOf(c *tallystick.Credential) string {
	if c.Subject == "" {
		return "one without a subject"
	}
	return c.Subject
}
