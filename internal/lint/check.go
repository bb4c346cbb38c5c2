// SPDX-License-Identifier: Apache-2.0

package lint

import (
	"bytes"
	"crypto/x509"
	"encoding/asn1"
	"fmt"
	"math/big"
	"slices"
	"time"
)

// Expect is what a certificate should be.
type Expect struct {
	Issuer      *x509.Certificate // who signs it; nil for a root
	CA          bool
	Usage       x509.KeyUsage
	Purposes    []x509.ExtKeyUsage
	MorePurpose []asn1.ObjectIdentifier
	MaxLifetime time.Duration // from its beginning, which may lie in the past, to its end; 0 is without a bound
}

// Check holds a certificate, DER, against what it should be, which no general lint
// can know: its issuer, its profile. The error is ErrRefused with the text of everything
// that is wrong; what cannot be read is refused.
func Check(der []byte, want Expect) (problems []Problem, err error) {
	if len(der) > MaxSize {
		return nil, fmt.Errorf("%w: it has more than %d bytes", ErrRefused, MaxSize)
	}
	c, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("%w: it cannot be read: %w", ErrRefused, err)
	}
	k := checker{c: c, want: &want}
	k.serial()
	k.validity()
	k.issuer()
	k.purposes()
	k.critical()
	return k.problems, refusal(k.problems)
}

// A checker collects what is wrong with a certificate.
type checker struct {
	c        *x509.Certificate
	want     *Expect
	problems []Problem
}

func (k *checker) wrong(lint, citation, format string, args ...any) {
	k.problems = append(k.problems, Problem{Lint: lint, Error: true, Text: fmt.Sprintf(format, args...), Citation: citation})
}

func (k *checker) serial() {
	n := k.c.SerialNumber
	if n.Sign() <= 0 {
		k.wrong("serial-positive", "RFC 5280 section 4.1.2.2", "the serial number is not positive")
		return
	}
	if n.BitLen() >= 20*8 {
		k.wrong("serial-length", "RFC 5280 section 4.1.2.2", "the serial number has more than 20 octets")
	}
	if n.Cmp(new(big.Int).Lsh(big.NewInt(1), 64)) < 0 {
		k.wrong("serial-guessable", "CA/Browser Forum TLS Baseline Requirements section 7.1", "the serial number has less than 64 bits")
	}
}

func (k *checker) validity() {
	from, to := k.c.NotBefore, k.c.NotAfter
	if !from.Before(to) {
		k.wrong("validity-order", "RFC 5280 section 4.1.2.5", "it ends before it begins")
		return
	}
	if most := k.want.MaxLifetime; most > 0 && to.Sub(from) >= most {
		k.wrong("validity-long", "the profile", "it is valid for %s, and its profile allows %s", to.Sub(from)+time.Second, most)
	}
	if issuer := k.want.Issuer; issuer != nil && (to.After(issuer.NotAfter) || from.Before(issuer.NotBefore)) {
		k.wrong("validity-issuer", "RFC 5280 section 6.1.3", "it is valid at times when its issuer is not")
	}
}

func (k *checker) issuer() {
	c := k.c
	if len(c.SubjectKeyId) == 0 {
		k.wrong("subject-key-identifier", "RFC 5280 section 4.2.1.2", "it has no subject key identifier")
	}
	issuer := k.want.Issuer
	if issuer == nil {
		if !bytes.Equal(c.RawIssuer, c.RawSubject) {
			k.wrong("issuer-name", "RFC 5280 section 4.1.2.4", "a root is its own issuer")
		}
		return
	}
	if !bytes.Equal(c.RawIssuer, issuer.RawSubject) {
		k.wrong("issuer-name", "RFC 5280 section 4.1.2.4", "the issuer is not written as the CA writes its subject")
	}
	if len(c.AuthorityKeyId) == 0 || !bytes.Equal(c.AuthorityKeyId, issuer.SubjectKeyId) {
		k.wrong("authority-key-identifier", "RFC 5280 section 4.2.1.1", "the authority key identifier is missing, or not the CA's subject key identifier")
	}
	if !issuer.IsCA || issuer.KeyUsage&x509.KeyUsageCertSign == 0 {
		k.wrong("issuer-is-ca", "RFC 5280 sections 4.2.1.3 and 4.2.1.9", "the issuer must not sign certificates")
	}
	if issuer.MaxPathLenZero && c.IsCA {
		k.wrong("path-length", "RFC 5280 section 4.2.1.9", "the issuer must not sign certificates of CAs")
	}
}

