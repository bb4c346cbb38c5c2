// SPDX-License-Identifier: Apache-2.0

package custody

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/internal/store"
)

// A Status says how a custody stands. It holds nothing secret.
type Status struct {
	Wrapping Identity // of new secrets
	// State is one of the words below.
	State string
	// Why is what a wrapping key that is out of reach says.
	Why  string
	Keys []KeyStatus // all wrapping keys that are on record, the oldest first
}

// The states of a wrapping key.
const (
	StateReachable = "reachable"
	StateAway      = "out-of-reach"
	StateUnused    = "unused" // nothing is under it yet
)

// A KeyStatus says what a wrapping key is there for.
type KeyStatus struct {
	store.WrappingKey
	Secrets []store.SecretCount // by kind
}

// Kept returns how many secrets are under it.
func (k KeyStatus) Kept() (n int64) {
	for _, count := range k.Secrets {
		n += count.Kept
	}
	return n
}

// Keys returns the wrapping keys on record and what is under each, without one at hand.
func Keys(ctx context.Context, db *store.DB) ([]KeyStatus, error) {
	rows, err := db.WrappingKeys(ctx)
	if err != nil {
		return nil, err
	}
	counts, err := db.CountSecrets(ctx)
	if err != nil {
		return nil, err
	}
	keys := make([]KeyStatus, len(rows))
	for i, row := range rows {
		keys[i].WrappingKey = row
		for _, n := range counts {
			if n.WrappingKey == row.ID {
				keys[i].Secrets = append(keys[i].Secrets, n)
			}
		}
	}
	return keys, nil
}

// Status looks whether the wrapping key answers, now.
func (c *Custody) Status(ctx context.Context) (Status, error) {
	c.mu.RLock()
	w := c.current
	c.mu.RUnlock()
	s := Status{Wrapping: w.Identity(), State: StateReachable}
	row, err := c.wrappingKey(ctx, s.Wrapping.ID)
	if err == nil {
		err = fits(ctx, w, row)
	}
	switch {
	case errors.Is(err, tallystick.ErrNotFound):
		s.State = StateUnused
	case errors.Is(err, tallystick.ErrUnavailable):
		s.State, s.Why = StateAway, err.Error()
	case err != nil:
		return s, err
	}
	s.Keys, err = Keys(ctx, c.db)
	return s, err
}

// A Readable is a secret that can or could be read with a wrapping key.
type Readable struct {
	ID, Kind, Owner string
	Device          string // of a key that could be used and never be read
	Created         time.Time
	Destroyed       time.Time // zero while it is kept
	Since, Until    time.Time // while it was under the key; Until is zero while it is
}

// lineagePage is how many rows are read at a time.
const lineagePage = 1000

// ReadableWith returns the lineage of a wrapping key: everything that is or was
// under it, without the secrets. That is what has to be replaced when the key is
// stolen. A key that was never in use is ErrNotFound.
func ReadableWith(ctx context.Context, db *store.DB, wrappingKey string) ([]Readable, error) {
	rows, err := db.WrappingKeys(ctx)
	if err != nil {
		return nil, err
	}
	known := false
	for _, row := range rows {
		known = known || row.ID == wrappingKey
	}
	if !known {
		return nil, fmt.Errorf("%w: there is no wrapping key %s", tallystick.ErrNotFound, wrappingKey)
	}
	list := []Readable{}
	after := ""
	for {
		page, err := db.Wrappings(ctx, wrappingKey, after, lineagePage)
		if err != nil || len(page) == 0 {
			return list, err
		}
		for _, w := range page {
			list = append(list, Readable{ID: w.Secret, Kind: w.Kind, Owner: w.Owner, Device: w.Device,
				Created: w.Created, Destroyed: w.Destroyed, Since: w.Since, Until: w.Until})
		}
		after = page[len(page)-1].Secret
	}
}

// Readable is ReadableWith of this custody's store.
func (c *Custody) Readable(ctx context.Context, wrappingKey string) ([]Readable, error) {
	return ReadableWith(ctx, c.db, wrappingKey)
}
