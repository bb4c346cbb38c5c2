// SPDX-License-Identifier: Apache-2.0

package scan

import (
	"context"
	"maps"
	"path/filepath"
	"slices"
	"sync"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/internal/finding"
)

// knownCAs is a finding.CASource without a store: what was found, and what
// this machine trusts.
type knownCAs struct {
	mu      sync.Mutex
	subject map[string][]*tallystick.Credential // guarded by mu; CA certificates by subject
	public  map[tallystick.Fingerprint]bool     // guarded by mu; shipped by a vendor, as far as can be told
	stores  map[string]bool                     // guarded by mu; paths of the trust stores here
}

var _ finding.CASource = (*knownCAs)(nil)

func newKnownCAs() *knownCAs {
	return &knownCAs{subject: map[string][]*tallystick.Credential{}, public: map[tallystick.Fingerprint]bool{}, stores: map[string]bool{}}
}

// add makes a certificate known as a possible issuer.
func (k *knownCAs) add(c *tallystick.Credential) {
	k.mu.Lock()
	defer k.mu.Unlock()
	same := func(known *tallystick.Credential) bool { return known.ID == c.ID }
	if c.Kind == tallystick.KindCertificate && c.IsCA && !slices.ContainsFunc(k.subject[c.Subject], same) {
		k.subject[c.Subject] = append(k.subject[c.Subject], c)
	}
}

// trust takes what is in a trust store.
func (k *knownCAs) trust(s tallystick.Sighting) {
	k.add(&s.Credential)
	k.mu.Lock()
	defer k.mu.Unlock()
	k.public[s.Credential.ID] = true
	k.stores[s.Place.Path()] = true
}

// distrust takes what the machine's administrator has put into it.
func (k *knownCAs) distrust(s tallystick.Sighting) {
	k.mu.Lock()
	defer k.mu.Unlock()
	delete(k.public, s.Credential.ID)
}

// storesAt returns the trust stores that paths lead to: a store that lies
// beneath a path, and a path that is a part of a store. What is in them is not
// only kept there, but believed.
func (k *knownCAs) storesAt(paths []string) []string {
	k.mu.Lock()
	defer k.mu.Unlock()
	found := map[string]bool{}
	for _, path := range paths {
		absolute, err := filepath.Abs(path)
		if err != nil {
			continue // the files driver says so
		}
		for store := range k.stores {
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
func (k *knownCAs) Issuers(_ context.Context, c *tallystick.Credential) ([]*tallystick.Credential, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	var list []*tallystick.Credential
	for _, candidate := range k.subject[c.Issuer] {
		if (c.AuthorityKeyID == "" || c.AuthorityKeyID == candidate.SubjectKeyID) && len(list) < maxIssuers {
			list = append(list, candidate)
		}
	}
	return list, nil
}

// PublicRoot says whether vendors ship a root.
func (k *knownCAs) PublicRoot(_ context.Context, root *tallystick.Credential) (bool, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.public[root.ID], nil
}
