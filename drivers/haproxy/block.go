// SPDX-License-Identifier: Apache-2.0

package haproxy

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/driver"
	"github.com/tallystick/tallystick/driver/blocking"
	"github.com/tallystick/tallystick/driver/installing"
)

// Block puts a certificate on the list of denied ones, which holds for resumed sessions
// and open connections too, and hands over the revocation lists, both without a reload.
// Where a frontend has no such list, a reload makes HAProxy forget its sessions. It waits
// for what was under way, and ends processes from before a reload.
func (d *Door) Block(ctx context.Context, r driver.BlockRequest) (driver.Blocked, error) {
	leaf, err := leafOf(r.Old)
	if err != nil {
		return driver.Blocked{}, err
	}
	s, err := d.load(ctx, r.Host)
	if err != nil {
		return driver.Blocked{}, err
	}
	if err := d.mayBlock(r, s); err != nil {
		return driver.Blocked{}, err
	}
	changes, err := d.blockChanges(ctx, r, s, leaf)
	if err != nil {
		return driver.Blocked{}, err
	}
	if len(changes) == 0 {
		return driver.Blocked{Changed: driver.Changed{Detail: "there is nothing to lift: HAProxy has no list of denied certificates"}}, nil
	}
	_, all := s.denied()
	how, err := d.apply(ctx, r.Host, changes, !all && !r.Lift, func() error { return d.settled(ctx, r.Host, changes) })
	if err != nil {
		return driver.Blocked{}, err
	}
	blocked := driver.Blocked{Changed: driver.Changed{Changed: how != nil, Detail: "nothing was to be done"}}
	if how != nil {
		blocked.How, blocked.Detail = append(how, kinds(changes)...), "HAProxy goes by "+paths(changes)
	}
	if r.Lift {
		return blocked, nil
	}
	return d.closeOld(ctx, r.Host, s, blocked)
}

// mayBlock says whether a certificate can be refused at every bind.
func (d *Door) mayBlock(r driver.BlockRequest, s *site) error {
	if !s.verifies() {
		return invalid("no frontend of HAProxy lets clients in by certificate: there is nobody to refuse")
	}
	if d.options.Socket == "" {
		return invalid("without its admin socket (option socket) HAProxy does not say whether it refuses anybody")
	}
	for _, b := range s.binds {
		if !b.verify || b.denies || r.Lift {
			continue
		}
		if b.crl == "" || len(r.CRLs) == 0 || b.ticketKey {
			return invalid("frontend %s reads no revocation list of this CA, or keeps sessions over a reload, and goes by no list %s: docs/doors.md has the lines for haproxy.cfg", b.proxy, d.options.Deny)
		}
	}
	return nil
}

// settled looks that HAProxy has all of it in memory.
func (d *Door) settled(ctx context.Context, h driver.Host, changes []change) error {
	behind, err := d.behind(ctx, h, changes)
	if err == nil && len(behind) > 0 {
		err = fmt.Errorf("%w: HAProxy does not go by %s", tallystick.ErrUnavailable, paths(behind))
	}
	return err
}

// closeOld waits for what was under way when a block began, and names what goes on.
func (d *Door) closeOld(ctx context.Context, h driver.Host, s *site, blocked driver.Blocked) (driver.Blocked, error) {
	if blocked.Changed.Changed {
		left, err := d.outlive(ctx, h, s)
		if err != nil {
			return driver.Blocked{}, err
		}
		for _, one := range left {
			blocked.Left = append(blocked.Left, one+": open since before; HAProxy does not say whose it is, and refuses the next request on it where it speaks HTTP")
		}
	}
	ended, left, err := d.endOld(ctx, h)
	if err != nil {
		return driver.Blocked{}, err
	}
	blocked.Left = append(blocked.Left, left...)
	if ended > 0 {
		blocked.Changed.Changed, blocked.How = true, append(blocked.How, "old-processes")
		blocked.Detail += fmt.Sprintf("; %d processes from before a reload, which still had connections after %s, were ended with them", ended, d.options.Grace)
	}
	return blocked, nil
}

var stream = regexp.MustCompile(`(?m)^(0x[0-9a-f]+): proto=\S+ src=(\S+) fe=(\S+) `)

