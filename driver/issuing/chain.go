// SPDX-License-Identifier: Apache-2.0

// Package issuing is what the drivers of other people's CAs share: it checks what
// a CA answers before anybody relies on it, and speaks HTTPS to addresses that the
// operator named and to no others.
//
// A CA's answer is foreign: the certificate may be of another key, lack names, or
// come with a chain that does not belong to it. Order lets none of that through.
package issuing

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"net"
	"net/url"
	"slices"
	"strings"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/driver/network"
)

// most is how many certificates of one answer are looked at, and how long a chain
// may be.
const most = 20

// Request reads a request for a certificate (PKCS #10, DER) whose signature shows
// that whoever wrote it has the key. An error of it is ErrInvalid.
func Request(der []byte) (*x509.CertificateRequest, error) {
	csr, err := x509.ParseCertificateRequest(der)
	if err == nil {
		err = csr.CheckSignature()
	}
	if err != nil {
		return nil, fmt.Errorf("%w: couldn't read the certificate request: %w", tallystick.ErrInvalid, err)
	}
	if len(Names(csr)) == 0 {
		return nil, fmt.Errorf("%w: the certificate request names nothing", tallystick.ErrInvalid)
	}
	return csr, nil
}

// Names returns the names that a request asks for, in the form in which
// certificates carry them, each once: the alternative names, or the common name
// where there are none.
func Names(csr *x509.CertificateRequest) []string {
	names := alternatives(csr.DNSNames, csr.IPAddresses, csr.EmailAddresses, csr.URIs)
	if len(names) == 0 && csr.Subject.CommonName != "" {
		names = append(names, strings.ToLower(csr.Subject.CommonName))
	}
	slices.Sort(names)
	return slices.Compact(names)
}

func alternatives(dns []string, ips []net.IP, mails []string, uris []*url.URL) []string {
	var names []string
	for _, name := range dns {
		names = append(names, strings.ToLower(strings.TrimSuffix(name, ".")))
	}
	for _, ip := range ips {
		names = append(names, ip.String())
	}
	names = append(names, mails...)
	for _, uri := range uris {
		names = append(names, uri.String())
	}
	return names
}

// PEM takes the certificates out of PEM text, at most twenty of them.
func PEM(text []byte) ([][]byte, error) {
	var ders [][]byte
	for {
		var block *pem.Block
		block, text = pem.Decode(text)
		switch {
		case block == nil && len(ders) == 0:
			return nil, fmt.Errorf("there is no certificate in it")
		case block == nil:
			return ders, nil
		case block.Type != "CERTIFICATE":
			continue
		case len(ders) == most:
			return nil, fmt.Errorf("there are more than %d certificates in it", most)
		}
		ders = append(ders, block.Bytes)
	}
}

// Order finds the certificate that was made for a request among those of an
// answer, which stand in any order, checks it, and returns it with those that lead
// from it towards a root, each of which signed the one before. A root is left out,
// and so is what does not belong to the chain.
func Order(csr *x509.CertificateRequest, answer [][]byte) ([][]byte, error) {
	if len(answer) > most {
		return nil, fmt.Errorf("the answer holds more than %d certificates", most)
	}
	var all []*x509.Certificate
	for _, der := range answer {
		certificate, err := x509.ParseCertificate(der)
		if err != nil {
			return nil, fmt.Errorf("couldn't read a certificate of the answer: %w", err)
		}
		if !slices.ContainsFunc(all, certificate.Equal) {
			all = append(all, certificate)
		}
	}
	at := slices.IndexFunc(all, func(c *x509.Certificate) bool {
		return bytes.Equal(c.RawSubjectPublicKeyInfo, csr.RawSubjectPublicKeyInfo)
	})
	if at < 0 {
		return nil, fmt.Errorf("no certificate of the answer is for the key of the request")
	}
	leaf := all[at]
	if err := covers(leaf, csr); err != nil {
		return nil, err
	}
	chain := [][]byte{leaf.Raw}
	rest := slices.Delete(all, at, at+1)
	others := len(rest)
	for below := leaf; !selfSigned(below); {
		i := slices.IndexFunc(rest, func(c *x509.Certificate) bool { return below.CheckSignatureFrom(c) == nil })
		if i < 0 {
			if below == leaf && others > 0 {
				return nil, fmt.Errorf("none of the other certificates of the answer signed the one for %s", network.Clean(leaf.Subject.String()))
			}
			break
		}
		below = rest[i]
		rest = slices.Delete(rest, i, i+1)
		if !selfSigned(below) {
			chain = append(chain, below.Raw)
		}
	}
	return chain, nil
}

func selfSigned(c *x509.Certificate) bool {
	return bytes.Equal(c.RawIssuer, c.RawSubject) && c.CheckSignature(c.SignatureAlgorithm, c.RawTBSCertificate, c.Signature) == nil
}

// covers says whether a certificate is for every name that was asked for. What a
// CA adds, such as the name without "www.", is its business.
func covers(leaf *x509.Certificate, csr *x509.CertificateRequest) error {
	got := alternatives(leaf.DNSNames, leaf.IPAddresses, leaf.EmailAddresses, leaf.URIs)
	if len(got) == 0 {
		got = append(got, strings.ToLower(leaf.Subject.CommonName))
	}
	for _, name := range Names(csr) {
		if !slices.Contains(got, name) {
			return fmt.Errorf("the certificate is not for %s, which was asked for", network.Quote(name))
		}
	}
	return nil
}

// Certificate reads one certificate, DER. An error of it is ErrInvalid.
func Certificate(der []byte) (*x509.Certificate, error) {
	certificate, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, invalid("couldn't read the certificate: %v", err)
	}
	return certificate, nil
}

func invalid(format string, args ...any) error {
	return fmt.Errorf("%w: %s", tallystick.ErrInvalid, fmt.Sprintf(format, args...))
}
