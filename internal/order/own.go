// SPDX-License-Identifier: Apache-2.0

// Package order is what everybody needs who orders certificates from issuers, step by
// step and safe to repeat: an authority of the private CA as one issuer among others,
// and the look at what an issuer answers.
package order

import (
	"context"
	"crypto/sha256"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/driver"
	"github.com/tallystick/tallystick/internal/ca"
	"github.com/tallystick/tallystick/internal/gate"
)

// OwnPrefix stands before the name of a CA of ours where it is an issuer.
const OwnPrefix = "ca/"

// A CA is the private CA: *ca.CA.
type CA interface {
	Issue(ctx context.Context, who gate.Actor, r ca.Request) (ca.Certificate, error)
	FindByKey(ctx context.Context, key [sha256.Size]byte) ([]ca.Certificate, error)
}

// Own is one authority of the private CA as an issuer.
type Own struct {
	CA        CA
	Authority string
	Via       string // how the certificates are asked for: ca.ViaRenewal
	// Actor returns as whom the CA is asked, by the name of an order.
	Actor func(order string) gate.Actor
}

// NoneBefore is the state of an order whose key had no certificate before it.
const NoneBefore = "[]"

// waitForApproval is how often the CA is asked about what somebody must approve.
const waitForApproval = 30 * time.Second

// Issue asks the CA. It has no orders, so what a call before this one may have come
// to is found by its key: which certificates of that key were there before is kept
// first, for one that is kept from certificate to certificate.
func (o *Own) Issue(ctx context.Context, r driver.IssueRequest) (driver.Issued, error) {
	csr, err := x509.ParseCertificateRequest(r.CSR)
	if err != nil {
		return driver.Issued{}, fmt.Errorf("%w: the certificate request cannot be read", tallystick.ErrInvalid)
	}
	made, err := o.CA.FindByKey(ctx, sha256.Sum256(csr.RawSubjectPublicKeyInfo))
	if err != nil {
		return driver.Issued{}, err
	}
	if r.State == "" {
		before := []ca.Serial{}
		for _, c := range made {
			before = append(before, c.Serial)
		}
		state, err := json.Marshal(before)
		if err != nil {
			return driver.Issued{}, err
		}
		if err := r.Keep(string(state)); err != nil {
			return driver.Issued{}, err
		}
		made = nil
	} else {
		var before []ca.Serial
		if err := json.Unmarshal([]byte(r.State), &before); err != nil {
			return driver.Issued{}, fmt.Errorf("couldn't read the state of an order: %w", tallystick.ErrDamaged)
		}
		made = slices.DeleteFunc(made, func(c ca.Certificate) bool { return slices.Contains(before, c.Serial) || c.Revocation != nil })
	}
	if len(made) > 0 {
		return issued(made[0]), nil
	}
	one, err := o.CA.Issue(ctx, o.Actor(r.Order), ca.Request{
		Authority: o.Authority, Profile: r.Profile, CSR: r.CSR, Lifetime: r.Lifetime, Via: o.Via, Replaces: SerialOf(r.Replaces),
	})
	if _, waits := errors.AsType[*ca.Waiting](err); waits {
		return driver.Issued{Retry: r.Now().Add(waitForApproval)}, nil
	}
	if err != nil {
		return driver.Issued{}, err
	}
	return issued(one), nil
}

func issued(c ca.Certificate) driver.Issued {
	return driver.Issued{Chain: append([][]byte{c.DER}, c.Chain...)}
}

// SerialOf returns the name of a certificate (DER) of the private CA; "" of none.
func SerialOf(der []byte) ca.Serial {
	if len(der) == 0 {
		return ""
	}
	c, err := x509.ParseCertificate(der)
	if err != nil {
		return ""
	}
	return ca.SerialOf(c.SerialNumber)
}
