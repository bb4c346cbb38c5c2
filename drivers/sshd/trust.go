// SPDX-License-Identifier: Apache-2.0

package sshd

import (
	"bytes"
	"context"
	"fmt"
	"slices"

	"golang.org/x/crypto/ssh"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/driver"
	"github.com/tallystick/tallystick/driver/installing"
)

// Trust adds a line for the new key behind each line of the one that it shall be like,
// with the same options. A certificate gets in by its CA: for one there is nothing to do
// where sshd trusts that CA already, and nothing that this driver would do where not.
func (d *Door) Trust(ctx context.Context, r driver.TrustRequest) (driver.Changed, error) {
	key, certificate, err := plain(r.New)
	if err != nil {
		return driver.Changed{}, err
	}
	s, err := d.load(ctx, r.Host)
	if err != nil {
		return driver.Changed{}, err
	}
	if r.Withdraw {
		return s.write(ctx, r.Host, func(f *keyFile) { f.withdraw(key) })
	}
	like, likeCertificate, err := plain(r.Like)
	if err != nil {
		return driver.Changed{}, fmt.Errorf("%w: %w", tallystick.ErrNotFound, err)
	}
	revoked, err := s.refuses(ctx, r.Host, like)
	if err != nil {
		return driver.Changed{}, err
	}
	if certificate != nil || likeCertificate != nil {
		return s.trustCertificate(ctx, r.Host, certificate, likeCertificate, revoked)
	}
	found := false
	files, err := s.edited(ctx, r.Host, func(f *keyFile) { found = f.trust(key, like) || found })
	if err != nil {
		return driver.Changed{}, err
	}
	if !found || revoked {
		return driver.Changed{}, fmt.Errorf("%w: sshd does not let in the key that the new one shall be like", tallystick.ErrNotFound)
	}
	return swap(ctx, s.careful(r.Host), files)
}

// trustCertificate looks whether the CAs are those that sshd trusts.
func (s *site) trustCertificate(ctx context.Context, h driver.Host, certificate, like *ssh.Certificate, revoked bool) (driver.Changed, error) {
	trusted := func(c *ssh.Certificate) (bool, error) {
		for _, path := range s.userCAs {
			cas, err := readKeys(ctx, h, path)
			if err != nil {
				return false, err
			}
			if c != nil && c.CertType == ssh.UserCert && cas.lets(c.SignatureKey) {
				return true, nil
			}
		}
		return false, nil
	}
	old, err := trusted(like)
	if err != nil {
		return driver.Changed{}, err
	}
	if !old || revoked {
		return driver.Changed{}, fmt.Errorf("%w: sshd does not let in the certificate that the new one shall be like", tallystick.ErrNotFound)
	}
	next, err := trusted(certificate)
	if err != nil {
		return driver.Changed{}, err
	}
	if !next {
		return driver.Changed{}, invalid("the new one is no certificate of a CA in TrustedUserCAKeys: have it certified, or add its CA there")
	}
	for _, principal := range like.ValidPrincipals {
		if !slices.Contains(certificate.ValidPrincipals, principal) {
			return driver.Changed{}, invalid("the new certificate lacks the principal %q of the old one", principal)
		}
	}
	return driver.Changed{Detail: "sshd lets in all that its CA has certified: there is nothing to do"}, nil
}

// refuses says whether the list of any account has a key.
func (s *site) refuses(ctx context.Context, h driver.Host, key ssh.PublicKey) (bool, error) {
	for _, path := range s.revoked {
		list, err := readRevoked(ctx, h, path)
		if err != nil || list.has(key) {
			return err == nil, err
		}
	}
	return false, nil
}

// edited returns the files of keys of all accounts that edit changes.
func (s *site) edited(ctx context.Context, h driver.Host, edit func(*keyFile)) ([]installing.File, error) {
	var files []installing.File
	seen := map[string]bool{}
	for _, a := range s.accounts {
		for _, path := range a.keys {
			if seen[path] {
				continue
			}
			seen[path] = true
			f, err := readKeys(ctx, h, path)
			if err != nil {
				return nil, err
			}
			before := f.content()
			edit(&f)
			if after := f.content(); !bytes.Equal(before, after) {
				files = append(files, installing.File{Path: path, Content: after, Mode: 0o600})
			}
		}
	}
	return files, nil
}

// write edits files of keys and puts them into place.
func (s *site) write(ctx context.Context, h driver.Host, edit func(*keyFile)) (driver.Changed, error) {
	files, err := s.edited(ctx, h, edit)
	if err != nil {
		return driver.Changed{}, err
	}
	return swap(ctx, s.careful(h), files)
}

// swap puts files of keys into place. sshd reads them at the next sign-in.
func swap(ctx context.Context, h driver.Host, files []installing.File) (driver.Changed, error) {
	swapped, err := installing.Swap(ctx, h, files)
	if err != nil || !swapped.Changed() {
		return driver.Changed{}, err
	}
	return driver.Changed{Changed: true, How: []string{"authorized-keys"}, Detail: "wrote " + paths(files)}, nil
}
