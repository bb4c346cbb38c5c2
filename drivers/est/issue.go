// SPDX-License-Identifier: Apache-2.0

package est

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/driver"
	"github.com/tallystick/tallystick/driver/issuing"
	"github.com/tallystick/tallystick/parse"
)

// Issue has a certificate made.
func (i *Issuer) Issue(ctx context.Context, request driver.IssueRequest) (driver.Issued, error) {
	csr, err := issuing.Request(request.CSR)
	if err != nil {
		return driver.Issued{}, err
	}
	if request.Profile != "" {
		return driver.Issued{}, invalid("EST has no profiles: name the CA's URL for %q, by another issuer", request.Profile)
	}
	if same(csr, request) {
		issued, err := i.renew(ctx, csr, request)
		if !errors.Is(err, tallystick.ErrDenied) || !i.knows() {
			return issued, err
		}
		// In a recall the certificate that is replaced has no say any more.
	}
	client, err := i.settings.Client()
	if err != nil {
		return driver.Issued{}, err
	}
	defer client.Close()
	return i.ask(ctx, client, "simpleenroll", csr, request)
}

// same says whether a request can be made by the word of the certificate that it
// replaces: its key is at hand, and the names do not change (RFC 7030 section 4.2.2).
func same(csr *x509.CertificateRequest, request driver.IssueRequest) bool {
	old, err := x509.ParseCertificate(request.Replaces)
	if err != nil || request.ReplacesKey == nil || !bytes.Equal(old.RawSubject, csr.RawSubject) {
		return false
	}
	names := &x509.CertificateRequest{Subject: old.Subject, DNSNames: old.DNSNames, IPAddresses: old.IPAddresses, EmailAddresses: old.EmailAddresses, URIs: old.URIs}
	return slices.Equal(issuing.Names(names), issuing.Names(csr))
}

// renew shows the certificate that is replaced, and no other.
func (i *Issuer) renew(ctx context.Context, csr *x509.CertificateRequest, request driver.IssueRequest) (driver.Issued, error) {
	client, err := i.settings.Client()
	if err != nil {
		return driver.Issued{}, err
	}
	defer client.Close()
	client.Trust(func(c *tls.Config) {
		c.Certificates = []tls.Certificate{{Certificate: [][]byte{request.Replaces}, PrivateKey: request.ReplacesKey}}
	})
	return i.ask(ctx, client, "simplereenroll", csr, request)
}

// ask sends the request (section 4.2) and reads what comes of it.
func (i *Issuer) ask(ctx context.Context, client *issuing.Client, operation string, csr *x509.CertificateRequest, request driver.IssueRequest) (driver.Issued, error) {
	// The chain is fetched first: there is nothing to be lost by that yet.
	authorities, err := i.authorities(ctx, client)
	if err != nil {
		return driver.Issued{}, err
	}
	header := http.Header{"Content-Type": {"application/pkcs10"}, "Content-Transfer-Encoding": {"base64"}}
	if i.options.User != "" && operation == "simpleenroll" {
		header.Set("Authorization", "Basic "+base64.StdEncoding.EncodeToString([]byte(i.options.User+":"+i.options.Password.Reveal())))
	}
	status, body, err := client.Do(ctx, http.MethodPost, i.base+"/"+operation, header, []byte(base64.StdEncoding.EncodeToString(csr.Raw)))
	if err != nil {
		return driver.Issued{}, fmt.Errorf("couldn't ask for the certificate: %w", err)
	}
	switch status {
	case http.StatusOK:
	case http.StatusAccepted: // section 4.2.3: it waits for somebody
		return driver.Issued{Retry: client.RetryAfter(request.Now())}, nil
	default:
		return driver.Issued{Retry: client.RetryAfter(request.Now())}, fmt.Errorf("couldn't have the certificate made: %w", client.Refused(status, string(body)))
	}
	made, err := certificates(ctx, body)
	if err != nil {
		return driver.Issued{}, fmt.Errorf("couldn't read the CA's answer: %w", err)
	}
	chain, err := issuing.Order(csr, append(made, authorities...))
	if err != nil {
		return driver.Issued{}, fmt.Errorf("%w: what the CA made is not what was asked for: %w", tallystick.ErrDenied, err)
	}
	return driver.Issued{Chain: chain}, nil
}

// authorities fetches the CA's own certificates (section 4.1).
func (i *Issuer) authorities(ctx context.Context, client *issuing.Client) ([][]byte, error) {
	status, body, err := client.Do(ctx, http.MethodGet, i.base+"/cacerts", nil, nil)
	if err != nil {
		return nil, fmt.Errorf("couldn't fetch the CA's certificates: %w", err)
	}
	if status != http.StatusOK {
		return nil, fmt.Errorf("couldn't fetch the CA's certificates: %w", client.Refused(status, string(body)))
	}
	list, err := certificates(ctx, body)
	if err != nil {
		return nil, fmt.Errorf("couldn't read the CA's certificates: %w", err)
	}
	return list, nil
}

// certificates takes them out of a PKCS #7 message in base64, with line ends or
// without (RFC 8951 section 3.1).
func certificates(ctx context.Context, body []byte) ([][]byte, error) {
	der, err := base64.StdEncoding.DecodeString(strings.Join(strings.Fields(string(body)), ""))
	if err != nil {
		return nil, errors.New("it is not base64")
	}
	var list [][]byte
	for _, item := range parse.BytesWithin(ctx, parse.NewWork(time.Second), "answer.p7", der, nil).Items {
		if item.Credential.Kind == tallystick.KindCertificate && item.Format == "pkcs7" {
			list = append(list, item.Credential.Raw)
		}
	}
	if len(list) == 0 {
		return nil, errors.New("it holds no certificate")
	}
	return list, nil
}
