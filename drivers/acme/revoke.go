// SPDX-License-Identifier: Apache-2.0

package acme

import (
	"context"

	"github.com/mholt/acmez/v3/acme"

	"github.com/tallystick/tallystick/driver"
	"github.com/tallystick/tallystick/driver/issuing"
)

// Revoke revokes a certificate by the word of the account that had it made, or by
// that of its own key, which the CA takes from anybody (RFC 8555 section 7.6).
func (i *Issuer) Revoke(ctx context.Context, request driver.RevokeRequest) error {
	certificate, err := issuing.Certificate(request.Certificate)
	if err != nil {
		return err
	}
	if request.Account == nil && request.Key == nil {
		return invalid("revoking takes the account key or that of the certificate, and there is neither")
	}
	s, err := i.begin(nil, request.Now)
	if err != nil {
		return err
	}
	defer s.http.Close()
	var failed error
	if request.Account != nil {
		if s.account.PrivateKey, failed = newSigner(request.Account); failed == nil {
			failed = s.signIn(ctx)
		}
		if failed == nil {
			failed = s.revoke(ctx, func() error { return s.client.RevokeCertificate(ctx, s.account, certificate, nil, request.Reason) })
		}
		if failed == nil || request.Key == nil || ctx.Err() != nil {
			return failed
		}
	}
	key, err := newSigner(request.Key)
	if err != nil {
		if failed != nil {
			return failed
		}
		return err
	}
	return s.revoke(ctx, func() error { return s.client.RevokeCertificate(ctx, acme.Account{}, certificate, key, request.Reason) })
}

// revoke asks once. What is revoked already is revoked.
func (s *session) revoke(ctx context.Context, ask func() error) error {
	err := ask()
	if problem, ok := problemOf(err); ok && problem.Type == acme.ProblemTypeAlreadyRevoked {
		return nil
	}
	if err != nil {
		return s.failed(ctx, "revoke the certificate", err)
	}
	return nil
}
