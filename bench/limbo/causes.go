// SPDX-License-Identifier: Apache-2.0

package main

import "strings"

// unexplained is the cause of a difference that nobody has looked at yet.
const unexplained = "NOT EXPLAINED"

// causes says why the result for a case may be another than the suite's. The
// first row counts whose result fits and whose prefix starts the case's id.
var causes = []struct {
	accepted bool
	prefixes string // divided by blanks
	cause    string
}{
	{true, "crl::", "accepted: revocation lists are not looked at in a handshake"},
	{true, "pathlen::max-chain-depth", "accepted: crypto/x509 has no limit on the depth of a chain to set"},
	{true, "pathological::nc-dos", "accepted: costly name constraints are worked through, not refused"},
	{true, "webpki::cn::", "accepted: the common name is not looked at, so that it cannot contradict the names"},
	{true, "webpki::forbidden-", "accepted: a weak key is a finding, not a failed handshake"},
	{true, "webpki::san::public-suffix", "accepted: no list of public suffixes is consulted for wildcards"},
	{true, "webpki::ca-as-leaf webpki::ee-basicconstraints-ca rfc5280::leaf-ku-keycertsign",
		"accepted: an authority's certificate at a leaf's place is a finding, not a failed handshake"},
	{true, "webpki::eku:: rfc5280::eku::", "accepted: the usages that the web's rules ask for are not enforced beyond serverAuth"},
	{true, "rfc5280:: webpki::aki:: webpki::san::san-critical",
		"accepted: RFC 5280 binds who issues the certificate; crypto/x509 does not check it for who relies on it"},
	{false, "rfc5280::nc::permitted-dn-match rfc5280::nc::nc-forbids-othername-noop",
		"refused: name constraints of kinds that crypto/x509 does not know are critical"},
	{false, "rfc5280::nc::permitted-self-issued pathlen::self-issued-certs-pathlen",
		"refused: crypto/x509 makes no exception for self-issued certificates"},
	{false, "rfc5280::validity::notafter-fractional", "refused: crypto/x509 compares fractions of a second"},
}

func causeOf(id string, accepted bool) string {
	for _, row := range causes {
		for prefix := range strings.FieldsSeq(row.prefixes) {
			if row.accepted == accepted && strings.HasPrefix(id, prefix) {
				return row.cause
			}
		}
	}
	return unexplained
}
