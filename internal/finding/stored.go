// SPDX-License-Identifier: Apache-2.0

package finding

import (
	"context"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/internal/store"
)

// storedCAs is the CASource over the store. It remembers what it was asked,
// because a thousand certificates of one issuer ask the same; it lives for one
// pass over what is due, so that what it remembers does not grow old.
type storedCAs struct {
	db      *store.DB
	issuers map[issuerKey][]*tallystick.Credential
	public  map[tallystick.Fingerprint]bool
}

// An issuerKey is what Issuers looks for.
type issuerKey struct{ name, keyID string }

// maxRemembered bounds each of the two memories.
const maxRemembered = 2000

func newStoredCAs(db *store.DB) *storedCAs {
	return &storedCAs{db: db, issuers: map[issuerKey][]*tallystick.Credential{}, public: map[tallystick.Fingerprint]bool{}}
}

func (s *storedCAs) Issuers(ctx context.Context, c *tallystick.Credential) ([]*tallystick.Credential, error) {
	key := issuerKey{c.Issuer, c.AuthorityKeyID}
	if list, ok := s.issuers[key]; ok {
		return list, nil
	}
	list, err := s.db.Issuers(ctx, c)
	if err == nil && len(s.issuers) < maxRemembered {
		s.issuers[key] = list
	}
	return list, err
}

func (s *storedCAs) PublicRoot(ctx context.Context, root *tallystick.Credential) (bool, error) {
	if public, ok := s.public[root.ID]; ok {
		return public, nil
	}
	public, err := s.db.TrustedOutside(ctx, root.ID, AdministratorCAs)
	if err == nil && len(s.public) < maxRemembered {
		s.public[root.ID] = public
	}
	return public, err
}
