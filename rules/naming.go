// SPDX-License-Identifier: Apache-2.0

package rules

import (
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/rule"
)

func namingRules() []rule.Rule { return []rule.Rule{nameMismatch(), noOwner()} }

func nameMismatch() rule.Rule {
	return rule.Rule{
		Name:  "name-mismatch",
		Title: "Serves a certificate for another name",
		About: "The endpoint was asked for a name that its certificate does not carry, so every client that checks refuses it. An endpoint " +
			"that was reached by its address is only judged when the certificate names addresses, and never on this machine's own.",
		Severity:  tallystick.SeverityMedium,
		Citation:  "RFC 9525 section 6",
		URL:       "https://www.rfc-editor.org/rfc/rfc9525#section-6",
		Effective: day(2023, time.November, 1),
		Do:        "Serve a certificate whose subject alternative names cover the name, or correct the name that clients use.",
		Check: func(s rule.Subject) []rule.Hit {
			return atPlaces(&s, func(seen *tallystick.Sighting) (string, tallystick.Severity) {
				if !isServed(seen) || s.Credential.Kind != tallystick.KindCertificate {
					return "", 0
				}
				return judgeName(seen.TLS.ServerName, s.Credential.Names)
			})
		},
	}
}

// judgeName looks for server, a DNS name or an address, among the names of a
// certificate.
func judgeName(server string, names []string) (string, tallystick.Severity) {
	severity := tallystick.Severity(0)
	if addr, err := netip.ParseAddr(strings.Trim(server, "[]")); err == nil {
		// Scans go by address and clients by name: that a certificate names no
		// addresses says nothing about it.
		if addr.IsLoopback() || !slices.ContainsFunc(names, isAddress) || slices.ContainsFunc(names, sameAddress(addr)) {
			return "", 0
		}
		severity = tallystick.SeverityInfo
	} else {
		if server == "" || slices.ContainsFunc(names, func(name string) bool { return covers(name, server) }) {
			return "", 0
		}
		if canonical(server) == "localhost" {
			severity = tallystick.SeverityInfo
		}
	}
	if len(names) == 0 {
		return "asked for " + server + "; the certificate carries no names", severity
	}
	return "asked for " + server + "; the certificate is for " + list(names), severity
}

func isAddress(name string) bool {
	_, err := netip.ParseAddr(name)
	return err == nil
}

func sameAddress(addr netip.Addr) func(string) bool {
	return func(name string) bool {
		other, err := netip.ParseAddr(name)
		return err == nil && other.Unmap() == addr.Unmap()
	}
}

// covers says whether a DNS name of a certificate speaks for server. A wildcard
// is the whole leftmost label and stands for exactly one (RFC 9525 section 6.3).
func covers(name, server string) bool {
	name, server = canonical(name), canonical(server)
	if name == server {
		return true
	}
	parent, ok := strings.CutPrefix(name, "*.")
	if !ok || !strings.Contains(parent, ".") {
		return false
	}
	label, rest, _ := strings.Cut(server, ".")
	return label != "" && rest == parent
}

func canonical(name string) string { return strings.ToLower(strings.TrimSuffix(name, ".")) }

func noOwner() rule.Rule {
	return rule.Rule{
		Name:  "no-owner",
		Title: "Nobody owns it",
		About: "A certificate that is served, configured or held here has no owner on record, so nobody is told when it is about to end, " +
			"and nobody can be asked when it has to be replaced.",
		Severity:  tallystick.SeverityInfo,
		Citation:  "NIST SP 1800-16B section 5.1.2",
		URL:       "https://doi.org/10.6028/NIST.SP.1800-16",
		Effective: day(2020, time.June, 16),
		Do:        "Name an owner, by hand or by a rule in the configuration.",
		Check:     checkNoOwner,
	}
}

func checkNoOwner(s rule.Subject) []rule.Hit {
	c := s.Credential
	if c.Kind != tallystick.KindCertificate || s.Annotation.Owner != "" {
		return nil
	}
	at := standingOf(&s)
	if at.served || !c.IsCA && (at.used || at.held && !at.sample()) {
		return one(0, "no owner is on record")
	}
	return nil
}
