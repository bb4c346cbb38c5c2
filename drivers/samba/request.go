// SPDX-License-Identifier: Apache-2.0

package samba

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/x509"
	"encoding/asn1"
	"math/big"
	"time"

	"golang.org/x/crypto/cryptobyte"
	cbasn1 "golang.org/x/crypto/cryptobyte/asn1"

	"github.com/tallystick/tallystick/driver"
)

// group14 is the prime of RFC 3526 section 3, 2048 bits; its generator is 2.
const group14 = "FFFFFFFFFFFFFFFFC90FDAA22168C234C4C6628B80DC1CD129024E088A67CC74020BBEA63B139B22514A08798E3404DD" +
	"EF9519B3CD3A431B302B0A6DF25F14374FE1356D6D51C245E485B576625E7EC6F44C42E9A637ED6B0BFF5CB6F406B7ED" +
	"EE386BFB5A899FA5AE9F24117C4B1FE649286651ECE45B3DC2007CB8A163BF0598DA48361C55D39A69163FA8FD24CF5F" +
	"83655D23DCA3AD961C62F356208552BB9ED529077096966D670C354E4ABC9804F1746C08CA18217C32905E462E36CE3B" +
	"E39E772C180E86039B2783A2EC07A28FB5C55DF06F4C52C9DE2BCBF6955817183995497CEA956AE515D2261898FA0510" +
	"15728E5A8AACAA68FFFFFFFFFFFFFFFF"

type build = func(*cryptobyte.Builder)

// context1 is the tag of an explicit field.
func context1(n int) cbasn1.Tag { return cbasn1.Tag(n).ContextSpecific().Constructed() }

// field writes an explicit field.
func field(b *cryptobyte.Builder, n int, content build) { b.AddASN1(context1(n), content) }

func number(n int64) build { return func(b *cryptobyte.Builder) { b.AddASN1Int64(n) } }

func octets(bytes []byte) build { return func(b *cryptobyte.Builder) { b.AddASN1OctetString(bytes) } }

func sequence(content build) build {
	return func(b *cryptobyte.Builder) { b.AddASN1(cbasn1.SEQUENCE, content) }
}

func set(content build) build {
	return func(b *cryptobyte.Builder) { b.AddASN1(cbasn1.SET, content) }
}

func oid(b *cryptobyte.Builder, parts ...int) { b.AddASN1ObjectIdentifier(parts) }

// algorithm writes an AlgorithmIdentifier whose parameters are NULL.
func algorithm(parts ...int) build {
	return sequence(func(b *cryptobyte.Builder) {
		oid(b, parts...)
		b.AddASN1NULL()
	})
}

// written returns what a builder writes.
func written(content build) ([]byte, error) {
	var b cryptobyte.Builder
	content(&b)
	return b.Bytes()
}

// generalString writes a KerberosString.
func generalString(text string) build {
	return func(b *cryptobyte.Builder) {
		b.AddASN1(cbasn1.GeneralString, func(b *cryptobyte.Builder) { b.AddBytes([]byte(text)) })
	}
}

func kerberosTime(at time.Time) build {
	return func(b *cryptobyte.Builder) { b.AddASN1GeneralizedTime(at.UTC().Truncate(time.Second)) }
}

// principalName writes a PrincipalName (RFC 4120 section 5.2.2).
func principalName(kind int64, parts ...string) build {
	return sequence(func(b *cryptobyte.Builder) {
		field(b, 0, number(kind))
		field(b, 1, sequence(func(b *cryptobyte.Builder) {
			for _, part := range parts {
				generalString(part)(b)
			}
		}))
	})
}

// newRequest makes an AS-REQ (RFC 4120 section 5.4.1) that is signed with the key of a
// certificate (RFC 4556 section 3.2.1).
func newRequest(m driver.Material, leaf *x509.Certificate, user, realm string, now time.Time) ([]byte, error) {
	chance, err := nonce()
	if err != nil {
		return nil, err
	}
	body, err := written(requestBody(user, realm, chance, now))
	if err != nil {
		return nil, err
	}
	pack, err := authPack(body, chance, now)
	if err != nil {
		return nil, err
	}
	signed, err := sign(m, leaf, pack)
	if err != nil {
		return nil, err
	}
	return written(func(b *cryptobyte.Builder) {
		b.AddASN1(cbasn1.Tag(0x6a), sequence(func(b *cryptobyte.Builder) { // APPLICATION 10
			field(b, 1, number(5))
			field(b, 2, number(10))
			field(b, 3, sequence(sequence(func(b *cryptobyte.Builder) {
				field(b, 1, number(16)) // PA-PK-AS-REQ
				field(b, 2, func(b *cryptobyte.Builder) {
					b.AddASN1(cbasn1.OCTET_STRING, sequence(func(b *cryptobyte.Builder) {
						b.AddASN1(cbasn1.Tag(0).ContextSpecific(), func(b *cryptobyte.Builder) { b.AddBytes(signed) })
					}))
				})
			})))
			field(b, 4, func(b *cryptobyte.Builder) { b.AddBytes(body) })
		}))
	})
}

