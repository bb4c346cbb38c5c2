// SPDX-License-Identifier: Apache-2.0

package postfix

import (
	"context"
	"fmt"
	"slices"

	"github.com/tallystick/tallystick/driver"
)

// refusal is what a table of check_ccert_access says of who is blocked (access(5)).
const refusal = "REJECT This certificate is blocked"

// Block takes a certificate out of relay_clientcerts and writes it into the table of
// check_ccert_access of each service. Postfix looks into tables for each mail, also where
// a session of TLS was resumed; what it knows of them in a connection that was open is
// said at table.live.
func (d *door) Block(ctx context.Context, request driver.BlockRequest) (driver.Blocked, error) {
	if err := d.servesOnly("refuse a client"); err != nil {
		return driver.Blocked{}, err
	}
	h := request.Host
	c, err := d.read(ctx, h)
	if err != nil {
		return driver.Blocked{}, err
	}
	all, _ := c.accesses()
	for _, a := range all {
		if len(a.denied) == 0 && a.anybody {
			return driver.Blocked{}, invalid("the service %s of Postfix lets in every certificate of its CAs and asks no table of refusals: put check_ccert_access first into its smtpd_client_restrictions (docs/doors.md, postfix)", a.service)
		}
	}
	edits, err := d.blockEdits(ctx, h, all, request)
	if err != nil {
		return driver.Blocked{}, err
	}
	changed, err := d.put(ctx, h, edits)
	if err != nil || request.Lift {
		return driver.Blocked{Changed: changed}, err
	}
	blocked := driver.Blocked{Changed: changed}
	if !seenAtOnce(all) {
		err = d.cut(ctx, h, c, all, request.Old, &blocked)
	}
	return blocked, err
}

// blockEdits says what all tables shall be.
func (d *door) blockEdits(ctx context.Context, h driver.Host, all []access, request driver.BlockRequest) ([]edit, error) {
	clients, err := readAll(ctx, h, tables(all, access.clientTables))
	if err != nil {
		return nil, err
	}
	denied, err := readAll(ctx, h, tables(all, access.deniedTables))
	if err != nil {
		return nil, err
	}
	// Whoever has a stolen key makes another certificate of it, which relay_clientcerts
	// takes for the public key, whoever signed it.
	byKey := false
	for i := range clients {
		_, key, err := prints(clients[i].digest, request.Old)
		if err != nil {
			return nil, err
		}
		byKey = byKey || mentions(clients[i].text, key)
	}
	for _, one := range []struct {
		edits []edit
		edit  func(e *edit, fingerprint string)
		key   bool
	}{{clients, unlist(request.Lift), true}, {denied, deny(request.Lift), byKey}} {
		for i := range one.edits {
			certificate, key, err := prints(one.edits[i].digest, request.Old)
			if err != nil {
				return nil, err
			}
			one.edit(&one.edits[i], certificate)
			if one.key {
				one.edit(&one.edits[i], key)
			}
		}
	}
	return append(clients, denied...), nil
}

// mentions says whether a key is or was listed.
func mentions(text []byte, key string) bool {
	_, listed := lookup(restore(text, key), key)
	return listed
}

// unlist takes a fingerprint out of a table of clients, or puts it back.
func unlist(lift bool) func(*edit, string) {
	return func(e *edit, fingerprint string) {
		if lift {
			e.text = restore(e.text, fingerprint)
		} else {
			e.text = silence(e.text, fingerprint)
		}
		e.wants(fingerprint)
	}
}

// deny writes a fingerprint into a table of refusals, or takes it out again.
func deny(lift bool) func(*edit, string) {
	return func(e *edit, fingerprint string) {
		found, there := lookup(e.text, fingerprint)
		switch {
		case lift:
			e.text = restore(withdraw(e.text, fingerprint), fingerprint)
		case !there || !refuses(found.value):
			e.text = add(silence(e.text, fingerprint), fingerprint, refusal)
		}
		e.wants(fingerprint)
	}
}

// seenAtOnce says whether every service sees in the middle of a session that somebody
// was blocked: its refusals, or all that lets clients in, are in tables that are live.
func seenAtOnce(all []access) bool {
	for _, a := range all {
		decides := a.deniedTables()
		if len(decides) == 0 {
			decides = a.clients
		}
		if slices.ContainsFunc(decides, func(t table) bool { return !t.live() }) {
			return false
		}
	}
	return true
}

// cut ends the sessions of a certificate that know tables as they were. It names those of
// which it is not known whose they are.
func (d *door) cut(ctx context.Context, h driver.Host, c *configuration, all []access, old driver.Public, blocked *driver.Blocked) error {
	open, err := d.sessions(ctx, h, c)
	if err != nil {
		blocked.Left = append(blocked.Left, fmt.Sprintf("connections that were open keep the tables that they began with until they end; which those are could not be seen: %v", err))
		return nil
	}
	digest := "sha256"
	if len(all) > 0 {
		digest = all[0].digest
	}
	certificate, key, err := prints(digest, old)
	if err != nil {
		return err
	}
	guided := !slices.ContainsFunc(all, func(a access) bool { return !a.guided })
	whose := map[int]holder{}
	if guided && len(open) > 0 {
		whose = d.holders(ctx, h, c, open)
	}
	for _, s := range open {
		holder, known := whose[s.pid]
		switch {
		case !guided:
			blocked.Left = append(blocked.Left, left(s, "whose certificate it has is not logged; set smtpd_tls_loglevel = 2, or keep the tables in lmdb"))
		case !known || holder.certificate == "":
			blocked.Left = append(blocked.Left, left(s, "it has shown no certificate yet that is logged"))
		case holder.certificate == certificate || holder.key == key:
			ended, err := d.end(ctx, h, c, s)
			if err != nil {
				return err
			}
			if ended {
				blocked.Closed++
			} else {
				blocked.Left = append(blocked.Left, left(s, "it is of the blocked certificate, and the kernel does not end it (CONFIG_INET_DIAG_DESTROY)"))
			}
		}
	}
	if blocked.Closed > 0 {
		blocked.Changed.Changed, blocked.How = true, append(blocked.How, "close")
	}
	return nil
}
