// SPDX-License-Identifier: Apache-2.0

package custody

import (
	"context"
	"crypto"
	"crypto/rand"
	"crypto/x509"
	"errors"
	"fmt"
	"strings"
	"unicode"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/internal/store"
)

// maxOwner bounds what is said about an owner, in bytes.
const maxOwner = 500

func (o Owner) check() error {
	for _, text := range []string{o.Kind, o.Name} {
		if text == "" || len(text) > maxOwner || strings.ContainsFunc(text, unicode.IsControl) {
			return fmt.Errorf("%w: a secret needs a kind and an owner, of at most %d bytes each", tallystick.ErrInvalid, maxOwner)
		}
	}
	return nil
}

// NewKey makes a key pair in software. When it returns, the key is durable: a
// public key never leaves before that, so that no order loses its key.
func (c *Custody) NewKey(ctx context.Context, kind KeyType, owner Owner) (id string, signer crypto.Signer, err error) {
	if signer, err = Generate(kind); err != nil {
		return "", nil, err
	}
	id, err = c.ImportKey(ctx, owner, signer)
	if err != nil {
		return "", nil, err
	}
	return id, signer, nil
}

// HasDevice says whether NewDeviceKey makes keys.
func (c *Custody) HasDevice() bool { return c.device() != nil }

// device is what makes keys that never leave it, nil where there is none.
func (c *Custody) device() KeyMaker {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return c.maker
}

// NewDeviceKey makes a key pair that never leaves the device of the custody.
// Where there is none it is ErrInvalid. A process that is killed before this
// returns may leave a key in the device whose label holds an id that is not on record.
func (c *Custody) NewDeviceKey(ctx context.Context, kind KeyType, owner Owner) (id string, signer crypto.Signer, err error) {
	maker := c.device()
	if maker == nil {
		return "", nil, fmt.Errorf("%w: no device makes keys here: that needs a custody of kind pkcs11", tallystick.ErrInvalid)
	}
	if err := owner.check(); err != nil {
		return "", nil, err
	}
	if _, err := c.forNew(ctx); err != nil { // before there is a key that nobody knows
		return "", nil, err
	}
	id = newID()
	device, signer, err := maker.MakeKey(ctx, "tallystick "+id, kind)
	if err != nil {
		return "", nil, fmt.Errorf("couldn't make a key in the device: %w", err)
	}
	public, err := x509.MarshalPKIXPublicKey(signer.Public())
	if err != nil {
		return "", nil, fmt.Errorf("couldn't encode a public key: %w", err)
	}
	s := store.Secret{ID: id, Kind: owner.Kind, Owner: owner.Name, Device: device, Public: public}
	if err := c.add(ctx, s, []byte(device)); err != nil {
		return "", nil, err
	}
	c.cache.put(id, signer)
	return id, signer, nil
}

// ImportKey takes a key in that was made elsewhere, in software: ECDSA, Ed25519 or
// RSA. It is durable when this returns.
func (c *Custody) ImportKey(ctx context.Context, owner Owner, signer crypto.Signer) (id string, err error) {
	der, public, err := encodeKey(signer)
	if err != nil {
		return "", err
	}
	defer clear(der)
	id = newID()
	if err := c.add(ctx, store.Secret{ID: id, Kind: owner.Kind, Owner: owner.Name, Public: public}, der); err != nil {
		return "", err
	}
	c.cache.put(id, signer)
	return id, nil
}

// Put keeps a secret of at most MaxSecret bytes. It is durable when this returns.
func (c *Custody) Put(ctx context.Context, owner Owner, secret []byte) (id string, err error) {
	if len(secret) == 0 || len(secret) > MaxSecret {
		return "", fmt.Errorf("%w: a secret has 1 to %d bytes", tallystick.ErrInvalid, MaxSecret)
	}
	id = newID()
	return id, c.add(ctx, store.Secret{ID: id, Kind: owner.Kind, Owner: owner.Name}, secret)
}

func newID() string { return strings.ToLower(rand.Text()) }

// add encrypts a text as the secret of a row, and adds the row.
func (c *Custody) add(ctx context.Context, s store.Secret, text []byte) error {
	if err := (Owner{s.Kind, s.Owner}).check(); err != nil {
		return err
	}
	w, err := c.forNew(ctx)
	if err != nil {
		return err
	}
	dataKey := make([]byte, keySize)
	rand.Read(dataKey) // it never fails
	defer clear(dataKey)
	aad := aadOf(s)
	if s.Wrapped, err = w.Wrap(ctx, dataKey, aad); err != nil {
		return fmt.Errorf("couldn't wrap the key of a secret: %w", err)
	}
	aead, err := newAEAD(dataKey)
	if err != nil {
		return err
	}
	s.Sealed, s.WrappingKey, s.Version, s.Created = sealWith(aead, text, aad), w.Identity().ID, 1, c.now()
	return c.db.AddSecret(ctx, s)
}

// Signer returns the key of an id. It is fetched once and kept ready, so that it
// signs on while what holds the wrapping key is away; a key in a device signs there.
func (c *Custody) Signer(ctx context.Context, id string) (crypto.Signer, error) {
	return c.cache.get(ctx, id, func(ctx context.Context) (crypto.Signer, error) { return c.load(ctx, id) })
}

