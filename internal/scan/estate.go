// SPDX-License-Identifier: Apache-2.0

package scan

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"strings"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/rule"
)

// An estate is a rule.Estate over what a scan has seen.
type estate struct {
	credentials []*tallystick.Credential // by key
	sightings   []sighting
	where       map[tallystick.Fingerprint][]int // in sightings
}

var _ rule.Estate = (*estate)(nil)

// newEstate needs the mutex of s.
func newEstate(s *Scan, where map[tallystick.Fingerprint][]int) *estate {
	byKey := slices.SortedFunc(maps.Values(s.credentials), func(a, b *tallystick.Credential) int {
		return cmp.Or(cmp.Compare(a.Key.ID, b.Key.ID), cmp.Compare(a.ID, b.ID))
	})
	return &estate{credentials: byKey, sightings: s.sightings, where: where}
}

// Certificates calls fn for certificates by the prefix of their signature.
func (e *estate) Certificates(ctx context.Context, prefix string, fn func(*tallystick.Credential) error) error {
	byIssuer := slices.Clone(e.credentials)
	slices.SortStableFunc(byIssuer, func(a, b *tallystick.Credential) int { return cmp.Compare(a.Issuer, b.Issuer) })
	for _, c := range byIssuer {
		if c.Kind != tallystick.KindCertificate || !strings.HasPrefix(c.Signature, prefix) {
			continue
		}
		if err := cmp.Or(ctx.Err(), fn(c)); err != nil {
			return err
		}
	}
	return nil
}

// Kept returns nothing: a scan has no earlier time to remember.
func (e *estate) Kept(context.Context, string) ([]byte, error) { return nil, nil }

// Keep keeps nothing.
func (e *estate) Keep(context.Context, string, []byte) error { return nil }

// Keys calls fn for every key of a family.
func (e *estate) Keys(ctx context.Context, family string, fn func(rule.KeyUse) error) error {
	var use rule.KeyUse
	emit := func() error {
		if len(use.Credentials) == 0 || ctx.Err() != nil {
			return ctx.Err()
		}
		return fn(use)
	}
	for _, c := range e.credentials {
		if c.Key.ID == "" || !strings.HasPrefix(c.Key.Algorithm, family) {
			continue
		}
		if c.Key.ID != use.Key.ID {
			if err := emit(); err != nil {
				return err
			}
			use = rule.KeyUse{Key: c.Key}
		}
		use.Credentials = append(use.Credentials, e.bearer(c))
	}
	return emit()
}

func (e *estate) bearer(c *tallystick.Credential) rule.KeyBearer {
	b := rule.KeyBearer{ID: c.ID, Kind: c.Kind}
	for _, i := range e.where[c.ID] {
		s := &e.sightings[i]
		switch {
		case s.role == tallystick.RoleHolds:
			b.Holds = append(b.Holds, s.place)
		case s.role == tallystick.RoleAccepts && s.facts.SSH != nil && s.facts.SSH.Account != "":
			b.Accounts = append(b.Accounts, s.facts.SSH.Account)
		}
	}
	return b
}
