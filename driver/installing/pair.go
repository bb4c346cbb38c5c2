// SPDX-License-Identifier: Apache-2.0

package installing

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"

	"github.com/tallystick/tallystick/driver"
)

// A Pair is where a server reads its credential from: the paths of a certificate, with those
// above it, and of its key, PEM. Both may be the same. Key is "" where it is in no file.
type Pair struct{ Certificate, Key string }

// Read reads the credential of a host's files, without a key that is not there, may not be
// read or belongs to another certificate.
func (p Pair) Read(ctx context.Context, h driver.Host) (driver.Material, error) {
	text, err := h.ReadFile(ctx, p.Certificate, MaxFile)
	if err != nil {
		return driver.Material{}, err
	}
	if p.Key != "" && p.Key != p.Certificate {
		key, err := h.ReadFile(ctx, p.Key, MaxFile)
		if err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, fs.ErrPermission) {
			return driver.Material{}, err
		}
		text = append(append(text, '\n'), key...)
	}
	m, err := ReadPEM(text)
	if err != nil {
		return driver.Material{}, fmt.Errorf("%s: %w", p.Certificate, err)
	}
	leaf, err := x509.ParseCertificate(m.Chain[0])
	if err != nil {
		return driver.Material{}, invalid("%s: couldn't read its certificate: %v", p.Certificate, err)
	}
	if fits(m.Key, leaf.PublicKey) != nil {
		m.Key = nil
	}
	return m, nil
}

// Files are what the files are with a credential in them, the certificate's first: who finds
// it beside the old key knows that the old one has been kept. A new key is for its owner alone.
func (p Pair) Files(m driver.Material) ([]File, error) {
	if p.Key == "" {
		return nil, invalid("the configuration names no key of %s in a file", p.Certificate)
	}
	if p.Key == p.Certificate {
		both, err := PEM(m, Chain, Key)
		return []File{{Path: p.Certificate, Content: both, Mode: 0o600, Key: true}}, err
	}
	chain, err := PEM(m, Chain)
	if err != nil {
		return nil, err
	}
	key, err := PEM(m, Key)
	return []File{{Path: p.Certificate, Content: chain, Mode: 0o644}, {Path: p.Key, Content: key, Mode: 0o600, Key: true}}, err
}