// requestBody writes a KDC-REQ-BODY for a ticket-granting ticket of a minute.
func requestBody(user, realm string, chance int64, now time.Time) build {
	return sequence(func(b *cryptobyte.Builder) {
		field(b, 0, func(b *cryptobyte.Builder) { b.AddASN1BitString(make([]byte, 4)) })
		field(b, 1, principalName(1, user))
		field(b, 2, generalString(realm))
		field(b, 3, principalName(2, "krbtgt", realm))
		field(b, 5, kerberosTime(now.Add(time.Minute)))
		field(b, 7, number(chance))
		field(b, 8, sequence(func(b *cryptobyte.Builder) { // AES with 256 and 128 bits
			b.AddASN1Int64(18)
			b.AddASN1Int64(17)
		}))
	})
}

// authPack binds a request to its time, and offers a key of Diffie and Hellman so that
// the KDC can answer whatever the kind of the certificate's key.
func authPack(body []byte, chance int64, now time.Time) ([]byte, error) {
	p, _ := new(big.Int).SetString(group14, 16)
	q := new(big.Int).Rsh(p, 1)
	x, err := rand.Int(rand.Reader, q)
	if err != nil {
		return nil, err
	}
	public, err := written(func(b *cryptobyte.Builder) { b.AddASN1BigInt(new(big.Int).Exp(big.NewInt(2), x, p)) })
	if err != nil {
		return nil, err
	}
	sum := sha1.Sum(body) // RFC 4556 section 3.2.1 says which; the signature is by another
	return written(sequence(func(b *cryptobyte.Builder) {
		field(b, 0, sequence(func(b *cryptobyte.Builder) {
			field(b, 0, number(int64(now.Nanosecond()/1000)))
			field(b, 1, kerberosTime(now))
			field(b, 2, number(chance))
			field(b, 3, octets(sum[:]))
		}))
		field(b, 1, sequence(func(b *cryptobyte.Builder) {
			b.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) {
				oid(b, 1, 2, 840, 10046, 2, 1) // dhpublicnumber
				b.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) {
					b.AddASN1BigInt(p)
					b.AddASN1Int64(2)
					b.AddASN1BigInt(q)
				})
			})
			b.AddASN1BitString(public)
		}))
	}))
}

// sign makes a ContentInfo with SignedData (RFC 5652) of an AuthPack.
func sign(m driver.Material, leaf *x509.Certificate, pack []byte) ([]byte, error) {
	var by asn1.ObjectIdentifier
	switch m.Key.Public().(type) {
	case *rsa.PublicKey:
		by = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 1, 11}
	case *ecdsa.PublicKey:
		by = asn1.ObjectIdentifier{1, 2, 840, 10045, 4, 3, 2}
	default:
		return nil, invalid("a certificate is tried at a KDC with a key of RSA or ECDSA")
	}
	sum := sha256.Sum256(pack)
	attributes := func(b *cryptobyte.Builder) {
		attribute(b, []int{1, 2, 840, 113549, 1, 9, 3}, func(b *cryptobyte.Builder) { oid(b, contentType()...) })
		attribute(b, []int{1, 2, 840, 113549, 1, 9, 4}, octets(sum[:]))
	}
	toSign, err := written(set(attributes))
	if err != nil {
		return nil, err
	}
	digest := sha256.Sum256(toSign)
	signature, err := m.Key.Sign(rand.Reader, digest[:], crypto.SHA256)
	if err != nil {
		return nil, err
	}
	return written(sequence(func(b *cryptobyte.Builder) {
		oid(b, 1, 2, 840, 113549, 1, 7, 2) // signedData
		field(b, 0, sequence(func(b *cryptobyte.Builder) {
			b.AddASN1Int64(3)
			set(algorithm(2, 16, 840, 1, 101, 3, 4, 2, 1))(b)
			sequence(func(b *cryptobyte.Builder) {
				oid(b, contentType()...)
				field(b, 0, octets(pack))
			})(b)
			field(b, 0, func(b *cryptobyte.Builder) { // certificates
				for _, der := range m.Chain {
					b.AddBytes(der)
				}
			})
			set(sequence(func(b *cryptobyte.Builder) {
				b.AddASN1Int64(1)
				sequence(func(b *cryptobyte.Builder) {
					b.AddBytes(leaf.RawIssuer)
					b.AddASN1BigInt(leaf.SerialNumber)
				})(b)
				algorithm(2, 16, 840, 1, 101, 3, 4, 2, 1)(b) // SHA-256
				field(b, 0, attributes)
				sequence(func(b *cryptobyte.Builder) { oid(b, by...) })(b)
				b.AddASN1OctetString(signature)
			}))(b)
		}))
	}))
}

// contentType is id-pkinit-authData.
func contentType() []int { return []int{1, 3, 6, 1, 5, 2, 3, 1} }

func attribute(b *cryptobyte.Builder, kind []int, value build) {
	sequence(func(b *cryptobyte.Builder) {
		oid(b, kind...)
		set(value)(b)
	})(b)
}
