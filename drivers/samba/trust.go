// SPDX-License-Identifier: Apache-2.0

package samba

import (
	"context"
	"fmt"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/driver"
)

// Trust puts the new certificate into the accounts of the one that it comes after: as a
// userCertificate, a mapping by issuer and serial number, or both, as that one has it.
// Where the KDC lets that one in by the name in it, it looks that the new one has the same
// name and a CA of the anchors.
func (d *door) Trust(ctx context.Context, request driver.TrustRequest) (driver.Changed, error) {
	if err := d.mustBe(roleAccounts); err != nil {
		return driver.Changed{}, err
	}
	next, err := knownOf(request.New)
	if err != nil {
		return driver.Changed{}, err
	}
	now, err := d.settings(ctx, request.Host)
	if err != nil {
		return driver.Changed{}, err
	}
	s, err := d.dial(ctx, request.Host, now)
	if err != nil {
		return driver.Changed{}, err
	}
	defer s.Close()
	if request.Withdraw {
		return s.undo(markTrusted, next)
	}
	like, err := knownOf(request.Like)
	if err != nil {
		return driver.Changed{}, fmt.Errorf("%w: %w", tallystick.ErrNotFound, err)
	}
	all, err := s.of(like, now.realm)
	if err != nil {
		return driver.Changed{}, err
	}
	if err := d.enough(ctx, request, all, next, like, now); err != nil {
		return driver.Changed{}, err
	}
	var changes []*change
	for _, a := range all {
		c := a.change()
		if a.holds(like) && !a.holds(next) {
			c.grant(attrCert, next)
		}
		if len(a.mapped(like)) > 0 && len(a.mapped(next)) == 0 {
			c.grant(next.mapping, next)
		}
		if did, err := c.do(s); err != nil {
			return driver.Changed{}, err
		} else if did {
			changes = append(changes, c)
		}
	}
	return changed(changes), nil
}

// grant adds what lets a certificate in, with the mark that says so.
func (c *change) grant(what string, next known) {
	c.put(c.add, what, next.der)
	c.put(c.add, markTrusted+fingerprint(next.der)+":"+what, nil)
}

// enough looks whether the old certificate gets in, and the new one will.
func (d *door) enough(ctx context.Context, request driver.TrustRequest, all []account, next, like known, now settings) error {
	p, err := d.pkinit(ctx, request.Host)
	if err != nil {
		return err
	}
	byName := p.lets(request.Like, request.Now())
	found := false
	for _, a := range all {
		named := byName && a.named(like, now.realm)
		found = found || named || a.holds(like) || len(a.mapped(like)) > 0
		if named && !a.named(next, now.realm) {
			return invalid("the KDC lets the old certificate in as %s, whom it names, and the new one names %q: issue it with the same user principal name", a.name, next.principals)
		}
		if named && !p.lets(request.New, request.Now()) {
			return invalid("the new certificate is of a CA that is not among the anchors of the KDC: add that to pkinit_anchors, and start Samba again")
		}
	}
	if !found {
		return fmt.Errorf("%w: no account has the certificate that the new one shall be like", tallystick.ErrNotFound)
	}
	return nil
}

// undo takes back what the marks of one kind say about a certificate, and the marks.
func (s *session) undo(kind string, k known) (driver.Changed, error) {
	all, err := s.accounts("(" + attrMapping + "=" + kind + fingerprint(k.der) + ":*)")
	if err != nil {
		return driver.Changed{}, err
	}
	var changes []*change
	for _, a := range all {
		c := a.change()
		for _, what := range a.marked(kind, k) {
			c.put(c.remove, kind+fingerprint(k.der)+":"+what, nil)
			c.revert(kind, what, k)
		}
		if did, err := c.do(s); err != nil {
			return driver.Changed{}, err
		} else if did {
			changes = append(changes, c)
		}
	}
	return changed(changes), nil
}

// revert undoes what one mark says, unless somebody has done so.
func (c *change) revert(kind, what string, k known) {
	there := what == attrCert && c.holds(k)
	for _, value := range c.mappings {
		there = there || value == what
	}
	switch {
	case what == markDisabled:
		c.control &^= disabled
	case kind == markTrusted && there:
		c.put(c.remove, what, k.der)
	case kind == markBlocked && !there:
		c.put(c.add, what, k.der)
	}
}
