// SPDX-License-Identifier: Apache-2.0

package vault

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"math/big"
	"net/http"
	"strings"
	"time"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/driver"
	"github.com/tallystick/tallystick/driver/issuing"
)

// LookStanding asks for a certificate by its serial number ("Read certificate"). A
// role that stores nothing leaves nothing to ask for.
func (i *Issuer) LookStanding(ctx context.Context, request driver.StandingRequest) (driver.Standing, error) {
	certificate, err := issuing.Certificate(request.Certificate)
	if err != nil {
		return driver.Standing{}, err
	}
	s, err := i.signIn(ctx)
	if err != nil {
		return driver.Standing{}, err
	}
	defer s.close(ctx)
	var answer struct {
		Data struct {
			Certificate string `json:"certificate"`
			Revoked     int64  `json:"revocation_time"` // seconds; 0 for not
		}
	}
	err = s.call(ctx, http.MethodGet, s.at("cert", serial(certificate.SerialNumber)), nil, &answer)
	if errors.Is(err, tallystick.ErrNotFound) {
		return driver.Standing{Status: driver.StandingUnknown}, nil
	}
	if err != nil {
		return driver.Standing{}, fmt.Errorf("couldn't look the certificate up: %w", err)
	}
	ders, err := issuing.PEM([]byte(answer.Data.Certificate))
	if err != nil {
		return driver.Standing{}, fmt.Errorf("couldn't read the server's answer: %w", err)
	}
	switch {
	case !bytes.Equal(ders[0], certificate.Raw):
		return driver.Standing{Status: driver.StandingUnknown}, nil // another mount's: serial numbers are not unique
	case answer.Data.Revoked > 0:
		return driver.Standing{Status: driver.StandingRevoked, Revoked: time.Unix(answer.Data.Revoked, 0)}, nil
	}
	return driver.Standing{Status: driver.StandingGood}, nil
}

// serial writes a serial number as the API does: octets in hex with colons.
func serial(number *big.Int) string {
	digits := hex.EncodeToString(number.Bytes())
	var octets []string
	for n := 0; n < len(digits); n += 2 {
		octets = append(octets, digits[n:n+2])
	}
	return strings.Join(octets, ":")
}
