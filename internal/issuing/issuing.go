// SPDX-License-Identifier: Apache-2.0

// Package issuing puts what issuing consists of side by side, for the pages, the API
// and the commands: the private CA, its policy, what it publishes, the ACME server's
// accounts and orders, and renewals. What needs more than one of them is here.
package issuing

import (
	"context"
	"fmt"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/internal/acme"
	"github.com/tallystick/tallystick/internal/ca"
	"github.com/tallystick/tallystick/internal/gate"
	"github.com/tallystick/tallystick/internal/policy"
	"github.com/tallystick/tallystick/internal/problem"
	"github.com/tallystick/tallystick/internal/renewal"
	"github.com/tallystick/tallystick/internal/revocation"
)

// Issuing is all of it. CA and Gate are needed; what else is nil is not there, and
// what asks for it is answered with nothing.
type Issuing struct {
	CA     *ca.CA
	Gate   *gate.Gate
	Policy *policy.Policy
	// Lists publishes what was revoked.
	Lists    *revocation.Publisher
	ACME     *acme.Desk
	Renewals *renewal.Engine

	samples samples
}

// Rules returns the rules of the policy in the order in which they are asked.
func (i *Issuing) Rules(ctx context.Context, who gate.Actor) ([]policy.Rule, error) {
	if err := i.Gate.Check(ctx, who, gate.ReadAuthorities, "policy"); err != nil || i.Policy == nil {
		return nil, err
	}
	return i.Policy.Rules(), nil
}

// Profiles returns what can be asked for.
func (i *Issuing) Profiles(ctx context.Context, who gate.Actor) ([]ca.Profile, error) {
	if err := i.Gate.Check(ctx, who, gate.ReadAuthorities, "profiles"); err != nil {
		return nil, err
	}
	return i.CA.Profiles(), nil
}

// Health says how the lists of revoked certificates are.
func (i *Issuing) Health(ctx context.Context, who gate.Actor) ([]revocation.Health, error) {
	if err := i.Gate.Check(ctx, who, gate.ReadAuthorities, "lists of revoked certificates"); err != nil || i.Lists == nil {
		return nil, err
	}
	return i.Lists.Health(ctx)
}

// Revoke takes trust away. With wait it returns when what is published says so; an
// error then does not undo the revocation.
func (i *Issuing) Revoke(ctx context.Context, who gate.Actor, r ca.RevokeRequest, wait bool) (n int, err error) {
	if len(r.Serials) == 0 && r.Key == "" {
		return 0, problem.With(fmt.Errorf("%w: nothing is named that could be revoked", tallystick.ErrInvalid), "Name serials or a key.")
	}
	if n, err = i.CA.Revoke(ctx, who, r); err != nil || !wait || i.Lists == nil {
		return n, err
	}
	if err := i.Lists.Flush(ctx); err != nil {
		return n, fmt.Errorf("%d were revoked, and that is not published yet: %w", n, err)
	}
	return n, nil
}
