// SPDX-License-Identifier: Apache-2.0

package vault

import (
	"context"
	"encoding/binary"
	"errors"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/internal/custody"
	"github.com/tallystick/tallystick/internal/store"
)

// customerKey is the kind of a customer's data key in the custody.
const customerKey = "customer-key"

// keyOwner says to the custody whose data key it is.
func keyOwner(customer string) custody.Owner {
	return custody.Owner{Kind: customerKey, Name: "vault/" + customer}
}

// contextOf is what is authenticated with a version: which one it is of which secret,
// what that opens, and who may have it. A length goes before each part, so that no two
// versions have the same. Whoever can write to the database and does not have the
// wrapping key can neither put a version in another's place nor give it another holder.
func contextOf(s store.EntrustedSecret, v store.EntrustedVersion) []byte {
	aad := []byte("tallystick vault 1")
	for _, part := range []string{s.ID, s.Customer, s.System, s.Account, s.Kind, v.Holder, v.KeyID} {
		aad = binary.BigEndian.AppendUint32(aad, uint32(len(part)))
		aad = append(aad, part...)
	}
	return binary.BigEndian.AppendUint64(aad, uint64(v.Number))
}

// keys are the data keys that were opened for one change, by customer.
type keys struct {
	custody *custody.Custody
	db      *store.DB
	byName  map[string]*custody.DataKey
}

func newKeys(c *custody.Custody, db *store.DB) keys {
	return keys{c, db, map[string]*custody.DataKey{}}
}

// of returns the data key that new versions of a customer go under. One that was ever
// under an older wrapping key is replaced: who had that, and has a copy of the data from
// then, must not be able to read what comes now.
func (k keys) of(ctx context.Context, customer string) (*custody.DataKey, error) {
	if key := k.byName[customer]; key != nil {
		return key, nil
	}
	owner := keyOwner(customer)
	have, err := k.db.NamedSecrets(ctx, owner.Name)
	if err != nil && !errors.Is(err, tallystick.ErrNotFound) {
		return nil, err
	}
	var key *custody.DataKey
	if len(have) > 0 {
		if key, err = k.custody.OpenDataKey(ctx, have[0], owner); err != nil {
			return nil, err
		}
	}
	if key == nil || !key.Fresh {
		if key, err = k.custody.NewDataKey(ctx, owner); err != nil {
			return nil, err
		}
		if _, err := k.db.RenameSecret(ctx, owner.Name, []string{key.ID}); err != nil {
			return nil, err
		}
	}
	k.byName[customer] = key
	return key, nil
}
