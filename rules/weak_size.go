// SPDX-License-Identifier: Apache-2.0

package rules

import (
	"fmt"
	"math/big"
	"strings"
	"time"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/parse"
	"github.com/tallystick/tallystick/rule"
	"github.com/tallystick/tallystick/rules/weakkey"
)

func weakKey() rule.Rule {
	return rule.Rule{
		Name:  "weak-key",
		Title: "A key that is too short, or no sound key at all",
		About: "RSA below 2048 bits, DSA at all, and elliptic curves below 224 bits or of nobody's standard: less than 112 bits of strength, " +
			"or a scheme that is withdrawn. RSA below 1024 bits, elliptic curves below 160 and a modulus with a small factor are critical, because " +
			"the private key can be computed.",
		Severity:  tallystick.SeverityHigh,
		Citation:  "NIST SP 800-131A Rev. 2 section 3; CA/Browser Forum TLS Baseline Requirements sections 6.1.5 and 6.1.6",
		URL:       "https://doi.org/10.6028/NIST.SP.800-131Ar2",
		Effective: day(2014, time.January, 1),
		Do:        "Make a new key (Ed25519 for SSH; ECDSA P-256 or RSA of at least 2048 bits for certificates) and replace what carries the old one.",
		Check: func(s rule.Subject) []rule.Hit {
			evidence, severity := weakness(&s)
			if evidence == "" {
				return nil
			}
			return one(weakSeverity(&s, severity), "%s", evidence)
		},
	}
}

// weakness says what is wrong with the size of a key, and "" when nothing is.
func weakness(s *rule.Subject) (string, tallystick.Severity) {
	key := &s.Credential.Key
	family, _, _ := strings.Cut(key.Algorithm, "-")
	switch family {
	case "rsa":
		return weakRSA(key)
	case "dsa":
		return weakDSA(s)
	case "ecdsa":
		return weakCurve(key)
	}
	return "", 0
}

func weakRSA(key *tallystick.Key) (string, tallystick.Severity) {
	n, _, ok := parse.RSAKey(key.SPKI)
	if !ok {
		return "", 0
	}
	bits := n.BitLen()
	factor := weakkey.SmallFactor(n)
	switch {
	case n.Sign() <= 0:
		return "the RSA modulus is not a positive number", tallystick.SeverityCritical
	case bits < 1024:
		return fmt.Sprintf("RSA of %d bits", bits), tallystick.SeverityCritical
	case factor > 0:
		return fmt.Sprintf("the RSA modulus is divisible by %d", factor), tallystick.SeverityCritical
	case bits < 2048:
		return fmt.Sprintf("RSA of %d bits", bits), tallystick.SeverityHigh
	case bits > weakkey.MaxBits:
		return fmt.Sprintf("RSA of %d bits, which most programs refuse and which was not examined further", bits), tallystick.SeverityMedium
	}
	return "", 0
}

// weakDSA judges DSA: FIPS 186-5 withdrew it, and OpenSSH, which knew 1024 bits
// only, has turned it off since 7.0 and dropped it in 10.0.
func weakDSA(s *rule.Subject) (string, tallystick.Severity) {
	bits := s.Credential.Key.Bits
	switch {
	case bits == 0:
		return "DSA of unknown size", tallystick.SeverityMedium
	case bits < 1024:
		return fmt.Sprintf("DSA of %d bits", bits), tallystick.SeverityCritical
	case bits < 2048 || isSSH(s):
		return fmt.Sprintf("DSA of %d bits", bits), tallystick.SeverityHigh
	}
	return fmt.Sprintf("DSA of %d bits; no new signatures are to be made with DSA", bits), tallystick.SeverityMedium
}

// isSSH says whether a key is used with SSH.
func isSSH(s *rule.Subject) bool {
	if s.Credential.Kind == tallystick.KindSSHCertificate {
		return true
	}
	for i := range s.Sightings {
		if seen := &s.Sightings[i]; seen.SSH != nil || seen.File != nil && seen.File.Format == "openssh" {
			return true
		}
	}
	return false
}

func weakCurve(key *tallystick.Key) (string, tallystick.Severity) {
	name := strings.TrimPrefix(key.Algorithm, "ecdsa-")
	switch {
	case name == "explicit":
		return "the curve is written out instead of named, so that anybody could have chosen it", tallystick.SeverityHigh
	case key.Bits == 0:
		return "the curve is not one that is known", tallystick.SeverityMedium
	case key.Bits < 160:
		return fmt.Sprintf("an elliptic curve of %d bits, %s", key.Bits, name), tallystick.SeverityCritical
	case key.Bits < 224:
		return fmt.Sprintf("an elliptic curve of %d bits, %s", key.Bits, name), tallystick.SeverityHigh
	}
	return "", 0
}

func smallExponent() rule.Rule {
	return rule.Rule{
		Name:  "small-exponent",
		Title: "An RSA key with a small or impossible exponent",
		About: "A public exponent below 65537 makes mistakes in padding fatal: forged signatures of e=3 keys were accepted time and again. It is " +
			"critical for an exponent that is 1 or even, which is no RSA at all. Roots that are only believed are not judged for a small one.",
		Severity:  tallystick.SeverityLow,
		Citation:  "FIPS 186-5 appendix A.1.1; CA/Browser Forum TLS Baseline Requirements section 6.1.6; CVE-2006-4339",
		URL:       "https://doi.org/10.6028/NIST.FIPS.186-5",
		Effective: day(2023, time.February, 3),
		Do:        "Make a new key with the exponent 65537, which every program uses unless told otherwise.",
		Check:     checkExponent,
	}
}

func checkExponent(s rule.Subject) []rule.Hit {
	n, e, ok := examined(&s.Credential.Key)
	switch {
	case !ok:
		return nil
	case e.Cmp(big.NewInt(1)) <= 0 || e.Bit(0) == 0:
		return one(weakSeverity(&s, tallystick.SeverityCritical), "the public exponent is %s: the key protects nothing", shortNumber(e))
	case e.Cmp(n) >= 0:
		return one(weakSeverity(&s, tallystick.SeverityMedium), "the public exponent is larger than the modulus")
	case e.Cmp(big.NewInt(65537)) >= 0 || isAnchor(&s):
		return nil
	}
	return one(weakSeverity(&s, tallystick.SeverityLow), "the public exponent is %s", shortNumber(e))
}

// shortNumber prints a number that may be long.
func shortNumber(x *big.Int) string {
	if x.BitLen() > 64 {
		return fmt.Sprintf("a number of %d bits", x.BitLen())
	}
	return x.String()
}
