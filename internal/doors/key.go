// SPDX-License-Identifier: Apache-2.0

package doors

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/asn1"
	"fmt"
	"net"
	"net/url"
	"slices"
	"strings"

	"golang.org/x/crypto/ssh"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/driver"
)

// defaultAlgorithm is that of keys where nothing says otherwise.
const defaultAlgorithm = "ecdsa-p256"

// makeKey makes the key of the next credential where it will be used, and asks for a
// certificate by a request. The request is made anew each time; the key is not.
func (s *Set) makeKey(ctx context.Context, j job) (Result, error) {
	algorithm := j.Algorithm
	if algorithm == "" {
		algorithm = algorithmOf(j.Old)
	}
	key, err := s.Keys.Make(ctx, j.KeyName, algorithm)
	if err != nil {
		return Result{}, err
	}
	if j.SSH {
		public, err := ssh.NewPublicKey(key.Public())
		if err != nil {
			return Result{}, fmt.Errorf("%w: %s keys are not for SSH: %w", tallystick.ErrInvalid, algorithm, err)
		}
		return Result{SSH: public.Marshal()}, nil
	}
	csr, err := request(j.Old, j.Names, key)
	return Result{CSR: csr}, err
}

// request makes a PKCS #10 request. The subject is that of the old certificate, because
// who is let in by it may be looked up by that; so are the names, unless others are named.
func request(old driver.Public, names []string, key crypto.Signer) ([]byte, error) {
	wanted, err := template(old, names)
	if err != nil {
		return nil, err
	}
	csr, err := x509.CreateCertificateRequest(rand.Reader, wanted, key)
	if err != nil {
		return nil, fmt.Errorf("couldn't make a certificate request: %w", err)
	}
	return csr, nil
}

// template is what a request asks for.
func template(old driver.Public, names []string) (*x509.CertificateRequest, error) {
	var wanted x509.CertificateRequest
	if len(old.Chain) > 0 {
		c, err := x509.ParseCertificate(old.Chain[0])
		if err != nil {
			return nil, fmt.Errorf("%w: the old certificate cannot be read: %w", tallystick.ErrInvalid, err)
		}
		wanted.RawSubject = c.RawSubject
		if len(names) == 0 {
			wanted.DNSNames, wanted.EmailAddresses, wanted.IPAddresses, wanted.URIs = c.DNSNames, c.EmailAddresses, c.IPAddresses, c.URIs
		}
	}
	for _, name := range names {
		if err := addName(&wanted, name); err != nil {
			return nil, err
		}
	}
	return &wanted, nil
}

// CheckRequest says what is wrong with what came of a key task: whoever made it may be in
// wrong hands, and must not get a certificate for anything else than what the task is
// about. The subject is that of the old certificate, the names are all among those that
// the task asks for, the key is another than the old one, and nothing else is requested.
func CheckRequest(t Task, r Result) error {
	if t.SSH {
		if _, err := ssh.ParsePublicKey(r.SSH); err != nil || bytes.Equal(r.SSH, t.Old.SSH) {
			return fmt.Errorf("%w: the door %s made no new SSH key", tallystick.ErrInvalid, t.Door)
		}
		return nil
	}
	csr, err := x509.ParseCertificateRequest(r.CSR)
	if err == nil {
		err = csr.CheckSignature()
	}
	if err != nil {
		return fmt.Errorf("%w: the certificate request of the door %s cannot be used: %w", tallystick.ErrInvalid, t.Door, err)
	}
	want, err := template(t.Old, t.Names)
	if err != nil {
		return err
	}
	if len(want.RawSubject) > 0 && !bytes.Equal(csr.RawSubject, want.RawSubject) {
		return fmt.Errorf("%w: the door %s asks for the subject %q", tallystick.ErrDenied, t.Door, csr.Subject)
	}
	allowed := namesOf(want)
	for _, name := range namesOf(csr) {
		if !slices.Contains(allowed, name) {
			return fmt.Errorf("%w: the door %s asks for the name %.200q, which is not one of its own", tallystick.ErrDenied, t.Door, name)
		}
	}
	for _, extension := range csr.Extensions {
		if extension.Id.String() != subjectAltName || len(csr.Extensions) > 1 {
			return fmt.Errorf("%w: the door %s asks for more than names", tallystick.ErrDenied, t.Door)
		}
	}
	if old, ok := publicKeyOf(t.Old).(interface{ Equal(crypto.PublicKey) bool }); ok && old.Equal(csr.PublicKey) {
		return fmt.Errorf("%w: the door %s asks for a certificate of the old key", tallystick.ErrInvalid, t.Door)
	}
	return nil
}