// load reads a key from the store or finds it in its device.
func (c *Custody) load(ctx context.Context, id string) (crypto.Signer, error) {
	s, text, err := c.read(ctx, id)
	if err != nil {
		return nil, err
	}
	defer clear(text)
	if len(s.Public) == 0 {
		return nil, fmt.Errorf("%w: the secret %s is not a key", tallystick.ErrInvalid, id)
	}
	var signer crypto.Signer
	if s.Device != "" {
		signer, err = c.inDevice(ctx, s)
	} else {
		signer, err = decodeKey(text, s.Public)
	}
	if err != nil {
		return nil, fmt.Errorf("couldn't use the key %s: %w", id, err)
	}
	return signer, nil
}

// inDevice finds the key of a row in the device.
func (c *Custody) inDevice(ctx context.Context, s store.Secret) (crypto.Signer, error) {
	maker := c.device()
	if maker == nil {
		return nil, fmt.Errorf("%w: it is in the device %s, which is not open here", tallystick.ErrUnavailable, s.Device)
	}
	signer, err := maker.SignerOf(ctx, s.Device)
	if err != nil {
		return nil, err
	}
	return signer, samePublic(signer, s.Public)
}

// Get returns a secret, which the caller clears after use; of a key made in
// software its PKCS #8. One that was destroyed is ErrNotFound, one that was changed
// or is another's is ErrDamaged, and a key in a device is ErrInvalid.
func (c *Custody) Get(ctx context.Context, id string) ([]byte, error) {
	s, text, err := c.read(ctx, id)
	if err != nil {
		return nil, err
	}
	if s.Device != "" {
		return nil, fmt.Errorf("%w: the key %s never leaves its device", tallystick.ErrInvalid, id)
	}
	return text, nil
}

// read decrypts the secret of a row.
func (c *Custody) read(ctx context.Context, id string) (store.Secret, []byte, error) {
	s, err := c.db.Secret(ctx, id)
	if err != nil {
		return s, nil, err
	}
	if !s.Destroyed.IsZero() {
		return s, nil, fmt.Errorf("%w: the secret %s was destroyed", tallystick.ErrNotFound, id)
	}
	dataKey, err := c.dataKey(ctx, s)
	if err != nil {
		return s, nil, err
	}
	aead, err := newAEAD(dataKey)
	if err != nil {
		return s, nil, err
	}
	text, err := openWith(aead, s.Sealed, aadOf(s))
	if err != nil {
		return s, nil, fmt.Errorf("couldn't decrypt the secret %s: %w", id, err)
	}
	if s.Device != "" && string(text) != s.Device {
		return s, nil, fmt.Errorf("%w: the row of the key %s names another device", tallystick.ErrDamaged, id)
	}
	return s, text, nil
}

// dataKey unwraps the data key of a secret; the caller clears it.
func (c *Custody) dataKey(ctx context.Context, s store.Secret) ([]byte, error) {
	w, err := c.of(ctx, s)
	if err != nil {
		return nil, err
	}
	if len(s.Wrapped) > maxWrapped || len(s.Wrapped) == 0 {
		return nil, fmt.Errorf("%w: the secret %s has no wrapped key", tallystick.ErrDamaged, s.ID)
	}
	dataKey, err := w.Unwrap(ctx, s.Wrapped, aadOf(s))
	if err == nil && len(dataKey) != keySize {
		err = fmt.Errorf("%w: its key has another size", tallystick.ErrDamaged)
	}
	if err != nil {
		return nil, fmt.Errorf("couldn't unwrap the key of the secret %s: %w", s.ID, err)
	}
	return dataKey, nil
}

// A KeyDestroyer is a KeyMaker that can destroy keys; of one that is gone already
// the error is nil.
type KeyDestroyer interface {
	DestroyKey(ctx context.Context, device string) error
}

// Destroy makes a secret unreadable for good: it is overwritten in its row, which
// stays as a record, and a key in a device is destroyed there. Copies of the
// database from before still hold it, under its wrapping key; other processes may
// have it in memory until they end. To destroy it once more changes nothing.
func (c *Custody) Destroy(ctx context.Context, id string) error {
	s, err := c.db.Secret(ctx, id)
	if err != nil {
		return err
	}
	if s.Device != "" && s.Destroyed.IsZero() {
		if err := c.destroyInDevice(ctx, id); err != nil {
			return err
		}
	}
	if err := c.db.DestroySecret(ctx, id, c.now()); err != nil {
		return err
	}
	c.cache.drop(id)
	return nil
}

// destroyInDevice destroys the key of a row, whose device is read again: a row
// that somebody has changed must not cost another key.
func (c *Custody) destroyInDevice(ctx context.Context, id string) error {
	s, _, err := c.read(ctx, id)
	if err != nil {
		return err
	}
	destroyer, ok := c.device().(KeyDestroyer)
	if !ok {
		return fmt.Errorf("%w: the key %s is in the device %s, which is not open here", tallystick.ErrUnavailable, id, s.Device)
	}
	if err := destroyer.DestroyKey(ctx, s.Device); err != nil && !errors.Is(err, tallystick.ErrNotFound) {
		return fmt.Errorf("couldn't destroy the key %s in its device: %w", id, err)
	}
	return nil
}
