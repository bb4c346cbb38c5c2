// SPDX-License-Identifier: Apache-2.0

package dovecot

import (
	"cmp"
	"context"
	"slices"
	"strings"

	"github.com/tallystick/tallystick/driver"
	"github.com/tallystick/tallystick/driver/installing"
)

// A slot is where one credential is read from, and who shows it.
type slot struct {
	installing.Pair
	scope     *block
	listeners []driver.Listener
}

// slot finds the one that the door is about; nil where Dovecot has none.
func (d *door) slot(ctx context.Context, h driver.Host, c *block) (*slot, error) {
	var found []slot
	for b := range c.all {
		for _, kind := range []string{"ssl_", "ssl_alt_"} {
			p := installing.Pair{Certificate: d.file(b.values[kind+"cert"]), Key: cmp.Or(d.file(b.values[kind+"key"]), d.file(c.values[kind+"key"]))}
			if p.Certificate == "" || p.Key == "" || d.Certificate != "" && p.Certificate != d.Certificate {
				continue
			}
			i := slices.IndexFunc(found, func(other slot) bool { return other.Pair == p })
			if i < 0 {
				found = append(found, slot{Pair: p, scope: b, listeners: showing(c, b)})
			} else {
				found[i].listeners = append(found[i].listeners, showing(c, b)...)
			}
		}
	}
	switch {
	case len(found) == 0 && d.Certificate != "":
		return nil, invalid("Dovecot reads no certificate from %s: what it reads is said by doveconf -c %s", d.Certificate, d.Config)
	case len(found) == 0:
		return nil, nil
	case len(found) > 1:
		return nil, invalid("Dovecot reads %d certificates, one from %s: say in the option certificate which file this door is about", len(found), found[0].Certificate)
	}
	return &found[0], d.apart(ctx, h, c, &found[0])
}

// apart makes handshakes ask for the kind of key in a slot where Dovecot has a second
// certificate for another kind.
func (d *door) apart(ctx context.Context, h driver.Host, c *block, s *slot) error {
	if s.scope.values["ssl_alt_cert"] == "" && c.values["ssl_alt_cert"] == "" {
		return nil
	}
	m, err := s.Read(ctx, h)
	if err != nil {
		return err
	}
	for i := range s.listeners {
		s.listeners[i].Details = map[string]string{"algorithm": m.Public.KeyAlgorithm()}
	}
	return nil
}

// showing returns the listeners that show what a block says.
func showing(c, scope *block) []driver.Listener {
	var all []driver.Listener
	for _, p := range c.ports() {
		own := slices.ContainsFunc(c.blocks, func(b *block) bool { return b.kind == "protocol" && b.name == p.service && b.values["ssl_cert"] != "" })
		switch {
		case scope.kind == "" && !own, scope.kind == "protocol" && scope.name == p.service:
			all = append(all, p.Listener)
		case scope.kind == "local_name":
			for _, name := range strings.Fields(scope.name) {
				named := p.Listener
				named.ServerName = strings.Replace(name, "*", "tallystick", 1) // one that a wildcard is for
				all = append(all, named)
			}
		}
	}
	return all
}
