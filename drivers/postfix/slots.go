// SPDX-License-Identifier: Apache-2.0

package postfix

import (
	"context"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"github.com/tallystick/tallystick/driver"
	"github.com/tallystick/tallystick/driver/installing"
)

// maxPEM bounds the files of certificates and keys, in bytes.
const maxPEM = 1 << 20

// A slot is where one credential is read from. Both paths are the same where one file
// holds it.
type slot struct{ certificate, key string }

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
		text, err := installing.PEM(m, installing.Key, installing.Chain) // in this order: postconf(5), smtpd_tls_chain_files
		return []installing.File{{Path: s.key, Content: text, Mode: 0o600, Key: true}}, err
	}
	key, err := installing.PEM(m, installing.Key)
	if err != nil {
		return nil, err
	}
	chain, err := installing.PEM(m, installing.Chain)
	return []installing.File{{Path: s.key, Content: key, Mode: 0o600, Key: true}, {Path: s.certificate, Content: chain, Mode: 0o644}}, err
}

// slots returns those of a daemon ("smtpd" or "smtp") by its parameters (postconf(5)):
// chain files go before the older pairs of files.
func (d *door) slots(ctx context.Context, h driver.Host, daemon string, of func(string) string) ([]slot, error) {
	if files := list(of(daemon + "_tls_chain_files")); len(files) > 0 {
		return d.chainSlots(ctx, h, files)
	}
	var all []slot
	for _, kind := range []string{"", "d", "ec"} {
		certificate, key := of(daemon+"_tls_"+kind+"cert_file"), of(daemon+"_tls_"+kind+"key_file")
		if certificate == "" || certificate == "none" {
			continue
		}
		if key == "" {
			key = certificate
		}
		all = append(all, slot{under(d.Config, certificate), under(d.Config, key)})
	}
	return all, nil
}

// chainSlots pairs files: one has a key and its certificates, or a key whose
// certificates are in the next.
func (d *door) chainSlots(ctx context.Context, h driver.Host, files []string) ([]slot, error) {
	var all []slot
	key := ""
	for _, path := range files {
		path = under(d.Config, path)
		text, err := h.ReadFile(ctx, path, maxPEM)
		if errors.Is(err, fs.ErrNotExist) && key == "" {
			all = append(all, slot{path, path}) // a first certificate may come
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("couldn't read a chain file of Postfix: %w", err)
		}
		keys, certificates := count(text)
		switch {
		case keys == 1 && certificates > 0 && key == "":
			all = append(all, slot{path, path})
		case keys == 1 && certificates == 0 && key == "":
			key = path
		case keys == 0 && certificates > 0 && key != "":
			all, key = append(all, slot{path, key}), ""
		default:
			return nil, invalid("the chain file %s has %d keys and %d certificates in an order that cannot be replaced: give each credential a file with its key and then its certificates",
				path, keys, certificates)
		}
	}
	return all, nil
}

func count(text []byte) (keys, certificates int) {
	for block, rest := pem.Decode(text); block != nil; block, rest = pem.Decode(rest) {
		switch {
		case strings.HasSuffix(block.Type, "PRIVATE KEY"):
			keys++
		case strings.HasSuffix(block.Type, "CERTIFICATE"):
			certificates++
		}
	}
	return keys, certificates
}

// A stand is how a door stands: its slot, and who shows what is in it.
type stand struct {
	slot
	listeners []driver.Listener // that read the slot; none for a client
	all       []driver.Listener
	notes     []string
}

// stand finds the slot that the door is about.
func (d *door) stand(ctx context.Context, h driver.Host, c *configuration) (*stand, error) {
	s := &stand{}
	found := map[slot][]driver.Listener{}
	if d.Role == roleClient {
		slots, err := d.slots(ctx, h, "smtp", func(name string) string { return c.main[name] })
		if err != nil {
			return nil, err
		}
		for _, one := range slots {
			found[one] = nil
		}
	} else if err := d.servers(ctx, h, c, s, found); err != nil {
		return nil, err
	}
	var chosen []slot
	for one := range found {
		if d.Certificate == "" || one.certificate == d.Certificate {
			chosen = append(chosen, one)
		}
	}
	switch {
	case len(chosen) == 0 && d.Certificate != "":
		return nil, invalid("Postfix reads no certificate from %s: what it reads is said by postconf -c %s -x", d.Certificate, d.Config)
	case len(chosen) == 0:
		s.notes = append(s.notes, "has no certificate")
		return s, nil
	case len(chosen) > 1:
		return nil, invalid("Postfix reads %d certificates, one from %s: say in the option certificate which file this door is about",
			len(chosen), slices.MinFunc(chosen, func(a, b slot) int { return strings.Compare(a.certificate, b.certificate) }).certificate)
	}
	s.slot = chosen[0]
	s.listeners = found[chosen[0]]
	return s, nil
}

// servers fills in the listeners, all and by slot.
func (d *door) servers(ctx context.Context, h driver.Host, c *configuration, s *stand, found map[slot][]driver.Listener) error {
	for _, one := range c.doors() {
		speaks, wrapped := c.secures(one)
		if !speaks {
			continue
		}
		addresses := c.addresses(one)
		if len(addresses) == 0 {
			s.notes = append(s.notes, "the service "+one.name+" listens on a port whose number is not known, and is not looked at")
		}
		slots, err := d.slots(ctx, h, "smtpd", func(name string) string { return c.of(one, name) })
		if err != nil {
			return err
		}
		for _, address := range addresses {
			listener := driver.Listener{Address: address, Protocol: "smtp", Details: map[string]string{"sender": d.Sender, "recipient": d.Recipient}}
			if wrapped {
				listener.Protocol = "smtps"
			}
			s.all = append(s.all, listener)
			for _, slot := range slots {
				found[slot] = append(found[slot], d.shows(ctx, h, listener, slot, len(slots) > 1))
			}
		}
		for _, slot := range slots {
			found[slot] = slices.Grow(found[slot], 0) // it is there, though nobody may be seen to show it
		}
	}
	slices.SortFunc(s.all, func(a, b driver.Listener) int { return strings.Compare(a.Address, b.Address) })
	if c.main["tls_server_sni_maps"] != "" {
		s.notes = append(s.notes, "certificates of tls_server_sni_maps are not looked at")
	}
	return nil
}

// shows returns the listener as one that shows what is in the slot, where it has
// several with keys of different kinds.
func (d *door) shows(ctx context.Context, h driver.Host, listener driver.Listener, s slot, several bool) driver.Listener {
	if !several {
		return listener
	}
	if m, err := s.credential(ctx, h); err == nil {
		if algorithm := algorithmOf(m.Public); algorithm != "" {
			listener.Details = map[string]string{"sender": d.Sender, "recipient": d.Recipient, "algorithm": algorithm}
		}
	}
	return listener
}
