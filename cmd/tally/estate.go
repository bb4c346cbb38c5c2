// SPDX-License-Identifier: Apache-2.0

package main

import (
	"cmp"
	"context"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/internal/finding"
	"github.com/tallystick/tallystick/rule"
)

// memoryCAs is a finding.CASource without a store: what was found, and what
// this machine trusts.
type memoryCAs struct {
	mu      sync.Mutex
	subject map[string][]*tallystick.Credential // guarded by mu; CA certificates by subject
	public  map[tallystick.Fingerprint]bool     // guarded by mu; shipped by a vendor, as far as can be told
	stores  map[string]bool                     // guarded by mu; paths of the trust stores here
}

var _ finding.CASource = (*memoryCAs)(nil)

func newMemoryCAs() *memoryCAs {
	return &memoryCAs{subject: map[string][]*tallystick.Credential{}, public: map[tallystick.Fingerprint]bool{}, stores: map[string]bool{}}
}

// add makes a certificate known as a possible issuer.
func (m *memoryCAs) add(c *tallystick.Credential) {
	m.mu.Lock()
	defer m.mu.Unlock()
	same := func(known *tallystick.Credential) bool { return known.ID == c.ID }
	if c.Kind == tallystick.KindCertificate && c.IsCA && !slices.ContainsFunc(m.subject[c.Subject], same) {
		m.subject[c.Subject] = append(m.subject[c.Subject], c)
	}
}

// trust takes what is in a trust store.
func (m *memoryCAs) trust(s tallystick.Sighting) {
	m.add(&s.Credential)
	m.mu.Lock()
	defer m.mu.Unlock()
	m.public[s.Credential.ID] = true
	m.stores[s.Place.Path()] = true
}

// distrust takes what the machine's administrator has put into it.
func (m *memoryCAs) distrust(s tallystick.Sighting) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.public, s.Credential.ID)
}

// storesAt returns the trust stores that paths lead to: a store that lies
// beneath a path, and a path that is a part of a store. What is in them is not
// only kept there, but believed.
func (m *memoryCAs) storesAt(paths []string) []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	found := map[string]bool{}
	for _, path := range paths {
		absolute, err := filepath.Abs(path)
		if err != nil {
			continue // the files driver says so
		}
		for store := range m.stores {
			at, of := tallystick.FilePlace(absolute), tallystick.FilePlace(store)
			if of.Within(at) {
				found[store] = true
			} else if at.Within(of) {
				found[absolute] = true
			}
		}
	}
	return slices.Sorted(maps.Keys(found))
}

// maxIssuers bounds how many certificates of one name are tried.
const maxIssuers = 8

// Issuers returns the CA certificates that may have issued c.
func (m *memoryCAs) Issuers(_ context.Context, c *tallystick.Credential) ([]*tallystick.Credential, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	var list []*tallystick.Credential
	for _, candidate := range m.subject[c.Issuer] {
		if (c.AuthorityKeyID == "" || c.AuthorityKeyID == candidate.SubjectKeyID) && len(list) < maxIssuers {
			list = append(list, candidate)
		}
	}
	return list, nil
}

// PublicRoot says whether vendors ship a root.
func (m *memoryCAs) PublicRoot(_ context.Context, root *tallystick.Credential) (bool, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.public[root.ID], nil
}

// A memoryEstate is a rule.Estate over a haul.
type memoryEstate struct {
	credentials []*tallystick.Credential // by key
	sightings   map[tallystick.Fingerprint][]heldSighting
}

var _ rule.Estate = (*memoryEstate)(nil)

func newMemoryEstate(h *haul) *memoryEstate {
	e := &memoryEstate{sightings: map[tallystick.Fingerprint][]heldSighting{}}
	e.credentials = slices.SortedFunc(maps.Values(h.credentials), func(a, b *tallystick.Credential) int {
		return cmp.Or(cmp.Compare(a.Key.ID, b.Key.ID), cmp.Compare(a.ID, b.ID))
	})
	for _, s := range h.sightings {
		e.sightings[s.credential.ID] = append(e.sightings[s.credential.ID], s)
	}
	return e
}

// Certificates calls fn for certificates by the prefix of their signature.
func (e *memoryEstate) Certificates(ctx context.Context, prefix string, fn func(*tallystick.Credential) error) error {
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
func (e *memoryEstate) Kept(context.Context, string) ([]byte, error) { return nil, nil }

// Keep keeps nothing.
func (e *memoryEstate) Keep(context.Context, string, []byte) error { return nil }

// Keys calls fn for every key of a family.
func (e *memoryEstate) Keys(ctx context.Context, family string, fn func(rule.KeyUse) error) error {
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

func (e *memoryEstate) bearer(c *tallystick.Credential) rule.KeyBearer {
	b := rule.KeyBearer{ID: c.ID, Kind: c.Kind}
	for _, s := range e.sightings[c.ID] {
		switch {
		case s.Role == tallystick.RoleHolds:
			b.Holds = append(b.Holds, s.Place)
		case s.Role == tallystick.RoleAccepts && s.SSH != nil && s.SSH.Account != "":
			b.Accounts = append(b.Accounts, s.SSH.Account)
		}
	}
	return b
}
