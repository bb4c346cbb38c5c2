// SPDX-License-Identifier: Apache-2.0

package sshd

import (
	"context"
	"fmt"
	"slices"

	"golang.org/x/crypto/ssh"

	"github.com/tallystick/tallystick/driver"
	"github.com/tallystick/tallystick/driver/installing"
)

// Block puts the key on the list of revoked ones, with which sshd refuses it for every
// account, alone and in every certificate; puts its lines in authorized_keys out of use;
// and ends its sessions. A stolen certificate is a stolen key: all certificates of the
// key are refused.
func (d *Door) Block(ctx context.Context, r driver.BlockRequest) (driver.Blocked, error) {
	key, _, err := plain(r.Old)
	if err != nil {
		return driver.Blocked{}, err
	}
	s, err := d.load(ctx, r.Host)
	if err != nil {
		return driver.Blocked{}, err
	}
	if len(s.unlisted) > 0 && !r.Lift {
		return driver.Blocked{}, invalid("sshd has no list of revoked keys: add \"RevokedKeys /etc/ssh/revoked_keys\" to sshd_config, make that file, and reload sshd")
	}
	var blocked driver.Blocked
	if blocked.Changed, err = d.block(ctx, r, s, key); err != nil {
		return driver.Blocked{}, err
	}
	if r.Lift || !d.options.Close {
		return blocked, nil
	}
	if err := d.endSessions(ctx, r.Host, s, key, &blocked); err != nil {
		return driver.Blocked{}, driver.Unsettled(fmt.Errorf("the key is refused; its open sessions could not be looked for: %w", err))
	}
	return blocked, nil
}

// block writes what has the key refused.
func (d *Door) block(ctx context.Context, r driver.BlockRequest, s *site, key ssh.PublicKey) (driver.Changed, error) {
	d.writing.Lock()
	defer d.writing.Unlock()
	change, how, err := s.blocking(ctx, r, key)
	if err != nil {
		return driver.Changed{}, err
	}
	return write(ctx, change, how...)
}

// blocking is the change of files, and the ways in which they differ.
func (s *site) blocking(ctx context.Context, r driver.BlockRequest, key ssh.PublicKey) (installing.Change, []string, error) {
	change := s.change(r.Host)
	var how, lists []string
	for _, path := range s.revoked {
		list, err := readRevoked(ctx, r.Host, path)
		if err != nil {
			return change, nil, err
		}
		content, changed := list.change(key, r.Lift, r.Now())
		if changed {
			how = append(how, "revoked-keys")
		}
		change.Files = append(change.Files, installing.File{Path: path, Content: content, Mode: 0o644})
		if list.krl != nil {
			lists = append(lists, path)
		}
	}
	files, edited, err := s.edited(ctx, r.Host, func(f *keyFile) { f.block(key, r.Lift) })
	if err != nil {
		return change, nil, err
	}
	if edited {
		how = append(how, "authorized-keys")
	}
	change.Files = slices.Concat(change.Files, files)
	change.Check = func(ctx context.Context) error {
		// sshd refuses everybody when it cannot read its list.
		for _, path := range lists {
			if _, err := installing.Run(ctx, r.Host, "ssh-keygen", "-Q", "-l", "-f", path); err != nil {
				return fmt.Errorf("OpenSSH does not take the list of revoked keys: %w", err)
			}
		}
		return nil
	}
	return change, slices.Compact(how), nil
}
