// SPDX-License-Identifier: Apache-2.0

package parse

import (
	"bytes"
	"crypto/x509"
	"encoding/hex"
	"strings"

	"github.com/tallystick/tallystick"
)

// Certificate reads an X.509 certificate (RFC 5280 section 4.1).
//
// Two readers look at it. crypto/x509 judges: what it refuses is said in
// ReadError. The fields come from a reader of this package that takes what it
// can get, so that the odd certificates, which are the interesting ones, are
// never lost, and so that a field does not depend on who read it.
//
// The error is for bytes that do not have the members of a certificate, have
// more than those, end early, or have a private key in them: Raw never holds
// what is not public. What follows a certificate is passed over.
func Certificate(der []byte) (tallystick.Credential, error) {
	c, _, err := CertificateBoth(der)
	return c, err
}

// CertificateBoth is Certificate and returns also what crypto/x509 reads, for
// whoever has to verify; nil when that refuses.
func CertificateBoth(der []byte) (tallystick.Credential, *x509.Certificate, error) {
	c, err := tolerant(der)
	if err != nil {
		return c, nil, err
	}
	strict, err := x509.ParseCertificate(der)
	if err != nil {
		c.ReadError = printable(strings.TrimPrefix(err.Error(), "x509: "))
		return c, nil, nil
	}
	return c, strict, nil
}

// tolerant reads the fields of a certificate as far as they go. Raw is the
// certificate without what follows it.
func tolerant(der []byte) (tallystick.Credential, error) {
	raw, parts, fields, err := certificateParts(der)
	if err != nil {
		return tallystick.Credential{}, err
	}
	c := tallystick.Credential{ID: tallystick.FingerprintOf(raw), Kind: tallystick.KindCertificate, Raw: raw}
	readTBS(&c, fields)
	c.Signature = signatureWord(parts[1].body)
	return c, nil
}

// readTBS reads the fields of a TBSCertificate: six by position, then optional
// tagged ones.
func readTBS(c *tallystick.Credential, fields []element) {
	c.Serial = serial(fields[0])
	c.Issuer = distinguishedName(fields[2].body)
	c.NotBefore, c.NotAfter = validity(fields[3].body)
	c.Subject = distinguishedName(fields[4].body)
	c.Key, _ = Key(fields[5].raw)
	c.SelfIssued = bytes.Equal(fields[2].raw, fields[4].raw)
	for _, e := range fields[6:] {
		if e.tag == tagContext+3 {
			readExtensions(c, e.body)
		}
	}
}

// serial writes an INTEGER in hexadecimal without leading zeros.
func serial(e element) string {
	if e.tag != tagInteger || len(e.body) == 0 {
		return ""
	}
	n := signedInt(e.body)
	sign := ""
	if n.Sign() < 0 {
		sign = "-"
	}
	digits := strings.TrimLeft(hex.EncodeToString(n.Bytes()), "0")
	if digits == "" {
		digits = "0"
	}
	return sign + digits
}

// signatureWord names the algorithm of the inside of an AlgorithmIdentifier:
// by its word, by its dotted object identifier when it has no word here, and
// "" when it cannot be read.
func signatureWord(body []byte) string {
	oid, params := algorithmID(body)
	if oid == oidPSS {
		return "rsa-pss-" + pssDigest(params)
	}
	if word, ok := signatureWords[oid]; ok {
		return word
	}
	if word, ok := keyWords[oid]; ok { // Ed25519, ML-DSA: one identifier for key and signature
		return word.name
	}
	return oid
}

// pssDigest reads the digest of RSASSA-PSS-params; without one it is SHA-1
// (RFC 4055 section 3.1).
func pssDigest(params element) string {
	for _, field := range children(params.body, 4) {
		if field.tag != tagContext {
			continue
		}
		algorithm, _, _ := expect(field.body, tagSequence)
		oid, _ := algorithmID(algorithm)
		if word, ok := digestWords[oid]; ok {
			return word
		}
		return "unknown"
	}
	return "sha1"
}
