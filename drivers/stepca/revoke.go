// SPDX-License-Identifier: Apache-2.0

package stepca

import (
	"context"
	"crypto/rand"
	"fmt"
	"net/http"
	"strings"

	"github.com/tallystick/tallystick/driver"
	"github.com/tallystick/tallystick/driver/issuing"
)

// Revoke revokes a certificate by its serial number. Whoever relies on it hears of
// that by the revocation list alone, and the CA does not renew it any more.
func (i *Issuer) Revoke(ctx context.Context, request driver.RevokeRequest) error {
	certificate, err := issuing.Certificate(request.Certificate)
	if err != nil {
		return err
	}
	client, err := i.client(ctx)
	if err != nil {
		return err
	}
	defer client.Close()
	serial := certificate.SerialNumber.String()
	token, err := i.token(ctx, client, claim{path: "/revoke", id: rand.Text(), subject: serial}, request.Now())
	if err != nil {
		return err
	}
	question := map[string]any{"serial": serial, "ott": token, "reasonCode": request.Reason, "passive": true}
	status, says, err := i.post(ctx, client, "/revoke", question, &struct{}{})
	if err != nil {
		return fmt.Errorf("couldn't revoke the certificate: %w", err)
	}
	// The CA has no word for it but its sentence.
	if status == http.StatusBadRequest && strings.Contains(says, "already revoked") {
		return nil
	}
	if status != http.StatusOK {
		return fmt.Errorf("couldn't revoke the certificate: %w", client.Refused(status, says))
	}
	return nil
}
