// SPDX-License-Identifier: Apache-2.0

package acme

import (
	"context"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"github.com/mholt/acmez/v3/acme"

	"github.com/tallystick/tallystick/driver"
	"github.com/tallystick/tallystick/driver/issuing"
)

// LookStanding asks when the CA wants a certificate renewed (RFC 9773 section 4).
// ACME does not tell whether one is revoked.
func (i *Issuer) LookStanding(ctx context.Context, request driver.StandingRequest) (driver.Standing, error) {
	standing := driver.Standing{Status: driver.StandingUnknown}
	certificate, err := issuing.Certificate(request.Certificate)
	if err != nil {
		return driver.Standing{}, err
	}
	s, err := i.begin(nil, request.Now)
	if err != nil {
		return driver.Standing{}, err
	}
	defer s.http.Close()
	if len(certificate.AuthorityKeyId) == 0 {
		return standing, nil // ARI has no name for it
	}
	directory, err := s.client.GetDirectory(ctx)
	if err != nil {
		return driver.Standing{}, s.failed(ctx, "read the CA's directory", err)
	}
	if directory.RenewalInfo == "" {
		return standing, nil
	}
	return s.renewal(ctx, directory.RenewalInfo, certificate)
}

// renewal asks for the renewal information of a certificate. The library's own way
// takes a window of a second for a mistake, which is how a CA may well say "now".
func (s *session) renewal(ctx context.Context, address string, certificate *x509.Certificate) (driver.Standing, error) {
	id, err := acme.ARIUniqueIdentifier(certificate)
	if err != nil {
		return driver.Standing{}, invalid("the certificate has no name for ARI: %v", err)
	}
	status, body, err := s.http.Do(ctx, http.MethodGet, strings.TrimRight(address, "/")+"/"+id, nil, nil)
	if err != nil {
		return driver.Standing{}, err
	}
	if status != http.StatusOK {
		return driver.Standing{}, fmt.Errorf("couldn't ask when the certificate is to be renewed: %w", s.http.Refused(status, string(body)))
	}
	var info acme.RenewalInfo
	if err := json.Unmarshal(body, &info); err != nil {
		return driver.Standing{}, errors.New("couldn't read when the CA wants the certificate renewed")
	}
	window := info.SuggestedWindow
	if window.Start.IsZero() || !window.End.After(window.Start) {
		return driver.Standing{}, errors.New("the CA wants the certificate renewed in a time that ends before it begins")
	}
	standing := driver.Standing{
		Status: driver.StandingUnknown, WindowStart: window.Start, WindowEnd: window.End, Again: s.http.RetryAfter(s.now()),
	}
	if page, err := url.Parse(info.ExplanationURL); err == nil && page.Scheme == "https" {
		standing.Explanation = s.http.Clean(info.ExplanationURL)
	}
	return standing, nil
}
