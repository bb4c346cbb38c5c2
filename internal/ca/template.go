// SPDX-License-Identifier: Apache-2.0

package ca

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"math/big"
	"net/url"
	"slices"
	"strings"
	"time"

	"golang.org/x/crypto/cryptobyte"
	cbasn1 "golang.org/x/crypto/cryptobyte/asn1"

	"github.com/tallystick/tallystick/internal/revocation"
	"github.com/tallystick/tallystick/internal/store"
)

// backdate is how far before now certificates begin to be valid, for clients whose
// clock is behind.
const backdate = time.Hour

// NewSerial returns a serial number; see Serial.
func NewSerial(now time.Time) Serial {
	var b [16]byte
	binary.BigEndian.PutUint64(b[:8], uint64(now.UnixMilli())<<16)
	_, _ = rand.Read(b[6:]) // never fails (crypto/rand)
	return Serial(hex.EncodeToString(b[:]))
}

// whole stands for the complete list of a CA where a part of it could be named.
const whole = store.CompleteList

// shardOf returns which part of its list names the certificates of an authority with a
// serial; whole when it has no parts.
func (a Authority) shardOf(serial []byte) int64 {
	return revocation.ShardFor(serial, a.Settings.Shards)
}

// newSerialOf returns a serial number for a certificate of a kind. Those of SSH have 64
// bits (PROTOCOL.certkeys): the second, and 32 random ones; two of a second meet once in
// 2^32, and the store takes one of them only.
func newSerialOf(kind string, now time.Time) Serial {
	if kind != KindSSH {
		return NewSerial(now)
	}
	var b [8]byte
	binary.BigEndian.PutUint32(b[:], uint32(now.Unix()))
	_, _ = rand.Read(b[4:]) // never fails (crypto/rand)
	return Serial(hex.EncodeToString(b[:]))
}

// SerialOf returns the serial that a number in a certificate stands for; "" for one that
// is none of ours.
func SerialOf(n *big.Int) Serial {
	if n.Sign() < 0 || n.BitLen() > 128 {
		return ""
	}
	return Serial(hex.EncodeToString(n.FillBytes(make([]byte, 16))))
}

// template makes what is to be signed.
func template(a Authority, p Profile, n Names, key subjectKey, serial Serial, now time.Time, lifetime time.Duration) (*x509.Certificate, error) {
	t := &x509.Certificate{
		SerialNumber: new(big.Int).SetBytes(serial.Bytes()), Subject: subjectOf(n),
		NotBefore: now.Add(-backdate), NotAfter: now.Add(lifetime - time.Second), // its end is included: RFC 5280 section 4.1.2.5
		KeyUsage: p.Usage, ExtKeyUsage: p.Purposes, UnknownExtKeyUsage: p.MorePurpose,
		BasicConstraintsValid: true, SubjectKeyId: keyIdentifier(key.spki),
		DNSNames: n.DNS, EmailAddresses: n.Emails,
	}
	if issuer := a.x509; issuer != nil {
		if t.NotBefore.Before(issuer.NotBefore) {
			t.NotBefore = issuer.NotBefore
		}
		if t.NotAfter.After(issuer.NotAfter) {
			t.NotAfter = issuer.NotAfter
		}
	}
	if _, ok := key.public.(*rsa.PublicKey); ok && slices.Contains(p.Purposes, x509.ExtKeyUsageServerAuth) {
		// For TLS 1.2 without (EC)DHE, in which the server's key transports one: RFC 5280 section
		// 4.2.1.12 has it for servers, and not for clients.
		t.KeyUsage |= x509.KeyUsageKeyEncipherment
	}
	for _, ip := range n.IPs {
		t.IPAddresses = append(t.IPAddresses, ip.AsSlice())
	}
	for _, text := range n.URIs {
		u, err := url.Parse(text)
		if err != nil {
			return nil, fmt.Errorf("%w: %w", ErrBadName, err)
		}
		t.URIs = append(t.URIs, u)
	}
	if len(n.Principals) > 0 {
		san, err := kerberosNames(n)
		if err != nil {
			return nil, err
		}
		t.ExtraExtensions = append(t.ExtraExtensions, san)
	}
	publish(t, a, a.shardOf(serial.Bytes()))
	return t, nil
}

