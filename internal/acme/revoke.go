// SPDX-License-Identifier: Apache-2.0

package acme

import (
	"bytes"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"net/http"
	"net/netip"
	"slices"
	"strings"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/internal/ca"
	"github.com/tallystick/tallystick/internal/store"
)

// revocationRequest is the payload of revokeCert (section 7.6).
type revocationRequest struct {
	Certificate string `json:"certificate"`
	Reason      int    `json:"reason"`
}

// revoke revokes a certificate for its account, for an account that has proven all of its
// names, or for whoever has its key (section 7.6).
func (x *exchange) revoke() error {
	var ask revocationRequest
	if err := x.read(&ask); err != nil {
		return err
	}
	der, err := base64.RawURLEncoding.DecodeString(ask.Certificate)
	if err != nil {
		return malformed("the certificate is not base64url of DER")
	}
	certificate, err := x509.ParseCertificate(der)
	if err != nil {
		return malformed("the certificate cannot be read")
	}
	made, err := x.CA.Find(x.ctx, ca.SerialOf(certificate.SerialNumber))
	if errors.Is(err, tallystick.ErrNotFound) || errors.Is(err, tallystick.ErrInvalid) || err == nil && !bytes.Equal(made.DER, der) {
		return problem(http.StatusNotFound, "malformed", "no CA here has signed this certificate")
	}
	if err != nil {
		return err
	}
	note, err := x.mayRevoke(made, certificate)
	if err != nil {
		return err
	}
	if made.Revocation != nil {
		return problem(http.StatusBadRequest, "alreadyRevoked", "the certificate was revoked already")
	}
	return x.revokeFor(made, ca.Reason(ask.Reason), note)
}

// revokeFor revokes a certificate for one who may.
func (x *exchange) revokeFor(made ca.Certificate, reason ca.Reason, note string) error {
	if !reason.Known() || reason == ca.CACompromise || reason == ca.AACompromise {
		return problem(http.StatusBadRequest, "badRevocationReason", "the reason is one of 0, 1, 3, 4, 5 and 9 (RFC 5280 section 5.3.1)")
	}
	if reason == ca.KeyCompromise && x.key == nil {
		// It blocks the key for ever, also for others that have it.
		return problem(http.StatusBadRequest, "badRevocationReason", "keyCompromise (1) is taken from a request that is signed with the key of the certificate; an account may give 0, 3, 4, 5 or 9")
	}
	who := actorOf("key " + string(made.Key[:16]))
	if x.account != nil {
		who = actorOf(x.account.ID)
	}
	_, err := x.CA.Revoke(x.ctx, who, ca.RevokeRequest{Serials: []ca.Serial{made.Serial}, Reason: reason, Note: note, Proven: true})
	if err != nil {
		return err
	}
	return x.send(http.StatusOK, "", nil)
}

// mayRevoke says by what right who asks may revoke a certificate, or refuses.
func (x *exchange) mayRevoke(made ca.Certificate, certificate *x509.Certificate) (note string, err error) {
	switch {
	case x.key != nil && sameKey(certificate.PublicKey, x.key.Key):
		return "by whoever has its key", nil
	case x.key != nil:
		return "", unauthorized("the request is not signed with the key of the certificate")
	case made.Requester == actorOf(x.account.ID).Name:
		return "by its account", nil
	}
	if len(made.Names.Emails)+len(made.Names.URIs)+len(made.Names.Principals) > 0 {
		return "", unauthorized("the certificate is of another account")
	}
	for _, name := range made.Names.DNS {
		if err := x.holds(store.ACMEIdentifier{Type: typeDNS, Value: name}); err != nil {
			return "", err
		}
	}
	for _, ip := range made.Names.IPs {
		if err := x.holds(store.ACMEIdentifier{Type: typeIP, Value: ip.String()}); err != nil {
			return "", err
		}
	}
	if len(made.Names.DNS)+len(made.Names.IPs) == 0 || !isAmong(certificate.Subject.CommonName, made.Names) {
		return "", unauthorized("the certificate is of another account")
	}
	return "by an account that has proven its names", nil
}

// isAmong says whether a common name is one of the names that were proven. None is.
func isAmong(commonName string, names ca.Names) bool {
	if ip, err := netip.ParseAddr(commonName); err == nil {
		return slices.Contains(names.IPs, ip)
	}
	return commonName == "" || slices.Contains(names.DNS, strings.ToLower(commonName))
}

// holds refuses who has no valid authorization for a name.
func (x *exchange) holds(id store.ACMEIdentifier) error {
	value, wildcard := strings.CutPrefix(id.Value, "*.")
	a, err := x.DB.UsableACMEAuthorization(x.ctx, x.account.ID, id.Type, value, wildcard, x.Now())
	if errors.Is(err, tallystick.ErrNotFound) || err == nil && a.Status != statusValid {
		return unauthorized("the certificate is of another account, and this one has not proven the name").about(id)
	}
	return err
}
