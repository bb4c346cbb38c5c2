// SPDX-License-Identifier: Apache-2.0

package order

import (
	"crypto"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/tallystick/tallystick"
)

// maxChain bounds what an issuer may give, in certificates.
const maxChain = 10

// Inspect checks that a chain is an answer to a request: it is of the key and for
// the names that were asked for, each certificate is signed by the next, and it has
// not ended. It returns it as PEM too.
func Inspect(chain [][]byte, csr []byte, now time.Time) (*x509.Certificate, []byte, error) {
	wrong := func(format string, args ...any) error {
		return fmt.Errorf("the issuer's answer cannot be used: "+format, args...)
	}
	if len(chain) > maxChain {
		return nil, nil, wrong("it has %d certificates", len(chain))
	}
	request, err := x509.ParseCertificateRequest(csr)
	if err != nil {
		return nil, nil, fmt.Errorf("couldn't read the certificate request: %w", tallystick.ErrDamaged)
	}
	var certificates []*x509.Certificate
	var text []byte
	for i, der := range chain {
		c, err := x509.ParseCertificate(der)
		if err != nil {
			return nil, nil, wrong("certificate %d of its chain is malformed", i+1)
		}
		if i > 0 && certificates[i-1].CheckSignatureFrom(c) != nil {
			return nil, nil, wrong("certificate %d of its chain did not sign the one before it", i+1)
		}
		certificates = append(certificates, c)
		text = append(text, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})...)
	}
	c := certificates[0]
	key, ok := c.PublicKey.(interface{ Equal(crypto.PublicKey) bool })
	if !ok || !key.Equal(request.PublicKey) {
		return nil, nil, wrong("it is a certificate for another key")
	}
	if !c.NotAfter.After(now) {
		return nil, nil, wrong("the certificate ended on %s; if that is not long ago, look at the clock", c.NotAfter.UTC().Format(time.DateTime))
	}
	has := sans(c.DNSNames, c.EmailAddresses, c.IPAddresses, c.URIs)
	for _, name := range sans(request.DNSNames, request.EmailAddresses, request.IPAddresses, request.URIs) {
		if !slices.Contains(has, name) {
			return nil, nil, wrong("the certificate is not for %s", name)
		}
	}
	return c, text, nil
}

// sans returns the names of a certificate or a request in the same form.
func sans(dns, emails []string, ips []net.IP, uris []*url.URL) []string {
	var list []string
	for _, name := range dns {
		list = append(list, strings.ToLower(name))
	}
	list = append(list, emails...)
	for _, raw := range ips {
		if ip, ok := netip.AddrFromSlice(raw); ok {
			list = append(list, ip.Unmap().String())
		}
	}
	for _, u := range uris {
		list = append(list, u.String())
	}
	return list
}
