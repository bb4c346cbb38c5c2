// SPDX-License-Identifier: Apache-2.0

// Package revocation tells the world which certificates are not to be trusted
// any more: as lists (RFC 5280 section 5) and one by one (OCSP, RFC 6960).
//
// A Publisher makes for each authority one complete list, and one for each shard
// that certificates may name. Lists are signed ahead of time, when something was revoked and
// when a quarter of their lifetime has passed; they are kept in the store before anybody
// gets them, under a number that only grows; and they are served from memory. A list is its
// own cache: what is new is merged into the encoded entries of the one before it, so that a
// new list of a million entries costs copying, hashing and one signature. When a quarter of
// the lifetime has passed it is made anew from the rows of the store, and entries leave it
// that may (section 3.3).
//
// When the key cannot be used, or nothing can be written, the lists that there are go on
// being served, and Health says since when and why.
package revocation

import (
	"context"
	"crypto"
	"crypto/x509"
	"time"

	"github.com/tallystick/tallystick/internal/store"
)

// An Authority is a CA whose revocations are published.
type Authority struct {
	ID          int64
	Name        string // as it stands in URLs
	Certificate *x509.Certificate
	// Offline says that its key is not here: lists that were kept for it are served, and none is made.
	Offline bool
	// URL and Shards are what its certificates were made with, where that is not what is configured
	// now; zero: it is.
	URL    string
	Shards int
}

// A Config is what a Publisher works with.
type Config struct {
	DB *store.DB
	// Authorities returns all whose lists are to be kept fresh.
	Authorities func(ctx context.Context) ([]Authority, error)
	// Signer returns the key of an authority; ErrUnavailable when it cannot be reached now. Without
	// it nothing is signed here: another process does, and what it made is served.
	Signer func(ctx context.Context, authority string) (crypto.Signer, error)
	// Issued says whether an authority has issued a certificate of that serial number.
	Issued func(ctx context.Context, authority int64, serial []byte) (bool, error)
	// Keep records the certificate of an OCSP responder before it is used. It may be nil.
	Keep func(ctx context.Context, authority int64, certificate *x509.Certificate) error
	Now  func() time.Time
	// URL is what certificates name before /pki/, such as "http://pki.example.com".
	URL string
	// Shards is into how many parts lists are split; 0 and 1: there is the complete list alone.
	Shards int
	// Lifetime is how long a list is valid; 0 is DefaultLifetime.
	Lifetime time.Duration
	// OCSP says whether to answer OCSP requests.
	OCSP bool
	// Direct has OCSP answers signed by the authority itself, and not by a responder's
	// key that it certifies for a week.
	Direct bool
}

// DefaultLifetime is how long a list is valid where nothing else is configured.
const DefaultLifetime = 168 * time.Hour

// Backdate is how far before now a list begins to be valid. A server with OpenSSL whose clock is
// a little slow would otherwise refuse every client each time a list is published, because
// the list "is not yet valid".
const Backdate = 5 * time.Minute

// MaxShards bounds into how many parts a list may be split.
const MaxShards = 1024

func (c Config) lifetime() time.Duration {
	if c.Lifetime <= 0 {
		return DefaultLifetime
	}
	return c.Lifetime
}

func (c Config) shards() int64 {
	if c.Shards <= 1 {
		return 0
	}
	return int64(min(c.Shards, MaxShards))
}
