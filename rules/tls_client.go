// SPDX-License-Identifier: Apache-2.0

package rules

import (
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/rule"
)

func clientRules(list distrustList) []rule.Rule {
	return []rule.Rule{distrustedClientCA(list), unnamedClientCA()}
}

func unnamedClientCA() rule.Rule {
	return rule.Rule{
		Name:  "client-ca-unnamed",
		Title: "Asks for a client certificate and names no issuer",
		About: "The endpoint asks clients for a certificate and does not say of which CA. Clients with several cannot choose, and from " +
			"outside nobody can tell whom it lets in; some servers that are set up so take any certificate at all.",
		Severity:  tallystick.SeverityInfo,
		Citation:  "RFC 8446 section 4.2.4; RFC 5246 section 7.4.4",
		URL:       "https://www.rfc-editor.org/rfc/rfc8446#section-4.2.4",
		Effective: day(2018, time.August, 1),
		Do:        "Look at what the server does with a certificate of another CA, and let it name the CAs that it takes.",
		Check: func(s rule.Subject) []rule.Hit {
			return atEndpoints(&s, func(t *tallystick.TLSFacts) (string, tallystick.Severity) {
				if t.ClientAuth != "requested" || len(t.ClientCAs) > 0 {
					return "", 0
				}
				return "asks for a client certificate and names no issuer", 0
			})
		},
	}
}

func distrustedClientCA(list distrustList) rule.Rule {
	distrusted := list.byCommonName()
	return rule.Rule{
		Name:  "client-ca-distrusted",
		Title: "Lets in clients of a CA that others distrust",
		About: "Among the issuers that the endpoint names for client certificates is one that browser or system vendors distrust; where its " +
			"key is known to be compromised, that is medium: somebody else can make certificates that open this door. Only names are compared.",
		Severity:  tallystick.SeverityInfo,
		Citation:  "RFC 8446 section 4.2.4; RFC 5280 section 6.1.1 (trust anchor information)",
		URL:       "https://www.rfc-editor.org/rfc/rfc8446#section-4.2.4",
		Effective: day(2018, time.August, 1),
		Do:        "Take the CA out of what the server believes about clients; best name a CA of your own alone.",
		Check: func(s rule.Subject) []rule.Hit {
			return atEndpoints(&s, func(t *tallystick.TLSFacts) (string, tallystick.Severity) {
				return judgeClientCAs(distrusted, t.ClientCAs)
			})
		},
	}
}

func judgeClientCAs(distrusted map[string]listing, names []string) (string, tallystick.Severity) {
	evidence, worst := "", tallystick.Severity(0)
	for _, name := range names {
		l, ok := distrusted[commonNameOf(name)]
		if !ok {
			continue
		}
		severity := tallystick.SeverityInfo
		if l.Status == statusCompromised {
			severity = tallystick.SeverityMedium
		}
		if severity > worst {
			evidence, worst = "takes client certificates of "+name+", which is on the list of "+l.Status+" CAs", severity
		}
	}
	return evidence, worst
}

// byCommonName returns the CAs of the list by name, the worst of each, where
// nothing else is known of them. What was only removed from a store is left out.
func (d distrustList) byCommonName() map[string]listing {
	names := map[string]listing{}
	add := func(l listing) {
		known, ok := names[l.certificate.Name]
		if l.Status != statusRemoved && (!ok || known.Status != statusCompromised && l.Status == statusCompromised) {
			names[l.certificate.Name] = l
		}
	}
	for _, fingerprint := range slices.Sorted(maps.Keys(d.fingerprints)) {
		add(d.fingerprints[fingerprint])
	}
	for _, key := range slices.Sorted(maps.Keys(d.keys)) {
		add(d.keys[key])
	}
	return names
}

// commonNameOf returns the common name of a distinguished name (RFC 4514
// section 3), and "" when it has none, or has escapes, which no name of the
// list needs.
func commonNameOf(name string) string {
	if strings.Contains(name, `\`) {
		return ""
	}
	for part := range strings.SplitSeq(name, ",") {
		if value, ok := strings.CutPrefix(strings.TrimSpace(part), "CN="); ok {
			return value
		}
	}
	return ""
}
