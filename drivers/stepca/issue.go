// SPDX-License-Identifier: Apache-2.0

package stepca

import (
	"context"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"fmt"
	"strconv"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/driver"
	"github.com/tallystick/tallystick/driver/issuing"
)

// Issue has a certificate made.
func (i *Issuer) Issue(ctx context.Context, request driver.IssueRequest) (driver.Issued, error) {
	csr, err := issuing.Request(request.CSR)
	if err != nil {
		return driver.Issued{}, err
	}
	if request.Profile != "" {
		return driver.Issued{}, invalid("step-ca has no profiles: name another provisioner, by another issuer, in place of %q", request.Profile)
	}
	attempt := 1
	if request.State != "" {
		before, err := strconv.Atoi(request.State)
		if err != nil || before < 1 {
			return driver.Issued{}, invalid("what was kept of order %s is not of this driver", request.Order)
		}
		attempt += before
	}
	client, err := i.client(ctx)
	if err != nil {
		return driver.Issued{}, err
	}
	defer client.Close()
	token, err := i.token(ctx, client, signing(csr, request.Order, attempt), request.Now())
	if err != nil {
		return driver.Issued{}, err
	}
	if err := request.Keep(strconv.Itoa(attempt)); err != nil {
		return driver.Issued{}, err
	}
	question := map[string]string{
		"csr": string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: csr.Raw})), "ott": token,
	}
	if request.Lifetime > 0 {
		question["notAfter"] = request.Lifetime.String()
	}
	return i.sign(ctx, client, csr, question, request)
}

// signing is the claim for a certificate. Its id is the same for whoever makes
// this attempt for this order, so that the CA lets one of them through.
func signing(csr *x509.CertificateRequest, order string, attempt int) claim {
	sum := sha256.Sum256(fmt.Appendf(nil, "%s\n%d", order, attempt))
	names := append([]string(nil), csr.DNSNames...)
	for _, ip := range csr.IPAddresses {
		names = append(names, ip.String())
	}
	names = append(names, csr.EmailAddresses...)
	for _, uri := range csr.URIs {
		names = append(names, uri.String())
	}
	c := claim{path: "/sign", id: hex.EncodeToString(sum[:]), subject: csr.Subject.CommonName, names: names}
	if c.subject == "" {
		c.subject = names[0]
	}
	if len(names) == 0 {
		c.names = []string{c.subject}
	}
	return c
}

func (i *Issuer) sign(ctx context.Context, client *issuing.Client, csr *x509.CertificateRequest, question any, request driver.IssueRequest) (driver.Issued, error) {
	var answer struct {
		Chain []string `json:"certChain"`
	}
	status, says, err := i.post(ctx, client, "/sign", question, &answer)
	if err != nil {
		return driver.Issued{}, fmt.Errorf("couldn't have the certificate signed: %w", err)
	}
	if status/100 != 2 {
		return driver.Issued{Retry: client.RetryAfter(request.Now())}, fmt.Errorf("couldn't have the certificate signed: %w", client.Refused(status, says))
	}
	var ders [][]byte
	for _, text := range answer.Chain {
		some, err := issuing.PEM([]byte(text))
		if err != nil {
			return driver.Issued{}, fmt.Errorf("couldn't read the CA's answer: %w", err)
		}
		ders = append(ders, some...)
	}
	chain, err := issuing.Order(csr, ders)
	if err != nil {
		return driver.Issued{}, fmt.Errorf("%w: what the CA made is not what was asked for: %w", tallystick.ErrDenied, err)
	}
	return driver.Issued{Chain: chain}, nil
}
