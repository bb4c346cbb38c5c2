// SPDX-License-Identifier: Apache-2.0

package samba

import (
	"context"
	"fmt"
	"strings"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/driver"
)

// Block takes a certificate out of its accounts: the userCertificate, and the mappings that
// name it or its key. Where the KDC would let it in all the same, it disables the account
// it names, which the option disable must allow; otherwise it changes nothing, and fails.
// Lift undoes both.
func (d *door) Block(ctx context.Context, request driver.BlockRequest) (driver.Blocked, error) {
	if err := d.mustBe(roleAccounts); err != nil {
		return driver.Blocked{}, err
	}
	old, err := knownOf(request.Old)
	if err != nil {
		return driver.Blocked{}, err
	}
	now, err := d.settings(ctx, request.Host)
	if err != nil {
		return driver.Blocked{}, err
	}
	s, err := d.dial(ctx, request.Host, now)
	if err != nil {
		return driver.Blocked{}, err
	}
	defer s.Close()
	if request.Lift {
		lifted, err := s.undo(markBlocked, old)
		return driver.Blocked{Changed: lifted}, err
	}
	p, err := d.pkinit(ctx, request.Host)
	if err != nil {
		return driver.Blocked{}, err
	}
	all, err := s.of(old, now.realm)
	if err != nil {
		return driver.Blocked{}, err
	}
	byName := p.lets(request.Old, request.Now())
	var changes []*change
	for _, a := range all {
		c := a.change()
		if byName && a.named(old, now.realm) && !a.disabled() {
			if !d.Disable {
				return driver.Blocked{}, stillIn(a, d.KDCConfig)
			}
			c.control |= disabled
			c.put(c.add, markBlocked+fingerprint(old.der)+":"+markDisabled, nil)
		}
		c.revoke(old)
		changes = append(changes, c)
	}
	return s.block(changes)
}

// stillIn is why nothing was done.
func stillIn(a account, config string) error {
	return fmt.Errorf("%w: the KDC of Samba lets %s in by whatever certificate of its anchors has that name, without a mapping, and it reads no revocation list: "+
		"set the option disable to have the account disabled, or take the CA out of pkinit_anchors in %s and start Samba again", tallystick.ErrInvalid, a.name, config)
}

// revoke takes away what lets a certificate in, and leaves marks.
func (c *change) revoke(old known) {
	taken := c.mapped(old)
	if c.holds(old) {
		taken = append(taken, attrCert)
	}
	marked := map[string]bool{}
	for _, what := range c.marked(markBlocked, old) {
		marked[what] = true // from before somebody put it back
	}
	for _, what := range taken {
		c.put(c.remove, what, old.der)
		if !marked[what] {
			c.put(c.add, markBlocked+fingerprint(old.der)+":"+what, nil)
		}
	}
	for _, value := range c.mappings {
		if strings.HasPrefix(value, markTrusted+fingerprint(old.der)+":") {
			c.put(c.remove, value, nil) // it is no longer what Trust made it
		}
	}
}

// block makes the changes.
func (s *session) block(all []*change) (driver.Blocked, error) {
	var done []*change
	var left []string
	for _, c := range all {
		did, err := c.do(s)
		if err != nil {
			return driver.Blocked{}, err
		}
		if !did {
			continue
		}
		done = append(done, c)
		if c.control != c.account.control {
			left = append(left, c.name+": connections that are signed in go on, and tickets for services that were handed out before are good until they end (10 hours, unless set otherwise)")
		}
	}
	return driver.Blocked{Changed: changed(done), Left: left}, nil
}
