// SPDX-License-Identifier: Apache-2.0

package rules

import (
	"math/big"
	"strings"
	"time"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/parse"
	"github.com/tallystick/tallystick/rule"
	"github.com/tallystick/tallystick/rules/weakkey"
)

func weakRules() []rule.Rule {
	return []rule.Rule{closePrimes(), compromisedKey(), roca(), sharedNonce(), sharedPrime(), smallExponent(), weakKey()}
}

// baselineURL is where the CA/Browser Forum keeps its requirements.
const baselineURL = "https://cabforum.org/working-groups/server/baseline-requirements/requirements/"

func roca() rule.Rule {
	return rule.Rule{
		Name:  "roca",
		Title: "A key of the broken Infineon library",
		About: "The modulus has the structure of keys that the Infineon library RSALib made until 2017, in smart cards, TPMs and tokens. The " +
			"private key can be computed from the public one, in less than 100 CPU years for 2048 bits (Nemec et al., CCS 2017). It is high " +
			"above 2048 bits, where it was not shown to be practical.",
		Severity:  tallystick.SeverityCritical,
		Citation:  "CVE-2017-15361; CA/Browser Forum TLS Baseline Requirements section 6.1.1.3",
		URL:       "https://nvd.nist.gov/vuln/detail/CVE-2017-15361",
		Effective: day(2017, time.October, 16),
		Do:        "Update the firmware of the token or TPM, make a new key there or in software, and revoke what carries the old one.",
		Check: func(s rule.Subject) []rule.Hit {
			n, _, ok := examined(&s.Credential.Key)
			if !ok || !weakkey.ROCA(n) {
				return nil
			}
			severity := tallystick.SeverityCritical
			if n.BitLen() > 2048 {
				severity = tallystick.SeverityHigh
			}
			return one(weakSeverity(&s, severity), "the %d-bit modulus has the structure of Infineon's RSALib", n.BitLen())
		},
	}
}

func closePrimes() rule.Rule {
	return rule.Rule{
		Name:  "close-primes",
		Title: "A key made of two neighbouring primes",
		About: "The two primes of the modulus are so close to each other that Fermat's method of 1643 finds them at once. Whoever sees the " +
			"public key can compute the private one.",
		Severity:  tallystick.SeverityCritical,
		Citation:  "CVE-2022-26320; CA/Browser Forum TLS Baseline Requirements section 6.1.1.3",
		URL:       "https://nvd.nist.gov/vuln/detail/CVE-2022-26320",
		Effective: day(2022, time.March, 14),
		Do:        "Find out which program or device made the key, make a new one elsewhere, and revoke what carries the old one.",
		Check: func(s rule.Subject) []rule.Hit {
			n, _, ok := examined(&s.Credential.Key)
			if !ok {
				return nil
			}
			round := weakkey.ClosePrimes(n, weakkey.FermatRounds)
			if round == 0 {
				return nil
			}
			return one(weakSeverity(&s, tallystick.SeverityCritical), "the modulus falls apart in round %d of Fermat's method", round)
		},
	}
}

// examined returns modulus and exponent of an RSA key; ok is false for another
// key, and for a modulus that is too long to be examined or no such number,
// which weak-key reports.
func examined(key *tallystick.Key) (n, e *big.Int, ok bool) {
	if !strings.HasPrefix(key.Algorithm, "rsa-") {
		return nil, nil, false
	}
	n, e, ok = parse.RSAKey(key.SPKI)
	return n, e, ok && n.Sign() > 0 && n.BitLen() <= weakkey.MaxBits
}

// reliedOn says that somebody believes the key, or that nothing is known about
// where it is. A line of authorized_keys is enough.
func reliedOn(s *rule.Subject) bool {
	st := standingOf(s)
	if len(s.Sightings) == 0 || st.served || st.chain || st.used || st.relied || st.store {
		return true
	}
	for i := range s.Sightings {
		if s.Sightings[i].Role == tallystick.RoleAccepts {
			return true
		}
	}
	return false
}

// weakSeverity is how bad it is that a key is weak: less for an entry of a trust
// store, and for what came with a package, that nobody is known to rely on.
func weakSeverity(s *rule.Subject, severity tallystick.Severity) tallystick.Severity {
	st := standingOf(s)
	if reliedOn(s) || !st.packaged && !st.store {
		return severity
	}
	return min(severity, st.idleSeverity())
}
