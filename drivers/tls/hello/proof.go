// SPDX-License-Identifier: Apache-2.0

package hello

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/md5"
	"crypto/rsa"
	"crypto/sha1"
	"crypto/x509"
	"fmt"
	"slices"
	"strings"

	"golang.org/x/crypto/cryptobyte"

	// The hashes that schemes name.
	_ "crypto/sha256"
	_ "crypto/sha512"
)

// A Proof is a signature by which a server shows that it has the private key
// now: it covers this side's random.
type Proof struct {
	Scheme    Scheme // 0 in TLS 1.1 and older, where the key decides
	Signature []byte
	Signed    []byte // what it covers
}

const maxParameters = 8 << 10 // bytes; the largest real ones hold a Diffie-Hellman prime of 8,192 bits twice

// modernProof reads a CertificateVerify (RFC 8446 section 4.4.3).
func (x *exchange) modernProof(body []byte) error {
	s := cryptobyte.String(slices.Clone(body))
	var scheme uint16
	var signature cryptobyte.String
	if x.answer.Chain == nil || !s.ReadUint16(&scheme) || !s.ReadUint16LengthPrefixed(&signature) || !s.Empty() {
		return ErrMalformed
	}
	signed := []byte(strings.Repeat(" ", 64) + "TLS 1.3, server CertificateVerify\x00")
	x.answer.Proof = &Proof{Scheme: Scheme(scheme), Signature: signature, Signed: x.transcript.Sum(signed)}
	return nil
}

// keyExchange reads a ServerKeyExchange: its group, and its signature where the
// suite has one (RFC 5246 section 7.4.3; RFC 8422 section 5.4). The forms of
// PSK, SRP and others say nothing that an inventory wants.
func (x *exchange) keyExchange(h serverHello, body []byte) error {
	s := cryptobyte.String(body)
	switch exchange, _, _ := strings.Cut(x.answer.Suite.String(), "_WITH_"); exchange {
	case "TLS_ECDHE_RSA", "TLS_ECDHE_ECDSA", "TLS_ECDH_anon":
		var kind uint8
		var group uint16
		var point cryptobyte.String
		if !s.ReadUint8(&kind) {
			return ErrMalformed
		}
		if kind != 3 {
			return nil // a curve of the server's own making
		}
		if !s.ReadUint16(&group) || !s.ReadUint8LengthPrefixed(&point) {
			return ErrMalformed
		}
		x.answer.Group = Group(group)
	case "TLS_DHE_RSA", "TLS_DHE_DSS", "TLS_DH_anon", "TLS_DHE_RSA_EXPORT", "TLS_DHE_DSS_EXPORT", "TLS_DHE_DSS_EXPORT1024":
		var prime, generator, public cryptobyte.String
		if !s.ReadUint16LengthPrefixed(&prime) || !s.ReadUint16LengthPrefixed(&generator) || !s.ReadUint16LengthPrefixed(&public) {
			return ErrMalformed
		}
	default:
		return nil
	}
	parameters := body[:len(body)-len(s)]
	if s.Empty() {
		return nil // anonymous
	}
	if len(parameters) > maxParameters {
		return ErrTooLarge
	}
	p := &Proof{Signed: slices.Concat(x.part.random, h.random, parameters)}
	var signature cryptobyte.String
	if x.answer.Version == TLS12 && !s.ReadUint16((*uint16)(&p.Scheme)) || !s.ReadUint16LengthPrefixed(&signature) {
		return ErrMalformed
	}
	p.Signature = signature
	x.answer.Proof = p
	return nil
}

// Check says whether the private half of spki, a DER SubjectPublicKeyInfo,
// made the signature. Its error is ErrUnproven, also for kinds of keys and
// schemes that cannot be checked here.
func (p *Proof) Check(spki []byte) error {
	if p == nil {
		return fmt.Errorf("%w: it did not sign", ErrUnproven)
	}
	public, err := x509.ParsePKIXPublicKey(spki)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrUnproven, err)
	}
	ok := false
	switch key := public.(type) {
	case *rsa.PublicKey:
		ok = p.byRSA(key)
	case *ecdsa.PublicKey:
		ok = p.byECDSA(key)
	case ed25519.PublicKey:
		ok = p.Scheme == 0x0807 && ed25519.Verify(key, p.Signed, p.Signature)
	}
	if !ok {
		return fmt.Errorf("%w: scheme %v does not fit its key or the signature is wrong", ErrUnproven, p.Scheme)
	}
	return nil
}

func (p *Proof) byRSA(key *rsa.PublicKey) bool {
	if p.Scheme == 0 { // RFC 4346 section 7.4.3: MD5 and SHA-1, one after the other
		old, newer := md5.Sum(p.Signed), sha1.Sum(p.Signed)
		return rsa.VerifyPKCS1v15(key, crypto.MD5SHA1, append(old[:], newer[:]...), p.Signature) == nil
	}
	if hash, ok := pssHashes[p.Scheme]; ok {
		options := &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash}
		return rsa.VerifyPSS(key, hash, digest(hash, p.Signed), p.Signature, options) == nil
	}
	hash, ok := hashes[p.Scheme>>8]
	return ok && p.Scheme&0xff == 1 && rsa.VerifyPKCS1v15(key, hash, digest(hash, p.Signed), p.Signature) == nil
}

func (p *Proof) byECDSA(key *ecdsa.PublicKey) bool {
	scheme := p.Scheme
	if scheme == 0 {
		scheme = 0x0203
	}
	hash, ok := hashes[scheme>>8]
	return ok && scheme&0xff == 3 && ecdsa.VerifyASN1(key, digest(hash, p.Signed), p.Signature)
}

func digest(h crypto.Hash, data []byte) []byte {
	d := h.New()
	d.Write(data)
	return d.Sum(nil)
}

// hashes are the HashAlgorithm numbers of RFC 5246 section 7.4.1.4.1, which
// are the upper half of a scheme.
var hashes = map[Scheme]crypto.Hash{
	1: crypto.MD5, 2: crypto.SHA1, 3: crypto.SHA224, 4: crypto.SHA256, 5: crypto.SHA384, 6: crypto.SHA512,
}

var pssHashes = map[Scheme]crypto.Hash{
	0x0804: crypto.SHA256, 0x0805: crypto.SHA384, 0x0806: crypto.SHA512,
	0x0809: crypto.SHA256, 0x080a: crypto.SHA384, 0x080b: crypto.SHA512,
}
