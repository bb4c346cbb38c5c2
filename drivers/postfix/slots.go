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

// filesOf are what the files of a pair hold with a credential in it. In one that holds both,
// the key comes first (postconf(5), smtpd_tls_chain_files).
func filesOf(p installing.Pair, m driver.Material) ([]installing.File, error) {
	if p.Key != p.Certificate {
		return p.Files(m)
	}
	both, err := installing.PEM(m, installing.Key, installing.Chain)
	return []installing.File{{Path: p.Key, Content: both, Mode: 0o600, Key: true}}, err
}

// slots returns those of a daemon ("smtpd" or "smtp") by its parameters (postconf(5)):
// chain files go before the older pairs of files.
func (d *door) slots(ctx context.Context, h driver.Host, daemon string, of func(string) string) ([]installing.Pair, error) {
	if files := list(of(daemon + "_tls_chain_files")); len(files) > 0 {
		return d.chainSlots(ctx, h, files)
	}
	var all []installing.Pair
	for _, kind := range []string{"", "d", "ec"} {
		certificate, key := of(daemon+"_tls_"+kind+"cert_file"), of(daemon+"_tls_"+kind+"key_file")
		if certificate == "" || certificate == "none" {
			continue
		}
		if key == "" {
			key = certificate
		}
		all = append(all, installing.Pair{Certificate: under(d.Config, certificate), Key: under(d.Config, key)})
	}
	return all, nil
}

// chainSlots pairs files: one has a key and its certificates, or a key whose
// certificates are in the next.
func (d *door) chainSlots(ctx context.Context, h driver.Host, files []string) ([]installing.Pair, error) {
	var all []installing.Pair
	key := ""
	for _, path := range files {
		path = under(d.Config, path)
		text, err := h.ReadFile(ctx, path, installing.MaxFile)
		if errors.Is(err, fs.ErrNotExist) && key == "" {
			all = append(all, installing.Pair{Certificate: path, Key: path}) // a first certificate may come
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("couldn't read a chain file of Postfix: %w", err)
		}
		keys, certificates := count(text)
		switch {
		case keys == 1 && certificates > 0 && key == "":
			all = append(all, installing.Pair{Certificate: path, Key: path})
		case keys == 1 && certificates == 0 && key == "":
			key = path
		case keys == 0 && certificates > 0 && key != "":
			all, key = append(all, installing.Pair{Certificate: path, Key: key}), ""
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

// A stand is how a door stands: where its credential is read from, and who shows it.
type stand struct {
	installing.Pair
	listeners []driver.Listener // that read it; none for a client
	all       []driver.Listener
	notes     []string
}

// stand finds where the credential is that the door is about.
func (d *door) stand(ctx context.Context, h driver.Host, c *configuration) (*stand, error) {
	s := &stand{}
	found := map[installing.Pair][]driver.Listener{}
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
	var chosen []installing.Pair
	for one := range found {
		if d.Certificate == "" || one.Certificate == d.Certificate {
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
			len(chosen), slices.MinFunc(chosen, func(a, b installing.Pair) int { return strings.Compare(a.Certificate, b.Certificate) }).Certificate)
	}
	s.Pair = chosen[0]
	s.listeners = found[chosen[0]]
	return s, nil
}

// servers fills in the listeners, all and by slot.
func (d *door) servers(ctx context.Context, h driver.Host, c *configuration, s *stand, found map[installing.Pair][]driver.Listener) error {
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
			for _, pair := range slots {
				found[pair] = append(found[pair], d.shows(ctx, h, listener, pair, len(slots) > 1))
			}
		}
		for _, pair := range slots {
			found[pair] = slices.Grow(found[pair], 0) // it is there, though nobody may be seen to show it
		}
	}
	slices.SortFunc(s.all, func(a, b driver.Listener) int { return strings.Compare(a.Address, b.Address) })
	if c.main["tls_server_sni_maps"] != "" {
		s.notes = append(s.notes, "certificates of tls_server_sni_maps are not looked at")
	}
	return nil
}

// shows returns the listener as one that shows what is in the files of p, where it has
// several with keys of different kinds.
func (d *door) shows(ctx context.Context, h driver.Host, listener driver.Listener, p installing.Pair, several bool) driver.Listener {
	if !several {
		return listener
	}
	if m, err := p.Read(ctx, h); err == nil {
		if algorithm := m.Public.KeyAlgorithm(); algorithm != "" {
			listener.Details = map[string]string{"sender": d.Sender, "recipient": d.Recipient, "algorithm": algorithm}
		}
	}
	return listener
}
