// SPDX-License-Identifier: Apache-2.0

package sshd

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"path"
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
	d.writing.Lock()
	defer d.writing.Unlock()
	if r.Withdraw {
		change := s.change(r.Host)
		if change.Files, _, err = s.edited(ctx, r.Host, func(f *keyFile) { f.withdraw(key) }); err != nil {
			return driver.Changed{}, err
		}
		return write(ctx, change, "authorized-keys")
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
	found, change := false, s.change(r.Host)
	change.Files, _, err = s.edited(ctx, r.Host, func(f *keyFile) { found = f.trust(key, like) || found })
	if err != nil {
		return driver.Changed{}, err
	}
	if !found || revoked {
		return driver.Changed{}, fmt.Errorf("%w: sshd does not let in the key that the new one shall be like", tallystick.ErrNotFound)
	}
	return write(ctx, change, "authorized-keys")
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

// edited returns the files of keys of all accounts with what edit makes of them, and whether
// that is anything.
func (s *site) edited(ctx context.Context, h driver.Host, edit func(*keyFile)) (files []installing.File, edited bool, err error) {
	seen := map[string]bool{}
	for _, a := range s.accounts {
		for _, path := range a.keys {
			if seen[path] {
				continue
			}
			seen[path] = true
			f, err := readKeys(ctx, h, path)
			if err != nil {
				return nil, false, err
			}
			before := f.content()
			edit(&f)
			after := f.content()
			edited = edited || !bytes.Equal(before, after)
			if len(after) > 0 || len(before) > 0 { // else there need be no file
				files = append(files, installing.File{Path: path, Content: after, Mode: 0o600})
			}
		}
	}
	return files, edited, nil
}

// change is one of the files that say whose keys get in.
func (s *site) change(h driver.Host) installing.Change { return s.changeNoted(h, "authorized-keys") }

// changeNoted is one whose journal has a name. That of root is where no account can write it.
func (s *site) changeNoted(h driver.Host, journal string) installing.Change {
	change := installing.Change{Host: s.careful(h)}
	if s.root {
		change.Journal = s.journal(journal)
	}
	return change
}

// journal is the path of a journal beside the configuration.
func (s *site) journal(what string) string {
	return installing.JournalFor(path.Join(path.Dir(s.config), what))
}

// write makes a change. sshd reads the files at the next sign-in.
func write(ctx context.Context, change installing.Change, how ...string) (driver.Changed, error) {
	if differs, err := change.Differs(ctx); err != nil || !differs {
		return driver.Changed{}, err
	}
	done, err := change.Do(ctx)
	if len(done) > 0 || errors.Is(err, tallystick.ErrDamaged) { // else all is as it was
		err = driver.Unsettled(err)
	}
	if err != nil || len(done) == 0 {
		return driver.Changed{}, err
	}
	return driver.Changed{Changed: true, How: how, Detail: "wrote " + installing.Paths(change.Files)}, nil
}