// subjectAltName is the extension that holds names (RFC 5280 section 4.2.1.6).
const subjectAltName = "2.5.29.17"

// namesOf returns the names of a request in a form that can be compared. A name of a sort
// that is not read here makes the whole extension one name.
func namesOf(c *x509.CertificateRequest) []string {
	var names []string
	for _, name := range c.DNSNames {
		names = append(names, "dns:"+strings.ToLower(name))
	}
	for _, name := range c.EmailAddresses {
		names = append(names, "email:"+name)
	}
	for _, ip := range c.IPAddresses {
		names = append(names, "ip:"+ip.String())
	}
	for _, u := range c.URIs {
		names = append(names, "uri:"+u.String())
	}
	for _, extension := range c.Extensions {
		if extension.Id.String() == subjectAltName && countNames(extension.Value) != len(names) {
			names = append(names, fmt.Sprintf("%x", extension.Value))
		}
	}
	return names
}

// countNames counts the names in an extension, of whatever sort; -1 when it is none.
func countNames(der []byte) int {
	var list []asn1.RawValue
	if rest, err := asn1.Unmarshal(der, &list); err != nil || len(rest) > 0 {
		return -1
	}
	return len(list)
}

// addName adds a name to a request as what it looks like.
func addName(template *x509.CertificateRequest, name string) error {
	if ip := net.ParseIP(name); ip != nil {
		template.IPAddresses = append(template.IPAddresses, ip)
		return nil
	}
	switch {
	case strings.Contains(name, "://"):
		u, err := url.Parse(name)
		if err != nil {
			return fmt.Errorf("%w: %.100q is not a URI", tallystick.ErrInvalid, name)
		}
		template.URIs = append(template.URIs, u)
	case strings.Contains(name, "@"):
		template.EmailAddresses = append(template.EmailAddresses, name)
	default:
		template.DNSNames = append(template.DNSNames, name)
	}
	return nil
}

// algorithmOf names the sort of key of a credential, for one that is made after it.
// A sort that is not made any more is left behind.
func algorithmOf(p driver.Public) string {
	switch key := publicKeyOf(p).(type) {
	case *ecdsa.PublicKey:
		if key.Curve.Params().BitSize == 384 {
			return "ecdsa-p384"
		}
	case ed25519.PublicKey:
		return "ed25519"
	case *rsa.PublicKey:
		switch bits := key.N.BitLen(); {
		case bits <= 2048:
			return "rsa-2048"
		case bits <= 3072:
			return "rsa-3072"
		}
		return "rsa-4096"
	}
	return defaultAlgorithm
}

// publicKeyOf returns the key of a credential, nil where it has none.
func publicKeyOf(p driver.Public) crypto.PublicKey {
	if len(p.Chain) > 0 {
		if c, err := x509.ParseCertificate(p.Chain[0]); err == nil {
			return c.PublicKey
		}
		return nil
	}
	key, err := ssh.ParsePublicKey(p.SSH)
	if err != nil {
		return nil
	}
	if certificate, ok := key.(*ssh.Certificate); ok {
		key = certificate.Key
	}
	if held, ok := key.(ssh.CryptoPublicKey); ok {
		return held.CryptoPublicKey()
	}
	return nil
}
