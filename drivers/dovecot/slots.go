// SPDX-License-Identifier: Apache-2.0

package dovecot

import (
	"context"
	"crypto/x509"
	"fmt"
	"slices"
	"strings"

	"github.com/tallystick/tallystick/driver"
	"github.com/tallystick/tallystick/driver/installing"
)

// maxPEM bounds the files of certificates and keys, in bytes.
const maxPEM = 1 << 20

// A slot is where one credential is read from, and who shows it.
type slot struct {
	certificate, key string
	scope            *block
	listeners        []driver.Listener
}

// credential reads what is in a slot.
func (s slot) credential(ctx context.Context, h driver.Host) (driver.Material, error) {
	text, err := h.ReadFile(ctx, s.certificate, maxPEM)
	if err != nil {
		return driver.Material{}, fmt.Errorf("couldn't read the certificate: %w", err)
	}
	if s.key != s.certificate {
		key, err := h.ReadFile(ctx, s.key, maxPEM)
		if err != nil {
			return driver.Material{}, fmt.Errorf("couldn't read the key of %s: %w", s.certificate, err)
		}
		text = slices.Concat(text, []byte("\n"), key)
	}
	m, err := installing.ReadPEM(text)
	if err != nil {
		return driver.Material{}, fmt.Errorf("couldn't read %s: %w", s.certificate, err)
	}
	return m, nil
}

// files are what a slot holds with a credential in it.
func (s slot) files(m driver.Material) ([]installing.File, error) {
	if s.key == s.certificate {
		text, err := installing.PEM(m, installing.Chain, installing.Key)
		return []installing.File{{Path: s.key, Content: text, Mode: 0o600, Key: true}}, err
	}
	key, err := installing.PEM(m, installing.Key)
	if err != nil {
		return nil, err
	}
	chain, err := installing.PEM(m, installing.Chain)
	return []installing.File{{Path: s.key, Content: key, Mode: 0o600, Key: true}, {Path: s.certificate, Content: chain, Mode: 0o644}}, err
}

// slot finds the one that the door is about; nil where Dovecot has none.
func (d *door) slot(ctx context.Context, h driver.Host, c *block) (*slot, error) {
	var found []slot
	for b := range c.all {
		for _, kind := range []string{"ssl_", "ssl_alt_"} {
			s := slot{certificate: d.file(b.values[kind+"cert"]), key: d.file(b.values[kind+"key"]), scope: b}
			if s.key == "" {
				s.key = d.file(c.values[kind+"key"])
			}
			if s.certificate == "" || s.key == "" || d.Certificate != "" && s.certificate != d.Certificate {
				continue
			}
			s.listeners = showing(c, b)
			i := slices.IndexFunc(found, func(other slot) bool { return other.certificate == s.certificate && other.key == s.key })
			if i < 0 {
				found = append(found, s)
			} else {
				found[i].listeners = append(found[i].listeners, s.listeners...)
			}
		}
	}
	switch {
	case len(found) == 0 && d.Certificate != "":
		return nil, invalid("Dovecot reads no certificate from %s: what it reads is said by doveconf -c %s", d.Certificate, d.Config)
	case len(found) == 0:
		return nil, nil
	case len(found) > 1:
		return nil, invalid("Dovecot reads %d certificates, one from %s: say in the option certificate which file this door is about", len(found), found[0].certificate)
	}
	return &found[0], d.apart(ctx, h, c, &found[0])
}

// apart makes handshakes ask for the kind of key in a slot where Dovecot has a second
// certificate for another kind.
func (d *door) apart(ctx context.Context, h driver.Host, c *block, s *slot) error {
	if s.scope.values["ssl_alt_cert"] == "" && c.values["ssl_alt_cert"] == "" {
		return nil
	}
	m, err := s.credential(ctx, h)
	if err != nil {
		return err
	}
	for i := range s.listeners {
		s.listeners[i].Details = map[string]string{"algorithm": algorithmOf(m.Public)}
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

// algorithmOf names the kind of a certificate's key: "RSA", "ECDSA".
func algorithmOf(p driver.Public) string {
	if len(p.Chain) == 0 {
		return ""
	}
	c, err := x509.ParseCertificate(p.Chain[0])
	if err != nil {
		return ""
	}
	return c.PublicKeyAlgorithm.String()
}