// streams returns what is under way at frontends that let clients in by certificate: an
// id and "address at frontend" each.
func (d *Door) streams(ctx context.Context, h driver.Host, s *site) (map[string]string, error) {
	answer, err := d.ask(ctx, h, "show sess")
	if err != nil {
		return nil, err
	}
	all := map[string]string{}
	for _, match := range stream.FindAllStringSubmatch(answer, -1) {
		if slices.ContainsFunc(s.binds, func(b bind) bool { return b.verify && b.proxy == match[3] }) {
			all[match[1]+" "+match[2]] = match[2] + " at " + match[3]
		}
	}
	return all, nil
}

// outlive waits until what is under way now has ended, or grace ends, and returns the rest.
func (d *Door) outlive(ctx context.Context, h driver.Host, s *site) ([]string, error) {
	old, err := d.streams(ctx, h, s)
	pause := 10 * time.Millisecond
	for began := time.Now(); err == nil && len(old) > 0 && time.Since(began) < d.options.Grace; {
		select {
		case <-time.After(pause):
			pause = min(2*pause, time.Second)
		case <-ctx.Done():
			return nil, ctx.Err()
		}
		var now map[string]string
		now, err = d.streams(ctx, h, s)
		for id := range old {
			if now[id] == "" {
				delete(old, id)
			}
		}
	}
	var left []string
	for _, one := range old {
		left = append(left, one)
	}
	slices.Sort(left)
	return left, err
}

// blockChanges are the list of denied certificates and the revocation lists as they shall be.
func (d *Door) blockChanges(ctx context.Context, r driver.BlockRequest, s *site, leaf *x509.Certificate) ([]change, error) {
	var changes []change
	some, all := s.denied()
	if some {
		text, err := r.Host.ReadFile(ctx, d.options.Deny, blocking.MaxFile)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
		sum := sha256.Sum256(leaf.Raw)
		one := strings.ToUpper(hex.EncodeToString(sum[:]))
		changes = append(changes, change{kind: kindDenied, entry: one, File: installing.File{Path: d.options.Deny, Content: relist(text, one, r.Lift), Mode: 0o644}})
	}
	if r.Lift || len(r.CRLs) == 0 {
		return changes, nil
	}
	for _, name := range s.crls() {
		authorities, err := s.authorities(ctx, r.Host, name)
		if err != nil {
			return nil, err
		}
		file, err := blocking.MergeAt(ctx, r.Host, name, r.CRLs, r.Old.Chain, authorities, r.Now())
		if err != nil {
			return nil, err
		}
		merged, err := blocking.ReadLists(file.Content)
		if err != nil {
			return nil, err
		}
		if !all && !merged.Has(leaf) {
			return nil, invalid("the revocation lists do not name the certificate, and not every frontend goes by a list %s: docs/doors.md has the lines for haproxy.cfg", d.options.Deny)
		}
		changes = append(changes, change{kind: kindLists, File: file})
	}
	return changes, nil
}

// authorities are the CAs of the binds that read a file of revocation lists.
func (s *site) authorities(ctx context.Context, h driver.Host, crl string) ([]*x509.Certificate, error) {
	var files []string
	for _, b := range s.binds {
		if b.verify && b.crl == crl && b.clientCA != "" {
			files = append(files, b.clientCA)
		}
	}
	return blocking.AuthoritiesAt(ctx, h, files...)
}

// relist adds a fingerprint to a list or takes it away, and leaves every other line as it is.
func relist(text []byte, one string, lift bool) []byte {
	return blocking.Relist(text, one, func(line []byte) bool { return string(bytes.TrimSpace(line)) == one }, lift)
}

func leafOf(p driver.Public) (*x509.Certificate, error) {
	if len(p.Chain) == 0 {
		return nil, fmt.Errorf("%w: HAProxy lets nobody in but by certificate", tallystick.ErrNotFound)
	}
	return p.Leaf()
}

func paths(changes []change) string { return installing.Paths(filesOf(nil, changes).Files) }

// kinds names the ways in which a certificate is refused.
func kinds(changes []change) []string {
	var all []string
	for _, c := range changes {
		all = append(all, map[string]string{kindDenied: "deny-list", kindLists: "crl", kindCAs: "client-ca"}[c.kind])
	}
	slices.Sort(all)
	return slices.Compact(all)
}
