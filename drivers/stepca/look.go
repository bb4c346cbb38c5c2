// SPDX-License-Identifier: Apache-2.0

package stepca

import (
	"context"
	"fmt"
	"net/http"

	"github.com/tallystick/tallystick/driver"
	"github.com/tallystick/tallystick/driver/issuing"
)

// LookStanding reads the CA's revocation list. A step-ca that makes none, which is
// how it comes, says nothing of any certificate.
func (i *Issuer) LookStanding(ctx context.Context, request driver.StandingRequest) (driver.Standing, error) {
	unknown := driver.Standing{Status: driver.StandingUnknown}
	certificate, issuer, err := issuing.Signed(request)
	if err != nil || issuer == nil {
		return unknown, err
	}
	client, err := i.client(ctx)
	if err != nil {
		return driver.Standing{}, err
	}
	defer client.Close()
	status, list, err := client.Do(ctx, http.MethodGet, i.base+"/crl", nil, nil)
	switch {
	case err != nil:
		return driver.Standing{}, fmt.Errorf("couldn't fetch the revocation list: %w", err)
	case status == http.StatusNotFound, status == http.StatusNotImplemented:
		return unknown, nil
	case status != http.StatusOK:
		return driver.Standing{}, fmt.Errorf("couldn't fetch the revocation list: %w", client.Refused(status, message(list)))
	}
	return issuing.ByList(list, issuer, certificate, request.Now())
}
