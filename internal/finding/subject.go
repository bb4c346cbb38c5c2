// SPDX-License-Identifier: Apache-2.0

package finding

import (
	"context"
	"crypto/x509"

	"github.com/tallystick/tallystick"
)

// A CASource knows CA certificates.
type CASource interface {
	// Issuers returns the CA certificates that may have issued c, by key
	// identifier and name; none is no error.
	Issuers(ctx context.Context, c *tallystick.Credential) ([]*tallystick.Credential, error)
	// PublicRoot says whether a root is one that vendors ship: in a trust
	// store, and not put there by this machine's administrator.
	PublicRoot(ctx context.Context, root *tallystick.Credential) (bool, error)
}

// AdministratorCAs is where an administrator puts CAs of their own, which
// update-ca-certificates(8) then adds to Debian's trust store: a root that is
// there is not a public one.
const AdministratorCAs tallystick.Place = "file:///usr/local/share/ca-certificates"

// maxDepth bounds a chain; real ones have at most five links.
const maxDepth = 8

// chainOf returns the way from the issuer of c up to a root, as far as it is
// known, and whether that root is a public one. A link counts only when the
// signature is good: names and key identifiers can be chosen by anybody.
func chainOf(ctx context.Context, source CASource, c *tallystick.Credential) ([]*tallystick.Credential, bool, error) {
	if c.Kind != tallystick.KindCertificate {
		return nil, false, nil
	}
	var chain []*tallystick.Credential
	seen := map[tallystick.Fingerprint]bool{c.ID: true}
	at := c
	for !at.SelfIssued && len(chain) < maxDepth {
		issuer, err := issuerOf(ctx, source, at)
		if err != nil {
			return nil, false, err
		}
		if issuer == nil || seen[issuer.ID] {
			return chain, c.Logged, nil
		}
		seen[issuer.ID] = true
		chain, at = append(chain, issuer), issuer
	}
	if !at.IsCA {
		return chain, c.Logged, nil // self-signed, and trusted as itself alone
	}
	public, err := source.PublicRoot(ctx, at)
	return chain, public || c.Logged, err
}

// issuerOf returns the one whose key signed c, or nil.
func issuerOf(ctx context.Context, source CASource, c *tallystick.Credential) (*tallystick.Credential, error) {
	candidates, err := source.Issuers(ctx, c)
	if err != nil || len(candidates) == 0 {
		return nil, err
	}
	child, err := x509.ParseCertificate(c.Raw)
	if err != nil {
		return nil, nil // unreadable to the strict parser: nothing can be verified
	}
	for _, candidate := range candidates {
		parent, err := x509.ParseCertificate(candidate.Raw)
		if err != nil {
			continue
		}
		// SHA-1 signatures are refused by crypto/x509 as insecure; the link
		// stands all the same, and rule weak-signature speaks of it.
		err = child.CheckSignatureFrom(parent)
		if _, insecure := err.(x509.InsecureAlgorithmError); err == nil || insecure {
			return candidate, nil
		}
	}
	return nil, nil
}
