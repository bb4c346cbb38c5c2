// SPDX-License-Identifier: Apache-2.0

package rules

import (
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/rule"
)

func weakGroup() rule.Rule {
	return rule.Rule{
		Name:  "weak-group",
		Title: "Accepts a key exchange in a group that is too small",
		About: "The endpoint agrees on keys in a finite field below 2048 bits or on an elliptic curve below 224. Of a field of 1024 bits the " +
			"long part of the attack is done once for everybody (Logjam, CVE-2015-4000); a smaller one is high.",
		Severity:  tallystick.SeverityMedium,
		Citation:  "RFC 9325 section 4.5 (BCP 195); NIST SP 800-131A Rev. 2 section 5",
		URL:       "https://www.rfc-editor.org/rfc/rfc9325#section-4.5",
		Effective: day(2022, time.November, 1),
		Do:        "Leave X25519, P-256 and a hybrid group in the server's list of groups; remove the suites that begin with TLS_DHE_, or give the server parameters of 2048 bits.",
		Check: func(s rule.Subject) []rule.Hit {
			return atEndpoints(&s, judgeGroups)
		},
	}
}

func judgeGroups(t *tallystick.TLSFacts) (string, tallystick.Severity) {
	var weak []string
	worst := tallystick.Severity(0)
	for _, group := range groupsOf(t) {
		if severity := groupSeverity(group); severity != 0 {
			weak = append(weak, group)
			worst = max(worst, severity)
		}
	}
	if weak == nil {
		return "", 0
	}
	return "accepts " + list(weak), worst
}

// groupsOf returns what is known of the groups of an endpoint, sorted.
func groupsOf(t *tallystick.TLSFacts) []string {
	groups := slices.Clone(t.Groups)
	if t.Group != "" {
		groups = append(groups, t.Group)
	}
	slices.Sort(groups)
	return slices.Compact(groups)
}

// smallCurves are the groups of RFC 8422 section 5.1.1 below 224 bits, by name
// without the letter and number of the variant.
var smallCurves = [...]string{"sect163", "sect193", "secp160", "secp192"}

// groupSeverity weighs a group by its IANA name, or by "dh1024" for a field
// that has no name; zero is sound, or unknown.
func groupSeverity(group string) tallystick.Severity {
	for _, curve := range smallCurves {
		if strings.HasPrefix(group, curve) {
			return tallystick.SeverityMedium
		}
	}
	size, ok := strings.CutPrefix(group, "dh")
	bits, err := strconv.Atoi(size)
	switch {
	case !ok || err != nil || bits >= 2048:
		return 0
	case bits < 1024:
		return tallystick.SeverityHigh
	}
	return tallystick.SeverityMedium
}

func noPostQuantum() rule.Rule {
	return rule.Rule{
		Name:  "no-post-quantum",
		Title: "No key exchange that stands against a quantum computer",
		About: "The endpoint accepts only key exchanges that a large quantum computer could undo: what is recorded today can be read then. It " +
			"becomes low in 2031 and medium in 2036, from when NIST means to deprecate and to disallow them; CNSA 2.0 wants web servers to have moved by 2033.",
		Severity:  tallystick.SeverityInfo,
		Citation:  "NIST IR 8547 (initial public draft) section 4; NSA, CNSA 2.0",
		URL:       "https://doi.org/10.6028/NIST.IR.8547.ipd",
		Effective: day(2024, time.November, 12),
		Do: "Enable X25519MLKEM768 (OpenSSL from 3.5, Go from 1.24, nginx and others with these) or, for SSH, mlkem768x25519-sha256 " +
			"or sntrup761x25519-sha512; begin where what is sent must stay secret for ten years.",
		Check: func(s rule.Subject) []rule.Hit {
			return atPlaces(&s, func(seen *tallystick.Sighting) (string, tallystick.Severity) {
				if !quantumWeak(seen) {
					return "", 0
				}
				return "takes no hybrid key exchange", quantumSeverity(s.Now)
			})
		},
	}
}

// quantumDates are since when the lack of a hybrid group weighs how much:
// deprecated after 2030, disallowed after 2035 (NIST IR 8547 section 4).
var quantumDates = [...]struct {
	from     time.Time
	severity tallystick.Severity
}{
	{day(2031, time.January, 1), tallystick.SeverityLow},
	{day(2036, time.January, 1), tallystick.SeverityMedium},
}

func quantumSeverity(now time.Time) tallystick.Severity {
	severity := tallystick.SeverityInfo
	for _, step := range quantumDates {
		if !now.Before(step.from) {
			severity = step.severity
		}
	}
	return severity
}

// quantumWeak says that an endpoint was asked for hybrid key exchanges, and
// takes none.
func quantumWeak(seen *tallystick.Sighting) bool {
	var known []string
	switch {
	case isServed(seen) && (seen.TLS.Depth == tallystick.DepthVersions || seen.TLS.Depth == tallystick.DepthSuites):
		known = seen.TLS.Groups
	case isHostKey(seen) && speaksForServer(seen.SSH):
		known = exchangesOf(seen.SSH)
	}
	return len(known) > 0 && !slices.ContainsFunc(known, isHybrid)
}

// isHybrid says whether a group of TLS or a key exchange of SSH has a part that
// stands against a quantum computer. Kyber is the draft of ML-KEM.
func isHybrid(name string) bool {
	name = strings.ToLower(name)
	return strings.Contains(name, "mlkem") || strings.Contains(name, "kyber") || strings.Contains(name, "sntrup")
}