// publish writes where the list of what is revoked is, and the issuer's certificate.
// Certificates of CAs name the complete list: its parts are about others only.
func publish(t *x509.Certificate, a Authority, shard int64) {
	base := a.Settings.URL
	if base == "" {
		return
	}
	t.IssuingCertificateURL = []string{revocation.CertificateURL(base, a.Name)}
	t.CRLDistributionPoints = []string{revocation.ListURL(base, a.Name, shard)}
	if a.Settings.OCSP {
		t.OCSPServer = []string{revocation.OCSPURL(base, a.Name)}
	}
}

func subjectOf(n Names) pkix.Name { return pkix.Name{CommonName: n.CommonName} }

// Object identifiers of names that crypto/x509 does not write.
var (
	oidSAN      = asn1.ObjectIdentifier{2, 5, 29, 17}
	oidKerberos = asn1.ObjectIdentifier{1, 3, 6, 1, 5, 2, 2} // RFC 4556 section 3.2.2
)

// Tags of GeneralName (RFC 5280 section 4.2.1.6).
const (
	tagOther = 0
	tagDNS   = 2
)

// kerberosNames writes a SubjectAltName of Kerberos principals and DNS names:
// the names of profiles pkinit and kdc.
func kerberosNames(n Names) (pkix.Extension, error) {
	var b cryptobyte.Builder
	var failure error
	b.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) {
		for _, name := range n.DNS {
			b.AddASN1(cbasn1.Tag(tagDNS).ContextSpecific(), func(b *cryptobyte.Builder) { b.AddBytes([]byte(name)) })
		}
		for _, principal := range n.Principals {
			name, realm, ok := strings.Cut(principal, "@")
			if !ok || strings.Contains(realm, "@") || name == "" || realm == "" || !isASCII(principal) {
				failure = fmt.Errorf("%w: %.80q is no Kerberos principal; write it as name@REALM", ErrBadName, principal)
				return
			}
			b.AddASN1(cbasn1.Tag(tagOther).ContextSpecific().Constructed(), func(b *cryptobyte.Builder) { addPrincipal(b, name, realm) })
		}
	})
	if failure != nil {
		return pkix.Extension{}, failure
	}
	der, err := b.Bytes()
	if err != nil {
		return pkix.Extension{}, fmt.Errorf("couldn't encode the names: %w", err)
	}
	// Critical when the subject is empty (RFC 5280 section 4.1.2.6).
	return pkix.Extension{Id: oidSAN, Critical: n.CommonName == "", Value: der}, nil
}

// addPrincipal writes an OtherName that holds a KRB5PrincipalName (RFC 4556 section
// 3.2.2); a name with slashes has several components (RFC 4120 section 6.2).
func addPrincipal(b *cryptobyte.Builder, name, realm string) {
	b.AddASN1ObjectIdentifier(oidKerberos)
	b.AddASN1(cbasn1.Tag(0).ContextSpecific().Constructed(), func(b *cryptobyte.Builder) {
		b.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) {
			addTagged(b, 0, func(b *cryptobyte.Builder) { addGeneral(b, realm) })
			addTagged(b, 1, func(b *cryptobyte.Builder) {
				b.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) {
					parts := strings.Split(name, "/")
					kind := int64(1) // NT-PRINCIPAL
					if len(parts) > 1 {
						kind = 2 // NT-SRV-INST
					}
					addTagged(b, 0, func(b *cryptobyte.Builder) { b.AddASN1Int64(kind) })
					addTagged(b, 1, func(b *cryptobyte.Builder) {
						b.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) {
							for _, part := range parts {
								addGeneral(b, part)
							}
						})
					})
				})
			})
		})
	})
}

func addTagged(b *cryptobyte.Builder, tag uint8, fill cryptobyte.BuilderContinuation) {
	b.AddASN1(cbasn1.Tag(tag).ContextSpecific().Constructed(), fill)
}

// addGeneral writes a GeneralString, which is how Kerberos writes text.
func addGeneral(b *cryptobyte.Builder, text string) {
	const generalString = cbasn1.Tag(27)
	b.AddASN1(generalString, func(b *cryptobyte.Builder) { b.AddBytes([]byte(text)) })
}
