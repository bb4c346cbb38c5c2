// SPDX-License-Identifier: Apache-2.0

package ca

import (
	"context"
	"crypto/sha256"
	"crypto/x509"

	"github.com/tallystick/tallystick/internal/store"
)

// profileResponder is what certificates of OCSP responders are kept as. Nobody can ask
// for one, and nobody has to be told to renew it.
const profileResponder = "ocsp"

// KeepResponder keeps the certificate that an authority has made for its own OCSP
// responder: nothing that it signs goes unrecorded.
func (c *CA) KeepResponder(ctx context.Context, authority int64, made *x509.Certificate) error {
	key, whole := sha256.Sum256(made.RawSubjectPublicKeyInfo), sha256.Sum256(made.Raw)
	return c.DB.AddIssued(ctx, store.Issued{
		Serial: made.SerialNumber.FillBytes(make([]byte, 16)), Authority: authority, Profile: profileResponder, Via: ViaLocal, Requester: "ocsp", Subject: made.Subject.String(),
		Names: "{}", SPKI: key[:], SHA256: whole[:], Certificate: made.Raw, IssuedAt: c.Now(), NotBefore: made.NotBefore, NotAfter: made.NotAfter,
	}, Active, Retired)
}

// Offline says whether the key is not here.
func (a Authority) Offline() bool { return a.keyID == "" }
