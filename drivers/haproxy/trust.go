// SPDX-License-Identifier: Apache-2.0

package haproxy

import (
	"context"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/driver"
	"github.com/tallystick/tallystick/driver/blocking"
	"github.com/tallystick/tallystick/driver/installing"
)

// Trust adds the CAs of a certificate to the files of CAs whose clients get in, where
// they are not there yet, with their revocation lists where lists are read. HAProxy
// lets in all that a CA has signed, so that mostly there is nothing to do.
func (d *Door) Trust(ctx context.Context, r driver.TrustRequest) (driver.Changed, error) {
	if _, err := leafOf(r.New); err != nil {
		return driver.Changed{}, err
	}
	if d.options.Socket == "" {
		return driver.Changed{}, invalid("without its admin socket (option socket) HAProxy does not say whom it lets in")
	}
	s, err := d.load(ctx, r.Host)
	if err != nil {
		return driver.Changed{}, err
	}
	changes, err := d.trustChanges(ctx, r, s)
	if err != nil {
		return driver.Changed{}, err
	}
	how, err := d.apply(ctx, r.Host, changes, false, func() error { return d.settled(ctx, r.Host, changes) })
	if err != nil {
		return driver.Changed{}, err
	}
	if how == nil {
		return driver.Changed{Detail: "HAProxy lets in all that a CA has signed: there is nothing to do"}, nil
	}
	return driver.Changed{Changed: true, How: append(how, kinds(changes)...), Detail: "HAProxy goes by " + paths(changes)}, nil
}

// trustChanges are the files as they shall be: lists first, so that a new CA is never
// there without one.
func (d *Door) trustChanges(ctx context.Context, r driver.TrustRequest, s *site) ([]change, error) {
	var authorities, revocations []change
	let := 0
	for _, b := range s.binds {
		if !b.verify || b.clientCA == "" {
			continue
		}
		text, err := r.Host.ReadFile(ctx, b.clientCA, blocking.MaxFile)
		if err != nil {
			return nil, err
		}
		file := installing.File{Path: b.clientCA, Content: blocking.WithdrawAuthorities(text, r.New), Mode: 0o644}
		if !r.Withdraw {
			in, err := d.letsIn(ctx, r, b, blocking.ReadCertificates(text))
			if err != nil {
				return nil, err
			}
			if !in {
				continue
			}
			if file.Content, err = blocking.Admit(text, r); err != nil {
				return nil, err
			}
		}
		let++
		authorities = append(authorities, change{kind: kindCAs, File: file})
		if b.crl == "" || r.Withdraw {
			continue
		}
		lists, err := blocking.MergeAt(ctx, r.Host, b.crl, r.CRLs, r.New.Chain, blocking.ReadCertificates(file.Content), r.Now())
		if err != nil {
			return nil, err
		}
		revocations = append(revocations, change{kind: kindLists, File: lists})
	}
	if let == 0 && !r.Withdraw {
		return nil, fmt.Errorf("%w: HAProxy lets nobody in by the certificate that the new one shall be like", tallystick.ErrNotFound)
	}
	return append(distinct(revocations), distinct(authorities)...), nil
}

func distinct(changes []change) []change {
	slices.SortStableFunc(changes, func(a, b change) int { return strings.Compare(a.Path, b.Path) })
	return slices.CompactFunc(changes, func(a, b change) bool { return a.Path == b.Path })
}

// letsIn says whether a bind lets in the one that the new one shall be like.
func (d *Door) letsIn(ctx context.Context, r driver.TrustRequest, b bind, authorities []*x509.Certificate) (bool, error) {
	in, err := blocking.LetsIn(ctx, r.Host, r.Like, authorities, b.crl, r.Now())
	if err != nil || !in || !b.denies {
		return in, err
	}
	denied, err := d.deniedNow(ctx, r.Host)
	sum := sha256.Sum256(r.Like.Chain[0])
	return !slices.Contains(denied, strings.ToUpper(hex.EncodeToString(sum[:]))), err
}
