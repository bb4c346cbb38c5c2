// SPDX-License-Identifier: Apache-2.0

package renewal

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/driver"
	"github.com/tallystick/tallystick/internal/ca"
	"github.com/tallystick/tallystick/internal/gate"
	"github.com/tallystick/tallystick/internal/order"
)

// OwnPrefix stands before the name of a CA of ours where it is an issuer.
const OwnPrefix = order.OwnPrefix

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
	order.Own
	ca OwnCA
}

func newOwn(c OwnCA, authority string) *own {
	actor := func(name string) gate.Actor {
		renewal, _, _ := strings.Cut(name, ".")
		return actorOf(renewal)
	}
	return &own{order.Own{CA: c, Authority: authority, Via: ca.ViaRenewal, Actor: actor}, c}
}

// LookStanding says what the CA says of a certificate.
func (o *own) LookStanding(ctx context.Context, r driver.StandingRequest) (driver.Standing, error) {
	serial := order.SerialOf(r.Certificate)
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
