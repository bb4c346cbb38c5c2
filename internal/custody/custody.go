// SPDX-License-Identifier: Apache-2.0

// Package custody keeps what must not be known: the private keys of CAs, of
// accounts and of certificates, and other secrets.
//
// Every secret is encrypted by a data key of its own (AES-256-GCM; what it is
// and whom it belongs to is authenticated with it, so that no row can stand in
// for another). The data key is wrapped by a wrapping key, which is never in the
// database nor in the data directory: a Wrapper knows where it is. Which secret is
// under which wrapping key is on record, so that "what could be read with this
// key?" has an answer, and a new wrapping key needs only the data keys rewrapped.
package custody

import (
	"context"
	"crypto"
)

// A KeyType is a sort of key pair, as the inventory writes it.
type KeyType string

// The sorts of keys that are made here.
const (
	P256    KeyType = "ecdsa-p256"
	P384    KeyType = "ecdsa-p384"
	Ed25519 KeyType = "ed25519"
	RSA2048 KeyType = "rsa-2048"
	RSA3072 KeyType = "rsa-3072"
	RSA4096 KeyType = "rsa-4096"
)

// A Wrapper wraps the keys of secrets with a key that is somewhere else: behind a
// passphrase, in a file, in a TPM, in a token, in another server. Its methods are
// safe to call from several goroutines. When what holds the key does not answer,
// the error is ErrUnavailable.
type Wrapper interface {
	// Identity says which key it is. It is the same as long as the key is.
	Identity() Identity
	// Wrap encrypts a data key; aad is authenticated with it.
	Wrap(ctx context.Context, key, aad []byte) ([]byte, error)
	// Unwrap undoes Wrap. What was not made by Wrap with this key and aad is ErrDamaged.
	Unwrap(ctx context.Context, wrapped, aad []byte) ([]byte, error)
}

// An Identity names a wrapping key without telling anything of it.
type Identity struct {
	ID         string // "file:3f9a51c2...": stable, unique
	Kind       string // passphrase, file, tpm, pkcs11, transit
	About      string // where it is, for people
	Parameters string // JSON that is needed to use it again, such as a salt
}

// A KeyMaker makes key pairs that never leave a device, where the custody has one.
type KeyMaker interface {
	// MakeKey makes one, and returns a URI by which SignerOf finds it.
	MakeKey(ctx context.Context, label string, kind KeyType) (device string, signer crypto.Signer, err error)
	SignerOf(ctx context.Context, device string) (crypto.Signer, error)
}

// An Owner says what a secret is and whom it belongs to.
type Owner struct {
	Kind string // "ca-key", "account-key" ...
	Name string // "ca/lab"
}
