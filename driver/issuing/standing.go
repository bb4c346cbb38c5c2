// SPDX-License-Identifier: Apache-2.0

package issuing

import (
	"crypto/x509"
	"fmt"
	"time"

	"github.com/tallystick/tallystick/driver"
)

// ByList says what a CRL (DER) that issuer signed says of a certificate. A list
// that is out of date says nothing.
func ByList(list []byte, issuer, certificate *x509.Certificate, now time.Time) (driver.Standing, error) {
	crl, err := x509.ParseRevocationList(list)
	if err != nil {
		return driver.Standing{}, fmt.Errorf("couldn't read the CA's revocation list: %w", err)
	}
	if err := crl.CheckSignatureFrom(issuer); err != nil {
		return driver.Standing{}, fmt.Errorf("the revocation list is not signed by the certificate's CA: %w", err)
	}
	if !crl.NextUpdate.IsZero() && now.After(crl.NextUpdate) {
		return driver.Standing{Status: driver.StandingUnknown}, nil
	}
	for _, entry := range crl.RevokedCertificateEntries {
		if entry.SerialNumber.Cmp(certificate.SerialNumber) == 0 {
			return driver.Standing{Status: driver.StandingRevoked, Revoked: entry.RevocationTime, Reason: entry.ReasonCode, Again: crl.NextUpdate}, nil
		}
	}
	return driver.Standing{Status: driver.StandingGood, Again: crl.NextUpdate}, nil
}

// Signed reads a certificate and the one that signed it. The issuer is nil when it
// is not at hand; one that did not sign it is an error.
func Signed(request driver.StandingRequest) (certificate, issuer *x509.Certificate, err error) {
	if certificate, err = Certificate(request.Certificate); err != nil || len(request.Issuer) == 0 {
		return certificate, nil, err
	}
	if issuer, err = Certificate(request.Issuer); err != nil {
		return nil, nil, err
	}
	if err := certificate.CheckSignatureFrom(issuer); err != nil {
		return nil, nil, invalid("the issuer that was named did not sign the certificate: %v", err)
	}
	return certificate, issuer, nil
}
