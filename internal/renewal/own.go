// SPDX-License-Identifier: Apache-2.0

package renewal

import (
	"context"
	"crypto/sha256"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/driver"
	"github.com/tallystick/tallystick/internal/ca"
	"github.com/tallystick/tallystick/internal/gate"
)

// OwnPrefix stands before the name of a CA of ours where it is an issuer.
const OwnPrefix = "ca/"

// OwnCA is the private CA: *ca.CA.
type OwnCA interface {
	Issue(ctx context.Context, who gate.Actor, r ca.Request) (ca.Certificate, error)
	Find(ctx context.Context, serial ca.Serial) (ca.Certificate, error)
	FindByKey(ctx context.Context, key [sha256.Size]byte) ([]ca.Certificate, error)
	Window(ctx context.Context, serial ca.Serial) (ca.Window, error)
	Authorities(ctx context.Context) ([]ca.Authority, error)
	Try(ctx context.Context, who, as gate.Actor, r ca.Request) (ca.Decision, error)
}

// actorOf returns as whom the private CA is asked for the certificate of a renewal:
// its policy can say what each renewal may have. Operators add renewals and say for
// which names, so a renewal may have what they may.
func actorOf(renewal string) gate.Actor {
	return gate.Actor{Name: "renewal/" + renewal, Role: gate.Operator, Via: ca.ViaRenewal}
}

// orderName names an order for an issuer. Names of renewals have no dot.
func orderName(renewal string, id int64) string { return fmt.Sprintf("%s.%d", renewal, id) }

// own is one authority of the private CA as an issuer.
type own struct {
	ca        OwnCA
	authority string
}

// noneBefore is the state of an order whose key had no certificate before it.
const noneBefore = "[]"

// waitForApproval is how often the CA is asked about what somebody must approve.
const waitForApproval = 30 * time.Second

// Issue asks the CA. It has no orders, so what a call before this one may have come
// to is found by its key: which certificates of that key were there before is kept
// first, for one that is kept from certificate to certificate.
func (o *own) Issue(ctx context.Context, r driver.IssueRequest) (driver.Issued, error) {
	csr, err := x509.ParseCertificateRequest(r.CSR)
	if err != nil {
		return driver.Issued{}, fmt.Errorf("%w: the certificate request cannot be read", tallystick.ErrInvalid)
	}
	made, err := o.ca.FindByKey(ctx, sha256.Sum256(csr.RawSubjectPublicKeyInfo))
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
	renewal, _, _ := strings.Cut(r.Order, ".")
	one, err := o.ca.Issue(ctx, actorOf(renewal), ca.Request{
		Authority: o.authority, Profile: r.Profile, CSR: r.CSR, Lifetime: r.Lifetime, Via: ca.ViaRenewal, Replaces: serialOf(r.Replaces),
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

// serialOf returns the name of a certificate of the private CA; "" of none.
func serialOf(der []byte) ca.Serial {
	if len(der) == 0 {
		return ""
	}
	c, err := x509.ParseCertificate(der)
	if err != nil {
		return ""
	}
	return ca.SerialOf(c.SerialNumber)
}

// LookStanding says what the CA says of a certificate.
func (o *own) LookStanding(ctx context.Context, r driver.StandingRequest) (driver.Standing, error) {
	serial := serialOf(r.Certificate)
	w, err := o.ca.Window(ctx, serial)
	if errors.Is(err, tallystick.ErrNotFound) {
		return driver.Standing{Status: driver.StandingUnknown}, nil
	}
	if err != nil {
		return driver.Standing{}, err
	}
	s := driver.Standing{Status: driver.StandingGood, WindowStart: w.Start, WindowEnd: w.End, Explanation: w.Explanation, Again: r.Now().Add(w.Retry)}
	if w.End.After(r.Now()) {
		return s, nil
	}
	c, err := o.ca.Find(ctx, serial)
	if err != nil {
		return driver.Standing{}, err
	}
	if c.Revocation != nil {
		s.Status, s.Revoked, s.Reason = driver.StandingRevoked, c.Revocation.At, int(c.Revocation.Reason)
	} else if !c.Recalled.IsZero() {
		// From its first minute on, so that nobody takes it for an ordinary window
		// that was missed.
		s.WindowStart, s.WindowEnd = c.NotBefore, c.NotBefore.Add(time.Minute)
	}
	return s, nil
}
