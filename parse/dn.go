// SPDX-License-Identifier: Apache-2.0

package parse

// Name writes a DER Name (RFC 5280 section 4.1.2.4) as the subjects and issuers
// of credentials are written, so that a name which stands alone, such as in
// a TLS CertificateRequest, can be compared with theirs. ok is false when der
// is no SEQUENCE of its whole length.
func Name(der []byte) (text string, ok bool) {
	for e := range elements(der) {
		if e.tag != tagSequence || len(e.raw) != len(der) {
			return "", false
		}
		return distinguishedName(e.body), true
	}
	return "", false
}
