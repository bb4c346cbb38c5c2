// SPDX-License-Identifier: Apache-2.0

package doors

import (
	"bytes"
	"context"
	"crypto"
	"crypto/x509"
	"fmt"
	"slices"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/internal/custody"
)

// keptKind is what custody calls the secrets of this package.
const keptKind = "door-secret"

// A Custody is what CustodyKeys needs of one: *custody.Custody.
type Custody interface {
	NewKey(ctx context.Context, kind custody.KeyType, owner custody.Owner) (id string, signer crypto.Signer, err error)
	Put(ctx context.Context, owner custody.Owner, secret []byte) (id string, err error)
	Signer(ctx context.Context, id string) (crypto.Signer, error)
	Get(ctx context.Context, id string) ([]byte, error)
	Destroy(ctx context.Context, id string) error
}

// A NameStore says which secret has which name: *store.DB. A name has one part or
// several, which are secrets each.
type NameStore interface {
	// NameSecret gives a name to secrets, unless it is taken, and returns those that have it.
	NameSecret(ctx context.Context, name string, ids []string) ([]string, error)
	// RenameSecret gives a name to secrets in place of others, which are returned.
	RenameSecret(ctx context.Context, name string, ids []string) (before []string, err error)
	// NamedSecrets returns the secrets of a name in their order; none is ErrNotFound.
	NamedSecrets(ctx context.Context, name string) ([]string, error)
	// ForgetNames takes away the names at and beneath one, and returns every secret of the
	// kind that belongs to such a name and is not destroyed, also where it never got it.
	ForgetNames(ctx context.Context, prefix, kind string) ([]string, error)
}

// CustodyKeys is Keys over a custody, for the server.
type CustodyKeys struct {
	Custody Custody
	Names   NameStore
}

// maxParts bounds one secret: it has so many parts of custody.MaxSecret bytes.
const maxParts = 64

func (k CustodyKeys) owner(name string) custody.Owner {
	return custody.Owner{Kind: keptKind, Name: name}
}

// Make makes a key, and has it named; who was slower has that of the other.
func (k CustodyKeys) Make(ctx context.Context, name, algorithm string) (crypto.Signer, error) {
	if err := checkName(name); err != nil {
		return nil, err
	}
	if signer, err := k.Signer(ctx, name); !isNotFound(err) {
		return signer, err
	}
	id, signer, err := k.Custody.NewKey(ctx, custody.KeyType(algorithm), k.owner(name))
	if err != nil {
		return nil, err
	}
	ids, err := k.Names.NameSecret(ctx, name, []string{id})
	if err != nil || slices.Equal(ids, []string{id}) {
		return signer, err
	}
	if err := k.Custody.Destroy(ctx, id); err != nil {
		return nil, err
	}
	return k.Signer(ctx, name)
}

// Signer returns a key.
func (k CustodyKeys) Signer(ctx context.Context, name string) (crypto.Signer, error) {
	ids, err := k.Names.NamedSecrets(ctx, name)
	if err != nil {
		return nil, err
	}
	signer, err := k.Custody.Signer(ctx, ids[0])
	if len(ids) > 1 || !isInvalid(err) {
		return signer, err
	}
	der, err := k.Get(ctx, name) // one that KeepKey was given
	if err != nil {
		return nil, err
	}
	defer clear(der)
	return parseKey(der)
}

// KeepKey keeps a key as any other secret: custody takes no weak keys in as keys, and
// those are what is replaced.
func (k CustodyKeys) KeepKey(ctx context.Context, name string, key crypto.Signer) error {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return fmt.Errorf("%w: a key of type %T cannot be kept", tallystick.ErrInvalid, key)
	}
	defer clear(der)
	return k.Keep(ctx, name, der)
}

// Keep keeps a secret, in parts where it is large.
func (k CustodyKeys) Keep(ctx context.Context, name string, secret []byte) error {
	if err := checkName(name); err != nil {
		return err
	}
	if len(secret) == 0 || len(secret) > maxParts*custody.MaxSecret {
		return fmt.Errorf("%w: a secret has 1 to %d bytes", tallystick.ErrInvalid, maxParts*custody.MaxSecret)
	}
	if kept, err := k.Get(ctx, name); err == nil && bytes.Equal(kept, secret) {
		return nil
	}
	var ids []string
	for part := range slices.Chunk(secret, custody.MaxSecret) {
		id, err := k.Custody.Put(ctx, k.owner(name), part)
		if err != nil {
			return err
		}
		ids = append(ids, id)
	}
	before, err := k.Names.RenameSecret(ctx, name, ids)
	if err != nil {
		return err
	}
	return k.destroy(ctx, before)
}

// Get returns a secret.
func (k CustodyKeys) Get(ctx context.Context, name string) ([]byte, error) {
	ids, err := k.Names.NamedSecrets(ctx, name)
	if err != nil {
		return nil, err
	}
	var secret []byte
	for _, id := range ids {
		part, err := k.Custody.Get(ctx, id)
		if err != nil {
			return nil, err
		}
		secret = append(secret, part...)
		clear(part)
	}
	return secret, nil
}

// Forget destroys. A name goes before its secret, so that what is cut off half-way is
// found again by the owner that the secret has.
func (k CustodyKeys) Forget(ctx context.Context, prefix string) error {
	if err := checkName(prefix); err != nil {
		return err
	}
	ids, err := k.Names.ForgetNames(ctx, prefix, keptKind)
	if err != nil {
		return err
	}
	return k.destroy(ctx, ids)
}

func (k CustodyKeys) destroy(ctx context.Context, ids []string) error {
	for _, id := range ids {
		if err := k.Custody.Destroy(ctx, id); err != nil {
			return err
		}
	}
	return nil
}
