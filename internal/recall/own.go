// SPDX-License-Identifier: Apache-2.0

package recall

import (
	"bytes"
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/driver"
	"github.com/tallystick/tallystick/internal/ca"
	"github.com/tallystick/tallystick/internal/gate"
	"github.com/tallystick/tallystick/internal/order"
	"github.com/tallystick/tallystick/internal/store"
)

// OwnCA is the private CA as a recall asks it.
type OwnCA struct {
	CA *ca.CA
	DB *store.DB
	// Flush returns when what is published says what was revoked before; nil where nobody
	// publishes.
	Flush func(ctx context.Context) error
	Now   func() time.Time
}

// Issuer returns one of its authorities as an issuer, for Config.Issuers.
func (o OwnCA) Issuer(authority string) driver.Issuer {
	return &order.Own{CA: o.CA, Authority: authority, Via: via, Actor: actorOf}
}

// actorOf returns as whom the private CA is asked, by the name of an order: its policy can
// say what recalls may have.
func actorOf(name string) gate.Actor {
	recall, _, _ := strings.Cut(strings.TrimPrefix(name, "recall-"), ".")
	return actor(recall)
}

// Revoke revokes certificates because their keys are in other hands, blocks the keys, and
// waits until that is published.
func (o OwnCA) Revoke(ctx context.Context, certificates [][]byte, r tallystick.Recall) error {
	request := ca.RevokeRequest{Reason: keyCompromise, InvalidSince: r.Since, Note: "recall " + r.Name}
	for _, der := range certificates {
		serial := order.SerialOf(der)
		if serial == "" {
			return fmt.Errorf("%w: a certificate cannot be read", tallystick.ErrInvalid)
		}
		request.Serials = append(request.Serials, serial)
	}
	if len(request.Serials) == 0 {
		return nil
	}
	if _, err := o.CA.Revoke(ctx, actor(r.Name), request); err != nil || o.Flush == nil {
		return err
	}
	return o.Flush(ctx)
}

// Lists returns the complete list of each of our CAs above a certificate.
func (o OwnCA) Lists(ctx context.Context, of driver.Public) ([][]byte, error) {
	var lists [][]byte
	err := o.above(ctx, of, func(_ *x509.Certificate, authority int64) error {
		list, err := o.DB.CRL(ctx, authority, store.CompleteList)
		if err == nil {
			lists = append(lists, list.List)
		} else if !errors.Is(err, tallystick.ErrNotFound) {
			return err
		}
		return nil
	})
	return lists, err
}

// Authorities returns our CAs above a certificate.
func (o OwnCA) Authorities(ctx context.Context, of driver.Public) ([][]byte, error) {
	var list [][]byte
	err := o.above(ctx, of, func(c *x509.Certificate, _ int64) error {
		list = append(list, c.Raw)
		return nil
	})
	return list, err
}

// above calls fn for each of our CAs above a certificate, from its issuer up.
func (o OwnCA) above(ctx context.Context, of driver.Public, fn func(c *x509.Certificate, authority int64) error) error {
	if len(of.Chain) == 0 {
		return nil
	}
	certificate, err := x509.ParseCertificate(of.Chain[0])
	if err != nil {
		return fmt.Errorf("%w: the certificate cannot be read", tallystick.ErrInvalid)
	}
	all, err := o.DB.Authorities(ctx)
	if err != nil {
		return err
	}
	for range len(all) { // a loop of cross-signed CAs ends here
		above, at := issuerAmong(all, certificate)
		if above == nil {
			return nil
		}
		if err := fn(above, at); err != nil || bytes.Equal(above.RawSubject, above.RawIssuer) {
			return err
		}
		certificate = above
	}
	return nil
}

// issuerAmong returns the authority that signed a certificate, with its number.
func issuerAmong(all []store.Authority, c *x509.Certificate) (*x509.Certificate, int64) {
	for _, a := range all {
		above, err := x509.ParseCertificate(a.Certificate)
		if err == nil && bytes.Equal(above.RawSubject, c.RawIssuer) && c.CheckSignatureFrom(above) == nil {
			return above, a.ID
		}
	}
	return nil, 0
}

// Burnt says whether a certificate is revoked, or its key blocked.
func (o OwnCA) Burnt(ctx context.Context, public driver.Public) (string, error) {
	if len(public.Chain) == 0 {
		return "", nil
	}
	c, err := x509.ParseCertificate(public.Chain[0])
	if err != nil {
		return "", fmt.Errorf("%w: the certificate cannot be read", tallystick.ErrInvalid)
	}
	if err := o.CA.KeyRefused(ctx, tallystick.KeyIDOf(c.RawSubjectPublicKeyInfo)); errors.Is(err, ca.ErrBadKey) {
		return err.Error(), nil
	} else if err != nil {
		return "", err
	}
	made, err := o.CA.Find(ctx, ca.SerialOf(c.SerialNumber))
	if errors.Is(err, tallystick.ErrNotFound) {
		return "", nil // it is somebody else's
	}
	if err != nil || !bytes.Equal(made.DER, public.Chain[0]) || made.Revocation == nil {
		return "", err
	}
	return "it was revoked at " + made.Revocation.At.UTC().Format(time.DateTime), nil
}
