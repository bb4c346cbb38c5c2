// SPDX-License-Identifier: Apache-2.0

package vault

import (
	"cmp"
	"context"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"net/http"
	"strings"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/driver"
	"github.com/tallystick/tallystick/driver/issuing"
)

// Issue has a certificate made (PKI secrets engine API, "Sign certificate").
func (i *Issuer) Issue(ctx context.Context, request driver.IssueRequest) (driver.Issued, error) {
	csr, err := issuing.Request(request.CSR)
	if err != nil {
		return driver.Issued{}, err
	}
	role := cmp.Or(request.Profile, i.options.Role)
	if !roleName.MatchString(role) {
		return driver.Issued{}, invalid("%q is not the name of a role: set the option role, or map the profile to one", role)
	}
	s, err := i.signIn(ctx)
	if err != nil {
		return driver.Issued{}, err
	}
	defer s.close(ctx)
	question := question(csr)
	if request.Lifetime > 0 {
		question["ttl"] = fmt.Sprintf("%ds", int64(request.Lifetime.Seconds()))
	}
	var answer struct {
		Data struct {
			Certificate string   `json:"certificate"`
			Issuer      string   `json:"issuing_ca"`
			Chain       []string `json:"ca_chain"`
		}
	}
	if err := s.call(ctx, http.MethodPost, s.at("sign", role), question, &answer); err != nil {
		return driver.Issued{Retry: s.http.RetryAfter(request.Now())}, fmt.Errorf("couldn't have the certificate signed: %w", err)
	}
	data := answer.Data
	ders, err := issuing.PEM([]byte(strings.Join(append([]string{data.Certificate, data.Issuer}, data.Chain...), "\n")))
	if err != nil {
		return driver.Issued{}, fmt.Errorf("couldn't read the server's answer: %w", err)
	}
	chain, err := issuing.Order(csr, ders)
	if err != nil {
		return driver.Issued{}, fmt.Errorf("%w: what the CA made is not what was asked for: %w", tallystick.ErrDenied, err)
	}
	return driver.Issued{Chain: chain}, nil
}

// question asks for the names of a request in words, too: a role may be set not to
// read them from the request.
func question(csr *x509.CertificateRequest) map[string]any {
	var ips, uris []string
	for _, ip := range csr.IPAddresses {
		ips = append(ips, ip.String())
	}
	for _, uri := range csr.URIs {
		uris = append(uris, uri.String())
	}
	common := csr.Subject.CommonName
	if common == "" && len(csr.DNSNames) > 0 {
		common = csr.DNSNames[0] // most roles want one
	}
	return map[string]any{
		"csr":         string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: csr.Raw})),
		"format":      "pem",
		"common_name": common,
		"alt_names":   strings.Join(append(append([]string(nil), csr.DNSNames...), csr.EmailAddresses...), ","),
		"ip_sans":     strings.Join(ips, ","),
		"uri_sans":    strings.Join(uris, ","),
	}
}
