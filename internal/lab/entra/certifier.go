// SPDX-License-Identifier: Apache-2.0

package entra

import (
	"crypto/rsa"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"strings"
	"time"
)

// A certifier is a certificate that was parsed once, whoever uses it: thousands
// of tenants can have the same.
type certifier struct {
	der        []byte
	public     *rsa.PublicKey // nil for any other kind, which cannot sign in
	thumbprint string         // SHA-1, upper-case hex
	x5t        string         // SHA-1, base64url without padding
	x5t256     string         // SHA-256, base64url without padding
	sha1       [20]byte
	subject    string
	start, end time.Time
}

var errCertificate = errors.New("expected a certificate in DER")

// certifier returns the one of a certificate.
func (w *World) certifier(der []byte) (*certifier, error) {
	sum := sha256.Sum256(der)
	w.mu.RLock()
	c := w.certificates[sum]
	w.mu.RUnlock()
	if c != nil {
		return c, nil
	}
	parsed, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, errCertificate
	}
	c = &certifier{
		der: parsed.Raw, sha1: sha1.Sum(der), x5t256: base64.RawURLEncoding.EncodeToString(sum[:]),
		subject: parsed.Subject.String(), start: parsed.NotBefore, end: parsed.NotAfter,
	}
	c.public, _ = parsed.PublicKey.(*rsa.PublicKey)
	c.x5t = base64.RawURLEncoding.EncodeToString(c.sha1[:])
	c.thumbprint = strings.ToUpper(hex.EncodeToString(c.sha1[:]))
	w.mu.Lock()
	defer w.mu.Unlock()
	if had := w.certificates[sum]; had != nil {
		return had, nil
	}
	w.certificates[sum] = c
	return c, nil
}
