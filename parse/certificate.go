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
// never lost, and so that a field does not depend on who read it. The error is
// for bytes that are no certificate at all.
func Certificate(der []byte) (tallystick.Credential, error) {
	c, err := tolerant(der)
	if err != nil {
		return c, err
	}
	if _, err := x509.ParseCertificate(der); err != nil {
		c.ReadError = printable(strings.TrimPrefix(err.Error(), "x509: "))
	}
	return c, nil
}

// FromX509 is Certificate for one that crypto/x509 has read already, as those
// of a TLS handshake are.
func FromX509(cert *x509.Certificate) tallystick.Credential {
	c, err := tolerant(cert.Raw)
	if err != nil { // only a Certificate that nobody parsed has no Raw
		c = tallystick.Credential{ID: tallystick.FingerprintOf(cert.Raw), Kind: tallystick.KindCertificate, Raw: cert.Raw}
	}
	return c
}

// tolerant reads the fields of a certificate as far as they go. Raw is the
// certificate without what follows it.
func tolerant(der []byte) (tallystick.Credential, error) {
	body, raw, ok := outer(der)
	if !ok {
		return tallystick.Credential{}, errNoCertificate
	}
	c := tallystick.Credential{ID: tallystick.FingerprintOf(raw), Kind: tallystick.KindCertificate, Raw: raw}
	c.Key.Algorithm = "unknown"
	parts := children(body, 3)
	if len(parts) == 0 { // the certificate ends within its first part
		readTBS(&c, afterHeader(body))
		return c, nil
	}
	readTBS(&c, parts[0].body)
	if len(parts) > 1 && parts[1].tag == tagSequence {
		c.Signature = signatureWord(parts[1].body)
	}
	return c, nil
}

// outer opens the SEQUENCE around a certificate and sees that another one
// follows. A length beyond the end of the input is taken as the end.
func outer(der []byte) (body, raw []byte, ok bool) {
	e, _, ok := next(der)
	if ok {
		body, raw = e.body, e.raw
	} else {
		body, raw = afterHeader(der), der
	}
	ok = len(der) > 0 && der[0] == tagSequence && len(body) > 1 && body[0] == tagSequence
	return body, raw, ok
}

// afterHeader returns what follows the first tag and length.
func afterHeader(b []byte) []byte {
	if _, start, ok := length(b, 1); ok {
		return b[start:]
	}
	return nil
}

// readTBS reads a TBSCertificate: an optional [0] version, then seven fields
// by position, then optional tagged ones.
func readTBS(c *tallystick.Credential, body []byte) {
	fields := children(body, 12)
	if len(fields) > 0 && fields[0].tag == tagContext {
		fields = fields[1:]
	}
	readers := [...]func(element){
		func(e element) { c.Serial = serial(e) },
		func(e element) { c.Signature = signatureWord(e.body) },
		func(e element) { c.Issuer = distinguishedName(e.body) },
		func(e element) { c.NotBefore, c.NotAfter = validity(e.body) },
		func(e element) { c.Subject = distinguishedName(e.body) },
		func(e element) { c.Key, _ = Key(e.raw) },
	}
	for i, read := range readers {
		if i >= len(fields) {
			return
		}
		read(fields[i])
	}
	c.SelfIssued = bytes.Equal(fields[2].raw, fields[4].raw)
	for _, e := range fields[len(readers):] {
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
