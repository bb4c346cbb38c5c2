// SPDX-License-Identifier: Apache-2.0

package policy

// ProvenOrOperator is the name of the built-in rule that refuses what nobody has
// proven, nor granted.
const ProvenOrOperator = "proven-or-operator"

// BuiltIn returns the rules that hold unless the policy has one of the same name. They
// are asked after all others, in this order.
func BuiltIn() []Rule {
	return []Rule{
		{
			Name:     "names-well-formed",
			Require:  "names.size() > 0 && dns.all(n, hostname(n))",
			Because:  "a certificate names something, and DNS names are made of letters, digits and hyphens, with one whole * in front at most",
			Citation: "RFC 5280 section 4.2.1.6; RFC 1034 section 3.5; RFC 9525 section 6.3",
		},
		{
			Name:     "names-at-most",
			Require:  "names.size() <= 100",
			Because:  "a certificate that is for very many names is lost for all of them at once",
			Citation: "none: it is ours, and what public CAs allow",
		},
		{
			Name:     "keys-strong",
			Require:  "key.type in ['ecdsa-p256', 'ecdsa-p384', 'ecdsa-p521', 'ed25519'] || key.kind == 'rsa' && key.bits >= 2048",
			Because:  "keys have 112 bits of strength or more",
			Citation: "NIST SP 800-57 part 1 rev. 5 section 5.6.1; NIST SP 800-131A rev. 2 section 3; NIST SP 800-186",
		},
		{
			Name:     "lifetime-at-most",
			Require:  "lifetime > duration('0s') && lifetime <= duration('9600h')",
			Because:  "certificates live for 400 days at most, and most of them should live for days",
			Citation: "none: the steps of CA/Browser Forum ballot SC-081v3 (200 days, 100 from 2027-03-15, 47 from 2029-03-15) bind public CAs alone",
		},
		{
			Name:     ProvenOrOperator,
			Require:  "proven || granted || role in ['operator', 'admin']",
			Because:  "control of the names was not proven, and no rule grants them to whoever asks",
			Citation: "CA/Browser Forum TLS Baseline Requirements section 3.2.2.4, in its spirit",
		},
	}
}