func (k *checker) purposes() {
	c, want := k.c, k.want
	if c.IsCA != want.CA || !c.BasicConstraintsValid {
		k.wrong("basic-constraints", "RFC 5280 section 4.2.1.9", "it says that it is a CA: %t; it should say %t", c.IsCA, want.CA)
	}
	if signs := c.KeyUsage&(x509.KeyUsageCertSign|x509.KeyUsageCRLSign) != 0; signs != want.CA {
		k.wrong("key-usage-sign", "RFC 5280 section 4.2.1.3", "its key may sign certificates or lists: %t; it should be %t", signs, want.CA)
	}
	// RSA keys may also transport keys, which profiles do not say.
	if most := want.Usage | x509.KeyUsageKeyEncipherment; want.Usage != 0 && (c.KeyUsage&want.Usage != want.Usage || c.KeyUsage&^most != 0) {
		k.wrong("key-usage", "RFC 5280 section 4.2.1.3", "its key usage is not that of its profile")
	}
	same := slices.EqualFunc(c.UnknownExtKeyUsage, want.MorePurpose, func(a, b asn1.ObjectIdentifier) bool { return a.Equal(b) })
	if !slices.Equal(c.ExtKeyUsage, want.Purposes) || !same {
		k.wrong("extended-key-usage", "RFC 5280 section 4.2.1.12", "its purposes are not those of its profile")
	}
	if slices.Contains(c.ExtKeyUsage, x509.ExtKeyUsageAny) {
		k.wrong("any-purpose", "RFC 5280 section 4.2.1.12", "it is good for any purpose")
	}
}

// mustBe says of extensions whether they are critical (RFC 5280 section 4.2).
var mustBe = map[string]struct {
	critical bool
	section  string
}{
	"2.5.29.15":         {true, "4.2.1.3"},   // key usage
	"2.5.29.30":         {true, "4.2.1.10"},  // name constraints
	"2.5.29.14":         {false, "4.2.1.2"},  // subject key identifier
	"2.5.29.35":         {false, "4.2.1.1"},  // authority key identifier
	"2.5.29.31":         {false, "4.2.1.13"}, // CRL distribution points
	"1.3.6.1.5.5.7.1.1": {false, "4.2.2.1"},  // authority information access
}

func (k *checker) critical() {
	for _, e := range k.c.Extensions {
		id := e.Id.String()
		must, known := mustBe[id]
		switch {
		case known:
		case id == "2.5.29.19": // basic constraints
			must.critical, must.section = k.c.IsCA || e.Critical, "4.2.1.9"
		case id == "2.5.29.17": // subject alternative name
			must.critical, must.section = len(k.c.RawSubject) <= 2, "4.2.1.6"
		default:
			continue
		}
		if e.Critical != must.critical {
			k.wrong("critical", "RFC 5280 section "+must.section, "extension %s is critical: %t; it should be %t", id, e.Critical, must.critical)
		}
	}
	for _, id := range k.c.UnhandledCriticalExtensions {
		// Names of which Go knows no form, such as those of Kerberos, count as unhandled.
		if id.String() != "2.5.29.17" {
			k.wrong("critical-unknown", "RFC 5280 section 4.2", "programs do not know extension %s, which is critical", id)
		}
	}
}
