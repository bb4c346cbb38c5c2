// SPDX-License-Identifier: Apache-2.0

package vault

import (
	"context"
	"fmt"
	"net/http"

	"github.com/tallystick/tallystick/driver"
	"github.com/tallystick/tallystick/driver/issuing"
)

// Revoke revokes a certificate by its serial number ("Revoke certificate"). The API
// takes no reason. What is revoked already is answered like what was revoked now.
func (i *Issuer) Revoke(ctx context.Context, request driver.RevokeRequest) error {
	certificate, err := issuing.Certificate(request.Certificate)
	if err != nil {
		return err
	}
	s, err := i.signIn(ctx)
	if err != nil {
		return err
	}
	defer s.close(ctx)
	question := map[string]string{"serial_number": serial(certificate.SerialNumber)}
	if err := s.call(ctx, http.MethodPost, s.at("revoke"), question, nil); err != nil {
		return fmt.Errorf("couldn't revoke the certificate: %w", err)
	}
	return nil
}
